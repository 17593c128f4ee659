"""Detectors of adversarial images: images to scores, and thresholds on them."""

from washout.detectors.crops import crop_agreement, five_crops
from washout.detectors.dropout import DropoutPrediction, mc_dropout
from washout.detectors.ensemble import DropoutEnsemble, dropout_ensemble
from washout.detectors.hybrid import Hybrid
from washout.detectors.learned import Detector, fit_detector
from washout.detectors.pca import PCADetector
from washout.detectors.simple import background, max_softmax
from washout.detectors.statistics import residual_statistics, residuals, statistic_names
from washout.detectors.thresholds import (
    Choice,
    choose_threshold,
    choose_thresholds,
    information_gain,
    threshold_at_fpr,
)
from washout.detectors.two_sample import (
    TwoSample,
    energy_distance,
    energy_test,
    mmd,
    mmd_test,
)
from washout.detectors.whitening import Whitening

__all__ = [
    "Choice",
    "Detector",
    "DropoutEnsemble",
    "DropoutPrediction",
    "Hybrid",
    "PCADetector",
    "TwoSample",
    "Whitening",
    "background",
    "choose_threshold",
    "choose_thresholds",
    "crop_agreement",
    "dropout_ensemble",
    "energy_distance",
    "energy_test",
    "fit_detector",
    "five_crops",
    "information_gain",
    "max_softmax",
    "mc_dropout",
    "mmd",
    "mmd_test",
    "residual_statistics",
    "residuals",
    "statistic_names",
    "threshold_at_fpr",
]
