"""The figures of chapter 2 show each number in its place, legibly, and frame what they claim."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from test_figures import drawn_texts, words
from washout import figures
from washout.figures.boundary import spread
from washout.figures.grids import SHADES, contrasting

RNG = np.random.default_rng(0)
DEFENSES = ["none", "JPEG 90", "Gauss", "K-means", "TVM", "VQ-VAE 0", "VQ-VAE 0.25", "VQ-VAE 0.75"]
ATTACKS = ["clean", "FGSM 0.1", "PGD 0.3", "C&W κ 20", "DeepFool overshoot 0.5"]
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
MARGINS = [0.001, 0.002, 0.002, 0.004, 0.05, 0.4, 0.7, 1.5, 3, 4.8, 7, 19, 25, 27]
COUNTS = RNG.integers(0, 50, (10, 10))


def rate(value, reach=0.02):
    return value, max(0.0, value - reach), min(1.0, value + reach)


def row(*values):
    return {
        name: value if value is None else rate(value)
        for name, value in zip(DEFENSES, values, strict=False)
    }


TABLE = {
    "FGSM": row(0.97, 0.9, 0.2),
    "PGD": row(0.0, 0.501, 0.499, 0.4),
    "C&W": row(0.0, 0.0, 0.0),
    "DeepFool": row(0.0, None, 0.3),
}


def full(attacks=ATTACKS, defenses=DEFENSES):
    return {a: {d: rate(float(RNG.random())) for d in defenses} for a in attacks}


def past(many=6, attacks=14, name="attack {}"):
    return figures.past_boundary(
        {
            f"defense {index}": [
                (27 * 1.01**k if k >= len(MARGINS) else MARGINS[k], rate(0.5), name.format(k))
                for k in RNG.permutation(attacks)
            ]
            for index in range(many)
        },
        xlabel="median logit margin",
        ylabel="accuracy",
    )


def confusions(many=4, entropies=True):
    tables = {f"VQ-VAE {k}, FGSM 0.1": COUNTS for k in range(many)}
    bits = {title: 2.125 for title in tables} if entropies else None
    return figures.confusions(tables, CLASSES, entropies=bits)


def printed(words, attacks=ATTACKS, defenses=DEFENSES):
    return {attack: {defense: words for defense in defenses} for attack in attacks}


NINE = [*DEFENSES, "VQ-VAE trained"]
TWELVE = [f"DeepFool overshoot 0.{k:02}" for k in range(12)]
MAKERS = {
    "cells": lambda: figures.cells(full(), printed=printed("≥ 70")),
    "cells, small": lambda: figures.cells(TABLE),
    "cells, largest": lambda: figures.cells(
        full(TWELVE, NINE), printed=printed("≤ 10", TWELVE, NINE)
    ),
    "past_boundary": past,
    "past_boundary, largest": lambda: past(7, 18, "attack {} with a long name"),
    "past_boundary, one": lambda: past(1, 1),
    "confusions": confusions,
    "confusions, one": lambda: confusions(1),
    "confusions, three": lambda: confusions(3, entropies=False),
    "pairs": lambda: figures.pairs(
        {f"VQ-VAE, noise 0.{k}": RNG.random((8, 32, 32, 3)) for k in "025"}
    ),
    "pairs, one": lambda: figures.pairs(
        {"a title that is " + "long " * 12: [RNG.random((28, 28))]}
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_figures_are_legible_within_bounds_and_closed(name):
    before = plt.get_fignums()
    figure = MAKERS[name]()
    assert plt.get_fignums() == before
    width, height = figure.get_size_inches()
    assert width == 5.4
    assert height < 10
    # 350 pixels is what a phone of 390 leaves a page.
    for text in figure.findobj(Text):
        assert text.get_fontsize() / 72 * 350 / width >= 8, text.get_text()
    for text in drawn_texts(figure):
        box = text.get_window_extent()
        assert min(*box.min) >= -1, text.get_text()
        assert (box.max <= figure.bbox.max + 1).all(), text.get_text()


def by_cell(figure):
    """(row, column) -> the words in this cell from the top."""
    found = {}
    for text in figure.axes[0].texts:
        x, y = text.get_position()
        found.setdefault((int(y), int(x)), []).append((y, text.get_text()))
    return {place: [word for _, word in sorted(lines)] for place, lines in found.items()}


def frames(figure):
    patches = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    return {(int(p.get_y()), int(p.get_x())) for p in patches}


def test_each_cell_has_its_percent_and_the_papers_word():
    figure = figures.cells(TABLE, printed={"PGD": {"Gauss": "≥ 70"}, "DeepFool": {"JPEG 90": "99"}})
    assert by_cell(figure) == {
        **{(0, 0): ["97"], (0, 1): ["90"], (0, 2): ["20"], (0, 3): ["–"]},
        **{(1, 0): ["0"], (1, 1): ["50"], (1, 2): ["50", "≥ 70"], (1, 3): ["40"]},
        **{(2, 0): ["0"], (2, 1): ["0"], (2, 2): ["0"], (2, 3): ["–"]},
        **{(3, 0): ["0"], (3, 1): ["–", "99"], (3, 2): ["30"], (3, 3): ["–"]},
    }
    [mesh] = figure.axes[0].collections
    drawn = mesh.get_array().reshape(4, 4)
    np.testing.assert_array_equal(drawn[1], [0.0, 0.501, 0.499, 0.4])
    assert drawn.mask.sum() == 4
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(TABLE)
    assert [label.get_text() for label in axes.get_xticklabels()] == DEFENSES[:4]
    assert axes.get_ylim() == (4, 0)  # the first attack on top


def test_the_frame_is_around_the_best_defense():
    # Not the undefended column, all that show the same number, and none where all do.
    assert frames(figures.cells(TABLE)) == {(0, 1), (1, 1), (1, 2), (3, 2)}
    alone = {"FGSM": {"No defense": rate(0.9), "JPEG": rate(0.0)}}
    assert frames(figures.cells(alone)) == {(0, 1)}
    assert frames(figures.cells({"FGSM": {"none": rate(0.9), "JPEG": None}})) == set()


def test_a_missing_defense_is_a_dash_and_rows_can_be_renamed():
    table = {"a": {"JPEG": rate(0.5)}, "b": {"TVM": rate(0.25)}}
    figure = figures.cells(table, ylabels=["first", "second"])
    assert by_cell(figure) == {(0, 0): ["50"], (0, 1): ["–"], (1, 0): ["–"], (1, 1): ["25"]}
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["first", "second"]


def test_the_key_says_only_what_is_there():
    def key(figure):
        [legend] = figure.legends
        return legend.get_title().get_text(), [text.get_text() for text in legend.get_texts()]

    title, entries = key(figures.cells({"a": {"b": (0.5, 0.469, 0.52)}}))
    assert title == "% of the images read correctly; intervals reach ± 4 points at most"
    assert entries == ["best defense of the row"]
    title, entries = key(figures.cells({"a": {"b": (0.5,) * 3}}, printed={"a": {"b": "99"}}))
    assert title == "% of the images read correctly"
    assert entries[1:] == ["small: the paper’s number"]


def luminance(color):
    """WCAG 2's relative luminance, from its text."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize(
    "color", [SHADES(k / 20) for k in range(21)] + ["#ffffff", "#000000", "#777777", "#D55E00"]
)
def test_numbers_stand_out_from_their_cell(color):
    light, dark = sorted([luminance(color), luminance(contrasting(color))], reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_shades_grow_darker_all_along():
    shades = [luminance(SHADES(k / 100)) for k in range(101)]
    assert (np.diff(shades) < 0).all()


def test_points_are_sorted_and_each_defense_looks_different():
    figure = past(7)
    lines = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    for line in lines:
        np.testing.assert_array_equal(line.get_xdata(), MARGINS)
    looks = [(line.get_color(), line.get_marker()) for line in lines]
    assert len({color for color, _ in looks}) == len({marker for _, marker in looks}) == 7
    assert figure.axes[0].get_xscale() == "log"
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == [f"defense {index}" for index in range(7)]


def test_each_attack_is_named_once_in_order_and_apart():
    figure = past(name="{}")
    names = [text for text in figure.axes[0].texts if text.get_text()]
    boxes = [text.get_window_extent() for text in names]
    assert [text.get_text() for text in names] == [str(k) for k in range(14)]
    for left, right in pairwise(boxes):
        assert left.x1 <= right.x0
    assert all(box.y0 > figure.axes[0].bbox.y1 for box in boxes)


def test_leaders_join_each_name_with_its_margin():
    figure = past(2, 5)
    axes = figure.axes[0]
    leaders = [line for line in axes.lines if line.get_marker() == "None"]
    names = [text for text in axes.texts if text.get_text()]
    for margin, leader, name in zip(MARGINS[:5], leaders, names, strict=True):
        points = leader.get_transform().transform(leader.get_xydata())
        foot = axes.transData.transform((margin, 0))[0]
        np.testing.assert_allclose(points[:2, 0], foot, atol=0.5)
        box = name.get_window_extent()
        assert box.x0 <= points[2, 0] <= box.x1
        assert points[2, 1] <= box.y0 + 0.5


def test_the_ground_reaches_the_best_defense():
    points = {
        "a": [(1, rate(0.9), "x"), (10, rate(0.1), "y")],
        "b": [(10, rate(0.3), "y"), (1, rate(0.2), "x")],
    }
    ground = figures.past_boundary(points).axes[0].collections[-1]
    corners = {(x, round(y, 9)) for x, y in ground.get_paths()[0].vertices}
    assert {(1, 0.9), (10, 0.3)} <= corners
    assert not {(1, 0.2), (10, 0.1)} & corners


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]),
        ([0.5, 0.5, 0.5], [0.4, 0.5, 0.6]),
        ([0.0, 0.0, 0.05, 0.8], [0.0, 0.1, 0.2, 0.8]),
        ([0.98, 1.0], [0.9, 1.0]),
        ([0.3], [0.3]),
        (21 * [0.5], np.linspace(0, 1, 21)),  # more than fit
    ],
)
def test_names_move_as_little_as_need_be(places, expected):
    np.testing.assert_allclose(spread(places, 0.1, 0, 1), expected, atol=1e-12)


