"""Tree and line against the oracle, where the contract's own test does not look.

exact       hand-worked lines and trees; both dtypes, bit for bit; overflow, ties, signed zeros; sizes around a leaf
properties  rows to a task and threads change no bit; rows move with the result (hypothesis)
refusals    a task of no rows
"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miest_kernels import neighbours, plan
from miest_kernels.cpu_grow import grow
from miest_kernels.cpu_lanes import LANES
from miest_kernels.cpu_line import line_counts, line_radii
from miest_kernels.cpu_tree import Tree
from miest_kernels.reference import Reference

ORACLE = Reference()


def cauchy3(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.standard_cauchy((n, d)) ** 3


def copies(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.permutation(np.repeat(rng.standard_normal((3, d)), n // 3 + 1, axis=0)[:n])


def two_values(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return np.hstack([np.zeros((n, d - 1)), rng.integers(0, 2, (n, 1))])


def constant(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return np.full((n, d), 0.1)


def ordered(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return np.sort(rng.standard_normal((n, d)), axis=0)


def rounded(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.integers(-9, 10, (n, d)) / 10  # distances that tie, and sums that would round


def huge(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.choice([-1.0, 1.0], (n, d)) * rng.uniform(0.4, 1, (n, d)) * np.finfo(float).max


def signed_zeros(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.choice([-0.0, 0.0, 5e-324], (n, d))


DATA = [cauchy3, copies, two_values, constant, ordered, rounded, huge, signed_zeros]


def agree(blocks: list[np.ndarray], k: int, backend: Tree) -> None:
    """Every promise of the contract, bit for bit."""
    with np.errstate(over="ignore"):
        radius, counts = ORACLE.joint_radius_and_counts(blocks, k)
        reach = ORACLE.reach_within(blocks, radius)
        closed = [ORACLE.count_within(block, radius, closed=True) for block in blocks]
    ours, our_counts = backend.joint_radius_and_counts(blocks, k)
    assert ours.dtype == radius.dtype
    assert our_counts.dtype == np.intp
    np.testing.assert_array_equal(ours, radius)
    np.testing.assert_array_equal(our_counts, counts)
    np.testing.assert_array_equal(backend.kth_radius(blocks, k), radius)
    np.testing.assert_array_equal(backend.reach_within(blocks, radius), reach)
    for block, strict_count, closed_count in zip(blocks, counts, closed, strict=True):
        np.testing.assert_array_equal(backend.count_within(block, radius), strict_count)
        np.testing.assert_array_equal(backend.count_within(block, radius, closed=True), closed_count)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", DATA)
@pytest.mark.parametrize("dims", [(1, 1), (2, 1), (3, 4)])
def test_bits_equal_the_reference(
    make: Callable[[np.random.Generator, int, int], np.ndarray], dims: tuple[int, ...], dtype: type
) -> None:
    rng = np.random.default_rng(3)
    with np.errstate(over="ignore"):
        blocks = [make(rng, 600, d).astype(dtype) for d in dims]
    if make is huge and dtype == np.float32:
        blocks = [np.nan_to_num(block, posinf=3e38, neginf=-3e38) for block in blocks]
    for k in (1, 5):
        agree(blocks, k, Tree())


@pytest.mark.parametrize("n", [2, LANES - 1, LANES, LANES + 1, 2 * LANES + 1, 300])
@pytest.mark.parametrize("dims", [(1,), (1, 1), (2,), (10,), (1, 2, 1)])
def test_sizes_around_a_leaf_and_every_k(n: int, dims: tuple[int, ...]) -> None:
    rng = np.random.default_rng(n)
    blocks = [rng.standard_normal((n, d)) for d in dims]
    for k in {1, min(3, n - 1), min(40, n - 1), n - 1}:
        agree(blocks, k, Tree())


def test_a_line_by_hand() -> None:
    column = np.array([4.0, 0.0, 1.0, 1.0, 9.0])
    limit = np.array([3.0, 1.0, 0.0, -1.0, np.inf])
    assert line_counts(column, limit, 2).tolist() == [2, 2, 1, 0, 4]
    assert line_radii(column, 1, 2).tolist() == [3.0, 1.0, 0.0, 0.0, 5.0]
    assert line_radii(column, 4, 2).tolist() == [5.0, 9.0, 8.0, 8.0, 9.0]


def test_strict_counts_where_the_sum_of_value_and_radius_rounds() -> None:
    # 0.3 - 0.1 is a hair below 0.2 while 0.1 + 0.2 is a hair above 0.3: only the difference is right.
    column = np.array([[0.1], [0.3], [0.5]])
    radius = np.abs(column[:, 0] - 0.3)
    for name in ("tree", "reference"):
        assert neighbours(name).count_within(column, radius).tolist() == [0, 0, 0]


@pytest.mark.parametrize("n", [1, LANES, 1000, 9000])
@pytest.mark.parametrize("ties", [False, True])
def test_a_tree_holds_every_row_once_in_full_leaves_and_tight_boxes(n: int, ties: bool) -> None:
    rng = np.random.default_rng(n)
    columns = rng.integers(0, 2, (3, n)) + 0.0 if ties else rng.standard_normal((3, n))
    tree = grow(columns)
    assert np.sort(tree.order).tolist() == list(range(n))
    points = tree.points.reshape(-1, 3, LANES).transpose(0, 2, 1).reshape(-1, 3)
    np.testing.assert_array_equal(points[:n], columns.T[tree.order])
    assert np.isnan(points[n:]).all()
    low, high = tree.low.reshape(-1, 3), tree.high.reshape(-1, 3)
    for node in np.flatnonzero(tree.last > tree.first):
        inside = points[tree.first[node] * LANES : min(tree.last[node] * LANES, n)]
        np.testing.assert_array_equal(low[node], inside.min(axis=0))
        np.testing.assert_array_equal(high[node], inside.max(axis=0))
    leaves = len(tree.home)  # their depth is that of a balanced tree, whatever the ties
    assert int(tree.home.max()).bit_length() - 1 == int(leaves - 1).bit_length()


def test_a_radius_of_another_dtype_is_compared_exactly() -> None:
    block = np.array([[0.0], [0.1]], np.float32)
    apart = np.abs(block[0, 0] - block[1, 0])
    above, below = (np.full(2, np.nextafter(np.float64(apart), to)) for to in (1, 0))
    assert Tree().count_within(block, above).tolist() == [1, 1]
    assert Tree().count_within(block, above, closed=True).tolist() == [1, 1]
    assert Tree().count_within(block, below).tolist() == [0, 0]
    assert Tree().count_within(block, below, closed=True).tolist() == [0, 0]


@pytest.mark.parametrize("rows", [1, 33, 500, 10**6])
@pytest.mark.parametrize("cores", [1, 3])
def test_rows_to_a_task_and_threads_change_no_bit(rows: int, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "cores", lambda: cores)
    rng = np.random.default_rng(5)
    agree([np.round(rng.standard_normal((700, 1)), 1), rng.standard_normal((700, 1))], 3, Tree(rows=rows))
    agree([rng.standard_normal((700, 2))], 3, Tree(rows=rows))


def test_branches_grown_apart_make_the_same_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [np.random.default_rng(6).standard_normal((30_000, d)) for d in (2, 1)]  # beyond one task
    expected = neighbours("kdtree").joint_radius_and_counts(blocks, 3)
    for cores in (1, 4):
        monkeypatch.setattr(plan, "cores", lambda cores=cores: cores)
        for ours, theirs in zip(Tree().joint_radius_and_counts(blocks, 3), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 150), st.integers(1, 4), st.integers(0, 2**32 - 1), st.integers(1, 20), st.booleans())
def test_any_small_data(n: int, d: int, seed: int, levels: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    blocks = [rng.integers(0, levels, (n, c)) / levels if ties else cauchy3(rng, n, c) for c in (1, d)]
    agree(blocks, int(rng.integers(1, n)), Tree(rows=64))


def test_a_million_ties_are_counted_whole() -> None:
    # All pairs would be 10^12 distances; what counts equal rows one by one does not come back.
    n = 1_000_000
    x, y = np.zeros((n, 1)), np.repeat([0.0, 1.0], n // 2)[:, None]
    for blocks in ([x, y], [np.hstack([x, y]), y]):
        radius, counts = Tree().joint_radius_and_counts(blocks, 3)
        assert not radius.any()
        assert not counts.any()
    assert (Tree().count_within(blocks[0], radius, closed=True) == n // 2 - 1).all()
    assert (Tree().count_within(blocks[1], radius, closed=True) == n // 2 - 1).all()
    assert (Tree().reach_within(blocks, radius + 1) == 1).all()


def test_a_task_needs_rows() -> None:
    with pytest.raises(ValueError, match="rows=0"):
        Tree(rows=0)
