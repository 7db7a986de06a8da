"""Random labels can be memorized only at a price: training error and information in the weights against beta.

``python -m miest.experiments.random_labels --out DIR`` trains a perceptron and a convolutional network on images with
random labels, for CE + beta I(w;D) at many beta, and then at one beta with growing shares of random labels: Fig. 2 of
Achille & Soatto (2018), "Emergence of invariance and disentanglement in deep representations".

A label of 10 classes costs ln 10 = 2.30 nats to learn by heart. Where a nat of information costs more than it saves in
cross-entropy, beta > 1, no network should learn any; below it, all, were its weights a perfect code. With the defaults
the error passes half way to chance at beta = 0.73 and 0.88, and random labels take 2.61 nats a sample more than true
ones.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError("experiments train networks with torch: pip install 'miest[torch]'.") from error

from miest import datasets
from miest.bottleneck.factors import GaussianFactor
from miest.bottleneck.noisy_weights import Per
from miest.bottleneck.weights import information_in_weights, stochastic, with_noisy_weights
from miest.experiments.priced_weights import once, train
from miest.experiments.runs import repeatable, side_by_side
from miest.plotting.weights import plot_random_labels

CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the networks are trained.

    Parameters
    ----------
    data : data set             of `miest.datasets.load`
    images : int                the first so many for training, which is all that is measured
    architectures : tuple of str
    betas : tuple of float      for random labels alone
    shares : tuple of float     of random labels, at `share_beta` and for the first architecture
    share_beta : float
    share_images : int          images for these
    epochs, batch : int
    learning_rate : float       of Adam
    noise_rate : float          that of ln alpha
    per : "weight" or "filter"  what has an alpha of its own
    draws : int                 passes with noise that the error is averaged over
    """

    data: datasets.Name = "digits"
    images: int = 400
    architectures: tuple[str, ...] = ("perceptron", "convolutional")
    betas: tuple[float, ...] = (0.05, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.5)
    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    share_beta: float = 0.4
    share_images: int = 400
    epochs: int = 1500
    batch: int = 400
    learning_rate: float = 3e-3
    noise_rate: float = 9e-3
    per: Per = "weight"
    draws: int = 20


QUICK = Settings()
"""Minutes on two cores."""

PAPER = Settings(
    data="fashion-mnist",
    images=10_000,
    architectures=("small AlexNet", "AllCNN"),
    betas=tuple(float(f"{beta:.3g}") for beta in np.geomspace(0.01, 100, 17)),
    share_beta=0.1,
    share_images=30_000,
    epochs=360,
    batch=500,
    learning_rate=1e-3,
    noise_rate=3e-3,
)
"""The paper's sizes, on Fashion-MNIST for CIFAR-10: for a GPU."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a network came to.

    Parameters
    ----------
    architecture : str
    beta, share : float
    error : float               share of the training images that it gets wrong, weights at their means
    noisy_error : float         with noise in the weights, mean over draws
    cross_entropy : float       with noise, nats a sample
    information : float         I(w;D) / n, nats a sample
    """

    architecture: str
    beta: float
    share: float
    error: float
    noisy_error: float
    cross_entropy: float
    information: float


