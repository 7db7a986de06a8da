"""The information plane of a training run that is over, from the checkpoints that it left."""

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from glob import glob
from pathlib import Path
from typing import Any

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError("miest.plane needs torch: pip install 'miest[torch]'.") from error

from miest.plane.information_plane import InformationPlane
from miest.plane.trajectory import Trajectory

_INSIDE = ("state_dict", "model_state_dict", "model")  # where trainers put the weights among other things
_WRAPPERS = re.compile(r"(^|\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)")


def from_checkpoints(
    checkpoints: str | Path | Iterable[str | Path],
    model: nn.Module,
    probe: Any,
    layers: Any = None,
    *,
    step: Callable[[Path], int] | None = None,
    **settings: Any,
) -> Trajectory:
    """Estimate the information plane of saved weights, one checkpoint after the other.

    Parameters
    ----------
    checkpoints : pattern such as "ckpt/*.pt", or list of files
        state dictionaries, also inside of what Lightning and others save, or .safetensors; never unpickled
    model : torch module        of the architecture of the checkpoints; it gets its own weights back
    probe, layers, **settings   as for `InformationPlane`; `when` picks among the steps, and is all of them by default
    step : function of a path, or None
        the step of a file; None: the last number in its name, 300 of "epoch=3-step=300.ckpt"

    Returns
    -------
    Trajectory

    Raises
    ------
    FileNotFoundError
        if no file fits the pattern
    ValueError
        if a file has no step, two have the same, or the weights do not fit the model
    """
    files = _by_step(checkpoints, step or _number_in)
    settings = {"when": lambda _: True, **settings}
    with InformationPlane(model, layers, probe=probe, **settings) as plane:
        inner = plane.recorder.model
        before = copy.deepcopy(inner.state_dict())
        try:
            for number, path in files.items():
                if not plane.holds(number):
                    _load(inner, path)
                    plane.log(number)
        finally:
            inner.load_state_dict(before)
    return plane.trajectory


def _by_step(checkpoints: str | Path | Iterable[str | Path], step_of: Callable[[Path], int]) -> dict[int, Path]:
    """The files in the order of their steps, which is not that of their names: 2 comes before 10."""
    if isinstance(checkpoints, (str, Path)):
        paths = [Path(name) for name in glob(str(checkpoints))]
    else:
        paths = [Path(name) for name in checkpoints]
    if not paths:
        raise FileNotFoundError(f"no checkpoint fits {checkpoints}.")
    found: dict[int, Path] = {}
    for path in sorted(paths):
        number = step_of(path)
        if number in found:
            raise ValueError(f"{found[number]} and {path} are both of step {number}: pass step=, a function of a path.")
        found[number] = path
    return dict(sorted(found.items()))


def _number_in(path: Path) -> int:
    numbers = re.findall(r"\d+", path.stem)
    if not numbers:
        raise ValueError(
            f"{path} has no number in its name, which would be its step: pass step=, a function of a path."
        )
    return int(numbers[-1])


def _load(model: nn.Module, path: Path) -> None:
    weights = _weights(path)
    own = model.state_dict().keys()
    if weights.keys() != own:  # what a wrapper or a trainer puts before every name
        plain = {_WRAPPERS.sub("", name).removeprefix("."): value for name, value in weights.items()}
        prefixes = {name.partition(".")[0] for name in plain}
        if plain.keys() != own and len(prefixes) == 1:
            plain = {name.partition(".")[2]: value for name, value in plain.items()}
        weights = plain
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit the model: {' '.join(str(error).split())}") from error


def _weights(path: Path) -> dict[str, Any]:
    """The state dictionary in a file."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # of a zip file, of a pickle that holds more than weights, ...
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{path} cannot be read as weights alone, and nothing else is unpickled, because unpickling runs code: "
            f"{reason} Save model.state_dict() instead."
        ) from error
    for name in _INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not any(isinstance(value, torch.Tensor) for value in found.values()):
        raise ValueError(f"{path} holds no state dictionary: save model.state_dict().")
    return {str(name): value for name, value in found.items()}
