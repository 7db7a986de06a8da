"""The bottleneck of a joint table: exact, properties, truth (beside two independent solvers), refusals."""

import math

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.special import xlogy

from miest.bottleneck.curve import BottleneckCurve, bottleneck_curve
from miest.bottleneck.discrete import information_bottleneck
from miest.bottleneck.tables import first_critical_beta, joint_table

KNOWN = np.array([[0.30, 0.05, 0.05], [0.05, 0.20, 0.02], [0.02, 0.08, 0.23]])
# beta, I(X;Z), I(Y;Z) in nats by dit 2.3: IBCurve(dit.Distribution of KNOWN, beta_max=12, beta_num=7, method="sp"), its
# bits times ln 2.
BY_DIT = [
    (0.0, 0.0, 0.0),
    (2.0, 0.0, 0.0),
    (4.0, 0.902422, 0.314565),
    (6.0, 1.054853, 0.347403),
    (8.0, 1.080063, 0.351172),
    (10.0, 1.084778, 0.351714),
    (12.0, 1.085684, 0.351799),
]


def random_table(n_x: int, n_y: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(n_x * n_y, 0.7)).reshape(n_x, n_y)


def by_convex_hull(table: np.ndarray, beta: float, posteriors: np.ndarray) -> float:
    """Smallest functional of all mixtures of these posteriors p(x|z) that give p(x): a linear program."""
    p_x = table.sum(1)
    y = posteriors @ (table / p_x[:, None])
    cost = xlogy(posteriors, posteriors).sum(1) - beta * xlogy(y, y).sum(1)
    found = linprog(cost, A_eq=posteriors.T, b_eq=p_x, method="highs")
    p_y = table.sum(0)
    return float(found.fun - xlogy(p_x, p_x).sum() + beta * xlogy(p_y, p_y).sum())


@pytest.fixture(scope="module")
def known_curve() -> BottleneckCurve:
    return bottleneck_curve(KNOWN)


# exact


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_up_to_one_nothing_is_worth_its_rate(beta: float) -> None:
    found = information_bottleneck(KNOWN, beta)
    assert found.rate == pytest.approx(0, abs=1e-9)
    assert found.clusters == 1


def test_a_function_of_x_is_kept_whole() -> None:
    table = np.array([[0.2, 0], [0.3, 0], [0, 0.1], [0, 0.4]])
    found = information_bottleneck(table, 5.0)
    assert found.relevance == pytest.approx(math.log(2))
    assert found.rate == pytest.approx(math.log(2), abs=1e-8)
    assert found.clusters == 2
    assert found.labels[0] == found.labels[1] != found.labels[2]


def test_much_beta_gives_the_minimal_sufficient_statistic() -> None:
    """Values of X that say the same of Y share a cluster, and nothing of Y is lost."""
    rows = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    table = rows * np.array([0.1, 0.3, 0.4, 0.2])[:, None]
    found = information_bottleneck(table, 1e4)
    assert found.clusters == 3
    assert found.relevance == pytest.approx(joint_table(table).information, abs=1e-6)
    assert found.rate == pytest.approx(-(2 * 0.4 * math.log(0.4) + 0.2 * math.log(0.2)), abs=1e-6)


@pytest.mark.parametrize("flip", [0.1, 0.3])
def test_a_binary_channel_by_its_equation(flip: float) -> None:
    """Mrs Gerber: I(Y;Z) = ln 2 - h(a * flip) where I(X;Z) = ln 2 - h(a); the best a by bisection of the slope."""

    def h(p: np.ndarray) -> np.ndarray:
        return -xlogy(p, p) - xlogy(1 - p, 1 - p)

    table = np.array([[1 - flip, flip], [flip, 1 - flip]]) / 2
    beta = 2 * first_critical_beta(table)
    a = np.linspace(1e-6, 0.5, 200_001)
    through = a * (1 - flip) + (1 - a) * flip
    lowest = float(((math.log(2) - h(a)) - beta * (math.log(2) - h(through))).min())
    assert information_bottleneck(table, beta).functional == pytest.approx(lowest, abs=1e-9)


# truth


