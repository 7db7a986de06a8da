"""Mutual information by neural critics: ready estimators, one for each bound, with one way of training and judging.

The rows are dealt into folds. For each fold a critic is trained on most of the other rows, stopped by the rest of
them, and its value taken on the fold, which it has never seen; every row is reported on once. The value is the mean
over folds, and its interval holds the spread of rows and of trainings. Needs torch.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from miest.estimators.estimator import (
    WHEN_CHANGED,
    Estimator,
    refuse_given,
    refuse_identity,
    require_choice,
    require_integer,
)
from miest.result import Diagnostics, Flag, MIResult
from miest.samples import variables
from miest.traits import deterministic_doubt, duplicates_doubt, order_doubt

if TYPE_CHECKING:
    from miest.neural.bounds import Bound, Scores
    from miest.neural.model import CriticFactory, Fitted
    from miest.neural.pairs import Split

CRITICS = ("anchored", "joint", "separable", "bilinear", "conditional-gaussian")
_SATURATED_ABOVE = 0.7  # of the ceiling
_ROUNDING = 1e-6  # nats, of scores in float32
_BIASED_ABOVE = 0.01  # of the value, that the second half of a pool still adds
_MISSED_ABOVE = 0.01  # of what the Gaussian copula of the same rows reads, that a critic is below it
_FEWEST_EFFECTIVE = 100  # marginal pairs that carry a partition function: its logarithm is then known to 0.1


@dataclass(frozen=True, kw_only=True)
class Neural(Estimator):
    """Settings that every neural estimator has; use `MINE`, `NWJ`, `InfoNCE`, `SMILE`, `Discriminator` or `CLUB`.

    Parameters
    ----------
    critic : str or callable    "anchored" starts from a fitted copula; "joint", "separable", "bilinear" from nothing;
                                or (shape_x, shape_y) -> `miest.neural.critics.Critic`
    hidden : tuple of int       widths of the hidden layers of perceptrons
    features : int              of each side that meet in the inner product of an anchored or separable critic
    scale : str                 "normal" sends each column through its distribution function to a normal score;
                                "standard" subtracts the mean and divides by the standard deviation; "none"
    folds : int                 each row is reported on by a critic trained on the other folds; 1: on a quarter of them
    steps, batch : int          at most so many steps, of so many joint pairs
    negatives : int or None     marginal pairs for each joint one in training; None: all, or 8 for a joint critic
    learning_rate, weight_decay : float     of AdamW
    average : float             share of the past in the moving average of the weights, which is what is judged
    check_every, patience : int steps between looks at held-out rows; looks without gain before the rate falls
    bf16 : bool                 train in bfloat16 where torch can; judged in float32
    device : str or None        None: where the tensors are; "cuda" moves them
    level : float               of the interval
    checks : bool               look at the rows themselves for near-copies, functions of each other and memory
    progress : callable         (fold, step, steps, held-out value), called at each look
    """

    critic: "str | CriticFactory" = "anchored"
    hidden: tuple[int, ...] = field(default=(256, 256, 256), metadata=WHEN_CHANGED)
    features: int = field(default=16, metadata=WHEN_CHANGED)
    scale: str = field(default="normal", metadata=WHEN_CHANGED)
    folds: int = field(default=3, metadata=WHEN_CHANGED)
    steps: int = field(default=3000, metadata=WHEN_CHANGED)
    batch: int = field(default=256, metadata=WHEN_CHANGED)
    negatives: int | None = field(default=None, metadata=WHEN_CHANGED)
    learning_rate: float = field(default=1e-3, metadata=WHEN_CHANGED)
    weight_decay: float = field(default=1e-3, metadata=WHEN_CHANGED)
    average: float = field(default=0.98, metadata=WHEN_CHANGED)
    check_every: int = field(default=50, metadata=WHEN_CHANGED)
    patience: int = field(default=4, metadata=WHEN_CHANGED)
    bf16: bool = field(default=False, metadata=WHEN_CHANGED)
    device: str | None = field(default=None, metadata=WHEN_CHANGED)
    level: float = field(default=0.95, metadata=WHEN_CHANGED)
    checks: bool = field(default=True, metadata=WHEN_CHANGED)
    progress: Callable[[int, int, int, float], None] | None = field(
        default=None, compare=False, repr=False, metadata=WHEN_CHANGED
    )

    def __post_init__(self) -> None:
        if not callable(self.critic):
            require_choice("critic", self.critic, CRITICS)
        require_choice("scale", self.scale, ("normal", "standard", "none"))
        if self.critic == "anchored" and self.scale != "normal":
            raise ValueError(f"scale={self.scale!r} with critic='anchored': anchors need scale='normal'.")
        for name, least in (("features", 1), ("folds", 1), ("steps", 0), ("batch", 2), ("check_every", 1)):
            require_integer(name, getattr(self, name), least)
        require_integer("patience", self.patience, 0)
        if self.negatives is not None:
            require_integer("negatives", self.negatives, 1)
        object.__setattr__(self, "hidden", tuple(self.hidden))  # JSON gives lists
        if not self.hidden or any(isinstance(w, bool) or not isinstance(w, int) or w < 1 for w in self.hidden):
            raise ValueError(f"hidden={self.hidden!r} must be widths of at least one hidden layer, as (256, 256).")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ValueError(
                f"learning_rate={self.learning_rate} must be positive, weight_decay={self.weight_decay} not negative."
            )
        for name in ("average", "level"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0 and below 1.")

    @abstractmethod
    def bound(self) -> "Bound":
        """Return the bound that trains the critic and gives the value."""

    def estimate(
        self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None, init_from: MIResult | None = None
    ) -> MIResult:
        """Estimate I(X;Y) from paired samples, or from a source of pairs.

        Parameters
        ----------
        x : (n, ...) array-like         samples of X; symbols become one-hot rows. (n, d) are vectors, (n, length, c)
                                        sequences, (n, c, h, w) images. Or, with y left out, a source of pairs: a torch
                                        Dataset or DataLoader of (x, y), an iterable of batches, a `Task`, or a
                                        function (n, seed) -> (x, y) that draws new pairs
        y : (n, ...) array-like         samples of Y
        seed : int or None              fixes splits, batches and weights; None draws one, which is in the diagnostics
        init_from : MIResult            an earlier result of a neural estimator: training starts from its critics where
                                        held-out rows score better by them

        Returns
        -------
        MIResult
            nats; the value is not a number where training diverged

        Raises
        ------
        ValueError
            for data that cannot be used, or fewer than 20 rows a fold
        ImportError
            without torch
        """
        started = perf_counter()
        refuse_given(self, given)
        require_torch(self.name)
        from miest.neural.pairs import is_source, splits

        if y is None and not is_source(x):
            refuse_identity(self, y)
        seed = int(np.random.SeedSequence(seed).generate_state(1)[0]) if seed is None else seed
        parts, n = splits(x, y, self.folds, seed, self.device)
        earlier: tuple[Fitted | None, ...] = (None,) * len(parts)
        if init_from is not None:
            if not init_from.fitted or len(init_from.fitted) != len(parts):
                raise ValueError(
                    f"init_from holds {len(init_from.fitted or ())} critics and {len(parts)} are to be trained: pass a "
                    "result of a neural estimator with as many folds, of this session (critics are not in its JSON)."
                )
            earlier = tuple(init_from.fitted)
        folds = [_Fold.of(self, split, fold, seed, earlier[fold]) for fold, split in enumerate(parts)]
        result = _result(self, folds, n, seed)
        if self.checks and y is not None and math.isfinite(result.value):
            arguments = variables(x=x, y=y)
            doubts = [
                *duplicates_doubt(arguments),
                *deterministic_doubt(arguments, result.value),
                *order_doubt(arguments),
            ]
            result = replace(
                result,
                flags=tuple(dict.fromkeys((*result.flags, *(flag for flag, _ in doubts)))),
                notes=(*result.notes, *(note for _, note in doubts)),
            )
        return replace(result, seconds=perf_counter() - started)


def require_torch(name: str) -> None:
    """Raise unless torch is installed."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{name} needs torch: pip install 'miest[torch]', or use GaussianCopula or KSG.") from error


