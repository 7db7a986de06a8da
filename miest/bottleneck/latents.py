"""Latents that bottleneck objectives need: layers that add noise, and Gaussian encoders with a mean and a spread."""

import math
from typing import NamedTuple

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError("layers with noise need torch: pip install 'miest[torch]'.") from error

from miest import noise
from miest.noise import Noise


class AdditiveNoise(nn.Module):
    """Layer that adds Gaussian noise to its input, in training and in evaluation: the noise is part of the latent.

    Parameters
    ----------
    std : float             standard deviation in every coordinate
    learned : bool          whether the standard deviation is trained, through its logarithm

    Raises
    ------
    ValueError
        if std is not positive and finite

    Notes
    -----
    A latent that only training makes noisy may shrink without loss, since its entropy bounds nothing at evaluation.
    """

    log_std: Tensor

    def __init__(self, std: float, *, learned: bool = False) -> None:
        super().__init__()
        log_std = torch.tensor(math.log(noise.GaussianNoise(std=std).std))
        if learned:
            self.log_std = nn.Parameter(log_std)
        else:
            self.register_buffer("log_std", log_std)

    @property
    def std(self) -> Tensor:
        """Standard deviation of a coordinate, a scalar; differentiable where it is learned."""
        return self.log_std.exp()

    @property
    def model(self) -> Noise:
        """The same noise for estimators, as it is now."""
        return noise.GaussianNoise(std=float(self.std.detach()))

    def entropy(self, d: int) -> float:
        """Differential entropy of the noise in d coordinates, nats."""
        return self.model.entropy(d)

    def forward(self, t: Tensor) -> Tensor:
        """(n, ...) to t + eps of the same shape; eps is drawn from torch's global stream."""
        return t + self.std * torch.randn_like(t)

    def extra_repr(self) -> str:
        """Size of the noise."""
        return f"std={float(self.std.detach()):.6g}"


class ZeroEntropyNoise(AdditiveNoise):
    """Layer that adds Gaussian noise of variance 1 / (2 pi e), whose differential entropy is zero.

    Behind it H[Z] >= H[Z|Y] >= I[X;Z|Y] >= 0, as for a discrete latent. For estimators `miest.ZeroEntropyNoise` is the
    same noise, and the `model` of this layer.

    Notes
    -----
    Source: Kirsch, Lyle, Gal (2020), section 3.3.
    """

    def __init__(self) -> None:
        super().__init__(self.model.std)

    @property
    def model(self) -> Noise:
        """The same noise for estimators."""
        return noise.ZeroEntropyNoise()


class Posterior(NamedTuple):
    """A Gaussian p(z|x) with independent coordinates for each row.

    Parameters
    ----------
    mean, std : (n, d) tensors
    """

    mean: Tensor
    std: Tensor

    def sample(self, k: int | None = None) -> Tensor:
        """(n, d) tensor of one draw for each row, or (k, n, d) of k; differentiable in mean and std."""
        shape = self.mean.shape if k is None else (k, *self.mean.shape)
        return self.mean + self.std * torch.randn(shape, dtype=self.mean.dtype, device=self.mean.device)


class GaussianEncoder(nn.Module):
    """Encoder whose latent is Gaussian: a network gives the mean and, through a softplus, the spread.

    Parameters
    ----------
    network : torch module      (n, ...) to (n, 2 d)
    shift : float               added before the softplus; -5 starts with a spread of 0.007

    Notes
    -----
    Source: Alemi, Fischer, Dillon, Murphy (2017), "Deep variational information bottleneck", section 4.1.
    """

    def __init__(self, network: nn.Module, shift: float = -5.0) -> None:
        super().__init__()
        self.network, self.shift = network, shift

    def forward(self, x: Tensor) -> Posterior:
        """(n, ...) to the posterior of every row."""
        mean, spread = self.network(x).flatten(1).chunk(2, 1)
        return Posterior(mean, nn.functional.softplus(spread + self.shift) + torch.finfo(mean.dtype).tiny)
