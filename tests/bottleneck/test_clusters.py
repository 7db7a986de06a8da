"""Separation of clusters: hand-worked values, what it does not depend on, Gaussian clusters, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from miest.bottleneck.clusters import cluster_separation
from miest.samples import DataError

# exact


def test_two_clusters_by_hand():
    t = np.array([[0.0, 1.0], [0.0, -1.0], [10.0, 2.0], [10.0, -2.0]])
    found = cluster_separation(t, np.array([0, 0, 7, 7]))
    assert (found.distance, found.spread, found.value) == (10.0, 1.5, pytest.approx(10 / 1.5))
    assert found.centers.tolist() == [[0, 0], [10, 0]]
    assert found.classes.tolist() == [0, 7]


def test_the_distance_is_the_mean_over_pairs_and_the_spread_over_clusters_of_any_size():
    t = np.array([0.0, 2.0, 10.0, 14.0, 12.0, 12.0, 31.0, 31.0])
    found = cluster_separation(t, ["a", "a", "b", "b", "b", "b", "c", "c"])
    assert found.centers[:, 0].tolist() == [1, 12, 31]
    assert found.distance == pytest.approx((11 + 30 + 19) / 3)
    assert found.spread == pytest.approx((1 + math.sqrt(2) + 0) / 3)


# properties


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3), d=st.integers(2, 6))
def test_shift_rotation_scale_order_and_names_change_nothing(seed, scale, d):
    rng = np.random.default_rng(seed)
    t, y = rng.normal(size=(40, d)), np.arange(40) % 3
    turned = scale * t @ ortho_group.rvs(d, random_state=rng) + rng.normal(size=d)
    order = rng.permutation(40)
    moved = cluster_separation(turned[order].reshape(40, d, 1), np.array(["z", "y", "x"])[y][order])
    assert moved.value == pytest.approx(cluster_separation(t, y).value, rel=1e-9)


# truth


def test_gaussian_clusters():
    rng, d, n = np.random.default_rng(0), 5, 20_000
    y = np.arange(n) % 2
    t = rng.normal(size=(n, d)) + 6 * y[:, None] * np.eye(d)[0]
    assert cluster_separation(t, y).value == pytest.approx(6 / math.sqrt(d), rel=0.02)


# refusals


@pytest.mark.parametrize(
    ("t", "y", "match"),
    [
        ([0.0, 1.0, 2.0], [0, 0, 0], "1 classes, of which the smallest has 3 rows: pass two classes"),
        ([0.0, 1.0, 2.0], [0, 0, 1], "2 classes, of which the smallest has 1 rows"),
        ([0.0, 0.0, 2.0, 2.0], [0, 0, 1, 1], "every row is the center of its cluster"),
        ([0.0, 1.0], [0.5, 1.5], "y is continuous with 1 columns: pass one class a row"),
        ([0.0, math.nan, 1.0, 2.0], [0, 0, 1, 1], "NaN"),
    ],
)
def test_refusals(t, y, match):
    with pytest.raises(DataError, match=match):
        cluster_separation(np.array(t), np.array(y))
