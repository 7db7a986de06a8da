"""Gradient signal-to-noise ratio: by hand, for every form of batch, and refusals."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from miest.plane.gradients import GradientSNR, gradient_signal_to_noise

X, Y = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
BATCHES = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)]
loss = nn.CrossEntropyLoss()


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))


# Exact


def test_norms_of_mean_and_standard_deviation_by_hand() -> None:
    model = net()
    gradients: dict[str, list[np.ndarray]] = {"0": [], "1": [], "3": []}
    for x, y in BATCHES:
        model.zero_grad()
        loss(model(x), y).backward()
        for name, seen in gradients.items():
            seen.append(model.get_parameter(f"{name}.weight").grad.double().numpy())
    found = gradient_signal_to_noise(net(), loss, BATCHES)
    assert list(found) == ["0", "1", "3"]
    for name, seen in gradients.items():
        mean, std = np.linalg.norm(np.mean(seen, axis=0)), np.linalg.norm(np.std(seen, axis=0))
        assert found[name].n_batches == 5
        np.testing.assert_allclose([found[name].mean_norm, found[name].std_norm], [mean, std], rtol=1e-6)
        assert found[name].ratio == pytest.approx(mean / std)


def test_two_opposite_gradients() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    batches = [torch.tensor([[3.0]]), torch.tensor([[-1.0]])]  # dE/dw = x
    (found,) = gradient_signal_to_noise(model, lambda output: output.sum(), batches).values()
    assert (found.mean_norm, found.std_norm, found.ratio) == (1, 2, 0.5)
    (same,) = gradient_signal_to_noise(model, torch.sum, batches[:1] * 3).values()
    assert same == GradientSNR(mean_norm=3, std_norm=0, n_batches=3)
    assert same.ratio == math.inf
    (none,) = gradient_signal_to_noise(model, lambda output: 0 * output.sum(), batches).values()
    assert math.isnan(none.ratio)


def test_a_small_spread_around_a_large_mean_keeps_its_digits() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False)).double()
    batches = [torch.tensor([[1e8 + i]], dtype=torch.float64) for i in range(5)]
    assert gradient_signal_to_noise(model, torch.sum, batches)["0"].std_norm == pytest.approx(2**0.5, rel=1e-6)


@pytest.mark.parametrize(
    ("model", "batches", "function"),
    [
        (net(), [(x.numpy(), y.numpy()) for x, y in BATCHES], loss),
        (net(), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=8), loss),
        (torch.compile(nn.DataParallel(net()), backend="eager"), BATCHES, loss),
        (net(), [{"input": x} for x, _ in BATCHES], lambda output: loss(output, Y[:8])),
        (net(), [(({"input": x},), y) for x, y in BATCHES], None),
    ],
    ids=["arrays", "loader", "wrapped", "mappings", "forward"],
)
def test_batches_come_in_many_forms(model: nn.Module, batches: Any, function: Any) -> None:
    forward = None
    if function is None:
        function, forward = loss, lambda model, inputs: model(inputs[0]["input"])
    found = gradient_signal_to_noise(model, function, batches, forward=forward)
    labelled = isinstance(function, nn.Module)
    expected = gradient_signal_to_noise(net(), loss, BATCHES if labelled else [(x, Y[:8]) for x, _ in BATCHES])
    assert found == expected


def test_the_models_own_loss() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(loss=loss(self.net(x), labels))

    batches = [{"x": x, "labels": y} for x, y in BATCHES]
    found = gradient_signal_to_noise(Own(), lambda output: output.loss, batches)
    assert list(found.values()) == list(gradient_signal_to_noise(net(), loss, BATCHES).values())


def test_layers_hold_all_weights_inside_and_no_biases() -> None:
    model = net()
    both = gradient_signal_to_noise(model, loss, BATCHES, [model])["output"]
    parts = gradient_signal_to_noise(model, loss, BATCHES, "*")
    assert both.mean_norm == pytest.approx(math.hypot(*(part.mean_norm for part in parts.values())))
    assert list(parts) == ["0", "1", "3"]  # the Tanh has none
    model[0].weight.requires_grad_(False)
    assert list(gradient_signal_to_noise(model, loss, BATCHES)) == ["1", "3"]


def test_weights_that_the_loss_does_not_use_have_no_gradient() -> None:
    model = nn.ModuleDict({"used": nn.Linear(4, 3), "idle": nn.Linear(4, 3)})
    found = gradient_signal_to_noise(model, loss, BATCHES, forward=lambda model, x: model["used"](x))
    assert (found["idle"].mean_norm, found["idle"].std_norm) == (0, 0)
    assert found["used"].mean_norm > 0


def test_sparse_gradients_are_counted_in_full() -> None:
    ids = [torch.tensor([[0, 1]]), torch.tensor([[1, 1]])]
    found = []
    for sparse in (False, True):
        torch.manual_seed(0)
        found.append(gradient_signal_to_noise(nn.Sequential(nn.Embedding(5, 2, sparse=sparse)), torch.sum, ids))
    assert found[0] == found[1]
    assert found[0]["0"].std_norm == pytest.approx(1.0)


def test_dropout_is_on_and_seeded() -> None:
    def found(**settings: Any) -> GradientSNR:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Dropout(), nn.Linear(4, 3))
        torch.manual_seed(np.random.default_rng().integers(1 << 30))
        return gradient_signal_to_noise(model, loss, BATCHES, **settings)["1"]

    assert found() == found() != found(seed=1)
    assert found(train_mode=False) == found(train_mode=False, seed=1) != found()


def test_gradients_are_there_inside_the_callers_inference_mode() -> None:
    expected = gradient_signal_to_noise(net(), loss, BATCHES)
    for context in (torch.no_grad, torch.inference_mode):
        model = net()
        with context():
            batches = [(x.clone(), y.clone()) for x, y in BATCHES]
            assert gradient_signal_to_noise(model, loss, batches) == expected
        assert all(parameter.grad is None for parameter in model.parameters())


def test_the_loaders_own_random_numbers_are_not_used_up() -> None:
    own = torch.Generator().manual_seed(5)
    data = torch.utils.data.TensorDataset(X, Y)
    before = own.get_state()
    gradient_signal_to_noise(net(), loss, torch.utils.data.DataLoader(data, 8, shuffle=True, generator=own))
    assert torch.equal(own.get_state(), before)


# Refusals


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"batches": BATCHES[:1]}, "1 batches are given, and a standard deviation needs at least 2"),
        ({"batches": []}, "0 batches are given"),
        ({"loss": nn.CrossEntropyLoss(reduction="none")}, r"the loss is of shape \(8,\): it must be a scalar"),
        ({"loss": lambda output, y: 1.0}, "the loss is of float"),
        ({"loss": lambda output, y: output.sum() * math.inf}, "the loss of batch 0 is (inf|nan|-inf)"),
        ({"loss": lambda output, y: torch.tensor(1.0)}, "does not depend on any weight"),
        ({"layers": "2"}, "layer 2 has no weights to train: name layers that have some"),
        ({"layers": nn.Tanh}, "none of the layers has weights to train"),
    ],
)
def test_what_has_no_gradient_is_refused(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        gradient_signal_to_noise(**{"model": net(), "loss": loss, "batches": BATCHES} | arguments)


def test_models_without_whole_gradients_are_refused() -> None:
    sharded = type("FSDPLinear", (nn.Linear,), {})  # as FSDP names the classes of what it shards
    with pytest.raises(TypeError, match=r"sharded by FSDP, .*pass an unsharded copy"):
        gradient_signal_to_noise(nn.Sequential(sharded(4, 3)), loss, BATCHES)
    with pytest.raises(TypeError, match="model is a function"):
        gradient_signal_to_noise(loss.forward.__func__, loss, BATCHES)
