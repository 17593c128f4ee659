"""Chapter 2's claims and verdicts against hand-made rows that hold, contradict or leave open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from washout import papers
from washout.chapters.bits import packed, packed_floats, unpacked
from washout.chapters.chapter2 import columns, verdicts
from washout.chapters.chapter2.errors import by_chance, entropy, matched
from washout.chapters.chapter2.grid import PRINTED, WORDS, Grid, above, oftener
from washout.store import Row
from washout.study import Missing

N = 200
NETS = {"mnist": "lenet", "cifar10": "densenet"}
# As the paper tells it: share of images read rightly.
PAPER = {
    "none": 0.0, "jpeg": 0.95, "gauss": 0.5, "kmeans": 0.7, "tvm": 0.85,
    "vqvae0": 0.15, "vqvae0.25": 0.3, "vqvae0.75": 0.45,
}  # fmt: skip


def cell(dataset, attack, defense, share, n=N, net="", **more) -> Row:
    """The first images are right."""
    bits = torch.arange(n) < round(share * n)
    names = dict(zip(WORDS, columns(dataset), strict=True))
    spec = {
        "dataset": dataset, "net": net or NETS[dataset], "seed": 0,
        "attack": PRINTED.get(attack, attack), "defense": names.get(defense, defense), **more,
    }  # fmt: skip
    confusion = np.diag([int(bits.sum()) // 10] * 10).tolist()
    values = {"n": n, "correct": int(bits.sum()), "right": packed(bits), "confusion": confusion}
    return Row("cell", "paper", spec, {}, values, {})


def grid(change=None, n=N) -> list[Row]:
    """Every cell of the table; ``change(dataset, attack, defense)`` may give another share."""
    rows = []
    for dataset, lower in (("mnist", 0.0), ("cifar10", 0.1)):
        rows += [cell(dataset, "none", d, 0.98 - lower, n) for d in WORDS]
        for attack in PRINTED:
            for defense in WORDS:
                share = PAPER[defense] - (lower if defense != "none" else 0)
                if dataset == "cifar10":
                    share = {"tvm": 0.8, "jpeg": 0.7, "vqvae0": 0.05, "vqvae0.25": 0.05,
                             "vqvae0.75": 0.05}.get(defense, share)  # fmt: skip
                share = 0.03 if attack == "deepfool" and defense != "none" else share
                if attack == "pgd" and defense != "none":
                    share = min(share + 0.05, 1.0)
                other = change(dataset, attack, defense) if change else None
                rows.append(cell(dataset, attack, defense, share if other is None else other, n))
    return rows


def judged(cells=(), attacks=(), vqs=()) -> dict[str, str]:
    found = verdicts.claims(cells, attacks, vqs)
    assert [j.claim for j in found] == list(papers.load("tan2019").claims.values())
    return {j.claim.id.split("/")[-1]: j.word for j in found}


def test_without_rows_nothing_is_computed():
    found = judged()
    assert set(found.values()) == {"not computed"}


def test_the_paper_as_told_holds():
    found = judged(grid())
    for name in ("jpeg-best-mnist", "tvm-best-cifar", "tvm-gap", "deepfool-hardest",
                 "pgd-easiest", "all-improve"):  # fmt: skip
        assert found[name] == "holds", name


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("jpeg-best-mnist", lambda s, a, d: 1.0 if d == "gauss" else None),
        ("tvm-best-cifar", lambda s, a, d: 1.0 if d == "gauss" else None),
        ("tvm-gap", lambda s, a, d: 0.3 if d == "tvm" else None),
        ("deepfool-hardest", lambda s, a, d: 0.5 if (a, d) == ("deepfool", "jpeg") else None),
        ("pgd-easiest", lambda s, a, d: 0.99 if a == "cw" and d != "none" else None),
        ("all-improve", lambda s, a, d: 0.5 if d == "none" else None),
        ("rank", lambda s, a, d: 0.99 if d == "vqvae0" else None),
        ("mnist>cifar", lambda s, a, d: 0.99 if (s, d) == ("cifar10", "kmeans") else None),
        ("vq-noise-mnist", lambda s, a, d: 0.01 if d == "vqvae0.75" else None),
    ],
)  # fmt: skip
def test_the_opposite_is_contradicted(claim, change):
    assert judged(grid(change))[claim] == "contradicted"


def test_a_missing_cell_leaves_a_claim_open():
    rows = [r for r in grid() if r.spec["defense"] != "tvm"]
    found = judged(rows)
    for name in ("jpeg-best-mnist", "tvm-best-cifar", "tvm-gap", "all-improve"):
        assert found[name] == "not computed", name


def test_few_images_leave_a_claim_undecided():
    assert judged(grid(n=4))["tvm-best-cifar"] == "undecided"


def test_attacks_on_fewer_images_are_compared_on_the_first():
    rows = [cell("mnist", "cw", "jpeg", 1.0, n=50), cell("mnist", "pgd", "jpeg", 0.25)]
    found = Grid(rows)
    claim = papers.load("tan2019").claims["tan2019/claim/pgd-easiest"]
    part = oftener(claim, "", *(found.bits("mnist", a, "jpeg") for a in ("cw", "pgd")))
    assert part.word == "undecided"  # the first 50 are right in both
    assert "n 50: 0 to 0" in part.evidence


def test_jpeg_is_flat_if_all_qualities_agree():
    flat = [
        cell("mnist", a, f"jpeg{q}", 0.9, 5000)
        for a in ("fgsm", "pgd")
        for q in (25, 50, 75, 90, 95)
    ]
    assert judged(flat)["jpeg-insensitive"] == "holds"
    steep = [*flat, cell("mnist", "fgsm", "jpeg25", 0.2, 5000)]
    assert judged(steep)["jpeg-insensitive"] == "contradicted"


def test_clusters_have_an_optimum_in_between():
    rows = [
        cell("mnist", a, d, share)
        for a in ("fgsm", "pgd")
        for d, share in (("kmeans", 0.9), ("kmeans4-rows", 0.2), ("kmeans27-rows", 0.5))
    ]
    assert judged(rows)["kmeans-sensitive"] == "holds"
    rows += [cell("mnist", "fgsm", "kmeans27-rows", 1.0)]
    assert judged(rows)["kmeans-sensitive"] == "contradicted"


def attack(label: str, l2: float, linf: float) -> Row:
    spec = {"dataset": "mnist", "net": "lenet", "seed": 0, "attack": PRINTED[label]}
    bits, sizes = packed(torch.ones(9, dtype=torch.bool)), {"l2": l2, "linf": linf}
    sizes = {norm: packed_floats(torch.full((9,), size)) for norm, size in sizes.items()}
    values = {"n": 9, "right": bits, "success": bits, "sizes": sizes}
    return Row("attack", "paper", spec, {}, values, {})


def test_visibility_goes_by_distance():
    seen = [attack("pgd", 1.0, 0.1), attack("cw", 2.0, 0.2), attack("fgsm", 3.0, 0.3)]
    assert judged(attacks=[*seen, attack("deepfool", 9.0, 0.9)])["visual"] == "holds"
    assert judged(attacks=[*seen, attack("deepfool", 0.5, 0.05)])["visual"] == "contradicted"
    # Two stand-ins for the eye that disagree.
    assert judged(attacks=[*seen, attack("deepfool", 0.5, 0.9)])["visual"] == "undecided"


def vq(noise: str, mse: float) -> Row:
    spec = {"dataset": "mnist", "net": "lenet", "seed": 0, "noise": noise}
    values = {"mse": mse, "n": 100, "correct": 90, "perplexity": 200.0}
    return Row("vqvae", "paper", spec, {}, values, {})


def test_blur_grows_with_noise():
    rising = [vq("0", 0.1), vq("0.25", 0.2), vq("0.75", 0.3)]
    assert judged(vqs=rising)["vq-noise-recon"] == "holds"
    assert judged(vqs=[*rising[:2], vq("0.75", 0.15)])["vq-noise-recon"] == "contradicted"
    # Another training may well differ by as much.
    assert judged(vqs=[*rising[:2], vq("0.75", 0.202)])["vq-noise-recon"] == "undecided"
    larger = replace(rising[0], spec={**rising[0].spec, "hidden": 64})
    gone = Missing("vqvae", larger.spec, "python -m washout results")
    assert judged(vqs=[*rising, gone])["vq-noise-recon"] == "holds"
    gone = Missing("vqvae", rising[2].spec, "python -m washout results")
    assert judged(vqs=[*rising[:2], gone])["vq-noise-recon"] == "not computed"


@pytest.mark.parametrize(
    ("wrong", "right", "word"), [(0.3, 0.1, "holds"), (0.1, 0.3, "contradicted")]
)
def test_values_at_the_ends_are_counted_in_misread_images(wrong, right, word):
    rows = grid()
    for row in (row for row in rows if row.spec["dataset"] == "cifar10"):
        bits = torch.from_numpy(unpacked(row.values["right"], row.values["n"]))
        noise = 0.01 * torch.rand(len(bits), generator=torch.Generator().manual_seed(0))
        row.values["extreme"] = packed_floats(torch.where(bits, right, wrong) + noise)
    assert judged(rows)["clip-artefacts"] == word


def test_brief_networks_cannot_contradict_the_papers():
    falling = [vq("0", 0.3), vq("0.25", 0.2), vq("0.75", 0.1)]
    assert judged(vqs=falling)["vq-noise-recon"] == "contradicted"
    rising = [vq("0", 0.1), vq("0.25", 0.2), vq("0.75", 0.3)]
    for rows in (falling, rising):
        brief = [replace(row, profile="laptop") for row in rows]
        assert judged(vqs=brief)["vq-noise-recon"] == "undecided"


def narrow(rows: list[Row]) -> list[Row]:
    """With VQ-VAEs of another profile than the paper's."""
    return [
        replace(r, profile="laptop") if r.spec["defense"].startswith("vqvae") else r for r in rows
    ]


