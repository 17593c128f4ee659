"""The chapters: per chapter its profiles, row specifications and row functions."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from washout.checks import check_choice

NAMES = ("chapter1", "chapter2", "chapter3", "chapter4")


def get(chapter: str | int) -> ModuleType:
    """The chapter's module, by name (``chapter3``) or number (``3``)."""
    name = str(chapter)
    name = f"chapter{name}" if name.isdigit() else name
    return import_module(f"washout.chapters.{check_choice(name, NAMES, 'chapter')}")
