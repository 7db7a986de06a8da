"""Backends by name. A named backend that cannot run raises; only "auto" chooses, and says what it chose."""

import math
import os
from collections.abc import Callable

from miest_kernels.contract import Neighbours


def _reference() -> Neighbours:
    from miest_kernels.reference import Reference

    return Reference()


def _kdtree() -> Neighbours:
    from miest_kernels.kdtree import KDTree

    return KDTree()


def _cpu() -> Neighbours:
    from miest_kernels.cpu_brute import Brute

    return Brute()


def _tree() -> Neighbours:
    from miest_kernels.cpu_tree import Tree

    return Tree()


def _cuda() -> Neighbours:
    from miest_kernels.cuda import Cuda

    return Cuda()


def _faiss() -> Neighbours:
    from miest_kernels.faiss_index import Faiss

    return Faiss()


BACKENDS: dict[str, Callable[[], Neighbours]] = {
    "cpu": _cpu,
    "cuda": _cuda,
    "faiss": _faiss,
    "kdtree": _kdtree,
    "reference": _reference,
    "tree": _tree,
}

_WORTH_A_LOOK = 0.5  # seconds on the processor from which a device is looked for


def neighbours(name: str = "auto", *, n: int = 0, d: int = 0, on_device: bool = False) -> Neighbours:
    """Backend by name; "auto" chooses for n rows of d joint dimensions.

    Parameters
    ----------
    name : str
    n, d : int                  rows, and columns of all blocks together
    on_device : bool            whether the rows live on a CUDA device already: "auto" then takes "cuda", if it can run

    Raises
    ------
    ValueError
        if there is no backend of that name
    ImportError
        if the named backend cannot run here; the message says what it needs
    """
    if name == "auto":
        name = _choice(n, d, on_device)
    if name not in BACKENDS:
        raise ValueError(f"neighbours={name!r} is not one of {', '.join(map(repr, ['auto', *BACKENDS]))}.")
    return BACKENDS[name]()


def unavailable(name: str) -> str | None:
    """Why the named backend cannot run here, or None where it can."""
    try:
        neighbours(name)
    except ImportError as error:
        return str(error)
    return None


def prefers_cuda(seconds: float, pair_dims: float, *, on_device: bool) -> bool:
    """Whether a device should do work that takes so many seconds on the processor.

    Parameters
    ----------
    seconds : float             on this processor, about
    pair_dims : float           coordinates that are compared, over all pairs and walks
    on_device : bool            whether the data live there
    """
    if not on_device and seconds < _WORTH_A_LOOK:
        return False
    try:
        from miest_kernels.cuda_device import open_device

        device = open_device(0)
    except ImportError:
        return False
    # Half of the rate that the instructions of the kernels allow, 64 coordinates a clock and multiprocessor at
    # 1.7 GHz, and a hundredth of a second for the way there and back.
    return on_device or 2 * (pair_dims / (device.multiprocessors * 64 * 0.85e9) + 0.01) < seconds


COSTS = {"cpu": (2.857e-19, 1.216e-09, 1.41e-06), "tree": (-14.22, -0.07982, 0.02322)}
"""Fitted by ``kernels/bench/costs.py``, on a machine of `_THREADS` threads."""
_THREADS = 2
_FEWEST_FITTED = 1000  # rows; with fewer the fit would have the tree gain by every dimension


def seconds_by(name: str, n: int, d: int) -> float:
    """What "cpu" and "tree" take for the radii and counts of n rows in d joint dimensions, about, where it was fitted.

    ``n^1.5 (a + b d) + c n`` by brute force, which leaves out the more pairs the more rows there are, and
    ``n exp(a + b d + c d ln n)`` by the tree.
    """
    a, b, c = COSTS[name]
    if name == "cpu":
        return math.sqrt(n) * n * (a + b * d) + c * n
    return n * math.exp(min(a + b * d + c * d * math.log(max(n, _FEWEST_FITTED)), 50.0))


def _choice(n: int, d: int, on_device: bool) -> str:
    costs = {name: seconds_by(name, n, d) for name in COSTS}
    name = min(costs, key=lambda each: costs[each])
    pair_dims = float(n) * n * (2 * d + 3)  # one walk for the radii and one for the counts
    seconds = costs[name] * _THREADS / (os.cpu_count() or 1)
    return "cuda" if prefers_cuda(seconds, pair_dims, on_device=on_device) else name
