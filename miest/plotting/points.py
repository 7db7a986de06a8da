"""The points of an information plane, and which of them cannot be right.

Nothing here draws: the figures and the HTML page share it, so that both show and mark the same.

Processing cannot add information: where T' = f(T), I(T';Y) <= I(T;Y) and I(X;T') <= I(X;T). With noise in every
layer by itself, T' + eps' is no function of T + eps, nor is a binned layer one of the bins before it: these
quantities may rise, and are never marked. A lower bound in T, or an upper one in T', proves nothing either.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise

from miest.plotting.recorded import Row, Trajectory

_PROCESSED = {"I(T;Y)", "I(X;T)", "I(Y;T)", "I(T;X)"}
_KEEPS = ("none", "Flatten")  # reductions of which the next layer is still a function

ENTROPY = {"x": "H(X)", "y": "H(Y)"}
"""Of the probe set: no information of this axis can be larger."""

Place = tuple[int, str]
"""A step and a layer."""

Rows = Mapping[Place, Row]
"""Those of one key, by steps and then in network order."""


@dataclass(frozen=True)
class Point:
    """One layer at one step: an estimate for each axis."""

    x: Row
    y: Row

    @property
    def flags(self) -> tuple[str, ...]:
        """Of either estimate, each once."""
        return tuple(dict.fromkeys([*self.x.flags, *self.y.flags]))


def rows_of(trajectory: Trajectory) -> dict[str, Rows]:
    """For each key its rows; of two at the same place the later one."""
    order = {layer: at for at, layer in enumerate(trajectory.layers)}
    found: dict[str, dict[Place, Row]] = {key: {} for key in trajectory.quantities}
    for row in trajectory.rows:
        found[row.quantity][row.step, row.layer] = row
    return {key: dict(sorted(rows.items(), key=lambda at: (at[0][0], order[at[0][1]]))) for key, rows in found.items()}


def chosen(trajectory: Trajectory, axis: str, key: str | None) -> str:
    """The key asked for, or the first one that belongs to this axis.

    Raises
    ------
    ValueError
        if there is no such key, or none for the axis
    """
    keys = list(trajectory.quantities)
    if key is None:
        key = next((k for k in keys if trajectory.axes.get(k) == axis), None)
        if key is None:
            raise ValueError(f"no quantity belongs to the {axis} axis: name one of {', '.join(keys) or 'none'}.")
    elif key not in keys:
        near = get_close_matches(key, keys, cutoff=0.5) or keys
        raise ValueError(f"{axis}={key!r} was not estimated in this run: there is {', '.join(near) or 'nothing'}.")
    return key


def finite(row: Row) -> bool:
    """Whether there is a number to draw."""
    return row.kind != "failed" and math.isfinite(row.value)


def points_of(across: Rows, up: Rows) -> dict[Place, Point]:
    """What can be drawn: both estimates are there and finite."""
    return {
        place: Point(row, up[place])
        for place, row in across.items()
        if place in up and finite(row) and finite(up[place])
    }


def must_not_rise(name: str) -> bool:
    """Whether a quantity of this name can only fall from a layer to a function of it."""
    return name.replace(" ", "") in _PROCESSED


def followed(trajectory: Trajectory, *, chain: bool = True) -> frozenset[str]:
    """Layers of which the next one is a function: recorded in full, where the layers are a chain at all."""
    reductions = trajectory.settings.get("reductions") or {}
    kept = {layer for layer in trajectory.layers if str(reductions.get(layer, "none")).partition("(")[0] in _KEEPS}
    return frozenset(kept if chain else ())


def rises(rows: Rows, followed: Collection[str]) -> tuple[int, set[Place]]:
    """How often a layer was compared with the one before it, and where it says more than both errors explain.

    Compared are layers that come after one that is `followed`. The error is the interval; where a method has none,
    1 / sqrt(n) nats each way, the standard error of a mean over samples whose information density varies by one nat.
    """
    told = [(place, row) for place, row in rows.items() if finite(row) and must_not_rise(row.name)]
    compared = [
        (before, after, place)
        for (_, before), (place, after) in pairwise(told)
        if before.step == after.step
        and before.layer in followed
        and before.kind != "lower bound"
        and after.kind != "upper bound"
    ]
    return len(compared), {place for before, after, place in compared if _ends(after)[0] > _ends(before)[1]}


def _ends(row: Row) -> tuple[float, float]:
    error = 1 / math.sqrt(max(row.n, 1))
    return row.interval or (row.value - error, row.value + error)


def impossible(trajectory: Trajectory, key: str) -> set[Place]:
    """Where (step, layer) says more than the layer before it can have left; see `rises`."""
    return rises(rows_of(trajectory)[key], followed(trajectory))[1]
