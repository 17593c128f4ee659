"""What chapter 4 concludes from hand-made rows: hypotheses, last words, explanations, tables."""

from __future__ import annotations

import pytest

from chapter4_rows import (
    ALL,
    attacks,
    cleaned,
    detection,
    group,
    knowing,
    ranked,
    views,
    widths,
)
from washout.chapters.chapter4 import (
    conclusions,
    hypotheses,
    more_views,
    strength,
)
from washout.chapters.chapter4.compared import Area, difference
from washout.chapters.chapter4.hypotheses import falls
from washout.chapters.chapter4.settings import DECAY, MAIN


# ---- areas ---------------------------------------------------------------------------------------
def test_the_interval_of_a_difference_holds_both():
    low, high = difference(Area(0.9, 0.87, 0.92), Area(0.8, 0.76, 0.83))
    assert (low, high) == pytest.approx((0.1 - (0.03**2 + 0.03**2) ** 0.5,
                                         0.1 + (0.02**2 + 0.04**2) ** 0.5))  # fmt: skip
    assert difference(None, Area(0.8, 0.7, 0.9)) is None


@pytest.mark.parametrize(
    ("drops", "word"),
    [
        ([(0.06, 0.1), (0, 0.01)], "holds"),
        ([(0.04, 0.1), (0, 0.01)], "undecided"),
        ([(0.0, 0.04), (-0.1, 0.01)], "contradicted"),
        ([(0.06, 0.1), None], "not computed"),
    ],
)
def test_a_fall_is_judged_by_its_interval(drops, word):
    assert falls(drops) == word


# ---- hypotheses ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("areas", "reach", "word"),
    [
        (ALL, 0.01, "holds: 24 statistics and untrained Glow, whitened and raw pixels"),
        (ALL, 0.05, "undecided"),  # too few images to say that they are within 0.05
        (ALL | {"latents": 0.99}, 0.01, "contradicted"),
        (ALL | {"residuals": 0.6, "random": 0.5}, 0.01, "holds: raw pixels"),
        (ALL | {"pca": 0.5, "separate": 0.5, "pixels": 0.5, "random": 0.5}, 0.01,
         "holds: 24 statistics"),  # of those that were not named none decides
        (dict.fromkeys(ALL, 0.5), 0.01, "undecided: the flow's detector finds nothing"),
        ({k: v for k, v in ALL.items() if k != "pixels"}, 0.01, "not computed"),
        ({k: v for k, v in ALL.items() if k != "pca"}, 0.01,
         "holds: 24 statistics and untrained Glow, whitened and raw pixels"),
    ],
)  # fmt: skip
def test_a_view_without_the_flow_that_does_as_well(areas, reach, word):
    assert hypotheses.detail(group(views(areas, reach)))[2] == word


def test_a_control_that_was_not_trained_decides_nothing():
    rows = views(ALL | {"random": 0.5}, random=0.6931)
    _, said, word = hypotheses.detail(group(rows))
    assert word == "holds: 24 statistics and raw pixels"
    assert "untrained Glow, whitened: not trained" in said
    only = dict.fromkeys(("residuals", "pixels"), 0.5)
    rows = views(ALL | only | {"random": 0.5}, random=0.6931)
    assert hypotheses.detail(group(rows))[2] == "undecided: a view that it names was not trained"
    rows = views(ALL | only | {"random": 0.5})
    assert hypotheses.detail(group(rows))[2] == "contradicted"


