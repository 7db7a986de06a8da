"""Scales: what stands between rows and a critic.

exact       scores of a few rows by hand, ties, constants, rows outside; standard and plain
properties  increasing, invariant under increasing maps, blocks of rows, dtypes and shapes
truth       scores of many normal rows are the rows
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

torch = pytest.importorskip("torch")

from miest.neural import scale  # noqa: E402
from miest.neural.scale import NormalScores, Standard  # noqa: E402


def scores(fitted: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return NormalScores(fitted)(torch.from_numpy(rows)).numpy()


# exact


def test_four_rows_by_hand() -> None:
    rows = np.array([[10.0], [-3.0], [1000.0], [11.0]])
    expected = ndtri([3 / 8, 1 / 8, 7 / 8, 5 / 8])[:, None]
    assert scores(rows, rows) == pytest.approx(expected, abs=1e-6)
    between = scores(rows, np.array([[10.25], [-3.0 + 13 / 2], [-1e9], [1e9]]))[:, 0]
    assert between == pytest.approx(
        [0.75 * expected[0, 0] + 0.25 * expected[3, 0], (expected[0, 0] + expected[1, 0]) / 2, *ndtri([1 / 8, 7 / 8])],
        abs=1e-6,
    )


def test_equal_rows_get_the_mean_of_their_scores() -> None:
    rows = np.array([[0.0], [0.0], [0.0], [5.0], [7.0]])
    found = scores(rows, rows)[:, 0]
    assert found == pytest.approx([*[ndtri([0.1, 0.3, 0.5]).mean()] * 3, ndtri(0.7), ndtri(0.9)], abs=1e-6)


def test_a_constant_column_is_a_constant() -> None:
    rows = np.hstack([np.full((50, 1), 3.5), np.arange(50.0)[:, None]])
    found = scores(rows, rows)
    assert found[:, 0] == pytest.approx(np.zeros(50), abs=1e-6)
    assert scores(rows, np.array([[-8.0, 0.0], [80.0, 0.0]]))[:, 0] == pytest.approx([0, 0], abs=1e-6)


def test_standard_and_plain() -> None:
    rows = np.array([[1e8, 2.0], [1e8 + 2, 2.0]], np.float64)
    x = torch.from_numpy(rows)
    torch.testing.assert_close(Standard(rows)(x), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    plain = Standard(rows, per_column=False)(x)
    assert plain.dtype == torch.float32
    torch.testing.assert_close(plain, x.float())


# properties


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 4), st.booleans(), st.integers(0, 2**32 - 1))
def test_increasing_and_the_same_after_any_increasing_map(n: int, d: int, tied: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 5, (n, d)).astype(float) if tied else rng.standard_normal((n, d))
    found = scores(rows, rows)
    assert found.dtype == np.float32
    for column in range(d):
        order = np.argsort(rows[:, column])
        steps = np.diff(found[order, column])
        assert (steps >= 0).all()
        assert ((steps > 0) == (np.diff(rows[order, column]) > 0)).all()
    bent = np.exp(rows) + 100
    assert scores(bent, bent) == pytest.approx(found, abs=1e-6)
    assert scores(-rows, -rows) == pytest.approx(-found, abs=1e-6)
    assert abs(found.mean()) < 1e-6


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 300), st.integers(0, 2**32 - 1))
def test_new_rows_fall_between_their_neighbours(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, new = np.sort(rng.standard_cauchy((n, 1)), axis=0), rng.standard_cauchy((40, 1))
    seen, found = scores(rows, rows)[:, 0], scores(rows, new)[:, 0]
    place = np.searchsorted(rows[:, 0], new[:, 0])
    assert (found >= seen[np.maximum(place - 1, 0)] - 1e-6).all()
    assert (found <= seen[np.minimum(place, n - 1)] + 1e-6).all()


def test_blocks_of_rows_shapes_and_dtypes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).standard_normal((100, 2, 3))
    fitted = NormalScores(rows)
    whole = fitted(torch.from_numpy(rows))
    assert whole.shape == (100, 2, 3)
    torch.testing.assert_close(fitted(torch.from_numpy(rows.astype(np.float32))), whole, atol=1e-4, rtol=0)
    monkeypatch.setattr(scale, "_VALUES_AT_ONCE", 50)
    assert torch.equal(fitted(torch.from_numpy(rows)), whole)
    flat = NormalScores(rows.reshape(100, 6))(torch.from_numpy(rows.reshape(100, 6)))
    assert torch.equal(flat.reshape(whole.shape), whole)


# truth


@pytest.mark.parametrize("n", [500, 40_000])
def test_normal_rows_keep_their_values(n: int) -> None:
    rows = np.random.default_rng(1).standard_normal((n, 2))
    found = scores(rows, rows)
    inner = np.abs(rows) < 2
    assert (
        np.abs(found - rows)[inner].max() < 6 / np.sqrt(n) / 0.054 * 0.25
    )  # of a quantile: sqrt(p (1 - p) / n) / density
    assert np.abs(found).max() == pytest.approx(-ndtri(0.5 / n), abs=1e-5)  # the outermost row has its own knot
    assert len(np.unique(found[:, 0])) > 0.99 * n
