"""Cross-entropy alone against cross-entropy with weight decay: the information planes of Fashion-MNIST.

``python -m miest.experiments.fashion --out DIR`` trains a 784-512-512-10 network and a small residual network, each
with plain cross-entropy and with weight decay, and draws the planes of I(X;T+eps) and I(T+eps;Y) while it trains:
what Elad et al. (2019) show in fig. 3 of "The effectiveness of layer-by-layer training using the information
bottleneck principle". In the perceptron, with cross-entropy alone, both rise to the end; with weight decay the first
two layers lose information about the input again, once that about the label is high: 35% and 23% of the peak.

The pooled early blocks of the residual network lose some in either case, up to 20% with cross-entropy alone and up to
59% with weight decay: there the decay adds to a fall, and is not its only cause. As the noise is the same at all steps,
a layer whose activations shrink loses I(T+eps;Y) too, which tells nothing of I(T;Y).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, get_args

import click
import numpy as np

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError("experiments train networks with torch: pip install 'miest[torch]'.") from error

from miest import datasets
from miest.estimators.channel import GaussianChannel
from miest.experiments.compression import compressions, table
from miest.experiments.runs import repeatable, side_by_side, without_run, write_pictures
from miest.noise import GaussianNoise
from miest.plane.information_plane import InformationPlane
from miest.plane.reductions import MeanPool
from miest.plane.schedule import LogSchedule
from miest.plane.trajectory import Trajectory
from miest.plotting import empty_figure, plot_plane

Model = Literal["mlp", "resnet"]
Loss = Literal["cross-entropy", "weight-decay"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a network is trained and measured.

    Parameters
    ----------
    data : "fashion-mnist" or "mnist"
    images : int or None        the first so many for training; None: all
    epochs : int
    batch : int
    learning_rate : float       of AdamW
    weight_decay : float        where there is any; of AdamW, so that a step takes this times the learning rate away
    noise_std : float           of eps in every coordinate, the same in all layers and at all steps
    draws : int                 of eps for each image of the probe; their error is far below that of the images
    probe : int                 images of the test set that the plane is estimated on
    per_decade : int            estimates to each factor of ten in steps
    """

    data: Literal["fashion-mnist", "mnist"] = "fashion-mnist"
    images: int | None = None
    epochs: int = 10
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1.0
    noise_std: float = 2.0
    draws: int = 2
    probe: int = 2000
    per_decade: int = 5


QUICK: dict[Model, Settings] = {
    "mlp": Settings(),
    "resnet": Settings(images=15_000, epochs=4, noise_std=0.5),
}
"""Minutes on two cores."""

