"""Which modules are layers and what they are called: exact cases, wrappers, refusals."""

import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from miest.plane.layers import runnable, select, setting


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 5)
        self.block = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Dropout())
        self.fc2 = nn.Linear(5, 2)
        self.loss = nn.CrossEntropyLoss()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.block(self.fc1(x)))


ALL = ["fc1", "block", "block.0", "block.1", "block.2", "fc2", "loss"]
DEFAULT = ["fc1", "block.0", "block.1", "fc2"]


# Exact


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (None, DEFAULT),
        ("*", ALL),
        ("fc1", ["fc1"]),
        ("fc*", ["fc1", "fc2"]),
        ("block.*", ["block.0", "block.1", "block.2"]),
        (["fc2", "fc1"], ["fc1", "fc2"]),
        (nn.Linear, ["fc1", "block.0", "fc2"]),
        (lambda name, module: "fc" in name and module.in_features == 5, ["fc2"]),
        (["fc1", nn.Tanh], ["fc1", "block.1"]),
        ("output", ["output"]),
        (("fc?", "output"), ["fc1", "fc2", "output"]),
    ],
)
def test_layers_are_named_in_the_order_of_definition(layers: object, names: list[str]) -> None:
    model = Net()
    found = select(model, layers)
    assert list(found) == names
    assert all(found[name] is model.get_submodule(name) for name in names if name != "output")


def test_objects_are_layers() -> None:
    model = Net()
    assert list(select(model, [model.fc2, model.block])) == ["block", "fc2"]
    assert list(select(model, model)) == ["output"]


def test_a_name_is_itself_before_it_is_a_pattern() -> None:
    model = nn.ModuleDict({"a[1]": nn.Linear(1, 1), "a1": nn.Linear(1, 1)})
    assert list(select(model, "a[1]")) == ["a[1]"]


def test_a_model_without_modules_inside_is_its_own_layer() -> None:
    for model in (nn.LSTM(3, 4), nn.MultiheadAttention(4, 2), nn.Linear(2, 2)):
        for layers in (None, "*", type(model), "output"):
            assert list(select(model, layers)) == ["output"]


def test_a_module_of_the_name_output_keeps_it() -> None:
    model = nn.ModuleDict({"output": nn.Linear(1, 1)})
    assert list(select(model, ["output", model])) == ["output", "model_output"]


def test_a_shared_module_has_its_first_name_and_answers_to_the_others() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    model.append(model[0])
    assert list(select(model, "*")) == ["0", "1"]
    assert list(select(model, "2")) == ["0"]


def test_parametrised_and_attention_modules_are_leaves() -> None:
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)), nn.MultiheadAttention(4, 2))
    assert list(select(model)) == ["0", "1"]
    assert list(select(model, "*")) == ["0", "1"]  # no parametrizations, and no out_proj, which is never called


def test_activations_are_known_by_the_file_that_defines_them() -> None:
    class Swish(nn.Module):
        __module__ = "transformers.activations"

    class Other(nn.Module):
        __module__ = "transformers.activations_of_others"

    assert list(select(nn.Sequential(Other(), Swish(), nn.Flatten()))) == ["1"]


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        partial(torch.compile, backend="eager"),
        torch.optim.swa_utils.AveragedModel,
        checkpoint_wrapper,
        lambda model: torch.compile(nn.DataParallel(model), backend="eager"),
    ],
)
def test_wrappers_add_nothing_to_names(wrap: object) -> None:
    model = Net()
    model.block[0] = checkpoint_wrapper(model.block[0])
    model.fc2 = torch.compile(model.fc2, backend="eager")
    wrapped = wrap(model)
    assert list(select(wrapped)) == DEFAULT
    assert list(select(wrapped, "*")) == ALL
    inner = select(wrapped, ["module.fc1", "block._checkpoint_wrapped_module.0", "_orig_mod.fc2"])
    assert list(inner) == ["fc1", "block.0", "fc2"]
    assert {type(module) for module in inner.values()} == {nn.Linear}
    fc2 = (wrapped.module if hasattr(wrapped, "module") else model).fc2  # the average is of copies
    assert list(select(wrapped, fc2)) == ["fc2"]


def test_the_module_to_run_has_no_wrapper_that_compiles_or_scatters() -> None:
    model = Net()
    assert runnable(torch.compile(nn.DataParallel(model), backend="eager")) is model
    checkpointed = checkpoint_wrapper(model)
    assert runnable(checkpointed) is checkpointed


def test_settings_are_found_by_the_first_pattern_that_fits() -> None:
    settings = {"fc#1": 1, "fc*": 2, "*": 3}
    assert [setting(settings, "fc", 1), setting(settings, "fc", 0), setting(settings, "x", 0)] == [1, 2, 3]
    assert setting({"a": 1}, "b", 0) is None
    assert setting(5, "b", 0) == 5


# Refusals


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ("fc3", "no layer 'fc3'. Did you mean 'fc2' or 'fc1'"),
        ("conv*", "no layer 'conv\\*'.* There are: fc1, block"),
        ("fc1#0", "Did you mean 'fc1'"),
        (nn.Conv2d, "no layer of type Conv2d. It has: .*Linear.*Tanh"),
        (lambda name, module: False, "is true for no module"),
        (nn.Linear(1, 1), "the Linear given as a layer is not part of the model"),
        ([], "layers is empty"),
    ],
)
def test_what_fits_no_layer_is_refused(layers: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        select(Net(), layers)


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="no module with parameters and no activation module"):
        select(nn.Sequential(nn.Flatten(), nn.Dropout()))


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match="model is a function: pass a torch module"):
        select(lambda x: x)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a layer is given as 4"):
        select(Net(), 4)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a layer is given as 3"):
        select(Net(), [3])  # type: ignore[list-item]


def test_torchscript_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted, traced = torch.jit.script(Net()), torch.jit.trace(Net().eval(), torch.zeros(2, 4))
    for model in (scripted, traced):
        with pytest.raises(TypeError, match=r"the model is TorchScript .* pass the module that was scripted or traced"):
            select(model, "fc1")
    with pytest.raises(TypeError, match="the model's '0' is TorchScript"):
        select(nn.Sequential(scripted), "*")
