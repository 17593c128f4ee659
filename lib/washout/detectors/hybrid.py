"""The rule of the hybrid detector: uncertainty decides where it is clear, crops where it is not.

Source: Wang and Zhang, "Reproducing 'Toward Robust Image Classification'", Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from washout.checks import check_count


@dataclass(frozen=True)
class Hybrid:
    """Algorithm 1 with its three numbers.

    Uncertainty above ``high`` means adversarial, below ``low`` clean. In between (both ends
    included) an image is clean if enough of its five crops keep its class. The printed algorithm
    asks for more than C crops, which C = 5 of 5 can never fulfil; section 5 says that all five
    have to agree, so at least C is the default.

    Attributes:
        low: L, at most ``high``; in the unit of the uncertainty.
        high: H.
        count: C, from 0 to 5 crops.
        inclusive: True asks for at least C crops (the text), False for more than C (as printed).

    Raises:
        ValueError: thresholds in the wrong order or NaN, or a count outside 0 to 5.
    """

    low: float
    high: float
    count: int = 5
    inclusive: bool = True

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"low: got {self.low}; allowed are numbers up to high={self.high}")
        if check_count(self.count, 0, "count") > 5:
            raise ValueError(f"count: got {self.count}; allowed are 0 to 5, there are five crops")

    def agrees(self, agreement: Tensor) -> Tensor:
        """(B,), bool: whether enough crops keep the image's class."""
        return agreement >= self.count if self.inclusive else agreement > self.count

    def flag(self, uncertainty: Tensor, agreement: Tensor) -> Tensor:
        """Declare images adversarial.

        Args:
            uncertainty: (B,), from ``mc_dropout``.
            agreement: (B,), from ``crop_agreement``.

        Returns:
            (B,), bool, True where adversarial.

        Raises:
            ValueError: the two differ in shape.
        """
        if uncertainty.shape != agreement.shape:
            raise ValueError(
                f"agreement: got shape {tuple(agreement.shape)}; allowed is that of uncertainty, "
                f"{tuple(uncertainty.shape)}: count the crops of the same images"
            )
        # A float32 score next to a threshold between two scores must not be rounded onto it.
        score = uncertainty.double()
        return (score > self.high) | ((score >= self.low) & ~self.agrees(agreement))
