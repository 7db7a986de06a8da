"""Correlation dimension: how the number of pairs of points grows with the radius (Grassberger & Procaccia 1983)::

C(r) = share of pairs nearer than r ~ r^d2,     d2 = lim d ln C / d ln r,  r -> 0
"""

import math
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import minimize
from scipy.special import ndtr, ndtri
from sklearn.decomposition import PCA

from miest.estimators.estimator import WHEN_CHANGED, Estimator, refuse_given
from miest.result import Diagnostics, Flag, MIResult
from miest.samples import variables
from miest.traits import duplicates_doubt
from miest_kernels.correlation import correlation_sums

_REACH = 0.1  # of the extent: the share of pairs within it is this to the power of the dimension
_PER_ROW = 10.0  # least number of pairs a row within the upper end of the range
_MOST = 3.6e-2  # largest share of pairs within it
_ATOMS = 3e-3  # share of equal pairs, from which on the sample is taken for one of atoms
_FEWEST_PAIRS = 30  # at the lower end
_NEAREST = (1 / 32, 1 / 128)  # shares of the pairs in the range, whose dimension is looked at apart,
_RISEN = 0.04  # and how far above that of all of them it may be, relatively
_RISE = (1 / 4, 1 / 32)  # shares between which a rise is looked for,
_RISES = (0.5, 3.0)  # standard errors of a rise after which columns are unsquashed, and after which it is flagged
_FALLS = -1.5  # those of a fall that unsquashed columns may not show,
_MORE = 1.02  # how much more they must give,
_FOLDED = 1.01  # and how much more wider radii may not
_SCORES = np.arange(-3, 3.01, 0.5)  # quantiles of the columns, as those of the normal distribution
_STEPS = 64
_PARTS = 4

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CorrelationDimension(Estimator):
    """Correlation dimension d2 of one continuous sample, a number of dimensions and not of nats.

    Parameters
    ----------
    radii : (low, high) or None     the scaling range, in the units of x; None finds one
    level : float                   of the interval

    Raises
    ------
    ValueError
        if there are fewer than 50 samples, a second argument is given, or no pair lies in the range

    Notes
    -----
    Method: the pairs between 64 radii, equally far apart in ln r, are fitted by C(r) ~ r^d exp(b r^2) with largest
        likelihood; b is for edges and curvature. The range goes from the radius of 30 pairs to that of a share of all
        pairs: 0.1 to the power of d, between 10 pairs a row and 0.036. Where no radii are named this is done twice:
        by the first value the largest principal components are made equally large, which changes no dimension and
        shows directions that were squeezed; the radii are then those of what this gives. If the dimension rises as
        radii shrink, columns are first made about normal, by a smooth map of each, where that shows more dimensions at
        all radii alike: it undoes activations that squash, and changes no dimension either. A point mass has dimension
        0.
    Error: n = 10,000, mean and standard deviation of 3 samples: uniform in the cube of 1, 2, 3 dimensions 1.00, 1.98,
        2.96; on the flat torus of 1 to 6: 1.00, 2.00, 2.99, 4.00 +- 0.04, 4.97 +- 0.08, 5.88 +- 0.06; Henon's map 1.21
        +- 0.01; Lorenz's equations 2.07 +- 0.01; random tanh layers 4-3-8 2.99 +- 0.04. At n = 5,000 the spread is up
        to twice that, and 6 dimensions are 5% too few. Layers of random tanh networks 5-4-3-8-6, n = 5,000, inputs
        uniform in a cube, 4, 3, 3, 3 in theory: 3.95 +- 0.13, 2.91 +- 0.14, 2.96 +- 0.04, 2.93 +- 0.07; the last of
        saturated ones (4-8, 6-5, 4-8-3, 6-5-2, weights of variance 2.25 / fan-in, Gaussian inputs) within 5%.
    Wrong when: n is below about 10^(d/2) (SMALL_SAMPLE): no pair is near enough to see the limit, and the value is too
        small. Noise makes the dimension at its own scale that of all columns; quantised data have dimension 0 below
        their step. Layers that squeeze and bend more than one direction, one after the other, are too low: two or three
        saturated layers of 3 units 1 to 2.6 of 3, the last of leaky ReLU layers 5-4-3-8-6 2.7 +- 0.2
        (`InformationDimension`: 2.8 +- 0.2). Where the nearest pairs tell so it is flagged SMALL_SAMPLE: about half of
        these, hardly values that are 10% too small. Rows of a series that follow each other in time
        are near for that reason: take every few rows.
    Interval: by the spread of the value over four parts of the rows, with the same radii.
    Cost: O(n^2 d) time, O(n) memory.
    Source: Grassberger, Procaccia (1983), doi:10.1103/PhysRevLett.50.346; caveat: Eckmann, Ruelle (1992).
    Differs: a likelihood with a term for curvature in place of a straight line by eye.
    """

    radii: tuple[float, float] | None = None
    level: float = field(default=0.95, metadata=WHEN_CHANGED)

    def __post_init__(self) -> None:
        if self.radii is not None:
            object.__setattr__(self, "radii", tuple(self.radii))  # JSON gives lists
            if len(self.radii) != 2 or not 0 < self.radii[0] < self.radii[1] < math.inf:
                raise ValueError(f"radii={self.radii!r} must be two positive numbers, low < high, in the units of x.")
        if not 0 < self.level < 1:
            raise ValueError(f"level={self.level} must be between 0 and 1.")

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Estimate d2(X) from one (n, d) sample; y and given must be left out."""
        started = perf_counter()
        refuse_given(self, given)
        if y is not None:
            raise ValueError("CorrelationDimension takes one sample: leave y out, or join both as columns.")
        (sample,) = variables(x=x, at_least=50, needed_by="a dimension")
        points = np.ascontiguousarray(sample.numbers, np.float64)
        points = points - points.mean(0)  # an offset would cost digits of every difference
        pairs = sample.n * (sample.n - 1) / 2
        grid, seen = _all_sums(points)
        doubts = []
        if not grid[-1]:
            doubts.append((Flag.CONSTANT, f"x has the same value in all {sample.n} samples: dimension 0."))
            return self._result(0.0, 0.0, (0.0, 0.0), pairs, sample.n, doubts, 0.0, started)
        atoms = float(seen[0]) / pairs
        if atoms > _ATOMS:
            doubts.append(
                (
                    Flag.TIES,
                    f"{atoms:.1%} of the pairs of rows are equal: below every radius the sample has dimension 0. "
                    "For the dimension of what varies, drop repeated rows.",
                )
            )
            if self.radii is None:
                return self._result(0.0, 0.0, (0.0, float(grid[0])), pairs, sample.n, doubts, atoms, started)
        look = _look(points, grid, seen, self.radii)
        if self.radii is None:
            look = _unsquashed(points, look)
        points, low, high, value, inside = look.points, look.low, look.high, look.value, look.inside
        if not inside:
            raise ValueError(
                f"no pair of rows is between the radii {low:g} and {high:g}, of at most {grid[-1]:g}: pass a "
                "wider range, or more samples."
            )
        parts = [_fit(points[part::_PARTS], low, high) for part in range(_PARTS)]
        values = np.array([part for part, count in parts if count > 1])
        stderr = float(values.std(ddof=1) / math.sqrt(_PARTS)) if len(values) > 1 else math.nan
        if sample.n < 10 ** (value / 2):
            doubts.append(
                (
                    Flag.SMALL_SAMPLE,
                    f"{sample.n} samples cannot show a dimension of {value:.1f}: that takes {10 ** (value / 2):,.0f} "
                    "or more, and with fewer the value is too small.",
                )
            )
        if self.radii is None:
            doubts += [*_rising_doubt(look), *duplicates_doubt((sample,))]
        return self._result(value, stderr, (low, high), inside, sample.n, doubts, atoms, started)

    def _result(
        self,
        value: float,
        stderr: float,
        radii: tuple[float, float],
        pairs: float,
        n: int,
        doubts: list[tuple[Flag, str]],
        atoms: float,
        started: float,
    ) -> MIResult:
        reach = float(ndtri((1 + self.level) / 2)) * stderr
        return MIResult(
            value=value,
            n_samples=n,
            estimator=self,
            quantity="d2(X)",
            unit="dimensions",
            interval=(value - reach, value + reach) if math.isfinite(reach) else None,
            level=self.level,
            ceiling=2 * math.log10(n),
            flags=tuple(dict.fromkeys(flag for flag, _ in doubts)),
            notes=tuple(note for _, note in doubts),
            diagnostics=Diagnostics(
                stderr=stderr,
                radii=list(radii),
                pairs_in_range=float(pairs),
                equal_pairs=atoms,
                interval_method="four parts of the rows",
            ),
            seconds=perf_counter() - started,
        )


@dataclass(frozen=True, eq=False)
class _Look:
    """Points as they were looked at, radii and how many pairs are within each, and what is read from them."""

    points: Array
    grid: Array
    seen: NDArray[np.int64]
    low: float
    high: float
    value: float
    inside: int

    def nearest(self, share: float) -> tuple[float, int]:
        """Takens's dimension of so large a share of the pairs in the range, the nearest, and how many these are."""
        end = int(np.searchsorted(self.seen, self.seen[0] + self.inside * share))
        counts = np.diff(self.seen[: end + 1])
        pairs, apart = int(counts.sum()), np.log(self.grid[end] / np.sqrt(self.grid[1 : end + 1] * self.grid[:end]))
        return (pairs / float(counts @ apart) if pairs else 0.0), pairs

    def rise(self) -> float:
        """How far the dimension rises as radii shrink, in standard errors."""
        (far, _), (near, pairs) = (self.nearest(share) for share in _RISE)
        return (near / far - 1) * math.sqrt(pairs) if far and pairs >= 2 * _FEWEST_PAIRS else 0.0


