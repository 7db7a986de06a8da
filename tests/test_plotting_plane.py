"""Pictures of training: what is drawn is what was estimated; doubt, and what cannot be, is seen; nothing is global."""

import math
import subprocess
import sys
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

import miest
from miest.plane.row import Row
from miest.plane.trajectory import Trajectory
from miest.plotting import plot_compare, plot_noise_sweep, plot_plane, plot_timeline
from miest.plotting.points import followed, impossible, rises, rows_of
from miest.plotting.steps import log_from, step_ticks
from miest.result import Flag, MIResult
from miest.sweep import noise_sweep

LAYERS = ("fc1", "fc2", "fc3")
AXES = {"I_XT": "x", "H_bin": "x", "I_TY": "y", "I_TY[kde]": "y", "dimension": None}
NAMES = {
    "I_XT": "I(X;T+eps)",
    "H_bin": "H_bin(T)",
    "I_TY": "I(T;Y)",
    "I_TY[kde]": "I(T+eps;Y)",
    "dimension": "correlation dimension",
}
TEXTS = {"I_XT": "GaussianChannel(noise=GaussianNoise(std=0.1))", "I_TY": "MixedKSG(k=3)"}


def row(step, layer, key, value, **more):
    return Row(
        step=step,
        layer=layer,
        quantity=key,
        value=value,
        **{"name": NAMES[key], "estimator": TEXTS.get(key, "Other()"), "n": 2500, **more},
    )


def trajectory(*rows, scalars=None, **settings):
    keys = dict.fromkeys(r.quantity for r in rows)
    return Trajectory(
        rows=rows,
        scalars=scalars or {},
        settings={
            "layers": LAYERS,
            "quantities": [{"key": key, "axis": AXES[key]} for key in keys],
            "references": {"H(X)": 6.0, "H(Y)": 2.0},
            **settings,
        },
    )


def run(steps=(0, 1, 10, 100), keys=("I_XT", "I_TY"), **settings):
    """I(X;T+eps) is 5, 4, 3 and I(T;Y) 1.8, 1.6, 1.4, each a little more at every step."""
    size = {"x": (5.0, 4.0, 3.0), "y": (1.8, 1.6, 1.4), None: (3.0, 2.0, 1.0)}
    rows = [
        row(step, layer, key, size[AXES[key]][i] + 0.01 * at)
        for at, step in enumerate(steps)
        for i, layer in enumerate(LAYERS)
        for key in keys
    ]
    return trajectory(*rows, **settings)


def changed(run, step, layer, key, **changes):
    """The run with one estimate replaced."""
    (old,) = [r for r in run.rows if r.place == (step, layer, key)]
    new = Row(**{f: getattr(old, f) for f in Row.__dataclass_fields__} | changes)
    return Trajectory(rows=(*run.rows, new), scalars=run.scalars, settings=run.settings)


def paths(ax):
    """The line of each step: those with a corner for every layer."""
    (found,) = [c for c in ax.collections if isinstance(c, LineCollection) and len(c.get_segments()[0]) == 3]
    return found


def scatters(ax, *, marked):
    """The collections of points, or those of the crosses."""
    return [c for c in ax.collections if isinstance(c, PathCollection) and (c.get_gid() == "impossible") == marked]


def dots(ax):
    """Place, face and edge of every point, crosses apart."""
    found = []
    for c in scatters(ax, marked=False):
        for at, edge in zip(c.get_offsets().tolist(), c.get_edgecolors(), strict=True):
            faces = c.get_facecolors()
            face = faces[0] if len(faces) == 1 else faces[c.get_offsets().tolist().index(at)]
            found.append((tuple(at), tuple(face), tuple(edge)))
    return found


def crosses(ax):
    """Where something is marked as impossible."""
    return sorted({tuple(at) for c in scatters(ax, marked=True) for at in np.round(c.get_offsets(), 9).tolist()})


def words(ax):
    """The small print below, as one line."""
    return " ".join(max((text.get_text() for text in ax.texts), key=len).split())


