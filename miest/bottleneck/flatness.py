"""Flat minima hold little information: the curvature of a loss, and the bound on I(w;D) that follows from it.

With noise of size alpha_i on ln w_i, the loss at a minimum rises by 1/2 alpha_i w_i^2 H_ii to second order. The best
alpha_i trades that against the price -beta/2 ln alpha_i of the information (Achille & Soatto 2018, prop. 4.3). All that
is needed of the Hessian H are products H v, at the price of two gradients each.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

try:
    import torch
    from torch import Tensor
except ImportError as error:
    raise ImportError("curvature needs torch's gradients: pip install 'miest[torch]'.") from error

from miest.estimators.estimator import require_integer

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Curvature:
    """Trace and nuclear norm of a Hessian, each a mean over random directions.

    Parameters
    ----------
    trace : float               sum of the eigenvalues
    trace_stderr : float        0 where exact
    nuclear_norm : float        sum of their absolute values; the trace where no eigenvalue is negative
    nuclear_norm_stderr : float
    parameters : int            K, the size of the Hessian
    draws, steps : int          random directions, and Lanczos steps from each
    """

    trace: float
    trace_stderr: float
    nuclear_norm: float
    nuclear_norm_stderr: float
    parameters: int
    draws: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class FlatMinimum:
    """Upper bounds on the information in the weights at a minimum, nats.

    Parameters
    ----------
    bound : float           as the paper's proof has it
    tighter : float         with the second-order term as it is, K/2 ln 2 lower
    squared_norm : float    of the weights
    curvature : Curvature   of the loss
    beta : float
    """

    bound: float
    tighter: float
    squared_norm: float
    curvature: Curvature
    beta: float


def flat_minimum_information(squared_norm: float, nuclear_norm: float, parameters: int, beta: float) -> float:
    """Upper bound on I(w;D) at a minimum, from the size of the weights and the nuclear norm of the Hessian; nats.

    Parameters
    ----------
    squared_norm : float        |w|^2
    nuclear_norm : float        |H|_* of the loss summed over the data set
    parameters : int            K
    beta : float                price of the information

    Returns
    -------
    float                       K/2 [ln |w|^2 + ln |H|_* - ln(K^2 beta / 2)]

    Raises
    ------
    ValueError
        if one of the numbers is not positive and finite

    Notes
    -----
    Source: Achille & Soatto (2018), prop. 4.3 and its proof C.5.
    Differs: the statement of prop. 4.3 has K ln(K^2 beta / 2) inside the bracket; its proof, which is right in this,
    ln(K^2 beta / 2).
    """
    require_integer("parameters", parameters, 1)
    for name, value in (("squared_norm", squared_norm), ("nuclear_norm", nuclear_norm), ("beta", beta)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name}={value!r} must be positive and finite: the bound takes its logarithm.")
    return parameters / 2 * math.log(2 * squared_norm * nuclear_norm / (parameters**2 * beta))


def flat_minimum_bound(
    loss: Callable[[], Tensor],
    parameters: Iterable[Tensor],
    *,
    beta: float,
    draws: int = 32,
    steps: int = 30,
    seed: int = 0,
) -> FlatMinimum:
    """Upper bound on I(w;D) of a trained network, from how flat the minimum is that it ended in.

    Parameters
    ----------
    loss : () -> scalar tensor      cross-entropy summed over the training set, at the minimum
    parameters : tensors            the weights of the network
    beta : float                    price of the information
    draws, steps, seed              see `curvature`

    Returns
    -------
    FlatMinimum

    Raises
    ------
    ValueError
        if beta is not positive, or the curvature is zero

    Notes
    -----
    The information is -1/2 sum ln alpha of `LogNormalFactor` at the alpha that minimises the loss to second order, with
    its constant at zero; Jensen's inequality makes a bound of it that needs no single entry of the Hessian.
    Wrong when: the loss is not at a minimum. Then the gradient adds to the second derivative in ln w, and the nuclear
        norm, which stands in for a diagonal without negative entries, is above the trace.
    Cost: `draws` times `steps` products with the Hessian, of two gradients over the training set each; memory for
        `steps` vectors of the size of the weights.
    Source: Achille & Soatto (2018), prop. 4.3.
    Differs: the proof expands the loss without the 1/2 of Taylor's second term, which makes the noise half as large as
    is best, and the bound K/2 ln 2 looser than `tighter`.
    """
    weights = list(parameters)
    found = curvature(loss, weights, draws=draws, steps=steps, seed=seed)
    squared = float(sum(w.detach().double().square().sum() for w in weights))
    bound = flat_minimum_information(squared, found.nuclear_norm, found.parameters, beta)
    return FlatMinimum(
        bound=bound,
        tighter=bound - found.parameters / 2 * math.log(2),
        squared_norm=squared,
        curvature=found,
        beta=beta,
    )


def curvature(
    loss: Callable[[], Tensor], parameters: Iterable[Tensor], *, draws: int = 32, steps: int = 30, seed: int = 0
) -> Curvature:
    """Trace and nuclear norm of the Hessian of a loss, without the Hessian.

    Parameters
    ----------
    loss : () -> scalar tensor      of no random numbers of its own; called once
    parameters : tensors            with respect to which; all must have gradients
    draws : int                     random directions, at least 2 for a standard error
    steps : int                     Lanczos steps from each; exact for it with as many as there are parameters
    seed : int

    Returns
    -------
    Curvature

    Raises
    ------
    ValueError
        if there are no parameters, or the loss is not one finite number

    Notes
    -----
    Trace: the mean of v'Hv over directions v of random signs (Hutchinson), of variance 2 sum_{i != j} H_ij^2 a draw.
    Nuclear norm: stochastic Lanczos quadrature of |eigenvalue| in the same directions (Ubaru, Chen & Saad 2017), with
    every new vector made orthogonal to all before it.
    Error: the standard errors are those of the directions; that of the quadrature falls with `steps`: below 1% of
    the nuclear norm with 30, for a perceptron of 61 parameters, and 2% with 15.
    """
    require_integer("draws", draws, 2)
    require_integer("steps", steps, 1)
    weights = list(parameters)
    product, size = _hessian_product(loss, weights)
    generator = torch.Generator().manual_seed(seed)
    steps = min(steps, size)
    traces, norms = [], []
    for _ in range(draws):
        signs = torch.randint(2, (size,), generator=generator) * 2 - 1
        nodes, shares = _quadrature(product, signs.to(weights[0]) / math.sqrt(size), steps)
        traces.append(size * float((shares * nodes).sum()))
        norms.append(size * float((shares * nodes.abs()).sum()))
    (trace, trace_stderr), (norm, norm_stderr) = _mean(traces), _mean(norms)
    return Curvature(
        trace=trace,
        trace_stderr=trace_stderr,
        nuclear_norm=norm,
        nuclear_norm_stderr=norm_stderr,
        parameters=size,
        draws=draws,
        steps=steps,
    )


def _mean(values: list[float]) -> tuple[float, float]:
    drawn = torch.tensor(values, dtype=torch.float64)
    return float(drawn.mean()), float(drawn.std() / math.sqrt(len(values)))


def _hessian_product(loss: Callable[[], Tensor], weights: list[Tensor]) -> tuple[Product, int]:
    """The map v to Hv over all weights as one vector, and its length."""
    if not weights:
        raise ValueError("there are no parameters: pass those of the network, as model.parameters().")
    value = loss()
    if value.numel() != 1 or not bool(torch.isfinite(value).all()):
        raise ValueError(f"the loss is {value.detach()!r}, and must be one finite number with a second derivative.")
    first = torch.autograd.grad(value.sum(), weights, create_graph=True, allow_unused=True)
    used = [(w, g) for w, g in zip(weights, first, strict=True) if g is not None]
    shapes = [w.shape for w in weights]

    def product(v: Tensor) -> Tensor:
        parts = dict(zip(map(id, weights), _split(v, shapes), strict=True))
        along: Any = sum((g * parts[id(w)]).sum() for w, g in used)
        if not along.requires_grad:  # linear in all weights
            return torch.zeros_like(v)
        second = torch.autograd.grad(along, weights, retain_graph=True, allow_unused=True)
        flat = [torch.zeros_like(w) if h is None else h for w, h in zip(weights, second, strict=True)]
        return torch.cat([h.reshape(-1) for h in flat])

    return product, sum(w.numel() for w in weights)


def _split(v: Tensor, shapes: list[torch.Size]) -> Iterator[Tensor]:
    sizes = [shape.numel() for shape in shapes]
    yield from (part.reshape(shape) for part, shape in zip(v.split(sizes), shapes, strict=True))


def _quadrature(product: Product, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights, float64: their mean of f(node) is start' f(H) start for polynomials f up to 2 steps - 1."""
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    for step in range(steps):
        after = product(basis[-1])
        diagonal.append(float(after @ basis[-1]))
        known = torch.stack(basis)
        for _ in range(2):  # twice is enough, where once leaves what rounding put back
            after = after - known.T @ (known @ after)
        rest = float(after.norm())
        if step == steps - 1 or rest <= 1e-6 * max(map(abs, (*diagonal, *beside, 1e-300))):
            break  # the space of this direction is complete
        beside.append(rest)
        basis.append(after / rest)
    tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for i, value in enumerate(beside):
        tridiagonal[i, i + 1] = tridiagonal[i + 1, i] = value
    nodes, vectors = torch.linalg.eigh(tridiagonal)
    return nodes, vectors[0].square()