def _look(points: Array, grid: Array, seen: NDArray[np.int64], radii: tuple[float, float] | None = None) -> _Look:
    """Read the dimension in a range that is named, or twice in one that is found, evened in between."""
    low, high = radii or _scaling_range(points, grid, seen)
    if radii is None and low < high:
        points = evened(points, _fit(points, low, high)[0])
        grid, seen = _all_sums(points)
        low, high = _scaling_range(points, grid, seen)
    return _Look(points, grid, seen, low, high, *_fit(points, low, high))


def _unsquashed(points: Array, look: _Look) -> _Look:
    """The same points without the squashing of their columns, where that shows more dimensions at all radii alike.

    Columns that were not squashed, as a sine and a cosine, may be folded by it: then wider radii see more dimensions.
    """
    if look.rise() < _RISES[0]:
        return look
    other = normalised(points)
    found = _look(other, *_all_sums(other))
    even = found.rise() > _FALLS and found.nearest(_RISE[0])[0] < _FOLDED * found.value
    return found if even and found.value > _MORE * look.value else look


def normalised(points: Array) -> Array:
    """Points with columns that are about normal, by a smooth increasing map of each through some of its quantiles.

    The map and its inverse have bounded slopes, and change no dimension. It undoes activations that squash.
    """
    n = len(points)
    scores = np.array([-math.sqrt(2 * math.log(n)), *_SCORES, math.sqrt(2 * math.log(n))])
    out = np.empty_like(points)
    for column, values in enumerate(points.T):
        knots = np.quantile(values, [0, *ndtr(_SCORES), 1])
        apart = np.append(True, np.diff(knots) > 1e-9 * (knots[-1] - knots[0]))
        curved = apart.sum() > 2
        out[:, column] = PchipInterpolator(knots[apart], scores[apart])(values) if curved else values
    return out


