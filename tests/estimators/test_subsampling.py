"""Subsampled spread: its arithmetic by hand, its law on means, and the coverage of the estimators' intervals.

exact       one deal by hand; degrees of freedom; refusal where parts are too few or all equal
properties  the same for two calls, another for another seed; symmetric to the last bit; survives JSON
truth       the spread of a mean; coverage at n = 500 of every estimator, at 2,000 and 10,000 of KSG (slow)
refusals    no interval of a saturated, constant or too small sample; bad levels raise
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

import miest
from miest import KSG, Flag, KozachenkoLeonenko, MixedKSG, Ross, TotalCorrelation
from miest.estimators.estimator import Estimator
from miest.estimators.subsampling import SMOOTHING, subsampled_spread

Sample = tuple[np.ndarray, ...]
Draw = Callable[[int, np.random.Generator], Sample]


def gaussian(rho: float) -> Draw:
    def draw(n: int, rng: np.random.Generator) -> Sample:
        x = rng.standard_normal(n)
        return x, rho * x + np.sqrt(1 - rho**2) * rng.standard_normal(n)

    return draw


def uniform_pair(n: int, rng: np.random.Generator) -> Sample:
    x = rng.integers(0, 5, n)
    return x, x + rng.uniform(0, 2, n)


def common_cause(n: int, rng: np.random.Generator) -> Sample:
    z = rng.standard_normal(n)
    return z + rng.standard_normal(n), z + rng.standard_normal(n), z


def one_column(n: int, rng: np.random.Generator) -> Sample:
    return (rng.standard_normal(n),)


def three_columns(n: int, rng: np.random.Generator) -> Sample:
    return (rng.standard_normal((n, 3)),)


def information(rho: float) -> float:
    return -0.5 * float(np.log(1 - rho**2))


UNIFORM_PAIR = float(np.log(5) - 0.8 * np.log(2))


def estimated(estimator: Estimator, sample: Sample) -> miest.MIResult:
    return estimator.estimate(*sample[:2], given=sample[2] if len(sample) == 3 else None)


def test_one_deal_by_hand() -> None:
    values, sizes = iter(np.arange(32.0)), set()

    def value_of(rows: np.ndarray) -> float:
        sizes.add(rows.size)
        return next(values)

    spread = subsampled_spread(value_of, 16_010, 4)
    assert spread is not None
    growth = np.exp(SMOOTHING * (np.sqrt(4 / 500) - np.sqrt(4 / 16_010)))
    assert sizes == {500}
    assert spread.standard_error == pytest.approx(np.sqrt(np.arange(32).var(ddof=1) * 500 / 16_010 * growth))
    assert spread.degrees_of_freedom == 31
    low, high = spread.interval(2.0, 0.9)
    assert high - 2 == pytest.approx(stats.t.ppf(0.95, 31) * spread.standard_error)
    assert low + high == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("n", "parts", "deals"), [(60, 2, 16), (120, 4, 8), (500, 4, 8), (2_000, 8, 4), (50_000, 32, 1)]
)
def test_parts_are_disjoint_and_of_one_size(n: int, parts: int, deals: int) -> None:
    dealt: list[np.ndarray] = []
    rng = np.random.default_rng(0)

    def value_of(rows: np.ndarray) -> float:
        dealt.append(rows)
        return float(rng.standard_normal())

    spread = subsampled_spread(value_of, n, 3)
    assert spread is not None
    assert spread.degrees_of_freedom == deals * (parts - 1)
    assert len(dealt) == parts * deals
    for deal in range(deals):
        rows = np.concatenate(dealt[deal * parts : (deal + 1) * parts])
        assert np.unique(rows).size == parts * (n // parts)
    assert deals == 1 or not np.array_equal(dealt[0], dealt[parts])


def test_none_where_parts_are_too_small_or_alike() -> None:
    assert subsampled_spread(lambda rows: float(rows[0]), 49, 3) is None
    assert subsampled_spread(lambda rows: float(rows[0]), 50, 3) is not None
    assert subsampled_spread(lambda rows: float(rows[0]), 799, 100) is None
    assert subsampled_spread(lambda rows: float(np.log(rows.size)), 1_003, 3) is None


def test_spread_of_a_mean() -> None:
    # sd of a mean is 1/sqrt(n); 31 degrees of freedom give 12.7% a draw, 200 draws less than 1%
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(200):
        x = rng.standard_normal(10_000)
        spread = subsampled_spread(lambda rows, x=x: float(x[rows].mean()), x.size, 1, smoothing=0.0)  # type: ignore[misc]
        assert spread is not None
        ratios.append(spread.standard_error**2 * x.size)
    assert np.mean(ratios) == pytest.approx(1, abs=4 * np.std(ratios) / np.sqrt(200))
    assert np.std(ratios) == pytest.approx(np.sqrt(2 / 31), rel=0.25)


COVERED: list[tuple[Estimator, Draw, float]] = [
    (KSG(), gaussian(0), 0.0),
    (KSG(), gaussian(0.6), information(0.6)),
    (KSG(), gaussian(0.9), information(0.9)),
    (KSG(variant=2), gaussian(0.3), information(0.3)),
    (KSG(k=5), common_cause, 0.0),
    (MixedKSG(), uniform_pair, UNIFORM_PAIR),
    (Ross(), uniform_pair, UNIFORM_PAIR),
    (KozachenkoLeonenko(), one_column, float(0.5 * np.log(2 * np.pi * np.e))),
    (TotalCorrelation(), three_columns, 0.0),
]


def coverage(estimator: Estimator, draw: Draw, truth: float, n: int, repetitions: int) -> float:
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(repetitions):
        interval = estimated(estimator, draw(n, rng)).interval
        assert interval is not None
        hits += interval[0] <= truth <= interval[1]
    return hits / repetitions


@pytest.mark.parametrize(("estimator", "draw", "truth"), COVERED, ids=lambda value: str(value)[:12])
def test_coverage(estimator: Estimator, draw: Draw, truth: float) -> None:
    # 60 repetitions cannot tell 95% from 92%; an interval half as wide would cover 67%.
    assert coverage(estimator, draw, truth, 500, 60) > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 60)


@pytest.mark.slow
@pytest.mark.parametrize("n", [500, 2_000, 10_000])
@pytest.mark.parametrize(("estimator", "draw", "truth"), COVERED, ids=lambda value: str(value)[:12])
def test_coverage_in_full(estimator: Estimator, draw: Draw, truth: float, n: int) -> None:
    # Between 92% and 98%, give or take two standard errors of 300 repetitions at those ends.
    covered = coverage(estimator, draw, truth, n, 300)
    assert 0.92 - 2 * np.sqrt(0.92 * 0.08 / 300) < covered < 0.98 + 2 * np.sqrt(0.98 * 0.02 / 300)


@pytest.mark.parametrize(("estimator", "draw", "truth"), COVERED, ids=lambda value: str(value)[:12])
def test_interval_is_repeatable_and_says_how_it_was_made(estimator: Estimator, draw: Draw, truth: float) -> None:
    sample = draw(300, np.random.default_rng(0))
    first = estimated(estimator, sample)
    np.random.default_rng().random(10)
    assert first.interval == estimated(estimator, sample).interval
    assert first.interval is not None
    assert first.level == 0.95
    assert first.diagnostics.interval_method == "subsampling"
    assert sum(first.interval) / 2 == pytest.approx(first.value)
    given = sample[2] if len(sample) == 3 else None
    other = estimator.estimate(*sample[:2], given=given, seed=1)
    assert other.interval != first.interval
    assert other.value == first.value
    assert miest.MIResult.from_json(first.to_json()).interval == first.interval
    if len(sample) > 1:
        assert estimator.estimate(sample[1], sample[0], given=given).interval == first.interval


@pytest.mark.parametrize("estimator", [KSG, MixedKSG, KozachenkoLeonenko, TotalCorrelation])
def test_level(estimator: type[KSG]) -> None:
    x = np.random.default_rng(0).standard_normal((300, 2))
    sample = (x[:, 0], x[:, 1]) if issubclass(estimator, (KSG, MixedKSG)) else (x,)
    wide, narrow, none = (estimator(level=level).estimate(*sample) for level in (0.95, 0.5, None))
    assert wide.interval is not None
    assert narrow.interval is not None
    assert wide.interval[0] < narrow.interval[0] < narrow.interval[1] < wide.interval[1]
    assert narrow.level == 0.5
    assert none.interval is None
    assert none.diagnostics.interval_method is None
    assert none.value == wide.value
    assert "level" not in str(wide.estimator)
    for bad in (0, 1, 95, -0.5, True, "high"):
        with pytest.raises(ValueError, match="must be between 0 and 1"):
            estimator(level=bad)  # type: ignore[arg-type]


def test_no_interval_where_it_would_lie() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(1_000)
    same = KSG().estimate(x, x)
    assert Flag.SATURATED in same.flags
    assert same.interval is None
    assert same.diagnostics.interval_method is None
    assert MixedKSG().estimate(x, x).interval is None  # equal in all parts
    assert KSG().estimate(x, np.ones(1_000)).interval is None
    assert KSG().estimate(x[:40], x[:40] + rng.standard_normal(40)).interval is None
    # Not saturated itself, but its parts are: their spread says nothing.
    near = KSG().estimate(x[:500], x[:500] + 0.035 * rng.standard_normal(500))
    assert near.flags == ()
    assert near.interval is None


def test_parts_may_lose_symbols_or_vary_in_nothing() -> None:
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(600) < 6, np.arange(600), 7)  # five symbols seen once: parts have them, or not
    x = np.where(rng.random(600) < 0.97, 0.0, rng.standard_normal(600))  # mostly one atom
    assert MixedKSG().estimate(labels, x).n_samples == 600
    many = rng.integers(0, 150, 600)  # parts in which no symbol has k others
    assert MixedKSG().estimate(many, x + 1e-3 * rng.standard_normal(600)).interval is None
    both = MixedKSG().estimate(rng.integers(0, 3, 600), rng.integers(0, 3, 600))
    assert both.interval is not None
    assert both.interval[0] < 0 < both.interval[1]
