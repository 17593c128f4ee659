"""Chapter 4's rows: pools, attacks, autoencoders, flows, the plan, and what rows depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chapter4_rows import values
from washout import attacks
from washout.chapters import chapter4 as ch
from washout.chapters.bits import unpacked
from washout.chapters.chapter4 import (
    measure,
    networks,
    repainting,
    settings,
)
from washout.chapters.chapter4.pools import Found, drawn
from washout.models import Glow
from washout.study import Study


@pytest.fixture(scope="module")
def study(chapter4_study) -> Study:
    return chapter4_study


@pytest.fixture(scope="module")
def base(study) -> dict:
    return ch.about("photos", 0, study)


# ---- pools -------------------------------------------------------------------------------------
def test_draws_are_of_the_pool_and_repeat():
    pool = np.arange(100) % 3 > 0
    one = drawn(pool.tobytes(), 30, 0, 1)
    assert len(set(one)) == 30
    assert pool[one].all()
    assert (drawn(pool.tobytes(), 30, 0, 1) == one).all()
    assert (drawn(pool.tobytes(), 30, 0, 2) != one).any()
    assert (drawn(pool.tobytes(), 30, 1, 1) != one).any()
    assert len(drawn(pool.tobytes(), 1000, 0, 1)) == pool.sum()


def test_columns_and_the_overall_draw_are_the_papers_shares(study, base):
    rows = study.table(ch.ATTACK, [{**base, "attack": label} for label in ch.MAIN])
    found = Found("photos", 0, rows)
    n = settings.PROFILES["smoke"].n
    overall = found.overall()
    for label, share in settings.MIXTURE.items():
        pool = found.pool(label)
        assert len(found.column(label)) == min(round(n / 2), pool.sum())
        assert len(overall[label]) == min(round(share * n), pool.sum())
        assert pool[overall[label]].all()
    assert len(found.clean_column(n)) == n // 2


# ---- attacks -----------------------------------------------------------------------------------
@pytest.mark.parametrize("label", ch.MAIN)
def test_attacks_stay_within_epsilon_and_are_counted_as_the_paper_counts(study, base, label):
    spec = {**base, "attack": label}
    images, wrong, pool = measure.adversarial(spec, study)
    assert (images - pool.images).abs().max() <= settings.EPS + 1e-6
    assert images.min() >= 0
    assert images.max() <= 1
    v = values(study, ch.ATTACK, spec)
    right = unpacked(v["right"], v["n"])
    assert (unpacked(v["wrong"], v["n"]) == wrong.numpy()).all()
    assert wrong[torch.from_numpy(~right)].float().mean() > 0.5  # misread stays misread, mostly
    unchanged = (images == pool.images).flatten(1).all(1).numpy()
    assert v["unchanged"] == unchanged.sum()
    if label == "deepfool":
        assert unchanged[~right].all()  # what is misread when clean is left as it is
        assert wrong[torch.from_numpy(~right)].all()
        assert not unchanged[right & wrong.numpy()].any()


def test_parts_are_drawn_apart(study, base):
    sizes = settings.PROFILES["smoke"]
    parts = {name: networks.pool(base, study, name) for name in networks.PARTS}
    assert [len(parts[name]) for name in networks.PARTS] == [
        sizes.n_train, sizes.n_validation, sizes.n,
    ]  # fmt: skip
    whole = networks.whole(base, study)
    for name, part in parts.items():
        there = getattr(whole, name).images.flatten(1)
        assert (
            torch.cdist(part.images[:5].flatten(1), there).amin(1) < 0.2
        ).all()  # cdist is inexact
    assert len(networks.pool(base, study, n=7)) == 7


def test_pgd_along_epsilon_is_no_weaker_than_fgsm_and_grows(study, base):
    model, _ = networks.classifier(base, study)
    pool = networks.pool(base, study)
    counts: dict[str, list[int]] = {"fgsm": [], "pgd": []}
    for word, found in counts.items():
        for eps, label in zip(settings.ALONG, settings.SWEPT[word], strict=True):
            name, fixed = measure.attack_of(label)
            assert name == word
            assert fixed["eps"] == measure.epsilon(label, "photos") == eps
            hit = attacks.run(
                name, model, pool.images, pool.labels,
                generator=torch.Generator().manual_seed(0), **fixed,
            )  # fmt: skip
            found.append(int(hit.success.sum()))
    assert all(a <= b for a, b in zip(counts["fgsm"], counts["pgd"], strict=True)), counts
    assert counts["pgd"] == sorted(counts["pgd"])
    assert counts["pgd"][0] < counts["pgd"][-1]


def test_steps_at_other_sizes_reach_across_the_box():
    for label in settings.SWEPT["pgd"]:
        _, fixed = measure.attack_of(label)
        assert fixed["steps"] * fixed["step"] >= 2 * fixed["eps"]


def test_epsilons_as_the_page_shows_them():
    assert measure.epsilon("deepfool", "cifar10") == settings.EPS  # cut to it
    assert measure.epsilon("foolbox:LinfPGD", "cifar10") == settings.EPS  # as all others
    assert measure.attack_of("jsma")[1] == {}  # which has none
    assert measure.epsilon("cw", "cifar10") is None
    assert measure.epsilon(ch.CLEAN, "cifar10") is None


def test_other_classifiers_see_fewer_images(study, base):
    other = {**base, "net": settings.DECAY, "attack": "fgsm"}
    v, own = (values(study, ch.ATTACK, s) for s in (other, {**base, "attack": "fgsm"}))
    assert v["n"] == settings.PROFILES["smoke"].n_other < own["n"]
    recipe, usual = (networks.recipe_of(s, "laptop") for s in (other, base))
    assert recipe.weight_decay == 5 * usual.weight_decay
    assert recipe.model_args == usual.model_args


# ---- the autoencoder ---------------------------------------------------------------------------
def test_nothing_done_leaves_everything(study, base):
    spec = {**base, "attack": "fgsm", "defense": "none"}
    v = values(study, ch.CLEANED, spec)
    attack = values(study, ch.ATTACK, {**base, "attack": "fgsm"})
    bits = unpacked(v["right"], v["n"])
    assert (bits == ~unpacked(attack["wrong"], attack["n"])).all()
    assert v["moved"] == 0
    assert v["survived"] == pytest.approx(1)
    images, _, pool = measure.adversarial(spec, study)
    assert v["back"] == pytest.approx(
        (images - pool.images).flatten(1).norm(dim=1).mean().item(), rel=1e-4
    )


def test_noise_is_as_large_as_the_autoencoders_change(study, base):
    spec = {**base, "attack": "fgsm", "defense": "ae4"}
    own = values(study, ch.CLEANED, spec)
    noise = values(study, ch.CLEANED, {**spec, "defense": "noise:ae4"})
    assert noise["moved"] == pytest.approx(own["moved"], rel=0.05)
    assert noise["survived"] is None
    assert noise["changed"] == 0
    assert 0 < own["survived"] < 1
    assert own["shrunk"] <= own["changed"] <= own["n"]


def test_a_wider_autoencoder_keeps_more(study, base):
    found = [values(study, ch.WIDTH, {**base, "width": width}) for width in (2, 32)]
    assert found[0]["mse"] > found[1]["mse"]
    assert found[0]["parameters"] < found[1]["parameters"]
    for v in found:
        assert v["correct"] <= v["n"] <= settings.PROFILES["smoke"].n_validation
        assert v["restored"] <= v["pool"]
        assert v["pool"] >= settings.PROFILES["smoke"].n_validation - v["n"]  # misread stay so


def test_rounding_comes_before_the_autoencoder(study, base):
    images, _, _ = measure.adversarial({**base, "attack": "pgd"}, study)
    both = repainting.repainting("8bit+ae4", base, study, {})(images[:5])
    alone = repainting.repainting("ae4", base, study, {})
    assert torch.equal(both, alone((images[:5] * 255).round() / 255))


# ---- flows -------------------------------------------------------------------------------------
def test_a_trained_flow_knows_more_than_an_untrained(study, base):
    spec = {"dataset": "photos", "seed": 0}
    found = [values(study, ch.FLOW, {**spec, "flow": kind}) for kind in ("trained", "random")]
    assert found[0]["bits"] < found[1]["bits"] - 0.5
    assert all(v["inverse_error"] < 1e-4 for v in found)
    assert found[0]["parameters"] == found[1]["parameters"]


def test_an_untrained_flow_of_the_papers_size_is_finite_and_goes_back(study, base, monkeypatch):
    monkeypatch.setattr(networks, "FIRST_BATCH", 32)
    recipe = settings.flow_recipe("photos", "paper", 0)
    assert dict(recipe.model_args) == {"hidden": 256, "depth": 16}
    net = networks.random_flow(recipe, str(study.data), "cpu")
    assert isinstance(net, Glow)
    assert networks.random_flow(recipe, str(study.data), "cpu") is net  # made once
    x = networks.pool(base, study).images[:32]
    with torch.inference_mode():
        latents, likelihood = net.encode(x)
        back = net.decode(latents, clamp=False)
    assert likelihood.isfinite().all()
    assert all(part.abs().amax() < 1e3 for part in latents)
    assert (back - x).abs().max() < 1e-4
    networks.random_flow.cache_clear()


def test_random_weights_make_no_affine_map(study, base):
    net, _ = networks.flow(base, study, "random")
    x = networks.pool(base, study).images[:8]
    last, before = networks.latents(
        net, torch.cat([x[:4], x[4:], (x[:4] + x[4:]) / 2]), None, study
    )
    assert last.shape[1] + before.shape[1] == x[0].numel()
    assert last.shape[1] * 4 == x[0].numel()  # 768 of 3072
    for part in (last, before):
        assert not torch.allclose((part[:4] + part[4:8]) / 2, part[8:], atol=1e-2)


def test_dequantization_noise_repeats_with_its_seed(study, base):
    net, _ = networks.flow(base, study)
    x = networks.pool(base, study).images[:4]
    one, again, other, none = (networks.latents(net, x, s, study)[0] for s in (1, 1, 2, None))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, none)
