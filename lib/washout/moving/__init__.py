"""Moving work to a machine without a network, and rows and weights back."""

from washout.moving.merging import Merged, merge
from washout.moving.sending import bundle, pack

__all__ = ["Merged", "bundle", "merge", "pack"]
