"""The brute-force backend beyond the contract: both tiles, both dtypes, extreme data.

exact       float32 and float64 equal the reference bit for bit, with either tile, at every edge of a panel
properties  n, number of blocks, k up to n - 1, wide data, sizes of groups and tasks; with and without levels
refusals    a tile that is not, or cannot run
"""

import numpy as np
import pytest

from miest_kernels import cpu_brute, cpu_ways
from miest_kernels.cpu_brute import Brute
from miest_kernels.cpu_tile import has_avx512, panel_rows
from miest_kernels.reference import Reference

ORACLE = Reference()
TILES = ["portable", *(["avx512"] if has_avx512() else [])]
WAYS = [Brute(tile=tile, levels=levels) for tile in TILES for levels in ("never", "always")]  # type: ignore[arg-type]
BY_NAME = {"argvalues": WAYS, "ids": [f"{way.tile}, levels {way.levels}" for way in WAYS]}
DTYPES = [np.float32, np.float64]


def agree(backend: Brute, blocks: list[np.ndarray], k: int) -> None:
    with np.errstate(over="ignore"):
        expected, expected_counts = ORACLE.joint_radius_and_counts(blocks, k)
        reach = ORACLE.reach_within(blocks, expected)
        closed = [ORACLE.count_within(block, expected, closed=True) for block in blocks]
    radius, counts = backend.joint_radius_and_counts(blocks, k)
    assert radius.dtype == blocks[0].dtype
    assert counts.dtype == np.intp
    np.testing.assert_array_equal(radius, expected)
    np.testing.assert_array_equal(counts, expected_counts)
    np.testing.assert_array_equal(backend.kth_radius(blocks, k), expected)
    np.testing.assert_array_equal(backend.reach_within(blocks, expected), reach)
    for block, open_count, closed_count in zip(blocks, expected_counts, closed, strict=True):
        np.testing.assert_array_equal(backend.count_within(block, expected), open_count)
        np.testing.assert_array_equal(backend.count_within(block, expected, closed=True), closed_count)


@pytest.mark.parametrize("backend", **BY_NAME)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 5, 6, 7, 31, 32, 33, 63, 64, 65, 127, 129, 255, 256, 257, 385, 800])
def test_every_edge_of_a_panel(backend: Brute, dtype: type, n: int) -> None:
    rng = np.random.default_rng(n)
    blocks = [rng.standard_normal((n, d)).astype(dtype) for d in (3, 1, 2)]
    for k in {1, min(4, n - 1), n - 1}:
        agree(backend, blocks, k)


@pytest.mark.parametrize("backend", **BY_NAME)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [(7,), (40, 3), (150, 60), (300, 2)])
def test_wide_blocks_in_groups_of_tiles(backend: Brute, dtype: type, dims: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    agree(backend, [rng.standard_normal((500, d)).astype(dtype) for d in dims], 3)


@pytest.mark.parametrize("backend", **BY_NAME)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ["largest", "overflow", "all overflow", "subnormal", "constant", "two values"])
def test_extreme_values_do_not_meet_the_padding(backend: Brute, dtype: type, case: str) -> None:
    rng = np.random.default_rng(1)
    top, least = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    x = {
        "largest": np.full((70, 2), top),
        "overflow": rng.choice(np.array([-top, 0, top], dtype), (70, 2)),
        "all overflow": np.array([[-top], [top]], dtype),
        "subnormal": rng.integers(0, 9, (70, 2)).astype(dtype) * least,
        "constant": np.zeros((70, 1)),
        "two values": rng.integers(0, 2, (70, 1)),
    }[case].astype(dtype)
    for k in {1, len(x) - 1}:
        agree(backend, [x], k)
        agree(backend, [x, x[:, ::-1].copy()], k)


@pytest.mark.parametrize("backend", **BY_NAME)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_radius_open_and_closed(backend: Brute, dtype: type) -> None:
    top = np.finfo(dtype).max
    block = np.array([[0], [0], [-0.0], [1], [top], [-top]], dtype)
    for value in (-np.inf, -1, -0.0, 0, np.finfo(dtype).smallest_subnormal, 1, top, np.inf, np.nan):
        radius = np.full(len(block), value, dtype)
        for closed in (False, True):
            with np.errstate(over="ignore"):
                expected = ORACLE.count_within(block, radius, closed=closed)
            np.testing.assert_array_equal(backend.count_within(block, radius, closed=closed), expected)
        with np.errstate(over="ignore"):
            reach = ORACLE.reach_within([block], radius)
        np.testing.assert_array_equal(backend.reach_within([block], radius), reach)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 64, 65, 200])
