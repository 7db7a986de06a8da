"""Critics: networks that score how much likelier a pair is than by chance.

Each is two encoders and a `join` of their outputs, so that a pair costs what joining costs and a row is encoded once,
in however many pairs it is.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

Activation = Callable[[], nn.Module]


class Critic(nn.Module):
    """Score of a pair (x, y): an estimate of ln p(x, y) / (p(x) p(y)), up to what the bound leaves free."""

    tabular: ClassVar[bool] = False
    """Whether a table of all pairs is about as cheap as its rows: a matrix product."""

    @abstractmethod
    def encode_x(self, x: Tensor) -> Tensor:
        """(b, ...) rows to (b, h) features."""

    @abstractmethod
    def encode_y(self, y: Tensor) -> Tensor:
        """(b, ...) rows to (b, h) features."""

    @abstractmethod
    def join(self, u: Tensor, v: Tensor) -> Tensor:
        """(..., h) features of x and of y, whose leading axes broadcast, to (...) scores."""

    def cross(self, u: Tensor, v: Tensor) -> Tensor:
        """(b, h) and (c, h) features to (b, c) scores of all pairs."""
        return self.join(u[:, None], v[None])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(b,) scores of row i of x with row i of y."""
        return self.join(self.encode_x(x), self.encode_y(y))

    def table(self, x: Tensor, y: Tensor) -> Tensor:
        """(b, c) scores of every row of x with every row of y."""
        return self.cross(self.encode_x(x), self.encode_y(y))


class Joint(Critic):
    """A perceptron on both arguments, side by side.

    Parameters
    ----------
    x, y : nn.Module            encoders, whose outputs are (b, dx) and (b, dy)
    dx, dy : int
    hidden : sequence of int    widths of the hidden layers
    activation : () -> Module
    """

    def __init__(
        self,
        x: nn.Module,
        y: nn.Module,
        dx: int,
        dy: int,
        hidden: Sequence[int] = (256, 256),
        activation: Activation = nn.ReLU,
    ) -> None:
        super().__init__()
        self.x, self.y = x, y
        # The first layer of (x, y) is the sum of one layer each, which need be computed once a row.
        self.first_x, self.first_y = nn.Linear(dx, hidden[0]), nn.Linear(dy, hidden[0], bias=False)
        bound = (dx + dy) ** -0.5
        for parameter in (*self.first_x.parameters(), *self.first_y.parameters()):
            nn.init.uniform_(parameter, -bound, bound)
        self.rest = nn.Sequential(activation(), perceptron((*hidden, 1), activation))

    def encode_x(self, x: Tensor) -> Tensor:
        """See `Critic.encode_x`."""
        return self.first_x(self.x(x))

    def encode_y(self, y: Tensor) -> Tensor:
        """See `Critic.encode_y`."""
        return self.first_y(self.y(y))

    def join(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.join`."""
        return self.rest(u + v)[..., 0]

    def silence(self) -> None:
        """Score every pair 0, until it is trained."""
        _silence(self.rest)


class Separable(Critic):
    """The inner product of two encodings, f(x) . g(y).

    Parameters
    ----------
    x, y : nn.Module            encoders, whose outputs are (b, h)
    """

    tabular = True

    def __init__(self, x: nn.Module, y: nn.Module) -> None:
        super().__init__()
        self.x, self.y = x, y

    def encode_x(self, x: Tensor) -> Tensor:
        """See `Critic.encode_x`."""
        return self.x(x)

    def encode_y(self, y: Tensor) -> Tensor:
        """See `Critic.encode_y`."""
        return self.y(y)

    def join(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.join`."""
        return (u * v).sum(-1)

    def cross(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.cross`."""
        return u @ v.T

    def silence(self) -> None:
        """Score every pair 0, until it is trained."""
        _silence(self.y)


class Bilinear(Separable):
    """The bilinear form x' W y of two encodings, with W from nought: a random W of many columns is far from any truth.

    Parameters
    ----------
    x, y : nn.Module            encoders, whose outputs are (b, dx) and (b, dy)
    dx, dy : int
    """

    def __init__(self, x: nn.Module, y: nn.Module, dx: int, dy: int) -> None:
        form = nn.Linear(dx, dy, bias=False)
        nn.init.zeros_(form.weight)
        super().__init__(nn.Sequential(x, form), y)


class Anchor(Critic):
    """A log density ratio in closed form, whose parameters were fitted and are not trained; see `anchors`."""

    tabular = True
    width: int
    """Number of features of a row, of x and of y alike."""


class Anchored(Critic):
    """An anchor whose features of x and of y a network each corrects, plus an inner product of further features.

    Before training, the corrections are zero and the score is the anchor's.

    Parameters
    ----------
    anchor : Anchor
    x, y : nn.Module        corrections, whose outputs are (b, anchor.width + extra) and whose last layer is linear
    extra : int             further features
    """

    tabular = True

    def __init__(self, anchor: Anchor, x: nn.Module, y: nn.Module) -> None:
        super().__init__()
        self.anchor, self.x, self.y = anchor.requires_grad_(False), x, y
        for network in (x, y):
            last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        # A product of two zeros would never learn: the further features of y are not zero, those of x are.
        nn.init.normal_(last.weight[anchor.width :], std=last.in_features**-0.5)

    def encode_x(self, x: Tensor) -> Tensor:
        """See `Critic.encode_x`."""
        return self._encode(self.anchor.encode_x(x.flatten(1)), self.x(x))

    def encode_y(self, y: Tensor) -> Tensor:
        """See `Critic.encode_y`."""
        return self._encode(self.anchor.encode_y(y.flatten(1)), self.y(y))

    def _encode(self, anchored: Tensor, learned: Tensor) -> Tensor:
        width = self.anchor.width
        return torch.cat([anchored + learned[:, :width], learned[:, width:]], 1)

    def join(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.join`."""
        width = self.anchor.width
        return self.anchor.join(u[..., :width], v[..., :width]) + (u[..., width:] * v[..., width:]).sum(-1)

    def cross(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.cross`."""
        width = self.anchor.width
        return self.anchor.cross(u[:, :width], v[:, :width]) + u[:, width:] @ v[:, width:].T


class ConditionalGaussian(Critic):
    """ln q(y|x) of a Gaussian whose mean and diagonal variance a network reads off x; y as it is.

    Parameters
    ----------
    x : nn.Module       (b, ...) to (b, 2 dy): means, and logarithms of variances
    """

    def __init__(self, x: nn.Module) -> None:
        super().__init__()
        self.x = x

    def encode_x(self, x: Tensor) -> Tensor:
        """See `Critic.encode_x`."""
        return self.x(x)

    def encode_y(self, y: Tensor) -> Tensor:
        """See `Critic.encode_y`."""
        return y.flatten(1)

    def join(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.join`."""
        mean, log_variance = u.chunk(2, -1)
        log_variance = 8 * torch.tanh(log_variance / 8)  # a variance of 0 would end training at its first outlier
        return -((v - mean) ** 2 * torch.exp(-log_variance) + log_variance + math.log(2 * math.pi)).sum(-1) / 2


def _silence(module: nn.Module) -> None:
    last = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)


def perceptron(widths: Sequence[int], activation: Activation = nn.ReLU) -> nn.Sequential:
    """Linear layers of these widths, with activations between them."""
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), activation()]
    return nn.Sequential(*layers[:-1])
