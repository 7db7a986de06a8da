"""What samples are like before anything is estimated.

exact       normality, growth steps, exact copies, agreement of symbols
properties  units, order of columns, estimating twice
truth       intrinsic dimension of Gaussians; what autocorrelated rows are worth
refusals    each flag fires on its trap and is silent on good data
"""

import math

import numpy as np
import pytest

from miest import Flag, continuous, discrete
from miest.samples import Variable, variable, variables
from miest.traits import (
    autocorrelation,
    autocorrelation_doubt,
    determinism,
    deterministic_doubt,
    duplicates_doubt,
    effective_samples,
    intrinsic_dimension,
    ksg_value,
    near_duplicates,
    normal_scores,
    normality,
    skew_doubt,
)


def gaussian(n: int, seed: int = 0, *, rho: float = 0.8, d: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, rho * x + math.sqrt(1 - rho**2) * rng.standard_normal((n, d))


def repeated(rows: int, times: int, jitter: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(np.repeat(v, times, axis=0) + jitter * rng.standard_normal((rows * times, 1)) for v in gaussian(rows))


def pair(x: np.ndarray, y: np.ndarray) -> tuple[Variable, ...]:
    return variables(x=x, y=y)


GOOD = {
    "Gaussian": lambda n, rng: gaussian(n, int(rng.integers(99))),
    "strong": lambda n, rng: gaussian(n, int(rng.integers(99)), rho=0.999),
    "five dimensions": lambda n, rng: gaussian(n, int(rng.integers(99)), d=5),
    "thirty dimensions": lambda n, rng: gaussian(n, int(rng.integers(99)), d=30),
    "heavy tails": lambda n, rng: (rng.standard_t(2, (n, 1)), rng.standard_t(2, (n, 2))),
    "uniform": lambda n, rng: (rng.uniform(size=n), rng.uniform(size=n)),
    "mixture of scales": lambda n, rng: np.hsplit(
        np.where(rng.uniform(size=(n, 1)) < 0.5, 1e-3, 1) * rng.normal(size=(n, 2)), 2
    ),
    "noisy circle": lambda n, rng: (
        lambda t: (np.cos(t) + 0.1 * rng.normal(size=n), np.sin(t) + 0.1 * rng.normal(size=n))
    )(rng.uniform(0, 7, n)),
    "rounded": lambda n, rng: tuple(np.round(v, 2) for v in gaussian(n, int(rng.integers(99)))),
    "lattice": lambda n, rng: (rng.integers(0, 40, n) / 40, rng.integers(0, 40, n) / 40),
}


# exact


def test_normality_of_normal_scores_is_one_and_of_an_exponential_is_known() -> None:
    scores = normal_scores(np.arange(999)[:, None])
    skewed = np.hstack([scores, -np.log(np.arange(1, 1000)[:, None] / 1000), np.zeros((999, 1))])
    assert normality(variable(skewed, "x")) == pytest.approx([1, 0.82], abs=0.005)  # the constant column is left out


def test_exact_copies_are_ties_and_not_near_duplicates() -> None:
    x = np.repeat(gaussian(200)[0], 3, axis=0)
    assert near_duplicates(variable(x, "x")).judged == 0
    assert math.isnan(intrinsic_dimension(variable(x, "x")))


def test_agreement_of_symbols_alternating() -> None:
    seen = autocorrelation(variable(np.arange(100) % 2, "x"))
    assert seen.by_lag == pytest.approx([-1, 1] * 5)
    assert seen.found


def test_the_number_of_copies_is_read_off() -> None:
    for times in (2, 3, 5, 9):
        copies = near_duplicates(*pair(*repeated(200, times, 1e-6)))
        assert copies.copies == times
        assert copies.share > 0.9


@pytest.mark.parametrize("rows", [1, 2, 5, 12])
def test_few_rows_and_constants_say_nothing(rows: int) -> None:
    x, y = variables(at_least=1, x=np.arange(rows, dtype=float), y=np.ones(rows))
    for arguments in ([x, y], [y, x], [x, x], [y, y]):
        assert duplicates_doubt(arguments) == deterministic_doubt(arguments) == autocorrelation_doubt(arguments) == []
        assert skew_doubt(arguments, ksg_value) == []


# properties


def test_units_and_order_of_columns_change_nothing() -> None:
    x, y = repeated(300, 3, 1e-2)
    one, other = near_duplicates(*pair(x, y)), near_duplicates(*pair(1e-9 * y, 1e9 * x - 5e9))
    assert (one.copies, one.judged) == (other.copies, other.judged)
    assert one.jump == pytest.approx(other.jump, rel=1e-6)
    tall = gaussian(3000, d=3)[0]
    assert near_duplicates(variable(tall, "x")) == near_duplicates(variable(tall, "x"))
    assert intrinsic_dimension(variable(tall, "x")) == pytest.approx(
        intrinsic_dimension(variable(8 * tall[:, ::-1], "x")), rel=1e-9
    )


def test_tree_and_matrix_products_find_the_same_neighbours() -> None:
    from miest.traits import _nearest

    x = np.random.default_rng(0).normal(size=(400, 12))
    rows = np.arange(0, 400, 7)
    distance, near = _nearest(x, rows, 6)
    other, beside = _nearest(np.hstack([x, np.zeros((400, 1))]), rows, 6)
    assert (near == beside).all()
    assert other == pytest.approx(distance, rel=1e-12)
    assert not (near == rows[:, None]).any()


def test_inputs_are_not_written_to() -> None:
    x, y = gaussian(500)
    for values in (x, y := np.exp(5 * y)):
        values.flags.writeable = False
    arguments = pair(x, y)
    assert [f(arguments) for f in (duplicates_doubt, deterministic_doubt, autocorrelation_doubt)] == [[], [], []]


# truth


@pytest.mark.parametrize(("d", "low", "high"), [(1, 0.95, 1.05), (2, 1.85, 2.1), (6, 5.0, 6.1)])
def test_intrinsic_dimension_in_many_columns(d: int, low: float, high: float) -> None:
    rng = np.random.default_rng(d)
    latent = rng.standard_normal((3000, d))
    assert low < intrinsic_dimension(variable(latent @ rng.standard_normal((d, 20)), "x")) < high


def test_intrinsic_dimension_in_spite_of_copies() -> None:
    plain = intrinsic_dimension(variable(np.hstack(gaussian(400)), "x"))
    for jitter in (1e-6, 1e-3):
        assert 0.6 * plain < intrinsic_dimension(*pair(*repeated(400, 3, jitter))) < 1.1 * plain


def test_what_autocorrelated_rows_are_worth() -> None:
    from scipy.signal import lfilter

    a, n = 0.8, 20_000
    worth = []
    for seed in range(10):
        rows = lfilter([1], [1, -a], np.random.default_rng(seed).standard_normal((n, 2)), axis=0)
        seen = [autocorrelation(variable(rows[:, i], "x")) for i in (0, 1)]
        assert seen[0].largest == pytest.approx(6 / math.pi * math.asin(a / 2), abs=0.03)  # Spearman's, of Gaussians
        worth.append(effective_samples(n, *seen) / n)
    ranks = 6 / math.pi * np.arcsin(a ** np.arange(1, 200) / 2)
    truth = 1 / (1 + 2 * np.square(ranks).sum())
    assert abs(np.mean(worth) - truth) < 4 * np.std(worth, ddof=1) / math.sqrt(10)


# refusals


@pytest.mark.parametrize("jitter", [1e-6, 1e-2])
@pytest.mark.parametrize("seed", range(5))
def test_copies_are_flagged(jitter: float, seed: int) -> None:
    doubts = duplicates_doubt(pair(*repeated(300, 3, jitter, seed)))
    assert [flag for flag, _ in doubts] == [Flag.DUPLICATES]
    assert "about 3 near-copies" in doubts[0][1]


def test_copies_are_flagged_in_any_number_shuffled_and_in_many_columns() -> None:
    rng = np.random.default_rng(0)
    some = rng.integers(0, 300, 900)  # from 0 to 9 copies
    x, y = gaussian(300, d=10)
    x, y = (v[some] + 1e-3 * rng.standard_normal((900, 10)) for v in (x, y))
    assert duplicates_doubt(pair(x, y))
    assert not duplicates_doubt([variable(gaussian(1000, d=10)[0], "x")])
    tenth = gaussian(1000, d=2)[0]
    # One row in five has a partner.
    tenth[:100] = tenth[100:200] + 1e-6 * rng.standard_normal((100, 2))
    assert duplicates_doubt([variable(tenth, "x")])


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("n", [300, 2000])
def test_good_data_are_not_flagged(name: str, n: int) -> None:
    arguments = pair(*GOOD[name](n, np.random.default_rng(n)))
    found = [*duplicates_doubt(arguments), *deterministic_doubt(arguments), *autocorrelation_doubt(arguments)]
    assert found + skew_doubt(arguments, ksg_value) == []


def test_rows_at_equal_times_on_a_curve_are_no_copies() -> None:
    t = np.linspace(0, 6, 1000)
    copies = near_duplicates(*pair(t, np.sin(t)))
    assert copies.jump > 0.1
    assert not copies.found


@pytest.mark.parametrize("seed", range(5))
def test_stretched_margins_are_flagged(seed: int) -> None:
    x, y = gaussian(800, seed)
    (doubt,) = skew_doubt(pair(np.exp(5 * x), np.exp(5 * y)), ksg_value)
    assert doubt[0] is Flag.SKEWED
    assert "GaussianCopula" in doubt[1]
    assert not skew_doubt(pair(np.exp(x), np.exp(y)), ksg_value)  # log-normal: normality is low, but KSG is right
    assert not skew_doubt([variable(np.exp(5 * x), "x"), variable(discrete(y > 0), "y")], ksg_value)


@pytest.mark.parametrize("dx", [1, 2, 5])
@pytest.mark.parametrize("n", [1000, 3000])
def test_a_noiseless_layer_is_flagged_and_a_noisy_one_is_not(dx: int, n: int) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((n, dx))
        t = np.tanh(x @ rng.standard_normal((dx, 3)))
        assert [flag for flag, _ in deterministic_doubt(pair(x, t))] == [Flag.DETERMINISTIC]
        assert deterministic_doubt(pair(t, x))
        assert not deterministic_doubt(pair(x, t + 0.3 * rng.standard_normal(t.shape)))
        assert not deterministic_doubt(pair(x, t), value=0.5)  # so little was estimated that nothing is looked at


def test_functions_that_fold_or_stretch_are_flagged() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 1))
    for t in (x**2, np.exp(5 * x), np.sin(3 * x), np.maximum(x, 0) + 1e-3 * x, np.hstack([x] * 30)):
        assert deterministic_doubt(pair(x, t))
    noise = rng.standard_normal((1000, 1))
    for t in (x**2 + 0.1 * noise, np.exp(5 * (x + 0.1 * noise)), np.hstack([x + 0.1 * noise] * 30)):
        assert not deterministic_doubt(pair(x, t))
    assert not deterministic_doubt([variable(x, "x"), variable(discrete(x > 0), "y")])


