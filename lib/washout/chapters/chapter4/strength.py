"""What explains the paper's rates of success: another size of the attacks, or another training."""

from __future__ import annotations

import numpy as np

from washout import papers
from washout.chapters.chapter4.pools import Found, Rows, firsts
from washout.chapters.chapter4.settings import ALONG, DECAY, MAIN, SWEPT, classifier_recipe
from washout.chapters.chapter4.views import NETS, attack_name, present, rate
from washout.chapters.shown import SETS, stored
from washout.metrics import paired_interval
from washout.report.verdicts import CLOSE


def swept(group: Found, attack: str) -> dict[float, float]:
    """Success along epsilon in the paper's convention: images misread when clean are counted."""
    found = {}
    for eps, label in zip(ALONG, SWEPT[attack], strict=True):
        wrong = group.who(label, "wrong")
        if wrong is not None:
            found[eps] = float(wrong.mean())
    return found


def targets() -> dict[str, float]:
    """The paper's rates of success, by attack."""
    printed = papers.load("xiong").numbers
    return {label: printed[f"xiong/attack/{label}/success"].rate for label in MAIN}


def explained(rows: Rows) -> str:
    """Which rates are within five points of the paper's; whether another epsilon gives that of
    FGSM, or another training.
    """
    said = []
    for group in firsts(rows):
        wrong = {label: group.who(label, "wrong") for label in MAIN}
        own = {label: float(bits.mean()) for label, bits in wrong.items() if bits is not None}
        if len(own) < len(MAIN):
            continue
        near = [label for label, found in own.items() if abs(found - targets()[label]) <= CLOSE]
        if near:
            names = " and ".join(attack_name(label) for label in near)
            said.append(
                f"{names} fool{'s' * (len(near) == 1)} as large a share of the images as in the "
                "paper, up to five points."
            )
        if len(near) == len(MAIN):
            said.append("Nothing is left to be explained.")
        hard = wrong["deepfool"]
        if "deepfool" not in near and hard is not None:
            said.append(
                f"DeepFool, cut to ε, fools {rate(int(hard.sum()), len(hard))}, in the paper "
                f"{100 * targets()['deepfool']:.2f} %: the others need a larger change."
            )
        curves = {word: swept(group, word) for word in SWEPT}
        if "fgsm" not in near and all(len(curve) == len(ALONG) for curve in curves.values()):
            said += [_by_size(curves), _by_training(group, rows)]
    return " ".join(part for part in said if part)


def _by_size(curves: dict[str, dict[float, float]]) -> str:
    """At which epsilon FGSM does what it does in the paper, and what PGD does there."""
    target = targets()
    logs = {word: np.log(list(curve)) for word, curve in curves.items()}
    rates = {word: np.array(list(curve.values())) for word, curve in curves.items()}
    rising = np.maximum.accumulate(rates["fgsm"])
    if not rising[0] < target["fgsm"] < rising[-1]:
        return (
            f"FGSM fools {100 * rising[0]:.0f} to {100 * rising[-1]:.0f} % at every ε from "
            f"{min(curves['fgsm']):g} to {max(curves['fgsm']):g}, the paper's "
            f"{100 * target['fgsm']:.1f} % at none of them."
        )
    eps = float(np.exp(np.interp(target["fgsm"], rising, logs["fgsm"])))
    other = float(np.interp(np.log(eps), logs["pgd"], rates["pgd"]))
    said = (
        f"FGSM fools the paper's {100 * target['fgsm']:.1f} % of images at ε {eps:.3f}, read "
        f"off our sweep; there PGD fools {100 * other:.0f} %, in the paper "
        f"{100 * target['pgd']:.2f} %. "
    )
    if abs(other - target["pgd"]) <= CLOSE:
        return said + "So another unit of ε would explain FGSM, and PGD up to five points."
    return said + "So another unit of ε (images scaled to [−1, 1], say) does not explain both."


def _by_training(group: Found, rows: Rows) -> str:
    """Whether FGSM fools another share where the same network was trained otherwise."""
    other = Found(group.dataset, group.seed, rows, net=DECAY).who("fgsm", "wrong")
    own = group.who("fgsm", "wrong")
    if own is None or other is None:
        return ""
    own = own[: len(other)]  # the same images
    more, fewer = int((other & ~own).sum()), int((own & ~other).sum())
    low, high = paired_interval(more, fewer, len(other))
    said = (
        f"FGSM fools {rate(int(own.sum()), len(own))} of the images with our network, and "
        f"{rate(int(other.sum()), len(other))} of the same with one that was trained otherwise: "
    )
    if more == fewer:
        return f"{said}no difference."
    if low <= 0 <= high:
        return f"{said}a difference that chance may have made."
    return (
        f"{said}{100 * (more - fewer) / len(other):+.0f} points. ".replace("-", "−")
        + "The rate depends on the training, of which the paper tells little."
    )


def show_trainings(baselines: Rows, attacked: Rows) -> None:
    """The paper's network in two trainings: how often it errs, and how often it is fooled."""
    lines = []
    for group in firsts(baselines, attacked):
        nets = {
            net: Found(group.dataset, group.seed, baselines, attacked, net=net)
            for net in ("resnet8", DECAY)
        }
        counts = [len(bits) for own in nets.values() if (bits := own.right) is not None]
        for net, own in nets.items():
            clean = stored(baselines, dataset=group.dataset, seed=group.seed, net=net)
            if not clean:
                continue
            recipe = classifier_recipe(group.dataset, net, clean[0].profile, group.seed)
            line = {
                "dataset": SETS[group.dataset],
                "network": NETS[net],
                "weight decay": f"{recipe.weight_decay:g}",
                "augmentation": recipe.augment,
                "epochs, at most": recipe.epochs,
                "clean accuracy": rate(clean[0].values["correct"], clean[0].values["n"]),
            }
            for label in MAIN:
                wrong, right = own.who(label, "wrong"), own.who(label, "right")
                if wrong is None or right is None:
                    continue
                wrong, right = wrong[: min(counts)], right[: min(counts)]  # the same images
                hit = int((wrong & right).sum())
                line[f"{attack_name(label)} fools"] = rate(int(wrong.sum()), len(wrong))
                line[f"{attack_name(label)}, of those right before"] = rate(hit, int(right.sum()))
                line["images"] = len(wrong)
            lines.append(line)
    lines = lines if len(lines) > 1 else []
    rows = [row for row in (*baselines, *attacked) if row.spec["net"] == DECAY]
    present(rows, lines, "How much the attacks' rates owe to the training.", "trainings")
