"""The functions for those who do not want to choose: they pick an estimator, and the result says which and why."""

from dataclasses import replace
from typing import Any

from miest.estimators.discrete import PlugIn
from miest.estimators.entropy import KozachenkoLeonenko
from miest.estimators.estimator import Estimator
from miest.estimators.gaussian import GaussianCopula
from miest.estimators.kde import KDE
from miest.estimators.ksg import COPIED_ABOVE, KSG, TotalCorrelation
from miest.estimators.mixed import MixedKSG
from miest.result import MIResult
from miest.samples import Variable, variables

_NEIGHBOURS_UP_TO = 8
"""Joint dimensions up to which neighbours are preferred to a Gaussian copula."""


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
    "auto" picks, in this order: `KDE` if y is left out; `PlugIn` if all arguments are discrete; `MixedKSG` if some are,
    or if floats repeat; `KSG` up to 8 joint dimensions; `GaussianCopula` beyond, if n allows it.
    """
    if estimator != "auto":
        return named(estimator).estimate(x, y, given=given, seed=seed)
    picked, why = choose(**{v.name: v for v in variables(x=x, y=y, given=given)})
    result = picked.estimate(x, y, given=given, seed=seed)
    return replace(result, notes=(f"auto picked {picked.name}: {why}.", *result.notes))


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


def choose(x: Variable, y: Variable | None = None, given: Variable | None = None) -> tuple[Estimator, str]:
    """The estimator that "auto" takes for these samples, and the reason in words."""
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
    if d <= _NEIGHBOURS_UP_TO:
        return KSG(), f"all arguments are continuous, in {d} joint dimensions"
    if x.n > 5 * d:
        return GaussianCopula(), f"{d} joint dimensions are too many for neighbours at n={x.n}"
    return KSG(), f"n={x.n} is too small for a covariance of {d} joint dimensions"


def named(estimator: str | Estimator) -> Estimator:
    """An estimator from its name in any case, with or without hyphens, with default settings; others as they are.

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
        raise ValueError(
            f"estimator={estimator!r} is not one of auto, {', '.join(c.__name__ for c in known.values())}."
        )
    return known[plain]()


def estimators() -> dict[str, type[Estimator]]:
    """Every estimator that miest exports, by its lower-case name."""
    import miest

    exported = [getattr(miest, name) for name in miest.__all__]
    classes = [item for item in exported if isinstance(item, type) and issubclass(item, Estimator)]
    return {item.__name__.lower(): item for item in classes}
