"""The book's recurring pictures. Each function returns a Matplotlib figure.

Figures are narrow with large type, so that a phone shows them readably; colors are told apart by
color-blind readers, and every series also differs in hatch, dash or marker.
"""

from washout.figures.boundary import past_boundary
from washout.figures.confusion import confusions
from washout.figures.curves import forest, roc_curves, sweep
from washout.figures.diagrams import flow_diagram, game
from washout.figures.distributions import histograms
from washout.figures.grids import cells, pairs
from washout.figures.images import image_grid, strip
from washout.figures.pipelines import pipelines
from washout.figures.style import COLORS, setup
from washout.figures.tradeoffs import best_quality, fidelity
from washout.figures.washing import stitching, washed
from washout.figures.washing_curves import against_l2, attacks_against_l2

__all__ = [
    "COLORS",
    "against_l2",
    "attacks_against_l2",
    "best_quality",
    "cells",
    "confusions",
    "fidelity",
    "flow_diagram",
    "forest",
    "game",
    "histograms",
    "image_grid",
    "pairs",
    "past_boundary",
    "pipelines",
    "roc_curves",
    "setup",
    "stitching",
    "strip",
    "sweep",
    "washed",
]
