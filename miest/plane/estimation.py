"""Estimates from snapshots: one path for those made during training, in the background, and from a recorded run.

What is random has its own stream for each layer, step and repetition, linear algebra runs on one thread, and rows do
not depend on one another: so a number is the same wherever and whenever it is made.
"""

import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miest.estimators.estimator import Estimator
from miest.files import matching
from miest.plane.axes import resolved
from miest.plane.quantities import Quantity, is_own, stream
from miest.plane.row import Row
from miest.plane.run import labels_and_inputs, snapshots
from miest.plane.run_folder import RunFolder
from miest.plane.snapshot import Snapshot
from miest.plane.trajectory import Trajectory

OnError = Literal["record", "raise"]

_STREAMS = threading.RLock()  # what draws from the global random streams, or seeds them, holds it
_TORCH = ("miest.estimators.neural", "miest.estimators.aamine")


@dataclass(frozen=True)
class Work:
    """What is missing of one layer at one step; it can be sent to another process.

    Parameters
    ----------
    snapshot : Path             of the step
    layer : str
    quantities : tuple          those to be measured
    folder : Path               where labels and inputs of the probe set are
    seed : int
    """

    snapshot: Path
    layer: str
    quantities: tuple[Quantity, ...]
    folder: Path
    seed: int

    def rows_on_one_core(self, *, on_error: OnError = "record") -> list[Row]:
        """As `rows`, and leave the other cores to others: the kernels start no work of their own."""
        from joblib import parallel_config

        with parallel_config(backend="threading", n_jobs=1):  # which the kernels keep to
            return self.rows(on_error=on_error)

    def rows(self, *, on_error: OnError = "record") -> list[Row]:
        """Measure; see `measured`."""
        labels, inputs = labels_and_inputs(self.folder)
        snapshot = Snapshot.open(self.snapshot)
        return list(measured(snapshot, self.layer, self.quantities, labels, inputs, self.seed, on_error=on_error))


def measured(
    snapshot: Snapshot,
    layer: str,
    quantities: Sequence[Quantity],
    labels: NDArray[Any] | None,
    inputs: Any,
    seed: int,
    *,
    on_error: OnError = "record",
) -> Iterator[Row]:
    """Rows of one layer at one step, one as soon as it is done; the layer is read once for all of them.

    Parameters
    ----------
    snapshot : Snapshot
    layer : str
    quantities : sequence of Quantity
    labels, inputs : of the probe set
    seed : int                  of the run
    on_error : "record" or "raise"
        what becomes of an estimate that cannot be made: a row of kind "failed" with the reason, or the error itself
    """
    t = snapshot.load(layer)
    for quantity in quantities:
        started = perf_counter()
        own = stream(seed, layer, snapshot.step, quantity.repetition)
        try:
            with _same_anywhere(own, quantity.measure):
                result = quantity(t, labels, inputs=inputs, seed=own)
        except Exception as error:  # a measure of somebody else may raise anything, and training must go on
            if on_error == "raise":
                error.add_note(f"while measuring {quantity.key} of layer {layer} at step {snapshot.step}")
                raise
            yield _failed(snapshot, layer, quantity, error, perf_counter() - started)
        else:
            yield Row.of(
                result,
                step=snapshot.step,
                layer=layer,
                quantity=quantity.key,
                estimator=quantity.text,
                seconds=perf_counter() - started,
            )


