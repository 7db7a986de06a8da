"""Numbers of pairs nearer than given radii. Layers: exact, properties, truth, refusals."""

import joblib
import numpy as np
import pytest
from scipy.spatial.distance import pdist

import miest_kernels.correlation as module
from miest_kernels.correlation import correlation_sums

DTYPES = [np.float32, np.float64]


def oracle(points, radii, norm):
    i, j = np.triu_indices(len(points), 1)
    total = np.zeros(len(i), points.dtype)
    with np.errstate(over="ignore", under="ignore"):
        for column in points.T:
            gap = column[i] - column[j]
            total = np.maximum(total, np.abs(gap)) if norm == "max" else total + gap * gap
    distance = (total if norm == "max" else np.sqrt(total)).astype(np.float64)
    return np.array([(distance < r).sum() for r in radii])


RADII = {
    "logarithmic": np.geomspace(0.01, 30, 64),
    "linear": np.linspace(0, 8, 33),
    "close": [0, 1, 1, 1 + 1e-15, 1 + 1e-12, 1 + 1e-7, np.sqrt(2), 2, 2.0000001, np.inf],
    "many": np.sort(np.random.default_rng(0).random(700) * 4),
    "wide": np.geomspace(1e-40, 1e40, 50),
    "one": [1.0],
    "none": [],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", ["euclidean", "max"])
@pytest.mark.parametrize(("n", "d"), [(1, 2), (2, 1), (7, 3), (193, 2), (400, 10), (200, 100)])
def test_exact_counts_equal_numpy(n, d, norm, dtype):
    normal = np.random.default_rng(n).standard_normal((n, d)).astype(dtype)
    ones = np.ones_like(normal)
    for points in (normal, normal.round(), normal + dtype(1e6), normal * dtype(1e-20), normal * dtype(1e19), ones):
        for radii in RADII.values():
            np.testing.assert_array_equal(correlation_sums(points, radii, norm=norm), oracle(points, radii, norm))


def test_exact_strictly_below():
    points = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]])
    assert correlation_sums(points, [0, 1e-300, 5, np.nextafter(5, 6)]).tolist() == [0, 1, 1, 3]
    assert correlation_sums(points, [4, np.nextafter(4, 5)], norm="max").tolist() == [1, 3]
    assert correlation_sums(points, [5.0]).dtype == np.int64


def test_properties_threads_blocks_and_order_change_nothing(monkeypatch):
    points = np.random.default_rng(1).standard_normal((1100, 3))
    points.flags.writeable = False
    expected = correlation_sums(points, RADII["logarithmic"])
    np.testing.assert_array_equal(correlation_sums(points[::-1], RADII["logarithmic"]), expected)
    with joblib.parallel_config(backend="threading", n_jobs=3):
        np.testing.assert_array_equal(correlation_sums(points, RADII["logarithmic"]), expected)
    monkeypatch.setattr(module, "_BYTES_OF_COPY", 1)
    monkeypatch.setattr(module, "_KEYS", 16)
    np.testing.assert_array_equal(correlation_sums(points, RADII["logarithmic"]), expected)
    assert expected[-1] == 1100 * 1099 // 2


@pytest.mark.parametrize("norm", ["euclidean", "max"])
def test_truth_equals_scipy(norm):
    points = np.random.default_rng(2).standard_normal((900, 7))
    distance = np.sort(pdist(points, "chebyshev" if norm == "max" else "euclidean"))
    radii = (distance[[0, 10, 1000, 100_000, -2]] + distance[[1, 11, 1001, 100_001, -1]]) / 2  # clear of rounding
    assert correlation_sums(points, radii, norm=norm).tolist() == np.searchsorted(distance, radii).tolist()


def test_truth_slope_is_the_dimension():
    rng = np.random.default_rng(3)
    plane = rng.random((3000, 2)) @ np.linalg.qr(rng.standard_normal((8, 2)))[0].T
    small, large = correlation_sums(plane, [0.02, 0.04])
    # 3000 points of a square: about 0.0012 of 4.5e6 pairs at the smaller radius, so 1.4% of error in the count
    assert np.log2(large / small) == pytest.approx(2, abs=0.08)


def test_refusals():
    good = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"points must be \(n, d\) float32 or float64"):
        correlation_sums(np.zeros((3, 2), np.int64), [1.0])
    with pytest.raises(ValueError, match="points hold NaN or infinity"):
        correlation_sums(np.array([[np.nan]]), [1.0])
    for radii in ([2.0, 1.0], [-1.0], [np.nan], [[1.0]], 1.0):
        with pytest.raises(ValueError, match="radii must be a sorted sequence"):
            correlation_sums(good, radii)
    with pytest.raises(ValueError, match="norm must be 'euclidean' or 'max', got 'l1'"):
        correlation_sums(good, [1.0], norm="l1")
