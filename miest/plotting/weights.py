"""Pictures of networks that pay for the information in their weights: random labels, and nuisances."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from miest.plotting.figure import COLORS, MARKERS, empty_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_random_labels(kept: Mapping[str, Any]) -> "Figure":
    """Training error on random labels against beta, and information in the weights against their share.

    Parameters
    ----------
    kept : mapping      what `miest.experiments.random_labels` writes: "settings", "transition" and "memory"

    Returns
    -------
    Figure              two panels; full lines are for weights at their means, dashed ones for weights with noise
    """
    figure = empty_figure(11, 4.2)
    left, right = figure.subplots(1, 2)
    for at, name in enumerate(kept["settings"]["architectures"]):
        points = sorted((p for p in kept["transition"] if p["architecture"] == name), key=lambda p: p["beta"])
        betas = [point["beta"] for point in points]
        style = {"color": COLORS[at], "marker": MARKERS[at], "markersize": 5}
        left.plot(betas, [point["error"] for point in points], **style, label=plain(name))
        left.plot(betas, [point["noisy_error"] for point in points], color=COLORS[at], linestyle="--", linewidth=1)
    left.axvline(1, color="0.35", linewidth=1, linestyle=(0, (5, 3)))
    left.set(xscale="log", ylim=(-0.03, 1), xlabel="beta", ylabel="training error, random labels")
    left.legend(frameon=False, fontsize="small", loc="upper left")
    points = kept["memory"]
    shares = [100 * point["share"] for point in points]
    right.plot(
        shares, [p["information"] for p in points], color=COLORS[0], marker="o", markersize=5, label="I(w;D) / n"
    )
    start = points[0]["information"]
    ideal = [start + point["share"] * math.log(10) for point in points]
    right.plot(shares, ideal, color="0.35", linewidth=1, linestyle=(0, (5, 3)), label="ln 10 for each random label")
    right.set(xlabel="random labels (%)", ylabel="nats a sample", ylim=(0, None))
    right.set_title(f"beta = {kept['settings']['share_beta']:g}", fontsize="medium", loc="left")
    right.legend(frameon=False, fontsize="small", loc="upper left")
    _finish([left, right])
    return figure


def plot_nuisance(kept: Mapping[str, Any]) -> "Figure":
    """What a representation tells of a nuisance and of the label, against beta and against the information in weights.

    Parameters
    ----------
    kept : mapping      what `miest.experiments.nuisance` writes: "settings" and "measured"

    Returns
    -------
    Figure              two panels; bars are intervals, hollow points carry a flag
    """
    figure = empty_figure(11, 4.2)
    axes = figure.subplots(1, 2, sharey=True)
    points, kinds = kept["measured"], kept["settings"]["kinds"]
    for ax, key in zip(axes, ("beta", "information"), strict=True):
        places = [point[key] for point in points]
        for at, (name, label) in enumerate((("label", "I(z;y), the digit"), ("nuisance", "I(z;n), the clutter"))):
            values = [point[name]["value"] for point in points]
            ax.plot(places, values, color=COLORS[at], linewidth=1.6, label=label)
            for place, point in zip(places, points, strict=True):
                found = point[name]
                face = "white" if found["flags"] else COLORS[at]
                ax.plot(
                    place, found["value"], MARKERS[at], color=COLORS[at], markerfacecolor=face, markersize=6, zorder=3
                )
                if found["interval"] is not None:
                    ax.vlines(place, *found["interval"], color=COLORS[at], linewidth=1)
        ax.axhline(math.log(10), color=COLORS[0], linewidth=1, linestyle=(0, (5, 3)), label="H(y) at most")
        if kinds:
            ax.axhline(math.log(kinds), color=COLORS[1], linewidth=1, linestyle=(0, (5, 3)), label="H(n)")
    axes[0].set(xlabel="beta", xscale="log", ylabel="nats", ylim=(min(0, axes[0].get_ylim()[0]), None))
    axes[1].set(xlim=(0, None), xlabel="information in the weights, nats a training image")
    axes[0].legend(frameon=False, fontsize="small")
    _finish(axes)
    return figure


def _finish(axes: Sequence["Axes"]) -> None:
    for ax in axes:
        ax.grid(color="0.93", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
