"""Sums of the kernels of a Gaussian channel on the processor: what noise moves each point to, against all centers.

A query is a point moved by noise, t + s e, in either direction. Relative to the kernel of its own center its kernel
at another center c is 2^(-D - C) or 2^(-D + C), with D from the distance of t and c and C from the product of e with
t - c. D and C do not know the size s of the noise but as a factor, so one pass over the pairs serves all sizes, both
directions, and the kernels between the centers themselves, which need D alone.

A tile holds D, another C; both are products of centred points, or sums of differences where products would cancel.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from miest_kernels.cpu_gaussian import Frame, pack
from miest_kernels.cpu_pair_tile import (
    GROUP,
    ROWS,
    Difference,
    Gram,
    add_row_exponential_pairs,
    add_tilted_exponentials,
    cross_tile,
    frozen,
    panel,
    tile,
)

_GROUPS_TO_DRAIN = 32  # groups of centers whose sums are kept in the lanes before they move to float64
_COLUMNS = 16


def channel_block(
    start: int,
    stop: int,
    points: NDArray[np.floating],
    noise: NDArray[np.floating],
    own: NDArray[np.intp],
    labels: NDArray[np.intp],
    centers: NDArray[np.floating],
    center_labels: NDArray[np.intp],
    rights: NDArray[np.floating],
    order: NDArray[np.intp],
    frame: Frame,
    along: NDArray[np.floating],
    across: NDArray[np.floating],
    kinds: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log2-sums of the kernels at moved points, (kinds, m, 2, rows), and sums between centers, of points start to stop.

    Kinds are the own class and the other classes, if there are two; if one, all points are of one class. The next axis
    but one is plus and minus the noise for the first answer, the wide kernel (four times the variance) and the narrow
    one for the second.
    """
    form = Gram() if frame.gram else Difference()
    return _channel_rows(  # type: ignore[no-any-return]
        form, frame.gram, start, stop, frozen(points), frozen(noise), frozen(own), frozen(labels), frozen(centers),
        frozen(center_labels), frozen(rights), frozen(order), frozen(frame.centre), frame.unit, frozen(along),
        frozen(across), kinds, panel(points.dtype),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _channel_rows(
    form, gram, start, stop, points, noise, own, labels, centers, center_labels, rights, order, centre, unit,
    along, across, kinds, panel,
):  # fmt: skip
    d, count = points.shape[1], len(centers)
    dtype = points.dtype
    depth = d + 2 if gram else d
    lanes, panels = panel // 4, GROUP // panel
    groups = (count + GROUP - 1) // GROUP
    tiles = (stop - start + ROWS - 1) // ROWS
    sizes = len(along)
    lefts = np.empty((tiles, depth, ROWS), dtype)
    moves = np.empty((tiles, depth, ROWS), dtype)
    spare = np.empty((panels, depth, panel), dtype)
    distances = np.empty((ROWS, panel), dtype)
    products = np.empty((ROWS, panel), dtype)
    parts = np.empty((2, ROWS, panel), dtype)
    maxima = np.full((tiles, kinds, sizes, 2, ROWS), -np.inf, dtype)
    sums = np.zeros((tiles, kinds, sizes, 2, ROWS, lanes), dtype)
    pairs = np.zeros((tiles, kinds, sizes, 2, ROWS, lanes), dtype)
    flat_maxima, flat_sums, flat_pairs = maxima.reshape(-1), sums.reshape(-1), pairs.reshape(-1)
    logs = np.full((kinds, sizes, 2, tiles * ROWS), -np.inf)
    pair_sums = np.zeros((kinds, sizes, 2, tiles * ROWS))
    pack(points, order, start, gram, centre, unit, False, lefts)
    _pack_noise(points, noise, order, start, gram, centre, unit, moves)
    last = len(points) - 1
    for h in range(groups):
        if not rights.size:
            pack(centers, order, h * GROUP, gram, centre, unit, True, spare)
        right = rights[h] if rights.size else spare
        for t in range(tiles):
            i = start + t * ROWS
            for p in range(panels):
                j = h * GROUP + p * panel
                if j >= count:
                    break
                tile(form, lefts, t, right, p, distances)
                if gram:
                    tile(form, moves, t, right, p, products)
                else:
                    cross_tile(lefts, moves, t, right, p, products)
                for r in range(ROWS):
                    at = own[min(i + r, last)] - j
                    if 0 <= at < panel:
                        distances[r, at] = -np.inf
                low, high = center_labels[j], center_labels[min(j + panel, count) - 1]
                first, final = labels[min(i, last)], labels[min(i + ROWS - 1, last)]
                within = first == high and final == low
                between = final < low or high < first
                kind_from, kind_to = (0, 1) if within else ((1, 2) if between else (0, 2))
                if not (within or between):
                    _split(distances, labels, center_labels, i, j, parts)
                for kind in range(kind_from, kind_to):
                    shown = distances if within or between else parts[kind]
                    for m in range(sizes):
                        at = ((t * kinds + kind) * sizes + m) * 2
                        for sign in range(2):
                            tilt = across[m] if sign else -across[m]
                            add_tilted_exponentials(
                                shown, along[m], products, tilt,
                                flat_maxima, (at + sign) * ROWS, flat_sums, (at + sign) * ROWS * lanes,
                            )  # fmt: skip
                        add_row_exponential_pairs(
                            shown, along[m] / 4, flat_pairs, at * ROWS * lanes, (at + 1) * ROWS * lanes
                        )
        if h % _GROUPS_TO_DRAIN == _GROUPS_TO_DRAIN - 1 or h == groups - 1:
            _drain(maxima, sums, pairs, logs, pair_sums)
    return logs[:, :, :, : stop - start].copy(), pair_sums[:, :, :, : stop - start].copy()


@njit(cache=True, nogil=True)
def _pack_noise(points, noise, order, start, gram, centre, unit, out):
    """Put the noise of as many points as fit in `out`, as `pack` does the points.

    With `gram` the signs and the last columns are such that products with a packed right side sum to e . (t - c).
    """
    tiles, _, width = out.shape
    n, d = points.shape
    middle, factor = centre.astype(out.dtype), out.dtype.type(unit)
    out[:] = 0
    for t in range(tiles):
        first = start + t * width
        for w in range(max(0, min(width, n - first))):
            i = order[first + w]
            product = 0.0
            for k in range(d):
                out[t, k, w] = -noise[i, k] if gram else noise[i, k]
                product += np.float64(noise[i, k]) * np.float64((points[i, k] - middle[k]) * factor)
            if gram:
                out[t, d + 1, w] = product


@njit(cache=True, nogil=True)
def _split(values, labels, center_labels, i, j, parts):
    """Copy a tile twice: parts[0] with other classes put infinitely far away, parts[1] with the own class there."""
    rows, width = values.shape
    last_row, last_column = labels.size - 1, center_labels.size - 1
    far = values.dtype.type(-np.inf)
    for r in range(rows):
        for c in range(width):
            same = labels[min(i + r, last_row)] == center_labels[min(j + c, last_column)]
            parts[0, r, c] = values[r, c] if same else far
            parts[1, r, c] = far if same else values[r, c]


@njit(cache=True, nogil=True)
def _drain(maxima, sums, pairs, logs, pair_sums):
    """Move what the lanes hold to the float64 sums, and start them anew."""
    tiles, kinds, sizes, _, rows, lanes = sums.shape
    for t in range(tiles):
        for a in range(kinds):
            for m in range(sizes):
                for s in range(2):
                    for r in range(rows):
                        total, pair = 0.0, 0.0
                        for lane in range(lanes):
                            total += np.float64(sums[t, a, m, s, r, lane])
                            pair += np.float64(pairs[t, a, m, s, r, lane])
                        pair_sums[a, m, s, t * rows + r] += pair
                        best = np.float64(maxima[t, a, m, s, r])
                        if best > -np.inf:
                            new, old = best + np.log2(total), logs[a, m, s, t * rows + r]
                            top = max(new, old)
                            logs[a, m, s, t * rows + r] = top + np.log2(np.exp2(new - top) + np.exp2(old - top))
    maxima[:] = -np.inf
    sums[:] = 0
    pairs[:] = 0
