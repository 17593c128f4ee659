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


def checks(erratum: str) -> list[float]:
    """What the arithmetic of one of chapter 1's errata gives."""
    found = papers.load("luo2018").errata[f"luo2018/erratum/{erratum}"].checks
    return [round(check.value, 2) for check in found]


def test_luo_and_pfister_errata_are_what_their_numbers_say():
    assert checks("factor-ten")[0] == 10.0
    assert checks("ensemble-quality") == [7.7, -1.5]
    assert checks("margin") == [6.5, 3.8, 2.4, 4.1, 3.2]
    assert checks("consistent-mnist")[:2] == [-0.1, -0.1]
    assert checks("four-models") == [3.0, 0.5]
    assert checks("rising") == [4.0, -13.0]
    assert checks("epsilons")[:2] == [2.14, 2.2]
    # A row that the equal steps of Table 6 lead through is not printed.
    assert checks("epsilons")[3] == pytest.approx(2 * checks("epsilons")[2], abs=0.15)
    assert checks("two-rows")[0] == 71.4
    assert checks("small-patches") == [0.0, -0.8, -0.7, 2.0]
    first = papers.load("luo2018").errata["luo2018/erratum/margin"].checks[0]
    assert (first.expression, first.agrees) == ("(0.709 − 0.644) / 0.01", None)


def test_what_luo_and_pfister_call_significant_is_less_than_a_standard_error():
    numbers = papers.load("luo2018").numbers
    cells = [numbers[f"luo2018/table6/L2=0.010/{column}"] for column in ("jpeg23", "ens")]
    error = 100 * sum(cell.rate * (1 - cell.rate) / cell.n for cell in cells) ** 0.5
    assert round(error, 1) == 1.6
    assert 0 < checks("significant")[0] < error


def test_the_better_of_two_qualities_is_never_left_far_behind():
    numbers = papers.load("luo2018").numbers
    gaps = []
    for id_, number in numbers.items():
        if id_.startswith("luo2018/table6/") and id_.endswith("/vae64s64"):
            others = [numbers[id_.replace("vae64s64", f"jpeg{q}")].value for q in (10, 23)]
            gaps.append(round(100 * (number.value - max(others)), 1))
    assert gaps == checks("best-quality")
    assert max(gaps) == 1.5


def test_luo_and_pfister_settings_say_what_is_not_printed():
    paper = papers.load("luo2018")
    assert {"beta", "latent size", "VAE epochs", "strides", "smoothing filter"} <= set(
        paper.settings
    )
    assert sum("not printed" in value for value in paper.settings.values()) > 10
    assert all(id_.startswith("luo2018/erratum/") for id_ in paper.errata)
    assert all(e.text.endswith(".") and e.where for e in paper.errata.values())
    assert len(paper.errata) >= 18


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
