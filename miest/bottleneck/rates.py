"""What a latent costs: surrogates and bounds of H[Z], H[Z|Y], I[X;Z] and I[X;Z|Y], differentiable, in nats.

Each takes one batch and gives one scalar. All but `second_moment` are upper bounds in expectation over batches that are
large enough for what they estimate.
"""

import math

try:
    import torch
    from torch import Tensor
except ImportError as error:
    raise ImportError("rates need torch: pip install 'miest[torch]'.") from error

from miest.bottleneck.latents import Posterior

_LOG_2PIE = math.log(2 * math.pi) + 1


def second_moment(z: Tensor) -> Tensor:
    """E|Z|^2, which bounds H[Z] by d/2 ln(2 pi e / d E|Z|^2) (see `entropy_of_moment`).

    Parameters
    ----------
    z : (n, ...) tensor

    Notes
    -----
    Source: Kirsch, Lyle, Gal (2020), eq. 13, 14, appendix F.2. It is no entropy: its unit is the latent's, squared.
    """
    return z.flatten(1).square().sum(1).mean()


def entropy_of_moment(moment: Tensor, d: int) -> Tensor:
    """Largest H[Z] of d coordinates with this E|Z|^2: d/2 ln(2 pi e / d E|Z|^2), nats.

    Parameters
    ----------
    moment : scalar tensor
    d : int

    Notes
    -----
    Source: Kirsch et al. (2020), eq. 39.
    Differs: the extracted text has "2k ln" for k/2 ln; this is the form that inverts its C' = k exp(2C/k) / (2 pi e).
    """
    return d / 2 * (_LOG_2PIE + torch.log(moment / d))


def log_variance(z: Tensor) -> Tensor:
    """Sum over coordinates of ln(2 pi e Var[Z_i]) / 2, an upper bound on H[Z].

    Parameters
    ----------
    z : (n, ...) tensor     n >= 2; with noise, or a coordinate that does not vary has entropy minus infinity

    Raises
    ------
    ValueError
        if there is one row only

    Notes
    -----
    Error: variances are divided by n, so that the value is too small by about d / 2n, and by d / 2n more as the
        logarithm is concave. Equal to H[Z] for independent Gaussian coordinates.
    Source: Kirsch et al. (2020), eq. 12, 16.
    """
    rows = z.flatten(1)
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} row has no variance: pass batches of at least two.")
    return _gaussian(rows.var(0, correction=0)).sum()


def conditional_log_variance(z: Tensor, y: Tensor) -> Tensor:
    """Mean over labels of the sum over coordinates of ln(2 pi e Var[Z_i|y]) / 2, an upper bound on H[Z|Y].

    Parameters
    ----------
    z : (n, ...) tensor
    y : (n,) integer tensor

    Raises
    ------
    ValueError
        if no label occurs twice, or y is not one label a row

    Notes
    -----
    Labels with one row in the batch have no variance and are left out of the mean, the others weighted by their rows.
    Error: too small by about d / m for m rows of a label: batches should hold dozens of rows of each.
    Source: Kirsch et al. (2020), eq. 12, 15.
    """
    rows = z.flatten(1)
    if y.shape != rows.shape[:1]:
        raise ValueError(f"{len(rows)} rows and labels of shape {tuple(y.shape)}: pass one label for each row.")
    _, codes, counts = torch.unique(y, return_inverse=True, return_counts=True)
    several = counts > 1
    if not several.any():
        raise ValueError(f"none of {len(counts)} labels occurs twice among {len(rows)} rows: use larger batches.")
    share = torch.zeros(len(counts), len(rows), dtype=rows.dtype, device=rows.device)
    share[codes, torch.arange(len(rows), device=rows.device)] = 1 / counts.to(rows.dtype)[codes]
    centred = rows - (share @ rows)[codes]  # two passes: E[Z^2] - E[Z]^2 has no digits where the mean is large
    variance = (share @ centred.square())[several]  # (m, d)
    weight = counts[several].to(rows.dtype)
    return (weight / weight.sum()) @ _gaussian(variance).sum(1)


def kl_to_standard(posterior: Posterior) -> Tensor:
    """Mean of KL(p(z|x) || N(0, I)) over rows, an upper bound on I[X;Z].

    Parameters
    ----------
    posterior : Posterior

    Notes
    -----
    Exact for the given posteriors: no draw is made.
    Source: Alemi et al. (2017), eq. 17; Kirsch et al. (2020), eq. 32.
    """
    return kl_between(posterior, Posterior(torch.zeros_like(posterior.mean), torch.ones_like(posterior.std)))


def kl_between(posterior: Posterior, prior: Posterior) -> Tensor:
    """Mean of KL(p(z|x) || q(z|y)) over rows: an upper bound on I[X;Z|Y], as H_theta[Z|Y] - H_theta[Z|X].

    Parameters
    ----------
    posterior : Posterior       p(z|x) of each row
    prior : Posterior           q(z|y) of each row's label

    Notes
    -----
    Source: Fischer (2020), doi:10.3390/e22090999; Kirsch et al. (2020), appendix F.4.
    Differs: the expectation over z is taken in closed form and not from one draw, which has the same mean.
    """
    ratio = posterior.std / prior.std
    distance = (posterior.mean - prior.mean) / prior.std
    return (0.5 * (ratio.square() + distance.square() - 1) - torch.log(ratio)).sum(1).mean()


def pairwise_rate(t: Tensor, std: Tensor | float) -> Tensor:
    """Upper bound on I(X; T+eps) of the rows of a batch by pairwise Kullback-Leibler divergences.

    Parameters
    ----------
    t : (n, ...) tensor         before the noise
    std : scalar tensor or float        of the noise in every coordinate

    Notes
    -----
    Error: of the batch as the whole population none but the bound's; at most ln n, so that a batch of n can show no
        larger rate. `miest.KDE(noise_var=std**2)` gives the same number for NumPy arrays.
    Source: Kolchinsky, Tracey (2017), doi:10.3390/e19070361; Kolchinsky, Tracey, Wolpert (2019), "Nonlinear information
        bottleneck", doi:10.3390/e21121181.
    """
    rows = t.flatten(1) / std
    squares = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").square()
    return math.log(len(rows)) - torch.logsumexp(-squares / 2, 1).mean()


def _gaussian(variance: Tensor) -> Tensor:
    return 0.5 * (_LOG_2PIE + torch.log(variance))
