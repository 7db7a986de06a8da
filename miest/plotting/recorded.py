"""What the pictures of training read: any object with these attributes can be drawn."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol


class Row(Protocol):
    """One estimate: of one quantity, in one layer, at one step."""

    @property
    def step(self) -> int:
        """Of training; 0 is before the first."""

    @property
    def layer(self) -> str:
        """Name in the model."""

    @property
    def quantity(self) -> str:
        """Key of the quantity and its estimator, such as "I_XT" or "I_XT[kde]"."""

    @property
    def name(self) -> str:
        """The quantity for a reader, such as "I(X;T+eps)"."""

    @property
    def estimator(self) -> str:
        """Name and settings."""

    @property
    def value(self) -> float:
        """Nats; not a number where the estimate failed."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Nats, at `level`."""

    @property
    def level(self) -> float:
        """Of the interval."""

    @property
    def kind(self) -> str:
        """One of "point", "lower bound", "upper bound", "failed"."""

    @property
    def ceiling(self) -> float | None:
        """The largest value that the method can report, nats."""

    @property
    def flags(self) -> Sequence[str]:
        """Names of `miest.Flag`."""

    @property
    def notes(self) -> Sequence[str]:
        """A sentence for each flag and each choice made for the caller."""

    @property
    def seconds(self) -> float:
        """That the estimate took."""

    @property
    def diagnostics(self) -> Mapping[str, Any]:
        """What the method knows about its own estimate, such as its noise or its bin width."""

    @property
    def n(self) -> int:
        """Number of samples."""


class Trajectory(Protocol):
    """The estimates of a training run, and what was logged beside them."""

    @property
    def rows(self) -> Iterable[Row]:
        """All estimates; where two have the same step, layer and key, the later one holds."""

    @property
    def layers(self) -> Sequence[str]:
        """In network order."""

    @property
    def steps(self) -> Sequence[int]:
        """Ascending."""

    @property
    def quantities(self) -> Sequence[str]:
        """Keys, in the order in which they are shown."""

    @property
    def axes(self) -> Mapping[str, str | None]:
        """Of the plane, for each key; None for what has no place in it."""

    @property
    def references(self) -> Mapping[str, float]:
        """Entropies of the probe set, nats, such as {"H(X)": 7.6, "H(Y)": 2.3}."""

    @property
    def scalars(self) -> Mapping[int, Mapping[str, float]]:
        """What was logged at each step, such as {100: {"loss": 0.3, "accuracy": 0.9}}."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of the run: model, probe set, versions."""
