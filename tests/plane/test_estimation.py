"""Estimates from snapshots: the same numbers wherever they are made, what is missing and no more, refusals."""

import math
import random
import sys
import time

import joblib
import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

import miest
from miest.estimators.neural import MINE
from miest.estimators.noisy import Noisy
from miest.noise import ZeroEntropyNoise
from miest.plane.estimation import Work, _may_use_torch, estimate_plane, measured
from miest.plane.information_plane import InformationPlane
from miest.plane.quantities import Quantity
from miest.plane.run import load_plane, read_settings, snapshots
from miest.plane.run_folder import RunFolder
from miest.plane.snapshot import Snapshot

KDE = miest.KDE(noise_var=0.1)


def drawing(t, *, seed):
    return float(np.random.normal() + random.random() + torch.randn(()).item() + seed % 7)  # noqa: NPY002


ASKED = {"ixt": KDE, "ity": [miest.MixedKSG(), KDE], "quantities": [drawing, "total-correlation"]}


@pytest.fixture
def recorded(network, probe, tmp_path):
    """A run of which nothing is estimated."""
    model = network()
    with InformationPlane(model, probe=probe, save=tmp_path / "a", estimate="later") as plane:
        for step in range(3):
            plane.log(step, loss=1.0 / (step + 1))
            with torch.no_grad():
                model[0].weight.mul_(1.5)
    return tmp_path / "a"


@pytest.fixture
def live(network, probe):
    """The same run, estimated while it lasted."""
    model = network()
    with InformationPlane(model, probe=probe, **ASKED) as plane:
        for step in range(3):
            plane.log(step)
            with torch.no_grad():
                model[0].weight.mul_(1.5)
    return plane.trajectory.rows


def test_one_by_one(recorded, live):
    done = []
    found = estimate_plane(recorded, **ASKED, progress=lambda now, total: done.append((now, total)))
    assert found.rows == live
    assert done == [(i + 1, 9) for i in range(9)]
    assert found == load_plane(recorded)
    assert found.scalars[2] == {"loss": 1 / 3}


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_in_parallel(recorded, live, backend):
    with joblib.parallel_config(backend=backend, n_jobs=2):
        assert estimate_plane(recorded, **ASKED).rows == live


def slowly(t, *, seed):
    """Lets other threads run between its draws."""
    values = []
    for _ in range(5):
        values.append(np.random.normal() + torch.randn(()).item())  # noqa: NPY002
        time.sleep(0.002)
    return float(sum(values))


def test_threads_do_not_draw_from_one_anothers_streams(recorded):
    asked = {"ixt": KDE, "quantities": [slowly, drawing]}
    alone = estimate_plane(recorded, **asked).rows
    (recorded / "trajectory.jsonl").unlink()
    with joblib.parallel_config(backend="threading", n_jobs=4):
        assert estimate_plane(recorded, **asked).rows == alone


@pytest.mark.slow
def test_by_dask(recorded, live):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, processes=False, dashboard_address=None) as cluster:
        with distributed.Client(cluster), joblib.parallel_config(backend="dask", n_jobs=2):
            assert estimate_plane(recorded, **ASKED).rows == live


@pytest.mark.slow
def test_a_neural_estimator_in_another_process(network, probe, tmp_path):
    mine = MINE(critic="separable", hidden=(8,), steps=20, folds=1)
    with InformationPlane(network(), probe=probe, ixt=[], ity=mine) as plane:
        plane.log(0)
    with InformationPlane(network(), probe=probe, save=tmp_path / "a", estimate="later") as later:
        later.log(0)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        found = estimate_plane(tmp_path / "a", ity=mine)
    assert not found.failed
    assert found.rows == plane.trajectory.rows


def test_threads_of_linear_algebra_change_nothing(network, probe):
    rows = []
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        with (
            threadpool_limits(threads),
            InformationPlane(
                network(), probe=probe, ixt=[], ity=miest.GaussianCopula(), quantities=["linear-probe"]
            ) as plane,
        ):
            plane.log(0)
        torch.set_num_threads(before)
        rows.append(plane.trajectory.rows)
    assert rows[0] == rows[1]
    assert not plane.trajectory.failed


