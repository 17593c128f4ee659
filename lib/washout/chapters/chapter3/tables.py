"""The paper's tables and figure: undefended accuracy, detection, histograms, examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from washout.chapters.chapter3.measure import (
    attacked,
    data,
    depends,
    depends_on_shared,
    draw,
    flags,
    generator,
    measure,
    measured,
    network,
    strength,
)
from washout.chapters.chapter3.settings import COUNT, CROP, CROPS, MAIN, PROFILES
from washout.data import Split
from washout.detectors import Hybrid, choose_threshold, choose_thresholds
from washout.inference import predict
from washout.metrics import auc, detection_counts
from washout.store import Spec
from washout.study import Study, Table


def baseline(spec: Spec, study: Study) -> dict[str, Any]:
    """Clean accuracy on all test images."""
    found = network(spec, study)
    test = data(spec, study).test
    right = predict(found.model, test.images, device=study.device) == test.labels
    return {
        "correct": int(right.sum()),
        "n": len(right),
        "parameters": sum(p.numel() for p in found.model.parameters()),
        "epochs": len(found.history),
        "weights": found.hash,
    }


def undefended(spec: Spec, study: Study) -> dict[str, Any]:
    """Table 1: the classifier alone on clean and attacked images, nothing removed."""
    clean = measured(spec, study, "test", None)
    adversarial = measured(spec, study, "test", spec["attack"])
    label, fooled = clean["label"], adversarial["plain"] != clean["label"]
    was_right = clean["plain"] == label
    fooling = fooled & was_right
    return {
        "n": len(label),
        "clean_correct": int(was_right.sum()),
        "adversarial_correct": int((~fooled).sum()),
        "rounded_correct": int((adversarial["rounded"] == label).sum()),
        "mix_correct": int(was_right.sum() + (~fooled).sum()),
        "success": int(fooling.sum()),
        **{f"median_{norm}": _median(adversarial[norm], fooling) for norm in ("l2", "linf", "l0")},
        "settings": strength(spec, study),
        "weights": network(spec, study).hash,
    }


def _median(values: Tensor, among: Tensor) -> float | None:
    return values[among].double().median().item() if among.any() else None


def mixture(spec: Spec, study: Study, part: str, attack: str) -> dict[str, np.ndarray]:
    """Clean images and the same images attacked, those misclassified when clean removed.

    Returns:
        each measurement as an array (2m,), clean first, and ``adversarial`` (2m,) bool.
    """
    clean, adversarial = (measured(spec, study, part, a) for a in (None, attack))
    kept = clean["plain"] == clean["label"]
    joined = {name: torch.cat([clean[name][kept], adversarial[name][kept]]) for name in clean}
    joined["adversarial"] = torch.arange(2 * int(kept.sum())) >= int(kept.sum())
    return {name: value.numpy() for name, value in joined.items()}


def agreement(pool: dict[str, np.ndarray], crop: int = CROP) -> np.ndarray:
    return pool["agreement"][:, CROPS.index(crop)]


# How a variant of the rule differs from the paper's: thresholds chosen where, which parts used.
RULES: dict[str, dict[str, Any]] = {
    "hybrid": {},
    "shared": {"chosen_on": "shared"},
    "chosen-on-test": {"chosen_on": "test"},
    "strict": {"inclusive": False},
    "uncertainty": {"count": 0},  # one threshold, no crops
    "crops": {"chosen_on": None},  # no thresholds, every image goes to the crops
    **{f"count-{count}": {"count": count} for count in range(1, 5)},
}


def rule(spec: Spec, study: Study, crop: int = CROP) -> Hybrid:
    """The row's rule with its thresholds.

    They are chosen per attack on validation images (as in the paper, but not on the test images),
    once for all three attacks (``shared``), or on the test mixture itself (``chosen-on-test``).
    """
    settings = RULES[spec["rule"]]
    count, inclusive = settings.get("count", COUNT), settings.get("inclusive", True)
    chosen_on = settings.get("chosen_on", "validation")
    if chosen_on is None:
        return Hybrid(0.0, float("inf"), count, inclusive)
    part = "test" if chosen_on == "test" else "validation"
    names = MAIN if chosen_on == "shared" else (spec["attack"],)
    pools = [mixture(spec, study, part, name) for name in names]
    pool = {name: np.concatenate([p[name] for p in pools]) for name in pools[0]}
    uncertainty, adversarial = (torch.from_numpy(pool[k]) for k in ("uncertainty", "adversarial"))
    if count == 0:
        threshold, _ = choose_threshold(uncertainty, adversarial)
        return Hybrid(threshold, threshold, 0)
    chosen = choose_thresholds(
        uncertainty,
        torch.from_numpy(agreement(pool, crop)),
        adversarial,
        count=count,
        inclusive=inclusive,
    )
    return Hybrid(chosen.low, chosen.high, count, inclusive)


def flagged(found: Hybrid, pool: dict[str, np.ndarray], crop: int = CROP) -> np.ndarray:
    """Which of the pool's images the rule calls adversarial."""
    return found.flag(
        torch.from_numpy(pool["uncertainty"]), torch.from_numpy(agreement(pool, crop))
    ).numpy()


