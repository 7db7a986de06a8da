"""Critics that know the network: what AA-MINE trains, of a layer T = F(x), its copy l = T + eps, and eps Gaussian.

The best critic of a pair (x, l) is ln p(l|x) - ln p(l), up to a constant, and of its two terms the first is known::

    ln p(l|x) = -|l - F(x)|^2 / (2 s^2) - d/2 ln(2 pi s^2)

so that only a function of l is left to learn. It starts from a mixture of Gaussians q fitted to F(x), each widened by
the noise, whose logarithm a perceptron corrects. As q is a density, it bounds the information from above as well:
E[ln p(l|x) - ln q(l)] >= I, with any q, on rows that q was not fitted to.

All critics but `ArchitectureAware` work in units of the noise: t = F(x) / s in place of x, and t + e, e standard
normal, in place of l.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from miest.neural.critics import Activation, Critic, Joint, perceptron
from miest.neural.noisy_density import LOG_2PI, NoisyDensity


class Channel(Critic):
    """ln p(l|x) - ln q(l), less what a perceptron adds to ln q(l); x is given as t.

    Parameters
    ----------
    density : NoisyDensity
    hidden : sequence of int
    activation : () -> Module
    """

    tabular = True

    def __init__(self, density: NoisyDensity, hidden: Sequence[int], activation: Activation = nn.LeakyReLU) -> None:
        super().__init__()
        self.density = density
        last = nn.Linear(hidden[-1], 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        before = perceptron((density.directions.shape[1] + 1, *hidden), activation)
        self.correction = nn.Sequential(before, activation(), last)

    def encode_x(self, x: Tensor) -> Tensor:
        """See `Critic.encode_x`."""
        t = x - self.density.centre
        return torch.cat([t, -t.square().sum(1, keepdim=True) / 2], 1)

    def encode_y(self, y: Tensor) -> Tensor:
        """See `Critic.encode_y`."""
        noisy = y - self.density.centre
        z = self.density.whitened(y)
        learned = self.correction(torch.cat([z, z.square().mean(1, keepdim=True) - 1], 1).float())[:, 0]
        own = -noisy.square().sum(1) / 2 - y.shape[1] / 2 * LOG_2PI - self.density.log_density(y) - learned
        return torch.cat([noisy, own[:, None]], 1)

    def join(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.join`."""
        return (u[..., :-1] * v[..., :-1]).sum(-1) + u[..., -1] + v[..., -1]

    def cross(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.cross`."""
        return u[:, :-1] @ v[:, :-1].T + u[:, -1:] + v[:, -1]


class Scaled(nn.Module):
    """(t - centre) / spread, in float32: one spread for all columns, so that l - t keeps its meaning."""

    centre: Tensor

    def __init__(self, t: Tensor) -> None:
        super().__init__()
        self.register_buffer("centre", t.mean(0))
        self.spread = math.sqrt(float(t.var(0, correction=0).mean()) + 1)

    def forward(self, t: Tensor) -> Tensor:
        """(b, d) to (b, d)."""
        return ((t - self.centre) / self.spread).float()


def joint_critic(t: Tensor, hidden: Sequence[int]) -> Joint:
    """A perceptron on (t, l), with leaky rectifiers."""
    d, scaled = t.shape[1], Scaled(t)
    return Joint(scaled, scaled, d, d, hidden, nn.LeakyReLU)


class Separately(Critic):
    """Two draws of l for each row: the first is scored with the row's own x, the second with the x of other rows.

    So joint and marginal pairs come from separate draws, and one loop serves this and every other critic.

    Parameters
    ----------
    critic : Critic     of x and one l; y is (b, 2, d)
    """

    def __init__(self, critic: Critic) -> None:
        super().__init__()
        self.critic = critic

    def encode_x(self, x: Tensor) -> Tensor:
        """See `Critic.encode_x`."""
        return self.critic.encode_x(x)

    def encode_y(self, y: Tensor) -> Tensor:
        """(b, 2, d) to (b, 2, h)."""
        return self.critic.encode_y(y.flatten(0, 1)).unflatten(0, y.shape[:2])

    def join(self, u: Tensor, v: Tensor) -> Tensor:
        """Score row with row from the first draws, and rows with others from the second."""
        return self.critic.join(u, v[:, 0] if u.ndim == 2 else v[..., 1, :])

    def cross(self, u: Tensor, v: Tensor) -> Tensor:
        """(b, b) scores: joint pairs on the diagonal."""
        return self.critic.cross(u, v[:, 1]).diagonal_scatter(self.critic.join(u, v[:, 0]))


class ArchitectureAware(Critic):
    """A critic of raw inputs x and noisy activations l, with a frozen copy of F inside.

    Parameters
    ----------
    subnetwork : nn.Module      F
    critic : Critic             of (t, l) in units of the noise
    std : float                 of the noise
    """

    def __init__(self, subnetwork: nn.Module, critic: Critic, std: float) -> None:
        super().__init__()
        self.subnetwork, self.critic, self.std = subnetwork, critic, std
        self.tabular = critic.tabular  # type: ignore[misc]

    def encode_x(self, x: Tensor) -> Tensor:
        """See `Critic.encode_x`."""
        return self.critic.encode_x(self.subnetwork(x).flatten(1).double() / self.std)

    def encode_y(self, y: Tensor) -> Tensor:
        """See `Critic.encode_y`."""
        return self.critic.encode_y(y.flatten(1).double() / self.std)

    def join(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.join`."""
        return self.critic.join(u, v)

    def cross(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.cross`."""
        return self.critic.cross(u, v)
