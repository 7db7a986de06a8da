"""Information through a noisy channel against the size of the noise."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miest.estimators.estimator import require_choice
from miest.plotting.captions import doubts, intervals, readable
from miest.plotting.figure import COLORS, Units, empty_figure, plain, reference, words_below
from miest.result import MIResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BEYOND = 0.3  # of the height, that bounds and the out-of-sample line may add to it


class Sweep(Protocol):
    """Estimates of one quantity for several sizes of the noise, in nats."""

    @property
    def results(self) -> Sequence[MIResult]:
        """The m estimates, with their intervals and flags."""

    @property
    def stds(self) -> ArrayLike:
        """(m,) standard deviations of the noise."""

    @property
    def in_sample(self) -> ArrayLike:
        """(m,) values for these rows as the whole population."""

    @property
    def out_of_sample(self) -> ArrayLike:
        """(m,) what some rows hold as seen by others."""

    @property
    def lower(self) -> ArrayLike:
        """(m,) bounds on `in_sample`."""

    @property
    def upper(self) -> ArrayLike:
        """(m,) bounds on `in_sample`."""

    @property
    def ceiling(self) -> float | None:
        """The largest value that these rows can show."""

    @property
    def n(self) -> int:
        """Number of rows."""

    @property
    def quantity(self) -> str:
        """Such as "I(X;T+eps)"."""

    @property
    def estimator(self) -> str:
        """Name and settings."""


def plot_noise_sweep(
    sweep: Sweep, *, units: Units = "nats", title: str = "", ax: "Axes | None" = None
) -> "tuple[Figure, Axes]":
    """Information in a noisy representation against the standard deviation of the noise, on a logarithmic axis.

    The curve, and not one point of it, is the finding: the noise is part of the quantity. Flagged points are hollow,
    bars are intervals, and a band lies between the bounds on the in-sample value. Where the in-sample and the
    out-of-sample line part, there are too few rows for so little noise; the latter may then leave the picture, as may
    loose bounds.

    Parameters
    ----------
    sweep : NoiseSweep                  or anything with the attributes of `miest.plotting.sweep.Sweep`
    units : "nats" or "bits"
    title : str                         above the axes
    ax : matplotlib Axes or None        draw into these; None makes a new figure

    Returns
    -------
    (Figure, Axes)                      save with ``figure.savefig("sweep.png")``

    Raises
    ------
    ValueError
        if no value is finite
    ImportError
        if matplotlib is not installed
    """
    require_choice("units", units, ("nats", "bits"))
    scale = 1.0 if units == "nats" else 1 / np.log(2)
    stds = np.asarray(sweep.stds, float)
    order = np.argsort(stds)
    stds, results = stds[order], [sweep.results[at] for at in order]
    values = scale * np.array([result.value for result in results])
    if not np.isfinite(values).any():
        raise ValueError(f"none of the {len(values)} values is finite: there is nothing to draw.")
    own = None
    if ax is None:
        own = empty_figure(6.6, 4.2)
        ax = own.subplots()

    def scaled(part: ArrayLike) -> NDArray[np.float64]:
        return scale * np.asarray(part, float)[order]

    inside, outside = scaled(sweep.in_sample), scaled(sweep.out_of_sample)
    color = COLORS[0]
    ax.fill_between(
        stds,
        scaled(sweep.lower),
        scaled(sweep.upper),
        color=color,
        alpha=0.15,
        linewidth=0,
        label="bounds on the in-sample value",
    )
    sound = [at for at, result in enumerate(results) if result.ok]
    doubtful = [at for at, result in enumerate(results) if not result.ok]
    ax.plot(stds, values, color=color, marker="o", markersize=5, linewidth=1.6, markevery=sound, label="estimate")
    ax.plot(stds[doubtful], values[doubtful], "o", color=color, markersize=5, markerfacecolor="white", zorder=3)
    for std, result in zip(stds, results, strict=True):
        if result.interval is not None:
            ax.vlines(std, result.interval[0] * scale, result.interval[1] * scale, color=color, linewidth=1)
    if not np.array_equal(inside, values):  # else the estimate is the in-sample value
        ax.plot(stds, inside, color=COLORS[2], linewidth=1, linestyle=":", label="in sample")
    ax.set_xscale("log")
    ax.plot(
        stds, outside, color=COLORS[1], marker="s", markersize=3.5, linewidth=1, linestyle="--", label="out of sample"
    )
    ends = [end * scale for result in results for end in result.interval or ()]
    ceiling = [] if sweep.ceiling is None else [sweep.ceiling * scale]
    others = np.concatenate([outside, scaled(sweep.lower), scaled(sweep.upper)])
    ax.set_ylim(_limits(np.concatenate([values, inside, ends, ceiling]), others))
    if sweep.ceiling is not None:
        reference(ax, "ceiling", sweep.ceiling * scale, across=True)
    ax.set_xlabel("standard deviation of the noise")
    ax.set_ylabel(f"{readable(sweep.quantity)} ({units})")
    ax.grid(color="0.93", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize="small")
    ax.set_title(plain(title), loc="left", fontsize="medium")
    about = f"{readable(sweep.quantity)}: {sweep.estimator}."
    flags = [[flag.name for flag in result.flags] for result in results]
    below = words_below(ax, [about, f"n = {sweep.n:,} samples.", *intervals(results), *doubts(flags)])
    if own is not None:
        own.set_figheight(4.2 + below / 72)
    figure: Any = ax.get_figure(root=True)
    return figure, ax


def _limits(shown: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[float, float]:
    """Room for 0 and all that must be seen, and for such of the others as are not far from it."""
    shown = shown[np.isfinite(shown)]
    low, high = min(0.0, float(shown.min())), float(shown.max())
    span = max(high - low, 1e-9)
    near = others[(others > low - _BEYOND * span) & (others < high + _BEYOND * span)]
    return min([low, *near.tolist()]) - 0.05 * span, max([high, *near.tolist()]) + 0.05 * span
