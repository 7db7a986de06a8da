"""A device that runs the kernels of the .cu files, as far as the host code needs to know it.

A `Session` is one call's use of a device: a stream, the memory taken in it and what is launched. Whatever was taken is
given back when it ends. There are two for real devices, `cuda_driver` and `cuda_cupy`; the tests add one that runs the
same sources on the processor.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WAYS = ("miest_kernels.cuda_driver", "miest_kernels.cuda_cupy")  # to reach a device, the preferred one first

Grid = tuple[int, int, int]
Argument = int | float
"""Of a kernel: an address or integer of 64 bits, or a float of 64 bits."""


@dataclass(frozen=True)
class Program:
    """One .cu file compiled with some macros."""

    file: str  # beside this module, or a whole path
    macros: tuple[tuple[str, int], ...]
    flush: bool = False  # numbers below the normal range become zero

    def __getitem__(self, name: str) -> int:
        return dict(self.macros)[name]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large blocks and tiles are; no size changes a comparison."""

    threads: int  # of a block that holds its rows in registers
    tile: int  # most columns of a tile, for those
    side: int  # other blocks have side x side threads, ...
    tall: int  # ... each with tall x wide pairs
    wide: int
    slab: int  # dimensions that pass through shared memory at a time
    fill: int  # points are filled up to a multiple of this
    registers: int = 65536  # of a multiprocessor
    shared: int = 48 * 1024  # bytes of a block


class Session(AbstractContextManager["Session"], ABC):
    """One call's use of a device."""

    @abstractmethod
    def take(self, size: int) -> int:
        """Address of memory of at least `size` bytes, uninitialised; its use follows what was launched before."""

    @abstractmethod
    def give_back(self, address: int) -> None:
        """Return memory before the session ends; what was launched may still use it."""

    @abstractmethod
    def upload(self, array: NDArray[Any], address: int) -> None:
        """Copy a contiguous host array to the device; it may be changed after the call."""

    @abstractmethod
    def download(self, address: int, array: NDArray[Any]) -> None:
        """Copy from the device into a contiguous host array, and wait for it."""

    @abstractmethod
    def launch(self, program: Program, kernel: str, grid: Grid, arguments: Sequence[Argument]) -> None:
        """Start a kernel with ``program["THREADS"]`` threads a block."""

    @abstractmethod
    def wait_for(self, stream: int) -> None:
        """Wait until a stream of the caller's has done what was asked of it."""

    @abstractmethod
    def free_memory(self) -> int:
        """Bytes that can be taken."""

    def uploaded(self, array: NDArray[Any]) -> int:
        """Address of a copy of a host array."""
        array = np.ascontiguousarray(array)
        address = self.take(array.nbytes)
        self.upload(array, address)
        return address


class Device(ABC):
    """A processor of kernels."""

    sizes: Sizes
    multiprocessors: int

    @abstractmethod
    def session(self, stream: int | None) -> Session:
        """Begin to use the device, on a stream of the caller's or, with None, on one of its own."""


HOPPER = Sizes(threads=128, tile=256, side=16, tall=8, wide=8, slab=16, fill=512)
"""Chosen for compute capability 9.0 from its instruction counts; they fit every device since 7.0."""


@cache
def open_device(ordinal: int) -> Device:
    """CUDA device by number.

    Raises
    ------
    ImportError
        if neither cuda-core nor CuPy can be imported, or there is no such device; the message says what is missing
    """
    reasons = []
    for module in _WAYS:
        try:
            return import_module(module).open_device(ordinal)  # type: ignore[no-any-return]
        except ImportError as error:
            reasons.append(str(error))
    raise ImportError(
        "neighbours='cuda' needs a CUDA device and cuda-core or CuPy: pip install 'miest[gpu]', or use "
        f"neighbours='cpu'. Here: {'; '.join(reasons)}."
    )


def ordinal_of(address: int) -> int:
    """Number of the device whose memory an address is in."""
    for module in _WAYS:
        try:
            return int(import_module(module).ordinal_of(address))
        except ImportError:
            continue
    open_device(0)  # says why
    raise AssertionError
