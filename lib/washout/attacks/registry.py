"""Attacks by name: what each is, its source, its defaults for a dataset."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from washout.attacks import foolbox
from washout.attacks.bim import bim
from washout.attacks.cw import cw
from washout.attacks.deepfool import deepfool
from washout.attacks.deepfool_fb2 import deepfool_fb2
from washout.attacks.fgsm import fgsm
from washout.attacks.fgsm_min import fgsm_min
from washout.attacks.jsma import jsma
from washout.attacks.pgd import pgd
from washout.attacks.pgd_min import pgd_min
from washout.attacks.result import Attacked
from washout.checks import check_choice


@dataclass(frozen=True)
class Attack:
    """An attack with its description and defaults.

    Attributes:
        name: what ``get`` takes.
        function: (model, x, y, **settings) -> ``Attacked``. If it has a parameter ``generator``
            it is handed one; if it has a parameter ``batch`` it splits the images itself.
        norm: ``l0``, ``l2``, ``linf`` or another word for what it keeps small.
        source: the paper.
        summary: one line.
        minimal: it searches the smallest perturbation, and returns the input where it failed;
            else it spends a fixed budget.
        defaults: dataset name -> setting -> value. ``*`` lists every setting; a dataset's own
            entry overrides it.
        version: raised when the results change; stored rows depend on it.
    """

    name: str
    function: Callable[..., Attacked]
    norm: str
    source: str
    summary: str
    minimal: bool
    defaults: Mapping[str, Mapping[str, Any]]
    version: int = 1

    def settings(self, dataset: str = "*", **overrides: Any) -> dict[str, Any]:
        """All settings for a dataset, with ``overrides`` on top.

        Raises:
            ValueError: a setting that the attack does not have.
        """
        settings = {**self.defaults["*"], **self.defaults.get(dataset, {})}
        for name in overrides:
            check_choice(name, settings, f"setting of attack {self.name!r}")
        return {**settings, **overrides}


def get(name: str) -> Attack:
    """The attack of this name; ``foolbox:LinfPGD`` takes any attack of foolbox.

    Raises:
        ValueError: an unknown name, with the known ones.
    """
    if isinstance(name, str) and name.startswith("foolbox:"):
        return Attack(**foolbox.describe(name.removeprefix("foolbox:")))
    if ALIASES.get(name, name) not in ATTACKS:
        raise ValueError(
            f"attack: got {name!r}; allowed are {', '.join([*ATTACKS, *ALIASES])}, and "
            "foolbox:NAME for any of foolbox's, e.g. foolbox:LinfPGD"
        )
    return ATTACKS[ALIASES.get(name, name)]


def names() -> list[str]:
    """The names of the attacks in this package, without aliases and foolbox's."""
    return list(ATTACKS)


def describe() -> pd.DataFrame:
    """A table of the attacks, a row for each: what it is, its source, its defaults."""
    rows = []
    for attack in ATTACKS.values():
        own: dict[str, list[str]] = {}
        for dataset, settings in attack.defaults.items():
            own.setdefault(_text(settings), []).append(dataset)
        also = [alias for alias, name in ALIASES.items() if name == attack.name]
        rows.append(
            {
                "attack": ", ".join([attack.name, *also]),
                "norm": attack.norm,
                "summary": attack.summary,
                "source": attack.source,
                "version": attack.version,
                "defaults": _text(attack.defaults["*"]),
                "instead": "; ".join(
                    f"{', '.join(datasets)}: {text}"
                    for text, datasets in own.items()
                    if "*" not in datasets
                ),
            }
        )
    return pd.DataFrame(rows)


def _text(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in settings.items()
    )


def _attack(
    function: Callable[..., Attacked],
    norm: str,
    source: str,
    summary: str,
    *,
    minimal: bool = False,
    version: int = 1,
    **datasets: Mapping[str, Any],
) -> Attack:
    """An ``Attack`` whose ``*`` defaults are those of its function."""
    general = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name != "generator"
    }
    defaults = {"*": general, **datasets}
    name = function.__name__.replace("_", "-")
    return Attack(name, function, norm, source, summary, minimal, defaults, version)


# Small images in color are attacked within 8/255, by common use since Madry et al.
SMALL = {"eps": 8 / 255}
# 9 x 10,000 steps are for the patient; these find nearly the same images on digits.
BRIEF = {"steps": 200, "binary_search_steps": 6, "lr": 0.05, "initial_const": 1.0}

ATTACKS = {
    attack.name: attack
    for attack in (
        _attack(
            fgsm,
            "linf",
            "Goodfellow et al., ICLR 2015",
            "one step along the sign of the gradient",
            cifar10=SMALL,
            photos=SMALL,
        ),
        _attack(
            bim,
            "linf",
            "Kurakin et al., 2017; stopping: Feinman et al., 2017",
            "small signed steps, to the first image that fools or all of them",
            mnist={"eps": 0.3, "step": 0.01, "steps": 50, "stop": "first"},
            digits={"eps": 0.3, "step": 0.01, "steps": 50, "stop": "first"},
            cifar10=SMALL,
            photos=SMALL,
        ),
        _attack(
            pgd,
            "linf",
            "Madry et al., ICLR 2018",
            "small signed steps from random starts",
            cifar10=SMALL,
            photos=SMALL,
        ),
        _attack(
            deepfool,
            "l2 (or linf)",
            "Moosavi-Dezfooli et al., CVPR 2016",
            "steps to the nearest linearized boundary",
            minimal=True,
        ),
        _attack(
            cw,
            "l2",
            "Carlini and Wagner, IEEE S&P 2017",
            "Adam on distance + const * margin, const searched for each image",
            minimal=True,
            mnist=BRIEF,
            digits=BRIEF,
            cifar10=BRIEF | {"lr": 0.01},
            photos=BRIEF | {"lr": 0.01},
        ),
        _attack(
            jsma,
            "l0",
            "Papernot et al., EuroS&P 2016; settings: Feinman et al., 2017",
            "two pixels at a time, by their saliency for the target class",
        ),
        _attack(
            fgsm_min,
            "linf",
            "Goodfellow et al., ICLR 2015; search: foolbox 2.3.0",
            "the first step along one gradient's sign that fools, on a grid",
            minimal=True,
        ),
        _attack(
            pgd_min,
            "linf",
            "Madry et al., ICLR 2018; search: foolbox 2.3.0",
            "small signed steps within the smallest eps that fools, by bisection",
            minimal=True,
        ),
        _attack(
            deepfool_fb2,
            "l2 (or linf)",
            "Moosavi-Dezfooli et al., CVPR 2016; variant: foolbox 2.3.0",
            "DeepFool with every step lengthened and clipped by itself",
            minimal=True,
        ),
    )
}
ALIASES = {"ifgsm": "bim"}
