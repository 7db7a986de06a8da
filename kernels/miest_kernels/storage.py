"""Arrays as large as the data: in memory, or in a temporary file where the data are on disk or the memory is short.

A copy of data that were mapped from a file, because they are larger than the memory, belongs in a file as well. Such
files have no name, so that nothing is left behind, and lie where `tempfile` puts them: TMPDIR says where. joblib's
processes get copies of them in its own folder, which is often memory: JOBLIB_TEMP_FOLDER says where that is.

Importing this also has glibc keep up to 62 MB of freed memory for the process; see the end of the settings.
"""

import contextlib
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_LARGE = 64 << 20  # bytes from which copies of data on disk are on disk, too
_SHARE = 4  # of the memory, one part in so many: what is larger is on disk wherever there is space
_BYTES_AT_ONCE = 8 << 20  # to convert
_LINE = 64  # bytes at whose multiples an array begins

# glibc gives freed memory back above twice the largest block that it has mapped for itself, so that arrays of a few MB
# would be mapped anew, page by page, in each call. One such block, never touched, makes that 62 MB. Other allocators do
# not care.
np.empty(31 << 20, np.uint8)


def room_for(shape: tuple[int, ...], dtype: DTypeLike, *sources: NDArray[Any]) -> NDArray[Any]:
    """An array whose values are not set, at a multiple of 64 bytes, in memory or in a temporary file.

    Parameters
    ----------
    shape : tuple of int
    dtype : data type
    sources : arrays        what it is made from: where one of these is on disk, a large array is in a file, too

    Raises
    ------
    OSError
        if there is no temporary file of that size for data on disk; the message names the folder

    Notes
    -----
    An array larger than a quarter of the memory is in a file as well, if there is space for one.
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    if size > _LARGE and any(map(on_disk, sources)):
        return np.ndarray(shape, dtype, buffer=_mapped(size))
    if size > _memory() // _SHARE:
        with contextlib.suppress(OSError):
            return np.ndarray(shape, dtype, buffer=_mapped(size))
    room = np.empty(size + _LINE, np.uint8)
    start = -room.ctypes.data % _LINE
    return room[start : start + size].view(dtype).reshape(shape)


def on_disk(array: NDArray[Any]) -> bool:
    """Whether an array is a view of a memory map (`numpy.memmap`, `mmap`)."""
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return isinstance(owner, mmap.mmap)


def converted(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """An array of rows as one of a dtype in C order: itself if it is, else a copy, on disk where it is."""
    if array.dtype == dtype and array.flags.c_contiguous:
        return array
    out = room_for(array.shape, dtype, array)
    for rows in _slices(out):
        out[rows] = array[rows]
    return out


def side_by_side(blocks: Sequence[NDArray[Any]], dtype: DTypeLike | None = None) -> NDArray[Any]:
    """(n, d) arrays side by side, as `numpy.hstack` puts them: a copy, on disk where one of them is."""
    edges = np.cumsum([0, *(block.shape[1] for block in blocks)])
    out = room_for((len(blocks[0]), int(edges[-1])), dtype or np.result_type(*blocks), *blocks)
    for rows in _slices(out):
        for block, first, last in zip(blocks, edges, edges[1:], strict=False):
            out[rows, first:last] = block[rows]
    return out


def columns_of(array: NDArray[Any], chosen: NDArray[np.bool_]) -> NDArray[Any]:
    """Chosen columns of (n, d): the array itself where they are all, else a copy, on disk where it is."""
    if chosen.all():
        return array
    out = room_for((len(array), int(chosen.sum())), array.dtype, array)
    for rows in _slices(out):
        out[rows] = array[rows][:, chosen]
    return out


def _slices(array: NDArray[Any]) -> Iterator[slice]:
    """Some rows at a time."""
    step = max(1, _BYTES_AT_ONCE * len(array) // max(1, array.nbytes))
    return (slice(start, start + step) for start in range(0, len(array), step))


def _mapped(size: int) -> mmap.mmap:
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # a file with holes would fail later, and not with an error
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise OSError(
            error.errno,
            f"no temporary file of {size / 2**30:.1f} GiB, for what is made of data on disk, in "
            f"{tempfile.tempdir or 'any folder'} ({os.strerror(error.errno or 0)}): set TMPDIR to a folder with space",
        ) from error


def _memory() -> int:
    """Bytes of memory that this process may have: the machine's, or its container's."""
    names = getattr(os, "sysconf_names", {})
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if "SC_PHYS_PAGES" in names else 8 << 30
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max"
        found = min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return found
