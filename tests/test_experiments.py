"""The experiments: what is trained, recorded and called compression, in tiny versions; the real ones are slow."""

import math

import numpy as np
import pytest
from click.testing import CliRunner

from miest import datasets
from miest.estimators.binning import Binning
from miest.experiments import binary_sphere, fashion
from miest.experiments.compression import SHARE, compressions, table
from miest.experiments.runs import repeatable, side_by_side, without_run
from miest.plane.row import Row
from miest.plane.run import load_plane, snapshots
from miest.plane.snapshot import Snapshot
from miest.plane.trajectory import Trajectory

torch = pytest.importorskip("torch")


def trajectory(values, layer="a", **settings):
    """A run with these values at steps 0, 10, 20, ...; None is an estimate that failed."""
    rows = [
        Row(step=10 * i, layer=layer, quantity="I_XT", value=math.nan, kind="failed")
        if value is None
        else Row(step=10 * i, layer=layer, quantity="I_XT", value=value)
        for i, value in enumerate(values)
    ]
    return Trajectory(rows=tuple(rows), settings=settings)


@pytest.fixture
def pictures(monkeypatch):
    """Fashion-MNIST and MNIST of noise, of which 80 are for training and 40 for testing."""

    def load(name, split="train"):
        rng = np.random.default_rng(len(name))
        n = 80 if split == "train" else 40
        return rng.integers(256, size=(n, 28, 28)).astype(np.uint8), rng.integers(10, size=n)

    monkeypatch.setattr(datasets, "load", load)


@pytest.fixture(scope="module")
def sphere(tmp_path_factory):
    """The folder of the 12-bit experiment with two epochs, and what it printed."""
    out = tmp_path_factory.mktemp("sphere")
    done = CliRunner().invoke(
        binary_sphere.main, ["--out", str(out), "--epochs", "2", "--jobs", "1"], catch_exceptions=False
    )
    assert done.exit_code == 0
    return out, done.output


# exact


@pytest.mark.parametrize(
    ("values", "start", "peak", "step", "end", "seen"),
    [
        ([1, 4, 3], 1, 4, 10, 3, True),
        ([1, 4, 3.5], 1, 4, 10, 3.5, False),
        ([1, 2, 3], 1, 3, 20, 3, False),
        ([2, 1], 2, 2, 0, 1, True),
        ([None, 1, 4, 2, None], 1, 4, 20, 2, True),
        ([0, 0], 0, 0, 0, 0, False),
    ],
)
def test_compression_is_what_is_lost_from_the_peak(values, start, peak, step, end, seen):
    (found,) = compressions(trajectory(values), "I_XT")
    assert (found.start, found.peak, found.step, found.end) == (start, peak, step, end)
    assert found.fall == peak - end
    assert found.seen == seen == (peak - end > SHARE * peak)


def test_the_table_has_a_line_for_each_layer_in_network_order():
    first, second = trajectory([1, 4, 3], "z"), trajectory([1, 2, 2], "a")
    both = Trajectory(rows=first.rows + second.rows, settings={"layers": ["z", "a"]})
    lines = table(compressions(both, "I_XT")).splitlines()
    assert [line.split() for line in lines] == [
        ["layer", "quantity", "start", "peak", "at", "step", "end", "fall", "nats"],
        ["z", "I_XT", "1.00", "4.00", "10", "3.00", "1.00", "compression"],
        ["a", "I_XT", "1.00", "2.00", "10", "2.00", "0.00", "no", "compression"],
    ]
    bits = table(compressions(both, "I_XT"), bits=True).splitlines()
    assert bits[1].split()[3:7] == ["5.77", "10", "4.33", "1.44"]


