"""Operations on 32 lanes at once: the points of a tree's leaf against a point or a box, bisections side by side.

A leaf holds its points column by column, one lane a point, ``points[leaf, column, lane]``; lanes beyond the last
point are NaN and take part in nothing, because no comparison with NaN is true. All is written as LLVM
instructions on vectors of 32 values, which LLVM splits into whatever registers the processor has: loops would not be
vectorised here, since the compiler cannot see that the arrays do not overlap. Every operation is the contract's own
(subtract, absolute value, maximum), so results have the reference's bits on every processor.

Arrays are flat, C-contiguous and of one dtype; `leaf` and `point` are flat positions of a leaf's first value and
of a point's first coordinate, `node` the flat position of a node's first bound.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

import miest_kernels.compiling  # noqa: F401, says when something is compiled

LANES = 32

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)
_BITS, _COUNTS = ir.VectorType(ir.IntType(1), LANES), ir.VectorType(_INT64, LANES)


@intrinsic
def insert_lanes(context, points, leaf, point, columns, best, slots):
    """Offer a point to the sorted lists of all lanes, ``best[slot, lane]``; whether any list took it."""

    def generate(context, builder, signature, args):
        data, best = _data(context, builder, signature, args, 0), _data(context, builder, signature, args, 4)
        far = _apart(builder, data, *args[1:4])
        rows = builder.sub(args[5], _INT64(1))
        worst = _lanes(builder, best, builder.mul(rows, _INT64(LANES)))
        closer = _mask(builder, builder.fcmp_ordered("<", far, worst))
        taken = builder.icmp_unsigned("!=", closer, _INT32(0))
        with builder.if_then(taken):
            carried = cgutils.alloca_once_value(builder, far)
            with cgutils.for_range(builder, args[5], intp=_INT64) as loop:
                at = builder.mul(loop.index, _INT64(LANES))
                here, new = _lanes(builder, best, at), builder.load(carried)
                before = builder.fcmp_ordered("<", new, here)
                _keep(builder, builder.select(before, new, here), best, at)
                builder.store(builder.select(before, here, new), carried)
        return taken

    return types.boolean(points, types.intp, types.intp, types.intp, best, types.intp), generate


@intrinsic
def distances_below(context, points, leaf, point, columns, limit, out):
    """Distances of the lanes to a point, written to `out`, and the mask of those ``< limit``."""

    def generate(context, builder, signature, args):
        far = _apart(builder, _data(context, builder, signature, args, 0), *args[1:4])
        _keep(builder, far, _data(context, builder, signature, args, 5), _INT64(0))
        return _mask(builder, builder.fcmp_ordered("<", far, _splat(builder, args[4])))

    return types.uint32(points, types.intp, types.intp, types.intp, points.dtype, out), generate


@intrinsic
def lanes_within(context, points, leaf, point, columns, limit):
    """Mask of the lanes at distance ``<= limit`` from a point; `limit` is one float or ``limit[lane]``."""

    def generate(context, builder, signature, args):
        far = _apart(builder, _data(context, builder, signature, args, 0), *args[1:4])
        return _mask(builder, builder.fcmp_ordered("<=", far, _limit(context, builder, signature, args, 4)))

    return types.uint32(points, types.intp, types.intp, types.intp, limit), generate


@intrinsic
def count_lanes(context, points, leaf, point, columns, limits, lanes, counts):
    """Add one to the counts of those `lanes` that are at distance ``<= limits[lane]`` from a point."""

    def generate(context, builder, signature, args):
        far = _apart(builder, _data(context, builder, signature, args, 0), *args[1:4])
        inside = builder.fcmp_ordered("<=", far, _limit(context, builder, signature, args, 4))
        inside = builder.and_(inside, builder.bitcast(args[5], _BITS))
        counts = _data(context, builder, signature, args, 6)
        total = builder.add(_lanes(builder, counts, _INT64(0)), builder.zext(inside, _COUNTS))
        _keep(builder, total, counts, _INT64(0))
        return context.get_dummy_value()

    return types.void(points, types.intp, types.intp, types.intp, limits, types.uint32, counts), generate


@intrinsic
def add_lanes(context, counts, lanes, number):
    """Add a number to the int64 counts of those lanes."""

    def generate(context, builder, signature, args):
        counts = _data(context, builder, signature, args, 0)
        before = _lanes(builder, counts, _INT64(0))
        after = builder.add(before, _splat(builder, args[2]))
        _keep(builder, builder.select(builder.bitcast(args[1], _BITS), after, before), counts, _INT64(0))
        return context.get_dummy_value()

    return types.void(counts, types.uint32, types.int64), generate


@intrinsic
def gaps_below(context, points, leaf, low, high, node, columns, limits, slot):
    """Mask of the lanes whose distance to a node's box is ``< limits[slot, lane]``."""

    def generate(context, builder, signature, args):
        gap, _ = _box(context, builder, signature, args)
        limits = _lanes(builder, _data(context, builder, signature, args, 6), builder.mul(args[7], _INT64(LANES)))
        return _mask(builder, builder.fcmp_ordered("<", gap, limits))

    return types.uint32(points, types.intp, low, high, types.intp, types.intp, limits, types.intp), generate


