"""The information bottleneck of a joint table: min I(X;Z) - beta I(Y;Z) over encoders p(z | x).

The self-consistent equations (Tishby, Pereira & Bialek 1999) are solved by turns, as Blahut and Arimoto do::

p(z|x) = p(z) exp(-beta KL(p(y|x) || p(y|z))) / N(x)

That finds a local optimum. In the posteriors q(x) = p(x|z) the functional is sum_z p(z) G(q_z), up to a constant, with
G(q) = beta H(Y|q) - H(X|q): linear in the mixture of posteriors, so that an optimum is global exactly where no
posterior q lies below the plane that touches G at the clusters there are. At a solution of the equations that plane
has the slopes ln(p(x) / N(x)) + beta H(Y|x), and the distance of q from it is::

D(q) = sum_x q(x) ln(q(x) N(x) / p(x)) + beta (H(Y|q) - sum_x q(x) H(Y|x))

A search for q with D(q) < 0 follows each solution; what it finds becomes a new cluster. The smallest D found bounds
what any encoder could be better by.
"""

import math
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp, xlogy

from miest.bottleneck.agglomerative import agglomerate
from miest.bottleneck.tables import Array, Bottleneck, Table, encoder_of, joint_table, require_beta
from miest.samples import DataError

_TOLERANCE = 1e-10  # nats that a solution may be better by
_STILL = 1e-8  # change of p(y|z) in a turn
_PAIRS = 500  # of x, most that a search starts at
_TURNS = 400  # between two searches for better clusters
_NEVER = -1e300  # in place of the logarithm of 0: 0 times it is 0


def information_bottleneck(
    table: ArrayLike | Table,
    beta: float,
    *,
    clusters: int | None = None,
    start: ArrayLike | Bottleneck | None = None,
    steps: int = 20_000,
    seed: int = 0,
) -> Bottleneck:
    """Encoder p(z | x) of a joint table with the smallest I(X;Z) - beta I(Y;Z).

    Parameters
    ----------
    table : (n_x, n_y) array-like or Table      probabilities or counts
    beta : float            weight of I(Y;Z); up to 1 no encoder beats one that ignores X
    clusters : int or None  most values of Z; None: as many as there are of X, which is enough
    start : (n_x, k) encoder, (n_x,) labels, Bottleneck, or None
        None: the agglomerative partition into `clusters`
    steps : int             most turns of the equations
    seed : int              of where a search for better clusters starts

    Returns
    -------
    Bottleneck              its `gap` says how much better another encoder could be, nats

    Raises
    ------
    ValueError
        if beta, clusters, steps or start is not as above, or the table is not one

    Notes
    -----
    Error: `gap`, typically below 1e-9 nats; it is from a search over posteriors that starts at every x, at pairs and
        at random, not a proof. Of 35 random tables of up to 12 by 8, at 4 betas each, solutions from three starts agree
        within 1e-8. With fewer clusters than X has values there is no search and `gap` is None: the best of several
        starts, maybe a local optimum. Where the curve is straight, as for Y a function of X, one beta has many
        solutions, and which one is found depends on the start.
    Cost: O(n_x k n_y) a turn; near a critical beta thousands of turns.
    Source: Tishby, Pereira, Bialek (1999), arXiv:physics/0004057; leaps: Varadhan, Roland (2008).
    Differs: the search for new clusters, which makes the optimum global where it ends.
    """
    checked, beta = joint_table(table), require_beta(beta)
    n_x = len(checked.p_x)
    if clusters is not None and (isinstance(clusters, bool) or not 1 <= clusters or int(clusters) != clusters):
        raise ValueError(f"clusters={clusters!r} must be an integer of at least 1, or None.")
    if steps < 1:
        raise ValueError(f"steps={steps!r} must be at least 1.")
    most = n_x if clusters is None else int(clusters)
    seen = checked.p_x > 0
    inner = Table(checked.joint[seen])
    rng = np.random.default_rng(seed)
    if most >= int(seen.sum()):
        first = encoder_of(np.arange(len(inner.p_x))) if start is None else _encoder(start, n_x)[seen]
        p_z, y_z, taken, gap = _globally(inner, beta, *_shares(inner, first), steps, rng)
    else:
        starts = [_encoder(start, n_x)[seen]] if start is not None else _several(inner, beta, most, rng)
        if starts[0].shape[1] > most:
            raise ValueError(f"the start has {starts[0].shape[1]} clusters, more than clusters={most}.")
        p_z, y_z, taken = min(
            (_alternated(inner, beta, *_shares(inner, encoder), steps) for encoder in starts),
            key=lambda found: _functional(inner, beta, found[0], found[1]),
        )
        gap = None
    encoder = np.empty((n_x, len(p_z)))
    encoder[seen] = _turn(inner, beta, p_z, y_z)[0]
    encoder[~seen] = p_z
    return Bottleneck(table=checked, encoder=encoder, beta=beta, iterations=taken, gap=gap)


