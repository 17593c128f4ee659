"""Chapter 4's plan, and what its rows depend on."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest

from washout.chapters import chapter4 as ch
from washout.chapters.chapter4 import (
    adaptive,
    beyond,
    detecting,
    fitting,
    measure,
    networks,
    repainting,
    settings,
)
from washout.study import Study


@pytest.fixture(scope="module")
def study(chapter4_study) -> Study:
    return chapter4_study


@pytest.fixture(scope="module")
def base(study) -> dict:
    return ch.about("photos", 0, study)


# ---- the plan ----------------------------------------------------------------------------------
def planned(profile: str, **more) -> dict[str, list[dict]]:
    study = Study("chapter4", profile=profile, exact=True, compute=False, progress=False)
    return {table.name: specs for table, specs in ch.plan(study, **more)}


def test_the_plan_covers_every_number_and_names_no_row_twice():
    for profile in ("laptop", "paper"):
        study = Study("chapter4", profile=profile, exact=True, compute=False, progress=False)
        plan = planned(profile)
        for specs in plan.values():
            assert len({str(sorted(s.items())) for s in specs}) == len(specs)
        seeds = settings.PROFILES[profile].seeds
        for seed in seeds:
            for label in ch.MAIN:
                base = ch.about("cifar10", seed, study, attack=label)
                assert base in plan["attack"]
                assert {**base, "features": "latents", "trained": "mixture"} in plan["detection"]
                assert all({**base, "defense": name} in plan["cleaned"] for name in settings.AE)
    assert {s["net"] for s in plan["baseline"]} == {"resnet8", "resnet20", settings.DECAY}


def test_smoke_does_all_that_the_other_profiles_do():
    def kinds(profile: str) -> set[str]:
        changing = ("dataset", "size", "seed")
        return {
            f"{table} {sorted((k, v) for k, v in spec.items() if k not in changing)}"
            for table, specs in planned(profile).items()
            for spec in specs
        }

    smoke = kinds("smoke")
    assert kinds("paper") <= smoke
    assert kinds("laptop") <= smoke
    assert len({spec["seed"] for spec in planned("smoke")["detection"]}) > 1


def test_the_attacker_who_knows_is_checked_where_something_is_left_to_win():
    rows = planned("laptop")["knowing"]
    checks = [row for row in rows if set(row) & {"longer", "targets", "draws"}]
    assert {row["eps"] for row in checks} == set(settings.KNOWING_EPS[:2])
    assert {row["eps"] for row in checks if row.get("longer") != 2} == {settings.UNSATURATED_EPS}
    assert {row["guard"] for row in checks if "targets" in row} == set(settings.GUARDS)
    for guard in (*settings.GUARDS, *settings.AE):
        sizes = {row["eps"] for row in rows if row["guard"] == guard and row["knows"]}
        assert sizes >= set(settings.KNOWING_EPS)


def test_one_attack_asks_for_it_alone():
    study = Study("chapter4", profile="smoke", compute=False, progress=False)
    plan = {t.name: s for t, s in ch.plan(study, "photos", "jsma")}
    assert {s["attack"] for s in plan["attack"]} == {"jsma"}
    assert {s["attack"] for s in plan["detection"]} == {"jsma"}
    assert {s["attack"] for s in plan["cleaned"]} == {ch.CLEAN, "jsma"}
    missing = study.table(ch.ATTACK, plan["attack"])[0]
    assert missing.command.endswith("--dataset photos --attack jsma")


def test_a_missing_row_says_what_computes_it():
    def command(table, **spec) -> str:
        words = {"dataset": "cifar10", "net": "resnet8", "seed": 0, "attack": "bim", **spec}
        return " ".join(table.flags(words))

    assert command(ch.ATTACK) == ""  # the plain plan has it
    assert command(ch.CLEANED, defense="ae4") == "--attack bim"
    assert command(ch.CLEANED, defense="ae4", attack="pgd") == ""
    assert command(ch.DETECTION, features="latents", trained="mixture") == ""
    assert command(ch.DETECTION, features="pixels", trained="mixture") == "--attack bim"
    plans = {seed: planned("laptop", attack="bim") for seed in (0,)}
    plain = planned("laptop")
    for name, table in (("cleaned", ch.CLEANED), ("detection", ch.DETECTION)):
        for spec in plans[0][name]:
            assert bool(table.flags(spec)) == (spec not in plain[name]), spec


def test_a_run_for_one_attack_asks_for_its_specialist_and_no_other_attack():
    specs = planned("smoke", attack="pgd")["detection"]
    assert {spec["attack"] for spec in specs} <= {"pgd", ch.CLEAN, settings.NOISE}
    assert "without-pgd" in {spec["trained"] for spec in specs}
    unknown = planned("smoke", attack="bim")["detection"]
    assert not any(spec["trained"].startswith("without") for spec in unknown)


def test_all_three_seeds_are_planned_and_the_first_alone_goes_beyond():
    names = {seed: set(planned("paper", seeds=(seed,))) for seed in (0, 1, 2)}
    assert names[1] == names[2] < names[0]
    assert "knowing" not in names[1]


# ---- what rows depend on -------------------------------------------------------------------------
def test_rows_depend_on_what_they_use_and_no_more(study, base, monkeypatch):
    detection = {**base, "features": "pixels", "trained": "mixture", "attack": "fgsm"}
    assert "flow" not in detecting.depends(detection, study)
    assert "flow" in detecting.depends({**detection, "features": "latents"}, study)
    cleaned = {**base, "attack": "fgsm", "defense": "8bit"}
    assert "autoencoder" not in repainting.depends_on_ae(cleaned, study)
    assert "autoencoder" in repainting.depends_on_ae({**cleaned, "defense": "noise:ae8"}, study)
    for module, change in ((fitting, "VERSION"), (fitting, "FITTING"), (detecting, "DETECTING")):
        before = detecting.depends(detection, study)
        monkeypatch.setattr(module, change, 99)
        assert detecting.depends(detection, study) != before


def test_shares_settings_and_whitening_are_among_what_detectors_depend_on(study, base, monkeypatch):
    spec = {**base, "features": "whitened", "trained": "mixture", "attack": "fgsm"}
    change = {**base, "change": "fgsm"}
    before, far = detecting.depends(spec, study), beyond.depends_distance(change, study)
    monkeypatch.setattr(networks, "WHITENING", 99)
    assert detecting.depends(spec, study) != before
    assert beyond.depends_distance(change, study) != far
    before = deepcopy(detecting.depends(spec, study))
    monkeypatch.setitem(settings.MIXTURE, "fgsm", 0.2)
    assert detecting.depends(spec, study) != before
    one = {**spec, "features": "separate", "trained": "deepfool", "attack": "deepfool"}
    before = deepcopy(detecting.depends(one, study))
    monkeypatch.setitem(settings.MIXTURE, "fgsm", 0.1)  # with which its network begins
    assert detecting.depends(one, study) != before
    before = deepcopy(detecting.depends(spec, study))
    monkeypatch.setitem(fitting.MANY, "lr", 1.0)
    assert detecting.depends(spec, study) != before


def test_the_second_library_depends_on_the_stronger_attack_where_there_is_one(
    study, base, monkeypatch
):
    labels = ("pgd", settings.UNSATURATED)
    before = deepcopy([beyond.depends_second({**base, "attack": a}, study) for a in labels])
    monkeypatch.setitem(beyond.STRONGER, "restarts", 99)
    after = [beyond.depends_second({**base, "attack": a}, study) for a in labels]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False]
    theirs, ours = beyond.LIBRARY[labels[1]][1], settings.VARIANTS[labels[1]][1]
    assert theirs["steps"] == ours["steps"]
    assert theirs["rel_stepsize"] * theirs["eps"] == ours["step"]
    assert theirs["eps"] == ours["eps"] == beyond.STRONGER["eps"]


def test_a_flow_as_guard_sees_fewer_images_where_the_profile_says_so():
    study = Study("chapter4", profile="paper", compute=False, progress=False)
    about = ch.about("cifar10", 0, study, knows=True, eps=0.02)
    small = [adaptive.depends({**about, "guard": g}, study)["small"][0] for g in settings.GUARDS]
    sizes = settings.PROFILES["paper"]
    assert small == [sizes.n_flow, sizes.n_small, sizes.n_small]


def test_a_new_version_of_an_attack_makes_its_images_latents_and_detectors_anew(
    study, base, monkeypatch
):
    spec = {**base, "features": "latents", "trained": "mixture", "attack": "pgd"}
    before = fitting.depends(spec, study), measure.described("deepfool")
    registered = measure.attacks.get("deepfool")
    monkeypatch.setattr(measure.attacks, "get", lambda name: replace(registered, version=99))
    after = fitting.depends(spec, study), measure.described("deepfool")
    assert before[0] != after[0]
    assert before[1] != after[1]
