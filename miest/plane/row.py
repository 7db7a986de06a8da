"""One estimate of a training run, and how it is written down.

A row holds what the result said when it was made: the value is never clipped, and an estimate that could not be made
is a row as well, of kind "failed", whose note holds the reason.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

import numpy as np

from miest.result import MIResult

Kind = Literal["point", "lower bound", "upper bound", "failed"]

_SPELLED = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}  # one nan, so that equal rows are equal
_NUMBERS = ("value", "interval", "level", "ceiling", "seconds", "diagnostics")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity of one layer at one step, in nats.

    Parameters
    ----------
    step : int                          of training; 0 is before the first
    layer : str
    quantity : str                      its key, which also tells the estimator where there are several: "I_XT[kde]"
    value : float                       NaN where the estimate failed
    interval : (low, high) or None      at `level`
    level : float
    kind : "point", "lower bound", "upper bound" or "failed"
    ceiling : float or None             the largest value that the method can report from these samples
    flags : tuple of str                names of `miest.Flag`; empty: nothing suspicious was seen
    n : int                             samples
    seconds : float                     wall time, which two rows may differ in and yet be equal
    estimator : str                     name and settings
    name : str                          the quantity for a reader: "I(X;T+eps)"
    notes : tuple of str                a sentence for each flag and each choice; the reason of a failure
    diagnostics : mapping               what the method knows about its own estimate
    """

    step: int
    layer: str
    quantity: str
    value: float
    interval: tuple[float, float] | None = None
    level: float = 0.95
    kind: Kind = "point"
    ceiling: float | None = None
    flags: tuple[str, ...] = ()
    n: int = 0
    seconds: float = field(default=0.0, compare=False)
    estimator: str = ""
    name: str = ""
    notes: tuple[str, ...] = ()
    diagnostics: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        # One object for all that is not a number, as nan == nan is false, but identical things are equal.
        object.__setattr__(self, "value", read_back(self.value))
        object.__setattr__(self, "diagnostics", read_back(dict(self.diagnostics)))

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()  # from another process come other objects

    @classmethod
    def of(cls, result: MIResult, *, step: int, layer: str, quantity: str, estimator: str, seconds: float) -> Self:
        """The row of a result."""
        return cls(
            step=step,
            layer=layer,
            quantity=quantity,
            value=float(result.value),
            interval=None if result.interval is None else (float(result.interval[0]), float(result.interval[1])),
            level=float(result.level),
            kind=result.kind,
            ceiling=None if result.ceiling is None else float(result.ceiling),
            flags=tuple(flag.name for flag in result.flags),
            n=int(result.n_samples),
            seconds=seconds,
            estimator=estimator,
            name=result.quantity,
            notes=tuple(result.notes),
            diagnostics=result.diagnostics,
        )

    @property
    def place(self) -> tuple[int, str, str]:
        """Step, layer and quantity: what there is one row of."""
        return self.step, self.layer, self.quantity

    @property
    def failed(self) -> bool:
        """Whether there is no value; the reason is in `notes`."""
        return self.kind == "failed"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which JSON holds once `spelled`."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {"diagnostics": dict(self.diagnostics)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuild a row from what `json` reads of `to_dict`.

        Raises
        ------
        ValueError
            if a field is missing or unknown
        """
        known = {f.name for f in fields(cls)}
        if set(plain) != known:
            odd = ", ".join(sorted(set(plain) ^ known))
            raise ValueError(f"not a row written by this version of miest: missing or unknown fields: {odd}.")
        plain = {**plain, **{name: numbers(plain[name]) for name in _NUMBERS}}
        interval = plain["interval"]
        return cls(
            **{
                **plain,
                "interval": None if interval is None else tuple(interval),
                "flags": tuple(plain["flags"]),
                "notes": tuple(plain["notes"]),
            }
        )


def spelled(plain: Any) -> Any:
    """Plain values for JSON, in which "inf", "-inf" and "nan" stand for the numbers that it does not have."""
    if isinstance(plain, Mapping):
        return {str(key): spelled(value) for key, value in plain.items()}
    if isinstance(plain, np.ndarray):
        return spelled(plain.tolist())
    if isinstance(plain, (list, tuple)):
        return [spelled(item) for item in plain]
    plain = plain.item() if isinstance(plain, np.generic) else plain
    if isinstance(plain, float) and not math.isfinite(plain):
        return str(plain)
    return plain if plain is None or isinstance(plain, (bool, int, float, str)) else repr(plain)


def numbers(plain: Any) -> Any:
    """The reverse of `spelled`."""
    if isinstance(plain, Mapping):
        return {key: numbers(value) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [numbers(item) for item in plain]
    return _SPELLED.get(plain, plain) if isinstance(plain, str) else plain


def read_back(value: Any) -> Any:
    """What comes back from JSON, so that a run equals itself when it is read again."""
    return numbers(spelled(value))
