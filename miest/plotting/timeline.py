"""Quantities of every layer against the steps of training, with the loss and the accuracy under them."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from miest.estimators.estimator import require_choice
from miest.plotting.captions import doubts, intervals, label_of, left_out, samples, scale_of, settings_of
from miest.plotting.figure import (
    COLORS,
    LISTED,
    MARKERS,
    Units,
    empty_figure,
    legend_above,
    plain,
    reference,
    words_below,
)
from miest.plotting.points import ENTROPY, Rows, chosen, finite, rows_of
from miest.plotting.recorded import Trajectory
from miest.plotting.steps import step_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SEPARATE = 60  # steps up to which every point has its marker and its bar
_STACKED = 4  # panels up to which there is one column


def plot_timeline(
    trajectory: Trajectory,
    quantities: Sequence[str] | None = None,
    *,
    units: Units = "nats",
    title: str = "",
    axes: "Sequence[Axes] | None" = None,
) -> "tuple[Figure, list[Axes]]":
    """Quantities of each layer against the steps of training, a panel each, and what was logged in the last panel.

    Steps are on a logarithmic axis, with step 0 at its left end. Flagged points are hollow, and a line is broken where
    an estimate failed; intervals are bars, or bands where there are many steps. Of what was logged, names with "acc"
    in them, such as accuracy, have a scale of their own on the right.

    Parameters
    ----------
    trajectory : Trajectory             or anything with the attributes of `miest.plotting.recorded.Trajectory`
    quantities : keys or None           None takes all
    units : "nats" or "bits"
    title : str                         above the first panel
    axes : sequence of Axes or None     one for each panel; None makes a new figure

    Returns
    -------
    (Figure, list of Axes)              one for each quantity, and one more if anything was logged

    Raises
    ------
    ValueError
        if a key is unknown, there is nothing finite to draw, or there are not as many axes as panels
    ImportError
        if matplotlib is not installed
    """
    require_choice("units", units, ("nats", "bits"))
    keys = list(trajectory.quantities if quantities is None else quantities)
    keys = [chosen(trajectory, "quantities", key) for key in keys]
    rows = rows_of(trajectory)
    seen = [row for key in keys for row in rows[key].values()]
    shown = [row for row in seen if finite(row)]
    if not shown:
        raise ValueError(f"no layer has a finite value of {' or '.join(keys) or 'anything'}: there is nothing to draw.")
    logged = {step: found for step, found in trajectory.scalars.items() if found}
    names = [*keys, *(["what was logged"] if logged else [])]
    own, panels = (None, list(np.ravel(axes))) if axes is not None else _stacked(len(names))  # type: ignore[arg-type]
    if len(panels) != len(names):
        raise ValueError(f"{', '.join(names)} need {len(names)} axes, got {len(panels)}.")
    steps = sorted({*trajectory.steps, *logged})
    for ax, key in zip(panels, keys, strict=False):
        scale = scale_of(rows[key], units)
        _draw_quantity(ax, trajectory.layers, rows[key], scale)
        ax.set_ylabel(plain(label_of(rows[key], units)))
        _dress(ax, steps, plain(settings_of(rows[key])))
        name = ENTROPY.get(trajectory.axes.get(key) or "", "")
        if name in trajectory.references:
            reference(ax, name, trajectory.references[name] * scale, across=True)
    if logged:
        _draw_logged(panels[-1], logged)
        _dress(panels[-1], steps, "")
    first, last = panels[0], panels[-1]
    last.set_xlabel("step")
    below = words_below(
        last, [samples(seen), *intervals(shown), *doubts([row.flags for row in shown]), *left_out(seen)]
    )
    heading = [line for line in (title, first.get_title("left")) if line]
    first.set_title("\n".join(heading), loc="left", fontsize="small", pad=9)
    drawn = {row.layer for row in seen}
    marks = {layer: mark for layer, mark in _marks(trajectory.layers).items() if layer in drawn}
    if len(marks) > LISTED:  # their colours are a scale, of which some are enough
        some = {round(at) for at in np.linspace(0, len(marks) - 1, len(MARKERS))}
        marks = {layer: mark for at, (layer, mark) in enumerate(marks.items()) if at in some}
    above = legend_above(first, list(marks.values()), list(marks), lift=7 + 11 * len(heading))
    if own is not None:
        own.set_figheight(own.get_figheight() + (above + below) / 72)
    figure: Any = first.get_figure(root=True)
    return figure, panels


def _stacked(panels: int) -> "tuple[Figure, list[Axes]]":
    """A figure with so many axes, in one column or two."""
    across = 1 if panels <= _STACKED else 2
    down = math.ceil(panels / across)
    figure = empty_figure(7.2 if across == 1 else 12, 0.6 + 2.6 * down)
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for unused in axes[panels:]:
        unused.remove()
    return figure, axes[:panels]


def _marks(layers: Sequence[str]) -> dict[str, Any]:
    """For the legend: the line of each layer."""
    from matplotlib.lines import Line2D

    looks = zip(layers, _looks(layers), strict=True)
    return {layer: Line2D([], [], color=color, marker=marker, markersize=5) for layer, (color, marker) in looks}


def _looks(layers: Sequence[str]) -> list[tuple[Any, str]]:
    """Colour and marker of each layer: by depth where there are too many for colours of their own."""
    from matplotlib import colormaps

    deep = colormaps["viridis"](np.linspace(0, 0.92, len(layers)))
    colors = COLORS if len(layers) <= len(COLORS) else deep
    return [(colors[at], MARKERS[at % len(MARKERS)]) for at in range(len(layers))]


def _draw_quantity(ax: "Axes", layers: Sequence[str], rows: Rows, scale: float) -> None:
    """A line for each layer, its hollow points, and its bars or band."""
    for layer, (color, marker) in zip(layers, _looks(layers), strict=True):
        line = [row for row in rows.values() if row.layer == layer]
        steps, values = [row.step for row in line], [row.value * scale if finite(row) else math.nan for row in line]
        many = len(line) > _SEPARATE
        sound = [at for at, row in enumerate(line) if not row.flags and finite(row)]
        ax.plot(
            steps, values, color=color, linewidth=1.2, marker="" if many else marker, markersize=4.5, markevery=sound
        )
        doubtful = [at for at, row in enumerate(line) if row.flags and finite(row)]
        ax.plot(
            [steps[at] for at in doubtful],
            [values[at] for at in doubtful],
            color=color,
            linestyle="none",
            marker=marker,
            markersize=3 if many else 4.5,
            markerfacecolor="white",
            markeredgewidth=0.8 if many else 1.2,
            zorder=3,
        )
        ends = [
            (row.step, row.interval[0] * scale, row.interval[1] * scale) for row in line if row.interval and finite(row)
        ]
        if ends and many:
            ax.fill_between(*np.array(ends, float).T, color=color, alpha=0.15, linewidth=0)
        elif ends:
            at, low, high = zip(*ends, strict=True)
            ax.vlines(at, low, high, color=color, linewidth=0.8, alpha=0.7)


def _draw_logged(ax: "Axes", logged: Mapping[int, Mapping[str, float]]) -> None:
    """Loss and its like on the left, accuracies on the right."""
    names = list(dict.fromkeys(name for found in logged.values() for name in found))
    right = [name for name in names if "acc" in name.lower()]
    left = [name for name in names if name not in right]
    twin = ax.twinx() if left and right else ax
    drawn = []
    for at, name in enumerate([*left, *right]):
        steps = [step for step, found in sorted(logged.items()) if name in found]
        side = twin if name in right else ax
        marker = "o" if len(steps) == 1 else ""  # a line of one point is not seen
        style: Any = ["-", "--", ":", "-."][at % 4]
        drawn += side.plot(
            steps,
            [logged[step][name] for step in steps],
            color=f"{0.55 * (name in right):.2f}",
            linestyle=style,
            marker=marker,
        )
        drawn[-1].set_label(plain(name))
    ax.set_ylabel(plain(", ".join(left or right)))
    if twin is not ax:
        twin.set_ylabel(plain(", ".join(right)))
        twin.spines["top"].set_visible(False)
    ax.legend(handles=drawn, frameon=False, fontsize="small", loc="center right")


def _dress(ax: "Axes", steps: Sequence[int], heading: str) -> None:
    """Logarithmic steps with a place for step 0, a grid, and the heading."""
    first, last = next((step for step in steps if step > 0), 1), max(steps[-1], 1)
    ax.set_xscale("symlog", linthresh=first, linscale=0.4)
    ticks = step_ticks(steps)
    ax.set_xticks(ticks, labels=[f"{step:,}" for step in ticks])
    ax.minorticks_off()
    ax.set_xlim(-0.15 * first if steps[0] == 0 else first / 1.2, last * 1.2)
    ax.set_title(heading, loc="left", fontsize="small", pad=9)  # above the name of a reference line
    ax.grid(color="0.93", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines["top"].set_visible(False)
