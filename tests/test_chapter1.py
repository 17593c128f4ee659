"""Chapter 1's rows: their plan, what they measure, what they depend on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from washout import chapters
from washout.attacks import fgsm
from washout.attacks.fgsm import signs
from washout.chapters import chapter1 as ch
from washout.chapters.bits import packed, unpacked
from washout.chapters.chapter1 import attacking, networks, settings
from washout.files import Busy
from washout.store import Row
from washout.study import Missing, Study


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("chapter1")
    return Study(
        "chapter1", profile="smoke", device="cpu", progress=False,
        results=folder / "results", weights=folder / "weights",
    )  # fmt: skip


def test_one_gradient_serves_every_epsilon(digits_model, digits_data):
    images, labels = digits_data.test.images[:20], digits_data.test.labels[:20]
    found = signs(digits_model, images, labels, batch_size=7)
    assert found.dtype == torch.int8
    for eps in (0.01, 0.3):
        expected = fgsm(digits_model, images, labels, eps=eps).images
        assert torch.allclose((images + eps * found).clamp(0, 1), expected)


def test_bits_come_back():
    bits = torch.rand(37) < 0.5
    assert unpacked(packed(bits), 37).tolist() == bits.tolist()


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_epsilons_step_evenly(dataset):
    """The rows lie on a line of equal steps through both ends (methods page, from the paper)."""
    eps = list(settings.EPS[dataset])
    steps = [(e - eps[0]) / (eps[-1] - eps[0]) for e in eps]
    count = {"mnist": 19, "cifar10": 7}[dataset]
    assert all(abs(step * count - round(step * count)) < 0.02 for step in steps)


def test_beta_is_the_largest_that_keeps_enough():
    def row(beta: float, correct: int) -> Row:
        values = {"correct": correct, "clean_correct": 100}
        return Row("beta", "smoke", {"beta": beta}, {}, values)

    kept = settings.KEPT["mnist"][28]
    assert kept == pytest.approx(0.9946, abs=1e-3)
    assert ch.chosen_beta([row(1, 90), row(0.1, 100), row(0.01, 100)], "mnist", 28) == 0.1
    assert ch.chosen_beta([row(1, 90), row(0.1, 92), row(0.01, 91)], "mnist", 28) == 0.1


def test_rows_of_whole_images(study):
    found = ch.check_parameters(ch, profile="smoke", dataset="digits", attack="fgsm")
    p = replace(found, study=study)
    rows = ch.rows(p, ch.CURVE)
    assert not any(isinstance(row, Missing) for row in rows)
    clean, weak, strong = rows[0], rows[1], rows[2]
    assert clean.spec["attack"] == "none"
    assert clean.values["l2"] == 0
    assert clean.values["correct"]["nodef"] > weak.values["correct"]["nodef"]
    assert weak.values["correct"]["nodef"] >= strong.values["correct"]["nodef"]
    assert strong.values["linf"] == pytest.approx(strong.spec["eps"], abs=1e-6)
    for row in rows:
        counts = row.values["correct"]
        for name, bits in row.values["right"].items():
            assert unpacked(bits, row.values["n"]).sum() == counts[name]
        # Without a defense, an image is as far from the original as the attack took it.
        assert row.values["distance"]["nodef"] == pytest.approx(row.values["l2"], rel=1e-4)
    # Nothing is computed twice.
    again = ch.rows(replace(p, study=replace(study, compute=False)), ch.CURVE)
    assert [row.values for row in again] == [row.values for row in rows]


def test_the_attacker_who_knows_does_more_than_one_who_does_not(study):
    base = ch.about("digits", 0, study)
    eps = settings.KNOWING_EPS["digits"][0]
    rows = study.table(
        ch.KNOWING,
        [{**base, "defense": "gauss", "knows": k, "eps": eps} for k in ("classifier", "defense")],
    )
    blind, knowing = (row.values["correct"] for row in rows)
    assert knowing <= blind


def test_any_attack_has_rows():
    study = Study("chapter1", profile="smoke", progress=False, compute=False)
    for attack in ("pgd", "deepfool", "ifgsm-5", "foolbox:LinfPGD"):
        plan = dict((table.name, specs) for table, specs in ch.plan(study, "photos", attack))
        assert {spec["attack"] for spec in plan["curve"]} == {"none", attack}
    assert len(ch.sizes("photos", "deepfool", 9)) == 1
    assert len(ch.sizes("photos", "pgd", 9)) == len(settings.EPS["photos"])


def test_nips_needs_no_data_to_be_planned():
    study = Study("chapter1", profile="laptop", exact=True, compute=False, progress=False)
    plan = dict((table.name, specs) for table, specs in ch.plan(study))
    nips = [s for s in plan["curve"] if s["dataset"] == "nips2017"]
    assert sum("l2" in spec for spec in nips) == settings.PROFILES["laptop"].rows
    assert {spec["net"] for spec in nips} <= set(networks.PUBLISHED)


def test_a_patch_belongs_to_its_dataset(study):
    found = networks.patch_data("photos", study, 16, "all")
    assert found.train.images.dtype == torch.uint8
    assert found.train.images.shape[1:] == (3, 16, 16)
    assert found.name == settings.source("photos", 16, "smoke")


def test_of_vaes_for_patches_of_large_photographs_the_records_alone_ship(study, monkeypatch):
    homes = {}

    def trained(self, recipe, data, home):
        homes[recipe.data] = home
        raise Busy

    monkeypatch.setattr(Study, "trained", trained)
    laptop = replace(study, profile="laptop", local=False)
    for dataset, own in (("photos", study), ("nips2017", laptop)):
        with pytest.raises(Busy):
            networks.vae({"dataset": dataset, "seed": 0}, own, 16, 0.001)
    assert homes == {"photos-16x8": None, "nips2017-16x60": study.weights / "large"}


def test_the_two_halves_train_apart():
    """Each fold's patches come from its own images alone."""
    photographs = networks.bundled_photographs()
    numbered = replace(
        photographs,
        images=photographs.rows.remainder(251)
        .to(torch.uint8)[:, None, None, None]
        .expand(-1, 3, 32, 32),
    )
    from washout.data import patches

    for fold, rest in (("even", 0), ("odd", 1)):
        cut = patches(numbered, 8, 3, fold=fold)
        rows = photographs.rows[photographs.rows % 2 == rest]
        expected = rows.remainder(251).to(torch.uint8).repeat_interleave(3)
        assert torch.equal(cut[:, 0, 0, 0], expected)


