"""The functions for those who do not want to choose: they pick an estimator, and the result says which and why."""

import math
from dataclasses import MISSING, dataclass, field, fields, replace
from importlib.util import find_spec
from typing import Any, cast

from miest.estimators.discrete import PlugIn
from miest.estimators.entropy import KozachenkoLeonenko
from miest.estimators.estimator import WHEN_CHANGED, Estimator
from miest.estimators.gaussian import GaussianCopula
from miest.estimators.kde import KDE
from miest.estimators.ksg import COPIED_ABOVE, KSG, TotalCorrelation
from miest.estimators.mixed import MixedKSG
from miest.estimators.neural import Discriminator
from miest.result import MIResult
from miest.samples import Variable, variables

_NEIGHBOURS_UP_TO = 5
"""Joint dimensions up to which neighbours are preferred to a critic."""
_NEIGHBOURS_WITHOUT_CRITIC = 8
"""Joint dimensions up to which neighbours are preferred to a Gaussian copula."""
_FEWEST_FOR_CRITIC = 500


@dataclass(frozen=True, kw_only=True)
class Auto(Estimator):
    """Mutual information by the estimator that suits the samples; the result names it, and its first note says why.

    Parameters
    ----------
    neural : bool       whether critics may be trained, which takes up to a minute; they also need torch

    Notes
    -----
    Picks, in this order: `KDE` if y is left out; `PlugIn` if all arguments are discrete; `MixedKSG` if some are, or if
    floats repeat; `KSG` of normal scores up to 5 joint dimensions; beyond, the anchored `Discriminator` from 500
    samples on, or `GaussianCopula` where that reads more than ln n; where no critic can be trained, `KSG` up to 8 joint
    dimensions and `GaussianCopula` beyond, if n allows it.
    Error: see the table of `make validate` in the README.
    """

    neural: bool = field(default=True, metadata=WHEN_CHANGED)

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """See `Estimator.estimate`; the `estimator` of the result is the one that was picked.

        Raises
        ------
        ValueError
            for data that cannot be used; if y is left out and given is not
        """
        checked = {v.name: v for v in variables(x=x, y=y, given=given)}
        picked, why = choose(**checked, neural=self.neural)
        result = picked.estimate(x, y, given=given, seed=seed)
        if isinstance(picked, Discriminator) and result.value > math.log(result.n_samples):
            return _beyond_rows(result, x, y)
        return replace(result, notes=(f"auto picked {picked.name}: {why}.", *result.notes))


def _beyond_rows(result: MIResult, x: Any, y: Any) -> MIResult:
    """The closed form in place of a critic's value that is above ln n, flagged as that is."""
    closed = GaussianCopula().estimate(x, y)
    why = (
        f"Discriminator reads {result.value:.1f} nats, more than ln n = {math.log(result.n_samples):.1f}, where rows "
        "can check no critic; the closed form rests on the copula being Gaussian instead"
    )
    return replace(
        closed,
        flags=tuple(dict.fromkeys((*result.flags, *closed.flags))),
        notes=(f"auto picked GaussianCopula: {why}.", *result.notes, *closed.notes),
        seconds=result.seconds + closed.seconds,
    )


def mutual_information(
    x: Any, y: Any = None, *, given: Any = None, estimator: str | Estimator = "auto", seed: int | None = None
) -> MIResult:
    """Mutual information I(X;Y), or I(X;Y|Z) with ``given=z``, in nats.

    Parameters
    ----------
    x, y : (n, ...) array-like      floats are continuous, integers, booleans and strings discrete
    given : (n, ...) array-like     condition on it
    estimator : str or Estimator    "auto" picks by type, ties, dimension and n; a name ("ksg") takes its defaults
    seed : int or None

    Returns
    -------
    MIResult
        its first note says what was picked and why

    Raises
    ------
    ValueError
        for data that cannot be used, or what is no estimator; for "auto", if y is left out and given is not

    Notes
    -----
    What "auto" picks, and in which order, is on `Auto`.
    """
    return named(estimator).estimate(x, y, given=given, seed=seed)


def conditional_mutual_information(
    x: Any, y: Any, *, given: Any, estimator: str | Estimator = "auto", seed: int | None = None
) -> MIResult:
    """Conditional mutual information I(X;Y|Z) in nats; see `mutual_information`.

    Parameters
    ----------
    x, y, given : (n, ...) array-like

    Raises
    ------
    ValueError
        if y or given is None, or as `mutual_information`
    """
    if y is None:
        raise ValueError("y is None: pass samples of Y, or estimate H(T|Z) of a layer by PlugIn() or Binning(...).")
    if given is None:
        raise ValueError("given is None: pass samples of Z, or use mutual_information for I(X;Y).")
    return mutual_information(x, y, given=given, estimator=estimator, seed=seed)


