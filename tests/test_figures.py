"""Figures draw what they are given, in a type that a phone can show."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from washout import figures

RNG = np.random.default_rng(0)
IMAGE = RNG.random((28, 28))
ATTACKED = np.clip(IMAGE + 0.2 * RNG.choice([-1, 1], IMAGE.shape), 0, 1)
EDGES = np.linspace(0, 1, 101)
COUNTS = {"clean": RNG.integers(0, 50, 100), "FGSM": RNG.integers(0, 50, 100)}
LINE = [(0.5, 0.4, 0.6), (0.7, 0.6, 0.8), (0.9, 0.8, 1.0)]
WAYS = {
    "clean": {"above_high": 120, "below_low": 4300, "agree": 410, "disagree": 130},
    "attacked": {"above_high": 4200, "below_low": 90, "agree": 104, "disagree": 566},
}

MAKERS = {
    "image_grid": lambda: figures.image_grid([IMAGE], [ATTACKED], ["7"], ["3"], notes=["FGSM"]),
    "histograms": lambda: figures.histograms(EDGES, COUNTS, thresholds={"L": 0.2, "H": 0.5}),
    "histograms, log": lambda: figures.histograms(EDGES, COUNTS, log=True, title="t"),
    "roc_curves": lambda: figures.roc_curves(
        {"FGSM": ([0, 0.5, 1], [0, 0.9, 1])}, points={"FGSM": (0.1, 0.8)}, aucs={"FGSM": 0.9}
    ),
    "sweep": lambda: figures.sweep(
        [1, 2, 3], {"BIM": LINE}, xlabel="x", ylabel="y", paper={"BIM": (2, 0.7)}, mark=(2, "used")
    ),
    "forest": lambda: figures.forest(
        [("FGSM", (0.9, 0.88, 0.92), 0.929), ("BIM", None, 0.965)],
        xlabel="detection accuracy",
        original={"FGSM": 0.961},
    ),
    "flow_diagram": lambda: figures.flow_diagram(WAYS),
    "game": lambda: figures.game(
        IMAGE, ATTACKED, label="7", prediction="3", verdict="adversarial", attack="FGSM"
    ),
}


def drawn_texts(figure):
    """Texts that are drawn; Matplotlib also keeps tick labels that lie outside the axes."""
    ticks = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
    }
    texts = figure.findobj(Text)
    return [t for t in texts if t.get_text().strip() and t.get_visible() and id(t) not in ticks]


def words(figure):
    return [text.get_text() for text in drawn_texts(figure)]


@pytest.mark.parametrize("name", MAKERS)
def test_figures_are_legible_and_leave_nothing_open(name):
    before = plt.get_fignums()
    figure = MAKERS[name]()
    assert plt.get_fignums() == before
    width, _ = figure.get_size_inches()
    # 350 pixels is what a phone of 390 leaves a page.
    for text in figure.findobj(Text):
        assert text.get_fontsize() / 72 * 350 / width >= 8, text.get_text()
    png = io.BytesIO()
    figure.savefig(png, format="png")
    assert plt.imread(io.BytesIO(png.getvalue())).std() > 0.02


@pytest.mark.parametrize("name", MAKERS)
def test_no_word_leaves_the_figure(name):
    figure = MAKERS[name]()
    canvas = figure.bbox
    for text in drawn_texts(figure):
        box = text.get_window_extent()
        assert box.x0 >= canvas.x0 - 1, text.get_text()
        assert box.x1 <= canvas.x1 + 1, text.get_text()
        assert box.y0 >= canvas.y0 - 1, text.get_text()
        assert box.y1 <= canvas.y1 + 1, text.get_text()


def test_the_flow_adds_up():
    shown = "\n".join(words(figures.flow_diagram(WAYS)))
    for number in ("540 clean", "670 attacked", "4,710 clean", "194 attacked", "4,766 attacked"):
        assert number in shown
    assert "all five agree" in shown
    assert "4 or more agree" in "\n".join(words(figures.flow_diagram(agree=4)))


def test_the_grid_says_what_the_classifier_says():
    shown = words(figures.image_grid([IMAGE] * 2, [ATTACKED] * 2, ["7", "1"], ["3", "1"]))
    assert {"“7”", "✗ “3”", "✓ “1”", "at most 0.20"} <= set(shown)


def test_the_change_is_drawn_from_the_images():
    dark = np.zeros((4, 4))
    light = dark.copy()
    light[1, 2] = 0.25
    figure = figures.image_grid([dark], [light], ["a"], ["b"])
    drawn = figure.axes[1].images[0]
    assert drawn.get_array()[1, 2] == pytest.approx(0.25)
    assert drawn.get_array().sum() == pytest.approx(0.25)
    assert drawn.norm.vmax == pytest.approx(0.25)


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (28, 28, 1), (3, 32, 32), (32, 32, 3)])
def test_images_of_every_layout(shape):
    floats = RNG.random(shape)
    bytes_ = (255 * floats).astype(np.uint8)
    figure = figures.game(floats, bytes_, label="a", prediction="b", verdict="c")
    assert figure.axes[0].images[0].get_array().shape[:2] == (max(shape[:2]),) * 2


def test_the_histogram_keeps_every_count():
    figure = figures.histograms(EDGES, COUNTS)
    drawn = [patch.get_data().values for patch in figure.axes[0].patches]
    np.testing.assert_array_equal(drawn[0], COUNTS["clean"])
    np.testing.assert_array_equal(drawn[1], COUNTS["FGSM"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.histograms(EDGES, {"clean": [1, 2]}), "one count for each bin"),
        (lambda: figures.histograms(EDGES, {}), "allowed are 1 to 7"),
        (lambda: figures.sweep([1, 2], {"a": LINE}, xlabel="", ylabel=""), "each of the 2 points"),
        (lambda: figures.forest([], xlabel=""), "items: got none"),
        (lambda: figures.flow_diagram({"clean": {"agree": 1}}), "needed are above_high"),
        (lambda: figures.image_grid([IMAGE], [], ["a"], ["b"]), "one of each for every image"),
        (
            lambda: figures.game(IMAGE, IMAGE[:3], label="", prediction="", verdict=""),
            "adversarial: got shape",
        ),
        (
            lambda: figures.game(IMAGE[0], IMAGE[0], label="", prediction="", verdict=""),
            "image: got shape",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- pipelines ---------------------------------------------------------------------------------
CHAINS = {"Method 1": [("image", ""), ("autoencoder", "repainted"), ("class", "")],
          "Method 2": [("image", ""), ("Glow", "48 × 4 × 4")]}  # fmt: skip


def test_pipelines_show_every_step_and_what_comes_out_of_it():
    figure = figures.pipelines(CHAINS)
    shown = words(figure)
    for title, steps in CHAINS.items():
        assert title in shown
        for step, result in steps[:-1]:
            assert step in shown
            assert not result or result in shown
    assert "48 × 4 × 4" not in shown  # nothing comes after the last step
    plt.close(figure)


@pytest.mark.parametrize("chains", [{}, {"a": []}, {"a": [("b", "")] * 9},
                                    {key: [("b", "")] for key in "abc"}])  # fmt: skip
def test_too_many_or_no_steps_are_refused(chains):
    with pytest.raises(ValueError, match="chains: got"):
        figures.pipelines(chains)
