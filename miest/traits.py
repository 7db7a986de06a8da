"""What samples are like before anything is estimated: skew, near-duplicates, dimension, memory, determinism.

Each function measures one trait and returns its size; the ``*_doubt`` functions turn it into flags with a sentence.
The neighbour traits rest on one fact: around a point of any smooth density in d dimensions, with r_j the distance to
its j-th neighbour, the growth steps ::

    e_j = j ln(r_{j+1} / r_j)

are independent and exponential with mean 1/d, whatever the density, the units and j (Levina & Bickel 2005). They are
measured on at most 1,000 rows, chosen by a fixed seed, among all rows.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, ndtri
from scipy.stats import rankdata

from miest.result import Flag
from miest.samples import Variable
from miest_kernels.storage import columns_of, side_by_side

Doubts = list[tuple[Flag, str]]
Matrix = NDArray[np.float64]

_QUERIES = 1_000
_NUMBERS_AT_ONCE = 1 << 24  # of columns that are sorted
_UNEVEN_BELOW = 0.65  # of `normality`: below it are log-normal and cubed Gaussian margins, above it exponential ones
_STEPS = 10  # growth steps looked at for copies: groups of up to 10
_TREE_UP_TO = 12  # columns; beyond, all distances by matrix products are faster than a tree
_VALUES_AT_ONCE = 1 << 22
_COLUMNS = 16  # of one argument, for autocorrelation
_FEW_COLUMNS = 4  # where it is one check among others
_ROWS_IN_ORDER = 100_000  # for autocorrelation


# Margins


def normal_scores(numbers: NDArray[Any]) -> Matrix:
    """Phi^-1 of the average ranks over n + 1, column by column; turned columns give turned scores, bit for bit."""
    rank = np.asarray(rankdata(numbers, axis=0), np.float64)  # (n, d)
    from_below = rank <= (len(rank) + 1) / 2
    tail = ndtri(np.where(from_below, rank, len(rank) + 1 - rank) / (len(rank) + 1))
    return np.asarray(np.where(from_below, tail, -tail))


def normality(variable: Variable) -> Matrix:
    """Squared correlation of each varying column with its normal scores.

    It is the factor by which the margin alone shrinks rho^2 where the copula is Gaussian: 1 for a Gaussian, 0.955 for a
    uniform, 0.82 for an exponential, 0.60 for a log-normal margin.

    Returns
    -------
    (varying columns,) array

    Notes
    -----
    Source: Shapiro, Francia (1972), doi:10.1080/01621459.1972.10481232, with normal scores in place of expected order
    statistics; read as the size of the departure, not as a test.
    """
    scores = normal_scores(np.arange(variable.n)[:, None])[:, 0]
    varying, found = np.flatnonzero(variable.varying), []
    step = max(1, _NUMBERS_AT_ONCE // variable.n)
    for first in range(0, max(1, len(varying)), step):
        columns = np.sort(variable.standardized[:, varying[first : first + step]], axis=0)
        squares = np.square(columns, dtype=np.float64).sum(axis=0)
        found.append(np.square(scores @ columns) / (scores @ scores * squares))
    return np.concatenate(found)


# Neighbours


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """How much the rows of a sample stand in groups of near-copies.

    Parameters
    ----------
    share : float       of the rows that could be judged, those with others unnaturally near: one growth step of the
                        first ten is more than half of their sum. Of independent rows 2% are
    jump : float        how far one step stands out from the steps beside it, over all rows: 0 for independent rows,
                        near 1 where all rows come in equal groups of tight copies
    copies : int        rows in the commonest group, from where the jump is
    judged : int        rows that could be judged; those with ties (grids, rounded values) cannot
    alone : bool        the step stands out twice as far as any other; rows at equal times on a curve have several
    """

    share: float
    jump: float
    copies: int
    judged: int
    alone: bool

    @property
    def found(self) -> bool:
        """Whether rows come in groups: a jump beyond sampling noise and 0.012, or a share above 0.3."""
        if self.judged < 30:
            return False
        return (self.alone and self.jump > 0.012 + 0.45 / math.sqrt(self.judged)) or self.share > 0.3


def near_duplicates(*arguments: Variable) -> NearDuplicates:
    """How much rows stand in groups of near-copies, in the joint space of the continuous arguments.

    Augmented copies, repeated measurements and overlapping windows differ by less than independent rows would.

    Notes
    -----
    Method: the share of each growth step in the sum of the first ten is 1/10 on average for any smooth density of any
        dimension; in groups of m near-copies step m - 1 takes up to all of it. Exact copies count as ties instead.
    Error: found in none of 20 runs each (6 from n = 3,000) on 22 distributions (heavy tails, curves, up to 60 columns,
        rounded values) at n = 300 to 10,000, but for 20 narrow clusters of 15 rows (4 of 20). Found in 100 of 100 where
        300 Gaussian rows come three times with jitter of 1e-6 or 1e-2, and in all where a fifth of rows has a copy.
        A group of more than 10 copies looks like a cluster, and is not seen; jitter as wide as the distance of rows
        is not either. Smooth series sampled at equal times can look like copies.
    Cost: O(n log n) up to 12 columns; 200 to 1,000 times n d beyond.
    Source: the exponential steps are those of Levina, Bickel (2005); their ratio to the sum is the statistic of Fisher
        (1929), doi:10.1098/rspa.1929.0151.
    """
    points = _joint(arguments)
    return _near_duplicates(_steps(points, _STEPS + 1))


def intrinsic_dimension(*arguments: Variable) -> float:
    """Number of dimensions that the samples fill locally, in the joint space of the continuous arguments.

    The maximum-likelihood estimate from the first 20 neighbours, 1 / <e_j>; where rows come in near-copies, from those
    beyond the copies. NaN where too few rows could be judged (fewer than 30, or a grid of ties).

    Notes
    -----
    Error: Gaussian samples of 2, 6, 20 dimensions, n = 1,000 to 10,000: 2.0, 5.6 to 6.0, 13 to 15. Beyond 10 it is too
        small, for lack of neighbours that are near.
    Source: Levina, Bickel (2005), eq. 8, NeurIPS 17; averaged over rows before inverting, as MacKay and Ghahramani
        (2005) recommend.
    """
    steps = _steps(_joint(arguments), 20)
    if len(steps) < 30:
        return math.nan
    copies = _near_duplicates(steps[:, : _STEPS + 1])
    mean = float(steps[:, copies.copies if copies.found else 0 :].mean())
    return 1 / mean if mean > 0 else math.nan


def _joint(arguments: Sequence[Variable]) -> Matrix:
    """Standardised varying columns of the continuous arguments side by side, (n, d)."""
    real = [columns_of(v.standardized, v.varying) for v in arguments if not v.is_discrete]
    return side_by_side([np.zeros((arguments[0].n, 0)), *real], np.float64)


def _queries(n: int, most: int) -> NDArray[np.intp]:
    """Rows to look at; at random, since neighbouring rows may be copies, but always the same."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(n).choice(n, most, replace=False))


