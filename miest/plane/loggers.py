"""Where rows go while they are made: TensorBoard, Weights & Biases, MLflow, or a function.

Loggers are known by what they can do, and none of these packages is needed or imported. Keys are
``ip/<layer>/<quantity>``, as ``ip/fc1/I_XT``. A logger that fails is told of once and left alone: it must not end a
training run.
"""

import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

from miest.plane.quantities import Quantity
from miest.plane.row import Row
from miest.plane.trajectory import Trajectory

_FIGURE = "ip/plane"
_STEP = "ip/step"


class Logger(Protocol):
    """What a plane calls."""

    def begin(self, quantities: Sequence[Quantity]) -> None:
        """Before the first row."""

    def rows(self, rows: Sequence[Row]) -> None:
        """Rows that have come in, of one step or of several."""

    def end(self, trajectory: Trajectory) -> None:
        """After the last row."""


def logger(target: Any) -> Logger:
    """What sends rows to `target`.

    Parameters
    ----------
    target : one of
        TensorBoard's SummaryWriter     scalars, a custom layout with a chart for each quantity, the plane at the end
        a W&B run, or the module wandb  metrics against their own axis "ip/step", so that late rows are not refused
        the module mlflow, or anything with ``log_metrics(metrics, step=)``, as the loggers of Lightning
        a function                      called with (key, value, step) for each row

    Raises
    ------
    ValueError
        if it can do none of that

    Notes
    -----
    Failed estimates and infinite values are not sent; the trajectory has them. W&B counts each step of the plane as one
    of its own: leave ``step=`` out of your own ``run.log``, or send rows by a function.
    """
    if hasattr(target, "add_scalar"):
        return _Guarded(TensorBoardLogger(target))
    if hasattr(target, "log_metrics"):
        return _Guarded(MetricsLogger(target))
    if hasattr(target, "log") and callable(target.log):
        return _Guarded(WandbLogger(target))
    if callable(target) and not isinstance(target, type):
        return _Guarded(FunctionLogger(target))
    raise ValueError(
        f"{target!r} is no logger: pass a SummaryWriter, a W&B run, the module mlflow, or a function of (key, value, "
        "step)."
    )


def key(row: Row) -> str:
    """Under which a row is logged."""
    return f"ip/{row.layer}/{row.quantity}"


def _values(rows: Iterable[Row]) -> dict[int, dict[str, float]]:
    """What there is to send, by step."""
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for row in rows:
        if not row.failed and abs(row.value) != float("inf"):
            found[row.step][key(row)] = row.value
    return dict(found)


class TensorBoardLogger:
    """Scalars, a chart for each quantity with all layers in it, and the plane as a picture at the end."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def begin(self, quantities: Sequence[Quantity]) -> None:
        """Lay out the charts, where the writer can."""
        if hasattr(self._writer, "add_custom_scalars"):
            charts = {q.key: ["Multiline", [rf"ip/.*/{re.escape(q.key)}$"]] for q in quantities}
            self._writer.add_custom_scalars({"information plane": charts})

    def rows(self, rows: Sequence[Row]) -> None:
        """Send them."""
        for step, values in _values(rows).items():
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def end(self, trajectory: Trajectory) -> None:
        """Send the picture, where matplotlib is there and the plane has both axes."""
        figure = _figure(trajectory)
        if figure is not None and hasattr(self._writer, "add_figure"):
            self._writer.add_figure(_FIGURE, figure, trajectory.steps[-1], close=False)


class WandbLogger:
    """Metrics of a W&B run, against an axis of their own."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def begin(self, quantities: Sequence[Quantity]) -> None:
        """Say what the axis is: W&B drops what comes for a step before its own, as rows from the background do."""
        if hasattr(self._run, "define_metric"):
            self._run.define_metric(_STEP)
            self._run.define_metric("ip/*", step_metric=_STEP)

    def rows(self, rows: Sequence[Row]) -> None:
        """Send them, a step at a time."""
        for step, values in _values(rows).items():
            self._run.log({**values, _STEP: step})

    def end(self, trajectory: Trajectory) -> None:
        """Nothing more."""


class MetricsLogger:
    """Anything with ``log_metrics(metrics, step=)``: mlflow, and the loggers of Lightning."""

    def __init__(self, target: Any) -> None:
        self._target = target
        module = getattr(target, "__name__", "") if isinstance(target, type(re)) else type(target).__module__
        self._plain = module.partition(".")[0] == "mlflow"  # which refuses brackets and the like in names

    def begin(self, quantities: Sequence[Quantity]) -> None:
        """Nothing yet."""

    def rows(self, rows: Sequence[Row]) -> None:
        """Send them, a step at a time."""
        for step, values in _values(rows).items():
            self._target.log_metrics(self._named(values), step=step)

    def end(self, trajectory: Trajectory) -> None:
        """Send the picture, where the target takes figures."""
        figure = _figure(trajectory) if hasattr(self._target, "log_figure") else None
        if figure is not None:
            self._target.log_figure(figure, "information_plane.png")

    def _named(self, values: Mapping[str, float]) -> dict[str, float]:
        if not self._plain:
            return dict(values)
        return {re.sub(r"[^\w\-./ ]+", "_", name).rstrip("_"): value for name, value in values.items()}


class FunctionLogger:
    """Calls a function with (key, value, step)."""

    def __init__(self, function: Callable[[str, float, int], Any]) -> None:
        self._function = function

    def begin(self, quantities: Sequence[Quantity]) -> None:
        """Nothing yet."""

    def rows(self, rows: Sequence[Row]) -> None:
        """Send them."""
        for step, values in _values(rows).items():
            for name, value in values.items():
                self._function(name, value, step)

    def end(self, trajectory: Trajectory) -> None:
        """Nothing more."""


class _Guarded:
    """A logger that is left alone after its first failure."""

    def __init__(self, inner: Logger) -> None:
        self._inner = inner
        self._failed = False

    def begin(self, quantities: Sequence[Quantity]) -> None:
        self._call(self._inner.begin, quantities)

    def rows(self, rows: Sequence[Row]) -> None:
        self._call(self._inner.rows, rows)

    def end(self, trajectory: Trajectory) -> None:
        self._call(self._inner.end, trajectory)

    def _call(self, what: Callable[[Any], None], given: Any) -> None:
        if self._failed:
            return
        try:
            what(given)
        except Exception as error:  # of somebody else's package, over a network
            self._failed = True
            warnings.warn(
                f"{type(self._inner).__name__} failed and gets no more rows: {type(error).__name__}: {error}. The "
                "trajectory has them all.",
                RuntimeWarning,
                stacklevel=2,
            )


def _figure(trajectory: Trajectory) -> Any:
    """The plane, if it can be drawn."""
    if find_spec("matplotlib") is None or not {"x", "y"} <= set(trajectory.axes.values()):
        return None
    return trajectory.plot()[0]
