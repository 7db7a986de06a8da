"""Ways to make the bottleneck functional of a deterministic network finite, or not constant: what replaces its terms.

Each takes I(X;L) and I(Y;L) of the output L = f(X) and gives a compression and a precision term in their place
(Amjad & Geiger 2020, section 5). All are exact or integrated to about 1e-9 nats, for scalar X and L.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, ndtr, xlogy

from miest.bottleneck.scalar_networks import Features, ReluNetwork
from miest.bottleneck.tables import entropy_of, information_of
from miest.estimators.estimator import require_integer

Array = NDArray[np.float64]

_REACH = 9.0  # standard deviations of noise beyond which there is no mass
_GAUSS_POINTS, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(10)


class Terms(NamedTuple):
    """The two terms of a functional, nats; compression may be infinite."""

    compression: float
    precision: float


class Remedy(Protocol):
    """What replaces the two terms of the functional."""

    def terms(self, features: Features, network: ReluNetwork) -> Terms:
        """Compression and precision of a network for a distribution of inputs, nats."""


@dataclass(frozen=True)
class Unchanged:
    """I(X;L) and I(Y;L) themselves: no remedy. The first is infinite wherever L has an interval of values."""

    def terms(self, features: Features, network: ReluNetwork) -> Terms:
        """I(X;L) = H(L) and I(Y;L), exactly."""
        output = network.output_of(features)
        return Terms(output.entropy(), output.information())


@dataclass(frozen=True, kw_only=True)
class DecisionRule:
    """Include the decision (5.1): Yhat = 1 where L is above a threshold; I(X;Yhat) and I(Y;Yhat).

    Finite, and still piecewise constant for point masses. No threshold sees how far from it the values are.
    """

    threshold: float = 0.5

    def terms(self, features: Features, network: ReluNetwork) -> Terms:
        """H(Yhat) and I(Y;Yhat), exactly."""
        joint = network.output_of(features).table(self.threshold)
        return Terms(entropy_of(joint.sum(1)), information_of(joint))


@dataclass(frozen=True)
class SoftDecision:
    """Read L as the probability that Yhat = 1 (5.2), cut to [0, 1]; I(X;Yhat) and I(Y;Yhat).

    Differs: the paper says that I(X;Yhat) is smaller for f'' than for f''', and concludes that it prefers f' to f''';
        the conclusion needs f' in both places, and holds for f'.
    """

    def terms(self, features: Features, network: ReluNetwork) -> Terms:
        """H(Yhat) - H(Yhat | X) and I(Y;Yhat), exactly."""
        output = network.output_of(features)
        one = _mean(output, lambda v: np.clip(v, 0, 1), _sum_of_probability)
        unsure = _mean(output, lambda v: entr(np.clip(v, 0, 1)) + entr(1 - np.clip(v, 0, 1)), _sum_of_entropy)
        joint = np.stack([output.masses * (1 - one), output.masses * one]) @ output.label_table  # (2, classes)
        return Terms(entropy_of(joint.sum(1)) - float(output.masses @ unsure), information_of(joint))


@dataclass(frozen=True, kw_only=True)
class Stochastic:
    """A stochastic network (5.3): Gaussian noise on every hidden unit, inside the network, and so before its last ReLU.

    Parameters
    ----------
    std : float     of the noise of each hidden unit
    """

    std: float

    def __post_init__(self) -> None:
        _require_positive("std", self.std)

    def terms(self, features: Features, network: ReluNetwork) -> Terms:
        """I(X;L) and I(Y;L) of L = relu(f + noise): a point mass at 0 and a density above it."""
        before = network.before_output_of(features)
        std = self.std * float(np.linalg.norm(network.output_weights))
        if std == 0:
            return Unchanged().terms(features, network)
        high = max(float(before.high.max()), 0.0) + _REACH * std
        places, weights = _nodes(0.0, high, std)
        density = _densities(before, std, places)  # (m, nodes)
        silent = 1 - density @ weights
        joint = np.vstack([(density * weights).T, silent[None]])  # (nodes + 1, m)
        by_label = (joint * before.masses) @ before.label_table
        total = _spread(by_label.sum(1), weights)
        left = _mean_by_nodes(before, std, lambda m: _spread_given(m, std))
        return Terms(total - float(before.masses @ left), information_of(by_label))


@dataclass(frozen=True, kw_only=True)
class Noisy:
    """Noise in the computation alone (5.4): I(X;L + eta) and I(Y;L + eta'), Gaussian; the network stays as it is.

    Parameters
    ----------
    std : float                     of eta
    precision_std : float or None   of eta'; None: the same
    relative : bool                 whether both are multiples of the standard deviation of L, so that a larger L is not
                                    a better one; where L is constant both terms are 0
    """

    std: float
    precision_std: float | None = None
    relative: bool = False

    def __post_init__(self) -> None:
        _require_positive("std", self.std)
        if self.precision_std is not None:
            _require_positive("precision_std", self.precision_std)

    def terms(self, features: Features, network: ReluNetwork) -> Terms:
        """I(X;L+eta) = h(L+eta) - h(eta), and I(Y;L+eta')."""
        output = network.output_of(features)
        unit = _std(output) if self.relative else 1.0
        if unit == 0:
            return Terms(0.0, 0.0)
        first = self._through(output, self.std * unit)
        if self.precision_std is None:
            return first
        return Terms(first.compression, self._through(output, self.precision_std * unit).precision)

    def _through(self, output: Features, std: float) -> Terms:
        places, weights = _nodes(float(output.low.min()) - _REACH * std, float(output.high.max()) + _REACH * std, std)
        by_label = (_densities(output, std, places) * weights).T * output.masses @ output.label_table
        noise = 0.5 * math.log(2 * math.pi * math.e * std**2)
        return Terms(_spread(by_label.sum(1), weights) - noise, information_of(by_label))


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """Quantisers in the computation alone (5.4): I(Qx(X); Ql(L)) and I(Y; Ql'(L)), all of equal cells.

    Parameters
    ----------
    levels : int                    cells of Ql
    precision_levels : int          cells of Ql'
    input_levels : int or None      cells of Qx over the range of X; None: Qx is the identity
    span : (low, high) or None      what Ql and Ql' cut; None: the range of L, so that a larger L is not a better one
    """

    levels: int = 4
    precision_levels: int = 2
    input_levels: int | None = None
    span: tuple[float, float] | None = (0.0, 1.0)

    def __post_init__(self) -> None:
        require_integer("levels", self.levels, 1)
        require_integer("precision_levels", self.precision_levels, 1)
        if self.input_levels is not None:
            require_integer("input_levels", self.input_levels, 1)
        if self.span is not None and not -math.inf < self.span[0] < self.span[1] < math.inf:
            raise ValueError(f"span={self.span!r} must be two finite numbers, low < high, or None.")

    def terms(self, features: Features, network: ReluNetwork) -> Terms:
        """Exactly; values outside `span` fall into its outer cells."""
        output = network.output_of(features)
        low, high = self.span or (float(output.low.min()), float(output.high.max()))
        coarse = output.table(_edges(low, high, self.precision_levels))
        if self.input_levels is None:
            fine = output.table(_edges(low, high, self.levels))
            return Terms(entropy_of(fine.sum(1)), information_of(coarse))
        # The cell of X takes the place of the class.
        at = _edges(float(features.low.min()), float(features.high.max()), self.input_levels)
        small = features.cut(at)
        cells = np.searchsorted(at, (small.low + small.high) / 2, side="left")
        celled = network.output_of(Features(small.low, small.high, cells.astype(np.intp), small.masses))
        return Terms(information_of(celled.table(_edges(low, high, self.levels))), information_of(coarse))


def _require_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name}={value!r} must be a finite number above 0: without noise the term may be infinite.")


def _edges(low: float, high: float, levels: int) -> Array:
    """Inner edges of equal cells."""
    return np.linspace(low, high, levels + 1)[1:-1]


def _std(features: Features) -> float:
    """Standard deviation of the variable."""
    middle, width = (features.low + features.high) / 2, features.high - features.low
    mean = float(features.masses @ middle)
    variance = float(features.masses @ ((middle - mean) ** 2 + width**2 / 12))
    return math.sqrt(variance) if variance > 1e-24 else 0.0


def _sum_of_probability(v: Array) -> Array:
    """Integral of v cut to [0, 1], from 0."""
    inside = np.clip(v, 0, 1)
    return np.asarray(inside**2 / 2 + np.maximum(v - 1, 0))


def _sum_of_entropy(v: Array) -> Array:
    """Integral from 0 of the entropy of a coin of probability v, which has none outside [0, 1]."""
    p = np.clip(v, 0, 1)
    q = 1 - p
    return np.asarray((p - xlogy(p**2, p) + xlogy(q**2, q)) / 2)


def _mean(features: Features, function: Callable[[Array], Array], integral: Callable[[Array], Array]) -> Array:
    """(m,) mean of a function over each piece, by its integral; at the point where the piece is one."""
    width = features.high - features.low
    wide = features.is_continuous
    over = (integral(features.high) - integral(features.low)) / np.where(wide, width, 1.0)
    return np.where(wide, over, function((features.low + features.high) / 2))


def _nodes(low: float, high: float, std: float) -> tuple[Array, Array]:
    """Places and weights that integrate what varies no faster than noise of this size."""
    panels = max(1, math.ceil((high - low) / std))
    ends = np.linspace(low, high, panels + 1)
    half = np.diff(ends)[:, None] / 2
    return (ends[:-1, None] + half * (1 + _GAUSS_POINTS)).reshape(-1), (half * _GAUSS_WEIGHTS).reshape(-1)


def _densities(features: Features, std: float, places: Array) -> Array:
    """(m, len(places)) density of each piece with Gaussian noise added."""
    low, high = features.low[:, None], features.high[:, None]
    width, middle = high - low, (low + high) / 2
    narrow = width < 1e-4 * std  # the difference below would lose its digits
    sharp = np.exp(-0.5 * ((places - middle) / std) ** 2) / (std * math.sqrt(2 * math.pi))
    left, right = (low - places) / std, (high - places) / std
    beyond = left > 0  # there both are near 1, and their complements are not
    smooth = np.where(beyond, ndtr(-left) - ndtr(-right), ndtr(right) - ndtr(left)) / np.where(narrow, 1.0, width)
    return np.where(narrow, sharp, smooth)


def _spread(masses: Array, weights: Array) -> float:
    """Entropy of a variable with these masses at nodes of these weights, and point masses after them, nats."""
    at_nodes = len(weights)
    known = masses[:at_nodes] > 0
    inside = masses[:at_nodes][known]
    return float(-(inside * np.log(inside / weights[known])).sum() + entr(masses[at_nodes:]).sum())


def _spread_given(value: Array, std: float) -> Array:
    """Entropy of relu(value + noise): of its point mass at 0, and of its density above, nats."""
    from_zero = -value / std
    silent, heard = ndtr(from_zero), ndtr(-from_zero)
    tail = from_zero * np.exp(-0.5 * from_zero**2) / math.sqrt(2 * math.pi) + heard
    return np.asarray(entr(silent) + heard * math.log(std * math.sqrt(2 * math.pi)) + tail / 2)


def _mean_by_nodes(features: Features, std: float, function: Callable[[Array], Array]) -> Array:
    """(m,) mean of a function over each piece, by quadrature."""
    means = []
    for low, high, wide in zip(features.low, features.high, features.is_continuous, strict=True):
        places, weights = _nodes(low, high, std) if wide else (np.array([low]), np.ones(1))
        means.append(float(function(places) @ weights / weights.sum()))
    return np.array(means)
