"""Detectors of adversarial images: images to scores, and thresholds on them."""

from washout.detectors.crops import crop_agreement, five_crops
from washout.detectors.dropout import DropoutPrediction, mc_dropout
from washout.detectors.ensemble import DropoutEnsemble, dropout_ensemble
from washout.detectors.hybrid import Hybrid
from washout.detectors.simple import background, max_softmax
from washout.detectors.thresholds import (
    Choice,
    choose_threshold,
    choose_thresholds,
    information_gain,
    threshold_at_fpr,
)

__all__ = [
    "Choice",
    "DropoutEnsemble",
    "DropoutPrediction",
    "Hybrid",
    "background",
    "choose_threshold",
    "choose_thresholds",
    "crop_agreement",
    "dropout_ensemble",
    "five_crops",
    "information_gain",
    "max_softmax",
    "mc_dropout",
    "threshold_at_fpr",
]