def _steps(points: Matrix, steps: int) -> Matrix:
    """Growth steps e_1 .. e_steps of the rows looked at, without those that have ties; (rows, steps)."""
    n, d = points.shape
    if d == 0 or n < steps + 2:
        return np.zeros((0, steps))
    radius, _ = _nearest(points, _queries(n, _how_many(n, d)), steps + 1)
    grows = np.diff(radius, axis=1) > 1e-9 * radius[:, 1:]
    radius = radius[(radius[:, 0] > 0) & grows.all(axis=1)]
    return np.asarray(np.log(radius[:, 1:] / radius[:, :-1]) * np.arange(1, steps + 1))


def _how_many(n: int, d: int) -> int:
    return _QUERIES if d <= _TREE_UP_TO else int(np.clip(4e8 / (n * d), 200, _QUERIES))


def _nearest(points: Matrix, rows: NDArray[np.intp], k: int) -> tuple[Matrix, NDArray[np.intp]]:
    """Euclidean distances (rows, k) to the k nearest other rows, and which they are."""
    n, d = points.shape
    if d <= _TREE_UP_TO:
        from scipy.spatial import cKDTree

        found = cKDTree(points, balanced_tree=False, compact_nodes=False).query(points[rows], k + 1)
        distance, near = np.asarray(found[0], np.float64), np.asarray(found[1], np.intp)
    else:
        squares = np.einsum("ij,ij->i", points, points)
        parts, step = [], max(1, _VALUES_AT_ONCE // n)
        for start in range(0, len(rows), step):
            few = points[rows[start : start + step]]
            parts.append(np.argpartition(squares - 2 * (few @ points.T), k, axis=1)[:, : k + 1])
        near = np.vstack(parts)
        distance = np.stack([np.linalg.norm(points[j] - points[i], axis=1) for i, j in zip(rows, near, strict=True)])
        order = np.argsort(distance, axis=1, kind="stable")
        near, distance = np.take_along_axis(near, order, axis=1), np.take_along_axis(distance, order, axis=1)
    # Oneself is anywhere among the rows at distance 0, or not listed where those are many.
    own = near == rows[:, None]
    own[~own.any(axis=1), -1] = True
    return distance[~own].reshape(-1, k), near[~own].reshape(-1, k)


def _near_duplicates(steps: Matrix) -> NearDuplicates:
    """Read copies from the growth steps; the last one serves as a neighbour to the tenth only."""
    if not len(steps):
        return NearDuplicates(share=0.0, jump=0.0, copies=1, judged=0, alone=False)
    mean = (steps / steps.sum(axis=1, keepdims=True)).mean(axis=0)
    beside = np.concatenate([mean[1:2], (mean[:-2] + mean[2:]) / 2])  # a trend in the density bends no step
    top = int((mean[:-1] - beside).argmax())
    jump = float(mean[top] - beside[top]) / (1 - 1 / _STEPS)
    above = mean[:-1] - 1 / (_STEPS + 1)
    alone = bool(above[top] >= 2 * np.delete(above, top).max())
    first_ten = steps[:, :_STEPS]
    share = float((2 * first_ten.max(axis=1) > first_ten.sum(axis=1)).mean())
    return NearDuplicates(share=share, jump=jump, copies=top + 2, judged=len(steps), alone=alone)


# Determinism


@dataclass(frozen=True, kw_only=True)
class Determinism:
    """How far one argument is a smooth function of the other, on the samples at hand.

    Parameters
    ----------
    noise_share : float     share of the variance of the target that its neighbours in the source leave open, typically
    nats : float            information that a Gaussian target with so little noise would carry
    limit : float           ln n: what is above cannot be told from infinity by n samples
    conclusive : bool       whether a known smooth function of the same source was recognised; if not, there are too
                            many dimensions for so few samples, and nothing follows from a large noise_share
    """

    noise_share: float
    nats: float
    limit: float
    conclusive: bool

    @property
    def found(self) -> bool:
        """Whether no noise was seen that n samples could show."""
        return self.nats >= self.limit and self.noise_share >= 0  # NaN where nothing was measured


def determinism(source: Variable, target: Variable) -> Determinism:
    """Evidence that a continuous target is a smooth function of a continuous source, as a noiseless layer is.

    Notes
    -----
    Method: at 100 rows the target is interpolated from the 40 nearest neighbours of its source, by cubic radial
        functions, whose error is noise plus what is not smooth. In the directions in which least is left open, as many
        as the source has dimensions, shares s of the variance are worth -1/2 sum ln s nats. The same is done for tanh
        of random projections of the source, to see whether the test can tell.
    Error: tanh(WX), 3 units, W and X Gaussian, n = 1,000, 2,000 and 5,000, 20 runs each: found in all at 1, 2 and 5
        dimensions of X (97 of 100 others at 5 dimensions, n = 1,000), in none with noise of 0.1 or 0.3 added. Noise of
        0.01 is told from none in one dimension, not in five. At 8 dimensions it is never found: so few rows cannot
        tell. Functions that wiggle within the distance of neighbours are missed. Near-copies, and series that both
        change slowly, look like functions.
    Cost: as `intrinsic_dimension`, and 100 systems of 40 equations.
    Source: the question and its intercept are those of the Gamma test, Stefansson, Koncar, Jones (1997),
        doi:10.1007/BF01413858; interpolation: Wendland (2005), Scattered Data Approximation, ch. 8.
    Differs: interpolation in place of a regression of differences, which needs neighbours that are much nearer.
    """
    n, limit = source.n, math.log(source.n)
    d = intrinsic_dimension(source) if n >= 100 else math.nan
    x, y = _joint([source]), _joint([target])
    if not (d <= _TREE_UP_TO and y.shape[1]):
        return Determinism(noise_share=math.nan, nats=0.0, limit=limit, conclusive=False)
    directions = math.ceil(d - 0.25)
    rows = _queries(n, 100)
    near, weight = _interpolation(x, rows, min(x.shape[1], directions))
    y = _whitened(y)
    known = np.tanh(x @ np.random.default_rng(n).normal(size=(x.shape[1], min(3, directions))) / math.sqrt(x.shape[1]))
    share, nats = _left_open(y, rows, near, weight, directions)
    _, recognised = _left_open(_whitened(known - known.mean(axis=0)), rows, near, weight, directions)
    nats -= _negentropy(target, directions)  # a few rows make up the variance of an uneven column
    return Determinism(noise_share=share, nats=nats, limit=limit, conclusive=recognised >= limit)


def _negentropy(v: Variable, directions: int) -> float:
    """How many nats the uneven columns hold less than Gaussian ones of their variance; of as many as there are."""
    columns = _joint([v])
    columns = np.sort(columns[:, normality(v) < _UNEVEN_BELOW], axis=0)
    m = math.isqrt(v.n)
    spacing = np.log((columns[2 * m :] - columns[: -2 * m]) * v.n / (2 * m) + 1e-30).mean(axis=0)  # Vasicek (1976)
    lacking = np.maximum(0.5 * math.log(2 * math.pi * math.e) - spacing, 0.0)
    return float(np.sort(lacking)[::-1][:directions].sum())


def _whitened(y: Matrix) -> Matrix:
    """Leading principal components of centred columns, of variance 1; those of nearly no variance are left out."""
    variance, axes = np.linalg.eigh(y.T @ y / len(y))
    kept = np.flatnonzero(variance > 1e-10 * variance[-1])[-_TREE_UP_TO:]
    return np.asarray(y @ (axes[:, kept] / np.sqrt(variance[kept])))


def _left_open(
    y: Matrix, rows: NDArray[np.intp], near: NDArray[np.intp], weight: Matrix, directions: int
) -> tuple[float, float]:
    """Share of variance that interpolation leaves open, and what so little noise is worth in nats."""
    error = (y[rows] - np.einsum("qk,qkc->qc", weight, y[near])) / np.sqrt(1 + np.square(weight).sum(axis=1))[:, None]
    _, axes = np.linalg.eigh(error.T @ error)  # smallest first
    # Typical rather than mean errors; 1.27 is what -<ln z^2> is for a standard normal z.
    left = np.log(np.square(error @ axes) + 1e-30).mean(axis=0) + 1.27
    left = np.minimum(np.sort(left)[:directions], 0.0)
    return math.exp(float(left.mean())), -float(left.sum()) / 2


def _interpolation(x: Matrix, rows: NDArray[np.intp], p: int) -> tuple[NDArray[np.intp], Matrix]:
    """Neighbours of the rows, and the weight of each in an interpolation; both (rows, k). Weights sum to 1."""
    _, near = _nearest(x, rows, min(40, len(x) - 1))
    z = x[near] - x[rows][:, None]  # (rows, k, d)
    z /= np.sqrt(np.square(z).sum(axis=2).mean(axis=1))[:, None, None] + 1e-300
    q, k, _ = z.shape
    centre = z.mean(axis=1)
    u, s, vt = np.linalg.svd(z - centre[:, None], full_matrices=False)
    kept = s[:, :p] > 1e-4 * s[:, :1]
    at_row = np.divide(-np.einsum("qpd,qd->qp", vt[:, :p], centre), s[:, :p], out=np.zeros(kept.shape), where=kept)
    trend = np.concatenate([np.ones((q, k, 1)), u[:, :, :p] * kept[:, None]], axis=2)  # constant and local directions
    squares = np.square(z).sum(axis=2)
    apart = squares[:, :, None] + squares[:, None] - 2 * z @ np.swapaxes(z, 1, 2)
    system = np.zeros((q, k + p + 1, k + p + 1))
    system[:, :k, :k] = np.maximum(apart, 0) ** 1.5
    system[:, :k, k:], system[:, k:, :k] = trend, np.swapaxes(trend, 1, 2)
    # Enough to keep copies and flat directions from making the system singular.
    diagonal = np.arange(k + p + 1)
    system[:, diagonal, diagonal] += np.where(diagonal < k, 1e-10, -1e-12)
    right = np.concatenate([squares**1.5, np.ones((q, 1)), at_row], axis=1)
    return near, np.linalg.solve(system, right[:, :, None])[:, :k, 0]


# Order of rows


@dataclass(frozen=True, kw_only=True)
class Autocorrelation:
    """How much rows resemble those before them.

    Parameters
    ----------
    largest : float     autocorrelation of largest size over the lags
    lag : int           where it is
    noise : float       size that independent rows would exceed at some lag once in a thousand times
    by_lag : (lags,) array      autocorrelation at lags 1, 2, ..., up to n / 10, at most 1,000
    """

    largest: float
    lag: int
    noise: float
    by_lag: Matrix

    @property
    def found(self) -> bool:
        """Whether rows are not independent draws in this order."""
        return abs(self.largest) > self.noise


def autocorrelation(variable: Variable, *, columns: int = _COLUMNS) -> Autocorrelation:
    """Rank autocorrelation of the rows, averaged over columns; of symbols, agreement beyond chance.

    Notes
    -----
    Up to so many columns are used, evenly chosen, and the first 100,000 rows. Ranks make heavy tails harmless.
    Dependence between rows that leaves signs and sizes uncorrelated (volatility) is not seen. Rows sorted by value or
    by class look like a slow series.
    Cost: O(n log n) a column.
    """
    n = min(variable.n, _ROWS_IN_ORDER)
    lags = max(1, min(n // 10, 1_000))
    if n < 20 or not variable.varying.any():
        return Autocorrelation(largest=0.0, lag=0, noise=1.0, by_lag=np.zeros(lags))
    if variable.is_discrete:
        series, by_lag = variable.symbols[:n], np.empty(lags)
        chance = float(np.square(variable.symbol_counts / variable.n).sum())
        for lag in range(1, lags + 1):
            by_lag[lag - 1] = (float((series[lag:] == series[:-lag]).mean()) - chance) / (1 - chance)
    else:
        chosen = np.flatnonzero(variable.varying)
        chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), columns)).astype(int)]
        total = np.zeros(lags + 1)
        for column in chosen:
            rank = np.asarray(rankdata(variable.numbers[:n, column]), np.float64)
            spectrum = np.fft.rfft(rank - rank.mean(), 1 << (n + lags).bit_length())
            covariance = np.fft.irfft(np.square(np.abs(spectrum)))[: lags + 1]
            total += covariance / (covariance[0] or 1.0)  # these rows may all be equal
        by_lag = total[1:] / len(chosen)
    at = int(np.abs(by_lag).argmax())
    noise = -float(ndtri(0.0005 / lags)) / math.sqrt(n)
    return Autocorrelation(largest=float(by_lag[at]), lag=at + 1, noise=noise, by_lag=by_lag)