# exact


def test_one_line_for_every_step_through_its_layers_in_network_order():
    _, ax = plot_plane(run())
    segments = paths(ax).get_segments()
    assert len(segments) == 4
    assert segments[0] == pytest.approx(np.array([[5.0, 1.8], [4.0, 1.6], [3.0, 1.4]]))
    assert segments[3] == pytest.approx(np.array([[5.03, 1.83], [4.03, 1.63], [3.03, 1.43]]))
    places = np.array(sorted(at for at, _, _ in dots(ax)))
    assert places == pytest.approx(np.array(sorted(np.concatenate(segments).tolist())))


def test_colour_is_the_step_on_a_logarithmic_scale():
    figure, ax = plot_plane(run(steps=(0, 1, 10, 100)))
    colors = paths(ax).get_colors()
    places = np.log1p([0, 1, 10, 100]) / math.log1p(100)
    expected = mpl.colormaps["viridis"](places)
    assert colors[:, :3] == pytest.approx(expected[:, :3], abs=1 / 128)
    (bar,) = [other for other in figure.axes if other is not ax]
    assert bar.get_ylabel() == "step"
    assert [text.get_text() for text in bar.get_yticklabels()] == ["0", "1", "10", "100"]


def test_colour_is_linear_where_the_steps_are_even():
    _, ax = plot_plane(run(steps=range(0, 50, 10)))
    expected = mpl.colormaps["viridis"](np.linspace(0, 1, 5))
    assert paths(ax).get_colors()[:, :3] == pytest.approx(expected[:, :3], abs=1 / 128)


def test_classic_has_its_own_colours_dots_of_one_kind_and_no_legend():
    _, ax = plot_plane(run(), style="classic")
    expected = mpl.colormaps["gnuplot"](np.array([0, 0.01, 0.1, 1.0]))
    assert paths(ax).get_colors()[:, :3] == pytest.approx(expected[:, :3], abs=1 / 128)
    assert ax.get_legend() is None
    shapes = {c.get_paths()[0].vertices.tobytes() for c in scatters(ax, marked=False)}
    assert len(shapes) == 1


def test_every_layer_has_its_marker_and_stands_in_the_legend():
    _, ax = plot_plane(run())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(LAYERS)
    shapes = {c.get_paths()[0].vertices.tobytes() for c in scatters(ax, marked=False)}
    assert len(shapes) == 3


def test_very_many_layers_are_not_listed():
    def legend(axes):
        return [text.get_text() for text in axes.get_legend().get_texts()]

    for count in (21, 22, 74):
        names = [f"layer{i}" for i in range(count)]
        rows = [row(step, name, key, 1.0) for step in (0, 1) for name in names for key in ("I_XT", "I_TY")]
        both = trajectory(*rows, layers=names)
        timeline = legend(plot_timeline(both)[1][0])
        if count == 21:
            assert legend(plot_plane(both)[1]) == timeline == names
        else:
            assert legend(plot_plane(both)[1]) == [f"{count} layers, layer0 to {names[-1]}, joined in network order"]
            assert timeline == [names[round(i * (count - 1) / 6)] for i in range(7)]


def test_flagged_points_are_hollow_and_counted():
    made = changed(run(), 10, "fc2", "I_XT", flags=("SATURATED",))
    made = changed(made, 10, "fc2", "I_TY", flags=("TIES", "SATURATED"))
    _, ax = plot_plane(made)
    hollow = [at for at, face, edge in dots(ax) if face == to_rgba("white") and edge != face]
    assert hollow == [pytest.approx((4.02, 1.62))]
    assert "Hollow: 1 of 12 are flagged (SATURATED 1, TIES 1)." in words(ax)


