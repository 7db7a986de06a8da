"""The I-diagram of X, Y and Z with the numbers in it."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from miest.estimators.estimator import require_choice
from miest.plotting.figure import COLORS, Units, empty_figure, plain, words_below
from miest.result import MIResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Place = tuple[float, float]

_COLOR = {"X": COLORS[0], "Y": COLORS[1], "Z": COLORS[2]}
_CIRCLES = {"X": ((0.0, 0.0), 1.7), "Y": ((-0.78, 0.62), 1.25), "Z": ((0.78, 0.62), 1.25)}
"""Centres and radii where Y and Z overlap within X only: two ears on a head."""
_OPEN = {"X": ((0.0, -0.1), 1.5), "Y": ((-0.85, 1.1), 1.35), "Z": ((0.85, 1.1), 1.35)}
"""Where they overlap outside X, too."""
_PAIR = {"Y": ((-0.8, 0.0), 1.35), "Z": ((0.8, 0.0), 1.35)}
_INSIDE: dict[str, Place] = {"X": (0.0, -1.05), "XY": (-1.0, 0.3), "XZ": (1.0, 0.3), "XYZ": (0.0, 0.66)}
_INSIDE_OPEN: dict[str, Place] = {"X": (0.0, -0.95), "XY": (-0.85, 0.35), "XZ": (0.85, 0.35), "XYZ": (0.0, 0.85)}
_INSIDE_PAIR: dict[str, Place] = {"Y": (-1.4, 0.0), "Z": (1.4, 0.0), "YZ": (0.0, 0.0)}
_OUTSIDE: dict[str, tuple[Place, Place]] = {
    "Y": ((-2.75, 1.95), (-1.6, 1.35)),
    "Z": ((2.75, 1.95), (1.6, 1.35)),
    "YZ": ((0.0, 2.7), (0.0, 1.75)),
}
"""Where the words stand, and the point of the crescent that they are about."""


class Diagram(Protocol):
    """Disjoint regions of an I-diagram and what is known of them."""

    @property
    def regions(self) -> Mapping[frozenset[str], Any]:
        """Sets of cells that are known together."""

    @property
    def missing(self) -> Mapping[str, str]:
        """Cells that are not known, and why."""

    @property
    def n(self) -> int:
        """Number of samples."""

    @property
    def level(self) -> float:
        """Of the intervals of all regions at once."""

    @property
    def estimator(self) -> str:
        """How it was made."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What noise was added."""

    @property
    def is_chain(self) -> bool:
        """Whether Y and Z share nothing beyond X."""

    def region_name(self, cells: frozenset[str]) -> str:
        """Name of the quantity of a region."""

    def __getitem__(self, name: str) -> MIResult:
        """Value and interval of a quantity."""


def plot_i_diagram(
    diagram: Diagram, *, units: Units = "nats", title: str = "", ax: "Axes | None" = None
) -> "tuple[Figure, Axes]":
    """The I-diagram of labels Y, latent Z and input X: circles are entropies, and every region holds its number.

    Areas are not to scale. Flagged values have a question mark, and the picture names the flags. Where nothing is known
    of X but the numbers of its rows, its own region says so; where it plays no part, two circles are drawn.

    Parameters
    ----------
    diagram : Quantities        or anything with the attributes of `Diagram`
    units : "nats" or "bits"
    title : str                 above the axes
    ax : matplotlib Axes or None    draw into these; None makes a new figure

    Returns
    -------
    figure, axes
    """
    require_choice("units", units, ("nats", "bits"))
    from matplotlib.patches import Circle

    with_x = any(cells & {"X", "XZ", "XYZ", "XY"} == cells for cells in diagram.regions)
    circles = _PAIR if not with_x else _CIRCLES if diagram.is_chain else _OPEN
    inside = _INSIDE_PAIR if not with_x else _INSIDE if diagram.is_chain else _INSIDE_OPEN
    figure: Any
    if ax is None:
        figure = empty_figure(7.5, 6.3 if with_x else 4.4)
        ax = figure.subplots()
    else:
        figure = ax.get_figure(root=True)
    assert ax is not None
    for name, (centre, radius) in circles.items():
        style = {"facecolor": _COLOR[name], "alpha": 0.16, "linewidth": 0}
        ax.add_patch(Circle(centre, radius, **style))
        ax.add_patch(Circle(centre, radius, fill=False, edgecolor=_COLOR[name], linewidth=1.6))
    top = max(y + r for (_, y), r in circles.values())
    names = {"X": (-1.42, -1.35), "Y": (-2.18, 0.1), "Z": (2.18, 0.1)}
    names |= {} if with_x else {"Y": (-2.0, 1.05), "Z": (2.0, 1.05)}
    for name in circles:
        ax.text(*names[name], name, color=_COLOR[name], fontsize=17, weight="bold", ha="center", va="center")
    flags: dict[str, None] = {}
    for cells in diagram.regions:
        if diagram.is_chain and cells == {"YZ"}:
            continue
        result = diagram[diagram.region_name(cells)]
        flags |= dict.fromkeys(f"{flag.name}: {flag.value}" for flag in result.flags)
        place = _place(cells, with_x)
        if place in inside:
            ax.text(*inside[place], _words(result, units), ha="center", va="center", fontsize=9, linespacing=1.35)
        else:
            words, point = _OUTSIDE[place]
            ax.annotate(
                _words(result, units),
                point,
                words,
                ha="center",
                va="center",
                fontsize=9,
                linespacing=1.35,
                arrowprops={"arrowstyle": "-", "color": "0.5", "shrinkB": 0},
            )
    if with_x and "X" in diagram.missing:
        ax.text(*inside["X"], "H[X|Y,Z]\nnot known", ha="center", va="center", fontsize=9, color="0.45")
    ax.set(xlim=(-3.4, 3.4), ylim=(-1.85 if with_x else -1.5, max(top, 2.4 if with_x else 0) + 0.15), aspect="equal")
    if with_x and not diagram.is_chain:
        ax.set_ylim(top=3.0)
    ax.set_axis_off()
    ax.set_title(plain(title) if title else "", loc="left")
    sentences = [
        f"{units}, n={diagram.n}, {diagram.estimator};",
        f"in brackets: intervals, all at once at {diagram.level:.0%}.",
        *diagram.notes[:1],
        *(f"{text}." for text in flags),
    ]
    words_below(ax, sentences, below=4)
    return figure, ax


def _place(cells: frozenset[str], with_x: bool) -> str:
    """The cell that the words of a region stand in."""
    if with_x:
        return max(cells, key=len)
    return {"Y": "Y", "XY": "Y", "Z": "Z", "XZ": "Z"}.get(min(cells, key=len), "YZ")


def _words(result: MIResult, units: Units) -> str:
    scale = 1 / math.log(2) if units == "bits" else 1.0
    value = result.value * scale
    doubt = " ?" if result.flags else ""
    words = f"{result.quantity}\n{value:.3f}{doubt}"
    if result.interval is None or result.interval[0] == result.interval[1]:
        return words
    low, high = (end * scale for end in result.interval)
    return f"{words}\n[{low:.3f}, {high:.3f}]"