def test_a_layer_without_the_quantity_has_no_line():
    both = Trajectory(rows=trajectory([1, 2]).rows, settings={"layers": ["never", "a"]})
    assert [each.layer for each in compressions(both, "I_XT")] == ["a"]
    with pytest.raises(ValueError, match=r"no row has quantity='H_bin'\. .*I_XT"):
        compressions(both, "H_bin")


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_network_of_the_paper(activation):
    with repeatable(0):
        model = binary_sphere.network(activation)
    linear = [layer for layer in model if isinstance(layer, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [
        *((12, 10), (10, 7), (7, 5), (5, 4), (4, 3), (3, 2))
    ]
    for layer in linear:
        assert layer.weight.abs().max() <= 2 * layer.in_features**-0.5
        assert not layer.bias.any()
    assert 0.7 < linear[0].weight.std() * 12**0.5 < 1
    names = [name for name, _ in model.named_children()]
    assert names == [f"{kind}{i}" for i in range(1, 6) for kind in ("linear", activation)] + ["linear6", "softmax"]


def test_the_probe_are_all_words_and_the_bins_the_same_at_every_step(sphere):
    out, _ = sphere
    words = datasets.binary_sphere(binary_sphere.RULE)
    for activation in ("tanh", "relu"):
        plane = load_plane(out / activation)
        assert plane.steps == (0, 1, 2)
        assert len(plane.rows) == 3 * 6 * 2
        assert {row.n for row in plane.rows} == {4096}
        assert len({row.estimator for row in plane.rows}) == 1
        assert plane.references["H(X)"] == pytest.approx(12 * math.log(2))
        counts = np.bincount(words.y) / 4096
        assert plane.references["H(Y)"] == pytest.approx(-(counts * np.log(counts)).sum())


def test_tanh_layers_have_30_bins_over_their_range(sphere):
    out, _ = sphere
    plane = load_plane(out / "tanh")
    kept = Snapshot.open(snapshots(out / "tanh")[2])
    for row in plane.select(step=2, quantity="H_bin").rows:
        codes = np.minimum(((kept.load(row.layer).astype(np.float64) + 1) * 15).astype(int), 29)
        shares = np.unique(codes, axis=0, return_counts=True)[1] / 4096
        assert row.value == pytest.approx(-(shares * np.log(shares)).sum(), abs=0.01)
        assert (row.diagnostics["low"], row.diagnostics["high"], row.diagnostics["bins"]) == (-1, 1, 30)


def test_relu_layers_have_30_bins_up_to_the_largest_value_of_the_run(sphere):
    out, _ = sphere
    plane = load_plane(out / "relu")
    kept = [Snapshot.open(path) for path in snapshots(out / "relu").values()]
    assert plane.layers == ("relu1", "relu2", "relu3", "relu4", "relu5", "linear6")
    tops = {(each.step, layer): float(each.load(layer).max()) for each in kept for layer in each.layers}
    largest = max(tops, key=tops.__getitem__)
    (row,) = plane.select(step=largest[0], layer=largest[1], quantity="H_bin").rows
    assert row.diagnostics["width"] * 30 == pytest.approx(tops[largest], rel=1e-4)
    assert round(row.diagnostics["high"] / row.diagnostics["width"]) == 30  # it is in the last bin, not above it


def test_a_residual_network_of_seven_convolutions():
    with repeatable(0):
        model = fashion.network("resnet")
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == 7
    x = torch.rand(2, 1, 28, 28)
    shapes = []
    for layer in model:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(16, 28, 28), (16, 28, 28), (32, 14, 14), (64, 7, 7), (64, 1, 1), (64,), (10,)]


def test_the_perceptron_of_the_paper():
    model = fashion.network("mlp")
    assert [tuple(p.shape) for p in model.parameters() if p.ndim == 2] == [(512, 784), (512, 512), (10, 512)]
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, 10)


# properties


