"""Which modules of a model are layers, and what they are called.

Names are those of `named_modules`, without the parts that wrappers add: compiled, DDP, FSDP and checkpointed models
have the same layers as the model inside.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Never

try:
    import torch
    from torch import nn
    from torch.nn.parallel import DataParallel, DistributedDataParallel
    from torch.optim.swa_utils import AveragedModel
except ImportError as error:
    raise ImportError("miest.plane needs torch: pip install 'miest[torch]'.") from error

Predicate = Callable[[str, nn.Module], bool]
Layer = str | nn.Module | type[nn.Module] | Predicate
Layers = Layer | Iterable[Layer] | None

_SHOWN = 20
_HOLDERS = (DataParallel, DistributedDataParallel, AveragedModel)  # of a child named "module"
_INSIDE = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")


def select(model: nn.Module, layers: Layers = None) -> dict[str, nn.Module]:
    """The layers of a model that are asked for, by name, in the order of their definition.

    Parameters
    ----------
    model : torch module    wrappers (compiled, DDP, FSDP, DataParallel, checkpointed) add nothing to the names
    layers : None, or one of these, or several of them in a list
        str                 a name, or a pattern such as ``"fc*"``, where ``*`` matches dots too
        module              the object itself
        type                every module of that type
        function            of (name, module), true for the layers wanted
        None                modules without children that have parameters, and activation modules

    Returns
    -------
    dict of str to module
        a module that stands in several places has its first name. The model as a whole is called "output"; it is
        taken by that name, as an object, or where it has no modules inside (a bare nn.LSTM).

    Raises
    ------
    ValueError
        if a name, pattern, object, type or function fits no module; the message names those that are near
    TypeError
        if the model is no module, or is TorchScript, which has no hooks
    """
    return choose(model, layers)[0]


def choose(model: nn.Module, layers: Layers) -> tuple[dict[str, nn.Module], frozenset[str]]:
    """What `select` returns, and the names among it that were asked for one by one: by full name, or as an object."""
    found = _named(model)
    root = next(reversed(found))  # the model itself
    inner = {name: module for name, module in found.items() if name != root} or found
    if layers is None:
        names = {name for name, module in inner.items() if _is_default(module)}
        if not names:
            _refuse("the model has no module with parameters and no activation module", found)
        return {name: found[name] for name in found if name in names}, frozenset()
    wanted: list[Any] = [layers]
    if isinstance(layers, Iterable) and not isinstance(layers, (str, nn.Module, type)):
        wanted = list(layers)
    if not wanted:
        raise ValueError("layers is empty: name at least one layer, or leave layers=None for all that have parameters.")
    names, single = set(), set()
    for item in wanted:
        if isinstance(item, nn.Module):
            single.add(_name_of(item, found))
        elif isinstance(item, str) and (name := _full_name(item, model, found)):
            single.add(name)
        else:
            names |= _matching(item, inner, found)
    return {name: found[name] for name in found if name in names | single}, frozenset(single)


def runnable(model: nn.Module) -> nn.Module:
    """The module to call for a probe: without the wrappers whose own forward compiles, scatters or synchronises.

    FSDP stays, because only it can gather the weights.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}: pass a torch module.")
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"the model's {name!r}" if name else "the model"
            raise TypeError(
                f"{where} is TorchScript ({type(module).__name__}), in which activations cannot be recorded: pass the "
                "module that was scripted or traced, and script it afterwards."
            )
    inner = _wrapped(model)
    passed_by = isinstance(model, _HOLDERS) or "_orig_mod" in model._modules
    return runnable(inner) if passed_by and inner is not None else model


def setting(settings: Any, name: str, call: int) -> Any:
    """The value for one layer of a setting that is one for all, or a mapping from patterns; None where none fits.

    A pattern may name one call of a module that is called several times: ``"fc#0"``.
    """
    if not isinstance(settings, Mapping):
        return settings
    for pattern, value in settings.items():
        if any(pattern == full or fnmatchcase(full, pattern) for full in (name, f"{name}#{call}")):
            return value
    return None


