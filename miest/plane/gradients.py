"""Signal-to-noise ratio of the gradient, layer by layer: ::

    SNR_l = m_l / s_l,   m_l = ||mean of dE/dW_l||_F,   s_l = ||standard deviation of dE/dW_l||_F

over the batches of training data. Where it falls below 1, steps are diffusion more than drift, which Shwartz-Ziv &
Tishby (2017) relate to the start of compression.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError("miest.plane needs torch: pip install 'miest[torch]'.") from error

from miest.neural.preserved import undisturbed
from miest.plane.inputs import call, checked, home_of, mapped, placed
from miest.plane.layers import Layers, choose, runnable
from miest.plane.probe import kept_generators


@dataclass(frozen=True, kw_only=True)
class GradientSNR:
    """How far the gradients of a layer agree over batches.

    Parameters
    ----------
    mean_norm : float       Frobenius norm of the mean gradient
    std_norm : float        Frobenius norm of the standard deviations of its entries (divided by the number of batches)
    n_batches : int
    """

    mean_norm: float
    std_norm: float
    n_batches: int

    @property
    def ratio(self) -> float:
        """Mean over standard deviation; infinite where all batches agree, NaN where all gradients are 0."""
        if self.std_norm == 0:
            return math.inf if self.mean_norm else math.nan
        return self.mean_norm / self.std_norm


def gradient_signal_to_noise(
    model: nn.Module,
    loss: Callable[..., torch.Tensor],
    batches: Iterable[Any],
    layers: Layers = None,
    *,
    train_mode: bool = True,
    forward: Callable[[nn.Module, Any], Any] | None = None,
    seed: int = 0,
) -> dict[str, GradientSNR]:
    """Signal-to-noise ratio of the gradient of every layer, over batches.

    Parameters
    ----------
    model : torch module
    loss : function         ``loss(output, labels)`` of a batch that is a pair (inputs, labels), as nn.CrossEntropyLoss
                            is; ``loss(output)`` of any other batch. A scalar, the mean over the samples.
    batches : iterable      at least two batches, as training uses them: a DataLoader, a list. Inputs are a tensor, or
                            a dictionary or tuple of tensors
    layers : as for `Recorder`; None: those with weights to train
    train_mode : bool       with dropout and batch statistics, as in training; modules frozen in eval mode stay so
    forward : function of (model, inputs), or None      how to call the model instead
    seed : int              of the random numbers that model and data loader draw

    Returns
    -------
    dict of str to GradientSNR
        by layer; W_l are the parameters of the layer and of all modules inside it, but not the biases

    Raises
    ------
    ValueError
        if there are fewer than two batches, a loss is no finite scalar, or a layer asked for by name has no weights to
        train
    TypeError
        if the model is TorchScript, or sharded by FSDP

    Notes
    -----
    Nothing is changed: weights, their ``.grad``, buffers, modes, random streams.
    Cost: a forward and a backward pass a batch; 16 bytes a weight.
    Source: Shwartz-Ziv & Tishby (2017), arXiv:1703.00810.
    """
    model = runnable(model)
    if any(type(module).__name__.startswith(("FSDP", "FullySharded")) for module in model.modules()):
        raise TypeError("the model is sharded by FSDP, and no process has whole gradients: pass an unsharded copy.")
    modules, single = choose(model, layers)
    weights = {name: _weights(module) for name, module in modules.items()}
    bare = [name for name in single if not weights[name]]
    if bare or not any(weights.values()):
        told = f"layer {', '.join(bare)} has no" if bare else "none of the layers has"
        raise ValueError(f"{told} weights to train: name layers that have some.")
    n = 0
    with torch.inference_mode(False), torch.enable_grad(), undisturbed(model, train=train_mode, seed=seed):
        device, dtype = home_of(model)
        moments = {id(w): _Moments(w) for layer in weights.values() for w in layer}
        given = [m.weight for m in moments.values()]
        with kept_generators(batches):
            for n, batch in enumerate(batches, start=1):
                pair = isinstance(batch, (tuple, list)) and len(batch) == 2
                inputs, *labels = mapped(
                    tuple(batch) if pair else (batch,), lambda leaf: placed(checked(leaf), device, dtype)
                )
                value = loss((forward or call)(model, inputs), *labels)
                _check_loss(value, n)
                gradients = torch.autograd.grad(value, given, allow_unused=True)
                for moment, gradient in zip(moments.values(), gradients, strict=True):
                    moment.add(gradient)
    if n < 2:
        raise ValueError(f"{n} batches are given, and a standard deviation needs at least 2: pass more batches.")
    found = {}
    for name, layer in weights.items():
        if layer:
            squares = [moments[id(w)].squares() for w in layer]
            mean, variance = (math.sqrt(math.fsum(parts)) for parts in zip(*squares, strict=True))
            found[name] = GradientSNR(mean_norm=mean, std_norm=variance, n_batches=n)
    return found


class _Moments:
    """Running mean and squared deviations of one weight's gradient (Welford), which lose no digits as sums would."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight
        wide = torch.float32 if weight.device.type == "mps" else torch.float64  # MPS has no float64
        self._n = 0
        self._mean = torch.zeros_like(weight, dtype=wide, requires_grad=False)
        self._deviation = torch.zeros_like(self._mean)

    def add(self, gradient: torch.Tensor | None) -> None:
        """Add the gradient of a batch; None, where the loss does not depend on the weight, is zero."""
        self._n += 1
        with torch.no_grad():
            new = torch.zeros_like(self._mean) if gradient is None else gradient.to_dense().to(self._mean.dtype)
            from_old = new - self._mean
            self._mean += from_old / self._n
            self._deviation += from_old * (new - self._mean)

    def squares(self) -> tuple[float, float]:
        """The squared norms of mean and standard deviation."""
        return float(self._mean.square().sum()), float(self._deviation.sum()) / self._n


def _weights(module: nn.Module) -> list[nn.Parameter]:
    return [
        parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and "bias" not in name.rpartition(".")[2]
    ]


def _check_loss(value: Any, batch: int) -> None:
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        got = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(f"the loss is of {got}: it must be a scalar tensor, the mean over the samples of a batch.")
    if not bool(torch.isfinite(value)):
        raise ValueError(f"the loss of batch {batch - 1} is {value.item()}: its gradient has no signal and no noise.")
    if not value.requires_grad:
        raise ValueError("the loss does not depend on any weight to train: check loss= and requires_grad.")