def evidence(cells, name: str) -> str:
    found = {j.claim.id.split("/")[-1]: j.evidence for j in verdicts.claims(cells, (), ())}
    return found[name]


def test_a_brief_vq_vae_decides_no_part_of_a_claim():
    def ahead(dataset, attack, defense):
        return 0.99 if defense == "vqvae0" else None

    assert judged(grid(ahead))["jpeg-best-mnist"] == "contradicted"
    found = judged(narrow(grid(ahead)))
    assert found["jpeg-best-mnist"] == "undecided"
    assert found["all-improve"] == "undecided"
    said = evidence(narrow(grid(ahead)), "jpeg-best-mnist")
    assert "over TVM: +10 points" in said
    assert "VQ-VAE 0: −4 points" in said
    assert "not comparable" in said
    assert judged(narrow(grid()))["jpeg-best-mnist"] == "holds"  # TVM is the best of the others


def standing_in(rows: list[Row]) -> list[Row]:
    """With another classifier than the paper's on CIFAR-10."""
    other = {"cifar10": "resnet"}
    return [
        replace(r, spec={**r.spec, "net": other.get(r.spec["dataset"], r.spec["net"])})
        for r in rows
    ]


def test_a_stand_in_for_the_classifier_decides_no_claim():
    found = judged(standing_in(grid()))
    assert found["jpeg-best-mnist"] == "holds"
    for name in ("tvm-best-cifar", "deepfool-hardest", "all-improve"):
        assert (judged(grid())[name], found[name]) == ("holds", "undecided"), name
    assert "on a stand-in for their network" in evidence(standing_in(grid()), "tvm-best-cifar")
    worse = standing_in(grid(lambda s, a, d: 0.5 if (s, d) == ("mnist", "jpeg") else None))
    assert judged(worse)["jpeg-best-mnist"] == "contradicted"
    # What the paper's own network contradicts is contradicted, whatever the other says.
    both = standing_in(grid(lambda s, a, d: 0.5 if (a, d) == ("deepfool", "jpeg") else None))
    assert judged(both)["deepfool-hardest"] == "contradicted"
    color = standing_in(
        grid(lambda s, a, d: 0.5 if (s, a, d) == ("cifar10", "deepfool", "jpeg") else None)
    )
    assert judged(color)["deepfool-hardest"] == "undecided"


