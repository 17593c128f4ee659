"""Moving work to a machine without a network, and rows and weights back."""

from washout.moving.merging import Merged, merge
from washout.moving.parts import MANIFEST
from washout.moving.places import fetched, sent
from washout.moving.sending import Packed, bundle, pack

__all__ = ["MANIFEST", "Merged", "Packed", "bundle", "fetched", "merge", "pack", "sent"]