def test_too_many_dimensions_are_called_inconclusive() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 30))
    seen = determinism(variable(x, "x"), variable(np.tanh(x @ rng.standard_normal((30, 3))), "y"))
    assert not seen.found
    assert not seen.conclusive
    narrow = determinism(*pair(x[:, :2], rng.standard_normal((1000, 2))))
    assert narrow.conclusive
    assert not narrow.found


def test_copies_and_slow_series_are_not_called_functions() -> None:
    rng = np.random.default_rng(0)
    slow = np.cumsum(np.cumsum(rng.standard_normal((1000, 2)), axis=0), axis=0)
    assert determinism(*pair(slow[:, 0], slow[:, 1])).noise_share < 0.05
    assert deterministic_doubt(pair(slow[:, 0], slow[:, 1])) == []


def test_rows_that_remember_are_flagged_where_both_do() -> None:
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.standard_normal((1000, 2)), axis=0)
    (doubt,) = autocorrelation_doubt(pair(walk[:, 0], walk[:, 1]))
    assert doubt[0] is Flag.AUTOCORRELATED
    assert "worth about" in doubt[1]
    assert not autocorrelation_doubt(pair(walk[:, 0], rng.standard_normal(1000)))
    assert not autocorrelation_doubt([variable(walk, "x")])
    labels = np.sort(rng.integers(0, 5, 1000))
    assert autocorrelation_doubt(pair(labels + 0.1 * rng.standard_normal(1000), labels))


def test_independent_rows_are_rarely_called_autocorrelated() -> None:
    found = [autocorrelation(variable(np.random.default_rng(s).standard_normal(500), "x")).found for s in range(400)]
    assert sum(found) <= 4  # one in a thousand is expected
    symbols = [autocorrelation(variable(np.random.default_rng(s).integers(0, 4, 500), "x")).found for s in range(200)]
    assert sum(symbols) <= 3


def test_declared_integers_count_as_coordinates() -> None:
    assert intrinsic_dimension(variable(continuous(np.arange(1000) ** 2), "x")) == pytest.approx(1, abs=0.2)
