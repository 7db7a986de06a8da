"""One result type for every method, and the flags that say when a number should not be believed.

Statistical doubt flags; bad input raises. A value is reported as the method gave it: never clipped at zero, never the
best of several.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from html import escape
from typing import Any, Literal, Self, get_args

import numpy as np

Kind = Literal["point", "lower bound", "upper bound"]


class Flag(Enum):
    """Something seen in the data or in the estimate that makes the number doubtful; its value says what and why.

    `MIResult.notes` holds the same with this result's own numbers.
    """

    SATURATED = "the value is close to the largest one this method can report from so few samples"
    UNDERSAMPLED = "too few samples for the distribution behind them: much depends on samples that were not drawn"
    TIES = "many samples are exactly equal, which a method for continuous data does not expect"
    HIGH_DIMENSION = "neighbours are too far away for the density to be constant among them: biased towards zero"
    SMALL_SAMPLE = "too few samples for the size of the model or of the alphabet"
    SKEWED = "the margins are far from Gaussian, which this method assumes"
    DETERMINISTIC = "one argument is a function of the other: the mutual information is infinite or an entropy"
    SINGLETON_BINS = "most symbols were seen only once: the estimate measures the number of samples, not the data"
    CONSTANT = "an argument does not vary: it carries no information"
    DISCRETE = "discrete data were used as numbers on a line by a method for continuous data"
    DUPLICATES = "rows come in groups of near-copies, so that neighbours measure the copies and not the dependence"
    DISAGREEMENT = "estimates of the same quantity from the same data exclude each other"
    APPROXIMATE = "neighbours were looked for in part of the data only, and some were missed"
    AUTOCORRELATED = "rows resemble earlier rows: there are fewer independent samples than rows"
    NOT_CONVERGED = (
        "training diverged, was still gaining when its steps ran out, or did not find what a closed form finds"
    )
    OVERFIT = "what was fitted reads rows it was fitted to better than rows it was not: too few samples for it"
    UNBOUNDED_VARIANCE = "a mean of exponentials hangs on so few pairs that it cannot be known from these samples"

    def __str__(self) -> str:
        return self.name


class Doubt(Exception):
    """Raised by `MIResult.require_ok` for a result that carries flags."""


class Diagnostics(Mapping[str, Any]):
    """What a method knows about its own estimate: read as ``d["radius"]`` or ``d.radius``.

    Values are numbers, strings, None, and lists or dictionaries of those, so that every result survives JSON.
    """

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(key)
        try:
            return self._values[key]
        except KeyError:
            known = ", ".join(self._values) or "none"
            raise AttributeError(f"no diagnostic {key!r}; this result has: {known}.") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values))  # the keys: values may be lists

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def __repr__(self) -> str:
        return f"Diagnostics({', '.join(f'{key}={value!r}' for key, value in self._values.items())})"


@dataclass(frozen=True, kw_only=True)
class MIResult:
    """An estimated information quantity in nats, and how far to trust it.

    Parameters
    ----------
    value : float                   nats; slightly negative values are information, and are kept
    n_samples : int
    estimator : estimator object    the settings that made it; a string where it came from JSON and is not miest's own
    quantity : str                  what was estimated: "I(X;Y)", "I(X;T+eps)", "H_bin(T)", "h(X)", ...
    kind : "point", "lower bound" or "upper bound"
    interval : (low, high) or None  nats, at `level`; None where the method has no honest one
    level : float
    ceiling : float or None         the largest value this method can report from these samples, nats
    flags : tuple of Flag           empty: nothing suspicious was seen
    notes : tuple of str            a sentence for each flag and each choice made for the caller
    diagnostics : Diagnostics
    seconds : float
    unit : "nats" or "dimensions"   of value, interval and ceiling
    fitted : Any                    what the method trained, for a warm start of another; not in the JSON
    """

    value: float
    n_samples: int
    estimator: Any
    quantity: str = "I(X;Y)"
    kind: Kind = "point"
    interval: tuple[float, float] | None = None
    level: float = 0.95
    ceiling: float | None = None
    flags: tuple[Flag, ...] = ()
    notes: tuple[str, ...] = ()
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    seconds: float = 0.0
    unit: Literal["nats", "dimensions"] = "nats"
    fitted: Any = field(default=None, repr=False, compare=False)

    @property
    def nats(self) -> float:
        """The value in nats, which is what every field of a result is in."""
        return self.value

    @property
    def bits(self) -> float:
        """The value in bits."""
        return self.value / math.log(2)

    @property
    def ok(self) -> bool:
        """Whether nothing suspicious was seen."""
        return not self.flags

    def require_ok(self) -> Self:
        """Return the result itself, or raise if it carries a flag.

        Raises
        ------
        Doubt
            with the notes of the result
        """
        if self.flags:
            raise Doubt(f"{self}: " + " ".join(self.notes or [flag.value for flag in self.flags]))
        return self

    def __float__(self) -> float:
        return float(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else str(self)

    def __str__(self) -> str:
        in_bits = f" ({self.bits:.4f} bits)" if self.unit == "nats" else ""
        parts = [f"{self.quantity} = {self.value:.4f} {self.unit}{in_bits}"]
        if self.kind != "point":
            parts.append(self.kind)
        if self.interval is not None:
            parts.append(f"{self.level:.0%} [{self.interval[0]:.4f}, {self.interval[1]:.4f}]")
        parts += [str(self.estimator), f"n={self.n_samples}"]
        flags = f" [{', '.join(map(str, self.flags))}]" if self.flags else ""
        return ", ".join(parts) + flags

    def report(self) -> str:
        """Everything about the result as a table for the terminal: value, bounds, flags in words, diagnostics."""
        from io import StringIO

        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(show_header=False, title=self.quantity, title_justify="left")
        for name, text in self._rows():
            table.add_row(Text(name), Text(text))
        out = StringIO()
        Console(file=out, width=110).print(table)
        return out.getvalue()

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(text)}</td></tr>"
            for name, text in self._rows()
        )
        return f"<table><caption>{escape(self.quantity)}</caption>{rows}</table>"

    def _rows(self) -> list[tuple[str, str]]:
        in_bits = f" = {self.bits:.6f} bits" if self.unit == "nats" else ""
        rows = [("value", f"{self.value:.6f} {self.unit}{in_bits} ({self.kind})")]
        if self.interval is not None:
            rows.append((f"{self.level:.0%} interval", f"{self.interval[0]:.6f} to {self.interval[1]:.6f} {self.unit}"))
        if self.ceiling is not None:
            rows.append(("ceiling", f"{self.ceiling:.6f} {self.unit}"))
        rows += [("samples", str(self.n_samples)), ("estimator", str(self.estimator))]
        rows += [(flag.name, flag.value) for flag in self.flags] or [("flags", "none")]
        rows += [("note", note) for note in self.notes]
        rows += [(key, _short(value)) for key, value in self.diagnostics.items()]
        return [*rows, ("seconds", f"{self.seconds:.3g}")]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries: what `to_json` writes."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "fitted"}
        return plain | {
            "estimator": _settings(self.estimator),
            "interval": None if self.interval is None else list(self.interval),
            "flags": [flag.name for flag in self.flags],
            "notes": list(self.notes),
            "diagnostics": dict(self.diagnostics),
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """JSON text that `from_json` reads back to an equal result; "inf", "-inf" and "nan" stand for such numbers."""
        return json.dumps(spelled(self.to_dict()), indent=indent, allow_nan=False)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuild a result from `to_dict`, or from what `json` reads of `to_json`.

        Raises
        ------
        ValueError
            if a field is missing or unknown
        """
        known = {f.name for f in fields(cls)} - {"fitted"}
        if set(plain) != known:
            odd = ", ".join(sorted(set(plain) ^ known))
            raise ValueError(f"not a result written by this version of miest: missing or unknown fields: {odd}.")
        if plain["kind"] not in get_args(Kind):
            raise ValueError(f"kind={plain['kind']!r} is not one of {', '.join(get_args(Kind))}.")
        numbers = ("value", "interval", "level", "ceiling", "seconds", "diagnostics")
        plain = {**plain, **{name: _numbers(plain[name]) for name in numbers}}
        return cls(
            **{
                **plain,
                "estimator": _estimator(plain["estimator"]),
                "interval": None if plain["interval"] is None else tuple(plain["interval"]),
                "flags": tuple(Flag[name] for name in plain["flags"]),
                "notes": tuple(plain["notes"]),
                "diagnostics": Diagnostics(**plain["diagnostics"]),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild a result from `to_json`."""
        return cls.from_dict(json.loads(text))


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def spelled(plain: Any) -> Any:
    """What `to_dict` gives, with NumPy scalars as Python's, and as text the numbers that JSON does not have."""
    if isinstance(plain, dict):
        return {key: spelled(value) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [spelled(item) for item in plain]
    plain = plain.item() if isinstance(plain, np.generic) else plain
    return str(plain) if isinstance(plain, float) and not math.isfinite(plain) else plain


def _numbers(plain: Any) -> Any:
    """The reverse of `spelled`."""
    if isinstance(plain, dict):
        return {key: _numbers(value) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [_numbers(item) for item in plain]
    return float(plain) if isinstance(plain, str) and plain in ("inf", "-inf", "nan") else plain


def _settings(value: Any) -> Any:
    """A settings object as {"class": name, field: value}; plain values as they are, anything else as its text."""
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value) and not isinstance(value, type):
        return {"class": type(value).__name__} | {f.name: _settings(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, (list, tuple)):
        return [_settings(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _estimator(plain: Any) -> Any:
    """The settings object that `_settings` wrote, if it is one of miest's own; otherwise its text.

    Only names that miest exports are looked up: reading a file never imports what the file names.
    """
    if isinstance(plain, list):
        return tuple(_estimator(item) for item in plain)
    if not isinstance(plain, dict):
        return plain
    import miest

    name, settings = (
        plain["class"],
        {key: _estimator(value) for key, value in plain.items() if key != "class"},
    )
    made: Callable[..., Any] | None = getattr(miest, name, None) if name in miest.__all__ else None
    if made is not None and is_dataclass(made):
        return made(**settings)
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in settings.items())})"
