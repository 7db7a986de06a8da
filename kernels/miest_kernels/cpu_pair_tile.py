"""Register tiles of all-pairs sums: 6 points against a panel of 4 vectors of points, written as LLVM vectors.

Plain loops leave most of a core idle. Here the coordinates of one point are broadcast against four vectors of
others while 24 sums stay in registers; the finished tile goes to a buffer in the first-level cache, where the
functions at the end turn it into exponentials and their sums.

The vectors are 64 bytes in the code, which LLVM maps to what the processor has: one register with AVX-512, two with
AVX2, four on ARM. No instruction of one processor is used and every order of summation is written down, so that
all processors with fused multiply-add get the same bits.

What a tile holds is told by the *type* of the first argument, `Gram`, `Difference`, `Square` or `Largest`; its
value is not used. So numba compiles each block once a type, and keeps it on disk. Functions compiled on disk do not
notice a change of this file: delete ``__pycache__`` after editing it.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

import miest_kernels.compiling  # noqa: F401, says when something is compiled

ROWS = 6  # points of the left side of a tile
VECTORS = 4  # vectors of points of the right side
GROUP = 192  # points packed together: a multiple of 6 rows and of both panels, 64 and 32 points


class Gram(NamedTuple):
    """Sum of products."""

    form: int = 0


class Difference(NamedTuple):
    """Minus the sum of squared differences, with fused multiply-add where there is one."""

    form: int = 0


class Square(NamedTuple):
    """Sum of squared differences in column order, each operation rounded: the same bits on every machine."""

    form: int = 0


class Largest(NamedTuple):
    """Largest absolute difference: the same bits on every machine."""

    form: int = 0


def panel(dtype: np.dtype[np.floating]) -> int:
    """Points of the right side of a tile: four vectors of 64 bytes."""
    return VECTORS * 64 // dtype.itemsize


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only, contiguous view: numba compiles once for it, whatever the caller or a worker holds."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


class Emit:
    """The vector operations of one element type."""

    def __init__(self, builder: Any, element: types.Type) -> None:
        self.builder, self.single = builder, element == types.float32
        self.size = 4 if self.single else 8
        self.lanes = 64 // self.size
        self.scalar = ir.FloatType() if self.single else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.suffix = "v16f32" if self.single else "v8f64"

    def constant(self, value: float) -> Any:
        """A vector of one value."""
        return ir.Constant(self.vector, [float(np.float32(value)) if self.single else value] * self.lanes)

    def call(self, name: str, *args: Any, result: Any = None) -> Any:
        """Call an LLVM intrinsic."""
        kind = ir.FunctionType(result or self.vector, [a.type for a in args])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), args)

    def at(self, base: Any, index: Any, kind: Any) -> Any:
        """Address of element `index`."""
        offset = self.builder.mul(index, ir.Constant(index.type, self.size))
        return cgutils.pointer_add(self.builder, base, offset, return_type=kind.as_pointer())

    def load(self, base: Any, index: Any) -> Any:
        """The vector that starts at element `index`."""
        got = self.builder.load(self.at(base, index, self.vector))
        got.align = self.size
        return got

    def store(self, value: Any, base: Any, index: Any) -> None:
        """Write a vector from element `index` on."""
        self.builder.store(value, self.at(base, index, self.vector)).align = self.size

    def add_to(self, value: Any, base: Any, index: Any) -> None:
        """Add a vector to those in memory."""
        self.store(self.builder.fadd(self.load(base, index), value), base, index)

    def splat(self, scalar: Any) -> Any:
        """A vector of copies of a scalar."""
        one = self.builder.insert_element(ir.Constant(self.vector, ir.Undefined), scalar, ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, ir.Constant(self.vector, ir.Undefined), lanes)

    def splat_at(self, base: Any, index: Any) -> Any:
        """A vector of copies of element `index`."""
        got = self.builder.load(self.at(base, index, self.scalar))
        got.align = self.size
        return self.splat(got)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Sum a * b + c, rounded once where the processor can."""
        return self.call(f"llvm.fmuladd.{self.suffix}", a, b, c)

    def larger(self, a: Any, b: Any) -> Any:
        """Either a where a > b, or b, which is also the answer where a is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def exp2(self, t: Any) -> Any:
        """2^t for t <= about 0, never below 2^-125 or 2^-1021; relative error 2e-7 or 1e-13.

        Adding 1.5 * 2^23 rounds t to an integer, which is then also what the last bits of the sum hold; shifted
        to the place of the exponent they multiply the polynomial of the rest by the power of two.
        """
        bits, mantissa = (32, 23) if self.single else (64, 52)
        whole = ir.VectorType(ir.IntType(bits), self.lanes)
        t = self.larger(t, self.constant(-125.0 if self.single else -1021.0))
        shifter = self.constant(1.5 * 2.0**mantissa)
        shifted = self.builder.fadd(t, shifter)
        rest = self.builder.fsub(t, self.builder.fsub(shifted, shifter))
        coefficients = _exp2_polynomial(5 if self.single else 9)
        value = self.constant(coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            value = self.fma(value, rest, self.constant(coefficient))
        power = self.builder.shl(self.builder.bitcast(shifted, whole), ir.Constant(whole, [mantissa] * self.lanes))
        return self.builder.bitcast(self.builder.add(self.builder.bitcast(value, whole), power), self.vector)


@lru_cache(maxsize=2)
def _exp2_polynomial(degree: int) -> tuple[float, ...]:
    """Coefficients of 2^f on [-1/2, 1/2], interpolated at Chebyshev nodes (near the best); 2^0 is exactly 1."""
    nodes = np.cos(np.pi * (np.arange(degree) + 0.5) / degree) / 2
    slopes = np.linalg.solve(np.vander(nodes, increasing=True), np.expm1(nodes * np.log(2)) / nodes)
    return (1.0, *(float(c) for c in slopes))


def data_of(context: Any, builder: Any, kind: types.Array, value: Any) -> Any:
    """Pointer to the first element of an array argument of an intrinsic."""
    return context.make_array(kind)(context, builder, value=value).data


@intrinsic
def tile(typing, form, left, row, right, column, out):
    """Fill out (6, panel) with `form` of left[row] (depth, 6) and right[column] (depth, panel)."""
    signature = types.void(form, left, types.intp, right, types.intp, out)

    def generate(context, builder, signature, args):
        emit, shape = Emit(builder, left.dtype), form.instance_class

        def term(points, vector, old):
            if shape is Gram:
                return emit.fma(points[0], vector, old)
            gap = builder.fsub(points[0], vector)
            if shape is Difference:
                return emit.fma(builder.fneg(gap), gap, old)
            if shape is Square:
                return builder.fadd(old, builder.fmul(gap, gap))
            return emit.larger(emit.call(f"llvm.fabs.{emit.suffix}", gap), old)

        _fill_tile(context, builder, emit, [(left, args[1])], args[2], (right, args[3]), args[4], (out, args[5]), term)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def cross_tile(typing, left, weights, row, right, column, out):
    """Fill out (6, panel) with sum_k weights[row, k] (left[row, k] - right[column, k]); see `tile`."""
    signature = types.void(left, weights, types.intp, right, types.intp, out)

    def generate(context, builder, signature, args):
        emit = Emit(builder, left.dtype)

        def term(points, vector, old):
            return emit.fma(points[1], builder.fsub(points[0], vector), old)

        lefts = [(left, args[0]), (weights, args[1])]
        _fill_tile(context, builder, emit, lefts, args[2], (right, args[3]), args[4], (out, args[5]), term)
        return context.get_dummy_value()

    return signature, generate


def _fill_tile(context, builder, emit, lefts, row, right, column, out, term):
    """Emit the loop over columns; term(points of the left sides, vector of the right side, old) gives the new sum."""
    word = ir.IntType(64)
    sides = [context.make_array(kind)(context, builder, value=value) for kind, value in lefts]
    depth = builder.extract_value(sides[0].shape, 1)
    x, o = (data_of(context, builder, *array) for array in (right, out))
    width = VECTORS * emit.lanes
    q_start = builder.mul(builder.mul(row, depth), word(ROWS))
    x_start = builder.mul(builder.mul(column, depth), word(width))
    sums = [[cgutils.alloca_once(builder, emit.vector) for _ in range(VECTORS)] for _ in range(ROWS)]
    for one in (s for line in sums for s in line):
        builder.store(emit.constant(0.0), one)
    with cgutils.for_range(builder, depth, intp=word) as loop:
        x_at = builder.add(x_start, builder.mul(loop.index, word(width)))
        q_at = builder.add(q_start, builder.mul(loop.index, word(ROWS)))
        vectors = [emit.load(x, builder.add(x_at, word(v * emit.lanes))) for v in range(VECTORS)]
        for r in range(ROWS):
            points = [emit.splat_at(side.data, builder.add(q_at, word(r))) for side in sides]
            for v in range(VECTORS):
                builder.store(term(points, vectors[v], builder.load(sums[r][v])), sums[r][v])
    for r in range(ROWS):
        for v in range(VECTORS):
            emit.store(builder.load(sums[r][v]), o, word(r * width + v * emit.lanes))


@intrinsic
def add_exponentials(typing, values, scale, rows, row_at, columns, column_at):
    """Add e = 2^(scale * values[r, c]) to lane sums of the rows and to sums of the columns.

    No value is positive. rows and columns are flat; those of the tile start at row_at (6 x lanes) and column_at.
    """
    signature = types.void(values, values.dtype, rows, types.intp, columns, types.intp)

    def generate(context, builder, signature, args):
        rows, columns = (data_of(context, builder, signature.args[k], args[k]) for k in (2, 4))
        _exponentials(context, builder, signature, args, [(rows, args[3], columns, args[5])])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_exponential_pairs(typing, values, scale, rows, row_at, columns, column_at, row_at_4, column_at_4):
    """`add_exponentials` of e, and of e^4 (a quarter of the variance) at row_at_4 and column_at_4."""
    i = types.intp
    signature = types.void(values, values.dtype, rows, i, columns, i, i, i)

    def generate(context, builder, signature, args):
        rows, columns = (data_of(context, builder, signature.args[k], args[k]) for k in (2, 4))
        places = [(rows, args[3], columns, args[5]), (rows, args[6], columns, args[7])]
        _exponentials(context, builder, signature, args, places)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_row_exponentials(typing, values, scale, maxima, rows):
    """Add 2^(scale * (values[r, c] - maxima[r])) to lane sums of the rows; no value is above its maximum."""
    signature = types.void(values, values.dtype, maxima, rows)

    def generate(context, builder, signature, args):
        best, rows = (data_of(context, builder, signature.args[k], args[k]) for k in (2, 3))
        _exponentials(context, builder, signature, args, [(rows, ir.IntType(64)(0), None, None)], best)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_row_exponential_pairs(typing, values, scale, rows, row_at, row_at_4):
    """Add e = 2^(scale * values[r, c]) to lane sums of the rows at row_at, and e^4 to those at row_at_4."""
    i = types.intp
    signature = types.void(values, values.dtype, rows, i, i)

    def generate(context, builder, signature, args):
        rows = data_of(context, builder, signature.args[2], args[2])
        places = [(rows, args[3], None, None), (rows, args[4], None, None)]
        _exponentials(context, builder, signature, args, places)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_tilted_exponentials(typing, values, scale, tilts, tilt, maxima, maximum_at, rows, row_at):
    """Add 2^(scale * values[r, c] + tilt * tilts[r, c] - maximum) to lane sums of the rows, and raise the maxima.

    maxima and rows are flat; those of the tile start at maximum_at (6) and row_at (6 x lanes). Where a maximum rises,
    its sums so far shrink to match, so that they hold for the maximum found beside them.
    """
    i = types.intp
    signature = types.void(values, values.dtype, tilts, values.dtype, maxima, i, rows, i)

    def generate(context, builder, signature, args):
        emit, word = Emit(builder, values.dtype), ir.IntType(64)
        first, second, best, sums = (data_of(context, builder, signature.args[k], args[k]) for k in (0, 2, 4, 6))
        scale, tilt, width = emit.splat(args[1]), emit.splat(args[3]), VECTORS * emit.lanes
        for r in range(ROWS):
            powers = []
            top = emit.constant(-math.inf)
            for v in range(VECTORS):
                at = word(r * width + v * emit.lanes)
                powers.append(emit.fma(scale, emit.load(first, at), builder.fmul(tilt, emit.load(second, at))))
                top = emit.larger(powers[-1], top)  # NaN, as where a place beyond the last point is multiplied, is lost
            largest = emit.call(f"llvm.vector.reduce.fmax.{emit.suffix}", top, result=emit.scalar)
            place = emit.at(best, builder.add(args[5], word(r)), emit.scalar)
            old = builder.load(place)
            sums_at = builder.add(args[7], word(r * emit.lanes))
            with builder.if_then(builder.fcmp_ordered(">", largest, old), likely=False):
                builder.store(largest, place)
                shrink = emit.exp2(emit.splat(builder.fsub(old, largest)))
                emit.store(builder.fmul(emit.load(sums, sums_at), shrink), sums, sums_at)
            maximum = emit.splat(builder.load(place))
            total = emit.load(sums, sums_at)
            for power in powers:
                total = builder.fadd(total, emit.exp2(builder.fsub(power, maximum)))
            emit.store(total, sums, sums_at)
        return context.get_dummy_value()

    return signature, generate


def _exponentials(context, builder, signature, args, places, maxima=None):
    """Emit the body of the functions above; places: rows and columns of e (and of e^4), and where they start."""
    emit, word = Emit(builder, signature.args[0].dtype), ir.IntType(64)
    values = data_of(context, builder, signature.args[0], args[0])
    scale, width = emit.splat(args[1]), VECTORS * emit.lanes
    # below this a fourth power is no normal number; arithmetic with those is slow, and adds nothing to a sum >= 1
    least = emit.constant(2.0**-31 if emit.single else 2.0**-255)
    row_sums = [[None] * ROWS for _ in places]
    for v in range(VECTORS):
        column_sums = [None] * len(places)
        for r in range(ROWS):
            value = emit.load(values, word(r * width + v * emit.lanes))
            if maxima is not None:  # before the product is rounded, so that the difference is never positive
                value = builder.fsub(value, emit.splat_at(maxima, word(r)))
            terms = [emit.exp2(builder.fmul(value, scale))]
            if len(places) == 2:
                square = emit.larger(terms[0], least)
                square = builder.fmul(square, square)
                terms.append(builder.fmul(square, square))
            for k, term in enumerate(terms):
                down, along = column_sums[k], row_sums[k][r]
                column_sums[k] = term if down is None else builder.fadd(down, term)
                row_sums[k][r] = term if along is None else builder.fadd(along, term)
        for column_sum, (_, _, columns, column_at) in zip(column_sums, places, strict=True):
            if columns is not None:
                emit.add_to(column_sum, columns, builder.add(column_at, word(v * emit.lanes)))
    for sums, (rows, row_at, _, _) in zip(row_sums, places, strict=True):
        for r in range(ROWS):
            emit.add_to(sums[r], rows, builder.add(row_at, word(r * emit.lanes)))


@intrinsic
def raise_maxima(typing, values, maxima):
    """Raise maxima[r] (6,) to the largest values[r, c] of a tile."""
    signature = types.void(values, maxima)

    def generate(context, builder, signature, args):
        emit, word = Emit(builder, values.dtype), ir.IntType(64)
        data, best = (data_of(context, builder, signature.args[k], args[k]) for k in (0, 1))
        width = VECTORS * emit.lanes
        for r in range(ROWS):
            top = emit.load(data, word(r * width))
            for v in range(1, VECTORS):
                top = emit.larger(emit.load(data, word(r * width + v * emit.lanes)), top)
            largest = emit.call(f"llvm.vector.reduce.fmax.{emit.suffix}", top, result=emit.scalar)
            place = emit.at(best, word(r), emit.scalar)
            old = builder.load(place)
            builder.store(builder.select(builder.fcmp_ordered(">", largest, old), largest, old), place)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def find_keys(typing, values, shift, base, top, keys):
    """keys[r, c] (int32, flat) = (bits of values[r, c] >> shift) - base, clipped to [0, top]."""
    signature = types.void(values, types.int64, types.int64, types.int64, keys)

    def generate(context, builder, signature, args):
        emit = Emit(builder, values.dtype)
        word, lanes = ir.IntType(64), emit.lanes
        data, out = data_of(context, builder, values, args[0]), data_of(context, builder, keys, args[4])
        bits, half = ir.IntType(8 * emit.size), ir.IntType(32)
        whole, index = ir.VectorType(bits, lanes), ir.VectorType(half, lanes)

        def splat(scalar):
            scalar = builder.trunc(scalar, bits) if emit.single else scalar
            one = builder.insert_element(ir.Constant(whole, ir.Undefined), scalar, half(0))
            return builder.shuffle_vector(one, ir.Constant(whole, ir.Undefined), ir.Constant(index, [0] * lanes))

        shift, base, top = (splat(arg) for arg in args[1:4])
        nothing = ir.Constant(whole, [0] * lanes)
        for k in range(ROWS * VECTORS):
            value = builder.bitcast(emit.load(data, word(k * lanes)), whole)
            key = builder.sub(builder.ashr(value, shift), base)
            key = builder.select(builder.icmp_signed(">", key, nothing), key, nothing)
            key = builder.select(builder.icmp_signed("<", key, top), key, top)
            key = key if emit.single else builder.trunc(key, index)
            at = cgutils.pointer_add(builder, out, word(4 * k * lanes), return_type=index.as_pointer())
            builder.store(key, at).align = 4
        return context.get_dummy_value()

    return signature, generate
