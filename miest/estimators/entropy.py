"""Differential entropy from nearest neighbours (Kozachenko & Leonenko 1987)::

h(X) = psi(n) - psi(k) + d < ln 2 radius >            max-norm, Kraskov et al. (2004), eq. 20
"""

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from scipy.special import digamma

from miest.estimators.estimator import WHEN_CHANGED, Estimator, refuse_given, require_integer
from miest.estimators.ksg import distance, numbers_from_symbols, resolved, ties
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
    Cost: O(n log n) in few dimensions, O(n^2 d) otherwise.
    Source: Kozachenko, Leonenko (1987); Kraskov, Stoegbauer, Grassberger (2004), eq. 20.
    """

    k: int = 3
    neighbours: str | Neighbours = field(default="auto", metadata=WHEN_CHANGED)

    def __post_init__(self) -> None:
        require_integer("k", self.k, 1)

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
        radius = backend.kth_radius([sample.standardized], self.k).astype(np.float64)
        if not radius.all():
            raise DataError(
                f"{int((radius == 0).sum())} of {sample.n} samples of x are repeated more than k={self.k} times: an "
                "atom has entropy minus infinity. Use PlugIn on miest.discrete(x), or add noise of a known size."
            )
        log_scale = float(np.log(sample.scale).sum())
        value = digamma(sample.n) - digamma(self.k) + sample.d * np.log(2 * np.sort(radius)).mean() + log_scale
        doubts = [*ties((sample,)), *numbers_from_symbols((sample,)), *distance(radius, (sample,))]
        return MIResult(
            value=float(value),
            n_samples=sample.n,
            estimator=self,
            quantity="h(X)",
            flags=tuple(flag for flag, _ in doubts),
            notes=tuple(note for _, note in doubts),
            diagnostics=Diagnostics(
                neighbours=backend.name, radius_median=float(np.median(radius)), log_scale=log_scale
            ),
            seconds=perf_counter() - started,
        )
