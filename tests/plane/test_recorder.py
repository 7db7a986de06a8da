"""The recorder: what it records is what the layers gave, and training does not notice."""

import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from miest.plane import snapshot as snapshots
from miest.plane.recorder import Recorder
from miest.plane.reductions import Flatten, MaxPool, MeanPool, RandomProjection, Token
from miest.plane.snapshot import Snapshot

N = 20
X = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """On a busy machine, threads that wait for each other make small recurrent layers a hundred times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def mlp() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        OrderedDict(
            fc1=nn.Linear(4, 6),
            bn=nn.BatchNorm1d(6),
            relu=nn.ReLU(inplace=True),
            drop=nn.Dropout(),
            fc2=nn.Linear(6, 3),
        )
    )


class Calls(nn.Module):
    """A model whose forward pass is a function of its parts and the input."""

    def __init__(self, forward: Any, **parts: nn.Module) -> None:
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *x: torch.Tensor) -> Any:
        return self._forward(self, *x)


class Gives(nn.Module):
    """A layer that gives a function of its input."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def gives(function: Any) -> Calls:
    """A model with a layer "it" of that output, and a layer "fc"."""
    return Calls(lambda self, x: (self.fc(x), self.it(x))[0], fc=nn.Linear(4, 2), it=Gives(function))


def recorded(model: nn.Module, layers: Any = "*", probe: Any = X, **settings: Any) -> Snapshot:
    return Recorder(model, layers, probe=probe, **settings).snapshot(0)


# Exact: values


def test_each_layer_is_recorded_as_it_gave_it() -> None:
    model = mlp()
    snapshot = recorded(model, None, (X, torch.arange(N) % 3))
    model.eval()
    with torch.no_grad():
        t = model.fc1(X)
        expected = {"fc1": t.clone(), "bn": (t := model.bn(t)).clone(), "relu": (t := t.relu()), "fc2": model.fc2(t)}
    assert snapshot.layers == ("fc1", "bn", "relu", "fc2")
    for name, values in expected.items():
        np.testing.assert_array_equal(snapshot.load(name), values.numpy(), strict=True)  # before the in-place ReLU


@pytest.mark.parametrize("batch_size", [1, 2, 7, 19, 20, 50])
def test_batches_only_divide_the_rows(batch_size: int, tmp_path: Path) -> None:
    recorder = Recorder(mlp(), probe=X, batch_size=batch_size)
    whole, part = recorded(mlp(), None), recorder.snapshot(3, tmp_path)
    assert part.path.name == "step-000003.safetensors"
    for name in whole.layers:
        np.testing.assert_allclose(part.load(name), whole.load(name), atol=1e-6)
        np.testing.assert_array_equal(part.load(name), recorder.snapshot(9).load(name))


@pytest.mark.parametrize(
    ("function", "dtype", "kept"),
    [
        (lambda x: x.bfloat16(), "float32", np.float32),
        (lambda x: x.half(), "float32", np.float32),
        (lambda x: x.double(), "float64", np.float64),
        (lambda x: x.double(), "float32", np.float32),
        (lambda x: x.round(), "float16", np.float16),
        (lambda x: x.argmax(1), "float32", np.int64),
        (lambda x: x > 0, "float16", np.bool_),
        (lambda x: x.mul(9).to(torch.int8), "float32", np.int8),
    ],
)
def test_floats_are_recorded_as_asked_and_symbols_as_they_are(function: Any, dtype: Any, kept: type) -> None:
    values = recorded(gives(function), "it", dtype=dtype).load("it")
    assert values.dtype == kept
    np.testing.assert_array_equal(values, function(X).to(getattr(torch, np.dtype(kept).name)).numpy())


def test_autocast_is_recorded_exactly_and_does_not_reach_the_reduction() -> None:
    model = mlp().eval()
    reduction = RandomProjection(dim=2)
    with torch.autocast("cpu", torch.bfloat16):
        snapshot = recorded(model, ["fc1", "fc2"], reduce={"fc2": reduction})
        with torch.no_grad():
            fc1, fc2 = model.fc1(X), model(X)
    assert fc1.dtype == torch.bfloat16
    np.testing.assert_array_equal(snapshot.load("fc1"), fc1.float().numpy(), strict=True)
    np.testing.assert_array_equal(snapshot.load("fc2"), reduction(fc2).numpy(), strict=True)


