"""What a machine without a network needs, and what comes back from it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from washout import chapters
from washout.files import write_whole
from washout.moving.parts import in_parts
from washout.moving.planned import Asking, networks_of
from washout.paths import data_folder, project_root
from washout.provenance import COMMIT, commit
from washout.store import Row, Store
from washout.study import Missing, Study

# Where a dataset, with what its chapters attack, lies in the data folder.
DATA = {
    "mnist": ("MNIST/raw",),
    "cifar10": ("cifar-10-batches-py",),
    "nips2017": ("nips2017", "imagenet"),
}
ELSEWHERE = ("torch", "torchvision")  # what such a machine has, if anything


def missing(study: Study, numbers: Sequence[str]) -> dict[str, list[Missing]]:
    """Rows of the chapters' plans that are not stored at the study's profile, by chapter."""
    found = {}
    for name in numbers:
        chapter = chapters.get(name)
        own = study.of(chapter.__name__.rsplit(".", 1)[-1])
        rows = [row for table, specs in chapter.plan(own) for row in own.table(table, specs)]
        found[own.chapter] = [row for row in rows if isinstance(row, Missing)]
    return found


def bundle(
    folder: Path,
    profile: str,
    numbers: Sequence[str],
    size: float = 24.0,
    *,
    wheels: bool = False,
    python: str | None = None,
    large: bool = False,
) -> dict[str, int]:
    """Pack the project and the data that its missing rows need.

    Args:
        folder: for the parts.
        profile: whose rows are to be computed there.
        numbers: chapters.
        size: of a part, in MiB. Two parts of the default size, or one beside the project's files,
            stay within 64.
        wheels: also what pip finds for the package's requirements, but for PyTorch.
        python: the version that the wheels are for, such as ``3.12``; this one's by default.
        large: weights of large networks too. Where only the record is, a row that needs one has it
            trained again, to another hash, and is not taken back.

    Returns:
        How many rows of each chapter are missing.

    Raises:
        ValueError: no checkout with git, data that are not here, nothing missing, no wheels.
    """
    study = Study("", profile=profile, exact=True, compute=False, progress=False, local=False)
    rows = missing(study, numbers)
    names = {row.spec["dataset"] for found in rows.values() for row in found}
    if not any(rows.values()):
        raise ValueError(f"nothing is missing at profile {profile!r}; there is nothing to move")
    files = [(path, str(path.relative_to(project_root()))) for path in _source()]
    for name in sorted(names & DATA.keys()):
        for place in DATA[name]:
            path = data_folder() / place
            if not path.exists():
                raise ValueError(
                    f"{name}: {path} is missing; see the README on data, or WASHOUT_DATA"
                )
            files.append((path, f"data/{place}"))
    if large:
        found = sorted((study.weights / "large").glob("*.safetensors"))
        files += [(path, f"weights/large/{path.name}") for path in found]
    counts = {name: len(found) for name, found in rows.items()}
    with tempfile.TemporaryDirectory() as work:
        if wheels:
            files += [(path, f"wheels/{path.name}") for path in _wheels(Path(work), python)]
        made = Path(work) / COMMIT
        made.write_text(commit() + "\n")
        files.append((made, COMMIT))
        about = {"profile": profile, "missing": counts, "then": _then(profile, counts, wheels)}
        in_parts(folder, files, size, about)
    return counts


def _then(profile: str, counts: Mapping[str, int], wheels: bool) -> list[str]:
    """The commands for that machine, which has PyTorch and most of the requirements."""
    lines = ["export PYTHONPATH=lib WASHOUT_DATA=data"]
    if wheels:
        needs = "--find-links wheels -r wheels/requirements.txt"
        lines.append(f"python3 -m pip install --no-index {needs}")
    lines += [
        f"python3 -m washout results --chapter {name.removeprefix('chapter')} "
        f"--profile {profile} --device cuda --limit 6m"
        for name, count in counts.items()
        if count
    ]
    return [*lines, "python3 -m washout pack out/back"]


def _source() -> list[Path]:
    """Tracked files but the pictures that rows refer to."""
    root = project_root()
    try:
        listed = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"{root} is no checkout that git can list ({error})") from error
    paths = [root / name for name in listed.split("\0") if name and "/images/" not in name]
    return [path for path in paths if path.is_file()]


def _wheels(folder: Path, python: str | None) -> list[Path]:
    """What pip finds for the requirements and what these require, and the list of the former."""
    if python is not None and not re.fullmatch(r"3\.\d+", python):
        raise ValueError(f"python: got {python!r}; allowed are versions such as 3.12")
    project = tomllib.loads((project_root() / "pyproject.toml").read_text())["project"]
    names = {need: re.split(r"[<>=!~\[; ]", need)[0] for need in project["dependencies"]}
    wanted = [need for need, name in names.items() if name not in ELSEWHERE]
    (folder / "requirements.txt").write_text("".join(f"{need}\n" for need in wanted))
    words = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:"]
    words += ["--python-version", python] if python else []
    try:
        subprocess.run(
            [*words, "-d", str(folder), *wanted], check=True, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")]
        last = lines[-1] if lines else error
        raise ValueError(
            f"wheels: pip could not download them ({last}); go without if that machine has the "
            "packages, or name another version of Python"
        ) from error
    return sorted(folder.iterdir())


class Packed(NamedTuple):
    """What was packed, and what was not.

    Attributes:
        rows: how many were packed.
        left: how many stay since their pictures are not here.
        old: how many stay since they were finished too long ago.
        absent: networks of packed rows of which no record is here, by their recipes' keys.
    """

    rows: int
    left: int
    old: int
    absent: tuple[str, ...]


def pack(
    folder: Path, study: Study, size: float = 16.0, since: float = 0.0, large: bool = False
) -> Packed:
    """Pack stored rows and networks to bring them back.

    Rows whose pictures are not here came with a bundle, which leaves pictures out: they stay.
    Networks of packed rows go along, whenever they were trained.

    Args:
        folder: for the parts.
        study: whose results and weights.
        since: unix time; rows that were finished before stay.
        large: weights of large networks too; their records go in any case.
    """
    files: dict[str, Path] = {}  # by their paths in the archive
    count = left = old = 0
    needed: set[str] = set()
    asking = Asking.like(study)
    with tempfile.TemporaryDirectory() as work:
        for chapter in sorted(path for path in study.results.glob("chapter*") if path.is_dir()):
            source, home = Store(chapter), f"results/{chapter.name}"
            taken: list[Row] = []
            for table in source.tables():
                lines = []
                for row in source.rows(table).values():
                    if row.run.get("finished", 0.0) < since:
                        old += 1
                        continue
                    own = {
                        f"{home}/images/{name}": source.folder / "images" / name
                        for name in pictures(row.values)
                    }
                    if not all(path.is_file() for path in own.values()):
                        left += 1
                        continue
                    files |= own
                    taken.append(row)
                    lines.append(f"{row.line()}\n")
                if lines:
                    files[f"{home}/{table}.jsonl"] = Path(work) / home / f"{table}.jsonl"
                    write_whole(files[f"{home}/{table}.jsonl"], "".join(lines).encode())
            count += len(taken)
            if taken and chapter.name in chapters.NAMES:
                needed |= networks_of(taken, replace(asking, chapter=chapter.name))
        files |= _networks(study.weights, since, large, needed)
        in_parts(folder, [(path, name) for name, path in files.items()], size, {"rows": count})
    here = {Path(name).stem for name in files if name.startswith("weights/")}
    return Packed(count, left, old, tuple(sorted(needed - here)))


def _networks(folder: Path, since: float, large: bool, needed: set[str]) -> dict[str, Path]:
    """Records and weights, by their paths in the archive: young ones, and those that rows need."""
    found = []
    for place in (folder, folder / "large"):
        for path in sorted(place.glob("*.json")):
            record = json.loads(path.read_text())
            if record["trained_at"] >= since or path.stem in needed:
                found.append(path)
                if large or place == folder:
                    found.append(place / f"{record['hash']}.safetensors")
    return {f"weights/{path.relative_to(folder)}": path for path in found if path.is_file()}


def pictures(values: Any) -> list[str]:
    """Names of the PNG files that a row's values refer to."""
    if isinstance(values, dict):
        own = [values["png"]] if isinstance(values.get("png"), str) else []
        return own + [name for value in values.values() for name in pictures(value)]
    if isinstance(values, list):
        return [name for value in values for name in pictures(value)]
    return []
