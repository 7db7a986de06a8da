"""Accuracy of a classifier under attack, against the strength of the attack: FGSM and PGD.

Both search the ball |x' - x|_inf <= strength for an input that raises the loss, and stay in the range of valid inputs.
FGSM takes one step along the sign of the gradient, PGD many small ones from a random start, projected back each time.
Where the classifier is stochastic, gradients are means over several passes, and so are its predictions.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, get_args

from scipy.stats import beta

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError("attacks need the gradients of torch: pip install 'miest[torch]'.") from error

from miest.bottleneck.cross_entropy import cross_entropy
from miest.estimators.estimator import require_choice, require_integer
from miest.neural.preserved import seeded
from miest.samples import DataError

Attack = Literal["fgsm", "pgd"]


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Accuracy against the strength of an attack.

    Parameters
    ----------
    attack : "fgsm", "pgd" or "both"        "both": a row counts only if it withstands each
    strengths : tuple of float              in units of the input; 0 is no attack
    accuracies : tuple of float             share of rows that are still classified right
    intervals : tuple of (low, high)        of Clopper and Pearson, for another sample of rows
    n : int
    right : tuple of (n,) bool tensors      which rows, for each strength
    """

    attack: str
    strengths: tuple[float, ...]
    accuracies: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    n: int
    right: tuple[Tensor, ...] = field(repr=False, compare=False)

    @property
    def mean(self) -> float:
        """Mean accuracy over the strengths, by the trapezoidal rule: one number for a curve."""
        if len(self.strengths) == 1:
            return self.accuracies[0]
        pairs = list(zip(self.strengths, self.accuracies, strict=True))
        area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(pairs))
        return area / (self.strengths[-1] - self.strengths[0])


def robustness(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    strengths: Sequence[float] = (0.0, 0.02, 0.05, 0.1, 0.2),
    *,
    attack: Attack | Literal["both"] = "both",
    bounds: tuple[float, float] = (0.0, 1.0),
    steps: int = 20,
    step: float | None = None,
    passes: int = 1,
    batch: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> Robustness:
    """Accuracy of a classifier under FGSM, PGD or the worse of the two, at each strength.

    Parameters
    ----------
    model : torch module            (n, ...) to (n, c) logits; in evaluation mode, layers of noise stay noisy
    x : (n, ...) float tensor
    y : (n,) integer tensor
    strengths : sequence of float   largest change of any number of the input; ascending
    attack : "fgsm", "pgd" or "both"
    bounds : (low, high)            of valid inputs
    steps : int                     of PGD
    step : float or None            of PGD; None: 2.5 strength / steps, as Madry et al. (2018) have it
    passes : int                    of a stochastic model, for each gradient and each prediction
    batch : int                     rows at a time
    level : float                   of the intervals
    seed : int                      of random starts and of the model's noise

    Returns
    -------
    Robustness

    Raises
    ------
    ValueError
        if strengths are not ascending and finite, labels do not fit, or inputs are outside the bounds

    Notes
    -----
    Error: an upper limit on the accuracy under the strongest attack; more steps lower it. A model whose gradients
        vanish (a saturated softmax) seems robust to both and is not: at a strength that erases the image the accuracy
        should be that of a guess, or less.
    Cost: passes * (steps + 3) forward and passes * (steps + 1) backward passes for each strength.
    Source: Goodfellow, Shlens, Szegedy (2015), arXiv:1412.6572, for FGSM; Madry et al. (2018), arXiv:1706.06083, for
        PGD; Kirsch, Lyle, Gal (2020), section 4, for the measure: a row counts only if it withstands each attack.
    Differs: the paper's BasicIterative is PGD without the random start, and left out, as is DeepFool.
    """
    _check(x, y, strengths, bounds)
    require_choice("attack", attack, (*get_args(Attack), "both"))
    for name, value in (("steps", steps), ("passes", passes), ("batch", batch)):
        require_integer(name, value, 1)
    used: tuple[Attack, ...] = ("fgsm", "pgd") if attack == "both" else (attack,)
    held: list[Tensor] = []
    with seeded(seed), _frozen(model):
        for strength in strengths:
            parts = []
            for rows, labels in zip(x.split(batch), y.split(batch), strict=True):
                right = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
                for kind in used if strength > 0 else used[:1]:
                    if kind == "fgsm":
                        attacked = fgsm(model, rows, labels, strength, bounds=bounds, passes=passes)
                    else:
                        attacked = pgd(
                            model, rows, labels, strength, bounds=bounds, steps=steps, step=step, passes=passes
                        )
                    right &= _predicted(model, attacked, passes) == labels
                parts.append(right)
            held.append(torch.cat(parts).cpu())
    n, counts = len(x), [int(right.sum()) for right in held]
    return Robustness(
        attack=attack,
        strengths=tuple(float(strength) for strength in strengths),
        accuracies=tuple(count / n for count in counts),
        intervals=tuple(_interval(count, n, level) for count in counts),
        n=n,
        right=tuple(held),
    )


def fgsm(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    strength: float,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    passes: int = 1,
) -> Tensor:
    """Inputs moved by `strength` along the sign of the gradient of the loss, within the bounds.

    Parameters
    ----------
    model, x, y, bounds, passes     see `robustness`
    strength : float

    Returns
    -------
    (n, ...) tensor
    """
    return (x + strength * _gradient(model, x, y, passes).sign()).clamp(*bounds).detach()


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    strength: float,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    steps: int = 20,
    step: float | None = None,
    passes: int = 1,
) -> Tensor:
    """Inputs after projected gradient ascent of the loss within `strength` of x, from a random start.

    Parameters
    ----------
    model, x, y, bounds, steps, step, passes        see `robustness`
    strength : float

    Returns
    -------
    (n, ...) tensor
    """
    size = 2.5 * strength / steps if step is None else step
    moved = (x + strength * (2 * torch.rand_like(x) - 1)).clamp(*bounds)
    for _ in range(steps):
        moved = moved + size * _gradient(model, moved, y, passes).sign()
        moved = torch.maximum(torch.minimum(moved, x + strength), x - strength).clamp(*bounds).detach()
    return moved