# Exact: names


def test_layers_stand_in_the_order_of_the_forward_pass() -> None:
    model = Calls(lambda self, x: self.b(self.a(x)), b=nn.Linear(3, 2), a=nn.Linear(4, 3))
    recorder = Recorder(model, "*", probe=X)
    assert recorder.layers == ("b", "a")
    assert recorder.snapshot(0).layers == ("a", "b")


def test_a_module_called_several_times_is_several_layers() -> None:
    model = Calls(lambda self, x: self.fc(self.act(self.fc(x))), fc=nn.Linear(4, 4), act=nn.ReLU())
    snapshot = recorded(model, None, reduce={"fc#1": Flatten(), "act": MeanPool()})
    assert snapshot.layers == ("fc#0", "act", "fc#1")
    assert snapshot.reductions == {"fc#0": "none", "act": "MeanPool()", "fc#1": "Flatten()"}
    with torch.no_grad():
        np.testing.assert_array_equal(snapshot.load("fc#0"), model.fc(X).numpy())
        np.testing.assert_array_equal(snapshot.load("fc#1"), model(X).numpy())


def test_a_module_that_calls_itself() -> None:
    def forward(self: Any, x: torch.Tensor, depth: int = 3) -> torch.Tensor:
        return self.fc(x) if depth == 0 else self(x, depth - 1)

    snapshot = recorded(Calls(forward, fc=nn.Linear(4, 2)), ["output", "fc"])
    assert snapshot.layers == ("fc", "output#0", "output#1", "output#2", "output#3")


@dataclass
class Output:
    loss: Any
    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...] = ()


def test_the_first_tensor_of_an_output_is_recorded_or_the_selected_one() -> None:
    for function in (
        lambda x: (None, [x, x + 1]),
        lambda x: {"none": None, "x": x, "y": x + 1},
        lambda x: Output(None, x, (x + 1,)),
    ):
        np.testing.assert_array_equal(recorded(gives(function)).load("it"), X.numpy())
    for function, select in [
        (lambda x: (x, x + 1), 1),
        (lambda x: {"x": x, "y": (x + 1, x)}, "y"),
        (lambda x: Output(None, x, (x + 1,)), "hidden"),
        (lambda x: x, lambda output: output + 1),
    ]:
        snapshot = recorded(gives(function), select={"i?": select})
        np.testing.assert_array_equal(snapshot.load("it"), X.numpy() + 1)
        assert snapshot.missing == {}


def test_what_a_pattern_selects_and_gives_nothing_is_listed() -> None:
    model = Calls(
        lambda self, x: self.scalar(self.none(self.fc(x)) or x),
        fc=nn.Linear(4, 2),
        aux=nn.Linear(4, 2),
        none=Gives(lambda x: None),
        scalar=Gives(lambda x: x.mean()),
        rows=nn.ModuleList(),
    )
    snapshot = recorded(model)
    assert snapshot.layers == ("fc",)
    assert snapshot.missing == {
        "none": "its output, a NoneType, holds no tensor",
        "scalar": "its output is one number for the whole batch, which has no rows",
        "aux": "it was not called",
        "rows": "it was not called",
    }
    for name, text in [("aux", "was not called"), ("none", "holds no tensor"), ("scalar", "one number for the whole")]:
        with pytest.raises(ValueError, match=f"layer '?{name}'?.*{text}"):
            recorded(model, [name, "fc"])
    with pytest.raises(ValueError, match=r"no layer gave anything to record \(none: its output"):
        recorded(model, ["[ns]*"])


# Exact: reductions


