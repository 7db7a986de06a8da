"""The experiment of tables 1 and 3 and figure 4, with tiny sizes; the real ones are slow."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from miest import datasets
from miest.experiments import layerwise as experiment
from miest.plane.row import Row
from miest.plane.trajectory import Trajectory
from miest.plotting.courses import plot_courses

TINY = {
    "steps": (2, 3, 1),
    "deep_steps": 2,
    "plain_steps": 3,
    "critic_steps": 2,
    "warm_up": 1,
    "batch": 16,
    "hidden": (4,),
}


@pytest.fixture
def pictures(monkeypatch):
    """MNIST of noise, 80 images for training and 40 for testing."""

    def load(name, split="train"):
        assert name == "mnist"
        rng = np.random.default_rng(len(split))
        n = 80 if split == "train" else 40
        return rng.integers(256, size=(n, 28, 28)).astype(np.uint8), np.arange(n) % 10

    monkeypatch.setattr(datasets, "load", load)
    monkeypatch.setattr(experiment, "HELD_OUT", 30)
    for name in ("LAYERED", "DEEP"):
        monkeypatch.setattr(experiment, name, (784, 12, 12, 10))
    quick = {"1%": replace(experiment.QUICK["1%"], images=40, seeds=2, **TINY)}
    quick["100%"] = replace(experiment.QUICK["100%"], seeds=1, **TINY)
    monkeypatch.setattr(experiment, "QUICK", quick)
    monkeypatch.setattr(experiment, "FIGURE", quick["1%"])


def course(values, layer="a", **more):
    """A run with these pairs at steps 0, 10, 20, ..."""
    rows = [
        Row(step=10 * i, layer=layer, quantity=key, value=value, name=name, **more)
        for i, pair in enumerate(values)
        for key, name, value in zip(("I_XT", "I_TY"), ("I(X;T+eps)", "I(T;Y)"), pair, strict=True)
    ]
    quantities = [{"key": "I_XT", "axis": "x"}, {"key": "I_TY", "axis": "y"}]
    return Trajectory(rows=tuple(rows), settings={"layers": [layer], "quantities": quantities})


# exact


def test_the_networks_and_settings_of_the_paper():
    for widths in (experiment.LAYERED, experiment.DEEP):
        weights = [tuple(p.shape) for p in experiment.network(widths).parameters() if p.ndim == 2]
        assert weights == [(b, a) for a, b in pairwise(widths)]
    assert list(dict(experiment.network(experiment.LAYERED).named_children())) == [
        *("linear1", "relu1", "linear2", "relu2", "logits")
    ]
    for share, settings in experiment.PAPER.items():
        assert (settings.steps, settings.critic_steps, settings.hidden) == ((5000,) * 3, 10, (1500, 1500))
        assert (settings.learning_rate, settings.critic_learning_rate, settings.beta) == (1e-3, 1e-4, 1e-3)
        assert settings.images == {"1%": 600, "100%": None}[share]
        assert experiment.QUICK[share].critic_steps == 10
    assert experiment.layerwise.NOISE.std**2 == pytest.approx(2)


def test_the_table_has_ours_and_the_papers_and_differences_are_paired():
    found = {
        ("ce", "1%"): [{"seed": s, "accuracy": a, "separation": 2.0} for s, a in ((0, 80.0), (1, 84.0))],
        ("layers-xy", "1%"): [{"seed": s, "accuracy": a, "separation": 3.0} for s, a in ((1, 86.0), (0, 81.0))],
        ("ce-output-y-x", "100%"): [{"seed": 0, "accuracy": 97.0, "separation": 4.0}],
    }
    lines = experiment.table(found).splitlines()[2:]
    assert lines == [
        "| 784-512-512-10 | 1% | CE | 82.00 ± 2.83 | 86.48 | 2 | 2.00 ± 0.00 |",
        "| 784-512-512-10 | 1% | layers: I(Y;L) - beta I(X;L+eps) | 83.50 ± 3.54 | 86.57 | 2 | 3.00 ± 0.00 |",
        "| 784-600-400-10 | 100% | CE - I(Y;Yhat) + gamma I(X;Yhat+eps) | 97.00 | 98.40 | 1 | 4.00 |",
    ]
    assert experiment.differences(found) == ["1%: layers-xy less ce: +1.50 ± 0.50 points"]


def test_a_course_has_the_points_of_its_own_steps():
    run = course([(0.0, 0.0), (1.0, 2.0), (2.0, 1.0), (5.0, 5.0)])
    _, ax = plot_courses(run, {"a": (10, 20)}, units="bits")
    drawn, ring = (collection.get_offsets() * math.log(2) for collection in ax.collections)
    assert np.allclose(drawn, [(1, 2), (2, 1)])
    assert np.allclose(ring, [(1, 2)])
    assert ax.get_xlabel() == "I(X;T+ε) (bits)"
    assert "a 10 to 20" in " ".join(text.get_text() for text in ax.texts).replace("\n", " ")


# properties


def test_held_out_images_are_neither_trained_on_nor_of_the_test_set(pictures):
    for share, size in (("1%", 40), ("100%", 50)):
        (x, y), (report, _) = experiment.images(experiment.QUICK[share], 3, held_out=True)
        test, _ = datasets.load("mnist", "test")
        assert x.shape == (size, 784)
        assert len(y) == size
        assert not {row.numpy().tobytes() for row in x} & {row.numpy().tobytes() for row in report}
        assert not {row.tobytes() for row in test} & {
            (row.numpy() * 255).round().astype(np.uint8).tobytes() for row in report
        }
    (x, _), (report, _) = experiment.images(experiment.QUICK["100%"], 3, held_out=False)
    assert (len(x), len(report)) == (80, 40)


def test_every_method_starts_from_the_same_network_and_can_be_repeated(pictures):
    settings = experiment.QUICK["1%"]
    data, _ = experiment.images(settings, 0, held_out=False)
    for method in experiment.TOLD:
        first, again = (
            experiment.train(method, experiment.start(method, 0), data, settings, 0, "cpu", None) for _ in range(2)
        )
        pairs = zip(first.network.parameters(), again.network.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert len(first.network) == (1 if "ce" in method else 3)


# truth


@pytest.mark.slow
def test_information_about_the_input_at_a_price_helps_with_600_images(fetched, tmp_path):
    fetched("mnist")
    methods = ("layers-y", "layers-xy", "ce-deep", "ce-output-y-x")
    settings = experiment.QUICK["1%"]
    found = {method: experiment.run(method, "1%", 0, settings, tmp_path, False, "cpu") for method in methods}
    accuracy, separation = ({method: run[key] for method, run in found.items()} for key in ("accuracy", "separation"))
    assert accuracy["layers-xy"] > accuracy["layers-y"] + 1
    assert accuracy["ce-output-y-x"] > accuracy["ce-deep"]
    assert separation["layers-xy"] > separation["layers-y"]


# refusals


def test_courses_that_cannot_be_drawn():
    run = course([(0.0, 0.0), (1.0, 2.0)])
    with pytest.raises(ValueError, match="spans names 'b', and the run has the layers a"):
        plot_courses(run, {"b": (0, 10)})
    with pytest.raises(ValueError, match="no layer has finite values of both quantities within its span"):
        plot_courses(run, {"a": (11, 20)})


def test_without_the_data_nothing_is_trained(monkeypatch, tmp_path):
    def load(name, split):
        raise FileNotFoundError(f"{name} is not on this machine: get it with `this command`.")

    monkeypatch.setattr(datasets, "load", load)
    done = CliRunner().invoke(experiment.main, ["--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "get it with `this command`" in done.output
    assert not (tmp_path / "out").exists()


# workflow


def test_one_command_trains_prints_draws_and_goes_on_where_it_was(pictures, tmp_path, monkeypatch):
    arguments = ["--out", str(tmp_path), "--probe", "30", "--jobs", "1"]
    done = CliRunner().invoke(experiment.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    rows = [line for line in done.output.splitlines() if line.startswith("| 784-12")]
    assert len(rows) == 12
    assert [row.split(" | ")[4] for row in rows[:3]] == ["86.48", "85.12", "86.57"]
    assert "1%: layers-xy less ce: " in done.output
    kept = json.loads((tmp_path / "layerwise.json").read_text())
    assert kept["scaled"]
    assert len(kept["runs"]) == 18
    assert (tmp_path / "courses.png").read_bytes().startswith(b"\x89PNG")
    critics = Trajectory.from_json((tmp_path / "courses-critics.json").read_text())
    images = Trajectory.from_json((tmp_path / "courses-test-images.json").read_text())
    assert critics.layers == images.layers == ("relu1", "relu2", "logits")
    assert images.steps == (0, 1, 2, 3, 4, 5, 6)
    assert {row.n for row in images.rows} == {30, 40}  # images of the probe, and of the critic
    assert {row.quantity for row in images.rows} == {row.quantity for row in critics.rows} == {"I_XT", "I_TY"}

    def train(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(experiment, "train", train)
    again = CliRunner().invoke(experiment.main, [*arguments, "--no-figure"], catch_exceptions=False)
    assert [line for line in again.output.splitlines() if line.startswith("| 784-12")] == rows
