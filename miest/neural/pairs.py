"""Where training rows come from: arrays, memory maps, datasets, loaders, or a sampler that never repeats a row.

Whatever the source, three disjoint sets come out: rows to fit, rows to stop by and rows to report on.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from miest.neural.train import Batch
from miest.samples import DataError, DataTypeError, Variable, variables
from miest.tasks.task import Task

_SHARE_TO_STOP = 0.12  # of the rows that are not reported on
_FEWEST_TO_STOP, _MOST_TO_STOP = 100, 2000
_ROWS_TO_SCALE = 20_000
_BYTES_RESIDENT = 2**30  # of arrays that are copied to the device whole
_HELD = 4000  # rows of a stream or sampler to stop by; five times as many are reported on

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
        """Return random rows to fit."""
        if self.draw is not None:
            return self.draw(size, generator)
        picked = torch.randint(len(self.seen[0]), (size,), generator=generator).to(self.seen[0].device)
        return self.seen[0][picked], self.seen[1][picked]


def splits(x: Any, y: Any, folds: int, seed: int, device: str | None) -> tuple[tuple[Split, ...], int]:
    """Splits of paired data, and the number of rows; each row of arrays is reported on once over all folds.

    Parameters
    ----------
    x, y : array-like, (n, ...) each; or x a Dataset, DataLoader or iterable of (x, y), or a callable
        (n, seed) -> (x, y), or a `Task`, and y None
    folds : int             of arrays; other sources are split once
    seed : int
    device : str or None    None: where the tensors are

    Raises
    ------
    DataError
        for data that cannot be used
    """
    if y is None:
        split, n = _streamed(x, seed, device)
        return (split,), n
    data = _arrays(x, y)
    n = len(data[0])
    where = device or next((str(a.device) for a in (x, y) if isinstance(a, Tensor)), "cpu")
    order = np.random.default_rng(seed).permutation(n)
    parts = np.array_split(order, folds) if folds > 1 else [order[: max(n // 4, 1)]]
    return tuple(_fold(data, part, order, where) for part in parts), n


def _arrays(x: Any, y: Any) -> tuple[Any, Any]:
    """Checked arrays with their event shapes; symbols as one-hot rows."""
    checked = variables(x=x, y=y, at_least=20, needed_by="a neural estimate")
    return _events(checked[0], x), _events(checked[1], y)


def _events(v: Variable, given: Any) -> NDArray[np.floating]:
    if v.is_discrete:
        codes = v.symbols
        if len(v.symbol_counts) > 1000:
            raise DataError(
                f"{v.name} has {len(v.symbol_counts)} symbols, too many for a critic to tell apart one by one: wrap "
                "it in miest.continuous if its values are numbers, or merge rare symbols."
            )
        return np.eye(len(v.symbol_counts), dtype=np.float32)[codes]
    shape = np.shape(getattr(given, "data", given) if type(given).__name__ == "Declared" else given)
    return v.numbers.reshape(v.n, *shape[1:]) if len(shape) > 1 else v.numbers


def _fold(data: tuple[Any, Any], report: NDArray[np.intp], order: NDArray[np.intp], device: str) -> Split:
    rest = order[~np.isin(order, report)]
    held = int(min(max(_SHARE_TO_STOP * len(rest), _FEWEST_TO_STOP), _MOST_TO_STOP, len(rest) // 3))
    stop, fit = rest[:held], np.sort(rest[held:])

    def rows(index: NDArray[np.intp]) -> Rows:
        x, y = (torch.from_numpy(np.ascontiguousarray(a[index])).to(device) for a in data)
        return x, y

    def draw(size: int, generator: Generator) -> Rows:
        return rows(np.sort(fit[torch.randint(len(fit), (size,), generator=generator).numpy()]))

    resident = sum(a.nbytes for a in data) < _BYTES_RESIDENT
    seen = rows(fit if resident else fit[:: -(-len(fit) // _ROWS_TO_SCALE)])
    return Split(seen, rows(np.sort(stop)), rows(np.sort(report)), None if resident else draw)


def is_source(x: Any) -> bool:
    """Whether x gives pairs by itself: a dataset, a loader, a task, a sampler, an iterator."""
    return isinstance(x, (Dataset, Iterator, DataLoader, Task)) or callable(x)


def _streamed(source: Any, seed: int, device: str | None) -> tuple[Split, int]:
    """One split of a source of pairs that is not two arrays."""
    if isinstance(source, DataLoader) and not isinstance(source.dataset, IterableDataset):
        return _indexed(source.dataset, source, seed, device)
    if isinstance(source, Dataset) and not isinstance(source, IterableDataset):
        return _indexed(source, DataLoader(source, batch_size=256), seed, device)
    if isinstance(source, (IterableDataset, DataLoader, Iterator)):
        return _iterated(source, device)
    return _fresh(source.sample if isinstance(source, Task) else source, seed, device)


def _pair(item: Any, device: str | None) -> Rows:
    """The two tensors of one batch, with floating point numbers."""
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise DataTypeError(f"a source of pairs gave a {type(item).__name__}, not (x, y): one pair of arrays a batch.")
    x, y = (torch.as_tensor(part) for part in item)
    if len(x) != len(y):
        raise DataError(f"a batch has {len(x)} rows of x and {len(y)} of y: row i of each must be the same sample.")
    for name, part in (("x", x), ("y", y)):
        if not part.is_floating_point():
            raise DataTypeError(
                f"{name} of a batch is {part.dtype}: a source of pairs gives floats; make symbols one-hot rows, "
                "torch.nn.functional.one_hot(labels, classes).float()."
            )
        if not torch.isfinite(part).all():
            raise DataError(f"{name} of a batch holds NaN or infinity: drop those rows in the dataset.")
    x, y = (part[:, None] if part.ndim == 1 else part for part in (x, y))
    return x.to(device or x.device), y.to(device or y.device)


def _fresh(draw: Callable[[int, int], Any], seed: int, device: str | None) -> tuple[Split, int]:
    def rows(size: int, number: int) -> Rows:
        return _pair(tuple(draw(size, number)), device)

    def batch(size: int, generator: Generator) -> Rows:
        return rows(size, int(torch.randint(2**62, (), generator=generator)))

    numbers = np.random.default_rng(seed).integers(2**62, size=3)
    seen, stop, report = (rows(k * _HELD, int(number)) for k, number in zip((5, 1, 5), numbers, strict=True))
    return Split(seen, stop, report, batch), len(report[0])


def _indexed(data: Any, loader: Any, seed: int, device: str | None) -> tuple[Split, int]:
    """Rows of a dataset by index; the loader says how to collate them and with how many workers."""
    n = len(data)
    if n < 100:
        raise DataError(f"a dataset of {n} pairs cannot be split in three: pass at least 100.")
    order = np.random.default_rng(seed).permutation(n)
    held = min(_HELD, n // 10)
    parts = np.split(order, [held, min(6 * held, held + n // 4)])

    def rows(index: NDArray[np.intp]) -> Rows:
        chunks = DataLoader(
            Subset(data, index.tolist()), batch_size=256, num_workers=loader.num_workers, collate_fn=loader.collate_fn
        )
        pairs = [_pair(item, device) for item in chunks]
        return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])

    fit = parts[2]
    if len(fit) <= _ROWS_TO_SCALE:
        return Split(rows(fit), rows(parts[0]), rows(parts[1])), n

    def batch(size: int, generator: Generator) -> Rows:
        picked = torch.randint(len(fit), (size,), generator=generator).numpy()
        return _pair(loader.collate_fn([data[int(i)] for i in fit[picked]]), device)

    return Split(rows(fit[:_ROWS_TO_SCALE]), rows(parts[0]), rows(parts[1]), batch), n


def _iterated(source: Iterable[Any], device: str | None) -> tuple[Split, int]:
    """Rows of a stream of batches: the first are held out, in each pass again."""
    first, used, held = [], 0, 0
    stream = iter(source)
    for item in stream:
        first.append(_pair(item, device))
        used, held = used + 1, held + len(first[-1][0])
        if held >= 6 * _HELD:
            break
    x, y = torch.cat([x for x, _ in first]), torch.cat([y for _, y in first])
    passed = _passes(source, stream, used, device)
    pool: list[Rows] = []
    while sum(len(rows[0]) for rows in pool) < _ROWS_TO_SCALE:
        item = next(passed, None)
        if item is None:
            break
        pool.append(item)
    if not pool:
        raise DataError(
            f"the stream ended after {held} pairs, of which {6 * _HELD} are held out: pass arrays or a Dataset instead."
        )
    kept: list[Rows] = []

    def batch(size: int, generator: Generator) -> Rows:
        while sum(len(rows[0]) for rows in kept) < size:
            item = next(passed, None)
            kept.append(pool[int(torch.randint(len(pool), (), generator=generator))] if item is None else item)
        x, y = torch.cat([x for x, _ in kept]), torch.cat([y for _, y in kept])
        kept[:] = [(x[size:], y[size:])]
        return x[:size], y[:size]

    seen = torch.cat([x for x, _ in pool]), torch.cat([y for _, y in pool])
    return Split(seen, (x[:_HELD], y[:_HELD]), (x[_HELD:], y[_HELD:]), batch), held


def _passes(source: Iterable[Any], stream: Iterator[Any], skipped: int, device: str | None) -> Iterator[Rows]:
    """The rest of this pass, then later passes without the batches that are held out; ends with a one-pass stream."""
    while True:
        for item in stream:
            yield _pair(item, device)
        again = iter(source)
        if again is stream:
            return
        stream = islice(again, skipped, None)
