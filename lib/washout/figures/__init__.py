"""The book's recurring pictures. Each function returns a Matplotlib figure.

Figures are narrow with large type, so that a phone shows them readably; colors are told apart by
color-blind readers, and every series also differs in hatch, dash or marker.
"""

from washout.figures.curves import forest, roc_curves, sweep
from washout.figures.diagrams import flow_diagram, game
from washout.figures.distributions import histograms
from washout.figures.images import image_grid
from washout.figures.style import COLORS, setup

__all__ = [
    "COLORS",
    "flow_diagram",
    "forest",
    "game",
    "histograms",
    "image_grid",
    "roc_curves",
    "setup",
    "sweep",
]
