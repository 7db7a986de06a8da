"""Renyi entropy of second order: exact, properties, truth, refusals."""

import math
from itertools import combinations

import numpy as np
import pytest

from miest import Flag, discrete
from miest.estimators.renyi import Renyi2

# exact


def test_pairs_that_agree_are_counted() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, size=(40, 2))
    agreeing = sum(bool((a == b).all()) for a, b in combinations(x, 2))
    found = Renyi2().estimate(x)
    assert found.value == pytest.approx(-math.log(agreeing / (40 * 39 / 2)))
    assert found.diagnostics.agreeing_pairs == agreeing
    assert found.quantity == "H2(X)"


def test_cells_have_their_edges_at_multiples_of_the_width() -> None:
    x = np.array([-0.1, -0.4, 0.0, 0.4, 0.5, 0.9])
    assert Renyi2(width=0.5).estimate(x).diagnostics.agreeing_pairs == 3
    assert Renyi2(width=0.5).estimate(x).diagnostics.cells_seen == 3
    assert Renyi2(width=0.5).estimate(x).value == Renyi2().estimate(discrete(np.floor(x / 0.5).astype(int))).value


def test_one_value_has_no_entropy() -> None:
    assert Renyi2().estimate(np.zeros(100, int)).value == 0
    assert Renyi2().estimate(np.zeros(100, int)).interval == (0, 0)


def test_many_equal_rows_do_not_overflow() -> None:
    assert Renyi2().estimate(np.zeros(4_000_000, np.int8)).value == 0


# properties


def test_order_and_names_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 6, size=500)
    assert Renyi2().estimate(x).value == Renyi2().estimate(5 - rng.permutation(x)).value


def test_it_is_no_more_than_the_entropy() -> None:
    p = np.array([0.6, 0.3, 0.1])
    x = np.random.default_rng(2).choice(3, 20_000, p=p)
    assert Renyi2().estimate(x).value < -(p * np.log(p)).sum()


# truth


def test_known_probabilities_and_coverage() -> None:
    p = np.array([0.5, 0.25, 0.125, 0.125])
    truth = -math.log((p**2).sum())
    inside = 0
    for seed in range(200):
        found = Renyi2().estimate(np.random.default_rng(seed).choice(4, 400, p=p))
        low, high = found.interval
        inside += low <= truth <= high
    assert 182 <= inside <= 198  # 95% is 190, with a standard deviation of 3


@pytest.mark.parametrize("d", [1, 2])
def test_it_grows_with_the_correlation_dimension(d: int) -> None:
    x = np.random.default_rng(d).random((5000, d))
    coarse, fine = (Renyi2(width=width).estimate(x) for width in (1 / 4, 1 / 32))
    assert (fine.value - coarse.value) / math.log(8) == pytest.approx(d, abs=0.02)
    assert fine.quantity == "H2([X]_m)"


# refusals


def test_too_few_agreements_are_flagged() -> None:
    x = np.random.default_rng(0).random((200, 5))
    found = Renyi2(width=0.01).estimate(x)
    assert found.flags == (Flag.UNDERSAMPLED,)
    assert found.kind == "lower bound"
    assert found.value == pytest.approx(math.log(200 * 199 / 2))
    assert found.interval is None
    assert Renyi2(width=0.5).estimate(x).flags == ()


def test_what_cannot_be() -> None:
    x = np.random.default_rng(0).random((100, 2))
    with pytest.raises(ValueError, match="needs width="):
        Renyi2().estimate(x)
    with pytest.raises(ValueError, match="x is discrete"):
        Renyi2(width=0.1).estimate(np.zeros(10, int))
    with pytest.raises(ValueError, match="takes one sample"):
        Renyi2(width=0.1).estimate(x, x)
    with pytest.raises(ValueError, match="cannot be numbered"):
        Renyi2(width=1e-300).estimate(x)
    for wrong in (0, -1.0, math.inf, True):
        with pytest.raises(ValueError, match="width="):
            Renyi2(width=wrong)
    with pytest.raises(ValueError, match="level=0"):
        Renyi2(level=0)
