"""Loggers: what each kind is sent, against fakes with the signatures of the real ones and against real TensorBoard."""

import math
import warnings

import pytest

import miest
from miest.plane.information_plane import InformationPlane
from miest.plane.loggers import logger
from miest.plane.quantities import Quantity
from miest.plane.trajectory import Trajectory

KDE = miest.KDE(noise_var=0.1)
QUANTITIES = [Quantity("I_XT[kde:noise_var=0.1]", KDE, "x"), Quantity("I_TY", KDE, "y")]


@pytest.fixture
def rows(row):
    return [
        row(3, "fc#0", "I_XT[kde:noise_var=0.1]", value=2.0),
        row(3, "fc#0", "I_TY", value=0.5),
        row(3, "fc#0", "bad", value=math.nan, kind="failed", notes=("x",)),
        row(3, "fc#0", "endless", value=math.inf),
        row(5, "fc#0", "I_TY", value=0.25),
    ]


class Wandb:
    """Has what a wandb.Run has."""

    def __init__(self):
        self.metrics, self.sent = [], []

    def define_metric(self, name, step_metric=None):
        self.metrics.append((name, step_metric))

    def log(self, data, step=None):
        assert step is None  # one that is smaller than its own would be dropped
        self.sent.append(data)


def mlflow():
    """Has what the module mlflow has."""
    module = type(math)("mlflow")
    module.sent, module.figures = [], []
    module.log_metrics = lambda metrics, step=None: module.sent.append((metrics, step))
    module.log_figure = lambda figure, artifact_file: module.figures.append(artifact_file)
    return module


def test_functions(rows):
    sent = []
    logger(lambda key, value, step: sent.append((key, value, step))).rows(rows)
    assert sent == [
        ("ip/fc#0/I_XT[kde:noise_var=0.1]", 2.0, 3),
        ("ip/fc#0/I_TY", 0.5, 3),
        ("ip/fc#0/I_TY", 0.25, 5),
    ]


def test_wandb(rows):
    run = Wandb()
    to = logger(run)
    to.begin(QUANTITIES)
    to.rows(rows)
    to.end(Trajectory(tuple(rows)))
    assert run.metrics == [("ip/step", None), ("ip/*", "ip/step")]
    assert run.sent == [
        {"ip/fc#0/I_XT[kde:noise_var=0.1]": 2.0, "ip/fc#0/I_TY": 0.5, "ip/step": 3},
        {"ip/fc#0/I_TY": 0.25, "ip/step": 5},
    ]


def test_mlflow_gets_names_that_it_takes(rows):
    module = mlflow()
    logger(module).rows(rows)
    assert module.sent == [
        ({"ip/fc_0/I_XT_kde_noise_var_0.1": 2.0, "ip/fc_0/I_TY": 0.5}, 3),
        ({"ip/fc_0/I_TY": 0.25}, 5),
    ]


def test_loggers_of_lightning_get_the_names_as_they_are(rows):
    class CSVLogger:
        def log_metrics(self, metrics, step=None):
            self.last = metrics, step

    target = CSVLogger()
    logger(target).rows(rows[:1])
    assert target.last == ({"ip/fc#0/I_XT[kde:noise_var=0.1]": 2.0}, 3)


def test_a_logger_that_fails_is_left_alone(network, probe):
    calls = []

    def broken(key, value, step):
        calls.append(step)
        raise ConnectionError("no network")

    kept = []
    with InformationPlane(
        network(), probe=probe, ixt=KDE, ity=[], loggers=[broken, lambda *a: kept.append(a)]
    ) as plane:
        with pytest.warns(
            RuntimeWarning, match="FunctionLogger failed and gets no more rows: ConnectionError: no network"
        ):
            plane.log(0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            plane.log(1)
    assert calls == [0]
    assert len(kept) == len(plane.trajectory) == 6


def test_rows_from_the_background_arrive_too(network, probe):
    sent = []
    with InformationPlane(
        network(), probe=probe, ixt="binning", ity=[], estimate="background", loggers=lambda *row: sent.append(row)
    ) as plane:
        plane.log(0)
    assert sorted(sent) == sorted((f"ip/{r.layer}/H_bin", r.value, 0) for r in plane.trajectory.rows)


def test_what_is_no_logger():
    for target in (3, None, int, object()):
        with pytest.raises(ValueError, match="is no logger: pass a SummaryWriter"):
            logger(target)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard(network, probe, tmp_path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    pytest.importorskip("matplotlib")
    with tensorboard.SummaryWriter(tmp_path) as writer:
        with InformationPlane(network(), probe=probe, ixt=KDE, ity=[KDE, miest.MixedKSG()], loggers=writer) as plane:
            plane.log(0)
            plane.log(1)
    found = accumulator.EventAccumulator(str(tmp_path)).Reload()
    tags = found.Tags()
    names = {f"ip/{layer}/{key}" for layer in ("0", "1", "3") for key in ("I_XT", "I_TY", "I_TY[mixed-ksg]")}
    assert set(tags["scalars"]) == names
    assert [event.step for event in found.Scalars("ip/0/I_XT")] == [0, 1]
    assert found.Scalars("ip/3/I_TY")[0].value == pytest.approx(
        plane.trajectory.select(layer="3", quantity="I_TY", step=0).rows[0].value
    )
    assert found.Images("ip/plane")[0].step == 1
    assert found.Images("ip/plane")[0].width > 100
    layout = pytest.importorskip("tensorboard.plugins.custom_scalar.layout_pb2").Layout()
    layout.ParseFromString(found.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = {chart.title: chart.multiline.tag[0] for chart in layout.category[0].chart}
    assert charts == {
        "I_XT": r"ip/.*/I_XT$",
        "I_TY": r"ip/.*/I_TY$",
        "I_TY[mixed-ksg]": r"ip/.*/I_TY\[mixed\-ksg\]$",
    }
