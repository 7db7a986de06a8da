"""MixedKSG and Ross.

exact       equal to KSG on continuous data, to each other on discrete-continuous, to counts on symbols
properties  symmetry, recoding of labels, sample order
truth       Gao's mixtures, a censored Gaussian by quadrature, conditional cases
refusals    every raise and every flag
"""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.special import digamma, gammaln, xlogy

import miest
from miest import KSG, Flag, MixedKSG, Ross


def uniform_pair(m: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, m, n)
    return x, x + rng.uniform(0, 2, n), np.log(m) - (m - 1) * np.log(2) / m


def zero_inflated_poisson(n: int, p: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.exponential(1, n)
    return x, np.where(rng.random(n) < p, 0, rng.poisson(x))


def zero_inflated_poisson_information(p: float) -> float:
    """H(Y) - H(Y|X) by quadrature; Y is geometric with ratio 1/2 before the zeros are added."""
    ys = np.arange(80)
    marginal = (1 - p) * 0.5 ** (ys + 1)
    marginal[0] += p

    def conditional(x: float) -> float:
        q = (1 - p) * np.exp(xlogy(ys, x) - x - gammaln(ys + 1))
        q[0] += p
        return float(np.exp(-x) * -xlogy(q, q).sum())

    return float(-xlogy(marginal, marginal).sum() - quad(conditional, 0, 40, limit=200)[0])


def censored_information(rho: float, share: float) -> float:
    """I(max(X, c); Y) of a Gaussian pair, by quadrature: the atom at c, and the pair's own density ratio above it."""
    c, s = stats.norm.ppf(share), np.sqrt(1 - rho**2)

    def atom(y: float) -> float:
        below = stats.norm.cdf((c - rho * y) / s)  # P(X < c | y)
        return float(stats.norm.pdf(y) * xlogy(below, below / share))

    def above(x: float) -> float:
        # E[ln p(y|x) / p(y) | x], with y | x ~ N(rho x, s^2)
        return float(stats.norm.pdf(x) * (-np.log(s) - 0.5 + 0.5 * (rho**2 * x**2 + s**2)))

    return quad(atom, -9, 9)[0] + quad(above, c, 9)[0]


def test_equals_ksg_where_nothing_repeats() -> None:
    rng = np.random.default_rng(0)
    x, y, z = rng.standard_normal((3, 300, 2))
    assert MixedKSG().estimate(x, y).value == pytest.approx(KSG().estimate(x, y).value, abs=1e-12)
    assert MixedKSG().estimate(x, y, given=z).value == pytest.approx(KSG().estimate(x, y, given=z).value, abs=1e-12)


def test_equals_ross_on_discrete_and_continuous() -> None:
    x, y, _ = uniform_pair(5, 500, 0)
    assert MixedKSG().estimate(x, y).value == Ross().estimate(x, y).value


def test_ross_by_its_own_formula() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 120)
    t = rng.standard_normal(120) + labels
    terms = []
    for i in range(120):
        near = np.sort(np.abs(t[labels == labels[i]] - t[i]))[3]  # the first is i itself
        m = (np.abs(t - t[i]) < near).sum()  # with i itself, without the k-th: as many as up to the k-th without i
        terms.append(digamma(3) - digamma((labels == labels[i]).sum()) - digamma(m))
    assert Ross().estimate(t, labels).value == pytest.approx(digamma(120) + np.mean(terms), abs=1e-12)


def test_symbols_alone_are_counted() -> None:
    rng = np.random.default_rng(2)
    x = rng.integers(0, 4, 300)
    y = np.where(rng.random(300) < 0.5, x, rng.integers(0, 4, 300))
    joint = np.array([((x == a) & (y == b)).sum() for a, b in zip(x, y, strict=True)])
    n_x, n_y = (np.array([(v == a).sum() for a in v]) for v in (x, y))
    expected = digamma(300) + np.mean(digamma(joint) - digamma(n_x) - digamma(n_y))
    assert MixedKSG().estimate(x, y).value == pytest.approx(expected, abs=1e-12)
    assert MixedKSG().estimate(x + 0.0, y + 0.0).value == pytest.approx(expected, abs=0.05)


def test_symmetric_and_blind_to_codes_and_order() -> None:
    x, y, _ = uniform_pair(5, 400, 3)
    base = MixedKSG().estimate(x, y).value
    assert MixedKSG().estimate(y, x).value == base
    recoded = np.array([1_000_000, -7, 3, 50, 0])[x]
    assert MixedKSG().estimate(recoded, y).value == base
    assert MixedKSG().estimate(np.array(list("vwxyz"))[x], y).value == base
    order = np.random.default_rng(0).permutation(400)
    assert MixedKSG().estimate(x[order], y[order]).value == pytest.approx(base, abs=1e-9)
    assert MixedKSG().estimate(x, y * 1e6 + 1e6).value == pytest.approx(base, abs=1e-6)
    assert MixedKSG().estimate(x, y.astype(np.float32)).value == pytest.approx(base, abs=1e-2)


