"""The folder of a run: exact, crash safety, refusals."""

import errno
import json
import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from miest.plane import run_folder
from miest.plane.run import labels_and_inputs, load_plane, read_settings, snapshots
from miest.plane.run_folder import RunFolder, RunInMemory
from miest.plane.trajectory import Trajectory

SETTINGS = {
    "schema": 1,
    "model": {"class": "Net", "parameters": 12},
    "chosen": ["fc1"],
    "layers": ["fc1"],
    "probe": "aa",
    "n": 90,
    "seed": 0,
    "reduce": "None",
    "dtype": "float32",
    "train_mode": False,
    "references": {"H(X)": math.inf},
    "quantities": [{"key": "I_XT", "axis": "x", "estimator": "KDE()", "labels": False}],
}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "a"


def lines(folder):
    return (folder / "trajectory.jsonl").read_bytes().splitlines(keepends=True)


def test_what_is_written_is_read(folder, row):
    with RunFolder.begin(folder, SETTINGS, labels=np.arange(3), inputs=np.ones((3, 2))) as run:
        run.add(row(0, diagnostics={"a": [1, 2.5, None]}, interval=(-math.inf, 2.0)))
        run.add_scalars(1, {"loss": 0.5, "accuracy": math.nan})
        run.add(row(1, value=math.nan, kind="failed", notes=("DataError: NaN",)))
        run.add_scalars(1, {"loss": 0.25})
        live = run.trajectory
    found = load_plane(folder)
    assert found == live
    assert [r.step for r in found.rows] == [0, 1]
    assert found.rows[0].seconds == 0.25
    assert found.scalars[1]["loss"] == 0.25
    assert math.isnan(found.scalars[1]["accuracy"])
    assert found.settings == json.loads((folder / "run.json").read_text())
    labels, inputs = labels_and_inputs(folder)
    assert labels.tolist() == [0, 1, 2]
    assert inputs.shape == (3, 2)


def test_a_row_is_a_line_of_json(folder, row):
    with RunFolder.begin(folder, SETTINGS) as run:
        run.add(row(0, value=math.inf))
        run.add_scalars(0, {"loss": 1.5})
    first, second = map(json.loads, lines(folder))
    assert set(first) >= {"step", "layer", "quantity", "value", "interval", "kind", "flags", "n", "seconds"}
    assert first["value"] == "inf"
    assert second == {"step": 0, "scalars": {"loss": 1.5}}


def test_a_row_is_on_the_disk_when_add_returns(folder, row, monkeypatch):
    synced = []
    with RunFolder.begin(folder, SETTINGS) as run:
        monkeypatch.setattr(os, "fsync", lambda fd: synced.append((folder / "trajectory.jsonl").stat().st_size))
        run.add(row())
        assert synced == [len(lines(folder)[0])]
        run.add_scalars(0, {"loss": 1.0})
        assert len(synced) == 1
        assert len(lines(folder)) == 2  # others see it, and a killed process does not take it along


def test_a_reader_needs_no_lock(folder, row):
    with RunFolder.begin(folder, SETTINGS) as run:
        run.add(row())
        assert load_plane(folder) == run.trajectory


def test_a_run_that_goes_on(folder, row):
    with RunFolder.begin(folder, SETTINGS) as run:
        run.add(row(0))
    with RunFolder.resume(folder, SETTINGS) as run:
        assert set(run.rows) == {(0, "fc1", "I_XT")}
        run.add(row(1))
        run.add(row(0, value=5.0))  # a failed one made again
    assert [r.value for r in load_plane(folder).rows] == [5.0, 1.0]
    more = {**SETTINGS, "quantities": [*SETTINGS["quantities"], {"key": "I_TY", "axis": "y", "estimator": "KSG()"}]}
    with RunFolder.resume(folder, more):
        pass
    assert [each["key"] for each in read_settings(folder)["quantities"]] == ["I_XT", "I_TY"]
    with RunFolder.resume(folder, SETTINGS):  # fewer take nothing away
        pass
    assert len(read_settings(folder)["quantities"]) == 2


def test_in_memory_is_the_same(row):
    run = RunInMemory(SETTINGS)
    run.add(row())
    run.add_scalars(0, {"loss": 1.0})
    run.change(layers=["fc1", "fc2"])
    assert run.trajectory == Trajectory(
        (row(),), {0: {"loss": 1.0}}, {**SETTINGS, "layers": ["fc1", "fc2"], "references": {"H(X)": "inf"}}
    )
    run.close()


