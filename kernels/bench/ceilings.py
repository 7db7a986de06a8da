"""How fast this machine can go: multiply-adds in registers and sequential reads, on all cores, measured now."""

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_CHAINS = 16  # independent accumulators: enough to hide the latency of a multiply-add
_LANES = 16  # floats to a 64-byte vector; split in two where vectors are 32 bytes


@intrinsic
def _multiply_adds(context: Any, rounds: Any, one: Any) -> Any:
    signature = types.float32(types.intp, types.float32)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        count, factor = args
        vector = ir.VectorType(ir.FloatType(), _LANES)
        empty = ir.Constant(vector, ir.Undefined)
        zero = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
        spread = builder.shuffle_vector(builder.insert_element(empty, factor, ir.IntType(32)(0)), empty, zero)
        name = f"llvm.fma.v{_LANES}f32"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        sums = [cgutils.alloca_once(builder, vector) for _ in range(_CHAINS)]
        for start, slot in enumerate(sums):
            builder.store(ir.Constant(vector, [float(start)] * _LANES), slot)
        with cgutils.for_range(builder, count):
            for slot in sums:
                builder.store(builder.call(fma, [builder.load(slot), spread, spread]), slot)
        total = builder.load(sums[0])
        for slot in sums[1:]:
            total = builder.fadd(total, builder.load(slot))
        return builder.extract_element(total, ir.IntType(32)(0))

    return signature, generate


@njit(nogil=True)
def _run(rounds: int, one: float) -> float:
    return _multiply_adds(rounds, one)


def _on_all_cores(task: Any, repeats: int = 7) -> float:
    """Median seconds of one task a core, all at once."""
    cores = len(os.sched_getaffinity(0))
    times = []
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(repeats):
            start = time.perf_counter()
            list(pool.map(task, range(cores)))
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def multiply_add_rate() -> float:
    """Float32 multiply-adds a second, on all cores."""
    rounds = 20_000_000
    one = np.float32(0.5)
    _run(10, one)
    return rounds * _CHAINS * _LANES * len(os.sched_getaffinity(0)) / _on_all_cores(lambda _: _run(rounds, one))


def read_rate() -> float:
    """Bytes a second that all cores together can read from memory."""
    parts = [np.ones(1 << 27, np.float32) for _ in os.sched_getaffinity(0)]
    return sum(part.nbytes for part in parts) / _on_all_cores(lambda core: parts[core].max())
