"""Where the blocks of an all-pairs job run: threads of this machine, or whatever joblib backend the caller set.

A job is a *block function* and the number of rows. The function is pure: given a range of rows and the shared
arrays, it returns that range's part of the answer, and which worker runs it changes no bit of it. Without a
``joblib.parallel_config`` the ranges run on threads, one a core; inside one, they go through joblib to its
backend (processes, Dask, Ray), so that the same algorithm serves one machine and many.
"""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")


def map_rows(block: Callable[..., Part], n: int, rows: int, *shared: object) -> list[Part]:
    """``block(start, stop, *shared)`` for consecutive ranges of at most `rows` rows, in their order.

    Parameters
    ----------
    block : module-level function (start, stop, *shared) -> part; releases the GIL in its heavy part
    n : int                 rows in all
    rows : int              rows to a range; must not change the result
    shared : arrays and settings that every range needs; never written to

    Returns
    -------
    list of parts, in row order
    """
    spans = [(start, min(start + rows, n)) for start in range(0, n, rows)]
    if _joblib_is_configured():
        from joblib import Parallel, delayed
        from joblib.parallel import get_active_backend

        # "threads" is a hint for a parallel_config that sets n_jobs and no backend: the blocks release the GIL.
        work = Parallel(n_jobs=get_active_backend()[1], prefer="threads")
        return list(work(delayed(block)(start, stop, *shared) for start, stop in spans))
    threads = min(cores(), len(spans))
    if threads == 1:
        return [block(start, stop, *shared) for start, stop in spans]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda span: block(*span, *shared), spans))


def together(calls: Sequence[Callable[[], Part]]) -> list[Part]:
    """What each of some calls returns, made on threads of this machine; for work that is not worth sending away."""
    threads = min(cores(), len(calls))
    if threads <= 1:
        return [call() for call in calls]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda call: call(), calls))


def cores() -> int:
    """Threads of this machine that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _joblib_is_configured() -> bool:
    """Whether the caller is inside joblib.parallel_config, or inside a joblib worker (which is the same)."""
    if "joblib" not in sys.modules:  # both have imported it
        return False
    from joblib.parallel import get_active_backend

    backend, jobs = get_active_backend()
    # A configured backend is one lasting object; where none is set, joblib makes a fresh default at each call.
    return jobs is not None or backend is get_active_backend()[0]