def effective_samples(n: int, x: Autocorrelation, y: Autocorrelation) -> float:
    """Number of independent rows that would show a dependence of x and y as well as these n do; at most n.

    Notes
    -----
    n / (1 + 2 sum_l r_x(l) r_y(l)): what the rows are worth for a correlation that is near zero. If only one of the
    two remembers, pairs are as good as independent ones. Source: Bartlett (1935), doi:10.2307/2342284.
    """
    if not (x.found and y.found):
        return float(n)
    return n / max(1.0, 1 + 2 * float(x.by_lag @ y.by_lag))


# Doubts


def duplicates_doubt(arguments: Sequence[Variable], seen: NearDuplicates | None = None) -> Doubts:
    """Doubt rows that come in groups of near-copies, by the joint continuous space; `seen` if it was measured."""
    copies = seen or near_duplicates(*arguments)
    if not copies.found:
        return []
    note = (
        f"{copies.share:.0%} of the rows have others unnaturally near (2% would be usual), as if rows came in groups "
        f"of about {copies.copies} near-copies: neighbours within a group measure its noise, not the dependence. Keep "
        "one row of each group (augmentations, repeated measurements)."
    )
    return [(Flag.DUPLICATES, note)]


def skew_doubt(
    arguments: Sequence[Variable], estimate: Callable[[Sequence[Matrix]], float], *, most: int = 10_000
) -> Doubts:
    """Doubt margins so uneven that a neighbour estimate depends on them, although information does not.

    Parameters
    ----------
    arguments : sequence of Variable
    estimate : callable     blocks of standardised columns, one an argument, -> nats: the caller's own method
    most : int              rows that are used

    Notes
    -----
    Where some column is far from Gaussian (`normality` below 0.65), the estimate is made twice, from the columns and
    from their normal scores, which have the same information; they must agree within 0.02 + 1/sqrt(n) nats and 10%.
    Beyond 12 joint columns it is the dimension that misleads neighbours first, and nothing is said. On Gaussian
    copulas of rho 0.8 with margins exp(s x), n = 800, the bias of KSG is -0.03, -0.06, -0.13, -0.24 at s = 1.5, 2, 3,
    5; margins of a Student-t with 2 or more degrees of freedom and exponential ones do no harm.
    """
    if any(v.is_discrete for v in arguments) or sum(int(v.varying.sum()) for v in arguments) > 12:
        return []
    uneven = [v.name for v in arguments if v.varying.any() and (normality(v) < _UNEVEN_BELOW).any()]
    if not uneven:
        return []
    rows = _queries(arguments[0].n, most)
    raw = [v.standardized[rows][:, v.varying] for v in arguments]
    plain = [np.ascontiguousarray(block / block.std(axis=0), np.float64) for block in raw if block.size]
    if len(plain) < len(arguments) or not all(np.isfinite(block).all() for block in plain):
        return []
    value, scored = estimate(plain), estimate([normal_scores(block) for block in plain])
    if abs(scored - value) <= 0.02 + 1 / math.sqrt(len(rows)) + 0.1 * abs(scored):
        return []
    note = (
        f"the margins of {' and '.join(uneven)} are far from Gaussian, and the value depends on them as information "
        f"does not: {value:.2f} nats as given, {scored:.2f} on normal scores of each column"
        f"{'' if len(rows) == arguments[0].n else f' (from {len(rows)} of the rows)'}. Use "
        "KSG(normal_scores=True), GaussianCopula, or columns that were transformed (ranks, logarithms)."
    )
    return [(Flag.SKEWED, note)]


