"""Layer-by-layer training: which modules make a layer, whose turn it is, what is climbed, what stays as it was."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader, TensorDataset

import miest
from miest.bottleneck import layerwise
from miest.bottleneck.alternation import Alternation, Weights, alternate
from miest.bottleneck.fitted import read_out
from miest.bottleneck.units import units_of
from miest.noise import GaussianNoise, UniformNoise, ZeroEntropyNoise
from miest.samples import DataError

QUICK = {"steps": 3, "critic_steps": 2, "warm_up": 1, "batch": 16, "hidden": (8,), "read_out_steps": 5}


def stack():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 4))


def quarters(n=64, seed=0):
    """Points in the plane; the class says whether both coordinates have the same sign, which no line can tell."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
    return x, (x[:, 0] * x[:, 1] > 0).astype(np.int64)


def weights_of(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def settings(**changes):
    given = {"critic_steps": 2, "warm_up": 1, "batch": 16, "hidden": (8,), "noise": GaussianNoise(std=1)}
    return Alternation(**{"learning_rate": 1e-2, "critic_learning_rate": 1e-2} | given | changes)


# exact


def test_a_layer_is_a_module_with_weights_and_what_follows_it():
    relu = nn.ReLU()
    convolutions = [nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), relu, nn.MaxPool2d(2), nn.Flatten()]
    model = nn.Sequential(nn.Dropout(), *convolutions, nn.Linear(8, 5), relu, nn.Linear(5, 3))
    units = units_of(model)
    assert {name: [id(m) for m in unit] for name, unit in units.items()} == {
        name: [id(m) for m in model[first : int(name) + 1]] for name, first in {"5": 0, "7": 6, "8": 8}.items()
    }
    assert list(units_of(list(model))) == list(units_of(nn.ModuleList(model))) == ["5", "7", "8"]
    assert list(units_of(model, ["7", "8"])) == ["7", "8"]
    assert [len(unit) for unit in units_of(model, ["7", "8"]).values()] == [8, 1]


def test_critics_take_ten_steps_for_each_of_the_layer_and_warm_up_before():
    model, turns = stack(), []
    own = {id(p): i for i, layer in enumerate(model) for p in layer.parameters()}

    def note(optimizer, *_):
        turns.append(own.get(id(optimizer.param_groups[0]["params"][0]), "critics"))

    hook = register_optimizer_step_post_hook(note)
    try:
        layerwise.fit(model, quarters(), **QUICK | {"critic_steps": 10, "warm_up": 13, "steps": 2})
    finally:
        hook.remove()
    expected = []
    for layer in (0, 2):
        expected += ["critics"] * 13 + (["critics"] * 10 + [layer]) * 2
    assert turns == expected + ["critics"] * 5  # the read-out, which is no layer of the model either


def test_the_rate_of_an_annealed_layer_falls_along_half_a_cosine_and_that_of_the_critics_stays():
    model, rates = stack(), {"layers": [], "critics": []}
    own = {id(p) for p in model.parameters()}

    def note(optimizer, *_):
        group = optimizer.param_groups[0]
        rates["layers" if id(group["params"][0]) in own else "critics"].append(group["lr"])

    hook = register_optimizer_step_post_hook(note)
    try:
        layerwise.fit(model, quarters(), annealed=True, **QUICK | {"steps": [4, 1], "read_out_steps": 1})
    finally:
        hook.remove()
    assert rates["layers"] == pytest.approx([1e-3 * (1 + math.cos(math.pi * s / 4)) / 2 for s in range(4)] + [1e-3])
    assert rates["critics"] == [1e-4] * (2 + 2 * 5) + [1e-2]  # warm-up, five steps of a layer, and the read-out


def test_look_log_and_courses_say_the_same():
    looks, logged = [], []
    fitted = layerwise.fit(
        stack(),
        quarters(),
        progress=looks.append,
        plane=lambda step, **scalars: logged.append((step, scalars)),
        **QUICK,
    )
    assert [(look.step, look.steps, look.layer) for look in looks] == [
        (step, 6, "1" if step <= 3 else "2") for step in range(1, 7)
    ]
    assert [course.name for course in fitted.courses] == ["1", "2"]
    for key in ("prediction", "rate"):
        values = [value for course in fitted.courses for value in getattr(course, key)]
        assert values == [getattr(look, key) for look in looks] == [scalars[key] for _, scalars in logged[1:]]
    assert logged[0] == (0, {})
    assert [(step, scalars["layer"]) for step, scalars in logged[1:]] == [(s, int(s > 3)) for s in range(1, 7)]


