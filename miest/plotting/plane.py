"""The information plane of a training run: what each layer holds of the input and of the label, step by step.

Source: Shwartz-Ziv & Tishby (2017), arXiv:1703.00810, whose look ``style="classic"`` follows.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from miest.estimators.estimator import require_choice
from miest.plotting.captions import label_of, plane_caption, scale_of
from miest.plotting.figure import Units, empty_figure, legend_above, legend_under, plain, reference, words_below
from miest.plotting.plane_marks import draw_points, layer_marks, step_bar, step_colors
from miest.plotting.points import ENTROPY, chosen, followed, points_of, rises, rows_of
from miest.plotting.recorded import Trajectory
from miest.plotting.timeline import plot_timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_compare", "plot_plane", "plot_timeline"]

Style = Literal["default", "classic"]
Pair = tuple[str, str]

_PER_ROW = 4
_WIDE, _HIGH = 7.2, 4.7  # inches, without the words around the axes


def plot_plane(
    trajectory: Trajectory,
    x: str | None = None,
    y: str | None = None,
    *,
    style: Style = "default",
    units: Units = "nats",
    chain: bool = True,
    title: str = "",
    ax: "Axes | None" = None,
) -> "tuple[Figure, Axes]":
    """Information plane of a training run: a line for each step, joining its layers in network order.

    Colour is the step, on a logarithmic scale where the steps were taken so; each layer has its marker. Flagged points
    are hollow, intervals are thin bars, a cross marks what processing cannot do, and H(X) and H(Y) are dashed. Below
    stand the estimators with their settings, n, and what was left out.

    Parameters
    ----------
    trajectory : Trajectory             or anything with the attributes of `miest.plotting.recorded.Trajectory`
    x, y : key of a quantity or None    such as "I_XT"; None takes the first that belongs to the axis
    style : "default" or "classic"      "classic" has dots of one kind, faint lines and a linear scale of colours
    units : "nats" or "bits"            of both axes
    chain : bool                        whether each layer is a function of the one before it alone: only then is it
        checked that I(T;Y) does not rise. False for skip connections and branches. After a pooled or projected layer
        it is never checked.
    title : str                         above the axes
    ax : matplotlib Axes or None        draw into these; None makes a new figure

    Returns
    -------
    (Figure, Axes)                      save with ``figure.savefig("plane.png")``

    Raises
    ------
    ValueError
        if a key is unknown, no quantity belongs to an axis, or there is no point with a finite value on both
    ImportError
        if matplotlib is not installed
    """
    pair = chosen(trajectory, "x", x), chosen(trajectory, "y", y)
    picture = _Picture(trajectory, [pair], style, units, chain)
    own = None
    if ax is None:
        own = empty_figure(_WIDE, _HIGH)
        ax = own.subplots()
    above = 0.0 if style == "classic" else legend_above(ax, *picture.legend)
    ax.set_title(title, loc="left", fontsize="medium", pad=6 + above)
    (below,) = picture.draw([ax])
    if own is not None:
        own.set_figheight(_HIGH + (above + below) / 72)
    figure: Any = ax.get_figure(root=True)
    return figure, ax


def plot_compare(
    trajectory: Trajectory,
    pairs: Sequence[Pair] | None = None,
    *,
    style: Style = "default",
    units: Units = "nats",
    chain: bool = True,
    title: str = "",
    axes: "Sequence[Axes] | None" = None,
) -> "tuple[Figure, list[Axes]]":
    """Information planes of one training run by several estimators, side by side with the same scales and colours.

    Parameters
    ----------
    trajectory : Trajectory             as in `plot_plane`
    pairs : (x, y) keys or None         a panel each; None takes every quantity of the x axis, in columns, with
        every one of the y axis
    style, units, chain                 as in `plot_plane`
    title : str                         above the panels
    axes : sequence of Axes or None     one for each pair; None makes a new figure

    Returns
    -------
    (Figure, list of Axes)              in the order of the pairs

    Raises
    ------
    ValueError
        as in `plot_plane`, with no point in any panel; or if there are not as many axes as pairs
    ImportError
        if matplotlib is not installed
    """
    columns, lines = _keys(trajectory, "x"), _keys(trajectory, "y")
    found = pairs if pairs is not None else [(x, y) for y, x in product(lines, columns)]
    grid = pairs is None and len(lines) > 1 and len(columns) <= _PER_ROW
    pairs = [(chosen(trajectory, "x", x), chosen(trajectory, "y", y)) for x, y in found]
    picture = _Picture(trajectory, pairs, style, units, chain)
    if axes is not None:
        given: list[Axes] = list(np.ravel(axes))  # type: ignore[arg-type]
        if len(given) != len(pairs):
            raise ValueError(f"{len(pairs)} pairs of quantities need as many axes, got {len(given)}.")
        above = 0.0 if style == "classic" else legend_above(given[0], *picture.legend)
        given[0].set_title(title, loc="left", fontsize="medium", pad=6 + above)
        picture.draw(given)
        root: Any = given[0].get_figure(root=True)
        return root, given
    down = len(lines) if grid else math.ceil(len(pairs) / _PER_ROW)
    across = math.ceil(len(pairs) / down)
    figure = empty_figure(max(_WIDE, 1 + 4.0 * across), _HIGH)
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for unused in panels[len(pairs) :]:
        unused.remove()
    below = max(picture.draw(panels[: len(pairs)]))
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    if style == "default":
        legend_under(figure, *picture.legend)
    figure.set_figheight(0.6 + down * (4.1 + below / 72))
    return figure, panels[: len(pairs)]


def _keys(trajectory: Trajectory, axis: str) -> list[str | None]:
    """Those of an axis; None stands for the first of none, which `chosen` refuses."""
    return [key for key in trajectory.quantities if trajectory.axes.get(key) == axis] or [None]


class _Picture:
    """Planes of one run that share their scales and colours."""

    def __init__(self, trajectory: Trajectory, pairs: Sequence[Pair], style: Style, units: Units, chain: bool) -> None:
        require_choice("style", style, ("default", "classic"))
        require_choice("units", units, ("nats", "bits"))
        self.trajectory, self.pairs, self.units = trajectory, pairs, units
        self.followed = followed(trajectory, chain=chain)
        self.classic = style == "classic"
        self.rows = rows_of(trajectory)
        self.points = [points_of(self.rows[x], self.rows[y]) for x, y in pairs]
        if not any(self.points):
            tried = " or ".join(f"{x} and {y}" for x, y in pairs)
            raise ValueError(f"no layer has finite values of {tried} at any step: there is nothing to draw.")

    @property
    def legend(self) -> tuple[list[Any], list[str]]:
        """Markers and names of the layers that are drawn in any panel."""
        return layer_marks(self.trajectory.layers, {place for points in self.points for place in points})

    def draw(self, axes: "Sequence[Axes]") -> list[float]:
        """Each pair into its axes, and one colour bar beside them; returns how high the words below are, in points."""
        colors, below = step_colors(self.trajectory.steps, classic=self.classic), []
        for ax, pair, points in zip(axes, self.pairs, self.points, strict=True):
            across, up = (self.rows[key] for key in pair)
            wrong = {at for rows in (across, up) for at in rises(rows, self.followed)[1]} & points.keys()
            draw_points(
                ax,
                points,
                self.trajectory.layers,
                colors,
                scales=(scale_of(across, self.units), scale_of(up, self.units)),
                classic=self.classic,
                wrong=wrong,
            )
            ax.set_xlabel(plain(label_of(across, self.units)))
            ax.set_ylabel(plain(label_of(up, self.units)))
            ax.grid(color="0.93", linewidth=0.8)
            ax.set_axisbelow(True)
            if not self.classic:
                ax.spines[["top", "right"]].set_visible(False)
            below.append(words_below(ax, plane_caption(across, up, points, self.followed)))
        drawn = [ax for ax, points in zip(axes, self.points, strict=True) if points]
        for side in "xy":
            low, high = zip(*(getattr(ax, f"get_{side}lim")() for ax in drawn), strict=True)
            for ax in axes:
                ax.set(**{f"{side}lim": (min(low), max(high))})
        for ax, pair in zip(axes, self.pairs, strict=True):
            for key, is_up in zip(pair, (False, True), strict=True):
                name = ENTROPY.get(self.trajectory.axes.get(key) or "", "")
                if name in self.trajectory.references:
                    nats = self.trajectory.references[name]
                    reference(ax, name, nats * scale_of(self.rows[key], self.units), across=is_up)
        step_bar(axes, colors, self.trajectory.steps, classic=self.classic)
        return below
