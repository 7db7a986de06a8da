"""The information bottleneck of jointly Gaussian X and Y in closed form (Chechik, Globerson, Tishby & Weiss 2005).

The best Z is a noisy projection A X + noise with noise ~ N(0, 1). With v_i the left eigenvectors of
Cov(X | Y) Cov(X)^-1 and l_1 <= l_2 <= ... its eigenvalues, row i of A is::

a_i v_i,    a_i^2 = (beta (1 - l_i) - 1) / (l_i v_i' Cov(X) v_i)      for beta > beta_i = 1 / (1 - l_i), otherwise 0

so that one more direction opens as beta passes each critical value. 1 - l_i are the squared canonical correlations.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miest.bottleneck.tables import require_beta
from miest.samples import DataError, variables

Array = NDArray[np.float64]

_SINGULAR = 1e-12  # of the largest eigenvalue of a correlation matrix
_FUNCTION = 1e-10  # of what is unknown of a direction of X, given Y


@dataclass(frozen=True, eq=False)
class GaussianBottleneck:
    """Information bottleneck of a joint Gaussian: critical betas, projections, and the curve.

    Parameters
    ----------
    covariance : (d_x + d_y, d_x + d_y) array-like      of X and Y together, X first
    d_x : int                                           columns of X

    Raises
    ------
    ValueError
        if the matrix is not symmetric, not finite or of another size; if a column of X or Y does not vary or is a
        function of others of its own; if a direction of X is a function of Y, whose information is infinite

    Notes
    -----
    Error: exact for the covariance given. For samples that are not Gaussian it is the bottleneck of the Gaussian with
        their covariance.
    Cost: O((d_x + d_y)^3).
    Source: Chechik, Globerson, Tishby, Weiss (2005), Information bottleneck for Gaussian variables, JMLR 6, theorem
        3.1 and section 5.
    """

    covariance: Array
    d_x: int

    def __init__(self, covariance: ArrayLike, d_x: int) -> None:
        given = np.array(covariance, np.float64)
        if given.ndim != 2 or given.shape[0] != given.shape[1]:
            raise DataError(f"a covariance is a square matrix; this has shape {given.shape}.")
        if isinstance(d_x, bool) or int(d_x) != d_x or not 0 < d_x < len(given):
            raise ValueError(f"d_x={d_x!r} must be an integer from 1 to {len(given) - 1}: both X and Y have columns.")
        if not np.isfinite(given).all():
            raise DataError("the covariance has entries that are not finite.")
        if not np.allclose(given, given.T, rtol=1e-8, atol=1e-12 * np.abs(given).max()):
            raise DataError("the covariance is not symmetric.")
        object.__setattr__(self, "covariance", (given + given.T) / 2)
        object.__setattr__(self, "d_x", int(d_x))
        for name, block in (("X", self.covariance_x), ("Y", self.covariance[self.d_x :, self.d_x :])):
            _require_regular(name, block)
        if self.eigenvalues[0] < _FUNCTION:
            raise DataError(
                f"Y determines a direction of X up to {max(self.eigenvalues[0], 0):.1g} of its variance: their mutual "
                "information is infinite. Add noise of a known size to one of them."
            )

    @classmethod
    def of_samples(cls, x: Any, y: Any) -> Self:
        """The bottleneck of the Gaussian with the covariance of paired samples.

        Parameters
        ----------
        x, y : (n, d) float     samples
        """
        x_checked, y_checked = variables(x=x, y=y, needed_by="a covariance")
        joined = np.hstack([x_checked.numbers, y_checked.numbers]).astype(np.float64)
        return cls(np.cov(joined, rowvar=False), x_checked.d)

    @property
    def covariance_x(self) -> Array:
        """(d_x, d_x) covariance of X."""
        return self.covariance[: self.d_x, : self.d_x]

    @cached_property
    def covariance_x_given_y(self) -> Array:
        """(d_x, d_x) covariance of X where Y is known."""
        cross = self.covariance[: self.d_x, self.d_x :]
        return np.asarray(self.covariance_x - cross @ np.linalg.solve(self.covariance[self.d_x :, self.d_x :], cross.T))

    @cached_property
    def _spectrum(self) -> tuple[Array, Array]:
        """(d_x,) eigenvalues l, and (d_x, d_x) eigenvectors as rows, of length 1 in the metric of Cov(X)."""
        # v' Cov(X | Y) = l v' Cov(X): in whitened coordinates it is symmetric.
        values, vectors = np.linalg.eigh(self.covariance_x)
        whiten = vectors / np.sqrt(values)  # whiten' Cov(X) whiten = 1
        eigenvalues, rotated = np.linalg.eigh(whiten.T @ self.covariance_x_given_y @ whiten)
        return np.clip(eigenvalues, None, 1.0), (whiten @ rotated).T

    @property
    def eigenvalues(self) -> Array:
        """(d_x,) of Cov(X | Y) Cov(X)^-1, increasing: the share of each direction of X that Y does not tell."""
        return self._spectrum[0]

    @cached_property
    def critical_betas(self) -> Array:
        """(d_x,) betas at which one more direction is kept, 1 / (1 - eigenvalue), increasing; infinite for none."""
        told = 1 - self.eigenvalues
        return np.where(told > 1e-12, 1 / np.maximum(told, 1e-12), np.inf)

    @property
    def information(self) -> float:
        """I(X;Y), nats."""
        return -0.5 * float(np.log(self.eigenvalues).sum())

    def projection(self, beta: float) -> Array:
        """(k, d_x) matrix A of the best Z = A X + N(0, 1), with a row for each direction that is kept.

        Parameters
        ----------
        beta : float        weight of I(Y;Z) in I(X;Z) - beta I(Y;Z)
        """
        values, vectors = self._spectrum
        kept = self._kept(beta)
        return np.asarray(np.sqrt((beta * (1 - values[kept]) - 1) / values[kept])[:, None] * vectors[kept])

    def rate(self, beta: float) -> float:
        """I(X;Z) of the best Z, nats."""
        values = self.eigenvalues[self._kept(beta)]
        return 0.5 * float(np.log((beta - 1) * (1 - values) / values).sum())

    def relevance(self, beta: float) -> float:
        """I(Y;Z) of the best Z, nats."""
        values = self.eigenvalues[self._kept(beta)]
        return self.rate(beta) - 0.5 * float(np.log(beta * (1 - values)).sum())

    def relevance_at(self, rate: float) -> float:
        """The most of I(Y;Z) that can be kept at a rate I(X;Z), nats.

        Parameters
        ----------
        rate : float    I(X;Z), nats

        Raises
        ------
        ValueError
            if the rate is negative
        """
        if not rate >= 0:
            raise ValueError(f"rate={rate!r} must be at least 0 nats.")
        told = self.eigenvalues[np.isfinite(self.critical_betas)]
        if rate == 0 or not told.size:
            return 0.0
        # With k directions open, rate = (k ln(beta - 1) + sum ln((1 - l) / l)) / 2; it opens one more as it can.
        openness = np.log((1 - told) / told)
        for k in range(len(told), 0, -1):
            log_slope = (2 * rate - openness[:k].sum()) / k  # ln(beta - 1)
            if log_slope + openness[k - 1] > 0:
                break
        # As beta - 1 may overflow: ln(beta (1 - l)) = ln(1 - l) + ln(1 + exp(ln(beta - 1))).
        return rate - 0.5 * float((np.log(1 - told[:k]) + np.logaddexp(0, log_slope)).sum())

    def information_of(self, projection: ArrayLike, noise: ArrayLike | None = None) -> tuple[float, float]:
        """I(X;Z) and I(Y;Z) of any noisy projection Z = A X + noise, by determinants, nats.

        Parameters
        ----------
        projection : (k, d_x) array-like        A
        noise : (k, k) array-like or None       its covariance; None: 1

        Raises
        ------
        ValueError
            if shapes do not fit, or the noise has a direction without variance
        """
        a = np.asarray(projection, np.float64)
        if a.ndim != 2 or a.shape[1] != self.d_x:
            raise DataError(f"a projection has shape (k, {self.d_x}); this has {a.shape}.")
        spread = np.eye(len(a)) if noise is None else np.asarray(noise, np.float64)
        if spread.shape != (len(a), len(a)):
            raise DataError(f"the noise of {len(a)} rows has shape ({len(a)}, {len(a)}); this has {spread.shape}.")
        if not len(a):
            return 0.0, 0.0
        if np.linalg.eigvalsh(spread).min() <= 0:
            raise DataError("the noise needs variance in every direction: without it the information is infinite.")

        def log_det(covariance: Array) -> float:
            return float(np.linalg.slogdet(a @ covariance @ a.T + spread)[1])

        whole, left = log_det(self.covariance_x), log_det(self.covariance_x_given_y)
        return 0.5 * (whole - float(np.linalg.slogdet(spread)[1])), 0.5 * (whole - left)

    def _kept(self, beta: float) -> NDArray[np.bool_]:
        return np.asarray(require_beta(beta) > self.critical_betas)


def _require_regular(name: str, block: Array) -> None:
    """Raise if a covariance has a direction without variance."""
    variances = np.diag(block)
    if not (variances > 0).all():
        still = np.flatnonzero(variances <= 0).tolist()
        raise DataError(f"columns {still} of {name} have no variance: drop them.")
    scale = np.sqrt(variances)
    correlations = np.linalg.eigvalsh(block / np.outer(scale, scale))
    if correlations[0] < _SINGULAR * correlations[-1]:
        raise DataError(
            f"a column of {name} is a linear function of others, or the matrix is no covariance: drop columns, or "
            "pass fewer principal components."
        )
