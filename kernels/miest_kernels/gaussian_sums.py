"""Log-sums of Gaussian kernels over all pairs of points, and log densities of mixtures of Gaussians.

For points x_1 .. x_n and a variance v the *log-sum* of row i is

    s_i(v) = log sum_j exp(-|x_i - x_j|^2 / (2 v)),   j = i included, so that s_i >= 0

The upper bound of Kolchinsky and Tracey (2017, doi:10.3390/e19070361) on the entropy of a mixture needs s(v), the
lower one s(4 v), and a conditional entropy the same sums over the points of a class. All of them come from one
pass over the pairs.

The squared distance comes from products of centred points, |x|^2 + |y|^2 - 2 x.y, which is as fast as a matrix
product, as long as the digits that cancel there cannot exceed the stated error, else from differences. The
choice depends on the data and the smallest variance alone.
"""

import math
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from miest_kernels.cpu_gaussian import Frame, mixture_block, moments, pack_right, pair_block
from miest_kernels.cpu_pair_tile import GROUP, frozen, panel
from miest_kernels.plan import map_rows
from miest_kernels.registry import prefers_cuda

_TASKS = 24  # ranges of about equally many pairs; part of the definition of the last bits of a sum
_BYTES_OF_PARTS = 64 * 2**20  # partial sums held at a time; changes no result
_CANCELLATION = 0.4  # of the error a product of d columns may lose; see the test of both sides of the switch
_BYTES_OF_COPY = 64 * 2**20  # points up to this size are held twice; changes no result


def gaussian_log_sums(
    points: NDArray[np.floating], variances: Sequence[float], *, on_device: bool = False
) -> NDArray[np.float64]:
    """Log of the sum of Gaussian kernels from each point to all points, itself included.

    Parameters
    ----------
    points : (n, d) float32 or float64
    variances : m numbers > 0       of one coordinate
    on_device : bool                whether the points live on a CUDA device, which then sums them if it can; so does
                                    one that is there where the work is long

    Returns
    -------
    (m, n) float64                  log sum_j exp(-|x_i - x_j|^2 / (2 v)), nats, between 0 and log n

    Raises
    ------
    ValueError
        if points are not (n, d) float32 or float64 and finite, or a variance is not finite and positive

    Notes
    -----
    Error: at most 1e-5 in float32 and 1e-10 in float64, against sums of the given points in exact arithmetic.
    Far from zero, float32 points have lost digits before they come here. The same bits for any number of
    threads or workers.
    Cost: O(n^2 d) for the distances, once, and O(n^2) exponentials a variance; two variances with the ratio 4 cost
    one. Memory O(n m) beside the points.
    """
    if _on_cuda(points, variances, on_device):
        from miest_kernels import cuda_sums

        return cuda_sums.gaussian_log_sums(points, variances)
    labels = np.zeros(len(points), np.intp)
    sums: NDArray[np.float64] = np.log(_sums(points, variances, labels)[0])
    return sums


