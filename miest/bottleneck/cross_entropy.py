"""Cross-entropies of a stochastic network: of its decoder, H_theta[Y|Z], and of its prediction, H_theta[Y|X].

A network with dropout or noise reads one input as many latents z ~ p(z|x), and gives class probabilities to each::

    H_theta[Y|Z] = E_xy E_z  -ln p(y|z)          the mean of the losses of k passes: no bias, whatever k is
    H_theta[Y|X] = E_xy  -ln E_z p(y|z)          the loss of the mean prediction: from k passes it is too large

By Jensen's inequality the second is never above the first, and one pass makes them equal: the usual loss trains the
decoder's. Training on the mean of k losses is multi-sample dropout; on the loss of the mean, importance weighting.

Source: Kirsch, Lyle, Gal (2020), "Unpacking Information Bottlenecks", sections 3.2, D.2 and E.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, cast, get_args

from scipy.special import ndtri

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError("cross-entropies of a network need torch: pip install 'miest[torch]'.") from error

from miest.estimators.estimator import require_choice, require_integer
from miest.neural.preserved import seeded
from miest.result import Diagnostics, MIResult
from miest.samples import DataError

Kind = Literal["decoder", "prediction"]


def cross_entropy(logits: Tensor, y: Tensor, kind: Kind = "decoder") -> Tensor:
    """H_theta[Y|Z] or H_theta[Y|X] of one batch, to be minimised; in nats.

    Parameters
    ----------
    logits : (n, c) or (k, n, c) tensor     of one pass, or of k stochastic passes over the same rows
    y : (n,) integer tensor                 labels 0 to c - 1
    kind : "decoder" or "prediction"        the mean over passes of the loss, or the loss of the mean over passes

    Returns
    -------
    tensor                                  a scalar, differentiable

    Raises
    ------
    ValueError
        if the shapes do not fit
    """
    require_choice("kind", kind, get_args(Kind))
    return _losses(logits, y, kind).mean()


def error_bound(h: float | Tensor) -> float | Tensor:
    """Bound 1 - exp(-H) on the probability of a wrong label, from either cross-entropy in nats.

    Parameters
    ----------
    h : float or tensor     H_theta[Y|Z] or H_theta[Y|X]

    Notes
    -----
    Source: Kirsch et al. (2020), eq. 10.
    Differs: the label it is about is drawn from the predicted probabilities, as in the paper's proof. The most probable
        label can be wrong more often: always, where the true one has probability 0.49 of two, though the bound is 0.51.
        For it `argmax_error_bound` holds.
    """
    return -torch.expm1(-h) if isinstance(h, Tensor) else -math.expm1(-h)


def argmax_error_bound(h: float) -> float:
    """Bound H / ln 2 on the share of rows whose most probable label is wrong: each has a loss of ln 2 at least."""
    return min(1.0, h / math.log(2))


def decoder_probabilities(p: Tensor, y: Tensor, classes: int) -> Tensor:
    """Optimal decoder p(y|z) of a categorical latent, from the probabilities of its encoder.

    Parameters
    ----------
    p : (n, m) tensor       p(z|x) of every row, which sum to 1; one-hot rows for a deterministic encoder
    y : (n,) integer tensor
    classes : int           number of labels

    Returns
    -------
    (m, classes) tensor     p(y|z), differentiable in p; uniform for a category that no row can be in

    Notes
    -----
    Source: Kirsch et al. (2020), appendix E, footnote 11. It is the decoder at which H_theta[Y|Z] = H[Y|Z].
    """
    joint = _joint(p, y, classes)
    within = joint.sum(1, keepdim=True)
    return torch.where(within > 0, joint / within.clamp_min(torch.finfo(p.dtype).tiny), 1 / classes)


def decoder_uncertainty(p: Tensor, y: Tensor, classes: int) -> Tensor:
    """Exact H[Y|Z] of a categorical latent on these rows, in nats; differentiable, so that it can be trained on.

    Parameters
    ----------
    p : (n, m) tensor       p(z|x) of every row, which sum to 1
    y : (n,) integer tensor
    classes : int

    Notes
    -----
    On a batch it is too small, as few rows of a category have few labels: the batch should be large against m.
    Source: Kirsch et al. (2020), appendix E.
    """
    joint = _joint(p, y, classes)
    return torch.special.entr(joint).sum() - torch.special.entr(joint.sum(1)).sum()


def stochastic_logits(model: nn.Module, x: Tensor, k: int) -> Tensor:
    """Logits of k stochastic passes: dropout drawn anew in each, normalisation as the model's mode has it.

    Parameters
    ----------
    model : torch module    (n, ...) to (n, c)
    x : (n, ...) tensor
    k : int                 passes

    Returns
    -------
    (k, n, c) tensor        differentiable
    """
    require_integer("k", k, 1)
    with dropping(model):
        return torch.stack([model(x) for _ in range(k)])


@contextmanager
def dropping(model: nn.Module) -> Iterator[None]:
    """Switch on the dropout layers of a model, and nothing else; put them back as they were afterwards."""
    layers = [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and not m.training]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False


@dataclass(frozen=True, kw_only=True)
class CrossEntropies:
    """Both cross-entropies of a network on the same rows and passes, and what they say of its errors.

    Parameters
    ----------
    decoder : MIResult          H_theta[Y|Z], an upper bound on H[Y|Z]
    prediction : MIResult       H_theta[Y|X], an upper bound on H[Y|X]; never above `decoder`
    error : float               probability that a label drawn from the predicted probabilities is wrong
    argmax_error : float        share of rows whose most probable label, of the mean prediction, is wrong
    """

    decoder: MIResult
    prediction: MIResult
    error: float
    argmax_error: float

    @property
    def error_bound(self) -> float:
        """Bound on `error` from the prediction cross-entropy, the tighter of the two."""
        return cast("float", error_bound(self.prediction.value))

    @property
    def gap(self) -> float:
        """Difference of the two, nats: 0 for a deterministic network."""
        return self.decoder.value - self.prediction.value


def cross_entropies(
    model: nn.Module, x: Tensor, y: Tensor, *, k: int = 16, batch: int = 500, level: float = 0.95, seed: int = 0
) -> CrossEntropies:
    """Decoder and prediction cross-entropy of a trained network, with intervals over rows.

    Parameters
    ----------
    model : torch module    (n, ...) to (n, c) logits; evaluated with dropout on and all else in evaluation mode
    x : (n, ...) tensor
    y : (n,) integer tensor
    k : int                 stochastic passes over every row
    batch : int             rows at a time
    level : float           of the intervals, for another sample of rows
    seed : int              of dropout and noise; the model and torch's random stream are left as they were

    Returns
    -------
    CrossEntropies          nats

    Raises
    ------
    ValueError
        if there are fewer than two rows, or labels and logits do not fit

    Notes
    -----
    Error: none in expectation for the decoder's. From k passes the prediction's is too large by about
        E_x[Var_z p(y|z) / E_z p(y|z)^2] / 2k; `prediction.diagnostics.bias` estimates that, and it is not subtracted.
    Cost: k passes over the rows.
    Source: Kirsch et al. (2020), eq. 7, 8 and corollary 1.
    """
    require_integer("batch", batch, 1)
    if len(x) < 2 or len(x) != len(y):
        raise DataError(f"{len(x)} rows and {len(y)} labels: pass at least two rows, and one label for each.")
    parts: list[tuple[Tensor, ...]] = []
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with seeded(seed), torch.no_grad():
            for rows, labels in zip(x.split(batch), y.split(batch), strict=True):
                logits = stochastic_logits(model, rows, k)
                right = torch.exp(-_each(logits, labels)).double()  # (k, b) p(y|z)
                mean = right.mean(0)
                spread = right.var(0) / mean.clamp_min(1e-300) ** 2 if k > 1 else torch.zeros_like(mean)
                told = torch.logsumexp(logits.log_softmax(-1), 0).argmax(-1)
                parts.append(
                    (
                        _losses(logits, labels, "decoder").double(),
                        _losses(logits, labels, "prediction").double(),
                        mean,
                        spread,
                        told == labels,
                    )
                )
    finally:
        for module, mode in modes:
            module.training = mode
    decoder, prediction, mean, spread, correct = (torch.cat(column).double() for column in zip(*parts, strict=True))

    def result(losses: Tensor, quantity: str, bias: float) -> MIResult:
        value, deviation = float(losses.mean()), float(losses.std()) / math.sqrt(len(losses))
        half = float(ndtri((1 + level) / 2)) * deviation
        return MIResult(
            value=value,
            n_samples=len(losses),
            estimator=f"cross-entropy of {type(model).__name__}, {k} passes",
            quantity=quantity,
            kind="upper bound",
            interval=(value - half, value + half),
            level=level,
            diagnostics=Diagnostics(passes=k, bias=bias, standard_error=deviation),
        )

    return CrossEntropies(
        decoder=result(decoder, "H_θ[Y|Z]", 0.0),
        prediction=result(prediction, "H_θ[Y|X]", float(spread.mean()) / (2 * k)),
        error=1 - float(mean.mean()),
        argmax_error=1 - float(correct.mean()),
    )


def _each(logits: Tensor, y: Tensor) -> Tensor:
    """(k, n) losses -ln p(y|z) of every pass."""
    passes = logits if logits.ndim == 3 else logits[None]
    if passes.ndim != 3 or y.shape != passes.shape[1:2]:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} and labels of shape {tuple(y.shape)} do not fit: pass (n, c) or "
            "(k, n, c) logits and (n,) labels."
        )
    return -passes.log_softmax(-1).gather(-1, y.long().expand(len(passes), -1)[..., None])[..., 0]


def _losses(logits: Tensor, y: Tensor, kind: Kind) -> Tensor:
    """(n,) losses of every row."""
    each = _each(logits, y)
    return each.mean(0) if kind == "decoder" else math.log(len(each)) - torch.logsumexp(-each, 0)


def _joint(p: Tensor, y: Tensor, classes: int) -> Tensor:
    """(m, classes) joint probabilities of category and label."""
    if p.ndim != 2 or y.shape != p.shape[:1]:
        raise ValueError(
            f"probabilities of shape {tuple(p.shape)} and labels of shape {tuple(y.shape)} do not fit: pass (n, m) "
            "p(z|x) and (n,) labels."
        )
    return p.T @ nn.functional.one_hot(y.long(), classes).to(p.dtype) / len(p)
