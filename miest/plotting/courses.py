"""The course of each layer through the information plane while it alone is trained, as in training layer by layer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from miest.plotting.captions import doubts, label_of, left_out, samples, scale_of, settings_of
from miest.plotting.figure import COLORS, MARKERS, Units, empty_figure, legend_above, plain, words_below
from miest.plotting.points import chosen, points_of, rows_of
from miest.plotting.recorded import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE, _HIGH = 7.2, 4.7  # inches, without the words around the axes


def plot_courses(
    trajectory: Trajectory,
    spans: Mapping[str, tuple[int, int]],
    x: str | None = None,
    y: str | None = None,
    *,
    units: Units = "nats",
    title: str = "",
    ax: "Axes | None" = None,
) -> "tuple[Figure, Axes]":
    """Information plane with a line for each layer, over the steps at which that layer was trained.

    A line begins faint, with a ring around its first point, and ends in full colour with an arrow head; hollow points
    are flagged.

    Parameters
    ----------
    trajectory : Trajectory                         or anything with the attributes of `miest.plotting.recorded`
    spans : mapping of layer to (first, last) step  both included
    x, y : key of a quantity or None                as in `plot_plane`
    units : "nats" or "bits"                        of both axes
    title : str
    ax : matplotlib Axes or None                    draw into these; None makes a new figure

    Returns
    -------
    (Figure, Axes)

    Raises
    ------
    ValueError
        if a key is unknown, a layer is not in the run, or no layer has a point in its span
    ImportError
        if matplotlib is not installed
    """
    unknown = [layer for layer in spans if layer not in trajectory.layers]
    if unknown:
        raise ValueError(f"spans names {unknown[0]!r}, and the run has the layers {', '.join(trajectory.layers)}.")
    rows = rows_of(trajectory)
    across, up = rows[chosen(trajectory, "x", x)], rows[chosen(trajectory, "y", y)]
    places = points_of(across, up)
    paths = {
        layer: [(step, point) for (step, name), point in places.items() if name == layer and first <= step <= last]
        for layer, (first, last) in spans.items()
    }
    paths = {layer: path for layer, path in paths.items() if path}
    if not paths:
        raise ValueError("no layer has finite values of both quantities within its span: there is nothing to draw.")
    own = None
    if ax is None:
        own = empty_figure(_WIDE, _HIGH)
        ax = own.subplots()
    scales = scale_of(across, units), scale_of(up, units)
    handles = []
    for layer, path in paths.items():
        at = list(spans).index(layer)
        ends = np.array([(point.x.value * scales[0], point.y.value * scales[1]) for _, point in path])
        flagged = np.array([bool(point.flags) for _, point in path])
        handles.append(_course(ax, ends, flagged, COLORS[at % len(COLORS)], MARKERS[at % len(MARKERS)]))
    above = legend_above(ax, handles, list(paths))
    ax.set_title(title, loc="left", fontsize="medium", pad=6 + above)
    ax.set_xlabel(plain(label_of(across, units)))
    ax.set_ylabel(plain(label_of(up, units)))
    ax.grid(color="0.93", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    drawn = [point for path in paths.values() for _, point in path]
    told = ", ".join(f"{layer} {path[0][0]:,} to {path[-1][0]:,}" for layer, path in paths.items())
    seen = [row for each in (across, up) for row in each.values()]
    below = words_below(
        ax,
        [
            f"Steps at which each layer was trained: {told}.",
            *(f"{label_of(each)}: {settings_of(each)}." for each in (across, up)),
            samples(seen),
            *doubts([point.flags for point in drawn]),
            *left_out(seen),
        ],
    )
    if own is not None:
        own.set_figheight(_HIGH + (above + below) / 72)
    figure: Any = ax.get_figure(root=True)
    return figure, ax


def _course(ax: "Axes", ends: Any, flagged: Any, color: str, marker: str) -> Any:
    """The line and points of one layer; returns the handle for the legend."""
    from matplotlib.colors import to_rgba
    from matplotlib.lines import Line2D

    faint = np.linspace(0.25, 1, len(ends))
    shades = [to_rgba(color, alpha) for alpha in faint]
    for first, last, shade in zip(ends[:-1], ends[1:], shades[1:], strict=True):
        ax.plot(*zip(first, last, strict=True), color=shade, linewidth=1.4, zorder=2)
    if len(ends) > 1:
        ax.annotate(
            "",
            ends[-1],
            ends[-2],
            arrowprops={"arrowstyle": "-|>", "color": color, "mutation_scale": 13, "shrinkA": 0, "shrinkB": 0},
            zorder=4,
        )
    faces = [ax.get_facecolor() if doubtful else shade for doubtful, shade in zip(flagged, shades, strict=True)]
    ax.scatter(
        ends[:, 0], ends[:, 1], s=26, marker=marker, facecolors=faces, edgecolors=shades, linewidths=0.9, zorder=3
    )
    ax.scatter(
        ends[:1, 0], ends[:1, 1], s=110, marker="o", facecolors="none", edgecolors=color, linewidths=0.9, zorder=3
    )
    return Line2D([], [], color=color, marker=marker, markersize=5, linewidth=1.4)
