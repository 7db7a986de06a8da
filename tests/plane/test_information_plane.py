"""The plane of a network that is trained: bit-identity, the three ways to estimate, resuming, failures."""

import math
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import numpy as np
import pytest
import torch

import miest
from miest.plane.estimation import estimate_plane
from miest.plane.information_plane import InformationPlane
from miest.plane.quantities import Quantity
from miest.plane.run import load_plane, read_settings, snapshots
from miest.plane.schedule import AtSteps, EverySchedule

KDE = miest.KDE(noise_var=0.1)
CHEAP = {"ixt": KDE, "ity": KDE}


def drawing(t, y, *, seed):
    """Draws from the global streams, which is bad manners, and from its own."""
    return float(np.random.normal() + torch.randn(()).item() + np.random.default_rng(seed).normal() + t.mean())  # noqa: NPY002


ALL = {
    "ixt": [KDE, miest.Binning(bins=5)],
    "ity": [miest.MixedKSG(), KDE],
    "quantities": ["total-correlation", drawing],
}


QUICK = {"ixt": [KDE, miest.Binning(bins=5)], "ity": KDE}  # nothing for which a worker has to load torch


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# The example of the documentation


def test_a_training_run(network, probe, trained, tmp_path):
    model = network()
    with InformationPlane(
        model, layers=["0", "1"], probe=probe, **CHEAP, when=AtSteps(4, 12), save=tmp_path / "a"
    ) as plane:
        trained(model, plane)
    found = plane.trajectory
    assert found.steps == (0, 4, 12)
    assert found.layers == ("0", "1")
    assert found.quantities == ("I_XT", "I_TY")
    assert found.axes == {"I_XT": "x", "I_TY": "y"}
    assert len(found.rows) == 12
    assert not found.failed
    assert list(found.scalars) == list(range(1, 13))  # also where the plane was not estimated
    assert found.references["H(X)"] == pytest.approx(math.log(90))
    assert found.references["H(Y)"] == pytest.approx(miest.PlugIn(correction=None).estimate(probe[1]).value)
    assert load_plane(tmp_path / "a") == found
    assert len(found.to_csv().splitlines()) == 13


def test_values_are_those_of_the_layers(network, probe):
    model = network().eval()
    with InformationPlane(model, probe=probe, ixt=KDE, ity=miest.MixedKSG()) as plane:
        assert plane.log(0)
    t = torch.from_numpy(probe[0])
    for layer, module in model.named_children():
        t = module(t)
        if layer == "2":  # dropout has no parameters
            continue
        rows = {row.quantity: row for row in plane.trajectory.select(layer=layer).rows}
        assert rows["I_XT"].value == KDE.estimate(t.detach().numpy()).value
        assert rows["I_TY"].value == miest.MixedKSG().estimate(t.detach().numpy(), probe[1]).value
        assert rows["I_TY"].name == "I(T;Y)"


def test_known_information():
    """Clusters far apart: I(X;T+eps) is the entropy of the clusters, and so is I(T;Y) where they are the labels."""
    y = np.repeat([0, 1, 2, 3], 25)
    x = torch.eye(4)[torch.from_numpy(y)] * 100
    with InformationPlane(torch.nn.Linear(4, 4), probe=(x, y), **CHEAP) as plane:
        plane.log(0)
    rows = plane.trajectory.rows
    assert [row.value for row in rows] == pytest.approx([math.log(4)] * 2)
    assert plane.trajectory.references == pytest.approx({"H(X)": math.log(4), "H(Y)": math.log(4)})


# Training is not touched


def test_training_gives_the_same_bits(network, probe, trained):
    alone = trained(network())
    model = network()
    with InformationPlane(model, probe=probe, **ALL, when=3) as plane:
        beside = trained(model, plane)
    assert same(alone, beside)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_nothing_happens_at_steps_that_are_not_due(network, probe, tmp_path, monkeypatch):
    with InformationPlane(network(), probe=probe, **CHEAP, when=AtSteps(5), save=tmp_path / "a") as plane:
        plane.log(0)
        monkeypatch.setattr(plane.recorder, "snapshot", lambda *a: pytest.fail("the model was run"))
        size = (tmp_path / "a" / "trajectory.jsonl").stat().st_size
        assert not plane.log(1)
        assert (tmp_path / "a" / "trajectory.jsonl").stat().st_size == size
        assert not plane.log(2, loss=1.0)
    assert plane.trajectory.scalars == {2: {"loss": 1.0}}


