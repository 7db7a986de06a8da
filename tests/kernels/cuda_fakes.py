"""Stand-ins without a device: a recorder of programs, arrays that claim to live on a GPU, and what the driver and CuPy
look like to us, with the shim behind them."""

import ctypes
from collections.abc import Sequence
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
from cuda_shim import library

from miest_kernels.cuda_device import HOPPER, Argument, Device, Grid, Program, Session


class Recorder(Device):
    """A large device that runs nothing and remembers which programs it was asked for."""

    sizes, multiprocessors = HOPPER, 132

    def __init__(self, norm: float = 1.0) -> None:
        self.programs: dict[Program, None] = {}
        self.norm = norm  # of the points, squared, whatever they are

    def session(self, stream: int | None) -> Session:
        return RecorderSession(self)


class RecorderSession(Session):
    def __init__(self, device: Recorder) -> None:
        self.device, self.taken = device, 0

    def __exit__(self, *error: object) -> None: ...

    def take(self, size: int) -> int:
        self.taken += 1
        return self.taken << 40

    def give_back(self, address: int) -> None: ...

    def upload(self, array: Any, address: int) -> None: ...

    def download(self, address: int, array: Any) -> None:
        array[...] = 1
        if array.shape[0] == 3:  # extents of points: squared norm, reach, and whether one is not finite
            array[0], array[2] = self.device.norm, 0

    def launch(self, program: Program, kernel: str, grid: Grid, arguments: Sequence[Argument]) -> None:
        assert min(grid) >= 1
        assert grid[1] < 65536
        assert grid[2] < 65536
        self.device.programs[program] = None

    def wait_for(self, stream: int) -> None: ...

    def free_memory(self) -> int:
        return 80 * 2**30


class OnDevice:
    """An array that says it lives on a GPU; the shim's memory is the host's."""

    def __init__(self, array: np.ndarray, stream: int | None = 5) -> None:
        self.array = array
        self.__cuda_array_interface__ = {**array.__array_interface__, "stream": stream, "version": 3}

    def get(self) -> np.ndarray:
        return self.array


