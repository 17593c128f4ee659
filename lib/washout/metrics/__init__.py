"""Rates with their intervals, paired tests, ROC curves, detection counts, norms and margins."""

from washout.metrics.detection import (
    AcceptedCounts,
    Confusion,
    DetectionCounts,
    accepted_counts,
    accuracy,
    detection_counts,
)
from washout.metrics.distances import Norms, norms, relative_l2
from washout.metrics.intervals import (
    difference_interval,
    mcnemar,
    paired_interval,
    sign_test,
    wilson,
)
from washout.metrics.margins import margin_past
from washout.metrics.ranking import Curve, Estimate, auc, roc, tpr_at_fpr

__all__ = [
    "AcceptedCounts",
    "Confusion",
    "Curve",
    "DetectionCounts",
    "Estimate",
    "Norms",
    "accepted_counts",
    "accuracy",
    "auc",
    "detection_counts",
    "difference_interval",
    "margin_past",
    "mcnemar",
    "norms",
    "paired_interval",
    "relative_l2",
    "roc",
    "sign_test",
    "tpr_at_fpr",
    "wilson",
]
