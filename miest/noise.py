"""Noise that makes the information in a deterministic layer finite: a sampler, a standard deviation, an entropy.

The noise is part of the quantity I(X; T+eps): it is added to measure T, not to train or to use the network, and two
values can be compared only where their noise is the same. Coordinates are independent, with mean zero.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from miest.samples import DataError, Variable, variable

_STREAM = 0x6E6F697365  # a spawn key that nobody else has


class Noise(ABC):
    """A distribution of independent additive noise; subclasses are frozen keyword-only dataclasses."""

    std: float
    """Standard deviation of a coordinate, in the units of what it is added to."""

    @abstractmethod
    def sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
        """Independent draws of the given shape."""

    @abstractmethod
    def entropy(self, d: int = 1) -> float:
        """Differential entropy of d coordinates, nats."""


class _Gaussian(Noise):
    def sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
        return rng.normal(0.0, self.std, shape)

    def entropy(self, d: int = 1) -> float:
        return d * (0.5 * math.log(2 * math.pi * math.e) + math.log(self.std))


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(_Gaussian):
    """Gaussian noise, the same in every coordinate.

    Parameters
    ----------
    std : float     standard deviation of a coordinate, in the units of the layer

    Raises
    ------
    ValueError
        if std is not positive and finite
    """

    std: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", _positive("std", self.std, "the standard deviation of a coordinate"))

    @classmethod
    def relative(cls, t: Any, share: float = 0.1) -> Self:
        """Noise of a share of the size of a layer: its root mean variance over the coordinates.

        Make it once, of one layer or of all of them side by side, and use it for all that is to be compared.

        Parameters
        ----------
        t : (n, ...) array-like     activations
        share : float               std of the noise over the root mean square of the standard deviations of t

        Raises
        ------
        ValueError
            if share is not positive, or t does not vary
        """
        share, layer = _positive("share", share, "the noise in units of the layer"), variable(t, "t")
        if not layer.varying.any():
            raise DataError(f"t has the same value in all {layer.n} samples: noise relative to it would be none.")
        return cls(std=share * mean_scale(layer))


@dataclass(frozen=True, kw_only=True)
class ZeroEntropyNoise(_Gaussian):
    """Gaussian noise of variance 1 / (2 pi e), whose differential entropy is zero in any number of coordinates.

    Then I(X; T+eps) = h(T+eps), and h(T+eps) >= h(T+eps|Y) >= 0 as for discrete variables.

    Notes
    -----
    Source: Kirsch, Lyle, Gal (2020), "Unpacking Information Bottlenecks", section 3.3.
    """

    @property
    def std(self) -> float:  # type: ignore[override]
        """Standard deviation of a coordinate, 0.242."""
        return 1 / math.sqrt(2 * math.pi * math.e)

    def entropy(self, d: int = 1) -> float:
        """Differential entropy of d coordinates: exactly 0 nats."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class UniformNoise(Noise):
    """Uniform noise on an interval around zero, the same in every coordinate.

    Parameters
    ----------
    width : float       of the interval [-width / 2, width / 2), in the units of the layer

    Raises
    ------
    ValueError
        if width is not positive and finite
    """

    width: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", _positive("width", self.width, "the width of the interval"))

    @property
    def std(self) -> float:  # type: ignore[override]
        """Standard deviation of a coordinate, width / sqrt(12)."""
        return self.width / math.sqrt(12)

    def sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
        """Independent draws of the given shape."""
        return (rng.random(shape) - 0.5) * self.width

    def entropy(self, d: int = 1) -> float:
        """Differential entropy of d coordinates, d ln(width) nats."""
        return d * math.log(self.width)


def noise_generator(seed: int | None) -> np.random.Generator:
    """The generator of all noise; None is 0.

    Its stream is not that of ``default_rng(seed)``, from which the data may come: noise that repeats the data is none.
    """
    return np.random.default_rng(np.random.SeedSequence(0 if seed is None else seed, spawn_key=(_STREAM,)))


def mean_scale(layer: Variable) -> float:
    """Root of the mean variance of the coordinates of a layer; 1 where nothing varies."""
    if not layer.varying.any():
        return 1.0
    scale = np.where(layer.varying, layer.scale, 0.0)
    largest = float(scale.max())  # first, since squares of 1e200 overflow
    return largest * math.sqrt(float(np.mean((scale / largest) ** 2)))


def _positive(name: str, value: Any, what: str) -> float:
    """A setting as a plain float, which survives JSON."""
    try:
        size = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError, OverflowError):
        size = math.nan
    if not 0 < size < math.inf:
        raise ValueError(
            f"{name}={value!r} must be a positive finite number, {what}: without noise the information in a "
            "deterministic layer is infinite, or ln n."
        )
    return size
