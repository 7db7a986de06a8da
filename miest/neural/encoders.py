"""Encoders of one argument, matched to the shape of its events: vectors, images, sequences."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from miest.neural.critics import Activation, perceptron


class Convolutional(nn.Module):
    """Images (b, c, h, w) to (b, width): strided convolutions, then a linear layer of what is left of the image.

    Parameters
    ----------
    shape : (c, h, w)
    width : int
    channels : int          of the first convolution; each later one has twice as many, up to eight times
    """

    def __init__(self, shape: Sequence[int], width: int, channels: int = 32, activation: Activation = nn.ReLU) -> None:
        super().__init__()
        inner, size, most = shape[0], min(shape[1:]), 8 * channels
        layers: list[nn.Module] = []
        while size >= 4 or not layers:
            layers += [nn.Conv2d(inner, channels, 3, stride=2, padding=1), activation()]
            inner, channels, size = channels, min(2 * channels, most), (size + 1) // 2
        self.features = nn.Sequential(*layers)
        with torch.no_grad():
            flat = self.features(torch.zeros(1, *shape)).numel()
        self.last = nn.Linear(flat, width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) to (b, width)."""
        return self.last(self.features(x).flatten(1))


class Attention(nn.Module):
    """Sequences (b, length, c) to (b, width): two layers of self-attention, then the mean over positions.

    Parameters
    ----------
    shape : (length, c)
    width : int
    features : int          of a position
    heads : int
    """

    def __init__(self, shape: Sequence[int], width: int, features: int = 64, heads: int = 4) -> None:
        super().__init__()
        length, channels = shape
        self.embed = nn.Linear(channels, features)
        self.place = nn.Parameter(torch.randn(length, features) * features**-0.5)
        layer = nn.TransformerEncoderLayer(features, heads, 2 * features, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.last = nn.Linear(features, width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, length, c) to (b, width)."""
        return self.last(self.layers(self.embed(x) + self.place).mean(1))


class Radial(nn.Module):
    """A perceptron that is also given the squared length of its input, which few layers make badly from coordinates.

    Parameters
    ----------
    widths : sequence of int    of the input, the hidden layers and the output
    activation : () -> Module
    """

    def __init__(self, widths: Sequence[int], activation: Activation = nn.SiLU) -> None:
        super().__init__()
        self.layers = perceptron((widths[0] + 1, *widths[1:]), activation)

    def forward(self, x: Tensor) -> Tensor:
        """(b, d) to (b, width)."""
        return self.layers(torch.cat([x, x.square().mean(1, keepdim=True) - 1], 1))


def encoder_for(shape: Sequence[int], width: int, hidden: Sequence[int]) -> nn.Module:
    """An encoder of events of this shape into `width` numbers.

    Parameters
    ----------
    shape : of one sample: (d,) a vector, (length, c) a sequence, (c, h, w) an image; others are flattened
    width : int
    hidden : sequence of int    widths of the hidden layers of a perceptron

    Raises
    ------
    ValueError
        if the shape is empty
    """
    if not shape or 0 in shape:
        raise ValueError(f"events of shape {tuple(shape)} hold no numbers: pass at least one a sample.")
    if len(shape) == 1:
        return Radial((*shape, *hidden, width))
    if len(shape) == 2:
        return Attention(shape, width)
    if len(shape) == 3:
        return Convolutional(shape, width)
    total = int(torch.Size(shape).numel())
    return nn.Sequential(nn.Flatten(), Radial((total, *hidden, width)))