def test_confusions_show_shares_of_rows_with_the_diagonal_apart():
    table = np.array([[6, 3, 1], [0, 0, 0], [1, 0, 1]])
    figure = figures.confusions(
        {"JPEG": table}, ["cat", "deer", "automobile"], entropies={"JPEG": 0.5}
    )
    right, errors = (image.get_array() for image in figure.axes[0].images)
    # The class without images is left white.
    np.testing.assert_allclose(right.compressed(), [0.6, 0.5])
    np.testing.assert_allclose(errors.compressed(), [0.3, 0.1, 0.5, 0])
    assert figure.axes[0].images[1].norm.vmax == 0.5
    assert figure.axes[0].get_title() == "JPEG\n58 % correct, 0.50 bits"
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["cat", "deer", "autom"]
    assert "1.0 if to all evenly" in "\n".join(words(figure))


def test_errors_have_one_scale_and_names_only_at_the_edges():
    some = np.eye(10) * 9 + np.eye(10, k=1)
    figure = figures.confusions({"a": some, "b": COUNTS, "c": some}, range(10))
    panels = figure.axes[:3]
    assert len({axes.images[1].norm.vmax for axes in panels}) == 1
    assert [len(axes.get_yticks()) for axes in panels] == [10, 0, 10]
    assert [len(axes.get_xticks()) for axes in panels] == [0, 10, 10]
    assert "bits" not in "\n".join(words(figure))


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (3, 32, 32), (20, 32, 3)])
def test_pairs_are_aligned_and_drawn_as_they_are(shape):
    floats = RNG.random((5, *shape))
    rows = {"original": floats, "VQ-VAE": (255 * floats).astype(np.uint8)}
    figure = figures.pairs(rows)
    assert words(figure) == ["original", "VQ-VAE"]
    grid = np.reshape(figure.axes, (2, 5))
    boxes = [[axes.get_position() for axes in line] for line in grid]
    for above, below in zip(*boxes, strict=True):
        assert (above.x0, above.x1) == (below.x0, below.x1)
        assert above.y0 > below.y1
    for index in range(5):
        one, two = (axes.images[0].get_array() for axes in grid[:, index])
        np.testing.assert_allclose(np.sort(one.ravel()), np.sort(floats[index].ravel()))
        np.testing.assert_allclose(one, two, atol=1 / 255)
    titles = [text.get_window_extent() for text in figure.texts]
    for title, line in zip(titles, grid, strict=True):
        assert title.y0 >= line[0].bbox.y1 - 1
    assert titles[1].y1 <= grid[0, 0].bbox.y0


