"""Hand-made rows of chapter 4: the paper as told, and changes of it."""

from __future__ import annotations

import numpy as np
import torch

from washout.chapters.bits import packed, packed_floats
from washout.chapters.chapter4 import hypotheses
from washout.chapters.chapter4.pools import Found
from washout.chapters.chapter4.settings import MAIN, PCA, SEPARATE, WIDTHS
from washout.store import Row
from washout.study import Study, Table

N = 1000
BASE = {"dataset": "cifar10", "net": "resnet8", "seed": 0}
RIGHT = np.arange(N) >= 120  # 12 % are misread when clean
SUCCESS = {"fgsm": 0.826, "pgd": 1.0, "deepfool": 0.99}
RESTORED = {"none": 0.5, "fgsm": 0.48, "pgd": 0.53, "deepfool": 0.56}
FLAGGED = {"fgsm": 0.97, "pgd": 0.97, "deepfool": 0.29}
FALSE_ALARMS = 0.03


def spread(share: float, start: int = 0, n: int = N) -> np.ndarray:
    """Bits that are on evenly; more are on wherever fewer are."""
    order = np.random.default_rng(start).permutation(n)
    return order < round(share * n)


def bits(values: np.ndarray) -> str:
    return packed(torch.from_numpy(values))


def row(table: str, values: dict, profile: str = "paper", **spec) -> Row:
    run = {"device": "cpu", "commit": "0", "versions": {}, "seconds": 1.0, "finished": 1e9}
    return Row(table, profile, {**BASE, **spec}, {}, values, run)


def attacks(success=None, net: str = "resnet8") -> list[Row]:
    """Attacks that turn the first images."""
    found = []
    for label, share in {**SUCCESS, **(success or {})}.items():
        wrong = ~RIGHT | (np.arange(N) < share * N)
        values = {"n": N, "right": bits(RIGHT), "wrong": bits(wrong), "wrong_rounded": bits(wrong),
                  "unchanged": 0, "linf": 0.02, "l2": 1.0}  # fmt: skip
        found.append(row("attack", values, attack=label, net=net))
    return found


def widths(best: int = 4, other: int = 90) -> list[Row]:
    values = {w: {"pool": 100, "restored": 56 if w == best else other} for w in WIDTHS}
    return [row("width", values[w], width=w) for w in WIDTHS]


def cleaned(width: int = 4, change=None, noise: float = 0.2) -> list[Row]:
    found = []
    for label in ("none", *MAIN):
        share = (change or {}).get(label, RESTORED[label])
        wrong = np.zeros(N, bool) if label == "none" else None
        for defense, rate in (("none", 0.0), (f"ae{width}", share), (f"noise:ae{width}", noise)):
            right = spread(rate) if wrong is None or defense != "none" else RIGHT
            values = {"n": N, "correct": int(right.sum()), "right": bits(right), "survived": 0.4,
                      "shrunk": 900, "changed": 950, "moved": 2.0, "back": 2.0}  # fmt: skip
            found.append(row("cleaned", values, attack=label, defense=defense))
    return found


def detections(change=None, profile: str = "paper", others: float | None = None) -> list[Row]:
    found = []
    for features in ("latents", PCA, SEPARATE):
        for label in MAIN:
            share = (change or {}).get(label, FLAGGED[label])
            if features != "latents" and others is not None:
                share = others
            values = {"n": N, "n_clean": N, "flagged": bits(spread(share)),
                      "flagged_clean": bits(spread(FALSE_ALARMS, 1))}  # fmt: skip
            found.append(row("detection", values, profile, features=features, trained="mixture",
                             attack=label))  # fmt: skip
    return found


def ranked(auc: float, reach: float = 0.01, loss: float = 0.5, pool: str = "B") -> dict:
    """What a detection row holds of its area and of its training."""
    part = {"n": N, "clean": N, "auc": auc, "auc_low": auc - reach, "auc_high": auc + reach}
    alarms = bits(spread(FALSE_ALARMS))
    return {"n": N, "n_clean": N, "flagged": alarms, "flagged_clean": alarms, pool: part,
            "training": {"validation_loss": loss}}  # fmt: skip


def detection(kind: str, label: str, values: dict, trained: str = "mixture", **more) -> Row:
    return row("detection", values, features=kind, trained=trained, attack=label, **more)


def distances(ratio: float = 2.0, profile: str = "paper") -> list[Row]:
    pixels = torch.linspace(0.05, 0.2, N)
    values = {"n": N, "pixels": packed_floats(pixels), "last": packed_floats(ratio * pixels)}
    still = {"n": N, "last": packed_floats(0.04 * torch.ones(N))}
    return [row("distance", values, profile, change=label) for label in MAIN] + [
        row("distance", still, profile, change="dequantized")
    ]


def flows(bits: float = 3.5) -> list[Row]:
    return [Row("flow", "paper", {"dataset": "cifar10", "seed": 0, "flow": "trained"}, {},
                {"bits": bits}, {})]  # fmt: skip


def knowing(accepted: int, n: int = 80, **spec) -> Row:
    settings = {"guard": "latents", "knows": True, "eps": 0.02, **spec}
    return row("knowing", {"accepted": accepted, "misread": n, "n": n, "steps": 3}, **settings)


def group(*tables) -> Found:
    return Found("cifar10", 0, *tables)


def views(areas: dict[str, float], reach: float = 0.01, **losses: float) -> list:
    """Detection rows of several views, each with one area for all three attacks."""
    return [
        detection(kind, label, ranked(area, reach, losses.get(kind, 0.5)))
        for kind, area in areas.items()
        for label in MAIN
    ]


ALL = {"latents": 0.9, **dict.fromkeys((*hypotheses.NAMED, *hypotheses.LATER), 0.9)}


def values(study: Study, table: Table, spec: dict) -> dict:
    """What a row holds, computed now if it is not stored."""
    return study.row(table, spec).values