# Now, later, in the background


@pytest.mark.parametrize("asked", [QUICK, pytest.param(ALL, marks=pytest.mark.slow)])
def test_now_later_and_background_give_the_same_numbers(network, probe, trained, tmp_path, asked):
    found, alone = {}, trained(network())
    for estimate in ("now", "later", "background"):
        model = network()
        with InformationPlane(
            model, probe=probe, **asked, when=6, save=tmp_path / estimate, estimate=estimate
        ) as plane:
            assert same(alone, trained(model, plane))
        found[estimate] = plane.trajectory
    assert len(found["later"]) == 0
    assert list(snapshots(tmp_path / "later")) == [0, 6, 12]
    assert not snapshots(tmp_path / "background")  # deleted once they were used
    assert not (tmp_path / "now" / "snapshots").exists()
    later = estimate_plane(tmp_path / "later", **asked)
    assert len(found["now"]) == 3 * 3 * len(plane.quantities)
    assert found["now"].rows == later.rows == found["background"].rows
    assert not later.failed
    assert load_plane(tmp_path / "later") == later


def test_background_without_a_folder(network, probe):
    with InformationPlane(network(), probe=probe, **QUICK, estimate="background") as plane:
        plane.log(0)
        plane.log(1)
        folder = plane._measuring._temporary.name
    assert len(plane.trajectory) == 2 * 3 * 3
    assert not __import__("os").path.exists(folder)


def test_snapshots_can_be_kept(network, probe, tmp_path):
    with InformationPlane(network(), probe=probe, **CHEAP, save=tmp_path / "a", snapshots=True) as plane:
        plane.log(0)
    more = estimate_plane(tmp_path / "a", quantities=[miest.TotalCorrelation()])
    assert more.quantities == ("I_XT", "I_TY", "TC")
    with InformationPlane(network(), probe=probe, **CHEAP, save=tmp_path / "a", resume=True) as plane:
        assert plane.trajectory.rows == more.rows


def test_later_without_estimators_leaves_them_open(network, probe, tmp_path):
    with InformationPlane(network(), probe=probe, save=tmp_path / "a", estimate="later") as plane:
        plane.log(0)
    assert read_settings(tmp_path / "a")["quantities"] == []
    assert estimate_plane(tmp_path / "a", quantities=[miest.KSG(), KDE]).quantities == (
        *("I_TY", "I_XT", "I_TY[kde:noise_var=0.1]"),
    )


def test_inputs_reach_those_who_need_them(network, probe, tmp_path):
    def between(t, *, inputs):
        return float(np.abs(inputs).mean() + np.abs(t).mean())

    asked = {"probe": probe, "ixt": [], "ity": [], "quantities": [between]}
    with InformationPlane(network(), **asked) as now:
        now.log(0)
    with InformationPlane(network(), **asked, save=tmp_path / "a", estimate="later") as later:
        later.log(0)
    assert estimate_plane(tmp_path / "a", quantities=[between]).rows == now.trajectory.rows
    assert not now.trajectory.failed


def test_repetitions_are_other_draws(network, probe):
    def draw(t, *, seed):
        return np.random.default_rng(seed).normal()

    again = [Quantity("a", draw), Quantity("b", draw, repetition=1)]
    with InformationPlane(network(), probe=probe, ixt=[], ity=[], quantities=again) as plane:
        plane.log(0)
        plane.log(1)
    assert len({row.value for row in plane.trajectory.rows}) == len(plane.trajectory) == 12


def test_seed_fixes_sample_and_streams(network, probe):
    def rows(seed):
        with InformationPlane(network(), probe=probe, n=40, ixt=[], ity=[], quantities=[drawing], seed=seed) as plane:
            plane.log(0)
        return plane.trajectory.rows

    assert rows(1) == rows(1)
    assert {row.value for row in rows(1)}.isdisjoint(row.value for row in rows(2))
    assert rows(1)[0].n == 40


