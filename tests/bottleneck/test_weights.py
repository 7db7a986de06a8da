"""Noisy weights: the noise, the information in it, the layers, the conversion and the loss."""

import copy
import math

import numpy as np
import pytest
from scipy.integrate import quad

torch = pytest.importorskip("torch")

from miest.bottleneck.factors import GaussianFactor, LogNormalFactor, within  # noqa: E402
from miest.bottleneck.noisy_weights import NoisyConv2d, NoisyLinear  # noqa: E402
from miest.bottleneck.weights import (  # noqa: E402
    WeightBottleneck,
    information_in_weights,
    noisy_layers,
    stochastic,
    with_noisy_weights,
)
from miest.neural.preserved import seeded  # noqa: E402

FACTORS = [LogNormalFactor(), GaussianFactor()]


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture(autouse=True)
def fixed_stream():
    with seeded(0):
        yield


def small_network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3, padding=1),
        torch.nn.BatchNorm2d(3),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(48, 5),
    )


# exact


@pytest.mark.parametrize("alpha", [1e-6, 0.01, 0.3, 1.0])
def test_log_normal_weights_hold_minus_half_ln_alpha(alpha):
    assert LogNormalFactor().information(double(math.log(alpha))).item() == pytest.approx(-0.5 * math.log(alpha))


@pytest.mark.parametrize("alpha", [0.01, 1.0])
def test_the_constant_is_that_of_a_proper_log_uniform_prior(alpha):
    width = 60.0  # of ln |w|, and both signs

    def integrand(h):
        density = math.exp(-((h + alpha / 2) ** 2) / (2 * alpha)) / math.sqrt(2 * math.pi * alpha)
        return density * (math.log(density) + math.log(2 * width)) if density > 0 else 0.0

    divergence = quad(integrand, -width / 2, width / 2, points=[-alpha / 2], limit=500)[0]
    constant = -0.5 * math.log(2 * math.pi * math.e) + math.log(2 * width)
    found = LogNormalFactor().information(double(math.log(alpha))).item()
    assert found + constant == pytest.approx(divergence, abs=1e-8)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 3.0, 40.0])
def test_gaussian_weights_hold_their_divergence_from_the_prior(alpha):
    def integrand(e):
        return math.exp(-((e - 1) ** 2) / (2 * alpha)) / math.sqrt(2 * math.pi * alpha) * math.log(abs(e))

    reach = 1 + 12 * math.sqrt(alpha)
    mean_log = quad(integrand, -reach, reach, points=[0, 1], limit=2000)[0]
    divergence = -0.5 * math.log(2 * math.pi * math.e * alpha) + mean_log  # less ln c of the prior
    of_pure_noise = -0.5 * math.log(2 * math.pi * math.e) - (np.euler_gamma + math.log(2)) / 2
    found = GaussianFactor().information(double(math.log(alpha))).item()
    assert found == pytest.approx(divergence - of_pure_noise, abs=1e-7)


def test_gaussian_weights_of_little_noise_pay_a_constant_more():
    more = GaussianFactor().information(double(-15.0)).item() - 7.5
    assert more == pytest.approx((math.log(2) + np.euler_gamma) / 2, abs=1e-6)


