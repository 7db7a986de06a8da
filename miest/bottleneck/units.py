"""The layers of a stack: which of its modules are trained together."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from torch import nn


def units_of(model: Any, ends: Sequence[str] | None = None) -> dict[str, nn.Sequential]:
    """The layers of a stack by name, in order; each is a Sequential of the stack's own modules.

    Parameters
    ----------
    model : nn.Sequential, nn.ModuleList or a list of modules
    ends : names of children at which layers end, or None
        the last must be the last child. None: each child with weights (parameters of two axes or more) and those that
        follow it up to the next make a layer; those before the first belong to it. A layer has the name of its last
        child.

    Raises
    ------
    TypeError
        if the model is no stack
    ValueError
        if no child has weights, a name is no child, names are out of order, or a layer has nothing to train
    """
    children = _children(model)
    if not any(_has_weights(child) for child in children.values()):
        raise ValueError(f"none of the {len(children)} modules of the stack has weights: there is no layer to train.")
    names = list(children)
    if ends is None:
        starts = [i for i, child in enumerate(children.values()) if _has_weights(child)]
        places = [i - 1 for i in starts[1:]] + [len(names) - 1]
    else:
        places = [_place(name, names) for name in ends]
        if not places or places != sorted(set(places)) or places[-1] != len(names) - 1:
            raise ValueError(
                f"layers={list(ends)} must be children of the model in its order, of which the last is {names[-1]!r}."
            )
    units = {}
    for first, last in zip([0, *(place + 1 for place in places)], places, strict=False):
        unit = nn.Sequential(*(children[name] for name in names[first : last + 1]))
        if not any(True for _ in unit.parameters()):
            raise ValueError(f"the layer that ends at {names[last]!r} has no parameters: let it end at a later child.")
        units[names[last]] = unit
    return units


def _children(model: Any) -> dict[str, nn.Module]:
    if isinstance(model, (list, tuple)) and model and all(isinstance(child, nn.Module) for child in model):
        model = nn.ModuleList(model)
    if not isinstance(model, (nn.Sequential, nn.ModuleList)):
        raise TypeError(
            f"model is a {type(model).__name__}: pass an nn.Sequential, an nn.ModuleList or a list of modules, each of "
            "which takes what the one before it gives. For other networks use miest.bottleneck.end_to_end."
        )
    # Not `named_children`, which leaves out an activation that stands in several places the second time.
    children = {name: child for name, child in model._modules.items() if child is not None}
    weighted = [id(child) for child in children.values() if any(True for _ in child.parameters())]
    if len(set(weighted)) < len(weighted):
        raise ValueError("a module with parameters stands in the stack twice: layers are trained one by one, copy it.")
    return children


def _has_weights(module: nn.Module) -> bool:
    return any(parameter.ndim > 1 for parameter in module.parameters())


def _place(name: str, names: list[str]) -> int:
    if name in names:
        return names.index(name)
    near = get_close_matches(str(name), names, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ValueError(f"the model has no child {name!r}.{hint} There is {', '.join(names)}.")
