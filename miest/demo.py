"""The main job from end to end: train a small network, save its activations, estimate, draw.

``python -m miest.demo --out demo`` trains a tanh classifier on the digits that scikit-learn carries, saves what every
layer does with digits that it was not trained on, and runs ``miest estimate`` on the file: once for I(T;Y), and once
for the information about the input, as I(X;T+eps) and H_bin(T). The commands are printed, to be repeated.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
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


def train_and_record(*, epochs: int = 60, hidden: Sequence[int] = HIDDEN, seed: int = 0) -> Recorded:
    """Train a tanh classifier on 897 of the 1,797 digits of scikit-learn, and record its layers on the other 900.

    Parameters
    ----------
    epochs : int
    hidden : units of the hidden layers
    seed : int                  of the split, the initial weights and the batches

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

    digits = load_digits()
    images = torch.from_numpy((digits.data / 16).astype(np.float32))
    labels = torch.from_numpy(digits.target.astype(np.int64))
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=random)
    probe: Any = order[:_PROBE]
    train: Any = order[_PROBE:]
    widths = [images.shape[1], *hidden, 10]
    weights, biases = [], []
    for fan_in, fan_out in pairwise(widths):  # not torch.nn.Linear, which draws from torch's global generator
        reach = fan_in**-0.5
        weights.append(torch.empty(fan_out, fan_in).uniform_(-reach, reach, generator=random).requires_grad_())
        biases.append(torch.zeros(fan_out).requires_grad_())
    optimizer = torch.optim.Adam([*weights, *biases], lr=_LEARNING_RATE)

    def forward(t: torch.Tensor) -> list[torch.Tensor]:
        layers = [t]
        for weight, bias in zip(weights, biases, strict=True):
            before = layers[-1] @ weight.T + bias
            layers.append(before if bias is biases[-1] else torch.tanh(before))
        return layers

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # batches are too small to share, and one thread adds in one order
    try:
        for _ in range(epochs):
            for batch in train[torch.randperm(len(train), generator=random)].split(_BATCH):
                loss: Any = torch.nn.functional.cross_entropy(forward(images[batch])[-1], labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            recorded = forward(images[probe])
    finally:
        torch.set_num_threads(threads)
    names = ["input", *(f"layer{i}" for i in range(1, len(widths)))]
    return Recorded(
        layers={name: np.asarray(t.numpy()) for name, t in zip(names, recorded, strict=True)},
        labels=np.asarray(labels[probe].numpy()),
        accuracy=float((recorded[-1].argmax(dim=1) == labels[probe]).double().mean()),
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

    started = perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    recorded = train_and_record(epochs=epochs, seed=seed)
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
    click.echo(
        f"\nWrote {out / 'layers.png'}, about_label.json and about_input.json in {perf_counter() - started:.0f} s."
    )


if __name__ == "__main__":
    main(prog_name="python -m miest.demo")
