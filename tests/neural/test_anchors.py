"""Anchors: log density ratios in closed form.

exact       Gaussian and Student-t ratios against scipy's densities, in rows and in tables
properties  columns that repeat, or are constant, are left out
truth       fitted to samples: the information of Gaussian and Student-t copulas, and which copula is likelier
"""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr, ndtri, stdtrit

torch = pytest.importorskip("torch")

from miest.neural.anchors import GaussianAnchor, StudentAnchor, gaussian_anchor, radial_anchor, student_anchor  # noqa: E402
from miest.neural.bounds import DonskerVaradhan  # noqa: E402
from miest.neural.train import judge  # noqa: E402


def a_covariance(d: int, seed: int, strength: float = 1.0) -> np.ndarray:
    root = np.random.default_rng(seed).standard_normal((d, 2 * d))
    covariance = root @ root.T / (2 * d) + np.eye(d) / strength
    scale = np.sqrt(np.diag(covariance))
    return covariance / np.outer(scale, scale)


def ratio(log_density, joint: np.ndarray, dx: int) -> np.ndarray:
    """ln p(x,y) - ln p(x) - ln p(y) by a family of densities that keeps its form in the margins."""
    return log_density(joint, slice(None)) - log_density(joint, slice(0, dx)) - log_density(joint, slice(dx, None))


def halves(rows: np.ndarray, dx: int) -> tuple[torch.Tensor, torch.Tensor]:
    both = torch.from_numpy(rows.astype(np.float32))
    return both[:, :dx], both[:, dx:]


def canonical(covariance: np.ndarray, dx: int) -> GaussianAnchor:
    x, y, cross = covariance[:dx, :dx], covariance[dx:, dx:], covariance[:dx, dx:]
    to_x, to_y = (np.linalg.inv(np.linalg.cholesky(a)).T for a in (x, y))
    left, correlations, right = np.linalg.svd(to_x.T @ cross @ to_y, full_matrices=False)
    return GaussianAnchor(to_x @ left, to_y @ right.T, correlations)


# exact


@pytest.mark.parametrize(("dx", "dy"), [(1, 1), (3, 2), (2, 5)])
def test_gaussian_ratio_is_scipys(dx: int, dy: int) -> None:
    covariance = a_covariance(dx + dy, dx)
    rows = np.random.default_rng(0).standard_normal((40, dx + dy)) * 1.5

    def log_density(at: np.ndarray, part: slice) -> np.ndarray:
        return stats.multivariate_normal(cov=covariance[part, part]).logpdf(at[:, part])

    anchor = canonical(covariance, dx)
    x, y = halves(rows, dx)
    assert anchor(x, y).numpy() == pytest.approx(ratio(log_density, rows, dx), abs=2e-5)
    crossed = np.hstack([np.repeat(rows[:3, :dx], 40, 0), np.tile(rows[:, dx:], (3, 1))])
    assert anchor.table(x[:3], y).numpy().ravel() == pytest.approx(ratio(log_density, crossed, dx), abs=2e-5)


@pytest.mark.parametrize("df", [1.0, 3.0, 10.0])
@pytest.mark.parametrize(("dx", "dy"), [(1, 1), (3, 2), (2, 4)])
def test_student_ratio_is_scipys(dx: int, dy: int, df: float) -> None:
    shape = a_covariance(dx + dy, dy)
    rows = np.random.default_rng(1).standard_normal((40, dx + dy)) * 1.5
    t = stdtrit(df, ndtr(rows))

    def log_density(at: np.ndarray, part: slice) -> np.ndarray:
        return np.atleast_1d(stats.multivariate_t(shape=shape[part, part], df=df).logpdf(at[:, part]))

    anchor = StudentAnchor(shape, dx, df)
    x, y = halves(rows, dx)
    assert anchor(x, y).numpy() == pytest.approx(ratio(log_density, t, dx), abs=1e-3)
    crossed = np.hstack([np.repeat(t[:3, :dx], 40, 0), np.tile(t[:, dx:], (3, 1))])
    assert anchor.table(x[:3], y).numpy().ravel() == pytest.approx(ratio(log_density, crossed, dx), abs=1e-3)


def test_no_correlation_scores_nothing() -> None:
    anchor = GaussianAnchor(np.empty((3, 0)), np.empty((2, 0)), np.empty(0))
    x, y = halves(np.random.default_rng(0).standard_normal((6, 5)), 3)
    assert not anchor.table(x, y).any()
    assert not anchor(x, y).any()


