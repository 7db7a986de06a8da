"""Information dimension: how the entropy of X in ever smaller cells grows (Renyi 1959)::

d(X) = lim H([X]_m) / ln m = E[local dimension at X],     [X]_m = floor(m X) / m,  m -> infinity

A point mass adds nothing to it: a mixture of point masses and a rest has the dimension of the rest times its share.
"""

import math
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.neighbors import NearestNeighbors

from miest.estimators.dimension import evened
from miest.estimators.estimator import WHEN_CHANGED, Estimator, refuse_given, require_integer
from miest.result import Diagnostics, Flag, MIResult
from miest.samples import variables
from miest.traits import duplicates_doubt

_PARTS = 4

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class InformationDimension(Estimator):
    """Information dimension d of one continuous sample, a number of dimensions and not of nats.

    Parameters
    ----------
    k : int         neighbours at the smallest scale; twice and four times as many are used, too
    level : float   of the interval

    Raises
    ------
    ValueError
        if there are fewer than 8 k + 2 samples or a second argument is given

    Notes
    -----
    Method: the local dimension of a row is (k - 1) / sum ln(r_k / r_j) over its k nearest neighbours, of which the
        inverse is averaged over the row and those neighbours. The means over all rows at k, 2 k and 4 k are
        extrapolated to radius 0, linearly in the square of the mean distance of the k-th neighbour: edges and curvature
        fade so. As in `CorrelationDimension` the largest principal components are made equally large first. Rows that
        occur more than once are point masses, of dimension 0.
    Error: n = 5,000, means of 3 samples: uniform in the cube of 1, 2, 3 dimensions 1.01, 2.01, 3.01; on the flat torus
        of 1 to 6: 1.01, 2.02, 3.06, 4.08, 5.08, 5.85; Henon's map 1.26, known to be 1.26; half a square and half a line
        1.50.
    Wrong when: n is below about 10^(d/2) (SMALL_SAMPLE): the value is too small. Of noise and of rows that follow each
        other in time the same holds as for `CorrelationDimension`.
    Interval: by the spread of the value over four parts of the rows; None below 32 k + 8 samples.
    Cost: O(n log n) in few dimensions, O(n^2 d) otherwise; O(n k) memory.
    Source: Levina, Bickel (2004), Maximum likelihood estimation of intrinsic dimension; Renyi (1959).
    Differs: the mean of local dimensions in place of the entropy of cells, of which far more are needed; both have the
        same limit where every point has a local dimension. The inverse is averaged among neighbours first, which for
        lone rows would be biased upwards.
    """

    k: int = 10
    level: float = field(default=0.95, metadata=WHEN_CHANGED)

    def __post_init__(self) -> None:
        require_integer("k", self.k, 3)
        if not 0 < self.level < 1:
            raise ValueError(f"level={self.level} must be between 0 and 1.")

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Estimate d(X) from one (n, d) sample; y and given must be left out."""
        started = perf_counter()
        refuse_given(self, given)
        if y is not None:
            raise ValueError("InformationDimension takes one sample: leave y out, or join both as columns.")
        least = 8 * self.k + 2
        (sample,) = variables(x=x, at_least=least, needed_by="a dimension")
        alone = sample.symbol_counts[sample.symbols] == 1
        points = np.ascontiguousarray(sample.numbers, np.float64)[alone]
        atoms = 1 - len(points) / sample.n
        doubts = []
        if not sample.varying.any():
            doubts.append((Flag.CONSTANT, f"x has the same value in all {sample.n} samples: dimension 0."))
        elif atoms > 0.01:
            doubts.append(
                (
                    Flag.TIES,
                    f"{atoms:.1%} of the rows occur more than once: they are taken for point masses, of dimension 0. "
                    "For the dimension of what varies, drop them.",
                )
            )
        if len(points) < least:
            # What is left is too little to see a dimension in, and weighs little.
            rest = float(points.shape[1] * (1 - atoms))
            return self._result(0.0, (0.0, rest), math.nan, atoms, [], sample.n, doubts, started)
        points = points - points.mean(0)
        points = evened(points, _extrapolated(points, self.k)[0])
        value, scales = _extrapolated(points, self.k)
        stderr = math.nan
        if len(points) >= _PARTS * least:
            parts = [_extrapolated(points[part::_PARTS], self.k)[0] for part in range(_PARTS)]
            stderr = float(np.std(parts, ddof=1)) / math.sqrt(_PARTS) * (1 - atoms)
        if len(points) < 10 ** (value / 2):
            doubts.append(
                (
                    Flag.SMALL_SAMPLE,
                    f"{len(points)} samples cannot show a dimension of {value:.1f}: that takes "
                    f"{10 ** (value / 2):,.0f} or more, and with fewer the value is too small.",
                )
            )
        doubts += duplicates_doubt((sample,))
        value *= 1 - atoms
        reach = float(ndtri((1 + self.level) / 2)) * stderr
        interval = (value - reach, value + reach) if math.isfinite(reach) else None
        return self._result(value, interval, stderr, atoms, scales, sample.n, doubts, started)

    def _result(
        self,
        value: float,
        interval: tuple[float, float] | None,
        stderr: float,
        atoms: float,
        scales: list[list[float]],
        n: int,
        doubts: list[tuple[Flag, str]],
        started: float,
    ) -> MIResult:
        return MIResult(
            value=value,
            n_samples=n,
            estimator=self,
            quantity="d(X)",
            unit="dimensions",
            interval=interval,
            level=self.level,
            ceiling=2 * math.log10(n),
            flags=tuple(dict.fromkeys(flag for flag, _ in doubts)),
            notes=tuple(note for _, note in doubts),
            diagnostics=Diagnostics(
                stderr=stderr, atoms=atoms, scales=scales, interval_method="four parts of the rows"
            ),
            seconds=perf_counter() - started,
        )


def _extrapolated(points: Array, k: int) -> tuple[float, list[list[float]]]:
    """Mean local dimension at radius 0, and the pairs of mean radius and mean dimension that it was found from."""
    most = 4 * k
    distances, neighbours = NearestNeighbors(n_neighbors=most + 1).fit(points).kneighbors(points)
    log_distance = np.log(np.maximum(distances[:, 1:], np.finfo(np.float64).tiny))  # (n, 4k): without the row itself
    scales = []
    for at in (k, 2 * k, most):
        inverse = (log_distance[:, at - 1 : at] - log_distance[:, : at - 1]).mean(1)  # (n,)
        near = inverse[neighbours[:, : at + 1]].mean(1)
        local = 1 / np.maximum(near, np.finfo(np.float64).tiny)
        scales.append([float(distances[:, at].mean()), float(local.mean())])
    radius, dimension = np.array(scales).T
    return float(np.polyfit((radius / radius[-1]) ** 2, dimension, 1)[1]), scales
