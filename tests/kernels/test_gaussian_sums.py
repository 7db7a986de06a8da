"""Gaussian kernel sums and mixture densities. Layers: exact, properties, truth, refusals."""

import itertools
import os
import platform
import subprocess
import sys

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_oracles import TOLERANCE, log_sums, squares
from scipy.special import logsumexp

import miest_kernels.gaussian_sums as module
from miest_kernels.cpu_gaussian import Frame
from miest_kernels.gaussian_sums import gaussian_log_sums, gaussian_log_sums_by_class, mixture_log_density

DTYPES = [np.float32, np.float64]


def clouds(n, d, dtype):
    """Points that are hard in different ways, with variances for them."""
    rng = np.random.default_rng(n * 1000 + d)
    normal = rng.standard_normal((n, d))
    yield normal, [0.1 * d, 0.4 * d]
    yield normal, [1e-30, 1e-3, 4e-3, 1.0, 3.0, 1e30]
    yield normal[rng.integers(0, max(1, n // 3), n)], [1e-6 * d, 1e-2 * d]  # duplicates
    yield np.round(normal), [0.1, 0.4]
    yield np.ones((n, d)), [0.5]
    yield 1e6 * (np.arange(n) % 2)[:, None] + normal, [d, 4 * d]  # clusters far apart
    yield normal * 1e-12, [1e-25 * d]
    if dtype == np.float64:
        yield 1e8 + normal, [d]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 3), (5, 1), (191, 2), (193, 10), (400, 17), (200, 512)])
