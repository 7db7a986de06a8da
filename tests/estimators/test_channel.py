"""GaussianChannel: I(X;T+eps) and I(T+eps;Y) by Monte Carlo.

exact       constant layers, far clusters, isolated rows, the bounds of KDE, two points
properties  order of arguments, units, dtype, seeds, draws, threads, read-only input, memory maps, tensors
truth       mixtures against quadrature; linear layers and Gaussian classes in closed form; the errors it states
refusals    every raise, every flag, and silence on good data
workflow    report, JSON, text of the estimator
"""

import math
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import logsumexp

import miest
from miest.estimators.channel import GaussianChannel
from miest.estimators.channel_information import channel_information
from miest.estimators.kde import KDE
from miest.estimators.spec import parsed
from miest.noise import GaussianNoise, UniformNoise, ZeroEntropyNoise, noise_generator
from miest.result import Flag, MIResult
from miest.samples import DataError, continuous, discrete

Array = NDArray[np.float64]


def channel(std: float, **more: object) -> GaussianChannel:
    return GaussianChannel(noise=GaussianNoise(std=std), **more)  # type: ignore[arg-type]


def information(centers: Array, std: float) -> float:
    """h(T+eps) - h(eps) of equal Gaussians at the numbers `centers`, by quadrature."""
    grid = np.arange(centers.min() - 10 * std, centers.max() + 10 * std, std / 15)  # exact to 1e-10
    log_p = logsumexp(-((grid[:, None] - centers) ** 2) / (2 * std**2), axis=1)
    log_p -= math.log(len(centers)) + 0.5 * math.log(2 * math.pi * std**2)
    return float(-(np.exp(log_p) * log_p).sum() * std / 15) - 0.5 * math.log(2 * math.pi * math.e * std**2)


def random_layer(seed: int) -> tuple[Array, NDArray[np.intp], float]:
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(2, 40)), int(rng.integers(2, 5))
    labels = rng.integers(0, m, n)
    t = rng.standard_normal(n) * rng.exponential() + labels * rng.exponential(2)
    return t, labels, float(10 ** rng.uniform(-1, 0.5))


def linear_layer(seed: int, n: int) -> tuple[Array, float, float]:
    rng = np.random.default_rng(seed)
    d, dx, std = int(rng.integers(1, 4)), int(rng.integers(1, 6)), float(rng.uniform(0.5, 2))
    weights, root = rng.standard_normal((d, dx)), rng.standard_normal((dx, dx))
    t = rng.standard_normal((n, dx)) @ root @ weights.T
    signal = weights @ root.T @ root @ weights.T / std**2
    return t, std, 0.5 * float(np.linalg.slogdet(np.eye(d) + signal)[1])


# exact


