"""Training with snapshots gives the same bits as training without: weights, optimizer, buffers, random streams."""

import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from miest.neural.preserved import undisturbed
from miest.plane.gradients import gradient_signal_to_noise
from miest.plane.recorder import Recorder

X, Y = torch.randn(48, 5, generator=torch.Generator().manual_seed(0)), torch.arange(48) % 3


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """On a busy machine, threads that wait for each other make small recurrent layers a hundred times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Net(nn.Module):
    """Dropout, batch norm, spectral norm, an in-place ReLU, a frozen part, noise from NumPy and Python."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.parametrizations.spectral_norm(nn.Conv1d(1, 4, 3))
        self.norm = nn.BatchNorm1d(4)
        self.relu = nn.ReLU(inplace=True)
        self.frozen = nn.Sequential(nn.BatchNorm1d(12), nn.Dropout())
        self.drop = nn.Dropout(0.4)
        self.rnn = nn.LSTM(12, 8, dropout=0.3, num_layers=2)
        self.fc = nn.Linear(8, 3)
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("cache", torch.zeros(0), persistent=False)
        self.fail_on: float | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t = self.relu(self.norm(self.conv(x[:, None])))
        if self.fail_on is not None and (x[:, 0] == self.fail_on).any():
            raise RuntimeError("boom")
        t = self.drop(self.frozen(t.flatten(1)))
        self.seen += len(x)  # in place, in both modes
        self.average = 0.9 * self.average + 0.1 * t.detach().mean()  # replaced, in both modes
        if len(self.cache) < len(x):
            self.cache = torch.ones(len(x))
        noise = random.random() + np.random.normal() + torch.randn(())  # noqa: NPY002
        return self.fc(self.rnn(t[None])[0][0]) + 0.01 * noise


class Checkpointed(nn.Module):
    def __init__(self, net: nn.Module, use_reentrant: bool) -> None:
        super().__init__()
        self.net, self.use_reentrant = net, use_reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # A reentrant one wants an input with a gradient
        x = x.clone().requires_grad_(torch.is_grad_enabled())
        return checkpoint(self.net, x, use_reentrant=self.use_reentrant)


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "plain": lambda net: net,
    "data parallel": nn.DataParallel,
    "checkpointed": partial(Checkpointed, use_reentrant=False),
    "checkpointed, reentrant": partial(Checkpointed, use_reentrant=True),
}
Look = Callable[[int], Any]


