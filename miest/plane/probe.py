"""The probe set: the same rows at every step, whatever the training data loader does.

Inputs are a tensor or array, or a dictionary or tuple of them, each with the samples on axis 0. They are kept in
blocks: one, unless a data loader pads every batch to its own length.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import torch
    from torch.utils.data import (
        BatchSampler,
        DataLoader,
        DistributedSampler,
        IterableDataset,
        RandomSampler,
        SequentialSampler,
        SubsetRandomSampler,
        default_collate,
    )
except ImportError as error:
    raise ImportError("miest.plane needs torch: pip install 'miest[torch]'.") from error

from miest.neural.preserved import seeded
from miest.plane.inputs import Inputs, as_array, bytes_of, checked, concatenated, leaves, mapped, part, rows_of, split
from miest.samples import DataError, DataTypeError, variable

_COLLATED = 256
_HASHED = 1 << 24  # bytes at once


@dataclass(frozen=True, eq=False)
class ProbeSet:
    """Inputs and labels that stay the same during a run.

    Parameters
    ----------
    blocks : tuple of inputs
    labels : (n, ...) array or None
    """

    blocks: tuple[Inputs, ...]
    labels: NDArray[Any] | None

    @cached_property
    def n(self) -> int:
        """Number of samples."""
        return sum(map(rows_of, self.blocks))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of names, types, shapes and values of inputs and labels, as hexadecimal digits."""
        digest = hashlib.sha256()
        for block in [*self.blocks, {"labels": self.labels}]:
            for name, leaf in leaves(block, ""):
                dtype = str(leaf.dtype).removeprefix("torch.")
                digest.update(f"{name} {dtype} {tuple(leaf.shape)};".encode())
                step = max(1, _HASHED * len(leaf) // max(1, leaf.nbytes))
                for start in range(0, len(leaf), step):
                    digest.update(bytes_of(leaf[start : start + step]))
        return digest.hexdigest()

    def batches(self, size: int) -> Iterator[tuple[int, Inputs]]:
        """The number of the first row, and the rows, of one batch after the other; views, not to be written to."""
        first = 0
        for block in self.blocks:
            for start in range(0, rows_of(block), size):
                yield first + start, part(block, slice(start, start + size))
            first += rows_of(block)

    def inputs(self) -> Inputs:
        """All inputs as NumPy arrays, in the form in which they were given.

        Raises
        ------
        DataError
            if the batches of a data loader have different shapes
        """
        if len(self.blocks) > 1:
            raise DataError(
                f"the probe set has {len(self.blocks)} batches of different shapes, as of padded sequences, and so no "
                "array of inputs: pad all to one length."
            )
        return mapped(self.blocks[0], as_array)


def probe_set(probe: Any, n: int | None, seed: int) -> ProbeSet:
    """Take a seeded random sample of `n` rows, or all rows; see `Recorder` for what a probe may be.

    Raises
    ------
    DataError
        if inputs and labels differ in length, there are fewer than `n` rows or than two, or labels are not valid
    DataTypeError
        if it is of no known form
    """
    if isinstance(probe, list) and not (probe and isinstance(probe[0], (tuple, Mapping))):
        probe = _numbers(probe)
    if isinstance(probe, (tuple, Mapping)) or hasattr(probe, "__array__"):
        return _joined([probe], n, seed)
    if isinstance(probe, IterableDataset):
        probe = DataLoader(probe, batch_size=_COLLATED)
    with seeded(seed):
        if isinstance(probe, DataLoader):
            rows = _rows_of_loader(probe)
            if rows is None:
                return _joined(_read(probe, n), n, seed)
            data, collate, size = probe.dataset, probe.collate_fn, probe.batch_size or _COLLATED
        elif hasattr(probe, "__getitem__") and hasattr(probe, "__len__") and not isinstance(probe, str):
            data, collate, size = probe, default_collate, _COLLATED
            rows = np.arange(len(probe))
        else:
            raise DataTypeError(
                f"probe is a {type(probe).__name__}: pass (x, y), x alone, a dictionary of arrays, a torch Dataset or "
                "a DataLoader."
            )
        rows = rows[_chosen(len(rows), n, seed)]
        batches = [collate([data[int(i)] for i in rows[start : start + size]]) for start in range(0, len(rows), size)]
    return _joined(batches, None, seed)


def _chosen(total: int, n: int | None, seed: int) -> NDArray[np.intp]:
    """Numbers of `n` rows out of `total`, in order."""
    if n is not None and (isinstance(n, bool) or not hasattr(n, "__index__") or n < 2):
        raise ValueError(f"n={n!r} must be an integer of at least 2, or None for all rows.")
    if total < max(2, n or 0):
        raise DataError(f"the probe has {total} rows, and {n or 2} are needed: pass more, or a smaller n.")
    if n is None or n == total:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, n, replace=False))