def test_training_can_be_repeated_and_leaves_torch_as_it_was(tmp_path):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first, again = (binary_sphere.run("tanh", tmp_path / "run", epochs=1) for _ in range(2))
    other = binary_sphere.run("tanh", tmp_path / "run", epochs=1, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert first.trajectory.rows == again.trajectory.rows
    assert first.trajectory.rows != other.trajectory.rows


def test_only_the_run_of_an_earlier_call_is_replaced(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert without_run(tmp_path) == tmp_path
    with pytest.raises(FileExistsError):
        binary_sphere.run("tanh", tmp_path, epochs=1)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_with_weight_decay_the_weights_end_smaller(pictures, tmp_path):
    settings = fashion.Settings(epochs=2, batch=20, probe=30, learning_rate=1e-2, weight_decay=10, per_decade=1)
    losses = ("cross-entropy", "weight-decay")
    found = {loss: fashion.run("mlp", loss, tmp_path / loss, settings) for loss in losses}
    start, end = (
        {loss: found[loss].select(layer="relu1", quantity="I_XT", step=step).rows[0].value for loss in losses}
        for step in (0, 8)
    )
    assert start["weight-decay"] == start["cross-entropy"]
    assert end["weight-decay"] < 0.5 * end["cross-entropy"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_calls_give_their_results_in_order_whatever_the_number_of_processes(jobs):
    assert side_by_side(divmod, [(7, 2), (9, 4), (5, 5)], jobs) == [(3, 1), (2, 1), (1, 0)]
    with pytest.raises(ZeroDivisionError):
        side_by_side(divmod, [(7, 2), (9, 0)], jobs)


# workflow


def test_one_command_writes_both_planes(sphere):
    out, text = sphere
    assert {path.name for path in out.iterdir()} == {
        *("tanh", "relu", "tanh.png", "relu.png", "tanh.html", "relu.html")
    }
    for name in ("tanh", "relu"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "12-bit rule" in (out / f"{name}.html").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines()]
    layers = [line[0] for line in lines if "H_bin" in line]
    assert layers == [
        *(f"tanh{i}" for i in range(1, 6)),
        "softmax",
        *(f"relu{i}" for i in range(1, 6)),
        "linear6",
    ]


def test_the_planes_of_both_networks_with_and_without_weight_decay(pictures, tmp_path):
    arguments = ["--out", str(tmp_path), "--epochs", "1", "--probe", "20", "--jobs", "1"]
    settings = {"images": 16, "batch": 8, "per_decade": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fashion, "QUICK", {model: fashion.Settings(**settings) for model in fashion.QUICK})
        done = CliRunner().invoke(fashion.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    runs = [f"{model}-{loss}" for model in ("mlp", "resnet") for loss in ("cross-entropy", "weight-decay")]
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {*runs, *(f"{run}.{kind}" for run in runs for kind in ("png", "html")), "mlp.png", "resnet.png"}
    plane = load_plane(tmp_path / "resnet-weight-decay")
    assert plane.layers == ("stem", "block1", "block2", "block3", "logits")
    assert plane.steps == (0, 1, 2)
    assert {row.n for row in plane.rows} == {20}
    assert not plane.failed
    assert plane.settings["reductions"]["block3"] == "MeanPool()"
    assert load_plane(tmp_path / "mlp-weight-decay").settings["reductions"].get("relu1", "none") == "none"
    assert set(plane.scalars[2]) == {"test_loss", "test_accuracy"}
    assert done.output.count("\nrelu1 ") == 4  # I_XT and I_TY with each loss


@pytest.mark.parametrize("model", ["mlp", "resnet"])
def test_the_settings_of_the_paper_are_accepted(model):
    assert fashion.PAPER[model].probe == 10_000
    assert fashion.PAPER["mlp"].noise_std ** 2 == pytest.approx(2)


# refusals


def test_without_the_data_nothing_is_trained(monkeypatch, tmp_path):
    def load(name, split):
        raise FileNotFoundError(f"{name} is not on this machine: get it with `this command`.")

    monkeypatch.setattr(datasets, "load", load)
    done = CliRunner().invoke(fashion.main, ["--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "get it with `this command`" in done.output
    assert not (tmp_path / "out").exists()


# truth


@pytest.mark.slow
def test_tanh_layers_compress_and_relu_layers_do_not(tmp_path):
    tanh, relu = (binary_sphere.run(activation, tmp_path / activation) for activation in ("tanh", "relu"))
    assert min(tanh.test_accuracy, relu.test_accuracy) > 0.95
    assert [each.layer for each in compressions(tanh.trajectory, "H_bin") if each.seen] == ["tanh4", "tanh5", "softmax"]
    assert [each.layer for each in compressions(relu.trajectory, "H_bin") if each.seen] == []
    assert isinstance(relu.binning, Binning)


@pytest.mark.slow
def test_weight_decay_compresses_the_first_layers_of_the_perceptron(fetched, tmp_path):
    fetched("fashion-mnist")
    plain, decayed = (
        fashion.run("mlp", loss, tmp_path / loss, fashion.QUICK["mlp"]) for loss in ("cross-entropy", "weight-decay")
    )
    assert not any(each.seen for each in compressions(plain, "I_XT"))
    assert [each.layer for each in compressions(decayed, "I_XT") if each.seen] == ["relu1", "relu2"]
    label = [[each.end / each.peak for each in compressions(run, "I_TY")] for run in (plain, decayed)]
    assert min(label[0]) > 0.95  # what the layers say of the label stays, but in the first one that shrinks
    assert min(label[1][1:]) > 0.9
    assert 0.6 < label[1][0] < 0.9
