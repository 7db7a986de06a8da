"""What tree and brute force cost by rows and joint dimensions: the model by which "auto" chooses between them.

``python kernels/bench/costs.py --out DIR`` times both on Gaussian pairs, fits ::

    brute force     seconds = n^1.5 (a + b d) + c n,   a, b, c >= 0
    tree            ln(seconds / n) = a + b d + c d ln n

by least squares of relative errors, large ones weighed less since some cells meet a busy machine, and writes
``costs.json``. Copy the coefficients to `miest_kernels.registry.COSTS`, where a test compares them. Nothing else should
run meanwhile; some three minutes.
"""

import argparse
import json
import os
from datetime import date
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from scipy.optimize import least_squares

from miest_kernels import neighbours
from miest_kernels.registry import seconds_by

ROWS, DIMENSIONS = (1_000, 3_000, 10_000, 30_000, 100_000), (2, 3, 4, 6, 8, 10, 13, 16, 20)
MOST = 2.0  # seconds that a cell may be expected to take
REPEATS = 5


def timed(name: str, n: int, d: int) -> float:
    """Median seconds of the joint radius and both counts of Gaussian pairs, float32, correlation 0.6, k = 3."""
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((n, d // 2)), rng.standard_normal((n, d - d // 2))
    y = 0.8 * z
    y[:, : d // 2] += 0.6 * x
    blocks, backend = [x.astype(np.float32), y.astype(np.float32)], neighbours(name)
    backend.joint_radius_and_counts(blocks, 3)
    taken = []
    for _ in range(REPEATS):
        started = perf_counter()
        backend.joint_radius_and_counts(blocks, 3)
        taken.append(perf_counter() - started)
    return median(taken)


def fitted(cells: list[tuple[str, int, int, float]]) -> dict[str, list[float]]:
    """Coefficients of each backend, four digits."""
    out = {}
    for name in ("cpu", "tree"):
        n, d, t = (np.array(column, float) for column in zip(*[c[1:] for c in cells if c[0] == name], strict=True))
        if name == "tree":
            terms, aim = np.stack([np.ones_like(n), d, d * np.log(n)], 1), np.log(t / n)
        else:
            terms, aim = np.stack([n**1.5, n**1.5 * d, n], 1) / t[:, None], np.ones_like(t)
        unit = np.abs(terms).max(axis=0)
        least = -np.inf if name == "tree" else 0.0
        start = np.maximum(np.linalg.lstsq(terms / unit, aim, rcond=None)[0], least + 1e-9)
        robust = {"loss": "soft_l1", "f_scale": 0.1, "bounds": (least, np.inf)}
        found = least_squares(_missed, start, args=(terms / unit, aim), **robust).x / unit
        out[name] = [float(f"{value:.4g}") for value in found]
    return out


def _missed(coefficients: np.ndarray, terms: np.ndarray, aim: np.ndarray) -> np.ndarray:
    return terms @ coefficients - aim


def main() -> None:
    """Time, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    folder = parser.parse_args().out
    cells = []
    for name in ("cpu", "tree"):
        for n in ROWS:
            for d in DIMENSIONS:
                if seconds_by(name, n, d) < MOST:
                    cells.append((name, n, d, timed(name, n, d)))
                    print("{} n={} d={}: {:.4f} s, model {:.4f}".format(*cells[-1], seconds_by(name, n, d)), flush=True)
    found = {"date": date.today().isoformat(), "threads": len(os.sched_getaffinity(0)), "costs": fitted(cells)}
    found["cells"] = [list(cell) for cell in cells]
    (folder / "costs.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(found["costs"])


if __name__ == "__main__":
    main()
