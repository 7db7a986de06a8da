"""Uniform noise on a function of a uniform: I(X;Y) = h(Y) - ln(width of the noise)."""

from functools import partial
from math import asin, log, pi
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from miest.tasks.numerics import integral
from miest.tasks.task import Sample, Task

Relation = Literal["linear", "square", "cube", "root", "sine"]
_INVERSE_POWERS = {"linear": 1.0, "square": 1 / 2, "cube": 1 / 3, "root": 2.0}
_RELATIONS = (*_INVERSE_POWERS, "sine")


def additive_uniform(half_width: float, *, name: str | None = None) -> Task:
    """X uniform on (0, 1), Y = X + U(-e, e).

    I = e - ln(2 e) for e <= 1/2, and 1 / (4 e) above: Y has a trapezoid for a density.

    Parameters
    ----------
    half_width : float      e > 0

    Raises
    ------
    ValueError
        if e <= 0

    Notes
    -----
    Source: Czyż et al. (2023), additive noise.
    """
    if not half_width > 0:
        raise ValueError(f"half_width={half_width}: a number above 0 is needed.")
    e = float(half_width)
    return Task(
        name=name or f"additive-uniform-{e:g}",
        mi=e - log(2 * e) if e <= 0.5 else 1 / (4 * e),
        dims=(1, 1),
        kind="continuous",
        family="additive uniform",
        source="Czyż et al. (2023), Beyond Normal, NeurIPS",
        draw=partial(_shifted, half_width=e),
    )


def functional(relation: Relation, width: float, *, name: str | None = None) -> Task:
    """X uniform on (0, 1), Y = f(X) + U(0, w): the narrower the noise, the stronger the dependence.

    Y has the density [F(y) - F(y - w)] / w, F the distribution function of f(X); h(Y) is by quadrature.

    Parameters
    ----------
    relation : str      f: "linear" x, "square" x^2, "cube" x^3, "root" sqrt(x) or "sine" sin(4 pi x), which is not
                        invertible
    width : float       w > 0

    Raises
    ------
    ValueError
        for another relation, or if w <= 0

    Notes
    -----
    Source: Gao, Ver Steeg & Galstyan (2015), Efficient estimation of mutual information for strongly dependent
    variables, AISTATS. Nearest-neighbour estimates need samples exponential in I here.
    """
    if relation not in _RELATIONS or not width > 0:
        raise ValueError(
            f"relation={relation!r}, width={width}: take one of {', '.join(_RELATIONS)} and a width above 0."
        )
    low = -1.0 if relation == "sine" else 0.0
    # Kinks of the density: where either distribution function begins or ends.
    breaks = sorted({low, 1.0, low + width, 1.0 + width})
    entropy, error = integral(partial(_surprise, relation=relation, width=float(width)), breaks)
    return Task(
        name=name or f"{relation}-plus-uniform-{width:g}",
        mi=max(0.0, entropy - log(width)),
        mi_error=error,
        dims=(1, 1),
        kind="continuous",
        family="functional",
        source="Gao, Ver Steeg & Galstyan (2015), AISTATS; h(Y) by quadrature",
        draw=partial(_functional, relation=relation, width=float(width)),
    )


def _below(value: float, relation: str) -> float:
    """P(f(X) <= value)."""
    if relation == "sine":
        return 0.5 + asin(min(1.0, max(-1.0, value))) / pi
    u = min(1.0, max(0.0, value))
    return float(u ** _INVERSE_POWERS[relation])


def _surprise(value: float, *, relation: str, width: float) -> float:
    density = (_below(value, relation) - _below(value - width, relation)) / width
    return -density * log(density) if density > 0 else 0.0


def _relate(x: NDArray[np.float64], relation: str) -> NDArray[np.float64]:
    if relation == "sine":
        return np.asarray(np.sin(4 * pi * x))
    return np.asarray(x ** (1 / _INVERSE_POWERS[relation]))


def _shifted(n: int, rng: Generator, *, half_width: float) -> Sample:
    x = rng.random((n, 1))
    return Sample(x=x, y=x + rng.uniform(-half_width, half_width, (n, 1)))


def _functional(n: int, rng: Generator, *, relation: str, width: float) -> Sample:
    x = rng.random((n, 1))
    return Sample(x=x, y=_relate(x, relation) + width * rng.random((n, 1)))
