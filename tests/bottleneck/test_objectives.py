"""Objectives: their rates against closed forms and Monte Carlo, what they return, that training on them compresses."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import miest
from miest.tasks.gaussian import gaussian_pairs

torch = pytest.importorskip("torch")

from torch.distributions import Normal, kl_divergence  # noqa: E402

from miest import bottleneck  # noqa: E402
from miest.bottleneck import rates  # noqa: E402
from miest.bottleneck.latents import AdditiveNoise, GaussianEncoder, Posterior, ZeroEntropyNoise  # noqa: E402
from miest.bottleneck.objectives import (  # noqa: E402
    DVIB,
    MINEIB,
    VCEB,
    ConditionalLogVariance,
    LogVariance,
    Loss,
    NonlinearIB,
    SecondMoment,
)
from miest.neural.preserved import seeded  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded():
    with seeded(0):
        yield


def batch(n=64, c=5, d=3):
    """Logits, labels, latents and inputs of a batch."""
    return torch.randn(n, c), torch.randint(c, (n,)), torch.randn(n, d), torch.randn(n, 4)


def latent_of(objective, z):
    return Posterior(z, z.abs() + 0.1) if isinstance(objective, (DVIB, VCEB)) else z


OBJECTIVES = [
    lambda gamma: SecondMoment(gamma),
    lambda gamma: LogVariance(gamma),
    lambda gamma: ConditionalLogVariance(gamma),
    lambda gamma: DVIB(gamma),
    lambda gamma: VCEB(gamma, 5, 3),
    lambda gamma: NonlinearIB(gamma, ZeroEntropyNoise()),
    lambda gamma: MINEIB.of(gamma, 4, 3, hidden=(16,), negatives=4, learning_rate=5e-3),
]


# exact


@pytest.mark.parametrize("made", OBJECTIVES)
@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_the_total_is_the_prediction_plus_gamma_times_the_rate(made, gamma):
    objective = made(gamma)
    logits, y, z, x = batch()
    loss = objective(logits, y, latent_of(objective, z), x)
    assert isinstance(loss, Loss)
    assert [part.shape for part in loss] == [()] * 3
    assert torch.allclose(loss.prediction, torch.nn.functional.cross_entropy(logits, y))
    assert torch.allclose(loss.total, loss.prediction + gamma * loss.rate)
    assert torch.isfinite(loss.total)


def test_surrogates_by_hand():
    z = torch.tensor([[0.0, 3.0], [2.0, 3.0], [4.0, 9.0], [4.0, 11.0]])
    y = torch.tensor([7, 7, 1, 1])
    assert rates.second_moment(z) == pytest.approx((9 + 13 + 97 + 137) / 4)
    log = lambda *variances: sum(0.5 * math.log(2 * math.pi * math.e * v) for v in variances)  # noqa: E731
    assert rates.log_variance(z) == pytest.approx(log(2.75, 12.75))
    z[0, 1], z[2, 0] = 1.0, 6.0  # within labels: variances 1, 1 and 1, 1
    assert rates.conditional_log_variance(z, y) == pytest.approx(log(1, 1))


def test_labels_that_occur_once_are_left_out():
    z = torch.tensor([[0.0], [2.0], [4.0], [0.0], [0.0], [6.0], [9.0]])
    y = torch.tensor([0, 0, 5, 1, 1, 1, 8])
    expected = 0.5 * math.log(2 * math.pi * math.e) + (2 * 0 + 3 * 0.5 * math.log(8)) / 5
    assert rates.conditional_log_variance(z, y) == pytest.approx(expected)


def test_a_large_offset_does_not_cost_the_digits_of_the_variance():
    z, y = torch.randn(200, 2), torch.randint(3, (200,))
    for rate in (rates.log_variance, lambda t: rates.conditional_log_variance(t, y)):
        assert rate(z + 1000) == pytest.approx(float(rate(z)), abs=1e-3)


def test_rates_of_gaussian_posteriors_are_the_divergences_of_torch():
    mean, std = torch.randn(50, 4), torch.rand(50, 4) + 0.05
    other, spread = torch.randn(50, 4), torch.rand(50, 4) + 0.05
    exact = kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum(1).mean()
    assert rates.kl_to_standard(Posterior(mean, std)) == pytest.approx(float(exact), rel=1e-5)
    exact = kl_divergence(Normal(mean, std), Normal(other, spread)).sum(1).mean()
    assert rates.kl_between(Posterior(mean, std), Posterior(other, spread)) == pytest.approx(float(exact), rel=1e-5)


def test_the_rate_of_vceb_is_the_mean_log_ratio_of_draws():
    objective, y = VCEB(1.0, 3, 2), torch.randint(3, (40,))
    posterior = Posterior(torch.randn(40, 2), torch.rand(40, 2) + 0.2)
    z = posterior.sample(20_000)
    prior = Posterior(*(part.detach() for part in objective.backward_encoder(y)))
    terms = (Normal(*posterior).log_prob(z) - Normal(*prior).log_prob(z)).sum(-1).mean(1)
    error = float(terms.std() / math.sqrt(len(terms)))
    assert float(objective.rate(y, posterior).detach()) == pytest.approx(float(terms.mean()), abs=4 * error)


def test_the_pairwise_rate_is_that_of_the_estimator():
    t = torch.randn(80, 3, dtype=torch.float64)
    for std in (0.2, 1.0):
        estimate = miest.KDE(noise_var=std**2, bound="upper").estimate(t.numpy())
        assert float(rates.pairwise_rate(t, std)) == pytest.approx(estimate.value, abs=1e-12)


def test_noise_of_zero_entropy():
    layer = ZeroEntropyNoise()
    assert float(layer.std) ** 2 == pytest.approx(1 / (2 * math.pi * math.e))
    assert layer.entropy(7) == 0.0
    assert layer.model == miest.ZeroEntropyNoise()
    assert AdditiveNoise(0.5).model == miest.GaussianNoise(std=0.5)
    y, z = np.arange(60) % 3, np.random.default_rng(0).normal(size=60)
    told, same = (bottleneck.quantities(y, z, noise=noise) for noise in (layer, layer.model))
    assert {name: result.value for name, result in told.items()} == {name: r.value for name, r in same.items()}
    assert AdditiveNoise(float(layer.std)).entropy(7) == pytest.approx(0.0, abs=1e-5)
    t = torch.zeros(200_000)
    for part in (layer.train(), layer.eval()):
        assert float(part(t).std()) == pytest.approx(float(layer.std), rel=0.01)


def test_the_encoder_of_alemi_starts_with_little_spread():
    network = torch.nn.Linear(6, 8)
    mean, std = GaussianEncoder(network)(torch.zeros(3, 6))
    assert mean.shape == std.shape == (3, 4)
    assert torch.allclose(std[0], torch.nn.functional.softplus(network.bias[4:] - 5))


def test_several_passes_are_averaged_as_told():
    logits, y, z, _ = batch()
    passes = torch.stack([logits, -logits, 2 * logits])
    decoder, prediction = (SecondMoment(0.0, kind=kind)(passes, y, z).total for kind in ("decoder", "prediction"))
    each = [torch.nn.functional.cross_entropy(part, y) for part in passes]
    assert torch.allclose(decoder, torch.stack(each).mean())
    mean = passes.softmax(-1).mean(0)[torch.arange(64), y]
    assert torch.allclose(prediction, -mean.log().mean())


# properties


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.1, 10), d=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_change_of_units_shifts_entropies_by_its_logarithm(scale, d, seed):
    with seeded(seed):
        z, y = torch.randn(60, d, dtype=torch.float64), torch.randint(3, (60,))
    shift = d * math.log(scale)
    assert float(rates.log_variance(scale * z) - rates.log_variance(z)) == pytest.approx(shift, abs=1e-9)
    within = [rates.conditional_log_variance(t, y) for t in (scale * z, z)]
    assert float(within[0] - within[1]) == pytest.approx(shift, abs=1e-9)
    # What is constant within a label cannot be larger than the whole, and the moment bounds both.
    bound = rates.entropy_of_moment(rates.second_moment(z), d)
    assert within[1] <= rates.log_variance(z) + 1e-9 <= bound + 2e-9


@pytest.mark.parametrize("made", OBJECTIVES)
def test_gradients_reach_the_latent_and_are_finite(made):
    objective = made(1.0)
    _, y, z, x = batch(32)
    z[3] = z[4]  # two rows at the same place
    z.requires_grad_(True)
    objective.rate(y, latent_of(objective, z), x).backward()
    assert torch.isfinite(z.grad).all()
    assert z.grad.abs().max() > 0


def test_the_step_of_the_network_leaves_the_critic_alone():
    objective = MINEIB.of(1.0, 4, 3, hidden=(8,))
    logits, y, z, x = batch()
    before = [p.clone() for p in objective.critic.parameters()]
    z.requires_grad_(True)
    objective(logits, y, z, x).total.backward()
    assert all(p.grad is None for p in objective.critic.parameters())
    objective.train_critic(x, z)
    assert any((p != old).any() for p, old in zip(objective.critic.parameters(), before, strict=True))
    assert not any(p.requires_grad for p in objective.critic.parameters())


def test_learned_noise_is_trained_through_the_rate():
    noise = AdditiveNoise(0.5, learned=True)
    _, y, z, _ = batch()
    NonlinearIB(1.0, noise).rate(y, z).backward()
    assert noise.log_std.grad < 0  # more noise, less rate
    assert ZeroEntropyNoise().log_std.requires_grad is False


# truth


@pytest.mark.parametrize("d", [1, 3])
def test_log_variance_is_the_entropy_of_gaussians_behind_the_noise_and_bounds_that_of_others(d):
    n, layer = 20_000, ZeroEntropyNoise()
    t = torch.randn(n, d, dtype=torch.float64) * torch.arange(1, d + 1)
    truth = 0.5 * sum(math.log(2 * math.pi * math.e * i**2 + 1) for i in range(1, d + 1))
    assert float(rates.log_variance(layer(t))) == pytest.approx(truth, abs=4 * math.sqrt(d / 2 / n))
    two = torch.randint(2, (n, d)).double() * 4  # two points far apart: H = ln 2 a coordinate
    bound = float(rates.log_variance(layer(two)))
    channel = miest.GaussianChannel(noise=miest.ZeroEntropyNoise()).estimate(two[:1000].numpy())
    assert channel.value == pytest.approx(d * math.log(2), abs=0.02)
    assert bound > d * math.log(2) + 0.5
    labels = (two[:, 0] > 0).long()
    given = float(rates.conditional_log_variance(layer(two), labels))
    assert given == pytest.approx(bound / d * (d - 1), abs=0.05)  # the first coordinate is noise alone: entropy 0


def test_dvib_with_fixed_noise_is_the_second_moment_with_half_its_weight():
    """001, F.3: KL = (E|Z|^2 - d - ln(2 pi e) d + ln(2 pi) d) / 2 + ..., equal in its gradient in the mean."""
    layer = ZeroEntropyNoise()
    mean = torch.randn(4000, 3, dtype=torch.float64).requires_grad_(True)
    (kl,) = torch.autograd.grad(rates.kl_to_standard(Posterior(mean, layer.std.double().expand(4000, 3))), mean)
    (moment,) = torch.autograd.grad(rates.second_moment(mean + 0 * layer(mean.detach())), mean)
    assert torch.allclose(kl, moment / 2)


def test_a_trained_critic_sees_the_information_in_the_latent():
    task = gaussian_pairs([0.8, 0.8])
    x, z = (torch.as_tensor(a, dtype=torch.float32) for a in task.sample(4000, 0))
    objective = MINEIB.of(1.0, 2, 2, hidden=(32, 32), negatives=8, learning_rate=3e-3)
    for step in range(300):
        rows = slice(step * 250 % 3000, step * 250 % 3000 + 250)
        objective.train_critic(x[rows], z[rows])
    rate = float(objective.rate(torch.zeros(1000), z[3000:], x[3000:]).detach())
    assert 0.7 * task.mi < rate < 1.15 * task.mi


@pytest.mark.parametrize("made", OBJECTIVES)
def test_a_larger_gamma_compresses_more(made):
    """A decoder of two classes on a latent of its own inputs: the rate falls when it is paid for."""
    x = torch.randn(200, 4)
    y = (x[:, 0] > 0).long()
    found = []
    for gamma in (0.0, 1.0):
        with seeded(1):
            objective = made(gamma)
            posterior = isinstance(objective, (DVIB, VCEB))
            network = torch.nn.Linear(4, 6 if posterior else 3)
            encoder = GaussianEncoder(network, shift=0.0) if posterior else network
            decoder, noise = torch.nn.Linear(3, 5), ZeroEntropyNoise()
            trained = [*encoder.parameters(), *decoder.parameters(), *objective.parameters()]
            optimizer = torch.optim.Adam([p for p in trained if p.requires_grad], lr=0.02)
            for _ in range(120):
                t = encoder(x)
                z = t.sample() if posterior else noise(t)
                given = t if posterior or isinstance(objective, NonlinearIB) else z
                if isinstance(objective, MINEIB):
                    objective.train_critic(x, z, 4)
                optimizer.zero_grad()
                loss = objective(decoder(z), y, given, x)
                loss.total.backward()
                optimizer.step()
        found.append(float(loss.rate.detach()))
    assert found[1] < found[0] - 0.05


# refusals


@pytest.mark.parametrize("gamma", [-0.1, math.nan, math.inf, True])
def test_weights_that_make_no_sense(gamma):
    with pytest.raises(ValueError, match="gamma="):
        LogVariance(gamma)


def test_refusals():
    logits, y, z, _ = batch()
    with pytest.raises(ValueError, match="kind='mean' must be one of 'decoder', 'prediction'"):
        DVIB(1.0, kind="mean")
    with pytest.raises(ValueError, match="1 row has no variance"):
        LogVariance(1.0).rate(y[:1], z[:1])
    with pytest.raises(ValueError, match="none of 3 labels occurs twice among 3 rows"):
        ConditionalLogVariance(1.0).rate(torch.arange(3), z[:3])
    with pytest.raises(ValueError, match="pass one label for each row"):
        ConditionalLogVariance(1.0).rate(y[:5], z)
    with pytest.raises(ValueError, match="needs the input x"):
        MINEIB.of(1.0, 4, 3)(logits, y, z)
    with pytest.raises(ValueError, match="1 row has no marginal pair"):
        MINEIB.of(1.0, 4, 3).rate(y[:1], z[:1], z[:1])
    with pytest.raises(ValueError, match="std=0 must be a positive finite number"):
        AdditiveNoise(0)


# workflow


@pytest.mark.parametrize("made", OBJECTIVES)
def test_objectives_can_be_saved(made, tmp_path):
    objective, again = made(0.1), made(0.1)
    torch.save(objective.state_dict(), tmp_path / "objective.pt")
    again.load_state_dict(torch.load(tmp_path / "objective.pt"))
    _, y, z, x = batch()
    with seeded(3):
        first = objective.rate(y, latent_of(objective, z), x)
    with seeded(3):
        assert torch.equal(again.rate(y, latent_of(objective, z), x), first)
    assert "gamma=0.1" in repr(objective)
    assert np.isfinite(float(first.detach()))
