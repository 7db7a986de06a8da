"""Entropies whose uncertainty is known row by row: of counts, of mean probabilities, and of covariances.

Each is a `Term` with what every row contributes, so that sums and differences of them know their spread, too.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from miest.bottleneck.i_diagram import Term
from miest.samples import DataError, Variable
from miest.traits import normality
from miest_kernels.rows import row_codes

_NORMAL = 0.99  # `normality` of every column, less 8/n, from which on margins are taken for Gaussian
_KURTOSIS = 5.0  # standard errors of Mardia's kurtosis that a joint Gaussian may be off by
_SINGULAR = 1e-10  # smallest eigenvalue of a correlation matrix that is not one of a linear relation


class Counted(NamedTuple):
    """An entropy of symbols, and the number of symbols that were seen."""

    term: Term
    symbols: int


def count_entropy(codes: list[NDArray[np.intp]]) -> Counted:
    """Plug-in entropy of joint symbols, what each row says of it, and the bias of Miller and Madow."""
    joint, counts = row_codes(np.column_stack(codes))
    n = len(joint)
    logs = -np.log(counts / n)
    value = math.fsum(counts / n * logs)
    bias = -(len(counts) - 1) / (2 * n)
    possible = min(math.prod(int(code.max()) + 1 for code in codes), max(n, len(counts)))
    unseen = -(possible - 1) / (2 * n)
    return Counted(Term(value, bias, unseen, unseen, logs[joint] - value), len(counts))


def mean_entropy(shares: NDArray[np.float64]) -> Term:
    """Entropy of the mean of rows of probabilities; the bias is that of second order, Miller and Madow's if one-hot."""
    p = shares.mean(axis=0)
    seen = p > 0
    shares, p = shares[:, seen], p[seen]
    value = -math.fsum(p * np.log(p))
    bias = -float((shares.var(axis=0) / p).sum()) / (2 * len(shares))
    return Term(value, bias, bias, bias, -shares @ np.log(p) - value)


def gaussian_like(checked: Mapping[str, Variable]) -> bool:
    """Whether margins and Mardia's kurtosis of all variables together are those of a Gaussian."""
    columns = [v.standardized[:, v.varying].astype(np.float64) for v in checked.values()]
    n, d = len(columns[0]), sum(block.shape[1] for block in columns)
    if n < 5 * d + 20 or not all(v.varying.all() for v in checked.values()):
        return False
    if any((normality(v) < _NORMAL - 8 / n).any() for v in checked.values()):
        return False
    whole = np.hstack(columns)
    values, vectors = np.linalg.eigh(whole.T @ whole / n)
    if values[0] < _SINGULAR:
        return True  # a linear relation between Gaussians; what is not defined is said there
    squares = np.square(whole @ vectors / np.sqrt(values)).sum(axis=1)
    kurtosis = float(np.mean(squares**2)) / (d * (d + 2)) - (n - 1) / (n + 1)
    return abs(kurtosis) < _KURTOSIS * math.sqrt(8 / (d * (d + 2)) / n)


def gaussian_entropy(parts: list[tuple[NDArray[np.float64], float]], names: tuple[str, ...]) -> Term:
    """Entropy of the Gaussian with the covariance of centred columns plus noise, without the bias of the logarithm."""
    columns = np.hstack([block for block, _ in parts])
    added = np.concatenate([np.full(block.shape[1], variance) for block, variance in parts])
    (n, d), nu = columns.shape, len(columns) - 1
    if n < d + 2:
        raise DataError(f"{n} samples are too few for a covariance of {d} columns: pass at least {d + 2}.")
    plain = columns.T @ columns / nu
    whole = plain + np.diag(added)
    scale = np.sqrt(np.diagonal(whole))
    if not (scale > 0).all() or np.linalg.eigvalsh(whole / np.outer(scale, scale))[0] < _SINGULAR:
        raise DataError(
            f"columns of {', '.join(names)} are constant, or linear functions of each other: their joint entropy is "
            "minus infinity. Pass noise= for Z, leave x out, or drop columns."
        )
    inverse = np.linalg.inv(whole)
    share = inverse @ plain
    bias = (
        float(digamma((nu - np.arange(d)) / 2).sum() - d * math.log(nu / 2)) / 2
        if not added.any()
        else -float(np.trace(share) ** 2 + np.sum(share * share.T)) / (4 * nu)
    )
    value = (d * math.log(2 * math.pi * math.e) + float(np.linalg.slogdet(whole)[1])) / 2 - bias
    rows = np.einsum("ij,jk,ik->i", columns, inverse, columns) / 2
    return Term(value, second=bias, rows=rows - rows.mean())
