"""Time to come within 5% of 4 nats on rows held out: MINE of miest, by critic, and of torch-mist, in the same run.

Gaussian of 20 + 20 columns, new rows at every step, batches of 512, two threads, median of five seeds; seconds from
nothing to the first look within 5%, the look included, every 50 steps, at 4,000 rows that are not trained on. ::

    pip install --no-deps torch-mist pyro-ppl pyro-api opt-einsum
    python notebooks/neural_speed.py

Nothing else should run meanwhile. A run that has not come there after ``--limit`` seconds counts as
infinite.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from miest import MINE
from miest.tasks.gaussian import gaussian_with_information

TRUTH, D, BATCH, NEAR, LOOK, HELD = 4.0, 20, 512, 0.05, 50, 4000
HIDDEN = (256, 256)


class Reached(Exception):
    """Ends an estimate from its progress callback."""


STEPS = 100_000  # more than any run is given time for


def near(value: float) -> bool:
    """Whether a value is within 5% of the truth."""
    return abs(value - TRUTH) <= NEAR * TRUTH


def ours(critic: str, seed: int, limit: float) -> float:
    """Seconds that MINE of miest takes."""
    started = perf_counter()

    def look(fold: int, step: int, of: int, held: float) -> None:
        if near(held) or perf_counter() - started > limit:
            raise Reached

    scale = "normal" if critic == "anchored" else "none"
    made = MINE(
        critic=critic,
        hidden=HIDDEN,
        scale=scale,
        folds=1,
        batch=BATCH,
        steps=STEPS,
        check_every=LOOK,
        patience=STEPS,
        progress=look,
    )
    try:
        made.estimate(gaussian_with_information(TRUTH, D), seed=seed)
    except Reached:
        taken = perf_counter() - started
        return taken if taken <= limit else math.inf
    return math.inf


def torch_mist(seed: int, limit: float) -> float:
    """Seconds that MINE of torch-mist takes, with its own settings: joint critic, one negative, Adam."""
    from torch_mist.estimators.discriminative.factories import mine

    task = gaussian_with_information(TRUTH, D)
    started = perf_counter()
    torch.manual_seed(seed)
    made = mine(x_dim=D, y_dim=D, hidden_dims=list(HIDDEN))
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-3)

    def rows(n: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = (torch.from_numpy(side).float() for side in task.sample(n, (seed, number)))
        return x, y

    held = rows(HELD, 0)
    for step in range(STEPS):
        if perf_counter() - started > limit:
            break
        if step % LOOK == 0:
            made.eval()
            with torch.no_grad():
                if near(float(made.mutual_information(*held))):
                    return perf_counter() - started
            made.train()
        loss = made.loss(*rows(BATCH, step + 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return math.inf


RUNS: dict[str, Callable[[int, float], float]] = {
    "torch-mist MINE, joint": torch_mist,
    "miest MINE, joint": lambda seed, limit: ours("joint", seed, limit),
    "miest MINE, separable": lambda seed, limit: ours("separable", seed, limit),
    "miest MINE, anchored": lambda seed, limit: ours("anchored", seed, limit),
}


def main() -> None:
    """Time every run, seed by seed in turn, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=60.0)
    parser.add_argument("--leave-out", nargs="*", default=(), metavar="NAME", help="as 'miest MINE, joint'")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    asked = parser.parse_args()
    torch.set_num_threads(2)
    chosen = {name: run for name, run in RUNS.items() if name not in asked.leave_out}
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    for seed in range(asked.seeds):
        for name, run in chosen.items():
            seconds[name].append(run(seed, asked.limit))
        report(seconds, asked.out)


def report(seconds: dict[str, list[float]], out: Path) -> None:
    """Write the table and the numbers."""
    peer = median(seconds.get("torch-mist MINE, joint", [math.nan]))
    lines = ["| | seconds, median | least | most | torch-mist / this |", "|---|---|---|---|---|"]
    for name, taken in seconds.items():
        middle = median(taken)
        lines.append(f"| {name} | {middle:.2f} | {min(taken):.2f} | {max(taken):.2f} | {peer / middle:.1f} |")
    (out / "neural_speed.md").write_text("\n".join(lines) + "\n")
    plain = {name: [t if math.isfinite(t) else None for t in taken] for name, taken in seconds.items()}
    (out / "neural_speed.json").write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()