def check_patterns(what: str, settings: Any, names: Iterable[str]) -> None:
    """Raise if a pattern of a mapping fits none of the names."""
    known = list(names)
    for pattern in settings if isinstance(settings, Mapping) else ():
        plain = pattern.partition("#")[0]
        if not any(pattern == name or fnmatchcase(name, plain) for name in known):
            _refuse(f"{what} has the key {pattern!r}, which fits no recorded layer", known, pattern)


def _named(model: nn.Module) -> dict[str, nn.Module]:
    """Every module by its name, the model itself last."""
    root = _unwrapped(runnable(model))
    first: dict[int, str] = {}
    found = {name: module for name, module in _walk(root, "", set()) if first.setdefault(id(module), name) == name}
    del found[""]
    return found | {_root_name(found): root}


def _walk(module: nn.Module, name: str, seen: set[int]) -> Iterator[tuple[str, nn.Module]]:
    """Names and modules without wrappers, in the order of definition; a module again for each further name."""
    module = _unwrapped(module)
    yield name, module
    if id(module) in seen or _is_attention(module):
        return
    seen.add(id(module))
    for key, child in module._modules.items():  # not named_children, which leaves out further names
        if child is not None and key != "parametrizations":  # of weights: no layers
            yield from _walk(child, f"{name}.{key}" if name else key, seen)


def _wrapped(module: nn.Module) -> nn.Module | None:
    inside = ("module",) if isinstance(module, _HOLDERS) else _INSIDE
    return next((module._modules[key] for key in inside if key in module._modules), None)


def _unwrapped(module: nn.Module) -> nn.Module:
    while (inner := _wrapped(module)) is not None:
        module = inner
    return module


def _root_name(others: Iterable[str]) -> str:
    return next(name for name in ("output", "model_output", "output_of_model") if name not in others)


def _is_attention(module: nn.Module) -> bool:
    """Whether it is nn.MultiheadAttention, which uses its child's weights and never calls the child."""
    return type(module).forward is nn.MultiheadAttention.forward


def _is_default(module: nn.Module) -> bool:
    if any(key != "parametrizations" for key, _ in module.named_children()) and not _is_attention(module):
        return False
    activation = any(base.__module__.endswith((".activation", ".activations")) for base in type(module).__mro__)
    return activation or any(True for _ in module.parameters())


def _name_of(module: nn.Module, found: Mapping[str, nn.Module]) -> str:
    inner = _unwrapped(module)
    for name, known in found.items():
        if known is inner:
            return name
    _refuse(f"the {type(module).__name__} given as a layer is not part of the model", found)


def _full_name(name: str, model: nn.Module, found: Mapping[str, nn.Module]) -> str | None:
    """The layer that is called exactly so, or is so called by a wrapper, or has this as a further name."""
    if name in found:
        return name
    names = dict(_walk(_unwrapped(model), "", set()))
    parts = [part for part in name.split(".") if part not in _INSIDE]
    for alias in (name, ".".join(parts), ".".join(parts[1:]) if parts[0] == "module" else ""):
        if alias and alias in names:
            return _name_of(names[alias], found)
    return None


def _matching(item: Any, inner: Mapping[str, nn.Module], found: Mapping[str, nn.Module]) -> set[str]:
    if isinstance(item, str):
        names = {name for name in inner if fnmatchcase(name, item)}
        if not names:
            _refuse(f"the model has no layer {item!r}", found, item)
    elif isinstance(item, type):
        names = {name for name, module in inner.items() if isinstance(module, item)}
        if not names:
            types = ", ".join(sorted({type(module).__name__ for module in inner.values()}))
            raise ValueError(f"the model has no layer of type {item.__name__}. It has: {types}.")
    elif callable(item):
        names = {name for name, module in inner.items() if item(name, module)}
        if not names:
            _refuse("the function given as layers is true for no module", found)
    else:
        raise TypeError(f"a layer is given as {item!r}: pass a name, a pattern, a module, a type or a function.")
    return names


def _refuse(problem: str, names: Iterable[str], wanted: str = "") -> Never:
    known = list(names)
    near = get_close_matches(wanted.partition("#")[0], known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    raise ValueError(f"{problem}.{hint} There are: {', '.join(known[:_SHOWN])}{more}.")
