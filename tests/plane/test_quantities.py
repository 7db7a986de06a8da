"""What is estimated, and under which key: exact, properties, refusals."""

import json
import math
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest

import miest
from miest.estimators.aamine import AAMINE
from miest.estimators.channel import GaussianChannel
from miest.estimators.estimator import Estimator
from miest.estimators.noisy import Noisy
from miest.noise import GaussianNoise
from miest.plane.axes import resolved, wherever
from miest.plane.quantities import (
    READY,
    Quantity,
    binned_entropy,
    linear_probe,
    stream,
    total_correlation,
)
from miest.result import MIResult

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 60)
T = (RNG.standard_normal((60, 2)) + LABELS[:, None]).astype(np.float32)


def keys(found):
    return [quantity.key for quantity in found]


# Keys and axes


def test_one_estimator_an_axis_has_the_plain_key():
    x, y = resolved(ixt=miest.KDE(), ity=miest.MixedKSG(), labels=LABELS)
    assert (x.key, x.axis, x.labels, x.name) == ("I_XT", "x", False, "I(X;T+eps)")
    assert (y.key, y.axis, y.labels, y.name) == ("I_TY", "y", True, "I(T;Y)")


def test_several_estimators_have_keys_of_their_own():
    found = resolved(
        ixt=[miest.KDE(), miest.KDE(noise_var=0.1), miest.Binning(), miest.Binning(bins=10)],
        ity=["mixed-ksg", "ksg:k=5", miest.KDE()],
        labels=LABELS,
    )
    assert keys(found) == [
        *("I_XT", "I_XT[kde:noise_var=0.1]", "H_bin", "H_bin[binning:bins=10]"),
        *("I_TY", "I_TY[ksg:k=5]", "I_TY[kde]"),
    ]
    assert [quantity.axis for quantity in found] == ["x"] * 4 + ["y"] * 3


def test_a_key_does_not_depend_on_what_else_is_asked_for():
    there = [quantity.to_dict() for quantity in resolved(ixt="kde", ity="mixed-ksg", labels=LABELS)]
    more = resolved(quantities=[miest.KSG(), miest.KDE()], labels=LABELS, there=there, default=False)
    assert keys(more) == ["I_TY[ksg]", "I_XT", "I_TY[kde]"]  # KDE() of the layer alone is there already
    again = [*there, *(quantity.to_dict() for quantity in more)]
    assert keys(resolved(quantities=[miest.KDE(), miest.KSG()], labels=LABELS, there=again, default=False)) == [
        *("I_XT", "I_TY[kde]", "I_TY[ksg]")
    ]


def test_an_estimator_gives_whatever_it_answers():
    assert keys(wherever(miest.KSG(), LABELS)) == ["I_TY"]
    assert keys(wherever(miest.KDE(), LABELS)) == ["I_XT", "I_TY"]
    assert keys(wherever(miest.KDE(), None)) == ["I_XT"]
    assert keys(wherever(miest.TotalCorrelation(), LABELS)) == ["TC"]
    assert keys(wherever(miest.KozachenkoLeonenko(), LABELS)) == ["h_T"]
    assert [q.axis for q in wherever(miest.TotalCorrelation(), LABELS)] == [None]


def test_ready_quantities():
    found = resolved(ixt=[], ity=[], quantities=["total-correlation", "linear_probe", "binned-entropy"], labels=LABELS)
    assert found == (total_correlation(), linear_probe(), binned_entropy())
    assert keys(found) == ["TC", "H_Y_given_T", "H_bin"]
    assert set(READY) == {"total-correlation", "linear-probe", "binned-entropy", "correlation-dimension"}


def test_correlation_dimension():
    (found,) = resolved(ixt=[], ity=[], quantities=["correlation-dimension"], labels=LABELS)
    assert found.axis is None
    disc = RNG.standard_normal((2000, 2)).astype(np.float32)
    assert 1.6 < found(disc).value < 2.2


def test_defaults():
    x, y = resolved(labels=LABELS)
    assert isinstance(x.measure, GaussianChannel)
    assert x.measure == y.measure
    assert keys(resolved(labels=None)) == ["I_XT"]
    assert isinstance(resolved(labels=LABELS.astype(float))[1].measure, miest.MixedKSG)
    assert resolved(labels=LABELS, default=False) == ()
    assert keys(resolved(ity=[], labels=LABELS)) == ["I_XT"]


