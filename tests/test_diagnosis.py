"""A look at the data before anything is estimated.

exact       ceilings, entropies, what each argument is like
properties  forms; order of arguments; what the diagnosis recommends is what "auto" picks on good data
refusals    every flag on its trap, with advice that follows; silence on good data; bad data raise
"""

import json
import math

import numpy as np
import pytest
from scipy.special import digamma

import miest
from miest import Flag, diagnose


def gaussian(n: int, seed: int = 0, d: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, 0.8 * x + 0.6 * rng.standard_normal((n, d))


# exact


def test_what_is_known_of_continuous_arguments() -> None:
    x, y = gaussian(1000, d=2)
    found = diagnose(np.hstack([x, np.ones((1000, 3))]), y)
    assert found.n == 1000
    first, second = found.arguments
    assert (first.name, first.kind, first.columns, first.constant_columns) == ("x", "continuous", 5, 3)
    assert (second.columns, second.constant_columns, second.ties, second.symbols, second.entropy) == (
        2,
        0,
        0,
        None,
        None,
    )
    assert first.dimension == pytest.approx(2, abs=0.15)
    assert found.dimension == pytest.approx(4, abs=0.5)
    assert first.normality is not None
    assert first.normality > 0.99
    assert found.near_duplicates == pytest.approx(0.02, abs=0.02)
    assert found.effective_n == 1000
    assert list(found.ceilings.values()) == pytest.approx([digamma(1000) - digamma(4), math.log(1000)])
    assert found.ceilings["KSG(k=3): psi(n) - psi(4)"] >= miest.KSG().estimate(x, y).ceiling - 1e-9
    assert found.ok


def test_what_is_known_of_symbols() -> None:
    x, y = np.tile([0, 1, 2, 3], 50), np.repeat(["a", "b"], 100)
    found = diagnose(x, y)
    assert [a.symbols for a in found.arguments] == [4, 2]
    assert found.arguments[0].entropy == pytest.approx(math.log(4))
    assert list(found.ceilings.values()) == pytest.approx([math.log(4), math.log(2)])
    assert (found.dimension, found.near_duplicates, found.arguments[0].dimension) == (None, None, None)
    mixed = diagnose(gaussian(200)[0], y)
    assert list(mixed.ceilings.values()) == pytest.approx([math.log(2)])


def test_a_layer_by_itself() -> None:
    found = diagnose(np.tanh(gaussian(500, d=3)[0]))
    assert isinstance(found.estimator, miest.KDE)
    assert list(found.ceilings.values()) == pytest.approx([math.log(500)])
    assert (len(found.arguments), found.dimension, found.effective_n) == (1, None, 500)


# properties


def test_every_form_says_everything() -> None:
    x, y = gaussian(800)
    found = diagnose(np.exp(5 * x), np.exp(5 * y))
    for text in (found.report(), found._repr_html_()):
        for part in ("SKEWED", "GaussianCopula", "normality", "ceiling of KSG", "near-duplicates", "800"):
            assert part in text
    assert "[SKEWED]" in str(found)
    plain = found.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["flags"] == ["SKEWED"]


@pytest.mark.parametrize("kind", ["continuous", "mixed", "discrete", "many", "tied", "conditional"])
def test_on_good_data_it_recommends_what_auto_picks(kind: str) -> None:
    x, y = gaussian(400, d=10 if kind == "many" else 1)
    given = None
    if kind in ("mixed", "discrete"):
        y = (y > 0).astype(int)
    if kind == "discrete":
        x = (x > 0).astype(int)
    if kind == "tied":
        x = np.maximum(x, 0)
    if kind == "conditional":
        given = gaussian(400, 1)[0]
    found = diagnose(x, y, given)
    assert found.estimator == miest.mutual_information(x, y, given=given).estimator
    assert found.estimator.name in found.recommendation
    assert found.flags == ((Flag.TIES,) if kind == "tied" else ())
    assert len(found.arguments) == (3 if kind == "conditional" else 2)


def test_many_dimensions_and_rows_enough_are_for_a_critic() -> None:
    found = diagnose(*gaussian(500, d=10))
    assert found.estimator == miest.Discriminator()
    assert "Discriminator" in found.recommendation


def test_order_of_arguments_changes_no_flag() -> None:
    x, y = gaussian(800)
    assert diagnose(np.exp(5 * x), y).flags == diagnose(y, np.exp(5 * x)).flags == (Flag.SKEWED,)


# refusals


def test_copies() -> None:
    rng = np.random.default_rng(0)
    for jitter in (1e-6, 1e-2):
        x, y = (np.repeat(v, 3, axis=0) + jitter * rng.standard_normal((900, 1)) for v in gaussian(300))
        order = rng.permutation(900)
        found = diagnose(x[order], y[order])
        assert found.flags == (Flag.DUPLICATES,)
        assert found.recommendation.startswith("Keep one row of each group")
        assert Flag.AUTOCORRELATED in diagnose(x, y).flags  # next to each other they are a series as well


@pytest.mark.parametrize("dx", [2, 5])
def test_a_noiseless_layer(dx: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1500, dx))
    t = np.tanh(x @ rng.standard_normal((dx, 3)))
    found = diagnose(x, t)
    assert found.flags == (Flag.DETERMINISTIC,)
    assert isinstance(found.estimator, miest.KDE)
    assert diagnose(x, t + 0.3 * rng.standard_normal(t.shape)).ok


def test_memory() -> None:
    walk = np.cumsum(np.random.default_rng(0).standard_normal((800, 2)), axis=0)
    found = diagnose(walk[:, 0], walk[:, 1])
    assert found.flags == (Flag.AUTOCORRELATED,)
    assert found.effective_n < 100
    assert "worth about" in found.report()
    assert "blocks" in found.recommendation


def test_constants_and_identifiers() -> None:
    y = gaussian(100)[1]
    found = diagnose(np.ones(100), y)
    assert found.flags == (Flag.CONSTANT,)
    assert "0" in found.recommendation
    assert diagnose(np.arange(100), y).flags == (Flag.SINGLETON_BINS,)
    assert "miest.continuous" in diagnose(np.arange(100), y).notes[0]


@pytest.mark.parametrize("n", [2, 3, 10])
def test_few_rows_raise_nothing_and_flag_nothing(n: int) -> None:
    assert diagnose(*gaussian(n)).ok
    assert diagnose(gaussian(n)[0]).ok


def test_good_data_over_seeds() -> None:
    assert [diagnose(*gaussian(500, seed)).flags for seed in range(30)] == [()] * 30


def test_bad_data_raise() -> None:
    x, y = gaussian(100)
    with pytest.raises(ValueError, match="x has 100 samples and y has 99"):
        diagnose(x, y[1:])
