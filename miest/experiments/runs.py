"""What the experiments share: training that gives the same network again, and what is left of a run on disk."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

try:
    import torch
except ImportError as error:
    raise ImportError("experiments train networks with torch: pip install 'miest[torch]'.") from error

from miest.neural.preserved import seeded
from miest.plane.report import write_report
from miest.plane.run import is_run
from miest.plane.trajectory import Trajectory
from miest.plotting import plot_plane

Result = TypeVar("Result")


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Seed the global random streams and keep torch to one thread, and put both back as they were.

    One thread adds in one order, and the networks here are too small to share.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with seeded(seed):
            yield
    finally:
        torch.set_num_threads(threads)


def side_by_side(function: Callable[..., Result], calls: Sequence[tuple[Any, ...]], jobs: int) -> list[Result]:
    """Results of the calls, in their order: so many at a time, in processes of their own, or one by one in this one."""
    if jobs == 1:
        return [function(*arguments) for arguments in calls]
    # New processes: a copy of this one would have torch's threads half copied.
    with ProcessPoolExecutor(min(jobs, len(calls)), mp_context=get_context("spawn")) as pool:
        return [waiting.result() for waiting in [pool.submit(function, *arguments) for arguments in calls]]


def without_run(folder: Path) -> Path:
    """The folder, without the run that an earlier call left in it; other files stay, and make it refused later."""
    if is_run(folder):
        shutil.rmtree(folder)
    return folder


def write_pictures(trajectory: Trajectory, stem: Path, *, title: str, chain: bool = True, bits: bool = False) -> None:
    """Draw the plane as ``stem.png``, and write the run as a page, ``stem.html``."""
    figure, _ = plot_plane(trajectory, units="bits" if bits else "nats", chain=chain, title=title)
    figure.savefig(stem.with_name(f"{stem.name}.png"), dpi=150, metadata={"Software": None})
    write_report(trajectory, stem.with_name(f"{stem.name}.html"), title=title, chain=chain)
