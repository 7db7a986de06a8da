"""The Gaussian bottleneck: exact, truth (beside determinants and a numerical optimum), properties, refusals."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from miest.bottleneck.gaussian import GaussianBottleneck


def random_one(d_x: int, d_y: int, seed: int) -> GaussianBottleneck:
    root = np.random.default_rng(seed).normal(size=(d_x + d_y, d_x + d_y))
    return GaussianBottleneck(root @ root.T + 0.5 * np.eye(d_x + d_y), d_x)


# exact


@pytest.mark.parametrize("rho", [0.3, 0.9])
def test_one_column_each(rho: float) -> None:
    found = GaussianBottleneck([[4.0, 2 * rho], [2 * rho, 1.0]], 1)
    assert found.eigenvalues == pytest.approx([1 - rho**2])
    assert found.critical_betas == pytest.approx([rho**-2])
    assert found.information == pytest.approx(-0.5 * math.log(1 - rho**2))
    beta = 3 / rho**2
    signal = float(found.projection(beta)[0, 0]) ** 2 * 4.0
    assert signal == pytest.approx((beta * rho**2 - 1) / (1 - rho**2))
    assert found.rate(beta) == pytest.approx(0.5 * math.log(1 + signal))


def test_eigenvalues_are_those_of_the_paper_s_matrix() -> None:
    found = random_one(4, 3, 0)
    matrix = found.covariance_x_given_y @ np.linalg.inv(found.covariance_x)
    values = np.sort(np.linalg.eigvals(matrix).real)
    assert found.eigenvalues == pytest.approx(values, abs=1e-10)
    assert found.critical_betas[:3] == pytest.approx(1 / (1 - values[:3]), rel=1e-8)
    assert found.critical_betas[3] == math.inf  # Y has three columns only
    projection = found.projection(1e6)
    for row, value in zip(projection, values, strict=False):
        assert row @ matrix == pytest.approx(value * row, rel=1e-6, abs=1e-8)


def test_directions_open_at_the_critical_betas() -> None:
    found = random_one(3, 3, 1)
    for k, beta in enumerate(found.critical_betas):
        assert found.projection(beta * (1 - 1e-9)).shape == (k, 3)
        assert found.projection(beta * (1 + 1e-9)).shape == (k + 1, 3)
    assert found.projection(0.5).shape == (0, 3)
    assert found.rate(1.0) == found.relevance(1.0) == 0


# truth


@pytest.mark.parametrize(("d_x", "d_y", "seed"), [(1, 1, 0), (3, 2, 1), (2, 4, 2), (5, 5, 3)])
def test_the_curve_is_the_information_of_the_projection(d_x: int, d_y: int, seed: int) -> None:
    found = random_one(d_x, d_y, seed)
    for beta in (1.1, 2.0, 5.0, 30.0, 1e4):
        rate, relevance = found.information_of(found.projection(beta))
        assert found.rate(beta) == pytest.approx(rate, abs=1e-9)
        assert found.relevance(beta) == pytest.approx(relevance, abs=1e-9)
        assert found.relevance_at(rate) == pytest.approx(relevance, abs=1e-9)


def test_information_of_a_projection_by_the_joint_covariance() -> None:
    found = random_one(3, 2, 4)
    a = np.random.default_rng(0).normal(size=(2, 3))
    noise = np.array([[1.0, 0.3], [0.3, 2.0]])
    lift = np.vstack([np.hstack([a, np.zeros((2, 2))]), np.hstack([np.zeros((2, 3)), np.eye(2)])])
    joint = lift @ found.covariance @ lift.T  # of A X and Y
    joint[:2, :2] += noise
    log_det = lambda m: np.linalg.slogdet(m)[1]  # noqa: E731
    direct = 0.5 * (log_det(joint[:2, :2]) + log_det(joint[2:, 2:]) - log_det(joint))
    assert found.information_of(a, noise)[1] == pytest.approx(direct)


@pytest.mark.parametrize("beta", [2.0, 6.0])
def test_no_projection_is_better(beta: float) -> None:
    found = random_one(3, 3, 5)

    def functional(flat: np.ndarray) -> float:
        rate, relevance = found.information_of(flat.reshape(3, 3))
        return rate - beta * relevance

    best = found.rate(beta) - beta * found.relevance(beta)
    starts = [np.random.default_rng(s).normal(size=9) for s in range(4)]
    lowest = min(minimize(functional, start).fun for start in starts)
    assert best == pytest.approx(lowest, abs=1e-6)
    assert best <= lowest + 1e-9


def test_samples_of_a_known_channel() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 2))
    y = x[:, :1] + rng.normal(size=(20_000, 1))
    found = GaussianBottleneck.of_samples(x, y)
    assert found.critical_betas[0] == pytest.approx(2.0, rel=0.03)
    assert found.information == pytest.approx(0.5 * math.log(2), rel=0.03)
    row = found.projection(5.0)[0]
    assert abs(row[1] / row[0]) < 0.05


# properties


def test_units_and_rotations_change_nothing() -> None:
    found = random_one(3, 2, 6)
    rng = np.random.default_rng(1)
    change = np.zeros((5, 5))
    change[:3, :3], change[3:, 3:] = rng.normal(size=(3, 3)) * 10, rng.normal(size=(2, 2))
    other = GaussianBottleneck(change @ found.covariance @ change.T, 3)
    assert other.eigenvalues == pytest.approx(found.eigenvalues, abs=1e-8)
    assert other.rate(7.0) == pytest.approx(found.rate(7.0), abs=1e-6)


def test_the_curve_is_concave_with_slope_one_over_beta() -> None:
    found = random_one(4, 4, 7)
    rates = np.linspace(0, 12, 200)
    relevances = np.array([found.relevance_at(rate) for rate in rates])
    assert (np.diff(relevances, 2) < 1e-9).all()
    assert relevances.max() < found.information
    assert found.relevance_at(2000.0) == pytest.approx(found.information)
    beta = 8.0
    step = 1e-5
    slope = (found.relevance_at(found.rate(beta) + step) - found.relevance_at(found.rate(beta) - step)) / (2 * step)
    assert slope == pytest.approx(1 / beta, rel=1e-5)


def test_independent_variables_have_no_curve() -> None:
    found = GaussianBottleneck(np.diag([1.0, 2.0, 3.0]), 2)
    assert found.critical_betas.tolist() == [math.inf, math.inf]
    assert found.information == pytest.approx(0, abs=1e-12)
    assert found.relevance_at(1.0) == 0
    assert found.projection(100.0).shape == (0, 2)


# refusals


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="square matrix"):
        GaussianBottleneck(np.ones((2, 3)), 1)
    with pytest.raises(ValueError, match="d_x=2"):
        GaussianBottleneck(np.eye(2), 2)
    with pytest.raises(ValueError, match="not symmetric"):
        GaussianBottleneck([[1.0, 0.5], [0.2, 1.0]], 1)
    with pytest.raises(ValueError, match="not finite"):
        GaussianBottleneck([[1.0, math.nan], [math.nan, 1.0]], 1)
    with pytest.raises(ValueError, match=r"columns \[1\] of X have no variance"):
        GaussianBottleneck(np.diag([1.0, 0.0, 1.0]), 2)
    with pytest.raises(ValueError, match="column of X is a linear function"):
        GaussianBottleneck([[1, 1, 0.1], [1, 1, 0.1], [0.1, 0.1, 1]], 2)
    with pytest.raises(ValueError, match="determines a direction of X"):
        GaussianBottleneck([[1.0, 1.0], [1.0, 1.0]], 1)
    found = random_one(2, 2, 0)
    with pytest.raises(ValueError, match=r"shape \(k, 2\)"):
        found.information_of(np.ones((1, 3)))
    with pytest.raises(ValueError, match="noise of 1 rows"):
        found.information_of(np.ones((1, 2)), np.eye(2))
    with pytest.raises(ValueError, match="variance in every direction"):
        found.information_of(np.ones((1, 2)), [[0.0]])
    with pytest.raises(ValueError, match="beta=nan"):
        found.rate(math.nan)
    with pytest.raises(ValueError, match="rate=-1"):
        found.relevance_at(-1)
