"""Without noise the entropy of a latent falls for nothing; with zero-entropy noise it costs accuracy.

``python -m miest.experiments.entropy_free_fall --out DIR`` repeats figure 3 of Kirsch, Lyle, Gal (2020), "Unpacking
Information Bottlenecks": after each epoch the latent of a network is made smaller, and the decoder undoes it, so that
the function stays the same. The differential entropy of d coordinates then falls by d ln of the factor, without a limit
and without a use; it says nothing of the information in the latent. With zero-entropy noise added to the latent it
cannot fall below zero, and the training error rises as it comes near.

The latent is normalised to unit variance in every coordinate and multiplied by the scale of the epoch; the decoder is
linear in the latent over that scale. Entropies are the k-nearest-neighbour estimates of the paper, of noisy latents
where there is noise; for noise alone in 16 dimensions they are 0.8 nats too large. The paper shows curves, no numbers.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import click
import numpy as np

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError("experiments train networks with torch: pip install 'miest[torch]'.") from error

from miest import datasets
from miest.bottleneck.latents import ZeroEntropyNoise
from miest.estimators.entropy import KozachenkoLeonenko
from miest.experiments.runs import repeatable, side_by_side
from miest.plotting.bottleneck import plot_free_fall


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the two networks are trained and shrunk.

    Parameters
    ----------
    data : "fashion-mnist" or "mnist"
    images : int or None        the first so many for training; None: all
    encoder : "mlp" or "cnn"    a perceptron, or the dropout network of two convolutions of the paper
    latent : int                coordinates
    epochs : int
    full_size : int             first epochs, at scale 1
    factor : float              of the scale, before each later epoch
    batch : int
    learning_rate : float       of Adam
    probe : int                 training images that entropy and error are measured on
    """

    data: Literal["fashion-mnist", "mnist"] = "mnist"
    images: int | None = 8000
    encoder: Literal["mlp", "cnn"] = "mlp"
    latent: int = 16
    epochs: int = 16
    full_size: int = 4
    factor: float = 0.6
    batch: int = 128
    learning_rate: float = 1e-3
    probe: int = 2000


QUICK = Settings()
"""A minute on two cores."""

PAPER = Settings(images=None, encoder="cnn", latent=128, epochs=20, learning_rate=1e-4, probe=10_000)
"""The data, the network and the epochs of the paper, which does not say the factor."""

