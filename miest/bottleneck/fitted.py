"""What a training with information gives: the network with its read-out, and the course of each part."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from miest.bottleneck.alternation import Course
from miest.neural.train import drawing_from
from miest.plane.inputs import home_of
from miest.plane.row import Row
from miest.plane.trajectory import Trajectory

_ROWS_AT_ONCE = 1024
_READ_OUT_RATE = 1e-2
_KEYS, _NAMES = ("I_XT", "I_TY"), ("I(X;T+eps)", "I(Y;T)")
_CRITIC = "critic of the training"


@dataclass(frozen=True)
class Look:
    """One step of training, for a progress callback.

    Parameters
    ----------
    step, steps : int           of the whole training, from 1
    layer : str                 that is being trained
    prediction : float          I(Y;L) of the critic on this batch, nats
    rate : float                I(X;L+eps) of the critic on this batch, nats; NaN where beta is 0
    """

    step: int
    steps: int
    layer: str
    prediction: float
    rate: float


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network with its read-out, and how its layers came to be.

    Parameters
    ----------
    network : nn.Sequential     the model, then the read-out: (b, ...) inputs to (b, classes) logits
    classes : (c,) array        the label of each logit
    courses : tuple of Course   of every layer, in order
    """

    network: nn.Sequential
    classes: NDArray[Any]
    courses: tuple[Course, ...]

    def predict(self, x: Any) -> NDArray[Any]:
        """(n,) labels of (n, ...) inputs."""
        device, dtype = home_of(self.network)
        rows = torch.as_tensor(x).to(device)
        rows = rows.to(dtype) if rows.is_floating_point() else rows
        return self.classes[outputs(self.network, rows).argmax(1).cpu().numpy()]

    def trajectory(self, points: int = 20) -> Trajectory:
        """The plane by the critics: means over so many stretches of each layer's steps, at the last step of each.

        The values are of rows that the critics were trained on, and no bounds on the information in new rows.
        """
        rows, before = [], 0
        for course in self.courses:
            for values, key, name in zip((course.rate, course.prediction), _KEYS, _NAMES, strict=True):
                for steps in np.array_split(np.arange(len(values)), min(points, len(values))):
                    value, step = float(np.mean(np.array(values)[steps])), before + int(steps[-1]) + 1
                    if np.isfinite(value):
                        row = Row(step=step, layer=course.name, quantity=key, value=value, n=course.rows)
                        rows.append(replace(row, name=name, estimator=_CRITIC))
            before += len(course.prediction)
        quantities = [{"key": key, "axis": axis} for key, axis in zip(_KEYS, "xy", strict=True)]
        settings = {"layers": [course.name for course in self.courses], "quantities": quantities}
        return Trajectory(rows=tuple(rows), settings=settings)


def seed_of(seed: int, number: int) -> int:
    """A seed of its own for each part of the training."""
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0])


def outputs(network: nn.Module, inputs: Tensor) -> Tensor:
    """What a network gives for all rows, in its present mode."""
    with torch.no_grad():
        return torch.cat([network(rows) for rows in inputs.split(_ROWS_AT_ONCE)])


def read_out(t: Tensor, labels: Tensor, steps: int, seed: int, decay: float = 0.0) -> nn.Linear:
    """A linear layer with the least cross-entropy + decay / 2 |weights|^2 that so many steps of Adam find.

    The weights are those of t in units of its spread.
    """
    # Centred and on one scale while it is trained, since the steps of Adam know no units; the layer takes t as it is.
    centre, spread = t.mean(0), float(t.std()) or 1.0
    scaled = (t - centre) / spread
    with drawing_from(seed, t.device):
        found = nn.Linear(t.shape[1], int(labels.max()) + 1, device=t.device, dtype=t.dtype)
        decayed: list[dict[str, Any]] = [{"params": [found.weight], "weight_decay": decay}, {"params": [found.bias]}]
        optimizer = torch.optim.Adam(decayed, lr=_READ_OUT_RATE)
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(found(scaled), labels).backward()
            optimizer.step()
    with torch.no_grad():
        found.weight.div_(spread)
        found.bias.sub_(found.weight @ centre)
    return found


@contextmanager
def as_before(model: nn.Module) -> Iterator[None]:
    """Put back the modes of all modules, and which parameters need a gradient."""
    modes: Mapping[nn.Module, bool] = {module: module.training for module in model.modules()}
    needed = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, requires_grad in needed:
            parameter.requires_grad_(requires_grad)
