"""The PCA detector: attacked images weigh too much on the last principal components.

Source: Hendrycks and Gimpel, "Early Methods for Detecting Adversarial Images" (2017), section 3,
and their notebook ``adversarial_whitening`` in github.com/hendrycks/fooling: the variance of the
whitened coefficients from 2500 of 3072 on (CIFAR-10), or from 700 of 784 on (MNIST). The mean
absolute value is what Carlini and Wagner, "Adversarial Examples Are Not Easily Detected" (2017),
look at; they show that on MNIST the border pixels, always black, make the effect.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from washout.checks import check_choice, check_count, check_images
from washout.detectors.components import components

STATISTICS = ("variance", "absolute")
FIRST = 2500 / 3072  # where the authors' last components of CIFAR-10 begin, as a share


class PCADetector(nn.Module):
    """Statistics of an image's whitened late coefficients; higher is more suspicious.

    ``PCADetector.fit`` finds the components. ``forward`` has a gradient, for an attacker who
    knows the detector. All is kept in float64: late coefficients are differences of large sums.

    Args:
        mean: (D,), of the training images.
        basis: (D, K), the late components, one in a column.
        variances: (K,), of the training images along them.
        statistic: ``variance`` over the K coefficients, or ``absolute``, their mean modulus.
        smoother: added to the variances before the root, above 0.

    Raises:
        ValueError: an unknown statistic, a smoother of 0 or less; at a call, images of another
            size.
    """

    mean: Tensor
    basis: Tensor
    variances: Tensor

    def __init__(
        self,
        mean: Tensor,
        basis: Tensor,
        variances: Tensor,
        statistic: str = "variance",
        smoother: float = 1e-11,
    ) -> None:
        super().__init__()
        self.statistic = check_choice(statistic, STATISTICS, "statistic")
        if not smoother > 0:
            raise ValueError(f"smoother: got {smoother}; allowed are numbers above 0, e.g. 1e-11")
        self.smoother = smoother
        for name, value in (("mean", mean), ("basis", basis), ("variances", variances)):
            self.register_buffer(name, value.detach().double())

    @classmethod
    @torch.no_grad()
    def fit(
        cls,
        images: Tensor,
        first: int | None = None,
        *,
        statistic: str = "variance",
        smoother: float = 1e-11,
        batch_size: int = 2000,
        device: str | torch.device | None = None,
    ) -> PCADetector:
        """Find the principal components of clean training images.

        The decomposition is exact; one of low rank would leave out the very components that
        count. With few images there are no D components: those left, one less than images, are
        all that is used.

        Args:
            images: (B, C, H, W), in [0, 1], clean, D = C H W values each; many times D of them,
                or other clean images look suspicious too (on CIFAR-10 with 2 D training images,
                late coefficients of test images have a variance of 8, not 1).
            first: the late components begin with this one, from 0; None takes 2500 / 3072 of
                those there are, as on CIFAR-10.
            statistic: as in the class.
            smoother: as in the class.
            batch_size: images that are multiplied at once.
            device: where to compute and stay; None is where the images are. 6,000 images with
                D = 3072 take about ten seconds on one core.

        Raises:
            ValueError: bad images, or ``first`` beyond the components there are.
        """
        check_images(images)
        check_count(batch_size, 1, "batch_size")
        where = images.device if device is None else torch.device(device)
        dimension = images[0].numel() if len(images) else 0
        rank = max(min(dimension, len(images) - 1), 0)
        if first is None:
            first = round(FIRST * rank)
        # The variance of one coefficient about itself would be 0.
        if check_count(first, 0, "first") > rank - 2:
            raise ValueError(
                f"first: got {first}; {len(images)} images of {dimension} values have "
                f"{rank} components, at least two of which have to be late: lower first "
                "or add images"
            )
        found = components(images, batch_size=batch_size, device=where)
        return cls.of(*found, first, statistic=statistic, smoother=smoother)

    @classmethod
    def of(
        cls,
        mean: Tensor,
        basis: Tensor,
        variances: Tensor,
        first: int | None = None,
        *,
        statistic: str = "variance",
        smoother: float = 1e-11,
    ) -> PCADetector:
        """From all components, as ``components`` found them; the rest as in ``fit``."""
        first = round(FIRST * len(variances)) if first is None else first
        basis = basis[:, first:].contiguous()  # as it is loaded: the same bits come out
        return cls(mean, basis, variances[first:], statistic, smoother)

    def coefficients(self, images: Tensor) -> Tensor:
        """(B, K), float64: of variance 1 each over the training images."""
        check_images(images)
        flat = images.flatten(1).double()
        if flat.shape[1] != len(self.mean):
            raise ValueError(
                f"images: got {flat.shape[1]} values an image; this detector was fit to "
                f"{len(self.mean)}: fit another"
            )
        return (flat - self.mean) @ self.basis / (self.variances + self.smoother).sqrt()

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1], on the detector's device -> scores (B,), float64, from 0 up."""
        found = self.coefficients(images)
        if self.statistic == "absolute":
            return found.abs().mean(1)
        return found.var(1, correction=0)

    @torch.no_grad()
    def scores(self, images: Tensor, *, batch_size: int = 1000) -> Tensor:
        """Scores (B,) on the CPU, without a gradient; the detector stays where it is."""
        check_count(batch_size, 1, "batch_size")
        batches = images.split(batch_size)
        return torch.cat([self(batch.to(self.mean.device)).cpu() for batch in batches])
