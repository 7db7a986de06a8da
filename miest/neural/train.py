"""One training loop for every critic and bound."""

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from miest.neural.bounds import Bound, Scores
from miest.neural.critics import Critic

Rows = tuple[Tensor, Tensor]
Batch = Callable[[int, Generator], Rows]
Progress = Callable[[int, int, float], None]

_PAIRS_AT_ONCE = 2**22  # scores held in memory while a critic is judged


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of the loop; their meaning is on the estimators that have them."""

    steps: int
    batch: int
    negatives: int | None
    learning_rate: float
    weight_decay: float
    average: float
    check_every: int
    patience: int
    bf16: bool


@dataclass
class History:
    """What training saw at each look: the bound's criterion on batches since the last one, and on held-out rows."""

    step: list[int] = field(default_factory=list)
    fit: list[float] = field(default_factory=list)
    stop: list[float] = field(default_factory=list)
    best_step: int = 0
    ended: str = ""
    """"stopped" for want of improvement, "steps" where they ran out, "diverged" where a loss was not finite."""


def score(critic: Critic, x: Tensor, y: Tensor, others: Tensor | None = None) -> Scores:
    """Scores of the rows of (x, y), and of each x with rows of y it was not drawn with.

    Parameters
    ----------
    critic : Critic
    x, y : (n, ...) tensors
    others : (n, m) tensor or None      rows of y for each x; None: all but its own
    """
    u, v = critic.encode_x(x), critic.encode_y(y)
    if others is None:
        table = critic.cross(u, v)
        return Scores(table.diagonal(), _off_diagonal(table), None)
    return Scores(critic.join(u, v), critic.join(u[:, None], v[others]), others)


def judge(critic: Critic, rows: Rows, negatives: int | None, seed: int) -> Scores:
    """Scores without gradients, in blocks; None for `negatives` takes all rows, at which the table is cheap."""
    x, y = rows
    n = len(x)
    with torch.no_grad():
        u, v = _encoded(critic.encode_x, x), _encoded(critic.encode_y, y)
        joint = critic.join(u, v)
        if negatives is None or negatives >= n - 1:
            block = max(1, _PAIRS_AT_ONCE // n)
            table = torch.cat([critic.cross(u[i : i + block], v) for i in range(0, n, block)])
            return Scores(joint, _off_diagonal(table), None)
        others = derangement(n, negatives, torch.Generator().manual_seed(seed)).to(x.device)
        width = max(u.shape[1], v.shape[1])
        block = max(1, _PAIRS_AT_ONCE * 16 // (negatives * width))
        parts = [critic.join(u[i : i + block, None], v[others[i : i + block]]) for i in range(0, n, block)]
        return Scores(joint, torch.cat(parts), others)


def _encoded(encode: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    return torch.cat([encode(rows[i : i + 1024]) for i in range(0, len(rows), 1024)])


def _off_diagonal(table: Tensor) -> Tensor:
    """(n, n) to (n, n - 1): each row without its diagonal entry."""
    n = len(table)
    return table.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)


def derangement(n: int, m: int, generator: Generator) -> Tensor:
    """(n, m) rows j != i for each row i, every one of them m times; m < n."""
    order = torch.randperm(n, generator=generator)
    shifts = torch.randperm(n - 1, generator=generator)[:m] + 1
    place = torch.empty_like(order)
    place[order] = torch.arange(n)
    return order[(place[:, None] + shifts) % n]


def train(
    critic: Critic,
    bound: Bound,
    batch: Batch,
    judged: Callable[[Critic], float],
    settings: Training,
    generator: Generator,
    progress: Progress | None = None,
) -> tuple[Critic, History]:
    """Train a critic with AdamW until held-out rows no longer like it better.

    Parameters
    ----------
    critic : Critic                 trained in place
    bound : Bound
    batch : (size, generator) -> (x, y)
    judged : Critic -> float        criterion on held-out rows
    settings : Training
    generator : torch.Generator     of batches and derangements
    progress : (step, steps, criterion) -> None, called at each look

    Returns
    -------
    critic : Critic                 the moving average of the weights, where `judged` was best
    history : History
    """
    trained: list[Tensor] = [p for p in critic.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    averaged = copy.deepcopy(critic)
    average: list[Tensor] = [p for p in averaged.parameters() if p.requires_grad]
    kept, history, state = copy.deepcopy(critic), History(), bound.start()
    best, waited, fallen = -math.inf, 0, 0
    recent: list[float] = []
    device = next((p.device for p in critic.parameters()), torch.device("cpu"))
    for step in range(settings.steps + 1):
        if step % settings.check_every == 0 or step == settings.steps:
            held = judged(averaged)
            history.step.append(step)
            history.stop.append(held)
            history.fit.append(sum(recent) / len(recent) if recent else math.nan)
            recent = []
            if progress is not None:
                progress(step, settings.steps, held)
            if not math.isfinite(held):
                history.ended = "diverged"
                return kept, history
            waited += 1
            if held > best:
                best, waited, history.best_step = held, 0, step
                kept.load_state_dict(averaged.state_dict())
            if waited > settings.patience:
                if fallen == 2:
                    history.ended = "stopped"
                    return kept, history
                fallen, waited = fallen + 1, 0
                for group in optimizer.param_groups:
                    group["lr"] /= 3
        if step == settings.steps:
            break
        x, y = batch(settings.batch, generator)
        others = None
        if settings.negatives is not None and settings.negatives < len(x) - 1:
            others = derangement(len(x), settings.negatives, generator).to(x.device)
        with torch.autocast(device.type, torch.bfloat16) if settings.bf16 else nullcontext():
            scores = score(critic, x, y, others)
        scores = Scores(scores.joint.float(), scores.marginal.float(), others)
        loss, state = bound.loss(scores, state)
        with torch.no_grad():
            recent.append(float(bound.criterion(scores)))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        decay = min(settings.average, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(average, trained, 1 - decay)
    history.ended = "steps"
    return kept, history
