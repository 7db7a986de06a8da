"""The curvature of a loss against its whole Hessian, and the bound on the information in the weights."""

import math

import pytest

torch = pytest.importorskip("torch")

from miest.bottleneck.flatness import curvature, flat_minimum_bound, flat_minimum_information  # noqa: E402

COEFFICIENTS = torch.tensor([3.0, -1.0, 0.5, 2.0, -4.0], dtype=torch.float64)


def bowl(w, coefficients=COEFFICIENTS):
    """Hessian diag(coefficients)."""
    return lambda: (coefficients * w.square()).sum() / 2


@pytest.fixture(scope="module")
def network():
    """A network of 61 parameters, its loss summed over 30 samples, and the whole Hessian."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (30,), generator=generator)
    sizes = [(6, 4), (6,), (3, 6), (3,), (7,), (3,)]  # the seven are unused, the last three enter linearly
    parts = [torch.randn(size, generator=generator, dtype=torch.float64) * 0.5 for size in sizes]

    def loss_of(a, b, c, d, _, linear):
        logits = torch.tanh(x @ a.T + b) @ c.T + d
        return torch.nn.functional.cross_entropy(logits, y, reduction="sum") + linear.sum()

    def flat_loss(flat):
        pieces = [
            piece.reshape(size) for piece, size in zip(flat.split([p.numel() for p in parts]), sizes, strict=True)
        ]
        return loss_of(*pieces)

    hessian = torch.autograd.functional.hessian(flat_loss, torch.cat([p.reshape(-1) for p in parts]))
    weights = [p.clone().requires_grad_() for p in parts]
    return (lambda: loss_of(*weights)), weights, hessian


# exact


def test_of_a_diagonal_hessian_every_direction_gives_the_exact_sums():
    w = torch.ones(5, dtype=torch.float64, requires_grad=True)
    found = curvature(bowl(w), [w], draws=2)
    assert found.trace == pytest.approx(0.5, abs=1e-12)
    assert found.nuclear_norm == pytest.approx(10.5, abs=1e-12)
    assert found.trace_stderr == pytest.approx(0, abs=1e-12)
    assert (found.parameters, found.draws, found.steps) == (5, 2, 5)


def test_a_loss_without_curvature_has_none():
    w = torch.ones(4, requires_grad=True)
    found = curvature(lambda: w.sum(), [w], draws=3)
    assert (found.trace, found.nuclear_norm) == (0, 0)


def test_the_bound_of_the_proof():
    assert flat_minimum_information(3.0, 5.0, 4, 0.5) == pytest.approx(
        0.5 * 4 * (math.log(3.0) + math.log(5.0) - math.log(4**2 * 0.5 / 2))
    )


def test_for_equal_weights_and_curvatures_the_tighter_bound_is_the_information_of_the_best_noise():
    w = torch.full((6,), -1.5, dtype=torch.float64, requires_grad=True)
    found = flat_minimum_bound(bowl(w, torch.full((6,), 8.0, dtype=torch.float64)), [w], beta=0.4)
    alpha = 0.4 / (1.5**2 * 8)  # minimises 1/2 alpha w^2 h - beta/2 ln alpha
    assert found.tighter == pytest.approx(-3 * math.log(alpha), rel=1e-12)
    assert found.bound == pytest.approx(found.tighter + 3 * math.log(2), rel=1e-12)
    assert found.squared_norm == pytest.approx(6 * 1.5**2)


# properties


def test_the_same_seed_gives_the_same_numbers(network):
    loss, weights, _ = network
    assert curvature(loss, weights, draws=3, seed=1) == curvature(loss, weights, draws=3, seed=1)
    assert curvature(loss, weights, draws=3, seed=1) != curvature(loss, weights, draws=3, seed=2)


def test_units_of_the_loss_and_of_beta_cancel(network):
    loss, weights, _ = network
    one = flat_minimum_bound(loss, weights, beta=0.5, draws=4)
    ten = flat_minimum_bound(lambda: 10 * loss(), weights, beta=5.0, draws=4)
    assert one.bound == pytest.approx(ten.bound, rel=1e-9)


# truth


def test_trace_and_nuclear_norm_are_those_of_the_whole_hessian(network):
    loss, weights, hessian = network
    values = torch.linalg.eigvalsh(hessian)
    found = curvature(loss, weights, draws=60, steps=61)
    assert (values < -0.1).any()  # so that the two sums differ
    assert abs(found.trace - values.sum().item()) < 4 * found.trace_stderr
    assert abs(found.nuclear_norm - values.abs().sum().item()) < 4 * found.nuclear_norm_stderr
    off = hessian - torch.diag(hessian.diagonal())
    assert found.trace_stderr == pytest.approx(math.sqrt(2 * off.square().sum().item() / 60), rel=0.4)
    assert found.nuclear_norm_stderr < 0.05 * found.nuclear_norm


def test_thirty_lanczos_steps_are_enough(network):
    loss, weights, _ = network
    few, all_of_them = (curvature(loss, weights, draws=10, steps=steps) for steps in (30, 61))
    assert few.nuclear_norm == pytest.approx(all_of_them.nuclear_norm, rel=0.01)
    assert few.trace == pytest.approx(all_of_them.trace, rel=1e-9)


def test_the_bound_is_above_the_information_of_the_best_noise():
    generator = torch.Generator().manual_seed(3)
    w = torch.randn(40, generator=generator, dtype=torch.float64).requires_grad_()
    mixing = torch.randn(40, 40, generator=generator, dtype=torch.float64)
    hessian = mixing @ mixing.T
    centre = w.detach().clone()
    found = flat_minimum_bound(lambda: (w - centre) @ hessian @ (w - centre) / 2, [w], beta=0.7, draws=64)
    information = 0.5 * torch.log(centre.square() * hessian.diagonal() / 0.7).sum().item()
    assert information < found.tighter < found.bound


# refusals


def test_what_has_no_curvature_is_refused():
    w = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match=r"there are no parameters"):
        curvature(lambda: w.sum(), [])
    with pytest.raises(ValueError, match=r"must be one finite number"):
        curvature(lambda: w * 2, [w])
    with pytest.raises(ValueError, match=r"must be one finite number"):
        curvature(lambda: w.sum() * math.nan, [w])
    with pytest.raises(ValueError, match=r"draws=1 must be an integer of at least 2"):
        curvature(lambda: w.sum(), [w], draws=1)


@pytest.mark.parametrize("name", ["squared_norm", "nuclear_norm", "beta"])
def test_a_bound_of_no_positive_number_is_refused(name):
    given = {"squared_norm": 1.0, "nuclear_norm": 1.0, "parameters": 2, "beta": 1.0}
    with pytest.raises(ValueError, match=rf"{name}=0.0 must be positive and finite"):
        flat_minimum_information(**{**given, name: 0.0})
