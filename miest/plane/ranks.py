"""Which of several processes this is, where a model is trained by torch.distributed."""

import os
import sys
from typing import Any


def is_writer() -> bool:
    """Whether this process estimates and writes: rank 0, also of processes that are still to find each other."""
    distributed = _distributed()
    if distributed is not None:
        return bool(distributed.get_rank() == 0)
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK"))  # torchrun's, and Lightning's


def agreed(decision: bool) -> bool:
    """What rank 0 has decided: a forward pass of a sharded model needs all ranks, or none."""
    distributed = _distributed()
    if distributed is None or distributed.get_world_size() == 1:
        return decision
    told = [decision]
    distributed.broadcast_object_list(told, src=0)
    return told[0]


def _distributed() -> Any:
    """The module, once processes have found each other; it is not loaded for this."""
    distributed = sys.modules.get("torch.distributed")
    return (
        distributed if distributed is not None and distributed.is_available() and distributed.is_initialized() else None
    )
