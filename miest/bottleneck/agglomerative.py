"""Agglomerative bottleneck: clusters of X that are merged two by two, always those that lose least (Slonim & Tishby)::

loss of a merger = (p_i + p_j) JS(p(y|i), p(y|j))              in I(Y;Z), nats
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from miest.bottleneck.tables import Array, Bottleneck, Table, encoder_of, entropy_of, information_of, joint_table


@dataclass(frozen=True, eq=False)
class Agglomeration:
    """The tree of mergers, from a cluster for every x down to one for all.

    Parameters
    ----------
    table : Table
    mergers : tuple of (i, j)       clusters that were joined, i < j; the joined one is called i
    """

    table: Table
    mergers: tuple[tuple[int, int], ...]

    @property
    def clusters(self) -> tuple[int, ...]:
        """Numbers of clusters that there is a partition for."""
        return tuple(range(len(self.table.p_x), 0, -1))

    def labels(self, clusters: int) -> NDArray[np.intp]:
        """(n_x,) labels 0..clusters-1 of the partition into so many.

        Raises
        ------
        ValueError
            if there are not so many x
        """
        n_x = len(self.table.p_x)
        if clusters not in self.clusters:
            raise ValueError(f"clusters={clusters!r} must be an integer from 1 to {n_x}, the number of values of X.")
        codes = np.arange(n_x)
        for kept, gone in self.mergers[: n_x - clusters]:
            codes[codes == gone] = kept
        return np.asarray(np.unique(codes, return_inverse=True)[1].reshape(-1), np.intp)

    def bottleneck(self, clusters: int, *, beta: float = 0.0) -> Bottleneck:
        """The partition into so many clusters as a hard encoder."""
        return Bottleneck(table=self.table, encoder=encoder_of(self.labels(clusters), clusters), beta=beta)

    @cached_property
    def relevances(self) -> Array:
        """I(Y;Z) of each partition, in the order of `clusters`, nats."""
        return np.array([information_of(self._joined(k)) for k in self.clusters])

    @cached_property
    def rates(self) -> Array:
        """H(Z) = I(X;Z) of each partition, in the order of `clusters`, nats."""
        return np.array([entropy_of(self._joined(k).sum(1)) for k in self.clusters])

    def _joined(self, clusters: int) -> Array:
        joined = np.zeros((clusters, self.table.joint.shape[1]))
        np.add.at(joined, self.labels(clusters), self.table.joint)
        return joined


def agglomerate(table: ArrayLike | Table, *, beta: float = math.inf) -> Agglomeration:
    """Hard clusters of X with much I(Y;Z), one tree for every number of them.

    Parameters
    ----------
    table : (n_x, n_y) array-like or Table      probabilities or counts
    beta : float        what is lost by a merger is beta I(Y;Z) - H(Z); infinite: I(Y;Z) alone

    Raises
    ------
    ValueError
        if beta is not a number of at least 0, or the table is not one

    Notes
    -----
    Error: greedy, so that a partition may be worse than the best one of its size.
    Cost: O(n_x^2 (n_x + n_y)) time, O(n_x^2) memory.
    Source: Slonim, Tishby (1999), Agglomerative information bottleneck.
    """
    checked = joint_table(table)
    if math.isnan(beta) or beta < 0:
        raise ValueError(f"beta={beta!r} must be a number of at least 0, or infinity.")
    joint = checked.joint.copy()
    losses = np.full((len(joint), len(joint)), math.inf)  # above the diagonal, of clusters that are left
    for i in range(len(joint) - 1):
        losses[i, i + 1 :] = _losses(joint[i], joint[i + 1 :], beta)
    left = np.ones(len(joint), bool)
    mergers = []
    for _ in range(len(joint) - 1):
        i, j = map(int, np.unravel_index(int(losses.argmin()), losses.shape))
        mergers.append((i, j))
        joint[i] += joint[j]
        left[j] = False
        losses[j, :] = losses[:, j] = math.inf
        others = np.flatnonzero(left & (np.arange(len(joint)) != i))
        if others.size:
            losses[np.minimum(i, others), np.maximum(i, others)] = _losses(joint[i], joint[others], beta)
    return Agglomeration(checked, tuple(mergers))


def _losses(one: Array, others: Array, beta: float) -> Array:
    """(k,) what joining one cluster (n_y,) with each of others (k, n_y) costs."""
    p, q = one.sum(), others.sum(1)
    entropy = xlogy(p + q, p + q) - xlogy(p, p) - xlogy(q, q)  # H(Z) before, less after
    pair = one + others
    relevance = xlogy(one, one).sum() + xlogy(others, others).sum(1) - xlogy(pair, pair).sum(1) + entropy
    return np.asarray(relevance if math.isinf(beta) else beta * relevance - entropy)
