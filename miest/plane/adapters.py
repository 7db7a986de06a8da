"""The plane inside trainers that own the loop: callbacks for Lightning and for Hugging Face's Trainer.

A loop of one's own needs neither: it calls `InformationPlane.log`. Both callbacks only call it at the right moments, on
every rank; rank 0 estimates and writes.
"""

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Literal, get_args

from miest.estimators.estimator import require_choice
from miest.plane.information_plane import InformationPlane

On = Literal["epoch", "step"]

_NO_SCALARS = {"step", "self", "epoch", "total_flos", "train_runtime"}  # counters and clocks of trainers
_NO_SCALARS |= {"train_samples_per_second", "train_steps_per_second"}


def lightning_callback(plane: InformationPlane, *, on: On = "epoch", loggers: bool = True) -> Any:
    """A Lightning callback that logs the plane while the trainer fits.

    ::

        plane = miest.InformationPlane(module, layers=["net.*"], probe=(x, y), save="runs/a")
        Trainer(callbacks=[miest.lightning_callback(plane)]).fit(module, data)
        plane.plot()

    Parameters
    ----------
    plane : InformationPlane    of the LightningModule; one that is not open yet is opened and closed by the fit
    on : "epoch" or "step"      what a step of the plane is: an epoch, or an update of the weights
    loggers : bool              send rows to the loggers of the trainer

    Returns
    -------
    Callback                    of the package that is in use, lightning or pytorch_lightning

    Raises
    ------
    ImportError
        if neither is installed

    Notes
    -----
    Step 0 is logged before the first batch, after the sanity check, whose batches are no steps. Metrics that the module
    logged become scalars of the plane.
    """
    require_choice("on", on, get_args(On))
    names = ("lightning.pytorch", "pytorch_lightning")
    return _callback(_LightningHooks, "Callback", names, "lightning", plane, on, loggers)


def transformers_callback(plane: InformationPlane, *, on: On = "step") -> Any:
    """A callback of Hugging Face's Trainer that logs the plane while it trains.

    ::

        plane = miest.InformationPlane(model, layers=["*.output"], probe=dataset, n=1000, save="runs/a")
        Trainer(model, args, train_dataset=..., callbacks=[miest.transformers_callback(plane)]).train()

    Parameters
    ----------
    plane : InformationPlane    of the model; one that is not open yet is opened and closed by the training
    on : "step" or "epoch"      what a step of the plane is: an update of the weights, or an epoch

    Returns
    -------
    TrainerCallback

    Raises
    ------
    ImportError
        if transformers is not installed
    """
    require_choice("on", on, get_args(On))
    return _callback(_TransformersHooks, "TrainerCallback", ("transformers",), "transformers", plane, on)


def _callback(hooks: type, base: str, modules: tuple[str, ...], package: str, *settings: Any) -> Any:
    """An object with our hooks, of the class that the trainer wants; of two packages, the one that is in use."""
    for name in sorted(modules, key=lambda name: name not in sys.modules):
        try:
            parent = getattr(import_module(name), base)
        except ImportError:
            continue
        return type("InformationPlaneCallback", (hooks, parent), {})(*settings)
    raise ImportError(f"this callback needs {package}: pip install {package}.")


class _Fit:
    """Opens and closes a plane that the caller has not opened."""

    def __init__(self, plane: InformationPlane, on: On) -> None:
        super().__init__()
        self.plane, self._on = plane, on
        self._ours = False
        self._last = -1

    def _begin(self) -> None:
        self._ours = not self.plane.is_open
        self.plane.open()

    def _end(self, *, wait: bool = True) -> None:
        if self._ours:
            self.plane.close(wait=wait)

    def _log(self, step: int, metrics: Mapping[str, Any]) -> None:
        if step != self._last:  # batches whose gradients are accumulated are no steps
            self._last = step
            self.plane.log(step, **dict(_numbers(metrics)))


class _LightningHooks(_Fit):
    def __init__(self, plane: InformationPlane, on: On, loggers: bool) -> None:
        super().__init__(plane, on)
        self._loggers = loggers

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self._begin()
        if self._loggers:
            self._loggers = False
            for each in trainer.loggers:
                writer = getattr(each, "experiment", None)
                self.plane.add_logger(writer if hasattr(writer, "add_scalar") else each)
        self._log(self._step(trainer), {})

    def on_train_batch_end(self, trainer: Any, module: Any, *batch: Any, **more: Any) -> None:
        if self._on == "step":
            self._log(self._step(trainer), trainer.callback_metrics)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        if self._on == "epoch":
            self._log(trainer.current_epoch + 1, trainer.callback_metrics)

    def on_fit_end(self, trainer: Any, module: Any) -> None:
        self._end()

    def on_exception(self, trainer: Any, module: Any, error: BaseException) -> None:
        self._end(wait=False)

    def _step(self, trainer: Any) -> int:
        return int(trainer.global_step if self._on == "step" else trainer.current_epoch)


class _TransformersHooks(_Fit):
    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._begin()
        self._log(self._step(state), {})

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if self._on == "step":
            self._log(self._step(state), {})

    def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if self._on == "epoch":
            self._log(self._step(state), {})

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **more: Any) -> None:
        found = dict(_numbers(logs or {}))
        if found and self.plane.is_open:
            self.plane.log_scalars(self._step(state), **found)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._end()

    def _step(self, state: Any) -> int:
        return int(state.global_step if self._on == "step" else round(state.epoch or 0))


def _numbers(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The metrics that are single numbers."""
    for name, value in metrics.items():
        if name not in _NO_SCALARS:
            try:
                yield str(name), float(value)
            except (TypeError, ValueError, RuntimeError):  # a text, a tensor of several
                continue
