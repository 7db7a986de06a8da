"""Callbacks in the trainers that they are for: Lightning and Hugging Face's Trainer, both real.

They are heavy, and the tests are skipped where they are not installed; their own warnings are not ours.
"""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

import miest
from miest.plane.adapters import lightning_callback, transformers_callback
from miest.plane.information_plane import InformationPlane
from miest.plane.run import load_plane
from miest.plane.schedule import AtSteps

KDE = miest.KDE(noise_var=0.1)
CHEAP = {"ixt": KDE, "ity": KDE}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def data(probe):
    return torch.utils.data.TensorDataset(*map(torch.from_numpy, probe))


# Lightning


@pytest.fixture
def lightning():
    return pytest.importorskip("lightning.pytorch")


@pytest.fixture
def module(lightning, network):
    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, number):
            loss = torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def validation_step(self, batch, number):
            self.log("val/loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))
            self.log("step", 3.0)  # a name that is taken

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Module()


@pytest.fixture
def fit(lightning, data, tmp_path):
    def fit(module, *callbacks, epochs=3, logger=False, **settings):
        torch.manual_seed(0)
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            callbacks=list(callbacks),
            logger=logger,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            **settings,
        )
        loader = torch.utils.data.DataLoader(data, batch_size=30, shuffle=True)
        trainer.fit(module, loader, torch.utils.data.DataLoader(data, batch_size=45))
        return trainer

    return fit


def test_lightning_by_epochs(module, fit, probe, lightning, tmp_path):
    plane = InformationPlane(module, layers="net.*", probe=probe, **CHEAP, when=1, save=tmp_path / "a")
    callback = lightning_callback(plane)
    assert isinstance(callback, lightning.Callback)
    fit(module, callback)
    found = plane.trajectory
    assert found.steps == (0, 1, 2, 3)  # the sanity check is no step
    assert found.layers == ("net.0", "net.1", "net.2", "net.3")
    assert set(found.scalars) == {1, 2, 3}
    assert set(found.scalars[1]) == {"loss", "val/loss"}
    assert not plane.is_open
    assert load_plane(tmp_path / "a") == found


def test_lightning_by_steps(module, fit, probe):
    plane = InformationPlane(module, layers="net.0", probe=probe, ixt=KDE, ity=[], when=AtSteps(1, 2, 3))
    fit(module, lightning_callback(plane, on="step"), epochs=2, accumulate_grad_batches=2)
    assert plane.trajectory.steps == (0, 1, 2, 3)  # six batches make four steps
    assert max(plane.trajectory.scalars) == 4


def test_lightning_trains_to_the_same_bits(module, fit, probe):
    start = {name: value.clone() for name, value in module.state_dict().items()}
    fit(module)
    alone = {name: value.clone() for name, value in module.state_dict().items()}
    module.load_state_dict(start)
    plane = InformationPlane(module, probe=probe, **CHEAP, when=1)
    fit(module, lightning_callback(plane))
    assert all(torch.equal(alone[name], value) for name, value in module.state_dict().items())


def test_lightning_inside_a_plane_that_is_open(module, fit, probe):
    with InformationPlane(module, probe=probe, ixt=KDE, ity=[], when=1) as plane:
        fit(module, lightning_callback(plane), epochs=1)
        assert plane.is_open
        plane.record(7)
    assert plane.trajectory.steps == (0, 1, 7)


def test_lightning_loggers_get_the_rows(module, fit, probe, lightning, tmp_path):
    loggers = pytest.importorskip("lightning.pytorch.loggers")
    plane = InformationPlane(module, layers="net.0", probe=probe, ixt=KDE, ity=[], when=1)
    to = loggers.CSVLogger(tmp_path / "csv")
    fit(module, lightning_callback(plane), epochs=2, logger=to, log_every_n_steps=1)
    header = (tmp_path / "csv/lightning_logs/version_0/metrics.csv").read_text().splitlines()[0]
    assert "ip/net.0/I_XT" in header.split(",")


