"""AA-MINE: its parts exactly, truths it must find, where it says that it cannot, and its life as a result."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from miest.estimators.aamine import AAMINE
from miest.estimators.channel import GaussianChannel
from miest.estimators.neural import MINE
from miest.neural.aware import ArchitectureAware, Channel, Separately, joint_critic
from miest.neural.aware_training import _cap, draws, report
from miest.neural.bounds import DonskerVaradhan
from miest.neural.noisy_density import NoisyDensity, noisy_density
from miest.neural.subnetwork import subnetwork_of
from miest.neural.train import score
from miest.noise import GaussianNoise, UniformNoise, ZeroEntropyNoise
from miest.result import Flag, MIResult
from miest.samples import DataError

QUICK = {"hidden": (32,), "steps": 50}


def linear(d: int = 3) -> tuple[nn.Linear, np.ndarray]:
    """A linear layer of d units, and 2000 standard normal rows of 4 inputs."""
    torch.manual_seed(0)
    return nn.Linear(4, d), np.random.default_rng(1).standard_normal((2000, 4), np.float32)


def truth(layer: nn.Linear, std: float) -> float:
    w = layer.weight.detach().double()
    return float(torch.logdet(torch.eye(len(w), dtype=torch.float64) + w @ w.T / std**2)) / 2


def aamine(layer: nn.Module, std: float, **settings: object) -> AAMINE:
    return AAMINE(layer, noise=GaussianNoise(std=std), **{**QUICK, **settings})


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor]:
    """A network with random weights, and the digits on a canvas of 28 by 28."""
    images = torch.tensor(load_digits().images / 16, dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5)
        )
    return network, nn.functional.pad(images.repeat_interleave(3, 1).repeat_interleave(3, 2), (2, 2, 2, 2))


# Exact


def density() -> tuple[NoisyDensity, list[tuple[float, np.ndarray, np.ndarray]]]:
    """A mixture in two of four directions, another Gaussian direction and a rest; and its components, noise and all."""
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    centre, variances, rest = rng.standard_normal(4), np.array([9.0, 4.0, 0.5]), 0.2
    weights, means = np.array([0.3, 0.7]), rng.standard_normal((2, 2)) * 3
    covariances = np.stack([np.diag([1.0, 2.0]), np.array([[2.0, 0.5], [0.5, 1.0]])])
    made = NoisyDensity(centre, rotation[:, :3], variances, rest, weights, means, covariances)
    components = []
    for weight, mean, covariance in zip(weights, means, covariances, strict=True):
        full = np.diag([0.0, 0.0, 0.5, 0.2])
        full[:2, :2] = covariance
        place = centre + rotation @ np.array([*mean, 0.0, 0.0])
        components.append((weight, place, rotation @ full @ rotation.T + np.eye(4)))
    return made, components


def test_the_density_is_that_of_the_mixture_and_the_noise() -> None:
    made, components = density()
    rows = np.random.default_rng(1).standard_normal((50, 4)) * 3
    expected = sum(weight * multivariate_normal(mean, cov).pdf(rows) for weight, mean, cov in components)
    np.testing.assert_allclose(made.log_density(torch.from_numpy(rows)).numpy(), np.log(expected), rtol=1e-10)


def test_the_critic_starts_at_the_conditional_less_the_mixture() -> None:
    made, _ = density()
    critic = Channel(made, (8,))
    t, noisy = torch.randn(6, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    table = critic.table(t, noisy)
    for i, j in itertools.product(range(6), range(5)):
        conditional = multivariate_normal(t[i].numpy(), np.eye(4)).logpdf(noisy[j].numpy())
        assert float(table[i, j].detach()) == pytest.approx(conditional - float(made.log_density(noisy)[j]), abs=1e-9)
    assert torch.allclose(critic(t[:5], noisy), table[:5].diagonal())


def test_a_gaussian_layer_has_its_gaussian_density() -> None:
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    t = torch.from_numpy(rng.standard_normal((4000, 2)) * [0.05, 0.02])  # too small for a mixture to matter
    made = noisy_density(t[:3000], t[3000:], generator)
    rows = torch.from_numpy(rng.standard_normal((20, 2)))
    covariance = np.cov(t[:3000].numpy().T, bias=True) + np.eye(2)
    expected = multivariate_normal(t[:3000].mean(0).numpy(), covariance).logpdf(rows.numpy())
    assert made.components == 1
    np.testing.assert_allclose(made.log_density(rows).numpy(), expected, rtol=1e-10)


def test_joint_and_marginal_pairs_have_draws_of_their_own() -> None:
    t = torch.arange(40, dtype=torch.float64)[:, None] * 1000
    batch, generator = draws(t), torch.Generator().manual_seed(0)
    x, y = batch(16, generator)
    assert x.shape == (16, 1)
    assert y.shape == (16, 2, 1)
    joint, marginal = (y - 0).round(decimals=-3).unbind(1)
    assert torch.equal(joint, x)  # the noise is small against the rows
    assert not set(joint.flatten().tolist()) & set(marginal.flatten().tolist())
    assert len(set(x.flatten().tolist())) == 16
    again = batch(16, generator)[1]
    assert not torch.equal((again - again.round(decimals=-3)), (y - y.round(decimals=-3)))
    assert len(batch(500, generator)[0]) == 20


@pytest.mark.parametrize("negatives", [None, 1])
def test_the_two_draws_are_scored_apart(negatives: int | None) -> None:
    made, _ = density()
    t, y = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 2, 4, dtype=torch.float64)
    for critic in (Channel(made, (8,)), joint_critic(t, (8,))):
        others = None if negatives is None else torch.tensor([[1], [2], [3], [4], [0]])
        scores = score(Separately(critic), t, y, others)
        assert torch.allclose(scores.joint, critic(t, y[:, 0]))
        table = critic.table(t, y[:, 1])
        for i in range(5):
            expected = table[i, torch.arange(5) != i] if others is None else table[i, others[i]]
            assert torch.allclose(scores.marginal[i], expected, atol=1e-6)


@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0, 40.0, 1e12])
def test_no_capped_pair_has_more_than_a_hundredth(spread: float) -> None:
    scores = torch.from_numpy(np.random.default_rng(0).standard_normal(5000) * spread)
    cap = _cap(scores)
    weight = torch.exp(scores.clamp_max(cap) - cap)
    assert float(weight.max() / weight.sum()) <= 0.01 * (1 + 1e-9)
    assert float(torch.log(weight.sum())) == pytest.approx(math.log(100), abs=1e-3 if spread > 100 else 1e-9)


def test_the_cap_by_hand() -> None:
    # One of weight 1000 among 198 of weight 1: capped at c, with c = (c + 198) / 100.
    scores = torch.tensor([math.log(1000)] + [0.0] * 198, dtype=torch.float64)
    assert _cap(scores) == pytest.approx(math.log(2), abs=1e-12)


def test_the_critic_that_comes_out_takes_inputs_of_the_network(digits: tuple[nn.Module, Tensor]) -> None:
    network, images = digits
    result = aamine(network, 0.05).estimate(images, seed=0)
    (critic,) = result.fitted
    assert isinstance(critic, ArchitectureAware)
    with torch.no_grad():
        layer = network(images[:6])
        noisy = layer + 0.05 * torch.randn(6, 5)
        inside = critic.critic.table(layer.double() / 0.05, noisy.double() / 0.05)
        assert torch.allclose(critic.table(images[:6], noisy), inside, atol=1e-4)
        assert torch.allclose(critic(images[:6], noisy), inside.diagonal(), atol=1e-4)


# Properties


def test_same_seed_same_result_whatever_the_form_of_x() -> None:
    layer, x = linear()
    before, random = x.copy(), torch.get_rng_state()
    first = aamine(layer, 0.5).estimate(x, seed=3)
    for again in (torch.from_numpy(x), TensorDataset(torch.from_numpy(x)), (x, np.zeros(len(x)))):
        result = aamine(layer, 0.5).estimate(again, seed=3)
        assert (result.value, result.interval) == (first.value, first.interval)
    assert aamine(layer, 0.5).estimate(x, seed=4).value != first.value
    assert aamine(layer, 0.5).estimate(x, seed=first.diagnostics.seed).value == first.value
    assert np.array_equal(x, before)
    assert torch.equal(torch.get_rng_state(), random)


def test_only_the_ratio_of_layer_and_noise_matters() -> None:
    layer, x = linear()
    first = aamine(layer, 0.5).estimate(x, seed=0)
    with torch.no_grad():
        layer.weight *= 8
        layer.bias.mul_(8).add_(100)
    again = aamine(layer, 4.0).estimate(x, seed=0)
    assert again.value == pytest.approx(first.value, abs=2e-3)


@pytest.mark.parametrize("critic", ["channel", "joint"])
def test_the_value_is_at_most_the_ceiling(critic: str) -> None:
    layer, x = linear(4)
    result = aamine(layer, 1e-7, critic=critic, learning_rate=1e-2).estimate(x, seed=0)
    assert result.ceiling is not None
    assert result.value <= result.ceiling
    pairs = 500 * 499 * 2 if critic == "channel" else 500 * 64 * 2
    assert result.ceiling == pytest.approx(math.log(pairs / 100))


# Truth


@pytest.mark.parametrize("std", [10.0, 1.0, 0.3, 0.1])
def test_linear_layers(std: float) -> None:
    layer, x = linear()
    result = aamine(layer, std).estimate(x, seed=0)
    assert result.ok
    assert abs(result.value - truth(layer, std)) < 4 * result.diagnostics.stderr
    assert abs(result.value - truth(layer, std)) < 0.1 * truth(layer, std)
    assert result.diagnostics.upper == pytest.approx(truth(layer, std), abs=4 * result.diagnostics.stderr)
    assert result.interval[0] < result.value < result.interval[1]


def test_folds_report_on_every_row() -> None:
    layer, x = linear()
    result = aamine(layer, 0.3, folds=3).estimate(x, seed=0)
    assert len(result.diagnostics.folds) == len(result.fitted) == 3
    assert abs(result.value - truth(layer, 0.3)) < 4 * result.diagnostics.stderr
    assert result.diagnostics.stderr < aamine(layer, 0.3).estimate(x, seed=0).diagnostics.stderr


@pytest.mark.parametrize("variance", [10.0, 1.0, 0.1, 0.01, 1e-3])
def test_random_networks_agree_with_the_mixture(digits: tuple[nn.Module, Tensor], variance: float) -> None:
    network, images = digits
    noise = GaussianNoise(std=math.sqrt(variance))
    result = AAMINE(subnetwork_of(network, "5"), noise, **QUICK, folds=3).estimate(images, seed=0)
    with torch.no_grad():
        channel = GaussianChannel(noise=noise).estimate(network(images))
    assert result.ok
    assert result.value == pytest.approx(channel.diagnostics.out_of_sample, rel=0.1)


def test_seeing_the_network_is_what_makes_the_difference(digits: tuple[nn.Module, Tensor]) -> None:
    network, images = digits
    std, same = 0.02, {"critic": "joint", "hidden": (64, 64), "steps": 300, "learning_rate": 1e-3}
    with torch.no_grad():
        layer = network(images)
    noisy = layer + std * torch.randn(layer.shape, generator=torch.Generator().manual_seed(0))
    published = aamine(network, std, **same).estimate(images, seed=0)
    blind = MINE(scale="standard", folds=1, negatives=1, **same).estimate(images.flatten(1), noisy, seed=0)
    best = aamine(network, std).estimate(images, seed=0)
    assert blind.value + 0.3 < published.value < best.value


def test_a_correction_is_learned_where_the_mixture_is_wrong() -> None:
    made, _ = density()
    t = torch.from_numpy(np.random.default_rng(0).standard_normal((1200, 4)) * 2)
    critic, exact = Channel(made, (16,)), 2 * math.log(5)  # four units of variance 4
    before, generator = report(critic, t, 0), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(critic.correction.parameters(), 1e-2)
    for _ in range(150):
        loss, _ = DonskerVaradhan().loss(score(Separately(critic), *draws(t)(256, generator)), None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = report(critic, t, 0)
    assert before.value < exact - 0.2
    assert before.value + 0.1 < after.value < exact + 0.2
    assert before.upper is not None
    assert before.upper > exact


# Refusals


def test_what_is_doubtful_is_flagged() -> None:
    layer, x = linear(4)
    clean = aamine(layer, 0.5).estimate(x, seed=0)
    assert clean.ok
    small = aamine(layer, 1e-4).estimate(x, seed=0)
    assert {Flag.SATURATED, Flag.UNBOUNDED_VARIANCE} <= set(small.flags)
    assert any("the truth may be far larger" in note for note in small.notes)
    assert small.value < truth(layer, 1e-4)


def test_too_few_rows_are_flagged_by_the_gap_between_the_bounds() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 30), np.float32)
    layer = nn.Sequential(nn.Linear(30, 30), nn.ReLU())
    result = aamine(layer, 0.1).estimate(x, seed=0)
    assert Flag.UNDERSAMPLED in result.flags
    assert any("is between" in note for note in result.notes)


def test_a_layer_that_does_not_vary_is_flagged() -> None:
    layer, x = linear()
    nn.init.zeros_(layer.weight)
    result = aamine(layer, 0.5).estimate(x, seed=0)
    assert result.flags == (Flag.CONSTANT,)
    assert result.value == pytest.approx(0.0, abs=1e-9)


def test_training_that_is_cut_short_or_goes_astray_is_flagged() -> None:
    layer, x = linear()
    short = aamine(layer, 0.1, critic="joint", steps=30, check_every=5, learning_rate=1e-3).estimate(x, seed=0)
    assert Flag.NOT_CONVERGED in short.flags
    astray = aamine(layer, 0.1, critic="joint", learning_rate=1e30).estimate(x, seed=0)
    assert astray.flags == (Flag.NOT_CONVERGED,)
    assert math.isnan(astray.value)
    assert astray.interval is None


def test_memorised_rows_are_flagged() -> None:
    x = np.random.default_rng(0).standard_normal((400, 100), np.float32)
    eager = {"critic": "joint", "hidden": (256,), "steps": 300, "learning_rate": 3e-3}
    assert Flag.OVERFIT in aamine(nn.Identity(), 4.0, **eager).estimate(x, seed=0).flags


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": UniformNoise(width=1.0)}, "must be GaussianNoise"),
        ({"critic": "separable"}, "critic='separable' must be one of"),
        ({"hidden": ()}, "at least one hidden layer"),
        ({"hidden": (0,)}, "at least one hidden layer"),
        ({"folds": 0}, "folds=0 must be an integer of at least 1"),
        ({"batch": 2}, "batch=2 must be an integer of at least 4"),
        ({"negatives": 0}, "negatives=0 must be an integer of at least 1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be positive"),
        ({"weight_decay": -1.0}, "not negative"),
        ({"average": 1.0}, "average=1.0 must be at least 0 and below 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AAMINE(**{"subnetwork": nn.Identity(), "noise": GaussianNoise(std=1.0), **settings})


def test_arguments_that_cannot_be_used_are_refused() -> None:
    layer, x = linear()
    with pytest.raises(TypeError, match="subnetwork is a function"):
        AAMINE(truth, GaussianNoise(std=1.0))
    with pytest.raises(ValueError, match="makes its own second argument"):
        aamine(layer, 1.0).estimate(x, x)
    with pytest.raises(ValueError, match="AAMINE cannot condition"):
        aamine(layer, 1.0).estimate(x, given=x)
    with pytest.raises(DataError, match="99 rows are too few to be split in three, folds=1: pass at least 100"):
        aamine(layer, 1.0).estimate(x[:99])
    with pytest.raises(DataError, match="pass at least 200"):
        aamine(layer, 1.0, folds=10).estimate(x[:150])


# Workflow


def test_the_defaults_are_those_of_the_paper_where_it_has_any() -> None:
    made = AAMINE(nn.Identity(), ZeroEntropyNoise())
    assert made.hidden == (1500, 1500)
    assert made == AAMINE(subnetwork=made.subnetwork, noise=ZeroEntropyNoise())
    (rectifier,) = {type(m) for m in joint_critic(torch.zeros(2, 3), (4, 4)).rest.modules()} - {
        nn.Sequential,
        nn.Linear,
    }
    assert rectifier is nn.LeakyReLU


def test_results_say_what_was_measured_and_survive_json(digits: tuple[nn.Module, Tensor]) -> None:
    network, images = digits
    seen = []
    made = aamine(subnetwork_of(network, "3"), 0.05, progress=lambda *what: seen.append(what))
    result = made.estimate(images, seed=0)
    assert result.quantity == "I(X;T+eps)"
    assert result.kind == "lower bound"
    assert result.n_samples == len(images)
    assert result.seconds > 0
    assert result.diagnostics.layer == "subnetwork_of(Sequential, '3')"
    assert result.diagnostics.units == 64
    assert result.diagnostics.noise_std == 0.05
    assert [step for fold, step, steps, value in seen] == result.diagnostics.steps[0]
    back = MIResult.from_json(result.to_json())
    assert (back.value, back.interval, back.flags) == (result.value, result.interval, result.flags)
    assert back.diagnostics == result.diagnostics


def test_an_estimator_read_from_json_asks_for_its_network() -> None:
    with pytest.raises(ValueError, match=r"only the name subnetwork_of\(Net, 'fc2'\)"):
        AAMINE("subnetwork_of(Net, 'fc2')", GaussianNoise(std=1.0)).estimate(np.ones((200, 3)))  # type: ignore[arg-type]