def test_shared_modules_and_the_order_of_the_forward_pass(probe):
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.fc = torch.nn.Linear(6, 2), torch.nn.Linear(6, 6)

        def forward(self, x):
            return self.last(self.fc(self.fc(x)))

    with InformationPlane(Twice(), probe=probe, **CHEAP) as plane:
        plane.log(0)
        assert plane.holds(0)
        assert not plane.holds(1)
    assert plane.trajectory.layers == ("fc#0", "fc#1", "last")
    assert [row.layer for row in plane.trajectory.rows[::2]] == ["fc#0", "fc#1", "last"]


# Resuming


def test_resume_goes_on_without_duplicates(network, probe, trained, tmp_path):
    whole = network()
    with InformationPlane(whole, probe=probe, **CHEAP, when=3, save=tmp_path / "whole") as plane:
        trained(whole, plane)
    model = network()
    with InformationPlane(model, probe=probe, **CHEAP, when=3, save=tmp_path / "a") as stopped:
        trained(model, stopped, steps=6)
    again = network()
    with InformationPlane(again, probe=probe, **CHEAP, when=3, save=tmp_path / "a", resume=True) as part:
        ran = []
        snapshot = part.recorder.snapshot
        part.recorder.snapshot = lambda step, folder=None: ran.append(step) or snapshot(step, folder)
        trained(again, part)  # from the start, as where there was no checkpoint
    assert ran == [9, 12]
    assert part.trajectory.rows == plane.trajectory.rows + part.trajectory.rows[len(plane.trajectory) :]
    assert part.trajectory.rows == load_plane(tmp_path / "whole").rows
    places = [line for line in (tmp_path / "a" / "trajectory.jsonl").read_text().splitlines() if "scalars" not in line]
    assert len(places) == len(set(places)) == len(part.trajectory)


def test_stopped_in_the_middle_of_a_step(network, probe, tmp_path):
    def stop(t):
        raise KeyboardInterrupt

    asked = [*(Quantity("a", drawing), Quantity("b", stop))]
    model = network()
    settings = {"probe": probe, "ixt": [], "ity": [], "save": tmp_path / "a", "snapshots": True}
    with pytest.raises(KeyboardInterrupt), InformationPlane(model, **settings, quantities=asked) as plane:
        plane.log(0)
    assert len(load_plane(tmp_path / "a")) == 1
    assert list(snapshots(tmp_path / "a")) == [0]
    with torch.no_grad():
        model[0].weight.mul_(2)  # training has gone on, and what is missing of step 0 is that of step 0
    stop.__code__ = (lambda t: float(t.mean())).__code__
    with InformationPlane(model, **settings, quantities=asked, resume=True) as plane:
        assert plane.holds(0)
    with InformationPlane(network(), probe=probe, ixt=[], ity=[], quantities=asked) as fresh:
        fresh.log(0)
    assert plane.trajectory.rows == fresh.trajectory.rows


def test_background_left_undone_is_made_up_for(network, probe, tmp_path):
    settings = {"probe": probe, **QUICK, "save": tmp_path / "a", "estimate": "background"}
    plane = InformationPlane(network(), **settings)
    plane.open()
    plane._measuring._background.submit = lambda works: None  # killed before anything was done
    plane.log(0)
    plane.close(wait=False)
    assert list(snapshots(tmp_path / "a")) == [0]
    (tmp_path / "a" / "pending" / ".step-000007.safetensors.99.partial").touch()
    with InformationPlane(network(), **settings, resume=True) as plane:
        plane.log(0)  # is being estimated already
    assert len(plane.trajectory) == 9
    assert (tmp_path / "a" / "trajectory.jsonl").read_text().count("\n") == 9
    assert not list((tmp_path / "a" / "pending").iterdir())


def test_snapshots_that_were_to_be_kept_are_kept(network, probe, tmp_path):
    with InformationPlane(network(), probe=probe, save=tmp_path / "a", estimate="later") as plane:
        plane.log(0)
    settings = {"probe": probe, "ixt": KDE, "ity": [], "save": tmp_path / "a", "resume": True}
    with InformationPlane(network(), **settings, estimate="background") as plane:
        pass
    assert len(plane.trajectory) == 3
    with InformationPlane(network(), **settings) as plane:
        pass
    assert list((tmp_path / "a" / "snapshots").iterdir()) == [tmp_path / "a" / "snapshots" / "step-000000.safetensors"]


