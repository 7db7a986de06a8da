"""Brute force, coarse before fine: pairs are ruled out by bytes (`cpu_codes`), and the few that are left by distance.

A pass over the codes of all columns finds the k nearest neighbours, and each block is then counted with the radius.
Or, where few rows are near in one block alone, the *first*, a pass over its codes does both: the neighbours are among
the rows near in it, which are kept for its count. `cpu_ways` says which; blocks in which many rows are within the
radius are counted by `cpu_brute`'s tiles.

Rows come in an order that puts near ones side by side (`cpu_order`), and a panel whose box is out of reach of a group
of rows is left out. The radius so far decides what passes, so that the panel of the rows themselves is compared
without codes, and after it chunks of panels, ever further away, that grow. Every comparison that counts is one of
distances in the dtype of the data: the results are those of `cpu_brute`, bit for bit, whatever the step and the order.
"""

import numpy as np
from numba import njit

from miest_kernels.contract import Block
from miest_kernels.cpu_codes import MOST_REACH, PANEL, WORDS, code_tile, first_bit, reach_of, set_bits
from miest_kernels.cpu_order import AS_THEY_ARE, Order, boxes, distances_to_boxes
from miest_kernels.cpu_tile import ROWS, replace_first, row_below, row_distance

CHUNK = 32  # panels, at most, between two looks at the radius
NEAR = 16  # panels whose rows stay in the cache while a task counts in them


