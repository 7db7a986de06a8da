"""A joint table of X and Y, and a bottleneck Z of it: the encoder p(z | x) and the information that Z keeps.

Y - X - Z is a Markov chain, so that the encoder alone decides every quantity of the three variables.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from miest.samples import DataError

Array = NDArray[np.float64]

_HARD = 1e-9  # of probability that an encoder may leave to other clusters and still count as hard


@dataclass(frozen=True, eq=False)
class Table:
    """A checked joint distribution of two discrete variables; made by `joint_table`.

    Parameters
    ----------
    joint : (n_x, n_y) float    probabilities
    """

    joint: Array

    @cached_property
    def p_x(self) -> Array:
        """(n_x,) probabilities of X."""
        return np.asarray(self.joint.sum(1))

    @cached_property
    def p_y(self) -> Array:
        """(n_y,) probabilities of Y."""
        return np.asarray(self.joint.sum(0))

    @cached_property
    def y_given_x(self) -> Array:
        """(n_x, n_y) conditional probabilities; the distribution of Y where x has none."""
        never = self.p_x == 0
        rows = self.joint / np.where(never, 1.0, self.p_x)[:, None]
        return np.where(never[:, None], self.p_y, rows)

    @property
    def information(self) -> float:
        """I(X;Y), the most that a bottleneck can keep of Y, nats."""
        return information_of(self.joint)

    @property
    def entropy_x(self) -> float:
        """H(X), nats."""
        return entropy_of(self.p_x)

    @property
    def entropy_y(self) -> float:
        """H(Y), nats."""
        return entropy_of(self.p_y)


@dataclass(frozen=True, eq=False, kw_only=True)
class Bottleneck:
    """A representation Z of X that keeps information about Y.

    Parameters
    ----------
    table : Table
    encoder : (n_x, clusters) float     p(z | x)
    beta : float                        of the functional that it was made for
    iterations : int
    gap : float or None                 nats that another encoder could be better by at the same beta, as far as a
                                        search for one found; None where there was no such search
    """

    table: Table
    encoder: Array
    beta: float
    iterations: int = 0
    gap: float | None = None

    @cached_property
    def p_z(self) -> Array:
        """(clusters,) probabilities of Z."""
        return np.asarray(self.table.p_x @ self.encoder)

    @cached_property
    def y_given_z(self) -> Array:
        """(clusters, n_y) what a cluster says of Y; the distribution of Y where z has no probability."""
        never = self.p_z == 0
        rows = (self.encoder.T @ self.table.joint) / np.where(never, 1.0, self.p_z)[:, None]
        return np.where(never[:, None], self.table.p_y, rows)

    @cached_property
    def rate(self) -> float:
        """I(X;Z), nats."""
        return information_of(self.encoder * self.table.p_x[:, None])

    @cached_property
    def relevance(self) -> float:
        """I(Y;Z), nats."""
        return information_of(self.encoder.T @ self.table.joint)

    @cached_property
    def entropy(self) -> float:
        """H(Z), nats: I(X;Z) where the encoder is hard."""
        return entropy_of(self.p_z)

    @property
    def functional(self) -> float:
        """I(X;Z) - beta I(Y;Z), nats; the smaller, the better."""
        return self.rate - self.beta * self.relevance

    @property
    def deterministic_functional(self) -> float:
        """H(Z) - beta I(Y;Z), nats."""
        return self.entropy - self.beta * self.relevance

    @property
    def labels(self) -> NDArray[np.intp]:
        """(n_x,) the most likely cluster of each x."""
        return np.asarray(self.encoder.argmax(1))

    @property
    def is_hard(self) -> bool:
        """Whether every x has one cluster."""
        return bool((self.encoder[self.table.p_x > 0].max(1) > 1 - _HARD).all())

    @property
    def clusters(self) -> int:
        """Clusters that differ in what they say of Y, and have probability."""
        used = self.y_given_z[self.p_z > _HARD]
        kept: list[Array] = []
        for row in used:
            if all(np.abs(row - other).max() > 1e-6 for other in kept):
                kept.append(row)
        return len(kept)


def joint_table(table: ArrayLike | Table) -> Table:
    """Check a table of probabilities or of counts.

    Parameters
    ----------
    table : (n_x, n_y) array-like   probabilities that sum to 1, or counts, which are divided by their sum

    Raises
    ------
    DataError
        if it has not two axes, is empty, has negative or infinite entries or none above zero, or is neither
        probabilities nor counts
    """
    if isinstance(table, Table):
        return table
    entries = np.asarray(table, np.float64)
    if entries.ndim != 2 or 0 in entries.shape:
        raise DataError(f"a joint table has two axes, X and Y, both with entries; this has shape {entries.shape}.")
    if not np.isfinite(entries).all() or (entries < 0).any():
        raise DataError("a joint table holds probabilities or counts: finite numbers of at least 0.")
    total = float(entries.sum())
    if total == 0:
        raise DataError("the joint table is zero everywhere: nothing was ever seen.")
    if abs(total - 1) > 1e-9 and not (entries == np.round(entries)).all():
        raise DataError(
            f"the joint table sums to {total:.9g}: probabilities sum to 1, and counts are whole numbers. "
            "Divide it by its sum if the rest is rounding."
        )
    return Table(entries / total)


def encoder_of(labels: ArrayLike, clusters: int | None = None) -> Array:
    """Hard encoder (n_x, clusters) that sends each x to its label."""
    codes = np.asarray(labels)
    return np.eye(clusters or int(codes.max()) + 1)[codes]


def entropy_of(probabilities: Array) -> float:
    """Entropy of probabilities that sum to 1, nats."""
    return -float(xlogy(probabilities, probabilities).sum())


def information_of(joint: Array) -> float:
    """Mutual information of the two axes of a joint distribution, nats."""
    product = joint.sum(1)[:, None] * joint.sum(0)
    seen = joint > 0
    return max(0.0, float((joint[seen] * np.log(joint[seen] / product[seen])).sum()))


def require_beta(beta: Any) -> float:
    """The trade-off as a number, if it is one.

    Raises
    ------
    ValueError
        if it is negative, infinite or not a number
    """
    if isinstance(beta, bool) or not np.isscalar(beta) or not 0 <= float(beta) < math.inf:  # type: ignore[arg-type]
        raise ValueError(f"beta={beta!r} must be a finite number of at least 0: it weighs I(Y;Z) against I(X;Z).")
    return float(beta)  # type: ignore[arg-type]


def first_critical_beta(table: ArrayLike | Table) -> float:
    """Where I(X;Z) - beta I(Y;Z) is first lowered by a small change of the encoder that ignores X.

    It is 1 / rho^2, rho the maximal correlation of X and Y: the second singular value of
    p(x, y) / sqrt(p(x) p(y)). An encoder far from that one may already be better at a smaller beta, but none is
    below 1. Infinite where X and Y are independent.

    Parameters
    ----------
    table : (n_x, n_y) array-like or Table

    Notes
    -----
    Source: the counterpart of the critical betas of `GaussianBottleneck`; Wu, Fischer, Chuang, Tegmark (2019),
        Learnability for the information bottleneck, arXiv:1907.07331.
    """
    checked = joint_table(table)
    scale = np.sqrt(np.outer(checked.p_x, checked.p_y))
    singular = np.linalg.svd(checked.joint / np.where(scale > 0, scale, 1.0), compute_uv=False)
    rho = float(singular[1]) if len(singular) > 1 else 0.0
    return 1 / min(rho, 1.0) ** 2 if rho > 1e-8 else math.inf