def test_noise_is_added_to_the_layer():
    noisy = Noisy(estimator=miest.MixedKSG(), noise=GaussianNoise(std=0.5))
    x, y = resolved(ixt=noisy, ity=noisy, labels=LABELS)
    assert (x.key, x.labels, x.inputs) == ("I_XT", False, True)
    assert (y.key, y.labels, y.inputs) == ("I_TY", True, False)
    inputs = T @ T[:2].T
    assert x(T, LABELS, inputs=inputs, seed=1).value == noisy.estimate(inputs, T, seed=1).value
    assert y(T, LABELS, seed=1).quantity == "I(T+eps;Y)"
    assert y(T, LABELS, seed=1).value == replace(noisy, noised="x").estimate(T, LABELS, seed=1).value


def test_a_critic_that_knows_the_layer():
    torch = pytest.importorskip("torch")
    noise = GaussianNoise(std=0.5)
    (found,) = resolved(ixt=AAMINE(torch.nn.Identity(), noise, steps=0), ity=[], labels=LABELS)
    assert (found.labels, found.inputs) == (False, False)
    result = found(np.tile(T, (4, 1)), seed=0)
    assert result.quantity == "I(X;T+eps)"
    assert 0 < result.value < math.log(60)
    with pytest.raises(ValueError, match=r"the layers are recorded.*AAMINE\(torch.nn.Identity\(\), noise\)"):
        resolved(ixt=AAMINE(torch.nn.Linear(2, 2), noise), ity=[], labels=None)


def test_functions_and_mappings():
    def spread(t):
        return float(np.var(t))

    found = resolved(ixt=[], ity=[], quantities={"mine": spread, "tc": miest.TotalCorrelation()}, labels=None)
    assert keys(found) == ["mine", "tc"]
    assert keys(resolved(ixt=spread, ity=[], quantities=[], labels=None)) == ["spread"]
    assert keys(resolved(ixt=[], ity=[], quantities=[spread], labels=None)) == ["spread"]
    own = Quantity("I_XT", spread)
    assert resolved(ixt=own, ity=[], labels=None)[0].axis == "x"


# Measuring


def test_values_are_those_of_the_estimator():
    kde = miest.KDE(noise_var=0.2)
    assert Quantity("I_XT", kde, "x")(T, LABELS).value == kde.estimate(T).value
    assert Quantity("I_TY", kde, "y")(T, LABELS).value == kde.estimate(T, LABELS).value
    assert linear_probe()(T, LABELS, seed=3).value == linear_probe().measure.estimate(T, LABELS, seed=3).value


@pytest.mark.parametrize(
    ("quantity", "name"),
    [
        (Quantity("I_TY", miest.MixedKSG(), "y"), "I(T;Y)"),
        (Quantity("I_TY", miest.KDE(noise_var=0.1), "y"), "I(T+eps;Y)"),
        (Quantity("I_TY", miest.Binning(), "y"), "I(bin T;Y)"),
        (Quantity("I_XT", miest.KDE(noise_var=0.1), "x"), "I(X;T+eps)"),
        (binned_entropy(), "H_bin(T)"),
        (total_correlation(), "TC(T)"),
        (Quantity("h_T", miest.KozachenkoLeonenko(), labels=False), "h(T)"),
        (linear_probe(), "H(Y|T)"),
        (Quantity("mine", lambda t: 1.5), "mine"),
        (Quantity("mine", lambda t: 1.5, name="my own"), "my own"),
    ],
)
def test_the_layer_is_called_t(quantity, name):
    assert quantity(T, LABELS).quantity == name


def test_inputs_are_passed_as_x():
    result = Quantity("I_XT", miest.KSG(), "x", labels=False, inputs=True)(T, LABELS, inputs=T[:, :1] + 1, seed=0)
    assert result.quantity == "I(X;T)"
    assert result.value == miest.KSG().estimate(T[:, :1] + 1, T, seed=0).value


def test_functions_get_what_they_ask_for():
    seen = {}

    def alone(t, *, seed):
        seen["alone"] = (t is T, seed)
        return 1

    def second(t, y):
        seen["second"] = y is LABELS
        return np.float32(2.5)

    def keyword(t, *, labels, inputs):
        seen["keyword"] = (labels is LABELS, inputs)
        return MIResult(value=3.0, n_samples=60, estimator="own", quantity="H(T)")

    assert Quantity("a", alone)(T, LABELS, seed=7).value == 1.0
    assert Quantity("b", second)(T, LABELS, seed=7).value == 2.5
    assert Quantity("c", keyword)(T, LABELS, inputs="inputs", seed=7).quantity == "H(T)"
    assert seen == {"alone": (True, 7), "second": True, "keyword": (True, "inputs")}


@dataclass(frozen=True)
class Own:
    """An estimator of somebody else, which knows no seed."""

    factor: float = 2.0

    def estimate(self, x, y):
        return self.factor * len(np.unique(y))


