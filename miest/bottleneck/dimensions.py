"""Dimensions through the layers of a network: why I(X;L) of a deterministic one is infinite.

For almost all weights and activations that are bi-Lipschitz on bounded sets (tanh, sigmoid, leaky ReLU, softplus), the
correlation dimension of a layer is the least of all widths before it, its own, and the dimension of X (Amjad & Geiger
2020, eq. 16). Any positive dimension makes I(X;L) infinite.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from miest.estimators.dimension import CorrelationDimension
from miest.estimators.estimator import Estimator
from miest.plane.layers import Layers
from miest.plane.recorder import Recorder
from miest.result import MIResult
from miest.samples import variable


@dataclass(frozen=True, kw_only=True)
class LayerDimension:
    """What was estimated of one layer, and what its dimension is in theory.

    Parameters
    ----------
    layer : str                 "X" is the input
    width : int                 columns
    expected : float or None    the least of the widths up to here and the dimension of X; None where the estimate is of
                                no dimension
    result : MIResult
    """

    layer: str
    width: int
    expected: float | None
    result: MIResult

    @property
    def infinite(self) -> bool:
        """Whether the interval of the dimension is above 0, so that I(X;L) of a deterministic network is infinite."""
        known = self.result.unit == "dimensions" and self.result.interval is not None
        return known and self.result.interval[0] > 0  # type: ignore[index]


def dimensions_through_layers(
    model: Any,
    x: Any,
    *,
    layers: Layers = None,
    estimator: Estimator | None = None,
    d_x: float | None = None,
    seed: int = 0,
) -> tuple[LayerDimension, ...]:
    """Dimension of the input and of each layer of a network, beside the one that eq. 16 expects.

    Parameters
    ----------
    model : torch module
    x : (n, ...) array or tensor        inputs
    layers : as of `Recorder`           None: all modules with parameters and all activations, in order
    estimator : Estimator or None       None: `CorrelationDimension`; `InformationDimension` and `Renyi2` go as well
    d_x : float or None                 the dimension of X, where it is known; None: as estimated
    seed : int                          of a model that draws random numbers

    Returns
    -------
    tuple of LayerDimension             "X" first

    Raises
    ------
    ValueError
        as the estimator and `Recorder` do

    Notes
    -----
    Wrong when: an activation is not bi-Lipschitz. A ReLU or a step may lower the dimension further, down to 0: then
        `expected` is an upper bound. Only widths of the layers that are measured are known. A direction that the
        weights squeeze below the scaling range of the estimator is not seen, and the value too small.
    Source: Amjad, Geiger (2020), doi:10.1109/TPAMI.2019.2909031, theorem 1 and section 8.
    """
    used = CorrelationDimension() if estimator is None else estimator
    snapshot = Recorder(model, layers, probe=(x, None), dtype="float64", seed=seed).snapshot(0)
    inputs = variable(x, "x").numbers
    of_input = used.estimate(inputs)
    bound = None
    if of_input.unit == "dimensions":
        bound = min(of_input.value if d_x is None else float(d_x), float(inputs.shape[1]))
    found = [LayerDimension(layer="X", width=inputs.shape[1], expected=bound, result=of_input)]
    for layer in snapshot.layers:
        rows = np.asarray(snapshot.load(layer))
        rows = rows.reshape(len(rows), -1)
        bound = None if bound is None else min(bound, float(rows.shape[1]))
        found.append(LayerDimension(layer=layer, width=rows.shape[1], expected=bound, result=used.estimate(rows)))
    return tuple(found)


def dimension_table(found: Iterable[LayerDimension]) -> str:
    """Lines of text: layer, width, what is expected and what was measured."""
    lines = [f"{'layer':<14}{'width':>6}{'expected':>10}{'measured':>10}  quantity"]
    for each in found:
        expected = "" if each.expected is None else f"{each.expected:.2f}"
        flags = " ".join(flag.name for flag in each.result.flags)
        lines.append(
            f"{each.layer:<14}{each.width:>6}{expected:>10}{each.result.value:>10.3f}  {each.result.quantity} {flags}"
        )
    return "\n".join(line.rstrip() for line in lines)
