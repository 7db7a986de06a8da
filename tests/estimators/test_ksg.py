"""KSG, conditional KSG and total correlation.

exact       hand-worked counts, the ceiling, agreement with a plain re-derivation
properties  symmetry, permutation, shift and scale, dtype, backend
truth       correlated Gaussians within four standard errors; the known bias in 32 dimensions
refusals    every raise and every flag, and silence on good data
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma

import miest
from miest import KSG, Flag, TotalCorrelation
from miest.estimators import ksg


def gaussian(n: int, rho: float, d: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, rho * x + np.sqrt(1 - rho**2) * rng.standard_normal((n, d))


def information(rho: float, d: int = 1) -> float:
    return -0.5 * d * float(np.log(1 - rho**2))


def test_counts_by_hand() -> None:
    # Joint max-norm neighbours at k = 1: radii 1, 1, 2, 3 from the points (0,0) (1,1) (3,2) (6,3).
    x, y = np.array([0.0, 1, 3, 6]), np.array([0.0, 1, 2, 3])
    n_x, n_y = np.array([0, 0, 0, 0]), np.array([0, 0, 2, 2])
    expected = digamma(1) + digamma(4) - np.mean(digamma(n_x + 1) + digamma(n_y + 1))
    assert KSG(k=1, standardize=False).estimate(x, y).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_both_variants_against_a_plain_derivation(k: int) -> None:
    x, y = gaussian(200, 0.7, d=2)
    dx = np.abs(x[:, None] - x[None]).max(axis=-1)
    dy = np.abs(y[:, None] - y[None]).max(axis=-1)
    for d in (dx, dy):
        np.fill_diagonal(d, np.inf)
    order = np.argsort(np.maximum(dx, dy), axis=1)[:, :k]
    radius = np.sort(np.maximum(dx, dy), axis=1)[:, [k - 1]]
    first = digamma(k) + digamma(200) - np.mean(digamma((dx < radius).sum(1) + 1) + digamma((dy < radius).sum(1) + 1))
    reach = [np.take_along_axis(d, order, axis=1).max(axis=1, keepdims=True) for d in (dx, dy)]
    second = digamma(k) - 1 / k + digamma(200)
    second -= np.mean(digamma((dx <= reach[0]).sum(1)) + digamma((dy <= reach[1]).sum(1)))
    assert KSG(k=k, standardize=False).estimate(x, y).value == pytest.approx(first, abs=1e-12)
    assert KSG(k=k, variant=2, standardize=False).estimate(x, y).value == pytest.approx(second, abs=1e-12)


def test_conditional_against_a_plain_derivation() -> None:
    x, y = gaussian(150, 0.7)
    z = np.random.default_rng(5).standard_normal((150, 2)) + x
    far = [np.abs(v[:, None] - v[None]).max(axis=-1) for v in (x, y, z)]
    for d in far:
        np.fill_diagonal(d, np.inf)
    dx, dy, dz = far
    radius = np.sort(np.maximum.reduce(far), axis=1)[:, [2]]
    n_xz, n_yz, n_z = ((d < radius).sum(axis=1) for d in (np.maximum(dx, dz), np.maximum(dy, dz), dz))
    expected = digamma(3) - np.mean(digamma(n_xz + 1) + digamma(n_yz + 1) - digamma(n_z + 1))
    result = KSG(standardize=False).estimate(x, y, given=z)
    assert result.value == pytest.approx(expected, abs=1e-12)
    assert result.quantity == "I(X;Y|Z)"


@pytest.mark.parametrize("k", [1, 3, 10])
def test_ceiling_is_reached_and_flagged(k: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(2_000)
    nearly = KSG(k=k).estimate(x, x + 1e-12 * rng.standard_normal(2_000))
    assert nearly.value == pytest.approx(digamma(2_000) - digamma(k + 1), abs=1e-6)
    assert nearly.ceiling == pytest.approx(digamma(2_000) - digamma(k + 1), abs=1e-6)
    same = KSG(k=k).estimate(x, x)
    assert same.value == pytest.approx(digamma(2_000) - digamma(k), abs=1e-9)
    assert same.ceiling == pytest.approx(same.value, abs=1e-9)
    assert Flag.SATURATED in nearly.flags
    assert Flag.SATURATED in same.flags
    second = KSG(k=k, variant=2).estimate(x, x)
    assert second.value == pytest.approx(digamma(2_000) - digamma(k) - 1 / k, abs=1e-9)
    assert second.value == pytest.approx(second.ceiling, abs=1e-9)


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("d", [1, 3])
def test_symmetric_to_the_last_bit(variant: int, d: int) -> None:
    x, y = gaussian(500, 0.6, d=d)
    ksg = KSG(variant=variant)
    assert ksg.estimate(x, y).value == ksg.estimate(y, x).value
    if variant == 1:
        assert ksg.estimate(x, y, given=x + y).value == ksg.estimate(y, x, given=x + y).value


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    scale=st.sampled_from([1e-6, 0.37, 1e6]),
    shift=st.sampled_from([-1e6, 0.0, 1e6]),
)
def test_shift_scale_and_order_of_samples_change_nothing_but_rounding(seed: int, scale: float, shift: float) -> None:
    x, y = gaussian(200, 0.6, seed=seed)
    base = KSG().estimate(x, y).value
    assert KSG().estimate(x * scale + shift * scale, y).value == pytest.approx(base, abs=1e-6)
    order = np.random.default_rng(seed).permutation(200)
    assert KSG().estimate(x[order], y[order]).value == pytest.approx(base, abs=1e-9)
    assert KSG().estimate(x.astype(np.float32), y.astype(np.float32)).value == pytest.approx(base, abs=1e-2)


def test_integers_equal_their_float_view_and_are_flagged() -> None:
    x, y = gaussian(500, 0.6)
    whole = np.round(x * 1e6).astype(np.int64)
    as_integers, as_floats = KSG().estimate(whole, y), KSG().estimate(whole.astype(float), y)
    assert as_integers.value == as_floats.value
    assert Flag.DISCRETE in as_integers.flags
    assert as_floats.ok


@pytest.mark.parametrize("dims", [(1, 1), (1, 2), (6, 6)])
def test_backends_agree(dims: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((300, dims[0])), rng.standard_normal((300, dims[1]))
    values = {KSG(neighbours=name).estimate(x, y).value for name in ("reference", "kdtree", "cpu", "auto")}
    assert len(values) == 1


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.9])
def test_correlated_gaussians(variant: int, rho: float) -> None:
    values = [KSG(variant=variant).estimate(*gaussian(2_000, rho, seed=seed)).value for seed in range(20)]
    # At this n the bias (0.005) is below the scatter of a single value (0.025), above nothing.
    error = np.mean(values) - information(rho)
    assert abs(error) < 4 * np.std(values, ddof=1) / np.sqrt(20) + 0.006
    if rho == 0:
        assert min(values) < 0


def test_conditional_gaussians() -> None:
    values = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        z = rng.standard_normal(1_000)
        x, y = z + rng.standard_normal(1_000), z + rng.standard_normal(1_000)
        values.append(KSG(k=5).estimate(x, y, given=z).value)
    assert abs(np.mean(values)) < 4 * np.std(values, ddof=1) / np.sqrt(20) + 0.005


def test_known_bias_in_many_dimensions_is_flagged() -> None:
    result = KSG(k=5).estimate(*gaussian(5_000, 0.5, d=16))
    assert 0.60 < result.value < 0.76  # the truth is 2.30
    assert Flag.HIGH_DIMENSION in result.flags
    assert "32 joint dimensions" in " ".join(result.notes)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("d", "n"), [(1, 200), (1, 5_000), (2, 3_000)])
def test_good_data_raise_no_flag(rho: float, d: int, n: int) -> None:
    result = KSG().estimate(*gaussian(n, rho, d=d, seed=2))
    assert result.flags == ()
    assert result.notes == ()


def test_a_low_dimensional_layer_in_many_columns_is_no_high_dimension() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((3_000, 1))
    layer = np.tanh(hidden @ rng.standard_normal((1, 50)))
    y = hidden[:, 0] + rng.standard_normal(3_000)
    result = KSG().estimate(layer, y)
    assert Flag.HIGH_DIMENSION not in result.flags
    assert result.value == pytest.approx(0.5 * np.log(2), abs=0.08)


def test_ties_are_flagged_and_finite_and_never_jittered() -> None:
    x, y = gaussian(1_000, 0.8)
    x = np.maximum(x, np.quantile(x, 0.3))
    result = KSG().estimate(x, y)
    assert Flag.TIES in result.flags
    assert np.isfinite(result.value)
    assert result.value == KSG().estimate(x, y, seed=7).value
    assert "30% of the samples of x" in " ".join(result.notes)
    repeated = KSG().estimate(np.repeat(x, 5, axis=0), np.repeat(y, 5, axis=0))
    assert np.isfinite(repeated.value)
    assert repeated.value <= repeated.ceiling


def test_copies_in_the_joint_space_are_flagged_though_few() -> None:
    x, y = gaussian(5_000, 0.0)
    dead = np.random.default_rng(1).random((5_000, 1)) < 0.04
    x, y = np.where(dead, 0, x), np.where(dead, 0, y)
    assert Flag.TIES in KSG().estimate(x, y).flags  # 0.4 nats where 0.17 are true


@pytest.mark.parametrize("noise", [1e-6, 1e-2])
def test_copies_with_a_little_noise_are_flagged(noise: float) -> None:
    x, y = gaussian(300, 0.8)
    rng = np.random.default_rng(1)
    x, y = (np.repeat(v, 3, axis=0) + noise * rng.standard_normal((900, 1)) for v in (x, y))
    assert Flag.DUPLICATES in KSG().estimate(x, y).flags
    assert Flag.DUPLICATES not in KSG(checks=False).estimate(x, y).flags


def test_uneven_margins_are_flagged() -> None:
    x, y = gaussian(800, 0.8)
    assert Flag.SKEWED in KSG().estimate(np.exp(5 * x), np.exp(5 * y)).flags
    x[0] = 1e12  # one outlier is enough
    assert Flag.SKEWED in KSG().estimate(x, y).flags


def test_a_noiseless_layer_is_flagged() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2_000, 2))
    layer = np.tanh(x @ rng.standard_normal((2, 3)))
    assert Flag.DETERMINISTIC in KSG().estimate(x, layer).flags
    assert Flag.DETERMINISTIC not in KSG().estimate(x, layer + 0.3 * rng.standard_normal((2_000, 3))).flags


def test_constant_argument_is_zero_and_flagged() -> None:
    y = np.random.default_rng(0).standard_normal(100)
    result = KSG().estimate(np.full(100, 3.0), y)
    assert result.value == 0
    assert result.flags == (Flag.CONSTANT,)
    assert "x has the same value" in result.notes[0]


def test_dead_columns_change_nothing() -> None:
    x, y = gaussian(300, 0.6, d=2)
    padded = np.column_stack([x, np.full(300, 0.1), np.zeros(300)])
    assert KSG().estimate(padded, y).value == KSG().estimate(x, y).value


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k=0 must be an integer of at least 1"),
        ({"k": 2.5}, r"k=2.5 must be an integer"),
        ({"k": True}, "k=True"),
        ({"variant": 3}, "variant=3 must be one of 1, 2"),
    ],
)
def test_bad_settings_raise(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KSG(**settings)  # type: ignore[arg-type]


def test_bad_calls_raise() -> None:
    x, y = gaussian(10, 0.5)
    with pytest.raises(ValueError, match=r"infinite, or ln n .* KDE\(noise_var=...\)"):
        KSG().estimate(x)
    with pytest.raises(ValueError, match="k=10 needs at least 11 samples, got 10"):
        KSG(k=10).estimate(x, y)
    with pytest.raises(ValueError, match=r"variant=2.* has no conditional form"):
        KSG(variant=2).estimate(x, y, given=x)
    with pytest.raises(ValueError, match="neighbours='fast' is not one of"):
        KSG(neighbours="fast").estimate(x, y)
    with pytest.raises(ValueError, match="strings"):
        KSG().estimate(x, list("abcdefghij"))


def test_total_correlation_of_gaussians() -> None:
    rng = np.random.default_rng(0)
    covariance = np.full((3, 3), 0.5) + 0.5 * np.eye(3)
    x = rng.multivariate_normal(np.zeros(3), covariance, 5_000)
    truth = -0.5 * np.log(np.linalg.det(covariance))
    values = [TotalCorrelation().estimate(part).value for part in np.split(x, 5)]
    assert abs(np.mean(values) - truth) < 4 * np.std(values, ddof=1) / np.sqrt(5) + 0.02


def test_total_correlation_of_two_columns_is_their_information() -> None:
    x, y = gaussian(400, 0.7)
    both = TotalCorrelation().estimate(np.hstack([x, y]))
    assert both.value == pytest.approx(KSG().estimate(x, y).value, abs=1e-12)


def test_total_correlation_refuses() -> None:
    x, y = gaussian(20, 0.5)
    with pytest.raises(ValueError, match="at least 2 columns, x has 1"):
        TotalCorrelation().estimate(x)
    with pytest.raises(ValueError, match="leave y out"):
        TotalCorrelation().estimate(x, y)
    with pytest.raises(ValueError, match="cannot condition"):
        TotalCorrelation().estimate(np.hstack([x, y]), given=x)
    assert TotalCorrelation().estimate(np.column_stack([x, np.zeros(20)])).flags == (Flag.CONSTANT,)


def test_rows_that_remember_are_flagged_and_classes_in_order_are_not() -> None:
    series = miest.tasks.autocorrelated_gaussian(0.6, 0.9).sample(500, 0)
    assert Flag.AUTOCORRELATED in KSG().estimate(series.x, series.y).flags
    assert KSG(checks=False).estimate(series.x, series.y).flags == ()
    labels = np.sort(np.random.default_rng(0).integers(0, 4, 500))
    values = labels[:, None] + np.random.default_rng(1).standard_normal((500, 1))
    assert Flag.AUTOCORRELATED not in miest.MixedKSG().estimate(values, labels).flags


def test_normal_scores_see_the_same_through_any_margin() -> None:
    x, y = miest.tasks.bivariate_gaussian(0.8).sample(800, 0)
    scored = KSG(normal_scores=True)
    plain = scored.estimate(x, y)
    stretched = scored.estimate(np.exp(5 * x), -np.exp(5 * y))
    assert stretched.value == plain.value
    assert stretched.flags == plain.flags == ()
    assert abs(plain.value + math.log(1 - 0.8**2) / 2) < 0.06
    assert Flag.SKEWED in KSG().estimate(np.exp(5 * x), np.exp(5 * y)).flags
    assert scored.estimate(x.astype(np.float32), y.astype(np.float32)).value == pytest.approx(plain.value, abs=0.01)
    given = scored.estimate(x, y, given=np.exp(3 * np.random.default_rng(99).standard_normal(800)))
    assert abs(given.value - plain.value) < 0.15


def test_permutations_see_normal_scores_too() -> None:
    x, y = miest.tasks.bivariate_gaussian(0.3).sample(200, 0)
    scored = KSG(normal_scores=True)
    as_given, stretched = (miest.permutation_test(a, y, scored, n=50, seed=0) for a in (x, np.exp(9 * x)))
    assert as_given.p_value == stretched.p_value


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 5, 100])
def test_the_median_is_numpys(n: int, dtype: type) -> None:
    values = np.random.default_rng(n).standard_normal(n).astype(dtype)
    assert ksg.median(values) == float(np.median(values))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30), st.integers(1, 5))
@settings(deadline=None)
def test_least_counts_are_those_of_each_row(pairs: list[tuple[int, int]], k: int) -> None:
    counts = np.array(pairs).T
    expected = np.minimum(counts.min(axis=0), k - 1), np.minimum(counts.max(axis=0), k)
    for tally, floors in zip(ksg.least_counts(counts, k), expected, strict=True):
        np.testing.assert_array_equal(tally, np.bincount(floors, minlength=k + 1))
        assert ksg.mean_of_tally(tally, 1) == pytest.approx(np.mean(digamma(floors + 1)))
