"""One run of the probe set through a model: what the hooks see, and where it goes."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Never

import numpy as np

try:
    import torch
    from torch import nn
    from torch.nn.utils.rnn import PackedSequence
except ImportError as error:
    raise ImportError("miest.plane needs torch: pip install 'miest[torch]'.") from error

from miest.plane.layers import setting
from miest.plane.reductions import Reduction
from miest.plane.snapshot import SnapshotWriter

Call = tuple[str, int]
"""A layer, and how often its module was called before in the same forward pass."""
Selection = int | str | Callable[[Any], torch.Tensor]
Shape = tuple[int, ...]


class NothingToRecord(Exception):
    """Why an output has no rows to record. Not an error where a pattern selected the layer."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to record of which layers; see `Recorder`. `single` are the layers that were asked for one by one."""

    modules: Mapping[str, nn.Module]
    single: frozenset[str]
    reduce: Reduction | Mapping[str, Reduction] | None
    select: Selection | Mapping[str, Selection] | None
    batch_axis: int | Mapping[str, int] | None
    dtype: torch.dtype

    def tensor(self, layer: Call, output: Any) -> torch.Tensor:
        """The tensor to record, in full and without its graph."""
        selection = setting(self.select, *layer)
        chosen = _selected(output, selection)
        tensor = _first_tensor(chosen)
        if tensor is None:
            raise NothingToRecord(f"its output, a {type(chosen).__name__}, holds no tensor")
        if hasattr(tensor, "full_tensor"):
            tensor = tensor.full_tensor()  # of a sharded one
        if tensor.is_nested or tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex():
            raise NothingToRecord("its output is nested, sparse, quantised or complex: select= a plain tensor of it")
        return tensor.detach()


