"""At which steps a plane is estimated: pure functions of the step, so that a resumed run asks at the same steps.

Information changes fast at the beginning of training and slowly later, and planes are drawn against the logarithm of
the step: steps that are even on that axis lose nothing and cost little.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from miest.estimators.estimator import require_integer

Schedule = Callable[[int], bool]
"""Whether a step is due; step 0 is the network before training."""


@dataclass(frozen=True)
class LogSchedule:
    """Steps that are even on a logarithmic axis: 0, every step up to `first`, then `per_decade` to each factor of ten.

    Parameters
    ----------
    per_decade : int        the steps are 10^(i / per_decade), rounded, for i = 0, 1, 2, ...
    first : int             every step up to this one is due; 1 adds none
    """

    per_decade: int = 10
    first: int = 1

    def __post_init__(self) -> None:
        require_integer("per_decade", self.per_decade, 1)
        require_integer("first", self.first, 0)

    def __call__(self, step: int) -> bool:
        """Whether this step is due."""
        step = checked_step(step)
        if step <= self.first:
            return True
        i = round(self.per_decade * math.log10(step))  # the nearest one; rounding may have moved it by one place
        return any(round(10 ** (j / self.per_decade)) == step for j in (i - 1, i, i + 1))


@dataclass(frozen=True)
class EverySchedule:
    """Every k-th step, and step 0."""

    k: int = 1

    def __post_init__(self) -> None:
        require_integer("k", self.k, 1)

    def __call__(self, step: int) -> bool:
        """Whether this step is due."""
        return checked_step(step) % self.k == 0


@dataclass(frozen=True, init=False)
class AtSteps:
    """The given steps, and step 0."""

    steps: tuple[int, ...]

    def __init__(self, *steps: int | Iterable[int]) -> None:
        flat = [item for step in steps for item in (step if isinstance(step, Iterable) else [step])]
        for step in flat:
            require_integer("steps", step, 0)
        object.__setattr__(self, "steps", tuple(sorted({0, *map(int, flat)})))

    def __call__(self, step: int) -> bool:
        """Whether this step is due."""
        return checked_step(step) in self.steps


def schedule(when: Any) -> Schedule:
    """A schedule from what `when` takes: None (logarithmic), an interval, steps, or a function of the step.

    Raises
    ------
    ValueError
        for anything else
    """
    if when is None:
        return LogSchedule()
    if isinstance(when, type):
        raise ValueError(f"when={when.__name__} is a class: pass an instance, {when.__name__}().")
    if callable(when):
        return when
    if isinstance(when, Iterable) and not isinstance(when, str):
        return AtSteps(*when)
    if hasattr(when, "__index__") and not isinstance(when, bool):
        return EverySchedule(int(when))
    raise ValueError(
        f"when={when!r} is no schedule: pass LogSchedule(), an interval such as 10, steps such as [1, 10, 100], or a "
        "function of the step."
    )


def checked_step(step: Any) -> int:
    """The step as an integer.

    Raises
    ------
    ValueError
        if it is none, or negative
    """
    if isinstance(step, bool) or not hasattr(step, "__index__") or (step := int(step)) < 0:
        raise ValueError(f"step={step!r} must be an integer of at least 0, the number of steps or epochs of training.")
    return int(step)
