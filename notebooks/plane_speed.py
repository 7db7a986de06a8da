"""What an information plane costs: recording against an epoch of training, and estimating a hundred steps.

A 784-512-512-10 network learns Fashion-MNIST with Adam in batches of 128, on two threads. *Recording*: the five layers
of a probe set go into a snapshot on disk; of its seconds those of a bare forward pass over the probe set, in the same
batches, are taken off, and what is left is told in percent of an epoch. *Estimating*: 100 steps of those five layers,
2,000 rows of 512, 512, 512, 512 and 10 values, by three estimators, from the snapshots of a run on two processes. ::

    miest data fetch fashion-mnist
    python notebooks/plane_speed.py

Nothing else should run meanwhile; where that cannot be had, ``--jobs 1`` tells the CPU seconds of the estimates, and
recording is timed by those of its thread with ``--cpu --threads 1``. Writes ``plane_speed.md`` and
``plane_speed.json``.
"""

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, thread_time
from typing import Any

import joblib
import numpy as np
import torch
from torch import nn

from miest import KDE, GaussianChannel, InformationPlane, MixedKSG, Recorder, ZeroEntropyNoise, estimate_plane
from miest.datasets import load
from miest.experiments.fashion import network

LAYERS = ["linear1", "relu1", "linear2", "relu2", "logits"]
BATCH, PROBE_BATCH, ROWS = 128, 256, 2000
CHANNEL = GaussianChannel(noise=ZeroEntropyNoise(), population=False, draws=1)
ASKED: dict[str, Any] = {"ixt": [CHANNEL, KDE(noise_var=0.1)], "ity": MixedKSG()}


def images(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images between 0 and 1, and labels."""
    x, y = load("fashion-mnist", split)
    return torch.from_numpy((x[:, None] / 255).astype(np.float32)), torch.from_numpy(y)


def steps_of(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[int], None]:
    """What trains on the batches that begin at row 0, 128, ...: one call a step."""
    optimizer = torch.optim.Adam(net.parameters())

    def step(number: int) -> None:
        rows = slice(number * BATCH % len(x), number * BATCH % len(x) + BATCH)
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def recording(n: int, repeats: int, folder: Path, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of an epoch, of a bare forward pass over n rows, and of a snapshot of them, medians in turn."""

    def seconds(function: Callable[[], Any]) -> float:
        started = clock()
        function()
        return clock() - started

    net, (x, y), (probe, _) = network("mlp"), images("train"), images("test")
    probe = probe[:n].clone()
    recorder = Recorder(net, LAYERS, probe=probe, batch_size=PROBE_BATCH)
    step = steps_of(net, x, y)

    def forward() -> None:
        net.eval()
        with torch.no_grad():
            for part in probe.split(PROBE_BATCH):
                net(part)
        net.train()

    taken: dict[str, list[float]] = {"epoch": [], "forward": [], "snapshot": []}
    recorder.snapshot(0, folder)
    for number in range(1, repeats + 1):
        taken["epoch"].append(seconds(lambda: [step(i) for i in range(len(x) // BATCH)]))
        for _ in range(5):
            taken["forward"].append(seconds(forward))
            taken["snapshot"].append(seconds(lambda number=number: recorder.snapshot(number, folder)))
            (folder / f"step-{number:06d}.safetensors").unlink()
            os.sync()  # what the system writes later must not slow the next one
    return {name: median(found) for name, found in taken.items()} | {"n": n}


def estimating(jobs: int, steps: int, folder: Path) -> dict[str, float]:
    """Seconds to record so many steps, and to estimate them, on the clock and of this process."""
    net, (x, y), (probe, labels) = network("mlp"), images("train"), images("test")
    step = steps_of(net, x, y)
    started = perf_counter()
    with InformationPlane(
        net, LAYERS, probe=(probe[:ROWS], labels[:ROWS]), when=1, estimate="later", save=folder / "run"
    ) as plane:
        for number in range(steps):
            step(number)
            plane.log(number)
    recorded = perf_counter() - started
    started, cpu = perf_counter(), process_time()
    with joblib.parallel_config(backend="loky", n_jobs=jobs):
        found = estimate_plane(folder / "run", **ASKED)
    taken, cpu = perf_counter() - started, process_time() - cpu
    assert len(found) == steps * len(LAYERS) * 3
    assert not found.failed
    each = {key: sum(row.seconds for row in found.rows if row.quantity == key) for key in found.quantities}
    told = {"steps": steps, "recorded": recorded, "estimated": taken, "cpu": cpu}
    return told | {f"of {key}": value for key, value in each.items()}


def main() -> None:
    """Measure, print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="epochs")
    parser.add_argument("--jobs", type=int, default=2, help="processes that estimate")
    parser.add_argument("--steps", type=int, default=100, help="steps that are estimated")
    parser.add_argument("--cpu", action="store_true", help="time recording by the thread's CPU time")
    parser.add_argument("--threads", type=int, default=2, help="of torch while it trains")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    folder = Path(tempfile.mkdtemp(prefix="miest-"))
    try:
        clock = thread_time if asked.cpu else perf_counter
        recordings = [recording(n, asked.repeats, folder, clock) for n in (ROWS, 10_000)]
        torch.set_num_threads(1)
        run = estimating(asked.jobs, asked.steps, folder)
    finally:
        shutil.rmtree(folder)
    told = "CPU seconds of the training thread" if asked.cpu else f"seconds, {asked.threads} threads"
    lines = [
        f"Recording ({told}):",
        "",
        "| rows | epoch | forward pass | snapshot | copying and saving |",
        "|---|---|---|---|---|",
    ]
    for each in recordings:
        share = (each["snapshot"] - each["forward"]) / each["epoch"]
        each["share"] = share
        lines.append(
            f"| {each['n']:,} | {each['epoch']:.2f} s | {each['forward'] * 1e3:.0f} ms | "
            f"{each['snapshot'] * 1e3:.0f} ms | {share:.2%} of the epoch |"
        )
    lines += [
        "",
        f"{asked.steps} steps x {len(LAYERS)} layers x 3 estimators, n = {ROWS:,}, {asked.jobs} at a time: "
        f"{run['estimated']:.0f} s, after {run['recorded']:.0f} s of training and recording."
        + (f" CPU: {run['cpu']:.0f} s." if asked.jobs == 1 else ""),
    ]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    (asked.out / "plane_speed.md").write_text(text)
    (asked.out / "plane_speed.json").write_text(json.dumps({"recording": recordings, "run": run}, indent=1) + "\n")


if __name__ == "__main__":
    main()
