"""How far a training has come: a kill costs half a minute and one epoch at most."""

from __future__ import annotations

import io
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from washout.files import write_whole

EVERY = 30.0  # seconds: of a large network a checkpoint takes longer than an epoch


@dataclass
class Progress:
    """The finished epochs of one training and the best weights among them.

    Attributes:
        path: the checkpoint's file; None keeps nothing.
        settings: what the training was started with.
        history: one row for each finished epoch.
        best_score: the highest validation score so far.
        best: the weights that had it.
        kept: when the checkpoint was written or read last, or the training begun, by a clock that
            only goes on.
    """

    path: Path | None
    settings: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)
    best_score: float = -math.inf
    best: dict[str, Tensor] = field(default_factory=dict)
    kept: float = field(default_factory=lambda: time.monotonic())

    @classmethod
    def resume(
        cls, path: Path | None, model: nn.Module, optimizer: Optimizer, settings: dict[str, Any]
    ) -> Progress:
        """Put the checkpoint's state into the model and optimizer; without one, start afresh.

        Raises:
            ValueError: the checkpoint cannot be read, or belongs to another training.
        """
        if path is None or not path.is_file():
            return cls(path, settings)
        device = next(model.parameters()).device
        advice = f"delete {path} to start afresh"
        try:
            saved = torch.load(path, map_location=device, weights_only=True)
        except Exception as error:  # the unpickler raises whatever the bytes lead it to
            raise ValueError(f"cannot read the checkpoint ({error}); {advice}") from error
        if saved["settings"] != settings:
            raise ValueError(
                f"the checkpoint belongs to a training with {saved['settings']}, this one has "
                f"{settings}; {advice}"
            )
        try:
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"the checkpoint fits another model ({error}); {advice}") from error
        return cls(path, settings, saved["history"], saved["best_score"], saved["best"])

    def finish_epoch(
        self, row: dict[str, float], model: nn.Module, optimizer: Optimizer, last: bool
    ) -> None:
        """Take an epoch's results in, and write the checkpoint if it is time to.

        Args:
            last: no epoch follows; what comes after may be killed too.

        Raises:
            ValueError: the loss or the score is not finite.
        """
        if not math.isfinite(row["loss"]) or not math.isfinite(row["score"]):
            raise ValueError(
                f"the training diverged: loss {row['loss']} and score {row['score']} in epoch "
                f"{row['epoch']}; lower lr, or use precision='fp32'"
            )
        self.history.append(row)
        if row["score"] >= self.best_score:
            self.best_score = row["score"]
            self.best = {name: value.clone() for name, value in model.state_dict().items()}
        if self.path is None or not (last or time.monotonic() - self.kept >= EVERY):
            return
        content = io.BytesIO()
        torch.save(
            {
                "settings": self.settings,
                "history": self.history,
                "best_score": self.best_score,
                "best": self.best,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
            },
            content,
        )
        write_whole(self.path, content.getvalue())
        self.kept = time.monotonic()
