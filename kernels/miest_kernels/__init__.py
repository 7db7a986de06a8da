"""Max-norm neighbours, counts and log-sums over all pairs; never imports miest."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from miest_kernels.contract import Block, Neighbours
    from miest_kernels.correlation import correlation_sums
    from miest_kernels.gaussian_sums import gaussian_log_sums, gaussian_log_sums_by_class, mixture_log_density
    from miest_kernels.permuted import permuted_radius_and_counts
    from miest_kernels.registry import BACKENDS, neighbours, unavailable
    from miest_kernels.rows import binned_row_counts, row_codes

# Where each name lives. Modules are loaded when a name is first used: most of them load numba.
_HOME = {
    "BACKENDS": "registry",
    "Block": "contract",
    "Neighbours": "contract",
    "binned_row_counts": "rows",
    "correlation_sums": "correlation",
    "gaussian_log_sums": "gaussian_sums",
    "gaussian_log_sums_by_class": "gaussian_sums",
    "mixture_log_density": "gaussian_sums",
    "neighbours": "registry",
    "permuted_radius_and_counts": "permuted",
    "row_codes": "rows",
    "unavailable": "registry",
}

__all__ = [
    "BACKENDS",
    "Block",
    "Neighbours",
    "binned_row_counts",
    "correlation_sums",
    "gaussian_log_sums",
    "gaussian_log_sums_by_class",
    "mixture_log_density",
    "neighbours",
    "permuted_radius_and_counts",
    "row_codes",
    "unavailable",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'miest_kernels' has no attribute {name!r}")
    value = getattr(import_module(f"miest_kernels.{_HOME[name]}"), name)
    globals()[name] = value
    return value
