"""Entropies from counts, and PlugIn.

exact       hand-worked counts and tables, scipy, scikit-learn, quadrature of the NSB posterior
properties  bounds, symmetry, order of samples, names of symbols, chain rule, JSON
truth       each correction is less biased than the plug-in value, and by how much it still is
refusals    every raise and every flag
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import gammaln, polygamma
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import mutual_info_score

import miest
from miest import Flag, MIResult, MixedKSG, PlugIn
from miest.estimators.discrete import CORRECTIONS, Correction, discrete_entropy
from miest.tasks import named

LN2 = math.log(2)
PLAIN = PlugIn(correction=None)


# exact


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([1, 1], LN2), ([5], 0.0), ([0, 7, 0], 0.0), ([3, 1], 2 * LN2 - 0.75 * math.log(3)), ([2, 1, 1], 1.5 * LN2)],
)
def test_plug_in_of_hand_worked_counts(counts: list[int], expected: float) -> None:
    assert discrete_entropy(counts) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_plug_in_equals_scipy(seed: int) -> None:
    counts = np.random.default_rng(seed).negative_binomial(1, 0.05, 300)
    assert discrete_entropy(counts) == pytest.approx(scipy_entropy(counts[counts > 0]), abs=1e-12)


def test_miller_madow_adds_half_a_symbol_a_sample() -> None:
    assert discrete_entropy([3, 1, 0, 4], "miller-madow") == discrete_entropy([3, 1, 4]) + 2 / 16


def test_grassberger_equals_the_recursion_of_its_g() -> None:
    g = {1: -np.euler_gamma - LN2, 2: 2 - np.euler_gamma - LN2}
    for n in range(3, 60):
        g[n] = g[n - 1] if n % 2 else g[n - 2] + 2 / (n - 1)
    counts = [1, 1, 2, 3, 7, 20, 59]
    n = sum(counts)
    expected = math.log(n) - sum(c * g[c] for c in counts) / n
    assert discrete_entropy(counts, "grassberger") == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize(("counts", "coverage"), [([2, 1], 2 / 3), ([4, 2, 1, 1], 6 / 8), ([1, 1, 1], 1 / 3)])
def test_chao_shen_by_hand(counts: list[int], coverage: float) -> None:
    n = sum(counts)
    shares = [coverage * c / n for c in counts]
    expected = -sum(p * math.log(p) / (1 - (1 - p) ** n) for p in shares)
    assert discrete_entropy(counts, "chao-shen") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("alphabet", [2, 10, 1e6, 1e100])
def test_nsb_of_one_sample_is_the_prior_mean(alphabet: float) -> None:
    # By symmetry one sample says nothing, and the prior of the entropy is uniform on [0, ln K].
    assert discrete_entropy([1], "nsb", alphabet=alphabet) == pytest.approx(math.log(alphabet) / 2, rel=1e-9)


def xi_density(beta: float, alphabet: float) -> float:
    return float(alphabet * polygamma(1, alphabet * beta + 1) - polygamma(1, beta + 1))


@pytest.mark.parametrize("alphabet", [2, 7, 100])
def test_nsb_of_two_samples_keeps_the_prior_mean(alphabet: int) -> None:
    def same(u: float) -> float:  # P(both samples alike | beta) d xi
        beta = math.exp(u)
        return beta * xi_density(beta, alphabet) * (beta + 1) / (alphabet * beta + 1) / math.log(alphabet)

    alike = quad(same, -30, 18, epsabs=0, epsrel=1e-10, limit=300)[0]
    values = (discrete_entropy(counts, "nsb", alphabet=alphabet) for counts in ([2], [1, 1]))
    assert np.dot([alike, 1 - alike], list(values)) == pytest.approx(math.log(alphabet) / 2, abs=1e-7)


@pytest.mark.parametrize(("a", "b"), [(3, 1), (7, 2), (1, 1), (12, 12)])
def test_nsb_of_two_symbols_equals_quadrature_over_p_and_beta(a: int, b: int) -> None:
    def over_p(u: float, moment: bool) -> float:
        beta = math.exp(u)

        def density(p: float) -> float:
            log_p, log_q = math.log(p), math.log1p(-p)
            h = -p * log_p - (1 - p) * log_q if moment else 1.0
            return h * math.exp((a + beta - 1) * log_p + (b + beta - 1) * log_q + gammaln(2 * beta) - 2 * gammaln(beta))

        return beta * xi_density(beta, 2) * quad(density, 0, 1, epsabs=0, epsrel=1e-8, limit=200)[0]

    top, bottom = (quad(over_p, -20, 14, args=(m,), epsabs=0, epsrel=1e-7, limit=200)[0] for m in (True, False))
    assert discrete_entropy([a, b], "nsb", alphabet=2) == pytest.approx(top / bottom, abs=1e-6)


def test_nsb_takes_its_alphabet_from_the_symbols_seen_once_and_twice() -> None:
    counts = [5, 3, 2, 1, 1, 1]  # 6 + 3 * 2 / (2 * 2) = 7.5, rounded up
    assert discrete_entropy(counts, "nsb") == discrete_entropy(counts, "nsb", alphabet=8)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_large_counts_and_all_singletons_stay_finite(correction: Correction) -> None:
    assert discrete_entropy([10**9, 10**9], correction) == pytest.approx(LN2, abs=1e-8)
    assert 0 < discrete_entropy([10**7, 1], correction) < 1e-5
    assert math.log(200) - 1e-12 <= discrete_entropy(np.ones(200, int), correction) < 2.1 * math.log(200)


def samples(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = (index.ravel() for index in np.indices(table.shape))
    return np.repeat(x, table.ravel()), np.repeat(y, table.ravel())


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([[4, 0], [0, 4]], LN2),
        ([[2, 4], [4, 8]], 0.0),
        ([[3, 1], [1, 3]], 0.75 * math.log(3) - LN2),
        ([[2, 0, 0], [0, 1, 1]], LN2),
    ],
)
def test_known_tables(table: list[list[int]], expected: float) -> None:
    assert PLAIN.estimate(*samples(np.array(table))).value == pytest.approx(expected, abs=1e-15)


def test_exclusive_or_is_informative_only_given_the_third() -> None:
    x, y = np.tile([0, 0, 1, 1], 50), np.tile([0, 1, 0, 1], 50)
    assert PLAIN.estimate(x, y).value == pytest.approx(0, abs=1e-15)
    conditional = PLAIN.estimate(x, y, given=x ^ y)
    assert conditional.quantity == "I(X;Y|Z)"
    assert conditional.value == pytest.approx(LN2, abs=1e-15)
    assert PLAIN.estimate(x, given=x).value == 0
    assert PLAIN.estimate(x, given=y).quantity == "H(T|Z)"
    assert PLAIN.estimate(x, given=y).value == pytest.approx(LN2, abs=1e-15)


def test_deterministic_layer_on_all_inputs_of_twelve_bits() -> None:
    inputs = (np.arange(4096)[:, None] >> np.arange(12)) & 1  # (4096, 12)
    ones = inputs.sum(axis=1)
    shares = np.array([math.comb(12, k) for k in range(13)]) / 4096
    layer = PLAIN.estimate(ones)
    assert layer.quantity == "H(T)"
    assert layer.value == pytest.approx(scipy_entropy(shares), abs=1e-13)
    assert PLAIN.estimate(inputs, ones).value == pytest.approx(layer.value, abs=1e-13)  # rows are symbols
    assert PLAIN.estimate(inputs, inputs[:, 3]).value == pytest.approx(LN2, abs=1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_plug_in_equals_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 12, 700)
    y = (x + rng.integers(0, 5, 700)) % 9
    result = PLAIN.estimate(x, y)
    assert result.value == pytest.approx(mutual_info_score(x, y), abs=1e-12)
    assert result.diagnostics.smaller_entropy == min(result.diagnostics.h_x, result.diagnostics.h_y)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_rare_label_and_constant_feature(correction: Correction) -> None:
    y = np.zeros(1_000_000, np.int8)
    y[:108] = 1
    result = PlugIn(correction=correction).estimate(np.zeros(1_000_000, int), y)
    assert result.value == 0
    assert result.flags == (Flag.CONSTANT,)


# properties

codes = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 2)), min_size=2, max_size=60)
any_correction = st.sampled_from(CORRECTIONS)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40).filter(any))
def test_plug_in_entropy_lies_between_zero_and_ln_m(counts: list[int]) -> None:
    assert 0 <= discrete_entropy(counts) <= math.log(np.count_nonzero(counts)) + 1e-12


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40).filter(any), st.randoms(), any_correction)
@settings(deadline=None)
def test_entropy_depends_on_the_multiset_of_counts(counts: list[int], random: object, correction: Correction) -> None:
    shuffled = [*counts, 0, 0]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert discrete_entropy(shuffled, correction) == discrete_entropy(counts, correction)


@given(codes)
@settings(deadline=None)
def test_plug_in_information_lies_between_zero_and_the_smaller_entropy(rows: list[tuple[int, ...]]) -> None:
    x, y, z = np.array(rows).T
    result = PLAIN.estimate(x, y)
    assert -1e-12 <= result.value <= result.diagnostics.smaller_entropy + 1e-12
    assert result.ceiling is not None
    assert result.ceiling == result.diagnostics.smaller_entropy
    assert PLAIN.estimate(x, x).value == pytest.approx(PLAIN.estimate(x).value, abs=1e-12)
    conditional = PLAIN.estimate(x, y, given=z)
    assert conditional.ceiling is not None
    assert conditional.value <= conditional.ceiling + 1e-12
    assert conditional.ceiling == min(PLAIN.estimate(v, given=z).value for v in (x, y))
    chain = PLAIN.estimate(x, z).value + PLAIN.estimate(x, y, given=z).value
    assert PLAIN.estimate(x, np.column_stack([y, z])).value == pytest.approx(chain, abs=1e-12)


@given(codes, any_correction, st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_exact_symmetry_order_of_samples_and_names_of_symbols(
    rows: list[tuple[int, ...]], correction: Correction, seed: int
) -> None:
    x, y, z = np.array(rows).T
    estimator, rng = PlugIn(correction=correction), np.random.default_rng(seed)
    for condition in (None, z):
        value = estimator.estimate(x, y, given=condition).value
        assert estimator.estimate(y, x, given=condition).value == value
        order = rng.permutation(len(x))
        shuffled = None if condition is None else condition[order]
        assert estimator.estimate(x[order], y[order], given=shuffled).value == value
        names = rng.permutation(5) * 7 - 3
        assert estimator.estimate(names[x], np.array(list("dbca"))[y], given=condition).value == value
    assert estimator.estimate(x, np.zeros(len(x), int)).value == 0


def test_kinds_of_discrete_data_give_the_same_number() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 2, 100), rng.integers(0, 3, 100)
    value = PlugIn().estimate(x, y).value
    for other in (x.astype(bool), x.astype(np.uint8), x.astype(str), miest.discrete(x * 0.1), x[:, None], x.tolist()):
        assert PlugIn().estimate(other, y).value == value


def test_result_survives_json() -> None:
    result = PlugIn(correction="nsb").estimate([0, 1, 1, 0, 2], list("abbac"))
    assert MIResult.from_json(result.to_json()).to_dict() == result.to_dict()
    assert "correction='grassberger'" in str(PlugIn().estimate([0, 1, 1, 0, 2], list("abbac")))


# truth


def errors(p: np.ndarray, n: int, correction: Correction, seeds: int = 40) -> np.ndarray:
    draws = (np.random.default_rng(seed).multinomial(n, p) for seed in range(seeds))
    return np.array([discrete_entropy(counts, correction) for counts in draws]) - scipy_entropy(p)


def zipf(m: int) -> np.ndarray:
    p: np.ndarray = 1 / np.arange(1, m + 1)
    p /= p.sum()
    return p


@pytest.mark.parametrize("p", [np.full(100, 0.01), zipf(300)], ids=["uniform", "zipf"])
@pytest.mark.parametrize("per_symbol", [1, 2, 5])
@pytest.mark.parametrize("correction", CORRECTIONS[1:])
def test_corrections_are_less_biased_than_the_plug_in(p: np.ndarray, per_symbol: int, correction: Correction) -> None:
    plain, corrected = (errors(p, per_symbol * len(p), c) for c in (None, correction))
    stderr = corrected.std(ddof=1) / math.sqrt(len(corrected))
    assert plain.mean() < 0
    assert abs(corrected.mean()) + 3 * stderr < abs(plain.mean())


@pytest.mark.parametrize("correction", ["miller-madow", "grassberger"])
@pytest.mark.parametrize("p", [np.full(50, 0.02), zipf(30)], ids=["uniform", "zipf"])
def test_bias_is_gone_at_forty_samples_a_symbol(p: np.ndarray, correction: Correction) -> None:
    error = errors(p, 40 * len(p), correction)
    assert abs(error.mean()) < 4 * error.std(ddof=1) / math.sqrt(len(error))
    plain = errors(p, 40 * len(p), None)  # and what it was: -(m - 1) / 2n
    assert abs(plain.mean() + (len(p) - 1) / (80 * len(p))) < 4 * plain.std(ddof=1) / math.sqrt(len(plain))


def channel(m: int, error: float) -> np.ndarray:
    table: np.ndarray = np.full((m, m), error / (m - 1)) / m
    np.fill_diagonal(table, (1 - error) / m)
    return table


def information_errors(table: np.ndarray, n: int, estimator: PlugIn, seeds: int = 30) -> np.ndarray:
    margins = table.sum(axis=1), table.sum(axis=0)
    truth = scipy_entropy(margins[0]) + scipy_entropy(margins[1]) - scipy_entropy(table.ravel())
    draws = (np.random.default_rng(s).multinomial(n, table.ravel()).reshape(table.shape) for s in range(seeds))
    return np.array([estimator.estimate(*samples(draw)).value - truth for draw in draws])


@pytest.mark.parametrize("error", [0.1, 0.5, 0.9], ids=["clean", "noisy", "independent"])
def test_default_finds_the_information_of_a_channel(error: float) -> None:
    found = information_errors(channel(10, error), 4_000, PlugIn())
    assert abs(found.mean()) < 4 * found.std(ddof=1) / math.sqrt(len(found))
    if error == 0.9:
        assert found.min() < 0  # never clipped


@pytest.mark.parametrize("error", [0.5, 0.9])
def test_default_is_less_biased_than_the_plug_in_at_two_samples_a_cell(error: float) -> None:
    plain, corrected = (information_errors(channel(10, error), 200, e).mean() for e in (PLAIN, PlugIn()))
    assert plain > 0.2  # known: about (m_x - 1) (m_y - 1) / 2n
    assert abs(corrected) < 0.1 * plain


def test_conditional_independence_is_found() -> None:
    values = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        z = rng.integers(0, 4, 3000)
        x, y = ((z + (rng.random(3000) < 0.3) * rng.integers(0, 4, 3000)) % 4 for _ in range(2))
        values.append(PlugIn().estimate(x, y, given=z).value)
    assert abs(np.mean(values)) < 4 * np.std(values, ddof=1) / math.sqrt(30)


# refusals


@pytest.mark.parametrize(
    ("counts", "settings", "message"),
    [
        ([0.5, 0.5], {}, "dtype float64"),
        ([[1, 2]], {}, r"shape \(1, 2\)"),
        ([3, -1, -2], {}, "2 negative values"),
        ([0, 0], {}, "no symbol that was seen"),
        (np.zeros(0, int), {}, "no symbol that was seen"),
        ([1, 2], {"correction": "jackknife"}, "'jackknife' must be one of None, 'miller-madow'"),
        ([1, 2, 3], {"correction": "nsb", "alphabet": 2}, "alphabet=2 must be at least the 3 symbols seen"),
        ([1, 2, 3], {"correction": "nsb", "alphabet": 30**200}, "at most 1e\\+200"),
        ([1, 2, 3], {"alphabet": math.nan}, "alphabet=nan"),
    ],
)
def test_bad_counts_raise(counts: object, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        discrete_entropy(counts, **settings)  # type: ignore[arg-type]


def test_unknown_correction_raises() -> None:
    with pytest.raises(ValueError, match="correction='jackknife' must be one of"):
        PlugIn(correction="jackknife")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"x": [0.1, 0.2]}, "x"),
        ({"x": [0, 1], "y": [0.5, 1]}, "y"),
        ({"x": [0, 1], "y": [1, 0], "given": [0.5, 1]}, "given"),
    ],
)
def test_continuous_arguments_raise_with_the_way_out(arguments: dict[str, list[float]], name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is continuous .*miest\.discrete\({name}\).*Binning.*MixedKSG"):
        PlugIn().estimate(**arguments)  # type: ignore[arg-type]


def test_flags_are_silent_on_good_data() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, 5000)
    for y in (rng.integers(0, 5, 5000), x, (x + rng.integers(0, 2, 5000)) % 5):
        for correction in CORRECTIONS:
            assert PlugIn(correction=correction).estimate(x, y).ok
            assert PlugIn(correction=correction).estimate(x).ok
            assert PlugIn(correction=correction).estimate(x, y, given=rng.integers(0, 2, 5000)).ok


def test_flag_for_symbols_seen_once() -> None:
    ids = np.arange(100)
    result = PLAIN.estimate(ids)
    assert Flag.SINGLETON_BINS in result.flags
    assert any("100 of 100 samples carry a symbol that occurs once" in note for note in result.notes)
    assert result.value == pytest.approx(math.log(100), abs=1e-12)
    assert result.ceiling == math.log(100)
    joint = PlugIn().estimate(ids, ids % 2)
    assert Flag.SINGLETON_BINS in joint.flags
    assert joint.ceiling is None
    half = np.repeat(np.arange(100), 2)
    assert Flag.SINGLETON_BINS not in PlugIn().estimate(half, half % 2).flags


def test_a_tenth_of_joint_symbols_seen_once_is_flagged() -> None:
    sample = named("symmetric-channel-1000-0.3").sample(10_000, 0)
    result = PlugIn().estimate(sample.x, sample.y)  # 1.4 nats too large
    assert 0.1 < result.diagnostics.singletons / 10_000 < 0.5
    assert result.flags == (Flag.SMALL_SAMPLE,)
    assert "of the probability lies on joint symbols that were not seen" in result.notes[0]
    assert MixedKSG().estimate(sample.x, sample.y).flags == (Flag.SMALL_SAMPLE,)
    few = named("symmetric-channel-10-0.2").sample(10_000, 0)
    assert PlugIn().estimate(few.x, few.y).ok


def test_flag_for_small_samples_counts_what_the_correction_leaves() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 10, (2, 600))
    plain = PLAIN.estimate(x, y)
    assert plain.flags == (Flag.SMALL_SAMPLE,)
    assert plain.diagnostics.plug_in_bias == pytest.approx(81 / 1200, abs=1e-3)
    assert any("off by about +0.06" in note and 'correction="grassberger"' in note for note in plain.notes)
    assert Flag.SMALL_SAMPLE in PlugIn().estimate(x[:100], y[:100]).flags
    x, y = rng.integers(0, 10, (2, 1500))
    assert Flag.SMALL_SAMPLE in PLAIN.estimate(x, y).flags
    assert PlugIn().estimate(x, y).ok
    labels = np.tile([0, 0, 1, 1], 10), np.tile([0, 1, 0, 1], 10)
    assert Flag.SMALL_SAMPLE in PLAIN.estimate(*labels).flags  # 0.0125 nats, more than half the value


@pytest.mark.parametrize(("x", "y", "named"), [([1, 1, 1], [0, 1, 0], "x"), ([0, 1, 0], [2, 2, 2], "y")])
def test_flag_for_a_constant(x: list[int], y: list[int], named: str) -> None:
    result = PlugIn().estimate(x, y)
    assert Flag.CONSTANT in result.flags
    assert result.notes[0].startswith(f"{named} has one symbol in all 3 samples")
    assert Flag.CONSTANT not in PlugIn().estimate([0, 1, 0], [1, 0, 0], given=[1, 1, 1]).flags