def test_a_full_disk_at_a_snapshot(network, probe, tmp_path, monkeypatch):
    def full(step, folder):
        raise OSError(28, "No space left on device")

    with InformationPlane(network(), probe=probe, **CHEAP, save=tmp_path / "a", snapshots=True) as plane:
        plane.log(0)
        with monkeypatch.context() as patch:
            patch.setattr(plane.recorder, "snapshot", full)
            with pytest.raises(OSError, match=r"snapshot of step 1 cannot be written to .*No space left.*resume=True"):
                plane.log(1)
        plane.log(2)
    assert load_plane(tmp_path / "a").steps == (0, 2)


def test_an_exception_leaves_the_background_undone(network, probe, tmp_path):
    plane = InformationPlane(network(), probe=probe, **QUICK, save=tmp_path / "a", estimate="background")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing that would hide what has happened
        with pytest.raises(ZeroDivisionError), plane:
            _ = plane.log(0) / 0
    assert not plane.is_open
    assert len(load_plane(tmp_path / "a")) < 9
    assert list(snapshots(tmp_path / "a")) == [0]


def test_what_waits_in_the_background_is_given_up_without_a_murmur(network, probe, tmp_path, monkeypatch):
    """Also where the thread of the pool is too slow to have seen the work before it is told to stop."""
    pool = pytest.importorskip("joblib.externals.loky.process_executor")._ExecutorManagerThread
    woken = pool.wait_result_broken_or_wakeup
    monkeypatch.setattr(pool, "wait_result_broken_or_wakeup", lambda self: (woken(self), time.sleep(0.3))[0])
    heard = []
    monkeypatch.setattr(threading, "excepthook", heard.append)
    before = set(threading.enumerate())
    plane = InformationPlane(network(), probe=probe, **QUICK, save=tmp_path / "a", estimate="background")
    with pytest.raises(ZeroDivisionError), plane:
        _ = plane.log(0) / 0
    for thread in set(threading.enumerate()) - before:
        if thread.is_alive():  # enumerate() also names threads that are about to start
            thread.join(20)
    assert heard == []


def test_resume_begins_what_is_not_there(network, probe, tmp_path):
    with InformationPlane(network(), probe=probe, **CHEAP, save=tmp_path / "a", resume=True) as plane:
        plane.log(0)
    assert len(load_plane(tmp_path / "a")) == 6


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"layers": ["0"]}, "its layers is"),
        ({"n": 50}, "probe"),
        ({"seed": 3}, "its seed is 0, and now it is 3"),
        ({"ixt": miest.Binning(), "ity": miest.KDE(noise_var=0.2)}, r"I_TY in .* is by KDE\(noise_var=0.1"),
        ({"resume": False}, "never overwritten"),
    ],
)
def test_another_run_is_refused(network, probe, tmp_path, changed, says):
    settings = {"probe": probe, **CHEAP, "save": tmp_path / "a", "resume": True}
    InformationPlane(network(), **settings).open()
    with (
        pytest.raises((ValueError, FileExistsError), match=says),
        InformationPlane(network(), **{**settings, **changed}),
    ):
        pass


def test_another_network_is_refused(network, probe, tmp_path):
    settings = {"layers": "*", "probe": probe, **CHEAP, "save": tmp_path / "a"}
    with InformationPlane(network(), **settings):
        pass
    wider = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Dropout(), torch.nn.Linear(9, 3))
    with pytest.raises(ValueError, match="its model is"):
        InformationPlane(wider, **settings, resume=True)
    other = (probe[0] + 1, probe[1])
    with pytest.raises(ValueError, match="its probe set is"):
        InformationPlane(network(), **{**settings, "probe": other}, resume=True)


# Failures


def fails(t):
    raise ValueError("no number for\nthis layer")


