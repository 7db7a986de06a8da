"""A training run as one HTML page that needs no network: the plane to play through, timelines, doubts, settings.

The page is the template ``report.html`` with the style, the script and the data in it. Text from the run reaches it in
two ways only: escaped, in the tables that are written here, and as JSON in a data block without ``<``, which the script
puts into the page as text. A content security policy allows this script and this style, by their hashes, and not one
request.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from miest import __version__
from miest.plane.report_tables import doubts, settings_tables, words
from miest.plotting.captions import (
    OPEN,
    bound_of,
    intervals,
    is_information,
    left_out,
    name_of,
    processing,
    samples,
    settings_of,
    spread,
)
from miest.plotting.points import ENTROPY, Rows, finite, followed, rises, rows_of
from miest.plotting.recorded import Row, Trajectory
from miest.plotting.steps import log_from

_SCRIPTS = ("report_scales.js", "report_plane.js", "report_timelines.js", "report.js")
_NOTES = 1_000_000  # characters of different notes, beyond which only those of failures are kept


def write_report(trajectory: Trajectory, path: str | Path, *, title: str = "", chain: bool = True) -> Path:
    """Information plane and timelines of a training run as one HTML page, which opens offline in any browser.

    The page plays through the steps, tells the numbers behind every point, changes estimators and layers, and says in
    words what is doubtful. It holds its data and asks nothing of the network; it prints, and works by keyboard.

    Parameters
    ----------
    trajectory : Trajectory     or anything with the attributes of `miest.plotting.recorded.Trajectory`
    path : path of the file     it is overwritten
    title : str                 of the page; "" names the class of the model
    chain : bool                as in `miest.plot_plane`: whether each layer is a function of the one before it alone

    Returns
    -------
    Path                        of the file

    Raises
    ------
    ValueError
        if nothing was estimated
    """
    path = Path(path)
    path.write_bytes(_page(trajectory, title, chain).encode("utf-8", "xmlcharrefreplace"))  # also halves of surrogates
    return path


def _page(trajectory: Trajectory, title: str, chain: bool) -> str:
    rows = rows_of(trajectory)
    if not any(rows.values()):
        raise ValueError("the run has no estimate yet: there is nothing to report.")
    functions = followed(trajectory, chain=chain)
    css = _part("report.css")
    script = '(() => {\n"use strict";\n' + "".join(map(_part, _SCRIPTS)) + "})();\n"
    layers, steps = trajectory.layers, trajectory.steps
    summary = (
        f"{len(layers):,} layers, {len(steps):,} steps ({spread(steps)}), {len(rows):,} quantities, "
        f"{samples(row for found in rows.values() for row in found.values())}"
    )
    filled = {
        "policy": f"default-src 'none'; img-src data:; style-src {_hash(css)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        "version": escape(__version__),
        "title": escape(title or _title(trajectory.settings)),
        "summary": escape(summary),
        "css": css,
        "script": script,
        "doubts": doubts(rows, functions),
        "settings": settings_tables(trajectory, rows),
        "data": _json(_data(trajectory, rows, functions)),
    }
    # One pass: what is filled in is not looked at again, whatever it holds.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], _part("report.html"))


def _title(settings: Mapping[str, Any]) -> str:
    model = settings.get("model")
    name = str(model.get("class", "")).rpartition(".")[2] if isinstance(model, Mapping) else ""
    return f"Information plane of {name}" if name else "Information plane of a training run"


def _part(name: str) -> str:
    return files("miest.plane").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(plain: Any) -> str:
    """JSON in ASCII that cannot end the element it stands in."""
    text = json.dumps(plain, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _data(trajectory: Trajectory, rows: Mapping[str, Rows], functions: Collection[str]) -> dict[str, Any]:
    """What the script draws: arrays over steps and layers, with the sets of flags and notes by their number."""
    steps, layers = list(trajectory.steps), list(trajectory.layers)
    flags, notes = _Numbered(), _Numbered()
    # Notes with numbers of their own differ from row to row: too many would make the page slow to open.
    long = sum(len(note) for note in {note for found in rows.values() for row in found.values() for note in row.notes})
    quantities = []
    for key, found in rows.items():
        cells = [found.get((step, layer)) for step in steps for layer in layers]
        at = {place: i for i, place in enumerate((step, layer) for step in steps for layer in layers)}
        quantities.append(
            {
                "key": key,
                "name": name_of(found) or key,
                "settings": settings_of(found),
                "bound": bound_of(found),
                "axis": trajectory.axes.get(key),
                "information": is_information(found),
                "level": spread({row.level for row in found.values()}, "{:.0%}") if found else "",
                "processing": processing(found, functions) if found else "",
                "wrong": sorted(at[place] for place in rises(found, functions)[1]),
                "value": [_value(row) for row in cells],
                "low": [_end(row, 0) for row in cells],
                "high": [_end(row, 1) for row in cells],
                "flags": [flags.number(() if row is None else row.flags) for row in cells],
                "notes": [notes.number(_kept(row, long)) for row in cells],
            }
        )
    keys = list(rows)
    first = {axis: next((i for i, key in enumerate(keys) if trajectory.axes.get(key) == axis), 0) for axis in "xy"}
    names = dict.fromkeys(name for logged in trajectory.scalars.values() for name in logged)
    scalars = {
        str(name): [
            [step, float(logged[name])]
            for step, logged in sorted(trajectory.scalars.items())
            if name in logged and math.isfinite(logged[name]) and steps[0] <= step <= steps[-1]
        ]
        for name in names
    }
    everything = [row for found in rows.values() for row in found.values()]
    return {
        "steps": steps,
        "layers": layers,
        "log": log_from(steps) is not None,
        "chain": bool(functions),
        "branched": OPEN,
        **first,
        "n": " ".join([samples(everything), *intervals(everything), *left_out(everything)]),
        "references": {
            axis: {"name": name, "value": float(trajectory.references[name])}
            for axis, name in ENTROPY.items()
            if name in trajectory.references
        },
        "quantities": quantities,
        "flags": flags.items,
        "notes": notes.items,
        "words": {name: words(name) for item in flags.items for name in item},
        "scalars": {name: line for name, line in scalars.items() if line},
    }


class _Numbered:
    """Different items in the order in which they came, each once."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, ...], int] = {}

    def number(self, item: Sequence[str]) -> int:
        return self._numbers.setdefault(tuple(item), len(self._numbers))

    @property
    def items(self) -> list[list[str]]:
        return [list(item) for item in self._numbers]


def _kept(row: Row | None, long: int) -> Sequence[str]:
    if row is None or (long > _NOTES and finite(row)):
        return ()
    return row.notes


def _value(row: Row | None) -> float | str | None:
    if row is None:
        return None
    if row.kind == "failed" or math.isnan(row.value):
        return "failed"
    return float(f"{row.value:.6g}") if math.isfinite(row.value) else "infinite"


def _end(row: Row | None, side: int) -> float | None:
    if row is None or row.interval is None or not finite(row) or not all(map(math.isfinite, row.interval)):
        return None
    return float(f"{row.interval[side]:.6g}")
