"""What a linear classifier on a layer leaves unknown of the label: an upper bound on H(Y|T).

For any model p(y|t), fitted on other samples than those it is scored on,

    H(Y|T) <= < -ln p(y|t) >                                              Kirsch, Lyle, Gal (2020), eq. 7

and H(Y) less that is a lower bound on I(T;Y). With p of the form softmax(W t + b) the bound is tight where a linear
head could read the label off the layer, which is what the layers after it may have to learn.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, stdtrit
from threadpoolctl import threadpool_limits

from miest.estimators.estimator import WHEN_CHANGED, Estimator, refuse_given, require_integer
from miest.estimators.subsampling import require_level
from miest.result import Diagnostics, Flag, MIResult
from miest.samples import DataError, Variable, variables

_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Weights of the data against the penalty |W|^2 / 2 that are tried, weakest first."""

_ITERATIONS = 300


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Estimator):
    """Upper bound on H(Y|T), what a layer leaves unknown of the label, by a linear classifier on held-out samples.

    Parameters
    ----------
    folds : int             the classifier is fitted on all but one of so many parts, and scored on that one
    strength : float or None
        weight of the data against the penalty on the weights; None picks a power of ten from 1e-3 to 100 by what was
        held out within the first fitting part
    level : float or None   of the interval; None makes none

    Raises
    ------
    ValueError
        if y is left out, or is continuous; if a label has no second sample

    Notes
    -----
    Error: the value is above H(Y|T) by what no linear classifier can read, and by what it could not learn from n (1 -
        1/folds) samples. The interval is that of the mean score of these samples: of the bound, not of H(Y|T).
    Cost: folds and up to 6 logistic regressions; some 0.3 s at n = 2,000, d = 512 and ten labels.
    Source: Kirsch, Lyle, Gal (2020), Unpacking information bottlenecks, eq. 7 and 8, arXiv:2003.12537.
    Differs: the classifier is fitted for the layer at hand, not the network's own head.
    """

    folds: int = 5
    strength: float | None = field(default=None, metadata=WHEN_CHANGED)
    level: float | None = field(default=0.95, metadata=WHEN_CHANGED)

    def __post_init__(self) -> None:
        require_integer("folds", self.folds, 2)
        if self.strength is not None and not 0 < self.strength < np.inf:
            raise ValueError(f"strength={self.strength!r} must be a positive number, or None to pick one.")
        require_level(self.level)

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Bound H(Y|T) of labels y given the layer x; `seed` deals the samples into parts."""
        started = perf_counter()
        refuse_given(self, given)
        if y is None:
            raise ValueError("LinearProbe needs y, the labels: it bounds what the layer leaves unknown of them.")
        t, labels = variables(x=x, y=y, at_least=2 * self.folds, needed_by=f"folds={self.folds}")
        if not labels.is_discrete:
            raise DataError("y holds continuous values, and LinearProbe needs labels: wrap classes in miest.discrete.")
        doubts = []
        counts = labels.symbol_counts
        if len(counts) == 1:
            doubts.append((Flag.CONSTANT, f"y has the same value in all {t.n} samples: nothing is unknown of it."))
        rare = int((counts < 2 * self.folds).sum())
        if rare:
            doubts.append(
                (
                    Flag.SMALL_SAMPLE,
                    f"{rare} of the {len(counts)} labels have fewer than {2 * self.folds} samples, from which no "
                    "classifier learns them: merge them, or pass more samples.",
                )
            )
        with threadpool_limits(
            limits=1
        ):  # matrices are small: threads would cost more than they bring, and change bits
            scores, hits, strength, unfinished = _held_out(t, labels, self.folds, self.strength, seed)
        notes = [note for _, note in doubts]
        if unfinished:
            notes.append(f"{unfinished} of {self.folds} fits stopped after {_ITERATIONS} iterations: a looser bound.")
        value, error = float(scores.mean()), float(scores.std(ddof=1) / np.sqrt(t.n))
        reach = None if self.level is None else float(stdtrit(t.n - 1, (1 + self.level) / 2)) * error
        p = counts / t.n
        h_y = float(-(p * np.log(p)).sum()) + 0.0
        return MIResult(
            value=value,
            n_samples=t.n,
            estimator=self,
            quantity="H(Y|T)",
            kind="upper bound",
            interval=None if reach is None else (value - reach, value + reach),
            level=self.level or 0.95,
            flags=tuple(flag for flag, _ in doubts),
            notes=tuple(notes),
            diagnostics=Diagnostics(
                accuracy=float(hits.mean()), h_y=h_y, information=h_y - value, strength=strength, standard_error=error
            ),
            seconds=perf_counter() - started,
        )


def _held_out(
    t: Variable, labels: Variable, folds: int, strength: float | None, seed: int | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_], float, int]:
    """Of each sample -ln p(y|t) by a classifier that did not see it, and whether it was right.

    Then the strength that was taken, and how many fits did not converge.
    """
    part = _parts(labels, folds, seed)
    columns = t.numbers[:, t.varying] if t.varying.any() else np.zeros((t.n, 1), np.float32)
    codes = labels.symbols
    scores, hits, unfinished = np.empty(t.n), np.empty(t.n, np.bool_), 0
    for fold in range(folds):
        fit, held = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
        if strength is None:
            inner = part[fit] == (fold + 1) % folds
            strength = _best_strength(columns, codes, fit[~inner], fit[inner])
        for _, found, right, done in _scored(columns, codes, fit, held, [strength]):
            scores[held], hits[held] = found, right
            unfinished += not done
    assert strength is not None
    return scores, hits, strength, unfinished


def _parts(labels: Variable, folds: int, seed: int | None) -> NDArray[np.intp]:
    """(n,) the part of each sample: every label is spread evenly, so that few labels lack a part."""
    rng = np.random.default_rng(0 if seed is None else seed)
    order = rng.permutation(labels.n)
    order = order[np.argsort(labels.symbols[order], kind="stable")]
    part = np.empty(labels.n, np.intp)
    part[order] = np.arange(labels.n) % folds
    return part


def _best_strength(
    columns: NDArray[np.floating], codes: NDArray[np.intp], fit: NDArray[np.intp], held: NDArray[np.intp]
) -> float:
    """The strength with the least held-out score; from weak to strong, each fit begins where the last one ended."""
    best, least = _STRENGTHS[0], np.inf
    for strength, found, _, _ in _scored(columns, codes, fit, held, _STRENGTHS):
        if found.mean() > least:
            break  # beyond the best one, scores only rise
        best, least = strength, float(found.mean())
    return best


def _scored(
    columns: NDArray[np.floating],
    codes: NDArray[np.intp],
    fit: NDArray[np.intp],
    held: NDArray[np.intp],
    strengths: Any,
) -> Iterator[tuple[float, NDArray[np.float64], NDArray[np.bool_], bool]]:
    """For each strength the scores of the held-out samples, whether they were right, and whether the fit converged."""
    from sklearn.linear_model import LogisticRegression

    rows = columns[fit]
    mean = rows.mean(axis=0, dtype=np.float64).astype(rows.dtype)
    spread = rows.std(axis=0, dtype=np.float64).astype(rows.dtype)
    spread[spread == 0] = 1
    rows, others = (rows - mean) / spread, (columns[held] - mean) / spread
    known = np.unique(codes[fit])
    place = np.searchsorted(known, codes[held])
    place[place == len(known)] = 0
    seen = known[place] == codes[held]
    # A label that was not seen has the probability that one more sample has by Laplace's rule.
    unseen = -np.log(1 / (len(fit) + len(known) + 1))
    if len(known) == 1:
        yield strengths[0], np.where(seen, 0.0, unseen), seen, True
        return
    model = LogisticRegression(C=1.0, max_iter=_ITERATIONS, tol=1e-4, warm_start=True)
    for strength in strengths:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it would say is in the notes
            model.fit(rows, codes[fit])
        logits = model.decision_function(others).astype(np.float64)
        if logits.ndim == 1:  # of the second of two labels, against the first
            logits = np.column_stack([np.zeros_like(logits), logits])
        told = log_softmax(logits, axis=1)  # not the logarithm of a probability, which may be 0
        found = np.where(seen, -told[np.arange(len(held)), place], unseen)
        yield strength, found, seen & (told.argmax(axis=1) == place), bool(model.n_iter_.max() < _ITERATIONS)