def test_estimators_of_others():
    (found,) = resolved(ixt=[], ity=Own(), labels=LABELS)
    assert found.key == "I_TY"
    assert found(T, LABELS, seed=1).value == 6.0
    assert found.text == "Own(factor=2.0)" or found.text.endswith("Own(factor=2.0)")
    assert keys(wherever(Own(), LABELS)) == ["I_TY"]


def test_streams_are_their_own():
    seeds = {stream(0, layer, step, again) for layer in ("a", "b") for step in range(20) for again in range(3)}
    assert len(seeds) == 120
    assert stream(0, "a", 3) == stream(0, "a", 3, 0) != stream(1, "a", 3)
    assert stream(0, "fc1", 10) == 8020186  # a change would change every recorded number
    random.Random(max(seeds))
    np.random.RandomState(max(seeds))


# Files


@pytest.mark.parametrize(
    "quantity",
    [
        Quantity("I_XT", miest.KDE(noise_var=0.1), "x"),
        Quantity("I_TY[ksg]", miest.KSG(k=5), "y", repetition=2),
        binned_entropy(bins=12),
        total_correlation(),
    ],
)
def test_a_file_gives_back_the_quantity(quantity):
    plain = json.loads(json.dumps(quantity.to_dict()))
    assert Quantity.from_dict(plain) == quantity


def test_a_file_cannot_give_back_what_is_not_ours():
    assert Quantity.from_dict(Quantity("a", lambda t: 1).to_dict()) is None
    assert Quantity.from_dict(Quantity("a", Own(), "y").to_dict()) is None
    kept = Quantity("a", miest.KSG(), "y").to_dict()
    assert Quantity.from_dict({**kept, "estimator": "KSG(neighbours=<my object>)"}) is None


def test_text_has_no_address():
    class Opaque(Estimator):
        def estimate(self, x, y=None, *, given=None, seed=None):
            return MIResult(value=1.0, n_samples=len(x), estimator=self)

    for measure in (Opaque(), lambda t: 1):
        assert " at 0x" not in Quantity("a", measure, labels=False).text
    assert Quantity("a", miest.KSG(), "y", repetition=1).text == f"{miest.KSG()}, repetition 1"


# Refusals


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Quantity("a b", miest.KSG()), "key='a b' must be a word"),
        (lambda: Quantity("a/b", miest.KSG()), "key='a/b' must be a word"),
        (lambda: Quantity("a", miest.KSG(), "z"), "axis='z' must be"),
        (lambda: Quantity("a", miest.KSG), "neither an estimator nor a function"),
        (lambda: Quantity("a", 3), "neither an estimator nor a function"),
        (lambda: Quantity("a", miest.KSG(), "y")(T), r"a needs the labels.*probe=\(x, y\)"),
        (lambda: Quantity("a", miest.KSG(), inputs=True)(T, LABELS), "a needs the inputs"),
        (lambda: resolved(ixt=miest.KSG(), labels=LABELS), r"ixt=KSG\(.*infinite.*Noisy\(estimator=KSG\(\)"),
        (lambda: resolved(ixt="mixed-ksg", labels=LABELS), "ixt=MixedKSG"),
        (lambda: resolved(ixt=[], ity=miest.TotalCorrelation(), labels=LABELS), "takes no labels"),
        (lambda: resolved(ixt=[], ity=miest.KSG(), labels=None), "I_TY needs labels"),
        (
            lambda: resolved(ixt=[], ity=[], quantities=[miest.KSG()], labels=None),
            "needs labels, and the probe set has none",
        ),
        (lambda: resolved(ixt="auto", labels=LABELS), "auto would pick another"),
        (lambda: resolved(ixt=[], ity=miest.Auto(), labels=LABELS), "auto would pick another"),
        (lambda: resolved(ixt="kdee", labels=LABELS), "'kdee' is not one of"),
        (lambda: resolved(ixt=[], ity=[], quantities=[lambda t: 1], labels=None), "has no name to be a key"),
        (lambda: resolved(ixt=[], ity=[], quantities=[3], labels=None), "has no name to be a key"),
        (
            lambda: resolved(
                ixt=[], ity=[], quantities=[Quantity("a", miest.KDE()), Quantity("a", len)], labels=LABELS
            ),
            "two quantities have the key a",
        ),
    ],
)
def test_refusals(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_value_that_is_no_number_is_an_error():
    for measure in (lambda t: math.nan, lambda t: MIResult(value=math.nan, n_samples=1, estimator="x")):
        with pytest.raises(ArithmeticError, match="no number of nats"):
            Quantity("a", measure)(T)
    with pytest.raises(TypeError):
        Quantity("a", lambda t: t)(T)
