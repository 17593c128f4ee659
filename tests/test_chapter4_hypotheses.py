"""What chapter 4 concludes from hand-made rows: hypotheses, last words, explanations, tables."""

from __future__ import annotations

import pytest

from chapter4_rows import (
    N,
    attacks,
    cleaned,
    detection,
    knowing,
    ranked,
    row,
    widths,
)
from washout import models
from washout.chapters import chapter4 as ch
from washout.chapters import shown
from washout.chapters.chapter4 import (
    architecture,
    beyond_views,
    conclusions,
    hypotheses,
    more_views,
    pictures,
    strength,
)
from washout.chapters.chapter4.hypotheses import Area, difference, falls
from washout.chapters.chapter4.pools import Found
from washout.chapters.chapter4.settings import AE, DECAY, MAIN
from washout.study import Study


def group(*tables) -> Found:
    return Found("cifar10", 0, *tables)


def views(areas: dict[str, float], reach: float = 0.01, **losses: float) -> list:
    """Detection rows of several views, each with one area for all three attacks."""
    return [
        detection(kind, label, ranked(area, reach, losses.get(kind, 0.5)))
        for kind, area in areas.items()
        for label in MAIN
    ]


ALL = {"latents": 0.9, **dict.fromkeys(hypotheses.PLAIN, 0.9)}


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
        (ALL, 0.01, "holds"),
        (ALL, 0.05, "undecided"),  # too few images to say that they are within 0.05
        (ALL | {"latents": 0.99}, 0.01, "contradicted"),
        (ALL | {"residuals": 0.6}, 0.01, "in part: whitened pixels, untrained Glow, whitened, "
         "late principal components, a network"),
        ({k: v for k, v in ALL.items() if k != "pca"}, 0.01, "not computed"),
    ],
)  # fmt: skip
def test_any_view_of_fine_detail(areas, reach, word):
    assert hypotheses.detail(group(views(areas, reach)))[2] == word


def test_a_control_that_was_not_trained_decides_nothing():
    rows = views(ALL | {"random": 0.5}, random=0.6931)
    _, said, word = hypotheses.detail(group(rows))
    assert word == "holds"
    assert "untrained Glow, whitened: not trained" in said
    assert "in part" in hypotheses.detail(group(views(ALL | {"random": 0.5})))[2]


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
    small = detection("latents", hypotheses.SMALLEST, ranked(0.6))
    through = [knowing(70), knowing(10, knows=False)]
    _, said, word = hypotheses.transfer(group([*rows, small]), through)
    assert word == "unseen attacks: contradicted; a smaller ε: holds; a detector term: holds"
    assert "misread and accepted: 87.5 %" in said
    assert "without it 12.5 %" in said
    assert hypotheses.transfer(group(rows), [])[2] == (
        "unseen attacks: contradicted; a smaller ε: not computed; a detector term: not computed"
    )
    held = hypotheses.transfer(group([*rows, small]), [knowing(5)])[2]
    assert held.endswith("a detector term: contradicted")
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
        f"PGD that knows the detector ({more_views.SEEN['latents']}) gets 15 % [9, 24] at ε 0.005 "
        "and 100 % [95, 100] at ε 0.02 of 80 images misread and accepted."
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
    same = attacks({"fgsm": 0.95}, DECAY)
    assert "chance may have made" in strength.explained([*stronger, *same])
    fits = attacks({"fgsm": 0.95} | sweep | {"pgd-0.01": 0.99, "pgd-0.005": 0.98})
    assert "would explain both" in strength.explained(fits)
    never = attacks({"fgsm": 0.99} | sweep | {"fgsm-0.005": 0.95, "fgsm-0.01": 0.97})
    assert "at none of them" in strength.explained(never)


# ---- tables --------------------------------------------------------------------------------------
@pytest.fixture
def shown_tables(monkeypatch) -> list:
    """The frames that pages would show."""
    found: list = []
    for module in (shown, beyond_views, architecture):
        monkeypatch.setattr(module, "show", lambda frame, **_: found.append(frame))
    return found


def test_what_was_not_trained_is_shown_so(shown_tables):
    rows = views({"latents": 0.9, "random": 0.5}, random=0.6931, latents=0.6931)
    more_views.show_detectors(attacks(), rows)
    (frame,) = shown_tables
    control, paper = frame.iloc[1], frame.iloc[0]
    assert control["looks at"] == more_views.SEEN["random"]
    assert control["FGSM, area in pool B"] == control["FGSM, accuracy"] == "not trained"
    assert paper["FGSM, area in pool B"].startswith("0.900")
    assert paper["FGSM, all images"].startswith("50.0 %")


def test_sets_stand_in_table_5_with_the_papers_number(shown_tables):
    sets = [
        row("two_sample", {"trials": 10, "found": size // 10}, attack=label, test="mmd",
            space="pixels", size=size)
        for label in ("none", *MAIN)
        for size in (10, 100)
    ]  # fmt: skip
    more_views.show_detectors(attacks(), views({"latents": 0.9}), sets)
    line = shown_tables[0].iloc[-1]
    assert line["looks at"].startswith("sets of 100 images")
    assert "99.78" in line["quoted: FGSM / PGD / DeepFool, %"]
    assert line["PGD, accuracy"].startswith("sets: 100.0 %")


def test_table_1_is_of_the_network_that_is_built(shown_tables):
    architecture.show_layers("cifar10", "laptop")
    (frame,) = shown_tables
    assert len(frame) == 1 + 3 * 3 + 1  # eight layers with weights, and three ways past
    assert list(frame["details"][[0, 3, 9, 10]]) == [
        "3, 16, kernel size = 3, stride = 1, padding = 1, bias = False",
        "identity",
        "32, 64, kernel size = 1, stride = 2, padding = 0, bias = False",
        "256, 10, bias = True",
    ]
    assert list(frame["output"][[0, 4, 9, 10]]) == [
        "16 × 32 × 32", "32 × 16 × 16", "64 × 8 × 8", "10",
    ]  # fmt: skip
    net = models.build("resnet", in_channels=3, size=32, classes=10)
    assert len(architecture.layers(net)) == 2 + 9 * 3


def test_two_trainings_side_by_side(shown_tables):
    clean = [row("baseline", {"correct": 870, "n": N}, net=net) for net in ("resnet8", DECAY)]
    strength.show_trainings(clean, [*attacks(), *attacks({"fgsm": 0.6}, DECAY)])
    (frame,) = shown_tables
    assert list(frame["weight decay"]) == ["0.0005", "0.0025"]
    assert frame["FGSM fools"][1].startswith("60.0 %")
    shown_tables.clear()
    strength.show_trainings(clean[:1], attacks())
    assert shown_tables == []


def test_rows_that_wait_are_listed_with_their_commands(shown_tables, tmp_path):
    study = Study("chapter4", compute=False, progress=False, results=tmp_path)
    parameters = type("P", (), {"study": study})()
    tables = ch.waiting(parameters)
    assert set(tables) >= {"baseline", "attack", "detection", "knowing", "second_library"}
    beyond_views.show_waiting(tables)
    (frame,) = shown_tables
    assert set(frame["table"]) == set(tables)
    assert (frame["stored"] == 0).all()
    assert all(
        command == f"python -m washout results --chapter 4 --profile paper --table {table}"
        for table, command in zip(frame["table"], frame["command"], strict=True)
    )


def test_the_picture_shows_autoencoders_that_there_are():
    assert len(pictures.SHOWN) == 4  # as its caption says
    assert set(pictures.SHOWN) <= set(AE)
