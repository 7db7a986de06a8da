"""What a cross-entropy says of I(Y;L): the chain of bounds through a decoder and a decision rule.

A decoder gives Ytilde = h(L), and a decision rule q(y | ytilde). With C the cross-entropy of Y under what is predicted
(Amjad & Geiger 2020, section 9)::

I(Y;L) >= I(Y;Ytilde) >= H(Y) - C(q(Y | Ytilde))        and        C(E[q(Y | Ytilde) | L]) <= C(q(Y | Ytilde))

The first step is what the decoder loses, the second what the decision rule misses. The prediction from L is the mean
over a stochastic decoder's outputs, and the bound by it, H(Y) - C(E[q | L]) <= I(Y;L), is tighter; for a deterministic
decoder both are the same.
"""

import math
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from miest.bottleneck.tables import Table, information_of, joint_table
from miest.estimators.discrete import PlugIn
from miest.result import Diagnostics, Flag, MIResult
from miest.samples import DataError, discrete, variables

Array = NDArray[np.float64]

_SUM = 1e-5  # of probabilities that a network gives in float32


@dataclass(frozen=True, kw_only=True)
class PrecisionChain:
    """Every term of the chain for a table of Y and L, a decoder and a decision rule, exact, nats.

    Parameters
    ----------
    entropy : float                 H(Y)
    representation : float          I(Y;L)
    output : float                  I(Y;Ytilde)
    cross_entropy : float           C(E[q(Y | Ytilde) | L]), of the prediction from L
    output_cross_entropy : float    C(q(Y | Ytilde)), of the prediction from the output
    """

    entropy: float
    representation: float
    output: float
    cross_entropy: float
    output_cross_entropy: float

    @property
    def bound(self) -> float:
        """H(Y) - C of the prediction from L: at most I(Y;L)."""
        return self.entropy - self.cross_entropy

    @property
    def output_bound(self) -> float:
        """H(Y) - C of the prediction from the output: at most I(Y;Ytilde)."""
        return self.entropy - self.output_cross_entropy

    @property
    def lost_by_decoder(self) -> float:
        """I(Y;L) - I(Y;Ytilde) = I(Y;L | Ytilde), at least 0."""
        return self.representation - self.output

    @property
    def lost_by_rule(self) -> float:
        """KL(p(Y | Ytilde) || q(Y | Ytilde)), at least 0: I(Y;Ytilde) less its bound."""
        return self.output - self.output_bound


def precision_chain(table: ArrayLike | Table, decoder: ArrayLike, rule: ArrayLike) -> PrecisionChain:
    """The chain of bounds on I(Y;L) for a discrete L, exact.

    Parameters
    ----------
    table : (n_l, n_y) array-like or Table      joint distribution of L and Y: probabilities or counts
    decoder : (n_l, n_out) array-like           p(ytilde | l); rows of zeros and a one for a deterministic decoder
    rule : (n_out, n_y) array-like              q(y | ytilde)

    Returns
    -------
    PrecisionChain      nats; cross-entropies are infinite where what happens was thought impossible

    Raises
    ------
    ValueError
        if shapes do not fit, or rows are not probabilities

    Notes
    -----
    Source: Amjad, Geiger (2020), doi:10.1109/TPAMI.2019.2909031, eq. 20-26.
    """
    checked = joint_table(table)
    n_l, n_y = checked.joint.shape
    through = _probabilities("decoder", decoder)
    if through.ndim != 2 or len(through) != n_l:
        raise DataError(f"a decoder of {n_l} values of L has shape ({n_l}, outputs); this has {through.shape}.")
    decided = _probabilities("rule", rule)
    if decided.shape != (through.shape[1], n_y):
        raise DataError(f"a rule has shape ({through.shape[1]}, {n_y}), outputs by classes; this has {decided.shape}.")
    output = through.T @ checked.joint
    return PrecisionChain(
        entropy=checked.entropy_y,
        representation=checked.information,
        output=information_of(output),
        cross_entropy=_cross_entropy(checked.joint, through @ decided),
        output_cross_entropy=_cross_entropy(output, decided),
    )


@dataclass(frozen=True, kw_only=True)
class PrecisionBounds:
    """Lower bounds on I(Y;L) and I(Y;Ytilde) from samples.

    Parameters
    ----------
    representation : MIResult       lower bound on I(Y;L), from the mean of the predictions for each sample of L
    output : MIResult               lower bound on I(Y;Ytilde), from each prediction by itself; never the larger one
    """

    representation: MIResult
    output: MIResult


