"""Mutual information of continuous variables from nearest neighbours (Kraskov, Stoegbauer, Grassberger 2004).

With radius(i) the max-norm distance of sample i to its k-th neighbour in the joint space, and n_x(i) the number of
other samples strictly nearer than that in X alone::

    variant 1   I(X;Y) = psi(k) + psi(n) - < psi(n_x + 1) + psi(n_y + 1) >                   (eq. 8)
    variant 2   I(X;Y) = psi(k) - 1/k + psi(n) - < psi(n_x) + psi(n_y) >                     (eq. 9)
    given Z     I(X;Y|Z) = psi(k) - < psi(n_xz + 1) + psi(n_yz + 1) - psi(n_z + 1) >         (Frenzel & Pompe 2007)
    m columns   TC(X) = psi(k) + (m - 1) psi(n) - < sum_j psi(n_j + 1) >                     (eq. 23)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from miest.estimators.estimator import (
    WHEN_CHANGED,
    Estimator,
    refuse_given,
    refuse_identity,
    require_choice,
    require_integer,
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
from miest.samples import Variable, prepare, variables
from miest.traits import (
    deterministic_doubt,
    duplicates_doubt,
    ksg_value,
    normal_scores,
    order_doubt,
    skew_doubt,
)
from miest_kernels import Neighbours, neighbours
from miest_kernels.storage import columns_of, converted, room_for, side_by_side

SATURATED_ABOVE = 0.7
"""Share of the ceiling above which a value is flagged."""

TIED_ABOVE = 0.05
"""Share of repeated rows above which data are no longer called continuous; float32 rounding alone stays below."""

FAR_ABOVE = 0.8
"""Joint radius, in units of the width of X given Y, beyond which the density is not constant among k neighbours.

