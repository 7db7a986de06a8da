"""The result type.

exact       units, text, JSON round trip of every estimator's result
refusals    require_ok, foreign JSON
"""

import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

import miest
from miest import Diagnostics, Doubt, Flag, MIResult

RESULT = MIResult(
    value=-0.25,
    n_samples=100,
    estimator=miest.KSG(k=4),
    kind="lower bound",
    interval=(-0.5, 0.1),
    ceiling=3.0,
    flags=(Flag.TIES,),
    notes=("30% of <x> repeat.",),
    diagnostics=Diagnostics(radius=0.5, curve=[1.0, 2.0], nothing=None),
    seconds=0.1,
)


def test_nats_and_bits() -> None:
    assert float(RESULT) == RESULT.nats == -0.25
    assert RESULT.bits == -0.25 / math.log(2)
    assert f"{RESULT:.3f}" == "-0.250"
    assert f"{RESULT}" == str(RESULT)


def test_text_shows_value_kind_interval_settings_and_flags() -> None:
    text = str(RESULT)
    for part in (
        "I(X;Y) = -0.2500 nats (-0.3607 bits)", "lower bound", "95% [-0.5000, 0.1000]", "KSG(k=4", "n=100", "[TIES]"
    ):  # fmt: skip
        assert part in text
    assert "\n" not in text


def test_report_and_html_say_everything() -> None:
    for text in (RESULT.report(), RESULT._repr_html_()):
        for part in ("-0.250000", "ceiling", "3.000000", "TIES", Flag.TIES.value, "radius", "0.5", "KSG(k=4"):
            assert part in text
    assert "&lt;x&gt;" in RESULT._repr_html_()
    assert "<x>" not in RESULT._repr_html_()
    assert "<x>" in RESULT.report()


def test_diagnostics_read_both_ways() -> None:
    d = RESULT.diagnostics
    assert d["radius"] == d.radius == 0.5
    assert dict(d) == {"radius": 0.5, "curve": [1.0, 2.0], "nothing": None}
    assert "radius" in dir(d)
    with pytest.raises(AttributeError, match="this result has: radius"):
        _ = d.diameter


@pytest.mark.parametrize("result", [RESULT, replace(RESULT, interval=None, ceiling=None, flags=(), value=math.inf)])
def test_json_round_trip(result: MIResult) -> None:
    again = MIResult.from_json(result.to_json())
    assert again == result
    assert again.estimator == miest.KSG(k=4)
    assert MIResult.from_dict(result.to_dict()) == result


def test_every_estimator_s_result_survives_json() -> None:
    rng = np.random.default_rng(0)
    x, y, labels = rng.standard_normal((60, 2)), rng.standard_normal(60), rng.integers(0, 3, 60)
    results = [
        miest.KSG().estimate(x, y),
        miest.KSG(variant=2).estimate(x, y),
        miest.MixedKSG().estimate(x, labels),
        miest.Ross().estimate(x, labels),
        miest.TotalCorrelation().estimate(x),
        miest.KozachenkoLeonenko().estimate(x),
        miest.Gaussian().estimate(x, y),
        miest.GaussianCopula().estimate(x, y),
        miest.KDE().estimate(x),
        miest.KDE(noise_var=0.5).estimate(x, labels),
        miest.PlugIn().estimate(labels, labels),
        *(miest.Binning(bins=5, correction=c).estimate(x, y) for c in (None, "grassberger")),
        miest.mutual_information(x, y),
    ]
    for result in results:
        assert MIResult.from_json(result.to_json()) == result


@pytest.mark.parametrize(
    "estimator",
    [
        miest.KSG(k=np.int64(3)),
        miest.MixedKSG(k=np.int32(4)),
        miest.Ross(k=np.int64(3)),
        miest.KDE(noise_var=np.float32(0.5)),
        miest.Binning(bins=np.int64(5)),
        miest.Binning(strategy="fixed-width", width=np.float32(0.5)),
    ],
)
def test_numpy_settings_survive_json(estimator: miest.KSG) -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal(60) if estimator.name == "KSG" else rng.integers(0, 3, 60)
    result = estimator.estimate(rng.standard_normal(60), y)
    again = MIResult.from_json(result.to_json())
    assert again == result
    assert again.estimator == estimator


def test_numpy_values_survive_json() -> None:
    result = replace(RESULT, value=np.float64(1.5), n_samples=np.int64(7), diagnostics=Diagnostics(m=np.int64(2)))
    assert MIResult.from_json(result.to_json()) == result


def test_json_has_no_number_that_json_does_not_know() -> None:
    result = replace(
        RESULT,
        value=-math.inf,
        interval=(-math.inf, math.inf),
        diagnostics=Diagnostics(a=[math.inf], b={"c": math.nan}),
    )

    def refuse(text: str) -> None:
        raise AssertionError(text)

    plain = json.loads(result.to_json(), parse_constant=refuse)
    assert plain["value"] == "-inf"
    assert result.to_dict()["value"] == -math.inf
    again = MIResult.from_dict(plain)
    assert (again.value, again.interval, again.diagnostics.a) == (-math.inf, (-math.inf, math.inf), [math.inf])
    assert math.isnan(again.diagnostics.b["c"])


def test_equal_results_have_equal_hashes() -> None:
    again = MIResult.from_json(RESULT.to_json())
    assert hash(again) == hash(RESULT)
    assert {RESULT, again, replace(RESULT, value=1.0)} == {RESULT, replace(RESULT, value=1.0)}
    assert hash(Diagnostics(a=1, b=2)) == hash(Diagnostics(b=2, a=1))


def test_a_stranger_s_estimator_comes_back_as_text() -> None:
    @dataclass(frozen=True)
    class Mine:
        size: int = 3

    again = MIResult.from_json(replace(RESULT, estimator=Mine()).to_json())
    assert again.estimator == "Mine(size=3)"


def test_reading_never_calls_what_the_file_names() -> None:
    plain = RESULT.to_dict() | {"estimator": {"class": "load", "path": "/etc/hostname"}}
    assert MIResult.from_dict(plain).estimator == "load(path='/etc/hostname')"


def test_require_ok() -> None:
    with pytest.raises(Doubt, match=r"30% of <x> repeat"):
        RESULT.require_ok()
    assert not RESULT.ok
    clean = replace(RESULT, flags=(), notes=())
    assert clean.require_ok() is clean
    assert clean.ok


def test_flags_explain_themselves() -> None:
    for flag in Flag:
        assert str(flag) == flag.name
        assert len(flag.value) > 30


def test_foreign_json_raises() -> None:
    with pytest.raises(ValueError, match="missing or unknown fields: color, seconds"):
        MIResult.from_dict({key: value for key, value in RESULT.to_dict().items() if key != "seconds"} | {"color": 1})
    with pytest.raises(ValueError, match="kind='guess'"):
        MIResult.from_json(json.dumps(RESULT.to_dict() | {"kind": "guess"}))


def test_results_compare_and_cannot_be_changed() -> None:
    assert replace(RESULT) == RESULT
    assert replace(RESULT, value=1.0) != RESULT
    with pytest.raises(AttributeError):
        RESULT.value = 1.0  # type: ignore[misc]
