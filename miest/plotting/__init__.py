"""Pictures of results; the only package that imports matplotlib, and only when something is drawn.

Figures are made without pyplot, so that no window opens, no figure is kept alive, and no setting of the caller's
changes. A doubtful value must not look like a sound one: flagged points are hollow, and the picture names the flags.
"""

from miest.plotting.dimensions import plot_dimensions
from miest.plotting.errors import plot_errors
from miest.plotting.figure import empty_figure
from miest.plotting.i_diagram import plot_i_diagram
from miest.plotting.landscape import plot_landscape
from miest.plotting.layers import plot_layers
from miest.plotting.plane import plot_compare, plot_plane
from miest.plotting.sweep import plot_noise_sweep
from miest.plotting.timeline import plot_timeline

__all__ = [
    "empty_figure",
    "plot_compare",
    "plot_dimensions",
    "plot_errors",
    "plot_i_diagram",
    "plot_landscape",
    "plot_layers",
    "plot_noise_sweep",
    "plot_plane",
    "plot_timeline",
]
