"""Critics: a pair scored alone, in a row, and in a table of all pairs.

exact       joint is one perceptron on both arguments, bilinear a form, the Gaussian density of CLUB; anchored starts at
            its anchor and can leave it
properties  table, rows and pairs are the same numbers, for vectors, sequences and images
refusals    kinds that do not exist
"""

import math

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")

from miest.neural.anchors import GaussianAnchor  # noqa: E402
from miest.neural.critics import Anchored, Bilinear, ConditionalGaussian, Critic, Joint, Separable, perceptron  # noqa: E402
from miest.neural.model import critic_for  # noqa: E402

SHAPES = {
    "vectors": ((5,), (3,)),
    "sequences": ((6, 2), (4, 3)),
    "images": ((1, 8, 8), (3, 6, 9)),
    "mixed": ((3,), (2, 8, 8)),
}
KINDS = ("joint", "separable", "bilinear", "anchored")


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def an_anchor(dx: int, dy: int) -> GaussianAnchor:
    return GaussianAnchor(np.eye(dx, 2), np.eye(dy, 2), np.array([0.8, -0.5]))


def critic(kind: str, x: tuple[int, ...], y: tuple[int, ...]) -> Critic:
    anchor = an_anchor(math.prod(x), math.prod(y)) if kind == "anchored" else None
    return critic_for(kind, x, y, hidden=(16,), features=4, anchor=anchor)


def rows(n: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(n, *shape)


# exact


def test_joint_is_a_perceptron_on_both_arguments() -> None:
    made = Joint(torch.nn.Identity(), torch.nn.Identity(), 3, 2, hidden=(7, 5))
    x, y = rows(4, (3,)), rows(4, (2,))
    first = torch.nn.Linear(5, 7)
    first.weight.data = torch.cat([made.first_x.weight, made.first_y.weight], 1)
    first.bias.data = made.first_x.bias
    torch.testing.assert_close(made(x, y), made.rest(first(torch.cat([x, y], 1)))[:, 0])
    limit = 5**-0.5  # what torch gives a layer of five inputs
    assert 0.8 * limit < first.weight.abs().max() <= limit


def test_bilinear_and_separable_are_products() -> None:
    x, y = rows(4, (3,)), rows(6, (2,))
    form = Bilinear(torch.nn.Identity(), torch.nn.Identity(), 3, 2)
    torch.testing.assert_close(form.table(x, y), x @ form.x[1].weight.T @ y.T)
    product = Separable(torch.nn.Linear(3, 5), torch.nn.Linear(2, 5))
    torch.testing.assert_close(product.table(x, y), product.x(x) @ product.y(y).T)


def test_conditional_gaussian_is_the_log_density() -> None:
    net = torch.nn.Linear(3, 4)
    made = ConditionalGaussian(net)
    x, y = rows(6, (3,)), rows(6, (2,))
    mean, log_variance = (a.detach().double() for a in net(x).chunk(2, 1))
    std = torch.exp(4 * torch.tanh(log_variance / 8))
    expected = stats.norm(mean.numpy(), std.numpy()).logpdf(y.numpy()).sum(1)
    assert made(x, y).detach().numpy() == pytest.approx(expected, abs=1e-4)


def test_a_variance_is_kept_from_nought() -> None:
    net = torch.nn.Linear(1, 2)
    torch.nn.init.constant_(net.bias, -1e6)
    assert torch.isfinite(ConditionalGaussian(net)(rows(5, (1,)), rows(5, (1,)))).all()


@pytest.mark.parametrize(("x", "y"), SHAPES.values(), ids=SHAPES)
def test_anchored_starts_at_its_anchor_and_can_leave_it(x: tuple[int, ...], y: tuple[int, ...]) -> None:
    made = critic("anchored", x, y)
    assert isinstance(made, Anchored)
    a, b = rows(5, x), rows(5, y)
    torch.testing.assert_close(made(a, b), made.anchor(a.flatten(1), b.flatten(1)))
    torch.testing.assert_close(made.table(a, b), made.anchor.table(a.flatten(1), b.flatten(1)))
    assert not [name for name, p in made.anchor.named_parameters() if p.requires_grad]
    made.table(a, b).square().sum().backward()
    gradients = {name: float(p.grad.abs().max()) for name, p in made.named_parameters() if p.requires_grad}
    width = made.anchor.width
    last = [layer for layer in made.x.modules() if isinstance(layer, torch.nn.Linear)][-1]
    assert last.weight.grad[:width].abs().max() > 0  # the corrections learn
    assert last.weight.grad[width:].abs().max() > 0  # and so do the further features
    assert gradients


def test_perceptrons_end_in_a_linear_layer() -> None:
    layers = perceptron((3, 8, 8, 2), torch.nn.Tanh)
    assert [type(layer).__name__ for layer in layers] == ["Linear", "Tanh", "Linear", "Tanh", "Linear"]
    assert [layer.out_features for layer in layers if isinstance(layer, torch.nn.Linear)] == [8, 8, 2]


# properties


@pytest.mark.parametrize(("x", "y"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_table_rows_and_pairs_agree(kind: str, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    made = critic(kind, x, y)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2) if parameter.requires_grad else None
    a, b = rows(5, x), rows(7, y)
    with torch.no_grad():
        table = made.table(a, b)
        assert table.shape == (5, 7)
        one_by_one = torch.stack([made(a[i : i + 1].expand(7, *x), b) for i in range(5)])
        torch.testing.assert_close(table, one_by_one, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(made(a, b[:5]), table[:, :5].diagonal(), atol=1e-4, rtol=1e-4)
        u, v = made.encode_x(a), made.encode_y(b)
        picked = torch.tensor([[1, 6], [0, 0], [2, 5], [3, 4], [6, 1]])
        torch.testing.assert_close(made.join(u[:, None], v[picked]), table.gather(1, picked), atol=1e-4, rtol=1e-4)


def test_conditional_density_takes_images_of_y() -> None:
    made = critic_for("conditional-gaussian", (3,), (2, 4), hidden=(8,))
    assert made.table(rows(4, (3,)), rows(6, (2, 4))).shape == (4, 6)


# refusals


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"critic='concatenated' must be one of 'anchored', 'joint'"):
        critic_for("concatenated", (2,), (2,))
    with pytest.raises(ValueError, match="an anchored critic needs anchor="):
        critic_for("anchored", (2,), (2,))
