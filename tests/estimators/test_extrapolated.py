"""Extrapolation of the bias in 1/n: its arithmetic, where it helps, where it does not, what it refuses."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import miest
from miest import KDE, KSG, Extrapolated, Flag, Gaussian, KozachenkoLeonenko, MixedKSG
from miest.estimators.estimator import Estimator
from miest.result import MIResult


@dataclass(frozen=True, kw_only=True)
class Biased(Estimator):
    """2 + 30 / n, whatever the data."""

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        n = len(getattr(x, "data", x))
        return MIResult(value=2 + 30 / n, n_samples=n, estimator=self)


def gaussian(n: int, rho: float, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, rho * x + np.sqrt(1 - rho**2) * rng.standard_normal((n, d))


def test_a_bias_in_one_over_n_is_removed_exactly() -> None:
    x = np.random.default_rng(0).standard_normal(400)
    result = Extrapolated(estimator=Biased()).estimate(x, x)
    assert result.value == pytest.approx(2, abs=1e-12)
    assert result.diagnostics.slope == pytest.approx(30, abs=1e-9)
    assert result.diagnostics.uncorrected == 2 + 30 / 400
    assert result.diagnostics.rows == [400, 200, 100]
    assert result.diagnostics.means == pytest.approx([2.075, 2.15, 2.3])
    assert result.interval is None  # all parts agree


def test_says_what_it_did() -> None:
    x, y = gaussian(400, 0.6, 1, 0)
    plain, result = KSG().estimate(x, y), Extrapolated().estimate(x, y)
    assert result.estimator == Extrapolated(estimator=KSG())
    assert result.quantity == plain.quantity
    assert result.diagnostics.uncorrected == plain.value
    assert result.value == pytest.approx(plain.value + result.diagnostics.correction, abs=1e-12)
    assert f"to the {plain.value:.4f} of KSG, by extrapolation in 1/n from 400, 200, 100" in result.notes[0]
    assert result.ceiling is None
    assert result.interval is not None
    assert sum(result.interval) / 2 == pytest.approx(result.value)
    assert result.diagnostics.interval_method == "subsampling"
    again = Extrapolated().estimate(x, y)
    assert (again.value, again.interval) == (result.value, result.interval)
    turned = Extrapolated().estimate(y, x)
    assert (turned.value, turned.interval) == (result.value, result.interval)
    back = MIResult.from_json(result.to_json())
    assert back.estimator == result.estimator
    assert (back.value, back.interval) == (result.value, result.interval)
    quick = Extrapolated(level=None).estimate(x, y)
    assert (quick.value, quick.interval) == (result.value, None)


def test_other_quantities() -> None:
    x, y = gaussian(300, 0.6, 1, 0)
    labels = (x[:, 0] > 0).astype(int)
    entropy = Extrapolated(estimator=KozachenkoLeonenko(), level=None).estimate(x)
    assert entropy.quantity == "h(X)"
    assert entropy.value == pytest.approx(0.5 * np.log(2 * np.pi * np.e), abs=0.2)
    given = Extrapolated(level=None).estimate(x, y, given=x + y)
    assert given.quantity == "I(X;Y|Z)"
    mixed = Extrapolated(estimator=MixedKSG(), level=None).estimate(labels, y)
    assert mixed.value == pytest.approx(MixedKSG().estimate(labels, y).value, abs=0.1)


@pytest.mark.parametrize(("d", "rho", "n"), [(2, 0.9, 1_000), (3, 0.8, 1_000)])
def test_helps_where_the_bias_falls_as_one_over_n(d: int, rho: float, n: int) -> None:
    truth = -0.5 * d * np.log(1 - rho**2)
    results = [Extrapolated(level=None).estimate(*gaussian(n, rho, d, seed)) for seed in range(20)]
    after = np.array([result.value for result in results]) - truth
    before = np.array([result.diagnostics.uncorrected for result in results]) - truth
    gained = np.abs(before) - np.abs(after)
    assert before.mean() < -4 * before.std(ddof=1) / np.sqrt(20)  # a bias there is
    assert abs(after.mean()) < 0.75 * abs(before.mean())
    assert gained.mean() > 0


def test_gains_little_in_many_dimensions() -> None:
    truth = -4 * np.log(1 - 0.25)
    results = [Extrapolated(level=None).estimate(*gaussian(1_000, 0.5, 8, seed)) for seed in range(5)]
    after = np.mean([result.value for result in results]) - truth
    before = np.mean([result.diagnostics.uncorrected for result in results]) - truth
    assert before < after < 0.8 * before < 0
    assert all(Flag.HIGH_DIMENSION in result.flags for result in results)


def test_leaves_saturated_and_constant_values_alone() -> None:
    x = np.random.default_rng(0).standard_normal(200)
    for y in (x, np.ones(200)):
        plain, result = KSG().estimate(x, y), Extrapolated().estimate(x, y)
        assert result.value == plain.value
        assert result.flags == plain.flags
        assert result.interval is None
        assert "nothing was extrapolated" in result.notes[0]
        assert result.diagnostics.correction == 0


def test_covers() -> None:
    truth, hits = -0.5 * np.log(1 - 0.36), 0
    for seed in range(12):
        interval = Extrapolated().estimate(*gaussian(210, 0.6, 1, seed)).interval
        assert interval is not None
        hits += interval[0] < truth < interval[1]
    assert hits >= 8  # 95% gives fewer with probability 2e-4


def test_refusals() -> None:
    x, y = gaussian(99, 0.5, 1, 0)
    with pytest.raises(ValueError, match="would extrapolate twice"):
        Extrapolated(estimator=Extrapolated())
    with pytest.raises(ValueError, match="is not an estimator"):
        Extrapolated(estimator="ksg")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="level=2 must be between"):
        Extrapolated(level=2)
    with pytest.raises(ValueError, match="Extrapolated needs at least 100 samples, got 99"):
        Extrapolated().estimate(x, y)
    with pytest.raises(ValueError, match="needs y"):
        Extrapolated().estimate(np.r_[x, x])
    bound = KDE(noise_var=0.1).estimate(np.r_[x, x])
    if bound.kind != "point":
        with pytest.raises(ValueError, match=f"KDE gives a {bound.kind}"):
            Extrapolated(estimator=KDE(noise_var=0.1)).estimate(np.r_[x, x])
    assert "extrapolated" in miest.estimators.auto.estimators()
    assert Extrapolated(estimator=Gaussian(), level=None).estimate(np.r_[x, x], np.r_[y, y]).value > 0
