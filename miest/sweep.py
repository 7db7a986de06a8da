"""The curve of the information in a noisy representation over the size of the noise.

The noise is part of I(X; T+eps), so one value says little; how fast the curve rises as the noise falls, and where n
samples can no longer follow it, says more. All sizes see the same draws, in one pass over the pairs of rows.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from miest.estimators.channel import GaussianChannel, channel_result, layer_and_labels, measured
from miest.noise import GaussianNoise
from miest.result import MIResult
from miest.samples import variable, variables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEADS = ("noise std", "nats", "interval", "in sample", "out of sample", "lower", "upper", "flags")


@dataclass(frozen=True, kw_only=True)
class NoiseSweep:
    """I(X;T+eps) or I(T+eps;Y) of the same rows for several sizes of the noise; made by `noise_sweep`.

    Parameters
    ----------
    results : tuple of MIResult     one for each size, in the order asked for, as `GaussianChannel` gives them
    seconds : float                 for all of them
    """

    results: tuple[MIResult, ...]
    seconds: float = 0.0

    @property
    def stds(self) -> tuple[float, ...]:
        """Standard deviations of the noise."""
        return self._each("noise_std")

    @property
    def values(self) -> tuple[float, ...]:
        """Estimates, nats."""
        return tuple(r.value for r in self.results)

    @property
    def stderr(self) -> tuple[float, ...]:
        """Standard errors of the values; NaN where there is no interval."""
        return tuple(math.nan if r.interval is None else r.diagnostics.standard_error for r in self.results)

    @property
    def in_sample(self) -> tuple[float, ...]:
        """Values for these rows as the whole population, which the bounds hold for."""
        return self._each("in_sample")

    @property
    def leave_one_out(self) -> tuple[float, ...]:
        """What each row holds as seen by all the others."""
        return self._each("leave_one_out")

    @property
    def out_of_sample(self) -> tuple[float, ...]:
        """What the rows of one half hold as seen by the other, both ways."""
        return self._each("out_of_sample")

    @property
    def lower(self) -> tuple[float, ...]:
        """Pairwise lower bounds on `in_sample`."""
        return self._each("lower")

    @property
    def upper(self) -> tuple[float, ...]:
        """Pairwise upper bounds on `in_sample`."""
        return self._each("upper")

    @property
    def ceiling(self) -> float | None:
        """The largest value that these rows can show: ln n, or H(Y)."""
        return self.results[0].ceiling

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.results[0].n_samples

    @property
    def quantity(self) -> str:
        """I(X;T+eps) or I(T+eps;Y)."""
        return self.results[0].quantity

    @property
    def estimator(self) -> str:
        """Name and settings, without the noise."""
        made = self.results[0].estimator
        return str(replace(made, noise="auto")).replace("noise='auto', ", "")

    def _each(self, name: str) -> tuple[float, ...]:
        found = (r.diagnostics[name] for r in self.results)
        return tuple(math.nan if value is None else value for value in found)

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[MIResult]:
        return iter(self.results)

    def __getitem__(self, index: int) -> MIResult:
        return self.results[index]

    def rows(self) -> list[tuple[str, ...]]:
        """The cells of the table as text, one row a size of noise."""
        return [
            (
                f"{r.diagnostics.noise_std:.4g}",
                f"{r.value:.4f}",
                "" if r.interval is None else f"{r.interval[0]:.4f} to {r.interval[1]:.4f}",
                f"{r.diagnostics.in_sample:.4f}",
                "" if r.diagnostics.out_of_sample is None else f"{r.diagnostics.out_of_sample:.4f}",
                f"{r.diagnostics.lower:.4f}",
                f"{r.diagnostics.upper:.4f}",
                " ".join(map(str, r.flags)),
            )
            for r in self.results
        ]

    def __str__(self) -> str:
        """Return a table for the terminal."""
        from io import StringIO

        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self._title(), title_justify="left")
        for head in _HEADS:
            table.add_column(head, justify="left" if head == "flags" else "right")
        for row in self.rows():
            table.add_row(*map(Text, row))
        out = StringIO()
        Console(file=out, width=110).print(table)
        return out.getvalue().rstrip()

    def _title(self) -> str:
        ceiling = "" if self.ceiling is None else f", at most {self.ceiling:.4f} nats"
        return f"{self.quantity}, {self.estimator}, n={self.n}{ceiling}"

    def _repr_html_(self) -> str:
        cells = (f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows())
        head = "".join(f"<th>{head}</th>" for head in _HEADS)
        return f"<table><caption>{escape(self._title())}</caption><tr>{head}</tr>{''.join(cells)}</table>"

    def to_frame(self) -> Any:
        """A pandas frame with numbers, one row a size of noise.

        Raises
        ------
        ImportError
            without pandas
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("NoiseSweep.to_frame needs pandas: pip install 'miest[data]'.") from error
        return pd.DataFrame(
            {
                "noise_std": self.stds,
                "value": self.values,
                "low": [r.interval[0] if r.interval else math.nan for r in self.results],
                "high": [r.interval[1] if r.interval else math.nan for r in self.results],
                "in_sample": self.in_sample,
                "leave_one_out": self.leave_one_out,
                "out_of_sample": self.out_of_sample,
                "lower": self.lower,
                "upper": self.upper,
                "ceiling": [math.nan if r.ceiling is None else r.ceiling for r in self.results],
                "flags": [" ".join(map(str, r.flags)) for r in self.results],
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries."""
        return {"results": [r.to_dict() for r in self.results], "seconds": self.seconds}

    def plot(
        self, *, units: Literal["nats", "bits"] = "nats", title: str = "", ax: "Axes | None" = None
    ) -> "tuple[Figure, Axes]":
        """Draw the curve with its bounds; see `miest.plot_noise_sweep`."""
        from miest.plotting import plot_noise_sweep

        return plot_noise_sweep(self, units=units, title=title, ax=ax)


def noise_sweep(
    t: Any,
    stds: Sequence[float],
    labels: Any = None,
    *,
    population: bool = True,
    draws: int | Literal["auto"] = "auto",
    level: float | None = 0.95,
    seed: int | None = None,
) -> NoiseSweep:
    """I(X;T+eps), or I(T+eps;Y) with labels, for several sizes of Gaussian noise, in nats.

    Parameters
    ----------
    t : (n, ...) numbers                the layer T
    stds : m numbers                    standard deviations of the noise in each coordinate, in the units of t
    labels : (n, ...) int, bool or str  left out: X is the identity of the row
    population, draws, level            as in `GaussianChannel`
    seed : int or None                  of the noise and of the halves; None is 0

    Returns
    -------
    NoiseSweep
        of results as `GaussianChannel` gives them for each size with the same seed, but for rounding

    Raises
    ------
    ValueError
        if there is no size, or as `GaussianChannel`

    Notes
    -----
    All sizes share the draws of the noise, so that the curve is smooth and its points err together.
    Cost: O(n^2 d) once, and O(n^2) for each size. At n = 10,000 and d = 512 twenty sizes take 4 times as long as one;
    in few dimensions nearly twenty times, as the pairs cost little beside their exponentials.
    """
    started = perf_counter()
    sizes = [GaussianNoise(std=std) for std in stds]
    if not sizes:
        raise ValueError("stds is empty: pass the standard deviations of the noise, as numpy.geomspace(0.01, 1, 9).")
    estimators = [GaussianChannel(noise=noise, population=population, draws=draws, level=level) for noise in sizes]
    if t is None:
        variable(t, "t")  # which says so
    layer, classes = layer_and_labels(variables(t=t, labels=labels))
    channels = measured(layer, classes, [noise.std for noise in sizes], draws, seed)
    each = (perf_counter() - started) / len(sizes)
    results = tuple(
        channel_result(estimator, channel, layer, classes, noise.std, [], each)
        for estimator, channel, noise in zip(estimators, channels, sizes, strict=True)
    )
    return NoiseSweep(results=results, seconds=perf_counter() - started)
