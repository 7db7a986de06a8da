"""Information of each layer of one network at one moment: a line for every estimator and quantity."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from miest.estimators.estimator import require_choice
from miest.estimators.spec import short
from miest.plotting.figure import COLORS, MARKERS, empty_figure
from miest.result import Flag, MIResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_APART = 0.12  # of the distance between layers, so that points of equal value stay visible

Series = tuple[str, str]


def plot_layers(
    results: Mapping[str, Sequence[MIResult]],
    *,
    units: Literal["nats", "bits"] = "nats",
    references: Mapping[str, float] | None = None,
    title: str = "",
    ax: "Axes | None" = None,
) -> "tuple[Figure, Axes]":
    """Information of each layer: a line for every estimator and quantity, in one pair of axes.

    Flagged points are hollow. A result that carries two bounds (`KDE`) has them as a band, one with an interval as
    bars. The legend holds the quantity, the settings, and the flags; the number of samples stands above the axes.

    Parameters
    ----------
    results : mapping of layer to results   in the order in which layers are drawn; a layer may lack an estimator
    units : "nats" or "bits"                of the axis; results and references are in nats
    references : mapping of name to nats    horizontal lines, such as {"H(Y)": 2.303}
    title : str                             above the axes
    ax : matplotlib Axes or None            draw into these; None makes a new figure

    Returns
    -------
    (Figure, Axes)                          save with ``figure.savefig("layers.png")``

    Raises
    ------
    ValueError
        if there is no result, or two results of one layer have the same estimator and quantity
    ImportError
        if matplotlib is not installed
    """
    require_choice("units", units, ("nats", "bits"))
    lines = _lines(results)
    if ax is None:
        ax = empty_figure(7.0, 4.8).subplots()
    scale = 1.0 if units == "nats" else 1 / math.log(2)
    for i, (series, line) in enumerate(lines.items()):
        shift = _APART * (i - (len(lines) - 1) / 2)
        _draw(ax, series, line, shift, scale, COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)])
    for name, nats in (references or {}).items():
        ax.axhline(nats * scale, color="0.35", linewidth=1, linestyle=(0, (5, 3)), zorder=1)
        ax.annotate(
            name,
            (1.0, nats * scale),
            (3, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            fontsize="small",
            color="0.35",
        )
    ax.set_xticks(range(len(results)), labels=list(results))
    ax.set_xlim(-0.5, len(results) - 0.5)
    ax.set_ylabel(f"information ({units})")
    ax.grid(axis="y", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    counts = sorted({result.n_samples for line in lines.values() for result in line if result is not None})
    ax.set_title(title, loc="left", fontsize="medium")
    ax.set_title(
        f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}", loc="right", fontsize="small"
    )
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.14), frameon=False, fontsize="small", borderaxespad=0)
    figure: Any = ax.get_figure(root=True)
    return figure, ax


def _lines(results: Mapping[str, Sequence[MIResult]]) -> dict[Series, list[MIResult | None]]:
    """The results of each series, one a layer; None where a layer lacks it."""
    found: dict[Series, list[MIResult | None]] = {}
    for at, (layer, row) in enumerate(results.items()):
        for result in row:
            series = (result.quantity, short(result.estimator))
            line = found.setdefault(series, [None] * len(results))
            if line[at] is not None:
                raise ValueError(f"layer {layer!r} has two results of {series[1]} for {series[0]}: pass one of them.")
            line[at] = result
    if not found:
        raise ValueError(f"there is no result in {len(results)} layers: pass at least one.")
    return found


def _draw(
    ax: "Axes",
    series: Series,
    line: Sequence[MIResult | None],
    shift: float,
    scale: float,
    color: str,
    marker: str,
) -> None:
    """One line, its points (hollow where flagged), and its bounds or intervals."""
    places = [i + shift for i in range(len(line))]
    values = [math.nan if result is None else result.value * scale for result in line]
    seen = [(place, value, result) for place, value, result in zip(places, values, line, strict=True) if result]
    flags = list(dict.fromkeys(flag for _, _, result in seen for flag in result.flags))
    ax.plot(
        places, values, color=color, linewidth=1.5, label=_label(series, line, flags), marker=marker, markersize=6.5
    )
    (drawn,) = ax.lines[-1:]
    drawn.set_markevery([i for i, result in enumerate(line) if result is not None and result.ok])
    doubtful = [(place, value) for place, value, result in seen if not result.ok]
    if doubtful:
        x, y = zip(*doubtful, strict=True)
        ax.plot(
            x,
            y,
            color=color,
            linestyle="none",
            marker=marker,
            markersize=6.5,
            markerfacecolor="white",
            markeredgewidth=1.5,
            zorder=3,
            label="_flagged",
        )
    bounded = [(place, _bounds(result)) for place, _, result in seen]
    if all(bounds is not None for _, bounds in bounded):
        low, high = ([bounds[side] * scale for _, bounds in bounded if bounds] for side in (0, 1))
        ax.fill_between([place for place, _ in bounded], low, high, color=color, alpha=0.15, linewidth=0)
    for place, value, result in seen:
        if result.interval is not None:
            bottom, top = (end * scale for end in result.interval)
            ax.errorbar(place, value, yerr=[[value - bottom], [top - value]], color=color, capsize=3, linewidth=1)


def _bounds(result: MIResult) -> tuple[float, float] | None:
    lower, upper = result.diagnostics.get("lower"), result.diagnostics.get("upper")
    return (float(lower), float(upper)) if lower is not None and upper is not None else None


def _label(series: Series, line: Sequence[MIResult | None], flags: Sequence[Flag]) -> str:
    quantity, estimator = (text.replace("eps", "ε") for text in series)
    kinds = {result.kind for result in line if result is not None}
    bound = f", {kinds.pop()}" if len(kinds) == 1 and "point" not in kinds else ""
    band = ", band: both bounds" if all(result is None or _bounds(result) for result in line) else ""
    noise = "" if "noise_var" in estimator else _noise(line)
    doubt = f"\nhollow: {', '.join(flag.name for flag in flags)}" if flags else ""
    return f"{quantity}  {estimator}{noise}{bound}{band}{doubt}"


def _noise(line: Sequence[MIResult | None]) -> str:
    """The variance of the noise where it followed the data: no value means anything without it."""
    found = [result.diagnostics["noise_var"] for result in line if result and "noise_var" in result.diagnostics]
    if not found:
        return ""
    low, high = (f"{end:.3g}" for end in (min(found), max(found)))
    return f", noise_var {low}" if low == high else f", noise_var {low} to {high}"
