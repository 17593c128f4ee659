"""Where data, results and weights lie."""

from __future__ import annotations

import os
from pathlib import Path


def project_root() -> Path:
    """The checkout that this package is imported from, else the current folder.

    An editable install lives at ``<root>/lib/washout``; a wheel lives in site-packages, where
    nothing may be written, so there the reader's own folder takes the checkout's place.
    """
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").is_file() and (root / "lib" / "washout").is_dir():
        return root
    return Path.cwd()


def _folder(argument: str | Path | None, variable: str, default: str) -> Path:
    if argument is not None:
        return Path(argument).expanduser()
    if os.environ.get(variable):
        return Path(os.environ[variable]).expanduser()
    return project_root() / default


def data_folder(argument: str | Path | None = None) -> Path:
    """The datasets' folder: the argument, else ``$WASHOUT_DATA``, else ``data/`` in the project."""
    return _folder(argument, "WASHOUT_DATA", "data")


def results_folder(argument: str | Path | None = None) -> Path:
    """Stored rows: the argument, else ``$WASHOUT_RESULTS``, else ``results/`` in the project."""
    return _folder(argument, "WASHOUT_RESULTS", "results")


def weights_folder(argument: str | Path | None = None) -> Path:
    """Trained weights: the argument, else ``$WASHOUT_WEIGHTS``, else the project's ``weights/``."""
    return _folder(argument, "WASHOUT_WEIGHTS", "weights")
