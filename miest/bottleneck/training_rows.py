"""Inputs and classes to train on, from arrays, tensors, a dataset or a loader, as two tensors on one device."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from miest.plane.inputs import as_array, checked, split
from miest.samples import DataError, DataTypeError, variable

_ROWS_AT_ONCE = 256
FEWEST_ROWS = 20


def training_rows(data: Any, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, NDArray[Any]]:
    """Inputs, classes from 0, and the label of each class.

    Parameters
    ----------
    data : (x, y), a Dataset or a DataLoader of such pairs
        x (n, ...) numbers, samples on axis 0; y (n,) integers, booleans or strings
    device, dtype : of the inputs; integers stay integers

    Returns
    -------
    inputs : (n, ...) tensor
    codes : (n,) int64 tensor
    classes : (c,) array            ascending

    Raises
    ------
    DataError
        if the rows do not match, are fewer than 20, are not finite, or have one class
    DataTypeError
        if the data are of no known form, or the labels are numbers on a line
    """
    x, y = _pair(data)
    labels = variable(y, "y")
    if len(x) != labels.n:
        raise DataError(f"there are {len(x)} inputs and {labels.n} labels: row i of each must be the same sample.")
    if labels.n < FEWEST_ROWS:
        raise DataError(f"{labels.n} rows are too few to train critics on: pass at least {FEWEST_ROWS}.")
    if not labels.is_discrete or labels.d != 1:
        raise DataTypeError(
            f"y is {labels.kind} with {labels.d} columns: pass one class a row, as integers, booleans or strings; wrap "
            "float-coded classes in miest.discrete."
        )
    classes, codes = np.unique(labels.values[:, 0], return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"all {labels.n} labels are {classes[0]}: there is nothing to learn. Pass rows of two classes.")
    inputs = x if isinstance(x, Tensor) else torch.from_numpy(np.array(x, x.dtype.newbyteorder("=")))
    if inputs.is_floating_point():
        inputs = inputs.to(dtype)
        if not torch.isfinite(inputs).all():
            raise DataError("x holds NaN or infinity: drop or fill those rows.")
    return inputs.to(device), torch.from_numpy(codes.astype(np.int64)).to(device), classes


def _pair(data: Any) -> tuple[Any, Any]:
    """Inputs and labels, each as one array or tensor."""
    if isinstance(data, IterableDataset):
        raise DataTypeError("data is an iterable dataset, which may have no end: pass (x, y), or a loader over it.")
    if isinstance(data, Dataset):
        data = DataLoader(data, batch_size=_ROWS_AT_ONCE)
    if isinstance(data, DataLoader):
        parts = [_two(batch) for batch in data]
        if not parts:
            raise DataError("the loader gives no batch: pass one with rows.")
        return torch.cat([torch.as_tensor(x) for x, _ in parts]), np.concatenate([as_array(y) for _, y in parts])
    return _two(data)


def _two(data: Any) -> tuple[Any, Any]:
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise DataTypeError(f"data is a {type(data).__name__}: pass the pair (x, y), or a Dataset or DataLoader of it.")
    x, y = split(data)
    x = np.asarray(x) if isinstance(x, list) else x
    if not hasattr(x, "shape") or not len(x.shape):
        raise DataTypeError(f"x is a {type(x).__name__}: pass one array or tensor with the samples on axis 0.")
    return checked(x), y
