"""The paper's pools of images, drawn from stored rows: who is in a column of Tables 3 and 4.

Pool A is all attacked images that the classifier misreads, those among them that it misreads when
clean; the paper draws 5,000 of the 10,000 test images' for each column, and 3,000, 3,000 and 4,000
for its overall number. Pool B leaves out what is misread when clean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from washout.chapters.bits import unpacked
from washout.chapters.chapter4.settings import COLUMN, GUESSING, MAIN, MIXTURE, NOISE, WIDTHS
from washout.papers import load
from washout.store import Row
from washout.study import Missing

Rows = Sequence[Row | Missing]
Bits = np.ndarray
# What the autoencoder's width is calibrated to, on validation images.
TARGET = "xiong/table3/after/deepfool"
# Up to so many bits per dimension a flow is held to be like the paper's; its code says 3.39.
BITS = 3.7
OTHER = 20  # which draw the column of an attack has that is not the paper's


def target() -> float:
    """The share of DeepFool's images that the autoencoder restores in the paper."""
    return load("xiong").numbers[TARGET].rate


@lru_cache(maxsize=64)
def drawn(pool: bytes, count: int, seed: int, use: int) -> np.ndarray:
    """Indices of ``count`` members of a pool, or all if there are fewer.

    Args:
        pool: bool (n,) as bytes.
        use: which draw; each column and the overall number have their own.
    """
    members = np.frombuffer(pool, dtype=bool).nonzero()[0]
    order = np.random.default_rng([seed, use]).permutation(len(members))
    return np.sort(members[order[:count]])