def gaussian_log_sums_by_class(
    points: NDArray[np.floating], variances: Sequence[float], labels: NDArray[np.intp], *, on_device: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log of the sum of Gaussian kernels from each point to all points, and to those of its own class.

    Parameters
    ----------
    points : (n, d) float32 or float64
    variances : m numbers > 0       of one coordinate
    labels : (n,) integers          the class of each point
    on_device : bool                as for `gaussian_log_sums`

    Returns
    -------
    total : (m, n) float64          as `gaussian_log_sums`
    within : (m, n) float64         the sum over points with the label of i only

    Raises
    ------
    ValueError
        as `gaussian_log_sums`, or if labels are not n integers

    Notes
    -----
    Error and cost: as `gaussian_log_sums`; both answers come from one pass over the pairs, in which few tiles
    meet more than one class, because points are visited class by class.
    """
    labels = np.asarray(labels)
    if labels.shape != (len(points),) or labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be {len(points)} integers, got {labels.dtype} of shape {labels.shape}.")
    if _on_cuda(points, variances, on_device):
        from miest_kernels import cuda_sums

        return cuda_sums.gaussian_log_sums_by_class(points, variances, labels)
    sums = _sums(points, variances, labels.astype(np.intp))
    within = sums[0]
    return np.log(within + sums[1] if len(sums) == 2 else within), np.log(within)


def mixture_log_density(
    queries: NDArray[np.floating], centers: NDArray[np.floating], variance: float
) -> NDArray[np.float64]:
    """Log density of the equal mixture of the Gaussians N(center_j, variance I) at each query.

    Parameters
    ----------
    queries : (q, d) float32 or float64
    centers : (c, d)                of the same dtype
    variance : number > 0           of one coordinate

    Returns
    -------
    (q,) float64                    log (1/c) sum_j N(query; center_j, variance I), nats

    Raises
    ------
    ValueError
        if queries or centers are not finite float32 or float64 of one width, or the variance is not positive

    Notes
    -----
    Error: at most 1e-5 in float32 and 1e-10 in float64, plus 1e-6 or 1e-14 of |query - nearest center|^2 / (2 v):
    the largest term is found first, so no query is too far away.
    Cost: O(q c d) time, O(q + c) memory beside the points.
    """
    for name, array in (("queries", queries), ("centers", centers)):
        check_points(array, name)
    if queries.dtype != centers.dtype or queries.shape[1] != centers.shape[1]:
        raise ValueError(
            "queries and centers must share dtype and width, got "
            f"{queries.dtype} {queries.shape} and {centers.dtype} {centers.shape}."
        )
    _check_variances([variance])
    queries, centers = frozen(queries), frozen(centers)
    centre, norm, reach = moments(centers)
    far, off = farthest(queries, centre)
    frame = _frame(queries, variance, centre, max(norm, far), max(reach, off))
    order = np.arange(max(len(queries), len(centers)), dtype=np.intp)
    scale = _scales([variance], frame, queries.dtype)[0]
    rights = right_sides(centers, order, frame)
    parts = map_rows(mixture_block, len(queries), 4 * GROUP, queries, centers, rights, order, frame, scale)
    width = queries.shape[1] / 2 * math.log(2 * math.pi * variance)
    logs: NDArray[np.float64] = np.concatenate(parts) * math.log(2) - math.log(len(centers)) - width
    return logs


def _on_cuda(points: NDArray[np.floating], variances: Sequence[float], on_device: bool) -> bool:
    if points.ndim != 2 or points.dtype not in (np.float32, np.float64):  # which is refused in a moment
        return False
    pair_dims = float(len(points)) ** 2 * (points.shape[1] + 20 * len(variances))  # an exponential is as long as 20
    return prefers_cuda(pair_dims / 4e10 / (os.cpu_count() or 1), pair_dims, on_device=on_device)


def _sums(points: NDArray[np.floating], variances: Sequence[float], labels: NDArray[np.intp]) -> NDArray[np.float64]:
    """(kinds, m, n) sums within classes and, where there are two kinds, between classes."""
    check_points(points, "points")
    _check_variances(variances)
    points, n = frozen(points), len(points)
    order = np.argsort(labels, kind="stable").astype(np.intp)
    labels = labels[order]
    frame = _frame(points, min(variances), *moments(points))
    wide, narrow = _jobs(variances)
    scales = _scales([variances[w] for w in wide], frame, points.dtype)
    rights = right_sides(points, order, frame)
    kinds = 1 if labels[0] == labels[-1] else 2
    sums = np.zeros((kinds, len(variances), n))
    spans = pair_spans(-(-n // GROUP))
    at_once = max(8, _BYTES_OF_PARTS // max(1, sums.nbytes))
    for start in range(0, len(spans) - 1, at_once):
        shared = (spans[start : start + at_once + 1], points, rights, order, labels, frame, scales, wide, narrow)
        parts = map_rows(pair_block, len(shared[0]) - 1, 1, *shared)
        for first, part in zip(shared[0], parts, strict=False):  # in order, so that rounding is too
            sums[:, :, first * GROUP :] += part[:, :, : n - first * GROUP]
    out = np.empty_like(sums)
    out[:, :, order] = sums
    return out


def pair_spans(groups: int) -> NDArray[np.intp]:
    """Borders of ranges of groups with about equal numbers of pairs; the first meet the most later groups."""
    done = np.concatenate([[0], np.cumsum(np.arange(groups, 0, -1))])
    borders = np.searchsorted(done, np.linspace(0, done[-1], min(groups, _TASKS) + 1))
    return np.unique(borders).astype(np.intp)


def _jobs(variances: Sequence[float]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pair each variance with one that is exactly a quarter of it, whose kernel is its fourth power; else -1."""
    wide, narrow, taken = [], [], set()
    for w in np.argsort(variances)[::-1]:
        if w in taken:
            continue
        quarters = [q for q, v in enumerate(variances) if q not in taken and 4 * v == variances[w]]
        taken |= {w, *quarters[:1]}
        wide.append(w)
        narrow.append(quarters[0] if quarters else -1)
    return np.array(wide, np.intp), np.array(narrow, np.intp)


def _frame(
    points: NDArray[np.floating],
    variance: float,
    centre: NDArray[np.float64],
    norm: float,
    reach: float,
) -> Frame:
    """Choose products or differences, and a power of two as the unit, which keeps every bit."""
    single = points.dtype == np.float32
    # Error of a product: about d roundings of a sum that grows to the squared norm, in units of the variance.
    error = _CANCELLATION * math.sqrt(points.shape[1] + 8) * (2.0**-24 if single else 2.0**-53) * norm / variance
    unit = math.ldexp(1.0, -math.frexp(reach)[1]) if reach > 0 else 1.0
    return Frame(gram=error <= (1e-5 if single else 1e-10), centre=centre, unit=unit)


def right_sides(points: NDArray[np.floating], order: NDArray[np.intp], frame: Frame) -> NDArray[np.floating]:
    """The right sides of all tiles, if they are small; else nothing, and each block makes its own."""
    if points.nbytes > _BYTES_OF_COPY:
        return np.empty((0, 1, 1, 1), points.dtype)
    packed: NDArray[np.floating] = pack_right(
        points, frozen(order), frame.gram, frozen(frame.centre), frame.unit, panel(points.dtype)
    )
    return packed


def _scales(variances: Sequence[float], frame: Frame, dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
    """Factors that turn a value of a tile into the base-2 exponent of its kernel; finite and not zero."""
    kind = np.finfo(dtype)
    factor = math.log2(math.e) * frame.unit**-2
    with np.errstate(over="ignore"):
        size = factor / np.asarray(variances, np.float64)
    size = np.clip(size, float(kind.tiny), float(kind.max) / 2).astype(dtype)
    return size if frame.gram else size / 2


def farthest(points: NDArray[np.floating], centre: NDArray[np.float64]) -> tuple[float, float]:
    """Largest squared distance of a row from the centre, and the largest of a coordinate."""
    norm = reach = 0.0
    for start in range(0, len(points), 4096):
        gap = points[start : start + 4096] - centre
        norm = max(norm, float(np.einsum("ij,ij->i", gap, gap).max()))
        reach = max(reach, float(np.abs(gap).max()))
    return norm, reach


def check_points(points: NDArray[np.floating], name: str) -> None:
    """Raise unless points are (n, d) float32 or float64 and finite."""
    if points.ndim != 2 or 0 in points.shape or points.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} must be (n, d) float32 or float64 with n, d >= 1, got {points.dtype} {points.shape}.")
    if not all(np.isfinite(points[i : i + 4096]).all() for i in range(0, len(points), 4096)):
        raise ValueError(f"{name} hold NaN or infinity: remove those rows first.")


def _check_variances(variances: Sequence[float]) -> None:
    if len(variances) == 0 or not all(math.isfinite(v) and v > 0 for v in variances):
        raise ValueError(f"variances must be finite and positive, and at least one, got {list(variances)}.")
