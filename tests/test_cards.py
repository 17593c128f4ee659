"""Each network that ships has a card that says what its record says."""

from __future__ import annotations

import json
import shutil

from washout import cards
from washout.__main__ import main
from washout.paths import project_root

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