def test_global_streams_are_put_back(recorded):
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    before = random.random(), np.random.normal(), torch.randn(()).item()  # noqa: NPY002
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    estimate_plane(recorded, quantities=[drawing])
    assert (random.random(), np.random.normal(), torch.randn(()).item()) == before  # noqa: NPY002


def test_a_layer_is_read_once_for_all_its_quantities(recorded, monkeypatch):
    loaded = []
    load = Snapshot.load
    monkeypatch.setattr(Snapshot, "load", lambda self, layer: loaded.append((self.step, layer)) or load(self, layer))
    estimate_plane(recorded, **ASKED)
    assert sorted(loaded) == [(step, layer) for step in range(3) for layer in ("0", "1", "3")]


# What is missing, and no more


def test_what_is_there_is_not_made_again(recorded):
    calls = []

    def count(t):
        calls.append(t.shape)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        estimate_plane(recorded, quantities=[count])
    assert len(load_plane(recorded)) == 3
    found = estimate_plane(recorded, quantities=[count])
    assert len(found) == 9
    assert len(calls) == 4 + 6
    done = []
    assert estimate_plane(recorded, quantities=[count], progress=lambda *n: done.append(n)) == found
    assert done == []


def test_some_layers_and_steps(recorded):
    found = estimate_plane(recorded, ixt=KDE, layers=["0", "3"], steps=[1])
    assert [row.place for row in found.rows] == [(1, "0", "I_XT"), (1, "3", "I_XT")]
    assert len(estimate_plane(recorded, ixt=KDE, layers="[01]")) == 2 + 5
    with pytest.raises(ValueError, match=r"no snapshot of step 7: it has 0, 1, 2"):
        estimate_plane(recorded, ixt=KDE, steps=[7])
    with pytest.raises(ValueError, match="is named 'fc'"):
        estimate_plane(recorded, ixt=KDE, layers="fc")


def test_failed_estimates_are_made_again_when_asked(recorded):
    broken = [True]

    def now_and_then(t):
        if broken[0]:
            raise ValueError("not today")
        return 1.0

    assert len(estimate_plane(recorded, quantities=[now_and_then]).failed) == 9
    broken[0] = False
    assert len(estimate_plane(recorded, quantities=[now_and_then]).failed) == 9
    found = estimate_plane(recorded, quantities=[now_and_then], retry=True)
    assert not found.failed
    assert len(found) == 9
    assert load_plane(recorded) == found


def test_on_error_raise(recorded):
    with pytest.raises(ZeroDivisionError) as told:
        estimate_plane(recorded, quantities={"bad": lambda t: 1 / 0}, on_error="raise")
    assert told.value.__notes__ == ["while measuring bad of layer 0 at step 0"]
    assert len(load_plane(recorded)) == 0


def test_estimators_are_added_with_keys_of_their_own(recorded):
    estimate_plane(recorded, ixt=KDE, ity=KDE)
    estimate_plane(recorded, quantities=[miest.KSG(), miest.KDE()])
    again = estimate_plane(recorded, quantities=[miest.KDE(), KDE])
    assert again.quantities == ("I_XT", "I_TY", "I_TY[ksg]", "I_XT[kde]", "I_TY[kde]")
    assert again.axes == {"I_XT": "x", "I_TY": "y", "I_TY[ksg]": "y", "I_XT[kde]": "x", "I_TY[kde]": "y"}
    assert {row.estimator for row in again.select(quantity="I_TY[[]kde]").rows} == {str(miest.KDE())}


def test_the_plan_of_a_run_is_carried_out(network, probe, tmp_path):
    settings = {"probe": probe, "ixt": KDE, "ity": [KDE, Quantity("b", miest.MixedKSG(), "y", repetition=1)]}
    with InformationPlane(network(), **settings, save=tmp_path / "a", estimate="later") as plane:
        plane.log(0)
    with InformationPlane(network(), **settings) as live:
        live.log(0)
    assert estimate_plane(tmp_path / "a").rows == live.trajectory.rows


