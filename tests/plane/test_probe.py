"""The probe set: all forms that it may have, the same rows whatever the loader does, and nobody's random numbers."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from miest.plane.inputs import mapped
from miest.plane.probe import ProbeSet, probe_set
from miest.plane.recorder import Recorder
from miest.samples import DataError

X = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
Y = np.arange(30) % 5
PAIRS = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
WHOLE = probe_set((X, Y), None, 0)


class Noisy(Dataset[Any]):
    """Every reading is another one, as with random crops."""

    def __len__(self) -> int:
        return 30

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        noise = np.random.normal() + random.random()  # noqa: NPY002
        return torch.from_numpy(X[i]) + torch.randn(4) + noise, int(Y[i])


class Stream(IterableDataset[Any]):
    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        for i in range(self.rows):
            yield X[i % 30], Y[i % 30]


def same(one: ProbeSet, other: ProbeSet) -> bool:
    np.testing.assert_array_equal(one.inputs(), other.inputs())
    np.testing.assert_array_equal(one.labels, other.labels)
    return one.hash == other.hash


# Exact


@pytest.mark.parametrize(
    "probe",
    [
        (torch.from_numpy(X), torch.from_numpy(Y)),
        (X, list(Y)),
        (pd.DataFrame(X), pd.Series(Y)),
        PAIRS,
        Subset(PAIRS, range(30)),
        list(zip(X, Y, strict=True)),
        DataLoader(PAIRS, batch_size=7, shuffle=True, drop_last=True),
        DataLoader(PAIRS, batch_size=7, sampler=SubsetRandomSampler(range(30))),
        DataLoader(PAIRS, batch_sampler=BatchSampler(range(30), 4, drop_last=False)),
        DataLoader(PAIRS, batch_size=None),
        Stream(30),
        DataLoader(Stream(30), batch_size=8),
    ],
    ids=lambda probe: type(probe).__name__,
)
def test_every_form_gives_the_same_probe_set(probe: Any) -> None:
    if isinstance(probe, DataLoader) and probe.batch_size is None and probe.batch_sampler is None:
        probe = DataLoader(TensorDataset(torch.from_numpy(X)[None], torch.from_numpy(Y)[None]), batch_size=None)
    assert same(probe_set(probe, None, 0), WHOLE)


def test_inputs_alone_and_several_inputs() -> None:
    for probe in (X, torch.from_numpy(X), X.tolist(), (X, None), (X,), TensorDataset(torch.from_numpy(X))):
        found = probe_set(probe, None, 0)
        assert found.labels is None
        np.testing.assert_array_equal(found.inputs(), X)
    two = probe_set(((X, X[:, :1]), Y), None, 0)
    np.testing.assert_array_equal(two.inputs()[1], X[:, :1])
    for probe in (
        {"a": X, "mask": None, "labels": Y},
        ({"a": X, "mask": None}, Y),
        [{"a": x, "labels": y} for x, y in zip(X, Y, strict=True)],
    ):
        found = probe_set(probe, None, 0)
        np.testing.assert_array_equal(found.inputs()["a"], X)
        np.testing.assert_array_equal(found.labels, Y)
        assert "labels" not in found.inputs()


def test_models_are_called_by_name_by_place_or_as_told() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, a: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
            return self.fc(a if b is None else a + b)

    model, twice = Two(), torch.from_numpy(2 * X)
    expected = model.fc(twice).detach().numpy()
    for probe in ({"b": X, "a": X}, ((X, X), None), {"a": 2 * X, "b": None}):
        np.testing.assert_array_equal(Recorder(model, probe=probe).snapshot(0).load("fc"), expected)
    told = Recorder(model, probe=X, forward=lambda model, x: model(x, b=x))
    np.testing.assert_array_equal(told.snapshot(0).load("fc"), expected)


def test_arrays_take_the_models_float_type_and_tensors_keep_theirs() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        seen = []
        model = nn.Sequential(nn.Linear(4, 2)).to(dtype)
        model.register_forward_pre_hook(lambda _, x, seen=seen: seen.append(x[0].dtype))
        Recorder(model, probe=X).snapshot(0)
        assert set(seen) == {dtype}
    with pytest.raises(RuntimeError, match="dtype"):
        Recorder(model, probe=torch.from_numpy(X)).snapshot(0)
    ids = np.arange(30, dtype=np.int32).reshape(10, 3)
    assert Recorder(nn.Sequential(nn.Embedding(30, 2)), probe=ids).snapshot(0).shapes == {"0": (10, 3, 2)}


def test_the_sample_is_fixed_by_the_seed() -> None:
    probes = [(X, Y), PAIRS, DataLoader(PAIRS, batch_size=4, shuffle=True), DataLoader(PAIRS, 4, sampler=range(30))]
    first = probe_set((X, Y), 12, 7)
    assert first.n == 12
    rows = [int(np.flatnonzero((row == X).all(1))[0]) for row in first.inputs()]
    assert rows == sorted(set(rows))
    np.testing.assert_array_equal(first.labels, Y[rows])
    for probe in probes:
        assert same(probe_set(probe, 12, 7), first)
        assert probe_set(probe, 12, 8).hash != first.hash


def test_a_loader_gives_only_what_its_sampler_has() -> None:
    loader = DataLoader(PAIRS, batch_size=4, sampler=SubsetRandomSampler([20, 3, 4]))
    np.testing.assert_array_equal(probe_set(loader, None, 0).inputs(), X[[3, 4, 20]])
    loader = DataLoader(PAIRS, batch_size=4, sampler=WeightedRandomSampler([0.0] * 25 + [1.0] * 5, 40))
    found = probe_set(loader, 16, 0)
    assert found.n == 16
    assert set(found.labels) <= set(Y[25:])


def test_streams_may_be_endless() -> None:
    found = probe_set(Stream(10**9), 41, 0)
    np.testing.assert_array_equal(found.inputs(), X[np.arange(41) % 30])
    assert same(probe_set(DataLoader(Stream(10**9), batch_size=8), 41, 0), found)


def test_random_rows_are_read_once_and_always_the_same() -> None:
    found = probe_set(Noisy(), 12, 0)
    assert same(probe_set(Noisy(), 12, 0), found)
    assert probe_set(Noisy(), 12, 1).hash != found.hash


def test_reading_moves_no_random_stream() -> None:
    own = torch.Generator().manual_seed(5)
    weighted = WeightedRandomSampler([1.0] * 30, 30, generator=own)
    probes = [Noisy(), DataLoader(Noisy(), shuffle=True, generator=own), DataLoader(Noisy(), sampler=weighted)]
    before = [torch.get_rng_state(), own.get_state(), torch.tensor(np.random.get_state()[2])]  # noqa: NPY002
    python = random.getstate()
    for probe in probes:
        probe_set(probe, 12, 0)
    after = [torch.get_rng_state(), own.get_state(), torch.tensor(np.random.get_state()[2])]  # noqa: NPY002
    assert all(map(torch.equal, before, after))
    assert random.getstate() == python


def test_the_hash_tells_inputs_labels_types_and_shapes_apart(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    other = X.copy()
    other[29, 3] += 1e-6
    assert probe_set((np.load(tmp_path / "x.npy", mmap_mode="r"), Y), None, 0).hash == WHOLE.hash
    probes = [(other, Y), X, (X, Y[::-1]), (X.reshape(30, 2, 2), Y), (X.astype(float), Y), ({"x": X}, Y), (X[::-1], Y)]
    hashes = {probe_set(probe, None, 0).hash for probe in probes}
    assert len(hashes | {WHOLE.hash}) == len(probes) + 1
    half = torch.from_numpy(X).bfloat16()
    assert probe_set(half, None, 0).hash == probe_set(half.clone(), None, 0).hash
    np.testing.assert_array_equal(probe_set(half, None, 0).inputs(), half.float())


def test_memory_maps_stay_in_their_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    mapped_x = np.load(tmp_path / "x.npy", mmap_mode="r")
    (block,) = probe_set(mapped_x, None, 0).blocks
    assert np.shares_memory(block, mapped_x)
    assert not np.shares_memory(probe_set(X, None, 0).blocks[0], X)
    assert Recorder(nn.Sequential(nn.ReLU(inplace=True)), probe=mapped_x).snapshot(0).n == 30


def test_labels_keep_their_kind() -> None:
    assert probe_set((X, [f"class {y}" for y in Y]), 3, 0).labels.dtype.kind == "U"
    assert probe_set((X, Y.astype(float)), 3, 0).labels.dtype == float
    assert probe_set((X, torch.nn.functional.one_hot(torch.from_numpy(Y))), 3, 0).labels.shape == (3, 5)


def test_batches_are_the_rows_in_order() -> None:
    starts, batches = zip(*WHOLE.batches(8), strict=True)
    assert starts == (0, 8, 16, 24)
    np.testing.assert_array_equal(np.concatenate(batches), X)
    assert mapped({"a": (1, [2, None])}, lambda leaf: leaf + 1) == {"a": (2, (3, None))}


# Refusals


@pytest.mark.parametrize(
    ("probe", "n", "error", "text"),
    [
        (PAIRS, 31, DataError, "has 30 rows, and 31 are needed"),
        (X[:1], None, DataError, "has 1 rows, and 2 are needed"),
        (Stream(3), 5, DataError, "has 3 rows, and 5 are needed"),
        (X, 2.5, ValueError, "n=2.5 must be an integer"),
        (TensorDataset(*[torch.from_numpy(X)] * 3), None, TypeError, "gives 3 parts.*give .inputs, labels."),
        ((X, Y[:7]), None, DataError, "30 inputs and 7 labels"),
        ((X, np.full(30, np.nan)), None, DataError, "labels has 30 NaN"),
        ({}, None, DataError, "no inputs with samples on axis 0"),
        ([], None, TypeError, "a list of 0 arrays"),
        (3, None, TypeError, r"probe is a int: pass \(x, y\)"),
    ],
)
def test_what_is_no_probe_is_refused(probe: Any, n: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        probe_set(probe, n, 0)