That width is exp(-I/d) standard deviations for Gaussians with d pairs. On Gaussian pairs (d = 1 to 8, rho = 0.3 to
0.99, n = 300 to 3,000) the bias of KSG stays below 10% of the truth up to here, and exceeds it beyond 0.9.
"""

COPIED_ABOVE = 0.001
"""Share of samples at distance zero of their k-th neighbour above which KSG is flagged: each adds nearly ln n."""

Doubts = list[tuple[Flag, str]]


@dataclass(frozen=True, kw_only=True)
class KSG(Estimator):
    """Mutual information of two continuous samples by k-nearest neighbours; also I(X;Y|Z).

    Parameters
    ----------
    k : int                     neighbours; larger: less variance, more bias. 3 to 10 is usual
    variant : 1 or 2            eq. 8 (one joint radius) or eq. 9 (a radius a marginal; no conditional form)
    standardize : bool          give every column mean 0 and standard deviation 1 first, so that units do not matter
    normal_scores : bool        send every column through its own distribution function to normal scores instead: the
                                information is the same, and heavy or uneven margins do no harm
    neighbours : str or Neighbours   "auto", "tree", "cpu", "cuda", "faiss", "kdtree", "reference", or a backend itself
    level : float or None       of the interval; None makes none, which is quicker
    checks : bool               look for copies, uneven margins, determinism and memory among some thousand rows; False
                                is for loops over data that were checked once

    Raises
    ------
    ValueError
        if k >= n, a value is not finite, y is left out, or variant 2 is asked to condition

    Notes
    -----
    Error: the standard deviation is near 1.1 / sqrt(n) for Gaussians at k = 3. Unbiased in practice under independence;
    otherwise biased towards zero where the density varies among the k neighbours. See HIGH_DIMENSION in README.
    Wrong when: more than a few dimensions that matter (HIGH_DIMENSION), MI near ln n (SATURATED; no more than
    psi(n) - psi(k+1) can be reported), repeated values (TIES: use MixedKSG), heavy tails (SKEWED: use
    normal_scores=True). Integers are used as numbers on a line (DISCRETE).
    Interval: by subsampling, for independent rows; its ends move a little with the order of the samples and with
    `seed`. It tells of spread, not of bias. None where samples are too few (2 parts of 25 and of 4k; given Z, of 16k),
    the value is SATURATED, or parts would be. Coverage at 95%, of 250 to 300 repetitions at n = 500, 2,000, 10,000::

        Gaussian pair, rho = 0              94.0%  94.0%  94.8%
                       rho = 0.3            95.7%  94.3%  94.8%
                       rho = 0.6            94.7%  94.7%  95.2%
                       rho = 0.9            93.3%  94.0%  93.6%     biased by a third of the standard deviation
        given a common cause, k = 5         94.4%  92.8%  94.0%
        rho = 0.99                            91%    85%    85%     by 0.3, 0.9 and 0.7 standard deviations

    Cost: O(n log n) in few dimensions, O(n^2 d) otherwise; O(n) memory. The interval takes 5 to 20 ms
    more, which is several estimates in 1 + 1 dimensions and a fifth of one in 6 + 6 at n = 10,000.
    Source: Kraskov, Stoegbauer, Grassberger (2004), eq. 8 and 9, doi:10.1103/PhysRevE.69.066138; Frenzel, Pompe (2007),
    doi:10.1103/PhysRevLett.99.204101.
    Differs: variant 2 takes each marginal radius over all samples within the joint radius, which is the paper's
    whenever joint distances are distinct and depends on no order where they are not.
    """

    k: int = 3
    variant: Literal[1, 2] = 1
    standardize: bool = field(default=True, metadata=WHEN_CHANGED)
    normal_scores: bool = field(default=False, metadata=WHEN_CHANGED)
    neighbours: str | Neighbours = field(default="auto", metadata=WHEN_CHANGED)
    level: float | None = field(default=0.95, metadata=WHEN_CHANGED)
    checks: bool = field(default=True, metadata=WHEN_CHANGED)

    def __post_init__(self) -> None:
        require_integer("k", self.k, 1)
        require_level(self.level)
        require_choice("variant", self.variant, (1, 2))
        require_choice("standardize", self.standardize, (True, False))
        require_choice("normal_scores", self.normal_scores, (True, False))

    def blocks(self, arguments: Sequence[Variable]) -> list[NDArray[np.floating]]:
        """The varying columns of each argument as they are compared."""
        points = blocks(arguments, self.standardize)
        return [_scored(block) for block in points] if self.normal_scores else points

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Estimate I(X;Y), or I(X;Y|Z) with ``given=z``; see `Estimator.estimate`."""
        started = perf_counter()
        refuse_identity(self, y)
        if given is not None and self.variant == 2:
            raise ValueError("KSG(variant=2) has no conditional form: use KSG(variant=1) with given=.")
        arguments = variables(x=x, y=y, given=given, at_least=self.k + 1, needed_by=f"k={self.k}")
        quantity = "I(X;Y)" if given is None else "I(X;Y|Z)"
        constant = constant_result(self, quantity, arguments[:2], started)
        if constant is not None:
            return constant
        points = self.blocks(arguments)
        n, d = arguments[0].n, sum(block.shape[1] for block in points)
        backend = resolved(self.neighbours, n, d, on_device=any(v.on_device for v in arguments))
        if given is not None:
            xs, ys, zs = points
            points = [side_by_side([xs, zs]), side_by_side([ys, zs]), zs]
        radius, counts, whole = neighbourhoods(backend, points, self.k, self.variant)
        typical = median(radius)
        offset = 2 - self.variant  # variant 2 counts the neighbours themselves
        value = digamma(self.k) + whole - sum_of_means(counts[:2], offset)
        floors = least_counts(counts[:2], self.k) if self.variant == 1 else [np.bincount(np.full(n, self.k))] * 2
        ceiling = digamma(self.k) + whole - sum(sorted(mean_of_tally(tally, offset) for tally in floors))
        inexact, found = approximation(backend, points, self.k)
        doubts = [
            *(
                saturation(value, ceiling)
                or distance(typical, arguments[:2], value=value, standardize=self.standardize or self.normal_scores)
            ),
            *ties(arguments, radius),
            *numbers_from_symbols(arguments),
            *inexact,
            *(traits_doubts(arguments, float(value), self.k, scored=self.normal_scores) if self.checks else []),
        ]
        flags = tuple(flag for flag, _ in doubts)

        def value_of(rows: NDArray[np.intp]) -> float:
            part = [block[rows] for block in points]
            near = for_part(self.neighbours, rows.size, d)
            _, counts, whole = neighbourhoods(near, part, self.k, self.variant)
            return float(digamma(self.k) + whole - sum_of_means(counts[:2], offset))

        smoothing, part_rows = (SMOOTHING, PART_ROWS) if given is None else (SMOOTHING_GIVEN, PART_ROWS_GIVEN)
        fewest = unsaturated_rows(n, value, ceiling)
        interval, made = subsampled_interval(
            float(value),
            self.level,
            flags,
            lambda: subsampled_spread(
                value_of, n, self.k, seed, smoothing=smoothing, part_rows=part_rows, fewest_rows=fewest
            ),
        )
        return MIResult(
            value=float(value),
            interval=interval,
            level=self.level or 0.95,
            n_samples=n,
            estimator=self,
            quantity=quantity,
            ceiling=float(ceiling),
            flags=flags,
            notes=tuple(note for _, note in doubts),
            diagnostics=Diagnostics(
                neighbours=backend.name,
                radius_median=typical,
                count_x_mean=float(counts[0].mean()),
                count_y_mean=float(counts[1].mean()),
                tie_fraction_x=arguments[0].tie_fraction,
                tie_fraction_y=arguments[1].tie_fraction,
                **found,
                **made,
            ),
            seconds=perf_counter() - started,
        )