def in_rows(block: Block, order: Order = AS_THEY_ARE) -> Block:
    """The rows of a block in an order, each of whole 64-byte vectors, one at least, which zeros fill up."""
    lanes = 64 // block.itemsize
    n, d = block.shape
    rows = np.zeros((n, max(1, -(-d // lanes)) * lanes), block.dtype)
    rows[:, :d] = block[order.rows]
    return rows


def nearest_rows(start, stop, codes, first, rest, columns, edges, step, k, counted, portable):
    """Block function: k-th joint distance of rows start to stop, and how many are nearer in the first block."""
    own, queries, group, corners = _own(start, stop, codes, first, columns)
    radius, count = np.empty(stop - start, first.dtype), np.empty(stop - start, np.intp)
    lanes = 64 // first.itemsize
    sizes = len(first), len(codes), first.shape[1] // lanes, rest.shape[1] // lanes
    addresses = codes.ctypes.data, first.ctypes.data, rest.ctypes.data
    minus_one = first.dtype.type(-1)
    settings = step, start, group, k, counted, portable, minus_one
    _nearest(own, queries, sizes, addresses, *corners, *edges, *settings, radius, count)
    return radius, count


def within_rows(start, stop, codes, rows, columns, edges, step, limit, portable):
    """Block function: how many rows are nearer than the limit of each of rows start to stop."""
    own, queries, group, corners = _own(start, stop, codes, rows, columns)
    count = np.empty(stop - start, np.intp)
    sizes = len(rows), len(codes), rows.shape[1] * rows.itemsize // 64
    addresses = codes.ctypes.data, rows.ctypes.data
    settings = step, start, group, limit[start:stop].copy(), portable
    _within(own, queries, sizes, addresses, *corners, *edges, *settings, count)
    return count


def _own(start, stop, codes, floats, columns):
    """Codes of some rows in tiles (tiles, d, ROWS), room for the queries of a group, tiles to a group, corners.

    The corners are those of the boxes of groups of rows, two arrays of (groups, columns).
    """
    rows = np.arange(start, start + -(-(stop - start) // ROWS) * ROWS).clip(max=len(codes) * PANEL - 1)
    d = codes.shape[1]
    group = 1 if d <= 32 else 4 if d < 200 else 8
    own = codes[rows // PANEL, :, rows % PANEL].reshape(-1, ROWS, d).transpose(0, 2, 1)
    corners = boxes(floats[start:stop], columns, group * ROWS)
    return np.ascontiguousarray(own), np.empty((group, d, ROWS), np.uint32), group, corners


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(
    own,
    queries,
    sizes,
    addresses,
    least,
    most,
    low,
    high,
    step,
    start,
    group,
    k,
    counted,
    portable,
    minus_one,
    radius,
    count,
):
    """k-th joint distance of each row, and how many rows are nearer than that in the first block."""
    n, panels, first_vectors, rest_vectors = sizes
    codes, first, rest = addresses
    height = group * ROWS
    best = np.empty((height, k), radius.dtype)
    kept, number = np.empty((height, n + 1), np.int32), np.zeros(height, np.intp)
    masks = np.empty((height, CHUNK * WORDS), np.uint64)
    places = np.empty(CHUNK * PANEL + 64, np.int32)
    reach, gaps, chosen = np.zeros(height, np.intp), np.empty(panels, low.dtype), np.empty(CHUNK, np.intp)
    for base in range(0, radius.shape[0], height):
        m = min(height, radius.shape[0] - base)
        best[:], number[:], seen, turn = np.inf, 0, 0, 0
        distances_to_boxes(least[base // height], most[base // height], low, high, gaps)
        # The first radii are those among a few rows near by, all of which are compared.
        word, home = (start + base) % PANEL // 64, (start + base) // PANEL
        for i in range(m):
            masks[i, :WORDS] = 0
            masks[i, word] = ~np.uint64(0)
            chosen[0] = home
            found = _list(masks[i], chosen[:1], n, start + base + i, places)
            _offer(places[:found], first, first_vectors, rest, rest_vectors, start + base + i, minus_one, best[i])
            if counted:
                number[i] = _sift(places[:found], first, first_vectors, start + base + i, best[i, 0], kept[i])
        while True:
            turn, chunk = _further(gaps, home, turn, min(CHUNK, max(1, seen)), best[:m, 0], chosen)
            if chunk == 0:
                break
            for i in range(m):
                reach[i] = reach_of(best[i, 0], step)
            here = chosen[:chunk]
            _mark(own[base // ROWS : base // ROWS + group], queries, codes, here, reach, masks, portable)
            for i in range(m):
                me = start + base + i
                if seen == 0:
                    masks[i, word] = 0
                left = places[: _list(masks[i], here, n, me, places)]
                if counted:
                    added = _sift(left, first, first_vectors, me, best[i, 0], kept[i, number[i] :])
                    left = kept[i, number[i] : number[i] + added]
                    number[i] += added
                _offer(left, first, first_vectors, rest, rest_vectors, me, minus_one, best[i])
            seen += chunk
        for i in range(m):
            radius[base + i] = best[i, 0]
            left = kept[i, : number[i]]
            count[base + i] = _sift(left, first, first_vectors, start + base + i, best[i, 0], left)


@njit(cache=True, nogil=True, error_model="numpy")
def _within(own, queries, sizes, addresses, least, most, low, high, step, start, group, limit, portable, count):
    """How many rows are nearer than each row's limit."""
    n, panels, vectors = sizes
    codes, rows = addresses
    height = group * ROWS
    groups = (count.shape[0] + height - 1) // height
    masks, places = np.empty((height, NEAR * WORDS), np.uint64), np.empty(NEAR * PANEL + 64, np.int32)
    reach, chosen = np.empty((groups, height), np.intp), np.empty(NEAR, np.intp)
    gaps, widest = np.empty((groups, panels), low.dtype), np.full(groups, -np.inf)
    reach[:], count[:] = 0, 0
    for g in range(groups):
        distances_to_boxes(least[g], most[g], low, high, gaps[g])
        for i in range(g * height, min((g + 1) * height, count.shape[0])):
            reach[g, i - g * height] = reach_of(limit[i], step)
            if limit[i] > widest[g]:  # a limit that is NaN lets nothing pass
                widest[g] = limit[i]
    # All groups look at the same few panels in turn, whose rows so stay in the cache.
    for first in range(0, panels, NEAR):
        for g in range(groups):
            base, chunk = g * height, 0
            for panel in range(first, min(first + NEAR, panels)):
                if gaps[g, panel] < widest[g]:
                    chosen[chunk] = panel
                    chunk += 1
            if chunk == 0:
                continue
            here = chosen[:chunk]
            _mark(own[g * group : g * group + group], queries, codes, here, reach[g], masks, portable)
            for i in range(base, min(base + height, count.shape[0])):
                found = _list(masks[i - base], here, n, start + i, places)
                count[i] += _near(places, found, rows, vectors, start + i, limit[i])


@njit(cache=True, nogil=True, error_model="numpy")
def _further(gaps, home, turn, size, limits, chosen):
    """Write the next panels, from `home` outwards, that are nearer than some limit; the next turn, and how many."""
    panels, number, most = gaps.shape[0], 0, -np.inf
    for limit in limits:
        if limit > most:  # a limit that is NaN lets nothing pass
            most = limit
    while turn < 2 * panels and number < size:
        panel = home - turn // 2 if turn % 2 == 0 else home + turn // 2 + 1
        turn += 1
        if 0 <= panel < panels and gaps[panel] < most:
            chosen[number] = panel
            number += 1
    return turn, number


@njit(cache=True, nogil=True, error_model="numpy")
def _near(places, found, rows, vectors, me, limit):
    """How many of the first places are nearer to row `me` than `limit`."""
    here, size, near = rows + me * vectors * 64, vectors * 64, 0
    for c in range(found):
        near += row_below(here, rows + np.intp(places[c]) * size, vectors, limit)
    return near


@njit(cache=True, nogil=True, error_model="numpy")
def _sift(places, rows, vectors, me, limit, out):
    """Write those of the places that are nearer to row `me` than `limit`, in their order; how many."""
    here, size, found = rows + me * vectors * 64, vectors * 64, 0
    for c in range(places.shape[0]):  # without a branch, which could not be foreseen
        j = places[c]
        out[found] = j
        found += row_below(here, rows + np.intp(j) * size, vectors, limit)
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _offer(places, first, first_vectors, rest, rest_vectors, me, minus_one, best):
    """Take the distances of row `me` to these places into its k smallest."""
    one, other = first_vectors * 64, rest_vectors * 64
    for c in range(places.shape[0]):
        j = np.intp(places[c])
        if row_below(rest + me * other, rest + j * other, rest_vectors, best[0]) and (
            first == rest or row_below(first + me * one, first + j * one, first_vectors, best[0])
        ):
            far = row_distance(rest + me * other, rest + j * other, rest_vectors, minus_one)
            if first != rest:
                far = max(far, row_distance(first + me * one, first + j * one, first_vectors, minus_one))
            replace_first(best, far)


@njit(cache=True, nogil=True, error_model="numpy")
def _mark(own, queries, codes, chosen, reach, masks, portable):
    """Masks of the rows of some panels that are within reach of each of some rows; all of them where no limit is."""
    tiles, features = own.shape[:2]
    limits = np.empty((tiles, ROWS), np.uint32)
    four = np.uint32(0x01010101)
    for t in range(tiles):
        for r in range(ROWS):
            limits[t, r] = np.uint32(2 * min(reach[t * ROWS + r], MOST_REACH)) * four
        for f in range(features):
            for r in range(ROWS):
                low = np.uint32(own[t, f, r]) - np.uint32(reach[t * ROWS + r])
                queries[t, f, r] = (low & np.uint32(255)) * four
    for p in range(chosen.shape[0]):
        for t in range(tiles):
            code_tile(
                queries[t].ctypes.data,
                limits[t].ctypes.data,
                codes + chosen[p] * features * PANEL,
                features,
                masks[t * ROWS :].ctypes.data + p * WORDS * 8,
                masks.shape[1] * 8,
                portable,
            )
    for i in range(tiles * ROWS):
        if reach[i] > MOST_REACH:
            masks[i] = ~np.uint64(0)


@njit(cache=True, nogil=True, error_model="numpy")
def _list(masks, chosen, n, me, places):
    """Write the rows of some panels, below n and other than `me`, whose bits are set; returns how many."""
    found = 0
    for p in range(chosen.shape[0]):
        start, first = p * WORDS, chosen[p] * PANEL
        if first <= me < first + PANEL:
            masks[start + ((me - first) >> 6)] &= ~(np.uint64(1) << np.uint64((me - first) & 63))
        any_set = np.uint64(0)
        for w in range(start, start + WORDS):
            any_set |= masks[w]
        if any_set == 0:
            continue
        for w in range(WORDS):
            mask, at = masks[start + w], first + w * 64
            number = set_bits(mask)
            for c in range(4):  # without a branch, which could not be foreseen
                places[found + c] = at + first_bit(mask)
                mask &= mask - np.uint64(1)
            for c in range(4, number):
                places[found + c] = at + first_bit(mask)
                mask &= mask - np.uint64(1)
            found += number
        while found > 0 and places[found - 1] >= n:
            found -= 1
    return found
