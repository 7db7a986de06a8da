"""CUDA: the sources compiled for a device, run on the processor, and, with ``-m gpu``, run on a device.

exact       machine code without spills; radii, counts and sums equal the oracles in every path the contract test leaves
properties  chunks, shares and the place of the data change no count; no data race; memory is given back
refusals    every raise of these modules
workflow    an estimate of data that live on a device
"""

import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_fakes import FakeCupy, FakeDriver, OnDevice, Recorder, WithDLPack
from cuda_shim import SMALL, Shim, built
from pair_oracles import RADII, TOLERANCE, clouds, log_sums, pair_counts, squares
from scipy.special import logsumexp

import miest_kernels.cuda_cupy as cuda_cupy
import miest_kernels.cuda_device as cuda_device
import miest_kernels.cuda_driver as cuda_driver
import miest_kernels.cuda_frame as cuda_frame
import miest_kernels.cuda_programs as cuda_programs
import miest_kernels.registry as registry
from miest import KSG, TotalCorrelation, samples
from miest_kernels.cuda import Cuda
from miest_kernels.cuda_arrays import is_on_device, read_capsule, view
from miest_kernels.cuda_correlation import correlation_sums
from miest_kernels.cuda_device import HOPPER, Program
from miest_kernels.cuda_plan import shape, shares
from miest_kernels.cuda_programs import compiled, machine_code
from miest_kernels.cuda_sums import gaussian_log_sums, gaussian_log_sums_by_class, mixture_log_density
from miest_kernels.reference import Reference

ORACLE = Reference()
SHIM = Shim()
DTYPES = [np.float32, np.float64]
WHERE = [pytest.param(SHIM, id="processor"), pytest.param(None, marks=pytest.mark.gpu, id="device")]


def blocks_of(n, dims, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, d)).round(2).astype(dtype) for d in dims]


def assert_equal_to_oracle(found, blocks, k):
    for ours, expected in zip(found, ORACLE.joint_radius_and_counts(blocks, k), strict=True):
        np.testing.assert_array_equal(ours, expected)


# Machine code


def programs(dims, k, dtype, n=600):
    """All that one set of blocks makes a large device compile."""
    device = Recorder()
    backend, blocks = Cuda(device=device), [np.zeros((n, d), dtype) for d in dims]
    backend.joint_radius_and_counts(blocks, k)
    backend.count_within(blocks[0], np.zeros(n, dtype), closed=True)
    backend.reach_within(blocks, np.zeros(n, dtype))
    points = np.zeros((n, sum(dims)), dtype)
    for norm in (1.0, 1e30):  # products and differences
        device.norm = norm
        for variances in ([1.0], [1.0, 4.0]):
            gaussian_log_sums_by_class(points, variances, np.arange(n) % 3, device=device)
        mixture_log_density(points, points, 1.0, device=device)
    for name in ("euclidean", "max"):
        correlation_sums(points, [1.0, 2.0], norm=name, device=device)
    return list(device.programs)


def spills(program):
    """Kernels of a program with their registers and the bytes that did not fit in them."""
    code, log = compiled(program, "sm_90", "-v")
    assert code[:4] == b"\x7fELF"
    names, found = re.findall(r"entry function '(\w+)'", log), re.findall(r"(\d+) bytes spill (?:stores|loads)", log)
    assert names
    assert len(found) == 2 * len(names), log
    return [int(count) for count in found]


@pytest.mark.parametrize("file", sorted(cuda_programs.SOURCES.glob("*.cu")), ids=lambda file: file.stem)
def test_exact_each_source_compiles_for_a_device_without_spills(file):
    chosen = [
        program for dims in ((2, 2), (64, 64)) for program in programs(dims, 3, np.float32) if program.file == file.name
    ]
    assert chosen or file.name == "pairs.cu"  # which the others include
    for program in chosen[:1] + chosen[-1:]:
        assert not any(spills(program)), program


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [(1, 1), (2, 2), (5, 3), (10, 10), (16, 16), (20, 20), (64, 64)])
@pytest.mark.parametrize("k", [1, 3, 10, 32, 40])
def test_exact_no_program_spills(dims, k, dtype):
    for program in programs(dims, k, dtype):
        assert not any(spills(program)), program


