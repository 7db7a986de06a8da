"""Joint tables and bottlenecks of them: exact, properties, refusals."""

import math
import subprocess
import sys

import numpy as np
import pytest

from miest.bottleneck.tables import Bottleneck, encoder_of, first_critical_beta, information_of, joint_table

RNG = np.random.default_rng(0)


# exact


def test_counts_are_divided_by_their_sum() -> None:
    table = joint_table([[3, 1], [0, 4]])
    assert table.joint.tolist() == [[0.375, 0.125], [0.0, 0.5]]
    assert table.p_x.tolist() == [0.5, 0.5]
    assert table.y_given_x.tolist() == [[0.75, 0.25], [0.0, 1.0]]
    assert table.entropy_x == pytest.approx(math.log(2))
    assert joint_table(table) is table


def test_quantities_of_a_bottleneck() -> None:
    found = Bottleneck(table=joint_table(np.eye(4) / 4), encoder=encoder_of([0, 0, 1, 1]), beta=3.0)
    assert found.rate == pytest.approx(math.log(2))
    assert found.relevance == pytest.approx(math.log(2))
    assert found.entropy == pytest.approx(math.log(2))
    assert found.functional == pytest.approx(-2 * math.log(2))
    assert found.deterministic_functional == pytest.approx(-2 * math.log(2))
    assert found.is_hard
    assert found.clusters == 2
    assert found.labels.tolist() == [0, 0, 1, 1]


def test_clusters_that_say_the_same_are_one() -> None:
    table = joint_table([[0.2, 0.2], [0.3, 0.3]])
    assert Bottleneck(table=table, encoder=np.eye(2), beta=1.0).clusters == 1
    soft = Bottleneck(table=table, encoder=np.full((2, 2), 0.5), beta=1.0)
    assert not soft.is_hard
    assert soft.rate == pytest.approx(0, abs=1e-15)
    assert soft.entropy == pytest.approx(math.log(2))


@pytest.mark.parametrize("flip", [0.05, 0.2, 0.4])
def test_first_critical_beta_of_a_binary_channel(flip: float) -> None:
    table = np.array([[1 - flip, flip], [flip, 1 - flip]]) / 2
    assert first_critical_beta(table) == pytest.approx((1 - 2 * flip) ** -2)


def test_first_critical_beta_at_the_ends() -> None:
    assert first_critical_beta(np.eye(3) / 3) == pytest.approx(1)
    assert first_critical_beta(np.outer([0.3, 0.7], [0.1, 0.9])) == math.inf
    assert first_critical_beta([[0.4], [0.6]]) == math.inf


# properties


def test_a_value_that_never_occurs_changes_nothing() -> None:
    table = RNG.dirichlet(np.ones(6)).reshape(2, 3)
    wider = np.zeros((3, 4))
    wider[np.ix_([0, 2], [0, 1, 3])] = table
    assert joint_table(wider).information == pytest.approx(joint_table(table).information)
    assert first_critical_beta(wider) == pytest.approx(first_critical_beta(table))


def test_information_is_symmetric_and_of_one_kind() -> None:
    table = RNG.dirichlet(np.ones(12)).reshape(3, 4)
    entropies = sum(-(p * np.log(p)).sum() for p in (table.sum(0), table.sum(1)))
    assert information_of(table) == pytest.approx(entropies + (table * np.log(table)).sum())
    assert information_of(table.T) == pytest.approx(information_of(table))


def test_tables_gaussians_and_landscapes_need_no_torch() -> None:
    names = "information_bottleneck bottleneck_curve GaussianBottleneck functional_landscape precision_chain Noisy"
    code = f"import sys; from miest import bottleneck; [getattr(bottleneck, n) for n in {names.split()}]; "
    run = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"


# refusals


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([0.5, 0.5], "two axes"),
        (np.zeros((0, 2)), "two axes"),
        ([[0.5, -0.1], [0.3, 0.3]], "at least 0"),
        ([[0.5, math.nan], [0.3, 0.2]], "at least 0"),
        ([[0.0, 0.0]], "zero everywhere"),
        ([[0.5, 0.4]], "sums to 0.9"),
    ],
)
def test_what_is_no_table(table: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        joint_table(table)  # type: ignore[arg-type]
