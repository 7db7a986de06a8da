"""A look at the data before anything is estimated: what they are like, and which estimator suits them."""

import math
from dataclasses import asdict, dataclass
from html import escape
from time import perf_counter
from typing import Any

from scipy.special import digamma

from miest.estimators.auto import choose
from miest.estimators.estimator import Estimator
from miest.estimators.kde import KDE
from miest.estimators.ksg import KSG, ties
from miest.result import Flag
from miest.samples import Variable, variables
from miest.traits import (
    Autocorrelation,
    Doubts,
    autocorrelation,
    autocorrelation_doubt,
    deterministic_doubt,
    duplicates_doubt,
    effective_samples,
    intrinsic_dimension,
    ksg_value,
    near_duplicates,
    normality,
    skew_doubt,
)


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What one argument is like.

    Parameters
    ----------
    name : str
    kind : "continuous" or "discrete"
    columns : int               after flattening
    constant_columns : int
    dimension : float or None   that continuous samples fill locally; None where it could not be measured
    symbols : int or None       of a discrete argument
    entropy : float or None     of a discrete argument, nats, plug-in: no information about it can be larger
    ties : float                share of rows that repeat another exactly
    normality : float or None   least squared correlation of a column with its normal scores
    autocorrelation : float     of largest size over the lags
    lag : int                   where that is; 0 if nothing varies
    """

    name: str
    kind: str
    columns: int
    constant_columns: int
    dimension: float | None
    symbols: int | None
    entropy: float | None
    ties: float
    normality: float | None
    autocorrelation: float
    lag: int

    def words(self) -> str:
        """The same in a line."""
        parts = [f"{self.kind}, {self.columns} column{'' if self.columns == 1 else 's'}"]
        if self.constant_columns:
            parts.append(f"{self.constant_columns} constant")
        if self.symbols is not None and self.entropy is not None:
            parts.append(f"{self.symbols} symbols, H = {self.entropy:.2f} nats")
        if self.dimension is not None:
            parts.append(f"fills {self.dimension:.1f} dimensions")
        if self.normality is not None:
            parts.append(f"normality {self.normality:.2f}")
        if self.kind == "continuous":
            parts.append(f"{self.ties:.0%} ties")
        return ", ".join([*parts, f"autocorrelation {self.autocorrelation:.2f} at lag {self.lag}"])


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What samples are like before anything is estimated, and which estimator suits them.

    Parameters
    ----------
    n : int
    arguments : tuple of Traits
    dimension : float or None       that the continuous arguments fill together
    near_duplicates : float or None share of rows with others unnaturally near; 0.02 is usual
    effective_n : float             number of independent rows that x and y are worth
    ceilings : dict                 largest value each method can report from these samples, nats
    flags : tuple of Flag           what is doubtful about the data themselves
    notes : tuple of str            a sentence for each flag
    estimator : Estimator           what is recommended
    recommendation : str            the same in words, with reasons
    seconds : float
    """

    n: int
    arguments: tuple[Traits, ...]
    dimension: float | None
    near_duplicates: float | None
    effective_n: float
    ceilings: dict[str, float]
    flags: tuple[Flag, ...]
    notes: tuple[str, ...]
    estimator: Estimator
    recommendation: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing doubtful was seen in the data."""
        return not self.flags

    def __str__(self) -> str:
        seen = f" [{', '.join(map(str, self.flags))}]" if self.flags else ""
        return f"{self.n} samples of {', '.join(a.name for a in self.arguments)}{seen}: {self.recommendation}"

    def report(self) -> str:
        """Everything as a table for the terminal."""
        from io import StringIO

        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(show_header=False, title="Before estimating", title_justify="left")
        for name, text in self._rows():
            table.add_row(Text(name), Text(text))
        out = StringIO()
        Console(file=out, width=110).print(table)
        return out.getvalue()

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(text)}</td></tr>"
            for name, text in self._rows()
        )
        return f"<table><caption>Before estimating</caption>{rows}</table>"

    def _rows(self) -> list[tuple[str, str]]:
        worth = "" if self.effective_n >= self.n else f", worth about {self.effective_n:.0f} independent ones"
        rows = [("samples", f"{self.n}{worth}"), *((a.name, a.words()) for a in self.arguments)]
        if self.dimension is not None:
            rows.append(("together", f"fill {self.dimension:.1f} dimensions"))
        if self.near_duplicates is not None:
            rows.append(("near-duplicates", f"{self.near_duplicates:.0%} of rows (2% is usual)"))
        rows += [(f"ceiling of {name}", f"{value:.2f} nats") for name, value in self.ceilings.items()]
        rows += [(flag.name, note) for flag, note in zip(self.flags, self.notes, strict=True)] or [("flags", "none")]
        return [*rows, ("recommended", self.recommendation), ("seconds", f"{self.seconds:.3g}")]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries."""
        return {
            "n": self.n,
            "arguments": [asdict(argument) for argument in self.arguments],
            "dimension": self.dimension,
            "near_duplicates": self.near_duplicates,
            "effective_n": self.effective_n,
            "ceilings": dict(self.ceilings),
            "flags": [flag.name for flag in self.flags],
            "notes": list(self.notes),
            "estimator": str(self.estimator),
            "recommendation": self.recommendation,
            "seconds": self.seconds,
        }


