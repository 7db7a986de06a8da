"""Sums of the kernels of a Gaussian channel. Layers: exact, properties, refusals."""

import itertools

import joblib
import numpy as np
import pytest
from scipy.special import logsumexp

import miest_kernels.channel_sums as module
from miest_kernels.channel_sums import channel_log_sums
from miest_kernels.gaussian_sums import gaussian_log_sums

DTYPES = [np.float32, np.float64]


def oracle(points, noise, centers, stds, own=None, same=None):
    """(kinds, m, 2, n), (kinds, m, n), (kinds, m, n) by differences, float64."""
    points, noise, centers = (a.astype(np.float64) for a in (points, noise, centers))
    gap = points[:, None] - centers
    square, product = (gap**2).sum(-1), np.einsum("ik,ijk->ij", noise, gap)
    kept = np.ones(square.shape, bool)
    if own is not None:
        rows = np.flatnonzero(own >= 0)
        kept[rows, own[rows]] = False
    kinds = [kept] if same is None else [kept & same, kept & ~same]

    def log_sum(exponents, mask):
        with np.errstate(divide="ignore"):
            return logsumexp(np.where(mask, exponents, -np.inf), axis=1)

    noisy = [
        [[log_sum(-square / (2 * s * s) - sign * product / s, k) for sign in (1, -1)] for s in stds] for k in kinds
    ]
    near, far = ([[log_sum(-square / (f * s * s), k) for s in stds] for k in kinds] for f in (2, 8))
    return np.array(noisy), np.array(near), np.array(far)


def agrees(got, expected, dtype, loss):
    """Within the stated error; sums so small that they only ever meet a 1 may be anything small."""
    for found, wanted in zip(got, expected, strict=True):
        np.testing.assert_array_equal(found.shape, wanted.shape)
    wanted = expected[0]
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(np.isfinite(got.noisy), finite)
    relative = 1e-6 if dtype == np.float32 else 1e-14
    wanted = wanted[finite]
    assert (np.abs(got.noisy[finite] - wanted) <= loss + relative * np.abs(wanted)).all()
    for found, wanted in zip(got[1:], expected[1:], strict=True):
        np.testing.assert_allclose(np.exp(found), np.exp(wanted), rtol=loss, atol=1e-30)