def states(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Iterator[Any]:
    """Everything that training depends on."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if not name.endswith("cache"):
            yield name, value, value.requires_grad, getattr(value, "grad", None)
    for name, module in model.named_modules():
        yield name, module.training, len(module._forward_hooks), len(module._forward_pre_hooks)
    yield list(optimizer.state.values()) if optimizer else None
    yield torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    yield torch.is_grad_enabled(), torch.is_autocast_cache_enabled(), torch.backends.mha.get_fastpath_enabled()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def copied(values: Any) -> Any:
    if isinstance(values, torch.Tensor):
        return values.detach().clone()
    return type(values)(map(copied, values)) if isinstance(values, (list, tuple)) else values


def trained(
    wrap: Callable[[nn.Module], nn.Module],
    looking: Callable[[nn.Module, Net], Look] | None = None,
    context: Callable[[], Any] = nullcontext,
) -> list[Any]:
    """The states after some steps; ``looking(model, net)(step)`` is called before, inside and after each step."""
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    net = Net()
    model = wrap(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    look = looking(model, net) if looking else lambda step: None
    for step in range(4):
        model.train()
        net.frozen.eval()
        look(step)
        with context():
            look(step)
            loss = nn.functional.cross_entropy(model(X), Y)
            look(step)
        optimizer.zero_grad()
        loss.backward()
        look(step)
        optimizer.step()
        model.eval()
        look(step)
    return copied(list(states(net, optimizer)))


def snapshots(model: nn.Module, net: Net, folder: Path | None = None, **settings: Any) -> Look:
    recorder = Recorder(model, "*", probe=(X[:20] + 1, Y[:20]), batch_size=8, **settings)
    return lambda step: recorder.snapshot(step, folder)


def failing(model: nn.Module, net: Net) -> Look:
    recorder = Recorder(model, None, probe=X, batch_size=8)

    def look(step: int) -> None:
        net.fail_on = float(X[20, 0])
        with pytest.raises(RuntimeError, match="boom") as caught:
            recorder.snapshot(step)
        assert caught.value.__notes__ == ["while the model ran on rows 16 to 23 of the probe set"]
        net.fail_on = None

    return look


def gradients(model: nn.Module, net: Net) -> Look:
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=16, shuffle=True)
    return lambda step: gradient_signal_to_noise(model, nn.functional.cross_entropy, loader)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # torch's, of checkpoints without gradients
@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("train_mode", [False, True])
def test_training_with_snapshots_is_training_without(wrap: str, train_mode: bool) -> None:
    without = trained(WRAPPERS[wrap])
    assert same(trained(WRAPPERS[wrap], partial(snapshots, train_mode=train_mode)), without)
    assert not same(trained(WRAPPERS[wrap], lambda model, net: lambda step: net(X)), without)  # that it could fail


@pytest.mark.parametrize("looking", [failing, gradients])
def test_failed_snapshots_and_gradients_leave_no_trace(looking: Any) -> None:
    assert same(trained(WRAPPERS["plain"], looking), trained(WRAPPERS["plain"]))


def test_files_leave_no_trace(tmp_path: Path) -> None:
    assert same(trained(WRAPPERS["plain"], partial(snapshots, folder=tmp_path)), trained(WRAPPERS["plain"]))


def test_snapshots_inside_autocast_do_not_cut_gradients() -> None:
    # Weights that are cast without gradients, and cached, would be used by the loss
    context = partial(torch.autocast, "cpu", torch.bfloat16)
    assert same(trained(WRAPPERS["plain"], snapshots, context), trained(WRAPPERS["plain"], context=context))


def test_snapshots_inside_inference_mode_leave_usable_tensors() -> None:
    def looking(model: nn.Module, net: Net) -> Look:
        look = snapshots(model, net)

        def inside(step: int) -> None:
            with torch.inference_mode():
                look(step)
            assert not net.cache.is_inference()

        return inside

    assert same(trained(WRAPPERS["plain"], looking), trained(WRAPPERS["plain"]))


def test_snapshots_of_a_compiled_model_compile_nothing() -> None:
    from torch._dynamo.utils import counters

    def run(looking: bool) -> list[Any]:
        torch._dynamo.reset()
        counters.clear()
        torch.manual_seed(3)
        part = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout())
        model = torch.compile(nn.Sequential(torch.compile(part, backend="eager"), nn.Linear(4, 3)), backend="eager")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        recorder = Recorder(model, "*", probe=X, batch_size=20)
        for step in range(4):
            if looking:  # also before the first compilation
                assert recorder.snapshot(step).layers == ("0.0", "0.1", "0.2", "0.3", "0", "1")
            loss = nn.functional.cross_entropy(model(X), Y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return [counters["stats"]["unique_graphs"], *copied(list(states(model)))]

    without = run(False)
    assert without[0] > 0
    assert same(run(True), without)


def test_random_numbers_of_the_model_are_fixed_by_seed_and_step() -> None:
    def values(step: int, **settings: Any) -> np.ndarray:
        torch.manual_seed(3)
        net = Net()
        torch.manual_seed(np.random.default_rng().integers(1 << 30))  # whatever the training has drawn
        return Recorder(net, "output", probe=X, **settings).snapshot(step).load("output")

    for train_mode in (False, True):
        np.testing.assert_array_equal(values(1, train_mode=train_mode), values(1, train_mode=train_mode))
        assert not np.array_equal(values(1, train_mode=train_mode), values(2, train_mode=train_mode))
        assert not np.array_equal(values(1, train_mode=train_mode), values(1, train_mode=train_mode, seed=1))


def test_train_mode_keeps_what_is_frozen() -> None:
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    inside = []
    for module, training in [(net, True), (net[1], False)]:
        module.train(training)
    for train in (False, True):
        with undisturbed(net, train=train, seed=0):
            inside.append([module.training for module in net.modules()])
        assert [module.training for module in net.modules()] == [True, True, False, False]
    net.eval()
    with undisturbed(net, train=True, seed=0):
        inside.append([module.training for module in net.modules()])
    assert inside == [[False] * 4, [True, True, False, False], [True] * 4]
    assert not any(module.training for module in net.modules())


def test_modes_are_set_without_the_modules_own_method() -> None:
    class Merging(nn.Linear):
        def train(self, mode: bool = True) -> "Merging":
            raise AssertionError("would merge weights")

    net = nn.Sequential(Merging(5, 2))
    Recorder(net, probe=X).snapshot(0)
    assert net[0].training


def test_buffers_that_a_graph_has_saved_keep_their_version() -> None:
    net = nn.BatchNorm1d(5).eval()  # in eval mode the backward pass needs the running statistics
    loss = net(X).sum()
    Recorder(net, probe=X, train_mode=True).snapshot(0)
    loss.backward()
    assert torch.equal(net.running_mean, torch.zeros(5))


def test_a_cache_that_has_grown_stays() -> None:
    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("cache", torch.zeros(0))
            self.known = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > self.known:  # a plain attribute, which is not put back
                self.cache, self.known = torch.arange(len(x)), len(x)
            return x + self.cache[: len(x), None]

    model = Cached()
    Recorder(model, "output", probe=X).snapshot(0)
    assert torch.equal(model(X[:9]), X[:9] + torch.arange(9)[:, None])


def test_the_probe_set_is_not_changed_by_the_model_or_the_caller() -> None:
    x = X.clone()
    array = x.numpy().copy()
    for probe in (x, array):
        recorder = Recorder(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 2)), probe=probe)
        before = recorder.probe_hash
        first = recorder.snapshot(0)
        np.testing.assert_array_equal(probe, X)
        probe *= 2
        np.testing.assert_array_equal(recorder.snapshot(0).load("1"), first.load("1"))
        np.testing.assert_array_equal(recorder.inputs(), X)
        assert recorder.probe_hash == before
        probe /= 2


@pytest.mark.gpu
def test_training_on_a_gpu_is_bit_identical() -> None:
    def run(looking: Callable[[nn.Module], Look]) -> list[Any]:
        torch.manual_seed(3)
        net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)).cuda()
        optimizer = torch.optim.Adam(net.parameters())
        look = looking(net)
        for step in range(4):
            look(step)
            loss = nn.functional.cross_entropy(net(X.cuda()), Y.cuda())
            optimizer.zero_grad()
            loss.backward()
            look(step)
            optimizer.step()
        return copied([*states(net, optimizer), torch.cuda.get_rng_state()])

    def looking(net: nn.Module) -> Look:
        recorder = Recorder(net, probe=(X, Y), train_mode=True)
        return lambda step: recorder.snapshot(step)

    assert same(run(looking), run(lambda net: lambda step: None))
