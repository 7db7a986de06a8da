"""LinearProbe: exact cases, properties, known conditional entropies, refusals and flags."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

import miest
from miest.estimators.linear_probe import LinearProbe
from miest.result import Flag, MIResult


def two_gaussians(n, mean, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return (2 * y - 1) * mean + rng.standard_normal(n), y


def conditional_entropy(mean):
    """H(Y|T) of two equally probable Gaussians at -mean and mean."""

    def integrand(t):
        weights = np.array([norm.pdf(t - mean), norm.pdf(t + mean)]) / 2
        p = weights / weights.sum()
        return -weights.sum() * float((p[p > 0] * np.log(p[p > 0])).sum())

    return quad(integrand, -12, 12)[0]


# Exact


def test_labels_that_can_be_read_off_leave_nothing():
    y = np.repeat([0, 1, 2], 40)
    result = LinearProbe().estimate(np.eye(3)[y] * 20, y)
    assert 0 < result.value < 0.01
    assert result.diagnostics.accuracy == 1.0
    assert result.quantity == "H(Y|T)"
    assert result.kind == "upper bound"
    assert not result.flags


def test_the_report_is_of_the_same_samples():
    t, y = two_gaussians(200, 1.0, 0)
    result = LinearProbe().estimate(t, y)
    assert result.diagnostics.h_y == pytest.approx(miest.PlugIn(correction=None).estimate(y).value)
    assert result.diagnostics.information == result.diagnostics.h_y - result.value
    low, high = result.interval
    assert (low + high) / 2 == pytest.approx(result.value)
    assert LinearProbe(level=None).estimate(t, y).interval is None


# Properties


def test_the_seed_fixes_it_and_matters():
    t, y = two_gaussians(200, 1.0, 0)
    assert LinearProbe().estimate(t, y, seed=1).value == LinearProbe().estimate(t, y, seed=1).value
    assert LinearProbe().estimate(t, y).value == LinearProbe().estimate(t, y, seed=0).value
    assert LinearProbe().estimate(t, y, seed=1).value != LinearProbe().estimate(t, y, seed=2).value


def test_scale_shift_names_and_constant_columns_do_not_matter():
    t, y = two_gaussians(300, 1.0, 1)
    value = LinearProbe().estimate(t, y).value
    padded = np.column_stack([t * 1e6 + 3e6, np.full(300, 7.0)])
    assert LinearProbe().estimate(padded, y).value == pytest.approx(value, rel=1e-4)
    assert LinearProbe().estimate(t, np.array(["a", "b"])[y]).value == value
    frozen = t.copy()
    frozen.setflags(write=False)
    assert LinearProbe().estimate(frozen, y).value == value


def test_results_travel():
    t, y = two_gaussians(100, 1.0, 2)
    result = LinearProbe(folds=4, strength=0.1).estimate(t, y)
    assert str(result.estimator) == "LinearProbe(folds=4, strength=0.1)"
    again = MIResult.from_json(result.to_json())
    assert (again.value, again.diagnostics) == (result.value, result.diagnostics)


# Truth


@pytest.mark.parametrize("mean", [0.5, 1.0, 2.0])
def test_two_gaussians_are_read_optimally(mean):
    results = [LinearProbe().estimate(*two_gaussians(1000, mean, seed), seed=seed) for seed in range(8)]
    values = np.array([result.value for result in results])
    error = values.std(ddof=1) / math.sqrt(8)
    assert abs(values.mean() - conditional_entropy(mean)) < 4 * error
    covered = sum(r.interval[0] < conditional_entropy(mean) < r.interval[1] for r in results)
    assert covered >= 6


def test_independent_labels_keep_their_entropy():
    rng = np.random.default_rng(0)
    t, y = rng.standard_normal((1000, 20)), rng.integers(0, 4, 1000)
    result = LinearProbe().estimate(t, y)
    assert abs(result.value - math.log(4)) < 0.01  # held out: what was learned of noise does not count


def test_what_is_not_linear_is_not_seen():
    rng = np.random.default_rng(0)
    t = rng.standard_normal((1000, 2))
    y = (t[:, 0] * t[:, 1] > 0).astype(int)
    assert LinearProbe().estimate(t, y).value > 0.68
    assert LinearProbe().estimate(np.prod(t, axis=1), y).value < 0.1


def test_more_columns_than_samples():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    t = rng.standard_normal((60, 300)).astype(np.float32)
    t[:, 0] += 6 * y
    assert LinearProbe().estimate(t, y).value < math.log(2) + 0.1


# Refusals and flags


def test_flags():
    t, y = two_gaussians(100, 1.0, 0)
    assert LinearProbe().estimate(t, y).flags == ()
    constant = LinearProbe().estimate(t, np.zeros(100, int))
    assert constant.flags == (Flag.CONSTANT,)
    assert constant.value == 0.0
    rare = y.copy()
    rare[:3] = 7
    flagged = LinearProbe().estimate(t, rare)
    assert flagged.flags == (Flag.SMALL_SAMPLE,)
    assert "1 of the 3 labels have fewer than 10 samples" in flagged.notes[0]
    single = y.copy()
    single[0] = 7
    assert math.isfinite(LinearProbe().estimate(t, single).value)  # never seen by the classifier that judges it
    assert LinearProbe().estimate(np.zeros(100), y).value == pytest.approx(math.log(2), abs=0.05)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: LinearProbe(folds=1), "folds=1 must be an integer of at least 2"),
        (lambda: LinearProbe(strength=0), "strength=0 must be a positive number"),
        (lambda: LinearProbe(level=2), "level=2 must be between 0 and 1"),
        (lambda: LinearProbe().estimate(np.zeros(20)), "LinearProbe needs y, the labels"),
        (lambda: LinearProbe().estimate(np.zeros(20), np.zeros(20)), "continuous values.*miest.discrete"),
        (lambda: LinearProbe().estimate(np.zeros(9), np.zeros(9, int)), "folds=5 needs at least 10 samples, got 9"),
        (lambda: LinearProbe().estimate(np.zeros(20), np.zeros(20, int), given=np.zeros(20)), "cannot condition"),
    ],
)
def test_refusals(make, says):
    with pytest.raises(ValueError, match=says):
        make()
