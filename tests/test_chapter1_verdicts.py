"""Chapter 1's verdicts against hand-made rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chapter1_rows import first, missing, row, spec
from washout import papers
from washout.chapters.chapter1 import verdicts
from washout.chapters.chapter1.settings import EPS, L2
from washout.metrics import paired_interval
from washout.store import Row
from washout.study import Missing

TABLES = {
    4: ("mnist", "fgsm", verdicts.table4),
    5: ("cifar10", "fgsm", verdicts.table5),
    6: ("nips2017", "fgsm", verdicts.table6),
    7: ("nips2017", "ifgsm", verdicts.table7),
}
NUMBERS = papers.load("luo2018").numbers


def printed(table: int, net: str = "", seed: int = 0) -> list[Row]:
    """Rows that are the paper's own table."""
    dataset, attack, _ = TABLES[table]
    kind, labels = ("l2", L2) if table == 7 else ("eps", EPS)
    rows = []
    for size, label in labels[dataset].items():
        line = f"luo2018/table{table}/L2={label}/"
        cells = {id_.removeprefix(line): v for id_, v in NUMBERS.items() if id_.startswith(line)}
        right = {name: first(round(cell.rate * cell.n), cell.n) for name, cell in cells.items()}
        about = spec(dataset, attack, seed, net, **{kind: size})
        rows.append(row(about, right, float(label)))
    return rows


# ---- numbers -----------------------------------------------------------------------------------
@pytest.mark.parametrize("table", TABLES)
def test_the_paper_reproduces_itself_in_every_cell(table):
    rows = printed(table)
    found = TABLES[table][2](rows, [])
    ids = {id_ for id_ in NUMBERS if id_.startswith(f"luo2018/table{table}/")}
    assert {v.number.id for v in found} == ids
    assert len(found) == len(ids)
    assert {v.word for v in found} == {"reproduced"}
    assert all(v.difference == pytest.approx(0, abs=1e-9) for v in found)
    gone = TABLES[table][2]([missing(r) for r in rows], [])
    assert [v.number.id for v in gone] == [v.number.id for v in found]
    assert {v.word for v in gone} == {"not computed"}


def test_other_rows_are_not_the_papers():
    rows = printed(4)
    longer = [replace(r, spec={**r.spec, "net": "cnn-long"}) for r in rows]
    bundled = [replace(r, spec={**r.spec, "dataset": "digits", "eps": 0.05}) for r in rows[:1]]
    five = [replace(r, spec={**r.spec, "attack": "ifgsm"}) for r in rows]
    assert verdicts.table4([*longer, *bundled, *five], []) == []
    assert verdicts.table5(rows, []) == verdicts.table6([], []) == []
    assert len(verdicts.table4([*rows, *printed(4, seed=1), *longer], [])) == 18
    elsewhere = [replace(rows[0], spec={**rows[0].spec, "eps": 0.3})]
    assert verdicts.table4(elsewhere, []) == []


@pytest.mark.parametrize(
    ("net", "word"), [("inception_v3", "reproduced"), ("mobilenet_v2", "not comparable")]
)
def test_photographs_compare_under_the_papers_classifier_alone(net, word):
    assert {v.word for v in verdicts.table6(printed(6, net), [])} == {word}
    assert {v.word for v in verdicts.table7(printed(7, net), [])} == {word}
    clean = Row("baseline", "paper", spec("nips2017", net=net), {}, {"n": 1000, "correct": 945})
    assert {v.word for v in verdicts.baseline([clean])} == {word}


def test_baselines():
    rows: list = [
        Row("baseline", "paper", spec("mnist"), {}, {"n": 10_000, "correct": 9904}),
        Row("baseline", "paper", spec("mnist", seed=1), {}, {"n": 10_000, "correct": 9000}),
        Missing("baseline", spec("cifar10"), "make"),
        Row("baseline", "paper", spec("cifar10", net="cnn-long"), {}, {"n": 10_000, "correct": 1}),
        Row("baseline", "paper", spec("digits"), {}, {"n": 300, "correct": 290}),
    ]
    found = {v.number.id.split("/")[-1]: v.word for v in verdicts.baseline(rows)}
    assert found == {"mnist": "reproduced", "cifar": "not computed"}


# ---- pairs -------------------------------------------------------------------------------------
def test_pairs_count_the_images_that_one_alone_gets_right():
    one = row(spec("mnist", "fgsm", eps=0.1), {"a": [1, 1, 0, 0, 1], "b": [1, 0, 1, 0, 0]})
    other = row(spec("mnist", "ifgsm", eps=0.1), {"c": [0, 0, 0, 0, 0]})
    assert verdicts.pairs(one, "a", one, "b") == (2, 1)
    assert verdicts.pairs(one, "b", other, "c") == (2, 0)


@pytest.mark.parametrize("change", [{"seed": 1}, {"dataset": "digits"}, {"net": "cnn-long"}])
def test_pairs_need_the_same_images(change):
    one = row(spec("mnist", "fgsm", eps=0.1), {"a": first(3)})
    with pytest.raises(ValueError, match="the same n, dataset, net, seed"):
        verdicts.pairs(one, "a", replace(one, spec={**one.spec, **change}), "a")
    with pytest.raises(ValueError, match=r"n=100.*n=50"):
        verdicts.pairs(one, "a", row(one.spec, {"a": first(3, 50)}), "a")
    with pytest.raises(ValueError, match="column: got 'b'; allowed are a"):
        verdicts.pairs(one, "a", one, "b")


def test_the_best_quality_is_scored_on_images_that_did_not_choose_it():
    # Even images 0 2 4 6, odd images 1 3 5 7: quality 10 is right on even ones, 50 on odd ones.
    right = {
        "nodef": [0] * 8,
        "jpeg10": [1, 0, 1, 0, 1, 0, 1, 0],
        "jpeg50": [1, 1, 0, 1, 0, 1, 0, 0],
        "jpeg10-soft": [1] * 8,
    }
    found = verdicts.best_quality(row(spec("mnist", "fgsm", eps=0.1), right))
    # Odd images choose 50 for the even ones (1 of 4 right), even ones choose 10 (0 of 4).
    assert found[:3] == (1, 8, (50, 10))
    assert found.bits.tolist() == [True] + [False] * 7
    equal = {"jpeg10": [1, 1], "jpeg50": [1, 1]}
    assert verdicts.best_quality(row(spec("mnist", "none"), equal)).qualities == (50, 50)
    with pytest.raises(ValueError, match="columns such as jpeg23"):
        verdicts.best_quality(row(spec("mnist", "none"), {"ours": [1, 0]}))


def test_paired_interval_by_hand():
    # Agresti & Min: (10.5 - 4.5) / 102, and the root of 15 - 36 / 102 over 102.
    low, high = paired_interval(10, 4, 100)
    assert low == pytest.approx(6 / 102 - 1.959964 * (15 - 36 / 102) ** 0.5 / 102)
    assert high == pytest.approx(6 / 102 + 1.959964 * (15 - 36 / 102) ** 0.5 / 102)
    assert paired_interval(0, 0, 5)[0] < 0 < paired_interval(0, 0, 5)[1]


def test_everything_for_the_scorecard():
    curves = [r for table in TABLES for r in printed(table)]
    found = verdicts.all_verdicts([], [missing(r) for r in curves], [], [], [])
    paper = papers.load("luo2018")
    judged = [claim for claim in paper.claims.values() if claim.kind != "argument"]
    assert len(found) == len(paper.numbers) - 3 + len(judged)
    assert {v.word for v in found} == {"not computed"}
