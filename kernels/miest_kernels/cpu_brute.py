"""Brute force: every max-norm distance once, selection and counts from the same distances while they are in cache.

Where it pays, `cpu_coarse` rules most pairs out by levels first; what follows is what is done without it.

The data are packed into panels (`cpu_tile`), all blocks side by side. A task takes a range of rows, a *group* of tiles
at a time: tile after tile over all panels fills, for each of its rows and each block, a row of n distances; the k
smallest joint distances come from the few places whose minimum beats the k-th so far; the counts are one more read.
With many columns a group is several tiles, so that a panel serves them all from cache.

Padding is +inf in every column: all data are finite, so a padded row is at distance inf of every row, nothing is below
it, and no result can hold it. Oneself is moved to inf in the same way. Block functions are pure, nogil and cached on
disk, and `plan.map_rows` decides where they run; no size here changes a bit of any result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from miest_kernels.contract import Block, Neighbours, check_blocks
from miest_kernels.cpu_coarse import in_rows, nearest_rows, within_rows
from miest_kernels.cpu_levels import PANEL, planes_of
from miest_kernels.cpu_order import Order, boxes
from miest_kernels.cpu_tile import (
    LANES,
    ROWS,
    count_below,
    has_avx512,
    lane_minima,
    lanes_below,
    lowest_bit,
    max_norm_tile,
    panel_rows,
    replace_first,
)
from miest_kernels.cpu_ways import Way, count_way, radius_way
from miest_kernels.plan import map_rows
from miest_kernels.storage import room_for

_TASK_ROWS = 64 * ROWS
_TASK_PAIRS = 20_000_000  # enough work to a task that handing it out costs nothing
_SCRATCH = 32 << 20  # bytes of distances that a group may hold, where one tile does not need more


@dataclass(frozen=True, kw_only=True)
class Brute(Neighbours):
    """All pairs by blocks of rows: O(n^2 d) time, O(n d) memory, indifferent to dimension, ties and tails.

    Parameters
    ----------
    tile : "auto", "avx512" or "portable"
        which micro-kernel computes the distances; they give the same bits. "auto" takes AVX-512 where there is.
    levels : "auto", "always" or "never"
        whether levels rule pairs out before floats are compared (`cpu_coarse`), which changes no bit either. "auto"
        does where some rows that are tried say that it pays.

    Raises
    ------
    ValueError
        if `tile` or `levels` is not one of the three
    ImportError
        if "avx512" is named and the processor has none
    """

    tile: Literal["auto", "avx512", "portable"] = "auto"
    levels: Literal["auto", "always", "never"] = "auto"
    name = "cpu"

    def __post_init__(self) -> None:
        if self.tile not in ("auto", "avx512", "portable"):
            raise ValueError(f"tile={self.tile!r} is not one of 'auto', 'avx512', 'portable'.")
        if self.levels not in ("auto", "always", "never"):
            raise ValueError(f"levels={self.levels!r} is not one of 'auto', 'always', 'never'.")
        if self.tile == "avx512" and not has_avx512():
            raise ImportError("tile='avx512' needs a processor with AVX-512 DQ: use tile='auto'.")

    def kth_radius(self, blocks: Sequence[Block], k: int) -> NDArray[np.floating]:
        """See `Neighbours.kth_radius`."""
        n, _ = check_blocks(blocks, k)
        if way := self.levels != "never" and radius_way(blocks, k, counted=False, must=self.levels == "always"):
            return _nearest(blocks, k, way)[0]
        panels, edges = pack(blocks)
        parts = self._map(_radius_rows, panels, n, edges[[0, -1]], k, False)  # one block of all columns
        return np.concatenate([radius for radius, _ in parts])

    def count_within(self, block: Block, radius: NDArray[np.floating], *, closed: bool = False) -> NDArray[np.intp]:
        """See `Neighbours.count_within`."""
        n, _ = check_blocks([block])
        limit = _just_above(radius) if closed else np.ascontiguousarray(radius)
        count = self._counted(block, limit, None)
        return np.where(np.isposinf(radius), n - 1, count) if closed else count

    def reach_within(self, blocks: Sequence[Block], radius: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Neighbours.reach_within`."""
        n, _ = check_blocks(blocks)
        panels, edges = pack(blocks)
        return np.concatenate(self._map(_reach_rows, panels, n, edges, np.ascontiguousarray(radius)), axis=1)

    def joint_radius_and_counts(self, blocks: Sequence[Block], k: int) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
        """See `Neighbours.joint_radius_and_counts`; one pass over the distances, or levels of few columns first."""
        n, _ = check_blocks(blocks, k)
        if way := self.levels != "never" and radius_way(blocks, k, counted=True, must=self.levels == "always"):
            radius, nearer = _nearest(blocks, k, way)
            counts = [self._counted(block, radius, way.orders[b]) for b, block in enumerate(blocks) if b != way.first]
            if way.first is not None:
                counts.insert(way.first, self._completed(blocks[way.first], radius, nearer, way.order))
            return radius, np.stack(counts)
        panels, edges = pack(blocks)
        parts = self._map(_radius_rows, panels, n, edges, k, True)
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts], axis=1)

    def _completed(self, block, radius, count, order):
        """Counts, of which those that are -1 are not known yet."""
        unknown = count < 0
        if unknown.any():  # a limit that is NaN asks for nothing
            count[unknown] = self._counted(block, np.where(unknown, radius, np.nan).astype(radius.dtype), order)[
                unknown
            ]
        return count

    def _counted(self, block: Block, limit: NDArray[np.floating], order: Order | None) -> NDArray[np.intp]:
        """How many other rows are nearer than each row's limit, by levels or by tiles; in an order that is known."""
        n, _ = block.shape
        if way := self.levels != "never" and count_way(block, limit, order=order, must=self.levels == "always"):
            (count,) = _by_levels(within_rows, [block], way, limit[way.order.rows], way.inner)
            return count  # type: ignore[no-any-return]
        panels, edges = pack([block])
        return np.concatenate(self._map(_count_rows, panels, n, edges, limit))

    def _map(self, block, panels, n, edges, *settings):
        rows = task_rows(n, panels.shape[1])
        return map_rows(block, n, rows, panels, n, edges, self.tile == "portable", *settings)


