"""What the layers of a model give for a fixed probe set, at any step of its training, without touching the training.

Hooks exist only while a snapshot is taken. Each copies its layer's output when it is called, before a later in-place
operation can change it, and writes it away at once, so that no more than one layer of one batch waits in memory.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError("miest.plane needs torch: pip install 'miest[torch]'.") from error

from miest.neural.preserved import undisturbed
from miest.plane.inputs import Inputs, call, home_of, part, placed, rows_of
from miest.plane.layers import Layers, check_patterns, choose, runnable
from miest.plane.probe import probe_set
from miest.plane.recording import Call, Recording, Selection, Shape, Wanted, hooked, shapes
from miest.plane.reductions import Reduction
from miest.plane.snapshot import Snapshot, SnapshotWriter

Forward = Callable[[nn.Module, Inputs], Any]


class Recorder:
    """Records the activations of a model's layers for a fixed probe set.

    Parameters
    ----------
    model : torch module
        also compiled, DDP, FSDP2, DataParallel, checkpointed or under autocast; not TorchScript. Compiled code is
        passed by: the modules' own forward runs, in eager mode.
    layers : None, name, pattern, module, type, function, or several of them
        see `miest.plane.layers.select`. Modules that a pattern, type or None selected and that give nothing to record
        are listed in `Snapshot.missing`; those asked for by their full name raise.
    probe : inputs, (inputs, labels), Dataset or DataLoader
        inputs are an array (n, ...), or a dictionary or tuple of them: the model is called as ``model(x)``,
        ``model(**x)`` or ``model(*x)``. Of a dictionary the entry "labels" (or "label") is not passed. A pair is
        always (inputs, labels): for two inputs without labels pass ``((a, b), None)``. Arrays that are no tensors get
        the model's float type. Rows of a Dataset or DataLoader are read once, at the start; of a stream, the first n.
    n : int or None
        rows: a random sample fixed by `seed`; None: all
    batch_size : int
        rows in one forward pass
    reduce : Reduction, mapping from patterns to reductions, or None
        see `miest.plane.reductions`; None records every value
    select : int, str, function of the output, mapping from patterns to these, or None
        which tensor of an output with several; None: the first one
    batch_axis : int, mapping from patterns to int, or None
        axis of the samples in the layers' outputs; None: found by running the model once on two rows
    dtype : "float32", "float64" or "float16"
        of recorded floats; integers and booleans are symbols, and stay as they are
    train_mode : bool
        record in train mode (dropout, batch statistics); modules frozen in eval mode stay so
    forward : function of (model, inputs), or None
        how to call the model instead
    seed : int
        of the sample, and with the step, of random numbers that the model draws

    Raises
    ------
    ValueError
        if a name or pattern fits no layer, or a setting is not valid
    TypeError
        if the model is TorchScript or no module, or a setting is of the wrong type
    DataError
        if the probe has too few rows, or parts of different lengths

    Notes
    -----
    Nothing of the training is changed: weights, gradients, buffers, modes, random streams of torch (CPU and CUDA),
    NumPy and Python. See `miest.neural.preserved.undisturbed` for what a forward pass could keep beyond that.
    Cost: a forward pass over the probe set, and one copy of what is recorded. Beyond the forward pass, five layers of
        2,000 rows of a 784-512-512-10 network take some 0.3% of an epoch of 60,000 rows, and of 10,000 rows 1.3%
        (notebooks/plane_speed.py; it grows with the values recorded). A copy of the probe set is kept, unless it is a
        memory map. Memory beyond that: one layer of one batch; what is recorded is in the file, or without a
        folder in memory up to 256 MiB and beyond in a temporary file.
    Processes: under DDP each may record alone. Under FSDP2 all must make the recorder and call `snapshot` or, to
        record nothing, `take_part` at the same step.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Layers = None,
        *,
        probe: Any,
        n: int | None = None,
        batch_size: int = 256,
        reduce: Reduction | Mapping[str, Reduction] | None = None,
        select: Selection | Mapping[str, Selection] | None = None,
        batch_axis: int | Mapping[str, int] | None = None,
        dtype: Literal["float32", "float64", "float16"] = "float32",
        train_mode: bool = False,
        forward: Forward | None = None,
        seed: int = 0,
    ) -> None:
        if dtype not in ("float32", "float64", "float16"):
            raise ValueError(f"dtype={dtype!r} must be one of 'float32', 'float64', 'float16'.")
        self.model = runnable(model)
        self.batch_size = _integer("batch_size", batch_size, 1)
        self.seed = _integer("seed", seed, 0)
        self.train_mode = bool(train_mode)
        self._forward = forward or call
        modules, single = choose(model, layers)
        self._wanted = Wanted(
            modules=modules,
            single=single,
            reduce=_setting("reduce", reduce, Reduction, modules),
            select=_setting("select", select, (int, str, Callable), modules),
            batch_axis=_setting("batch_axis", batch_axis, int, modules),
            dtype=getattr(torch, dtype),
        )
        self._probe = probe_set(probe, n, self.seed)
        self._few: tuple[int, Mapping[Call, Shape]] | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the recorded modules in the order of definition; `Snapshot.layers` has that of the forward pass."""
        return tuple(self._wanted.modules)

    @property
    def n(self) -> int:
        """Rows of the probe set."""
        return self._probe.n

    @property
    def probe_hash(self) -> str:
        """SHA-256 of the probe set: its inputs and labels, with their types and shapes."""
        return self._probe.hash

    @property
    def labels(self) -> NDArray[Any] | None:
        """(n,) or (n, d) labels of the probe set; None where it has none."""
        return self._probe.labels

    def inputs(self) -> Any:
        """The probe's inputs as (n, ...) NumPy arrays, in the form in which they were given."""
        return self._probe.inputs()

    def snapshot(self, step: int, folder: str | Path | None = None) -> Snapshot:
        """Run the probe set through the model and record its layers.

        Parameters
        ----------
        step : int              at least 0; names the file
        folder : path or None   write to ``folder/step-000100.safetensors``; the file has that name only once it is
                                complete. None: keep in memory

        Raises
        ------
        ValueError
            if a layer's output has no axis of the samples, differs in shape between batches, or a layer asked for by
            name is not called
        OSError
            if the file cannot be written
        """
        step = _integer("step", step, 0)
        with SnapshotWriter(step, self.n, folder, expected=self.layers) as writer:
            record = self._run(step, writer)
            return writer.finish(
                record.names(), reductions=record.reductions(), missing=record.missing(), probe=self.probe_hash
            )

    def take_part(self, step: int) -> None:
        """Run the probe set and record nothing: for processes that others need for their snapshot, as under FSDP2."""
        self._run(_integer("step", step, 0), None)

    def _run(self, step: int, writer: SnapshotWriter | None) -> Recording:
        record = Recording(self._wanted, writer, self._shapes_of_few())
        with self._running(step), hooked(self._wanted.modules, record.take):
            home = home_of(self.model)
            for start, inputs in self._probe.batches(self.batch_size):
                size = rows_of(inputs)
                with record.batch(start, size), _told(f"rows {start} to {start + size - 1} of the probe set"):
                    self._forward(self.model, placed(inputs, *home))
        return record

    def _shapes_of_few(self) -> tuple[int, Mapping[Call, Shape]]:
        """How many rows a second, small batch has, and the shapes of the outputs for it; made once.

        An axis is that of the samples if it has their number both times. One batch alone does not tell: a table of 256
        positions looks like 256 samples.
        """
        if self._few is None:
            _, batch = next(self._probe.batches(self.batch_size))
            rows = 2 if rows_of(batch) != 2 else 3
            _, batch = next(self._probe.batches(max(self.batch_size, rows)))
            seen: dict[Call, Shape] = {}
            if rows_of(batch) >= rows and not isinstance(self._wanted.batch_axis, int):
                told = _told(
                    f"{rows} rows of the probe set, to find the axis of the samples; batch_axis=0 says it is 0"
                )
                with self._running(0), hooked(self._wanted.modules, shapes(self._wanted, seen)), told:
                    self._forward(self.model, placed(part(batch, slice(rows)), *home_of(self.model)))
            self._few = rows, seen
        return self._few

    @contextmanager
    def _running(self, step: int) -> Iterator[None]:
        """Run without gradients, and leave nothing behind; nor tensors of the caller's inference mode in caches."""
        stream = np.random.SeedSequence(self.seed, spawn_key=(step,)).generate_state(1, np.uint64)[0]
        undisturbing = undisturbed(self.model, train=self.train_mode, seed=int(stream >> np.uint64(1)))
        with torch.inference_mode(False), torch.no_grad(), undisturbing:
            yield


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Add to an exception of the model what it was given."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while the model ran on {what}")
        raise


def _integer(name: str, value: Any, at_least: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < at_least:
        raise ValueError(f"{name}={value!r} must be an integer of at least {at_least}.")
    return int(value)


def _setting(name: str, value: Any, types: Any, layers: Mapping[str, nn.Module]) -> Any:
    """The setting, or a mapping from patterns that fit layers to such."""
    check_patterns(name, value, layers)
    for item in value.values() if isinstance(value, Mapping) else [value]:
        if item is not None and (isinstance(item, bool) or not isinstance(item, types)):
            raise TypeError(
                f"{name} is given as {item!r}: pass {_ACCEPTED[name]}, or a mapping from names or patterns to them."
            )
    return value


_ACCEPTED = {
    "reduce": "a reduction such as MeanPool() (of your own: a subclass of Reduction, which has a name)",
    "select": "an index, a key, or a function of the output",
    "batch_axis": "an integer",
}
