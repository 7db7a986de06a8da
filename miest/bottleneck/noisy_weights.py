"""Linear layers and convolutions whose weights carry multiplicative noise of a learned size.

They draw their noise in train mode, as dropout does; `miest.bottleneck.weights.stochastic` lets them draw it in eval
mode too.
"""

import math
from typing import Any, Literal, get_args

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError("noisy weights are torch modules: pip install 'miest[torch]'.") from error

from miest.bottleneck.factors import Factor, LogNormalFactor, within
from miest.estimators.estimator import require_choice

Per = Literal["weight", "filter"]


class NoisyWeights(nn.Module):
    """What `NoisyLinear` and `NoisyConv2d` share: weights with multiplicative noise, and the information in them.

    Parameters
    ----------
    factor : Factor                 the noise; None: `LogNormalFactor`
    per : "weight" or "filter"      an alpha for each weight, or one for all weights of an output unit or filter, which
                                    makes training steadier and the code for the weights coarser
    alpha : float                   of all weights before training
    local : bool                    draw each output unit from a Gaussian with the mean and variance it has over the
                                    weights, for every sample (and pixel) anew (Kingma et al. 2015): exact for Gaussian
                                    noise, and of less variance in the gradient. False: draw the weights, one set for
                                    the whole batch

    Raises
    ------
    ValueError
        if alpha is outside the range of the factor
    """

    weight: Tensor
    bias: Any
    log_alpha: nn.Parameter

    def _begin(self, factor: Factor | None, per: Per, alpha: float, local: bool) -> None:
        require_choice("per", per, get_args(Per))
        self.factor = LogNormalFactor() if factor is None else factor
        low, high = math.exp(self.factor.lowest), math.exp(self.factor.highest)
        if not low <= alpha <= high * (1 + 1e-12):
            raise ValueError(f"alpha={alpha!r} must be from {low:.3g} to {high:.3g}, the range of {self.factor}.")
        shape = self.weight.shape if per == "weight" else (len(self.weight), *[1] * (self.weight.ndim - 1))
        self.per, self.local, self.sampling = per, local, False
        start = self.weight.new_full(tuple(shape), math.log(alpha), requires_grad=False)
        self.log_alpha = nn.Parameter(start)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer as a map linear in the weights, with weights of the caller's."""
        raise NotImplementedError

    @property
    def alpha(self) -> Tensor:
        """Size of the noise, in the shape of the weights; no gradient."""
        return within(self.log_alpha.detach(), self.factor).exp().expand_as(self.weight)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance over the noise of every output, in the shape of the output."""
        spread = self.factor.variance(within(self.log_alpha, self.factor)) * self.weight.square()
        return self.linear(x, self.weight, self.bias), self.linear(x.square(), spread, None)

    def information(self) -> Tensor:
        """I(w;D) of this layer's weights, nats, up to the constant of the factor; its bias is not counted."""
        share = self.weight.numel() // self.log_alpha.numel()
        return share * self.factor.information(within(self.log_alpha, self.factor)).sum()

    def forward(self, x: Tensor) -> Tensor:
        """The output with noise in train mode and inside `stochastic`, else with the weights at their mean."""
        if not (self.training or self.sampling):
            return self.linear(x, self.weight, self.bias)
        if self.local:
            mean, variance = self.moments(x)
            # The root has no gradient at zero, where all inputs are zero.
            return mean + variance.clamp_min(torch.finfo(mean.dtype).tiny).sqrt() * torch.randn_like(mean)
        drawn = self.factor.sample(within(self.log_alpha, self.factor).expand_as(self.weight))
        return self.linear(x, drawn * self.weight, self.bias)

    def extra_repr(self) -> str:
        """Shape and noise."""
        return f"{super().extra_repr()}, factor={self.factor}, per={self.per!r}, local={self.local}"


class NoisyLinear(NoisyWeights, nn.Linear):
    """A linear layer whose weights carry multiplicative noise.

    Parameters
    ----------
    in_features, out_features, bias, device, dtype      of `torch.nn.Linear`
    factor, per, alpha, local                           see `NoisyWeights`

    Notes
    -----
    Source: Achille & Soatto (2018), sec. 4.2 and App. B; Kingma, Salimans & Welling (2015), arXiv:1506.02557.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        factor: Factor | None = None,
        per: Per = "filter",
        alpha: float = 0.01,
        local: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        nn.Linear.__init__(self, in_features, out_features, bias, device=device, dtype=dtype)
        self._begin(factor, per, alpha, local)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See `NoisyWeights.linear`."""
        return nn.functional.linear(x, weight, bias)


class NoisyConv2d(NoisyWeights, nn.Conv2d):
    """A convolution whose weights carry multiplicative noise; `per` "filter" has one alpha for an output channel.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, ...         of `torch.nn.Conv2d`
    factor, per, alpha, local                           see `NoisyWeights`

    Notes
    -----
    With `local`, noise is drawn for each pixel anew, although the pixels share their weights: the noise of one pixel
    has the right distribution, and that of two is taken for independent.
    Source: as `NoisyLinear`; Molchanov, Ashukha & Vetrov (2017), arXiv:1701.05369, for convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        factor: Factor | None = None,
        per: Per = "filter",
        alpha: float = 0.01,
        local: bool = True,
        **settings: Any,
    ) -> None:
        nn.Conv2d.__init__(self, in_channels, out_channels, kernel_size, **settings)
        self._begin(factor, per, alpha, local)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See `NoisyWeights.linear`."""
        return self._conv_forward(x, weight, bias)