def _gradient(model: nn.Module, x: Tensor, y: Tensor, passes: int) -> Tensor:
    """Gradient of the loss in the input, row by row, of the mean prediction over passes."""
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = torch.stack([model(x) for _ in range(passes)])
        loss = cross_entropy(logits, y, "prediction") * len(x)
    (gradient,) = torch.autograd.grad(loss, x)
    return gradient


@torch.no_grad()
def _predicted(model: nn.Module, x: Tensor, passes: int) -> Tensor:
    each = torch.stack([model(x).log_softmax(-1) for _ in range(passes)])
    return torch.logsumexp(each, 0).argmax(-1)


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """In evaluation mode, and without gradients of parameters; as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    trained = [p for p in model.parameters() if p.requires_grad]
    model.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        for module, mode in modes:
            module.training = mode


def _check(x: Tensor, y: Tensor, strengths: Sequence[float], bounds: tuple[float, float]) -> None:
    low, high = bounds
    if len(x) != len(y) or not len(x):
        raise DataError(f"{len(x)} rows and {len(y)} labels: pass one label for each row.")
    ascending = all(a < b for a, b in pairwise(strengths))
    if not len(strengths) or not ascending or strengths[0] < 0 or not math.isfinite(strengths[-1]):
        raise ValueError(
            f"strengths={tuple(strengths)} must be ascending, finite and not negative, as (0.0, 0.05, 0.1)."
        )
    if float(x.min()) < low or float(x.max()) > high:
        raise DataError(
            f"x is between {float(x.min()):.4g} and {float(x.max()):.4g}, beyond bounds={bounds}: pass the range of "
            "valid inputs, and strengths in the same units."
        )


def _interval(count: int, n: int, level: float) -> tuple[float, float]:
    """Clopper and Pearson (1934)."""
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, count, n - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, n - count)) if count < n else 1.0
    return low, high