def test_snapshots_by_step(folder):
    with RunFolder.begin(folder, SETTINGS) as run:
        for keep in (True, False):
            run.snapshot_folder(keep=keep).mkdir()
        for name in ("step-000010.safetensors", "step-000002.safetensors", "step-x.safetensors", ".step-1.partial"):
            (run.snapshot_folder(keep=True) / name).touch()
        for name in ("step-12345678.safetensors", "step-000010.safetensors"):
            (run.snapshot_folder(keep=False) / name).touch()
        found = snapshots(folder)
        assert list(found) == [2, 10, 12345678]
        assert [path.parent.name for path in found.values()] == ["snapshots", "snapshots", "pending"]
        for path in found.values():
            run.drop(path)
    assert list(snapshots(folder)) == [2, 10]
    assert snapshots(folder / "nothing") == {}


# Stopped at any moment


@pytest.mark.parametrize("torn", [b"{", b'{"step": 3, "layer": "fc', b"x" * 200_000, b'{"step": 3}'])
def test_a_torn_line_is_passed_over_and_cut(folder, row, torn):
    with RunFolder.begin(folder, SETTINGS) as run:
        run.add(row(0))
    whole = (folder / "trajectory.jsonl").read_bytes()
    with (folder / "trajectory.jsonl").open("ab") as file:
        file.write(torn)
    assert [r.step for r in load_plane(folder).rows] == [0]
    with RunFolder.resume(folder) as run:
        assert (folder / "trajectory.jsonl").read_bytes() == whole
        run.add(row(1))
    assert [r.step for r in load_plane(folder).rows] == [0, 1]


def test_only_a_torn_line(folder):
    RunFolder.begin(folder, SETTINGS).close()
    (folder / "trajectory.jsonl").write_bytes(b'{"step"')
    assert len(load_plane(folder)) == 0
    RunFolder.resume(folder).close()
    assert (folder / "trajectory.jsonl").read_bytes() == b""


@pytest.mark.parametrize("left", [[], ["labels.npy"], ["labels.npy", "inputs.npy", "trajectory.jsonl", "lock"]])
def test_stopped_before_the_run_began(folder, left):
    folder.mkdir(parents=True)
    for name in [*left, "run.json.partial"]:
        (folder / name).touch()
    with pytest.raises(FileNotFoundError, match="no run in"):
        load_plane(folder)
    with RunFolder.begin(folder, SETTINGS, labels=np.arange(2)):
        pass
    assert labels_and_inputs(folder)[1] is None  # what an earlier run left is gone
    assert load_plane(folder).settings["n"] == 90


@pytest.mark.parametrize("taken", [0, 7])
def test_a_full_disk_leaves_the_file_as_it_was(folder, row, monkeypatch, taken):
    write = os.write
    full = []

    def some(fd, data):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        full.append(1)
        return write(fd, data[:taken])

    with RunFolder.begin(folder, SETTINGS) as run:
        run.add(row(0))
        whole = (folder / "trajectory.jsonl").read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", some)
            with pytest.raises(
                OSError, match=r"trajectory\.jsonl cannot be written: No space left.*resume=True"
            ) as told:
                run.add(row(1))
        assert told.value.errno == errno.ENOSPC
        assert (folder / "trajectory.jsonl").read_bytes() == whole
        assert set(run.rows) == {(0, "fc1", "I_XT")}
        run.add(row(1))  # there is room again
    assert [r.step for r in load_plane(folder).rows] == [0, 1]


def test_a_full_disk_keeps_the_old_settings(folder, monkeypatch):
    with RunFolder.begin(folder, SETTINGS) as run:
        before = (folder / "run.json").read_bytes()
        monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        with pytest.raises(OSError, match=r"run\.json cannot be written: No space left"):
            run.change(layers=["a"])
        assert (folder / "run.json").read_bytes() == before
        assert not list(folder.glob("*.partial"))


def test_a_run_that_cannot_begin_lets_go(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "_written", lambda *a: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(OSError, match="full"):
            RunFolder.begin(folder, SETTINGS)
    RunFolder.begin(folder, SETTINGS).close()


WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from miest.plane.row import Row
    from miest.plane.run import is_run
    from miest.plane.run_folder import RunFolder
    folder = Path(sys.argv[1])
    run = RunFolder.resume(folder) if is_run(folder) else RunFolder.begin(folder, {"schema": 1, "quantities": []})
    step = 1 + max((step for step, _, _ in run.rows), default=-1)
    while True:
        run.add(Row(step=step, layer="fc1", quantity="I_XT", value=step / 3, notes=("x" * (step * 37 % 500),)))
        print(step, flush=True)  # finished
        step += 1
    """
)


def _killed(folder, after: float) -> int:
    """Let another process write for some time, kill it, and return the last row that it had finished."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        last = int(writer.stdout.readline())
        time.sleep(after)
        writer.send_signal(signal.SIGKILL)
        return max([last, *map(int, writer.stdout.read().split())])


def _check_killed(folder, times: int) -> None:
    moments = random.Random(0)
    for _ in range(times):
        last = _killed(folder, moments.uniform(0, 0.05))
        rows = load_plane(folder).rows
        assert [r.step for r in rows] == list(range(len(rows)))  # none lost, none twice
        assert len(rows) > last
        assert all(r.value == r.step / 3 for r in rows)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_at_random_moments_no_finished_row_is_lost(folder):
    _check_killed(folder, 3)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_at_50_random_moments_no_finished_row_is_lost(folder):
    _check_killed(folder, 50)


# Refusals


def test_a_run_is_never_overwritten(folder, row):
    with RunFolder.begin(folder, SETTINGS) as run:
        run.add(row())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileExistsError, match="is never overwritten: pass resume=True"):
        RunFolder.begin(folder, {**SETTINGS, "n": 7})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_other_files_are_left_alone(folder):
    folder.mkdir(parents=True)
    (folder / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match=r"holds other files \(thesis\.tex\)"):
        RunFolder.begin(folder, SETTINGS)
    with pytest.raises(FileExistsError, match="is a file: pass a folder"):
        RunFolder.begin(folder / "thesis.tex", SETTINGS)


