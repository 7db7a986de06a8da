"""Sums of Gaussian kernels and mixture densities on a CUDA device, with the errors that `gaussian_sums` states.

Sums run in the dtype for one tile of columns and in float64 from there. A point's own kernel is exactly 1. Shares of
the columns are added in their order, so a result depends on the device's number of multiprocessors and on nothing else.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miest_kernels.cuda_device import Device
from miest_kernels.cuda_frame import Frame, checked, moments
from miest_kernels.cuda_pairs import Chunks, Packed, Pairs, Source, opened
from miest_kernels.gaussian_sums import _check_variances, _jobs


def gaussian_log_sums(
    points: Any, variances: Sequence[float], *, device: int | Device | None = None, memory: int | None = None
) -> NDArray[np.float64]:
    """Log of the sum of Gaussian kernels from each point to all points, itself included.

    Parameters
    ----------
    points : (n, d) float32 or float64          on the host or on the device
    variances : m numbers > 0                   of one coordinate
    device, memory                              as for `cuda.Cuda`

    Returns
    -------
    (m, n) float64                              log sum_j exp(-|x_i - x_j|^2 / (2 v)), nats, between 0 and log n

    Raises
    ------
    ImportError
        if there is no CUDA device
    ValueError
        as `gaussian_sums.gaussian_log_sums`

    Notes
    -----
    Error: at most 1e-5 in float32 and 1e-10 in float64, against sums of the given points in exact arithmetic.
    Cost: O(n^2 d) for each variance, once for two with the ratio 4. Memory O(n) beside the points.
    """
    array = checked(points, "points")
    sums = _sums(array, variances, None, device, memory)
    return np.log(sums[0])


def gaussian_log_sums_by_class(
    points: Any,
    variances: Sequence[float],
    labels: NDArray[np.intp],
    *,
    device: int | Device | None = None,
    memory: int | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log of the sum of Gaussian kernels from each point to all points, and to those of its own class.

    Parameters
    ----------
    points, variances, device, memory           as for `gaussian_log_sums`
    labels : (n,) integers                      the class of each point

    Returns
    -------
    total : (m, n) float64                      as `gaussian_log_sums`
    within : (m, n) float64                     the sum over points with the label of i only

    Raises
    ------
    ImportError, ValueError
        as `gaussian_log_sums`, or if labels are not n integers

    Notes
    -----
    Error: as `gaussian_log_sums`. Cost: that, and a second walk over the pairs within classes.
    """
    array = checked(points, "points")
    labels = np.asarray(labels)
    if labels.shape != (len(array),) or labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be {len(array)} integers, got {labels.dtype} of shape {labels.shape}.")
    total, within = _sums(array, variances, labels, device, memory)
    return np.log(np.maximum(total, within)), np.log(within)


