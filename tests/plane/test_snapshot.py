"""Snapshots in memory and on disk: the same arrays, readable by safetensors, and never half a file."""

import errno
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import miest
from miest.plane import snapshot as module
from miest.plane.snapshot import Snapshot, SnapshotWriter, discard_partial
from miest.samples import DataError

ARRAYS = {
    "fc1": np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32),
    "flags": np.arange(10)[:, None] % 3 == 0,
    "conv.weights#1": np.random.default_rng(1).standard_normal((10, 2, 3, 3)),
    "codes": np.arange(10),
    "half": np.linspace(0, 1, 10, dtype=np.float16),
}


def written(folder: Path | None, arrays: dict[str, np.ndarray] = ARRAYS, batch: int = 4, **about: object) -> Snapshot:
    n = len(next(iter(arrays.values())))
    with SnapshotWriter(100, n, folder) as writer:
        for name, array in arrays.items():
            writer.add(name, array.shape[1:], array.dtype)
        for start in range(0, n, batch):
            for name in reversed(arrays):
                writer.write(name, start, arrays[name][start : start + batch])
        about = {"reductions": dict.fromkeys(arrays, "none"), "missing": {"aux": "it was not called"}} | about
        return writer.finish({name: name for name in arrays}, probe="abc", **about)


def begin(writer: SnapshotWriter, key: str, full: bool = False) -> None:
    if full:
        writer._file.close()
        writer._file = Path("/dev/full").open("wb", buffering=0)
    writer.add("fc1", (3,), np.dtype(np.float32))
    writer.write(key, 0, ARRAYS["fc1"])


# Exact


def test_a_snapshot_is_the_same_in_memory_on_disk_and_reopened(tmp_path: Path) -> None:
    on_disk = written(tmp_path / "new" / "folder")
    assert on_disk.path == tmp_path / "new" / "folder" / "step-000100.safetensors"
    for snapshot in (written(None), on_disk, Snapshot.open(on_disk.path), written(None).save(tmp_path)):
        assert (snapshot.step, snapshot.n, snapshot.probe) == (100, 10, "abc")
        assert snapshot.layers == tuple(ARRAYS)
        assert snapshot.reductions["fc1"] == "none"
        assert snapshot.missing == {"aux": "it was not called"}
        assert snapshot.nbytes == sum(array.nbytes for array in ARRAYS.values())
        assert snapshot.shapes == {name: array.shape for name, array in ARRAYS.items()}
        for name, array in ARRAYS.items():
            loaded = snapshot.load(name)
            np.testing.assert_array_equal(loaded, array, strict=True)
            assert loaded.flags.aligned
            assert not loaded.flags.writeable


def test_files_are_memory_mapped(tmp_path: Path) -> None:
    assert isinstance(written(tmp_path).load("fc1"), np.memmap)
    assert not isinstance(written(None).load("fc1"), np.memmap)


def test_the_safetensors_library_reads_the_file(tmp_path: Path) -> None:
    snapshot = written(tmp_path)
    for name, array in safetensors.numpy.load_file(snapshot.path).items():
        np.testing.assert_array_equal(array, ARRAYS[name], strict=True)
    with safetensors.safe_open(snapshot.path, "np") as file:
        assert file.metadata()["step"] == "100"
        assert set(file.keys()) == set(ARRAYS)
    assert list(miest.load(snapshot.path, "fc1")) == ["fc1"]


def test_more_layers_than_expected_move_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COPIED", 1000)  # several blocks, the last one short
    arrays = {f"a long name of a module called again and again#{i}": np.full((10, 3), i) for i in range(100)}
    snapshot = written(tmp_path, arrays)
    for name, array in safetensors.numpy.load_file(snapshot.path).items():
        np.testing.assert_array_equal(array, arrays[name])
    assert snapshot.layers == tuple(arrays)


def test_what_is_too_large_for_memory_goes_to_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IN_MEMORY", 200)
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    snapshot = written(None)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(snapshot.load(name), array, strict=True)
    assert [isinstance(snapshot.load(name), np.memmap) for name in ARRAYS][:3] == [False, False, True]
    assert list(tmp_path.iterdir()) == []  # it has no name, and goes with the snapshot


def test_snapshots_travel_to_other_processes(tmp_path: Path) -> None:
    for snapshot in (written(None), written(tmp_path)):
        copy = pickle.loads(pickle.dumps(snapshot))
        np.testing.assert_array_equal(copy.load("fc1"), ARRAYS["fc1"])
    assert len(pickle.dumps(written(tmp_path))) < 2000