def test_a_failed_estimate_is_a_row_and_warns_once(network, probe, tmp_path):
    with InformationPlane(network(), probe=probe, ixt=KDE, ity=[], quantities=[fails], save=tmp_path / "a") as plane:
        with pytest.warns(
            RuntimeWarning, match="fails of layer 0 at step 0 could not be estimated: ValueError: no number"
        ):
            plane.log(0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            plane.log(1)
    found = plane.trajectory
    assert len(found.failed) == 6
    assert found.failed[0].notes == ("ValueError: no number for this layer",)
    assert math.isnan(found.failed[0].value)
    assert found.failed[0].n == 90
    assert len(found.select(quantity="I_XT")) == 6  # the others went on
    assert load_plane(tmp_path / "a") == found


@pytest.mark.parametrize("estimate", ["now", pytest.param("background", marks=pytest.mark.slow)])
def test_on_error_raise(network, probe, estimate):
    plane = InformationPlane(
        network(), probe=probe, ixt=[], ity=[], quantities=[fails], on_error="raise", estimate=estimate
    )
    with pytest.raises(ValueError, match="no number") as told, plane:
        plane.log(0)
    assert "while measuring fails of layer 0 at step 0" in told.value.__notes__


def test_a_network_that_diverged_is_recorded(network, probe):
    model = network()
    with InformationPlane(model, probe=probe, **CHEAP) as plane:
        plane.log(0)
        with torch.no_grad():
            model[0].weight.fill_(math.nan)
        with pytest.warns(RuntimeWarning, match="NaN"):
            plane.log(1)
    assert len(plane.trajectory.failed) == 6
    assert "NaN" in plane.trajectory.failed[0].notes[0]


@pytest.mark.slow
def test_a_killed_worker_is_told_of(network, probe, tmp_path):
    def die(t):
        __import__("os")._exit(1)

    with pytest.warns(RuntimeWarning, match="a background worker was killed.*miest plane estimate"):
        with InformationPlane(
            network(), "0", probe=probe, ixt=[], ity=[], quantities=[die], estimate="background", save=tmp_path / "a"
        ) as plane:
            plane.log(0)
    assert list((tmp_path / "a" / "pending").iterdir()) != []  # kept for later


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"layers": "fx*"}, ValueError, "no layer 'fx\\*'"),
        ({"estimate": "soon"}, ValueError, "estimate='soon' must be one of"),
        ({"estimate": "later"}, ValueError, 'estimate="later" needs a folder'),
        ({"snapshots": True}, ValueError, "snapshots=True needs a folder"),
        ({"resume": True}, ValueError, "resume=True needs a folder"),
        ({"on_error": "ignore"}, ValueError, "on_error='ignore'"),
        ({"workers": 0}, ValueError, "workers=0"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"when": "often"}, ValueError, "when='often' is no schedule"),
        ({"ixt": miest.KSG()}, ValueError, "infinite"),
        ({"loggers": 3}, ValueError, "3 is no logger"),
        ({"n": 91}, ValueError, "90 rows"),
    ],
)
def test_refusals(network, probe, changed, error, says):
    with pytest.raises(error, match=says):
        InformationPlane(network(), **{"probe": probe, **CHEAP, **changed})


def test_log_refuses(network, probe):
    with InformationPlane(network(), probe=probe, **CHEAP) as plane:
        for step in (-1, 1.5, True):
            with pytest.raises(ValueError, match="step="):
                plane.log(step)
        with pytest.raises(ValueError, match=r"loss='low' is no number"):
            plane.log(0, loss="low")
    with pytest.raises(ValueError, match="closed"):
        plane.log(1)


def test_tensors_are_numbers_too(network, probe):
    with InformationPlane(network(), probe=probe, **CHEAP, when=AtSteps(99)) as plane:
        plane.log(1, loss=torch.tensor(0.5, requires_grad=True), accuracy=np.float32(0.25))
    assert plane.trajectory.scalars == {1: {"loss": 0.5, "accuracy": 0.25}}


# Beside the plane


def test_gradients(network, probe):
    x, y = map(torch.from_numpy, probe)
    batches = [(x[i::5], y[i::5]) for i in range(5)]
    model = network()
    with InformationPlane(model, probe=probe, **CHEAP, when=EverySchedule(2)) as plane:
        plane.log(0)
        assert plane.log_gradients(0, torch.nn.functional.cross_entropy, batches)
        assert not plane.log_gradients(1, torch.nn.functional.cross_entropy, batches)
        assert plane.log_gradients(0, None, None)  # it is there
    found = {row.quantity: row for row in plane.trajectory.select(layer="0", quantity="grad_*").rows}
    assert set(found) == {"grad_mean", "grad_std", "grad_SNR"}
    assert found["grad_SNR"].value == pytest.approx(found["grad_mean"].value / found["grad_std"].value)
    assert found["grad_SNR"].n == 5
    assert plane.trajectory.axes["grad_SNR"] is None


