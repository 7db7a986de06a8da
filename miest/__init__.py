"""Mutual information of real data and real networks: estimates that say when they cannot be trusted.

>>> import miest
>>> result = miest.mutual_information(x, y)          # picks an estimator and says why
>>> result = miest.KSG(k=3).estimate(x, y)           # or name it
>>> result.value, result.bits, result.flags          # nats, bits, what is doubtful
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from miest import bottleneck as bottleneck
    from miest import datasets as datasets
    from miest import plotting as plotting
    from miest import tasks as tasks
    from miest.comparison import Comparison, compare
    from miest.consistency import Consistency, self_consistency
    from miest.diagnosis import Diagnosis, diagnose
    from miest.estimators.aamine import AAMINE
    from miest.estimators.auto import (
        Auto,
        conditional_mutual_information,
        entropy,
        mutual_information,
        total_correlation,
    )
    from miest.estimators.binning import Binning
    from miest.estimators.channel import GaussianChannel
    from miest.estimators.dimension import CorrelationDimension
    from miest.estimators.discrete import PlugIn
    from miest.estimators.entropy import KozachenkoLeonenko
    from miest.estimators.extrapolated import Extrapolated
    from miest.estimators.gaussian import Gaussian, GaussianCopula
    from miest.estimators.information_dimension import InformationDimension
    from miest.estimators.kde import KDE
    from miest.estimators.ksg import KSG, TotalCorrelation
    from miest.estimators.linear_probe import LinearProbe
    from miest.estimators.mixed import MixedKSG, Ross
    from miest.estimators.neural import CLUB, MINE, NWJ, SMILE, Discriminator, InfoNCE
    from miest.estimators.noisy import Noisy
    from miest.estimators.renyi import Renyi2
    from miest.files import load
    from miest.neural.subnetwork import subnetwork_of
    from miest.noise import GaussianNoise, UniformNoise, ZeroEntropyNoise
    from miest.plane.adapters import lightning_callback, transformers_callback
    from miest.plane.checkpoints import from_checkpoints
    from miest.plane.estimation import estimate_plane
    from miest.plane.gradients import GradientSNR, gradient_signal_to_noise
    from miest.plane.information_plane import InformationPlane
    from miest.plane.quantities import Quantity
    from miest.plane.recorder import Recorder
    from miest.plane.reductions import Flatten, MaxPool, MeanPool, RandomProjection, Reduction, Token
    from miest.plane.report import write_report
    from miest.plane.row import Row
    from miest.plane.run import load_plane
    from miest.plane.schedule import AtSteps, EverySchedule, LogSchedule
    from miest.plane.snapshot import Snapshot
    from miest.plane.trajectory import Trajectory
    from miest.plotting import plot_compare, plot_errors, plot_layers, plot_noise_sweep, plot_plane, plot_timeline
    from miest.result import Diagnostics, Doubt, Flag, MIResult
    from miest.samples import DataError, DataTypeError, continuous, discrete
    from miest.significance import PermutationTest, permutation_test
    from miest.sweep import NoiseSweep, noise_sweep
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
    "AAMINE": "miest.estimators.aamine",
    "Auto": "miest.estimators.auto",
    "conditional_mutual_information": "miest.estimators.auto",
    "entropy": "miest.estimators.auto",
    "mutual_information": "miest.estimators.auto",
    "total_correlation": "miest.estimators.auto",
    "Binning": "miest.estimators.binning",
    "GaussianChannel": "miest.estimators.channel",
    "CorrelationDimension": "miest.estimators.dimension",
    "PlugIn": "miest.estimators.discrete",
    "KozachenkoLeonenko": "miest.estimators.entropy",
    "Extrapolated": "miest.estimators.extrapolated",
    "Gaussian": "miest.estimators.gaussian",
    "GaussianCopula": "miest.estimators.gaussian",
    "InformationDimension": "miest.estimators.information_dimension",
    "KDE": "miest.estimators.kde",
    "KSG": "miest.estimators.ksg",
    "TotalCorrelation": "miest.estimators.ksg",
    "LinearProbe": "miest.estimators.linear_probe",
    "MixedKSG": "miest.estimators.mixed",
    "Ross": "miest.estimators.mixed",
    "CLUB": "miest.estimators.neural",
    "Discriminator": "miest.estimators.neural",
    "InfoNCE": "miest.estimators.neural",
    "MINE": "miest.estimators.neural",
    "NWJ": "miest.estimators.neural",
    "SMILE": "miest.estimators.neural",
    "Noisy": "miest.estimators.noisy",
    "Renyi2": "miest.estimators.renyi",
    "load": "miest.files",
    "subnetwork_of": "miest.neural.subnetwork",
    "GaussianNoise": "miest.noise",
    "UniformNoise": "miest.noise",
    "ZeroEntropyNoise": "miest.noise",
    "lightning_callback": "miest.plane.adapters",
    "transformers_callback": "miest.plane.adapters",
    "from_checkpoints": "miest.plane.checkpoints",
    "estimate_plane": "miest.plane.estimation",
    "GradientSNR": "miest.plane.gradients",
    "gradient_signal_to_noise": "miest.plane.gradients",
    "InformationPlane": "miest.plane.information_plane",
    "Quantity": "miest.plane.quantities",
    "Recorder": "miest.plane.recorder",
    "Flatten": "miest.plane.reductions",
    "MaxPool": "miest.plane.reductions",
    "MeanPool": "miest.plane.reductions",
    "RandomProjection": "miest.plane.reductions",
    "Reduction": "miest.plane.reductions",
    "Token": "miest.plane.reductions",
    "write_report": "miest.plane.report",
    "Row": "miest.plane.row",
    "load_plane": "miest.plane.run",
    "AtSteps": "miest.plane.schedule",
    "EverySchedule": "miest.plane.schedule",
    "LogSchedule": "miest.plane.schedule",
    "Snapshot": "miest.plane.snapshot",
    "Trajectory": "miest.plane.trajectory",
    "plot_compare": "miest.plotting",
    "plot_errors": "miest.plotting",
    "plot_layers": "miest.plotting",
    "plot_noise_sweep": "miest.plotting",
    "plot_plane": "miest.plotting",
    "plot_timeline": "miest.plotting",
    "Diagnostics": "miest.result",
    "Doubt": "miest.result",
    "Flag": "miest.result",
    "MIResult": "miest.result",
    "DataError": "miest.samples",
    "DataTypeError": "miest.samples",
    "continuous": "miest.samples",
    "discrete": "miest.samples",
    "PermutationTest": "miest.significance",
    "permutation_test": "miest.significance",
    "NoiseSweep": "miest.sweep",
    "noise_sweep": "miest.sweep",
    "suite": "miest.tasks.suite",
    "Sample": "miest.tasks.task",
    "Task": "miest.tasks.task",
    "Validation": "miest.validation",
    "validate": "miest.validation",
}

_PACKAGES = ("bottleneck", "datasets", "plotting", "tasks")
"""Reached as ``miest.tasks`` without an import of their own."""

__version__ = "0.1.0"
__all__ = [
    "AAMINE",
    "CLUB",
    "KDE",
    "KSG",
    "MINE",
    "NWJ",
    "SMILE",
    "AtSteps",
    "Auto",
    "Binning",
    "Comparison",
    "Consistency",
    "CorrelationDimension",
    "DataError",
    "DataTypeError",
    "Diagnosis",
    "Diagnostics",
    "Discriminator",
    "Doubt",
    "EverySchedule",
    "Extrapolated",
    "Flag",
    "Flatten",
    "Gaussian",
    "GaussianChannel",
    "GaussianCopula",
    "GaussianNoise",
    "GradientSNR",
    "InfoNCE",
    "InformationDimension",
    "InformationPlane",
    "KozachenkoLeonenko",
    "LinearProbe",
    "LogSchedule",
    "MIResult",
    "MaxPool",
    "MeanPool",
    "MixedKSG",
    "NoiseSweep",
    "Noisy",
    "PermutationTest",
    "PlugIn",
    "Quantity",
    "RandomProjection",
    "Recorder",
    "Reduction",
    "Renyi2",
    "Ross",
    "Row",
    "Sample",
    "Snapshot",
    "Task",
    "Token",
    "TotalCorrelation",
    "Trajectory",
    "UniformNoise",
    "Validation",
    "ZeroEntropyNoise",
    "compare",
    "conditional_mutual_information",
    "continuous",
    "diagnose",
    "discrete",
    "entropy",
    "estimate_plane",
    "from_checkpoints",
    "gradient_signal_to_noise",
    "lightning_callback",
    "load",
    "load_plane",
    "mutual_information",
    "noise_sweep",
    "permutation_test",
    "plot_compare",
    "plot_errors",
    "plot_layers",
    "plot_noise_sweep",
    "plot_plane",
    "plot_timeline",
    "self_consistency",
    "subnetwork_of",
    "suite",
    "total_correlation",
    "transformers_callback",
    "validate",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"miest.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'miest' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__, *_PACKAGES]
