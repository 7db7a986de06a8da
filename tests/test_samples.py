"""The data gate.

exact       what comes out for every kind of array that goes in
properties  nothing copied that need not be, nothing written to, standardising undoes shift and scale
refusals    every bad input, with the text that names the argument and the way out
"""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

import miest
from miest import samples
from miest.samples import DataError, DataTypeError, Variable, variable, variables

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 3))


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (X, np.float64),
        (X.astype(np.float32), np.float32),
        (X.astype(np.float16), np.float32),
        (X.astype(np.longdouble), np.float64),
        (X.astype(">f8"), np.float64),
        (np.asfortranarray(X), np.float64),
        (np.repeat(X, 2, axis=0)[::2], np.float64),
        (X.tolist(), np.float64),
        (tuple(map(tuple, X)), np.float64),
        (np.ma.masked_array(X, mask=False), np.float64),
        (torch.tensor(X), np.float64),
        (torch.tensor(X, requires_grad=True), np.float64),
        (torch.nn.Parameter(torch.tensor(X, dtype=torch.float32)), np.float32),
        (torch.tensor(X).to(torch.bfloat16), np.float32),
        (torch.tensor(X).to(torch.float16), np.float32),
        (torch.tensor(X.T.copy()).T, np.float64),
        ([torch.tensor(row) for row in X], np.float64),
        (pd.DataFrame(X), np.float64),
        (pd.DataFrame(X, columns=["a", "a", "b"]), np.float64),
        (pl.DataFrame(X), np.float64),
    ],
)
def test_floats_of_any_make_are_continuous(data: object, dtype: type) -> None:
    x = variable(data, "x")
    assert x.kind == "continuous"
    assert x.values.dtype == dtype
    assert x.values.dtype.isnative
    np.testing.assert_allclose(x.values, X, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "data",
    [
        np.array([1, 0, 2, 1]),
        np.array([1, 0, 2, 1], np.uint8),
        np.array([1, 0, 2, 1], ">i4"),
        np.array(["b", "a", "c", "b"]),
        np.array([b"b", b"a", b"c", b"b"]),
        ["b", "a", "c", "b"],
        [1, 0, 2, 1],
        torch.tensor([1, 0, 2, 1]),
        pd.Series([1, 0, 2, 1]),
        pd.Series([1, 0, 2, 1], dtype="Int64"),
        pd.Series(["b", "a", "c", "b"]),
        pd.Series(["b", "a", "c", "b"], dtype="category"),
        pd.Series(["b", "a", "c", "b"], dtype=object),
        pl.Series([1, 0, 2, 1]),
        pl.Series(["b", "a", "c", "b"]),
        pl.Series(["b", "a", "c", "b"], dtype=pl.Categorical),
        miest.discrete(np.array([1.5, 0.5, 2.5, 1.5])),
        miest.discrete(torch.tensor([1.5, 0.5, 2.5, 1.5], dtype=torch.bfloat16)),
        np.array([[1, 0], [0, 5], [1, 1], [1, 0]]),
    ],
)
def test_integers_and_strings_of_any_make_are_discrete(data: object) -> None:
    x = variable(data, "x")
    assert x.kind == "discrete"
    codes = x.symbols
    assert codes[0] == codes[3]
    assert len(set(codes.tolist())) == 3
    assert sorted(x.symbol_counts.tolist()) == [1, 1, 2]


def test_booleans_are_discrete() -> None:
    for data in (np.array([True, False]), torch.tensor([True, False]), pd.Series([True, False]), [True, False]):
        assert variable(data, "x").kind == "discrete"


def test_declared_kind_overrides_the_dtype() -> None:
    pixels = RNG.integers(0, 256, (5, 4), np.uint8)
    x = variable(miest.continuous(pixels), "x")
    assert x.kind == "continuous"
    np.testing.assert_array_equal(x.values, pixels)
    assert variable(miest.continuous(miest.discrete(pixels)), "x").kind == "continuous"


def test_axes_after_the_first_are_flattened() -> None:
    assert variable(np.zeros((4, 2, 3, 5)), "x").values.shape == (4, 30)
    assert variable(np.zeros(4), "x").values.shape == (4, 1)
    assert variable(torch.zeros(4, 2, 3), "x").values.shape == (4, 6)


