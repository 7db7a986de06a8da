"""Several estimators on the same data.

exact       which values a result allows; one common value or none; who is outside
properties  order of estimators, table, HTML, frame, dictionary
truth       agreement on Gaussians over seeds
refusals    disagreement on a circle; an estimator that cannot use the data is listed; unknown names raise
"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import miest
from miest import Flag, MIResult
from miest.comparison import Comparison, agreement, allowed_values, compare, defaults
from miest.samples import variables


def result(value: float, interval: tuple[float, float] | None = None, **more: object) -> MIResult:
    made = MIResult(value=value, n_samples=10_000, estimator=miest.KSG(), interval=interval)
    return replace(made, **more)  # type: ignore[arg-type]


def gaussian(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    return x, 0.8 * x + 0.6 * rng.standard_normal(n)


def circle(n: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * math.pi, n)
    return tuple(f(angle) + 0.1 * rng.standard_normal(n) for f in (np.cos, np.sin))


# exact


def test_what_a_result_allows() -> None:
    assert allowed_values(result(1, (0.9, 1.2))) == (0.9, 1.2)
    assert allowed_values(result(1)) == pytest.approx((1 - 0.07, 1 + 0.07))  # 2 / sqrt(n) and 5%
    assert allowed_values(result(1, (0.9, 1.2), kind="lower bound")) == (0.9, math.inf)
    assert allowed_values(result(1, (0.9, 1.2), kind="upper bound")) == (-math.inf, 1.2)
    assert allowed_values(result(7, (6.9, 7.1), flags=(Flag.SATURATED,))) == (6.9, math.inf)


@pytest.mark.parametrize(
    ("results", "outside", "common"),
    [
        ([result(1, (0.9, 1.1)), result(1.15, (1.05, 1.25))], (), (1.05, 1.1)),
        ([result(1, (0.9, 1.1)), result(2, (1.9, 2.1)), result(1.1, (1, 1.2))], (1,), (1, 1.1)),
        ([result(0.2, (0.1, 0.3), kind="lower bound"), result(2, (1.9, 2.1))], (), (1.9, 2.1)),
        ([result(3, (2.9, 3.1), kind="lower bound"), result(2, (1.9, 2.1)), result(2, (1.8, 2.2))], (0,), (1.9, 2.1)),
        ([result(3, (2.9, 3.1), kind="upper bound"), result(2, (1.9, 2.1))], (), (1.9, 2.1)),
        ([result(1, (0.9, 1.1)), result(5, quantity="H(T)"), result(1, (0.9, 1.1))], (), (0.9, 1.1)),
        ([result(1), result(math.inf)], (), None),
        ([], (), None),
    ],
)
def test_agreement(results: list[MIResult], outside: tuple[int, ...], common: tuple[float, float] | None) -> None:
    found = agreement(results)
    assert found[:2] == (outside, common)


def test_defaults_by_kind() -> None:
    x, y = gaussian(100)
    labels = (y > 0).astype(int)

    def names(**arguments: object) -> list[str]:
        return [e.name for e in defaults(variables(**arguments), layer=len(arguments) == 1)]

    assert names(x=x, y=y) == ["KSG", "Gaussian", "GaussianCopula"]
    assert names(x=np.maximum(x, 0), y=y) == ["KSG", "MixedKSG", "Gaussian", "GaussianCopula"]
    assert names(x=x, y=labels) == ["MixedKSG", "Ross"]
    assert names(x=x, y=labels, given=y) == ["MixedKSG"]
    assert names(x=labels, y=labels) == ["PlugIn"] * 3
    assert names(x=x) == ["KDE", "Binning"]


# properties


def test_it_is_a_sequence_of_the_results_that_each_estimator_gives() -> None:
    x, y = gaussian(300)
    found = compare(x, y, ["ksg", miest.Gaussian()], seed=0)
    assert [r.value for r in found] == [miest.KSG().estimate(x, y).value, miest.Gaussian().estimate(x, y).value]
    assert len(found) == 2
    assert found[0].estimator == miest.KSG()
    assert found.flags == ()
    again = compare(x, y, [miest.Gaussian(), "ksg"])
    assert (again.agree, again.common) == (found.agree, found.common)


def test_every_form_shows_values_flags_and_who_is_outside() -> None:
    found = compare(*circle())
    for text in (found.report(), found._repr_html_()):
        for part in ("KSG", "SKEWED", "(outside)", "cannot be true together", f"{found[0].value:.4f}"):
            assert part in text
    assert "DISAGREEMENT" in str(found)
    plain = found.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["flags"] == ["DISAGREEMENT"]
    frame = found.to_frame()
    assert list(frame["value"]) == [r.value for r in found]
    assert list(frame["outside"]) == [i in found.outside for i in range(len(found))]


def test_nothing_to_compare() -> None:
    assert str(Comparison(results=())) == "0 estimates, nats: none [agree]"
    layer = compare(circle()[0])
    assert layer.agree
    assert {r.quantity for r in layer} == {"I(X;T+eps)", "H_bin(T)"}


# truth


def test_agreement_on_gaussians() -> None:
    found = [compare(*gaussian(1000, seed)) for seed in range(40)]
    assert sum(not c.agree for c in found) <= 4
    truth = -0.5 * math.log(1 - 0.64)
    covered = [c.common is not None and c.common[0] - 0.02 < truth < c.common[1] + 0.02 for c in found]
    assert sum(covered) >= 34


# refusals


def test_a_circle_is_a_disagreement_and_names_the_linear_one() -> None:
    found = compare(*circle())
    assert found.flags == (Flag.DISAGREEMENT,)
    assert [found[i].estimator.name for i in found.outside] == ["Gaussian"]  # the copula is a lower bound
    assert "Gaussian" in found.notes[-1]


def test_who_cannot_use_the_data_is_listed_with_the_reason() -> None:
    x, y = gaussian(100)
    found = compare(x, y, ["ksg", "ross"])
    assert [r.estimator.name for r in found] == ["KSG"]
    assert "Ross needs one discrete and one continuous argument" in found.refusals[0][1]
    assert "refused" in found.report()


def test_bad_data_and_unknown_names_raise() -> None:
    x, y = gaussian(100)
    with pytest.raises(ValueError, match="is not one of auto"):
        compare(x, y, ["kgs"])
    with pytest.raises(ValueError, match="x has 100 samples and y has 99"):
        compare(x, y[1:])
