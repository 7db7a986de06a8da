"""Rows in an order that puts near ones side by side, so that panels of them have boxes of which many are out of reach.

The order is that of a k-d tree's leaves, over a few columns or over many: with independent columns few are best, since
each has then been halved often enough to be narrower than a radius; where all are functions of a few quantities, as in
the layers of a network, many are. Both are tried, and the order in which fewer panels are within reach is taken. A box
is left out by its least distance, one rounded difference of coordinates as distances are; rounding keeps order, so
that nothing nearer is left out.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from miest_kernels.contract import Block
from miest_kernels.cpu_grow import arrange, outline
from miest_kernels.cpu_lanes import LANES
from miest_kernels.cpu_levels import PANEL, some_rows
from miest_kernels.cpu_tile import has_avx512


class Order(NamedTuple):
    """An order of rows, the columns that panels are told apart by, and the share of panels within reach, about.

    Where no order helps the rows are a slice of them all, and there are no such columns.
    """

    rows: NDArray[np.intp] | slice
    columns: NDArray[np.intp]
    share: float


AS_THEY_ARE = Order(slice(None), np.zeros(0, np.intp), 1.0)
_MANY = 8  # columns to halve, the widest
_CUTS = 4  # parts, at least, that each of few columns is cut in
_TRIED = 64  # rows whose reach is tried
_IDLE = 0.95  # share of panels within reach from which an order is not worth its copies


def arranged(block: Block, radii: NDArray[np.float64]) -> Order:
    """The better of two orders, where rows reach as far as such radii."""
    some, radius = np.sort(some_rows(block), axis=0), np.sort(radii)[len(radii) // 2]
    with np.errstate(over="ignore"):  # of columns as wide as floats go
        spread = some[-len(some) // 10 - 1] - some[len(some) // 10]
    widest = np.argsort(-spread)[:_MANY]
    columns = np.ascontiguousarray(block[:, widest].T)
    first, last, _ = outline(-(-len(block) // LANES), PANEL // LANES)
    found = AS_THEY_ARE
    few = max(1, int(np.log(len(block) / PANEL) / np.log(_CUTS)))
    for number in sorted({min(few, len(columns)), len(columns)}):
        order = arrange(columns[:number], 1, first, last, 1, not has_avx512()).astype(np.intp)
        share = _share_within(columns[:number], order, radius)
        if share < min(found.share, _IDLE):
            found = Order(order, widest[:number], share)
    return found


def boxes(rows: Block, columns: NDArray[np.intp], size: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Least and largest coordinates, in some columns, of every so many rows: two arrays of (parts, columns)."""
    some, starts = rows[:, columns], np.arange(0, len(rows), size)
    return np.minimum.reduceat(some, starts), np.maximum.reduceat(some, starts)


@njit(cache=True, nogil=True, error_model="numpy")
def distances_to_boxes(least, most, low, high, gaps):
    """Least max-norm distances from a box, its corners (d,), to boxes, their corners (parts, d); 0 where they meet."""
    gaps[:] = 0
    for c in range(low.shape[1]):
        for p in range(gaps.shape[0]):
            below, above = low[p, c] - most[c], least[c] - high[p, c]
            gap = below if below > above else above
            gaps[p] = gap if gap > gaps[p] else gaps[p]


@njit(cache=True, nogil=True, error_model="numpy")
def _share_within(columns, order, radius):
    d, n = columns.shape
    panels = (n + PANEL - 1) // PANEL
    low, high = np.full((panels, d), np.inf, columns.dtype), np.full((panels, d), -np.inf, columns.dtype)
    for c in range(d):
        for i in range(n):
            value, p = columns[c, order[i]], i // PANEL
            low[p, c], high[p, c] = min(low[p, c], value), max(high[p, c], value)
    row, gaps, within = np.empty(d, columns.dtype), np.empty(panels, columns.dtype), 0
    for tried in range(_TRIED):
        for c in range(d):
            row[c] = columns[c, order[tried * n // _TRIED]]
        distances_to_boxes(row, row, low, high, gaps)
        within += (gaps < radius).sum()
    return within / (_TRIED * panels)
