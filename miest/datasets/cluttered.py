"""Digits behind clutter: images with squares on them that tell nothing of the label, a nuisance that is known.

Achille & Soatto (2018), sec. 7.3 and A.3, put ten squares of 4 x 4 pixels on MNIST, at random places of their own in
every image. With `kinds` the squares come in that many fixed patterns instead, so that which clutter an image has is a
label too, of ln(kinds) nats, and what a representation tells of it can be measured as well as what it tells of the
digit.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miest.datasets.images import Name, Split, load
from miest.estimators.estimator import require_integer
from miest.samples import DataError


@dataclass(frozen=True, eq=False, kw_only=True)
class Cluttered:
    """Images with clutter, and what was put on them.

    Parameters
    ----------
    x : (n, height, width) array        the images, in the dtype given
    y : (n,) int64                      their labels
    clutter : (n,) int64                which pattern is on the image: 0, ..., kinds - 1; without kinds, 0, ..., n - 1
    patterns : (m, height, width) bool  the pixels that each pattern covers; ``patterns[clutter]`` is the nuisance image
    corners : (m, squares, 2) int64     row and column of the upper left corner of every square
    """

    x: NDArray[Any]
    y: NDArray[np.int64]
    clutter: NDArray[np.int64]
    patterns: NDArray[np.bool_]
    corners: NDArray[np.int64]


def cluttered(
    x: ArrayLike,
    y: ArrayLike,
    *,
    squares: int = 10,
    size: int = 4,
    kinds: int | None = None,
    value: float | None = None,
    seed: int = 0,
) -> Cluttered:
    """Put squares of one gray value on images, at places that are independent of image and label.

    Parameters
    ----------
    x : (n, height, width) array        are not changed
    y : (n,) integers                   labels
    squares, size : int                 on every image, and their side in pixels; they may overlap
    kinds : int or None                 fixed patterns of squares, one of which each image gets, all equally likely;
                                        None: a new pattern for every image
    value : float or None               of the covered pixels; None: the largest of the images
    seed : int                          fixes the patterns, the same ones for other images of this shape, and who gets
                                        which; the first rows do not depend on how many follow

    Returns
    -------
    Cluttered

    Raises
    ------
    ValueError
        if shapes do not fit, a square is larger than the image, or the value does not fit the dtype of the images

    Notes
    -----
    Source: Achille & Soatto (2018), A.3; `kinds` is miest's own.
    """
    images, labels = np.asarray(x), np.asarray(y)
    if images.ndim != 3 or not images.size:
        raise DataError(f"x has shape {images.shape} and must be (n, height, width), of at least one pixel.")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError(
            f"y of shape {labels.shape}, {labels.dtype}, must be one integer for each of {len(images)} images."
        )
    require_integer("squares", squares, 1)
    require_integer("size", size, 1)
    if kinds is not None:
        require_integer("kinds", kinds, 1)
    height, width = images.shape[1:]
    if size > min(height, width):
        raise ValueError(f"size={size} does not fit into images of {height} x {width} pixels: lower size.")
    gray = np.asarray(images.max() if value is None else value).astype(images.dtype)
    if value is not None and gray != value:
        raise ValueError(f"value={value!r} is no {images.dtype}: pass one that is, or images of floats.")
    of_patterns, of_images = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    n = len(images)
    corners = of_patterns.integers(
        [height - size + 1, width - size + 1], size=(n if kinds is None else kinds, squares, 2), dtype=np.int64
    )
    clutter = np.arange(n) if kinds is None else of_images.integers(kinds, size=n, dtype=np.int64)
    rows, columns = (corners[..., axis, None] + np.arange(size) for axis in (0, 1))  # (m, squares, size)
    patterns = np.zeros((len(corners), height, width), bool)
    which = np.arange(len(corners))[:, None, None, None]
    patterns[which, rows[:, :, :, None], columns[:, :, None, :]] = True
    return Cluttered(
        x=np.where(patterns[clutter], gray, images),
        y=labels.astype(np.int64),
        clutter=clutter,
        patterns=patterns,
        corners=corners,
    )


def cluttered_digits(
    name: Name = "mnist",
    split: Split = "train",
    *,
    n: int | None = None,
    squares: int = 10,
    size: int = 4,
    kinds: int | None = None,
    seed: int = 0,
) -> Cluttered:
    """Digits behind squares: `cluttered` of a data set that `load` knows.

    Parameters
    ----------
    name, split                     as of `miest.datasets.load`; "digits" are 8 x 8 and want smaller squares
    n : int or None                 the first so many images; None: all
    squares, size, kinds, seed      as of `cluttered`; both splits have the same patterns where they come in kinds

    Returns
    -------
    Cluttered

    Raises
    ------
    FileNotFoundError
        if the files are not on this machine
    ValueError
        as `cluttered`
    """
    if n is not None:
        require_integer("n", n, 1)
    x, y = load(name, split)
    return cluttered(x[:n], y[:n], squares=squares, size=size, kinds=kinds, seed=seed)
