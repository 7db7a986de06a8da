"""How a question about all pairs is cut for a device: which of the two walks, how many rows a thread, how many shares.

Registers decide. A thread keeps the coordinates of its rows, four distances of each and what the job remembers; the
sum of those and of what addresses take must leave room for several blocks on a multiprocessor, without spilling.
"""

from dataclasses import dataclass

import numpy as np

from miest_kernels.cuda_device import Program, Sizes

MOST_DIMENSIONS = 32  # whose coordinates stay in registers
LONGEST_LIST = 33  # of nearest distances in registers, oneself among them
_BASE = 28  # registers for addresses and counters
_ROOM = 160  # registers of a thread that leave three blocks to a multiprocessor
_TILE_BYTES = 16384  # of shared memory
_FEW_WAVES = 4  # blocks for each multiprocessor below which columns are shared out


@dataclass(frozen=True)
class Shape:
    """A compiled question: rows of a block, columns of a tile, and parts of a block that share a row."""

    program: Program
    rows: int
    tile: int
    parts: int


def shape(
    file: str,
    sizes: Sizes,
    dtype: np.dtype[np.floating],
    dims: int,
    *,
    state: int,
    macros: dict[str, int],
    flush: bool = False,
    whole_rows: bool = False,
    tall: int | None = None,
) -> Shape:
    """Choose a walk.

    Parameters
    ----------
    file : str                  source of the job
    dtype : float32 or float64
    dims : int                  of the walk
    state : int                 32-bit registers that the job keeps for a row
    macros : dict               of the job
    flush : bool                numbers below the normal range become zero
    whole_rows : bool           a row's job must not be shared by threads
    tall : int or None          rows of a thread's pairs, where a job needs registers for more than the distances
    """
    words = dtype.itemsize // 4
    common = {"REAL_BITS": 32 * words, **macros}
    if dims <= MOST_DIMENSIONS:
        rows, need = next(
            (r, need)
            for r in (4, 2, 1)
            if (need := words * (r * (dims + 4) + 8) + r * state + _BASE) <= _ROOM or r == 1
        )
        tile = sizes.tile
        while tile * dims * dtype.itemsize > _TILE_BYTES and tile > 32:
            tile //= 2
        blocks = max(1, min(8, sizes.registers // (sizes.threads * (need + 8))))  # 8 more, to be sure
        own = {"IN_REGISTERS": 1, "THREADS": sizes.threads, "BLOCKS": blocks, "R": rows, "TILE": tile, "DIMS": dims}
        return Shape(Program(file, tuple((common | own).items()), flush), rows * sizes.threads, tile, 1)
    side, high, wide = sizes.side, tall or sizes.tall // words, sizes.wide // words
    if whole_rows:
        side = min(side, 8)
        high = max(high, side)
    threads, rows, tile = side * side, side * high, side * wide
    own = {
        "IN_REGISTERS": 0,
        "THREADS": threads,
        "BLOCKS": 1 if words == 2 and (state > 32 or tall or whole_rows) else 2,
        "R": max(1, rows // threads),
        "TILE": tile,
        "SIDE": side,
        "TALL": high,
        "WIDE": wide,
        "SLAB": sizes.slab,
    }
    return Shape(Program(file, tuple((common | own).items()), flush), rows, tile, max(1, threads // rows))


def shares(blocks: int, tiles: int, multiprocessors: int) -> int:
    """Into how many shares to cut the tiles, so that every multiprocessor has work and all end together.

    Parameters
    ----------
    blocks : int                of rows, over all sets of points
    tiles : int                 of columns
    """
    if blocks >= 32 * multiprocessors:
        return 1

    def idle(count: int) -> float:
        waves = -(-blocks * count // multiprocessors)
        return round(1 - blocks * count / (waves * multiprocessors), 1)

    wanted = min(tiles, -(-_FEW_WAVES * multiprocessors // blocks))
    counts = {-(-tiles // each) for each in range(1, tiles // wanted + 1)}  # whole tiles to each share
    return min((count for count in counts if count <= 4 * wanted), key=lambda count: (idle(count), count))
