"""Pictures of landscapes: exact, refusals."""

import math

import numpy as np
import pytest

from miest.bottleneck.landscape import figure_1, functional_landscape
from miest.bottleneck.remedies import DecisionRule
from miest.bottleneck.scalar_networks import ramp
from miest.plotting.landscape import plot_features, plot_landscape

SMALL = functional_landscape(figure_1()["continuous"], a=[0.3, 0.42, 0.5], b=[0.05, 0.1])


def drawn(ax):
    (mesh,) = (c for c in ax.collections if hasattr(c, "get_coordinates"))
    return mesh, mesh.get_array()


# exact


def test_what_is_infinite_is_left_out_and_said():
    figure, ax = plot_landscape(SMALL, title="(g)")
    mesh, values = drawn(ax)
    assert values.shape == (2, 3)  # b upwards, a to the right
    assert np.array_equal(values.mask, np.isinf(SMALL.compression.T))
    assert values.compressed() == pytest.approx(SMALL.compression.T[np.isfinite(SMALL.compression.T)])
    assert np.asarray(mesh.get_coordinates())[0, :, 0] == pytest.approx([0.24, 0.36, 0.46, 0.54])
    assert any("infinite" in text.get_text() for text in ax.texts)
    assert ax.get_title("left") == "(g)"
    assert figure is ax.get_figure()


def test_bits_functionals_and_limits():
    _, ax = plot_landscape(SMALL, term="precision", units="bits", limits=(0, 1))
    mesh, values = drawn(ax)
    assert np.asarray(values) == pytest.approx(SMALL.precision.T / math.log(2))
    assert mesh.get_clim() == (0, 1)
    assert not ax.texts
    _, ax = plot_landscape(SMALL, term="functional", beta=2.0)
    _, values = drawn(ax)
    assert values.compressed() == pytest.approx(SMALL.functional(2.0).T[np.isfinite(SMALL.functional(2.0).T)])


def test_the_remedy_is_in_the_title():
    _, ax = plot_landscape(functional_landscape(figure_1()["discrete"], remedy=DecisionRule(), a=[0.1], b=[0.2]))
    assert ax.get_title("left") == "DecisionRule(threshold=0.5)"


def test_points_intervals_and_the_network():
    _, ax = plot_features(figure_1()["discrete"], ramp(0.2, 0.4))
    sizes = [c.get_sizes()[0] for c in ax.collections]
    assert sizes == pytest.approx(600 * np.array([0.3, 0.15, 0.2, 0.35]))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["Y = 0", "Y = 1", "L = f(X)"]
    assert ax.lines[-1].get_ydata().max() == pytest.approx(0.4)
    _, ax = plot_features(figure_1()["continuous"])
    assert len(ax.lines) == 5  # the line and four intervals
    assert ax.get_xlim() == pytest.approx((-0.03, 1.03))


# refusals


def test_what_cannot_be():
    with pytest.raises(ValueError, match="term='rate'"):
        plot_landscape(SMALL, term="rate")
    with pytest.raises(ValueError, match="the functional needs one"):
        plot_landscape(SMALL, term="functional")
    with pytest.raises(ValueError, match="the other terms have none"):
        plot_landscape(SMALL, beta=2.0)
    with pytest.raises(ValueError, match="units='digits'"):
        plot_landscape(SMALL, units="digits")
