"""Noisy: another estimator on a noisy representation.

exact       the inner estimator on noise made by hand; which argument gets it
properties  seeds, draws, units, kinds of data
truth       linear layers by KSG and Gaussian
refusals    every raise, every flag
workflow    text of the estimator, report, JSON
"""

import math

import numpy as np
import pytest

from miest.estimators.extrapolated import Extrapolated
from miest.estimators.gaussian import Gaussian
from miest.estimators.ksg import KSG
from miest.estimators.mixed import MixedKSG
from miest.estimators.noisy import Noisy
from miest.estimators.spec import parsed
from miest.noise import GaussianNoise, UniformNoise, ZeroEntropyNoise, noise_generator
from miest.result import Flag, MIResult
from miest.samples import DataError, continuous

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1000, 2))
T = np.tanh(X @ np.array([[1.0, 0.5], [-0.5, 1.0]]))
LABELS = (X[:, 0] > 0).astype(int)
QUIET = KSG(level=None, checks=False)


# exact


@pytest.mark.parametrize("noise", [GaussianNoise(std=0.3), ZeroEntropyNoise(), UniformNoise(width=0.4)])
def test_noise_is_added_to_the_second_argument_and_to_nothing_else(noise: GaussianNoise) -> None:
    result = Noisy(estimator=QUIET, noise=noise).estimate(X, T, seed=5)
    noisy = T + noise.sample(T.shape, noise_generator(5))
    assert result.value == QUIET.estimate(X, noisy).value
    assert result.quantity == "I(X;T+eps)"
    assert result.estimator == Noisy(estimator=QUIET, noise=noise)
    assert result.diagnostics.noise_std == noise.std
    assert result.diagnostics.noise_entropy == noise.entropy(2)
    assert result.notes[0] == f"{noise} was added to y, 1 time(s)."


def test_noise_is_added_to_the_first_argument_on_demand() -> None:
    noise = GaussianNoise(std=0.3)
    inner = MixedKSG(level=None, checks=False)
    result = Noisy(estimator=inner, noise=noise, noised="x").estimate(T, LABELS, seed=5)
    assert result.value == inner.estimate(T + noise.sample(T.shape, noise_generator(5)), LABELS).value
    assert result.quantity == "I(T+eps;Y)"
    assert result.diagnostics.noised == "x"


def test_a_condition_is_passed_on() -> None:
    noise, z = GaussianNoise(std=0.3), X[:, :1] + RNG.standard_normal((1000, 1))
    result = Noisy(estimator=QUIET, noise=noise).estimate(X, T, given=z)
    assert result.value == QUIET.estimate(X, T + noise.sample(T.shape, noise_generator(0)), given=z).value
    assert result.quantity == "I(X;T+eps|Z)"


def test_several_draws_are_averaged() -> None:
    made = Noisy(estimator=KSG(), noise=GaussianNoise(std=0.5), draws=4)
    result, found = made.estimate(X, T), made.estimate(X, T).diagnostics
    rng = noise_generator(None)
    each = [KSG().estimate(X, T + GaussianNoise(std=0.5).sample(T.shape, rng)) for _ in range(4)]
    assert found.draw_values == [r.value for r in each]
    assert result.value == pytest.approx(np.mean(found.draw_values), abs=1e-14)
    assert found.spread == pytest.approx(np.std(found.draw_values, ddof=1), abs=1e-14)
    assert result.interval == pytest.approx(np.mean([r.interval for r in each], axis=0), abs=1e-14)
    assert result.ceiling == pytest.approx(each[0].ceiling, abs=0.1)
    assert Noisy(estimator=KSG(), noise=GaussianNoise(std=0.5)).estimate(X, T).diagnostics.spread is None


# properties


def test_seeds() -> None:
    made = Noisy(estimator=QUIET, noise=GaussianNoise(std=0.5))
    first = made.estimate(X, T, seed=1).value
    assert made.estimate(X, T, seed=1).value == first != made.estimate(X, T, seed=2).value
    assert made.estimate(X, T).value == made.estimate(X, T, seed=0).value


