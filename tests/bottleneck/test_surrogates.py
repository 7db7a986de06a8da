"""The experiments on surrogate objectives and on the entropy in free fall: tiny versions; the real ones are slow."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from miest import datasets
from miest.plotting.bottleneck import plot_compression, plot_free_fall, plot_robustness

torch = pytest.importorskip("torch")

from typing import get_args  # noqa: E402

from miest.bottleneck.attacks import Robustness  # noqa: E402
from miest.experiments import entropy_free_fall, surrogate_training, surrogates  # noqa: E402
from miest.experiments.runs import repeatable  # noqa: E402


@pytest.fixture
def pictures(monkeypatch):
    """Images of which a label is easy to read: 300 for training, 60 for testing."""

    def load(name, split="train"):
        rng = np.random.default_rng(len(split))
        n = 300 if split == "train" else 60
        y = rng.integers(10, size=n)
        x = rng.integers(60, size=(n, 28, 28))
        x[np.arange(n), 2 * y] += 150
        return x.astype(np.uint8), y

    monkeypatch.setattr(datasets, "load", load)


SMALL = replace(
    surrogate_training.QUICK,
    images=200,
    hidden=16,
    latent=3,
    epochs=2,
    batch=50,
    probe=100,
    rows=20,
    strengths=(0.0, 0.1),
    passes=1,
    gammas={name: (1e-3, 0.1) for name in surrogate_training.SURROGATES},
)
FALL = replace(entropy_free_fall.QUICK, images=200, latent=3, epochs=7, full_size=3, factor=0.1, batch=50, probe=100)


# exact


def test_the_function_does_not_depend_on_the_scale_without_noise():
    with repeatable(0):
        model = entropy_free_fall.Shrinking(entropy_free_fall.encoder("mlp", 4), 4, torch.nn.Identity()).eval()
        x = torch.rand(5, 1, 28, 28)
        logits = model(x)
        model.scale.fill_(1e-20)
        torch.testing.assert_close(model(x), logits)
        assert float(model.latent(x).detach().abs().max()) < 1e-18


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_encoders_give_so_many_coordinates(kind):
    assert entropy_free_fall.encoder(kind, 7)(torch.rand(2, 1, 28, 28)).shape == (2, 7)


def test_tables_have_a_row_for_each_network():
    epoch = surrogate_training.Epoch(entropy=1.25, bound=2.0, train=0.5, test=0.75, accuracy=0.9)
    attack = Robustness(
        attack="pgd", strengths=(0.0, 0.1), accuracies=(0.9, 0.5), intervals=((0, 1), (0, 1)), n=20, right=()
    )
    run = surrogate_training.Run(name="E|Z|^2", gamma=0.01, epochs=(epoch,), attacks={"pgd": attack, "fgsm": attack})
    assert surrogates.table([run]).splitlines()[-1] == "| E\\|Z\\|^2 | 0.01 | 1.2 | 0.500 | 0.750 | 90.0% |"
    last = surrogates.robustness_table([run], (0.0, 0.1)).splitlines()[-1]
    assert last == "| E\\|Z\\|^2 | 0.01 | 90.0% | 50.0% | 70.0% | 70.0% |"
    states = [entropy_free_fall.Epoch(scale=0.5, entropy=-3.21, error=0.125, test_error=0.2)]
    lines = entropy_free_fall.table({"a": states, "b": [replace(states[0], entropy=None)]}).splitlines()
    assert lines[-1] == "| 1 | 0.5 | -3.2 | 12.5% | none | 12.5% |"


# properties


def test_a_run_can_be_repeated(pictures):
    first, again = (surrogate_training.run("VCEB", 0.1, True, SMALL) for _ in range(2))
    assert first == again
    assert len(first.epochs) == 3
    assert first != surrogate_training.run("VCEB", 0.1, True, SMALL, seed=1)


def test_a_kept_run_is_taken_where_nothing_differs(pictures, tmp_path, monkeypatch):
    settings = replace(SMALL, epochs=1)
    first = surrogate_training.kept_run(tmp_path, "log Var[Z|Y]", 0.1, True, settings, 0, "cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["log-Var-Z-Y-0.1.json"]
    made = []
    monkeypatch.setattr(surrogate_training, "run", lambda *arguments: made.append(arguments) or first)
    assert surrogate_training.kept_run(tmp_path, "log Var[Z|Y]", 0.1, True, settings, 0, "cpu") == first
    assert not made
    surrogate_training.kept_run(tmp_path, "log Var[Z|Y]", 0.1, True, replace(settings, hidden=17), 0, "cpu")
    surrogate_training.kept_run(tmp_path, "log Var[Z|Y]", 0.1, True, settings, 0, "cpu")  # the other was written over
    assert len(made) == 2


@pytest.mark.parametrize("name", get_args(surrogate_training.Name))
def test_every_objective_trains(pictures, name):
    settings = replace(SMALL, epochs=4)
    told = surrogate_training.run(name, 0.01, False, settings)
    assert told.epochs[-1].train < told.epochs[0].train
    assert not told.attacks
    assert all(math.isfinite(value) for epoch in told.epochs for value in (epoch.entropy, epoch.bound, epoch.test))


# truth


def test_entropy_falls_by_d_ln_of_the_factor_and_noise_stops_it(pictures):
    quiet, further = entropy_free_fall.fall(False, FALL)
    noisy, none = entropy_free_fall.fall(True, FALL)
    steps = np.diff([state.entropy for state in quiet[FALL.full_size - 1 :]])
    np.testing.assert_allclose(steps, 3 * math.log(0.1), atol=1.0)
    assert quiet[-1].entropy < -20
    assert abs(noisy[-1].entropy) < 0.5
    assert noisy[-1].error > 0.7
    assert quiet[-1].error <= quiet[FALL.full_size - 1].error + 0.05
    assert not none
    assert [state.scale for state in further] == pytest.approx(entropy_free_fall.FURTHER)
    assert further[-1].error > quiet[-1].error  # float32 has ended
    kept = [state for state in further if state.scale >= 1e-36]
    assert {state.error for state in kept} == {quiet[-1].error}


@pytest.mark.slow
def test_a_larger_gamma_compresses_more_and_costs_prediction(fetched):
    fetched("fashion-mnist")
    settings = replace(surrogate_training.QUICK, images=4000, epochs=6)
    plain = surrogate_training.run("cross-entropy", 0.0, False, settings).epochs[-1]
    for name in surrogate_training.SURROGATES:
        runs = [surrogate_training.run(name, gamma, False, settings).epochs[-1] for gamma in (1e-2, 0.5)]
        assert plain.entropy > runs[0].entropy + 2 > runs[1].entropy + 4
        assert runs[1].train > plain.train + 0.05


# refusals


def test_without_the_data_nothing_is_trained(monkeypatch, tmp_path):
    def load(name, split):
        raise FileNotFoundError(f"{name} is not on this machine: get it with `this command`.")

    monkeypatch.setattr(datasets, "load", load)
    for module in (surrogates, entropy_free_fall):
        done = CliRunner().invoke(module.main, ["--out", str(tmp_path / "out")])
        assert done.exit_code == 1
        assert "get it with `this command`" in done.output
        assert not (tmp_path / "out").exists()


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="there is no course to draw"):
        plot_compression({})


# workflow


def test_one_command_draws_courses_and_robustness(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(surrogates, "QUICK", SMALL)
    done = CliRunner().invoke(surrogates.main, ["--out", str(tmp_path), "--jobs", "1"], catch_exceptions=False)
    assert done.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "compression.png",
        "robustness.png",
        "surrogates.json",
        "runs",
    }
    kept = json.loads((tmp_path / "surrogates.json").read_text())
    runs = {(run["name"], run["gamma"]): run for run in kept["runs"]}
    assert len(runs) == 1 + 3 * 2 + 8
    assert sum(bool(run["attacks"]) for run in runs.values()) == len(get_args(surrogate_training.Name))
    assert len(list((tmp_path / "runs").iterdir())) == len(runs)
    assert done.output.count("\n| ") == 4 + len(runs) + len(get_args(surrogate_training.Name))


def test_one_command_draws_the_fall(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(entropy_free_fall, "QUICK", FALL)
    done = CliRunner().invoke(entropy_free_fall.main, ["--out", str(tmp_path), "--jobs", "1"], catch_exceptions=False)
    assert done.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"free_fall.png", "free_fall.json"}
    kept = json.loads((tmp_path / "free_fall.json").read_text())
    assert [len(states) for states in kept["runs"].values()] == [7, 7]
    assert "Without noise H[Z] fell by" in done.output


@pytest.mark.parametrize("module", [surrogates, entropy_free_fall])
def test_the_sizes_of_the_paper(module):
    assert module.PAPER.images is None
    assert module.PAPER.batch == 128
    assert module.PAPER.latent == (256 if module is surrogates else 128)


def test_pictures_show_every_course(tmp_path):
    courses = {"a": {0.1: [(3.0, 1.0), (2.0, 0.5)], 0.0: [(3.0, 1.0), (4.0, 0.2)]}, "b": {0.1: [(1.0, 1.0)]}}
    figure = plot_compression(courses, title="here")
    first, second, ends = figure.axes
    assert [len(ax.lines) for ax in (first, second, ends)] == [4, 1, 2]
    assert ends.lines[0].get_xdata().tolist() == [4.0, 2.0]
    figure = plot_free_fall({"quiet": [(3, 0.1), (-9, 0.1)]}, further={"quiet": [(-9, 0.1), (-90, 0.9)]}, chance=0.9)
    assert figure.axes[0].xaxis_inverted()
    curve = Robustness(
        attack="pgd", strengths=(0.0, 0.1), accuracies=(0.9, 0.5), intervals=((0.8, 1), (0.4, 0.6)), n=20, right=()
    )
    figure = plot_robustness({"x": {"fgsm": curve, "pgd": curve}, "y": {"fgsm": curve, "pgd": curve}})
    assert [ax.get_title("left") for ax in figure.axes] == ["FGSM", "PGD"]
    assert [len(ax.lines) for ax in figure.axes] == [2, 2]
