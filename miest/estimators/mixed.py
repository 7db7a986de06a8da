"""Mutual information where an argument is discrete, continuous, or both at once (Gao et al. 2017).

For sample i let rho be the distance to its k-th neighbour in the joint space. Where rho > 0 the counts are those of
`KSG`: k neighbours, n_x others strictly nearer in X, plus oneself. Where rho = 0, that is where more than k samples
are identical, they are the numbers of identical samples, and the terms are those of a plug-in estimate::

    I(X;Y) = psi(n) + < psi(k_i) - psi(n_x) - psi(n_y) >
    I(X;Y|Z) = < psi(k_i) - psi(n_xz) - psi(n_yz) + psi(n_z) >

Symbols have no distance: two rows are neighbours only if all their discrete values agree, so that recoding labels
changes nothing. Where fewer than k others agree, k_i is their number (as in Ross 2014).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from miest.estimators.discrete import UNSEEN, unseen_note
from miest.estimators.estimator import WHEN_CHANGED, Estimator, refuse_given, refuse_identity, require_integer
from miest.estimators.ksg import (
    TIED_ABOVE,
    Doubts,
    blocks,
    constant_result,
    distance,
    for_part,
    mean_digamma,
    resolved,
    sum_of_means,
    ties,
    traits_doubts,
)
from miest.estimators.subsampling import (
    FEWEST_ROWS,
    PART_ROWS,
    PART_ROWS_GIVEN,
    SMOOTHING,
    SMOOTHING_GIVEN,
    require_level,
    subsampled_interval,
    subsampled_spread,
)
from miest.result import Diagnostics, Flag, MIResult
from miest.samples import DataError, Variable, variables
from miest_kernels import Neighbours
from miest_kernels.storage import side_by_side


@dataclass(frozen=True, kw_only=True)
class MixedKSG(Estimator):
    """Mutual information of any mixture of discrete and continuous samples; also I(X;Y|Z).

    Parameters
    ----------
    k : int                     neighbours
    neighbours : str or Neighbours
    level : float or None       of the interval; None makes none, which is quicker
    checks : bool               look for copies, uneven margins and determinism, as in `KSG`

    Raises
    ------
    ValueError
        if k >= n, a value is not finite, or y is left out

    Notes
    -----
    Handles discrete against continuous, continuous variables with atoms (zeros of a ReLU, censored or zero-inflated
    values), and both kinds in one argument's columns as floats. Equals `KSG` on continuous data without ties, and
    `Ross` on a discrete and a continuous argument.
    Wrong when: as for `KSG`; symbols seen fewer than k + 1 times (SINGLETON_BINS, SMALL_SAMPLE).
    Interval: by subsampling, as `KSG`; none where parts would hold fewer than about 2k samples of most symbols.
    Coverage at 95% of the uniform pair of the source with five symbols, at n = 500, 2,000, 10,000, of 250 to 300
    repetitions: 96.0%, 95.0%, 96.8%; of symbols alone, at 500 and 2,000: 94.8%, 96.0%.
    Cost: as `KSG`; a discrete argument counts as one column.
    Source: Gao, Kannan, Oh, Viswanath (2017), Alg. 1, arXiv:1709.06212; Mesner, Shalizi (2020),
    doi:10.1109/TIT.2019.2945692 for the conditional form.
    Differs: psi throughout in place of log, so that the continuous case is KSG's to the last bit; counts at rho > 0 are
    strict; symbols are compared for equality instead of by the difference of their codes, and so are the atoms of a
    variable that is otherwise continuous, since samples beside an atom would take it for a dense neighbourhood (half
    Gaussian, half +-1, n = 10,000: -0.10 nats with that, 0.002 without); values are not clipped at 0; samples whose
    symbol occurs once have no neighbour beside a continuous variable and are left out (as Ross does).
    """

    k: int = 3
    neighbours: str | Neighbours = field(default="auto", metadata=WHEN_CHANGED)
    level: float | None = field(default=0.95, metadata=WHEN_CHANGED)
    checks: bool = field(default=True, metadata=WHEN_CHANGED)

    def __post_init__(self) -> None:
        require_integer("k", self.k, 1)
        require_level(self.level)

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Estimate I(X;Y), or I(X;Y|Z) with ``given=z``; see `Estimator.estimate`."""
        started = perf_counter()
        refuse_identity(self, y)
        arguments = variables(x=x, y=y, given=given, at_least=self.k + 1, needed_by=f"k={self.k}")
        return _estimate(self, arguments, started, seed)