def test_intervals_are_bars_on_both_axes():
    made = changed(run(), 1, "fc1", "I_XT", interval=(4.9, 5.2), level=0.9)
    made = changed(made, 1, "fc1", "I_TY", interval=(1.7, 1.9), level=0.9)
    _, ax = plot_plane(made)
    (bars,) = [c for c in ax.collections if isinstance(c, LineCollection) and c is not paths(ax)]
    assert bars.get_segments()[0] == pytest.approx(np.array([[4.9, 1.81], [5.2, 1.81]]))
    assert bars.get_segments()[1] == pytest.approx(np.array([[5.01, 1.7], [5.01, 1.9]]))
    assert "Bars: 90% intervals." in words(ax)


def test_entropies_are_dashed_lines_and_notes_where_they_are_far_away():
    _, ax = plot_plane(run())
    assert [list(line.get_xdata()) for line in ax.lines if list(line.get_ydata()) == [0, 1]] == [[6.0, 6.0]]
    assert [list(line.get_ydata()) for line in ax.lines if list(line.get_xdata()) == [0, 1]] == [[2.0, 2.0]]
    assert {"H(X) = 6.00", "H(Y) = 2.00"} <= {text.get_text() for text in ax.texts}
    assert ax.get_xlim()[1] > 6.0
    _, ax = plot_plane(run(references={"H(X)": 60.0}))
    assert not ax.lines
    assert "H(X) = 60.00 →" in {text.get_text() for text in ax.texts}
    assert ax.get_xlim()[1] < 7.0
    _, ax = plot_plane(run(references={"H(Y)": 1.2}))
    assert ax.get_ylim()[0] < 1.2


def test_the_caption_names_estimators_noise_bins_and_n():
    made = changed(run(keys=("H_bin", "I_TY")), 0, "fc1", "H_bin", diagnostics={"width": 0.25})
    made = changed(made, 1, "fc1", "H_bin", diagnostics={"width": 0.5}, estimator="Binning(bins=30, width=None)")
    _, ax = plot_plane(made)
    assert words(ax).startswith("H_bin(T): Other() or Binning(bins=30), bin width 0.25 to 0.5. I(T;Y): MixedKSG(k=3).")
    assert "n = 2,500 samples." in words(ax)
    _, ax = plot_plane(run())
    assert words(ax).startswith("I(X;T+ε): GaussianChannel(noise=GaussianNoise(std=0.1)). I(T;Y): MixedKSG(k=3).")
    assert ax.get_xlabel() == "I(X;T+ε) (nats)"


def test_the_caption_rounds_settings():
    found = run()
    width = "Binning(width=1.7998117499720259, bins=30, correction=None)"
    short = changed(found, 0, "fc1", "I_XT", estimator=width, diagnostics={"width": 1.7998117499720259})
    assert "Binning(width=1.8, bins=30) or " in words(plot_plane(short)[1])


def test_failed_and_infinite_estimates_are_left_out_and_counted():
    made = changed(run(), 0, "fc1", "I_XT", value=math.nan, kind="failed", flags=("TIES",))
    made = changed(made, 1, "fc1", "I_TY", value=math.inf)
    _, ax = plot_plane(made)
    assert len(dots(ax)) == 10
    assert "Left out: 1 failed and 1 infinite of 24 estimates." in words(ax)
    assert "flagged" not in words(ax)


def test_what_processing_cannot_do_is_crossed():
    made = changed(run(), 10, "fc2", "I_TY", value=1.95, interval=(1.9, 2.0))  # fc1 has 1.82
    made = changed(made, 10, "fc1", "I_TY", interval=(1.75, 1.89))
    made = changed(made, 1, "fc2", "I_TY", value=1.83)  # no interval: 1.81 and 1.83 are 1 / sqrt(2500) each from equal
    _, ax = plot_plane(made)
    assert crosses(ax) == [(4.02, 1.95)]
    assert "×: I(T;Y) rises from a layer to the next by more than its errors 1 of 8 times" in words(ax)
    assert impossible(made, "I_TY") == {(10, "fc2")}


