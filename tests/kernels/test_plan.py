"""Where blocks run.

exact       every range once, in row order, whatever maps it
properties  threads by default; joblib's backend and number of jobs inside parallel_config; Dask
"""

import os
import threading
import warnings

import joblib
import numpy as np
import pytest

from miest_kernels.cpu_brute import Brute
from miest_kernels.plan import map_rows, together


def where(start: int, stop: int, offset: int = 0) -> tuple[int, int, int, int]:
    return start + offset, stop + offset, os.getpid(), threading.get_ident()


@pytest.mark.parametrize(("n", "rows"), [(1, 1), (1, 5), (10, 3), (12, 3), (5, 100)])
def test_ranges_cover_the_rows_once_in_order(n: int, rows: int) -> None:
    parts = map_rows(where, n, rows, 100)
    starts = [part[0] - 100 for part in parts]
    assert starts == list(range(0, n, rows))
    assert [part[1] - 100 for part in parts] == [*starts[1:], n]


def test_one_job_runs_where_it_was_called() -> None:
    with joblib.parallel_config(n_jobs=1):
        assert {part[2:] for part in map_rows(where, 4, 1)} == {(os.getpid(), threading.get_ident())}


@pytest.mark.parametrize("settings", [{"n_jobs": 2}, {"backend": "threading", "n_jobs": 2}])
def test_jobs_without_processes_run_on_threads(settings: dict[str, object]) -> None:
    with joblib.parallel_config(**settings):
        parts = map_rows(where, 6, 1)
    assert {part[2] for part in parts} == {os.getpid()}
    assert threading.get_ident() not in {part[3] for part in parts}


def test_processes_are_used_where_configured_and_only_there() -> None:
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert os.getpid() not in {part[2] for part in map_rows(where, 4, 1)}
    assert {part[2] for part in map_rows(where, 4, 1)} == {os.getpid()}


def test_an_error_in_a_block_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        map_rows(divide, 4, 1)


def divide(start: int, stop: int) -> float:
    return 1 / (start - 2)


@pytest.fixture(scope="module")
def blocks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((1500, 60)), np.round(rng.standard_normal((1500, 3)), 1)]


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib_changes_no_bit(backend: str, blocks: list[np.ndarray]) -> None:
    radius, counts = Brute().joint_radius_and_counts(blocks, 3)
    with joblib.parallel_config(backend=backend, n_jobs=2, max_nbytes=1000):  # workers get read-only memory maps
        ours, our_counts = Brute().joint_radius_and_counts(blocks, 3)
        np.testing.assert_array_equal(Brute().count_within(blocks[0], radius), counts[0])
    np.testing.assert_array_equal(ours, radius)
    np.testing.assert_array_equal(our_counts, counts)


def test_dask_changes_no_bit(blocks: list[np.ndarray]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Dask and its server warn of at import is theirs
        distributed = pytest.importorskip("dask.distributed")
    radius, counts = Brute().joint_radius_and_counts(blocks, 3)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        ours, our_counts = Brute().joint_radius_and_counts(blocks, 3)
    np.testing.assert_array_equal(ours, radius)
    np.testing.assert_array_equal(our_counts, counts)


def test_calls_made_together_keep_their_order_and_their_errors() -> None:
    assert together([lambda i=i: i**2 for i in range(20)]) == [i**2 for i in range(20)]
    assert together([]) == []
    with pytest.raises(ZeroDivisionError):
        together([lambda: 1, lambda: 1 // 0])