class Found:
    """What is stored of one dataset and seed, of one network.

    Rows of two profiles are about different images: those of the profile with more rows count.
    """

    def __init__(self, dataset: str, seed: int, *tables: Rows, net: str = "resnet8"):
        self.dataset, self.seed, self.net = dataset, seed, net
        self.rows = [
            row
            for table in tables
            for row in table
            if isinstance(row, Row)
            and row.spec["dataset"] == dataset
            and row.spec["seed"] == seed
            and row.spec.get("net", net) == net
        ]
        usual = Counter(row.profile for row in self.rows).most_common(1)
        self.rows = [row for row in self.rows if row.profile == usual[0][0]]

    def row(self, table: str, **spec: object) -> Row | None:
        """The one row of a table with this specification, and no other key but the usual."""
        for row in self.rows:
            extra = set(row.spec) - set(spec) - {"dataset", "seed", "net"}
            same = all(row.spec.get(k) == v for k, v in spec.items())
            if row.table == table and same and not extra:
                return row
        return None

    # ---- who fools the classifier --------------------------------------------------------------
    @property
    def attacks(self) -> list[str]:
        """The paper's attacks that are stored; in a run for another one, that one."""
        found = [row.spec["attack"] for row in self.rows if row.table == "attack"]
        return [m for m in MAIN if m in found] or [a for a in found if a != NOISE]

    @property
    def right(self) -> Bits | None:
        """Which clean images are read rightly, (n,) bool: as many as the attack with most sees."""
        rows = [row for row in self.rows if row.table == "attack"]
        most = max(rows, key=lambda row: row.values["n"], default=None)
        return None if most is None else unpacked(most.values["right"], most.values["n"])

    def who(self, attack: str, word: str) -> Bits | None:
        """Of the attack's row, ``right`` (clean), ``wrong`` or ``wrong_rounded``; (n,) bool."""
        row = self.row("attack", attack=attack)
        return None if row is None else unpacked(row.values[word], row.values["n"])

    def pool(self, attack: str, kind: str = "A") -> Bits | None:
        """Members of pool A or B, (n,) bool."""
        wrong, right = self.who(attack, "wrong"), self.who(attack, "right")
        if wrong is None or right is None:
            return None
        return wrong if kind == "A" else wrong & right

    def column(self, attack: str) -> np.ndarray | None:
        """The images of a column: half as many as there are test images, of pool A."""
        pool = self.pool(attack)
        if pool is None:
            return None
        count = round(COLUMN * len(pool))
        use = MAIN.index(attack) if attack in MAIN else OTHER
        return drawn(pool.tobytes(), count, self.seed, use)

    def clean_column(self, n: int) -> np.ndarray:
        """As many clean images as a column has attacked ones."""
        return drawn(np.ones(n, dtype=bool).tobytes(), round(COLUMN * n), self.seed, len(MAIN))

    def overall(self) -> dict[str, np.ndarray] | None:
        """The images of the overall number, by attack."""
        found = {}
        for label, share in MIXTURE.items():
            pool = self.pool(label)
            if pool is None:
                return None
            use = 10 + MAIN.index(label)
            found[label] = drawn(pool.tobytes(), round(share * len(pool)), self.seed, use)
        return found

    # ---- the autoencoder -----------------------------------------------------------------------
    def widths(self) -> dict[int, float] | None:
        """The share of DeepFool's validation images that each width restores; None if one lacks."""
        rows = [row for row in self.rows if row.table == "width"]
        found = {
            row.spec["width"]: row.values["restored"] / max(row.values["pool"], 1) for row in rows
        }
        return found if set(found) == set(WIDTHS) else None

    @property
    def width(self) -> int | None:
        """The width that restores nearest to ``target()``."""
        found = self.widths()
        if found is None:
            return None
        return min(found, key=lambda width: abs(found[width] - target()))

    @property
    def bracketed(self) -> bool:
        """Whether ``target()`` lies between what two of the widths restore."""
        found = (self.widths() or {}).values()
        return bool(found) and min(found) <= target() <= max(found)

    def read(self, attack: str, defense: str) -> Bits | None:
        """Which images are read rightly after a repainting, (n,) bool."""
        row = self.row("cleaned", attack=attack, defense=defense)
        return None if row is None else unpacked(row.values["right"], row.values["n"])

    def restored(self, attack: str, defense: str) -> tuple[int, int] | None:
        """Of a column's images, how many are read rightly after a repainting."""
        bits, index = self.read(attack, defense), self.column(attack)
        if bits is None or index is None or not len(index):
            return None
        return int(bits[index].sum()), len(index)

    def restored_overall(self, defense: str) -> tuple[int, int] | None:
        """Of the overall draw's images, how many are read rightly after a repainting."""
        chosen, right, n = self.overall(), 0, 0
        for label, index in (chosen or {}).items():
            bits = self.read(label, defense)
            if bits is None:
                return None
            right, n = right + int(bits[index].sum()), n + len(index)
        return (right, n) if n else None

    # ---- the flow ------------------------------------------------------------------------------
    @property
    def bits(self) -> float | None:
        """Bits per dimension of the trained flow."""
        row = self.row("flow", flow="trained")
        return None if row is None else row.values["bits"]

    @property
    def comparable(self) -> bool:
        """Whether the flow is nearly as good as the paper's."""
        return self.bits is not None and self.bits <= BITS

    # ---- detectors -----------------------------------------------------------------------------
    def detector(
        self, attack: str, features: str = "latents", trained: str = "mixture", **more: object
    ) -> Row | None:
        """The row of one detector and one attack."""
        return self.row("detection", attack=attack, features=features, trained=trained, **more)

    def flagged(self, attack: str, features: str = "latents", trained: str = "mixture",
                **more: object) -> tuple[Bits, Bits] | None:  # fmt: skip
        """Which attacked, and which clean images a detector flags, (n,) and (N,) bool.

        None, too, of a control that was not trained: it decides nothing.
        """
        row = self.detector(attack, features, trained, **more)
        if row is None or untrained(row):
            return None
        v = row.values
        return unpacked(v["flagged"], v["n"]), unpacked(v["flagged_clean"], v["n_clean"])

    def declared(self, attack: str, features: str = "latents", trained: str = "mixture",
                 **more: object) -> Bits | None:  # fmt: skip
        """Of a column's attacked and as many clean images, which are declared what they are."""
        found, index = self.flagged(attack, features, trained, **more), self.column(attack)
        if found is None or index is None:
            return None
        flagged, clean = found
        others = self.clean_column(len(clean))[: len(index)]
        return np.concatenate([flagged[index], ~clean[others]])

    def detected(self, attack: str, features: str = "latents", trained: str = "mixture",
                 **more: object) -> tuple[int, int] | None:  # fmt: skip
        """How many these are, of how many."""
        bits = self.declared(attack, features, trained, **more)
        return None if bits is None or not len(bits) else (int(bits.sum()), len(bits))

    def detected_all(self, attack: str, features: str = "latents") -> tuple[int, int] | None:
        """Of all images, clean and attacked: those included that the attack does not turn."""
        found = self.flagged(attack, features)
        if found is None:
            return None
        flagged, clean = found
        clean = clean[: len(flagged)]  # as many of either kind
        return int(flagged.sum() + (~clean).sum()), 2 * len(flagged)

    def detected_overall(self, features: str = "latents") -> tuple[int, int] | None:
        """Of all clean images and the overall draw's attacked ones, the same."""
        chosen, right, n = self.overall(), 0, 0
        for label, index in (chosen or {}).items():
            found = self.flagged(label, features)
            if found is None:
                return None
            if not n:
                right, n = int((~found[1]).sum()), len(found[1])
            right, n = right + int(found[0][index].sum()), n + len(index)
        return (right, n) if n else None


def untrained(row: Row) -> bool:
    """Whether a control's training never got off the ground: it does no better than guessing."""
    loss = row.values.get("training", {}).get("validation_loss", 0.0)
    return row.spec["features"] != "latents" and loss > GUESSING


def groups(*tables: Rows) -> list[Found]:
    """What is stored, by dataset and seed, the first seed first."""
    keys = dict.fromkeys(
        (row.spec["dataset"], row.spec["seed"]) for table in tables for row in table
    )
    return [Found(dataset, seed, *tables) for dataset, seed in sorted(keys)]


def firsts(*tables: Rows) -> list[Found]:
    """What is stored of each dataset, of its first seed."""
    found: dict[str, Found] = {}
    for group in groups(*tables):
        found.setdefault(group.dataset, group)
    return list(found.values())


__all__ = ["Found", "Rows", "firsts", "groups", "target", "untrained"]
