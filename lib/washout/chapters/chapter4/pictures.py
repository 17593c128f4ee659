"""Chapter 4's figures, from stored rows."""

from __future__ import annotations

from collections.abc import Sequence

from IPython.display import Markdown, display
from matplotlib.figure import Figure

from washout import figures
from washout.chapters.chapter4.beyond_views import SPACES
from washout.chapters.chapter4.pools import Rows, firsts, untrained
from washout.chapters.chapter4.settings import (
    AE,
    ALONG,
    CLEAN,
    EPS,
    MAIN,
    NOISE,
    PCA,
    PROFILES,
    SEPARATE,
    SWEPT,
)
from washout.chapters.chapter4.views import NOT_PART, attack_name, name
from washout.chapters.shown import nothing, stored
from washout.metrics import wilson
from washout.study import Study

# Detectors that one picture shows, and what they are called in it.
SHORT = {
    "latents": "Glow",
    "random": "untrained Glow",
    "residuals": "fine detail",
    SEPARATE: "network",
    PCA: "PCA",
}
KINDS = tuple(SHORT)
NOTHING = f"*{NOT_PART.capitalize()}*"
SHOWN = ("ae2", "ae4", "ae6", "ae12")  # as many as the page says


def diagrams(which: str) -> Figure:
    """The paper's Figures 2 to 5: ``autoencoder``, ``flow`` or ``methods``."""
    if which == "autoencoder":
        return figures.pipelines(
            {
                "Autoencoder": [
                    ("convolution 4 × 4, stride 2, ReLU", "width × 16 × 16"),
                    ("convolution 4 × 4, stride 2, ReLU", "2 width × 8 × 8: the code"),
                    ("transposed convolution, ReLU", "width × 16 × 16"),
                    ("transposed convolution, sigmoid", ""),
                ]
            }
        )
    if which == "flow":
        return figures.pipelines(
            {
                "One step": [
                    ("actnorm", ""),
                    ("invertible 1 × 1 conv", ""),
                    ("affine coupling", ""),
                ],
                "A level, three times": [
                    ("squeeze 2 × 2", "4 C channels"),
                    ("K steps", ""),
                    ("split in half", "half: latents"),
                ],
            }
        )
    return figures.pipelines(
        {
            "Method 1": [
                ("image", ""),
                ("autoencoder", "repainted"),
                ("classifier", ""),
                ("class", ""),
            ],
            "Method 2": [
                ("image", ""),
                ("Glow", "48 × 4 × 4"),
                ("five dense layers", ""),
                ("clean or attacked", ""),
            ],
        }
    )


def _stack(rows: Rows, study: Study, what: str):
    if nothing(rows, what):
        return None
    row = stored(rows)[0]
    v = row.values
    images = study.images(v["images"])
    wide = len(v["columns"])
    return v, [images[i : i + wide] for i in range(0, len(images), wide)]


def example(rows: Rows, study: Study, index: int = 0) -> Figure | None:
    """Figure 1: an image clean and after each attack, with what is read."""
    found = _stack(rows, study, "attacked images")
    if found is None:
        return None
    v, lines = found
    labels, clean = [v["labels"][index]] * len(MAIN), lines[index][0] / 255
    every = study.images(v["changes"]).astype(float) - 128
    part = slice(index * len(MAIN), (index + 1) * len(MAIN))
    after = [
        clean + change / 127 * size
        for change, size in zip(every[part], v["largest"][part], strict=True)
    ]
    return figures.image_grid(
        [clean] * len(MAIN), after, labels, v["said"][index][1:],
        notes=[attack_name(label) for label in MAIN],
    )  # fmt: skip


def repainted(rows: Rows, study: Study) -> Figure | None:
    """One image, clean and attacked, through each autoencoder."""
    found = _stack(rows, study, "repainted images")
    if found is None:
        return None
    v, lines = found
    shown = {"clean, FGSM, PGD, DeepFool": list(lines[0])}
    for line, images, said in zip(v["lines"], lines, v["said"], strict=True):
        if line in SHOWN:
            shown[f"{name(line)}: {', '.join(said)}"] = list(images)
    return figures.pairs(shown)


def ceiling(attacked: Rows, widths: Rows, cleaned: Rows) -> Figure | None:
    """What each autoencoder restores against what it keeps of clean images."""
    if nothing(cleaned, "what the autoencoders restore"):
        return None
    for group in firsts(attacked, widths, cleaned):
        points: dict[str, list[tuple[str, float, float]]] = {}
        right, labels = group.right, group.attacks
        for defense in AE:
            clean = group.read(CLEAN, defense)
            for label in labels:
                bits, pool = group.read(label, defense), group.pool(label, "B")
                if clean is None or bits is None or pool is None or right is None:
                    continue
                if not pool.any():
                    continue
                width = defense[2:] if label == labels[-1] else ""  # once is enough
                width += " (chosen)" * bool(width and defense == f"ae{group.width}")
                seen = clean[: len(right)]
                point = (width, float(seen[right].mean()), float(bits[pool].mean()))
                points.setdefault(attack_name(label), []).append(point)
        if points:
            return figures.fidelity(
                points,
                xlabel="clean images through it, of those right before",
                ylabel="attacked images restored (pool B)",
            )
    display(Markdown(NOTHING))
    return None


