"""A study computes rows of tables once, stores each at once, and finds them again.

A table is a list of row specifications and a function of one of them, both importable from
``washout.chapters``: notebooks show and call them, ``python -m washout results`` runs them on
machines without Jupyter, and an executor spreads them over workers.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from washout import computing, failures, weights
from washout.checks import check_choice, check_device
from washout.data import Dataset
from washout.files import Busy
from washout.paths import data_folder, results_folder, weights_folder
from washout.provenance import commit
from washout.store import Row, Spec, Store
from washout.training import Recipe, Trained, trained

PROFILES = ("paper", "laptop", "smoke")  # best first


def may_compute() -> bool:
    """Whether rows may be computed; a site's build forbids it to all that it starts."""
    return os.environ.get("WASHOUT_COMPUTE") != "never"


def _no_flags(spec: Spec) -> list[str]:
    return []


@dataclass(frozen=True)
class Table:
    """What a table's rows are made of.

    Attributes:
        name: file name under ``results/<chapter>/``.
        compute: ``compute(spec, study) -> values``; a module's function, so that workers import it.
        depends: ``depends(spec, study) -> dict`` of everything besides the spec that changes the
            result: component versions, settings of the profile. A stored row whose own differs is
            stale.
        version: raised by hand when ``compute`` changes what it returns.
        flags: words that ``python -m washout results --table NAME`` needs to compute the row.
    """

    name: str
    compute: Callable[[Spec, Study], dict[str, Any]]
    depends: Callable[[Spec, Study], dict[str, Any]]
    version: int = 1
    flags: Callable[[Spec], list[str]] = _no_flags


@dataclass(frozen=True)
class Missing:
    """A row that is not there, and the command that computes it.

    Attributes:
        error: why it failed, in a line; empty if it was not tried.
    """

    table: str
    spec: Spec
    command: str
    stale: bool = False
    error: str = ""


