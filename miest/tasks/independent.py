"""X and Y independent, I = 0: what an estimator says here is its noise, and the sign must be allowed to be negative."""

from functools import partial

from numpy.random import Generator

from miest.tasks.maps import Margin, margin
from miest.tasks.numerics import open_uniform
from miest.tasks.task import Sample, Task


def independent(
    x: Margin = "normal", y: Margin = "normal", *, dx: int = 1, dy: int = 1, name: str | None = None
) -> Task:
    """Independent columns of the named margins: I = 0.

    Parameters
    ----------
    x, y : str          as in `margin`
    dx, dy : int        columns

    Raises
    ------
    ValueError
        if a margin has another name, or a number of columns is below 1
    """
    if min(dx, dy) < 1:
        raise ValueError(f"dx={dx}, dy={dy}: at least one column of each is needed.")
    task = Task(
        name=f"independent-{dx}x{dy}",
        mi=0.0,
        dims=(dx, dy),
        kind="continuous",
        family="independent",
        source="definition",
        draw=partial(_uniforms, dx=dx, dy=dy),
    )
    return task.mapped(x=margin(x), y=margin(y), name=name or f"independent-{dx}x{dy}-{x}-{y}")


def _uniforms(n: int, rng: Generator, *, dx: int, dy: int) -> Sample:
    return Sample(x=open_uniform(rng, n, dx), y=open_uniform(rng, n, dy))
