"""Every backend against the oracle.

exact       counts and radii equal the reference bit for bit in float64, on data chosen to break them
properties  permutation of rows, read-only input
refusals    every raise of the contract and the registry
"""

import json
from pathlib import Path

import numpy as np
import pytest
from cuda_shim import Shim

from miest_kernels import BACKENDS, neighbours, registry
from miest_kernels.contract import Neighbours
from miest_kernels.cuda import Cuda
from miest_kernels.reference import Reference

ORACLE = Reference()
SHIM = Shim()
# The CUDA sources run twice: on a device where there is one, and everywhere on the processor.
ALL = [*(pytest.param(n, marks=pytest.mark.gpu) if n == "cuda" else n for n in BACKENDS), "cuda on the processor"]
OTHERS = [name for name in ALL if name != "reference"]


def backend_of(name: str) -> Neighbours:
    return Cuda(device=SHIM) if name == "cuda on the processor" else neighbours(name)


def data(case: str, n: int = 400, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, 1)), rng.standard_normal((n, 2))
    match case:
        case "random":
            pass
        case "tied":
            x, y = np.round(x, 1), np.round(y, 1)
        case "integers":
            x, y = rng.integers(0, 4, (n, 1)) + 0.0, rng.integers(0, 4, (n, 2)) + 0.0
        case "constant":
            x = np.full((n, 1), 0.1)
        case "all constant":
            x, y = np.full((n, 1), 0.1), np.full((n, 2), -3.0)
        case "duplicated":
            x, y = np.repeat(x[: n // 4], 4, axis=0), np.repeat(y[: n // 4], 4, axis=0)
        case "shifted":
            x, y = x + 1e6, y - 1e6
        case "tiny":
            x, y = x * 1e-300, y * 1e-300
        case "heavy tails":
            x, y = rng.standard_cauchy((n, 1)), rng.standard_cauchy((n, 2)) ** 3
        case "sorted":
            x = np.sort(x, axis=0)
            y = np.hstack([x, -x])
        case "equal":
            y = np.hstack([x, x])
        case "grid":  # the joint distances tie in bulk and the sums round
            x = (rng.integers(0, 10, (n, 1)) + 0.0) / 10
            y = (rng.integers(0, 10, (n, 2)) + 0.0) / 10
        case "wide":
            x, y = rng.standard_normal((n, 70)), rng.standard_normal((n, 3))
        case "signed zeros":
            x = np.where(rng.random((n, 1)) < 0.5, 0.0, -0.0)
    return [np.ascontiguousarray(x), np.ascontiguousarray(y)]


CASES = [
    "random", "tied", "integers", "constant", "all constant", "duplicated", "shifted", "tiny",
    "heavy tails", "sorted", "equal", "grid", "wide", "signed zeros",
]  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [1, 3, 20])
def test_float64_equals_the_reference(name: str, case: str, k: int) -> None:
    backend, blocks = backend_of(name), data(case)
    radius, counts = backend.joint_radius_and_counts(blocks, k)
    expected_radius, expected_counts = ORACLE.joint_radius_and_counts(blocks, k)
    np.testing.assert_array_equal(radius, expected_radius)
    np.testing.assert_array_equal(counts, expected_counts)
    np.testing.assert_array_equal(backend.kth_radius(blocks, k), expected_radius)
    for block in blocks:
        for closed in (False, True):
            np.testing.assert_array_equal(
                backend.count_within(block, radius, closed=closed),
                ORACLE.count_within(block, radius, closed=closed),
            )
    np.testing.assert_array_equal(backend.reach_within(blocks, radius), ORACLE.reach_within(blocks, radius))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("n", [2, 3, 5, 17, 64, 65, 257, 1000])
@pytest.mark.parametrize("dims", [(1, 1), (1,), (2, 3), (4, 1, 2)])
def test_any_size_and_number_of_blocks(name: str, n: int, dims: tuple[int, ...]) -> None:
    rng = np.random.default_rng(n)
    blocks = [rng.standard_normal((n, d)) for d in dims]
    k = min(3, n - 1)
    for ours, expected in zip(
        backend_of(name).joint_radius_and_counts(blocks, k),
        ORACLE.joint_radius_and_counts(blocks, k),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("case", ["random", "integers", "wide", "heavy tails", "duplicated"])
def test_float32_counts_lie_within_one_rounding_of_the_radius(name: str, case: str) -> None:
    blocks = [block.astype(np.float32) for block in data(case)]
    radius, counts = backend_of(name).joint_radius_and_counts(blocks, 3)
    assert radius.dtype == np.float32
    exact = [block.astype(np.float64) for block in blocks]
    np.testing.assert_allclose(radius, ORACLE.kth_radius(exact, 3), rtol=2e-7)
    wide = radius.astype(np.float64)
    for block, count in zip(exact, counts, strict=True):
        assert (count >= ORACLE.count_within(block, wide * (1 - 3e-7))).all()
        assert (count <= ORACLE.count_within(block, wide * (1 + 3e-7), closed=True)).all()


@pytest.mark.parametrize("name", ALL)
def test_row_order_changes_nothing(name: str) -> None:
    blocks = data("tied")
    order = np.random.default_rng(1).permutation(len(blocks[0]))
    radius, counts = backend_of(name).joint_radius_and_counts(blocks, 3)
    shuffled, shuffled_counts = backend_of(name).joint_radius_and_counts([b[order] for b in blocks], 3)
    np.testing.assert_array_equal(shuffled, radius[order])
    np.testing.assert_array_equal(shuffled_counts, counts[:, order])


@pytest.mark.parametrize("name", ALL)
def test_input_may_be_read_only(name: str) -> None:
    blocks = data("random")
    for block in blocks:
        block.flags.writeable = False
    radius, _ = backend_of(name).joint_radius_and_counts(blocks, 3)
    radius.flags.writeable = False
    backend_of(name).count_within(blocks[0], radius)
    backend_of(name).reach_within(blocks, radius)


@pytest.mark.parametrize("name", ALL)
def test_radius_zero_and_below_and_infinite(name: str) -> None:
    block = np.array([[0.0], [0.0], [1.0]])
    count = backend_of(name).count_within
    assert count(block, np.zeros(3)).tolist() == [0, 0, 0]
    assert count(block, np.zeros(3), closed=True).tolist() == [1, 1, 0]
    assert count(block, np.full(3, -1.0)).tolist() == [0, 0, 0]
    assert count(block, np.full(3, -1.0), closed=True).tolist() == [0, 0, 0]
    assert count(block, np.full(3, np.inf)).tolist() == [2, 2, 2]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("blocks", "k", "message"),
    [
        ([], 1, "no blocks"),
        ([np.zeros((3, 1)), np.zeros((4, 1))], 1, "n=3"),
        ([np.zeros((3, 1)), np.zeros((3, 1), np.float32)], 1, "share"),
        ([np.zeros((3, 1), np.int64)], 1, "float32 or float64"),
        ([np.zeros((3, 1))], 3, "k=3 needs at least 4 rows"),
        ([np.zeros((3, 1))], 0, "k=0"),
        ([np.zeros((3, 0))], 1, "d >= 1"),
    ],
)
def test_broken_contract_raises(name: str, blocks: list[np.ndarray], k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backend_of(name).joint_radius_and_counts(blocks, k)


def test_unknown_backend_raises_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'kdtree'"):
        neighbours("annoy")


def test_auto_picks_the_tree_in_few_dimensions_only() -> None:
    assert neighbours("auto", n=10_000, d=2).name == "tree"
    assert neighbours("auto", n=10_000, d=64).name == "cpu"


def test_auto_takes_what_the_benchmark_found_quicker() -> None:
    results = Path(__file__).parents[2] / "kernels" / "bench" / "results" / "costs.json"
    found = json.loads(results.read_text(encoding="utf-8"))
    assert {name: list(costs) for name, costs in registry.COSTS.items()} == found["costs"]
    timed = {(n, d): {} for _, n, d, _ in found["cells"]}
    for name, n, d, seconds in found["cells"]:
        timed[n, d][name] = seconds
    both = {cell: each for cell, each in timed.items() if len(each) == 2}
    lost = [each[registry._choice(*cell, False)] / min(each.values()) for cell, each in both.items()]
    assert len(lost) > 20
    assert max(lost) < 1.5  # near the crossing the model may take the other one


def test_rows_that_cannot_be_numbered_are_refused() -> None:
    block = np.broadcast_to(np.zeros((1, 1)), (2**31, 1))
    with pytest.raises(ValueError, match="2,147,483,648 rows are more than"):
        neighbours("tree").kth_radius([block], 1)
