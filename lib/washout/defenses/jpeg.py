"""JPEG by the real codec: what a defender would run.

Source of the defense: Dziugaite et al., "A study of the effect of JPG compression on adversarial
images" (2016).
"""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from washout.checks import check_count, check_images

WORKERS = os.cpu_count() or 1
SLICES = 4  # for each worker, so that the last one to finish keeps no other waiting for long


def jpeg(images: Tensor, quality: int = 23) -> Tensor:
    """Compress each image and decompress it, by Pillow with its defaults.

    Pixels are first rounded to 8 bits. Pillow's defaults are libjpeg's: the quantization tables
    of the standard's Annex K scaled by the quality, and chroma at half the resolution (4:2:0).
    The work runs in threads on the CPU. The result carries no gradient: an attacker who knows the
    defense takes ``soft_jpeg``, or ``Proxy(jpeg)``.

    Args:
        images: (B, C, H, W) in [0, 1]; C is 1 (gray) or 3 (RGB).
        quality: from 1 to 100; 23 is what Luo and Pfister compare with, after Shaham et al.

    Returns:
        (B, C, H, W), multiples of 1/255, on the images' device and of their type.

    Raises:
        ValueError: bad images or quality, other numbers of channels.

    Source:
        Luo and Pfister, "Adversarial Defense of Image Classification Using a Variational
        Auto-Encoder" (2018), section 4.
    """
    check_codec(images, quality)
    levels = (images.detach() * 255).round().to("cpu", torch.uint8)
    # Pillow wants (H, W, C), and (H, W) for gray ones.
    pixels = levels.permute(0, 2, 3, 1).contiguous().numpy()
    pixels = pixels[..., 0] if images.shape[1] == 1 else pixels
    washed = np.empty_like(pixels)

    def work(rows: slice) -> None:
        for row in range(rows.start, rows.stop):
            washed[row] = _round_trip(pixels[row], quality)

    step = max(1, -(-len(pixels) // (WORKERS * SLICES)))
    parts = [slice(at, min(at + step, len(pixels))) for at in range(0, len(pixels), step)]
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, parts))
    found = torch.from_numpy(washed).reshape(levels.permute(0, 2, 3, 1).shape)
    return found.permute(0, 3, 1, 2).contiguous().to(images.device, images.dtype) / 255


def check_codec(images: Tensor, quality: int) -> None:
    """Check what both JPEGs take.

    Raises:
        ValueError: bad images or quality, other numbers of channels than 1 and 3.
    """
    check_images(images)
    if images.shape[1] not in (1, 3):
        raise ValueError(
            f"images: got {images.shape[1]} channels; allowed are 1 (gray) and 3 (RGB), "
            "e.g. images[:, :3] without the opacity"
        )
    if check_count(quality, 1, "quality") > 100:
        raise ValueError(f"quality: got {quality}; allowed are whole numbers from 1 to 100")


def _round_trip(pixels: np.ndarray, quality: int) -> np.ndarray:
    """(H, W) or (H, W, 3) of uint8 to the same, through memory."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
