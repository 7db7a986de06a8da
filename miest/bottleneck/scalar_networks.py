"""A network of one number: its exact effect on the distribution of a scalar input with classes.

The input has point masses or is uniform on intervals, the network is piecewise linear, and so its output has atoms and
uniform pieces: no mutual information of them needs an estimate.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miest.bottleneck.tables import entropy_of, information_of
from miest.samples import DataError

Array = NDArray[np.float64]

_POINT = 1e-12  # width, as a share of the largest number, that rounding gives to a point


@dataclass(frozen=True, eq=False)
class Features:
    """Distribution of a scalar X and its class Y: pieces that are points, or intervals on which X is uniform.

    Parameters
    ----------
    low, high : (m,) float      ends of each piece; equal for a point
    labels : (m,) int           class of each piece, from 0
    masses : (m,) float         probability of each piece
    """

    low: Array
    high: Array
    labels: NDArray[np.intp]
    masses: Array

    @classmethod
    def points(cls, x: ArrayLike, labels: ArrayLike, masses: ArrayLike | None = None) -> Self:
        """Point masses at x, equal unless `masses` says otherwise; of a data set: its rows.

        Parameters
        ----------
        x, labels, masses : (m,) array-like
        """
        return cls.intervals(x, x, labels, masses)

    @classmethod
    def intervals(cls, low: ArrayLike, high: ArrayLike, labels: ArrayLike, masses: ArrayLike | None = None) -> Self:
        """Uniform pieces between low and high, of equal mass unless `masses` says otherwise.

        Parameters
        ----------
        low, high, labels, masses : (m,) array-like

        Raises
        ------
        DataError
            if lengths differ, an end is not finite, high < low, labels are not classes, or masses not probabilities
        """
        ends = np.atleast_1d(np.array(low, np.float64)), np.atleast_1d(np.array(high, np.float64))
        codes = np.atleast_1d(np.asarray(labels))
        shares = np.full(len(codes), 1 / max(len(codes), 1)) if masses is None else np.array(masses, np.float64)
        shapes = {part.shape for part in (*ends, codes, shares)}
        if len(shapes) > 1 or codes.ndim != 1 or not codes.size:
            raise DataError(f"pieces need as many ends, labels and masses, at least one; these have {sorted(shapes)}.")
        if not all(np.isfinite(part).all() for part in ends) or (ends[1] < ends[0]).any():
            raise DataError("every piece needs finite ends with low <= high.")
        if codes.dtype.kind not in "iub" or (codes < 0).any():
            raise DataError("labels are whole numbers from 0, the classes.")
        if not (shares > 0).all() or abs(shares.sum() - 1) > 1e-9:
            raise DataError("masses are probabilities above 0 that sum to 1.")
        return cls(*ends, codes.astype(np.intp), shares)

    @property
    def label_table(self) -> Array:
        """(m, classes) 1 for the class of each piece."""
        return np.eye(int(self.labels.max()) + 1)[self.labels]

    @property
    def entropy_y(self) -> float:
        """H(Y), nats."""
        return entropy_of(self.masses @ self.label_table)

    def cut(self, at: ArrayLike) -> Self:
        """The same distribution in smaller pieces: no place of `at` is inside one."""
        pieces = []
        for low, high, label, mass in zip(self.low, self.high, self.labels, self.masses, strict=True):
            places = np.asarray(at, np.float64).reshape(-1)
            inside = places[(places > low) & (places < high)]
            ends = np.unique([low, *inside, high]) if high > low else np.array([low, high])
            width = high - low
            for left, right in pairwise(ends):
                pieces.append((left, right, label, mass * (right - left) / width if width else mass))
        low_ends, high_ends, labels, masses = zip(*pieces, strict=True)
        return type(self)(np.array(low_ends), np.array(high_ends), np.array(labels), np.array(masses))

    @cached_property
    def is_continuous(self) -> NDArray[np.bool_]:
        """(m,) whether the piece is an interval, and not a point up to rounding."""
        scale = max(float(np.abs(self.low).max()), float(np.abs(self.high).max()), 1.0)
        return np.asarray(self.high - self.low > _POINT * scale)

    def atoms(self) -> tuple[Array, Array]:
        """(k,) places of the point masses, and (k, classes) the mass of each class there."""
        here = ~self.is_continuous
        places, masses = self.low[here], self.masses[here, None] * self.label_table[here]
        order = np.argsort(places, kind="stable")
        places, masses = places[order], masses[order]
        if not places.size:
            return places, masses
        scale = max(float(np.abs(places).max()), 1.0)
        group = np.concatenate([[0], np.cumsum(np.diff(places) > _POINT * scale)]).astype(np.intp)
        joined = np.zeros((int(group[-1]) + 1, masses.shape[1]))
        np.add.at(joined, group, masses)
        return places[np.unique(group, return_index=True)[1]], joined

    def entropy(self) -> float:
        """H of the variable itself, nats: infinite where any piece is an interval."""
        return float("inf") if self.is_continuous.any() else entropy_of(self.atoms()[1].sum(1))

    def information(self) -> float:
        """Mutual information of the variable and its class, nats."""
        return information_of(np.vstack([self.atoms()[1], self._cells()]))

    def table(self, edges: ArrayLike) -> Array:
        """(len(edges) + 1, classes) probabilities of the cells between edges; an edge belongs to the cell below it."""
        scale = max(float(np.abs(self.low).max()), float(np.abs(self.high).max()), 1.0)
        places = np.sort(np.asarray(edges, np.float64).reshape(-1)) + _POINT * scale
        small = self.cut(places)
        joint = np.zeros((len(places) + 1, self.label_table.shape[1]))
        cells = np.searchsorted(places, (small.low + small.high) / 2, side="left")
        np.add.at(joint, (cells, small.labels), small.masses)
        return joint

    def _cells(self) -> Array:
        """(k, classes) masses of cells on which every piece is uniform; the density of a class does not vary inside."""
        wide = self.is_continuous
        ends = np.unique(np.concatenate([self.low[wide], self.high[wide]]))
        joint = np.zeros((max(len(ends) - 1, 0), self.label_table.shape[1]))
        for low, high, label, mass in zip(
            self.low[wide], self.high[wide], self.labels[wide], self.masses[wide], strict=True
        ):
            inside = (ends[:-1] >= low) & (ends[1:] <= high)
            joint[inside, label] += mass * np.diff(ends)[inside] / (high - low)
        return joint


@dataclass(frozen=True, eq=False)
class ReluNetwork:
    """One scalar in, a hidden layer of ReLU, one ReLU out: relu(v . relu(w x + c) + e).

    Parameters
    ----------
    hidden_weights, hidden_bias : (h,) float    w and c
    output_weights : (h,) float                 v
    output_bias : float                         e
    """

    hidden_weights: Array
    hidden_bias: Array
    output_weights: Array
    output_bias: float = 0.0

    def __post_init__(self) -> None:
        for name in ("hidden_weights", "hidden_bias", "output_weights"):
            object.__setattr__(self, name, np.atleast_1d(np.array(getattr(self, name), np.float64)))
        shapes = {self.hidden_weights.shape, self.hidden_bias.shape, self.output_weights.shape}
        if len(shapes) > 1 or self.hidden_weights.ndim != 1:
            raise DataError(f"the weights and biases of a hidden layer have one length; these have {sorted(shapes)}.")

    @classmethod
    def through(cls, x: ArrayLike, values: ArrayLike) -> Self:
        """The network that joins points by straight lines, constant before the first and after the last.

        Parameters
        ----------
        x : (k,) increasing array-like
        values : (k,) array-like            at least 0
        """
        knots, heights = np.asarray(x, np.float64), np.asarray(values, np.float64)
        if knots.shape != heights.shape or knots.ndim != 1 or not (np.diff(knots) > 0).all() or (heights < 0).any():
            raise DataError("a network joins points of increasing x with values of at least 0.")
        slopes = np.concatenate([[0.0], np.diff(heights) / np.diff(knots), [0.0]])
        return cls(np.ones(len(knots)), -knots, np.diff(slopes), float(heights[0]))

    def before_output(self, x: ArrayLike) -> Array:
        """The output before its ReLU, of the shape of x."""
        places = np.asarray(x, np.float64)
        hidden = np.maximum(places[..., None] * self.hidden_weights + self.hidden_bias, 0.0)
        return np.asarray(hidden @ self.output_weights + self.output_bias)

    def __call__(self, x: ArrayLike) -> Array:
        """Return the output, of the shape of x."""
        return np.maximum(self.before_output(x), 0.0)

    @cached_property
    def bends(self) -> Array:
        """(k,) places where the slope before the output ReLU may change."""
        turning = self.hidden_weights != 0
        return np.unique(-self.hidden_bias[turning] / self.hidden_weights[turning])

    def before_output_of(self, features: Features) -> Features:
        """The distribution of the output before its ReLU: an atom wherever the network is constant on a piece."""
        pieces = features.cut(self.bends)
        ends = self.before_output(pieces.low), self.before_output(pieces.high)
        return Features(np.minimum(*ends), np.maximum(*ends), pieces.labels, pieces.masses)

    def output_of(self, features: Features) -> Features:
        """The distribution of the output, with the classes of the inputs."""
        before = self.before_output_of(features).cut(0.0)
        return Features(np.maximum(before.low, 0.0), np.maximum(before.high, 0.0), before.labels, before.masses)


def ramp(a: float, b: float) -> ReluNetwork:
    """The network of Fig. 1 (d): 0 up to a, rising with slope 1, constant from a + b."""
    return ReluNetwork(np.ones(2), np.array([-a, -a - b]), np.array([1.0, -1.0]))
