"""Times the kernels against peers and hand-written baselines: a table, a JSON, a roofline picture.

    python kernels/bench/bench.py --out kernels/bench/results [--only PATTERN]

Every comparison is interleaved with our call in one process, a round of each in turn, and quoted as the ratio of
medians. The ceilings (multiply-add rate, read bandwidth) are measured in the same run. Peak memory is taken in a
process of its own.
"""

import argparse
import contextlib
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from datetime import date
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ceilings import multiply_add_rate, read_rate
from rich.console import Console
from rich.table import Table
from workloads import Comparison, Workload, workloads


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("kernels/bench/results"))
    parser.add_argument("--only", default="*", help="workloads whose name matches this pattern")
    parser.add_argument("--memory-of", help="internal: peak memory of one workload, MB above its data")
    options = parser.parse_args()
    if options.memory_of:
        print(_memory_here(next(w for w in workloads() if w.name == options.memory_of)))
        return
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    ceilings = {"multiply_adds_per_second": multiply_add_rate(), "bytes_read_per_second": read_rate()}
    rows = []
    for workload in workloads():
        if fnmatch(workload.name, options.only):
            rows += _measure(workload, ceilings)
            Console().print(f"{workload.name}: done")
    report = {
        "date": date.today().isoformat(),
        "machine": _machine(),
        "threads": len(os.sched_getaffinity(0)),
        "ceilings": ceilings,
        "rows": rows,
    }
    Console(width=160).print(_table(rows))
    if options.only == "*":
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "cpu.json").write_text(json.dumps(report, indent=1) + "\n")
        _roofline(report, options.out / "roofline.png")


def _measure(workload: Workload, ceilings: dict[str, float]) -> list[dict[str, Any]]:
    data = workload.data()
    answer = workload.ours(*data)  # compiles, and warms the caches
    ours: list[float] = []
    theirs: dict[str, list[float]] = {c.name: [] for c in workload.against}
    for turn in range(workload.repeats):
        ours.append(_seconds(workload.ours, data))
        for comparison in workload.against:
            if turn < comparison.repeats:
                theirs[comparison.name].append(_seconds(comparison.call, data))
    for comparison in workload.against:
        _agree(workload, comparison, answer, comparison.call(*data) if comparison.repeats > 2 else None)
    memory = _memory(workload.name)
    median = statistics.median(ours)
    return [
        {
            "workload": workload.name,
            "against": comparison.name,
            "ours_s": median,
            "ours_spread": [min(ours), max(ours)],
            "theirs_s": statistics.median(theirs[comparison.name]),
            "theirs_spread": [min(theirs[comparison.name]), max(theirs[comparison.name])],
            "ratio": statistics.median(theirs[comparison.name]) / median,
            "required": comparison.required,
            "aim": comparison.aim,
            "of_ceiling": _of_ceiling(workload, median, ceilings),
            "pair_dims": workload.pair_dims,
            "flops": workload.flops,
            "bytes": workload.bytes,
            "memory_mb": memory,
        }
        for comparison in workload.against
    ]


def _seconds(call: Any, data: tuple[Any, ...]) -> float:
    start = time.perf_counter()
    call(*data)
    return time.perf_counter() - start


def _agree(workload: Workload, comparison: Comparison, ours: Any, theirs: Any) -> None:
    """Raise if the answers differ: a fast wrong answer is no answer."""
    if theirs is None:
        return
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    scale = np.maximum(np.abs(b), 1.0)
    if (np.abs(a - b) / scale).max() > comparison.tolerance:
        raise SystemExit(f"{workload.name}: ours gives {ours}, {comparison.name} gives {theirs}")


def _of_ceiling(workload: Workload, seconds: float, ceilings: dict[str, float]) -> float | None:
    """Share of the fastest that this machine could do the arithmetic, or read the data, that the question needs."""
    rate = ceilings["multiply_adds_per_second"]
    needed = [
        workload.pair_dims / rate,  # a difference and a maximum, on two of the two pipes that a multiply-add has
        workload.flops / (2 * rate),
        workload.bytes / ceilings["bytes_read_per_second"],
    ]
    return max(needed) / seconds if max(needed) > 0 else None


def _memory(name: str) -> float:
    run = subprocess.run([sys.executable, __file__, "--memory-of", name], capture_output=True, text=True, check=True)
    return float(run.stdout.strip().splitlines()[-1])


def _memory_here(workload: Workload) -> float:
    """Highest resident memory during the second call, above what is held before it; MB, looked at every millisecond."""
    data = workload.data()
    workload.ours(*data)  # compiles, which takes memory of its own
    with contextlib.suppress(AttributeError, OSError):  # glibc keeps what the first call has freed
        ctypes.CDLL(None).malloc_trim(0)
    before, peak, running = _resident(), [0], threading.Event()

    def watch() -> None:
        while not running.wait(0.001):
            peak[0] = max(peak[0], _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    workload.ours(*data)
    running.set()
    watcher.join()
    return max(0, peak[0] - before) / 2**20


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="medians of interleaved repeats")
    for column in ("workload", "against", "ours", "theirs", "ratio", "required", "aim", "of ceiling", "memory"):
        table.add_column(column, justify="left" if column in ("workload", "against") else "right")
    for row in rows:
        share = row["of_ceiling"]
        table.add_row(
            row["workload"],
            row["against"],
            f"{row['ours_s']:.4g} s",
            f"{row['theirs_s']:.4g} s",
            f"{row['ratio']:.1f}x",
            f"{row['required']:g}x",
            f"{row['aim']:g}x",
            "" if share is None else f"{share:.0%}",
            f"{row['memory_mb']:.0f} MB",
        )
    return table


def _roofline(report: dict[str, Any], path: Path) -> None:
    """Achieved rate of each workload against its arithmetic intensity, under the two measured ceilings."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    peak = 2 * report["ceilings"]["multiply_adds_per_second"] / 1e9
    bandwidth = report["ceilings"]["bytes_read_per_second"] / 1e9
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    intensity = np.geomspace(0.05, 1e6, 200)
    axes.plot(intensity, np.minimum(peak, bandwidth * intensity), color="black", lw=1.2, label="measured ceilings")
    seen = set()
    for row in report["rows"]:
        work = 2 * row["pair_dims"] + row["flops"] or row["bytes"] / 4 * 3
        if row["workload"] in seen or not work:
            continue
        seen.add(row["workload"])
        read = row["bytes"] or np.sqrt(work)  # all-pairs work reads O(n d) and computes O(n^2 d)
        axes.plot(work / read, work / row["ours_s"] / 1e9, "o", label=row["workload"])
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="operations for each byte that must be read",
        ylabel="10⁹ operations a second",
        title=f"{report['machine']}, {report['threads']} threads, {report['date']}",
    )
    axes.legend(fontsize=7, loc="lower right")
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