def _encoder(start: Any, n_x: int) -> Array:
    """What the caller starts from as an encoder."""
    if isinstance(start, Bottleneck):
        start = start.encoder
    given = np.asarray(start)
    encoder = encoder_of(given) if given.ndim == 1 and given.dtype.kind in "iu" else np.asarray(given, np.float64)
    if encoder.ndim != 2 or len(encoder) != n_x:
        raise DataError(f"a start is an encoder ({n_x}, clusters) or {n_x} integer labels; this has {given.shape}.")
    if (encoder < 0).any() or not np.allclose(encoder.sum(1), 1, atol=1e-9):
        raise DataError("every row of an encoder holds the probabilities of the clusters given x, which sum to 1.")
    return encoder


def _several(table: Table, beta: float, clusters: int, rng: np.random.Generator) -> list[Array]:
    """Starts where there may be fewer clusters than x: two trees of mergers, and soft encoders at random."""
    trees = [encoder_of(agglomerate(table, beta=b).labels(clusters), clusters) for b in (np.inf, max(beta, 1.0))]
    return trees + [rng.dirichlet(np.ones(clusters), len(table.p_x)) for _ in range(6)]


def _shares(table: Table, encoder: Array) -> tuple[Array, Array]:
    """(k,) p(z) and (k, n_y) p(y|z) of the clusters that an encoder uses."""
    p_z = table.p_x @ encoder
    used = p_z > 0
    return p_z[used], (encoder.T @ table.joint)[used] / p_z[used, None]


def _logarithm(values: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(values), _NEVER)


def _divergences(table: Table, y_z: Array) -> Array:
    """(n_x, k) KL(p(y|x) || p(y|z)), nats; huge for infinite."""
    rows = table.y_given_x
    return np.asarray(xlogy(rows, rows).sum(1)[:, None] - rows @ _logarithm(y_z).T)


def _turn(table: Table, beta: float, p_z: Array, y_z: Array) -> tuple[Array, Array]:
    """(n_x, k) p(z|x) and (n_x,) ln N(x) of these clusters."""
    logits = _logarithm(p_z) - beta * _divergences(table, y_z)
    scale = logsumexp(logits, axis=1)
    return np.exp(logits - scale[:, None]), scale


def _functional(table: Table, beta: float, p_z: Array, y_z: Array) -> float:
    """I(X;Z) - beta I(Y;Z) of the encoder that these clusters give, nats."""
    return Bottleneck(table=table, encoder=_turn(table, beta, p_z, y_z)[0], beta=beta).functional


def _alternated(table: Table, beta: float, p_z: Array, y_z: Array, steps: int) -> tuple[Array, Array, int]:
    """Clusters where the equations hold, and how many turns that took.

    Near a critical beta a turn moves little, and the next one goes on in the same direction: after every two there is a
    leap along the line through them (Varadhan & Roland 2008), kept where it lowers the functional.
    """
    taken = 0
    while taken < steps:
        one = _shares(table, _turn(table, beta, p_z, y_z)[0])
        encoder, scale = _turn(table, beta, *one)
        two = _shares(table, encoder)
        taken += 2
        if not len(p_z) == len(one[0]) == len(two[0]):  # a cluster has vanished
            p_z, y_z = two
            continue
        gained = float(np.log(two[0] / one[0]).max())  # no cluster lies farther below the plane
        moved = float(np.abs(two[1] - one[1]).max())
        if gained < _TOLERANCE and moved < _STILL:
            return *two, taken
        leapt = _leap((p_z, y_z), one, two)
        encoder, beyond = _turn(table, beta, *leapt)
        taken += 1
        # ln N(x) rises on average as the functional falls.
        p_z, y_z = _shares(table, encoder) if table.p_x @ beyond > table.p_x @ scale else two
    return p_z, y_z, taken