@pytest.mark.parametrize(
    ("changes", "settings", "chain"),
    [
        ({"kind": "upper bound"}, {}, True),
        ({"name": "I(T+eps;Y)"}, {}, True),
        ({}, {"reductions": {"fc1": "MeanPool()"}}, True),
        ({}, {}, False),
    ],
)
def test_where_a_rise_proves_nothing_nothing_is_crossed(changes, settings, chain):
    made = changed(run(**settings), 10, "fc2", "I_TY", value=1.95, **changes)
    _, ax = plot_plane(made, chain=chain)
    assert crosses(ax) == []
    made = changed(run(reductions={"fc1": "Flatten()"}), 10, "fc2", "I_TY", value=1.95)
    assert crosses(plot_plane(made)[1]) == [(4.02, 1.95)]


def test_a_lower_bound_of_the_layer_before_proves_nothing():
    made = changed(run(), 10, "fc1", "I_TY", value=1.0, kind="lower bound")
    assert crosses(plot_plane(made)[1]) == []


def test_the_caption_says_why_noise_and_bins_are_not_checked():
    _, ax = plot_plane(run(keys=("I_XT", "I_TY[kde]")))
    assert "I(X;T+ε) has noise of its own in each layer, and may rise from one to the next." in words(ax)
    _, ax = plot_plane(run(keys=("H_bin", "I_TY")))
    assert "H_bin(T) has bins of its own in each layer" in words(ax)
    assert "I(T;Y) nowhere rises from a layer to the next by more than its errors." in words(ax)
    assert "No layer here is a function of" in words(plot_plane(run(), chain=False)[1])


def test_bits_scale_information_and_not_a_dimension():
    _, ax = plot_plane(run(keys=("I_XT", "dimension", "I_TY")), "I_XT", "dimension", units="bits")
    assert paths(ax).get_segments()[0][0] == pytest.approx((5.0 / math.log(2), 3.0))
    assert ax.get_xlabel() == "I(X;T+ε) (bits)"
    assert ax.get_ylabel() == "correlation dimension"
    measured = miest.CorrelationDimension().estimate(np.random.default_rng(0).normal(size=(300, 2)))
    own = trajectory(row(0, "fc1", "dimension", measured.value, name=measured.quantity))
    assert plot_timeline(own, units="bits")[1][0].get_ylabel() == measured.quantity
    assert plot_timeline(own, units="bits")[1][0].lines[0].get_ydata().tolist() == [measured.value]


def test_gradients_have_no_units_no_samples_and_no_place_in_the_plane():
    """They are of other modules, the ones with weights, over a few batches."""
    snr = {"name": "gradient signal-to-noise", "estimator": "gradient over 15 batches", "n": 15}
    own = run()
    rows = [row(step, "weights", "dimension", 0.5, **snr) for step in (0, 1, 10, 100)]
    both = trajectory(*own.rows, *rows, layers=[*LAYERS, "weights"])
    for draw in (plot_plane, plot_compare):
        figure, axes = draw(both)
        (legend,) = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
        assert [text.get_text() for text in legend.get_texts()] == list(LAYERS)
    _, axes = plot_timeline(both, units="bits")
    assert axes[-1].get_ylabel() == "gradient signal-to-noise"
    assert 0.5 in axes[-1].lines[-2].get_ydata()
    assert "n = 2,500 samples." in words(axes[-1])
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == [*LAYERS, "weights"]
    _, axes = plot_timeline(both, ["I_XT"])
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == list(LAYERS)


def test_what_was_logged_once_is_a_dot():
    _, axes = plot_timeline(
        run(scalars={step: {"loss": 1.0, **({"accuracy": 0.9} if step else {})} for step in (0, 1)})
    )
    drawn = {line.get_label(): line.get_marker() for ax in axes[-1].figure.axes for line in ax.lines}
    assert (drawn["loss"], drawn["accuracy"]) == ("", "o")


