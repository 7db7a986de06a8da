"""The 12-bit rule of Shwartz-Ziv & Tishby: words on the sphere, and labels that no rotation changes.

Twelve bits sit on the vertices of an icosahedron, twelve points spread evenly over the sphere. A word is the sum of
unit masses where its bits are 1. With a_lm its coefficients in the spherical harmonics Y_lm, its power in degree l,

    S_l = sum_m |a_lm|^2 = (2 l + 1) / (4 pi) sum_ij x_i x_j P_l(v_i . v_j),

does not change under O(3); P_l is the Legendre polynomial, and the second form is the addition theorem. There are
three distances between vertices, so that S_0, ..., S_3 determine all S_l. They take 64 values over the 4,096 words, as
many as the orbits that the paper counts. The rule is p(y=1|x) = 1 / (1 + exp(-gain (f - threshold))), f linear in S.
"""

from dataclasses import dataclass
from math import log, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS = 12
DEGREES = 4
"""How many of S_0, S_1, ... the rule uses; more would say nothing new."""

_BALANCE = 0.01  # how far the share of words above the threshold may be from one half
_LEAST, _MOST = 1e-6, 0.999 * log(2)  # nats; the entropy of a share within _BALANCE is above the latter


@dataclass(frozen=True, eq=False, kw_only=True)
class BinarySphere:
    """All 12-bit words, a label for each, and the rule that the labels were drawn from.

    Parameters
    ----------
    x : (4096, 12) uint8            all words, in counting order
    y : (4096,) int64               labels 0 and 1, one drawn for each word
    p : (4096,) float64             p(y=1|x)
    mi : float                      I(X;Y) of the rule for words that are equally likely, nats
    f : (4096,) float64             the symmetric function of the word that the rule compares with the threshold
    threshold, gain : float
    points : (12, 3) float64        where the bits are on the sphere
    """

    x: NDArray[np.uint8]
    y: NDArray[np.int64]
    p: NDArray[np.float64]
    mi: float
    f: NDArray[np.float64]
    threshold: float
    gain: float
    points: NDArray[np.float64]


def binary_sphere(seed: int = 0, *, mi: float = 0.99 * log(2)) -> BinarySphere:
    """Labels of all 12-bit words by a random rule that is symmetric on the sphere, with a chosen I(X;Y).

    Parameters
    ----------
    seed : int      fixes the rule and the labels drawn from it
    mi : float      I(X;Y) of the rule, nats; the default is the 0.99 bits of the paper

    Returns
    -------
    BinarySphere

    Raises
    ------
    ValueError
        if mi is not from 1e-6 to 0.999 ln 2, which every nearly balanced rule can reach

    Notes
    -----
    f is a sum of S_0, ..., S_3, each standardised over the words, with normal weights. They are drawn until a threshold
    between two values of f has 49% to 51% of the words above it, so that p(y=1) is near one half; the gain is then
    solved for. At 0.99 bits about one word in 700 has a label other than the likelier one.
    Source: Shwartz-Ziv & Tishby (2017), sec. 3.1, arXiv:1703.00810; the invariants are those of Kazhdan, Funkhouser &
    Rusinkiewicz (2003), Rotation invariant spherical harmonic representation of 3D shape descriptors.
    Differs: the paper publishes neither its f nor its points, so that this is a rule of its kind, not its rule.
    """
    if not _LEAST <= mi <= _MOST:
        raise ValueError(
            f"mi={mi!r} must be from {_LEAST:g} to {_MOST:.4f} nats (0.999 ln 2): labels of a rule that is nearly "
            "balanced carry no more."
        )
    from scipy.optimize import brentq
    from scipy.special import expit

    rng = np.random.default_rng(seed)
    points = icosahedron()
    x = np.unpackbits(np.arange(2**BITS, dtype=">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 16 - BITS :]
    spectrum = power_spectrum(x, points, DEGREES)  # (4096, 4)
    spectrum = (spectrum - spectrum.mean(axis=0)) / spectrum.std(axis=0)
    # Each class once, so that no rounding tells apart words that a rotation turns into each other
    classes, member, sizes = np.unique(spectrum.round(6), axis=0, return_inverse=True, return_counts=True)
    while True:
        value = classes @ rng.standard_normal(DEGREES)  # (64,)
        order = np.argsort(value)
        above = 1 - np.cumsum(sizes[order])[:-1] / len(x)
        cut = int(np.abs(above - 0.5).argmin())
        if abs(above[cut] - 0.5) <= _BALANCE:
            break
    f = value[member.reshape(-1)]
    below, over = value[order[cut : cut + 2]]
    threshold = float(below + over) / 2

    def excess(log_gain: float) -> float:
        return information(expit(np.exp(log_gain) * (f - threshold))) - mi

    flat, step = log(1e-6 / np.ptp(f)), log(100 / (over - below))  # rules of some 1e-13 nats and of a full bit
    gain = float(np.exp(brentq(excess, flat, step, xtol=1e-13)))
    p = expit(gain * (f - threshold))
    return BinarySphere(
        x=x,
        y=(rng.random(len(x)) < p).astype(np.int64),
        p=p,
        mi=information(p),
        f=f,
        threshold=threshold,
        gain=gain,
        points=points,
    )


def power_spectrum(x: Any, points: Any, degrees: int) -> NDArray[np.float64]:
    """Power of masses on the unit sphere in each degree of the spherical harmonics.

    Parameters
    ----------
    x : (n, m) numbers          the masses of n patterns on the same m points
    points : (m, 3) float       unit vectors
    degrees : int               how many, from 0

    Returns
    -------
    (n, degrees) float64        sum_m |a_lm|^2 for l = 0, 1, ..., in the units of x squared
    """
    from scipy.special import eval_legendre

    x, points = np.asarray(x, np.float64), np.asarray(points, np.float64)
    cosines = np.clip(points @ points.T, -1, 1)
    kernels = [(2 * degree + 1) / (4 * pi) * eval_legendre(degree, cosines) for degree in range(degrees)]
    return np.stack([np.einsum("ni,ij,nj->n", x, kernel, x, optimize=True) for kernel in kernels], axis=1)


def icosahedron() -> NDArray[np.float64]:
    """(12, 3) vertices of an icosahedron on the unit sphere."""
    golden = (1 + 5**0.5) / 2
    quarter = np.array([[0, a, b * golden] for a in (-1, 1) for b in (-1, 1)])
    vertices = np.concatenate([np.roll(quarter, shift, axis=1) for shift in range(3)])
    return np.asarray(vertices / np.linalg.norm(vertices[0]))


def information(p: NDArray[np.float64]) -> float:
    """I(X;Y) in nats of p(y=1|x), for x equally likely."""
    from scipy.special import entr

    p_1 = float(p.mean())
    return float(entr(p_1) + entr(1 - p_1) - (entr(p) + entr(1 - p)).mean())
