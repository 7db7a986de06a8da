"""What a run says of itself: the model, the probe set, what is estimated, and with which versions."""

import math
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miest.plane.quantities import Quantity
from miest.plane.recorder import Recorder
from miest.plane.run import SCHEMA
from miest.plane.schedule import Schedule
from miest.samples import DataError, variable

_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")


def described(
    recorder: Recorder,
    quantities: Sequence[Quantity],
    *,
    when: Schedule,
    reduce: Any,
    dtype: str,
    estimate: str,
    seed: int,
) -> dict[str, Any]:
    """The settings of a run, as plain values for ``run.json``."""
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": _model(recorder.model),
        "chosen": list(recorder.layers),
        "layers": [],  # in the order of the forward pass, which the first snapshot tells
        "reductions": {},
        "missing": {},
        "reduce": {name: str(one) for name, one in reduce.items()} if isinstance(reduce, Mapping) else str(reduce),
        "dtype": dtype,
        "train_mode": recorder.train_mode,
        "probe": recorder.probe_hash,
        "n": recorder.n,
        "seed": seed,
        "when": str(when) if not hasattr(when, "__qualname__") else f"{when.__module__}.{when.__qualname__}",
        "estimate": estimate,
        "references": _references(recorder),
        "quantities": [quantity.to_dict() for quantity in quantities],
        "versions": {name: _version(name) for name in ("miest", "numpy", "scipy", "numba", "scikit-learn", "torch")}
        | {"python": platform.python_version(), "platform": platform.platform()},
    }


def input_rows(recorder: Recorder) -> NDArray[Any]:
    """The probe's inputs as one array (n, ...); several parts are flattened and put side by side."""
    leaves = list(_leaves(recorder.inputs()))
    return leaves[0] if len(leaves) == 1 else np.column_stack([leaf.reshape(recorder.n, -1) for leaf in leaves])


def _model(model: Any) -> dict[str, Any]:
    """Class, size, and a digest of the names and shapes of its parameters."""
    shapes = {_bare(name): tuple(value.shape) for name, value in model.named_parameters()}
    return {
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "parameters": sum(math.prod(shape) for shape in shapes.values()),
        "shapes": sha256(repr(sorted(shapes.items())).encode()).hexdigest()[:16],
    }


def _bare(name: str) -> str:
    """The name of a parameter without what wrappers add."""
    parts = name.split(".")
    if parts[0] == "module":
        parts = parts[1:]
    return ".".join(part for part in parts if part not in _WRAPPERS[1:])


def _references(recorder: Recorder) -> dict[str, float]:
    """Entropies of the probe set, in nats: of the inputs, where each distinct one is a symbol, and of the labels."""
    found = {}
    try:
        leaves = list(_leaves(recorder.inputs()))
    except DataError:  # padded to different lengths: equal rows have no one form
        leaves = []
    if leaves:
        rows = (b"".join(np.ascontiguousarray(leaf[i]).tobytes() for leaf in leaves) for i in range(recorder.n))
        found["H(X)"] = _entropy(list(Counter(blake2b(row, digest_size=16).digest() for row in rows).values()))
    if recorder.labels is not None:
        labels = variable(recorder.labels, "labels")
        if labels.is_discrete:
            found["H(Y)"] = _entropy(labels.symbol_counts)
    return found


def _leaves(inputs: Any) -> Iterator[NDArray[Any]]:
    """The arrays of nested inputs."""
    if isinstance(inputs, Mapping):
        inputs = tuple(inputs.values())
    if isinstance(inputs, tuple):
        for part in inputs:
            yield from _leaves(part)
    elif inputs is not None:
        yield inputs


def _entropy(counts: Any) -> float:
    p = np.asarray(counts, np.float64)
    p /= p.sum()
    return float(-(p * np.log(p)).sum()) + 0.0


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
