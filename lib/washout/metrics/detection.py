"""What a detector did to clean and adversarial images, counted in both conventions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Confusion(NamedTuple):
    """Counts of one convention, and the rates that follow from them."""

    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def precision(self) -> float:
        """Share of the declared positives that are positive; NaN if there are none."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of the positives that are declared so; NaN if there are none."""
        return _share(self.tp, self.tp + self.fn)


@dataclass(frozen=True)
class DetectionCounts:
    """What a detector did to clean and adversarial images, in words that no convention turns.

    Attributes:
        caught: adversarial images that it flagged.
        missed: adversarial images that it let through.
        rejected: clean images that it flagged.
        accepted: clean images that it let through.
    """

    caught: int
    missed: int
    rejected: int
    accepted: int

    @property
    def usual(self) -> Confusion:
        """Positive is adversarial: what a detector is to find."""
        return Confusion(tp=self.caught, fp=self.rejected, tn=self.accepted, fn=self.missed)

    @property
    def paper(self) -> Confusion:
        """Positive is clean, as in Table 2 of Wang and Zhang (its counts say so, not its text)."""
        return Confusion(tp=self.accepted, fp=self.missed, tn=self.caught, fn=self.rejected)

    @property
    def n(self) -> int:
        """All images."""
        return self.caught + self.missed + self.rejected + self.accepted

    @property
    def right(self) -> int:
        """Images on the right side, the same in both conventions."""
        return self.caught + self.accepted

    @property
    def accuracy(self) -> float:
        """Detection accuracy: ``right / n``; NaN if there are no images."""
        return _share(self.right, self.n)

    @property
    def detection_rate(self) -> float:
        """Share of adversarial images that are flagged; NaN if there are none."""
        return self.usual.recall

    @property
    def rejection_rate(self) -> float:
        """Share of clean images that are flagged; NaN if there are none."""
        return _share(self.rejected, self.rejected + self.accepted)


def detection_counts(flagged: Tensor, is_adversarial: Tensor) -> DetectionCounts:
    """Count a detector's answers.

    Args:
        flagged: (B,), bool, what the detector declares adversarial.
        is_adversarial: (B,), bool, what is.

    Raises:
        ValueError: tensors that are not bool or differ in shape.
    """
    _check_bool(flagged, is_adversarial)
    return DetectionCounts(
        caught=int((flagged & is_adversarial).sum()),
        missed=int((~flagged & is_adversarial).sum()),
        rejected=int((flagged & ~is_adversarial).sum()),
        accepted=int((~flagged & ~is_adversarial).sum()),
    )


@dataclass(frozen=True)
class AcceptedCounts:
    """How the images that a detector let through are classified: Table 3 of Wang and Zhang.

    Attributes:
        clean_correct: clean images let through and classified right.
        clean_incorrect: clean images let through and misclassified.
        adversarial_correct: adversarial images let through and yet classified right.
        adversarial_incorrect: adversarial images let through that fool the classifier.
    """

    clean_correct: int
    clean_incorrect: int
    adversarial_correct: int
    adversarial_incorrect: int

    @property
    def n(self) -> int:
        """All images let through; the base of the table's percentages."""
        return sum(vars(self).values())

    @property
    def right(self) -> int:
        """Images let through and classified right, whatever they are."""
        return self.clean_correct + self.adversarial_correct

    @property
    def accuracy(self) -> float:
        """The table's classification accuracy, ``right / n``: it ignores what was rejected."""
        return _share(self.right, self.n)


def accepted_counts(flagged: Tensor, is_adversarial: Tensor, correct: Tensor) -> AcceptedCounts:
    """Count how the images let through are classified.

    Args:
        flagged: (B,), bool, what the detector declares adversarial.
        is_adversarial: (B,), bool, what is.
        correct: (B,), bool, whether the classifier gives the true class.

    Raises:
        ValueError: tensors that are not bool or differ in shape.
    """
    _check_bool(flagged, is_adversarial, correct)
    clean, adversarial = ~flagged & ~is_adversarial, ~flagged & is_adversarial
    return AcceptedCounts(
        clean_correct=int((clean & correct).sum()),
        clean_incorrect=int((clean & ~correct).sum()),
        adversarial_correct=int((adversarial & correct).sum()),
        adversarial_incorrect=int((adversarial & ~correct).sum()),
    )


def accuracy(classes: Tensor, labels: Tensor) -> float:
    """Share of images with the right class, in [0, 1].

    Args:
        classes: (B,), int64, predicted.
        labels: (B,), int64, true.

    Raises:
        ValueError: no images, or shapes that differ.
    """
    if classes.shape != labels.shape or labels.ndim != 1 or not len(labels):
        raise ValueError(
            f"classes: got shape {tuple(classes.shape)} for labels of {tuple(labels.shape)}; "
            "allowed is (B,) for both: of logits take .argmax(1)"
        )
    return (classes == labels).double().mean().item()


def _check_bool(first: Tensor, *others: Tensor) -> None:
    for tensor in (first, *others):
        if tensor.dtype != torch.bool or tensor.shape != first.shape:
            raise ValueError(
                f"got {tensor.dtype} of shape {tuple(tensor.shape)}; allowed is torch.bool of "
                f"one shape for all, here {tuple(first.shape)}"
            )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
