"""What a machine without a network needs, and what comes back from it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from washout import chapters
from washout.files import write_whole
from washout.moving.parts import in_parts
from washout.paths import data_folder, project_root
from washout.store import Store
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
    folder: Path, profile: str, numbers: Sequence[str], size: float = 60.0, wheels: bool = False
) -> dict[str, int]:
    """Pack the project and the data that its missing rows need.

    Args:
        folder: for the parts.
        profile: whose rows are to be computed there.
        numbers: chapters.
        size: of a part, in MiB.
        wheels: also what pip finds for the package's requirements, but for PyTorch.

    Returns:
        How many rows of each chapter are missing.

    Raises:
        ValueError: no checkout with git, data that are not here, nothing missing.
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
    counts = {name: len(found) for name, found in rows.items()}
    with tempfile.TemporaryDirectory() as work:
        if wheels:
            files += [(path, f"wheels/{path.name}") for path in _wheels(Path(work))]
        commands = [
            f"python -m washout results --chapter {name.removeprefix('chapter')} "
            f"--profile {profile} --device cuda --limit 9m"
            for name, count in counts.items()
            if count
        ]
        in_parts(folder, files, size, {"profile": profile, "missing": counts, "then": commands})
    return counts


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


def _wheels(folder: Path) -> list[Path]:
    project = tomllib.loads((project_root() / "pyproject.toml").read_text())["project"]
    names = {need: re.split(r"[<>=!~\[; ]", need)[0] for need in project["dependencies"]}
    wanted = [need for need, name in names.items() if name not in ELSEWHERE]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
         "-d", str(folder), *wanted],
        check=True,
    )  # fmt: skip
    return sorted(folder.glob("*.whl"))


def pack(folder: Path, study: Study, size: float = 16.0, since: float = 0.0) -> int:
    """Pack stored rows and weights, of large ones the records, to bring them back.

    Args:
        folder: for the parts.
        study: whose results and weights.
        since: unix time; what was finished before stays.

    Returns:
        How many rows were packed.
    """
    count = 0
    with tempfile.TemporaryDirectory() as work:
        for chapter in sorted(path for path in study.results.glob("chapter*") if path.is_dir()):
            source, target = Store(chapter), Store(Path(work) / "results" / chapter.name)
            for table in source.tables():
                for row in source.rows(table).values():
                    if row.run["finished"] < since:
                        continue
                    for name in pictures(row.values):
                        content = (source.folder / "images" / name).read_bytes()
                        write_whole(target.folder / "images" / name, content)
                    target.append(row)
                    count += 1
        for place in (study.weights, study.weights / "large"):
            target = Path(work) / "weights" / place.relative_to(study.weights)
            for path in place.glob("*.json"):
                record = json.loads(path.read_text())
                if record["trained_at"] < since:
                    continue
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
                if place == study.weights:
                    shutil.copy(path.with_name(f"{record['hash']}.safetensors"), target)
        files = [(path, path.name) for path in sorted(Path(work).iterdir())]
        in_parts(folder, files, size, {"rows": count})
    return count


def pictures(values: Any) -> list[str]:
    """Names of the PNG files that a row's values refer to."""
    if isinstance(values, dict):
        own = [values["png"]] if isinstance(values.get("png"), str) else []
        return own + [name for value in values.values() for name in pictures(value)]
    if isinstance(values, list):
        return [name for value in values for name in pictures(value)]
    return []
