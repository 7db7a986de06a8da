"""Machine code of the .cu files: compiled by NVRTC when first asked for, and kept on disk for each architecture.

Comparisons need no care beyond IEEE arithmetic, which is what a GPU does: products are not contracted with sums unless
the source says so, and numbers below the normal range are kept unless a program asks otherwise.
"""

import os
import tempfile
import warnings
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from miest_kernels.cuda_device import Program

SOURCES = Path(__file__).parent


def machine_code(program: Program, architecture: str, folder: Path | None = None) -> bytes:
    """Cubin of a program, from the disk or from NVRTC.

    Parameters
    ----------
    program : Program
    architecture : str          "sm_90"
    folder : Path or None       where cubins are kept; None: `cache_folder`

    Raises
    ------
    ImportError
        if cuda-core or NVRTC is not installed
    RuntimeError
        if NVRTC refuses the source; the message holds its log
    """
    folder = cache_folder() if folder is None else folder
    name = f"{Path(program.file).stem}-{architecture}-{_digest(program, architecture)}.cubin"
    place = None if folder is None else folder / name
    if place is not None and place.is_file():
        return place.read_bytes()
    code, _ = compiled(program, architecture)
    if place is not None:
        _keep(place, code)
    return code


def compiled(program: Program, architecture: str, *options: str) -> tuple[bytes, str]:
    """Cubin of a program, compiled now, and what the assembler said; options go to the assembler: "-v"."""
    from io import StringIO

    core = cuda_core()
    settings = core.ProgramOptions(
        arch=architecture,
        std="c++17",
        fma=False,
        ftz=program.flush,
        include_path=str(SOURCES),
        define_macro=[(name, str(value)) for name, value in program.macros],
        **({"ptxas_options": list(options)} if options else {}),
    )
    log = StringIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of a compiler that is newer than the driver; machine code runs all the same
            made = core.Program(f'#include "{program.file}"\n', "c++", settings).compile("cubin", logs=log)
    except Exception as error:
        if type(error).__name__ == "DynamicLibNotFoundError":
            raise ImportError("NVRTC is missing: pip install nvidia-cuda-nvrtc") from error
        raise RuntimeError(f"NVRTC could not compile {program} for {architecture}: {error} {log.getvalue()}") from error
    return bytes(made.code), log.getvalue()


def cuda_core() -> Any:
    """The module cuda.core, under whichever of its names is installed.

    Raises
    ------
    ImportError
        if it is not, or has no bindings
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                import cuda.core as core

                if hasattr(core, "ProgramOptions"):
                    return core
                raise ImportError
            except ImportError:
                import cuda.core.experimental as core  # until version 0.4

                return core
    except ImportError as error:
        raise ImportError(f"cuda-core cannot be imported ({error})") from error


def cache_folder() -> Path | None:
    """Folder for compiled kernels, or None where there is no place for one."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "miest" / "cuda"
    except RuntimeError:  # no home
        return None


def _digest(program: Program, architecture: str) -> str:
    from cuda.bindings import nvrtc

    said = repr((program, architecture, nvrtc.nvrtcVersion()[1:])).encode()
    return sha256(said + _text("pairs.cu") + _text(program.file)).hexdigest()[:20]


@cache
def _text(file: str) -> bytes:
    return (SOURCES / file).read_bytes()


def _keep(place: Path, code: bytes) -> None:
    """Write a file whole or not at all; without a writable disk the program is compiled in each process."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as file:
            file.write(code)
        os.replace(file.name, place)
    except OSError:
        pass
