"""Mutual information of real data and real networks: estimates that say when they cannot be trusted.

>>> import miest
>>> result = miest.mutual_information(x, y)          # picks an estimator and says why
>>> result = miest.KSG(k=3).estimate(x, y)           # or name it
>>> result.value, result.bits, result.flags          # nats, bits, what is doubtful
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from miest.comparison import Comparison, compare
    from miest.consistency import Consistency, self_consistency
    from miest.diagnosis import Diagnosis, diagnose
    from miest.estimators.auto import (
        conditional_mutual_information,
        entropy,
        mutual_information,
        total_correlation,
    )
    from miest.estimators.binning import Binning
    from miest.estimators.discrete import PlugIn
    from miest.estimators.entropy import KozachenkoLeonenko
    from miest.estimators.extrapolated import Extrapolated
    from miest.estimators.gaussian import Gaussian, GaussianCopula
    from miest.estimators.kde import KDE
    from miest.estimators.ksg import KSG, TotalCorrelation
    from miest.estimators.mixed import MixedKSG, Ross
    from miest.files import load
    from miest.plotting import plot_errors, plot_layers
    from miest.result import Diagnostics, Doubt, Flag, MIResult
    from miest.samples import DataError, DataTypeError, continuous, discrete
    from miest.significance import PermutationTest, permutation_test
    from miest.tasks.suite import suite
    from miest.tasks.task import Sample, Task
    from miest.validation import Validation, validate

# Where each public name lives. Modules are loaded when a name is first used, so that importing miest is quick.
_HOME = {
    "Comparison": "miest.comparison",
    "compare": "miest.comparison",
    "Consistency": "miest.consistency",
    "self_consistency": "miest.consistency",
    "Diagnosis": "miest.diagnosis",
    "diagnose": "miest.diagnosis",
    "conditional_mutual_information": "miest.estimators.auto",
    "entropy": "miest.estimators.auto",
    "mutual_information": "miest.estimators.auto",
    "total_correlation": "miest.estimators.auto",
    "Binning": "miest.estimators.binning",
    "PlugIn": "miest.estimators.discrete",
    "KozachenkoLeonenko": "miest.estimators.entropy",
    "Extrapolated": "miest.estimators.extrapolated",
    "Gaussian": "miest.estimators.gaussian",
    "GaussianCopula": "miest.estimators.gaussian",
    "KDE": "miest.estimators.kde",
    "KSG": "miest.estimators.ksg",
    "TotalCorrelation": "miest.estimators.ksg",
    "MixedKSG": "miest.estimators.mixed",
    "Ross": "miest.estimators.mixed",
    "load": "miest.files",
    "plot_errors": "miest.plotting",
    "plot_layers": "miest.plotting",
    "Diagnostics": "miest.result",
    "Doubt": "miest.result",
    "Flag": "miest.result",
    "MIResult": "miest.result",
    "DataError": "miest.samples",
    "DataTypeError": "miest.samples",
    "continuous": "miest.samples",
    "discrete": "miest.samples",
    "suite": "miest.tasks.suite",
    "Sample": "miest.tasks.task",
    "Task": "miest.tasks.task",
    "Validation": "miest.validation",
    "validate": "miest.validation",
    "PermutationTest": "miest.significance",
    "permutation_test": "miest.significance",
}

__version__ = "0.1.0"
__all__ = [
    "KDE",
    "KSG",
    "Binning",
    "Comparison",
    "Consistency",
    "DataError",
    "DataTypeError",
    "Diagnosis",
    "Diagnostics",
    "Doubt",
    "Extrapolated",
    "Flag",
    "Gaussian",
    "GaussianCopula",
    "KozachenkoLeonenko",
    "MIResult",
    "MixedKSG",
    "PermutationTest",
    "PlugIn",
    "Ross",
    "Sample",
    "Task",
    "TotalCorrelation",
    "Validation",
    "compare",
    "conditional_mutual_information",
    "continuous",
    "diagnose",
    "discrete",
    "entropy",
    "load",
    "mutual_information",
    "permutation_test",
    "plot_errors",
    "plot_layers",
    "self_consistency",
    "suite",
    "total_correlation",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'miest' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
