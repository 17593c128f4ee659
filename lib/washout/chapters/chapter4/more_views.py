"""Tables of method 2: every detector on the same images, what it was trained on, whom it finds."""

from __future__ import annotations

from typing import Any

from washout import papers
from washout.chapters.chapter4.pools import Found, Rows, firsts, untrained
from washout.chapters.chapter4.settings import (
    CLEAN,
    DETECTORS_OF_ALL,
    FEATURES,
    MAIN,
    NOISE,
    PCA,
    RATES,
    ROUNDABLE,
    ROUNDED,
    SEPARATE,
)
from washout.chapters.chapter4.views import attack_name, counted, present, rate
from washout.chapters.shown import SETS
from washout.store import Row

SEEN = {
    "latents": "Glow's last latents, the paper's",
    "all": "all of Glow's latents",
    "random": "all latents of a Glow with random weights, whitened",
    "pixels": "raw pixels",
    "whitened": "whitened pixels: all principal components",
    "residuals": "statistics of fine detail, 24 numbers",
    "grid": "the same and the distance to 8-bit levels",
    SEPARATE: "a separate network (Gong et al.)",
    PCA: "late principal components (Hendrycks & Gimpel)",
}
KINDS = (*FEATURES, SEPARATE, PCA)
# Whose line of Table 5 a detector stands beside.
QUOTED = {PCA: "pca", "sets": "distribution", SEPARATE: "separate"}
NOT_TRAINED = "not trained"


def quoted(kind: str) -> str:
    """What Table 5 prints of a kind of detector: FGSM / PGD / DeepFool, each in its own unit."""
    paper = papers.load("xiong")
    if kind == "latents":
        return " / ".join(f"{paper.numbers[f'xiong/table4/{m}'].value:g}" for m in MAIN)
    if kind not in QUOTED:
        return ""
    line = paper.quoted[QUOTED[kind]]
    said = " / ".join(f"{line[m]:g}" if m in line else "–" for m in MAIN)
    return f"{said} ({line['of']})" if "of" in line else said


def _estimate(row: Row | None, pool: str = "B") -> str:
    """A detector's area in a pool with its interval."""
    if row is None:
        return ""
    if untrained(row):
        return NOT_TRAINED
    part = row.values.get(pool, {})
    if "auc" not in part:
        return "–"
    return f"{part['auc']:.3f} [{part['auc_low']:.3f}, {part['auc_high']:.3f}]"


def _accuracy(group: Found, label: str, kind: str, found: tuple[int, int] | None) -> str:
    row = group.detector(label, kind)
    return NOT_TRAINED if row is not None and untrained(row) else counted(found)


def show_detectors(attacked: Rows, detections: Rows, sets: Rows = ()) -> None:
    """Table 5 rebuilt: every detector on the same images."""
    lines: list[dict[str, Any]] = []
    for group in firsts(attacked, detections, sets):
        for kind in KINDS:
            rows = {label: group.detector(label, kind) for label in group.attacks}
            if not any(rows.values()):
                continue
            line = {
                "dataset": SETS[group.dataset],
                "looks at": SEEN[kind],
                "quoted: FGSM / PGD / DeepFool, %": quoted(kind),
            }
            for label in rows:
                found = group.detected(label, kind)
                line[f"{attack_name(label)}, accuracy"] = _accuracy(group, label, kind, found)
            for label, row in rows.items():
                line[f"{attack_name(label)}, area in pool B"] = _estimate(row)
            for label in rows:
                found = group.detected_all(label, kind)
                line[f"{attack_name(label)}, all images"] = _accuracy(group, label, kind, found)
            flagged = next((group.flagged(label, kind) for label in rows if rows[label]), None)
            if flagged is not None:
                clean = flagged[1]
                line["clean flagged"] = rate(int(clean.sum()), len(clean))
            noise = group.flagged(NOISE, kind)
            if noise is not None:
                line["random signs flagged"] = rate(int(noise[0].sum()), len(noise[0]))
            lines.append(line)
        lines += _largest_sets(group)
    lines = [{key: line.get(key, "") for key in lines[0]} for line in lines]
    caption = (
        "Table 5 rebuilt: one set of images, one training mixture, every detector. Accuracies are "
        "over half clean, half attacked images of pool A, or of all images; areas over pool B."
    )
    present([*detections, *sets], lines, caption, "detectors")


def _largest_sets(group: Found) -> list[dict[str, Any]]:
    """The largest sets that the two-sample test of Table 5 was asked about, in pixels."""
    own = [
        row
        for row in group.rows
        if row.table == "two_sample" and row.spec["test"] == "mmd" and row.spec["space"] == "pixels"
    ]
    if not own:
        return []
    size = max(row.spec["size"] for row in own)
    found = {row.spec["attack"]: row.values for row in own if row.spec["size"] == size}
    line = {
        "dataset": SETS[group.dataset],
        "looks at": f"sets of {size} images, not single ones (Grosse et al.)",
        "quoted: FGSM / PGD / DeepFool, %": quoted("sets"),
    }
    for label in MAIN:
        if label in found:
            told = rate(found[label]["found"], found[label]["trials"])
            line[f"{attack_name(label)}, accuracy"] = f"sets called attacked: {told}"
    if CLEAN in found:
        line["clean flagged"] = (
            f"sets called attacked: {rate(found[CLEAN]['found'], found[CLEAN]['trials'])}"
        )
    return [line]


