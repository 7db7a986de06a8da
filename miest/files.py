"""Arrays saved to disk, by name: .npy, .npz, .safetensors, .h5, .csv, .parquet and .pt.

Nothing is ever unpickled, because unpickling runs whatever code the file names. A reader opens its file once and
gives the names in it, and a function that reads some of them: names cost nothing, and only what is asked for is read.

Names are in the order of the file. HDF5 and safetensors do not keep the order of writing (unless HDF5 was told to), so
theirs are in natural order: layer2 before layer10.
"""

import csv
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any, Never

import numpy as np
from numpy.typing import NDArray

from miest.samples import DataError

Array = NDArray[Any]
Opened = tuple[list[str], Callable[[list[str]], dict[str, Array]]]
"""The names in a file, and what reads the arrays of some of them."""

_SHOWN = 20
_MISSING = frozenset({"", "na", "n/a", "nan", "null"})


def load(path: str | Path, names: str | Sequence[str] | None = None) -> dict[str, Array]:
    """Read arrays from a file, by name.

    Parameters
    ----------
    path : str or Path
        .npy (one array, named by the stem of the file), .npz, .safetensors, .h5 or .hdf5 (names "group/data"), .csv
        or .tsv (a column each; the first row holds the names), .parquet (a column each), .pt or .pth (a tensor, or
        tensors in dictionaries and lists, named "outer.inner")
    names : str, list of str or None    names or patterns such as "layer*"; None reads everything

    Returns
    -------
    dict of str to array
        in the order of the file, one pattern after the other; bfloat16 and float8 as float32. A .npy file is
        memory-mapped, so that it may be larger than the memory. In a .csv a column of integers is int64, of numbers
        float64 (missing ones NaN), of True and False bool, anything else strings.

    Raises
    ------
    DataError
        if the file is empty, damaged, of another format, or holds pickled objects; if no array has that name
    OSError
        if there is no such file, or it is a directory, or may not be read
    ImportError
        if the format needs a package that is not installed; the message says which
    """
    wanted = [names] if isinstance(names, str) else names
    with _opened(path) as (known, read):
        chosen = known if wanted is None else list(dict.fromkeys(n for w in wanted for n in matching(known, w, path)))
        return read(chosen)


def names(path: str | Path) -> list[str]:
    """Names of the arrays in a file, without reading the arrays; see `load`."""
    with _opened(path) as (known, _):
        return known


def matching(known: Sequence[str], wanted: str, where: object) -> list[str]:
    """The names that equal `wanted`, or else match it as a pattern (``*``, ``?``, ``[abc]``).

    Raises
    ------
    DataError
        if there is none; the message names those that are near, and what there is in `where`
    """
    if wanted in known:
        return [wanted]
    found = [name for name in known if fnmatchcase(name, wanted)]
    if found:
        return found
    near = get_close_matches(wanted, known, n=3)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    shown = ", ".join(known[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")
    raise DataError(f"nothing in {where} is named {wanted!r}.{hint} It has: {shown}.")


@contextmanager
def _opened(path: str | Path) -> Iterator[Opened]:
    path = Path(path)
    suffix = path.suffix.lower()
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: pass one of the files in it.")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}.")
    if suffix not in _READERS:
        pickled = " Pickled files are never read, because unpickling runs code." * (suffix in _PICKLED)
        raise DataError(f"{path} has the suffix {suffix or '(none)'}: miest reads {', '.join(_READERS)}.{pickled}")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes): write it again.")
    try:
        with _READERS[suffix](path) as opened:
            yield opened
    except (DataError, ImportError, PermissionError):
        raise
    except Exception as error:  # every format's library has its own types of exception for a damaged file
        with path.open("rb") as file:
            if re.match(rb"\x80[\x02-\x05]", file.read(2)):
                _refuse_pickle(str(path), "a pickle")
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = re.split(r"\.(?:\s|$)", lines[0])[0] if lines else type(error).__name__
        raise DataError(
            f"{path} cannot be read as {suffix}: {reason}. It is damaged or incomplete, or of another format than its "
            "name says: write it again."
        ) from error


def _refuse_pickle(where: str, what: str) -> Never:
    raise DataError(
        f"{where} holds {what}, which only unpickling could read, and unpickling runs code that the file names: "
        "refused. Save plain numeric arrays instead, as .npz or .safetensors."
    )


def _package(module: str, extra: str, path: Path) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise ImportError(f"{path} needs the package {name} to be read: pip install 'miest[{extra}]'.") from error


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]