@dataclass(frozen=True)
class _Fold:
    """What one training came to."""

    fitted: "Fitted"
    value: float
    influence: Any
    seen: float
    """Value on rows that the critic was fitted to, as many as were reported on."""
    effective: float
    pool: int
    rows: int
    plain: float
    """What Donsker and Varadhan read of the same scores, unclipped."""
    constant: tuple[str, ...]
    lower: float
    """The value, or where that is no lower bound, `plain`,"""
    copula: float | None
    """and the same of the Gaussian copula of these rows; None where the critic holds an anchor."""
    behind: float
    """How many standard errors of the difference the copula is above the critic."""
    pool_gain: float

    @classmethod
    def of(cls, estimator: Neural, split: "Split", fold: int, seed: int, start: "Fitted | None") -> "_Fold":
        from miest.neural.bounds import DonskerVaradhan, effective_pairs
        from miest.neural.model import copula_scores, fitted, pairs_a_row
        from miest.neural.train import Training, judge

        bound, told = estimator.bound(), estimator.progress
        names = ("steps", "batch", "negatives", "learning_rate", "weight_decay", "average", "check_every", "patience")
        model, scaled = fitted(
            split,
            bound,
            Training(bf16=estimator.bf16, **{name: getattr(estimator, name) for name in names}),
            kind=estimator.critic,
            hidden=estimator.hidden,
            features=estimator.features,
            scale=estimator.scale,
            seed=int(np.random.SeedSequence(seed, spawn_key=(fold,)).generate_state(1)[0]),
            start=start,
            progress=None if told is None else lambda step, steps, held: told(fold, step, steps, held),
        )

        def scores(rows: Any) -> "Scores":
            return judge(model.critic, rows, pairs_a_row(model.critic, len(rows[0])), seed)

        reported = scores(scaled.report)
        rows = len(scaled.report[0])
        value, influence = float(bound.value(reported)), bound.influence(reported).double().cpu().numpy()
        plain, copula, behind = float(DonskerVaradhan().value(reported)), None, 0.0
        below = bound if bound.kind == "lower bound" else DonskerVaradhan()  # a wrong copula may have any mean logit
        lower = value if below is bound else plain
        if estimator.critic != "anchored" and bound.kind != "upper bound":
            floor = copula_scores(split, pairs_a_row(model.critic, rows), seed)
            if floor is not None:
                copula = float(below.value(floor))
                apart = float((below.influence(floor) - below.influence(reported)).double().std())
                behind = (copula - lower) / max(apart / math.sqrt(rows), 1e-12)
        return cls(
            fitted=model,
            value=value,
            influence=influence,
            seen=float(bound.value(scores((scaled.seen[0][:rows], scaled.seen[1][:rows])))),
            effective=effective_pairs(reported.marginal),
            pool=reported.marginal.shape[1] + 1,
            rows=rows,
            plain=plain,
            constant=tuple(
                name for name, side in zip(("x", "y"), split.seen, strict=True) if not bool((side != side[:1]).any())
            ),
            lower=lower,
            copula=copula,
            behind=behind,
            pool_gain=bound.pool_gain(reported),
        )