def test_lightning_that_fails_lets_go_of_the_folder(module, fit, probe, tmp_path):
    plane = InformationPlane(module, probe=probe, **CHEAP, when=1, save=tmp_path / "a")

    def fail(batch, number=0):
        raise ZeroDivisionError

    module.training_step = fail
    with pytest.raises(ZeroDivisionError):
        fit(module, lightning_callback(plane))
    assert not plane.is_open
    assert load_plane(tmp_path / "a").steps == (0,)
    with InformationPlane(module, probe=probe, **CHEAP, when=1, save=tmp_path / "a", resume=True):
        pass


RANKS = textwrap.dedent(
    """
    import sys, torch, miest
    import lightning.pytorch as lightning
    from miest.plane.adapters import lightning_callback
    from miest.plane.information_plane import InformationPlane

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(4, 2)

        def training_step(self, batch, number):
            return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def forward(self, x):
            return self.net(x)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    torch.manual_seed(0)
    x = torch.randn(32, 4)
    data = torch.utils.data.TensorDataset(x, (x[:, 0] > 0).long())
    module = Module()
    kde = miest.KDE(noise_var=0.1)
    plane = InformationPlane(module, layers="net", probe=data, ixt=kde, ity=kde, when=1, save=sys.argv[1])
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, callbacks=[lightning_callback(plane)], use_distributed_sampler=True,
    )
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=8))
    print("rank", trainer.global_rank, plane.trajectory.steps, len(plane.trajectory), flush=True)
    """
)


@pytest.mark.slow
def test_lightning_by_ddp(lightning, tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    told = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "a")], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert told.returncode == 0, told.stderr
    lines = sorted(line for line in told.stdout.splitlines() if line.startswith("rank"))
    assert lines == ["rank 0 (0, 1, 2) 6", "rank 1 () 0"]
    assert load_plane(tmp_path / "a").steps == (0, 1, 2)


# Hugging Face


@pytest.fixture
def transformers():
    pytest.importorskip("accelerate")
    return pytest.importorskip("transformers")


@pytest.fixture
def train(transformers, tmp_path):
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=8,
        num_labels=2,
    )
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config)
    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(rng.integers(0, 20, (24, 6)))
    rows = [{"input_ids": row, "labels": int(row[0]) % 2} for row in tokens]

    def train(make, **settings):
        plane, callback = make(model, rows)
        args = transformers.TrainingArguments(
            output_dir=str(tmp_path / "out"),
            per_device_train_batch_size=8,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            **settings,
        )
        transformers.Trainer(model, args, train_dataset=rows, callbacks=[callback]).train()
        return plane

    return train


def test_transformers_by_steps(transformers, train, tmp_path):
    def make(model, rows):
        plane = InformationPlane(
            model, layers=["*.output.dense", "classifier"], probe=rows, **CHEAP, when=2, save=tmp_path / "a"
        )
        callback = transformers_callback(plane)
        assert isinstance(callback, transformers.TrainerCallback)
        return plane, callback

    plane = train(make, max_steps=4)
    found = plane.trajectory
    assert found.steps == (0, 2, 4)
    assert found.layers[-1] == "classifier"
    assert "bert.encoder.layer.0.attention.output.dense" in found.layers
    assert set(found.scalars) == {1, 2, 3, 4}
    assert {"loss", "learning_rate"} <= set(found.scalars[1])
    assert "epoch" not in found.scalars[1]
    assert not found.failed
    assert not plane.is_open
    assert load_plane(tmp_path / "a") == found


def test_transformers_by_epochs(train):
    def make(model, rows):
        plane = InformationPlane(model, layers="classifier", probe=rows, ixt=KDE, ity=[], when=1)
        return plane, transformers_callback(plane, on="epoch")

    assert train(make, num_train_epochs=2).trajectory.steps == (0, 1, 2)


# Refusals


def test_refusals(network, probe, monkeypatch):
    plane = InformationPlane(network(), probe=probe, **CHEAP)
    with pytest.raises(ValueError, match="on='batch' must be one of"):
        lightning_callback(plane, on="batch")
    for name in ("lightning.pytorch", "pytorch_lightning", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="needs lightning: pip install lightning"):
        lightning_callback(plane)
    with pytest.raises(ImportError, match="needs transformers"):
        transformers_callback(plane)