def test_noise_is_in_the_units_of_the_argument() -> None:
    made = Noisy(estimator=QUIET, noise=GaussianNoise(std=0.5)).estimate(X, T)
    scaled = Noisy(estimator=QUIET, noise=GaussianNoise(std=500.0)).estimate(X, T * 1000 + 1e6)
    assert scaled.value == pytest.approx(made.value, abs=1e-3)
    more = Noisy(estimator=QUIET, noise=GaussianNoise(std=2.0)).estimate(X, T)
    assert more.value < made.value - 0.3
    auto = Noisy(estimator=QUIET).estimate(X, T)
    assert auto.diagnostics.noise_std == pytest.approx(math.sqrt(0.1 * T.var(axis=0).mean()), rel=1e-12)
    assert "to compare layers, pass one noise for all" in auto.notes[0]
    assert Noisy(estimator=QUIET).estimate(X, T * 1e6).value == pytest.approx(auto.value, abs=1e-9)


def test_single_precision_tensors_and_counts() -> None:
    made = Noisy(estimator=QUIET, noise=GaussianNoise(std=1e-4))
    rounded = made.estimate(X, T.astype(np.float32))  # noise far below what float32 holds near 1 is there in full
    assert rounded.value == pytest.approx(made.estimate(X, T.astype(np.float32).astype(np.float64)).value, abs=1e-12)
    counts = RNG.poisson(np.exp(X[:, :1]))
    assert Noisy(estimator=QUIET, noise=GaussianNoise(std=1.0)).estimate(X, continuous(counts)).value > 0.1
    torch = pytest.importorskip("torch")
    assert made.estimate(torch.tensor(X), torch.tensor(T)).value == made.estimate(X, T).value


# truth


@pytest.mark.parametrize(("inner", "within"), [(KSG(), 0.1), (Gaussian(), 0.08)])
def test_linear_layers_in_closed_form(inner: KSG, within: float) -> None:
    weights = np.array([[1.0, 0.5], [-0.5, 1.0]])
    mi = 0.5 * float(np.linalg.slogdet(np.eye(2) + weights @ weights.T / 0.8**2)[1])
    result = Noisy(estimator=inner, noise=GaussianNoise(std=0.8), draws=3).estimate(X, X @ weights.T)
    assert abs(result.value - mi) < within
    assert not result.flags


# refusals


def test_flags_of_any_draw_are_flags_of_the_result() -> None:
    result = Noisy(estimator=KSG(), noise=GaussianNoise(std=1e-6), draws=2).estimate(X[:, :1], X[:, :1])
    assert Flag.SATURATED in result.flags
    assert result.interval is None
    assert result.ceiling is not None


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="estimator='ksg' is not an estimator"):
        Noisy(estimator="ksg")  # type: ignore[arg-type]
    for noise in (0.1, None, "much"):
        with pytest.raises(ValueError, match=r"is neither a noise nor \"auto\""):
            Noisy(noise=noise)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="noised='z' must be one of 'x', 'y'"):
        Noisy(noised="z")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="draws=0 must be an integer of at least 1"):
        Noisy(draws=0)


def test_data_that_cannot_be_used() -> None:
    made = Noisy(estimator=MixedKSG(), noise=GaussianNoise(std=0.1))
    with pytest.raises(ValueError, match=r"Noisy needs y.*GaussianChannel\(noise=...\).estimate\(t\)"):
        made.estimate(T)
    with pytest.raises(DataError, match=r"y is discrete .*noised='x'"):
        made.estimate(T, LABELS)
    with pytest.raises(DataError, match=r"x is discrete .*noised='y'"):
        Noisy(noised="x").estimate(LABELS, T)
    with pytest.raises(DataError, match=r"y reaches 1e.12, where float64 cannot hold noise of std=0.1"):
        made.estimate(X, T + 1e12)
    with pytest.raises(DataError, match="x has 1000 samples and y has 999"):
        made.estimate(X, T[1:])
    with pytest.raises(ValueError, match="k=3 needs at least 4 samples"):
        Noisy(noise=GaussianNoise(std=1.0)).estimate(X[:3], T[:3])


# workflow


def test_text_report_and_json() -> None:
    made = Noisy(estimator=KSG(k=5), noise=GaussianNoise(std=0.5), draws=2)
    assert parsed(str(made)) == made
    assert parsed("noisy:estimator=KSG(k=5),noise=GaussianNoise(std=0.5),draws=2") == made
    assert parsed("Noisy(estimator=Extrapolated(estimator=KSG(k=4)), noise=ZeroEntropyNoise())") == Noisy(
        estimator=Extrapolated(estimator=KSG(k=4)), noise=ZeroEntropyNoise()
    )
    result = made.estimate(X, T)
    assert "I(X;T+eps)" in str(result)
    assert "GaussianNoise(std=0.5)" in result.report()
    assert MIResult.from_json(result.to_json()) == result
