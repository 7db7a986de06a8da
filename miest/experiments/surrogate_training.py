"""Networks of the experiment on surrogate objectives: how one is trained, measured after each epoch, and attacked."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError("experiments train networks with torch: pip install 'miest[torch]'.") from error

from miest.bottleneck.attacks import Attack, Robustness, robustness
from miest.bottleneck.cross_entropy import cross_entropy
from miest.bottleneck.latents import GaussianEncoder, Posterior, ZeroEntropyNoise
from miest.bottleneck.objectives import (
    DVIB,
    MINEIB,
    VCEB,
    ConditionalLogVariance,
    LogVariance,
    NonlinearIB,
    Objective,
    SecondMoment,
)
from miest.bottleneck.rates import log_variance
from miest.estimators.entropy import KozachenkoLeonenko
from miest.experiments.entropy_free_fall import images
from miest.experiments.runs import repeatable

Name = Literal[
    "cross-entropy", "weight decay", "E|Z|^2", "log Var[Z]", "log Var[Z|Y]", "DVIB", "VCEB", "nonlinear IB", "MINE-IB"
]
SURROGATES: tuple[Name, ...] = ("E|Z|^2", "log Var[Z]", "log Var[Z|Y]")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How networks are trained, measured and attacked.

    Parameters
    ----------
    data : "fashion-mnist" or "mnist"
    images : int or None        the first so many for training; None: all
    hidden : int                units of each of two hidden layers
    latent : int                coordinates
    epochs : int
    batch : int
    learning_rate : float       of Adam
    probe : int                 training images that information is measured on
    tested : int                images of either set that losses and accuracy are measured on
    gammas : {objective: numbers}       of the courses
    attacked : {objective: gamma}       of the networks that are attacked; of weight decay its strength
    strengths : numbers         of the attacks
    rows : int                  test images that are attacked
    passes : int                of the noisy network, in attacks and predictions
    """

    data: Literal["fashion-mnist", "mnist"] = "fashion-mnist"
    images: int | None = 6000
    hidden: int = 256
    latent: int = 16
    epochs: int = 12
    batch: int = 128
    learning_rate: float = 1e-3
    probe: int = 1000
    tested: int = 2000
    gammas: dict[str, tuple[float, ...]] = field(
        default_factory=lambda: {
            "E|Z|^2": (1e-4, 1e-3, 1e-2, 1e-1),
            "log Var[Z]": (1e-3, 1e-2, 3e-2, 1e-1),
            "log Var[Z|Y]": (1e-3, 1e-2, 3e-2, 1e-1),
        }
    )
    attacked: dict[str, float] = field(
        default_factory=lambda: {
            "cross-entropy": 0.0,
            "weight decay": 0.1,
            "E|Z|^2": 1e-2,
            "log Var[Z]": 1e-2,
            "log Var[Z|Y]": 1e-2,
            "DVIB": 1e-2,
            "VCEB": 1e-2,
            "nonlinear IB": 3e-2,
            "MINE-IB": 1e-1,
        }
    )
    strengths: tuple[float, ...] = (0.0, 0.02, 0.04, 0.07, 0.1)
    rows: int = 400
    passes: int = 4


QUICK = Settings()
"""Minutes on two cores."""

