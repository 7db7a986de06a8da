"""The bottleneck functional over two parameters of a network, and the scalar distribution that it is a function of."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miest.estimators.estimator import require_choice
from miest.plotting.figure import COLORS, Units, empty_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_NAMES = {"compression": "I(X;L)", "precision": "I(Y;L)", "functional": "I(X;L) − β I(Y;L)"}
_CLASSES = (COLORS[1], COLORS[6], *COLORS[:1], *COLORS[2:6])  # red and black first, as in the paper


class Grid(Protocol):
    """Terms of the functional for pairs of parameters, nats."""

    @property
    def a(self) -> Array:
        """(n_a,) values of the first parameter."""

    @property
    def b(self) -> Array:
        """(n_b,) values of the second."""

    @property
    def compression(self) -> Array:
        """(n_a, n_b) nats; infinite where it is."""

    @property
    def precision(self) -> Array:
        """(n_a, n_b) nats."""

    @property
    def remedy(self) -> object:
        """What the terms were replaced by."""

    def functional(self, beta: float) -> Array:
        """(n_a, n_b) compression - beta precision, nats."""


class Pieces(Protocol):
    """A scalar distribution in pieces, points or intervals."""

    @property
    def low(self) -> Array:
        """(m,) left ends."""

    @property
    def high(self) -> Array:
        """(m,) right ends."""

    @property
    def labels(self) -> NDArray[np.intp]:
        """(m,) classes."""

    @property
    def masses(self) -> Array:
        """(m,) probabilities."""


def plot_landscape(
    landscape: Grid,
    *,
    term: Literal["compression", "precision", "functional"] = "compression",
    beta: float | None = None,
    units: Units = "nats",
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "tuple[Figure, Axes]":
    """A term of the bottleneck functional as a colour over two parameters; hatched where it is infinite.

    Parameters
    ----------
    landscape : Landscape
    term : "compression", "precision" or "functional"
    beta : float or None                of the functional
    units : "nats" or "bits"
    limits : (low, high) or None        ends of the colours, in these units; None: of the values
    title : str or None                 None: what the terms were replaced by
    ax : matplotlib Axes or None        draw into these; None makes a new figure

    Returns
    -------
    (Figure, Axes)

    Raises
    ------
    ValueError
        if a term or unit is unknown, or the functional has no beta
    """
    require_choice("term", term, tuple(_NAMES))
    require_choice("units", units, ("nats", "bits"))
    if (beta is None) == (term == "functional"):
        raise ValueError(f"beta={beta!r}: the functional needs one, and the other terms have none.")
    values = np.asarray(landscape.functional(beta) if beta is not None else getattr(landscape, term), np.float64)
    values = values / (math.log(2) if units == "bits" else 1.0)
    root: Any
    if ax is None:
        root = empty_figure(5.2, 4.2)
        ax = root.subplots()
    root = ax.get_figure(root=True)
    low, high = limits or _ends(values)
    ax.set_facecolor("white")
    ax.patch.set_hatch("////")
    ax.patch.set_edgecolor("0.8")
    edges = _edges(landscape.a), _edges(landscape.b)
    shown = np.ma.masked_invalid(values.T)
    mesh = ax.pcolormesh(*edges, shown, cmap="viridis", vmin=low, vmax=high, rasterized=True)
    bar = root.colorbar(mesh, ax=ax, pad=0.02)
    bar.set_label(f"{_NAMES[term]} ({units})" + (f", β = {beta:g}" if beta is not None else ""))
    ax.set(xlabel="a", ylabel="b")
    told = str(landscape.remedy) if title is None else title
    ax.set_title(plain(told), loc="left", fontsize="medium")
    share = float(np.isinf(values).mean())
    if share:
        ax.annotate(
            f"hatched: infinite, {share:.0%} of the grid",
            (1, -0.16),
            xycoords="axes fraction",
            ha="right",
            va="top",
            fontsize="small",
            color="0.35",
            annotation_clip=False,
        )
    return root, ax


def plot_features(
    features: Pieces,
    network: "Callable[[ArrayLike], Array] | None" = None,
    *,
    title: str = "",
    ax: "Axes | None" = None,
) -> "tuple[Figure, Axes]":
    """A scalar distribution on its line, a colour for each class, and a network as a function of it.

    Points are circles with an area proportional to their mass, intervals thick lines.

    Parameters
    ----------
    features : Features
    network : function or None      of x, such as `ramp(a, b)`
    title : str
    ax : matplotlib Axes or None    draw into these; None makes a new figure

    Returns
    -------
    (Figure, Axes)
    """
    root: Any
    if ax is None:
        root = empty_figure(5.2, 2.4)
        ax = root.subplots()
    root = ax.get_figure(root=True)
    ends = min(0.0, float(features.low.min())), max(1.0, float(features.high.max()))
    ax.axhline(0, color="0.75", linewidth=1, zorder=1)
    named: set[int] = set()
    for low, high, label, mass in zip(features.low, features.high, features.labels, features.masses, strict=True):
        color, name = _CLASSES[label % len(_CLASSES)], f"Y = {label}" if label not in named else None
        named.add(int(label))
        if high > low:
            ax.plot([low, high], [0, 0], color=color, linewidth=5, solid_capstyle="butt", label=name, zorder=3)
        else:
            size = max(12.0, 600 * float(mass)) if len(features.masses) < 12 else 14.0
            ax.scatter([low], [0], s=size, color=color, alpha=0.8, linewidths=0, label=name, zorder=3)
    if network is not None:
        x = np.linspace(*ends, 501)
        heights = network(x)
        ax.plot(x, heights, color=COLORS[0], linewidth=1.5, zorder=2, label="L = f(X)")
        bottom, top = float(heights.min()), float(heights.max())
        ax.set_ylim(bottom - 0.12 * (top - bottom or 1), top + 0.35 * (top - bottom or 1))  # room for the legend
    else:
        ax.set_yticks([])
    ax.set(xlim=(ends[0] - 0.03, ends[1] + 0.03), xlabel="X")
    ax.set_title(plain(title), loc="left", fontsize="medium")
    entries = sorted(
        zip(*ax.get_legend_handles_labels(), strict=True), key=lambda entry: (entry[1][0] == "L", entry[1])
    )
    ax.legend(
        *zip(*entries, strict=True),
        frameon=False,
        fontsize="small",
        loc="upper left",
        ncols=3,
        handlelength=1.1,
        columnspacing=0.8,
        handletextpad=0.3,
    )
    return root, ax


def _edges(centers: Array) -> Array:
    """Ends of the cells around the values of a parameter."""
    if len(centers) == 1:
        return np.array([centers[0] - 0.5, centers[0] + 0.5])
    middles = (centers[1:] + centers[:-1]) / 2
    return np.concatenate([[2 * centers[0] - middles[0]], middles, [2 * centers[-1] - middles[-1]]])


def _ends(values: Array) -> tuple[float, float]:
    """Least and largest finite value; apart where they are not."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)