def _joined(batches: Sequence[Any], n: int | None, seed: int) -> ProbeSet:
    """One block where shapes allow it; of each batch, the rows that are among the chosen `n`."""
    parts = [split(batch) for batch in batches]
    blocks = [mapped(inputs, checked) for inputs, _ in parts]
    sizes = [rows_of(block) for block in blocks]
    rows = _chosen(sum(sizes), n, seed)
    ends = np.cumsum(sizes)
    inside = [rows[(rows >= end - size) & (rows < end)] - (end - size) for end, size in zip(ends, sizes, strict=True)]
    kept = [mapped(block, partial(_taken, rows=i)) for block, i in zip(blocks, inside, strict=True) if len(i)]
    shapes = {tuple((name, tuple(leaf.shape[1:]), leaf.dtype) for name, leaf in leaves(block, "")) for block in kept}
    if len(kept) > 1 and len(shapes) == 1:
        kept = [concatenated(kept)]
    if all(labels is None for _, labels in parts):
        return ProbeSet(tuple(kept), None)
    values = [_labels(labels, size) for (_, labels), size in zip(parts, sizes, strict=True)]
    if len({value.shape[1:] for value in values}) > 1:
        raise DataError("the labels of the probe have different lengths in different batches: pad all to one length.")
    return ProbeSet(tuple(kept), np.concatenate([value[i] for value, i in zip(values, inside, strict=True)]))


def _rows_of_loader(loader: DataLoader[Any]) -> NDArray[np.intp] | None:
    """Which items of its data set a loader gives in an epoch, on all ranks together; None: only reading it tells."""
    batches = loader.batch_sampler
    if type(batches) is not BatchSampler or isinstance(loader.dataset, IterableDataset):
        return None
    if isinstance(batches.sampler, SubsetRandomSampler):
        return np.sort(np.asarray(batches.sampler.indices, np.intp))
    if isinstance(batches.sampler, (SequentialSampler, RandomSampler, DistributedSampler)):
        return np.arange(len(loader.dataset))  # type: ignore[arg-type]
    return None


def _read(loader: DataLoader[Any], n: int | None) -> list[Any]:
    """What a loader gives: everything, but of a stream, which may have no end, the first batches with `n` rows."""
    batches, rows = [], 0
    stream = isinstance(loader.dataset, IterableDataset)
    with kept_generators(loader):
        for batch in loader:
            batches.append(batch)
            rows += rows_of(mapped(split(batch)[0], checked))
            if stream and n is not None and rows >= n:
                break
    if stream and n is not None and rows > n:
        inputs, labels = split(batches[-1])
        left = rows_of(mapped(inputs, checked)) - (rows - n)
        batches[-1] = (part(inputs, slice(left)), None if labels is None else labels[:left])
    return batches


@contextmanager
def kept_generators(loader: Any) -> Iterator[None]:
    """Put back the random generators that a data loader and its samplers own."""
    samplers = [getattr(loader, name, None) for name in ("sampler", "batch_sampler")]
    samplers.append(getattr(samplers[1], "sampler", None))
    owned = [getattr(owner, "generator", None) for owner in [loader, *samplers]]
    states = [(g, g.get_state()) for g in owned if isinstance(g, torch.Generator)]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


def _numbers(rows: list[Any]) -> NDArray[Any]:
    if not rows or isinstance(rows[0], (torch.Tensor, np.ndarray)):
        raise DataTypeError(
            f"probe is a list of {len(rows)} arrays, which may be rows, or inputs and labels: pass one array of rows, "
            "or the tuple (x, y)."
        )
    return np.asarray(rows)


def _taken(leaf: Any, rows: NDArray[np.intp]) -> Any:
    """A copy of some rows, so that nobody changes the probe set; but a memory map stays in its file."""
    if isinstance(leaf, torch.Tensor):
        return leaf.clone() if len(rows) == len(leaf) else leaf[torch.as_tensor(rows, device=leaf.device)]
    if len(rows) < len(leaf):
        return leaf[rows]
    return leaf if _in_file(leaf) else leaf.copy()


def _in_file(array: Any) -> bool:
    while array is not None and not isinstance(array, mmap):
        array = getattr(array, "base", None)
    return array is not None


def _labels(labels: Any, total: int) -> NDArray[Any]:
    """(n,), or (n, d) where there are several to a sample."""
    checked = variable(labels, "labels")
    if checked.n != total:
        raise DataError(f"the probe has {total} inputs and {checked.n} labels: row i of each must be the same sample.")
    return checked.values[:, 0] if checked.d == 1 else checked.values
