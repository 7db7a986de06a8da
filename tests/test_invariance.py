"""README's table of what may change a value, and by how much, checked line by line."""

import numpy as np
import pytest

from miest import KDE, KSG, Binning, Gaussian, GaussianCopula, MixedKSG, Ross
from miest.estimators.estimator import Estimator

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2_000, 2))
Y = 0.7 * X[:, :1] + RNG.standard_normal((2_000, 1))
LABELS = (Y[:, 0] > 0) + (X[:, 1] > 0) * 1
ORDER = RNG.permutation(2_000)

NEIGHBOURS: list[Estimator] = [
    KSG(level=None, checks=False),
    KSG(variant=2, level=None, checks=False),
    MixedKSG(level=None, checks=False),
]
SMOOTH: list[Estimator] = [Gaussian(), GaussianCopula()]


@pytest.mark.parametrize("estimator", [*NEIGHBOURS, *SMOOTH, Binning()])
def test_of_two_continuous_samples(estimator: Estimator) -> None:
    value = estimator.estimate(X, Y).value
    assert estimator.estimate(Y, X).value == value
    reordered = estimator.estimate(X[ORDER], Y[ORDER]).value
    assert reordered == (value if estimator in NEIGHBOURS else pytest.approx(value, abs=1e-9))
    assert estimator.estimate(X * 1e6 + 1e6, Y * 1e-6).value == pytest.approx(value, abs=1e-6)
    single = estimator.estimate(X.astype(np.float32), Y.astype(np.float32)).value
    assert single == pytest.approx(value, abs=0.01 if estimator in NEIGHBOURS else 1e-3)


@pytest.mark.parametrize("estimator", [NEIGHBOURS[2], Ross(level=None), KDE(noise_var=0.1)])
def test_of_labels(estimator: Estimator) -> None:
    value = estimator.estimate(X, LABELS).value
    assert estimator.estimate(LABELS, X).value == value
    reordered = estimator.estimate(X[ORDER], LABELS[ORDER]).value
    assert reordered == (pytest.approx(value, abs=1e-9) if isinstance(estimator, KDE) else value)
    assert estimator.estimate(X.astype(np.float32), LABELS).value == pytest.approx(value, abs=0.01)


def test_integers_and_the_same_numbers_as_floats() -> None:
    counts = np.round(Y * 1e6).astype(np.int64)
    assert NEIGHBOURS[0].estimate(X, counts).value == NEIGHBOURS[0].estimate(X, counts + 0.0).value
    mixed = NEIGHBOURS[2]
    assert mixed.estimate(X, LABELS).value == pytest.approx(mixed.estimate(X, LABELS + 0.0).value, abs=0.01)
