"""Crops against torchvision, the simple baselines, and what bad input says."""

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as vision
from torch import nn

from washout import detectors, metrics
from washout.detectors import Hybrid, choose_threshold, choose_thresholds, mc_dropout
from washout.models import build


def seed(value=0):
    return torch.Generator().manual_seed(value)


def linear(dropout, p=0.5):
    """Four pixels, dropout, three classes; its 16 masks can be listed."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), dropout(p), nn.Linear(4, 3))


@pytest.fixture(scope="module")
def lenet():
    torch.manual_seed(0)
    model = build("lenet", in_channels=1, size=28, classes=10)
    for parameter in model.parameters():  # larger weights, so that passes disagree visibly
        parameter.data *= 1.5
    return model.eval()


@pytest.fixture(autouse=True)
def _one_thread():
    """Tensors here are small: a second thread costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("height", "width", "size"), [(28, 28, 24), (28, 28, 26), (10, 14, 7)])
def test_five_crops_are_torchvisions(height, width, size):
    images = torch.rand(3, 2, height, width, generator=seed())
    found = detectors.five_crops(images, size)
    assert found.shape == (3, 5, 2, height, width)
    for index, crop in enumerate(vision.five_crop(images, [size, size])):
        resized = vision.resize(crop, [height, width], antialias=False)
        if index < 4 or (height - size) % 2 == 0 == (width - size) % 2:
            torch.testing.assert_close(found[:, index], resized)


def test_crops_of_the_whole_size_are_the_image_and_mirror_with_it():
    images = torch.rand(2, 1, 12, 12, generator=seed())
    assert torch.equal(detectors.five_crops(images, 12), images[:, None].expand(-1, 5, -1, -1, -1))
    mirrored = detectors.five_crops(images.flip(3), 8).flip(4)
    torch.testing.assert_close(mirrored[:, [1, 0, 3, 2, 4]], detectors.five_crops(images, 8))


def test_crop_agreement_by_one_image_at_a_time(lenet):
    images = torch.rand(9, 1, 28, 28, generator=seed())
    images[:, :, :, :14] *= torch.linspace(0, 1, 9).view(-1, 1, 1, 1)
    with torch.no_grad():
        reference = lenet(images).argmax(1)
        expected = [
            sum(
                int(lenet(crop[None]).argmax() == own)
                for crop in detectors.five_crops(image[None], 20)[0]
            )
            for image, own in zip(images, reference, strict=True)
        ]
    lenet.train()
    found = detectors.crop_agreement(lenet, images, reference, 20, batch_size=4)
    assert lenet.training
    lenet.eval()
    assert found.tolist() == expected
    assert found.dtype == torch.int64
    whole = detectors.crop_agreement(lenet, images, reference, 28)
    assert (whole == 5).all()
    assert (detectors.crop_agreement(lenet, images, (reference + 1) % 10, 28) == 0).all()


def test_background_is_the_mean_of_the_frame():
    images = torch.zeros(2, 1, 10, 10)
    images[:, :, 3:7, 3:7] = 1
    images[1, :, :3] = 0.5  # 30 of the frame's 84 pixels
    expected = [0.0, 15 / 84]
    assert detectors.background(images).tolist() == pytest.approx(expected)


def test_max_softmax_of_a_linear_classifier():
    model, images = linear(nn.Dropout), torch.rand(5, 1, 2, 2, generator=seed())
    found = detectors.max_softmax(model.train(), images, batch_size=2)
    expected = 1 - F.softmax(model[2](images.flatten(1)), 1).max(1).values
    torch.testing.assert_close(found.float(), expected.detach(), rtol=1e-5, atol=1e-6)
    assert model.training


# Real classifiers


def test_noise_raises_the_uncertainty_of_a_trained_network(digits_model, digits_data):
    images = digits_data.test.images[:150]
    clean = mc_dropout(digits_model, images, generator=seed())
    noise = torch.rand(images.shape, generator=seed()) - 0.5
    noisy = mc_dropout(digits_model, (images + noise).clamp(0, 1), generator=seed())
    assert metrics.auc(noisy.uncertainty, clean.uncertainty).low > 0.5
    assert metrics.accuracy(clean.provisional, digits_data.test.labels[:150]) > 0.9


IMAGES = torch.rand(4, 1, 28, 28)
SCORES, LABELS = torch.rand(4), torch.tensor([True, False, True, False])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: mc_dropout(m, IMAGES, passes=1), r"passes: got 1"),
        (lambda m: mc_dropout(m, IMAGES, batch_size=0), r"batch_size: got 0"),
        (lambda m: mc_dropout(m, IMAGES * 255), r"images: .*\[0, 1\]"),
        (lambda m: mc_dropout(nn.Flatten(), IMAGES), r"Flatten, which has no dropout layer"),
        (lambda m: detectors.dropout_ensemble(m, 0), r"passes: got 0"),
        (lambda m: detectors.dropout_ensemble(m, average="votes"), r"average: got 'votes'"),
        (lambda m: detectors.five_crops(IMAGES, 29), r"size: got 29.*28"),
        (lambda m: detectors.crop_agreement(m, IMAGES, torch.zeros(3, dtype=torch.int64), 26),
         r"reference: expected shape \(4,\)"),
        (lambda m: Hybrid(0.5, 0.1), r"low: got 0.5"),
        (lambda m: Hybrid(0.1, float("nan")), r"low: got 0.1"),
        (lambda m: Hybrid(0.1, 0.5, 6), r"count: got 6"),
        (lambda m: Hybrid(0.1, 0.5).flag(SCORES, torch.zeros(3)), r"agreement: got shape \(3,\)"),
        (lambda m: choose_thresholds(SCORES, torch.zeros(4), LABELS.int()), r"torch\.bool"),
        (lambda m: choose_thresholds(SCORES, torch.zeros(3), LABELS), r"agreement: got shape"),
        (lambda m: choose_thresholds(SCORES, torch.zeros(4), LABELS, radius=2), r"radius: got 2"),
        (lambda m: choose_threshold(SCORES, torch.ones(4, dtype=torch.bool)), r"one kind only"),
        (lambda m: choose_threshold(SCORES * math.nan, LABELS), r"scores: got NaN"),
        (lambda m: detectors.threshold_at_fpr(SCORES, 1.5), r"rate: got 1.5"),
        (lambda m: detectors.background(IMAGES, 15), r"width: got 15; allowed are 1 to 14"),
    ],
)  # fmt: skip
def test_bad_input_says_what_is_allowed(lenet, call, message):
    with pytest.raises(ValueError, match=message):
        call(lenet)