@intrinsic
def gaps_within(context, points, leaf, low, high, node, columns, limit):
    """Mask of the lanes whose distance to a node's box is ``<= limit``."""

    def generate(context, builder, signature, args):
        gap, _ = _box(context, builder, signature, args)
        return _mask(builder, builder.fcmp_ordered("<=", gap, _splat(builder, args[6])))

    return types.uint32(points, types.intp, low, high, types.intp, types.intp, points.dtype), generate


@intrinsic
def box_within(context, points, leaf, low, high, node, columns, limits):
    """Mask of the lanes from which some of a box is ``<= limits[lane]`` away, and of those from which all is.

    Exact at both ends, since a difference of coordinates is rounded once, and rounding keeps order.
    """

    def generate(context, builder, signature, args):
        gap, reach = _box(context, builder, signature, args)
        limits = _limit(context, builder, signature, args, 6)
        some, every = (_mask(builder, builder.fcmp_ordered("<=", edge, limits)) for edge in (gap, reach))
        return context.make_tuple(builder, signature.return_type, [some, every])

    masks = types.UniTuple(types.uint32, 2)
    return masks(points, types.intp, low, high, types.intp, types.intp, limits), generate


@intrinsic
def advance(context, values, ends, step, here, limits):
    """Move by `step`, no further than the array goes, those ends at which ``values[end]`` will not be too far.

    One step of 32 bisections, to the right or to the left: too far is a difference ``> limits[lane]`` from
    ``here[lane]`` *in that direction*. Says whether an end has moved. Ends are int64.
    """

    def generate(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        last = builder.sub(builder.extract_value(array.shape, 0), _INT64(1))
        ends, here, limits = (_data(context, builder, signature, args, i) for i in (1, 3, 4))
        before, here, limits = (_lanes(builder, data, _INT64(0)) for data in (ends, here, limits))
        after = builder.add(before, _splat(builder, args[2]))
        for relation, bound in ((">", last), ("<", _INT64(0))):
            bound = _splat(builder, bound)
            after = builder.select(builder.icmp_signed(relation, after, bound), bound, after)
        there = _gather(builder, array.data, after)
        left = builder.icmp_signed("<", args[2], _INT64(0))
        far = builder.select(left, builder.fsub(here, there), builder.fsub(there, here))
        near = builder.fcmp_ordered("<=", far, limits)
        _keep(builder, builder.select(near, after, before), ends, _INT64(0))
        moved = builder.and_(near, builder.icmp_signed("!=", after, before))
        return builder.icmp_unsigned("!=", _mask(builder, moved), _INT32(0))

    return types.boolean(values, ends, types.int64, here, limits), generate


@intrinsic
def largest(context, values, slot):
    """Largest of the 32 values ``values[slot]``, none of them NaN."""

    def generate(context, builder, signature, args):
        at = builder.mul(args[1], _INT64(LANES))
        values = _lanes(builder, _data(context, builder, signature, args, 0), at)
        width = LANES
        while width > 1:
            width //= 2
            halves = (
                builder.shuffle_vector(values, values, ir.Constant(ir.VectorType(_INT32, width), lanes))
                for lanes in ([*range(width)], [*range(width, 2 * width)])
            )
            values = _larger(builder, *halves)
        return builder.extract_element(values, _INT32(0))

    return values.dtype(values, types.intp), generate


@intrinsic
def ranks(context, values, first, count, out):
    """Write to the bytes ``out`` at which place each of ``values[first : first + count]`` stands when they are sorted.

    At most 32 values; equal ones stay as they are. Reads 32 values and writes 32 bytes, whatever the count.
    """

    def generate(context, builder, signature, args):
        data, out = _data(context, builder, signature, args, 0), _data(context, builder, signature, args, 3)
        here = _lanes(builder, data, args[1])
        bytes_ = ir.VectorType(ir.IntType(8), LANES)
        lane, total = (
            ir.Constant(bytes_, [*range(LANES)]),
            cgutils.alloca_once_value(builder, ir.Constant(bytes_, None)),
        )
        with cgutils.for_range(builder, args[2], intp=_INT64) as loop:
            other = _splat(builder, builder.load(builder.gep(data, [builder.add(args[1], loop.index)])))
            later = builder.icmp_unsigned(">", lane, _splat(builder, builder.trunc(loop.index, ir.IntType(8))))
            below, equal = (builder.fcmp_ordered(relation, other, here) for relation in ("<", "<="))
            before = builder.zext(builder.select(later, equal, below), bytes_)
            builder.store(builder.add(builder.load(total), before), total)
        builder.store(builder.load(total), builder.bitcast(out, bytes_.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(values, types.intp, types.intp, out), generate


@intrinsic
def bits(context, mask):
    """Number of set bits."""

    def generate(context, builder, signature, args):
        return builder.zext(builder.ctpop(args[0]), _INT64)

    return types.int64(types.uint32), generate


@intrinsic
def lowest(context, mask):
    """Index of the lowest set bit of a mask that is not 0."""

    def generate(context, builder, signature, args):
        return builder.zext(builder.cttz(args[0], ir.Constant(ir.IntType(1), 1)), _INT64)

    return types.int64(types.uint32), generate


def _apart(builder, data, leaf, point, columns):
    """Max-norm distances of the lanes to a point; the first column starts it, so that a NaN stays one."""

    def column(index):
        offset = builder.mul(index, _INT64(LANES))
        there = builder.load(builder.gep(data, [builder.add(point, offset)]))
        return _magnitude(
            builder, builder.fsub(_lanes(builder, data, builder.add(leaf, offset)), _splat(builder, there))
        )

    far = cgutils.alloca_once_value(builder, column(_INT64(0)))
    with cgutils.for_range_slice(builder, _INT64(1), columns, _INT64(1), intp=_INT64) as (index, _):
        builder.store(_larger(builder, column(index), builder.load(far)), far)
    return builder.load(far)


def _box(context, builder, signature, args):
    """Distances of the lanes to the nearest and to the farthest corner of a box."""
    data, low, high = (_data(context, builder, signature, args, i) for i in (0, 2, 3))
    leaf, node, columns = args[1], args[4], args[5]

    def column(index):
        values = _lanes(builder, data, builder.add(leaf, builder.mul(index, _INT64(LANES))))
        at = builder.add(node, index)
        least, most = (_splat(builder, builder.load(builder.gep(bound, [at]))) for bound in (low, high))
        below, above = builder.fsub(least, values), builder.fsub(values, most)
        outside = _larger(builder, ir.Constant(values.type, [0.0] * LANES), _larger(builder, below, above))
        # |v - least| or |v - most|, whichever is larger, is the larger of these: the box has least <= most.
        return outside, _larger(builder, builder.fsub(values, least), builder.fsub(most, values))

    gap, reach = (cgutils.alloca_once_value(builder, edge) for edge in column(_INT64(0)))
    with cgutils.for_range_slice(builder, _INT64(1), columns, _INT64(1), intp=_INT64) as (index, _):
        for new, slot in zip(column(index), (gap, reach), strict=True):
            builder.store(_larger(builder, new, builder.load(slot)), slot)
    return builder.load(gap), builder.load(reach)


def _limit(context, builder, signature, args, which):
    if isinstance(signature.args[which], types.Array):
        return _lanes(builder, _data(context, builder, signature, args, which), _INT64(0))
    return _splat(builder, args[which])


def _data(context, builder, signature, args, which):
    return context.make_array(signature.args[which])(context, builder, args[which]).data


def _lanes(builder, data, offset):
    kind = ir.VectorType(data.type.pointee, LANES).as_pointer()
    return builder.load(builder.bitcast(builder.gep(data, [offset]), kind), align=_width(data.type.pointee))


def _keep(builder, values, data, offset):
    at = builder.bitcast(builder.gep(data, [offset]), values.type.as_pointer())
    builder.store(values, at, align=_width(data.type.pointee))


def _width(element):
    return 4 if element == ir.FloatType() else 8  # bytes of a float32, or of a float64 or int64


def _splat(builder, value):
    empty = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    first = builder.insert_element(empty, value, _INT32(0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES))


def _magnitude(builder, values):
    name = f"llvm.fabs.v{LANES}f{8 * _width(values.type.element)}"
    kind = ir.FunctionType(values.type, [values.type])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [values])


def _gather(builder, data, index):
    element = data.type.pointee
    values, places = ir.VectorType(element, LANES), ir.VectorType(element.as_pointer(), LANES)
    bytes_ = builder.mul(index, ir.Constant(index.type, [_width(element)] * LANES))
    places_at = builder.inttoptr(builder.add(bytes_, _splat(builder, builder.ptrtoint(data, _INT64))), places)
    kind = ir.FunctionType(values, [places, _INT32, _BITS, values])
    name = f"llvm.masked.gather.v{LANES}f{8 * _width(element)}.v{LANES}p0"
    gather = cgutils.get_or_insert_function(builder.module, kind, name)
    every, none = ir.Constant(_BITS, [1] * LANES), ir.Constant(values, ir.Undefined)
    return builder.call(gather, [places_at, _INT32(_width(element)), every, none])


def _larger(builder, a, b):
    # One instruction (vmaxpd); where b is NaN it stays.
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _mask(builder, inside):
    return builder.bitcast(inside, _INT32)
