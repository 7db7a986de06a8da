"""Truths of the task families, each found a second way.

exact       closed forms against brute force over tables, canonical correlations, Schur complements
truth       the mean of ln p(x,y)/(p(x)p(y)) over the task's own samples, with densities written here or from scipy,
            within four standard errors: this tests the sampler and the truth at once
refusals    every raise
"""

from math import log, pi, sqrt

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logsumexp, ndtr, ndtri

from miest import tasks
from miest.tasks import Task
from miest.tasks.images import digits_by_class
from miest.tasks.mixtures import mixture_information
from miest.tasks.standard import class_centres, inliers_5x5, mixture_3x3, probes

N = 40_000
SEED = 20240


def assert_mean(log_ratio: np.ndarray, task: Task, slack: float = 1e-9) -> None:
    """The mean of a log-density ratio is the truth, within four standard errors of both."""
    assert log_ratio.shape == (len(log_ratio),)
    assert np.isfinite(log_ratio).all()
    error = np.hypot(log_ratio.std() / sqrt(len(log_ratio)), task.mi_error)
    assert abs(log_ratio.mean() - task.mi) < 4 * error + slack
    assert error < 0.05 * max(1.0, task.mi)  # or the line above could not fail


def columns(task: Task, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    x, y = task.sample(n, SEED)
    return x[:, 0], y[:, 0]


def information(table: np.ndarray) -> float:
    """Brute force over the cells of a joint table."""
    table = table / table.sum()
    total = 0.0
    for i, row in enumerate(table):
        for j, p in enumerate(row):
            if p > 0:
                total += p * log(p / (table[i].sum() * table[:, j].sum()))
    return total


def assert_same_frequencies(table: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    seen = np.zeros(table.shape)
    np.add.at(seen, (x, y), 1)
    expected = table / table.sum() * len(x)
    assert seen[expected == 0].sum() == 0
    kept = expected > 0
    assert stats.chisquare(seen[kept], expected[kept]).pvalue > 1e-4


# Gaussian and Student-t


def canonical(covariance: np.ndarray, dx: int) -> float:
    """-1/2 sum ln(1 - r^2) over the singular values r of the whitened cross-covariance."""
    lx, ly = np.linalg.cholesky(covariance[:dx, :dx]), np.linalg.cholesky(covariance[dx:, dx:])
    whitened = np.linalg.solve(ly, np.linalg.solve(lx, covariance[:dx, dx:]).T)
    r = np.linalg.svd(whitened, compute_uv=False)
    return -0.5 * float(np.log1p(-(r**2)).sum())


def test_gaussian_is_the_sum_over_canonical_correlations() -> None:
    root = np.random.default_rng(0).standard_normal((9, 9))
    covariance = root @ root.T + np.eye(9)
    assert tasks.gaussian(covariance, 4).mi == pytest.approx(canonical(covariance, 4), rel=1e-10)


@pytest.mark.parametrize(("dx", "dy", "rho"), [(1, 1, 0.5), (50, 50, 0.5), (10, 2, 0.3), (3, 2, -0.1)])
def test_dense_gaussian_has_one_canonical_correlation(dx: int, dy: int, rho: float) -> None:
    r2 = rho**2 * dx * dy / ((1 + (dx - 1) * rho) * (1 + (dy - 1) * rho))
    assert tasks.dense_gaussian(dx, dy, rho).mi == pytest.approx(-0.5 * np.log1p(-r2), rel=1e-10)


def test_published_gaussians() -> None:
    assert tasks.named("gaussian-25x25-2pairs").mi == pytest.approx(1.0217, abs=5e-5)
    assert tasks.bivariate_gaussian(0.75).mi == pytest.approx(0.41334, abs=5e-6)
    assert tasks.bivariate_gaussian(0.0).mi == 0


@pytest.mark.parametrize("name", ["gaussian-10x10-latent2", "gaussian-20x20-markov0.7", "gaussian-5x5-dense0.5"])
def test_gaussian_samples_have_their_information(name: str) -> None:
    task = tasks.named(name)
    x, y = task.sample(N, SEED)
    assert canonical(np.cov(np.hstack([x, y]).T), task.dims[0]) == pytest.approx(task.mi, abs=0.03)


def test_latent_gaussian_is_low_rank() -> None:
    task = tasks.latent_gaussian(6, 5, rank=2, strength=2.0)
    x, y = task.sample(200_000, SEED)
    r = np.linalg.svd(np.cov(np.hstack([x, y]).T)[:6, 6:], compute_uv=False)
    assert r[1] > 0.5
    assert r[2] < 0.05


@pytest.mark.parametrize(("mi", "d"), [(0.0, 1), (0.3, 1), (6.0, 1), (4.0, 10)])
def test_gaussian_with_the_information_asked_for(mi: float, d: int) -> None:
    task = tasks.gaussian_with_information(mi, d)
    x, y = task.sample(N, SEED)
    left = np.exp(-mi / d)
    rho = sqrt(1 - left**2)
    ratio = stats.norm.logpdf(y, rho * x, left) - stats.norm.logpdf(y)
    assert_mean(ratio.sum(axis=1), task, slack=1e-6)
    assert np.corrcoef(x[:, 0], y[:, 0])[0, 1] == pytest.approx(rho, abs=0.03)


def test_twenty_nats_in_one_column_survive_rounding() -> None:
    x, y = tasks.gaussian_with_information(20.0).sample(1000, SEED)
    assert 1.8e-9 < np.std(x - y) < 2.3e-9  # exp(-20) is 2.06e-9


@pytest.mark.parametrize(
    ("covariance", "dx", "df"),
    [
        (np.eye(2), 1, 1.0),
        (0.5 * np.eye(5) + 0.5, 2, 2.0),
        (0.3 * np.eye(8) + 0.7, 5, 3.5),
        (np.eye(10), 5, 20.0),
    ],
)
def test_student_by_monte_carlo(covariance: np.ndarray, dx: int, df: float) -> None:
    task = tasks.student(covariance, dx, df=df)
    x, y = task.sample(N, SEED)
    ratio = stats.multivariate_t(shape=covariance, df=df).logpdf(np.hstack([x, y]))
    for part, rows in ((slice(dx), x), (slice(dx, None), y)):
        ratio -= stats.multivariate_t(shape=covariance[part, part], df=df).logpdf(rows)
    assert_mean(ratio, task)


def test_student_correction_falls_to_zero() -> None:
    values = [tasks.student_correction(df, 3, 2) for df in (1, 2, 5, 20, 100, 1e4)]
    assert np.all(np.diff(values) < 0)
    assert 0 < values[-1] < 1e-4
    assert tasks.student_correction(4.0, 3, 2) == tasks.student_correction(4.0, 2, 3)


# Uniform noise


@pytest.mark.parametrize("e", [0.05, 0.3, 0.5, 0.75, 3.0])
def test_additive_uniform_by_monte_carlo(e: float) -> None:
    task = tasks.additive_uniform(e)
    _, y = columns(task)
    density = (np.minimum(1, y + e) - np.maximum(0, y - e)) / (2 * e)
    assert_mean(-np.log(2 * e) - np.log(density), task)


@pytest.mark.parametrize(
    ("relation", "width"),
    [("linear", 0.2), ("square", 0.05), ("cube", 0.01), ("root", 0.1), ("sine", 0.1), ("sine", 3.0)],
)
def test_functional_by_monte_carlo(relation: str, width: float) -> None:
    task = tasks.functional(relation, width)
    x, y = columns(task)
    grid = (np.arange(2_000_000) + 0.5) / 2_000_000
    f = {
        "linear": lambda v: v,
        "square": np.square,
        "cube": lambda v: v**3,
        "root": np.sqrt,
        "sine": lambda v: np.sin(4 * pi * v),
    }[relation]
    assert ((y - f(x) >= 0) & (y - f(x) <= width)).all()
    images = np.sort(f(grid))
    within = np.searchsorted(images, y) - np.searchsorted(images, y - width)
    density = np.maximum(within, 1) / len(grid) / width
    assert_mean(-log(width) - np.log(density), task, slack=1e-4)


# Copulas

COPULAS = {
    "clayton": lambda u, v, t: (u**-t + v**-t - 1) ** (-1 / t),
    "gumbel": lambda u, v, t: np.exp(-(((-np.log(u)) ** t + (-np.log(v)) ** t) ** (1 / t))),
    "frank": lambda u, v, t: -np.log1p(np.expm1(-t * u) * np.expm1(-t * v) / np.expm1(-t)) / t,
}


@pytest.mark.parametrize(
    ("family", "theta"),
    [("clayton", 0.5), ("clayton", 3), ("gumbel", 1.3), ("gumbel", 4), ("frank", 2), ("frank", -6), ("frank", 15)],
)
def test_copulas_by_differences_of_their_distribution(family: str, theta: float) -> None:
    task = getattr(tasks, family)(theta)
    u, v = columns(task)
    a, b = (2e-3 * np.minimum(w, 1 - w) for w in (u, v))
    c = COPULAS[family]
    density = c(u + a, v + b, theta) - c(u + a, v - b, theta) - c(u - a, v + b, theta) + c(u - a, v - b, theta)
    density /= 4 * a * b
    assert np.mean(density <= 0) < 1e-3  # rounding in the corners
    assert_mean(np.log(density[density > 0]), task, slack=2e-3)
    for w in (u, v):
        assert stats.kstest(w, "uniform").pvalue > 1e-4


@pytest.mark.parametrize(("task", "tau"), [(tasks.clayton(3), 3 / 5), (tasks.gumbel(2.5), 1 - 1 / 2.5)])
def test_copulas_have_their_kendall_tau(task: Task, tau: float) -> None:
    assert stats.kendalltau(*columns(task)).statistic == pytest.approx(tau, abs=0.02)


def test_copulas_near_independence() -> None:
    assert tasks.clayton(1e-3).mi == pytest.approx(1e-3**2 / 2, rel=1e-2)
    assert tasks.gumbel(1.0).mi == 0
    assert 0 < tasks.gumbel(1.001).mi < 1e-5
    assert tasks.frank(0.1).mi == pytest.approx(0.1**2 / 72, rel=1e-2)


# Gaussian mixtures


def mixture_ratio(task: Task, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    x, y = task.sample(N, SEED)
    dx = x.shape[1]

    def log_density(rows: np.ndarray, part: slice) -> np.ndarray:
        terms = [
            log(w) + stats.multivariate_normal(m[part], s[part, part]).logpdf(rows)
            for w, m, s in zip(weights, means, covariances, strict=True)
        ]
        return logsumexp(terms, axis=0)

    both = log_density(np.hstack([x, y]), slice(None))
    return both - log_density(x, slice(dx)) - log_density(y, slice(dx, None))


def test_mixture_by_quadrature_against_monte_carlo() -> None:
    weights, means = np.array([0.2, 0.5, 0.3]), np.array([[0.0, 1], [-2, 0], [3, 3]])
    covariances = np.array([[[1, 0.6], [0.6, 1]], [[0.3, 0], [0, 2]], [[0.5, -0.3], [-0.3, 0.4]]])
    task = tasks.gaussian_mixture(weights, means, covariances, name="three")
    assert task.mi_error < 1e-6
    assert_mean(mixture_ratio(task, weights, means, covariances), task)


def test_mixture_by_monte_carlo_against_quadrature() -> None:
    # A third column that is independent noise adds nothing, but makes the integral one of Monte-Carlo.
    covariances = np.array([[[1, 0.9], [0.9, 1]], [[1, -0.9], [-0.9, 1]]])
    exact, _ = mixture_information([0.5, 0.5], [[0, 0], [1, 2]], covariances)
    wider = np.stack([np.block([[s, np.zeros((2, 1))], [np.zeros((1, 2)), 4 * np.eye(1)]]) for s in covariances])
    for columns_of_x, order in ((1, [0, 1, 2]), (2, [0, 2, 1])):
        means = np.array([[0, 0, 5], [1, 2, 5]])[:, order]
        value, error = mixture_information(
            [0.5, 0.5], means, wider[:, order][:, :, order], columns_of_x, n=100_000, seed=3
        )
        assert abs(value - exact) < 4 * error
        assert error < 5e-3


def test_mixture_of_one_is_gaussian() -> None:
    task = tasks.gaussian_mixture([1.0], [[3.0, -4.0]], [[4, 1.8], [1.8, 1]], name="one")
    assert task.mi == pytest.approx(-0.5 * log(1 - 0.81), abs=1e-9)


def test_cross_is_uncorrelated_but_dependent() -> None:
    task = tasks.named("cross")
    x, y = columns(task)
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.03
    assert task.mi > 0.6


@pytest.mark.parametrize(("name", "parts"), [("mixture-3x3", mixture_3x3), ("inliers-5x5", inliers_5x5)])
def test_mixture_constants(name: str, parts: object) -> None:
    task = tasks.named(name)
    assert 0 < task.mi_error < 2e-3
    assert_mean(mixture_ratio(task, *parts()), task)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "parts"), [("mixture-3x3", mixture_3x3), ("inliers-5x5", inliers_5x5)])
def test_mixture_constants_again(name: str, parts: object) -> None:
    task = tasks.named(name)
    mi, error = mixture_information(*parts(), task.dims[0], n=4_000_000)
    assert abs(mi - task.mi) < 4 * error  # equal unless the random streams have changed
    assert error == pytest.approx(task.mi_error, rel=0.1)


# Discrete against continuous


def test_staircase_by_monte_carlo() -> None:
    task = tasks.staircase(5)
    x, y = columns(task)
    covering = ((y[:, None] >= np.arange(5)) & (y[:, None] <= np.arange(5) + 2)).sum(axis=1)
    assert covering.max() == 2
    assert_mean(np.log(5 / covering), task)
    assert ((y >= x) & (y <= x + 2)).all()


@pytest.mark.parametrize("p", [0.0, 0.15, 0.5])
def test_zero_inflated_poisson_by_monte_carlo(p: float) -> None:
    task = tasks.zero_inflated_poisson(p)
    x, y = columns(task)
    given = (1 - p) * stats.poisson.pmf(y, x) + p * (y == 0)
    overall = (1 - p) * 0.5 ** (y + 1) + p * (y == 0)
    assert_mean(np.log(given / overall), task)


def test_zero_inflated_poisson_is_pinned() -> None:
    assert tasks.zero_inflated_poisson(0.15).mi == pytest.approx(0.2298, abs=5e-5)
    k = np.arange(2, 200)
    plain = 2 * log(2) - np.euler_gamma - float((np.log(k) * 0.5**k).sum())  # the published form; exact at p = 0
    assert tasks.zero_inflated_poisson(0.0).mi == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize(("rho", "e", "a"), [(0.9, 0.1, 0.5), (0.6, 0.3, 0.2)])
def test_gaussian_with_atoms_by_monte_carlo(rho: float, e: float, a: float) -> None:
    task = tasks.gaussian_with_atoms(rho, e, atoms=a)
    x, y = columns(task)
    atom = np.abs(x) == 1
    np.testing.assert_array_equal(atom, np.abs(y) == 1)
    joint = a * np.where(x == y, 1 - e, e) / 2
    discrete = np.log(joint / (a / 2) ** 2)
    continuous = stats.norm.logpdf(y, rho * x, sqrt(1 - rho**2)) - stats.norm.logpdf(y) - log(1 - a)
    assert_mean(np.where(atom, discrete, continuous), task)


def test_gaussian_with_atoms_is_ln_2_and_parts() -> None:
    parts = 0.5 * -0.5 * log(1 - 0.81) + 0.5 * information(np.array([[0.45, 0.05], [0.05, 0.45]]))
    assert tasks.gaussian_with_atoms().mi == pytest.approx(log(2) + parts)


@pytest.mark.parametrize(("rho", "q"), [(0.8, 0.3), (0.5, 0.7), (-0.95, 0.5), (0.999, 0.1), (0.0, 0.4)])
def test_censored_gaussian_by_monte_carlo(rho: float, q: float) -> None:
    task = tasks.censored_gaussian(rho, q)
    x, y = columns(task)
    cut, left = ndtri(q), sqrt(1 - rho**2)
    atom = x == cut
    assert atom.mean() == pytest.approx(q, abs=0.015)
    above = stats.norm.logpdf(y, rho * x, left) - stats.norm.logpdf(y)
    with np.errstate(divide="ignore"):
        below = np.log(ndtr((cut - rho * y) / left)) - log(q)
    assert_mean(np.where(atom, below, above), task)
    assert task.mi <= tasks.bivariate_gaussian(rho).mi + 1e-9


def test_quantised_uniform() -> None:
    task = tasks.quantised_uniform(12)
    x, y = columns(task)
    assert task.mi == pytest.approx(log(12))
    assert len(np.unique(y)) == 12
    assert ((x - y >= 0) & (x - y < 1 / 12)).all()
    x, y = columns(tasks.quantised_uniform(12, both=True))
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("gain", [0.0, 2.0, -30.0])
def test_logistic_label_by_monte_carlo(gain: float) -> None:
    task = tasks.logistic_label(gain)
    x, y = columns(task)
    assert_mean(np.log(np.maximum(expit(np.where(y == 1, 1, -1) * gain * x), 1e-300) / 0.5), task)


# Discrete


def test_tables_by_brute_force() -> None:
    table = np.random.default_rng(0).random((4, 6)) ** 3
    table[1, 2] = table[0, 0] = 0
    task = tasks.discrete_table(table, name="t")
    assert task.mi == pytest.approx(information(table), abs=1e-12)
    assert_same_frequencies(table, *columns(task))
    assert tasks.discrete_table(np.outer([1, 2, 3], [4, 5]), name="product").mi < 1e-15


@pytest.mark.parametrize(("m", "e"), [(2, 0.1), (5, 0.0), (5, 0.3), (5, 0.8)])
def test_symmetric_channel_by_brute_force(m: int, e: float) -> None:
    table = np.full((m, m), e / (m - 1)) + np.eye(m) * (1 - e - e / (m - 1))
    task = tasks.symmetric_channel(m, e)
    assert task.mi == pytest.approx(information(table), abs=1e-12)
    assert_same_frequencies(table, *columns(task))


def test_bits_and_parity_by_brute_force() -> None:
    flip = np.array([[0.95, 0.05], [0.05, 0.95]])
    assert tasks.binary_symmetric(0.05, 3).mi == pytest.approx(information(np.kron(np.kron(flip, flip), flip)))
    x, y = tasks.binary_symmetric(0.05, 3).sample(N, SEED)
    assert_same_frequencies(np.kron(np.kron(flip, flip), flip), x @ [4, 2, 1], y @ [4, 2, 1])
    odd = np.array([bin(code).count("1") % 2 for code in range(8)])
    table = np.where(odd[:, None] == np.arange(2), 0.9, 0.1)
    task = tasks.parity(3, 0.1)
    assert task.mi == pytest.approx(information(table))
    x, y = task.sample(N, SEED)
    assert_same_frequencies(table, x @ [4, 2, 1], y[:, 0])


# Channels and points


def test_linear_channel_is_a_joint_gaussian() -> None:
    rng = np.random.default_rng(0)
    w, root = rng.standard_normal((4, 3)), rng.standard_normal((4, 4))
    s = root @ root.T + np.eye(4)
    joint = np.block([[s, s @ w], [w.T @ s, w.T @ s @ w + 0.25 * np.eye(3)]])
    task = tasks.linear_channel(w, 0.5, s, name="c")
    assert task.mi == pytest.approx(tasks.gaussian(joint, 4).mi, rel=1e-9)
    x, y = task.sample(N, SEED)
    np.testing.assert_allclose(np.cov(np.hstack([x, y]).T), joint, atol=0.05 * np.abs(joint).max())


@pytest.mark.parametrize(("gain", "std"), [(1.0, 0.2), (3.0, 1.0), (0.1, 2.0), (5.0, 0.05)])
def test_identity_neuron_has_a_closed_form(gain: float, std: float) -> None:
    mi, error = tasks.neuron_information("identity", gain, std)
    assert mi == pytest.approx(0.5 * np.log1p((gain / std) ** 2), abs=1e-8)
    assert error < 1e-6


def test_relu_neuron_by_monte_carlo() -> None:
    # T = max(0, g Z) + s E: half an atom at 0, and half a normal cut at 0, both blurred.
    g, s = 1.5, 0.3
    task = tasks.neural_channel("relu", [g], s, name="relu")
    x, t = columns(task)
    wide = sqrt(g * g + s * s)
    density = 0.5 * stats.norm.pdf(t, scale=s) + stats.norm.pdf(t, scale=wide) * ndtr(t * g / (s * wide))
    x *= np.sign(np.corrcoef(x, t)[0, 1])  # a rotation of one column may be -1
    assert_mean(stats.norm.logpdf(t, np.maximum(g * x, 0), s) - np.log(density), task)


def test_tanh_layer_by_monte_carlo() -> None:
    gains, std = [1.0, 2.5], 0.3
    task = tasks.neural_channel("tanh", gains, std, dx=6, key=3, name="tanh")
    x, t = task.sample(N, SEED)
    weights = np.linalg.lstsq(x, np.arctanh(np.clip(t, -0.999, 0.999)), rcond=None)[0]
    weights *= np.array(gains) / np.linalg.norm(weights, axis=0)  # directions, near enough to be told
    z = (np.arange(1000) + 0.5) / 1000 * 16 - 8
    share = stats.norm.pdf(z) / stats.norm.pdf(z).sum()
    ratio = np.zeros(N)
    for j, gain in enumerate(gains):
        grid = np.linspace(-3, 3, 601)
        density = stats.norm.pdf(grid[:, None], np.tanh(gain * z), std) @ share
        ratio += -np.interp(t[:, j], grid, np.log(density)) - 0.5 * log(2 * pi * np.e * std**2)
    assert_mean(ratio, task, slack=1e-3)
    assert abs(weights[:, 0] @ weights[:, 1]) < 0.1 * np.prod(gains)
    residual = t - np.tanh(x @ weights)
    assert residual.std() == pytest.approx(std, rel=0.1)


def test_saturated_tanh_tells_a_sign() -> None:
    assert tasks.neuron_information("tanh", 40.0, 0.4)[0] == pytest.approx(
        tasks.centre_information([[-1.0], [1.0]], 0.4)[0], abs=0.03
    )


def test_two_points_are_the_binary_input_channel() -> None:
    # Capacity of +-1 in unit noise: 0.486 bits.
    mi, error = tasks.centre_information([[-1.0], [1.0]], 1.0)
    assert mi / log(2) == pytest.approx(0.486, abs=5e-4)
    assert error < 1e-6


def test_points_have_their_limits() -> None:
    far = 100 * np.arange(6.0)[:, None]
    assert tasks.centre_information(far, 1.0)[0] == pytest.approx(log(6), abs=1e-9)
    assert tasks.centre_information(np.hstack([far, far]), 1.0, n=1000)[0] == pytest.approx(log(6), abs=1e-9)
    assert tasks.centre_information(far, 1e5)[0] < 1e-5
    assert tasks.centre_information(np.zeros((4, 2)), 1.0, n=1000)[0] == pytest.approx(0, abs=1e-12)


def test_points_by_quadrature_and_by_monte_carlo_agree() -> None:
    line = np.array([[-1.0], [0.2], [2.0], [2.1]])
    exact, _ = tasks.centre_information(line, 0.4)
    flat, error = tasks.centre_information(np.hstack([line, 0 * line]), 0.4, n=200_000)
    assert abs(flat - exact) < 4 * error
    assert error < 2e-3


def probe_centres(name: str) -> tuple[np.ndarray, float]:
    if name == "eight-classes-in-5":
        return class_centres(), 1.0
    points, weights = probes()
    return (np.maximum(points @ weights, 0) if name.startswith("relu") else np.tanh(points @ weights)), 0.5


@pytest.mark.parametrize("name", ["eight-classes-in-5", "relu-probes-64", "tanh-probes-64"])
def test_point_constants(name: str) -> None:
    task = tasks.named(name)
    centres, std = probe_centres(name)
    x, t = task.sample(10_000, SEED)
    which = x[:, 0] if task.dims[0] == 1 else np.argmin(np.abs(x[:, :1] - probes()[0][:, 0]), axis=1)
    terms = np.stack([stats.norm.logpdf(t, c, std).sum(axis=1) for c in centres])
    ratio = terms[which, np.arange(len(t))] - logsumexp(terms, axis=0) + log(len(centres))
    assert 0 < task.mi_error < 2e-3
    assert_mean(ratio, task)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eight-classes-in-5", "relu-probes-64", "tanh-probes-64"])
def test_point_constants_again(name: str) -> None:
    task = tasks.named(name)
    mi, error = tasks.centre_information(*probe_centres(name), n=4_000_000)
    assert abs(mi - task.mi) < 4 * error  # equal unless the random streams have changed
    assert error == pytest.approx(task.mi_error, rel=0.1)


# Digits


def test_no_two_digits_of_different_classes_are_equal() -> None:
    images, _, counts = digits_by_class()
    labels = np.repeat(np.arange(10), counts)
    _, inverse = np.unique(images, axis=0, return_inverse=True)
    pairs = np.unique(np.column_stack([inverse.ravel(), labels]), axis=0)
    assert len(pairs) == inverse.max() + 1


def classes_of(rows: np.ndarray) -> np.ndarray:
    images, _, counts = digits_by_class()
    labels = dict(zip((image.tobytes() for image in images), np.repeat(np.arange(10), counts), strict=True))
    return np.array([labels[np.ascontiguousarray(row).tobytes()] for row in rows])


def test_digit_pairs_share_their_class_and_nothing_else() -> None:
    x, y = tasks.digit_pairs(10).sample(5000, SEED)
    labels = classes_of(x)
    np.testing.assert_array_equal(labels, classes_of(y))
    assert stats.chisquare(np.bincount(labels, minlength=10)).pvalue > 1e-4
    assert (x != y).any(axis=1).mean() > 0.98
    assert tasks.digit_pairs(10).mi == pytest.approx(log(10))


def test_digit_bits_are_a_binary_symmetric_channel() -> None:
    task = tasks.digit_bits(2, 0.1)
    x, y = task.sample(5000, SEED)
    sent, received = (classes_of(rows.reshape(-1, 64)) for rows in (x, y))
    assert_same_frequencies(np.array([[0.9, 0.1], [0.1, 0.9]]), sent, received)
    assert task.mi == pytest.approx(2 * information(np.array([[0.9, 0.1], [0.1, 0.9]])))


# Conditional


def schur(covariance: np.ndarray, dx: int, dy: int) -> float:
    """Gaussian information within the covariance of (X, Y) given Z."""
    d = dx + dy
    given = covariance[:d, :d] - covariance[:d, d:] @ np.linalg.solve(covariance[d:, d:], covariance[d:, :d])
    return canonical(given, dx)


def test_conditional_gaussian_by_schur_complement() -> None:
    root = np.random.default_rng(0).standard_normal((7, 7))
    covariance = root @ root.T + np.eye(7)
    task = tasks.conditional_gaussian(covariance, 2, 3, name="c")
    assert task.mi == pytest.approx(schur(covariance, 2, 3), rel=1e-10)
    rows = np.hstack(list(task.sample(N, SEED)))
    np.testing.assert_allclose(np.cov(rows.T), covariance, atol=0.05 * np.abs(covariance).max())


@pytest.mark.parametrize(
    ("name", "mi"),
    [
        ("chain-x-z-y", 0.0),
        ("common-cause", 0.0),
        ("chain-x-y-z", -0.5 * log(1 - 0.25)),  # given Z, X is N(0, 2/3), Y = X + E seen through Y + E'
        ("collider", -0.5 * log(1 - 0.8**2)),  # given X + Y + E / 2 the correlation is -1 / (1 + 1/4)
    ],
)
def test_gaussian_graphs(name: str, mi: float) -> None:
    task = tasks.named(name)
    assert task.mi == pytest.approx(mi, abs=1e-12)
    x, y, z = task.sample(N, SEED)
    assert schur(np.cov(np.hstack([x, y, z]).T), 1, 1) == pytest.approx(mi, abs=0.02)


def test_a_chain_is_dependent_without_its_middle() -> None:
    x, y, _ = tasks.named("chain-x-z-y").sample(N, SEED)
    assert np.corrcoef(x[:, 0], y[:, 0])[0, 1] > 0.3


def test_graph_simulated_step_by_step() -> None:
    # Z -> X, Z -> Y, X -> Y, in the order X, Y, Z
    task = tasks.gaussian_graph(np.array([[0, 0, 0.7], [0.5, 0, -0.4], [0, 0, 0]]), [1, 2, 3], name="g")
    e = np.random.default_rng(1).standard_normal((400_000, 3))
    z = 3 * e[:, 2]
    x = 0.7 * z + e[:, 0]
    y = 0.5 * x - 0.4 * z + 2 * e[:, 1]
    assert schur(np.cov([x, y, z]), 1, 1) == pytest.approx(task.mi, abs=3e-3)
    assert task.mi == pytest.approx(0.5 * np.log1p(0.25 / 4))


def test_switched_gaussian() -> None:
    rho, weights = np.array([0.9, -0.5, 0.0]), np.array([0.2, 0.3, 0.5])
    shifts = [(-2.0, 1.0), (0.0, 0.0), (3.0, -3.0)]
    task = tasks.switched_gaussian(rho.tolist(), shifts, weights.tolist(), name="s")
    x, y, z = (rows[:, 0] for rows in task.sample(N, SEED))
    assert z.dtype == np.int64
    assert stats.chisquare(np.bincount(z), weights * N).pvalue > 1e-4
    centred_x, centred_y = x - np.array(shifts)[z, 0], y - np.array(shifts)[z, 1]
    ratio = stats.norm.logpdf(centred_y, rho[z] * centred_x, np.sqrt(1 - rho[z] ** 2)) - stats.norm.logpdf(centred_y)
    assert_mean(ratio, task)


def test_conditional_table_by_brute_force() -> None:
    table = np.random.default_rng(2).random((3, 4, 2)) ** 2
    table[0, 0, 0] = 0
    table /= table.sum()
    task = tasks.conditional_table(table, name="t")
    expected = sum(table[:, :, z].sum() * information(table[:, :, z]) for z in range(2))
    assert task.mi == pytest.approx(expected, abs=1e-12)
    x, y, z = (rows[:, 0] for rows in task.sample(N, SEED))
    assert_same_frequencies(table.reshape(12, 2), 4 * x + y, z)
    assert tasks.named("exclusive-or").mi == pytest.approx(log(2))
    x, y, z = tasks.named("exclusive-or").sample(1000, SEED)
    np.testing.assert_array_equal(x ^ y, z)
    separable = np.einsum("i,ik,jk->ijk", [0.3, 0.7], np.ones((2, 2)), np.array([[0.2, 0.9], [0.8, 0.1]]))
    assert tasks.conditional_table(separable, name="s").mi == 0


def test_irrelevant_condition_changes_nothing() -> None:
    task = tasks.irrelevant_given(tasks.bivariate_gaussian(0.8), 3)
    x, y, z = task.sample(N, SEED)
    assert z.shape == (N, 3)
    assert schur(np.cov(np.hstack([x, y, z]).T), 1, 1) == pytest.approx(task.mi, abs=0.02)
    assert tasks.irrelevant_given(tasks.parity(2)).kind == "mixed"


# Traps


def test_repeated_rows() -> None:
    task = tasks.repeated_gaussian(0.8, 3, 0.5)
    x, y = columns(task, 30_001)
    assert -0.5 * np.log1p(-(np.corrcoef(x, y)[0, 1] ** 2)) == pytest.approx(task.mi, abs=0.02)
    tight = columns(tasks.repeated_gaussian(0.8, 3, 1e-6), 300)[0].reshape(100, 3)
    assert np.ptp(tight, axis=1).max() < 1e-5
    assert tight.mean(axis=1).std() > 0.5


def test_autocorrelated_rows() -> None:
    x, y = columns(tasks.autocorrelated_gaussian(0.6, 0.9), 200_000)
    assert np.corrcoef(x[1:], x[:-1])[0, 1] == pytest.approx(0.9, abs=0.01)
    assert np.corrcoef(x, y)[0, 1] == pytest.approx(0.6, abs=0.03)
    first = [tasks.autocorrelated_gaussian(0.6, 0.99).sample(2, seed).x for seed in range(3000)]
    assert np.var(first) == pytest.approx(1, abs=0.1)  # stationary from the first row


# Refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tasks.bivariate_gaussian(1.0), r"inside \(-1, 1\)"),
        (lambda: tasks.gaussian_pairs([0.5, 0.5], dx=1), "no more than columns"),
        (lambda: tasks.gaussian_pairs([]), "need one or more"),
        (lambda: tasks.gaussian_with_information(-1), "mi >= 0"),
        (lambda: tasks.gaussian(np.eye(3), 3), "dx=3 of 3 columns"),
        (lambda: tasks.gaussian([[1, 0.5], [0.4, 1]], 1), "not symmetric"),
        (lambda: tasks.gaussian(np.ones((2, 3)), 1), r"shape \(2, 3\) is not symmetric"),
        (lambda: tasks.gaussian(np.ones((2, 2)), 1), "positive definite"),
        (lambda: tasks.student(np.eye(2), 1, df=0), "df=0"),
        (lambda: tasks.additive_uniform(0), "half_width=0"),
        (lambda: tasks.functional("cosine", 0.1), "relation='cosine'"),
        (lambda: tasks.functional("sine", 0), "width=0"),
        (lambda: tasks.clayton(0), "theta=0"),
        (lambda: tasks.gumbel(0.9), r"\[1, 500\]"),
        (lambda: tasks.frank(0), "other than 0"),
        (lambda: tasks.gaussian_mixture([0.5, 0.4], np.zeros((2, 2)), np.eye(2), name="m"), "sum 0.9"),
        (lambda: tasks.gaussian_mixture([1.0], np.zeros((1, 2)), np.eye(2), 2, name="m"), "dx=2 of 2"),
        (lambda: tasks.gaussian_mixture([1.0], [[0, 0]], np.diag([1, 1e-8]), name="m"), "pass truth="),
        (lambda: tasks.staircase(0), "symbols=0"),
        (lambda: tasks.zero_inflated_poisson(1), "inflation=1"),
        (lambda: tasks.gaussian_with_atoms(0.9, 0.1, atoms=1), "atoms=1"),
        (lambda: tasks.censored_gaussian(0.5, 0), "fraction=0"),
        (lambda: tasks.quantised_uniform(0), "levels=0"),
        (lambda: tasks.discrete_table([1, 2], name="t"), r"shape \(2,\)"),
        (lambda: tasks.discrete_table([[1, -1]], name="t"), "entries >= 0"),
        (lambda: tasks.discrete_table([[0, 0]], name="t"), "sum 0"),
        (lambda: tasks.symmetric_channel(1, 0.1), "symbols=1"),
        (lambda: tasks.binary_symmetric(1.1), "flip=1.1"),
        (lambda: tasks.parity(0), "bits=0"),
        (lambda: tasks.independent(dx=0), "dx=0"),
        (lambda: tasks.independent("gauss"), "No margin"),
        (lambda: tasks.linear_channel(np.ones(3), 1, name="c"), r"shape \(3,\)"),
        (lambda: tasks.linear_channel(np.ones((3, 1)), 0, name="c"), "infinite"),
        (lambda: tasks.linear_channel(np.ones((3, 1)), 1, np.eye(2), name="c"), "take 3 columns"),
        (lambda: tasks.neural_channel("relu", [1, 1], 1, dx=1, name="c"), "no more units"),
        (lambda: tasks.neuron_information("gelu", 1, 1), "activation='gelu'"),
        (lambda: tasks.neuron_information("relu", 1, 1e-4), "too small for gain"),
        (lambda: tasks.probe_channel(np.ones((4, 2)), np.ones((3, 1)), "relu", 1, name="p"), r"\(m, dx\)"),
        (lambda: tasks.probe_channel(np.ones((4, 2)), np.ones((2, 1)), "gelu", 1, name="p"), "activation='gelu'"),
        (lambda: tasks.labelled_gaussians([[0.0]], 0, name="p"), "infinite"),
        (lambda: tasks.centre_information([0.0, 1.0], 1), r"shape \(2,\)"),
        (lambda: tasks.digit_pairs(11), "classes=11"),
        (lambda: tasks.digit_bits(0), "bits=0"),
        (lambda: tasks.conditional_gaussian(np.eye(2), 1, 1, name="c"), "at least one each"),
        (lambda: tasks.gaussian_graph([[0, 1, 0], [1, 0, 0], [0, 0, 0]], name="g"), "without cycles"),
        (lambda: tasks.switched_gaussian([1.0], name="s"), "inside"),
        (lambda: tasks.switched_gaussian([0.5, 0.5], weights=[0.5, 0.6], name="s"), "sum to 1"),
        (lambda: tasks.conditional_table(np.ones((2, 2)), name="t"), "3 axes"),
        (lambda: tasks.irrelevant_given(tasks.named("collider")), "without Z"),
        (lambda: tasks.repeated_gaussian(0.5, 3, 0), "above 0"),
        (lambda: tasks.autocorrelated_gaussian(0.5, 1.0), "memory=1.0"),
    ],
)
def test_refusals(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
