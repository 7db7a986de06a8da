"""Compression in a training run, as a number: how far a layer's information about the input fell from its peak."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log

from miest.plane.trajectory import Trajectory

SHARE = 0.15
"""Of the peak. A smaller fall is not called compression: without any cause, values come and go by up to a tenth."""


@dataclass(frozen=True, kw_only=True)
class Compression:
    """The peak of a quantity over the steps of training, and its end; nats.

    Parameters
    ----------
    layer, quantity : str
    start : float           before training
    peak : float
    step : int              of the peak
    end : float             after the last step
    """

    layer: str
    quantity: str
    start: float
    peak: float
    step: int
    end: float

    @property
    def fall(self) -> float:
        """From the peak to the end."""
        return self.peak - self.end

    @property
    def seen(self) -> bool:
        """Whether more than `SHARE` of the peak was lost again."""
        return self.fall > SHARE * self.peak


def compressions(trajectory: Trajectory, quantity: str) -> tuple[Compression, ...]:
    """Peak and end of a quantity in each layer, in network order.

    Parameters
    ----------
    trajectory : Trajectory
    quantity : str          its key, such as "I_XT" or "H_bin"

    Raises
    ------
    ValueError
        if the run has no such quantity
    """
    rows = [row for row in trajectory.select(quantity=quantity).rows if not row.failed]
    found = []
    for layer in trajectory.layers:
        sound = [row for row in rows if row.layer == layer]
        if not sound:
            continue
        top = max(sound, key=lambda row: row.value)
        first, last = sound[0], sound[-1]
        found.append(
            Compression(
                layer=layer, quantity=quantity, start=first.value, peak=top.value, step=top.step, end=last.value
            )
        )
    return tuple(found)


def table(found: Iterable[Compression], *, bits: bool = False) -> str:
    """Lines of text: the start, the peak and the end of each layer, what was lost, and whether that is compression."""
    unit, scale = ("bits", 1 / log(2)) if bits else ("nats", 1.0)
    lines = [f"{'layer':<12}{'quantity':<12}{'start':>8}{'peak':>8}{'at step':>9}{'end':>8}{'fall':>8}  {unit}"]
    for each in found:
        numbers = [f"{value * scale:8.2f}" for value in (each.start, each.peak, each.end, each.fall)]
        told = "compression" if each.seen else "no compression"
        lines.append(
            f"{each.layer:<12}{each.quantity:<12}{numbers[0]}{numbers[1]}{each.step:>9}{numbers[2]}{numbers[3]}  {told}"
        )
    return "\n".join(lines)
