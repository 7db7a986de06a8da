"""Numbers of pairs of points nearer than each of many radii on a CUDA device: the counts of `correlation`."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miest_kernels.correlation import _layers, _thresholds
from miest_kernels.cuda_device import Device
from miest_kernels.cuda_frame import checked, moments
from miest_kernels.cuda_pairs import Chunks, Pairs, Source, opened
from miest_kernels.cuda_plan import shape

_MOST_KEYS = 1024  # of a histogram in shared memory
_MOST_COLUMNS = 4_000_000  # that a block meets before its 32-bit counts are added up


def correlation_sums(
    points: Any,
    radii: ArrayLike,
    *,
    norm: Literal["euclidean", "max"] = "euclidean",
    device: int | Device | None = None,
    memory: int | None = None,
) -> NDArray[np.int64]:
    """Number of unordered pairs of rows at a distance strictly below each radius.

    Parameters
    ----------
    points : (n, d) float32 or float64          on the host or on the device
    radii : (m,) numbers >= 0, sorted
    norm : "euclidean" or "max"
    device, memory                              as for `cuda.Cuda`

    Returns
    -------
    (m,) int64                                  pairs i < j with distance < r

    Raises
    ------
    ImportError
        if there is no CUDA device
    ValueError
        as `correlation.correlation_sums`

    Notes
    -----
    Error: none; the counts are those of `correlation.correlation_sums`.
    Cost: O(n^2 d) for each layer of radii that lie too close for one histogram; usually there is one.
    """
    array = checked(points, "points")
    limits = np.asarray(radii, np.float64)
    if limits.ndim != 1 or not (limits >= 0).all() or not (np.diff(limits) >= 0).all():
        raise ValueError("radii must be a sorted sequence of numbers >= 0: sort them, and remove NaN.")
    if norm not in ("euclidean", "max"):
        raise ValueError(f"norm must be 'euclidean' or 'max', got {norm!r}.")
    n, counts = len(array), np.zeros(len(limits), np.int64)
    thresholds = _thresholds(limits, array.dtype, norm == "euclidean")
    wanted = np.unique(thresholds[thresholds > 0])  # no distance is below zero
    with opened(device, [array]) as pairs:
        array = pairs.resident(array, memory)
        moments(pairs, array, "points")
        if wanted.size == 0 or n == 1:
            return counts
        edges, shift, base, layer, key = _layers(wanted)
        found = _histograms(pairs, array, edges, shift, base, norm == "euclidean", memory)
    below = (np.cumsum(found, axis=1)[layer, 2 * key] - n) // 2  # each pair was met twice, and each point itself
    inside = thresholds > 0
    counts[inside] = below[np.searchsorted(wanted, thresholds[inside])]
    return counts


def _histograms(
    pairs: Pairs,
    array: Source,
    edges: NDArray[np.floating],
    shift: int,
    base: int,
    euclidean: bool,
    memory: int | None,
) -> NDArray[np.int64]:
    """Ordered pairs below and not below the edge of each key, (layers, 2 keys); none beyond the last edge."""
    (n, d), (layers, keys) = array.shape, edges.shape
    form = shape(
        "histogram.cu", pairs.sizes, pairs.dtype, d, state=4,
        macros={"EUCLIDEAN": int(euclidean), "MOST_KEYS": _MOST_KEYS},
    )  # fmt: skip
    at_once = min(_MOST_COLUMNS, pairs.rows_at_once(n, d, 0, memory))
    chunks = Chunks(pairs.session, n, at_once, lambda start, stop: pairs.pack([array], start, stop))
    there, counts = pairs.session.uploaded(edges), pairs.cleared(4 * layers * keys)
    for rows in chunks:
        count = pairs.shares(form, rows, chunks)
        for chunk in chunks:
            for a in range(layers):
                edge, out = there + a * keys * edges.itemsize, counts + a * 2 * keys * 8
                beyond = float(edges[a].max())
                pairs.launch(form, "histogram", rows, chunk, count, edge, keys, shift, base, beyond, out)
    found = np.empty((layers, 2 * keys), np.uint64)
    pairs.session.download(counts, found)
    return found.astype(np.int64)
