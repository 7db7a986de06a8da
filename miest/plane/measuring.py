"""What becomes of a step that is due: a snapshot, and its rows, made now, later or in the background."""

import tempfile
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from miest.plane.background import Background
from miest.plane.description import input_rows
from miest.plane.estimation import OnError, Work, measured
from miest.plane.quantities import Quantity
from miest.plane.recorder import Recorder
from miest.plane.row import Row
from miest.plane.run import snapshots
from miest.plane.run_folder import Place, RunFolder, RunInMemory
from miest.plane.snapshot import Snapshot, discard_partial

When = Literal["now", "later", "background"]


class Measuring:
    """Brings the layers of a model at some steps, and what is measured of them, into a run.

    Parameters
    ----------
    run : RunFolder or RunInMemory
    recorder : Recorder
    quantities : sequence of Quantity
    when : "now", "later" or "background"
    keep : bool             keep the snapshots
    on_error : "record" or "raise"
    workers : int           of the background
    """

    def __init__(
        self,
        run: RunFolder | RunInMemory,
        recorder: Recorder,
        quantities: Sequence[Quantity],
        *,
        when: When,
        keep: bool,
        on_error: OnError,
        workers: int,
    ) -> None:
        self._run, self._recorder, self._quantities = run, recorder, tuple(quantities)
        self._when, self._keep, self._on_error = when, keep, on_error
        self._fresh: deque[Row] = deque()
        self._sent: set[Place] = set()  # what the background has, or had
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._background = None
        if when == "background":
            self._background = Background(workers, take=self.take, finished=self._drop, on_error=on_error)

    def holds(self, step: int) -> bool:
        """Whether the run has all of a step: its estimates, or of one that is estimated later its snapshot."""
        if self._when == "later":
            return isinstance(self._run, RunFolder) and step in snapshots(self._run.path)
        layers, rows = self._run.settings["layers"], self._run.rows
        return bool(layers) and all((step, layer, q.key) in rows for layer in layers for q in self._quantities)

    def measure(self, step: int) -> None:
        """Run the probe set through the model, and see to the estimates."""
        self._estimate(self._snapshot(step))

    def make_up(self) -> None:
        """Estimate what is missing of the snapshots that are there: of a run that was stopped in the middle."""
        if not isinstance(self._run, RunFolder):
            return
        for keep in (True, False):
            discard_partial(self._run.snapshot_folder(keep=keep))
        for path in snapshots(self._run.path).values():
            self._estimate(Snapshot.open(path))

    def take(self, row: Row) -> None:
        """Write a row; from the background, this is another thread."""
        self._run.add(row)
        self._fresh.append(row)

    def news(self) -> list[Row]:
        """Rows that have come in since the last call."""
        return [self._fresh.popleft() for _ in range(len(self._fresh))]  # others may come in meanwhile

    def settle(self) -> None:
        """Warn of, or raise, what went wrong in the background; see `Background.settle`."""
        if self._background is not None:
            self._background.settle()

    def close(self, *, wait: bool) -> None:
        """Wait until all is estimated, or leave it undone."""
        try:
            if self._background is not None:
                self._background.close(wait=wait)
        finally:
            if self._temporary is not None:
                self._temporary.cleanup()

    def _snapshot(self, step: int) -> Snapshot:
        """The layers at this step: as they were kept, if the run was stopped within it, or as they are now."""
        run, folder = self._run, None
        if isinstance(run, RunFolder):
            kept = snapshots(run.path).get(step)
            if kept is not None:
                return Snapshot.open(kept)
            if self._keep or self._background is not None:
                folder = run.snapshot_folder(keep=self._keep)
        elif self._background is not None:
            folder = self._probe_folder
        try:
            snapshot = self._recorder.snapshot(step, folder)
        except OSError as error:
            raise OSError(
                error.errno,
                f"the snapshot of step {step} cannot be written to {folder}: {error.strerror or error}. All that was "
                "written before is there: make room, and go on with resume=True",
            ) from error
        known = run.settings["layers"]
        if any(layer not in known for layer in snapshot.layers):  # the order of the forward pass shows only now
            others = [layer for layer in known if layer not in snapshot.layers]
            run.change(layers=[*snapshot.layers, *others], reductions=snapshot.reductions, missing=snapshot.missing)
        return snapshot

    def _estimate(self, snapshot: Snapshot) -> None:
        """Measure what the run does not have of a snapshot, now or in the background."""
        if self._when == "later":
            return
        works, seed = [], self._run.settings["seed"]
        for layer in snapshot.layers:
            places = {(snapshot.step, layer, q.key): q for q in self._quantities}
            missing = tuple(q for place, q in places.items() if place not in self._run.rows and place not in self._sent)
            if missing and self._background is not None:
                assert snapshot.path is not None  # those of the background are all in files
                works.append(Work(snapshot.path, layer, missing, self._probe_folder, seed))
                self._sent.update(places)
            elif missing:
                labels = self._recorder.labels
                for row in measured(snapshot, layer, missing, labels, self._inputs, seed, on_error=self._on_error):
                    self.take(row)
        if self._background is not None and works:
            self._background.submit(works)
        elif snapshot.path is not None and not any(place[0] == snapshot.step for place in self._sent):
            self._drop(snapshot.path)

    @cached_property
    def _inputs(self) -> Any:
        """The inputs of the probe set, if a quantity needs them."""
        return input_rows(self._recorder) if any(quantity.inputs for quantity in self._quantities) else None

    @cached_property
    def _probe_folder(self) -> Path:
        """Where the background finds labels and inputs of the probe set, and snapshots of a run that is not saved."""
        if isinstance(self._run, RunFolder):
            return self._run.path
        self._temporary = tempfile.TemporaryDirectory(prefix="miest-")
        folder = Path(self._temporary.name)
        for name, array in (("labels", self._recorder.labels), ("inputs", self._inputs)):
            if array is not None:
                np.save(folder / f"{name}.npy", array, allow_pickle=False)
        return folder

    def _drop(self, snapshot: Path) -> None:
        """Delete a snapshot from which all is estimated, unless it is to be kept."""
        if isinstance(self._run, RunFolder):
            self._run.drop(snapshot)
        else:
            snapshot.unlink(missing_ok=True)
