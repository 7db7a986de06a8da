"""One column: neighbours on a line, from its sorted values alone, in O(n log n) whatever the ties and tails.

In sorted order the others within a radius of a value are a run around it, and the k + 1 nearest rows, oneself
among them, are a window of k + 1. Both are found by bisection on *differences*, rounded as the contract has
them: a rounded difference never falls as the values move apart, so bisection is exact, while a search for
``x + radius`` would round differently and lose the strict inequality. Rows that lie side by side are bisected
together and without branches, several to a vector; ties cost nothing, for nothing is visited.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from miest_kernels.cpu_lanes import LANES, advance
from miest_kernels.plan import map_rows


def line_counts(column: NDArray[np.floating], limit: NDArray[np.floating], rows: int) -> NDArray[np.intp]:
    """Number of other rows at distance ``<= limit[i]`` from row i.

    Parameters
    ----------
    column, limit : (n,) float      of one dtype
    rows : int                      rows to a task; changes no result

    Returns
    -------
    (n,) intp
    """
    order, count = np.argsort(column), np.empty(len(column), np.intp)
    count[order] = np.concatenate(map_rows(_counts, len(column), rows, column[order], limit[order]))
    return count


def line_radii(column: NDArray[np.floating], k: int, rows: int) -> NDArray[np.floating]:
    """Distance of each row to its k-th nearest other row; arguments as in `line_counts`."""
    order, radius = np.argsort(column), np.empty_like(column)
    radius[order] = np.concatenate(map_rows(_radii, len(column), rows, column[order], k))
    return radius


def _counts(start, stop, values, limit):
    return _count_runs(values, start, limit[start:stop])


def _radii(start, stop, values, k):
    return _window_radii(values, k, start, stop)


@njit(cache=True, nogil=True, error_model="numpy")
def _count_runs(values, start, limit):
    """Others within the limits of ``values[start:]``."""
    m, last = limit.shape[0], values.shape[0] - 1
    count = np.empty(m, np.intp)
    here, limits = np.empty(LANES, values.dtype), np.empty(LANES, limit.dtype)
    found, strides = np.empty(LANES, np.int64), np.ones(2, np.int64)
    for first in range(0, m, LANES):
        for lane in range(LANES):
            row = min(first + lane, m - 1)
            here[lane], limits[lane] = values[start + row], limit[row]
        run_lengths(values, start + first, min(start + first + LANES - 1, last), here, limits, strides, found)
        for lane in range(min(LANES, m - first)):
            count[first + lane] = found[lane]
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def run_lengths(values, least, most, here, limits, strides, found):
    """Others within the limits of 32 values, by two bisections each, to the right and to the left.

    Parameters
    ----------
    values : (n,) float     sorted
    least, most : int       positions in them that all of `here` lie between
    here, limits : (32,)    values, and how far they reach
    strides : (2,) int64    first guesses of how far to search; left as guesses for the next rows
    found : (32,) int64     the answer
    """
    ends = np.empty(LANES, np.int64)
    for side in range(2):
        for lane in range(LANES):
            ends[lane] = least if side == 0 else most
        stride, sign = max(1, strides[side] // 2), 1 - 2 * side
        while advance(values, ends, sign * stride, here, limits):
            stride *= 2
        strides[side] = stride  # no end is as far away as this
        while stride > 1:
            stride //= 2
            advance(values, ends, sign * stride, here, limits)
        for lane in range(LANES):
            # Where the limit is below 0 the ends have not met.
            found[lane] = ends[lane] if side == 0 else max(0, found[lane] - ends[lane])


@njit(cache=True, nogil=True, error_model="numpy")
def _window_radii(values, k, start, stop):
    n = values.shape[0]
    radius = np.empty(stop - start, values.dtype)
    for row in range(start, stop):
        here = values[row]
        # Of the windows of k + 1 rows that hold this one, the first whose right end is the farther one, or the
        # one before it, is nearest: moving right, the left distance falls and the right one grows.
        low, high = max(0, row - k), min(row, n - 1 - k) + 1
        first, beyond = low, high
        while low < high:
            middle = (low + high) // 2
            if values[middle + k] - here >= here - values[middle]:
                high = middle
            else:
                low = middle + 1
        nearest = values[low + k] - here if low < beyond else here - values[low - 1]
        if first < low < beyond:
            nearest = min(nearest, here - values[low - 1])
        radius[row - start] = nearest
    return radius
