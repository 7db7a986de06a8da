"""Codes and counts of equal rows, of given values or of values binned on the way: each datum is read once.

A row is hashed to 128 bits by multiply-add with random 32-bit factors, four independent sums of 64 bits::

    sum_w word_w * factor_w  mod 2^64,   w over the 32-bit words of the row

For two different rows one such sum is equal with probability at most 2^-31 over the factors (the words differ
somewhere, and there at most two factors in 2^32 make up for the rest), all four with at most 2^-124. Among 10^6
rows some pair collides with probability below 10^-25, among 10^9 below 10^-19; rows are not compared again.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miest_kernels.cpu_pair_tile import frozen
from miest_kernels.cpu_rows import hash_bins, hash_rows, number_hashes
from miest_kernels.plan import map_rows

_BYTES_AT_ONCE = 2**23  # of rows that one task reads; changes no result
_FACTOR_SEED = 0x6D69657374


def row_codes(values: NDArray[np.generic]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Codes of rows, equal for equal rows, and how often each occurs.

    Parameters
    ----------
    values : (n, ...) bool, integer, float, or strings of fixed width      rows are flattened after axis 0

    Returns
    -------
    codes : (n,) intp               numbered from 0 in the order of first appearance
    counts : (n_symbols,) intp      rows with each code; they sum to n

    Raises
    ------
    TypeError
        if the dtype is of another kind
    ValueError
        if there is no row, or a float is NaN, which equals nothing

    Notes
    -----
    Error: none, but for a hash collision (probability below 1e-25 at n = 10^6). -0.0 equals 0.0.
    Cost: one read of the data, in blocks, so that a memory map may exceed the memory; 32 n bytes beside it.
    """
    values = np.asanyarray(values)
    if values.dtype.kind not in "biufSU" or values.dtype == np.longdouble:
        raise TypeError(
            f"rows of {values.dtype} have no codes: pass bool, integer, float up to 64 bits or fixed-width strings."
        )
    if values.ndim == 0 or values.size == 0:
        raise ValueError(f"values must be (n, ...) with at least one row and column, got {values.shape}.")
    bytes_of_row = values.nbytes // len(values)
    factors = _factors(-(-bytes_of_row // 4))
    return _number(map_rows(value_block, len(values), _rows_at_once(bytes_of_row), values, factors))


def binned_row_counts(
    points: NDArray[np.floating], lower: ArrayLike, scale: ArrayLike, bins: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Codes of rows whose columns fall in the same bins, and how often each occurs.

    The bin of a value is ``clip(floor((value - lower) * scale), 0, bins - 1)``, computed in the dtype of the points,
    to which lower and scale are rounded first; `scale` is one over the width of a bin.

    Parameters
    ----------
    points : (n, d) float32 or float64
    lower : number or (d,)          lower border of the first bin, of each column
    scale : number or (d,)          bins per unit, > 0
    bins : int                      bins of a column; values outside fall in the first or the last

    Returns
    -------
    codes : (n,) intp               numbered from 0 in the order of first appearance
    counts : (n_symbols,) intp      rows with each code; they sum to n

    Raises
    ------
    ValueError
        if points are not (n, d) float32 or float64, hold NaN, lower or scale do not fit, or there are more bins
        than the dtype can number

    Notes
    -----
    Error: none, but for a hash collision (probability below 1e-25 at n = 10^6): the bins equal those of the line
    above in NumPy, bit for bit.
    Cost: one read of the data, in blocks; bins are never stored. 32 n bytes beside the data.
    """
    if points.ndim != 2 or 0 in points.shape or points.dtype not in (np.float32, np.float64):
        raise ValueError(f"points must be (n, d) float32 or float64 with n, d >= 1, got {points.dtype} {points.shape}.")
    most = 2**24 if points.dtype == np.float32 else 2**31
    if not 1 <= bins <= most:
        raise ValueError(f"bins={bins} must be from 1 to {most} for {points.dtype}.")
    d = points.shape[1]
    with np.errstate(over="ignore", under="ignore"):
        low, slope = (np.asarray(a, np.float64).astype(points.dtype) for a in (lower, scale))
    if low.shape not in ((), (d,)) or slope.shape not in ((), (d,)):
        raise ValueError(f"lower and scale must be numbers or of length {d}, got {low.shape} and {slope.shape}.")
    if not (np.isfinite(low).all() and np.isfinite(slope).all() and (slope > 0).all()):
        raise ValueError("lower must be finite and scale finite and positive: a bin needs a width.")
    kind = np.uint8 if bins <= 2**8 else np.uint16 if bins <= 2**16 else np.uint32
    low, slope = (np.array(np.broadcast_to(a, d)) for a in (low, slope))
    factors = _factors(-(-d * np.dtype(kind).itemsize // 4))
    shared = (points, low, slope, points.dtype.type(bins - 1), np.dtype(kind), factors)
    return _number(map_rows(bin_block, len(points), _rows_at_once(d * points.dtype.itemsize), *shared))


def value_block(start: int, stop: int, values: NDArray[np.generic], factors: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Hashes (rows, 2) of rows start to stop."""
    block = np.ascontiguousarray(values[start:stop]).reshape(stop - start, -1)
    if block.dtype.kind == "f":
        if np.isnan(block).any():
            raise ValueError("values hold NaN, which equals nothing: remove those rows or give NaN a value.")
        block = block + block.dtype.type(0)  # -0.0 becomes 0.0
    raw = block.view(np.uint8).reshape(len(block), -1)
    if raw.shape[1] % 4:
        raw = np.pad(raw, ((0, 0), (0, -raw.shape[1] % 4)))
    return hash_rows(frozen(raw.view(np.uint32)), frozen(factors))  # type: ignore[no-any-return]


def bin_block(
    start: int,
    stop: int,
    points: NDArray[np.floating],
    lower: NDArray[np.floating],
    scale: NDArray[np.floating],
    top: np.floating,
    kind: np.dtype[np.unsignedinteger],
    factors: NDArray[np.uint32],
) -> NDArray[np.uint64]:
    """Hashes (rows, 2) of the bins of rows start to stop."""
    block = frozen(points[start:stop])
    words = np.zeros(factors.shape[1], np.uint32)  # one row of bins at a time
    hashes = np.empty((stop - start, 2), np.uint64)
    if not hash_bins(block, frozen(lower), frozen(scale), top, words.view(kind), words, frozen(factors), hashes):
        raise ValueError("points hold NaN, which falls in no bin: remove those rows first.")
    return hashes


def _number(hashes: list[NDArray[np.uint64]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    together = np.concatenate(hashes)
    codes, counts = np.empty(len(together), np.intp), np.empty(len(together), np.intp)
    symbols = number_hashes(together, codes, counts)
    return codes, counts[:symbols].copy()


def _factors(words: int) -> NDArray[np.uint32]:
    """(4, words) random factors, the same in every process."""
    return np.random.default_rng(_FACTOR_SEED).integers(0, 2**32, (4, words), dtype=np.uint32)


def _rows_at_once(bytes_of_row: int) -> int:
    return max(1, _BYTES_AT_ONCE // bytes_of_row)
