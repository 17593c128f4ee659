"""Recipes: what decides on trained weights, so that no weights are trained twice."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from washout import data as datasets
from washout import models, weights
from washout.checks import check_device
from washout.data import Dataset, floats
from washout.files import Busy
from washout.paths import weights_folder
from washout.training.augment import augmentation
from washout.training.loop import fit, objective

MOMENTS = 60_000  # images, as many as the largest training set has


@dataclass(frozen=True)
class Recipe:
    """A network's training; the arguments of ``fit`` that its result depends on.

    The defaults are those of LeNet on MNIST, chosen on validation images.

    Attributes:
        model: a name that ``models.build`` takes.
        data: a name that ``data.load`` takes.
        augment: a name that ``augmentation`` takes.
        model_args: (name, value) pairs for the model's class, e.g. ``(("dropout", 0.3),)``.
        version: raised when the code changes what a recipe leads to.
        stop_at: end at the first epoch with this validation score.
        momentum: of SGD.
    """

    model: str = "lenet"
    data: str = "mnist"
    epochs: int = 12
    batch_size: int = 128
    lr: float = 2e-3
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "onecycle"
    augment: str = ""
    precision: str = "bf16"
    seed: int = 0
    model_args: tuple[tuple[str, Any], ...] = ()
    version: int = 1
    stop_at: float | None = None
    momentum: float = 0.9

    def key(self) -> str:
        """A short name that depends on nothing but the recipe's values."""
        values = dict(vars(self))  # not asdict, which copies every value in depth
        # Recipes from before there were such settings keep their names.
        for name, before in (("stop_at", None), ("momentum", 0.9)):
            if values[name] == before:
                del values[name]
        text = json.dumps(values, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"{self.model}-{self.data}-{self.seed}-{digest}"


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        model: in eval mode, float32, its values exact in half precision.
        hash: the name of its weights.
        record: recipe, history, validation score, trained_at (unix time), seconds (of all epochs),
            device, threads, versions.
    """

    model: nn.Module
    hash: str
    record: dict[str, Any]

    @property
    def history(self) -> list[dict[str, float]]:
        """What ``fit`` returned."""
        return self.record["history"]


def trained(
    recipe: Recipe,
    *,
    data: Dataset | Callable[[], Dataset] | None = None,
    folder: str | Path | None = None,
    search: Sequence[Path] | None = None,
    write: Path | None = None,
    device: str | torch.device = "cpu",
    since: float = 0.0,
    progress: bool = True,
    patient: bool = True,
) -> Trained:
    """The network that a recipe leads to: loaded if its weights are stored, else trained.

    Of several processes that ask for the same recipe one trains it; the others wait and load. A
    training that was killed goes on where it was when the recipe is asked for again.

    Args:
        recipe: what to train.
        data: the recipe's dataset, or a function that makes it when it is needed; loaded by its
            name otherwise.
        folder: the data folder, for ``data.load``.
        search: folders that are searched for weights, in order; by default ``weights/`` in the
            project, or ``$WASHOUT_WEIGHTS``.
        write: the folder for new weights, searched last; by default the last of ``search``.
        device: where to train, and where the model is put.
        since: unix time in seconds; weights that were trained before are trained again.
        progress: show a bar while training.
        patient: wait for another process that trains the recipe.

    Raises:
        Busy: another process is training it, and the caller is not patient.
        ValueError: an impossible recipe, data that are missing, weights that were altered, or a
            folder that cannot be written to.
    """
    place = check_device(device)
    if isinstance(data, Dataset):
        _check_name(data, recipe)
    folders = [Path(path) for path in search] if search else [write or weights_folder()]
    target = Path(write) if write else folders[-1]
    if target not in folders:
        folders.append(target)
    found = weights.find(folders, recipe.key(), since, whole=True)
    if found is None:
        work = target / ".work"
        with _locked(work / f"{recipe.key()}.lock", patient):
            # By another process meanwhile?
            found = weights.find(folders, recipe.key(), since, whole=True)
            if found is None:
                alone = weights.find(folders, recipe.key(), since)
                before = alone or weights.find([target], recipe.key())
                _warn_of_another(alone, recipe.key())
                if not isinstance(data, Dataset):
                    data = data() if data else datasets.load(recipe.data, folder)
                    _check_name(data, recipe)
                checkpoint = work / f"{recipe.key()}.checkpoint"
                _drop_if_finished(checkpoint, target, recipe.key())
                home, record = _train(recipe, data, target, place, checkpoint, progress)
                weights.write_record(home, recipe.key(), record)
                checkpoint.unlink(missing_ok=True)
                _tell_of_stale(before, record["hash"], recipe.key())
                found = weights.find([home], recipe.key())
    assert found is not None
    home, record = found
    model = models.build(recipe.model, **record["shape"], **dict(recipe.model_args))
    model.load_state_dict(weights.read(home, record["hash"]))
    return Trained(model.to(place).eval(), record["hash"], record)


def _check_name(data: Dataset, recipe: Recipe) -> None:
    if data.name != recipe.data:
        raise ValueError(f"data: got {data.name}, but the recipe names {recipe.data}")


def _warn_of_another(known: tuple[Path, dict[str, Any]] | None, key: str) -> None:
    """Say so in a line, if a network of which only the record is here is to be trained again."""
    if known:
        home, record = known
        print(
            f"washout: only the record of {key} is here, so it is trained again; where the record "
            "comes from, rows made with other weights are refused. To keep to its own, bring "
            f"{home / record['hash']}.safetensors",
            file=sys.stderr,
        )


def _tell_of_stale(before: tuple[Path, dict[str, Any]] | None, name: str, key: str) -> None:
    """Say so in a line, if a training has led to other weights than the one before."""
    if before and before[1]["hash"] != name:
        print(
            f"washout: {key} has other weights now, {name} instead of {before[1]['hash']}: rows "
            "that were made with the earlier ones are stale",
            file=sys.stderr,
        )


def _train(
    recipe: Recipe,
    data: Dataset,
    target: Path,
    device: torch.device,
    checkpoint: Path,
    progress: bool,
) -> tuple[Path, dict[str, Any]]:
    """Train, store the weights, and return where, and their record."""
    shape = {"in_channels": data.channels, "size": data.size, "classes": len(data.classes)}
    # Of so many pixels a part is enough, and uint8 patches would need four times their memory.
    moments = torch.std_mean(floats(data.train.images[:MOMENTS]), dim=(0, 2, 3))
    normalization = {"std": moments[0].tolist(), "mean": moments[1].tolist()}
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.seed)
        model = models.build(recipe.model, **shape, **(normalization | dict(recipe.model_args)))
    loss, score = objective(model)
    history = fit(
        model,
        data.train,
        data.validation,
        loss=loss,
        score=score,
        stop_at=recipe.stop_at,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        lr=recipe.lr,
        optimizer=recipe.optimizer,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        schedule=recipe.schedule,
        augment=augmentation(recipe.augment),
        seed=recipe.seed,
        device=device,
        precision=recipe.precision,
        checkpoint=checkpoint,
        progress=progress,
    )
    on_gpu = device.type == "cuda"
    home, name = weights.write(target, model)
    return home, {
        "recipe": asdict(recipe),
        "shape": shape,
        "hash": name,
        "validation_score": score(model, data.validation),
        "history": history,
        "trained_at": time.time(),
        # Of all sittings, where a training was killed and went on.
        "seconds": round(sum(epoch["seconds"] for epoch in history), 2),
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.machine(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
    }


def _drop_if_finished(checkpoint: Path, target: Path, key: str) -> None:
    """Remove the checkpoint of a training that was killed after its weights were stored."""
    before = weights.find([target], key)
    if before and checkpoint.is_file() and checkpoint.stat().st_mtime < before[1]["trained_at"]:
        checkpoint.unlink()


@contextmanager
def _locked(path: Path, patient: bool) -> Iterator[None]:
    """Hold a lock that the system releases when its holder dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise ValueError(
            f"cannot write to {path.parent}: {error.strerror}; make the folder writable or set "
            "WASHOUT_WEIGHTS to one that is"
        ) from error
    lock = FileLock(path)
    try:
        lock.acquire(timeout=-1 if patient else 0)
    except Timeout as error:
        raise Busy(f"{path.stem} is being trained") from error
    try:
        yield
    finally:
        lock.release()
