"""Density of a layer seen through Gaussian noise: a mixture fitted to the layer itself, each component widened.

The layer is given in units of the noise, t = F(x) / s, and what is wanted is the density of t + e, e standard normal.
As the mixture is fitted to t and not to t + e, large noise costs nothing: mean and covariance stay those of the rows.
"""

import math
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

LOG_2PI = math.log(2 * math.pi)

Array = NDArray[np.float64]

_MIXED = 24  # leading directions in which the density is a mixture
_WIDEST = 1024  # columns whose covariance is diagonalised in full
_DIRECTIONS = 256  # of wider layers
_ROWS_TO_MIX = 20_000
_COMPONENTS = (4, 12, 32, 80)
_ROWS_A_COMPONENT = 100
_GAUSSIAN_BELOW = 1e-2  # variance of a direction, that of the noise being 1


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
        centre: Array,
        directions: Array,
        variances: Array,
        rest: float,
        weights: Array,
        means: Array,
        covariances: Array,
    ) -> None:
        super().__init__()
        r = means.shape[1]
        roots = np.linalg.cholesky(covariances + np.eye(r))
        logs = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(1) + r / 2 * LOG_2PI
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
        return mixed - others - outside - (d - q) / 2 * math.log(self.rest) - (d - r) / 2 * LOG_2PI


def noisy_density(t: Tensor, stop: Tensor, generator: Generator) -> NoisyDensity:
    """Fit the density of t + e to rows of t; held-out rows choose the number of components.

    Parameters
    ----------
    t, stop : (n, d), (m, d) float64 tensors
    generator : Generator       of the noise of the held-out rows, and of where components start
    """
    centre = t.mean(0)
    apart = t - centre
    variances, directions = _principal(apart)
    d, q = directions.shape
    rest = max(0.0, float(apart.square().sum() / len(t) - variances.sum())) / max(1, d - q)
    noisy = stop + torch.randn(stop.shape, generator=generator, dtype=stop.dtype).to(stop.device)
    # With far less variance than the noise, a direction is Gaussian to any eye.
    mixed = min(_MIXED, int((variances > _GAUSSIAN_BELOW).sum()))
    r = max(1, mixed)
    shared = (centre.cpu().numpy(), directions.cpu().numpy(), variances.cpu().numpy(), rest)

    def made(weights: Array, means: Array, covariances: Array) -> tuple[NoisyDensity, float]:
        density = NoisyDensity(*shared, weights, means, covariances).to(t.device)
        return density, float(density.log_density(noisy).mean())

    best, likeliest = made(np.ones(1), np.zeros((1, r)), np.diag(shared[2][:r])[None])
    rows = (apart @ directions[:, :r]).cpu().numpy()
    if len(rows) > _ROWS_TO_MIX:
        rows = rows[torch.randperm(len(rows), generator=generator)[:_ROWS_TO_MIX].numpy()]
    for k in _COMPONENTS if mixed else ():
        if len(rows) < k * max(_ROWS_A_COMPONENT, 2 * r):
            break
        density, likely = made(*_mixture(rows, k, int(torch.randint(2**31, (), generator=generator))))
        if likely <= likeliest:
            break
        best, likeliest = density, likely
    return best


def _principal(apart: Tensor) -> tuple[Tensor, Tensor]:
    """Variances and orthonormal directions of centred rows, (q,) and (d, q), the largest first."""
    n, d = apart.shape
    if d > _WIDEST:
        _, singular, directions = torch.svd_lowrank(apart, min(_DIRECTIONS, n), niter=4)
        return singular.square() / n, directions
    variances, directions = torch.linalg.eigh(apart.T @ apart / n)
    return variances.flip(0).clamp_min(0), directions.flip(1)


def _mixture(rows: Array, k: int, seed: int) -> tuple[Array, Array, Array]:
    """Weights, means and covariances of k Gaussians."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    # The noise, of variance 1, comes on top: how narrow a component is matters little.
    narrowest = min(1e-2, 1e-3 * float(rows.var(0).max()))
    mixture = GaussianMixture(k, reg_covar=narrowest, max_iter=60, init_params="k-means++", random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # whatever it is, the held-out rows choose
        mixture.fit(rows)
    return mixture.weights_, mixture.means_, mixture.covariances_