def test_defaults_where_nothing_was_planned(recorded):
    found = estimate_plane(recorded, layers="3", steps=[0])
    assert [row.name for row in found.rows] == ["I(X;T+eps)", "I(T+eps;Y)"]


def test_torch_is_loaded_for_those_who_may_use_it():
    def own(t):
        return 0.0

    assert not any(map(_may_use_torch, [miest.KSG(), KDE, Noisy(noise=ZeroEntropyNoise())]))
    assert all(map(_may_use_torch, [own, MINE(), Noisy(estimator=MINE(), noise=ZeroEntropyNoise())]))


def test_work_can_be_sent(recorded, live):
    quantities = (Quantity("I_XT", KDE, "x"),)
    work = Work(snapshots(recorded)[1], "0", quantities, recorded, read_settings(recorded)["seed"])
    (row,) = work.rows_on_one_core()
    assert row == next(r for r in live if r.place == (1, "0", "I_XT"))
    assert work.rows() == [row]


def test_memory_maps_are_measured_in_place(recorded):
    seen = []

    def look(t):
        seen.append((type(t).__name__, t.flags.writeable))
        return 1.0

    snapshot = Snapshot.open(snapshots(recorded)[0])
    list(measured(snapshot, "0", [Quantity("look", look)], None, None, 0))
    assert seen == [("memmap", False)]


def test_a_measure_cannot_change_the_layer(recorded):
    def scale(t):
        t *= 2
        return 1.0

    (row, *_) = estimate_plane(recorded, quantities=[scale], layers="0").rows
    assert row.failed
    assert "read-only" in row.notes[0]
    assert math.isnan(row.value)


# Refusals


def test_functions_cannot_be_made_from_a_file(network, probe, tmp_path):
    with InformationPlane(
        network(), probe=probe, quantities=[drawing], save=tmp_path / "a", estimate="later", ixt=KDE
    ) as plane:
        plane.log(0)
    with pytest.raises(ValueError, match=r"drawing of .* is measured by .*drawing, which is not miest's own"):
        estimate_plane(tmp_path / "a")
    assert len(estimate_plane(tmp_path / "a", quantities=[drawing])) == 3
    with pytest.raises(ValueError, match=r"I_XT in .* is by KDE\(noise_var=0.1"):
        estimate_plane(tmp_path / "a", quantities=[Quantity("I_XT", miest.Binning(), "x")])


def test_nothing_to_estimate_from(network, probe, tmp_path, recorded):
    with InformationPlane(network(), probe=probe, ixt=KDE, ity=[], save=tmp_path / "b") as plane:
        plane.log(0)
    with pytest.raises(ValueError, match='has no snapshots: record a run with estimate="later"'):
        estimate_plane(tmp_path / "b")
    with pytest.raises(FileNotFoundError, match="no run in"):
        estimate_plane(tmp_path / "c")
    with RunFolder.resume(recorded), pytest.raises(BlockingIOError, match="another process is writing"):
        estimate_plane(recorded, ixt=KDE)


def test_labels_are_needed_for_some(network, probe, tmp_path):
    with InformationPlane(network(), probe=probe[0], save=tmp_path / "a", estimate="later") as plane:
        plane.log(0)
    with pytest.raises(ValueError, match="needs labels"):
        estimate_plane(tmp_path / "a", quantities=[miest.KSG()])
    assert estimate_plane(tmp_path / "a", quantities=[KDE]).quantities == ("I_XT",)


def test_torch_is_not_needed_to_estimate(recorded):
    code = (
        "import sys; sys.modules['torch'] = None; import miest;"
        "from miest.plane.estimation import estimate_plane;"
        f"print(len(estimate_plane({str(recorded)!r}, ixt=miest.KDE(noise_var=0.1))))"
    )
    told = __import__("subprocess").run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (told.stdout.strip(), told.returncode) == ("9", 0), told.stderr
