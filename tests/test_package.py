"""The package as a whole: what importing it costs, who may import whom, that public names are documented."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import miest

ROOT = Path(__file__).parents[1]


def test_importing_miest_loads_nothing_heavy() -> None:
    code = "import miest, sys; print(sorted(m for m in sys.modules if m.partition('.')[0] in {heavy}))".format(
        heavy={"torch", "matplotlib", "numba", "scipy", "sklearn", "pandas", "numpy", "rich", "click", "joblib"}
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert run.stdout.strip() == "[]"


def test_estimating_loads_neither_torch_nor_matplotlib_nor_cuda() -> None:
    code = (
        "import sys, numpy as np, miest; x = np.random.default_rng(0).standard_normal((50, 2));"
        "miest.mutual_information(x[:, 0], x[:, 1]);"
        "print([m for m in ('torch', 'matplotlib', 'numba.cuda.cudadrv.driver', 'faiss') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", miest.__all__)
def test_every_public_name_loads_and_is_documented(name: str) -> None:
    item = getattr(miest, name)
    assert inspect.getdoc(item)
    assert name in dir(miest)


def test_unknown_names_raise() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Ksg'"):
        _ = miest.Ksg  # type: ignore[attr-defined]


# Each part may import only what stands before it.
LAYERS = [
    ("miest_kernels", "kernels/miest_kernels"),
    ("miest.result", "miest/result.py"),
    ("miest.samples", "miest/samples.py"),
    ("miest.traits", "miest/traits.py"),
    ("miest.noise", "miest/noise.py"),
    ("miest.plane.layers", "miest/plane/layers.py"),
    ("miest.plane.inputs", "miest/plane/inputs.py"),
    ("miest.neural", "miest/neural"),
    ("miest.estimators", "miest/estimators"),
    ("miest.tasks", "miest/tasks"),
    ("miest.trials", "miest/trials.py"),
    ("miest.scores", "miest/scores.py"),
    ("miest.validation", "miest/validation.py"),
    ("miest.plotting", "miest/plotting"),
    ("miest.significance", "miest/significance.py"),
    ("miest.sweep", "miest/sweep.py"),
    ("miest.files", "miest/files.py"),
    ("miest.terminal", "miest/terminal.py"),
    ("miest.plane", "miest/plane"),
    ("miest.bottleneck", "miest/bottleneck"),
]


def imports(path: Path, *, for_types: bool = True) -> set[str]:
    """Modules imported anywhere in a file, also inside functions; those that only a type checker sees if asked for."""
    found = set()
    tree = ast.parse(path.read_text())
    unseen = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    left_out = set() if for_types else {statement for node in unseen for statement in node.body}
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("layer", range(len(LAYERS)))
def test_imports_go_one_way(layer: int) -> None:
    name, place = LAYERS[layer]
    allowed = {known for known, _ in LAYERS[: layer + 1]}
    files = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))
    for file in files:
        for module in imports(file):
            if module.partition(".")[0] in ("miest", "miest_kernels") and module != "miest":
                assert any(module == a or module.startswith(a + ".") for a in allowed), f"{file} imports {module}"
    assert files, name


def test_matplotlib_is_imported_in_one_place_only() -> None:
    users = {
        file.parent
        for file in (ROOT / "miest").rglob("*.py")
        if any(module.partition(".")[0] == "matplotlib" for module in imports(file, for_types=False))
    }
    assert users == {ROOT / "miest" / "plotting"}


def test_kernels_import_neither_torch_nor_miest() -> None:
    for file in (ROOT / "kernels" / "miest_kernels").rglob("*.py"):
        assert not {m.partition(".")[0] for m in imports(file)} & {"miest", "torch"}, file