def test_exact_machine_code_is_kept_on_disk(tmp_path, monkeypatch):
    program = programs((2, 2), 3, np.float32)[0]
    code = machine_code(program, "sm_90", tmp_path)
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == code
    assert "sm_90" in kept.name
    monkeypatch.setattr(cuda_programs, "compiled", None)  # would fail
    assert machine_code(program, "sm_90", tmp_path) == code
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cuda_programs.cache_folder() == tmp_path / "miest" / "cuda"


def test_exact_an_unwritable_cache_is_no_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert machine_code(programs((2, 2), 3, np.float32)[0], "sm_90", tmp_path / "file")[:4] == b"\x7fELF"


# Radii and counts


@pytest.mark.parametrize("device", WHERE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [(2, 1), (40, 3)])
@pytest.mark.parametrize("k", [33, 70])
def test_exact_many_neighbours_come_from_heaps(device, dims, k, dtype):
    blocks = blocks_of(150, dims, dtype)
    assert_equal_to_oracle(Cuda(device=device).joint_radius_and_counts(blocks, k), blocks, k)


@pytest.mark.parametrize("device", WHERE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ["random", "integers", "wide", "shifted"])
def test_exact_float32_counts_are_those_of_the_contract(device, case, dtype):
    from test_contract import data

    blocks = [block.astype(dtype) for block in data(case, n=200)]
    assert_equal_to_oracle(Cuda(device=device).joint_radius_and_counts(blocks, 3), blocks, 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_threads_that_share_a_row(dtype):
    """As on a device, where a block that passes tiles through shared memory has more threads than rows."""
    backend = Cuda(device=Shim(replace(SMALL, side=8, tall=8 if dtype == np.float64 else 4, slab=8)))
    blocks = blocks_of(40, (20, 17), dtype)
    assert_equal_to_oracle(backend.joint_radius_and_counts(blocks, 3), blocks, 3)
    radius = ORACLE.kth_radius(blocks, 3)
    np.testing.assert_array_equal(backend.reach_within(blocks, radius), ORACLE.reach_within(blocks, radius))
    points = np.hstack(blocks)
    total, within = log_sums(points, [30.0], np.arange(40) % 3)
    found = gaussian_log_sums_by_class(points, [30.0], np.arange(40) % 3, device=backend.device)
    np.testing.assert_allclose(found, (total, within), rtol=0, atol=TOLERANCE[np.dtype(dtype)])


@pytest.mark.parametrize("dims", [(2, 1), (40, 3)])
def test_properties_chunks_change_nothing(dims):
    blocks = blocks_of(300, dims)
    small = Cuda(device=SHIM, memory=4000)  # less than one chunk of the smallest size
    SHIM.launched.clear()
    assert_equal_to_oracle(small.joint_radius_and_counts(blocks, 3), blocks, 3)
    assert sum(kernel == "nearest" for _, kernel, _ in SHIM.launched) == 9  # each of 3 chunks with each
    radius = ORACLE.kth_radius(blocks, 3)
    np.testing.assert_array_equal(small.kth_radius(blocks, 3), radius)
    np.testing.assert_array_equal(small.kth_radius(blocks, 40), ORACLE.kth_radius(blocks, 40))
    np.testing.assert_array_equal(small.reach_within(blocks, radius), ORACLE.reach_within(blocks, radius))
    for closed in (False, True):
        np.testing.assert_array_equal(
            small.count_within(blocks[0], radius, closed=closed),
            ORACLE.count_within(blocks[0], radius, closed=closed),
        )


def test_properties_a_memory_map_streams_through(tmp_path):
    blocks = blocks_of(300, (2, 1), np.float32)
    np.save(tmp_path / "x.npy", blocks[0])
    mapped = [np.load(tmp_path / "x.npy", mmap_mode="r"), blocks[1]]
    assert_equal_to_oracle(Cuda(device=SHIM, memory=4000).joint_radius_and_counts(mapped, 3), blocks, 3)


@pytest.mark.parametrize("device", WHERE)
@pytest.mark.parametrize("k", [3, 33])
def test_exact_permuted_pairings(device, k):
    x, y = blocks_of(90, (2, 1))
    rng = np.random.default_rng(1)
    permutations = np.stack([rng.permutation(90) for _ in range(5)])
    radius, counts = Cuda(device=device).permuted_radius_and_counts(x, y, k, permutations)
    assert counts.shape == (5, 2, 90)
    for p, r, c in zip(permutations, radius, counts, strict=True):
        assert_equal_to_oracle((r, c), [x, np.ascontiguousarray(y[p])], k)


def test_properties_permuted_pairings_in_parts(monkeypatch):
    import miest_kernels.cuda as module

    x, y = blocks_of(60, (2, 1))
    permutations = np.stack([np.random.default_rng(s).permutation(60) for s in range(4)])
    expected = Cuda(device=SHIM).permuted_radius_and_counts(x, y, 3, permutations)
    monkeypatch.setattr(module, "_SETS_BYTES", 1)
    for ours, whole in zip(Cuda(device=SHIM).permuted_radius_and_counts(x, y, 3, permutations), expected, strict=True):
        np.testing.assert_array_equal(ours, whole)


# Sums


@pytest.mark.parametrize("device", WHERE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [(1, 3), (193, 3), (100, 60)])
def test_exact_gaussian_sums_equal_direct_differences(device, n, d, dtype):
    atol = TOLERANCE[np.dtype(dtype)]
    for points, variances in clouds(n, d, dtype):
        points = points.astype(dtype)
        labels = np.random.default_rng(n).integers(-1, 3, n)
        total, within = log_sums(points, variances, labels)
        got = gaussian_log_sums_by_class(points, variances, labels, device=device)
        np.testing.assert_allclose(got[0], total, rtol=0, atol=atol)
        np.testing.assert_allclose(got[1], within, rtol=0, atol=atol)
        assert (got[1] >= 0).all()
        assert (got[0] >= got[1]).all()
        np.testing.assert_allclose(gaussian_log_sums(points, variances, device=device), total, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ratio", [0.2, 0.9, 1.1, 50.0])
def test_exact_error_holds_on_both_sides_of_the_switch(dtype, ratio):
    """Near duplicates far from the centre, where products cancel most, at the largest norm that uses them."""
    rng, d, n = np.random.default_rng(5), 40, 128
    far = rng.standard_normal((n // 2, d))
    far /= np.linalg.norm(far, axis=1, keepdims=True)
    unit = 2.0**-24 if dtype == np.float32 else 2.0**-53
    limit = TOLERANCE[np.dtype(dtype)] / (cuda_frame._CANCELLATION * np.sqrt(d + 8) * unit)  # of norm^2 / variance
    variance = 1 / (limit * ratio)
    points = np.concatenate([far, -far]).astype(dtype)
    points[1::2] = points[::2] + (0.5 * np.sqrt(variance / d) * rng.standard_normal((n // 2, d))).astype(dtype)
    expected = log_sums(points, [variance], np.zeros(n, np.intp))[0]
    assert expected.min() > 0.1  # the neighbour counts
    SHIM.launched.clear()
    found = gaussian_log_sums(points, [variance], device=SHIM)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[points.dtype])
    (products,) = {program["PRODUCTS"] for program, kernel, _ in SHIM.launched if kernel == "gaussian"}
    assert products == (ratio < 1)


def test_properties_sums_in_chunks_and_in_any_order():
    rng = np.random.default_rng(3)
    points, labels = rng.standard_normal((400, 3)).astype(np.float32), rng.integers(0, 4, 400)
    total, within = gaussian_log_sums_by_class(points, [0.7, 2.8], labels, device=SHIM)
    chunked = gaussian_log_sums_by_class(points, [0.7, 2.8], labels, device=SHIM, memory=4000)
    np.testing.assert_allclose(chunked, (total, within), rtol=0, atol=1e-6)
    swap = rng.permutation(400)
    swapped = gaussian_log_sums_by_class(points[swap], [0.7, 2.8], labels[swap], device=SHIM)
    np.testing.assert_allclose(swapped, (total[:, swap], within[:, swap]), rtol=0, atol=1e-6)
    queries = points[:50] + 1
    whole = mixture_log_density(queries, points, 0.5, device=SHIM)
    np.testing.assert_allclose(mixture_log_density(queries, points, 0.5, device=SHIM, memory=4000), whole, atol=1e-5)


def test_exact_one_point_and_the_constant_cloud():
    assert gaussian_log_sums(np.full((1, 3), 3.0), [1.0], device=SHIM).tolist() == [[0.0]]
    constant = gaussian_log_sums(np.full((300, 3), 7.0), [1.0], device=SHIM)
    np.testing.assert_array_equal(constant[0], np.log(300.0))


@pytest.mark.parametrize("device", WHERE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("q", "c", "d"), [(1, 1, 3), (150, 5, 3), (60, 130, 40)])
@pytest.mark.parametrize(("variance", "away"), [(1e-4, 1e3), (0.3, 0.0), (1e4, 0.0)])
def test_exact_mixture_density(device, q, c, d, variance, away, dtype):
    rng = np.random.default_rng(q)
    centers = rng.standard_normal((c, d)).astype(dtype)
    queries = (away + 2 * rng.standard_normal((q, d))).astype(dtype)
    square = squares(queries, centers) / (2 * variance)
    expected = logsumexp(-square, axis=1) - np.log(c) - d / 2 * np.log(2 * np.pi * variance)
    got = mixture_log_density(queries, centers, variance, device=device)
    relative = 1e-6 if dtype == np.float32 else 1e-14
    assert (np.abs(got - expected) <= TOLERANCE[np.dtype(dtype)] + relative * square.min(1)).all()


@pytest.mark.parametrize("device", WHERE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", ["euclidean", "max"])
@pytest.mark.parametrize(("n", "d"), [(1, 3), (193, 3), (60, 40)])
def test_exact_correlation_counts_equal_numpy(device, n, d, norm, dtype):
    normal = np.random.default_rng(n).standard_normal((n, d)).astype(dtype)
    for points in (normal, normal.round(), normal * dtype(1e-20), normal * dtype(1e19)):
        for radii in RADII.values():
            expected = pair_counts(points, radii, norm)
            np.testing.assert_array_equal(correlation_sums(points, radii, norm=norm, device=device), expected)


def test_properties_correlation_counts_in_chunks():
    points = np.random.default_rng(1).standard_normal((500, 3))
    expected = correlation_sums(points, RADII["logarithmic"], device=SHIM)
    np.testing.assert_array_equal(correlation_sums(points, RADII["logarithmic"], device=SHIM, memory=4000), expected)
    assert expected[-1] == 500 * 499 // 2


# Arrays on the device


def test_exact_device_arrays_are_read_in_place():
    wide, y = blocks_of(120, (4, 1))
    x = wide[:, ::2]  # neither contiguous nor of its own memory
    device = Shim()
    backend = Cuda(device=device)
    uploads = []
    original = type(device.session(None)).upload
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(device.session(None)), "upload", lambda *a: (uploads.append(a), original(*a)))
        device.streams.clear()
        found = backend.joint_radius_and_counts([OnDevice(x), OnDevice(y)], 3)
    assert uploads == []
    assert device.streams == [5]
    assert_equal_to_oracle(found, [x, y], 3)
    radius = found[0]
    np.testing.assert_array_equal(
        backend.count_within(OnDevice(x), OnDevice(radius)), ORACLE.count_within(np.ascontiguousarray(x), radius)
    )
    for mixed in ([OnDevice(x), y], [WithDLPack(x), y]):
        assert_equal_to_oracle(backend.joint_radius_and_counts(mixed, 3), [x, y], 3)
    points, labels = blocks_of(120, (6,))[0][:, ::2], np.arange(120) % 4
    for call in (
        lambda p: gaussian_log_sums_by_class(p, [0.5, 2.0], labels, device=device),
        lambda p: mixture_log_density(p, p, 0.5, device=device),
        lambda p: correlation_sums(p, RADII["logarithmic"], device=device),
    ):
        np.testing.assert_array_equal(call(OnDevice(points)), call(points))


def test_exact_streams_and_protocols():
    array = np.arange(24.0).reshape(4, 6)[:, 1:4]
    for stream, expected in ((None, 1), (1, 1), (99, 99)):
        found = view(OnDevice(array, stream))
        assert (found.stream, found.shape, found.steps) == (expected, (4, 3), (6, 1))
        assert found.address == array.ctypes.data
    packed = WithDLPack(array)
    found = view(packed)
    assert (found.address, found.shape, found.steps) == (array.ctypes.data, (4, 3), (6, 1))
    assert packed.streams == [found.stream] == [1]
    transposed = read_capsule(np.zeros((3, 5), np.float32).T.__dlpack__(), 7)
    assert (transposed.steps, transposed.dtype, transposed.stream) == ((1, 5), np.float32, 7)
    device = Shim()
    blocks = blocks_of(50, (2, 1))
    Cuda(device=device).joint_radius_and_counts([OnDevice(blocks[0], 8), OnDevice(blocks[1], 9)], 3)
    assert device.waited == [9]


def test_exact_the_current_stream_of_torch_and_cupy(monkeypatch):
    class Tensor(OnDevice):
        is_cuda, device = True, SimpleNamespace(__enter__=lambda s: s)

    Tensor.__module__ = "torch"
    stream = SimpleNamespace(cuda_stream=42)
    torch = SimpleNamespace(cuda=SimpleNamespace(current_stream=lambda device: stream))
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert view(Tensor(np.zeros((2, 1)))).stream == 42
    stream.cuda_stream = 0  # torch's number of the default stream
    assert view(Tensor(np.zeros((2, 1)))).stream == 1
    Tensor.__module__ = "cupy._core.core"
    cupy = FakeCupy()
    cupy.cuda.get_current_stream = lambda: SimpleNamespace(ptr=43)
    Tensor.device = cupy.cuda.Device(0)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert view(Tensor(np.zeros((2, 1)))).stream == 43


def test_properties_host_arrays_are_not_taken_for_device_arrays():
    torch = pytest.importorskip("torch")
    for array in (np.zeros(2), [1.0], torch.zeros(2, requires_grad=True), None):
        assert not is_on_device(array)
    assert is_on_device(OnDevice(np.zeros(2)))
    assert is_on_device(WithDLPack(np.zeros(2)))


# Ways to a device


def test_exact_the_driver_is_called_as_it_wants(monkeypatch):
    driver = FakeDriver()
    monkeypatch.setattr(cuda_driver, "_driver", lambda: driver)
    monkeypatch.setattr(cuda_driver, "_find_driver", lambda: None)
    monkeypatch.setattr(cuda_driver, "_initialize", lambda: None)
    monkeypatch.setattr(cuda_driver, "machine_code", lambda program, architecture: program)
    device = cuda_driver.open_device(0)
    device.sizes = SMALL
    assert (device.architecture, device.multiprocessors) == ("sm_90", 3)
    blocks = blocks_of(60, (2, 1))
    assert_equal_to_oracle(Cuda(device=device).joint_radius_and_counts(blocks, 3), blocks, 3)
    found = Cuda(device=device).joint_radius_and_counts([OnDevice(block) for block in blocks], 3)
    assert_equal_to_oracle(found, blocks, 3)
    assert (driver.depth, driver.held, driver.streams) == (0, {}, set())
    assert cuda_driver.ordinal_of(123) == 0
    with pytest.raises(ImportError, match="device 3 was asked for and there are 1"):
        cuda_driver.open_device(3)
    driver.error = driver.Result.CUDA_ERROR_OUT_OF_MEMORY
    with pytest.raises(MemoryError, match="OUT_OF_MEMORY"):
        Cuda(device=device).joint_radius_and_counts(blocks, 3)
    driver.error = driver.Result.CUDA_ERROR_ILLEGAL_ADDRESS
    with pytest.raises(RuntimeError, match="ILLEGAL_ADDRESS"):
        Cuda(device=device).joint_radius_and_counts(blocks, 3)
    monkeypatch.setattr(cuda_driver, "_driver", lambda: FakeDriver(major=6))
    with pytest.raises(ImportError, match=r"7\.0 is needed"):
        cuda_driver.open_device(0)


def test_exact_cupy_is_called_as_it_wants(monkeypatch):
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    device = cuda_cupy.open_device(0)
    device.sizes = SMALL
    blocks = blocks_of(60, (2, 1))
    assert_equal_to_oracle(Cuda(device=device).joint_radius_and_counts(blocks, 3), blocks, 3)
    points = np.hstack(blocks)
    np.testing.assert_array_equal(
        gaussian_log_sums(points, [0.5], device=device), gaussian_log_sums(points, [0.5], device=SHIM)
    )
    assert cupy.current == []
    assert cuda_cupy.ordinal_of(123) == 0
    with pytest.raises(ImportError, match="device 1 was asked for and there are 1"):
        cuda_cupy.open_device(1)


# Data races

RACES = {
    "nearest.cu": "lists",
    "within.cu": "limits, (unsigned *)lists",
    "histogram.cu": "limits, 64, 52, 1016, 4.0, (unsigned long long *)lists",
    "gaussian.cu": "0.5, nullptr, nullptr, (double *)lists",
}
MAIN = """
int main() {
  const Index n = 128, d = %(dims)d;
  static Real points[128 * 64], lists[1 << 16];
  [[maybe_unused]] static Real limits[256];
  for (Index i = 0; i < n * d; i++) points[i] = Real((i * 2654435761u %% 1000) / 1000.0);
  for (Index i = 0; i < 256; i++) limits[i] = Real(0.1 * i);
  gridDim = {unsigned(n / %(rows)d), 2, 1};
  const unsigned shape[4] = {gridDim.x, gridDim.y, 1, THREADS};
  const Index tiles = n / TILE;
  shim_launch(shape, [=] {
    %(kernel)s(points, n, n, points, n, tiles, (tiles + 1) / 2, 0, d, n * d, nullptr, %(rest)s);
  });
}
"""


def race_check(file, dims, *options):
    macros = {"KEEP": 4, "CLOSED": 0, "EUCLIDEAN": 1, "MOST_KEYS": 64, "PAIRED": 1, "LABELLED": 0, "PRODUCTS": 0}
    sizes = replace(SMALL, tile=32, side=4, slab=8)
    form = shape(file, sizes, np.dtype(np.float64), dims, state=4, macros=macros)
    main = MAIN % {"dims": dims, "rows": form.rows, "kernel": file[:-3], "rest": RACES[file]}
    program = built(form.program, "-fsanitize=thread", "-g", *options, main=main)
    return subprocess.run([program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("dims", [3, 40])
@pytest.mark.parametrize("file", RACES)
def test_properties_no_data_race(file, dims):
    run = race_check(file, dims)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("dims", [3, 40])
def test_properties_a_missing_barrier_is_found(dims):
    run = race_check("within.cu", dims, "-DSHIM_WITHOUT_BARRIER")
    assert "data race" in run.stderr


# Choices


def test_properties_shares_leave_no_tile_out_and_none_empty():
    for blocks in (1, 3, 20, 132, 784, 5000):
        for tiles in (1, 2, 39, 400, 7813):
            count = shares(blocks, tiles, 132)
            each = -(-tiles // count)
            assert (count - 1) * each < tiles <= count * each
            assert blocks * count >= min(132, blocks * tiles) or count == tiles


def test_properties_shapes_fit_the_device():
    for dtype in map(np.dtype, DTYPES):
        for dims in range(1, 80):
            for keep in (2, 4, 11, 33):
                form = shape("nearest.cu", HOPPER, dtype, dims, state=keep * dtype.itemsize // 4, macros={"KEEP": keep})
                assert HOPPER.fill % form.rows == HOPPER.fill % form.tile == 0
                assert form.rows % form.program["THREADS"] == 0 or form.program["THREADS"] % form.rows == 0
                if form.program["IN_REGISTERS"]:
                    assert dims * form.tile * dtype.itemsize <= HOPPER.shared


def test_exact_auto_goes_where_the_data_are(monkeypatch):
    asked = []
    monkeypatch.setattr(
        cuda_device, "open_device", lambda ordinal: asked.append(ordinal) or SimpleNamespace(multiprocessors=132)
    )
    choice = registry._choice
    assert choice(1_000, 2, True) == "cuda"
    asked.clear()
    assert choice(1_000, 2, False) == "tree"
    assert choice(1_000, 200, False) == "cpu"
    assert asked == []  # small work does not even look for a device
    assert choice(200_000, 64, False) == "cuda"
    assert choice(1_000_000, 2, False) == "tree"


def test_exact_auto_without_a_device_stays_on_the_processor(monkeypatch):
    def none(ordinal):
        raise ImportError("none")

    monkeypatch.setattr(cuda_device, "open_device", none)
    assert registry._choice(200_000, 64, True) == "cpu"
    assert registry._choice(1_000, 2, True) == "tree"


def test_workflow_an_estimate_of_data_on_a_device_is_made_there(monkeypatch):
    for module in ("cuda_device", "cuda", "cuda_pairs"):
        monkeypatch.setattr(f"miest_kernels.{module}.open_device", lambda ordinal: SHIM)
    monkeypatch.setattr("miest_kernels.cuda_pairs.ordinal_of", lambda address: 0)
    x, y = blocks_of(300, (2, 1))
    variable = samples.variable(OnDevice(x), "x")
    assert variable.on_device
    assert not samples.variable(x, "x").on_device
    found = KSG(level=None).estimate(OnDevice(x), samples.continuous(OnDevice(y)))
    assert found.diagnostics.neighbours == "cuda"
    on_host = KSG(level=None).estimate(x, y)
    assert (on_host.diagnostics.neighbours, on_host.value) == ("tree", found.value)
    assert TotalCorrelation(level=None).estimate(OnDevice(x)).diagnostics.neighbours == "cuda"


# Refusals


def test_refusal_without_a_device_says_what_is_needed(monkeypatch):
    def missing(ordinal):
        raise ImportError("no driver")

    monkeypatch.setattr(cuda_driver, "open_device", missing)
    monkeypatch.setattr(cuda_cupy, "open_device", missing)
    cuda_device.open_device.cache_clear()
    with pytest.raises(ImportError, match=r"needs a CUDA device and cuda-core or CuPy.*no driver; no driver"):
        Cuda()
    assert "pip install 'miest" in registry.unavailable("cuda")


def test_refusals_of_data(monkeypatch):
    blocks = blocks_of(10, (1, 1))
    with pytest.raises(TypeError, match="ndarray is not an array on a CUDA device"):
        view(np.zeros(2))
    with pytest.raises(ValueError, match="share float32 or float64"):
        Cuda(device=SHIM).kth_radius([OnDevice(np.zeros((4, 1), np.float16))], 1)
    monkeypatch.setattr("miest_kernels.cuda_pairs.ordinal_of", lambda address: 1)
    monkeypatch.setattr("miest_kernels.cuda_pairs.open_device", lambda ordinal: SHIM)
    monkeypatch.setattr("miest_kernels.cuda.open_device", lambda ordinal: SHIM)
    assert Cuda().kth_radius([OnDevice(blocks[0])], 1).shape == (10,)
    with pytest.raises(ValueError, match=r"live on CUDA devices \[1\], and device=0 was asked for"):
        Cuda(device=0).kth_radius([OnDevice(blocks[0])], 1)
    for bad in (np.zeros((2, 5)), np.zeros((1, 10), np.intp)):
        with pytest.raises(ValueError, match="permutations"):
            Cuda(device=SHIM).permuted_radius_and_counts(*blocks, 1, bad)


def test_refusals_of_sums():
    good = np.zeros((4, 2))
    with pytest.raises(ValueError, match=r"points must be \(n, d\) float32 or float64"):
        gaussian_log_sums(np.zeros((4, 2), np.int64), [1.0], device=SHIM)
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="points hold NaN or infinity"):
            gaussian_log_sums(np.array([[value]]), [1.0], device=SHIM)
        with pytest.raises(ValueError, match="points hold NaN or infinity"):
            correlation_sums(np.array([[value]]), [1.0], device=SHIM)
        with pytest.raises(ValueError, match="queries hold NaN or infinity"):
            mixture_log_density(np.array([[value]]), np.zeros((1, 1)), 1.0, device=SHIM)
    with pytest.raises(ValueError, match="variances must be finite and positive"):
        gaussian_log_sums(good, [0.0], device=SHIM)
    with pytest.raises(ValueError, match="labels must be 4 integers"):
        gaussian_log_sums_by_class(good, [1.0], np.zeros(3, np.intp), device=SHIM)
    with pytest.raises(ValueError, match="queries and centers must share dtype and width"):
        mixture_log_density(good, np.zeros((3, 3)), 1.0, device=SHIM)
    with pytest.raises(ValueError, match="radii must be a sorted sequence"):
        correlation_sums(good, [2.0, 1.0], device=SHIM)
    with pytest.raises(ValueError, match="norm must be"):
        correlation_sums(good, [1.0], norm="l1", device=SHIM)


def test_refusal_a_source_that_does_not_compile_shows_the_log():
    with pytest.raises(RuntimeError, match=r"NVRTC could not compile[\s\S]*THREADS"):
        compiled(Program("within.cu", (("REAL_BITS", 32), ("IN_REGISTERS", 1))), "sm_90")


# On a device


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [(1, 1), (2, 2), (10, 10), (64, 64)])
def test_exact_many_rows_on_a_device(dims, dtype):
    blocks = blocks_of(20_000, dims, dtype)
    radius, counts = Cuda().joint_radius_and_counts(blocks, 3)
    some = np.arange(0, 20_000, 97)
    for b, block in enumerate(blocks):
        far = np.abs(block[some, None] - block[None]).max(axis=2)
        np.testing.assert_array_equal((far < radius[some, None]).sum(axis=1) - (radius[some] > 0), counts[b, some])
    joint = np.maximum.reduce([np.abs(block[some, None] - block[None]).max(axis=2) for block in blocks])
    np.testing.assert_array_equal(np.partition(joint, 3, axis=1)[:, 3], radius[some])


@pytest.mark.gpu
def test_exact_torch_and_cupy_arrays_on_the_current_stream():
    torch, cupy = pytest.importorskip("torch"), pytest.importorskip("cupy")
    blocks = blocks_of(3_000, (2, 3), np.float32)
    expected = Cuda().joint_radius_and_counts(blocks, 3)
    with torch.cuda.stream(torch.cuda.Stream()):
        slow = torch.randn(4_000, 4_000, device="cuda")
        for _ in range(20):
            slow = slow @ slow / 4_000  # keeps the stream busy while the data are made on it
        tensors = [torch.from_numpy(block).to("cuda", non_blocking=True) + 0 * slow[0, 0] for block in blocks]
        found = Cuda().joint_radius_and_counts(tensors, 3)
    for ours, host in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, host)
    with cupy.cuda.Stream(non_blocking=True):
        found = Cuda().joint_radius_and_counts([cupy.asarray(block) for block in blocks], 3)
    for ours, host in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, host)
    found = Cuda().joint_radius_and_counts([torch.from_dlpack(tensors[0]), blocks[1]], 3)
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.gpu
def test_exact_chunks_on_a_device():
    blocks = blocks_of(5_000, (2, 3))
    whole, parts = (Cuda(memory=memory).joint_radius_and_counts(blocks, 3) for memory in (None, 200_000))
    for ours, expected in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(ours, expected)
