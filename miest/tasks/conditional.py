"""Tasks with known I(X;Y|Z): Gaussian graphs, a discrete Z that changes the dependence, and tables."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import log1p

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from miest.tasks.discrete import checked_table, drawn_cells
from miest.tasks.gaussian import checked_covariance
from miest.tasks.task import Sample, Task

_SHANNON = "Cover & Thomas (2006), Elements of Information Theory, ch. 2 and 8"


def conditional_gaussian(
    covariance: ArrayLike, dx: int, dy: int, *, name: str, family: str = "conditional gaussian"
) -> Task:
    """Any joint Gaussian of (X, Y, Z): I(X;Y|Z) = 1/2 ln [det S_xz det S_yz / (det S_z det S)].

    Parameters
    ----------
    covariance : (dx + dy + dz, dx + dy + dz) array
    dx, dy : int            how many columns, from the first, are X and Y; the rest is Z
    name : str

    Raises
    ------
    ValueError
        if the matrix is not symmetric and positive definite, or X, Y or Z is left without columns
    """
    joint, factor = checked_covariance(covariance)
    dz = len(joint) - dx - dy
    if min(dx, dy, dz) < 1:
        raise ValueError(f"dx={dx}, dy={dy} of {len(joint)} columns: X, Y and Z need at least one each.")
    x, y, z = np.arange(dx), np.arange(dx, dx + dy), np.arange(dx + dy, len(joint))
    parts = [np.concatenate(columns) for columns in ([x, z], [y, z], [z], [x, y, z])]
    xz, yz, only_z, xyz = (float(np.linalg.slogdet(joint[np.ix_(part, part)]).logabsdet) for part in parts)
    mi = (xz + yz - only_z - xyz) / 2
    return Task(
        name=name,
        mi=mi if mi > 1e-13 * len(joint) else 0.0,  # chains and common causes are exactly 0, up to rounding
        dims=(dx, dy),
        given_dims=dz,
        kind="continuous",
        family=family,
        source=_SHANNON,
        draw=partial(_split, factor=factor, dx=dx, dy=dy),
    )


def gaussian_graph(
    effects: ArrayLike, std: Sequence[float] | float = 1.0, *, dx: int = 1, dy: int = 1, name: str
) -> Task:
    """A linear causal graph: each variable is a sum of earlier or later ones and its own noise, v = B v + s e.

    Variables are in the order X, Y, Z whatever the arrows say. A chain X -> Z -> Y and a common cause X <- Z -> Y have
    I(X;Y|Z) = 0; a collider X -> Z <- Y makes independent variables dependent.

    Parameters
    ----------
    effects : (d, d) array      entry (i, j) is the effect of variable j on variable i; without cycles
    std : float or (d,)         s
    dx, dy : int                how many variables, from the first, are X and Y
    name : str

    Raises
    ------
    ValueError
        if the graph has a cycle, and as `conditional_gaussian`
    """
    b = np.array(effects, np.float64)
    if b.ndim != 2 or b.shape[0] != b.shape[1] or np.any(np.linalg.matrix_power((b != 0) * 1.0, len(b))):
        raise ValueError(f"effects of shape {b.shape} must be square and without cycles: remove an arrow.")
    total = np.linalg.inv(np.eye(len(b)) - b) * np.broadcast_to(np.asarray(std, np.float64), len(b))
    return conditional_gaussian(total @ total.T, dx, dy, name=name, family="gaussian graph")


def switched_gaussian(
    correlations: Sequence[float],
    shifts: Sequence[tuple[float, float]] | None = None,
    weights: Sequence[float] | None = None,
    *,
    name: str,
) -> Task:
    """Z a label, (X, Y) given Z = k a shifted Gaussian pair: I(X;Y|Z) = sum_k w_k [-1/2 ln(1 - rho_k^2)].

    Shifts make X and Y dependent without Z: with rho_k = 0 they have I(X;Y) > 0 and I(X;Y|Z) = 0.

    Parameters
    ----------
    correlations : sequence of m floats         inside (-1, 1)
    shifts : sequence of m (float, float)       means of X and of Y; default 0
    weights : sequence of m floats              probabilities of the labels; default equal
    name : str

    Raises
    ------
    ValueError
        if the lengths differ, a correlation is not inside (-1, 1), or the weights are not probabilities
    """
    rho = np.array(correlations, np.float64)
    m = len(rho)
    means = np.zeros((m, 2)) if shifts is None else np.array(shifts, np.float64)
    share = np.full(m, 1 / m) if weights is None else np.array(weights, np.float64)
    if m == 0 or means.shape != (m, 2) or share.shape != (m,) or (np.abs(rho) >= 1).any():
        raise ValueError(
            f"{m} correlations, shifts {means.shape}, weights {share.shape}: need m inside (-1, 1), (m, 2) and m."
        )
    if (share < 0).any() or abs(share.sum() - 1) > 1e-9:
        raise ValueError(f"weights={share.tolist()} are not probabilities: they must be >= 0 and sum to 1.")
    return Task(
        name=name,
        mi=float(sum(-0.5 * w * log1p(-r * r) for w, r in zip(share, rho, strict=True))),
        dims=(1, 1),
        given_dims=1,
        kind="mixed",
        family="switched gaussian",
        source=_SHANNON,
        draw=partial(_switched, rho=rho, means=means, cumulative=np.cumsum(share)),
    )


def conditional_table(probabilities: ArrayLike, *, name: str) -> Task:
    """Integers with a joint table p(x, y, z): I(X;Y|Z) = sum p ln [p(x,y,z) p(z) / (p(x,z) p(y,z))].

    Parameters
    ----------
    probabilities : (a, b, c) array     not negative; scaled to sum 1
    name : str

    Raises
    ------
    ValueError
        if the table is not three-dimensional, or has a negative, infinite or no positive entry
    """
    table = checked_table(probabilities, 3)
    above = np.broadcast_to(table.sum(axis=(0, 1)), table.shape)
    below = table.sum(axis=1)[:, None, :] * table.sum(axis=0)[None]
    seen = table > 0
    ratio = np.where(seen, table * above, 1) / np.where(seen, below, 1)
    mi = float(xlogy(table, ratio).sum())
    return Task(
        name=name,
        mi=mi if mi > 1e-15 * table.size else 0.0,
        dims=(1, 1),
        given_dims=1,
        kind="discrete",
        family="conditional table",
        source=_SHANNON,
        draw=partial(_cells, cumulative=np.cumsum(table), shape=table.shape),
    )


def irrelevant_given(task: Task, columns: int = 1, *, name: str | None = None) -> Task:
    """The task with a Z that has nothing to do with it, standard normals: I(X;Y|Z) = I(X;Y).

    Raises
    ------
    ValueError
        if the task is conditional already, or columns < 1
    """
    if task.is_conditional or columns < 1:
        raise ValueError(f"Task {task.name!r} with columns={columns}: need a task without Z, and at least one column.")
    return replace(
        task,
        name=name or f"{task.name}-given-noise{columns}",
        given_dims=columns,
        kind="continuous" if task.kind == "continuous" else "mixed",
        draw=partial(_with_noise, task=task, columns=columns),
    )


def _split(n: int, rng: Generator, *, factor: NDArray[np.float64], dx: int, dy: int) -> Sample:
    rows = rng.standard_normal((n, len(factor))) @ factor.T
    return Sample(x=rows[:, :dx], y=rows[:, dx : dx + dy], given=rows[:, dx + dy :])


def _switched(
    n: int,
    rng: Generator,
    *,
    rho: NDArray[np.float64],
    means: NDArray[np.float64],
    cumulative: NDArray[np.float64],
) -> Sample:
    z = drawn_cells(n, rng, cumulative)
    x, y = rng.standard_normal(n), rng.standard_normal(n)
    y = rho[z] * x + np.sqrt((1 - rho[z]) * (1 + rho[z])) * y
    return Sample(x=(x + means[z, 0])[:, None], y=(y + means[z, 1])[:, None], given=z[:, None])


def _cells(n: int, rng: Generator, *, cumulative: NDArray[np.float64], shape: tuple[int, ...]) -> Sample:
    x, y, z = np.unravel_index(drawn_cells(n, rng, cumulative), shape)
    return Sample(x=x[:, None], y=y[:, None], given=z[:, None])


def _with_noise(n: int, rng: Generator, *, task: Task, columns: int) -> Sample:
    rows = task.draw(n, rng)
    return Sample(x=rows.x, y=rows.y, given=rng.standard_normal((n, columns)))