def clouds(n, d, dtype):
    """Points that are hard in different ways, with sizes for them."""
    rng = np.random.default_rng(n * 1000 + d)
    normal = rng.standard_normal((n, d))
    yield normal, [0.3, 1.0, 4.0]
    yield normal, [1e-3, 1e3]
    yield normal[rng.integers(0, max(1, n // 3), n)], [0.1]  # duplicates
    yield np.ones((n, d)), [0.5]
    yield 1e6 * (np.arange(n) % 2)[:, None] + np.round(normal, 1), [1.0]  # clusters far apart
    yield normal * 1e-12, [1e-12]
    if dtype == np.float64:
        yield 1e8 + normal, [1.0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 3), (5, 1), (191, 2), (193, 10), (400, 17), (70, 300)])
def test_exact_sums_equal_direct_differences(n, d, dtype):
    for points, stds in clouds(n, d, dtype):
        points = points.astype(dtype)
        rng = np.random.default_rng(n)
        noise, centers = rng.standard_normal(points.shape), points[rng.permutation(n)[: max(1, n // 2)]]
        labels, center_labels = rng.integers(-1, 3, n), rng.integers(-1, 3, len(centers))
        loss = 2e-3 if dtype == np.float32 else 1e-8 if np.abs(points).max() > 1e7 else 1e-10
        got = channel_log_sums(points, noise, centers, stds)
        agrees(got, oracle(points, noise, centers, stds), dtype, loss)
        got = channel_log_sums(points, noise, points, stds, own=np.arange(n), labels=labels, center_labels=labels)
        agrees(got, oracle(points, noise, points, stds, np.arange(n), labels[:, None] == labels), dtype, loss)
        got = channel_log_sums(points, noise, centers, stds, labels=labels, center_labels=center_labels)
        agrees(got, oracle(points, noise, centers, stds, None, labels[:, None] == center_labels), dtype, loss)


def test_exact_a_center_at_the_point_and_no_center_at_all():
    point, noise = np.array([[3.0, 1.0]]), np.array([[5.0, -2.0]])
    there = channel_log_sums(point, noise, point, [0.1])
    assert [float(part.item(0)) for part in there] == [0.0, 0.0, 0.0]
    left_out = channel_log_sums(point, noise, point, [0.1], own=np.array([0]))
    assert (left_out.noisy == -np.inf).all()
    assert (left_out.near < -80).all()


def test_exact_two_points_by_hand():
    points, noise = np.array([[0.0], [3.0]]), np.array([[0.5], [2.0]])
    got = channel_log_sums(points, noise, points, [2.0], own=np.arange(2))
    expected = [[-9 / 8 + 0.75, -9 / 8 - 3], [-9 / 8 - 0.75, -9 / 8 + 3]]  # plus, then minus, the noise
    np.testing.assert_allclose(got.noisy[0, 0], expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(got.near[0, 0], [-9 / 8] * 2, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.far[0, 0], [-9 / 32] * 2, rtol=0, atol=1e-12)


def test_exact_products_and_differences_agree():
    rng = np.random.default_rng(2)
    points, noise = rng.standard_normal((2, 300, 9))
    products = channel_log_sums(points, noise, points, [0.4, 1.0], own=np.arange(300))
    differences = channel_log_sums(points, noise, points, [0.4, 1.0], own=np.arange(300), loss=0.0)
    assert not np.array_equal(products.noisy, differences.noisy)  # two ways indeed
    np.testing.assert_allclose(products.noisy, differences.noisy, rtol=0, atol=1e-10)


@pytest.mark.parametrize("std", [0.02, 2.0])
def test_exact_single_precision_on_both_sides_of_the_switch(std):
    rng = np.random.default_rng(3)
    points, noise = rng.standard_normal((2, 400, 30)).astype(np.float32)
    wide = module._framed(points, noise, points, std, None)[0].dtype
    assert wide == (np.float64 if std == 0.02 else np.float32)
    got = channel_log_sums(points, noise, points, [std], own=np.arange(400))
    agrees(got, oracle(points, noise, points, [std], np.arange(400)), np.float32, 1e-3)


def test_exact_double_precision_far_from_zero_may_be_narrowed():
    rng = np.random.default_rng(8)
    points, noise = rng.standard_normal((2, 300, 40))
    exact = channel_log_sums(points + 1e6, noise, points + 1e6, [1.0], own=np.arange(300))
    narrow = channel_log_sums(points + 1e6, noise, points + 1e6, [1.0], own=np.arange(300), loss=1e-3)
    assert not np.array_equal(exact.noisy, narrow.noisy)
    np.testing.assert_allclose(narrow.noisy, exact.noisy, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("classes", [2, 10, 150, 300])
def test_exact_classes_of_any_size(classes):
    rng = np.random.default_rng(classes)
    points, noise = rng.standard_normal((2, 300, 3))
    labels = rng.integers(0, classes, 300)
    got = channel_log_sums(points, noise, points, [0.5], own=np.arange(300), labels=labels, center_labels=labels)
    agrees(got, oracle(points, noise, points, [0.5], np.arange(300), labels[:, None] == labels), np.float64, 1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_sums_of_many_centers(dtype):
    """More than the lanes hold before they are drained; the first are far, so that maxima rise late."""
    rng = np.random.default_rng(4)
    points, noise = rng.standard_normal((2, 40, 2)).astype(dtype)
    centers = np.concatenate([rng.standard_normal((7000, 2)) + 9, rng.standard_normal((3000, 2))]).astype(dtype)
    loss = 1e-3 if dtype == np.float32 else 1e-10
    agrees(channel_log_sums(points, noise, centers, [0.5]), oracle(points, noise, centers, [0.5]), dtype, loss)


@pytest.mark.parametrize("dtype", DTYPES)
def test_properties_far_sums_are_those_of_the_pairwise_bounds(dtype):
    points = np.random.default_rng(5).standard_normal((250, 6)).astype(dtype)
    got = channel_log_sums(points, np.zeros_like(points), points, [0.7], own=np.arange(250))
    near, far = gaussian_log_sums(points, [0.49, 1.96])
    atol = 1e-4 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(np.logaddexp(0, got.near[0, 0]), near, rtol=0, atol=atol)
    np.testing.assert_allclose(np.logaddexp(0, got.far[0, 0]), far, rtol=0, atol=atol)
    np.testing.assert_allclose(got.noisy[0, 0, 0], got.near[0, 0], rtol=0, atol=atol)  # no noise


def test_properties_of_order_scale_and_repetition():
    rng = np.random.default_rng(6)
    points, noise = rng.standard_normal((2, 450, 5))
    labels = rng.integers(0, 4, 450)
    points.flags.writeable = noise.flags.writeable = False

    def sums(points, noise, labels, stds, own):
        return channel_log_sums(points, noise, points, stds, own=own, labels=labels, center_labels=labels)

    everything = sums(points, noise, labels, [0.5, 1.0], np.arange(450))
    for got, expected in zip(sums(points, noise, labels, [0.5, 1.0], np.arange(450)), everything, strict=True):
        np.testing.assert_array_equal(got, expected)
    for got, expected in zip(sums(4 * points, noise, labels, [2.0, 4.0], np.arange(450)), everything, strict=True):
        np.testing.assert_array_equal(got, expected)
    for got, expected in zip(sums(points, -noise, labels, [0.5, 1.0], np.arange(450)), everything, strict=True):
        np.testing.assert_allclose(got, expected[:, :, ::-1] if got.ndim == 4 else expected, rtol=1e-12, atol=1e-12)
    swap = rng.permutation(450)
    for got, expected in zip(sums(points[swap], noise[swap], labels[swap], [0.5, 1.0], np.arange(450)), everything,
                             strict=True):  # fmt: skip
        np.testing.assert_allclose(got, expected[..., swap], rtol=0, atol=1e-10)


def test_properties_threads_and_blocks_change_no_bit(monkeypatch):
    rng = np.random.default_rng(7)
    points, noise = rng.standard_normal((2, 1500, 6))
    labels, own = rng.integers(0, 3, 1500), np.arange(1500)

    def sums():
        return channel_log_sums(points, noise, points, [0.5, 2.0], own=own, labels=labels, center_labels=labels)

    expected = sums()
    with joblib.parallel_config(backend="threading", n_jobs=3):
        assert all(np.array_equal(a, b) for a, b in zip(sums(), expected, strict=True))
    monkeypatch.setattr(module, "_ROWS", 102)
    monkeypatch.setattr("miest_kernels.gaussian_sums._BYTES_OF_COPY", 1)
    assert all(np.array_equal(a, b) for a, b in zip(sums(), expected, strict=True))


def test_refusals():
    good = np.zeros((4, 2))
    for k, name in enumerate(("points", "noise", "centers")):
        arrays = [good, good, good]
        arrays[k] = np.array([[np.nan, 0.0]] * 4)
        with pytest.raises(ValueError, match=f"{name} hold NaN or infinity"):
            channel_log_sums(*arrays, [1.0])
    for arrays in (
        (good, good[:3], good),
        (good, good, good[:, :1]),
        (good, good, good.astype(np.float32)),
    ):
        with pytest.raises(ValueError, match="points, noise and centers must fit"):
            channel_log_sums(*arrays, [1.0])
    for stds in ([], [0.0], [-1.0], [np.inf], [1.0, np.nan], [1e-200]):
        with pytest.raises(ValueError, match="stds must be positive"):
            channel_log_sums(good, good, good, stds)
    with pytest.raises(ValueError, match="go together"):
        channel_log_sums(good, good, good, [1.0], labels=np.zeros(4, np.intp))
    for name, codes in itertools.product(("own", "labels", "center_labels"), (np.zeros(3, np.intp), np.zeros(4))):
        given = {"labels": np.zeros(4, np.intp), "center_labels": np.zeros(4, np.intp)} | {name: codes}
        with pytest.raises(ValueError, match=f"^{name} must be 4 integers"):
            channel_log_sums(good, good, good, [1.0], **given)