def flow_images(rows: Rows, study: Study) -> Figure | None:
    """Images, the same encoded and decoded, and samples of the flow."""
    own = [row for row in rows if row.spec["flow"] == "trained"]
    if nothing(own, "samples of the flow"):
        return None
    images = study.images(stored(own)[0].values["images"])
    return figures.pairs(
        {
            "test images": list(images[:8]),
            "encoded and decoded": list(images[8:16]),
            "samples, temperature 0.7": list(images[16:24]),
        }
    )


def curves(
    detections: Rows, kinds: Sequence[str], labels: Sequence[str] | None = None
) -> Figure | None:
    """ROC curves over pool A: of one detector for several attacks, or of several for one attack."""
    if nothing(detections, "ROC curves"):
        return None
    for group in firsts(detections):
        lines, areas = {}, {}
        met = [r.spec["attack"] for r in group.rows if r.spec["trained"] == "mixture"]
        met = [label for label in met if label != NOISE]
        usual = [m for m in MAIN if m in met] or list(dict.fromkeys(met))
        for kind in kinds:
            for label in labels or usual:
                row = group.detector(label, kind)
                if row is None or untrained(row) or "curve" not in row.values:
                    continue
                title = attack_name(label) if len(kinds) == 1 else SHORT[kind]
                curve = row.values["curve"]
                lines[title] = (curve["fpr"], curve["tpr"])
                areas[title] = row.values["A"]["auc"]
        if lines:
            return figures.roc_curves(lines, aucs=areas, ylabel="attacks detected (pool A)")
    display(Markdown(NOTHING))
    return None


def epsilons(attacked: Rows, detections: Rows) -> Figure | None:
    """Attacks found along epsilon by the detector that was trained at 0.02."""
    if nothing(detections, "detection along ε"):
        return None
    for group in firsts(attacked, detections):
        lines = {}
        for word, labels in SWEPT.items():
            points = []
            for label in labels:
                found, pool = group.flagged(label), group.pool(label, "B")
                if found is None or pool is None or not pool.any():
                    break
                k, n = int(found[0][pool].sum()), int(pool.sum())
                points.append((k / n, *wilson(k, n)))
            if len(points) == len(labels):
                lines[attack_name(word)] = points
        if lines:
            return figures.sweep(ALONG, lines, xlabel="ε of the attack", ylabel="attacks found",
                                 mark=(EPS, "trained at"))  # fmt: skip
    display(Markdown(NOTHING))
    return None


def sets(rows: Rows, test: str = "mmd") -> Figure | None:
    """How often a set is called attacked, along its size; in pixels and in latents."""
    if nothing(rows, "two-sample tests"):
        return None
    group = firsts(rows)[0]
    own = [r for r in group.rows if r.spec["test"] == test]
    sizes = sorted({r.spec["size"] for r in own})
    lines = {}
    for space in SPACES:
        for label in (CLEAN, "fgsm", "deepfool"):
            if (space, label) == ("latents", CLEAN):  # as in pixels; it stands in the table
                continue
            found = {
                r.spec["size"]: r
                for r in own
                if r.spec["space"] == space and r.spec["attack"] == label
            }
            if set(found) == set(sizes) and all(r.values["trials"] for r in found.values()):
                points = []
                for size in sizes:
                    k, n = found[size].values["found"], found[size].values["trials"]
                    points.append((k / n, *wilson(k, n)))
                lines[f"{attack_name(label)}, {'pixels' if space == 'pixels' else 'latents'}"] = (
                    points
                )
    if not lines:
        display(Markdown(NOTHING))
        return None
    return figures.sweep(sizes, lines, xlabel="images in a set", ylabel="sets called attacked")


def settings(profile: str) -> str:
    """The sizes of a profile in words."""
    p = PROFILES[profile]
    return (
        f"{p.n:,} test images, detectors trained on {p.n_train:,} images, clean and attacked where "
        f"that fools; Glow {p.flow[0]} wide with {p.flow[1]} steps in each of three levels, "
        f"{p.flow_epochs} epochs"
    )


__all__ = [
    "KINDS", "ceiling", "curves", "diagrams", "epsilons", "example", "flow_images", "repainted",
    "sets", "settings",
]  # fmt: skip
