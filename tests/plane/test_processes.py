"""Two processes under DDP and FSDP2: recording waits for nobody, agrees on every rank, and changes no weight."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from miest.plane.recorder import Recorder
from miest.plane.snapshot import Snapshot

PROBE = torch.randn(50, 8, generator=torch.Generator().manual_seed(9))


def wrapped(kind: str) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(16, 3))
    if kind == "ddp":
        return nn.parallel.DistributedDataParallel(net)
    from torch.distributed.fsdp import fully_shard

    for part in (net[0], net[4], net):
        fully_shard(part)
    return net


def train(kind: str, rank: int, folder: str | None) -> list[torch.Tensor]:
    """Weights, buffers and random state after some steps, with snapshots where there is a folder for them."""
    model = wrapped(kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    recorder = Recorder(model, probe=PROBE, batch_size=32)

    def look(step: int) -> None:
        if folder is None:
            return
        if rank == 0:
            snapshot = recorder.snapshot(step, folder)
            assert snapshot.layers == ("0", "1", "2", "4")
        elif kind == "fsdp":
            recorder.take_part(step)  # DDP's other ranks do without

    torch.manual_seed(100 + rank)
    x, y = torch.randn(64, 8), torch.randint(0, 3, (64,))
    for step in range(5):
        look(step)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        look(100 + step)  # FSDP would use weights gathered here after the update
        optimizer.step()
    values = [*model.parameters(), *model.buffers()]
    whole = [value.full_tensor() if hasattr(value, "full_tensor") else value for value in values]
    return [*(value.detach().clone() for value in whole), torch.get_rng_state()]


def work(rank: int, kind: str, folder: str) -> None:
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        without, with_snapshots = train(kind, rank, None), train(kind, rank, os.path.join(folder, "snapshots"))
        assert all(map(torch.equal, without, with_snapshots))
        every_rank = Recorder(wrapped(kind), probe=PROBE).snapshot(0)
        np.save(f"{folder}/{rank}.npy", every_rank.load("4"))
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_training_in_two_processes(kind: str, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, (kind, str(tmp_path)), nprocs=2)
    assert len(list((tmp_path / "snapshots").glob("step-*.safetensors"))) == 10
    first = Snapshot.open(tmp_path / "snapshots" / "step-000000.safetensors").load("4")
    torch.manual_seed(0)
    alone: Any = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
    expected = alone.eval()(PROBE).detach().numpy()
    for values in (first, np.load(tmp_path / "0.npy"), np.load(tmp_path / "1.npy")):
        np.testing.assert_allclose(values, expected, atol=1e-6)
