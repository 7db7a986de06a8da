"""Pairs of handwritten digits whose information is that of their classes.

X and Y are images drawn independently given a label. An image shows its class, since no two classes share one, so
I(X;Y) is the information between the labels: ln m where they are equal, a binary channel's where bits are flipped.
"""

from functools import lru_cache, partial
from math import log

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from miest.tasks.discrete import coin_entropy
from miest.tasks.task import Sample, Task

_LEE = "Lee & Rhee (2024), A benchmark suite for evaluating neural mutual information estimators, NeurIPS"


def digit_pairs(classes: int = 10, *, name: str | None = None) -> Task:
    """Two 8 x 8 digits of the same class: I = ln m for m equally likely classes.

    Parameters
    ----------
    classes : int       the digits 0..m-1, m from 2 to 10

    Raises
    ------
    ValueError
        if m is not in 2..10

    Notes
    -----
    Images are drawn with replacement from about 180 a class, as 64 floats in [0, 1]; pixels are multiples of 1/16, and
    rows repeat. Source: Lee & Rhee (2024), with the digits that come with scikit-learn.
    """
    if not 2 <= classes <= 10:
        raise ValueError(f"classes={classes}: there are 10 digits, and 2 or more are needed.")
    return Task(
        name=name or f"digit-pairs-{classes}",
        mi=log(classes),
        dims=(64, 64),
        kind="mixed",
        family="digits",
        source=_LEE,
        draw=partial(_same_class, classes=classes),
    )


def digit_bits(bits: int, flip: float = 0.0, *, name: str | None = None) -> Task:
    """K images of zeros and ones side by side, against k images of the same bits after a binary symmetric channel.

    I = k [ln 2 - H(e)], H the entropy of a coin; X and Y have 64 k columns.

    Parameters
    ----------
    bits : int          k >= 1
    flip : float        e, the probability that a bit is flipped

    Raises
    ------
    ValueError
        if k < 1 or e is not a probability

    Notes
    -----
    Source: Lee & Rhee (2024).
    """
    if bits < 1 or not 0 <= flip <= 1:
        raise ValueError(f"bits={bits}, flip={flip}: at least 1 bit and a probability are needed.")
    return Task(
        name=name or f"digit-bits-{bits}x{flip:g}",
        mi=max(0.0, bits * (log(2) - coin_entropy(flip))),
        dims=(64 * bits, 64 * bits),
        kind="mixed",
        family="digits",
        source=_LEE,
        draw=partial(_bit_images, bits=bits, flip=float(flip)),
    )


@lru_cache(maxsize=1)
def digits_by_class() -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """(1797, 64) images in [0, 1] sorted by class, (10,) first row of each class, (10,) images of each class."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=10)
    images = np.asarray(images[order] / 16.0)
    images.setflags(write=False)  # shared by all callers
    return images, np.cumsum(counts) - counts, counts


def _drawn(labels: NDArray[np.integer], rng: Generator) -> NDArray[np.float64]:
    """One image for each label; the shape of labels, and 64."""
    images, first, counts = digits_by_class()
    return np.asarray(images[first[labels] + rng.integers(counts[labels])])


def _same_class(n: int, rng: Generator, *, classes: int) -> Sample:
    labels = rng.integers(classes, size=n)
    return Sample(x=_drawn(labels, rng), y=_drawn(labels, rng))


def _bit_images(n: int, rng: Generator, *, bits: int, flip: float) -> Sample:
    sent = rng.integers(2, size=(n, bits))
    received = sent ^ (rng.random((n, bits)) < flip)
    return Sample(x=_drawn(sent, rng).reshape(n, -1), y=_drawn(received, rng).reshape(n, -1))
