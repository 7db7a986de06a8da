"""The standard lists of tasks; a list may grow."""

from difflib import get_close_matches
from functools import lru_cache
from typing import Literal

from miest.tasks import standard
from miest.tasks.task import Task

SuiteName = Literal["quick", "full", "traps"]

_FULL = (
    standard.gaussians,
    standard.mapped_gaussians,
    standard.students,
    standard.additive,
    standard.copulas,
    standard.mixtures,
    standard.discrete_continuous,
    standard.discrete,
    standard.independent_pairs,
    standard.channels,
    standard.images,
    standard.conditional,
)
_QUICK = (
    "gaussian-1x1-rho0.8",
    "gaussian-1x1-5nats",
    "gaussian-5x5-dense0.5",
    "gaussian-25x25-2pairs",
    "gaussian-2x2-spiral",
    "student-1x1-df1",
    "student-3x3-df3",
    "additive-uniform-0.1",
    "clayton-3-exponential-margins",
    "gaussian-1x1-bimodal",
    "gaussian-1x1-swiss-roll",
    "cross",
    "square-plus-uniform-0.05",
    "staircase-5",
    "zero-inflated-poisson-0.15",
    "censored-gaussian-rho0.8-0.3",
    "table-8x6-0.5",
    "independent-3x3-normal-cauchy",
    "linear-channel-10x4",
    "tanh-channel-10x2",
    "digit-pairs-10",
    "collider",
)


def suite(name: SuiteName = "full") -> tuple[Task, ...]:
    """The standard tasks.

    Parameters
    ----------
    name : str      "full": every task of independent rows, conditional ones too; "quick": about twenty of them, of
                    every kind; "traps": data that mislead, where rows repeat, skew, saturate or follow each other

    Returns
    -------
    tuple of Task
        with different names

    Raises
    ------
    ValueError
        for any other name
    """
    if name == "full":
        return _full()
    if name == "traps":
        return tuple(standard.traps())
    if name == "quick":
        known = {task.name: task for task in _full()}
        return tuple(known[each] for each in _QUICK)
    raise ValueError(f"No suite is called {name!r}: take 'quick', 'full' or 'traps'.")


def named(name: str) -> Task:
    """The task of this name in the full list or among the traps.

    Raises
    ------
    ValueError
        if there is none; the message shows the closest names
    """
    known = {task.name: task for task in (*_full(), *standard.traps())}
    if name not in known:
        close = get_close_matches(name, known, n=3) or ["suite('full') lists all"]
        raise ValueError(f"No task is called {name!r}. Closest: {', '.join(close)}.")
    return known[name]


@lru_cache(maxsize=1)
def _full() -> tuple[Task, ...]:
    return tuple(task for tasks in _FULL for task in tasks())