def outcome(found: Hybrid, pool: dict[str, np.ndarray], crop: int = CROP) -> dict[str, Any]:
    """Tables 2 and 3 for one pool: counts of decisions, and of classes among what was accepted."""
    said = flagged(found, pool, crop)
    attacked_, right = pool["adversarial"], pool["provisional"] == pool["label"]
    counts = detection_counts(torch.from_numpy(said), torch.from_numpy(attacked_))
    unsure = (pool["uncertainty"] >= found.low) & (pool["uncertainty"] <= found.high)
    return {
        "low": found.low,
        "high": min(found.high, 1.0),
        "caught": counts.caught,
        "missed": counts.missed,
        "rejected": counts.rejected,
        "accepted": counts.accepted,
        "accepted_right": int((~attacked_ & ~said & right).sum()),
        "missed_right": int((attacked_ & ~said & right).sum()),
        "n": counts.n,
        # How many images take each way through Algorithm 1, clean and attacked.
        **{
            f"{kind}_{way}": int((of & taken).sum())
            for kind, of in (("clean", ~attacked_), ("adversarial", attacked_))
            for way, taken in (
                ("sure_adversarial", pool["uncertainty"] > found.high),
                ("sure_clean", pool["uncertainty"] < found.low),
                ("crops_agree", unsure & ~said),
                ("crops_disagree", unsure & said),
            )
        },
    }


def detection(spec: Spec, study: Study) -> dict[str, Any]:
    """Tables 2 and 3: one rule against one attack on the test mixture."""
    pool = mixture(spec, study, "test", spec["attack"])
    found = rule(spec, study)
    values = outcome(found, pool)
    if spec["rule"] != "hybrid":  # paired with the paper's rule on the same images
        right = flagged(found, pool) == pool["adversarial"]
        paper = flagged(rule({**spec, "rule": "hybrid"}, study), pool) == pool["adversarial"]
        values["hybrid_only"] = int((paper & ~right).sum())
        values["this_only"] = int((right & ~paper).sum())
    clean = {k: v.numpy() for k, v in measured(spec, study, "test", None).items()}
    accepted = ~flagged(found, clean)
    values |= {  # nothing removed: what a user of the whole system sees on clean images
        "all_clean": len(accepted),
        "all_clean_accepted": int(accepted.sum()),
        "all_clean_right": int((accepted & (clean["provisional"] == clean["label"])).sum()),
        "weights": network(spec, study).hash,
    }
    return values


WIDEST = 0.2


def histogram(spec: Spec, study: Study) -> dict[str, Any]:
    """Figure 1: uncertainty of clean and attacked images in 100 bins; which is larger, in pairs."""
    pool = mixture(spec, study, "test", spec["attack"])
    u, adversarial = pool["uncertainty"], pool["adversarial"]
    clean, attacked_ = u[~adversarial], u[adversarial]
    # One scale for all attacks; what lies beyond goes to the last bin.
    edges = np.linspace(0, WIDEST, 101)
    kept = agreement(pool)
    area, low, high = auc(attacked_, clean)
    return {
        "edges": [0.0, WIDEST],
        "clean": np.histogram(clean.clip(max=WIDEST), edges)[0],
        "adversarial": np.histogram(attacked_.clip(max=WIDEST), edges)[0],
        "n": len(clean),
        "auc": area,
        "auc_low": low,
        "auc_high": high,
        "attacked_higher": int((attacked_ > clean).sum()),
        "clean_higher": int((clean > attacked_).sum()),
        "attacked_disagrees_more": int((kept[adversarial] < kept[~adversarial]).sum()),
        "clean_disagrees_more": int((kept[adversarial] > kept[~adversarial]).sum()),
        "clean_agree_all": int((kept[~adversarial] == 5).sum()),
        "attacked_agree_all": int((kept[adversarial] == 5).sum()),
        "weights": network(spec, study).hash,
    }


def examples(spec: Spec, study: Study) -> dict[str, Any]:
    """The first correctly classified test image of each class, clean and attacked, as uint8."""
    found, pool = network(spec, study), draw(spec, study, "test")
    right = predict(found.model, pool.images, device=study.device) == pool.labels
    chosen = [
        int(i[0]) for k in range(10) if len(i := (right & (pool.labels == k)).nonzero().flatten())
    ]
    pool = Split(pool.images[chosen], pool.labels[chosen])
    images = attacked(spec, study, pool, strength(spec, study))
    seen = measure(found.model, images, pool, spec, study)
    thresholds = "hybrid" if spec["attack"] in MAIN else "shared"
    said = rule({**spec, "rule": thresholds}, study).flag(
        seen["uncertainty"], seen["agreement"][:, CROPS.index(CROP)]
    )
    return {
        "index": draw_index(spec, study)[chosen],
        "label": pool.labels,
        "predicted": seen["plain"],
        "flagged": said,
        "images": (images[:, 0] * 255).round().byte().numpy(),
        "clean": (pool.images[:, 0] * 255).round().byte().numpy(),
        "licence": data(spec, study).licence,
        "weights": found.hash,
    }


def draw_index(spec: Spec, study: Study) -> Tensor:
    """Each drawn test image's index in the dataset's own test set."""
    n, size = PROFILES[study.profile].n, len(data(spec, study).test.labels)
    return torch.randperm(size, generator=generator(spec, "draw"))[:n]


BASELINE = Table("baseline", baseline, depends, flags=flags)
UNDEFENDED = Table("undefended", undefended, depends, flags=flags)
DETECTION = Table("detection", detection, depends, flags=flags)
HISTOGRAM = Table("histogram", histogram, depends, flags=flags)
EXAMPLES = Table("examples", examples, depends_on_shared, flags=flags)