def entropy(x: Any, *, estimator: str | Estimator = "auto", seed: int | None = None) -> MIResult:
    """Entropy in nats: H(X) of symbols, or differential entropy h(X) of continuous samples.

    Parameters
    ----------
    x : (n, ...) array-like
    estimator : str or Estimator    "auto" is `PlugIn` for discrete samples, `KozachenkoLeonenko` for continuous ones

    Raises
    ------
    ValueError
        for data that cannot be used; for continuous samples with atoms, whose entropy is minus infinity
    """
    if estimator != "auto":
        return named(estimator).estimate(x, seed=seed)
    (sample,) = variables(x=x)
    picked: Estimator = PlugIn() if sample.is_discrete else KozachenkoLeonenko()
    result = picked.estimate(x, seed=seed)
    return replace(result, notes=(f"auto picked {picked.name}: x is {sample.kind}.", *result.notes))


def total_correlation(x: Any, *, k: int = 3) -> MIResult:
    """Total correlation of the columns of x, sum_j h(X_j) - h(X), in nats; see `TotalCorrelation`.

    Parameters
    ----------
    x : (n, d) array-like, d >= 2
    k : int                         neighbours
    """
    return TotalCorrelation(k=k).estimate(x)


def choose(
    x: Variable, y: Variable | None = None, given: Variable | None = None, *, neural: bool = False
) -> tuple[Estimator, str]:
    """The estimator that "auto" takes for these samples, and the reason in words.

    Parameters
    ----------
    x, y, given : Variable
    neural : bool           whether critics may be trained; not where an estimate is repeated many times
    """
    arguments = [variable for variable in (x, y, given) if variable is not None]
    if y is None and given is not None:
        raise ValueError(
            "y was left out and given was passed: pass y for I(X;Y|Z), leave given= out for I(X;T) of the layer alone, "
            "or name an estimator of H(T|Z), PlugIn() or Binning(...)."
        )
    if y is None:
        if x.is_discrete:
            return PlugIn(), "y was left out and x is discrete, so that I(X;T) is H(T)"
        return KDE(), "y was left out, and I(X; T+eps) is finite where I(X;T) is not"
    discrete = [variable.name for variable in arguments if variable.is_discrete]
    if len(discrete) == len(arguments):
        return PlugIn(), "all arguments are discrete"
    if discrete:
        return MixedKSG(), f"{' and '.join(discrete)} is discrete"
    tied = [v for v in arguments if v.tie_fraction > COPIED_ABOVE]  # MixedKSG is KSG where nothing repeats
    if tied:
        return MixedKSG(), f"{tied[0].tie_fraction:.0%} of the samples of {tied[0].name} repeat another exactly"
    d = sum(int(variable.varying.sum()) for variable in arguments)
    critic = neural and given is None and x.n >= _FEWEST_FOR_CRITIC and find_spec("torch") is not None
    if d <= (_NEIGHBOURS_UP_TO if critic else _NEIGHBOURS_WITHOUT_CRITIC):
        return KSG(normal_scores=True), f"all arguments are continuous, in {d} joint dimensions"
    if critic:
        return Discriminator(), f"{d} joint dimensions are many for neighbours at n={x.n}, and a critic can be trained"
    if x.n > 5 * d:
        return GaussianCopula(), f"{d} joint dimensions are too many for neighbours at n={x.n}"
    return KSG(normal_scores=True), f"n={x.n} is too small for a covariance of {d} joint dimensions"


def named(estimator: str | Estimator) -> Estimator:
    """An estimator from its name in any case, with or without hyphens, with default settings; others as they are.

    "auto" is one of them.

    Raises
    ------
    ValueError
        if no estimator has that name; the message lists them. For a class, and what has no `estimate`
    """
    if isinstance(estimator, type):
        raise ValueError(f"estimator={estimator.__name__} is a class: pass an instance, {estimator.__name__}().")
    if not isinstance(estimator, str):
        if not callable(getattr(estimator, "estimate", None)):
            raise ValueError(
                f'estimator={estimator!r} is none: pass an instance, as KSG(), a name, as "ksg", or "auto".'
            )
        return estimator
    known = estimators()
    plain = estimator.lower().replace("-", "").replace("_", "")
    if plain not in known:
        names = ", ".join(made.__name__ for name, made in known.items() if name != "auto")
        raise ValueError(f"estimator={estimator!r} is not one of auto, {names}.")
    found = known[plain]
    needed = [f.name for f in fields(cast(Any, found)) if f.default is MISSING and f.default_factory is MISSING]
    if needed:
        raise ValueError(f"{found.__name__} needs {', '.join(needed)}: pass an instance instead of its name.")
    return found()


def estimators() -> dict[str, type[Estimator]]:
    """Every estimator that miest exports, by its lower-case name."""
    import miest

    # Only modules of estimators: others need torch, or take long to load.
    exported = [getattr(miest, name) for name, home in miest._HOME.items() if home.startswith("miest.estimators.")]
    classes = [item for item in exported if isinstance(item, type) and issubclass(item, Estimator)]
    return {item.__name__.lower(): item for item in classes}
