"""Running a model without leaving a trace: modes, buffers and random numbers are as before, also after an exception.

Training with probes in between is to give the same bits as training without. What a forward pass may change is put
back; what would make it run other code than the modules' own is switched off meanwhile.
"""

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError("running a model needs torch: pip install 'miest[torch]'.") from error


@contextmanager
def undisturbed(model: nn.Module, *, train: bool, seed: int) -> Iterator[None]:
    """Leave the model and all random streams as they were before.

    Parameters
    ----------
    model : torch module
    train : bool            run in train mode: modules stay as they are where the model is in train mode (those frozen
                            in eval mode stay frozen), otherwise all are put in train mode. False: all in eval mode.
    seed : int              of the random numbers drawn inside: by torch, NumPy's global stream and `random`

    Raises
    ------
    ValueError
        if the model has parameters that its first forward pass will make

    Notes
    -----
    Parameters are not copied: a model whose forward pass writes to them is not put back. Nor is what a forward pass
    keeps in plain attributes, like the last hidden state of a stateful network.
    """
    lazy = [name for name, value in model.named_parameters() if torch.nn.parameter.is_lazy(value)]
    if lazy:
        raise ValueError(
            f"the shape of {', '.join(lazy[:5])} is not known before the first forward pass, which draws random "
            "numbers: run one batch through the model first."
        )
    with ExitStack() as stack:
        stack.enter_context(seeded(seed))
        stack.enter_context(_own_code())
        stack.enter_context(_buffers(model))
        stack.enter_context(_modes(model, train))
        stack.callback(_reshard, model)
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global random streams of torch, NumPy and Python, and put them back."""
    # Not torch.manual_seed: where CUDA is not in use yet, that seeds its first use for good.
    generators = [torch.default_generator]
    for accelerator in (torch.cuda, torch.xpu):
        if accelerator.is_initialized():
            generators += accelerator.default_generators
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    before = [generator.get_state() for generator in generators]
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the model may draw from it
    try:
        for generator in generators:
            generator.manual_seed(seed)
        if mps is not None:
            torch.mps.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        yield
    finally:
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)
        if mps is not None:
            torch.mps.set_rng_state(mps)
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


@contextmanager
def _own_code() -> Iterator[None]:
    """Have every module run its own forward, with hooks: nothing compiled, nothing fused, nothing cached."""
    fused, cached = torch.backends.mha.get_fastpath_enabled(), torch.is_autocast_cache_enabled()
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # otherwise nothing is compiled yet, and importing it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.callback(torch.backends.mha.set_fastpath_enabled, fused)
        stack.callback(torch.set_autocast_cache_enabled, cached)
        # In eval mode torch's transformer layers would skip their children, and give nested tensors for padded rows.
        torch.backends.mha.set_fastpath_enabled(False)
        # Up to torch 2.9, weights cast without gradients were used again by the caller's next training step inside the
        # same autocast (pytorch/pytorch#158232).
        torch.set_autocast_cache_enabled(False)
        yield


@contextmanager
def _buffers(model: nn.Module) -> Iterator[None]:
    """Put back the buffers, in place; one replaced by a tensor of another shape is a grown cache, and stays."""
    before = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for module, name, buffer, values in before:
            now = getattr(module, name, None)
            if now is not buffer and (now is None or now.shape == buffer.shape):
                setattr(module, name, buffer)
            with torch.no_grad(), torch.inference_mode(buffer.is_inference()):
                # By .data, which counts no version: the graph of a loss in progress may have saved this buffer.
                buffer.data.copy_(values)


@contextmanager
def _modes(model: nn.Module, train: bool) -> Iterator[None]:
    """Set the modes of all modules, and put back each one's own."""
    before = [(module, module.training) for module in model.modules()]
    try:
        if not (train and model.training):
            for module, _ in before:
                module.training = train  # not .eval(), which some modules override to merge weights
        yield
    finally:
        for module, mode in before:
            module.training = mode


def _reshard(model: nn.Module) -> None:
    """Free gathered weights: without a backward pass FSDP keeps them, and would use them after the next update."""
    fsdp: Any = sys.modules.get("torch.distributed.fsdp")
    for module in model.modules() if fsdp is not None else ():
        if isinstance(module, fsdp.FSDPModule):
            module.reshard()
