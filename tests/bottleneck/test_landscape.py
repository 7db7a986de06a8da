"""Scalar networks and the functional over their parameters: exact, truth, properties, refusals."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from miest.bottleneck.landscape import Landscape, figure_1, functional_landscape
from miest.bottleneck.remedies import DecisionRule, Noisy, Quantized, SoftDecision, Stochastic, Unchanged
from miest.bottleneck.scalar_networks import Features, ReluNetwork, ramp

LN2 = math.log(2)
# Fig. 2: four sets of equal mass on [0, 1], of classes 0 1 0 1, and three functions of them.
SETS = Features.intervals([0.0, 0.27, 0.54, 0.81], [0.19, 0.46, 0.73, 1.0], [0, 1, 0, 1])


def joining(*values: float) -> ReluNetwork:
    """The network with these values at the ends of the four sets, one after the other."""
    ends = np.column_stack([SETS.low, SETS.high]).ravel()
    return ReluNetwork.through(ends, values)


SIMPLE = joining(0.0, 0.2, 0.55, 0.75, 0.45, 0.25, 0.8, 1.0)  # f': class 0 below 1/2, class 1 above
MIXED = joining(0.0, 0.2, 0.25, 0.45, 0.55, 0.75, 0.8, 1.0)  # f'': in order of x
TIGHT = joining(0.0, 0.02, 0.98, 1.0, 0.02, 0.0, 0.98, 1.0)  # f''': two dense clusters


# exact


def test_the_ramp_is_that_of_the_paper() -> None:
    x = np.array([0.0, 0.2, 0.35, 0.5, 0.9])
    assert ramp(0.2, 0.3)(x) == pytest.approx([0, 0, 0.15, 0.3, 0.3])
    assert ramp(0.2, 0.3).hidden_bias == pytest.approx([-0.2, -0.5])
    assert ramp(0.2, 0.3).bends == pytest.approx([0.2, 0.5])


def test_point_masses_that_meet_are_one() -> None:
    found = Unchanged().terms(figure_1()["discrete"], ramp(0.45, 0.1))
    assert found.compression == pytest.approx(-(0.45 * math.log(0.45) + 0.55 * math.log(0.55)))
    assert found.precision == pytest.approx(found.compression)  # 0.45 is class 0
    apart = Unchanged().terms(figure_1()["discrete"], ramp(0.0, 1.0))
    masses = np.array([0.3, 0.15, 0.2, 0.35])
    assert apart.compression == pytest.approx(-(masses * np.log(masses)).sum())


def test_intervals_are_infinite_on_the_slope_and_finite_between() -> None:
    continuous = figure_1()["continuous"]
    assert Unchanged().terms(continuous, ramp(0.42, 0.1)).compression == pytest.approx(0.6881, abs=1e-4)
    assert Unchanged().terms(continuous, ramp(0.3, 0.1)).compression == math.inf
    # A quarter of the interval from 0.3 to 0.4 is on the slope: its class is known all the same.
    assert Unchanged().terms(continuous, ramp(0.375, 0.1)).precision == pytest.approx(0.6881, abs=1e-4)


def test_overlapping_classes_by_hand() -> None:
    features = Features.intervals([0.0, 0.5], [1.0, 1.5], [0, 1])
    assert features.information() == pytest.approx(LN2 / 2)  # half of X tells nothing
    assert features.entropy() == math.inf
    mixed = Features(np.zeros(2), np.array([0.0, 1.0]), np.array([0, 1]), np.array([0.5, 0.5]))
    assert mixed.information() == pytest.approx(LN2)  # an atom beside a density


def test_a_value_on_the_threshold_is_below_it() -> None:
    assert DecisionRule(threshold=0.25).terms(figure_1()["discrete"], ramp(0.5, 0.25)).compression == 0
    assert DecisionRule(threshold=0.2499).terms(figure_1()["discrete"], ramp(0.5, 0.25)).compression > 0


def test_quantised_inputs() -> None:
    uniform = Features.intervals([0.0], [1.0], [0])
    line = ReluNetwork.through([0.0, 1.0], [0.0, 1.0])
    assert Quantized(levels=4).terms(uniform, line).compression == pytest.approx(math.log(4))
    assert Quantized(levels=4, input_levels=2).terms(uniform, line).compression == pytest.approx(LN2)
    assert Quantized(levels=3, input_levels=2).terms(uniform, line).compression == pytest.approx(2 / 3 * LN2)
    double = ReluNetwork.through([0.0, 1.0], [0.0, 2.0])
    assert Quantized(levels=4).terms(uniform, double).compression < math.log(4)
    assert Quantized(levels=4, span=None).terms(uniform, double).compression == pytest.approx(math.log(4))


# truth


def test_soft_decisions_by_integrals() -> None:
    uniform = Features.intervals([0.0, 0.6], [0.5, 1.2], [0, 1], [0.4, 0.6])
    line = ReluNetwork.through([0.0, 2.0], [0.0, 2.0])

    def coin(p: float) -> float:
        return -sum(v * math.log(v) for v in (p, 1 - p) if v > 0)

    one = [quad(lambda v: min(v, 1), low, high)[0] / (high - low) for low, high in ((0, 0.5), (0.6, 1.2))]
    unsure = [
        quad(lambda v: coin(min(v, 1)), low, high, points=[1.0])[0] / (high - low)
        for low, high in ((0, 0.5), (0.6, 1.2))
    ]
    p = 0.4 * one[0] + 0.6 * one[1]
    found = SoftDecision().terms(uniform, line)
    assert found.compression == pytest.approx(coin(p) - 0.4 * unsure[0] - 0.6 * unsure[1])
    assert found.precision == pytest.approx(coin(p) - 0.4 * coin(one[0]) - 0.6 * coin(one[1]))


def test_noise_by_integrals() -> None:
    std = 0.07
    found = Noisy(std=std).terms(figure_1()["continuous"], ramp(0.3, 0.3))
    # L: 0 of mass 0.3 (and of class 0), uniform on [0, 0.1] of 0.15, 0.25 to 0.3 of a half of 0.2, then 0.3.
    pieces = [(0.0, 0.0, 0.3, 0), (0.0, 0.1, 0.15, 0), (0.25, 0.3, 0.1, 1), (0.3, 0.3, 0.45, 1)]

    def density(v: float, kept: tuple[int, ...]) -> float:
        total = 0.0
        for low, high, mass, label in pieces:
            if label in kept:
                wide = high > low
                smooth = (norm.cdf((v - low) / std) - norm.cdf((v - high) / std)) / (high - low) if wide else 0.0
                total += mass * (smooth if wide else norm.pdf(v, low, std))
        return total

    def entropy(*kept: int) -> float:
        return quad(lambda v: -density(v, kept) * math.log(density(v, kept)), -0.5, 0.8, limit=200)[0]

    noise = 0.5 * math.log(2 * math.pi * math.e * std**2)
    assert found.compression == pytest.approx(entropy(0, 1) - noise, abs=1e-7)
    given = entropy(0) + entropy(1) + 0.45 * math.log(0.45) + 0.55 * math.log(0.55)
    assert found.precision == pytest.approx(entropy(0, 1) - given, abs=1e-7)


def test_a_stochastic_network_by_sampling() -> None:
    """Noise on both hidden units, then the output ReLU: I(X;L) from the conditional laws at the samples themselves."""
    features, std = figure_1()["discrete"], 0.1
    found = Stochastic(std=std).terms(features, ramp(0.3, 0.4))
    rng = np.random.default_rng(0)
    m = ramp(0.3, 0.4)(features.low)
    drawn = rng.choice(4, 200_000, p=features.masses)
    noise = std * rng.normal(size=(200_000, 2))
    output = np.maximum(m[drawn] + noise[:, 0] - noise[:, 1], 0)
    spread = std * math.sqrt(2)
    laws = np.where(
        (output == 0)[:, None], norm.cdf(-m / spread), norm.pdf(output[:, None], m, spread)
    )  # (n, 4), in one measure
    scores = np.log(laws[np.arange(len(drawn)), drawn] / (laws @ features.masses))
    assert found.compression == pytest.approx(scores.mean(), abs=4 * scores.std() / math.sqrt(len(scores)))
    by_label = np.column_stack([laws[:, :2] @ features.masses[:2] / 0.45, laws[:, 2:] @ features.masses[2:] / 0.55])
    labels = features.labels[drawn]
    scores = np.log(by_label[np.arange(len(labels)), labels] / (laws @ features.masses))
    assert found.precision == pytest.approx(scores.mean(), abs=4 * scores.std() / math.sqrt(len(scores)))


# properties: what section 5 says of Fig. 2


def test_the_functional_does_not_tell_simple_from_mixed() -> None:
    for network in (SIMPLE, MIXED, TIGHT):
        found = Unchanged().terms(SETS, network)
        assert found.compression == math.inf
        assert found.precision == pytest.approx(LN2)


def test_a_decision_rule_does() -> None:
    simple, mixed = (DecisionRule().terms(SETS, network) for network in (SIMPLE, MIXED))
    assert simple == pytest.approx((LN2, LN2))
    assert mixed == pytest.approx((LN2, 0), abs=1e-12)


def test_a_soft_decision_prefers_dense_clusters_by_precision_alone() -> None:
    simple, mixed, tight = (SoftDecision().terms(SETS, network) for network in (SIMPLE, MIXED, TIGHT))
    assert tight.precision > simple.precision > mixed.precision
    assert tight.compression > simple.compression


def test_a_little_noise_prefers_what_is_simple_and_compact() -> None:
    simple, mixed, tight = (Noisy(std=0.02).terms(SETS, network) for network in (SIMPLE, MIXED, TIGHT))
    assert tight.precision > simple.precision > mixed.precision
    assert tight.compression < simple.compression < math.inf


def test_noise_inside_is_stretched_by_the_weights_that_follow() -> None:
    """On the hidden units it is noise of std |v| before the last ReLU; where that ReLU is open, noise on the output."""
    features = Features.intervals([0.5, 0.8], [0.6, 1.0], [0, 1])
    line = ReluNetwork(np.array([1.0]), np.zeros(1), np.array([3.0]))
    inside, outside = Stochastic(std=0.02).terms(features, line), Noisy(std=0.06).terms(features, line)
    assert inside == pytest.approx(outside, abs=1e-9)
    continuous, steps = figure_1()["continuous"], ramp(0.42, 0.1)
    plain = Unchanged().terms(continuous, steps)
    assert Stochastic(std=1e-3).terms(continuous, steps) == pytest.approx(plain, abs=1e-6)


def test_quantisers_prefer_dense_clusters_by_compression() -> None:
    simple, mixed, tight = (Quantized(levels=4).terms(SETS, network) for network in (SIMPLE, MIXED, TIGHT))
    assert simple.precision == pytest.approx(LN2)
    assert tight.precision == pytest.approx(LN2)
    assert mixed.precision == pytest.approx(0, abs=1e-12)
    assert tight.compression == pytest.approx(LN2)
    assert simple.compression == pytest.approx(2 * LN2, rel=0.05)


def test_scale_counts_unless_the_noise_follows_it() -> None:
    features = figure_1()["continuous"]
    double = ReluNetwork(np.ones(2), np.array([-0.2, -0.6]), np.array([2.0, -2.0]))
    same, larger = ramp(0.2, 0.4), double
    assert Noisy(std=0.1).terms(features, larger).compression > Noisy(std=0.1).terms(features, same).compression + 0.1
    relative = [Noisy(std=0.1, relative=True).terms(features, network) for network in (same, larger)]
    assert relative[0] == pytest.approx(relative[1], abs=1e-9)
    assert Noisy(std=0.1, relative=True).terms(features, ramp(2.0, 0.1)) == (0, 0)


# properties: Fig. 1


def test_the_three_landscapes_of_the_figure() -> None:
    found = {name: functional_landscape(features) for name, features in figure_1().items()}
    assert found["discrete"].infinite == found["data set"].infinite == 0
    assert 0.5 < found["continuous"].infinite < 1
    assert found["discrete"].levels <= 2**4
    assert found["continuous"].levels == 4
    # A finer grid finds no new values between the old ones.
    fine = functional_landscape(figure_1()["discrete"], a=np.linspace(0, 1, 41), b=np.linspace(0.025, 1, 40))
    assert fine.levels <= 9
    assert fine.flat > 0.9
    finite = np.isfinite(found["continuous"].compression)
    assert (found["continuous"].precision <= found["continuous"].compression + 1e-9).all()
    assert found["continuous"].compression[finite].max() == pytest.approx(0.6881, abs=1e-4)
    assert found["data set"].compression.max() == pytest.approx(math.log(24))


def test_noise_gives_a_functional_with_a_gradient() -> None:
    features = figure_1()["data set"]
    near = {"a": [0.3, 0.3 + 1e-6], "b": [0.3, 0.3 + 1e-6]}
    assert functional_landscape(features, **near).flat == 1
    for remedy in (Noisy(std=0.1), Stochastic(std=0.1), SoftDecision()):
        found = functional_landscape(features, remedy=remedy, a=[0.3, 0.301], b=[0.3, 0.301])
        assert found.infinite == 0
        assert found.flat == 0


def test_functional_of_a_landscape() -> None:
    found = functional_landscape(figure_1()["continuous"], a=[0.3, 0.42], b=[0.1])
    assert found.functional(2.0).shape == (2, 1)
    assert found.functional(2.0)[0, 0] == math.inf
    assert found.functional(2.0)[1, 0] == pytest.approx(-0.6881, abs=1e-4)
    assert math.isnan(Landscape(found.a[:1], found.b, found.compression[:1], found.precision[:1], Unchanged()).flat)


def test_any_network_of_two_parameters() -> None:
    found = functional_landscape(
        figure_1()["discrete"],
        a=[0.5, 1.0],
        b=[0.0],
        network=lambda a, b: ReluNetwork(np.array([a]), np.array([b]), np.ones(1)),
    )
    assert found.levels == 1  # one slope, all four points apart


# refusals


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="as many ends"):
        Features.points([0.1, 0.2], [0])
    with pytest.raises(ValueError, match="low <= high"):
        Features.intervals([0.2], [0.1], [0])
    with pytest.raises(ValueError, match="whole numbers"):
        Features.points([0.1], [0.5])
    with pytest.raises(ValueError, match="sum to 1"):
        Features.points([0.1, 0.2], [0, 1], [0.5, 0.4])
    with pytest.raises(ValueError, match="one length"):
        ReluNetwork(np.ones(2), np.ones(1), np.ones(2))
    with pytest.raises(ValueError, match="increasing x"):
        ReluNetwork.through([0.0, 0.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="a must be a list"):
        functional_landscape(figure_1()["discrete"], a=[math.nan])
    with pytest.raises(ValueError, match="std=0"):
        Noisy(std=0)
    with pytest.raises(ValueError, match="precision_std=-1"):
        Noisy(std=1, precision_std=-1)
    with pytest.raises(ValueError, match="std=inf"):
        Stochastic(std=math.inf)
    with pytest.raises(ValueError, match="levels=0"):
        Quantized(levels=0)
    with pytest.raises(ValueError, match="low < high"):
        Quantized(span=(1.0, 0.0))
