"""Fixed numbers that look random, and integrals with an error: what the truths of the tasks are computed with.

Weights and probe points are part of a task's definition, and its truth may be a constant computed once. So they come
from integer arithmetic (SplitMix64), which gives the same numbers for ever; the streams of numpy's generators may
change between versions, and serve for sampling only.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import e, log, pi, sqrt

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import ndtri, xlogy

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def fixed_uniforms(shape: tuple[int, ...], *, key: int) -> NDArray[np.float64]:
    """Numbers in (0, 1), for ever the same for the same shape and key.

    Notes
    -----
    Source: SplitMix64, Steele, Lea & Flood (2014), doi:10.1145/2660193.2660195.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is what is meant
        z = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) + np.uint64(key) * np.uint64(1 << 32)
        z *= _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (((z >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53).reshape(shape)


def fixed_normals(shape: tuple[int, ...], *, key: int) -> NDArray[np.float64]:
    """Standard normal numbers, for ever the same for the same shape and key."""
    return np.asarray(ndtri(fixed_uniforms(shape, key=key)))


def rotation_matrix(d: int, *, key: int) -> NDArray[np.float64]:
    """(d, d) orthogonal matrix without any zero, for ever the same for the same d and key."""
    return np.asarray(np.linalg.qr(fixed_normals((d, d), key=key))[0])


def open_uniform(rng: Generator, *shape: int) -> NDArray[np.float64]:
    """Random uniforms in (0, 1), where quantile functions are finite; the generator's own include 0."""
    return np.maximum(rng.random(shape), 2.0**-54)


def integral(density: Callable[[float], float], points: Sequence[float]) -> tuple[float, float]:
    """Integral over points[0]..points[-1] and a bound of its error; the points between are breaks or kinks."""
    value = error = 0.0
    for low, high in pairwise(points):
        part, off = quad(density, low, high, limit=200, epsabs=1e-11, epsrel=1e-11)
        value, error = value + part, error + off
    return value, error


def noisy_points(centres: NDArray[np.float64], weights: NDArray[np.float64], std: float) -> tuple[float, float]:
    """I(C; C + s E) = h(C + s E) - h(s E) for C on weighted points of a line and normal E, and a bound of its error.

    Notes
    -----
    Error: the trapezoid rule at steps of s/8 and of s/4 along the line, their difference.
    """
    order = np.argsort(centres)
    centres, weights = centres[order], weights[order]
    low, high = centres[0] - 10 * std, centres[-1] + 10 * std
    t = np.linspace(low, high, 2 * int(np.ceil((high - low) / (std / 4))) + 1)
    density = np.empty_like(t)
    for start in range(0, len(t), 256):
        here = t[start : start + 256]  # 32 standard deviations; centres 10 further out add nothing
        first, last = np.searchsorted(centres, [here[0] - 10 * std, here[-1] + 10 * std])
        z = (here[:, None] - centres[first:last]) / std
        density[start : start + 256] = np.exp(-0.5 * np.square(z)) @ weights[first:last] / (std * sqrt(2 * pi))
    terms = -xlogy(density, density) * (t[1] - t[0])
    fine, coarse = float(terms.sum()), float(2 * terms[::2].sum())
    return max(0.0, fine - 0.5 * log(2 * pi * e * std * std)), abs(fine - coarse) + 1e-10


def check_std(std: float) -> None:
    """Raise unless the noise has a spread."""
    if not std > 0:
        raise ValueError(f"std={std}: noise needs a standard deviation above 0, or I(X;T) is infinite.")
