"""The one writer of a run; `miest.plane.run` says what is in its folder.

A line is written by one call and is on the disk before the next; other files are written beside the old ones and then
renamed. So the folder can be read whenever the writer was stopped.
"""

import contextlib
import json
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from miest.plane.row import Row, spelled
from miest.plane.run import (
    LOCK,
    PENDING,
    ROWS,
    RUN,
    SNAPSHOTS,
    read_lines,
    read_settings,
    refuse_existing,
    refuse_other,
)
from miest.plane.trajectory import Trajectory

Place = tuple[int, str, str]
"""Step, layer and key of a quantity."""


class RunInMemory:
    """A run that is kept nowhere; what `RunFolder` is, without the folder."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings: dict[str, Any] = json.loads(json.dumps(spelled(settings)))
        self.rows: dict[Place, Row] = {}
        self.scalars: dict[int, dict[str, float]] = {}
        self._mutex = threading.Lock()  # rows come from the main thread and from finished background work

    @property
    def trajectory(self) -> Trajectory:
        """All that was added so far."""
        with self._mutex:
            return Trajectory(rows=tuple(self.rows.values()), scalars=dict(self.scalars), settings=self.settings)

    def change(self, **settings: Any) -> None:
        """Change what the run says of itself."""
        self.settings = json.loads(json.dumps(spelled({**self.settings, **settings})))

    def add(self, row: Row) -> None:
        """Keep a row."""
        with self._mutex:
            self.rows[row.place] = row

    def add_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Keep what was logged at a step."""
        with self._mutex:
            self.scalars[step] = {**self.scalars.get(step, {}), **scalars}

    def close(self) -> None:
        """Nothing is held."""