def test_labels_as_floats_agree_where_classes_are_large() -> None:
    x, y, _ = uniform_pair(5, 5_000, 4)
    assert MixedKSG().estimate(x, y).value == pytest.approx(MixedKSG().estimate(x + 0.0, y).value, abs=1e-12)


@pytest.mark.parametrize("estimator", [MixedKSG(), Ross(), MixedKSG(k=10)])
def test_uniform_pair(estimator: MixedKSG | Ross) -> None:
    values = [estimator.estimate(*uniform_pair(5, 3_000, seed)[:2]).value for seed in range(10)]
    truth = uniform_pair(5, 1, 0)[2]
    assert abs(np.mean(values) - truth) < 4 * np.std(values, ddof=1) / np.sqrt(10) + 0.003


@pytest.mark.parametrize("kind", [int, float])
def test_zero_inflated_poisson(kind: type) -> None:
    truth = zero_inflated_poisson_information(0.15)
    assert truth == pytest.approx(0.2298, abs=1e-4)
    values = []
    for seed in range(10):
        x, y = zero_inflated_poisson(3_000, 0.15, seed)
        values.append(MixedKSG().estimate(x, y.astype(kind)).value)
    assert abs(np.mean(values) - truth) < 4 * np.std(values, ddof=1) / np.sqrt(10) + 0.01


def test_censored_gaussian() -> None:
    truth = censored_information(0.8, 0.3)
    values = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(3_000)
        y = 0.8 * x + 0.6 * rng.standard_normal(3_000)
        values.append(MixedKSG().estimate(np.maximum(x, stats.norm.ppf(0.3)), y).value)
    assert abs(np.mean(values) - truth) < 4 * np.std(values, ddof=1) / np.sqrt(10) + 0.01


def test_mixture_in_both_arguments() -> None:
    # Half the samples are a Gaussian pair with rho = 0.9, half are x = +-1 with y = x nine times in ten (Gao 2017).
    # Which half shows in x and in y: its entropy, ln 2, adds to the mean of the two parts.
    pair = -0.5 * np.log(1 - 0.81)
    signs = 0.9 * np.log(0.45 / 0.25) + 0.1 * np.log(0.05 / 0.25)
    truth = 0.5 * pair + 0.5 * signs + np.log(2)
    values = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        n = 2_000
        x = rng.standard_normal(n)
        y = 0.9 * x + np.sqrt(0.19) * rng.standard_normal(n)
        a = rng.choice([-1.0, 1.0], n)
        b = np.where(rng.random(n) < 0.9, a, -a)
        lump = rng.random(n) < 0.5
        values.append(MixedKSG().estimate(np.where(lump, a, x), np.where(lump, b, y)).value)
    assert abs(np.mean(values) - truth) < 4 * np.std(values, ddof=1) / np.sqrt(10) + 0.01


def test_conditional_on_a_class() -> None:
    # X and Y share only the class; given it they are independent.
    values, plain = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        z = rng.integers(0, 3, 1_500)
        x, y = 3 * z + rng.standard_normal((2, 1_500))
        values.append(MixedKSG(k=5).estimate(x, y, given=z).value)
        plain.append(MixedKSG(k=5).estimate(x, y).value)
    assert abs(np.mean(values)) < 4 * np.std(values, ddof=1) / np.sqrt(8) + 0.005
    assert min(plain) > 0.4


def test_rare_symbols() -> None:
    rng = np.random.default_rng(0)
    labels = np.r_[np.zeros(200, int), 1, 2, 2, np.full(100, 3)]
    t = labels + rng.standard_normal(303)
    result = MixedKSG().estimate(t, labels)
    assert result.diagnostics.left_out == 1
    assert result.flags == ()
    assert np.isfinite(result.value)
    many = MixedKSG().estimate(t, np.r_[np.arange(250), np.zeros(53, int)])
    assert Flag.SINGLETON_BINS in many.flags
    few = MixedKSG().estimate(t[:300], np.repeat(np.arange(150), 2))
    assert Flag.SMALL_SAMPLE in few.flags