def _nearest(blocks: Sequence[Block], k: int, way: Way) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
    """Radii, and of the first block, if there is one, how many rows are nearer in it, or -1."""
    others = [block for b, block in enumerate(blocks) if b != way.first] if way.first is not None else []
    rest = in_rows(others, way.order) if others else np.empty((len(blocks[0]), 0), blocks[0].dtype)
    searched = blocks if way.first is None else [blocks[way.first]]
    radius, count = _by_levels(nearest_rows, searched, way, rest, k)
    return radius, count


def _by_levels(block_function, blocks, way, *settings):
    """What a block function of `cpu_coarse` says of the rows, in their own order: a list of arrays."""
    n, order = len(blocks[0]), way.order
    rows = in_rows(blocks, order)
    corners = boxes(rows, order.columns, PANEL)
    step = PANEL * max(1, _TASK_PAIRS // (n * len(way.levels.low) * PANEL))
    parts = map_rows(
        block_function, n, step, planes_of(rows, way.levels), rows, way.levels, order.columns, *corners, *settings
    )
    found = [np.concatenate(part) for part in zip(*parts, strict=True)]
    back = [np.empty_like(each) for each in found]
    for out, each in zip(back, found, strict=True):
        out[order.rows] = each
    return back


def pack(blocks: Sequence[Block]) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
    """Panels of all blocks' columns, and where each block begins and ends among them.

    Returns
    -------
    panels : (ceil(n / panel rows), sum of d, panel rows) array, the last panel filled up with +inf
    edges : (blocks + 1,) intp
    """
    n, wide = blocks[0].shape[0], panel_rows(blocks[0].dtype)
    edges = np.cumsum([0, *(block.shape[1] for block in blocks)], dtype=np.intp)
    panels = room_for((-(-n // wide), int(edges[-1]), wide), blocks[0].dtype, *blocks)
    whole = n // wide
    panels[whole:] = np.inf
    for block, first, last in zip(blocks, edges, edges[1:], strict=False):
        panels[:whole, first:last] = block[: whole * wide].reshape(whole, wide, last - first).transpose(0, 2, 1)
        panels[whole:, first:last, : n - whole * wide] = block[whole * wide :].T
    return panels, edges


def task_rows(n: int, features: int) -> int:
    """Rows to a task: a whole number of groups, and work of some milliseconds."""
    return -(-_TASK_PAIRS // (n * max(features, 16) * _TASK_ROWS)) * _TASK_ROWS


def tile_source(
    panels: Block, n: int, edges: NDArray[np.intp], portable: bool, start: int, stop: int
) -> tuple[Any, ...]:
    """What `fill` reads: the panels by address, so that one compilation serves read-only memory, and the queries."""
    rows = np.arange(start, start + -(-(stop - start) // ROWS) * ROWS).clip(max=n - 1)  # repeats fill the last tile
    wide = panels.shape[2]
    queries = panels[rows // wide, :, rows % wide].reshape(-1, ROWS, panels.shape[1]).transpose(0, 2, 1)
    address = panels.ctypes.data, len(panels), wide
    return np.ascontiguousarray(queries), address, np.array(edges), panels.dtype.type(-1), portable


def _just_above(radius):
    with np.errstate(over="ignore"):
        return np.nextafter(np.ascontiguousarray(radius), radius.dtype.type(np.inf))


def _group(panels, blocks):
    """Tiles to a group: the wider the panels, the more tiles share each, while their distances stay small."""
    tiles = 1 if panels.shape[1] <= 32 else 4 if panels.shape[1] < 200 else 16
    row = blocks * panels.shape[0] * panels.shape[2] * panels.itemsize
    return max(1, min(tiles, _SCRATCH // (ROWS * row)))


def _radius_rows(start, stop, panels, n, edges, portable, k, counted):
    source = tile_source(panels, n, edges, portable, start, stop)
    radius = np.empty(stop - start, panels.dtype)
    counts = np.empty((len(edges) - 1, stop - start), np.intp)
    _radius(source, start, _group(panels, len(edges) - 1), k, counted, radius, counts)
    return radius, counts


def _count_rows(start, stop, panels, n, edges, portable, limit):
    source = tile_source(panels, n, edges, portable, start, stop)
    count = np.empty(stop - start, np.intp)
    _count(source, start, _group(panels, 1), limit[start:stop].copy(), count)
    return count


def _reach_rows(start, stop, panels, n, edges, portable, radius):
    source = tile_source(panels, n, edges, portable, start, stop)
    reach = np.zeros((len(edges) - 1, stop - start), panels.dtype)
    _reach(source, start, n, _group(panels, len(edges) - 1), radius[start:stop].copy(), reach)
    return reach


@njit(cache=True, nogil=True, error_model="numpy")
def scratch(like, rows, columns):
    """(rows, columns) array that begins at a multiple of 64 bytes, so that a vector lies in one cache line."""
    room = np.empty(rows * columns + 64 // like.itemsize, like.dtype)
    skip = (-room.ctypes.data % 64) // like.itemsize
    return room[skip : skip + rows * columns].reshape(rows, columns)


@njit(cache=True, nogil=True, error_model="numpy")
def fill(source, self, tile, tiles, joined, single, minima):
    """Distances of the rows of `tiles` tiles, from query tile `tile` on, to all rows.

    ``single`` is (rows x blocks, panels x panel rows); oneself is put at inf, and `self` is the number of the first
    row. With `joined`, `minima` (rows, panels x lanes of a vector and up) gets the lane minima of the joint distances,
    where oneself is still at 0: they only say where to look.
    """
    queries, (panels, count, wide), edges, minus_one, portable = source
    size, blocks, features = single.itemsize, edges.shape[0] - 1, queries.shape[1]
    row, lanes = single.shape[1], wide // 4
    query, out, low = queries.ctypes.data, single.ctypes.data, minima.ctypes.data
    for p in range(count):
        for t in range(tiles):
            here = out + (t * ROWS * blocks * row + p * wide) * size
            for b in range(blocks):
                max_norm_tile(
                    query + ((tile + t) * features + edges[b]) * ROWS * size,
                    panels + (p * features + edges[b]) * wide * size,
                    here + b * row * size,
                    blocks * row,
                    edges[b + 1] - edges[b],
                    minus_one,
                    portable,
                )
            if joined:
                for r in range(ROWS):
                    at = low + ((t * ROWS + r) * minima.shape[1] + p * lanes) * size
                    lane_minima(here + r * blocks * row * size, row, blocks, at, minus_one)
    for r in range(tiles * ROWS):
        if self + r < row:
            single[r * blocks : (r + 1) * blocks, self + r] = np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def _radius(source, start, group, k, counted, radius, counts):
    queries, (_, count, wide), edges = source[:3]
    blocks = edges.shape[0] - 1
    single, minima = room(queries, count, wide, group, blocks)
    best = np.empty(k, queries.dtype)  # a heap, the largest of the k smallest first
    for first in range(0, radius.shape[0], group * ROWS):
        tiles = min(group, queries.shape[0] - first // ROWS)
        fill(source, start + first, first // ROWS, tiles, True, single, minima)
        for i in range(first, min(first + group * ROWS, radius.shape[0])):
            row = (i - first) * blocks
            best[:] = np.inf
            for at in range(0, minima.shape[1], LANES):
                mask = lanes_below(minima[i - first, at:].ctypes.data, best[0])
                while mask != 0:
                    lane = at + lowest_bit(mask)
                    mask &= mask - 1
                    if minima[i - first, lane] < best[0]:
                        for j in _columns(lane, wide):
                            joint = single[row, j]
                            for b in range(1, blocks):
                                joint = max(joint, single[row + b, j])
                            if joint < best[0]:
                                replace_first(best, joint)
            radius[i] = best[0]
            if counted:
                for b in range(blocks):
                    counts[b, i] = count_below(single[row + b].ctypes.data, count, best[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _count(source, start, group, limit, counts):
    queries, (_, count, wide) = source[:2]
    single, minima = room(queries, count, wide, group, 1)
    for first in range(0, limit.shape[0], group * ROWS):
        tiles = min(group, queries.shape[0] - first // ROWS)
        fill(source, start + first, first // ROWS, tiles, False, single, minima)
        for i in range(first, min(first + group * ROWS, limit.shape[0])):
            counts[i] = count_below(single[i - first].ctypes.data, count, limit[i])


@njit(cache=True, nogil=True, error_model="numpy")
def _reach(source, start, n, group, radius, reach):
    queries, (_, count, wide), edges = source[:3]
    blocks = edges.shape[0] - 1
    single, minima = room(queries, count, wide, group, blocks)
    for first in range(0, radius.shape[0], group * ROWS):
        tiles = min(group, queries.shape[0] - first // ROWS)
        fill(source, start + first, first // ROWS, tiles, True, single, minima)
        for i in range(first, min(first + group * ROWS, radius.shape[0])):
            row = (i - first) * blocks
            for lane in range(count * wide // 4):
                if minima[i - first, lane] <= radius[i]:
                    for j in _columns(lane, wide):
                        joint = single[row, j]
                        for b in range(1, blocks):
                            joint = max(joint, single[row + b, j])
                        if joint <= radius[i] and j < n and j != start + i:
                            for b in range(blocks):
                                reach[b, i] = max(reach[b, i], single[row + b, j])


@njit(cache=True, nogil=True, error_model="numpy")
def room(queries, count, wide, group, blocks):
    """Arrays that `fill` writes: distances and lane minima of a group of tiles."""
    single = scratch(queries, group * ROWS * blocks, count * wide)
    minima = scratch(queries, group * ROWS, -(-(count * wide // 4) // LANES) * LANES)
    minima[:] = np.inf
    return single, minima


@njit(cache=True, nogil=True, error_model="numpy")
def _columns(lane, wide):
    """The four columns that share a lane minimum."""
    panel, lane = divmod(lane, wide // 4)
    first = panel * wide + lane
    return range(first, first + wide, wide // 4)
