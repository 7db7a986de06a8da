"""The folder of a run, which can be read again whenever the writer was stopped.

=================== ============================================================================================
``run.json``         schema, model, layers, probe set, quantities and versions; written whole and then renamed
``trajectory.jsonl`` appended to: a line for each finished row, ``{"step": 3, "layer": "fc1", ...}``, and one for what
                     was logged beside it, ``{"step": 3, "scalars": {"loss": 0.2}}``. A later line for the same step,
                     layer and quantity replaces the earlier one, as where a failed estimate was made again
``labels.npy``       of the probe set; ``inputs.npy`` where a quantity needs them
``snapshots/``       ``step-000100.safetensors``, where layers are kept
``pending/``         the same, until they are estimated in the background
``lock``             held by the one process that writes
=================== ============================================================================================

A line is written by one call and is on the disk before the next: a last line that is torn is cut off by the next
writer, and passed over by a reader. Nothing is ever pickled.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miest.plane.row import Row, numbers, spelled
from miest.plane.trajectory import Trajectory

SCHEMA = 1

RUN, ROWS, LOCK, SNAPSHOTS, PENDING = "run.json", "trajectory.jsonl", "lock", "snapshots", "pending"
_OURS = {ROWS, LOCK, SNAPSHOTS, PENDING, "labels.npy", "inputs.npy"}  # what may be there before run.json is

_SAME = {
    "model": "model",
    "chosen": "layers",
    "probe": "probe set",
    "n": "number of probe samples",
    "seed": "seed",
    "reduce": "reduction",
    "train_mode": "mode of the recording",
    "dtype": "dtype of the recording",
}
"""What a run that goes on must share with what is in the folder."""


def load_plane(folder: str | Path) -> Trajectory:
    """Read the run that an `InformationPlane` saved; it may still be going on.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    Trajectory
        every finished row; a last line that was cut short is left out

    Raises
    ------
    FileNotFoundError
        if there is no run in the folder
    ValueError
        if a file in it is damaged, or was written by a later version
    """
    folder = Path(folder)
    settings = read_settings(folder)
    rows, scalars = read_lines(folder / ROWS)
    return Trajectory(rows=tuple(rows), scalars=scalars, settings=settings)


def read_settings(folder: Path) -> dict[str, Any]:
    """What ``run.json`` holds; see `load_plane` for what it raises."""
    path = folder / RUN
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"there is no run in {folder}: it has no {RUN}. Pass the folder that save= named."
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged, as it is no JSON: {error}.") from error
    if not isinstance(plain, dict) or not isinstance(plain.get("schema"), int):
        raise ValueError(f"{path} is no run of miest: it has no schema.")
    if plain["schema"] > SCHEMA:
        raise ValueError(
            f"{path} has schema {plain['schema']}, and this version of miest reads up to {SCHEMA}: update miest."
        )
    return plain


def is_run(folder: Path) -> bool:
    """Whether a run was begun in the folder."""
    return (folder / RUN).exists()


def labels_and_inputs(folder: Path) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """The labels and inputs of the probe set, as far as they were kept; inputs are memory-mapped."""
    labels, inputs = folder / "labels.npy", folder / "inputs.npy"
    return (
        np.load(labels, allow_pickle=False) if labels.exists() else None,
        np.load(inputs, mmap_mode="r", allow_pickle=False) if inputs.exists() else None,
    )


def snapshots(folder: Path) -> dict[int, Path]:
    """The snapshots that are there, by step; those that are kept, before those that wait to be estimated."""
    found = {}
    for place in (PENDING, SNAPSHOTS):
        for path in (folder / place).glob("step-*.safetensors"):
            step = re.fullmatch(r"step-(\d+)", path.stem)
            if step:
                found[int(step[1])] = path
    return dict(sorted(found.items()))


def refuse_existing(path: Path) -> None:
    """Raise FileExistsError unless a run can begin here without touching anything."""
    if is_run(path):
        raise FileExistsError(
            f"there is a run in {path} already, and it is never overwritten: pass resume=True to go on with it, or "
            "another folder."
        )
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} is a file: pass a folder.")
    if path.exists():
        others = sorted(item.name for item in path.iterdir() if item.name not in _OURS and item.suffix != ".partial")
        if others:
            raise FileExistsError(f"{path} holds other files ({', '.join(others[:5])}): pass a new or empty folder.")


def refuse_other(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise ValueError where a run in a folder is not the one that is to go on."""
    for name, readable in _SAME.items():
        if before.get(name) != spelled(now.get(name)):
            raise ValueError(
                f"the run in {path} is another one: its {readable} is {_shown(before.get(name))}, and now it is "
                f"{_shown(spelled(now.get(name)))}. Pass another folder, or what that run was begun with."
            )


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 200 else f"{text[:200]}..."


def read_lines(path: Path) -> tuple[list[Row], dict[int, dict[str, float]]]:
    """Rows and what was logged, from the lines that were written to their end."""
    rows: list[Row] = []
    scalars: dict[int, dict[str, float]] = {}
    for number, line in enumerate(_whole_lines(path), 1):
        try:
            plain = json.loads(line)
            if "scalars" in plain:
                scalars.setdefault(int(plain["step"]), {}).update(numbers(plain["scalars"]))
            else:
                rows.append(Row.from_dict(plain))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"line {number} of {path} is damaged, or was written by another version of miest: {error}. Remove "
                "that line to read the others."
            ) from error
    return rows, scalars


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Lines that were written to their end."""
    try:
        with path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))
    except FileNotFoundError:  # stopped before the first row
        return