class Recording:
    """Takes the outputs of the layers, batch by batch, and writes their rows.

    Parameters
    ----------
    wanted : Wanted
    writer : SnapshotWriter or None     None: nothing is kept
    few : (rows, dict of shapes)        the shapes of all outputs for another number of rows, as far as they are known
    """

    def __init__(self, wanted: Wanted, writer: SnapshotWriter | None, few: tuple[int, Mapping[Call, Shape]]) -> None:
        self._wanted, self._writer = wanted, writer
        self._few_rows, self._few = few
        self._first: Counter[str] | None = None  # calls of each layer in the first batch, once it is over
        self._calls: Counter[str] = Counter()  # in this batch
        self._start = self._size = 0
        self._axes: dict[Call, int] = {}
        self._made: dict[Call, tuple[Shape, torch.dtype]] = {}  # of the rows written, in the order of the forward pass
        self._left_out: dict[Call, str] = {}

    @contextmanager
    def batch(self, start: int, size: int) -> Iterator[None]:
        """One forward pass over rows `start` to ``start + size``."""
        self._start, self._size = start, size
        self._calls.clear()
        yield
        if self._first is None:
            self._first = self._calls.copy()
        for name in self._wanted.modules:
            if self._calls[name] != self._first[name]:
                self._refuse_calls(name)

    def take(self, name: str, output: Any) -> None:
        """Record one output of a layer."""
        layer = (name, self._calls[name])
        self._calls[name] += 1
        if layer in self._left_out:
            return
        try:
            rows = self._rows(layer, output)
        except NothingToRecord as reason:
            if self._first is not None or name in self._wanted.single:
                raise ValueError(f"layer {self._label(layer)}: {reason}.") from None
            self._left_out[layer] = str(reason)
            return
        made = (tuple(rows.shape[1:]), rows.dtype)
        if layer not in self._made:
            if self._first is not None:
                self._refuse_calls(name)
            self._made[layer] = made
            if self._writer is not None:
                self._writer.add(layer, made[0], np.dtype(str(rows.dtype).removeprefix("torch.")))
        elif made != self._made[layer]:
            raise ValueError(
                f"layer {self._label(layer)} gives {_told(self._made[layer])} for the first batch and {_told(made)} "
                f"for the one from row {self._start}: a sequence whose length depends on the batch, perhaps. Pass "
                "reduce=MeanPool() or Token(), which give every row the same shape, or pad all rows to one length."
            )
        if self._writer is not None:
            self._writer.write(layer, self._start, rows.cpu().numpy())

    def names(self) -> dict[Call, str]:
        """The recorded layers in the order of the forward pass; "fc#0" where fc was called several times.

        Raises
        ------
        ValueError
            if there is none, or one that was asked for by its full name was not called
        """
        for name in self._wanted.single:
            if not self._calls[name]:
                raise ValueError(
                    f"layer {name!r} was not called in the forward pass of the probe set, so that it has no "
                    "activations: leave it out, or record a module around it."
                )
        if not self._made:
            why = "; ".join(f"{name}: {reason}" for name, reason in self.missing().items())
            raise ValueError(f"no layer gave anything to record ({why}).")
        return {layer: self._label(layer) for layer in self._made}

    def reductions(self) -> dict[str, str]:
        """The name of each layer's reduction."""
        return {self._label(layer): str(setting(self._wanted.reduce, *layer) or "none") for layer in self._made}

    def missing(self) -> dict[str, str]:
        """The layers that gave nothing, and why."""
        never = {name: "it was not called" for name in self._wanted.modules if not self._calls[name]}
        return {self._label(layer): reason for layer, reason in self._left_out.items()} | never

    def _rows(self, layer: Call, output: Any) -> torch.Tensor:
        """(size, ...) reduced, of the dtype of the recording."""
        tensor = self._wanted.tensor(layer, output)
        axis = self._axis(layer, tuple(tensor.shape))
        rows = tensor.movedim(axis, 0) if axis else tensor
        reduction = setting(self._wanted.reduce, *layer)
        if reduction is not None:
            with torch.autocast(rows.device.type, enabled=False):
                rows = reduction(rows)
            if not isinstance(rows, torch.Tensor) or not rows.ndim or rows.shape[0] != self._size:
                got = tuple(rows.shape) if isinstance(rows, torch.Tensor) else type(rows).__name__
                raise ValueError(f"{reduction} made {got} of {self._size} rows: a reduction must keep axis 0.")
        if not rows.numel():
            raise NothingToRecord(f"its output of shape {tuple(tensor.shape)} has no values")
        if not rows.is_floating_point():
            return rows
        kept = rows.to(self._wanted.dtype)
        narrower = torch.finfo(rows.dtype).max > torch.finfo(kept.dtype).max
        if narrower and bool((kept.isinf() & rows.isfinite()).any()):
            raise ValueError(
                f"layer {self._label(layer)} has values beyond {kept.dtype}: record it with a wider dtype than "
                f"{str(kept.dtype).removeprefix('torch.')!r}."
            )
        return kept

    def _axis(self, layer: Call, shape: Shape) -> int:
        """The axis of the samples: the one that has their number, for this batch and for the few rows."""
        given = setting(self._wanted.batch_axis, *layer)
        axis = self._axes.get(layer) if given is None else given
        if axis is not None:
            if not -len(shape) <= axis < len(shape) or shape[axis] != self._size:
                raise ValueError(
                    f"layer {self._label(layer)} gives {shape} for {self._size} rows, which are not on axis {axis}: "
                    "pass batch_axis= for it, or select= a tensor with one row a sample."
                )
            return axis
        if not shape:
            raise NothingToRecord("its output is one number for the whole batch, which has no rows")
        few = self._few.get(layer)
        if few is None:  # unknown: then only the first two axes are to be trusted
            found = [axis for axis in (0, 1) if axis < len(shape) and shape[axis] == self._size]
        else:
            found = [
                axis
                for axis, (length, other) in enumerate(zip(shape, few, strict=False))
                if (length, other) == (self._size, self._few_rows) and len(few) == len(shape)
            ]
        if not found:
            raise NothingToRecord(
                f"its output of shape {shape} has no axis that follows the {self._size} rows of the batch: select= a "
                f"tensor with one row a sample{self._unflattened(shape)}, or pass batch_axis="
            )
        whole = setting(self._wanted.select, *layer) is None  # a hidden state has the samples first
        if found[0] == 0 and whole and _is_time_first(self._wanted.modules[layer[0]]):
            raise ValueError(
                f"layer {self._label(layer)} has batch_first=False, and was given the samples on the axis that it "
                "takes for time, so that they influence each other: make it batch_first=True, or pass "
                "forward=lambda model, x: model(x.transpose(0, 1)). If that is meant, pass batch_axis=0."
            )
        self._axes[layer] = found[0]
        return found[0]

    def _unflattened(self, shape: Shape) -> str:
        """A hint for (rows * k, ...), as windows and attention heads have it."""
        k = shape[0] // self._size
        return f", perhaps lambda t: t.unflatten(0, (-1, {k}))" if k > 1 and shape[0] == k * self._size else ""

    def _label(self, layer: Call) -> str:
        name, call = layer
        calls = (self._calls if self._first is None else self._first)[name]
        return f"{name}#{call}" if call or calls > 1 else name

    def _refuse_calls(self, name: str) -> Never:
        raise ValueError(
            f"layer {name} was called {(self._first or Counter())[name]} times in the first forward pass and "
            f"{self._calls[name]} times in the one from row {self._start}: what depends on the data cannot be "
            "recorded. Leave it out, or pass batch_size= of at least n."
        )