def show_rates(attacked: Rows, detections: Rows) -> None:
    """Attacks found at thresholds that flag 1 % and 5 % of clean validation images."""
    lines = []
    for group in firsts(attacked, detections):
        for kind in KINDS:
            for label in group.attacks:
                row = group.detector(label, kind)
                if row is None or untrained(row):
                    continue
                if not all("auc" in row.values[pool] for pool in "AB"):
                    continue
                a, b = row.values["A"], row.values["B"]
                line = {
                    "dataset": SETS[group.dataset],
                    "looks at": SEEN[kind],
                    "attack": attack_name(label),
                }
                for name_, share in RATES.items():
                    words = f"at {100 * share:.0f} %"
                    line[f"clean flagged, {words}"] = rate(a[name_]["false"], a["clean"])
                    line[f"found, {words}"] = rate(a[name_]["found"], a["n"])
                    line[f"pool B, {words}"] = rate(b[name_]["found"], b["n"])
                line["images, A and B"] = f"{a['n']:,}, {b['n']:,}"
                lines.append(line)
    caption = (
        "Attacks found at thresholds that flag 1 % and 5 % of clean validation images, in pools A "
        "and B, and what the same thresholds flag of clean test images."
    )
    present(detections, lines, caption, "rates")


def show_training(attacked: Rows, detections: Rows) -> None:
    """One detector for all attacks, one for each, and one that has not seen the attack."""
    words = {"mixture": "the mixture", "own": "this attack alone", "without": "the two others"}
    lines = []
    for group in firsts(attacked, detections):
        for label in MAIN:
            ways = {"mixture": "mixture", "own": label, "without": f"without-{label}"}
            for way, trained in ways.items():
                row = group.detector(label, "latents", trained)
                if row is None:
                    continue
                lines.append(
                    {
                        "dataset": SETS[group.dataset],
                        "attack": attack_name(label),
                        "trained on": words[way],
                        "accuracy": counted(group.detected(label, "latents", trained)),
                        "area": _estimate(row),
                        "training": _learned(row.values.get("training")),
                    }
                )
            row = group.detector(label, SEPARATE, label)
            if row is not None:
                lines.append(
                    {
                        "dataset": SETS[group.dataset],
                        "attack": attack_name(label),
                        "trained on": "the mixture, then this attack: a network on images",
                        "accuracy": counted(group.detected(label, SEPARATE, label)),
                        "area": _estimate(row),
                        "training": _learned(row.values.get("training")),
                    }
                )
    caption = (
        "What the detector was trained on: five layers on Glow's latents. Accuracies over pool "
        "A, areas over pool B; a loss of 0.69 is that of guessing."
    )
    present(detections, lines, caption, "training", papers_attacks=True)


def _learned(training: dict[str, Any] | None) -> str:
    if not training:
        return ""
    return (
        f"best of {training['epochs']} epochs: {training['best']}, loss {training['loss']:.2f}, "
        f"validation {training['validation_loss']:.2f}"
    )


def show_unseen(attacked: Rows, detections: Rows) -> None:
    """Other epsilons and attacks that no detector was trained on, at the same threshold."""
    lines = []
    for group in firsts(attacked, detections):
        labels = dict.fromkeys(r.spec["attack"] for r in group.rows if r.table == "attack")
        for label in labels:
            if label in (*MAIN, NOISE):
                continue
            line: dict[str, Any] = {
                "dataset": SETS[group.dataset],
                "attack": attack_name(label),
            }
            pool = group.pool(label, "B")
            for kind in DETECTORS_OF_ALL:
                found = group.flagged(label, kind)
                if found is None or pool is None or not pool.any():
                    continue
                row = group.detector(label, kind)
                line[f"found: {SEEN[kind]}"] = rate(int(found[0][pool].sum()), int(pool.sum()))
                line[f"area: {SEEN[kind]}"] = _estimate(row)
                clean = found[1]
                line[f"clean flagged: {SEEN[kind]}"] = rate(int(clean.sum()), len(clean))
            if len(line) > 2:
                line["images"] = int(pool.sum()) if pool is not None else 0
                lines.append(line)
    caption = "Attacks that the detectors were not trained on; pool B."
    present(detections, lines, caption, "unseen")


def show_rounded(attacked: Rows, detections: Rows) -> None:
    """Attacked images as a file would hold them, those that fool in both forms."""
    lines = []
    for group in firsts(attacked, detections):
        for kind in ROUNDABLE:
            for label in MAIN:
                rows = [
                    group.detector(label, kind),
                    group.detector(label, kind, rounded=True),
                    group.detector(label, kind, f"mixture{ROUNDED}", rounded=True),
                ]
                if rows[0] is None or rows[1] is None:
                    continue
                areas = [_estimate(r, "both") for r in rows]
                lines.append(
                    {
                        "dataset": SETS[group.dataset],
                        "looks at": SEEN[kind],
                        "attack": attack_name(label),
                        "area": areas[0],
                        "after rounding to 8 bits": areas[1],
                        "trained on attacked images that were rounded": areas[2],
                        "images": rows[0].values.get("both", {}).get("n", 0),
                    }
                )
    caption = (
        "Attacked images as a file holds them: areas over images that are read rightly when clean "
        "and misread both before and after rounding."
    )
    present(detections, lines, caption, "rounded", papers_attacks=True)
