"""The activations of one step: in memory, or in a file that is read where it is needed.

The file is of the safetensors format: eight bytes with the length of a JSON header, the header, then the arrays one
after the other. Rows are written as they come, batch by batch, each to its place; so a file may be larger than the
memory. It has its name only once it is complete, so that a killed process leaves no half file; the disk is not waited
for, so that after a power failure the newest one may be damaged. Nothing is ever pickled.
"""

import json
import math
import os
import struct
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from miest.samples import DataError

Array = NDArray[Any]

IN_MEMORY = 1 << 28
"""Bytes of a snapshot without a folder that stay in memory; further layers go to a temporary file."""

_FORMAT = "miest snapshot 1"
_PARTIAL = ".partial"
_COPIED = 1 << 20  # bytes
_HEADER, _ENTRY = 1 << 12, 256  # room for what every header has, and for a layer
_CODES = {
    np.dtype(code): name
    for name, code in {
        "BOOL": "?",
        "U8": "u1",
        "I8": "i1",
        "U16": "<u2",
        "I16": "<i2",
        "F16": "<f2",
        "U32": "<u4",
        "I32": "<i4",
        "F32": "<f4",
        "U64": "<u8",
        "I64": "<i8",
        "F64": "<f8",
    }.items()
}
_DTYPES = {name: dtype for dtype, name in _CODES.items()}