def points(margin=1.0, found=(0.5, 0.4, 0.6)):
    return {"JPEG": [(margin, found, "FGSM")]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.cells({}), "got 0 attacks; allowed are 1 to 12"),
        (lambda: figures.cells({"a": {}}), "got 0 defenses; allowed are 1 to 9"),
        (lambda: figures.cells(full([str(k) for k in range(13)])), "got 13 attacks"),
        (lambda: figures.cells(full(defenses=[str(k) for k in range(10)])), "got 10 defenses"),
        (lambda: figures.cells({"a": {"b": rate(1.5)}}), "rates of a, b: got"),
        (lambda: figures.cells({"a": {"b": (float("nan"),) * 3}}), "in \\[0, 1\\]"),
        (lambda: figures.cells({"a": {"b": (0.5,)}}), "allowed is None or"),
        (lambda: figures.cells(TABLE, ylabels=["a"]), "got 1; give one for each of 4 attacks"),
        (lambda: figures.cells(TABLE, printed={"BIM": {}}), "got BIM; allowed are FGSM, PGD"),
        (lambda: figures.cells(TABLE, printed={"PGD": {"VAE": "1"}}), "got VAE; allowed are"),
        (lambda: figures.cells(full(), printed=printed("not given")), "got not given; allowed is"),
        (lambda: past(8), "got 8; allowed are 1 to 7"),
        (lambda: past(1, 19), "got 19 attacks; allowed are 1 to 18"),
        (lambda: figures.past_boundary({"JPEG": []}), "points of JPEG: got none"),
        (lambda: figures.past_boundary(points(0)), "got a margin of 0; allowed is above 0"),
        (lambda: figures.past_boundary(points(float("nan"))), "got a margin of nan"),
        (lambda: figures.past_boundary(points(found=(1.2, 1, 1))), "points of JPEG, FGSM: got"),
        (lambda: figures.past_boundary(points(found=(0.5, 0.4))), "allowed is \\(rate, low, high"),
        (
            lambda: figures.past_boundary(points() | {"TVM": [(2, rate(0.5), "FGSM")]}),
            "got margins 2 and 1.0; allowed is one",
        ),
        (lambda: figures.confusions({}, CLASSES), "got 0 tables; allowed are 1 to 8"),
        (lambda: figures.confusions({"a": COUNTS}, ["a"]), "classes: got 1; allowed are 2 to 10"),
        (lambda: figures.confusions({"a": COUNTS}, range(11)), "classes: got 11"),
        (lambda: figures.confusions({"a": COUNTS}, range(9)), "allowed is \\(9, 9\\)"),
        (lambda: figures.confusions({"a": COUNTS - 60}, CLASSES), "table of a: got shape"),
        (
            lambda: figures.confusions({"a": COUNTS}, CLASSES, entropies={"b": 1.0}),
            "entropies: got b; allowed are a",
        ),
        (lambda: figures.pairs({}), "rows: got none"),
        (lambda: figures.pairs({"a": [COUNTS], "b": []}), "'a': 1, 'b': 0"),
        (lambda: figures.pairs({"a": []}), "got 0 images in a row; allowed are 1 to 8"),
        (lambda: figures.pairs({"a": [COUNTS] * 9}), "got 9 images in a row"),
        (lambda: figures.pairs({"a": [np.zeros(3)]}), "image: got shape"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    before = plt.get_fignums()
    with pytest.raises(ValueError, match=message):
        call()
    assert plt.get_fignums() == before
