"""IDX, the format in which MNIST and its likes are kept.

Two zero bytes, a byte for the type, a byte for the number of axes, the length of each axis as a big-endian unsigned
32-bit integer, and the values, big-endian, the last axis fastest.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miest.samples import DataError

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 32  # of a NumPy 1 array


def read_idx(path: str | Path) -> NDArray[Any]:
    """Array in an IDX file, plain or compressed with gzip, whatever its name.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    array       uint8, int8, int16, int32, float32 or float64, in the byte order of this machine

    Raises
    ------
    DataError
        if the file is not IDX, cut off, too long or damaged
    OSError
        if there is no such file, or it may not be read
    """
    return parse_idx(unpacked(Path(path)), path)


def unpacked(path: Path) -> bytes:
    """Bytes of a file, decompressed if they are gzip.

    Raises
    ------
    DataError
        if the compressed bytes are damaged or cut off
    """
    content = path.read_bytes()
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut off: {error}. Fetch or copy it again.") from error


def parse_idx(content: bytes, where: object) -> NDArray[Any]:
    """Array in the bytes of an IDX file; `where` names them in messages. See `read_idx`."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES:
        raise DataError(
            f"{where} is no IDX file: it starts with {content[:4].hex(' ') or 'nothing'}, not with two zero bytes and "
            "a type from 08 to 0e."
        )
    axes = content[3]
    if axes > _MOST_AXES:
        raise DataError(f"{where} claims {axes} axes, more than the {_MOST_AXES} of an array: it is damaged.")
    start = 4 + 4 * axes
    if len(content) < start:
        raise DataError(f"{where} is cut off within the lengths of its {axes} axes: fetch or copy it again.")
    shape = tuple(int(length) for length in np.frombuffer(content, ">u4", axes, offset=4))
    dtype = np.dtype(_DTYPES[content[2]])
    needed, held = math.prod(shape) * dtype.itemsize, len(content) - start
    if held != needed:
        what = "cut off" if held < needed else "too long"
        raise DataError(
            f"{where} is {what}: {shape} values of {dtype.itemsize} bytes are {needed} bytes, and it holds {held}. "
            "Fetch or copy it again."
        )
    values = np.frombuffer(content, dtype, offset=start)
    try:
        return values.reshape(shape).astype(dtype.newbyteorder("="))  # a copy, which may be written to
    except ValueError as error:  # no values, and lengths whose product no array can have
        raise DataError(f"{where} claims a shape that no array has, {shape}: {error}.") from error
