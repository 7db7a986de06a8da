"""Whether and how codes rule pairs out (`cpu_coarse`): what each way costs, by some rows that are tried."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numba import njit
from numpy.typing import NDArray

from miest_kernels.contract import Block
from miest_kernels.cpu_coarse import in_rows
from miest_kernels.cpu_codes import LEVELS, MOST_REACH, some_rows
from miest_kernels.cpu_order import Order, arranged
from miest_kernels.cpu_tile import row_distance
from miest_kernels.plan import together

_TRIED = 16  # rows that are tried to see whether codes pay
_SLACK = 1.5  # steps beyond a radius that codes let pass, on the whole


@dataclass(frozen=True)
class Way:
    """A pass over codes: of one block, the *first*, or of all (None); their step, and the order of the rows.

    `orders` are those by each block.
    """

    first: int | None
    step: float
    order: Order
    orders: Sequence[Order]


def radius_way(blocks: Sequence[Block], k: int, *, counted: bool, must: bool = False) -> Way | None:
    """The quickest way to the radii by `_COSTS`.

    None where floats alone are as quick, unless codes `must` be; and where there is no width to code. `counted`: each
    block's count is wanted as well.
    """
    n, tried = len(blocks[0]), _tried(blocks[0])
    near = together([partial(_to_all, block, tried) for block in blocks])
    joint = np.maximum.reduce(near)
    joint[np.arange(_TRIED), tried] = np.inf
    radius = np.partition(joint, k - 1, axis=1)[:, k - 1].astype(np.float64)
    steps = [step_for(block, radius) for block in blocks]
    if not all(_codes_by(step) for step in steps):
        return None
    orders = together([partial(arranged, block, radius) for block in blocks])
    shares = [_share(apart, radius, step) for apart, step in zip(near, steps, strict=True)]
    counts = [
        _count_cost(block, share, order.share) if counted else 0.0
        for block, share, order in zip(blocks, shares, orders, strict=True)
    ]
    first = int(np.argmin(shares))
    columns = sum(block.shape[1] for block in blocks)
    edges = np.cumsum([0, *(block.shape[1] for block in blocks)])
    best = int(np.argmin([order.share for order in orders]))
    whole = orders[best]._replace(columns=orders[best].columns + edges[best])
    costs: dict[int | None, float] = {
        None: _looking_cost(columns, whole.share) + _COSTS.start / n + sum(counts),
        # The radius shrinks as rows pass, so that over all about twice as many are listed as are near at the end.
        first: _looking_cost(blocks[first].shape[1], orders[first].share)
        + _COSTS.start / n
        + 2 * _COSTS.kept * shares[first]
        + sum(cost for b, cost in enumerate(counts) if b != first),
    }
    if not counted or len(blocks) == 1:
        del costs[first]
    begin = min(costs, key=lambda way: costs[way])
    fine = _COSTS.number * columns * blocks[0].itemsize / 4 + (3 if counted else 2) * _COSTS.read
    if costs[begin] + _COSTS.once / n**2 > fine and not must:
        return None
    if begin is None:
        return Way(None, max(steps), whole, orders)
    return Way(begin, steps[begin], orders[begin], orders)


def count_way(
    block: Block, limit: NDArray[np.floating], *, order: Order | None = None, must: bool = False
) -> Way | None:
    """How to count rows within these limits, in an order that is known or not; None as in `radius_way`."""
    tried = _tried(block)
    radius = np.maximum(limit[tried].astype(np.float64), 0)
    step = step_for(block, radius)
    if not _codes_by(step):
        return None
    order = order or arranged(block, radius)
    share = _share(_to_all(block, tried), radius, step)
    pays = _code_cost(block, share, order.share) + _COSTS.once / len(block) ** 2 < _float_cost(block)
    return Way(0, step, order, [order]) if pays or must else None


def _codes_by(step):
    return 0 < step < np.inf and 1 / step < np.inf


@dataclass(frozen=True)
class _Costs:
    """Work for a pair of rows, in 10^-8 ms; measured at n = 10,000 and 50,000.

    By floats with 4 to 784 columns, the lists and what is left of them with 10.
    """

    number: float = 1.5  # a column's difference as float32
    read: float = 6.0  # of the distances, by a selection or a count
    code: float = 0.55  # a column's difference as bytes
    list: float = 1.2  # of what the codes leave
    sifted: float = 240.0  # times the share of rows left: their distances, for a count
    kept: float = 700.0  # times that share: their distances in the first block and the others, and the count after
    start: float = 2e5  # over n: a row's order, the rows near by, and its nearest
    once: float = 3e8  # over n^2: rows that are tried, coding


_COSTS = _Costs()


def _looking_cost(columns, looked):
    """Of the codes, where so large a share of panels is within reach."""
    return (_COSTS.code * columns + _COSTS.list) * looked


def _count_cost(block, share, looked):
    return min(_float_cost(block), _code_cost(block, share, looked))


def _float_cost(block):
    return _COSTS.number * block.shape[1] * block.itemsize / 4 + _COSTS.read


def _code_cost(block, share, looked):
    return _looking_cost(block.shape[1], looked) + _COSTS.sifted * share


def _share(apart, radius, step):
    """Share of the pairs that codes leave at the radius."""
    with np.errstate(over="ignore"):
        return float((apart < (radius + _SLACK * step)[:, None]).mean())


def _tried(block):
    return np.linspace(0, len(block) - 1, _TRIED).astype(np.intp)


def step_for(block: Block, radius: NDArray[np.float64]) -> float:
    """Step of the codes: a radius is most of `MOST_REACH`, and the columns, but for their tails, fit `LEVELS`."""
    some = np.sort(some_rows(block), axis=0)
    with np.errstate(over="ignore", invalid="ignore"):  # of columns as wide as floats go: an infinite step
        wide = float((some[-2] - some[1]).max(initial=0.0))
    return max(float(radius.max()) / (0.7 * MOST_REACH), wide / LEVELS)


def _to_all(block, some):
    return distances(in_rows(block), some)


def distances(rows: Block, some: NDArray[np.intp]) -> NDArray[np.floating]:
    """(some, n) max-norm distances of some rows to all."""
    out = np.empty((len(some), len(rows)), rows.dtype)
    _distances(rows.ctypes.data, rows.shape[1] * rows.itemsize // 64, some, rows.dtype.type(-1), out)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _distances(rows, vectors, some, minus_one, out):
    for j in range(out.shape[1]):
        for i in range(some.shape[0]):
            out[i, j] = row_distance(rows + some[i] * vectors * 64, rows + j * vectors * 64, vectors, minus_one)
