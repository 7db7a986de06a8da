"""Gaussian and Student-t tasks: the truth is a ratio of determinants, whatever the dimension.

Gaussian:   I(X;Y) = 1/2 ln [det S_x det S_y / det S] = -1/2 sum_i ln(1 - r_i^2), r_i the canonical correlations.
Student-t:  the same, plus a constant of the degrees of freedom and the dimensions.
"""

from collections.abc import Sequence
from functools import partial
from math import exp, expm1, log1p, sqrt

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, gammaln

from miest.tasks.numerics import fixed_normals
from miest.tasks.task import Sample, Task

_SHANNON = "Cover & Thomas (2006), Elements of Information Theory, sec. 8.5"
_CZYZ = "Czyż et al. (2023), Beyond Normal, NeurIPS"


def bivariate_gaussian(correlation: float, *, name: str | None = None) -> Task:
    """Two standard normals: I = -1/2 ln(1 - rho^2)."""
    return gaussian_pairs([correlation], name=name or f"gaussian-1x1-rho{correlation:g}")


def gaussian_pairs(
    correlations: Sequence[float], *, dx: int | None = None, dy: int | None = None, name: str | None = None
) -> Task:
    """Sparse Gaussian: column i of X and of Y correlate with rho_i, everything else is independent.

    I = -1/2 sum_i ln(1 - rho_i^2).

    Parameters
    ----------
    correlations : sequence of float    inside (-1, 1)
    dx, dy : int                        columns, at least as many as there are correlations, which is the default

    Raises
    ------
    ValueError
        if a correlation is not inside (-1, 1), or there are more of them than columns

    Notes
    -----
    Source: Cover & Thomas (2006), sec. 8.5; two pairs of 0.8 in 25 x 25 columns are in Czyż et al. (2023).
    """
    rho = [float(r) for r in correlations]
    dx, dy = (len(rho) if d is None else d for d in (dx, dy))
    if not rho or any(not -1 < r < 1 for r in rho) or len(rho) > min(dx, dy):
        raise ValueError(
            f"correlations={rho} with dx={dx}, dy={dy}: need one or more inside (-1, 1), and no more than columns."
        )
    return _pairs(
        rho,
        [sqrt((1 - r) * (1 + r)) for r in rho],
        dx=dx,
        dy=dy,
        mi=max(0.0, -0.5 * sum(log1p(-r * r) for r in rho)),
        name=name or f"gaussian-{dx}x{dy}-{len(rho)}pairs",
    )


def gaussian_with_information(mi: float, d: int = 1, *, name: str | None = None) -> Task:
    """Gaussian of d equally correlated pairs of columns with the information asked for.

    rho^2 = 1 - exp(-2 I / d). What is left over, exp(-I / d), is kept beside rho, so 20 nats in one column are exact.

    Parameters
    ----------
    mi : float      nats, >= 0
    d : int         columns of X and of Y

    Raises
    ------
    ValueError
        if mi < 0 or d < 1
    """
    if mi < 0 or d < 1:
        raise ValueError(f"mi={mi} nats in d={d} columns: mi >= 0 and d >= 1 are needed.")
    rho, left = sqrt(-expm1(-2 * mi / d)), exp(-mi / d)
    return _pairs([rho] * d, [left] * d, dx=d, dy=d, mi=float(mi), name=name or f"gaussian-{d}x{d}-{mi:g}nats")


def gaussian(covariance: ArrayLike, dx: int, *, name: str | None = None, family: str = "gaussian") -> Task:
    """Any joint Gaussian: I = 1/2 ln [det S_x det S_y / det S].

    Parameters
    ----------
    covariance : (dx + dy, dx + dy) array
    dx : int                                how many of the columns are X

    Raises
    ------
    ValueError
        if the matrix is not symmetric and positive definite, or dx leaves X or Y without columns
    """
    joint, factor = checked_covariance(covariance)
    dy = len(joint) - dx
    if min(dx, dy) < 1:
        raise ValueError(f"dx={dx} of {len(joint)} columns leaves X or Y without any: take 1 to {len(joint) - 1}.")
    return Task(
        name=name or f"{family}-{dx}x{dy}",
        mi=gaussian_information(joint, dx),
        dims=(dx, dy),
        kind="continuous",
        family=family,
        source=_SHANNON,
        draw=partial(_elliptical, factor=factor, dx=dx, df=None),
    )


def dense_gaussian(dx: int, dy: int, correlation: float, *, name: str | None = None) -> Task:
    """All pairs of columns, within X, within Y and between, correlate alike.

    One canonical correlation is not zero: r^2 = rho^2 dx dy / [(1 + (dx-1) rho) (1 + (dy-1) rho)].

    Notes
    -----
    Source: Czyż et al. (2023), dense multivariate normals.
    """
    d = dx + dy
    covariance = (1 - correlation) * np.eye(d) + correlation
    return gaussian(covariance, dx, name=name or f"gaussian-{dx}x{dy}-dense{correlation:g}")