def test_the_information_is_a_smooth_function_whose_gradient_is_dawsons():
    from scipy.special import dawsn

    at = torch.linspace(-19.9, 7.9, 777, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(GaussianFactor().information(at).sum(), at)
    s = np.exp(-at.detach().numpy() / 2) / math.sqrt(2)
    np.testing.assert_allclose(slope.numpy(), -s * dawsn(s), atol=3e-6)


@pytest.mark.parametrize("factor", FACTORS, ids=lambda f: type(f).__name__)
def test_factors_have_mean_one_and_the_cumulants_they_say(factor):
    alpha = 0.2
    eps = factor.sample(torch.full((1_000_000,), math.log(alpha), dtype=torch.float64)).numpy()
    second, third, fourth = (float(c) for c in factor.cumulants(np.array(alpha)))
    assert second == pytest.approx(factor.variance(double(math.log(alpha))).item())
    centred = eps - 1
    stderr = [(centred**k).std() / 1000 for k in (1, 2, 3, 4)]
    assert abs(centred.mean()) < 4 * stderr[0]
    assert abs((centred**2).mean() - second) < 4 * stderr[1]
    assert abs((centred**3).mean() - third) < 4 * stderr[2]
    assert abs((centred**4).mean() - 3 * second**2 - fourth) < 4 * stderr[3]


@pytest.mark.parametrize("factor", FACTORS, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize(("per", "entries"), [("weight", 12), ("filter", 3)])
def test_a_layer_adds_up_its_weights(factor, per, entries):
    layer = NoisyLinear(4, 3, factor=factor, per=per, alpha=0.1)
    assert layer.log_alpha.numel() == entries
    one = factor.information(torch.tensor([math.log(0.1)])).item()
    assert layer.information().item() == pytest.approx(12 * one, rel=1e-6)
    conv = NoisyConv2d(2, 3, 5, factor=factor, per=per, alpha=0.1)
    assert conv.log_alpha.shape == ((3, 2, 5, 5) if per == "weight" else (3, 1, 1, 1))
    assert conv.information().item() == pytest.approx(150 * one, rel=1e-5)


def test_the_loss_is_cross_entropy_plus_beta_times_information_a_sample():
    model = torch.nn.Sequential(NoisyLinear(4, 3, alpha=0.1), torch.nn.ReLU(), NoisyLinear(3, 2, alpha=0.5))
    logits, y = torch.randn(7, 2), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    loss = WeightBottleneck(model, beta=0.3, n=50)(logits, y)
    information = -0.5 * (12 * math.log(0.1) + 6 * math.log(0.5))
    assert loss.rate.item() == pytest.approx(information / 50)
    assert loss.prediction.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, y).item())
    assert loss.total.item() == pytest.approx(loss.prediction.item() + 0.3 * information / 50)


# properties


@pytest.mark.parametrize("factor", FACTORS, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("per", ["weight", "filter"])
def test_moments_are_those_of_drawn_weights(factor, per):
    drawn = NoisyConv2d(2, 3, 3, padding=1, factor=factor, per=per, alpha=0.3, local=False, dtype=torch.float64)
    drawn.log_alpha.data += 0.3 * torch.randn_like(drawn.log_alpha)
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        outputs = torch.stack([drawn(x) for _ in range(4000)])
        mean, variance = drawn.moments(x)
    z = (outputs.mean(0) - mean) / (outputs.std(0) / math.sqrt(4000))
    assert z.abs().max() < 4.5
    assert (outputs.var(0) / variance - 1).abs().max() < 0.2
    local = copy.deepcopy(drawn)
    local.local = True
    with torch.no_grad():
        outputs = torch.stack([local(x) for _ in range(4000)])
    assert ((outputs.mean(0) - mean) / (outputs.std(0) / math.sqrt(4000))).abs().max() < 4.5
    assert (outputs.var(0) / variance - 1).abs().max() < 0.12


def test_with_local_noise_samples_are_independent_and_with_drawn_weights_they_are_not():
    x = torch.ones(2, 4)
    for local in (True, False):
        layer = NoisyLinear(4, 3, alpha=0.5, local=local)
        first, second = layer(x)
        assert torch.equal(first, second) is not local


def test_noise_is_drawn_in_train_mode_and_when_asked_for():
    layer = NoisyLinear(4, 3, alpha=0.5)
    x = torch.randn(5, 4)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    plain = torch.nn.functional.linear(x, layer.weight, layer.bias)
    assert torch.equal(layer(x), plain)
    with stochastic(layer):
        assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer(x), plain)
    with pytest.raises(RuntimeError), stochastic(layer):
        layer(torch.randn(5, 3))
    assert torch.equal(layer(x), plain)


@pytest.mark.parametrize("factor", FACTORS, ids=lambda f: type(f).__name__)
def test_alpha_stops_at_the_end_of_its_range_and_comes_back(factor):
    beyond = torch.tensor([factor.highest + 1.0], requires_grad=True)
    assert within(beyond, factor).item() == pytest.approx(factor.highest)
    (out,) = torch.autograd.grad(-within(beyond, factor).sum(), beyond)
    assert out.item() == 0  # descent would go further out
    (back,) = torch.autograd.grad(within(beyond, factor).sum(), beyond)
    assert back.item() == 1
    inside = torch.tensor([-3.0], requires_grad=True)
    assert torch.autograd.grad(-within(inside, factor).sum(), inside)[0].item() == -1


def test_no_input_gives_no_noise_and_no_bad_gradient():
    layer = NoisyLinear(4, 3, alpha=0.5)
    out = layer(torch.zeros(2, 4))
    out.sum().backward()
    torch.testing.assert_close(out, layer.bias.expand(2, 3))
    assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters())


