"""Differential entropy from nearest neighbours (Kozachenko & Leonenko 1987)::

h(X) = psi(n) - psi(k) + d < ln 2 radius >            max-norm, Kraskov et al. (2004), eq. 20
"""

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from miest.estimators.estimator import WHEN_CHANGED, Estimator, refuse_given, require_integer
from miest.estimators.ksg import distance, for_part, numbers_from_symbols, resolved, ties
from miest.estimators.subsampling import require_level, subsampled_interval, subsampled_spread
from miest.result import Diagnostics, MIResult
from miest.samples import DataError, variables
from miest_kernels import Neighbours


@dataclass(frozen=True, kw_only=True)
class KozachenkoLeonenko(Estimator):
    """Differential entropy h(X) of one continuous sample by k-nearest neighbours.

    Parameters
    ----------
    k : int                     neighbours
    neighbours : str or Neighbours
    level : float or None       of the interval; None makes none, which is quicker

    Raises
    ------
    ValueError
        if k >= n, a value is not finite, a column is constant, more than k rows are identical (both have entropy minus
        infinity), or a second argument is given

    Notes
    -----
    Columns are standardised first and the logarithm of their scales is added back, so that a change of units shifts the
    value by exactly ln of the factor.
    Error: standard deviation near 1.2 / sqrt(n) for a Gaussian column; biased upwards in many dimensions, where the
    density is not constant among the neighbours (HIGH_DIMENSION).
    Interval: by subsampling, for independent rows. Coverage at 95% for a Gaussian column, at n = 500, 2,000, 10,000, of
    250 repetitions: 96.0%, 96.4%, 98.4%.
    Cost: O(n log n) in few dimensions, O(n^2 d) otherwise.
    Source: Kozachenko, Leonenko (1987); Kraskov, Stoegbauer, Grassberger (2004), eq. 20.
    """

    k: int = 3
    neighbours: str | Neighbours = field(default="auto", metadata=WHEN_CHANGED)
    level: float | None = field(default=0.95, metadata=WHEN_CHANGED)

    def __post_init__(self) -> None:
        require_integer("k", self.k, 1)
        require_level(self.level)

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Estimate h(X) from one (n, d) sample; y and given must be left out."""
        started = perf_counter()
        refuse_given(self, given)
        if y is not None:
            raise ValueError("KozachenkoLeonenko takes one argument: h(X) of one sample. Leave y out, or use KSG.")
        (sample,) = variables(x=x, at_least=self.k + 1, needed_by=f"k={self.k}")
        if not sample.varying.all():
            still = np.flatnonzero(~sample.varying)
            raise DataError(
                f"columns {still[:10].tolist()} of x do not vary: their differential entropy is minus infinity. Drop "
                "them, or add noise of a known size."
            )
        backend = resolved(self.neighbours, sample.n, sample.d)
        radius = backend.kth_radius([sample.rescaled], self.k).astype(np.float64)
        if not radius.all():
            raise DataError(
                f"{int((radius == 0).sum())} of {sample.n} samples of x are repeated more than k={self.k} times: an "
                "atom has entropy minus infinity. Use PlugIn on miest.discrete(x), or add noise of a known size."
            )
        log_scale = float(np.log(sample.unit).sum())
        value = digamma(sample.n) - digamma(self.k) + sample.d * np.log(2 * np.sort(radius)).mean() + log_scale
        doubts = [*ties((sample,), radius), *numbers_from_symbols((sample,)), *distance(radius, (sample,))]
        flags = tuple(flag for flag, _ in doubts)

        def value_of(rows: NDArray[np.intp]) -> float:
            near = for_part(self.neighbours, rows.size, sample.d)
            reach = near.kth_radius([sample.rescaled[rows]], self.k).astype(np.float64)
            return float(digamma(rows.size) + sample.d * np.log(reach).mean())  # constants have no spread

        interval, made = subsampled_interval(
            float(value), self.level, flags, lambda: subsampled_spread(value_of, sample.n, self.k, seed, smoothing=0.0)
        )
        return MIResult(
            value=float(value),
            interval=interval,
            level=self.level or 0.95,
            n_samples=sample.n,
            estimator=self,
            quantity="h(X)",
            flags=flags,
            notes=tuple(note for _, note in doubts),
            diagnostics=Diagnostics(
                neighbours=backend.name, radius_median=float(np.median(radius)), log_scale=log_scale, **made
            ),
            seconds=perf_counter() - started,
        )