def test_the_likelihood_of_a_student_copula_is_its_mean_log_density() -> None:
    rows = np.random.default_rng(2).standard_normal((200, 3))
    anchor, density = student_anchor(rows[:, :2], rows[:, 2:], 4.0)
    inverse = np.empty((3, 3))
    t = stdtrit(4.0, ndtr(rows))
    # The cross block of the inverse comes back from its singular directions.
    inverse[:2, :2], inverse[2:, 2:] = anchor.joint_x.numpy(), anchor.joint_y.numpy()
    inverse[:2, 2:] = (anchor.x @ anchor.y.T).numpy()
    inverse[2:, :2] = inverse[:2, 2:].T
    joint = stats.multivariate_t(shape=np.linalg.inv(inverse), df=4.0).logpdf(t)
    assert density == pytest.approx((joint - stats.t(4.0).logpdf(t).sum(1)).mean(), abs=1e-5)


# properties


def test_repeated_and_constant_columns_are_left_out_of_the_gaussian() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2000, 2))
    y = x[:, :1] + rng.standard_normal((2000, 1))
    fit, stop = slice(0, 1500), slice(1500, None)
    plain = gaussian_anchor(x[fit], y[fit], x[stop], y[stop])
    wide = np.hstack([x, x[:, :1] - x[:, 1:], np.zeros((2000, 1))])
    same = gaussian_anchor(wide[fit], y[fit], wide[stop], y[stop])
    torch.testing.assert_close(
        same(*halves(np.hstack([wide, y]), 4)), plain(*halves(np.hstack([x, y]), 2)), atol=1e-3, rtol=0
    )


def test_an_argument_that_does_not_vary_has_no_correlation() -> None:
    y = np.random.default_rng(3).standard_normal((100, 1))
    assert gaussian_anchor(np.zeros((50, 2)), y[:50], np.zeros((50, 2)), y[50:]).width == 1


def test_chance_correlations_are_shrunk_away() -> None:
    rng = np.random.default_rng(4)
    widths = []
    for _ in range(20):
        u, v, stop_u, stop_v = (rng.standard_normal((300, 10)) for _ in range(4))
        anchor = gaussian_anchor(u, v, stop_u, stop_v)
        widths.append(anchor.width)
        value = DonskerVaradhan().value(judge(anchor, halves(rng.standard_normal((500, 20)), 10), None, 0))
        assert value > -0.05
    assert np.median(widths) <= 3  # one is the norm; ten directions of chance would be eleven


# truth


@pytest.mark.parametrize(("rho", "d"), [(0.8, 1), (0.5, 5)])
def test_a_fitted_gaussian_reads_its_information(rho: float, d: int) -> None:
    rng = np.random.default_rng(5)
    u = rng.standard_normal((9000, d))
    v = rho * u + math.sqrt(1 - rho**2) * rng.standard_normal((9000, d))
    anchor = gaussian_anchor(u[:6000], v[:6000], u[6000:7000], v[6000:7000])
    scores = judge(anchor, halves(np.hstack([u, v])[7000:], d), None, 0)
    error = float(DonskerVaradhan().influence(scores).std()) / math.sqrt(2000)
    truth = -d / 2 * math.log1p(-(rho**2))
    assert abs(float(DonskerVaradhan().value(scores)) - truth) < 4 * error + d * d / 6000


def test_a_fitted_student_reads_its_information_and_is_likeliest() -> None:
    from miest.tasks.gaussian import student

    task = student(0.5 * np.eye(6) + 0.5, 3, df=3)
    x, y = task.sample(9000, 6)
    t = np.hstack([x, y])
    normal = ndtri(stats.t(3).cdf(t))
    made = {df: student_anchor(normal[:7000, :3], normal[:7000, 3:], df) for df in (1.0, 2.0, 3.0, 5.0, 20.0)}
    assert max(made, key=lambda df: made[df][1]) == 3.0
    scores = judge(made[3.0][0], halves(normal[7000:], 3), None, 0)
    error = float(DonskerVaradhan().influence(scores).std()) / math.sqrt(2000)
    assert abs(float(DonskerVaradhan().value(scores)) - task.mi) < 4 * error


@pytest.mark.parametrize("degree", [1, 2])
def test_products_with_the_length_see_a_spiral(degree: int) -> None:
    from miest.tasks.gaussian import gaussian_pairs
    from miest.tasks.maps import spiral

    turned = spiral(((0, 1),), speed=0.08)
    task = gaussian_pairs([0.8, 0.8], dx=12, dy=12).mapped(x=turned, y=spiral(((1, 2),), speed=0.08))
    u, v = task.sample(8000, 7)
    parts = u[:5000], v[:5000], u[5000:6000], v[5000:6000]
    held = halves(np.hstack([u, v])[6000:], 12)
    plain, radial = gaussian_anchor(*parts), radial_anchor(*parts, degree)
    torch.testing.assert_close(radial.table(*held).diagonal(), radial(*held), atol=1e-4, rtol=1e-4)
    values = [float(DonskerVaradhan().value(judge(anchor, held, None, 0))) for anchor in (plain, radial)]
    assert values[1] > values[0] + 0.15
    assert values[1] < task.mi + 0.1
