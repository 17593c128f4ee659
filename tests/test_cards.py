"""Each network that ships has a card that says what its record says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

from washout import cards, chapters
from washout.__main__ import main
from washout.paths import project_root
from washout.study import Study, Table

FOLDER = project_root() / "weights"
RESULTS = project_root() / "results"


def test_the_cards_are_those_of_the_records():
    assert (FOLDER / cards.NAME).read_text() == cards.cards(FOLDER, RESULTS), (
        "run python -m washout cards"
    )


def test_every_file_has_a_card_with_its_size():
    page = (FOLDER / cards.NAME).read_text()
    sizes = {path.stem: path.stat().st_size for path in FOLDER.glob("*.safetensors")}
    for hash_, size in sizes.items():
        assert f"`{hash_}.safetensors`, {size:,} bytes, SHA-256 `{hash_}" in page


def test_a_card_says_what_the_record_says(tmp_path, monkeypatch, capsys):
    for path in (
        FOLDER / "lenet-mnist-0-6fb5b895cf4f.json",
        FOLDER / "9bcfaa695b6b6a61.safetensors",
    ):
        shutil.copy(path, tmp_path)
    monkeypatch.setenv("WASHOUT_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("WASHOUT_RESULTS", str(RESULTS))
    assert main(["cards"]) == 0
    assert "1 cards" in capsys.readouterr().out
    page = (tmp_path / cards.NAME).read_text()
    record = json.loads((FOLDER / "lenet-mnist-0-6fb5b895cf4f.json").read_text())
    assert "## lenet on mnist, `9bcfaa695b6b6a61`" in page
    assert f"Accuracy: {record['validation_score']:.4f} on 5,000 validation images, 0.99" in page
    assert "12 epochs, seed 0, batch_size 128, lr 0.002, optimizer adam" in page
    assert "chapter3 at profile laptop: adaptive, baseline" in page
    record["validation_score"] = 0.5
    (tmp_path / "lenet-mnist-0-6fb5b895cf4f.json").write_text(json.dumps(record))
    assert cards.cards(tmp_path, RESULTS) != page


def test_a_training_that_stopped_early_says_so():
    page = (FOLDER / cards.NAME).read_text()
    for path in FOLDER.glob("*.json"):
        record = json.loads(path.read_text())
        (card,) = (part for part in page.split("\n## ") if f"`{record['hash']}`\n" in part)
        ran, most = len(record["history"]), record["recipe"]["epochs"]
        assert (f"- {ran} of at most {most} epochs," in card) == (ran < most)


def baseline(spec, study):
    return {"weights": "0123456789abcdef", "correct": len(study.profile), "n": 10}


def test_what_is_stale_or_of_a_lesser_profile_is_not_told(tmp_path, monkeypatch):
    now = Table("baseline", baseline, lambda spec, study: {})
    chapter = SimpleNamespace(plan=lambda study: [(now, [{"seed": 0}])])
    monkeypatch.setattr(chapters, "NAMES", ("chapter9",))
    monkeypatch.setattr(chapters, "get", lambda name: chapter)
    own = Study("chapter9", profile="paper", results=tmp_path, weights=tmp_path, exact=True,
                local=False, progress=False)  # fmt: skip
    own.table(replace(now, version=0), [{"seed": 0}])
    assert cards.usage(tmp_path, tmp_path) == ({}, {})
    for profile in ("laptop", "smoke"):
        own.at(profile).table(now, [{"seed": 0}])
    users, tested = cards.usage(tmp_path, tmp_path)
    assert users["0123456789abcdef"] == {
        ("chapter9 at profile laptop", "baseline"), ("chapter9 at profile smoke", "baseline")
    }  # fmt: skip
    assert tested["0123456789abcdef"].profile == "laptop"