def test_without_a_price_the_input_is_not_measured_and_layers_may_differ():
    free = layerwise.fit(stack(), quarters(), beta=0, **QUICK)
    assert all(math.isnan(rate) for course in free.courses for rate in course.rate)
    assert [len(course.rate) for course in layerwise.fit(stack(), quarters(), **QUICK | {"steps": [1, 4]}).courses] == [
        1,
        4,
    ]
    mixed = layerwise.fit(stack(), quarters(), beta=[0, 1e-3], **QUICK)
    assert [all(map(math.isnan, course.rate)) for course in mixed.courses] == [True, False]
    assert torch.equal(weights_of(mixed.network[0][0]), weights_of(free.network[0][0]))


# properties


def test_training_can_be_repeated_and_leaves_torch_as_it_was():
    state = torch.get_rng_state()
    (first, again), other = (layerwise.fit(stack(), quarters(), **QUICK) for _ in range(2)), None
    other = layerwise.fit(stack(), quarters(), seed=1, **QUICK)
    torch.manual_seed(0)
    stack()
    after = torch.get_rng_state()
    assert torch.equal(weights_of(first.network), weights_of(again.network))
    assert not torch.equal(weights_of(first.network), weights_of(other.network))
    torch.set_rng_state(state)
    torch.manual_seed(0)
    stack()
    assert torch.equal(torch.get_rng_state(), after)


def test_layers_before_and_after_the_one_in_training_stay():
    model, seen = stack(), []
    layerwise.fit(
        model, quarters(), progress=lambda _: seen.append((weights_of(model[0]), weights_of(model[2]))), **QUICK
    )
    first, last = zip(*seen, strict=True)
    assert not torch.equal(first[0], first[1])
    assert all(torch.equal(first[2], later) for later in first[3:])
    assert all(torch.equal(last[0], earlier) for earlier in last[:3])
    assert not torch.equal(last[3], last[4])


def test_a_decayed_read_out_is_smaller_on_the_same_layers():
    free, decayed = (layerwise.fit(stack(), quarters(), read_out_decay=decay, **QUICK) for decay in (0.0, 10.0))
    assert torch.equal(weights_of(free.network[0]), weights_of(decayed.network[0]))
    assert decayed.network[-1].weight.norm() < free.network[-1].weight.norm()


def test_modes_and_gradients_wanted_are_as_before_also_after_an_error():
    model = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.ReLU(), nn.Linear(6, 2)).train()
    model[2].eval()
    model[4].bias.requires_grad_(False)

    def state():
        return [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]

    before = state()
    layerwise.fit(model, quarters(), **QUICK)
    assert state() == before

    def fail(_):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        layerwise.fit(model, quarters(), progress=fail, **QUICK)
    assert state() == before


def test_every_form_of_the_data_gives_the_same_network():
    x, y = quarters()
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    loader = DataLoader(TensorDataset(*tensors), batch_size=7)
    forms = [(x, y), tensors, [x.astype(np.float64), y.astype(bool)], TensorDataset(*tensors), loader]
    found = [weights_of(layerwise.fit(stack(), form, **QUICK).network) for form in forms]
    assert all(torch.equal(found[0], other) for other in found[1:])
    assert np.array_equal(x, quarters()[0])


def test_a_plane_does_not_change_the_training(tmp_path):
    x, y = quarters()
    bare = layerwise.fit(stack(), (x, y), **QUICK)
    model = stack()
    channel = miest.GaussianChannel(noise=GaussianNoise(std=1), draws=1)
    with miest.InformationPlane(model, probe=(x, y), ixt=channel, ity=channel, when=2) as plane:
        logged = layerwise.fit(model, (x, y), plane=plane, **QUICK)
    assert torch.equal(weights_of(logged.network), weights_of(bare.network))
    assert plane.trajectory.steps == (0, 2, 4, 6)
    assert plane.trajectory.scalars[4]["layer"] == 1
    assert plane.trajectory.scalars[5]["rate"] == logged.courses[1].rate[1]


