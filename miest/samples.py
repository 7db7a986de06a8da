"""The one gate for data: whatever is array-like goes in, a `Variable` with checked numbers comes out.

Axis 0 is the sample; all further axes are flattened. Floats are continuous; integers, booleans and strings are
discrete: every distinct row is a symbol, and no distance between symbols is used. `continuous` and `discrete`
override that. Nothing of the caller's is written to, and nothing is copied that need not be: float32 and
float64 arrays are used in place, float16 and bfloat16 are widened to float32.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miest_kernels.cuda_arrays import is_on_device
from miest_kernels.plan import together
from miest_kernels.storage import converted, room_for

Kind = Literal["continuous", "discrete"]

_VALUES_AT_ONCE = 1 << 22  # of an array checked for NaN, so that a memory map larger than RAM streams through
_NUMBERS_AT_ONCE = 1 << 15  # of which float64 copies are made: they stay in the cache
_WORTH_THREADS = 200_000  # values
_EXACT_INTEGERS = 2**53  # float64 has every integer up to here


class DataError(ValueError):
    """The numbers given cannot be used; the message names the argument, what is wrong and the way out."""


class DataTypeError(DataError, TypeError):
    """What was given is not a real, integer, boolean or string array. Both a ValueError and a TypeError."""


@dataclass(frozen=True, eq=False)
class Declared:
    """Data whose kind the caller has declared; made by `continuous` and `discrete`."""

    data: Any
    kind: Kind


def continuous(data: Any) -> Declared:
    """Declare that the numbers are coordinates on a line, whatever their dtype: pixel values, counts, ranks.

    Parameters
    ----------
    data : array-like, (n,) or (n, ...)   of numbers; integers up to 2**53, so that none is rounded
    """
    return Declared(data.data if isinstance(data, Declared) else data, "continuous")


def discrete(data: Any) -> Declared:
    """Declare that every distinct row is a symbol, whatever its dtype: float-coded labels, quantised values.

    Parameters
    ----------
    data : array-like, (n,) or (n, ...)
    """
    return Declared(data.data if isinstance(data, Declared) else data, "discrete")


@dataclass(frozen=True, eq=False)
class Variable:
    """Checked samples of one random variable.

    Parameters
    ----------
    name : str              the argument it came from, for messages
    kind : "continuous" or "discrete"
    values : (n, d) array   float32 or float64 if continuous; numbers, booleans or strings if discrete
    on_device : bool        whether they came from a GPU, where the work on them is then done, too, if it can be
    """

    name: str
    kind: Kind
    values: NDArray[Any]
    on_device: bool = False

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.values.shape[0])

    @property
    def d(self) -> int:
        """Number of columns after flattening."""
        return int(self.values.shape[1])

    @property
    def is_discrete(self) -> bool:
        """Whether rows are symbols rather than points."""
        return self.kind == "discrete"

    @cached_property
    def symbols(self) -> NDArray[np.intp]:
        """(n,) codes 0..m-1, equal for equal rows."""
        from miest_kernels.rows import row_codes

        return row_codes(self.values)[0]

    @cached_property
    def symbol_counts(self) -> NDArray[np.intp]:
        """(m,) number of samples of each symbol."""
        return np.asarray(np.bincount(self.symbols), np.intp)

    @cached_property
    def numbers(self) -> NDArray[np.floating]:
        """(n, d) float32 or float64: the values as coordinates.

        Raises
        ------
        DataTypeError
            if the values are strings
        DataError
            if an integer is too large for float64
        """
        return as_floats(self.values, self.name)

    @cached_property
    def varying(self) -> NDArray[np.bool_]:
        """(d,) whether the column has more than one value."""
        found = np.zeros(self.d, np.bool_)
        for rows in self._slices():
            found |= (self.values[rows] != self.values[:1]).any(axis=0)
            if found.all():
                break
        return found

    @cached_property
    def standardized(self) -> NDArray[np.floating]:
        """(n, d) C-contiguous: columns of mean 0 and standard deviation 1; constant columns are 0.

        Computed in float64, returned in the dtype of `numbers`.
        """
        origin, mean, largest, spread = self._moments
        out = room_for(self.numbers.shape, self.numbers.dtype, self.numbers)
        for rows, part in self._beyond(origin):
            out[rows] = (part - mean) / largest / spread
        return out

    @cached_property
    def rescaled(self) -> NDArray[np.floating]:
        """(n, d) C-contiguous: every column divided by its `unit`, for distances; in the dtype of `numbers`.

        Nothing is subtracted unless the offset is large: then the median is. So no bit depends on the order of rows.
        """
        numbers, unit = self.numbers, self.unit
        origin, mean, *_ = self._moments
        with np.errstate(over="ignore"):
            far = np.flatnonzero(np.abs(origin + mean) > 8 * unit)
        offset = np.zeros(self.d)
        for column in far:
            offset[column] = np.median(numbers[:, column].astype(np.float64))
        out = room_for(numbers.shape, numbers.dtype, numbers)
        for rows in self._slices():
            out[rows] = (numbers[rows] - offset) / unit
        return out

    @cached_property
    def unit(self) -> NDArray[np.float64]:
        """(d,) standard deviation of each column to 30 bits, which its rounding errors do not reach."""
        mantissa, exponent = np.frexp(self.scale)
        return np.ldexp(np.round(mantissa * 2**30) / 2**30, exponent)

    @cached_property
    def scale(self) -> NDArray[np.float64]:
        """(d,) standard deviation of each column (divided by n); 1 where the column is constant."""
        *_, largest, spread = self._moments
        return largest * spread

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """(d,) first row; mean beyond it; largest distance from the mean; standard deviation in units of that."""
        origin, numbers = self.numbers[0].astype(np.float64), self.numbers
        low, high = numbers.min(axis=0).astype(np.float64), numbers.max(axis=0).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = sum(part.sum(axis=0) for _, part in self._beyond(origin)) / self.n
            largest = np.maximum(np.abs(low - origin - mean), np.abs(high - origin - mean))
        if not np.isfinite(largest).all():
            raise DataError(f"{self.name} spans more than float64 can hold: rescale it.")
        largest[largest == 0] = 1
        # In units of the largest, since squares of 1e200 overflow.
        square = sum(np.square((part - mean) / largest).sum(axis=0) for _, part in self._beyond(origin)) / self.n
        spread = np.sqrt(square)
        spread[spread == 0] = 1
        return origin, mean, largest, spread

    def _beyond(self, origin: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Some rows at a time, float64, less the origin: so a large offset costs nothing."""
        for rows in self._slices():
            yield rows, self.numbers[rows] - origin

    def _slices(self) -> Iterator[slice]:
        """Some rows at a time."""
        step = max(1, _NUMBERS_AT_ONCE // self.d)
        return (slice(start, start + step) for start in range(0, self.n, step))

    @cached_property
    def tie_fraction(self) -> float:
        """Share of samples whose whole row occurs more than once."""
        first = np.sort(self.values[:, 0])
        equal = first[1:] == first[:-1]
        if not equal.any():
            return 0.0
        if self.d == 1:
            return float(np.count_nonzero(np.append(equal, False) | np.append(False, equal)) / self.n)
        return float(self.symbol_counts[self.symbol_counts > 1].sum() / self.n)


def variable(data: Any, name: str) -> Variable:
    """Check one argument.

    Parameters
    ----------
    data : array-like       NumPy, list, torch or CuPy (any device), pandas, polars, memory map; or `discrete`,
                            `continuous`. What lives on a GPU is copied to the host once, for the checks
    name : str              how messages call it

    Raises
    ------
    DataTypeError
        object, complex, date or structured dtype; not an array at all
    DataError
        no samples, no columns, NaN, infinities, missing values
    """
    if data is None:
        raise DataTypeError(f"{name} is None: pass an array with one row a sample.")
    declared = data.kind if isinstance(data, Declared) else None
    data = data.data if isinstance(data, Declared) else data
    array, inferred = _array(data, name)
    if array.ndim == 0:
        raise DataTypeError(f"{name} is a single {array.dtype} value: pass an array with one row a sample.")
    if array.shape[0] == 0:
        raise DataError(f"{name} has no samples (shape {array.shape}): pass at least two.")
    if 0 in array.shape:
        raise DataError(f"{name} has no columns (shape {array.shape}): pass at least one number a sample.")
    values = array.reshape(array.shape[0], -1)
    if values.dtype.kind == "f":
        _check_finite(values, name)
    kind = declared or inferred
    return Variable(name, kind, as_floats(values, name) if kind == "continuous" else values, is_on_device(data))


def variables(*, at_least: int = 2, needed_by: str = "an estimate", **arguments: Any) -> tuple[Variable, ...]:
    """Check the arguments of one estimate together: each alone, then that their rows can be paired.

    Parameters
    ----------
    at_least : int          fewest samples that will do
    needed_by : str         what needs them, for the message: "k=3"
    arguments : array-like  by name; None is passed over, except for x

    Raises
    ------
    DataError
        if the numbers of samples differ, or are too few, or an argument is not valid by itself
    """
    checked = tuple(variable(data, name) for name, data in arguments.items() if data is not None or name == "x")
    first = checked[0]
    for other in checked[1:]:
        if other.n != first.n:
            raise DataError(
                f"{first.name} has {first.n} samples and {other.name} has {other.n}: row i of each must be the same "
                "sample. Pass arrays of equal length along axis 0 (transpose one that has samples in columns)."
            )
    if first.n < at_least:
        raise DataError(
            f"{needed_by} needs at least {at_least} samples, got {first.n}. Lower k or pass more samples."
            if needed_by.startswith("k=")
            else f"{needed_by} needs at least {at_least} samples, got {first.n}: pass more samples."
        )
    return checked


def prepare(arguments: Sequence[Variable], standardize: bool) -> None:
    """Compute what estimates by neighbours ask of their arguments, side by side where these are large."""
    if sum(variable.values.size for variable in arguments) > _WORTH_THREADS:
        together([partial(_prepare, variable, standardize) for variable in arguments])


def _prepare(variable: Variable, standardize: bool) -> None:
    _ = standardize and variable.rescaled, variable.tie_fraction


def as_floats(values: NDArray[Any], name: str) -> NDArray[np.floating]:
    """Values as float32 or float64, in place where they are already; see `Variable.numbers` for what it raises."""
    if values.dtype in (np.float32, np.float64):
        return values
    if values.dtype.kind in "US":
        raise DataTypeError(
            f"{name} holds strings, which are symbols, not coordinates: use an estimator for discrete data "
            "(MixedKSG, Ross, PlugIn), or pass numbers."
        )
    if values.dtype == np.float16:
        return converted(values, np.float32)
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8 and values.size:
        largest = max(abs(int(values.min())), abs(int(values.max())))
        if largest > _EXACT_INTEGERS:
            raise DataError(
                f"{name} has integers up to {largest}, beyond 2**53, where float64 merges neighbours: subtract an "
                "offset, or wrap it in miest.discrete."
            )
    with np.errstate(over="ignore"):
        wide = converted(values, np.float64)
    if values.dtype.kind == "f" and not np.isfinite(wide).all():
        raise DataError(f"{name} has values beyond the range of float64: rescale it.")
    return wide


def _check_finite(values: NDArray[np.floating], name: str) -> None:
    step = max(1, _VALUES_AT_ONCE // values.shape[1])
    nan = infinite = 0
    first = None
    for start in range(0, values.shape[0], step):
        block = values[start : start + step]
        if np.isfinite(block).all():
            continue
        nan += int(np.isnan(block).sum())
        infinite += int(np.isinf(block).sum())
        if first is None:
            first = tuple(int(i) for i in np.argwhere(~np.isfinite(block))[0] + (start, 0))
    if first is not None:
        raise DataError(
            f"{name} has {nan} NaN and {infinite} infinite values, the first in row {first[0]}, column {first[1]}: "
            "drop those rows from every argument, or impute them."
        )


def _array(data: Any, name: str) -> tuple[NDArray[Any], Kind]:
    """A real NumPy array in native byte order, and the kind that its type suggests."""
    source = type(data).__module__.partition(".")[0]
    if source == "torch":
        return _plain(_from_torch(data, name), name)
    if source in ("pandas", "polars"):
        return _from_frame(data, name)
    if source == "scipy" and hasattr(data, "toarray"):
        raise DataTypeError(f"{name} is a sparse matrix: pass {name}.toarray().")
    if isinstance(data, np.ma.MaskedArray):
        if np.ma.getmaskarray(data).any():
            raise DataError(f"{name} has {int(np.ma.getmaskarray(data).sum())} masked values: drop those rows first.")
        data = data.data
    if is_on_device(data) and hasattr(data, "get"):
        data = data.get()  # CuPy
    elif is_on_device(data) and hasattr(data, "copy_to_host"):
        data = data.copy_to_host()  # Numba
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _plain(_from_sequence(data, name), name)
    try:
        array = np.asarray(data)
    except (ValueError, TypeError) as error:
        raise DataTypeError(f"{name} of type {type(data).__name__} is not array-like: {error}.") from error
    if array.ndim == 0 and array.dtype == object:
        raise DataTypeError(
            f"{name} is a {type(data).__name__}, not an array: pass an array with one row a sample (of a generator or "
            "a set, a list)."
        )
    return _plain(array, name)


def _plain(array: NDArray[Any], name: str) -> tuple[NDArray[Any], Kind]:
    kind = array.dtype.kind
    if kind == "f":
        if array.dtype.itemsize == 2:
            array = array.astype(np.float32)
        elif array.dtype.itemsize > 8:
            array = as_floats(array, name)
        return array.astype(array.dtype.newbyteorder("="), copy=False), "continuous"
    if kind in "iub":
        return array.astype(array.dtype.newbyteorder("="), copy=False), "discrete"
    if kind in "US":
        return array, "discrete"
    if kind == "T":  # NumPy's variable-width strings
        return np.array(array.tolist(), np.str_), "discrete"
    reason = {
        "c": f"is complex: pass its parts as columns, np.column_stack([{name}.real, {name}.imag])",
        "O": f"has object dtype: convert it to numbers or strings first, for example {name}.astype(float)",
        "M": "holds dates: pass numbers, for example seconds since the first sample",
        "m": "holds time spans: pass numbers, for example seconds",
        "V": "is a structured array: pass its fields as columns of one dtype",
    }.get(kind, f"has dtype {array.dtype}, which is not real, integer, boolean or string")
    raise DataTypeError(f"{name} {reason}.")


def _from_sequence(data: Sequence[Any], name: str) -> NDArray[Any]:
    if len(data) and all(type(item).__module__.partition(".")[0] == "torch" for item in data):
        data = [_from_torch(item, name) for item in data]
    try:
        array = np.asarray(data)
    except (ValueError, TypeError) as error:
        raise DataTypeError(
            f"{name} is a {type(data).__name__} that is not a rectangular array ({error}): give every sample the "
            "same number of values."
        ) from error
    if array.dtype.kind in "US" and not all(isinstance(item, (str, bytes)) for item in _flat(data)):
        raise DataTypeError(f"{name} mixes strings and numbers, which would turn numbers into text: pass one kind.")
    return array


def _flat(data: Any) -> Any:
    for item in data:
        if isinstance(item, (list, tuple)):
            yield from _flat(item)
        elif isinstance(item, np.ndarray):
            yield from item.ravel().tolist()
        else:
            yield item


def _from_torch(data: Any, name: str) -> NDArray[Any]:
    import torch

    if not isinstance(data, torch.Tensor):
        raise DataTypeError(f"{name} is a {type(data).__name__}, not a tensor: pass the tensor itself.")
    if data.layout is not torch.strided or data.is_quantized:
        raise DataTypeError(f"{name} is a sparse or quantised tensor: pass {name}.to_dense() or {name}.dequantize().")
    if data.device.type == "meta":
        raise DataTypeError(f"{name} is a tensor on the meta device, which holds no values.")
    plain = data.detach().resolve_neg().resolve_conj().cpu()
    if plain.is_floating_point() and plain.dtype not in (torch.float32, torch.float64):
        plain = plain.float()  # bfloat16, float16, float8: NumPy has no bfloat16
    array: NDArray[Any] = plain.numpy()
    return array


def _from_frame(data: Any, name: str) -> tuple[NDArray[Any], Kind]:
    """A pandas or polars column, or a frame whose columns are of one kind."""
    if hasattr(data, "collect"):
        raise DataTypeError(f"{name} is a lazy frame: pass {name}.collect().")
    if not hasattr(data, "columns"):
        return _from_column(data, name)
    series = data.get_columns() if hasattr(data, "get_columns") else [data.iloc[:, i] for i in range(data.shape[1])]
    columns = [_from_column(column, f"{name}[{column.name!r}]") for column in series]
    if not columns:
        raise DataError(f"{name} has no columns (shape {data.shape}): pass at least one.")
    kinds = {kind for _, kind in columns} | {array.dtype.kind in "US" for array, _ in columns}
    if len(kinds) > 2:
        raise DataError(
            f"{name} mixes continuous and discrete columns, or numbers and strings: pass columns of one kind, or one "
            "as given=, or wrap it in miest.continuous after converting it to float."
        )
    return np.column_stack([array for array, _ in columns]), columns[0][1]


def _from_column(data: Any, name: str) -> tuple[NDArray[Any], Kind]:
    missing = int(data.null_count() if hasattr(data, "null_count") else np.asarray(data.isna()).sum())
    if missing:
        raise DataError(f"{name} has {missing} missing values: drop those rows from every argument, or impute them.")
    dtype = str(data.dtype).lower()
    if dtype.startswith(("string", "str", "category", "categorical", "enum")) or (
        dtype == "object" and all(isinstance(item, str) for item in data)
    ):
        labels = data.to_list() if hasattr(data, "to_list") else list(data)
        return _array(labels, name)[0], "discrete"
    array = data.to_numpy()
    if array.dtype == object and hasattr(data.dtype, "numpy_dtype"):  # pandas' nullable numbers, with none missing
        array = data.to_numpy(dtype=data.dtype.numpy_dtype)
    return _plain(array, name)