def evened(points: Array, dimension: float) -> Array:
    """Points with their largest principal components, as many as the dimension, shrunk to the least of these.

    That is a linear map with an inverse, and changes no dimension. Without it a direction that a layer squeezes is seen
    only at radii with few pairs.

    Parameters
    ----------
    points : (n, d) float
    dimension : float       an estimate
    """
    components = min(max(1, round(dimension + 0.1)), *points.shape)
    if components == 1:
        return points
    found = PCA(n_components=components, random_state=0).fit(points)
    spread = found.singular_values_
    if not spread[-1] > 0:
        return points
    along = points @ found.components_.T
    return np.ascontiguousarray(points + (along * (spread[-1] / spread - 1)) @ found.components_)


def _all_sums(points: Array) -> tuple[Array, NDArray[np.int64]]:
    """Radii from one that every pair is within down to rounding, and how many pairs are within each."""
    grid = 2 * math.sqrt(float(np.square(points).sum(1).max())) * np.geomspace(1e-12, 1, 600)
    return grid, correlation_sums(points, grid) if grid[-1] else np.zeros(0, np.int64)


def _rising_doubt(look: _Look) -> list[tuple[Flag, str]]:
    """Doubt a limit that was not reached: the nearest of the pairs say more than all of them."""
    for share in _NEAREST:
        near, nearest = look.nearest(share)
        if nearest < 2 * _FEWEST_PAIRS:
            continue
        stderr = near / math.sqrt(nearest)
        more = near - look.value
        if more > max(_RISEN * look.value, 2.5 * stderr) or (more > 0 and look.rise() > _RISES[1]):
            note = (
                f"the nearest {nearest:,} pairs have dimension {near:.2f} ± {stderr:.2f}, all pairs in the range "
                f"{look.value:.2f}: it still rises as radii shrink, as where a layer squeezes directions. The value is "
                "too small; pass more samples, or see InformationDimension."
            )
            return [(Flag.SMALL_SAMPLE, note)]
    return []


