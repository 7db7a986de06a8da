"""Brute force, coarse before fine: pairs are ruled out by levels (`cpu_levels`), and the few left are compared.

A pass over the levels of all columns finds the k nearest neighbours; another over those of each block counts with the
radius. Or, where few rows are near in one block alone, the *first*, a pass over its levels does both: the neighbours
are among the rows near in it, and these are kept for its count. `cpu_ways` says which.

Rows come in an order that puts near ones side by side (`cpu_order`), and a panel whose box is out of reach of a row is
left out. Queries go in groups of at most a panel, so that a panel of planes serves many from the cache. In the search
the radius so far decides what passes: the first one is from the rows near by, all of which are compared, then come
panels ever further away. Every comparison that counts is one of distances in the dtype of the data, and what is counted
without one is sure: the results are those of `cpu_brute`, bit for bit, whatever the levels and the order.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

from miest_kernels.contract import Block
from miest_kernels.cpu_levels import (
    BYTES_AT_ONCE,
    PANEL,
    WORDS,
    certain,
    inner_ends,
    meet,
    meet_both,
    outer_ends,
)
from miest_kernels.cpu_order import AS_THEY_ARE, Order, distances_to_boxes
from miest_kernels.cpu_pair_tile import frozen
from miest_kernels.cpu_tile import lowest_bit, replace_first, row_below, row_distance
from miest_kernels.storage import room_for

_VALUES_AT_ONCE = 1 << 20  # of rows that are put in order
_NEAR = 64  # rows, of one word of a plane, that are compared to begin with
_FRESH = 0.97  # of the radius that the ends were last taken from: ends are taken anew below it
MOST_KEPT = 128  # rows, of each query, that are near in the first block
_WIDE = 200  # columns from which groups are smaller, for the room that their ends take


def in_rows(blocks: Sequence[Block], order: Order = AS_THEY_ARE) -> Block:
    """The rows of blocks side by side, in an order; each of whole 64-byte vectors, which zeros fill up."""
    n, dtype, d = len(blocks[0]), blocks[0].dtype, sum(block.shape[1] for block in blocks)
    lanes = 64 // dtype.itemsize
    rows = room_for((n, -(-d // lanes) * lanes), dtype, *blocks)
    step = max(1, _VALUES_AT_ONCE // max(1, rows.shape[1]))
    for start in range(0, n, step):
        part, first = slice(start, min(start + step, n)), 0
        for block in blocks:
            here = block[part] if isinstance(order.rows, slice) else block[order.rows[part]]
            rows[part, first : first + block.shape[1]] = here
            first += block.shape[1]
        rows[part, first:] = 0
    return rows


def nearest_rows(start, stop, planes, rows, levels, columns, low, high, rest, k):
    """Block function: distance of rows start to stop to their k-th nearest, and how many rows are nearer in `rows`.

    `rest` holds further columns of the rows, (n, 0) if there are none; nothing is counted then. A count of -1: more
    than are kept.
    """
    radius, count = np.empty(stop - start, rows.dtype), np.empty(stop - start, np.intp)
    source = _source(start, stop, planes, rows, levels, columns, low, high)
    others = rest.ctypes.data, rest.shape[1] * rest.itemsize // 64
    _nearest(*source, *others, k, rows.dtype.type(-1), radius, count)
    return radius, count


def within_rows(start, stop, planes, rows, levels, columns, low, high, limit, inner):
    """Block function: how many rows are nearer than the limit of each of rows start to stop.

    `inner`: levels tell which rows must be, too.
    """
    count = np.empty(stop - start, np.intp)
    source = _source(start, stop, planes, rows, levels, columns, low, high)
    _within(*source, limit[start:stop].copy(), inner, count)
    return (count,)


def _source(start, stop, planes, rows, levels, columns, low, high):
    """What the passes read: planes and rows by address, so that one compilation serves read-only memory."""
    own = rows[start:stop]
    sizes = len(rows), rows.shape[1] * rows.itemsize // 64, planes.strides[0], planes.strides[1]
    addresses = planes.ctypes.data, rows.ctypes.data
    points = np.ascontiguousarray(own[:, columns].T)
    group = PANEL if len(levels.low) < _WIDE else PANEL // 4
    scales = frozen(levels.low), frozen(levels.scale), rows.dtype.type(levels.number - 1)
    return sizes, addresses, frozen(own), frozen(points), frozen(low), frozen(high), scales, start, group


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(
    sizes,
    addresses,
    own,
    points,
    low,
    high,
    scales,
    start,
    group,
    rest,
    rest_vectors,
    k,
    minus_one,
    radius,
    count,
):
    n, vectors, panel_bytes, plane_bytes = sizes
    planes, rows = addresses
    levels_low, levels_scale, top = scales
    both, d = (rows, vectors, rest, rest_vectors), levels_low.shape[0]
    best = np.empty((group, k), radius.dtype)  # heaps, the largest of the k smallest first
    ends, taken = np.empty((group, 2, d), np.uint16), np.empty(group, radius.dtype)
    gaps, apart = np.empty(low.shape[0], radius.dtype), np.empty(group, radius.dtype)
    found, near = np.empty((group, WORDS), np.uint64), np.empty(group, np.intp)
    kept = np.empty((group, MOST_KEPT if rest_vectors > 0 else 0), np.int32)
    for base in range(0, radius.shape[0], group):
        m, home = min(group, radius.shape[0] - base), (start + base) // PANEL
        kth, number = radius[base : base + m], count[base : base + m]
        best[:], kth[:], number[:] = np.inf, np.inf, 0
        for i in range(m):
            me = start + base + i
            here, first = rows + me * vectors * 64, me // _NEAR * _NEAR
            for j in range(first, min(first + _NEAR, n)):
                if j != me and row_below(here, rows + j * vectors * 64, vectors, kth[i]):
                    if rest_vectors == 0:
                        replace_first(best[i], row_distance(here, rows + j * vectors * 64, vectors, minus_one))
                    else:
                        number[i] = _take(both, me, j, minus_one, best[i], kept[i], number[i])
                    kth[i] = best[i, 0]
            outer_ends(own[base + i], kth[i], levels_low, levels_scale, top, ends[i])
            taken[i] = kth[i]
        _gaps_to_group(points[:, base : base + m], low, high, gaps)
        gaps[home] = -1
        for panel in np.argsort(gaps):
            if not gaps[panel] < kth.max():
                break
            _gaps_to_panel(points[:, base : base + m], low[panel], high[panel], apart)
            reached = _within_reach(apart, kth, near)
            for c in range(reached):
                i = near[c]
                if kth[i] < _FRESH * taken[i]:
                    outer_ends(own[base + i], kth[i], levels_low, levels_scale, top, ends[i])
                    taken[i] = kth[i]
            for c in range(_met(planes + panel * panel_bytes, plane_bytes, ends, near[:reached], found)):
                i = near[c]
                me = start + base + i
                here = rows + me * vectors * 64
                if panel == home:
                    found[i, me % PANEL // 64] = 0
                for w in range(WORDS):
                    mask = found[i, w]
                    while mask != 0:
                        j = panel * PANEL + w * 64 + lowest_bit(mask)
                        mask &= mask - np.uint64(1)
                        if row_below(here, rows + j * vectors * 64, vectors, kth[i]):
                            if rest_vectors == 0:
                                replace_first(best[i], row_distance(here, rows + j * vectors * 64, vectors, minus_one))
                            else:
                                number[i] = _take(both, me, j, minus_one, best[i], kept[i], number[i])
                            kth[i] = best[i, 0]
        for i in range(m):
            number[i] = _sift(both, start + base + i, kth[i], kept[i], number[i])


@njit(cache=True, nogil=True, error_model="numpy")
def _take(both, me, j, minus_one, best, kept, number):
    """Take in row j, which is nearer to row `me` in the first columns than the k-th: if it is so in the rest, too.

    It is appended to those kept, if need be in place of some that are no longer nearer; how many these are, or -1: too
    many.
    """
    rows, vectors, rest, rest_vectors = both
    one, other = vectors * 64, rest_vectors * 64
    if row_below(rest + me * other, rest + j * other, rest_vectors, best[0]):
        far = row_distance(rows + me * one, rows + j * one, vectors, minus_one)
        replace_first(best, max(far, row_distance(rest + me * other, rest + j * other, rest_vectors, minus_one)))
    if number == kept.shape[0]:
        number = _sift(both, me, best[0], kept, number)
        if number > kept.shape[0] // 2:
            return -1
    if number >= 0:
        kept[number] = j
        number += 1
    return number


@njit(cache=True, nogil=True, error_model="numpy")
def _sift(both, me, limit, kept, number):
    """Keep the rows that are nearer to row `me` than the limit in the first columns; how many, or -1 as it was."""
    rows, vectors = both[:2]
    here, size, found = rows + me * vectors * 64, vectors * 64, min(number, 0)
    for c in range(number):
        j = kept[c]
        kept[found] = j
        found += row_below(here, rows + np.intp(j) * size, vectors, limit)
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _within(sizes, addresses, own, points, low, high, scales, start, group, limit, inner, count):
    _, vectors, panel_bytes, plane_bytes = sizes
    planes, rows = addresses
    levels_low, levels_scale, top = scales
    d, stride = levels_low.shape[0], vectors * 64
    ends = np.empty((group, 4 if inner else 2, d), np.uint16)
    gaps, apart = np.empty(low.shape[0], limit.dtype), np.empty(group, limit.dtype)
    found, near = np.empty((group, 2 * WORDS + 1), np.uint64), np.empty(group, np.intp)
    for base in range(0, limit.shape[0], group):
        m = min(group, limit.shape[0] - base)
        widest = limit.dtype.type(-np.inf)
        for i in range(m):
            query, reach = own[base + i], limit[base + i]
            outer_ends(query, reach, levels_low, levels_scale, top, ends[i])
            if inner:
                inner_ends(query, reach, levels_low, levels_scale, top, ends[i, 2:])
            if reach > widest:  # a limit that is NaN lets nothing pass
                widest = reach
            count[base + i] = -1 if reach > 0 else 0  # oneself, which is not left out
        _gaps_to_group(points[:, base : base + m], low, high, gaps)
        for panel in range(gaps.shape[0]):
            if not gaps[panel] < widest:
                continue
            _gaps_to_panel(points[:, base : base + m], low[panel], high[panel], apart)
            reached = _within_reach(apart, limit[base : base + m], near)
            for c in range(_met(planes + panel * panel_bytes, plane_bytes, ends, near[:reached], found)):
                i = near[c]
                here, nearer = rows + (start + base + i) * stride, 0
                words = np.uint64((1 << WORDS) - 1)
                if inner:
                    nearer += certain(found[i].ctypes.data)
                    words = found[i, 2 * WORDS]
                while words != 0:
                    w = lowest_bit(words)
                    words &= words - np.uint64(1)
                    mask, first = found[i, w], panel * PANEL + w * 64
                    while mask != 0:
                        j = first + lowest_bit(mask)
                        mask &= mask - np.uint64(1)
                        nearer += row_below(here, rows + j * stride, vectors, limit[base + i])
                count[base + i] += nearer


@njit(cache=True, nogil=True, error_model="numpy")
def _met(planes, plane_bytes, ends, near, found):
    """Bits of the rows of a panel that are within the ends of some queries; these are put first that have any."""
    features, both, left = ends.shape[2], ends.shape[1] == 4, near.shape[0]
    step = max(1, BYTES_AT_ONCE // plane_bytes)
    for c in range(left):
        found[near[c]] = ~np.uint64(0)
    for first in range(0, features, step):
        columns, kept = min(step, features - first), 0
        for c in range(left):
            i = near[c]
            here = planes + first * plane_bytes, plane_bytes, ends[i, 0, first:].ctypes.data, features, columns
            near[kept] = i
            if both:
                kept += meet_both(*here, found[i].ctypes.data)
            else:
                kept += meet(*here, found[i].ctypes.data)
        left = kept
    return left


@njit(cache=True, nogil=True, error_model="numpy")
def _within_reach(apart, limits, near):
    """Write which queries have limits beyond their distance to a box; how many."""
    found = 0
    for i in range(limits.shape[0]):  # without a branch, which could not be foreseen
        near[found] = i
        found += apart[i] < limits[i]
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _gaps_to_group(points, low, high, gaps):
    """Least distances from the box of some points (columns, m) to boxes, their corners (panels, columns)."""
    least, most = np.empty(points.shape[0], points.dtype), np.empty(points.shape[0], points.dtype)
    for c in range(points.shape[0]):
        least[c], most[c] = points[c].min(), points[c].max()
    distances_to_boxes(least, most, low, high, gaps)


@njit(cache=True, nogil=True, error_model="numpy")
def _gaps_to_panel(points, low, high, apart):
    """Distances of some points (columns, m) to a box."""
    apart[: points.shape[1]] = 0
    for c in range(points.shape[0]):
        for i in range(points.shape[1]):
            below, above = low[c] - points[c, i], points[c, i] - high[c]
            gap = below if below > above else above
            apart[i] = gap if gap > apart[i] else apart[i]
