"""Information that survives additive Gaussian noise: I(X; T+eps) of a layer, and I(T+eps; Y) of a layer and labels.

Seen through Gaussian noise, n activations t_i are a mixture of n Gaussians, whose entropy can be had by Monte Carlo::

    I(X; T+eps) = h(T+eps) - h(eps)                        X is the identity of the row
    I(T+eps; Y) = h(T+eps) - sum_y p(y) h(T+eps | Y=y)     Y is discrete

`miest.estimators.channel_information` has the formulas, `noise_sweep` the whole curve over the size of the noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from miest.estimators.channel_information import (
    CORRECTED,
    IN_SAMPLE,
    LEFT_OUT,
    Channel,
    channel_information,
    without_length,
)
from miest.estimators.estimator import WHEN_CHANGED, Estimator, refuse_given, require_choice, require_integer
from miest.estimators.subsampling import require_level
from miest.noise import GaussianNoise, Noise, ZeroEntropyNoise, mean_scale, noise_generator
from miest.result import Diagnostics, Flag, MIResult
from miest.samples import DataError, Variable, variables

_AUTO_VARIANCE = 0.1  # share of the mean variance of a coordinate that is taken for noise, as in KDE
_AUTO_EVALUATIONS = 8192  # of the mixture; fewer rows get more draws each
_REACH = 1e100  # noise standard deviations; squared distances stay finite
_STDS = (1e-150, 1e150)  # whose squares float64 holds
_SATURATED = 0.9  # share of ln n above which the rows, not the layer, are being measured
_UNSURE = 1 / 3  # of the correction for rows that were not drawn, which may be wrong; see Error in GaussianChannel
_UNDERSAMPLED = 0.2  # nats that the rows may lack of the distribution; see Error in GaussianChannel
_UNDERSAMPLED_LABELS = 0.1  # nats between labels seen with the row itself and without it

Doubt = tuple[Flag | None, str]  # None: a choice made for the caller, which is said but is no reason for doubt


@dataclass(frozen=True, kw_only=True)
class GaussianChannel(Estimator):
    """Information in T + eps, eps Gaussian, by Monte Carlo: I(X;T+eps), or I(T+eps;Y) for discrete Y.

    `estimate(t)` gives I(X;T+eps) = h(T+eps) - h(eps), with X the identity of the row: for a deterministic layer that
    is the information about its input. `estimate(t, labels)` gives I(T+eps;Y); the arguments may come in either order.

    Parameters
    ----------
    noise : GaussianNoise, ZeroEntropyNoise or "auto"
        Part of the quantity, not a tuning knob, in the units of t, which is never standardised. "auto" takes 0.1 times
        the mean variance of the coordinates of t (1 where t is constant) as the variance. That adapts to the scale of
        each layer: to compare layers, give one noise for all. Always in `diagnostics.noise_std`.
    population : bool
        True: the value for the distribution that the rows were drawn from. False: the value for these rows as the whole
        population, each as probable as any other; this is what the pairwise bounds and `KDE` are about, and at most
        ln n. `diagnostics.in_sample` holds it in either case.
    draws : int or "auto"
        Of the noise of each row, each used with both signs; "auto" makes 8192 over all rows, at least one a row.
    level : float or None
        Of the interval; None makes none.

    Raises
    ------
    ValueError
        if the noise is not Gaussian, y is continuous or both arguments are discrete, or given= is used

    Notes
    -----
    Diagnostics: `lower`, `upper`, the pairwise bounds on the value for these rows (Kolchinsky and Tracey), from the
        same pass; `in_sample`; `leave_one_out`, each row seen by all others; `out_of_sample`, the rows of one half seen
        by the other, both ways; `gap`, out_of_sample - in_sample: what was memorised. In expectation the value for the
        distribution lies between in_sample and leave_one_out (with labels: between leave_one_out and in_sample).
        `noise_entropy` is h(eps), so that h(T+eps) is the value plus it.
    Interval: with population=True, for another sample of n independent rows: the spread over rows, which holds that of
        the noise, and a third of value - in_sample, which is about what the correction for missing rows may be wrong.
        Coverage at 95%: 92% to 97% for the unflagged lines below, 90% to 97% at n = 200; with labels 90% to 98%.
        With population=False, of the Monte-Carlo error alone, which tells nothing of other rows; with one draw a row
        it is an upper limit on that. None where SATURATED or UNDERSAMPLED.
    Error: of the value, of in_sample and of leave_one_out, for t Gaussian of variance s in each of d coordinates, noise
        of std=1 and n = 1,000; means over 200 samples, nats; the truth is d/2 ln(1 + s)::

            d = 1,  s = 10       -0.002 (sd 0.020)   -0.005    0.001
            d = 1,  s = 1,000    -0.003 (sd 0.022)   -0.034    0.18
            d = 3,  s = 10       -0.003 (sd 0.035)   -0.074    0.090
            d = 5,  s = 4        -0.009 (sd 0.039)   -0.14     0.14
            d = 10, s = 1        -0.006 (sd 0.033)   -0.11     0.089
            d = 3,  s = 30       -0.010 (sd 0.039)   -0.25     0.46    UNDERSAMPLED from here on
            d = 10, s = 2        -0.11  (sd 0.040)   -0.51     0.44
            d = 3,  s = 100      -0.27  (sd 0.013)   -0.82     2.4

        At n = 10,000, sixty random linear layers of up to 3 units came within 0.027 (0.008 root mean square). Cubes,
        ReLU and tanh layers, clusters and curves: within 0.054 at n = 1,000 wherever nothing was flagged. Student's t
        with 3 degrees of freedom in 3 dimensions: -0.09, without a flag.
    Wrong when: the noise is small for n and d, and few rows see each other. SATURATED: a row is told from all others,
        and the value is ln n whatever the layer does. UNDERSAMPLED: more than 0.2 nats depend on rows that were not
        drawn; the value is then too small (too large with labels), more so where the tails are heavy.
    Cost: O(n^2 d) time for each draw, O(n d) memory.
    Source: Goldfeld, van den Berg, Greenewald, Melnyk, Nguyen, Kingsbury, Polyanskiy (2019), "Estimating information
        flow in deep neural networks", for the mixture by Monte Carlo; Kolchinsky, Tracey (2017), doi:10.3390/e19070361,
        for the bounds; Elad, Haviv, Blau, Michaeli (2019), section 3, for the quantity.
    Differs: Goldfeld et al. report the value for the rows; here what n rows lack is added, unless population=False.
        The value stays within `lower` and `upper`. Noise comes as eps and -eps, and what follows its length is
        regressed out.
    """

    noise: GaussianNoise | ZeroEntropyNoise | Literal["auto"] = "auto"
    population: bool = True
    draws: int | Literal["auto"] = field(default="auto", metadata=WHEN_CHANGED)
    level: float | None = field(default=0.95, metadata=WHEN_CHANGED)

    def __post_init__(self) -> None:
        require_gaussian(self.noise)
        require_choice("population", self.population, (True, False))
        if self.draws != "auto":
            require_integer("draws", self.draws, 1)
        require_level(self.level)

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Estimate I(X;T+eps) of a layer, or I(T+eps;Y) of a layer and labels.

        Parameters
        ----------
        x : (n, ...) numbers            the layer T
        y : (n, ...) int, bool or str   labels; left out: X is the identity of the row. May be given first.
        given : None                    not supported
        seed : int or None              of the noise and of the halves; None is 0

        Returns
        -------
        MIResult
            nats; a point estimate
        """
        started = perf_counter()
        refuse_given(self, given)
        t, labels = layer_and_labels(variables(x=x, y=y))
        std, doubts = (float(self.noise.std), []) if isinstance(self.noise, Noise) else _auto_std(t)
        (channel,) = measured(t, labels, [std], self.draws, seed)
        return channel_result(self, channel, t, labels, std, doubts, perf_counter() - started)


