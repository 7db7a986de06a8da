"""Variational bounds on mutual information: what a critic is trained by, and what its scores are worth.

A critic T(x, y) scores pairs. With p the joint density and q the product of the margins, each bound has a best critic,
which is ln p/q up to a constant. Here s_ii are scores of joint pairs and s_ij, j != i, of pairs that were not drawn
together; all means are over every pair at hand, so that nothing is averaged over batches that is not linear.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from miest.result import Kind


@dataclass(frozen=True)
class Scores:
    """What a critic says of joint pairs, and of pairs of rows that were not drawn together.

    Parameters
    ----------
    joint : (n,) tensor         T(x_i, y_i)
    marginal : (n, m) tensor    T(x_i, y_j) for m rows j != i
    others : (n, m) tensor      those rows j, every one about equally often; None: all rows but i, in order
    """

    joint: Tensor
    marginal: Tensor
    others: Tensor | None

    def sides(self, weight: Tensor) -> Tensor:
        """(n,) mean weight of the marginal pairs that a row is in as an x, plus that of those it is in as a y."""
        n, m = weight.shape
        if self.others is None:
            # Row j - 1 of the upper part and row j of the lower one are the same column of the whole table.
            upper, lower = weight.triu(), weight.tril(-1)
            as_y = torch.zeros(n, dtype=weight.dtype, device=weight.device)
            as_y[1:] += upper.sum(0)
            as_y[:-1] += lower.sum(0)
        else:
            as_y = torch.zeros(n, dtype=weight.dtype, device=weight.device)
            as_y = as_y.index_add(0, self.others.flatten(), weight.flatten())
        return weight.mean(1) + as_y / m


@dataclass(frozen=True, kw_only=True)
class Bound(ABC):
    """How a critic is trained (`loss`) and what is reported of it (`value`); they need not be the same function."""

    kind: ClassVar[Kind] = "lower bound"
    partition: ClassVar[bool] = True
    """Whether the value has a mean of exp T over marginal pairs in it, which few of them may dominate."""

    def start(self) -> Tensor | None:
        """State of the loss before the first batch; None where it has none."""
        return None

    @abstractmethod
    def loss(self, scores: Scores, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return what is minimised on one batch, and the state for the next one."""

    @abstractmethod
    def value(self, scores: Scores) -> Tensor:
        """Estimate of the mutual information from all scores at once, nats; a scalar."""

    def criterion(self, scores: Scores) -> Tensor:
        """Return what a better critic has more of on held-out rows: what training stops by."""
        return self.value(scores)

    @abstractmethod
    def influence(self, scores: Scores) -> Tensor:
        """(n,) what each row moves the value by, times n: its spread is that of the value, to first order."""

    def ceiling(self, pool: int) -> float | None:
        """Return the largest value that scores against a pool of so many rows can give; None without a limit."""
        return None

    def pool_gain(self, scores: Scores) -> float:
        """What the second half of the pool adds to the value: about as much again is missing. 0 without a ceiling."""
        return 0.0


def log_mean_exp(scores: Tensor) -> Tensor:
    """Logarithm of the mean of exp over all entries."""
    return torch.logsumexp(scores.flatten(), 0) - math.log(scores.numel())


def effective_pairs(marginal: Tensor) -> float:
    """Kish's effective number of the marginal pairs in a mean of exp T: how many carry it."""
    log_weight = marginal.flatten()
    return float(torch.exp(2 * torch.logsumexp(log_weight, 0) - torch.logsumexp(2 * log_weight, 0)))


