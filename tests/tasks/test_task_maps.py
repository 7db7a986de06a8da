"""Invertible maps.

exact       hand-worked values
properties  inverse(forward(x)) = x for every map, volume and norm of the spiral, monotone columns
truth       margins have the distribution that their name says
refusals    what is not invertible raises
"""

import pickle

import numpy as np
import pytest
from scipy import stats

from miest.tasks import (
    Map,
    affine,
    asinh,
    cube,
    exponential,
    half_cube,
    linear,
    margin,
    normal_cdf,
    quantiles,
    rotation,
    spiral,
    swiss_roll,
    wiggly,
)

MARGINS = ("uniform", "normal", "exponential", "lognormal", "logistic", "cauchy", "student3", "bimodal")
DENSITIES = {
    "uniform": stats.uniform,
    "normal": stats.norm,
    "exponential": stats.expon,
    "lognormal": stats.lognorm(1),
    "logistic": stats.logistic,
    "cauchy": stats.cauchy,
    "student3": stats.t(3),
}
OF_NORMALS = [
    affine(-3, 2),
    linear(np.array([[1.0, 2, 0, 1], [0, 1, 1, 3], [2, 0, 1, 1]])),
    rotation(3, key=4),
    normal_cdf(),
    exponential(2),
    half_cube(),
    cube(),
    asinh(),
    wiggly(),
    spiral(((0, 1), (1, 2), (0, 2)), speed=0.7),
    normal_cdf().then(margin("bimodal")).then(asinh()),
]


def normals(d: int, n: int = 500) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((n, d))


@pytest.mark.parametrize("each", OF_NORMALS, ids=lambda m: m.name)
def test_inverse_recovers_normals(each: Map) -> None:
    x = normals(3)
    before = x.copy()
    there = each.forward(x)
    assert there.shape == (500, each.dims[1] if each.dims else 3)
    np.testing.assert_array_equal(x, before)  # nothing is written to
    np.testing.assert_allclose(each.inverse(there), x, atol=1e-9)
    again = pickle.loads(pickle.dumps(each))
    np.testing.assert_array_equal(again.forward(x), there)


@pytest.mark.parametrize("kind", MARGINS)
def test_inverse_recovers_uniforms(kind: str) -> None:
    u = np.random.default_rng(3).random((500, 2))
    np.testing.assert_allclose(margin(kind).inverse(margin(kind).forward(u)), u, atol=1e-12)


@pytest.mark.parametrize("kind", list(DENSITIES))
def test_margins_have_their_quantiles(kind: str) -> None:
    u = np.array([[1e-6], [0.1], [0.5], [0.77], [0.999]])
    np.testing.assert_allclose(margin(kind).forward(u), DENSITIES[kind].ppf(u), rtol=1e-9, atol=1e-12)


def test_bimodal_margin_is_two_equal_humps() -> None:
    values = margin("bimodal").forward(np.linspace(0.0005, 0.9995, 1000)[:, None])
    assert abs(values.mean()) < 1e-12
    assert np.square(values).mean() == pytest.approx(1 + 0.3**2, rel=1e-3)
    assert np.mean(np.abs(values) < 0.4) < 0.03


def test_swiss_roll() -> None:
    u = np.random.default_rng(0).random((500, 1))
    rolled = swiss_roll().forward(u)
    np.testing.assert_allclose(swiss_roll().inverse(rolled), u, atol=1e-12)
    t = 1.5 * np.pi * 1.8
    np.testing.assert_allclose(swiss_roll().forward(np.array([[0.4]])), [[t * np.cos(t) / 21, t * np.sin(t) / 21]])


def test_spiral_keeps_volume_and_norm() -> None:
    turn = spiral(((0, 1), (1, 2)), speed=0.8)
    x, step = normals(3, 50), 1e-6
    np.testing.assert_allclose(np.linalg.norm(turn.forward(x), axis=1), np.linalg.norm(x, axis=1), rtol=1e-12)
    columns = [(turn.forward(x + step * e) - turn.forward(x - step * e)) / (2 * step) for e in np.eye(3)]
    np.testing.assert_allclose(np.linalg.det(np.stack(columns, axis=-1)), 1, rtol=1e-6)
    assert np.abs(turn.forward(x) - x).max() > 1


def test_spiral_by_hand() -> None:
    # |x|^2 = 1, so the angle is a quarter turn.
    np.testing.assert_allclose(spiral(speed=np.pi / 2).forward(np.array([[1.0, 0.0]])), [[0, 1]], atol=1e-15)


@pytest.mark.parametrize("each", [wiggly(), half_cube(), cube(), asinh(), exponential(0.5), normal_cdf()])
def test_columns_stay_in_order(each: Map) -> None:
    grid = np.linspace(-6, 6, 4001)[:, None]
    assert (np.diff(each.forward(grid), axis=0) > 0).all()


def test_rotation_is_orthogonal_and_dense() -> None:
    turned = rotation(20, key=1).forward(np.eye(20))
    np.testing.assert_allclose(turned @ turned.T, np.eye(20), atol=1e-13)
    assert np.abs(turned).min() > 0
    assert np.abs(turned).max() < 0.9


def test_quantiles_take_any_distribution() -> None:
    gamma = stats.gamma(2.5)
    each = quantiles(gamma.ppf, gamma.cdf, name="gamma")
    u = np.array([[0.1, 0.9]])
    np.testing.assert_allclose(each.inverse(each.forward(u)), u)


def test_then_keeps_count_of_columns() -> None:
    roll = normal_cdf().then(swiss_roll())
    assert roll.dims == (1, 2)
    assert roll.then(asinh()).dims == (1, 2)
    assert roll.then(rotation(2)).dims == (1, 2)
    assert normal_cdf().then(asinh()).dims is None
    with pytest.raises(ValueError, match="'swiss-roll' gives 2 columns, but 'rotation' takes 3"):
        swiss_roll().then(rotation(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: affine(0), "scale=0 is not invertible"),
        (lambda: exponential(0), "rate=0 is not invertible"),
        (lambda: linear(np.ones((2, 3))), r"shape \(2, 3\) is not invertible"),
        (lambda: linear(np.ones((3, 2))), "full row rank"),
        (lambda: linear(np.ones(3)), "full row rank"),
        (lambda: wiggly(((0.5, 2.5, 0.0),)), r"sum \|a w\| = 1.25"),
        (lambda: spiral(((1, 1),)), "plane of one column"),
        (lambda: margin("normals"), "No margin is called 'normals'"),
    ],
)
def test_refusals(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