def require_gaussian(noise: Any) -> None:
    """Raise unless the noise is Gaussian and within float64."""
    if isinstance(noise, str) and noise == "auto":
        return
    if not isinstance(noise, (GaussianNoise, ZeroEntropyNoise)):
        raise ValueError(
            f'noise={noise!r} must be GaussianNoise(std=...), ZeroEntropyNoise() or "auto": the density of T + eps is '
            "known as a mixture of Gaussians. For other noise use Noisy(estimator=KSG(), noise=...)."
        )
    if not _STDS[0] <= noise.std <= _STDS[1]:
        raise ValueError(
            f"noise={noise!r} has a variance that float64 cannot hold: rescale the data, and it with them."
        )


def layer_and_labels(checked: Sequence[Variable]) -> tuple[Variable, Variable | None]:
    """Tell the layer from the labels."""
    if len(checked) == 1:
        return checked[0], None
    x, y = checked
    if x.is_discrete != y.is_discrete:
        return (y, x) if x.is_discrete else (x, y)
    kind = x.kind
    way_out = (
        "wrap the activations in miest.continuous, or use PlugIn for two discrete variables."
        if x.is_discrete
        else "wrap class labels in miest.discrete. For I(X;T+eps) of a deterministic layer pass T alone, "
        "GaussianChannel().estimate(t); for two continuous variables use Noisy(estimator=KSG(), noise=...)."
    )
    raise DataError(
        f"both arguments are {kind} ({x.values.dtype} and {y.values.dtype}), and noise is added to a continuous one "
        f"that is compared within each class of the other: {way_out}"
    )