def test_reductions_by_hand() -> None:
    t = torch.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(Flatten()(t), t.reshape(2, 12))
    np.testing.assert_array_equal(MeanPool()(t), t.mean(1))  # a sequence: features last
    np.testing.assert_array_equal(MeanPool(channel=1)(t), t.mean(2))
    np.testing.assert_array_equal(MaxPool()(t[..., None]), t.amax(2))  # an image: channels first
    np.testing.assert_array_equal(Token(index=-1)(t), t[:, 2])
    assert MeanPool()(t.int()).dtype == torch.float32
    assert MaxPool()(t.int()).dtype == torch.int32
    assert MeanPool()(t[:, 0]) is not None
    assert [str(r) for r in (Flatten(), MeanPool(), MaxPool(channel=1), Token(), RandomProjection(dim=9, seed=4))] == [
        "Flatten()",
        "MeanPool()",
        "MaxPool(channel=1)",
        "Token(index=0)",
        "RandomProjection(dim=9, seed=4)",
    ]


def test_random_projections_are_fixed_linear_maps_that_keep_distances() -> None:
    t = torch.randn(40, 10, 30, generator=torch.Generator().manual_seed(0))
    project = RandomProjection(dim=200)
    out = project(t)
    assert out.shape == (40, 200)
    np.testing.assert_array_equal(out, RandomProjection(dim=200, seed=0)(t))
    np.testing.assert_allclose(project(2 * t[:20] - t[20:]), 2 * out[:20] - out[20:], atol=1e-4)
    assert not torch.equal(out, RandomProjection(dim=200, seed=1)(t))
    ratio = (torch.pdist(out) / torch.pdist(t.flatten(1))) ** 2
    assert abs(ratio.mean() - 1) < 4 * (2 / 200) ** 0.5 / 40**0.5  # pairs that share a row are not independent
    assert ratio.std() == pytest.approx((2 / 200) ** 0.5, rel=0.2)
    np.testing.assert_array_equal(RandomProjection(dim=300)(t), t.flatten(1))


