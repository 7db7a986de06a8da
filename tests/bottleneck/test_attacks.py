"""Attacks: on linear classifiers, whose robustness is known in closed form, and that they leave no trace."""

import numpy as np
import pytest
from scipy.stats import binomtest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from miest.bottleneck.attacks import fgsm, pgd, robustness  # noqa: E402
from miest.bottleneck.latents import AdditiveNoise  # noqa: E402
from miest.neural.preserved import seeded  # noqa: E402


def linear(weights):
    """Logits (-w.x, w.x) / 2: a row of label 1 is safe up to |w.x| / |w|_1."""
    model = nn.Linear(len(weights), 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.stack([-torch.tensor(weights), torch.tensor(weights)]) / 2)
    return model


WEIGHTS = [1.0, -2.0, 0.5]


@pytest.fixture
def rows():
    with seeded(0):
        x = 2 * torch.rand(400, 3) - 1
    return x, (x @ torch.tensor(WEIGHTS) > 0).long()


# exact


def test_one_step_goes_along_the_sign_of_the_weights(rows):
    x, y = rows
    moved = fgsm(linear(WEIGHTS), x, y, 0.1, bounds=(-9, 9))
    away = torch.where(y[:, None] == 1, -1.0, 1.0) * torch.tensor(WEIGHTS).sign()
    torch.testing.assert_close(moved, x + 0.1 * away)


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "both"])
def test_accuracy_of_a_linear_classifier_is_the_share_of_rows_beyond_the_margin(rows, attack):
    x, y = rows
    strengths = (0.0, 0.05, 0.1, 0.3)
    found = robustness(linear(WEIGHTS), x, y, strengths, attack=attack, bounds=(-9, 9))
    margin = (x @ torch.tensor(WEIGHTS)).abs() / sum(map(abs, WEIGHTS))
    assert found.accuracies == tuple(float((margin > s).double().mean()) for s in strengths)
    assert found.accuracies[0] == 1.0
    assert found.n == 400


def test_the_mean_is_the_area_under_the_curve(rows):
    x, y = rows
    found = robustness(linear(WEIGHTS), x, y, (0.0, 0.1, 0.4), bounds=(-9, 9))
    a, b, c = found.accuracies
    assert found.mean == pytest.approx((0.1 * (a + b) / 2 + 0.3 * (b + c) / 2) / 0.4)
    assert robustness(linear(WEIGHTS), x, y, (0.1,), bounds=(-9, 9)).mean == pytest.approx(b)


def test_intervals_are_those_of_binomial_counts(rows):
    x, y = rows
    found = robustness(linear(WEIGHTS), x, y, (0.0, 0.1, 3.0), bounds=(-9, 9))
    for accuracy, interval in zip(found.accuracies, found.intervals, strict=True):
        exact = binomtest(round(accuracy * 400), 400).proportion_ci(0.95, "exact")
        assert interval == pytest.approx((exact.low, exact.high))
    assert found.intervals[0][1] == 1.0
    assert found.intervals[-1][0] == 0.0


# properties


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_attacks_stay_in_the_ball_and_in_the_bounds(rows, attack):
    x, y = rows
    x = (x + 1) / 2
    moved = attack(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)), x, y, 0.2)
    assert float((moved - x).abs().max()) <= 0.2 + 1e-6
    assert 0 <= float(moved.min()) <= float(moved.max()) <= 1
    assert not moved.requires_grad


def test_the_loss_rises_and_more_steps_do_not_lower_it(rows):
    x, y = rows
    with seeded(0):
        model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        wide = {"bounds": (-2.0, 2.0)}
        attacked = [x, fgsm(model, x, y, 0.3, **wide), pgd(model, x, y, 0.3, **wide), pgd(model, x, y, 0.3, steps=1)]
        losses = [float(nn.functional.cross_entropy(model(each), y).detach()) for each in attacked]
    assert losses[0] < losses[1] <= losses[2] * 1.02
    assert losses[3] < losses[2]
    both = robustness(model, x, y, (0.1, 0.3), **wide)
    single = [robustness(model, x, y, (0.1, 0.3), attack=a, **wide) for a in ("fgsm", "pgd")]
    for at in range(2):
        assert both.accuracies[at] <= min(each.accuracies[at] for each in single) + 0.01
    assert both.accuracies[1] < both.accuracies[0]


def test_the_model_and_the_random_stream_are_as_they_were(rows):
    x, y = rows
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), linear(WEIGHTS))
    model[2].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first, again = (robustness(model, x, y, (0.0, 0.1), bounds=(-1, 1)) for _ in range(2))
    assert first == again
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == [True, True, False]
    assert all(p.grad is None for p in model.parameters())


def test_predictions_of_a_noisy_model_are_means_over_passes():
    model = nn.Sequential(AdditiveNoise(3.0), linear([1.0]))
    x, y = torch.ones(500, 1), torch.ones(500, dtype=torch.long)
    one, many = (robustness(model, x, y, (0.0,), passes=k).accuracies[0] for k in (1, 64))
    assert 0.55 < one < 0.7  # Phi(1/3)
    assert many > 0.9


# refusals


def test_refusals(rows):
    x, y = rows
    model = linear(WEIGHTS)
    for strengths in ((0.1, 0.0), (), (-0.1, 0.1), (0.0, float("inf"))):
        with pytest.raises(ValueError, match="must be ascending, finite and not negative"):
            robustness(model, x, y, strengths, bounds=(-1, 1))
    with pytest.raises(ValueError, match=r"x is between -0\.99.* beyond bounds=\(0\.0, 1\.0\)"):
        robustness(model, x, y)
    with pytest.raises(ValueError, match="400 rows and 3 labels"):
        robustness(model, x, y[:3])
    with pytest.raises(ValueError, match="attack='cw' must be one of"):
        robustness(model, x, y, attack="cw", bounds=(-1, 1))
    with pytest.raises(ValueError, match="steps=0 must be an integer"):
        robustness(model, x, y, steps=0, bounds=(-1, 1))


# workflow


def test_weights_of_many_small_features_are_less_robust(rows):
    """A classifier that leans on one large feature withstands more than one that adds up many small ones."""
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.integers(2, size=300))
    sign = (2 * y[:, None] - 1).float()
    x = torch.cat([sign, 0.05 * sign + 0.02 * torch.from_numpy(rng.normal(size=(300, 50))).float()], 1)
    large, small = linear([1.0] + [0.0] * 50), linear([0.0] + [1.0] * 50)
    found = [robustness(m, x, y, (0.0, 0.1), bounds=(-2, 2)) for m in (large, small)]
    assert [f.accuracies[0] for f in found] == [1.0, 1.0]
    assert found[0].accuracies[1] == 1.0
    assert found[1].accuracies[1] < 0.05