@dataclass(frozen=True, kw_only=True)
class DonskerVaradhan(Bound):
    """Mean of T over joint pairs, less ln of the mean of exp T over marginal pairs.

    Notes
    -----
    A lower bound in expectation over an infinite sample of marginal pairs. From m of them the logarithm of the mean is
    too small by about half its variance, which grows like exp(2 I): then the value is too large.
    Source: Donsker, Varadhan (1983); Belghazi et al. (2018), eq. 10.
    """

    def loss(self, scores: Scores, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `Bound.loss`: the value, negated; its gradient is biased on a batch."""
        return -self.value(scores), None

    def value(self, scores: Scores) -> Tensor:
        """See `Bound.value`."""
        return scores.joint.mean() - log_mean_exp(scores.marginal)

    def influence(self, scores: Scores) -> Tensor:
        """See `Bound.influence`: a row is in joint pairs once, and in marginal pairs as an x and as a y."""
        return scores.joint - scores.sides(torch.exp(scores.marginal - log_mean_exp(scores.marginal)))


@dataclass(frozen=True, kw_only=True)
class MINE(DonskerVaradhan):
    """Donsker-Varadhan with the gradient of the logarithm corrected by a moving average of the mean.

    Parameters
    ----------
    ema_decay : float       share of the old average that is kept at each step, 0 to below 1

    Notes
    -----
    Source: Belghazi et al. (2018), sec. 3.2, eq. 12.
    """

    ema_decay: float = 0.99

    def loss(self, scores: Scores, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `Bound.loss`; the state is ln of the moving average."""
        now = log_mean_exp(scores.marginal)
        fixed = now.detach()
        if state is None or self.ema_decay == 0:
            state = fixed
        else:
            state = torch.logaddexp(state + math.log(self.ema_decay), fixed + math.log1p(-self.ema_decay))
        return torch.exp(now - state) - scores.joint.mean(), state


@dataclass(frozen=True, kw_only=True)
class NWJ(Bound):
    """1 + mean of T over joint pairs, less the mean of exp T over marginal pairs (also called f-MINE, MINE-f, TUBA-1).

    Notes
    -----
    Unbiased and a lower bound from any number of pairs; its variance grows like exp(I).
    Source: Nguyen, Wainwright, Jordan (2010), doi:10.1109/TIT.2010.2068870, with T one less than theirs.
    """

    def loss(self, scores: Scores, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `Bound.loss`."""
        return -self.value(scores), None

    def value(self, scores: Scores) -> Tensor:
        """See `Bound.value`."""
        return 1 + scores.joint.mean() - torch.exp(scores.marginal).mean()

    def influence(self, scores: Scores) -> Tensor:
        """See `Bound.influence`."""
        return scores.joint - scores.sides(torch.exp(scores.marginal))


@dataclass(frozen=True, kw_only=True)
class InfoNCE(Bound):
    """How much better than chance the critic finds the partner of x among the rows of a pool, in nats.

    Notes
    -----
    A lower bound with little variance, and never above ln of the pool: that is its ceiling.
    Source: van den Oord et al. (2018), eq. 4; Poole et al. (2019), eq. 12.
    """

    partition = False

    def loss(self, scores: Scores, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `Bound.loss`."""
        return -self.value(scores), None

    def value(self, scores: Scores) -> Tensor:
        """See `Bound.value`."""
        pool = scores.marginal.shape[1] + 1
        return (scores.joint - self._everyone(scores)).mean() + math.log(pool)

    def influence(self, scores: Scores) -> Tensor:
        """See `Bound.influence`: a row counts as an x, and as a y in the pools of other rows."""
        everyone = self._everyone(scores)
        own = torch.exp(scores.joint - everyone)
        others = torch.exp(scores.marginal - everyone[:, None]) * scores.marginal.shape[1]
        # `sides` has what a row gives to others beside what it takes for its own, which is 1 - own.
        return scores.joint - everyone - 2 * own - scores.sides(others)

    def _everyone(self, scores: Scores) -> Tensor:
        return torch.logaddexp(torch.logsumexp(scores.marginal, 1), scores.joint)

    def ceiling(self, pool: int) -> float | None:
        """Return ln of the pool."""
        return math.log(pool)

    def pool_gain(self, scores: Scores) -> float:
        """See `Bound.pool_gain`; the expected shortfall is that of a logarithm of a mean, and goes as 1 / pool."""
        others = None if scores.others is None else scores.others[:, ::2]
        return float(self.value(scores) - self.value(replace(scores, marginal=scores.marginal[:, ::2], others=others)))


@dataclass(frozen=True, kw_only=True)
class JensenShannon(Bound):
    """Mean logit of joint pairs, of a classifier of joint against marginal pairs: the discriminator.

    Notes
    -----
    The best critic of logistic regression is ln p/q itself, so that its mean is the mutual information. With any other
    critic the value may lie on either side of it: a point estimate, not a bound.
    Source: Achille, Soatto (2018), sec. 7.3; Hjelm et al. (2019), eq. 4.
    """

    kind = "point"
    partition = False

    def loss(self, scores: Scores, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `Bound.loss`: the logistic loss."""
        return softplus(-scores.joint).mean() + softplus(scores.marginal).mean(), None

    def value(self, scores: Scores) -> Tensor:
        """See `Bound.value`."""
        return scores.joint.mean()

    def criterion(self, scores: Scores) -> Tensor:
        """See `Bound.criterion`: the loss, negated, since a larger mean logit is not a better one."""
        return -self.loss(scores, None)[0]

    def influence(self, scores: Scores) -> Tensor:
        """See `Bound.influence`."""
        return scores.joint


@dataclass(frozen=True, kw_only=True)
class CLUB(Bound):
    """Mean of ln q(y|x) over joint pairs, less its mean over marginal pairs, for a fitted density q.

    Notes
    -----
    An upper bound where q is the conditional density, and near it; a poor q may give less than the truth.
    Source: Cheng et al. (2020), eq. 5.
    """

    kind = "upper bound"
    partition = False

    def loss(self, scores: Scores, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `Bound.loss`: the negative log-likelihood, of joint pairs alone."""
        return -scores.joint.mean(), None

    def value(self, scores: Scores) -> Tensor:
        """See `Bound.value`."""
        return scores.joint.mean() - scores.marginal.mean()

    def criterion(self, scores: Scores) -> Tensor:
        """See `Bound.criterion`: the log-likelihood."""
        return scores.joint.mean()

    def influence(self, scores: Scores) -> Tensor:
        """See `Bound.influence`."""
        return scores.joint - scores.sides(scores.marginal)


@dataclass(frozen=True, kw_only=True)
class SMILE(JensenShannon):
    """Donsker-Varadhan of a discriminator, with the scores of marginal pairs clipped to [-tau, tau].

    Parameters
    ----------
    tau : float > 0         the smaller, the less variance and the more bias; infinity clips nothing

    Notes
    -----
    Not a bound: a clipped mean is smaller than the mean, so that the value can be too large.
    Source: Song, Ermon (2020), eq. 8.
    """

    tau: float = 5.0
    partition = True

    def value(self, scores: Scores) -> Tensor:
        """See `Bound.value`."""
        return scores.joint.mean() - log_mean_exp(scores.marginal.clamp(-self.tau, self.tau))

    def influence(self, scores: Scores) -> Tensor:
        """See `Bound.influence`."""
        clipped = scores.marginal.clamp(-self.tau, self.tau)
        return scores.joint - scores.sides(torch.exp(clipped - log_mean_exp(clipped)))
