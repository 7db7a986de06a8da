"""The part of a network up to a layer: exact outputs, a model left alone, inputs and outputs of all forms, refusals."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from miest.neural.subnetwork import activations, subnetwork_of
from miest.samples import DataError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(6, 5)
        self.block = nn.Sequential(nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.5))
        self.fc2 = nn.Linear(5, 5)
        self.fc3 = nn.Linear(5, 2)
        self.reached: list[str] = []

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.block(self.fc1(x))
        again = self.fc2(self.fc2(hidden))
        self.reached.append("end")
        return self.fc3(again)


class Several(nn.Module):
    """Takes two inputs by name, and has layers whose outputs are a tuple, a dictionary, or no tensor at all."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 4, batch_first=True)
        self.heads = Heads()
        self.note = Note()
        self.unused = nn.Linear(2, 2)

    def forward(self, tokens: Tensor, scale: Tensor) -> Tensor:
        hidden, _ = self.rnn(tokens)
        self.note(hidden)
        return self.heads(hidden * scale[:, None, None])["low"]


class Heads(nn.Module):
    def forward(self, hidden: Tensor) -> dict[str, Tensor]:
        return {"low": hidden[:, 0], "high": hidden[:, -1]}


class Note(nn.Module):
    def forward(self, hidden: Tensor) -> list[str]:
        return ["seen"]


class Swapped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(1, -1)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    made = Net()
    made(torch.randn(64, 6))  # statistics for the normalisation
    return made.train()


X = torch.linspace(-1, 1, 48).reshape(8, 6)


# Exact


def test_gives_what_the_layer_gives_in_evaluation_mode(net: Net) -> None:
    expected = copy.deepcopy(net).eval()
    assert torch.equal(subnetwork_of(net, "fc1")(X), expected.fc1(X))
    assert torch.equal(subnetwork_of(net, "block")(X), expected.block(expected.fc1(X)))
    assert torch.equal(subnetwork_of(net, "block.0")(X), expected.block[0](expected.fc1(X)))
    assert torch.equal(subnetwork_of(net, net.fc1)(X), expected.fc1(X))
    assert torch.equal(subnetwork_of(net)(X), expected(X))


def test_a_module_that_is_called_several_times_has_a_number_for_each_call(net: Net) -> None:
    expected = copy.deepcopy(net).eval()
    hidden = expected.block(expected.fc1(X))
    assert torch.equal(subnetwork_of(net, "fc2")(X), expected.fc2(hidden))
    assert torch.equal(subnetwork_of(net, "fc2#0")(X), expected.fc2(hidden))
    assert torch.equal(subnetwork_of(net, "fc2#1")(X), expected.fc2(expected.fc2(hidden)))


def test_nothing_after_the_layer_runs(net: Net) -> None:
    part = subnetwork_of(net, "fc2")
    part.model.reached.clear()
    part(X)
    assert part.model.reached == []
    whole = subnetwork_of(net)
    whole.model.reached.clear()
    whole(X)
    assert whole.model.reached == ["end"]


def test_a_model_that_catches_every_exception_is_cut_off_too() -> None:
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.fc(x)
            except Exception:
                return x

    model = Careful()
    assert torch.equal(subnetwork_of(model, "fc")(X), model.fc(X))


# Properties


def test_the_model_is_left_alone(net: Net) -> None:
    before, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    net.fc1.weight.grad = torch.ones_like(net.fc1.weight)
    random = torch.get_rng_state()
    subnetwork_of(net, "fc2")(X)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
    assert [m.training for m in net.modules()] == modes
    assert all(p.requires_grad for p in net.parameters())
    assert torch.equal(net.fc1.weight.grad, torch.ones_like(net.fc1.weight))
    assert not any(m._forward_hooks for m in net.modules())


def test_what_happens_to_the_model_later_changes_nothing(net: Net) -> None:
    part = subnetwork_of(net, "fc2")
    before = part(X)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    net(torch.randn(8, 6))
    assert torch.equal(part(X), before)


def test_it_is_frozen_and_stays_in_evaluation_mode(net: Net) -> None:
    part = subnetwork_of(net, "fc2")
    before = part(X)
    holder = nn.ModuleList([part]).train()
    assert holder.training
    assert not any(module.training for module in part.modules())
    assert torch.equal(part(X), before)
    assert not any(p.requires_grad for p in part.parameters())
    assert all(p.grad is None for p in part.parameters())
    x = X.clone().requires_grad_()
    part(x).sum().backward()
    assert x.grad is not None
    assert bool((x.grad != 0).any())


def test_it_can_be_copied_and_pickled(net: Net) -> None:
    part = subnetwork_of(net, "fc2#1")
    for again in (copy.deepcopy(part), pickle.loads(pickle.dumps(part))):
        assert torch.equal(again(X), part(X))
        assert repr(again) == repr(part) == "subnetwork_of(Net, 'fc2#1')"


