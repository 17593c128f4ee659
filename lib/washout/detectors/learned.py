"""Learned detectors: a small network that tells attacked features from clean ones.

Source: Xiong, "Methods to Defend Adversarial Images", section 5.2: five fully connected layers on
the latents of a normalizing flow. The same layers on pixels or residual statistics are controls
(ours). ``fit_detector`` also trains any other network with one logit on images: the separate
network of Gong, Wang and Ku, "Adversarial and Clean Data Are Not Twins" (2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from washout.checks import check_choice, check_count
from washout.detectors.modes import place, seeded
from washout.inference import logits

WIDTHS = (512, 256, 128, 64)
PRECISIONS = ("bf16", "fp32")


class Detector(nn.Module):
    """Fully connected layers with ReLU between them, on standardized features.

    Five layers with the default widths. The paper gives their number and that the output is 0
    (clean) or 1 (perturbed); the widths are ours, and one logit takes the place of two outputs.

    Args:
        dimension: values of one feature vector: 768 latents, 3072 pixels.
        widths: outputs of all layers but the last.
        generator: where the first weights come from; None is PyTorch's own state.
        dropout: share of the values behind each layer but the last that training leaves out, in
            [0, 1): against overfitting where features are many and images few.

    Attributes:
        mean: (D,), what ``standardize`` found, part of the state; 0 before.
        std: (D,), likewise, above 0; 1 before.

    Raises:
        ValueError: a dimension or width below 1, a dropout out of its range; at a call, features of
            another dimension.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        dimension: int,
        widths: Sequence[int] = WIDTHS,
        generator: torch.Generator | None = None,
        *,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = [check_count(dimension, 1, "dimension")]
        sizes += [check_count(width, 1, "widths") for width in widths]
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout: got {dropout}; allowed are numbers in [0, 1), e.g. 0.3")
        layers: list[nn.Module] = []
        with nullcontext() if generator is None else seeded(torch.device("cpu"), generator):
            for inputs, outputs in pairwise(sizes):
                layers += [nn.Linear(inputs, outputs), nn.ReLU()]
                layers += [nn.Dropout(dropout)] * bool(dropout)
            self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("std", torch.ones(dimension))

    def standardize(self, features: Tensor) -> None:
        """Take mean and standard deviation of each feature from the training data (B, D)."""
        std, mean = torch.std_mean(self._flat(features), 0, correction=0)
        self.mean.copy_(mean)
        # What varies by rounding alone tells nothing: its scale stays as it is.
        self.std.copy_(torch.where(std > 1e-6 * mean.abs(), std, torch.ones_like(std)))

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) or any (B, ...) with D values an image -> logits (B,), above 0 if attacked."""
        return self.layers((self._flat(features) - self.mean) / self.std).squeeze(1)

    def scores(self, features: Tensor, *, batch_size: int = 1000) -> Tensor:
        """Logits (B,) on the CPU, without a gradient; the detector stays where it is."""
        check_count(batch_size, 1, "batch_size")
        return logits(self, features, batch_size=batch_size, device=self.mean.device)

    def _flat(self, features: Tensor) -> Tensor:
        flat = features.flatten(1).to(self.mean.dtype)
        if flat.shape[1] != len(self.mean):
            raise ValueError(
                f"features: got {flat.shape[1]} values an image; this detector takes "
                f"{len(self.mean)}: build another with Detector({flat.shape[1]})"
            )
        return flat


def fit_detector(
    detector: nn.Module,
    features: Tensor,
    is_adversarial: Tensor,
    validation: tuple[Tensor, Tensor],
    *,
    epochs: int = 30,
    patience: int = 5,
    batch_size: int = 256,
    lr: float = 1e-3,
    balance: bool = True,
    precision: str = "fp32",
    generator: torch.Generator | None = None,
    device: str | torch.device | None = None,
) -> list[dict[str, float]]:
    """Train a detector in place with Adam; it ends with its best epoch's weights, in eval mode.

    A ``Detector`` standardizes by the training features first. The settings are ours: the paper
    gives none.

    Args:
        detector: features to logits (B,) or (B, 1), such as a ``Detector``.
        features: (B, D), or images (B, C, H, W), of the training data. A network on images ends in
            the memory layout that suits it, channels last.
        is_adversarial: (B,), bool, the label.
        validation: features and labels of other images, on which the best epoch is chosen.
        epochs: most passes over the training data, at least 1.
        patience: stop after so many epochs with no lower validation loss, at least 1.
        batch_size: feature vectors in a step, at least 1.
        lr: learning rate, above 0.
        balance: give each kind half of the weight, so that a logit of 0 is the threshold for as
            many clean as attacked images, whatever the training data's mixture.
        precision: of training: ``bf16`` (autocast in the forward pass, three times as fast for
            convolutions) or ``fp32``. Validation is in ``fp32``, as the detector is used.
        generator: where the order of the batches and dropout come from. The same seed, first
            weights and data give the same bits on a CPU with the same number of threads.
        device: where to train, and the detector moves there; None stays where it is.

    Returns:
        For each epoch its number from 1 up, mean ``loss``, ``validation_loss`` and
        ``validation_accuracy`` at the threshold 0, each weighted as ``balance`` says.

    Raises:
        ValueError: features and labels that do not fit, NaN, one kind only, a setting out of its
            range, or a training that diverged.
    """
    _check(features, is_adversarial, "")
    _check(*validation, "validation ")
    for name, count in (("epochs", epochs), ("patience", patience), ("batch_size", batch_size)):
        check_count(count, 1, name)
    check_choice(precision, PRECISIONS, "precision")
    if not 0 < lr < math.inf:
        raise ValueError(f"lr: got {lr}; allowed are numbers above 0, e.g. 1e-3")
    where = place(detector, device)
    layout = torch.channels_last if features.ndim == 4 else torch.contiguous_format
    detector.to(memory_format=layout)
    features, label = features.to(where, torch.float32), is_adversarial.to(where)
    weight, target = _weights(label, balance), label.float()
    if isinstance(detector, Detector):
        detector.standardize(features)
    descent = torch.optim.Adam(detector.parameters(), lr, fused=True)
    source = torch.default_generator if generator is None else generator
    history: list[dict[str, float]] = []
    best, best_loss, best_epoch = {}, math.inf, 0
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(features), generator=source, device=source.device).to(where)
        total = torch.zeros((), device=where)
        detector.train()
        with seeded(where, source):  # dropout knows the global generator only
            for index in order.split(batch_size):
                batch = features[index].contiguous(memory_format=layout)
                with torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16"):
                    found = detector(batch).reshape(len(index))
                loss = F.binary_cross_entropy_with_logits(
                    found.float(), target[index], weight[index]
                )
                descent.zero_grad(set_to_none=True)
                loss.backward()
                descent.step()
                total += loss.detach() * len(index)  # stays on the device: no waiting
        row = {"epoch": epoch, "loss": total.item() / len(features)}
        row |= _validate(detector, *validation, balance, where)
        if not math.isfinite(row["loss"] + row["validation_loss"]):
            raise ValueError(f"the training diverged in epoch {epoch} ({row}); lower lr={lr}")
        history.append(row)
        if row["validation_loss"] < best_loss:
            best_loss, best_epoch = row["validation_loss"], epoch
            best = {name: value.clone() for name, value in detector.state_dict().items()}
        elif epoch - best_epoch >= patience:
            break
    detector.load_state_dict(best)
    detector.eval()
    return history


def _validate(
    detector: nn.Module, features: Tensor, label: Tensor, balance: bool, where: torch.device
) -> dict[str, float]:
    found = logits(detector, features.float(), batch_size=1000, device=where).reshape(len(label))
    label = label.cpu()
    weight = _weights(label, balance)
    loss = F.binary_cross_entropy_with_logits(found, label.float(), weight)
    accuracy = (((found > 0) == label) * weight).mean()
    return {"validation_loss": loss.item(), "validation_accuracy": accuracy.item()}


def _weights(label: Tensor, balance: bool) -> Tensor:
    """(B,), with a mean of 1: of each image, so that both kinds weigh the same, or all images."""
    if not balance:
        return torch.ones_like(label, dtype=torch.float32)
    attacked = label.float().mean()
    return torch.where(label, 0.5 / attacked, 0.5 / (1 - attacked))


def _check(features: Tensor, label: Tensor, which: str) -> None:
    if label.dtype != torch.bool or label.shape != features.shape[:1] or features.ndim < 2:
        raise ValueError(
            f"{which}is_adversarial: got {label.dtype} of shape {tuple(label.shape)} for features "
            f"of {tuple(features.shape)}; allowed is torch.bool, one for each of (B, D) features"
        )
    if bool(label.all()) or not bool(label.any()):
        raise ValueError(
            f"{which}is_adversarial: got one kind only; give clean and adversarial images"
        )
    if not bool(features.isfinite().all()):
        raise ValueError(f"{which}features: got NaN or infinity; look at what computed them")
