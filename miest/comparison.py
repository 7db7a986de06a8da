"""Several estimators on the same data, and whether what they say can be true together."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from miest.estimators.auto import named
from miest.estimators.binning import Binning
from miest.estimators.discrete import PlugIn
from miest.estimators.estimator import Estimator
from miest.estimators.gaussian import Gaussian, GaussianCopula
from miest.estimators.kde import KDE
from miest.estimators.ksg import KSG, TIED_ABOVE
from miest.estimators.mixed import MixedKSG, Ross
from miest.result import Flag, MIResult
from miest.samples import Variable, variables

HEADS = ("estimator", "quantity", "nats", "says", "flags", "seconds")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Results of several estimators on the same data, in nats, and whether they agree.

    Parameters
    ----------
    results : tuple of MIResult
    refusals : tuple of (estimator, reason)     those that could not use the data
    outside : tuple of int          positions in `results` of those that the common value excludes; empty: all agree
    common : (low, high) or None    nats: values that all the others allow; None where nothing could be compared
    notes : tuple of str            what disagrees, and by how much
    """

    results: tuple[MIResult, ...]
    refusals: tuple[tuple[str, str], ...] = ()
    outside: tuple[int, ...] = ()
    common: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    @property
    def agree(self) -> bool:
        """Whether one value is allowed by all the results that estimate the same quantity."""
        return not self.outside

    @property
    def flags(self) -> tuple[Flag, ...]:
        """DISAGREEMENT, or nothing; the flags of each result are its own."""
        return () if self.agree else (Flag.DISAGREEMENT,)

    def __iter__(self) -> Iterator[MIResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: int) -> MIResult:
        return self.results[index]

    def __str__(self) -> str:
        values = ", ".join(f"{short(r.estimator)} {r.value:.3f}" for r in self.results)
        verdict = "agree" if self.agree else "DISAGREEMENT"
        return f"{len(self.results)} estimates, nats: {values or 'none'} [{verdict}]"

    def rows(self) -> list[tuple[str, ...]]:
        """The cells of the table as text, one row a result or refusal, in the columns `HEADS`."""
        rows: list[tuple[str, ...]] = [
            (
                str(r.estimator),
                r.quantity,
                f"{r.value:.4f}",
                _says(r) + (" (outside)" if i in self.outside else ""),
                " ".join(map(str, r.flags)),
                f"{r.seconds:.2g}",
            )
            for i, r in enumerate(self.results)
        ]
        return rows + [(name, "", "", f"refused: {reason}", "", "") for name, reason in self.refusals]

    def report(self) -> str:
        """A table for the terminal, and under it what disagrees."""
        from io import StringIO

        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table()
        for head in HEADS:
            table.add_column(head, justify="right" if head in ("nats", "seconds") else "left")
        for row in self.rows():
            table.add_row(*map(Text, row))
        out = StringIO()
        console = Console(file=out, width=110)
        console.print(table)
        for note in self.notes:
            console.print(Text(note))
        return out.getvalue()

    def _repr_html_(self) -> str:
        cells = (f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows())
        head = "".join(f"<th>{head}</th>" for head in HEADS)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<table><tr>{head}</tr>{''.join(cells)}</table>{notes}"

    def to_frame(self) -> Any:
        """A pandas frame with numbers, one row a result.

        Raises
        ------
        ImportError
            without pandas
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("Comparison.to_frame needs pandas: pip install 'miest[data]'.") from error
        return pd.DataFrame(
            {
                "estimator": [str(r.estimator) for r in self.results],
                "quantity": [r.quantity for r in self.results],
                "kind": [r.kind for r in self.results],
                "value": [r.value for r in self.results],
                "low": [r.interval[0] if r.interval else math.nan for r in self.results],
                "high": [r.interval[1] if r.interval else math.nan for r in self.results],
                "ceiling": [math.nan if r.ceiling is None else r.ceiling for r in self.results],
                "flags": [" ".join(map(str, r.flags)) for r in self.results],
                "outside": [i in self.outside for i in range(len(self.results))],
                "seconds": [r.seconds for r in self.results],
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries."""
        return {
            "results": [r.to_dict() for r in self.results],
            "refusals": [list(pair) for pair in self.refusals],
            "agree": self.agree,
            "outside": list(self.outside),
            "common": None if self.common is None else list(self.common),
            "flags": [flag.name for flag in self.flags],
            "notes": list(self.notes),
        }


