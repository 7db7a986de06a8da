"""Columns as bytes: 64 differences to an instruction, which say of most pairs that they are too far apart.

A value becomes the number of its step, ``floor((value - low) / step)``, cut to `LEVELS`. Two values whose codes differ
by c are more than (c - 1) steps apart, cut or not, so that rows within a radius have codes that differ by at most
``reach = floor(radius / step) + 1`` in every column. What passes that test is compared as it is; so no result depends
on the codes, and only the time on the step.

A tile takes `ROWS` queries and a panel of `PANEL` rows of codes. With the query's code less its reach subtracted,
modulo 256, a code within reach of it is at most twice the reach, and one outside is more, as long as codes stay below
``256 - reach``: a subtraction and a maximum a column, and one comparison at the end, for 64 pairs.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from miest_kernels.contract import Block
from miest_kernels.cpu_tile import ROWS
from miest_kernels.plan import map_rows

PANEL = 256  # rows of codes to a panel
WORDS = PANEL // 64  # of bits, a panel
LEVELS = 165  # codes are below this,
MOST_REACH = 256 - LEVELS - 1  # so that this reach is told from what lies outside
_TASK_VALUES = 2_000_000  # to code at a time
_ROUNDING = 1e-5  # of a radius: differences are rounded in the dtype of the data, codes in float64

_BYTE, _INT32, _INT64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def coded(rows: Block, d: int, step: float) -> NDArray[np.uint8]:
    """Codes of the first d columns, medians in the middle: (panels, d, PANEL), the last panel filled up with 0."""
    some = np.sort(some_rows(rows[:, :d]), axis=0)
    low = some[len(some) // 2] - step * LEVELS / 2
    parts = map_rows(_coded_rows, len(rows), -(-_TASK_VALUES // (d * PANEL)) * PANEL, rows, low, 1 / step)
    return np.concatenate(parts)


def some_rows(block: Block) -> NDArray[np.float64]:
    """Some hundred rows that tell where the columns lie and how wide they are, as float64."""
    return block[:: max(1, len(block) // 250)].astype(np.float64)


def _coded_rows(start, stop, rows, low, scale):
    codes = np.zeros((-(-(stop - start) // PANEL), len(low), PANEL), np.uint8)
    _code(rows[start:stop], low, scale, codes)
    return codes


@njit(cache=True, nogil=True, error_model="numpy")
def _code(rows, low, scale, codes):
    for i in range(rows.shape[0]):
        for f in range(low.shape[0]):
            level = min(max((rows[i, f] - low[f]) * scale, 0.0), LEVELS - 1.0)
            codes[i // PANEL, f, i % PANEL] = np.uint8(int(level))


@njit(cache=True, nogil=True, error_model="numpy")
def reach_of(radius, step):
    """Largest difference of codes that a pair closer than `radius` can have; over MOST_REACH: any."""
    reach = max(radius / step, 0.0) * (1 + _ROUNDING) + _ROUNDING
    return int(reach) + 1 if reach < MOST_REACH else MOST_REACH + 1


@intrinsic
def code_tile(context, queries, limits, panel, features, masks, stride, portable):
    """Set bit j of the masks of a query where the codes of row j of the panel are within its reach.

    `queries` is the address of (features, ROWS) uint32, each four times the byte code - reach; `limits` that of (ROWS,)
    uint32, each four times the byte 2 reach; `panel` that of (features, PANEL) bytes; the masks of query r are WORDS
    uint64 at ``masks + r * stride`` bytes. `portable` asks for the order of work that suits half as wide registers.
    """
    signature = types.void(*[types.intp] * 6, types.boolean)

    def generate(context, builder, signature, args):
        *sizes, portable = args
        if has_byte_lanes():
            with builder.if_else(cgutils.is_true(builder, portable)) as (plainly, fast):
                with plainly:
                    _codes(builder, sizes, 2, 32)
                with fast:
                    _codes(builder, sizes, 4, 64)
        else:
            _codes(builder, sizes, 2, 32)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def set_bits(context, mask):
    """Number of set bits."""
    signature = types.int64(types.uint64)

    def generate(context, builder, signature, args):
        return builder.ctpop(args[0])

    return signature, generate


@intrinsic
def first_bit(context, mask):
    """Index of the lowest set bit; 64 where there is none."""
    signature = types.int64(types.uint64)

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return signature, generate


def has_byte_lanes() -> bool:
    """Whether numba compiles for a processor with 64-byte registers of bytes."""
    return "+avx512bw" in str(cpu_target.target_context.codegen().magic_tuple()[2]).split(",")


def _codes(builder, sizes, vectors, lanes):
    """ROWS x vectors accumulators at a time, over the columns of the panel."""
    queries, limits = (builder.inttoptr(size, _INT32.as_pointer()) for size in sizes[:2])
    panel, features, masks, stride = sizes[2:]
    vector, bits = ir.VectorType(_BYTE, lanes), ir.IntType(lanes)

    def splat(words, at):
        quarter = ir.VectorType(_INT32, lanes // 4)
        empty = ir.Constant(quarter, ir.Undefined)
        one = builder.insert_element(empty, builder.load(builder.gep(words, [at])), _INT32(0))
        return builder.bitcast(builder.shuffle_vector(one, empty, ir.Constant(quarter, [0] * (lanes // 4))), vector)

    for column in range(0, PANEL, vectors * lanes):
        most = [[cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(ROWS)]
        for slots in most:
            for slot in slots:
                builder.store(ir.Constant(vector, [0] * lanes), slot)
        with cgutils.for_range(builder, features, intp=_INT64) as loop:
            start = builder.add(panel, builder.add(builder.mul(loop.index, _INT64(PANEL)), _INT64(column)))
            here = [
                builder.load(builder.inttoptr(builder.add(start, _INT64(v * lanes)), vector.as_pointer()), align=1)
                for v in range(vectors)
            ]
            for r, slots in enumerate(most):
                low = splat(queries, builder.add(builder.mul(loop.index, _INT64(ROWS)), _INT64(r)))
                for slot, code in zip(slots, here, strict=True):
                    above, old = builder.sub(code, low), builder.load(slot)
                    builder.store(builder.select(builder.icmp_unsigned(">", above, old), above, old), slot)
        for r, slots in enumerate(most):
            limit = splat(limits, _INT64(r))
            for v, slot in enumerate(slots):
                near = builder.bitcast(builder.icmp_unsigned("<=", builder.load(slot), limit), bits)
                place = builder.add(
                    masks, builder.add(builder.mul(stride, _INT64(r)), _INT64((column + v * lanes) // 8))
                )
                builder.store(near, builder.inttoptr(place, bits.as_pointer()), align=lanes // 8)
