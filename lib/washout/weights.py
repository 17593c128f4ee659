"""Trained weights, stored under the hash of their content.

``<hash>.safetensors`` holds the weights in half precision; ``<key>.json`` says which recipe, by its
key, led to which hash, and when, where and how well. A table's rows name the hash, so it is plain
what they were computed with. Weights of more than ``SMALL`` bytes, and others that a chapter puts
there, lie in ``large/``: the project ships their records alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from washout.files import write_whole

HASH_LENGTH = 16  # hexadecimal digits
SMALL = 8_000_000  # bytes that a file may have which ships with the project


def round_to_half(model: nn.Module) -> None:
    """Round every floating-point parameter and buffer to half precision, and keep it float32.

    What is evaluated is then exactly what is stored.

    Raises:
        ValueError: a value is not finite, or too large for half precision (above 65,504).
    """
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                rounded = tensor.half()
                if not bool(rounded.isfinite().all()):
                    raise ValueError(
                        f"{name} holds values that are not finite in half precision: the training "
                        "diverged; lower lr, or use precision='fp32'"
                    )
                tensor.copy_(rounded)


def write(folder: Path, model: nn.Module) -> tuple[Path, str]:
    """Store the weights of a model that ``round_to_half`` has been through.

    Returns:
        The folder, or ``large`` in it, and the hash that names them.
    """
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in model.state_dict().items()
    }
    content = save(state)
    name = _hash(content)
    small = len(content) <= SMALL or folder.name == "large"
    home = folder if small else folder / "large"
    write_whole(home / f"{name}.safetensors", content)
    return home, name


def read(folder: Path, name: str) -> dict[str, Tensor]:
    """The stored weights of that hash, as float32.

    Raises:
        ValueError: they are missing, truncated or altered.
    """
    path = folder / f"{name}.safetensors"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"weights {name}: cannot read {path} ({error.strerror}), though {folder} names it; "
            "restore the file, or train again (retrain)"
        ) from error
    if _hash(content) != name:
        raise ValueError(
            f"weights {name}: {path} is truncated or altered, its content hashes to "
            f"{_hash(content)}; restore the file, or delete it and train again (retrain)"
        )
    return {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in load(content).items()
    }


def write_record(folder: Path, key: str, record: Mapping[str, Any]) -> None:
    """Say which weights a recipe led to: ``record`` holds at least ``hash`` and ``trained_at``."""
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False)
    write_whole(folder / f"{key}.json", (text + "\n").encode())


def find(
    folders: Iterable[Path], key: str, since: float = 0.0, *, whole: bool = False
) -> tuple[Path, dict] | None:
    """The first folder that has a recipe's weights, and their record.

    Large weights of which only the record is there come last: networks are loaded from where they
    are whole.

    Args:
        folders: searched in this order, ``large`` in each too.
        key: the recipe's key.
        since: unix time in seconds; weights that were trained before are passed over.
        whole: pass over those of which only the record is there.

    Raises:
        ValueError: a record cannot be read.
    """
    alone = None
    for folder in (place for given in folders for place in (given, given / "large")):
        path = folder / f"{key}.json"
        if not path.is_file():
            continue
        try:
            record = json.loads(path.read_text())
            known = float(record["trained_at"]), str(record["hash"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no record of trained weights ({error!r}); restore it, or delete it and "
                "train again (retrain)"
            ) from error
        absent = folder.name == "large" and not (folder / f"{known[1]}.safetensors").is_file()
        if known[0] >= since and not absent:
            return folder, record
        if known[0] >= since and not whole:
            alone = alone or (folder, record)
    return alone


def records(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Every record in a folder and in its ``large``, by recipe's key, with where it lies."""
    return [
        (place, json.loads(path.read_text()))
        for place in (folder, folder / "large")
        for path in sorted(place.glob("*.json"))
    ]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:HASH_LENGTH]
