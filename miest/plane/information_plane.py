"""The information plane of a training run, estimated while the network is trained.

At scheduled steps a fixed probe set is run through the model and each layer is measured: what it holds of the input,
on the horizontal axis, and of the label, on the vertical one (Tishby & Zaslavsky 2015, arXiv:1503.02406; Shwartz-Ziv
& Tishby 2017, arXiv:1703.00810). Training gives the same bits as without.
"""

import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

try:
    from torch import nn
except ImportError as error:
    raise ImportError("miest.plane needs torch: pip install 'miest[torch]'.") from error

from miest.estimators.estimator import require_choice, require_integer
from miest.plane.axes import resolved
from miest.plane.description import described, input_rows
from miest.plane.estimation import OnError
from miest.plane.loggers import Logger, logger
from miest.plane.measuring import Measuring, When
from miest.plane.quantities import Quantity
from miest.plane.ranks import agreed, is_writer
from miest.plane.recorder import Recorder
from miest.plane.row import Row, read_back
from miest.plane.run import is_run, read_settings, refuse_existing, refuse_other
from miest.plane.run_folder import RunFolder, RunInMemory
from miest.plane.schedule import Schedule, checked_step, schedule
from miest.plane.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class InformationPlane:
    """What each layer of a network holds of its input and of the label, step by step while it is trained.

    ::

        with miest.InformationPlane(model, layers=["fc*"], probe=(x, y), save="runs/a") as plane:
            plane.log(0)
            for epoch in range(1, epochs + 1):
                train_one_epoch(...)
                plane.log(epoch, loss=loss, accuracy=accuracy)

    Parameters
    ----------
    model : torch module
    layers : None, name, pattern, module, type, function, or several of them
        see `miest.plane.layers.select`; None: modules without children that have parameters, and activations
    probe : (x, y), x, a Dataset or a DataLoader
        see `miest.plane.recorder.Recorder`. Integer labels are classes, floats are continuous.
    ixt, ity : None, or one or a list of estimators, their names ("kde:noise_var=0.1"), functions and `Quantity`
        what is estimated of the input (of a layer alone) and of the label. None: `GaussianChannel` with
        `ZeroEntropyNoise` for both, of the probe set as the whole population, or `MixedKSG` for continuous labels; an
        empty list: nothing. With ``estimate="later"``, None leaves it open.
    quantities : list, or mapping from keys
        what has no place in the plane: estimators, functions, `Quantity`, or "total-correlation",
        "correlation-dimension", "linear-probe", "binned-entropy"
    when : schedule, int, list of steps, function of the step, or None
        at which steps; None is ``LogSchedule()``, an integer every so many steps
    save : folder or None       where the run is kept; new or empty. None: in memory
    resume : bool               go on with the run in the folder, if there is one
    estimate : "now", "later" or "background"
        "now": within `log`. "later": only keep snapshots, for `estimate_plane`. "background": in other processes;
        `close` waits for them. The numbers are the same.
    snapshots : bool            keep every layer at every scheduled step in the folder, so that other estimators can be
                                applied later
    n : int or None             rows of the probe set, a random sample fixed by `seed`; None: all
    batch_size, reduce, select, batch_axis, dtype, train_mode, forward
        of the recording, see `miest.plane.recorder.Recorder`
    seed : int                  fixes every random number
    loggers : one or several of TensorBoard's SummaryWriter, a W&B run, the mlflow module, or a function
        see `miest.plane.loggers.logger`
    on_error : "record" or "raise"
        what becomes of an estimate that cannot be made: a row of kind "failed" with the reason, and a warning the
        first time; or the error itself
    workers : int               processes of ``estimate="background"``

    Raises
    ------
    ValueError, TypeError
        if a layer is not there, a setting is not valid, or the folder holds a run of another model or probe set
    FileExistsError
        if the folder holds a run and `resume` is false, or anything else

    Notes
    -----
    Cost: at steps that are not due, one call of the schedule. At the others a forward pass over the probe set, and the
    estimates: of memory one layer at a time, beyond up to 256 MiB for a snapshot that is not kept.
    Processes: with torch.distributed every rank must call `log` for the same steps; rank 0 estimates and writes. Set up
    the process group before the plane.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Any = None,
        *,
        probe: Any,
        ixt: Any = None,
        ity: Any = None,
        quantities: Any = (),
        when: Any = None,
        save: str | Path | None = None,
        resume: bool = False,
        estimate: When = "now",
        snapshots: bool = False,
        n: int | None = None,
        batch_size: int = 256,
        reduce: Any = None,
        select: Any = None,
        batch_axis: Any = None,
        dtype: Literal["float32", "float64", "float16"] = "float32",
        train_mode: bool = False,
        forward: Any = None,
        seed: int = 0,
        loggers: Any = (),
        on_error: OnError = "record",
        workers: int = 1,
    ) -> None:
        require_choice("estimate", estimate, get_args(When))
        require_choice("on_error", on_error, get_args(OnError))
        require_integer("seed", seed, 0)
        require_integer("workers", workers, 1)
        if save is None and (estimate == "later" or snapshots or resume):
            asked = 'estimate="later"' if estimate == "later" else "snapshots=True" if snapshots else "resume=True"
            raise ValueError(f"{asked} needs a folder: pass save=.")
        self._when: Schedule = schedule(when)
        self._path = None if save is None else Path(save)
        self._mode, self._resume, self._on_error, self._seed = estimate, resume, on_error, int(seed)
        self._keep = snapshots or estimate == "later"
        self._loggers: tuple[Logger, ...] = tuple(logger(each) for each in _several(loggers))
        self.recorder = Recorder(
            model,
            layers,
            probe=probe,
            n=n,
            batch_size=batch_size,
            reduce=reduce,
            select=select,
            batch_axis=batch_axis,
            dtype=dtype,
            train_mode=train_mode,
            forward=forward,
            seed=int(seed),
        )
        self.quantities: tuple[Quantity, ...] = resolved(
            ixt=ixt, ity=ity, quantities=quantities, labels=self.recorder.labels, default=estimate != "later"
        )
        self._workers = workers
        self._settings = described(
            self.recorder,
            self.quantities,
            when=self._when,
            reduce=reduce,
            dtype=dtype,
            estimate=estimate,
            seed=self._seed,
        )
        if self._path is not None and is_writer():
            if resume and is_run(self._path):
                refuse_other(self._path, read_settings(self._path), self._settings)
            else:
                refuse_existing(self._path)
        self._run: RunFolder | RunInMemory | None = None
        self._measuring: Measuring | None = None
        self._closed = False
        self._told: set[str] = set()  # quantities whose failure was warned of

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        self.close(wait=kind is None)

    def open(self) -> None:
        """Begin the run, or go on with it; `log` does it where it was not done."""
        if self._closed:
            raise ValueError("the plane is closed: make a new one, with resume=True to go on with its folder.")
        if self._run is not None or not is_writer():
            return
        self._run = self._begun()
        self._measuring = Measuring(
            self._run,
            self.recorder,
            self.quantities,
            when=self._mode,
            keep=self._keep,
            on_error=self._on_error,
            workers=self._workers,
        )
        try:
            for each in self._loggers:
                each.begin(self.quantities)
            if self._resume:
                self._measuring.make_up()
                self._settle()
        except BaseException:
            self.close(wait=False)
            raise

    def close(self, *, wait: bool = True) -> None:
        """End the run: wait for what is estimated in the background, and let go of the folder.

        Parameters
        ----------
        wait : bool         False leaves undone what is still waiting; its snapshots stay, and ``resume=True`` or
                            ``miest plane estimate`` makes up for it
        """
        if self._closed:
            return
        self._closed = True
        if self._run is None or self._measuring is None:
            return
        try:
            self._measuring.close(wait=wait)
            if wait:
                self._settle()
                for each in self._loggers:
                    each.end(self._run.trajectory)
        finally:
            self._run.close()

    def log(self, step: int, **scalars: float) -> bool:
        """Estimate the plane if the schedule says so.

        Parameters
        ----------
        step : int              of training, or epoch; 0 is before the first
        **scalars : numbers     loss, accuracy, ...: kept at every step, also where the plane is not estimated

        Returns
        -------
        bool                    whether the step was due
        """
        due = self._when(checked_step(step))
        if scalars:
            self.log_scalars(step, **scalars)
        if due:
            self.record(step)
        return due

    def record(self, step: int, **scalars: float) -> None:
        """Estimate the plane whatever the schedule says, unless the run has it already; as `log` otherwise.

        Raises
        ------
        OSError
            if the run cannot be written; what was written before is safe
        """
        step = checked_step(step)
        self.open()
        if scalars:
            self.log_scalars(step, **scalars)
        if agreed(not self.holds(step)):
            if self._measuring is None:
                self.recorder.take_part(step)
            else:
                self._measuring.measure(step)
        self._settle()

    def log_scalars(self, step: int, **scalars: float) -> None:
        """Keep numbers beside the plane, at any step; no model is run.

        Raises
        ------
        ValueError
            if one is not a number
        """
        step = checked_step(step)
        plain = {}
        for name, value in scalars.items():
            try:
                plain[name] = float(value.detach() if hasattr(value, "detach") else value)
            except (TypeError, ValueError, RuntimeError) as error:
                raise ValueError(f"{name}={value!r} is no number: log numbers, such as loss.item().") from error
        self.open()
        if self._run is not None:
            self._run.add_scalars(step, read_back(plain))

    def log_gradients(self, step: int, loss: Any, batches: Iterable[Any], layers: Any = None, **options: Any) -> bool:
        """Keep the signal-to-noise ratio of each layer's gradient beside the plane, if the schedule says so.

        Norms of the mean and of the standard deviation of the gradient over the batches, and their ratio, become rows
        of the quantities "grad_mean", "grad_std" and "grad_SNR".

        Parameters
        ----------
        step : int
        loss, batches, layers, **options
            as `miest.plane.gradients.gradient_signal_to_noise` takes them

        Returns
        -------
        bool                        whether the step was due
        """
        step = checked_step(step)
        if not self._when(step):
            return False
        self.open()
        there = self._run is not None and any(row[0] == step and row[2] == "grad_SNR" for row in self._run.rows)
        if not agreed(not there):
            return True
        from miest.plane.gradients import gradient_signal_to_noise

        found = gradient_signal_to_noise(self.recorder.model, loss, batches, layers, **options)
        for layer, snr in found.items():
            values = {"grad_mean": snr.mean_norm, "grad_std": snr.std_norm, "grad_SNR": snr.ratio}
            for key, value in values.items():
                if self._measuring is not None:
                    self._measuring.take(_gradient_row(step, layer, key, float(value), snr.n_batches))
        self._settle()
        return True

    @property
    def is_open(self) -> bool:
        """Whether the run has begun and not ended; on ranks that do not write, whether it may be logged to."""
        return not self._closed and (self._run is not None or not is_writer())

    def holds(self, step: int) -> bool:
        """Whether the run has all of a step already: its estimates, or with ``estimate="later"`` its snapshot."""
        self.open()
        return self._measuring is not None and self._measuring.holds(step)  # other ranks do not know

    @property
    def trajectory(self) -> Trajectory:
        """All that was estimated so far."""
        return Trajectory(settings=self._settings) if self._run is None else self._run.trajectory

    def plot(self, x: str | None = None, y: str | None = None, **options: Any) -> "tuple[Figure, Axes]":
        """Draw the plane; see `miest.plot_plane`."""
        return self.trajectory.plot(x, y, **options)

    def plot_timeline(self, **options: Any) -> "tuple[Figure, Any]":
        """Draw quantities against steps; see `miest.plot_timeline`."""
        return self.trajectory.plot_timeline(**options)

    def plot_compare(self, **options: Any) -> "tuple[Figure, Any]":
        """Draw the plane under several estimators; see `miest.plot_compare`."""
        return self.trajectory.plot_compare(**options)

    def report(self, path: str | Path, **options: Any) -> Path:
        """Write the run as one HTML page that needs no network."""
        return self.trajectory.report(path, **options)

    def add_logger(self, target: Any) -> None:
        """Send rows to one more logger from now on; see `miest.plane.loggers.logger`."""
        added = logger(target)
        self._loggers = (*self._loggers, added)
        if self._run is not None:
            added.begin(self.quantities)

    def _begun(self) -> RunFolder | RunInMemory:
        if self._path is None:
            return RunInMemory(self._settings)
        if self._resume and is_run(self._path):
            return RunFolder.resume(self._path, self._settings)
        inputs = input_rows(self.recorder) if any(quantity.inputs for quantity in self.quantities) else None
        return RunFolder.begin(self._path, self._settings, labels=self.recorder.labels, inputs=inputs)

    def _settle(self) -> None:
        """Tell loggers and the caller what has come in."""
        if self._measuring is None:
            return
        rows = self._measuring.news()
        for row in rows:
            if row.failed and row.quantity not in self._told:
                self._told.add(row.quantity)
                warnings.warn(
                    f"{row.quantity} of layer {row.layer} at step {row.step} could not be estimated: {row.notes[0]} "
                    'Further failures of it are recorded without a warning; on_error="raise" stops at the first.',
                    RuntimeWarning,
                    stacklevel=4,
                )
        if rows:
            for each in self._loggers:
                each.rows(rows)
        self._measuring.settle()


def _gradient_row(step: int, layer: str, key: str, value: float, batches: int) -> Row:
    names = {"grad_mean": "norm of mean gradient", "grad_std": "norm of gradient std"}
    return Row(
        step=step,
        layer=layer,
        quantity=key,
        value=value,
        kind="failed" if math.isnan(value) else "point",
        notes=("All gradients are 0.",) if math.isnan(value) else (),
        n=batches,
        estimator=f"gradient over {batches} batches",
        name=names.get(key, "gradient signal-to-noise"),
    )


def _several(targets: Any) -> list[Any]:
    """Loggers in a list, or one."""
    if targets is None:
        return []
    return list(targets) if isinstance(targets, (list, tuple)) else [targets]
