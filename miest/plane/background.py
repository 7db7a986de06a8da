"""Estimates made by other processes while training goes on.

Rows are written by the process that trains, as soon as a worker has made them, so that the run has one writer.
"""

import contextlib
import queue
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from functools import partial
from pathlib import Path
from typing import Any

from miest.plane.estimation import OnError, Work
from miest.plane.row import Row


class Background:
    """Processes that measure what they are sent; each keeps to one core.

    Parameters
    ----------
    workers : int
    take : function of a Row            called from another thread, as soon as the row is there
    finished : function of a Path       called with a snapshot of which nothing is left to be done
    on_error : "record" or "raise"      see `miest.plane.estimation.measured`
    """

    def __init__(
        self,
        workers: int,
        *,
        take: Callable[[Row], None],
        finished: Callable[[Path], None],
        on_error: OnError,
    ) -> None:
        self._workers, self._take, self._finished, self._on_error = workers, take, finished, on_error
        self._pool: Any = None
        self._left: Counter[Path] = Counter()
        self._errors: list[BaseException] = []
        self._lost = 0
        self._abandoned = False
        self._mutex = threading.Lock()

    def submit(self, works: Sequence[Work]) -> None:
        """Measure the layers of a step."""
        if self._pool is None:
            # Not multiprocessing, whose workers would run the caller's script again and know no lambda.
            from joblib.externals.loky import ProcessPoolExecutor

            self._pool = ProcessPoolExecutor(self._workers)
        with self._mutex:
            self._left.update(work.snapshot for work in works)
        for work in works:
            future = self._pool.submit(Work.rows_on_one_core, work, on_error=self._on_error)
            future.add_done_callback(partial(self._done, work))

    def settle(self) -> None:
        """Say what went wrong outside the measures since the last call.

        Warns
        -----
        RuntimeWarning
            if a worker was killed, as where memory is short: what it was doing is not estimated

        Raises
        ------
        OSError
            if a row could not be written
        Exception
            of a measure, with ``on_error="raise"``
        """
        with self._mutex:
            errors, self._errors = self._errors, []
            lost, self._lost = self._lost, 0
        if lost:
            self._pool = None  # the next work starts a new one
            warnings.warn(
                f"a background worker was killed, perhaps for want of memory: {lost} layers were not estimated. Where "
                "the run is saved, `miest plane estimate` makes up for it; a smaller n needs less.",
                RuntimeWarning,
                stacklevel=3,
            )
        if errors:
            raise errors[0]

    def close(self, *, wait: bool) -> None:
        """Wait until all is done, or leave it undone."""
        self._abandoned = not wait
        if self._pool is not None:
            # Loky drops the work that waits, and its thread dies where it then looks for it: forget it first.
            with contextlib.suppress(AttributeError, queue.Empty):
                while not wait:
                    self._pool._work_ids.get_nowait()
            self._pool.shutdown(wait=wait, kill_workers=not wait)
            self._pool = None

    def _done(self, work: Work, future: "Future[list[Row]]") -> None:
        """Called in a thread of the pool, where nobody would see an error."""
        try:
            for row in future.result():
                self._take(row)
        except CancelledError:
            return
        except BrokenExecutor:
            with self._mutex:
                self._lost += not self._abandoned
            return
        except Exception as error:
            with self._mutex:
                self._errors.append(error)
            return
        with self._mutex:
            self._left[work.snapshot] -= 1
            done = self._left[work.snapshot] == 0
        if done:
            with contextlib.suppress(OSError):  # a file that stays does no harm
                self._finished(work.snapshot)
