"""Verdicts against hand-worked intervals, and tables that keep every number and word."""

import base64
import io
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from math import comb, hypot, sqrt

import pandas as pd
import pytest

from washout import papers, report
from washout.papers import Claim, Number


def number(value=92.9, unit="percent", n=9920, decimals=1, relation="="):
    return Number("p/t/x", value, unit, n, decimals, "Table 2", "what", relation)


def _wilson(p, n, z=1.959964):
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return center - half, center + half


def newcombe(k, n, paper):
    """The difference's interval, worked out here from Newcombe's method 10."""
    p1, p2 = k / n, paper.rate
    (l1, u1), (l2, u2) = _wilson(p1, n), _wilson(p2, paper.n)
    low = p1 - p2 - hypot(p1 - l1, u2 - p2) - paper.half_unit
    return low, p1 - p2 + hypot(u1 - p1, p2 - l2) + paper.half_unit


@pytest.mark.parametrize("k", range(8500, 9921, 20))
def test_the_rule_follows_the_interval(k):
    paper = number()
    found = report.verdict(paper, k, 9920)
    low, high = newcombe(k, 9920, paper)
    assert found.difference_interval == pytest.approx((low, high), abs=1e-5)
    difference = k / 9920 - 0.929
    if min(abs(low), abs(high)) > 1e-4:  # not on the edge
        close = "close" if abs(difference) <= 0.05 else "not reproduced"
        assert found.word == ("reproduced" if low <= 0 <= high else close)
    assert found.rate == pytest.approx(k / 9920)


def test_rounding_and_sample_size_widen_what_counts_as_reproduced():
    assert report.verdict(number(value=93, decimals=0), 9300, 10000).word == "reproduced"
    # 94.1 of 92.9 is out of the sampling error at n = 10,000, within it at n = 200.
    assert report.verdict(number(), 9410, 10000).word == "close"
    assert report.verdict(number(), 188, 200).word == "reproduced"
    # A whole percent may stand for up to half a point more.
    assert report.verdict(number(value=93.0, decimals=1), 9390, 10000).word == "close"
    assert report.verdict(number(value=93.0, decimals=0), 9390, 10000).word == "reproduced"


def test_words_that_need_no_interval():
    assert report.verdict(number(), None, None).word == "not computed"
    other = report.verdict(number(), 9290, 10000, comparable=False)
    assert other.word == "not comparable"
    assert other.difference == pytest.approx(0)


def test_a_printed_bound_is_reproduced_by_keeping_it():
    assert report.verdict(number(70, decimals=0, relation=">="), 990, 1000).word == "reproduced"
    assert report.verdict(number(70, decimals=0, relation="<="), 990, 1000).word == "not reproduced"
    assert report.verdict(number(10, decimals=0, relation="<="), 1, 1000).word == "reproduced"


@pytest.mark.parametrize(("k", "n"), [(5, None), (None, 5), (6, 5), (-1, 5), (0, 0)])
def test_impossible_counts_are_refused(k, n):
    with pytest.raises(ValueError, match="0 <= successes <= n"):
        report.verdict(number(), k, n)


CLAIM = Claim("p/claim/c", "direction", "A is higher than B.", "Section 1")


@pytest.mark.parametrize(("b", "c"), [(0, 0), (5, 0), (6, 0), (0, 6), (30, 20), (60, 30), (20, 90)])
def test_claims_follow_the_exact_sign_test(b, c):
    n, tail = b + c, min(b, c)
    p = min(1.0, 2 * sum(comb(n, i) for i in range(tail + 1)) / 2**n) if n else 1.0
    expected = "undecided" if p >= 0.05 else ("holds" if b > c else "contradicted")
    assert report.judge(CLAIM, b, c).word == expected


def test_claims_without_counts_or_with_impossible_ones():
    assert report.judge(CLAIM, None, None).word == "not computed"
    with pytest.raises(ValueError, match="two counts"):
        report.judge(CLAIM, 3, None)
    with pytest.raises(ValueError, match="two counts"):
        report.judge(CLAIM, -1, 3)


