"""Random labels and nuisances: networks, labels, files and pictures in tiny versions; the real ones are slow."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from miest import datasets  # noqa: E402
from miest.bottleneck.noisy_weights import NoisyLinear  # noqa: E402
from miest.bottleneck.weights import information_in_weights, noisy_layers, with_noisy_weights  # noqa: E402
from miest.experiments import nuisance, priced_weights, random_labels  # noqa: E402

LABELS = replace(random_labels.QUICK, images=40, share_images=30, epochs=2, betas=(0.1, 10.0), shares=(0.0, 1.0))
CLUTTER = replace(nuisance.QUICK, data="digits", images=60, probe=100, shrink=1, squares=1, size=2, kinds=3)
CLUTTER = replace(CLUTTER, channels=(2, 3, 2), betas=(0.1, 1.0), epochs=1, batch=30, steps=5)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(random_labels, "QUICK", LABELS)
    monkeypatch.setattr(nuisance, "QUICK", CLUTTER)


# exact


def trained(beta, error):
    return random_labels.Trained(
        architecture="a", beta=beta, share=1.0, error=error, noisy_error=error, cross_entropy=1.0, information=1.0
    )


def test_the_crossing_is_interpolated_in_ln_beta():
    assert random_labels.crossing([trained(0.1, 0.0), trained(10.0, 0.9)]) == pytest.approx(1.0)
    assert random_labels.crossing([trained(10.0, 0.9), trained(1.0, 0.0)]) == pytest.approx(math.sqrt(10))
    assert math.isnan(random_labels.crossing([trained(0.1, 0.0), trained(10.0, 0.3)]))


@pytest.mark.parametrize(
    ("name", "side", "weights"),
    [
        ("perceptron", 8, 64 * 64 + 64 * 10),
        ("convolutional", 8, 25 * 16 + 16 * 16 * 10),
        ("small AlexNet", 28, 25 * 64 + 25 * 64 * 64 + 3136 * 384 + 384 * 192 + 192 * 10),
        ("AllCNN", 28, 9 * (96 + 96 * 96 + 96 * 192 + 5 * 192 * 192) + 192 * 10),
    ],
)
def test_networks_have_the_weights_of_their_description(name, side, weights):
    model = with_noisy_weights(random_labels.network(name, side))
    assert sum(layer.weight.numel() for layer in noisy_layers(model).values()) == weights
    with torch.no_grad():
        assert model.eval()(torch.zeros(2, 1, side, side)).shape == (2, 10)


def test_of_the_network_behind_clutter_all_layers_but_the_ends_pay():
    plain = nuisance.network(nuisance.PAPER.channels, 28)
    assert [m.out_channels for m in plain if isinstance(m, torch.nn.Conv2d)] == list(nuisance.PAPER.channels)
    assert plain[:-2](torch.zeros(1, 1, 28, 28)).shape == (1, 192, 7, 7)
    small = nuisance.network((2, 3, 2), 8)
    assert small[:-2](torch.zeros(1, 1, 8, 8)).shape == (1, 2, 2, 2)


def test_a_share_of_the_labels_is_drawn_anew():
    _, true = datasets.load("digits")
    settings = replace(random_labels.QUICK, images=1000)
    x, same = random_labels.labeled(settings, 1000, 0.0, 0)
    np.testing.assert_array_equal(same, true[:1000])
    assert x.shape == (1000, 1, 8, 8)
    assert x.mean(0).abs().max() < 1e-5
    for share in (0.5, 1.0):
        _, y = random_labels.labeled(settings, 1000, share, 0)
        agree = float((y.numpy() == true[:1000]).mean())
        assert abs(agree - (1 - 0.9 * share)) < 4 * math.sqrt(0.25 / 1000)


def test_clutter_is_the_nuisance_in_kinds_and_its_picture_without():
    x, y, which = nuisance.images(CLUTTER, "train", 0)
    assert x.shape == (60, 1, 8, 8)
    assert set(which) <= {0, 1, 2}
    np.testing.assert_array_equal(y, datasets.load("digits")[1][:60])
    alone = replace(CLUTTER, kinds=None, shrink=2)
    x, _, picture = nuisance.images(alone, "train", 0)
    assert picture.shape == x.shape == (60, 1, 4, 4)
    assert picture.sum() == 60 * 4 / 4
    assert (nuisance.images(alone, "test", 0)[2][:60] != picture).any()


# properties


def test_training_can_be_repeated():
    first, again = (random_labels.run(LABELS, "perceptron", 0.1, 0.5, 3) for _ in range(2))
    assert first == again
    assert first != random_labels.run(LABELS, "perceptron", 0.1, 0.5, 4)


def test_what_was_done_is_read_and_not_done_again(tmp_path):
    calls = []

    def make(settings, beta):
        calls.append(beta)
        return trained(beta, 0.5)

    path = tmp_path / "new" / "one.json"
    for beta in (0.5, 0.5, 0.7):
        found = priced_weights.once(path, random_labels.Trained, make, LABELS, beta)
        assert found == trained(beta, 0.5)
    assert calls == [0.5, 0.7]


def test_a_high_price_leaves_less_information():
    x, y = torch.randn(30, 5), torch.randint(3, (30,))
    left = []
    for beta in (0.0, 3.0):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = NoisyLinear(5, 3, alpha=0.1)
            priced_weights.train(model, x, y, beta=beta, epochs=60, batch=30, learning_rate=0.01, noise_rate=0.05)
        assert not model.training
        left.append(information_in_weights(model).item())
    assert left[1] < 0.5 * left[0]


# refusals


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"architecture='resnet' must be one of perceptron"):
        random_labels.network("resnet", 8)
    with pytest.raises(ValueError, match=r"digits has 1297 images for training, not 5000"):
        random_labels.labeled(LABELS, 5000, 1.0, 0)
    done = CliRunner().invoke(random_labels.main, ["--out", str(tmp_path), "--images", "5000"])
    assert done.exit_code == 1
    assert "digits has 1297 images" in done.output


# workflow


def test_random_labels_are_printed_kept_and_drawn(tiny, tmp_path):
    done = CliRunner().invoke(random_labels.main, ["--out", str(tmp_path), "--jobs", "1"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "| 0.1 |" in done.output
    assert "ln 10 is 2.30 (paper: about 3)" in done.output
    kept = json.loads((tmp_path / "random_labels.json").read_text())
    assert [(p["architecture"], p["beta"]) for p in kept["transition"]] == [
        (name, beta) for name in ("perceptron", "convolutional") for beta in (0.1, 10.0)
    ]
    assert [p["share"] for p in kept["memory"]] == [0.0, 1.0]
    assert (tmp_path / "random_labels.png").read_bytes().startswith(b"\x89PNG")


def test_nuisances_are_printed_kept_and_drawn(tiny, tmp_path):
    done = CliRunner().invoke(nuisance.main, ["--out", str(tmp_path), "--jobs", "1"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "at most ln 3 = 1.10" in done.output
    kept = json.loads((tmp_path / "nuisance.json").read_text())
    assert [point["beta"] for point in kept["measured"]] == [0.1, 1.0]
    assert all(0 < point["layer"] < point["bound"] * 3 for point in kept["measured"])
    assert (tmp_path / "nuisance.png").read_bytes().startswith(b"\x89PNG")


def test_a_nuisance_may_be_a_picture():
    found = nuisance.run(replace(CLUTTER, kinds=None), 0.1)
    assert math.isfinite(found.nuisance["value"])


@pytest.mark.slow
def test_random_labels_are_memorized_below_the_critical_beta_alone():
    settings = replace(random_labels.QUICK, epochs=1200, images=300)
    cheap, dear = (random_labels.run(settings, "perceptron", beta) for beta in (0.1, 2.5))
    assert cheap.error < 0.05
    assert dear.error > 0.8
    assert cheap.information > math.log(10)
    assert dear.information < math.log(10) / 4