@pytest.mark.parametrize("population", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_layer_holds_nothing(dtype: type, population: bool) -> None:
    for noise in ("auto", GaussianNoise(std=0.3), ZeroEntropyNoise()):
        made = GaussianChannel(noise=noise, population=population)  # type: ignore[arg-type]
        result = made.estimate(np.full((31, 4), 7, dtype))
        found = result.diagnostics
        assert (result.value, found.in_sample, found.lower, found.upper) == pytest.approx((0, 0, 0, 0), abs=1e-12)
        assert (found.leave_one_out, found.out_of_sample, found.gap) == pytest.approx((0, 0, 0), abs=1e-12)
        assert result.interval == pytest.approx((0, 0), abs=1e-12)
        assert result.flags == (Flag.CONSTANT,)


@pytest.mark.parametrize("population", [True, False])
def test_far_clusters_are_as_many_symbols(population: bool) -> None:
    t = np.repeat([[0.0, 0.0], [1000.0, 0.0]], 50, axis=0)
    labels = np.arange(100) % 2
    made = channel(1.0, population=population)
    for result in (made.estimate(t), made.estimate(t, t[:, 0] > 0)):
        found = result.diagnostics
        assert [found.lower, found.upper, found.in_sample] == pytest.approx([math.log(2)] * 3, abs=1e-9)
        assert [result.value, found.leave_one_out] == pytest.approx([math.log(2)] * 2, abs=0.011)  # 99 rows: ln(99/49)
        assert not result.flags
    blind = made.estimate(t, labels)
    assert blind.diagnostics.in_sample == pytest.approx(0, abs=1e-9)
    assert blind.value == pytest.approx(0, abs=0.01)


def test_rows_that_do_not_see_each_other_reach_the_ceiling() -> None:
    t = 1000.0 * np.arange(64)[:, None]
    result = channel(1.0).estimate(t)
    assert result.value == result.ceiling == pytest.approx(math.log(64), abs=1e-12)
    assert result.diagnostics.lower == result.diagnostics.upper == pytest.approx(math.log(64), abs=1e-12)
    assert set(result.flags) == {Flag.SATURATED, Flag.UNDERSAMPLED}
    assert result.interval is None


def test_bounds_are_those_of_kde() -> None:
    rng = np.random.default_rng(0)
    t, labels = rng.standard_normal((90, 5)), np.repeat([2, 0, 7], [40, 30, 20])
    for arguments in ((t,), (t, labels)):
        found, known = (e.estimate(*arguments).diagnostics for e in (channel(0.8), KDE(noise_var=0.64)))
        assert (found.lower, found.upper) == pytest.approx((known.lower, known.upper), abs=1e-9)
    assert found.h_y == pytest.approx(known.h_y, abs=1e-12)
    auto = GaussianChannel().estimate(t)
    assert auto.diagnostics.noise_std**2 == pytest.approx(KDE().estimate(t).diagnostics.noise_var, rel=1e-12)


@pytest.mark.parametrize("n", [7, 30])
def test_rows_by_the_formulas(n: int) -> None:
    """Everything from the kernels of all pairs, with the same halves and noise."""
    t, codes = np.random.default_rng(n).standard_normal((n, 2)), np.arange(n) % 3
    (found,) = channel_information(t, [0.4], codes, 1, noise_generator(2))
    rng, half = noise_generator(2), np.empty(n, int)
    shuffled = rng.permutation(n)
    half[shuffled[np.argsort(codes[shuffled], kind="stable")]] = np.arange(n) % 2
    noise = rng.standard_normal((n, 2))
    same_half, same_class = half[:, None] == half, codes[:, None] == codes
    for mixture, kept in ((found.total, np.ones((n, n), bool)), (found.within, same_class)):
        size, size_own = kept.sum(axis=1), (kept & same_half).sum(axis=1)
        expected = np.zeros((4, n))
        for sign in (1, -1):
            moved = t + 0.4 * sign * noise
            kernel = np.exp(-((moved[:, None] - t) ** 2).sum(axis=2) / 0.32) * kept
            kernel /= np.diag(kernel)[:, None]
            everyone, own = kernel.sum(axis=1), (kernel * same_half).sum(axis=1)
            other = (kernel * ~same_half).sum(axis=1)
            expected[0] += np.log(size / everyone) / 2
            expected[1] += 2 * corrected(everyone, size) / 2 - corrected(own, size_own) / 2
            expected[2] += np.log((size - 1) / (everyone - 1)) / 2
            expected[3] += np.log((size - size_own) / other) / 2
        assert mixture is not None
        np.testing.assert_allclose(mixture.rows[:, 0], expected, rtol=0, atol=1e-7)  # of 1 + S - 1
    np.testing.assert_allclose(found.lengths[0], ((noise**2).sum(axis=1) - 2) / 2, rtol=0, atol=1e-12)


def corrected(everyone: Array, size: NDArray[np.intp]) -> Array:
    """Half way between the density with the row and without it, up to the digamma's ln n + 0.577."""
    with np.errstate(divide="ignore", invalid="ignore"):
        with_row, without = np.log(size / everyone), np.log((size - 1) / (everyone - 1))
        mean = np.minimum((with_row + without) / 2, np.log(size) + 0.5772156649015329)
    return np.where(size == 1, 0.0, mean)  # a row alone carries nothing


def test_interval_holds_the_spread_of_rows_and_a_third_of_the_correction() -> None:
    t = np.random.default_rng(10).standard_normal((400, 3))
    result = channel(0.5).estimate(t)
    correction = result.value - result.diagnostics.in_sample
    assert correction > 0.02
    reach = math.hypot(1.959964 * result.diagnostics.standard_error, correction / 3)
    assert result.interval == pytest.approx((result.value - reach, result.value + reach), abs=1e-6)


def test_entropies_of_the_noise() -> None:
    t = np.random.default_rng(1).standard_normal((50, 3))
    assert channel(0.5).estimate(t).diagnostics.noise_entropy == pytest.approx(GaussianNoise(std=0.5).entropy(3))
    zero = GaussianChannel(noise=ZeroEntropyNoise()).estimate(t)
    assert zero.diagnostics.noise_entropy == pytest.approx(0, abs=1e-14)  # so that the value is h(T+eps)
    assert zero.diagnostics.noise_std == ZeroEntropyNoise().std


def test_population_is_a_choice_of_the_value() -> None:
    t, labels, std = random_layer(3)
    for arguments in ((t,), (t, labels)):
        these, all_rows = (channel(std, population=p).estimate(*arguments) for p in (False, True))
        assert these.value == these.diagnostics.in_sample == all_rows.diagnostics.in_sample != all_rows.value
        assert these.diagnostics.gap == pytest.approx(these.diagnostics.out_of_sample - these.value, abs=1e-12)
        assert these.diagnostics.interval_method == "noise"


# properties


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_order_units_and_dtype(seed: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    t, labels = rng.standard_normal((60, d)), rng.integers(0, 3, 60)
    t.flags.writeable = labels.flags.writeable = False
    for made in (GaussianChannel(), channel(0.5)):
        result, alone = made.estimate(t, labels), made.estimate(t)
        assert made.estimate(labels, t).value == result.value == made.estimate(t, labels).value
        assert made.estimate(t + 1e6, labels + 3).value == pytest.approx(result.value, abs=1e-7)
        order = rng.permutation(60)  # other draws for each row, and other halves
        other = made.estimate(t[order])
        both = alone.diagnostics.noise_error + other.diagnostics.noise_error
        assert abs(other.diagnostics.in_sample - alone.diagnostics.in_sample) < 6 * both
        assert abs(other.value - alone.value) < 0.02 + 6 * both
        assert other.diagnostics.upper == pytest.approx(alone.diagnostics.upper, abs=1e-9)
        single = made.estimate(t.astype(np.float32))  # draws its noise in single precision
        assert abs(single.diagnostics.in_sample - alone.diagnostics.in_sample) < 6 * both
    assert channel(5.0).estimate(10 * t).value == pytest.approx(channel(0.5).estimate(t).value, abs=1e-9)
    assert channel(1.0).estimate(t).value < channel(0.3).estimate(t).value  # never standardised


def test_seeds_and_draws() -> None:
    t = np.random.default_rng(2).standard_normal((300, 2))
    first, second = (channel(0.5).estimate(t, seed=seed) for seed in (1, 2))
    assert first.value != second.value
    assert channel(0.5).estimate(t, seed=1).value == first.value
    assert channel(0.5).estimate(t).value == channel(0.5).estimate(t, seed=0).value
    assert first.diagnostics.draws == 28  # 8192 evaluations
    few, many = (channel(0.5, draws=draws).estimate(t).diagnostics for draws in (2, 128))
    assert few.noise_error > 5 * many.noise_error
    assert few.standard_error == pytest.approx(many.standard_error, rel=0.3)  # of the rows, whatever the draws


def test_threads_change_no_bit() -> None:
    rng = np.random.default_rng(3)
    t, labels = rng.standard_normal((700, 3)), rng.integers(0, 4, 700)
    expected = channel(0.5).estimate(t, labels)
    with joblib.parallel_config(backend="threading", n_jobs=3):
        again = channel(0.5).estimate(t, labels)
    assert again.diagnostics == expected.diagnostics


def test_images_names_of_classes_memory_maps_and_tensors(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    t, names = rng.standard_normal((40, 2, 3, 3)).astype(np.float32), np.array(["cat", "dog"])[rng.integers(0, 2, 40)]
    expected = channel(0.7).estimate(t.reshape(40, -1), names == "dog").value
    assert channel(0.7).estimate(t, names).value == expected
    np.save(tmp_path / "t.npy", t)
    assert channel(0.7).estimate(np.load(tmp_path / "t.npy", mmap_mode="r"), names).value == expected
    torch = pytest.importorskip("torch")
    assert channel(0.7).estimate(torch.tensor(t, requires_grad=True), torch.tensor(names == "dog")).value == expected
    halves = channel(0.7).estimate(torch.tensor(t).bfloat16(), names)
    assert halves.value == pytest.approx(expected, abs=0.02)


def test_integers_as_numbers_are_flagged_unless_declared() -> None:
    counts = np.random.default_rng(5).integers(0, 9, 200)
    assert channel(1.0).estimate(counts).flags == (Flag.DISCRETE,)
    declared = channel(1.0).estimate(continuous(counts))
    assert not declared.flags
    assert declared.value == channel(1.0).estimate(counts).value == channel(1.0).estimate(counts + 0.0).value


# truth


def test_mixtures_against_quadrature_and_bounds_on_their_right_sides() -> None:
    squares = []
    for seed in range(80):
        t, labels, std = random_layer(seed)
        whole = information(t, std)
        within = sum((labels == y).mean() * information(t[labels == y], std) for y in np.unique(labels))
        for truth, arguments in ((whole, (t,)), (whole - within, (t, labels))):
            result = channel(std).estimate(*arguments)
            found = result.diagnostics
            assert found.lower - 1e-9 <= truth <= found.upper + 1e-9, seed
            assert found.lower <= result.value <= found.upper, seed
            error = found.noise_error + 1e-7
            assert abs(found.in_sample - truth) < 4.5 * error, seed
            squares.append(((found.in_sample - truth) / error) ** 2)
    assert 0.6 < np.mean(squares) < 1.5  # the stated error is the error


@pytest.mark.parametrize("seed", range(8))
def test_linear_layers_in_closed_form(seed: int) -> None:
    t, std, mi = linear_layer(seed, 2000)
    result = channel(std).estimate(t, seed=seed)
    assert abs(result.value - mi) < 3.5 * result.diagnostics.standard_error
    assert not result.flags
    assert result.diagnostics.in_sample < result.diagnostics.leave_one_out < result.diagnostics.out_of_sample + 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_linear_layers_from_many_samples(seed: int) -> None:
    t, std, mi = linear_layer(100 + seed, 10_000)
    assert abs(channel(std).estimate(t).value - mi) < 0.03


def test_gaussian_classes() -> None:
    """Two classes, N(-1, 1) and N(1, 1), through noise of std 1: h of a mixture of two N(., 2) less that of one."""
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 2, 3000)
    t = rng.standard_normal(3000) + 2 * labels - 1
    result = channel(1.0).estimate(t, labels)
    assert abs(result.value - information(np.array([-1.0, 1.0]), math.sqrt(2))) < 3 * result.diagnostics.standard_error
    assert result.interval is not None
    assert not result.flags


def test_correction_for_the_rows_that_were_not_drawn() -> None:
    """What 300 rows hold is less than the distribution does, by more than the error of the rows; the value is not."""
    d, mi = 6, 3 * math.log(3)
    shortfall, errors = [], []
    for seed in range(12):
        t = math.sqrt(2) * np.random.default_rng(seed).standard_normal((600, d))
        result = channel(1.0).estimate(t, seed=seed)
        shortfall.append(mi - result.diagnostics.in_sample)
        errors.append(result.value - mi)
    assert np.mean(shortfall) > 0.1
    assert abs(np.mean(errors)) < 4 * np.std(errors) / math.sqrt(12) + 0.02
    assert np.std(errors) < 0.08


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "d", "signal", "bias", "spread", "flagged"),
    [
        (1000, 1, 10, -0.002, 0.020, 0.0),
        (1000, 1, 1000, -0.003, 0.022, 0.0),
        (1000, 3, 10, -0.003, 0.035, 0.0),
        (1000, 3, 30, -0.010, 0.038, 1.0),
        (1000, 3, 100, -0.274, 0.013, 1.0),
        (1000, 10, 1, -0.006, 0.033, 0.0),
        (1000, 10, 2, -0.106, 0.040, 1.0),
    ],
)
def test_bias_spread_and_flags_as_documented(
    n: int, d: int, signal: float, bias: float, spread: float, flagged: float
) -> None:
    """The table in the docstring, and that intervals cover 90% or more where they are given."""
    mi, repetitions = d / 2 * math.log1p(signal), 100
    made = [
        channel(1.0).estimate(math.sqrt(signal) * np.random.default_rng(k).standard_normal((n, d)), seed=k)
        for k in range(repetitions)
    ]
    errors = np.array([result.value - mi for result in made])
    assert abs(errors.mean() - bias) < 4 * spread / math.sqrt(repetitions) + 0.002
    assert errors.std() == pytest.approx(spread, rel=0.3)
    assert np.mean([Flag.UNDERSAMPLED in result.flags for result in made]) == flagged
    covered = [result.interval[0] <= mi <= result.interval[1] for result in made if result.interval]
    assert len(covered) == repetitions * (1 - flagged)
    assert not covered or np.mean(covered) > 0.88