def estimate_plane(
    folder: str | Path,
    *,
    ixt: Any = None,
    ity: Any = None,
    quantities: Any = None,
    layers: str | Sequence[str] | None = None,
    steps: Sequence[int] | None = None,
    retry: bool = False,
    on_error: OnError = "record",
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """Estimate from the snapshots of a recorded run whatever is missing, and write it into the run.

    Parameters
    ----------
    folder : str or Path        of a run with snapshots: ``estimate="later"``, or ``snapshots=True``
    ixt, ity, quantities        what to estimate, as for `InformationPlane`; all None: what the run was begun with
    layers : pattern, or list of patterns, or None      None: all
    steps : sequence of int or None                     None: all that have a snapshot
    retry : bool                make failed estimates again
    on_error : "record" or "raise"
        what becomes of an estimate that cannot be made: a row of kind "failed" with the reason, or the error itself
    progress : function of (layers done, layers in all), or None

    Returns
    -------
    Trajectory                  all that the run holds now

    Raises
    ------
    ValueError
        if there is no snapshot, no such layer or step, or nothing says what to estimate
    FileNotFoundError, BlockingIOError, OSError
        if there is no run, another process writes to it, or it cannot be written

    Notes
    -----
    Layers and steps run in parallel through joblib where the caller has set it up, by any of its backends::

        with joblib.parallel_config(backend="loky", n_jobs=4):
            miest.estimate_plane("runs/a")

    otherwise one by one, each on all cores. The numbers are those that would have been made during training. What is
    done is kept: stopped and called again, it goes on.
    """
    path = Path(folder)
    with RunFolder.resume(path) as run:
        there = snapshots(path)
        if not there:
            raise ValueError(f'{path} has no snapshots: record a run with estimate="later", or with snapshots=True.')
        unknown = [step for step in steps or () if step not in there]
        if unknown:
            raise ValueError(f"{path} has no snapshot of step {unknown[0]}: it has {', '.join(map(str, there))}.")
        labels, _ = labels_and_inputs(path)
        asked = _asked(run, ixt, ity, quantities, labels)
        run.add_quantities([quantity.to_dict() for quantity in asked])
        works = list(_missing(run, there, asked, layers, steps, retry))
        for done, rows in enumerate(_done(works, on_error)):
            for row in rows:
                run.add(row)
            if progress is not None:
                progress(done + 1, len(works))
        return run.trajectory


def planned(settings: dict[str, Any], *, where: object) -> tuple[Quantity, ...]:
    """The quantities that a run was begun with.

    Raises
    ------
    ValueError
        if one is a function or an estimator of the caller's own, of which only the name is known
    """
    found = []
    for plain in settings["quantities"]:
        quantity = Quantity.from_dict(plain)
        if quantity is None:
            raise ValueError(
                f"{plain['key']} of {where} is measured by {plain['estimator']}, which is not miest's own and cannot "
                "be made from a file: pass the quantities in Python, to miest.estimate_plane."
            )
        found.append(quantity)
    return tuple(found)


def _asked(run: RunFolder, ixt: Any, ity: Any, quantities: Any, labels: NDArray[Any] | None) -> tuple[Quantity, ...]:
    recorded = run.settings["quantities"]
    if ixt is None and ity is None and quantities is None:
        return planned(run.settings, where=run.path) if recorded else resolved(labels=labels)
    return resolved(ixt=ixt, ity=ity, quantities=quantities or (), labels=labels, there=recorded, default=False)


def _missing(
    run: RunFolder,
    there: dict[int, Path],
    asked: Sequence[Quantity],
    layers: str | Sequence[str] | None,
    steps: Sequence[int] | None,
    retry: bool,
) -> Iterator[Work]:
    wanted = [layers] if isinstance(layers, str) else layers
    for step, path in there.items():
        if steps is not None and step not in steps:
            continue
        known = Snapshot.open(path).layers
        for layer in known if wanted is None else dict.fromkeys(n for w in wanted for n in matching(known, w, path)):
            rows = {quantity: run.rows.get((step, layer, quantity.key)) for quantity in asked}
            missing = tuple(q for q, row in rows.items() if row is None or (retry and row.failed))
            if missing:
                yield Work(path, layer, missing, run.path, run.settings["seed"])


def _done(works: Sequence[Work], on_error: OnError) -> Iterator[list[Row]]:
    """Rows as they are done: through joblib where the caller has configured it, otherwise one layer after the other."""
    from joblib import Parallel, delayed, effective_n_jobs
    from joblib.parallel import get_active_backend

    backend, jobs = get_active_backend()
    if effective_n_jobs(jobs) == 1:  # not through joblib, in whose workers the kernels would keep to one thread
        for work in works:
            yield work.rows(on_error=on_error)
        return
    streams = getattr(backend, "supports_return_generator", False)
    pool = Parallel(n_jobs=jobs, return_as="generator_unordered" if streams else "list")
    with _one_thread():  # workers that are threads share this setting
        yield from pool(delayed(Work.rows_on_one_core)(work, on_error=on_error) for work in works)


def _failed(snapshot: Snapshot, layer: str, quantity: Quantity, error: Exception, seconds: float) -> Row:
    reason = " ".join(str(error).split())
    return Row(
        step=snapshot.step,
        layer=layer,
        quantity=quantity.key,
        value=float("nan"),
        kind="failed",
        n=snapshot.n,
        seconds=seconds,
        estimator=quantity.text,
        name=quantity.name,
        notes=(f"{type(error).__name__}: {reason}",),
    )


@contextmanager
def _same_anywhere(seed: int, measure: Any) -> Iterator[None]:
    """Compute on one thread, and seed the global random streams for measures that draw from them; put it back after.

    With more threads, linear algebra adds in another order, and the last bits differ. (The kernels of the neighbour and
    kernel estimators do not, and keep theirs.) The global streams are those of all threads: one measure at a time.
    """
    if not _may_use_torch(measure):  # one of miest's own, which draws from a generator of its own
        with _one_thread():
            yield
        return
    with _STREAMS, _seeded(seed), _one_thread():
        yield


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the streams of Python, NumPy and torch, and have torch compute on one thread; put it back after."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch = _torch()
    generators, threads = [], 0
    if torch is not None:
        threads = torch.get_num_threads()
        generators = [torch.default_generator, *(torch.cuda.default_generators if torch.cuda.is_initialized() else ())]
    before = [generator.get_state() for generator in generators]
    try:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        for generator in generators:
            generator.manual_seed(seed)
        if torch is not None:
            torch.set_num_threads(1)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)
        if torch is not None:
            torch.set_num_threads(threads)


def _torch() -> Any:
    """The module torch, where it is installed: the measure may come to use it."""
    if "torch" not in sys.modules and find_spec("torch") is not None:
        return import_module("torch")
    return sys.modules.get("torch")


def _may_use_torch(measure: Any) -> bool:
    """Whether it is a measure of somebody else, or one of miest's own that trains critics, or is made of such."""
    if not is_own(measure) or type(measure).__module__ in _TORCH:
        return True
    parts = [getattr(measure, f.name) for f in fields(measure)] if is_dataclass(measure) else []
    return any(isinstance(part, Estimator) and _may_use_torch(part) for part in parts)


def _one_thread() -> Any:
    """One thread for the linear algebra of NumPy and SciPy."""
    return _libraries().limit(limits=1, user_api="blas")


@lru_cache(maxsize=1)
def _libraries() -> Any:
    import scipy.linalg  # noqa: F401 - which has a library of its own, to be found as well
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