def test_a_changed_network_makes_rows_stale(study, monkeypatch):
    spec = {**ch.about("digits", 0, study), "attack": "none"}
    before = ch.CURVE.depends(spec, study)
    monkeypatch.setitem(attacking.VERSIONS, "vae", 99)
    assert ch.CURVE.depends(spec, study) != before


@pytest.mark.data
def test_stored_numbers_of_beta_are_what_the_rule_gives():
    """The betas in stored rows are those that the stored selection leads to."""
    study = Study("chapter1", compute=False, progress=False)
    p = replace(ch.check_parameters(ch), study=study)
    checked = 0
    for row in ch.rows(p, ch.CURVE):
        if isinstance(row, Missing):
            continue
        where = row.spec["dataset"]
        for size, beta in row.values["betas"].items():
            own = study.table(
                ch.BETA, ch.beta_specs(row.spec, replace(study, profile=row.profile), int(size))
            )
            assert ch.chosen_beta(own, where, int(size)) == beta
            checked += 1
    if not checked:
        pytest.skip("no rows of chapter 1 are stored")


def test_chapters_know_their_datasets():
    for name in chapters.NAMES:
        chapter = chapters.get(name)
        assert set(chapter.AUTO) | set(chapter.BUNDLED) == set(chapter.DATASETS)


def test_who_guesses_at_random_is_no_better_than_who_follows_the_gradient(study):
    base = {**ch.about("digits", 0, study), "eps": settings.KNOWING_EPS["digits"][0]}
    rows = study.table(
        ch.KNOWING,
        [
            {**base, "defense": "nodef", "knows": "classifier"},
            {**base, "defense": "nodef", "knows": "classifier", "restarts": 3},
            {**base, "defense": "nodef", "knows": "nothing", "tries": 20},
        ],
    )
    once, often, guessed = (row.values for row in rows)
    assert often["correct"] <= once["correct"] <= guessed["correct"]
    assert guessed["correct"] == sum(guessed["right"])
    assert {"nothing"} < {spec["knows"] for spec in ch.knowing({**base, "net": "cnn"})}


def test_what_only_a_gpu_is_planned_for_comes_out_in_small(study):
    """Another seed, and the network that is trained to the end."""
    base = ch.about("digits", 1, study)
    clean, hit = study.table(
        ch.CURVE,
        [
            {**base, "attack": "none"},
            {**base, "attack": "fgsm", **ch.sizes("digits", "fgsm", 1)[0]},
        ],
    )
    assert isinstance(clean, Row)
    assert isinstance(hit, Row)
    assert clean.values["n"] == hit.values["n"]
    for table, specs in ch.longer(study, 0, "digits"):
        for row in study.table(table, specs):
            assert isinstance(row, Row)
            assert row.spec["net"] == "cnn-long"
            assert row.values["correct" if table != ch.CURVE else "n"] > 0
