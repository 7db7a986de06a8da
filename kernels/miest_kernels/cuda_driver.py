"""CUDA devices through the driver, by way of cuda.bindings; programs are compiled by cuda.core.

Memory comes from a pool of our own for each device, ordered by streams, which keeps up to `_KEPT` bytes between calls.
The caller's current context is put back after each call.
"""

import ctypes
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miest_kernels.cuda_device import HOPPER, Argument, Device, Grid, Program, Session
from miest_kernels.cuda_programs import cuda_core, machine_code

_KEPT = 256 * 2**20


def open_device(ordinal: int) -> Device:
    """CUDA device by number; raises ImportError where there is none, or no package to reach it."""
    _find_driver()
    cuda_core()  # the compiler; says what is missing
    driver = _driver()
    _initialize()
    count = _call(driver.cuDeviceGetCount())
    if ordinal >= count:
        raise ImportError(f"CUDA device {ordinal} was asked for and there are {count}")
    return DriverDevice(ordinal)


def ordinal_of(address: int) -> int:
    """Number of the device whose memory an address is in."""
    driver = _driver()
    _initialize()
    return int(
        _call(driver.cuPointerGetAttribute(driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address))
    )


def _driver() -> Any:
    from cuda.bindings import driver

    return driver


def _find_driver() -> None:
    """Raise without the driver's library: a look that costs nothing, before anything is imported."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            ctypes.CDLL(name)
            return
        except OSError:
            continue
    raise ImportError("no CUDA driver is installed (libcuda)")


@lru_cache(maxsize=1)
def _initialize() -> None:
    (error,) = _driver().cuInit(0)
    if int(error):
        raise ImportError(f"the CUDA driver does not start ({error.name})")


def _call(returned: tuple[Any, ...]) -> Any:
    """The values that a driver function returned, beside its error code."""
    error, *values = returned
    if int(error):
        kind = MemoryError if error.name == "CUDA_ERROR_OUT_OF_MEMORY" else RuntimeError
        raise kind(f"CUDA: {error.name}.")
    return values[0] if len(values) == 1 else None if not values else tuple(values)


class DriverDevice(Device):
    """One CUDA device: its primary context, which torch and CuPy share, its memory pool and its loaded programs."""

    sizes = HOPPER

    def __init__(self, ordinal: int) -> None:
        driver = _driver()
        self.ordinal = ordinal
        self.driver = driver
        self.handle = _call(driver.cuDeviceGet(ordinal))
        attribute = driver.CUdevice_attribute
        self.multiprocessors = self._attribute(attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
        major = self._attribute(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
        minor = self._attribute(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
        self.architecture = f"sm_{major}{minor}"
        if major < 7:
            raise ImportError(f"CUDA device {ordinal} is of compute capability {major}.{minor}, and 7.0 is needed")
        self.context = _call(driver.cuDevicePrimaryCtxRetain(self.handle))
        self.pool = self._pool()
        self.kernels: dict[tuple[Program, str], Any] = {}

    def session(self, stream: int | None) -> Session:
        """See `Device.session`."""
        return DriverSession(self, stream)

    def kernel(self, program: Program, name: str) -> Any:
        """Function of a program; compiled and loaded when first asked for."""
        if (program, name) not in self.kernels:
            module = _call(self.driver.cuModuleLoadData(machine_code(program, self.architecture)))
            self.kernels[program, name] = _call(self.driver.cuModuleGetFunction(module, name.encode()))
        return self.kernels[program, name]

    def _attribute(self, which: Any) -> int:
        return int(_call(self.driver.cuDeviceGetAttribute(which, self.handle)))

    def _pool(self) -> Any:
        driver = self.driver
        settings = driver.CUmemPoolProps()
        settings.allocType = driver.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
        settings.handleTypes = driver.CUmemAllocationHandleType.CU_MEM_HANDLE_TYPE_NONE
        settings.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        settings.location.id = self.ordinal
        pool = _call(driver.cuMemPoolCreate(settings))
        keep = driver.CUmemPool_attribute.CU_MEMPOOL_ATTR_RELEASE_THRESHOLD
        _call(driver.cuMemPoolSetAttribute(pool, keep, driver.cuuint64_t(_KEPT)))
        return pool


class DriverSession(Session):
    """One call's use of a `DriverDevice`."""

    def __init__(self, device: DriverDevice, stream: int | None) -> None:
        self.device, self.driver = device, device.driver
        self.given = stream
        self.taken: set[int] = set()

    def __enter__(self) -> "DriverSession":
        driver = self.driver
        _call(driver.cuCtxPushCurrent(self.device.context))
        try:
            own = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
            self.stream = _call(driver.cuStreamCreate(own)) if self.given is None else driver.CUstream(self.given)
        except BaseException:
            driver.cuCtxPopCurrent()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        driver = self.driver
        for address in self.taken:
            driver.cuMemFreeAsync(address, self.stream)
        driver.cuStreamSynchronize(self.stream)
        if self.given is None:
            driver.cuStreamDestroy(self.stream)
        driver.cuCtxPopCurrent()

    def take(self, size: int) -> int:
        """See `Session.take`."""
        address = int(_call(self.driver.cuMemAllocFromPoolAsync(max(size, 16), self.device.pool, self.stream)))
        self.taken.add(address)
        return address

    def give_back(self, address: int) -> None:
        """See `Session.give_back`."""
        self.taken.discard(address)
        _call(self.driver.cuMemFreeAsync(address, self.stream))

    def upload(self, array: NDArray[Any], address: int) -> None:
        """See `Session.upload`; memory that is not pinned is read before the copy returns."""
        _call(self.driver.cuMemcpyHtoDAsync(address, array.ctypes.data, array.nbytes, self.stream))

    def download(self, address: int, array: NDArray[Any]) -> None:
        """See `Session.download`."""
        _call(self.driver.cuMemcpyDtoHAsync(array.ctypes.data, address, array.nbytes, self.stream))
        _call(self.driver.cuStreamSynchronize(self.stream))

    def launch(self, program: Program, kernel: str, grid: Grid, arguments: Sequence[Argument]) -> None:
        """See `Session.launch`."""
        values, places = packed(arguments)
        function = self.device.kernel(program, kernel)
        shape = (*grid, program["THREADS"], 1, 1)
        _call(self.driver.cuLaunchKernel(function, *shape, 0, self.stream, ctypes.addressof(places), 0))
        del values  # kept until here: the driver has read them

    def wait_for(self, stream: int) -> None:
        """See `Session.wait_for`."""
        _call(self.driver.cuStreamSynchronize(self.driver.CUstream(stream)))

    def free_memory(self) -> int:
        """See `Session.free_memory`; what the pool keeps comes on top."""
        free, _ = _call(self.driver.cuMemGetInfo())
        return int(free)


def packed(arguments: Sequence[Argument]) -> tuple[NDArray[np.int64], Any]:
    """The bits of the arguments, 8 bytes each, and their addresses."""
    bits = [struct.unpack("q", struct.pack("d", a))[0] if isinstance(a, float) else _signed(a) for a in arguments]
    values = np.array(bits, np.int64)
    places = (ctypes.c_void_p * len(bits))(*(values.ctypes.data + 8 * i for i in range(len(bits))))
    return values, places


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
