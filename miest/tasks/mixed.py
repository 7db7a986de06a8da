"""Discrete against continuous, and atoms among continuous values: where binning and plain neighbours go wrong."""

from functools import partial
from math import exp, log, pi, sqrt

import numpy as np
from numpy.random import Generator
from scipy.special import gammaln, log_ndtr, ndtri, xlogy

from miest.tasks.discrete import coin_entropy
from miest.tasks.numerics import integral
from miest.tasks.task import Sample, Task

_GAO = "Gao, Kannan, Oh & Viswanath (2017), Estimating mutual information for discrete-continuous mixtures, NeurIPS"
_COUNTS = np.arange(200)  # of the Poisson; beyond, the probability is below 2^-200
_LOG_FACTORIALS = np.asarray(gammaln(_COUNTS + 1.0))


def staircase(symbols: int, *, name: str | None = None) -> Task:
    """X uniform on {0, .., m-1}, Y uniform on [X, X + 2]: I = ln m - (m - 1) ln 2 / m.

    Neighbouring symbols share half of their range of Y.

    Raises
    ------
    ValueError
        if m < 1

    Notes
    -----
    Source: Gao et al. (2017), sec. 5.
    """
    if symbols < 1:
        raise ValueError(f"symbols={symbols}: at least 1 is needed.")
    return Task(
        name=name or f"staircase-{symbols}",
        mi=log(symbols) - (symbols - 1) * log(2) / symbols,
        dims=(1, 1),
        kind="mixed",
        family="staircase",
        source=_GAO,
        draw=partial(_staircase, symbols=symbols),
    )


def zero_inflated_poisson(inflation: float, *, name: str | None = None) -> Task:
    """X standard exponential; Y = 0 with probability p, else Poisson of mean X.

    I = integral exp(-x) sum_k q_k(x) ln [q_k(x) / q_k] dx, with q_k(x) = p [k = 0] + (1 - p) exp(-x) x^k / k! and
    q_k = p [k = 0] + (1 - p) 2^-(k+1), by quadrature: 0.2298 at p = 0.15.

    Raises
    ------
    ValueError
        if p is not in [0, 1)

    Notes
    -----
    Source: Gao et al. (2017), sec. 5.
    Differs: the closed form there, (1 - p) times the information of the plain Poisson (0.2561 at p = 0.15), would need
    inflated zeros to be told from the Poisson's own; they are not, so the truth is lower.
    """
    if not 0 <= inflation < 1:
        raise ValueError(f"inflation={inflation}: a probability in [0, 1) is needed.")
    density = partial(_poisson_density, inflation=float(inflation))
    mi, error = integral(density, [0.0, 0.01, 0.3, 1.0, 3.0, 10.0, 45.0])
    return Task(
        name=name or f"zero-inflated-poisson-{inflation:g}",
        mi=mi,
        mi_error=error + 1e-15,  # exp(-45) lies beyond
        dims=(1, 1),
        kind="mixed",
        family="zero-inflated Poisson",
        source=_GAO + "; truth by quadrature",
        draw=partial(_poisson, inflation=float(inflation)),
    )


def gaussian_with_atoms(
    correlation: float = 0.9, flip: float = 0.1, *, atoms: float = 0.5, name: str | None = None
) -> Task:
    """A Gaussian pair with probability 1 - a; else both are +-1, with opposite signs with probability e.

    I = H(a) + (1 - a) [-1/2 ln(1 - rho^2)] + a [ln 2 - H(e)]: each side shows which of the two happened.

    Parameters
    ----------
    correlation : float     of the Gaussian part, inside (-1, 1)
    flip : float            e, in [0, 1]
    atoms : float           a, in (0, 1)

    Raises
    ------
    ValueError
        if a number is out of its range

    Notes
    -----
    Source: Gao et al. (2017), sec. 5, experiment I, with rho = 0.9, e = 0.1 and a = 1/2: ln 2 + parts.
    """
    if not (-1 < correlation < 1 and 0 <= flip <= 1 and 0 < atoms < 1):
        raise ValueError(
            f"correlation={correlation}, flip={flip}, atoms={atoms}: need (-1, 1), [0, 1] and (0, 1), in this order."
        )
    parts = (1 - atoms) * -0.5 * log((1 - correlation) * (1 + correlation)) + atoms * (log(2) - coin_entropy(flip))
    return Task(
        name=name or f"gaussian-with-atoms-{atoms:g}",
        mi=coin_entropy(atoms) + parts,
        dims=(1, 1),
        kind="mixed",
        family="gaussian with atoms",
        source=_GAO,
        draw=partial(_atoms, correlation=float(correlation), flip=float(flip), atoms=float(atoms)),
    )