def test_evidence_says_how_many_images_and_whose_classifier():
    rows = standing_in(grid())
    for name in ("jpeg-best-mnist", "tvm-gap", "rank", "mnist>cifar", "deepfool-hardest"):
        assert f"n {N}" in evidence(rows, name), name
    assert "(stand-in)" in evidence(rows, "tvm-best-cifar")
    assert "stand-in" not in evidence(rows, "jpeg-best-mnist")
    assert "of clean images" in evidence(rows, "tvm-best-cifar")
    assert "lost 13 points" in evidence(rows, "tvm-gap")


def test_a_rise_is_told_beside_noise_of_the_same_size():
    noise = [
        cell("mnist", attack, f"noise:{defense}", 1.0)
        for attack in PRINTED
        for defense in columns("mnist")[1:5]
    ]
    rows = [r for r in grid() if r.spec["dataset"] == "mnist"]
    assert "beside noise" not in evidence(rows, "all-improve")
    said = evidence([*rows, *noise], "all-improve")
    assert "0 of 16 are better, 15 worse" in said  # JPEG after PGD is at 1.0 as well


def test_retraining_is_judged_on_the_same_images():
    again = cell("mnist", "none", "vqvae0", 0.9, net="lenet-on-vqvae0")
    assert judged([cell("mnist", "none", "vqvae0", 0.5), again])["vq-blur-shift"] == "holds"
    assert judged([cell("mnist", "none", "vqvae0", 0.99), again])["vq-blur-shift"] == "contradicted"