def _result(estimator: Neural, folds: list[_Fold], n: int, seed: int) -> MIResult:
    bound = estimator.bound()
    histories = [fold.fitted.history for fold in folds]
    values = np.array([fold.value for fold in folds])
    weights = np.array([fold.rows for fold in folds]) / sum(fold.rows for fold in folds)
    diverged = any(history.ended == "diverged" for history in histories) or not np.isfinite(values).all()
    value = math.nan if diverged else float(weights @ values)
    # Sampling of rows within a fold, and what trainings differ by beyond it.
    sampling = np.array([fold.influence.var() / fold.rows for fold in folds])
    between = max(0.0, values.var(ddof=1) - sampling.mean()) / len(folds) if len(folds) > 1 else 0.0
    stderr = math.sqrt(float(weights**2 @ sampling) + between) if not diverged else math.nan
    reach = float(ndtri((1 + estimator.level) / 2)) * stderr
    ceiling = bound.ceiling(min(fold.pool for fold in folds))
    pairs = sum(fold.rows * (fold.pool - 1) for fold in folds)
    effective = min(fold.effective for fold in folds)
    seen = float(weights @ [fold.seen for fold in folds])
    doubts = list(_doubts(bound, histories, value, stderr, ceiling, pairs, effective, seen, folds))
    return MIResult(
        value=value,
        n_samples=n,
        estimator=estimator,
        kind=bound.kind,
        interval=(value - reach, value + reach) if reach > _ROUNDING and math.isfinite(reach) else None,
        level=estimator.level,
        ceiling=ceiling,
        flags=tuple(dict.fromkeys(flag for flag, _ in doubts)),
        notes=(*(note for _, note in doubts), *_untaught(estimator, histories)),
        diagnostics=Diagnostics(
            folds=values.tolist(),
            stderr=stderr,
            interval_method="influence of rows and spread of folds",
            training_value=seen,
            gap=seen - value,
            anchors=[fold.fitted.anchor for fold in folds],
            copula=[fold.copula for fold in folds],
            effective_pairs=effective,
            marginal_pairs=pairs,
            best_step=[history.best_step for history in histories],
            ended=[history.ended for history in histories],
            steps=[history.step for history in histories],
            fit_curve=[history.fit for history in histories],
            stop_curve=[history.stop for history in histories],
            seed=seed,
        ),
        fitted=tuple(fold.fitted for fold in folds),
    )


