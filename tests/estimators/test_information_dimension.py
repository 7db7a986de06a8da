"""Information dimension: exact, properties, truth, refusals."""

import numpy as np
import pytest

from miest import Flag, MIResult
from miest.estimators.information_dimension import InformationDimension


def torus(d: int, n: int, seed: int = 0) -> np.ndarray:
    angle = np.random.default_rng(seed).random((n, d)) * 2 * np.pi
    return np.hstack([np.cos(angle), np.sin(angle)])


def half_square_half_line(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    line = np.column_stack([3 + rng.random(n // 2), np.zeros(n // 2)])
    return np.concatenate([rng.random((n // 2, 2)), line])


# exact


def test_a_point_mass_has_dimension_zero() -> None:
    found = InformationDimension().estimate(np.full((200, 3), 7.0))
    assert found.value == 0
    assert found.flags == (Flag.CONSTANT,)
    assert found.interval == (0, 0)


def test_few_values_have_dimension_zero() -> None:
    x = np.random.default_rng(0).integers(0, 9, size=(1000, 2)).astype(float)
    found = InformationDimension().estimate(x)
    assert found.value == 0
    assert Flag.TIES in found.flags


def test_it_is_a_number_of_dimensions() -> None:
    found = InformationDimension().estimate(torus(1, 500))
    assert found.unit == "dimensions"
    assert found.quantity == "d(X)"
    assert "nats" not in str(found)
    assert len(found.diagnostics.scales) == 3


# properties


def test_shift_scale_and_order_leave_it() -> None:
    x = torus(2, 1000)
    value = InformationDimension().estimate(x).value
    order = np.random.default_rng(1).permutation(len(x))
    assert InformationDimension().estimate(x[order]).value == pytest.approx(value, abs=1e-6)
    assert InformationDimension().estimate(1e3 * x + 1e4).value == pytest.approx(value, abs=1e-6)


def test_it_travels_as_json() -> None:
    found = InformationDimension().estimate(torus(1, 500))
    back = MIResult.from_json(found.to_json())
    assert (back.value, back.interval, back.diagnostics.scales) == (
        found.value,
        found.interval,
        found.diagnostics.scales,
    )


# truth


@pytest.mark.parametrize("d", [1, 2, 3])
def test_cube(d: int) -> None:
    found = InformationDimension().estimate(np.random.default_rng(d).random((4000, d)))
    assert found.value == pytest.approx(d, rel=0.04)
    assert found.flags == ()


@pytest.mark.parametrize("d", [1, 3, 5])
def test_torus(d: int) -> None:
    assert InformationDimension().estimate(torus(d, 4000)).value == pytest.approx(d, rel=0.05)


def test_dimensions_of_parts_are_averaged() -> None:
    """By the information dimension of a mixture: half of 2 and half of 1, where the correlation dimension is 1."""
    assert InformationDimension().estimate(half_square_half_line(4000, 0)).value == pytest.approx(1.5, rel=0.04)


def test_an_atom_takes_its_share() -> None:
    x = np.random.default_rng(0).random((4000, 2))
    x[:1000] = 0.5
    found = InformationDimension().estimate(x)
    assert found.value == pytest.approx(1.5, rel=0.04)
    assert found.diagnostics.atoms == pytest.approx(0.25)
    assert Flag.TIES in found.flags


# refusals


def test_too_few_samples_for_the_dimension_are_flagged() -> None:
    x = np.random.default_rng(0).normal(size=(300, 12))
    assert Flag.SMALL_SAMPLE in InformationDimension().estimate(x).flags
    assert InformationDimension().estimate(x[:, :2]).interval is None


def test_what_cannot_be() -> None:
    x = np.random.default_rng(0).random((100, 2))
    with pytest.raises(ValueError, match="takes one sample"):
        InformationDimension().estimate(x, x)
    with pytest.raises(ValueError, match="at least 82 samples"):
        InformationDimension().estimate(x[:50])
    with pytest.raises(ValueError, match="k=2"):
        InformationDimension(k=2)
    with pytest.raises(ValueError, match="level=1"):
        InformationDimension(level=1)
