"""A task is a distribution whose mutual information is known, with a sampler.

Invertible maps of X, of Y or of Z leave the information as it is, and independent tasks side by side add, so that
few primitives make many tasks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from miest.tasks.maps import Map

Kind = Literal["continuous", "discrete", "mixed"]
Seed: TypeAlias = int | Sequence[int] | np.random.SeedSequence


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Paired rows of a task: ``x, y = sample``, or ``x, y, given = sample`` where the task is conditional.

    Parameters
    ----------
    x : (n, dx) array       float64 where continuous, int64 where discrete
    y : (n, dy) array
    given : (n, dz) array   what is conditioned on; None where the task is not conditional
    """

    x: NDArray[Any]
    y: NDArray[Any]
    given: NDArray[Any] | None = None

    def __iter__(self) -> Iterator[NDArray[Any]]:
        yield from (self.x, self.y) if self.given is None else (self.x, self.y, self.given)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Distribution with known mutual information I(X;Y), or I(X;Y|Z) where it is conditional.

    Parameters
    ----------
    name : str              unique within a suite, and stable
    mi : float              the truth, nats
    mi_error : float        its standard error if it came by Monte-Carlo, a bound if by quadrature; 0 for a closed form
    dims : (int, int)       columns of X and of Y
    given_dims : int        columns of Z; 0 where the task is not conditional
    kind : str              "continuous", "discrete" (integers), or "mixed": one side discrete, or atoms among floats
    family : str            the function that made it
    source : str            paper or equation behind the truth
    draw : callable         (n, generator) -> Sample; `sample` calls it

    Notes
    -----
    Two tasks are equal when all but their samplers are. Tasks pickle if their samplers and maps do; all of ours do.

    Examples
    --------
    >>> task = bivariate_gaussian(0.8)
    >>> x, y = task.sample(1000, seed=0)
    >>> stretched = task.mapped(x=exponential(5), name="stretched")  # the same information
    """

    name: str
    mi: float
    mi_error: float = 0.0
    dims: tuple[int, int]
    given_dims: int = 0
    kind: Kind
    family: str
    source: str
    draw: Callable[[int, Generator], Sample] = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (isfinite(self.mi) and self.mi >= 0 and isfinite(self.mi_error) and self.mi_error >= 0):
            raise ValueError(
                f"Task {self.name!r} has mi={self.mi} and mi_error={self.mi_error}: both must be finite and >= 0."
            )

    @property
    def is_conditional(self) -> bool:
        """Whether the truth is I(X;Y|Z), so that samples carry `given`."""
        return self.given_dims > 0

    def sample(self, n: int, seed: Seed) -> Sample:
        """Return n independent rows.

        Parameters
        ----------
        n : int                                     number of rows
        seed : int, sequence of ints, SeedSequence  the same seed gives the same bits; a longer sample does not start
                                                    with the shorter one

        Raises
        ------
        ValueError
            if n is not a positive integer
        """
        if n != int(n) or n < 1:
            raise ValueError(
                f"n={n} samples of task {self.name!r} cannot be drawn: n must be an integer of at least 1."
            )
        return self.draw(int(n), np.random.default_rng(seed))

    def mapped(
        self, *, x: Map | None = None, y: Map | None = None, given: Map | None = None, name: str | None = None
    ) -> "Task":
        """Return the task with X, Y or Z sent through an invertible map; the truth is the same.

        Parameters
        ----------
        x, y, given : Map       None leaves the variable as it is
        name : str              default: the name of this task with the names of the maps

        Raises
        ------
        ValueError
            if a map needs another number of columns, or `given` is mapped on a task that has none
        """
        if given is not None and not self.is_conditional:
            raise ValueError(f"Task {self.name!r} has no Z to map: leave given= out.")
        dims = (self._dim(x, self.dims[0], "x"), self._dim(y, self.dims[1], "y"))
        labels = [f"{v}={m.name}" for v, m in (("x", x), ("y", y), ("given", given)) if m is not None]
        return replace(
            self,
            name=name if name is not None else f"{self.name}({','.join(labels)})",
            dims=dims,
            given_dims=self._dim(given, self.given_dims, "given"),
            draw=partial(_mapped, draw=self.draw, x=x, y=y, given=given),
        )

    def _dim(self, chosen: Map | None, d: int, which: str) -> int:
        if chosen is None or chosen.dims is None:
            return d
        if chosen.dims[0] != d:
            raise ValueError(
                f"Map {chosen.name!r} takes {chosen.dims[0]} columns, but {which} of task {self.name!r} has {d}."
            )
        return chosen.dims[1]


def together(*tasks: Task, name: str | None = None) -> Task:
    """Independent tasks side by side: X = (X1, X2, ...), Y = (Y1, Y2, ...); their information adds.

    Parameters
    ----------
    tasks : Task            none of them conditional
    name : str              default: the names joined by "+"

    Raises
    ------
    ValueError
        if there is no task, or one is conditional

    Notes
    -----
    Error: the errors of the truths add too, since the same one may be there several times.
    Source: chain rule, I(X1,X2;Y1,Y2) = I(X1;Y1) + I(X2;Y2) for independent pairs.
    """
    if not tasks or any(task.is_conditional for task in tasks):
        raise ValueError("together() needs at least one task and takes none that is conditional.")
    kinds = {task.kind for task in tasks}
    return Task(
        name=name if name is not None else "+".join(task.name for task in tasks),
        mi=sum(task.mi for task in tasks),
        mi_error=sum(task.mi_error for task in tasks),
        dims=(sum(task.dims[0] for task in tasks), sum(task.dims[1] for task in tasks)),
        kind=tasks[0].kind if len(kinds) == 1 else "mixed",
        family=tasks[0].family if len({task.family for task in tasks}) == 1 else "together",
        source="chain rule; " + "; ".join(dict.fromkeys(task.source for task in tasks)),
        draw=partial(_side_by_side, draws=tuple(task.draw for task in tasks)),
    )


def _mapped(
    n: int,
    rng: Generator,
    *,
    draw: Callable[[int, Generator], Sample],
    x: Map | None,
    y: Map | None,
    given: Map | None,
) -> Sample:
    rows = draw(n, rng)
    return Sample(
        x=rows.x if x is None else x.forward(rows.x),
        y=rows.y if y is None else y.forward(rows.y),
        given=rows.given if given is None or rows.given is None else given.forward(rows.given),
    )


def _side_by_side(n: int, rng: Generator, *, draws: tuple[Callable[[int, Generator], Sample], ...]) -> Sample:
    parts = [draw(n, rng) for draw in draws]
    return Sample(x=np.hstack([part.x for part in parts]), y=np.hstack([part.y for part in parts]))
