"""Training of the critics in `aware`, and what held-out rows say of them; t is a layer in units of the noise."""

import copy
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
_PAIRS = 2**24  # of either sign of the noise
_LARGEST_SHARE = 100  # marginal pairs that carry the partition function at the least
_CLEAR = 2.0  # standard errors
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
    corrected : bool                    whether training changed the critic it started from
    """

    critic: Critic
    history: History
    reported: "Reported"
    before: "Reported | None"
    seen: float
    components: int | None
    corrected: bool


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
    start = copy.deepcopy(critic)

    def judged(apart: Critic) -> float:
        assert isinstance(apart, Separately)
        return report(apart.critic, stop, seed, _PAIRS_TO_STOP).value

    apart, history = train(Separately(critic), DonskerVaradhan(), draws(t), judged, training, generator, progress)
    assert isinstance(apart, Separately)
    best, corrected = apart.critic, True
    if isinstance(start, Channel) and history.ended != "diverged":
        # The look that is best by chance is no better critic: the gain must stand out from the spread of the rows.
        now, then = report(best, stop, seed), report(start, stop, seed)
        spread = float((now.influence - then.influence).std()) / math.sqrt(len(stop))
        corrected = now.value - then.value > _CLEAR * spread
        best = best if corrected else start
    return Trained(
        critic=best,
        history=history,
        reported=report(best, held_out, fresh),
        before=report(start, held_out, fresh) if isinstance(start, Channel) else None,
        seen=report(best, t[: len(held_out)], fresh).value,
        components=start.density.components if isinstance(start, Channel) else None,
        corrected=corrected,
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
            found.append(Scores(scores.joint.double(), scores.marginal.double(), scores.others))
            if isinstance(critic, Channel):
                above.append(critic.density.log_density(noisy))
    length = torch.cat(lengths)
    marginal = torch.cat([scores.marginal.flatten() for scores in found])
    pairs = len(marginal)
    cap = _cap(marginal)
    ceiling = math.log(pairs / _LARGEST_SHARE)
    # Less the logarithm of the partition function, which is the cap less the ceiling.
    joint = _both_signs([(scores.joint - cap).clamp_max(0) for scores in found]) + ceiling
    weights = [torch.exp((scores.marginal - cap).clamp_max(0) + ceiling) for scores in found]
    sides = _both_signs([scores.sides(weight) for scores, weight in zip(found, weights, strict=True)])
    joint = _without_length(joint, length)
    likely = -t.shape[1] / 2 * (LOG_2PI + 1) - _without_length(_both_signs(above), length) if above else None
    return Reported(
        value=min(float(joint.mean()), ceiling),
        influence=(joint - sides).cpu().numpy(),
        ceiling=ceiling,
        effective=pairs**2 / sum(float(weight.square().sum()) for weight in weights),
        pairs=pairs,
        capped=float(torch.cat([scores.joint > cap for scores in found]).double().mean()),
        upper=None if likely is None else float(likely.mean()),
    )


def _cap(scores: Tensor) -> float:
    """The score at which the largest ones must be capped so that none makes more than a hundredth of the sum of exp."""
    if not torch.isfinite(scores).all():
        return math.nan
    k = min(_LARGEST_SHARE, len(scores) - 1)
    top = scores.topk(k + 1).values
    # The sum of the others, beyond the k largest: all of them cut at the next one, less k times that.
    over = torch.expm1(torch.logsumexp(scores.clamp_max(float(top[k])), 0) - top[k] - math.log(k)).log()
    rest = over + math.log(k) + top[k]
    # With the j largest capped at c, the sum is j c + the others = 100 c.
    others = torch.logaddexp(top[:k].flip(0).logcumsumexp(0).flip(0), rest)
    caps = others - torch.arange(_LARGEST_SHARE, _LARGEST_SHARE - k, -1, device=top.device).double().log()
    return float(caps[int((caps >= top[:k]).nonzero()[0])])


def _both_signs(parts: list[Tensor]) -> Tensor:
    return (torch.cat(parts[::2]) + torch.cat(parts[1::2])) / 2


def _without_length(scores: Tensor, length: Tensor) -> Tensor:
    slope = ((scores - scores.mean()) * length).mean() / length.square().mean()
    return scores - slope * length
