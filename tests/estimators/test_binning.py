"""Binning: which bin a value is in, and what is reported of it.

exact       hand-worked bins, a plain oracle, all inputs of twelve bits through a layer
properties  symmetry, order of samples, scale, dtype, memory layout, memory maps
truth       H_bin against the density, mutual information of a Gaussian pair and of an independent one
refusals    every raise and every flag
"""

import math
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miest import Binning, Flag, MIResult, PlugIn
from miest.estimators.binning import RANGES, Strategy
from miest.estimators.discrete import CORRECTIONS, Correction, discrete_entropy

LN2 = math.log(2)
ALL = [
    Binning(bins=5),
    Binning(bins=4, strategy="quantile"),
    Binning(bins=6, strategy="activation", activation="tanh"),
    Binning(strategy="fixed-width", width=0.3),
]


def plug_in(digits: np.ndarray) -> float:
    counts = np.unique(digits, axis=0, return_counts=True)[1]
    return float(-(counts / len(digits)) @ np.log(counts / len(digits)))


def layer(n: int = 500, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.tanh(np.random.default_rng(seed).standard_normal((n, d)))


# exact


def test_values_on_edges_go_up_and_the_largest_into_the_last_bin() -> None:
    result = Binning(bins=2).estimate([0.0, 0.4, 0.5, 0.9, 1.0, 1.0])  # 0 0 | 1 1 1 1
    assert result.value == pytest.approx(math.log(3) - 2 / 3 * LN2, abs=1e-15)
    assert (result.diagnostics.low, result.diagnostics.high) == (0, 1)
    assert (result.diagnostics.width, result.diagnostics.bins) == (0.5, 2)
    assert result.diagnostics.symbols_t == 2


def test_fixed_width_edges_are_multiples_of_the_width_also_below_zero() -> None:
    result = Binning(strategy="fixed-width", width=0.5).estimate([-0.6, -0.5, -0.1, 0.0, 0.4, 0.5, 7.0])
    # bins -2 | -1 -1 | 0 0 | 1 | 14
    assert result.value == pytest.approx(math.log(7) - 4 / 7 * LN2, abs=1e-15)
    assert (result.diagnostics.low, result.diagnostics.high, result.diagnostics.bins) == (-1.0, 7.5, 17)
    shifted = Binning(strategy="fixed-width", width=0.5).estimate([0.4, 0.6])  # and do not move with the data
    assert shifted.value == pytest.approx(LN2)


def test_quantile_bins_hold_equal_numbers() -> None:
    values = np.random.default_rng(0).permutation(np.exp(np.arange(100) / 10.0))
    result = Binning(bins=4, strategy="quantile").estimate(values)
    assert result.value == pytest.approx(math.log(4), abs=1e-15)
    assert result.diagnostics.width is None
    assert result.diagnostics.width_smallest < result.diagnostics.width_largest / 100


def test_ties_leave_fewer_quantile_bins_and_this_is_reported() -> None:
    relu = np.maximum(np.linspace(-1, 1, 100), 0)  # half are 0
    result = Binning(bins=10, strategy="quantile").estimate(np.column_stack([relu, np.arange(100.0)]))
    assert (result.diagnostics.bins_fewest, result.diagnostics.bins_most) == (6, 10)


def test_one_range_serves_all_columns_of_uniform_bins() -> None:
    t = np.array([[0.0, 0.0], [0.2, 4.0], [0.1, 8.0], [0.3, 10.0]])
    assert Binning(bins=2).estimate(t).diagnostics.symbols_t == 2  # the first column never leaves its bin
    assert Binning(bins=2, strategy="quantile").estimate(t).diagnostics.symbols_t == 4


@pytest.mark.parametrize("d", [1, 2, 17])
@pytest.mark.parametrize("bins", [2, 7, 30, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_and_activation_bins_equal_a_plain_oracle(d: int, bins: int, dtype: type) -> None:
    t: np.ndarray = layer(400, d, seed=bins).astype(dtype)
    low, high = dtype(t.min()), dtype(t.max())
    digits = np.minimum(np.floor((t - low) * dtype(bins / (float(high) - float(low)))), bins - 1)
    assert Binning(bins=bins).estimate(t).value == pytest.approx(plug_in(digits), abs=1e-12)
    digits = np.minimum(np.floor((t + dtype(1)) * dtype(bins / 2)), bins - 1)
    result = Binning(bins=bins, strategy="activation", activation="tanh").estimate(t)
    assert result.value == pytest.approx(plug_in(digits), abs=1e-12)
    assert result.diagnostics.width == 2 / bins


@pytest.mark.parametrize("seed", range(3))
def test_fixed_width_equals_a_plain_oracle(seed: int) -> None:
    t = np.random.default_rng(seed).standard_cauchy((300, 2))
    result = Binning(strategy="fixed-width", width=0.25).estimate(t)
    assert result.value == pytest.approx(plug_in(np.floor(t / 0.25)), abs=1e-12)


def test_quantile_bins_of_many_column_blocks_equal_a_plain_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    t = np.random.default_rng(0).standard_normal((200, 7)).round(1)
    columns = [np.searchsorted(np.unique(np.quantile(c, [1 / 3, 2 / 3])), c, side="right") for c in t.T]
    monkeypatch.setattr("miest.estimators.binning._VALUES_AT_ONCE", 100)  # two columns at a time
    result = Binning(bins=3, strategy="quantile").estimate(t)
    assert result.value == pytest.approx(plug_in(np.column_stack(columns)), abs=1e-12)


def test_all_inputs_of_twelve_bits_through_a_layer() -> None:
    inputs = (np.arange(4096)[:, None] >> np.arange(12)) & 1  # (4096, 12)
    labels = inputs.sum(axis=1) > 6
    t = np.tanh((inputs - 0.5) @ np.random.default_rng(0).standard_normal((12, 3)) / 2)
    coarse = Binning(bins=3, strategy="activation", activation="tanh")
    binned = np.minimum(np.floor((t + 1) * 1.5), 2).astype(int)
    assert coarse.estimate(t).value == pytest.approx(PlugIn(correction=None).estimate(binned).value, abs=1e-12)
    assert coarse.estimate(inputs, t).value == pytest.approx(coarse.estimate(t).value, abs=1e-12)  # I(X; bin(T))
    expected = PlugIn(correction=None).estimate(binned, labels).value
    assert coarse.estimate(t, labels).value == pytest.approx(expected, abs=1e-12)
    fine = Binning(bins=10**6).estimate(t)
    assert fine.value == pytest.approx(math.log(4096), abs=1e-12)  # the number of inputs, whatever the layer does
    assert Flag.SINGLETON_BINS in fine.flags


def test_discrete_arguments_keep_their_symbols() -> None:
    y = np.array([0, 1, 1000, 1001] * 5)
    t = np.array([0.0, 0.1, 0.6, 1.0] * 5)
    result = Binning(bins=2).estimate(t, y)
    assert result.value == pytest.approx(LN2, abs=1e-15)
    assert result.diagnostics.symbols_y == 4
    assert "width_y" not in result.diagnostics
    only = Binning(bins=2).estimate(y)
    assert (only.quantity, only.diagnostics.symbols_t) == ("H(T)", 4)
    assert only.notes[-1] == "All arguments are discrete: nothing was binned."


def test_conditional_information_of_bins() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random(4000), rng.random(4000)
    z = (x + y) % 1
    given_z = Binning(bins=4).estimate(x, y, given=z)
    assert given_z.quantity == "I(bin X;bin Y|bin Z)"
    assert given_z.value > 0.5
    assert Binning(bins=4).estimate(x, y).value < 0.01
    entropy = Binning(bins=4).estimate(x, given=z > 0.5)
    assert entropy.quantity == "H(bin X|Z)".replace("X", "T")
    assert entropy.value == pytest.approx(math.log(4), abs=0.01)


def test_nsb_knows_how_many_bins_a_scalar_has() -> None:
    result = Binning(bins=4, correction="nsb").estimate([0.0, 0.3, 1.0])  # three symbols seen once: 6 by Chao
    assert result.value == discrete_entropy([1, 1, 1], "nsb", alphabet=4)


@pytest.mark.parametrize(
    ("arguments", "quantity"),
    [
        ({"x": [0.1, 0.2, 0.3]}, "H_bin(T)"),
        ({"x": [0.1, 0.2, 0.3], "y": [0, 1, 1]}, "I(bin X;Y)"),
        ({"x": [0, 1, 1], "y": [0.1, 0.2, 0.3]}, "I(X;bin Y)"),
        ({"x": [0.1, 0.2, 0.3], "y": [0.1, 0.2, 0.3]}, "I(bin X;bin Y)"),
        ({"x": [0.1, 0.2, 0.3], "y": [0, 1, 1], "given": ["a", "b", "a"]}, "I(bin X;Y|Z)"),
    ],
)
def test_quantity_says_what_was_binned(arguments: dict[str, Any], quantity: str) -> None:
    assert Binning().estimate(**arguments).quantity == quantity


@pytest.mark.parametrize("estimator", ALL, ids=lambda e: e.strategy)
def test_every_result_says_how_wide_its_bins_are(estimator: Binning) -> None:
    result = estimator.estimate(layer(2000, 1))
    d = result.diagnostics
    assert d.strategy == estimator.strategy
    assert -1 <= d.low < d.high <= 1 or d.width == 0.3
    assert d.width is not None or d.width_smallest <= d.width_largest
    assert {"bins", "symbols_t", "h_t", "singletons", "correction", "plug_in_bias"} <= set(d)
    assert any(f"bins a column, of width {d.width or d.width_smallest:.6g}" in note for note in result.notes)
    assert any("is not I(X;T)" in note for note in result.notes)
    assert result.ceiling == math.log(2000)
    assert MIResult.from_json(result.to_json()).to_dict() == result.to_dict()


def test_ceiling_is_the_smaller_entropy_of_the_bins() -> None:
    x = layer(500, 1)
    result = Binning(bins=4).estimate(x, layer(500, 2))
    assert result.ceiling == min(result.diagnostics.h_x, result.diagnostics.h_y)
    assert Binning(bins=4).estimate(x, x).value == pytest.approx(result.diagnostics.h_x, abs=1e-12)


@pytest.mark.parametrize("number", [np.int64(4), np.int32(4)])
def test_numpy_settings_become_python_numbers(number: np.integer) -> None:
    assert type(Binning(bins=number).bins) is int
    assert type(Binning(strategy="fixed-width", width=np.float32(0.5)).width) is float


@pytest.mark.parametrize(("activation", "ends"), [(a, r) for a, r in RANGES.items()], ids=list(RANGES))
def test_range_of_each_activation(activation: str, ends: tuple[float | None, float | None]) -> None:
    t = np.linspace(0.25, 0.75, 50) - (0.5 if ends[0] is None else 0)
    d = Binning(strategy="activation", activation=activation).estimate(t).diagnostics
    assert d.low == (t.min() if ends[0] is None else ends[0])
    assert d.high == (t.max() if ends[1] is None else ends[1])


# properties


@pytest.mark.parametrize("estimator", ALL, ids=lambda e: e.strategy)
@pytest.mark.parametrize("correction", CORRECTIONS)
def test_symmetry_order_and_repetition(estimator: Binning, correction: Correction) -> None:
    estimator = Binning(
        bins=estimator.bins,
        strategy=estimator.strategy,
        activation=estimator.activation,
        width=estimator.width,
        correction=correction,
    )
    x, y = layer(300, 2), layer(300, 1, seed=1)
    z = np.arange(300) % 3
    order = np.random.default_rng(0).permutation(300)
    value, layer_value = estimator.estimate(x, y, given=z).value, estimator.estimate(x).value
    assert estimator.estimate(y, x, given=z).value == value
    assert estimator.estimate(x[order], y[order], given=z[order]).value == value
    assert estimator.estimate(x, y, given=z).value == value
    assert estimator.estimate(x[order]).value == layer_value
    assert estimator.estimate(x[:, ::-1]).value == layer_value


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=50), st.integers(-20, 20), st.integers(2, 40))
@settings(deadline=None)
def test_powers_of_two_and_dtype_change_nothing(values: list[float], power: int, bins: int) -> None:
    t = np.array(values) + 0.0
    t[np.abs(t) < 1e-3] = 0
    for strategy in ("uniform", "quantile"):
        estimator = Binning(bins=bins, strategy=strategy)
        value = estimator.estimate(t).value
        assert estimator.estimate(t * 2.0**power).value == value
        assert 0 <= value <= math.log(min(bins, len(t))) + 1e-12


@given(st.lists(st.integers(-999, 999), min_size=2, max_size=50), st.sampled_from([0.5, 2.0, 8.0, 100.0]))
@settings(deadline=None)
def test_halving_the_width_never_lowers_the_entropy(values: list[int], width: float) -> None:
    t = np.array(values) / 64  # exact, so that no value is rounded across an edge
    entropies = [Binning(strategy="fixed-width", width=width / 2**i).estimate(t).value for i in range(4)]
    assert all(fine >= coarse - 1e-12 for coarse, fine in pairwise(entropies))


@pytest.mark.parametrize("estimator", ALL, ids=lambda e: e.strategy)
def test_memory_layout_does_not_matter_and_nothing_is_written(estimator: Binning) -> None:
    t = layer(200, 6).astype(np.float32)
    before = t.copy()
    t.flags.writeable = False
    value = estimator.estimate(t).value
    wide = np.zeros((200, 12), np.float32)
    wide[:, ::2] = t
    for other in (np.asfortranarray(t), wide[:, ::2], t.reshape(200, 2, 3), t.tolist()):
        if isinstance(other, np.ndarray) and other.dtype == np.float32:
            assert estimator.estimate(other).value == value
        else:
            assert estimator.estimate(other).value == pytest.approx(value, abs=0.05)
    np.testing.assert_array_equal(t, before)


@pytest.mark.parametrize("estimator", ALL, ids=lambda e: e.strategy)
def test_memory_map_equals_the_array_and_is_never_copied(
    estimator: Binning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    t: np.ndarray = np.round(layer(5_000, 400)).astype(np.float32)  # 8 MB
    np.save(tmp_path / "t.npy", t)
    mapped = np.load(tmp_path / "t.npy", mmap_mode="r")
    value = estimator.estimate(mapped).value
    assert value == estimator.estimate(t).value
    for module in ("miest.estimators.binning", "miest.samples"):
        monkeypatch.setattr(f"{module}._VALUES_AT_ONCE", 5_000)
    tracemalloc.start()
    assert estimator.estimate(mapped).value == value
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < t.nbytes / 2


def test_estimator_prints_compares_and_hashes() -> None:
    assert Binning(bins=5) == Binning(bins=5) != Binning(bins=6)
    assert hash(Binning()) == hash(Binning())
    assert "bins=30, strategy='uniform'" in repr(Binning())


# truth


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_uniform_samples_fill_the_bins(strategy: Strategy) -> None:
    estimator = Binning(bins=10, strategy=strategy, correction="miller-madow")
    values = np.array([estimator.estimate(np.random.default_rng(s).random(1000)).value for s in range(30)])
    if strategy == "uniform":
        assert abs(values.mean() - math.log(10)) < 4 * values.std(ddof=1) / math.sqrt(30)
    else:
        np.testing.assert_allclose(values, math.log(10) + 9 / 2000, atol=1e-12)


def test_binned_entropy_of_a_gaussian_is_its_density_less_the_log_of_the_width() -> None:
    width = 0.25
    estimator = Binning(strategy="fixed-width", width=width, correction="grassberger")
    values = [estimator.estimate(np.random.default_rng(s).standard_normal(3000)).value for s in range(30)]
    density = 0.5 * math.log(2 * math.pi * math.e)
    # The bins lose width^2/24 of the Fisher information, which is 1.
    expected = density - math.log(width) + width**2 / 24
    assert abs(np.mean(values) - expected) < 4 * np.std(values, ddof=1) / math.sqrt(30)


def gaussian_errors(estimator: Binning, rho: float, n: int = 10_000, seeds: int = 10) -> np.ndarray:
    values = []
    for seed in range(seeds):
        x, e = np.random.default_rng(seed).standard_normal((2, n))
        values.append(estimator.estimate(x, rho * x + math.sqrt(1 - rho**2) * e).value)
    return np.array(values) + 0.5 * math.log(1 - rho**2)


def test_bins_of_independent_samples_share_nothing() -> None:
    corrected = Binning(bins=10, strategy="quantile", correction="miller-madow")
    errors = gaussian_errors(corrected, 0.0, n=2_000, seeds=30)
    assert abs(errors.mean()) < 4 * errors.std(ddof=1) / math.sqrt(30)
    assert errors.min() < 0  # never clipped
    plain = gaussian_errors(Binning(bins=10, strategy="quantile"), 0.0, seeds=30)
    assert abs(plain.mean() - 81 / 20_000) < 4 * plain.std(ddof=1) / math.sqrt(30)


def test_parity_of_fixed_counts_misleads_grassberger() -> None:
    # Quantile bins of 200 samples each: the margins are not corrected at all, the joint is.
    errors = gaussian_errors(Binning(bins=10, strategy="quantile", correction="grassberger"), 0.0, n=2_000, seeds=30)
    assert abs(errors.mean() + 2 * 9 / 4_000) < 4 * errors.std(ddof=1) / math.sqrt(30)


def test_known_bias_on_a_gaussian_pair() -> None:
    coarse, fine = (gaussian_errors(Binning(bins=bins, strategy="quantile"), 0.8) for bins in (10, 100))
    assert -0.06 < coarse.mean() < -0.04  # the bins lose
    assert 0.39 < fine.mean() < 0.43  # the samples gain: one a cell
    corrected = gaussian_errors(Binning(bins=100, strategy="quantile", correction="grassberger"), 0.8)
    assert abs(corrected.mean()) < 0.15 * fine.mean()


# refusals


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bins": 1}, "bins=1 must be an integer of at least 2"),
        ({"bins": 2.5}, "bins=2.5"),
        ({"bins": True}, "bins=True"),
        ({"strategy": "auto"}, "strategy='auto' must be one of 'uniform'"),
        ({"correction": "none"}, "correction='none' must be one of None"),
        ({"strategy": "activation"}, "needs activation=.*never assumed"),
        ({"strategy": "activation", "activation": "snake"}, "activation='snake' is not one of tanh"),
        ({"activation": "tanh"}, "activation='tanh' is not used by strategy='uniform'"),
        ({"width": 0.1}, "width=0.1 is not used by strategy='uniform'"),
        ({"strategy": "activation", "activation": "tanh", "width": 0.1}, "width=0.1 is not used"),
        ({"strategy": "fixed-width"}, "needs width= above 0, .* got None"),
        ({"strategy": "fixed-width", "width": 0.0}, "got 0.0"),
        ({"strategy": "fixed-width", "width": -1}, "got -1"),
        ({"strategy": "fixed-width", "width": math.inf}, "got inf"),
        ({"strategy": "fixed-width", "width": math.nan}, "got nan"),
        ({"strategy": "fixed-width", "width": True}, "got True"),
        ({"strategy": "fixed-width", "width": 0.1, "bins": 10}, 'bins=10 is not used by strategy="fixed-width"'),
        ({"strategy": "fixed-width", "width": 0.1, "activation": "tanh"}, "activation='tanh' is not used"),
    ],
)
def test_wrong_settings_raise(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Binning(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("activation", "values", "message"),
    [
        ("tanh", [-1.5, 0, 2, 3], r"x has 3 values outside \[-1, 1\], the range of tanh \(smallest -1.5, largest 3\)"),
        ("Sigmoid", [-0.5, 0.5], r"x has 1 values outside \[0, 1\], the range of Sigmoid"),
        ("relu", [-0.5, -1, 0.5], r"x has 2 values outside \[0, inf\), the range of relu"),
        ("relu_6", [0.0, 6.5], r"outside \[0, 6\].*strategy=\"uniform\""),
    ],
)
def test_values_outside_the_range_of_the_activation_raise(activation: str, values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Binning(strategy="activation", activation=activation).estimate(np.array(values, float))


def test_the_argument_that_is_outside_is_named() -> None:
    estimator = Binning(strategy="activation", activation="tanh")
    with pytest.raises(ValueError, match="y has 1 values outside"):
        estimator.estimate([0.1, 0.2], [0.1, 1.2])
    with pytest.raises(ValueError, match="given has 1 values outside"):
        estimator.estimate([0.1, 0.2], [0, 1], given=[0.1, 1.2])


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        ({}, [-1.5e308, 1.5e308]),
        ({}, [0.0, 1e-308]),
        ({"strategy": "quantile"}, [-1.5e308, 1.5e308]),
        ({"strategy": "fixed-width", "width": 1e-12}, [0.0, 1.0]),
        ({"strategy": "fixed-width", "width": 5e-324}, [0.0, 1e10]),
        ({"bins": 2**31 + 1}, [0.0, 1.0]),
        ({"bins": 2**24 + 1}, np.array([0.0, 1.0], np.float32)),
        ({"strategy": "fixed-width", "width": 1e50}, np.array([-1.0, 1.0], np.float32)),
    ],
)
def test_ranges_that_the_dtype_cannot_cut_raise(settings: dict[str, object], values: Any) -> None:
    with pytest.raises(ValueError, match=r"float\d\d cannot cut into bins of width"):
        Binning(**settings).estimate(values)  # type: ignore[arg-type]


