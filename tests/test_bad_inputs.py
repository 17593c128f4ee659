"""What a user gets wrong, and the one message that each mistake gives."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from washout import attacks, data, models, papers, workers
from washout.__main__ import main
from washout.chapters import chapter3, get
from washout.checks import check_device
from washout.detectors import Hybrid, crop_agreement, five_crops, mc_dropout
from washout.metrics import wilson
from washout.study import Study
from washout.training import Recipe, fit, trained

X = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 3])
torch.manual_seed(0)
NET = models.LeNet().eval()


class Nan(torch.nn.Module):
    def forward(self, images):
        return torch.full((len(images), 10), float("nan"))


class Flat(torch.nn.Module):
    def forward(self, images):
        return images.flatten(1).sum(1)


def check(**parameters):
    return chapter3.check_parameters(chapter3, **parameters)


def broken_mnist(folder: Path) -> None:
    """One file of MNIST, cut short."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (raw / f"{name}.gz").write_bytes(gzip.compress(b"\0" * 50)[:20])


def truncated(folder: Path):
    broken_mnist(folder)
    return data.mnist(folder)


def read_only(folder: Path):
    blocked = folder / "results"
    blocked.write_text("a file, not a folder")
    study = Study("chapter3", profile="smoke", results=blocked, weights=folder, progress=False)
    return study.row(chapter3.CALIBRATED, chapter3.about("digits", 0, attack="fgsm"))


