"""Where training rows come from: arrays, memory maps, datasets, loaders, or a sampler that never repeats a row.

Whatever the source, three disjoint sets come out: rows to fit, rows to stop by and rows to report on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from miest.neural.split import FEWEST_TO_STOP, Rows, Split, Splits, distinct, held_rows, resident
from miest.neural.streams import is_task, streamed
from miest.neural.train import drawing_from
from miest.samples import DataError, Declared, Variable, variables

__all__ = ["Split", "is_source", "splits"]

_FEWEST_A_FOLD = 20  # rows to report on
_SHARE_TO_STOP, _MOST_TO_STOP = 0.12, 2000  # of the rows that are not reported on


def splits(x: Any, y: Any, folds: int, seed: int, device: str | None) -> tuple[Splits, int]:
    """Splits of paired data, and the number of rows; each row of arrays is reported on once over all folds.

    Parameters
    ----------
    x, y : array-like, (n, ...) each; or x a Dataset, DataLoader or iterable of (x, y), or a callable
        (n, seed) -> (x, y), or a `Task`, and y None
    folds : int             of arrays that fit in memory; other sources are split once
    seed : int
    device : str or None    None: where the tensors are

    Raises
    ------
    DataError
        for data that cannot be used, or fewer than 20 rows to report on in a fold

    Notes
    -----
    A stream must give its batches in the same order when it is started again, or it is not started again: its first
    batches are held out.
    """
    if y is None:
        with drawing_from(seed, torch.device("cpu")):
            split, n = streamed(x, seed, device)
        return Splits((lambda: split,)), n
    needed = _FEWEST_A_FOLD * (folds if folds > 1 else 4)
    of = "" if folds == 1 else f" of {folds} folds"
    checked = variables(x=x, y=y, at_least=needed, needed_by=f"a neural estimate{of}")
    data = _events(checked[0], x), _events(checked[1], y)
    n = len(data[0])
    where = device or _device(x, y)
    order = np.random.default_rng(seed).permutation(n)
    if not resident(sum(a.nbytes for a in data)):
        return Splits((partial(_from_disk, data, order, where),)), n
    parts = np.array_split(order, folds) if folds > 1 else [order[: n // 4]]
    return Splits(tuple(partial(_fold, data, part, order, where) for part in parts)), n


def _device(*given: Any) -> str:
    """A device that is not the CPU if one of the tensors given is there."""
    plain = [a.data if isinstance(a, Declared) else a for a in given]
    return next((str(a.device) for a in plain if isinstance(a, Tensor) and a.device.type != "cpu"), "cpu")


def _events(v: Variable, given: Any) -> NDArray[np.floating]:
    """Checked values with the shape of an event; symbols as one-hot rows."""
    if v.is_discrete:
        codes = v.symbols
        if len(v.symbol_counts) > 1000:
            raise DataError(
                f"{v.name} has {len(v.symbol_counts)} symbols, too many for a critic to tell apart one by one: wrap "
                "it in miest.continuous if its values are numbers, or merge rare symbols."
            )
        return np.eye(len(v.symbol_counts), dtype=np.float32)[codes]
    shape = np.shape(given.data if isinstance(given, Declared) else given)
    return v.numbers.reshape(v.n, *shape[1:]) if len(shape) > 1 else v.numbers


def _rows(data: tuple[Any, Any], index: NDArray[np.intp], device: str) -> Rows:
    x, y = (torch.from_numpy(np.ascontiguousarray(a[np.sort(index)])).to(device) for a in data)
    return x, y


def _fold(data: tuple[Any, Any], report: NDArray[np.intp], order: NDArray[np.intp], device: str) -> Split:
    rest = order[~np.isin(order, report)]
    held = int(min(max(_SHARE_TO_STOP * len(rest), FEWEST_TO_STOP), _MOST_TO_STOP, len(rest) // 3))
    return Split(_rows(data, rest[held:], device), _rows(data, rest[:held], device), _rows(data, report, device))


def _from_disk(data: tuple[Any, Any], order: NDArray[np.intp], device: str) -> Split:
    """One split of arrays that are too large to hold: batches are read as they are needed."""
    n = len(order)
    held, room = held_rows(sum(a[:1].nbytes for a in data))
    stop, report = min(held, n // 10), min(room, n // 4)
    fit = order[stop + report :]

    def draw(size: int, generator: Generator) -> Rows:
        return _rows(data, fit[distinct(len(fit), size, generator).numpy()], device)

    parts = fit[:room], order[:stop], order[stop : stop + report]
    seen, to_stop, to_report = (_rows(data, part, device) for part in parts)
    return Split(seen, to_stop, to_report, draw)


def is_source(x: Any) -> bool:
    """Whether x gives pairs by itself: a dataset, a loader, a task, a sampler, an iterable that is no array."""
    if isinstance(x, (Dataset, DataLoader, Iterator)) or is_task(x) or callable(x):
        return True
    collection = isinstance(x, (Sequence, Mapping, Set)) or hasattr(x, "__array__") or hasattr(x, "shape")
    return isinstance(x, Iterable) and not collection
