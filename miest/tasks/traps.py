"""Rows that are not independent draws: what goes wrong with real data, with the truth of the distribution itself."""

from functools import partial
from math import log, log1p, sqrt

import numpy as np
from numpy.random import Generator

from miest.tasks.task import Sample, Task


def repeated_gaussian(correlation: float, times: int, jitter: float, *, name: str | None = None) -> Task:
    """Gaussian pair of which every row comes `times` times, with normal noise of its own: augmented copies.

    A row by itself is Gaussian with correlation r = rho / (1 + j^2), so I = -1/2 ln(1 - r^2); but there are only
    n / times independent ones, and neighbours within a group of copies show nothing but the jitter.

    Parameters
    ----------
    correlation : float     rho, inside (-1, 1)
    times : int             copies of each row, next to each other
    jitter : float          j > 0, standard deviation of the noise added to each copy

    Raises
    ------
    ValueError
        if a number is out of its range
    """
    if not (-1 < correlation < 1 and times >= 1 and jitter > 0):
        raise ValueError(
            f"correlation={correlation}, times={times}, jitter={jitter}: need (-1, 1), at least 1, and above 0."
        )
    r = correlation / (1 + jitter**2)
    return Task(
        name=name or f"repeated-{times}x-jitter{jitter:g}",
        mi=max(0.0, -0.5 * log1p(-r * r)),
        dims=(1, 1),
        kind="continuous",
        family="repeated gaussian",
        source="-1/2 ln(1 - r^2) of a single row",
        draw=partial(_repeated, correlation=float(correlation), times=times, jitter=float(jitter)),
    )


def autocorrelated_gaussian(correlation: float, memory: float, *, name: str | None = None) -> Task:
    """Gaussian pair whose rows are a time series: I of a single row is -1/2 ln(1 - rho^2).

    X and Y - rho X are independent AR(1) series with the same coefficient, so n rows are worth about
    n (1 - a^2) / (1 + a^2) independent ones for a correlation.

    Parameters
    ----------
    correlation : float     rho, inside (-1, 1)
    memory : float          a, inside (-1, 1)

    Raises
    ------
    ValueError
        if a number is out of its range

    Notes
    -----
    Source: Bartlett (1935), doi:10.2307/2342284, for the worth of the rows.
    """
    if not (-1 < correlation < 1 and -1 < memory < 1):
        raise ValueError(f"correlation={correlation}, memory={memory}: both must be inside (-1, 1).")
    return Task(
        name=name or f"autocorrelated-{memory:g}",
        mi=max(0.0, -0.5 * log((1 - correlation) * (1 + correlation))),
        dims=(1, 1),
        kind="continuous",
        family="autocorrelated gaussian",
        source="-1/2 ln(1 - rho^2) of a single row",
        draw=partial(_series, correlation=float(correlation), memory=float(memory)),
    )


def _repeated(n: int, rng: Generator, *, correlation: float, times: int, jitter: float) -> Sample:
    distinct = -(-n // times)
    x, y = rng.standard_normal((distinct, 1)), rng.standard_normal((distinct, 1))
    y = correlation * x + sqrt((1 - correlation) * (1 + correlation)) * y
    x, y = (np.repeat(v, times, axis=0)[:n] + jitter * rng.standard_normal((n, 1)) for v in (x, y))
    return Sample(x=x, y=y)


def _series(n: int, rng: Generator, *, correlation: float, memory: float) -> Sample:
    from scipy.signal import lfilter  # slow to load, and needed here only

    rows = rng.standard_normal((n, 2))
    rows[1:] *= sqrt((1 - memory) * (1 + memory))  # the first row has the stationary spread already
    rows = lfilter([1.0], [1.0, -memory], rows, axis=0)
    x = rows[:, :1]
    return Sample(x=x, y=correlation * x + sqrt((1 - correlation) * (1 + correlation)) * rows[:, 1:])