FURTHER = (1e-6, 1e-12, 1e-20, 1e-30, 1e-38, 1e-42, 1e-43, 1e-44, 4e-45, 1.5e-45)
"""Scales at which the network without noise is looked at once more, untrained: float32 ends at 1.4e-45."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """State after an epoch, with the scale it was trained at.

    Parameters
    ----------
    scale : float
    entropy : float or None     of the latent, nats; None where it cannot be estimated: values have become equal
    error : float               share of training images of the probe that are classified wrong
    test_error : float
    """

    scale: float
    entropy: float | None
    error: float
    test_error: float


class Shrinking(nn.Module):
    """A classifier whose normalised latent is multiplied by a scale that the decoder divides by.

    Parameters
    ----------
    encoder : torch module      (n, 1, 28, 28) to (n, latent)
    latent : int
    noise : torch module        added to the latent, or the identity
    """

    scale: Tensor

    def __init__(self, encoder: nn.Module, latent: int, noise: nn.Module) -> None:
        super().__init__()
        self.encoder, self.norm, self.noise = encoder, nn.BatchNorm1d(latent, affine=False), noise
        self.decoder = nn.Linear(latent, 10)
        self.register_buffer("scale", torch.tensor(1.0))

    def latent(self, x: Tensor) -> Tensor:
        """Scaled latent, noisy where there is noise."""
        noisy: Tensor = self.noise(self.norm(self.encoder(x)) * self.scale)
        return noisy

    def forward(self, x: Tensor) -> Tensor:
        """Logits; without noise and rounding they do not depend on the scale."""
        logits: Tensor = self.decoder(self.latent(x) / self.scale)
        return logits


def encoder(kind: Literal["mlp", "cnn"], latent: int) -> nn.Sequential:
    """Network from (n, 1, 28, 28) images to (n, latent)."""
    if kind == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, latent))
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(9216, latent),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(latent, latent),
    )


def fall(noisy: bool, settings: Settings, seed: int = 0, device: str = "cpu") -> tuple[list[Epoch], list[Epoch]]:
    """Train one network while its latent shrinks; also look at the trained one at smaller scales.

    Parameters
    ----------
    noisy : bool            whether zero-entropy noise is added to the latent
    settings : Settings
    seed : int              of weights, batches and noise
    device : str

    Returns
    -------
    epochs, further : lists of Epoch        `further` without training, and empty where there is noise
    """
    x, y = (part.to(device) for part in images(settings.data, "train", settings.images))
    test = tuple(part.to(device) for part in images(settings.data, "test", settings.probe))
    probe = (x[: settings.probe], y[: settings.probe])
    with repeatable(seed):
        made = encoder(settings.encoder, settings.latent)
        model = Shrinking(made, settings.latent, ZeroEntropyNoise() if noisy else nn.Identity()).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
        epochs = []
        for number in range(settings.epochs):
            model.scale.fill_(settings.factor ** max(0, number - settings.full_size + 1))
            order: Any = torch.randperm(len(x)).to(device)
            for batch in order.split(settings.batch):
                if len(batch) > 1:
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
            epochs.append(_seen(model, probe, test))
        further = []
        for scale in () if noisy else FURTHER:
            model.scale.fill_(scale)
            further.append(_seen(model, probe, test))
    return epochs, further


@torch.no_grad()
def _seen(model: Shrinking, probe: Any, test: Any) -> Epoch:
    model.eval()
    latent = torch.cat([model.latent(part) for part in probe[0].split(1000)]).double()
    scale = float(model.scale)
    try:
        # Values near the end of float32 are estimated at a larger scale: d ln of it is added back exactly.
        rows = (latent / scale if scale else latent).cpu().numpy()
        found = KozachenkoLeonenko(level=None).estimate(rows)
        entropy: float | None = found.value + rows.shape[1] * float(np.log(scale))
    except ValueError:
        entropy = None
    wrong = [
        float((torch.cat([model(p) for p in x.split(1000)]).argmax(1) != y).double().mean()) for x, y in (probe, test)
    ]
    model.train()
    return Epoch(scale=scale, entropy=entropy, error=wrong[0], test_error=wrong[1])


def images(name: datasets.Name, split: datasets.Split, n: int | None) -> tuple[Tensor, Tensor]:
    """The first n images with pixels from 0 to 1, or all, and their labels."""
    x, y = datasets.load(name, split)
    return torch.from_numpy((x[:n, None] / 255).astype(np.float32)), torch.from_numpy(y[:n].astype(np.int64))


def table(runs: dict[str, list[Epoch]]) -> str:
    """Markdown table of both networks, epoch by epoch."""
    lines = ["| epoch | scale | " + " | ".join(f"H[Z], nats, {name} | error" for name in runs) + " |"]
    lines.append("| ---: | ---: |" + " ---: | ---: |" * len(runs))
    for number, states in enumerate(zip(*runs.values(), strict=True)):
        cells = [f"{_nats(state.entropy)} | {state.error:.1%}" for state in states]
        lines.append(f"| {number + 1} | {states[0].scale:.2g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _nats(entropy: float | None) -> str:
    return "none" if entropy is None else f"{entropy:.1f}"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--paper", is_flag=True, help="All of MNIST and the convolutional network of the paper: for a GPU.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of those of the settings.")
@click.option("--images", "count", type=click.IntRange(min=10), help="For training; likewise.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Networks trained at a time.")
@click.option("--device", default="cpu", show_default=True, help="Of torch.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights, batches and noise.")
def main(out: Path, paper: bool, epochs: int | None, count: int | None, jobs: int, device: str, seed: int) -> None:
    """Shrink the latent of a network with and without zero-entropy noise, and watch its entropy and its errors."""
    changes = {name: value for name, value in (("epochs", epochs), ("images", count)) if value is not None}
    settings = replace(PAPER if paper else QUICK, **changes)  # type: ignore[arg-type]
    try:
        datasets.load(settings.data, "test")
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)
    started = perf_counter()
    names = {"without noise": False, "zero-entropy noise": True}
    found = side_by_side(fall, [(noisy, settings, seed, device) for noisy in names.values()], jobs)
    runs = {name: epochs for name, (epochs, _) in zip(names, found, strict=True)}
    further = {name: more for name, (_, more) in zip(names, found, strict=True) if more}
    click.echo(table(runs))
    quiet = runs["without noise"][min(settings.full_size, settings.epochs) - 1 :]
    drop = (quiet[0].entropy or 0) - (quiet[-1].entropy or 0)
    kept = [state for state in further["without noise"] if state.error <= quiet[-1].error + 0.01]
    last = min(kept, default=quiet[-1], key=lambda state: state.scale)
    lowest = min(state.entropy for state in (*quiet, *kept) if state.entropy is not None)
    click.echo(
        f"\nWithout noise H[Z] fell by {drop:.0f} nats while the error went from {quiet[0].error:.1%} to "
        f"{quiet[-1].error:.1%}. Scaled further without training, the network keeps its error down to {lowest:.0f} "
        f"nats and a scale of {last.scale:.2g}; 1.4e-45 is the smallest number of float32."
    )
    noisy_end = runs["zero-entropy noise"][-1]
    click.echo(
        f"With zero-entropy noise it ended at {_nats(noisy_end.entropy)} nats, with an error of {noisy_end.error:.1%}."
    )
    scaled = "paper's sizes" if paper else f"{settings.images} images, {settings.encoder} with {settings.latent} units"
    title = f"{settings.data}, {scaled}"
    draw(runs, further, title).savefig(out / "free_fall.png", dpi=150, metadata={"Software": None})
    (out / "free_fall.json").write_text(
        json.dumps(
            {
                "settings": asdict(settings),
                "seed": seed,
                "runs": {name: [asdict(state) for state in states] for name, states in runs.items()},
                "further": {name: [asdict(state) for state in states] for name, states in further.items()},
            },
            indent=1,
        )
        + "\n"
    )
    click.echo(f"\nWrote free_fall.png and free_fall.json into {out} in {perf_counter() - started:.0f} s.")


def draw(runs: dict[str, list[Epoch]], further: dict[str, list[Epoch]], title: str) -> Any:
    """The picture of both networks."""

    def points(states: list[Epoch]) -> list[tuple[float, float]]:
        return [(state.entropy, state.error) for state in states if state.entropy is not None]

    return plot_free_fall(
        {name: points(states) for name, states in runs.items()},
        further={name: points([runs[name][-1], *states]) for name, states in further.items()},
        chance=0.9,
        title=title,
    )


if __name__ == "__main__":
    main(prog_name="python -m miest.experiments.entropy_free_fall")
