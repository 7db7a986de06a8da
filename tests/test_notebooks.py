"""The notebooks run, and the outputs kept in them are what they print."""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("[0-9]*.ipynb"))
TRAINS = "train_and_record("
"""What follows it depends on the version of torch."""

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def kept_and_fresh(request, tmp_path_factory):
    """Pairs of code cells, as they are in the file and as they come out now; a cell that fails raises."""
    from nbclient import NotebookClient

    kept = nbformat.read(request.param, as_version=4)
    nbformat.validate(kept)
    fresh = nbformat.read(request.param, as_version=4)
    folder = tmp_path_factory.mktemp("notebook")
    NotebookClient(fresh, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return [(a, b) for a, b in zip(kept.cells, fresh.cells, strict=True) if a.cell_type == "code"]


def test_every_cell_was_run_in_order_and_none_failed(kept_and_fresh):
    for side in zip(*kept_and_fresh, strict=True):
        assert [cell.execution_count for cell in side] == list(range(1, len(side) + 1))
        assert all(output.output_type != "error" for cell in side for output in cell.outputs)
        assert all(output.get("name") != "stderr" for cell in side for output in cell.outputs)


def test_the_outputs_kept_are_those_printed_now(kept_and_fresh):
    compared = 0
    for kept, fresh in kept_and_fresh:
        if TRAINS in kept.source:
            break
        assert _NUMBER.sub("#", printed(kept)) == _NUMBER.sub("#", printed(fresh))
        for a, b in zip(_NUMBER.findall(printed(kept)), _NUMBER.findall(printed(fresh)), strict=True):
            assert float(a) == pytest.approx(float(b), abs=0.002)
            compared += 1
    assert compared > 10


def test_pictures_are_drawn(kept_and_fresh):
    for side in zip(*kept_and_fresh, strict=True):
        assert sum("image/png" in output.get("data", {}) for cell in side for output in cell.outputs) >= 2
