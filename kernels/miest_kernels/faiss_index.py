"""Nearest neighbours by a faiss index, counts by our own kernels: faiss has no range search on a GPU.

faiss computes in float32. For float32 data its max-norm is the contract's, to the bit. For float64 data it proposes
candidates, whose distances are computed again in float64; where its rounding could hide a nearer row, the row is
searched directly. So a flat index is exact under the contract in either dtype. An inverted file looks through part of
the data only: it is not `exact`, and `recall` measures what it finds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miest_kernels.contract import Block, Neighbours, check_blocks
from miest_kernels.registry import neighbours

Norm = Literal["max", "euclidean"]

_SPARE = 8  # candidates beyond the k-th, so that rounding rarely matters
_ROWS_AT_ONCE = 65_536
_PAIRS_AT_ONCE = 4_000_000
_ROWS_OF_RECALL = 200
_MOST_ON_GPU = 2048  # neighbours that faiss finds on a GPU


@dataclass(frozen=True, kw_only=True)
class Faiss(Neighbours):
    """k-th distances from a faiss index, on a GPU where this build of faiss has one.

    Parameters
    ----------
    index : "flat" or "ivf"     all rows, or an inverted file: only the rows in the cells nearest to the query
    cells : int or None         of the inverted file; None: the square root of n
    probes : int                cells that are looked through

    Raises
    ------
    ImportError
        if faiss is not installed
    ValueError
        if a setting is out of range

    Notes
    -----
    Cost: O(n^2 d) for "flat"; for the max-norm faiss has no fast path on the processor, where "cpu" takes a hundredth
    of its time. About O(n^1.5 probes d) for "ivf".
    Source: Johnson, Douze, Jegou (2019), doi:10.1109/TBDATA.2019.2921572.
    """

    index: Literal["flat", "ivf"] = "flat"
    cells: int | None = None
    probes: int = 8
    name = "faiss"

    def __post_init__(self) -> None:
        if self.index not in ("flat", "ivf"):
            raise ValueError(f"index={self.index!r} is not one of 'flat', 'ivf'.")
        if self.probes < 1 or (self.cells is not None and self.cells < 1):
            raise ValueError(f"cells={self.cells} and probes={self.probes} must be at least 1.")
        if find_spec("faiss") is None:
            raise ImportError("neighbours='faiss' needs faiss: pip install 'miest[faiss]', or use neighbours='cpu'.")

    @property
    def exact(self) -> bool:
        """Whether the nearest neighbours are found for certain."""
        return self.index == "flat"

    def kth_radius(self, blocks: Sequence[Block], k: int) -> NDArray[np.floating]:
        """See `Neighbours.kth_radius`."""
        return self.kth_distance(blocks, k, norm="max")

    def kth_distance(self, blocks: Sequence[Block], k: int, *, norm: Norm = "max") -> NDArray[np.floating]:
        """Distance of each row to its k-th nearest other row, all blocks together.

        Parameters
        ----------
        blocks : sequence of (n, d_b) arrays
        k : int, 1 <= k < n
        norm : "max" or "euclidean"

        Returns
        -------
        (n,) array in the dtype of the blocks

        Raises
        ------
        ValueError
            if the contract is broken

        Notes
        -----
        Error: none for "max" and a flat index. Euclidean distances are computed again from differences; which row is
        the k-th is decided in float32. Rows of which an inverted file finds fewer than k neighbours are searched
        directly.
        """
        points = _joint(blocks, k)
        out = np.empty(len(points), points.dtype)
        for start, found, beyond in self._search(points, k, norm):
            rows = np.arange(start, start + len(found))
            distance = _distances(points, rows, found, norm)
            distance[found == rows[:, None]] = np.inf  # not oneself
            radius = np.partition(distance, k - 1, axis=1)[:, k - 1]
            open_ = np.isinf(radius)
            if self.exact and norm == "max":
                open_ |= radius > beyond
            radius[open_] = _direct(points, rows[open_], k, norm)
            out[rows] = radius
        return out

    def count_within(self, block: Block, radius: NDArray[np.floating], *, closed: bool = False) -> NDArray[np.intp]:
        """See `Neighbours.count_within`."""
        return _counter([block]).count_within(block, radius, closed=closed)

    def reach_within(self, blocks: Sequence[Block], radius: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Neighbours.reach_within`."""
        return _counter(blocks).reach_within(blocks, radius)

    def recall(self, blocks: Sequence[Block], k: int) -> float:
        """Share of the k nearest neighbours that the index finds, over some rows at even steps.

        Parameters
        ----------
        blocks, k : as `kth_radius`

        Returns
        -------
        float
            1 for a flat index
        """
        points = _joint(blocks, k)
        if self.exact:
            return 1.0
        some = np.unique(np.linspace(0, len(points) - 1, _ROWS_OF_RECALL).astype(np.intp))
        true = _direct(points, some, k, "max")
        shares = []
        for start, found, _ in self._search(points, k, "max", some):
            rows = some[start : start + len(found)]
            distance = _distances(points, rows, found, "max")
            distance[found == rows[:, None]] = np.inf
            hits = (distance <= true[start : start + len(found), None]).sum(axis=1)
            shares.append(np.minimum(hits, k) / k)
        return float(np.concatenate(shares).mean())

    def _search(
        self, points: Block, k: int, norm: Norm, rows: NDArray[np.intp] | None = None
    ) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.floating]]]:
        """Candidates of rows, from the given one on, and the distance below which there can be no other."""
        import faiss  # its two builds differ in what they hold, and it has no types to rely on

        n, d = points.shape
        wanted = min(n, k + 1 + (_SPARE if points.dtype == np.float64 or norm == "euclidean" else 0))
        single, scale, error = _single(points)
        metric = faiss.METRIC_Linf if norm == "max" else faiss.METRIC_L2
        index: Any = faiss.IndexFlat(d, metric)
        if self.index == "ivf":
            cells = min(n, self.cells or max(1, round(n**0.5)))
            index = faiss.IndexIVFFlat(index, d, cells, metric)
            index.cp.min_points_per_centroid = 1  # fewer than it likes make a poorer index, not a wrong one
            index.nprobe = min(cells, self.probes)
            index.train(single)
        elif getattr(faiss, "StandardGpuResources", None) and faiss.get_num_gpus() and wanted <= _MOST_ON_GPU:
            index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
        index.add(single)
        queries = single if rows is None else single[rows]
        for start in range(0, len(queries), _ROWS_AT_ONCE):
            distance, found = index.search(queries[start : start + _ROWS_AT_ONCE], wanted)
            beyond = np.full(len(found), np.inf)
            if wanted < n:
                beyond = (distance[:, -1].astype(np.float64) - error) / scale
            yield start, found.astype(np.intp), beyond


