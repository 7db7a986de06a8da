"""The main job from end to end: train a small network, save its activations, estimate, draw.

``python -m miest.demo --out demo`` trains a tanh classifier on the digits that scikit-learn carries, saves what every
layer does with digits that it was not trained on, and runs ``miest estimate`` on the file: once for I(T;Y), and once
for the information about the input, as I(X;T+eps) and H_bin(T). The commands are printed, to be repeated. At the end
stands the information plane of the whole training, which was estimated while the network learned.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from miest.result import MIResult

HIDDEN = (48, 24, 12, 6)
"""Units of the tanh layers: narrow enough at the end that neighbours and bins still mean something."""

NOISE_VAR = 0.1
"""Variance of the noise in every layer, in the squared units of the activations, which lie in [-1, 1]."""

BIN_WIDTH = 0.5
"""Width of a bin in every layer, in the same units."""

_PROBE = 900
_BATCH = 64
_PER_DECADE = 5  # planes to each factor of ten in training steps
_LEARNING_RATE = 0.01

ABOUT_INPUT = (f"kde:noise_var={NOISE_VAR}", f"binning:strategy=fixed-width,width={BIN_WIDTH}")
ABOUT_LABEL = (*ABOUT_INPUT, "mixed-ksg")
"""The estimators of each kind of information, as the command line takes them."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a trained network does with samples that it was not trained on.

    Parameters
    ----------
    layers : dict of str to (n, d) float32      "input", then "layer1", ...; the last holds the logits
    labels : (n,) int64
    accuracy : float                            on these samples
    """

    layers: dict[str, NDArray[np.float32]]
    labels: NDArray[np.int64]
    accuracy: float

    def save(self, path: Path) -> None:
        """Write an .npz file with an array for each layer, and ``labels``."""
        arrays: dict[str, Any] = {**self.layers, "labels": self.labels}
        np.savez_compressed(path, **arrays)


def train_and_record(
    *, epochs: int = 60, hidden: Sequence[int] = HIDDEN, seed: int = 0, run: Path | None = None
) -> Recorded:
    """Train a tanh classifier on 897 of the 1,797 digits of scikit-learn, and record its layers on the other 900.

    Parameters
    ----------
    epochs : int
    hidden : units of the hidden layers
    seed : int                  of the split, the initial weights and the batches
    run : Path or None          folder for the information plane of the training, estimated meanwhile on those 900: of
                                I(X;T+eps) and I(T+eps;Y), at steps that are even on a logarithmic axis. A run that is
                                there is replaced. None: no plane

    Raises
    ------
    ImportError
        if torch is not installed
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError("the demo trains a network with torch: pip install 'miest[torch]'.") from error
    from sklearn.datasets import load_digits

    from miest.experiments.runs import repeatable

    digits = load_digits()
    images = torch.from_numpy((digits.data / 16).astype(np.float32))
    labels = torch.from_numpy(digits.target.astype(np.int64))
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=random)
    probe: Any = order[:_PROBE]
    train: Any = order[_PROBE:]
    with repeatable(seed):
        model = torch.nn.Sequential()
        for number, (fan_in, fan_out) in enumerate(pairwise([images.shape[1], *hidden, 10]), start=1):
            linear: Any = torch.nn.Linear(fan_in, fan_out)
            torch.nn.init.uniform_(linear.weight, -(fan_in**-0.5), fan_in**-0.5, generator=random)
            torch.nn.init.zeros_(linear.bias)
            last = number == len(hidden) + 1
            model.add_module(f"layer{number}" if last else f"linear{number}", linear)
            if not last:
                model.add_module(f"layer{number}", torch.nn.Tanh())
        optimizer = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE)
        step = 0
        with _plane(model, (images[probe], labels[probe]), run, seed) as plane:
            for _ in range(epochs):
                for batch in train[torch.randperm(len(train), generator=random)].split(_BATCH):
                    loss: Any = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
                    if plane is not None:
                        plane.log(step, loss=loss.item())
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    step += 1
            if plane is not None:
                plane.record(step)
        layers = {"input": images[probe]}
        with torch.no_grad():
            t = images[probe]
            for name, module in model.named_children():
                t = module(t)
                if name.startswith("layer"):
                    layers[name] = t
    return Recorded(
        layers={name: np.asarray(t.numpy()) for name, t in layers.items()},
        labels=np.asarray(labels[probe].numpy()),
        accuracy=float((t.argmax(dim=1) == labels[probe]).double().mean()),
    )


def _plane(model: Any, probe: Any, run: Path | None, seed: int) -> Any:
    """An `InformationPlane` with the same noise in all layers and on both axes, or None where there is no run."""
    if run is None:
        return nullcontext()
    from miest.estimators.channel import GaussianChannel
    from miest.experiments.runs import without_run
    from miest.noise import GaussianNoise
    from miest.plane.information_plane import InformationPlane
    from miest.plane.schedule import LogSchedule

    # Of these images as the population, as the bounds of `KDE` are.
    channel = GaussianChannel(noise=GaussianNoise(std=NOISE_VAR**0.5), population=False)
    return InformationPlane(
        model,
        layers="layer*",
        probe=probe,
        ixt=channel,
        ity=channel,
        when=LogSchedule(per_decade=_PER_DECADE),
        save=without_run(run),
        seed=seed,
    )