def measured(
    t: Variable, labels: Variable | None, stds: Sequence[float], draws: int | Literal["auto"], seed: int | None
) -> list[Channel]:
    """Check that the noise fits the layer, and send the layer through it."""
    numbers, smallest = t.numbers, min(stds)
    largest = max(abs(float(numbers.min())), abs(float(numbers.max())))
    if largest > _REACH * smallest:
        raise DataError(
            f"{t.name} reaches {largest:.3g}, more than {_REACH:.0e} standard deviations of the noise "
            f"(std={smallest:.3g}), whose squares float64 cannot hold: rescale it, or raise the noise."
        )
    many = max(1, -(-_AUTO_EVALUATIONS // t.n)) if draws == "auto" else draws
    symbols = None if labels is None else labels.symbols
    return channel_information(numbers, list(stds), symbols, many, noise_generator(seed))


def channel_result(
    estimator: GaussianChannel,
    channel: Channel,
    t: Variable,
    labels: Variable | None,
    std: float,
    doubts: Sequence[Doubt],
    seconds: float,
) -> MIResult:
    """Value, interval, flags and diagnostics of one channel."""
    total, within, lengths = channel.total, channel.within, channel.lengths
    rows, lower, upper, ceiling = total.rows, total.lower, total.upper, math.log(t.n)
    seen = np.ones(t.n, bool)
    found: dict[str, Any] = {}
    if labels is not None and within is not None:
        rows = rows - within.rows
        lower, upper, ceiling = lower - within.upper, upper - within.lower, _entropy(labels)
        seen = (labels.symbol_counts > 1)[labels.symbols]  # a class of one row has no other to be seen by
        found = {"h_y": ceiling, "classes": len(labels.symbol_counts)}
    left_out, halves = None, None
    if seen.any():
        unseen = without_length(rows[LEFT_OUT:, :, seen], lengths[:, seen])
        left_out, halves = unseen.mean(axis=(1, 2)).tolist()
    rows = without_length(rows[:LEFT_OUT], lengths)
    in_sample, corrected = rows.mean(axis=(1, 2)).tolist()
    doubts = [*doubts, *_doubts(t, labels, std)]
    doubts += _sampling_doubts(t, labels, std, in_sample, corrected, left_out) if estimator.population else []
    doubts += _saturation(t, std, in_sample) if labels is None else []
    noise_error = _noise_error(rows[IN_SAMPLE])
    error = float(rows[CORRECTED].mean(axis=0).std(ddof=1)) / math.sqrt(t.n) if estimator.population else noise_error
    value = max(lower, min(corrected, upper, ceiling)) if estimator.population else in_sample
    flags = tuple(flag for flag, _ in doubts if flag is not None)
    interval = None
    if estimator.level is not None and Flag.SATURATED not in flags and Flag.UNDERSAMPLED not in flags:
        reach = float(ndtri((1 + estimator.level) / 2)) * error
        if estimator.population:
            reach = math.hypot(reach, _UNSURE * (corrected - in_sample))
        interval = (value - reach, value + reach)
    return MIResult(
        value=value,
        interval=interval,
        level=estimator.level or 0.95,
        n_samples=t.n,
        estimator=estimator,
        quantity="I(X;T+eps)" if labels is None else "I(T+eps;Y)",
        ceiling=ceiling,
        flags=flags,
        notes=tuple(note for _, note in doubts),
        diagnostics=Diagnostics(
            noise_std=std,
            noise_entropy=GaussianNoise(std=std).entropy(t.d),
            lower=lower,
            upper=upper,
            in_sample=in_sample,
            leave_one_out=left_out,
            out_of_sample=halves,
            gap=None if halves is None else halves - in_sample,
            draws=lengths.shape[0],
            noise_error=noise_error,
            standard_error=error,
            interval_method=None if interval is None else "rows" if estimator.population else "noise",
            **found,
        ),
        seconds=seconds,
    )


def _noise_error(rows: NDArray[np.float64]) -> float:
    """Standard error of the mean over (draws, n) that the noise makes; with one draw, what it makes at most."""
    draws, n = rows.shape
    variance = rows.var(axis=0, ddof=1).mean() if draws > 1 else rows.var(ddof=1)
    return math.sqrt(float(variance) / (draws * n))


def _auto_std(t: Variable) -> tuple[float, list[Doubt]]:
    std = math.sqrt(_AUTO_VARIANCE) * mean_scale(t)
    if not _STDS[0] <= std <= _STDS[1]:
        raise DataError(
            f"the variance of {t.name} is beyond float64 (standard deviations up to {t.scale.max():.3g}): rescale it."
        )
    note = (
        f"noise_std={std:.6g}: its variance is {_AUTO_VARIANCE:g} times the mean variance of the coordinates of "
        f"{t.name}; it follows the scale of the data: to compare layers, pass one noise for all."
    )
    return std, [(None, note)]


def _entropy(labels: Variable) -> float:
    """Entropy of the labels as they occur."""
    p = labels.symbol_counts / labels.n
    return float(-(p * np.log(p)).sum()) + 0.0


def _doubts(t: Variable, labels: Variable | None, std: float) -> list[Doubt]:
    """Doubts that need no estimate."""
    doubts: list[Doubt] = [
        (Flag.CONSTANT, f"{v.name} has the same value in all {v.n} samples: no information.")
        for v in (t, labels)
        if v is not None and not v.varying.any()
    ]
    if t.is_discrete:
        doubts.append(
            (
                Flag.DISCRETE,
                f"{t.name} holds integers, and noise of std={std:.3g} was added to them: for counts or pixels say so "
                "with miest.continuous; for symbols use PlugIn or Binning.",
            )
        )
    if labels is not None:
        single, classes = int((labels.symbol_counts == 1).sum()), len(labels.symbol_counts)
        if 2 * single > classes > 1:
            note = (
                f"{single} of the {classes} classes of {labels.name} have one sample, whose density within the class "
                "is the noise alone: the value approaches I(X;T+eps). Merge classes or pass more samples."
            )
            doubts.append((Flag.SINGLETON_BINS, note))
    return doubts


def _saturation(t: Variable, std: float, in_sample: float) -> list[Doubt]:
    """Doubt where the noise is too small for rows to see each other."""
    if in_sample <= _SATURATED * math.log(t.n):
        return []
    note = (
        f"{in_sample:.2f} of the {math.log(t.n):.2f} nats, ln n, that {t.n} rows can show: with noise of "
        f"std={std:.3g} nearly every row is told from all others, whatever the layer does. Use a larger noise or more "
        "rows."
    )
    return [(Flag.SATURATED, note)]


def _sampling_doubts(
    t: Variable, labels: Variable | None, std: float, in_sample: float, corrected: float, left_out: float | None
) -> list[Doubt]:
    """Doubt where much depends on rows that were not drawn."""
    if left_out is None:
        return []
    if labels is None and corrected - in_sample <= _UNDERSAMPLED:
        return []
    if labels is not None and in_sample - left_out <= _UNDERSAMPLED_LABELS:
        return []
    low, high = sorted((in_sample, left_out))
    note = (
        f"{t.n} rows are too few for the distribution behind them: these rows hold {in_sample:.3f} nats, and each of "
        f"them seen by the others alone {left_out:.3f}; the value for the distribution is between {low:.3f} and "
        f"{high:.3f}. Use more rows, or noise larger than std={std:.3g}; population=False is about these rows alone."
    )
    return [(Flag.UNDERSAMPLED, note)]
