"""What the pictures share: a figure of its own, colours and markers, words around the axes."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): distinct for the common forms of colour blindness; markers differ as well, for print in gray.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LISTED = 3 * len(MARKERS)
"""Layers up to which a legend lists them all: more would fill the page, and repeat each marker many times."""

Units = Literal["nats", "bits"]

_GRAY = "0.35"
_LETTER = 0.54  # mean width of a letter, in font sizes
LINE = 14.0  # height of a line of small print, in points


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


def letters(ax: "Axes") -> int:
    """How many small letters are as wide as the axes."""
    from matplotlib.font_manager import FontProperties

    root: Any = ax.get_figure(root=True)
    inches = ax.get_position().width * root.get_size_inches()[0]
    return max(24, int(inches * 72 / (_LETTER * FontProperties(size="small").get_size_in_points())))


def words_below(ax: "Axes", sentences: Sequence[str], below: float = 37) -> float:
    """Small print under the label of the x axis, as wide as the axes; returns its height in points.

    A sentence starts a new line where it does not fit.
    """
    width = letters(ax)
    lines = [""]
    for sentence in sentences:
        joined = f"{lines[-1]} {sentence}".strip()
        if len(joined) <= width:
            lines[-1] = joined
        else:
            lines += textwrap.wrap(sentence, width, break_on_hyphens=False)
    lines = [line for line in lines if line]
    ax.annotate(
        plain("\n".join(lines)),
        (0, 0),
        (0, -below),
        xycoords="axes fraction",
        textcoords="offset points",
        va="top",
        fontsize="small",
        color=_GRAY,
        linespacing=1.3,
        annotation_clip=False,
    )
    return LINE * len(lines)


_SMALL = {
    "frameon": False,
    "fontsize": "small",
    "borderaxespad": 0.2,
    "handletextpad": 0.2,
    "columnspacing": 1.0,
    "handlelength": 1.6,
}


def legend_above(ax: "Axes", handles: Sequence[Any], labels: Sequence[str], lift: float = 0.0) -> float:
    """A legend in rows above the axes, lifted by some points; returns its height in points, for what is over it."""
    from matplotlib.transforms import ScaledTranslation

    root: Any = ax.get_figure(root=True)
    across = _columns(letters(ax), labels)
    place = ax.transAxes + ScaledTranslation(0, lift / 72, root.dpi_scale_trans)
    shown = [plain(label) for label in labels]
    ax.legend(handles, shown, loc="lower left", bbox_to_anchor=(0, 1), bbox_transform=place, ncols=across, **_SMALL)
    return LINE * math.ceil(len(labels) / across)


def legend_under(figure: "Figure", handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend in rows under all axes of a figure."""
    wide = int(figure.get_figwidth() * 72 / (_LETTER * 8.5))
    shown = [plain(label) for label in labels]
    figure.legend(handles, shown, loc="outside lower left", ncols=_columns(wide, labels), **_SMALL)


def _columns(room: int, labels: Sequence[str]) -> int:
    return max(1, min(len(labels), room // (max(map(len, labels), default=0) + 5)))


def plain(text: str) -> str:
    """Text that matplotlib shows as it is: no formulas between dollars, no labels hidden for their underscore."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def reference(ax: "Axes", name: str, value: float, *, across: bool) -> None:
    """A dashed line with its name at a value of the y axis (`across`) or of the x axis; a note where it is far away."""
    low, high = ax.get_ylim() if across else ax.get_xlim()
    at: dict[str, Any]
    span, text = high - low, f"{name} = {value:.2f}"
    small: dict[str, Any] = {"fontsize": "small", "color": _GRAY, "annotation_clip": False}
    if not low - span <= value <= high + span:  # the line would take most of the picture
        edge, beyond = (0.99 if value > high else 0.01), value > high
        if across:
            note, at = f"{text} {'↑' if beyond else '↓'}", {"xy": (0.01, edge), "va": "top" if beyond else "bottom"}
        else:
            note, at = f"{text} {'→' if beyond else '←'}", {"xy": (edge, 0.01), "ha": "right" if beyond else "left"}
        ax.annotate(note, xycoords="axes fraction", **at, **small)
        return
    line: dict[str, Any] = {"color": _GRAY, "linewidth": 1, "linestyle": (0, (5, 3)), "zorder": 1}
    limits = (min(low, value - 0.05 * span), max(high, value + 0.05 * span))
    if across:
        ax.axhline(value, **line)
        ax.set_ylim(limits)
        at = {"xy": (0, value), "xytext": (3, 2), "xycoords": ("axes fraction", "data"), "va": "bottom"}
    else:
        ax.axvline(value, **line)
        ax.set_xlim(limits)
        at = {"xy": (value, 0), "xytext": (-2, 4), "xycoords": ("data", "axes fraction"), "va": "bottom"}
        at |= {"ha": "right", "rotation": 90}
    ax.annotate(text, textcoords="offset points", **at, **small)
