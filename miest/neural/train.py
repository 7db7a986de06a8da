"""One training loop for every critic and bound."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from miest.neural.bounds import Bound, Scores
from miest.neural.critics import Critic

Rows = tuple[Tensor, Tensor]
Batch = Callable[[int, Generator], Rows]
Progress = Callable[[int, int, float], None]

_PAIRS_AT_ONCE = 2**22  # scores in the making while a critic is judged
_MOST_PAIRS = 2**26  # scores of one judgement, some hundred MiB, whatever the number of rows


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
    fit: list[float | None] = field(default_factory=list)
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
    """Scores without gradients, in blocks.

    Parameters
    ----------
    critic : Critic
    rows : (x, y) tensors       n >= 2 rows
    negatives : int or None     marginal pairs a row, about; None takes all. More than memory should hold are not made
    seed : int                  of which pairs
    """
    x, y = rows
    n = len(x)
    most = max(1, _MOST_PAIRS // n)
    negatives = min(n - 1 if negatives is None else negatives, most)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        u, v = _encoded(critic.encode_x, x), _encoded(critic.encode_y, y)
        joint = critic.join(u, v)
        if negatives >= n - 1:
            block = max(1, _PAIRS_AT_ONCE // n)
            table = torch.cat([critic.cross(u[i : i + block], v) for i in range(0, n, block)])
            return Scores(joint, _off_diagonal(table), None)
        if critic.tabular:
            return _in_pools(critic, u, v, joint, negatives, generator)
        others = derangement(n, negatives, generator).to(x.device)
        width = max(u.shape[1], v.shape[1])
        block = max(1, _PAIRS_AT_ONCE * 16 // (negatives * width))
        parts = [critic.join(u[i : i + block, None], v[others[i : i + block]]) for i in range(0, n, block)]
        return Scores(joint, torch.cat(parts), others)


def _in_pools(critic: Critic, u: Tensor, v: Tensor, joint: Tensor, negatives: int, generator: Generator) -> Scores:
    """Scores of each row with the others of a pool, so that a pair costs an entry of a matrix product."""
    n = len(u)
    pools = torch.randperm(n, generator=generator).to(u.device).tensor_split(n // (negatives + 1))
    width = len(pools[-1]) - 1  # pools differ by one row at most, and the last are the small ones
    marginal = torch.empty(n, width, dtype=joint.dtype, device=u.device)
    others = torch.empty(n, width, dtype=torch.int32, device=u.device)
    after = torch.arange(width, device=u.device) + 1
    for pool in pools:
        # Those that follow in the circle: in a large pool all but one, every row equally often.
        place = (torch.arange(len(pool), device=u.device)[:, None] + after) % len(pool)
        marginal[pool] = critic.cross(u[pool], v[pool]).gather(1, place)
        others[pool] = pool.int()[place]
    return Scores(joint, marginal, others)


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
    critic : Critic                 the moving average of the weights, where `judged` was best; in evaluation mode
    history : History

    Notes
    -----
    What a critic or a dataset draws from torch's global generator depends on `generator` alone, and leaves no trace.
    """
    device = next((p.device for p in critic.parameters()), torch.device("cpu"))
    with drawing_from(int(torch.randint(2**62, (), generator=generator)), device):
        return _train(critic, bound, batch, judged, settings, generator, progress, device)


@contextmanager
def drawing_from(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generator for a while, and leave it as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _train(
    critic: Critic,
    bound: Bound,
    batch: Batch,
    judged: Callable[[Critic], float],
    settings: Training,
    generator: Generator,
    progress: Progress | None,
    device: torch.device,
) -> tuple[Critic, History]:
    trained: list[Tensor] = [p for p in critic.parameters() if p.requires_grad]
    averaged, kept = copy.deepcopy(critic).eval(), copy.deepcopy(critic).eval()
    average: list[Tensor] = [p for p in averaged.parameters() if p.requires_grad]
    history, state = History(), bound.start()
    if not trained:
        history.step, history.fit, history.stop, history.ended = [0], [None], [judged(kept)], "stopped"
        return kept, history
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    best, waited, fallen = -math.inf, 0, 0
    recent: list[float] = []
    for step in range(settings.steps + 1):
        if step % settings.check_every == 0 or step == settings.steps:
            for old, new in zip(averaged.buffers(), critic.buffers(), strict=True):
                old.copy_(new)  # statistics of normalisation
            held = judged(averaged)
            history.step.append(step)
            history.stop.append(held)
            history.fit.append(sum(recent) / len(recent) if recent else None)
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
                if fallen == 1:
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
