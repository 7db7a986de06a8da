"""Invertible maps of the rows of one variable; none of them changes any mutual information.

Those that act on every column take any number of columns. `margin` starts from uniforms on (0, 1), which
`normal_cdf` makes of standard normals, so ``normal_cdf().then(margin("cauchy"))`` gives Cauchy margins.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri, stdtr, stdtrit

from miest.tasks.numerics import rotation_matrix

Array: TypeAlias = NDArray[Any]
Margin = Literal["uniform", "normal", "exponential", "lognormal", "logistic", "cauchy", "student3", "bimodal"]

_WAVES = ((0.4, 1.0, 0.0), (0.15, 2.5, 1.0), (0.02, 7.0, -2.0))  # amplitude, frequency, phase
_HALF_TURNS = 1.5 * np.pi  # the roll starts here and ends at three times this
_ROLL = 21.0  # of the roll's radius, so that it has a spread of about one half


@dataclass(frozen=True, kw_only=True)
class Map:
    """An invertible map of rows.

    Parameters
    ----------
    name : str              short, for the names of tasks
    forward : callable      (n, d) array -> (n, e) array
    inverse : callable      (n, e) array -> (n, d) array; `inverse(forward(x))` is x up to rounding
    dims : (int, int)       d and e, where the map takes one d only; None where it takes any and keeps it
    """

    name: str
    forward: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    dims: tuple[int, int] | None = None

    def then(self, after: "Map") -> "Map":
        """Return the map that does this one first and `after` second.

        Raises
        ------
        ValueError
            if `after` takes another number of columns than this one gives
        """
        ends = self.dims or after.dims
        if self.dims is not None and after.dims is not None:
            if self.dims[1] != after.dims[0]:
                raise ValueError(
                    f"Map {self.name!r} gives {self.dims[1]} columns, but {after.name!r} takes {after.dims[0]}."
                )
            ends = (self.dims[0], after.dims[1])
        return Map(
            name=f"{self.name}>{after.name}",
            forward=partial(_in_turn, first=self.forward, second=after.forward),
            inverse=partial(_in_turn, first=after.inverse, second=self.inverse),
            dims=ends,
        )


def affine(scale: float, shift: float = 0.0) -> Map:
    """A x + b in every column.

    Raises
    ------
    ValueError
        if a is 0
    """
    if scale == 0:
        raise ValueError("scale=0 is not invertible: take any other number.")
    return Map(
        name="affine",
        forward=partial(_affine, scale=scale, shift=shift),
        inverse=partial(_affine, scale=1 / scale, shift=-shift / scale),
    )


def linear(matrix: Array) -> Map:
    """X A for a (d, e) matrix of full row rank: dense mixing if e = d, a d-dimensional plane in e columns if e > d.

    Raises
    ------
    ValueError
        if the rank of A is below d
    """
    matrix = np.array(matrix, np.float64)
    if matrix.ndim != 2 or np.linalg.matrix_rank(matrix) < matrix.shape[0]:
        raise ValueError(f"A matrix of shape {matrix.shape} is not invertible on rows: it needs full row rank.")
    return Map(
        name="linear",
        forward=partial(_product, matrix=matrix),
        inverse=partial(_product, matrix=np.linalg.pinv(matrix)),
        dims=(matrix.shape[0], matrix.shape[1]),
    )


def rotation(d: int, *, key: int = 0) -> Map:
    """A dense rotation of d columns, fixed by `key`: sparse dependence becomes dense."""
    matrix = rotation_matrix(d, key=key)
    return Map(
        name="rotation",
        forward=partial(_product, matrix=matrix),
        inverse=partial(_product, matrix=np.ascontiguousarray(matrix.T)),
        dims=(d, d),
    )


def normal_cdf() -> Map:
    """Phi(x) in every column: standard normal margins become uniform on (0, 1).

    Notes
    -----
    Source: Czyż et al. (2023), uniform margins. Beyond x = 8 the uniform rounds to 1.
    """
    return Map(name="uniform", forward=ndtr, inverse=ndtri)


def margin(kind: Margin) -> Map:
    """Quantile function in every column: uniforms on (0, 1) become the named margin.

    Parameters
    ----------
    kind : str      "uniform", "normal", "exponential", "lognormal", "logistic", "cauchy", "student3" (t with 3 degrees
                    of freedom) or "bimodal": half N(-1, 0.3^2), half N(1, 0.3^2)

    Raises
    ------
    ValueError
        for any other name
    """
    if kind not in _MARGINS:
        raise ValueError(f"No margin is called {kind!r}: take one of {', '.join(_MARGINS)}, or use quantiles().")
    return Map(name=kind, forward=_MARGINS[kind][0], inverse=_MARGINS[kind][1])


def quantiles(ppf: Callable[[Array], Array], cdf: Callable[[Array], Array], *, name: str) -> Map:
    """Uniforms on (0, 1) become the distribution with this quantile function, e.g. ``dist.ppf, dist.cdf`` of scipy."""
    return Map(name=name, forward=ppf, inverse=cdf)


def exponential(rate: float = 1.0) -> Map:
    """exp(a x) in every column: log-normal margins whose skew grows with a; at a = 5 they are extreme.

    Raises
    ------
    ValueError
        if a is 0
    """
    if rate == 0:
        raise ValueError("rate=0 is not invertible: take any other number.")
    return Map(name=f"exp{rate:g}", forward=partial(_exp, rate=rate), inverse=partial(_log, rate=rate))


def half_cube() -> Map:
    """sign(x) |x|^(3/2) in every column: longer tails, and a flat spot at 0. Source: Czyż et al. (2023)."""
    return Map(name="half-cube", forward=partial(_power, exponent=1.5), inverse=partial(_power, exponent=1 / 1.5))


def cube() -> Map:
    """x^3 in every column: long tails, and an infinite density at 0."""
    return Map(name="cube", forward=partial(_power, exponent=3.0), inverse=partial(_power, exponent=1 / 3))


def asinh() -> Map:
    """asinh(x) in every column: shorter tails. Source: Czyż et al. (2023)."""
    return Map(name="asinh", forward=np.arcsinh, inverse=np.sinh)


def wiggly(waves: tuple[tuple[float, float, float], ...] = _WAVES) -> Map:
    """X + sum_j a_j sin(w_j x + p_j) in every column: a smooth density with many bumps.

    Parameters
    ----------
    waves : tuple of (a, w, p)      amplitude, frequency and phase of each wave

    Raises
    ------
    ValueError
        if sum |a w| >= 1, since the map could then fold

    Notes
    -----
    Source: Czyż et al. (2023), with our own waves.
    """
    steepest = sum(abs(a * w) for a, w, _ in waves)
    if steepest >= 1:
        raise ValueError(f"These waves have sum |a w| = {steepest:.3g}: below 1 is needed, or the map folds.")
    return Map(name="wiggly", forward=partial(_wiggle, waves=waves), inverse=partial(_unwiggle, waves=waves))


def spiral(planes: tuple[tuple[int, int], ...] = ((0, 1),), *, speed: float = 1.0) -> Map:
    """Rotate each plane (i, j) of a row by the angle speed |x|^2; volume and |x| are kept.

    Parameters
    ----------
    planes : tuple of (i, j)    columns that are turned, one plane after the other
    speed : float               radians per unit of |x|^2

    Raises
    ------
    ValueError
        if a plane has a column twice

    Notes
    -----
    Source: Czyż et al. (2023), x -> exp(A |x|^2) x with a skew-symmetric A.
    """
    if any(i == j for i, j in planes):
        raise ValueError(f"planes={planes} has a plane of one column: give two different ones.")
    return Map(
        name="spiral",
        forward=partial(_spiral, planes=planes, speed=speed),
        inverse=partial(_spiral, planes=planes[::-1], speed=-speed),
    )


def swiss_roll() -> Map:
    """U in (0, 1) -> (t cos t, t sin t) / 21 with t = 3 pi (1 + 2 u) / 2: a line rolled up in the plane.

    Notes
    -----
    Source: Czyż et al. (2023).
    """
    return Map(name="swiss-roll", forward=_roll, inverse=_unroll, dims=(1, 2))


def _in_turn(values: Array, *, first: Callable[[Array], Array], second: Callable[[Array], Array]) -> Array:
    return second(first(values))


def _same(values: Array) -> Array:
    return values


def _affine(values: Array, *, scale: float, shift: float) -> Array:
    return np.asarray(scale * values + shift)


def _product(values: Array, *, matrix: Array) -> Array:
    return np.asarray(values @ matrix)


def _exp(values: Array, *, rate: float) -> Array:
    return np.asarray(np.exp(rate * values))


def _log(values: Array, *, rate: float) -> Array:
    return np.asarray(np.log(values) / rate)


def _power(values: Array, *, exponent: float) -> Array:
    return np.asarray(np.sign(values) * np.abs(values) ** exponent)


def _wiggle(values: Array, *, waves: tuple[tuple[float, float, float], ...]) -> Array:
    return np.asarray(values + sum(a * np.sin(w * values + p) for a, w, p in waves))


def _unwiggle(values: Array, *, waves: tuple[tuple[float, float, float], ...]) -> Array:
    reach = sum(abs(a) for a, _, _ in waves)
    return _bisected(partial(_wiggle, waves=waves), values, values - reach, values + reach)


def _bisected(increasing: Callable[[Array], Array], target: Array, low: Array, high: Array) -> Array:
    """Solve increasing(v) = target; 60 halvings leave nothing but rounding."""
    for _ in range(60):
        middle = (low + high) / 2
        above = increasing(middle) > target
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.asarray((low + high) / 2)


def _spiral(values: Array, *, planes: tuple[tuple[int, int], ...], speed: float) -> Array:
    angle = speed * np.square(values).sum(axis=1)  # (n,)
    cos, sin = np.cos(angle), np.sin(angle)
    out = np.array(values, np.float64)
    for i, j in planes:
        a, b = out[:, i].copy(), out[:, j].copy()
        out[:, i], out[:, j] = cos * a - sin * b, sin * a + cos * b
    return out


def _roll(values: Array) -> Array:
    t = _HALF_TURNS * (1 + 2 * values[:, 0])
    return np.column_stack([t * np.cos(t), t * np.sin(t)]) / _ROLL


def _unroll(values: Array) -> Array:
    t = _ROLL * np.hypot(values[:, 0], values[:, 1])
    return np.asarray((t / _HALF_TURNS - 1) / 2)[:, None]


def _exponential_ppf(u: Array) -> Array:
    return np.asarray(-np.log1p(-u))


def _exponential_cdf(values: Array) -> Array:
    return np.asarray(-np.expm1(-values))


def _lognormal_ppf(u: Array) -> Array:
    return np.asarray(np.exp(ndtri(u)))


def _lognormal_cdf(values: Array) -> Array:
    return np.asarray(ndtr(np.log(values)))


def _cauchy_ppf(u: Array) -> Array:
    return np.asarray(-1 / np.tan(np.pi * u))  # keeps the relative size of a small u, tan(pi (u - 1/2)) does not


def _cauchy_cdf(values: Array) -> Array:
    return np.asarray(np.arctan2(1, -values) / np.pi)


def _student3_ppf(u: Array) -> Array:
    return np.asarray(stdtrit(3, u))


def _student3_cdf(values: Array) -> Array:
    return np.asarray(stdtr(3, values))


def _bimodal_cdf(values: Array) -> Array:
    return np.asarray((ndtr((values + 1) / 0.3) + ndtr((values - 1) / 0.3)) / 2)


def _bimodal_ppf(u: Array) -> Array:
    return _bisected(_bimodal_cdf, u, np.full_like(u, -5.0), np.full_like(u, 5.0))


_MARGINS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "uniform": (_same, _same),
    "normal": (ndtri, ndtr),
    "exponential": (_exponential_ppf, _exponential_cdf),
    "lognormal": (_lognormal_ppf, _lognormal_cdf),
    "logistic": (logit, expit),
    "cauchy": (_cauchy_ppf, _cauchy_cdf),
    "student3": (_student3_ppf, _student3_cdf),
    "bimodal": (_bimodal_ppf, _bimodal_cdf),
}
