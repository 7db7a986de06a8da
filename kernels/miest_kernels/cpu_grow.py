"""A k-d tree whose leaves are all full: how the rows are arranged, and the tight box of every node.

Nodes are numbered as in a heap, the children of i being 2i and 2i + 1. A node covers consecutive leaves and gives the
first half of them to its first child, so the split is by *position*: equal values go to both sides and never make
a branch deep. The column split is the one that spreads most over a sample of the node's rows.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from miest_kernels.cpu_lanes import LANES, ranks
from miest_kernels.cpu_sweep import sweep
from miest_kernels.cpu_tile import has_avx512
from miest_kernels.plan import cores, map_rows

_SMALL = 256  # leaves of a branch too small to be worth a task of its own
_SAMPLE = 32  # rows whose spread decides the column to split


class Grown(NamedTuple):
    """Arranged rows and boxes; what blocks of leaves need to answer for their rows."""

    order: NDArray[np.intp]  # (n,) rows, leaf by leaf
    points: NDArray[np.floating]  # (leaves * d * LANES,) leaf by leaf, column by column
    low: NDArray[np.floating]  # (nodes * d,) smallest coordinate of the node's rows
    high: NDArray[np.floating]  # (nodes * d,) largest
    first: NDArray[np.intp]  # (nodes,) first leaf of the node
    last: NDArray[np.intp]  # (nodes,) one beyond its last leaf
    home: NDArray[np.intp]  # (leaves,) node of the leaf


def grow(columns: NDArray[np.floating], *, portable: bool | None = None) -> Grown:
    """Tree over the rows of (d, n) columns, 32 rows to a leaf; O(d n log n). `portable` as in `arrange`."""
    portable = not has_avx512() if portable is None else portable
    leaves = -(-columns.shape[1] // LANES)
    first, last, home = outline(leaves)
    floor = max(_SMALL, -(-leaves // max(2, cores())))  # a branch for each thread
    order = arrange(columns, 1, first, last, floor, portable)
    size = last - first
    branches = np.flatnonzero((size > 0) & (size <= floor) & (size[np.arange(len(size)) // 2] > floor))
    branches = branches[np.argsort(first[branches])] if leaves > floor else np.ones(1, np.intp)
    parts = map_rows(_branches, len(branches), 1, branches, columns, order, first, last, portable)
    arranged, points, low, high = (np.concatenate(part) for part in zip(*parts, strict=True))
    low, high = _enclose(low, high, first, last)
    return Grown(arranged, points.reshape(-1), low.reshape(-1), high.reshape(-1), first, last, home)


def _branches(start, stop, branches, columns, order, first, last, portable):
    node = branches[start]
    rows = order[first[node] * LANES : last[node] * LANES]
    local = _take(columns, rows)
    place = arrange(local, node, first, last, 1, portable)
    return rows[place].astype(np.intp), *_fill(local, place)


@njit(cache=True, nogil=True)
def outline(leaves, unit=1):
    """First and last leaves of every node, and the node of each leaf.

    Nodes of more than `unit` leaves, a power of 2, begin at a multiple of it.
    """
    size = 2
    while size < 2 * (leaves + unit - 1):
        size *= 2
    first, last = np.zeros(size, np.intp), np.zeros(size, np.intp)
    home = np.empty(leaves, np.intp)
    last[1] = leaves
    for node in range(1, size):
        start, stop = first[node], last[node]
        if stop - start == 1:
            home[start] = node
        elif stop - start > 1:
            middle = (start + stop + 1) // 2
            if stop - start > unit:
                middle = start + (middle - start + unit - 1) // unit * unit
            first[2 * node], last[2 * node] = start, middle
            first[2 * node + 1], last[2 * node + 1] = middle, stop
    return first, last, home


@njit(cache=True, nogil=True)
def _take(columns, rows):
    local = np.empty((columns.shape[0], rows.shape[0]), columns.dtype)
    for c in range(columns.shape[0]):
        for i in range(rows.shape[0]):
            local[c, i] = columns[c, np.uint64(rows[i])]
    return local


@njit(cache=True, nogil=True, error_model="numpy")
def arrange(columns, node, first, last, floor, portable):
    """Order of the (d, m) columns of a node that puts the rows of every node of at most `floor` leaves together, int32.

    With `portable`, without vector instructions that not all processors have; the order is another.
    """
    d, m = columns.shape
    origin = first[node]
    place, key = np.arange(m).astype(np.int32), np.empty(m + LANES, columns.dtype)
    spare = np.empty(m + LANES, columns.dtype), np.empty(m + LANES, np.int32), np.empty(LANES, np.uint8), portable
    stack = np.empty(64, np.intp)
    stack[0], depth = node, 1
    while depth > 0:
        depth -= 1
        node = stack[depth]
        if last[node] - first[node] <= floor:
            continue
        start, stop = (first[node] - origin) * LANES, min((last[node] - origin) * LANES, m)
        axis, widest = 0, columns.dtype.type(-1)
        for c in range(d):
            least = most = columns[c, place[start]]
            for i in range(start, stop, max(1, (stop - start) // _SAMPLE)):
                least, most = min(least, columns[c, place[i]]), max(most, columns[c, place[i]])
            if most - least > widest:
                axis, widest = c, most - least
        for i in range(start, stop):
            key[i] = columns[axis, np.uint64(place[i])]
        _split(key, place, start, stop, (last[2 * node] - origin) * LANES, spare)
        stack[depth], stack[depth + 1] = 2 * node, 2 * node + 1
        depth += 2
    return place


@njit(cache=True, nogil=True, error_model="numpy")
def _split(key, place, start, stop, middle, spare):
    """Move rows until no key before `middle` exceeds one behind it."""
    spare_key, spare_place, rank, portable = spare
    while stop - start > LANES:
        step = (stop - start) // 3
        pivot = _median(key, start, step)
        if step > _SAMPLE:
            step //= 3
            pivot = _middle(pivot, _median(key, start + step, step), _median(key, start + 2 * step, 3 * step))
        edge = sweep(key, place, start, stop, pivot, spare_key, spare_place, portable)
        if edge == start:  # the pivot is the least: leave out all that equal it
            pivot = np.nextafter(pivot, key.dtype.type(np.inf))
            edge = sweep(key, place, start, stop, pivot, spare_key, spare_place, portable)
            if middle < edge:
                return
        if middle < edge:
            stop = edge
        else:
            start = edge
        if not start < middle < stop:
            return
    sort_few(key, place, start, stop, spare_key, spare_place, rank)


@njit(cache=True, nogil=True, error_model="numpy")
def sort_few(key, place, start, stop, spare_key, spare_place, rank):
    """Sort at most as many keys as there are lanes, with their places."""
    ranks(key, start, stop - start, rank)
    for i in range(stop - start):
        spare_key[i], spare_place[i] = key[start + i], place[start + i]
    for i in range(stop - start):
        key[start + rank[i]], place[start + rank[i]] = spare_key[i], spare_place[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _median(key, start, step):
    return _middle(key[start], key[start + step], key[start + 2 * step])


@njit(cache=True, nogil=True, error_model="numpy")
def _middle(a, b, c):
    return max(min(a, b), min(max(a, b), c))


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(columns, place):
    d, m = columns.shape
    leaves = (m + LANES - 1) // LANES
    points = np.full((leaves, d, LANES), np.nan, columns.dtype)
    low, high = np.empty((leaves, d), columns.dtype), np.empty((leaves, d), columns.dtype)
    for leaf in range(leaves):
        start, stop = leaf * LANES, min(leaf * LANES + LANES, m)
        for c in range(d):
            least = most = columns[c, place[start]]
            for i in range(start, stop):
                value = columns[c, place[i]]
                points[leaf, c, i - start] = value
                least, most = min(least, value), max(most, value)
            low[leaf, c], high[leaf, c] = least, most
    return points, low, high


@njit(cache=True, nogil=True)
def _enclose(leaf_low, leaf_high, first, last):
    nodes, d = first.shape[0], leaf_low.shape[1]
    low, high = np.zeros((nodes, d), leaf_low.dtype), np.zeros((nodes, d), leaf_low.dtype)
    for node in range(nodes - 1, 0, -1):
        leaves = last[node] - first[node]
        for c in range(d):
            if leaves == 1:
                low[node, c], high[node, c] = leaf_low[first[node], c], leaf_high[first[node], c]
            elif leaves > 1:
                low[node, c] = min(low[2 * node, c], low[2 * node + 1, c])
                high[node, c] = max(high[2 * node, c], high[2 * node + 1, c])
    return low, high
