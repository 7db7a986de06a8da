"""Vector micro-kernels under the CPU backends: a tile of max-norm distances, and what is read from its rows.

They are written as LLVM instructions, because loops do not reach the arithmetic pipes: the maximum of floats is not
vectorised without fast-math, and no compiler keeps a tile of 6 x 4 vectors in registers by itself. A tile takes `ROWS`
query rows and a *panel* of `panel_rows` data rows, features before rows, so that one load serves six queries::

    queries (features, ROWS)    panel (features, panel_rows)    ->    distances (ROWS, panel_rows)

Two versions give the same bits. On AVX-512 the difference is one fused multiply-add, q * -1 + x, which is exact, and
``vrange`` takes the larger magnitude of two in one instruction; the two go to different pipes where there are enough.
Elsewhere (AVX2, ARM) it is subtract, absolute value, maximum, on vectors of any width that LLVM splits as it must.

Everything takes addresses, so that one compilation serves arrays of any mutability. Functions compiled on disk do not
notice a change of this file: delete ``__pycache__`` after editing it.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

import miest_kernels.compiling  # noqa: F401, says when something is compiled

ROWS = 6  # query rows to a tile: 6 x 4 accumulators, 4 panel vectors and a query fill 32 registers
LANES = 64  # width of the masks of `lanes_below`
_VECTORS = 4  # 64-byte vectors to a panel row

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)


def panel_rows(dtype: np.dtype) -> int:
    """Data rows to a panel: four 64-byte vectors."""
    return _VECTORS * 64 // dtype.itemsize


def has_avx512() -> bool:
    """Whether numba compiles for a processor with the AVX-512 instructions that the fast tile needs."""
    return "+avx512dq" in str(cpu_target.target_context.codegen().magic_tuple()[2]).split(",")


@intrinsic
def max_norm_tile(context, queries, panel, out, stride, features, minus_one, portable):
    """Distances of ROWS queries to a panel; row r goes to ``out + r * stride``.

    Addresses and sizes are intp, sizes count elements; `minus_one` is -1 in the dtype of the data (a compiler that
    knew its value would undo the fused multiply-add); `portable` is a bool that asks for the version without AVX-512.
    """
    signature = types.void(*[types.intp] * 5, minus_one, types.boolean)

    def generate(context, builder, signature, args):
        *sizes, minus_one, portable = args
        element = minus_one.type
        lanes = 64 // _bytes(element)
        if has_avx512():
            with builder.if_else(cgutils.is_true(builder, portable)) as (plainly, fast):
                with plainly:
                    _tile(builder, element, sizes, 2, lanes // 2, _plain(builder, element, lanes // 2))
                with fast:
                    _tile(builder, element, sizes, 4, lanes, _ranged(builder, element, lanes, minus_one))
        else:
            _tile(builder, element, sizes, 2, lanes // 2, _plain(builder, element, lanes // 2))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def lane_minima(context, distances, stride, blocks, out, minus_one):
    """Joint distances of one row to one panel, and of each four a minimum: one 64-byte vector to `out`.

    The blocks' distances begin at ``distances + b * stride``; the joint distance is their maximum. Lane l of `out` is
    the minimum over data rows l, l + lanes, l + 2 lanes and l + 3 lanes of the panel.
    """
    signature = types.void(*[types.intp] * 4, minus_one)

    def generate(context, builder, signature, args):
        element = args[4].type
        lanes = 64 // _bytes(element)
        start, out = (builder.inttoptr(args[i], element.as_pointer()) for i in (0, 3))
        joint = [cgutils.alloca_once(builder, ir.VectorType(element, lanes)) for _ in range(_VECTORS)]
        for v, slot in enumerate(joint):
            builder.store(_load(builder, start, _INT64(v * lanes), lanes), slot)
        with cgutils.for_range_slice(builder, _INT64(1), args[2], _INT64(1), intp=_INT64) as (block, _):
            at = builder.mul(block, args[1])
            for v, slot in enumerate(joint):
                single = _load(builder, start, builder.add(at, _INT64(v * lanes)), lanes)
                builder.store(_pick(builder, ">", single, builder.load(slot)), slot)
        low, high = (_pick(builder, "<", *map(builder.load, pair)) for pair in (joint[:2], joint[2:]))
        _store(builder, _pick(builder, "<", low, high), out, _INT64(0))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def lanes_below(context, values, limit):
    """Bit i is set where value i of the `LANES` at this address is ``< limit``."""
    signature = types.int64(types.intp, limit)

    def generate(context, builder, signature, args):
        values = _load(builder, builder.inttoptr(args[0], args[1].type.as_pointer()), _INT64(0), LANES)
        below = builder.fcmp_ordered("<", values, _splat(builder, args[1], LANES))
        return builder.bitcast(below, _INT64)

    return signature, generate


@intrinsic
def lowest_bit(context, mask):
    """Index of the lowest set bit of a mask that is not 0."""
    signature = types.int64(types.int64)

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return signature, generate


@intrinsic
def count_below(context, values, vectors, limit):
    """How many of ``vectors`` x 4 x 64 bytes of values are ``< limit``."""
    signature = types.int64(types.intp, types.intp, limit)

    def generate(context, builder, signature, args):
        element = args[2].type
        lanes = 64 // _bytes(element)
        counter = ir.VectorType(ir.IntType(8 * _bytes(element)), lanes)
        start, limit = builder.inttoptr(args[0], element.as_pointer()), _splat(builder, args[2], lanes)
        counts = [cgutils.alloca_once_value(builder, ir.Constant(counter, [0] * lanes)) for _ in range(_VECTORS)]
        with cgutils.for_range(builder, args[1], intp=_INT64) as loop:
            at = builder.mul(loop.index, _INT64(_VECTORS * lanes))
            for v, slot in enumerate(counts):
                values = _load(builder, start, builder.add(at, _INT64(v * lanes)), lanes)
                inside = builder.sext(builder.fcmp_ordered("<", values, limit), counter)  # -1 where it is
                builder.store(builder.sub(builder.load(slot), inside), slot)
        low, high = (builder.add(*map(builder.load, pair)) for pair in (counts[:2], counts[2:]))
        total = _call(builder, "llvm.vector.reduce.add", counter.element, builder.add(low, high))
        return builder.zext(total, _INT64) if counter.element != _INT64 else total

    return signature, generate


@intrinsic
def row_distance(context, a, b, vectors, minus_one):
    """Max-norm distance of the rows at two addresses, of ``vectors`` x 64 bytes each, in the dtype of `minus_one`."""
    signature = minus_one(types.intp, types.intp, types.intp, minus_one)

    def generate(context, builder, signature, args):
        element = args[3].type
        lanes = 64 // _bytes(element)
        a, b = (builder.inttoptr(address, element.as_pointer()) for address in args[:2])
        update = _plain(builder, element, lanes)
        far = cgutils.alloca_once_value(builder, ir.Constant(ir.VectorType(element, lanes), [0.0] * lanes))
        with cgutils.for_range(builder, args[2], intp=_INT64) as loop:
            at = builder.mul(loop.index, _INT64(lanes))
            ends = _load(builder, a, at, lanes), _load(builder, b, at, lanes)
            builder.store(update(*ends, builder.load(far)), far)
        far = builder.load(far)
        while lanes > 1:  # the upper half onto the lower
            lanes //= 2
            lower, upper = (ir.Constant(ir.VectorType(_INT32, lanes), list(range(h, h + lanes))) for h in (0, lanes))
            far = _pick(builder, ">", *(builder.shuffle_vector(far, far, half) for half in (lower, upper)))
        return builder.extract_element(far, _INT32(0))

    return signature, generate


@intrinsic
def row_below(context, a, b, vectors, limit):
    """1 where the max-norm distance of the rows at two addresses, of ``vectors`` x 64 bytes each, is ``< limit``."""
    signature = types.int64(types.intp, types.intp, types.intp, limit)

    def generate(context, builder, signature, args):
        element = args[3].type
        lanes = 64 // _bytes(element)
        a, b = (builder.inttoptr(address, element.as_pointer()) for address in args[:2])

        def apart(at):
            gap = builder.fsub(_load(builder, a, at, lanes), _load(builder, b, at, lanes))
            return _call(builder, "llvm.fabs", gap.type, gap)

        def beyond(far):
            outside = builder.fcmp_unordered(">=", far, _splat(builder, args[3], lanes))  # NaN: nothing is below
            whole = ir.IntType(lanes)
            return builder.icmp_unsigned("!=", builder.bitcast(outside, whole), whole(0))

        def part_beyond(first):
            far = cgutils.alloca_once_value(builder, apart(builder.mul(first, _INT64(lanes))))
            start, stop = (builder.add(first, _INT64(more)) for more in (1, _VECTORS))
            stop = builder.select(builder.icmp_signed("<", stop, args[2]), stop, args[2])
            with cgutils.for_range_slice(builder, start, stop, _INT64(1), intp=_INT64) as (index, _):
                here = apart(builder.mul(index, _INT64(lanes)))
                builder.store(_pick(builder, ">", here, builder.load(far)), far)
            return beyond(builder.load(far))

        out = cgutils.alloca_once_value(builder, part_beyond(_INT64(0)))  # most rows are one part: no loop for it
        parts = builder.udiv(builder.sub(args[2], _INT64(1)), _INT64(_VECTORS))
        with cgutils.for_range(builder, parts, intp=_INT64) as part:
            with builder.if_then(builder.load(out)):  # which the first columns of wide rows mostly tell
                part.do_break()
            first = builder.mul(builder.add(part.index, _INT64(1)), _INT64(_VECTORS))
            builder.store(part_beyond(first), out)
        return builder.zext(builder.not_(builder.load(out)), _INT64)

    return signature, generate


@njit(cache=True, nogil=True, error_model="numpy")
def replace_first(heap, value):
    """Drop the largest value, which a heap holds first, and take in a smaller one."""
    at, k = 0, heap.shape[0]
    while True:
        child = 2 * at + 1
        if child + 1 < k and heap[child + 1] > heap[child]:
            child += 1
        if child >= k or heap[child] <= value:
            heap[at] = value
            return
        heap[at] = heap[child]
        at = child


def _tile(builder, element, sizes, vectors, lanes, update):
    """ROWS x vectors accumulators at a time, over the columns of the panel; `update` is one feature's work."""
    queries, panel, out = (builder.inttoptr(size, element.as_pointer()) for size in sizes[:3])
    stride, features = sizes[3:]
    vector = ir.VectorType(element, lanes)
    wide = _VECTORS * 64 // _bytes(element)
    for column in range(0, wide, vectors * lanes):
        far = [[cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(ROWS)]
        for slots in far:
            for slot in slots:
                builder.store(ir.Constant(vector, [0.0] * lanes), slot)
        with cgutils.for_range(builder, features, intp=_INT64) as loop:
            at = builder.add(builder.mul(loop.index, _INT64(wide)), _INT64(column))
            here = [_load(builder, panel, builder.add(at, _INT64(v * lanes)), lanes) for v in range(vectors)]
            query = builder.gep(queries, [builder.mul(loop.index, _INT64(ROWS))])
            for r, slots in enumerate(far):
                there = _splat(builder, builder.load(builder.gep(query, [_INT64(r)])), lanes)
                for slot, x in zip(slots, here, strict=True):
                    builder.store(update(there, x, builder.load(slot)), slot)
        for r, slots in enumerate(far):
            for v, slot in enumerate(slots):
                at = builder.add(builder.mul(stride, _INT64(r)), _INT64(column + v * lanes))
                _store(builder, builder.load(slot), out, at)


def _plain(builder, element, lanes):
    def update(query, x, far):
        apart = _call(builder, "llvm.fabs", ir.VectorType(element, lanes), builder.fsub(x, query))
        return _pick(builder, ">", apart, far)

    return update


def _ranged(builder, element, lanes, minus_one):
    vector, mask = ir.VectorType(element, lanes), ir.IntType(lanes)
    kind = ir.FunctionType(vector, [vector, vector, _INT32, vector, mask, _INT32])
    suffix = "ps" if element == ir.FloatType() else "pd"
    vrange = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx512.mask.range.{suffix}.512")
    minus, zero = _splat(builder, minus_one, lanes), ir.Constant(vector, [0.0] * lanes)

    def update(query, x, far):
        apart = _call(builder, "llvm.fma", vector, query, minus, x)
        # 0b1011: the larger magnitude of the two, sign cleared; every lane; 4: the current rounding
        return builder.call(vrange, [far, apart, _INT32(0b1011), zero, ir.Constant(mask, -1), _INT32(4)])

    return update


def _bytes(element):
    return 4 if element == ir.FloatType() else 8


def _load(builder, start, offset, lanes):
    element = start.type.pointee
    at = builder.bitcast(builder.gep(start, [offset]), ir.VectorType(element, lanes).as_pointer())
    return builder.load(at, align=_bytes(element))


def _store(builder, value, start, offset):
    at = builder.bitcast(builder.gep(start, [offset]), value.type.as_pointer())
    builder.store(value, at, align=_bytes(value.type.element))


def _splat(builder, value, lanes):
    empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(empty, value, _INT32(0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(_INT32, lanes), [0] * lanes))


def _pick(builder, relation, a, b):
    # Compare and select is one instruction (vmaxps, vminps), and no distance is a NaN or a negative zero.
    return builder.select(builder.fcmp_ordered(relation, a, b), a, b)


def _call(builder, name, returned, *args):
    vector = args[0].type
    letter = "i" if isinstance(vector.element, ir.IntType) else "f"
    function = ir.FunctionType(returned, [arg.type for arg in args])
    name = f"{name}.v{vector.count}{letter}{8 * _bytes(vector.element) if letter == 'f' else vector.element.width}"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), args)
