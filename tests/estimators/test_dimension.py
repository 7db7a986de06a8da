"""Correlation dimension: exact, properties, truth, refusals."""

import math

import numpy as np
import pytest

from miest import CorrelationDimension, Flag, MIResult
from miest.estimators.auto import named


def torus(d: int, n: int, seed: int = 0) -> np.ndarray:
    angle = np.random.default_rng(seed).random((n, d)) * 2 * np.pi
    return np.hstack([np.cos(angle), np.sin(angle)])


def lorenz(n: int, seed: int = 0) -> np.ndarray:
    """Points of 200 orbits, by Runge-Kutta, 0.3 apart in time."""

    def velocity(s: np.ndarray) -> np.ndarray:
        x, y, z = s
        return np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    state = np.random.default_rng(seed).normal(size=(3, 200)) + np.array([[0], [0], [20]])
    step, points = 0.005, []
    for i in range(4000 + 60 * n // 200):
        a = velocity(state)
        b = velocity(state + step / 2 * a)
        c = velocity(state + step / 2 * b)
        state = state + step / 6 * (a + 2 * b + 2 * c + velocity(state + step * c))
        if i >= 4000 and i % 60 == 0:
            points.append(state.T)
    return np.concatenate(points)


def henon(n: int) -> np.ndarray:
    x, y, orbit = 0.1, 0.1, []
    for _ in range(n + 100):
        x, y = 1 - 1.4 * x * x + y, 0.3 * x
        orbit.append((x, y))
    return np.array(orbit[100:])


# exact


def test_a_point_mass_has_dimension_zero() -> None:
    result = CorrelationDimension().estimate(np.full((200, 3), 7.0))
    assert result.value == 0
    assert result.flags == (Flag.CONSTANT,)


def test_an_atom_of_many_rows_has_dimension_zero() -> None:
    x = np.random.default_rng(0).random((2000, 2))
    x[:500] = 0.5
    result = CorrelationDimension().estimate(x)
    assert result.value == 0
    assert Flag.TIES in result.flags
    # Between the radii that are named the rest is seen.
    assert CorrelationDimension(radii=(0.02, 0.2)).estimate(x).value > 0.5


def test_it_is_a_number_of_dimensions() -> None:
    result = CorrelationDimension().estimate(torus(1, 500))
    assert result.unit == "dimensions"
    assert "dimensions" in str(result)
    assert "nats" not in str(result)
    assert MIResult.from_json(result.to_json()) == result


# properties


def test_shift_scale_and_order_leave_it() -> None:
    x = torus(2, 1500)
    value = CorrelationDimension().estimate(x).value
    order = np.random.default_rng(1).permutation(len(x))
    assert CorrelationDimension().estimate(x[order]).value == pytest.approx(value, abs=2e-3)
    assert CorrelationDimension().estimate(1e3 * x + 1e4).value == pytest.approx(value, abs=2e-3)


# truth


@pytest.mark.parametrize("d", [1, 2, 3])
def test_cube(d: int) -> None:
    x = np.random.default_rng(d).random((5000, d))
    assert CorrelationDimension().estimate(x).value == pytest.approx(d, rel=0.05)


@pytest.mark.parametrize("d", [1, 2, 4])
def test_torus(d: int) -> None:
    assert CorrelationDimension().estimate(torus(d, 5000)).value == pytest.approx(d, rel=0.05)


def test_henon() -> None:
    assert CorrelationDimension().estimate(henon(10_000)).value == pytest.approx(1.21, abs=0.02)


@pytest.mark.slow
def test_lorenz() -> None:
    assert CorrelationDimension().estimate(lorenz(10_000)).value == pytest.approx(2.05, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("d", [3, 4, 5, 6])
def test_torus_of_many_dimensions(d: int) -> None:
    assert CorrelationDimension().estimate(torus(d, 10_000)).value == pytest.approx(d, rel=0.04)


def test_a_squeezed_direction_is_seen() -> None:
    x = np.random.default_rng(3).random((3000, 2)) * [1, 0.01]
    assert CorrelationDimension().estimate(x).value == pytest.approx(2, rel=0.05)
    # Between radii in the units of x, above the width of the strip, it is a line.
    assert CorrelationDimension(radii=(0.05, 0.2)).estimate(x).value == pytest.approx(1, rel=0.1)


def test_noise_far_below_the_range_is_not() -> None:
    x = np.random.default_rng(4).random((3000, 1)) * [1, 1, 0] + np.random.default_rng(5).normal(size=(3000, 3)) * 1e-7
    assert CorrelationDimension().estimate(x).value == pytest.approx(1, rel=0.03)


def test_layers_keep_the_smallest_width() -> None:
    rng = np.random.default_rng(0)
    layer = rng.normal(size=(5000, 4))
    for width in (3, 8):
        layer = np.tanh(layer @ rng.normal(size=(layer.shape[1], width)) * 0.3)
    assert CorrelationDimension().estimate(layer).value == pytest.approx(3, rel=0.05)


def saturated(sizes: tuple[int, ...], gain: float, seed: int, n: int = 5000) -> np.ndarray:
    """The last layer of a random tanh network of Gaussian inputs; with a gain of 2, units are at their ends."""
    rng = np.random.default_rng(seed)
    layer = rng.standard_normal((n, sizes[0]))
    for width in sizes[1:]:
        weights = gain * rng.standard_normal((layer.shape[1], width)) / math.sqrt(layer.shape[1])
        layer = np.tanh(layer @ weights + 0.1 * rng.standard_normal(width))
    return layer


@pytest.mark.parametrize("sizes", [(4, 8), (6, 5), (4, 8, 3), (6, 5, 2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_saturated_layers_keep_it_too(sizes: tuple[int, ...], seed: int) -> None:
    result = CorrelationDimension().estimate(saturated(sizes, 1.5, seed))
    assert result.value == pytest.approx(min(sizes), rel=0.05)


def test_layers_that_squeeze_one_after_the_other_are_too_low_and_half_of_them_flagged() -> None:
    """What the documentation says of them: 1 to 2.6 of 3."""
    found = [
        CorrelationDimension().estimate(saturated(sizes, gain, seed))
        for sizes in ((3, 3, 3), (3, 3, 3, 3))
        for gain in (1.5, 2)
        for seed in (0, 1)
    ]
    assert all(1 < each.value < 2.6 for each in found)
    assert sum(Flag.SMALL_SAMPLE in each.flags for each in found) >= 4


@pytest.mark.parametrize("seed", range(6))
def test_columns_that_were_not_squashed_are_left(seed: int) -> None:
    """Seed 4 rises by chance; without squashing it would be read as 3.3."""
    assert CorrelationDimension().estimate(torus(3, 5000, seed)).value == pytest.approx(3, rel=0.03)


# refusals


def test_too_few_samples_for_the_dimension_are_flagged() -> None:
    x = np.random.default_rng(0).normal(size=(300, 12))
    assert Flag.SMALL_SAMPLE in CorrelationDimension().estimate(x).flags
    assert CorrelationDimension().estimate(x[:, :2]).flags == ()


def test_a_dimension_that_still_rises_with_smaller_radii_is_flagged() -> None:
    clean = CorrelationDimension().estimate(np.random.default_rng(0).standard_normal((5000, 3)))
    result = CorrelationDimension().estimate(saturated((3, 3, 3), 2, seed=1))
    assert clean.flags == ()
    assert result.value < 2  # of 3: two layers have squeezed and bent it
    assert result.flags == (Flag.SMALL_SAMPLE,)
    assert "still rises as radii shrink" in result.notes[0]


def test_what_cannot_be() -> None:
    x = np.random.default_rng(0).random((100, 2))
    with pytest.raises(ValueError, match="takes one sample"):
        CorrelationDimension().estimate(x, x)
    with pytest.raises(ValueError, match="no pair of rows is between"):
        CorrelationDimension(radii=(1e-9, 2e-9)).estimate(x)
    with pytest.raises(ValueError, match="low < high"):
        CorrelationDimension(radii=(1.0, 0.5))
    with pytest.raises(ValueError, match="at least 50 samples"):
        CorrelationDimension().estimate(x[:20])


def test_the_command_line_knows_it() -> None:
    assert isinstance(named("correlation-dimension"), CorrelationDimension)
