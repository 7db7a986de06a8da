"""Training with information: bottleneck objectives, layerwise training, information in weights, tables and Gaussians.

>>> from miest import bottleneck
>>> bottleneck.DVIB                                  # names load on first use
"""

import importlib

# Where each public name lives; nothing is imported, torch least of all, before a name is used.
_HOME: dict[str, str] = {
    "Agglomeration": "miest.bottleneck.agglomerative",
    "Bottleneck": "miest.bottleneck.tables",
    "BottleneckCurve": "miest.bottleneck.curve",
    "Table": "miest.bottleneck.tables",
    "agglomerate": "miest.bottleneck.agglomerative",
    "bottleneck_curve": "miest.bottleneck.curve",
    "deterministic_bottleneck": "miest.bottleneck.deterministic",
    "first_critical_beta": "miest.bottleneck.tables",
    "information_bottleneck": "miest.bottleneck.discrete",
    "joint_table": "miest.bottleneck.tables",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
