"""Rows dealt into three disjoint sets: to fit, to stop by and to report on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from miest.neural.train import Batch

FEWEST_TO_STOP = 100  # rows, where there are enough
_BYTES_RESIDENT = 2**30  # of rows that are held in memory, on the device, at a time
_HELD = 4000  # rows of a large source to stop by; five times as many are reported on, and as many fit the scales

Rows = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Split:
    """Disjoint rows for one training.

    Parameters
    ----------
    seen : (x, y) tensors       rows to fit: all of them, or where `draw` gives more, enough to fit scales and anchors
    stop, report : (x, y) tensors
    draw : (size, generator) -> (x, y), or None     random rows to fit; None: from `seen`
    """

    seen: Rows
    stop: Rows
    report: Rows
    draw: Batch | None = None

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of one event of x and of y."""
        return tuple(self.stop[0].shape[1:]), tuple(self.stop[1].shape[1:])

    def mapped(self, x: nn.Module, y: nn.Module) -> "Split":
        """Return the same rows after one module for x and one for y."""

        def both(rows: Rows) -> Rows:
            return x(rows[0]), y(rows[1])

        draw = self.draw
        lazily = None if draw is None else lambda size, generator: both(draw(size, generator))
        return Split(both(self.seen), both(self.stop), both(self.report), lazily)

    def batch(self, size: int, generator: Generator) -> Rows:
        """Return random rows to fit, none of them twice; all of them where there are fewer than `size`."""
        if self.draw is not None:
            return self.draw(size, generator)
        picked = distinct(len(self.seen[0]), size, generator).to(self.seen[0].device)
        return self.seen[0][picked], self.seen[1][picked]


@dataclass(frozen=True)
class Splits:
    """Splits of the same data, each made when its turn comes, so that one at a time is in memory.

    Parameters
    ----------
    makers : tuple of () -> Split
    """

    makers: tuple[Callable[[], Split], ...]

    def __len__(self) -> int:
        return len(self.makers)

    def __iter__(self) -> Iterator[Split]:
        return (make() for make in self.makers)


def distinct(n: int, size: int, generator: Generator) -> Tensor:
    """(min(n, size),) different numbers below n: a row that is twice in a batch would be its own negative."""
    if n < 8 * size:
        return torch.randperm(n, generator=generator)[:size]
    picked = torch.randint(n, (size,), generator=generator).unique()
    while len(picked) < size:
        picked = torch.cat([picked, torch.randint(n, (size,), generator=generator)]).unique()
    return picked[torch.randperm(len(picked), generator=generator)[:size]]


def held_rows(row_bytes: int) -> tuple[int, int]:
    """How many rows of a large source are held to stop by; and to report on, and to fit the scales."""
    held = int(min(_HELD, max(FEWEST_TO_STOP, _BYTES_RESIDENT // (11 * row_bytes))))
    return held, 5 * held


def resident(size: int) -> bool:
    """Whether so many bytes of rows are held in memory all at once."""
    return size < _BYTES_RESIDENT
