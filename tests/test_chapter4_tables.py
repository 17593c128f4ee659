"""Chapter 4's tables from hand-made rows: what they show, and what they say is not there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from chapter4_rows import (
    ALL,
    N,
    attacks,
    bits,
    cleaned,
    detection,
    group,
    knowing,
    ranked,
    row,
    views,
    widths,
)
from washout import models
from washout.chapters import chapter4 as ch
from washout.chapters import shown
from washout.chapters.chapter4 import (
    ae_views,
    architecture,
    beyond,
    beyond_views,
    conclusions,
    more_views,
    pictures,
    recipes,
    settings,
    strength,
    verdicts,
)
from washout.chapters.chapter4 import views as views_module
from washout.chapters.chapter4.settings import AE, DECAY, MAIN
from washout.models import glow_layers
from washout.study import Study


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
    assert line["PGD, accuracy"].startswith("sets called attacked: 100.0 %")


def test_table_1_is_of_the_network_that_is_built(shown_tables):
    architecture.show_layers("laptop")
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


def test_table_2_says_what_the_layers_do(shown_tables):
    architecture.show_steps()
    (frame,) = shown_tables
    x = torch.randn(2, 4, 3, 3)
    norm = glow_layers.ActNorm(4)
    norm.bias.data.copy_(torch.randn(4))
    norm.log_scale.data.copy_(torch.randn(4))
    b, s = norm.bias.view(-1, 1, 1), norm.log_scale.exp().view(-1, 1, 1)
    assert frame["forward"][0].startswith("y = (x + b) · s")
    assert torch.allclose(norm(x)[0], (x + b) * s)
    mix = glow_layers.InvertibleConv(4)
    assert frame["forward"][1].startswith("y = W x")
    assert torch.allclose(mix(x)[0], torch.einsum("ij,bjhw->bihw", mix.matrix(), x), atol=1e-5)
    couple = glow_layers.Coupling(4, 8)
    couple.last.weight.data.normal_(std=0.1)
    t, r = couple.last(couple.deep(couple.wide(x[:, :2]).relu()).relu()).chunk(2, 1)
    assert frame["forward"][2].endswith("(c + t) · sigmoid(r + 2))")
    assert torch.allclose(couple(x)[0][:, 2:], (x[:, 2:] + t) * (r + 2).sigmoid(), atol=1e-5)


def test_a_run_for_another_attack_shows_what_it_computed(shown_tables):
    def alone(rows: list, to: str = "bim") -> list:
        own = [r for r in rows if r.spec["attack"] in ("pgd", "none")]
        return [
            replace(r, spec={**r.spec, "attack": to}) if r.spec["attack"] == "pgd" else r
            for r in own
        ]

    hit, washed, seen = alone(attacks()), alone(cleaned()), alone(views(ALL))
    found = group(hit)
    assert found.attacks == ["bim"]
    assert group(attacks()).attacks == list(MAIN)
    assert found.right.sum() == found.who("bim", "right").sum()
    ae_views.show_cleaned(hit, widths(), washed)
    ae_views.show_removed(hit, widths(), washed)
    more_views.show_detectors(hit, seen)
    repainted, removed, detectors = shown_tables
    assert repainted["BIM, not stopping, B"][0].startswith("5")
    assert list(removed["attack"]) == ["BIM, not stopping"]
    assert len(detectors) == len(ALL)
    assert detectors["BIM, not stopping, area in pool B"][0].startswith("0.900")
    assert conclusions.conclusion(hit, widths(), washed, seen, []).startswith("**CIFAR-10") or (
        "all three attacks" in conclusions.conclusion(hit, widths(), washed, seen, [])
    )


def test_rows_of_which_nothing_can_be_shown_are_said_to_be(monkeypatch, shown_tables):
    said: list = []
    monkeypatch.setattr(views_module, "display", lambda text: said.append(text.data))
    more_views.show_training(attacks(), [detection("pixels", "bim", ranked(0.9))])
    assert said[0].endswith(f"{views_module.NOT_PART}*")
    ae_views.show_other(attacks(), cleaned())
    assert len(said) == 1  # which only profile paper has


def test_an_empty_pool_has_no_rate():
    none = [replace(r, values={**r.values, "wrong": bits(np.zeros(N, bool))}) for r in attacks()]
    found = group(none, cleaned(), views(ALL))
    assert found.restored("pgd", "ae4") is None
    assert found.detected("pgd") is None
    assert found.restored_overall("ae4") is None
    words = {v.word for v in verdicts.table3(none, widths(), cleaned())}
    assert words == {"not computed"}


def test_the_attacker_stands_beside_what_an_autoencoder_breaks_alone(shown_tables):
    rows = [knowing(10, guard="ae4"), knowing(10)]
    beyond_views.show_knowing(rows, attacks(), cleaned(change={"none": 0.6}))
    (frame,) = shown_tables
    assert frame["misread without attack"][0].startswith("4")  # 40 % of the clean ones
    assert frame["misread without attack"][1] == ""


def test_what_table_5_quotes_is_the_papers():
    assert more_views.quoted("pca") == "100 / 92.8 / –"
    assert more_views.quoted("sets") == "99.78 / – / – (sets of MNIST)"
    assert more_views.quoted("latents") == "97.12 / 97.07 / 63.17"
    assert more_views.quoted("grid") == ""


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


def test_every_training_and_fixed_setting_is_told():
    for profile in settings.PROFILES:
        frame = recipes.trainings(profile)
        assert {"classifier", "autoencoder, each width", "Glow"} <= set(frame["what"])
        assert ("ResNet-20" in set(frame["what"])) == (profile != "laptop")
    frame = recipes.trainings("laptop").set_index("what")
    net = settings.classifier_recipe("cifar10", "resnet8", "laptop", 0)
    assert frame.loc["classifier", "learning rate"] == f"{net.lr:g}"
    assert frame.loc["classifier", "ends early"] == f"at {settings.STOP:g} of validation images"
    assert frame.loc["Glow", "batch"] == settings.flow_recipe("cifar10", "laptop", 0).batch_size
    assert f"{beyond.PERMUTATIONS} permutations" in recipes.fixed()


def test_tables_of_the_papers_attacks_ask_for_none_of_another(monkeypatch, shown_tables):
    said: list = []
    for module in (shown, views_module):
        monkeypatch.setattr(module, "display", lambda text: said.append(text.data))
    missing = [replace(r, spec={**r.spec, "attack": "bim"}) for r in cleaned()]
    views_module.present(missing, [], "Table 3: accuracy", "t", papers_attacks=True)
    assert said == [f"*Table 3: {views_module.NOT_PART}*"]
