"""Information in a Gaussian channel, row by row: what mixtures of the other rows say of a row's noisy copy.

The copy t_i + eps of row i is seen by the mixture of the Gaussians around all rows. Let S_i be the density of the other
rows there, in units of the row's own kernel, which counts 1 itself. Then, in nats,

    in sample        I_n = < ln n - ln(1 + S_i) >       the information in the mixture of these n rows, at most ln n
    new rows         < ln m - ln S_i >, m other rows    a cross-entropy, in expectation above the truth

For the distribution behind the rows the first is too small, as a row always finds itself, and the second too large,
as m kernels are not the true density; to first order by the same amount. The mean of the two is free of that. Where
no other row is near it says nothing, and ends at ln n + 0.577, as the digamma function of nearest neighbours does:

    J_n = < min(ln n - [ln(1 + S_i) + ln S_i - ln(1 - 1/n)] / 2, ln n + 0.577) >

What is left of the bias falls about as 1/n. A row has a J_n among all rows and one among the half it is dealt to, with
the same noise; the line through them in 1/n gives 2 J_n - J_(n/2), the value for the distribution.

Eps and -eps are both used, and what depends on the length of eps alone is taken out by regression: over rows and draws
it is known to average to zero. For a Gaussian t and n -> infinity these two leave no error of eps at all.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from miest_kernels.channel_sums import channel_log_sums

IN_SAMPLE, CORRECTED, LEFT_OUT, HALVES = range(4)
"""Positions in `Mixture.rows`."""

_WIDE = 64  # columns from which on products take the time, and an exponent may lose 1e-3 to take them in float32
_EVALUATIONS = 8192  # of a mixture at a time; where there are fewer rows, several draws of noise go together
_DEALS = 8  # of the rows into halves, if there are as many draws: what a few rows hold depends on the deal


class Mixture(NamedTuple):
    """Information that a noisy row carries about which row it came from, among all rows or those of its class, nats.

    Parameters
    ----------
    rows : (4, draws, n)        I_n, 2 J_n - J_(n/2), of one row left out, and of new rows seen by the other half
    lower, upper : float        pairwise bounds on the mean of the first
    """

    rows: NDArray[np.float64]
    lower: float
    upper: float


class Channel(NamedTuple):
    """What is known of one size of noise.

    Parameters
    ----------
    total : Mixture             of all rows
    within : Mixture or None    of the rows of a class, if there are labels
    lengths : (draws, n)        |eps|^2 of each row's noise, standardised: mean 0, variance 1
    """

    total: Mixture
    within: Mixture | None
    lengths: NDArray[np.float64]


def channel_information(
    t: NDArray[np.floating],
    stds: list[float],
    labels: NDArray[np.intp] | None,
    draws: int,
    rng: np.random.Generator,
) -> list[Channel]:
    """Measure the channel at each size of noise, all with the same draws.

    Parameters
    ----------
    t : (n, d) float32 or float64
    stds : m numbers                of the noise
    labels : (n,) codes 0, 1, ...   of classes
    draws : int                     of the noise of a row, each used with both signs
    rng : Generator                 of the halves and the noise

    Returns
    -------
    list of Channel
        one for each of `stds`
    """
    n, d = t.shape
    codes = np.zeros(n, np.intp) if labels is None else labels
    together = max(1, min(_EVALUATIONS // n, -(-draws // _DEALS)))
    parts: list[list[Channel]] = []
    for start in range(0, draws, together):
        many = min(draws - start, together)
        # Rows of a class in random order, dealt in turn: both halves have their share of each class.
        half, shuffled = np.empty(n, np.intp), rng.permutation(n)
        half[shuffled[np.argsort(codes[shuffled], kind="stable")]] = np.arange(n) % 2
        noise = rng.standard_normal((many, n, d), t.dtype.type)
        lengths = (np.einsum("aij,aij->ai", noise, noise, dtype=np.float64) - d) / math.sqrt(2 * d)
        parts.append(_measure(t, noise, stds, codes, half, lengths, with_classes=labels is not None))
    return [_joined([part[m] for part in parts]) for m in range(len(stds))]


def _measure(
    t: NDArray[np.floating],
    noise: NDArray[np.floating],
    stds: list[float],
    codes: NDArray[np.intp],
    half: NDArray[np.intp],
    lengths: NDArray[np.float64],
    *,
    with_classes: bool,
) -> list[Channel]:
    many, n, d = noise.shape
    kinds, m = (2 if with_classes else 1), len(stds)
    noisy = np.empty((2, kinds, m, 2, many, n))  # by rows of the own half and of the other
    pairs = np.empty((2, 2, kinds, m, n))  # by the two kernels of the bounds, and as above
    sides = [np.flatnonzero(half == side) for side in (0, 1)]
    for rows in sides:
        for other, centers in enumerate(sides if rows is sides[0] else sides[::-1]):
            found = channel_log_sums(
                np.tile(t[rows], (many, 1)),
                noise[:, rows].reshape(-1, d),
                t[centers],
                stds,
                own=None if other else np.tile(np.arange(rows.size), many),
                labels=np.tile(codes[rows], many) if with_classes else None,
                center_labels=codes[centers] if with_classes else None,
                loss=1e-3 if d >= _WIDE else None,
            )
            noisy[other][..., rows] = found.noisy.reshape(kinds, m, 2, many, rows.size)
            for kernel, sums in enumerate((found.near, found.far)):
                pairs[kernel, other][..., rows] = sums[..., : rows.size]
    own_half = np.bincount(half)[half]
    of_class, of_half = np.bincount(codes)[codes], np.bincount(2 * codes + half)[2 * codes + half]
    channels = []
    for k in range(m):
        own, other = np.logaddexp.reduce(noisy[:, :, k], axis=1)
        total = _mixture(own, other, np.logaddexp.reduce(pairs[:, :, :, k], axis=(1, 2)), np.full(n, n), own_half)
        within = None
        if with_classes:
            near_and_far = np.logaddexp.reduce(pairs[:, :, 0, k], axis=1)
            within = _mixture(noisy[0, 0, k], noisy[1, 0, k], near_and_far, of_class, of_half)
        channels.append(Channel(total, within, lengths))
    return channels


def _mixture(
    own: NDArray[np.float64],
    other: NDArray[np.float64],
    pairs: NDArray[np.float64],
    n: NDArray[np.intp],
    own_half: NDArray[np.intp],
) -> Mixture:
    """From the log-sums over the own and the other half, (2 signs, draws, rows), and how many rows each of them has.

    `pairs` (2, rows) are those between the rows themselves, of the upper and of the lower bound.
    """
    others = np.logaddexp(own, other)
    with np.errstate(divide="ignore", invalid="ignore"):  # a class may have one row, and no other to be seen by
        rows = np.stack(
            [
                np.log(n) - np.logaddexp(0, others),
                2 * _corrected(others, n) - _corrected(own, own_half),
                np.log(n - 1) - others,
                np.log(n - own_half) - other,
            ]
        ).mean(axis=1)
    upper, lower = (np.log(n) - np.logaddexp(0, pairs)).mean(axis=1).tolist()
    return Mixture(rows, lower, upper)


def _corrected(others: NDArray[np.float64], n: NDArray[np.intp]) -> NDArray[np.float64]:
    """J_n of each row; a row alone carries nothing."""
    mean = np.log(n) - (np.logaddexp(0, others) + others - np.log1p(-1 / n)) / 2
    return np.where(n == 1, 0.0, np.minimum(mean, np.log(n) + np.euler_gamma))


def _joined(parts: list[Channel]) -> Channel:
    """The draws of all parts; the bounds know no noise, and are those of the first."""

    def joined(mixtures: list[Mixture]) -> Mixture:
        return mixtures[0]._replace(rows=np.concatenate([m.rows for m in mixtures], axis=1))

    within = [part.within for part in parts if part.within is not None]
    return Channel(
        joined([part.total for part in parts]),
        joined(within) if within else None,
        np.concatenate([part.lengths for part in parts]),
    )


def without_length(rows: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., draws, n) with the part that follows the length of the noise, whose mean is zero, taken out."""
    centred = rows - rows.mean(axis=(-2, -1), keepdims=True)
    slope = (centred * lengths).mean(axis=(-2, -1), keepdims=True) / np.mean(lengths**2)
    adjusted: NDArray[np.float64] = rows - slope * lengths
    return adjusted
