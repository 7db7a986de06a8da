"""Pictures of results; the only module that imports matplotlib, and only when something is drawn.

Figures are made without pyplot, so that no window opens, no figure is kept alive, and no setting of the caller's
changes. A doubtful value must not look like a sound one: flagged points are hollow, and the legend names the flags.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from miest.estimators.estimator import require_choice
from miest.estimators.spec import short
from miest.result import Flag, MIResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from miest.validation import Validation

# Okabe and Ito (2008): distinct for the common forms of colour blindness; markers differ as well, for print in gray.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
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
        _draw(ax, series, line, shift, scale, _COLORS[i % len(_COLORS)], _MARKERS[i % len(_MARKERS)])
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


def empty_figure(width: float, height: float) -> "Figure":
    """A figure of that many inches, without pyplot.

    Raises
    ------
    ImportError
        if matplotlib is not installed
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'miest[plot]'.") from error
    return Figure(figsize=(width, height), layout="constrained")


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


def plot_errors(
    validation: "Validation", *, n: int | None = None, title: str = "", ax: "Axes | None" = None
) -> "tuple[Figure, Axes]":
    """Mean error of each estimator on each task, nats: a heat map with tasks as rows.

    Red is too high and blue too low, on a scale that is linear up to 0.1 nats and logarithmic beyond. A triangle in the
    corner marks what more than half of the seeds flagged. Hatched: the estimator refused the task; a cross: it failed.

    Parameters
    ----------
    validation : Validation
    n : int or None             number of samples; None takes the largest
    title : str                 above the axes
    ax : matplotlib Axes or None        draw into these; None makes a new figure

    Returns
    -------
    (Figure, Axes)              save with ``figure.savefig("errors.png")``

    Raises
    ------
    ValueError
        if nothing was measured with so many samples
    ImportError
        if matplotlib is not installed
    """
    sizes = validation.sizes
    if n is None and sizes:
        n = max(sizes)
    rows = {(row.task, row.estimator): row for row in validation.summary() if row.n == n}
    if not rows:
        raise ValueError(f"nothing was measured at n={n}: there is {', '.join(map(str, sizes)) or 'no trial at all'}.")
    tasks = list(dict.fromkeys(task for task, _ in rows))
    estimators = list(dict.fromkeys(name for _, name in rows))
    if ax is None:
        ax = empty_figure(3.4 + 0.85 * len(estimators), 1.9 + 0.22 * len(tasks)).subplots()
    import numpy as np
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import SymLogNorm
    from matplotlib.patches import Polygon, Rectangle

    # RdBu keeps its order for the common forms of colour blindness; the sign stands in each cell as well.
    end = 5.0
    colors = ScalarMappable(SymLogNorm(linthresh=0.1, linscale=0.6, vmin=-end, vmax=end, base=10), "RdBu_r")
    for i, task in enumerate(tasks):
        for j, name in enumerate(estimators):
            row = rows.get((task, name))
            if row is None:
                continue
            if row.bias is None and not row.infinite:
                hatch = "xxxx" if row.failed else "////"
                box = Rectangle((j, i), 1, 1, facecolor="0.96", edgecolor="0.75", hatch=hatch, linewidth=0)
                ax.add_patch(box)
                continue
            color = colors.to_rgba(np.array([end if row.bias is None else row.bias]))[0]
            ax.add_patch(Rectangle((j, i), 1, 1, facecolor=color, edgecolor="white", linewidth=1))
            dark = color[:3] @ (0.299, 0.587, 0.114) < 0.55
            ax.text(
                j + 0.5,
                i + 0.52,
                _signed(row.bias),
                ha="center",
                va="center",
                fontsize="x-small",
                color="white" if dark else "black",
            )
            if (row.flagged or 0) > 0.5:
                corner = ((j + 0.80, i + 0.03), (j + 0.98, i + 0.03), (j + 0.98, i + 0.62))
                ax.add_patch(Polygon(corner, facecolor="black", edgecolor="white", linewidth=0.5))
    ax.set_xlim(0, len(estimators))
    ax.set_ylim(len(tasks), 0)
    ax.set_xticks([j + 0.5 for j in range(len(estimators))], labels=estimators, rotation=40, ha="left")
    ax.xaxis.tick_top()
    truths = {task: next(row.truth for (name, _), row in rows.items() if name == task) for task in tasks}
    labels = [f"{task}  {truths[task]:.2f}" for task in tasks]
    ax.set_yticks([i + 0.5 for i in range(len(tasks))], labels=labels, fontsize="small")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    figure: Any = ax.get_figure(root=True)
    tall = min(1.0, 25 / len(tasks))  # beside the first rows, where a long picture is opened
    place = {"pad": 0.02, "fraction": 0.05, "shrink": tall, "aspect": 25, "anchor": (0.0, 1.0)}
    bar = figure.colorbar(colors, ax=ax, extend="both", **place)
    bar.set_ticks([-1, -0.1, 0, 0.1, 1], labels=["-1", "-0.1", "0", "+0.1", "+1"])
    bar.set_label("mean error (nats)")
    bar.outline.set_visible(False)
    seeds = len(validation.seeds)
    ax.set_title(title, loc="left", fontsize="medium")
    about = f"n = {n}, {seeds} seed{'s' * (seeds != 1)}; beside the task its truth, nats"
    ax.set_xlabel(f"{about}\n◥ more than half flagged   //// refused   xxxx failed", fontsize="small")
    return figure, ax


def _signed(error: float | None) -> str:
    """An error as it stands in a cell; None where all values are infinite."""
    if error is None:
        return "∞"
    return f"{error:+.2f}" if abs(error) >= 0.005 else "0.00"
