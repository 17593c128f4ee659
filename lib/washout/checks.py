"""Checks of what a caller hands in: each raises a ``ValueError`` that says what to do."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def check_images(images: Tensor, name: str = "images") -> Tensor:
    """Return ``images`` if they are float32 or float64, (B, C, H, W), finite, within [0, 1].

    Raises:
        ValueError: anything else, saying which property is off.
    """
    if not isinstance(images, Tensor):
        raise ValueError(
            f"{name}: expected a torch.Tensor, got {type(images).__name__}; "
            "use torch.as_tensor(array)"
        )
    if images.ndim != 4:
        raise ValueError(
            f"{name}: expected shape (B, C, H, W), got {tuple(images.shape)}; "
            "add the missing axes, e.g. images[None] for one image"
        )
    if images.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"{name}: expected float32 in [0, 1], got {images.dtype}; "
            "for uint8 use images.float() / 255"
        )
    if images.numel():
        # One host synchronization for both ends; NaN makes the comparison false.
        low, high = torch.stack(torch.aminmax(images.detach())).tolist()
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"{name}: expected finite values in [0, 1], got a range of "
                f"[{low:.4g}, {high:.4g}]; scale them to [0, 1] and put normalization into the "
                "model"
            )
    return images


def check_labels(labels: Tensor, images: Tensor, name: str = "labels") -> Tensor:
    """Return ``labels`` if they are int64 of shape (B,), none negative, one for each image."""
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        got = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(
            f"{name}: expected an int64 tensor of class indices, got {got}; "
            "use torch.as_tensor(labels, dtype=torch.int64)"
        )
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"{name}: expected shape ({len(images)},), one for each image, "
            f"got {tuple(labels.shape)}"
        )
    if labels.numel() and int(labels.min()) < 0:
        raise ValueError(f"{name}: expected class indices from 0 up, got {int(labels.min())}")
    return labels


def check_choice(value: str, allowed: Iterable[str], name: str) -> str:
    """Return ``value`` if it is one of ``allowed``; the message lists them otherwise."""
    names = list(allowed)
    if value not in names:
        raise ValueError(f"{name}: got {value!r}; allowed are {', '.join(names)}")
    return value


def check_range(
    value: float | Tensor, low: float, high: float, name: str, *, unit: str = ""
) -> float | Tensor:
    """Return ``value`` if every number in it lies in [low, high]."""
    try:
        tensor = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{name}: got {value!r}; allowed are numbers in [{low:g}, {high:g}]"
        ) from None
    if not bool(((tensor >= low) & (tensor <= high)).all()):
        raise ValueError(
            f"{name}: got {value}; allowed is [{low:g}, {high:g}]{' ' + unit if unit else ''}"
        )
    return value


def check_count(value: int, low: int, name: str) -> int:
    """Return ``value`` if it is a whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name}: got {value!r}; allowed are whole numbers from {low} up")
    return value


def check_device(device: str | torch.device) -> torch.device:
    """Return the device if this machine has it. ``auto`` takes a GPU if there is one."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device: got {device!r}; allowed are auto, cpu, cuda, cuda:N") from None
    if found.type == "cuda" and (
        not torch.cuda.is_available() or (found.index or 0) >= torch.cuda.device_count()
    ):
        raise ValueError(
            f"device: got {device!r}, but this machine shows {torch.cuda.device_count()} CUDA "
            "devices; use device='cpu' or 'auto'"
        )
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device: got {device!r}; allowed are auto, cpu, cuda, cuda:N")
    return found
