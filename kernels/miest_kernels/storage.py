"""Arrays as large as the data: in memory, or in a temporary file where the data are on disk or the memory is short.

A copy of data that were mapped from a file, because they are larger than the memory, belongs in a file as well. Such
files have no name, so that nothing is left behind, and lie where `tempfile` puts them: TMPDIR says where.
"""

import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_LARGE = 64 << 20  # bytes from which copies of data on disk are on disk, too
_SHARE = 4  # of the memory, one part in so many: what is larger is on disk in any case
_BYTES_AT_ONCE = 8 << 20  # to convert
_LINE = 64  # bytes at whose multiples an array begins

# glibc gives freed memory back above twice the largest block that it has mapped for itself, so that arrays of a few MB
# are mapped anew in each call: a tenth of the time of an estimate of 10^6 rows. One such block, never touched, makes
# that 62 MB. Other allocators do not care.
np.empty(31 << 20, np.uint8)


def room_for(shape: tuple[int, ...], dtype: DTypeLike, *sources: NDArray[Any]) -> NDArray[Any]:
    """An array whose values are not set, at a multiple of 64 bytes, beside those that it is made from.

    Parameters
    ----------
    shape : tuple of int
    dtype : data type
    sources : arrays        where one of them is mapped from a file, a large array is in a temporary one

    Raises
    ------
    OSError
        if there is no space for a temporary file; the message names the folder
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    if size > _memory() // _SHARE or (size > _LARGE and any(map(on_disk, sources))):
        return np.ndarray(shape, dtype, buffer=_mapped(size))
    room = np.empty(size + _LINE, np.uint8)
    start = -room.ctypes.data % _LINE
    return room[start : start + size].view(dtype).reshape(shape)


def on_disk(array: NDArray[Any]) -> bool:
    """Whether an array is mapped from a file."""
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return isinstance(owner, mmap.mmap)


def converted(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """An array of rows as one of a dtype in C order: itself if it is, else a copy, beside it."""
    if array.dtype == dtype and array.flags.c_contiguous:
        return array
    out = room_for(array.shape, dtype, array)
    step = max(1, _BYTES_AT_ONCE * len(array) // max(1, out.nbytes))
    for start in range(0, len(array), step):
        out[start : start + step] = array[start : start + step]
    return out


def _mapped(size: int) -> mmap.mmap:
    with tempfile.TemporaryFile() as file:
        try:
            if hasattr(os, "posix_fallocate"):  # a file with holes would fail later, and not with an error
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{size / 2**30:.1f} GiB beside data on disk, or larger than a quarter of the memory, do not fit in "
                f"{tempfile.gettempdir()}: set TMPDIR to a folder with space ({os.strerror(error.errno or 0)})",
            ) from error


def _memory() -> int:
    """Bytes of memory of this machine."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 8 << 30
