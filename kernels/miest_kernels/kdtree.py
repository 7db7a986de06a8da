"""scipy's KD-tree under the contract: the backend of choice in low dimension, without compilation.

scipy works in float64 whatever it is given; float32 blocks are widened first, which is exact, so distances
are those of the exact values rather than of the float32 subtraction: counts may differ from the reference for
pairs within one float32 rounding of the radius.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from miest_kernels.contract import Block, Neighbours, check_blocks


class KDTree(Neighbours):
    """scipy.spatial.cKDTree: O(n log n) in few dimensions, O(n^2) in many or with heavy ties."""

    name = "kdtree"

    def kth_radius(self, blocks: Sequence[Block], k: int) -> NDArray[np.floating]:
        """See `Neighbours.kth_radius`."""
        _, dtype = check_blocks(blocks, k)
        joint = _wide(blocks)
        # The k-th other row is the (k+1)-th row, oneself being one of those at distance zero.
        distance, _ = cKDTree(joint).query(joint, k=[k + 1], p=np.inf, workers=-1)
        return np.asarray(distance, dtype)[:, 0]

    def count_within(self, block: Block, radius: NDArray[np.floating], *, closed: bool = False) -> NDArray[np.intp]:
        """See `Neighbours.count_within`."""
        check_blocks([block])
        points, limit = _wide([block]), radius.astype(np.float64)
        if not closed:
            limit = np.nextafter(limit, -np.inf)  # d < r is d <= the float before r
        tree = cKDTree(points)
        within = tree.query_ball_point(points, limit, p=np.inf, return_length=True, workers=-1)
        return np.asarray(within, np.intp) - (limit >= 0)  # without oneself, counted where the radius is not below 0

    def reach_within(self, blocks: Sequence[Block], radius: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Neighbours.reach_within`."""
        n, dtype = check_blocks(blocks)
        joint = _wide(blocks)
        near = cKDTree(joint).query_ball_point(joint, radius.astype(np.float64), p=np.inf, workers=-1)
        rows = np.repeat(np.arange(n), [len(found) for found in near])
        others = np.concatenate([np.asarray(found, np.intp) for found in near])
        reach = np.zeros((len(blocks), n), dtype)
        for b, block in enumerate(blocks):
            np.maximum.at(reach[b], rows, np.abs(block[rows] - block[others]).max(axis=1))
        return reach


def _wide(blocks: Sequence[Block]) -> NDArray[np.float64]:
    return np.ascontiguousarray(np.hstack(blocks), np.float64)
