"""Columns in levels: planes of bits, what they say may and must be within a radius, and rows kept for a count.

exact       a bit is set where the row's level is below the plane's; nothing that is within is left out, nothing else
            is sure
properties  any scale and offset, ties on the borders, radii that are 0, infinite, negative or NaN; more rows near than
            are kept
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miest_kernels import cpu_brute, cpu_ways
from miest_kernels.cpu_brute import Brute
from miest_kernels.cpu_coarse import MOST_KEPT, within_rows
from miest_kernels.cpu_levels import PANEL, Levels, inner_ends, levels_of, outer_ends, planes_of, shares
from miest_kernels.cpu_order import AS_THEY_ARE, boxes
from miest_kernels.cpu_ways import Way
from miest_kernels.reference import Reference

DTYPES = [np.float32, np.float64]
LINE = PANEL // 8


def rows_in(planes: np.ndarray, ends: np.ndarray, n: int) -> np.ndarray:
    """Which rows two planes a column, at `ends` (2, d) bytes, leave: (n,) booleans."""
    kept = np.ones(len(planes) * PANEL, bool)
    for f in range(planes.shape[1]):
        below = [
            np.unpackbits(planes[:, f, end // LINE].copy().view(np.uint8), axis=1, bitorder="little").ravel() == 1
            for end in ends[:, f]
        ]
        kept &= below[0] & ~below[1]
    assert not kept[n:].any()
    return kept[:n]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 511, 512, 513, 1500])
def test_bits_are_set_below_a_level(dtype: type, n: int) -> None:
    rows = np.random.default_rng(n).standard_normal((n, 3)).astype(dtype)
    levels = levels_of([rows[:, :1], rows[:, 1:]])
    planes = planes_of(rows, levels)
    assert planes.shape == (-(-n // PANEL), 3, levels.number + 1, PANEL // 64)
    assert planes.ctypes.data % 64 == 0
    level = np.clip(np.floor((rows - levels.low) * levels.scale), 0, levels.number - 1)
    bits = np.unpackbits(planes.view(np.uint8), axis=3, bitorder="little").transpose(2, 0, 3, 1)
    below = bits.reshape(levels.number + 1, -1, 3)
    np.testing.assert_array_equal(below[:, :n], level < np.arange(levels.number + 1)[:, None, None])
    assert not below[:, n:].any()


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(DTYPES),
    st.sampled_from([0.0, 1.0, 1e3, 1e6, -1e9]),
    st.sampled_from([1e-30, 1e-3, 1.0, 1e20]),
    st.sampled_from(["random", "rounded", "constant", "heavy"]),
)
@settings(max_examples=150, deadline=None)
def test_outer_leaves_nothing_out_and_inner_is_sure(
    seed: int, dtype: type, shift: float, unit: float, kind: str
) -> None:
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(2, 700)), int(rng.integers(1, 6))
    raw = rng.standard_normal((n, d))
    match kind:
        case "rounded":
            raw = np.round(raw * 4) / 4
        case "constant":
            raw[:, 0] = 0.3
        case "heavy":
            raw = rng.standard_cauchy((n, d)) ** 3
    rows = (shift + unit * raw).astype(dtype)
    levels = levels_of([rows])
    planes, top = planes_of(rows, levels), dtype(levels.number - 1)
    ends = np.empty((2, d), np.uint16)
    for i in rng.integers(0, n, 8):
        apart = np.abs(rows[i] - rows).max(axis=1)
        quantile = np.sort(apart)[int(rng.integers(0, n))]
        for radius in (
            quantile,
            np.nextafter(quantile, dtype(np.inf)),
            dtype(0),
            dtype(-1),
            dtype(np.inf),
            dtype(np.nan),
        ):
            outer_ends(rows[i], radius, levels.low, levels.scale, top, ends)
            assert rows_in(planes, ends, n)[apart < radius].all()
            inner_ends(rows[i], radius, levels.low, levels.scale, top, ends)
            assert (apart[rows_in(planes, ends, n)] < radius).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_levels_tell_most_rows_apart(dtype: type) -> None:
    """What makes them worth their while: few of the rows that may be within are in doubt."""
    rows = np.random.default_rng(0).standard_normal((20_000, 10)).astype(dtype)
    tried, radius = rows[:16], np.full(16, 1.2, dtype)
    true = np.mean(np.abs(tried[:, None] - rows).max(axis=2) < radius[:, None])
    outer, inner = shares(planes_of(rows, levels_of([rows])), len(rows), tried, radius, levels_of([rows]))
    assert 0.5 * true < inner < true < outer < 1.7 * true


def test_fewer_planes_for_many_columns() -> None:
    rows = np.random.default_rng(0).standard_normal((300, 3000)).astype(np.float32)
    assert levels_of([rows[:, :10]]).number == 63
    assert levels_of([rows]).number == 15


@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_counts_by_one_or_both_kinds(dtype: type, inner: bool) -> None:
    rng = np.random.default_rng(2)
    block = np.round(rng.standard_normal((1300, 16)), 1).astype(dtype)
    limit = rng.choice(np.array([0.0, 0.3, 2.0, 2.5, 50, np.nan, -1, np.inf], dtype), len(block))
    levels = levels_of([block])
    corners = boxes(block, AS_THEY_ARE.columns, PANEL)
    shared = planes_of(block, levels), block, levels, AS_THEY_ARE.columns, *corners, limit, inner
    counts = np.concatenate([within_rows(start, min(start + 512, 1300), *shared)[0] for start in (0, 512, 1024)])
    np.testing.assert_array_equal(counts, Reference().count_within(block, limit))


@pytest.mark.parametrize("dtype", DTYPES)
def test_more_rows_near_in_the_first_block_than_are_kept(monkeypatch: pytest.MonkeyPatch, dtype: type) -> None:
    """A dense cluster of one block, in which the other spreads: its rows are counted apart."""
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2000, 12)).astype(dtype), rng.standard_normal((2000, 3)).astype(dtype)
    x[::2] *= 1e-3
    way = Way(0, levels_of([x]), AS_THEY_ARE, [AS_THEY_ARE] * 2)
    monkeypatch.setattr(cpu_brute, "radius_way", lambda *_, **__: way)
    _, kept = cpu_brute._nearest([x, y], 3, way)
    assert 0.4 < (kept == -1).mean() < 0.6
    radius, counts = Brute(levels="always").joint_radius_and_counts([x, y], 3)
    expected, expected_counts = Reference().joint_radius_and_counts([x, y], 3)
    np.testing.assert_array_equal(radius, expected)
    np.testing.assert_array_equal(counts, expected_counts)
    assert expected_counts[0].max() > MOST_KEPT


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 3, 40, 299])
def test_rows_that_are_tried_know_their_kth(monkeypatch: pytest.MonkeyPatch, dtype: type, k: int) -> None:
    rng = np.random.default_rng(k)
    blocks = [np.round(rng.standard_normal((300, d)), 1).astype(dtype) for d in (3, 20)]
    some = np.array([0, 17, 100, 298, 299])
    expected = Reference().kth_radius(blocks, k)[some]
    for values in (1 << 18, 1000):  # at once, and in parts of fewer rows than neighbours
        monkeypatch.setattr(cpu_ways, "_VALUES_AT_ONCE", values)
        np.testing.assert_array_equal(cpu_ways.kth_distances(blocks, some, k), expected)


def test_columns_without_a_width_say_nothing() -> None:
    rows = np.full((600, 2), 7.0)
    levels = levels_of([rows])
    assert isinstance(levels, Levels)
    np.testing.assert_array_equal(levels.scale, 0)
    assert shares(planes_of(rows, levels), 600, rows[:3], np.full(3, 1.0), levels) == (1, 0)