@pytest.mark.parametrize("data", [X, X.astype(np.float32), np.asfortranarray(X), X[::2], torch.tensor(X)])
def test_nothing_is_copied_that_need_not_be(data: object) -> None:
    assert np.shares_memory(variable(data, "x").values, np.asarray(data))


def test_memory_map_stays_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert np.shares_memory(variable(mapped, "x").values, mapped)


def test_read_only_data_go_through_and_are_not_written() -> None:
    x = X.copy()
    x.flags.writeable = False
    v = variable(x, "x")
    assert v.standardized.shape == x.shape
    np.testing.assert_array_equal(x, X)


@given(
    shift=st.floats(-1e6, 1e6),
    scale=st.floats(1e-6, 1e6),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_standardized_columns_have_mean_0_and_deviation_1(shift: float, scale: float, dtype: type) -> None:
    x = variable((X * scale + shift).astype(dtype), "x")
    if not x.varying.all():
        return
    assert x.standardized.dtype == dtype
    np.testing.assert_allclose(x.standardized.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.standardized.std(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(x.scale, x.values.astype(np.float64).std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("factor", [1e-310, 1e-300, 1e200, 1e306])
def test_standardizing_survives_extreme_units(factor: float) -> None:
    x = variable(X * factor, "x").standardized
    np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-9)
    np.testing.assert_allclose(x, variable(X, "x").standardized, atol=1e-2)


@pytest.mark.parametrize("offset", [0.0, 5.0, 1e9])
def test_rescaled_columns_have_deviation_1_and_ignore_the_order_of_rows(offset: float) -> None:
    x = X * [1e-3, 1, 1e6] + offset
    v = variable(x, "x")
    np.testing.assert_allclose(v.rescaled.std(axis=0), 1, rtol=1e-8)
    np.testing.assert_allclose(v.unit, v.scale, rtol=2**-29)
    order = np.random.default_rng(1).permutation(len(x))
    np.testing.assert_array_equal(variable(x[order], "x").rescaled, v.rescaled[order])


def test_constant_columns_standardize_to_zero() -> None:
    x = variable(np.column_stack([np.full(5, 0.1), np.arange(5.0)]), "x")
    assert x.varying.tolist() == [False, True]
    assert (x.standardized[:, 0] == 0).all()
    assert x.scale[0] == 1


def test_tie_fraction_counts_repeated_rows() -> None:
    assert variable(np.array([1.0, 2.0, 2.0, 3.0]), "x").tie_fraction == 0.5
    assert variable(np.array([2.0, 1.0, 2.0, 3.0, 2.0]), "x").tie_fraction == 0.6
    assert variable(np.array([[1.0, 2.0], [1.0, 3.0]]), "x").tie_fraction == 0
    assert variable(np.array([0.0, -0.0, 1.0, 2.0]), "x").tie_fraction == 0.5
    assert variable(np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 2.0], [0.0, 1.0]]), "x").tie_fraction == 0.5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.array([1.0, np.nan, np.inf]), r"x has 1 NaN and 1 infinite values, the first in row 1, column 0"),
        (np.array([[0.0, 1.0], [2.0, -np.inf]]), r"the first in row 1, column 1"),
        (torch.tensor([1.0, float("nan")]), "1 NaN"),
        (np.array([]), r"x has no samples \(shape \(0,\)\)"),
        ([], "no samples"),
        (np.zeros((0, 3)), "no samples"),
        (np.zeros((3, 0)), r"x has no columns \(shape \(3, 0\)\)"),
        (np.zeros((3, 0, 2)), "no columns"),
        (pd.DataFrame(index=range(3)), "no columns"),
        (pd.Series([1.0, None]), "1 missing"),
        (pd.Series([1, None], dtype="Int64"), "1 missing"),
        (pd.Series(["a", None]), "1 missing"),
        (pl.Series([1, None]), "1 missing"),
        (np.ma.masked_array([1.0, 2.0], mask=[True, False]), "1 masked"),
        (pd.DataFrame({"a": [1.0, 2.0], "b": [1, 2]}), "mixes continuous and discrete"),
        (pd.DataFrame({"a": ["u", "v"], "b": [1, 2]}), "mixes"),
        (miest.continuous(np.array([2**60, 0])), r"beyond 2\*\*53"),
        (np.array([1e4000, 0], np.longdouble), "beyond the range of float64"),
    ],
)
def test_unusable_values_raise(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        variable(data, "x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "x is None"),
        (1.0, "single float64 value"),
        ("text", "single"),
        (np.array([1 + 2j]), "complex"),
        (torch.tensor([1 + 2j]), "complex"),
        (np.array([1, None], object), "object dtype"),
        (np.array(["a", "b"], object), "object dtype"),
        ([1, None], "object dtype"),
        ({"a": 1}, "not an array: pass an array with one row a sample"),
        ({1, 2}, "not an array: pass an array with one row a sample"),
        ((i for i in range(3)), "not an array: pass an array with one row a sample"),
        (object(), "not an array: pass an array with one row a sample"),
        (np.array(["2020-01-01"], "datetime64[D]"), "dates"),
        (np.array([1], "timedelta64[s]"), "time spans"),
        (pd.Series(pd.to_datetime(["2020-01-01"])), "dates"),
        (np.zeros(2, [("a", float)]), "structured"),
        ([[1, 2], [3]], "not a rectangular array"),
        ([1, "a"], "mixes strings and numbers"),
        ([[1, "a"], [2, "b"]], "mixes strings and numbers"),
        (miest.continuous(["a", "b"]), "strings, which are symbols"),
        (scipy.sparse.eye(3).tocsr(), r"x\.toarray\(\)"),
        (torch.eye(3).to_sparse(), r"x\.to_dense\(\)"),
        (torch.zeros(3, device="meta"), "meta device"),
        (pl.LazyFrame({"a": [1.0]}), r"x\.collect\(\)"),
        (torch.Size([3, 4]), None),
    ],
)
def test_what_is_no_real_array_raises(data: object, message: str | None) -> None:
    if message is None:
        with pytest.raises(DataTypeError, match="not a tensor"):
            variable(data, "x")
        return
    with pytest.raises(DataTypeError, match=message) as caught:
        variable(data, "x")
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TypeError)


