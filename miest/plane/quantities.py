"""What is estimated of a layer: an estimator or a function, the axis it belongs to, and a key that names it in files.

A key tells the quantity, and the estimator where there are several: "I_XT", "I_XT[kde]", "H_bin", "I_TY". I(X;T) of a
deterministic layer is infinite, or ln n whatever the layer does; so an estimator of the horizontal axis must be one
of a finite quantity: I(X;T+eps), or the entropy of the binned layer.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from hashlib import sha256
from typing import Any, Literal, Self

import numpy as np

from miest.estimators.estimator import Estimator
from miest.result import MIResult

Axis = Literal["x", "y"]

# What an estimator answers without labels, by class. All others compare the layer with labels, and need them.
_ALONE = {
    "KDE": "I_XT",
    "GaussianChannel": "I_XT",
    "Noisy": "I_XT",
    "AAMINE": "I_XT",
    "Binning": "H_bin",
    "PlugIn": "H_T",
    "TotalCorrelation": "TC",
    "CorrelationDimension": "dimension",
    "InformationDimension": "information_dimension",
    "Renyi2": "H2",
    "KozachenkoLeonenko": "h_T",
}
_NEVER_WITH_LABELS = (
    "TotalCorrelation",
    "CorrelationDimension",
    "InformationDimension",
    "Renyi2",
    "KozachenkoLeonenko",
    "AAMINE",
)
_WITH_INPUTS = ("Noisy",)  # which compares the layer with the inputs themselves
_WITH_LABELS = {"LinearProbe": "H_Y_given_T"}

_NAMES = {
    "I_XT": "I(X;T+eps)",
    "I_TY": "I(T;Y)",
    "H_bin": "H_bin(T)",
    "H_T": "H(T)",
    "TC": "TC(T)",
    "h_T": "h(T)",
    "dimension": "correlation dimension",
    "information_dimension": "information dimension",
    "H2": "H2([T]_m)",
    "H_Y_given_T": "H(Y|T)",
}

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Quantity:
    """A named quantity of a layer: I(X;T+eps), H_bin(T), I(T;Y), or one of the caller's own.

    Parameters
    ----------
    key : str                   in files, tables and loggers: "I_XT"
    measure : estimator or function
        a function of the layer (n, ...), or of the layer and the labels, that returns an `MIResult` or a number of
        nats; it is given ``seed=`` and ``inputs=`` too if it has such parameters
    axis : "x", "y" or None     of the plane; None has no place in it
    labels : bool or None       whether the labels are passed; None: for axis "y", to estimators that need them, and to
                                functions of two arguments
    inputs : bool or None       whether the inputs of the network are passed, to an estimator as X; None: to functions
                                that have such a parameter
    name : str                  for a reader, where the measure does not name what it gives
    repetition : int            of the same measure: another stream of random numbers
    """

    key: str
    measure: Any
    axis: Axis | None = None
    labels: bool | None = None
    inputs: bool | None = None
    name: str = ""
    repetition: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.key, str) or not re.fullmatch(r"[^\s/]+", self.key):
            raise ValueError(f"key={self.key!r} must be a word without spaces and slashes, such as 'I_XT'.")
        if self.axis not in ("x", "y", None):
            raise ValueError(f"axis={self.axis!r} must be 'x', 'y' or None.")
        if isinstance(self.measure, type) or not (is_estimator(self.measure) or callable(self.measure)):
            raise ValueError(
                f"{self.key} is measured by {self.measure!r}, which is neither an estimator nor a function: pass one "
                "with estimate(t), such as KDE(), or a function of the layer."
            )
        known = is_estimator(self.measure)
        takes = () if known else _parameters(self.measure)
        if self.labels is None:
            if known:
                labels = self.axis == "y" or (self.axis is None and answers(self.measure) == "labels")
            else:
                labels = len([name for name in takes if name not in ("seed", "inputs")]) > 1
            object.__setattr__(self, "labels", labels)
        if self.inputs is None:
            inputs = "inputs" in takes or (is_own(self.measure) and type(self.measure).__name__ in _WITH_INPUTS)
            object.__setattr__(self, "inputs", inputs and not (known and self.labels))
        object.__setattr__(self, "name", self.name or _NAMES.get(self.key.partition("[")[0], self.key))

    def __call__(self, t: Any, labels: Any = None, *, inputs: Any = None, seed: int | None = None) -> MIResult:
        """Measure one layer.

        Parameters
        ----------
        t : (n, ...) array          activations
        labels : (n, ...) array     as the quantity needs them
        inputs : (n, ...) array     likewise
        seed : int or None          fixes every random number

        Returns
        -------
        MIResult                    nats; the quantity is in the letters of a plane: T is the layer

        Raises
        ------
        ValueError
            if labels or inputs are needed and not there, or as the measure does
        ArithmeticError
            if the value is not a number
        """
        for needed, what, given in ((self.labels, "labels", labels), (self.inputs, "inputs", inputs)):
            if needed and given is None:
                raise ValueError(f"{self.key} needs the {what} of the probe set: pass probe=(x, y).")
        result = self._measured(t, labels, inputs, seed)
        if not isinstance(result, MIResult):
            result = MIResult(value=float(result), n_samples=len(t), estimator=self.text, quantity=self.name)
        if np.isnan(result.value):
            raise ArithmeticError("the value is nan, which is no number of nats.")
        return result

    def _measured(self, t: Any, labels: Any, inputs: Any, seed: int | None) -> Any:
        """What the measure returns, given the arguments that it takes."""
        known = is_estimator(self.measure)
        call = self.measure.estimate if known else self.measure
        takes = _parameters(call)
        options = {"seed": seed} if "seed" in takes else {}
        if not known and self.inputs:
            options["inputs"] = inputs
        if known and self.inputs:
            return _renamed(call(inputs, t, **options), "Y")
        if self.labels and not known and "labels" in takes:
            return call(t, labels=labels, **options)
        return _renamed(call(t, labels, **options) if self.labels else call(t, **options), "X")

    @property
    def text(self) -> str:
        """The estimator and its settings, or where the function is."""
        if is_estimator(self.measure):
            text = str(self.measure)
            if " at 0x" in text:  # an address is another one next time
                text = f"{type(self.measure).__module__}.{type(self.measure).__qualname__}"
        else:
            module = getattr(self.measure, "__module__", "")
            text = f"{module}.{getattr(self.measure, '__qualname__', type(self.measure).__name__)}"
        return text if not self.repetition else f"{text}, repetition {self.repetition}"

    def to_dict(self) -> dict[str, Any]:
        """What ``run.json`` holds of it; "settings" is None where the quantity cannot be made again from that."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "measure"}
        return own | {"estimator": self.text, "settings": _settings(self.measure)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self | None:
        """The quantity that `to_dict` wrote, or None where its measure is not one of miest's own estimators."""
        if plain["settings"] is None:
            return None
        try:
            measure = _rebuilt(plain["settings"])
        except (ValueError, TypeError):  # of another version, or a setting was an object
            return None
        if not is_estimator(measure):
            return None
        made = cls(measure=measure, **{f.name: plain[f.name] for f in fields(cls) if f.name != "measure"})
        return made if made.text == plain["estimator"] else None  # a setting was an object, of which only text is left


def stream(seed: int, layer: str, step: int, repetition: int = 0) -> int:
    """The seed of a measurement: a function of what is measured, so that no schedule and no worker changes a number."""
    name = int.from_bytes(sha256(layer.encode()).digest()[:8], "big")
    words = np.random.SeedSequence(seed, spawn_key=(name, step, repetition)).generate_state(1)
    return int(words[0])


def total_correlation(**settings: Any) -> Quantity:
    """Total correlation of the columns of a layer, by `TotalCorrelation`."""
    from miest.estimators.ksg import TotalCorrelation

    return Quantity("TC", TotalCorrelation(**settings))


def correlation_dimension(**settings: Any) -> Quantity:
    """Correlation dimension of a layer, by `CorrelationDimension`."""
    from miest.estimators.dimension import CorrelationDimension

    return Quantity("dimension", CorrelationDimension(**settings))


def linear_probe(**settings: Any) -> Quantity:
    """What the layer leaves unknown of the label to a linear classifier, H(Y|T) from above, by `LinearProbe`."""
    from miest.estimators.linear_probe import LinearProbe

    return Quantity("H_Y_given_T", LinearProbe(**settings), labels=True)


def binned_entropy(**settings: Any) -> Quantity:
    """Entropy of the binned layer, H_bin(T), by `Binning`: a horizontal axis of its own."""
    from miest.estimators.binning import Binning

    return Quantity("H_bin", Binning(**settings), "x")


READY: dict[str, Callable[..., Quantity]] = {
    "total-correlation": total_correlation,
    "correlation-dimension": correlation_dimension,
    "linear-probe": linear_probe,
    "binned-entropy": binned_entropy,
}
"""Quantities by name, as ``quantities=["linear-probe"]`` takes them."""


def is_estimator(measure: Any) -> bool:
    """Whether it has the verb of an estimator."""
    return not isinstance(measure, type) and callable(getattr(measure, "estimate", None))


def is_own(measure: Any) -> bool:
    """Whether it is one of miest's own estimators."""
    return isinstance(measure, Estimator) and type(measure).__module__.partition(".")[0] == "miest"


def answers(estimator: Any) -> Literal["alone", "labels", "both"]:
    """Whether an estimator takes the layer alone, needs labels beside it, or takes either."""
    name = type(estimator).__name__
    if is_own(estimator):
        return "alone" if name in _NEVER_WITH_LABELS else "both" if name in _ALONE else "labels"
    positional = [p for p in inspect.signature(estimator.estimate).parameters.values() if p.kind in _POSITIONAL]
    if len(positional) < 2:
        return "alone"
    return "labels" if positional[1].default is inspect.Parameter.empty else "both"


def key_alone(estimator: Any) -> str:
    """The key of what an estimator gives of the layer alone."""
    return _ALONE.get(type(estimator).__name__, "I_XT")


def key_with_labels(estimator: Any) -> str:
    """The key of what an estimator gives of the layer and the labels."""
    return _WITH_LABELS.get(type(estimator).__name__, "I_TY")


def _parameters(function: Any) -> tuple[str, ...]:
    """Names of what a function takes; of a compiled one, that it takes the layer."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return ("t",)
    return tuple(p.name for p in parameters if p.kind in (*_POSITIONAL, inspect.Parameter.KEYWORD_ONLY))


def _renamed(result: Any, letter: str) -> Any:
    """The result with T for the letter that the layer had, unless it speaks of T already."""
    if not isinstance(result, MIResult) or re.search(r"\bT\b", result.quantity):
        return result
    return replace(result, quantity=re.sub(rf"\b{letter}\b", "T", result.quantity))


def _settings(measure: Any) -> Any:
    """Class and fields of an estimator, as results are written; None for what could not be made again from that."""
    if not is_own(measure) or not is_dataclass(measure):
        return None
    return MIResult(value=0.0, n_samples=0, estimator=measure).to_dict()["estimator"]


def _rebuilt(settings: Any) -> Any:
    """The estimator, if miest exports it; its text otherwise."""
    plain = MIResult(value=0.0, n_samples=0, estimator=None).to_dict()
    return MIResult.from_dict(plain | {"estimator": settings}).estimator
