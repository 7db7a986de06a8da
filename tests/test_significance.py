"""Permutation tests.

exact       p by hand; the batched path equals one estimate a permutation to the last bit; blocks stay in order
properties  repeatable; never 0; ties count against dependence
truth       uniform under independence; autocorrelated rows with and without blocks; power
refusals    every raise
"""

import json

import numpy as np
import pytest
from scipy import stats

import miest
from miest import KSG, Gaussian, MixedKSG, PlugIn, permutation_test
from miest.significance import _permutation


def pair(n: int, rho: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    return x, rho * x + np.sqrt(1 - rho**2) * rng.standard_normal(n)


def autoregression(n: int, rng: np.random.Generator) -> np.ndarray:
    x = np.empty(n)
    x[0] = rng.standard_normal()
    for i in range(1, n):
        x[i] = 0.9 * x[i - 1] + np.sqrt(1 - 0.81) * rng.standard_normal()
    return x


@pytest.mark.parametrize("block", [None, 7])
@pytest.mark.parametrize("estimator", [KSG(k=4), Gaussian()])
def test_by_hand(estimator: KSG, block: int | None) -> None:
    x, y = pair(120, 0.2)
    rng = np.random.default_rng(5)
    null = [estimator.estimate(x, y[_permutation(rng, 120, block)]).value for _ in range(39)]
    test = permutation_test(x, y, estimator, n=39, seed=5, block=block)
    value = estimator.estimate(x, y).value
    assert test.result.value == value
    assert test.p_value == (1 + sum(v >= value for v in null)) / 40
    assert test.null_mean == pytest.approx(np.mean(null), abs=1e-12)
    assert test.null_std == pytest.approx(np.std(null, ddof=1), abs=1e-12)
    assert test.null_quantiles[0.95] == pytest.approx(np.quantile(null, 0.95), abs=1e-12)


@pytest.mark.parametrize("columns", [1, 3])
def test_batches_equal_single_estimates(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 150, columns))
    quick = permutation_test(x, y, KSG(), n=25)
    monkeypatch.setattr("miest.significance._PLACES_AT_ONCE", 600)
    in_batches = permutation_test(x, y, KSG(), n=25)
    single = permutation_test(x, y, KSG(neighbours="tree"), n=25)
    for other in (in_batches, single):
        assert other.p_value == quick.p_value
        assert other.null_quantiles == quick.null_quantiles
        assert other.null_std == quick.null_std


def test_blocks_keep_their_rows_together() -> None:
    rows = _permutation(np.random.default_rng(1), 23, 5)
    assert sorted(rows) == list(range(23))
    assert (np.diff(rows) == 1).sum() >= 18  # 18 steps inside of five blocks, the last of three rows
    starts = rows[np.r_[True, np.diff(rows) != 1]]
    assert set(starts) <= {0, 5, 10, 15, 20}
    one = _permutation(np.random.default_rng(1), 23, 1)
    assert np.array_equal(one, np.random.default_rng(1).permutation(23))


def test_repeatable_and_never_zero() -> None:
    x, y = pair(200, 0.95)
    test = permutation_test(x, y, n=50)
    again = permutation_test(x, y, n=50)
    assert (again.p_value, again.null_mean, again.null_quantiles) == (test.p_value, test.null_mean, test.null_quantiles)
    assert test.p_value == 1 / 51
    assert "smallest" in str(test)
    assert permutation_test(x, y, n=50, seed=1).null_mean != test.null_mean


def test_ties_count_against_dependence() -> None:
    constant = permutation_test(np.ones(50), pair(50)[0], KSG(), n=20)
    assert constant.p_value == 1
    # Two by two symbols have few tables: most permutations tie with another in value but for rounding.
    x = np.repeat([0, 1], 20)
    y = np.tile([0, 1], 20)
    assert permutation_test(x, y, PlugIn(correction=None), n=100).p_value == 1


@pytest.mark.parametrize("data", ["float", "symbols", "mixed", "text", "rounded"])
def test_any_kind_of_data_and_every_choice(data: str) -> None:
    rng = np.random.default_rng(0)
    x, y = {
        "float": (rng.standard_normal((100, 2)), rng.standard_normal(100)),
        "symbols": (rng.integers(0, 3, 100), rng.integers(0, 3, 100)),
        "mixed": (rng.integers(0, 3, 100), rng.standard_normal(100)),
        "text": (np.array(list("abcd") * 25), rng.standard_normal(100)),
        "rounded": (rng.standard_normal(100).round(1), miest.discrete(rng.random(100).round(1))),
    }[data]
    test = permutation_test(x, y, n=19)
    assert 0 < test.p_value <= 1
    assert json.loads(json.dumps(test.to_dict()))["result"]["value"] == test.result.value
    assert "without dependence" in test.report()


def p_values(n: int, repetitions: int, permutations: int) -> list[float]:
    return [permutation_test(*pair(n, seed=s), KSG(), n=permutations, seed=s).p_value for s in range(repetitions)]


def test_uniform_under_independence() -> None:
    # A test that rejects everywhere, or compares with > and no 1 +, fails at far fewer than 60 repetitions.
    p = p_values(100, 60, 39)
    assert min(p) >= 1 / 40
    assert stats.kstest(p, "uniform").pvalue > 0.001


@pytest.mark.slow
def test_uniform_under_independence_in_full() -> None:
    p = p_values(300, 300, 199)
    assert min(p) >= 1 / 200
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_blocks_are_needed_where_rows_remember() -> None:
    rng = np.random.default_rng(0)
    series = [(autoregression(200, rng), autoregression(200, rng)) for _ in range(16)]
    plain = [permutation_test(x, y, Gaussian(), n=39).p_value for x, y in series]
    blocks = [permutation_test(x, y, Gaussian(), n=39, block=20).p_value for x, y in series]
    assert np.mean(np.array(plain) <= 0.05) > 0.3  # far more than 5%
    assert np.mean(np.array(blocks) <= 0.05) < 0.2


def test_finds_a_dependence_without_correlation() -> None:
    x = np.random.default_rng(0).standard_normal(300)
    y = x**2 + 0.5 * np.random.default_rng(1).standard_normal(300)
    assert permutation_test(x, y, n=99).p_value == 0.01
    assert permutation_test(x, y, Gaussian(), n=99).p_value > 0.01
    labels = (x > 0).astype(int)
    assert permutation_test(labels, x, MixedKSG(), n=99).p_value == 0.01


def test_refusals() -> None:
    x, y = pair(60)
    with pytest.raises(ValueError, match="cannot condition: a permuted Y has lost its dependence on Z"):
        permutation_test(x, y, given=x)
    with pytest.raises(ValueError, match="needs y"):
        permutation_test(x, None)
    with pytest.raises(ValueError, match="n=0 must be an integer of at least 1"):
        permutation_test(x, y, n=0)
    with pytest.raises(ValueError, match=r"block=2.5 must be an integer"):
        permutation_test(x, y, block=2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"block=10 cuts 60 rows into 6 blocks.*use block=7 or less"):
        permutation_test(x, y, block=10)
    with pytest.raises(ValueError, match="60 samples and y has 59"):
        permutation_test(x, y[1:])
    with pytest.raises(ValueError, match="is not one of"):
        permutation_test(x, y, "nearest")
