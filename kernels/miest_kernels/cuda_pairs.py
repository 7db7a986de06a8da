"""Points on a device and the questions about all their pairs: what the .cu files compute, chunk by chunk.

Points pass through the device in chunks of rows, so that neither they nor the state of a question need fit at once;
where they do there is one chunk, packed once. Each chunk of rows meets every chunk of columns.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miest_kernels.cuda_arrays import DeviceArray, is_on_device, view
from miest_kernels.cuda_device import Argument, Device, Program, Session, open_device, ordinal_of
from miest_kernels.cuda_plan import LONGEST_LIST, Shape, shape, shares

Source = NDArray[Any] | DeviceArray
"""(n, d) numbers of the caller's, on the host or on the device."""

_LAYOUT = {"IN_REGISTERS": 1, "BLOCKS": 1, "R": 1, "TILE": 32, "DIMS": 1}
_COLUMNS_AT_ONCE = 16  # as in layout.cu
_SHARE = 0.5  # of the free memory


def sources(arrays: Sequence[Any]) -> list[Source]:
    """Arrays in place, wherever they are."""
    return [view(array) if is_on_device(array) else np.asarray(array) for array in arrays]


@dataclass(frozen=True)
class Packed:
    """Points start .. start + count on the device, one dimension after the other, `stride` numbers each."""

    address: int
    start: int
    count: int
    stride: int
    dims: int
    itemsize: int
    sets: int = 1

    @property
    def rows(self) -> slice:
        """Where the points are among all."""
        return slice(self.start, self.start + self.count)

    @property
    def apart(self) -> int:
        """Numbers from one set of points to the next, if these are all dimensions."""
        return self.dims * self.stride

    def some(self, first: int, last: int) -> "Packed":
        """The same points in some of their dimensions."""
        return replace(self, address=self.address + first * self.stride * self.itemsize, dims=last - first)


class Chunks:
    """Chunks of n points as they are on the device; a single one stays there, several come and go."""

    def __init__(self, session: Session, n: int, rows: int, load: Callable[[int, int], Packed]) -> None:
        self.session, self.load = session, load
        self.spans = [(start, min(start + rows, n)) for start in range(0, n, rows)]
        self.longest = min(n, rows)
        self.single = load(0, n) if len(self.spans) == 1 else None

    @classmethod
    def of(cls, session: Session, points: Packed) -> "Chunks":
        """One chunk that is there already."""
        return cls(session, points.count, points.count, lambda start, stop: points)

    def __iter__(self) -> Iterator[Packed]:
        if self.single is not None:
            yield self.single
            return
        for start, stop in self.spans:
            chunk = self.load(start, stop)
            yield chunk
            self.session.give_back(chunk.address)

    def close(self) -> None:
        """Give the memory back before the session ends."""
        if self.single is not None:
            self.session.give_back(self.single.address)


