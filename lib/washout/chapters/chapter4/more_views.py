"""What the paper's tables leave out: other detectors, controls, distances, who knows."""

from __future__ import annotations

from typing import Any

import numpy as np

from washout.chapters.bits import unpacked_floats
from washout.chapters.chapter4.pools import Found, Rows
from washout.chapters.chapter4.settings import (
    AE,
    CLEAN,
    DEQUANTIZED,
    FEATURES,
    GUARD_RATE,
    MAIN,
    NOISE,
    PCA,
    RATES,
    ROUNDED,
    SEPARATE,
)
from washout.chapters.chapter4.views import (
    attack_name,
    counted,
    firsts,
    name,
    present,
    rate,
    three,
)
from washout.chapters.shown import SETS, stored

SEEN = {
    "latents": "Glow's last latents, the paper's",
    "all": "all of Glow's latents",
    "random": "last latents of a Glow with random weights, whitened",
    "pixels": "raw pixels",
    "whitened": "whitened pixels: all principal components",
    "residuals": "statistics of fine detail, 24 numbers",
    "grid": "the same and the distance to 8-bit levels",
    SEPARATE: "a separate network (Gong et al.)",
    PCA: "late principal components (Hendrycks & Gimpel)",
}
KINDS = (*FEATURES, SEPARATE, PCA)
QUOTED = {PCA: "100 / 92.8 / –", SEPARATE: "100 / – / –", "latents": "97.12 / 97.07 / 63.17"}
SPACES = {"pixels": "pixels", "latents": "Glow's last latents"}
ROUNDED_KINDS = ("latents", "residuals", "grid", "whitened", SEPARATE, PCA)
TESTS = {"mmd": "maximum mean discrepancy", "energy": "energy distance"}


def _estimate(part: dict[str, Any]) -> str:
    if "auc" not in part:
        return "–"
    return f"{part['auc']:.3f} [{part['auc_low']:.3f}, {part['auc_high']:.3f}]"


def detection_row(
    group: Found, label: str, features: str, trained: str = "mixture", **more: Any
) -> Any:
    """The stored row of one detector and one attack, or None."""
    return group.row("detection", attack=label, features=features, trained=trained, **more)


def show_detectors(attacked: Rows, detections: Rows) -> None:
    """Table 5 rebuilt: every detector on the same images."""
    lines = []
    for group in firsts(attacked, detections):
        for kind in KINDS:
            rows = {label: detection_row(group, label, kind) for label in MAIN}
            if not any(rows.values()):
                continue
            line = {
                "dataset": SETS[group.dataset],
                "looks at": SEEN[kind],
                "quoted: FGSM / PGD / DeepFool, %": QUOTED.get(kind, ""),
            }
            for label in MAIN:
                line[f"{attack_name(label)}, accuracy"] = counted(group.detected(label, kind))
            for label, row in rows.items():
                part = row.values["B"] if row else {}
                line[f"{attack_name(label)}, area in pool B"] = _estimate(part)
            flagged = next((group.flagged(label, kind) for label in MAIN if rows[label]), None)
            if flagged is not None:
                clean = flagged[1]
                line["clean flagged"] = rate(int(clean.sum()), len(clean))
            noise = group.flagged(NOISE, kind)
            if noise is not None:
                line["random signs flagged"] = rate(int(noise[0].sum()), len(noise[0]))
            lines.append(line)
    caption = (
        "Table 5 rebuilt: one set of images, one training mixture, every detector. Accuracies are "
        "over half clean, half attacked images of pool A, areas over pool B."
    )
    present(detections, lines, caption, "detectors")


def show_rates(attacked: Rows, detections: Rows) -> None:
    """Attacks found at thresholds that flag 1 % and 5 % of clean validation images."""
    lines = []
    for group in firsts(attacked, detections):
        for kind in KINDS:
            for label in MAIN:
                row = detection_row(group, label, kind)
                if row is None or not all("auc" in row.values[pool] for pool in "AB"):
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
                row = detection_row(group, label, "latents", trained)
                if row is None:
                    continue
                lines.append(
                    {
                        "dataset": SETS[group.dataset],
                        "attack": attack_name(label),
                        "trained on": words[way],
                        "accuracy": counted(group.detected(label, "latents", trained)),
                        "area": _estimate(row.values["B"]),
                        "training": _learned(row.values.get("training")),
                    }
                )
            row = detection_row(group, label, SEPARATE, label)
            if row is not None:
                lines.append(
                    {
                        "dataset": SETS[group.dataset],
                        "attack": attack_name(label),
                        "trained on": "the mixture, then this attack: a network on images",
                        "accuracy": counted(group.detected(label, SEPARATE, label)),
                        "area": _estimate(row.values["B"]),
                        "training": _learned(row.values.get("training")),
                    }
                )
    caption = (
        "What the detector was trained on: five layers on Glow's latents. Accuracies over pool "
        "A, areas over pool B; a loss of 0.69 is that of guessing."
    )
    present(detections, lines, caption, "training")


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
            for kind in ("latents", "residuals"):
                found = group.flagged(label, kind)
                if found is None or pool is None or not pool.any():
                    continue
                row = detection_row(group, label, kind)
                line[f"found: {SEEN[kind]}"] = rate(int(found[0][pool].sum()), int(pool.sum()))
                line[f"area: {SEEN[kind]}"] = _estimate(row.values["B"])
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
        for kind in ROUNDED_KINDS:
            for label in MAIN:
                rows = [
                    detection_row(group, label, kind),
                    detection_row(group, label, kind, rounded=True),
                    detection_row(group, label, kind, f"mixture{ROUNDED}", rounded=True),
                ]
                if rows[0] is None or rows[1] is None:
                    continue
                areas = [_estimate(r.values.get("both", {})) if r else "" for r in rows]
                lines.append(
                    {
                        "dataset": SETS[group.dataset],
                        "looks at": SEEN[kind],
                        "attack": attack_name(label),
                        "area": areas[0],
                        "after rounding to 8 bits": areas[1],
                        "trained on rounded images too": areas[2],
                        "images": rows[0].values.get("both", {}).get("n", 0),
                    }
                )
    caption = (
        "Attacked images as a file holds them: areas over images that are read rightly when clean "
        "and misread both before and after rounding."
    )
    present(detections, lines, caption, "rounded")


