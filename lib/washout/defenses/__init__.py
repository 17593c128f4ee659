"""Defenses that wash the noise out: images to images of the same shape, in [0, 1].

A defense is any such callable; ``Defended`` puts one in front of a classifier. Those with a setting
take it as a keyword: ``functools.partial(jpeg, quality=23)``.
"""

from washout.defenses.composed import (
    Compose,
    Defended,
    Defense,
    Ensemble,
    Expectation,
    Proxy,
)
from washout.defenses.jpeg import jpeg
from washout.defenses.jpeg_soft import soft_jpeg
from washout.defenses.kmeans import kmeans
from washout.defenses.patches import patchwise
from washout.defenses.simple import average, eight_bit, noise_like
from washout.defenses.smoothing import blur, smooth
from washout.defenses.tvm import tvm

__all__ = [
    "Compose",
    "Defended",
    "Defense",
    "Ensemble",
    "Expectation",
    "Proxy",
    "average",
    "blur",
    "eight_bit",
    "jpeg",
    "kmeans",
    "noise_like",
    "patchwise",
    "smooth",
    "soft_jpeg",
    "tvm",
]