@contextmanager
def hooked(modules: Mapping[str, nn.Module], take: Callable[[str, Any], None]) -> Iterator[None]:
    """Have ``take(name, output)`` called after each call of the modules."""
    handles = []
    try:
        for name, module in modules.items():
            # The hook returns None: what it returned would replace the output.
            handles.append(module.register_forward_hook(lambda _, __, output, name=name: take(name, output)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def shapes(wanted: Wanted, seen: dict[Call, Shape]) -> Callable[[str, Any], None]:
    """What notes the shapes of outputs in `seen`, for `hooked`."""
    calls: Counter[str] = Counter()

    def take(name: str, output: Any) -> None:
        layer = (name, calls[name])
        calls[name] += 1
        try:
            seen[layer] = tuple(wanted.tensor(layer, output).shape)
        except NothingToRecord:
            return  # told where it is recorded

    return take


def _selected(output: Any, selection: Selection | None) -> Any:
    if selection is None:
        return output
    if callable(selection):
        return selection(output)
    try:
        if isinstance(selection, str) and not isinstance(output, Mapping):
            return getattr(output, selection)
        return output[selection]
    except (KeyError, IndexError, TypeError, AttributeError):
        has = list(output) if isinstance(output, Mapping) else type(output).__name__
        raise NothingToRecord(f"select={selection!r} does not fit its output: {has}") from None


def _first_tensor(output: Any) -> torch.Tensor | None:
    """Depth first among dictionaries, tuples, lists and dataclasses."""
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, PackedSequence):
        raise NothingToRecord(
            "its output is a PackedSequence, whose rows are time steps of all samples together: select= what "
            "torch.nn.utils.rnn.pad_packed_sequence makes of it, with batch_first=True"
        )
    if isinstance(output, Mapping):
        parts = list(output.values())
    elif isinstance(output, (tuple, list)):
        parts = list(output)
    elif is_dataclass(output):
        parts = [getattr(output, f.name) for f in fields(output)]
    else:
        return None
    return next((found for part in parts if (found := _first_tensor(part)) is not None), None)


def _is_time_first(module: nn.Module) -> bool:
    """Whether it is one of torch's modules for sequences, with time on axis 0 and samples on axis 1."""
    if isinstance(module, (nn.TransformerEncoder, nn.TransformerDecoder)):
        module = module.layers[0]
    if isinstance(module, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
        module = module.self_attn
    known = isinstance(module, (nn.RNNBase, nn.MultiheadAttention, nn.Transformer))
    return known and not module.batch_first


def _told(made: tuple[Shape, torch.dtype]) -> str:
    return f"{made[0]} of {str(made[1]).removeprefix('torch.')} a row"
