"""What every neighbour backend promises; one parametrised test checks it (tests/kernels/test_contract.py).

Points are rows. A *block* is an (n, d) array of one dtype, float32 or float64: the coordinates of one
variable, or of several side by side. The distance of two rows is the max-norm of their difference, over one
block or over several blocks jointly::

    d(i, j) = max over blocks b and columns c of |b[i, c] - b[j, c]|

and is computed in that dtype: one subtraction, one absolute value, one maximum, in no particular order.
So every backend gets the same bits, a distance measured for the radius equals the same distance measured for the
count, and strict ``<`` needs no epsilon. Row i is never its own neighbour, by index: a duplicate of row i is a
neighbour at distance zero.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MOST_ROWS = 2**31 - 1  # the backends number them by int32

Block = NDArray[np.floating]
"""(n, d) float32 or float64, C-contiguous; never written to."""


class Neighbours(ABC):
    """Max-norm neighbour distances and counts of all rows among themselves."""

    name: str

    @abstractmethod
    def kth_radius(self, blocks: Sequence[Block], k: int) -> NDArray[np.floating]:
        """Distance of each row to its k-th nearest other row, under the joint max-norm of the blocks.

        Parameters
        ----------
        blocks : sequence of (n, d_b) arrays
        k : int, 1 <= k < n

        Returns
        -------
        (n,) array in the dtype of the blocks
        """

    @abstractmethod
    def count_within(self, block: Block, radius: NDArray[np.floating], *, closed: bool = False) -> NDArray[np.intp]:
        """Number of other rows nearer than ``radius[i]`` to row i: ``<``, or ``<=`` with ``closed``.

        Parameters
        ----------
        block : (n, d) array
        radius : (n,) array in the dtype of the block
        closed : bool

        Returns
        -------
        (n,) intp
        """

    @abstractmethod
    def reach_within(self, blocks: Sequence[Block], radius: NDArray[np.floating]) -> NDArray[np.floating]:
        """Largest distance within each single block, over the other rows at joint distance ``<= radius[i]``.

        With ``radius = kth_radius(blocks, k)`` and no ties these are the per-marginal radii of the second
        estimator of Kraskov et al. (2004); ties are all included, so the answer depends on no order of rows.

        Returns
        -------
        (len(blocks), n) array in the dtype of the blocks; 0 where no other row is within the radius
        """

    def joint_radius_and_counts(self, blocks: Sequence[Block], k: int) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
        """k-th joint radius, and in each block the number of other rows strictly nearer than it.

        Backends override this to fuse the two passes.

        Returns
        -------
        radius : (n,) array in the dtype of the blocks
        counts : (len(blocks), n) intp
        """
        radius = self.kth_radius(blocks, k)
        return radius, np.stack([self.count_within(block, radius) for block in blocks])


def check_blocks(blocks: Sequence[Block], k: int | None = None) -> tuple[int, np.dtype[np.floating]]:
    """Rows and dtype of the blocks; raise where the contract is broken.

    Raises
    ------
    ValueError
        if there is no block, shapes or dtypes differ, there are 2^31 rows or more, or k is outside [1, n - 1]
    """
    if not blocks:
        raise ValueError("no blocks were given: pass at least one (n, d) array.")
    n, dtype = blocks[0].shape[0], blocks[0].dtype
    if n > _MOST_ROWS:
        raise ValueError(f"{n:,} rows are more than {_MOST_ROWS:,}, which can be numbered: pass a part of them.")
    for block in blocks:
        if block.ndim != 2 or block.shape[0] != n or block.shape[1] == 0:
            raise ValueError(f"blocks must all be (n, d) with n={n} and d >= 1, got {block.shape}.")
        if block.dtype != dtype or dtype not in (np.float32, np.float64):
            raise ValueError(f"blocks must share float32 or float64, got {dtype} and {block.dtype}.")
    if k is not None and not 1 <= k < n:
        raise ValueError(f"k={k} needs at least {k + 1} rows and k >= 1, got {n} rows.")
    return n, dtype
