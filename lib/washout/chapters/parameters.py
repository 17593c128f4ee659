"""What a reader may set when running a chapter, checked and echoed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import ModuleType

from washout import attacks
from washout.checks import check_choice, check_count
from washout.study import PROFILES, Study


@dataclass(frozen=True)
class Parameters:
    """A chapter's parameters after all checks.

    Attributes:
        attacks: the attacks' labels, resolved from ``all``.
        datasets: their names, resolved from ``auto``.
        study: computes and finds rows with these parameters.
    """

    attacks: tuple[str, ...]
    datasets: tuple[str, ...]
    profile: str
    seed: int
    recompute: bool
    retrain: bool
    study: Study

    @property
    def dataset(self) -> str:
        """The dataset, where a chapter has one at a time."""
        return self.datasets[0]

    def __str__(self) -> str:
        return (
            f"attack: {', '.join(self.attacks)} | dataset: {', '.join(self.datasets)} "
            f"| profile: {self.profile} | seed: {self.seed} | device: {self.study.device} "
            f"| recompute: {self.recompute} | retrain: {self.retrain}"
        )


def check_parameters(
    chapter: ModuleType,
    *,
    attack: str = "all",
    dataset: str = "auto",
    profile: str = "laptop",
    seed: int = 0,
    device: str = "auto",
    recompute: bool = False,
    retrain: bool = False,
) -> Parameters:
    """Check a notebook's parameters.

    Args:
        chapter: the chapter's module, which says which datasets and attacks it knows.
        attack: ``all``, one of the chapter's labels, or any registered attack's name.
        dataset: ``auto`` is all of the paper's, or the bundled ones at profile ``smoke``.
        recompute: compute rows again that are stored.
        retrain: train again too; implies ``recompute``.

    Raises:
        ValueError: an unknown name or impossible value, with the allowed ones.
    """
    check_choice(profile, PROFILES, "profile")
    check_choice(dataset, ["auto", *chapter.DATASETS], "dataset")
    check_count(seed, 0, "seed")
    for name, value in (("recompute", recompute), ("retrain", retrain)):
        if not isinstance(value, bool):
            raise ValueError(f"{name}: got {value!r}; allowed are True and False")
    datasets = (dataset,)
    if dataset == "auto":
        datasets = chapter.BUNDLED if profile == "smoke" else chapter.AUTO
        dataset = datasets[0]
    if dataset in chapter.BUNDLED and profile != "smoke":
        raise ValueError(
            f"profile: got {profile!r} with dataset {dataset!r}, which is too small for it; "
            "use profile='smoke', or dataset="
            + " or ".join(repr(d) for d in chapter.DATASETS if d not in chapter.BUNDLED)
        )
    if profile == "smoke" and dataset not in chapter.BUNDLED:
        raise ValueError(
            f"profile: got 'smoke' with dataset {dataset!r}; it is for the bundled "
            f"{', '.join(chapter.BUNDLED)}, use profile='laptop'"
        )
    labels = chapter.MAIN if attack == "all" else (check_attack(chapter, attack),)
    now = time.time()
    study = Study(
        chapter.__name__.rsplit(".", 1)[-1],
        profile=profile,
        device=device,
        rows_since=now if recompute or retrain else 0.0,
        weights_since=now if retrain else 0.0,
    )
    return Parameters(labels, datasets, profile, seed, recompute or retrain, retrain, study)


def check_attack(chapter: ModuleType, attack: str) -> str:
    """The attack's label if the chapter or the registry knows it; aliases resolved."""
    if attack in chapter.VARIANTS:
        return attack
    try:
        return attacks.get(attack).name
    except ValueError as error:
        raise ValueError(
            f"{error}; or, in this chapter, all, {', '.join(chapter.VARIANTS)}"
        ) from None
