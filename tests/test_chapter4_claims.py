"""Chapter 4's claims and verdicts against hand-made rows that hold, contradict or leave open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from washout import papers
from washout.chapters.bits import packed, packed_floats
from washout.chapters.chapter4 import verdicts
from washout.chapters.chapter4.pools import Found, target
from washout.chapters.chapter4.settings import MAIN, PCA, SEPARATE, WIDTHS
from washout.store import Row

N = 1000
BASE = {"dataset": "cifar10", "net": "resnet8", "seed": 0}
RIGHT = np.arange(N) >= 120  # 12 % are misread when clean
SUCCESS = {"fgsm": 0.826, "pgd": 1.0, "deepfool": 0.99}
RESTORED = {"none": 0.5, "fgsm": 0.48, "pgd": 0.53, "deepfool": 0.56}
FLAGGED = {"fgsm": 0.97, "pgd": 0.97, "deepfool": 0.29}
FALSE_ALARMS = 0.03


def spread(share: float, start: int = 0, n: int = N) -> np.ndarray:
    """Bits that are on evenly; more are on wherever fewer are."""
    order = np.random.default_rng(start).permutation(n)
    return order < round(share * n)


def bits(values: np.ndarray) -> str:
    return packed(torch.from_numpy(values))


def row(table: str, values: dict, profile: str = "paper", **spec) -> Row:
    return Row(table, profile, {**BASE, **spec}, {}, values, {})


def attacks() -> list[Row]:
    found = []
    for label in MAIN:
        wrong = ~RIGHT | (np.arange(N) < SUCCESS[label] * N)
        values = {"n": N, "right": bits(RIGHT), "wrong": bits(wrong), "wrong_rounded": bits(wrong)}
        found.append(row("attack", values, attack=label))
    return found


def widths(best: int = 4) -> list[Row]:
    values = {w: {"pool": 100, "restored": 56 if w == best else 90} for w in WIDTHS}
    return [row("width", values[w], width=w) for w in WIDTHS]


def cleaned(width: int = 4, change=None, noise: float = 0.2) -> list[Row]:
    found = []
    for label in ("none", *MAIN):
        share = (change or {}).get(label, RESTORED[label])
        wrong = np.zeros(N, bool) if label == "none" else None
        for defense, rate in (("none", 0.0), (f"ae{width}", share), (f"noise:ae{width}", noise)):
            right = spread(rate) if wrong is None or defense != "none" else RIGHT
            values = {"n": N, "correct": int(right.sum()), "right": bits(right), "survived": 0.4,
                      "shrunk": 900, "changed": 950, "moved": 2.0, "back": 2.0}  # fmt: skip
            found.append(row("cleaned", values, attack=label, defense=defense))
    return found


def detections(change=None, profile: str = "paper", others: float | None = None) -> list[Row]:
    found = []
    for features in ("latents", PCA, SEPARATE):
        for label in MAIN:
            share = (change or {}).get(label, FLAGGED[label])
            if features != "latents" and others is not None:
                share = others
            values = {"n": N, "flagged": bits(spread(share)),
                      "flagged_clean": bits(spread(FALSE_ALARMS, 1))}  # fmt: skip
            found.append(row("detection", values, profile, features=features, trained="mixture",
                             attack=label))  # fmt: skip
    return found


def distances(ratio: float = 2.0, profile: str = "paper") -> list[Row]:
    pixels = torch.linspace(0.05, 0.2, N)
    values = {"n": N, "pixels": packed_floats(pixels), "last": packed_floats(ratio * pixels)}
    still = {"n": N, "last": packed_floats(0.04 * torch.ones(N))}
    return [row("distance", values, profile, change=label) for label in MAIN] + [
        row("distance", still, profile, change="dequantized")
    ]


def flows(bits: float = 3.5) -> list[Row]:
    return [Row("flow", "paper", {"dataset": "cifar10", "seed": 0, "flow": "trained"}, {},
                {"bits": bits}, {})]  # fmt: skip


def judged(*, cleaned_=None, detections_=None, distances_=None, bits=3.5) -> dict[str, str]:
    found = verdicts.claims(
        attacks(), widths(), cleaned() if cleaned_ is None else cleaned_, flows(bits),
        detections() if detections_ is None else detections_,
        distances() if distances_ is None else distances_,
    )  # fmt: skip
    assert [j.claim for j in found] == list(papers.load("xiong").claims.values())
    return {j.claim.id.split("/")[-1]: j.word for j in found}


def test_without_rows_nothing_is_computed():
    assert {j.word for j in verdicts.claims([], [], [], [], [], [])} == {"not computed"}
    every = verdicts.all_verdicts([], [], [], [], [], [], [])
    assert {v.word for v in every} == {"not computed"}


def test_the_paper_as_told_holds():
    found = judged()
    assert set(found.values()) == {"holds"}, found


@pytest.mark.parametrize(
    ("claim", "rows"),
    [
        ("latent-distance", {"distances_": distances(0.5)}),
        ("deepfool-hardest-to-detect", {"detections_": detections({"deepfool": 0.99})}),
        ("order-ae", {"cleaned_": cleaned(change={"fgsm": 0.7})}),
        ("ae-removes-noise", {"cleaned_": cleaned(noise=0.8)}),
        ("ae-removes-noise", {"cleaned_": cleaned(change={"none": 0.9})}),
        ("comparable-to-others", {"detections_": detections(others=0.6)}),
        ("simple-net", {"detections_": detections(dict.fromkeys(MAIN, 0.3))}),
    ],
)
def test_each_claim_can_be_contradicted(claim, rows):
    assert judged(**rows)[claim] == "contradicted"


def test_a_poorer_flow_decides_nothing_about_the_papers():
    told = judged(bits=4.0)
    assert told["simple-net"] == told["deepfool-hardest-to-detect"] == "undecided"
    rows = {"detections_": detections({"deepfool": 0.99}), "distances_": distances(0.5)}
    found = judged(**rows, bits=4.0)
    assert found["deepfool-hardest-to-detect"] == "undecided"
    assert found["latent-distance"] == "undecided"
    assert found["order-ae"] == "holds"
    assert judged(**rows, bits=3.7)["latent-distance"] == "contradicted"


def test_latents_have_to_move_more_than_by_8_bit_noise():
    rows = distances(1.1)
    rows[-1] = replace(rows[-1], values={"n": N, "last": packed_floats(torch.ones(N))})
    assert judged(distances_=rows)["latent-distance"] == "contradicted"


def test_numbers_at_the_papers_pools_come_out_as_made():
    words = {v.number.id: v for v in verdicts.table3(attacks(), widths(), cleaned())}
    for label in MAIN:
        after = words[f"xiong/table3/after/{label}"]
        assert after.n == N // 2
        assert after.rate == pytest.approx(RESTORED[label], abs=0.06)
    overall = words["xiong/table3/after/overall"]
    assert overall.n == N
    found = {v.number.id: v for v in verdicts.table4(attacks(), flows(), detections())}
    for label in MAIN:
        part = found[f"xiong/table4/{label}"]
        assert part.n == N
        assert part.rate == pytest.approx((FLAGGED[label] + 1 - FALSE_ALARMS) / 2, abs=0.03)
    assert found["xiong/table4/overall"].n == 2 * N
    success = {v.number.id: v.successes for v in verdicts.attacks(attacks())}
    assert success["xiong/attack/pgd/success"] == N


def test_a_poorer_flows_numbers_are_not_comparable():
    for bits, word in ((3.71, {"not comparable"}), (3.69, {"reproduced", "close"})):
        words = {v.word for v in verdicts.table4(attacks(), flows(bits), detections())}
        assert words <= word


def test_the_width_is_the_nearest_to_the_papers_and_needs_all():
    assert Found("cifar10", 0, widths(8)).width == 8
    assert Found("cifar10", 0, widths(8)[:-1]).width is None
    assert target() == pytest.approx(0.559)


def test_rows_of_two_profiles_are_not_mixed():
    mixed = [*attacks(), *(replace(r, profile="laptop") for r in cleaned())]
    found = Found("cifar10", 0, mixed)
    assert {r.profile for r in found.rows} == {"laptop"}
    assert found.restored("fgsm", "ae4") is None


def test_the_row_with_no_more_than_was_asked_for():
    plain = detections()
    rounded = [replace(r, spec={**r.spec, "rounded": True}) for r in plain]
    found = Found("cifar10", 0, [*rounded, *plain])
    spec = {"features": "latents", "trained": "mixture", "attack": "pgd"}
    assert "rounded" not in found.row("detection", **spec).spec
    assert found.row("detection", rounded=True, **spec).spec["rounded"]
