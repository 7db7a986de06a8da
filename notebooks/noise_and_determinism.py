"""Measures what ``04_noise_and_determinism.ipynb`` draws, into ``noise_and_determinism.json``.

``python notebooks/noise_and_determinism.py --paper`` measures Fashion-MNIST; without it the digits, in a minute, to a
file of the caller's. Every estimate is kept as soon as it is made, and made again only with ``--again``.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from miest import datasets
from miest.estimators.aamine import AAMINE
from miest.estimators.channel import GaussianChannel
from miest.estimators.neural import MINE
from miest.neural.subnetwork import subnetwork_of
from miest.noise import GaussianNoise

OUT = Path(__file__).with_suffix(".json")
VARIANCES = (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4)
CURVES = ("channel", "aware", "published", "blind")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured, and on what."""

    data: str
    rows: int  # of GaussianChannel and of AA-MINE
    few: int  # of the perceptrons that score every pair
    hidden: tuple[int, ...]
    steps: int
    learning_rate: float


PAPER = Sizes(data="fashion-mnist", rows=60_000, few=10_000, hidden=(256, 256), steps=1500, learning_rate=1e-3)
QUICK = Sizes(data="digits", rows=1797, few=1797, hidden=(64, 64), steps=150, learning_rate=1e-3)


def images(name: str) -> Tensor:
    """(n, 784) pixels from 0 to 1; digits are enlarged threefold, with a margin of two."""
    if name == "digits":
        small = np.concatenate([datasets.load("digits", split)[0] for split in ("train", "test")]) / 16
        x = np.pad(small.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    else:
        x = datasets.load(name, "train")[0] / 255
    return torch.tensor(x.reshape(len(x), -1), dtype=torch.float32)


def network(seed: int = 0) -> nn.Sequential:
    """784-512-512-10 with rectifiers and the weights that torch starts from."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
        )  # fmt: skip


def measure(curve: str, variance: float, x: Tensor, sizes: Sizes) -> dict[str, Any]:
    """One estimate of I(X; T+eps) of the last layer."""
    model, noise = network(), GaussianNoise(std=math.sqrt(variance))
    last = subnetwork_of(model, "4")
    few = x[: sizes.few]
    if curve == "channel":
        with torch.no_grad():
            layer = model(x)
        result = GaussianChannel(noise=noise).estimate(layer)
        kept = ("in_sample", "leave_one_out", "out_of_sample", "lower", "upper")
    elif curve == "aware":
        result, kept = AAMINE(last, noise).estimate(x, seed=0), ("upper", "anchor_value", "capped", "stderr")
    elif curve == "published":
        joint = AAMINE(last, noise, critic="joint", hidden=sizes.hidden, steps=sizes.steps, patience=sizes.steps,
                       learning_rate=sizes.learning_rate)  # fmt: skip
        result, kept = joint.estimate(few, seed=0), ("capped", "stderr", "stop_curve")
    else:
        with torch.no_grad():
            layer = model(few)
        noisy = layer + noise.std * torch.randn(layer.shape, generator=torch.Generator().manual_seed(1))
        blind = MINE(critic="joint", scale="standard", hidden=sizes.hidden, steps=sizes.steps, folds=1, negatives=1,
                     learning_rate=sizes.learning_rate, patience=sizes.steps)  # fmt: skip
        result, kept = blind.estimate(few, noisy, seed=0), ("stderr", "stop_curve")
    return {
        "value": result.value,
        "interval": result.interval,
        "ceiling": result.ceiling,
        "flags": [flag.name for flag in result.flags],
        "n": result.n_samples,
        "estimator": str(result.estimator),
        **{name: result.diagnostics[name] for name in kept},
    }


def run(sizes: Sizes, out: Path, curves: Iterable[str], *, again: bool, told: Callable[[str], None]) -> dict[str, Any]:
    """Measure what is not in the file yet."""
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    x = images(sizes.data)[: sizes.rows]
    found["data"], found["variances"] = sizes.data, list(VARIANCES)
    for curve in curves:
        values = found.setdefault(curve, {})
        for variance in VARIANCES:
            if again or f"{variance:g}" not in values:
                values[f"{variance:g}"] = measure(curve, variance, x, sizes)
                out.write_text(json.dumps(found, indent=1) + "\n")
                told(f"{curve} {variance:g}: {values[f'{variance:g}']['value']:.5f}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hidden", type=int, nargs="+", help="of the perceptrons on pairs; in the paper 1500 1500")
    parser.add_argument("--steps", type=int, help="that they are trained")
    parser.add_argument("--learning-rate", type=float, help="of these; in the paper 1e-4")
    parser.add_argument("--curves", nargs="+", choices=CURVES, default=CURVES)
    given = parser.parse_args()
    if given.out is None and not given.paper:
        parser.error("--out names the file for the quick sizes; the kept one is of --paper.")
    torch.set_num_threads(given.threads)
    changed = {name: getattr(given, name) for name in ("hidden", "steps", "learning_rate") if getattr(given, name)}
    sizes = replace(PAPER if given.paper else QUICK, **changed)
    run(sizes, given.out or OUT, given.curves, again=given.again, told=print)
