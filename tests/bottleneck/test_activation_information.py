"""I(z;x) + TC(z) of noisy layers: the formula, the bounds, the samples, and total correlations."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from miest import Discriminator, Flag, MIResult, TotalCorrelation  # noqa: E402
from miest.bottleneck.activation_information import (  # noqa: E402
    alpha_of_information,
    information_in_activations,
    layer_information,
    multilayer_bound,
    unit_information,
)
from miest.bottleneck.factors import GaussianFactor  # noqa: E402
from miest.bottleneck.noisy_weights import NoisyConv2d, NoisyLinear  # noqa: E402
from miest.bottleneck.sampled_information import sampled_information_in_activations  # noqa: E402
from miest.bottleneck.total_correlation import (  # noqa: E402
    ChainedTotalCorrelation,
    GaussianTotalCorrelation,
    compare_total_correlations,
)


def layer(d, units=4, n=400, seed=0, mean=0.0):
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((d, d)) / math.sqrt(d) * 0.3 + np.eye(d)
    return rng.standard_normal((n, d)) @ mixing + mean, rng.standard_normal((units, d)) / math.sqrt(d)


# exact


@pytest.mark.parametrize("kind", ["log-normal", "gaussian"])
@pytest.mark.parametrize("alpha", [1e-4, 0.1, 1.0])
def test_the_formula_is_the_divergence_of_gaussians_with_these_moments(kind, alpha):
    x, w = layer(7, n=50, mean=0.5)
    spread = math.expm1(alpha) if kind == "log-normal" else alpha
    divergence = 0.0
    for row in w:
        mean, variance = x @ row, spread * (x**2 @ row**2)
        m, v = row @ x.mean(0), row @ np.cov(x.T, bias=True) @ row + spread * (row**2 @ (x**2).mean(0))
        divergence += np.mean(0.5 * (np.log(v / variance) + (variance + (mean - m) ** 2) / v - 1))
    result = information_in_activations(x, w, alpha, factor=GaussianFactor() if kind == "gaussian" else None)
    assert result.value == pytest.approx(divergence, abs=1e-10)
    assert sum(result.diagnostics.units) == pytest.approx(result.value, abs=1e-12)


def test_alpha_may_be_of_each_unit_or_weight():
    x, w = layer(5)
    one = information_in_activations(x, w, 0.3)
    assert information_in_activations(x, w, np.full(4, 0.3)).value == pytest.approx(one.value, abs=1e-12)
    assert information_in_activations(x, w, np.full((4, 5), 0.3)).value == pytest.approx(one.value, abs=1e-12)
    two = information_in_activations(x, w, [0.3, 0.3, 0.3, 0.6])
    np.testing.assert_allclose(two.diagnostics.units[:3], one.diagnostics.units[:3], atol=1e-12)
    assert two.diagnostics.units[3] < one.diagnostics.units[3]


def test_g_and_the_alpha_that_goes_with_an_information():
    assert unit_information(0.7) == pytest.approx(-0.5 * math.log(1 - math.exp(-0.7)), abs=1e-14)
    assert unit_information(0.7, factor=GaussianFactor()) == pytest.approx(0.5 * math.log(1 + 1 / 0.7))
    np.testing.assert_array_less(np.diff(unit_information(np.array([0.01, 0.1, 1.0, 3.0]))), 0)
    noisy = NoisyLinear(6, 5, alpha=0.2)
    assert alpha_of_information(noisy.information().item(), 30) == pytest.approx(0.2)


def test_the_bound_of_several_layers_is_that_of_the_narrowest():
    found = multilayer_bound([30, 10, 20], [0.5, 0.1, 1.0])
    assert found == pytest.approx(min(30 * (unit_information(0.5) + 1), 10 * (unit_information(0.1) + 1)))
    assert multilayer_bound([30, 10], [0.5, 0.1], slack=0) == pytest.approx(10 * unit_information(0.1))
    mixed = multilayer_bound([10], [[0.1, 0.4]], slack=0, factor=GaussianFactor())
    assert mixed == pytest.approx(5 * (0.5 * math.log(11) + 0.5 * math.log(3.5)))


def test_a_layer_gives_what_its_weights_do():
    x, w = layer(6)
    made = NoisyLinear(6, 4, alpha=0.3, dtype=torch.float64)
    made.weight.data = torch.from_numpy(w)
    formula = information_in_activations(x, w, 0.3)
    assert layer_information(made, x).value == pytest.approx(formula.value, abs=1e-10)
    assert layer_information(made, x).diagnostics.negentropy_given_x == 0
    made.local = False
    drawn = layer_information(made, x)
    assert drawn.diagnostics.negentropy_given_x == pytest.approx(formula.diagnostics.negentropy_given_x)
    assert drawn.diagnostics.negentropy == pytest.approx(formula.diagnostics.negentropy)


def test_a_convolution_is_a_linear_layer_of_its_patches():
    x = np.random.default_rng(0).standard_normal((60, 2, 4, 4))
    conv = NoisyConv2d(2, 3, 4, alpha=0.3, per="weight", dtype=torch.float64)
    conv.log_alpha.data += torch.linspace(-1, 1, 96, dtype=torch.float64).reshape(3, 2, 4, 4)
    alpha, w = conv.alpha.reshape(3, -1).numpy(), conv.weight.detach().reshape(3, -1).numpy()
    whole = information_in_activations(x.reshape(60, -1), w, alpha)
    assert layer_information(conv, torch.from_numpy(x)).value == pytest.approx(whole.value, abs=1e-10)
    padded = NoisyConv2d(2, 3, 3, padding=1, alpha=0.3)
    assert len(layer_information(padded, torch.from_numpy(x)).diagnostics.units) == 3 * 4 * 4


def test_the_cumulants_of_z_are_those_of_drawn_samples():
    x, w = layer(3, units=1, n=100)
    alpha = 0.04
    result = information_in_activations(x, w, alpha)
    rng = np.random.default_rng(1)
    eps = np.exp(math.sqrt(alpha) * rng.standard_normal((10000, 100, 3)) - alpha / 2)
    z = (eps * w[0] * x).sum(-1)
    within = z - z.mean(0)
    skew, excess = (within**3).mean(0) / within.var(0) ** 1.5, (within**4).mean(0) / within.var(0) ** 2 - 3
    assert result.diagnostics.negentropy_given_x == pytest.approx((skew**2 / 12 + excess**2 / 48).mean(), rel=0.1)
    z = z.reshape(-1) - z.mean()
    negentropy = ((z**3).mean() / z.std() ** 3) ** 2 / 12 + ((z**4).mean() / z.std() ** 4 - 3) ** 2 / 48
    assert result.diagnostics.negentropy == pytest.approx(negentropy, rel=0.1)


# properties


def test_units_of_inputs_and_weights_do_not_matter_and_noise_takes_information_away():
    x, w = layer(9)
    base = information_in_activations(x, w, 0.3).value
    assert information_in_activations(1000 * x, w, 0.3).value == pytest.approx(base, abs=1e-9)
    assert information_in_activations(x, -0.01 * w, 0.3).value == pytest.approx(base, abs=1e-9)
    assert information_in_activations(x, w, 0.6).value < base < information_in_activations(x, w, 0.1).value


def test_rows_may_come_in_parts(monkeypatch):
    x, w = layer(9)
    base = information_in_activations(x, w, 0.3).value
    monkeypatch.setattr("miest.bottleneck.activation_information._VALUES_AT_ONCE", 100)
    assert information_in_activations(x, w, 0.3).value == pytest.approx(base, abs=1e-11)


@pytest.mark.parametrize("alpha", [0.01, 0.3, 1.0])
def test_uncorrelated_inputs_of_mean_zero_keep_both_sides_of_the_uniform_bound(alpha):
    rng = np.random.default_rng(0)
    for d, slack in ((8, 1.0), (200, 2 / 200)):
        x, w = rng.standard_normal((1000, d)), rng.standard_normal((3, d))
        x = np.concatenate([x, -x]) @ np.linalg.inv(np.linalg.cholesky(x.T @ x / 1000).T)  # mean 0, covariance 1
        share = information_in_activations(x, w, alpha).value / 3
        assert unit_information(alpha) - 1e-9 <= share <= unit_information(alpha) + slack


def test_the_uniform_bound_needs_means_of_zero_and_no_correlation():
    rng = np.random.default_rng(0)
    w = np.abs(rng.standard_normal((1, 64)))
    offset = rng.standard_normal((2000, 64)) + 10
    assert information_in_activations(offset, w, 0.3).value < 0.1 * unit_information(0.3)
    together = rng.standard_normal((2000, 1)) + 0.1 * rng.standard_normal((2000, 64))
    assert information_in_activations(together, w, 0.3).value > unit_information(0.3) + 1


def test_samples_are_the_same_again_and_leave_the_stream_alone():
    x, w = layer(4, units=1)
    state = torch.get_rng_state()
    settings = {"repeats": 2, "rows": 3, "draws": 100}
    first, again = (sampled_information_in_activations(x, w, 0.3, seed=5, **settings) for _ in range(2))
    assert first.value == again.value
    assert first.value != sampled_information_in_activations(x, w, 0.3, seed=6, **settings).value
    assert torch.equal(torch.get_rng_state(), state)


# truth


def test_at_512_inputs_samples_agree_with_the_formula_within_five_percent():
    x, w = layer(512, units=3, n=1000)
    formula = information_in_activations(x, w, 0.3)
    sampled = sampled_information_in_activations(x, w, 0.3, repeats=6, rows=12, draws=600)
    assert formula.ok
    assert abs(sampled.value / formula.value - 1) < 0.05
    low, high = sampled.interval
    assert low - 0.01 * formula.value < formula.value < high + 0.01 * formula.value


def test_of_one_weight_the_formula_fails_and_says_so():
    rng = np.random.default_rng(0)
    x = np.exp(rng.standard_normal((3000, 1)))
    alpha = 0.5
    truth = 0.5 * math.log(1 + 1 / alpha)  # ln z = ln x + ln eps, both normal
    formula = information_in_activations(x, [[1.0]], alpha)
    sampled = sampled_information_in_activations(x, [[1.0]], alpha, repeats=6, rows=20, draws=1000)
    assert formula.flags == (Flag.SKEWED,)
    assert abs(formula.value / truth - 1) > 0.1
    assert sampled.value == pytest.approx(truth, abs=0.06)
    assert abs(sampled.value - truth) < 4 * sampled.diagnostics.stderr + 0.01


def gaussian(rho, n, d=3, seed=0):
    covariance = np.full((d, d), rho) + (1 - rho) * np.eye(d)
    z = np.random.default_rng(seed).multivariate_normal(np.zeros(d), covariance, n)
    return z, -0.5 * np.linalg.slogdet(covariance)[1]


def test_the_gaussian_total_correlation_is_unbiased():
    estimates = [GaussianTotalCorrelation().estimate(gaussian(0.5, 15, seed=s)[0]).value for s in range(400)]
    truth = gaussian(0.5, 15)[1]
    assert abs(np.mean(estimates) - truth) < 4 * np.std(estimates) / 20
    raw = [GaussianTotalCorrelation(correct_bias=False).estimate(gaussian(0.5, 15, seed=s)[0]) for s in range(400)]
    assert np.mean([r.value for r in raw]) > truth + 8 * np.std(estimates) / 20


def test_three_ways_to_a_total_correlation_agree():
    z, truth = gaussian(0.6, 2000)
    found = compare_total_correlations(z, seed=0)
    assert [name.partition("(")[0] for name in found] == [
        "GaussianTotalCorrelation",
        "ChainedTotalCorrelation",
        "TotalCorrelation",
    ]
    for result in found.values():
        assert isinstance(result, MIResult)
        assert result.value == pytest.approx(truth, abs=0.08)
    gaussian_value = next(iter(found.values())).value
    assert gaussian_value == pytest.approx(truth, abs=4 * math.sqrt(3 * 0.36 / 2000))


def test_columns_that_depend_other_than_linearly_need_another_estimator_than_the_gaussian():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 2000)
    z = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.1 * rng.standard_normal((2000, 2))
    found = [r.value for r in compare_total_correlations(z).values()]
    assert abs(found[0]) < 0.01
    assert found[2] > 0.5


@pytest.mark.slow
def test_a_critic_can_sum_up_the_terms():
    z, truth = gaussian(0.6, 2000)
    estimator = ChainedTotalCorrelation(estimator=Discriminator(steps=300, folds=2))
    assert estimator.estimate(z, seed=0).value == pytest.approx(truth, abs=0.08)


# refusals


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"weight": np.ones((2, 4))}, r"weight has shape \(2, 4\) and must be \(units, 3\)"),
        ({"weight": np.full((2, 3), np.nan)}, r"finite, for x of 3 columns"),
        ({"alpha": np.ones(3)}, r"alpha has shape \(3,\): pass one number, \(2,\) or \(2, 3\)"),
        ({"alpha": 0.0}, r"alpha must be positive and finite"),
    ],
)
@pytest.mark.parametrize("function", [information_in_activations, sampled_information_in_activations])
def test_arguments_that_do_not_fit_are_refused(function, changed, says):
    given = {"x": np.random.default_rng(0).standard_normal((5, 3)), "weight": np.ones((2, 3)), "alpha": 0.1}
    with pytest.raises(ValueError, match=says):
        function(**{**given, **changed})


def test_a_row_of_zeros_lets_everything_through_and_is_flagged():
    x, w = layer(3)
    x[0] = 0
    result = information_in_activations(x, w, 0.3)
    assert result.value == math.inf
    assert result.flags == (Flag.DETERMINISTIC,)
    still = information_in_activations(x, np.zeros((2, 3)), 0.3)
    assert (still.value, still.flags) == (0.0, (Flag.CONSTANT,))


def test_layers_and_bounds_refuse_what_they_cannot_use():
    with pytest.raises(TypeError, match=r"Linear has no noisy weights: use NoisyLinear, NoisyConv2d"):
        layer_information(torch.nn.Linear(2, 2), torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"x has 1 row"):
        layer_information(NoisyLinear(2, 2), torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"alpha=0 must be positive"):
        unit_information(0)
    with pytest.raises(ValueError, match=r"there are 2 sizes and 1 alphas"):
        multilayer_bound([2, 3], [0.1])
    with pytest.raises(ValueError, match=r"there are 0 sizes"):
        multilayer_bound([], [])


@pytest.mark.parametrize("estimator", [GaussianTotalCorrelation(), ChainedTotalCorrelation()], ids=lambda e: e.name)
def test_total_correlations_refuse_what_has_none(estimator):
    z, _ = gaussian(0.5, 30)
    with pytest.raises(ValueError, match=r"needs at least 2 columns that vary, x has 1"):
        estimator.estimate(z[:, 0])
    with pytest.raises(ValueError, match=r"takes one argument"):
        estimator.estimate(z, z)
    with pytest.raises(ValueError, match=r"cannot condition"):
        estimator.estimate(z, given=z)


def test_the_gaussian_total_correlation_says_what_it_cannot_see():
    z, _ = gaussian(0.5, 200)
    copied = GaussianTotalCorrelation().estimate(np.column_stack([z, z[:, 0] + z[:, 1]]))
    assert copied.value == math.inf
    assert copied.flags == (Flag.DETERMINISTIC,)
    assert GaussianTotalCorrelation().estimate(np.exp(2 * z)).flags == (Flag.SKEWED,)
    assert GaussianTotalCorrelation().estimate(z).ok
    with pytest.raises(ValueError, match=r"a covariance of 3 columns needs at least 5 samples, got 4"):
        GaussianTotalCorrelation().estimate(z[:4])
    assert TotalCorrelation().estimate(z).ok
