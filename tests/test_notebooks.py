"""Notebooks run end to end as a reader runs them; the wheel works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "book" / "chapter3.ipynb"
CHAPTER1 = ROOT / "book" / "chapter1.ipynb"
CHAPTER2 = ROOT / "book" / "chapter2.ipynb"
CHAPTER4 = ROOT / "book" / "chapter4.ipynb"
pytest.importorskip("papermill")


def papermill(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "WASHOUT_RESULTS": str(folder / "results"),
        "WASHOUT_COMPUTE": "",
    }
    return subprocess.run(
        [sys.executable, "-m", "papermill", *words],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
    )


def text(path: Path) -> str:
    """All that the executed notebook shows."""
    shown = []
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            shown.append(output.get("text", ""))
            shown.append(str(output.get("data", {}).get("text/html", "")))
            shown.append(str(output.get("data", {}).get("text/plain", "")))
    return "\n".join(shown)


def test_chapter3_end_to_end_on_bundled_data(tmp_path):
    out = tmp_path / "out.ipynb"
    parameters = ["-p", "attack", "fgsm", "-p", "profile", "smoke", "-p", "device", "cpu"]
    done = papermill(str(NOTEBOOK), str(out), *parameters, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    shown = text(out)
    assert "attack: fgsm | dataset: digits | profile: smoke | seed: 0 | device: cpu" in shown
    assert "Table 2" in shown
    assert "not comparable" in shown  # digits are not MNIST
    assert "Traceback" not in shown
    stored = tmp_path / "results" / "local" / "chapter3" / "detection.jsonl"
    assert b'"attack":"fgsm"' in stored.read_bytes()
    assert b'"attack":"jsma","dataset"' not in stored.read_bytes()


def test_chapter1_end_to_end_on_bundled_data(tmp_path):
    out = tmp_path / "out.ipynb"
    parameters = ["-p", "attack", "fgsm", "-p", "dataset", "photos", "-p", "profile", "smoke"]
    done = papermill(str(CHAPTER1), str(out), *parameters, "-p", "device", "cpu", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    shown = text(out)
    assert "attack: fgsm | dataset: photos | profile: smoke | seed: 0 | device: cpu" in shown
    assert "Accuracy on photos, all attacks" in shown
    assert "VAE 16, stride 8" in shown
    assert "Traceback" not in shown
    stored = tmp_path / "results" / "local" / "chapter1"
    assert (stored / "control.jsonl").is_file()
    assert b'"attack":"ifgsm"' not in (stored / "curve.jsonl").read_bytes()


def test_chapter2_with_a_composed_defense(tmp_path):
    out = tmp_path / "out.ipynb"
    parameters = ["-p", "attack", "pgd", "-p", "dataset", "digits", "-p", "profile", "smoke"]
    parameters += ["-p", "defense", "jpeg75+tvm", "-p", "device", "cpu"]
    done = papermill(str(CHAPTER2), str(out), *parameters, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    shown = text(out)
    assert "attack: pgd | dataset: digits | profile: smoke" in shown
    assert "JPEG 75, then TVM" in shown
    assert "Traceback" not in shown
    stored = tmp_path / "results" / "local" / "chapter2" / "cell.jsonl"
    assert stored.read_bytes().count(b"\n") == 4  # clean and PGD, with it and without


def test_chapter4_with_an_attack_that_no_detector_knows(tmp_path):
    out = tmp_path / "out.ipynb"
    parameters = ["-p", "attack", "bim", "-p", "profile", "smoke", "-p", "device", "cpu"]
    done = papermill(str(CHAPTER4), str(out), *parameters, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    shown = text(out)
    assert "attack: bim | dataset: photos | profile: smoke" in shown
    assert "Traceback" not in shown
    assert "BIM, not stopping" in shown
    assert "BIM, not stopping, B" in shown  # through the autoencoders
    assert "BIM, not stopping, area in pool B" in shown  # by every detector
    stored = tmp_path / "results" / "local" / "chapter4" / "detection.jsonl"
    assert b'"attack":"bim"' in stored.read_bytes()
    assert b'"attack":"pgd"' not in stored.read_bytes()


def test_an_impossible_parameter_stops_with_the_allowed_ones(tmp_path):
    out = str(tmp_path / "out.ipynb")
    done = papermill(str(NOTEBOOK), out, "-p", "attack", "bmi", folder=tmp_path)
    assert done.returncode != 0
    assert "attack: got 'bmi'; allowed are fgsm" in done.stderr


def test_help_explains_the_parameters(tmp_path):
    done = papermill("--help-notebook", str(NOTEBOOK), folder=tmp_path)
    assert done.returncode == 0
    for name in ("attack: str", "dataset: str", "profile: str", "seed: int", "recompute: bool"):
        assert name in done.stdout
    assert "foolbox:NAME" in done.stdout
    assert "Unknown type" not in done.stdout


ATTACK = """
import torch, washout, washout.papers
from washout import attacks, data, models
assert "site" in washout.__file__, washout.__file__
torch.manual_seed(0)
digits = data.digits()
x, y = digits.test.images[:8], digits.test.labels[:8]
result = attacks.run("fgsm", models.LeNet(), x, y, eps=0.3)
assert (result.images - x).abs().max() <= 0.3 + 1e-6
assert washout.papers.load("wang").numbers
print("attacked", len(result.images))
"""


def test_wheel_works_outside_the_checkout(tmp_path):
    copy = tmp_path / "source"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "lib"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(copy)], check=True)
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*wheel, "-w", str(tmp_path), str(copy)], check=True)
    (built,) = tmp_path.glob("washout-*.whl")
    site = tmp_path / "site"
    ZipFile(built).extractall(site)
    done = subprocess.run(
        [sys.executable, "-c", ATTACK],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "attacked 8\n"
