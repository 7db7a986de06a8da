"""Which quantities a plane is asked for: estimators on its axes and beside it, each under a key of its own."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any

from numpy.typing import NDArray

from miest.estimators.spec import parsed, short
from miest.plane.quantities import READY, Axis, Quantity, answers, is_estimator, is_own, key_alone, key_with_labels


def resolved(
    *,
    ixt: Any = None,
    ity: Any = None,
    quantities: Any = (),
    labels: NDArray[Any] | None,
    there: Sequence[Mapping[str, Any]] = (),
    default: bool = True,
) -> tuple[Quantity, ...]:
    """The quantities that are asked for, each with a key of its own.

    Parameters
    ----------
    ixt, ity : None, or one or a list of estimators, their names, functions and `Quantity`
        of the horizontal and of the vertical axis; None takes the default, an empty list none
    quantities : mapping of key to measure, or list of the same, or of names of `READY`
        what has no place in the plane; an estimator in a list gives whatever it answers, as in `wherever`
    labels : array or None      of the probe set
    there : of a run that these are added to, as `Quantity.to_dict` gives them; one that is there keeps its key
    default : bool              whether None takes the default

    Raises
    ------
    ValueError
        if something is neither an estimator nor a function, does not fit its axis, or two have one key
    """
    found: list[Quantity] = []
    axes: list[tuple[Axis, Any]] = [("x", ixt), ("y", ity)]
    for axis, asked in axes:
        if asked is None:
            asked = _default(axis, labels) if default else []
        for each in _listed(asked):
            found.append(_on_axis(each, axis, [*there, *(quantity.to_dict() for quantity in found)]))
    named = quantities.items() if isinstance(quantities, Mapping) else [(None, each) for each in _listed(quantities)]
    for key, each in named:
        if key is not None:
            found.append(_called(key, each))
            continue
        each = made(each)
        if isinstance(each, Quantity):
            found.append(each)
        elif is_estimator(each):
            found += wherever(each, labels, [*there, *(quantity.to_dict() for quantity in found)])
        else:
            found.append(Quantity(_function_key(each), each))
    unique: dict[str, Quantity] = {}
    for quantity in found:
        if unique.setdefault(quantity.key, quantity).to_dict() != quantity.to_dict():
            raise ValueError(
                f"two quantities have the key {quantity.key}: give one another key, by miest.Quantity(key, ...)."
            )
        if quantity.labels and labels is None:
            raise ValueError(f"{quantity.key} needs labels, and the probe set has none: pass probe=(x, y).")
    return tuple(unique.values())


def wherever(estimator: Any, labels: NDArray[Any] | None, there: Sequence[Mapping[str, Any]] = ()) -> list[Quantity]:
    """What an estimator answers: of the layer alone, of the layer and the labels, or both.

    Raises
    ------
    ValueError
        if it answers nothing without labels, and there are none
    """
    found = []
    kind = answers(estimator)
    if kind != "labels":
        base = key_alone(estimator)
        found.append(_keyed(base, estimator, "x" if base in ("I_XT", "H_bin", "H_T") else None, there, labels=False))
    if kind != "alone" and labels is not None:
        base = key_with_labels(estimator)
        found.append(_keyed(base, estimator, "y" if base == "I_TY" else None, there, labels=True))
    if not found:
        raise ValueError(f"{estimator} needs labels, and the probe set has none: pass probe=(x, y).")
    return found


def _default(axis: Axis, labels: NDArray[Any] | None) -> list[Any]:
    """Information in the layer with one noise for all layers and both axes, so that they can be compared.

    It is that of the probe set, whose H(X) and H(Y) bound it. One draw of the noise a row keeps it cheap: the standard
    error is some 0.02 nats at n = 2,000, and the interval holds it.
    """
    if axis == "y" and labels is None:
        return []
    if axis == "y" and labels is not None and labels.dtype.kind == "f":
        from miest.estimators.mixed import MixedKSG

        return [MixedKSG()]
    from miest.estimators.channel import GaussianChannel
    from miest.noise import ZeroEntropyNoise

    return [GaussianChannel(noise=ZeroEntropyNoise(), population=False, draws=1)]


def _listed(asked: Any) -> list[Any]:
    if isinstance(asked, str) or is_estimator(asked) or not isinstance(asked, Iterable):
        return [asked]
    return list(asked)


def made(asked: Any) -> Any:
    """An estimator or a `Quantity` from its name; anything else as it is.

    Raises
    ------
    ValueError
        if there is none of that name, or it is `Auto`
    """
    if isinstance(asked, str):
        ready = READY.get(asked.replace("_", "-"))
        asked = ready() if ready is not None else parsed(asked)
    if asked is None or (is_own(asked) and type(asked).__name__ == "Auto"):
        raise ValueError("auto would pick another estimator for each layer, which cannot be compared: name one.")
    return asked


def _on_axis(asked: Any, axis: Axis, there: Sequence[Mapping[str, Any]]) -> Quantity:
    asked = made(asked)
    if isinstance(asked, Quantity):
        return asked if asked.axis is not None else replace(asked, axis=axis)
    if not is_estimator(asked):
        return Quantity(_function_key(asked), asked, axis)
    kind = answers(asked)
    if axis == "x" and kind == "labels":
        raise ValueError(
            f"ixt={asked} compares the layer with something else, and I(X;T) of a deterministic layer is infinite, or "
            "ln n whatever it does: take a finite quantity, GaussianChannel(...) or KDE(...) for I(X;T+eps), "
            f"Noisy(estimator={type(asked).__name__}(), ...), or Binning(...) for H_bin(T)."
        )
    if axis == "y" and kind == "alone":
        raise ValueError(f"ity={asked} takes no labels: pass it in quantities=, or MixedKSG() for I(T;Y).")
    base = key_alone(asked) if axis == "x" else key_with_labels(asked)
    return _keyed(base, asked, axis, there, labels=axis == "y")


def _called(key: str, asked: Any) -> Quantity:
    """What stands under a key in a mapping; an estimator answers of the layer alone if it can."""
    asked = made(asked)
    if isinstance(asked, Quantity):
        return replace(asked, key=key)
    return Quantity(key, asked)


def _keyed(
    base: str, estimator: Any, axis: Axis | None, there: Sequence[Mapping[str, Any]], *, labels: bool
) -> Quantity:
    """With the plain key where it is free, otherwise with the estimator's name and changed settings in brackets."""
    if is_own(estimator) and type(estimator).__name__ == "Noisy":  # the layer is the one to be noised
        estimator = replace(estimator, noised="x" if labels else "y")
    if is_own(estimator) and type(estimator).__name__ == "AAMINE":
        if type(estimator.subnetwork).__name__ != "Identity":
            raise ValueError(
                f"{estimator} computes its layer itself, and in a plane the layers are recorded: pass them through, "
                "AAMINE(torch.nn.Identity(), noise)."
            )
    new = Quantity(base, estimator, axis, labels=labels)
    for other in there:
        same = (other["estimator"], other["labels"]) == (new.text, labels)
        if same and other["key"].partition("[")[0] == base:
            return replace(new, key=other["key"])
    taken = {other["key"] for other in there}
    if base not in taken:
        return new
    key = f"{base}[{_spec(estimator)}]"
    if key in taken:
        raise ValueError(f"two estimators would have the key {key}: name one, by miest.Quantity(key, ...).")
    return replace(new, key=key)


def _spec(estimator: Any) -> str:
    """As the command line takes it: "kde:noise_var=0.1"."""
    text = short(estimator) if is_dataclass(estimator) else type(estimator).__name__
    name, _, settings = text.partition("(")
    kebab = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
    return re.sub(r"[\s/]", "", f"{kebab}:{settings[:-1]}" if settings else kebab)


def _function_key(function: Any) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    if not callable(function) or not name.isidentifier():
        raise ValueError(
            f"{function!r} has no name to be a key: pass quantities={{'name': function}}, or miest.Quantity(key, ...)."
        )
    return str(name)
