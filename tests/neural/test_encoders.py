"""Encoders: which one an event gets, and what it makes of its shape.

exact       choice by shape; Radial sees the length of its input
properties  any image and any sequence, however small or lopsided; order of positions and pixels matters; eval is train
refusals    events without numbers
"""

import pytest

torch = pytest.importorskip("torch")

from miest.neural.encoders import Attention, Convolutional, Radial, encoder_for  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# exact


def test_shapes_choose() -> None:
    for shape, kind in (((4,), Radial), ((7, 3), Attention), ((3, 9, 9), Convolutional)):
        assert type(encoder_for(shape, 6, (8,))) is kind
    assert isinstance(encoder_for((2, 3, 4, 5), 6, (8,))[1], Radial)


def test_radial_is_given_the_squared_length() -> None:
    made = Radial((3, 2))
    x = torch.tensor([[1.0, 2.0, 2.0]])
    seen = torch.tensor([[1.0, 2.0, 2.0, 3.0 - 1.0]])
    torch.testing.assert_close(made(x), made.layers(seen))


def test_convolutions_stop_doubling() -> None:
    widths = [
        layer.out_channels for layer in Convolutional((3, 256, 256), 5).features if hasattr(layer, "out_channels")
    ]
    assert widths == [32, 64, 128, 256, 256, 256, 256]


# properties


@pytest.mark.parametrize(
    "shape",
    [
        (1,),
        (40,),
        (1, 1),
        (1, 5),
        (12, 1),
        (1, 1, 1),
        (3, 2, 2),
        (1, 3, 50),
        (1, 28, 28),
        (2, 1, 3, 3),
        (1, 1, 1, 1, 2),
    ],
)
def test_any_event_becomes_as_many_numbers_as_asked(shape: tuple[int, ...]) -> None:
    made = encoder_for(shape, 11, (16, 16))
    x = torch.randn(3, *shape)
    made(x).sum().backward()
    assert made(x).shape == (3, 11)
    assert all(torch.isfinite(p.grad).all() for p in made.parameters())
    with torch.no_grad():
        torch.testing.assert_close(made(x[1:2]), made(x)[1:2], atol=1e-5, rtol=1e-4)  # rows do not see each other
        training = made(x)
        torch.testing.assert_close(made.eval()(x), training, atol=1e-5, rtol=1e-4)


def test_places_matter() -> None:
    with torch.no_grad():
        for shape, axis in (((6, 2), 1), ((1, 8, 8), 2)):
            made, x = encoder_for(shape, 4, (8,)), torch.randn(2, *shape)
            assert not torch.allclose(made(x), made(x.flip(axis)), atol=1e-4)


# refusals


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_nothing_cannot_be_encoded(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="hold no numbers: pass at least one a sample"):
        encoder_for(shape, 3, (8,))
