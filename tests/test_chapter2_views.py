"""Chapter 2's hypotheses, conclusions and pictures against hand-made rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from test_chapter2_claims import N, cell, vq
from washout.chapters.bits import packed, packed_floats
from washout.chapters.chapter2 import adaptive, columns, conclusions, errors, hypotheses, margins
from washout.chapters.chapter2.grid import at_most
from washout.chapters.chapter2.more_views import codebooks, counting, strong_enough
from washout.chapters.chapter2.views import ceilings
from washout.figures.boundary import within_attacks
from washout.papers import Claim
from washout.store import Row

CLAIM = Claim("H", "direction", "", "")


def cells(shares: dict[tuple[str, str], float]) -> list[Row]:
    """(attack, defense) -> share of images read rightly, on MNIST."""
    return [cell("mnist", attack, defense, share) for (attack, defense), share in shares.items()]


def attacked(margin: np.ndarray, label: str = "pgd-min") -> Row:
    """Every image was read rightly and is turned, by these margins."""
    n = len(margin)
    bits, found = packed(torch.ones(n, dtype=torch.bool)), packed_floats(torch.tensor(margin))
    spec = {"dataset": "mnist", "net": "lenet", "seed": 0, "attack": label}
    values = {
        "n": n, "right": bits, "success": bits, "wrong": bits, "margins": found,
        "sizes": {"l2": found, "linf": found}, "labels": packed_floats(torch.zeros(n)), "linf": 1.0,
    }  # fmt: skip
    return Row("attack", "paper", spec, {}, values, {})


def judged(rows, attacks=(), knowing=()):
    return hypotheses.Judged(rows, attacks, knowing, "mnist")


# ---- hypotheses --------------------------------------------------------------------------------
def test_without_rows_no_hypothesis_is_judged():
    found = judged([])
    for id_ in hypotheses.HYPOTHESES:
        assert getattr(found, id_.lower())(CLAIM)[0] == "not computed", id_


def test_h1_holds_if_a_budget_leaves_nothing():
    rows = cells({("pgd-min", "jpeg90"): 0.9, ("pgd-0.3", "jpeg90"): 0.0, ("pgd-0.3", "none"): 0.0})
    assert judged(rows).h1(CLAIM)[0] == "holds"
    rows = cells({("pgd-min", "jpeg90"): 0.9, ("pgd-0.3", "jpeg90"): 0.9, ("pgd-0.3", "none"): 0.0})
    assert judged(rows).h1(CLAIM)[0] == "contradicted"


@pytest.mark.parametrize(
    ("margin", "word"),
    [
        (np.linspace(0.001, 1, N), "holds"),  # the first images are right
        (np.linspace(1, 0.001, N), "contradicted"),
        (np.tile([0.1, 0.2], N // 2), "undecided"),
    ],
)
def test_h2_goes_by_the_order_of_margins(margin, word):
    rows = cells({("pgd-min", "jpeg90"): 0.5})
    assert judged(rows, [attacked(margin)]).h2(CLAIM)[0] == word


def test_h2_is_undecided_where_searches_disagree():
    rows = cells({("pgd-min", "jpeg90"): 0.5, ("fgsm-min", "jpeg90"): 0.5})
    attacks = [
        attacked(np.linspace(0.001, 1, N)), attacked(np.linspace(1, 0.001, N), "fgsm-min")
    ]  # fmt: skip
    word, said = judged(rows, attacks).h2(CLAIM)
    assert word == "undecided"
    assert "−0.87" in said
    assert "+0.87" in said


def test_h3_needs_both_ends():
    for single, batch, word in ((0.6, 0.01, "holds"), (0.01, 0.01, "contradicted")):
        rows = cells({("deepfool-fb2", "jpeg90"): single, ("deepfool-batch64", "jpeg90"): batch})
        assert judged(rows).h3(CLAIM)[0] == word


def test_h5_is_contradicted_if_the_quality_matters_at_the_boundary():
    rows = cells(
        {
            (attack, f"jpeg{quality}"): share
            for attack in ("fgsm-min", "pgd-min", "pgd-0.3")
            for quality, share in ((25, 0.9), (90, 0.3))
        }
    )
    assert judged(rows).h5(CLAIM)[0] == "contradicted"


def test_h7_says_nothing_near_chance():
    shares = {(a, d): 0.5 for a in hypotheses.ATTACKS for d in columns("mnist")[1:5]}
    shares |= {(a, "vqvae0-wrap"): 0.1 for a in hypotheses.ATTACKS}
    assert judged(cells({**shares, ("none", "vqvae0"): 0.9})).h7b(CLAIM)[0] == "holds"
    assert judged(cells({**shares, ("none", "vqvae0"): 0.2})).h7b(CLAIM)[0] == "undecided"


def knowing(defense: str, knows: str, correct: float, n: int = 200, **more) -> Row:
    spec = {
        "dataset": "mnist", "net": "lenet", "seed": 0, "defense": defense, "knows": knows,
        "eps": 0.3, **more,
    }  # fmt: skip
    values = {
        "n": n, "correct": int(correct), "mean_correct": correct, "correct_in_all": 0, "draws": 20,
        "samples": 2, "steps": 20,
    }  # fmt: skip
    return Row("knowing", "paper", spec, {}, values, {})


def test_h8_goes_by_the_strongest_attacker_and_by_how_many_images_there_are():
    weak, strong = knowing("tvm", "proxy", 100), knowing("tvm", "classifier", 0)
    assert judged([], (), [weak, strong]).h8(CLAIM)[0] == "holds"
    assert judged([], (), [weak]).h8(CLAIM)[0] == "contradicted"
    assert judged([], (), [knowing("tvm", "proxy", 0, n=20)]).h8(CLAIM)[0] == "undecided"
    large = knowing("tvm", "proxy", 0, eps=0.5)  # nothing of the image is left there
    assert judged([], (), [weak, large]).h8(CLAIM)[0] == "contradicted"


# ---- the attacker who knows --------------------------------------------------------------------
def test_a_weak_stand_in_and_an_attack_not_at_its_end_are_named():
    rows = [
        knowing("tvm", "identity", 10), knowing("tvm", "proxy", 20),
        knowing("tvm", "proxy", 12, longer=2),
        knowing("jpeg90", "identity", 10), knowing("jpeg90", "proxy", 4),
        knowing("jpeg90", "proxy", 4, longer=2),
    ]  # fmt: skip
    said = adaptive.said(rows)
    assert "better stand-in: MNIST, TVM (5.0 against 10.0 %)." in said
    less = [*rows[:2], knowing("tvm", "proxy", 19.5, longer=2)]  # by less than an image
    assert "not at its end" not in adaptive.said(less)
    assert "not at its end: MNIST, TVM (10.0 to 6.0 %); in 1 other" in said
    assert "JPEG" not in said
    assert adaptive.summary(rows, "mnist").endswith("of 200 images: TVM 5 %, JPEG 90 2 %.")


def test_who_does_not_know_draws_nothing(monkeypatch):
    shown = []
    monkeypatch.setattr(adaptive, "present", lambda rows, lines, *words: shown.extend(lines))
    rows = [knowing("tvm", "classifier", 1), knowing("tvm", "proxy", 1), knowing("tvm", "proxy", 1)]
    rows[-1].spec["eps"] = 8 / 255
    adaptive.show(rows, "mnist")
    assert [line["draws in a step"] for line in shown] == [1, 2, 2]
    assert [line["ε"] for line in shown] == ["0.3", "0.3", "8/255"]


# ---- conclusions -------------------------------------------------------------------------------
def test_the_conclusion_tells_defenses_apart(capsys):
    """TVM keeps most of what it leaves at the smallest change; others do not."""
    own = columns("mnist")[1:5]
    shares = {("none", d): 0.9 for d in own}
    for attack in ("fgsm-min", "pgd-min"):
        shares |= {(attack, d): 0.6 for d in own}
    for attack in ("fgsm-0.3", "pgd-0.3"):
        shares |= {(attack, d): 0.5 if d == "tvm" else 0.05 for d in own}
    said = conclusions.conclusion(cells(shares), [])
    assert "spend ε 0.3, behind JPEG, Gaussian and K-means." in said
    assert "Most of it stays behind TVM (50 of 90 % when clean)." in said
    assert "random noise" not in said  # which was not run
    noisy = shares | {(attack, "noise:jpeg90"): 0.4 for attack in ("fgsm-min", "pgd-min")}
    said = conclusions.conclusion(cells(noisy), [])
    assert "JPEG 90 leaves 60 %, random noise as large as its own 40 %." in said
    conclusions.show(cells(noisy))
    line = next(x for x in capsys.readouterr().out.splitlines() if " JPEG " in x)
    assert line.split("JPEG")[1].split() == ["60", "%", "40", "%", "5", "%", "90", "%"]
    assert conclusions.conclusion([], []) == "*Not computed yet.*"


def test_a_search_short_of_full_strength_is_named():
    def second(fooled: int, ratio: float) -> Row:
        values = {"n": 100, "success": [fooled, 100], "both": fooled, "l2": [ratio, 1.0]}
        spec = {"dataset": "mnist", "net": "lenet", "seed": 0, "attack": "deepfool-fb2"}
        return Row("second_library", "laptop", spec, {}, values, {})

    assert strong_enough([second(100, 1.01)]).startswith("Each turns at least 99.9 %")
    assert "DeepFool on MNIST (99 of 100, 1.010" in strong_enough([second(99, 1.01)])
    assert "(100 of 100, 1.089" in strong_enough([second(100, 1.089)])
    assert strong_enough([]) == ""


def test_columns_that_leave_little_of_clean_images_are_named():
    found = ceilings(cells({("none", "tvm"): 0.2, ("none", "jpeg90"): 0.9}))
    assert "TVM 20 % (MNIST)" in found
    assert "JPEG" not in found
    assert ceilings(cells({("none", "jpeg90"): 0.9})) == ""


def test_the_worst_attacker_is_told_image_by_image(monkeypatch):
    first, second = knowing("tvm", "identity", 100), knowing("tvm", "proxy", 100)
    for row, bits in ((first, [1] * 100 + [0] * 100), (second, [0] * 100 + [1] * 100)):
        row.values["right"] = packed(torch.tensor(bits, dtype=torch.bool))
    shown = []
    monkeypatch.setattr(adaptive, "present", lambda rows, lines, *words: shown.extend(lines))
    adaptive.show_worst([first, second])
    assert shown[0]["strongest"] == "50 %"
    assert shown[0]["worst of all, image by image"].startswith("0.0 %")


def test_ways_to_count_move_a_cell_by_what_they_move_it():
    row = attacked(np.ones(N))
    row.values["success"] = cell("mnist", "pgd", "none", 0.9).values["right"]  # a tenth failed
    said = counting([cell("mnist", "pgd-min", "jpeg90", 1.0)], [row])
    assert "none of 1 cells by more than 10.0 points" in said


def test_a_collapsed_codebook_is_called_so():
    row = vq("0", 0.012)
    row.values["perplexity"] = 16.0
    said = codebooks([row])
    assert said == "MNIST: most of the codebook is idle: 16 of 512 codes are in use."


def test_a_bound_is_told_with_the_mean():
    part = at_most(CLAIM, "lost", np.array([1.0] * 64 + [0.0] * 36), 0.30)
    assert part.word == "contradicted"
    assert part.evidence.startswith("lost 64 points [55, 73] (n 100)")
    assert at_most(CLAIM, "lost", np.zeros(100), 0.30).word == "holds"


# ---- errors ------------------------------------------------------------------------------------
def test_entropies_are_of_as_many_errors():
    spread = np.ones((10, 10), dtype=int) - np.eye(10, dtype=int)
    source = np.random.default_rng(0)
    few = source.multinomial(90, (spread / 90).ravel()).reshape(10, 10)
    found, size = errors.matched([spread * 50, few])
    assert size == 90
    assert abs(found[0].mean() - found[1].mean()) < 0.05
    assert errors.matched([spread, 0 * spread])[1] == 0


def test_piles_are_named():
    table = np.zeros((4, 4), dtype=int)
    table[0, 1], table[2, 1], table[3, 2] = 6, 2, 2
    said = errors.piles({"VQ-VAE": table}, ("a", "b", "c", "d"), most=1)
    assert said == "VQ-VAE: 80 % of 10 errors are read as b"


# ---- margins -----------------------------------------------------------------------------------
def test_rank_correlations():
    margin = np.arange(10.0)
    right = margin < 5
    assert margins.correlation(margin, right) == pytest.approx(-0.870, abs=1e-3)
    assert margins.correlation(margin, ~right) == pytest.approx(0.870, abs=1e-3)
    assert margins.correlation(margin, np.ones(10, dtype=bool)) is None
    assert margins.correlation(np.ones(10), right) is None
    assert margins.telling(0.2, 200)
    assert not margins.telling(0.2, 50)


def test_margins_at_the_floor_are_a_group_of_their_own():
    values = np.concatenate([np.full(30, margins.LEAST), np.linspace(0.01, 1, 80)])
    groups = margins.grouped(values)
    assert [len(group) for group in groups] == [30, 20, 20, 20, 20]
    assert sorted(np.concatenate(groups)) == list(range(110))
    assert [len(group) for group in margins.grouped(values[20:60])] == [20, 20]


def panels(defenses: int = 5, attacks: int = 7) -> dict:
    points = [(0.0001, (0.9, 0.8, 1.0)), (10.0, (0.1, 0.0, 0.2))]
    return {
        f"VQ-VAE {d}": {f"DeepFool, step × {a}": points for a in range(attacks)}
        for d in range(defenses)
    }


@pytest.mark.parametrize(("defenses", "attacks"), [(5, 7), (1, 1), (6, 3)])
def test_panels_are_legible(defenses, attacks):
    found = panels(defenses, attacks)
    figure = within_attacks(found, ceilings={name: 0.97 for name in found})
    width, height = figure.get_size_inches()
    assert width == 5.4
    assert height < 10
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == list(found)
    assert all(text.get_fontsize() / 72 * 350 / width >= 8 for text in figure.findobj(Text))
    assert len(figure.legends[0].get_texts()) == attacks


def test_panels_say_what_is_allowed():
    with pytest.raises(ValueError, match="got 7 defenses; allowed are 1 to 6"):
        within_attacks(panels(7))
    with pytest.raises(ValueError, match="not above 0"):
        within_attacks({"JPEG": {"PGD": [(0.0, (0.5, 0.4, 0.6))]}})
    with pytest.raises(ValueError, match="got 8"):
        within_attacks(panels(1, 8))
