"""What sums and counts over all pairs are, in plain NumPy, and points that are hard for them in different ways."""

import numpy as np

RADII = {
    "logarithmic": np.geomspace(0.01, 30, 64),
    "close": [0, 1, 1, 1 + 1e-15, 1 + 1e-12, 1 + 1e-7, np.sqrt(2), 2, 2.0000001, np.inf],
    "wide": np.geomspace(1e-40, 1e40, 50),
    "none": [],
}
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-10}  # of a log-sum


def squares(a, b):
    """Squared distances by differences, float64."""
    out = np.zeros((len(a), len(b)))
    for p, q in zip(a.T.astype(np.float64), b.T.astype(np.float64), strict=True):
        out += (p[:, None] - q) ** 2
    return out


def log_sums(points, variances, labels):
    """Over all points and over those of the own class, (m, n) each."""
    square, same = squares(points, points), labels[:, None] == labels
    sums = [np.exp(-square / (2 * v)) for v in variances]
    return np.log([e.sum(1) for e in sums]), np.log([(e * same).sum(1) for e in sums])


def clouds(n, d, dtype):
    """Points with variances for them."""
    rng = np.random.default_rng(n * 1000 + d)
    normal = rng.standard_normal((n, d))
    yield normal, [0.1 * d, 0.4 * d]
    yield normal, [1e-30, 1.0, 1e30]
    yield normal[rng.integers(0, max(1, n // 3), n)], [1e-6 * d]  # duplicates
    yield 1e6 * (np.arange(n) % 2)[:, None] + normal, [d]  # clusters far apart
    yield normal * 1e-12, [1e-25 * d]
    if dtype == np.float64:
        yield 1e8 + normal, [d]


def pair_counts(points, radii, norm):
    """Unordered pairs below each radius; distances in the dtype of the points, column by column."""
    i, j = np.triu_indices(len(points), 1)
    total = np.zeros(len(i), points.dtype)
    with np.errstate(over="ignore", under="ignore"):
        for column in points.T:
            gap = column[i] - column[j]
            total = np.maximum(total, np.abs(gap)) if norm == "max" else total + gap * gap
    distance = (total if norm == "max" else np.sqrt(total)).astype(np.float64)
    return np.array([(distance < r).sum() for r in radii])
