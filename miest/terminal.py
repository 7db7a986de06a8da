"""What every command of the command line shares: tables, progress bars, files, errors in one line."""

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


def open_console(stream: IO[str]) -> "Console":
    """A console on a stream; a pipe has no edge, and tables take only what they need."""
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        console.width = 250
    return console


def plain_text(text: str) -> Any:
    """Text as it is: names of arrays may have brackets, which rich would read as markup."""
    from rich.text import Text

    return Text(text)


def progress_bar(total: int) -> "Progress":
    """A bar on stderr, where that is a terminal and there is more than one estimate to wait for."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
        transient=True,
        disable=total < 2 or not sys.stderr.isatty(),
    )


def write_text(out: str, text: str, option: str) -> None:
    """Write text and a line end to a file, or to stdout for "-"; `option` is what named it, for the message."""
    if out == "-":
        click.echo(text)
        return
    try:
        Path(out).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{option} {out} cannot be written: {error.strerror}.") from error


def one_line(error: BaseException) -> str:
    """The message of an error on one line."""
    return " ".join(str(error).split()) or type(error).__name__
