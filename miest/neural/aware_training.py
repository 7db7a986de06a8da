"""Training of the critics in `aware`, and what held-out rows say of them; t is a layer in units of the noise."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from miest.neural.aware import Channel, Separately, joint_critic
from miest.neural.bounds import DonskerVaradhan, Scores
from miest.neural.critics import Critic
from miest.neural.noisy_density import LOG_2PI, noisy_density
from miest.neural.train import History, Progress, Training, drawing_from, judge, train

_ROWS_IN_TABLE = 3000  # held-out rows that are all paired with each other
_PAIRS = 2**25  # of either sign of the noise
_LARGEST_SHARE = 100  # marginal pairs that carry the partition function at the least
_PAIRS_TO_STOP, _PAIRS_TO_REPORT = 8, 64  # a row, for critics without a cheap table


@dataclass(frozen=True)
class Trained:
    """A critic, and what rows say of it.

    Parameters
    ----------
    critic : Critic                     of (t, t + e)
    history : History
    reported : Reported                 of rows that played no part in training
    before : Reported or None           the same of the critic that training started from, for "channel"
    seen : float                        value on rows trained on, as many as were reported on
    components : int or None            of the mixture, for "channel"
    """

    critic: Critic
    history: History
    reported: "Reported"
    before: "Reported | None"
    seen: float
    components: int | None


def trained(
    t: Tensor,
    stop: Tensor,
    held_out: Tensor,
    *,
    kind: str,
    hidden: Sequence[int],
    training: Training,
    seed: int,
    progress: Progress | None = None,
) -> Trained:
    """Train a critic on rows of t, stop by others, and report on a third set.

    Parameters
    ----------
    t, stop, held_out : (n, d) float64 tensors      three disjoint sets of rows, in units of the noise
    kind : "channel" or "joint"
    hidden : sequence of int
    training : Training
    seed : int
    progress : (step, steps, held-out value) -> None
    """
    generator, fresh = torch.Generator().manual_seed(seed), seed + 1
    with drawing_from(seed, t.device):
        if kind == "channel":
            critic: Critic = Channel(noisy_density(t, stop, generator), hidden).to(t.device)
        else:
            critic = joint_critic(t, hidden).to(t.device)
    before = report(critic, held_out, fresh) if isinstance(critic, Channel) else None

    def judged(apart: Critic) -> float:
        assert isinstance(apart, Separately)
        return report(apart.critic, stop, seed, _PAIRS_TO_STOP).value

    best, history = train(Separately(critic), DonskerVaradhan(), draws(t), judged, training, generator, progress)
    assert isinstance(best, Separately)
    return Trained(
        critic=best.critic,
        history=history,
        reported=report(best.critic, held_out, fresh),
        before=before,
        seen=report(best.critic, t[: len(held_out)], fresh).value,
        components=critic.density.components if isinstance(critic, Channel) else None,
    )


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
    value : float               Donsker-Varadhan of the capped critic, nats
    influence : (n,) array      what each row moves it by, times n
    ceiling : float             what it can be at most, nats
    effective : float           marginal pairs that carry the partition function
    pairs : int                 marginal pairs
    capped : float              share of the joint scores that were capped
    upper : float or None       E[ln p(l|x) - ln q(l)], for a critic that has a density q
    """

    value: float
    influence: NDArray[np.float64]
    ceiling: float
    effective: float
    pairs: int
    capped: float
    upper: float | None


def report(critic: Critic, t: Tensor, seed: int, negatives: int = _PAIRS_TO_REPORT) -> Reported:
    """Value of a critic on rows it has not seen, with fresh noise, of which each row has some with either sign.

    Notes
    -----
    Scores are capped so that no marginal pair has more than a hundredth of the partition function: then that is known
    to about 0.1, and the value cannot exceed ln(pairs / 100). A capped critic is a critic, so that the value is a lower
    bound as before. What joint scores owe to the length of the noise is taken out by regression, as its mean is known.
    """
    generator = torch.Generator().manual_seed(seed)
    block = min(_ROWS_IN_TABLE, max(2, _PAIRS // len(t)))
    found: list[Scores] = []
    lengths, above = [], []
    for rows in t.tensor_split(-(-len(t) // block)):
        noise = torch.randn(rows.shape, generator=generator, dtype=t.dtype).to(t.device)
        lengths.append(noise.square().sum(1) - t.shape[1])
        for sign in (1, -1):
            noisy = rows + sign * noise
            scores = judge(critic, (rows, noisy), None if critic.tabular else negatives, seed)
            found.append(Scores(scores.joint.double(), scores.marginal.float(), scores.others))
            if isinstance(critic, Channel):
                above.append(critic.density.log_density(noisy))
    length = torch.cat(lengths)
    marginal = torch.cat([scores.marginal.flatten() for scores in found])
    pairs = len(marginal)
    cap = _cap(marginal)
    partition = cap - math.log(pairs / _LARGEST_SHARE)
    joint = _both_signs([scores.joint.clamp_max(cap) for scores in found])
    weights = [torch.exp(scores.marginal.clamp_max(cap) - partition) for scores in found]
    sides = _both_signs([scores.sides(weight) for scores, weight in zip(found, weights, strict=True)])
    joint = _without_length(joint, length)
    likely = -t.shape[1] / 2 * (LOG_2PI + 1) - _without_length(_both_signs(above), length) if above else None
    return Reported(
        value=float(joint.mean()) - partition,
        influence=(joint - sides).cpu().numpy(),
        ceiling=math.log(pairs / _LARGEST_SHARE),
        effective=pairs**2 / sum(float(weight.square().sum(dtype=torch.float64)) for weight in weights),
        pairs=pairs,
        capped=float(torch.cat([scores.joint > cap for scores in found]).double().mean()),
        upper=None if likely is None else float(likely.mean()),
    )


def _cap(scores: Tensor) -> float:
    """The score at which the largest ones must be capped so that each makes a hundredth of the sum of exp."""
    k = min(_LARGEST_SHARE, len(scores) - 1)
    top = scores.topk(k + 1).values.double()
    rest = torch.expm1(torch.logsumexp(scores.clamp_max(float(top[k])).double(), 0) - top[k] - math.log(k)) * k
    # With the j largest capped at c, the sum is j c + the others = 100 c.
    others = rest + torch.exp(top[:k] - top[k]).flip(0).cumsum(0).flip(0)
    caps = (others / torch.arange(_LARGEST_SHARE, _LARGEST_SHARE - k, -1, device=top.device)).log() + top[k]
    return float(caps[int((caps >= top[:k]).nonzero()[0])])


def _both_signs(parts: list[Tensor]) -> Tensor:
    return (torch.cat(parts[::2]) + torch.cat(parts[1::2])) / 2


def _without_length(scores: Tensor, length: Tensor) -> Tensor:
    slope = ((scores - scores.mean()) * length).mean() / length.square().mean()
    return scores - slope * length