def test_a_rare_class_beside_a_constant_carries_nothing() -> None:
    y = (np.arange(100_000) % 10_000 == 0).astype(int)
    entropy = miest.PlugIn(correction=None).estimate(y).value
    for x in (np.zeros(y.size), np.zeros(y.size, int)):
        for result in (MixedKSG().estimate(x, y), miest.mutual_information(x, y)):
            assert 0 <= result.value <= entropy
            assert Flag.CONSTANT in result.flags


def test_high_dimension_is_flagged() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 500)
    assert Flag.HIGH_DIMENSION in MixedKSG().estimate(rng.standard_normal((500, 30)), labels).flags
    assert MixedKSG().estimate(rng.standard_normal((500, 1)) + labels[:, None], labels).ok


def test_refusals() -> None:
    x, y, _ = uniform_pair(3, 50, 0)
    with pytest.raises(ValueError, match="infinite, or ln n"):
        MixedKSG().estimate(y)
    with pytest.raises(ValueError, match="got discrete x and discrete y"):
        Ross().estimate(x, x)
    with pytest.raises(ValueError, match="got continuous x and continuous y"):
        Ross().estimate(y, y)
    with pytest.raises(ValueError, match="cannot condition"):
        Ross().estimate(x, y, given=x)
    with pytest.raises(ValueError, match="k=3 needs at least 4 samples, got 3"):
        MixedKSG().estimate(x[:3], y[:3])
    with pytest.raises(ValueError, match="all 50 samples of y are different symbols"):
        MixedKSG().estimate(y, np.arange(50))
    with pytest.raises(ValueError, match="k=0"):
        Ross(k=0)


def test_ross_flags_ties_that_mixed_expects() -> None:
    x, y, _ = uniform_pair(3, 200, 0)
    assert Flag.TIES in Ross().estimate(x, np.maximum(y, 1)).flags
    assert Flag.TIES not in MixedKSG().estimate(x, np.maximum(y, 1)).flags


def test_rounded_numbers_are_flagged_where_they_bias() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(3_000)
    y = x + rng.standard_normal(3_000)
    assert MixedKSG().estimate(np.round(x, 2), np.round(y, 2)).flags == (Flag.TIES,)
    assert MixedKSG().estimate(np.round(x, 2), y).flags == (Flag.TIES,)
    assert MixedKSG().estimate(np.round(x, 9), np.round(y, 9)).ok
    assert MixedKSG().estimate(np.maximum(x, 0), y).ok
    assert MixedKSG().estimate((x > 0) + 0.0, y).ok
    counts, rate = zero_inflated_poisson(3_000, 0.15, 0)[::-1]
    assert MixedKSG().estimate(rate, counts + 0.0).ok


def test_what_is_left_varying_decides() -> None:
    spike = np.zeros(3_000)
    spike[0] = 1.0
    for y in (np.arange(3_000) % 4, np.random.default_rng(0).standard_normal(3_000)):
        assert MixedKSG().estimate(spike, y).flags[0] == Flag.CONSTANT
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 200))
    assert abs(MixedKSG().estimate(x, y, given=np.zeros(200)).value) < 0.5


def test_symbols_seen_too_rarely_are_flagged() -> None:
    rng = np.random.default_rng(0)
    coin = rng.integers(0, 2, 200)
    assert MixedKSG().estimate(np.arange(200), coin).flags == (Flag.SINGLETON_BINS,)
    assert MixedKSG().estimate(rng.integers(0, 12, 200), rng.integers(0, 12, 200)).flags == (Flag.SMALL_SAMPLE,)
    assert MixedKSG().estimate(coin, rng.integers(0, 3, 200)).ok


def test_order_of_samples_changes_no_bit_even_of_rounded_data() -> None:
    rng = np.random.default_rng(0)
    x = np.round(rng.standard_normal(1_000), 2)
    y = np.round(x + rng.standard_normal(1_000), 2)
    order = rng.permutation(1_000)
    for estimator in (MixedKSG(level=None), KSG(level=None)):
        assert estimator.estimate(x[order], y[order]).value == estimator.estimate(x, y).value


def test_atoms_are_symbols_only_among_values_that_do_not_repeat() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(2_000)
    y = x + rng.standard_normal(2_000)
    rounded = np.round(x, 2)  # repeats throughout: distances stay
    assert MixedKSG().estimate(rounded, y).value == pytest.approx(KSG().estimate(x, y).value, abs=0.06)
    rectified = np.maximum(x, 0)  # one atom: I(max(X, 0); Y) is at most I(X; Y) and at least that of the sign
    value = MixedKSG().estimate(rectified, y).value
    assert MixedKSG().estimate(x > 0, y).value < value < KSG().estimate(x, y).value
