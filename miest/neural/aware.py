"""Critics that know the network: what AA-MINE trains, of a layer T = F(x), its noisy copy l = T + eps, and eps Gaussian.

The best critic of a pair (x, l) is ln p(l|x) - ln p(l), up to a constant, and of its two terms the first is known::

    ln p(l|x) = -|l - F(x)|^2 / (2 s^2) - d/2 ln(2 pi s^2)

so that only a function of l is left to learn. It starts from a mixture of Gaussians q fitted to F(x), each widened by
the noise, whose logarithm a perceptron corrects. As q is a density, it bounds the information from above as well:
E[ln p(l|x) - ln q(l)] >= I, with any q, on rows that q was not fitted to.

Everything here is in units of the noise and centred: t = (F(x) - c) / s, l = t + e with e standard normal.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Generator, Tensor, nn

from miest.neural.bounds import effective_pairs, log_mean_exp
from miest.neural.critics import Activation, Critic, Joint, perceptron
from miest.neural.train import judge

_MIXED = 24  # leading directions in which the density is a mixture
_WIDEST = 2048  # columns whose covariance is diagonalised in full
_DIRECTIONS = 256  # of wider layers
_ROWS_TO_MIX = 20_000
_COMPONENTS = (4, 12, 32)
_ROWS_A_COMPONENT = 50
_ROWS_IN_TABLE = 3000  # held-out rows that are all paired with each other
_PAIRS_A_ROW = 32  # of critics without a cheap table
_LOG_2PI = math.log(2 * math.pi)


class NoisyDensity(nn.Module):
    """Density of t + e: a mixture of Gaussians in the leading directions of t, independent Gaussians in the others.

    Parameters
    ----------
    centre : (d,) array
    directions : (d, q) array       orthonormal
    variances : (q,) array          of t along them
    rest : float                    variance of t in each direction that is orthogonal to those
    weights, means, covariances : (k,), (k, r), (k, r, r) arrays        mixture of t along the first r directions
    """

    centre: Tensor
    directions: Tensor
    spreads: Tensor
    log_weights: Tensor
    means: Tensor
    roots: Tensor

    def __init__(
        self,
        centre: NDArray[np.float64],
        directions: NDArray[np.float64],
        variances: NDArray[np.float64],
        rest: float,
        weights: NDArray[np.float64],
        means: NDArray[np.float64],
        covariances: NDArray[np.float64],
    ) -> None:
        super().__init__()
        r = means.shape[1]
        roots = np.linalg.cholesky(covariances + np.eye(r))
        logs = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(1) + r / 2 * _LOG_2PI
        for name, array in (
            ("centre", centre),
            ("directions", directions),
            ("spreads", np.sqrt(variances + 1)),
            ("log_weights", np.log(weights) - logs),
            ("means", means),
            ("roots", np.linalg.inv(roots).transpose(0, 2, 1)),
        ):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array, np.float64)))
        self.rest = rest + 1.0
        self.components = len(weights)

    def whitened(self, noisy: Tensor) -> Tensor:
        """(b, d) to (b, q) coordinates of variance 1 along the directions."""
        return (noisy - self.centre) @ self.directions / self.spreads

    def log_density(self, noisy: Tensor) -> Tensor:
        """(b, d) float64 to (b,)."""
        apart = noisy - self.centre
        along = apart @ self.directions
        r, (d, q) = self.means.shape[1], self.directions.shape
        scaled = torch.einsum("bkr,krs->bks", along[:, None, :r] - self.means, self.roots)
        mixed = torch.logsumexp(self.log_weights - scaled.square().sum(-1) / 2, 1)
        others = (along[:, r:] / self.spreads[r:]).square().sum(1) / 2 + self.spreads[r:].log().sum()
        outside = (apart.square().sum(1) - along.square().sum(1)).clamp_min(0) / (2 * self.rest) if d > q else 0.0
        return mixed - others - outside - (d - q) / 2 * math.log(self.rest) - (d - r) / 2 * _LOG_2PI


def noisy_density(t: Tensor, stop: Tensor, generator: Generator) -> NoisyDensity:
    """Fit the density of t + e to rows of t; held-out rows choose the number of components.

    Parameters
    ----------
    t, stop : (n, d), (m, d) float64 tensors
    generator : Generator       of the noise of the held-out rows, and of where components start
    """
    centre = t.mean(0)
    apart = t - centre
    if t.shape[1] <= _WIDEST:
        values, vectors = torch.linalg.eigh(apart.T @ apart / len(t))
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    else:
        q = min(_DIRECTIONS, len(t))
        _, singular, vectors = torch.svd_lowrank(apart, q, niter=4)
        values = singular.square() / len(t)
    total, d, q = float(apart.square().sum() / len(t)), t.shape[1], len(values)
    rest = max(0.0, total - float(values.sum())) / max(1, d - q)
    # A direction with far less variance than the noise is Gaussian to any eye.
    r = max(1, min(_MIXED, q, int((values > 1e-3).sum())))
    leading = (apart @ vectors[:, :r]).cpu().numpy()
    noisy = stop + torch.randn(stop.shape, generator=generator, dtype=stop.dtype).to(stop.device)
    shared = (centre.cpu().numpy(), vectors.cpu().numpy(), values.cpu().numpy(), rest)

    def density(*mixture: NDArray[np.float64]) -> tuple[NoisyDensity, float]:
        made = NoisyDensity(*shared, *mixture).to(t.device)
        return made, float(made.log_density(noisy).mean())

    ones = np.ones(1), np.zeros((1, r)), np.diag(shared[2][:r])[None]
    best, likelihood = density(*ones)
    if len(leading) > _ROWS_TO_MIX:
        leading = leading[torch.randperm(len(leading), generator=generator)[:_ROWS_TO_MIX].numpy()]
    for k in _COMPONENTS:
        if len(leading) < k * max(_ROWS_A_COMPONENT, 2 * r):
            break
        made, likely = density(*_mixture(leading, k, int(torch.randint(2**31, (), generator=generator))))
        if likely <= likelihood:
            break
        best, likelihood = made, likely
    return best


def _mixture(rows: NDArray[np.float64], k: int, seed: int) -> tuple[NDArray[np.float64], ...]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    # The noise, of variance 1, is added later: a component may be far narrower.
    mixture = GaussianMixture(k, reg_covar=1e-2, max_iter=60, init_params="k-means++", random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # any mixture will do, and the held-out rows choose
        mixture.fit(rows)
    return mixture.weights_, mixture.means_, mixture.covariances_


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
        self.correction = perceptron((density.directions.shape[1] + 1, *hidden, 1), activation)
        nn.init.zeros_(self.correction[-1].weight)
        nn.init.zeros_(self.correction[-1].bias)

    def encode_x(self, x: Tensor) -> Tensor:
        """See `Critic.encode_x`."""
        t = x - self.density.centre
        return torch.cat([t, -t.square().sum(1, keepdim=True) / 2], 1)

    def encode_y(self, y: Tensor) -> Tensor:
        """See `Critic.encode_y`."""
        noisy = y - self.density.centre
        z = self.density.whitened(y)
        learned = self.correction(torch.cat([z, z.square().mean(1, keepdim=True) - 1], 1).float())[:, 0]
        own = -noisy.square().sum(1) / 2 - y.shape[1] / 2 * _LOG_2PI - self.density.log_density(y) - learned
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


def draws(t: Tensor) -> Callable[[int, Generator], tuple[Tensor, Tensor]]:
    """Batches for `Separately`: joint rows with noise of their own, and beside them noisy copies of other rows."""

    def batch(size: int, generator: Generator) -> tuple[Tensor, Tensor]:
        size = min(size, len(t) // 2)
        # No row is in both draws: a row paired with its own noisy copy would be a joint pair among the marginal ones.
        joint, marginal = torch.randperm(len(t), generator=generator)[: 2 * size].to(t.device).split(size)
        noise = torch.randn((size, 2, t.shape[1]), generator=generator, dtype=t.dtype).to(t.device)
        return t[joint], torch.stack([t[joint], t[marginal]], 1) + noise

    return batch


@dataclass(frozen=True)
class Reported:
    """What held-out rows say of a critic.

    Parameters
    ----------
    value : float               Donsker-Varadhan, nats
    influence : (n,) array      what each row moves it by, times n
    effective : float           marginal pairs that carry the partition function
    pairs : int                 marginal pairs
    upper : float or None       E[ln p(l|x) - ln q(l)], for a critic that has a density q
    """

    value: float
    influence: NDArray[np.float64]
    effective: float
    pairs: int
    upper: float | None


def report(critic: Critic, t: Tensor, seed: int) -> Reported:
    """Value of a critic on rows it has not seen, with fresh noise, of which each row has some with either sign.

    What scores owe to the length of the noise is taken out by regression, as its mean is known.
    """
    generator = torch.Generator().manual_seed(seed)
    scores, sides, lengths, above = [], [], [], []
    logs, effective, pairs = [], [], []
    for rows in t.tensor_split(-(-len(t) // _ROWS_IN_TABLE)):
        noise = torch.randn(rows.shape, generator=generator, dtype=t.dtype).to(t.device)
        lengths.append(noise.square().sum(1) - t.shape[1])
        for sign in (1, -1):
            noisy = rows + sign * noise
            found = judge(critic, (rows, noisy), None if critic.tabular else _PAIRS_A_ROW, seed)
            logs.append(float(log_mean_exp(found.marginal.double())))
            effective.append(effective_pairs(found.marginal))
            pairs.append(found.marginal.numel())
            scores.append(found.joint.double())
            sides.append(found.sides(torch.exp(found.marginal - logs[-1])).double())
            if isinstance(critic, Channel):
                likely = critic.density.log_density(noisy)
                above.append(-noise.square().sum(1) / 2 - t.shape[1] / 2 * _LOG_2PI - likely)
    share = np.array(pairs) / sum(pairs)
    partition = float(logsumexp(logs, b=share))
    around = [side * math.exp(log - partition) for side, log in zip(sides, logs, strict=True)]
    length = torch.cat(lengths)
    joint = _without_length(_mean_of_signs(scores), length)
    squares = [2 * log + math.log(p * p / e) for log, p, e in zip(logs, pairs, effective, strict=True)]
    return Reported(
        value=float(joint.mean()) - partition,
        influence=(joint - _mean_of_signs(around)).cpu().numpy(),
        effective=math.exp(2 * (partition + math.log(sum(pairs))) - float(logsumexp(squares))),
        pairs=sum(pairs),
        upper=float(_without_length(_mean_of_signs(above), length).mean()) if above else None,
    )


def _mean_of_signs(parts: list[Tensor]) -> Tensor:
    return (torch.cat(parts[::2]) + torch.cat(parts[1::2])) / 2


def _without_length(scores: Tensor, length: Tensor) -> Tensor:
    slope = ((scores - scores.mean()) * length).mean() / length.square().mean()
    return scores - slope * length
