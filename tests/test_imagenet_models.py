"""Classifiers with published weights: padding, scale, order of the classes, gradients."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from washout.data import nips2017
from washout.inference import predict
from washout.models import inception
from washout.models.imagenet import available, imagenet_classifier, weights_hash
from washout.models.inception import inception_v3
from washout.models.mobilenet import mobilenet_v2
from washout.paths import data_folder


def random_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Weights with statistics that batch normalization has to use."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.running_var, 0.5), (module.weight.data, 0.5)):
                tensor.uniform_(low, 1.5, generator=generator)
            for tensor in (module.running_mean, module.bias.data):
                tensor.uniform_(-0.2, 0.2, generator=generator)
    return network.state_dict()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(1))


# ---- MobileNet V2 ------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def mobilenet_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "imagenet").mkdir()
    torch.manual_seed(0)
    state = random_state(models.mobilenet_v2(num_classes=1001))
    save_file(state, folder / "imagenet/mobilenet_v2_tf1001.safetensors")
    return folder


def tensorflow_same(convolution: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
    """TensorFlow's formula of the padding, before a convolution without any."""
    (x,) = inputs
    pads: list[int] = []
    for side, kernel, stride in zip(
        reversed(x.shape[2:]),
        reversed(convolution.kernel_size),
        reversed(convolution.stride),
        strict=True,
    ):
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        pads += [total // 2, total - total // 2]
    convolution.padding = (0, 0)
    return F.pad(x, pads)


def test_mobilenet_pads_and_normalizes_as_tensorflow_does(mobilenet_folder, images):
    torch.manual_seed(0)
    reference = models.mobilenet_v2(num_classes=1001)
    random_state(reference)
    for module in reference.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(tensorflow_same)
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
    small = F.interpolate(images, size=(224, 224), mode="bilinear", antialias=False)
    with torch.no_grad():
        expected = reference.eval()(small * 2 - 1)
        model = mobilenet_v2(mobilenet_folder)
        assert torch.allclose(model(images), expected, atol=1e-4 * expected.abs().max())
        assert torch.allclose(model(small), expected, atol=1e-4 * expected.abs().max())
    assert expected.std() > 1e-3
    assert expected.shape == (2, 1001)


def test_mobilenet_gradients(mobilenet_folder, images):
    model = mobilenet_v2(mobilenet_folder)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    x = images.clone().requires_grad_()
    loss = F.cross_entropy(model(x), torch.tensor([3, 4]))
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.isfinite().all()
    assert (gradient != 0).float().mean() > 0.5  # without antialiasing some pixels count for none


def test_mobilenet_files(mobilenet_folder, tmp_path):
    with pytest.raises(ValueError, match=r"safetensors is missing; put .*google-coral/test_data"):
        mobilenet_v2(tmp_path)
    path = tmp_path / "imagenet/mobilenet_v2_tf1001.safetensors"
    path.parent.mkdir()
    whole = (mobilenet_folder / "imagenet" / path.name).read_bytes()
    for content in (b"", whole[:1000], whole[:-1000]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is truncated or another network's"):
            mobilenet_v2(tmp_path)
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="is truncated or another network's"):
        mobilenet_v2(tmp_path)


# ---- Inception V3 ------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def inception_folder(tmp_path_factory) -> Iterator[Path]:
    """Random weights in the file that torchvision's would be in, and its name with their sum."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "imagenet").mkdir()
    torch.manual_seed(0)
    path = folder / "imagenet/weights.pth"
    torch.save(random_state(models.inception_v3(weights=None, init_weights=False)), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    named = path.rename(path.with_name(f"inception_v3_google-{digest[:8]}.pth"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inception, "FILE", f"imagenet/{named.name}")
        yield folder
    named.unlink()  # 100 MB


def test_inception_is_torchvisions_with_the_classes_moved_by_one(inception_folder, images):
    model = inception_v3(inception_folder)
    reference = models.inception_v3(weights=None, transform_input=True, init_weights=False)
    path = inception_folder / inception.FILE
    reference.load_state_dict(torch.load(path, weights_only=True))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        expected = reference.eval()((images - mean) / std)
        got = model(images)
    assert got.shape == (2, 1001)
    assert expected.std() > 1e-3
    assert torch.allclose(got[:, 1:], expected, atol=1e-3 * expected.std())
    assert torch.equal(got[:, 0], got[:, 1:].amin(1) - 10)
    assert torch.equal(got.argmax(1), expected.argmax(1) + 1)
    assert not model.training
    assert model.train()(images).shape == (2, 1001)  # without the second head


def test_inception_gradients(inception_folder, images):
    model = inception_v3(inception_folder)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    x = images[:1].clone().requires_grad_()
    for label in (0, 7):  # the background's loss is finite too
        loss = F.cross_entropy(model(x), torch.tensor([label]))
        (gradient,) = torch.autograd.grad(loss, x)
        assert gradient.isfinite().all()
        assert (gradient != 0).float().mean() > 0.9


def test_inception_files(inception_folder, tmp_path):
    with pytest.raises(ValueError, match=r"is missing, and the download failed \(the tests stay"):
        inception_v3(tmp_path)
    path = tmp_path / inception.FILE
    path.parent.mkdir()
    path.write_bytes((inception_folder / inception.FILE).read_bytes()[:10_000])
    with pytest.raises(ValueError, match=r"is truncated or altered \(its SHA-256 sum.*delete it"):
        inception_v3(tmp_path)


# ---- by name -----------------------------------------------------------------------------------
def test_by_name(mobilenet_folder, tmp_path):
    assert available("mobilenet_v2", mobilenet_folder)
    assert not available("inception_v3", mobilenet_folder)
    assert not available("mobilenet_v2", tmp_path)
    content = (mobilenet_folder / "imagenet/mobilenet_v2_tf1001.safetensors").read_bytes()
    expected = hashlib.sha256(content).hexdigest()[:12]
    assert weights_hash("mobilenet_v2", mobilenet_folder) == expected
    assert isinstance(imagenet_classifier("mobilenet_v2", mobilenet_folder), nn.Module)
    for function in (available, weights_hash, imagenet_classifier):
        with pytest.raises(ValueError, match="classifier: got 'vgg'; allowed are inception_v3, mo"):
            function("vgg", tmp_path)
    with pytest.raises(ValueError, match=r"classifier 'mobilenet_v2': .* is missing"):
        weights_hash("mobilenet_v2", tmp_path)


def test_the_hash_follows_the_file(tmp_path):
    path = tmp_path / "imagenet/mobilenet_v2_tf1001.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"one")
    first = weights_hash("mobilenet_v2", tmp_path)
    path.write_bytes(b"another")
    assert weights_hash("mobilenet_v2", tmp_path) != first


# ---- the real weights --------------------------------------------------------------------------
@pytest.mark.data
def test_mobilenet_on_real_images():
    folder = data_folder()
    if not available("mobilenet_v2", folder) or not (folder / "nips2017/images").is_dir():
        pytest.skip(f"MobileNet V2 and nips2017 are not in {folder}; set WASHOUT_DATA")
    found = nips2017(folder, index=range(0, 1000, 5))
    right = 0
    model = mobilenet_v2(folder)
    for start in range(0, len(found), 50):
        part = found[start : start + 50]
        right += int((predict(model, part.images, batch_size=50) == part.labels).sum())
    assert abs(right / len(found) - 0.83) < 0.05  # 0.830 of all 1,000; symmetric padding has 0.76
