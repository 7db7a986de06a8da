"""Hard clusters of a joint table, by moves and by mergers: exact, properties, truth, refusals."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from miest.bottleneck.agglomerative import agglomerate
from miest.bottleneck.curve import bottleneck_curve
from miest.bottleneck.deterministic import deterministic_bottleneck
from miest.bottleneck.discrete import information_bottleneck
from miest.bottleneck.tables import Bottleneck, encoder_of, joint_table

TWO_GROUPS = np.array([[9, 1], [8, 2], [1, 9], [2, 8], [9, 1]])


def random_table(n_x: int, n_y: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(n_x * n_y, 0.7)).reshape(n_x, n_y)


def partitions(n: int) -> Iterator[list[int]]:
    """Every way to put n things into clusters."""

    def more(labels: list[int], used: int) -> Iterator[list[int]]:
        if len(labels) == n:
            yield labels
            return
        for label in range(used + 1):
            yield from more([*labels, label], max(used, label + 1))

    yield from more([], 0)


# exact


def test_alike_rows_share_a_cluster() -> None:
    found = deterministic_bottleneck(TWO_GROUPS, 6.0)
    assert found.is_hard
    assert found.clusters == 2
    assert found.labels[0] == found.labels[1] == found.labels[4] != found.labels[2] == found.labels[3]
    assert found.rate == pytest.approx(found.entropy)


def test_mergers_lose_least_first() -> None:
    tree = agglomerate(TWO_GROUPS)
    assert tree.mergers[0] == (0, 4)  # equal rows lose nothing
    assert tree.clusters == (5, 4, 3, 2, 1)
    assert tree.labels(2).tolist() == [0, 0, 1, 1, 0]
    assert tree.labels(5).tolist() == [0, 1, 2, 3, 4]
    assert tree.relevances[0] == pytest.approx(joint_table(TWO_GROUPS).information)
    assert tree.relevances[-1] == pytest.approx(0, abs=1e-15)
    assert tree.rates[-1] == pytest.approx(0, abs=1e-15)
    assert tree.bottleneck(2).relevance == pytest.approx(tree.relevances[3])


def test_a_merger_loses_what_its_formula_says() -> None:
    table = random_table(4, 3, 0)
    tree = agglomerate(table)
    (i, j), p = tree.mergers[0], table.sum(1)
    rows, weights = table / p[:, None], p[[i, j]] / (p[i] + p[j])
    middle = weights[0] * rows[i] + weights[1] * rows[j]
    shannon = sum(w * (rows[k] * np.log(rows[k] / middle)).sum() for w, k in zip(weights, (i, j), strict=True))
    assert tree.relevances[0] - tree.relevances[1] == pytest.approx((p[i] + p[j]) * shannon)


# truth


@pytest.mark.parametrize("seed", range(25))
def test_beside_all_partitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_x, n_y, beta = int(rng.integers(2, 7)), int(rng.integers(2, 5)), float(rng.uniform(1, 12))
    table = rng.dirichlet(np.full(n_x * n_y, rng.choice([0.2, 1.0]))).reshape(n_x, n_y)
    checked = joint_table(table)
    best = min(
        Bottleneck(table=checked, encoder=encoder_of(labels), beta=beta).deterministic_functional
        for labels in partitions(n_x)
    )
    assert deterministic_bottleneck(table, beta).deterministic_functional == pytest.approx(best, abs=1e-10)


# properties


def test_the_curve_has_hard_clusters_only() -> None:
    curve = bottleneck_curve(random_table(7, 4, 1), deterministic=True)
    assert curve.deterministic
    assert all(point.is_hard for point in curve)
    assert curve.rates == pytest.approx([point.entropy for point in curve])
    assert curve.relevances[-1] == pytest.approx(curve.table.information)


def test_soft_clusters_are_better_at_their_own_functional_and_worse_at_the_other() -> None:
    table = random_table(6, 4, 2)
    hard, soft = deterministic_bottleneck(table, 6.0), information_bottleneck(table, 6.0)
    assert not soft.is_hard
    assert soft.functional <= hard.functional
    assert hard.deterministic_functional <= soft.deterministic_functional


def test_few_clusters_and_values_that_never_occur() -> None:
    table = np.insert(random_table(6, 4, 3), 2, 0.0, axis=0)
    found = deterministic_bottleneck(table, 50.0, clusters=3)
    assert found.clusters == 3
    assert found.is_hard
    assert deterministic_bottleneck(table, 0.0).clusters == 1


def test_a_tree_for_a_beta_weighs_the_rate() -> None:
    table = random_table(8, 4, 4)
    plain, weighed = agglomerate(table), agglomerate(table, beta=2.0)
    values = [(tree.rates - 2.0 * tree.relevances)[:-1].min() for tree in (plain, weighed)]
    assert values[1] <= values[0] + 1e-12


# refusals


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="clusters=0"):
        deterministic_bottleneck(TWO_GROUPS, 2, clusters=0)
    with pytest.raises(ValueError, match="restarts=-1"):
        deterministic_bottleneck(TWO_GROUPS, 2, restarts=-1)
    with pytest.raises(ValueError, match="beta=nan"):
        agglomerate(TWO_GROUPS, beta=math.nan)
    with pytest.raises(ValueError, match="clusters=6"):
        agglomerate(TWO_GROUPS).labels(6)