def test_reductions_are_recorded_under_their_names() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3))
    x = torch.randn(8, 1, 9, 9)
    snapshot = recorded(model, None, x, reduce={"1": RandomProjection(dim=5), "*": MeanPool()})
    assert snapshot.shapes == {"0": (8, 3), "1": (8, 5), "2": (8, 2)}
    assert snapshot.reductions == {"0": "MeanPool()", "1": "RandomProjection(dim=5, seed=0)", "2": "MeanPool()"}
    assert recorded(model, None, x, reduce=Flatten()).shapes["0"] == (8, 147)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: MeanPool(channel=3)(X[..., None]), r"MeanPool\(channel=3\) cannot keep axis 3 of .*channel=1 to 2"),
        (lambda: MaxPool(channel=0)(X[..., None]), "cannot keep axis 0"),
        (lambda: Token(index=4)(X[..., None]), "more positions than that"),
        (lambda: Token()(X), r"got \(20, 4\)"),
        (lambda: RandomProjection(dim=0), "dim=0 must be an integer"),
    ],
)
def test_reductions_that_do_not_fit_are_refused(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


# Exact: the axis of the samples


def test_samples_are_found_on_the_second_axis() -> None:
    model = Calls(lambda self, x: self.rnn(x.transpose(0, 1))[0][-1], rnn=nn.LSTM(3, 5))
    x = torch.randn(N, 7, 3)
    expected = nn.LSTM(3, 5, batch_first=True)
    expected.load_state_dict(model.rnn.state_dict())
    for length, size in [(7, 256), (7, 7), (20, 256)]:  # also where there are as many steps as rows
        x = torch.randn(N, length, 3)
        values = recorded(model, "rnn", x, batch_size=size).load("rnn")
        with torch.no_grad():
            np.testing.assert_allclose(values, expected(x)[0].numpy(), atol=1e-6)


def test_a_table_of_positions_is_not_taken_for_samples() -> None:
    # As many positions as rows in a batch: only a second batch of another size tells
    model = Calls(
        lambda self, x: self.embed(x) + self.position(torch.arange(N)),
        embed=nn.Embedding(9, 6),
        position=nn.Embedding(N, 6),
    )
    snapshot = recorded(model, None, torch.randint(9, (N, N)))
    assert snapshot.layers == ("embed",)
    assert "no axis that follows the 20 rows" in snapshot.missing["position"]


def test_rows_merged_with_another_axis_are_told_how_to_select() -> None:
    model = gives(lambda x: x.reshape(-1, 2))
    with pytest.raises(ValueError, match=r"layer it: .*\(40, 2\).*perhaps lambda t: t.unflatten\(0, \(-1, 2\)\)"):
        recorded(model, "it")
    assert recorded(model, "it", select=lambda t: t.unflatten(0, (-1, 2))).shapes == {"it": (N, 2, 2)}


@pytest.mark.parametrize(
    "model",
    [
        nn.LSTM(6, 5),
        nn.GRU(6, 5),
        Calls(lambda self, x: self.a(x, x, x)[0], a=nn.MultiheadAttention(6, 2)),
        nn.TransformerEncoderLayer(6, 2, 8),
    ],
)
def test_samples_taken_for_time_are_refused(model: nn.Module) -> None:
    x = torch.randn(N, 7, 6)
    layer = "a" if isinstance(model, Calls) else "output"
    with pytest.raises(ValueError, match=f"layer {layer} has batch_first=False, .*batch_first=True"):
        recorded(model, layer, x)
    assert recorded(model, layer, x, batch_axis=0).n == N
    assert recorded(model, layer, x, forward=lambda model, x: model(x.transpose(0, 1))).shapes[layer][:2] == (N, 7)


def test_an_axis_that_is_given_is_not_looked_for() -> None:
    calls = []
    model = gives(lambda x: calls.append(len(x)) or x.T)
    assert recorded(model, "it", batch_axis=1).shapes == {"it": (N, 4)}
    assert calls == [N]
    assert recorded(model, "*", batch_axis={"it": -1}, batch_size=8).shapes["it"] == (N, 4)
    assert calls[1:] == [2, 8, 8, 4]
    with pytest.raises(ValueError, match=r"layer it gives \(4, 20\) for 20 rows, which are not on axis 0"):
        recorded(model, "it", batch_axis=0)


def test_lengths_that_depend_on_the_batch_ask_for_a_reduction() -> None:
    rows = [(torch.randint(1, 9, (length,)), length % 2) for length in (3, 5, 5, 2, 7)]

    def padded(items: Any) -> Any:
        return nn.utils.rnn.pad_sequence([ids for ids, _ in items], batch_first=True), [label for _, label in items]

    loader = torch.utils.data.DataLoader(rows, batch_size=2, collate_fn=padded)
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3))
    with pytest.raises(
        ValueError, match=r"layer 0 gives \(5, 4\) of float32 a row .* \(7, 4\).*MeanPool\(\) or Token\(\)"
    ):
        recorded(model, "0", torch.utils.data.DataLoader([*rows[:2], rows[4]], batch_size=2, collate_fn=padded))
    recorder = Recorder(model, probe=loader, reduce=MeanPool())
    assert recorder.snapshot(0).shapes == {"0": (5, 4), "1": (5, 3)}
    np.testing.assert_array_equal(recorder.labels, [1, 1, 1, 0, 1])
    with pytest.raises(ValueError, match="batches of different shapes"):
        recorder.inputs()