def ksg_value(blocks: Sequence[Matrix], k: int = 3) -> float:
    """I(X;Y), or I(X;Y|Z) with a third block, by the first estimator of Kraskov et al. (2004), bare of all checks."""
    from miest_kernels import neighbours

    n, points = len(blocks[0]), list(blocks)
    if len(points) == 3:
        points = [np.hstack([points[0], points[2]]), np.hstack([points[1], points[2]]), points[2]]
    backend = neighbours("auto", n=n, d=sum(block.shape[1] for block in blocks))
    _, counts = backend.joint_radius_and_counts([np.ascontiguousarray(p) for p in points], k)
    terms = digamma(counts + 1).mean(axis=1)
    return float(digamma(k) + (digamma(n) if len(points) == 2 else terms[2]) - terms[0] - terms[1])


def deterministic_doubt(arguments: Sequence[Variable], value: float = math.inf) -> Doubts:
    """Doubt that the information of two continuous arguments is finite, where one is a smooth function of the other.

    `value` is what was estimated, nats: below a fifth of ln n nothing is looked at, to save time.
    """
    if len(arguments) != 2 or any(v.is_discrete or v.tie_fraction > 0.05 for v in arguments):
        return []
    if value < math.log(arguments[0].n) / 5:
        return []
    x, y = arguments
    for source, target in ((x, y), (y, x)):
        seen = determinism(source, target)
        if seen.found and not autocorrelation_doubt([x, y]) and not near_duplicates(x, y).found:
            note = (
                f"{target.name} is a smooth function of {source.name} on these samples, but for {seen.noise_share:.1e} "
                f"of its variance: the mutual information is infinite, or larger than ln n = {seen.limit:.1f} nats. "
                "Ask for a quantity with a noise of known size (KDE(noise_var=...)), or for Binning."
            )
            return [(Flag.DETERMINISTIC, note)]
    return []


