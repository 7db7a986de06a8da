"""Renyi entropy of second order, of symbols or of a quantised variable: how often two rows agree, as a logarithm::

H2([X]_m) = -ln sum p^2 = -ln P([X]_m = [X']_m),     [X]_m = floor(m X) / m

Against ln m it grows with the correlation dimension of X as slope.
"""

import math
from dataclasses import dataclass, field
from numbers import Real
from time import perf_counter
from typing import Any

import numpy as np
from scipy.special import ndtri

from miest.estimators.estimator import WHEN_CHANGED, Estimator, refuse_given
from miest.result import Diagnostics, Flag, MIResult
from miest.samples import DataError, variables
from miest_kernels.rows import row_codes

_FEW = 10  # agreeing pairs, below which the value hangs on a few
_LARGEST = 2.0**62  # number of a cell


@dataclass(frozen=True, kw_only=True)
class Renyi2(Estimator):
    """Renyi entropy of second order, H2, of a discrete variable or of a continuous one in cells of equal width.

    Parameters
    ----------
    width : float or None   of the cells, 1 / m, in the units of x, with edges at its multiples; None for symbols
    level : float           of the interval

    Raises
    ------
    ValueError
        if a continuous variable comes without a width, or a discrete one with it; if a second argument is given

    Notes
    -----
    Error: sum p^2 is estimated without bias, by the share of pairs of rows that agree; its logarithm is biased by about
        half its relative variance.
    Interval: normal, by the variance of that share (a U-statistic) at the frequencies seen; None without any agreement,
        where the value is that of one pair and is called a lower bound.
    Cost: O(n d) time and memory.
    Source: Amjad, Geiger (2020), eq. 8; Csiszar (1962).
    """

    width: float | None = None
    level: float = field(default=0.95, metadata=WHEN_CHANGED)

    def __post_init__(self) -> None:
        width = self.width
        if width is not None:
            if isinstance(width, bool) or not isinstance(width, Real) or not 0 < width < math.inf:
                raise ValueError(f"width={width!r} must be a finite number above 0, in the units of x.")
            object.__setattr__(self, "width", float(width))
        if not 0 < self.level < 1:
            raise ValueError(f"level={self.level} must be between 0 and 1.")

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Estimate H2(X), or H2([X]_m), from one (n, d) sample; y and given must be left out."""
        started = perf_counter()
        refuse_given(self, given)
        if y is not None:
            raise ValueError("Renyi2 takes one sample: leave y out, or join both as columns.")
        (sample,) = variables(x=x)
        if sample.is_discrete and self.width is not None:
            raise ValueError(f"width={self.width} is for continuous samples, and x is discrete: leave it out.")
        if not sample.is_discrete and self.width is None:
            raise ValueError(
                "Renyi2 of a continuous sample needs width=, of the cells that it is quantised into: without, the "
                "entropy is infinite. Wrap x in miest.discrete(x) if its values are symbols."
            )
        counts = sample.symbol_counts
        if self.width is not None:
            cells = np.floor(sample.numbers.astype(np.float64) / self.width)
            if not np.abs(cells).max() < _LARGEST:
                raise DataError(f"cells of width {self.width:g} cannot be numbered for x: pass a larger width.")
            counts = np.bincount(row_codes(cells.astype(np.int64))[0])
        n = sample.n
        agreeing = _falling(counts, 2) / 2
        pairs = n * (n - 1) / 2
        doubts = []
        value, stderr = math.log(pairs), math.nan
        if agreeing:
            share = agreeing / pairs
            value = -math.log(share)
            stderr = _stderr(share, counts, n) / share
        if agreeing < _FEW:
            doubts.append(
                (
                    Flag.UNDERSAMPLED,
                    f"{agreeing:.0f} of {pairs:,.0f} pairs of rows agree: too few to know how often they do. Pass more "
                    "samples" + (", or a larger width." if self.width is not None else "."),
                )
            )
        reach = float(ndtri((1 + self.level) / 2)) * stderr
        return MIResult(
            value=value,
            n_samples=n,
            estimator=self,
            quantity="H2([X]_m)" if self.width is not None else "H2(X)",
            kind="point" if agreeing else "lower bound",
            interval=(value - reach, value + reach) if math.isfinite(reach) else None,
            level=self.level,
            ceiling=math.log(pairs),
            flags=tuple(flag for flag, _ in doubts),
            notes=tuple(note for _, note in doubts),
            diagnostics=Diagnostics(
                agreeing_pairs=agreeing, cells_seen=int(np.count_nonzero(counts)), stderr=stderr, width=self.width
            ),
            seconds=perf_counter() - started,
        )


def _falling(counts: Any, order: int) -> float:
    """Sum of c (c - 1) ... over the counts, in float64: of many equal rows the product leaves int64."""
    wide = np.asarray(counts, np.float64)
    return float(np.prod([wide - i for i in range(order)], axis=0).sum())


def _stderr(share: float, counts: Any, n: int) -> float:
    """Standard error of the share of agreeing pairs."""
    triples = _falling(counts, 3) / max(1.0, n * (n - 1.0) * (n - 2.0))
    within = max(0.0, triples - share**2)  # of what one row expects
    return math.sqrt(2 / (n * (n - 1.0)) * (2 * (n - 2) * within + share * (1 - share)))
