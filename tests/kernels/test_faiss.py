"""faiss: k-th distances, and what an inverted file misses. The contract test checks a flat index as any other backend.

exact       float32 distances to the bit; float64 where float32 cannot tell rows apart; Euclidean distances
properties  recall grows with the cells that are looked through, and KSG says what was missed
refusals    settings, and a missing package
"""

import importlib.util

import numpy as np
import pytest
from scipy.spatial import cKDTree

import miest.estimators.ksg as ksg
from miest import KSG, TotalCorrelation
from miest.result import Flag
from miest_kernels.faiss_index import Faiss
from miest_kernels.reference import Reference
from miest_kernels.registry import neighbours, unavailable

ORACLE = Reference()


def pair(n=600, d=2, dtype=np.float64):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d))
    return x.astype(dtype), (x + rng.standard_normal((n, d))).astype(dtype)


def test_exact_float32_radii_are_the_contracts():
    blocks = list(pair(dtype=np.float32))
    for k in (1, 3, 30):
        radius = Faiss().kth_radius(blocks, k)
        assert radius.dtype == np.float32
        np.testing.assert_array_equal(radius, ORACLE.kth_radius(blocks, k))


@pytest.mark.parametrize("scale", [1e-9, 1e-300, 1.0])
def test_exact_float64_where_float32_cannot_tell_rows_apart(scale):
    rng = np.random.default_rng(1)
    centers = rng.integers(0, 4, (500, 2)).astype(np.float64)
    blocks = [(centers + 1e-9 * rng.standard_normal((500, 2))) * scale]  # hundreds of rows within one rounding
    for k in (1, 3, 20):
        radius, counts = Faiss().joint_radius_and_counts(blocks, k)
        expected = ORACLE.joint_radius_and_counts(blocks, k)
        np.testing.assert_array_equal(radius, expected[0])
        np.testing.assert_array_equal(counts, expected[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_euclidean_distances(dtype):
    (x, _) = pair(dtype=dtype)
    found = Faiss().kth_distance([x[:, :1], x[:, 1:]], 3, norm="euclidean")
    assert found.dtype == dtype
    np.testing.assert_allclose(found, cKDTree(x).query(x, [4])[0][:, 0], rtol=5e-7 if dtype == np.float32 else 1e-15)


def test_exact_oneself_is_dropped_by_index():
    block = np.repeat(np.arange(40.0), 25)[:, None]  # 24 others at distance zero, oneself rarely first among them
    assert (Faiss().kth_radius([block], 24) == 0).all()
    assert (Faiss().kth_radius([block], 25) == 1).all()
    assert (Faiss().kth_radius([block.astype(np.float32)], 25) == 1).all()


def test_properties_recall_grows_with_the_cells():
    x, y = pair(2000)
    recalls = [Faiss(index="ivf", cells=40, probes=p).recall([x, y], 3) for p in (1, 4, 40)]
    assert recalls[0] < 0.9
    assert recalls[0] < recalls[1] < recalls[2] == 1.0
    assert Faiss().recall([x, y], 3) == 1.0
    radius = Faiss(index="ivf", cells=40, probes=1).kth_radius([x, y], 3)
    assert (radius >= ORACLE.kth_radius([x, y], 3)).all()
    np.testing.assert_array_equal(
        Faiss(index="ivf", cells=40, probes=40).kth_radius([x, y], 3), ORACLE.kth_radius([x, y], 3)
    )


def test_properties_rows_with_too_few_neighbours_in_their_cells_are_searched_directly():
    x, _ = pair(200)
    radius = Faiss(index="ivf", cells=100, probes=1).kth_radius([x], 30)  # no cell has as many
    np.testing.assert_array_equal(radius, ORACLE.kth_radius([x], 30))


def test_properties_flat_is_exact_and_says_so():
    x, y = pair()
    assert neighbours("faiss").exact
    found, expected = KSG(neighbours="faiss", level=None).estimate(x, y), KSG(level=None).estimate(x, y)
    assert (found.value, found.flags) == (expected.value, ())
    assert found.diagnostics.neighbours == "faiss"
    assert "recall" not in found.diagnostics


@pytest.mark.parametrize("method", [KSG, TotalCorrelation])
def test_properties_approximate_neighbours_are_flagged_with_their_recall(method):
    x, y = pair(1500)
    arguments = (x, y) if method is KSG else (np.hstack([x, y]),)
    backend = Faiss(index="ivf", cells=40, probes=2)
    assert not backend.exact
    found = method(neighbours=backend, level=None).estimate(*arguments)
    assert found.flags == (Flag.APPROXIMATE,)
    assert 0.5 < found.diagnostics.recall < 0.99
    assert f"found {found.diagnostics.recall:.1%} of the 3 nearest" in found.notes[0]
    exact = method(level=None).estimate(*arguments)
    assert Flag.APPROXIMATE not in exact.flags
    assert found.value < exact.value - 0.02  # radii that are too large


def test_refusals(monkeypatch):
    with pytest.raises(ValueError, match="index='hnsw' is not one of 'flat', 'ivf'"):
        Faiss(index="hnsw")
    for settings in ({"probes": 0}, {"cells": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            Faiss(index="ivf", **settings)
    real = importlib.util.find_spec
    monkeypatch.setattr("miest_kernels.faiss_index.find_spec", lambda name: None if name == "faiss" else real(name))
    assert "needs faiss: pip install 'miest[faiss]'" in unavailable("faiss")


def test_exact_every_backend_of_ours_is_exact():
    x, y = pair(100)
    assert ksg.approximation(neighbours("cpu"), [x, y], 3) == ([], {})
