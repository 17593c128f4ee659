"""What this book adds to Jupyter Book: builds that never compute, the repository's buttons."""

from __future__ import annotations

import os
import re
from typing import Any

COLAB = "https://colab.research.google.com"


def buttons(repository: str) -> dict[str, Any]:
    """Theme options for a repository's address: none without one, Colab for GitHub's only."""
    if not repository:
        return {}
    options: dict[str, Any] = {"use_repository_button": True, "use_source_button": True}
    if repository.startswith("https://github.com/"):
        options["launch_buttons"] = {"colab_url": COLAB}
    return options


def turn_on_buttons(app: Any, config: Any) -> None:
    """Fill the theme's options from ``repository.url`` before the theme reads them."""
    options = config.html_theme_options
    for name, value in buttons(options.get("repository_url", "")).items():
        if isinstance(value, dict):
            options[name] = {**(options.get(name) or {}), **value}
        else:
            options[name] = value


def drop_thebe(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Leave out Thebe, which runs cells on another server.

    Jupyter Book loads it whether used or not, and twice, which is an error in the browser.
    """
    context["script_files"] = [
        script
        for script in context.get("script_files", ())
        if "thebe" not in str(getattr(script, "filename", script) or "")
        and "THEBE" not in (getattr(script, "attributes", None) or {}).get("body", "")
    ]


def skip(app: Any, what: str, name: str, member: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out a named tuple's generated lines: its docstring describes the fields."""
    return True if (getattr(member, "__doc__", "") or "").startswith("Alias for field") else None


def keep_text(app: Any, what: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: keep a colon from being a type's end, and stars from bold."""
    if what in ("attribute", "property") and lines:
        lines[0] = lines[0].replace(": ", " – ", 1)
    lines[:] = [re.sub(r"(?<=[\s(])\*\*(?=\w+[),])", r"\*\*", line) for line in lines]


def setup(app: Any) -> dict[str, Any]:
    # The notebooks' kernels inherit both: a missing row is printed as missing, and the kernel is
    # the Python that builds the site, not another one in the user's folders.
    os.environ["WASHOUT_COMPUTE"] = "never"
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    app.connect("config-inited", turn_on_buttons, priority=1)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", keep_text, priority=1)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
