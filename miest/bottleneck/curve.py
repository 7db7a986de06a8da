"""The curve of a bottleneck: how much of I(X;Y) can be kept at each rate I(X;Z)."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miest.bottleneck.deterministic import deterministic_bottleneck
from miest.bottleneck.discrete import information_bottleneck
from miest.bottleneck.tables import Array, Bottleneck, Table, first_critical_beta, joint_table, require_beta

_FIRST = 30  # betas that the curve is begun with
_MOST = 200
_CLOSE = 2e-5  # nats


@dataclass(frozen=True, eq=False)
class BottleneckCurve:
    """Bottlenecks of one table for increasing beta.

    Parameters
    ----------
    table : Table
    points : tuple of Bottleneck    in order of beta
    deterministic : bool            whether H(Z) is the rate and clusters are hard
    """

    table: Table
    points: tuple[Bottleneck, ...]
    deterministic: bool = False

    @property
    def betas(self) -> Array:
        """(m,) weights of I(Y;Z), increasing."""
        return np.array([point.beta for point in self.points])

    @property
    def rates(self) -> Array:
        """(m,) I(X;Z), which is H(Z) for hard clusters, nats."""
        return np.array([point.rate for point in self.points])

    @property
    def relevances(self) -> Array:
        """(m,) I(Y;Z), nats."""
        return np.array([point.relevance for point in self.points])

    @property
    def clusters(self) -> NDArray[np.intp]:
        """(m,) clusters that differ."""
        return np.array([point.clusters for point in self.points], np.intp)

    @overload
    def relevance_at(self, rate: float) -> float: ...
    @overload
    def relevance_at(self, rate: Array) -> Array: ...
    def relevance_at(self, rate: float | Array) -> float | Array:
        """The most of I(Y;Z) that the points and mixtures of them reach at a rate, nats.

        Parameters
        ----------
        rate : float or (k,) array      I(X;Z), nats, at least 0; beyond H(X) it is I(X;Y)

        Raises
        ------
        ValueError
            if a rate is negative
        """
        wanted = np.asarray(rate, np.float64)
        if not (wanted >= 0).all():
            raise ValueError(f"rate={rate!r} must be at least 0 nats.")
        ends = [(0.0, 0.0), (self.table.entropy_x, self.table.information)]
        hull = _upper_hull([*zip(self.rates, self.relevances, strict=True), *ends])
        found = np.interp(wanted, hull[:, 0], hull[:, 1])
        return float(found) if found.ndim == 0 else found

    def __iter__(self) -> Iterator[Bottleneck]:
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)

    def __str__(self) -> str:
        """Return a table of beta, rate, relevance and clusters, nats."""
        lines = [f"{'beta':>10}{'I(X;Z)':>10}{'I(Y;Z)':>10}{'clusters':>10}"]
        lines += [f"{p.beta:10.4g}{p.rate:10.4f}{p.relevance:10.4f}{p.clusters:10d}" for p in self.points]
        return "\n".join(lines)


def bottleneck_curve(
    table: ArrayLike | Table,
    betas: Iterable[float] | None = None,
    *,
    clusters: int | None = None,
    deterministic: bool = False,
    seed: int = 0,
) -> BottleneckCurve:
    """Curve of I(Y;Z) against I(X;Z), by annealing from the largest beta to the smallest.

    Parameters
    ----------
    table : (n_x, n_y) array-like or Table      probabilities or counts
    betas : iterable of float, or None
        weights of I(Y;Z); None: from just below 1 to 100 times `first_critical_beta`, as many as it takes for the
        curve to be known within 2e-5 nats between them (30 for hard clusters)
    clusters : int or None      most values of Z; None: as many as there are of X
    deterministic : bool        whether H(Z) - beta I(Y;Z) is lowered, by hard clusters
    seed : int

    Returns
    -------
    BottleneckCurve             in order of beta; nats

    Raises
    ------
    ValueError
        if there are no betas, or one is not a number of at least 0, or the table is not one

    Notes
    -----
    The first solution starts from the agglomerative partition, each next one where the last ended. With fewer clusters
    than X has values the agglomerative start is tried as well at every beta, and the better solution is kept.
    Error: beside a general optimizer (dit 2.3, `IBCurve` by scipy) on a table of 3 by 3: rate and relevance within 4e-6
        nats, where the optimizer stops. Beside the convex hull of all posteriors, for X of two values: within 1e-7.
    """
    checked = joint_table(table)
    chosen = betas is None
    if betas is None:
        first = first_critical_beta(checked)
        betas = np.geomspace(0.99, 100 * (first if math.isfinite(first) else 1.0), _FIRST).tolist()
    ordered = sorted({require_beta(beta) for beta in betas}, reverse=True)
    if not ordered:
        raise ValueError("betas is empty: pass at least one number, or None.")
    if deterministic:
        hard = [deterministic_bottleneck(checked, beta, clusters=clusters, seed=seed) for beta in reversed(ordered)]
        return BottleneckCurve(checked, tuple(hard), deterministic)
    points: list[Bottleneck] = []
    for beta in ordered:
        points.insert(0, _annealed(checked, beta, points[0] if points else None, clusters, seed))
    while chosen and len(points) < _MOST:
        # Two neighbours leave the curve the triangle between their chord and their tangents, of slopes 1 / beta.
        heights = [_height(left, right) for left, right in pairwise(points)]
        widest = int(np.argmax(heights))
        if heights[widest] < _CLOSE:
            break
        left, right = points[widest : widest + 2]
        beta = (right.rate - left.rate) / (right.relevance - left.relevance)
        points.insert(widest + 1, _annealed(checked, beta, right, clusters, seed))
    return BottleneckCurve(checked, tuple(points), deterministic)


def _annealed(table: Table, beta: float, start: Bottleneck | None, clusters: int | None, seed: int) -> Bottleneck:
    """The bottleneck at a beta from that of the next larger one, or the agglomerative start if that ends better."""
    found = []
    if start is not None:
        found.append(information_bottleneck(table, beta, clusters=clusters, start=start, seed=seed))
    if start is None or found[0].gap is None:
        found.append(information_bottleneck(table, beta, clusters=clusters, seed=seed))
    return min(found, key=lambda point: point.functional)


def _height(left: Bottleneck, right: Bottleneck) -> float:
    """How far the curve may rise above the chord between two points of it, nats."""
    width = right.rate - left.rate
    if width < _CLOSE or right.beta - left.beta < 1e-6 * left.beta:
        return 0.0
    first, last, chord = 1 / left.beta, 1 / right.beta, (right.relevance - left.relevance) / width
    return max(0.0, width * (first - chord) * (chord - last) / (first - last)) if first > chord > last else 0.0


def _upper_hull(points: list[tuple[float, float]]) -> Array:
    """Corners of the least concave function above the points, from left to right."""
    hull: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if hull and x - hull[-1][0] < 1e-12:
            if y <= hull[-1][1]:
                continue
            hull.pop()
        while len(hull) > 1 and _turns_left(hull[-2], hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y))
    return np.array(hull)


def _turns_left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) >= (b[1] - a[1]) * (c[0] - a[0])