PAPER: dict[Model, Settings] = {
    "mlp": Settings(data="mnist", epochs=60, noise_std=2**0.5, probe=10_000, per_decade=10),
    "resnet": Settings(epochs=30, noise_std=0.5, probe=10_000, per_decade=10),
}
"""The paper's data set and noise for the network that it has, and the whole test set: hours."""


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch norm, added to their input, which is convolved too where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """(n, c, h, w) to (n, channels, h / stride, w / stride)."""
        inner = torch.relu(self.norm1(self.conv1(t)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.shortcut(t))


def network(model: Model) -> nn.Sequential:
    """The multilayer perceptron of the paper, or a residual network of 7 convolutions, of (n, 1, 28, 28) images.

    Both give (n, 10) logits; weights are drawn from torch's global stream.
    """
    if model == "mlp":
        layers: dict[str, nn.Module] = {
            "flat": nn.Flatten(),
            "linear1": nn.Linear(784, 512),
            "relu1": nn.ReLU(),
            "linear2": nn.Linear(512, 512),
            "relu2": nn.ReLU(),
            "logits": nn.Linear(512, 10),
        }
    else:
        layers = {
            "stem": nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
            "block1": Residual(16, 16, 1),
            "block2": Residual(16, 32, 2),
            "block3": Residual(32, 64, 2),
            "pool": nn.AdaptiveAvgPool2d(1),
            "flat": nn.Flatten(),
            "logits": nn.Linear(64, 10),
        }
    made = nn.Sequential()
    for name, layer in layers.items():
        made.add_module(name, layer)
    return made


LAYERS: dict[Model, list[str]] = {
    "mlp": ["relu1", "relu2", "logits"],
    "resnet": ["stem", "block1", "block2", "block3", "logits"],
}

CHAIN: dict[Model, bool] = {"mlp": True, "resnet": False}
"""Whether the layers are recorded in full, so that each is a function of the one before it; else they are pooled."""


def run(model: Model, loss: Loss, folder: Path, settings: Settings, seed: int = 0) -> Trajectory:
    """Train one network and estimate its plane meanwhile, into a run folder; a run that is there is replaced.

    Parameters
    ----------
    model : "mlp" or "resnet"
    loss : "cross-entropy" or "weight-decay"
    folder : Path
    settings : Settings
    seed : int              of weights, batches and noise

    Raises
    ------
    FileNotFoundError
        if the data are not on this machine; the message has the command that gets them
    """
    x, y = _tensors(settings.data, "train", settings.images)
    probe = _tensors(settings.data, "test", settings.probe)
    when = LogSchedule(per_decade=settings.per_decade)
    channel = GaussianChannel(noise=GaussianNoise(std=settings.noise_std), draws=settings.draws)
    with repeatable(seed):
        net = network(model)
        decay = settings.weight_decay if loss == "weight-decay" else 0.0
        optimizer = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=decay)
        with InformationPlane(
            net,
            layers=LAYERS[model],
            probe=probe,
            ixt=channel,
            ity=channel,
            reduce=None if CHAIN[model] else MeanPool(),
            when=when,
            save=without_run(folder),
            seed=seed,
        ) as plane:
            plane.record(0, **_told(net, *probe))
            steps = settings.epochs * (len(x) // settings.batch)
            for step, batch in enumerate(_batches(len(x), settings), start=1):
                optimizer.zero_grad()
                error: Any = nn.functional.cross_entropy(net(x[batch]), y[batch])
                error.backward()
                optimizer.step()
                if when(step) or step == steps:
                    plane.record(step, **_told(net, *probe))
        return plane.trajectory


def _tensors(name: datasets.Name, split: datasets.Split, n: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """The first n images, or all, and their labels."""
    x, y = datasets.load(name, split)
    return torch.from_numpy((x[:n, None] / 255).astype(np.float32)), torch.from_numpy(y[:n])


def _batches(n: int, settings: Settings) -> Iterator[torch.Tensor]:
    """Rows of every batch of every epoch; the last rows of an epoch, fewer than a batch, are left out."""
    for _ in range(settings.epochs):
        order: Any = torch.randperm(n)[: n // settings.batch * settings.batch]
        yield from order.split(settings.batch)


@torch.no_grad()
def _told(net: nn.Module, x: Any, y: torch.Tensor) -> dict[str, float]:
    """Loss and accuracy on the images of the probe, none of which the network is trained on."""
    net.eval()
    logits = torch.cat([net(part) for part in x.split(1000)])
    net.train()
    return {
        "test_loss": float(nn.functional.cross_entropy(logits, y)),
        "test_accuracy": float((logits.argmax(dim=1) == y).double().mean()),
    }


def draw(model: Model, planes: Mapping[Loss, Trajectory]) -> Any:
    """The planes of one network side by side, with the same scales."""
    figure = empty_figure(14, 6)
    panels = figure.subplots(1, len(planes), squeeze=False)[0]
    for ax, (loss, trajectory) in zip(panels, planes.items(), strict=True):
        plot_plane(trajectory, chain=CHAIN[model], title=f"{model}, {loss}", ax=ax)
    for side in "xy":
        low, high = zip(*(getattr(ax, f"get_{side}lim")() for ax in panels), strict=True)
        for ax in panels:
            ax.set(**{f"{side}lim": (min(low), max(high))})
    return figure


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--model", "models", type=click.Choice(get_args(Model)), multiple=True, help="Default: both.")
@click.option("--paper", is_flag=True, help="Full sizes, and for the multilayer perceptron MNIST: hours.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of those of the settings.")
@click.option("--images", type=click.IntRange(min=1), help="For training; likewise.")
@click.option("--probe", type=click.IntRange(min=10), help="Images that the plane is estimated on; likewise.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Networks trained at a time.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights, batches and noise.")
def main(
    out: Path,
    models: tuple[Model, ...],
    paper: bool,
    epochs: int | None,
    images: int | None,
    probe: int | None,
    jobs: int,
    seed: int,
) -> None:
    """Train networks on Fashion-MNIST with cross-entropy alone and with weight decay, and draw their planes."""
    given = {"epochs": epochs, "images": images, "probe": probe}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = {model: replace((PAPER if paper else QUICK)[model], **changes) for model in models or get_args(Model)}
    for data in {each.data for each in settings.values()}:
        try:
            datasets.load(data, "test")
        except (OSError, ValueError) as error:
            raise click.ClickException(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)
    started = perf_counter()
    wanted = [(model, loss) for model in settings for loss in get_args(Loss)]
    click.echo(f"Training {len(wanted)} networks, {jobs} at a time; their planes grow in {out}.")
    calls = [(model, loss, out / f"{model}-{loss}", settings[model], seed) for model, loss in wanted]
    planes = side_by_side(run, calls, jobs)
    found = dict(zip(wanted, planes, strict=True))
    for (model, loss), trajectory in found.items():
        name = f"{model}-{loss}"
        write_pictures(trajectory, out / name, title=name, chain=CHAIN[model])
        last = trajectory.scalars[trajectory.steps[-1]]
        click.echo(f"\n{name}: {trajectory.steps[-1]} steps, test accuracy {last['test_accuracy']:.1%}\n")
        click.echo(table([*compressions(trajectory, "I_XT"), *compressions(trajectory, "I_TY")]))
    for model in settings:
        pair = {loss: found[model, loss] for loss in get_args(Loss)}
        draw(model, pair).savefig(out / f"{model}.png", dpi=150, metadata={"Software": None})
    pictures = ", ".join(f"{model}.png" for model in settings)
    click.echo(
        f"\nWrote {pictures}, and a run, a .png and an .html of every network, into {out} in "
        f"{perf_counter() - started:.0f} s."
    )


if __name__ == "__main__":
    main(prog_name="python -m miest.experiments.fashion")
