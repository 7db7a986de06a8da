"""Brute force, coarse before fine: pairs are ruled out by bytes (`cpu_codes`), and the few that are left by distance.

A pass over the codes of all columns finds the k nearest neighbours, and each block is then counted with the radius.
Or, where few rows are near in one block alone, the *first*, a pass over its codes does both: the neighbours are among
the rows near in it, which are kept for its count. Blocks in which many rows are within the radius are counted by
`cpu_brute`'s tiles.

The radius so far decides what passes, so that the first panel is compared without codes, and after it
chunks of rows that grow. Every comparison that counts is one of distances in the dtype of the data: the results are
those of `cpu_brute`, bit for bit, whatever the step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from miest_kernels.contract import Block
from miest_kernels.cpu_codes import (
    LEVELS,
    MOST_REACH,
    PANEL,
    WORDS,
    code_tile,
    first_bit,
    reach_of,
    set_bits,
    some_rows,
)
from miest_kernels.cpu_tile import ROWS, replace_first, row_below, row_distance

CHUNK = 16  # panels, at most, between two looks at the radius
_TRIED = 16  # rows that are tried to see whether codes pay
_SLACK = 1.5  # steps beyond a radius that codes let pass, on the whole


def in_rows(block: Block) -> Block:
    """The block with rows of whole 64-byte vectors, one at least, which zeros fill up."""
    lanes = 64 // block.itemsize
    n, d = block.shape
    rows = np.zeros((n, max(1, -(-d // lanes)) * lanes), block.dtype)
    rows[:, :d] = block
    return rows


def radius_plan(
    blocks: Sequence[Block], k: int, *, counted: bool, must: bool = False
) -> tuple[int | None, float] | None:
    """Where to begin, as is quickest by `_COSTS`: the block that leaves fewest rows, or None for all; and the step.

    None in place of both where floats alone are as quick, unless codes `must` be; and where there is no width to code.
    `counted`: each block's count is wanted as well.
    """
    n, tried = len(blocks[0]), _tried(blocks[0])
    near = [distances(in_rows(block), tried) for block in blocks]
    joint = np.maximum.reduce(near)
    joint[np.arange(_TRIED), tried] = np.inf
    radius = np.partition(joint, k - 1, axis=1)[:, k - 1].astype(np.float64)
    steps = [step_for(block, radius) for block in blocks]
    if not all(_codes_by(step) for step in steps):
        return None
    shares = [_share(apart, radius, step) for apart, step in zip(near, steps, strict=True)]
    counts = [_count_cost(block, share) if counted else 0.0 for block, share in zip(blocks, shares, strict=True)]
    first = int(np.argmin(shares))
    columns = sum(block.shape[1] for block in blocks)
    costs: dict[int | None, float] = {
        None: _COSTS.code * columns + _COSTS.list + _COSTS.start / n + sum(counts),
        # The radius shrinks as rows pass, so that over all about twice as many are listed as are near at the end.
        first: _COSTS.code * blocks[first].shape[1]
        + _COSTS.list
        + _COSTS.start / n
        + 2 * _COSTS.kept * shares[first]
        + sum(cost for b, cost in enumerate(counts) if b != first),
    }
    if not counted or len(blocks) == 1:
        del costs[first]
    best = min(costs, key=lambda way: costs[way])
    fine = _COSTS.number * columns * blocks[0].itemsize / 4 + (3 if counted else 2) * _COSTS.read
    if costs[best] + _COSTS.once / n**2 > fine and not must:
        return None
    return best, max(steps) if best is None else steps[best]


def count_step(block: Block, limit: NDArray[np.floating], *, must: bool = False) -> float | None:
    """Step of the codes to count rows within these limits by; None as in `radius_plan`."""
    tried = _tried(block)
    radius = np.maximum(limit[tried].astype(np.float64), 0)
    step = step_for(block, radius)
    if not _codes_by(step):
        return None
    share = _share(distances(in_rows(block), tried), radius, step)
    pays = _code_cost(block, share) + _COSTS.once / len(block) ** 2 < _float_cost(block)
    return step if pays or must else None


def _codes_by(step):
    return 0 < step < np.inf and 1 / step < np.inf


@dataclass(frozen=True)
class _Costs:
    """Work for a pair of rows, in 10^-8 ms; measured at n = 10,000 and 50,000, 4 to 784 columns."""

    number: float = 1.5  # a column's difference as float32
    read: float = 6.0  # of the distances, by a selection or a count
    code: float = 0.6  # a column's difference as bytes
    list: float = 5.0  # of what the codes leave
    sifted: float = 130.0  # times the share of rows left: their distances, for a count
    kept: float = 700.0  # times that share: their distances in the first block and the others, and the count after
    start: float = 1.2e5  # over n: the first panel, which is compared without codes
    once: float = 3e8  # over n^2: rows that are tried, coding


_COSTS = _Costs()


def _count_cost(block, share):
    return min(_float_cost(block), _code_cost(block, share))


def _float_cost(block):
    return _COSTS.number * block.shape[1] * block.itemsize / 4 + _COSTS.read


def _code_cost(block, share):
    return _COSTS.code * block.shape[1] + _COSTS.list + _COSTS.sifted * share


def _share(apart, radius, step):
    """Share of the pairs that codes leave at the radius."""
    with np.errstate(over="ignore"):
        return float((apart < (radius + _SLACK * step)[:, None]).mean())


def _tried(block):
    return np.linspace(0, len(block) - 1, _TRIED).astype(np.intp)


def distances(rows: Block, some: NDArray[np.intp]) -> NDArray[np.floating]:
    """(some, n) max-norm distances of some rows to all."""
    out = np.empty((len(some), len(rows)), rows.dtype)
    _distances(rows.ctypes.data, rows.shape[1] * rows.itemsize // 64, some, rows.dtype.type(-1), out)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _distances(rows, vectors, some, minus_one, out):
    for j in range(out.shape[1]):
        for i in range(some.shape[0]):
            out[i, j] = row_distance(rows + some[i] * vectors * 64, rows + j * vectors * 64, vectors, minus_one)


def step_for(block: Block, radius: NDArray[np.float64]) -> float:
    """Step of the codes: a radius is most of `MOST_REACH`, and the columns, but for their tails, fit `LEVELS`."""
    some = np.sort(some_rows(block), axis=0)
    with np.errstate(over="ignore", invalid="ignore"):  # of columns as wide as floats go: an infinite step
        wide = float((some[-2] - some[1]).max(initial=0.0))
    return max(float(radius.max()) / (0.7 * MOST_REACH), wide / LEVELS)


def nearest_rows(start, stop, codes, first, rest, step, k, counted, portable):
    """Block function: k-th joint distance of rows start to stop, and how many are nearer in the first block."""
    own, queries, group = _own(start, stop, codes)
    radius, count = np.empty(stop - start, first.dtype), np.empty(stop - start, np.intp)
    lanes = 64 // first.itemsize
    sizes = len(first), len(codes), first.shape[1] // lanes, rest.shape[1] // lanes
    addresses = codes.ctypes.data, first.ctypes.data, rest.ctypes.data
    _nearest(
        own, queries, sizes, addresses, step, start, group, k, counted, portable, first.dtype.type(-1), radius, count
    )
    return radius, count


def within_rows(start, stop, codes, rows, step, limit, portable):
    """Block function: how many rows are nearer than the limit of each of rows start to stop."""
    own, queries, group = _own(start, stop, codes)
    count = np.empty(stop - start, np.intp)
    sizes = len(rows), len(codes), rows.shape[1] * rows.itemsize // 64
    _within(
        own,
        queries,
        sizes,
        (codes.ctypes.data, rows.ctypes.data),
        step,
        start,
        group,
        limit[start:stop].copy(),
        portable,
        count,
    )
    return count


def _own(start, stop, codes):
    """Codes of some rows in tiles (tiles, d, ROWS), room for the queries of a group of tiles, and tiles to a group."""
    rows = np.arange(start, start + -(-(stop - start) // ROWS) * ROWS).clip(max=len(codes) * PANEL - 1)
    d = codes.shape[1]
    group = 1 if d <= 32 else 4 if d < 200 else 8
    own = codes[rows // PANEL, :, rows % PANEL].reshape(-1, ROWS, d).transpose(0, 2, 1)
    return np.ascontiguousarray(own), np.empty((group, d, ROWS), np.uint32), group


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(own, queries, sizes, addresses, step, start, group, k, counted, portable, minus_one, radius, count):
    """k-th joint distance of each row, and how many rows are nearer than that in the first block."""
    n, panels, first_vectors, rest_vectors = sizes
    codes, first, rest = addresses
    height = group * ROWS
    best = np.empty((height, k), radius.dtype)
    kept, number = np.empty((height, n + 1), np.int32), np.zeros(height, np.intp)
    masks = np.empty((height, CHUNK * WORDS), np.uint64)
    places = np.empty(CHUNK * PANEL + 64, np.int32)
    reach = np.zeros(height, np.intp)
    for base in range(0, radius.shape[0], height):
        m = min(height, radius.shape[0] - base)
        best[:], number[:], done = np.inf, 0, 0
        while done < panels:
            chunk = min(CHUNK, max(1, done), panels - done)
            for i in range(m):
                reach[i] = reach_of(best[i, 0], step)
            _mark(own[base // ROWS : base // ROWS + group], queries, codes, done, chunk, reach, masks, portable)
            for i in range(m):
                me = start + base + i
                found = _list(masks[i], chunk * WORDS, done * PANEL, min(n, (done + chunk) * PANEL), me, places)
                left = places[:found]
                if counted and done:
                    added = _sift(left, first, first_vectors, me, best[i, 0], kept[i, number[i] :])
                    left = kept[i, number[i] : number[i] + added]
                    number[i] += added
                _offer(left, first, first_vectors, rest, rest_vectors, me, minus_one, best[i])
                if counted and not done:  # without a radius until here
                    number[i] = _sift(left, first, first_vectors, me, best[i, 0], kept[i])
            done += chunk
        for i in range(m):
            radius[base + i] = best[i, 0]
            left = kept[i, : number[i]]
            count[base + i] = _sift(left, first, first_vectors, start + base + i, best[i, 0], left)


@njit(cache=True, nogil=True, error_model="numpy")
def _within(own, queries, sizes, addresses, step, start, group, limit, portable, count):
    """How many rows are nearer than each row's limit."""
    n, panels, vectors = sizes
    codes, rows = addresses
    height = group * ROWS
    masks = np.empty((height, CHUNK * WORDS), np.uint64)
    places = np.empty(CHUNK * PANEL + 64, np.int32)
    reach = np.zeros(height, np.intp)
    count[:] = 0
    for base in range(0, count.shape[0], height):
        m = min(height, count.shape[0] - base)
        for i in range(m):
            reach[i] = reach_of(limit[base + i], step)
        for done in range(0, panels, CHUNK):
            chunk = min(CHUNK, panels - done)
            _mark(own[base // ROWS : base // ROWS + group], queries, codes, done, chunk, reach, masks, portable)
            for i in range(m):
                me = start + base + i
                found = _list(masks[i], chunk * WORDS, done * PANEL, min(n, (done + chunk) * PANEL), me, places)
                count[base + i] += _sift(places[:found], rows, vectors, me, limit[base + i], places)


@njit(cache=True, nogil=True, error_model="numpy")
def _sift(places, rows, vectors, me, limit, out):
    """Write those of the places that are nearer to row `me` than `limit`, in their order; how many."""
    here, size, found = rows + me * vectors * 64, vectors * 64, 0
    for c in range(places.shape[0]):  # without a branch, which could not be foreseen
        j = places[c]
        out[found] = j
        found += row_below(here, rows + np.intp(j) * size, vectors, limit)
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _offer(places, first, first_vectors, rest, rest_vectors, me, minus_one, best):
    """Take the distances of row `me` to these places into its k smallest."""
    one, other = first_vectors * 64, rest_vectors * 64
    for c in range(places.shape[0]):
        j = np.intp(places[c])
        if row_below(rest + me * other, rest + j * other, rest_vectors, best[0]) and row_below(
            first + me * one, first + j * one, first_vectors, best[0]
        ):
            far = row_distance(rest + me * other, rest + j * other, rest_vectors, minus_one)
            if first != rest:
                far = max(far, row_distance(first + me * one, first + j * one, first_vectors, minus_one))
            replace_first(best, far)


@njit(cache=True, nogil=True, error_model="numpy")
def _mark(own, queries, codes, done, chunk, reach, masks, portable):
    """Masks of the rows of a chunk that are within reach of each of some rows; all of them where there is no limit."""
    tiles, features = own.shape[:2]
    limits = np.empty((tiles, ROWS), np.uint32)
    four = np.uint32(0x01010101)
    for t in range(tiles):
        for r in range(ROWS):
            limits[t, r] = np.uint32(2 * min(reach[t * ROWS + r], MOST_REACH)) * four
        for f in range(features):
            for r in range(ROWS):
                low = np.uint32(own[t, f, r]) - np.uint32(reach[t * ROWS + r])
                queries[t, f, r] = (low & np.uint32(255)) * four
    for p in range(chunk):
        for t in range(tiles):
            code_tile(
                queries[t].ctypes.data,
                limits[t].ctypes.data,
                codes + (done + p) * features * PANEL,
                features,
                masks[t * ROWS :].ctypes.data + p * WORDS * 8,
                masks.shape[1] * 8,
                portable,
            )
    for i in range(tiles * ROWS):
        if reach[i] > MOST_REACH:
            masks[i] = ~np.uint64(0)


@njit(cache=True, nogil=True, error_model="numpy")
def _list(masks, words, first, last, me, places):
    """Write the rows, first and up, below `last` and other than `me`, whose bits are set; returns how many."""
    if first <= me < last:
        masks[(me - first) >> 6] &= ~(np.uint64(1) << np.uint64((me - first) & 63))
    found = 0
    for p in range(0, words, WORDS):
        any_set = np.uint64(0)
        for w in range(p, p + WORDS):
            any_set |= masks[w]
        if any_set == 0:
            continue
        for w in range(p, p + WORDS):
            mask, at = masks[w], first + w * 64
            number = set_bits(mask)
            for c in range(4):  # without a branch, which could not be foreseen
                places[found + c] = at + first_bit(mask)
                mask &= mask - np.uint64(1)
            for c in range(4, number):
                places[found + c] = at + first_bit(mask)
                mask &= mask - np.uint64(1)
            found += number
    while found > 0 and places[found - 1] >= last:
        found -= 1
    return found