def diagnose(x: Any, y: Any = None, given: Any = None) -> Diagnosis:
    """What the samples are like, and which estimator suits them, before anything is estimated.

    Parameters
    ----------
    x, y, given : (n, ...) array-like       as for `mutual_information`; y left out: x is a layer by itself

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError
        for data that cannot be used

    Notes
    -----
    Flags: CONSTANT, TIES, SINGLETON_BINS, DUPLICATES, SKEWED, DETERMINISTIC, AUTOCORRELATED. How each is decided and
    how often it is wrong stands with the functions of `miest.traits`. No flag means that nothing was seen; whether a
    dependence is linear, monotone or neither is for `miest.compare` to show.
    Cost: O(n log n) in few dimensions; neighbours are searched for at most 1,000 of the rows.
    """
    started = perf_counter()
    checked = variables(x=x, y=y, given=given)
    x_, y_ = checked[0], None if y is None else checked[1]
    picked, why = choose(x_, y_, None if given is None else checked[-1], neural=True)
    doubts = [
        *_constant(checked),
        *ties([v for v in checked if not v.is_discrete and v.varying.any()]),
        *_singletons(checked),
    ]
    copies, memory = near_duplicates(*checked), [autocorrelation(v) for v in checked]
    if not any(flag is Flag.CONSTANT for flag, _ in doubts):
        doubts += duplicates_doubt(checked, copies)
        if isinstance(picked, KSG):
            doubts += skew_doubt(checked, ksg_value)
        doubts += [*deterministic_doubt(checked), *(autocorrelation_doubt(checked, memory) if y_ is not None else [])]
    estimator, words = _recommended(picked, why, [flag for flag, _ in doubts])
    continuous = any(not v.is_discrete for v in checked)
    return Diagnosis(
        n=x_.n,
        arguments=tuple(_traits(v, m) for v, m in zip(checked, memory, strict=True)),
        dimension=_number(intrinsic_dimension(*checked)) if len(checked) > 1 else None,
        near_duplicates=copies.share if continuous and copies.judged else None,
        effective_n=float(x_.n) if y_ is None else effective_samples(x_.n, *memory[:2]),
        ceilings=_ceilings(checked, layer=y is None),
        flags=tuple(flag for flag, _ in doubts),
        notes=tuple(note for _, note in doubts),
        estimator=estimator,
        recommendation=words,
        seconds=perf_counter() - started,
    )


def _traits(v: Variable, memory: Autocorrelation) -> Traits:
    return Traits(
        name=v.name,
        kind=v.kind,
        columns=v.d,
        constant_columns=int((~v.varying).sum()),
        dimension=None if v.is_discrete else _number(intrinsic_dimension(v)),
        symbols=v.symbol_counts.size if v.is_discrete else None,
        entropy=_entropy(v) if v.is_discrete else None,
        ties=v.tie_fraction,
        normality=float(normality(v).min()) if not v.is_discrete and v.varying.any() else None,
        autocorrelation=memory.largest,
        lag=memory.lag,
    )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _entropy(v: Variable) -> float:
    shares = v.symbol_counts / v.n
    return -math.fsum(float(p) * math.log(p) for p in shares) + 0.0


def _ceilings(checked: tuple[Variable, ...], *, layer: bool) -> dict[str, float]:
    """The largest value that each method which applies can report, nats."""
    n = checked[0].n
    ceilings = {f"PlugIn and all others: H({v.name})": _entropy(v) for v in checked[:2] if v.is_discrete}
    if layer:
        return ceilings if checked[0].is_discrete else {"KDE and Binning: ln n": math.log(n)}
    if not any(v.is_discrete for v in checked[:2]):
        k = min(KSG().k, n - 1)
        ceilings[f"KSG(k={k}): psi(n) - psi({k + 1})"] = float(digamma(n) - digamma(k + 1))
        ceilings["Binning: ln n"] = math.log(n)
    return ceilings


def _constant(checked: tuple[Variable, ...]) -> Doubts:
    still = [v.name for v in checked if not v.varying.any()]
    note = f"{' and '.join(still)} has the same value in all {checked[0].n} samples: no information."
    return [(Flag.CONSTANT, note)] if still else []


def _singletons(checked: tuple[Variable, ...]) -> Doubts:
    once = {v.name: int((v.symbol_counts == 1).sum()) for v in checked if v.is_discrete}
    found = [f"{count} of {v.n} rows of {v.name}" for v in checked if (count := once.get(v.name, 0)) > 0.5 * v.n]
    note = (
        f"{' and '.join(found)} hold a symbol that occurs nowhere else: if the integers are numbers on a line, wrap "
        "them in miest.continuous; if not, merge symbols."
    )
    return [(Flag.SINGLETON_BINS, note)] if found else []


def _recommended(picked: Estimator, why: str, seen: list[Flag]) -> tuple[Estimator, str]:
    """An estimator and advice in words: what "auto" would take, unless the flags speak against it."""
    words = []
    if Flag.CONSTANT in seen:
        return picked, "Nothing to estimate: the information is 0."
    if Flag.DUPLICATES in seen:
        words.append("Keep one row of each group of near-copies first, then diagnose again.")
    if Flag.DETERMINISTIC in seen:
        picked = KDE()
        words.append(
            "I(X;Y) is infinite or too large for any method: name a noise, KDE(noise_var=...).estimate(layer)."
        )
    elif Flag.SKEWED in seen:
        picked = KSG(normal_scores=True)
        words.append("Use KSG(normal_scores=True), which no margin can mislead, or GaussianCopula if it is monotone.")
    else:
        words.append(f"Use {picked.name}: {why}.")
    if Flag.AUTOCORRELATED in seen:
        words.append("Rows are not independent: trust no interval, and test with blocks of rows.")
    return picked, " ".join(words)