def test_equality():
    assert report.judge_equal(CLAIM, 982, 1000, 983, 1000).word == "holds"
    assert report.judge_equal(CLAIM, 900, 1000, 983, 1000).word == "contradicted"
    assert report.judge_equal(CLAIM, 9, 10, 10, 10).word == "undecided"


def test_a_claim_of_several_parts():
    yes, no, maybe = (report.judge(CLAIM, *bc) for bc in [(90, 1), (1, 90), (5, 5)])
    missing = report.judge(CLAIM, None, None)
    assert report.judge_all(CLAIM, [yes, yes]).word == "holds"
    assert report.judge_all(CLAIM, [yes, maybe]).word == "undecided"
    assert report.judge_all(CLAIM, [yes, missing]).word == "not computed"
    assert report.judge_all(CLAIM, [maybe, no, missing]).word == "contradicted"
    assert report.judge_all(CLAIM, []).word == "not computed"
    assert report.judge_all(CLAIM, [yes, maybe]).evidence.count(" pairs for") == 2


def wang():
    return report.verdicts(
        papers.load("wang"),
        [
            ("wang/table2/fgsm/DetAcc", 9216, 9920),
            ("wang/table2/fgsm/FN", 500, 4960),
            ("wang/table1/bim", 4960, 10000),
            ("wang/table1/jsma", None, None),
        ],
    )


def test_compare_reads_like_the_paper():
    table = report.compare(wang(), labels=["a", "b", "c", "d"])
    assert list(table.columns) == [
        "",
        "paper",
        "reproduced [95 % interval]",
        "difference, points",
        "verdict",
    ]
    a, b, c, d = table.itertuples(index=False, name=None)
    assert a == ("a", "92.9 %", "92.9 % [92.4, 93.4]", "0.0", "reproduced")
    assert b[1] == "515 (10.4 %)"
    assert b[2].startswith("500 (10.1 %) [")
    assert b[3] == "−0.3"
    assert c[2:4] == ("49.6 % [48.6, 50.6]", "0.0")
    assert d == ("d", "51.1 %", "–", "–", "not computed")
    with pytest.raises(ValueError, match="labels"):
        report.compare(wang(), labels=["a"])


def test_a_fraction_stays_a_fraction():
    luo = papers.load("luo2018")
    row = report.compare(report.verdicts(luo, [("luo2018/table4/L2=0.011/ours", 9870, 10000)]))
    assert row.iloc[0, 1] == "0.987"
    assert row.iloc[0, 2] == "0.987 [0.985, 0.989]"


def test_tidy_holds_plain_numbers():
    table = report.tidy(wang())
    assert table.loc[0, "rate"] == pytest.approx(9216 / 9920)
    assert table["low"][0] < table["rate"][0] < table["high"][0]
    assert pd.isna(table.loc[3, "rate"])
    assert table["verdict"].tolist() == [v.word for v in wang()]


def test_scorecard_counts_every_verdict():
    judged = [report.judge(CLAIM, 90, 1), report.judge(CLAIM, None, None)]
    table = report.scorecard({"Three": [*wang(), *judged], "Four": []})
    assert table["chapter"].tolist() == ["Three", "Four"]
    assert table.loc[0, "holds"] == 1
    assert table.loc[0, "not computed"] == 2
    assert table.loc[0].drop("chapter").sum() == 6
    assert table.loc[1].drop("chapter").sum() == 0


def test_errata_show_the_arithmetic():
    paper = papers.load("wang")
    words = report.errata(paper)
    assert "4445 / (4445 + 194) = 95.8" in words
    assert "which agrees" in words
    assert "which does not agree" in words
    assert all(erratum.text in words for erratum in paper.errata.values())


def test_one_of_many_parts_does_not_contradict_by_chance():
    """p = 0.03 contradicts alone; among five tests it is not enough, and 0.001 still is."""
    weak, strong = report.judge(CLAIM, 4, 14), report.judge(CLAIM, 2, 30)
    assert weak.word == "contradicted"
    assert 0.01 < weak.p < 0.05
    fine = report.judge(CLAIM, 90, 1)
    assert report.judge_all(CLAIM, [weak]).word == "contradicted"
    assert report.judge_all(CLAIM, [weak, *[fine] * 4]).word == "undecided"
    assert report.judge_all(CLAIM, [strong, *[fine] * 4]).word == "contradicted"
    assert report.judge_all(CLAIM, [fine] * 5).word == "holds"


