"""Checks of an estimator on the user's own data, where the truth is unknown but must obey laws.

After Song & Ermon (2020), "Understanding the limitations of variational mutual information estimators", ICLR,
arXiv:1910.06222: information is zero between independent variables, is never raised by processing, adds over
independent pairs; and no invertible map changes it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from html import escape
from typing import Any

import numpy as np
from numpy.random import Generator

from miest.estimators.auto import choose, named
from miest.estimators.estimator import Estimator, require_integer
from miest.samples import DataError, Declared, Variable, variables
from miest.traits import normal_scores

HEADS = ("check", "what was done", "expected", "found", "std. error", "off by", "allowed", "")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One law that information obeys, and how far the estimates break it; all numbers are nats.

    Parameters
    ----------
    name : str          "independence", "data processing", "additivity" or "invariance"
    what : str          what was done to the data
    expected : float    what the law asks for
    found : float       mean over repetitions
    stderr : float      of the difference between the two, over repetitions; 0 where there is one
    excess : float      by how much the law is broken; one-sided for data processing
    allowed : float     0.02 + 10% of what was expected + 2 stderr
    """

    name: str
    what: str
    expected: float
    found: float
    stderr: float
    excess: float
    allowed: float

    @property
    def ok(self) -> bool:
        """Whether the law holds up to what is allowed."""
        return self.excess <= self.allowed

    def row(self) -> tuple[str, ...]:
        """The cells of the table as text."""
        numbers = (self.expected, self.found, self.stderr, self.excess, self.allowed)
        return (self.name, self.what, *(f"{v:.3f}" for v in numbers), "pass" if self.ok else "FAIL")


@dataclass(frozen=True, kw_only=True)
class Consistency:
    """Which laws of information an estimator keeps on these data.

    Parameters
    ----------
    estimator : Estimator
    n_samples : int
    value : float           the estimate on the data as they are, nats
    checks : tuple of Check
    """

    estimator: Any
    n_samples: int
    value: float
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed. Passing all is necessary for a right value, not sufficient."""
        return all(check.ok for check in self.checks)

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)

    def __str__(self) -> str:
        failed = [f"{check.name} ({check.what}) off by {check.excess:.3f}" for check in self.checks if not check.ok]
        verdict = f"fails {len(failed)} of {len(self.checks)}: {'; '.join(failed)}" if failed else "passes"
        return f"{self.estimator} on {self.n_samples} samples, {self.value:.3f} nats, {verdict}"

    def report(self) -> str:
        """A table for the terminal."""
        from io import StringIO

        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=f"{self.estimator}, n={self.n_samples}, {self.value:.4f} nats", title_justify="left")
        for head in HEADS:
            table.add_column(head, justify="left" if head in ("check", "what was done", "") else "right")
        for check in self.checks:
            table.add_row(*map(Text, check.row()))
        out = StringIO()
        Console(file=out, width=120).print(table)
        return out.getvalue()

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{head}</th>" for head in HEADS)
        rows = ("".join(f"<td>{escape(cell)}</td>" for cell in check.row()) for check in self.checks)
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><caption>{escape(str(self))}</caption><tr>{head}</tr>{body}</table>"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries."""
        return {
            "estimator": str(self.estimator),
            "n_samples": self.n_samples,
            "value": self.value,
            "ok": self.ok,
            "checks": [asdict(check) | {"ok": check.ok} for check in self.checks],
        }