def _doubts(
    bound: "Bound",
    histories: list[Any],
    value: float,
    stderr: float,
    ceiling: float | None,
    pairs: int,
    effective: float,
    seen: float,
    folds: list[_Fold],
) -> Any:
    for name in sorted({name for fold in folds for name in fold.constant}):
        yield Flag.CONSTANT, f"{name} has the same value in all samples: no information."
    if not math.isfinite(value):
        steps = ", ".join(str(history.step[-1]) for history in histories)
        yield (
            Flag.NOT_CONVERGED,
            f"training diverged (after {steps} steps), and there is no value: lower learning_rate.",
        )
        return
    if any(history.ended == "steps" and _rising(history) for history in histories):
        yield (
            Flag.NOT_CONVERGED,
            "held-out rows still gained when the steps ran out, so that a longer training gives more: raise steps.",
        )
    behind = [
        (fold.copula, fold.lower)
        for fold in folds
        if fold.copula is not None and fold.behind > 3 and fold.copula * (1 - _MISSED_ABOVE) > fold.lower
    ]
    if behind:
        copula, critic = (sum(side) / len(behind) for side in zip(*behind, strict=True))
        yield (
            Flag.NOT_CONVERGED,
            f"a Gaussian copula fitted to the same rows reads {copula:.3f} nats on those held out, and the critic "
            f"{critic:.3f}, in {len(behind)} of {len(folds)} folds: it has not learned what is there. Use "
            "critic='anchored', or raise steps or batch.",
        )
    if seen - value > max(0.1, 4 * stderr, 0.15 * abs(value)):
        yield (
            Flag.OVERFIT,
            f"rows that were trained on read {seen:.3f} nats and rows that were not {value:.3f}: with more samples the "
            "critic would come closer to the truth, which lies above. Pass more rows, or raise weight_decay.",
        )
    if value < -max(0.02, 3 * stderr):
        yield (
            Flag.OVERFIT,
            f"held-out rows read {value:.3f} nats: the critic is worse than none on rows it has not seen. Pass more "
            "rows, raise weight_decay, or use critic='anchored'.",
        )
    if ceiling is not None and value > _SATURATED_ABOVE * ceiling:
        yield (
            Flag.SATURATED,
            f"{value:.3f} nats is above {_SATURATED_ABOVE:.0%} of the ceiling {ceiling:.3f}, ln of the pool: use MINE "
            "or Discriminator, or report on more rows.",
        )
    elif (gain := sum(fold.pool_gain for fold in folds) / len(folds)) > max(_BIASED_ABOVE * value, stderr / 2, 0.005):
        small = any(fold.pool < fold.rows for fold in folds)
        yield (
            Flag.SATURATED,
            f"the second half of the pool adds {gain:.3f} nats, and about as much is missing still: use MINE or "
            f"Discriminator, or {'a critic with a larger pool, anchored or separable' if small else 'more rows'}.",
        )
    largest = math.log(sum(fold.rows for fold in folds))
    if ceiling is None and not bound.partition and value > _SATURATED_ABOVE * largest:
        yield (
            Flag.SATURATED,
            f"{value:.3f} nats is above {_SATURATED_ABOVE:.0%} of {largest:.3f}, ln of the rows: no sample of "
            "this size can tell such an amount from a larger one. Pass more rows.",
        )
    tau = getattr(bound, "tau", None)
    cut = value - sum(fold.plain * fold.rows for fold in folds) / sum(fold.rows for fold in folds)
    if tau is not None and abs(cut) > max(0.05, 0.03 * abs(value)):
        yield (
            Flag.UNBOUNDED_VARIANCE,
            f"scores clipped at tau={tau:g} move the value by some {cut:+.2f} nats: raise tau, or use Discriminator.",
        )
    if bound.partition and (effective < _FEWEST_EFFECTIVE or value > _SATURATED_ABOVE * math.log(pairs)):
        yield (
            Flag.UNBOUNDED_VARIANCE,
            f"of {pairs} marginal pairs, {effective:.0f} carry the mean of exp T: so rare a pair as decides at "
            f"{value:.1f} nats is hardly among them. Use Discriminator, InfoNCE, or pass more rows.",
        )


