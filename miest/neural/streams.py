"""Rows of what gives pairs by itself: datasets, loaders, streams of batches, and samplers that never repeat a row."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
)

from miest.neural.split import Rows, Split, distinct, held_rows
from miest.samples import DataError, DataTypeError

_FEWEST_IN_ALL = 100  # rows of a source that is split once


def streamed(source: Any, seed: int, device: str | None) -> tuple[Split, int]:
    """One split of a source of pairs that is not two arrays."""
    if isinstance(source, DataLoader) and getattr(source.sampler, "replacement", False) and not _by_index(source):
        raise DataError(
            f"the loader's {type(source.sampler).__name__} draws rows more than once, so that rows held out would be "
            "trained on too: pass replacement=False, or the dataset itself."
        )
    if isinstance(source, DataLoader) and _by_index(source):
        return _indexed(source.dataset, source, seed, device)
    if isinstance(source, Dataset) and not isinstance(source, IterableDataset):
        return _indexed(source, DataLoader(source, batch_size=256), seed, device)
    if is_task(source):
        return _fresh(source.sample, seed, device)
    if callable(source) and not isinstance(source, (IterableDataset, DataLoader, Iterator)):
        return _fresh(source, seed, device)
    return _iterated(source, seed, device)


def is_task(x: Any) -> bool:
    """Whether x is a `miest.Task`, by what its class has; that module stands above this one."""
    return hasattr(type(x), "sample") and "mi" in getattr(type(x), "__dataclass_fields__", {})


def _by_index(loader: Any) -> bool:
    """Whether a loader gives every row of its dataset alike, so that rows can be taken by index."""
    return (
        not isinstance(loader.dataset, IterableDataset)
        and type(loader.batch_sampler) is BatchSampler
        and isinstance(loader.sampler, (SequentialSampler, RandomSampler))
    )


def _pair(item: Any, device: str | None) -> Rows:
    """The two tensors of one batch, with floating point numbers."""
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        what = f"{type(item).__name__} of {len(item)}" if isinstance(item, (tuple, list)) else type(item).__name__
        raise DataTypeError(f"a source of pairs gave a {what}, not (x, y): one pair of arrays a batch.")
    x, y = (part.detach() if isinstance(part, Tensor) else torch.tensor(np.asarray(part)) for part in item)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise DataError(
            f"a batch has x of shape {tuple(x.shape)} and y of shape {tuple(y.shape)}: row i of each must be the same "
            "sample."
        )
    for name, part in (("x", x), ("y", y)):
        if not part.is_floating_point():
            raise DataTypeError(
                f"{name} of a batch is {part.dtype}: a source of pairs gives floats; make symbols one-hot rows, "
                "torch.nn.functional.one_hot(labels, classes).float()."
            )
        if not torch.isfinite(part).all():
            raise DataError(f"{name} of a batch holds NaN or infinity: drop those rows in the dataset.")
    x, y = (part if part.dtype in (torch.float32, torch.float64) else part.float() for part in (x, y))
    x, y = (part[:, None] if part.ndim == 1 else part for part in (x, y))
    return x.to(device or x.device), y.to(device or y.device)


def _fresh(draw: Callable[[int, int], Any], seed: int, device: str | None) -> tuple[Split, int]:
    def rows(size: int, number: int) -> Rows:
        return _pair(tuple(draw(size, number)), device)

    def batch(size: int, generator: Generator) -> Rows:
        return rows(size, int(torch.randint(2**32, (), generator=generator)))  # seeds that every generator takes

    numbers = [int(number) for number in np.random.default_rng(seed).integers(2**32, size=4)]
    held, room = held_rows(_bytes(rows(2, numbers[3])))
    return Split(rows(room, numbers[0]), rows(held, numbers[1]), rows(room, numbers[2]), batch), room


def _indexed(data: Any, loader: Any, seed: int, device: str | None) -> tuple[Split, int]:
    """Rows of a dataset by index; the loader says how to collate them and with how many workers."""
    n = len(data)
    if n < _FEWEST_IN_ALL:
        raise DataError(f"a dataset of {n} pairs cannot be split in three: pass at least {_FEWEST_IN_ALL}.")

    def some(index: NDArray[np.intp]) -> Rows:
        return _pair(loader.collate_fn([data[int(i)] for i in index]), device)

    def many(index: NDArray[np.intp]) -> Rows:
        chunks = DataLoader(
            Subset(data, index.tolist()),
            batch_size=256,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            worker_init_fn=loader.worker_init_fn,
        )
        return _joined([_pair(item, device) for item in chunks])

    def draw(size: int, generator: Generator) -> Rows:
        return some(fit[distinct(len(fit), size, generator).numpy()])

    order = np.random.default_rng(seed).permutation(n)
    held, room = held_rows(_bytes(some(order[:2])))
    stop, report = min(held, n // 10), min(room, n // 4)
    fit = order[stop + report :]
    parts = many(fit[:room]), many(order[:stop]), many(order[stop : stop + report])
    return Split(*parts, None if len(fit) <= room else draw), n


def _iterated(source: Iterable[Any], seed: int, device: str | None) -> tuple[Split, int]:
    """Rows of a stream of batches: the first are held out, in each pass again."""
    stream = iter(source)
    batches = (_pair(item, device) for item in stream)
    first = _taken(batches, 1)
    held, room = held_rows(_bytes(first[0])) if first else (0, 0)
    out = first + _taken(batches, held + room - _count(first))
    pool = _taken(batches, room)
    rng = np.random.default_rng(seed)
    if _count(pool) < room or not first:
        return _gathered(out + pool, rng)
    seen, (x, y) = _joined(pool), _joined(out)
    order = torch.from_numpy(rng.permutation(len(x)))
    stop, report = order[:held], order[held:]
    ahead = _onwards(source, stream, batches, out, device)
    kept: list[Rows] = []

    def draw(size: int, generator: Generator) -> Rows:
        while _count(kept) < size:
            item = next(ahead, None)
            if item is None:
                picked = distinct(len(seen[0]), size, generator)
                return seen[0][picked], seen[1][picked]
            kept.append(item)
        x, y = _joined(kept)
        kept[:] = [(x[size:], y[size:])]
        return x[:size], y[:size]

    return Split(seen, (x[stop], y[stop]), (x[report], y[report]), draw), len(x)


def _onwards(
    source: Iterable[Any], stream: Iterator[Any], batches: Iterator[Rows], out: list[Rows], device: str | None
) -> Iterator[Rows]:
    """The rest of this pass, then later ones without the batches held out, as long as passes begin with those."""
    yield from batches
    while (again := iter(source)) is not stream:
        batches = (_pair(item, device) for item in again)
        if not all(_equal(next(batches, None), old) for old in out) or (item := next(batches, None)) is None:
            return
        yield item
        yield from batches


def _gathered(batches: list[Rows], rng: np.random.Generator) -> tuple[Split, int]:
    """A stream that ended while its first rows were held."""
    n = _count(batches)
    if n < _FEWEST_IN_ALL:
        raise DataError(f"a stream of {n} pairs cannot be split in three: pass at least {_FEWEST_IN_ALL}.")
    x, y = _joined(batches)
    parts = torch.from_numpy(rng.permutation(n)).tensor_split([n // 10, n // 10 + n // 4])
    stop, report, seen = ((x[part], y[part]) for part in parts)
    return Split(seen, stop, report), n


def _taken(batches: Iterator[Rows], rows: int) -> list[Rows]:
    """Batches until there are so many rows of them, or no more."""
    found: list[Rows] = []
    while _count(found) < rows and (item := next(batches, None)) is not None:
        found.append(item)
    return found


def _count(batches: list[Rows]) -> int:
    return sum(len(x) for x, _ in batches)


def _joined(batches: list[Rows]) -> Rows:
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def _bytes(rows: Rows) -> int:
    """Bytes of one row of both."""
    return sum(side[:1].numel() * side.element_size() for side in rows)


def _equal(new: Rows | None, old: Rows) -> bool:
    return new is not None and torch.equal(new[0], old[0]) and torch.equal(new[1], old[1])
