"""Noisy channels T = f(W X) + noise, as a layer with noise is one: I(X;T) = h(T) - h(noise).

h(T) of a nonlinear layer has no closed form, and a nested Monte-Carlo estimate of it is biased. So X is normal and such
that the units of the layer are independent, each with a one-dimensional density. The other way out, finitely many known
inputs, is in `points`.
"""

from collections.abc import Sequence
from functools import partial
from math import pi, sqrt
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from miest.tasks.gaussian import checked_covariance
from miest.tasks.numerics import check_std, noisy_points, rotation_matrix
from miest.tasks.task import Sample, Task

Activation = Literal["identity", "relu", "tanh", "sigmoid"]

ACTIVATIONS = ("identity", "relu", "tanh", "sigmoid")
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(16)
_MOST_PANELS = 500


def linear_channel(weights: ArrayLike, std: float, covariance: ArrayLike | None = None, *, name: str) -> Task:
    """X normal, T = X W + s E with standard normal E: I = 1/2 ln det(1 + W' S W / s^2).

    Parameters
    ----------
    weights : (dx, dt) array
    std : float                     s > 0
    covariance : (dx, dx) array     S; None is the identity
    name : str

    Raises
    ------
    ValueError
        if s <= 0 or S is not a covariance of X

    Notes
    -----
    Source: Telatar (1999), Capacity of multi-antenna Gaussian channels, doi:10.1002/ett.4460100604.
    """
    w = np.array(weights, np.float64)
    check_std(std)
    if w.ndim != 2:
        raise ValueError(f"weights of shape {w.shape}: a (dx, dt) matrix is needed.")
    _, factor = checked_covariance(np.eye(len(w)) if covariance is None else covariance)
    if len(factor) != len(w):
        raise ValueError(f"weights take {len(w)} columns of X, the covariance has {len(factor)}: make them equal.")
    signal = factor.T @ w / std  # (dx, dt)
    mi = 0.5 * float(np.log1p(np.square(np.linalg.svd(signal, compute_uv=False))).sum())
    return Task(
        name=name,
        mi=mi,
        dims=(w.shape[0], w.shape[1]),
        kind="continuous",
        family="linear channel",
        source="Telatar (1999)",
        draw=partial(_layer, factor=factor, weights=w, activation="identity", std=float(std)),
    )


def neural_channel(
    activation: Activation,
    gains: Sequence[float],
    std: float,
    *,
    dx: int | None = None,
    key: int = 0,
    name: str,
) -> Task:
    """X standard normal, T = f(X W) + s E, where the columns of W are orthogonal and dense.

    Orthogonal columns make the units independent, with pre-activations N(0, g_j^2), so I(X;T) is the sum over the units
    of h(T_j) - h(s E_j): one-dimensional integrals, by `neuron_information`.

    Parameters
    ----------
    activation : str            "identity", "relu", "tanh" or "sigmoid"
    gains : sequence of float   g_j > 0, the norm of each column of W
    std : float                 s > 0
    dx : int                    columns of X, at least as many as there are units, which is the default
    key : int                   which directions
    name : str

    Raises
    ------
    ValueError
        if there are more units than columns of X, and as `neuron_information`
    """
    dx = len(gains) if dx is None else dx
    if not 1 <= len(gains) <= dx:
        raise ValueError(f"{len(gains)} units and dx={dx}: need at least one unit, and no more units than columns.")
    known = {gain: neuron_information(activation, gain, std) for gain in dict.fromkeys(gains)}
    return Task(
        name=name,
        mi=sum(known[gain][0] for gain in gains),
        mi_error=sum(known[gain][1] for gain in gains),
        dims=(dx, len(gains)),
        kind="continuous",
        family="neural channel",
        source="I(X;T) = h(T) - h(noise), independent units by quadrature",
        draw=partial(
            _layer,
            factor=None,
            weights=rotation_matrix(dx, key=key)[:, : len(gains)] * np.asarray(gains, np.float64),
            activation=activation,
            std=float(std),
        ),
    )


def neuron_information(activation: Activation, gain: float, std: float) -> tuple[float, float]:
    """I(Z; f(g Z) + s E) for standard normal Z and E, and a bound of its error, nats.

    Parameters
    ----------
    activation : str    "identity", "relu", "tanh" or "sigmoid"
    gain : float        g > 0
    std : float         s > 0, and not below about g / 200

    Raises
    ------
    ValueError
        for another activation, for g <= 0 or s <= 0, or where s is too small for the quadrature

    Notes
    -----
    Error: the difference of two steps along t; the nodes along z are sixteen for each two standard deviations of noise,
    with a joint at the kink z = 0.
    """
    check_std(std)
    if activation not in ACTIVATIONS or not gain > 0:
        raise ValueError(f"activation={activation!r}, gain={gain}: take one of {', '.join(ACTIVATIONS)}, gain above 0.")
    panels = int(np.ceil(9 * gain / (2 * std)))
    if panels > _MOST_PANELS:
        raise ValueError(f"std={std} is too small for gain={gain}: the quadrature needs std >= {gain / 111:.3g}.")
    ends = np.linspace(0, 9, max(8, panels) + 1)
    half = (ends[1:, None] + ends[:-1, None]) / 2 + np.diff(ends)[:, None] / 2 * _NODES  # (panels, 16)
    z = np.concatenate([-half.ravel()[::-1], half.ravel()])
    weight = np.tile(np.outer(np.diff(ends) / 2, _NODE_WEIGHTS).ravel(), 2)
    weight[: len(z) // 2] = weight[: len(z) // 2][::-1]
    centres = activated(gain * z, activation)
    return noisy_points(centres, weight * np.exp(-np.square(z) / 2) / sqrt(2 * pi), std)


def activated(values: NDArray[np.float64], activation: str) -> NDArray[np.float64]:
    """Apply one of `ACTIVATIONS`."""
    if activation == "identity":
        return values
    if activation == "relu":
        return np.maximum(values, 0)
    return np.asarray(np.tanh(values) if activation == "tanh" else expit(values))


def _layer(
    n: int,
    rng: Generator,
    *,
    factor: NDArray[np.float64] | None,
    weights: NDArray[np.float64],
    activation: str,
    std: float,
) -> Sample:
    x = rng.standard_normal((n, len(weights)))
    if factor is not None:
        x = x @ factor.T
    return Sample(x=x, y=activated(x @ weights, activation) + std * rng.standard_normal((n, weights.shape[1])))
