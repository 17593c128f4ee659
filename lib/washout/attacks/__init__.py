"""Attacks: small batched functions of (model, x, y), and a registry that runs them by name."""

from washout.attacks.bim import bim
from washout.attacks.cw import cw
from washout.attacks.deepfool import deepfool
from washout.attacks.deepfool_fb2 import deepfool_fb2
from washout.attacks.fgsm import fgsm
from washout.attacks.fgsm_min import fgsm_min
from washout.attacks.jsma import jsma
from washout.attacks.pgd import pgd
from washout.attacks.pgd_min import pgd_min
from washout.attacks.registry import Attack, describe, get, names
from washout.attacks.result import Attacked
from washout.attacks.running import run

ifgsm = bim

__all__ = [
    "Attack",
    "Attacked",
    "bim",
    "cw",
    "deepfool",
    "deepfool_fb2",
    "describe",
    "fgsm",
    "fgsm_min",
    "get",
    "ifgsm",
    "jsma",
    "names",
    "pgd",
    "pgd_min",
    "run",
]