def test_compare_has_a_panel_for_every_pair_with_the_same_scales():
    made = changed(run(keys=("I_XT", "H_bin", "I_TY")), 0, "fc1", "H_bin", value=9.0)
    figure, axes = plot_compare(made, title="both")
    assert axes[0].get_xlim()[1] > 9.0
    assert [ax.get_xlabel() for ax in axes] == ["I(X;T+ε) (nats)", "H_bin(T) (nats)"]
    assert len({ax.get_xlim() for ax in axes}) == len({ax.get_ylim() for ax in axes}) == 1
    assert len(figure.axes) == 3  # one colour bar
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(LAYERS)
    _, axes = plot_compare(run(keys=("I_XT", "H_bin", "I_TY", "I_TY[kde]")))
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in axes]
    assert labels[1:3] == [("H_bin(T) (nats)", "I(T;Y) (nats)"), ("I(X;T+ε) (nats)", "I(T+ε;Y) (nats)")]
    first, right, below, _ = (ax.get_position() for ax in axes)
    assert first.x1 < right.x0
    assert first.x0 == below.x0
    assert first.y0 > below.y1
    _, axes = plot_compare(run(keys=("I_XT", "H_bin", "I_TY")), [("H_bin", "I_TY")])
    assert len(axes) == 1


def test_compare_keeps_a_panel_without_points_beside_one_with_some():
    made = run(keys=("I_XT", "H_bin", "I_TY"))
    for step in made.steps:
        for layer in LAYERS:
            made = changed(made, step, layer, "H_bin", value=math.nan, kind="failed")
    _, (full, empty) = plot_compare(made)
    assert len(dots(full)) == 12
    assert not dots(empty)
    assert "Left out: 12 failed of 24 estimates." in words(empty)


def test_timeline_has_a_line_for_every_layer_broken_where_it_failed():
    made = changed(run(), 10, "fc3", "I_TY", value=math.nan, kind="failed")
    made = changed(made, 1, "fc2", "I_TY", value=math.inf)
    made = changed(made, 1, "fc1", "I_XT", flags=("TIES",))
    _, (ixt, ity) = plot_timeline(made)
    fc1, flagged = ixt.lines[:2]
    assert fc1.get_xdata().tolist() == [0, 1, 10, 100]
    assert fc1.get_ydata() == pytest.approx([5.0, 5.01, 5.02, 5.03])
    assert fc1.get_markevery() == [0, 2, 3]
    assert (flagged.get_xdata(), flagged.get_ydata()) == ([1], pytest.approx([5.01]))
    assert flagged.get_markerfacecolor() == "white"
    assert np.isnan(ity.lines[2].get_ydata()).tolist() == [False, True, False, False]
    assert np.isnan(ity.lines[4].get_ydata()).tolist() == [False, False, True, False]
    assert "Left out: 1 failed and 1 infinite of 24 estimates." in words(ity)
    assert ixt.get_title("left") == TEXTS["I_XT"]


def test_timeline_shows_step_0_at_the_left_of_a_logarithmic_axis():
    _, (ax, _) = plot_timeline(run())
    assert ax.get_xscale() == "symlog"
    zero, one, ten, hundred = ax.transData.transform([(step, 0) for step in (0, 1, 10, 100)])[:, 0]
    assert zero < one < ten < hundred
    assert hundred - ten == pytest.approx(ten - one, rel=0.01)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "1", "10", "100"]


def test_timeline_ends_with_what_was_logged():
    scalars = {0: {"loss": 2.3, "accuracy": 0.1}, 100: {"loss": 0.2, "accuracy": 0.9}}
    figure, axes = plot_timeline(run(scalars=scalars), ["I_TY"])
    assert len(axes) == 2
    (loss,), (accuracy,) = axes[1].lines, figure.axes[2].lines
    assert (list(loss.get_xdata()), list(loss.get_ydata())) == ([0, 100], [2.3, 0.2])
    assert list(accuracy.get_ydata()) == [0.1, 0.9]
    assert (axes[1].get_ylabel(), figure.axes[2].get_ylabel()) == ("loss", "accuracy")


