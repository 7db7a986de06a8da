"""What a layer with noisy weights tells of its input, from the noise in its weights.

    I(z;x) + TC(z) = -1/2 sum_i E_x ln[ alpha~_i w_i^2 . x^2 / (w_i . Cov(x) w_i + alpha~_i w_i^2 . E[x^2]) ]

for z = W x, rows w_i of mean weights, alpha~ the variance of the noise (Achille & Soatto 2018, prop. 5.1). Given x the
units of z are independent, so that the left side is the sum of I(z_i; x) over them, each of a Gaussian seen through
Gaussian noise. The bounds of prop. 5.2 and cor. 5.3 follow from it under more assumptions.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    import torch
except ImportError as error:
    raise ImportError("noisy weights are torch modules: pip install 'miest[torch]'.") from error

from miest.bottleneck.factors import Factor, GaussianFactor, LogNormalFactor
from miest.bottleneck.noisy_weights import NoisyWeights
from miest.result import Diagnostics, Flag, MIResult
from miest.samples import DataError, variables

Matrix = NDArray[np.float64]
Moments = tuple[Matrix, Matrix, Matrix, Matrix]

_SKEWED_ABOVE = 0.05  # of the value: what the departures from Gaussian are worth
_VALUES_AT_ONCE = 1 << 22


def information_in_activations(
    x: Any, weight: ArrayLike, alpha: ArrayLike, *, factor: Factor | None = None
) -> MIResult:
    """I(z;x) + TC(z) of z = W x with noisy weights, exactly where z and z given x are Gaussian.

    Parameters
    ----------
    x : (n, d) array-like           the inputs; these rows are taken for the whole population
    weight : (units, d) array-like  means of the weights
    alpha : array-like              size of their noise: one number, (units,) or (units, d)
    factor : Factor                 the noise; None: `LogNormalFactor`

    Returns
    -------
    MIResult        nats; infinite where z is a function of x for some row, as for a row of zeros (DETERMINISTIC).
                    SKEWED where z or z given x is so far from Gaussian that the value is off by more than 5%.
                    Diagnostics: ``units``, the part of each, summing to the value, ``negentropy`` of z and
                    ``negentropy_given_x``, by which the true value differs: true = value - the first + the second

    Raises
    ------
    ValueError
        if shapes do not fit, alpha is not positive, or a number is not finite

    Notes
    -----
    Wrong when: one weight, or a few, make up most of a unit, or alpha is large: the log-normal noise of z given x is
        then skewed, and the value too small. Negentropies are from third and fourth cumulants, which are exact here,
        by the first terms of Edgeworth's series: they say when to doubt, and not by how much where they are large.
    Cost: O(n d units).
    Source: Achille & Soatto (2018), prop. 5.1, eq. 6.
    Differs: alpha may be another for each weight; the paper has one for each unit.
    """
    factor = LogNormalFactor() if factor is None else factor
    (rows,) = variables(x=x, at_least=2, needed_by="a covariance")
    inputs = rows.numbers.astype(np.float64)
    w, a = weights_and_noise(weight, alpha, rows.d)
    second, third, fourth = (c * w**k for c, k in zip(factor.cumulants(a), (2, 3, 4), strict=True))

    def moments(part: slice) -> Moments:
        some = inputs[part]
        return some @ w.T, some**2 @ second.T, some**3 @ third.T, some**4 @ fourth.T

    return _information(moments, rows.n, w.shape[0], _named("information_in_activations", factor))


def layer_information(layer: NoisyWeights, x: Any) -> MIResult:
    """I(z;x) + TC(z) of the output z of a layer with noisy weights, before any nonlinearity.

    Parameters
    ----------
    layer : NoisyLinear or NoisyConv2d
    x : (n, ...) tensor or array        its inputs; these rows are taken for the whole population

    Returns
    -------
    MIResult                            see `information_in_activations`

    Raises
    ------
    ValueError
        if x has fewer than 2 rows
    TypeError
        if the layer has no noisy weights

    Notes
    -----
    With ``layer.local``, its default, the layer itself makes z given x Gaussian, and pixels of a convolution
    independent: only the Gaussian shape of z remains an assumption. With weights that are drawn, the pixels of a
    filter share their noise; the value is then I(z;x) + TC(z) - TC(z|x), a lower bound.
    Cost: two passes over x, of the layer and of up to three like it, in float64.
    Source: Achille & Soatto (2018), prop. 5.1.
    """
    if not isinstance(layer, NoisyWeights):
        raise TypeError(f"{type(layer).__name__} has no noisy weights: use NoisyLinear, NoisyConv2d.")
    inputs = torch.as_tensor(x).detach().to(layer.weight.device)
    if len(inputs) < 2:
        raise DataError(f"x has {len(inputs)} row: a covariance needs at least 2.")
    w, alpha = layer.weight.detach().double(), layer.alpha.double()
    powers = layer.factor.cumulants(alpha.cpu().numpy())
    second, third, fourth = (torch.as_tensor(c).to(w) * w**k for c, k in zip(powers, (2, 3, 4), strict=True))
    bias = None if layer.bias is None else layer.bias.detach().double()

    def moments(part: slice) -> Moments:
        some = inputs[part].double()
        found = [layer.linear(some, w, bias), layer.linear(some**2, second, None)]
        if layer.local:
            found += [torch.zeros_like(found[0])] * 2
        else:
            found += [layer.linear(some**3, third, None), layer.linear(some**4, fourth, None)]
        mean, variance, skew, excess = (f.flatten(1).cpu().numpy() for f in found)
        return mean, variance, skew, excess

    units = moments(slice(1))[0].shape[1]
    return _information(moments, len(inputs), units, _named("layer_information", layer.factor))


def _named(function: str, factor: Factor) -> str:
    return f"{function}({'Gaussian' if isinstance(factor, GaussianFactor) else 'log-normal'} weights)"


def weights_and_noise(weight: ArrayLike, alpha: ArrayLike, d: int) -> tuple[Matrix, Matrix]:
    """(units, d) weights and the alpha of each, checked.

    Raises
    ------
    ValueError
        if shapes do not fit, alpha is not positive, or a number is not finite
    """
    w, a = np.asarray(weight, np.float64), np.asarray(alpha, np.float64)
    if w.ndim != 2 or w.shape[1] != d or not np.isfinite(w).all():
        raise DataError(f"weight has shape {w.shape} and must be (units, {d}), finite, for x of {d} columns.")
    if a.shape not in ((), (len(w),), (len(w), 1), w.shape):
        raise DataError(f"alpha has shape {a.shape}: pass one number, ({len(w)},) or {w.shape}.")
    if not (np.isfinite(a).all() and (a > 0).all()):
        raise DataError("alpha must be positive and finite: without noise in the weights z is a function of x.")
    return w, np.broadcast_to(a[:, None] if a.ndim == 1 else a, w.shape).astype(np.float64)


def _information(moments: Callable[[slice], Moments], n: int, units: int, name: str) -> MIResult:
    """The sum over units from mean, variance, third and fourth cumulant of z given each row of x."""
    started = perf_counter()
    centre = sum(mean.sum(0) for mean, *_ in map(moments, _parts(n, units))) / n  # (units,)
    sums = np.zeros((8, units))
    with np.errstate(divide="ignore", invalid="ignore"):
        for part in _parts(n, units):
            mean, variance, third, fourth = moments(part)
            m = mean - centre
            sums += [
                (m**2).sum(0),
                variance.sum(0),
                np.log(variance).sum(0),
                (m**3 + 3 * m * variance + third).sum(0),
                (m**4 + 6 * m**2 * variance + 4 * m * third + 3 * variance**2 + fourth).sum(0),
                np.where(variance > 0, third**2 / variance**3, 0).sum(0),
                np.where(variance > 0, fourth**2 / variance**4, 0).sum(0),
                (variance <= 0).sum(0),
            ]
        between, within, mean_log, third, fourth, skews, excesses, silent = sums / n
        total = between + within
        still = total == 0
        parts = np.where(still, 0.0, (np.log(total) - mean_log) / 2)
        marginal = np.where(still, 0.0, third**2 / total**3 / 12 + (fourth / total**2 - 3) ** 2 / 48)
    given = skews / 12 + excesses / 48
    value, deterministic = float(parts.sum()), int(((silent > 0) & ~still).sum())
    doubts = []
    if deterministic:
        doubts.append((Flag.DETERMINISTIC, f"{deterministic} of {units} units have no noise for some rows of x."))
    if still.all():
        doubts.append((Flag.CONSTANT, "no unit varies: they carry no information."))
    off = float(marginal.sum() + given.sum())
    if math.isfinite(value) and off > _SKEWED_ABOVE * abs(value):
        doubts.append(
            (
                Flag.SKEWED,
                f"z has a negentropy near {marginal.sum():.3g} nats and z given x one near {given.sum():.3g}: not "
                "Gaussian enough for this formula. Use sampled_information_in_activations.",
            )
        )
    return MIResult(
        value=value,
        n_samples=n,
        estimator=name,
        quantity="I(Z;X)+TC(Z)",
        flags=tuple(flag for flag, _ in doubts),
        notes=tuple(note for _, note in doubts),
        diagnostics=Diagnostics(
            units=parts.tolist(), negentropy=float(marginal.sum()), negentropy_given_x=float(given.sum())
        ),
        seconds=perf_counter() - started,
    )


def _parts(n: int, units: int) -> Iterator[slice]:
    rows = max(1, _VALUES_AT_ONCE // units)
    for start in range(0, n, rows):
        yield slice(start, start + rows)


def unit_information(alpha: ArrayLike, *, factor: Factor | None = None) -> Any:
    """g(alpha), what one unit tells of its input where there are many uncorrelated inputs of mean zero; nats.

    Parameters
    ----------
    alpha : array-like          size of the noise
    factor : Factor             None: `LogNormalFactor`, for which g = -1/2 ln(1 - e^-alpha)

    Returns
    -------
    float or array              1/2 ln(1 + 1 / alpha~), in the shape of alpha

    Raises
    ------
    ValueError
        if alpha is not positive

    Notes
    -----
    g(alpha) <= (I(z;x) + TC(z)) / dim(z) <= g(alpha) + c, with c of order 1 / dim(x).
    Wrong when: for the upper bound, the inputs are correlated: w . Cov(x) w may then be dim(x) times w^2 . E[x^2]. For
        the lower bound, they have means: inputs that do not vary tell nothing. c is below 1 only where no row of x is
        much smaller than the others; a row of zeros makes it infinite.
    Source: Achille & Soatto (2018), prop. 5.2.
    Differs: g falls with alpha, where the paper has it rise: what it rises with is I(w;D). Its proof has g with the
    sign reversed, and takes w . Cov(x) w = w^2 . E[x^2], which needs means of zero, for granted in the lower bound.
    """
    a = np.asarray(alpha, np.float64)
    if not (a > 0).all():
        raise ValueError(f"alpha={alpha!r} must be positive: without noise the information has no bound.")
    second = (LogNormalFactor() if factor is None else factor).cumulants(a)[0]
    found = np.log1p(1 / second) / 2
    return float(found) if found.ndim == 0 else found


def alpha_of_information(information: float, weights: int) -> float:
    """The alpha of log-normal noise at which so many weights hold I(w;D) nats together.

    Parameters
    ----------
    information : float     I(w;D) = -1/2 sum ln alpha, nats
    weights : int           dim(W)

    Returns
    -------
    float                   exp(-2 I(w;D) / dim(W)); of unequal alphas it is the geometric mean

    Notes
    -----
    Source: Achille & Soatto (2018), prop. 5.2.
    Differs: the paper has exp(-I / dim(W)), which does not go with its prop. 4.1: the factor of 2 is missing.
    """
    return math.exp(-2 * information / weights)


def multilayer_bound(
    sizes: Sequence[int], alphas: Sequence[ArrayLike], *, factor: Factor | None = None, slack: float = 1.0
) -> float:
    """Upper bound on I(z_L;x) of a stack of layers with noisy weights: the least that one of them lets through.

    Parameters
    ----------
    sizes : sequence of int             outputs of each layer, in network order
    alphas : sequence of array-like     size of the noise of each layer: a number, or one for each of its units or
                                        filters, over which g is averaged; see also `alpha_of_information`
    factor : Factor                     None: `LogNormalFactor`
    slack : float                       c of prop. 5.2

    Returns
    -------
    float                               min over layers of dim(z) (g(alpha) + slack), nats

    Raises
    ------
    ValueError
        if there is no layer, not an alpha for each, or one is not positive

    Notes
    -----
    Wrong when: as `unit_information`; the inputs of a hidden layer are hardly ever uncorrelated. It is loose: the
        layers that let most through do not matter, and what one lets through need not be of x.
    Source: Achille & Soatto (2018), cor. 5.3.
    Differs: dim(z_k) of the paper's formula is the input of its layer W^k; what prop. 5.2 bounds by is the output.
    """
    if not sizes or len(sizes) != len(alphas):
        raise ValueError(f"there are {len(sizes)} sizes and {len(alphas)} alphas: pass one of each for every layer.")
    shares = [float(np.mean(unit_information(alpha, factor=factor))) for alpha in alphas]
    return min(size * (share + slack) for size, share in zip(sizes, shares, strict=True))
