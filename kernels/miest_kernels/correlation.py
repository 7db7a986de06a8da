"""Numbers of pairs of points nearer than each of many radii, from one pass over the pairs.

Divided by n (n - 1) / 2 they are the correlation sum of Grassberger and Procaccia (1983,
doi:10.1103/PhysRevLett.50.346), C(r), whose slope in log r is the correlation dimension.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miest_kernels.cpu_correlation import count_block
from miest_kernels.cpu_gaussian import pack_right
from miest_kernels.cpu_pair_tile import GROUP, frozen, panel
from miest_kernels.gaussian_sums import check_points, pair_spans
from miest_kernels.plan import map_rows

_KEYS = 1024  # places of a histogram: fits the first-level cache; changes no result
_BYTES_OF_COPY = 64 * 2**20  # points up to this size are held twice; changes no result


def correlation_sums(
    points: NDArray[np.floating], radii: ArrayLike, *, norm: Literal["euclidean", "max"] = "euclidean"
) -> NDArray[np.int64]:
    """Number of unordered pairs of rows at a distance strictly below each radius.

    Parameters
    ----------
    points : (n, d) float32 or float64
    radii : (m,) numbers >= 0, sorted
    norm : "euclidean" or "max"

    Returns
    -------
    (m,) int64                      pairs i < j with distance < r; at most n (n - 1) / 2

    Raises
    ------
    ValueError
        if points are not (n, d) float32 or float64 and finite, radii are not sorted or negative, or the norm is
        unknown

    Notes
    -----
    Error: none. A distance is computed in the dtype of the points: per column one subtraction and one square, added
    in the order of the columns, then one square root, each rounded once; for "max" one subtraction and one maximum.
    That number is compared with the radius as float64. So the counts are those of the same lines in NumPy, on any
    processor and with any number of threads. A squared distance that overflows is beyond every radius.
    Cost: O(n^2 d) time, nearly independent of the number of radii; O(1) memory beside the points, which are held
    twice up to 64 MiB.
    """
    check_points(points, "points")
    points = frozen(points)
    limits = np.asarray(radii, np.float64)
    if limits.ndim != 1 or not (limits >= 0).all() or not (np.diff(limits) >= 0).all():
        raise ValueError("radii must be a sorted sequence of numbers >= 0: sort them, and remove NaN.")
    if norm not in ("euclidean", "max"):
        raise ValueError(f"norm must be 'euclidean' or 'max', got {norm!r}.")
    thresholds = _thresholds(limits, points.dtype, norm == "euclidean")
    counts = np.zeros(len(limits), np.int64)
    wanted = np.unique(thresholds[thresholds > 0])  # no distance is below zero
    if len(wanted) == 0 or len(points) == 1:
        return counts
    edges, shift, base, layer, key = _layers(wanted)
    spans = pair_spans(-(-len(points) // GROUP))
    order = frozen(np.arange(len(points)))
    rights = np.empty((0, 1, 1, 1), points.dtype)
    if points.nbytes <= _BYTES_OF_COPY:
        centre = frozen(np.zeros(points.shape[1]))
        rights = pack_right(points, order, False, centre, 1.0, panel(points.dtype))
    shared = (spans, points, rights, order, norm == "max", edges, shift, base)
    histogram = np.sum(map_rows(count_block, len(spans) - 1, 1, *shared), axis=0)  # (layers, 2 keys)
    below = np.cumsum(histogram, axis=1)[layer, 2 * key]
    inside = thresholds > 0
    counts[inside] = below[np.searchsorted(wanted, thresholds[inside])]
    return counts


def _thresholds(limits: NDArray[np.float64], dtype: np.dtype[np.floating], squared: bool) -> NDArray[np.floating]:
    """Smallest value of a tile whose distance is not below the radius, found by bisection over its bits."""
    whole = np.int32 if dtype == np.float32 else np.int64
    low = np.full(len(limits), -1, np.int64)  # the distance of these bits is below the radius
    high = np.full(len(limits), int(np.array(np.inf, dtype).view(whole)), np.int64)  # of these it is not
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        value = np.maximum(middle, 0).astype(whole).view(dtype)
        distance = np.sqrt(value) if squared else value
        reached = (distance.astype(np.float64) >= limits) & (middle >= 0)
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return high.astype(whole).view(dtype)


def _layers(
    wanted: NDArray[np.floating],
) -> tuple[NDArray[np.floating], int, int, NDArray[np.intp], NDArray[np.intp]]:
    """Edges (layers, keys), the shift and base of the keys, and the layer and key of each threshold."""
    bits = wanted.view(np.int32 if wanted.dtype == np.float32 else np.int64).astype(np.int64)
    most = 20 if wanted.dtype == np.float32 else 49  # bits of a key that are dropped: 8 keys an octave at least
    shift = most
    while len(np.unique(bits >> shift)) < len(bits) and (bits[-1] >> (shift - 1)) - (bits[0] >> (shift - 1)) < _KEYS:
        shift -= 1
        if shift == 0:
            break
    while (bits[-1] >> shift) - (bits[0] >> shift) >= _KEYS:
        shift += 1
    base = int(bits[0] >> shift)
    key = (bits >> shift) - base
    first = np.searchsorted(key, key)  # the first threshold of the same key
    layer = np.arange(len(key)) - first
    edges = np.full((int(layer.max()) + 1, int(key[-1]) + 1), np.inf, wanted.dtype)
    edges[layer, key] = wanted
    return edges, shift, base, layer.astype(np.intp), key.astype(np.intp)