def test_plane_of_a_data_loader_and_of_inputs_alone(network, probe):
    x, y = map(torch.from_numpy, probe)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=32, shuffle=True)
    with InformationPlane(network(), probe=loader, **CHEAP) as plane:
        plane.log(0)
    with InformationPlane(network(), probe=probe, **CHEAP) as other:
        other.log(0)
    assert plane.trajectory.rows == other.trajectory.rows
    with InformationPlane(network(), probe=x, ixt=KDE) as alone:
        alone.log(0)
    assert alone.trajectory.quantities == ("I_XT",)
    assert set(alone.trajectory.references) == {"H(X)"}


def test_repeated_inputs_have_less_entropy(network, probe):
    x = np.concatenate([probe[0][:30]] * 2)
    with InformationPlane(network(), probe=x, ixt=KDE) as plane:
        assert plane.trajectory.references["H(X)"] == pytest.approx(math.log(30))


RANKS = textwrap.dedent(
    """
    import sys, torch, torch.distributed as dist, miest
    from miest.plane.information_plane import InformationPlane
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh()))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 4, generator=generator)
    kde = miest.KDE(noise_var=0.1)
    probe = x, (x[:, 0] > 0).long()
    with InformationPlane(model, probe=probe, ixt=kde, ity=kde, save=sys.argv[1], resume=True) as plane:
        runs, part = [], plane.recorder._run
        plane.recorder._run = lambda *given: runs.append(given[0]) or part(*given)
        for step in range(3):
            plane.log(step, loss=1.0)
    print(dist.get_rank(), plane.trajectory.layers, len(plane.trajectory), runs)
    dist.destroy_process_group()
    """
)


@pytest.mark.slow
def test_all_ranks_run_the_probe_and_rank_0_writes(tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    for runs in ("[0, 1, 2]", "[]"):  # the second time the folder has it all, which rank 1 cannot know by itself
        told = subprocess.run([*command, str(tmp_path / "a")], capture_output=True, text=True, timeout=300)
        assert told.returncode == 0, told.stderr
        assert sorted(told.stdout.split("\n")[:2]) == [f"0 ('0', '1') 12 {runs}", f"1 () 0 {runs}"]
    assert len(load_plane(tmp_path / "a")) == 12


KILLED = textwrap.dedent(
    """
    import os, random, signal, sys, time
    import numpy as np, torch
    from miest.plane.information_plane import InformationPlane
    from miest.plane.run import load_plane
    torch.set_num_threads(1)
    folder, times = sys.argv[1], int(sys.argv[2])
    x = np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)

    def mean(t):
        return float(t.mean())

    def spread(t, *, seed):
        return float(t.std()) + seed

    def train(told):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        settings = {"probe": x, "ixt": [], "ity": [], "quantities": [mean, spread], "when": 1, "snapshots": True}
        with InformationPlane(model, **settings, save=folder, resume=True) as plane:
            for step in range(400):
                plane.log(step, loss=step / 7)
                os.write(told, step.to_bytes(4, "big"))  # finished
                with torch.no_grad():
                    model[0].weight.mul_(1.001)

    moments = random.Random(0)
    for _ in range(times):
        mine, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            train(theirs)
            os._exit(0)
        os.close(theirs)
        steps = [os.read(mine, 4)]  # it has begun
        time.sleep(moments.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while part := os.read(mine, 4):
            steps.append(part)
        os.close(mine)
        finished = int.from_bytes(steps[-1], "big")
        found = load_plane(folder)
        places = [row.place for row in found.rows]
        assert set(places) >= {(s, l, q) for s in range(finished + 1) for l in "012" for q in ("mean", "spread")}
        with open(folder + "/trajectory.jsonl", "rb") as file:
            whole = [line for line in file if line.endswith(b"\\n") and b"scalars" not in line]
        assert len(whole) == len(places)
        print(finished, flush=True)
    os._exit(0)
    """
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_training_killed_at_50_random_moments_loses_no_finished_row(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    told = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "a"), "50"], capture_output=True, text=True, timeout=600
    )
    assert told.returncode == 0, told.stderr
    finished = list(map(int, told.stdout.split()))
    assert len(finished) == 50
    assert finished == sorted(finished)
    assert finished[-1] > finished[0]
