"""Chapter 4's detectors on bundled data, and what goes beyond the paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from chapter4_rows import values
from washout.chapters import chapter4 as ch
from washout.chapters.bits import unpacked, unpacked_floats
from washout.chapters.chapter4 import (
    adaptive,
    detecting,
    features,
    fitting,
    measure,
    networks,
    settings,
)
from washout.data import floats
from washout.detectors import threshold_at_fpr
from washout.study import Study


@pytest.fixture(scope="module")
def study(chapter4_study) -> Study:
    return chapter4_study


@pytest.fixture(scope="module")
def base(study) -> dict:
    return ch.about("photos", 0, study)


# ---- detectors ---------------------------------------------------------------------------------
@pytest.mark.parametrize("trained", settings.TRAINED)
def test_shares_add_up(trained):
    found = fitting.shares(trained)
    assert sum(found.values()) == pytest.approx(1)
    if trained.startswith("without-"):
        assert trained.removeprefix("without-") not in found
        assert len(found) == 2
    elif trained != "mixture":
        assert found == {trained: 1.0}
    with pytest.raises(ValueError, match="trained: got"):
        fitting.shares("everything")


def test_training_sees_all_clean_images_and_as_many_attacked_as_the_shares_allow(
    study, base, monkeypatch
):
    n, labels = 200, (ch.CLEAN, *ch.MAIN)
    wrong = torch.arange(n) % 5 > 0

    def coded(spec, study, label, part, rounded=False):
        return torch.stack([torch.full((n,), labels.index(label)), torch.arange(n)], 1)

    monkeypatch.setattr(fitting, "features", coded)
    monkeypatch.setattr(fitting, "fooled", lambda *_, **__: wrong)

    def drawn(trained: str) -> list[list[int]]:
        spec = {**base, "features": "pixels", "trained": trained}
        seen, is_adversarial = fitting.mixed(spec, study, "train")
        assert torch.equal(seen[~is_adversarial], coded(None, None, ch.CLEAN, "train"))
        hit = seen[is_adversarial]
        found = [hit[hit[:, 0] == index, 1].tolist() for index in (1, 2, 3)]
        assert all(len(set(own)) == len(own) and wrong[own].all() for own in found)
        return found

    fgsm, pgd, deepfool = drawn("mixture")  # 3 : 3 : 4
    assert len(deepfool) == wrong.sum()
    for own in (fgsm, pgd):
        assert abs(len(own) - 0.75 * wrong.sum()) <= 15
    assert set(fgsm) != set(pgd)  # each drawn for itself
    assert [len(own) for own in drawn("pgd")] == [0, wrong.sum(), 0]
    assert [len(own) for own in drawn("without-deepfool")] == [wrong.sum(), wrong.sum(), 0]


def test_latents_that_are_kept_need_no_images(study, base, monkeypatch):
    spec = {**base, "features": "latents", "trained": "mixture"}
    kept = features.features(spec, study, "fgsm", "test")
    monkeypatch.setattr(features, "images_of", lambda *_: pytest.fail("images were loaded"))
    assert torch.equal(features.features(spec, study, "fgsm", "test"), kept)


def test_an_untrained_flows_latents_are_whitened_by_all_training_images(study, base):
    spec = {**base, "features": "random", "trained": "mixture"}
    learned_from = features.features(spec, study, ch.CLEAN, "train")
    images = networks.whole(base, study).train.images
    assert len(learned_from) < len(images)
    net, _ = networks.flow(base, study, "random")
    parts = networks.latents(net, floats(images), features._noise(spec, "train"), study)
    seen = features.random_whitening(spec, study)(torch.cat(parts[::-1], 1))
    count = len(seen)
    assert seen.shape[1] == count - 1  # so few images have no more directions, of 3,072
    assert seen.shape[1] == learned_from.shape[1]
    assert torch.allclose(seen.T @ seen / count, torch.eye(count - 1), atol=1e-2)


def test_false_alarms_are_of_all_clean_images_where_an_attack_sees_few(study, base, monkeypatch):
    quick = ("cw", {"steps": 2, "binary_search_steps": 1})
    monkeypatch.setitem(settings.VARIANTS, "cw", quick)
    spec = {**base, "features": "residuals", "trained": "mixture"}
    v, usual = (values(study, ch.DETECTION, {**spec, "attack": a}) for a in ("cw", "fgsm"))
    sizes = settings.PROFILES["smoke"]
    assert v["n"] == sizes.n_slow
    assert v["n_clean"] == usual["n_clean"] == sizes.n
    assert v["flagged_clean"] == usual["flagged_clean"]
    if v["A"]["n"]:
        assert v["A"]["clean"] == sizes.n


def test_a_specialist_on_images_goes_on_from_the_mixtures_network(study, base):
    epochs = [
        fitting._epochs({**base, "features": "separate", "trained": way}, study)
        for way in ("mixture", "deepfool")
    ]
    assert epochs == [settings.PROFILES["smoke"].separate_epochs, 1]


def test_a_detector_is_kept_and_loaded_as_it_was(study, base):
    spec = {**base, "features": "residuals", "trained": "mixture"}
    one, threshold, losses = fitting.detector(spec, study)
    two = fitting.detector(spec, study).net
    assert threshold == 0
    assert losses.shape[1] == 2
    assert len(losses) <= settings.PROFILES["smoke"].detector_epochs
    v = values(study, ch.DETECTION, {**spec, "attack": "fgsm"})["training"]
    assert v["validation_loss"] == pytest.approx(losses[:, 1].min().item(), rel=1e-4)
    x = torch.rand(5, 24)
    assert torch.equal(one(x), two(x))
    assert not one.training
    assert not any(p.requires_grad for p in one.parameters())


@pytest.mark.parametrize("kind", [*settings.FEATURES, settings.SEPARATE, settings.PCA])
def test_detection_agrees_with_its_scores(study, base, kind):
    spec = {**base, "features": kind, "trained": "mixture", "attack": "fgsm"}
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
    levels = features.images_of(base, study, "pgd", "test", True) * 255
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    images = features.images_of(base, study, "pgd", "test", False) * 255
    assert not torch.allclose(images, images.round(), atol=1e-3)


# ---- beyond ------------------------------------------------------------------------------------
@pytest.mark.parametrize("guard", settings.GUARDS)
def test_a_guarded_classifier_says_attacked_where_the_detector_does(study, base, guard):
    model, _ = networks.classifier(base, study)
    view = {**base, "features": guard, "trained": "mixture"}
    net, threshold, _ = fitting.detector(view, study)
    flow = networks.flow(base, study)[0] if guard == "latents" else None
    score = adaptive.Score(net, threshold, flow, draws=2, seed=5)
    guarded = adaptive.Guarded(model, score)
    x = networks.pool(base, study).images[:12].clone().requires_grad_()
    logits = guarded(x)
    classes = model(x).shape[1]
    assert logits.shape == (12, classes + 1)
    score.restart(5)
    said = score(x)
    assert ((logits.argmax(1) == classes) == (said > 0)).all()
    assert torch.equal(score(x), said) == (flow is None)  # each step meets noise of its own
    (gradient,) = torch.autograd.grad(score(x).sum(), x)
    assert gradient.abs().flatten(1).amax(1).min() > 0


def test_an_attacker_who_knows_gets_further(study, base):
    spec = {**base, "guard": "ae4", "eps": settings.EPS}
    found = {k: values(study, ch.KNOWING, {**spec, "knows": k}) for k in (False, True)}
    assert found[True]["misread"] >= found[False]["misread"]
    largest = values(study, ch.KNOWING, {**spec, "knows": True, "eps": settings.LARGEST})
    assert largest["misread"] >= found[True]["misread"]
    guard = values(study, ch.KNOWING, {**spec, "guard": "latents", "knows": True})
    blind = values(study, ch.KNOWING, {**spec, "guard": "latents", "knows": False})
    assert guard["accepted"] >= blind["accepted"]
    assert guard["draws"] == adaptive.FRESH
    plain = values(study, ch.KNOWING, {**spec, "guard": settings.PCA, "knows": True})
    assert plain["draws"] == 1  # nothing random in it
    assert plain["flagged_clean"] <= plain["n"]
    more = values(study, ch.KNOWING, {**spec, "guard": settings.PCA, "knows": True, "targets": 3})
    assert more["accepted"] >= plain["accepted"]


def test_no_more_images_pass_a_flow_at_once_the_more_draws_and_starts(study, base, monkeypatch):
    sizes = {}
    run = adaptive.attacks.run

    def recorded(*words, **settings):
        sizes.setdefault(settings.get("batch_size"), settings["restarts"])
        return run(*words, **settings)

    monkeypatch.setattr(adaptive.attacks, "run", recorded)
    spec = {**base, "guard": "latents", "knows": True, "eps": settings.UNSATURATED_EPS}
    adaptive.knowing(spec, study)
    adaptive.knowing({**spec, "draws": 2}, study)
    adaptive.knowing({**spec, "restarts": 2, "draws": 2}, study)
    whole = adaptive.TOGETHER // adaptive.DRAWS
    assert sizes == {whole: 1, whole // 2: 1, whole // 4: 2}


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
    changes = study.images(v["changes"]).astype(int) - 128
    assert len(changes) == len(v["largest"]) == len(v["labels"]) * len(ch.MAIN)
    assert abs(changes).reshape(len(changes), -1).max(1).tolist() == [127] * len(changes)
    assert all(0 < size <= settings.EPS + 1e-6 for size in v["largest"])
