"""The forms in which a model takes its inputs: a tensor, or a dictionary or tuple of tensors, samples on axis 0."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError("miest.plane needs torch: pip install 'miest[torch]'.") from error

from miest.samples import DataError, DataTypeError

Inputs = Any  # a tensor or array, or a mapping or tuple of them

LABELS = ("labels", "label")
"""Entries of a mapping that are taken as labels, and not passed to the model."""
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def split(batch: Any) -> tuple[Inputs, Any]:
    """Inputs and labels of a batch: of a pair, of a mapping with an entry for labels, or inputs alone.

    Raises
    ------
    DataTypeError
        if it is a tuple of another length
    """
    if isinstance(batch, Mapping):
        found = [key for key in LABELS if key in batch]
        return {key: value for key, value in batch.items() if key not in LABELS}, batch[found[0]] if found else None
    if not isinstance(batch, (tuple, list)):
        return batch, None
    if len(batch) == 1:
        return batch[0], None
    if len(batch) != 2:
        raise DataTypeError(
            f"the probe gives {len(batch)} parts, and it is not clear which are inputs and which labels: give (inputs, "
            "labels), where inputs may be a tuple or a dictionary and labels None."
        )
    return batch[0], batch[1]


def mapped(inputs: Inputs, change: Callable[[Any], Any]) -> Inputs:
    """The same form with every tensor or array changed; None stays."""
    if isinstance(inputs, Mapping):
        return {key: mapped(value, change) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(mapped(value, change) for value in inputs)
    return inputs if inputs is None else change(inputs)


def part(inputs: Inputs, rows: slice) -> Inputs:
    """Some rows: views."""
    return mapped(inputs, lambda leaf: leaf[rows])


def rows_of(inputs: Inputs) -> int:
    """The number of samples, which all parts must share."""
    parts = [(name or "x", tuple(leaf.shape)) for name, leaf in leaves(inputs, "")]
    if not parts or any(not shape for _, shape in parts):
        raise DataError("the probe has no inputs with samples on axis 0: pass arrays of shape (n, ...).")
    counts = {name: shape[0] for name, shape in parts}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"the inputs of the probe have different numbers of rows ({told}): row i of each is a sample.")
    return int(next(iter(counts.values())))


def as_array(leaf: Any) -> NDArray[Any]:
    """A tensor or array as NumPy's; bfloat16 and smaller floats as float32."""
    if not isinstance(leaf, torch.Tensor):
        return np.asarray(leaf)
    plain = leaf.detach().cpu()
    if plain.is_floating_point() and plain.dtype not in (torch.float16, torch.float32, torch.float64):
        plain = plain.float()
    array: NDArray[Any] = plain.numpy()
    return array


def checked(value: Any) -> Any:
    """A tensor without its graph, or an array of numbers.

    Raises
    ------
    DataTypeError
        if it holds anything but floats, integers or booleans
    """
    if isinstance(value, torch.Tensor):
        return value.detach()
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise DataTypeError(
            f"an input of the probe is {type(value).__name__} of {array.dtype}: pass floats, integers or booleans "
            "(of text, the token numbers)."
        )
    return array


def concatenated(blocks: Sequence[Inputs]) -> Inputs:
    """The rows of all blocks, which have one form and equal shapes after axis 0."""
    first = blocks[0]
    if isinstance(first, Mapping):
        return {key: concatenated([block[key] for block in blocks]) for key in first}
    if isinstance(first, tuple):
        return tuple(concatenated(parts) for parts in zip(*blocks, strict=True))
    if first is None:
        return None
    return torch.cat(list(blocks)) if isinstance(first, torch.Tensor) else np.concatenate(blocks)


def leaves(inputs: Inputs, name: str) -> Iterator[tuple[str, Any]]:
    """Every tensor or array with its name, of which `name` is the first part."""
    if isinstance(inputs, (Mapping, tuple, list)):
        for key, value in inputs.items() if isinstance(inputs, Mapping) else enumerate(inputs):
            yield from leaves(value, f"{name}.{key}" if name else str(key))
    elif inputs is not None:
        yield name, inputs


def bytes_of(leaf: Any) -> bytes:
    """The values as they are in memory, row after row."""
    if isinstance(leaf, torch.Tensor):
        return leaf.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return np.ascontiguousarray(leaf).tobytes()


def placed(inputs: Inputs, device: torch.device, dtype: torch.dtype) -> Inputs:
    """Tensors on the device that share no memory with the inputs; floats of arrays that were no tensors as `dtype`."""

    def place(leaf: Any) -> torch.Tensor:
        if isinstance(leaf, torch.Tensor):
            moved = leaf.detach().to(device)
            return moved.clone() if moved.data_ptr() == leaf.data_ptr() else moved
        native = np.array(leaf, leaf.dtype.newbyteorder("="))
        tensor = torch.from_numpy(native).to(device)
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return mapped(inputs, place)


def home_of(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """The device that a model expects its inputs on, and its floating type."""
    values = [value for value in [*model.parameters(), *model.buffers()] if value.device.type != "meta"]
    device = values[0].device if values else torch.device("cpu")
    return device, next((value.dtype for value in values if value.dtype in _FLOATS), torch.get_default_dtype())


def call(model: nn.Module, inputs: Inputs) -> Any:
    """The model's output: ``model(x)``, ``model(**x)`` of a dictionary, ``model(*x)`` of a tuple."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)
