"""Nearest neighbours of many random pairings of the same two samples, as a permutation test needs them.

Pairing row i of X with row p(i) of Y leaves both sets of distances as they are; only which belong together changes.
So the distances of a row of X to all others are computed and sorted once for all permutations. The k nearest in the
joint max-norm are found by walking them outwards, for all permutations side by side: a row of X at distance r can
beat the k-th neighbour only while r is below its distance. For a random pairing n_x n_y is about k n, so that one of
the two marginal neighbourhoods has at most sqrt(k n) rows: a walk in X that comes that far is given up, and taken
anew in Y, from p(i). The counts are places of the radii in sorted distances. Differences are compared as everywhere
else, so each result equals that of `Neighbours.joint_radius_and_counts` on the pairing bit for bit.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from miest_kernels.contract import Block, check_blocks
from miest_kernels.cpu_brute import fill, pack, room, scratch, task_rows, tile_source
from miest_kernels.cpu_tile import LANES, ROWS, lanes_below, lowest_bit, replace_first, row_distance
from miest_kernels.plan import map_rows

_OPEN = -1.0  # where a radius is not known yet


def permuted_radius_and_counts(
    x: Block, y: Block, k: int, permutations: NDArray[np.intp]
) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
    """k-th joint radius and strict counts of ``[x, y[p]]`` for every permutation p.

    Parameters
    ----------
    x, y : (n, dx) and (n, dy) arrays
    k : int, 1 <= k < n
    permutations : (m, n) intp      each row holds 0 to n - 1 once

    Returns
    -------
    radius : (m, n) array in the dtype of the blocks
    counts : (m, 2, n) intp         others strictly nearer than the radius, in x and in y[p]

    Raises
    ------
    ValueError
        if the contract of the blocks is broken, or a row of `permutations` is none

    Notes
    -----
    Cost: O(n^2 (dx + dy)) once, and about O(n sqrt(k n) d) a permutation, d the smaller dimension, where the pairing
    is near independence; at worst O(n^2 d) a permutation.
    Memory: O(m n) for the results beside blocks.
    """
    n, dtype = check_blocks([x, y], k)
    permutations = np.asarray(permutations)
    inverse = _inverse(permutations, n)
    samples, pairings, swapped = [x, y], [permutations, inverse], x.shape[1] < y.shape[1]
    if swapped:  # first in the block of larger distances and so fewer rows to walk: likely that of more columns
        samples, pairings = samples[::-1], pairings[::-1]
    a, b = (pack([sample]) for sample in samples)
    rows, most = task_rows(n, 16), min(n, 16 + int(1.25 * np.sqrt(k * n)))
    ends = _lines(samples[1]), _partners(pairings[0])
    first = np.concatenate(map_rows(_walk_rows, n, rows, *a, n, k, most, *ends, np.full(ends[1].shape, _OPEN, dtype)))
    again = np.empty_like(first)  # the same radii, by rows of b
    np.put_along_axis(again, ends[1], first, axis=0)
    ends = _lines(samples[0]), _partners(pairings[1])
    again = np.concatenate(map_rows(_walk_rows, n, rows, *b, n, k, n, *ends, again))
    np.put_along_axis(first, ends[1], again, axis=0)
    count_a, count_b = (
        np.concatenate(map_rows(_count_rows, n, rows, *packed, n, limits))
        for packed, limits in ((a, first), (b, again))
    )
    if swapped:
        first, count_a, count_b = again, count_b, count_a
    counts = np.empty((len(permutations), 2, n), np.intp)
    counts[:, 0], counts[:, 1] = count_a.T, np.take_along_axis(count_b.T, permutations, axis=1)
    return np.ascontiguousarray(first.T), counts


def _inverse(permutations: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    if permutations.ndim != 2 or permutations.shape[1] != n:
        raise ValueError(f"permutations must be (m, {n}) for {n} rows, got {permutations.shape}.")
    if not np.array_equal(np.sort(permutations, axis=1), np.broadcast_to(np.arange(n), permutations.shape)):
        raise ValueError(f"each row of permutations must hold 0 to {n - 1} once.")
    inverse = np.empty(permutations.shape, np.intp)
    np.put_along_axis(inverse, permutations, np.arange(n)[None, :], axis=1)
    return inverse


def _partners(permutations: NDArray[np.intp]) -> NDArray[Any]:
    """(n, m) partners of each row, those of all permutations side by side."""
    return np.ascontiguousarray(permutations.T, np.int32 if permutations.shape[1] < 1 << 31 else np.int64)


def _lines(block: Block) -> Block:
    """Rows filled up with zeros to whole vectors of 64 bytes."""
    lanes = 64 // block.itemsize
    lines: Block = scratch(block, len(block), -(-block.shape[1] // lanes) * lanes)
    lines[:, : block.shape[1]], lines[:, block.shape[1] :] = block, 0
    return lines


def _lists(n: int, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Room for n distances, and the same memory as integers of the same order."""
    near = np.empty(n, dtype)
    return near, near.view(f"i{dtype.itemsize}")


