"""Rows in an order that puts near ones side by side, so that panels of them have boxes of which many are out of reach.

The order is that of a k-d tree's leaves, over a few columns or over many: with independent columns few are best, since
each has then been halved often enough to be narrower than a radius; where all are functions of a few quantities, as in
the layers of a network, many are. Both are tried, and the order in which fewer panels are within reach is taken. A box
is left out by its least distance, one rounded difference of coordinates as distances are; rounding keeps order, so
that nothing nearer is left out.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from miest_kernels.contract import Block
from miest_kernels.cpu_codes import PANEL, some_rows
from miest_kernels.cpu_grow import arrange, outline
from miest_kernels.cpu_lanes import LANES
from miest_kernels.cpu_tile import ROWS, has_avx512

Order = NDArray[np.intp] | slice
"""Rows, in order; a slice of them all where no order helps."""

_FEW, _MANY = 2, 8  # columns to halve, the widest
_TRIED = 64  # groups of rows whose reach is tried
_IDLE = 0.95  # share of panels within reach from which an order is not worth its copies


def arranged(block: Block, radii: NDArray[np.float64]) -> tuple[Order, float]:
    """An order of the rows, and the share of panels that are within such radii of a group of rows, about."""
    some, radius = np.sort(some_rows(block), axis=0), np.sort(radii)[len(radii) // 2]
    with np.errstate(over="ignore"):  # of columns as wide as floats go
        spread = some[-len(some) // 10 - 1] - some[len(some) // 10]
    columns = np.ascontiguousarray(block[:, np.argsort(-spread)[:_MANY]].T)
    first, last, _ = outline(-(-len(block) // LANES), PANEL // LANES)
    found: tuple[Order, float] = (slice(None), 1.0)
    for number in sorted({min(_FEW, len(columns)), len(columns)}):
        order = arrange(columns[:number], 1, first, last, 1, not has_avx512()).astype(np.intp)
        share = _share_within(columns, order, radius)
        if share < min(found[1], _IDLE):
            found = order, share
    return found


def boxes(rows: Block) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Least and largest coordinates of the rows of each panel: two arrays of (d, panels)."""
    starts = np.arange(0, len(rows), PANEL)
    low, high = (np.ascontiguousarray(each.reduceat(rows, starts).T) for each in (np.minimum, np.maximum))
    return low, high


@njit(cache=True, nogil=True, error_model="numpy")
def distances_to_boxes(least, most, low, high, gaps):
    """Least max-norm distances from a box, its corners (d,), to boxes, their corners (d, panels); 0 where they meet."""
    gaps[:] = 0
    for c in range(low.shape[0]):
        for p in range(gaps.shape[0]):
            below, above = low[c, p] - most[c], least[c] - high[c, p]
            gap = below if below > above else above
            gaps[p] = gap if gap > gaps[p] else gaps[p]


@njit(cache=True, nogil=True, error_model="numpy")
def _share_within(columns, order, radius):
    d, n = columns.shape
    panels = (n + PANEL - 1) // PANEL
    low, high = np.full((d, panels), np.inf, columns.dtype), np.full((d, panels), -np.inf, columns.dtype)
    for c in range(d):
        for i in range(n):
            value, p = columns[c, order[i]], i // PANEL
            low[c, p], high[c, p] = min(low[c, p], value), max(high[c, p], value)
    least, most = np.empty(d, columns.dtype), np.empty(d, columns.dtype)
    gaps, groups, within = np.empty(panels, columns.dtype), (n + ROWS - 1) // ROWS, 0
    for tried in range(_TRIED):
        start = tried * groups // _TRIED * ROWS
        for c in range(d):
            least[c] = most[c] = columns[c, order[start]]
            for i in range(start, min(start + ROWS, n)):
                least[c], most[c] = min(least[c], columns[c, order[i]]), max(most[c], columns[c, order[i]])
        distances_to_boxes(least, most, low, high, gaps)
        within += (gaps < radius).sum()
    return within / (_TRIED * panels)