def test_flags_are_silent_on_good_data() -> None:
    x, y = layer(5000, 1), layer(5000, 1, seed=1)
    for estimator in ALL:
        assert estimator.estimate(x).ok
        assert estimator.estimate(x, x + y > 0).ok


def test_flag_for_bins_seen_once_says_that_the_value_is_ln_n() -> None:
    t = np.random.default_rng(0).standard_normal((300, 50))
    result = Binning().estimate(t)
    assert Flag.SINGLETON_BINS in result.flags
    assert result.value == pytest.approx(math.log(300), abs=1e-12)
    assert any("300 of 300 samples" in note and "near ln n = 5.7038 whatever" in note for note in result.notes)
    assert Flag.SINGLETON_BINS in Binning().estimate(t, np.arange(300) % 2).flags


@pytest.mark.parametrize("estimator", ALL, ids=lambda e: e.strategy)
def test_flag_for_a_constant_layer(estimator: Binning) -> None:
    dead = np.full((50, 3), 0.5)
    result = estimator.estimate(dead)
    assert (result.value, result.flags) == (0.0, (Flag.CONSTANT,))
    assert estimator.estimate(dead, np.arange(50) % 2).value == 0
    relu = Binning(strategy="activation", activation="relu").estimate(np.zeros((50, 3)))
    assert (relu.value, relu.flags) == (0.0, (Flag.CONSTANT,))


def test_flag_for_small_samples() -> None:
    x, y = layer(200, 1), layer(200, 1, seed=1)
    assert Flag.SMALL_SAMPLE in Binning(bins=10).estimate(x, y).flags
    assert Flag.SMALL_SAMPLE not in Binning(bins=10).estimate(x).flags
