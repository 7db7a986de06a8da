"""End-to-end training with alpha CE - beta I(Y;Yhat) + gamma I(X;Yhat+eps): its terms, its limits, refusals."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import miest
from miest.bottleneck import end_to_end
from miest.bottleneck.alternation import Alternation, Weights, _Turns
from miest.noise import GaussianNoise, UniformNoise
from miest.samples import DataError

QUICK = {"steps": 3, "critic_steps": 2, "warm_up": 1, "batch": 16, "hidden": (8,), "read_out_steps": 5}


class Network(nn.Module):
    """No stack: two branches."""

    def __init__(self, outputs=2):
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right, self.last = nn.Linear(2, 12), nn.Linear(2, 12), nn.Linear(24, outputs)

    def forward(self, x):
        return self.last(torch.cat([torch.relu(self.left(x)), torch.tanh(self.right(x))], 1))


def quarters(n=64, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
    return x, (x[:, 0] * x[:, 1] > 0).astype(np.int64)


def weights_of(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


# exact


def test_with_cross_entropy_alone_it_is_adam_on_it():
    x, y = quarters()
    model, own = Network(), Network()
    end_to_end.fit(model, (x, y), beta=0, gamma=0, **QUICK | {"batch": 32, "steps": 20}, learning_rate=1e-2)
    optimizer = torch.optim.Adam(own.parameters(), lr=1e-2)
    for _ in range(20):  # a batch of 32 and as many others are all rows
        optimizer.zero_grad()
        nn.functional.cross_entropy(own(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    assert torch.allclose(weights_of(model), weights_of(own), atol=1e-5)


def test_the_objective_is_the_weighted_sum_of_its_terms():
    x, y = map(torch.from_numpy, quarters())
    model = Network()
    settings = Alternation(
        noise=GaussianNoise(std=0.1),
        critic_steps=5,
        warm_up=0,
        batch=32,
        learning_rate=1e-2,
        critic_learning_rate=1e-2,
        hidden=(16,),
    )
    weights = Weights(cross_entropy=2.0, prediction=3.0, rate=5.0)
    turns = _Turns(model, x, y, weights, settings, torch.Generator().manual_seed(0))
    turns.train_critics(30)
    loss, prediction, rate = turns.objective()
    assert prediction != 0
    assert rate > 0.05
    expected = 2 * float(nn.functional.cross_entropy(model(x), y).detach()) - 3 * prediction + 5 * rate
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-5)


# properties


def test_a_read_out_is_put_on_top_only_without_cross_entropy():
    model = Network()
    with_it, without = (
        end_to_end.fit(model, quarters(), **QUICK),
        end_to_end.fit(Network(5), quarters(), alpha=0, **QUICK),
    )
    assert [type(part) for part in with_it.network] == [Network]
    assert with_it.network[0] is model
    assert [type(part) for part in without.network] == [Network, nn.Flatten, nn.Linear]
    assert without.network(torch.zeros(3, 2)).shape == (3, 2)


def test_training_can_be_repeated_and_is_told_step_by_step():
    looks, logged = [], []
    first = end_to_end.fit(
        Network(), quarters(), progress=looks.append, plane=lambda step, **told: logged.append((step, told)), **QUICK
    )
    again, other = (end_to_end.fit(Network(), quarters(), seed=seed, **QUICK) for seed in (0, 1))
    assert torch.equal(weights_of(first.network), weights_of(again.network))
    assert not torch.equal(weights_of(first.network), weights_of(other.network))
    assert [(look.step, look.steps, look.layer) for look in looks] == [
        (1, 3, "output"),
        (2, 3, "output"),
        (3, 3, "output"),
    ]
    assert [step for step, _ in logged] == [0, 1, 2, 3]
    assert [told["rate"] for _, told in logged[1:]] == first.courses[0].rate == [look.rate for look in looks]


def test_modes_and_gradients_wanted_are_as_before_and_frozen_parameters_stay():
    model = Network().eval()
    model.left.requires_grad_(False)
    before = copy.deepcopy(model.left.state_dict())
    end_to_end.fit(model, quarters(), **QUICK)
    assert not model.training
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.left.state_dict().items())


# truth


@pytest.mark.parametrize("alpha", [1, 0])
def test_it_learns_what_no_line_can_tell(alpha):
    given = {"hidden": (32,), "batch": 128, "critic_learning_rate": 5e-3, "learning_rate": 2e-2, "warm_up": 20}
    fitted = end_to_end.fit(Network(), quarters(1000), alpha=alpha, gamma=0, steps=80, critic_steps=3, **given)
    x, y = quarters(1000, seed=1)
    assert (fitted.predict(x) == y).mean() > 0.9
    assert np.mean(fitted.courses[0].prediction[-20:]) > 0.75 * math.log(2)


def test_a_price_compresses_the_output():
    x, y = quarters(400)
    noise = GaussianNoise(std=0.2)
    given = {"hidden": (32,), "batch": 100, "critic_learning_rate": 5e-3, "learning_rate": 1e-2, "warm_up": 20}
    held = []
    for gamma in (0, 3):
        model = Network()
        end_to_end.fit(model, (x, y), beta=0, gamma=gamma, noise=noise, steps=30, critic_steps=3, **given)
        with torch.no_grad():
            held.append(miest.GaussianChannel(noise=noise, draws=1).estimate(model(torch.from_numpy(x))).value)
    assert held[1] < 0.5 * held[0]


# refusals


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ({"alpha": -1}, "alpha=-1 must be a number that is not negative"),
        ({"beta": math.nan}, "beta=nan must be"),
        ({"gamma": math.inf}, "gamma=inf must be"),
        ({"alpha": 0, "beta": 0}, "alpha and beta are both 0: nothing asks for the label"),
        ({"noise": UniformNoise(width=1)}, "must be GaussianNoise"),
        ({"steps": 0}, "steps"),
    ],
)
def test_settings_out_of_range_are_refused(setting, match):
    with pytest.raises(ValueError, match=match):
        end_to_end.fit(Network(), quarters(), **QUICK | setting)


def test_an_output_that_is_not_one_logit_a_class_is_refused():
    with pytest.raises(DataError, match=r"the model gives \(2, 3\) for 2 rows of 2 classes"):
        end_to_end.fit(Network(3), quarters(), **QUICK)
