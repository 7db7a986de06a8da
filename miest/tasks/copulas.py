"""Archimedean copulas on the unit square; other margins come from `mapped` with `margin`.

The truth of each follows from the law of W = C(U, V), K(w) = w - phi(w) / phi'(w) (Genest & Rivest 1993,
doi:10.1080/01621459.1993.10476372), because the log-density of an Archimedean copula is a function of U, of V and of W
alone, each with a known law. That leaves one-dimensional integrals, most of them closed.
"""

from functools import partial
from math import exp, expm1, isfinite, log

import numpy as np
from numpy.random import Generator
from scipy.special import exp1

from miest.tasks.numerics import integral, open_uniform
from miest.tasks.task import Sample, Task

_KENDALL = "law of C(U, V): Genest & Rivest (1993)"


def clayton(theta: float, *, name: str | None = None) -> Task:
    """Clayton copula, strong dependence where both are small: I = ln(1 + theta) - theta / (1 + theta).

    C(u, v) = (u^-theta + v^-theta - 1)^(-1/theta); Kendall's tau is theta / (theta + 2).

    Raises
    ------
    ValueError
        if theta <= 0

    Notes
    -----
    Source: E ln c with E ln U = E ln V = -1 and -theta E ln W = (theta + 1) - 1 / (theta + 1).
    """
    if not (theta > 0 and isfinite(theta)):
        raise ValueError(f"theta={theta}: a Clayton copula needs a finite theta above 0.")
    mi = log(1 + theta) - theta / (1 + theta)
    return _copula("clayton", theta, mi, 0.0, partial(_clayton, theta=float(theta)), name)


def gumbel(theta: float, *, name: str | None = None) -> Task:
    """Gumbel copula, strong dependence where both are large.

    I = gamma - 1 + ln a + [1 + exp(a) E1(a)] / theta with a = theta - 1 and gamma = 0.5772...

    C(u, v) = exp(-[(-ln u)^theta + (-ln v)^theta]^(1/theta)); Kendall's tau is 1 - 1/theta.

    Raises
    ------
    ValueError
        if theta is not in [1, 500]

    Notes
    -----
    Source: E ln c with T = -ln W, of density exp(-t) (1 - 1/theta + t/theta), in E ln T and E ln(T + theta - 1).
    """
    if not 1 <= theta <= 500:  # exp(a) overflows a little later
        raise ValueError(f"theta={theta}: a Gumbel copula needs a theta in [1, 500].")
    a = theta - 1
    mi = 0.0 if a == 0 else float(np.euler_gamma) - 1 + log(a) + (1 + exp(a) * float(exp1(a))) / theta
    return _copula("gumbel", theta, max(0.0, mi), 0.0, partial(_gumbel, theta=float(theta)), name)


def frank(theta: float, *, name: str | None = None) -> Task:
    """Frank copula, equal in both corners: I = ln[theta / (1 - exp(-theta))] - 2 + 2 D(theta).

    D(theta) = 1/theta integral_0^theta t / (exp(t) - 1) dt (Debye), by quadrature.

    C(u, v) = -1/theta ln(1 + (e^(-theta u) - 1)(e^(-theta v) - 1) / (e^-theta - 1)); a theta below 0 turns v over.

    Raises
    ------
    ValueError
        if theta is 0 or not finite

    Notes
    -----
    Source: the denominator of the density is (1 - exp(-theta)) exp(-theta W), and E W = (1 + Kendall's tau) / 4.
    """
    if theta == 0 or not isfinite(theta):
        raise ValueError(f"theta={theta}: a Frank copula needs a finite theta other than 0.")
    size = abs(theta)
    debye, error = integral(_debye_density, [0.0, size])
    mi = log(size / -expm1(-size)) - 2 + 2 * debye / size
    return _copula("frank", theta, max(0.0, mi), 2 * error / size, partial(_frank, theta=float(theta)), name)


def _copula(family: str, theta: float, mi: float, error: float, draw: partial[Sample], name: str | None) -> Task:
    return Task(
        name=name or f"{family}-{theta:g}",
        mi=mi,
        mi_error=error,
        dims=(1, 1),
        kind="continuous",
        family=family,
        source=_KENDALL,
        draw=draw,
    )


def _debye_density(t: float) -> float:
    return t / expm1(t) if t > 0 else 1.0


def _clayton(n: int, rng: Generator, *, theta: float) -> Sample:
    u, w = open_uniform(rng, n, 1), open_uniform(rng, n, 1)  # w is the conditional distribution function of v
    v = np.exp(-np.log1p(u**-theta * np.expm1(-theta / (1 + theta) * np.log(w))) / theta)
    return Sample(x=u, y=v)


def _gumbel(n: int, rng: Generator, *, theta: float) -> Sample:
    # -ln W is a sum of two exponentials with probability 1 / theta, else one; the share of U in it is uniform.
    t = rng.exponential(size=(n, 1)) + np.where(rng.random((n, 1)) < 1 / theta, rng.exponential(size=(n, 1)), 0)
    share = open_uniform(rng, n, 1)
    x = t * share ** (1 / theta)
    y = t * (1 - share) ** (1 / theta)
    return Sample(x=np.exp(-x), y=np.exp(-y))


def _frank(n: int, rng: Generator, *, theta: float) -> Sample:
    u, w = open_uniform(rng, n, 1), open_uniform(rng, n, 1)  # w is the conditional distribution function of v
    v = np.log1p(w * np.expm1(-theta) / (w + (1 - w) * np.exp(-theta * u))) / -theta
    return Sample(x=u, y=v)
