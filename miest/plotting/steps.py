"""Training steps on a scale: by their logarithm where they were taken so, with a place for step 0."""

import math
from collections.abc import Sequence
from itertools import pairwise


def log_from(steps: Sequence[int]) -> int | None:
    """The first positive step where a logarithmic scale parts the steps more evenly than a linear one, else None.

    Below that step the scale is linear, so that step 0 has a place on it.
    """
    positive = [step for step in steps if step > 0]
    if len(positive) < 2:
        return None
    first, last = positive[0], positive[-1]
    logs = [math.log1p(step / first) for step in steps]
    widest = max(b - a for a, b in pairwise(logs)) / logs[-1]
    return first if widest < max(b - a for a, b in pairwise(steps)) / last else None


def step_ticks(steps: Sequence[int]) -> list[int]:
    """A few steps for a logarithmic scale: 0 if it is there, powers of ten, and the last."""
    last = steps[-1]
    first = next((step for step in steps if step > 0), None)
    if first is None:
        return [last]
    powers = range(math.ceil(math.log10(first)), math.floor(math.log10(last)) + 1)
    inner = [10**power for power in powers if 10**power * 2 <= last]
    return sorted({*([0] if steps[0] == 0 else []), *(inner or [first]), last})