def test_labels_of_any_name_are_predicted_by_their_name():
    x, y = quarters()
    fitted = layerwise.fit(stack(), (x, np.array(["left", "right"])[y]), **QUICK)
    assert fitted.classes.tolist() == ["left", "right"]
    columns = fitted.network(torch.from_numpy(x)).argmax(1).numpy()
    assert fitted.predict(x).tolist() == np.array(["left", "right"])[columns].tolist()


# truth


def test_the_rate_of_a_gaussian_is_half_ln_one_plus_snr_and_its_weight_falls_as_the_gradient_says():
    """T = a X with X normal: I(X;T+eps) = ln(1 + a^2) / 2, whose derivative is a / (1 + a^2)."""
    torch.manual_seed(0)
    x = torch.randn(4000, 1)
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    start = copy.deepcopy(layer)
    weights = Weights(prediction=0.0, rate=1.0)
    given = settings(warm_up=300, batch=500, hidden=(64, 64), learning_rate=1e-9, critic_learning_rate=3e-3)
    y = torch.zeros(4000, dtype=torch.int64)
    found, slopes = [], []
    layer.weight.register_hook(lambda g: slopes.append(float(g)))
    for seed in range(4):
        course = alternate(
            layer, x, y, name="a", weights=weights, settings=given, steps=1, seed=seed, told=lambda _: None
        )
        found += course.rate
    error = np.std(found, ddof=1) / math.sqrt(4)
    assert abs(np.mean(found) - math.log(5) / 2) < 4 * error + 0.03  # the critic is a little short of the best
    assert abs(np.mean(slopes) - 2 / 5) < 4 * np.std(slopes, ddof=1) / math.sqrt(4)
    assert torch.allclose(layer.weight, start.weight)


def test_a_price_compresses_by_what_the_critic_says_and_by_what_the_layer_holds():
    x, y = quarters(400)
    noise = GaussianNoise(std=0.3)
    given = {"batch": 100, "steps": 40, "critic_steps": 3, "warm_up": 50, "hidden": (32,), "critic_learning_rate": 5e-3}
    held, said = [], []
    for beta in (1e-6, 0.3, 5.0):
        model = stack()
        fitted = layerwise.fit(model[:2], (x, y), beta=beta, noise=noise, learning_rate=1e-2, seed=1, **given)
        with torch.no_grad():
            held.append(miest.GaussianChannel(noise=noise, draws=1).estimate(model[:2](torch.from_numpy(x))).value)
        said.append(np.mean(fitted.courses[0].rate[-10:]))
    for values in (held, said):
        assert values[2] < 0.5 * values[1] < 0.4 * values[0]
    assert all(value < truth + 0.05 for value, truth in zip(said, held, strict=True))  # a lower bound


def test_the_read_out_is_logistic_regression():
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    rng = np.random.default_rng(0)
    y = rng.integers(3, size=500)
    t = 100 + 5 * (rng.normal(size=(500, 2)) + np.array([[0, 0], [1, 0], [0, 1]])[y])
    layer = read_out(torch.from_numpy(t), torch.from_numpy(y), 1000, 0)
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(layer(torch.from_numpy(t)), torch.from_numpy(y)))
    best = LogisticRegression(C=1e9, max_iter=1000).fit(t - 100, y)
    assert loss == pytest.approx(log_loss(y, best.predict_proba(t - 100)), abs=1e-4)


def test_a_decayed_read_out_is_ridge_logistic_regression_in_units_of_the_spread():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    y = rng.integers(3, size=500)
    t = 100 + 5 * (rng.normal(size=(500, 2)) + np.array([[0, 0], [1, 0], [0, 1]])[y])
    layer = read_out(torch.from_numpy(t), torch.from_numpy(y), 1000, 0, 0.2)
    best = LogisticRegression(C=1 / (0.2 * 500), max_iter=1000).fit((t - t.mean(0)) / t.std(ddof=1), y)
    with torch.no_grad():
        found = layer(torch.from_numpy(t)).softmax(1).numpy()
    assert found == pytest.approx(best.predict_proba((t - t.mean(0)) / t.std(ddof=1)), abs=1e-3)