def precision_bounds(labels: ArrayLike, predicted: ArrayLike, *, level: float = 0.95) -> PrecisionBounds:
    """Lower bounds on the information that a layer has of the class, from the cross-entropy of predictions.

    Parameters
    ----------
    labels : (n,) int                           classes, columns of `predicted`
    predicted : (n, classes) or (n, k, classes) q(y | ytilde) for each sample of L: one, for a deterministic decoder, or
                                                k outputs of a stochastic one for the same l
    level : float                               of the intervals

    Returns
    -------
    PrecisionBounds     results in nats of kind "lower bound"

    Raises
    ------
    ValueError
        if shapes do not fit, labels are no columns, or rows are not probabilities

    Notes
    -----
    Predictions must be for rows that the network was not trained on: on those it was, the cross-entropy is too small
    and the "bound" is none.
    Error: in the mean over rows, by its standard error; H(Y) is that of the labels given, corrected for few samples.
        The mean of k outputs stands for that of all: with k small the bound is looser, and still a bound.
    Interval: normal, by the standard error of the cross-entropy.
    Source: Amjad, Geiger (2020), eq. 21, 24 and 26.
    """
    started = perf_counter()
    if not 0 < level < 1:
        raise ValueError(f"level={level!r} must be between 0 and 1.")
    q = _probabilities("predicted", predicted)
    q = q[:, None] if q.ndim == 2 else q
    if q.ndim != 3:
        raise DataError(f"predictions have shape (n, classes) or (n, k, classes); these have {np.shape(predicted)}.")
    codes = np.asarray(labels)
    if codes.dtype.kind not in "iu" or codes.ndim != 1 or (codes < 0).any() or (codes >= q.shape[2]).any():
        raise DataError(f"labels are whole numbers from 0 to {q.shape[2] - 1}, the columns of the predictions.")
    variables(x=q.reshape(len(q), -1), y=discrete(codes))
    of_label = np.take_along_axis(q, codes[:, None, None], axis=2)[..., 0]  # (n, k)
    with np.errstate(divide="ignore"):
        surprise = {"I(Y;L)": -np.log(of_label.mean(1)), "I(Y;Ytilde)": -np.log(of_label).mean(1)}
    entropy = PlugIn().estimate(codes)
    results = [_bound(name, loss, entropy, q.shape, level, started) for name, loss in surprise.items()]
    return PrecisionBounds(representation=results[0], output=results[1])


def _bound(
    quantity: str, loss: Array, entropy: MIResult, shape: tuple[int, ...], level: float, started: float
) -> MIResult:
    """H(Y) less the mean of a loss."""
    n = len(loss)
    possible = bool(np.isfinite(loss).all())
    mean = float(loss.mean()) if possible else math.inf
    stderr = float(loss.std(ddof=1)) / math.sqrt(n) if possible else math.nan
    reach, value = float(ndtri((1 + level) / 2)) * stderr, entropy.value - mean
    doubts = list(zip(entropy.flags, entropy.notes, strict=False))
    if not possible:
        doubts.append(
            (
                Flag.UNBOUNDED_VARIANCE,
                f"{int(np.isinf(loss).sum())} of {n} labels had probability 0: the cross-entropy is infinite and says "
                "nothing. Keep predictions away from 0.",
            )
        )
    return MIResult(
        value=value,
        n_samples=n,
        estimator="cross-entropy of predictions",
        quantity=quantity,
        kind="lower bound",
        interval=(value - reach, value + reach) if possible else None,
        level=level,
        ceiling=entropy.value,
        flags=tuple(flag for flag, _ in doubts),
        notes=tuple(note for _, note in doubts),
        diagnostics=Diagnostics(
            entropy=entropy.value,
            cross_entropy=mean,
            stderr=stderr,
            outputs=shape[1],
            classes=shape[2],
            interval_method="normal",
        ),
        seconds=perf_counter() - started,
    )


def _probabilities(name: str, given: ArrayLike) -> Array:
    """Numbers whose last axis sums to 1, in float64."""
    values = np.asarray(given, np.float64)
    sums = values.sum(-1) if values.ndim else np.zeros(1)
    if not np.isfinite(values).all() or (values < 0).any() or not np.allclose(sums, 1, atol=_SUM):
        raise DataError(
            f"{name} holds probabilities that sum to 1 along the last axis; the sums found are "
            f"{float(np.min(sums)):.6g} to {float(np.max(sums)):.6g}. Pass a softmax, not its logits."
        )
    return np.asarray(values / sums[..., None])


def _cross_entropy(joint: Array, predicted: Array) -> float:
    """-sum p(a, y) ln q(y | a), nats."""
    seen = joint > 0
    with np.errstate(divide="ignore"):
        return -float((joint[seen] * np.log(predicted[seen])).sum())
