"""Planes from checkpoints: exact against a live run, the forms of checkpoints, refusals."""

import pickle
from pathlib import Path

import pytest
import torch

import miest
from miest.plane.checkpoints import from_checkpoints
from miest.plane.information_plane import InformationPlane
from miest.plane.run import load_plane

KDE = miest.KDE(noise_var=0.1)
CHEAP = {"ixt": KDE, "ity": KDE}


@pytest.fixture
def weights(network):
    """State dictionaries of steps 2, 10 and 9, and the rows that a live plane would have."""
    return {step: network(step).state_dict() for step in (10, 2, 9)}


@pytest.fixture
def live(network, weights, probe):
    model = network()
    with InformationPlane(model, probe=probe, **CHEAP, when=lambda step: True) as plane:
        for step in sorted(weights):
            model.load_state_dict(weights[step])
            plane.log(step)
    return plane.trajectory


def test_the_same_as_live(network, weights, probe, live, tmp_path):
    for step, values in weights.items():
        torch.save(values, tmp_path / f"net_{step}.pt")
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = from_checkpoints(str(tmp_path / "*.pt"), model, probe, **CHEAP)
    assert found.steps == (2, 9, 10)
    assert found.rows == live.rows
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "form",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model_state_dict": state, "optimizer": {"lr": 0.1}},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"net.{name}": value for name, value in state.items()}},
    ],
)
def test_what_trainers_save(network, weights, probe, live, tmp_path, form):
    torch.save(form(weights[9]), tmp_path / "epoch=4-step=9.ckpt")
    found = from_checkpoints([tmp_path / "epoch=4-step=9.ckpt"], network(), probe, **CHEAP)
    assert found.rows == live.select(step=9).rows


def test_safetensors(network, weights, probe, live, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(weights[9], tmp_path / "best.safetensors")
    found = from_checkpoints(tmp_path / "*.safetensors", network(), probe, **CHEAP, step=lambda path: 9)
    assert found.rows == live.select(step=9).rows


def test_layers_schedule_and_resume(network, weights, probe, tmp_path, monkeypatch):
    for step, values in weights.items():
        torch.save(values, tmp_path / f"net{step}.pt")
    settings = {**CHEAP, "save": tmp_path / "run", "resume": True}
    first = from_checkpoints(tmp_path / "*.pt", network(), probe, "0", **settings, when=[9])
    assert [row.place for row in first.rows] == [(9, "0", "I_XT"), (9, "0", "I_TY")]
    read = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda path, **options: read.append(Path(path).name) or load(path, **options))
    found = from_checkpoints(tmp_path / "*.pt", network(), probe, "0", **settings)
    assert found.steps == (2, 9, 10)
    assert read == ["net2.pt", "net10.pt"]
    assert load_plane(tmp_path / "run") == found


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["best.pt"], "has no number in its name"),
        (["a1.pt", "b1.pt"], "are both of step 1"),
    ],
)
def test_steps_that_cannot_be_told(network, weights, probe, tmp_path, names, says):
    for name in names:
        torch.save(weights[9], tmp_path / name)
    with pytest.raises(ValueError, match=says):
        from_checkpoints(tmp_path / "*.pt", network(), probe, **CHEAP)


def test_files_that_cannot_be_used(network, probe, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint fits .*\*\.pt"):
        from_checkpoints(tmp_path / "*.pt", network(), probe)
    with pytest.raises(FileNotFoundError):
        from_checkpoints([tmp_path / "net1.pt"], network(), probe, **CHEAP)
    refused = {
        "net1.pt": (network(), "nothing else is unpickled.*Save model.state_dict"),  # a whole model
        "net2.pt": ({"epoch": 3}, "holds no state dictionary"),
        "net3.pt": (torch.nn.Linear(6, 3).state_dict(), "do not fit the model.*Missing key"),
    }
    for name, (what, says) in refused.items():
        torch.save(what, tmp_path / name)
        model = network()
        before = model[0].weight.clone()
        with pytest.raises(ValueError, match=says):
            from_checkpoints([tmp_path / name], model, probe, **CHEAP)
        assert torch.equal(model[0].weight, before)
    (tmp_path / "net4.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match=r"net4\.pt"):
        from_checkpoints([tmp_path / "net4.pt"], network(), probe, **CHEAP)