def test_layers_are_learnt_that_a_linear_read_out_cannot_do_without():
    x, y = quarters(1000)
    test_x, test_y = quarters(1000, seed=1)
    given = {"hidden": (32,), "batch": 128, "critic_learning_rate": 5e-3, "learning_rate": 1e-2, "warm_up": 50}
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    fitted = layerwise.fit(model, (x, y), steps=60, critic_steps=5, noise=ZeroEntropyNoise(), **given)
    assert (fitted.predict(test_x) == test_y).mean() > 0.93
    assert np.mean(fitted.courses[-1].prediction[-20:]) == pytest.approx(math.log(2), abs=0.1)
    assert np.mean(fitted.courses[0].prediction[-20:]) > np.mean(fitted.courses[0].prediction[:5]) + 0.1


# refusals


@pytest.mark.parametrize(
    ("model", "layers", "error", "match"),
    [
        (nn.Linear(2, 2), None, TypeError, "model is a Linear: pass an nn.Sequential"),
        ([], None, TypeError, "model is a list"),
        (nn.Sequential(nn.ReLU()), None, ValueError, "none of the 1 modules of the stack has weights"),
        (nn.Sequential(*[nn.Linear(2, 2)] * 2), None, ValueError, "stands in the stack twice"),
        (stack(), ["1", "3"], ValueError, "no child '3'. There is 0, 1, 2"),
        (stack(), ["0", "1", "2"], ValueError, "the layer that ends at '1' has no parameters"),
        (stack(), ["1"], ValueError, "of which the last is '2'"),
        (stack(), [], ValueError, "of which the last is '2'"),
    ],
)
def test_what_is_no_stack_of_layers_is_refused(model, layers, error, match):
    with pytest.raises(error, match=match):
        layerwise.fit(model, quarters(), layers=layers, **QUICK)


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ({"beta": -1}, "beta=-1 must not be negative"),
        ({"beta": math.nan}, "beta=nan must not be negative"),
        ({"beta": [1, 2, 3]}, "beta has 3 values and the model 2 layers"),
        ({"noise": UniformNoise(width=1)}, "must be GaussianNoise"),
        ({"steps": 0}, "steps"),
        ({"steps": [1, 2, 3]}, "steps has 3 values and the model 2 layers"),
        ({"critic_steps": 0}, "critic_steps"),
        ({"warm_up": -1}, "warm_up"),
        ({"batch": 1}, "batch"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be a positive number"),
        ({"critic_learning_rate": math.inf}, "critic_learning_rate=inf"),
        ({"hidden": ()}, "hidden"),
        ({"hidden": (0,)}, "hidden"),
        ({"read_out_steps": 0}, "read_out_steps"),
        ({"read_out_decay": -1.0}, "read_out_decay=-1.0 must be a number that is not negative"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_out_of_range_are_refused(setting, match):
    with pytest.raises(ValueError, match=match):
        layerwise.fit(stack(), quarters(), **QUICK | setting)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x, y: x, "data is a ndarray: pass the pair"),
        (lambda x, y: (x, y, y), "data is a tuple: pass the pair"),
        (lambda x, y: ({"x": x}, y), "x is a dict: pass one array"),
        (lambda x, y: (x, y[:-1]), "64 inputs and 63 labels"),
        (lambda x, y: (x[:19], y[:19]), "19 rows are too few"),
        (lambda x, y: (x, x[:, 0]), "y is continuous with 1 columns"),
        (lambda x, y: (x, np.stack([y, y], 1)), "y is discrete with 2 columns"),
        (lambda x, y: (x, 0 * y), "all 64 labels are 0"),
        (lambda x, y: (x * np.float32(math.nan), y), "x holds NaN or infinity"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused(change, match):
    with pytest.raises(DataError, match=match):
        layerwise.fit(stack(), change(*quarters()), **QUICK)


def test_training_that_diverges_says_so():
    x, y = quarters()
    with pytest.raises(FloatingPointError, match="the objective of '1' is nan at step 0: lower learning_rate="):
        layerwise.fit(stack(), (x * np.float32(3e38), y), **QUICK)


# workflow


def test_a_convolutional_stack_with_norms_and_dropout():
    x = np.random.default_rng(0).normal(size=(40, 1, 6, 6)).astype(np.float32)
    y = (x.mean((1, 2, 3)) > 0).astype(int)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Conv2d(4, 3, 4))
    before = copy.deepcopy(model.state_dict())
    fitted = layerwise.fit(model, (x, y), **QUICK)
    assert fitted.network(torch.from_numpy(x)).shape == (40, 2)
    assert all(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