PAPER = Settings(
    images=None,
    hidden=1024,
    latent=256,
    epochs=150,
    learning_rate=0.5e-3,
    probe=10_000,
    tested=10_000,
    gammas={
        "E|Z|^2": tuple(np.logspace(-6, 1, 30).tolist()),
        "log Var[Z]": tuple(np.logspace(-5, 0, 30).tolist()),
        "log Var[Z|Y]": tuple(np.logspace(-5, 1, 30).tolist()),
    },
    rows=10_000,
)
"""The latent, the epochs and the gammas of the paper, on all of Fashion-MNIST: for a GPU."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What a network was after an epoch; nats.

    Parameters
    ----------
    entropy : float         H[Z] of training images by nearest neighbours, which is I[X;Z]
    bound : float           upper bound on H[Z] by log-variances
    train, test : float     H_theta[Y|Z]
    accuracy : float        of one noisy pass over the test images
    """

    entropy: float
    bound: float
    train: float
    test: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One trained network: its epochs, the first of which is before training, and the attacks if it was attacked."""

    name: str
    gamma: float
    epochs: tuple[Epoch, ...]
    attacks: dict[str, Robustness]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings; which rows withstood an attack is left out."""
        attacks = {
            kind: {f.name: getattr(each, f.name) for f in fields(each) if f.name != "right"}
            for kind, each in self.attacks.items()
        }
        return {
            "name": self.name,
            "gamma": self.gamma,
            "epochs": [asdict(each) for each in self.epochs],
            "attacks": attacks,
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Run":
        """What `to_dict` gave, also by way of JSON."""
        attacks = {
            kind: Robustness(
                **{
                    **each,
                    "strengths": tuple(each["strengths"]),
                    "accuracies": tuple(each["accuracies"]),
                    "intervals": tuple((low, high) for low, high in each["intervals"]),
                    "right": (),
                }
            )
            for kind, each in plain["attacks"].items()
        }
        epochs = tuple(Epoch(**each) for each in plain["epochs"])
        return cls(name=plain["name"], gamma=plain["gamma"], epochs=epochs, attacks=attacks)


class Classifier(nn.Module):
    """Perceptron with a noisy latent and a linear decoder.

    Parameters
    ----------
    settings : Settings
    posterior : bool        whether the encoder gives a mean and a spread; otherwise zero-entropy noise is added
    """

    def __init__(self, settings: Settings, *, posterior: bool) -> None:
        super().__init__()
        outputs = settings.latent * (2 if posterior else 1)
        network = nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, settings.hidden),
            nn.ReLU(),
            nn.Linear(settings.hidden, settings.hidden),
            nn.ReLU(),
            nn.Linear(settings.hidden, outputs),
        )
        self.encoder = GaussianEncoder(network, shift=-1.0) if posterior else network
        self.noise, self.decoder = ZeroEntropyNoise(), nn.Linear(settings.latent, 10)

    def encoded(self, x: Tensor) -> tuple[Any, Tensor]:
        """The posterior, or the latent before the noise; and a noisy latent."""
        t = self.encoder(x)
        return t, t.sample() if isinstance(t, Posterior) else self.noise(t)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of one noisy pass."""
        logits: Tensor = self.decoder(self.encoded(x)[1])
        return logits


def objective(name: Name, gamma: float, settings: Settings) -> Objective:
    """The objective of a name; weight decay and cross-entropy have no rate."""
    if name in ("cross-entropy", "weight decay"):
        return SecondMoment(0.0)
    if name == "VCEB":
        return VCEB(gamma, 10, settings.latent)
    if name == "nonlinear IB":
        return NonlinearIB(gamma, ZeroEntropyNoise())
    if name == "MINE-IB":
        return MINEIB.of(gamma, 784, settings.latent, hidden=(64,), negatives=4)
    made: dict[str, Callable[[float], Objective]] = {
        "E|Z|^2": SecondMoment,
        "log Var[Z]": LogVariance,
        "log Var[Z|Y]": ConditionalLogVariance,
        "DVIB": DVIB,
    }
    return made[name](gamma)


def run(name: Name, gamma: float, attack: bool, settings: Settings, seed: int = 0, device: str = "cpu") -> Run:
    """Train one network, measure it after every epoch, and attack it at the end if asked.

    Parameters
    ----------
    name : str
    gamma : float           weight of the rate; of weight decay, that of AdamW
    attack : bool
    settings : Settings
    seed : int              of weights, batches, noise and attacks
    device : str
    """
    x, y = (part.to(device) for part in images(settings.data, "train", settings.images))
    test = tuple(part.to(device) for part in images(settings.data, "test", None))
    with repeatable(seed):
        model = Classifier(settings, posterior=name in ("DVIB", "VCEB")).to(device)
        told = objective(name, gamma, settings).to(device)
        trained = [p for p in (*model.parameters(), *told.parameters()) if p.requires_grad]
        decay = gamma if name == "weight decay" else 0.0
        optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=decay)
        epochs = [_seen(model, (x, y), test, settings)]
        for _ in range(settings.epochs):
            for batch in _batches(len(x), settings.batch):
                t, z = model.encoded(x[batch])
                if isinstance(told, MINEIB):
                    told.train_critic(x[batch], z)
                optimizer.zero_grad()
                given = t if isinstance(t, Posterior) or isinstance(told, NonlinearIB) else z
                told(model.decoder(z), y[batch], given, x[batch]).total.backward()
                optimizer.step()
            epochs.append(_seen(model, (x, y), test, settings))
        attacks: dict[str, Robustness] = {}
        if attack:
            for kind in get_args(Attack):
                attacks[kind] = robustness(
                    model,
                    test[0][: settings.rows],
                    test[1][: settings.rows],
                    settings.strengths,
                    attack=kind,
                    passes=settings.passes,
                    seed=seed,
                )
    return Run(name=name, gamma=gamma, epochs=tuple(epochs), attacks=attacks)


def kept_run(folder: Path, name: Name, gamma: float, attack: bool, settings: Settings, seed: int, device: str) -> Run:
    """The run of an earlier call with the same settings, or a new one that is kept; see `run`.

    Parameters
    ----------
    folder : Path           holds a file for each network
    """
    path = folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}-{gamma:g}.json"
    made_by = json.loads(json.dumps({"settings": asdict(settings), "seed": seed, "attack": attack}))
    if path.is_file():
        kept = json.loads(path.read_text())
        if kept["made_by"] == made_by:
            return Run.from_dict(kept["run"])
    made = run(name, gamma, attack, settings, seed, device)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"made_by": made_by, "run": made.to_dict()}, indent=1) + "\n")
    return made


def _batches(n: int, size: int) -> Iterator[Tensor]:
    """Rows of every batch of an epoch; the last rows, fewer than a batch, are left out."""
    order: Any = torch.randperm(n)[: n // size * size]
    yield from order.split(size)


@torch.no_grad()
def _seen(model: Classifier, train: Any, test: Any, settings: Settings) -> Epoch:
    model.eval()
    latent = torch.cat([model.encoded(part)[1] for part in train[0][: settings.probe].split(1000)]).double()
    logits = [torch.cat([model(part) for part in x[: settings.tested].split(1000)]) for x, _ in (train, test)]
    model.train()
    losses = [float(cross_entropy(each, y[: len(each)])) for each, (_, y) in zip(logits, (train, test), strict=True)]
    return Epoch(
        entropy=KozachenkoLeonenko(level=None).estimate(latent.cpu().numpy()).value,
        bound=float(log_variance(latent)),
        train=losses[0],
        test=losses[1],
        accuracy=float((logits[1].argmax(1) == test[1][: len(logits[1])]).double().mean()),
    )
