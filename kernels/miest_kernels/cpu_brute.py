"""Brute force in numba: every distance of a row, then selection and counting from the same distances.

A block function takes a range of rows and is pure, nogil and cached on disk; threads map it over the rows.
"""

import os
from collections.abc import Callable, Sequence

import numpy as np
from joblib import Parallel, delayed
from numba import njit
from numpy.typing import NDArray

from miest_kernels.contract import Block, Neighbours, check_blocks

_ROWS = 256  # rows to a task; any value gives the same result


class Brute(Neighbours):
    """All pairs by blocks of rows: O(n^2 d) time, O(n) memory, indifferent to dimension, ties and tails."""

    name = "cpu"

    def kth_radius(self, blocks: Sequence[Block], k: int) -> NDArray[np.floating]:
        """See `Neighbours.kth_radius`."""
        return self.joint_radius_and_counts(blocks, k)[0]

    def count_within(
        self, block: Block, radius: NDArray[np.floating], *, closed: bool = False
    ) -> NDArray[np.intp]:
        """See `Neighbours.count_within`."""
        n, _ = check_blocks([block])
        columns, count = np.ascontiguousarray(block.T), np.empty(n, np.intp)
        _map_rows(lambda start, stop: _count_rows(columns, radius, closed, start, stop, count), n)
        return count

    def reach_within(self, blocks: Sequence[Block], radius: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `Neighbours.reach_within`."""
        n, dtype = check_blocks(blocks)
        columns, edges = _side_by_side(blocks)
        reach = np.zeros((len(blocks), n), dtype)
        _map_rows(lambda start, stop: _reach_rows(columns, edges, radius, start, stop, reach), n)
        return reach

    def joint_radius_and_counts(
        self, blocks: Sequence[Block], k: int
    ) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
        """See `Neighbours.joint_radius_and_counts`; one pass over the distances."""
        n, dtype = check_blocks(blocks, k)
        columns, edges = _side_by_side(blocks)
        radius, counts = np.empty(n, dtype), np.empty((len(blocks), n), np.intp)
        _map_rows(lambda start, stop: _radius_rows(columns, edges, k, start, stop, radius, counts), n)
        return radius, counts


def _side_by_side(blocks: Sequence[Block]) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
    """(sum of d, n) columns of all blocks, and where each block begins and ends among them."""
    return np.ascontiguousarray(np.hstack(blocks).T), np.cumsum([0, *(block.shape[1] for block in blocks)])


def _map_rows(task: Callable[[int, int], None], n: int) -> None:
    starts = range(0, n, _ROWS)
    jobs = min(os.cpu_count() or 1, len(starts))
    Parallel(n_jobs=jobs, prefer="threads", require="sharedmem")(
        delayed(task)(start, min(start + _ROWS, n)) for start in starts
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _distances(columns, first, last, i, out):
    for j in range(out.shape[0]):
        out[j] = 0
    for c in range(first, last):
        column = columns[c]
        here = column[i]
        for j in range(out.shape[0]):
            apart = abs(here - column[j])
            out[j] = apart if apart > out[j] else out[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _radius_rows(columns, edges, k, start, stop, radius, counts):
    n, blocks = columns.shape[1], edges.shape[0] - 1
    single = np.empty((blocks, n), columns.dtype)
    best = np.empty(k, columns.dtype)
    for i in range(start, stop):
        for b in range(blocks):
            _distances(columns, edges[b], edges[b + 1], i, single[b])
        best[:] = np.inf
        for j in range(n):
            joint = single[0, j]
            for b in range(1, blocks):
                joint = max(joint, single[b, j])
            if joint < best[k - 1] and j != i:
                place = k - 1
                while place > 0 and best[place - 1] > joint:
                    best[place] = best[place - 1]
                    place -= 1
                best[place] = joint
        radius[i] = best[k - 1]
        for b in range(blocks):
            inside = 0
            for j in range(n):
                inside += single[b, j] < best[k - 1]
            counts[b, i] = inside - (best[k - 1] > 0)  # without oneself


@njit(cache=True, nogil=True, error_model="numpy")
def _count_rows(columns, radius, closed, start, stop, count):
    n = columns.shape[1]
    distance = np.empty(n, columns.dtype)
    for i in range(start, stop):
        _distances(columns, 0, columns.shape[0], i, distance)
        inside = 0
        if closed:
            for j in range(n):
                inside += distance[j] <= radius[i]
            inside -= radius[i] >= 0
        else:
            for j in range(n):
                inside += distance[j] < radius[i]
            inside -= radius[i] > 0
        count[i] = inside


@njit(cache=True, nogil=True, error_model="numpy")
def _reach_rows(columns, edges, radius, start, stop, reach):
    n, blocks = columns.shape[1], edges.shape[0] - 1
    single = np.empty((blocks, n), columns.dtype)
    for i in range(start, stop):
        for b in range(blocks):
            _distances(columns, edges[b], edges[b + 1], i, single[b])
        for j in range(n):
            joint = single[0, j]
            for b in range(1, blocks):
                joint = max(joint, single[b, j])
            if joint <= radius[i]:
                for b in range(blocks):
                    reach[b, i] = max(reach[b, i], single[b, j])
