"""Training objectives of the information bottleneck: a prediction loss plus gamma times what the latent costs.

All are modules that return ``Loss(total, prediction, rate)`` with ``total = prediction + gamma * rate``, in nats. The
prediction is a cross-entropy, an upper bound on H[Y|Z]; the rates differ. Papers call the weight by other letters, and
put it on other terms. To repeat their numbers:

========================  ============================================  ========================================
objective here            as the paper writes it (minimised)            its letter in terms of `gamma`
========================  ============================================  ========================================
Tishby et al. (2000)      I[X;Z] - beta I[Y;Z]                          beta = 1 / gamma, rate I[X;Z] or H[Z];
                                                                        beta = 1 + 1 / gamma, rate I[X;Z|Y] or
                                                                        H[Z|Y]
`SecondMoment`            001, eq. 14: H[Y|Z] + gamma E|Z|^2            gamma; of no fixed beta, as E|Z|^2 is no
                                                                        entropy
`LogVariance`             001, eq. 16: H[Y|Z] + gamma H[Z]              gamma = beta'' = 1 / beta
`ConditionalLogVariance`  001, eq. 15: H[Y|Z] + gamma H[Z|Y]            gamma = beta' = 1 / (beta - 1)
`DVIB`                    Alemi et al. (2017): CE + beta KL             beta = gamma; where encoder and noise permit
                                                                        it is `SecondMoment` with gamma = beta / 2
                                                                        (001, F.3)
`VCEB`                    Fischer (2020): gamma' CE + I[X;Z|Y]          gamma' = 1 / gamma = beta - 1;
                                                                        his rho: gamma = exp(-rho)
`NonlinearIB`             Kolchinsky et al. (2019): CE + beta I         beta = gamma; squared: CE + beta I^2
`MINEIB`                  Belghazi et al. (2018): CE + beta I_MINE      beta = gamma
layer by layer            003, eq. 6: -I(Y;L) + beta I(X;L+eps)         beta = gamma
end to end                003, app. B: alpha CE - beta I(Y;Yhat)        gamma = gamma' / (alpha + beta), where
                          + gamma' I(X;Yhat+eps)                        -I(Y;Yhat) is CE - H[Y]
weights                   000, sec. 3: CE + beta I(w;D)                 no rate of Z; CE is summed over the data
                                                                        set: beta / n for a mean CE
activations               000, 2.3: H(y|z) + beta I(z;x)                beta = gamma (002 too; 004 has Tishby's)
========================  ============================================  ========================================

(000 to 004 are Achille and Soatto 2018, Kirsch et al. 2020, lecture notes, Elad et al. 2019, Amjad and Geiger 2019.)
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError("objectives are torch modules: pip install 'miest[torch]'.") from error

from miest.bottleneck.cross_entropy import Kind, cross_entropy
from miest.bottleneck.latents import AdditiveNoise, Posterior
from miest.bottleneck.rates import (
    conditional_log_variance,
    kl_between,
    kl_to_standard,
    log_variance,
    pairwise_rate,
    second_moment,
)
from miest.estimators.estimator import require_choice, require_integer
from miest.neural.bounds import Bound, DonskerVaradhan
from miest.neural.critics import Critic, Joint
from miest.neural.train import derangement, score


class Loss(NamedTuple):
    """What an objective made of one batch; scalar tensors, nats.

    Parameters
    ----------
    total : tensor          prediction + gamma * rate: call ``backward()`` on it
    prediction : tensor     a cross-entropy
    rate : tensor           what the latent costs, not multiplied by gamma
    """

    total: Tensor
    prediction: Tensor
    rate: Tensor


class Objective(nn.Module, ABC):
    """A cross-entropy plus gamma times a rate.

    Parameters
    ----------
    gamma : float                           0 for the cross-entropy alone
    kind : "decoder" or "prediction"        which cross-entropy, where logits are those of several passes

    Raises
    ------
    ValueError
        if gamma is negative or not finite
    """

    def __init__(self, gamma: float, *, kind: Kind = "decoder") -> None:
        super().__init__()
        if isinstance(gamma, bool) or not 0 <= gamma < math.inf:
            raise ValueError(f"gamma={gamma!r} must be a finite number of at least 0: it weighs the rate.")
        require_choice("kind", kind, get_args(Kind))
        self.gamma, self.kind = float(gamma), kind

    @abstractmethod
    def rate(self, y: Tensor, z: Any, x: Tensor | None = None) -> Tensor:
        """Return what the latent of a batch costs; see `forward`."""

    def forward(self, logits: Tensor, y: Tensor, z: Any, x: Tensor | None = None) -> Loss:
        """Loss of one batch.

        Parameters
        ----------
        logits : (n, c) or (k, n, c) tensor     of the decoder; k passes over the same rows
        y : (n,) integer tensor
        z : tensor or Posterior                 the latent; each objective says which
        x : (n, ...) tensor or None             the input, for those that need it

        Returns
        -------
        Loss
        """
        prediction, rate = cross_entropy(logits, y, self.kind), self.rate(y, z, x)
        return Loss(prediction + self.gamma * rate, prediction, rate)

    def extra_repr(self) -> str:
        """Weight and kind."""
        return f"gamma={self.gamma:g}, kind={self.kind!r}"


class SecondMoment(Objective):
    """Cross-entropy + gamma E|Z|^2, the activation-L2 surrogate; z is the latent behind `ZeroEntropyNoise`, (n, ...).

    Notes
    -----
    Source: Kirsch, Lyle, Gal (2020), eq. 14.
    """

    def rate(self, y: Tensor, z: Tensor, x: Tensor | None = None) -> Tensor:
        """E|Z|^2."""
        return second_moment(z)


class LogVariance(Objective):
    """Cross-entropy + gamma H[Z], H[Z] bounded by its log-variances; z is behind `ZeroEntropyNoise`, (n, ...).

    Notes
    -----
    Source: Kirsch, Lyle, Gal (2020), eq. 16.
    """

    def rate(self, y: Tensor, z: Tensor, x: Tensor | None = None) -> Tensor:
        """Upper bound on H[Z]."""
        return log_variance(z)


class ConditionalLogVariance(Objective):
    """Cross-entropy + gamma H[Z|Y], H[Z|Y] bounded by log-variances; z is behind `ZeroEntropyNoise`, (n, ...).

    Notes
    -----
    Source: Kirsch, Lyle, Gal (2020), eq. 15.
    """

    def rate(self, y: Tensor, z: Tensor, x: Tensor | None = None) -> Tensor:
        """Upper bound on H[Z|Y]."""
        return conditional_log_variance(z, y)


class DVIB(Objective):
    """Cross-entropy + gamma KL(p(z|x) || N(0, I)); z is the `Posterior`, the decoder reads draws of it.

    Notes
    -----
    Source: Alemi, Fischer, Dillon, Murphy (2017); Kirsch, Lyle, Gal (2020), eq. 32.
    """

    def rate(self, y: Tensor, z: Posterior, x: Tensor | None = None) -> Tensor:
        """Upper bound on I[X;Z]."""
        return kl_to_standard(z)


class VCEB(Objective):
    """Cross-entropy + gamma KL(p(z|x) || q(z|y)) with one learned Gaussian q for each label; z is the `Posterior`.

    Parameters
    ----------
    gamma : float
    classes : int
    dim : int               coordinates of the latent
    learn_spread : bool     False fixes the spread of q at 1, as Fischer and Alemi (2020) do
    kind : "decoder" or "prediction"

    Notes
    -----
    The parameters of q are trained with the network's: hand ``objective.parameters()`` to the optimizer.
    Source: Fischer (2020), doi:10.3390/e22090999; Kirsch, Lyle, Gal (2020), appendix F.4.
    Differs: the rate is in closed form; the papers draw z.
    """

    def __init__(
        self, gamma: float, classes: int, dim: int, *, learn_spread: bool = True, kind: Kind = "decoder"
    ) -> None:
        super().__init__(gamma, kind=kind)
        self.means = nn.Parameter(torch.randn(classes, dim))
        self.log_stds = nn.Parameter(torch.zeros(classes, dim), requires_grad=learn_spread)

    def backward_encoder(self, y: Tensor) -> Posterior:
        """q(z|y) of each label."""
        return Posterior(self.means[y.long()], self.log_stds[y.long()].exp())

    def rate(self, y: Tensor, z: Posterior, x: Tensor | None = None) -> Tensor:
        """Upper bound on I[X;Z|Y]."""
        return kl_between(z, self.backward_encoder(y))


class NonlinearIB(Objective):
    """Cross-entropy + gamma I(X;T+eps), the rate by pairwise distances; z is T before the noise, (n, ...).

    Parameters
    ----------
    gamma : float
    noise : AdditiveNoise       the layer that adds eps for the decoder; its spread is trained if it is learned
    squared : bool              the rate squared, which finds the whole curve where labels are a function of the input
    kind : "decoder" or "prediction"

    Notes
    -----
    A batch of n rows can show a rate of ln n at most.
    Source: Kolchinsky, Tracey, Wolpert (2019), doi:10.3390/e21121181; Caveats: Kolchinsky, Tracey, Van Kuyk (2019).
    """

    def __init__(self, gamma: float, noise: AdditiveNoise, *, squared: bool = False, kind: Kind = "decoder") -> None:
        super().__init__(gamma, kind=kind)
        self.noise, self.squared = noise, squared

    def rate(self, y: Tensor, z: Tensor, x: Tensor | None = None) -> Tensor:
        """Upper bound on I(X;T+eps), or its square."""
        rate = pairwise_rate(z, self.noise.std)
        return rate.square() if self.squared else rate


class MINEIB(Objective):
    """Cross-entropy + gamma I(X;Z), the rate as a critic sees it; z is the noisy latent, (n, ...), and x is needed.

    Parameters
    ----------
    gamma : float
    critic : Critic             scores rows of x with rows of z; see `MINEIB.of` for a perceptron
    bound : Bound               that it is trained by, MINE by default in `of`; the rate is its `value`
    negatives : int             marginal pairs a row, in both steps
    learning_rate : float       of the critic's Adam
    kind : "decoder" or "prediction"

    Notes
    -----
    Alternate: `train_critic(x, z, steps)` on the current latent, then a step of the network on the total. The network's
    step moves the latent and not the critic. A rate seen by a critic is a lower bound, and minimising a lower bound
    guarantees nothing: too few critic steps make it small.
    Source: Belghazi et al. (2018), "Mutual information neural estimation", section 5.3.
    """

    def __init__(
        self,
        gamma: float,
        critic: Critic,
        bound: Bound,
        *,
        negatives: int = 1,
        learning_rate: float = 1e-3,
        kind: Kind = "decoder",
    ) -> None:
        super().__init__(gamma, kind=kind)
        require_integer("negatives", negatives, 1)
        self.critic, self.bound, self.negatives = critic.requires_grad_(False), bound, negatives
        self._state = bound.start()
        self._optimizer = torch.optim.Adam(critic.parameters(), lr=learning_rate)

    @classmethod
    def of(
        cls,
        gamma: float,
        dx: int,
        dz: int,
        *,
        hidden: Sequence[int] = (256, 256),
        bound: Bound | None = None,
        **settings: Any,
    ) -> "MINEIB":
        """Objective with a perceptron on x and z side by side, both flattened.

        Parameters
        ----------
        gamma : float
        dx, dz : int                numbers in a row of x and of z
        hidden : sequence of int    widths of the critic's hidden layers
        bound : Bound or None       None: `miest.neural.bounds.MINE`
        settings                    as of the class
        """
        from miest.neural.bounds import MINE

        critic = Joint(nn.Flatten(), nn.Flatten(), dx, dz, hidden)
        return cls(gamma, critic, bound or MINE(), **settings)

    def train_critic(self, x: Tensor, z: Tensor, steps: int = 1) -> float:
        """Train the critic on one batch of inputs and latents; returns the last loss."""
        require_integer("steps", steps, 1)
        x, z = x.detach(), z.detach()
        self.critic.requires_grad_(True)
        try:
            for _ in range(steps):
                loss, self._state = self.bound.loss(score(self.critic, x, z, self._others(len(x), x)), self._state)
                self._optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self._optimizer.step()
        finally:
            self.critic.requires_grad_(False)
        return float(loss.detach())

    def rate(self, y: Tensor, z: Tensor, x: Tensor | None = None) -> Tensor:
        """I(X;Z) as the critic sees it; differentiable in z."""
        if x is None:
            raise ValueError("MINEIB needs the input x beside the latent z: objective(logits, y, z, x).")
        bound = self.bound if self.bound.kind == "lower bound" else DonskerVaradhan()
        return bound.value(score(self.critic, x, z, self._others(len(x), x)))

    def _others(self, n: int, x: Tensor) -> Tensor | None:
        if n < 2:
            raise ValueError(f"{n} row has no marginal pair: pass batches of at least two.")
        if self.negatives >= n - 1:
            return None
        seed = int(torch.randint(2**62, ()))
        return derangement(n, self.negatives, torch.Generator().manual_seed(seed)).to(x.device)
