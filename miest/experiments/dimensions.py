"""Dimensions through random networks: the least width with tanh and leaky ReLU, less with ReLU, nothing with steps.

``python -m miest.experiments.dimensions --out DIR`` sends inputs that are uniform in a cube through random networks
5-4-3-8-6 with four activations, and estimates the correlation and the information dimension of every layer. The paper
(Amjad & Geiger 2020, section 8) proves eq. 16 and shows no numbers: the numbers beside the measured ones are those of
its equation.
"""

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError("experiments run networks with torch: pip install 'miest[torch]'.") from error

from miest.bottleneck.dimensions import dimensions_through_layers
from miest.estimators.dimension import CorrelationDimension
from miest.estimators.information_dimension import InformationDimension
from miest.experiments.runs import repeatable
from miest.plotting.dimensions import plot_dimensions

WIDTHS = (5, 4, 3, 8, 6)


class Step(nn.Module):
    """1 above 0, and 0 elsewhere: not bi-Lipschitz, and a layer of it has finitely many values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Steps of the same shape."""
        return (x > 0).to(x.dtype)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "leaky ReLU": lambda: nn.LeakyReLU(0.2),
    "ReLU": nn.ReLU,
    "step": Step,
}
ESTIMATORS = {"correlation": CorrelationDimension(), "information": InformationDimension()}


def network(activation: str, widths: Sequence[int] = WIDTHS) -> nn.Sequential:
    """Linear layers of normal weights of variance 1 / fan-in, from torch's global stream, each with its activation."""
    layers: dict[str, nn.Module] = {}
    for number, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
        linear: Any = nn.Linear(fan_in, fan_out)
        nn.init.normal_(linear.weight, std=fan_in**-0.5)
        nn.init.normal_(linear.bias, std=0.1)
        layers[f"linear{number}"] = linear
        layers[f"act{number}"] = ACTIVATIONS[activation]()
    return nn.Sequential(OrderedDict(layers))


def measure(activation: str, *, n: int, seed: int, widths: Sequence[int] = WIDTHS) -> list[dict[str, Any]]:
    """Both dimensions of the input and of every activation, for one random network.

    Parameters
    ----------
    activation : str        a key of `ACTIVATIONS`
    n : int                 inputs
    seed : int              of the weights and the inputs
    widths : sequence of int

    Returns
    -------
    list of dict            layer, width, expected, and the two values
    """
    x = np.random.default_rng(seed).uniform(-1, 1, (n, widths[0]))
    with repeatable(seed):
        model = network(activation, widths).double()
        measured = {
            name: dimensions_through_layers(model, x, layers="act*", estimator=estimator, d_x=float(widths[0]))
            for name, estimator in ESTIMATORS.items()
        }
    first = measured["correlation"]
    return [
        {"layer": each.layer, "width": each.width, "expected": each.expected}
        | {name: found[place].result.value for name, found in measured.items()}
        for place, each in enumerate(first)
    ]


def table(measured: dict[str, list[list[dict[str, Any]]]]) -> str:
    """Markdown: for each activation and layer the mean and spread over networks beside the expected dimension."""
    lines = ["| activation | layer | width | eq. 16 | correlation dimension | information dimension |"]
    lines.append("|---|---|---|---|---|---|")
    for activation, runs in measured.items():
        for place, layer in enumerate(runs[0]):
            cells = []
            for name in ESTIMATORS:
                values = np.array([run[place][name] for run in runs])
                spread = values.std(ddof=1) if len(values) > 1 else math.nan
                cells.append(f"{values.mean():.2f} ± {spread:.2f}")
            told = f"{layer['expected']:g}" + ("" if activation in ("tanh", "leaky ReLU") else " at most")
            lines.append(f"| {activation} | {layer['layer']} | {layer['width']} | {told} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--n", type=click.IntRange(min=200), default=5000, show_default=True, help="Inputs.")
@click.option("--networks", type=click.IntRange(min=1), default=5, show_default=True, help="Random networks of each.")
@click.option(
    "--paper", is_flag=True, help="20,000 inputs and 20 networks; the paper has an equation and no experiment."
)
def main(out: Path, n: int, networks: int, paper: bool) -> None:
    """Estimate the dimensions of the layers of random networks 5-4-3-8-6, beside eq. 16 of Amjad & Geiger."""
    out.mkdir(parents=True, exist_ok=True)
    n, networks = (20_000, 20) if paper else (n, networks)
    started = perf_counter()
    measured = {name: [measure(name, n=n, seed=seed) for seed in range(networks)] for name in ACTIVATIONS}
    click.echo(f"{n} inputs, uniform in a cube; mean and standard deviation over {networks} random networks\n")
    click.echo(table(measured))
    (out / "dimensions.json").write_text(json.dumps({"n": n, "networks": networks, "measured": measured}) + "\n")
    figure, _ = plot_dimensions(measured)
    figure.savefig(out / "dimensions.png", dpi=150, metadata={"Software": None})
    click.echo(f"\nWrote dimensions.json and dimensions.png into {out} in {perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(prog_name="python -m miest.experiments.dimensions")