def test_parts_of_parts_are_corrected_too():
    """What holds beside a weak contradiction does not lend it its p in a claim of claims."""
    weak, fine = report.judge(CLAIM, 3, 15), report.judge(CLAIM, 90, 1)
    assert weak.p < 0.05 / 6
    inner = report.judge_all(CLAIM, [weak, fine])
    assert inner.word == "contradicted"
    assert inner.p == pytest.approx(2 * weak.p)
    assert report.judge_all(CLAIM, [inner, *[fine] * 8]).word == "undecided"
    assert report.judge_all(CLAIM, [fine, fine]).p == pytest.approx(2 * fine.p)


@dataclass
class Row:
    profile: str = "paper"
    spec: dict = field(default_factory=lambda: {"attack": "fgsm", "seed": 0})
    values: dict = field(default_factory=lambda: {"n": 9920})
    run: dict = field(
        default_factory=lambda: {"device": "cuda", "commit": "abc", "finished": 1.7e9}
    )


@dataclass
class Missing:
    spec: dict
    command: str = "python -m washout results --chapter 3"


def test_provenance_names_each_thing_once():
    rows = [Row(), Row(spec={"seed": 1}, values={"n": 9912}), Missing({})]
    assert report.provenance(rows) == (
        "profile paper · cuda · n 9,912, 9,920 · seed 0, 1 · commit abc · "
        "computed 2023-11-14 · 1 of 3 rows not computed"
    )
    assert report.provenance([]) == ""
    assert report.provenance([Missing({})]) == "1 of 1 rows not computed"


class Reader(HTMLParser):
    """Collects tags, checking that each is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    assert not reader.open
    return reader


def test_the_page_holds_the_table_and_its_csv():
    table = report.compare(wang())
    html = report.table_html(
        table, caption="Paper & us", name="table2", rows=[Row()], data=report.tidy(wang())
    )
    page = read(html)
    link = next(attrs for tag, attrs in page.seen if tag == "a")
    assert link["download"] == "table2.csv"
    content = base64.b64decode(link["href"].removeprefix("data:text/csv;base64,"))
    pd.testing.assert_frame_equal(
        pd.read_csv(io.BytesIO(content)), report.tidy(wang()), check_dtype=False
    )
    text = " ".join(page.text)
    assert "profile paper" in text
    for word in table["verdict"]:
        assert word in text
    scroll = next(attrs for _, attrs in page.seen if attrs.get("role") == "region")
    assert scroll["aria-label"] == "Paper & us"
    assert "overflow-x:auto" in scroll["style"]


def test_cells_are_escaped_and_readable():
    table = pd.DataFrame({"a": ["<b>", "close"], "b": [1234, None], "c": [0.123456, -2.0]})
    page = read(report.table_html(table, caption="c", name="n"))
    text = page.text
    assert {"<b>", "1,234", "0.1235", "−2"} <= set(text)
    assert not any(tag == "b" for tag, _ in page.seen)
    assert any(attrs.get("class") == "washout-badge washout-close" for _, attrs in page.seen)


def test_numbers_do_not_break_from_their_intervals():
    html = report.table_html(report.compare(wang()), caption="c", name="n")
    assert '"washout-interval">92.9\u00a0% [92.4,\u00a093.4]<' in html
    assert "washout-wide" not in html
    claims = report.claims([report.judge(Claim("c", "direction", "long " * 9, "w"), 3, 4)])
    assert "washout-wide" in report.table_html(claims, caption="c", name="n")


def test_a_file_name_with_a_slash_is_refused():
    with pytest.raises(ValueError, match="name: got"):
        report.table_html(pd.DataFrame(), caption="c", name="../n")


def test_without_a_notebook_the_words_are_printed(capsys):
    report.not_computed("Table 2", "python -m washout results --chapter 3 --table table2")
    report.show(report.compare(wang()), caption="Caption", name="n")
    out = capsys.readouterr().out
    assert re.search(r"not computed: Table 2\n\s+python -m washout results", out)
    assert "92.9 % [92.4, 93.4]" in out
    assert "Caption" in out
