"""Random factors of weights: the noise on a weight, and how much it lets the weight tell of the data.

A weight is w = eps * w_hat, with w_hat learned and eps of mean 1. Under the prior of density c / |w|, which does not
change when the weight is rescaled, KL(q(w|D) || prior) depends on the noise alone: it is a function of alpha, nats a
weight (Achille & Soatto 2018, prop. 4.1).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

try:
    import torch
    from torch import Tensor
except ImportError as error:
    raise ImportError("noisy weights are torch modules: pip install 'miest[torch]'.") from error


@dataclass(frozen=True, kw_only=True)
class Factor(ABC):
    """A random factor eps of mean 1; its size alpha is learned, as ln alpha."""

    lowest: ClassVar[float] = -20.0

    @property
    @abstractmethod
    def highest(self) -> float:
        """The largest ln alpha."""

    @abstractmethod
    def variance(self, log_alpha: Tensor) -> Tensor:
        """Var[eps], the alpha~ of the paper."""

    @abstractmethod
    def sample(self, log_alpha: Tensor) -> Tensor:
        """One draw of eps for each ln alpha, from torch's global stream."""

    @abstractmethod
    def information(self, log_alpha: Tensor) -> Tensor:
        """What a weight with this factor tells of the data, nats, up to a constant that the class documents."""

    @abstractmethod
    def cumulants(self, alpha: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Second, third and fourth cumulant of eps."""


@dataclass(frozen=True, kw_only=True)
class LogNormalFactor(Factor):
    """Log-normal noise: ln eps is normal with variance alpha and mean -alpha / 2, so that eps has mean 1.

    Parameters
    ----------
    largest : float     alpha goes no higher, at most e^3

    Raises
    ------
    ValueError
        if largest is not positive, or above e^3

    Notes
    -----
    Information: -1/2 ln alpha, for which the constant of prop. 4.1 is set to zero (remark 4.2). With a proper prior,
    uniform in ln |w| over a range R and over both signs, KL = -1/2 ln alpha - 1/2 ln(2 pi e) + ln(2 R), where the noise
    stays inside: the constant is the same for every weight, and differences of the information between two trainings
    of one network do not depend on it.
    Limits: alpha needs an upper end, or the information would fall without limit. With ``largest=1`` it is zero for a
    weight as noisy as allowed, and never negative. Such a weight still tells its sign, and the mean of many of them a
    good deal more: the noisiest network memorizes some of its training set at no price. `GaussianFactor` has no such
    end, and is the better one to look for the transition at beta = 1 with.
    Source: Achille & Soatto (2018), sec. 4.2.
    Differs: App. C of the paper has KL = H(N(mu, alpha)) + const; it is -H + const, as its result has it.
    """

    largest: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.largest <= math.exp(3):
            raise ValueError(
                f"largest={self.largest!r} must be above 0 and at most e^3 = {math.exp(3):.1f}, where eps has a "
                "standard deviation of 23,000."
            )

    @property
    def highest(self) -> float:
        """The largest ln alpha."""
        return math.log(self.largest)

    def variance(self, log_alpha: Tensor) -> Tensor:
        """Var[eps] = e^alpha - 1."""
        return torch.expm1(log_alpha.exp())

    def sample(self, log_alpha: Tensor) -> Tensor:
        """One draw of eps for each ln alpha, from torch's global stream."""
        return torch.exp((log_alpha / 2).exp() * torch.randn_like(log_alpha) - log_alpha.exp() / 2)

    def information(self, log_alpha: Tensor) -> Tensor:
        """-1/2 ln alpha, nats a weight."""
        return -log_alpha / 2

    def cumulants(self, alpha: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Second, third and fourth cumulant of eps."""
        u, v = np.exp(alpha), np.expm1(alpha)
        return v, v**2 * (u + 2), v**2 * (u**4 + 2 * u**3 + 3 * u**2 - 6)


@dataclass(frozen=True, kw_only=True)
class GaussianFactor(Factor):
    """Gaussian noise: eps is normal with mean 1 and variance alpha, as in variational dropout.

    Notes
    -----
    Information: KL to the prior less its limit for alpha to infinity, so that a weight of pure noise has none:

        2 * integral of D from 0 to s,  s = (2 alpha)^(-1/2),  D(s) = e^(-s^2) * integral of e^(t^2) from 0 to s,

    Dawson's function, since the derivative of E ln |z + mu| over standard normal z is sqrt(2) D(mu / sqrt(2)). For
    small alpha it is -1/2 ln alpha + (ln 2 + gamma) / 2, gamma = 0.5772: Gaussian weights pay 0.635 nats more than the
    -1/2 ln alpha of log-normal ones, for a zero that means something.
    Error: below 1e-7 nats a weight, by cubic interpolation in ln alpha.
    Source: Kingma, Salimans & Welling (2015), arXiv:1506.02557; Achille & Soatto (2018), App. B.
    Differs: Molchanov, Ashukha & Vetrov (2017) fit a sigmoid to this function, which is off by up to 0.009 nats a
    weight; those of a whole network add up to more than what there is to be measured.
    """

    @property
    def highest(self) -> float:
        """The largest ln alpha: a weight there has 1.7e-4 nats."""
        return 8.0

    def variance(self, log_alpha: Tensor) -> Tensor:
        """Var[eps] = alpha."""
        return log_alpha.exp()

    def sample(self, log_alpha: Tensor) -> Tensor:
        """One draw of eps for each ln alpha, from torch's global stream."""
        return 1 + (log_alpha / 2).exp() * torch.randn_like(log_alpha)

    def information(self, log_alpha: Tensor) -> Tensor:
        """2 * integral of Dawson's function from 0 to (2 alpha)^(-1/2), nats a weight."""
        table = torch.as_tensor(_coefficients(), dtype=log_alpha.dtype, device=log_alpha.device)  # (4, cells)
        place = (log_alpha - self.lowest) / _CELL
        cell = place.detach().floor().long().clamp(0, table.shape[1] - 1)
        a, b, c, d = table[:, cell]
        t = place - cell
        return a + t * (b + t * (c + t * d))

    def cumulants(self, alpha: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Second, third and fourth cumulant of eps."""
        return alpha, np.zeros_like(alpha), np.zeros_like(alpha)


_CELL = 1 / 16


@lru_cache(maxsize=1)
def _coefficients() -> NDArray[np.float64]:
    """(4, cells) cubic pieces of the information in ln alpha, from its values and derivatives at the ends of cells."""
    from scipy.integrate import quad
    from scipy.special import dawsn

    ends = np.arange(Factor.lowest, GaussianFactor().highest + _CELL / 2, _CELL)
    s = np.exp(-ends / 2) / math.sqrt(2)  # falls
    pieces = [2 * quad(dawsn, low, high, epsabs=1e-13)[0] for high, low in zip(s, [*s[1:], 0.0], strict=True)]
    value = np.cumsum(pieces[::-1])[::-1]
    slope = -s * dawsn(s) * _CELL
    rise = np.diff(value)
    left, right = slope[:-1], slope[1:]
    return np.stack([value[:-1], left, 3 * rise - 2 * left - right, left + right - 2 * rise])


class _Within(torch.autograd.Function):
    """Clamp, with a gradient at the ends for those who come back: only what pushes further out is dropped."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(value)
        ctx.ends = low, high
        return value.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (value,), (low, high), (grad,) = ctx.saved_tensors, ctx.ends, grads
        outward = ((value >= high) & (grad < 0)) | ((value <= low) & (grad > 0))
        return grad.masked_fill(outward, 0.0), None, None


def within(log_alpha: Tensor, factor: Factor) -> Tensor:
    """Ln alpha inside the range of the factor; a gradient that would bring it back inside passes."""
    clamped: Tensor = _Within.apply(log_alpha, factor.lowest, factor.highest)
    return clamped
