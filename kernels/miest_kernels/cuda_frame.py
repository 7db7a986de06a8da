"""Points made ready for Gaussian kernels on a CUDA device: checked, centred, in a unit that turns pairs to exponents.

A kernel exp(-|x - y|^2 / (2 v)) is 2 to the power of an exponent. It comes from products of centred points in units of
the noise, which costs one multiply-add a coordinate, or from differences where products would cancel too many digits.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miest_kernels.cuda_arrays import DeviceArray
from miest_kernels.cuda_pairs import Chunks, Pairs, Source, sources
from miest_kernels.cuda_plan import Shape, shape

_CANCELLATION = 0.7  # error of a product in roundings of its largest sum, by sqrt(d); see the test of both sides
_BLOCKS = 1024  # of rows, whose sums are added on the host; changes the last bits of a mean, which any value serves
_VALUES_AT_ONCE = 2**24  # of a host array that is looked through


def checked(points: Any, name: str) -> Source:
    """The points in place; raise unless they are (n, d) float32 or float64."""
    (array,) = sources([points])
    if array.ndim != 2 or 0 in array.shape or array.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} must be (n, d) float32 or float64 with n, d >= 1, got {array.dtype} {array.shape}.")
    return array


def moments(
    pairs: Pairs, array: Source, name: str, centre: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], float, float]:
    """Mean of each column, unless it is given; largest squared distance of a row from it, and largest coordinate.

    Raises
    ------
    ValueError
        if a value is not finite
    """
    n, d = array.shape
    step = n if isinstance(array, DeviceArray) else max(1, _VALUES_AT_ONCE // d)
    if centre is None:
        centre = np.zeros(d)
        for start in range(0, n, step):
            centre += _column_sums(pairs, array, start, min(start + step, n))
        centre /= n
    there, found = pairs.session.uploaded(centre), []
    for start in range(0, n, step):
        found.append(_extents(pairs, array, start, min(start + step, n), there))
    pairs.session.give_back(there)
    norm, reach, odd = np.max(found, axis=0).tolist()
    if odd:
        raise ValueError(f"{name} hold NaN or infinity: remove those rows first.")
    return centre, norm, reach


def _column_sums(pairs: Pairs, array: Source, start: int, stop: int) -> NDArray[np.float64]:
    rows, d = -(-(stop - start) // _BLOCKS), array.shape[1]
    blocks = -(-(stop - start) // rows)
    sums = np.empty((blocks, d))
    out = pairs.session.take(sums.nbytes)
    with pairs.on_device(array, start, stop) as (address, steps):
        grid = (blocks * pairs.sizes.threads, 1, 1)  # a block of threads for each block of rows
        pairs.layout("column_sums", grid, address, *steps, d, stop - start, rows, out)
    pairs.session.download(out, sums)
    pairs.session.give_back(out)
    total: NDArray[np.float64] = sums.sum(axis=0)
    return total


def _extents(pairs: Pairs, array: Source, start: int, stop: int, centre: int) -> NDArray[np.float64]:
    count, d = stop - start, array.shape[1]
    found = np.empty((3, count), pairs.dtype)
    out = pairs.session.take(found.nbytes)
    with pairs.on_device(array, start, stop) as (address, steps):
        pairs.layout("extents", (count, 1, 1), address, *steps, d, count, centre, out)
    pairs.session.download(out, found)
    pairs.session.give_back(out)
    largest: NDArray[np.float64] = np.fmax.reduce(found, axis=1).astype(np.float64)
    return largest


class Frame:
    """Products or differences, about which centre, in which unit, for Gaussian kernels of one variance."""

    def __init__(
        self, pairs: Pairs, centre: NDArray[np.float64], norm: float, reach: float, variance: float, smallest: float
    ) -> None:
        self.pairs, self.d = pairs, centre.size
        kind = np.finfo(pairs.dtype)
        with np.errstate(over="ignore"):
            # Error of a product: about d roundings of a sum that grows to the squared norm, in units of the variance.
            error = _CANCELLATION * math.sqrt(self.d + 8) * float(kind.eps) / 2 * np.float64(norm) / smallest
            self.products = bool(error <= (1e-5 if pairs.words == 1 else 1e-10))
            if self.products:
                self.centre, self.unit, self.scale = centre, math.sqrt(math.log2(math.e) / variance), 1.0
            else:  # as they are, in a power of two as the unit, which keeps every bit
                self.centre = np.zeros(self.d)
                self.unit = math.ldexp(1.0, -math.frexp(reach)[1]) if reach > 0 else 1.0
                size = np.float64(math.log2(math.e) * self.unit**-2) / variance / 2
                self.scale = float(np.clip(size, kind.tiny, kind.max / 2))

    def chunks(self, array: Source, order: NDArray[np.intp], rows: int) -> Chunks:
        """The points in their order."""
        centre = self.pairs.session.uploaded(self.centre)
        return Chunks(
            self.pairs.session,
            order.size,
            rows,
            lambda start, stop: self.pairs.pack_scaled(
                array, start, stop, order, centre, self.unit, halves=self.products
            ),
        )

    def shape(self, file: str, state: int, **macros: int) -> Shape:
        """The walk over them; of products nothing is lost where tiny numbers become zero, which saves instructions."""
        flush = self.products and self.pairs.words == 1
        return shape(
            file, self.pairs.sizes, self.pairs.dtype, self.d + self.products, state=state,
            macros={"PRODUCTS": int(self.products), **macros}, flush=flush,
        )  # fmt: skip
