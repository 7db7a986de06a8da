"""The note on the first compilation: once, on stderr, and never when kernels are on disk."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CODE = """
import numpy as np
from miest_kernels.rows import row_codes
row_codes(np.arange(6)[:, None] % 3)
row_codes(np.arange(6.0)[:, None])
"""


def test_functions_of_others_are_compiled_as_ever() -> None:
    import numba

    import miest_kernels.compiling  # noqa: F401

    made: dict[str, Any] = {}
    exec("def f(x):\n    return x + 1", made)
    made["f"].__module__ = None
    assert numba.njit(made["f"])(1) == 2


def test_a_compilation_is_told_once_and_a_load_from_disk_is_not(tmp_path: Path) -> None:
    settings = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run([sys.executable, "-c", CODE], env=settings, capture_output=True, text=True, check=True).stderr
        for _ in range(2)
    )
    assert first.count("miest compiles its kernels for this processor") == 1
    assert "compiles" not in second
