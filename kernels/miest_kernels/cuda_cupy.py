"""CUDA devices through CuPy, where cuda-core is not installed: its compiler, memory pool and launches."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miest_kernels.cuda_device import HOPPER, Argument, Device, Grid, Program, Session
from miest_kernels.cuda_programs import SOURCES

_TO_DEVICE, _TO_HOST = 1, 2  # kinds of a copy


def open_device(ordinal: int) -> Device:
    """CUDA device by number; raises ImportError where there is none, or CuPy is missing."""
    try:
        import cupy
    except ImportError as error:
        raise ImportError(f"CuPy cannot be imported ({error})") from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise ImportError(f"CuPy finds no CUDA device ({error})") from error
    if ordinal >= count:
        raise ImportError(f"CUDA device {ordinal} was asked for and there are {count}")
    return CupyDevice(cupy, ordinal)


def ordinal_of(address: int) -> int:
    """Number of the device whose memory an address is in."""
    import cupy

    return int(cupy.cuda.runtime.pointerGetAttributes(address).device)


class CupyDevice(Device):
    """One CUDA device and its compiled programs, which CuPy keeps on disk."""

    sizes = HOPPER

    def __init__(self, cupy: Any, ordinal: int) -> None:
        self.cupy = cupy
        self.device = cupy.cuda.Device(ordinal)
        self.multiprocessors = int(self.device.attributes["MultiProcessorCount"])
        self.modules: dict[Program, Any] = {}

    def session(self, stream: int | None) -> Session:
        """See `Device.session`."""
        return CupySession(self, stream)

    def kernel(self, program: Program, name: str) -> Any:
        """Function of a program; compiled and loaded when first asked for."""
        if program not in self.modules:
            options = ["-std=c++17", "--fmad=false", f"-I{SOURCES}"]
            options += ["--ftz=true"] if program.flush else []
            options += [f"-D{macro}={value}" for macro, value in program.macros]
            self.modules[program] = self.cupy.RawModule(
                code=f'#include "{program.file}"\n', options=tuple(options), backend="nvrtc"
            )
        return self.modules[program].get_function(name)


class CupySession(Session):
    """One call's use of a `CupyDevice`."""

    def __init__(self, device: CupyDevice, stream: int | None) -> None:
        self.device, self.cupy = device, device.cupy
        self.given = stream
        self.taken: dict[int, Any] = {}

    def __enter__(self) -> "CupySession":
        cuda = self.cupy.cuda
        self.entered = ExitStack()
        self.entered.enter_context(self.device.device)
        self.stream = cuda.Stream(non_blocking=True) if self.given is None else cuda.ExternalStream(self.given)
        self.entered.enter_context(self.stream)  # memory is taken in the order of the current stream
        return self

    def __exit__(self, *error: object) -> None:
        self.taken.clear()
        self.stream.synchronize()
        self.entered.close()

    def take(self, size: int) -> int:
        """See `Session.take`."""
        memory = self.cupy.cuda.alloc(max(size, 16))
        self.taken[int(memory.ptr)] = memory
        return int(memory.ptr)

    def give_back(self, address: int) -> None:
        """See `Session.give_back`."""
        del self.taken[address]

    def upload(self, array: NDArray[Any], address: int) -> None:
        """See `Session.upload`; memory that is not pinned is read before the copy returns."""
        copy = self.cupy.cuda.runtime.memcpyAsync
        copy(address, array.ctypes.data, array.nbytes, _TO_DEVICE, self.stream.ptr)

    def download(self, address: int, array: NDArray[Any]) -> None:
        """See `Session.download`."""
        copy = self.cupy.cuda.runtime.memcpyAsync
        copy(array.ctypes.data, address, array.nbytes, _TO_HOST, self.stream.ptr)
        self.stream.synchronize()

    def launch(self, program: Program, kernel: str, grid: Grid, arguments: Sequence[Argument]) -> None:
        """See `Session.launch`."""
        numbers = tuple(np.float64(a) if isinstance(a, float) else np.uint64(a % 2**64) for a in arguments)
        self.device.kernel(program, kernel)(grid, (program["THREADS"], 1, 1), numbers)

    def wait_for(self, stream: int) -> None:
        """See `Session.wait_for`."""
        self.cupy.cuda.ExternalStream(stream).synchronize()

    def free_memory(self) -> int:
        """See `Session.free_memory`; what CuPy's pool keeps comes on top."""
        return int(self.cupy.cuda.runtime.memGetInfo()[0])