class WithDLPack:
    """The same by DLPack alone; the capsule itself is NumPy's."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.streams = array, []

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, *, stream: int) -> Any:
        self.streams.append(stream)
        return self.array.__dlpack__()


class Memory:
    """Addresses of host memory, as a device hands them out."""

    def __init__(self) -> None:
        self.held: dict[int, Any] = {}

    def take(self, size: int) -> int:
        memory = np.full(size // 4 + 32, 0x7FF7FF77, np.uint32)
        address = int(memory.ctypes.data + 63) // 64 * 64
        self.held[address] = memory
        return address

    def give_back(self, address: int) -> None:
        del self.held[int(address)]


def run(program: Program, name: str, shape: Sequence[int], values: Any) -> None:
    getattr(library(program), f"shim_{name}")((ctypes.c_uint * 4)(*shape), values)


class FakeDriver(Memory):
    """The functions of cuda.bindings.driver that are called, with their order checked."""

    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT=16,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=75,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=76,
    )
    CUpointer_attribute = SimpleNamespace(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL=9)
    CUmemAllocationType = SimpleNamespace(CU_MEM_ALLOCATION_TYPE_PINNED=1)
    CUmemAllocationHandleType = SimpleNamespace(CU_MEM_HANDLE_TYPE_NONE=0)
    CUmemLocationType = SimpleNamespace(CU_MEM_LOCATION_TYPE_DEVICE=1)
    CUmemPool_attribute = SimpleNamespace(CU_MEMPOOL_ATTR_RELEASE_THRESHOLD=4)
    cuuint64_t = int
    CUstream = int

    class Result(IntEnum):
        CUDA_SUCCESS = 0
        CUDA_ERROR_OUT_OF_MEMORY = 2
        CUDA_ERROR_ILLEGAL_ADDRESS = 700

    def __init__(self, major: int = 9) -> None:
        super().__init__()
        self.major, self.depth, self.streams, self.error = major, 0, set(), self.Result.CUDA_SUCCESS

    @staticmethod
    def CUmemPoolProps() -> Any:
        return SimpleNamespace(location=SimpleNamespace())

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)
        return lambda *arguments: (self.error, *self.answer(name, *arguments))

    def answer(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        match name:
            case "cuInit" | "cuMemPoolSetAttribute":
                return ()
            case "cuDeviceGetCount":
                return (1,)
            case "cuDeviceGet" | "cuPointerGetAttribute":
                return (0,)
            case "cuDeviceGetAttribute":
                return ({16: 3, 75: self.major, 76: 0}[arguments[0]],)
            case "cuDevicePrimaryCtxRetain" | "cuMemPoolCreate":
                return (name,)
            case "cuCtxPushCurrent":
                self.depth += 1
                return ()
            case "cuCtxPopCurrent":
                self.depth -= 1
                return (None,)
            case "cuStreamCreate":
                assert self.depth
                self.streams.add(77)
                return (77,)
            case "cuStreamDestroy":
                self.streams.remove(arguments[0])
                return ()
            case "cuStreamSynchronize":
                return ()
            case "cuMemAllocFromPoolAsync":
                assert arguments[1] == "cuMemPoolCreate"
                return (self.take(arguments[0]),)
            case "cuMemFreeAsync":
                self.give_back(arguments[0])
                return ()
            case "cuMemcpyHtoDAsync" | "cuMemcpyDtoHAsync":
                ctypes.memmove(*arguments[:3])
                return ()
            case "cuMemGetInfo":
                return 2**34, 2**34
            case "cuModuleLoadData":
                return (arguments[0],)  # the program, in place of its machine code
            case "cuModuleGetFunction":
                return ((arguments[0], arguments[1].decode()),)
            case "cuLaunchKernel":
                function, *shape = arguments[:8]
                assert shape[4:] == [1, 1, 0]
                first = ctypes.c_void_p.from_address(arguments[9])
                run(*function, shape[:4], first)
                return ()
        raise AttributeError(name)


class FakeCupy(Memory):
    """What is used of the module cupy."""

    def __init__(self) -> None:
        super().__init__()
        self.current: list[Any] = []
        self.cuda = SimpleNamespace(
            Device=lambda ordinal: Entered(self, ordinal=ordinal, attributes={"MultiProcessorCount": 3}),
            Stream=lambda non_blocking: Entered(self, ptr=77, synchronize=lambda: None),
            ExternalStream=lambda ptr: Entered(self, ptr=ptr, synchronize=lambda: None),
            alloc=self.alloc,
            runtime=SimpleNamespace(
                getDeviceCount=lambda: 1,
                CUDARuntimeError=RuntimeError,
                memcpyAsync=lambda to, from_, size, kind, stream: ctypes.memmove(to, from_, size),
                memGetInfo=lambda: (2**34, 2**34),
                pointerGetAttributes=lambda address: SimpleNamespace(device=0),
            ),
        )

    def alloc(self, size: int) -> Any:
        assert len(self.current) == 2  # in a device and on a stream
        return SimpleNamespace(ptr=self.take(size))

    def RawModule(self, *, code: str, options: tuple[str, ...], backend: str) -> Any:
        assert backend == "nvrtc"
        macros = tuple((n, int(v)) for n, _, v in (o[2:].partition("=") for o in options if o.startswith("-D")))
        program = Program(code.split('"')[1], macros, "--ftz=true" in options)
        assert "--fmad=false" in options

        def function(name: str) -> Any:
            def launch(grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any]) -> None:
                assert all(a.nbytes == 8 for a in arguments)
                values = np.concatenate([np.atleast_1d(a).view(np.int64) for a in arguments])
                run(program, name, (*grid, block[0]), ctypes.c_void_p(values.ctypes.data))

            return launch

        return SimpleNamespace(get_function=function)


class Entered(SimpleNamespace):
    def __init__(self, cupy: FakeCupy, **known: Any) -> None:
        super().__init__(cupy=cupy, **known)

    def __enter__(self) -> "Entered":
        self.cupy.current.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        assert self.cupy.current.pop() is self
