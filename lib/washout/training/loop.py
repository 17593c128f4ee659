"""One training loop for every network of the book."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from tqdm import tqdm

from washout.checks import check_choice, check_count, check_device, check_range
from washout.data import Split, floats
from washout.randomness import seeded
from washout.training.augment import Augmentation
from washout.training.checkpoint import Progress
from washout.weights import round_to_half

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
Score = Callable[[nn.Module, Split], float]
OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("constant", "cosine", "onecycle")
PRECISIONS = ("bf16", "fp32")


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The loss of classifiers, averaged over the batch."""
    return F.cross_entropy(model(images), labels)


@torch.no_grad()
def accuracy(model: nn.Module, split: Split, batch_size: int = 1000) -> float:
    """Share of images that the model, in eval mode, labels rightly."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    right = torch.zeros((), dtype=torch.int64, device=device)
    for images, labels in zip(
        split.images.split(batch_size), split.labels.split(batch_size), strict=True
    ):
        right += (model(images.to(device)).argmax(1) == labels.to(device)).sum()
    model.train(was_training)
    return right.item() / len(split)


def objective(model: nn.Module) -> tuple[Loss, Score]:
    """What ``fit`` minimizes and chooses the best epoch by: the model's own, or a classifier's.

    A model that is no classifier has ``loss(images) -> scalar`` and ``score(split) -> float``.
    """
    if hasattr(model, "loss"):
        return (lambda net, images, _: net.loss(images)), (lambda net, split: net.score(split))
    return cross_entropy, accuracy


def fit(
    model: nn.Module,
    train: Split,
    validation: Split,
    *,
    loss: Loss = cross_entropy,
    score: Score = accuracy,
    epochs: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    optimizer: str = "adam",
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    schedule: str = "constant",
    augment: Augmentation | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    precision: str = "bf16",
    channels_last: bool = True,
    stop_at: float | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train a model in place; it ends with its best epoch's weights, rounded to half precision.

    All random numbers of an epoch follow from ``seed`` and the epoch's number. A training that
    was killed and is started again with the same arguments goes on after the last finished epoch
    and, on a CPU with the same number of threads, ends with the same bits.

    Args:
        model: is moved to ``device``. Its dropout takes PyTorch's own random state.
        train: what the weights are fitted to; uint8 images are scaled batch by batch.
        validation: what the best epoch is chosen on; among equals the last one.
        loss: (model, images, labels) -> a scalar to minimize, averaged over the batch.
            Classifiers use the labels; an autoencoder passes over them.
        score: (model, split) -> a number of which more is better.
        epochs: passes over ``train``, at least 1.
        batch_size: images in a step, at least 1.
        lr: the largest learning rate, above 0.
        optimizer: ``adam`` (with decoupled decay, i.e. AdamW) or ``sgd`` (Nesterov).
        weight_decay: factor of the decay, at least 0.
        momentum: of SGD, in [0, 1].
        schedule: ``constant``; ``cosine``, down to 0; ``onecycle``, up for 3/10, then cosine.
        augment: (images, generator) -> images, applied to each batch.
        seed: a whole number from 0 up.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        precision: ``bf16`` (autocast in the forward pass) or ``fp32``.
        channels_last: memory layout of images and convolutions; the faster one if True.
        stop_at: end after the first epoch whose validation score is at least this.
        checkpoint: a file that keeps the state after the last epoch, and after others if half a
            minute has passed; the caller removes it.
        progress: show a bar.

    Returns:
        For each epoch its number from 1 up, mean loss, validation score and seconds.

    Raises:
        ValueError: an argument out of its range, another training's checkpoint, or a training
            that diverged.
    """
    for name, count, low in (
        ("epochs", epochs, 1),
        ("batch_size", batch_size, 1),
        ("seed", seed, 0),
    ):
        check_count(count, low, name)
    check_choice(schedule, SCHEDULES, "schedule")
    check_choice(precision, PRECISIONS, "precision")
    place = check_device(device)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model.to(place, memory_format=layout)  # type: ignore[call-overload]
    images = train.images.to(place, memory_format=layout)
    labels = train.labels.to(place)
    descent = _optimizer(optimizer, model, lr, weight_decay, momentum)
    settings = dict(
        epochs=epochs, batch_size=batch_size, lr=lr, optimizer=optimizer, seed=seed,
        weight_decay=weight_decay, schedule=schedule, precision=precision, images=len(train),
    )  # fmt: skip
    if stop_at is not None:
        settings["stop_at"] = stop_at
    if momentum != 0.9:
        settings["momentum"] = momentum
    state = Progress.resume(checkpoint, model, descent, settings)
    done = len(state.history)
    reached = math.inf if stop_at is None else stop_at
    steps = math.ceil(len(train) / batch_size)

    with tqdm(total=epochs, initial=done, unit="epoch", disable=not progress) as bar:
        for epoch in range(done, epochs):
            if state.best_score >= reached:
                break
            start = time.perf_counter()
            generator = torch.Generator(place).manual_seed(_derive(seed, epoch, "augment"))
            order = torch.randperm(
                len(train), generator=torch.Generator().manual_seed(_derive(seed, epoch, "order"))
            ).to(place)
            total = torch.zeros((), device=place)
            model.train()
            with seeded(_derive(seed, epoch, "model"), place):
                for step, index in enumerate(order.split(batch_size)):
                    batch = floats(images[index]).contiguous(memory_format=layout)
                    if augment is not None:
                        batch = augment(batch, generator).contiguous(memory_format=layout)
                    share = (epoch * steps + step + 0.5) / (epochs * steps)
                    for group in descent.param_groups:
                        group["lr"] = lr * _rate(schedule, share)
                    with torch.autocast(place.type, torch.bfloat16, enabled=precision == "bf16"):
                        value = loss(model, batch, labels[index])
                    descent.zero_grad(set_to_none=True)
                    value.backward()
                    descent.step()
                    total += value.detach() * len(index)  # stays on the device: no waiting
            row = {
                "epoch": epoch + 1,
                "loss": total.item() / len(train),
                "score": float(score(model, validation)),
                "seconds": time.perf_counter() - start,
            }
            last = epoch + 1 == epochs or row["score"] >= reached
            state.finish_epoch(row, model, descent, last)
            bar.set_postfix(loss=f"{row['loss']:.4f}", score=f"{row['score']:.4f}")
            bar.update()

    model.load_state_dict(state.best)
    # Another layout takes other kernels, whose last bits differ: end in that of a loaded model.
    model.to(memory_format=torch.contiguous_format)
    round_to_half(model)
    model.eval()
    return state.history


def _optimizer(
    name: str, model: nn.Module, lr: float, weight_decay: float, momentum: float
) -> Optimizer:
    check_choice(name, OPTIMIZERS, "optimizer")
    if not lr > 0 or not weight_decay >= 0:
        raise ValueError(
            f"lr and weight_decay: got {lr} and {weight_decay}; allowed are lr > 0 and "
            "weight_decay >= 0"
        )
    if name == "adam":
        return AdamW(model.parameters(), lr, weight_decay=weight_decay, fused=True)
    check_range(momentum, 0.0, 1.0, "momentum")
    return SGD(
        model.parameters(), lr, momentum=momentum, nesterov=momentum > 0,
        weight_decay=weight_decay, fused=True,
    )  # fmt: skip


def _rate(schedule: str, share: float) -> float:
    """The factor on the learning rate after a share, within [0, 1], of the training."""
    if schedule == "constant":
        return 1.0
    warm = 0.3 if schedule == "onecycle" else 0.0
    if share < warm:
        return share / warm
    return (1 + math.cos(math.pi * (share - warm) / (1 - warm))) / 2


def _derive(seed: int, epoch: int, purpose: str) -> int:
    """A seed of its own for each epoch and purpose, so that resuming needs no random state."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
