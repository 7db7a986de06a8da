"""Rows in an order: selections, trees grown with and without wide vectors, boxes of panels.

exact       a sweep and a sort of few keys move each key with its place; orders are permutations; boxes hold their rows
properties  no row is nearer than its panel's box; neighbours and counts are the reference's where panels are left out
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miest_kernels.cpu_brute import Brute
from miest_kernels.cpu_grow import arrange, grow, outline, sort_few
from miest_kernels.cpu_lanes import LANES
from miest_kernels.cpu_levels import PANEL
from miest_kernels.cpu_order import arranged, boxes, distances_to_boxes
from miest_kernels.cpu_sweep import sweep
from miest_kernels.cpu_tile import has_avx512
from miest_kernels.cpu_ways import radius_way
from miest_kernels.reference import Reference

PORTABLE = [True, *([False] if has_avx512() else [])]
DTYPES = [np.float32, np.float64]


def clusters(n: int, d: int, dtype: type, seed: int = 0) -> np.ndarray:
    """Rows around ten places far from each other, in no order."""
    rng = np.random.default_rng(seed)
    return (30 * rng.integers(0, 10, (n, 1)) + rng.standard_normal((n, d))).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("portable", PORTABLE)
@pytest.mark.parametrize("m", [1, 7, 8, 15, 16, 17, 31, 64, 100, 1000])
def test_a_sweep_parts_the_keys(m: int, portable: bool, dtype: type) -> None:
    rng = np.random.default_rng(m)
    for start, pivot in ((0, 0.0), (3, -9.0), (min(5, m - 1), 9.0), (0, 1.0)):
        key = np.append(np.round(rng.standard_normal(m), 1), np.full(40, np.nan)).astype(dtype)  # ties
        place = np.arange(m + 40).astype(np.int32)
        before, spare = key.copy(), (np.empty(m + 40, dtype), np.empty(m + 40, np.int32))
        edge = sweep(key, place, start, m, dtype(pivot), *spare, portable)
        assert (key[start:edge] < pivot).all()
        assert (key[edge:m] >= pivot).all()
        np.testing.assert_array_equal(before[place], key)
        np.testing.assert_array_equal(np.sort(place), np.arange(m + 40))
        np.testing.assert_array_equal(place[m:], np.arange(m, m + 40))
        np.testing.assert_array_equal(place[:start], np.arange(start))


@given(st.lists(st.sampled_from([-1.5, -0.0, 0.0, 0.25, 3.0]), min_size=1, max_size=LANES))
@settings(max_examples=50, deadline=None)
def test_a_few_keys_are_sorted_and_equal_ones_stay(values: list[float]) -> None:
    m = len(values)
    for dtype in DTYPES:
        key = np.array([9.0, *values, *[-7.0] * LANES], dtype)
        place = np.arange(len(key)).astype(np.int32)
        sort_few(key, place, 1, 1 + m, np.empty(m, dtype), np.empty(m, np.int32), np.empty(LANES, np.uint8))
        np.testing.assert_array_equal(place[1 : 1 + m] - 1, np.argsort(values, kind="stable"))
        np.testing.assert_array_equal(key[1 : 1 + m], np.sort(np.array(values, dtype)))
        assert (key[0], place[0], key[1 + m], place[1 + m]) == (9, 0, -7, 1 + m)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 33, 900, 20_000])
def test_trees_hold_every_row_once(dtype: type, n: int) -> None:
    columns = clusters(n, 3, dtype).T.copy()
    columns[0] = np.round(columns[0])
    for portable in PORTABLE:
        tree = grow(columns, portable=portable)
        np.testing.assert_array_equal(np.sort(tree.order), np.arange(n))
        points = tree.points.reshape(-1, 3, LANES).transpose(1, 0, 2).reshape(3, -1)[:, :n]
        np.testing.assert_array_equal(points, columns[:, tree.order])


@pytest.mark.parametrize("leaves", [1, 2, 7, 8, 9, 63, 100, 257])
def test_large_nodes_begin_at_whole_panels(leaves: int) -> None:
    first, last, home = outline(leaves, 8)
    size = last - first
    assert (first[size > 8] % 8 == 0).all()
    np.testing.assert_array_equal(first[home], np.arange(leaves))
    np.testing.assert_array_equal(size[home], 1)
    place = arrange(np.random.default_rng(0).random((2, leaves * LANES)), 1, first, last, 1, True)
    np.testing.assert_array_equal(np.sort(place), np.arange(leaves * LANES))


@pytest.mark.parametrize("dtype", DTYPES)
def test_boxes_are_nearer_than_their_rows(dtype: type) -> None:
    rows = clusters(3000, 5, dtype)
    order = arranged(rows, np.full(16, 2.0))
    assert order.share < 0.5
    rows = rows[order.rows]
    least, most = boxes(rows, order.columns, 6)
    low, high = boxes(rows, order.columns, PANEL)
    gaps = np.empty(len(low), dtype)
    for group in range(0, len(least), 50):
        distances_to_boxes(least[group], most[group], low, high, gaps)
        apart = np.abs(rows[group * 6 : group * 6 + 6, None] - rows).max(axis=2).min(axis=0)
        assert (gaps <= np.minimum.reduceat(apart, np.arange(0, len(rows), PANEL))).all()


def test_no_order_where_none_helps() -> None:
    order = arranged(np.random.default_rng(0).standard_normal((3000, 9)), np.full(16, 9.0))
    assert (order.rows, order.columns.size, order.share) == (slice(None), 0, 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 3, 200])
def test_panels_out_of_reach_hold_no_neighbour(k: int, dtype: type) -> None:
    blocks = [clusters(3000, 6, dtype, seed=0), np.random.default_rng(1).standard_normal((3000, 5)).astype(dtype)]
    blocks[0][::7] = blocks[0][0]  # duplicates in hundreds
    way = radius_way(blocks, k, counted=True, must=True)
    assert way is not None
    assert way.order.share < 0.9
    radius, counts = Brute(levels="always").joint_radius_and_counts(blocks, k)
    expected, expected_counts = Reference().joint_radius_and_counts(blocks, k)
    np.testing.assert_array_equal(radius, expected)
    np.testing.assert_array_equal(counts, expected_counts)
    radius[::3] = np.nan
    np.testing.assert_array_equal(
        Brute(levels="always").count_within(blocks[0], radius), Reference().count_within(blocks[0], radius)
    )