def test_conversion_keeps_means_modes_hooks_and_the_model_given():
    model = small_network().eval()
    seen = []
    model[4].register_forward_hook(lambda *_: seen.append(1))
    before = copy.deepcopy(model.state_dict())
    noisy = with_noisy_weights(model, per="weight", factor=GaussianFactor())
    x = torch.randn(3, 1, 4, 4)
    torch.testing.assert_close(noisy(x), model(x))
    assert len(seen) == 2
    assert not noisy[4].training
    assert {name: type(layer).__name__ for name, layer in noisy_layers(noisy).items()} == {
        "0": "NoisyConv2d",
        "4": "NoisyLinear",
    }
    assert type(model[0]) is torch.nn.Conv2d
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    alone = with_noisy_weights(torch.nn.Linear(2, 2))
    assert isinstance(alone, NoisyLinear)


def test_a_converted_model_can_be_saved_and_loaded(tmp_path):
    noisy = with_noisy_weights(small_network(), per="weight")
    noisy[4].log_alpha.data.normal_(-3)
    torch.save(noisy.state_dict(), tmp_path / "kept.pt")
    other = with_noisy_weights(small_network(), per="weight")
    other.load_state_dict(torch.load(tmp_path / "kept.pt"))
    assert torch.equal(information_in_weights(other), information_in_weights(noisy))


def test_layers_are_skipped_by_name_and_shared_ones_counted_once():
    noisy = with_noisy_weights(small_network(), skip=("0",))
    assert list(noisy_layers(noisy)) == ["4"]
    layer = torch.nn.Linear(3, 3)
    twice = with_noisy_weights(torch.nn.Sequential(layer, torch.nn.ReLU(), layer), alpha=0.1)
    assert twice[0] is twice[2]
    assert information_in_weights(twice).item() == pytest.approx(-4.5 * math.log(0.1), rel=1e-6)


# truth


def trained_on_random_labels(factor, beta):
    """Training error with noise, and nats a sample, of a linear layer on 40 samples of 4 classes."""
    x, y = torch.randn(40, 20), torch.randint(4, (40,))
    model = with_noisy_weights(torch.nn.Linear(20, 4), factor=factor, per="weight", alpha=0.02)
    objective = WeightBottleneck(model, beta=beta, n=40)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(600):
        loss = objective(model(x), y)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    errors = [(model(x).argmax(1) != y).double().mean().item() for _ in range(50)]
    return sum(errors) / 50, loss.rate.item()


@pytest.mark.parametrize(("beta", "memorizes"), [(0.03, True), (20.0, False)])
def test_random_labels_are_learned_only_where_information_is_cheap(beta, memorizes):
    error, rate = trained_on_random_labels(GaussianFactor(), beta)
    assert (error < 0.2) is memorizes
    assert (rate > math.log(4) / 2) is memorizes
    assert memorizes or error > 0.6


def test_log_normal_weights_memorize_a_part_at_no_price():
    error, rate = trained_on_random_labels(LogNormalFactor(), 20.0)
    assert rate == pytest.approx(0, abs=1e-6)
    assert error < 0.55


# refusals


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match=r"alpha=2.0 must be from .* to 1, the range of LogNormalFactor"):
        NoisyLinear(2, 2, alpha=2.0)
    with pytest.raises(ValueError, match=r"largest=0.* must be above 0 and at most e\^3"):
        LogNormalFactor(largest=0)
    with pytest.raises(ValueError, match=r"per=.unit. must be one of"):
        NoisyLinear(2, 2, per="unit")
    model = NoisyLinear(2, 2)
    with pytest.raises(ValueError, match=r"beta=-1 must be a finite number of at least 0"):
        WeightBottleneck(model, beta=-1, n=3)
    with pytest.raises(ValueError, match=r"n=0 must be an integer of at least 1"):
        WeightBottleneck(model, beta=1, n=0)


def test_models_without_weights_to_price_are_refused():
    with pytest.raises(ValueError, match=r"no noisy weights: make it with"):
        information_in_weights(small_network())
    with pytest.raises(ValueError, match=r"no linear layer or 2-d convolution is left to convert"):
        with_noisy_weights(torch.nn.ReLU())
    with pytest.raises(ValueError, match=r"no linear layer or 2-d convolution is left to convert"):
        with_noisy_weights(small_network(), skip=("*",))
    with pytest.raises(ValueError, match=r"skip=\['conv\*'\] fits no layer with weights; there are: 0, 4"):
        with_noisy_weights(small_network(), skip=("conv*",))
