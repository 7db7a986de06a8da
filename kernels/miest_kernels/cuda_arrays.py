"""Arrays that live on a CUDA device, seen in place: torch, CuPy, and whatever speaks one of the two protocols.

`view` reads an address, a shape and steps from ``__cuda_array_interface__`` or from DLPack, and the stream on which the
data are ready: that which torch or CuPy calls current, else what the protocol says. No package is imported.
"""

import ctypes
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

_CUDA = (2, 13)  # DLPack's numbers for device memory and for managed memory
_LEGACY_STREAM = 1  # CUDA's handle of the default stream, in both protocols


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """An array in device memory that belongs to somebody else."""

    address: int
    shape: tuple[int, ...]
    steps: tuple[int, ...]  # of each axis, in elements
    dtype: np.dtype[Any]
    stream: int  # CUDA's handle
    owner: Any  # keeps the memory

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]


def is_on_device(array: Any) -> bool:
    """Whether an array lives on a CUDA device; nothing is imported or copied."""
    if isinstance(array, (np.ndarray, DeviceArray)):
        return isinstance(array, DeviceArray)
    if type(array).__module__.partition(".")[0] == "torch":  # its property raises where a gradient is wanted
        return bool(getattr(array, "is_cuda", False))
    return hasattr(array, "__cuda_array_interface__") or _dlpack_device(array)[0] in _CUDA


def view(array: Any) -> DeviceArray:
    """Device array in place.

    Raises
    ------
    TypeError
        if it is not one, or its numbers are of another kind than real, integer or boolean of up to 64 bits
    """
    if isinstance(array, DeviceArray):
        return array
    if not is_on_device(array):
        raise TypeError(f"{type(array).__name__} is not an array on a CUDA device.")
    if hasattr(array, "detach"):
        array = array.detach()  # a gradient is no obstacle to reading
    if hasattr(array, "__cuda_array_interface__"):
        return _from_interface(array)
    return _from_dlpack(array)


def _from_interface(array: Any) -> DeviceArray:
    found = array.__cuda_array_interface__
    dtype = np.dtype(found["typestr"])
    strides = found.get("strides")
    return DeviceArray(
        address=int(found["data"][0] or 0),
        shape=tuple(found["shape"]),
        steps=_row_major(found["shape"]) if strides is None else tuple(s // dtype.itemsize for s in strides),
        dtype=dtype,
        stream=_current_stream(array) or int(found.get("stream") or _LEGACY_STREAM),
        owner=array,
    )


def _current_stream(array: Any) -> int | None:
    """The caller's current stream, if the array is torch's or CuPy's."""
    package = type(array).__module__.partition(".")[0]
    module = sys.modules.get(package)
    if package == "torch" and module is not None:
        return int(module.cuda.current_stream(array.device).cuda_stream) or _LEGACY_STREAM
    if package == "cupy" and module is not None:
        with array.device:
            return int(module.cuda.get_current_stream().ptr) or _LEGACY_STREAM
    return None


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps = [1]
    for size in shape[:0:-1]:
        steps.append(steps[-1] * size)
    return tuple(steps[::-1][-len(shape) :]) if shape else ()


# DLPack, as far as it is needed: https://dmlc.github.io/dlpack/latest/c_api.html


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def _dlpack_device(array: Any) -> tuple[int, int]:
    if not hasattr(array, "__dlpack_device__"):
        return 0, 0
    kind, number = array.__dlpack_device__()
    return int(kind), int(number)


def _from_dlpack(array: Any) -> DeviceArray:
    capsule = array.__dlpack__(stream=_LEGACY_STREAM)  # the producer makes its data ready on that stream
    return read_capsule(capsule, _LEGACY_STREAM)


def read_capsule(capsule: Any, stream: int) -> DeviceArray:
    """View of what a DLPack capsule describes; the view keeps the capsule, whose end releases the memory.

    Raises
    ------
    TypeError
        if the numbers are of another kind than real, integer or boolean of up to 64 bits
    """
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _Tensor.from_address(address(capsule, b"dltensor"))
    kind = {0: "i", 1: "u", 2: "f", 6: "b"}.get(tensor.code)
    if kind is None or tensor.lanes != 1 or tensor.bits not in (8, 16, 32, 64):
        raise TypeError(f"DLPack type {tensor.code} of {tensor.bits} bits is not real, integer or boolean.")
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    steps = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else _row_major(shape)
    return DeviceArray(
        address=int(tensor.data or 0) + int(tensor.byte_offset),
        shape=shape,
        steps=steps,
        dtype=np.dtype(f"{kind}{tensor.bits // 8}"),
        stream=stream,
        owner=capsule,
    )
