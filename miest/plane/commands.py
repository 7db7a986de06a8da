"""The commands ``miest plane``, which work on the folder of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from miest.plane.trajectory import Trajectory

_RUN = click.argument("run", type=click.Path(path_type=Path))
_TITLE = click.option("--title", default="", help="Above the picture.")
_CHAIN = click.option(
    "--chain/--no-chain",
    default=True,
    show_default=True,
    help="Whether each layer is a function of the one before it alone; not so with skip connections and branches.",
)


@click.group()
def plane() -> None:
    """Estimate, show and draw the information plane of a recorded training run.

    \b
    Examples:
      miest plane estimate runs/a --estimator ksg --estimator kde:noise_var=0.1 --jobs 4
      miest plane show runs/a
      miest plane plot runs/a --out plane.png
      miest plane report runs/a --out a.html
    """  # noqa: D301 - click reads the backspace as "keep these lines as they are"


@plane.command()
@_RUN
@click.option("--estimator", "specs", multiple=True, metavar="SPEC", help="Applied wherever it answers; see below.")
@click.option("--ixt", multiple=True, metavar="SPEC", help="Of a layer alone: the horizontal axis.")
@click.option("--ity", multiple=True, metavar="SPEC", help="Of a layer and the labels: the vertical axis.")
@click.option("--quantity", "quantities", multiple=True, metavar="NAME", help="Beside the plane: linear-probe, ...")
@click.option("--layer", "layers", multiple=True, metavar="PATTERN", help="Only these layers; default: all.")
@click.option("--step", "steps", multiple=True, type=click.IntRange(min=0), help="Only these steps; default: all.")
@click.option("--retry", is_flag=True, help="Make failed estimates again.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Layers at a time, as processes; -1: all cores.")
def estimate(
    run: Path,
    specs: tuple[str, ...],
    ixt: tuple[str, ...],
    ity: tuple[str, ...],
    quantities: tuple[str, ...],
    layers: tuple[str, ...],
    steps: tuple[int, ...],
    retry: bool,
    jobs: int,
) -> None:
    """Estimate from the snapshots in RUN whatever is missing there, and add it to the run.

    A SPEC is an estimator as in `miest estimate`: ksg, ksg:k=5 or "KSG(k=5)". With --estimator it gives I(X;T+eps) or
    H_bin(T) of every layer if it can, and I(T;Y) if the run has labels; kde gives both, ksg the second. Without any of
    these options, what the run was begun with is estimated. Names for --quantity: total-correlation,
    correlation-dimension, linear-probe, binned-entropy.

    Rows that are there are kept, and every new one is written at once: stop the command, and the same command goes on.

    Exit code 1 if an estimate failed; the run has a row for it, with the reason.

    \b
    Examples:
      miest plane estimate runs/a
      miest plane estimate runs/a --estimator ksg --estimator kde:noise_var=0.1 --jobs 4
      miest plane estimate runs/a --ixt binning:bins=30 --ity mixed-ksg --quantity linear-probe --layer 'fc*'
    """  # noqa: D301
    from contextlib import nullcontext

    from joblib import parallel_config

    from miest.plane.estimation import estimate_plane
    from miest.terminal import one_line, progress_bar

    if jobs == 0:
        raise click.BadParameter("0 jobs do nothing: take 1 or more, or -1 for all cores.", param_hint="--jobs")
    asked: dict[str, Any] = {}
    if specs or ixt or ity or quantities:
        asked = {"ixt": list(ixt), "ity": list(ity), "quantities": [*_estimators(specs), *quantities]}
    with progress_bar(2) as bar:
        task = bar.add_task("layers")
        try:
            with nullcontext() if jobs == 1 else parallel_config(backend="loky", n_jobs=jobs):
                found = estimate_plane(
                    run,
                    **asked,
                    layers=layers or None,
                    steps=steps or None,
                    retry=retry,
                    progress=lambda done, total: bar.update(task, completed=done, total=total),
                )
        except (ValueError, OSError, ImportError) as error:
            raise click.ClickException(one_line(error)) from error
    _show(found)
    reasons = {f"{row.quantity} of {row.layer}: {row.notes[0]}": None for row in found.failed}
    for reason in reasons:
        click.echo(f"Error: {reason}", err=True)
    if reasons:
        raise SystemExit(1)


@plane.command()
@_RUN
@click.option("--layer", metavar="PATTERN", help="Only these layers.")
@click.option("--quantity", metavar="PATTERN", help="Only these quantities, such as I_XT.")
@click.option("--csv", metavar="OUT", help="Write all rows as CSV; - is stdout.")
@click.option("--json", "as_json", metavar="OUT", help="Write the run as JSON; - is stdout.")
@click.option("--parquet", metavar="OUT", help="Write all rows as Parquet.")
def show(
    run: Path, layer: str | None, quantity: str | None, csv: str | None, as_json: str | None, parquet: str | None
) -> None:
    """The values of the last step of RUN as a table, in nats, and what is doubtful; or all rows as a file.

    \b
    Examples:
      miest plane show runs/a
      miest plane show runs/a --layer 'fc*' --quantity 'I_*' --csv a.csv
    """  # noqa: D301
    from miest.terminal import one_line, write_text

    found = _load(run)
    try:
        found = found.select(layer=layer, quantity=quantity)
        if parquet is not None:
            found.to_parquet(parquet)
    except (ValueError, OSError, ImportError) as error:
        raise click.ClickException(one_line(error)) from error
    for out, option, text in ((csv, "--csv", found.to_csv), (as_json, "--json", found.to_json)):
        if out is not None:
            write_text(out, text().rstrip("\n"), option)
    if csv is None and as_json is None and parquet is None:
        _show(found)


@plane.command()
@_RUN
@click.option("--out", type=click.Path(path_type=Path), metavar="PNG", help="Or .pdf, .svg; default: in RUN.")
@click.option("--kind", type=click.Choice(["plane", "timeline", "compare"]), default="plane", show_default=True)
@click.option("--x", metavar="KEY", help="Quantity of the horizontal axis; default: the first one.")
@click.option("--y", metavar="KEY", help="Quantity of the vertical axis; default: the first one.")
@click.option("--style", type=click.Choice(["default", "classic"]), default="default", show_default=True)
@_TITLE
@_CHAIN
def plot(
    run: Path, out: Path | None, kind: str, x: str | None, y: str | None, style: str, title: str, chain: bool
) -> None:
    """Draw RUN: the plane, quantities against steps, or the plane under each of its estimators.

    \b
    Examples:
      miest plane plot runs/a
      miest plane plot runs/a --kind timeline --out timeline.pdf
      miest plane plot runs/resnet --no-chain --title "ResNet-18"
    """  # noqa: D301
    from miest.terminal import one_line

    found = _load(run)
    if kind != "plane" and (x or y or style != "default"):
        raise click.UsageError("--x, --y and --style are for --kind plane.")
    try:
        if kind == "plane":
            figure = found.plot(x, y, style=style, title=title, chain=chain)[0]
        elif kind == "timeline":
            figure = found.plot_timeline(title=title)[0]
        else:
            figure = found.plot_compare(title=title, chain=chain)[0]
        out = out or run / f"{kind}.png"
        figure.savefig(out, dpi=150, metadata={"Software": None} if out.suffix == ".png" else None)
    except (ValueError, OSError, ImportError) as error:
        raise click.ClickException(one_line(error)) from error
    click.echo(str(out))


@plane.command()
@_RUN
@click.option("--out", type=click.Path(path_type=Path), metavar="HTML", help="Default: report.html in RUN.")
@click.option("--title", default="", help="Of the page; default: the class of the model.")
@_CHAIN
def report(run: Path, out: Path | None, title: str, chain: bool) -> None:
    """Write RUN as one HTML page that needs no network: the plane to play through, timelines, flags in plain words.

    \b
    Examples:
      miest plane report runs/a
      miest plane report runs/a --out a.html
    """  # noqa: D301
    from miest.terminal import one_line

    found = _load(run)
    try:
        written = found.report(out or run / "report.html", title=title, chain=chain)
    except (ValueError, OSError) as error:
        raise click.ClickException(one_line(error)) from error
    click.echo(str(written))


def _estimators(specs: tuple[str, ...]) -> list[Any]:
    """Estimators from their specifications."""
    from miest.plane.axes import made

    found = []
    for spec in dict.fromkeys(specs):
        try:
            found.append(made(spec))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--estimator") from error
    return found


def _load(run: Path) -> "Trajectory":
    from miest.plane.run import load_plane
    from miest.terminal import one_line

    try:
        return load_plane(run)
    except (ValueError, OSError) as error:
        raise click.ClickException(one_line(error)) from error


def _show(found: "Trajectory") -> None:
    """A table with a row for each layer and a column for each quantity, at the last step."""
    import sys
    from collections import Counter

    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from miest.terminal import open_console, plain_text

    console = open_console(sys.stdout)
    console.print(plain_text(str(found)))
    if not found.rows:
        return
    last = found.steps[-1]
    rows = {(row.layer, row.quantity): row for row in found.rows if row.step == last}
    table = Table(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=f"step {last}, nats", title_justify="left"
    )
    table.add_column("layer", overflow="fold")
    for key in found.quantities:
        table.add_column(plain_text(key), justify="right", overflow="fold")
    for layer in dict.fromkeys(layer for layer, _ in rows):
        cells = []
        for key in found.quantities:
            row = rows.get((layer, key))
            mark = "" if row is None or not row.flags else " *"
            cells.append("" if row is None else "failed" if row.failed else f"{row.value:.4f}{mark}")
        table.add_row(plain_text(layer), *map(plain_text, cells))
    console.print(table)
    counts = Counter((row.quantity, flag) for row in found.rows for flag in row.flags)
    for (key, flag), count in counts.most_common():
        console.print(
            plain_text(f"* {key}: {flag} in {count} of {sum(r.quantity == key for r in found.rows)} estimates")
        )
