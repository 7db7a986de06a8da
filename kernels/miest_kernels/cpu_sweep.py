"""Keys below a pivot first: the step of a selection, a vector of keys at a time where the processor can compress it."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from miest_kernels.cpu_tile import has_avx512

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)


@njit(cache=True, nogil=True, error_model="numpy")
def sweep(key, place, start, stop, pivot, spare_key, spare_place, portable):
    """Move what is below the pivot, keys and their places, to the front of start to stop; where the rest begins.

    Parameters
    ----------
    key : (m,) float32 or float64;  place : (m,) int32
    start, stop : int
    pivot : in the dtype of the keys
    spare_key, spare_place : at least 16 longer than stop - start; overwritten
    portable : bool         whether to do without vectors that are compressed
    """
    if portable:
        return _swaps(key, place, start, stop, pivot)
    size, edge, rest, at = key.itemsize, start, 0, start
    keys, places, others, their_places = (
        key.ctypes.data,
        place.ctypes.data,
        spare_key.ctypes.data,
        spare_place.ctypes.data,
    )
    lanes = 64 // size
    while at + lanes <= stop:
        # What is written at the edge, a whole vector, covers only what has been read.
        below = _parted(
            keys + at * size,
            places + at * 4,
            pivot,
            keys + edge * size,
            places + edge * 4,
            others + rest * size,
            their_places + rest * 4,
        )
        edge += below
        rest += lanes - below
        at += lanes
    for i in range(at, stop):
        value, row = key[i], place[i]
        if value < pivot:
            key[edge], place[edge] = value, row
            edge += 1
        else:
            spare_key[rest], spare_place[rest] = value, row
            rest += 1
    key[edge:stop], place[edge:stop] = spare_key[:rest], spare_place[:rest]
    return edge


@njit(cache=True, nogil=True, error_model="numpy")
def _swaps(key, place, start, stop, pivot):
    """Without branches, since no processor guesses which side a key falls on."""
    edge = np.uint64(start)
    for i in range(start, stop):
        value, row = key[i], place[i]
        key[i], place[i] = key[edge], place[edge]
        key[edge], place[edge] = value, row
        edge += np.uint64(value < pivot)
    return np.intp(edge)


@intrinsic
def _parted(context, keys, places, pivot, low_keys, low_places, high_keys, high_places):
    """Write a vector's keys below the pivot, and their places, to the low addresses, the others to the high ones.

    How many are below. A whole vector is written to each address.
    """
    signature = types.int64(types.intp, types.intp, pivot, *[types.intp] * 4)

    def generate(context, builder, signature, args):
        if not has_avx512():  # nobody calls it
            return _INT64(0)
        lanes = 16 if args[2].type == ir.FloatType() else 8
        kinds = ir.VectorType(args[2].type, lanes), ir.VectorType(_INT32, lanes)
        here = [
            builder.load(builder.inttoptr(address, kind.as_pointer()), align=4)
            for address, kind in zip(args[:2], kinds, strict=True)
        ]
        empty = ir.Constant(kinds[0], ir.Undefined)
        limit = builder.insert_element(empty, args[2], _INT32(0))
        limit = builder.shuffle_vector(limit, empty, ir.Constant(ir.VectorType(_INT32, lanes), [0] * lanes))
        below = builder.fcmp_ordered("<", here[0], limit)
        for mask, addresses in ((below, args[3:5]), (builder.not_(below), args[5:])):
            for values, kind, address in zip(here, kinds, addresses, strict=True):
                element = "i32" if kind.element == _INT32 else "f32" if lanes == 16 else "f64"
                name = f"llvm.x86.avx512.mask.compress.v{lanes}{element}"
                call = ir.FunctionType(kind, [kind, kind, below.type])
                compress = cgutils.get_or_insert_function(builder.module, call, name)
                packed = builder.call(compress, [values, ir.Constant(kind, None), mask])
                builder.store(packed, builder.inttoptr(address, kind.as_pointer()), align=4)
        return builder.zext(builder.ctpop(builder.bitcast(below, ir.IntType(lanes))), _INT64)

    return signature, generate