def test_panels_hold_every_row_and_pad_with_infinity(dtype: type, n: int) -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.standard_normal((n, d)).astype(dtype) for d in (2, 3)]
    panels, edges = cpu_brute.pack(blocks)
    rows = panels.transpose(0, 2, 1).reshape(-1, 5)
    np.testing.assert_array_equal(rows[:n], np.hstack(blocks))
    assert np.isposinf(rows[n:]).all()
    assert panels.shape[2] == panel_rows(np.dtype(dtype))
    assert edges.tolist() == [0, 2, 5]


@pytest.mark.parametrize("levels", ["never", "always"])
def test_group_and_task_sizes_change_no_bit(monkeypatch: pytest.MonkeyPatch, levels: str) -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.standard_normal((700, 50)), rng.standard_normal((700, 2))]
    expected = Brute().joint_radius_and_counts(blocks, 5)
    for rows, scratch in [(6, 0), (12, 1 << 30), (600, 0), (6000, 1 << 20)]:
        monkeypatch.setattr(cpu_brute, "task_rows", lambda n, features, rows=rows: rows)
        monkeypatch.setattr(cpu_brute, "_SCRATCH", scratch)
        for ours, theirs in zip(Brute(levels=levels).joint_radius_and_counts(blocks, 5), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "case",
    ["random", "heavy tails", "rounded", "copies", "one far out", "unlike columns", "far off", "largest"],
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("first", [True, False], ids=["first block", "all columns"])
def test_levels_rule_out_no_neighbour(monkeypatch: pytest.MonkeyPatch, case: str, dtype: type, first: bool) -> None:
    """Thousands of rows, so that panels come in chunks and radii shrink on the way; on both ways to begin."""
    rng = np.random.default_rng(3)
    n = 1500
    x, y = rng.standard_normal((n, 9)), rng.standard_normal((n, 4))
    match case:
        case "heavy tails":
            x, y = rng.standard_cauchy((n, 9)) ** 3, rng.standard_cauchy((n, 4))
        case "rounded":  # distances tie in bulk, on the borders of levels and off them
            x, y = np.round(x * 2) / 2, np.round(y, 1)
        case "copies":
            x, y = np.repeat(x[: n // 10], 10, axis=0), np.repeat(y[: n // 10], 10, axis=0)
        case "one far out":
            x[7], y[11] = 1e6, -1e9
        case "unlike columns":
            x, y = x * 10.0 ** np.arange(-4, 5), y * 1e-3
        case "far off":
            x, y = x * 1e-2 + 1e3, y - 1e5
        case "largest":
            top = float(np.finfo(dtype).max)
            x, y = top * (0.8 + 1e-3 * x), top * (0.8 + 1e-3 * y)
    # The search of one block costs nothing, or a hundred times as much as of both.
    searched = cpu_ways._search_cost
    monkeypatch.setattr(
        cpu_ways,
        "_search_cost",
        lambda blocks, *rest: searched(blocks, *rest) * (0 if len(blocks) > 1 else -1 if first else 100),
    )
    blocks = [np.ascontiguousarray(block, dtype) for block in (x, y)]
    way = cpu_ways.radius_way(blocks, 3, counted=True, must=True)
    assert way is not None
    assert (way.first is not None) == first
    agree(Brute(levels="always"), blocks, 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_full_chunks_of_panels(dtype: type) -> None:
    rng = np.random.default_rng(4)
    blocks = [rng.standard_normal((9001, d)).astype(dtype) for d in (4, 2)]
    leveled, plain = (Brute(levels=levels) for levels in ("always", "never"))  # type: ignore[arg-type]
    radius, counts = plain.joint_radius_and_counts(blocks, 3)
    for ours, theirs in zip(leveled.joint_radius_and_counts(blocks, 3), (radius, counts), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(leveled.kth_radius(blocks, 3), radius)
    radius[:50] = np.inf  # every row is within that
    np.testing.assert_array_equal(leveled.count_within(blocks[0], radius), plain.count_within(blocks[0], radius))


def test_levels_are_taken_where_they_pay() -> None:
    rng = np.random.default_rng(0)
    wide = [rng.standard_normal((6000, d)).astype(np.float32) for d in (100, 30)]
    assert cpu_ways.radius_way(wide, 3, counted=True) is not None
    tailed = [rng.standard_cauchy((6000, d)) ** 3 for d in (30, 10)]  # most rows are in one level
    assert cpu_ways.radius_way(tailed, 3, counted=True) is None
    radius = Brute().kth_radius(wide, 3)
    assert cpu_ways.count_way(wide[0], radius) is not None
    assert cpu_ways.count_way(wide[1], radius) is None  # nearly all rows are within it in these columns


def test_unknown_tile_raises() -> None:
    with pytest.raises(ValueError, match="tile='sse'"):
        Brute(tile="sse")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="levels=True is not one of"):
        Brute(levels=True)  # type: ignore[arg-type]


def test_named_tile_that_cannot_run_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_brute, "has_avx512", lambda: False)
    with pytest.raises(ImportError, match="AVX-512 DQ: use tile='auto'"):
        Brute(tile="avx512")
    Brute(tile="auto")
