"""Chapter 3 from parameters to verdicts, at the smoke profile on bundled digits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from washout import papers
from washout.__main__ import parser
from washout.chapters import chapter3 as ch
from washout.chapters.bits import packed
from washout.chapters.chapter3 import (
    beyond,
    conclusions,
    measure,
    more_views,
    tables,
    verdicts,
    views,
)
from washout.detectors import Hybrid, five_crops
from washout.store import Row
from washout.study import Missing, Study


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("chapter3")
    return Study(
        "chapter3",
        profile="smoke",
        local=False,
        exact=True,
        progress=False,
        results=folder / "results",
        weights=folder / "weights",
    )


def spec(attack: str, **more) -> dict:
    return ch.about("digits", 0, attack=attack, **more)


def test_parameters_resolve_and_echo(monkeypatch, tmp_path):
    monkeypatch.setenv("WASHOUT_RESULTS", str(tmp_path))
    found = ch.check_parameters(ch, profile="smoke", attack="ifgsm")
    assert (found.attacks, found.dataset) == (("bim",), "digits")
    assert "attack: bim | dataset: digits | profile: smoke" in str(found)
    assert ch.check_parameters(ch).dataset == "mnist"
    assert ch.check_parameters(ch, attack="foolbox:LinfPGD").attacks == ("foolbox:LinfPGD",)


def test_plan_has_every_row_once():
    for profile in ch.PROFILES:
        plan = ch.plan(Study("chapter3", profile=profile))
        keys = [
            Row(table.name, profile, spec, {}, {}).key for table, specs in plan for spec in specs
        ]
        assert len(keys) == len(set(keys)) > 50


def test_attack_rows_of_a_run_for_one_attack_are_part_of_the_whole_plan():
    study = Study("chapter3", profile="paper")
    whole = {
        (table.name, str(sorted(spec.items()))) for table, specs in ch.plan(study) for spec in specs
    }
    one = {
        (table.name, str(sorted(spec.items())))
        for table, specs in ch.plan(study, attack="bim")
        for spec in specs
    }
    assert one < whole


def test_calibration_stays_on_its_grid_and_near_the_target(study):
    row = study.row(ch.CALIBRATED, spec("fgsm"))
    parameter, target, grid = ch.CALIBRATION["fgsm"]
    assert row.values["parameter"] == parameter
    assert row.values["value"] in grid
    tried = dict(zip(row.values["tried"], row.values["tried_accuracy"], strict=True))
    gap = {value: abs(accuracy - target) for value, accuracy in tried.items()}
    assert gap[row.values["value"]] == min(gap.values())


def test_draws_are_seeded_and_without_replacement(study):
    first, again = (measure.draw(spec("fgsm"), study, "test") for _ in range(2))
    other = measure.draw({**spec("fgsm"), "seed": 1}, study, "test")
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.labels, other.labels)
    index = tables.draw_index(spec("fgsm"), study)
    assert len(index.unique()) == len(index) == len(first.labels)
    whole = measure.data(spec("fgsm"), study).test
    assert torch.equal(whole.images[index], first.images)


def test_detection_counts_add_up(study):
    pool = tables.mixture(spec("fgsm"), study, "test", "fgsm")
    half = len(pool["adversarial"]) // 2
    assert pool["adversarial"].sum() == half
    assert (pool["plain"][:half] == pool["label"][:half]).all()
    values = study.row(ch.DETECTION, spec("fgsm", rule="hybrid")).values
    assert values["accepted"] + values["rejected"] == half == values["caught"] + values["missed"]
    for kind in ("clean", "adversarial"):
        ways = ("sure_adversarial", "sure_clean", "crops_agree", "crops_disagree")
        assert sum(values[f"{kind}_{way}"] for way in ways) == half
    assert values["clean_sure_clean"] + values["clean_crops_agree"] == values["accepted"]
    assert values["accepted_right"] <= values["accepted"]
    assert values["all_clean_right"] <= values["all_clean_accepted"] <= values["all_clean"]


def test_rules_differ_where_they_should(study):
    def values(rule: str) -> dict:
        return study.row(ch.DETECTION, spec("fgsm", rule=rule)).values

    # Of five crops never more than five agree: in between, everything is flagged.
    assert values("strict")["clean_crops_agree"] == 0
    assert values("uncertainty")["low"] == values("uncertainty")["high"]
    # Chosen on the test images themselves, thresholds can only look better there.
    best, honest = values("chosen-on-test"), values("hybrid")
    assert best["caught"] + best["accepted"] >= honest["caught"] + honest["accepted"] - 2
    # The discordant counts are what the difference in right answers is made of.
    other = values("crops")
    gain = (honest["caught"] + honest["accepted"]) - (other["caught"] + other["accepted"])
    assert gain == other["hybrid_only"] - other["this_only"]


def test_crops_alone_rule_sends_everything_to_the_crops(study):
    found = tables.rule(spec("fgsm", rule="crops"), study)
    assert found == Hybrid(0.0, float("inf"), 5)
    pool = tables.mixture(spec("fgsm"), study, "test", "fgsm")
    said = tables.flagged(found, pool)
    assert np.array_equal(said, tables.agreement(pool) < 5)


def test_sweeps_use_their_own_epsilon(study):
    small = study.row(ch.EPSILON, spec("fgsm", eps=0.05)).values
    large = study.row(ch.EPSILON, spec("fgsm", eps=0.4)).values
    assert small["fooled"] <= large["fooled"]
    assert small["low"] == large["low"]
    assert small["median_l2"] < large["median_l2"]


def test_the_attacker_who_knows_moves_all_views(study):
    found = measure.network(spec("pgd"), study)
    views = beyond.Views(found.model, torch.Generator().manual_seed(0), crops=True)
    pool = beyond.right_ones(spec("pgd"), study, 8)
    said = views(pool.images)
    assert said.shape == (len(pool.labels), 11)
    assert (said <= 1e-6).all()  # means of log-probabilities, and what they lack to 1
    # Views that differ, with a dropout that drops nothing: the loss is the mean of theirs.
    plain = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Dropout(0))
    images = 3 * torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    views = beyond.Views(plain, torch.Generator().manual_seed(0), crops=True)
    y = torch.arange(5)
    each = [plain(images), *(plain(crop) for crop in five_crops(images, ch.CROP).unbind(1))]
    expected = torch.stack([F.cross_entropy(logits, y, reduction="none") for logits in each])
    found = F.cross_entropy(views(images), y, reduction="none")
    assert torch.allclose(found, expected.mean(0), atol=1e-4)
    values = study.row(ch.ADAPTIVE, ch.about("digits", 0, knows="dropout", eps=0.3)).values
    assert values["wrong_and_accepted"] <= min(values["wrong"], values["n"])


def test_who_knows_more_can_do_what_others_do(capsys):
    def row(knows: str, *through: int) -> Row:
        bits = torch.isin(torch.arange(8), torch.tensor(through))
        values = {
            "n": 8, "wrong": 8, "flagged": 8 - len(through), "wrong_and_accepted": len(through),
            "through": packed(bits),
        }  # fmt: skip
        return Row("adaptive", "paper", ch.about("mnist", 0, knows=knows, eps=0.2), {}, values, {})

    rows = [row("nothing", 0, 1), row("dropout", 1, 2, 3), row("dropout and crops", 5)]
    found = [more_views.by_any(rows, 0.2, knows) for knows in more_views.KNOWS]
    assert [int(bits.sum()) for bits in found] == [2, 4, 5]
    assert more_views.by_any(rows, 0.3, "dropout") is None
    said = conclusions.conclusion([], [], rows)
    assert "12.5 %" in said.split("knowing dropout and crops")[0]
    assert "62.5 %" in said
    more_views.show_adaptive(rows)
    assert "by any who knows no more" in capsys.readouterr().out


def test_hypotheses_get_verdicts(capsys):
    def rule(name: str, only_hybrid: int, only_this: int) -> list[Row]:
        values = {"n": 10_000, "low": 0.01, "hybrid_only": only_hybrid, "this_only": only_this}
        return [
            Row("detection", "paper", ch.about("mnist", 0, attack=a, rule=name), {}, values, {})
            for a in ch.MAIN
        ]

    def words(name: str, *counts: int) -> set[str]:
        return {part.word for part in conclusions._rules([*hybrid, *rule(name, *counts)], name)}

    hybrid = rule("hybrid", 0, 0)
    assert words("strict", 5, 4) == {"holds"}
    assert words("strict", 90, 10) == {"contradicted"}
    assert words("shared", 210, 10) == {"holds"}  # two points
    assert words("shared", 500, 10) == {"contradicted"}
    assert words("shared", 110, 10) == {"undecided"}
    assert {part.word for part in conclusions._rules(hybrid, "strict")} == {"not computed"}
    conclusions.show_hypotheses(hybrid, [], [])
    assert "not computed" in capsys.readouterr().out


def test_verdicts_compare_with_every_printed_number(study):
    paper = papers.load("wang")
    rows = [
        Row("detection", "paper", ch.about("mnist", 0, attack=a, rule="hybrid"), {}, values, {})
        for a, values in printed().items()
    ]
    for items, table in ((verdicts.table2, "table2"), (verdicts.table3, "table3")):
        found = verdicts.compare(rows, items)
        ids = {id_ for id_ in paper.numbers if id_.startswith(f"wang/{table}/")}
        assert {v.number.id for v in found} == ids
        # The paper's own counts reproduce the paper.
        assert {v.word for v in found} == {"reproduced"}, found
    assert [v.word for v in verdicts.abstract(rows)] == ["reproduced", "reproduced"]
    elsewhere = [replace(row, spec={**row.spec, "dataset": "digits"}) for row in rows]
    assert {v.word for v in verdicts.compare(elsewhere, verdicts.table2)} == {"not comparable"}
    missing = [Missing("detection", row.spec, "make") for row in rows]
    assert {v.word for v in verdicts.compare(missing, verdicts.table2)} == {"not computed"}


def printed() -> dict[str, dict[str, int]]:
    """The paper's Table 2, with Table 3's accepted attacks that were classified right."""
    counts = {
        "fgsm": (515, 194, 4766, 4445, 11),
        "bim": (323, 28, 4928, 4633, 0),
        "jsma": (116, 66, 4893, 4843, 56),
    }
    return {
        attack: {
            "rejected": fn,
            "missed": fp,
            "caught": tn,
            "accepted": tp,
            "accepted_right": tp,
            "missed_right": right,
            "n": fn + fp + tn + tp,
        }
        for attack, (fn, fp, tn, tp, right) in counts.items()
    }


def test_claims_without_rows_are_not_computed_unless_printed_numbers_decide():
    words = {j.claim.id.split("/")[-1]: j.word for j in verdicts.claims([], [], [])}
    assert words["hybrid>parts"] == words["uncertainty-higher"] == "not computed"
    assert words["fgsm-weaker"] == "holds"
    assert words["bim-better"] == "undecided"
    assert words["jsma-equal"] == "holds"


def test_stored_rows_name_the_stored_weights():
    """Every row of the project names weights that are in the project."""
    study = Study("chapter3", compute=False, progress=False)
    folder = Path(study.weights)
    for table in study.stores[0].tables():
        for row in study.stores[0].rows(table).values():
            if "weights" in row.values:
                assert (folder / f"{row.values['weights']}.safetensors").is_file(), row


def test_tables_of_an_attack_that_the_paper_does_not_run(study, capsys):
    rows = [study.row(ch.UNDEFENDED, spec("noise"))]
    views.show_table1(rows)
    views.show_attacks(rows)
    found = [study.row(ch.DETECTION, spec("noise", rule="shared"))]
    views.show_table2(found)
    views.show_abstract(found)
    more_views.show_rules(found)
    assert conclusions.conclusion(found, [], []) == "Not computed yet."
    assert "random signs" in capsys.readouterr().out


def test_of_the_second_network_the_record_alone_ships(study, monkeypatch):
    homes = []
    monkeypatch.setattr(Study, "trained", lambda self, recipe, data, home: homes.append(home))
    for net in ("lenet", "feinman"):
        measure.network(ch.about("digits", 0, net), study)
    assert homes == [None, study.weights / "large"]


def test_commands_for_missing_rows_compute_them():
    """What a page prints for a missing row is a command whose plan has that row."""
    study = Study("chapter3", profile="paper", compute=False, exact=True, progress=False)
    specs = [(table, spec) for table, some in ch.plan(study) for spec in some]
    specs.append((ch.DETECTION, ch.about("mnist", 7, attack="foolbox:LinfPGD", rule="hybrid")))
    for table, spec in specs:
        words = study.missing(table, spec).command.split()[2:]
        parsed = parser().parse_args(words[1:])
        seeds = None if parsed.seed is None else (parsed.seed,)
        wanted = ch.plan(study, parsed.dataset, parsed.attack, seeds)
        assert any(t.name == parsed.table and spec in some for t, some in wanted), words


def test_less_confident_is_more_suspicious(study):
    row = study.row(ch.CURVE, spec("fgsm", score="confidence"))
    assert row.values["auc"] > 0.5
