"""The I-diagram of X, Y and Z: seven cells, and every information quantity a sum of some of them.

Yeung (1991): entropies behave as a signed measure on sets. A cell is named by the variables it lies within; then

    H[A|C]      the cells within a variable of A and within none of C
    I[A;B|C]    the cells within a variable of A, within one of B, and within none of C

so that all identities between quantities hold because both sides add up the same cells. Some data do not determine
every cell, as the entropy of X alone where X is given by nothing but the number of its row; several cells may then be
known together.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtri

from miest.result import Diagnostics, Flag, MIResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELLS = ("X", "Y", "Z", "XY", "XZ", "YZ", "XYZ")
"""By the variables that a cell lies within."""

TITLES = {
    "H[Y|X]": "label uncertainty",
    "H[Z|X]": "encoding uncertainty",
    "I[Y;Z]": "preserved relevant information",
    "I[X;Y|Z]": "residual information",
    "I[X;Z|Y]": "redundant information",
    "H[X|Y,Z]": "rest of the input",
    "I[Y;Z|X]": "information past the input",
    "I[X;Y;Z]": "co-information",
    "I[X;Y]": "relevant information",
    "I[X;Z]": "preserved information",
    "H[Y|Z]": "decoder uncertainty",
    "H[Z|Y]": "reverse decoder uncertainty",
    "H[X|Y]": "nuisance",
    "H[Y]": "label entropy",
    "H[Z]": "encoding entropy",
    "H[X]": "input entropy",
    "H[Y|X,Z]": "",
    "H[Z|X,Y]": "",
    "H[X|Z]": "",
    "H[Y,Z]": "",
    "H[X,Y]": "",
    "H[X,Z]": "",
    "H[X,Y,Z]": "",
}
"""Quantities in the order they are listed, with their names in Kirsch et al. (2020), appendix B.1, if they have one."""

_ATOMS = ("H[Y|X,Z]", "H[Z|X,Y]", "H[X|Y,Z]", "I[X;Y|Z]", "I[X;Z|Y]", "I[Y;Z|X]", "I[X;Y;Z]")
"""The seven cells, each by itself."""

_IN_CHAIN = {"H[Y|X,Z]": "H[Y|X]", "H[Z|X,Y]": "H[Z|X]", "I[X;Y;Z]": "I[Y;Z]"}
"""Usual names of cells where I[Y;Z|X] is zero, as for Y - X - Z a Markov chain."""

IDENTITIES: tuple[tuple[str, Mapping[str, int]], ...] = (
    ("I[X;Y]", {"I[X;Y|Z]": 1, "I[X;Y;Z]": 1}),
    ("I[X;Z]", {"I[X;Z|Y]": 1, "I[X;Y;Z]": 1}),
    ("I[Y;Z]", {"I[Y;Z|X]": 1, "I[X;Y;Z]": 1}),
    ("H[Y|Z]", {"I[X;Y|Z]": 1, "H[Y|X,Z]": 1}),
    ("H[Z|Y]", {"I[X;Z|Y]": 1, "H[Z|X,Y]": 1}),
    ("H[X|Y]", {"H[X|Y,Z]": 1, "I[X;Z|Y]": 1}),
    ("H[Y]", {"H[Y|X]": 1, "I[X;Y]": 1}),
    ("H[Z]", {"H[Z|X]": 1, "I[X;Z]": 1}),
    ("H[X]", {"H[X|Z]": 1, "I[X;Z]": 1}),
    ("H[X]", {"H[X|Y]": 1, "I[X;Y]": 1}),
    ("H[Y]", {"H[Y|Z]": 1, "I[Y;Z]": 1}),
    ("H[Z]", {"H[Z|Y]": 1, "I[Y;Z]": 1}),
    ("I[X;Y|Z]", {"H[Y|Z]": 1, "H[Y|X,Z]": -1}),
    ("I[X;Z|Y]", {"H[Z|Y]": 1, "H[Z|X,Y]": -1}),
    ("I[Y;Z]", {"H[Y]": 1, "H[Z]": 1, "H[Y,Z]": -1}),
    ("I[X;Y]", {"H[X]": 1, "H[Y]": 1, "H[X,Y]": -1}),
    ("I[X;Z]", {"H[X]": 1, "H[Z]": 1, "H[X,Z]": -1}),
    ("H[X,Y,Z]", {"H[Y,Z]": 1, "H[X|Y,Z]": 1}),
    ("H[X,Y,Z]", {"H[X]": 1, "H[Y|X]": 1, "H[Z|X,Y]": 1}),
)
"""Left side, and the terms of the right side: (17) to (29) of the paper for any three variables, and those of H."""

_NAME = re.compile(r"(H|I)\[([^\[\]|]+)(?:\|([XYZ,]+))?\]")


def cells_of(name: str) -> frozenset[str]:
    """Cells that a quantity adds up, such as "I[X;Z|Y]", "H[Y,Z]" or "I(Z;X)".

    Raises
    ------
    KeyError
        if the name is not one of an information quantity of X, Y and Z
    """
    found = _NAME.fullmatch(re.sub(r"\s", "", name).replace("(", "[").replace(")", "]"))
    groups = [part.split(",") for part in found[2].split(";")] if found else []
    given = found[3].split(",") if found and found[3] else []
    if (
        found is None
        or any(variable not in ("X", "Y", "Z") for group in (*groups, given) for variable in group)
        or (len(groups) > 1) != (found[1] == "I")
    ):
        raise KeyError(f"{name!r} is not a quantity of X, Y and Z: write H[Y|X], H[Y,Z], I[X;Z], I[X;Z|Y], I[X;Y;Z].")
    return frozenset(
        cell
        for cell in CELLS
        if all(any(v in cell for v in group) for group in groups) and not any(v in cell for v in given)
    )


@dataclass(frozen=True, eq=False)
class Term:
    """A value in nats that others are added to, with what its uncertainty is made of.

    Parameters
    ----------
    value : float
    bias : float                    expected excess over the truth, not subtracted from the value
    unseen : float                  the same, if all joint symbols that were not seen are possible
    second : float                  expected excess of second order, before any correction: it has degrees of freedom,
                                    2 n times its size, and their spread is left where the first order vanishes
    rows : (n,) array or None       what each row moves the value by, times n
    shares : {source: factor}       estimates with intervals of their own that it is made of
    """

    value: float
    bias: float = 0.0
    unseen: float = 0.0
    second: float = 0.0
    rows: NDArray[np.float64] | None = None
    shares: Mapping[str, float] = field(default_factory=dict)


def combined(*parts: tuple[float, Term]) -> Term:
    """Sum of factors times terms."""
    rows = [factor * term.rows for factor, term in parts if term.rows is not None]
    shares: dict[str, float] = {}
    for factor, term in parts:
        for source, share in term.shares.items():
            shares[source] = shares.get(source, 0.0) + factor * share
    return Term(
        math.fsum(factor * term.value for factor, term in parts) + 0.0,
        math.fsum(factor * term.bias for factor, term in parts),
        math.fsum(factor * term.unseen for factor, term in parts),
        math.fsum(factor * term.second for factor, term in parts),
        np.sum(rows, axis=0) if rows else None,
        shares,
    )


def cells_from_entropies(h: Mapping[str, Term]) -> dict[str, Term]:
    """The seven cells from the joint entropies of all seven sets of variables."""
    return {cell: combined(*_inclusion(cell, h)) for cell in CELLS}


def _inclusion(cell: str, h: Mapping[str, Term]) -> Iterator[tuple[float, Term]]:
    """Inclusion and exclusion: a cell is what its variables share beyond the others."""
    others = [v for v in "XYZ" if v not in cell]
    for size in range(len(cell) + 1):
        for inner in combinations(cell, size):
            union = "".join(sorted([*inner, *others]))
            if union:
                yield (1.0 if size % 2 else -1.0), h[union]


@dataclass(frozen=True, eq=False)
class Quantities(Mapping[str, MIResult]):
    """Information quantities of labels Y, a latent Z and perhaps an input X, in nats, as sums of cells of one diagram.

    Read them as ``q["I[Y;Z]"]``, ``q["H[Z|Y]"]`` or by any other name of a sum of cells that are known; each is an
    `MIResult`. Iterating gives the listed ones, atoms first.

    Parameters
    ----------
    regions : {cells: Term}         disjoint, cells as a frozenset; all that is known
    n : int
    level : float                   at which the intervals of all atoms hold at once
    estimator : str
    sources : {name: (half width or None, flags)}       estimates that terms refer to
    missing : {cell: reason}        why a cell is not known
    notes : tuple of str
    """

    regions: Mapping[frozenset[str], Term]
    n: int
    level: float
    estimator: str
    sources: Mapping[str, tuple[float | None, tuple[Flag, ...]]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> MIResult:
        wanted = cells_of(name)
        parts = [(cells, term) for cells, term in self.regions.items() if cells <= wanted]
        unknown = wanted.difference(*(cells for cells, _ in parts))
        if unknown:
            why = " ".join(dict.fromkeys(self.missing[cell] for cell in sorted(unknown) if cell in self.missing))
            raise KeyError(f"{name} is not known from these data. {why} Known: {', '.join(self)}.")
        return self._result(name, combined(*((1.0, term) for _, term in parts)))

    def __iter__(self) -> Iterator[str]:
        return (name for name in TITLES if self._known(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self._known(name)
        except KeyError:
            return False

    @property
    def is_chain(self) -> bool:
        """Whether I[Y;Z|X] is zero by the model, Y - X - Z being a Markov chain; otherwise it was measured, or not."""
        past = self.regions.get(frozenset({"YZ"}))
        return past is not None and past.value == 0 and past.rows is None and not past.shares

    def region_name(self, cells: frozenset[str]) -> str:
        """Name of a region: a cell, or cells that are known together only."""
        name = next(name for name in (*_ATOMS, *TITLES) if cells_of(name) == cells)
        return _IN_CHAIN.get(name, name) if self.is_chain else name

    @property
    def atoms(self) -> dict[str, MIResult]:
        """The smallest parts that are known: disjoint, and all else is a sum of them."""
        zero = frozenset({"YZ"}) if self.is_chain else None
        names = {self.region_name(cells) for cells in self.regions if cells != zero}
        return {name: self[name] for name in TITLES if name in names}

    @property
    def composites(self) -> dict[str, MIResult]:
        """All other listed quantities that are known."""
        atoms = self.atoms
        return {name: self[name] for name in self if name not in atoms}

    @cached_property
    def flags(self) -> tuple[Flag, ...]:
        """Flags of all estimates, each once."""
        return tuple(dict.fromkeys(flag for _, flags in self.sources.values() for flag in flags))

    def identities(self) -> dict[str, float]:
        """Left side minus right side of every identity whose quantities are all known: rounding, and nothing else."""
        found = {}
        for left, right in IDENTITIES:
            if left in self and all(name in self for name in right):
                text = " ".join(f"{'+' if sign > 0 else '-'} {name}" for name, sign in right.items())
                found[f"{left} = {text.removeprefix('+ ')}"] = self[left].value - math.fsum(
                    sign * self[name].value for name, sign in right.items()
                )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings: what `to_json` writes."""
        return {
            "n": self.n,
            "level": self.level,
            "estimator": self.estimator,
            "notes": list(self.notes),
            "quantities": {name: result.to_dict() for name, result in self.items()},
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """JSON text of every listed quantity."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def plot(self, *, units: Any = "nats", title: str = "", ax: "Axes | None" = None) -> "tuple[Figure, Axes]":
        """Draw the diagram; see `miest.plotting.i_diagram.plot_i_diagram`."""
        from miest.plotting.i_diagram import plot_i_diagram

        return plot_i_diagram(self, units=units, title=title, ax=ax)

    def report(self) -> str:
        """Table of every listed quantity: value, interval, name, flags."""
        lines = [f"{'quantity':<11}{'nats':>10}  {'interval':<22}  name"]
        for name, result in self.items():
            low_high = "" if result.interval is None else f"[{result.interval[0]:.4f}, {result.interval[1]:.4f}]"
            flags = f" ({', '.join(map(str, result.flags))})" if result.flags else ""
            lines.append(f"{name:<11}{result.value:>10.4f}  {low_high:<22}  {TITLES[name]}{flags}".rstrip())
        held = f"Intervals hold at once for all atoms at {self.level:.0%}; n={self.n}, {self.estimator}."
        return "\n".join([*lines, held, *self.notes])

    __str__ = report

    def _known(self, name: str) -> bool:
        wanted = cells_of(name)
        within = [cells for cells in self.regions if cells <= wanted]
        return sum(map(len, within)) == len(wanted)

    def _result(self, name: str, term: Term) -> MIResult:
        each = 1 - (1 - self.level) / len(CELLS)  # Bonferroni: all cells at once
        shares = {source: share for source, share in term.shares.items() if share}
        widths = [(share, self.sources[source][0]) for source, share in shares.items()]
        error, interval = 0.0, None
        if term.rows is not None:
            error = math.sqrt(float(term.rows.var(ddof=1)) / self.n)
        if all(width is not None for _, width in widths):
            # Half widths of dependent estimates add up, whatever their dependence.
            reach = math.fsum(abs(share) * (width or 0) for share, width in widths)
            reach += _reach(error, _second_order(term.second, self.n, each), self.n, float(ndtri((1 + each) / 2)))
            low, high = sorted((term.value - term.bias, term.value - term.unseen))
            interval = (min(term.value, low - reach), max(term.value, high + reach))
        flags = dict.fromkeys(flag for source in shares for flag in self.sources[source][1])
        return MIResult(
            value=term.value,
            n_samples=self.n,
            estimator=self.estimator,
            quantity=name,
            interval=interval,
            level=each,
            flags=tuple(flags),
            notes=tuple(flag.value for flag in flags),
            diagnostics=Diagnostics(bias=term.bias, standard_error=error, made_of=sorted(shares)),
        )


def _reach(error: float, second: float, n: int, z: float) -> float:
    """Half width w = sqrt(z^2 (error^2 + 2 w / n) + second^2).

    What is tested at an end of the interval is a value w away from the estimate, whose variance may be larger: that of
    mutual information I is about 2 I / n where dependence is weak, and rises more slowly where it is strong.
    """
    if error == 0 and second == 0:
        return 0.0
    extra = z * z / n
    return extra + math.sqrt(extra**2 + (z * error) ** 2 + second**2)


def _second_order(excess: float, n: int, level: float) -> float:
    """How far chi-squared over 2n, with the degrees of freedom of this excess, may be above its mean."""
    freedom = 2 * n * abs(excess)
    return float(chdtri(freedom, (1 - level) / 2) - freedom) / (2 * n) if freedom > 1e-9 else 0.0


def known(regions: Iterable[tuple[str, Term]]) -> dict[frozenset[str], Term]:
    """Regions from pairs of a text like "XY" or "Y+XY" and their term."""
    return {frozenset(cells.split("+")): term for cells, term in regions}
