"""Anchors: log density ratios in closed form, fitted to the training rows, for a critic to start from.

All of them see normal scores: each column sent through its own distribution function and the normal quantile, so that
margins of any shape leave the anchor as it is. Each is ln c(u, v) / (c(u) c(v)) of some density c of both arguments.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit
from torch import Tensor

from miest.neural.critics import Anchor

Matrix = NDArray[np.float64]


class GaussianAnchor(Anchor):
    """Log density ratio of two Gaussian vectors with these canonical correlations.

    Parameters
    ----------
    x, y : (d, r) array         canonical directions, so that x'u and y'v have variance 1 and only pairs i, i correlate
    correlations : (r,) array   0 to below 1
    """

    x: Tensor
    y: Tensor
    norm: Tensor

    def __init__(self, x: Matrix, y: Matrix, correlations: Matrix) -> None:
        super().__init__()
        rest = 1 - correlations**2
        self.width = len(correlations) + 1
        self.register_buffer("x", _single(x * np.sqrt(np.abs(correlations) / rest)))
        self.register_buffer("y", _single(y * np.sqrt(np.abs(correlations) / rest)))
        self.register_buffer("norm", _single(np.abs(correlations) / 2))
        self.constant = float(-np.log(rest).sum() / 4)  # half of it on either side

    def encode_x(self, x: Tensor) -> Tensor:
        """See `Critic.encode_x`."""
        return self._encode(x @ self.x)

    def encode_y(self, y: Tensor) -> Tensor:
        """See `Critic.encode_y`."""
        return self._encode(y @ self.y)

    def _encode(self, scaled: Tensor) -> Tensor:
        return torch.cat([scaled, (self.constant - scaled**2 @ self.norm)[..., None]], -1)

    def join(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.join`."""
        return (u[..., :-1] * v[..., :-1]).sum(-1) + u[..., -1] + v[..., -1]

    def cross(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.cross`."""
        return u[:, :-1] @ v[:, :-1].T + u[:, -1:] + v[:, -1]


class RadialAnchor(Anchor):
    """A Gaussian anchor of the columns and of their products with powers of the length of the row.

    A rotation by an angle that depends on the length, as a spiral is, is nearly linear in these products.

    Parameters
    ----------
    inner : GaussianAnchor          of the standardised products
    x, y : (2, (degree + 1) d) arrays     their means and standard deviations
    """

    x: Tensor
    y: Tensor

    def __init__(self, inner: GaussianAnchor, x: Matrix, y: Matrix, degree: int) -> None:
        super().__init__()
        self.inner, self.width, self.degree = inner, inner.width, degree
        self.register_buffer("x", _single(x))
        self.register_buffer("y", _single(y))

    def encode_x(self, x: Tensor) -> Tensor:
        """See `Critic.encode_x`."""
        return self.inner.encode_x((radial_products(x, self.degree) - self.x[0]) / self.x[1])

    def encode_y(self, y: Tensor) -> Tensor:
        """See `Critic.encode_y`."""
        return self.inner.encode_y((radial_products(y, self.degree) - self.y[0]) / self.y[1])

    def join(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.join`."""
        return self.inner.join(u, v)

    def cross(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.cross`."""
        return self.inner.cross(u, v)


def radial_products(rows: Tensor, degree: int) -> Tensor:
    """(n, d) rows to (n, (degree + 1) d) products with Hermite polynomials of the squared length, up to a degree of 3.

    The squared length counts in its standard deviations for normal scores, and up to two of them, so that no row far
    out decides.
    """
    far = ((rows.square().mean(1, keepdim=True) - 1) * math.sqrt(rows.shape[1] / 2)).clamp(-2, 2)
    powers = (torch.ones_like(far), far, (far**2 - 1) / math.sqrt(2), (far**3 - 3 * far) / math.sqrt(6))
    return torch.cat([rows * power for power in powers[: degree + 1]], 1)


class StudentAnchor(Anchor):
    """Log density ratio of a Student-t copula.

    Parameters
    ----------
    shape : (dx + dy, dx + dy) array    of the joint distribution of the t scores
    dx : int
    df : float                          degrees of freedom
    """

    x: Tensor
    y: Tensor
    joint_x: Tensor
    joint_y: Tensor
    margin_x: Tensor
    margin_y: Tensor
    scores: Tensor

    def __init__(self, shape: Matrix, dx: int, df: float) -> None:
        super().__init__()
        d = len(shape)
        inverse, inverse_x, inverse_y = (np.linalg.inv(a) for a in (shape, shape[:dx, :dx], shape[dx:, dx:]))
        # The cross term u' A v by its singular directions; the quadratic forms are one number a row.
        left, size, right = np.linalg.svd(inverse[:dx, dx:])
        rank = len(size)
        self.width = rank + 2
        self.df, self.d = df, d
        for name, array in (
            ("x", left[:, :rank] * np.sqrt(size)),
            ("y", right[:rank].T * np.sqrt(size)),
            ("joint_x", inverse[:dx, :dx]),
            ("joint_y", inverse[dx:, dx:]),
            ("margin_x", inverse_x),
            ("margin_y", inverse_y),
            ("scores", _student_scores(df)),
        ):
            self.register_buffer(name, _single(array))
        sides = [np.linalg.slogdet(a)[1] for a in (shape, shape[:dx, :dx], shape[dx:, dx:])]
        self.constant = float(
            -0.5 * (sides[0] - sides[1] - sides[2])
            + math.lgamma((df + d) / 2)
            + math.lgamma(df / 2)
            - math.lgamma((df + dx) / 2)
            - math.lgamma((df + d - dx) / 2)
        )

    def encode_x(self, x: Tensor) -> Tensor:
        """See `Critic.encode_x`."""
        t = self._score(x)
        return self._encode(t, t @ self.x, self.joint_x, self.margin_x, self.constant)

    def encode_y(self, y: Tensor) -> Tensor:
        """See `Critic.encode_y`."""
        t = self._score(y)
        return self._encode(t, t @ self.y, self.joint_y, self.margin_y, 0.0)

    def _encode(self, t: Tensor, crossed: Tensor, joint: Tensor, margin: Tensor, constant: float) -> Tensor:
        form = ((t @ joint) * t).sum(-1)
        own = constant + (self.df + t.shape[-1]) / 2 * torch.log1p(((t @ margin) * t).sum(-1) / self.df)
        return torch.cat([crossed, form[..., None], own[..., None]], -1)

    def join(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.join`."""
        form = u[..., -2] + v[..., -2] + 2 * (u[..., :-2] * v[..., :-2]).sum(-1)
        return self._density(form) + u[..., -1] + v[..., -1]

    def cross(self, u: Tensor, v: Tensor) -> Tensor:
        """See `Critic.cross`."""
        return self._density(u[:, -2:-1] + v[:, -2] + 2 * u[:, :-2] @ v[:, :-2].T) + u[:, -1:] + v[:, -1]

    def _density(self, form: Tensor) -> Tensor:
        return -(self.df + self.d) / 2 * torch.log1p(form.clamp_min(0) / self.df)

    def _score(self, normal: Tensor) -> Tensor:
        """Scores with t margins from normal scores, by interpolation of arsinh t."""
        place = (normal.clamp(-_FARTHEST, _FARTHEST) + _FARTHEST) * ((len(self.scores) - 1) / (2 * _FARTHEST))
        low = place.long().clamp_max(len(self.scores) - 2)
        part = place - low
        return torch.sinh(self.scores[low] * (1 - part) + self.scores[low + 1] * part)


_FARTHEST = 6.0  # normal scores beyond are taken for this


def _student_scores(df: float) -> Matrix:
    normal = np.linspace(-_FARTHEST, 0, 1025)
    lower = np.arcsinh(stdtrit(df, ndtr(normal)))
    return np.concatenate([lower, -lower[-2::-1]])


def gaussian_anchor(u: Matrix, v: Matrix, stop_u: Matrix, stop_v: Matrix) -> GaussianAnchor:
    """Fit the Gaussian copula to (u, v), its canonical correlations shrunk as suits (stop_u, stop_v) best."""
    (white_x, to_x), (white_y, to_y) = (_whitened(a) for a in (u, v))
    left, correlations, right = np.linalg.svd(white_x.T @ white_y / len(u), full_matrices=False)
    if not correlations.size:  # an argument does not vary
        return GaussianAnchor(to_x[:, :0], to_y[:, :0], correlations)
    correlations = np.minimum(correlations, 1 - 1e-6)
    x, y = to_x @ left, to_y @ right.T
    a, b = stop_u @ x, stop_v @ y
    product, square = (a * b).mean(0), (a**2 + b**2).mean(0) / 2
    best, kept = 0.0, np.zeros_like(correlations)
    for threshold in (0.0, *np.quantile(correlations**2, np.linspace(0, 1, 21))):
        rho = np.sqrt(np.maximum(correlations**2 - threshold, 0) / (1 - threshold))
        gain = float((-np.log1p(-(rho**2)) / 2 + (rho * product - rho**2 * square) / (1 - rho**2)).sum())
        if gain > best:
            best, kept = gain, rho
    return GaussianAnchor(x[:, kept > 0], y[:, kept > 0], kept[kept > 0])


def radial_anchor(u: Matrix, v: Matrix, stop_u: Matrix, stop_v: Matrix, degree: int) -> RadialAnchor:
    """Fit a Gaussian to the products of `radial_products`, shrunk as `gaussian_anchor` is."""
    sides, scales = [], []
    for rows, stop in ((u, stop_u), (v, stop_v)):
        products, held = (radial_products(torch.from_numpy(a), degree).numpy() for a in (rows, stop))
        spread = products.std(0)
        scales.append(np.stack([products.mean(0), np.where(spread > 0, spread, 1.0)]))
        sides.append([(a - scales[-1][0]) / scales[-1][1] for a in (products, held)])
    (x, held_x), (y, held_y) = sides
    return RadialAnchor(gaussian_anchor(x, y, held_x, held_y), scales[0], scales[1], degree)


def _whitened(columns: Matrix) -> tuple[Matrix, Matrix]:
    """Columns of covariance 1, and the matrix that makes them; directions without variance are left out."""
    values, vectors = np.linalg.eigh(columns.T @ columns / len(columns))
    real = values > 1e-8 * values.max(initial=0.0)
    to = vectors[:, real] / np.sqrt(values[real])
    return columns @ to, to


def student_anchor(u: Matrix, v: Matrix, df: float) -> tuple[StudentAnchor, float]:
    """Fit the t copula of these degrees of freedom; returns it and its mean log density."""
    normal = np.hstack([u, v])
    n, d = normal.shape
    t = stdtrit(df, ndtr(normal))
    shape = np.eye(d)
    for _ in range(50):
        form = (np.linalg.solve(np.linalg.cholesky(shape), t.T) ** 2).sum(0)
        new = (t * ((df + d) / (df + form))[:, None]).T @ t / n
        if np.abs(new - shape).max() < 1e-4 * np.abs(new).max():
            break
        shape = new
    root = np.linalg.cholesky(shape)
    form = (np.linalg.solve(root, t.T) ** 2).sum(0)
    joint = (
        math.lgamma((df + d) / 2) - math.lgamma(df / 2) - d / 2 * math.log(df * math.pi) - np.log(np.diag(root)).sum()
    ) - (df + d) / 2 * np.log1p(form / df)
    single = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(df * math.pi) / 2
    margins = (single - (df + 1) / 2 * np.log1p(t**2 / df)).sum(1)
    return StudentAnchor(shape, u.shape[1], df), float((joint - margins).mean())


def _single(array: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
