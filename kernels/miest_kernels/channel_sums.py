"""Log-sums of the kernels of a Gaussian channel: how much of a noisy point's density is due to each other center.

A point t_i is sent through a channel that adds noise s e_i. In a mixture of equal Gaussians N(c_j, s^2 I) the density
of what comes out, in units of the kernel of t_i itself, needs

    L_i(s, +-) = log sum_j exp(-|t_i - c_j|^2 / (2 s^2) -+ e_i . (t_i - c_j) / s)

as |t_i + s e_i - c_j|^2 - |s e_i|^2 = |t_i - c_j|^2 + 2 s e_i . (t_i - c_j). Nothing here grows with the length of
the noise, so a center at t_i has the exponent 0 whatever d is; and the two products do not depend on s, so one pass
serves any number of sizes and both signs of the noise. The sums between centers, of the pairwise bounds, come with it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from miest_kernels.cpu_channel import channel_block
from miest_kernels.cpu_gaussian import Frame, moments
from miest_kernels.cpu_pair_tile import GROUP, frozen
from miest_kernels.gaussian_sums import check_points, farthest, right_sides
from miest_kernels.plan import map_rows

_ROWS = GROUP  # of a task, whose left sides stay in cache; changes no result
_EXPONENTIALS = 64  # cost of a pair beside its products, in products
_WORK = 2**22  # products or so, below which rows are not worth a task of their own; changes no result
_CANCELLATION = 0.4  # of the error a product of d columns may lose, as in gaussian_sums
_LOSS = {np.dtype(np.float32): 1e-3, np.dtype(np.float64): 1e-10}  # of an exponent, unless the caller says otherwise


class ChannelSums(NamedTuple):
    """Log-sums over centers, nats; minus infinity over none.

    Parameters
    ----------
    noisy : (kinds, m, 2, n) float64    L_i(s, +) and L_i(s, -)
    near : (kinds, m, n) float64        log sum_j exp(-|t_i - c_j|^2 / (2 s^2)), not below -80
    far : (kinds, m, n) float64         the same with four times the variance

    With labels there are two kinds, centers of the own class and those of the others; else one.
    """

    noisy: NDArray[np.float64]
    near: NDArray[np.float64]
    far: NDArray[np.float64]


def channel_log_sums(
    points: NDArray[np.floating],
    noise: NDArray[np.floating],
    centers: NDArray[np.floating],
    stds: Sequence[float],
    *,
    own: NDArray[np.intp] | None = None,
    labels: NDArray[np.intp] | None = None,
    center_labels: NDArray[np.intp] | None = None,
    loss: float | None = None,
) -> ChannelSums:
    """Log-sums of the kernels of all centers at each point moved by noise, both ways, for several sizes of noise.

    Parameters
    ----------
    points : (n, d) float32 or float64
    noise : (n, d)                  e, of standard deviation 1 in every coordinate
    centers : (c, d)                of the dtype of the points
    stds : m numbers > 0            s, of one coordinate
    own : (n,) integers             the center that the sum of a point leaves out; -1 or None: none
    labels : (n,) integers          the class of each point; with `center_labels` (c,), that of each center
    loss : float                    of an exponent by rounding, that is allowed; None: 1e-3 for float32, else 1e-10

    Returns
    -------
    ChannelSums

    Raises
    ------
    ValueError
        if an array is not finite or does not fit the others, or a size is not finite and positive

    Notes
    -----
    Error of a sum: `loss`, and 1e-14 of its largest exponent (1e-6 in float32). Whatever the dtype of the points,
    products of float32 are taken where they keep to that, else of float64, else differences, as for clusters far
    apart. Losses have no common sign, and go in a mean. The same bits for any number of threads or workers.
    Cost: O(n c d) for the two products, and O(n c) exponentials a size. Memory O(n m) beside the points.
    """
    for name, array in (("points", points), ("noise", noise), ("centers", centers)):
        check_points(array, name)
    if not (points.dtype == centers.dtype and noise.shape == points.shape and centers.shape[1] == points.shape[1]):
        raise ValueError(
            "points, noise and centers must fit, with points and centers of one dtype, got "
            f"{points.dtype} {points.shape}, {noise.shape} and {centers.dtype} {centers.shape}."
        )
    if len(stds) == 0 or not all(s > 0 and 0 < s * s < math.inf for s in stds):
        raise ValueError(f"stds must be positive, with finite squares, and at least one, got {list(stds)}.")
    own = np.full(len(points), -1) if own is None else own
    if (labels is None) != (center_labels is None):
        raise ValueError("labels and center_labels go together: pass both or neither.")
    kinds = 1 if labels is None else 2
    labels = np.zeros(len(points), np.intp) if labels is None else labels
    center_labels = np.zeros(len(centers), np.intp) if center_labels is None else center_labels
    for name, codes, size in (("own", own, len(points)), ("labels", labels, len(points)),
                              ("center_labels", center_labels, len(centers))):  # fmt: skip
        if codes.shape != (size,) or codes.dtype.kind not in "iu":
            raise ValueError(f"{name} must be {size} integers, got {codes.dtype} of shape {codes.shape}.")
    rows, columns = (np.argsort(codes, kind="stable") for codes in (labels, center_labels))
    place = np.empty(len(centers) + 1, np.intp)
    place[columns], place[-1] = np.arange(len(centers)), -1
    points, noise, centers = _sorted(points, rows), _sorted(noise, rows), _sorted(centers, columns)
    points, centers, frame = _framed(points, noise, centers, min(stds), loss)
    noise = noise.astype(points.dtype, copy=False)
    order = np.arange(max(len(points), len(centers)), dtype=np.intp)
    along, across = _scales(np.asarray(stds, np.float64), frame, points.dtype)
    shared = (
        points, noise, place[own[rows]], labels[rows].astype(np.intp), centers,
        center_labels[columns].astype(np.intp), right_sides(centers, order, frame), order, frame, along, across, kinds,
    )  # fmt: skip
    rows_of_task = _ROWS * max(1, _WORK // (_ROWS * len(centers) * (points.shape[1] + _EXPONENTIALS)))
    parts = map_rows(channel_block, len(points), rows_of_task, *shared)
    back = np.empty_like(rows)
    back[rows] = np.arange(len(rows))
    logs = np.concatenate([part[0] for part in parts], axis=-1)[..., back]
    with np.errstate(divide="ignore"):
        pairs = np.log(np.concatenate([part[1] for part in parts], axis=-1)[..., back])
    return ChannelSums(noisy=logs * math.log(2), near=pairs[:, :, 1], far=pairs[:, :, 0])


def _sorted(points: NDArray[np.floating], order: NDArray[np.intp]) -> NDArray[np.floating]:
    return frozen(points if (np.diff(order) > 0).all() else points[order])


def _framed(
    points: NDArray[np.floating],
    noise: NDArray[np.floating],
    centers: NDArray[np.floating],
    std: float,
    allowed: float | None,
) -> tuple[NDArray[np.floating], NDArray[np.floating], Frame]:
    """Choose the dtype, products or differences, and a power of two as the unit, which keeps every bit."""
    centre, norm, reach = moments(centers)
    far, off = farthest(points, centre)
    norm, reach = max(norm, far), max(reach, off)
    longest = math.sqrt(farthest(noise, np.zeros(noise.shape[1]))[0])
    allowed = _LOSS[points.dtype] if allowed is None else allowed
    # Error of a product: about d roundings of a sum as large as the lengths multiplied.
    size = math.sqrt(norm) / std
    roundings = _CANCELLATION * math.sqrt(points.shape[1] + 8) * size * max(size, longest)
    unit = math.ldexp(1.0, -math.frexp(reach)[1]) if reach > 0 else 1.0
    single = roundings * 2.0**-24 <= allowed
    gram = single or roundings * 2.0**-53 <= allowed
    dtype = np.float32 if single else np.float64
    if points.dtype != dtype:
        # Far from zero the digits of float64 are in the differences to the centre.
        points, centers = (frozen((a - centre if single else a).astype(dtype)) for a in (points, centers))
        centre = np.zeros_like(centre) if single else centre
    return points, centers, Frame(gram=gram, centre=centre, unit=unit)


def _scales(
    stds: NDArray[np.float64], frame: Frame, dtype: np.dtype[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Factors that turn values of the two tiles into base-2 exponents; finite and not zero."""
    kind = np.finfo(dtype)
    with np.errstate(over="ignore", under="ignore"):
        across = 1 / (stds * frame.unit)
        along = across * across if frame.gram else across * across / 2
    # The factor of squares is divided by four once more.
    along, across = (np.clip(f * math.log2(math.e), 4 * kind.tiny, kind.max / 2) for f in (along, across))
    return frozen(along.astype(dtype)), frozen(across.astype(dtype))
