"""Counts of pairs by distance on the processor: tiles of distances, histogrammed by their leading bits.

The bits of positive floats order as the floats do. A distance finds its *key*, its bits without the last `shift`
ones, and the one edge that lies within that key; whether it reaches the edge is compared exactly, so the counts
are those of the comparison. Where several edges share a key they are spread over several layers of keys.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from miest_kernels.cpu_gaussian import pack
from miest_kernels.cpu_pair_tile import GROUP, ROWS, Largest, Square, find_keys, frozen, panel, tile

_COPIES = 4  # histograms side by side, since an increment must wait for the last one of the same place
_BLOCKS_TO_FLUSH = 65536  # blocks of 192 x 192 pairs that 32-bit counters hold


@njit(cache=True, nogil=True)
def _count(values, keys, near, slots, edges, shift, base, counters):
    """Add a tile to counters (layers, copies, 2 keys): the even place of a key is below its edge.

    keys, near and slots are scratch. Each step is a loop of its own, since only so the compiler uses vectors.
    """
    layers, size = edges.shape
    flat = values.reshape(-1)
    find_keys(values, shift, base, size - 1, keys)
    for a in range(layers):
        edge = edges[a]
        for c in range(flat.size):
            near[c] = edge[np.uint32(keys[c])]
        for c in range(flat.size):
            slots[c] = 2 * keys[c] + np.int32(flat[c] >= near[c])
        one, two, three, four = counters[a, 0], counters[a, 1], counters[a, 2], counters[a, 3]
        for c in range(0, flat.size, _COPIES):
            one[np.uint32(slots[c])] += np.uint32(1)
            two[np.uint32(slots[c + 1])] += np.uint32(1)
            three[np.uint32(slots[c + 2])] += np.uint32(1)
            four[np.uint32(slots[c + 3])] += np.uint32(1)


@njit(cache=True, nogil=True)
def _pair_counts(form, first, last, points, rights, order, centre, values, edges, shift, base):
    """Histogram (layers, 2 keys) of the pairs of groups first .. last with themselves and all later groups."""
    n, d = points.shape
    rows, width = values.shape
    groups = (n + GROUP - 1) // GROUP
    lefts = np.empty((last - first, GROUP // ROWS, d, ROWS), points.dtype)
    spare = np.empty((GROUP // width, d, width), points.dtype)
    counters = np.zeros((len(edges), _COPIES, 2 * edges.shape[1]), np.uint32)
    keys, slots = np.empty(rows * width, np.int32), np.empty(rows * width, np.int32)
    near = np.empty(rows * width, points.dtype)
    out = np.zeros((len(edges), 2 * edges.shape[1]), np.int64)
    blocks = 0
    for g in range(first, last):
        pack(points, order, g * GROUP, False, centre, 1.0, False, lefts[g - first])
    for h in range(first, groups):
        if not rights.size:
            pack(points, order, h * GROUP, False, centre, 1.0, True, spare)
        right = rights[h] if rights.size else spare
        for g in range(first, min(last, h + 1)):
            for p in range(GROUP // width):
                j = h * GROUP + p * width
                for u in range(GROUP // ROWS):
                    i = g * GROUP + u * ROWS
                    if i >= n or j >= n:
                        break
                    if g == h and i >= j + width - 1:  # every pair here is met the other way round
                        continue
                    tile(form, lefts[g - first], u, right, p, values)
                    if g == h and i + ROWS > min(j, n):  # each pair once, and none beyond the last point
                        for r in range(rows):
                            for c in range(width):
                                if i + r >= min(j + c, n):
                                    values[r, c] = np.inf
                    _count(values, keys, near, slots, edges, shift, base, counters)
            blocks += 1
            if blocks % _BLOCKS_TO_FLUSH == 0 or (h == groups - 1 and g == min(last, h + 1) - 1):
                for copy in range(_COPIES):
                    out += counters[:, copy]
                counters[:] = 0
    return out


def count_block(
    start: int,
    stop: int,
    spans: NDArray[np.intp],
    points: NDArray[np.floating],
    rights: NDArray[np.floating],
    order: NDArray[np.intp],
    largest: bool,
    edges: NDArray[np.floating],
    shift: int,
    base: int,
) -> NDArray[np.int64]:
    """Histogram of one range of groups, spans[start] to spans[stop], with itself and all later groups."""
    values = np.empty((ROWS, panel(points.dtype)), points.dtype)
    form = Largest() if largest else Square()
    return _pair_counts(  # type: ignore[no-any-return]
        form, spans[start], spans[stop], frozen(points), frozen(rights), frozen(order),
        frozen(np.zeros(points.shape[1])), values, frozen(edges), shift, base,
    )  # fmt: skip