def _joint(blocks: Sequence[Block], k: int) -> Block:
    check_blocks(blocks, k)
    return np.ascontiguousarray(np.hstack(blocks))


def _counter(blocks: Sequence[Block]) -> Neighbours:
    return neighbours("auto", n=len(blocks[0]), d=sum(block.shape[1] for block in blocks))


def _single(points: Block) -> tuple[NDArray[np.float32], float, float]:
    """Points in float32, the factor they were multiplied by, and the largest error of one of their distances."""
    if points.dtype == np.float32:
        return points, 1.0, 0.0
    middle = points.mean(axis=0)
    shifted = points - middle
    largest = float(np.abs(shifted).max())
    scale = 1.0 if largest == 0 else float(np.ldexp(1.0, min(1000, -np.frexp(largest)[1])))  # coordinates come below 1
    shift = 2.0**-52 * float(np.abs(points).max()) * scale
    return (shifted * scale).astype(np.float32), scale, 2.0**-22 + 4 * shift


def _distances(points: Block, rows: NDArray[np.intp], others: NDArray[np.intp], norm: Norm) -> NDArray[np.floating]:
    """Distance of each row to some others, in the dtype of the points; -1 stands for none."""
    out = np.zeros(others.shape, points.dtype)
    for column in points.T:
        gap = np.abs(column[rows, None] - column[others])
        out = np.maximum(out, gap) if norm == "max" else out + gap * gap
    if norm == "euclidean":
        out = np.sqrt(out)
    out[others < 0] = np.inf
    return out


def _direct(points: Block, rows: NDArray[np.intp], k: int, norm: Norm) -> NDArray[np.floating]:
    """k-th distance of some rows, by all their distances."""
    out, step = np.empty(len(rows), points.dtype), max(1, _PAIRS_AT_ONCE // len(points))
    everyone = np.arange(len(points))[None, :]
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        distance = _distances(points, some, np.broadcast_to(everyone, (len(some), len(points))), norm)
        distance[np.arange(len(some)), some] = np.inf  # not oneself
        out[start : start + step] = np.partition(distance, k - 1, axis=1)[:, k - 1]
    return out