def autocorrelation_doubt(arguments: Sequence[Variable], seen: Sequence[Autocorrelation] = ()) -> Doubts:
    """Doubt that rows are independent draws, where x and y both resemble the rows before; `seen` if measured."""
    if len(arguments) < 2:
        return []
    x, y = arguments[:2]
    seen = seen or [autocorrelation(v, columns=_FEW_COLUMNS) for v in (x, y)]
    worth = effective_samples(x.n, *seen[:2])
    if worth > 0.8 * x.n:
        return []
    note = (
        f"rows resemble earlier rows (autocorrelation {seen[0].largest:.2f} in {x.name} at lag {seen[0].lag}, "
        f"{seen[1].largest:.2f} in {y.name} at lag {seen[1].lag}): {x.n} rows are worth about {worth:.0f} independent "
        "ones, and intervals and p-values for independent rows are too narrow. Take every few rows or permute blocks; "
        "rows that were only sorted can be shuffled."
    )
    return [(Flag.AUTOCORRELATED, note)]


def order_doubt(arguments: Sequence[Variable]) -> Doubts:
    """`autocorrelation_doubt` of continuous variables; rows that are sorted by class are common and harmless."""
    return [] if any(variable.is_discrete for variable in arguments) else autocorrelation_doubt(arguments)
