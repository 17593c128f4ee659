"""K-means quantization against scikit-learn from the same centers, and what it has to do."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from washout import data
from washout.defenses.kmeans import kmeans, lloyd
from washout.defenses.kmeans_starts import plus_plus, random_start

pytestmark = pytest.mark.usefixtures("one_thread")


def seed(value=0):
    return torch.Generator().manual_seed(value)


def random_images(*shape, dtype=torch.float64):
    return torch.rand(*shape, generator=seed(), dtype=dtype)


@pytest.fixture(scope="module")
def photos():
    """Real images off the grid of 8 bits: there, many a pixel is as near to two centers."""
    images = data.photos().test.images[:6].double()
    return (images + random_images(*images.shape) / 255) / (1 + 1 / 255)


def points_of(images, by="pixel"):
    """(B, P, D), written out by loops."""
    height, width = images.shape[2:]
    if by == "row":
        return torch.stack([images[:, :, row].flatten(1) for row in range(height)], 1)
    pixels = [images[:, :, row, column] for row in range(height) for column in range(width)]
    return torch.stack(pixels, 1)


def scikit(points, centers, **given):
    """scikit-learn's K-means, image by image: the points' centers, and the inertia."""
    painted, inertia = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for few, start in zip(points.numpy(), centers.numpy(), strict=True):
            found = KMeans(len(start), init=start, n_init=1, algorithm="lloyd", **given).fit(few)
            painted.append(found.cluster_centers_[found.labels_])
            inertia.append(found.inertia_)
    return torch.from_numpy(np.stack(painted)), torch.tensor(inertia, dtype=points.dtype)


def inertia_of(points, painted):
    return ((points - painted) ** 2).flatten(1).sum(1)


@pytest.mark.parametrize("start", [random_start, plus_plus])
@pytest.mark.parametrize(
    ("channels", "by", "clusters"),
    [(3, "pixel", 50), (3, "pixel", 5), (1, "pixel", 16), (3, "row", 8), (1, "row", 16)],
)
def test_is_scikit_learns_from_the_same_centers(photos, start, channels, by, clusters):
    for images in (photos[:, :channels], random_images(4, channels, 17, 13)):
        points = points_of(images, by)
        centers = start(points, min(clusters, points.shape[1]), seed())
        for given, limits in (
            ({}, {}),
            ({"max_iter": 3}, {"steps": 3}),
            ({"tol": 0.01}, {"tolerance": 0.01}),
            ({"tol": 0}, {"tolerance": 0}),
        ):
            painted, inertia = scikit(points, centers, **given)
            found = lloyd(points, centers, **limits)
            index = found.labels[..., None].expand(-1, -1, points.shape[2])
            torch.testing.assert_close(found.centers.gather(1, index), painted, rtol=0, atol=1e-5)
            torch.testing.assert_close(found.inertia, inertia, rtol=1e-9, atol=1e-9)
            image = kmeans(images, clusters=centers.shape[1], by=by, centers=centers, **limits)
            torch.testing.assert_close(points_of(image, by), painted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_centers_without_points_go_where_scikit_learn_puts_them(photos, channels):
    points = points_of(photos[:, :channels])
    # Most centers equal, or far outside, so that there are many without points at first.
    equal = points[:, :1].repeat(1, 12, 1)
    equal[:, :3] = points[:, 100:400:100]
    outside = torch.cat(
        [equal[:, :4], 5 + torch.rand(6, 8, channels, generator=seed()).double()], 1
    )
    for centers in (equal, outside, equal.flip(1)):
        painted, inertia = scikit(points, centers)
        found = lloyd(points, centers)
        index = found.labels[..., None].expand(-1, -1, channels)
        torch.testing.assert_close(found.centers.gather(1, index), painted, rtol=0, atol=1e-5)
        torch.testing.assert_close(found.inertia, inertia, rtol=1e-9, atol=1e-9)
        assert (found.labels.flatten(1).amax(1) > 0).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_fewer_colors_than_clusters_come_back_as_they_are(channels):
    few = random_images(3, channels, 1, 5)
    images = few.repeat(1, 1, 8, 2)
    for start in ("random", "k-means++"):
        found = kmeans(images, clusters=20, start=start, generator=seed())
        torch.testing.assert_close(found, images, rtol=0, atol=1e-9)
    black = torch.zeros(2, channels, 6, 6)
    assert torch.equal(kmeans(black, clusters=4, start="k-means++", generator=seed()), black)


@pytest.mark.parametrize("channels", [1, 3])
def test_on_whole_pixel_values_it_is_as_good_as_scikit_learns(channels):
    # Ties are common there, and which of two centers takes a point is chance in both.
    images = data.photos().test.images[:20, :channels]
    points = points_of(images)
    centers = random_start(points, 30, seed())
    _, inertia = scikit(points, centers)
    found = lloyd(points, centers)
    assert found.inertia.mean().item() == pytest.approx(inertia.mean().item(), rel=0.02)
    image = kmeans(images, clusters=30, centers=centers)
    torch.testing.assert_close(
        inertia_of(points, points_of(image)), found.inertia, rtol=1e-3, atol=1e-5
    )


def test_labels_belong_to_the_centers_and_centers_are_means(photos):
    for images in (photos, photos[:, :1]):
        points = points_of(images)
        found = lloyd(points, random_start(points, 20, seed()), tolerance=0)
        apart = torch.cdist(points, found.centers)
        torch.testing.assert_close(
            apart.gather(2, found.labels[..., None])[..., 0], apart.amin(2), rtol=0, atol=1e-9
        )
        for row in range(len(points)):
            for label in range(20):
                own = points[row][found.labels[row] == label]
                torch.testing.assert_close(found.centers[row, label], own.mean(0))


def test_single_precision_is_as_good(photos):
    points = points_of(photos)
    centers = random_start(points, 50, seed())
    single, double = lloyd(points.float(), centers.float()), lloyd(points, centers)
    assert single.inertia.sum().item() == pytest.approx(double.inertia.sum().item(), rel=0.01)
    assert (single.labels == double.labels).double().mean() > 0.8


def test_each_row_is_by_itself(photos):
    # Flat ones are done early: images leave at several steps.
    for channels in (1, 3):
        images = torch.cat([photos, photos.round(), photos * 0 + 0.5])[:, :channels].float()
        centers = random_start(points_of(images), 24, seed())
        found = kmeans(images, clusters=24, centers=centers)
        for row in range(0, len(images), 3):
            part = slice(row, row + 1)
            alone = kmeans(images[part], clusters=24, centers=centers[part])
            torch.testing.assert_close(alone, found[part], rtol=0, atol=1e-6)


def test_threads_change_nothing(photos):
    given = {"clusters": 20, "start": "k-means++"}
    found = kmeans(photos, **given, generator=seed())
    torch.set_num_threads(2)
    try:
        threaded = kmeans(photos, **given, generator=seed())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(threaded, found, rtol=0, atol=1e-9)


def test_random_start_takes_distinct_points_at_random():
    points = torch.arange(10.0).repeat(20_000, 1)[..., None]
    centers = random_start(points, 4, seed())[..., 0]
    assert (centers.sort(1).values.diff(dim=1) > 0).all()
    share = torch.bincount(centers.flatten().long(), minlength=10) / centers.numel()
    torch.testing.assert_close(share, torch.full((10,), 0.1), rtol=0, atol=0.005)
    assert torch.equal(random_start(points[:3], 10, seed()).sort(1).values, points[:3])


def test_plus_plus_draws_in_proportion_to_the_squared_distance():
    # Two centers on a line: the second is the best of two candidates. From 0, candidates at 1 and
    # at 3 have chances 0.1 and 0.9, and 3 is the better one: it is taken in 1 - 0.1^2 of cases.
    points = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 3.0]).repeat(40_000, 1)[..., None]
    centers = plus_plus(points, 2, seed())[..., 0]
    from_zero = centers[centers[:, 0] == 0]
    assert len(from_zero) / len(centers) == pytest.approx(4 / 6, abs=0.01)
    assert (from_zero[:, 1] == 3).float().mean().item() == pytest.approx(0.99, abs=0.003)


def test_plus_plus_starts_better_than_random_and_as_well_as_scikit_learn(photos):
    points = points_of(photos)
    theirs = [
        KMeans(30, init="k-means++", n_init=1, max_iter=1, random_state=state).fit(few).inertia_
        for few in points.numpy()
        for state in range(5)
    ]
    ours = [
        lloyd(points, plus_plus(points, 30, seed(state)), steps=1).inertia for state in range(5)
    ]
    random = [
        lloyd(points, random_start(points, 30, seed(state)), steps=1).inertia for state in range(5)
    ]
    assert torch.stack(ours).mean().item() == pytest.approx(np.mean(theirs), rel=0.04)
    assert torch.stack(ours).mean() < 0.9 * torch.stack(random).mean()


def test_more_clusters_lose_less_and_one_is_the_mean(photos):
    loss = [
        (kmeans(photos, clusters=clusters, generator=seed()) - photos).pow(2).mean()
        for clusters in (1, 4, 16, 64)
    ]
    assert loss[0] > loss[1] > loss[2] > loss[3] > 0
    one = kmeans(photos, clusters=1, generator=seed())
    torch.testing.assert_close(one, photos.mean((2, 3), keepdim=True).expand_as(photos))
    every = kmeans(photos, clusters=32, by="row", generator=seed())
    torch.testing.assert_close(every, photos)


def test_shape_type_range_seed_and_the_input_stays(photos):
    for images in (
        photos.float().contiguous(memory_format=torch.channels_last),
        random_images(2, 1, 28, 28, dtype=torch.float32).round().requires_grad_(),
        photos[:1, :, :7, :9],
        random_images(0, 3, 8, 8),
    ):
        for by in ("pixel", "row"):
            for start in ("random", "k-means++"):
                before = images.detach().clone()
                found = kmeans(images, clusters=5, by=by, start=start, generator=seed())
                assert found.shape == images.shape
                assert found.dtype == images.dtype
                assert not found.requires_grad
                assert torch.equal(images.detach(), before)
                assert ((found >= 0) & (found <= 1)).all()
                again = kmeans(images, clusters=5, by=by, start=start, generator=seed())
                assert torch.equal(again, found)
                if len(images):
                    assert len(points_of(found, by)[0].unique(dim=0)) <= 5
    assert not torch.equal(
        kmeans(photos, clusters=5, generator=seed()), kmeans(photos, clusters=5, generator=seed(1))
    )


def test_refuses_bad_input():
    images = random_images(2, 1, 4, 6)
    for name, given in (
        ("clusters", {"clusters": 0}),
        ("clusters", {"clusters": 25}),
        ("clusters", {"clusters": 5, "by": "row"}),
        ("clusters", {"clusters": 2.5}),
        ("by", {"clusters": 2, "by": "column"}),
        ("start", {"clusters": 2, "start": "first"}),
        ("steps", {"clusters": 2, "steps": 0}),
        ("tolerance", {"clusters": 2, "tolerance": -1}),
        ("centers", {"clusters": 2, "centers": images}),
        ("centers", {"clusters": 2, "centers": images[:, 0, :2, :2]}),
        ("centers", {"clusters": 2, "centers": [[0.1, 0.2]]}),
    ):
        with pytest.raises(ValueError, match=f"{name}: got"):
            kmeans(images, **given)
    with pytest.raises(ValueError, match="range"):
        kmeans(images * 3, clusters=2)
    with pytest.raises(ValueError, match="centers: got points"):
        lloyd(images[:, 0], images[:1, 0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("channels", [1, 3])
def test_a_gpu_finds_the_same(photos, channels):
    images = photos[:, :channels]
    centers = random_start(points_of(images), 20, seed())
    found = kmeans(images.cuda(), clusters=20, centers=centers)
    assert found.is_cuda
    torch.testing.assert_close(
        found.cpu(), kmeans(images, clusters=20, centers=centers), rtol=0, atol=1e-9
    )