def test_wrappers_change_no_name(net: Net) -> None:
    expected = subnetwork_of(net, "fc2")(X)
    for wrapped in (nn.DataParallel(net), torch.compile(net, backend="eager")):
        assert torch.equal(subnetwork_of(wrapped, "fc2")(X), expected)


def test_layers_inside_a_fused_encoder_are_reached() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    with torch.no_grad():
        assert subnetwork_of(model, "linear1")(torch.randn(3, 5, 4)).shape == (3, 5, 8)


# Inputs and outputs


def test_inputs_and_outputs_of_several_parts() -> None:
    torch.manual_seed(0)
    model, tokens, scale = Several().eval(), torch.randn(7, 5, 3), torch.rand(7)
    hidden = model.rnn(tokens)[0]
    assert torch.equal(subnetwork_of(model, "rnn")(tokens, scale=scale), hidden)
    assert torch.equal(subnetwork_of(model, "heads")(tokens, scale), (hidden * scale[:, None, None])[:, 0])
    rows = activations(subnetwork_of(model, "rnn"), {"tokens": tokens, "scale": scale, "labels": torch.zeros(7)})
    assert torch.equal(rows, hidden.detach().flatten(1))
    assert torch.equal(activations(subnetwork_of(model, "rnn"), ((tokens, scale), None)), rows)


def test_images_go_in_and_maps_come_out() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, 2))
    images = torch.randn(5, 1, 8, 8)
    assert torch.equal(subnetwork_of(model, "1")(images), model[1](model[0](images)))
    assert activations(subnetwork_of(model, "1"), images).shape == (5, 108)


def test_rows_are_the_same_from_every_source(net: Net) -> None:
    part, x = subnetwork_of(net, "fc2"), torch.randn(600, 6)
    y = torch.zeros(600)
    with torch.no_grad():
        expected = part(x)
    sources = (
        x,
        x.double().numpy(),
        x.tolist(),
        (x, y),
        TensorDataset(x, y),
        DataLoader(TensorDataset(x, y), batch_size=7),
        DataLoader(TensorDataset(x), batch_size=600),
    )
    for source in sources:
        rows = activations(part, source)
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows, expected)
    half = activations(part.bfloat16(), x.numpy())
    assert half.dtype == torch.float32
    assert activations(part.double(), x.numpy()).dtype == torch.float64


def test_a_column_is_made_of_single_numbers() -> None:
    assert activations(nn.Flatten(0), np.ones((4, 1), np.float32)).shape == (4, 1)


# Refusals


def test_unknown_layers_are_refused_with_those_that_are_near(net: Net) -> None:
    with pytest.raises(ValueError, match=r"no layer 'fc4'.*Did you mean 'fc"):
        subnetwork_of(net, "fc4")
    with pytest.raises(ValueError, match="fits 3 layers"):
        subnetwork_of(net, "fc*")
    with pytest.raises(ValueError, match="not part of the model"):
        subnetwork_of(net, nn.Linear(2, 2))


def test_layers_that_are_not_reached_are_refused(net: Net) -> None:
    with pytest.raises(ValueError, match=r"'fc2#2' was not reached: the forward pass called 'fc2' 2 times"):
        subnetwork_of(net, "fc2#2")(X)
    with pytest.raises(ValueError, match=r"'unused' was not reached.*0 times"):
        subnetwork_of(Several(), "unused")(torch.randn(2, 5, 3), torch.rand(2))
    with pytest.raises(ValueError, match=r"'note', a list, holds no tensor"):
        subnetwork_of(Several(), "note")(torch.randn(2, 5, 3), torch.rand(2))


def test_what_cannot_be_run_or_copied_is_refused(net: Net) -> None:
    with pytest.raises(TypeError, match="pass a torch module"):
        subnetwork_of(lambda x: x, "fc1")  # type: ignore[arg-type]
    net.fc1.register_buffer("made", (net.fc1.weight * 2).sum(1))  # has a graph, which deepcopy refuses
    with pytest.raises(TypeError, match="Net cannot be copied"):
        subnetwork_of(net, "fc1")


def test_rows_that_cannot_be_told_apart_or_used_are_refused(net: Net) -> None:
    with pytest.raises(DataError, match=r"gave \(1, 20\) for 4 rows"):
        activations(Swapped(), torch.ones(4, 5))
    with pytest.raises(DataError, match=r"NaN or infinity in 1 of 8 rows"):
        activations(subnetwork_of(net, "fc1"), torch.where(torch.arange(8)[:, None] == 3, torch.inf, X))
    with pytest.raises(DataError, match="no rows"):
        activations(subnetwork_of(net, "fc1"), DataLoader(TensorDataset(X[:0])))
