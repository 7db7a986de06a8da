"""Max-norm neighbours on a CUDA device: every distance twice, once for the radius and once for the counts.

A distance is cheap to compute again and dear to keep: n^2 of them would pass through memory. So one walk over the
pairs finds the k smallest of each row, up to k = 32 in registers, and another counts in each block; both run on the
device with nothing coming back in between. Distances are the contract's, one subtraction, one absolute value and one
maximum, so that radii and counts equal the reference's in float64 and in float32.

Arrays that live on a device are read in place, in the order of the caller's current stream; host arrays, memory maps
too, pass through in chunks. Results are host arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from miest_kernels.contract import Block, Neighbours, check_blocks
from miest_kernels.cuda_device import Device, open_device
from miest_kernels.cuda_pairs import Chunks, Packed, Pairs, Source, opened, sources
from miest_kernels.cuda_plan import LONGEST_LIST

_SETS_BYTES = 256 * 2**20  # of permuted points at a time; changes no result


@dataclass(frozen=True, kw_only=True)
class Cuda(Neighbours):
    """All pairs on a CUDA device: O(n^2 d) time, O(n) memory.

    Parameters
    ----------
    device : int or None        number of the device; None: where the data are, or 0
    memory : int or None        bytes of the device that points may take, None: half of what is free; larger data pass
                                through in chunks. Changes no result

    Raises
    ------
    ImportError
        if there is no such device, or neither cuda-core nor CuPy to reach it

    Notes
    -----
    Blocks and radii may be arrays on the device: of torch, CuPy, or of anything with ``__cuda_array_interface__`` or
    DLPack.
    """

    device: int | Device | None = None
    memory: int | None = None
    name = "cuda"

    def __post_init__(self) -> None:
        if not isinstance(self.device, Device):
            open_device(self.device or 0)

    def kth_radius(self, blocks: Sequence[Block], k: int) -> NDArray[np.floating]:
        """See `Neighbours.kth_radius`."""
        arrays, n, dtype = _checked(blocks, k)
        radius = np.empty(n, dtype)
        with opened(self.device, arrays) as pairs:
            chunks = self._chunks(pairs, arrays, n, k)
            for rows in chunks:
                found = pairs.nearest(rows, chunks, k)
                radius[rows.rows] = pairs.host(found, rows)[0]
                pairs.session.give_back(found)
        return radius

    def count_within(self, block: Block, radius: NDArray[np.floating], *, closed: bool = False) -> NDArray[np.intp]:
        """See `Neighbours.count_within`."""
        arrays, n, _ = _checked([block])
        (limits,) = sources([radius])
        count = np.empty(n, np.intp)
        with opened(self.device, [*arrays, limits]) as pairs:
            chunks = self._chunks(pairs, arrays, n)
            for rows in chunks:
                limit = pairs.numbers(limits, rows)
                (found,) = pairs.within(rows, chunks, [(0, rows.dims)], [limit], closed=closed)
                count[rows.rows] = pairs.host(found, rows, np.uint32)[0]
                # Oneself was met at distance zero.
                mine = pairs.host(limit, rows)[0]
                count[rows.rows] -= mine >= 0 if closed else mine > 0
                pairs.session.give_back(limit)
                pairs.session.give_back(found)
        return count

    def reach_within(self, blocks: Sequence[Block], radius: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Neighbours.reach_within`; one walk for each block."""
        arrays, n, dtype = _checked(blocks)
        (limits,) = sources([radius])
        reach = np.empty((len(blocks), n), dtype)
        with opened(self.device, [*arrays, limits]) as pairs:
            for b in range(len(arrays)):
                chunks = self._chunks(pairs, [*arrays[b:], *arrays[:b]], n)  # the block that is asked about comes first
                for rows in chunks:
                    limit = pairs.numbers(limits, rows)
                    found = pairs.reach(rows, chunks, arrays[b].shape[1], limit)
                    reach[b, rows.rows] = pairs.host(found, rows)[0]
                    pairs.session.give_back(limit)
                    pairs.session.give_back(found)
                chunks.close()
        return reach

    def joint_radius_and_counts(self, blocks: Sequence[Block], k: int) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
        """See `Neighbours.joint_radius_and_counts`; the radii stay on the device for the counts."""
        arrays, n, dtype = _checked(blocks, k)
        radius, counts = np.empty(n, dtype), np.empty((len(blocks), n), np.intp)
        with opened(self.device, arrays) as pairs:
            chunks = self._chunks(pairs, arrays, n, k)
            for rows in chunks:
                found = _radius_and_counts(pairs, rows, chunks, _spans(arrays), k)
                radius[rows.rows], counts[:, rows.rows] = found[0][0], found[1][0]
        return radius, counts

    def permuted_radius_and_counts(
        self, x: Block, y: Block, k: int, permutations: NDArray[np.intp]
    ) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
        """k-th joint radius and strict counts of ``[x, y[p]]`` for every permutation p.

        Parameters and results are those of `permuted.permuted_radius_and_counts`.

        Notes
        -----
        Cost: that of `joint_radius_and_counts` for each permutation; several fill the device side by side where there
        are few rows. The points are uploaded once.
        """
        arrays, n, dtype = _checked([x, y], k)
        permutations = np.asarray(permutations)
        if permutations.ndim != 2 or permutations.shape[1] != n:
            raise ValueError(f"permutations must be (m, {n}) for {n} rows, got {permutations.shape}.")
        if not np.array_equal(np.sort(permutations, axis=1), np.broadcast_to(np.arange(n), permutations.shape)):
            raise ValueError(f"each row of permutations must hold 0 to {n - 1} once.")
        m, spans, dims = len(permutations), _spans(arrays), arrays[0].shape[1] + arrays[1].shape[1]
        radius, counts = np.empty((m, n), dtype), np.empty((m, 2, n), np.intp)
        at_once = max(1, min(_SETS_BYTES, self.memory or _SETS_BYTES) // (n * (dims * dtype.itemsize + _state(2, k))))
        with opened(self.device, arrays) as pairs:
            for first in range(0, m, at_once if k < LONGEST_LIST else 1):
                some = permutations[first : first + (at_once if k < LONGEST_LIST else 1)]
                rows = pairs.room(n, dims, sets=len(some))
                order = pairs.session.uploaded(some.astype(np.int64))
                pairs.put(rows.some(*spans[0]), arrays[0], 0, n, apart=rows.apart)
                pairs.put(rows.some(*spans[1]), arrays[1], 0, n, order, apart=rows.apart)
                chunks = Chunks.of(pairs.session, rows)
                found = _radius_and_counts(pairs, rows, chunks, spans, k)
                radius[first : first + len(some)], counts[first : first + len(some)] = found
                pairs.session.give_back(order)
                chunks.close()
        return radius, counts

    def _chunks(self, pairs: Pairs, arrays: Sequence[Source], n: int, k: int = 0) -> Chunks:
        dims = sum(array.shape[1] for array in arrays)
        rows = pairs.rows_at_once(n, dims, _state(len(arrays), k), self.memory)
        return Chunks(pairs.session, n, rows, lambda start, stop: pairs.pack(arrays, start, stop))


def _checked(blocks: Sequence[Block], k: int | None = None) -> tuple[list[Source], int, np.dtype[np.floating]]:
    arrays = sources(blocks)
    n, dtype = check_blocks(arrays, k)  # type: ignore[arg-type]
    return arrays, n, dtype


def _spans(arrays: Sequence[Source]) -> list[tuple[int, int]]:
    """Where each block lies among the joint dimensions."""
    edges = np.cumsum([0, *(array.shape[1] for array in arrays)]).tolist()
    return list(pairwise(edges))


def _state(blocks: int, k: int) -> int:
    """Bytes a row that the lists and counts of some shares take, about."""
    return 4 * (8 * (k + 1) + 4 * blocks)


def _radius_and_counts(
    pairs: Pairs, rows: Packed, chunks: Chunks, spans: Sequence[tuple[int, int]], k: int
) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
    """Radii (sets, rows) and counts (sets, blocks, rows)."""
    limit = pairs.nearest(rows, chunks, k)
    found = pairs.within(rows, chunks, spans, [limit] * len(spans), closed=False)
    radius = pairs.host(limit, rows)
    counts = np.stack([pairs.host(count, rows, np.uint32) for count in found], axis=1).astype(np.intp)
    for address in (limit, *found):
        pairs.session.give_back(address)
    return radius, counts - (radius > 0)[:, None]  # oneself was met at distance zero
