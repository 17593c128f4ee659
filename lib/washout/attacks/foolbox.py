"""foolbox as the second opinion: any of its attacks by name, with its known traps closed.

What is guarded here, for foolbox 3.3.4: it fills the parameters' ``.grad``; its Carlini-Wagner
returns black images where it failed and counts them as successes; it refuses images that leave
the bounds by a rounding error; it draws from the global random state.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from washout.attacks.result import Attacked, judge
from washout.checks import check_choice, check_range

# For attacks with a fixed budget foolbox has no default epsilon. By norm and dataset:
EPSILONS = {
    "linf": {"*": 0.3, "cifar10": 8 / 255, "photos": 8 / 255},
    "l2": {"*": 2.0, "cifar10": 0.5, "photos": 0.5},
    "l1": {"*": 20.0, "cifar10": 10.0, "photos": 10.0},
}


def names() -> list[str]:
    """The names that foolbox gives its attacks, short ones included."""
    library = _library().attacks
    classes = {name: found for name, found in vars(library).items() if inspect.isclass(found)}
    return sorted(
        name
        for name, found in classes.items()
        if issubclass(found, library.Attack) and found is not library.Attack
    )


def describe(name: str) -> dict[str, Any]:
    """The fields of ``registry.Attack`` for one of foolbox's attacks.

    Raises:
        ValueError: an unknown name, or foolbox is not installed.
    """
    check_choice(name, names(), "foolbox attack")
    library = _library()
    found = getattr(library.attacks, name)
    p = getattr(getattr(found, "distance", None), "p", -1.0)
    norm = {0.0: "l0", 1.0: "l1", 2.0: "l2", float("inf"): "linf"}.get(p, "any")
    minimal = not issubclass(found, library.attacks.base.FixedEpsilonAttack)
    parameters = inspect.signature(found).parameters.values()
    settings = {q.name: None if q.default is q.empty else q.default for q in parameters}
    budgets = {"*": None} if minimal else EPSILONS.get(norm, EPSILONS["l2"])
    defaults: dict[str, dict[str, Any]] = {key: {"eps": eps} for key, eps in budgets.items()}
    defaults["*"] |= {**settings, "targeted": False}
    return {
        "name": f"foolbox:{name}",
        "function": partial(attack, name),
        "norm": norm,
        "source": f"foolbox {library.__version__}, {found.__name__}",
        "summary": (inspect.getdoc(found) or found.__name__).splitlines()[0],
        "minimal": minimal,
        "defaults": defaults,
        "version": 1,
    }


def attack(
    name: str,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | None = None,
    targeted: bool = False,
    generator: torch.Generator | None = None,
    **settings: Any,
) -> Attacked:
    """Run foolbox's attack ``name``.

    Args:
        name: one of ``names()``.
        model: images to logits (B, K).
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the classes to reach if ``targeted``.
        eps: budget in the attack's norm; None lets a minimizing attack search freely.
        targeted: go towards ``y`` instead of away from it.
        generator: seeds the random states that foolbox uses; they are put back afterwards.
        settings: what the attack's class takes; None for one without a default leaves it out.

    Returns:
        The perturbed images; where a minimizing attack failed, the input.

    Raises:
        ValueError: foolbox refuses the settings or the images, with its words.
    """
    library = _library()
    if isinstance(eps, Tensor) and eps.ndim:
        raise ValueError(
            f"eps: got a tensor of shape {tuple(eps.shape)}; foolbox takes one number for all "
            "images, run it once for each"
        )
    if eps is not None:
        check_range(eps, 0.0, torch.inf, "eps")
    found = getattr(library.attacks, name)
    minimal = not issubclass(found, library.attacks.base.FixedEpsilonAttack)
    signature = inspect.signature(found).parameters
    settings = {
        key: value
        for key, value in settings.items()
        if value is not None or key not in signature or signature[key].default is None
    }
    criteria = library.criteria
    criterion = (criteria.TargetedMisclassification if targeted else criteria.Misclassification)(y)
    with _seeded(generator, x.device), _parameters_untouched(model):
        wrapped = library.PyTorchModel(model, bounds=(0, 1), device=x.device)
        try:
            _, images, _ = found(**settings)(wrapped, x.clamp(0, 1), criterion, epsilons=eps)
        except (AssertionError, NotImplementedError, TypeError, ValueError) as error:
            raise ValueError(
                f"foolbox:{name} refused: {error or type(error).__name__}; see {found.__name__} "
                "in foolbox's documentation for what it takes"
            ) from error
    images = images.detach().clamp(0, 1)
    if minimal:
        # Zeros are what Carlini-Wagner and EAD return where they found nothing.
        black = ~images.flatten(1).any(1) | ~images.flatten(1).isfinite().all(1)
        images = torch.where(black[:, None, None, None], x, images)
    success = judge(model, images, y, targeted).success
    if minimal:
        images = torch.where(success[:, None, None, None], images, x)
    return Attacked(images, success)


def _library() -> ModuleType:
    try:
        import foolbox
        import foolbox.attacks.base
    except ImportError:
        raise ValueError(
            "attack: foolbox:NAME needs the foolbox package, which is not installed; "
            "pip install foolbox, or take one of this package's own attacks"
        ) from None
    return foolbox


@contextmanager
def _parameters_untouched(model: nn.Module) -> Iterator[None]:
    """Freeze the parameters, which foolbox's backward() would fill, and put them back."""
    before = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    for p, _, _ in before:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p, requires_grad, grad in before:
            p.requires_grad_(requires_grad)
            p.grad = grad


@contextmanager
def _seeded(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's and NumPy's global random states from the generator, for a while."""
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    numpy_state = np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
