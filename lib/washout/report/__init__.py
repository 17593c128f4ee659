"""Paper beside reproduction: verdicts by one written rule, tables, and how pages show them."""

from washout.report.html import not_computed, provenance, show, table_html
from washout.report.tables import claims, compare, errata, scorecard, tidy
from washout.report.verdicts import (
    CLAIM_WORDS,
    NUMBER_WORDS,
    Judgment,
    Verdict,
    judge,
    judge_all,
    judge_equal,
    verdict,
    verdicts,
)

__all__ = [
    "CLAIM_WORDS",
    "NUMBER_WORDS",
    "Judgment",
    "Verdict",
    "claims",
    "compare",
    "errata",
    "judge",
    "judge_all",
    "judge_equal",
    "not_computed",
    "provenance",
    "scorecard",
    "show",
    "table_html",
    "tidy",
    "verdict",
    "verdicts",
]
