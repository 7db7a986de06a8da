"""Mutual information of real data and real networks: estimates that say when they cannot be trusted.

>>> import miest
>>> result = miest.mutual_information(x, y)          # picks an estimator and says why
>>> result = miest.KSG(k=3).estimate(x, y)           # or name it
>>> result.value, result.bits, result.flags          # nats, bits, what is doubtful
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from miest.estimators.auto import (
        conditional_mutual_information,
        entropy,
        mutual_information,
        total_correlation,
    )
    from miest.estimators.binning import Binning
    from miest.estimators.discrete import PlugIn
    from miest.estimators.entropy import KozachenkoLeonenko
    from miest.estimators.gaussian import Gaussian, GaussianCopula
    from miest.estimators.kde import KDE
    from miest.estimators.ksg import KSG, TotalCorrelation
    from miest.estimators.mixed import MixedKSG, Ross
    from miest.files import load
    from miest.plotting import plot_layers
    from miest.result import Diagnostics, Doubt, Flag, MIResult
    from miest.samples import DataError, DataTypeError, continuous, discrete

# Where each public name lives. Modules are loaded when a name is first used, so that importing miest is quick.
_HOME = {
    "conditional_mutual_information": "miest.estimators.auto",
    "entropy": "miest.estimators.auto",
    "mutual_information": "miest.estimators.auto",
    "total_correlation": "miest.estimators.auto",
    "Binning": "miest.estimators.binning",
    "PlugIn": "miest.estimators.discrete",
    "KozachenkoLeonenko": "miest.estimators.entropy",
    "Gaussian": "miest.estimators.gaussian",
    "GaussianCopula": "miest.estimators.gaussian",
    "KDE": "miest.estimators.kde",
    "KSG": "miest.estimators.ksg",
    "TotalCorrelation": "miest.estimators.ksg",
    "MixedKSG": "miest.estimators.mixed",
    "Ross": "miest.estimators.mixed",
    "load": "miest.files",
    "plot_layers": "miest.plotting",
    "Diagnostics": "miest.result",
    "Doubt": "miest.result",
    "Flag": "miest.result",
    "MIResult": "miest.result",
    "DataError": "miest.samples",
    "DataTypeError": "miest.samples",
    "continuous": "miest.samples",
    "discrete": "miest.samples",
}

__version__ = "0.1.0"
__all__ = [
    "KDE",
    "KSG",
    "Binning",
    "DataError",
    "DataTypeError",
    "Diagnostics",
    "Doubt",
    "Flag",
    "Gaussian",
    "GaussianCopula",
    "KozachenkoLeonenko",
    "MIResult",
    "MixedKSG",
    "PlugIn",
    "Ross",
    "TotalCorrelation",
    "conditional_mutual_information",
    "continuous",
    "discrete",
    "entropy",
    "load",
    "mutual_information",
    "plot_layers",
    "total_correlation",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'miest' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
