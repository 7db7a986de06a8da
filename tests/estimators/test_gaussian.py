"""Gaussian and GaussianCopula.

exact       hand-worked correlations, exact bias, invariances that are exact
properties  symmetry, permutation, shift, scale, dtype, invertible linear maps
truth       correlated Gaussians in the closed form, conditional and multivariate, coverage of the interval
refusals    every raise, every flag, and silence on good data
workflow    report and JSON
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import digamma

from miest.estimators.gaussian import Gaussian, GaussianCopula
from miest.result import Flag, MIResult
from miest.samples import continuous, discrete
from miest.tasks import autocorrelated_gaussian

Array = NDArray[np.float64]
BOTH = [Gaussian(), GaussianCopula()]


def pair(rho: float, n: int, d: int = 1, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, rho * x + math.sqrt(1 - rho**2) * rng.standard_normal((n, d))


def mi(rho: float, d: int = 1) -> float:
    return -d / 2 * math.log1p(-(rho**2))


# exact


def test_one_column_each_is_the_formula_of_the_correlation() -> None:
    x, y = [0.0, 1.0, 2.0, 3.0], [0.0, 2.0, 1.0, 3.0]  # r = 0.8
    plain = Gaussian(correct_bias=False).estimate(x, y)
    assert plain.value == pytest.approx(-math.log(1 - 0.64) / 2, abs=1e-14)
    assert plain.diagnostics.canonical_correlations == pytest.approx([0.8])
    corrected = Gaussian().estimate(x, y)
    assert plain.value - corrected.value == pytest.approx((digamma(1.5) - digamma(1.0)) / 2, abs=1e-14)  # 3 degrees
    assert plain.diagnostics.bias_correction == 0
    assert corrected.interval == plain.interval  # of the corrected value, whichever is reported


def test_orthogonal_columns_share_nothing() -> None:
    x, y = np.tile([1.0, 1, -1, -1], 5), np.tile([1.0, -1, 1, -1], 5)
    result = Gaussian(correct_bias=False).estimate(x, y)
    assert result.value == pytest.approx(0, abs=1e-15)
    assert result.interval is not None
    assert result.interval[0] < 0 < result.interval[1]


def test_copula_scores_of_four_samples_by_hand() -> None:
    x, y = [1.0, 10.0, 100.0, 1000.0], [-5.0, 2.0, 1.0, 3.0]  # ranks 1 2 3 4 and 1 3 2 4
    a, b = 0.8416212335729143, 0.2533471031357997  # Phi^-1 of 4/5 and 3/5
    r = (2 * a * a - 2 * b * b) / (2 * a * a + 2 * b * b)
    assert GaussianCopula(correct_bias=False).estimate(x, y).value == pytest.approx(-math.log1p(-r * r) / 2, abs=1e-13)


def test_copula_ignores_increasing_maps_to_the_last_bit() -> None:
    x, y = pair(0.6, 300, 2)
    bent = np.column_stack([np.exp(5 * x[:, 0]), np.arctan(x[:, 1])])
    assert GaussianCopula().estimate(bent, y**3).value == GaussianCopula().estimate(x, y).value
    assert GaussianCopula().estimate(-x, y).value == pytest.approx(GaussianCopula().estimate(x, y).value, abs=1e-13)


def test_the_bias_is_removed_exactly_at_small_n() -> None:
    n, dx, dy, seeds = 50, 3, 2, 600
    rng, rho = np.random.default_rng(1), np.array([0.7, 0.4])
    truth = -np.log1p(-(rho**2)).sum() / 2
    values, plain = np.empty(seeds), np.empty(seeds)
    for i in range(seeds):
        x, noise = rng.standard_normal((n, dx)), rng.standard_normal((n, dy))
        result = Gaussian().estimate(x, rho * x[:, :dy] + np.sqrt(1 - rho**2) * noise)
        values[i], plain[i] = result.value, result.value + result.diagnostics.bias_correction
    stderr = values.std() / math.sqrt(seeds)
    assert abs(values.mean() - truth) < 4 * stderr
    assert plain.mean() - truth > 6 * stderr


def test_the_bias_given_z_is_removed_exactly_at_small_n() -> None:
    n, seeds, rng = 20, 600, np.random.default_rng(2)
    values = np.empty(seeds)
    for i in range(seeds):
        z = rng.standard_normal((n, 5))
        x, y = pair(0.5, n, seed=i)
        values[i] = Gaussian().estimate(x + z @ np.ones((5, 1)), y - z[:, :1], given=z).value
    assert abs(values.mean() - mi(0.5)) < 4 * values.std() / math.sqrt(seeds)


# properties


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_symmetric_to_the_last_bit_and_free_of_order_and_units(dx: int, dy: int, copula: bool, seed: int) -> None:
    rng, estimator = np.random.default_rng(seed), GaussianCopula() if copula else Gaussian()
    x = rng.standard_normal((60, dx))
    y = x @ rng.standard_normal((dx, dy)) + rng.standard_normal((60, dy))
    for array in (x, y):
        array.flags.writeable = False
    result = estimator.estimate(x, y)
    mirrored = estimator.estimate(y, x)
    assert (result.value, result.interval) == (mirrored.value, mirrored.interval)
    assert estimator.estimate(x, y).value == result.value
    order = rng.permutation(60)
    assert estimator.estimate(x[order], y[order]).value == pytest.approx(result.value, abs=1e-12)
    moved = estimator.estimate(x * 1e6 + 1e6, y * 1e-6 - 1.0)
    assert moved.value == pytest.approx(result.value, abs=1e-9)
    single = estimator.estimate(x.astype(np.float32), y.astype(np.float32))
    assert single.value == pytest.approx(result.value, abs=1e-4)
    assert result.interval is not None
    assert result.interval[0] <= result.value <= result.interval[1]


def test_invertible_linear_maps_and_redundant_columns_change_nothing() -> None:
    x, y = pair(0.5, 500, 3)
    plain = Gaussian().estimate(x, y)
    mixed = Gaussian().estimate(x @ np.random.default_rng(0).standard_normal((3, 3)), y)
    assert mixed.value == pytest.approx(plain.value, abs=1e-12)
    wide = Gaussian().estimate(np.hstack([x, x[:, :1] - 2 * x[:, 1:2], np.full((500, 2), 3.0)]), y)
    assert wide.value == pytest.approx(plain.value, abs=1e-12)
    assert wide.diagnostics.rank_x == 3
    assert any("rank 3 in 6 columns, 2 of them constant" in note for note in wide.notes)
    narrow = np.hstack([x, x[:, :1] + x[:, 1:2]]).astype(np.float32) * 3 + 50  # rounding must not count as rank
    assert Gaussian().estimate(narrow, y).diagnostics.rank_x == 3


# truth


@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.9])
def test_correlated_gaussians(estimator: Gaussian | GaussianCopula, rho: float) -> None:
    values = [estimator.estimate(*pair(rho, 10_000, seed=seed)).value for seed in range(20)]
    stderr = max(np.std(values) / math.sqrt(20), 1e-6)
    assert abs(np.mean(values) - mi(rho)) < 4 * stderr
    assert abs(np.mean(values) - mi(rho)) < 0.01
    if rho == 0:
        assert min(values) < 0  # never clipped


@pytest.mark.parametrize("estimator", BOTH)
def test_sixteen_columns(estimator: Gaussian | GaussianCopula) -> None:
    result = estimator.estimate(*pair(0.5, 5000, 16))
    assert abs(result.value - mi(0.5, 16)) < 4 * math.sqrt(16 * 0.25 / 5000)  # the delta method's standard deviation
    assert result.interval is not None
    assert result.interval[0] < mi(0.5, 16) < result.interval[1]
    assert result.ok
    assert result.kind == "point"


@pytest.mark.parametrize("estimator", BOTH)
def test_given_removes_a_common_cause_and_reveals_a_common_effect(estimator: Gaussian | GaussianCopula) -> None:
    rng = np.random.default_rng(3)
    z, a, b = rng.standard_normal((3, 5000))
    assert abs(estimator.estimate(z + a, z + b, given=z).value) < 4 * math.sqrt(0.5) / 5000
    assert estimator.estimate(z + a, z + b).value == pytest.approx(mi(0.5), abs=4 * 0.5 / math.sqrt(5000))
    revealed = estimator.estimate(a, b, given=a + b + z)  # partial correlation -1/2
    assert revealed.value == pytest.approx(mi(0.5), abs=4 * 0.5 / math.sqrt(5000))
    assert revealed.quantity == "I(X;Y|Z)"


@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize(("rho", "d", "n"), [(0.0, 1, 500), (0.0, 3, 2000), (0.6, 1, 500), (0.6, 3, 500)])
def test_the_interval_covers_as_often_as_it_says(
    estimator: Gaussian | GaussianCopula, rho: float, d: int, n: int
) -> None:
    repetitions, truth, covered = 400, mi(rho, d), 0
    for seed in range(repetitions):
        interval = estimator.estimate(*pair(rho, n, d, seed)).interval
        assert interval is not None
        covered += interval[0] <= truth <= interval[1]
    assert 0.92 <= covered / repetitions <= 0.98


def test_copula_sees_through_margins_that_hide_from_gaussian() -> None:
    x, y = pair(0.8, 800)
    x, y = np.exp(5 * x), np.exp(5 * y)
    hidden, seen = Gaussian().estimate(x, y), GaussianCopula().estimate(x, y)
    assert hidden.flags == (Flag.SKEWED,)
    assert abs(hidden.value - mi(0.8)) > 0.3  # a few large values decide it, in either direction
    assert abs(seen.value - mi(0.8)) < 4 * 0.8 / math.sqrt(800)
    assert seen.ok


def test_copula_is_a_lower_bound_where_it_says_so() -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal(4000)
    for y in (x**2, np.sign(rng.standard_normal(4000)) * x, np.abs(x) + 0.1 * rng.standard_normal(4000)):
        result = GaussianCopula().estimate(x, y)
        assert result.kind == "lower bound"
        assert result.value < math.log(2)  # the truth is infinite, infinite, and larger
    assert GaussianCopula().estimate(x, rng.standard_normal((4000, 2))).kind == "lower bound"
    assert GaussianCopula().estimate(np.maximum(x, 0), np.round(x)).kind == "point"
    assert GaussianCopula().estimate(x, x + rng.standard_normal(4000), given=x**3).kind == "point"


# refusals


@pytest.mark.parametrize("estimator", BOTH)
def test_refusals(estimator: Gaussian | GaussianCopula) -> None:
    x, y = pair(0.5, 30, 16)
    with pytest.raises(ValueError, match=r"30 samples are too few .* x and y, of ranks 16, 16: .* at least 34\."):
        estimator.estimate(x, y)
    with pytest.raises(ValueError, match=r"x and y and given, of ranks 9, 9, 11: .* at least 31\."):
        estimator.estimate(x[:, :9], y[:, :9], given=np.hstack([x[:, 9:], y[:, 12:]]))
    with pytest.raises(ValueError, match="needs y"):
        estimator.estimate(x)
    with pytest.raises(ValueError, match="y holds strings"):
        estimator.estimate(x, np.array(["a", "b"] * 15))
    estimator.estimate(*pair(0.5, 34, 16))  # the least that is accepted


@pytest.mark.parametrize("estimator", BOTH)
def test_perfect_dependence_is_flagged(estimator: Gaussian | GaussianCopula) -> None:
    x, noise = pair(0.0, 500)
    for y in (x, -2 * x + 1):
        result = estimator.estimate(x, y)
        assert result.value == math.inf
        assert result.flags == (Flag.DETERMINISTIC,)
        assert result.interval is None
        assert result.diagnostics.interval_method is None
    near = Gaussian().estimate(x, x + 1e-9 * noise)
    assert near.value == pytest.approx(math.log(1e9), abs=0.2)  # sines, since 1 - rho^2 has no digits there
    assert near.flags == (Flag.DETERMINISTIC,)
    assert Gaussian().estimate(x, x + 1e-4 * noise).ok


@pytest.mark.parametrize("estimator", BOTH)
def test_constants_carry_nothing(estimator: Gaussian | GaussianCopula) -> None:
    x, y = pair(0.5, 200)
    for a, b in ((np.ones(200), y), (x, np.full((200, 3), 0.1))):
        result = estimator.estimate(a, b)
        assert result.value == 0
        assert result.flags == (Flag.CONSTANT,)
        assert result.interval is None
    assert estimator.estimate(x, y, given=np.ones(200)).value == estimator.estimate(x, y).value
    known = Gaussian().estimate(x, y, given=np.hstack([x, y * 2 + x]))
    assert known.value == 0
    assert known.flags == (Flag.CONSTANT, Flag.CONSTANT)
    assert "linear function of given" in known.notes[0]


@pytest.mark.parametrize("estimator", BOTH)
def test_integers_are_numbers_with_a_flag_or_a_declaration(estimator: Gaussian | GaussianCopula) -> None:
    counts = np.random.default_rng(5).binomial(40, 0.5, 2000)
    y = counts + np.random.default_rng(6).standard_normal(2000)
    flagged = estimator.estimate(counts, y)
    assert flagged.flags == (Flag.DISCRETE,)
    assert estimator.estimate(continuous(counts), y).value == flagged.value
    assert Flag.DISCRETE not in estimator.estimate(continuous(counts), y).flags
    assert estimator.estimate(discrete(counts * 1.0), y).flags == (Flag.DISCRETE,)


def test_skew_is_flagged_by_its_size_and_never_on_gaussian_data() -> None:
    rng = np.random.default_rng(7)
    for n in (5, 10, 20, 50, 100, 1000, 5000):
        for _ in range(4):
            x = rng.standard_normal((n, min(n // 2 - 1, 20)))
            assert Flag.SKEWED not in Gaussian().estimate(x, rng.standard_normal(n)).flags
    noise = rng.standard_normal(1000)
    for margin in (
        rng.standard_exponential(1000),
        rng.standard_cauchy(1000),
        np.maximum(noise, 0),
        rng.gamma(1, size=1000),
    ):
        assert Gaussian().estimate(np.column_stack([noise, margin]), noise + rng.standard_normal(1000)).flags == (
            Flag.SKEWED,
        )
    assert Gaussian().estimate(rng.random(1000), noise).ok  # costs rho^2 less than 5%


def test_ties_are_flagged_by_column() -> None:
    x, y = pair(0.5, 2000, 3)
    assert GaussianCopula().estimate(np.maximum(x, 0), y).flags == (Flag.TIES,)
    assert GaussianCopula().estimate(np.where(x < -2.5, -2.5, x), y).ok  # 0.6% tie


@pytest.mark.parametrize("estimator", BOTH)
def test_few_samples_are_flagged(estimator: Gaussian | GaussianCopula) -> None:
    x, y = pair(0.5, 39, 4)
    assert estimator.estimate(x, y).flags == (Flag.SMALL_SAMPLE,)
    assert "39 samples for 8 dimensions" in estimator.estimate(x, y).notes[0]
    assert estimator.estimate(*pair(0.5, 40, 4)).ok


# workflow


def test_report_and_json() -> None:
    x, y = pair(0.6, 400, 25)
    result = GaussianCopula(correct_bias=False).estimate(x, y)
    assert len(result.diagnostics.canonical_correlations) == 20
    assert result.diagnostics.interval_method == "delta"
    assert "rank_x" in result.report()
    assert MIResult.from_json(result.to_json()) == result


@pytest.mark.parametrize("made", [Gaussian, GaussianCopula])
def test_rows_that_remember_are_flagged(made: type[Gaussian | GaussianCopula]) -> None:
    series = autocorrelated_gaussian(0.6, 0.9).sample(500, 0)
    assert Flag.AUTOCORRELATED in made().estimate(series.x, series.y).flags
    assert Flag.AUTOCORRELATED not in made(checks=False).estimate(series.x, series.y).flags
    rows = np.random.default_rng(0).permutation(500)
    assert made().estimate(series.x[rows], series.y[rows]).flags == ()
