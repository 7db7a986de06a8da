"""What comes before a critic: columns on a common scale, fitted to the training rows."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from torch import Tensor, nn

_KNOTS = 1024
_VALUES_AT_ONCE = 2**22  # of which several copies are made on the way


class NormalScores(nn.Module):
    """Each column through its own distribution function and the normal quantile, interpolated between rows.

    Parameters
    ----------
    rows : (n, ...) array       what the distribution functions are those of
    """

    knots: Tensor
    marks: Tensor

    def __init__(self, rows: NDArray[np.floating]) -> None:
        super().__init__()
        n, d = len(rows), int(np.prod(rows.shape[1:]))
        rows = rows.reshape(n, d)
        picked = np.arange(n)
        if n > _KNOTS:
            # Knots are equally far apart in the score, so that the outermost rows of each tail are all there.
            reach = float(-ndtri(0.5 / n))
            places = np.linspace(-reach, reach, _KNOTS)
            picked = np.unique(np.clip(np.rint(ndtr(places) * n - 0.5), 0, n - 1).astype(np.intp))
        values = np.sort(rows, axis=0)[picked].T  # (d, knots)
        scores = ndtri((picked + 0.5) / n)
        knots = np.full((d, len(picked) + 1), np.inf)
        marks = np.zeros((d, len(picked) + 1))
        for column in range(d):
            unique, code, count = np.unique(values[column], return_inverse=True, return_counts=True)
            k = len(unique)
            knots[column, :k] = unique
            marks[column, :k] = np.bincount(code, scores) / count
            marks[column, k:] = marks[column, k - 1]
        self.register_buffer("knots", torch.from_numpy(knots.astype(rows.dtype)))
        self.register_buffer("marks", torch.from_numpy(marks.astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        """(b, ...) to (b, ...) float32 scores."""
        at_once = max(1, _VALUES_AT_ONCE // max(1, self.knots.shape[0]))
        if len(x) > at_once:
            return torch.cat([self(rows) for rows in x.split(at_once)])
        columns = x.to(self.knots.dtype).flatten(1).T.contiguous()
        high = torch.searchsorted(self.knots, columns, right=True).clamp(1, self.knots.shape[1] - 1)
        low_x, high_x = self.knots.gather(1, high - 1), self.knots.gather(1, high)
        part = ((columns - low_x) / (high_x - low_x)).clamp(0, 1).nan_to_num(0.0).float()
        low_s, high_s = self.marks.gather(1, high - 1), self.marks.gather(1, high)
        return (low_s + part * (high_s - low_s)).T.reshape(x.shape)


class Standard(nn.Module):
    """Subtract the mean and divide by the standard deviation of the rows given.

    Parameters
    ----------
    rows : (n, ...) array
    per_column : bool       False leaves the values as they are, in float32
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, rows: NDArray[np.floating], *, per_column: bool = True) -> None:
        super().__init__()
        spread = rows.std(0, dtype=np.float64) if per_column else np.ones(rows.shape[1:])
        mean = rows.mean(0, dtype=np.float64) if per_column else np.zeros(rows.shape[1:])
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("spread", torch.from_numpy(np.where(spread > 0, spread, 1.0)))

    def forward(self, x: Tensor) -> Tensor:
        """(b, ...) to (b, ...) float32."""
        return ((x - self.mean) / self.spread).float()
