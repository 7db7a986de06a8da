"""Cells of the I-diagram from estimates that each have an interval of their own: channels, neighbours and counts."""

from dataclasses import replace

from miest.bottleneck.i_diagram import CELLS, Quantities, Term, combined, known
from miest.bottleneck.row_terms import count_entropy
from miest.estimators.channel import GaussianChannel
from miest.estimators.entropy import KozachenkoLeonenko
from miest.estimators.mixed import MixedKSG
from miest.noise import Noise, noise_generator
from miest.result import Flag, MIResult
from miest.samples import DataError, Declared, Variable

FEW = 5
"""Samples a symbol below which counts say little."""

IDENTITY_HAS_NO_ENTROPY = "X was not given, and the number of a row has no entropy of its own: pass x=."
NO_NOISE = (
    "Z is continuous and X was not given: of a deterministic encoder H[Z|X] is minus infinity, and I[X;Z] infinite. "
    "Pass noise=ZeroEntropyNoise() for those of Z plus noise."
)
CONTINUOUS_LABELS = "Y is continuous and X was not given, so that H[Y|X] is minus infinity: pass x=."


class Estimated:
    """The cells of one set of samples, and the estimates that they are made of.

    Parameters
    ----------
    checked : {"X", "Y", "Z": Variable}     X may be missing; Z is before the noise
    noise : Noise or None                   Gaussian, added to Z
    near : MixedKSG                         of what is neither counts nor a channel
    level : float                           of all cells at once
    seed : int or None
    """

    def __init__(
        self, checked: dict[str, Variable], noise: Noise | None, near: MixedKSG, level: float, seed: int | None
    ) -> None:
        each = 1 - (1 - level) / len(CELLS)
        self.checked, self.noise, self.level, self.seed = checked, noise, level, seed
        self.near = replace(near, level=each)
        self.channel = None if noise is None else GaussianChannel(noise=noise, level=each)  # type: ignore[arg-type]
        self.differential = KozachenkoLeonenko(k=near.k, neighbours=near.neighbours, level=each)
        self.sources: dict[str, tuple[float | None, tuple[Flag, ...]]] = {}
        self.notes: list[str] = []
        z = checked["Z"]
        drawn = None if noise is None else z.numbers + noise.sample(z.numbers.shape, noise_generator(seed))
        self.points = {**checked, **({} if drawn is None else {"Z": Variable("z", "continuous", drawn)})}

    def quantities(self) -> Quantities:
        """Estimate all that these samples determine."""
        if self.noise is not None:
            regions, missing = self._with_noise(self.noise)
        elif "X" in self.checked:
            regions, missing = self._measured(), {}
        else:
            regions, missing = self._without_input()
        names = sorted({source.partition(" ")[0] for source in self.sources} - {"counts"})
        notes = [] if self.noise is None else [f"Z is z plus {self.noise}."]
        return Quantities(
            regions,
            self.checked["Y"].n,
            self.level,
            ", ".join(names) or "PlugIn(correction=None)",
            self.sources,
            missing,
            (*notes, *self.notes),
        )

    def _with_noise(self, noise: Noise) -> tuple[dict[frozenset[str], Term], dict[str, str]]:
        """Y - X - Z is a Markov chain, and the channel knows H[Z|X] and H[Z]."""
        y, z, x = self.checked["Y"], self.checked["Z"], self.checked.get("X")
        several = x is not None and x.is_discrete and x.symbol_counts.max() > 1
        eps = Term(noise.entropy(z.d))
        total = self._channel("I[X;Z]" if not several else "H[Z]")
        preserved = self._channel("I[X;Z]", x) if several else total
        encoding = combined((1, total), (-1, preserved), (1, eps)) if several else eps
        relevant = self._channel("I[Y;Z]", y) if y.is_discrete else self._neighbours("Y", "Z")
        regions: list[tuple[str, Term]] = [
            ("Z", encoding),
            ("YZ", Term(0.0)),
            ("XYZ", relevant),
            ("XZ", combined((1, preserved), (-1, relevant))),
        ]
        missing = {"X": IDENTITY_HAS_NO_ENTROPY}
        if x is None and not y.is_discrete:
            regions.append(("Y+XY", combined((1, self._entropy("Y")), (-1, relevant))))
            return known(regions), missing | dict.fromkeys(("Y", "XY"), CONTINUOUS_LABELS)
        if x is None:
            regions += [("Y", Term(0.0)), ("XY", combined((1, self._entropy("Y")), (-1, relevant)))]
            return known(regions), missing
        shared = self._information("X", "Y")
        residual = combined((1, shared), (-1, relevant))
        regions += [("Y", combined((1, self._entropy("Y")), (-1, shared))), ("XY", residual)]
        try:
            rest = combined((1, self._entropy("X")), (-1, residual), (-1, preserved))
        except DataError as error:
            return known(regions), {"X": f"The entropy of X cannot be estimated: {error}"}
        return known([*regions, ("X", rest)]), {}

    def _measured(self) -> dict[frozenset[str], Term]:
        """Three variables without noise: entropies, and information of pairs and of X and Y given Z."""
        pairs = {a + b: self._information(a, b) for a, b in ("XY", "XZ", "YZ")}
        given = self._neighbours("X", "Y", "Z")
        shared = combined((1, pairs["XY"]), (-1, given))
        cells = {
            "XYZ": shared,
            "XY": given,
            "XZ": combined((1, pairs["XZ"]), (-1, shared)),
            "YZ": combined((1, pairs["YZ"]), (-1, shared)),
        }
        for name in "XYZ":
            inner = [(-1.0, term) for cell, term in cells.items() if name in cell]
            cells[name] = combined((1.0, self._entropy(name)), *inner)
        return known(cells.items())

    def _without_input(self) -> tuple[dict[frozenset[str], Term], dict[str, str]]:
        y, z = self.checked["Y"], self.checked["Z"]
        relevant = self._information("Y", "Z")
        decoder = combined((1, self._entropy("Y")), (-1, relevant))
        reverse = combined((1, self._entropy("Z")), (-1, relevant))
        missing = {"X": IDENTITY_HAS_NO_ENTROPY}
        if y.is_discrete:  # a function of the row
            missing |= dict.fromkeys(("Z", "XZ"), NO_NOISE)
            return known(
                [("Y", Term(0.0)), ("YZ", Term(0.0)), ("XYZ", relevant), ("XY", decoder), ("Z+XZ", reverse)]
            ), missing
        if z.is_discrete:
            missing |= dict.fromkeys(("Y", "XY"), CONTINUOUS_LABELS)
            return known(
                [("Z", Term(0.0)), ("YZ", Term(0.0)), ("XYZ", relevant), ("XZ", reverse), ("Y+XY", decoder)]
            ), missing
        missing |= dict.fromkeys(("Z", "XZ", "YZ", "XYZ"), NO_NOISE) | dict.fromkeys(("Y", "XY"), CONTINUOUS_LABELS)
        return known([("YZ+XYZ", relevant), ("Y+XY", decoder), ("Z+XZ", reverse)]), missing

    def _channel(self, name: str, labels: Variable | None = None) -> Term:
        assert self.channel is not None
        z = self.checked["Z"]
        other = None if labels is None else Declared(labels.values, "discrete")
        return self._term(name, self.channel.estimate(_declared(z), other, seed=self.seed))

    def _information(self, a: str, b: str) -> Term:
        if self.points[a].is_discrete and self.points[b].is_discrete:
            h = [self._counts(*some) for some in (a, b, a + b)]
            return combined((1, h[0]), (1, h[1]), (-1, h[2]))
        return self._neighbours(a, b)

    def _neighbours(self, a: str, b: str, given: str | None = None) -> Term:
        x, y = _declared(self.points[a]), _declared(self.points[b])
        z = None if given is None else _declared(self.points[given])
        name = f"I[{a};{b}]" if given is None else f"I[{a};{b}|{given}]"
        return self._term(name, self.near.estimate(x, y, given=z, seed=self.seed))

    def _entropy(self, name: str) -> Term:
        if self.points[name].is_discrete:
            return self._counts(name)
        return self._term(f"H[{name}]", self.differential.estimate(_declared(self.points[name]), seed=self.seed))

    def _counts(self, *names: str) -> Term:
        found = count_entropy([self.points[name].symbols for name in names])
        source = f"counts of {''.join(names)}"
        self.sources[source] = (0.0, (Flag.SMALL_SAMPLE,) if self.checked["Y"].n < FEW * found.symbols else ())
        return replace(found.term, shares={source: 1.0})

    def _term(self, name: str, result: MIResult) -> Term:
        source = f"{type(result.estimator).__name__} {name}"
        half = None if result.interval is None else (result.interval[1] - result.interval[0]) / 2
        if result.interval is None and Flag.CONSTANT in result.flags:
            half = 0.0
        self.sources[source] = (half, result.flags)
        self.notes += [f"{name}: {note}" for note in result.notes if result.flags]
        return Term(result.value, shares={source: 1.0})


def _declared(v: Variable) -> Declared:
    """A checked argument, to be taken for what it was taken for."""
    return Declared(v.values, v.kind)
