"""The papers' files: whole, consistent with themselves, and clear about wrong ids."""

import pytest

from washout import papers

EXPECTED = {"luo2018": 1, "tan2019": 2, "wang": 3, "xiong": 4}


def test_names_follow_the_chapters():
    assert papers.names() == tuple(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_paper_is_complete(name):
    paper = papers.load(name)
    assert paper.chapter == EXPECTED[name]
    assert paper.title
    assert paper.authors
    assert paper.summary.endswith(".")
    assert len(paper.numbers) > 10
    assert len(paper.claims) > 5
    for id_, number in paper.numbers.items():
        assert number.id == id_
        assert 0 <= number.rate <= 1
        assert number.what
        assert number.where
    assert all(id_.startswith(f"{name}/claim/") for id_ in paper.claims)
    assert all(link.startswith("https://") for link in paper.links.values())


def test_decimals_come_from_how_a_number_is_written():
    wang = papers.load("wang").numbers
    assert wang["wang/table1/fgsm"].decimals == 1
    assert wang["wang/table1/fgsm"].half_unit == pytest.approx(0.0005)
    assert wang["wang/baseline/clean"].half_unit == pytest.approx(0.005)
    assert wang["wang/table2/fgsm/FN"].half_unit == 0
    # The paper drops trailing zeros in this column; 0.75 stands among three-decimal numbers.
    luo = papers.load("luo2018").numbers["luo2018/table6/L2=0.023/vae64s64"]
    assert (luo.value, luo.decimals, luo.half_unit) == (0.75, 3, 0.0005)


@pytest.mark.parametrize("source", ["wang", "alshemali2019"])
@pytest.mark.parametrize("attack", ["fgsm", "bim", "jsma"])
def test_the_counts_of_table_2_fit_their_sizes_and_detection_accuracy(source, attack):
    numbers = papers.load("wang").numbers
    cell = {name: numbers[f"{source}/table2/{attack}/{name}"] for name in ("FN", "FP", "TN", "TP")}
    assert cell["TP"].n == cell["FN"].n == cell["TP"].value + cell["FN"].value
    assert cell["TN"].n == cell["FP"].n == cell["TN"].value + cell["FP"].value
    detection = numbers[f"{source}/table2/{attack}/DetAcc"]
    assert detection.n == sum(number.value for number in cell.values())
    rate = (cell["TP"].value + cell["TN"].value) / detection.n
    assert detection.rate == pytest.approx(rate, abs=0.001)
    accepted = cell["TP"].value + cell["FP"].value
    table3 = [n for id_, n in numbers.items() if id_.startswith(f"{source}/table3/{attack}/")]
    assert len(table3) == 5
    assert {number.n for number in table3} == {accepted}


def test_both_works_print_the_same_cells():
    wang = papers.load("wang").numbers
    own = {id_.split("/", 1)[1] for id_ in wang if id_.startswith("wang/")}
    original = {id_.split("/", 1)[1] for id_ in wang if id_.startswith("alshemali2019/")}
    assert own - original == {"baseline/clean"}
    assert len(original) == 35


def test_the_positive_class_is_clean():
    checks = papers.load("wang").errata["wang/erratum/positive-class"].checks
    assert checks[0].expression == "4445 / (4445 + 194)"
    assert [check.agrees for check in checks] == [True, False, True, False]


def test_table_1_implies_the_adversarial_accuracies():
    checks = papers.load("wang").errata["wang/erratum/clean-accuracy"].checks
    assert [round(check.value, 1) for check in checks] == [99.2, 99.1, 99.2, 17.8, 0.0, 3.0]
    assert checks[3].expression == "58.5 + 58.5 − 99.2"
    assert [check.agrees for check in checks] == [False] * 3 + [None] * 3


def test_a_wrong_id_names_near_ones():
    paper = papers.load("wang")
    with pytest.raises(ValueError, match="wang/table1/fgsm"):
        paper.numbers["wang/table1/fsgm"]
    with pytest.raises(ValueError, match="wang/claim/C5-best"):
        paper.claims["wang/claim/C5"]
    with pytest.raises(ValueError, match="allowed are luo2018, tan2019, wang, xiong"):
        papers.load("wong")


HEAD = 'title="t"\nauthors=["a"]\nchapter=1\nsummary="s."\nvenue="v"\n'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('unit="degrees"\nn=1\n[table.numbers]\n"a/b"=1', "unit of a/b"),
        ('unit="percent"\nn=10\n[table.numbers]\n"a/b"=101', "allowed are rates"),
        ('unit="count"\nn=0.5\n[table.numbers]\n"a/b"=0', "n of a/b: got 0.5"),
        ('unit="count"\nn=5\nrelation=">"\n[table.numbers]\n"a/b"=0', "relation of a/b"),
    ],
)
def test_a_file_that_breaks_a_rule_says_which(body, message):
    with pytest.raises(ValueError, match=message):
        papers.parse(f'{HEAD}[[table]]\nwhere="w"\nwhat="x"\n{body}\n', "x")


def test_an_id_may_stand_once():
    table = '[[table]]\nwhere="w"\nwhat="x"\nunit="count"\nn=5\n[table.numbers]\n"a/b"=1\n'
    with pytest.raises(ValueError, match="twice"):
        papers.parse(HEAD + table + table, "x")
