"""Bounds: what is minimised, what is reported, and how far a row moves it.

exact       hand-worked scores, the moving average of MINE, sums over rows by brute force, all pairs or some
properties  constants that a bound leaves free, order of rows, InfoNCE below ln of the pool
truth       the best critic of a Gaussian: means against the truth, and standard errors against the spread over samples
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from miest.neural import bounds  # noqa: E402
from miest.neural.bounds import Bound, Scores, effective_pairs, log_mean_exp  # noqa: E402
from miest.neural.critics import Separable  # noqa: E402
from miest.neural.train import derangement, judge, score  # noqa: E402

ALL = [
    bounds.DonskerVaradhan(),
    bounds.MINE(),
    bounds.NWJ(),
    bounds.InfoNCE(),
    bounds.JensenShannon(),
    bounds.SMILE(tau=2.0),
    bounds.CLUB(),
]
LN2, LN3 = math.log(2), math.log(3)


def by_hand() -> Scores:
    """Two rows: exp of the scores is 8 and 2 for joint pairs, 1 and 3 for the others."""
    return Scores(torch.tensor([3 * LN2, LN2]), torch.tensor([[0.0], [LN3]]), None)


def random_scores(n: int, m: int | None, seed: int) -> Scores:
    generator = torch.Generator().manual_seed(seed)
    joint = torch.randn(n, generator=generator, dtype=torch.float64)
    others = None if m is None else derangement(n, m, generator)
    marginal = torch.randn(n, n - 1 if m is None else m, generator=generator, dtype=torch.float64) - 0.5
    return Scores(joint, marginal, others)


def rows_of_y(scores: Scores) -> np.ndarray:
    """(n, m) which row every marginal pair takes its y from."""
    n, m = scores.marginal.shape
    if scores.others is not None:
        return scores.others.numpy()
    return np.array([[j for j in range(n) if j != i] for i in range(n)]).reshape(n, m)


# exact


def test_values_by_hand() -> None:
    scores = by_hand()
    value = {type(bound).__name__: float(bound.value(scores)) for bound in ALL}
    assert value["DonskerVaradhan"] == value["MINE"] == pytest.approx(2 * LN2 - LN2)  # the mean of 1 and 3 is 2
    assert value["NWJ"] == pytest.approx(1 + 2 * LN2 - 2)
    assert value["InfoNCE"] == pytest.approx((math.log(2 * 8 / 9) + math.log(2 * 2 / 5)) / 2)
    assert value["JensenShannon"] == pytest.approx(2 * LN2)
    assert value["CLUB"] == pytest.approx(2 * LN2 - LN3 / 2)
    assert float(bounds.SMILE(tau=LN2).value(scores)) == pytest.approx(2 * LN2 - math.log(1.5))  # 3 is clipped to 2
    assert float(bounds.SMILE(tau=math.inf).value(scores)) == value["DonskerVaradhan"]


def test_losses_by_hand() -> None:
    scores = by_hand()
    logistic = (math.log(9 / 8) + math.log(3 / 2)) / 2 + (math.log(2) + math.log(4)) / 2
    loss = {type(bound).__name__: float(bound.loss(scores, bound.start())[0]) for bound in ALL}
    assert loss["JensenShannon"] == loss["SMILE"] == pytest.approx(logistic)
    assert float(bounds.SMILE().criterion(scores)) == pytest.approx(-logistic)
    assert loss["CLUB"] == pytest.approx(-2 * LN2)
    assert float(bounds.CLUB().criterion(scores)) == pytest.approx(2 * LN2)
    for bound in (bounds.DonskerVaradhan(), bounds.NWJ(), bounds.InfoNCE()):
        assert loss[type(bound).__name__] == -float(bound.value(scores))
        assert float(bound.criterion(scores)) == float(bound.value(scores))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_the_gradient_of_mine_divides_by_a_moving_average(decay: float) -> None:
    bound, state, average = bounds.MINE(ema_decay=decay), None, None
    for seed in range(4):
        drawn = random_scores(6, None, seed)
        marginal = drawn.marginal.clone().requires_grad_()
        loss, state = bound.loss(Scores(drawn.joint, marginal, None), state)
        loss.backward()
        mean = drawn.marginal.exp().mean()
        average = mean if average is None else decay * average + (1 - decay) * mean
        torch.testing.assert_close(state, average.log())
        torch.testing.assert_close(marginal.grad, drawn.marginal.exp() / average / marginal.numel())
    assert not state.requires_grad


def test_without_memory_mine_has_the_gradient_of_donsker_varadhan() -> None:
    gradients = []
    for bound in (bounds.MINE(ema_decay=0.0), bounds.DonskerVaradhan()):
        drawn = random_scores(6, None, 1)
        joint, marginal = drawn.joint.requires_grad_(), drawn.marginal.requires_grad_()
        bound.loss(Scores(joint, marginal, None), torch.tensor(5.0))[0].backward()
        gradients.append((joint.grad, marginal.grad))
    torch.testing.assert_close(gradients[0], gradients[1])


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.data(), st.integers(0, 2**32 - 1))
def test_sides_are_the_sums_over_pairs_that_a_row_is_in(n: int, data: st.DataObject, seed: int) -> None:
    m = data.draw(st.one_of(st.none(), st.integers(1, n - 1)))
    scores = random_scores(n, m, seed)
    weight, y = scores.marginal.numpy(), rows_of_y(scores)
    width = weight.shape[1]
    expected = [
        (weight[k].sum() + sum(weight[i, j] for i in range(n) for j in range(width) if y[i, j] == k)) / width
        for k in range(n)
    ]
    torch.testing.assert_close(scores.sides(scores.marginal), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("m", [None, 5])
@pytest.mark.parametrize("bound", ALL, ids=lambda b: type(b).__name__)
def test_influence_is_the_slope_in_the_weight_of_a_row(bound: Bound, m: int | None) -> None:
    n, step = 9, 1e-5
    scores = random_scores(n, m, 3)
    y, width = rows_of_y(scores), scores.marginal.shape[1]

    def weighted(w: np.ndarray) -> float:
        """The value with row k counted w[k] times, as an x and as a y."""
        joint, marginal = scores.joint.numpy(), scores.marginal.numpy()
        mean = (w * joint).sum() / n
        pairs = w[:, None] * w[y] / (n * width)
        if isinstance(bound, bounds.InfoNCE):
            everyone = np.log(w * np.exp(joint) + (w[y] * np.exp(marginal)).sum(axis=1))
            return float((w * (joint - everyone)).sum() / n)
        if isinstance(bound, bounds.NWJ):
            return float(1 + mean - (pairs * np.exp(marginal)).sum())
        if isinstance(bound, bounds.CLUB):
            return float(mean - (pairs * marginal).sum())
        if isinstance(bound, bounds.SMILE):
            return float(mean - np.log((pairs * np.exp(marginal.clip(-bound.tau, bound.tau))).sum()))
        if isinstance(bound, bounds.JensenShannon):
            return float(mean)
        return float(mean - np.log((pairs * np.exp(marginal)).sum()))

    slopes = np.array([(weighted(1 + step * e) - weighted(1 - step * e)) / (2 * step) for e in np.eye(n)])
    influence = bound.influence(scores).numpy()
    assert n * (slopes - slopes.mean()) == pytest.approx(influence - influence.mean(), abs=1e-8)


def test_effective_pairs_of_equal_and_of_lonely_weights() -> None:
    assert effective_pairs(torch.zeros(7, 6)) == pytest.approx(42)
    assert effective_pairs(torch.tensor([[0.0, 800.0]])) == pytest.approx(1)
    assert effective_pairs(torch.log(torch.tensor([[1.0, 2.0, 3.0]]))) == pytest.approx(36 / 14)
    assert float(log_mean_exp(torch.full((3, 2), 1000.0))) == 1000.0


# properties


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.floats(-50, 50), st.integers(0, 2**32 - 1))
def test_what_a_constant_in_the_critic_does(n: int, constant: float, seed: int) -> None:
    plain = random_scores(n, None, seed)
    moved = Scores(plain.joint + constant, plain.marginal + constant, None)
    for bound in (bounds.DonskerVaradhan(), bounds.InfoNCE(), bounds.CLUB()):
        assert float(bound.value(moved)) == pytest.approx(float(bound.value(plain)), abs=1e-9)
    best = Scores(plain.joint - log_mean_exp(plain.marginal), plain.marginal - log_mean_exp(plain.marginal), None)
    assert float(bounds.NWJ().value(best)) == pytest.approx(float(bounds.DonskerVaradhan().value(plain)), abs=1e-9)
    assert float(bounds.NWJ().value(moved)) <= float(bounds.NWJ().value(best)) + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.floats(0, 1e4), st.integers(0, 2**32 - 1))
def test_infonce_never_passes_ln_of_the_pool(n: int, gap: float, seed: int) -> None:
    plain = random_scores(n, None, seed)
    bound = bounds.InfoNCE()
    value = float(bound.value(Scores(plain.joint + gap, plain.marginal, None)))
    assert value <= bound.ceiling(n) + 1e-9
    assert bound.ceiling(n) == math.log(n)
    if gap > 1e3:
        assert value == pytest.approx(math.log(n))


@pytest.mark.parametrize("bound", ALL, ids=lambda b: type(b).__name__)
def test_huge_scores_overflow_only_where_the_value_is_infinite(bound: Bound) -> None:
    huge = Scores(torch.tensor([500.0, 400.0]), torch.tensor([[300.0], [200.0]]), None)
    assert math.isfinite(bound.value(huge)) != isinstance(bound, bounds.NWJ)
    assert math.isfinite(bound.loss(huge, bound.start())[0]) != isinstance(bound, bounds.NWJ)


def test_only_infonce_has_a_ceiling_and_only_bounds_say_so() -> None:
    assert [bound.ceiling(8) is not None for bound in ALL] == [False, False, False, True, False, False, False]
    assert [bound.kind for bound in ALL] == ["lower bound"] * 4 + ["point", "point", "upper bound"]
    assert [bound.partition for bound in ALL] == [True, True, True, False, False, True, False]


# truth


class LogRatio(Separable):
    """ln p(x,y) / (p(x) p(y)) of standard normals with correlation rho, as an inner product."""

    def __init__(self, rho: float) -> None:
        super().__init__(torch.nn.Identity(), torch.nn.Identity())
        self.rho = rho

    def encode_x(self, x: torch.Tensor) -> torch.Tensor:
        a = self.rho / (1 - self.rho**2)
        own = -math.log1p(-(self.rho**2)) / 4 - a * self.rho / 2 * x.square().sum(1, keepdim=True)
        return torch.cat([a * x, own, torch.ones_like(own)], 1)

    def encode_y(self, y: torch.Tensor) -> torch.Tensor:
        own = -math.log1p(-(self.rho**2)) / 4 - self.rho**2 / (1 - self.rho**2) / 2 * y.square().sum(1, keepdim=True)
        return torch.cat([y, torch.ones_like(own), own], 1)


def repeated(rho: float, n: int, repetitions: int, negatives: int | None = None) -> list[Scores]:
    rng = np.random.default_rng(0)
    found = []
    for seed in range(repetitions):
        x, noise = rng.standard_normal((2, n, 1))
        y = rho * x + math.sqrt(1 - rho**2) * noise
        found.append(judge(LogRatio(rho), (torch.from_numpy(x), torch.from_numpy(y)), negatives, seed))
    return found


RHO, N, REPETITIONS = 0.7, 200, 600
TRUTH = -math.log1p(-(RHO**2)) / 2


@pytest.fixture(scope="module", params=[None, 7], ids=["all pairs", "7 a row"])
def samples(request: pytest.FixtureRequest) -> list[Scores]:
    return repeated(RHO, N, REPETITIONS, request.param)


@pytest.mark.parametrize("bound", ALL, ids=lambda b: type(b).__name__)
def test_means_and_standard_errors_with_the_best_critic(bound: Bound, samples: list[Scores]) -> None:
    values = np.array([float(bound.value(scores)) for scores in samples])
    error = values.std(ddof=1) / math.sqrt(REPETITIONS)
    if isinstance(bound, bounds.InfoNCE):
        assert 0 < values.mean() < TRUTH + 4 * error
        assert (TRUTH - values.mean() > 0.02) == (samples[0].others is not None)  # a pool of 8 tells less
    elif isinstance(bound, bounds.SMILE):
        assert abs(values.mean() - TRUTH) < 0.05  # clipping at 2 takes little away, and in a known direction
        assert values.mean() > TRUTH - 4 * error
    elif isinstance(bound, bounds.CLUB):
        assert values.mean() > TRUTH  # the reverse divergence is added to it
        assert abs(values.mean() - RHO**2 / (1 - RHO**2)) < 4 * error
    elif isinstance(bound, bounds.NWJ | bounds.JensenShannon):
        assert abs(values.mean() - TRUTH) < 4 * error
    else:  # the logarithm of a mean is too small by half its variance
        assert abs(values.mean() - TRUTH) < 4 * error + 0.02
    claimed = np.sqrt([bound.influence(scores).var(correction=0).item() / N for scores in samples])
    assert claimed.mean() == pytest.approx(values.std(ddof=1), rel=0.12)


@pytest.mark.parametrize("bound", [bounds.DonskerVaradhan(), bounds.NWJ(), bounds.InfoNCE()], ids=lambda b: str(b))
@pytest.mark.parametrize("wrong", [0.3, 0.85, -0.5])
def test_no_critic_is_above_the_truth(bound: Bound, wrong: float) -> None:
    rng = np.random.default_rng(1)
    x, noise = rng.standard_normal((2, 3000, 1))
    y = RHO * x + math.sqrt(1 - RHO**2) * noise
    rows = torch.from_numpy(x), torch.from_numpy(y)
    scores = judge(LogRatio(wrong), rows, None, 0)
    worse, best = float(bound.value(scores)), float(bound.value(judge(LogRatio(RHO), rows, None, 0)))
    error = float(bound.influence(scores).std()) / math.sqrt(3000)
    assert worse < TRUTH - 2 * error
    assert worse < best


def test_scores_of_a_batch_and_of_held_out_rows_are_the_same_numbers() -> None:
    rows = torch.randn(40, 1, generator=torch.Generator().manual_seed(0)), torch.zeros(40, 1)
    trained, judged = score(LogRatio(0.5), *rows), judge(LogRatio(0.5), rows, None, 0)
    torch.testing.assert_close(trained.marginal, judged.marginal)
    torch.testing.assert_close(trained.joint, judged.joint)
