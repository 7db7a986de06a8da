"""Gaussian-mixture joints: bimodal, crossed, ring-like; their truth is an integral.

In 1 x 1 dimensions I = integral p(x,y) ln [p(x,y) / p(x) p(y)] by the trapezoid rule, which converges faster than any
power for smooth densities that vanish at the ends; above, a Monte-Carlo mean of the same logarithm, with its error.
"""

from dataclasses import dataclass
from functools import partial
from math import log, pi

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from miest.tasks.gaussian import checked_covariance
from miest.tasks.task import Sample, Task

_AT_ONCE = 1 << 16  # rows of a Monte-Carlo block
_MOST_POINTS = 4_000  # of the finer grid along one axis


@dataclass(frozen=True, eq=False)
class _Mixture:
    """Weights (m,), means (m, d) and lower Cholesky factors (m, d, d) of the components."""

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    factors: NDArray[np.float64]

    def marginal(self, columns: slice) -> "_Mixture":
        covariances = self.factors @ self.factors.transpose(0, 2, 1)
        factors = np.linalg.cholesky(covariances[:, columns, columns])
        return _Mixture(self.weights, self.means[:, columns], np.asarray(factors))

    def log_density(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) log-density at (n, d) rows."""
        terms = np.empty((len(self.weights), len(rows)))
        for j, (weight, mean, factor) in enumerate(zip(self.weights, self.means, self.factors, strict=True)):
            z = np.linalg.solve(factor, (rows - mean).T)  # (d, n)
            scale = log(weight) - np.log(np.diag(factor)).sum() - 0.5 * len(mean) * log(2 * pi)
            terms[j] = scale - 0.5 * np.square(z).sum(axis=0)
        return np.asarray(logsumexp(terms, axis=0))

    def draw(self, n: int, rng: Generator) -> NDArray[np.float64]:
        """(n, d) rows."""
        which = rng.choice(len(self.weights), n, p=self.weights)
        z = rng.standard_normal((n, self.means.shape[1]))
        for j, factor in enumerate(self.factors):
            mine = which == j
            z[mine] = z[mine] @ factor.T
        return np.asarray(z + self.means[which])


def gaussian_mixture(
    weights: ArrayLike,
    means: ArrayLike,
    covariances: ArrayLike,
    dx: int = 1,
    *,
    name: str,
    truth: tuple[float, float] | None = None,
) -> Task:
    """Joint density sum_j w_j N((x, y); m_j, S_j).

    Parameters
    ----------
    weights : (m,) array            positive, summing to 1
    means : (m, dx + dy) array
    covariances : (m, dx + dy, dx + dy) array, or one matrix for all components
    dx : int                        how many of the columns are X
    name : str
    truth : (float, float)          mi and mi_error if known; None computes them by `mixture_information`

    Raises
    ------
    ValueError
        if the shapes do not fit, the weights are not probabilities, or a matrix is not positive definite
    """
    mixture = _mixture(weights, means, covariances, dx)
    mi, error = _information(mixture, dx) if truth is None else truth
    return Task(
        name=name,
        mi=mi,
        mi_error=error,
        dims=(dx, mixture.means.shape[1] - dx),
        kind="continuous",
        family="gaussian mixture",
        source="definition of I(X;Y), by " + ("quadrature" if mixture.means.shape[1] == 2 else "Monte-Carlo"),
        draw=partial(_rows, mixture=mixture, dx=dx),
    )


def mixture_information(
    weights: ArrayLike,
    means: ArrayLike,
    covariances: ArrayLike,
    dx: int = 1,
    *,
    n: int = 100_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Mutual information of a Gaussian mixture and its error, nats.

    Parameters
    ----------
    weights, means, covariances, dx     as in `gaussian_mixture`
    n, seed : int                       Monte-Carlo points and their seed, where the joint has more than two columns

    Returns
    -------
    (float, float)
        value; the difference of two grids in two dimensions, a standard error otherwise
    """
    return _information(_mixture(weights, means, covariances, dx), dx, n=n, seed=seed)


def _information(mixture: _Mixture, dx: int, *, n: int = 100_000, seed: int = 0) -> tuple[float, float]:
    if mixture.means.shape[1] == 2:
        return _by_quadrature(mixture)
    x, y, rng = mixture.marginal(slice(dx)), mixture.marginal(slice(dx, None)), np.random.default_rng(seed)
    logs = []
    for start in range(0, n, _AT_ONCE):
        rows = mixture.draw(min(_AT_ONCE, n - start), rng)
        logs.append(mixture.log_density(rows) - x.log_density(rows[:, :dx]) - y.log_density(rows[:, dx:]))
    ratio = np.concatenate(logs)
    return float(ratio.mean()), float(ratio.std(ddof=1) / np.sqrt(n))


def _by_quadrature(mixture: _Mixture) -> tuple[float, float]:
    # The narrowest width of a component in any direction sets the step, a quarter of it and an eighth.
    narrowest = min(float(np.linalg.svd(factor, compute_uv=False)[-1]) for factor in mixture.factors)
    spreads = np.sqrt(np.square(mixture.factors).sum(axis=2))  # (m, 2) standard deviations along x and y
    axes, points = [], 0
    for low, high in zip(
        (mixture.means - 9 * spreads).min(axis=0), (mixture.means + 9 * spreads).max(axis=0), strict=True
    ):
        steps = 2 * int(np.ceil((high - low) / (narrowest / 4)))
        axes.append(np.linspace(low, high, steps + 1))
        points = max(points, steps)
    if points > _MOST_POINTS:
        raise ValueError(
            f"A component is only {narrowest:.3g} wide, so the grid would have {points} points a side: pass truth="
        )
    x, y = axes
    # Trapezoid ends are left at full weight: nine standard deviations out, the density is below 1e-17 of its peak.
    log_x = mixture.marginal(slice(1)).log_density(x[:, None])
    log_y = mixture.marginal(slice(1, None)).log_density(y[:, None])
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    joint = mixture.log_density(grid).reshape(len(x), len(y))
    terms = np.exp(joint) * (joint - log_x[:, None] - log_y)
    cell = (x[1] - x[0]) * (y[1] - y[0])
    fine, coarse = float(terms.sum() * cell), float(terms[::2, ::2].sum() * 4 * cell)
    return max(0.0, fine), abs(fine - coarse) + 1e-12


def _mixture(weights: ArrayLike, means: ArrayLike, covariances: ArrayLike, dx: int) -> _Mixture:
    w, m = np.array(weights, np.float64), np.array(means, np.float64)
    if w.ndim != 1 or m.ndim != 2 or len(w) != len(m) or (w <= 0).any() or abs(w.sum() - 1) > 1e-9:
        raise ValueError(
            f"weights of shape {w.shape} with sum {w.sum():.6g} and means of shape {m.shape}: need m positive weights "
            "with sum 1 and (m, dx + dy) means."
        )
    d = m.shape[1]
    if not 1 <= dx < d:
        raise ValueError(f"dx={dx} of {d} columns leaves X or Y without any: take 1 to {d - 1}.")
    matrices = np.broadcast_to(np.array(covariances, np.float64), (len(w), d, d))
    return _Mixture(w / w.sum(), m, np.stack([checked_covariance(matrix)[1] for matrix in matrices]))


def _rows(n: int, rng: Generator, *, mixture: _Mixture, dx: int) -> Sample:
    rows = mixture.draw(n, rng)
    return Sample(x=rows[:, :dx], y=rows[:, dx:])