def test_rounding_and_unseen_attacks_need_all_their_rows():
    both = [
        detection("latents", label, ranked(0.9, pool="both"), **more)
        for label in MAIN
        for more in ({}, {"rounded": True})
    ]
    assert hypotheses.levels(group(both))[2] == "contradicted"
    assert hypotheses.levels(group(both[:-1]))[2] == "not computed"
    for at in (1, 3, 5):
        both[at] = detection("latents", MAIN[at // 2], ranked(0.7, pool="both"), rounded=True)
    assert hypotheses.levels(group(both))[2] == "holds"


def test_transfer_says_each_of_its_three_parts():
    rows = views({"latents": 0.9}) + [
        detection("latents", label, ranked(0.9), f"without-{label}") for label in MAIN
    ]
    rows += [detection("latents", label, ranked(0.9)) for label in hypotheses.RELATIVES]
    small = detection("latents", hypotheses.SMALLEST, ranked(0.6))
    through = [knowing(70), knowing(10, knows=False)]
    _, said, word = hypotheses.transfer(group([*rows, small]), through)
    assert word == "unseen attacks: contradicted; a smaller ε: holds; a detector term: holds"
    assert "misread and accepted: 87.5 %" in said
    assert "without it 12.5 %" in said
    assert hypotheses.transfer(group(rows), [])[2] == (
        "unseen attacks: contradicted; a smaller ε: not computed; a detector term: not computed"
    )
    for term, without, word in (
        (5, 0, "contradicted"), (70, 69, "undecided"), (75, 75, "undecided"), (42, 0, "undecided")
    ):  # fmt: skip
        both = [knowing(term), knowing(without, knows=False)]
        held = hypotheses.transfer(group([*rows, small]), both)[2]
        assert held.endswith(f"a detector term: {word}"), (term, without, held)
    worse = [r for r in rows if r.spec["attack"] != "bim"]
    worse += [detection("latents", "bim", ranked(0.8)), small]
    said, word = hypotheses.transfer(group(worse), [])[1:]
    assert word.startswith("unseen attacks: holds")
    assert "BIM, not stopping, not trained on: 0.800" in said
    alone = hypotheses.transfer(group([*rows, small]), [knowing(70)])[2]
    assert alone.endswith("a detector term: not computed")
    # A run for one attack has rows of that attack alone.
    alone = [r for r in rows if r.spec["attack"] == "pgd"]
    assert hypotheses.transfer(group(alone), [])[2] == "not computed"
    assert hypotheses.detail(group(alone))[2] == "not computed"
    assert hypotheses.levels(group(alone))[2] == "not computed"


def test_a_constant_is_judged_for_all_three_attacks():
    change = {"none": 0.5, "fgsm": 0.3, "pgd": 0.5, "deepfool": 0.5}
    tables = (attacks(), widths(), cleaned(change=change))
    _, said, word = hypotheses.constant(group(*tables))
    assert word == "contradicted"
    assert "FGSM −2" in said
    less = [r for r in tables[2] if r.spec["attack"] != "pgd"]
    assert hypotheses.constant(group(tables[0], tables[1], less))[2] == "not computed"


# ---- the last words ------------------------------------------------------------------------------
def test_what_the_autoencoder_restores_is_said_by_attack():
    change = {"none": 0.5, "fgsm": 0.3, "pgd": 0.4, "deepfool": 0.5}
    said = conclusions.conclusion(attacks(), widths(), cleaned(change=change), [], [])
    assert "After DeepFool as many images are read rightly as of the same images clean" in said
    assert "points fewer are read rightly than of the same images clean: not all" in said
    assert said.count("not all of the attack is washed out") == 2
    same = dict.fromkeys(("none", *MAIN), 0.5)
    said = conclusions.conclusion(attacks(), widths(), cleaned(change=same), [], [])
    assert "After FGSM, PGD and DeepFool as many images" in said
    assert "washed out" not in said


def test_who_gets_by_is_said_along_epsilon():
    rows = [knowing(10, eps=0.005), knowing(12, eps=0.005, longer=2), knowing(80)]
    found = conclusions._known(group(attacks()), rows)
    assert found == [
        f"The strongest PGD that knows the detector ({more_views.SEEN['latents']}) gets 15 % "
        "[9, 24] at ε 0.005 and 100 % [95, 100] at ε 0.02 of 80 images misread and accepted."
    ]


# ---- explanations --------------------------------------------------------------------------------
def test_success_is_explained_only_where_it_differs():
    sweep = {"fgsm-0.005": 0.5, "fgsm-0.01": 0.7, "fgsm-0.04": 0.9,
             "pgd-0.005": 0.7, "pgd-0.01": 0.85, "pgd-0.02": 0.99, "pgd-0.04": 1.0}  # fmt: skip
    told = strength.explained(attacks({"fgsm": 0.83} | sweep))
    assert told.startswith("FGSM and PGD and DeepFool fool as large a share")
    assert told.endswith("Nothing is left to be explained.")
    assert strength.explained(attacks({"fgsm": 0.83, "deepfool": 0.9} | sweep)).endswith(
        "DeepFool, cut to ε, fools 90.0 % [88.0, 91.7], in the paper 99.05 %: the others need a "
        "larger change."
    )
    stronger = attacks({"fgsm": 0.95} | sweep)
    said = strength.explained(stronger)
    assert "does not explain both" in said
    assert "trained otherwise" not in said
    other = attacks({"fgsm": 0.8}, DECAY)
    assert "The rate depends on the training" in strength.explained([*stronger, *other])
    for share, words in ((0.95, "no difference"), (0.949, "chance may have made")):
        same = attacks({"fgsm": share}, DECAY)
        assert words in strength.explained([*stronger, *same])
    fits = attacks({"fgsm": 0.95} | sweep | {"pgd-0.01": 0.99, "pgd-0.005": 0.98})
    assert "would explain FGSM, and PGD up to five points" in strength.explained(fits)
    never = attacks({"fgsm": 0.99} | sweep | {"fgsm-0.005": 0.95, "fgsm-0.01": 0.97})
    assert "at none of them" in strength.explained(never)
