"""Compression in tanh layers and none in ReLU layers: the 12-bit rule of Shwartz-Ziv & Tishby, binned with 30 bins.

``python -m miest.experiments.binary_sphere --out DIR`` trains a 12-10-7-5-4-3-2 network twice, with tanh and with ReLU
units, records all layers on all 4,096 words, and draws both information planes. What falls in the tanh layers is the
entropy of the binned layer: as the weights grow, tanh saturates, and its values crowd into the two bins at the ends. A
ReLU does not saturate, and nothing falls (Saxe et al. 2018, On the information bottleneck theory of deep learning).
"""

from dataclasses import dataclass
from itertools import pairwise
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

from miest.datasets import binary_sphere
from miest.estimators.binning import Binning
from miest.experiments.compression import compressions, table
from miest.experiments.runs import repeatable, side_by_side, without_run, write_pictures
from miest.plane.estimation import estimate_plane
from miest.plane.information_plane import InformationPlane
from miest.plane.run import snapshots
from miest.plane.schedule import LogSchedule
from miest.plane.snapshot import Snapshot
from miest.plane.trajectory import Trajectory

Activation = Literal["tanh", "relu"]

WIDTHS = (12, 10, 7, 5, 4, 3, 2)
BINS = 30
RULE = 1
"""Seed of the rule: one that networks of this size learn to 99%, as that of the paper."""

EPOCHS = 2000
TRAIN_SHARE = 0.8
BATCH = 256
LEARNING_RATE = 1e-3

_LAYERS = {"tanh": ["tanh*", "softmax"], "relu": ["relu*", f"linear{len(WIDTHS) - 1}"]}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A trained network's plane, and how well it does.

    Parameters
    ----------
    trajectory : Trajectory
    train_accuracy, test_accuracy : float
    binning : Binning           the bins, which are the same in all layers and at all steps
    """

    trajectory: Trajectory
    train_accuracy: float
    test_accuracy: float
    binning: Binning


def network(activation: Activation) -> nn.Sequential:
    """Layers "linear1", "tanh1" (or "relu1"), ..., the last of which is "softmax".

    Weights are normal with standard deviation fan_in^(-1/2), cut off at two of them, from torch's global stream; biases
    are zero.
    """
    layers: dict[str, nn.Module] = {}
    for number, (fan_in, fan_out) in enumerate(pairwise(WIDTHS), start=1):
        linear: Any = nn.Linear(fan_in, fan_out)
        std = fan_in**-0.5
        nn.init.trunc_normal_(linear.weight, 0.0, std, -2 * std, 2 * std)
        nn.init.zeros_(linear.bias)
        layers[f"linear{number}"] = linear
        if number < len(WIDTHS) - 1:
            layers[f"{activation}{number}"] = nn.Tanh() if activation == "tanh" else nn.ReLU()
    layers["softmax"] = nn.Softmax(dim=1)
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    return model


def run(activation: Activation, folder: Path, epochs: int = EPOCHS, seed: int = 0) -> Outcome:
    """Train one network, keep its layers at some 20 epochs a decade in a run folder, and estimate its plane.

    Parameters
    ----------
    activation : "tanh" or "relu"
    folder : Path           a run that is there is replaced
    epochs : int
    seed : int              of the split, the weights and the batches

    Notes
    -----
    The same bins serve all layers and all steps: 30 over [-1, 1] for tanh; for ReLU 30 from 0 to the largest value that
    any layer had during training, which is known only at its end, so that the estimates are made then. Of the ReLU
    network the last layer is recorded before the softmax, whose range is not much wider than a bin.
    Differs: Saxe et al. took 100 bins for ReLU; the rule is another of the same kind (`miest.datasets.binary_sphere`);
    training is by Adam.
    """
    words = binary_sphere(RULE)
    x, y = torch.from_numpy(words.x.astype(np.float32)), torch.from_numpy(words.y)
    when = LogSchedule(per_decade=20)
    with repeatable(seed):
        model = network(activation)
        logits = model[:-1]
        train, test = torch.randperm(len(x)).tensor_split([round(TRAIN_SHARE * len(x))])
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)

        def accuracy(rows: torch.Tensor) -> float:
            with torch.no_grad():
                return float((logits(x[rows]).argmax(dim=1) == y[rows]).double().mean())

        with InformationPlane(
            model,
            layers=_LAYERS[activation],
            probe=(x, y),
            when=when,
            estimate="later",
            save=without_run(folder),
            seed=seed,
        ) as plane:
            plane.record(0, accuracy=accuracy(test))
            for epoch in range(1, epochs + 1):
                rows: Any = train[torch.randperm(len(train))]
                for batch in rows.split(BATCH):
                    loss: Any = nn.functional.cross_entropy(logits(x[batch]), y[batch])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                if when(epoch) or epoch == epochs:
                    plane.record(epoch, loss=float(loss.detach()), accuracy=accuracy(test))
    binning = _bins(activation, folder)
    return Outcome(
        trajectory=estimate_plane(folder, ixt=binning, ity=binning),
        train_accuracy=accuracy(train),
        test_accuracy=accuracy(test),
        binning=binning,
    )


def _bins(activation: Activation, folder: Path) -> Binning:
    """The bins of a whole run."""
    if activation == "tanh":
        return Binning(bins=BINS, strategy="activation", activation="tanh")
    kept = [Snapshot.open(path) for path in snapshots(folder).values()]
    largest = max(float(snapshot.load(layer).max()) for snapshot in kept for layer in snapshot.layers)
    # A little wider, so that the largest value falls into the last bin and not on its upper edge.
    return Binning(strategy="fixed-width", width=largest / BINS * (1 + 1e-5))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--epochs", type=click.IntRange(min=1), default=EPOCHS, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of split, weights and batches.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Networks trained at a time.")
def main(out: Path, epochs: int, seed: int, jobs: int) -> None:
    """Train the 12-10-7-5-4-3-2 network with tanh and with ReLU units, and draw both information planes."""
    out.mkdir(parents=True, exist_ok=True)
    started = perf_counter()
    click.echo(f"Training a network of tanh and one of ReLU units, {epochs} epochs each.")
    activations = get_args(Activation)
    found = side_by_side(run, [(activation, out / activation, epochs, seed) for activation in activations], jobs)
    for activation, done in zip(activations, found, strict=True):
        width = done.trajectory.rows[0].diagnostics["width"]
        title = f"12-bit rule, {activation} units, test accuracy {done.test_accuracy:.1%}"
        write_pictures(done.trajectory, out / activation, title=title, bits=True)
        click.echo(
            f"\n{activation}: accuracy {done.train_accuracy:.1%} on the words for training and "
            f"{done.test_accuracy:.1%} on the others; {BINS} bins of width {width:.3g}\n"
        )
        click.echo(table(compressions(done.trajectory, "H_bin"), bits=True))
    written = ", ".join(f"{name}.png, {name}.html" for name in activations)
    click.echo(
        f"\nWrote {written} and the runs {', '.join(activations)} into {out} in {perf_counter() - started:.0f} s."
    )


if __name__ == "__main__":
    main(prog_name="python -m miest.experiments.binary_sphere")
