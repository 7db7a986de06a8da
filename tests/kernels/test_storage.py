"""Arrays beside data on disk: where they lie, and that the same results come of them.

exact       a large copy of mapped data is in a file, others in memory, at cache lines; nothing is left of files
properties  neighbours, counts, entropies and bounds of mapped data equal those of the same numbers in memory; (slow)
            with 200 MB of columns, in a process that may hold little of its own
refusals    no space in the folder of temporary files
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import miest
from miest_kernels import storage
from miest_kernels.cpu_brute import Brute
from miest_kernels.storage import columns_of, converted, on_disk, room_for, side_by_side


@pytest.fixture
def mapped(tmp_path: Path) -> np.memmap:
    values = np.random.default_rng(0).standard_normal((1200, 40)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


def test_what_is_on_disk(mapped: np.memmap) -> None:
    assert on_disk(mapped)
    assert on_disk(np.asarray(mapped)[5:].T[:, ::2].view(np.int32)[:3])
    assert not on_disk(np.array(mapped))
    assert not on_disk(np.zeros(3)[1:])


def test_room_is_where_its_sources_are(monkeypatch: pytest.MonkeyPatch, mapped: np.memmap) -> None:
    assert not on_disk(room_for((1200, 40), np.float32, mapped))  # small
    monkeypatch.setattr(storage, "_LARGE", 1000)
    assert on_disk(room_for((1200, 40), np.float32, mapped))
    assert not on_disk(room_for((1200, 40), np.float32, np.array(mapped)))
    assert not on_disk(room_for((0, 40), np.float32, mapped))
    monkeypatch.setattr(storage, "_memory", lambda: 4000)
    assert on_disk(room_for((1200, 40), np.float32))
    assert not on_disk(room_for((10,), np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint64, np.int32])
def test_room_has_its_shape_and_place(monkeypatch: pytest.MonkeyPatch, mapped: np.memmap, dtype: type) -> None:
    for large in (10**9, 0):
        monkeypatch.setattr(storage, "_LARGE", large)
        room = room_for((7, 3, 5), dtype, mapped)
        assert (room.shape, room.dtype, room.ctypes.data % 64) == ((7, 3, 5), dtype, 0)
        room[:] = 1
        assert room.sum() == 105


def test_files_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch, mapped: np.memmap, tmp_path: Path) -> None:
    monkeypatch.setattr(storage, "_LARGE", 0)
    monkeypatch.setattr(storage.tempfile, "tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    room = room_for((100, 100), np.float64, mapped)
    room[:] = 3
    assert os.listdir(tmp_path / "t") == []
    assert (room == 3).all()


def test_no_space_says_where(monkeypatch: pytest.MonkeyPatch, mapped: np.memmap, tmp_path: Path) -> None:
    monkeypatch.setattr(storage.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(OSError, match=rf"no temporary file of 524288.0 GiB, .* in {tmp_path} .*: set TMPDIR"):
        room_for((2**47,), np.float32, mapped)
    monkeypatch.setattr(storage.tempfile, "tempdir", str(tmp_path / "missing"))
    monkeypatch.setattr(storage, "_LARGE", 0)
    with pytest.raises(OSError, match=r"missing \(No such file or directory\): set TMPDIR"):
        room_for((100,), np.float32, mapped)


def test_data_in_memory_need_no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(storage, "_memory", lambda: 4000)
    monkeypatch.setattr(storage.tempfile, "tempdir", str(tmp_path / "missing"))
    assert not on_disk(room_for((5000,), np.float64))


def test_conversion_copies_what_it_must(mapped: np.memmap) -> None:
    assert converted(mapped, np.float32) is mapped
    for other in (mapped[:, ::2], mapped.T, np.asarray(mapped, np.float64), np.arange(12).reshape(4, 3)[:, 1:]):
        out = converted(other, np.float32)
        assert out.flags.c_contiguous
        np.testing.assert_array_equal(out, other.astype(np.float32))


def test_columns_and_neighbours_of_arrays(monkeypatch: pytest.MonkeyPatch, mapped: np.memmap) -> None:
    chosen = np.arange(40) % 3 > 0
    assert columns_of(mapped, np.ones(40, bool)) is mapped
    for large in (10**9, 0):
        monkeypatch.setattr(storage, "_LARGE", large)
        monkeypatch.setattr(storage, "_BYTES_AT_ONCE", 5000)
        part = columns_of(mapped, chosen)
        np.testing.assert_array_equal(part, mapped[:, chosen])
        joined = side_by_side([mapped, np.zeros((1200, 0)), part.astype(np.float64)])
        np.testing.assert_array_equal(joined, np.hstack([mapped, part]))
        assert joined.dtype == np.float64
        assert on_disk(part) == on_disk(joined) == (large == 0)


@pytest.mark.parametrize("case", ["constant columns", "given", "normal scores", "another dtype"])
def test_what_is_compared_stays_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str) -> None:
    values = np.random.default_rng(0).standard_normal((800, 12)).astype(np.float32)
    values[:, [2, 7]] = 0
    np.save(tmp_path / "z.npy", values)
    z = np.load(tmp_path / "z.npy", mmap_mode="r")
    monkeypatch.setattr(storage, "_LARGE", 0)
    seen: list[np.ndarray] = []
    searched = Brute.joint_radius_and_counts

    def spied(self: Brute, blocks: list[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        seen.extend(blocks)
        return searched(self, blocks, k)

    monkeypatch.setattr(Brute, "joint_radius_and_counts", spied)
    estimator = miest.KSG(neighbours="cpu", level=None, normal_scores=case == "normal scores")
    y = z[:, 5:10].astype(np.float64) if case == "another dtype" else z[:, 5:10]
    estimator.estimate(z[:, :5], y, given=z[:, 10:] if case == "given" else None)
    assert [on_disk(block) for block in seen] == [True, case != "another dtype", True][: len(seen)]
    assert len(seen) == (3 if case == "given" else 2)


@pytest.mark.parametrize("levels", ["always", "never"])
@pytest.mark.parametrize("in_files", [True, False])
def test_neighbours_of_mapped_rows(
    monkeypatch: pytest.MonkeyPatch, mapped: np.memmap, levels: str, in_files: bool
) -> None:
    blocks = [mapped[:, :30], mapped[:, 30:]]
    expected = Brute(levels="never").joint_radius_and_counts([np.array(block) for block in blocks], 3)
    monkeypatch.setattr(storage, "_LARGE", 0 if in_files else 10**9)
    backend = Brute(levels=levels)  # type: ignore[arg-type]
    for ours, theirs in zip(backend.joint_radius_and_counts(blocks, 3), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(backend.kth_radius(blocks, 3), expected[0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_estimates_of_mapped_samples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dtype: type) -> None:
    rng = np.random.default_rng(1)
    raw = 1000 + 100 * rng.standard_normal((1500, 12))
    raw[:, 6:] += raw[:, :6]
    np.save(tmp_path / "z.npy", raw.astype(dtype))
    z = np.load(tmp_path / "z.npy", mmap_mode="r")
    monkeypatch.setattr(storage, "_LARGE", 0)
    for estimate in (
        lambda z: miest.KSG(neighbours="cpu").estimate(miest.continuous(z[:, :6]), miest.continuous(z[:, 6:])).value,
        lambda z: miest.KDE(noise_var=100.0).estimate(miest.continuous(z)).value,
        lambda z: miest.Gaussian().estimate(miest.continuous(z[:, :6]), miest.continuous(z[:, 6:])).value,
        lambda z: miest.Binning(bins=4).estimate(miest.continuous(z[:, :6]), miest.continuous(z[:, 6:])).value,
    ):
        assert estimate(z) == estimate(np.array(z))


_LITTLE = """
import resource, sys, numpy as np, miest
from miest_kernels.cpu_gaussian import moments
mode, path = sys.argv[1:]
rng = np.random.default_rng(0)
label = rng.integers(0, 10, 100_000)
small = rng.standard_normal((4000, 512)).astype(np.float32)
def call(x, label):
    if mode == "binning":
        return miest.Binning(bins=30).estimate(x).value
    if mode == "kde":
        return miest.KDE(noise_var=100.0).estimate(x[:30_000]).value
    return miest.KSG(neighbours="cpu").estimate(x, label).value
noise = rng.standard_normal((100_000, 3)).astype(np.float32)
call(small, noise[:4000])  # compiles
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + (200 << 20), used + (200 << 20)))
print(call(np.load(path, mmap_mode="r"), noise))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is Linux's")
@pytest.mark.parametrize("mode", ["binning", "kde", "ksg"])
def test_little_memory_beside_200_mb_on_disk(tmp_path: Path, mode: str) -> None:
    rng = np.random.default_rng(3)
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (100_000, 512))
    mixing = rng.standard_normal((6, 512))
    for start in range(0, len(x), 5000):
        x[start : start + 5000] = np.tanh(rng.standard_normal((5000, 6)) @ mixing)
        x[start : start + 5000, 7] = 0  # a unit that is dead
    x.flush()
    run = subprocess.run(
        [sys.executable, "-c", _LITTLE, mode, tmp_path / "x.npy"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert np.isfinite(float(run.stdout))
