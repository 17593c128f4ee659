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
    EPS,
    FEATURES,
    MAIN,
    NOISE,
    PCA,
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
from washout.metrics import wilson
from washout.store import Row

SEEN = {
    "latents": "Glow's last latents, the paper's",
    "all": "all of Glow's latents",
    "random": "last latents of an untrained Glow",
    "pixels": "raw pixels",
    "residuals": "statistics of fine detail, 24 numbers",
    "grid": "the same and the distance to 8-bit levels",
    SEPARATE: "a separate network (Gong et al.)",
    PCA: "late principal components (Hendrycks & Gimpel)",
}
QUOTED = {PCA: "100 / 92.8 / –", SEPARATE: "100 / – / –", "latents": "97.12 / 97.07 / 63.17"}
SPACES = {"pixels": "pixels", "latents": "Glow's last latents"}
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
        for kind in (*FEATURES, SEPARATE, PCA):
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
                part = row.values["A"] if row else {}
                line[f"{attack_name(label)}, area"] = _estimate(part)
            flagged = next((group.flagged(label, kind) for label in MAIN if rows[label]), None)
            if flagged is not None:
                clean = flagged[1]
                line["clean flagged"] = rate(int(clean.sum()), len(clean))
            noise = group.flagged(NOISE, kind)
            if noise is not None:
                line["random signs flagged"] = rate(int(noise[0].sum()), len(noise[0]))
            lines.append(line)
    caption = "Table 5 rebuilt: one set of images, one training mixture, eight detectors."
    present(detections, lines, caption, "detectors")


def show_rates(attacked: Rows, detections: Rows) -> None:
    """Attacks found where 1 % and 5 % of clean images are flagged; pools A and B."""
    lines = []
    for group in firsts(attacked, detections):
        for kind in (*FEATURES, SEPARATE, PCA):
            for label in MAIN:
                row = detection_row(group, label, kind)
                if row is None or "auc" not in row.values["A"] or "auc" not in row.values["B"]:
                    continue
                a, b = row.values["A"], row.values["B"]
                lines.append(
                    {
                        "dataset": SETS[group.dataset],
                        "looks at": SEEN[kind],
                        "attack": attack_name(label),
                        "found at 1 %": f"{100 * a['tpr_at_1']:.1f} %",
                        "found at 5 %": f"{100 * a['tpr_at_5']:.1f} %",
                        "pool B: at 1 %": f"{100 * b['tpr_at_1']:.1f} %",
                        "at 5 %": f"{100 * b['tpr_at_5']:.1f} %",
                        "area": _estimate(b),
                        "images, A and B": f"{a['n']:,}, {b['n']:,}",
                    }
                )
    caption = "Attacks found where 1 % and 5 % of clean images are flagged, in pools A and B."
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
                        "area": _estimate(row.values["A"]),
                    }
                )
            row = detection_row(group, label, SEPARATE, label)
            if row is not None:
                lines.append(
                    {
                        "dataset": SETS[group.dataset],
                        "attack": attack_name(label),
                        "trained on": "this attack alone, separate network on images",
                        "accuracy": counted(group.detected(label, SEPARATE, label)),
                        "area": _estimate(row.values["A"]),
                    }
                )
    caption = "What the detector was trained on: five layers on Glow's last latents."
    present(detections, lines, caption, "training")


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
            if len(line) > 2:
                line["images"] = int(pool.sum()) if pool is not None else 0
                lines.append(line)
    caption = "Attacks that the detectors were not trained on; pool B."
    present(detections, lines, caption, "unseen")


def show_rounded(attacked: Rows, detections: Rows) -> None:
    """Attacked images as a file would hold them."""
    lines = []
    for group in firsts(attacked, detections):
        for kind in ("latents", "residuals", "grid", "pixels", SEPARATE, PCA):
            for label in MAIN:
                rows = [
                    detection_row(group, label, kind),
                    detection_row(group, label, kind, rounded=True),
                    detection_row(group, label, kind, f"mixture{ROUNDED}", rounded=True),
                ]
                if rows[0] is None or rows[1] is None:
                    continue
                areas = [_estimate(r.values["A"]) if r else "" for r in rows]
                lines.append(
                    {
                        "dataset": SETS[group.dataset],
                        "looks at": SEEN[kind],
                        "attack": attack_name(label),
                        "area": areas[0],
                        "after rounding to 8 bits": areas[1],
                        "trained on rounded images too": areas[2],
                    }
                )
    present(detections, lines, "Attacked images as a file holds them.", "rounded")


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
            "misread and accepted": rate(v.get("accepted", v["misread"]), v["n"]),
            "steps": v["steps"],
        }
        lines.append(line)
    caption = "PGD by an attacker who knows; of images that were read rightly."
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
        }
        for row in stored(rows)
    ]
    present(rows, lines, "The attacks beside foolbox's, with its own defaults.", "second-library")


