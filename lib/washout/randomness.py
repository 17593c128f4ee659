"""PyTorch's own random state, for what cannot be handed a generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device | str) -> Iterator[None]:
    """Seed PyTorch's own random state, and put the caller's back at the end."""
    place = torch.device(device)
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