def censored_gaussian(correlation: float, fraction: float, *, name: str | None = None) -> Task:
    """Gaussian pair whose X is set to the cut c = Phi^-1(q) wherever it is below: a fraction q of exact ties.

    I = 1/2 [-(1 - q) ln(1 - rho^2) + rho^2 c phi(c)] + integral phi(y) g(y) ln [g(y) / q] dy,

    with g(y) = P(X < c | y) = Phi((c - rho y) / sqrt(1 - rho^2)). The first part is the mean divergence of p(y | x)
    from p(y) above the cut, in closed form; the second is what the atom tells, by quadrature.

    Parameters
    ----------
    correlation : float     rho, inside (-1, 1)
    fraction : float        q, inside (0, 1)

    Raises
    ------
    ValueError
        if a number is out of its range
    """
    if not (-1 < correlation < 1 and 0 < fraction < 1):
        raise ValueError(f"correlation={correlation}, fraction={fraction}: need (-1, 1) and (0, 1).")
    left, cut = (1 - correlation) * (1 + correlation), float(ndtri(fraction))
    above = 0.5 * (-(1 - fraction) * log(left) + correlation**2 * cut * exp(-(cut**2) / 2) / sqrt(2 * pi))
    density = partial(_atom_density, correlation=float(correlation), fraction=float(fraction), cut=cut)
    # Where g falls from 1 to 0, which is steep for a strong correlation.
    bend = [min(38.0, max(-38.0, (cut + s * sqrt(left)) / correlation)) for s in (-6, 0, 6)] if correlation else []
    atom, error = integral(density, sorted({-39.0, *bend, 0.0, 39.0}))
    return Task(
        name=name or f"censored-gaussian-rho{correlation:g}-{fraction:g}",
        mi=max(0.0, above + atom),
        mi_error=error,
        dims=(1, 1),
        kind="mixed",
        family="censored gaussian",
        source="I(X;Y) = E D(p(y|x) || p(y)), atom by quadrature",
        draw=partial(_censored, correlation=float(correlation), cut=cut),
    )


def quantised_uniform(levels: int, *, both: bool = False, name: str | None = None) -> Task:
    """X uniform on (0, 1), Y = X rounded down to a multiple of 1/m: I = H(Y) = ln m.

    From about a thousand levels on, ln m comes close to what n samples can show, ln n, and most values are seen once.

    Parameters
    ----------
    levels : int        m >= 1
    both : bool         X is rounded too, so that X = Y

    Raises
    ------
    ValueError
        if m < 1
    """
    if levels < 1:
        raise ValueError(f"levels={levels}: at least 1 is needed.")
    return Task(
        name=name or f"quantised-uniform-{levels}{'-both' if both else ''}",
        mi=log(levels),
        dims=(1, 1),
        kind="mixed",
        family="quantised uniform",
        source="I(X;Y) = H(Y) for Y = f(X)",
        draw=partial(_quantised, levels=levels, both=both),
    )


def logistic_label(gain: float, *, name: str | None = None) -> Task:
    """X standard normal, Y = 1 with probability 1 / (1 + exp(-a X)), else 0.

    I = ln 2 - E H(1 / (1 + exp(-a X))), by quadrature; H is the entropy of a coin.

    Parameters
    ----------
    gain : float        a
    """
    noise, error = integral(partial(_label_density, gain=float(gain)), [-39.0, -5.0, 0.0, 5.0, 39.0])
    return Task(
        name=name or f"logistic-label-{gain:g}",
        mi=max(0.0, log(2) - noise),
        mi_error=error,
        dims=(1, 1),
        kind="mixed",
        family="logistic label",
        source="I(X;Y) = H(Y) - H(Y|X), by quadrature",
        draw=partial(_label, gain=float(gain)),
    )


def _poisson_density(x: float, *, inflation: float) -> float:
    given = (1 - inflation) * np.exp(_COUNTS * log(x) - x - _LOG_FACTORIALS)
    overall = (1 - inflation) * 0.5 ** (_COUNTS + 1.0)
    given[0] += inflation
    overall[0] += inflation
    return exp(-x) * float((xlogy(given, given) - xlogy(given, overall)).sum())


def _atom_density(y: float, *, correlation: float, fraction: float, cut: float) -> float:
    log_below = float(log_ndtr((cut - correlation * y) / sqrt((1 - correlation) * (1 + correlation))))
    return exp(-(y * y) / 2 + log_below) / sqrt(2 * pi) * (log_below - log(fraction))


def _label_density(x: float, *, gain: float) -> float:
    return exp(-(x * x) / 2) / sqrt(2 * pi) * coin_entropy(1 / (1 + exp(-min(700.0, max(-700.0, gain * x)))))


def _staircase(n: int, rng: Generator, *, symbols: int) -> Sample:
    x = rng.integers(symbols, size=(n, 1))
    return Sample(x=x, y=x + 2 * rng.random((n, 1)))


def _poisson(n: int, rng: Generator, *, inflation: float) -> Sample:
    x = rng.exponential(size=(n, 1))
    return Sample(x=x, y=np.where(rng.random((n, 1)) < inflation, 0, rng.poisson(x)))


def _atoms(n: int, rng: Generator, *, correlation: float, flip: float, atoms: float) -> Sample:
    x, y = rng.standard_normal((n, 1)), rng.standard_normal((n, 1))
    y = correlation * x + sqrt((1 - correlation) * (1 + correlation)) * y
    sign = np.where(rng.random((n, 1)) < 0.5, -1.0, 1.0)
    other = np.where(rng.random((n, 1)) < flip, -sign, sign)
    is_atom = rng.random((n, 1)) < atoms
    return Sample(x=np.where(is_atom, sign, x), y=np.where(is_atom, other, y))


def _censored(n: int, rng: Generator, *, correlation: float, cut: float) -> Sample:
    x, y = rng.standard_normal((n, 1)), rng.standard_normal((n, 1))
    y = correlation * x + sqrt((1 - correlation) * (1 + correlation)) * y
    return Sample(x=np.maximum(x, cut), y=y)


def _quantised(n: int, rng: Generator, *, levels: int, both: bool) -> Sample:
    x = rng.random((n, 1))
    y = np.floor(levels * x) / levels
    return Sample(x=y.copy() if both else x, y=y)


def _label(n: int, rng: Generator, *, gain: float) -> Sample:
    x = rng.standard_normal((n, 1))
    return Sample(x=x, y=(rng.logistic(size=(n, 1)) < gain * x).astype(np.int64))