class RunFolder(RunInMemory):
    """The one writer of a run; made by `begin` or `resume`, and held until `close`.

    Parameters
    ----------
    path : Path             a folder that is there
    """

    def __init__(self, path: Path) -> None:
        super().__init__({})
        self.path = path
        self._held = _lock(path / LOCK)
        try:
            _cut_torn_line(path / ROWS)
            rows, self.scalars = read_lines(path / ROWS)
            self.rows = {row.place: row for row in rows}
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._file = os.open(path / ROWS, flags, 0o644)
        except BaseException:
            self._held.release()
            raise

    @classmethod
    def begin(
        cls,
        path: Path,
        settings: Mapping[str, Any],
        *,
        labels: NDArray[Any] | None = None,
        inputs: NDArray[Any] | None = None,
    ) -> Self:
        """Start a run in a new or empty folder.

        Raises
        ------
        FileExistsError
            if there is a run in it, or anything else
        BlockingIOError
            if another process is writing to it
        OSError
            if it cannot be written
        """
        refuse_existing(path)
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path)
        try:
            refuse_existing(path)  # another process may have been quicker
            for name, array in (("labels", labels), ("inputs", inputs)):
                if array is None:  # what a run that was stopped before it began has left
                    (path / f"{name}.npy").unlink(missing_ok=True)
                else:
                    _replace(path / f"{name}.npy", lambda file, array=array: np.save(file, array, allow_pickle=False))
            folder.settings = _written(path / RUN, settings)  # last: where it is, all else is
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def resume(cls, path: Path, settings: Mapping[str, Any] | None = None) -> Self:
        """Go on with a run; `settings` are those of the caller, which must be of the same model and probe set.

        Raises
        ------
        ValueError
            if they are not; the message says what differs
        FileNotFoundError, BlockingIOError, OSError
            as `load_plane` and `begin`
        """
        before = read_settings(path)
        if settings is not None:
            refuse_other(path, before, settings)
        folder = cls(path)
        try:
            folder.settings = read_settings(path)
            if settings is not None:
                folder.add_quantities(settings["quantities"])
        except BaseException:
            folder.close()
            raise
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def snapshot_folder(self, *, keep: bool) -> Path:
        """Where snapshots are kept, or wait; `drop` deletes only these."""
        return self.path / (SNAPSHOTS if keep else PENDING)

    def drop(self, snapshot: Path) -> None:
        """Delete a snapshot that waited, and is estimated."""
        if snapshot.parent.name == PENDING:
            snapshot.unlink(missing_ok=True)

    def change(self, **settings: Any) -> None:
        """Write ``run.json`` anew with some of it changed."""
        self.settings = _written(self.path / RUN, {**self.settings, **settings})

    def add_quantities(self, quantities: Sequence[Mapping[str, Any]]) -> None:
        """Write quantities that were not asked for when the run was begun into ``run.json``.

        Raises
        ------
        ValueError
            if a key is taken by another estimator
        """
        known = {each["key"]: each for each in self.settings["quantities"]}
        for each in quantities:
            there = known.get(each["key"], each)
            if there["estimator"] != each["estimator"]:
                raise ValueError(
                    f"{each['key']} in {self.path} is by {there['estimator']}, and now by {each['estimator']}: go on "
                    "with that one, or pass both in a list, so that the second gets a key of its own."
                )
        more = [each for each in quantities if each["key"] not in known]
        if more:
            self.change(quantities=[*self.settings["quantities"], *more])

    def add(self, row: Row) -> None:
        """Write a row; when this returns, it is on the disk.

        Raises
        ------
        OSError
            if it cannot be written; the file is as it was before
        """
        with self._mutex:
            self._write(row.to_dict(), durable=True)
            self.rows[row.place] = row

    def add_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write what was logged at a step: handed to the system at once, and on the disk with the next row."""
        with self._mutex:
            self._write({"step": step, "scalars": scalars}, durable=False)
            self.scalars[step] = {**self.scalars.get(step, {}), **scalars}

    def close(self) -> None:
        """Let others write."""
        with self._mutex:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
                self._held.release()

    def _write(self, plain: Mapping[str, Any], *, durable: bool) -> None:
        if self._file < 0:
            raise ValueError(f"the run in {self.path} is closed: nothing can be added.")
        line = json.dumps(spelled(plain), allow_nan=False).encode() + b"\n"
        before = os.fstat(self._file).st_size
        try:
            done = 0
            while done < len(line):  # a disk that fills up takes a part first
                done += os.write(self._file, line[done:])
            if durable:
                os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, before)
            raise OSError(
                error.errno,
                f"{self.path / ROWS} cannot be written: {error.strerror}. Every row before is there: make room, and "
                "go on with resume=True",
            ) from error


def _cut_torn_line(path: Path) -> None:
    """Cut what follows the last end of line: the writer was stopped within it."""
    try:
        with path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            start = end
            while start > 0:
                step = min(start, 1 << 16)
                start -= step
                file.seek(start)
                found = file.read(step).rfind(b"\n")
                if found >= 0:
                    start += found + 1
                    break
            if start < end:
                file.truncate(start)
    except FileNotFoundError:
        return


def _written(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Write the settings, and return them as they will be read."""
    text = json.dumps(spelled(settings), indent=1, allow_nan=False)
    _replace(path, lambda file: file.write(text.encode() + b"\n"))
    plain: dict[str, Any] = json.loads(text)
    return plain


def _replace(path: Path, write: Any) -> None:
    """Write a file beside the old one, and rename it when it is whole and on the disk."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        if hasattr(os, "O_DIRECTORY"):  # the name itself is on the disk only with its folder
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OSError(error.errno, f"{path} cannot be written: {error.strerror}") from error


def _lock(path: Path) -> Any:
    """A lock on the run that ends with the process, however it ends."""
    try:
        from filelock import FileLock, Timeout
    except ImportError as error:
        raise ImportError("writing a run needs filelock, which torch brings: pip install 'miest[torch]'.") from error
    held = FileLock(path)
    try:
        held.acquire(timeout=0)
    except NotImplementedError:
        warnings.warn(
            f"the file system of {path.parent} has no locks: let no other process write to it.",
            RuntimeWarning,
            stacklevel=2,
        )
    except Timeout:
        raise BlockingIOError(
            f"another process is writing to {path.parent}: wait until it is done, or save to another folder. (Under "
            "torchrun, call init_process_group before the plane is made, so that one process writes.)"
        ) from None
    return held
