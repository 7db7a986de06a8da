"""Batched permutations.

exact       each permutation equals a call of its own, and so the reference, bit for bit
properties  any order of dimensions, ties, dependence, extreme values, processes
refusals    what is no permutation
"""

import joblib
import numpy as np
import pytest

from miest_kernels.permuted import permuted_radius_and_counts
from miest_kernels.reference import Reference

ORACLE = Reference()


def agree(x: np.ndarray, y: np.ndarray, k: int, permutations: np.ndarray) -> None:
    radius, counts = permuted_radius_and_counts(x, y, k, permutations)
    assert radius.dtype == x.dtype
    assert counts.dtype == np.intp
    assert counts.shape == (len(permutations), 2, len(x))
    for permutation, ours, our_counts in zip(permutations, radius, counts, strict=True):
        with np.errstate(over="ignore"):
            expected, expected_counts = ORACLE.joint_radius_and_counts([x, y[permutation]], k)
        np.testing.assert_array_equal(ours, expected)
        np.testing.assert_array_equal(our_counts, expected_counts)


def pairings(n: int, m: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    return np.array([np.arange(n), *(rng.permutation(n) for _ in range(m - 1))])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dims", [(1, 1), (3, 2), (2, 20), (40, 1)])
@pytest.mark.parametrize(("n", "k"), [(2, 1), (7, 6), (65, 1), (400, 3), (400, 50)])
def test_equals_single_calls(dtype: type, dims: tuple[int, int], n: int, k: int) -> None:
    rng = np.random.default_rng(n)
    x, y = (rng.standard_normal((n, d)).astype(dtype) for d in dims)
    agree(x, y, k, pairings(n, 5))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "case",
    ["tied", "constant x", "constant", "equal", "opposite", "heavy tails", "shifted", "overflow", "tiny", "subnormal"],
)
def test_equals_single_calls_on_awkward_data(dtype: type, case: str) -> None:
    rng = np.random.default_rng(3)
    n, top = 300, np.finfo(dtype).max
    x, y = rng.standard_normal((n, 2)), rng.standard_normal((n, 1))
    match case:
        case "tied":
            x, y = np.round(x), np.round(y)
        case "constant x":
            x = np.full((n, 2), 0.1)
        case "constant":
            x, y = np.zeros((n, 2)), np.ones((n, 1))
        case "equal":
            y = x
        case "opposite":
            x, y = np.sort(x[:, :1], axis=0), -np.sort(x[:, :1], axis=0)
        case "heavy tails":
            x, y = rng.standard_cauchy((n, 2)) ** 3, rng.standard_cauchy((n, 1)) ** 3
        case "shifted":
            x, y = x + 1e6, y - 1e6
        case "overflow":
            x, y = rng.choice([-top, 0.0, top], (n, 2)), rng.choice([-top, 0.0, top], (n, 1))
        case "tiny":
            x, y = x * np.finfo(dtype).tiny, y * np.finfo(dtype).tiny
        case "subnormal":
            x, y = (rng.integers(0, 5, (n, d)) * np.float64(np.finfo(dtype).smallest_subnormal) for d in (2, 1))
    agree(x.astype(dtype), y.astype(dtype), 4, pairings(n, 4))


def test_processes_change_no_bit() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((900, 3)), rng.standard_normal((900, 2))
    permutations = pairings(900, 9)
    expected = permuted_radius_and_counts(x, y, 3, permutations)
    with joblib.parallel_config(backend="loky", n_jobs=2, max_nbytes=1000):  # read-only memory maps
        ours = permuted_radius_and_counts(x, y, 3, permutations)
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("permutations", "message"),
    [
        (np.arange(4), r"permutations must be \(m, 4\)"),
        (np.arange(5)[None], r"got \(1, 5\)"),
        (np.array([[0, 1, 2, 2]]), "must hold 0 to 3 once"),
        (np.array([[0, 1, 2, 4]]), "must hold 0 to 3 once"),
    ],
)
def test_what_is_no_permutation_raises(permutations: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        permuted_radius_and_counts(np.zeros((4, 1)), np.zeros((4, 1)), 1, permutations)


def test_broken_contract_raises() -> None:
    with pytest.raises(ValueError, match="k=4 needs"):
        permuted_radius_and_counts(np.zeros((4, 1)), np.zeros((4, 1)), 4, np.arange(4)[None])