def compare(
    x: Any,
    y: Any = None,
    estimators: Sequence[str | Estimator] | None = None,
    *,
    given: Any = None,
    seed: int | None = None,
) -> Comparison:
    """Several estimates of the information in the same data, and whether they agree.

    Parameters
    ----------
    x, y, given : (n, ...) array-like       as for `mutual_information`
    estimators : sequence of names or estimators, or None
        None takes those that apply to the kinds of the data: see Notes
    seed : int or None

    Returns
    -------
    Comparison
        an estimator that refuses the data is listed with its reason

    Raises
    ------
    ValueError
        if the data cannot be used by any, or a name is unknown

    Notes
    -----
    Agreement: each result allows the values of its interval or, where it has none, value +- (2/sqrt(n) + 5% of the
    value): about twice the spread of KSG. Lower bounds, and values that are SATURATED, allow everything above too;
    upper bounds everything below. Results agree if some value is allowed by all; if not, those are named that exclude
    the value that most others allow. Only results for the same quantity are compared: a binned variable and a noisy
    layer are other variables than the data. On the same data methods err together, so that disagreement is strong
    evidence and agreement is weak.

    Defaults: KSG, MixedKSG (only where values repeat), Gaussian, GaussianCopula for continuous data; MixedKSG, Ross
    for mixed data; PlugIn, as it is, Miller-Madow and Grassberger corrected, for discrete data; KDE and Binning for a
    layer by itself.
    """
    checked = variables(x=x, y=y, given=given)
    chosen = [named(e) for e in estimators] if estimators is not None else defaults(checked, layer=y is None)
    results, refusals = [], []
    for estimator in chosen:
        try:
            results.append(estimator.estimate(x, y, given=given, seed=seed))
        except (ValueError, ImportError) as error:
            refusals.append((str(estimator), str(error)))
    outside, common, notes = agreement(results)
    return Comparison(results=tuple(results), refusals=tuple(refusals), outside=outside, common=common, notes=notes)


def defaults(checked: Sequence[Variable], *, layer: bool = False) -> list[Estimator]:
    """The estimators that apply to the kinds of these arguments; `layer` where y was left out."""
    kinds = {v.kind for v in checked}
    if kinds == {"discrete"}:
        return [PlugIn(), PlugIn(correction="miller-madow"), PlugIn(correction="grassberger")]
    if layer:
        return [KDE(), Binning()]
    if len(kinds) == 2:
        return [MixedKSG()] + ([Ross()] if len(checked) == 2 else [])
    repeats: list[Estimator] = [MixedKSG()] if any(v.tie_fraction > TIED_ABOVE for v in checked) else []
    return [KSG(), *repeats, Gaussian(), GaussianCopula()]


def agreement(
    results: Sequence[MIResult],
) -> tuple[tuple[int, ...], tuple[float, float] | None, tuple[str, ...]]:
    """Positions of the results that most others exclude, the values that the others allow, and why in words."""
    usual = [r.quantity for r in results]
    if not usual:
        return (), None, ()
    quantity = max(usual, key=usual.count)  # the first of the commonest
    at = [i for i, q in enumerate(usual) if q == quantity and math.isfinite(results[i].value)]
    notes = []
    if len(at) < len(results):
        notes.append(f"only the {len(at)} finite estimates of {quantity} are compared with each other.")
    if len(at) < 2:
        return (), None, tuple(notes)
    allowed = {i: allowed_values(results[i]) for i in at}

    # The common value, if there is one, starts where some range starts.
    def inside(value: float) -> list[int]:
        return [i for i in at if allowed[i][0] <= value <= allowed[i][1]]

    members = max((inside(low) for low, _ in allowed.values()), key=len)
    common = (max(allowed[i][0] for i in members), min(allowed[i][1] for i in members))
    outside = tuple(i for i in at if i not in members)
    if outside:
        theirs = ", ".join(f"{short(results[i].estimator)} ({_says(results[i])})" for i in outside)
        others = ", ".join(f"{short(results[i].estimator)} {results[i].value:.3f}" for i in members)
        notes.append(
            f"{theirs} cannot be true together with {others}, which allow {_range(common)} nats of {quantity}: look at "
            "the flags of each, and at miest.diagnose."
        )
    return outside, common, tuple(notes)


def allowed_values(result: MIResult) -> tuple[float, float]:
    """The true values that a result allows, nats; see `compare`."""
    if result.interval is not None:
        low, high = result.interval
    else:
        reach = 2 / math.sqrt(result.n_samples) + 0.05 * abs(result.value)
        low, high = result.value - reach, result.value + reach
    if result.kind == "lower bound" or Flag.SATURATED in result.flags:
        high = math.inf
    if result.kind == "upper bound":
        low = -math.inf
    return low, high


def short(estimator: Any) -> str:
    """Name of an estimator with those settings that differ from their defaults."""
    from dataclasses import fields, is_dataclass

    if not is_dataclass(estimator):
        return str(estimator)
    changed = [
        f"{f.name}={getattr(estimator, f.name)!r}" for f in fields(estimator) if getattr(estimator, f.name) != f.default
    ]
    return type(estimator).__name__ + (f"({', '.join(changed)})" if changed else "")


def _says(result: MIResult) -> str:
    text = _range(allowed_values(result))
    made = f"{result.level:.0%}" if result.interval is not None else "tolerance"
    return f"{text}, {made}" + ("" if result.kind == "point" else f", {result.kind}")


def _range(values: tuple[float, float]) -> str:
    low, high = values
    if math.isinf(high):
        return f"at least {low:.3f}"
    return f"at most {high:.3f}" if math.isinf(low) else f"{low:.3f} to {high:.3f}"
