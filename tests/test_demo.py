"""The demo from end to end, with little training: what it saves, prints and draws."""

import json
import math
import shlex
import sys

import numpy as np
import pytest

import miest
from miest import demo
from miest.cli import main as miest_command
from miest.estimators.channel import GaussianChannel
from miest.noise import GaussianNoise
from miest.plane.quantities import stream
from miest.plane.run import load_plane
from miest.result import Flag


@pytest.fixture(scope="module")
def recorded():
    return demo.train_and_record(epochs=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder that the demo wrote, and what it printed."""
    from click.testing import CliRunner

    out = tmp_path_factory.mktemp("demo") / "new folder"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_PER_DECADE", 2)
        done = CliRunner().invoke(demo.main, ["--out", str(out), "--epochs", "3"], catch_exceptions=False)
    assert done.exit_code == 0
    return out, done.output


# exact


def test_layers_are_what_the_network_did_with_the_probe_set(recorded):
    widths = [64, *demo.HIDDEN, 10]
    assert [t.shape for t in recorded.layers.values()] == [(900, width) for width in widths]
    assert list(recorded.layers) == ["input", *(f"layer{i}" for i in range(1, len(widths)))]
    hidden = list(recorded.layers.values())[1:-1]
    assert all(0.1 < np.abs(t).max() <= 1 for t in hidden)
    logits = recorded.layers[f"layer{len(demo.HIDDEN) + 1}"]
    assert recorded.accuracy == pytest.approx((logits.argmax(axis=1) == recorded.labels).mean())
    assert 0.3 < recorded.accuracy < 1  # it has learned something, where chance is 0.1


def test_the_probe_set_is_of_digits_with_their_labels(recorded):
    from sklearn.datasets import load_digits

    digits = load_digits()
    pairs = zip(digits.data, digits.target, strict=True)
    known = {(image / 16).astype(np.float32).tobytes(): label for image, label in pairs}
    assert [known[row.tobytes()] for row in recorded.layers["input"]] == recorded.labels.tolist()


def test_the_plane_at_the_end_is_that_of_the_saved_activations(run):
    out, _ = run
    plane, held = load_plane(out / "run"), miest.load(out / "activations.npz")
    labels = held["labels"]
    channel = GaussianChannel(noise=GaussianNoise(std=demo.NOISE_VAR**0.5), population=False)
    last = plane.select(step=plane.steps[-1])
    for row in last.rows:
        t = held[row.layer]
        seed = stream(0, row.layer, row.step)
        again = channel.estimate(t, labels if row.quantity == "I_TY" else None, seed=seed)
        assert row.value == pytest.approx(again.value, abs=1e-6)
    assert len(last.rows) == 2 * (len(demo.HIDDEN) + 1)


# properties


def test_the_plane_does_not_change_the_training(recorded, run):
    out, _ = run
    held = miest.load(out / "activations.npz")
    assert all(np.array_equal(held[name], t) for name, t in recorded.layers.items())


def test_one_seed_gives_one_network_and_another_seed_another(recorded):
    again, other = demo.train_and_record(epochs=3), demo.train_and_record(epochs=3, seed=1)
    assert all(np.array_equal(again.layers[name], t) for name, t in recorded.layers.items())
    assert not np.array_equal(other.layers["input"], recorded.layers["input"])


def test_torch_is_left_as_it_was():
    import torch

    state, threads = torch.get_rng_state(), torch.get_num_threads()
    demo.train_and_record(epochs=1, hidden=(4,))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


# workflow


def test_it_writes_activations_results_and_a_picture(run):
    out, _ = run
    assert {path.name for path in out.iterdir()} == {
        "activations.npz",
        "about_input.json",
        "about_label.json",
        "layers.png",
        "plane.html",
        "plane.png",
        "run",
    }
    held = miest.load(out / "activations.npz")
    assert list(held) == ["input", *(f"layer{i}" for i in range(1, 6)), "labels"]
    assert all((out / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in ("layers", "plane"))


def test_it_ends_with_the_plane_of_the_whole_training(run):
    out, text = run
    plane = load_plane(out / "run")
    assert plane.layers == tuple(f"layer{i}" for i in range(1, 6))
    assert plane.steps == (0, 1, 3, 10, 32, 45)  # 3 epochs of 15 batches
    assert plane.axes == {"I_XT": "x", "I_TY": "y"}
    assert not plane.failed
    assert plane.scalars[0]["loss"] == pytest.approx(math.log(10), abs=0.2)
    assert plane.scalars[44]["loss"] < 1.5
    first, last = (plane.select(step=step, quantity="I_TY", layer="layer1").rows[0].value for step in (0, 45))
    assert 0 < first < last < math.log(10)
    page = (out / "plane.html").read_text(encoding="utf-8")
    assert "test accuracy" in page
    assert "layer5" in page
    assert text.rstrip().splitlines()[-1].startswith("Wrote plane.png, plane.html, ")


def test_it_can_be_run_again_into_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "_PER_DECADE", 1)
    first, second = (demo.train_and_record(epochs=1, hidden=(4,), run=tmp_path / "run") for _ in range(2))
    assert np.array_equal(first.layers["layer2"], second.layers["layer2"])
    assert load_plane(tmp_path / "run").steps[-1] == 15


def test_the_results_are_of_every_layer_by_every_estimator(run):
    out, _ = run
    about_input, about_label = (demo.read_results(out / f"about_{name}.json") for name in ("input", "label"))
    assert [len(row) for row in about_input.values()] == [len(demo.ABOUT_INPUT)] * 6
    assert [len(row) for row in about_label.values()] == [len(demo.ABOUT_LABEL)] * 6
    assert {type(r.estimator).__name__ for r in about_label["layer1"]} == {"KDE", "MixedKSG", "Binning"}
    labels = miest.load(out / "activations.npz", "labels")["labels"]
    h_y = miest.entropy(labels).value
    assert h_y == pytest.approx(math.log(10), abs=0.01)
    kde = about_label["layer4"][0]
    assert 0.2 < kde.value < h_y
    assert kde.estimator.noise_var == demo.NOISE_VAR
    assert Flag.SATURATED in about_input["input"][0].flags  # in 64 dimensions no two images meet
    assert about_input["input"][0].value > about_input["layer4"][0].value


def test_the_commands_it_prints_give_the_same_again(run, tmp_path):
    out, text = run
    lines = [line.removeprefix("$ miest ") for line in text.splitlines() if line.startswith("$ miest ")]
    assert len(lines) == 2
    for line in lines:
        *arguments, written = shlex.split(line)
        again = tmp_path / "again.json"
        miest_command.main([*arguments, str(again)], standalone_mode=False)
        first, second = (json.loads(path.read_text()) for path in (out / written, again))
        assert [row["result"]["value"] for row in first] == [row["result"]["value"] for row in second]


def test_the_picture_has_a_line_for_every_estimator(run, recorded):
    out, _ = run
    figure = demo.draw(
        demo.read_results(out / "about_input.json"), demo.read_results(out / "about_label.json"), recorded
    )
    left, right = figure.axes
    texts = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in (left, right)]
    assert [len(names) for names in texts] == [len(demo.ABOUT_INPUT), len(demo.ABOUT_LABEL)]
    assert any(name.startswith("I(T;Y)  MixedKSG") for name in texts[1])
    assert all("noise_var=0.1" in names[0] and "width=0.5" in names[1] for names in texts)
    assert [text.get_text() for text in right.texts] == ["H(Y) = 2.30"]
    assert left.get_title("right") == "n = 900"


# refusals


def test_without_torch_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install 'miest\[torch\]'"):
        demo.train_and_record(epochs=1)
