"""Sums of Gaussian kernels on the processor: blocks of pairs, kept in cache from the distance to the sum.

Points are taken in groups of 192, in the order of their classes. A block is a range of groups against itself and
all later groups, so that each pair is visited once; its kernel is added to the row of either point. It returns
the sums of its own rows and of all later ones, as float64, and such parts add up in their order.

One tile of 6 x 64 pairs (32 in float64) is an exponent: either products of centred points, with half the squared
norms as two more columns, or squared differences where products would cancel too many digits.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from miest_kernels.cpu_pair_tile import (
    GROUP,
    ROWS,
    Difference,
    Gram,
    add_exponential_pairs,
    add_exponentials,
    add_row_exponentials,
    frozen,
    panel,
    raise_maxima,
    tile,
)

_COLUMNS = 16
_BLOCKS_TO_FLUSH = 4  # blocks whose float32 sums are kept before they move to float64


class Frame(NamedTuple):
    """How points are put into numbers: products or differences, about which centre, in which unit."""

    gram: bool
    centre: NDArray[np.float64]
    unit: float


@njit(cache=True, nogil=True)
def moments(points):
    """Mean of each column, float64, and the largest squared distance of a row from it, as is and per column."""
    n, d = points.shape
    centre = np.zeros(d)
    for i in range(n):
        for k in range(d):
            centre[k] += np.float64(points[i, k])
    centre /= n
    norm, reach = 0.0, 0.0
    for i in range(n):
        square = 0.0
        for k in range(d):
            gap = np.float64(points[i, k]) - centre[k]
            square += gap * gap
            reach = max(reach, abs(gap))
        norm = max(norm, square)
    return centre, norm, reach


@njit(cache=True, nogil=True)
def pack(points, order, start, gram, centre, unit, right, out):
    """Put up to 192 points, from order[start], in tiles (tiles, depth, width) with the point running fastest.

    Points are multiplied by `unit`. With `gram` they are centred too, and get the columns (1, -|x|^2 / 2) on the
    left side, the other way round on the right, so that products sum to -|x - y|^2 / 2. Places beyond the last
    point get one so far away that its kernel is zero.
    """
    tiles, _, width = out.shape
    n, d = points.shape
    middle, factor = centre.astype(out.dtype), out.dtype.type(unit)
    lines = np.empty((width, _COLUMNS), out.dtype)  # a few columns at a time, so that cache lines are used whole
    square = np.empty(width)
    for t in range(tiles):
        first = start + t * width
        filled = max(0, min(width, n - first))
        square[:] = 0
        for c in range(0, d, _COLUMNS):
            columns = min(_COLUMNS, d - c)
            for w in range(filled):
                i = order[first + w]
                for k in range(columns):
                    lines[w, k] = (points[i, c + k] - middle[c + k]) * factor if gram else points[i, c + k] * factor
            for k in range(columns):
                for w in range(filled):
                    out[t, c + k, w] = lines[w, k]
                    square[w] += np.float64(lines[w, k]) * np.float64(lines[w, k])
        if filled < width:
            out[t, :d, filled:] = 0.0 if gram else np.inf
        if gram:
            ones, halves = (d + 1, d) if right else (d, d + 1)
            for w in range(width):
                out[t, ones, w] = 1.0
                out[t, halves, w] = -0.5 * square[w] if w < filled else -np.inf


@njit(cache=True, nogil=True)
def pack_right(points, order, gram, centre, unit, panel):
    """All groups of the right side (groups, panels, depth, panel), for points few enough to be held twice."""
    n, d = points.shape
    groups = (n + GROUP - 1) // GROUP
    out = np.empty((groups, GROUP // panel, d + 2 if gram else d, panel), points.dtype)
    for h in range(groups):
        pack(points, order, h * GROUP, gram, centre, unit, True, out[h])
    return out


@njit(cache=True, nogil=True)
def _split(values, labels, i, j, far, parts):
    """Copy a tile twice: parts[0] with other classes put at `far`, parts[1] with the own class there."""
    rows, width = values.shape
    last = labels.size - 1
    for r in range(rows):
        for c in range(width):
            same = labels[min(i + r, last)] == labels[min(j + c, last)]
            parts[0, r, c] = values[r, c] if same else far
            parts[1, r, c] = far if same else values[r, c]


@njit(cache=True, nogil=True)
def _fold(sums, out, start):
    """Move the lane sums of rows (kinds, jobs, 192, lanes) to out[:, :, start:], and zero them."""
    kinds, jobs, rows, lanes = sums.shape
    for a in range(kinds):
        for b in range(jobs):
            for r in range(rows):
                width = lanes // 2
                while width:
                    for lane in range(width):
                        sums[a, b, r, lane] += sums[a, b, r, lane + width]
                    width //= 2
                out[a, b, start + r] += sums[a, b, r, 0]
            sums[a, b] = 0


@njit(cache=True, nogil=True)
def _pair_sums(form, gram, first, last, points, rights, order, labels, centre, unit, scales, wide, narrow, panel):
    """Sums (2, m, points from group `first` on) of kernels within a class, and between classes."""
    n, d = points.shape
    dtype = scales.dtype
    depth = d + 2 if gram else d
    groups = (n + GROUP - 1) // GROUP
    kinds = 1 if labels[0] == labels[n - 1] else 2
    jobs = wide.size
    sums = 0
    for job in range(jobs):
        sums += 1 if narrow[job] < 0 else 2
    lanes = panel // 4
    out = np.zeros((kinds, sums, (groups - first) * GROUP))
    lefts = np.empty((last - first, GROUP // ROWS, depth, ROWS), dtype)
    spare = np.empty((GROUP // panel, depth, panel), dtype)
    row_sums = np.zeros((last - first, kinds, sums, GROUP, lanes), dtype)
    flat_rows = row_sums.reshape(-1)
    column_sums = np.zeros((kinds, sums, GROUP), dtype)
    flat_columns = column_sums.reshape(-1)
    values = np.empty((ROWS, panel), dtype)
    parts = np.empty((2, ROWS, panel), dtype)
    far = dtype.type(-np.inf)
    for g in range(first, last):
        pack(points, order, g * GROUP, gram, centre, unit, False, lefts[g - first])
    for h in range(first, groups):
        if not rights.size:
            pack(points, order, h * GROUP, gram, centre, unit, True, spare)
        right = rights[h] if rights.size else spare
        for g in range(first, min(last, h + 1)):
            left = lefts[g - first]
            for p in range(GROUP // panel):
                j = h * GROUP + p * panel
                if j >= n:
                    break
                j_low, j_high = labels[j], labels[min(j + panel, n) - 1]
                for u in range(GROUP // ROWS):
                    i = g * GROUP + u * ROWS
                    if i >= n:
                        break
                    tile(form, left, u, right, p, values)
                    if g == h:  # the distance to oneself is known
                        for r in range(ROWS):
                            if 0 <= i + r - j < panel:
                                values[r, i + r - j] = 0
                    i_low, i_high = labels[i], labels[min(i + ROWS, n) - 1]
                    within = i_low == j_high and i_high == j_low
                    between = i_high < j_low or j_high < i_low
                    if within or between:
                        kind_from, kind_to = (0, 1) if within else (1, 2)
                    else:
                        kind_from, kind_to = 0, 2
                        _split(values, labels, i, j, far, parts)
                    for kind in range(kind_from, kind_to):
                        tile_values = values if within or between else parts[kind]
                        for job in range(jobs):
                            row_at = (((g - first) * kinds + kind) * sums + wide[job]) * GROUP + u * ROWS
                            column_at = (kind * sums + wide[job]) * GROUP + p * panel
                            if narrow[job] < 0:
                                add_exponentials(
                                    tile_values, scales[job],
                                    flat_rows, row_at * lanes, flat_columns, column_at,
                                )  # fmt: skip
                            else:
                                shift = (narrow[job] - wide[job]) * GROUP
                                add_exponential_pairs(
                                    tile_values, scales[job],
                                    flat_rows, row_at * lanes, flat_columns, column_at,
                                    (row_at + shift) * lanes, column_at + shift,
                                )  # fmt: skip
            if g < h:
                for kind in range(kinds):
                    for s in range(sums):
                        for c in range(GROUP):
                            out[kind, s, (h - first) * GROUP + c] += column_sums[kind, s, c]
            column_sums[:] = 0
        if (h - first) % _BLOCKS_TO_FLUSH == _BLOCKS_TO_FLUSH - 1 or h == groups - 1:
            for g in range(first, last):
                _fold(row_sums[g - first], out, (g - first) * GROUP)
    return out


def pair_block(
    start: int,
    stop: int,
    spans: NDArray[np.intp],
    points: NDArray[np.floating],
    rights: NDArray[np.floating],
    order: NDArray[np.intp],
    labels: NDArray[np.intp],
    frame: "Frame",
    scales: NDArray[np.floating],
    wide: NDArray[np.intp],
    narrow: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Sums of one range of groups, spans[start] to spans[stop], with itself and all later groups."""
    form = Gram() if frame.gram else Difference()
    return _pair_sums(  # type: ignore[no-any-return]
        form, frame.gram, spans[start], spans[stop], frozen(points), frozen(rights), frozen(order), frozen(labels),
        frozen(frame.centre), frame.unit, frozen(scales), frozen(wide), frozen(narrow), panel(points.dtype),
    )  # fmt: skip