def _untaught(estimator: Neural, histories: list[Any]) -> list[str]:
    """What to say of critics that read 0 because no training was better than none."""
    folds = sum(history.best_step == 0 for history in histories)
    if not folds or estimator.critic not in ("joint", "separable", "bilinear"):
        return []
    return [
        f"in {folds} of {len(histories)} folds no training scored better on held-out rows than random weights, and 0 "
        "is reported there: independence, or steps that are too few or too long (steps, learning_rate)."
    ]


def _rising(history: Any) -> bool:
    """Whether the last looks still gained: the best is among them, or the last quarter is above the one before."""
    looks = history.stop
    late, quarter = max(2, len(looks) // 10), len(looks) // 4
    if len(looks) <= late:
        return bool(history.best_step > 0)
    gain = max(0.01 * abs(max(looks)), 0.005)  # nats that are worth more steps
    if max(looks[-late:]) > max(looks[:-late]) + gain:
        return True
    if quarter < 2:
        return False
    last, before = looks[-quarter:], looks[-2 * quarter : -quarter]
    return bool(sum(last) / quarter > sum(before) / quarter + gain)


@dataclass(frozen=True, kw_only=True)
class MINE(Neural):
    """Lower bound on I(X;Y) by Donsker-Varadhan, its gradient corrected by a moving average.

    Parameters
    ----------
    ema_decay : float       share of the old partition function kept at each step; 0 leaves the gradient biased
    others                  see `Neural`

    Notes
    -----
    The value is of rows that neither the critic nor the time to stop was chosen by, over all marginal pairs at once; a
    mean of values of batches would be larger and no bound.
    Wrong when: the critic has not learned what is there: then the value is too small, with OVERFIT where the rows were
        too few for it, NOT_CONVERGED where the steps were, or where a Gaussian copula of the same rows reads more.
        Beyond about ln of the effective pairs, some 5 nats at n = 10,000, the mean of exp T hangs on pairs that are
        not in the sample: UNBOUNDED_VARIANCE. Rows that come in near-copies are in training and report both:
        DUPLICATES.
    Interval: rows and trainings; of the bound, not of what the critic misses. None where the critic found nothing, so
        that every row scores the same.
    Cost: some 20 to 60 s on two cores at n = 10,000, whatever n; memory for `batch` squared or rows times 4,000 scores.
    Source: Belghazi et al. (2018), arXiv:1801.04062; the anchor and the folds are miest's own.
    """

    ema_decay: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay={self.ema_decay} must be at least 0 and below 1.")

    def bound(self) -> "Bound":
        """See `Neural.bound`."""
        from miest.neural import bounds

        return bounds.MINE(ema_decay=self.ema_decay)


@dataclass(frozen=True, kw_only=True)
class NWJ(Neural):
    """Lower bound on I(X;Y) by Nguyen, Wainwright and Jordan.

    Parameters
    ----------
    see `Neural`

    Notes
    -----
    Unbiased from any number of pairs, so that it is a bound in expectation where `MINE` is not quite; spreads more.
    Wrong when: as `MINE`, from about 3 nats on.
    Source: Nguyen, Wainwright, Jordan (2010), doi:10.1109/TIT.2010.2068870.
    """

    def bound(self) -> "Bound":
        """See `Neural.bound`."""
        from miest.neural import bounds

        return bounds.NWJ()


@dataclass(frozen=True, kw_only=True)
class InfoNCE(Neural):
    """Lower bound on I(X;Y) by telling the partner of x from a pool of other rows.

    Parameters
    ----------
    see `Neural`

    Notes
    -----
    Spreads least of the bounds, and cannot exceed its ceiling, ln of the pool: the rows of a fold, up to 4,000, and 129
    for joint critics. SATURATED from 70% of it on, and below that where half the pool would give 1% less.
    Wrong when: the information is near the ceiling, or the critic has not learned it; see `MINE`.
    Source: van den Oord et al. (2018), arXiv:1807.03748.
    """

    def bound(self) -> "Bound":
        """See `Neural.bound`."""
        from miest.neural import bounds

        return bounds.InfoNCE()


@dataclass(frozen=True, kw_only=True)
class SMILE(Neural):
    """I(X;Y) by a discriminator, read by Donsker-Varadhan with clipped scores; not a bound.

    Parameters
    ----------
    tau : float             scores of marginal pairs are clipped to [-tau, tau]
    others                  see `Neural`

    Notes
    -----
    Wrong when: much of the mean of exp T lies above tau: the value is then too large, without a limit; or scores below
        -tau count: too small. Flagged UNBOUNDED_VARIANCE. Prefer `Discriminator`, whose errors are smaller on nearly
        all tasks.
    Source: Song, Ermon (2020), arXiv:1910.06222.
    """

    tau: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tau > 0:
            raise ValueError(f"tau={self.tau} must be positive.")

    def bound(self) -> "Bound":
        """See `Neural.bound`."""
        from miest.neural import bounds

        return bounds.SMILE(tau=self.tau)


@dataclass(frozen=True, kw_only=True)
class Discriminator(Neural):
    """I(X;Y) as the mean logit of a classifier of joint against marginal pairs; not a bound.

    Parameters
    ----------
    see `Neural`

    Notes
    -----
    The mean of an estimate of ln p/q over joint pairs: nothing has to be normalised, so that it has neither the
    variance of `MINE` nor its limit, and comes closest to the truth of all the critics here; it may lie on either
    side.
    Wrong when: as `MINE`; an overfitted critic may also read too much. Beyond 70% of ln n nothing that rests on n rows
        can be checked: SATURATED.
    Interval: rows and trainings, not what the critic misses.
    Cost: as `MINE`.
    Source: Achille, Soatto (2018), sec. 7.3; Hjelm et al. (2019), arXiv:1808.06670.
    """

    def bound(self) -> "Bound":
        """See `Neural.bound`."""
        from miest.neural import bounds

        return bounds.JensenShannon()


@dataclass(frozen=True, kw_only=True)
class CLUB(Neural):
    """Upper bound on I(X;Y) by a fitted Gaussian density of Y given X.

    Parameters
    ----------
    critic : str or callable    "conditional-gaussian": a network reads mean and variance of each column of y off x
    others                      see `Neural`

    Notes
    -----
    Wrong when: Y given X is far from independent Gaussian columns: the value may then be below the truth, and nothing
        shows it. `OVERFIT` where held-out rows are read worse than those trained on.
    Source: Cheng et al. (2020), arXiv:2006.12013.
    """

    critic: "str | CriticFactory" = "conditional-gaussian"
    scale: str = field(default="standard", metadata=WHEN_CHANGED)

    def bound(self) -> "Bound":
        """See `Neural.bound`."""
        from miest.neural import bounds

        return bounds.CLUB()