def show_sets(rows: Rows, test: str = "mmd") -> None:
    """How often a two-sample test calls a set attacked, by its size."""
    lines = []
    for group in firsts(rows):
        for space, words in SPACES.items():
            for label in (CLEAN, *MAIN):
                own = [
                    r
                    for r in group.rows
                    if r.spec["test"] == test
                    and r.spec["space"] == space
                    and r.spec["attack"] == label
                ]
                if not own:
                    continue
                line = {
                    "dataset": SETS[group.dataset],
                    "in": words,
                    "against clean images": "other clean images" if label == CLEAN
                    else attack_name(label),
                }  # fmt: skip
                for r in sorted(own, key=lambda r: r.spec["size"]):
                    line[f"sets of {r.spec['size']}"] = rate(r.values["found"], r.values["trials"])
                line["pairs of sets"] = own[0].values["trials"]
                lines.append(line)
    caption = f"Sets told apart by the {TESTS[test]} (p ≤ 0.05); not a detector of images."
    present(rows, lines, caption, f"sets-{test}")


def show_distances(rows: Rows) -> None:
    """How far each change goes, in units of the median distance of two clean images."""
    words = {NOISE: "random signs, ε 0.02", DEQUANTIZED: "another draw of the 8-bit noise"}
    lines = []
    for row in stored(rows):
        v, change = row.values, row.spec["change"]
        pixels, last = (unpacked_floats(v[k]) for k in ("pixels", "last"))
        line = {
            "dataset": SETS[row.spec["dataset"]],
            "change": words.get(change, attack_name(change)),
            "pixels": three(v["pixels_median"]) if change != DEQUANTIZED else "–",
            "last latents": three(v["last_median"]),
            "all latents": three(v["all_median"]),
            "whitened pixels": three(v["whitened_median"]) if change != DEQUANTIZED else "–",
            "untrained Glow": three(v["random_median"]),
        }
        if change != DEQUANTIZED and (pixels > 0).any():
            ratio = last[pixels > 0] / pixels[pixels > 0]
            line["latents over pixels, median"] = f"{np.median(ratio):.2f}"
        line["images"] = v["n"]
        lines.append(line)
    caption = "How far a change moves an image; 1 is the median distance of two clean images."
    present(rows, lines, caption, "distances")


def show_knowing(rows: Rows) -> None:
    lines = []
    for row in stored(rows):
        v, spec = row.values, row.spec
        checks = {"longer": "twice the steps", "targets": "three targets, two starts each",
                  "draws": "four times the draws"}  # fmt: skip
        check = ", ".join(words for key, words in checks.items() if key in spec)
        guard = spec["guard"]
        line = {
            "dataset": SETS[spec["dataset"]],
            "guard": name(guard) if guard in AE else SEEN[guard],
            "attacker knows the guard": "yes" if spec["knows"] else "no",
            "ε": f"{spec['eps']:g}",
            "check": check,
            "misread": rate(v["misread"], v["n"]),
            "flagged": rate(v["flagged"], v["n"]) if "flagged" in v else "",
            "clean flagged": rate(v["flagged_clean"], v["n"]) if "flagged_clean" in v else "",
            "misread and accepted": rate(v.get("accepted", v["misread"]), v["n"]),
            "steps": v["steps"],
        }
        lines.append(line)
    caption = (
        "PGD by an attacker who knows; of images that were read rightly. Each detector's threshold "
        f"is set to flag {100 * GUARD_RATE:.0f} % of clean validation images."
    )
    present(rows, lines, caption, "knowing")


def show_second(rows: Rows) -> None:
    lines = [
        {
            "dataset": SETS[row.spec["dataset"]],
            "attack": attack_name(row.spec["attack"]),
            "fooled, ours": rate(row.values["success"][0], row.values["n"]),
            "fooled, foolbox": rate(row.values["success"][1], row.values["n"]),
            "the same on": f"{row.values['agree']} of {row.values['n']}",
            "median L∞, ours": three(row.values["linf"][0]),
            "foolbox": three(row.values["linf"][1]),
            "twice the steps, five starts": rate(row.values["stronger"], row.values["n"])
            if "stronger" in row.values
            else "",
        }
        for row in stored(rows)
    ]
    present(rows, lines, "The attacks beside foolbox's, with its own defaults.", "second-library")