def _walk_rows(
    start: int,
    stop: int,
    panels: Block,
    edges: NDArray[np.intp],
    n: int,
    k: int,
    most: int,
    lines: Block,
    partners: NDArray[Any],
    radius: NDArray[np.floating],
) -> NDArray[np.floating]:
    source = tile_source(panels, n, edges, False, start, stop)
    if not partners.flags.writeable:  # as joblib maps it for processes: numba would compile once more
        partners = partners.copy()
    line = lines.ctypes.data, lines.shape[1] * lines.itemsize // 64
    radius = radius[start:stop].copy()
    _walk(source, start, n, k, most, _lists(n, panels.dtype), line, partners, radius)
    return radius


def _count_rows(
    start: int, stop: int, panels: Block, edges: NDArray[np.intp], n: int, limits: Block
) -> NDArray[np.intp]:
    source = tile_source(panels, n, edges, False, start, stop)
    counts = np.empty((stop - start, limits.shape[1]), np.intp)
    _count(source, start, n, _lists(n, panels.dtype), limits[start:stop].copy(), counts)
    return counts


@njit(cache=True, nogil=True, error_model="numpy")
def _walk(source, start, n, k, most, lists, line, partners, radius):
    """Those of the (rows, permutations) radii that are `_OPEN`; they stay so where `most` rows are not enough."""
    queries, (_, count, wide), _, minus_one, _ = source
    single, minima = room(queries, count, wide, 1, 1)
    (near, keys), (lines, vectors) = lists, line
    order, spare = np.empty(n, np.intp), np.empty((2, n), np.intp)
    best = np.empty((radius.shape[1], k), queries.dtype)  # a heap each, the largest of the k smallest first
    walking = np.empty(radius.shape[1], np.intp)
    part = 0.5  # of the mean distance that a walk goes at most; learnt from row to row
    for i in range(radius.shape[0]):
        if i % ROWS == 0:
            fill(source, start + i, i // ROWS, 1, False, single, minima)
        row, kth, here = single[i % ROWS], radius[i], partners[start + i]
        live, at, growth = 0, 0, 1.15
        for p in range(kth.shape[0]):
            if kth[p] == _OPEN:
                walking[live], kth[p], best[p] = p, np.inf, np.inf
                live += 1
        if live == 0:
            continue
        mean = _mean(row, n)
        cap = _cap(row, part * mean)
        known = _extend(row, row.dtype.type(0), cap, near, keys, order, spare, 0)
        while live > 0 and at < most:
            if at == known:
                if cap == np.inf:  # every row was walked
                    break
                further = row.dtype.type(cap * growth)
                if known >= n // 4 or not further > cap:
                    further = row.dtype.type(np.inf)
                known = _extend(row, cap, further, near, keys, order, spare, known)
                cap, growth = further, growth * growth  # few rings, also where the tail is heavy
                continue
            apart, there = near[at], partners[order[at]]
            for w in range(live):
                p = walking[w]
                far = row_distance(lines + here[p] * vectors * 64, lines + there[p] * vectors * 64, vectors, minus_one)
                joint = far if far > apart else apart
                if joint < kth[p]:
                    replace_first(best[p], joint)
                    kth[p] = best[p, 0]
            at += 1
            if at % 8 == 0:
                live = _still(walking, live, kth, apart)
        reached = near[at - 1] if at > 0 else mean
        if mean > 0 and reached > 0:
            part = 1.1 * reached / mean
        if at == most:
            for w in range(_still(walking, live, kth, reached)):
                kth[walking[w]] = _OPEN


@njit(cache=True, nogil=True, error_model="numpy")
def _still(walking, live, kth, apart):
    """Keep the permutations whose k-th distance lies beyond this one; how many they are."""
    kept = 0
    for w in range(live):
        p = walking[w]
        walking[kept] = p
        kept += kth[p] > apart
    return kept


@njit(cache=True, nogil=True, error_model="numpy")
def _count(source, start, n, lists, limits, counts):
    """Distances of each row below its limits, of (rows, permutations)."""
    queries, (_, count, wide) = source[:2]
    single, minima = room(queries, count, wide, 1, 1)
    near, keys = lists
    order, spare = np.empty(n, np.intp), np.empty((2, n), np.intp)
    for i in range(limits.shape[0]):
        if i % ROWS == 0:
            fill(source, start + i, i // ROWS, 1, False, single, minima)
        row = single[i % ROWS]
        known = _extend(row, row.dtype.type(0), limits[i].max(), near, keys, order, spare, 0)
        for p in range(limits.shape[1]):
            counts[i, p] = _place(near[:known], limits[i, p])


@njit(cache=True, nogil=True, error_model="numpy")
def _mean(row, n):
    """Rough mean of the finite distances of a row: it decides how much is sorted at first, and no result."""
    total, seen = 0.0, 0
    for j in range(0, n, 1 + n // 128):
        if row[j] < np.inf:
            total += row[j]
            seen += 1
    return total / max(seen, 1)


@njit(cache=True, nogil=True, error_model="numpy")
def _cap(row, distance):
    """A distance in the dtype of the row; inf where it would not grow from 0."""
    return row.dtype.type(distance if distance > 0 else np.inf)


@njit(cache=True, nogil=True, error_model="numpy")
def _extend(row, low, cap, near, keys, order, spare, known):
    """Append the rows at distances in [low, cap), sorted, to near[:known] and order[:known]; now so many are known.

    Oneself and padding are at inf and never among them.
    """
    begin = known
    for at in range(0, row.shape[0], LANES):
        if at + LANES <= row.shape[0]:
            here = row[at:].ctypes.data
            mask = lanes_below(here, cap) & ~lanes_below(here, low)
            while mask != 0:
                near[known], order[known] = row[at + lowest_bit(mask)], at + lowest_bit(mask)
                mask &= mask - 1
                known += 1
        else:
            for j in range(at, row.shape[0]):
                if low <= row[j] < cap:
                    near[known], order[known] = row[j], j
                    known += 1
    if known - begin > 1:
        _sort(keys[begin:known], order[begin:known], spare[0, begin:known], spare[1, begin:known])
    return known


@njit(cache=True, nogil=True, error_model="numpy")
def _sort(keys, order, spare_keys, spare_order):
    """Sort keys, with their order, by bytes from the lowest up: the bits of floats >= 0 are in the floats' order."""
    low, high = keys[0], keys[0]
    for key in keys:
        low, high = min(low, key), max(high, key)
    span, shift = high - low, 0
    while shift < 64 and span >> shift > 0:
        place = np.zeros(257, np.intp)
        for i in range(keys.shape[0]):
            place[((keys[i] - low) >> shift & 255) + 1] += 1
        for digit in range(256):
            place[digit + 1] += place[digit]
        for i in range(keys.shape[0]):
            digit = (keys[i] - low) >> shift & 255
            spare_keys[place[digit]], spare_order[place[digit]] = keys[i], order[i]
            place[digit] += 1
        for i in range(keys.shape[0]):
            keys[i], order[i] = spare_keys[i], spare_order[i]
        shift += 8


@njit(cache=True, nogil=True, error_model="numpy")
def _place(values, limit):
    """How many of the sorted values are ``< limit``."""
    low, high = 0, values.shape[0]
    while low < high:
        middle = (low + high) // 2
        if values[middle] < limit:
            low = middle + 1
        else:
            high = middle
    return low