class Pairs:
    """Questions about pairs of points in one session; answers stay on the device, a number for each packed row."""

    def __init__(self, device: Device, session: Session, dtype: np.dtype[Any]) -> None:
        self.session, self.sizes, self.multiprocessors = session, device.sizes, device.multiprocessors
        self.dtype, self.words = dtype, dtype.itemsize // 4

    # Points

    def rows_at_once(self, n: int, dims: int, state: int, memory: int | None) -> int:
        """Rows of a chunk: all, or as many as fit in `memory` bytes beside the columns, with `state` bytes each."""
        budget = int(_SHARE * self.session.free_memory()) if memory is None else memory
        point = dims * self.dtype.itemsize
        if n * (2 * point + state) <= budget:  # packed, and as they were uploaded
            return n
        fill = self.sizes.fill
        return max(fill, budget // (3 * point + state) // fill * fill)

    def resident(self, array: Source, memory: int | None) -> Source:
        """The array on the device, if it takes no more than a third of the room there; else as it is."""
        budget = int(_SHARE * self.session.free_memory()) if memory is None else memory
        if isinstance(array, DeviceArray) or 3 * array.size * array.itemsize > budget:
            return array
        address = self.session.uploaded(array)
        return DeviceArray(address, array.shape, (array.shape[1], 1), array.dtype, 0, array)

    def room(self, count: int, dims: int, *, start: int = 0, sets: int = 1) -> Packed:
        """Memory for points, not filled yet."""
        stride = -(-count // self.sizes.fill) * self.sizes.fill
        address = self.session.take(sets * dims * stride * self.dtype.itemsize)
        return Packed(address, start, count, stride, dims, self.dtype.itemsize, sets)

    def pack(self, arrays: Sequence[Source], start: int, stop: int) -> Packed:
        """Some rows of arrays, side by side; fillers are NaN, which is near nothing."""
        packed, first = self.room(stop - start, sum(array.shape[1] for array in arrays), start=start), 0
        for array in arrays:
            self.put(packed.some(first, first + array.shape[1]), array, start, stop)
            first += array.shape[1]
        return packed

    def put(self, to: Packed, array: Source, start: int, stop: int, order: int = 0, apart: int = 0) -> None:
        """Lay some rows out; with an order (sets, rows) at an address, each set in its own order."""
        with self.on_device(array, start, stop) as (address, steps):
            grid = (to.stride, -(-to.dims // _COLUMNS_AT_ONCE), to.sets)
            nan = float("nan")
            self.layout(
                "pack", grid, address, *steps, to.dims, order, to.count, nan, to.address, to.stride, apart or to.apart
            )

    def pack_scaled(
        self, array: Source, start: int, stop: int, order: NDArray[np.intp], centre: int, unit: float, *, halves: bool
    ) -> Packed:
        """Rows ``order[start:stop]`` for Gaussian kernels: (x - centre) * unit, with `halves` half their squares."""
        packed = self.room(stop - start, array.shape[1] + halves, start=start)
        grid, infinity, place = (packed.stride, 1, 1), float("inf"), 0
        if isinstance(array, DeviceArray):
            place = self.session.uploaded(order[start:stop].astype(np.int64))
            rows: Source = array
        else:
            rows = array[order[start:stop]]
        with self.on_device(rows, 0, len(rows)) as (address, steps):
            self.layout(
                "pack_scaled", grid, address, *steps, array.shape[1], place, packed.count, centre, unit, int(halves),
                infinity, packed.address, packed.stride,
            )  # fmt: skip
        if place:
            self.session.give_back(place)
        return packed

    @contextmanager
    def on_device(self, array: Source, start: int, stop: int) -> Iterator[tuple[int, tuple[int, int]]]:
        """Address and steps of some rows: in place, or of a copy."""
        if isinstance(array, DeviceArray):
            row, column = array.steps
            yield array.address + start * row * array.dtype.itemsize, (row, column)
            return
        copy = self.session.uploaded(array[start:stop])
        yield copy, (array.shape[1], 1)
        self.session.give_back(copy)

    def numbers(self, array: Source, rows: Packed, dtype: Any = None) -> int:
        """Address of a number for each packed row, from the host or the device."""
        dtype = np.dtype(dtype or self.dtype)
        if isinstance(array, DeviceArray):  # laid out as a single column is
            column = replace(array, shape=(len(array), 1), steps=(array.steps[0], 1))
            return self.pack([column], rows.start, rows.start + rows.count).address
        address = self.session.take(rows.stride * dtype.itemsize)
        self.session.upload(np.ascontiguousarray(array[rows.rows], dtype), address)
        return address

    def host(self, address: int, rows: Packed, dtype: Any = None) -> NDArray[Any]:
        """What a question answered for each row: (sets, rows)."""
        found = np.empty((rows.sets, rows.stride), dtype or self.dtype)
        self.session.download(address, found)
        return found[:, : rows.count]

    # Questions

    def nearest(self, rows: Packed, columns: Chunks, k: int) -> int:
        """Distance to the k-th nearest other point: (sets, stride)."""
        keep = k + 1  # with oneself
        listed = keep <= LONGEST_LIST
        form = shape(
            "nearest.cu", self.sizes, self.dtype, rows.dims, state=self.words * (keep if listed else 3),
            macros={"KEEP": keep if listed else 0}, whole_rows=not listed,
        )  # fmt: skip
        count = self.shares(form, rows, columns) if listed else 1
        slots = count * form.parts
        lists = self.filled(rows.sets * slots * rows.stride * keep, float("inf"))
        for chunk in columns:
            self.launch(form, "nearest", rows, chunk, count, lists, *(() if listed else (keep,)))
        return self.merged(form, rows, lists, slots) if listed else lists  # a heap has the largest first

    def within(
        self, rows: Packed, columns: Chunks, spans: Sequence[tuple[int, int]], limits: Sequence[int], *, closed: bool
    ) -> list[int]:
        """Columns within the limits in each span of dimensions, oneself included: (sets, stride) uint32."""
        jobs = []
        for first, last in spans:
            form = shape(
                "within.cu", self.sizes, self.dtype, last - first, state=self.words + 2,
                macros={"CLOSED": int(closed)},
            )  # fmt: skip
            count = self.shares(form, rows, columns)
            slots = count * form.parts
            jobs.append((form, count, slots, self.cleared(rows.sets * slots * rows.stride)))
        for chunk in columns:
            for (form, count, _, counts), span, limit in zip(jobs, spans, limits, strict=True):
                self.launch(form, "within", rows.some(*span), chunk.some(*span), count, limit, counts, apart=rows.apart)
        return [self.merged(form, rows, counts, slots, np.uint32) for form, _, slots, counts in jobs]

    def reach(self, rows: Packed, columns: Chunks, own: int, limits: int) -> int:
        """Largest distance in the first `own` dimensions to the columns within the limits in all: (1, stride)."""
        form = shape("reach.cu", self.sizes, self.dtype, rows.dims, state=6 * self.words, macros={"OWN": own}, tall=4)
        count = self.shares(form, rows, columns)
        slots = count * form.parts
        reaches = self.filled(slots * rows.stride, 0.0)
        for chunk in columns:
            self.launch(form, "reach", rows, chunk, count, limits, reaches)
        return self.merged(form, rows, reaches, slots)

    # Launches

    def launch(
        self, form: Shape, kernel: str, rows: Packed, columns: Packed, shares: int, *arguments: Argument,
        apart: int = 0, spans: int = 0, tiles: int = 0,
    ) -> None:  # fmt: skip
        """Ask about all pairs of two chunks, or of the tiles that `spans` names, `tiles` of them at most."""
        tiles = tiles or -(-columns.count // form.tile)
        space = (
            rows.address, rows.stride, rows.stride, columns.address, columns.stride, tiles, -(-tiles // shares),
            rows.start - columns.start, rows.dims, apart or rows.apart, spans,
        )  # fmt: skip
        grid = (rows.stride // form.rows, shares, rows.sets)
        self.session.launch(form.program, kernel, grid, (*space, *arguments))

    def shares(self, form: Shape, rows: Packed, columns: Chunks) -> int:
        """Number of shares of the columns."""
        tiles = -(-columns.longest // form.tile)
        return shares(rows.stride // form.rows * rows.sets, tiles, self.multiprocessors)

    def merged(self, form: Shape, rows: Packed, state: int, slots: int, dtype: Any = None, numbers: int = 1) -> int:
        """One answer for each row from those of its slots, whose memory is given back."""
        out = self.session.take(rows.sets * numbers * rows.stride * np.dtype(dtype or self.dtype).itemsize)
        grid = (rows.stride // form.program["THREADS"], 1, rows.sets)
        self.session.launch(form.program, "merge", grid, (state, slots, rows.stride, out))
        self.session.give_back(state)
        return out

    def filled(self, count: int, value: float) -> int:
        """Address of numbers of the dtype."""
        address = self.session.take(count * self.dtype.itemsize)
        self.layout("fill", (count, 1, 1), address, count, value)
        return address

    def cleared(self, count: int) -> int:
        """Address of 32-bit zeros."""
        address = self.session.take(4 * count)
        self.layout("clear", (count, 1, 1), address, count)
        return address

    def layout(self, kernel: str, grid: tuple[int, int, int], *arguments: Argument) -> None:
        """Launch a kernel of layout.cu with a thread for each of grid[0]."""
        threads = self.sizes.threads
        macros = {"REAL_BITS": 32 * self.words, "THREADS": threads} | _LAYOUT
        program = Program("layout.cu", tuple(macros.items()))
        self.session.launch(program, kernel, (-(-grid[0] // threads), grid[1], grid[2]), arguments)


@contextmanager
def opened(device: int | Device | None, arrays: Sequence[Source]) -> Iterator[Pairs]:
    """A session where the arrays are, or on the device that is named; on the stream of the first that has one.

    Raises
    ------
    ValueError
        if the arrays live on another device than the one named, or on several
    """
    there = [array for array in arrays if isinstance(array, DeviceArray)]
    if not isinstance(device, Device):
        found = {ordinal_of(array.address) for array in there} or {device or 0}
        if len(found) > 1 or (device is not None and found != {device}):
            named = "" if device is None else f", and device={device} was asked for"
            raise ValueError(f"the data live on CUDA devices {sorted(found)}{named}: bring them to one device.")
        device = open_device(found.pop())
    with device.session(there[0].stream if there else None) as session:
        for array in there[1:]:
            if array.stream != there[0].stream:
                session.wait_for(array.stream)
        yield Pairs(device, session, arrays[0].dtype)
