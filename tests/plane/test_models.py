"""Every kind of model is recorded with layers="*": transformers, a ResNet-18, recurrent and attention modules."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from miest.plane.information_plane import InformationPlane
from miest.plane.recorder import Recorder
from miest.plane.reductions import MeanPool, Token
from miest.plane.snapshot import Snapshot

N = 11


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """On a busy machine, threads that wait for each other make small recurrent layers a hundred times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def everything(model: nn.Module, probe: Any, **settings: Any) -> Snapshot:
    """What "*" records in batches of different sizes, checked for every layer against each row alone."""
    recorder = Recorder(model, "*", probe=probe, batch_size=4, **settings)
    snapshot, alone = recorder.snapshot(0), Recorder(model, "*", probe=probe, batch_size=1, **settings).snapshot(0)
    assert {name.partition("#")[0] for name in [*snapshot.layers, *snapshot.missing]} == set(recorder.layers)
    assert alone.layers == snapshot.layers
    for name in snapshot.layers:
        assert snapshot.load(name).shape[0] == N
        np.testing.assert_allclose(snapshot.load(name), alone.load(name), rtol=1e-3, atol=1e-5, err_msg=name)
    assert Recorder(model, probe=probe, **settings).snapshot(0).layers  # the default choice works too
    return snapshot


def test_bert() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    model = transformers.BertModel(config)
    ids = torch.randint(1, 50, (N, 8))
    mask = torch.ones_like(ids)
    mask[::2, 5:] = 0
    probe = {"input_ids": ids, "attention_mask": mask, "labels": torch.arange(N)}
    snapshot = everything(model, probe)
    assert snapshot.shapes["encoder.layer.1.output.LayerNorm"] == (N, 8, 12)
    assert snapshot.shapes["pooler.activation"] == (N, 12)
    assert "embeddings.position_embeddings" in snapshot.missing  # the same for every sample
    with torch.no_grad():
        expected = model.eval()(input_ids=ids, attention_mask=mask)
    whole = Recorder(model, ["output", "pooler"], probe=probe, select={"output": "last_hidden_state"})
    np.testing.assert_array_equal(whole.snapshot(0).load("output"), expected.last_hidden_state.numpy())
    np.testing.assert_array_equal(whole.snapshot(0).load("pooler"), expected.pooler_output.numpy())
    np.testing.assert_array_equal(whole.labels, np.arange(N))
    first = Recorder(model, "encoder.layer.?", probe=probe, reduce=Token()).snapshot(0)
    assert set(first.shapes.values()) == {(N, 12)}


def test_vit() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=16,
        image_size=8,
        patch_size=4,
        num_channels=1,
    )
    snapshot = everything(transformers.ViTModel(config), {"pixel_values": torch.randn(N, 1, 8, 8)})
    assert snapshot.shapes["layernorm"] == (N, 5, 12)
    assert not {"layernorm", "embeddings", "pooler"} & set(snapshot.missing)


