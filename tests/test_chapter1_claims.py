"""Chapter 1's claims against hand-made rows that hold, contradict or leave them open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chapter1_rows import LARGE, SMALL, WIDE, N, curve, first, missing, row, spec
from washout import papers
from washout.chapters.chapter1 import adaptive, verdicts
from washout.chapters.chapter1.paired import shortfall
from washout.store import Row


def judged(curves=(), controls=(), knowing=(), betas=()) -> dict[str, str]:
    found = verdicts.claims(curves, controls, knowing, betas)
    known = papers.load("luo2018").claims.values()
    assert [j.claim for j in found] == [c for c in known if c.kind != "argument"]
    return {j.claim.id.split("/")[-1]: j.word for j in found}


def photographs(small: dict = SMALL, large: dict = LARGE, **more) -> list[Row]:
    few = [{**one, "nodef": 2} for one in (small, {**large, "vae64s32": 80}, large)]
    return [
        *curve("nips2017", "none", [0.0], {**small, "nodef": 70}, **more),
        *curve("nips2017", "fgsm", [0.005, 0.09], small, {**large, "nodef": 25}, **more),
        *curve("nips2017", "ifgsm", [0.01043, 0.042603, 0.074035], *few, **more),
    ]


def wide(small: dict = SMALL, large: dict = LARGE, **more) -> list[Row]:
    """The rows with all controls."""
    whole = [{**one, **WIDE, **BETAS[i]} for i, one in enumerate((small, large))]
    return [
        *curve("nips2017", "none", [0.0], {**whole[0], "nodef": 95}, **more),
        *curve("nips2017", "fgsm", [0.005, 0.09], *whole, **more),
    ]


# At the smallest and at the largest perturbation.
BETAS = ({"beta0.01": 90, "beta0.1": 80, "beta1": 60}, {"beta0.01": 20, "beta0.1": 80, "beta1": 50})


def test_without_rows_nothing_is_computed():
    assert set(judged().values()) == {"not computed"}
    gone = [*photographs(), *curve("mnist", "fgsm", [0.005, 0.12], {}, {})]
    assert set(judged([missing(r) for r in gone]).values()) == {"not computed"}


def test_mnist_needs_both_attacks():
    small, large = {"ours": 1, "jpeg23": 90}, {"ours": 80, "jpeg23": 50}
    fgsm = curve("mnist", "fgsm", [0.005, 0.12], small, large)
    assert judged(fgsm)["mnist"] == "not computed"

    def found(last: dict[str, int], **more):
        rows = curve("mnist", "ifgsm", [0.005, 0.12], small, last, **more)
        return verdicts.claims([*fgsm, *rows], (), (), ())[0]

    assert found(large).word == "holds"
    assert found(large).evidence == (
        "MNIST, FGSM, L2 0.120: VAE over JPEG 23 30 to 0, +30.0 points; "
        "MNIST, I-FGSM, L2 0.120: VAE over JPEG 23 30 to 0, +30.0 points; beside them "
        "MNIST, FGSM, L2 0.005: VAE over JPEG 23 0 to 89, −89.0 points; "
        "MNIST, I-FGSM, L2 0.005: VAE over JPEG 23 0 to 89, −89.0 points"
    )
    assert found({"ours": 52, "jpeg23": 50}).word == "undecided"
    said = found({"ours": 52, "jpeg23": 50}).evidence.split("; beside")[0]
    assert said.endswith("2 to 0, +2.0 points (undecided)")
    assert found({"ours": 20, "jpeg23": 50}).word == "contradicted"


def test_rows_of_other_seeds_and_networks_are_left_out():
    good, bad = {"ours": 80, "jpeg23": 50}, {"ours": 50, "jpeg23": 80}
    both = [curve("mnist", name, [0.005, 0.12], good, good) for name in ("fgsm", "ifgsm")]
    more = [
        *curve("mnist", "fgsm", [0.005, 0.12], bad, bad, seed=1),
        *curve("mnist", "fgsm", [0.005, 0.5], bad, bad, net="cnn-long"),
    ]
    assert judged([*both[0], *both[1], *more])["mnist"] == "holds"


def test_cifar():
    small = {"ours": 70, "jpeg23": 60, "jpeg10": 40}
    large = {"ours": 30, "jpeg23": 20, "jpeg10": 40}
    rows = curve("cifar10", "fgsm", [0.1, 0.005], large, small)  # in any order
    assert judged(rows)["cifar"] == "holds"
    assert judged([rows[0], missing(rows[1])])["cifar"] == "not computed"
    swapped = curve("cifar10", "fgsm", [0.005, 0.1], large, small)
    assert judged(swapped)["cifar"] == "contradicted"


ABOUT_PHOTOGRAPHS = (
    "nips-fgsm", "nips-ifgsm", "ens-small", "smoothing", "stride", "patch",
    "ifgsm-stronger", "best-jpeg", "fidelity-tradeoff",
)  # fmt: skip


@pytest.mark.parametrize("net", ["inception_v3", "mobilenet_v2"])
def test_photographs_that_do_what_the_paper_says(net):
    found = judged(photographs(net=net), wide(net=net))
    assert {name: found[name] for name in ABOUT_PHOTOGRAPHS} == dict.fromkeys(
        ABOUT_PHOTOGRAPHS, "holds"
    )


def test_photographs_that_do_the_opposite():
    found = judged(photographs(LARGE, SMALL))
    for name in ("nips-fgsm", "ens-small", "patch"):
        assert found[name] == "contradicted", name
    blurry = wide(large={**LARGE, "vae64s64": 1})
    assert judged(controls=blurry)["smoothing"] == "contradicted"
    assert judged(controls=wide())["smoothing"] == "holds"
    same = {**SMALL, "vae64s32": 60}
    assert judged(photographs(same))["stride"] == "undecided"


@pytest.mark.parametrize(
    ("table", "index", "names"),
    [
        ("curves", 0, {"stride"}),
        ("curves", 1, {"nips-fgsm", "ens-small", "patch", "ifgsm-stronger"}),
        ("curves", 4, {"nips-ifgsm", "ifgsm-stronger", "best-jpeg"}),
        ("controls", 0, {"smoothing"}),
        ("controls", 2, {"smoothing", "fidelity-tradeoff"}),
    ],
)
def test_a_missing_row_takes_the_claims_that_need_it_and_no_other(table, index, names):
    rows: dict[str, list] = {"curves": photographs(), "controls": wide()}
    whole = judged(**rows)
    rows[table][index] = missing(rows[table][index])
    found = judged(**rows)
    assert {name for name in found if found[name] != whole[name]} == names
    assert {found[name] for name in names} == {"not computed"}


def test_one_row_is_not_the_smallest_and_the_largest():
    found = judged(photographs()[:2])
    assert found["patch"] == found["nips-fgsm"] == "not computed"


def test_iterated_is_stronger_by_images_over_all_epsilons():
    def both(single: tuple[int, int], iterated: tuple[int, int]) -> list[Row]:
        return [
            found
            for attack, counts in (("fgsm", single), ("ifgsm", iterated))
            for found in curve("cifar10", attack, [0.005, 0.1], *({"nodef": k} for k in counts))
        ]

    assert judged(both((60, 10), (40, 8)))["ifgsm-stronger"] == "holds"
    assert judged(both((60, 10), (60, 8)))["ifgsm-stronger"] == "undecided"
    assert judged(both((40, 10), (60, 10)))["ifgsm-stronger"] == "contradicted"
    # Twenty images more at one epsilon, the same twenty fewer at the other: ties.
    assert judged(both((60, 40), (40, 60)))["ifgsm-stronger"] == "undecided"


def test_i_fgsm_by_size_meets_an_fgsm_that_moves_at_least_as_far():
    rows = curve("nips2017", "fgsm", [0.005, 0.09], SMALL, {**LARGE, "nodef": 70})
    rows = [
        replace(r, values={**r.values, "l2": l2}) for r, l2 in zip(rows, (0.01, 0.167), strict=True)
    ]
    rows += curve("nips2017", "ifgsm", [0.01043, 0.02], *[{**SMALL, "nodef": 40}] * 2)
    # Both are nearer to the first row, whose 20 are fewer than 40, but it moves images less.
    assert judged(rows)["ifgsm-stronger"] == "holds"


def test_fidelity_reads_the_betas_that_are_there():
    small, large = BETAS
    rows = curve("mnist", "fgsm", [0.005, 0.12], small, large)
    assert judged(rows)["fidelity-tradeoff"] == "holds"
    opposite = curve("mnist", "fgsm", [0.005, 0.12], large, small)
    assert judged(opposite)["fidelity-tradeoff"] == "contradicted"
    alone = curve("mnist", "fgsm", [0.005, 0.12], {"beta1": 60}, {"beta1": 50})
    assert judged(alone)["fidelity-tradeoff"] == "not computed"
    # NIPS 2017's are among the controls; without them the claim waits.
    assert judged([*rows, *photographs()])["fidelity-tradeoff"] == "not computed"
    assert judged([*rows, *photographs()], wide())["fidelity-tradeoff"] == "holds"


def knower(defense: str, count: int, eps: float = 0.05, **more) -> Row:
    about = spec("mnist", defense=defense, knows="defense", eps=eps, **more)
    values = {"n": N, "correct": count, "right": first(count), "share": first(count)}
    return Row("knowing", "paper", about, {}, values, {})


def test_randomness_by_who_knows_the_defense():
    rows = [knower("vae", 40), knower("vae-mean", 10), knower("vae", 5, 0.12),
            knower("vae-mean", 5, 0.12)]  # fmt: skip
    checks = [knower("vae", 0, 0.5), knower("vae", 0, longer=2), knower("jpeg23", 90)]
    assert judged(knowing=[*rows, *checks])["randomness"] == "holds"
    assert judged(knowing=[knower("vae", 10), knower("vae-mean", 40)])["randomness"] == (
        "contradicted"
    )
    assert judged(knowing=[knower("vae", 10), knower("vae-mean", 12)])["randomness"] == "undecided"
    assert judged(knowing=rows[:3])["randomness"] == "not computed"
    assert judged(knowing=[rows[0], missing(rows[1])])["randomness"] == "not computed"


@pytest.mark.parametrize(
    ("ours", "n", "word"),
    [
        (600, 1000, "holds"),
        (480, 1000, "holds"),
        (450, 1000, "undecided"),
        (400, 1000, "contradicted"),
        (48, 100, "undecided"),
    ],
)
def test_closely_matched_is_five_points_at_most(ours, n, word):
    right = {"ours": ours, "jpeg10": n // 2, "jpeg23": n // 2, "nodef": 1}

    def two(attack: str) -> list[Row]:
        columns = {name: first(count, n) for name, count in right.items()}
        return [row(spec("mnist", attack, eps=eps), columns, eps) for eps in (0.005, 0.12)]

    assert judged([*two("fgsm"), *two("ifgsm")])["best-jpeg"] == word
    assert judged(two("fgsm"))["best-jpeg"] in ("not computed", "contradicted")


def test_a_smaller_beta_redraws_more_faithfully():
    def beta(size: int, beta_: float, mse: float) -> Row:
        about = spec("nips2017", size=size, beta=beta_)
        kept = {"correct": 90, "clean_correct": 100}
        return Row("beta", "paper", about, {}, {"n": N, "mse": mse, **kept}, {})

    fine = (1.0, 0.3, 0.1, 0.03)
    rows = [beta(size, b, 0.01 * b) for size in (16, 32) for b in fine]
    assert judged(betas=rows)["disentangled"] == "holds"  # 6 of 6 steps
    assert judged(betas=rows[:4])["disentangled"] == "undecided"  # 3 of 3
    assert judged(betas=[missing(rows[0]), *rows[1:]])["disentangled"] == "not computed"
    upside = [beta(size, b, 1 - b) for size in (16, 32) for b in fine]
    assert judged(betas=upside)["disentangled"] == "contradicted"


def test_of_several_patch_sizes_one_that_keeps_too_little_is_named():
    def beta(size: int, kept: int) -> Row:
        values = {"n": N, "correct": kept, "clean_correct": 100, "mse": 0.1}
        return Row("beta", "paper", spec("nips2017", size=size, beta=0.1), {}, values, {})

    fine = [beta(size, 95) for size in (16, 32, 64)]
    assert shortfall(fine, "nips2017") == ""
    assert "for 32 pixels 50 %, the paper's about 84 %" in shortfall(
        [fine[0], beta(32, 50), fine[2]], "nips2017"
    )


def test_a_weaker_vae_decides_no_claim_about_the_papers():
    better = {"ours": 90, "jpeg23": 60, "jpeg10": 50}
    rows = curve("mnist", "fgsm", [0.005, 0.12], better, better)
    rows += curve("mnist", "ifgsm", [0.005, 0.12], better, better)
    for kept, word in ((99, "holds"), (60, "undecided")):
        values = {"n": N, "correct": kept, "clean_correct": 100, "mse": 0.1}
        betas = [Row("beta", "paper", spec("mnist", size=28, beta=0.1), {}, values, {})]
        assert judged(rows, betas=betas)["mnist"] == word
    worse = {"ours": 10, "jpeg23": 60}
    rows = curve("cifar10", "fgsm", [0.005, 0.1], worse, {**worse, "jpeg10": 60})
    for kept, word in ((84, "contradicted"), (40, "undecided")):
        values = {"n": N, "correct": kept, "clean_correct": 100, "mse": 0.1}
        betas = [Row("beta", "paper", spec("cifar10", size=32, beta=0.1), {}, values, {})]
        assert judged(rows, betas=betas)["cifar"] == word
        assert bool(shortfall(betas, "cifar10")) == (word == "undecided")
        number = verdicts.table5(rows, betas)[-1]
        assert (number.word == "not comparable") == (word == "undecided")
    assert shortfall([], "cifar10") == ""


def test_a_claim_without_a_vae_is_contradicted_all_the_same():
    values = {"n": N, "correct": 10, "clean_correct": 100, "mse": 0.1}
    betas = [Row("beta", "paper", spec("nips2017", size=64, beta=0.1), {}, values, {})]
    assert judged(photographs(LARGE, SMALL), betas=betas)["nips-fgsm"] == "contradicted"
    assert judged(photographs(LARGE, SMALL), betas=betas)["patch"] == "undecided"


def test_what_no_attack_breaks_is_named():
    rows = [knower("nodef", 40), knower("jpeg23", 90), knower("jpeg23", 60, restarts=5)]
    rows += [knower("vae", 30), knower("nodef", 0, 0.5), knower("jpeg23", 9, 0.5)]
    for one in rows:
        one.values.update(mean_correct=float(one.values["correct"]), steps=20)
    said = adaptive.unbroken(rows)
    assert f"MNIST, JPEG 23, ε 0.05: {60 / N:.2f} against {40 / N:.2f}" in said
    assert "by PGD, 20 steps, 5 starts, so that the attack may not be at its end" in said
    assert "VAE" not in said
    assert adaptive.unbroken(rows[:1]).startswith("No defense keeps more")