@dataclass(frozen=True, kw_only=True)
class TotalCorrelation(Estimator):
    """Total correlation of the columns of one sample, sum_j H(X_j) - H(X), by k-nearest neighbours.

    Parameters
    ----------
    k : int                     neighbours
    standardize : bool          as in `KSG`
    neighbours : str or Neighbours
    level : float or None       of the interval; None makes none

    Raises
    ------
    ValueError
        if x has one column, or a second argument or a condition is given

    Notes
    -----
    Error, interval and "wrong when" as for `KSG`, sooner: the joint space has all columns in it.
    Cost: O(n^2 d) time, O(n d) memory.
    Source: Kraskov, Stoegbauer, Grassberger (2004), eq. 23, doi:10.1103/PhysRevE.69.066138.
    """

    k: int = 3
    standardize: bool = field(default=True, metadata=WHEN_CHANGED)
    neighbours: str | Neighbours = field(default="auto", metadata=WHEN_CHANGED)
    level: float | None = field(default=0.95, metadata=WHEN_CHANGED)

    def __post_init__(self) -> None:
        require_integer("k", self.k, 1)
        require_level(self.level)

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Estimate TC(X) from one (n, d) sample, d >= 2; y and given must be left out."""
        started = perf_counter()
        refuse_given(self, given)
        if y is not None:
            raise ValueError("TotalCorrelation takes one argument, the columns of which it compares: leave y out.")
        (sample,) = variables(x=x, at_least=self.k + 1, needed_by=f"k={self.k}")
        if sample.d < 2:
            raise ValueError(f"the total correlation needs at least 2 columns, x has {sample.d}.")
        kept = int(sample.varying.sum())
        if kept < 2:
            note = f"{sample.d - kept} of {sample.d} columns do not vary; a single column shares nothing."
            return MIResult(
                value=0.0, n_samples=sample.n, estimator=self, quantity="TC(X)", flags=(Flag.CONSTANT,), notes=(note,)
            )
        (points,) = blocks((sample,), self.standardize)
        columns = [np.ascontiguousarray(column[:, None]) for column in points.T]
        backend = resolved(self.neighbours, sample.n, kept, on_device=sample.on_device)
        radius, counts = backend.joint_radius_and_counts(columns, self.k)
        whole = digamma(self.k) + (kept - 1) * digamma(sample.n)
        value = whole - sum_of_means(counts, 1)
        ceiling = whole - digamma(self.k) - (kept - 1) * digamma(self.k + 1)
        inexact, found = approximation(backend, columns, self.k)
        doubts = [
            *(saturation(value, ceiling) or distance(radius, (sample,), value=value, standardize=self.standardize)),
            *ties((sample,), radius),
            *numbers_from_symbols((sample,)),
            *inexact,
        ]
        flags = tuple(flag for flag, _ in doubts)

        def value_of(rows: NDArray[np.intp]) -> float:
            near = for_part(self.neighbours, rows.size, kept)
            _, counts = near.joint_radius_and_counts([column[rows] for column in columns], self.k)
            return float(digamma(self.k) + (kept - 1) * digamma(rows.size) - sum_of_means(counts, 1))

        fewest = unsaturated_rows(sample.n, value / (kept - 1), ceiling / (kept - 1))
        interval, made = subsampled_interval(
            float(value),
            self.level,
            flags,
            lambda: subsampled_spread(value_of, sample.n, self.k, seed, fewest_rows=fewest),
        )
        return MIResult(
            value=float(value),
            interval=interval,
            level=self.level or 0.95,
            n_samples=sample.n,
            estimator=self,
            quantity="TC(X)",
            ceiling=float(ceiling),
            flags=flags,
            notes=tuple(note for _, note in doubts),
            diagnostics=Diagnostics(
                neighbours=backend.name,
                radius_median=median(radius),
                varying_columns=kept,
                **found,
                **made,
            ),
            seconds=perf_counter() - started,
        )


def blocks(arguments: Sequence[Variable], standardize: bool) -> list[NDArray[np.floating]]:
    """The varying columns of each argument as a kernel block; all of one dtype, the widest among them."""
    prepare(arguments, standardize)
    points = [variable.rescaled if standardize else variable.numbers for variable in arguments]
    dtype = np.result_type(*points)
    kept = [v.varying if v.varying.any() else np.arange(v.d) == 0 for v in arguments]
    return [converted(columns_of(p, columns), dtype) for p, columns in zip(points, kept, strict=True)]


def _scored(block: NDArray[np.floating]) -> NDArray[np.floating]:
    """Normal scores of each column, in the dtype of the block."""
    out = room_for(block.shape, block.dtype, block)
    for column in range(block.shape[1]):
        out[:, column] = normal_scores(block[:, column, None])[:, 0]
    return out


def resolved(backend: str | Neighbours, n: int, d: int, *, on_device: bool = False) -> Neighbours:
    """A backend from its name, or as it is; "auto" takes data that live on a GPU there."""
    return neighbours(backend, n=n, d=d, on_device=on_device) if isinstance(backend, str) else backend


def for_part(backend: str | Neighbours, n: int, d: int) -> Neighbours:
    """A backend for one of many parts; a few hundred rows are compared sooner than a tree of them is grown."""
    return resolved("cpu" if backend == "auto" and n <= 500 else backend, n, d)


def neighbourhoods(
    backend: Neighbours, points: list[NDArray[np.floating]], k: int, variant: int
) -> tuple[NDArray[np.floating], NDArray[np.intp], float]:
    """Joint radius (n,), counts in each block (len(points), n), and the term of the whole that stands beside psi(k).

    Blocks are X and Y, or (X, Z), (Y, Z) and Z.
    """
    if variant == 2:
        radius = backend.kth_radius(points, k)
        reach = backend.reach_within(points, radius)
        counts = np.stack([backend.count_within(p, r, closed=True) for p, r in zip(points, reach, strict=True)])
        return radius, counts, float(digamma(radius.size)) - 1 / k
    radius, counts = backend.joint_radius_and_counts(points, k)
    return radius, counts, float(digamma(radius.size)) if len(points) == 2 else mean_digamma(counts[2], 1)


def mean_digamma(counts: NDArray[np.intp], offset: int = 0) -> float:
    """Mean of psi over (n,) counts, all at least 1 with the offset; summed by count: no bit depends on the order."""
    return mean_of_tally(np.bincount(counts), offset)


def mean_of_tally(how_often: NDArray[np.integer], offset: int) -> float:
    """Mean of psi(c + offset) where each count c occurs so often."""
    seen = np.flatnonzero(how_often)
    # Not by a BLAS product: after a long one its threads wait busily for a tenth of a second, in the way of others.
    return float((how_often[seen] * digamma(seen + offset)).sum()) / int(how_often.sum())


def sum_of_means(counts: NDArray[np.intp], offset: int = 0) -> float:
    """Sum over rows of `mean_digamma`; the same bits whatever the order of two rows."""
    return sum(sorted(mean_digamma(row, offset) for row in counts))


def least_counts(counts: NDArray[np.intp], k: int) -> list[NDArray[np.intp]]:
    """How often each count occurs, in either marginal, if samples have the fewest they could: there is the ceiling.

    Of the k neighbours, k - 1 are strictly nearer than the radius in both marginals, and the k-th in one of them,
    unless both marginals tie the radius; where joint distances tie, even fewer are.
    """
    fewer = counts[:, (counts < k).any(axis=0)]
    tallies = []
    for floors, usual in ((fewer.min(axis=0), k - 1), (fewer.max(axis=0), k)):
        tally = np.bincount(np.minimum(floors, usual), minlength=k + 1)
        tally[usual] += counts.shape[1] - fewer.shape[1]
        tallies.append(tally)
    return tallies


def median(values: NDArray[np.floating]) -> float:
    """`numpy.median` of (n,) finite values, by one selection."""
    middle = len(values) // 2
    split = np.partition(values, middle)
    return float(
        split[middle] if len(values) % 2 else np.mean([split[:middle].max(), split[middle]], dtype=values.dtype)
    )


def constant_result(
    estimator: Estimator, quantity: str, arguments: Sequence[Variable], started: float
) -> MIResult | None:
    """Zero, flagged, where an argument does not vary at all; None otherwise."""
    still = [variable.name for variable in arguments if not variable.varying.any()]
    if not still:
        return None
    return MIResult(
        value=0.0,
        n_samples=arguments[0].n,
        estimator=estimator,
        quantity=quantity,
        flags=(Flag.CONSTANT,),
        notes=(f"{' and '.join(still)} has the same value in all {arguments[0].n} samples: no information.",),
        seconds=perf_counter() - started,
    )


def saturation(value: float, ceiling: float) -> Doubts:
    """Doubt a value near the largest that the method can report."""
    if value <= SATURATED_ABOVE * ceiling:
        return []
    note = (
        f"the value is {value:.2f} of {ceiling:.2f} nats, the most that this method can report from so few "
        "samples: the truth may be far larger or infinite. Add noise of a known size (KDE), or samples."
    )
    return [(Flag.SATURATED, note)]


def unsaturated_rows(n: int, value: float, ceiling: float) -> int:
    """Rows that a part needs to hold the same value unsaturated; a ceiling rises by the logarithm of the rows."""
    return max(FEWEST_ROWS, math.ceil(n * math.exp(min(value / SATURATED_ABOVE - ceiling, 1.0))))


def ties(arguments: Sequence[Variable], radius: NDArray[np.floating] | None = None) -> Doubts:
    """Doubt continuity where rows repeat in an argument, or, far worse, in the joint space: their radius is 0."""
    varying = [v for v in arguments if v.varying.any()]
    tied = [f"{v.tie_fraction:.0%} of the samples of {v.name}" for v in varying if v.tie_fraction > TIED_ABOVE]
    copies = 0.0 if radius is None else float((radius == 0).mean())
    if copies > COPIED_ABOVE:
        tied.append(f"{copies:.1%} of the samples, all arguments together,")
    if not tied:
        return []
    note = f"{' and '.join(tied)} repeat another exactly, which a method for continuous data misreads: use MixedKSG."
    return [(Flag.TIES, note)]


def numbers_from_symbols(arguments: Sequence[Variable]) -> Doubts:
    """Doubt distances between integers."""
    named = [variable.name for variable in arguments if variable.is_discrete]
    if not named:
        return []
    note = (
        f"the integers of {' and '.join(named)} were used as numbers on a line: for class labels use MixedKSG or Ross; "
        "for counts or pixels say so with miest.continuous."
    )
    return [(Flag.DISCRETE, note)]


def approximation(backend: Neighbours, points: list[NDArray[np.floating]], k: int) -> tuple[Doubts, dict[str, float]]:
    """Doubt neighbours that a backend looked for in part of the data only, and the share of them that it finds."""
    if getattr(backend, "exact", True):
        return [], {}
    recall = float(backend.recall(points, k))  # type: ignore[attr-defined]
    note = (
        f"neighbours={backend.name!r} looked through part of the data and found {recall:.1%} of the {k} nearest "
        "neighbours in a sample of rows; each that it missed makes a radius and its counts too large. Use "
        "neighbours='auto', or let it look further."
    )
    return [(Flag.APPROXIMATE, note)], {"recall": recall}


def traits_doubts(arguments: Sequence[Variable], value: float, k: int, *, scored: bool = False) -> Doubts:
    """Doubt copies among the rows, uneven margins unless `scored`, functions of the other, and rows that remember."""
    return [
        *duplicates_doubt(arguments),
        *([] if scored else skew_doubt(arguments, lambda blocks: ksg_value(blocks, k))),
        *deterministic_doubt(arguments, value),
        *order_doubt(arguments),
    ]


def distance(
    radius: float | NDArray[np.floating],
    arguments: Sequence[Variable],
    *,
    value: float = 0.0,
    standardize: bool = True,
    way_out: str = "use GaussianCopula",
) -> Doubts:
    """Doubt neighbourhoods so wide that the density varies inside them.

    `radius` is of each sample, or its median. What it is compared with is the width of one argument given the other,
    which shrinks as the dependence grows.
    """
    columns = [int(variable.varying.sum()) for variable in arguments if variable.varying.any()]
    unit = 1.0 if standardize else float(np.median(np.concatenate([variable.scale for variable in arguments])))
    typical = float(np.median(radius)) / unit
    if not columns:
        return []
    width = float(np.exp(-max(value, 0.0) / min(columns)))
    if typical <= FAR_ABOVE * width:
        return []
    note = (
        f"the k-th neighbour in {sum(columns)} joint dimensions is {typical:.2g} standard deviations away, against "
        f"{width:.2g} over which such a dependence varies: the value is biased towards zero. Reduce the dimension, "
        f"take more samples, or {way_out}."
    )
    return [(Flag.HIGH_DIMENSION, note)]
