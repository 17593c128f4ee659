"""Chapter 4's rows: pools, attacks, autoencoders, flows, detectors, and what they depend on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from washout.chapters import chapter4 as ch
from washout.chapters.bits import unpacked, unpacked_floats
from washout.chapters.chapter4 import beyond, detecting, measure, networks, settings
from washout.chapters.chapter4.pools import Found, drawn
from washout.detectors import threshold_at_fpr
from washout.study import Study


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("chapter4")
    return Study("chapter4", profile="smoke", device="cpu", progress=False,
                 results=folder / "results")  # fmt: skip


@pytest.fixture(scope="module")
def base(study) -> dict:
    return ch.about("photos", 0, study)


def values(study: Study, table, spec) -> dict:
    return study.row(table, spec).values


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
    both = measure.repainting("8bit+ae4", base, study, {})(images[:5])
    alone = measure.repainting("ae4", base, study, {})
    assert torch.equal(both, alone((images[:5] * 255).round() / 255))


# ---- flows -------------------------------------------------------------------------------------
def test_a_trained_flow_knows_more_than_an_untrained(study, base):
    spec = {"dataset": "photos", "seed": 0}
    found = [values(study, ch.FLOW, {**spec, "flow": kind}) for kind in ("trained", "random")]
    assert found[0]["bits"] < found[1]["bits"] - 0.5
    assert all(v["inverse_error"] < 1e-4 for v in found)
    assert found[0]["parameters"] == found[1]["parameters"]


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


# ---- detectors ---------------------------------------------------------------------------------
@pytest.mark.parametrize("trained", settings.TRAINED)
def test_shares_add_up(trained):
    found = detecting.shares(trained)
    assert sum(found.values()) == pytest.approx(1)
    if trained.startswith("without-"):
        assert trained.removeprefix("without-") not in found
        assert len(found) == 2
    elif trained != "mixture":
        assert found == {trained: 1.0}
    with pytest.raises(ValueError, match="trained: got"):
        detecting.shares("everything")


def test_training_sees_each_image_clean_and_once_attacked(study, base):
    spec = {**base, "features": "pixels", "trained": "mixture"}
    seen, is_adversarial = detecting.mixed(spec, study, "train")
    n = settings.PROFILES["smoke"].n_train
    clean = networks.pool(base, study, "train").images.flatten(1)
    assert torch.equal(seen[~is_adversarial], clean)
    hit = seen[is_adversarial]
    assert 0.3 * n < len(hit) <= n
    nearest = (hit[:, None] - clean[None]).abs().amax(2)
    origin = nearest.argmin(1)
    assert (nearest.amin(1) <= settings.EPS + 1e-6).all()
    assert len(set(origin.tolist())) == len(hit)  # no image twice


def test_a_detector_is_kept_and_loaded_as_it_was(study, base):
    spec = {**base, "features": "residuals", "trained": "mixture"}
    one, threshold, losses = detecting.detector(spec, study)
    two = detecting.detector(spec, study).net
    assert threshold == 0
    assert losses.shape[1] == 2
    assert len(losses) <= settings.PROFILES["smoke"].detector_epochs
    v = values(study, ch.DETECTION, {**spec, "attack": "fgsm"})["training"]
    assert v["validation_loss"] == pytest.approx(losses[:, 1].min().item(), rel=1e-4)
    x = torch.rand(5, 24)
    assert torch.equal(one(x), two(x))
    assert not one.training
    assert not any(p.requires_grad for p in one.parameters())


@pytest.mark.parametrize("features", [*settings.FEATURES, settings.SEPARATE, settings.PCA])
def test_detection_agrees_with_its_scores(study, base, features):
    spec = {**base, "features": features, "trained": "mixture", "attack": "fgsm"}
    v = values(study, ch.DETECTION, spec)
    hit, clean = (detecting.scores(spec, study, label) for label in ("fgsm", ch.CLEAN))
    wrong, right = unpacked(v["wrong"], v["n"]), unpacked(v["right"], v["n"])
    assert (unpacked(v["flagged"], v["n"]) == (hit > 0).numpy()).all()
    assert (unpacked(v["flagged_clean"], v["n"]) == (clean > 0).numpy()).all()
    for name, some, others in (("A", wrong, right | True), ("B", wrong & right, right)):
        joined = np.concatenate([hit.numpy()[some], clean.numpy()[others]])
        truth = np.arange(len(joined)) < some.sum()
        assert v[name]["auc"] == pytest.approx(roc_auc_score(truth, joined), abs=1e-5)
        assert v[name]["n"] == some.sum()
    others = detecting.scores(spec, study, ch.CLEAN, part="validation")
    for word, share in settings.RATES.items():
        bar = threshold_at_fpr(others, share)
        assert (others > bar).double().mean() <= share
        assert v["A"][word] == {
            "found": int((hit[torch.from_numpy(wrong)] > bar).sum()),
            "false": int((clean > bar).sum()),
        }
    assert v["both"]["n"] <= v["B"]["n"]
    assert v["curve"]["fpr"][0] == 0
    assert v["curve"]["tpr"][-1] == 1


def test_rounding_is_of_attacked_images_only(study, base):
    spec = {**base, "features": "pixels", "trained": "mixture", "attack": "pgd"}
    plain = values(study, ch.DETECTION, spec)
    rounded = values(study, ch.DETECTION, {**spec, "rounded": True})
    assert plain["flagged_clean"] == rounded["flagged_clean"]
    levels = detecting.images_of(base, study, "pgd", "test", True) * 255
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    images = detecting.images_of(base, study, "pgd", "test", False) * 255
    assert not torch.allclose(images, images.round(), atol=1e-3)


# ---- beyond ------------------------------------------------------------------------------------
@pytest.mark.parametrize("guard", settings.GUARDS)
def test_a_guarded_classifier_says_attacked_where_the_detector_does(study, base, guard):
    model, _ = networks.classifier(base, study)
    view = {**base, "features": guard, "trained": "mixture"}
    net, threshold, _ = detecting.detector(view, study)
    flow = networks.flow(base, study)[0] if guard == "latents" else None
    score = beyond.Score(net, threshold, flow, draws=2, seed=5)
    guarded = beyond.Guarded(model, score)
    x = networks.pool(base, study).images[:12].clone().requires_grad_()
    logits = guarded(x)
    classes = model(x).shape[1]
    assert logits.shape == (12, classes + 1)
    assert ((logits.argmax(1) == classes) == (score(x) > 0)).all()
    (gradient,) = torch.autograd.grad(score(x).sum(), x)
    assert gradient.abs().flatten(1).amax(1).min() > 0


def test_an_attacker_who_knows_gets_further(study, base):
    spec = {**base, "guard": "ae4", "eps": settings.EPS}
    found = {k: values(study, ch.KNOWING, {**spec, "knows": k}) for k in (False, True)}
    assert found[True]["misread"] >= found[False]["misread"]
    largest = values(study, ch.KNOWING, {**spec, "knows": True, "eps": settings.LARGEST})
    assert largest["misread"] >= found[True]["misread"]
    guard = values(study, ch.KNOWING, {**spec, "guard": "latents", "knows": True})
    assert guard["accepted"] <= min(guard["misread"], guard["n"])
    assert guard["draws"] == beyond.FRESH
    plain = values(study, ch.KNOWING, {**spec, "guard": settings.PCA, "knows": True})
    assert plain["draws"] == 1  # nothing random in it
    assert plain["flagged_clean"] <= plain["n"]
    more = values(study, ch.KNOWING, {**spec, "guard": settings.PCA, "knows": True, "targets": 3})
    assert more["accepted"] >= plain["accepted"]


def test_random_signs_are_as_large_as_an_attack(study, base):
    images, wrong, pool = measure.adversarial({**base, "attack": settings.NOISE}, study)
    change = (images - pool.images).abs()
    inside = (pool.images > 0.02) & (pool.images < 0.98)
    assert torch.allclose(change[inside], torch.tensor(settings.EPS), atol=1e-6)
    up = ((images - pool.images)[inside] > 0).double().mean()
    assert 0.48 < up < 0.52
    found = values(study, ch.DETECTION, {**base, "attack": settings.NOISE, "features": "pixels",
                                         "trained": "mixture"})  # fmt: skip
    assert (unpacked(found["wrong"], found["n"]) == wrong.numpy()).all()


def test_distances_of_noise_and_of_nothing(study, base):
    noise = values(study, ch.DISTANCE, {**base, "change": settings.NOISE})
    assert 0 < noise["pixels_median"] < 1
    assert noise["last_median"] > 0
    other = values(study, ch.DISTANCE, {**base, "change": settings.DEQUANTIZED})
    assert other["pixels_median"] == 0  # the images are the same
    assert other["last_median"] > 0
    hit = values(study, ch.DISTANCE, {**base, "change": "deepfool"})
    pixels, last = (unpacked_floats(hit[k]) for k in ("pixels", "last"))
    assert ((pixels == 0) == (last == 0)).all()  # same noise on both: no change, no distance


def test_sets_that_do_not_differ_are_rarely_told_apart(study, base):
    spec = {**base, "test": "energy", "space": "pixels", "size": 40}
    same = values(study, ch.TWO_SAMPLE, {**spec, "attack": ch.CLEAN})
    assert same["found"] <= 3  # of 10, at a level of 5 %
    with_fgsm = values(study, ch.TWO_SAMPLE, {**spec, "attack": "fgsm"})
    assert with_fgsm["size"] == min(40, with_fgsm["size"])
    assert 0 <= with_fgsm["found"] <= with_fgsm["trials"]


def test_examples_hold_what_is_read(study, base):
    v = values(study, ch.EXAMPLES, {**base, "count": 2})
    stack = study.images(v["images"])
    assert len(stack) == len(v["lines"]) * len(v["columns"])
    assert v["lines"][-len(settings.AE) :] == list(settings.AE)
    assert [len(words) for words in v["said"]] == [4] * len(v["lines"])
    for label, said in zip(v["labels"], v["said"], strict=False):
        assert said[0] == label  # read rightly when clean


# ---- the plan ----------------------------------------------------------------------------------
def test_the_plan_covers_every_number_and_names_no_row_twice():
    for profile in ("laptop", "paper"):
        study = Study("chapter4", profile=profile, exact=True, compute=False, progress=False)
        plan = {table.name: specs for table, specs in ch.plan(study)}
        for specs in plan.values():
            assert len({str(sorted(s.items())) for s in specs}) == len(specs)
        seeds = settings.PROFILES[profile].seeds
        for seed in seeds:
            for label in ch.MAIN:
                base = ch.about("cifar10", seed, study, attack=label)
                assert base in plan["attack"]
                assert {**base, "features": "latents", "trained": "mixture"} in plan["detection"]
                assert all({**base, "defense": name} in plan["cleaned"] for name in settings.AE)
    assert {s["net"] for s in plan["baseline"]} == {"resnet8", "resnet20"}


def test_one_attack_asks_for_it_alone():
    study = Study("chapter4", profile="smoke", compute=False, progress=False)
    plan = {t.name: s for t, s in ch.plan(study, "photos", "jsma")}
    assert {s["attack"] for s in plan["attack"]} == {"jsma"}
    assert {s["attack"] for s in plan["detection"]} == {"jsma"}
    assert {s["attack"] for s in plan["cleaned"]} == {ch.CLEAN, "jsma"}
    missing = study.table(ch.ATTACK, plan["attack"])[0]
    assert missing.command.endswith("--dataset photos --attack jsma")


def test_rows_depend_on_what_they_use_and_no_more(study, base, monkeypatch):
    detection = {**base, "features": "pixels", "trained": "mixture", "attack": "fgsm"}
    assert "flow" not in detecting.depends(detection, study)
    assert "flow" in detecting.depends({**detection, "features": "latents"}, study)
    cleaned = {**base, "attack": "fgsm", "defense": "8bit"}
    assert "autoencoder" not in measure.depends_on_ae(cleaned, study)
    assert "autoencoder" in measure.depends_on_ae({**cleaned, "defense": "noise:ae8"}, study)
    for change in ("features", "detectors", "detection"):
        before = detecting.depends(detection, study)
        monkeypatch.setitem(detecting.VERSIONS, change, 99)
        assert detecting.depends(detection, study) != before


def test_a_new_version_of_an_attack_makes_its_images_latents_and_detectors_anew(
    study, base, monkeypatch
):
    spec = {**base, "features": "latents", "trained": "mixture", "attack": "pgd"}
    before = detecting._detector_key(spec, study), measure.described("deepfool")
    registered = measure.attacks.get("deepfool")
    monkeypatch.setattr(measure.attacks, "get", lambda name: replace(registered, version=99))
    after = detecting._detector_key(spec, study), measure.described("deepfool")
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_all_three_seeds_are_planned_and_the_first_alone_goes_beyond():
    study = Study("chapter4", profile="paper", exact=True, compute=False, progress=False)
    names = {seed: {t.name for t, _ in ch.plan(study, seeds=(seed,))} for seed in (0, 1, 2)}
    assert names[1] == names[2] < names[0]
    assert "knowing" not in names[1]
