"""Noise models.

exact       entropies and standard deviations by hand; noise relative to a layer
properties  shapes, seeds, equality; another stream than the data have
truth       samples have the stated distribution and entropy
refusals    every raise
"""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from miest.noise import GaussianNoise, Noise, UniformNoise, ZeroEntropyNoise, noise_generator
from miest.samples import DataError

NOISES: list[tuple[Noise, Any]] = [
    (GaussianNoise(std=0.3), stats.norm(0, 0.3)),
    (ZeroEntropyNoise(), stats.norm(0, 1 / math.sqrt(2 * math.pi * math.e))),
    (UniformNoise(width=0.5), stats.uniform(-0.25, 0.5)),
]


# exact


@pytest.mark.parametrize(("noise", "known"), NOISES)
def test_std_and_entropy_of_known_distributions(noise: Noise, known: Any) -> None:
    assert noise.std == pytest.approx(known.std(), rel=1e-14)
    assert noise.entropy() == pytest.approx(float(known.entropy()), abs=1e-14)
    assert noise.entropy(7) == pytest.approx(7 * float(known.entropy()), abs=1e-13)


def test_zero_entropy_is_exactly_zero() -> None:
    assert [ZeroEntropyNoise().entropy(d) for d in (1, 512)] == [0.0, 0.0]
    assert ZeroEntropyNoise().std ** 2 == pytest.approx(1 / (2 * math.pi * math.e), rel=1e-14)


def test_relative_to_the_root_mean_variance() -> None:
    t = np.array([[0.0, 0.0, 5.0], [6.0, 8.0, 5.0]])  # standard deviations 3, 4 and 0
    assert GaussianNoise.relative(t, 0.5) == GaussianNoise(std=0.5 * 5 / math.sqrt(3))
    assert GaussianNoise.relative(t * 1e200).std == pytest.approx(GaussianNoise.relative(t).std * 1e200, rel=1e-12)


# properties


@pytest.mark.parametrize(("noise", "_"), NOISES)
def test_shapes_seeds_and_hashes(noise: Noise, _: Any) -> None:
    for shape in ((3,), (4, 2), (0, 5), (2, 3, 4)):
        assert noise.sample(shape, np.random.default_rng(0)).shape == shape
    first, again = (noise.sample((50, 2), np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert eval(repr(noise)) == noise
    assert len({noise, eval(repr(noise))}) == 1


def test_settings_are_plain_numbers() -> None:
    assert type(GaussianNoise(std=np.float32(0.5)).std) is float  # type: ignore[arg-type]
    assert type(UniformNoise(width=2).width) is float


@pytest.mark.parametrize("seed", [None, 0, 1, 7])
def test_the_stream_is_not_the_one_that_data_have(seed: int | None) -> None:
    """Data from ``default_rng(0)`` with noise from ``default_rng(0)`` would be noise that repeats the data."""
    noise = noise_generator(seed).standard_normal(2000)
    data = np.random.default_rng(seed or 0).standard_normal(2000)
    assert np.intersect1d(noise, data).size == 0
    np.testing.assert_array_equal(noise, noise_generator(seed or 0).standard_normal(2000))


# truth


@pytest.mark.parametrize(("noise", "known"), NOISES)
def test_samples_have_the_distribution_and_are_independent(noise: Noise, known: Any) -> None:
    sample = noise.sample((4000, 2), np.random.default_rng(5))
    for column in sample.T:
        assert stats.kstest(column, known.cdf).pvalue > 0.001
    assert abs(np.corrcoef(sample.T)[0, 1]) < 4 / math.sqrt(4000)
    entropy = -known.logpdf(sample[:, 0])
    assert abs(entropy.mean() - noise.entropy()) < 4 * entropy.std() / math.sqrt(4000) + 1e-12


# refusals


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan, True, "0.1", None, 10**400])
def test_sizes_that_are_none(bad: Any) -> None:
    for make, name in ((GaussianNoise, "std"), (UniformNoise, "width")):
        with pytest.raises(ValueError, match=f"{name}=.* must be a positive finite number"):
            make(**{name: bad})
    with pytest.raises(ValueError, match=r"share=.* must be a positive finite number"):
        GaussianNoise.relative(np.arange(4.0), bad)


def test_relative_to_nothing() -> None:
    with pytest.raises(DataError, match="t has the same value in all 5 samples"):
        GaussianNoise.relative(np.ones((5, 2)))
    with pytest.raises(DataError, match="t has 1 NaN"):
        GaussianNoise.relative([0.0, math.nan])
