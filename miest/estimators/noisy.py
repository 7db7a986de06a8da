"""Any estimator on a noisy representation: I(X; T+eps) where X is more than the identity of a row.

Noise makes I(X; T) of a deterministic layer finite. It is part of the quantity, and so of the name of the result.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Literal

import numpy as np

from miest.estimators.estimator import WHEN_CHANGED, Estimator, require_choice, require_integer
from miest.estimators.ksg import KSG
from miest.noise import GaussianNoise, Noise, mean_scale, noise_generator
from miest.result import Diagnostics, MIResult
from miest.samples import DataError, Variable, variables

_AUTO_VARIANCE = 0.1  # share of the mean variance of a coordinate that is taken for noise, as in GaussianChannel
_ROUNDED = 1e-3  # of the noise, that may be lost where it is added

_QUANTITIES = {
    "y": {"I(X;Y)": "I(X;T+eps)", "I(X;Y|Z)": "I(X;T+eps|Z)"},
    "x": {"I(X;Y)": "I(T+eps;Y)", "I(X;Y|Z)": "I(T+eps;Y|Z)"},
}


@dataclass(frozen=True, kw_only=True)
class Noisy(Estimator):
    """Mutual information of a noisy representation, I(X;T+eps), by another estimator; also given Z.

    ``Noisy(estimator=KSG(), noise=GaussianNoise(std=0.1)).estimate(x, t)`` adds noise to the second argument, t, and to
    nothing else, and hands x and t + eps to the estimator.

    Parameters
    ----------
    estimator : Estimator
        Of two arguments, one of them continuous: `KSG`, `MixedKSG`, `Gaussian`, `MINE`, ...
    noise : Noise or "auto"
        `GaussianNoise`, `ZeroEntropyNoise` or `UniformNoise`, in the units of the argument, which is not standardised
        before. "auto" is Gaussian, with 0.1 times the mean variance of the argument's coordinates as its variance: it
        follows the scale of the layer, so that to compare layers one noise must be given for all.
    noised : "y" or "x"
        The argument that the noise is added to: "y" for I(X;T+eps) by ``estimate(x, t)``, "x" for I(T+eps;Y) by
        ``estimate(t, labels)``.
    draws : int
        Of the noise; value and ends of the interval are means over them. More draws take out the spread of the noise,
        which is in `diagnostics.spread`, and not that of the samples.

    Raises
    ------
    ValueError
        if y is left out, the argument to be noised is discrete, the noise would be lost in rounding, or as the
        estimator

    Notes
    -----
    The noise is fresh for each draw, and set by `seed`. What flags a draw has, the result has.
    Error: that of the estimator, about T + eps. T + eps has as many dimensions as T has coordinates, even where T is a
        curve in them, and neighbours are lost in them sooner than in T itself.
    Wrong when: T has many coordinates (HIGH_DIMENSION) or the noise is small (SATURATED), and X is only to be told, as
        the input of a deterministic layer is: then `GaussianChannel` needs no X and no neighbours.
    Cost: `draws` estimates.
    Source: Elad, Haviv, Blau, Michaeli (2019), "The effectiveness of layer-by-layer training using the information
        bottleneck principle", section 3; Amjad, Geiger (2019), doi:10.1109/TPAMI.2019.2909031, section 5.
    """

    estimator: Estimator = field(default_factory=KSG)
    noise: Noise | Literal["auto"] = "auto"
    noised: Literal["x", "y"] = field(default="y", metadata=WHEN_CHANGED)
    draws: int = field(default=1, metadata=WHEN_CHANGED)

    def __post_init__(self) -> None:
        if not isinstance(self.estimator, Estimator):
            raise ValueError(
                f"estimator={self.estimator!r} is not an estimator: pass one, as Noisy(estimator=KSG(), noise=...)."
            )
        if not isinstance(self.noise, Noise) and not (isinstance(self.noise, str) and self.noise == "auto"):
            raise ValueError(
                f'noise={self.noise!r} is neither a noise nor "auto": pass GaussianNoise(std=...), ZeroEntropyNoise() '
                "or UniformNoise(width=...)."
            )
        require_choice("noised", self.noised, ("x", "y"))
        require_integer("draws", self.draws, 1)

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Estimate what the inner estimator estimates, with noise added to y (or to x, if `noised` says so).

        Parameters
        ----------
        x, y : (n, ...) array-like
        given : (n, ...) array-like     condition on it, where the estimator can
        seed : int or None              of the noise, and passed to the estimator; None is 0

        Returns
        -------
        MIResult
            nats
        """
        started = perf_counter()
        if y is None:
            raise ValueError(
                "Noisy needs y. With y left out the question is I(X; T+eps) with X the identity of the row, which "
                "GaussianChannel(noise=...).estimate(t) answers."
            )
        target = {v.name: v for v in variables(x=x, y=y, given=given)}[self.noised]
        if target.is_discrete:
            raise DataError(
                f"{target.name} is discrete ({target.values.dtype}), and noise is added to a continuous argument: wrap "
                f"counts or pixels in miest.continuous, or name the other argument, noised='{_OTHER[self.noised]}'."
            )
        noise, notes = self._noise(target)
        exact = target.numbers.astype(np.float64)
        largest = float(np.abs(exact).max())
        if largest * np.finfo(np.float64).eps > _ROUNDED * noise.std:
            raise DataError(
                f"{target.name} reaches {largest:.3g}, where float64 cannot hold noise of std={noise.std:.3g}: "
                "subtract the mean of each column first, or raise the noise."
            )
        rng, results = noise_generator(seed), []
        for _ in range(self.draws):
            noisy = exact + noise.sample(exact.shape, rng)
            pair = (noisy, y) if self.noised == "x" else (x, noisy)
            results.append(self.estimator.estimate(*pair, given=given, seed=seed))
        first = results[0]
        intervals = [r.interval for r in results if r.interval is not None]
        ceilings = [r.ceiling for r in results if r.ceiling is not None]
        values = [r.value for r in results]
        return replace(
            first,
            value=statistics.fmean(values),
            estimator=self,
            quantity=_QUANTITIES[self.noised].get(first.quantity, f"{first.quantity}, {self.noised} with noise"),
            interval=_mean_interval(intervals) if len(intervals) == len(results) else None,
            ceiling=statistics.fmean(ceilings) if len(ceilings) == len(results) else None,
            flags=tuple(dict.fromkeys(flag for r in results for flag in r.flags)),
            notes=(*notes, *_notes(results)),
            diagnostics=Diagnostics(
                **{
                    **first.diagnostics,
                    "noise_std": noise.std,
                    "noise_entropy": noise.entropy(target.d),
                    "noised": self.noised,
                    "draws": self.draws,
                    "draw_values": values,
                    "spread": statistics.stdev(values) if self.draws > 1 else None,
                }
            ),
            seconds=perf_counter() - started,
        )

    def _noise(self, target: Variable) -> tuple[Noise, list[str]]:
        """The noise, and what to say of it."""
        if isinstance(self.noise, Noise):
            return self.noise, [f"{self.noise} was added to {target.name}, {self.draws} time(s)."]
        noise = GaussianNoise(std=math.sqrt(_AUTO_VARIANCE) * mean_scale(target))
        note = (
            f"Gaussian noise of std={noise.std:.6g} was added to {target.name}, {self.draws} time(s): its variance is "
            f"{_AUTO_VARIANCE:g} times the mean variance of the coordinates. It follows the scale of the data: to "
            "compare layers, pass one noise for all."
        )
        return noise, [note]


_OTHER = {"x": "y", "y": "x"}


def _mean_interval(intervals: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return statistics.fmean(low for low, _ in intervals), statistics.fmean(high for _, high in intervals)


def _notes(results: Sequence[MIResult]) -> list[str]:
    """Notes of the first draw, and of each later one that has a new flag."""
    notes, flags = list(results[0].notes), set(results[0].flags)
    for k, result in enumerate(results[1:], start=2):
        if not flags.issuperset(result.flags):
            notes += [f"Draw {k}: {note}" for note in result.notes]
            flags.update(result.flags)
    return notes
