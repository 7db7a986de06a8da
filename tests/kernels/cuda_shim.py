"""A device that runs the .cu files on the processor: compiled by g++ with `cuda_shim.hpp`, a thread for each thread.

Programs are compiled when first asked for, into a folder that lasts for the test run, several at once where a test says
in advance what it will need.
"""

import ctypes
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from miest_kernels.cuda_device import Argument, Device, Grid, Program, Session, Sizes
from miest_kernels.cuda_driver import packed
from miest_kernels.cuda_programs import SOURCES

HERE = Path(__file__).parent
SMALL = Sizes(threads=4, tile=128, side=2, tall=8, wide=8, slab=96, fill=128)
KERNELS = {
    "nearest.cu": ("nearest", "merge"),
    "within.cu": ("within", "merge"),
    "reach.cu": ("reach", "merge"),
    "gaussian.cu": ("gaussian", "oneself", "merge"),
    "mixture.cu": ("mixture", "begin", "merge"),
    "histogram.cu": ("histogram",),
    "layout.cu": ("pack", "pack_scaled", "column_sums", "extents", "fill", "clear"),
}


class Shim(Device):
    """One processor that calls itself a device of three multiprocessors."""

    def __init__(self, sizes: Sizes = SMALL) -> None:
        self.sizes, self.multiprocessors = sizes, 3
        self.busy = threading.Lock()  # one block at a time, in the whole process
        self.launched: list[tuple[Program, str, Grid]] = []
        self.streams: list[int | None] = []
        self.waited: list[int] = []

    def session(self, stream: int | None) -> Session:
        self.streams.append(stream)
        return ShimSession(self)


class ShimSession(Session):
    def __init__(self, device: Shim) -> None:
        self.device = device
        self.taken: dict[int, Any] = {}

    def __exit__(self, *error: object) -> None:
        self.taken.clear()

    def take(self, size: int) -> int:
        memory = np.full(max(size, 8) // 4 + 16, 0x7FF7FF77, np.uint32)  # neither zero nor a number
        address = int(memory.ctypes.data + 63) // 64 * 64
        self.taken[address] = memory
        return address

    def give_back(self, address: int) -> None:
        self.taken.pop(address)[:] = 0x7FF7FF77

    def upload(self, array: Any, address: int) -> None:
        assert array.flags.c_contiguous
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def download(self, address: int, array: Any) -> None:
        assert array.flags.c_contiguous
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def launch(self, program: Program, kernel: str, grid: Grid, arguments: Sequence[Argument]) -> None:
        values, _ = packed(arguments)
        self.device.launched.append((program, kernel, grid))
        shape = (ctypes.c_uint * 4)(*grid, program["THREADS"])
        with self.device.busy:
            getattr(library(program), f"shim_{kernel}")(shape, ctypes.c_void_p(values.ctypes.data))

    def wait_for(self, stream: int) -> None:
        self.device.waited.append(stream)

    def free_memory(self) -> int:
        return 2**32


@lru_cache(maxsize=1)
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="miest-shim-"))


def library(program: Program) -> ctypes.CDLL:
    """A program compiled for the processor, to which it is the same how many blocks run at once."""
    macros = tuple((name, 1 if name == "BLOCKS" else value) for name, value in program.macros)
    return _loaded(Program(program.file, macros))


@cache
def _loaded(program: Program) -> ctypes.CDLL:
    return ctypes.CDLL(str(built(program, "-shared", "-fPIC")))


@cache
def built(program: Program, *options: str, main: str = "") -> Path:
    """File that g++ made of a program, and of more text after it."""
    compiler = shutil.which("g++")
    assert compiler, "g++ is needed to run the CUDA sources on the processor"
    kernels = "".join(f"SHIM_KERNEL({kernel})\n" for kernel in KERNELS[program.file] if not _left_out(program, kernel))
    text = f'#include "cuda_shim.hpp"\n#include "{program.file}"\n{kernels}{main}'
    with tempfile.NamedTemporaryFile("w", suffix=".cpp", dir=_folder(), delete=False) as file:
        file.write(text)
    out = Path(file.name).with_suffix(".out")
    flags = ["-std=c++20", "-O1", "-ffp-contract=off", "-fno-gnu-unique", "-Wall", "-Wno-unknown-pragmas", "-Werror"]
    macros = [f"-D{name}={value}" for name, value in program.macros]
    command = [compiler, *flags, *macros, f"-I{HERE}", f"-I{SOURCES}", *options, file.name, "-o", str(out), "-lm"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return out


def _left_out(program: Program, kernel: str) -> bool:
    return program.file == "nearest.cu" and kernel == "merge" and program["KEEP"] == 0
