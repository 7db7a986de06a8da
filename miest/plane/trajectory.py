"""The estimates of a training run: a row for each step, layer and quantity, and what was logged beside them."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from miest.plane.row import Row, numbers, spelled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Axis = Literal["x", "y"]

_COLUMNS = (
    *("step", "layer", "quantity", "value", "low", "high", "level", "kind", "ceiling", "flags", "n", "seconds"),
    *("estimator", "name", "notes"),
)


@dataclass(frozen=True, repr=False)
class Trajectory:
    """What was estimated in the course of training: rows by step, layer and quantity, in nats.

    Parameters
    ----------
    rows : rows in any order            where two have the same step, layer and quantity, the later one holds
    scalars : mapping of step to {name: number}     loss, accuracy, ...
    settings : mapping                  what ``run.json`` holds: model, layers, probe set, quantities, versions
    """

    rows: tuple[Row, ...] = ()
    scalars: Mapping[int, Mapping[str, float]] = field(default_factory=dict, hash=False)
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        last = {row.place: row for row in self.rows}
        object.__setattr__(self, "rows", tuple(last.values()))  # `layers` and `quantities` read them
        layer = {name: i for i, name in enumerate(self.layers)}
        quantity = {key: i for i, key in enumerate(self.quantities)}
        ordered = sorted(last.values(), key=lambda row: (row.step, layer[row.layer], quantity[row.quantity]))
        object.__setattr__(self, "rows", tuple(ordered))
        object.__setattr__(self, "scalars", {step: dict(self.scalars[step]) for step in sorted(self.scalars)})

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """In network order."""
        return tuple(dict.fromkeys([*self.settings.get("layers", ()), *sorted({row.layer for row in self.rows})]))

    @cached_property
    def quantities(self) -> tuple[str, ...]:
        """Keys of what was estimated, in the order in which they were asked for."""
        asked = [each["key"] for each in self.settings.get("quantities", ())]
        there = {row.quantity for row in self.rows}
        return tuple(dict.fromkeys([*(key for key in asked if key in there), *sorted(there)]))

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps with an estimate, ascending."""
        return tuple(sorted({row.step for row in self.rows}))

    @property
    def axes(self) -> dict[str, Axis | None]:
        """Of the plane, for each quantity; None for one that has no place in it."""
        asked = {each["key"]: each["axis"] for each in self.settings.get("quantities", ())}
        return {key: asked.get(key) for key in self.quantities}

    @property
    def references(self) -> dict[str, float]:
        """Entropies of the probe set in nats: "H(X)", and "H(Y)" where labels are discrete."""
        return dict(self.settings.get("references", {}))

    @property
    def flagged(self) -> tuple[Row, ...]:
        """Rows whose number should not be believed without a look at their notes."""
        return tuple(row for row in self.rows if row.flags)

    @property
    def failed(self) -> tuple[Row, ...]:
        """Rows without a number; the reason is in their notes."""
        return tuple(row for row in self.rows if row.failed)

    @property
    def violations(self) -> tuple[Row, ...]:
        """Rows with more than the recorded layer before them has, which no function of that layer can have.

        Only quantities that processing cannot raise are looked at (not those with noise or bins of their own in each
        layer), and only excess beyond the errors of both. They mean something where the layers form a chain.
        """
        from miest.plotting.points import impossible

        where = {key: impossible(self, key) for key in self.quantities}
        return tuple(row for row in self.rows if (row.step, row.layer) in where[row.quantity])

    def select(
        self,
        *,
        layer: str | None = None,
        quantity: str | None = None,
        estimator: str | None = None,
        step: int | None = None,
    ) -> Self:
        """The trajectory with some of the rows only.

        Parameters
        ----------
        layer, quantity, estimator : str    names or patterns such as "fc*"; an estimator also by its name alone, "KSG"
        step : int

        Raises
        ------
        ValueError
            if no row has such a layer, quantity, estimator or step
        """
        rows = self.rows
        wanted = {"layer": layer, "quantity": quantity, "estimator": estimator}
        for name, pattern in wanted.items():
            if pattern is not None:
                rows = tuple(row for row in rows if _matches(getattr(row, name), pattern, bare=name == "estimator"))
                if not rows:
                    _refuse(name, pattern, [getattr(row, name) for row in self.rows])
        if step is not None:
            rows = tuple(row for row in rows if row.step == step)
            if not rows:
                _refuse("step", step, [str(s) for s in self.steps])
        return type(self)(rows=rows, scalars=self.scalars, settings=self.settings)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        doubts = [
            f"{len(found)} {what}" for found, what in ((self.flagged, "flagged"), (self.failed, "failed")) if found
        ]
        told = f" ({', '.join(doubts)})" if doubts else ""
        layers = {row.layer for row in self.rows}
        return (
            f"Trajectory of {len(self.steps)} steps, {len(layers)} layers and {len(self.quantities)} quantities: "
            f"{len(self.rows)} estimates{told}"
        )

    __repr__ = __str__

    def to_frame(self) -> "pd.DataFrame":
        """A pandas table with a row for each estimate; flags are joined by commas, notes by spaces.

        Raises
        ------
        ImportError
            if pandas is not installed
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("a table needs pandas: pip install 'miest[data]', or take to_csv().") from error
        return pd.DataFrame([_flat(row) for row in self.rows], columns=list(_COLUMNS))

    def to_csv(self, path: str | Path | None = None) -> str:
        """The table as CSV text, also written to `path` if there is one."""
        out = io.StringIO()
        writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_flat(row) for row in self.rows)
        if path is not None:
            Path(path).write_text(out.getvalue(), encoding="utf-8")
        return out.getvalue()

    def to_parquet(self, path: str | Path) -> None:
        """Write the table as a Parquet file, with the settings of the run in its metadata.

        Raises
        ------
        ImportError
            if pyarrow is not installed
        """
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise ImportError("Parquet needs pyarrow: pip install 'miest[data]', or take to_csv().") from error
        kinds = {"step": pa.int64(), "n": pa.int64()}
        kinds |= {name: pa.float64() for name in ("value", "low", "high", "level", "ceiling", "seconds")}
        schema = pa.schema([(name, kinds.get(name, pa.string())) for name in _COLUMNS])
        settings = {"miest": json.dumps(spelled({"settings": self.settings, "scalars": self.scalars}))}
        table = pa.Table.from_pylist([_flat(row) for row in self.rows], schema=schema)
        pq.write_table(table.replace_schema_metadata(settings), str(path))

    def to_json(self, path: str | Path | None = None, *, indent: int | None = None) -> str:
        """JSON text that `from_json` reads back to an equal trajectory, also written to `path` if there is one."""
        plain = {
            "settings": self.settings,
            "rows": [row.to_dict() for row in self.rows],
            "scalars": [{"step": step, "scalars": found} for step, found in self.scalars.items()],
        }
        text = json.dumps(spelled(plain), indent=indent, allow_nan=False)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild a trajectory from `to_json`.

        Raises
        ------
        ValueError
            if the text is not such JSON
        """
        plain = json.loads(text)
        if not isinstance(plain, dict) or set(plain) != {"settings", "rows", "scalars"}:
            raise ValueError("not a trajectory: it needs settings, rows and scalars, as to_json writes them.")
        return cls(
            rows=tuple(map(Row.from_dict, plain["rows"])),
            scalars={int(each["step"]): numbers(each["scalars"]) for each in plain["scalars"]},
            settings=plain["settings"],
        )

    def plot(self, x: str | None = None, y: str | None = None, **options: Any) -> "tuple[Figure, Axes]":
        """Draw the information plane; see `miest.plot_plane`, which takes the options."""
        from miest.plotting import plot_plane

        return plot_plane(self, x, y, **options)

    def plot_timeline(self, **options: Any) -> "tuple[Figure, Any]":
        """Draw quantities against steps, with what was logged beside them; see `miest.plot_timeline`."""
        from miest.plotting import plot_timeline

        return plot_timeline(self, **options)

    def plot_compare(self, **options: Any) -> "tuple[Figure, Any]":
        """Draw the plane under several estimators, side by side; see `miest.plot_compare`."""
        from miest.plotting import plot_compare

        return plot_compare(self, **options)

    def report(self, path: str | Path, **options: Any) -> Path:
        """Write one HTML page, which needs no network: the plane to play through, timelines, flags in plain words."""
        from miest.plane.report import write_report

        return write_report(self, path, **options)


def _flat(row: Row) -> dict[str, Any]:
    low, high = row.interval or (None, None)
    flat = {name: getattr(row, name, None) for name in _COLUMNS}
    return flat | {"low": low, "high": high, "flags": ",".join(row.flags), "notes": " ".join(row.notes)}


def _matches(text: str, pattern: str, *, bare: bool) -> bool:
    if text == pattern or (bare and text.partition("(")[0].lower() == pattern.lower()):
        return True
    return fnmatchcase(text, pattern)


def _refuse(name: str, wanted: object, there: Sequence[str] | Iterable[str]) -> None:
    known = list(dict.fromkeys(there))
    near = get_close_matches(str(wanted), known, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ValueError(f"no row has {name}={wanted!r}.{hint} There is {', '.join(known[:20]) or 'none'}.")