# refusals


def test_too_few_rows_for_little_noise_show_in_the_gap_and_in_a_flag() -> None:
    t = np.random.default_rng(7).standard_normal((500, 40))
    bad, good = channel(0.3).estimate(t), channel(4.0).estimate(t)
    assert set(bad.flags) == {Flag.SATURATED, Flag.UNDERSAMPLED}
    assert bad.diagnostics.gap > 10
    assert bad.interval is None
    assert f"these rows hold {bad.diagnostics.in_sample:.3f} nats" in bad.notes[0]
    assert f"{bad.diagnostics.leave_one_out:.3f}" in bad.notes[0]
    assert not good.flags
    assert good.diagnostics.gap < 0.2
    assert channel(0.3, population=False).estimate(t).flags == (Flag.SATURATED,)


def test_labels_that_the_rows_memorise() -> None:
    rng = np.random.default_rng(8)
    t, labels = rng.standard_normal((400, 30)), rng.integers(0, 4, 400)  # independent
    bad, good = channel(0.3).estimate(t, labels), channel(8.0).estimate(t, labels)
    assert bad.flags == (Flag.UNDERSAMPLED,)
    assert bad.ceiling == bad.diagnostics.h_y
    assert bad.value <= bad.diagnostics.h_y
    assert bad.diagnostics.gap < -1
    assert not good.flags
    assert abs(good.value) < 0.05
    some = channel(1.5).estimate(t, labels)
    assert 0.1 < some.diagnostics.in_sample - some.diagnostics.leave_one_out < 5
    assert some.flags == (Flag.UNDERSAMPLED,)
    clear = channel(0.3).estimate(t + 100 * labels[:, None], labels)  # as few rows, but the classes are far apart
    assert clear.value == pytest.approx(clear.diagnostics.h_y, abs=1e-9)
    assert not clear.flags


