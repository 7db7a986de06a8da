"""Columns in levels, as bits: those of 512 rows at a time say of most pairs that they are too far apart.

A value becomes the number of its level, ``(value - low) * scale`` rounded down and cut to ``0 .. levels - 1``, which
never falls where the value rises. Rows come in panels of `PANEL`; for each panel, column and number l from 0 to
``levels`` there is a *plane*, one bit a row, set where its level is below l. Of a query's interval of values only the
levels of the ends are looked up, and two planes a column then say of all rows of a panel

- *outer*: which may lie within: below the level of the upper end plus one, and not below that of the lower end;
- *inner*: which must: below the level of the upper end, and not below that of the lower end plus one. That interval is
  shorter by `_MARGIN`, more than the rounding of its ends and of a difference, so that these rows need no comparison.

So no result depends on the levels, and only the time does.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from miest_kernels.contract import Block
from miest_kernels.plan import together
from miest_kernels.storage import room_for

PANEL = 512  # rows to a panel, one bit each in a plane
WORDS = PANEL // 64  # of 64 bits, a plane
_LINE = PANEL // 8  # bytes of a plane
_MOST_PLANES, _FEWEST_PLANES = 64, 16
_BYTES_OF_PANEL = 2 << 20  # of planes: they stay in the second cache
_BYTES_OF_PLANES = 128 << 20  # in all, where fewer planes can do it
_FEW = 16  # rows, of which none can be spared
_TAIL = 0.1  # of the width of the bulk, that levels go beyond it on either side
_TASK_VALUES = 200_000  # to put in levels at a time
BYTES_AT_ONCE = 64 << 10  # of planes of a panel: between two looks whether any row is left
_MARGIN = 1e-3  # of a radius

_HALF, _INT64 = ir.IntType(16), ir.IntType(64)


class Levels(NamedTuple):
    """Where the levels of each column begin and how many there are to a unit, in the dtype of the data."""

    low: NDArray[np.floating]  # (d,)
    scale: NDArray[np.floating]  # (d,)
    number: int


def levels_of(blocks: Sequence[Block]) -> Levels:
    """Levels for the columns of all blocks, from the bulk of some rows; what lies beyond is in the first and last."""
    n, dtype = len(blocks[0]), blocks[0].dtype
    some = np.sort(np.hstack([some_rows(block) for block in blocks]), axis=0)
    d = some.shape[1]
    planes = _MOST_PLANES
    while planes > _FEWEST_PLANES and (planes * d * _LINE > _BYTES_OF_PANEL or planes * d * n > 8 * _BYTES_OF_PLANES):
        planes //= 2
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # of columns as wide as floats go, or constant
        least, most = (some[1], some[-2]) if len(some) > _FEW else (some[0], some[-1])  # one far out does no harm
        low = least - _TAIL * (most - least)
        scale = (planes - 1) / ((most - least) * (1 + 2 * _TAIL))
        low, scale = (np.where(np.isfinite(each.astype(dtype)), each, 0).astype(dtype) for each in (low, scale))
    return Levels(low, scale, planes - 1)


def some_rows(block: Block) -> NDArray[np.float64]:
    """Some hundred rows that tell where the columns lie and how wide they are, as float64."""
    return block[:: max(1, len(block) // 250)].astype(np.float64)


def planes_of(rows: Block, levels: Levels) -> NDArray[np.uint64]:
    """The planes of all rows: (panels, d, levels + 1, WORDS)."""
    d = len(levels.low)
    planes = room_for((-(-len(rows) // PANEL), d, levels.number + 1, WORDS), np.uint64, rows)
    step = max(1, _TASK_VALUES // (d * PANEL))
    starts = range(0, len(planes), step)
    together([partial(_fill, rows[s * PANEL : (s + step) * PANEL], *levels, planes[s : s + step]) for s in starts])
    return planes


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(rows, low, scale, number, planes):
    planes[:] = 0
    top = rows.dtype.type(number - 1)
    for i in range(rows.shape[0]):
        word, bit = i % PANEL // 64, np.uint64(1) << np.uint64(i % 64)
        for f in range(low.shape[0]):
            planes[i // PANEL, f, 1 + _level(rows[i, f], low[f], scale[f], top), word] |= bit
    for p in range(planes.shape[0]):
        for f in range(low.shape[0]):
            for level in range(number):
                for w in range(WORDS):
                    planes[p, f, level + 1, w] |= planes[p, f, level, w]


@njit(inline="always")
def _level(value, low, scale, top):
    place, zero = (value - low) * scale, top - top
    place = place if place > zero else zero  # also where an infinity met a zero
    return np.int32(place if place < top else top)


@njit(cache=True, nogil=True, error_model="numpy")
def outer_ends(query, radius, low, scale, top, ends):
    """Where the planes begin, in bytes, that bound what may be within the radius: `ends` (2, d) uint16."""
    for f in range(low.shape[0]):
        ends[0, f] = (_level(query[f] + radius, low[f], scale[f], top) + np.int32(1)) * np.int32(_LINE)
        ends[1, f] = _level(query[f] - radius, low[f], scale[f], top) * np.int32(_LINE)


@njit(cache=True, nogil=True, error_model="numpy")
def inner_ends(query, radius, low, scale, top, ends):
    """The same for what must be within: nothing, where rounding could reach the margin."""
    inside, exact = radius * low.dtype.type(1 - _MARGIN), 0 < radius < np.inf
    bound = radius * low.dtype.type(_MARGIN / 8 / np.finfo(low.dtype).eps)
    for f in range(low.shape[0]):
        exact &= abs(query[f]) <= bound
        ends[0, f] = _level(query[f] + inside, low[f], scale[f], top) * np.int32(_LINE)
        ends[1, f] = (_level(query[f] - inside, low[f], scale[f], top) + np.int32(1)) * np.int32(_LINE)
    if not exact:
        ends[0, :] = 0


def shares(
    planes: NDArray[np.uint64], n: int, rows: Block, radius: NDArray[np.floating], levels: Levels
) -> tuple[float, float]:
    """Shares of the n rows in planes that may, and that must, be within the radii of some other rows."""
    outer, inner = _tally(planes, rows, radius, levels.low, levels.scale, rows.dtype.type(levels.number - 1))
    return outer / (n * len(rows)), inner / (n * len(rows))


@njit(cache=True, nogil=True, error_model="numpy")
def _tally(planes, rows, radius, low, scale, top):
    panels, d, number, _ = planes.shape
    ends, found = np.empty((4, d), np.uint16), np.empty(2 * WORDS + 1, np.uint64)
    outer = inner = 0
    for i in range(rows.shape[0]):
        outer_ends(rows[i], radius[i], low, scale, top, ends)
        inner_ends(rows[i], radius[i], low, scale, top, ends[2:])
        for p in range(panels):
            found[:] = ~np.uint64(0)
            meet_both(planes[p].ctypes.data, number * _LINE, ends.ctypes.data, d, d, found.ctypes.data)
            sure = certain(found.ctypes.data)
            inner += sure
            outer += sure
            for word in found[:WORDS]:
                outer += set_bits(word)
    return outer, inner


@intrinsic
def meet(context, planes, plane_bytes, ends, features, columns, found):
    """Keep the rows of a panel that are within a query's ends in some columns; whether any row is left.

    `planes` is the address of the first column's planes, `plane_bytes` what a column takes; `ends` that of the first
    column's two ends, each of `features` a kind; `found` holds the bits so far.
    """
    signature = types.boolean(*[types.intp] * 6)

    def generate(context, builder, signature, args):
        return _meet(builder, args, 1)

    return signature, generate


@intrinsic
def meet_both(context, planes, plane_bytes, ends, features, columns, found):
    """The same for outer and inner ends, (4, features), and bits, of which the outer ones come first."""
    signature = types.boolean(*[types.intp] * 6)

    def generate(context, builder, signature, args):
        return _meet(builder, args, 2)

    return signature, generate


def _meet(builder, args, kinds):
    planes, plane_bytes, ends, features, columns, found = args
    plane = ir.VectorType(_INT64, WORDS)
    ends = builder.inttoptr(ends, _HALF.as_pointer())
    places = [builder.inttoptr(builder.add(found, _INT64(kind * _LINE)), plane.as_pointer()) for kind in range(kinds)]
    slots = [cgutils.alloca_once(builder, plane) for _ in places]
    for place, slot in zip(places, slots, strict=True):
        builder.store(builder.load(place, align=8), slot)

    def plane_at(start, end):
        offset = builder.zext(builder.load(builder.gep(ends, [end])), _INT64)
        return builder.load(builder.inttoptr(builder.add(start, offset), plane.as_pointer()), align=8)

    with cgutils.for_range(builder, columns, intp=_INT64) as loop:
        start = builder.add(planes, builder.mul(loop.index, plane_bytes))
        for kind, slot in enumerate(slots):
            above, below = (
                plane_at(start, builder.add(builder.mul(features, _INT64(2 * kind + end)), loop.index))
                for end in (0, 1)
            )
            builder.store(builder.and_(builder.and_(builder.load(slot), above), builder.not_(below)), slot)
    for place, slot in zip(places, slots, strict=True):
        builder.store(builder.load(slot), place).align = 8
    whole = ir.IntType(PANEL)
    return builder.icmp_unsigned("!=", builder.bitcast(builder.load(slots[0]), whole), ir.Constant(whole, 0))


@intrinsic
def certain(context, found):
    """How many inner bits are set; the outer ones lose these, and a word after both says which of theirs are not 0."""
    signature = types.int64(types.intp)

    def generate(context, builder, signature, args):
        plane = ir.VectorType(_INT64, WORDS)
        outer, inner = (builder.inttoptr(builder.add(args[0], _INT64(at)), plane.as_pointer()) for at in (0, _LINE))
        sure = builder.load(inner, align=8)
        others = builder.and_(builder.load(outer, align=8), builder.not_(sure))
        builder.store(others, outer).align = 8
        some = builder.icmp_unsigned("!=", others, ir.Constant(plane, [0] * WORDS))
        where = builder.zext(builder.bitcast(some, ir.IntType(WORDS)), _INT64)
        builder.store(where, builder.inttoptr(builder.add(args[0], _INT64(2 * _LINE)), _INT64.as_pointer()))
        bits = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(plane, [plane]), f"llvm.ctpop.v{WORDS}i64"
        )
        total = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_INT64, [plane]), f"llvm.vector.reduce.add.v{WORDS}i64"
        )
        return builder.call(total, [builder.call(bits, [sure])])

    return signature, generate


@intrinsic
def set_bits(context, mask):
    """Number of set bits."""
    signature = types.int64(types.uint64)

    def generate(context, builder, signature, args):
        return builder.ctpop(args[0])

    return signature, generate
