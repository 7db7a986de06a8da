"""Max-norm neighbours, counts and log-sums over all pairs; never imports miest."""

from miest_kernels.contract import Block, Neighbours
from miest_kernels.registry import BACKENDS, neighbours, unavailable

__all__ = ["BACKENDS", "Block", "Neighbours", "neighbours", "unavailable"]
