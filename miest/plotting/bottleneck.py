"""Pictures of training with a bottleneck: courses through the plane, trade-offs, free fall, and robustness."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from miest.plotting.figure import COLORS, MARKERS, empty_figure, legend_above, legend_under, plain, words_below

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]

_FAINT = 0.25
_RANGE = (0.05, 0.85)  # of the color map: its ends are hard to see on white, or look alike


def plot_compression(
    courses: Mapping[str, Mapping[float, Points]], *, x: str = "I[X;Z]", y: str = "H[Y|Z]", title: str = ""
) -> "Figure":
    """Courses of training through the plane for several weights of the rate, and where they end.

    Parameters
    ----------
    courses : {objective: {gamma: points}}      points (x, y) of every epoch, in order
    x, y : str                                  names of the axes, nats
    title : str                                 above the figure

    Returns
    -------
    Figure
        a panel for each objective, with courses that grow darker as they are trained, a circle at the end and a color
        for gamma; and a panel with the ends of all objectives

    Raises
    ------
    ValueError
        if there is no course
    """
    gammas = sorted({gamma for course in courses.values() for gamma in course})
    if not gammas:
        raise ValueError("there is no course to draw: pass at least one objective with one gamma.")
    figure = empty_figure(4.1 * (len(courses) + 1), 4.6)
    panels = figure.subplots(1, len(courses) + 1, squeeze=False)[0]
    for ax in panels[1:-1]:  # the ends of training lie too close together for the scale of the courses
        ax.sharey(panels[0])
    for ax, (objective, course) in zip(panels, courses.items(), strict=False):
        weights = sorted(course)
        for at, gamma in enumerate(weights):
            color = _color(at, len(weights))
            points = course[gamma]
            for number, (before, after) in enumerate(pairwise(points), start=1):
                alpha = _FAINT + (1 - _FAINT) * number / max(1, len(points) - 1)
                ax.plot(*zip(before, after, strict=True), color=color, alpha=alpha, linewidth=1.4)
            ax.plot(*points[-1], "o", color=color, label=f"{gamma:g}", markersize=6)
        ax.set_title(plain(objective), loc="left")
        ax.set_xlabel(f"{x}, nats")
        ax.legend(title="gamma", fontsize="small", title_fontsize="small", frameon=False)
    panels[0].set_ylabel(f"{y}, nats")
    last = panels[-1]
    for at, (objective, course) in enumerate(courses.items()):
        ends = [course[gamma][-1] for gamma in sorted(course)]
        style: dict[str, Any] = {"color": COLORS[at % len(COLORS)], "marker": MARKERS[at % len(MARKERS)]}
        last.plot(*zip(*ends, strict=True), **style, linewidth=1.2, label=plain(objective))
    last.set_title("ends of training", loc="left")
    last.set_xlabel(f"{x}, nats")
    last.legend(fontsize="small", frameon=False)
    if title:
        figure.suptitle(plain(title), x=0.01, ha="left")
    return figure


def plot_free_fall(
    runs: Mapping[str, Points], *, further: Mapping[str, Points] | None = None, chance: float, title: str = ""
) -> "Figure":
    """Training error against the entropy of the latent, which falls from right to left.

    Parameters
    ----------
    runs : {name: points}           (entropy in nats, error) of every epoch
    further : {name: points}        the same of the trained network at further scales; dashed
    chance : float                  error of a guess
    title : str

    Returns
    -------
    Figure
    """
    figure = empty_figure(7.2, 4.6)
    ax = figure.subplots()
    handles, labels = [], []
    for at, (name, points) in enumerate(runs.items()):
        style: dict[str, Any] = {"color": COLORS[at], "marker": MARKERS[at], "markersize": 4.5}
        (line,) = ax.plot(*zip(*points, strict=True), **style)
        handles.append(line)
        labels.append(name)
        beyond = (further or {}).get(name)
        if beyond:
            ax.plot(*zip(*beyond, strict=True), color=COLORS[at], linestyle=(0, (4, 2)), linewidth=1.3)
    ax.axhline(chance, color="0.5", linewidth=1, linestyle=(0, (1, 2)))
    ax.annotate("guess", (0.99, chance), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize="small")
    ax.axvline(0, color="0.5", linewidth=1)
    ax.set_xscale("symlog", linthresh=20, linscale=1.5)
    ax.set(xlabel="H[Z], nats", ylabel="training error", ylim=(-0.03, min(1.0, 1.12 * chance)))
    ax.invert_xaxis()
    lift = legend_above(ax, handles, labels)
    ax.set_title(plain(title), loc="left", pad=lift + 6)
    if further:
        words_below(ax, ["Dashed: the trained network, its latent scaled further without training."])
    return figure


def plot_robustness(curves: Mapping[str, Any], *, columns: int = 2, title: str = "") -> "Figure":
    """Accuracy under attack against its strength, a panel for each attack; a band is the interval of the first curve.

    Parameters
    ----------
    curves : {name: {attack: Robustness}}       or anything with `strengths`, `accuracies` and `intervals`
    columns : int
    title : str

    Returns
    -------
    Figure
    """
    attacks = list(dict.fromkeys(attack for each in curves.values() for attack in each))
    rows = math.ceil(len(attacks) / columns)
    figure = empty_figure(5.2 * min(columns, len(attacks)), 4.4 * rows)
    panels = figure.subplots(rows, min(columns, len(attacks)), squeeze=False, sharey=True).ravel()
    for ax, attack in zip(panels, attacks, strict=False):
        for at, (name, each) in enumerate(curves.items()):
            curve = each[attack]
            low, high = zip(*curve.intervals, strict=True)
            color, marker = COLORS[at % len(COLORS)], MARKERS[at % len(MARKERS)]
            style: dict[str, Any] = {"linestyle": "-" if at < len(COLORS) else (0, (4, 2)), "markersize": 4.5}
            ax.plot(curve.strengths, curve.accuracies, color=color, marker=marker, label=plain(name), **style)
            if at == 0:  # bands of all would hide one another
                ax.fill_between(curve.strengths, low, high, color=color, alpha=0.12, linewidth=0)
        ax.set_title(attack.upper(), loc="left")
        ax.set_xlabel("largest change of a pixel")
    panels[0].set_ylabel("accuracy")
    handles, labels = panels[0].get_legend_handles_labels()
    legend_under(figure, handles, labels)
    if title:
        figure.suptitle(plain(title), x=0.01, ha="left")
    return figure


def _color(at: int, of: int) -> Any:
    from matplotlib import colormaps

    low, high = _RANGE
    return colormaps["viridis"](low + (high - low) * at / max(1, of - 1))