def mixture_block(
    start: int,
    stop: int,
    queries: NDArray[np.floating],
    centers: NDArray[np.floating],
    rights: NDArray[np.floating],
    order: NDArray[np.intp],
    frame: "Frame",
    scale: np.floating,
) -> NDArray[np.float64]:
    """Log2 of the sum of the kernels of all centers, for queries start to stop."""
    form = Gram() if frame.gram else Difference()
    return _mixture_rows(  # type: ignore[no-any-return]
        form, frame.gram, start, stop, frozen(queries), frozen(centers), frozen(rights), frozen(order),
        frozen(frame.centre), frame.unit, scale, panel(queries.dtype),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _mixture_rows(form, gram, start, stop, queries, centers, rights, order, centre, unit, scale, panel):
    """Log2 of the sum of kernels 2^(scale * value) over all centers, for queries start to stop."""
    d = queries.shape[1]
    depth = d + 2 if gram else d
    dtype = queries.dtype
    groups = (len(centers) + GROUP - 1) // GROUP
    blocks = (stop - start + GROUP - 1) // GROUP
    panels, lanes = GROUP // panel, panel // 4
    spare = np.empty((panels, depth, panel), dtype)
    lefts = np.empty((blocks, GROUP // ROWS, depth, ROWS), dtype)
    values = np.empty((panels, ROWS, panel), dtype)
    lane_sums = np.zeros(ROWS * lanes, dtype)
    maxima = np.full((blocks * GROUP // ROWS, ROWS), -np.inf, dtype)
    sums = np.zeros((blocks * GROUP // ROWS, ROWS))
    for b in range(blocks):
        pack(queries, order, start + b * GROUP, gram, centre, unit, False, lefts[b])
    for h in range(groups):
        if not rights.size:
            pack(centers, order, h * GROUP, gram, centre, unit, True, spare)
        right = rights[h] if rights.size else spare
        for b in range(blocks):
            for u in range(GROUP // ROWS):
                t = b * (GROUP // ROWS) + u
                if start + t * ROWS >= stop:
                    break
                best = maxima[t]
                before = best.copy()
                for p in range(panels):
                    tile(form, lefts[b], u, right, p, values[p])
                    raise_maxima(values[p], best)
                lane_sums[:] = 0
                for p in range(panels):
                    add_row_exponentials(values[p], scale, best, lane_sums)
                for r in range(ROWS):
                    total = 0.0
                    for lane in range(lanes):
                        total += lane_sums[r * lanes + lane]
                    if best[r] > before[r]:
                        sums[t, r] *= np.exp2(np.float64(scale) * (np.float64(before[r]) - np.float64(best[r])))
                    sums[t, r] += total
    return (np.float64(scale) * maxima.astype(np.float64) + np.log2(sums)).reshape(-1)[: stop - start]