CASES = {
    # images
    "numpy array": (lambda f: attacks.run("fgsm", NET, X.numpy(), Y), "torch.as_tensor"),
    "one image without a batch": (
        lambda f: attacks.run("fgsm", NET, X[0], Y[:1]),
        r"images\[None\]",
    ),
    "uint8": (lambda f: attacks.run("fgsm", NET, (X * 255).byte(), Y), r"float\(\) / 255"),
    "half precision": (lambda f: attacks.run("fgsm", NET, X.half(), Y), "float32"),
    "range 0 to 255": (lambda f: attacks.run("fgsm", NET, X * 255, Y), r"\[0, 1\]"),
    "normalized images": (lambda f: attacks.run("fgsm", NET, X - 0.5, Y), "into the model"),
    "NaN": (lambda f: attacks.run("fgsm", NET, X * float("nan"), Y), "finite"),
    # labels
    "float labels": (lambda f: attacks.run("fgsm", NET, X, Y.float()), "int64"),
    "too few labels": (lambda f: attacks.run("fgsm", NET, X, Y[:2]), r"\(4,\)"),
    "negative label": (lambda f: attacks.run("fgsm", NET, X, Y - 1), "from 0 up"),
    "label beyond the classes": (lambda f: attacks.run("fgsm", NET, X, Y + 8), "0 to 9"),
    # model
    "model with NaN logits": (lambda f: attacks.run("fgsm", Nan(), X, Y), "NaN"),
    "model without rows of logits": (
        lambda f: attacks.run("fgsm", Flat(), X, Y),
        "logits of shape",
    ),
    "unknown model": (
        lambda f: models.build("resnet9000", in_channels=1, size=28, classes=10),
        "lenet, feinman",
    ),
    "unknown model setting": (
        lambda f: models.build("lenet", in_channels=1, size=28, classes=10, depth=3),
        "depth",
    ),
    # attacks
    "unknown attack": (lambda f: attacks.run("fgms", NET, X, Y), "fgsm"),
    "unknown foolbox attack": (lambda f: attacks.get("foolbox:LinfPDG"), "LinfPGD"),
    "unknown setting": (lambda f: attacks.run("fgsm", NET, X, Y, epsilon=0.1), "eps"),
    "negative epsilon": (lambda f: attacks.run("fgsm", NET, X, Y, eps=-0.1), "eps"),
    "epsilon of 8": (lambda f: attacks.run("pgd", NET, X, Y, eps=8.0), "eps"),
    "no steps": (lambda f: attacks.run("pgd", NET, X, Y, steps=0), "steps"),
    "epsilons of the wrong length": (
        lambda f: attacks.fgsm(NET, X, Y, eps=torch.tensor([0.1, 0.2])),
        "eps",
    ),
    "target that is the true class": (lambda f: attacks.run("jsma", NET, X, Y, target=Y), "target"),
    "theta of zero": (lambda f: attacks.run("jsma", NET, X, Y, theta=0.0), "theta"),
    # detectors
    "no passes": (lambda f: mc_dropout(NET, X, passes=0), "passes"),
    "network without dropout": (lambda f: mc_dropout(Flat(), X), "[Dd]ropout"),
    "crop larger than the image": (lambda f: five_crops(X, 30), "28"),
    "reference of the wrong length": (lambda f: crop_agreement(NET, X, Y[:2], 26), "reference"),
    "L above H": (lambda f: Hybrid(0.2, 0.1), "low"),
    "six crops of five": (lambda f: Hybrid(0.1, 0.2, 6), "five"),
    # data
    "unknown dataset": (lambda f: data.load("mnits"), "mnist"),
    "missing data, no network": (lambda f: data.mnist(f), "WASHOUT_DATA"),
    "truncated data": (truncated, "ubyte"),
    # chapters and profiles
    "unknown chapter": (lambda f: get("chapter9"), "chapter3"),
    "unknown attack in a chapter": (lambda f: check(attack="bmi"), "bim-b"),
    "unknown profile": (lambda f: check(profile="huge"), "paper, laptop, smoke"),
    "dataset of another chapter": (lambda f: check(dataset="cifar10"), "mnist"),
    "impossible profile": (lambda f: check(profile="paper", dataset="digits"), "smoke"),
    "seed in words": (lambda f: check(seed="zero"), "seed"),
    "recompute in words": (lambda f: check(recompute="yes"), "True"),
    "a GPU that is not there": (lambda f: check_device("cuda:9"), "cpu"),
    "unknown device": (lambda f: check_device("gpu"), "cuda"),
    "results that cannot be written": (read_only, "WASHOUT_RESULTS"),
    # training
    "no epochs": (lambda f: fit(NET, data.Split(X, Y), data.Split(X, Y), epochs=0), "epochs"),
    "unknown optimizer": (
        lambda f: fit(NET, data.Split(X, Y), data.Split(X, Y), epochs=1, optimizer="lion"),
        "sgd",
    ),
    "recipe and data differ": (
        lambda f: trained(Recipe(data="mnist"), data=data.digits(), write=f),
        "mnist",
    ),
    # papers and metrics
    "unknown paper": (lambda f: papers.load("wnag"), "wang"),
    "unknown number": (lambda f: papers.load("wang").numbers["wang/table1/fgms"], "fgsm"),
    "more successes than images": (lambda f: wilson(11, 10), "11"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_clear_message(case, tmp_path):
    action, words = CASES[case]
    with pytest.raises(ValueError, match=words) as caught:
        action(tmp_path)
    message = str(caught.value)
    assert len(message) > 20
    assert "\n\n" not in message


COMMANDS = [
    (["results", "--chapter", "9"], "chapter"),
    (["results", "--profile", "huge"], "profile"),
    (["results", "--limit", "soon"], "limit: got 'soon'; allowed are a number and s, m or h"),
    (["pack", "out", "--last", "abc"], "last: got 'abc'; allowed are a number and s, m or h"),
    (["results", "--table", "table9"], "detection"),
    (["results", "--device", "cuda:7"], "cpu"),
    (["results", "--attack", "bmi"], "pgd-0.005"),
    (["results", "--chapter", "3", "--attack", "pgd-0.005"], "in this chapter, all, jsma"),
]


@pytest.mark.parametrize(("words", "expected"), COMMANDS)
def test_command_line_says_it_in_one_line(words, expected, monkeypatch, capsys):
    monkeypatch.setenv("WASHOUT_COMPUTE", "never")
    assert main(words) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("words", [words for words, _ in COMMANDS if words[0] == "results"])
def test_it_is_said_before_any_worker_begins(words, monkeypatch):
    monkeypatch.setattr(workers, "begin", lambda *_: pytest.fail("a worker began"))
    assert main([*words, "--workers", "2"]) == 2


def test_an_attack_is_left_to_the_chapters_that_know_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WASHOUT_COMPUTE", "never")
    monkeypatch.setenv("WASHOUT_RESULTS", str(tmp_path))
    for attack, numbers in [("pgd-0.005", "4"), ("ifgsm-5", "1"), ("fgsm", "1234")]:
        assert main(["results", "--profile", "smoke", "--attack", attack]) == 1  # rows are left
        lines = capsys.readouterr().out.splitlines()
        told = {line.split()[0] for line in lines if line.startswith("chapter")}
        assert told == {f"chapter{number}" for number in numbers}


def test_the_program_says_nothing_else():
    words, expected = COMMANDS[0]
    done = subprocess.run(
        [sys.executable, "-m", "washout", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "WASHOUT_COMPUTE": "never"},
    )
    assert done.returncode == 2
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
