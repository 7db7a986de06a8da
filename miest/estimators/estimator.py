"""What an estimator is, and how one says what it cannot do."""

from abc import ABC, abstractmethod
from dataclasses import fields, is_dataclass
from typing import Any

from miest.result import MIResult

WHEN_CHANGED = {"shown": "when changed"}
"""Metadata of a settings field that a short text of the estimator leaves out while it has its default."""


class Estimator(ABC):
    """A frozen settings object with one verb; there is nothing to fit and nothing to reset.

    Subclasses are frozen keyword-only dataclasses. `estimate(x, y)` gives I(X;Y), `estimate(t)` gives I(X;T) where X
    is the identity of the row, and ``given=z`` conditions on Z, each where the method can answer it.
    """

    @abstractmethod
    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Estimate the quantity from paired samples.

        Parameters
        ----------
        x : (n, ...) array-like         samples of X; axes after the first are flattened
        y : (n, ...) array-like         samples of Y; left out: X is the identity of the row and `x` is the layer T
        given : (n, ...) array-like     condition on it
        seed : int or None              fixes every random number; most methods use none

        Returns
        -------
        MIResult
            nats
        """

    def __str__(self) -> str:
        """Return name and settings, without the minor ones that have their default."""
        if not is_dataclass(self):
            return repr(self)
        shown = [
            f"{f.name}={value!r}"
            for f in fields(self)
            if (value := getattr(self, f.name)) != f.default or f.metadata.get("shown") != "when changed"
        ]
        return f"{self.name}({', '.join(shown)})"

    @property
    def name(self) -> str:
        """The name of the method, which is the name of its class."""
        return type(self).__name__


def refuse_given(estimator: Estimator, given: Any) -> None:
    """Raise where a condition was given to a method that has no conditional form."""
    if given is not None:
        raise ValueError(
            f"{estimator.name} cannot condition: leave given= out, or use KSG, MixedKSG, Gaussian, GaussianCopula, "
            "PlugIn or Binning, which can."
        )


def refuse_identity(estimator: Estimator, y: Any) -> None:
    """Raise where the second argument was left out and the method has no finite answer."""
    if y is None:
        raise ValueError(
            f"{estimator.name} needs y. With y left out the question is I(X; T) with X the identity of the row: for a "
            "deterministic layer that is infinite, or ln n on n distinct samples, whatever the layer does. Ask for a "
            "finite quantity: KDE(noise_var=...) for I(X; T+eps), or Binning(...) for H_bin(T)."
        )


def require_integer(name: str, value: Any, at_least: int) -> None:
    """Raise unless a setting is an integer (not a bool) of at least `at_least`."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < at_least:
        raise ValueError(f"{name}={value!r} must be an integer of at least {at_least}.")


def require_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise unless a setting is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(map(repr, choices))}.")
