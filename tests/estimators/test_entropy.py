"""Kozachenko-Leonenko entropy: exact equivariance, truth on Gaussians and uniforms, refusals."""

import numpy as np
import pytest
from scipy.special import digamma

from miest import Flag, KozachenkoLeonenko


def test_by_hand() -> None:
    # Nearest others at 1, 1, 2: h = psi(3) - psi(1) + mean ln(2 r)
    expected = digamma(3) - digamma(1) + np.mean(np.log([2, 2, 4]))
    assert KozachenkoLeonenko(k=1).estimate(np.array([0.0, 1, 3])).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_gaussian(d: int) -> None:
    values = []
    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal((2_000, d))
        values.append(KozachenkoLeonenko().estimate(x).value)
    truth = 0.5 * d * np.log(2 * np.pi * np.e)
    assert abs(np.mean(values) - truth) < 4 * np.std(values, ddof=1) / np.sqrt(20) + 0.01 * d


def test_uniform_has_entropy_zero() -> None:
    values = [KozachenkoLeonenko().estimate(np.random.default_rng(s).random(2_000)).value for s in range(20)]
    assert abs(np.mean(values)) < 4 * np.std(values, ddof=1) / np.sqrt(20) + 0.002


def test_units_shift_the_value_by_their_logarithm() -> None:
    x = np.random.default_rng(0).standard_normal((300, 2))
    base = KozachenkoLeonenko().estimate(x).value
    scaled = KozachenkoLeonenko().estimate(x * [1e6, 1e-3] + [5, -7]).value
    assert scaled == pytest.approx(base + np.log(1e3), abs=1e-6)
    assert KozachenkoLeonenko().estimate(x[::-1]).value == pytest.approx(base, abs=1e-12)


def test_flags() -> None:
    rng = np.random.default_rng(0)
    assert Flag.HIGH_DIMENSION in KozachenkoLeonenko().estimate(rng.standard_normal((300, 20))).flags
    assert Flag.TIES in KozachenkoLeonenko().estimate(np.repeat(rng.standard_normal(300), 2)).flags
    assert Flag.DISCRETE in KozachenkoLeonenko().estimate(rng.permutation(300)).flags
    assert KozachenkoLeonenko().estimate(rng.standard_normal(300)).ok


def test_refusals() -> None:
    x = np.random.default_rng(0).standard_normal(20)
    with pytest.raises(ValueError, match=r"columns \[1\] of x do not vary"):
        KozachenkoLeonenko().estimate(np.column_stack([x, np.ones(20)]))
    with pytest.raises(ValueError, match="repeated more than k=3 times"):
        KozachenkoLeonenko().estimate(np.r_[x, np.zeros(5)])
    with pytest.raises(ValueError, match="takes one argument"):
        KozachenkoLeonenko().estimate(x, x)
    with pytest.raises(ValueError, match="cannot condition"):
        KozachenkoLeonenko().estimate(x, given=x)
    with pytest.raises(ValueError, match="k=-1"):
        KozachenkoLeonenko(k=-1)
