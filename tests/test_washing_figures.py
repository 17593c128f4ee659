"""The figures of chapter 1 draw what they are given, legibly, and count what they claim."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from test_figures import drawn_texts, words
from washout import figures

RNG = np.random.default_rng(0)
COLOR = RNG.random((64, 64, 3))
ATTACKED = np.clip(COLOR + 0.03 * RNG.choice([-1, 1], COLOR.shape), 0, 1)
PANDA = "giant panda, panda, panda bear, coon bear"
LONG = "Staffordshire bullterrier, Staffordshire bull terrier"
NAMES = ["VAE 16×16, stride 16", "VAE 64×64, stride 32", "ensemble", "JPEG 10", "JPEG 23"]
L2 = [0.01, 0.07, 0.12]
FLAT = [(0.9, 0.85, 0.95), (0.8, 0.75, 0.85), (0.7, 0.65, 0.75)]
STEEP = [(0.9, 0.85, 0.95), (0.6, 0.5, 0.7), (0.2, 0.1, 0.3)]
PAPER = {"VAE": [(0.011, 0.98), (0.066, 0.97)]}
SEVEN = {f"defense {index}": FLAT for index in range(7)}
OTHER = {"VAE": FLAT[:2], "JPEG at quality 23": STEEP[:2]}
PEAK = [(0.5, 0.45, 0.55), (0.8, 0.75, 0.85), (0.6, 0.55, 0.65)]
POINTS = {"VAE": [("β 1", 0.6, 0.5), ("β 0.1", 0.8, 0.6)], "JPEG": [("q 10", 0.81, 0.61)]}


def washed(columns=3, zoom=None, said=None):
    defended = {name: ATTACKED for name in NAMES}
    said = said or [PANDA, LONG, PANDA, LONG, LONG, PANDA, PANDA]
    return figures.washed(COLOR, ATTACKED, defended, PANDA, said, columns=columns, zoom=zoom)


def best(rates=(0.7, 0.8, 0.9), **other):
    lines = {f"L2 {index}": PEAK for index in range(len(rates))}
    return figures.best_quality([10, 40, 90], lines, {"VAE": rates, **other})


MAKERS = {
    "washed": washed,
    "washed, two columns": lambda: washed(2, zoom=(10, 20, 40)),
    "washed, four columns": lambda: washed(4),
    "against_l2": lambda: figures.against_l2(L2, {"VAE": FLAT, "none": STEEP}, paper=PAPER),
    "against_l2, seven": lambda: figures.against_l2(L2, SEVEN),
    "attacks_against_l2": lambda: figures.attacks_against_l2(
        {"FGSM": (L2, {"VAE": FLAT, "none": STEEP}, PAPER), "I-FGSM": (L2[:2], OTHER, {})}
    ),
    "best_quality": lambda: best(ensemble=(0.9, 0.7, 0.8)),
    "best_quality, seven": lambda: best([0.3] * 7),
    "stitching": figures.stitching,
    "stitching, nine": lambda: figures.stitching(4, 3, 9),
    "fidelity": lambda: figures.fidelity(POINTS),
}


@pytest.mark.parametrize("name", MAKERS)
def test_figures_are_legible_within_bounds_and_closed(name):
    before = plt.get_fignums()
    figure = MAKERS[name]()
    assert plt.get_fignums() == before
    # 350 pixels is what a phone of 390 leaves a page.
    for text in figure.findobj(Text):
        assert text.get_fontsize() / 72 * 350 / figure.get_size_inches()[0] >= 8, text.get_text()
    for text in drawn_texts(figure):
        box = text.get_window_extent()
        assert min(*box.min) >= -1, text.get_text()
        assert (box.max <= figure.bbox.max + 1).all(), text.get_text()


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_words_of_neighbors_stay_apart(columns):
    figure = washed(columns, said=[LONG] * 7)
    rows = {}
    for axes in figure.axes:
        if word := axes.get_xlabel():
            box = axes.xaxis.label.get_window_extent()
            rows.setdefault(round(box.y0 / 20), []).append((box.x0, box.x1, word))
    for row in rows.values():
        row.sort()
        for (_, end, word), (start, _, _) in pairwise(row):
            assert end < start, word


def test_each_defense_has_the_classifiers_word_with_its_sign():
    figure = washed()
    found = {axes.get_title().replace("\n", " "): axes.get_xlabel() for axes in figure.axes}
    assert found["original"] == found["VAE 16×16, stride 16"] == "✓ “giant panda”"
    assert found["attacked"] == found["ensemble"] == "✗ “Staffordshire b…”"
    assert found["change"] == "at most 0.03"
    right, wrong = (figure.axes[index].xaxis.label for index in (0, 1))
    assert (right.get_color(), wrong.get_color()) == figures.COLORS[:2]


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (3, 32, 32), (299, 299, 3)])
def test_images_are_drawn_as_they_are(shape):
    image = RNG.random(shape)
    other = 0.9 * image
    figure = figures.washed(image, other, {"VAE": image}, "a", ["a", "b", "a"])
    panels = {axes.get_title(): axes.images for axes in figure.axes}
    drawn = {name: images[0].get_array() for name, images in panels.items() if images}
    np.testing.assert_allclose(np.sort(drawn["original"].ravel()), np.sort(image.ravel()))
    np.testing.assert_array_equal(drawn["original"], drawn["VAE"])
    np.testing.assert_allclose(drawn["attacked"], 0.9 * drawn["original"])
    change = drawn["attacked"] - drawn["original"]
    np.testing.assert_allclose(drawn["change"], change.mean(2) if change.ndim == 3 else change)


def test_the_zoom_shows_its_square_in_every_panel():
    figure = washed(zoom=(10, 20, 40))
    insets = [child for axes in figure.axes for child in axes.child_axes]
    assert len(insets) == 8
    for inset in insets:
        assert inset.get_xlim() == (19.5, 59.5)
        assert inset.get_ylim() == (49.5, 9.5)


def test_lines_are_named_where_they_end_if_they_end_apart():
    lines = {"VAE": FLAT, "none": STEEP}
    figure = figures.against_l2(L2, lines, paper=PAPER)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["paper"]
    assert {"VAE", "none"} <= set(words(figure))
    figure = figures.against_l2(L2, {"VAE": FLAT, "JPEG": FLAT})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["VAE", "JPEG"]


def test_the_papers_points_keep_their_place_and_their_lines_color():
    figure = figures.against_l2(L2, {"none": STEEP, "VAE": FLAT}, paper=PAPER)
    [stars] = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    np.testing.assert_array_equal(stars.get_xydata(), PAPER["VAE"])
    assert to_hex(stars.get_markeredgecolor()).upper() == figures.COLORS[1]
    assert stars.get_markerfacecolor() == "white"


def test_a_defense_looks_the_same_in_every_panel():
    panels = {"FGSM": (L2, {"a": FLAT, "b": STEEP}, {}), "I-FGSM": (L2, {"b": FLAT, "c": FLAT}, {})}
    figure = figures.attacks_against_l2(panels)
    above, below = ({line.get_label(): line for line in axes.lines} for axes in figure.axes)
    assert above["b"].get_color() == below["b"].get_color() != below["c"].get_color()
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c"]


def test_best_quality_counts_who_wins():
    figure = best()
    title = figure.legends[0].get_title().get_text().replace("\n", " ")
    assert title == (
        "At its best quality JPEG beats VAE at 1, is level at 1, loses at 1 of 3 attack sizes"
    )
    shown = words(figure)
    assert {"+10", "0", "−10"} <= set(shown)
    assert shown.count("40") >= 3
    left, right = figure.axes
    rings = [line.get_xydata()[0] for line in left.lines if line.get_markersize() == 12]
    np.testing.assert_array_equal(rings, [[40, 0.8]] * 3)
    bars = next(line for line in right.lines if line.get_label() == "VAE")
    np.testing.assert_array_equal(bars.get_ydata(), [0.7, 0.8, 0.9])


@pytest.mark.parametrize(
    ("size", "stride", "side"), [(3, 1, 5), (4, 3, 9), (5, 5, 5), (2, 2, 6), (3, 2, 8), (1, 1, 1)]
)
def test_the_stitching_counts_the_patches_over_each_pixel(size, stride, side):
    """Compared with a count, pixel by pixel, of the patches that hold it."""
    starts = [0]
    while starts[-1] + size < side:
        starts.append(starts[-1] + stride)
    figure = figures.stitching(size, stride, side)
    counts = figure.axes[1].images[0].get_array()
    assert counts.shape == (side, side)
    for (row, column), count in np.ndenumerate(counts):
        down = sum(start <= row < start + size for start in starts)
        assert count == down * sum(start <= column < start + size for start in starts) > 0
    written = [int(text.get_text()) for text in figure.axes[1].texts]
    assert written == counts.ravel().tolist()
    many = f"{len(starts) ** 2} patches" if len(starts) > 1 else "1 patch"
    assert figure.axes[0].get_title().startswith(f"{many} of {size} × {size}")


def test_labels_of_neighboring_points_do_not_cover_each_other():
    figure = figures.fidelity(POINTS)
    notes = [text for text in figure.axes[0].texts if text.get_text()]
    assert {note.get_text() for note in notes} == {"β 1", "β 0.1", "q 10"}
    boxes = [note.get_window_extent() for note in notes]
    for index, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[:index])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.washed(COLOR, COLOR, {}, "a", ["a", "a"]), "at least one defense"),
        (lambda: washed(said=["a"] * 6), "got 6 words for 5 defended images"),
        (lambda: washed(5), "allowed are 2, 3, 4"),
        (lambda: washed(zoom=(50, 0, 20)), "within 64 x 64 pixels"),
        (lambda: washed(zoom=(-1, 0, 20)), "within 64 x 64 pixels"),
        (
            lambda: figures.washed(COLOR, COLOR[:28], {"VAE": COLOR}, "a", ["a"] * 3),
            "attacked: got shape",
        ),
        (lambda: figures.against_l2(L2, {}), "allowed are 1 to 7"),
        (lambda: figures.against_l2([], {"a": []}), "at least one"),
        (lambda: figures.against_l2(L2[:2], {"a": FLAT}), "each of the 2 points"),
        (lambda: figures.against_l2(L2, {"a": FLAT}, paper=PAPER), "paper: got VAE; allowed are a"),
        (lambda: figures.attacks_against_l2({}), "panels: got none"),
        (lambda: best(other=[0.5]), "a rate for each of the 3 lines"),
        (lambda: figures.best_quality([1], {"a": [(0.5, 0.4, 0.6)]}, {}), "give 1 to 3 defenses"),
        (lambda: figures.stitching(2, 3, 9), "stride <= size"),
        (lambda: figures.stitching(3, 1, 10), "side <= 9"),
        (lambda: figures.stitching(0), "size: got 0"),
        (lambda: figures.fidelity({}), "allowed are 1 to 7"),
        (lambda: figures.fidelity({"VAE": []}), "points of VAE"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
