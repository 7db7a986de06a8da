"""Codes and counts of equal rows. Layers: exact, properties, refusals."""

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import miest_kernels.rows as module
from miest_kernels.cpu_rows import number_hashes
from miest_kernels.rows import binned_row_counts, row_codes


def oracle(values):
    """A dictionary of tuples, in the order of appearance."""
    seen, codes = {}, []
    for row in values.reshape(len(values), -1).tolist():
        codes.append(seen.setdefault(tuple(row), len(seen)))
    return np.array(codes), np.bincount(codes)


def check(got, values):
    codes, counts = got
    expected = oracle(values)
    assert codes.dtype == counts.dtype == np.intp
    np.testing.assert_array_equal(codes, expected[0])
    np.testing.assert_array_equal(counts, expected[1])


RNG = np.random.default_rng(0)
ARRAYS = {
    "int64": RNG.integers(-2, 2, (500, 4)),
    "int8": RNG.integers(0, 3, (500, 3)).astype(np.int8),
    "big-endian": RNG.integers(0, 3, (90, 3)).astype(">i4"),
    "bool": RNG.integers(0, 2, (500, 7)).astype(bool),
    "zeros of both signs": RNG.choice([0.0, -0.0, 1.5], (400, 3)),
    "float16": RNG.choice([0.0, -0.0, 1.5], (400, 3)).astype(np.float16),
    "float32 distinct": RNG.standard_normal((700, 5)).astype(np.float32),
    "text": np.array(["a", "bc", ""])[RNG.integers(0, 3, (99, 2))],
    "bytes": np.array([b"a", b"bc", b""])[RNG.integers(0, 3, 99)],
    "one column": RNG.integers(0, 300, 5000),
    "images": RNG.integers(0, 2, (60, 1, 2, 2)),
    "one row": np.array([[7]]),
    "strided": RNG.integers(0, 2, (400, 6))[::2, ::2],
}


@pytest.mark.parametrize("values", ARRAYS.values(), ids=ARRAYS.keys())
def test_exact_codes_equal_a_dictionary(values):
    check(row_codes(values), values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bins", [1, 2, 30, 256, 257, 70_000, 2**24])
@pytest.mark.parametrize("d", [1, 3, 16, 45])
def test_exact_bins_equal_numpy(d, bins, dtype):
    rng = np.random.default_rng(bins + d)
    points = rng.standard_normal((300, d)).astype(dtype)
    lower, scale = -rng.random(d) * 2, bins / (1 + rng.random(d))
    low, slope = lower.astype(dtype), scale.astype(dtype)
    points[100:200] = points[:100]
    edges = low + rng.integers(0, bins, (40, d)).astype(dtype) / slope  # values that round to either side
    points[200:240] = edges
    points[250, 0], points[251, 0] = np.inf, -np.inf
    check(binned_row_counts(points, lower, scale, bins), np.clip(np.floor((points - low) * slope), 0, bins - 1))


def test_exact_worked_case():
    points = np.array([[-0.9, 0.1], [-0.6, 0.4], [0.9, 0.9], [1.0, 5.0], [-7.0, 0.0]])
    codes, counts = binned_row_counts(points, -1, 2, 4)  # bins of width 1/2 from -1 to 1
    assert codes.tolist() == [0, 0, 1, 1, 0]
    assert counts.tolist() == [3, 2]


def test_exact_rows_whose_first_hash_is_equal_are_told_apart():
    hashes = np.array([[5, 1], [5, 2], [5, 1], [6, 1]], np.uint64)
    codes, counts = np.empty(4, np.intp), np.empty(4, np.intp)
    assert number_hashes(hashes, codes, counts) == 3
    assert codes.tolist() == [0, 1, 0, 2]
    assert counts[:3].tolist() == [2, 1, 1]


def test_exact_no_collision_among_similar_rows():
    grid = np.stack(np.meshgrid(*[np.arange(24, dtype=np.int32)] * 4), axis=-1).reshape(-1, 4)  # 331,776 rows
    assert len(row_codes(grid)[1]) == len(grid)
    assert len(row_codes(grid << 20)[1]) == len(grid)
    assert len(row_codes(grid.astype(np.float64))[1]) == len(grid)


@settings(max_examples=50, deadline=None)
@given(npst.arrays(np.int16, st.tuples(st.integers(1, 40), st.integers(1, 4)), elements=st.integers(-2, 2)))
def test_properties_any_small_array(values):
    check(row_codes(values), values)


def test_properties_threads_and_blocks_change_nothing(monkeypatch, tmp_path):
    points = np.random.default_rng(1).integers(0, 3, (4000, 9)).astype(np.float32)
    points[:, 3:] = 0
    np.save(tmp_path / "points.npy", points)
    expected = oracle(points)[0]
    monkeypatch.setattr(module, "_BYTES_AT_ONCE", 5000)
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    for array in (points, mapped, np.asfortranarray(points)):
        np.testing.assert_array_equal(row_codes(array)[0], expected)
        np.testing.assert_array_equal(binned_row_counts(array, 0, 1, 3)[0], expected)
        with joblib.parallel_config(backend="threading", n_jobs=3):
            np.testing.assert_array_equal(row_codes(array)[0], expected)
            np.testing.assert_array_equal(binned_row_counts(array, 0, 1, 3)[0], expected)


def test_refusals_of_row_codes():
    for values in (np.array([[1j]]), np.array([[object()]]), np.zeros((2, 2), np.longdouble)):
        with pytest.raises(TypeError, match="have no codes"):
            row_codes(values)
    for values in (np.zeros((0, 2)), np.zeros((2, 0)), np.array(1)):
        with pytest.raises(ValueError, match="at least one row and column"):
            row_codes(values)
    with pytest.raises(ValueError, match="values hold NaN"):
        row_codes(np.array([1.0, np.nan]))


@pytest.mark.parametrize("column", [0, 15, 16, 20])
def test_refusals_of_nan_in_any_column(column):
    points = np.zeros((5, 21), np.float32)
    binned_row_counts(points, 0, 1, 2)
    points[3, column] = np.nan
    with pytest.raises(ValueError, match="points hold NaN"):
        binned_row_counts(points, 0, 1, 2)


def test_refusals_of_binned_row_counts():
    good = np.zeros((4, 3), np.float32)
    for bad in (np.zeros(4), np.zeros((0, 1)), np.zeros((4, 3), np.int64)):
        with pytest.raises(ValueError, match=r"points must be \(n, d\) float32 or float64"):
            binned_row_counts(bad, 0, 1, 2)
    for bins in (0, 2**24 + 1):
        with pytest.raises(ValueError, match=f"bins={bins} must be from 1 to 16777216"):
            binned_row_counts(good, 0, 1, bins)
    with pytest.raises(ValueError, match="must be numbers or of length 3"):
        binned_row_counts(good, [0, 1], 1, 2)
    for lower, scale in ((np.nan, 1), (0, 0), (0, -1), (0, np.inf), (0, 1e-60)):
        with pytest.raises(ValueError, match="a bin needs a width"):
            binned_row_counts(good, lower, scale, 2)
