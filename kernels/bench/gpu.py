"""Times the CUDA kernels against blocked torch on the same GPU and against our processor backend: a table and a JSON.

    PYTHONPATH=.:kernels python kernels/bench/gpu.py --out kernels/bench/results

Every answer is checked first, on some rows, against differences in torch. Times are medians of whole calls: from data
that live on the device, or on the host, to results on the host. What would take torch or the processor long is timed on
some rows and scaled up, or left out. The ceilings are measured in the same run.
"""

import argparse
import json
import math
import os
import re
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from miest_kernels import neighbours
from miest_kernels.cuda import Cuda
from miest_kernels.cuda_device import Device, Program, open_device
from miest_kernels.cuda_sums import gaussian_log_sums
from miest_kernels.gaussian_sums import gaussian_log_sums as on_processor

K = 3
SIZES, DIMENSIONS = (10_000, 100_000, 1_000_000), (2, 4, 20, 128)
PAPER = {  # seconds that the instructions of an H100 take
    ("KSG", 100_000, 4): 7.4e-3, ("KSG", 100_000, 20): 29e-3, ("KSG", 100_000, 128): 0.17,
    ("KSG", 1_000_000, 4): 0.74, ("KSG", 1_000_000, 20): 2.9, ("KSG", 1_000_000, 128): 17.0,
    ("KDE", 100_000, 4): 2.7e-3, ("KDE", 100_000, 20): 6.7e-3, ("KDE", 100_000, 128): 43e-3,
}  # fmt: skip
_PAIRS_AT_ONCE = 200_000_000  # of a torch block: under a gigabyte a matrix
_TORCH_SECONDS = 1.5  # after which torch's time is scaled up from the rows it has done
_PROCESSOR_SECONDS = 15.0  # beyond which our processor backend is not timed


def main() -> None:
    """Measure everything, print the table and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("kernels/bench/results"))
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--dimensions", type=int, nargs="+", default=DIMENSIONS)
    options = parser.parse_args()
    name = torch.cuda.get_device_name(0)
    ceilings = measured_ceilings(open_device(0))
    print(name, {key: f"{rate:.3g}/s" for key, rate in ceilings.items()}, flush=True)
    rows: list[dict[str, Any]] = []
    print(HEADER, flush=True)
    for d in options.dimensions:
        for n in options.sizes:
            for row in (ksg(n, d, ceilings), kde(n, d, ceilings)):
                rows.append(row)
                print(line(row), flush=True)
    report = {
        "date": date.today().isoformat(), "device": name, "torch": torch.__version__, "k": K, "ceilings": ceilings,
        "rows": rows,
    }  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    place = options.out / f"gpu-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.json"
    place.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {place}")


# The workloads


def ksg(n: int, d: int, ceilings: dict[str, float]) -> dict[str, Any]:
    """k-th joint radius and counts in both margins of d / 2 columns each, float32."""
    x, y = gaussian(n, d // 2), gaussian(n, d // 2, seed=1)
    tensors = [torch.from_numpy(block).cuda() for block in (x, y)]
    backend = Cuda()
    radius, counts = backend.joint_radius_and_counts(tensors, K)  # type: ignore[arg-type]
    check_neighbours(tensors, radius, counts)
    processor = neighbours("auto", n=n, d=d)
    processor = processor if processor.name != "cuda" else neighbours("cpu")
    about = 1e-5 * n if processor.name == "tree" else n * n * d / 1e10 / (os.cpu_count() or 1)
    return {
        "what": "KSG", "n": n, "d": d,
        "device_s": seconds(lambda: backend.joint_radius_and_counts(tensors, K)),  # type: ignore[arg-type]
        "host_s": seconds(lambda: backend.joint_radius_and_counts([x, y], K)),
        "torch_s": torch_seconds(n, lambda rows: torch_neighbours(tensors, rows)),
        "processor_s": processor_seconds(about, lambda: processor.joint_radius_and_counts([x, y], K)),
        "paper_s": PAPER.get(("KSG", n, d)),
        "floor_s": 2 * n * n * d / ceilings["coordinates"],  # a walk for the radii and one for the counts
    }  # fmt: skip


def kde(n: int, d: int, ceilings: dict[str, float]) -> dict[str, Any]:
    """Log-sums of one Gaussian kernel, float32."""
    points, variance = gaussian(n, d), 0.1 * d
    tensor = torch.from_numpy(points).cuda()
    check_sums(tensor, variance, gaussian_log_sums(tensor, [variance])[0])
    about = n * n * (d + 20) / 2e10 / (os.cpu_count() or 1)
    return {
        "what": "KDE", "n": n, "d": d,
        "device_s": seconds(lambda: gaussian_log_sums(tensor, [variance])),
        "host_s": seconds(lambda: gaussian_log_sums(points, [variance])),
        "torch_s": torch_seconds(n, lambda rows: torch_sums(tensor, rows, variance)),
        "processor_s": processor_seconds(about, lambda: on_processor(points, [variance])),
        "paper_s": PAPER.get(("KDE", n, d)),
        "floor_s": max(n * n * d / ceilings["multiply_adds"], n * n / ceilings["exponentials"]),
    }  # fmt: skip


def gaussian(n: int, d: int, seed: int = 0) -> Any:
    """Independent columns, float32; what is in them changes no time but that of rare insertions."""
    return np.random.default_rng(seed).standard_normal((n, d), np.float32)


# Blocked torch


def torch_neighbours(tensors: list[torch.Tensor], rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Radius and counts of some rows: cdist, topk, strict counts."""
    far = [torch.cdist(block[rows], block, p=math.inf) for block in tensors]
    joint = torch.maximum(far[0], far[1])
    radius = joint.topk(K + 1, dim=1, largest=False).values[:, -1:]  # oneself is the nearest
    return radius[:, 0], torch.stack([(each < radius).sum(dim=1) for each in far])


