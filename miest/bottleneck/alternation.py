"""One network climbs I(Y;T) - beta I(X;T+eps), less cross-entropy, against two critics that are kept up to date.

Both informations are Donsker-Varadhan values: that of (T, Y) by a perceptron (MINE), that of (X, T+eps) by one that has
the network inside (AA-MINE). The critics take several steps up for each step of the network, as in adversarial
training. Source: Elad, Haviv, Blau, Michaeli (2019), section 5, eq. 7, and appendices B and C.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from miest.estimators.estimator import require_integer
from miest.neural.aware import Scaled, Separately, joint_critic
from miest.neural.aware_training import draws
from miest.neural.bounds import DonskerVaradhan
from miest.neural.critics import Critic, Joint
from miest.neural.train import derangement, drawing_from, score
from miest.noise import GaussianNoise, ZeroEntropyNoise

_BOUND = DonskerVaradhan()


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What is climbed: -cross_entropy * CE + prediction * I(Y;T) - rate * I(X;T+eps); none is negative."""

    cross_entropy: float = 0.0
    prediction: float = 1.0
    rate: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Alternation:
    """How a network and its critics take turns; the meaning of each setting is on `layerwise.fit`."""

    noise: GaussianNoise | ZeroEntropyNoise
    critic_steps: int
    warm_up: int
    batch: int
    learning_rate: float
    critic_learning_rate: float
    hidden: tuple[int, ...]
    annealed: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.noise, (GaussianNoise, ZeroEntropyNoise)):
            raise ValueError(
                f"noise={self.noise!r} must be GaussianNoise(std=...) or ZeroEntropyNoise(): the noise is part of the "
                "quantity I(X;T+eps), and its critic works in units of it."
            )
        for name, least in (("critic_steps", 1), ("warm_up", 0), ("batch", 2)):
            require_integer(name, getattr(self, name), least)
        for name in ("learning_rate", "critic_learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be a positive number.")
        if not self.hidden or any(isinstance(w, bool) or not isinstance(w, int) or w < 1 for w in self.hidden):
            raise ValueError(f"hidden={self.hidden!r} must be widths of at least one hidden layer, as (1500, 1500).")


@dataclass(frozen=True)
class Course:
    """What the batches of the training rows said at every step of one network, nats.

    Parameters
    ----------
    name : str                      of the layer that was trained
    rows : int                      for training
    prediction : list of float      I(Y;T) of the critic; NaN where the objective has none
    rate : list of float            I(X;T+eps) of the critic; NaN where the objective has none
    """

    name: str
    rows: int
    prediction: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)


