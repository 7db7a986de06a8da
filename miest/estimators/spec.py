"""Estimators from text: what the command line and `validate` accept, and the text of an estimator in a table.

``ksg``, ``ksg:k=5,variant=2`` and ``KSG(k=5)`` name one of miest's own, and nothing in them is executed;
``package.module:Object`` and ``package.module:Class(width=64)`` import an object of somebody else.
"""

import ast
import re
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from typing import Any

from miest.estimators.estimator import Estimator

_OWN = re.compile(r"\s*([\w-]+)\s*(?::(.*)|\((.*)\))?\s*", re.DOTALL)
_ELSEWHERE = re.compile(r"\s*([A-Za-z_][\w.]*):([A-Za-z_][\w.]*)\s*(?:\((.*)\))?\s*", re.DOTALL)


def parsed(text: str) -> Estimator:
    """One of miest's own estimators from ``name``, ``name:key=value,...`` or ``Name(key=value, ...)``.

    Parameters
    ----------
    text : str          names in any case, with or without hyphens; values are literals, or text if they are none

    Returns
    -------
    Estimator           `Auto` for "auto", which chooses by the data

    Raises
    ------
    ValueError
        if the text has another form, or the name or a setting is unknown or out of range
    """
    from miest.estimators.auto import estimators

    parts = _OWN.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!r} is not of the form name or name:key=value,key=value.")
    settings = _settings(text, parts[2] or parts[3] or "")
    name, known = _plain(parts[1]), estimators()
    if name not in known:
        all_names = ", ".join(sorted(_kebab(made.__name__) for made in known.values()))
        raise ValueError(f"{parts[1]!r} is not one of {all_names}.")
    own = [field.name for field in fields(known[name])]  # type: ignore[arg-type]
    unknown = [key for key in settings if key not in own]
    if unknown:
        raise ValueError(
            f"{known[name].__name__} has no setting {', '.join(map(repr, unknown))}: it has {', '.join(own) or 'none'}."
        )
    try:
        return known[name](**settings)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{text}: {' '.join(str(error).split())}") from error


def is_dotted(text: str) -> bool:
    """Whether the text names an object to import, ``package.module:Object``, and none of miest's own estimators."""
    from miest.estimators.auto import estimators

    parts = _ELSEWHERE.fullmatch(text)
    return parts is not None and _plain(parts[1]) not in estimators()


def imported(text: str) -> Any:
    """The object that ``package.module:Object`` names; a class is called, with the settings in brackets if any.

    Raises
    ------
    ValueError
        if it cannot be imported, is not there, or cannot be made with these settings
    """
    parts = _ELSEWHERE.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!r} is not of the form package.module:Object.")
    module, path, settings = parts[1], parts[2], parts[3]
    try:
        found: Any = import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{text}: module {module!r} cannot be imported: {error}. Install it, or add its folder to PYTHONPATH."
        ) from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise ValueError(f"{text}: {getattr(found, '__name__', found)!r} has no {name!r}.")
        found = getattr(found, name)
    if not isinstance(found, type):
        if settings is not None:
            raise ValueError(f"{text}: settings in brackets need a class, and {path} is none.")
        return found
    try:
        return found(**_settings(text, settings or ""))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{text}: {' '.join(str(error).split())}") from error


def short(estimator: Any) -> str:
    """Name of an estimator and the settings that differ from their defaults; text as it is."""
    if not is_dataclass(estimator) or isinstance(estimator, type):
        return str(estimator)
    changed = [
        f"{f.name}={getattr(estimator, f.name)!r}"
        for f in fields(estimator)
        if f.default is MISSING or getattr(estimator, f.name) != f.default
    ]
    return type(estimator).__name__ + (f"({', '.join(changed)})" if changed else "")


def _settings(spec: str, text: str) -> dict[str, Any]:
    """Literals as Python reads them, anything else as the text that it is: ``k=5,strategy=fixed-width``."""
    source = f"f({text})"
    try:
        call = ast.parse(source, mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args):
            raise ValueError
        return {keyword.arg or "**": _literal(source, keyword.value) for keyword in call.keywords}
    except _Unknown as error:
        raise ValueError(f"{spec}: {error}") from error
    except (ValueError, SyntaxError):
        raise ValueError(f"the settings of {spec!r} are not of the form key=value,key=value.") from None


def _literal(source: str, node: ast.expr) -> Any:
    """A literal, one of miest's own noises or estimators with its settings, or else the text that it is."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return _made(source, node.func.id, node)
        return ast.get_source_segment(source, node)


def _made(source: str, name: str, call: ast.Call) -> Any:
    from miest import noise
    from miest.estimators.auto import estimators

    noises = {made.__name__.lower(): made for made in (noise.GaussianNoise, noise.UniformNoise, noise.ZeroEntropyNoise)}
    known: dict[str, Any] = {**estimators(), **noises}
    if _plain(name) not in known:
        raise _Unknown(f"{name!r} is not one of {', '.join(made.__name__ for made in known.values())}.")
    made, values = known[_plain(name)], {k.arg or "**": _literal(source, k.value) for k in call.keywords}
    try:
        return made(*map(ast.literal_eval, call.args), **values)
    except TypeError as error:
        own = ", ".join(field.name for field in fields(made)) or "none"
        raise _Unknown(f"{ast.get_source_segment(source, call)}: {made.__name__} has the settings: {own}.") from error
    except ValueError as error:
        raise _Unknown(" ".join(str(error).split())) from error


class _Unknown(Exception):
    """A setting is itself an object that cannot be made."""


def _plain(name: str) -> str:
    return re.sub("[-_]", "", name).lower()


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
