"""The bottleneck functional as a function of two parameters of a network, on a grid: infinite, or a staircase.

Fig. 1 of Amjad & Geiger (2020): a scalar X with point masses, of a data set, or uniform on intervals goes through a
network with two hidden ReLU units. I(X;L) is then piecewise constant, or infinite wherever an interval of X meets a
slope of the network. `remedy` replaces the terms as their section 5 does.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miest.bottleneck.remedies import Remedy, Unchanged
from miest.bottleneck.scalar_networks import Features, ReluNetwork, ramp
from miest.samples import DataError

Array = NDArray[np.float64]

_EQUAL = 1e-9  # nats


@dataclass(frozen=True, eq=False)
class Landscape:
    """Compression and precision of a network for each pair of two parameters.

    Parameters
    ----------
    a, b : (n_a,), (n_b,) float
    compression : (n_a, n_b) float      I(X;L) or what replaces it, nats; infinite where it is
    precision : (n_a, n_b) float        I(Y;L) or what replaces it, nats
    remedy : Remedy
    """

    a: Array
    b: Array
    compression: Array
    precision: Array
    remedy: Remedy

    def functional(self, beta: float) -> Array:
        """(n_a, n_b) compression - beta precision, nats."""
        return np.asarray(self.compression - beta * self.precision)

    @property
    def infinite(self) -> float:
        """Share of the grid where the functional is infinite."""
        return float(np.isinf(self.compression).mean())

    @property
    def levels(self) -> int:
        """How many finite values the compression has that differ."""
        values = np.sort(self.compression[np.isfinite(self.compression)])
        return int(values.size > 0) + int((np.diff(values) > _EQUAL).sum())

    @property
    def flat(self) -> float:
        """Share of neighbours on the grid, both finite, with equal compression and equal precision.

        Near 1 for a staircase, which has no gradient to follow; near 0 for a smooth functional.
        """
        same = both = 0
        for axis in (0, 1):
            with np.errstate(invalid="ignore"):
                steps = [np.abs(np.diff(term, axis=axis)) for term in (self.compression, self.precision)]
            finite = np.isfinite(steps[0])
            same += int((finite & (steps[0] < _EQUAL) & (steps[1] < _EQUAL)).sum())
            both += int(finite.sum())
        return same / both if both else math.nan


def functional_landscape(
    features: Features,
    *,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    network: Callable[[float, float], ReluNetwork] = ramp,
    remedy: Remedy | None = None,
) -> Landscape:
    """The terms of the bottleneck functional for every pair of two parameters of a network.

    Parameters
    ----------
    features : Features         distribution of a scalar X and its class, such as `figure_1()["continuous"]`
    a, b : array-like or None   values of the parameters; None: 0 to 1 in steps of 0.05, without 0 for b
    network : function          of a and b; left out: `ramp`, that of Fig. 1 (d)
    remedy : Remedy or None     `DecisionRule`, `SoftDecision`, `Stochastic`, `Noisy`, `Quantized`, or the terms as they
                                are

    Returns
    -------
    Landscape                   nats

    Raises
    ------
    ValueError
        if a or b is empty or not finite

    Notes
    -----
    Error: exact, or by quadrature to about 1e-9 nats where a remedy adds noise.
    Source: Amjad, Geiger (2020), doi:10.1109/TPAMI.2019.2909031, Fig. 1 and sections 4 and 5.
    """
    axes = []
    for name, given, ready in (("a", a, np.arange(21) / 20), ("b", b, np.arange(1, 21) / 20)):
        axis = ready if given is None else np.atleast_1d(np.array(given, np.float64))
        if axis.ndim != 1 or not axis.size or not np.isfinite(axis).all():
            raise DataError(f"{name} must be a list of finite numbers, got shape {axis.shape}.")
        axes.append(axis)
    used = Unchanged() if remedy is None else remedy
    terms = [[used.terms(features, network(float(i), float(j))) for j in axes[1]] for i in axes[0]]
    values = np.array(terms, np.float64)  # (n_a, n_b, 2)
    return Landscape(axes[0], axes[1], values[..., 0], values[..., 1], used)


def figure_1(*, rows: int = 24, width: float = 0.1, seed: int = 0) -> dict[str, Features]:
    """Three distributions as in Fig. 1 (a)-(c), of a scalar in [0, 1] with two classes.

    Parameters
    ----------
    rows : int          of the data set
    width : float       of the intervals
    seed : int          of the rows

    Returns
    -------
    dict                "discrete": four point masses; "data set": rows drawn from the intervals, of equal mass;
                        "continuous": intervals around the points, with the masses of the points

    Notes
    -----
    Differs: the places and masses are read from a picture in the paper, which gives no numbers; these are ours.
    """
    places, labels = np.array([0.15, 0.35, 0.6, 0.85]), np.array([0, 0, 1, 1])
    masses = np.array([0.3, 0.15, 0.2, 0.35])
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(places), rows, p=masses)
    data = places[drawn] + width * (rng.random(rows) - 0.5)
    return {
        "discrete": Features.points(places, labels, masses),
        "data set": Features.points(data, labels[drawn]),
        "continuous": Features.intervals(places - width / 2, places + width / 2, labels, masses),
    }