@given(
    rows=st.integers(2, 9),
    batch=st.integers(1, 10),
    columns=st.lists(st.tuples(st.integers(1, 5), st.sampled_from("?bhefdq")), min_size=1, max_size=6),
)
@settings(max_examples=30, deadline=None)
def test_any_arrays_in_any_batches_come_back(
    tmp_path_factory: pytest.TempPathFactory, rows: int, batch: int, columns: list[tuple[int, str]]
) -> None:
    rng = np.random.default_rng(rows)
    arrays = {str(i): rng.integers(0, 2, (rows, d)).astype(code) for i, (d, code) in enumerate(columns)}
    snapshot = written(tmp_path_factory.mktemp("any"), arrays, batch)
    for name, array in arrays.items():
        np.testing.assert_array_equal(snapshot.load(name), array, strict=True)
        np.testing.assert_array_equal(safetensors.numpy.load_file(snapshot.path)[name], array, strict=True)


def test_reading_snapshots_needs_no_torch_and_recording_says_that_it_does() -> None:
    code = "import sys; sys.modules['torch'] = None; import miest.plane.snapshot; import miest.plane.recorder"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: miest.plane needs torch: pip install 'miest[torch]'." in run.stderr
    assert "plane.snapshot" not in run.stderr


# Refusals


def test_an_unknown_layer_names_the_near_ones(tmp_path: Path) -> None:
    for snapshot in (written(None), written(tmp_path)):
        with pytest.raises(ValueError, match=r"no layer 'fc2' at step 100. Did you mean 'fc1'\? There are: fc1, flags"):
            snapshot.load("fc2")


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    old = written(tmp_path).path.read_bytes()
    with pytest.raises(KeyError, match="fc9"), SnapshotWriter(100, 10, tmp_path) as writer:
        begin(writer, "fc9")
    assert [path.name for path in tmp_path.iterdir()] == ["step-000100.safetensors"]
    assert (tmp_path / "step-000100.safetensors").read_bytes() == old


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    writer = SnapshotWriter(1, 10, tmp_path)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)), writer:
        begin(writer, "fc1", full=True)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_a_part_that_is_no_snapshot(tmp_path: Path) -> None:
    with SnapshotWriter(7, 10, tmp_path) as writer:
        begin(writer, "fc1")
        assert not (tmp_path / "step-000007.safetensors").exists()
        (left,) = tmp_path.iterdir()
        part = left.read_bytes()
    left.write_bytes(part)
    with pytest.raises(DataError, match=r"is no (complete )?snapshot"):
        Snapshot.open(left)
    written(tmp_path)
    assert discard_partial(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-000100.safetensors"]


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path).path.read_bytes()
    torn = tmp_path / "torn.safetensors"
    for size in [0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1]:
        torn.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"torn.safetensors is (damaged|no complete snapshot).*was cut short"):
            Snapshot.open(torn)
    torn.write_bytes(whole + b"more")
    with pytest.raises(DataError, match=r"tells of .* bytes"):
        Snapshot.open(torn)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Snapshot.open(tmp_path / "none")
    other = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(3)}, other)
    with pytest.raises(DataError, match=r"lacks or garbles '__metadata__'. miest.load reads"):
        Snapshot.open(other)
    safetensors.numpy.save_file({"a": np.zeros(3)}, other, metadata={"format": "miest snapshot 9"})
    with pytest.raises(DataError, match="is a miest snapshot 9; this version of miest reads a miest snapshot 1"):
        Snapshot.open(other)
    for header in (b"[1, 2]  ", b"not JSON"):
        other.write_bytes(struct.pack("<Q", 8) + header)
        with pytest.raises(DataError, match="its header is no JSON"):
            Snapshot.open(other)


def test_a_header_that_does_not_fit_the_data_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path).path
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])

    def with_header(change: object) -> None:
        header = json.loads(whole[8 : 8 + length])
        change(header)
        path.write_bytes(whole[:8] + json.dumps(header).encode().ljust(length) + whole[8 + length :])

    with_header(lambda header: None)
    Snapshot.open(path)
    with_header(lambda header: header["fc1"].update(shape=[3, 10]))
    with pytest.raises(DataError, match="a wrong place or shape for fc1"):
        Snapshot.open(path)
    with_header(lambda header: header["fc1"].update(dtype="BF16"))
    with pytest.raises(DataError, match="garbles 'BF16'"):
        Snapshot.open(path)
    with_header(lambda header: header["__metadata__"].update(layers='["fc1"]'))
    with pytest.raises(DataError, match=r"1 layers, and it has .* 5 layers"):
        Snapshot.open(path)
