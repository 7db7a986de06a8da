"""Weights that hold a priced amount of information about the data they were trained on.

    w = eps * w_hat,    I(w;D) = -1/2 sum of ln alpha,    loss = CE + beta * I(w;D)

w_hat and ln alpha, the size of the noise eps, are learned together (Achille & Soatto 2018, sec. 4).

>>> model = with_noisy_weights(model, per="weight", factor=GaussianFactor())
>>> objective = WeightBottleneck(model, beta=0.3, n=len(x))
>>> loss = objective(model(x[batch]), y[batch])      # loss.total.backward()
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError("noisy weights are torch modules: pip install 'miest[torch]'.") from error

from miest.bottleneck.factors import Factor
from miest.bottleneck.noisy_weights import NoisyConv2d, NoisyLinear, NoisyWeights, Per
from miest.bottleneck.objectives import Loss
from miest.estimators.estimator import require_integer


def with_noisy_weights(
    model: nn.Module,
    *,
    factor: Factor | None = None,
    per: Per = "filter",
    alpha: float = 0.01,
    local: bool = True,
    skip: Sequence[str] = (),
) -> nn.Module:
    """A copy of a model whose linear layers and 2-d convolutions have noisy weights, with the same means.

    Parameters
    ----------
    model : torch module            is not changed
    factor, per, alpha, local       see `NoisyWeights`
    skip : patterns                 names of layers that stay as they are, such as ``("0", "classifier.*")``

    Raises
    ------
    ValueError
        if a pattern fits no layer, or there is nothing to convert

    Notes
    -----
    Only layers of the types `torch.nn.Linear` and `torch.nn.Conv2d` themselves are converted: a subclass may use its
    weights in a way of its own. Biases, norms, embeddings and all other layers stay, and count for nothing in the
    information. A layer used in two places is still one layer.
    """
    made = copy.deepcopy(model)
    plain = {
        name: layer
        for name, layer in made.named_modules(remove_duplicate=False)
        if type(layer) in (nn.Linear, nn.Conv2d)
    }
    unfit = [pattern for pattern in skip if not any(fnmatchcase(name, pattern) for name in plain)]
    if unfit:
        raise ValueError(f"skip={unfit} fits no layer with weights; there are: {', '.join(plain) or 'none'}.")
    chosen = {name: layer for name, layer in plain.items() if not any(fnmatchcase(name, p) for p in skip)}
    if not chosen:
        raise ValueError("no linear layer or 2-d convolution is left to convert: pass a model with one, or skip fewer.")
    for layer in set(chosen.values()):
        # In place, so that hooks, modes and parameters shared with other layers stay as they are.
        layer.__class__ = NoisyLinear if isinstance(layer, nn.Linear) else NoisyConv2d
        assert isinstance(layer, NoisyWeights)
        layer._begin(factor, per, alpha, local)
    return made


def noisy_layers(model: nn.Module) -> Mapping[str, NoisyWeights]:
    """The layers of a model that have noisy weights, by name.

    Raises
    ------
    ValueError
        if there is none
    """
    found = {name: layer for name, layer in model.named_modules() if isinstance(layer, NoisyWeights)}
    if not found:
        raise ValueError("the model has no noisy weights: make it with NoisyLinear, NoisyConv2d or with_noisy_weights.")
    return found


def information_in_weights(model: nn.Module) -> Tensor:
    """I(w;D), the information that the noisy weights of a model hold about its training set, in nats.

    Parameters
    ----------
    model : torch module    with layers of `NoisyLinear` or `NoisyConv2d`

    Returns
    -------
    scalar tensor           with gradients to every ln alpha

    Raises
    ------
    ValueError
        if the model has no noisy weights

    Notes
    -----
    An upper bound: KL from the distribution of the weights to a factorised prior, log-uniform in each. For log-normal
    noise -1/2 sum ln alpha, up to a constant; see the factors for theirs.
    Source: Achille & Soatto (2018), prop. 4.1.
    """
    return torch.stack([layer.information() for layer in noisy_layers(model).values()]).sum()


@contextmanager
def stochastic(model: nn.Module) -> Iterator[nn.Module]:
    """Noisy weights draw their noise in eval mode too, while other layers (batch norm, dropout) stay in theirs.

    Raises
    ------
    ValueError
        if the model has no noisy weights
    """
    layers = list(noisy_layers(model).values())
    before = [layer.sampling for layer in layers]
    for layer in layers:
        layer.sampling = True
    try:
        yield model
    finally:
        for layer, sampling in zip(layers, before, strict=True):
            layer.sampling = sampling


class WeightBottleneck(nn.Module):
    """Cross-entropy plus beta times the information in the weights, nats a sample.

    Parameters
    ----------
    model : torch module    its noisy weights are priced; it is not a part of this module
    beta : float            may be changed as an attribute during training, for a warm-up
    n : int                 samples of the whole training set

    Raises
    ------
    ValueError
        if beta is negative or not finite, n below 1, or the model has no noisy weights

    Notes
    -----
    The paper sums the cross-entropy over the data set: H + beta I(w;D). A batch gives the mean, so that here both are
    divided by n: rate = I(w;D) / n. With ``beta=1`` and `GaussianFactor` it is variational inference.
    Source: Achille & Soatto (2018), eq. 3.
    """

    def __init__(self, model: nn.Module, *, beta: float, n: int) -> None:
        super().__init__()
        if isinstance(beta, bool) or not 0 <= beta < math.inf:
            raise ValueError(f"beta={beta!r} must be a finite number of at least 0: it prices the information.")
        require_integer("n", n, 1)
        noisy_layers(model)
        self.beta, self.n = float(beta), int(n)
        self._model = (model,)  # in a tuple: not a submodule, whose parameters would be listed twice

    def forward(self, logits: Tensor, y: Tensor) -> Loss:
        """Loss of one batch.

        Parameters
        ----------
        logits : (b, c) tensor
        y : (b,) integer tensor

        Returns
        -------
        Loss            total = prediction + beta * rate; the rate is I(w;D) / n
        """
        prediction = nn.functional.cross_entropy(logits, y)
        rate = information_in_weights(self._model[0]) / self.n
        return Loss(prediction + self.beta * rate, prediction, rate)

    def extra_repr(self) -> str:
        """Price and size."""
        return f"beta={self.beta:g}, n={self.n}"
