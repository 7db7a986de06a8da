"""The workloads that are timed: data, our call, what it is compared with, and how much work it is.

Required and aimed-at ratios are against each comparison, on two AVX-512 threads with k = 3 and float32 data.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import baselines
import numpy as np

import miest
from miest_kernels.correlation import correlation_sums
from miest_kernels.permuted import permuted_radius_and_counts
from miest_kernels.registry import neighbours
from miest_kernels.rows import binned_row_counts

K = 3
Call = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Something else that answers the question of a workload."""

    name: str
    call: Call
    required: float
    aim: float
    tolerance: float  # largest difference of the answers that is no error: jitter, float32 radii, other ties
    repeats: int = 5


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One row group of the benchmark: our call on some data, and its comparisons."""

    name: str
    data: Callable[[], tuple[Any, ...]]
    ours: Call
    against: tuple[Comparison, ...]
    repeats: int = 9
    pair_dims: float = 0.0  # max-norm work: pairs times columns
    flops: float = 0.0  # arithmetic of distances
    bytes: float = 0.0  # data read at least once
    options: dict[str, Any] = field(default_factory=dict)


def gaussian(n: int, dx: int, dy: int, dtype: type = np.float32) -> tuple[Any, Any]:
    """Pairs with correlation 0.9 (one column) or 0.6 in the first min(dx, dy) columns."""
    rng = np.random.default_rng(0)
    rho = 0.9 if dx == dy == 1 else 0.6
    x, y = rng.standard_normal((n, dx)), rng.standard_normal((n, dy))
    m = min(dx, dy)
    y[:, :m] = rho * x[:, :m] + np.sqrt(1 - rho**2) * y[:, :m]
    return x.astype(dtype), y.astype(dtype)


def layer(n: int, d: int) -> tuple[Any]:
    """A tanh layer driven by twelve bits: as many distinct rows as there are inputs, each seen many times."""
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2, (n, 12))
    return (np.tanh(bits @ rng.standard_normal((12, d))).astype(np.float32),)


def _ksg(x: Any, y: Any) -> float:
    return miest.KSG(k=K, level=None, checks=False).estimate(x, y).value


def _kde(points: Any) -> tuple[float, float]:
    found = miest.KDE(noise_var=0.1 * points.shape[1]).estimate(points).diagnostics
    return found.upper, found.lower


def _binned(points: Any) -> float:
    counts = binned_row_counts(points, -1.0, 15.0, 30)[1]
    p = counts / len(points)
    return float(-(p * np.log(p)).sum())


RADII = np.geomspace(0.3, 9, 64)
_PERMUTATIONS = np.stack([np.random.default_rng(s).permutation(10_000) for s in range(200)])


def _permutations(x: Any, y: Any) -> int:
    return int(permuted_radius_and_counts(x, y, K, _PERMUTATIONS)[1].sum())


def _single_calls(x: Any, y: Any) -> int:
    backend = neighbours("cpu")
    return sum(int(backend.joint_radius_and_counts([x, y[p]], K)[1].sum()) for p in _PERMUTATIONS)


def _torch_row(n: int, dx: int, dy: int, required: float, aim: float, repeats: int) -> Workload:
    torch = Comparison(
        name="blocked torch, by hand",
        call=lambda x, y: baselines.ksg_torch(x, y, K),
        required=required,
        aim=aim,
        tolerance=2e-3,
        repeats=repeats,
    )
    return Workload(
        name=f"KSG {n:,} x ({dx},{dy})",
        data=lambda: gaussian(n, dx, dy),
        ours=_ksg,
        against=(torch,),
        pair_dims=float(n) * n * (dx + dy),
    )


def workloads() -> list[Workload]:
    """All of them, in the order of the table."""
    scipy_, sklearn_, npeet_ = (
        Comparison(name="scipy KD-tree, by hand", call=lambda x, y: baselines.ksg_scipy(x, y, K), required=15, aim=30,
                   tolerance=2e-3, repeats=3),
        Comparison(name="sklearn mutual_info_regression", call=lambda x, y: baselines.ksg_sklearn(x, y, K),
                   required=40, aim=70, tolerance=5e-3, repeats=2),
        Comparison(name="NPEET", call=lambda x, y: baselines.ksg_npeet(x, y, K), required=45, aim=200,
                   tolerance=5e-3, repeats=2),
    )  # fmt: skip
    ten = _torch_row(10_000, 10, 10, 12, 60, 5)
    return [
        Workload(name="KSG 1,000,000 x (1,1)", data=lambda: gaussian(1_000_000, 1, 1), ours=_ksg,
                 against=(scipy_, sklearn_), bytes=8e6),
        Workload(name=ten.name, data=ten.data, ours=_ksg, against=(*ten.against, npeet_), pair_dims=ten.pair_dims),
        _torch_row(50_000, 10, 10, 60, 190, 2),
        _torch_row(10_000, 64, 10, 30, 95, 3),
        _torch_row(10_000, 784, 10, 40, 110, 2),
        *(
            Workload(
                name=f"KDE both bounds 10,000 x {d}",
                data=lambda d=d: gaussian(10_000, d, 1)[:1],
                ours=_kde,
                against=tuple(
                    Comparison(name=name, call=lambda t, by=by: by(t, 0.1 * t.shape[1]), required=required, aim=aim,
                               tolerance=1e-3)
                    for name, by in (("blocked torch, plain", baselines.kde_torch_plain),
                                     ("blocked torch, one exponential for both", baselines.kde_torch))
                ),
                flops=1e8 * d,  # half the pairs, a multiplication and an addition a column
            )
            for d, required, aim in ((10, 12, 22), (512, 3.5, 5.8))
        ),
        Workload(name="binning and entropy 100,000 x 512", data=lambda: layer(100_000, 512), ours=_binned,
                 against=(Comparison(name="NumPy: cast, void view, unique",
                                     call=lambda t: baselines.binned_entropy_numpy(t, -1.0, 15.0, 30),
                                     required=12, aim=40, tolerance=1e-9),),
                 bytes=100_000 * 512 * 4),
        Workload(name="correlation sum, 64 radii, 20,000 x 10", data=lambda: gaussian(20_000, 10, 1)[:1],
                 ours=lambda t: correlation_sums(t, RADII),
                 against=(Comparison(name="blocked NumPy, by hand",
                                     call=lambda t: baselines.correlation_sums_numpy(t, RADII),
                                     required=35, aim=115, tolerance=2e-3, repeats=2),),
                 flops=3 * 2e8 * 10),
        Workload(name="200 permutations, KSG 10,000 x (10,10)", data=lambda: gaussian(10_000, 10, 10),
                 ours=_permutations,
                 against=(Comparison(name="200 single calls of ours", call=_single_calls, required=3, aim=10,
                                     tolerance=0, repeats=1),),
                 repeats=3),
    ]  # fmt: skip
