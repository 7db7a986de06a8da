"""Binning and hashing of rows on the processor: 64 bytes of a row at a time, in registers from datum to bin."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from miest_kernels.cpu_pair_tile import Emit, data_of

_AHEAD = 8192  # bytes from where a value is read to where the next ones are asked for


@intrinsic
def _bin_vectors(typing, points, row, lower, scale, top, bins):
    """Bins of the columns of one row that fill whole vectors; true if one of those values is NaN."""
    signature = types.boolean(points, types.intp, lower, scale, points.dtype, bins)

    def generate(context, builder, signature, args):
        emit = Emit(builder, points.dtype)
        word, lanes, size = ir.IntType(64), emit.lanes, bins.dtype.bitwidth
        array = context.make_array(points)(context, builder, value=args[0])
        columns = builder.extract_value(array.shape, 1)
        first = builder.mul(args[1], columns)
        low, slope, out = (data_of(context, builder, signature.args[k], args[k]) for k in (2, 3, 5))
        index, small = (ir.VectorType(ir.IntType(bits), lanes) for bits in (32, size))
        flags = ir.VectorType(ir.IntType(1), lanes)
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, *[index.element] * 3])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        top, zero = emit.splat(args[4]), emit.constant(0.0)
        unknown = cgutils.alloca_once_value(builder, ir.Constant(flags, [0] * lanes))
        with cgutils.for_range(builder, builder.sdiv(columns, word(lanes)), intp=word) as loop:
            column = builder.mul(loop.index, word(lanes))
            value = emit.load(array.data, builder.add(first, column))
            ahead = builder.gep(array.data, [builder.add(builder.add(first, column), word(_AHEAD // emit.size))])
            builder.call(
                prefetch, [builder.bitcast(ahead, pointer), index.element(0), index.element(3), index.element(1)]
            )
            nan = builder.fcmp_unordered("uno", value, value)
            builder.store(builder.or_(builder.load(unknown), nan), unknown)
            place = builder.fmul(builder.fsub(value, emit.load(low, column)), emit.load(slope, column))
            place = emit.larger(place, zero)  # zero also where an infinity met a zero
            place = builder.select(builder.fcmp_ordered("<", place, top), place, top)
            found = builder.fptosi(place, index)
            found = found if size == 32 else builder.trunc(found, small)
            offset = builder.mul(column, word(size // 8))
            at = cgutils.pointer_add(builder, out, offset, return_type=small.as_pointer())
            builder.store(found, at).align = size // 8
        bits = builder.bitcast(builder.load(unknown), ir.IntType(lanes))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return signature, generate


@njit(cache=True, nogil=True)
def hash_bins(points, lower, scale, top, bins, words, factors, hashes):
    """Bin and hash each row; False if a value is NaN. bins and words are the same memory, for one row."""
    n, d = points.shape
    lanes = 64 // points.itemsize
    whole = d - d % lanes
    zero, unknown = points.dtype.type(0), False
    for i in range(n):
        unknown |= _bin_vectors(points, i, lower, scale, top, bins)
        for k in range(whole, d):
            value = points[i, k]
            unknown |= value != value
            place = (value - lower[k]) * scale[k]
            place = place if place > zero else zero
            place = place if place < top else top
            bins[k] = np.int64(place)
        _hash_into(words, factors, hashes[i])
    return not unknown


@njit(cache=True, nogil=True)
def hash_rows(words, factors):
    """Hashes (n, 2) of rows of 32-bit words."""
    hashes = np.empty((len(words), 2), np.uint64)
    for i in range(len(words)):
        _hash_into(words[i], factors, hashes[i])
    return hashes


@njit(cache=True, nogil=True)
def _hash_into(words, factors, out):
    """128 bits of the four sums: two of them are scattered by an odd factor and a fold, and added to the others."""
    a, b, c, e = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
    first, second, third, fourth = factors[0], factors[1], factors[2], factors[3]
    for w in range(words.size):
        word = np.uint64(words[w])
        a += word * np.uint64(first[w])
        b += word * np.uint64(second[w])
        c += word * np.uint64(third[w])
        e += word * np.uint64(fourth[w])
    fold, odd = np.uint64(32), np.uint64(0x9E3779B97F4A7C15)
    out[0] = (a ^ (a >> fold)) * odd + b * odd * odd
    out[1] = (c ^ (c >> fold)) * odd + e * odd * odd


@njit(cache=True, nogil=True)
def number_hashes(hashes, codes, counts):
    """Give equal hashes the same code, in the order of appearance; returns the number of codes."""
    n = len(hashes)
    size = 2
    while size < 2 * n:
        size *= 2
    table = np.full(size, -1, np.int64)  # place -> the first row with that hash
    mask = np.uint64(size - 1)
    symbols = 0
    for i in range(n):
        place = (hashes[i, 0] ^ (hashes[i, 0] >> np.uint64(29))) & mask
        while True:
            first = table[place]
            if first < 0:
                table[place] = i
                codes[i] = symbols
                counts[symbols] = 1
                symbols += 1
                break
            if hashes[first, 0] == hashes[i, 0] and hashes[first, 1] == hashes[i, 1]:
                codes[i] = codes[first]
                counts[codes[i]] += 1
                break
            place = (place + np.uint64(1)) & mask
    return symbols