def alternate(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    name: str,
    weights: Weights,
    settings: Alternation,
    steps: int,
    seed: int,
    told: Callable[[Course], None],
) -> Course:
    """Train one network in place; `told` is called after each of its steps.

    Parameters
    ----------
    network : nn.Module         (b, ...) inputs to (b, ...) T, in train mode; only its parameters that need a gradient
    inputs : (n, ...) tensor
    labels : (n,) tensor        classes from 0
    seed : int                  fixes batches, noise, critics and what the network draws

    Raises
    ------
    FloatingPointError
        if the objective is no longer finite
    """
    course = Course(name, len(inputs))
    with drawing_from(seed, inputs.device):
        turns = _Turns(network, inputs, labels, weights, settings, torch.Generator().manual_seed(seed))
        turns.train_critics(settings.warm_up)
        trained = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=settings.learning_rate, fused=True)
        rate_of_step = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) if settings.annealed else None
        for step in range(steps):
            turns.train_critics(settings.critic_steps)
            loss, prediction, rate = turns.objective()
            if not math.isfinite(float(loss.detach())):
                raise FloatingPointError(
                    f"the objective of {name!r} is {float(loss.detach())} at step {step}: lower learning_rate="
                    f"{settings.learning_rate} or critic_learning_rate={settings.critic_learning_rate}."
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if rate_of_step is not None:
                rate_of_step.step()
            course.prediction.append(prediction)
            course.rate.append(rate)
            told(course)
    return course


class _Turns:
    """The two critics of one network, and the batches that all three are trained on."""

    def __init__(
        self,
        network: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        weights: Weights,
        settings: Alternation,
        generator: Generator,
    ) -> None:
        self.network, self.inputs, self.labels = network, inputs, labels
        self.weights, self.settings, self.generator = weights, settings, generator
        self.std = settings.noise.std
        # A batch of joint pairs and as many other rows, with which the marginal pairs are made.
        self.batch = min(settings.batch, len(inputs) // 2)
        self.classes = int(labels.max()) + 1
        t, _ = self._pool(1)
        self.prediction = _label_critic(t, self.classes, settings.hidden).to(t.device)
        self.rate = Separately(joint_critic(t / self.std, settings.hidden)).to(t.device)
        self.optimizer = torch.optim.Adam(
            [*self.prediction.parameters(), *self.rate.parameters()], lr=settings.critic_learning_rate, fused=True
        )

    def train_critics(self, steps: int) -> None:
        """Several steps of both; meanwhile the network stays, so that its outputs are computed at once."""
        if not self.weights.prediction and not self.weights.rate:
            return
        for first in range(0, steps, self.settings.critic_steps):
            count = min(self.settings.critic_steps, steps - first)
            t, labels = self._pool(count)
            for _ in range(count):
                self.optimizer.zero_grad(set_to_none=True)
                loss = torch.zeros((), device=t.device)
                if self.weights.prediction:
                    picked = self._picked(len(t), self.batch)
                    loss = loss - self._label_value(t[picked], labels[picked])
                if self.weights.rate:
                    loss = loss - self._input_value(t)
                loss.backward()
                self.optimizer.step()

    def objective(self) -> tuple[Tensor, float, float]:
        """What the network descends on one batch, and the two informations."""
        rows = self._picked(len(self.inputs), 2 * self.batch)
        t, labels = self.network(self.inputs[rows]).flatten(1), self.labels[rows]
        loss, prediction, rate = torch.zeros((), device=t.device), math.nan, math.nan
        if self.weights.cross_entropy:
            loss = loss + self.weights.cross_entropy * cross_entropy(t, labels)
        if self.weights.prediction:
            value = self._label_value(t, labels)
            loss, prediction = loss - self.weights.prediction * value, float(value.detach())
        if self.weights.rate:
            value = self._input_value(t)
            loss, rate = loss + self.weights.rate * value, float(value.detach())
        return loss, prediction, rate

    def _label_value(self, t: Tensor, labels: Tensor) -> Tensor:
        others = derangement(len(t), 1, self.generator).to(t.device)
        return _BOUND.value(score(self.prediction, t, one_hot(labels, self.classes).float(), others))

    def _input_value(self, t: Tensor) -> Tensor:
        x, noisy = draws(t / self.std)(self.batch, self.generator)
        others = derangement(len(x), 1, self.generator).to(t.device)
        return _BOUND.value(score(self.rate, x, noisy, others))

    def _pool(self, steps: int) -> tuple[Tensor, Tensor]:
        """Outputs for so many batches, or for all rows where that is less, and their labels."""
        rows = self._picked(len(self.inputs), 2 * self.batch * steps)
        with torch.no_grad():
            return self.network(self.inputs[rows]).flatten(1), self.labels[rows]

    def _picked(self, n: int, size: int) -> Tensor:
        return torch.randperm(n, generator=self.generator)[:size].to(self.inputs.device)


def _label_critic(t: Tensor, classes: int, hidden: Sequence[int]) -> Critic:
    """A perceptron on (T, one-hot Y), with leaky rectifiers."""
    return Joint(Scaled(t), nn.Identity(), t.shape[1], classes, hidden, nn.LeakyReLU)