def _auc(group: Found, label: str, kind: str, **more: Any) -> str:
    row = detection_row(group, label, kind, **more)
    return "–" if row is None or "auc" not in row.values["A"] else f"{row.values['A']['auc']:.3f}"


def show_hypotheses(attacked: Rows, widths: Rows, cleaned: Rows, detections: Rows) -> None:
    """H-X1 to H-X4, each with the numbers that decide."""
    lines = []
    for group in firsts(attacked, widths, cleaned, detections):
        kinds = ("latents", "random", "pixels", "residuals")
        areas = {
            kind: ", ".join(f"{attack_name(m)} {_auc(group, m, kind)}" for m in MAIN)
            for kind in kinds
        }
        rounded = ", ".join(
            f"{attack_name(m)} {_auc(group, m, 'latents', rounded=True)}" for m in MAIN
        )
        left = ", ".join(
            f"{attack_name(m)} {_auc(group, m, 'latents', trained=f'without-{m}')}" for m in MAIN
        )
        ae = f"ae{group.width}"
        parts = []
        for label in (CLEAN, *MAIN):
            bits = group.read(label, ae)
            right = group.who("fgsm", "right")
            if bits is not None and right is not None:
                parts.append(f"{attack_name(label)} {100 * bits[right].mean():.0f} %")
        numbers = {
            "H-X1: not the flow, but any statistic of fine detail finds the attacks": "; ".join(
                f"{SEEN[kind]}: {areas[kind]}" for kind in kinds
            ),
            "H-X2: steps that no 8-bit file holds give attacks away": (
                f"rounded to 8 bits: {rounded}"
            ),
            "H-X3: the detector does not carry over to attacks that it has not seen": (
                f"trained without the attack: {left}"
            ),
            "H-X4: the autoencoder leaves as much of any image, attacked or not": (
                f"read rightly, of those right before: {', '.join(parts) or '–'}"
            ),
        }
        lines += [
            {"dataset": SETS[group.dataset], "hypothesis": words, "found (areas, accuracies)": said}
            for words, said in numbers.items()
        ]
    rows = [*cleaned, *detections]
    present(rows, lines if stored(rows) else [], "Hypotheses and what decides.", "hypotheses")


def conclusion(attacked: Rows, widths: Rows, cleaned: Rows, detections: Rows, knowing: Rows) -> str:
    """Sentences from rows: what the autoencoder restores, what the detector sees, who gets by."""
    said = []
    for group in firsts(attacked, widths, cleaned, detections):
        ae = f"ae{group.width}"
        clean, right = group.read(CLEAN, ae), group.who("fgsm", "right")
        total = group.restored_overall(ae)
        if clean is not None and right is not None and total is not None:
            said.append(
                f"**{SETS[group.dataset]}.** The autoencoder restores {_short(*total)} of the "
                f"attacked images, and keeps {_short(int(clean[right].sum()), int(right.sum()))} "
                "of the clean ones that the classifier reads rightly."
            )
        own, other = group.detected_overall(), group.detected_overall("residuals")
        if own is not None and other is not None:
            said.append(
                f"The detector on Glow's latents declares {_short(*own)} of the images what they "
                f"are; the same layers on 24 statistics of fine detail, without any flow, "
                f"{_short(*other)}."
            )
        known = [
            r
            for r in knowing
            if isinstance(r, Row)
            and r.spec["dataset"] == group.dataset
            and r.spec["guard"] == "latents"
            and r.spec["knows"]
            and r.spec["eps"] == EPS
            and not {"longer", "draws", "targets"} & set(r.spec)
        ]
        for row in known:
            v = row.values
            said.append(
                f"PGD that knows the detector gets {_short(v['accepted'], v['n'])} of "
                f"{v['n']} images misread and accepted."
            )
    return " ".join(said) if said else "*Not computed yet.*"


def _short(k: float, n: int) -> str:
    low, high = wilson(k, n)
    return f"{100 * k / n:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