def test_what_depends_on_the_data_is_refused() -> None:
    first = X[0]
    model = Calls(lambda self, x: self.fc(self.fc(x)) if (x[0] == first).all() else self.fc(x), fc=nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"fc was called 2 times in the first forward pass and 1 times .* from row 8"):
        recorded(model, batch_size=8)
    model._forward = lambda self, x: self.fc(x) if (x[0] == first).all() else self.fc(self.fc(x))
    with pytest.raises(ValueError, match=r"fc was called 1 times in the first forward pass and 2 times .* from row 8"):
        recorded(model, batch_size=8)
    assert recorded(model).layers == ("fc",)
    model._forward = lambda self, x: x if (x[0] == first).all() else self.fc(x)
    with pytest.raises(ValueError, match=r"fc was called 0 times in the first forward pass and 1 times .* from row 8"):
        recorded(model, batch_size=8)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: nn.utils.rnn.pack_padded_sequence(x[..., None], [4] * len(x), True), "is a PackedSequence"),
        (lambda x: torch.complex(x, x), "nested, sparse, quantised or complex"),
        (lambda x: x.to_sparse(), "nested, sparse"),
        (lambda x: x[:, :0], r"of shape \(20, 0\) has no values"),
        (lambda x: (value for value in x), "a generator, holds no tensor"),
    ],
)
def test_outputs_that_are_no_rows_are_refused(function: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"layer it: .*{text}"):
        recorded(gives(function), "it")
    assert text.partition(r"\(")[0] in recorded(gives(function)).missing["it"]


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"dtype": "bfloat16"}, ValueError, "dtype='bfloat16' must be one of"),
        ({"batch_size": 0}, ValueError, "batch_size=0 must be an integer of at least 1"),
        ({"n": 1}, ValueError, "n=1 must be an integer of at least 2"),
        ({"n": 21}, ValueError, "the probe has 20 rows, and 21 are needed"),
        ({"reduce": {"fc3": MeanPool()}}, ValueError, "reduce has the key 'fc3', which fits no recorded layer. Did"),
        ({"reduce": torch.flatten}, TypeError, "reduce is given as .*a subclass of Reduction"),
        ({"select": {"fc1": 1.5}}, TypeError, "select is given as 1.5: pass an index, a key, or a function"),
        ({"batch_axis": "0"}, TypeError, "batch_axis is given as '0': pass an integer"),
        ({"probe": "x.npy"}, TypeError, "probe is a str: pass"),
        ({"probe": (X, X, X)}, TypeError, "gives 3 parts"),
        ({"probe": [X, X]}, TypeError, "a list of 2 arrays, which may be rows, or inputs and labels"),
        ({"probe": (X, torch.zeros(3))}, ValueError, "has 20 inputs and 3 labels"),
        ({"probe": ((X, X[:5]), None)}, ValueError, "different numbers of rows"),
        ({"probe": np.array(["a", "b"])}, TypeError, "an input of the probe is ndarray of <U1"),
        ({"probe": np.float64(3)}, ValueError, "no inputs with samples on axis 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        Recorder(mlp(), **{"probe": X} | settings)


def test_the_probe_set_builds_no_graph_and_no_inference_tensors() -> None:
    seen = set()
    model = gives(lambda x: (seen.add((torch.is_grad_enabled(), x.is_inference())), x)[1])
    with torch.inference_mode(False), torch.enable_grad():
        recorded(model)
    with torch.inference_mode():
        recorded(model)
    assert seen == {(False, False)}


def test_taking_part_runs_the_probe_set_and_keeps_nothing() -> None:
    seen = []
    model = gives(lambda x: (seen.append(len(x)), x)[1])
    assert Recorder(model, probe=X, batch_size=8).take_part(3) is None
    assert seen == [2, 8, 8, 4]


def test_calls_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="step=-1 must be an integer of at least 0"):
        Recorder(mlp(), probe=X).snapshot(-1)
    with pytest.raises(ValueError, match=r"shape of fc.weight.* run one batch through the model first"):
        recorded(Calls(lambda self, x: self.fc(x), fc=nn.LazyLinear(2)))
    with pytest.raises(ValueError, match=r"layer it has values beyond torch.float16"):
        recorded(gives(lambda x: x * 1e6), "it", dtype="float16")
    with pytest.raises(ValueError, match=r"select=3 does not fit its output: tuple"):
        recorded(gives(lambda x: (x,)), "it", select={"it": 3})


# Workflow: memory


@pytest.mark.slow
def test_a_large_snapshot_takes_constant_memory(tmp_path: Path) -> None:
    code = """if True:
        import resource, sys, torch
        from miest.plane.recorder import Recorder
        def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        torch.set_num_threads(1)
        model, x = torch.nn.Sequential(torch.nn.Linear(8, 512), torch.nn.Tanh()), torch.randn(100_000, 8)
        recorder = Recorder(model, probe=x)
        Recorder(model, probe=x[:512]).snapshot(0, sys.argv[1])
        before = peak()
        snapshot = recorder.snapshot(1, sys.argv[1])
        print(snapshot.nbytes / 2**20, peak() - before)
    """
    run = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    written, grown = map(float, run.stdout.split())
    assert written > 390
    assert grown < 30


def test_layers_beyond_the_limit_are_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "IN_MEMORY", 4 * 6 * N)
    snapshot = recorded(mlp(), None)
    assert [isinstance(snapshot.load(name), np.memmap) for name in snapshot.layers] == [False, True, True, True]
