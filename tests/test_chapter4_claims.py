"""Chapter 4's claims and verdicts against hand-made rows that hold, contradict or leave open."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from chapter4_rows import (
    FALSE_ALARMS,
    FLAGGED,
    RESTORED,
    N,
    attacks,
    cleaned,
    detections,
    distances,
    flows,
    widths,
)
from washout import papers
from washout.chapters.bits import packed_floats
from washout.chapters.chapter4 import score, verdicts
from washout.chapters.chapter4.pools import Found, target
from washout.chapters.chapter4.settings import MAIN, NAMES, NOISE, SEPARATE
from washout.chapters.counted import counted, uncounted
from washout.report import Verdict


def judged(*, cleaned_=None, detections_=None, distances_=None, bits=3.5) -> dict[str, str]:
    found = verdicts.claims(
        attacks(), widths(), cleaned() if cleaned_ is None else cleaned_, flows(bits),
        detections() if detections_ is None else detections_,
        distances() if distances_ is None else distances_,
    )  # fmt: skip
    every = papers.load("xiong").claims.values()
    assert [j.claim for j in found] == [claim for claim in every if claim.kind != "argument"]
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
    ],
)
def test_each_claim_can_be_contradicted(claim, rows):
    assert judged(**rows)[claim] == "contradicted"


def test_far_less_often_is_by_more_than_five_points():
    for deepfool, word in ((0.85, "holds"), (0.96, "contradicted"), (0.92, "undecided")):
        rows = {"detections_": detections({"deepfool": deepfool})}
        assert judged(**rows)["deepfool-hardest-to-detect"] == word, deepfool


def test_other_images_than_the_papers_decide_nothing():
    tables = (attacks(), widths(), cleaned(), flows(), detections(), distances())
    moved = [[replace(r, spec={**r.spec, "dataset": "photos"}) for r in table] for table in tables]
    found = verdicts.claims(*moved)
    assert {j.word for j in found} == {"undecided"}
    assert all("other images than the paper's" in j.evidence for j in found)


def test_a_poorer_flow_decides_nothing_about_the_papers():
    told = judged(bits=4.0)
    assert told["comparable-to-others"] == told["deepfool-hardest-to-detect"] == "undecided"
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
    assert Found("cifar10", 0, widths(6)).width == 6
    assert Found("cifar10", 0, widths(6)[:-1]).width is None
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


def test_random_signs_stand_in_the_evidence_on_distances():
    rows = distances()
    signs = replace(rows[0], spec={**rows[0].spec, "change": NOISE})
    signs = replace(signs, values={"n": N, "last": packed_floats(torch.ones(N))})
    found = verdicts.claims(attacks(), widths(), cleaned(), flows(), detections(), [*rows, signs])
    (part,) = (j for j in found if j.claim.id.endswith("latent-distance"))
    assert part.word == "holds"
    for name in NAMES.values():
        assert f"random signs of ε 0.02 move {N:,} of {N:,} images farther than {name} does" in (
            part.evidence
        )


def test_a_network_that_was_not_trained_decides_no_claim():
    rows = [
        replace(r, values={**r.values, "training": {"validation_loss": 0.6932}})
        if r.spec["features"] == SEPARATE
        else r
        for r in detections(others=0.6)
    ]
    found = verdicts.claims(attacks(), widths(), cleaned(), flows(), rows, distances())
    (part,) = (j for j in found if j.claim.id.endswith("comparable-to-others"))
    assert "FGSM: the separate network was not trained" in part.evidence
    good = [r if r.spec["features"] == SEPARATE else own
            for r, own in zip(rows, detections(), strict=True)]  # fmt: skip
    assert judged(detections_=good)["comparable-to-others"] == "undecided"


def test_the_front_page_leaves_out_what_was_calibrated_and_the_zeros():
    every = verdicts.all_verdicts([], [], [], [], [], [], [])
    kept = {v.number.id for v in counted(every, score.LEFT_OUT) if isinstance(v, Verdict)}
    left = {v.number.id for v in every if isinstance(v, Verdict)} - kept
    assert {i for i in left if "table3" in i} == {
        "xiong/table3/after/deepfool",
        "xiong/table3/after/overall",
        *(f"xiong/table3/before/{c}" for c in (*MAIN, "overall")),
    }
    assert "xiong/baseline/resnet" in left
    assert {"xiong/table3/after/fgsm", "xiong/table4/fgsm"} <= kept


def test_each_reason_to_leave_something_out_is_about_something():
    lines = uncounted()
    assert {line["chapter"] for line in lines} == {1, 2, 3, 4}
    assert all(line["how many"] for line in lines), lines


def test_a_target_beyond_all_widths_is_noticed():
    assert Found("cifar10", 0, widths(other=30)).bracketed  # 30 and 56, for 55.9
    assert not Found("cifar10", 0, widths(other=90)).bracketed  # 56 and 90
    assert not Found("cifar10", 0, widths(other=30)[:-1]).bracketed
