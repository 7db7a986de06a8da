"""Whether and how levels rule pairs out (`cpu_coarse`): what each way costs, by some rows that are tried."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numba import njit
from numpy.typing import NDArray

from miest_kernels.contract import Block
from miest_kernels.cpu_coarse import MOST_KEPT, in_rows
from miest_kernels.cpu_levels import PANEL, Levels, levels_of, planes_of, shares
from miest_kernels.cpu_order import Order, arranged
from miest_kernels.cpu_tile import row_distance
from miest_kernels.plan import together

_TRIED = 16  # rows that are tried to see whether levels pay
_SAMPLE = 2 * PANEL  # rows, about, that they are tried against
_SHORT = 2e7  # nanoseconds of a core for which nothing is tried
_VALUES_AT_ONCE = 1 << 18  # of rows that are copied to be measured


@dataclass(frozen=True)
class Way:
    """A pass over the levels of one block, the *first*, or of all (None), in an order of the rows.

    `orders` are those by each block. In a count `inner` says that levels tell which rows must be within, too.
    """

    first: int | None
    levels: Levels
    order: Order
    orders: Sequence[Order]
    inner: bool = False


def radius_way(blocks: Sequence[Block], k: int, *, counted: bool, must: bool = False) -> Way | None:
    """The quickest way to the radii by `_COSTS`.

    None where floats alone are as quick, unless levels `must` be. `counted`: each block's count is wanted as well.
    """
    n, tried = len(blocks[0]), _tried(blocks[0])
    floats = _float_cost(sum(block.shape[1] for block in blocks), blocks[0].itemsize)
    floats += _COSTS.read * (1 + len(blocks) if counted else 1)
    if floats * n**2 / PANEL < _SHORT and not must:
        return None
    radius = kth_distances(blocks, tried, k)
    orders = together([partial(arranged, block, radius.astype(np.float64)) for block in blocks])
    best = int(np.argmin([order.share for order in orders]))
    before = sum(block.shape[1] for block in blocks[:best])
    ways = [Way(None, levels_of(blocks), orders[best]._replace(columns=orders[best].columns + before), orders)]
    outer, _ = _shares(blocks, tried, radius, ways[0].levels)
    costs = [_search_cost(blocks, outer, orders[best], n)]
    if counted:
        levels = [levels_of([block]) for block in blocks]
        seen = [_shares([block], tried, radius, each) for block, each in zip(blocks, levels, strict=True)]
        counts = [
            min(_float_cost(block.shape[1], block.itemsize) + _COSTS.read, *_count_costs(block, both, order))
            for block, both, order in zip(blocks, seen, orders, strict=True)
        ]
        costs[0] += sum(counts)
        few = min(range(len(blocks)), key=lambda b: seen[b])
        if len(blocks) > 1 and (seen[few][0] * n < MOST_KEPT or must):
            ways.append(Way(few, levels[few], orders[few], orders))
            costs.append(_search_cost([blocks[few]], seen[few][0], orders[few], n) + sum(counts) - counts[few])
    cost, way = min(zip(costs, ways, strict=True), key=lambda each: each[0])
    return way if must or cost + _COSTS.once / n**2 < floats else None


def count_way(
    block: Block, limit: NDArray[np.floating], *, order: Order | None = None, must: bool = False
) -> Way | None:
    """How to count rows within these limits, in an order that is known or not; None as in `radius_way`."""
    floats = _float_cost(block.shape[1], block.itemsize) + _COSTS.read
    if order is None and floats * len(block) ** 2 / PANEL < _SHORT and not must:
        return None
    tried, levels = _tried(block), levels_of([block])
    radius = np.maximum(limit[tried], 0)
    order = order or arranged(block, radius.astype(np.float64))
    single, both = _count_costs(block, _shares([block], tried, radius, levels), order)
    pays = min(single, both) + _COSTS.once / len(block) ** 2 < floats
    return Way(0, levels, order, [order], both < single) if pays or must else None


@dataclass(frozen=True)
class _Costs:
    """Nanoseconds of a core for a row and a panel of rows; measured at n = 10,000 and 50,000 with 4 to 784 columns."""

    panel: float = 15.0  # to look at one
    plane: float = 1.3  # a column's planes
    compared: float = 4.0  # a row that levels leave,
    vector: float = 2.0  # and each 64 bytes of it
    near: float = 3e5  # over n: the rows near by
    once: float = 1e9  # over n^2: levels, rows in order
    number: float = 8.0  # a column's differences as float32
    read: float = 30.0  # of the distances, by a selection or a count


_COSTS = _Costs()


def _search_cost(blocks, outer, order, n):
    # The radius shrinks as rows pass, so that over all about twice as many are compared as are near at the end.
    columns = sum(block.shape[1] for block in blocks)
    looks = (_COSTS.panel + _COSTS.plane * columns) * order.share
    return looks + _compared(blocks, min(2 * outer, order.share)) + _COSTS.near / n


def _count_costs(block, seen, order):
    """By outer planes alone, and by both kinds, where such shares may and must be within."""
    (outer, inner), columns = seen, block.shape[1]
    single = (_COSTS.panel + _COSTS.plane * columns) * order.share + _compared([block], min(outer, order.share))
    doubtful = min(outer - inner, order.share)
    both = (_COSTS.panel + 2 * _COSTS.plane * columns) * order.share + _compared([block], doubtful)
    return single, both


def _compared(blocks, share):
    vectors = sum(block.shape[1] * block.itemsize for block in blocks) / 64
    return (_COSTS.compared + _COSTS.vector * vectors) * share * PANEL


def _float_cost(columns, itemsize):
    return _COSTS.number * columns * itemsize / 4


def _shares(blocks, tried, radius, levels):
    """Shares of rows that levels say may, and must, be within the radii of rows that are tried."""
    sample, own = (
        np.ascontiguousarray(np.hstack([block[rows] for block in blocks]))
        for rows in (slice(None, None, max(1, len(blocks[0]) // _SAMPLE)), tried)
    )
    return shares(planes_of(sample, levels), len(sample), own, radius, levels)


def _tried(block):
    return np.linspace(0, len(block) - 1, _TRIED).astype(np.intp)


def kth_distances(blocks: Sequence[Block], some: NDArray[np.intp], k: int) -> NDArray[np.floating]:
    """Joint distance of some rows to their k-th nearest."""
    n, own = len(blocks[0]), in_rows([block[some] for block in blocks])
    step = max(1, _VALUES_AT_ONCE // own.shape[1])
    parts = together([partial(_nearest, blocks, own, some, k, slice(s, min(s + step, n))) for s in range(0, n, step)])
    radius: NDArray[np.floating] = np.partition(np.hstack(parts), k - 1, axis=1)[:, k - 1]
    return radius


def _nearest(blocks, own, some, k, part):
    """(some, at most k) smallest distances to a part of the rows."""
    rows = in_rows([block[part] for block in blocks])
    found = np.empty((len(own), len(rows)), own.dtype)
    _distances(own.ctypes.data, rows.ctypes.data, own.shape[1] * own.itemsize // 64, own.dtype.type(-1), found)
    here = np.flatnonzero((some >= part.start) & (some < part.stop))
    found[here, some[here] - part.start] = np.inf
    return np.partition(found, k - 1, axis=1)[:, :k] if k < found.shape[1] else found


@njit(cache=True, nogil=True, error_model="numpy")
def _distances(own, rows, vectors, minus_one, out):
    for j in range(out.shape[1]):
        for i in range(out.shape[0]):
            out[i, j] = row_distance(own + i * vectors * 64, rows + j * vectors * 64, vectors, minus_one)