def test_exact_sums_equal_direct_differences(n, d, dtype):
    for points, variances in clouds(n, d, dtype):
        points = points.astype(dtype)
        labels = np.random.default_rng(n).integers(-1, 3, n)
        total, within = log_sums(points, variances, labels)
        got_total, got_within = gaussian_log_sums_by_class(points, variances, labels)
        atol = TOLERANCE[points.dtype]
        np.testing.assert_allclose(got_total, total, rtol=0, atol=atol)
        np.testing.assert_allclose(got_within, within, rtol=0, atol=atol)
        np.testing.assert_allclose(gaussian_log_sums(points, variances), total, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ratio", [0.2, 0.99, 1.01, 50.0])
def test_exact_error_holds_on_both_sides_of_the_switch(dtype, ratio):
    """Near duplicates far from the centre, where products cancel most, at the largest norm that uses them."""
    rng, d, n = np.random.default_rng(5), 24, 384
    far = rng.standard_normal((n // 2, d))
    far /= np.linalg.norm(far, axis=1, keepdims=True)
    unit = 2.0**-24 if dtype == np.float32 else 2.0**-53
    limit = TOLERANCE[np.dtype(dtype)] / (module._CANCELLATION * np.sqrt(d + 8) * unit)  # of norm^2 / variance
    variance = 1 / (limit * ratio)
    points = np.concatenate([far, -far]).astype(dtype)
    points[1::2] = points[::2] + (0.5 * np.sqrt(variance / d) * rng.standard_normal((n // 2, d))).astype(dtype)
    labels = np.zeros(n, np.intp)
    expected = log_sums(points, [variance], labels)[0]
    assert expected.min() > 0.1  # the neighbour counts
    atol = TOLERANCE[points.dtype]
    np.testing.assert_allclose(gaussian_log_sums(points, [variance]), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_products_and_differences_agree(dtype, monkeypatch):
    points = np.random.default_rng(2).standard_normal((300, 9)).astype(dtype)
    labels = np.arange(300) % 7
    assert module._frame(points, 1.0, np.zeros(9), 20.0, 4.0).gram
    products = gaussian_log_sums_by_class(points, [1.0, 2.0], labels)
    monkeypatch.setattr(module, "_frame", lambda *_: Frame(gram=False, centre=np.zeros(9), unit=0.25))
    differences = gaussian_log_sums_by_class(points, [1.0, 2.0], labels)
    assert not np.array_equal(products[0], differences[0])  # two ways indeed
    np.testing.assert_allclose(products, differences, rtol=0, atol=TOLERANCE[points.dtype])


@pytest.mark.parametrize("classes", [1, 2, 10, 150, 300])
def test_exact_classes_of_any_size(classes):
    rng = np.random.default_rng(classes)
    points, labels = rng.standard_normal((300, 3)), rng.integers(0, classes, 300)
    total, within = gaussian_log_sums_by_class(points, [0.3], labels)
    expected = log_sums(points, [0.3], labels)
    np.testing.assert_allclose(total, expected[0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(within, expected[1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("q", "c", "d"), [(1, 1, 1), (7, 200, 3), (900, 5, 2), (250, 777, 20)])
@pytest.mark.parametrize("variance", [1e-4, 0.3, 1e4])
@pytest.mark.parametrize("away", [0.0, 1e3])
def test_exact_mixture_density(q, c, d, variance, away, dtype):
    rng = np.random.default_rng(q)
    centers = rng.standard_normal((c, d)).astype(dtype)
    queries = (away + 2 * rng.standard_normal((q, d))).astype(dtype)
    square = squares(queries, centers) / (2 * variance)
    expected = logsumexp(-square, axis=1) - np.log(c) - d / 2 * np.log(2 * np.pi * variance)
    got = mixture_log_density(queries, centers, variance)
    relative = 1e-6 if dtype == np.float32 else 1e-14
    assert (np.abs(got - expected) <= TOLERANCE[np.dtype(dtype)] + relative * square.min(1)).all()


def test_exact_one_point_and_the_constant_cloud():
    assert gaussian_log_sums(np.array([[3.0]]), [1.0]).tolist() == [[0.0]]
    np.testing.assert_array_equal(gaussian_log_sums(np.full((500, 2), 7.0), [1.0])[0], np.log(500.0))


def test_properties_of_order_shift_scale_and_repetition():
    rng = np.random.default_rng(3)
    points, labels = rng.standard_normal((450, 5)), rng.integers(0, 4, 450)
    points.flags.writeable = False
    total, within = gaussian_log_sums_by_class(points, [0.7, 2.8], labels)
    again = gaussian_log_sums_by_class(points, [0.7, 2.8], labels)
    np.testing.assert_array_equal(again, (total, within))
    np.testing.assert_array_equal(gaussian_log_sums_by_class(points * 2, [2.8, 11.2], labels), again)
    swap = rng.permutation(450)
    np.testing.assert_allclose(
        gaussian_log_sums_by_class(points[swap], [0.7, 2.8], labels[swap]),
        (total[:, swap], within[:, swap]), rtol=0, atol=1e-10,
    )  # fmt: skip
    np.testing.assert_allclose(gaussian_log_sums(points + 1e6, [0.7, 2.8]), total, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(gaussian_log_sums(np.asfortranarray(points), [0.7]),
                                  gaussian_log_sums(points, [0.7]))  # fmt: skip


def test_properties_threads_and_blocks_change_no_bit(monkeypatch):
    rng = np.random.default_rng(4)
    points, labels = rng.standard_normal((1500, 6)), rng.integers(0, 3, 1500)
    expected = gaussian_log_sums_by_class(points, [1.0, 1.5], labels)
    density = mixture_log_density(points + 1, points, 0.5)
    with joblib.parallel_config(backend="threading", n_jobs=3):
        np.testing.assert_array_equal(gaussian_log_sums_by_class(points, [1.0, 1.5], labels), expected)
        np.testing.assert_array_equal(mixture_log_density(points + 1, points, 0.5), density)
    monkeypatch.setattr(module, "_BYTES_OF_PARTS", 1)
    monkeypatch.setattr(module, "_BYTES_OF_COPY", 1)
    np.testing.assert_array_equal(gaussian_log_sums_by_class(points, [1.0, 1.5], labels), expected)
    np.testing.assert_array_equal(mixture_log_density(points + 1, points, 0.5), density)


PORTABLE = """
import sys
import numpy as np
from miest_kernels.gaussian_sums import gaussian_log_sums, mixture_log_density
points = np.load(sys.argv[1])
np.save(sys.argv[2], np.concatenate([*gaussian_log_sums(points, [1.0, 4.0]), mixture_log_density(points, points, 0.3)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names two x86 processors")
@pytest.mark.parametrize(("name", "features", "atol"), [("haswell", "+avx,+avx2,+fma", 0), ("x86-64", "+sse2", 1e-5)])
def test_properties_other_processors(name, features, atol, tmp_path):
    """The same bits with AVX2; without fused multiply-add, within the stated error."""
    points = np.random.default_rng(7).standard_normal((500, 6)).astype(np.float32)
    expected = np.concatenate([*gaussian_log_sums(points, [1.0, 4.0]), mixture_log_density(points, points, 0.3)])
    np.save(tmp_path / "points.npy", points)
    settings_of_numba = {
        "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)
    }  # fmt: skip
    command = [sys.executable, "-c", PORTABLE, str(tmp_path / "points.npy"), str(tmp_path / "sums.npy")]
    subprocess.run(command, check=True, env=os.environ | settings_of_numba)
    np.testing.assert_allclose(np.load(tmp_path / "sums.npy"), expected, rtol=0, atol=atol)


def test_properties_memory_map(tmp_path):
    points = np.random.default_rng(6).standard_normal((300, 4)).astype(np.float32)
    np.save(tmp_path / "points.npy", points)
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    np.testing.assert_array_equal(gaussian_log_sums(mapped, [1.0]), gaussian_log_sums(points, [1.0]))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 4), st.floats(0.01, 100), st.integers(0, 10**6))
def test_properties_bounds(n, d, variance, seed):
    rng = np.random.default_rng(seed)
    points, labels = rng.standard_normal((n, d)).round(1), rng.integers(0, 3, n)
    total, within = gaussian_log_sums_by_class(points, [variance, 4 * variance], labels)
    assert (within >= 0).all()
    assert (total >= within).all()
    assert (total <= np.log(n) + 1e-10).all()
    assert (total[1] >= total[0] - 1e-10).all()


def test_truth_density_integrates_to_one():
    centers = np.array([[-1.0], [0.5], [2.0]])
    grid = np.linspace(-8, 9, 4001)[:, None]
    density = np.exp(mixture_log_density(grid, centers, 0.25))
    assert np.trapezoid(density, grid[:, 0]) == pytest.approx(1, abs=1e-10)


def test_refusals():
    good = np.zeros((4, 2))
    for bad in (np.zeros(4), np.zeros((0, 2)), np.zeros((4, 0)), np.zeros((4, 2), np.int64)):
        with pytest.raises(ValueError, match=r"points must be \(n, d\) float32 or float64"):
            gaussian_log_sums(bad, [1.0])
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="points hold NaN or infinity"):
            gaussian_log_sums(np.array([[value]]), [1.0])
        with pytest.raises(ValueError, match="queries hold NaN or infinity"):
            mixture_log_density(np.array([[value]]), np.zeros((1, 1)), 1.0)
    for variances in ([], [0.0], [-1.0], [np.inf], [1.0, np.nan]):
        with pytest.raises(ValueError, match="variances must be finite and positive"):
            gaussian_log_sums(good, variances)
    for labels in (np.zeros(3, np.intp), np.zeros(4)):
        with pytest.raises(ValueError, match="labels must be 4 integers"):
            gaussian_log_sums_by_class(good, [1.0], labels)
    for centers, dtype in itertools.product((np.zeros((3, 2)), np.zeros((3, 3))), DTYPES):
        if centers.shape[1] == 2 and dtype == np.float64:
            continue
        with pytest.raises(ValueError, match="queries and centers must share dtype and width"):
            mixture_log_density(good, centers.astype(dtype), 1.0)
    with pytest.raises(ValueError, match="variances must be finite and positive"):
        mixture_log_density(good, good, 0.0)