@dataclass(frozen=True)
class _Place:
    """Where an array stands among those of a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self, file: Any, start: int = 0) -> Array:
        """(n, ...) memory-mapped; behind an odd number of bytes, a copy, for kernels want aligned numbers."""
        mapped: Array = np.memmap(file, self.dtype, "r", start + self.offset, self.shape)
        return mapped if mapped.flags.aligned else _locked(np.array(mapped))


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """What the layers of a model gave for the probe set at one step.

    Parameters
    ----------
    step : int
    n : int                         samples: rows of every array
    layers : tuple of str           in the order of the forward pass; "fc#0" and "fc#1" are two calls of one module
    reductions : dict of str        by layer: the name of its reduction, "none" where there is none
    probe : str                     hash of the probe set
    missing : dict of str           modules that a pattern or type selected and that gave nothing to record, and why
    path : Path or None             its file; None: in memory
    """

    step: int
    n: int
    layers: tuple[str, ...]
    reductions: dict[str, str]
    probe: str
    missing: dict[str, str] = field(default_factory=dict)
    path: Path | None = None
    _held: Mapping[str, Array | _Place] = field(repr=False)
    _start: int = field(default=0, repr=False)  # of the arrays in the file

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a file written by `Recorder.snapshot` or `save`; only its header is read.

        Raises
        ------
        FileNotFoundError
            if there is no such file
        DataError
            if it is cut short, damaged, or no snapshot
        """
        path = Path(path).absolute()
        header, start = _header(path)
        try:
            about = header.pop("__metadata__")
            if about["format"] != _FORMAT:
                raise DataError(f"{path} is a {about['format']}; this version of miest reads a {_FORMAT}.")
            held, end = {}, 0
            for name, entry in sorted(header.items(), key=lambda item: int(item[1]["data_offsets"][0])):
                held[name] = _Place(_DTYPES[entry["dtype"]], tuple(map(int, entry["shape"])), end)
                end += held[name].nbytes
                if entry["data_offsets"] != [end - held[name].nbytes, end] or held[name].shape[0] != int(about["n"]):
                    raise DataError(f"{path} is damaged: its header has a wrong place or shape for {name}.")
            snapshot = cls(
                step=int(about["step"]),
                n=int(about["n"]),
                layers=tuple(json.loads(about["layers"])),
                reductions=json.loads(about["reductions"]),
                probe=about["probe"],
                missing=json.loads(about["missing"]),
                path=path,
                _held=held,
                _start=start,
            )
        except DataError:
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{path} is no snapshot: its header lacks or garbles {error}. miest.load reads the arrays of other "
                "safetensors files."
            ) from error
        size = path.stat().st_size
        if size != start + end or set(held) != set(snapshot.layers):
            raise DataError(
                f"{path} is damaged: its header tells of {start + end} bytes and {len(snapshot.layers)} layers, and it "
                f"has {size} bytes and {len(held)} layers. It was cut short or changed: record that step again."
            )
        return snapshot

    def load(self, layer: str) -> Array:
        """The activations of one layer.

        Returns
        -------
        (n, ...) array          read-only; memory-mapped where the snapshot is in a file. Floats are of the dtype of the
                                recording, float32 unless asked otherwise; integers and booleans are as the layer gave
                                them.

        Raises
        ------
        ValueError
            if there is no such layer; the message names those that are near
        """
        held = self._held.get(layer)
        if held is None:
            near = get_close_matches(layer, self.layers, n=3)
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise ValueError(f"no layer {layer!r} at step {self.step}.{hint} There are: {', '.join(self.layers)}.")
        return held.read(self.path, self._start) if isinstance(held, _Place) else held

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each layer's array, (n, ...); nothing is read."""
        return {name: self._held[name].shape for name in self.layers}

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays together."""
        return sum(held.nbytes for held in self._held.values())

    def save(self, folder: str | Path) -> "Snapshot":
        """Write it to ``folder/step-000100.safetensors``, and return that snapshot; see `Recorder.snapshot`."""
        with SnapshotWriter(self.step, self.n, folder, expected=self.layers) as writer:
            for layer in self.layers:
                rows = self.load(layer)
                writer.add(layer, rows.shape[1:], rows.dtype)
                step = max(1, _COPIED * self.n // max(1, rows.nbytes))
                for start in range(0, self.n, step):
                    writer.write(layer, start, rows[start : start + step])
            same = {layer: layer for layer in self.layers}
            return writer.finish(same, reductions=self.reductions, probe=self.probe, missing=self.missing)


class SnapshotWriter:
    """Takes the rows of each layer as they come, and gives the snapshot; as a context, it leaves nothing half done.

    Parameters
    ----------
    step, n : int
    folder : path or None           where the file goes; None: memory, and a temporary file for what is too large
    expected : iterable of str      names to make room for in the header; more may come, at the price of moving the data
    """

    def __init__(self, step: int, n: int, folder: str | Path | None, *, expected: Iterable[str] = ()) -> None:
        self._step, self._n = step, n
        self._held: dict[Any, Array | _Place] = {}
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._start = self._size = 0  # of the arrays in the file, bytes
        self._kept = 0  # bytes in memory
        if folder is not None:
            self._path = Path(folder).absolute() / f"step-{step:06d}.safetensors"
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._partial = self._path.with_name(f".{self._path.name}.{os.getpid()}{_PARTIAL}")
            self._start = 8 * (_HEADER + sum(_ENTRY + 2 * len(name) for name in expected) // 8)
            self._file = self._partial.open("w+b")

    def add(self, key: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Make room for n rows of this shape."""
        place = _Place(dtype.newbyteorder("<"), (self._n, *shape), self._size)
        if self._path is None and self._kept + place.nbytes <= IN_MEMORY:
            self._held[key] = np.empty(place.shape, dtype)
            self._kept += place.nbytes
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="miest-")
        self._held[key] = place
        self._size += place.nbytes

    def write(self, key: Any, start: int, rows: Array) -> None:
        """Copy rows to their place, from row number `start`."""
        held = self._held[key]
        if not isinstance(held, _Place):
            held[start : start + len(rows)] = rows
            return
        assert self._file is not None  # add has opened it
        self._file.seek(self._start + held.offset + start * (held.nbytes // self._n))
        self._file.write(np.ascontiguousarray(rows, held.dtype).reshape(-1).view(np.uint8).data)

    def finish(
        self, names: Mapping[Any, str], *, reductions: dict[str, str], probe: str, missing: dict[str, str]
    ) -> Snapshot:
        """Give the arrays their names, in the order of the mapping, and the file its own."""
        about: dict[str, Any] = {"reductions": reductions, "missing": missing, "layers": tuple(names.values())}
        held = {name: self._held[key] for key, name in names.items()}
        if self._path is not None:
            self._write_header(
                {name: place for name, place in held.items() if isinstance(place, _Place)},
                {"format": _FORMAT, "step": str(self._step), "n": str(self._n), "probe": probe}
                | {key: json.dumps(value) for key, value in about.items()},
            )
            os.replace(self._partial, self._path)
            return Snapshot.open(self._path)
        if self._file is not None:
            self._file.flush()
        arrays = {
            name: place.read(self._file) if isinstance(place, _Place) else _locked(place)
            for name, place in held.items()
        }
        return Snapshot(step=self._step, n=self._n, probe=probe, _held=arrays, **about)

    def _write_header(self, places: Mapping[str, _Place], about: Mapping[str, str]) -> None:
        assert self._file is not None
        entries = {
            name: {
                "dtype": _CODES[place.dtype],
                "shape": place.shape,
                "data_offsets": (place.offset, place.offset + place.nbytes),
            }
            for name, place in places.items()
        }
        header = json.dumps({"__metadata__": about, **entries}).encode()
        if 8 + len(header) > self._start:
            self._move(8 + 8 * math.ceil(len(header) / 8))
        self._file.seek(0)
        self._file.write(struct.pack("<Q", self._start - 8) + header.ljust(self._start - 8))
        self._file.close()

    def _move(self, start: int) -> None:
        """Move the arrays to a later start, last bytes first, since the two overlap."""
        assert self._file is not None
        for end in range(self._size, 0, -_COPIED):
            begin = max(0, end - _COPIED)
            self._file.seek(self._start + begin)
            block = self._file.read(end - begin)
            self._file.seek(start + begin)
            self._file.write(block)
        self._start = start

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            with suppress(OSError):  # a full disk was reported where it was met first
                self._file.close()
        if self._path is not None:
            self._partial.unlink(missing_ok=True)


def discard_partial(folder: str | Path) -> int:
    """Delete the unfinished snapshots that killed processes have left in a folder; return how many there were.

    Only for a process that knows that no other one is writing there.
    """
    left = list(Path(folder).glob(f".step-*{_PARTIAL}"))
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and where its arrays begin."""
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
        if length > size - 8:
            raise DataError(
                f"{path} is no complete snapshot: it has {size} bytes, fewer than its header needs. It was cut short, "
                "or is no safetensors file: record that step again."
            )
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise DataError(f"{path} is no snapshot: its header is no JSON ({error}).") from error
    if not isinstance(header, dict):
        raise DataError(f"{path} is no snapshot: its header is no JSON object.")
    return header, 8 + length


def _locked(array: Array) -> Array:
    array.flags.writeable = False
    return array
