"""The marks of an information plane: lines, points, bars and crosses, coloured by the step of training."""

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from miest.plotting.figure import LISTED, MARKERS
from miest.plotting.points import Place, Point
from miest.plotting.steps import log_from, step_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

_WRONG = "#D55E00"
_CLASSIC = "gnuplot"  # black to yellow, as in the first planes; not made for all eyes
_DEFAULT = "viridis"
_MANY = 3000  # marks, beyond which a vector file holds them as pixels


def step_colors(steps: Sequence[int], *, classic: bool) -> "ScalarMappable":
    """Colour of each step: by its logarithm where the steps were taken so, linear in the classic style."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import FuncNorm, Normalize

    low, high = steps[0], max(steps[-1], steps[0] + 1)
    first = None if classic else log_from(steps)
    if first is None:
        return ScalarMappable(Normalize(low, high), _CLASSIC if classic else _DEFAULT)
    ways = (lambda step: np.log1p(np.asarray(step) / first), lambda place: first * np.expm1(place))
    return ScalarMappable(FuncNorm(ways, low, high), _DEFAULT)


def step_bar(axes: "Sequence[Axes]", colors: "ScalarMappable", steps: Sequence[int], *, classic: bool) -> None:
    """The colour bar of the steps, beside one or several axes."""
    from matplotlib.ticker import StrMethodFormatter

    root: Any = axes[0].get_figure(root=True)
    bar = root.colorbar(colors, ax=list(axes), pad=0.02, aspect=32)
    if not classic and log_from(steps) is not None:
        bar.set_ticks(step_ticks(steps), labels=[f"{step:,}" for step in step_ticks(steps)])
        bar.minorticks_off()
    elif len(steps) <= 6:
        bar.set_ticks(list(steps), labels=[f"{step:,}" for step in steps])
    else:
        bar.formatter = StrMethodFormatter("{x:,.0f}")
    bar.set_label("step")
    bar.outline.set_visible(False)


def layer_marks(layers: Sequence[str], shown: Collection[Place]) -> tuple[list[Any], list[str]]:
    """For the legend: marker and name of each layer that has a point; of very many, their number alone."""
    from matplotlib.lines import Line2D

    there = {layer for _, layer in shown}
    names = {layer: at for at, layer in enumerate(layers) if layer in there}
    if len(names) > LISTED:
        first, *_, last = names
        return [Line2D([], [], linestyle="none")], [f"{len(names)} layers, {first} to {last}, joined in network order"]
    marks = [Line2D([], [], linestyle="none", marker=_marker(at), color="0.35", markersize=6) for at in names.values()]
    return marks, list(names)


def _marker(at: int) -> str:
    return MARKERS[at % len(MARKERS)]


def draw_points(
    ax: "Axes",
    points: Mapping[Place, Point],
    layers: Sequence[str],
    colors: "ScalarMappable",
    *,
    scales: tuple[float, float],
    classic: bool,
    wrong: Collection[Place],
) -> None:
    """Everything that has a place in the plane; `scales` take nats to the units of the axes."""
    if not points:
        return
    from matplotlib.collections import LineCollection

    at = {place: (point.x.value * scales[0], point.y.value * scales[1]) for place, point in points.items()}
    pixels = len(points) > _MANY
    steps = [(step, [at[place] for place in group]) for step, group in groupby(points, key=lambda place: place[0])]
    faint = (0.25 if classic else 0.75) * min(1.0, math.sqrt(40 / len(steps)))
    ax.add_collection(
        LineCollection(
            [path for _, path in steps],
            colors=colors.to_rgba(np.array([step for step, _ in steps], float)),
            linewidths=0.6 if classic else 1.0,
            alpha=faint,
            zorder=2,
            rasterized=pixels,
        )
    )
    _bars(ax, points, colors, scales, faint, pixels)
    size = float(np.clip(42 * math.sqrt(150 / len(points)), 7, 42)) * (1.3 if classic else 1.0)
    for i, layer in enumerate(layers):
        for hollow in (False, True):
            places = [place for place, point in points.items() if place[1] == layer and bool(point.flags) == hollow]
            if not places:
                continue
            own = colors.to_rgba(np.array([step for step, _ in places], float))
            edge: Any = "black" if classic and not hollow else own
            ax.scatter(
                [at[place][0] for place in places],
                [at[place][1] for place in places],
                s=size,
                marker="o" if classic else _marker(i),
                facecolors=ax.get_facecolor() if hollow else own,
                edgecolors=edge,
                linewidths=0.3 if classic and not hollow else 0.9,
                zorder=3,
                rasterized=pixels,
            )
    if wrong:
        x, y = zip(*(at[place] for place in wrong), strict=True)
        for color, thick in (("white", 2.6), (_WRONG, 1.3)):
            cross = ax.scatter(x, y, s=1.2 * size + 8, marker="x", color=color, linewidths=thick, zorder=4)
            cross.set(gid="impossible", rasterized=pixels)
    ax.autoscale_view()


def _bars(
    ax: "Axes",
    points: Mapping[Place, Point],
    colors: "ScalarMappable",
    scales: tuple[float, float],
    faint: float,
    pixels: bool,
) -> None:
    """Thin bars for the intervals of both axes."""
    from matplotlib.collections import LineCollection

    bars, steps = [], []
    for (step, _), point in points.items():
        x, y = point.x.value * scales[0], point.y.value * scales[1]
        if point.x.interval is not None:
            low, high = (end * scales[0] for end in point.x.interval)
            bars.append([(low, y), (high, y)])
            steps.append(step)
        if point.y.interval is not None:
            low, high = (end * scales[1] for end in point.y.interval)
            bars.append([(x, low), (x, high)])
            steps.append(step)
    if bars:
        own = colors.to_rgba(np.array(steps, float))
        ax.add_collection(LineCollection(bars, colors=own, linewidths=0.7, alpha=faint, zorder=2.5, rasterized=pixels))
