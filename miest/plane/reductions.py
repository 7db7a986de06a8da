"""Named reductions of large activations before they are kept, for what is estimated belongs to the reduced layer.

I(X; f(T)) is at most I(X; T): a reduction is part of the quantity, so every one has a name that travels with the
numbers. All take a tensor with the samples on axis 0 and give one.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any

import numpy as np

try:
    import torch
except ImportError as error:
    raise ImportError("miest.plane needs torch: pip install 'miest[torch]'.") from error


class Reduction(ABC):
    """A frozen settings object that maps activations (n, ...) to smaller ones (n, ...), row by row.

    For one of your own, subclass it as a frozen dataclass; its name and fields are what the results show.
    """

    @abstractmethod
    def __call__(self, t: torch.Tensor) -> torch.Tensor:
        """Reduce every row.

        Parameters
        ----------
        t : (n, ...) tensor

        Returns
        -------
        (n, ...) tensor
        """

    def __str__(self) -> str:
        """Return name and settings; settings that are None are left out."""
        known: Any = self
        settings = [(f.name, getattr(self, f.name)) for f in fields(known)] if is_dataclass(known) else []
        shown = ", ".join(f"{name}={value!r}" for name, value in settings if value is not None)
        return f"{type(self).__name__}({shown})"


@dataclass(frozen=True, kw_only=True)
class Flatten(Reduction):
    """All values of a row in one axis: (n, ...) to (n, d)."""

    def __call__(self, t: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return t.reshape(t.shape[0], -1)


@dataclass(frozen=True, kw_only=True)
class _Pool(Reduction):
    channel: int | None = None

    def __call__(self, t: torch.Tensor) -> torch.Tensor:
        """Reduce every axis but those of samples and of features; see `Reduction`."""
        if t.ndim <= 2:
            return t
        kept = (1 if t.ndim > 3 else -1) if self.channel is None else self.channel
        if kept % t.ndim == 0 or not -t.ndim < kept < t.ndim:
            raise ValueError(
                f"{self} cannot keep axis {kept} of activations of shape {tuple(t.shape)}: pass channel=1 to "
                f"{t.ndim - 1}, the axis of the features."
            )
        return self._pool(t, tuple(axis for axis in range(1, t.ndim) if axis != kept % t.ndim))

    def _pool(self, t: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class MeanPool(_Pool):
    """The mean over positions: (n, c, h, w) to (n, c), or (n, length, features) to (n, features).

    Parameters
    ----------
    channel : int or None   the axis of the features, which is kept; None: axis 1 of images (4 axes and more), the last
                            axis of sequences (3 axes). Conv1d gives (n, c, length): pass 1.
    """

    def _pool(self, t: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        return _floats(t).mean(dim=axes)


@dataclass(frozen=True, kw_only=True)
class MaxPool(_Pool):
    """The largest value over positions: (n, c, h, w) to (n, c), or (n, length, features) to (n, features).

    Parameters
    ----------
    channel : int or None   as for `MeanPool`
    """

    def _pool(self, t: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        return t.amax(dim=axes)


@dataclass(frozen=True, kw_only=True)
class Token(Reduction):
    """One position of a sequence: (n, length, ...) to (n, ...).

    Parameters
    ----------
    index : int             0 is the first one (the class token of BERT and ViT), -1 the last one
    """

    index: int = 0

    def __call__(self, t: torch.Tensor) -> torch.Tensor:  # noqa: D102
        if t.ndim < 3 or not -t.shape[1] <= self.index < t.shape[1]:
            raise ValueError(
                f"{self} needs activations (n, length, ...) of more positions than that, got {tuple(t.shape)}: apply "
                "it to layers that give sequences."
            )
        return t[:, self.index]


@dataclass(frozen=True, kw_only=True)
class RandomProjection(Reduction):
    """A fixed random linear map: (n, ...) to (n, dim); rows of at most `dim` values are only flattened.

    Parameters
    ----------
    dim : int               columns of the result
    seed : int              fixes the map

    Notes
    -----
    Error: squared distances keep their size in the mean; their relative standard deviation is sqrt(2/dim). The
        information of the projection is at most that of the layer.
    Cost: O(n d dim) time. The map of d dim float32 numbers is kept for the last 8 layers.
    Source: Johnson & Lindenstrauss (1984); Gaussian entries of variance 1/dim.
    """

    dim: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.dim, bool) or not hasattr(self.dim, "__index__") or self.dim < 1:
            raise ValueError(f"dim={self.dim!r} must be an integer of at least 1.")

    def __call__(self, t: torch.Tensor) -> torch.Tensor:  # noqa: D102
        rows = _floats(t.reshape(t.shape[0], -1))
        if rows.shape[1] <= self.dim:
            return rows
        return rows @ _gaussian(rows.shape[1], self.dim, self.seed, rows.device, rows.dtype)


@lru_cache(maxsize=8)
def _gaussian(d: int, dim: int, seed: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """(d, dim) the same numbers on every device."""
    stream = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(d, dim)))
    entries = stream.standard_normal((d, dim), dtype=np.float32) / math.sqrt(dim)
    return torch.from_numpy(entries).to(device, dtype)


def _floats(t: torch.Tensor) -> torch.Tensor:
    """At least float32: sums of 16-bit floats round, and integers have no mean."""
    return t if t.dtype in (torch.float32, torch.float64) else t.float()
