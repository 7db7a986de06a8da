"""Finitely many known points plus Gaussian noise: I(J; c_J + s E) = h(c_J + s E) - h(s E) <= ln m.

The sum is a Gaussian mixture whose density is exact, so its entropy is an integral over a line, or an unbiased mean by
Monte-Carlo. Points are the activations of a layer on a probe set, or the centres of classes.
"""

from functools import partial
from math import log, sqrt

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from miest.tasks.channels import ACTIVATIONS, Activation, activated
from miest.tasks.numerics import check_std, noisy_points
from miest.tasks.task import Sample, Task

_AT_ONCE = 1 << 20  # densities of a Monte-Carlo block


def probe_channel(
    points: ArrayLike,
    weights: ArrayLike,
    activation: Activation,
    std: float,
    *,
    name: str,
    truth: tuple[float, float] | None = None,
) -> Task:
    """X uniform over m known points, T = f(X W) + s E: T is a mixture of m Gaussians around the activations.

    This is a noisy layer on a finite probe set. I(X;T) = h(T) - h(s E) <= ln m.

    Parameters
    ----------
    points : (m, dx) array
    weights : (dx, dt) array
    activation : str                "identity", "relu", "tanh" or "sigmoid"
    std : float                     s > 0
    name : str
    truth : (float, float)          mi and mi_error if known; None computes them by `centre_information`

    Raises
    ------
    ValueError
        if the shapes do not fit, for another activation, or s <= 0
    """
    rows, w = np.array(points, np.float64), np.array(weights, np.float64)
    if rows.ndim != 2 or w.ndim != 2 or rows.shape[1] != w.shape[0]:
        raise ValueError(f"points of shape {rows.shape} and weights of shape {w.shape}: need (m, dx) and (dx, dt).")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation={activation!r}: take one of {', '.join(ACTIVATIONS)}.")
    centres = activated(rows @ w, activation)
    mi, error = centre_information(centres, std) if truth is None else truth
    return Task(
        name=name,
        mi=mi,
        mi_error=error,
        dims=(rows.shape[1], w.shape[1]),
        kind="mixed",
        family="probe channel",
        source="I(X;T) = h(T) - h(noise), Gaussian mixture by Monte-Carlo",
        draw=partial(_probed, x=rows, centres=centres, std=float(std)),
    )


def labelled_gaussians(centres: ArrayLike, std: float, *, name: str, truth: tuple[float, float] | None = None) -> Task:
    """X uniform on the labels 0..m-1, Y normal around the centre of its label: I = h(Y) - h(s E) <= ln m.

    Parameters
    ----------
    centres : (m, dy) array
    std : float                 s > 0
    name : str
    truth : (float, float)      mi and mi_error if known; None computes them by `centre_information`
    """
    points = np.array(centres, np.float64)
    mi, error = centre_information(points, std) if truth is None else truth
    return Task(
        name=name,
        mi=mi,
        mi_error=error,
        dims=(1, points.shape[1]),
        kind="mixed",
        family="labelled gaussians",
        source="I(X;Y) = h(Y) - h(noise), by " + ("quadrature" if points.shape[1] == 1 else "Monte-Carlo"),
        draw=partial(_probed, x=np.arange(len(points))[:, None], centres=points, std=float(std)),
    )


def centre_information(centres: ArrayLike, std: float, *, n: int = 100_000, seed: int = 0) -> tuple[float, float]:
    """I(J; c_J + s E) for J uniform over the rows of c: the value and its error, nats.

    Parameters
    ----------
    centres : (m, d) array      equal rows are allowed
    std : float                 s > 0
    n, seed : int               Monte-Carlo points and their seed, where d > 1

    Returns
    -------
    (float, float)
        value; a bound by quadrature for d = 1, else a standard error

    Raises
    ------
    ValueError
        if c is not (m, d) or s <= 0
    """
    c = np.array(centres, np.float64)
    check_std(std)
    if c.ndim != 2 or c.size == 0:
        raise ValueError(f"centres of shape {c.shape}: an (m, d) array is needed.")
    m = len(c)
    if c.shape[1] == 1:
        return noisy_points(c[:, 0], np.full(m, 1 / m), std)
    rng, logs = np.random.default_rng(seed), []
    step = max(1, _AT_ONCE // m)
    for start in range(0, n, step):
        noise = rng.standard_normal((min(step, n - start), c.shape[1]))
        t = c[rng.integers(m, size=len(noise))] / std + noise
        # -|t - c|^2 / 2 in units of s, as one product of matrices
        scores = t @ (c.T / std) - 0.5 * np.square(c / std).sum(axis=1) - 0.5 * np.square(t).sum(axis=1)[:, None]
        logs.append(-0.5 * np.square(noise).sum(axis=1) - logsumexp(scores, axis=1) + log(m))
    ratio = np.concatenate(logs)
    return max(0.0, float(ratio.mean())), float(ratio.std(ddof=1) / sqrt(n))


def _probed(
    n: int,
    rng: Generator,
    *,
    x: NDArray[np.float64] | NDArray[np.int_],
    centres: NDArray[np.float64],
    std: float,
) -> Sample:
    which = rng.integers(len(centres), size=n)
    return Sample(x=x[which], y=centres[which] + std * rng.standard_normal((n, centres.shape[1])))
