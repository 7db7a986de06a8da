"""Laws that information obeys, checked on the user's data.

exact       the size of a violation and what is allowed; derangements; maps that lose nothing
properties  the same seed gives the same table; forms
truth       right estimators pass on Gaussians, labels and tables
refusals    binning, and a method that loses or invents information, fail by name
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import miest
from miest.consistency import Check, _check, _deranged, _increasing, _rotation, self_consistency
from miest.estimators.estimator import Estimator
from miest.samples import variable


def gaussian(n: int, seed: int = 0, d: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, 0.8 * x + 0.6 * rng.standard_normal((n, d))


@dataclass(frozen=True, kw_only=True)
class Scaled(Estimator):
    """Wrong on purpose: a right value plus a number, times the number of columns to a power."""

    plus: float = 0.0
    power: float = 0.0

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> miest.MIResult:
        made = miest.GaussianCopula().estimate(x, y)
        value = (made.value + self.plus) * variable(x, "x").d ** self.power
        return miest.MIResult(value=value, n_samples=made.n_samples, estimator=self)


def failed(found: Any) -> set[str]:
    return {check.name for check in found if not check.ok}


# exact


def test_how_far_off_and_what_is_allowed() -> None:
    check = _check("a", "b", [1.0, 1.0], [1.3, 1.5])
    assert (check.expected, check.found, check.excess) == pytest.approx((1, 1.4, 0.4))
    assert check.stderr == pytest.approx(0.1)
    assert check.allowed == pytest.approx(0.02 + 0.1 + 0.2)
    assert not check.ok
    assert _check("a", "b", [1.0], [0.5], one_sided=True).ok
    assert not _check("a", "b", [1.0], [0.5]).ok
    assert _check("a", "b", [1.0], [0.5]).stderr == 0


def test_no_row_keeps_its_partner() -> None:
    y = variable(np.arange(50.0), "y")
    for seed in range(20):
        moved = _deranged(y, np.random.default_rng(seed)).data[:, 0]
        assert (moved != np.arange(50)).all()
        assert sorted(moved) == list(range(50))


def test_maps_lose_nothing() -> None:
    rng = np.random.default_rng(0)
    v = variable(np.random.default_rng(1).standard_t(2, (300, 2)), "x")
    for _ in range(20):
        mapped = _increasing(v, rng)
        for column in (0, 1):
            assert (np.diff(mapped[np.argsort(v.values[:, column]), column]) > 0).all()
    q = _rotation(4, rng)
    assert q @ q.T == pytest.approx(np.eye(4), abs=1e-12)


# properties


def test_same_seed_same_table_and_forms() -> None:
    x, y = gaussian(200, d=2)
    found = self_consistency(x, y, "ksg", repetitions=2, seed=1)
    assert found == self_consistency(x, y, miest.KSG(), repetitions=2, seed=1)
    assert found != self_consistency(x, y, miest.KSG(), repetitions=2, seed=2)
    plain = found.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert [c["name"] for c in plain["checks"]] == [
        "independence", "data processing", "data processing", "data processing", "additivity", "invariance",
        "invariance", "invariance",
    ]  # fmt: skip
    for text in (found.report(), found._repr_html_()):
        for part in ("independence", "y deranged", "additivity", "rotation", "KSG(k=3", f"{found.value:.3f}"):
            assert part in text


# truth


@pytest.mark.parametrize("seed", range(3))
def test_right_estimators_pass(seed: int) -> None:
    x, y = gaussian(1500, seed)
    labels = np.digitize(y[:, 0], [-1, 0, 1])
    for found in (
        self_consistency(x, y, "gaussiancopula", seed=seed),
        self_consistency(x, y, "ksg", seed=seed),
        self_consistency(x, labels, seed=seed),
        self_consistency(np.digitize(x[:, 0], [-1, 0, 1]), labels, seed=seed),
    ):
        assert found.ok, str(found)
        assert "passes" in str(found)
    assert isinstance(self_consistency(x, labels, repetitions=1).estimator, miest.MixedKSG)


# refusals


def test_binning_invents_information() -> None:
    found = self_consistency(*gaussian(500), miest.Binning(bins=50), repetitions=3)
    assert {"independence"} <= failed(found)
    assert "FAIL" in found.report()
    assert f"fails {sum(not c.ok for c in found)} of {len(found.checks)}: independence" in str(found)


def test_a_line_does_not_survive_increasing_maps() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(2000)
    y = x + 0.02 * rng.standard_normal(2000)
    found = self_consistency(x, y, "gaussian", repetitions=8)
    assert [c.what for c in found if not c.ok] == ["increasing maps of columns"]


@pytest.mark.parametrize(
    ("method", "broken"),
    [
        (Scaled(), set()),
        (Scaled(plus=0.3), {"independence", "additivity"}),
        (Scaled(power=1.0), {"additivity"}),
        (Scaled(power=-1.0), {"additivity"}),
    ],
)
def test_wrong_methods_fail_by_name(method: Scaled, broken: set[str]) -> None:
    assert failed(self_consistency(*gaussian(1000), method, repetitions=3)) == broken


def test_a_method_that_gains_from_noise_fails_data_processing() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Spread(Scaled):
        def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> miest.MIResult:
            return miest.MIResult(value=float(variable(y, "y").scale[0]), n_samples=len(x.data), estimator=self)

    x, y = gaussian(500)
    assert "data processing" in failed(self_consistency(x, y / y.std(), Spread(), repetitions=3))


def test_what_it_refuses() -> None:
    x, y = gaussian(50)
    with pytest.raises(ValueError, match="repetitions=0"):
        self_consistency(x, y, repetitions=0)
    with pytest.raises(ValueError, match="self_consistency needs at least 20 samples, got 10"):
        self_consistency(x[:10], y[:10])
    with pytest.raises(ValueError, match="estimates inf nats, for which no law can be checked"):
        self_consistency(x, y, Scaled(plus=math.inf))
    with pytest.raises(ValueError, match="y is None: the laws"):
        self_consistency(x, None)


def test_a_check_knows_its_row() -> None:
    made = Check(name="a", what="b", expected=1, found=1, stderr=0, excess=0, allowed=0.1)
    assert made.row()[-1] == "pass"
