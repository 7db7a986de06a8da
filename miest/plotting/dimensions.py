"""Dimensions through the layers of networks, beside those that their widths leave."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from miest.plotting.figure import COLORS, MARKERS, empty_figure, legend_under, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ABOUT = ("layer", "width", "expected")


def plot_dimensions(
    measured: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]],
) -> "tuple[Figure, Sequence[Axes]]":
    """Estimated dimensions layer by layer, one picture for each kind of network; the expected ones as steps.

    Parameters
    ----------
    measured : mapping from names to lists of networks
        each network a list of layers, each layer with "layer", "width", "expected" and estimates by name

    Returns
    -------
    (Figure, list of Axes)

    Raises
    ------
    ValueError
        if nothing was measured
    """
    if not measured:
        raise ValueError("nothing was measured: pass at least one kind of network.")
    figure = empty_figure(3.1 * len(measured), 3.4)
    axes: Any = figure.subplots(1, len(measured), sharey=True, squeeze=False)[0]
    for ax, (name, runs) in zip(axes, measured.items(), strict=True):
        layers = runs[0]
        places = np.arange(len(layers))
        expected = [layer["expected"] for layer in layers]
        ax.step(places, expected, where="mid", color="0.45", linewidth=1.5, label="expected", zorder=1)
        estimates = [key for key in layers[0] if key not in _ABOUT]
        for number, key in enumerate(estimates):
            values = np.array([[layer[key] for layer in run] for run in runs])  # (networks, layers)
            shift = 0.16 * (number - (len(estimates) - 1) / 2)
            color, marker = COLORS[number], MARKERS[number]
            ax.plot(places + shift, values.mean(0), marker, color=color, label=f"{key} dimension", zorder=3)
            ends = np.abs(np.stack([values.min(0), values.max(0)]) - values.mean(0))
            ax.errorbar(places + shift, values.mean(0), ends, fmt="none", ecolor=color, elinewidth=1, zorder=2)
        labels = [f"{plain(str(layer['layer']))}\n{layer['width']}" for layer in layers]
        ax.set_xticks(places, labels, fontsize="small")
        ax.set_title(plain(name), loc="left", fontsize="medium")
        ax.set_ylim(bottom=-0.2)
        ax.grid(axis="y", color="0.93")
    axes[0].set_ylabel("dimension")
    figure.supxlabel("layer and its width; bars from the least to the largest network", fontsize="small")
    legend_under(figure, *axes[0].get_legend_handles_labels())
    return figure, list(axes)
