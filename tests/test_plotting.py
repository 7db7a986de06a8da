"""plot_layers: what is drawn is what was estimated; doubt is visible; nothing global is touched."""

import math
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from miest.estimators.kde import KDE
from miest.estimators.ksg import KSG
from miest.estimators.spec import short
from miest.plotting import plot_layers
from miest.result import Diagnostics, Flag, MIResult


def result(value, estimator, *, flags=(), **more):
    return MIResult(value=value, n_samples=100, estimator=estimator, flags=flags, **more)


@pytest.fixture
def layers():
    return {
        "a": [result(1.0, KSG(), flags=(Flag.SATURATED,)), result(0.5, KDE(noise_var=0.1))],
        "b": [result(0.8, KSG()), result(0.4, KDE(noise_var=0.1))],
        "c": [result(0.7, KSG(), flags=(Flag.TIES, Flag.SATURATED))],
    }


def labelled(ax):
    """The lines of series, by their label; flagged points are lines of their own."""
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


# exact


def test_one_line_for_every_estimator_with_its_values(layers):
    _, ax = plot_layers(layers)
    ksg, kde = labelled(ax).values()
    assert ksg.get_ydata().tolist() == [1.0, 0.8, 0.7]
    assert kde.get_ydata()[:2].tolist() == [0.5, 0.4]
    assert math.isnan(kde.get_ydata()[2])  # layer c lacks it
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["a", "b", "c"]


def test_flagged_points_are_hollow_and_the_others_are_not(layers):
    _, ax = plot_layers(layers)
    ksg, kde = labelled(ax).values()
    assert ksg.get_markevery() == [1]
    assert kde.get_markevery() == [0, 1]
    (hollow,) = [line for line in ax.lines if line.get_label().startswith("_flagged")]
    assert hollow.get_ydata() == pytest.approx([1.0, 0.7])
    assert hollow.get_markerfacecolor() == "white"
    assert hollow.get_color() == ksg.get_color()


def test_the_legend_names_settings_and_flags(layers):
    _, ax = plot_layers(layers)
    ksg, kde = (text.get_text() for text in ax.get_legend().get_texts())
    assert ksg == "I(X;Y)  KSG\nhollow: SATURATED, TIES"
    assert kde == "I(X;Y)  KDE(noise_var=0.1)"
    assert ax.get_title("right") == "n = 100"


def test_bits_scale_values_bounds_intervals_and_references():
    bounds = Diagnostics(lower=0.2, upper=0.9)
    made = {"a": [result(0.5, KDE(), diagnostics=bounds, interval=(0.3, 0.7), kind="upper bound")]}
    _, nats = plot_layers(made, references={"H(Y)": 1.0})
    _, bits = plot_layers(made, references={"H(Y)": 1.0}, units="bits")
    for ax, unit in ((nats, 1.0), (bits, math.log(2))):
        (line,) = labelled(ax).values()
        assert line.get_ydata() == pytest.approx([0.5 / unit])
        assert "upper bound, band: both bounds" in line.get_label()
        (band,) = [c for c in ax.collections if isinstance(c, PolyCollection)]
        heights = band.get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == pytest.approx((0.2 / unit, 0.9 / unit))
        (bar,) = ax.containers
        assert bar[2][0].get_segments()[0][:, 1] == pytest.approx([0.3 / unit, 0.7 / unit])
        assert any(list(line.get_ydata()) == pytest.approx([1 / unit, 1 / unit]) for line in ax.lines)
        assert [text.get_text() for text in ax.texts] == ["H(Y)"]
    assert bits.get_ylabel() == "information (bits)"


def test_noise_that_followed_the_data_is_in_the_legend():
    made = {
        "a": [result(1.0, KDE(), diagnostics=Diagnostics(noise_var=0.02))],
        "b": [result(1.0, KDE(), diagnostics=Diagnostics(noise_var=0.5))],
    }
    _, ax = plot_layers(made)
    assert list(labelled(ax)) == ["I(X;Y)  KDE, noise_var 0.02 to 0.5"]


def test_settings_in_short():
    assert short(KSG()) == "KSG"
    assert short(KSG(k=5)) == "KSG(k=5)"
    assert short("Other(a=1)") == "Other(a=1)"


# properties


def test_draws_into_given_axes_and_makes_nothing_else(layers):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    same, ax = plot_layers(layers, ax=right, title="right one")
    assert same is figure
    assert ax is right
    assert not left.lines
    assert right.get_title("left") == "right one"


def test_no_figure_is_kept_and_pyplot_is_not_loaded(tmp_path):
    code = (
        "import sys, miest; from miest.plotting import plot_layers; assert 'matplotlib' not in sys.modules\n"
        "r = miest.MIResult(value=1.0, n_samples=9, estimator=miest.KSG())\n"
        "plot_layers({'a': [r]})[0].savefig(sys.argv[1]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], check=True)


def test_infinite_values_are_left_out_of_the_line(tmp_path):
    made = {"a": [result(math.inf, KSG())], "b": [result(1.0, KSG())]}
    figure, ax = plot_layers(made)
    figure.savefig(tmp_path / "a.png")
    assert np.isfinite(ax.get_ylim()).all()


# refusals


def test_nothing_to_draw_and_two_of_one_kind_are_refused():
    with pytest.raises(ValueError, match="no result in 1 layers"):
        plot_layers({"a": []})
    with pytest.raises(ValueError, match=r"layer 'a' has two results of KSG for I\(X;Y\)"):
        plot_layers({"a": [result(1.0, KSG()), result(2.0, KSG())]})
    with pytest.raises(ValueError, match="units='bit' must be one of 'nats', 'bits'"):
        plot_layers({"a": [result(1.0, KSG())]}, units="bit")


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'miest\[plot\]'"):
        plot_layers({"a": [result(1.0, KSG())]})