def _scaling_range(points: Array, grid: Array, seen: NDArray[np.int64]) -> tuple[float, float]:
    """Radii between which the dimension is read."""
    pairs = len(points) * (len(points) - 1) / 2
    least = min(2 * _PER_ROW / len(points), _MOST)  # share of pairs
    low, high = _range(grid, seen, least * pairs)
    if low >= high:
        return low, high
    return _range(grid, seen, float(np.clip(_REACH ** _fit(points, low, high)[0], least, _MOST)) * pairs)


def _range(grid: Array, seen: NDArray[np.int64], pairs: float) -> tuple[float, float]:
    """Radii of the fewest pairs and of so many."""
    low, high = (grid[min(int(np.searchsorted(seen, k)), len(grid) - 1)] for k in (seen[0] + _FEWEST_PAIRS, pairs))
    return float(low), float(high)


def _fit(points: Array, low: float, high: float) -> tuple[float, int]:
    """Exponent of C(r) ~ r^d exp(b r^2) between two radii, by likelihood, and the number of pairs there."""
    radii = np.geomspace(low, high, _STEPS + 1)
    counts = np.diff(correlation_sums(np.ascontiguousarray(points), radii))
    total = int(counts.sum())
    if not total:
        return 0.0, 0
    log_radius, square = np.log(radii / high), (radii / high) ** 2

    def surprise(parameters: Array) -> float:
        share = np.exp(parameters[0] * log_radius + parameters[1] * (square - 1))
        steps = np.diff(share) / (share[-1] - share[0]) if share[-1] != share[0] else np.zeros(_STEPS)
        return -float(counts @ np.log(steps)) / total if (steps > 0).all() else math.inf

    # Takens's estimate is where the search starts: -1 / mean ln(r / high).
    start = -total / float(counts @ (log_radius[:-1] + log_radius[1:]) / 2)
    return float(minimize(surprise, [start, 0.0], method="Nelder-Mead", options={"xatol": 1e-4}).x[0]), total
