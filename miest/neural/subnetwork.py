"""F_i, the part of a network that computes one layer from the input: a frozen copy, cut off at that layer."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, Self

import numpy as np

try:
    import torch
    from torch import Tensor, nn
    from torch.utils.data import DataLoader, Dataset
except ImportError as error:
    raise ImportError("miest.neural needs torch: pip install 'miest[torch]'.") from error

from miest.neural.preserved import seeded, undisturbed
from miest.plane.inputs import call, checked, home_of, mapped, part, placed, rows_of, split
from miest.plane.layers import Layer, runnable, select
from miest.samples import DataError

_ROWS_AT_ONCE = 256
_SEED = 0  # of what a model draws in evaluation mode, and a loader that shuffles


class Subnetwork(nn.Module):
    """What a model computes up to one layer: (b, ...) inputs to the (b, ...) output of that layer.

    Made by `subnetwork_of`. It holds a copy of the model that never changes: no parameter needs a gradient, and
    `train()` leaves it in evaluation mode. Gradients pass through to an input that asks for them.

    Parameters
    ----------
    model : nn.Module       taken over, not copied
    layer : str             its name in the model
    target : nn.Module      that layer
    call : int              which of its calls within one forward pass, from 0
    """

    def __init__(self, model: nn.Module, layer: str, target: nn.Module, call: int = 0) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.layer, self.call = layer, call
        self._target = (target,)  # in a tuple: it is a part of the model, and no second child
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever contains this module is put in."""
        return super().train(False)

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Run the model on its inputs up to the layer, and no further.

        Returns
        -------
        (b, ...) Tensor     the layer's output; of several, as in a tuple or a dictionary, the first tensor

        Raises
        ------
        ValueError
            if the forward pass ends without that call of the layer, or its output holds no tensor
        """
        with undisturbed(self.model, train=False, seed=_SEED), _stopping(self._target[0], self.call) as calls:
            try:
                self.model(*inputs, **named)
            except _Reached as reached:
                output = _first_tensor(reached.output)
                if output is None:
                    raise ValueError(
                        f"the output of layer {self.layer!r}, a {type(reached.output).__name__}, holds no tensor: name "
                        "a layer inside it or around it."
                    ) from None
                return output
        raise ValueError(
            f"layer {self._label!r} was not reached: the forward pass called {self.layer!r} {len(calls)} times. Name a "
            "layer that this input reaches, or a module around it."
        )

    def extra_repr(self) -> str:
        """Return the layer."""
        return repr(self.layer)

    def __repr__(self) -> str:
        """Name the model and the layer, on one line."""
        return f"subnetwork_of({type(self.model).__name__}, {self._label!r})"

    @property
    def _label(self) -> str:
        return f"{self.layer}#{self.call}" if self.call else self.layer


class _Reached(BaseException):
    """The layer has been computed. No Exception, which a model may catch."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def subnetwork_of(model: nn.Module, layer: Layer | None = None) -> Subnetwork:
    """The part of a model that computes one layer, as a frozen module of its own.

    Parameters
    ----------
    model : nn.Module       any; it is copied and never changed, nor does what happens to it later change the copy
    layer : str, module or None
        A name among `named_modules`, as "fc2" or "block.1.conv", or the module itself. Where a module is called
        several times, "fc2#1" is its second call. None: all of the model.

    Returns
    -------
    Subnetwork

    Raises
    ------
    ValueError
        if there is no such layer (the message names those that are near), or more than one
    TypeError
        if the model is no module, is TorchScript, or cannot be copied

    Notes
    -----
    Cost: the memory of the whole model, since only a forward pass shows which part of it a layer needs. A forward pass
    ends at the layer.
    """
    number = 0
    if isinstance(layer, str) and "#" in layer and layer.rpartition("#")[2].isdecimal():
        layer, _, digits = layer.rpartition("#")
        number = int(digits)
    whole = runnable(model)
    found = select(model, whole if layer is None else layer)
    if len(found) > 1:
        raise ValueError(f"{layer!r} fits {len(found)} layers ({', '.join(found)}): name one.")
    ((name, target),) = found.items()
    # The place of the layer in the copy is that in the model: both are walked in the same order.
    place = next(i for i, module in enumerate(whole.modules()) if module is target)
    try:
        copied = copy.deepcopy(whole)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise TypeError(
            f"the {type(whole).__name__} cannot be copied ({error}): pass a module that copy.deepcopy can copy, or "
            "record the layer with miest.Recorder and use GaussianChannel on its activations."
        ) from error
    return Subnetwork(copied, name, list(copied.modules())[place], number)


def activations(network: nn.Module, x: Any) -> Tensor:
    """What a network makes of every row of x, flattened.

    Parameters
    ----------
    network : nn.Module         as it is: in evaluation mode already
    x : (n, ...) array or tensor, a dictionary of them, a pair (inputs, labels), a Dataset or a DataLoader

    Returns
    -------
    (n, d) Tensor               float32 or float64, on the device of the network

    Raises
    ------
    DataError
        if x has no rows, the network does not give one row for each, or gives NaN or infinity
    """
    home, parts = home_of(network), []
    with torch.no_grad(), seeded(_SEED):
        for inputs in _batches(x):
            rows, output = rows_of(inputs), call(network, placed(inputs, *home))
            if not isinstance(output, Tensor) or not output.ndim or len(output) != rows or not output.numel():
                got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise DataError(f"{network!r} gave {got} for {rows} rows: a layer must have the samples on axis 0.")
            output = output.flatten(1) if output.ndim > 1 else output[:, None]
            parts.append(output if output.dtype == torch.float64 else output.float())
    if not parts:
        raise DataError("x has no rows: pass inputs with the samples on axis 0.")
    t = torch.cat(parts)
    if not torch.isfinite(t).all():
        bad = int((~torch.isfinite(t)).any(1).sum())
        raise DataError(f"{network!r} gives NaN or infinity in {bad} of {len(t)} rows: mend the inputs or the network")
    return t


def _batches(x: Any) -> Iterator[Any]:
    """Inputs of a few rows at a time."""
    if isinstance(x, Dataset):
        x = DataLoader(x, batch_size=_ROWS_AT_ONCE)
    if isinstance(x, DataLoader):
        for batch in x:
            yield mapped(split(batch)[0], checked)
        return
    x = np.asarray(x) if isinstance(x, list) else x
    inputs = mapped(split(x)[0], checked)
    for start in range(0, rows_of(inputs), _ROWS_AT_ONCE):
        yield part(inputs, slice(start, start + _ROWS_AT_ONCE))


@contextmanager
def _stopping(target: nn.Module, call: int) -> Iterator[list[None]]:
    """Raise `_Reached` at a call of the target; the list counts them."""
    calls: list[None] = []

    def stop(_: nn.Module, __: Any, output: Any) -> None:
        calls.append(None)
        if len(calls) > call:
            raise _Reached(output)

    handle = target.register_forward_hook(stop)
    try:
        yield calls
    finally:
        handle.remove()


def _first_tensor(output: Any) -> Tensor | None:
    """Depth first among dictionaries, tuples, lists and dataclasses."""
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, Mapping):
        parts = list(output.values())
    elif isinstance(output, (tuple, list)):
        parts = list(output)
    elif is_dataclass(output):
        parts = [getattr(output, f.name) for f in fields(output)]
    else:
        return None
    return next((found for part in parts if (found := _first_tensor(part)) is not None), None)
