"""Training: one ``fit`` for every network, and recipes whose weights are kept."""

from washout.training.augment import augmentation, flip, shift
from washout.training.loop import accuracy, cross_entropy, fit
from washout.training.recipes import Recipe, Trained, trained

__all__ = [
    "Recipe",
    "Trained",
    "accuracy",
    "augmentation",
    "cross_entropy",
    "fit",
    "flip",
    "shift",
    "trained",
]
