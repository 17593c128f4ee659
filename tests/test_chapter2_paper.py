"""What only profile ``paper`` of chapter 2 computes and shows, on bundled data in tiny sizes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from washout.chapters import chapter2 as ch
from washout.chapters.chapter2 import more_views, networks, settings, verdicts
from washout.data import Dataset
from washout.store import Row
from washout.study import Study, Table
from washout.training import Recipe

EVERY = int(os.environ.get("WASHOUT_EVERY", "25"))  # 1 computes all cells, which takes minutes
Plan = dict[Table, list]


def few(found: Dataset) -> Dataset:
    return replace(
        found,
        train=found.train[:96],
        validation=found.validation[:32],
        test=found.test[:24],
    )


def tiny(recipe: Recipe) -> Recipe:
    """DenseNet-BC with three layers."""
    if recipe.model == "densenet":
        return replace(recipe, model_args=(("blocks", (1, 1, 1)), ("growth", 4)))
    return recipe


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Iterator[Study]:
    sizes = {
        "n": 8, "n_slow": 4, "n_small": 3, "epochs": 2, "vq_epochs": 1, "hidden": 24,
    }  # fmt: skip
    profile = replace(
        settings.PROFILES["paper"],
        **{name: dict.fromkeys(settings.DATASETS, value) for name, value in sizes.items()},
        net={"digits": "lenet", "photos": "densenet"},
        steps=2,
        samples=2,
        sizes=((8, 16), (8, 32)),
        retrained=("digits", "photos"),
    )
    make = settings.classifier_recipe
    folder = tmp_path_factory.mktemp("paper")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(settings.PROFILES, "paper", profile)
        less = replace(profile, sizes=(), whole=False, long=False, retrained=())
        patch.setitem(settings.PROFILES, "laptop", less)
        patch.setattr(ch, "BUNDLED", ())
        patch.setattr(ch, "AUTO", ("digits", "photos"))
        patch.setattr(networks, "classifier_recipe", lambda *words: tiny(make(*words)))
        whole = networks.dataset
        patch.setattr(networks, "dataset", lambda name, where: few(whole(name, where)))
        for label, (name, fixed) in settings.VARIANTS.items():
            if name == "cw":
                short = {**fixed, "steps": 5, "binary_search_steps": 1}
                patch.setitem(settings.VARIANTS, label, (name, short))
        yield Study(
            "chapter2", profile="paper", device="cpu", progress=False,
            results=folder / "results", weights=folder / "weights", data=folder,
        )  # fmt: skip


@pytest.fixture(scope="module", params=["digits", "photos"])
def rows(request, study) -> dict[Table, list[Row]]:
    """Rows of all tables: all networks, and some of the rest."""
    found = {}
    for table, specs in ch.plan(study, request.param):
        own = [spec for spec in specs if spec.get("whole") or "-" in spec["net"]]
        rest = [spec for spec in specs if spec not in own]
        some = own[:: min(EVERY, 6)] + rest[::EVERY]
        chosen = specs if table in (ch.VQ, ch.BASELINE) else some
        found[table] = study.table(table, chosen)
    return found


def test_every_kind_of_row_comes_out(rows):
    assert {table.name for table in rows} >= {
        "baseline", "vqvae", "attack", "cell", "examples", "knowing",
    }  # fmt: skip
    every = [row for found in rows.values() for row in found]
    assert all(isinstance(row, Row) for row in every)
    color = every[0].spec["dataset"] == "photos"
    nets = {row.spec["net"] for row in every}
    net = "densenet" if color else "lenet"
    assert nets == {net, f"{net}-on-vqvae0"} | ({"densenet-long"} if color else set())
    assert {(r.spec["hidden"], r.spec["codes"]) for r in rows[ch.VQ] if "hidden" in r.spec} == {
        (8, 16), (8, 32),
    }  # fmt: skip


def test_all_test_images_meet_every_column(rows):
    whole = [row for row in rows[ch.CELL] if row.spec.get("whole")]
    name = whole[0].spec["dataset"]
    labels = {row.spec["attack"] for row in whole}
    assert labels <= {"none", "fgsm-min", "pgd-min", "deepfool-fb2"} | {
        settings.SHORT[ch.kind(name)]
    }
    assert {row.values["n"] for row in whole} == {24}
    if EVERY == 1:
        assert len(whole) == 5 * len(ch.columns(name))
    assert len(labels) > 1


def test_the_pages_tables_take_these_rows(rows, capsys):
    more_views.show_resamples(rows[ch.CELL], size=10)
    more_views.show_long(rows[ch.CELL])
    more_views.show_vq(rows[ch.VQ])
    judged = {j.claim.id.split("/")[-1] for j in verdicts.claims(rows[ch.CELL], (), rows[ch.VQ])}
    assert {"subset", "vq-grid"} < judged


def test_what_the_smaller_profile_lacks_is_named(study):
    p = ch.check_parameters(ch, profile="laptop", dataset="auto")
    p = replace(p, study=replace(study, profile="laptop", compute=False))
    for table, key in ((ch.CELL, "whole"), (ch.VQ, "hidden")):
        assert any(key in row.spec for row in ch.only_paper(p, table)), key
    nets = {row.spec["net"] for row in ch.only_paper(p, ch.BASELINE)}
    assert {"densenet-long", "densenet-on-vqvae0"} <= nets
