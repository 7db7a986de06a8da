"""Discrete tasks: integers whose joint table is known, so the truth is a sum."""

from functools import partial
from math import log

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from miest.tasks.numerics import fixed_uniforms
from miest.tasks.task import Sample, Task

_SUM = "Cover & Thomas (2006), Elements of Information Theory, ch. 2 and 7"


def discrete_table(probabilities: ArrayLike, *, name: str) -> Task:
    """X and Y are the row and the column of a joint table: I = sum p_ij ln [p_ij / (p_i. p_.j)].

    Parameters
    ----------
    probabilities : (a, b) array    not negative; scaled to sum 1
    name : str

    Raises
    ------
    ValueError
        if the table is not two-dimensional, or has a negative, infinite or no positive entry
    """
    table = checked_table(probabilities, 2)
    outer = table.sum(axis=1, keepdims=True) * table.sum(axis=0)
    return Task(
        name=name,
        mi=max(0.0, float((xlogy(table, table) - xlogy(table, np.where(table > 0, outer, 1))).sum())),
        dims=(1, 1),
        kind="discrete",
        family="discrete table",
        source=_SUM,
        draw=partial(_cells, cumulative=np.cumsum(table), columns=table.shape[1]),
    )


def fixed_table(rows: int, columns: int, *, concentration: float = 1.0, key: int = 0, name: str | None = None) -> Task:
    """A table of fixed irregular probabilities, proportional to (-ln u)^(1/a) with fixed uniforms u.

    Parameters
    ----------
    rows, columns : int
    concentration : float       a; the smaller, the fewer cells hold most of the probability
    key : int                   which table
    """
    table = (-np.log(fixed_uniforms((rows, columns), key=key))) ** (1 / concentration)
    return discrete_table(table, name=name or f"table-{rows}x{columns}-{concentration:g}")


def symmetric_channel(symbols: int, error: float, *, name: str | None = None) -> Task:
    """X uniform on m symbols; Y = X, or with probability e any of the others.

    I = ln m - H(e) - e ln(m - 1), H the entropy of a coin; e = 0 is a copy.

    Raises
    ------
    ValueError
        if m < 2 or e is not a probability
    """
    if symbols < 2 or not 0 <= error <= 1:
        raise ValueError(f"symbols={symbols}, error={error}: at least 2 symbols and a probability are needed.")
    return Task(
        name=name or f"symmetric-channel-{symbols}-{error:g}",
        mi=max(0.0, log(symbols) - coin_entropy(error) - error * log(symbols - 1)),
        dims=(1, 1),
        kind="discrete",
        family="symmetric channel",
        source=_SUM,
        draw=partial(_symmetric, symbols=symbols, error=float(error)),
    )


def binary_symmetric(flip: float, bits: int = 1, *, name: str | None = None) -> Task:
    """Fair bits, each flipped with probability e: I = k (ln 2 - H(e)); X and Y have k columns.

    Raises
    ------
    ValueError
        if e is not a probability or k < 1
    """
    _check_bits(flip, bits)
    return Task(
        name=name or f"binary-symmetric-{bits}x{flip:g}",
        mi=max(0.0, bits * (log(2) - coin_entropy(flip))),
        dims=(bits, bits),
        kind="discrete",
        family="binary symmetric channel",
        source=_SUM,
        draw=partial(_flipped, flip=float(flip), bits=bits),
    )


def parity(bits: int, flip: float = 0.0, *, name: str | None = None) -> Task:
    """X is k fair bits, Y their parity, flipped with probability e: I = ln 2 - H(e); no k - 1 bits tell anything.

    Raises
    ------
    ValueError
        if e is not a probability or k < 1
    """
    _check_bits(flip, bits)
    return Task(
        name=name or f"parity-{bits}-{flip:g}",
        mi=max(0.0, log(2) - coin_entropy(flip)),
        dims=(bits, 1),
        kind="discrete",
        family="parity",
        source=_SUM,
        draw=partial(_parity, flip=float(flip), bits=bits),
    )


def coin_entropy(p: float) -> float:
    """Entropy of a coin, -p ln p - (1 - p) ln(1 - p), nats."""
    return float(-xlogy(p, p) - xlogy(1 - p, 1 - p))


def checked_table(probabilities: ArrayLike, axes: int) -> NDArray[np.float64]:
    """Return a table of probabilities that sum to 1; raise if it is none."""
    table = np.array(probabilities, np.float64)
    if table.ndim != axes or not np.isfinite(table).all() or (table < 0).any() or table.sum() <= 0:
        raise ValueError(
            f"A table of shape {table.shape} with sum {table.sum():.6g} is no joint distribution: it needs {axes} "
            "axes, finite entries >= 0 and one of them above 0."
        )
    return np.asarray(table / table.sum())


def drawn_cells(n: int, rng: Generator, cumulative: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) flat cells of a table with these cumulative probabilities; cells of probability 0 are never drawn."""
    cells = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    return np.asarray(cells, np.int64)


def _check_bits(flip: float, bits: int) -> None:
    if bits < 1 or not 0 <= flip <= 1:
        raise ValueError(f"bits={bits}, flip={flip}: at least 1 bit and a probability are needed.")


def _cells(n: int, rng: Generator, *, cumulative: NDArray[np.float64], columns: int) -> Sample:
    cells = drawn_cells(n, rng, cumulative)[:, None]
    return Sample(x=cells // columns, y=cells % columns)


def _symmetric(n: int, rng: Generator, *, symbols: int, error: float) -> Sample:
    x = rng.integers(symbols, size=(n, 1))
    wrong = rng.random((n, 1)) < error
    return Sample(x=x, y=np.where(wrong, (x + rng.integers(1, symbols, size=(n, 1))) % symbols, x))


def _flipped(n: int, rng: Generator, *, flip: float, bits: int) -> Sample:
    x = rng.integers(2, size=(n, bits))
    return Sample(x=x, y=x ^ (rng.random((n, bits)) < flip))


def _parity(n: int, rng: Generator, *, flip: float, bits: int) -> Sample:
    x = rng.integers(2, size=(n, bits))
    return Sample(x=x, y=(x.sum(axis=1, keepdims=True) % 2) ^ (rng.random((n, 1)) < flip))
