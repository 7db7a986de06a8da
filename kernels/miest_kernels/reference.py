"""The oracle: the contract written down in NumPy, a row block at a time, with nothing clever in it."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from miest_kernels.contract import Block, Neighbours, check_blocks

_PAIRS_AT_ONCE = 4_000_000  # distances held in memory; any value gives the same result


class Reference(Neighbours):
    """Every distance of a block of rows to all rows, straight from the definition: O(n^2 d) time."""

    name = "reference"

    def kth_radius(self, blocks: Sequence[Block], k: int) -> NDArray[np.floating]:
        """See `Neighbours.kth_radius`."""
        n, dtype = check_blocks(blocks, k)
        radius = np.empty(n, dtype)
        for rows in _row_blocks(n):
            joint = _joint(blocks, rows)
            joint[np.arange(rows.stop - rows.start), np.arange(rows.start, rows.stop)] = np.inf  # not oneself
            radius[rows] = np.partition(joint, k - 1, axis=1)[:, k - 1]
        return radius

    def count_within(self, block: Block, radius: NDArray[np.floating], *, closed: bool = False) -> NDArray[np.intp]:
        """See `Neighbours.count_within`."""
        n, _ = check_blocks([block])
        count = np.empty(n, np.intp)
        for rows in _row_blocks(n):
            distance, limit = _joint([block], rows), radius[rows, None]
            inside = distance <= limit if closed else distance < limit
            inside[np.arange(rows.stop - rows.start), np.arange(rows.start, rows.stop)] = False  # not oneself
            count[rows] = inside.sum(axis=1)
        return count

    def reach_within(self, blocks: Sequence[Block], radius: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Neighbours.reach_within`."""
        n, dtype = check_blocks(blocks)
        reach = np.empty((len(blocks), n), dtype)
        for rows in _row_blocks(n):
            near = _joint(blocks, rows) <= radius[rows, None]
            for b, block in enumerate(blocks):
                reach[b, rows] = np.where(near, _joint([block], rows), 0).max(axis=1)  # oneself adds 0
        return reach


def _row_blocks(n: int) -> Iterator[slice]:
    step = max(1, _PAIRS_AT_ONCE // n)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _joint(blocks: Sequence[Block], rows: slice) -> NDArray[np.floating]:
    """(rows, n) max-norm distances; column by column, so that memory does not grow with d."""
    distance = np.zeros((rows.stop - rows.start, blocks[0].shape[0]), blocks[0].dtype)
    for block in blocks:
        for column in block.T:
            np.maximum(distance, np.abs(column[rows, None] - column[None, :]), out=distance)
    return distance
