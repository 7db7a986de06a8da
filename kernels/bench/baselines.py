"""What the kernels are timed against: careful code that a user would write by hand, and published packages.

Each function answers the same question as ours on the same arrays, and returns a number that is compared.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import digamma

Array = NDArray[np.floating]
_PAIRS_AT_ONCE = 5_000_000  # of a torch block: fits the last-level cache, found by trial


def _formula(k: int, n: int, n_x: Array, n_y: Array) -> float:
    return float(digamma(k) + digamma(n) - np.mean(digamma(n_x + 1) + digamma(n_y + 1)))


def ksg_scipy(x: Array, y: Array, k: int) -> float:
    """KSG-1 with scipy's KD-tree on all cores; one column counted in the sorted values, by differences."""
    n = len(x)
    joint = np.hstack([x, y])
    radius = cKDTree(joint).query(joint, k=[k + 1], p=np.inf, workers=-1)[0][:, 0]
    return _formula(k, n, *(_counts_sorted(v[:, 0], radius) for v in (x, y)))


def _counts_sorted(values: Array, radius: Array) -> Array:
    """Strict counts of one column: searchsorted, then one step where the rounded limit and the difference disagree."""
    ordered = np.sort(values)
    low = np.searchsorted(ordered, values - radius, side="right")
    high = np.searchsorted(ordered, values + radius, side="left")
    low -= (low > 0) & (np.abs(values - ordered[np.maximum(low - 1, 0)]) < radius)
    low += np.abs(values - ordered[np.minimum(low, len(values) - 1)]) >= radius
    high += (high < len(values)) & (np.abs(ordered[np.minimum(high, len(values) - 1)] - values) < radius)
    high -= np.abs(ordered[high - 1] - values) >= radius
    return high - low - 1


def ksg_scipy_tree_counts(x: Array, y: Array, k: int) -> float:
    """KSG-1 with scipy's KD-tree for the counts, too."""
    n = len(x)
    joint = np.hstack([x, y])
    radius = cKDTree(joint).query(joint, k=[k + 1], p=np.inf, workers=-1)[0][:, 0]
    below = np.nextafter(radius, -np.inf)
    counts = [cKDTree(v).query_ball_point(v, below, p=np.inf, return_length=True, workers=-1) - 1 for v in (x, y)]
    return _formula(k, n, *counts)


def ksg_sklearn(x: Array, y: Array, k: int) -> float:
    """scikit-learn's mutual_info_regression, which is KSG-1 for one column against one column."""
    from sklearn.feature_selection import mutual_info_regression

    return float(mutual_info_regression(x, y[:, 0], n_neighbors=k, random_state=0)[0])


def ksg_torch(x: Array, y: Array, k: int) -> float:
    """KSG-1 over blocks of rows in torch: cdist, topk, strict counts."""
    n = len(x)
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    total = 0.0
    step = max(1, _PAIRS_AT_ONCE // n)
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        dx, dy = torch.cdist(a[rows], a, p=torch.inf), torch.cdist(b[rows], b, p=torch.inf)
        joint = torch.maximum(dx, dy)
        radius = joint.topk(k + 1, dim=1, largest=False).values[:, -1:]  # oneself is the nearest
        n_x, n_y = (dx < radius).sum(dim=1), (dy < radius).sum(dim=1)  # oneself included
        total += float((torch.digamma(n_x.double()) + torch.digamma(n_y.double())).sum())
    return float(digamma(k) + digamma(n) - total / n)


def ksg_npeet(x: Array, y: Array, k: int) -> float:
    """NPEET (the package npeet-plus); it adds jitter of 1e-10."""
    from npeet_plus import mi

    return float(mi(x, y, k=k, base=np.e))


def kde_torch(points: Array, variance: float) -> tuple[float, float]:
    """Both pairwise bounds over blocks of rows in torch: Gram products, one exponential in place, its fourth power."""
    n = len(points)
    t = torch.from_numpy(points)
    t = t - t.mean(dim=0)
    square = (t * t).sum(dim=1)
    upper = lower = 0.0
    step = max(1, _PAIRS_AT_ONCE // (4 * n))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        near = torch.addmm(square[None, :], t[rows], t.T, alpha=-2).add_(square[rows, None])
        near.mul_(-0.125 / variance).exp_()  # oneself gives 1, so that no maximum need be taken out
        lower += float(near.sum(dim=1).log_().double().sum())
        upper += float(near.square_().square_().sum(dim=1).log_().double().sum())
    return float(np.log(n)) - upper / n, float(np.log(n)) - lower / n


def kde_torch_plain(points: Array, variance: float) -> tuple[float, float]:
    """Both pairwise bounds as one writes them down: a thousand rows at a time, Gram products, a logsumexp for each."""
    n = len(points)
    t = torch.from_numpy(points)
    t = t - t.mean(dim=0)
    square = (t * t).sum(dim=1)
    sums = torch.zeros(2, dtype=torch.float64)
    for rows in torch.arange(n).split(1000):
        far = torch.addmm(square[None, :], t[rows], t.T, alpha=-2).add_(square[rows, None])
        for bound, exponent in enumerate((-0.5 / variance, -0.125 / variance)):
            sums[bound] += torch.logsumexp(far * exponent, dim=1).double().sum()
    upper, lower = (float(np.log(n)) - float(each) / n for each in sums)
    return upper, lower


def binned_entropy_numpy(points: Array, low: float, scale: float, bins: int) -> float:
    """The best combination found in NumPy: one cast to bytes, rows viewed as opaque values, unique."""
    codes = np.clip(((points - np.float32(low)) * np.float32(scale)).astype(np.uint8), 0, bins - 1)
    rows = codes.view(np.dtype((np.void, codes.shape[1]))).ravel()
    p = np.unique(rows, return_counts=True)[1] / len(points)
    return float(-(p * np.log(p)).sum())


def correlation_sums_numpy(points: Array, radii: Array) -> NDArray[np.int64]:
    """Gram products over blocks of rows, squared distances placed among the squared radii."""
    n = len(points)
    square = np.einsum("ij,ij->i", points, points)
    limits = (radii**2).astype(points.dtype)
    counts = np.zeros(len(radii) + 1, np.int64)
    for start in range(0, n, 500):
        rows = points[start : start + 500]
        far = square[start : start + 500, None] + square[None, start:] - 2 * rows @ points[start:].T
        place = np.searchsorted(limits, far[np.triu_indices(len(rows), 1, far.shape[1])], side="right")
        counts += np.bincount(place, minlength=len(counts))
    return np.cumsum(counts)[:-1]
