"""What Monte Carlo dropout needs of a classifier: dropout alone switched on, and its fixed part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

Function = Callable[[Tensor], Tensor]


def dropout_layers(model: nn.Module) -> list[nn.Module]:
    """The model's dropout layers: PyTorch's kinds and what derives from them."""
    return [layer for layer in model.modules() if isinstance(layer, _DropoutNd)]


@contextmanager
def dropping(
    model: nn.Module, generator: torch.Generator | None, device: torch.device
) -> Iterator[None]:
    """Switch on the dropout layers alone, with masks drawn from ``generator``.

    Layers with a ``generator`` attribute draw from it directly. PyTorch's own layers know only the
    global generator, so that one is seeded from ``generator`` here and put back at the end.
    Without a generator, all draw as they always do.

    Raises:
        ValueError: the model has no dropout layer.
    """
    layers = dropout_layers(model)
    if not layers:
        raise ValueError(
            f"model: got {type(model).__name__}, which has no dropout layer; its passes would all "
            "be the same. Give a model with nn.Dropout or washout.models.layers.Dropout"
        )
    modes = [layer.training for layer in layers]
    own = {layer: layer.generator for layer in layers if hasattr(layer, "generator")}
    with ExitStack() as stack:
        if generator is not None:
            generator = generator_on(device, generator)
            for layer in own:
                layer.generator = generator  # type: ignore[assignment]
            if len(own) < len(layers):
                stack.enter_context(seeded(device, generator))
        for layer in layers:
            layer.training = True
        try:
            yield
        finally:
            for layer, mode in zip(layers, modes, strict=True):
                layer.training = mode
            for layer, before in own.items():
                layer.generator = before


@contextmanager
def seeded(device: torch.device, generator: torch.Generator) -> Iterator[None]:
    """Seed the device's global generator with one draw from ``generator``, then put it back."""
    seed = draw_seed(generator)
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        else:
            torch.default_generator.manual_seed(seed)
        yield


def draw_seed(generator: torch.Generator) -> int:
    """One seed drawn from ``generator``."""
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


def generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """``generator`` itself, or one on ``device`` that is seeded with a draw from it."""
    if generator.device.type == device.type:
        return generator
    return torch.Generator(device).manual_seed(draw_seed(generator))


def place(model: nn.Module, device: str | torch.device | None) -> torch.device:
    """Move the model to ``device`` (None: leave it where it is) and return where it is now."""
    if device is not None:
        model.to(device)
    parameter = next(model.parameters(), None)
    return parameter.device if parameter is not None else torch.device(device or "cpu")


def parts(model: nn.Module, images: Tensor) -> tuple[Function, Function]:
    """What to compute once and what in every pass: ``features`` and ``head``, if there are any.

    Some networks name other things so, or drop units in their features. That is tried on the
    images, not assumed: where ``head(features(images))`` is not the model, or the features hold
    dropout, nothing is computed once and the whole model in every pass. The model has to be in
    evaluation mode.
    """
    whole = (lambda images: images), model
    features, head = getattr(model, "features", None), getattr(model, "head", None)
    if not (callable(features) and callable(head)):
        return whole
    dropped: list[bool] = []
    hooks = [
        layer.register_forward_hook(lambda *_: dropped.append(True))
        for layer in dropout_layers(model)
    ]
    try:
        with torch.no_grad():
            once = features(images)
            early = bool(dropped)
            got, expected = head(once), model(images)
    except RuntimeError:  # the shapes do not fit: the head expects something else
        return whole
    finally:
        for hook in hooks:
            hook.remove()
    # A wrong split differs far more than the last bits of two equal computations.
    same = got.shape == expected.shape and torch.allclose(got, expected, 1e-3, 1e-3)
    return (features, head) if same and not early else whole