def network(architecture: str, side: int) -> nn.Sequential:
    """An untrained network of (n, 1, side, side) images, weights from torch's global stream.

    "perceptron" has one hidden layer of 64, "convolutional" one of 16 filters of 5 x 5 with a stride of 2; "small
    AlexNet" and "AllCNN" are those of the paper's table 1, for one colour channel and 28 x 28 pixels.
    """

    def conv(into: int, out: int, size: int, stride: int = 1, norm: bool = True) -> list[nn.Module]:
        padding = size // 2
        return [
            nn.Conv2d(into, out, size, stride, padding=padding),
            *([nn.BatchNorm2d(out)] if norm else []),
            nn.ReLU(),
        ]

    if architecture == "perceptron":
        return nn.Sequential(nn.Flatten(), nn.Linear(side**2, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    if architecture == "convolutional":
        return nn.Sequential(
            *conv(1, 16, 5, stride=2, norm=False),
            nn.Flatten(),
            nn.Linear(16 * ((side + 1) // 2) ** 2, CLASSES),
        )
    if architecture == "small AlexNet":
        return nn.Sequential(
            *conv(1, 64, 5, norm=False),
            nn.MaxPool2d(2),
            *conv(64, 64, 5),
            nn.MaxPool2d(2),
            nn.Flatten(),
            *(nn.Linear(64 * (side // 4) ** 2, 384), nn.BatchNorm1d(384), nn.ReLU()),
            *(nn.Linear(384, 192), nn.BatchNorm1d(192), nn.ReLU()),
            nn.Linear(192, CLASSES),
        )
    if architecture == "AllCNN":
        return nn.Sequential(
            *(*conv(1, 96, 3), *conv(96, 96, 3), *conv(96, 192, 3, 2)),
            *(*conv(192, 192, 3), *conv(192, 192, 3), *conv(192, 192, 3, 2)),
            *(*conv(192, 192, 3), *conv(192, 192, 3)),
            nn.Conv2d(192, CLASSES, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
    raise ValueError(f"architecture={architecture!r} must be one of perceptron, convolutional, small AlexNet, AllCNN.")


def labeled(settings: Settings, images: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Images (n, 1, h, w), each pixel standardised, and labels of which that share, on average, is drawn anew."""
    x, y = datasets.load(settings.data, "train")
    if len(x) < images:
        raise ValueError(f"{settings.data} has {len(x)} images for training, not {images}: ask for fewer.")
    x, y = x[:images].astype(np.float32), y[:images]
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(images) < share, rng.integers(CLASSES, size=images), y)
    scale = x.std(axis=0) + 0.1 * x.max()  # so that a pixel that is hardly ever used does not count
    return torch.from_numpy((x - x.mean(axis=0)) / scale)[:, None], torch.from_numpy(y)


def run(settings: Settings, architecture: str, beta: float, share: float = 1.0, seed: int = 0) -> Trained:
    """Train one network on a share of random labels with CE + beta I(w;D), and measure it on its training set.

    Parameters
    ----------
    settings : Settings
    architecture : str          see `network`
    beta : float
    share : float               of random labels
    seed : int                  of labels, weights and noise

    Notes
    -----
    Differs: from the paper in Gaussian noise with its exact information, which is zero for pure noise, for log-normal
    noise; in Adam, with a rate that falls to zero over the last 40% of training; in beta, which grows from zero over
    the first half: a network that pays from the start never learns anything to pay for. Small networks have an alpha
    for each weight, which makes a better code of so few of them; the paper has one for each filter.
    """
    images = settings.images
    x, y = labeled(settings, images, share, seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, y = x.to(device), y.to(device)
    with repeatable(seed):
        plain = network(architecture, x.shape[-1])
        model = with_noisy_weights(plain, factor=GaussianFactor(), per=settings.per, alpha=math.exp(-4)).to(device)
        train(
            model,
            x,
            y,
            beta=beta,
            epochs=settings.epochs,
            batch=settings.batch,
            learning_rate=settings.learning_rate,
            noise_rate=settings.noise_rate,
        )
        return _measured(model, x, y, settings.draws, architecture=architecture, beta=beta, share=share)


@torch.no_grad()
def _measured(model: nn.Module, x: Any, y: Tensor, draws: int, **which: Any) -> Trained:
    def logits() -> Tensor:
        return torch.cat([model(part) for part in x.split(500)])

    def error(found: Tensor) -> float:
        return float((found.argmax(dim=1) != y).double().mean())

    with stochastic(model):
        drawn = [logits() for _ in range(draws)]
    return Trained(
        **which,
        error=error(logits()),
        noisy_error=float(np.mean([error(found) for found in drawn])),
        cross_entropy=float(np.mean([float(nn.functional.cross_entropy(found, y)) for found in drawn])),
        information=float(information_in_weights(model)) / len(x),
    )


def crossing(trained: Iterable[Trained], level: float = 0.45) -> float:
    """The beta at which the error passes a level, by interpolation in ln beta; not a number where it never does."""
    points = sorted((each.beta, each.error) for each in trained)
    for (low, below), (high, above) in pairwise(points):
        if below < level <= above:
            share = (level - below) / (above - below)
            return math.exp(math.log(low) + share * math.log(high / low))
    return math.nan


def table(settings: Settings, transition: list[Trained], memory: list[Trained]) -> str:
    """Markdown: errors against beta for each architecture, then information against the share of random labels."""
    lines = [
        "| random labels, beta | " + " | ".join(f"{name}: error, I(w;D)/n" for name in settings.architectures) + " |",
        "|---" * (1 + len(settings.architectures)) + "|",
    ]
    for beta in settings.betas:
        row = [
            each
            for name in settings.architectures
            for each in transition
            if (each.architecture, each.beta) == (name, beta)
        ]
        cells = [f"{each.error:.2f} ({each.noisy_error:.2f} with noise), {each.information:.2f}" for each in row]
        lines.append(f"| {beta:g} | {' | '.join(cells)} |")
    for name in settings.architectures:
        at = crossing(each for each in transition if each.architecture == name)
        lines.append(f"\n{name}: half way from 0 to chance at beta = {at:.2f} (paper: just below 1).")
    lines += [f"\n| share of random labels, beta = {settings.share_beta:g} | error | I(w;D)/n, nats |", "|---|---|---|"]
    lines += [f"| {each.share:.0%} | {each.error:.2f} | {each.information:.2f} |" for each in memory]
    rise = memory[-1].information - memory[0].information
    lines.append(
        f"\nRandom labels take {rise:.2f} nats a sample more than true ones; ln {CLASSES} is {math.log(CLASSES):.2f} "
        "(paper: about 3)."
    )
    return "\n".join(lines)


def measure(
    settings: Settings, out: Path, jobs: int, seed: int, told: Callable[[str], None]
) -> dict[str, list[Trained]]:
    """All trainings: "transition" over beta and architecture, and "memory" over the share of random labels.

    Each is kept in a file of its own under ``out``/trained, and not done again by a later run with the same settings.
    """
    first = settings.architectures[0]
    one = replace(settings, betas=(), shares=())  # so that another beta does not do the others again
    wanted = [(one, name, beta, 1.0, seed) for name in settings.architectures for beta in settings.betas]
    transition = len(wanted)
    of_shares = replace(one, images=settings.share_images)
    wanted += [(of_shares, first, settings.share_beta, share, seed) for share in settings.shares]
    told(f"Training {len(wanted)} networks, {jobs} at a time.")
    calls: list[tuple[Any, ...]] = []
    for call in wanted:
        sized, name, beta, share, _ = call
        path = out / "trained" / f"{name.replace(' ', '-')}-{sized.images}-beta-{beta:g}-share-{share:g}.json"
        calls.append((path, Trained, run, *call))
    found = side_by_side(once, calls, jobs)
    return {"transition": found[:transition], "memory": found[transition:]}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--paper", is_flag=True, help="The paper's networks and sizes, on Fashion-MNIST: for a GPU.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of those of the settings.")
@click.option("--images", type=click.IntRange(min=20), help="For training; likewise.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Networks trained at a time.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of labels, weights and noise.")
def main(out: Path, paper: bool, epochs: int | None, images: int | None, jobs: int, seed: int) -> None:
    """Train networks on random labels for several prices of the information in their weights."""
    settings = PAPER if paper else QUICK
    settings = replace(settings, epochs=epochs or settings.epochs)
    if images is not None:
        settings = replace(settings, images=images, share_images=images)
    try:
        labeled(settings, max(settings.images, settings.share_images), 1.0, seed)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)
    started = perf_counter()
    found = measure(settings, out, jobs, seed, click.echo)
    kept = {"settings": asdict(settings), "seed": seed} | {k: [asdict(e) for e in v] for k, v in found.items()}
    (out / "random_labels.json").write_text(json.dumps(kept, indent=1) + "\n")
    figure = plot_random_labels(kept)
    figure.savefig(out / "random_labels.png", dpi=150, metadata={"Software": None})
    click.echo(f"\n{table(settings, found['transition'], found['memory'])}\n")
    scaled = f"{settings.images} images of {settings.data}, {settings.epochs} epochs; the paper has 10,000 of CIFAR-10."
    click.echo(f"{scaled} Wrote random_labels.json and .png into {out} in {perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(prog_name="python -m miest.experiments.random_labels")