class Block(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or width != out:
            self.downsample = nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        t += x if self.downsample is None else self.downsample(x)
        return self.relu(t)


class ResNet18(nn.Module):
    def __init__(self, width: int = 4, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        for i in range(4):
            stride = 1 if i == 0 else 2
            blocks = Block(widths[i], widths[i + 1], stride), Block(widths[i + 1], widths[i + 1], 1)
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t = self.relu(self.bn1(self.conv1(x)))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            t = layer(t)
        return self.fc(self.pool(t).flatten(1))


def test_resnet18() -> None:
    torch.manual_seed(0)
    model, x = ResNet18(), torch.randn(N, 1, 16, 16)
    snapshot = everything(model, x)
    assert snapshot.missing == {}
    assert {"layer1.0.relu#0", "layer1.0.relu#1", "layer4.0.downsample.1", "relu", "fc"} < set(snapshot.layers)
    assert sum("conv" in name or "downsample.0" in name for name in snapshot.layers) == 20
    # The sum is written into bn2's output: its record is from before
    inside = {}
    with torch.no_grad():
        t = model.eval().relu(model.bn1(model.conv1(x)))
        inside["layer1.0.conv1"] = model.layer1[0].conv1(t)
        inside["layer1.0.bn2"] = model.layer1[0].bn2(
            model.layer1[0].conv2(model.layer1[0].bn1(inside["layer1.0.conv1"]).relu())
        )
    for name, values in inside.items():
        np.testing.assert_allclose(snapshot.load(name), values.numpy(), atol=1e-5)
    pooled = Recorder(model, "layer?", probe=x, reduce=MeanPool()).snapshot(0)
    assert pooled.shapes == {"layer1": (N, 4), "layer2": (N, 8), "layer3": (N, 16), "layer4": (N, 32)}


@pytest.mark.parametrize("batch_first", [False, True])
def test_lstm(batch_first: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=batch_first)
            self.fc = nn.Linear(10, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out, _ = self.lstm(x if batch_first else x.transpose(0, 1))
            return self.fc(out[:, -1] if batch_first else out[-1])

    torch.manual_seed(0)
    model, x = Model(), torch.randn(N, 4, 3)  # as many steps as rows in a batch
    snapshot = everything(model, x)
    assert snapshot.shapes == {"lstm": (N, 4, 10), "fc": (N, 2)}
    state = Recorder(model, "lstm", probe=x, select=lambda output: output[1][0][-1]).snapshot(0)
    assert state.shapes == {"lstm": (N, 5)}
    bare = everything(model.lstm, x, forward=lambda lstm, x: lstm(x if batch_first else x.transpose(0, 1)))
    np.testing.assert_allclose(bare.load("output"), snapshot.load("lstm"), atol=1e-6)


@pytest.mark.parametrize("batch_first", [False, True])
def test_attention(batch_first: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(6, 2, batch_first=batch_first)
            self.norm = nn.LayerNorm(6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            t = x if batch_first else x.transpose(0, 1)
            return self.norm(t + self.attention(t, t, t)[0])

    torch.manual_seed(0)
    model, x = Model(), torch.randn(N, 4, 6)
    snapshot = everything(model, x)
    assert snapshot.shapes == {"attention": (N, 4, 6), "norm": (N, 4, 6)}
    weights = Recorder(model, "attention", probe=x, select=1).snapshot(0)
    assert weights.shapes == {"attention": (N, 4, 4)}
    if batch_first:
        bare = everything(model.attention, ((x, x, x), None))
        np.testing.assert_allclose(bare.load("output"), snapshot.load("attention"), atol=1e-6)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")  # torch's, about its fused path
@pytest.mark.parametrize("batch_first", [False, True])
def test_transformer(batch_first: bool) -> None:
    torch.manual_seed(0)
    model = nn.Transformer(6, 2, 2, 1, 8, batch_first=batch_first)
    source, target = torch.randn(N, 4, 6), torch.randn(N, 3, 6)

    def forward(model: nn.Module, x: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return model(*(x if batch_first else (part.transpose(0, 1) for part in x)))

    snapshot = everything(model, ((source, target), None), forward=forward)
    # In eval mode, torch's fused path would not call these
    for name in ("self_attn", "linear1", "linear2", "norm2"):
        assert snapshot.shapes[f"encoder.layers.1.{name}"][:2] == (N, 4)
    assert snapshot.shapes["decoder.layers.0.multihead_attn"] == (N, 3, 6)
    with torch.no_grad():
        expected = forward(model.eval(), (source, target))
    np.testing.assert_allclose(
        snapshot.load("decoder"), (expected if batch_first else expected.transpose(0, 1)).numpy(), atol=1e-5
    )


def test_padded_rows_of_a_transformer_encoder_are_plain_tensors() -> None:
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 2)
    mask = torch.zeros(N, 4, dtype=torch.bool)
    mask[::2, 3] = True
    probe = {"src": torch.randn(N, 4, 6), "src_key_padding_mask": mask}
    snapshot = Recorder(encoder, "layers.?", probe=probe).snapshot(0)  # torch's fused path would give nested ones
    assert snapshot.shapes == {"layers.0": (N, 4, 6), "layers.1": (N, 4, 6)}


class Several(nn.Module):
    """A shared module, one that works in place, an attention, an LSTM, and outputs in a tuple and a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.act = nn.Linear(6, 6), nn.ReLU(inplace=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.lstm = nn.LSTM(6, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        for _ in range(2):
            x = self.act(self.fc(x))
        mixed, weights = self.attention(x, x, x)
        hidden = self.lstm(mixed)[1][0][-1]
        return {"logits": self.head(hidden), "more": (weights, [hidden])}


def bert() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 16}
    return transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=50, num_labels=3, **sizes))


SEVERAL = {"fc#0", "act#0", "fc#1", "act#1", "attention", "lstm", "head"}
PLANES: dict[str, tuple[Any, tuple[int, ...], set[str]]] = {
    "bert": (bert, (5,), {"bert.encoder.layer.0.attention.self", "bert.pooler", "classifier"}),
    "resnet": (ResNet18, (1, 16, 16), {"layer1.0.relu#0", "layer4.0.downsample.1", "layer4", "pool", "fc"}),
    "several": (Several, (4, 6), SEVERAL),
    "data parallel": (lambda: nn.DataParallel(Several()), (4, 6), SEVERAL),
    "compiled": (lambda: torch.compile(Several(), backend="eager"), (4, 6), SEVERAL),
}


@pytest.mark.parametrize("name", PLANES)
def test_a_plane_has_every_layer(name: str) -> None:
    """With default estimators, from outside: names, both axes, and a number for each."""
    make, shape, layers = PLANES[name]
    torch.manual_seed(0)
    model = make()
    x = torch.randint(1, 50, (30, *shape)) if name == "bert" else torch.randn(30, *shape)
    y = torch.randint(0, 3, (30,))
    with InformationPlane(model, layers="*", probe=({"input_ids": x}, y) if name == "bert" else (x, y)) as plane:
        plane.log(0)
    found = plane.trajectory
    assert layers <= set(found.layers)
    if layers is SEVERAL:
        assert set(found.layers) == SEVERAL
    assert {(row.layer, row.quantity) for row in found.rows} == {
        (layer, key) for layer in found.layers for key in ("I_XT", "I_TY")
    }
    assert all(np.isfinite(row.value) for row in found.rows)
    assert not found.failed
