"""noise_sweep: the curve of I(X;T+eps) over the size of the noise.

exact       each point is what GaussianChannel gives; order of the sizes
properties  the curve falls with the noise
refusals    every raise
workflow    table, frame, dictionary, picture
"""

import json
import math

import numpy as np
import pytest

import miest.sweep
from miest.estimators.channel import GaussianChannel
from miest.noise import GaussianNoise
from miest.result import Flag, MIResult
from miest.samples import DataError
from miest.sweep import NoiseSweep, noise_sweep

RNG = np.random.default_rng(0)
T, LABELS = RNG.standard_normal((200, 2)), RNG.integers(0, 3, 200)
STDS = [0.01, 1.0, 0.3, 3.0]


@pytest.fixture(scope="module")
def swept() -> NoiseSweep:
    return noise_sweep(T, STDS)


# exact


@pytest.mark.parametrize("labels", [None, LABELS])
@pytest.mark.parametrize("population", [True, False])
def test_each_point_is_what_gaussian_channel_gives(labels: np.ndarray | None, population: bool) -> None:
    settings = {"population": population, "draws": 5, "level": 0.9}
    swept = noise_sweep(T, STDS, labels, **settings, seed=4)  # type: ignore[arg-type]
    assert swept.stds == tuple(STDS)
    for result in swept:
        alone = GaussianChannel(noise=result.estimator.noise, **settings).estimate(T, labels, seed=4)  # type: ignore[arg-type]
        assert result.estimator == alone.estimator
        assert result.value == pytest.approx(alone.value, abs=1e-8)
        assert result.flags == alone.flags
        assert result.quantity == alone.quantity == swept.quantity
        for name in ("lower", "upper", "in_sample", "leave_one_out", "standard_error", "noise_entropy"):
            assert result.diagnostics[name] == pytest.approx(alone.diagnostics[name], abs=1e-8, rel=1e-8)


def test_columns_are_those_of_the_results(swept: NoiseSweep) -> None:
    assert swept.values == tuple(result.value for result in swept.results)
    for name in ("in_sample", "leave_one_out", "out_of_sample", "lower", "upper"):
        assert getattr(swept, name) == tuple(result.diagnostics[name] for result in swept)
    assert (swept.n, swept.ceiling, swept.quantity) == (200, math.log(200), "I(X;T+eps)")
    assert swept.estimator == "GaussianChannel(population=True)"
    assert len(swept) == 4
    assert swept[1].diagnostics.noise_std == 1.0
    assert math.isnan(swept.stderr[0])
    assert Flag.SATURATED in swept[0].flags
    assert swept.stderr[1] == swept[1].diagnostics.standard_error


# properties


def test_more_noise_leaves_less_information() -> None:
    swept = noise_sweep(T, np.geomspace(0.05, 20, 12))  # type: ignore[arg-type]
    for column in (swept.in_sample, swept.lower, swept.upper, swept.out_of_sample):
        assert (np.diff(column) < 0).all()
    assert swept.values[-1] == pytest.approx(float(np.log1p(T.var(axis=0) / 400).sum() / 2), rel=0.1)


# refusals


def test_refusals() -> None:
    with pytest.raises(ValueError, match="stds is empty"):
        noise_sweep(T, [])
    with pytest.raises(ValueError, match=r"std=0\.0 must be a positive finite number"):
        noise_sweep(T, [1.0, 0.0])
    with pytest.raises(ValueError, match="draws=0 must be an integer"):
        noise_sweep(T, [1.0], draws=0)
    with pytest.raises(DataError, match="t is None"):
        noise_sweep(None, [1.0])
    with pytest.raises(DataError, match="t has 200 samples and labels has 199"):
        noise_sweep(T, [1.0], LABELS[1:])
    with pytest.raises(DataError, match="both arguments are continuous"):
        noise_sweep(T, [1.0], T)


# workflow


def test_table_frame_and_dictionary(swept: NoiseSweep) -> None:
    text = str(swept)
    assert "I(X;T+eps), GaussianChannel(population=True), n=200, at most 5.2983 nats" in text
    assert f"{swept.values[1]:.4f}" in text
    assert "SATURATED" in text
    assert swept._repr_html_().count("<tr>") == 5
    pytest.importorskip("pandas")
    frame = swept.to_frame()
    assert list(frame["noise_std"]) == STDS
    assert list(frame["value"]) == list(swept.values)
    assert frame["low"].isna().tolist() == [result.interval is None for result in swept]
    plain = json.loads(json.dumps(swept.to_dict(), default=str))
    assert [MIResult.from_dict(each).value for each in plain["results"]] == list(swept.values)


def test_without_pandas_the_error_names_the_extra(swept: NoiseSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'miest\[data\]'"):
        swept.to_frame()


def test_picture(swept: NoiseSweep) -> None:
    pytest.importorskip("matplotlib")
    figure, axes = swept.plot(units="bits", title="a layer")
    assert axes.get_xscale() == "log"
    assert axes.get_title(loc="left") == "a layer"
    figure.savefig("/dev/null", format="png")


def test_the_module_does_not_hide_the_function() -> None:
    assert miest.sweep.noise_sweep is noise_sweep
    assert GaussianNoise(std=0.3) == noise_sweep(T[:9], [0.3])[0].estimator.noise