def torch_sums(points: torch.Tensor, rows: slice, variance: float) -> torch.Tensor:
    """Log-sums of some rows: Gram products and an exponential, in place."""
    square = (points * points).sum(dim=1)
    far = torch.addmm(square[None, :], points[rows], points.T, alpha=-2).add_(square[rows, None])
    return far.mul_(-0.5 / variance).exp_().sum(dim=1).log_()


def torch_seconds(n: int, block: Callable[[slice], Any]) -> float:
    """Seconds that torch takes for all rows, block by block; scaled up where it would take long."""
    step = max(1, min(n, _PAIRS_AT_ONCE // n))
    block(slice(0, step))
    torch.cuda.synchronize()
    started, done = time.perf_counter(), 0
    while done < n and time.perf_counter() - started < _TORCH_SECONDS:
        done_next = min(done + step, n)
        block(slice(done, done_next))
        torch.cuda.synchronize()
        done = done_next
    return (time.perf_counter() - started) * n / done


# Checks


def check_neighbours(tensors: list[torch.Tensor], radius: Any, counts: Any) -> None:
    """Stop unless some rows are right, to the last bit: a fast wrong answer is no answer."""
    some = torch.arange(0, len(radius), max(1, len(radius) // 50), device="cuda")
    far = torch.stack([torch.stack([(b[i] - b).abs().amax(dim=1) for i in some]) for b in tensors])
    expected = far.amax(dim=0).topk(K + 1, dim=1, largest=False).values[:, -1]
    inside = (far < expected[None, :, None]).sum(dim=2) - (expected > 0).long()
    rows = some.cpu().numpy()
    if not np.array_equal(radius[rows], expected.cpu().numpy()) or not np.array_equal(
        counts[:, rows], inside.cpu().numpy()
    ):
        raise SystemExit(f"wrong radii or counts for {len(radius)} rows")


def check_sums(points: torch.Tensor, variance: float, sums: Any) -> None:
    """Stop unless the log-sums of some rows are within their error."""
    some = torch.arange(0, len(points), max(1, len(points) // 50), device="cuda")
    wide = points.double()
    expected = torch.stack([(-(wide[i] - wide).square().sum(dim=1) / (2 * variance)).exp().sum().log() for i in some])
    if np.abs(sums[some.cpu().numpy()] - expected.cpu().numpy()).max() > 1e-5:
        raise SystemExit(f"wrong sums for {len(points)} rows")


# Times


def seconds(call: Callable[[], Any], at_most: float = 3.0) -> float:
    """Median seconds of a call that ends on the host; it was called before."""
    times: list[float] = []
    while len(times) < 2 or (len(times) < 15 and sum(times) < at_most):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
        if times[0] > at_most:
            break
    return statistics.median(times)


def processor_seconds(about: float, call: Callable[[], Any]) -> float | None:
    """Seconds of our processor backend, where that is not long."""
    if about > _PROCESSOR_SECONDS:
        return None
    call()  # compiles
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measured_ceilings(device: Device) -> dict[str, float]:
    """Coordinates of distances, multiply-adds and exponentials a second, float32, in registers."""
    threads, blocks = 256, 8 * device.multiprocessors
    macros = {"REAL_BITS": 32, "IN_REGISTERS": 1, "THREADS": threads, "BLOCKS": 4, "R": 1, "TILE": 32, "DIMS": 1}
    program = Program(str(Path(__file__).with_name("ceilings.cu").resolve()), tuple(macros.items()), flush=True)
    rates = {}
    with device.session(None) as session:
        out, done = session.take(4 * threads * blocks), np.empty(1, np.float32)

        def run(kernel: str, rounds: int) -> float:
            started = time.perf_counter()
            session.launch(program, kernel, (blocks, 1, 1), (rounds, 1e-3, out))
            session.download(out, done)
            return time.perf_counter() - started

        for kernel, rounds in (("coordinates", 20_000), ("multiply_adds", 20_000), ("exponentials", 2_000)):
            run(kernel, 10)
            short = statistics.median(run(kernel, rounds) for _ in range(5))
            long = statistics.median(run(kernel, 2 * rounds) for _ in range(5))
            rates[kernel] = threads * blocks * 64 * rounds / (long - short)  # without what a launch costs
    return rates


# The table

HEADER = (
    f"{'':4}{'n':>10}{'d':>5}{'ours':>12}{'from host':>12}{'torch':>12}{'ratio':>8}{'processor':>12}{'ratio':>8}"
    f"{'of paper':>10}{'of ceiling':>12}"
)


def line(row: dict[str, Any]) -> str:
    """One workload."""
    ours, torch_s, processor, paper = row["device_s"], row["torch_s"], row["processor_s"], row["paper_s"]
    return (
        f"{row['what']:4}{row['n']:>10,}{row['d']:>5}{ours * 1e3:>9.2f} ms{row['host_s'] * 1e3:>9.2f} ms"
        f"{torch_s * 1e3:>9.1f} ms{torch_s / ours:>7.0f}x"
        + (f"{processor * 1e3:>9.0f} ms{processor / ours:>7.0f}x" if processor else f"{'':>12}{'':>8}")
        + (f"{ours / paper:>9.2f}x" if paper else f"{'':>10}")
        + f"{row['floor_s'] / ours:>11.0%}"
    )


if __name__ == "__main__":
    main()