def command(file: Path, specs: Sequence[str], out: Path, *, y: str | None = None) -> list[str]:
    """The arguments of ``miest`` that estimate something of the input and of every layer in the file."""
    return [
        "estimate",
        str(file),
        *("--x", "input", "--x", "layer*"),
        *(("--y", y) if y is not None else ()),
        *(part for spec in specs for part in ("--estimator", spec)),
        *("--json", str(out)),
    ]


def read_results(file: Path) -> dict[str, list[MIResult]]:
    """Results by layer, from what ``miest estimate --json`` wrote."""
    found: dict[str, list[MIResult]] = {}
    for row in json.loads(file.read_text(encoding="utf-8")):
        found.setdefault(row["x"], []).append(MIResult.from_dict(row["result"]))
    return found


def draw(
    about_input: Mapping[str, Sequence[MIResult]],
    about_label: Mapping[str, Sequence[MIResult]],
    recorded: Recorded,
) -> Any:
    """Two panels: what each layer holds of the input, and what of the label."""
    from miest.plotting import empty_figure, plot_layers

    n = len(recorded.labels)
    shares = np.bincount(recorded.labels) / n
    h_y = float(-(shares[shares > 0] @ np.log(shares[shares > 0])))
    ticks = _ticks(recorded.layers)
    figure = empty_figure(11, 5.4)
    left, right = figure.subplots(1, 2)
    plot_layers(
        {ticks[name]: row for name, row in about_input.items()},
        references={f"ln n = {np.log(n):.2f}": float(np.log(n))},
        title="About the input X",
        ax=left,
    )
    plot_layers(
        # To the estimators the layer is a variable X like any other; in this picture X is the image.
        {
            ticks[name]: [replace(r, quantity=r.quantity.replace("X", "T")) for r in row]
            for name, row in about_label.items()
        },
        references={f"H(Y) = {h_y:.2f}": h_y},
        title="About the label Y",
        ax=right,
    )
    for ax in (left, right):
        ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    figure.suptitle(
        f"Digits through a tanh network, test accuracy {recorded.accuracy:.1%}", x=0.01, ha="left", fontsize="large"
    )
    return figure


def _ticks(layers: Mapping[str, NDArray[np.float32]]) -> dict[str, str]:
    """Layer names with their sizes."""
    last = list(layers)[-1]
    made = {"input": "pixels", last: "logits"}
    return {name: f"{name}\n{t.shape[1]} {made.get(name, 'tanh')}" for name, t in layers.items()}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Folder to write."
)
@click.option("--epochs", type=click.IntRange(min=1), default=60, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Fixes the split, the weights and the batches.")
def main(out: Path, epochs: int, seed: int) -> None:
    """Train a small network on digits, save its activations, estimate the information in every layer, and draw it."""
    from miest.cli import main as miest_command
    from miest.experiments.runs import write_pictures
    from miest.plane.run import load_plane

    started = perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    recorded = train_and_record(epochs=epochs, seed=seed, run=out / "run")
    file = out / "activations.npz"
    recorded.save(file)
    sizes = "-".join(str(t.shape[1]) for t in recorded.layers.values())
    click.echo(f"Trained a {sizes} tanh classifier on digits; accuracy {recorded.accuracy:.1%} on {_PROBE} others.")
    click.echo(f"Saved its activations on those to {file}.")
    results = {}
    for name, specs, y in (("about_label", ABOUT_LABEL, "labels"), ("about_input", ABOUT_INPUT, None)):
        arguments = command(file, specs, out / f"{name}.json", y=y)
        click.echo(f"\n$ miest {shlex.join(arguments)}")
        miest_command.main(arguments, prog_name="miest", standalone_mode=False)
        results[name] = read_results(out / f"{name}.json")
    figure = draw(results["about_input"], results["about_label"], recorded)
    figure.savefig(out / "layers.png", dpi=150, metadata={"Software": None})
    click.echo(
        "\nThe tanh layers lie in [-1, 1] and the logits do not: against them the same noise and bins are finer, so "
        "that their rise after the narrowest layer is one of scale. Flagged values say little; the notes say why."
    )
    plane = load_plane(out / "run")
    title = f"Digits through a tanh network, test accuracy {recorded.accuracy:.1%}"
    write_pictures(plane, out / "plane", title=title)
    click.echo(
        f"\nWhile the network learned, its information plane was estimated at {len(plane.steps)} of its "
        f"{plane.steps[-1]} steps and kept in {out / 'run'}. {out / 'plane.html'} plays through it."
    )
    click.echo(
        f"\nWrote plane.png, plane.html, layers.png, about_label.json and about_input.json into {out} in "
        f"{perf_counter() - started:.0f} s."
    )


if __name__ == "__main__":
    main(prog_name="python -m miest.demo")
