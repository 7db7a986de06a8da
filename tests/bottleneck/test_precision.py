"""The chain of bounds on I(Y;L): exact, properties, truth, refusals."""

import math

import numpy as np
import pytest

from miest.bottleneck.precision import precision_bounds, precision_chain
from miest.result import Flag


def random_chain(seed: int, *, deterministic: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    decoder = np.eye(3)[rng.integers(3, size=5)] if deterministic else rng.dirichlet(np.ones(3), 5)
    return rng.dirichlet(np.ones(20)).reshape(5, 4), decoder, rng.dirichlet(np.ones(4), 3)


# exact


def test_a_perfect_chain_loses_nothing() -> None:
    found = precision_chain(np.eye(3) / 3, np.eye(3), np.eye(3))
    assert found.bound == found.output_bound == pytest.approx(math.log(3))
    assert found.lost_by_decoder == found.lost_by_rule == pytest.approx(0, abs=1e-12)


def test_a_decoder_that_joins_two_values_by_hand() -> None:
    found = precision_chain(np.eye(2) / 2, [[1.0], [1.0]], [[0.5, 0.5]])
    assert found.representation == pytest.approx(math.log(2))
    assert found.output == found.output_bound == pytest.approx(0, abs=1e-15)
    assert found.lost_by_decoder == pytest.approx(math.log(2))


def test_what_was_thought_impossible() -> None:
    found = precision_chain(np.eye(2) / 2, np.eye(2), [[0.0, 1.0], [0.0, 1.0]])
    assert found.output_bound == found.bound == -math.inf


def test_samples_by_hand() -> None:
    found = precision_bounds([0, 1, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.5, 0.5]])
    losses = -np.log([0.9, 0.8, 0.5, 0.5])
    assert found.output.diagnostics.cross_entropy == pytest.approx(losses.mean())
    assert found.representation.value == pytest.approx(found.output.value)
    assert found.output.kind == "lower bound"
    assert found.output.diagnostics.stderr == pytest.approx(losses.std(ddof=1) / 2)


# properties


@pytest.mark.parametrize("seed", range(20))
def test_every_step_of_the_chain(seed: int) -> None:
    found = precision_chain(*random_chain(seed))
    assert found.representation >= found.output - 1e-12
    assert found.output >= found.output_bound - 1e-12
    assert found.representation >= found.bound - 1e-12
    assert found.cross_entropy <= found.output_cross_entropy + 1e-12
    assert found.representation - found.output_bound == pytest.approx(found.lost_by_decoder + found.lost_by_rule)


@pytest.mark.parametrize("seed", range(5))
def test_a_deterministic_decoder_has_one_cross_entropy(seed: int) -> None:
    found = precision_chain(*random_chain(seed, deterministic=True))
    assert found.cross_entropy == pytest.approx(found.output_cross_entropy)


def test_the_best_rule_misses_nothing() -> None:
    table, decoder, _ = random_chain(0)
    output = decoder.T @ table
    found = precision_chain(table, decoder, output / output.sum(1)[:, None])
    assert found.lost_by_rule == pytest.approx(0, abs=1e-12)


# truth


def test_samples_agree_with_the_table() -> None:
    table, decoder, rule = random_chain(3)
    truth = precision_chain(table, decoder, rule)
    rng = np.random.default_rng(0)
    n, k = 20_000, 60
    layer, labels = np.unravel_index(rng.choice(table.size, n, p=table.ravel()), table.shape)
    outputs = (rng.random((n, k, 1)) > decoder.cumsum(1)[layer][:, None]).sum(2)
    found = precision_bounds(labels, rule[np.minimum(outputs, 2)])
    assert found.output.value == pytest.approx(truth.output_bound, abs=4 * found.output.diagnostics.stderr + 0.005)
    assert found.representation.value == pytest.approx(truth.bound, abs=4 * found.output.diagnostics.stderr + 0.01)
    assert found.representation.value >= found.output.value
    assert found.output.diagnostics.outputs == k
    low, high = found.output.interval
    assert low < found.output.value < high


# refusals


def test_what_cannot_be() -> None:
    table, decoder, rule = random_chain(1)
    with pytest.raises(ValueError, match="decoder of 5 values"):
        precision_chain(table, decoder[:3], rule)
    with pytest.raises(ValueError, match=r"rule has shape \(3, 4\)"):
        precision_chain(table, decoder, np.full((2, 4), 0.25))
    with pytest.raises(ValueError, match="not its logits"):
        precision_bounds([0, 1], [[2.0, -1.0], [0.5, 0.5]])
    with pytest.raises(ValueError, match="from 0 to 1"):
        precision_bounds([0, 2], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(ValueError, match="shape"):
        precision_bounds([0], np.ones((1, 1, 1, 1)))
    with pytest.raises(ValueError, match="samples"):
        precision_bounds([0, 1, 1], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(ValueError, match="level=2"):
        precision_bounds([0, 1], [[0.5, 0.5], [0.5, 0.5]], level=2)


def test_an_infinite_cross_entropy_is_flagged() -> None:
    labels = np.arange(200) % 2
    predicted = np.where(labels[:, None] == [0, 1], 0.9, 0.1)
    assert precision_bounds(labels, predicted).output.flags == ()
    predicted[0] = [0.0, 1.0]
    found = precision_bounds(labels, predicted).output
    assert Flag.UNBOUNDED_VARIANCE in found.flags
    assert found.value == -math.inf
    assert found.interval is None