def test_rows_must_pair() -> None:
    with pytest.raises(DataError, match="x has 3 samples and y has 4"):
        variables(x=np.zeros(3), y=np.zeros(4))
    with pytest.raises(DataError, match="x has 3 samples and given has 2"):
        variables(x=np.zeros(3), y=np.zeros(3), given=np.zeros(2))


def test_too_few_samples_says_how_many_and_what_to_do() -> None:
    with pytest.raises(DataError, match=r"k=5 needs at least 6 samples, got 4\. Lower k or pass more samples"):
        variables(x=np.zeros(4), at_least=6, needed_by="k=5")
    with pytest.raises(DataError, match="an estimate needs at least 2 samples, got 1"):
        variables(x=np.zeros(1))


def test_arguments_left_out_are_passed_over_but_x_is_needed() -> None:
    assert [v.name for v in variables(x=X, y=None, given=X)] == ["x", "given"]
    with pytest.raises(DataTypeError, match="x is None"):
        variables(x=None, y=X)


def test_a_variable_knows_its_size() -> None:
    v = Variable("x", "continuous", X)
    assert (v.n, v.d, v.is_discrete) == (20, 3, False)


def test_arguments_prepared_side_by_side_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y = np.round(rng.standard_normal((300, 2)), 1), rng.standard_normal(300)
    alone = variables(x=x, y=y)
    monkeypatch.setattr(samples, "_WORTH_THREADS", 10)
    together = variables(x=x, y=y)
    samples.prepare(together, True)
    for each, other in zip(together, alone, strict=True):
        assert {"rescaled", "tie_fraction"} <= vars(each).keys()
        np.testing.assert_array_equal(each.rescaled, other.rescaled)
        assert each.tie_fraction == other.tie_fraction
    raw = variables(x=x, y=y)
    samples.prepare(raw, False)
    assert "rescaled" not in vars(raw[0])


@pytest.mark.parametrize("at_once", [1, 7, 1 << 20])
def test_standardised_columns_whatever_is_read_at_once(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(samples, "_NUMBERS_AT_ONCE", at_once)
    plain, unit = np.random.default_rng(1).standard_normal((50, 3)), np.array([1e-200, 1, 1e200])
    found = variable(plain * unit + [0, 1e8, 0], "x")
    np.testing.assert_allclose(found.scale / unit, plain.std(axis=0), rtol=1e-7)  # numpy's own overflows at 1e200
    np.testing.assert_allclose(found.standardized.mean(axis=0), 0, atol=1e-7)
    np.testing.assert_allclose(found.standardized.std(axis=0), 1, rtol=1e-7)