def test_labels_that_say_nothing_or_too_much() -> None:
    t = np.random.default_rng(9).standard_normal((60, 2))
    same = channel(1.0).estimate(t, np.zeros(60, int))
    assert same.value == pytest.approx(0, abs=1e-12)
    assert same.flags == (Flag.CONSTANT,)
    single = channel(1.0).estimate(t, np.arange(60))
    assert Flag.SINGLETON_BINS in single.flags
    assert single.diagnostics.leave_one_out is single.diagnostics.gap is None
    assert single.diagnostics.in_sample == pytest.approx(channel(1.0).estimate(t).diagnostics.in_sample, abs=0.02)
    mixed = channel(1.0).estimate(t, np.minimum(np.arange(60), 40))
    assert math.isfinite(mixed.diagnostics.leave_one_out)


def test_the_fewest_rows() -> None:
    for n in (2, 3, 4, 5):
        t = np.random.default_rng(n).standard_normal((n, 2))
        for arguments in ((t,), (t, np.arange(n) % 2)):
            result = channel(0.5).estimate(*arguments)
            assert result.diagnostics.lower <= result.value <= result.diagnostics.upper
    with pytest.raises(DataError, match="at least 2 samples, got 1"):
        channel(0.5).estimate([[1.0, 2.0]])


