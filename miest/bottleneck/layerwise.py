"""Training layer by layer with the information bottleneck: each layer to I(Y;L) - beta I(X;L+eps), then frozen.

>>> from miest.bottleneck import layerwise
>>> fitted = layerwise.fit(nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10)), (x, y), beta=1e-3)
>>> fitted.network(x).argmax(1)

No cross-entropy reaches the layers: it trains only the linear read-out that is put on top of them at the end.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError("miest.bottleneck needs torch: pip install 'miest[torch]'.") from error

from miest.bottleneck.alternation import Alternation, Course, Weights, alternate
from miest.bottleneck.fitted import Fitted, Look, as_before, outputs, read_out, seed_of
from miest.bottleneck.training_rows import training_rows
from miest.bottleneck.units import units_of
from miest.estimators.estimator import require_integer
from miest.noise import GaussianNoise, ZeroEntropyNoise
from miest.plane.inputs import home_of

NOISE = GaussianNoise(std=2**0.5)
"""Of the paper, appendix C: variance 2, the same in all layers."""


def fit(
    model: nn.Module | Sequence[nn.Module],
    data: Any,
    *,
    beta: float | Sequence[float] = 1e-3,
    layers: Sequence[str] | None = None,
    noise: GaussianNoise | ZeroEntropyNoise = NOISE,
    steps: int | Sequence[int] = 5000,
    critic_steps: int = 10,
    warm_up: int = 500,
    batch: int = 256,
    learning_rate: float = 1e-3,
    critic_learning_rate: float = 1e-4,
    hidden: Sequence[int] = (1500, 1500),
    annealed: bool = False,
    read_out_steps: int = 1000,
    read_out_decay: float = 0.0,
    plane: Any = None,
    progress: Callable[[Look], None] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Fitted:
    """Train a stack layer by layer to the largest I(Y;L) - beta I(X;L+eps), then a linear read-out.

    Parameters
    ----------
    model : nn.Sequential, nn.ModuleList or a list of modules
        trained in place. A layer is a module with weights and all that follows it up to the next one, such as its norm
        and activation
    data : (x, y), a Dataset or a DataLoader of such pairs
        x (n, ...) inputs; y (n,) classes
    beta : float, or one for each layer
        price of a nat about the input; with 0 only I(Y;L) is climbed
    layers : names of children of the model where layers end, or None
    noise : GaussianNoise or ZeroEntropyNoise
        eps, part of the quantity and not of the network, in the units of the layer
    steps : int, or one for each layer
    critic_steps : int              of both critics for each step of the layer
    warm_up : int                   of the critics, before the first step of each layer
    batch : int                     joint pairs a step, with as many other rows for the marginal pairs of I(X;L+eps); at
                                    most n / 2. A step of the layer has the labels of both
    learning_rate, critic_learning_rate : float         of Adam, of the layer, and of the critics
    hidden : widths of the hidden layers of both critics
    annealed : bool                 whether the rate of a layer falls to 0 over its steps, along half a cosine: what is
                                    frozen is then no snapshot of a layer that follows the last marginal pairs
    read_out_steps : int            of Adam on the cross-entropy of all rows, with the layers frozen
    read_out_decay : float          price of half the squared weights of the read-out, of the last layer in units of its
                                    spread
    plane : InformationPlane, or a function (step, **scalars), or None
        `log` of the plane, or the function, is called at step 0 and after each step of a layer, with `layer` (from 0),
        `prediction` and `rate`
    progress : function of a Look
    seed : int                      fixes every random number
    device : None: where the model is

    Returns
    -------
    Fitted

    Raises
    ------
    TypeError
        if the model is no stack
    ValueError
        if no layer has weights, `layers` are not among its children, or a setting is out of range
    DataError
        if the data cannot be used
    FloatingPointError
        if the objective is no longer finite

    Notes
    -----
    Algorithm: I(Y;L) is the Donsker-Varadhan value of a perceptron of (L, Y) (MINE), I(X;L+eps) that of a perceptron
        of (F(x), F(x') + eps), F the network up to the layer (AA-MINE). Once a layer is done, what it gives for all
        rows is computed once, and the next layer is trained on that.
    Values: those of a course are of batches of training rows. The critics see these rows again and again, so that
        I(Y;L) may come from rows learnt by heart; to measure a layer use an `InformationPlane` with a probe set.
    Modes: the layer that is trained is in train mode, those before it in evaluation mode; afterwards modes and
        `requires_grad` are as before.
    Cost: steps * (critic_steps + 1) passes of both critics for each layer, and memory for all inputs and one layer's
        outputs.
    Source: Elad, Haviv, Blau, Michaeli (2019), "Direct validation of the information bottleneck principle for deep
        nets" (anonymous at ICLR 2019: "The effectiveness of layer-by-layer training using the information bottleneck
        principle"), section 5 and appendix C, whose settings are the defaults but for `batch`, `warm_up` (there:
        "until convergence") and the read-out, which it does not give.
    Differs: rows of joint pairs are not among the marginal ones of their batch. The network in the critic is the one
        that is trained, so that the layer's gradient comes through both of the critic's arguments. `annealed` and
        `read_out_decay` are ours, and off unless asked for.
    """
    units = units_of(model, layers)
    prices, counts = _each("beta", beta, len(units)), _each("steps", steps, len(units))
    if not all(0 <= price < np.inf for price in prices):
        raise ValueError(f"beta={beta} must not be negative: it is the price of a nat about the input.")
    for count in counts:
        require_integer("steps", count, 1)
    settings = Alternation(
        noise=noise,
        critic_steps=critic_steps,
        warm_up=warm_up,
        batch=batch,
        learning_rate=learning_rate,
        critic_learning_rate=critic_learning_rate,
        hidden=tuple(hidden),
        annealed=annealed,
    )
    require_integer("read_out_steps", read_out_steps, 1)
    if not 0 <= read_out_decay < np.inf:
        raise ValueError(f"read_out_decay={read_out_decay} must be a number that is not negative.")
    require_integer("seed", seed, 0)
    stack = model if isinstance(model, nn.Sequential) else nn.Sequential(*units.values())
    home, dtype = home_of(stack)
    stack.to(home if device is None else device)
    inputs, labels, classes = training_rows(data, home_of(stack)[0], dtype)
    log = getattr(plane, "log", plane)
    courses: list[Course] = []
    with as_before(stack):
        stack.eval().requires_grad_(False)
        if log is not None:
            log(0)
        for number, (unit, price, count) in enumerate(zip(units.values(), prices, counts, strict=True)):

            def told(course: Course, number: int = number) -> None:
                step = sum(counts[:number]) + len(course.prediction)
                values = {"prediction": course.prediction[-1], "rate": course.rate[-1]}
                if log is not None:
                    log(step, layer=number, **values)
                if progress is not None:
                    progress(Look(step, sum(counts), course.name, **values))

            unit.train().requires_grad_(True)
            course = alternate(
                unit,
                inputs,
                labels,
                name=list(units)[number],
                weights=Weights(rate=price),
                steps=count,
                settings=settings,
                seed=seed_of(seed, number),
                told=told,
            )
            courses.append(course)
            unit.eval().requires_grad_(False)
            inputs = outputs(unit, inputs)
        top = read_out(inputs.flatten(1), labels, read_out_steps, seed_of(seed, len(units)), read_out_decay)
    return Fitted(nn.Sequential(stack, nn.Flatten(), top), classes, tuple(courses))


def _each(name: str, setting: Any, layers: int) -> list[Any]:
    """One value a layer."""
    values = list(setting) if isinstance(setting, Sequence) else [setting] * layers
    if len(values) != layers:
        raise ValueError(f"{name} has {len(values)} values and the model {layers} layers: pass one, or one for each.")
    return values
