"""The command line: ``miest estimate``, ``miest validate`` and ``miest info``.

Results go to stdout; progress and errors to stderr. Exit codes: 0 all went well; 1 a file or an estimate failed, with a
line on stderr for each; 2 the command itself was wrong. Numbers that are written to JSON are always in nats.
"""

import json
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, get_args

import click

import miest
from miest.data_commands import data
from miest.plane.commands import plane
from miest.terminal import one_line, open_console, plain_text, progress_bar, write_text

if TYPE_CHECKING:
    from rich.table import Table

    from miest.estimators.estimator import Estimator
    from miest.result import MIResult
    from miest.validation import Validation

Units = Literal["nats", "bits"]
Argument = Literal["x", "y", "given"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(miest.__version__, prog_name="miest")
def main() -> None:
    """Mutual information of saved data and activations, with a word on when not to believe it.

    \b
    Examples:
      miest estimate data.csv --x height --y weight
      miest estimate activations.npz --x 'layer*' --y labels --estimator kde --estimator binning
      miest validate --suite quick --estimator ksg --estimator mypackage.mine:Estimator
      miest info
    """  # noqa: D301 - click reads the backspace as "keep these lines as they are"


main.add_command(data)
main.add_command(plane)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--x", "xs", multiple=True, metavar="KEY", help="Array in FILE; see below. Needed if there are several.")
@click.option("--y", metavar="KEY", help="The other variable; left out: estimate I(X;T) of the layer --x alone.")
@click.option("--given", metavar="KEY", help="Condition on it: I(X;Y|Z).")
@click.option("--y-file", type=click.Path(path_type=Path), help="Where --y is, if not in FILE; alone: its only array.")
@click.option("--given-file", type=click.Path(path_type=Path), help="Where --given is, if not in FILE.")
@click.option("--estimator", "specs", multiple=True, default=["auto"], show_default=True, metavar="NAME[:k=5,...]")
@click.option("--discrete", multiple=True, type=click.Choice(get_args(Argument)), help="Its values are labels.")
@click.option("--continuous", multiple=True, type=click.Choice(get_args(Argument)), help="Its values are coordinates.")
@click.option("--units", type=click.Choice(get_args(Units)), default="nats", show_default=True, help="Of the table.")
@click.option("--json", "out", metavar="OUT", help="Write the results as JSON, in nats; - is stdout, table to stderr.")
@click.option("--seed", type=int, help="Fixes every random number.")
def estimate(
    file: Path,
    xs: tuple[str, ...],
    y: str | None,
    given: str | None,
    y_file: Path | None,
    given_file: Path | None,
    specs: tuple[str, ...],
    discrete: tuple[Argument, ...],
    continuous: tuple[Argument, ...],
    units: Units,
    out: str | None,
    seed: int | None,
) -> None:
    """Mutual information of arrays in FILE: .npy, .npz, .safetensors, .h5, .csv, .parquet or .pt.

    A KEY is the name of an array or of a column. A pattern such as 'layer*', or --x again, gives one estimate each;
    a,b puts arrays side by side into one variable. Pickled objects are never read.

    An estimator is a name, and settings if need be: ksg, ksg:k=5,variant=2 or "KSG(k=5)". Every --estimator is applied
    to every --x. Names: auto, which chooses by the data, and the classes that miest exports (binning, gaussian-copula,
    kde, ksg, mixed-ksg, plug-in, ross, ...).

    Floats are continuous, integers, booleans and text are labels; --discrete and --continuous override that.

    One estimate is printed as a full report, several as a table. Exit code 1 if one of them could not be made.

    \b
    Examples:
      miest estimate data.csv --x height --y weight
      miest estimate data.csv --x height,width --y weight --given sex --units bits
      miest estimate acts.safetensors --x 'layer*' --y labels --discrete y --estimator mixed-ksg:k=5
      miest estimate acts.npz --x 'layer*' --estimator kde --estimator binning:bins=30 --json out.json
      miest estimate layer3.npy --y-file labels.npy --json - | jq '.[].result.value'
    """  # noqa: D301
    methods = [_method(spec) for spec in dict.fromkeys(specs)]
    read = _reader(discrete, continuous)
    if out is not None:
        _need_writable(out, "--json")
    try:
        variables = _choose(file, xs)
        second = _only(y_file or file, y, "--y") if y is not None or y_file else None
        third = _only(given_file or file, given, "--given") if given is not None or given_file else None
        y_data = None if second is None else read("y", second)
        z_data = None if third is None else read("given", third)
    except (ValueError, OSError, ImportError) as error:
        raise click.ClickException(one_line(error)) from error
    rows: list[_Row] = []
    with progress_bar(len(variables) * len(methods)) as progress:
        task = progress.add_task("", total=len(variables) * len(methods))
        for variable in variables:
            data: Any = None
            for method in methods:
                progress.update(task, description=f"{variable.label}, {method.label}")
                try:
                    data = read("x", variable) if data is None else data
                    result = method.estimator.estimate(data, y_data, given=z_data, seed=seed)
                    rows.append(_Row(variable.label, method.label, result))
                except (ValueError, OSError, ImportError) as error:
                    rows.append(_Row(variable.label, method.label, one_line(error)))
                progress.advance(task)
    _print(rows, units, sys.stderr if out == "-" else sys.stdout)
    failed = [row for row in rows if isinstance(row.result, str)]
    for row in failed:
        click.echo(f"Error: {row.x}, {row.method}: {row.result}", err=True)
    if out is not None:
        asked = {"y": second and second.label, "y_file": second and str(second.file)}
        asked |= {"given": third and third.label, "given_file": third and str(third.file)}
        _write_json(out, [{"file": str(file), "x": row.x, **asked, **row.plain()} for row in rows])
    if failed:
        sys.exit(1)


@main.command()
@click.option("--suite", type=click.Choice(["quick", "full", "traps"]), default="quick", show_default=True)
@click.option("--estimator", "specs", multiple=True, metavar="SPEC", help="See below; default: all of I(X;Y).")
@click.option("--n", "sizes", multiple=True, type=click.IntRange(min=2), default=[1000, 2000], show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="How many; 0, 1, ...")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for trials, summary and pictures; see below.")
@click.option("--fresh", is_flag=True, help="Measure anew what the trials in --out already hold.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Samples at a time, as processes; -1: all cores.")
@click.option("--json", "json_out", metavar="OUT", help="Write the summary as JSON; - is stdout, tables to stderr.")
@click.option("--csv", "csv_out", metavar="OUT", help="Write the summary as CSV; - is stdout, tables to stderr.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="PNG", help="Draw the errors at the largest n.")
def validate(
    suite: Literal["quick", "full", "traps"],
    specs: tuple[str, ...],
    sizes: tuple[int, ...],
    seeds: int,
    out: Path | None,
    fresh: bool,
    jobs: int,
    json_out: str | None,
    csv_out: str | None,
    plot: Path | None,
) -> None:
    """Measure estimators on distributions whose mutual information is known, in nats.

    Every estimator meets every task at every --n, once for each seed. Bias, spread, coverage of the intervals, errors
    without a flag and rates of the flags are counted from that. An estimator that refuses a task is counted as such.

    A SPEC is one of miest's own as in `miest estimate` (auto, ksg:k=5, ...), or package.module:Object, imported from
    here or from where Python finds it: an object or class with estimate(x, y), or a function of (x, y), which returns
    a number of nats.

    --out DIR keeps trials.jsonl, one trial to a line, and goes on from it when the command is run again. Trials of
    other code are not reused. Beside it stand summary.json, summary.csv and a picture for each n.

    Exit code 1 if an estimator ended in an error other than a ValueError, by which it would have refused.

    \b
    Examples:
      miest validate
      miest validate --suite full --n 10000 --seeds 3 --jobs 2 --out validation
      miest validate --estimator ksg --estimator ksg:k=10 --suite traps --json - | jq '.overall'
      miest validate --estimator mypackage.mine:Estimator --plot errors.png
    """  # noqa: D301
    from contextlib import nullcontext

    from joblib import parallel_config

    from miest.trials import methods

    if "-" == json_out == csv_out:
        raise click.UsageError("--json - and --csv - cannot both go to stdout.")
    if jobs == 0:
        raise click.BadParameter("0 jobs do nothing: take 1 or more, or -1 for all cores.", param_hint="--jobs")
    if plot is not None:
        _need_matplotlib()
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a module that lies here, which the console script would not find
    chosen = list(dict.fromkeys(specs)) or None
    try:
        methods(chosen or ["auto"])
    except ValueError as error:
        raise _bad(one_line(error)) from error
    with progress_bar(2) as bar:
        task = bar.add_task(f"{suite} tasks")
        try:
            with nullcontext() if jobs == 1 else parallel_config(backend="loky", n_jobs=jobs):
                found = miest.validate(
                    chosen,
                    suite,
                    sizes=sizes,
                    seeds=range(seeds),
                    save=None if out is None else out / "trials.jsonl",
                    resume=not fresh,
                    progress=lambda done, total: bar.update(task, completed=done, total=total),
                )
        except (ValueError, OSError) as error:
            raise click.ClickException(one_line(error)) from error
    if out is not None:
        write_text(str(out / "summary.json"), found.to_json(indent=1), "--out")
        write_text(str(out / "summary.csv"), found.to_csv().rstrip("\n"), "--out")
    for option, where, text in (("--json", json_out, found.to_json(indent=2)), ("--csv", csv_out, found.to_csv())):
        if where is not None:
            write_text(where, text.rstrip("\n"), option)
    _draw(found, out, plot)
    stream = sys.stderr if "-" in (json_out, csv_out) else sys.stdout
    click.echo(found.report(width=open_console(stream).width), file=stream, nl=False)
    reasons = {f"{trial.estimator}, {trial.task}, n = {trial.n}: {trial.error}": None for trial in found.failed()}
    for reason in reasons:
        click.echo(f"Error: {reason}", err=True)
    if reasons:
        sys.exit(1)


def _need_matplotlib() -> None:
    from miest.plotting import empty_figure

    try:
        empty_figure(1, 1)
    except ImportError as error:
        raise click.ClickException(one_line(error)) from error


def _draw(found: "Validation", out: Path | None, plot: Path | None) -> None:
    """The picture that was asked for, and those of --out, for which matplotlib may be missing."""
    from importlib.util import find_spec

    from miest.plotting import plot_errors

    files = {n: out / f"errors-n{n}.png" for n in found.sizes} if out and find_spec("matplotlib") else {}
    pictures = [*files.items(), *([(max(found.sizes), plot)] if plot else [])]
    for n, file in pictures:
        try:
            plot_errors(found, n=n)[0].savefig(file, dpi=120, metadata={"Software": None})
        except (OSError, ValueError) as error:
            raise click.ClickException(f"{file} cannot be written: {one_line(error)}") from error


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def info(as_json: bool) -> None:
    """Versions, neighbour backends and optional packages, and which of them run here."""
    found = _found()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from rich.table import Table

    table = Table(show_header=False)
    rows = {"miest": found["miest"], "platform": found["platform"], "cores": str(found["cores"])}
    rows |= {name: version or "not installed" for name, version in found["packages"].items()}
    rows |= {f"neighbours={name!r}": reason or "runs here" for name, reason in found["neighbours"].items()}
    rows |= {
        f"miest[{name}]": f"lacks {', '.join(lacks)}: pip install 'miest[{name}]'" if lacks else "present"
        for name, lacks in found["extras"].items()
    }
    for name, text in rows.items():
        table.add_row(plain_text(name), plain_text(text))
    open_console(sys.stdout).print(table)


@dataclass(frozen=True, kw_only=True)
class _Variable:
    """Arrays of one file that, side by side, are the samples of one variable."""

    file: Path
    names: tuple[str, ...]

    @property
    def label(self) -> str:
        return ",".join(self.names)

    def read(self, *, declared: bool) -> Any:
        """The arrays side by side; of one kind, unless the caller has declared which to take them for."""
        import numpy as np

        arrays = miest.load(self.file, self.names)
        if len(arrays) == 1:
            return next(iter(arrays.values()))
        if any(a.ndim == 0 for a in arrays.values()) or len({len(a) for a in arrays.values()}) > 1:
            shapes = ", ".join(f"{name} {a.shape}" for name, a in arrays.items())
            raise ValueError(f"{self.label} cannot be put side by side, as their first axes differ: {shapes}.")
        floats = [name for name, a in arrays.items() if a.dtype.kind == "f"]
        texts = [name for name, a in arrays.items() if a.dtype.kind in "US"]
        if 0 < len(texts) < len(arrays) or (0 < len(floats) < len(arrays) and not declared):
            raise ValueError(
                f"{self.label} mixes kinds ({', '.join(f'{name} {a.dtype}' for name, a in arrays.items())}): join "
                "arrays of one kind, or give one of them as --given, or take numbers for coordinates by --continuous."
            )
        return np.column_stack([a.reshape(len(a), -1) for a in arrays.values()])


@dataclass(frozen=True, kw_only=True)
class _Method:
    label: str
    estimator: "Estimator"


@dataclass(frozen=True)
class _Row:
    """One estimate, or why it could not be made."""

    x: str
    method: str
    result: "MIResult | str"

    def plain(self) -> dict[str, Any]:
        """What is written to JSON; values are in nats whatever the table is in."""
        plain: dict[str, Any] = {"estimator": self.method, "units": "nats"}
        if isinstance(self.result, str):
            return plain | {"result": None, "error": self.result}
        return plain | {"result": json.loads(self.result.to_json())}


def _choose(file: Path, wanted: Sequence[str]) -> list[_Variable]:
    """The variables that --x names: one for each match of a pattern, one for each list with commas."""
    from miest.files import matching, names

    known = names(file)
    if not wanted:
        if len(known) != 1:
            raise ValueError(
                f"{file} has {len(known)} arrays: name those to use with --x. It has: {', '.join(known[:20])}."
            )
        wanted = known
    chosen: list[tuple[str, ...]] = []
    for want in wanted:
        if want not in known and "," in want:
            chosen.append(tuple(name for part in want.split(",") for name in matching(known, part.strip(), file)))
        else:
            chosen += [(name,) for name in matching(known, want, file)]
    return [_Variable(file=file, names=one) for one in dict.fromkeys(chosen)]


def _only(file: Path, wanted: str | None, option: str) -> _Variable:
    found = _choose(file, [] if wanted is None else [wanted])
    if len(found) > 1:
        names = ", ".join(one.label for one in found[:20])
        raise ValueError(f"{option} {wanted} names {len(found)} arrays ({names}): pick one, or join them with commas.")
    return found[0]


def _reader(discrete: Sequence[Argument], continuous: Sequence[Argument]) -> Callable[[Argument, _Variable], Any]:
    """What reads a variable and marks it as the caller has declared it."""
    both = sorted(set(discrete) & set(continuous))
    if both:
        raise click.UsageError(f"{', '.join(both)} cannot be both --discrete and --continuous.")

    def read(argument: Argument, variable: _Variable) -> Any:
        data = variable.read(declared=argument in discrete or argument in continuous)
        if argument in discrete:
            return miest.discrete(data)
        return miest.continuous(data) if argument in continuous else data

    return read


def _method(spec: str) -> _Method:
    """An estimator from ``name``, ``name:key=value,...`` or ``Name(key=value, ...)``; nothing in it is executed."""
    from miest.estimators.spec import parsed, short

    try:
        made = parsed(spec)
    except ValueError as error:
        raise _bad(str(error)) from error
    return _Method(label=short(made), estimator=made)


def _bad(message: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint="--estimator")


def _print(rows: Sequence[_Row], units: Units, stream: IO[str]) -> None:
    """A report for one estimate in nats, otherwise a table and, below it, each note once."""
    console = open_console(stream)
    if len(rows) == 1 and units == "nats":
        if not isinstance(rows[0].result, str):
            click.echo(rows[0].result.report(), file=stream, nl=False)
        return
    table = _table(rows, units, brief=False)
    if console.measure(table, options=console.options.update(max_width=10_000)).maximum > console.width:
        table = _table(rows, units, brief=True)
    console.print(table)
    notes: dict[str, list[str]] = {}
    for row in rows:
        for note in [row.result] if isinstance(row.result, str) else row.result.notes:
            notes.setdefault(note, []).append(f"{row.x}, {row.method}")
    for note, about in notes.items():
        where = about[0] if len(about) == 1 else f"{about[0]} and {len(about) - 1} more"
        console.print(plain_text(f"{where}: {note}"), soft_wrap=not console.is_terminal)


def _table(rows: Sequence[_Row], units: Units, *, brief: bool) -> "Table":
    """A row for each estimate; `brief` leaves out the columns that say nothing, for a narrow terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    headings = ("x", "estimator", "quantity", f"value ({units})", "interval", "kind", "ceiling", "flags", "n", "s")
    numbers = {headings[3], "interval", "ceiling", "n", "s"}
    cells = [_cells(row, units) for row in rows]
    silent = {"interval", "kind", "ceiling", "flags"} if brief else set()
    shown = [i for i, name in enumerate(headings) if name not in silent or {row[i] for row in cells} - {"", "point"}]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for i in shown:
        right = headings[i] in numbers
        table.add_column(headings[i], justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in cells:
        table.add_row(*[plain_text(row[i]) for i in shown])
    return table


def _cells(row: _Row, units: Units) -> list[str]:
    from miest.estimators.spec import short

    result, scale = row.result, 1.0 if units == "nats" else 1.0 / math.log(2)
    if isinstance(result, str):
        return [row.x, row.method, "", "failed", "", "", "", "why: below", "", ""]
    return [
        row.x,
        row.method if (used := short(result.estimator)) == row.method else f"{row.method}: {used}",
        result.quantity,
        f"{result.value * scale:.4f}",
        "" if result.interval is None else " to ".join(f"{end * scale:.4f}" for end in result.interval),
        result.kind,
        "" if result.ceiling is None else f"{result.ceiling * scale:.4f}",
        ", ".join(flag.name for flag in result.flags),
        str(result.n_samples),
        f"{result.seconds:.2f}",
    ]


def _need_writable(out: str, option: str) -> None:
    """Fail before the work where a file could not be written after it."""
    if out == "-":
        return
    file = Path(out)
    try:
        there = file if file.exists() else file.parent
        if file.is_dir():
            reason = "Is a directory"
        elif there == file.parent and not there.is_dir():
            reason = "Not a directory" if there.exists() else "No such directory"
        else:
            reason = "" if os.access(there, os.W_OK) else "Permission denied"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    if reason:
        raise click.ClickException(f"{option} {out} cannot be written: {reason}.")


def _write_json(out: str, rows: list[dict[str, Any]]) -> None:
    write_text(out, json.dumps(rows, indent=2), "--json")


def _found() -> dict[str, Any]:
    """What `info` shows; of an extra, the packages that are missing."""
    import platform
    from importlib.metadata import PackageNotFoundError, requires, version

    import joblib

    from miest_kernels import BACKENDS, unavailable

    def installed(*names: str) -> str | None:
        for name in names:
            try:
                return version(name)
            except PackageNotFoundError:
                continue
        return None

    try:
        needs = requires("miest") or []
    except PackageNotFoundError:  # run from a checkout that was never installed
        needs = []
    extras: dict[str, list[str]] = {}
    for need in needs:
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", need)
        package = re.match(r"[\w.-]+", need)
        if extra and package and extra[1] != "dev":
            lacks = extras.setdefault(extra[1], [])
            lacks += [] if installed(package[0]) else [package[0]]
    return {
        "miest": miest.__version__,
        "platform": platform.platform(),
        "cores": joblib.cpu_count(),
        "packages": {
            "python": platform.python_version(),
            **{name: installed(name) for name in ("numpy", "scipy", "numba", "scikit-learn", "torch")},
            "faiss": installed("faiss-cpu", "faiss-gpu-cu12", "faiss-gpu"),
        },
        "neighbours": {name: unavailable(name) for name in BACKENDS},
        "extras": extras,
    }