@dataclass(frozen=True, kw_only=True)
class Ross(Estimator):
    """Mutual information of one discrete and one continuous sample by neighbours within each class.

    Parameters
    ----------
    k : int                     neighbours within the class
    neighbours : str or Neighbours
    level : float or None       of the interval; None makes none, which is quicker
    checks : bool               look for copies, uneven margins and determinism, as in `KSG`

    Raises
    ------
    ValueError
        if not exactly one argument is discrete, or as for `MixedKSG`

    Notes
    -----
    Interval: as `MixedKSG`. Coverage at 95% of three Gaussian classes two standard deviations apart, at n = 500, 2,000,
    10,000: 94.4%, 97.0%, 96.0% (200 to 250 repetitions).
    Wrong when: classes with few samples; repeated continuous values (TIES: use MixedKSG); high dimension.
    Cost: as `KSG`.
    Source: Ross (2014), doi:10.1371/journal.pone.0087357.
    Differs: classes seen once are left out, since they have no neighbour.
    """

    k: int = 3
    neighbours: str | Neighbours = field(default="auto", metadata=WHEN_CHANGED)
    level: float | None = field(default=0.95, metadata=WHEN_CHANGED)
    checks: bool = field(default=True, metadata=WHEN_CHANGED)

    def __post_init__(self) -> None:
        require_integer("k", self.k, 1)
        require_level(self.level)

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Estimate I(X;Y) of one discrete and one continuous argument, in either order."""
        started = perf_counter()
        refuse_given(self, given)
        refuse_identity(self, y)
        arguments = variables(x=x, y=y, at_least=self.k + 1, needed_by=f"k={self.k}")
        if sum(variable.is_discrete for variable in arguments) != 1:
            raise ValueError(
                f"Ross needs one discrete and one continuous argument, got {arguments[0].kind} x and "
                f"{arguments[1].kind} y: mark labels with miest.discrete, or use MixedKSG, KSG or PlugIn."
            )
        return _estimate(self, arguments, started, seed)


def _estimate(
    estimator: MixedKSG | Ross, arguments: tuple[Variable, ...], started: float, seed: int | None
) -> MIResult:
    quantity = "I(X;Y|Z)" if len(arguments) == 3 else "I(X;Y)"
    constant = constant_result(estimator, quantity, arguments[:2], started)
    if constant is not None:
        return constant
    all_rows, k, whole_sample = arguments[0].n, estimator.k, arguments
    arguments = _without_singletons(arguments)
    constant = constant_result(estimator, quantity, arguments[:2], started)
    if constant is not None:  # all that varied were samples without a neighbour
        singles = _left_out(all_rows - arguments[0].n, all_rows)
        return replace(
            constant,
            n_samples=all_rows,
            flags=(*constant.flags, *(flag for flag, _ in singles)),
            notes=(*constant.notes, *(note for _, note in singles)),
        )
    n = arguments[0].n
    codes = [_symbols(variable) for variable in arguments]
    points = [] if all(variable.is_discrete for variable in arguments) else _points(arguments, codes)
    d = sum(block.shape[1] for block in points)
    near = resolved(estimator.neighbours, n, d)
    radius, k_each, counts = _neighbourhoods(near, points, codes, min(k, n - 1))
    value = _information(k_each, counts)
    doubts = [
        *_left_out(all_rows - n, all_rows),
        *_thin_classes(k_each, k, arguments),
        *(
            _rounded(near, points, radius, k_each, arguments)
            if isinstance(estimator, MixedKSG)
            else ties([v for v in arguments if not v.is_discrete], radius)
        ),
        *_uncounted(codes, points),
        *(traits_doubts(whole_sample, value, k) if estimator.checks else []),
        *_distance(radius, arguments, value),
    ]
    flags = tuple(flag for flag, _ in doubts)

    def value_of(rows: NDArray[np.intp]) -> float:
        part = [code[rows] for code in codes]
        if points:  # as `_without_singletons` does
            cells = _cells(part)
            kept = np.bincount(cells)[cells] > 1
            rows, part = rows[kept], [code[kept] for code in part]
        near = for_part(estimator.neighbours, rows.size, d)
        _, k_each, counts = _neighbourhoods(near, [block[rows] for block in points], part, min(k, rows.size - 1))
        return _information(k_each, counts)

    conditional = len(arguments) == 3
    smoothing, part_rows = (SMOOTHING_GIVEN, PART_ROWS_GIVEN) if conditional else (SMOOTHING, PART_ROWS)
    if not points:
        smoothing = 0.0
    fewest = _fewest_rows(codes, k) if points else FEWEST_ROWS
    interval, made = subsampled_interval(
        value,
        estimator.level,
        flags,
        lambda: subsampled_spread(value_of, n, k, seed, smoothing=smoothing, part_rows=part_rows, fewest_rows=fewest),
    )
    return MIResult(
        value=value,
        interval=interval,
        level=estimator.level or 0.95,
        n_samples=all_rows,
        estimator=estimator,
        quantity=quantity,
        flags=flags,
        notes=tuple(note for _, note in doubts),
        diagnostics=Diagnostics(
            neighbours=near.name,
            radius_median=float(np.median(radius)),
            zero_radius_fraction=float((radius == 0).mean()),
            left_out=all_rows - n,
            **made,
        ),
        seconds=perf_counter() - started,
    )


def _information(k_each: NDArray[np.intp], counts: NDArray[np.intp]) -> float:
    """I(X;Y) of two rows of counts, I(X;Y|Z) of three."""
    whole = mean_digamma(counts[2]) if len(counts) == 3 else float(digamma(k_each.size))
    return float(mean_digamma(k_each) + whole - sum_of_means(counts[:2]))


def _fewest_rows(codes: Sequence[NDArray[np.intp]], k: int) -> int:
    """Rows of a part in which 95% of the samples have about 2k others with their own symbols."""
    cells = _cells(codes)
    size = np.sort(np.bincount(cells)[cells])[cells.size // 20]
    return max(FEWEST_ROWS, int(np.ceil(2 * (k + 1) * cells.size / size)))


def _without_singletons(arguments: tuple[Variable, ...]) -> tuple[Variable, ...]:
    """Leave out samples that no other sample agrees with in all symbols: they have no neighbour to measure.

    Where every argument is discrete nothing is measured, and they count like any other.
    """
    if all(variable.is_discrete for variable in arguments):
        return arguments
    cells = _cells([_symbols(variable) for variable in arguments])
    kept = np.bincount(cells)[cells] > 1
    if kept.all():
        return arguments
    if not kept.any():
        names = " and ".join(v.name for v in arguments if v.is_discrete)
        raise DataError(
            f"all {cells.size} samples of {names} are different symbols, so that no two can be compared: if the "
            "integers are numbers on a line, wrap them in miest.continuous."
        )
    return tuple(Variable(v.name, v.kind, v.values[kept]) for v in arguments)


def _symbols(variable: Variable) -> NDArray[np.intp]:
    """(n,) symbols of a discrete variable; of a continuous one, which of its atoms a sample sits on, 0 for none.

    An atom is a value with more than 1% of the samples among others that mostly do not repeat: zeros of a ReLU, a
    censoring limit. Data that repeat throughout have been rounded, and their values keep their distances, unless each
    has more than 1% of the samples: then they are symbols that were stored as floats.
    """
    if variable.is_discrete:
        return variable.symbols
    if variable.tie_fraction == 0:
        return np.zeros(variable.n, np.intp)
    counts = variable.symbol_counts
    atoms = counts > max(0.01 * variable.n, 10)
    if counts[~atoms].sum() > 2 * (counts == 1).sum() or not atoms.any():
        return np.zeros(variable.n, np.intp)
    return np.where(atoms, np.cumsum(atoms), 0)[variable.symbols]


def _cells(codes: Sequence[NDArray[np.intp]]) -> NDArray[np.intp]:
    """(n,) codes of the combination of the symbols of all arguments."""
    return reduce(lambda a, b: np.unique(a * (b.max() + 1) + b, return_inverse=True)[1], codes)


def _points(arguments: Sequence[Variable], codes: Sequence[NDArray[np.intp]]) -> list[NDArray[np.floating]]:
    """Blocks in which rows of different symbols are farther apart than any two points of the continuous columns."""
    numbers = iter(blocks([v for v in arguments if not v.is_discrete], standardize=True))
    columns = [[] if variable.is_discrete else [next(numbers)] for variable in arguments]
    span = max((float(np.ptp(block, axis=0).max()) for several in columns for block in several), default=0.0)
    apart = 2.0 ** np.ceil(np.log2(2 * span + 1))  # a power of two: multiples of it are exact
    dtype = np.result_type(*[block for several in columns for block in several])
    for variable, code, several in zip(arguments, codes, columns, strict=True):
        if variable.is_discrete or code.any():
            several.append((code[:, None] * apart).astype(dtype))
    return [several[0] if len(several) == 1 else side_by_side(several) for several in columns]


def _neighbourhoods(
    near: Neighbours, points: list[NDArray[np.floating]], codes: Sequence[NDArray[np.intp]], k: int
) -> tuple[NDArray[np.floating], NDArray[np.intp], NDArray[np.intp]]:
    """Radius (n,), neighbours within it (n,), and counts in each block (len(blocks), n), oneself included."""
    if not points:  # symbols alone: every radius is 0
        return _same_symbols(codes)
    if len(points) == 3:
        xs, ys, zs = points
        points = [side_by_side([xs, zs]), side_by_side([ys, zs]), zs]
    radius, counts = near.joint_radius_and_counts(points, k)
    k_each = np.full(radius.size, k)
    cells = _cells(codes)
    agreeing = np.bincount(cells)[cells] - 1
    thin = agreeing < k
    if thin.any():  # the k-th neighbour has other symbols: go as far as the last that agrees
        k_each[thin] = agreeing[thin]
        radius[thin] = _reach_in_cell(points, cells, thin)
        recount = np.where(thin, radius, np.array(-1, radius.dtype))
        counts = np.where(thin, [near.count_within(block, recount) for block in points], counts)
    counts = counts + 1
    tied = radius == 0
    if tied.any():
        at = np.where(tied, 0, -1).astype(radius.dtype)
        counts = np.where(tied, [near.count_within(block, at, closed=True) + 1 for block in points], counts)
        joint = near.count_within(side_by_side(points), at, closed=True) + 1
        k_each = np.where(tied, joint, k_each)
    return radius, k_each, counts


def _same_symbols(
    codes: Sequence[NDArray[np.intp]],
) -> tuple[NDArray[np.floating], NDArray[np.intp], NDArray[np.intp]]:
    """What `_neighbourhoods` gives for symbols alone, by counting them."""
    x, y, *z = codes
    groups = [[x, y, *z], [x, *z], [y, *z], *([z] if z else [])]
    joint, *counts = (np.bincount(cell)[cell] for cell in map(_cells, groups))
    return np.zeros(x.size), joint, np.stack(counts)


def _reach_in_cell(
    points: list[NDArray[np.floating]], cells: NDArray[np.intp], rows: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """Largest joint distance from each of the given rows to the rows of its own cell; cells have at most k rows."""
    joint = side_by_side(points)
    order = np.argsort(cells, kind="stable")
    starts = np.searchsorted(cells[order], np.arange(cells.max() + 2))
    out = np.empty(int(rows.sum()), joint.dtype)
    for at, i in enumerate(np.flatnonzero(rows)):
        cell = order[starts[cells[i]] : starts[cells[i] + 1]]
        out[at] = np.abs(joint[cell] - joint[i]).max()
    return out


def _left_out(count: int, n: int) -> Doubts:
    if count <= 0.01 * n:
        return []
    note = (
        f"{count} of {n} samples carry a symbol that occurs once and were left out: if the integers are numbers on a "
        "line, wrap them in miest.continuous."
    )
    return [(Flag.SINGLETON_BINS, note)]


def _thin_classes(k_each: NDArray[np.intp], k: int, arguments: Sequence[Variable]) -> Doubts:
    thin = float((k_each < k).mean())
    if thin <= 0.05 or all(variable.is_discrete for variable in arguments):
        return []
    note = (
        f"{thin:.0%} of the samples have fewer than k={k} others with the same symbol: lower k, merge rare symbols, or "
        "pass more samples."
    )
    return [(Flag.SMALL_SAMPLE, note)]


def _distance(radius: NDArray[np.floating], arguments: Sequence[Variable], value: float) -> Doubts:
    real = [variable for variable in arguments if not variable.is_discrete]
    way_out = "use GaussianCopula" if len(real) == len(arguments) else "use KDE with the labels"
    return distance(radius, real, value=value, way_out=way_out) if real else []


def _uncounted(codes: Sequence[NDArray[np.intp]], points: Sequence[NDArray[np.floating]]) -> Doubts:
    """Doubt symbols beside symbols that were seen too rarely to be counted."""
    if points:
        return []
    n = codes[0].size
    cells, *margins = (np.bincount(group) for group in (_cells(codes), *codes))
    single = float((cells == 1).sum() / n)
    bias = (np.count_nonzero(cells) - sum(map(np.count_nonzero, margins)) + 1) / (6 * n)  # a third of the plug-in's
    if single > 0.5:
        note = (
            f"{single:.0%} of the samples carry a combination of symbols that occurs once: the value measures their "
            "number, not the dependence. Merge symbols, or wrap numbers on a line in miest.continuous."
        )
        return [(Flag.SINGLETON_BINS, note)]
    if single > UNSEEN:
        return [(Flag.SMALL_SAMPLE, unseen_note(round(single * n), n))]
    if bias > 0.05:
        note = (
            f"{n} samples in {np.count_nonzero(cells)} combinations of symbols: the value is off by about {bias:.2f} "
            "nats. Use more samples, fewer symbols, or PlugIn with a correction."
        )
        return [(Flag.SMALL_SAMPLE, note)]
    return []


def _rounded(
    near: Neighbours,
    points: Sequence[NDArray[np.floating]],
    radius: NDArray[np.floating],
    k_each: NDArray[np.intp],
    arguments: Sequence[Variable],
) -> Doubts:
    """Doubt distances that tie, because numbers were rounded to steps about as wide as the distance to a neighbour.

    Of 10,000 Gaussian pairs with 0.22 nats, rounded to two decimals, the estimate is 0.37.
    """
    named = [v.name for v in arguments if not v.is_discrete and v.varying.any() and v.tie_fraction > TIED_ABOVE]
    if not named:
        return []
    reach = radius * radius.dtype.type(1 + 16 * np.finfo(radius.dtype).eps)  # equal steps differ in their last bits
    crowded = near.count_within(side_by_side(points), reach, closed=True) > k_each
    share = float((crowded & (radius > 0)).mean())
    if share <= TIED_ABOVE:
        return []
    note = (
        f"{share:.0%} of the samples have several neighbours at exactly the distance of the k-th, as rounded numbers "
        f"do ({' and '.join(named)}): the value is biased upwards. Use unrounded numbers, GaussianCopula, or Binning, "
        "or add noise as wide as the rounding step."
    )
    return [(Flag.TIES, note)]
