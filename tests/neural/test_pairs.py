"""Where rows come from: every source gives rows to fit, to stop by and to report on, with none in two of them.

exact       pairing of x and y is kept; shapes and symbols; sizes of the parts
properties  parts are disjoint and cover; each row is reported on once; batches hold no row twice; seeds decide
refusals    what is no pair, too few rows, labels and NaN in a source, symbols without number
workflow    arrays, tensors, frames, memory maps, datasets, loaders, streams of any length, tasks, functions
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.utils.data import (  # noqa: E402
    DataLoader,
    Dataset,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import miest.neural.split as limits  # noqa: E402
from miest.neural.pairs import is_source, splits  # noqa: E402
from miest.neural.split import Split, distinct  # noqa: E402
from miest.samples import DataError, DataTypeError, continuous, discrete  # noqa: E402
from miest.tasks.gaussian import bivariate_gaussian  # noqa: E402


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large sources keep 100 rows to stop by and 500 to report on."""
    monkeypatch.setattr(limits, "_HELD", 100)


def numbered(n: int, d: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Row i of x is i, in float32; row i of y is -i."""
    x = np.repeat(np.arange(n, dtype=np.float32)[:, None], d, axis=1)
    return x, -x[:, 0]


def which(rows: tuple[torch.Tensor, torch.Tensor]) -> list[int]:
    """The numbers of the rows, which x and y agree on."""
    x, y = rows
    assert torch.equal(x.flatten(1)[:, 0], -y.flatten(1)[:, 0])
    return [int(i) for i in x.flatten(1)[:, 0]]


def checked(split: Split) -> tuple[set[int], set[int], set[int]]:
    """The three parts, none of which has a row of another, or a row twice."""
    parts = [which(rows) for rows in (split.seen, split.stop, split.report)]
    for part in parts:
        assert len(part) == len(set(part)) > 0
    seen, stop, report = (set(part) for part in parts)
    assert len(seen | stop | report) == len(seen) + len(stop) + len(report)
    return seen, stop, report


def drawn(split: Split, size: int, times: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [which(split.batch(size, generator)) for _ in range(times)]


# exact


def test_parts_of_a_fold() -> None:
    parts, n = splits(*numbered(3000), 3, 0, None)
    assert (len(parts), n) == (3, 3000)
    for split in parts:
        assert [len(rows[0]) for rows in (split.report, split.stop, split.seen)] == [1000, 240, 1760]
        assert split.shapes == ((2,), (1,))
    (one,), _ = splits(*numbered(3000), 1, 0, None)
    assert [len(rows[0]) for rows in (one.report, one.stop, one.seen)] == [750, 270, 1980]


def test_shapes_of_events_are_kept_and_symbols_become_one_hot() -> None:
    images, labels = np.zeros((90, 3, 4, 5), np.float32), np.arange(90) % 3
    split = next(iter(splits(images, labels, 3, 0, None)[0]))
    assert split.shapes == ((3, 4, 5), (3,))
    assert torch.equal(split.report[1].sum(1), torch.ones(30))
    assert torch.equal(split.report[1].argmax(1), split.report[1] @ torch.tensor([0.0, 1, 2]))
    for x, shape in (
        (continuous(np.arange(90)), (1,)),
        (discrete(np.tile([[0.5, 1.0]], (90, 1)) * labels[:, None]), (3,)),
        (torch.zeros(90, 6, 2), (6, 2)),
        (continuous(torch.zeros(90, 6, 2, dtype=torch.int64)), (6, 2)),
        (np.array(["a", "b"] * 45), (2,)),
        (pd.DataFrame({"a": np.zeros(90), "b": np.ones(90)}), (2,)),
        (pl.DataFrame({"a": np.zeros(90), "b": np.ones(90)}), (2,)),
        ([[0.0, 1.0, 2.0]] * 90, (3,)),
        (np.zeros(90, np.float16), (1,)),
        (torch.zeros(90, 3, dtype=torch.bfloat16), (3,)),
    ):
        assert next(iter(splits(x, np.arange(90.0), 3, 0, None)[0])).shapes[0] == shape


def test_mapping_reaches_every_row(small: None) -> None:
    class Shift(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1000

    (split,), _ = splits(TensorDataset(*(torch.from_numpy(a) for a in numbered(3000))), None, 3, 0, None)
    moved = split.mapped(Shift(), torch.nn.Identity())
    assert torch.equal(moved.report[0], split.report[0] + 1000)
    assert torch.equal(moved.stop[1], split.stop[1])
    one, two = (part.batch(8, torch.Generator().manual_seed(0)) for part in (split, moved))
    assert torch.equal(two[0], one[0] + 1000)


# properties


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_each_row_is_reported_on_once(folds: int, more: int, seed: int) -> None:
    n = 20 * folds + more
    parts, _ = splits(*numbered(n), folds, seed, None)
    reported: list[int] = []
    for split in parts:
        seen, stop, report = checked(split)
        assert seen | stop | report == set(range(n))
        assert len(stop) <= len(seen) * 0.6
        reported += report
    assert sorted(reported) == list(range(n))
    assert {tuple(which(split.report)) for split in splits(*numbered(n), folds, seed, None)[0]} == {
        tuple(which(split.report)) for split in parts
    }


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_rows_of_a_batch_are_distinct(n: int, size: int, seed: int) -> None:
    picked = distinct(n, size, torch.Generator().manual_seed(seed))
    assert len(picked) == min(n, size) == len(set(picked.tolist()))
    assert picked.min() >= 0
    assert picked.max() < n


@pytest.mark.parametrize(("n", "size"), [(10, 4), (100, 4)])  # both ways of drawing
def test_rows_of_a_batch_are_even(n: int, size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    rounds = 400 * n // size
    picks = torch.stack([distinct(n, size, generator) for _ in range(rounds)])
    counts = picks.flatten().bincount(minlength=n).float()
    assert (counts - 400).abs().max() < 5 * 20
    firsts = picks[:, 0].bincount(minlength=n).float()  # in random order too
    assert (firsts - 400 / size).abs().max() < 5 * (400 / size) ** 0.5


def test_batches_come_from_the_rows_to_fit() -> None:
    split = next(iter(splits(*numbered(900), 3, 0, None)[0]))
    seen, _, _ = checked(split)
    batches = drawn(split, 64, 60)
    assert all(len(set(batch)) == 64 for batch in batches)
    assert set().union(*batches) == seen
    assert drawn(split, 64, 60) == batches
    assert drawn(split, 64, 60, seed=1) != batches
    assert len(set(drawn(split, 5000, 1)[0])) == len(seen)  # no more than there are


# workflow


def sources(n: int) -> dict[str, object]:
    x, y = (torch.from_numpy(a) for a in numbered(n))

    class Rows(Dataset):
        def __len__(self) -> int:
            return n

        def __getitem__(self, i: int) -> tuple[np.ndarray, np.floating]:
            return x[i].numpy(), y[i].numpy()

    class Stream(IterableDataset):
        def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            return ((x[i : i + 70], y[i : i + 70]) for i in range(0, n, 70))

    class Batches:
        def __iter__(self) -> Iterator[list[np.ndarray]]:
            return ([x[i : i + 33].numpy(), y[i : i + 33].numpy()] for i in range(0, n, 33))

    data = TensorDataset(x, y)
    return {
        "dataset": data,
        "own dataset": Rows(),
        "loader": DataLoader(data, batch_size=16),
        "shuffling loader": DataLoader(data, batch_size=16, shuffle=True, drop_last=True),
        "loader of a stream": DataLoader(Stream(), batch_size=None),
        "stream": Stream(),
        "iterable": Batches(),
        "iterator": iter(Batches()),
        "generator": (batch for batch in Batches()),
        "loader of some rows": DataLoader(data, batch_size=50, sampler=SubsetRandomSampler(range(30, n))),
    }


@pytest.mark.parametrize("n", [150, 3000])
@pytest.mark.parametrize("name", sources(100))
def test_sources_of_pairs(name: str, n: int, small: None) -> None:
    source = sources(n)[name]
    assert is_source(source)
    before = torch.get_rng_state()
    parts, count = splits(source, None, 3, 0, None)
    assert torch.equal(torch.get_rng_state(), before)
    (split,) = parts
    assert len(parts) == 1
    seen, stop, report = checked(split)
    once = name in ("iterator", "generator")
    everything = set(range(30 if name == "loader of some rows" else 0, n))
    assert seen | stop | report <= everything
    large = len(everything) > 1100
    if not large:
        assert seen | stop | report == everything
        assert (len(stop), len(report)) == (len(everything) // 10, len(everything) // 4)
    else:
        assert len(stop) == 100
        assert 500 <= len(report) < 600
        assert 500 <= len(seen) < 600
    assert (split.draw is not None) == large
    assert count in (len(everything), len(stop) + len(report))
    batches = drawn(split, 64, 150)
    assert all(len(set(batch)) == 64 for batch in batches)
    used = set().union(*batches)
    assert not used & (stop | report)
    assert len(used) > 0.9 * len(everything - stop - report)
    if not once:
        again = next(iter(splits(source, None, 3, 0, None)[0]))
        assert which(again.report) == which(split.report)
        assert which(next(iter(splits(source, None, 3, 1, None)[0])).report) != which(split.report)


def test_a_stream_that_shuffles_is_read_once(small: None) -> None:
    x, y = numbered(2000)

    class Shuffled:
        passes = 0

        def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            self.passes += 1
            order = np.random.default_rng(self.passes).permutation(2000)
            return ((x[part], y[part]) for part in np.array_split(order, 40))

    source = Shuffled()
    (split,), _ = splits(source, None, 3, 0, None)
    _, stop, report = checked(split)
    batches = drawn(split, 64, 100)
    assert not set().union(*batches) & (stop | report)
    assert all(len(set(batch)) == 64 for batch in batches)
    assert source.passes == 2


def test_weights_of_a_sampler_are_kept(small: None) -> None:
    x, y = (torch.from_numpy(a) for a in numbered(300))
    weights = torch.cat([torch.zeros(150), torch.ones(150)])
    loader = DataLoader(
        TensorDataset(x, y), batch_size=25, sampler=WeightedRandomSampler(weights, 150, replacement=False)
    )
    (split,), _ = splits(loader, None, 3, 0, None)
    assert min(which(split.seen) + which(split.report)) >= 150


def test_large_rows_are_held_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_BYTES_RESIDENT", 11 * 200 * 4 * 101)
    (split,), _ = splits(TensorDataset(torch.zeros(2500, 100), torch.zeros(2500, 1)), None, 3, 0, None)
    assert [len(rows[0]) for rows in (split.stop, split.report, split.seen)] == [200, 625, 1000]
    assert split.draw is not None


def test_memory_maps_are_read_as_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    x, y = numbered(4000, 8)
    for name, array in (("x", x), ("y", y)):
        np.save(tmp_path / f"{name}.npy", array)
    x, y = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("x", "y"))
    whole, _ = splits(x, y, 3, 0, None)
    assert len(whole) == 3
    monkeypatch.setattr(limits, "_BYTES_RESIDENT", 100_000)
    parts, n = splits(x, y, 3, 0, None)
    assert (len(parts), n) == (1, 4000)
    (split,) = parts
    seen, stop, report = checked(split)
    assert [len(part) for part in (seen, stop, report)] == [500, 100, 500]
    batches = drawn(split, 64, 400)
    assert all(len(set(batch)) == 64 for batch in batches)
    assert not set().union(*batches) & (stop | report)
    assert len(set().union(*batches)) > 3300


def test_folds_are_made_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import miest.neural.pairs as pairs

    made = []
    real = pairs._fold
    monkeypatch.setattr(pairs, "_fold", lambda *given: made.append(1) or real(*given))
    parts, _ = splits(*numbered(300), 3, 0, None)
    assert not made
    next(iter(parts))
    assert len(made) == 1


@pytest.mark.parametrize("source", [bivariate_gaussian(0.8), lambda n, seed: bivariate_gaussian(0.8).sample(n, seed)])
def test_tasks_and_functions_never_repeat_a_row(source: object, small: None) -> None:
    (split,), n = splits(source, None, 3, 0, None)
    assert n == len(split.report[0]) == 500
    generator = torch.Generator().manual_seed(0)
    rows = torch.cat(
        [split.seen[0], split.stop[0], split.report[0], *(split.batch(64, generator)[0] for _ in range(20))]
    )
    assert len(rows.unique()) == len(rows) == 500 + 100 + 500 + 20 * 64
    again = next(iter(splits(source, None, 3, 0, None)[0]))
    assert torch.equal(again.report[0], split.report[0])
    assert torch.equal(
        again.batch(8, torch.Generator().manual_seed(4))[1], split.batch(8, torch.Generator().manual_seed(4))[1]
    )


def test_functions_get_seeds_that_any_generator_takes(small: None) -> None:
    seeds = []

    def draw(n: int, seed: int) -> tuple[np.ndarray, torch.Tensor]:
        seeds.append(seed)
        return np.random.RandomState(seed).standard_normal((n, 2)).astype(np.float16), torch.zeros(n).bfloat16()

    (split,), _ = splits(draw, None, 3, 0, None)
    x, y = split.batch(16, torch.Generator().manual_seed(0))
    assert x.dtype == y.dtype == torch.float32
    assert y.shape == (16, 1)
    assert len(set(seeds)) == len(seeds)


def test_gradients_and_read_only_arrays_stay_where_they_are(small: None) -> None:
    x = torch.arange(200.0)[:, None].requires_grad_()
    y = -np.arange(200.0, dtype=np.float32)
    y.flags.writeable = False
    (split,), _ = splits([(x, y)].__iter__(), None, 3, 0, None)
    assert not split.seen[0].requires_grad
    checked(split)


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((30, 2)),
        torch.zeros(30, 2),
        pd.DataFrame({"mi": [1.0], "sample": [2.0]}),
        pd.Series([1.0]),
        pl.DataFrame({"a": [1.0]}),
        pl.Series([1.0]),
        [[1.0], [2.0]],
        (1.0, 2.0),
        {"a": 1},
        continuous([1.0]),
        "text",
        range(5),
    ],
    ids=lambda data: type(data).__name__,
)
def test_arrays_are_no_sources(data: object) -> None:
    assert not is_source(data)


# refusals


def test_refusals_of_arrays() -> None:
    x, y = numbered(59)
    with pytest.raises(DataError, match=r"a neural estimate of 3 folds needs at least 60 samples, got 59"):
        splits(x, y, 3, 0, None)
    splits(*numbered(60), 3, 0, None)
    with pytest.raises(DataError, match=r"a neural estimate needs at least 80 samples, got 59"):
        splits(x, y, 1, 0, None)
    with pytest.raises(DataError, match=r"y has 2000 symbols, too many .* miest\.continuous"):
        splits(np.zeros(2000), np.arange(2000), 3, 0, None)
    with pytest.raises(DataError, match="x has 59 samples and y has 58"):
        splits(x, y[1:], 2, 0, None)
    with pytest.raises(DataError, match="x has 1 NaN"):
        splits(np.where(x == 3, np.nan, x)[:, :1], y, 2, 0, None)


def test_refusals_of_sources() -> None:
    ones = torch.ones(99, 1)
    with pytest.raises(DataError, match="a dataset of 99 pairs cannot be split in three: pass at least 100"):
        splits(TensorDataset(ones, ones), None, 3, 0, None)
    with pytest.raises(DataError, match="a stream of 99 pairs cannot be split in three: pass at least 100"):
        splits(iter([(ones, ones)]), None, 3, 0, None)
    with pytest.raises(DataError, match="a stream of 0 pairs"):
        splits(iter([]), None, 3, 0, None)
    with pytest.raises(DataTypeError, match=r"a source of pairs gave a list of 3, not \(x, y\)"):
        splits(TensorDataset(*[torch.ones(200, 1)] * 3), None, 3, 0, None)
    with pytest.raises(DataTypeError, match=r"a source of pairs gave a Tensor, not \(x, y\)"):
        splits(iter([ones]), None, 3, 0, None)
    with pytest.raises(DataTypeError, match=r"y of a batch is torch.int64: .*one_hot\(labels, classes\)"):
        splits(TensorDataset(torch.ones(200, 1), torch.ones(200).long()), None, 3, 0, None)
    with pytest.raises(DataError, match=r"x of shape \(99, 1\) and y of shape \(98, 1\): row i of each"):
        splits(iter([(ones, ones[1:])]), None, 3, 0, None)
    with pytest.raises(DataError, match="x of a batch holds NaN or infinity"):
        splits(iter([(ones / 0, ones)]), None, 3, 0, None)
    twice = WeightedRandomSampler(torch.ones(200), 200)
    loader = DataLoader(TensorDataset(torch.ones(200, 1), torch.ones(200, 1)), sampler=twice)
    with pytest.raises(DataError, match="WeightedRandomSampler draws rows more than once"):
        splits(loader, None, 3, 0, None)
