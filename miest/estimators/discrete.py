"""Entropy and mutual information of discrete variables from counts of symbols.

Every quantity here is a sum of entropies, I(X;Y) = H(X) + H(Y) - H(XY) and
I(X;Y|Z) = H(XZ) + H(YZ) - H(XYZ) - H(Z), and each entropy is estimated from how often each symbol was seen. The
plug-in value -sum (c/n) ln(c/n) is too small by about (m-1)/2n for m symbols (Miller 1955), so that the plug-in
I(X;Y) of independent variables is too large by about (m_x-1)(m_y-1)/2n. The corrections differ in what they assume
of the symbols that were not seen.

Entropies are computed from the counts of the counts, sorted: no result depends on the order of samples or on how
symbols are called.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import trapezoid
from scipy.optimize import brentq, minimize_scalar
from scipy.special import digamma, gammaln, polygamma

from miest.estimators.estimator import Estimator, require_choice
from miest.result import Diagnostics, Flag, MIResult
from miest.samples import DataTypeError, Variable, variables
from miest_kernels.rows import row_codes

Correction = Literal["miller-madow", "grassberger", "chao-shen", "nsb"] | None
CORRECTIONS: tuple[Correction, ...] = (None, "miller-madow", "grassberger", "chao-shen", "nsb")

_LARGEST_ALPHABET = 1e200  # beyond it beta = kappa / alphabet leaves float64
_BIAS = 0.05  # nats of plug-in bias that call for more samples, whatever the value
UNSEEN = 0.1
"""Share of samples whose symbol occurs once, above which they are too few: as large a share of the probability lies on
symbols that were not seen (Good 1953), and no correction knows how many these are."""
_BIAS_OF_VALUE = 0.01  # nats that do where they are also more than half of the value

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PlugIn(Estimator):
    """Mutual information I(X;Y) or I(X;Y|Z) of discrete variables, or entropy H(T) of one, from symbol counts.

    Every distinct row is a symbol. With y left out the quantity is H(T), which is I(X;T) for a layer T that is a
    deterministic function of X; with given=z it is H(T|Z).

    Parameters
    ----------
    correction : None, "miller-madow", "grassberger", "chao-shen" or "nsb"
        how each entropy is corrected for few samples, see `discrete_entropy`; None is the plug-in value itself. For
        "nsb" the alphabet of a variable is estimated (Chao 1984), that of a joint is the product of its variables'.

    Raises
    ------
    ValueError
        an unknown correction; a continuous argument

    Notes
    -----
    Error: mean |error| in nats of I(X;Y) over 8 tables (independent, channels, banded, Dirichlet, identity, Zipf;
    30 to 900 cells) and 40 seeds, at n samples a non-empty cell. The default is the best of the last column.

    ============== ======= ======= ======= ======= =======
    correction     n/m = 1       2       5      20    mean
    ============== ======= ======= ======= ======= =======
    None             0.322   0.180   0.077   0.022   0.150
    "miller-madow"   0.192   0.085   0.033   0.011   0.080
    "grassberger"    0.103   0.058   0.029   0.011   0.050
    "chao-shen"      0.102   0.065   0.041   0.019   0.057
    "nsb"            0.144   0.079   0.037   0.014   0.069
    ============== ======= ======= ======= ======= =======

    Uncorrected it is -0.56 off at n/m = 1 where Y = X has 30 symbols, and +0.46 where X and Y are independent. "nsb"
    is the best by far under independence (0.03 at n/m = 1) and the worst at Y = X (-0.69): its product alphabet
    takes the empty cells of the joint for unseen ones.
    `ceiling` is that of the plug-in value, and None with a correction: ln n for an entropy, the smaller of H(X) and
    H(Y) as these samples have them for I(X;Y), and the smaller of H(X|Z) and H(Y|Z) for I(X;Y|Z).
    Cost: O(n) time and memory; "nsb" some milliseconds more.
    Source: `discrete_entropy`.
    Wrong when: most samples have joint symbols seen once (SINGLETON_BINS), or by a tenth of the samples, or there
        are few samples a cell (SMALL_SAMPLE).
    """

    correction: Correction = "grassberger"

    def __post_init__(self) -> None:
        require_choice("correction", self.correction, CORRECTIONS)

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """I(X;Y) or I(X;Y|Z) of discrete x and y, or H(T) and H(T|Z) with y left out; `seed` is not used."""
        started = perf_counter()
        checked = {v.name: v for v in variables(x=x, y=y, given=given)}
        for argument in checked.values():
            _refuse_continuous(argument)
        symbols = {name: symbols_of(argument) for name, argument in checked.items()}
        found = information(self.correction, symbols["x"], symbols.get("y"), symbols.get("given"))
        return MIResult(
            value=found.value,
            n_samples=checked["x"].n,
            estimator=self,
            quantity=("H(T)" if y is None else "I(X;Y)") if given is None else ("H(T|Z)" if y is None else "I(X;Y|Z)"),
            ceiling=found.ceiling,
            flags=found.flags,
            notes=found.notes,
            diagnostics=Diagnostics(**found.diagnostics),
            seconds=perf_counter() - started,
        )


def _refuse_continuous(argument: Variable) -> None:
    if not argument.is_discrete:
        name = argument.name
        raise DataTypeError(
            f"{name} is continuous ({argument.values.dtype}, {argument.d} columns), and PlugIn counts symbols: wrap "
            f"it in miest.discrete({name}) if equal rows are equal symbols, or use Binning(...) to bin it or "
            "MixedKSG(...) to keep it continuous."
        )


@dataclass(frozen=True, eq=False)
class Symbols:
    """A discrete variable as codes (n,) from 0, their counts (m,), and the number of symbols seen or not."""

    codes: NDArray[np.intp]
    counts: NDArray[np.intp]
    alphabet: float


def symbols_of(argument: Variable) -> Symbols:
    """The rows of a discrete argument as symbols."""
    return Symbols(argument.symbols, argument.symbol_counts, alphabet_of(argument.symbol_counts))


def joined(*parts: Symbols) -> Symbols:
    """The joint symbols of several variables; their alphabet is the product."""
    if len(parts) == 1:
        return parts[0]
    codes, counts = row_codes(np.column_stack([part.codes for part in parts]))
    return Symbols(codes, counts, min(math.prod(part.alphabet for part in parts), _LARGEST_ALPHABET))


@dataclass(frozen=True, eq=False)
class Information:
    """A sum of entropies of symbols, and what counting them says about it."""

    value: float
    ceiling: float | None
    flags: tuple[Flag, ...]
    notes: tuple[str, ...]
    diagnostics: dict[str, Any]


def information(correction: Correction, x: Symbols, y: Symbols | None = None, z: Symbols | None = None) -> Information:
    """I(X;Y), I(X;Y|Z), H(X) or H(X|Z) in nats, with its flags and diagnostics."""
    terms: dict[str, tuple[int, Symbols]]  # the largest joint first
    if y is None:
        terms = {"t": (1, x)} if z is None else {"tz": (1, joined(x, z)), "z": (-1, z)}
    elif z is None:
        terms = {"xy": (-1, joined(x, y)), "x": (1, x), "y": (1, y)}
    else:
        terms = {
            "xyz": (-1, joined(x, y, z)),
            "xz": (1, joined(x, z)),
            "yz": (1, joined(y, z)),
            "z": (-1, z),
        }
    n = len(x.codes)
    plug_in = {name: discrete_entropy(part.counts) for name, (_, part) in terms.items()}
    entropies = plug_in
    if correction is not None:
        entropies = {
            name: discrete_entropy(part.counts, correction, alphabet=part.alphabet) for name, (_, part) in terms.items()
        }
    # fsum rounds once, so that the order of x and y does not show
    value, uncorrected = (math.fsum(terms[name][0] * h for name, h in each.items()) for each in (entropies, plug_in))
    bias = sum(-sign * (len(part.counts) - 1) for sign, part in terms.values()) / (2 * n)
    joint = next(iter(terms.values()))[1].counts
    once = int((joint == 1).sum())
    diagnostics: dict[str, Any] = {f"h_{name}": h for name, h in entropies.items()}
    diagnostics |= {f"symbols_{name}": len(part.counts) for name, (_, part) in terms.items()}
    diagnostics |= {"singletons": once, "correction": correction, "plug_in": uncorrected, "plug_in_bias": bias}
    if "xy" in terms:
        diagnostics["smaller_entropy"] = min(plug_in["x"], plug_in["y"])

    doubts: dict[Flag, str] = {}
    constant = [name for name, part in (("x", x), ("y", y)) if part is not None and len(part.counts) == 1]
    if constant:
        doubts[Flag.CONSTANT] = (
            f"{' and '.join(constant)} has one symbol in all {n} samples: it carries no information."
        )
    what, which = ("symbol", "entropy") if y is None else ("joint symbol", "joint entropy")
    if once > n / 2:
        doubts[Flag.SINGLETON_BINS] = (
            f"{once} of {n} samples carry a {what} that occurs once: the plug-in {which} is near ln n = "
            f"{math.log(n):.4f} whatever the data are. Use fewer symbols (fewer or wider bins, fewer columns) or more "
            "samples."
        )
    elif once > UNSEEN * n:
        doubts[Flag.SMALL_SAMPLE] = unseen_note(once, n, what)
    left = abs(bias) / (1 if correction is None else 3)  # a third is left on average: the table of PlugIn
    if left > _BIAS or left > max(_BIAS_OF_VALUE, abs(value) / 2):
        doubts[Flag.SMALL_SAMPLE] = (
            f"{n} samples in {len(joint)} non-empty cells: the plug-in value is off by about {bias:+.3f} nats. "
            + ("" if correction is None else f"correction={correction!r} leaves part of that. ")
            + "Use more samples or fewer symbols"
            + (', or correction="grassberger".' if correction is None else ".")
        )
    ceiling = _ceiling(plug_in, n) if correction is None else None
    return Information(value, ceiling, tuple(doubts), tuple(doubts.values()), diagnostics)


def unseen_note(once: int, n: int, what: str = "joint symbol") -> str:
    """What to say of symbols that occur once."""
    return (
        f"{once} of {n} samples carry a {what} that occurs once: about {once / n:.0%} of the probability lies on "
        f"{what}s that were not seen, and the value may be off by several times that in nats. Use more samples or "
        "fewer symbols."
    )


def _ceiling(h: dict[str, float], n: int) -> float:
    """The largest plug-in value: of information the smaller entropy as the samples have it, of an entropy ln n."""
    if "xy" in h:
        return min(h["x"], h["y"])
    return min(h["xz"], h["yz"]) - h["z"] if "xyz" in h else math.log(n)


def discrete_entropy(counts: ArrayLike, correction: Correction = None, *, alphabet: float | None = None) -> float:
    """Entropy H(X) of a discrete variable from the number of times each symbol was seen, in nats.

    Parameters
    ----------
    counts : (m,) integers          of each symbol; zeros are passed over
    correction : None, "miller-madow", "grassberger", "chao-shen" or "nsb"
        None is the plug-in (maximum-likelihood) value
    alphabet : number or None
        symbols there are, seen or not; only "nsb" uses it. None: the number that Chao (1984) estimates,
        m + f1 (f1 - 1) / (2 (f2 + 1)) from the f1 symbols seen once and the f2 seen twice. The number of symbols
        seen would be a poor choice: it declares a sample that never repeats a symbol to be uniform on n symbols.

    Returns
    -------
    float                           nats

    Raises
    ------
    ValueError
        counts that are negative, not integer or all zero; an unknown correction; an alphabet smaller than the
        number of symbols seen, or above 1e200

    Notes
    -----
    Error: the table of `PlugIn`. Grassberger's G alternates with the parity of a count and is right on average over
    random counts. Where a design fixes them (balanced classes, quantile bins) H(X) is corrected by 0 if they are
    even and twice if they are odd, which moves I(X;Y) by up to (m - 1)/2n; "miller-madow" has no such step.
    Cost: O(m log m); "nsb" O(distinct counts) times a few thousand, some milliseconds.
    Source: Miller (1955), Note on the bias of information estimates. Grassberger (2003), arXiv:physics/0307138,
    with G(n) = psi(n) + (-1)^n/2 [psi((n+1)/2) - psi(n/2)]. Chao & Shen (2003), doi:10.1023/A:1026096204727.
    Nemenman, Shafee, Bialek (2002), arXiv:physics/0108025.
    Differs: one symbol has entropy 0 under every correction (Grassberger's sum gives up to 1/n). Where every symbol
    was seen once the coverage of Chao & Shen is 0 and their value infinite; one of the n is then taken to be seen
    twice, f1 = n - 1, as is usual.
    """
    require_choice("correction", correction, CORRECTIONS)
    array = np.asarray(counts)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise ValueError(f"counts of dtype {array.dtype} and shape {array.shape} must be a row of integers.")
    if array.size and array.min() < 0:
        raise ValueError(f"counts has {int((array < 0).sum())} negative values: pass how often each symbol was seen.")
    sizes, times = (a.astype(np.float64) for a in np.unique(array[array > 0], return_counts=True))
    if not sizes.size:
        raise ValueError("counts has no symbol that was seen: pass at least one count above 0.")
    seen = float(times.sum())
    if alphabet is not None and not seen <= alphabet <= _LARGEST_ALPHABET:
        raise ValueError(
            f"alphabet={alphabet!r} must be at least the {seen:.0f} symbols seen and at most {_LARGEST_ALPHABET:g}."
        )
    if seen == 1 and (alphabet is None or alphabet == 1 or correction != "nsb"):
        return 0.0
    if correction == "nsb":
        return _nsb(sizes, times, float(alphabet if alphabet is not None else alphabet_of(array)))
    return _FORMULAS[correction](sizes, times)


def _plug_in(sizes: Floats, times: Floats) -> float:
    n = sizes @ times
    return float((times * sizes / n) @ np.log(n / sizes))


def _miller_madow(sizes: Floats, times: Floats) -> float:
    return _plug_in(sizes, times) + float((times.sum() - 1) / (2 * (sizes @ times)))


def _grassberger(sizes: Floats, times: Floats) -> float:
    sign = np.where(sizes % 2 == 0, 0.5, -0.5)
    g = digamma(sizes) + sign * (digamma((sizes + 1) / 2) - digamma(sizes / 2))
    n = sizes @ times
    return float(np.log(n) - (times * sizes / n) @ g)


def _chao_shen(sizes: Floats, times: Floats) -> float:
    n = sizes @ times
    once = float(times[sizes == 1].sum())
    coverage = 1 - (once if once < n else n - 1) / n
    p = coverage * sizes / n
    seen = -np.expm1(n * np.log1p(-p))  # probability that a symbol of share p is in the sample at all
    return float(-(times * p / seen) @ np.log(p))


_FORMULAS: dict[Correction, Callable[[Floats, Floats], float]] = {
    None: _plug_in,
    "miller-madow": _miller_madow,
    "grassberger": _grassberger,
    "chao-shen": _chao_shen,
}


def alphabet_of(counts: NDArray[Any]) -> float:
    """Number of symbols, seen or not, by the bias-corrected estimate of Chao (1984), rounded up."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return float((counts > 0).sum() + math.ceil(once * (once - 1) / (2 * (twice + 1))))


def _nsb(sizes: Floats, times: Floats, alphabet: float) -> float:
    """Posterior mean of the entropy under the prior of Nemenman, Shafee and Bialek.

    The prior mixes Dirichlet(beta) priors over `alphabet` cells so that the entropy expected before any data,
    xi = psi(kappa + 1) - psi(beta + 1) with kappa = alphabet * beta, is uniform. What is left is a ratio of two
    integrals over beta. Over u = ln kappa the integrand is analytic and falls off exponentially at both ends, where
    the trapezoidal rule converges exponentially: the nodes are doubled until the value stands still.
    """
    n, seen = sizes @ times, times.sum()

    def log_weight(u: Any) -> Any:
        kappa = np.exp(np.atleast_1d(u))
        beta = kappa / alphabet
        evidence = _log_rising(beta[:, None], sizes) @ times - _log_rising(kappa, n)
        weight = evidence + np.log(_prior(kappa, beta))
        return weight if np.ndim(u) else float(weight[0])

    def entropy(u: Floats) -> Floats:
        kappa = np.exp(u)
        beta = kappa / alphabet
        inner = ((sizes + beta[:, None]) * digamma(sizes + beta[:, None] + 1)) @ times
        inner += (alphabet - seen) * beta * digamma(beta + 1)
        return np.asarray(digamma(n + kappa + 1) - inner / (n + kappa))

    # Below, the weight falls as kappa^(m-1) or faster; above, as 1/kappa once kappa > alphabet n^2.
    grid = np.linspace(-60.0, math.log(alphabet) + 2 * math.log(n) + 60.0, 512)
    weights = log_weight(grid)
    best = int(np.clip(weights.argmax(), 1, len(grid) - 2))
    found = minimize_scalar(
        lambda u: -log_weight(u), bounds=(grid[best - 1], grid[best + 1]), method="bounded", options={"xatol": 1e-6}
    )
    mode, top = float(found.x), -float(found.fun)
    grid = np.sort(np.append(grid, mode))
    heavy = np.flatnonzero(log_weight(grid) > top - 45)  # e^-45 of the largest weight is left out
    low, high = (
        float(brentq(lambda u: log_weight(u) - (top - 45), *ends, xtol=1e-3))
        for ends in ((grid[heavy[0] - 1], grid[heavy[0]]), (grid[heavy[-1]], grid[heavy[-1] + 1]))
    )
    value, before, nodes = math.nan, math.inf, 129
    while not abs(value - before) < 1e-10 and nodes < 20_000:
        before, nodes = value, 2 * nodes - 1
        u = np.linspace(low, high, nodes)
        weight = np.exp(log_weight(u) - top)
        value = float(trapezoid(weight * entropy(u), u) / trapezoid(weight, u))
    return value


def _log_rising(a: Floats, n: Any) -> Floats:
    """Log of a (a+1) ... (a+n-1), without the cancellation of gammaln(a + n) - gammaln(a) at large a."""
    near, far = np.minimum(a, 20.0), np.maximum(a, 20.0)
    direct = gammaln(near + n) - gammaln(near)
    stirling = (far + n - 0.5) * np.log1p(n / far) + n * (np.log(far) - 1) + _stirling(far + n) - _stirling(far)
    return np.asarray(np.where(a < 20, direct, stirling))


def _stirling(a: Floats) -> Floats:
    """What Stirling's formula leaves of gammaln(a), to 1e-13 for a >= 20."""
    square = (1 / a) ** 2
    return (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680))) / a


def _prior(kappa: Floats, beta: Floats) -> Floats:
    """Density of xi in ln(beta): g(kappa) - g(beta) with g(a) = a psi1(a + 1), which rises from 0 to 1."""
    below = _g(kappa) - _g(beta)
    above = _short_of_one(np.maximum(beta, 50.0)) - _short_of_one(np.maximum(kappa, 50.0))
    return np.where(beta < 50, below, above)


def _g(a: Floats) -> Floats:
    near = np.minimum(a, 50.0)
    return np.where(a < 50, near * polygamma(1, near + 1), 1 - _short_of_one(np.maximum(a, 50.0)))


def _short_of_one(a: Floats) -> Floats:
    """1 - g(a) for a >= 50, from the asymptotic series, to 1e-15."""
    square = (1 / a) ** 2
    return 0.5 / a - square * (1 / 6 - square * (1 / 30 - square / 42))