def latent_gaussian(dx: int, dy: int, *, rank: int, strength: float, key: int = 0, name: str | None = None) -> Task:
    """Low-rank dependence: X = s Z A + E, Y = s Z B + E', with Z, E, E' standard normal and fixed dense A, B.

    Parameters
    ----------
    dx, dy : int        columns
    rank : int          columns of Z
    strength : float    s; the loadings A, B are standard normal over sqrt(rank), so s^2 is the signal-to-noise ratio
    key : int           which loadings
    """
    loadings = strength / sqrt(rank) * fixed_normals((rank, dx + dy), key=key)
    return gaussian(loadings.T @ loadings + np.eye(dx + dy), dx, name=name or f"gaussian-{dx}x{dy}-latent{rank}")


def student(covariance: ArrayLike, dx: int, *, df: float, name: str | None = None) -> Task:
    """Multivariate Student-t: the information of the Gaussian with the same dispersion, plus a constant.

    c = f(v) + f(v + dx + dy) - f(v + dx) - f(v + dy),  f(a) = ln Gamma(a/2) - a/2 psi(a/2).

    X and Y share the chi-square scale, so they depend on each other even without correlation: c > 0.

    Parameters
    ----------
    covariance : (dx + dy, dx + dy) array   dispersion; the covariance, if there is one, is df / (df - 2) times it
    dx : int                                how many of the columns are X
    df : float                              degrees of freedom v > 0; 1 is Cauchy

    Raises
    ------
    ValueError
        if df <= 0, and as `gaussian`

    Notes
    -----
    Source: Czyż et al. (2023), app. on Student distributions; it follows from the entropy of a d-dimensional t,
    1/2 ln det S + d/2 ln(v pi) + ln Gamma(v/2) - ln Gamma((v+d)/2) + (v+d)/2 [psi((v+d)/2) - psi(v/2)].
    """
    if not df > 0:
        raise ValueError(f"df={df} degrees of freedom: a number above 0 is needed.")
    joint, factor = checked_covariance(covariance)
    dy = len(joint) - dx
    base = gaussian(joint, dx)
    return Task(
        name=name or f"student-{dx}x{dy}-df{df:g}",
        mi=base.mi + max(0.0, student_correction(df, dx, dy)),
        dims=(dx, dy),
        kind="continuous",
        family="student",
        source=_CZYZ,
        draw=partial(_elliptical, factor=factor, dx=dx, df=float(df)),
    )


def student_correction(df: float, dx: int, dy: int) -> float:
    """What a Student-t has in information above the Gaussian of its dispersion, nats; see `student`."""
    terms = np.array([df, df + dx + dy, df + dx, df + dy]) / 2
    f = gammaln(terms) - terms * digamma(terms)
    return float(f[0] + f[1] - f[2] - f[3])


def gaussian_information(covariance: NDArray[np.float64], dx: int) -> float:
    """1/2 ln [det S_x det S_y / det S], nats, of a positive definite matrix whose first dx columns are X."""
    parts = (covariance[:dx, :dx], covariance[dx:, dx:], covariance)
    x, y, xy = (np.linalg.slogdet(part).logabsdet for part in parts)
    return max(0.0, float(x + y - xy) / 2)  # rounding may leave -1e-16


def checked_covariance(covariance: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the matrix as float64 and its lower Cholesky factor; raise if it is not a covariance."""
    joint = np.array(covariance, np.float64)
    if joint.ndim != 2 or joint.shape[0] != joint.shape[1] or not np.allclose(joint, joint.T):
        raise ValueError(f"A covariance of shape {joint.shape} is not symmetric: give a square symmetric matrix.")
    try:
        return joint, np.asarray(np.linalg.cholesky(joint))
    except np.linalg.LinAlgError:
        least = float(np.linalg.eigvalsh(joint)[0])
        raise ValueError(
            f"The covariance has the eigenvalue {least:.3g}: it must be positive definite. Add to its diagonal."
        ) from None


def _pairs(rho: list[float], left: list[float], *, dx: int, dy: int, mi: float, name: str) -> Task:
    return Task(
        name=name,
        mi=mi,
        dims=(dx, dy),
        kind="continuous",
        family="gaussian",
        source=_SHANNON,
        draw=partial(_paired, rho=np.array(rho), left=np.array(left), dx=dx, dy=dy),
    )


def _paired(n: int, rng: Generator, *, rho: NDArray[np.float64], left: NDArray[np.float64], dx: int, dy: int) -> Sample:
    x, y = rng.standard_normal((n, dx)), rng.standard_normal((n, dy))
    y[:, : len(rho)] = rho * x[:, : len(rho)] + left * y[:, : len(rho)]
    return Sample(x=x, y=y)


def _elliptical(n: int, rng: Generator, *, factor: NDArray[np.float64], dx: int, df: float | None) -> Sample:
    rows = rng.standard_normal((n, len(factor))) @ factor.T
    if df is not None:
        rows *= np.sqrt(df / rng.chisquare(df, (n, 1)))
    return Sample(x=rows[:, :dx], y=rows[:, dx:])
