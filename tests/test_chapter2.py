"""Chapter 2's rows: the grammar of defenses, what cells measure and depend on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from washout.chapters import chapter2 as ch
from washout.chapters.bits import packed_floats, unpacked, unpacked_floats
from washout.chapters.chapter2 import (
    beyond,
    defending,
    margins,
    measure,
    networks,
    settings,
)
from washout.defenses import blur, jpeg, kmeans
from washout.store import Row
from washout.study import Missing, Study


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("chapter2")
    return Study("chapter2", profile="smoke", device="cpu", progress=False,
                 results=folder / "results")  # fmt: skip


@pytest.fixture(scope="module")
def base(study) -> dict:
    return ch.about("digits", 0, study)


def values(study: Study, table, spec) -> dict:
    return study.row(table, spec).values


# ---- names of defenses -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "dataset", "full"),
    [
        ("jpeg", "mnist", "jpeg90"),
        ("kmeans", "mnist", "kmeans16-rows"),
        ("kmeans", "cifar10", "kmeans50"),
        ("tvm+jpeg", "cifar10", "tvm+jpeg90"),
        ("average:jpeg,tvm", "mnist", "average:jpeg90,tvm"),
        ("noise:kmeans", "mnist", "noise:kmeans16-rows"),
        ("vqvae0.25-salt", "mnist", "vqvae0.25-salt"),
    ],
)
def test_names_of_defenses(name, dataset, full):
    assert ch.full_name(name, dataset) == full


@pytest.mark.parametrize(
    "name", ["jepg", "jpeg90,tvm", "average:jpeg+tvm", "noise:a", "", "kmeans16-columns"]
)
def test_unknown_defenses_are_named_with_the_known(name):
    with pytest.raises(ValueError, match=r"defense: got .*allowed are JPEG at a quality"):
        ch.full_name(name, "mnist")


def test_composed_defenses_are_what_their_names_say(study, base):
    images = torch.rand(4, 1, 28, 28)
    made = defending.defense("jpeg50+gauss", base, study, {})(images)
    assert torch.equal(made, blur(jpeg(images, 50)))
    mean = defending.defense("average:jpeg50,gauss", base, study, {})(images)
    assert torch.allclose(mean, (jpeg(images, 50) + blur(images)) / 2)
    noise = defending.defense("noise:jpeg50", base, study, {})(images)
    change = (jpeg(images, 50) - images).flatten(1).norm(dim=1)
    assert torch.allclose((noise - images).flatten(1).norm(dim=1), change, rtol=0.02)


def test_a_defense_draws_the_same_whichever_else_there_are(study, base):
    images = torch.rand(4, 1, 28, 28)
    one = defending.defense("tvm", base, study, {})(images)
    defending.defense("kmeans4", base, study, {})(images)
    assert torch.equal(defending.defense("tvm", base, study, {})(images), one)
    assert not torch.equal(defending.defense("tvm", {**base, "seed": 1}, study, {})(images), one)


def test_a_slip_in_the_range_is_seen_and_the_network_itself_has_none(study, base):
    images = networks.pool(base, study).images
    hashes: dict[str, str] = {}
    right = defending.defense("vqvae0", base, study, hashes)(images)
    assert list(hashes) == ["vqvae0"]
    error = (right - images).square().mean()
    for slip in ("vqvae0-range", "vqvae0-wrap"):
        wrong = defending.defense(slip, base, study, {})(images)
        assert wrong.shape == images.shape
        assert wrong.min() >= 0
        assert wrong.max() <= 1
        assert (wrong - images).square().mean() > 2 * error


# ---- cells -------------------------------------------------------------------------------------
def test_cells_agree_with_each_other(study, base):
    attacked = values(study, ch.ATTACK, {**base, "attack": "pgd-min"})
    n = attacked["n"]
    assert n == settings.PROFILES["smoke"].n["digits"]
    cells = {
        (attack, defense): values(study, ch.CELL, {**base, "attack": attack, "defense": defense})
        for attack in (ch.CLEAN, "pgd-min")
        for defense in ("none", "jpeg90")
    }
    for found in cells.values():
        bits = unpacked(found["right"], n)
        table = np.array(found["confusion"])
        assert bits.sum() == found["correct"] == np.trace(table)
        assert table.sum() == n
    bare = unpacked(cells["pgd-min", "none"]["right"], n)
    wrong = unpacked(attacked["wrong"], n)
    assert (bare == ~wrong).all()
    before = unpacked(attacked["right"], n)
    assert (before == unpacked(cells[ch.CLEAN, "none"]["right"], n)).all()
    assert attacked["fooled"] == (unpacked(attacked["success"], n) & before).sum()
    margins = unpacked_floats(attacked["margins"])
    assert ((margins > 0) == wrong).mean() > 0.95  # half precision rounds some to 0
    assert cells[ch.CLEAN, "none"]["moved"] == 0
    assert cells["pgd-min", "none"]["distance"] > 0


def test_a_cap_is_kept(study, base):
    images, wrong, pool = measure.adversarial({**base, "attack": "deepfool-0.3"}, study)
    assert (images - pool.images).abs().max() <= 0.3 + 1e-6
    assert wrong.shape == pool.labels.shape


def test_deepfool_in_batches_goes_farther(study, base):
    l2 = [
        values(study, ch.ATTACK, {**base, "attack": attack})["l2"]
        for attack in ("deepfool-fb2", "deepfool-batch8")
    ]
    assert l2[1] > 1.5 * l2[0]


def test_margins_keep_three_digits():
    found = unpacked_floats(packed_floats(torch.tensor([0.1234, -5.678])))
    assert found == pytest.approx([0.1234, -5.678], rel=1e-3)


def test_the_attacker_who_knows_does_more_than_one_who_does_not(study, base):
    rows = [
        values(study, ch.KNOWING, {**base, "defense": "jpeg90", "knows": knows, "eps": 0.1})
        for knows in ("classifier", "identity", "proxy")
    ]
    assert max(row["correct"] for row in rows[1:]) <= rows[0]["correct"] + 1


def test_clusters_held_fast_have_a_gradient(study, base):
    images = torch.rand(3, 1, 28, 28)
    for name, by_row in (("kmeans4", False), ("kmeans4-rows", True)):
        wash = defending.defense(name, base, study, {})
        x = images.clone().requires_grad_()
        out = beyond.held(x, lambda x, wash=wash: wash(images), by_row)
        out.sum().backward()
        assert torch.allclose(x.grad, torch.ones_like(x), atol=1e-4)  # means keep the sum
        again = defending.defense(name, base, study, {})(images)
        assert torch.allclose(out, again, atol=1e-3)


def test_a_defense_makes_only_its_own_rows_stale(study, base, monkeypatch):
    p = replace(
        ch.check_parameters(ch, profile="smoke", dataset="digits", attack="fgsm-min"), study=study
    )
    specs = [{**base, "attack": ch.CLEAN, "defense": d} for d in ("jpeg90", "gauss")]
    study.table(ch.CELL, specs)
    monkeypatch.setitem(measure.VERSIONS, "jpeg", 99)
    found = replace(p.study, compute=False).table(ch.CELL, specs)
    assert [isinstance(row, Missing) for row in found] == [True, False]
    assert isinstance(found[1], Row)


def test_images_are_the_first_of_one_draw(study, base):
    whole, few = networks.pool(base, study), networks.pool(base, study, 7)
    assert torch.equal(whole.images[:7], few.images)
    everything = networks.pool({**base, "whole": True}, study)
    assert len(everything) == len(networks.dataset("digits", str(study.data)).test)


# ---- pictures ----------------------------------------------------------------------------------
def test_margins_of_single_images_are_grouped_within_each_attack(study, base):
    names = {
        attack: study.table(ch.CELL, ch.cells(base, (attack,), ch.columns("digits")[:6]))
        for attack in ("pgd-min", "pgd-0.3")
    }
    cells = [row for rows in names.values() for row in rows]
    attacks = study.table(ch.ATTACK, [{**base, "attack": attack} for attack in names])
    found = list(margins.turned(cells, attacks, "digits"))
    assert [label for label, _, _ in found] == list(names)
    for row, (_, sizes, bits) in zip(attacks, found, strict=True):
        v = row.values
        over = unpacked(v["right"], v["n"]) & unpacked(v["wrong"], v["n"])
        assert len(sizes["margin"]) == len(sizes["l2"]) == over.sum()
        assert sizes["margin"].min() >= margins.LEAST
        jpeg90 = next(r for r in cells if r.spec["attack"] == row.spec["attack"]
                      and r.spec["defense"] == "jpeg90")  # fmt: skip
        assert (bits["jpeg"] == unpacked(jpeg90.values["right"], v["n"])[over]).all()
    figure = margins.within(cells, attacks, "digits")
    assert figure is not None
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert len(panels) == 5  # defenses
    for axes in panels:
        lines = [line for line in axes.lines if line.get_marker() not in ("None", "")]
        assert len(lines) == len(names)
        assert all(np.all(np.diff(line.get_xdata()) >= 0) for line in lines)


@pytest.mark.parametrize(
    ("name", "dataset"),
    [("jpeg0", "mnist"), ("jpeg999", "mnist"), ("kmeans0", "cifar10"), ("kmeans40-rows", "mnist"),
     ("kmeans800", "mnist"), ("vqvae2-salt", "mnist"), ("jpeg90+kmeans0", "cifar10")],
)  # fmt: skip
def test_impossible_settings_of_defenses_are_refused_before_anything_runs(name, dataset):
    with pytest.raises(ValueError, match=r"defense: got .*allowed are JPEG at a quality"):
        ch.full_name(name, dataset)
    assert ch.full_name("kmeans800", "cifar10") == "kmeans800"


def test_memory_of_the_attacker_who_knows_is_bounded(study, base, monkeypatch):
    """Draws count: as many images as fit are attacked at once."""
    largest = []

    class Counting(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, images):
            if torch.is_grad_enabled():
                largest.append(len(images))
            return self.model(images)

    original = networks.classifier
    monkeypatch.setattr(
        networks, "classifier", lambda *words: (Counting(original(*words)[0]), "hash")
    )
    monkeypatch.setattr(beyond, "AT_ONCE", 8)
    wide = replace(settings.PROFILES["smoke"], n_small={"digits": 30}, samples=4, steps=1)
    monkeypatch.setitem(settings.PROFILES, "smoke", wide)
    beyond.knowing({**base, "defense": "tvm", "knows": "identity", "eps": 0.1}, study)
    assert max(largest) == 8
    assert min(largest) >= 1


def test_members_of_a_cluster_are_those_of_one_color():
    """By each image's colors, one by one: what a member's gradient reaches."""
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    painted = kmeans(images, clusters=4, generator=torch.Generator().manual_seed(1))
    x = images.clone().requires_grad_()
    out = beyond.held(x, lambda _: painted, by_row=False)
    assert torch.allclose(out, painted)
    (gradient,) = torch.autograd.grad(out[0, 1, 2, 3], x)
    member = (painted[0] == painted[0, :, 2:3, 3:4]).all(0)
    expected = torch.zeros_like(x)
    expected[0, 1, member] = 1 / member.sum()
    assert torch.allclose(gradient, expected)
