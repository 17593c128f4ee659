"""The smallest defenses, and the controls that a real one has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from washout.checks import check_images

ROUNDS = 10  # bring the norm within a few thousandths even where half of the noise is clipped


def eight_bit(images: Tensor) -> Tensor:
    """Round to the 256 levels that an image file can hold.

    Source: ours (control). Attacks that stop at the decision boundary do not survive it. Carries
    no gradient, as that of rounding is 0; an attacker takes ``Proxy(eight_bit)``.

    Args:
        images: (B, C, H, W) in [0, 1].

    Returns:
        (B, C, H, W), multiples of 1/255.

    Raises:
        ValueError: bad images.
    """
    return (check_images(images).detach() * 255).round() / 255


def noise_like(
    images: Tensor, defended: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Gaussian noise in place of a defense: the control that changes each image by as much.

    Source: ours (control). A defense that does no better has washed nothing out; it has only
    moved the image.

    Args:
        images: (B, C, H, W) in [0, 1].
        defended: what the defense made of them.
        generator: where the noise comes from, on any device.

    Returns:
        (B, C, H, W) in [0, 1]. After clipping, each image's L2 distance to the original is that
        of ``defended``, as far as noise within [0, 1] can reach it.

    Raises:
        ValueError: bad images, or two shapes.
    """
    check_images(images)
    _same_shape(images, check_images(defended, "defended"), "defended")
    device = generator.device if generator is not None else images.device
    noise = torch.randn(images.shape, generator=generator, dtype=images.dtype, device=device)
    noise, target = noise.to(images.device), _norm(defended - images)
    # Clipping takes away the less, relatively, the smaller the noise: so this grows towards the
    # scale sought and never beyond it.
    for _ in range(ROUNDS):
        reached = _norm((images + noise).clamp(0, 1) - images)
        noise = noise * (target / reached.clamp(min=torch.finfo(images.dtype).tiny))
    return (images + noise).clamp(0, 1)


def average(*defended: Tensor) -> Tensor:
    """Pixel mean of what several defenses made of the same images.

    Args:
        defended: one or more of (B, C, H, W) in [0, 1].

    Returns:
        (B, C, H, W) in [0, 1]; differentiable.

    Raises:
        ValueError: no images, bad ones, or several shapes.

    Source:
        Luo and Pfister, "Adversarial Defense of Image Classification Using a Variational
        Auto-Encoder" (2018), section 6, the ensemble.
    """
    if not defended:
        raise ValueError("defended: got no images; allowed are one or more tensors (B, C, H, W)")
    for number, images in enumerate(defended):
        check_images(images, f"defended[{number}]")
        _same_shape(defended[0], images, f"defended[{number}]")
    total = defended[0]
    for images in defended[1:]:
        total = total + images
    return total / len(defended)


def _norm(images: Tensor) -> Tensor:
    """(B, 1, 1, 1): L2 norm of each image."""
    return images.reshape(len(images), -1).norm(dim=1).view(-1, 1, 1, 1)


def _same_shape(images: Tensor, other: Tensor, name: str) -> None:
    if images.shape != other.shape:
        raise ValueError(
            f"{name}: got shape {tuple(other.shape)}; allowed is that of the other images, "
            f"{tuple(images.shape)}"
        )