def test_one_writer_at_a_time(folder, row):
    with RunFolder.begin(folder, SETTINGS) as first:
        with pytest.raises(BlockingIOError, match="another process is writing"):
            RunFolder.resume(folder)
        first.add(row())
    other = "import sys, pathlib, miest.plane.run_folder as r; r.RunFolder.resume(pathlib.Path(sys.argv[1]))"
    with RunFolder.resume(folder):
        told = subprocess.run([sys.executable, "-c", other, str(folder)], capture_output=True, text=True)
    assert told.returncode != 0
    assert "another process is writing" in told.stderr
    assert subprocess.run([sys.executable, "-c", other, str(folder)], capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"model": {"class": "Other", "parameters": 12}}, "its model is .*Net.*now it is .*Other"),
        ({"chosen": ["fc1", "fc2"]}, r'its layers is \["fc1"\], and now it is \["fc1", "fc2"\]'),
        ({"probe": "bb"}, 'its probe set is "aa"'),
        ({"n": 91}, "its number of probe samples is 90, and now it is 91"),
        ({"seed": 1}, "its seed is 0"),
        ({"reduce": "MeanPool()"}, "its reduction is"),
        ({"dtype": "float16"}, "dtype of the recording"),
        ({"train_mode": True}, "its mode of the recording"),
    ],
)
def test_another_run_is_refused(folder, changed, says):
    RunFolder.begin(folder, SETTINGS).close()
    with pytest.raises(ValueError, match=says):
        RunFolder.resume(folder, {**SETTINGS, **changed})
    RunFolder.resume(folder, SETTINGS).close()  # and the lock is free


def test_a_key_keeps_its_estimator(folder):
    RunFolder.begin(folder, SETTINGS).close()
    other = [{"key": "I_XT", "axis": "x", "estimator": "Binning()"}]
    with pytest.raises(ValueError, match=r"I_XT in .* is by KDE\(\), and now by Binning\(\)"):
        RunFolder.resume(folder, {**SETTINGS, "quantities": other})
    RunFolder.resume(folder, SETTINGS).close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is damaged, as it is no JSON"),
        ("[]", "has no schema"),
        ('{"n": 3}', "has no schema"),
        ('{"schema": 99}', "has schema 99, and this version of miest reads up to 1: update miest"),
    ],
)
def test_settings_that_cannot_be_read(folder, text, says):
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(text)
    with pytest.raises(ValueError, match=says):
        load_plane(folder)


@pytest.mark.parametrize("line", ["{}", "[]", "hello", '{"step": "a", "scalars": {}}', "\0\0"])
def test_a_damaged_line_is_named(folder, row, line):
    with RunFolder.begin(folder, SETTINGS) as run:
        run.add(row())
    with (folder / "trajectory.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"line 2 of .*trajectory\.jsonl is damaged"):
        load_plane(folder)
    with pytest.raises(ValueError, match="line 2"):
        RunFolder.resume(folder)


def test_no_run(tmp_path):
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(FileNotFoundError, match=r"no run in .*no run\.json"):
            load_plane(place)


def test_closed_is_closed(folder, row):
    run = RunFolder.begin(folder, SETTINGS)
    run.close()
    run.close()
    with pytest.raises(ValueError, match="is closed"):
        run.add(row())


def test_a_file_system_without_locks(folder, row, monkeypatch):
    filelock = pytest.importorskip("filelock")
    monkeypatch.setattr(filelock.FileLock, "acquire", lambda self, timeout: (_ for _ in ()).throw(NotImplementedError))
    with (
        pytest.warns(RuntimeWarning, match="has no locks: let no other process"),
        RunFolder.begin(folder, SETTINGS) as run,
    ):
        run.add(row())
    assert len(load_plane(folder)) == 1


def test_without_filelock_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(ImportError, match=r"miest\[torch\]"):
        RunFolder.begin(folder, SETTINGS)