def test_retraining_on_one_dataset_says_nothing_of_the_other():
    again = cell("mnist", "none", "vqvae0", 0.9, net="lenet-on-vqvae0")
    rows = [cell("mnist", "none", "vqvae0", 0.5), again, cell("cifar10", "none", "vqvae0", 0.2)]
    assert judged(rows)["vq-blur-shift"] == "undecided"
    assert "CIFAR-10, where the paper sees the failure, is untested" in evidence(
        rows, "vq-blur-shift"
    )


def test_a_subset_is_compared_with_all_images():
    all_ = cell("mnist", "fgsm", "jpeg", 0.9, 9000, whole=True)
    assert judged([cell("mnist", "fgsm", "jpeg", 0.9, 2000), all_])["subset"] == "holds"
    assert judged([cell("mnist", "fgsm", "jpeg", 0.6, 2000), all_])["subset"] == "contradicted"


def test_confusions_are_compared_at_equal_numbers_of_errors():
    def errors(defense: str, spread: bool) -> Row:
        row = cell("cifar10", "fgsm", defense, 0.5)
        table = np.diag([50] * 10)
        for i in range(10):
            for k in range(1, 10 if spread else 2):
                table[i, (i + k) % 10] += 10 if spread else 90
        row.values["confusion"] = table.tolist()
        return row

    assert judged([errors("jpeg", False), errors("vqvae0", True)])["confusion"] == "holds"
    assert judged([errors("jpeg", True), errors("vqvae0", False)])["confusion"] == "contradicted"
    assert judged([errors("jpeg", True), errors("vqvae0", True)])["confusion"] == "undecided"


def test_a_small_table_of_errors_scatters_no_less_by_being_small():
    source = np.random.default_rng(0)
    pairs = [
        [source.multinomial(n, [1 / 90] * 90).reshape(10, 9) for n in (49, 127)] for _ in range(20)
    ]
    gaps = [np.diff(matched(pair)[0].mean(1)).item() for pair in pairs]
    assert abs(np.mean(gaps)) < 0.06  # draws with replacement: 0.15 in favor of the larger
    assert min(by_chance(*pair) for pair in pairs[:4]) > 0.01


def test_entropy_of_rows():
    assert entropy(np.array([[0, 5], [3, 0]])) == 0
    assert entropy(np.array([[2, 2], [0, 0]])) == 1
    assert entropy(np.array([[1, 1, 1, 1], [4, 0, 0, 0]] + [[0] * 4] * 2)) == 1


def test_above_a_bound():
    claim = papers.load("tan2019").claims["tan2019/claim/tvm-gap"]
    scores = np.array([1.0] * 80 + [0.0] * 20)
    assert above(claim, "", scores, 0.5).word == "holds"
    assert above(claim, "", scores, 0.95).word == "contradicted"
    assert above(claim, "", scores, 0.78).word == "undecided"


def test_numbers_are_compared_and_stand_ins_are_not():
    found = {v.number.id: v.word for v in verdicts.figure6(standing_in(grid()))}
    assert found["tan2019/fig6/mnist/fgsm/none"] == "reproduced"
    assert found["tan2019/fig6/mnist/deepfool/jpeg"] == "reproduced"
    assert found["tan2019/fig6/cifar/fgsm/tvm"] == "not comparable"  # a ResNet in its place
    assert {v.word for v in verdicts.figure6([])} == {"not computed"}
    assert verdicts.printed("mnist")["fgsm-min"] == {
        "none": "0",
        "jpeg": "99",
        "tvm": "≥ 70",
        "kmeans": "≥ 50",
    }