@contextmanager
def _npy(path: Path) -> Iterator[Opened]:
    def read(chosen: list[str]) -> dict[str, Array]:
        try:
            return {name: np.lib.format.open_memmap(path, mode="r") for name in chosen}
        except ValueError as error:
            if "Python objects" in str(error):
                _refuse_pickle(str(path), "an array of Python objects")
            raise

    yield [path.stem], read


@contextmanager
def _npz(path: Path) -> Iterator[Opened]:
    def read(chosen: list[str]) -> dict[str, Array]:
        out = {}
        for name in chosen:
            try:
                out[name] = np.asarray(archive[name])
            except ValueError as error:
                if "Object arrays" in str(error):
                    _refuse_pickle(f"{path}:{name}", "an array of Python objects")
                raise
        return out

    if not zipfile.is_zipfile(path):  # NumPy would go on and try it as a pickle
        raise ValueError("it is not a complete zip archive")
    with np.load(path, allow_pickle=False) as archive:
        yield list(archive.files), read


@contextmanager
def _safetensors(path: Path) -> Iterator[Opened]:
    package = _package("safetensors", "data", path)

    def read(chosen: list[str]) -> dict[str, Array]:
        return {name: _safetensor(path, opened, name) for name in chosen}

    with package.safe_open(path, framework="np") as opened:
        yield sorted(opened.keys(), key=_natural), read


def _safetensor(path: Path, opened: Any, name: str) -> Array:
    if re.fullmatch(r"F(16|32|64)|[IU](8|16|32|64)|BOOL|C64", opened.get_slice(name).get_dtype()):
        return np.asarray(opened.get_tensor(name))
    _package("torch", "torch", path)  # for bfloat16 and float8, which NumPy lacks
    with _package("safetensors", "data", path).safe_open(path, framework="pt") as tensors:
        return _from_torch(tensors.get_tensor(name), f"{path}:{name}")


@contextmanager
def _hdf5(path: Path) -> Iterator[Opened]:
    h5py = _package("h5py", "data", path)

    def datasets(group: Any, prefix: str, above: tuple[Any, ...]) -> Iterator[str]:
        order = group.id.get_create_plist().get_link_creation_order()
        for key in group if order else sorted(group, key=_natural):
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                continue  # a link to another file would read what the caller did not name
            item = group[key]
            if isinstance(item, h5py.Dataset):
                yield prefix + key
            elif isinstance(item, h5py.Group) and item not in above:  # a group may hold itself
                yield from datasets(item, f"{prefix}{key}/", (*above, item))

    def read(chosen: list[str]) -> dict[str, Array]:
        out = {}
        for name in chosen:
            data = file[name]
            text = h5py.check_string_dtype(data.dtype) is not None and data.dtype.hasobject
            out[name] = np.asarray(data.asstr()[()], np.str_) if text else np.asarray(data[()])
            if out[name].dtype.hasobject:
                raise DataError(f"{path}:{name} holds rows of different lengths or references: save a plain array.")
        return out

    with h5py.File(path, "r") as file:
        yield list(datasets(file["/"], "", (file["/"],))), read


@contextmanager
def _csv(path: Path) -> Iterator[Opened]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        # Whatever separates most names; a semicolon where decimals have commas
        separator = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
        rows = csv.reader(file, delimiter=separator, strict=True)
        header = [name.strip() for name in next(rows)]
        if all(_is_number(name) for name in header):
            raise DataError(
                f"the first row of {path} holds numbers, not names of columns: put a row of names above it."
            )
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise DataError(f"{path} has several columns named {', '.join(map(repr, twice))}: give each its own name.")

        def read(chosen: list[str]) -> dict[str, Array]:
            columns: dict[int, list[str]] = {header.index(name): [] for name in chosen}
            for row in rows:
                if not row:
                    continue  # blank lines, most often the last one
                if len(row) != len(header):
                    raise DataError(
                        f"line {rows.line_num} of {path} has {len(row)} cells and the first line {len(header)}: "
                        "give every row as many cells as there are names."
                    )
                for i, column in columns.items():
                    column.append(row[i].strip())
            return {header[i]: _column(column, f"{path}:{header[i]}") for i, column in columns.items()}

        yield header, read