def test_settings_that_make_no_sense() -> None:
    for noise in (0.1, "much", None, UniformNoise(width=1.0)):
        with pytest.raises(ValueError, match=r"must be GaussianNoise\(std=\.\.\.\), ZeroEntropyNoise\(\) or \"auto\""):
            GaussianChannel(noise=noise)  # type: ignore[arg-type]
    for std in (1e-200, 1e200):
        with pytest.raises(ValueError, match="variance that float64 cannot hold"):
            channel(std)
    for draws in (0, 1.5, True, "many"):
        with pytest.raises(ValueError, match=r"draws=.* must be an integer of at least 1"):
            channel(1.0, draws=draws)
    with pytest.raises(ValueError, match="population=3 must be one of True, False"):
        channel(1.0, population=3)
    with pytest.raises(ValueError, match="level"):
        channel(1.0, level=2.0)
    assert channel(1.0, level=None).estimate(np.arange(20.0)).interval is None
    wide, narrow = (channel(1.0, level=level).estimate(np.arange(20.0)).interval for level in (0.99, 0.5))
    assert wide is not None
    assert narrow is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_data_that_cannot_be_used() -> None:
    t, labels = np.arange(20.0), np.arange(20) % 2
    with pytest.raises(ValueError, match="GaussianChannel cannot condition"):
        channel(1.0).estimate(t, labels, given=t)
    with pytest.raises(DataError, match=r"both arguments are continuous .*Noisy\(estimator=KSG"):
        channel(1.0).estimate(t, t)
    with pytest.raises(DataError, match=r"both arguments are discrete .*PlugIn"):
        channel(1.0).estimate(labels, labels)
    assert channel(1.0).estimate(t, discrete(t % 2.0)).quantity == "I(T+eps;Y)"
    with pytest.raises(DataError, match="x has 1 NaN"):
        channel(1.0).estimate([0.0, math.nan])
    with pytest.raises(DataError, match="x holds strings"):
        channel(1.0).estimate(["a", "b"])
    with pytest.raises(DataError, match=r"x reaches 1e\+120, more than 1e\+100 standard deviations"):
        channel(1.0).estimate([0.0, 1e120])
    with pytest.raises(DataError, match="the variance of x is beyond float64"):
        GaussianChannel().estimate([0.0, 1e200])


