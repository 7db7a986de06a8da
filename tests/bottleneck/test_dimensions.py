"""Dimensions through layers: truth, properties, refusals, workflow."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from click.testing import CliRunner  # noqa: E402
from torch import nn  # noqa: E402

from miest.bottleneck.dimensions import dimension_table, dimensions_through_layers  # noqa: E402
from miest.estimators.dimension import CorrelationDimension  # noqa: E402
from miest.estimators.information_dimension import InformationDimension  # noqa: E402
from miest.estimators.renyi import Renyi2  # noqa: E402
from miest.experiments import dimensions  # noqa: E402
from miest.plotting.dimensions import plot_dimensions  # noqa: E402


def tanh_network(*widths: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = []
    for fan_in, fan_out in pairwise(widths):
        linear = nn.Linear(fan_in, fan_out)
        nn.init.normal_(linear.weight, std=0.3)
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers).double()


def cube(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (n, d))


# truth


@pytest.mark.parametrize("estimator", [CorrelationDimension(), InformationDimension()])
def test_a_tanh_network_keeps_its_least_width(estimator: object) -> None:
    found = dimensions_through_layers(
        tanh_network(4, 2, 7), cube(4000, 4), layers=nn.Tanh, estimator=estimator, d_x=4.0
    )
    assert [each.layer for each in found] == ["X", "1", "3"]
    assert [each.width for each in found] == [4, 2, 7]
    assert [each.expected for each in found] == [4, 2, 2]
    for each in found[1:]:
        assert each.result.value == pytest.approx(2, rel=0.05)
        assert each.infinite


def test_a_curve_stays_a_curve() -> None:
    """The dimension of X bounds all others, whatever the widths."""
    angle = np.random.default_rng(0).random((3000, 1)) * 2 * np.pi
    x = np.hstack([np.cos(angle), np.sin(angle)])
    found = dimensions_through_layers(tanh_network(2, 6, 3), x)
    assert all(each.expected == pytest.approx(1, rel=0.03) for each in found)
    assert all(each.result.value == pytest.approx(1, rel=0.05) for each in found)


# properties


def test_steps_leave_no_dimension_and_relu_less() -> None:
    model = nn.Sequential(nn.Linear(3, 4), dimensions.Step()).double()
    found = dimensions_through_layers(model, cube(1000, 3), layers=dimensions.Step, estimator=InformationDimension())
    assert found[-1].result.value == 0
    assert not found[-1].infinite
    half = nn.Sequential(nn.Linear(1, 1), nn.ReLU()).double()
    half[0].weight.data.fill_(1.0)
    half[0].bias.data.zero_()
    found = dimensions_through_layers(half, cube(4000, 1), layers=nn.ReLU, estimator=InformationDimension())
    assert found[-1].result.value == pytest.approx(0.5, abs=0.04)  # an atom at 0 of one half
    assert found[-1].infinite


def test_an_entropy_has_no_expected_dimension() -> None:
    found = dimensions_through_layers(tanh_network(2, 3), cube(500, 2), estimator=Renyi2(width=0.25))
    assert {each.expected for each in found} == {None}
    assert not any(each.infinite for each in found)
    assert found[0].result.quantity == "H2([X]_m)"


# workflow


def test_a_table_of_it() -> None:
    text = dimension_table(dimensions_through_layers(tanh_network(2, 3), cube(500, 2), d_x=2))
    assert len(text.splitlines()) == 4
    assert text.splitlines()[1].split()[:3] == ["X", "2", "2.00"]


def test_the_experiment(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dimensions, "ACTIVATIONS", {key: dimensions.ACTIVATIONS[key] for key in ("tanh", "step")})
    done = CliRunner().invoke(
        dimensions.main, ["--out", str(tmp_path), "--n", "600", "--networks", "2"], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert "| tanh | act2 | 3 | 3 |" in done.output
    assert "| step | act4 | 6 | 3 at most | 0.00 ± 0.00 | 0.00 ± 0.00 |" in done.output
    kept = json.loads((tmp_path / "dimensions.json").read_text())
    assert (tmp_path / "dimensions.png").stat().st_size > 10_000
    layer = kept["measured"]["tanh"][1][2]
    assert layer["expected"] == 3
    assert layer["correlation"] == pytest.approx(3, abs=0.5)


def test_the_picture() -> None:
    run = [{"layer": "X", "width": 3, "expected": 3.0, "correlation": 2.9, "information": 3.1}]
    other = [{**run[0], "correlation": 2.7}]
    figure, axes = plot_dimensions({"tanh": [run, other]})
    dots = {line.get_label(): line.get_ydata() for line in axes[0].lines if not line.get_label().startswith("_")}
    assert dots["correlation dimension"] == pytest.approx([2.8])
    assert dots["expected"] == pytest.approx([3.0])
    assert len(figure.axes) == 1
    assert not math.isnan(dots["information dimension"][0])


# refusals


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least 50 samples"):
        dimensions_through_layers(tanh_network(2, 3), cube(20, 2))
    with pytest.raises(ValueError, match="nothing was measured"):
        plot_dimensions({})
