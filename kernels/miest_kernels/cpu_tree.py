"""A k-d tree of full leaves: max-norm neighbours in few dimensions, a leaf of rows against a leaf of rows.

The 32 rows of a leaf walk the tree together. Each meets the boxes by its own distances, kept in the lanes of vectors,
so that what is left out is left out exactly: a box is skipped for the rows that none of it can be near to, and for
a count it is taken whole for the rows that have all of it within their radius. So ties and duplicates cost no more than
other data: a hundred thousand equal rows are a few boxes. Bounds are one rounded difference of coordinates, as
distances are, and rounding keeps order; therefore no bound needs a margin.

Blocks of one column are counted on a line (`cpu_line`) instead.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from miest_kernels.contract import Block, Neighbours, check_blocks
from miest_kernels.cpu_grow import grow
from miest_kernels.cpu_lanes import (
    LANES,
    add_lanes,
    bits,
    box_within,
    count_lanes,
    distances_below,
    gaps_below,
    gaps_within,
    insert_lanes,
    lanes_within,
    largest,
    lowest,
)
from miest_kernels.cpu_line import line_counts, line_radii, run_lengths
from miest_kernels.plan import map_rows, together

_DEPTH = 128  # nodes that wait while the tree is walked: at most one a level, and two at the last


class Tree(Neighbours):
    """About O(n log n) time in few dimensions and O(n^2 d) in many; O(n d) memory; ties do not slow it down.

    Parameters
    ----------
    rows : int, optional
        rows to a task, 1,024 to 32,768 by the size of the data if left out; changes no result
    """

    name = "tree"

    def __init__(self, *, rows: int | None = None) -> None:
        if rows is not None and rows < 1:
            raise ValueError(f"rows={rows} to a task: pass at least 1.")
        self.rows = rows

    def kth_radius(self, blocks: Sequence[Block], k: int) -> NDArray[np.floating]:
        """See `Neighbours.kth_radius`."""
        n, dtype = check_blocks(blocks, k)
        columns = _columns(blocks)
        if len(columns) == 1:
            return line_radii(columns[0], k, self._rows(n))
        tree, radius = grow(columns), np.empty(n, dtype)
        radius[tree.order] = np.concatenate(self._map(_nearest, n, len(columns), tree, k))[:n]
        return radius

    def count_within(self, block: Block, radius: NDArray[np.floating], *, closed: bool = False) -> NDArray[np.intp]:
        """See `Neighbours.count_within`."""
        n, _ = check_blocks([block])
        limit = _limit(radius, block.dtype, closed)
        if block.shape[1] == 1:
            return line_counts(block[:, 0], limit, self._rows(n))
        tree, count = grow(_columns([block])), np.empty(n, np.intp)
        count[tree.order] = np.concatenate(self._map(_within, n, block.shape[1], tree, limit[tree.order]))[:n]
        return count

    def reach_within(self, blocks: Sequence[Block], radius: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Neighbours.reach_within`."""
        n, dtype = check_blocks(blocks)
        tree, edges = grow(_columns(blocks)), np.cumsum([0, *(block.shape[1] for block in blocks)])
        parts = self._map(_reach, n, edges[-1], tree, edges, _limit(radius, dtype, True)[tree.order])
        reach = np.empty((len(blocks), n), dtype)
        reach[:, tree.order] = np.concatenate(parts, axis=1)[:, :n]
        return reach

    def joint_radius_and_counts(self, blocks: Sequence[Block], k: int) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
        """See `Neighbours.joint_radius_and_counts`; one-column blocks are counted leaf by leaf on their line."""
        n, dtype = check_blocks(blocks, k)
        columns, edges = _columns(blocks), np.cumsum([0, *(block.shape[1] for block in blocks)])
        tree = grow(columns)
        radius, counts = np.empty(n, dtype), np.empty((len(blocks), n), np.intp)
        leafwise = np.concatenate(self._map(_nearest, n, len(columns), tree, k))[:n]
        limit = _limit(leafwise, dtype, False)
        single = [int(edge) for edge, block in zip(edges, blocks, strict=False) if block.shape[1] == 1]
        lines = dict(zip(single, map_rows(_sorted, len(single), 1, columns[single]), strict=True)) if single else {}
        found = [(radius, [leafwise])]
        for b in range(len(blocks)):
            if edges[b] in lines:
                found.append((counts[b], self._map(_runs, n, len(columns), tree, edges[b], lines[edges[b]], limit)))
            elif len(blocks) == 1:
                found.append((counts[b], self._map(_within, n, len(columns), tree, limit)))
        together([partial(_put, out, tree.order, parts) for out, parts in found])
        for b, block in enumerate(blocks):
            if edges[b] not in lines and len(blocks) > 1:
                counts[b] = self.count_within(block, radius)
        return radius, counts

    def _map(self, block, n, d, tree, *more):
        leaves = max(1, self._rows(n) // LANES)
        return map_rows(_part, len(tree.home), leaves, block, n, d, tree, *more)

    def _rows(self, n: int) -> int:
        return self.rows or min(max(n // 16, 1_024), 32_768)


def _columns(blocks: Sequence[Block]) -> NDArray[np.floating]:
    return np.ascontiguousarray(np.concatenate([block.T for block in blocks]))  # (sum of d, n)


def _put(out: NDArray[Any], order: NDArray[np.intp], parts: Sequence[NDArray[Any]]) -> None:
    """Results leaf by leaf, where the rows are."""
    start = 0
    for part in parts:
        rows = order[start : start + len(part)]
        out[rows] = part[: len(rows)]
        start += len(part)


def _limit(radius: NDArray[np.floating], dtype: np.dtype[np.floating], closed: bool) -> NDArray[np.floating]:
    """The largest distances of this dtype that are inside: ``distance < radius`` is ``distance <= limit``."""
    limit = radius.astype(dtype, copy=False)
    if limit.dtype == radius.dtype:
        return limit if closed else np.nextafter(limit, np.asarray(-np.inf, dtype))
    outside = limit > radius if closed else limit >= radius
    return np.where(outside, np.nextafter(limit, np.asarray(-np.inf, dtype)), limit)


def _part(start, stop, block, n, d, tree, *more):
    return block(start, stop, n, d, *more, *tree[1:])


def _sorted(start, stop, columns):
    return np.sort(columns[start])


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(start, stop, n, d, k, points, low, high, first, last, home):
    size = d * LANES
    radius = np.empty((stop - start) * LANES, points.dtype)
    best = np.empty((k + 1) * LANES, points.dtype)  # of each row the k + 1 nearest, oneself at 0 among them
    apart = np.empty(LANES, points.dtype)
    stack, gaps = np.empty(_DEPTH, np.intp), np.empty(_DEPTH, points.dtype)
    for leaf in range(start, stop):
        count, mine = min(LANES, n - leaf * LANES), leaf * size
        best[:] = np.inf
        for lane in range(count, LANES):  # no row: nothing is nearer
            for slot in range(k + 1):
                best[slot * LANES + lane] = 0
        for j in range(count):
            insert_lanes(points, mine, mine + j, d, best, k + 1)
        farthest = largest(best, k)
        # From its own leaf up: at each step the other branch, and in it the nearer child first.
        me = branch = home[leaf]
        while branch > 1:
            stack[0], gaps[0] = branch ^ 1, _between(low, high, me, branch ^ 1, d)
            depth = 1
            branch //= 2
            while depth > 0:
                depth -= 1
                node = stack[depth]
                if gaps[depth] >= farthest:
                    continue
                if last[node] - first[node] > 1:
                    near, far = 2 * node, 2 * node + 1
                    near_gap, far_gap = _between(low, high, me, near, d), _between(low, high, me, far, d)
                    if far_gap < near_gap:
                        near, far, near_gap, far_gap = far, near, far_gap, near_gap
                    stack[depth], gaps[depth] = far, far_gap
                    stack[depth + 1], gaps[depth + 1] = near, near_gap
                    depth += 2
                    continue
                rows = gaps_below(points, mine, low, high, node * d, d, best, k)
                if rows == 0:
                    continue
                theirs = first[node] * size
                others = gaps_within(points, theirs, low, high, me * d, d, farthest)
                if bits(rows) < bits(others):
                    while rows != 0:
                        lane = lowest(rows)
                        rows &= rows - np.uint32(1)
                        limit = best[k * LANES + lane]
                        closer = distances_below(points, theirs, mine + lane, d, limit, apart)
                        while closer != 0:
                            _insert(apart[lowest(closer)], lane, k, best)
                            closer &= closer - np.uint32(1)
                else:
                    while others != 0:
                        insert_lanes(points, mine, theirs + lowest(others), d, best, k + 1)
                        others &= others - np.uint32(1)
                farthest = largest(best, k)
        radius[(leaf - start) * LANES : (leaf - start + 1) * LANES] = best[k * LANES :]
    return radius


@njit(cache=True, nogil=True, error_model="numpy")
def _within(start, stop, n, d, limit, points, low, high, first, last, home):
    size = d * LANES
    count = np.empty((stop - start) * LANES, np.int64)
    limits, found = np.empty(LANES, limit.dtype), np.empty(LANES, np.int64)
    stack, lanes = np.empty(_DEPTH, np.intp), np.empty(_DEPTH, np.uint32)
    for leaf in range(start, stop):
        mine = leaf * size
        _load_limits(limit, leaf, n, limits)
        found[:] = 0
        stack[0], lanes[0], depth = 1, np.uint32(0xFFFFFFFF), 1
        while depth > 0:
            depth -= 1
            node = stack[depth]
            some, every = box_within(points, mine, low, high, node * d, d, limits)
            whole = every & lanes[depth]
            if whole != 0:
                add_lanes(found, whole, min(last[node] * LANES, n) - first[node] * LANES)
            open_lanes = some & lanes[depth] & ~every
            if open_lanes == 0:
                continue
            if last[node] - first[node] > 1:
                stack[depth], stack[depth + 1] = 2 * node, 2 * node + 1
                lanes[depth], lanes[depth + 1] = open_lanes, open_lanes
                depth += 2
                continue
            theirs = first[node] * size
            others = gaps_within(points, theirs, low, high, home[leaf] * d, d, largest(limits, 0))
            if bits(open_lanes) < bits(others):
                while open_lanes != 0:
                    lane = lowest(open_lanes)
                    open_lanes &= open_lanes - np.uint32(1)
                    found[lane] += bits(lanes_within(points, theirs, mine + lane, d, limits[lane]))
            else:
                while others != 0:
                    count_lanes(points, mine, theirs + lowest(others), d, limits, open_lanes, found)
                    others &= others - np.uint32(1)
        for lane in range(LANES):
            count[(leaf - start) * LANES + lane] = found[lane] - (limits[lane] >= 0)  # without oneself
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _runs(start, stop, n, d, column, values, limit, points, low, high, first, last, home):
    """Others within the limits on one column: the leaf's box says where in the sorted values its rows lie."""
    count = np.empty((stop - start) * LANES, np.int32)
    here, limits = np.empty(LANES, points.dtype), np.empty(LANES, limit.dtype)
    found, strides = np.empty(LANES, np.int64), np.ones(2, np.int64)
    for leaf in range(start, stop):
        for lane in range(LANES):
            here[lane] = points[(leaf * d + column) * LANES + lane]
        _load_limits(limit, leaf, n, limits)
        least = np.searchsorted(values, low[home[leaf] * d + column])
        most = np.searchsorted(values, high[home[leaf] * d + column], side="right") - 1
        run_lengths(values, least, most, here, limits, strides, found)
        count[(leaf - start) * LANES : (leaf - start + 1) * LANES] = found
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _reach(start, stop, n, d, edges, limit, points, low, high, first, last, home):
    size, blocks = d * LANES, edges.shape[0] - 1
    reach = np.zeros((blocks, (stop - start) * LANES), points.dtype)
    limits = np.empty(LANES, limit.dtype)
    stack, lanes = np.empty(_DEPTH, np.intp), np.empty(_DEPTH, np.uint32)
    for leaf in range(start, stop):
        mine, at = leaf * size, (leaf - start) * LANES
        _load_limits(limit, leaf, n, limits)
        stack[0], lanes[0], depth = 1, np.uint32(0xFFFFFFFF), 1
        while depth > 0:
            depth -= 1
            node = stack[depth]
            some, every = box_within(points, mine, low, high, node * d, d, limits)
            whole, open_lanes = every & lanes[depth], some & lanes[depth] & ~every
            while whole != 0:
                # The box is tight, so that on each column some row is as far as its farther face.
                lane = lowest(whole)
                whole &= whole - np.uint32(1)
                for b in range(blocks):
                    for c in range(edges[b], edges[b + 1]):
                        here = points[mine + c * LANES + lane]
                        corner = max(here - low[node * d + c], high[node * d + c] - here)
                        reach[b, at + lane] = max(reach[b, at + lane], corner)
            if open_lanes == 0:
                continue
            if last[node] - first[node] > 1:
                stack[depth], stack[depth + 1] = 2 * node, 2 * node + 1
                lanes[depth], lanes[depth + 1] = open_lanes, open_lanes
                depth += 2
                continue
            theirs = first[node] * size
            others = gaps_within(points, theirs, low, high, home[leaf] * d, d, largest(limits, 0))
            while others != 0:
                other = theirs + lowest(others)
                others &= others - np.uint32(1)
                near = open_lanes & lanes_within(points, mine, other, d, limits)
                while near != 0:
                    lane = lowest(near)
                    near &= near - np.uint32(1)
                    for b in range(blocks):
                        for c in range(edges[b], edges[b + 1]):
                            apart = abs(points[mine + c * LANES + lane] - points[other + c * LANES])
                            reach[b, at + lane] = max(reach[b, at + lane], apart)
    return reach


@njit(cache=True, nogil=True, error_model="numpy")
def _between(low, high, a, b, d):
    """Least distance between the boxes of two nodes."""
    gap = low.dtype.type(0)
    for c in range(d):
        gap = max(gap, low[a * d + c] - high[b * d + c], low[b * d + c] - high[a * d + c])
    return gap


@njit(cache=True, nogil=True, error_model="numpy")
def _insert(distance, lane, k, best):
    slot = k
    if distance < best[slot * LANES + lane]:
        while slot > 0 and best[(slot - 1) * LANES + lane] > distance:
            best[slot * LANES + lane] = best[(slot - 1) * LANES + lane]
            slot -= 1
        best[slot * LANES + lane] = distance


@njit(cache=True, nogil=True, error_model="numpy")
def _load_limits(limit, leaf, n, limits):
    for lane in range(LANES):
        row = leaf * LANES + lane
        limits[lane] = limit[row] if row < n else -1
