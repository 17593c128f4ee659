"""Chapter 2's plan: which rows there are at which profile, and the commands that compute them."""

from __future__ import annotations

from dataclasses import replace

from washout.chapters import chapter2 as ch
from washout.chapters.chapter2 import measure, settings
from washout.store import Row
from washout.study import Missing, Study


def test_the_paper_table_is_planned_for_both_datasets():
    study = Study("chapter2", profile="laptop", exact=True, compute=False, progress=False)
    plan = {table.name: specs for table, specs in ch.plan(study)}
    for dataset in ch.AUTO:
        columns = ch.columns(dataset)
        assert len(columns) == 8
        for attack in (ch.CLEAN, *ch.MAIN):
            there = {s["defense"] for s in plan["cell"]
                     if s["dataset"] == dataset and s["attack"] == attack}  # fmt: skip
            assert set(columns) <= there
    keys = [str(spec) for spec in plan["cell"]]
    assert len(set(keys)) == len(keys)
    assert all(ch.full_name(s["defense"], s["dataset"]) == s["defense"] for s in plan["cell"])


def test_paper_profile_runs_all_images_and_a_well_trained_network():
    study = Study("chapter2", profile="paper", exact=True, compute=False, progress=False)
    cells = {t.name: s for t, s in ch.plan(study)}["cell"]
    assert sum(bool(s.get("whole")) for s in cells) == 2 * 5 * 8
    assert {s["net"] for s in cells} >= {"lenet", "densenet", "densenet-long", "lenet-on-vqvae0"}


def test_every_defense_meets_noise_of_its_own_size():
    for dataset in ch.AUTO:
        for defense in ch.columns(dataset)[1:6]:
            assert f"noise:{defense}" in ch.controls(dataset)


def test_what_is_cut_to_a_budget_is_apart_from_what_spends_it():
    for dataset in ch.DATASETS:
        spent, cut = ch.fixed(dataset), ch.capped(dataset)
        assert {*spent, *cut} == {*settings.FIXED[ch.kind(dataset)]}
        assert all(attack.startswith(("fgsm", "pgd")) for attack in spent)
        assert all(attack.startswith(("cw", "deepfool")) for attack in cut)


def test_one_attack_and_one_defense():
    study = Study("chapter2", profile="smoke", compute=False, progress=False)
    plan = {t.name: s for t, s in ch.plan(study, "photos", "pgd", defense="tvm+jpeg")}
    assert {(s["attack"], s["defense"]) for s in plan["cell"]} == {
        (attack, defense) for attack in ("none", "pgd") for defense in ("none", "tvm+jpeg90")
    }
    assert {s["attack"] for s in plan["attack"]} == {"pgd"}


def test_the_papers_network_is_shown_once_its_cells_are_all_there(tmp_path, monkeypatch):
    study = Study("chapter2", profile="laptop", progress=False, results=tmp_path, compute=False)
    parameters = replace(ch.check_parameters(ch, dataset="cifar10"), study=study)

    def few(study, *words):
        base = ch.about("cifar10", 0, study)
        return [(ch.CELL, ch.cells(base, (ch.CLEAN, "pgd-min"), ("none", "jpeg90")))]

    monkeypatch.setattr(ch, "plan", few)
    paper = replace(study, profile="paper", local=False)
    specs = few(paper)[0][1]
    for spec in specs:
        assert {row.spec["net"] for row in ch.rows(parameters, ch.CELL)} == {"resnet"}
        assert not any(isinstance(row, Row) for row in ch.rows(parameters, ch.CELL))
        row = Row("cell", "paper", spec, paper.depends(ch.CELL, spec, "paper"),
                  {"n": 1}, {"finished": 1.0})  # fmt: skip
        paper.store.append(row)
    found = ch.rows(parameters, ch.CELL)
    assert {row.spec["net"] for row in found} == {"densenet"}
    assert all(isinstance(row, Row) for row in found)
    assert ch.only_paper(parameters, ch.CELL) == []


def test_what_the_paper_profile_alone_has_is_named_with_its_command():
    study = Study("chapter2", profile="laptop", compute=False, progress=False)
    parameters = replace(ch.check_parameters(ch), study=study)
    missing = [r for r in ch.only_paper(parameters, ch.CELL) if isinstance(r, Missing)]
    assert all("--profile paper" in row.command for row in missing)
    whole = {row.spec["attack"] for row in missing if row.spec.get("whole")}
    assert {"cw-short", "cw-short-color"} <= whole
    assert "cw-fb2" not in whole
    one = replace(ch.check_parameters(ch, attack="pgd-min"), study=study)
    assert ch.only_paper(one, ch.CELL) == []


def test_commands_name_what_the_plain_plan_lacks():
    study = Study("chapter2", profile="laptop", exact=True, compute=False, progress=False)
    planned = {table.name: specs for table, specs in ch.plan(study)}
    for table in (ch.ATTACK, ch.CELL):
        for spec in planned[table.name]:
            own = spec["net"] == study_net(spec)
            assert not own or measure.flags(spec) == [], spec
    base = ch.about("mnist", 0, study)
    for spec in (
        {**base, "attack": "deepfool"},
        {**base, "attack": "cw-fb2", "defense": "jpeg50"},
        {**base, "attack": "deepfool-x2", "defense": "8bit"},
    ):
        words = measure.flags(spec)
        assert words[:2] == ["--attack", spec["attack"]]
        if "defense" in spec:
            assert words[2:] == ["--defense", spec["defense"]]


def study_net(spec: dict) -> str:
    return settings.PROFILES["laptop"].net[spec["dataset"]]
