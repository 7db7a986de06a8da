"""The functions that choose: what they pick, that they say so, and what they give on hard cases."""

from typing import Any

import numpy as np
import pytest

import miest
from miest import Flag, MIResult
from miest.estimators.auto import estimators, named

RNG = np.random.default_rng(0)
X, LABELS = RNG.standard_normal((400, 2)), RNG.integers(0, 3, 400)


@pytest.mark.parametrize(
    ("arguments", "picked", "reason"),
    [
        ((X, X[:, :1] + 0.1), "KSG", "3 joint dimensions"),
        ((LABELS, LABELS), "PlugIn", "discrete"),
        ((X, LABELS), "MixedKSG", "y is discrete"),
        ((np.maximum(X[:, 0], 0), X[:, 1]), "MixedKSG", "repeat another exactly"),
        ((RNG.standard_normal((400, 9)), X), "GaussianCopula", "11 joint dimensions"),
        ((RNG.standard_normal((400, 90)), X), "KSG", "too small"),
        ((X,), "KDE", "y was left out"),
        ((LABELS,), "PlugIn", "y was left out"),
    ],
)
def test_auto_says_what_it_picked_and_why(arguments: tuple[np.ndarray, ...], picked: str, reason: str) -> None:
    result = miest.mutual_information(*arguments)
    assert result.estimator.name == picked
    assert result.notes[0].startswith(f"auto picked {picked}: ")
    assert reason in result.notes[0]


def test_auto_equals_what_it_picked() -> None:
    assert (
        miest.mutual_information(X[:, 0], X[:, 1]).value
        == miest.KSG(normal_scores=True).estimate(X[:, 0], X[:, 1]).value
    )


@pytest.mark.parametrize("name", ["ksg", "KSG", "mixed-ksg", "MixedKSG", "gaussian_copula", "Binning"])
def test_names_in_any_case(name: str) -> None:
    assert miest.mutual_information(X, LABELS + 0.5, estimator=name).quantity.startswith("I(")


def test_an_instance_overrides() -> None:
    assert miest.mutual_information(X, X, estimator=miest.KSG(k=9)).estimator == miest.KSG(k=9)


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"estimator='mi' is not one of auto, .*KSG"):
        named("mi")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("aamine", r"AAMINE needs subnetwork, noise: pass an instance"),
        (miest.KSG, r"estimator=KSG is a class: pass an instance, KSG\(\)"),
        (None, r"estimator=None is none: pass an instance, as KSG\(\)"),
        (5, "estimator=5 is none"),
    ],
)
def test_what_is_no_estimator_is_refused(wrong: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        miest.mutual_information(X, X, estimator=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        miest.entropy(X, estimator=wrong)  # type: ignore[arg-type]


def test_what_is_no_subclass_but_estimates_is_used() -> None:
    class Mine:
        def estimate(self, x: object, y: object = None, **_: object) -> str:
            return "estimated"

    assert miest.mutual_information(X, X, estimator=Mine()) == "estimated"  # type: ignore[arg-type]


@pytest.mark.parametrize("layer", [X, LABELS])
def test_a_condition_without_y_is_refused(layer: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"y was left out and given was passed"):
        miest.mutual_information(layer, given=LABELS)
    with pytest.raises(ValueError, match="y is None"):
        miest.conditional_mutual_information(layer, None, given=LABELS)
    assert miest.mutual_information(LABELS, given=LABELS, estimator="plug-in").quantity == "H(T|Z)"


def test_who_cannot_condition_names_who_can() -> None:
    with pytest.raises(ValueError, match=r"KDE cannot condition: .*KSG, .*PlugIn or Binning"):
        miest.KDE().estimate(X, LABELS, given=LABELS)
    assert miest.Binning().estimate(X, LABELS, given=LABELS).quantity == "I(bin X;Y|Z)"


def test_every_estimator_has_a_name() -> None:
    assert {"ksg", "mixedksg", "ross", "binning", "kde", "gaussian", "gaussiancopula", "plugin"} <= set(estimators())


def test_conditional() -> None:
    z = X[:, 0]
    noisy = np.stack([z, z]) + RNG.standard_normal((2, 400))
    result = miest.conditional_mutual_information(noisy[0], noisy[1], given=z)
    assert result.quantity == "I(X;Y|Z)"
    assert abs(result.value) < 0.15
    with pytest.raises(ValueError, match="given is None"):
        miest.conditional_mutual_information(z, z, given=None)


def test_entropy_by_kind() -> None:
    assert miest.entropy(LABELS).estimator.name == "PlugIn"
    assert miest.entropy(LABELS).value == pytest.approx(np.log(3), abs=0.02)
    assert miest.entropy(X).estimator.name == "KozachenkoLeonenko"
    assert miest.entropy(X[:, 0]).value == pytest.approx(0.5 * np.log(2 * np.pi * np.e), abs=0.2)
    assert miest.entropy(X, estimator=miest.KozachenkoLeonenko(k=7)).estimator.k == 7


def test_total_correlation() -> None:
    assert miest.total_correlation(np.column_stack([X[:, 0], X[:, 0] + 0.1 * X[:, 1]])).value > 1


def test_censored_gaussian_is_never_minus_infinity() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal(5_000)
    y = 0.8 * x + 0.6 * rng.standard_normal(5_000)
    result = miest.mutual_information(np.maximum(x, np.quantile(x, 0.3)), y)
    assert result.value == pytest.approx(0.457, abs=0.05)
    assert Flag.TIES not in result.flags


def test_a_critic_above_ln_n_gives_way_to_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 4))
    y = x + 0.05 * rng.standard_normal((600, 4))  # 12.0 nats, and ln n is 6.4

    def diverging(self: Any, x: Any, y: Any, **_: Any) -> MIResult:
        return MIResult(value=101.7, n_samples=len(x), estimator=self, flags=(Flag.SATURATED,), seconds=2.0)

    monkeypatch.setattr(miest.Discriminator, "estimate", diverging)
    result = miest.mutual_information(x, y)
    assert result.value == pytest.approx(12.0, abs=0.5)
    assert result.estimator == miest.GaussianCopula()
    assert Flag.SATURATED in result.flags
    assert result.notes[0].startswith(
        "auto picked GaussianCopula: Discriminator reads 101.7 nats, more than ln n = 6.4"
    )
    assert result.seconds > 2