def self_consistency(
    x: Any, y: Any, estimator: str | Estimator | None = None, *, repetitions: int = 5, seed: int = 0
) -> Consistency:
    """Whether the estimates of I(X;Y) obey the laws of information on these data, nats.

    Parameters
    ----------
    x, y : (n, ...) array-like      paired samples, at least 20
    estimator : name, Estimator or None     None takes what "auto" would
    repetitions : int               of each random change of the data; 1 has no standard error, and allows less
    seed : int

    Returns
    -------
    Consistency

    Raises
    ------
    ValueError
        if the estimator cannot use the data or what the checks make of them

    Notes
    -----
    independence    y is deranged, so that no row keeps its partner: 0 is expected.
    data processing y + noise of half and of one standard deviation a column, half of the columns of y (if there are
                    two), or symbols merged in pairs: no more than I(X;Y) is expected.
    additivity      two random halves of the rows are placed side by side: the sum of the halves' values is expected.
    invariance      shift, scale and sign of each column; an increasing map of each column; a rotation of the columns of
                    x and of y (if there are two), all for continuous arguments; new codes for symbols: I(X;Y) is
                    expected.

    A check fails where it is off by more than 0.02 + 10% of what was expected + 2 standard errors. A method that bins,
    or assumes a distribution, breaks those laws that its assumption breaks, and a right one fails where it has too few
    samples: halves have twice the dimensions and half of the rows. Rows must be independent draws.
    Cost: about 10 estimates a repetition.
    Source: Song, Ermon (2020), arXiv:1910.06222, section 5. Differs: differences in place of ratios, since those mean
    nothing near zero; invariance added; processing by noise, so that continuous data stay continuous.
    """
    require_integer("repetitions", repetitions, 1)
    if y is None:
        raise DataError("y is None: the laws are about the information that two variables share, so pass both.")
    x_, y_ = variables(x=x, y=y, at_least=20, needed_by="self_consistency")
    method = choose(x_, y_)[0] if estimator is None else named(estimator)
    rng = np.random.default_rng(seed)

    def estimated(x: Declared, y: Declared) -> float:
        return method.estimate(x, y, seed=int(rng.integers(2**31))).value

    def repeated(make: Callable[[], tuple[Declared, Declared]]) -> list[float]:
        return [estimated(*make()) for _ in range(repetitions)]

    whole = _declared(x_), _declared(y_)
    value = estimated(*whole)
    if not math.isfinite(value):
        raise DataError(f"{method} estimates {value} nats, for which no law can be checked: add noise to the data.")
    against = [value] * repetitions
    checks = [
        _check("independence", "y deranged", [0.0] * repetitions, repeated(lambda: (whole[0], _deranged(y_, rng))))
    ]
    for what, coarsened in _coarser(y_, rng):
        found = [estimated(whole[0], coarsened()) for _ in range(repetitions)]
        checks.append(_check("data processing", what, against, found, one_sided=True))
    sums, together = [], []
    for _ in range(repetitions):
        first, second = np.split(rng.permutation(x_.n)[: x_.n // 2 * 2], 2)
        sums.append(sum(estimated(_rows(x_, half), _rows(y_, half)) for half in (first, second)))
        together.append(estimated(_beside(x_, first, second), _beside(y_, first, second)))
    checks.append(_check("additivity", "two halves side by side", sums, together))
    for what, maps in _invertible(x_, y_, rng):
        checks.append(_check("invariance", what, against, repeated(maps)))
    return Consistency(estimator=method, n_samples=x_.n, value=value, checks=tuple(checks))


def _check(name: str, what: str, expected: list[float], found: list[float], *, one_sided: bool = False) -> Check:
    difference = np.array(found) - expected
    stderr = float(difference.std(ddof=1) / math.sqrt(difference.size)) if difference.size > 1 else 0.0
    off = float(difference.mean())
    return Check(
        name=name,
        what=what,
        expected=float(np.mean(expected)),
        found=float(np.mean(found)),
        stderr=stderr,
        excess=max(off, 0.0) if one_sided else abs(off),
        allowed=0.02 + 0.1 * abs(float(np.mean(expected))) + 2 * stderr,
    )


def _declared(v: Variable) -> Declared:
    return Declared(v.values, v.kind)


def _rows(v: Variable, rows: Any) -> Declared:
    return Declared(v.values[rows], v.kind)


def _beside(v: Variable, first: Any, second: Any) -> Declared:
    return Declared(np.hstack([v.values[first], v.values[second]]), v.kind)


def _deranged(v: Variable, rng: Generator) -> Declared:
    """The rows in an order in which none is where it was: each moves to the next place of a random cycle."""
    cycle, source = rng.permutation(v.n), np.empty(v.n, np.intp)
    source[cycle] = np.roll(cycle, 1)
    return _rows(v, source)


def _with_noise(v: Variable, share: float, rng: Generator) -> Declared:
    return Declared(v.standardized + share * rng.standard_normal(v.values.shape), "continuous")


def _coarser(y: Variable, rng: Generator) -> Iterator[tuple[str, Callable[[], Declared]]]:
    """Ways to lose information about anything else."""
    if y.is_discrete:
        if y.symbol_counts.size > 2:
            yield (
                "symbols of y merged in pairs",
                lambda: Declared(rng.permutation(y.symbol_counts.size)[y.symbols] // 2, "discrete"),
            )
        return
    for share, words in ((0.5, "half a standard deviation"), (1.0, "a standard deviation")):
        yield (
            f"noise of {words} added to y",
            partial(_with_noise, y, share, rng),
        )
    if y.varying.sum() > 1:
        columns = np.flatnonzero(y.varying)
        yield (
            "half of the columns of y",
            lambda: Declared(y.numbers[:, rng.permutation(columns)[: len(columns) // 2]], "continuous"),
        )


def _invertible(
    x: Variable, y: Variable, rng: Generator
) -> Iterator[tuple[str, Callable[[], tuple[Declared, Declared]]]]:
    """Maps of x and of y that lose nothing."""

    def each(change: Callable[[Variable], Any]) -> Callable[[], tuple[Declared, Declared]]:
        """Apply to the continuous arguments; symbols get new codes."""

        def changed(v: Variable) -> Declared:
            if v.is_discrete:
                return Declared(rng.permutation(v.symbol_counts.size)[v.symbols], "discrete")
            return Declared(change(v), "continuous")

        return lambda: (changed(x), changed(y))

    continuous = [v for v in (x, y) if not v.is_discrete]
    if not continuous:
        yield "new codes for symbols", each(lambda v: v.values)
        return
    yield (
        "shift, scale and sign of columns",
        each(
            lambda v: (v.standardized + rng.normal(size=v.d)) * np.exp(rng.normal(size=v.d)) * rng.choice([-1, 1], v.d)
        ),
    )
    yield "increasing maps of columns", each(lambda v: _increasing(v, rng))
    if any(v.d > 1 for v in continuous):
        yield "rotation of columns", each(lambda v: v.standardized @ _rotation(v.d, rng).astype(v.standardized.dtype))


def _increasing(v: Variable, rng: Generator) -> Any:
    """Each column through an increasing map of moderate bend, drawn from four."""
    z = normal_scores(v.numbers) if rng.integers(2) else v.standardized.astype(np.float64)
    return np.arcsinh(z) if rng.integers(2) else np.clip(z, None, 100) + np.exp(np.clip(z, -30, 5)) / 2


def _rotation(d: int, rng: Generator) -> Any:
    """A random orthogonal matrix."""
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    return q * np.sign(np.diag(r))