@pytest.mark.parametrize(("beta", "rate", "relevance"), BY_DIT)
def test_beside_dit(beta: float, rate: float, relevance: float) -> None:
    found = information_bottleneck(KNOWN, beta)
    assert found.rate == pytest.approx(rate, abs=1e-5)
    assert found.relevance == pytest.approx(relevance, abs=1e-5)


def test_the_curve_beside_dit(known_curve: BottleneckCurve) -> None:
    for _, rate, relevance in BY_DIT:
        assert known_curve.relevance_at(rate) == pytest.approx(relevance, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_two_values_beside_the_convex_hull(seed: int) -> None:
    table = random_table(2, 4, seed)
    logit = np.linspace(-25, 25, 20_001)
    share = 1 / (1 + np.exp(-logit))
    posteriors = np.column_stack([share, 1 / (1 + np.exp(logit))])
    for factor in (0.9, 1.1, 2.0, 6.0):
        beta = factor * first_critical_beta(table)
        found = information_bottleneck(table, beta)
        assert found.functional == pytest.approx(by_convex_hull(table, beta, posteriors), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_three_values_beside_the_convex_hull(seed: int) -> None:
    table = random_table(3, 4, seed)
    steps = 60
    grid = np.array([(i, j) for i in range(steps + 1) for j in range(steps + 1 - i)]) / steps
    posteriors = np.column_stack([grid, 1 - grid.sum(1)])
    for factor in (1.1, 2.0):
        beta = factor * first_critical_beta(table)
        found = information_bottleneck(table, beta)
        # The program has only posteriors of the grid: with those that were found, too, it does no better than they.
        own = (found.encoder * joint_table(table).p_x[:, None] / found.p_z).T
        hull = by_convex_hull(table, beta, np.vstack([posteriors, own[found.p_z > 0]]))
        assert found.functional == pytest.approx(hull, abs=1e-8)


# properties


def test_no_other_encoder_is_better() -> None:
    rng = np.random.default_rng(5)
    table = random_table(5, 4, 5)
    for beta in (2.0, 5.0, 20.0):
        best = information_bottleneck(table, beta)
        assert best.gap is not None
        assert best.gap < 1e-9
        for _ in range(30):
            start = rng.dirichlet(np.ones(5) * 0.5, 5)
            other = information_bottleneck(table, beta, clusters=4, start=start[:, :4] / start[:, :4].sum(1)[:, None])
            assert best.functional <= other.functional + 1e-9


def test_a_bad_start_is_left() -> None:
    table = random_table(4, 4, 1)
    beta = 3 * first_critical_beta(table)
    best = information_bottleneck(table, beta)
    for start in (np.zeros(4, int), np.full((4, 4), 0.25), [0, 0, 1, 1]):
        assert information_bottleneck(table, beta, start=start).functional == pytest.approx(best.functional, abs=1e-8)


def test_a_start_from_which_turns_creep() -> None:
    """The solution at a larger beta lies in a valley along which turns move by 1e-8; a search finds the way down."""
    rng = np.random.default_rng(7)
    rng.dirichlet(np.full(25, 0.5))
    table = rng.dirichlet(np.full(80, 0.5)).reshape(10, 8)
    betas = np.geomspace(0.99, 100 * first_critical_beta(table), 30)
    below, above = betas[betas < 3.2][-1], betas[betas > 3.2]
    start = None
    for beta in above[above < 10][::-1]:
        start = information_bottleneck(table, beta, start=start)
    crept = information_bottleneck(table, below, start=start)
    assert crept.functional == pytest.approx(information_bottleneck(table, below).functional, abs=1e-9)
    assert crept.gap < 1e-8


@pytest.mark.parametrize("seed", range(8))
def test_the_end_does_not_depend_on_the_start(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_x, n_y = int(rng.integers(2, 10)), int(rng.integers(2, 7))
    table = rng.dirichlet(np.full(n_x * n_y, 0.5)).reshape(n_x, n_y)
    for factor in (1.05, 1.5, 4.0):
        beta = factor * first_critical_beta(table)
        one = information_bottleneck(table, beta)
        other = information_bottleneck(table, beta, start=rng.dirichlet(np.ones(n_x), n_x), seed=1)
        assert other.functional == pytest.approx(one.functional, abs=1e-8)
        assert max(one.gap, other.gap) < 1e-8


def test_names_of_values_do_not_matter() -> None:
    table = random_table(4, 3, 2)
    beta = 4.0
    rows, columns = np.random.default_rng(0).permutation(4), np.random.default_rng(1).permutation(3)
    one, other = information_bottleneck(table, beta), information_bottleneck(table[rows][:, columns], beta)
    assert other.functional == pytest.approx(one.functional, abs=1e-9)


def test_a_value_that_never_occurs_is_told_nothing() -> None:
    table = random_table(3, 3, 3)
    wider = np.insert(table, 1, 0.0, axis=0)
    one, other = information_bottleneck(table, 6.0), information_bottleneck(wider, 6.0)
    assert other.functional == pytest.approx(one.functional, abs=1e-10)
    assert other.encoder[1] == pytest.approx(other.p_z)
    assert other.encoder.sum(1) == pytest.approx(np.ones(4))


def test_fewer_clusters_keep_less() -> None:
    table = random_table(6, 5, 4)
    values = [information_bottleneck(table, 8.0, clusters=k) for k in (1, 2, 3, 6)]
    assert values[0].relevance == pytest.approx(0, abs=1e-12)
    functionals = [found.functional for found in values]
    assert functionals == sorted(functionals, reverse=True)
    assert [found.encoder.shape[1] <= k for found, k in zip(values, (1, 2, 3, 6), strict=True)] == [True] * 4
    assert values[1].gap is None


def test_between_its_points_the_curve_is_known(known_curve: BottleneckCurve) -> None:
    others = bottleneck_curve(KNOWN, np.geomspace(2.3, 30, 23))
    assert known_curve.relevance_at(others.rates) == pytest.approx(others.relevances, abs=3e-5)


def test_the_curve_is_concave_and_within_its_bounds(known_curve: BottleneckCurve) -> None:
    curve = known_curve
    assert len(curve) > 30
    assert (np.diff(curve.betas) > 0).all()
    assert (np.diff(curve.rates) > -1e-6).all()
    slopes = np.diff(curve.relevance_at(np.linspace(0, curve.table.entropy_x, 40)))
    assert (np.diff(slopes) < 1e-8).all()
    assert (curve.relevances <= curve.rates + 1e-12).all()
    assert curve.relevances[-1] == pytest.approx(curve.table.information, abs=1e-4)
    assert curve.relevance_at(99.0) == pytest.approx(curve.table.information)
    # A point of the curve for its own beta: no other point is better there.
    for point in curve:
        assert (point.functional <= curve.rates - point.beta * curve.relevances + 1e-7).all()
    assert "clusters" in str(curve)


def test_betas_may_come_in_any_order() -> None:
    curve = bottleneck_curve(KNOWN, [10.0, 4.0, 4.0], clusters=2)
    assert curve.betas.tolist() == [4.0, 10.0]
    assert (curve.clusters <= 2).all()
    assert bottleneck_curve(np.outer([0.5, 0.5], [0.1, 0.9])).rates.max() == pytest.approx(0, abs=1e-9)


# refusals


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="beta=-1"):
        information_bottleneck(KNOWN, -1)
    with pytest.raises(ValueError, match="beta=inf"):
        information_bottleneck(KNOWN, math.inf)
    with pytest.raises(ValueError, match="clusters=0"):
        information_bottleneck(KNOWN, 2, clusters=0)
    with pytest.raises(ValueError, match="steps=0"):
        information_bottleneck(KNOWN, 2, steps=0)
    with pytest.raises(ValueError, match="3 clusters, more than clusters=2"):
        information_bottleneck(KNOWN, 2, clusters=2, start=[0, 1, 2])
    with pytest.raises(ValueError, match=r"this has \(2,\)"):
        information_bottleneck(KNOWN, 2, start=[0, 1])
    with pytest.raises(ValueError, match="sum to 1"):
        information_bottleneck(KNOWN, 2, start=np.ones((3, 2)))
    with pytest.raises(ValueError, match="betas is empty"):
        bottleneck_curve(KNOWN, [])
    with pytest.raises(ValueError, match="at least 0 nats"):
        bottleneck_curve(KNOWN, [2.0]).relevance_at(-0.1)