@dataclass
class Study:
    """Where a chapter's rows come from and go to.

    Attributes:
        chapter: ``chapter3``.
        profile: computed at this profile when a row is missing.
        device: ``auto``, ``cpu``, ``cuda``.
        exact: use no other profile's rows (for filling ``results/``).
        local: look under ``results/local`` too (a reader's own rows), and store there instead of
            in ``results``.
        compute: may rows be computed? Never while a site is built.
        rows_since, weights_since: unix times; what is older is made again.
        deadline: unix time after which no new row is begun.
        patient: wait for rows and weights that another process is at, or leave them out.
        wary: leave out rows, and what needs them, whose process died in them.
        run: unix time at which a run began that goes on past rows that fail: each is told in a
            line, and so are those that need it. None raises what is wrong, for a reader to see.
        elsewhere: rows are computed on other machines: what ``auto`` and ``cuda`` are is found out
            there.
        met: of a row under way, the networks that it has met, each recipe's by its hash.
    """

    chapter: str
    profile: str = "laptop"
    device: str = "auto"
    exact: bool = False
    local: bool = True
    compute: bool = field(default_factory=may_compute)
    rows_since: float = 0.0
    weights_since: float = 0.0
    deadline: float = float("inf")
    patient: bool = True
    wary: bool = False
    run: float | None = None
    elsewhere: bool = False
    met: dict[str, str] | None = None
    progress: bool = True
    data: Path = field(default_factory=data_folder)
    results: Path = field(default_factory=results_folder)
    weights: Path = field(default_factory=weights_folder)

    def __post_init__(self) -> None:
        check_choice(self.profile, PROFILES, "profile")
        if not self.elsewhere:
            self.device = str(check_device(self.device))
        # Workers run in folders of their own.
        self.data, self.results, self.weights = (
            path.absolute() for path in (self.data, self.results, self.weights)
        )
        commit()  # of the code that is running, before anybody changes it on disk

    # ---- folders -------------------------------------------------------------------------------
    @property
    def store(self) -> Store:
        """Where this study writes."""
        return Store(self._root / self.chapter)

    @property
    def _root(self) -> Path:
        return self.results / "local" if self.local else self.results

    @property
    def stores(self) -> list[Store]:
        """Where this study looks for rows: the project's first, the reader's own last.

        What is stored for the project rests on nothing that the reader alone has.
        """
        own = [self._root / self.chapter] if self.local else []
        return [Store(folder) for folder in (self.results / self.chapter, *own)]

    @property
    def weight_folders(self) -> list[Path]:
        """Where weights are looked for; new ones go to the last."""
        return [self.weights, self.weights / "local"] if self.local else [self.weights]

    @property
    def weights_write(self) -> Path:
        return self.weight_folders[-1]

    # ---- networks ------------------------------------------------------------------------------
    def trained(
        self, recipe: Recipe, data: Callable[[], Dataset], write: Path | None = None
    ) -> Trained:
        """The network that a recipe leads to, on the study's device: loaded, or trained now.

        Args:
            data: makes the recipe's dataset when it is needed.
            write: the folder for new weights; ``weights_write`` by default.

        Raises:
            Busy: another process is training it, and the study is not patient.
            Failed: it failed, in a run that goes on past that.
        """
        home, key = write or self.weights_write, recipe.key()
        with failures.noting(home / ".work" / f"{key}.failed", self.run, f"network {key}"):
            made = trained(
                recipe,
                data=data,
                search=self.weight_folders,
                write=home,
                device=self.device,
                since=self.weights_since,
                progress=self.progress,
                patient=self.patient,
            )
        self._meet(key, made.hash)
        return made

    def stored_hash(self, recipe: Recipe) -> str | None:
        """The hash of the weights that a recipe led to, if they are known."""
        key = recipe.key()
        found = weights.find(self.weight_folders, key, self.weights_since)
        return self._meet(key, found[1]["hash"]) if found else None

    def _meet(self, key: str, name: str) -> str:
        """The hash, if the row under way has met no other of that recipe: it says one alone."""
        if self.met is not None and self.met.setdefault(key, name) != name:
            raise Busy(f"network {key} was trained again meanwhile; the row has to begin anew")
        return name

    # ---- rows ----------------------------------------------------------------------------------
    def find(self, table: Table, spec: Spec) -> Row | None:
        """The best stored row that is current, or None."""
        return self.best(table, spec, [store.rows(table.name) for store in self.stores])

    def best(self, table: Table, spec: Spec, rows: Sequence[Mapping[str, Row]]) -> Row | None:
        """``find`` among stores' rows that were read before."""
        for profile in self._profiles():
            key = Row(table.name, profile, spec, {}, {}).key
            for stored in rows:
                row = stored.get(key)
                if row and row.run["finished"] >= self.rows_since and self.is_current(row, table):
                    return row
        return None

    def _profiles(self) -> tuple[str, ...]:
        """Whose rows will do: the asked-for one's and better, or any where nothing is computed."""
        if self.exact or self.rows_since:
            return (self.profile,)
        return PROFILES[: PROFILES.index(self.profile) + 1] if self.compute else PROFILES

    def is_current(self, row: Row, table: Table) -> bool:
        """Whether all that a row depends on is as it was."""
        if row.depends == self.depends(table, row.spec, row.profile):
            return True
        # The project's rows stay, though a reader has trained a network anew; but a row under way
        # takes none that was made with another network than its own.
        project = self.local and self.met is None
        return project and replace(self, local=False).is_current(row, table)

    def depends(self, table: Table, spec: Spec, profile: str) -> dict[str, Any]:
        """What a row would depend on now, as its store would hold it."""
        study = self if profile == self.profile else self.at(profile)
        # As it comes back from the store, where tuples are lists and keys are text.
        return json.loads(json.dumps({"table": table.version, **table.depends(spec, study)}))

    def at(self, profile: str) -> Study:
        """The same study at another profile."""
        return replace(self, profile=profile)

    def of(self, chapter: str) -> Study:
        """The same study of another chapter."""
        return replace(self, chapter=chapter)

    def is_stale(self, table: Table, spec: Spec) -> bool:
        """Whether a row is stored at all, for one that ``find`` does not find."""
        profiles = (self.profile,) if self.exact else PROFILES
        keys = {Row(table.name, profile, spec, {}, {}).key for profile in profiles}
        return any(keys & store.rows(table.name).keys() for store in self.stores)

    def row(self, table: Table, spec: Spec) -> Row:
        """One row of this study's own profile, computed if it is not stored.

        Raises:
            Busy: another process is computing it, and the study is not patient.
            Failed: it failed, in a run that goes on past that.
        """
        rows = [store.rows(table.name) for store in self.stores]
        own = replace(self, exact=True)
        found = own.best(table, spec, rows) or computing.claimed(own, table, spec, self.patient)
        if found is None:
            raise Busy(f"{table.name}: a row is being computed")
        return found

    def table(
        self, table: Table, specs: Sequence[Spec], executor: Executor | None = None
    ) -> list[Row | Missing]:
        """The rows for ``specs``, in order: stored ones, and missing ones computed and stored.

        Args:
            executor: any ``concurrent.futures.Executor`` (a Dask client's ``get_executor()``); each
                row is one task. Without it rows are computed here, one after another.
        """
        rows = [store.rows(table.name) for store in self.stores]
        found: list[Row | None] = [self.best(table, spec, rows) for spec in specs]
        failed: dict[int, str] = {}
        todo = [index for index, row in enumerate(found) if row is None]
        if todo and self.compute:
            bar = tqdm(total=len(todo), desc=table.name, disable=not self.progress, leave=False)
            with bar:
                for index, made in computing.each(self, table, specs, todo, executor):
                    if isinstance(made, Row):
                        found[index] = made
                    else:
                        failed[index] = made
                    bar.update()
            self.store.tidy(table.name)
            if executor is not None:
                computing.check_kept(self, table, [row for i in todo if (row := found[i])])
        return [
            row or self.missing(table, spec, failed.get(index, ""))
            for index, (row, spec) in enumerate(zip(found, specs, strict=True))
        ]

    def missing(self, table: Table, spec: Spec, error: str = "") -> Missing:
        """A row that is not there: the command that computes it, and why it failed."""
        command = f"python -m washout results --chapter {self.chapter.removeprefix('chapter')}"
        command += f" --profile {self.profile} --table {table.name}"
        command = " ".join([command, *map(shlex.quote, table.flags(spec))])
        if self.run is not None and not error:  # by another process?
            error = computing.failed(self, table, spec)
        return Missing(table.name, spec, command, self.is_stale(table, spec), error)

    def images(self, reference: dict[str, Any]) -> np.ndarray:
        """uint8 images that a row refers to."""
        for store in self.stores:
            if (store.folder / "images" / reference["png"]).is_file():
                return store.load_images(reference)
        raise ValueError(
            f"the stored images {reference['png']} are in none of "
            f"{', '.join(str(s.folder / 'images') for s in self.stores)}; compute their row again"
        )

    # ---- intermediate tensors ------------------------------------------------------------------
    def artifact(
        self,
        name: str,
        key: dict[str, Any],
        make: Callable[[], dict[str, Tensor]],
        only: Sequence[str] = (),
    ) -> dict[str, Tensor]:
        """Tensors that several rows share, kept under ``results/local/artifacts``.

        Args:
            key: everything that they depend on (JSON values).
            make: computes them on a miss.
            only: names of the tensors to read; all by default.

        Raises:
            Busy: another process is computing them, and the study is not patient.
        """
        return computing.artifact(self, name, key, make, only)