def _column(cells: list[str], where: str) -> Array:
    """Integers, numbers, booleans or strings; a mixture of numbers and strings is refused, as the data gate does."""
    if not any("_" in cell for cell in cells):  # Python would read 1_0 as ten
        try:
            return np.array([int(cell) for cell in cells], np.int64)
        except OverflowError:
            return np.array(cells, np.str_)  # integers are symbols, and float64 would merge some of these
        except ValueError:
            pass
        try:
            return np.array([float(cell) for cell in cells])
        except ValueError:
            pass  # a cell that is empty, or text
    lower = [cell.lower() for cell in cells]
    if set(lower) <= {"true", "false"}:
        return np.array([cell == "true" for cell in lower], np.bool_)
    missing = [cell in _MISSING for cell in lower]
    numeric = [_is_number(cell) for cell in cells]
    if all(number or absent for number, absent in zip(numeric, missing, strict=True)):
        return np.array([np.nan if absent else float(c) for c, absent in zip(cells, missing, strict=True)])
    if any(numeric):
        row = next(i for i, number in enumerate(numeric) if not number)
        raise DataError(
            f"{where} mixes {sum(numeric)} numbers and {len(cells) - sum(numeric)} cells that are not, the first in "
            f"sample {row}: {cells[row]!r}. Correct those cells, or write labels that are never numbers."
        )
    if any(missing):
        raise DataError(
            f"{where} has {sum(missing)} missing labels, the first in sample {missing.index(True)}: drop those rows, "
            "or give the absence a name of its own."
        )
    if all(re.fullmatch(r"[+-]?\d+,\d+", cell) for cell in cells):
        raise DataError(f"{where} has decimal commas ({cells[0]!r}): write decimal points.")
    return np.array(cells, np.str_)


def _is_number(cell: str) -> bool:
    if "_" in cell:
        return False
    try:
        return float(cell) == float(cell)  # the word nan is a missing cell, not a number
    except ValueError:
        return False


@contextmanager
def _parquet(path: Path) -> Iterator[Opened]:
    package = _package("pyarrow.parquet", "data", path)

    def read(chosen: list[str]) -> dict[str, Array]:
        table = file.read(columns=chosen)
        return {name: _from_arrow(table[name].combine_chunks(), f"{path}:{name}") for name in chosen}

    with package.ParquetFile(path) as file:
        yield list(file.schema_arrow.names), read


def _from_arrow(column: Any, where: str) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if column.null_count and not pa.types.is_floating(column.type):
        raise DataError(f"{where} has {column.null_count} missing values: drop those rows, or impute them.")
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
        lengths = pc.list_value_length(column).unique().to_pylist() or [0]
        if len(lengths) > 1:
            raise DataError(f"{where} has rows of {min(lengths)} to {max(lengths)} values: give all the same number.")
        return _from_arrow(column.flatten(), where).reshape(len(column), lengths[0])
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array(column.to_pylist(), np.str_)
    array = np.asarray(column.to_numpy(zero_copy_only=False))
    if array.dtype.hasobject:
        raise DataError(f"{where} is of type {column.type}: miest reads numbers, booleans, strings and lists of them.")
    return array


@contextmanager
def _torch(path: Path) -> Iterator[Opened]:
    torch = _package("torch", "torch", path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols that the next line refuses anyway
            # A map of the file costs no memory until a tensor is read; files of torch < 1.6 are no zip and have none.
            held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named:
            _refuse_pickle(str(path), f"an object of type {named[1]}")
        if "Weights only load failed" in str(error):
            raise ValueError("it is no file of plain tensors") from error  # torch's own text offers to unpickle it
        raise
    tensors = dict(_tensors(held, "", path)) if not isinstance(held, torch.Tensor) else {path.stem: held}
    if not tensors:
        raise DataError(f"{path} holds no tensor: save a tensor, or a dictionary of tensors.")

    def read(chosen: list[str]) -> dict[str, Array]:
        return {name: _from_torch(tensors[name], f"{path}:{name}") for name in chosen}

    yield list(tensors), read


def _tensors(held: Any, prefix: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Tensors among nested dictionaries and lists; numbers and strings beside them are passed over."""
    import torch

    if isinstance(held, torch.Tensor):
        yield prefix, held
    elif isinstance(held, (Mapping, list, tuple)):
        for key, value in held.items() if isinstance(held, Mapping) else enumerate(held):
            yield from _tensors(value, f"{prefix}.{key}" if prefix else str(key), path)


def _from_torch(tensor: Any, where: str) -> Array:
    import torch

    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise DataError(f"{where} is a sparse or quantised tensor: save .to_dense() or .dequantize() of it.")
    plain = tensor.detach().resolve_neg().resolve_conj()
    if plain.is_floating_point() and plain.dtype not in (torch.float16, torch.float32, torch.float64):
        plain = plain.float()  # bfloat16 and float8, which NumPy lacks
    return np.asarray(plain.numpy())


_READERS: dict[str, Callable[[Path], AbstractContextManager[Opened]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".pt": _torch,
    ".pth": _torch,
}
_PICKLED = frozenset({".pkl", ".pickle", ".joblib", ".dill", ".sav"})
