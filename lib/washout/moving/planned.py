"""What the chapters' plans ask for: rows, and networks that rows depend on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from washout import chapters
from washout.models import imagenet
from washout.status import Glance
from washout.store import Row, Spec
from washout.study import PROFILES, Study, Table
from washout.training import Recipe


@dataclass
class Asking(Glance):
    """A study that notes which networks its rows ask for, by their recipes' keys."""

    asked: set[str] = field(default_factory=set)

    def stored_hash(self, recipe: Recipe) -> str | None:
        self.asked.add(recipe.key())
        return super().stored_hash(recipe)

    @classmethod
    def like(cls, study: Study) -> Asking:
        return cls(**{**vars(study), "compute": False})


def planned_rows(study: Study, profiles: Iterable[str]) -> dict[str, Table]:
    """The tables of all rows of a chapter's plans, by the rows' keys.

    Which published classifier a plan is about depends on the files of a machine, so rows about
    any of them are in it.
    """
    return {
        Row(table.name, profile, own, {}, {}).key: table
        for profile in profiles
        for table, specs in chapters.get(study.chapter).plan(study.at(profile))
        for spec in specs
        for own in _about_any(spec)
    }


def _about_any(spec: Spec) -> list[Spec]:
    if spec.get("net") not in imagenet.NAMES:
        return [spec]
    return [{**spec, "net": name} for name in imagenet.NAMES]


def planned_networks(study: Study) -> set[str]:
    """Keys of the recipes that rows of the chapters' plans depend on, at any profile."""
    asking = Asking.like(study)
    for name in chapters.NAMES:
        for profile in PROFILES:
            own = asking.of(name).at(profile)
            for table, specs in chapters.get(name).plan(own):
                for spec in specs:
                    table.depends(spec, own)
    return asking.asked


def networks_of(rows: Iterable[Row], asking: Asking) -> set[str]:
    """Keys of the recipes whose networks a chapter's stored rows were made with.

    What a row asks for and what is not here counts if the row depends on something else than what
    is here: then it may have been made with it.
    """
    rows = list(rows)
    tables = planned_rows(asking, {row.profile for row in rows} & {*PROFILES})
    found: set[str] = set()
    for row in rows:
        if table := tables.get(row.key):
            asking.asked.clear()
            current = asking.is_current(row, table)
            found |= {key for key in asking.asked if asking.seen[key] or not current}
    return found
