"""Running an attack: the input checked, then batch by batch."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from washout.attacks.registry import Attack, get
from washout.attacks.result import Attacked, ChannelsLast
from washout.checks import check_count, check_device, check_images, check_labels
from washout.inference import at_once, evaluating


def run(
    attack: str | Attack,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    dataset: str = "*",
    batch_size: int | None = None,
    device: str | torch.device = "cpu",
    generator: torch.Generator | None = None,
    **overrides: Any,
) -> Attacked:
    """Check the input, then attack in batches with the model in eval mode.

    The model is moved to ``device``; each of its modules is back in its own mode afterwards.

    Args:
        attack: a name or an ``Attack``.
        model: images to logits (B, K).
        images: (N, C, H, W), float32 in [0, 1].
        labels: (N,) int64: true classes, or targets with ``targeted=True``.
        dataset: whose defaults to take; one without its own takes those of ``*``.
        batch_size: images at a time; None takes 128 on a CPU, 1,024 on a GPU.
        device: where to compute.
        generator: source of all randomness.
        overrides: settings. A tensor with one number for each image is split with the images.

    Returns:
        ``Attacked`` on the CPU.

    Raises:
        ValueError: anything that is out of its range or shape, before the first step.
    """
    attack = attack if isinstance(attack, Attack) else get(attack)
    check_labels(labels, check_images(images))
    settings = attack.settings(dataset, **overrides)
    place = check_device(device)
    size = check_count(at_once(128, place) if batch_size is None else batch_size, 1, "batch_size")
    if "batch" in settings:
        if batch_size is not None:
            settings["batch"] = size
        elif "batch" not in overrides:
            settings["batch"] = at_once(settings["batch"], place)
        size = len(images)
    if "generator" in inspect.signature(attack.function).parameters:
        settings["generator"] = generator
    if not len(images):
        return Attacked(images.clone(), torch.zeros(0, dtype=torch.bool))

    done = []
    with evaluating(model.to(place)):
        fast = _checked(model, images[:8].to(place), labels, settings.get("targeted", False))
        for begin in range(0, len(images), size):
            rows = slice(begin, begin + size)
            own = {
                name: value[rows].to(place)
                if isinstance(value, Tensor) and value.shape[:1] == labels.shape
                else value
                for name, value in settings.items()
            }
            part = images[rows].to(place), labels[rows].to(place)
            done.append(attack.function(fast, *part, **own))
    return Attacked(
        torch.cat([part.images.cpu() for part in done]),
        torch.cat([part.success.cpu() for part in done]),
    )


def _checked(model: nn.Module, few: Tensor, labels: Tensor, targeted: bool) -> nn.Module:
    """Return the model in the memory layout that suits it, after a look at its output.

    Raises:
        ValueError: no (B, K) logits, NaN or infinite ones, labels beyond the K classes.
    """
    fast: nn.Module = ChannelsLast(model) if few.device.type == "cpu" else model
    with torch.no_grad():
        try:
            logits = fast(few)
        except RuntimeError:  # A model that flattens with view() takes contiguous images only.
            fast, logits = model, model(few)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(few):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(
            f"model: expected logits of shape ({len(few)}, K) for {len(few)} images, got {got}; "
            "wrap it in a module that returns one row of logits for each image"
        )
    if not bool(logits.isfinite().all()):
        raise ValueError(
            "model: its logits are NaN or infinite; check its weights and its normalization"
        )
    if int(labels.max()) >= logits.shape[1]:
        raise ValueError(
            f"{'targets' if targeted else 'labels'}: got class {int(labels.max())}; the model's "
            f"{logits.shape[1]} classes are 0 to {logits.shape[1] - 1}"
        )
    return fast
