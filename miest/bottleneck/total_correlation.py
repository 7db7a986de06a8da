"""Total correlation of the units of a layer, beside `miest.TotalCorrelation`: as a Gaussian's, and by the chain rule.

    TC(Z) = sum_i h(Z_i) - h(Z) = sum_i I(Z_i; Z_1, ..., Z_{i-1})

It is zero where the units are independent, which Achille & Soatto (2018) call disentangled.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from scipy.special import digamma

from miest.estimators.estimator import Estimator, refuse_given
from miest.estimators.gaussian import GaussianCopula
from miest.estimators.ksg import TotalCorrelation
from miest.result import Diagnostics, Flag, MIResult
from miest.samples import DataError, Variable, variables
from miest.traits import normality

_SKEWED_BELOW, _DETERMINED = 0.95, 1e-10  # as in `miest.Gaussian`


@dataclass(frozen=True, kw_only=True)
class GaussianTotalCorrelation(Estimator):
    """Total correlation of jointly Gaussian columns, -1/2 ln det of their correlation matrix.

    Parameters
    ----------
    correct_bias : bool     subtract the exact bias for Gaussian samples, near d (d - 1) / (4 n)

    Raises
    ------
    ValueError
        if there are fewer than 2 columns that vary, or n <= d + 1, or a second argument or a condition is given

    Notes
    -----
    Error: unbiased for Gaussian data. On other data it is the value of the Gaussian with the same covariance, which
        may lie on either side; SKEWED where the margins show it.
    Wrong when: the columns depend on each other other than linearly. Then `miest.TotalCorrelation` sees more.
    Cost: O(n d^2).
    Source: the bias from Goodman (1963), doi:10.1214/aoms/1177704250.
    """

    correct_bias: bool = True

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Estimate TC(X) from one (n, d) sample, d >= 2; y and given must be left out."""
        started = perf_counter()
        sample = _columns(self, x, y, given)
        values = sample.numbers[:, sample.varying].astype(np.float64)
        n, d = values.shape
        if n <= d + 1:
            raise DataError(f"a covariance of {d} columns needs at least {d + 2} samples, got {n}.")
        scaled = (values - values.mean(0)) / values.std(0)
        spectrum = np.linalg.eigvalsh(scaled.T @ scaled / n)
        doubts, log_det = [], float(np.log(np.maximum(spectrum, _DETERMINED)).sum())
        if spectrum[0] < _DETERMINED:
            doubts.append((Flag.DETERMINISTIC, "a column is a linear function of the others: TC is infinite."))
            log_det = -math.inf
        nu = n - 1
        bias = 0.5 * float((digamma(nu / 2) - digamma((nu - np.arange(d)) / 2)).sum())
        least = float(normality(sample).min())
        if least < _SKEWED_BELOW:
            doubts.append(
                (Flag.SKEWED, f"a column is far from Gaussian (normality {least:.3f}): use TotalCorrelation.")
            )
        return MIResult(
            value=-log_det / 2 - (bias if self.correct_bias else 0.0),
            n_samples=n,
            estimator=self,
            quantity="TC(X)",
            flags=tuple(flag for flag, _ in doubts),
            notes=tuple(note for _, note in doubts),
            diagnostics=Diagnostics(bias=bias, columns=d),
            seconds=perf_counter() - started,
        )


@dataclass(frozen=True, kw_only=True)
class ChainedTotalCorrelation(Estimator):
    """Total correlation as the sum of what each column shares with those before it, by any estimator of I(X;Y).

    Parameters
    ----------
    estimator : Estimator       of the terms; a neural one sees more of many columns than neighbours do

    Raises
    ------
    ValueError
        if there are fewer than 2 columns that vary, or a second argument or a condition is given

    Notes
    -----
    Error: the sum of d - 1 errors, which have one sign where the estimator has a bias.
    Kind: that of the estimator: a sum of lower bounds is a lower bound.
    Cost: d - 1 estimates.
    """

    estimator: Estimator = field(default_factory=GaussianCopula)

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Estimate TC(X) from one (n, d) sample, d >= 2; y and given must be left out."""
        started = perf_counter()
        sample = _columns(self, x, y, given)
        values = sample.numbers[:, sample.varying]
        terms = [
            self.estimator.estimate(values[:, :before], values[:, before : before + 1], seed=seed)
            for before in range(1, values.shape[1])
        ]
        return MIResult(
            value=sum(term.value for term in terms),
            n_samples=sample.n,
            estimator=self,
            quantity="TC(X)",
            kind=terms[0].kind,
            flags=tuple(dict.fromkeys(flag for term in terms for flag in term.flags)),
            notes=tuple(f"column {i}: {note}" for i, term in enumerate(terms, start=1) for note in term.notes),
            diagnostics=Diagnostics(terms=[term.value for term in terms]),
            seconds=perf_counter() - started,
        )


def _columns(estimator: Estimator, x: Any, y: Any, given: Any) -> Variable:
    refuse_given(estimator, given)
    if y is not None:
        raise ValueError(f"{estimator.name} takes one argument, the columns of which it compares: leave y out.")
    (sample,) = variables(x=x, at_least=4, needed_by="a total correlation")
    if sample.varying.sum() < 2:
        raise DataError(f"the total correlation needs at least 2 columns that vary, x has {sample.varying.sum()}.")
    return sample


def compare_total_correlations(
    z: Any, *, estimators: Iterable[Estimator] | None = None, seed: int | None = None
) -> dict[str, MIResult]:
    """Total correlation of the columns of one sample, by several estimators.

    Parameters
    ----------
    z : (n, d) array-like
    estimators : iterable of Estimator      None: as a Gaussian's, chained by Gaussian copulas, and by neighbours
    seed : int or None

    Returns
    -------
    dict of str to MIResult                 by the text of the estimator, in their order
    """
    used = (
        (GaussianTotalCorrelation(), ChainedTotalCorrelation(), TotalCorrelation())
        if estimators is None
        else estimators
    )
    return {str(estimator): estimator.estimate(z, seed=seed) for estimator in used}
