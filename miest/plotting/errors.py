"""Mean error of each estimator on each task of a validation, as a heat map."""

from typing import TYPE_CHECKING, Any

from miest.plotting.figure import empty_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from miest.validation import Validation


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