def _leap(zero: tuple[Array, Array], one: tuple[Array, Array], two: tuple[Array, Array]) -> tuple[Array, Array]:
    """Where three points in a row, of p(z) and p(y|z), lead to."""
    steps = [(b - a, c - b) for a, b, c in zip(zero, one, two, strict=True)]
    length = math.sqrt(sum(float(np.square(step).sum()) for step, _ in steps))
    change = math.sqrt(sum(float(np.square(after - step).sum()) for step, after in steps))
    stretch = max(1.0, length / change) if change > 0 else 1.0
    leapt = []
    for start, end, (step, after) in zip(zero, two, steps, strict=True):
        place = np.maximum(start + 2 * stretch * step + stretch**2 * (after - step), 0.1 * end)
        leapt.append(place / place.sum(-1, keepdims=True))
    return leapt[0], leapt[1]


def _globally(
    table: Table, beta: float, p_z: Array, y_z: Array, steps: int, rng: np.random.Generator
) -> tuple[Array, Array, int, float]:
    """As `_alternated`, with new clusters as long as there are any to gain by; the last is what is left to gain."""
    taken, gap = 0, math.inf
    while True:
        # Turns may creep for long where another cluster would lead down at once: some of them, and then a search.
        p_z, y_z, used = _alternated(table, beta, *_distinct(p_z, y_z), max(1, min(_TURNS, steps - taken)))
        taken += used
        scale = _turn(table, beta, p_z, y_z)[1]
        distances, found = _search(table, beta, scale, rng)
        lowest = int(distances.argmin())
        gap = max(0.0, -float(distances[lowest]))
        if gap < _TOLERANCE or taken >= steps:
            return p_z, y_z, taken, gap
        here = _functional(table, beta, p_z, y_z)
        wider = [
            (np.append((1 - share) * p_z, share), np.vstack([y_z, found[lowest]]))
            for share in np.geomspace(0.1, 1e-6, 11)
        ]
        values = [_functional(table, beta, *clusters) for clusters in wider]
        if min(values) < here - _TOLERANCE / 10:
            p_z, y_z = wider[int(np.argmin(values))]
        elif used < _TURNS:  # they had come to rest
            return p_z, y_z, taken, gap


def _distinct(p_z: Array, y_z: Array) -> tuple[Array, Array]:
    """Clusters that say the same of Y as one."""
    groups = np.unique(np.round(y_z / _STILL / 10), axis=0, return_inverse=True)[1].reshape(-1)
    joined = np.zeros((int(groups.max()) + 1, len(p_z)))
    joined[groups, np.arange(len(p_z))] = p_z
    share = joined.sum(1)
    return share, (joined @ y_z) / share[:, None]


def _search(table: Table, beta: float, scale: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """(m,) D of local minima over posteriors, and (m, n_y) their p(y|z)."""
    n_x, rows = len(table.p_x), table.y_given_x
    vertices = np.eye(n_x)
    pairs = np.array(list(combinations(range(n_x), 2))[:_PAIRS], np.intp).reshape(-1, 2)
    joined = (vertices[pairs[:, 0]] + vertices[pairs[:, 1]]) * table.p_x
    q = np.vstack(
        [
            vertices,
            0.9 * vertices + 0.1 * table.p_x,
            joined / joined.sum(1, keepdims=True),
            rng.dirichlet(np.full(n_x, 0.5), n_x),
            table.p_x,
        ]
    )
    weight = np.log(table.p_x) - scale
    for _ in range(300):
        before = q
        logits = weight - beta * _divergences(table, q @ rows).T  # (m, n_x)
        q = np.exp(logits - logsumexp(logits, axis=1)[:, None])
        if np.abs(q - before).max() < 1e-9:
            break
    y_q = q @ rows
    spread = xlogy(rows, rows).sum(1)  # -H(Y|x)
    distances = (xlogy(q, q) - q * weight).sum(1) + beta * (q @ spread - xlogy(y_q, y_q).sum(1))
    return distances, y_q