# workflow


def test_report_and_json() -> None:
    t, labels, std = random_layer(11)
    for made in (channel(std, draws=3), GaussianChannel(noise=ZeroEntropyNoise(), population=False)):
        for arguments, quantity in (((t,), "I(X;T+eps)"), ((t, labels), "I(T+eps;Y)")):
            result = made.estimate(*arguments)
            assert result.quantity == quantity
            assert result.kind == "point"
            assert str(made) in str(result)
            assert "out_of_sample" in result.report()
            assert MIResult.from_json(result.to_json()) == result


def test_text_of_the_estimator() -> None:
    made = parsed("GaussianChannel(noise=GaussianNoise(std=0.1), population=False)")
    assert made == channel(0.1, population=False)
    assert parsed("gaussian-channel:noise=ZeroEntropyNoise(),draws=4") == GaussianChannel(
        noise=ZeroEntropyNoise(), draws=4
    )
    assert parsed("gaussian-channel") == GaussianChannel()
    assert parsed(str(channel(0.1))) == channel(0.1)
    assert miest.mutual_information(np.arange(9.0), estimator="gaussian-channel").quantity == "I(X;T+eps)"
    for text, message in (
        ("gaussian-channel:noise=PinkNoise(std=1)", "'PinkNoise' is not one of .*GaussianNoise"),
        ("gaussian-channel:noise=GaussianNoise(width=1)", "GaussianNoise has the settings: std"),
        ("gaussian-channel:noise=GaussianNoise(0.1)", "GaussianNoise has the settings: std"),
        ("gaussian-channel:noise=GaussianNoise(std=-1)", "std=-1 must be a positive finite number"),
        ("gaussian-channel:noise=UniformNoise(width=1)", "must be GaussianNoise"),
        ("gaussian-channel:noise=0.1", "must be GaussianNoise"),
    ):
        with pytest.raises(ValueError, match=message):
            parsed(text)