@pytest.fixture
def sweep():
    """Three sizes of noise, in an order of their own; the smallest is flagged and has no interval."""

    def result(value, **more):
        return MIResult(value=value, n_samples=1100, estimator="GaussianChannel()", **more)

    return SimpleNamespace(
        results=(
            result(1.0, interval=(0.8, 1.2)),
            result(5.0, flags=(Flag.SATURATED,)),
            result(3.0, interval=(2.5, 3.5)),
        ),
        stds=(1.0, 0.01, 0.1),
        in_sample=(0.9, 4.5, 2.5),
        out_of_sample=(1.1, 800.0, 4.0),
        lower=(0.7, 3.0, 2.0),
        upper=(1.3, 5.0, 3.1),
        ceiling=7.0,
        n=1100,
        quantity="I(X;T+eps)",
        estimator="GaussianChannel(population=True)",
    )


def test_a_noise_sweep_is_drawn_by_the_size_of_the_noise(sweep):
    _, ax = plot_noise_sweep(sweep, units="bits")
    lines = {line.get_label(): line for line in ax.lines}
    expected = {"estimate": (5.0, 3.0, 1.0), "in sample": (4.5, 2.5, 0.9), "out of sample": (800.0, 4.0, 1.1)}
    for label, values in expected.items():
        assert lines[label].get_xdata().tolist() == [0.01, 0.1, 1.0]
        assert lines[label].get_ydata() == pytest.approx(np.array(values) / math.log(2))
    assert ax.get_xscale() == "log"
    bars = [c.get_segments()[0] for c in ax.collections if isinstance(c, LineCollection)]
    assert [(b[0, 0], *b[:, 1] * math.log(2)) for b in bars] == [
        pytest.approx((0.1, 2.5, 3.5)),
        pytest.approx((1.0, 0.8, 1.2)),
    ]
    assert any(text.get_text() == f"ceiling = {7 / math.log(2):.2f}" for text in ax.texts)
    assert "I(X;T+ε): GaussianChannel(population=True). n = 1,100 samples. Bars: 95% intervals." in words(ax)


def test_a_noise_sweep_shows_doubt_and_is_not_squeezed_by_the_line_that_leaves_it(sweep):
    _, ax = plot_noise_sweep(sweep)
    (estimate,) = [line for line in ax.lines if line.get_label() == "estimate"]
    assert estimate.get_markevery() == [1, 2]
    (hollow,) = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert hollow.get_ydata().tolist() == [5.0]
    assert "Hollow: 1 of 3 are flagged (SATURATED 1)." in words(ax)
    assert 7.0 < ax.get_ylim()[1] < 8.0
    loose = SimpleNamespace(**{**vars(sweep), "lower": (-50.0, -1.0, 0.8), "upper": (60.0, 8.0, 6.0)})
    _, ax = plot_noise_sweep(loose)
    assert ax.get_ylim() == pytest.approx((-1.0 - 0.05 * 7, 8.0 + 0.05 * 7))


# properties


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.floats(0, 0.5))
def test_a_rise_is_marked_exactly_where_the_intervals_leave_each_other(values, half):
    names = [f"l{i}" for i in range(len(values))]
    rows = [row(0, name, "I_TY", v, interval=(v - half, v + half)) for name, v in zip(names, values, strict=True)]
    made = trajectory(*rows, layers=names)
    checked, risen = rises(rows_of(made)["I_TY"], followed(made))
    assert checked == len(values) - 1
    assert risen == {(0, names[i]) for i in range(1, len(names)) if values[i] - half > values[i - 1] + half}


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=40))
def test_ticks_lie_among_the_steps_and_the_last_is_one(steps):
    steps = sorted(steps)
    ticks = step_ticks(steps)
    assert ticks == sorted(set(ticks))
    assert steps[0] <= ticks[0]
    assert ticks[-1] == steps[-1]
    assert log_from(steps) in (None, *steps)


