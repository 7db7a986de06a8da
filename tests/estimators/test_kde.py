"""KDE: pairwise bounds on I(X;T+eps) and I(T+eps;Y).

exact       far clusters, identical points, two points, and the oracle of all pairs
properties  order of arguments and samples, shift, common scale of t and noise, dtype, read-only input
truth       bounds around the quadrature of one-dimensional mixtures; the Gaussian layer in closed form
refusals    every raise, every flag, and silence on good data
workflow    report and JSON
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import logsumexp

from miest.estimators.kde import KDE
from miest.result import Flag, MIResult
from miest.samples import DataError, continuous, discrete

Array = NDArray[np.float64]


def bounds(result: MIResult) -> tuple[float, float]:
    return result.diagnostics.lower, result.diagnostics.upper


def mixture_information(t: Array, noise_var: float) -> float:
    """h(T+eps) - h(eps) of equal Gaussians at the numbers t, by quadrature."""
    std = math.sqrt(noise_var)
    grid = np.arange(t.min() - 10 * std, t.max() + 10 * std, std / 15)  # exact to 1e-10: the integrand is analytic
    log_p = logsumexp(-((grid[:, None] - t) ** 2) / (2 * noise_var), axis=1)
    log_p -= math.log(len(t)) + 0.5 * math.log(2 * math.pi * noise_var)
    return float(-(np.exp(log_p) * log_p).sum() * std / 15) - 0.5 * math.log(2 * math.pi * math.e * noise_var)


def random_layer(seed: int) -> tuple[Array, NDArray[np.intp], float]:
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(2, 40)), int(rng.integers(2, 5))
    labels = rng.integers(0, m, n)
    t = rng.standard_normal(n) * rng.exponential() + labels * rng.exponential(2)
    return t, labels, float(10 ** rng.uniform(-2, 1))


# exact


@pytest.mark.parametrize("bound", ["both", "upper", "lower"])
def test_far_clusters_are_as_many_symbols(bound: str) -> None:
    t = np.repeat([[0.0, 0.0], [1000.0, 0.0]], 50, axis=0)
    labels = np.arange(100) % 2
    result = KDE(noise_var=1.0, bound=bound).estimate(t)  # type: ignore[arg-type]
    assert (result.value, *bounds(result)) == pytest.approx([math.log(2)] * 3, abs=1e-12)
    clusters = KDE(noise_var=1.0, bound=bound).estimate(t, t[:, 0] > 0)  # type: ignore[arg-type]
    assert (clusters.value, *bounds(clusters)) == pytest.approx([math.log(2)] * 3, abs=1e-12)
    blind = KDE(noise_var=1.0, bound=bound).estimate(t, labels)  # type: ignore[arg-type]
    assert (blind.value, *bounds(blind)) == pytest.approx([0] * 3, abs=1e-12)


def test_two_points_by_hand() -> None:
    result = KDE(noise_var=2.0).estimate([0.0, 4.0])  # squared distance 16: exp(-16 / 4) and exp(-16 / 16)
    assert result.diagnostics.upper == pytest.approx(math.log(2) - math.log1p(math.exp(-4)), abs=1e-12)
    assert result.diagnostics.lower == pytest.approx(math.log(2) - math.log1p(math.exp(-1)), abs=1e-12)
    assert result.ceiling == math.log(2)


def test_the_sums_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    t, labels = rng.standard_normal((90, 5)), np.repeat([2, 0, 7], [40, 30, 20])
    square = ((t[:, None] - t) ** 2).sum(axis=2)
    near, far = np.exp(-square / (2 * 0.7)), np.exp(-square / (8 * 0.7))
    same = labels[:, None] == labels
    h_y = -sum(p * math.log(p) for p in (4 / 9, 3 / 9, 2 / 9))
    identity = KDE(noise_var=0.7).estimate(t)
    assert identity.value == identity.diagnostics.upper
    assert identity.value == pytest.approx(-np.log(near.mean(axis=1)).mean(), abs=1e-9)
    assert identity.diagnostics.lower == pytest.approx(-np.log(far.mean(axis=1)).mean(), abs=1e-9)
    result = KDE(noise_var=0.7).estimate(t, labels)

    def mean_log(kernel: Array) -> float:
        return float(np.log(kernel.sum(axis=1)).mean())

    assert result.diagnostics.h_y == result.ceiling == pytest.approx(h_y, abs=1e-12)
    assert result.value == pytest.approx(h_y - mean_log(near) + mean_log(near * same), abs=1e-9)
    assert result.diagnostics.upper == pytest.approx(h_y - mean_log(near) + mean_log(far * same), abs=1e-9)
    assert result.diagnostics.lower == pytest.approx(h_y - mean_log(far) + mean_log(near * same), abs=1e-9)


def test_bound_chooses_value_and_kind_and_nothing_else() -> None:
    t, labels, noise_var = random_layer(1)
    for arguments, plain in (((t,), "upper bound"), ((t, labels), "point")):
        both, upper, lower = (
            KDE(noise_var=noise_var, bound=b).estimate(*arguments) for b in ("both", "upper", "lower")
        )
        assert bounds(both) == bounds(upper) == bounds(lower)
        assert (lower.value, upper.value) == bounds(both)
        assert lower.value <= both.value <= upper.value
        assert [r.kind for r in (both, upper, lower)] == [plain, "upper bound", "lower bound"]
    assert upper.ceiling is None  # it can pass H(Y)


# properties


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_order_units_and_dtype(seed: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    t, labels = rng.standard_normal((60, d)), rng.integers(0, 3, 60)
    t.flags.writeable = labels.flags.writeable = False
    order = rng.permutation(60)
    for noise_var in ("auto", 0.5):
        kde = KDE(noise_var=noise_var)  # type: ignore[arg-type]
        result, alone = kde.estimate(t, labels), kde.estimate(t)
        assert kde.estimate(labels, t).value == result.value == kde.estimate(t, labels).value
        assert kde.estimate(t[order], labels[order]).value == pytest.approx(result.value, abs=1e-9)
        assert kde.estimate(t + 1e6, labels + 3).value == pytest.approx(result.value, abs=1e-8)
        assert kde.estimate(t.astype(np.float32)).value == pytest.approx(alone.value, abs=1e-4)
    auto = KDE().estimate(t)
    assert auto.diagnostics.noise_var == pytest.approx(0.1 * t.var(axis=0).mean(), rel=1e-12)
    assert KDE().estimate(t * 1e6).value == pytest.approx(auto.value, abs=1e-9)
    assert KDE(noise_var=2e-6).estimate(t * 1e-3).value == pytest.approx(KDE(noise_var=2).estimate(t).value, abs=1e-9)
    assert KDE(noise_var=2).estimate(t).value < KDE(noise_var=0.5).estimate(t).value  # never standardised


def test_images_and_names_of_classes() -> None:
    rng = np.random.default_rng(2)
    t, names = rng.standard_normal((40, 2, 3, 3)), np.array(["cat", "dog"])[rng.integers(0, 2, 40)]
    assert KDE().estimate(t, names).value == KDE().estimate(t.reshape(40, -1), names == "dog").value


# truth


def test_the_truth_lies_between_the_bounds_always() -> None:
    for seed in range(150):
        t, _, noise_var = random_layer(seed)
        lower, upper = bounds(KDE(noise_var=noise_var).estimate(t))
        assert lower - 1e-9 <= mixture_information(t, noise_var) <= upper + 1e-9, seed


def test_the_truth_with_labels_lies_between_the_bounds_always() -> None:
    for seed in range(150):
        t, labels, noise_var = random_layer(seed)
        within = sum((labels == y).mean() * mixture_information(t[labels == y], noise_var) for y in np.unique(labels))
        lower, upper = bounds(KDE(noise_var=noise_var).estimate(t, labels))
        assert lower - 1e-9 <= mixture_information(t, noise_var) - within <= upper + 1e-9, seed


def test_a_gaussian_layer_tends_to_the_closed_form_of_each_bound() -> None:
    signal, noise = 2.0, 0.4
    values = np.array(
        [
            bounds(KDE(noise_var=noise).estimate(math.sqrt(signal) * np.random.default_rng(seed).standard_normal(1000)))
            for seed in range(20)
        ]
    )
    for found, width in zip(values.T, (4 * noise, noise), strict=True):
        limit = math.log1p(signal / width) / 2 + signal / (signal + width) / 2  # E ln E of a Gaussian kernel
        stderr = found.std() / math.sqrt(20)
        assert abs(found.mean() - limit) < 4 * stderr + 2 / 1000  # O(1/n) from the sample's own term
    lower, upper = values.mean(axis=0)
    assert lower < math.log1p(signal / noise) / 2 < upper


# refusals


@pytest.mark.parametrize("noise_var", [0, -1.0, math.inf, math.nan, "small", None, True, [1.0]])
def test_the_noise_must_be_positive_and_finite(noise_var: object) -> None:
    with pytest.raises(ValueError, match='must be "auto" or a positive finite number'):
        KDE(noise_var=noise_var)  # type: ignore[arg-type]


def test_refusals() -> None:
    t, labels, _ = random_layer(0)
    with pytest.raises(ValueError, match="bound='middle' must be one of"):
        KDE(bound="middle")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"both arguments of KDE are continuous .* miest\.discrete, or use KSG"):
        KDE().estimate(t, t**2)
    with pytest.raises(ValueError, match=r"both arguments of KDE are discrete .* Use PlugIn"):
        KDE().estimate(labels, labels > 1)
    with pytest.raises(ValueError, match="KDE cannot condition"):
        KDE().estimate(t, labels, given=t)
    with pytest.raises(ValueError, match="x holds strings"):
        KDE().estimate(np.array(["a", "b"]))
    with pytest.raises(ValueError, match=r"reaches 1e\+200, more than 1e\+100 standard deviations of the noise"):
        KDE(noise_var=1.0).estimate([0.0, 1e200])
    for scale in (1e200, 1e-200):
        with pytest.raises(ValueError, match=r"is beyond float64 .* rescale it"):
            KDE().estimate(np.array([0.0, 1.0, 3.0]) * scale)
    assert KDE(noise_var=1.0).estimate(np.array([0.0, 1.0, 3.0]) * 1e-200).value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("noise_var", [1.7e308, 4.6e307, 10**400])
def test_noise_that_leaves_no_room_in_float64(noise_var: float) -> None:
    with pytest.raises(ValueError, match=r"is beyond the 4\.49e\+307 that float64 leaves room for: rescale the data"):
        KDE(noise_var=noise_var)
    assert KDE(noise_var=4e307).estimate([0.0, 1.0]).value == pytest.approx(0, abs=1e-12)


def test_a_layer_too_small_for_float64() -> None:
    t, labels, _ = random_layer(0)
    for y in (None, labels):
        with pytest.raises(DataError, match=r"x varies by \S+e-3\d\d, less than the 8\.9e-308 .* rescale it"):
            KDE(noise_var=0.1).estimate(t * 1e-320, y)
        assert KDE(noise_var=0.1).estimate(t * 1e-305, y).value == pytest.approx(0, abs=1e-12)
    assert KDE(noise_var=0.1).estimate(np.full(9, 1e-320)).value == pytest.approx(0, abs=1e-12)


def test_labels_coded_as_floats_and_layers_of_integers() -> None:
    t, labels, noise_var = random_layer(5)
    kde = KDE(noise_var=noise_var)
    assert kde.estimate(t, discrete(labels * 1.0)).value == kde.estimate(t, labels).value
    pixels = np.random.default_rng(0).integers(0, 4, (200, 1))
    assert KDE().estimate(pixels).flags == (Flag.DISCRETE,)
    assert KDE().estimate(continuous(pixels)).ok
    assert KDE().estimate(continuous(pixels), pixels > 1).ok


@pytest.mark.parametrize("noise_var", ["auto", 0.3])
def test_constants(noise_var: object) -> None:
    kde = KDE(noise_var=noise_var)  # type: ignore[arg-type]
    t, labels = np.full((50, 2), 0.1), np.arange(50) % 2
    for result in (kde.estimate(t), kde.estimate(t, labels)):
        assert (result.value, *bounds(result)) == pytest.approx([0, 0, 0], abs=1e-12)
        assert result.flags == (Flag.CONSTANT,)
        assert result.diagnostics.noise_var == (1.0 if noise_var == "auto" else 0.3)
    still = kde.estimate(np.random.default_rng(0).standard_normal(50), np.ones(50, int))
    assert still.value == pytest.approx(0, abs=1e-12)
    assert still.flags == (Flag.CONSTANT,)


def test_noise_too_small_for_so_few_samples_is_flagged() -> None:
    rng = np.random.default_rng(3)
    t, labels = rng.standard_normal((200, 20)), rng.integers(0, 2, 200)
    for result in (KDE(noise_var=1e-3).estimate(t), KDE(noise_var=1e-3).estimate(t, labels)):
        assert result.flags == (Flag.SATURATED,)
        assert "Use a larger noise_var or more samples" in result.notes[-1]
    assert KDE(noise_var=1e-3).estimate(t).value == pytest.approx(math.log(200), abs=1e-6)
    assert KDE(noise_var=1e-3).estimate(t, labels).value == pytest.approx(math.log(2), abs=0.01)  # whatever t is
    assert KDE(noise_var=20.0).estimate(t).ok
    assert KDE(noise_var=20.0).estimate(t, labels).ok
    assert not KDE(noise_var=3.0).estimate(t).ok
    assert KDE(noise_var=3.0, bound="lower").estimate(t).ok  # its own value is not near ln n


def test_classes_of_one_sample_are_flagged() -> None:
    t = np.random.default_rng(4).standard_normal(50)
    result = KDE(noise_var=1.0).estimate(t, np.arange(50))
    assert result.flags == (Flag.SINGLETON_BINS,)
    assert result.value == pytest.approx(KDE(noise_var=1.0).estimate(t).value, abs=1e-12)
    assert KDE(noise_var=1.0).estimate(t, np.arange(50) // 2).ok


def test_automatic_noise_says_that_layers_cannot_be_compared() -> None:
    t = np.random.default_rng(5).standard_normal(500)
    assert "to compare layers of different scale, pass one noise_var for all" in KDE().estimate(t).notes[0]
    assert KDE(noise_var=0.1).estimate(t).notes == ()


# workflow


def test_report_and_json() -> None:
    t, labels, _ = random_layer(6)
    for result in (KDE().estimate(t), KDE(noise_var=np.float32(0.5), bound="lower").estimate(t, labels)):
        assert "noise_var" in result.report()
        assert MIResult.from_json(result.to_json()) == result