def mixture_log_density(
    queries: Any, centers: Any, variance: float, *, device: int | Device | None = None, memory: int | None = None
) -> NDArray[np.float64]:
    """Log density of the equal mixture of the Gaussians N(center_j, variance I) at each query.

    Parameters
    ----------
    queries : (q, d) float32 or float64         on the host or on the device
    centers : (c, d)                            of the same dtype
    variance : number > 0                       of one coordinate
    device, memory                              as for `cuda.Cuda`

    Returns
    -------
    (q,) float64                                log (1/c) sum_j N(query; center_j, variance I), nats

    Raises
    ------
    ImportError
        if there is no CUDA device
    ValueError
        as `gaussian_sums.mixture_log_density`

    Notes
    -----
    Error: at most 1e-5 in float32 and 1e-10 in float64, plus 1e-6 or 1e-14 of |query - nearest center|^2 / (2 v).
    Cost: O(q c d) time, O(q + c) memory beside the points.
    """
    asked, given = checked(queries, "queries"), checked(centers, "centers")
    if asked.dtype != given.dtype or asked.shape[1] != given.shape[1]:
        raise ValueError(
            "queries and centers must share dtype and width, got "
            f"{asked.dtype} {asked.shape} and {given.dtype} {given.shape}."
        )
    _check_variances([variance])
    (q, d), c = asked.shape, len(given)
    logs = np.empty(q)
    with opened(device, [asked, given]) as pairs:
        asked, given = pairs.resident(asked, memory), pairs.resident(given, memory)
        centre, norm, reach = moments(pairs, given, "centers")
        _, far, off = moments(pairs, asked, "queries", centre)
        frame = Frame(pairs, centre, max(norm, far), max(reach, off), variance, variance)
        form = frame.shape("mixture.cu", 2 * pairs.words + (3 if pairs.words == 1 else 10))
        at_once = pairs.rows_at_once(max(q, c), d + 1, 64, memory)
        columns = frame.chunks(given, np.arange(c), at_once)
        for rows in frame.chunks(asked, np.arange(q), at_once):
            count = pairs.shares(form, rows, columns)
            slots = count * form.parts
            states = pairs.session.take(slots * 2 * rows.stride * 8)
            lowest = float(np.finfo(pairs.dtype).min) / 2
            blocks = (rows.stride // form.program["THREADS"], 1, 1)
            pairs.session.launch(form.program, "begin", blocks, (states, slots, rows.stride, lowest))
            for chunk in columns:
                pairs.launch(form, "mixture", rows, chunk, count, frame.scale, states)
            found = pairs.merged(form, rows, states, slots, np.float64)
            logs[rows.rows] = pairs.host(found, rows, np.float64)[0]
            pairs.session.give_back(found)
    return logs * math.log(2) - math.log(c) - d / 2 * math.log(2 * math.pi * variance)


def _sums(
    array: Source,
    variances: Sequence[float],
    labels: NDArray[Any] | None,
    device: int | Device | None,
    memory: int | None,
) -> list[NDArray[np.float64]]:
    """(m, n) sums over all points and, with labels, over those of the own class."""
    _check_variances(variances)
    n, d = array.shape
    order = np.arange(n) if labels is None else np.argsort(labels, kind="stable")
    classes = [None] if labels is None else [None, np.unique(labels[order], return_inverse=True)[1].astype(np.int32)]
    out = [np.empty((len(variances), n)) for _ in classes]
    with opened(device, [array]) as pairs:
        array = pairs.resident(array, memory)
        centre, norm, reach = moments(pairs, array, "points")
        at_once = pairs.rows_at_once(n, d + 1, 128, memory)
        for wide, narrow in zip(*_jobs(variances), strict=True):
            jobs = [wide] if narrow < 0 else [wide, narrow]
            frame = Frame(pairs, centre, norm, reach, variances[wide], variances[jobs[-1]])
            chunks = frame.chunks(array, order, at_once)
            for rows in chunks:
                for kind, sums in zip(classes, out, strict=True):
                    sums[np.ix_(jobs, order[rows.rows])] = _sums_of_rows(pairs, frame, rows, chunks, len(jobs), kind)
            chunks.close()
    return out


def _sums_of_rows(
    pairs: Pairs, frame: Frame, rows: Packed, columns: Chunks, jobs: int, classes: NDArray[np.int32] | None
) -> NDArray[np.float64]:
    """(jobs, rows) sums over all columns, or over those of the row's class."""
    labelled = classes is not None
    state = jobs * (pairs.words + 2) + (3 if pairs.words == 1 else 8)  # an exponential in float64 is a long computation
    form = frame.shape("gaussian.cu", state, PAIRED=jobs - 1, LABELLED=int(labelled))
    count = pairs.shares(form, rows, columns)
    slots = count * form.parts
    partial = pairs.cleared(2 * slots * jobs * rows.stride)
    for chunk in columns:
        if classes is None:
            pairs.launch(form, "gaussian", rows, chunk, count, frame.scale, 0, 0, partial)
            continue
        where = _tiles_of_classes(classes, rows, chunk, form.rows, form.tile)
        tiles = int((where[:, 1] - where[:, 0]).max())
        if tiles:
            spans, own, theirs = pairs.session.uploaded(where), *(_labels(pairs, classes, p) for p in (rows, chunk))
            arguments = (frame.scale, own, theirs, partial)
            pairs.launch(form, "gaussian", rows, chunk, count, *arguments, spans=spans, tiles=tiles)
            for address in (spans, own, theirs):
                pairs.session.give_back(address)
    if frame.products:
        blocks = (rows.stride // form.program["THREADS"], 1, 1)
        itself = (rows.address, rows.stride, rows.stride, rows.dims, frame.scale, partial)
        pairs.session.launch(form.program, "oneself", blocks, itself)
    found = pairs.merged(form, rows, partial, slots, np.float64, jobs)
    sums = np.empty((jobs, rows.stride))
    pairs.session.download(found, sums)
    pairs.session.give_back(found)
    return sums[:, : rows.count]


def _tiles_of_classes(
    classes: NDArray[np.int32], rows: Packed, columns: Packed, rows_of_block: int, tile: int
) -> NDArray[np.int64]:
    """First and last tile of the columns that have a class of each block of rows; classes are sorted."""
    first = np.arange(rows.start, rows.start + rows.stride, rows_of_block)
    last = np.minimum(first + rows_of_block, rows.start + rows.count) - 1
    first = np.minimum(first, last)  # of a block of fillers
    begin = np.searchsorted(classes, classes[first], "left") - columns.start
    end = np.searchsorted(classes, classes[last], "right") - columns.start
    begin, end = np.clip(begin, 0, columns.count), np.clip(end, 0, columns.count)
    return np.stack([begin // tile, np.where(end > begin, -(-end // tile), begin // tile)], axis=1).astype(np.int64)


def _labels(pairs: Pairs, classes: NDArray[np.int32], points: Packed) -> int:
    """Address of the class of each packed point; fillers have none."""
    filled = np.full(points.stride, -1, np.int32)
    filled[: points.count] = classes[points.rows]
    return pairs.session.uploaded(filled)