def test_names_are_shown_as_they_are(tmp_path):
    names = ("_hidden", "a$b$c", "x_1^{2")
    rows = [
        row(s, name, key, 1.0 - 0.1 * i, estimator="Own(a='$')")
        for s in (0, 1)
        for i, name in enumerate(names)
        for key in ("I_XT", "I_TY")
    ]
    made = trajectory(*rows, layers=names, scalars={0: {"_l$": 1.0}, 1: {"_l$": 2.0}})
    for number, (figure, axes) in enumerate((plot_plane(made), plot_compare(made), plot_timeline(made))):
        figure.savefig(tmp_path / f"{number}.svg")
        legend = (figure.legends or [np.ravel(axes)[0].get_legend()])[0]
        assert [text.get_text().strip().replace("\\", "") for text in legend.get_texts()] == list(names)


def test_a_quantity_that_a_layer_lacks_is_left_out():
    made = trajectory(*(r for r in run().rows if r.place[1:] != ("fc2", "I_TY")))
    _, ax = plot_plane(made)
    (lines,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    assert lines.get_segments()[0].tolist() == [[5.0, 1.8], [3.0, 1.4]]
    _, axes = plot_timeline(made)
    assert not len(axes[1].lines[2].get_xdata())


def test_the_order_of_rows_does_not_matter():
    made = run()
    parts = {name: getattr(made, name) for name in ("layers", "steps", "quantities", "axes", "references", "settings")}
    shuffled = SimpleNamespace(rows=made.rows[::-1], scalars={}, **parts)
    first, second = (paths(plot_plane(one)[1]).get_segments() for one in (made, shuffled))
    assert np.array_equal(first, second)


def test_everything_draws_into_given_axes_and_nothing_else():
    made = run(keys=("I_XT", "H_bin", "I_TY"), scalars={0: {"loss": 1.0}, 10: {"loss": 0.5}})
    figure = Figure()
    left, *others = figure.subplots(1, 5)
    assert plot_plane(made, ax=others[0], title="here")[1] is others[0]
    assert others[0].get_title("left") == "here"
    assert plot_compare(made, axes=np.array(others[1:3]))[0] is figure
    _, drawn = plot_timeline(made, ["I_TY"], axes=others[2:])
    assert drawn == others[2:]
    assert not left.lines
    assert not left.collections
    part = Figure().subfigures(1, 2)[0].subplots()
    assert plot_plane(made, ax=part)[0] is part.get_figure(root=True)


def test_settings_of_matplotlib_stay_and_pyplot_is_not_loaded(tmp_path):
    before = dict(mpl.rcParams)
    made = run(scalars={0: {"loss": 1.0}, 10: {"loss": 0.5}})
    for number, (figure, _) in enumerate((plot_plane(made), plot_compare(made), plot_timeline(made))):
        figure.savefig(tmp_path / f"{number}.png", dpi=50)
    assert dict(mpl.rcParams) == before
    code = (
        "import sys; from miest.plotting import plot_plane; from miest.plane.trajectory import Trajectory\n"
        "assert 'matplotlib' not in sys.modules and 'torch' not in sys.modules\n"
        "t = Trajectory.from_json(open(sys.argv[1]).read()); plot_plane(t)[0].savefig(sys.argv[2])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    made.to_json(tmp_path / "run.json")
    subprocess.run([sys.executable, "-c", code, tmp_path / "run.json", tmp_path / "a.png"], check=True)


def test_many_steps_and_layers_are_few_artists(tmp_path):
    names = [f"encoder.layer.{i}.mlp" for i in range(20)]
    rows = [
        row(step, name, key, (5.0 if key == "I_XT" else 2.0) - 0.05 * i + 1e-4 * step)
        for step in range(160)
        for i, name in enumerate(names)
        for key in ("I_XT", "I_TY")
    ]
    figure, ax = plot_plane(trajectory(*rows, layers=names))
    figure.savefig(tmp_path / "a.svg")
    assert len(ax.collections) + len(ax.lines) + len(ax.texts) < 40
    assert (tmp_path / "a.svg").stat().st_size < 600_000  # many marks are kept as pixels
    figure, axes = plot_timeline(trajectory(*rows, layers=names))
    figure.draw_without_rendering()
    assert all(len(panel.lines) + len(panel.collections) < 80 for panel in axes)


@pytest.mark.parametrize("steps", [(5,), (0,), (0, 7), (3, 4)])
def test_few_steps_can_be_drawn(steps):
    plot_plane(run(steps=steps))[0].draw_without_rendering()
    plot_plane(run(steps=steps), style="classic")[0].draw_without_rendering()
    plot_timeline(run(steps=steps))[0].draw_without_rendering()


# refusals


def test_unknown_keys_and_axes_without_a_quantity_are_refused():
    with pytest.raises(ValueError, match=r"x='I_TX' was not estimated in this run: there is I_XT"):
        plot_plane(run(), "I_TX")
    with pytest.raises(ValueError, match="no quantity belongs to the y axis: name one of I_XT"):
        plot_plane(run(keys=("I_XT",)))
    with pytest.raises(ValueError, match="no quantity belongs to the y axis: name one of I_XT"):
        plot_compare(run(keys=("I_XT",)))
    with pytest.raises(ValueError, match="quantities='H' was not estimated"):
        plot_timeline(run(), ["H"])


def test_nothing_to_draw_is_refused(sweep):
    made = trajectory(row(0, "fc1", "I_XT", math.nan, kind="failed"), row(0, "fc1", "I_TY", 1.0))
    with pytest.raises(ValueError, match="no layer has finite values of I_XT and I_TY at any step"):
        plot_plane(made)
    with pytest.raises(ValueError, match="no layer has a finite value of I_XT"):
        plot_timeline(made, ["I_XT"])
    sweep.results = [MIResult(value=math.inf, n_samples=9, estimator="") for _ in range(3)]
    with pytest.raises(ValueError, match="none of the 3 values is finite"):
        plot_noise_sweep(sweep)


def test_wrong_choices_are_refused():
    with pytest.raises(ValueError, match="style='old' must be one of 'default', 'classic'"):
        plot_plane(run(), style="old")
    for draw in (plot_plane, plot_timeline):
        with pytest.raises(ValueError, match="units='bit' must be one of 'nats', 'bits'"):
            draw(run(), units="bit")
    with pytest.raises(ValueError, match="1 pairs of quantities need as many axes, got 2"):
        plot_compare(run(), axes=Figure().subplots(1, 2))
    with pytest.raises(ValueError, match="I_XT, I_TY need 2 axes, got 1"):
        plot_timeline(run(), axes=[Figure().subplots()])


def test_without_matplotlib_the_error_names_the_extra(monkeypatch, sweep):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw in (plot_plane, plot_compare, plot_timeline):
        with pytest.raises(ImportError, match=r"pip install 'miest\[plot\]'"):
            draw(run())
    with pytest.raises(ImportError, match=r"pip install 'miest\[plot\]'"):
        plot_noise_sweep(sweep)


# workflow


def test_a_trajectory_draws_itself(tmp_path):
    made = run(scalars={0: {"loss": 1.0}})
    made.plot(style="classic")[0].savefig(tmp_path / "a.png", dpi=50)
    made.plot_timeline()[0].savefig(tmp_path / "b.pdf")
    made.plot_compare()[0].savefig(tmp_path / "c.svg")
    assert made.violations == ()


def test_a_noise_sweep_draws_itself(tmp_path):
    t = np.random.default_rng(0).standard_normal((120, 3))
    swept = noise_sweep(t, np.geomspace(0.01, 2, 5))
    figure, ax = swept.plot(title="t")
    figure.savefig(tmp_path / "a.png", dpi=50)
    (estimate,) = [line for line in ax.lines if line.get_label() == "estimate"]
    assert estimate.get_ydata().tolist() == list(swept.values)
