"""From rows to a trained critic: scales, an anchor where one helps, the critic for the shapes, and the training."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from miest.neural.anchors import gaussian_anchor, radial_anchor, student_anchor
from miest.neural.bounds import Bound, DonskerVaradhan, Scores
from miest.neural.critics import Anchor, Anchored, Bilinear, ConditionalGaussian, Critic, Joint, Separable
from miest.neural.encoders import encoder_for
from miest.neural.pairs import Split
from miest.neural.scale import NormalScores, Standard
from miest.neural.split import Rows
from miest.neural.train import History, Progress, Training, judge, train

CriticFactory = Callable[[tuple[int, ...], tuple[int, ...]], Critic]

CRITICS = ("anchored", "joint", "separable", "bilinear")
SCALES = ("normal", "standard", "none")

_WIDEST_ANCHOR = 2048  # columns of either argument; their covariance is fitted
_WIDEST_FLOOR, _ROWS_FOR_FLOOR = 512, 20_000  # columns of either argument, and rows: a second or so
_WIDEST_STUDENT = 300  # columns of both together
_WIDEST_RADIAL = 512  # columns of either argument's products with powers of its length
_TO_STOP, _TO_REPORT = 32, 128  # marginal pairs a row on held-out rows, for critics without a cheap table
_ROWS_IN_TABLE = 4000  # held-out rows up to which every pair is scored; beyond, so many marginal pairs a row


@dataclass(frozen=True)
class Fitted:
    """A trained critic with the scales in front of it.

    Parameters
    ----------
    x, y : nn.Module        scales
    critic : Critic         on scaled rows
    history : History
    anchor : str            what training started from
    shapes : of one event of x and of y
    """

    x: nn.Module
    y: nn.Module
    critic: Critic
    history: History
    anchor: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]]


def critic_for(
    kind: str,
    x: Sequence[int],
    y: Sequence[int],
    *,
    hidden: Sequence[int] = (256, 256),
    features: int = 32,
    anchor: Anchor | None = None,
) -> Critic:
    """A critic for events of these shapes.

    Parameters
    ----------
    kind : str              "anchored", "joint", "separable", "bilinear" or "conditional-gaussian"
    x, y : of one sample    (d,) a vector, (length, c) a sequence, (c, h, w) an image; see `encoder_for`
    hidden : sequence of int
    features : int          of each side that meet in an inner product
    anchor : Anchor         what an anchored critic starts from

    Raises
    ------
    ValueError
        for another kind, or an anchored critic without an anchor
    """
    if kind == "anchored":
        if anchor is None:
            raise ValueError("an anchored critic needs anchor=: fit one with miest.neural.anchors, or take 'joint'.")
        width = anchor.width + features
        return Anchored(anchor, encoder_for(x, width, hidden), encoder_for(y, width, hidden))
    if kind == "separable":
        return Separable(encoder_for(x, features, hidden), encoder_for(y, features, hidden))
    if kind == "conditional-gaussian":
        return ConditionalGaussian(encoder_for(x, 2 * int(np.prod(y)), hidden))
    # Vectors meet as they are; of images and sequences, what an encoder makes of them.
    sides = [(nn.Identity(), s[0]) if len(s) == 1 else (encoder_for(s, 128, hidden), 128) for s in (x, y)]
    (left, dx), (right, dy) = sides
    if kind == "joint":
        return Joint(left, right, dx, dy, hidden)
    if kind == "bilinear":
        return Bilinear(left, right, dx, dy)
    raise ValueError(f"critic={kind!r} must be one of {', '.join(map(repr, CRITICS))}.")


def fitted(
    split: Split,
    bound: Bound,
    training: Training,
    *,
    kind: str | CriticFactory,
    hidden: Sequence[int],
    features: int,
    scale: str,
    seed: int,
    start: Fitted | None = None,
    progress: Progress | None = None,
) -> tuple[Fitted, Split]:
    """Train a critic on a split; returns it, and the split on its scales.

    Parameters
    ----------
    split : Split           raw rows
    start : Fitted or None  an earlier critic: training starts from it where held-out rows score better by it
    """
    generator = torch.Generator().manual_seed(seed)
    device = split.stop[0].device
    x, y = (_scale(scale, rows).to(device) for rows in split.seen)
    scaled, name = split.mapped(x, y), "none"
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        if callable(kind):
            critic = kind(*split.shapes)
        else:
            anchor = None
            if kind == "anchored":
                name, anchor = _anchor(scaled)
            critic = critic_for(kind, *split.shapes, hidden=hidden, features=features, anchor=anchor)
    critic = critic.to(device)
    judged = judging(bound, scaled, seed)
    if start is not None:
        if start.shapes != split.shapes:
            raise ValueError(
                f"init_from was trained on events of shapes {start.shapes} and these have {split.shapes}: leave it out."
            )
        old_x, old_y = (copy.deepcopy(side).to(device) for side in (start.x, start.y))
        old = copy.deepcopy(start.critic).to(device)
        again = split.mapped(old_x, old_y)
        if judging(bound, again, seed)(old) > judged(critic):
            x, y, critic, scaled, name = old_x, old_y, old.train(), again, "the critic of init_from"
            judged = judging(bound, scaled, seed)
    few = training if training.negatives is not None or critic.tabular else replace(training, negatives=8)
    critic, history = train(critic, bound, scaled.batch, judged, few, generator, progress)
    untaught = kind in ("joint", "separable") and name == "none" and history.best_step == 0
    if untaught and isinstance(critic, Joint | Separable):
        critic.silence()  # no training is better on held-out rows than random weights: nothing was found
    return Fitted(x, y, critic, history, name, split.shapes), scaled


def copula_scores(split: Split, pairs: int | None, seed: int) -> Scores | None:
    """What the Gaussian copula of the rows to fit says of the rows to report on; None where rows are no vectors.

    A critic from nothing that reads less from as many `pairs` a row than this closed form has not learned what is
    there.
    """
    if any(len(shape) != 1 or shape[0] > _WIDEST_FLOOR for shape in split.shapes):
        return None
    x, y = (rows[:_ROWS_FOR_FLOOR] for rows in split.seen)
    split = replace(split, seen=(x, y), draw=None)
    split = split.mapped(*(NormalScores(rows.cpu().numpy()).to(rows.device) for rows in (x, y)))
    anchor = gaussian_anchor(*_columns(split.seen), *_columns(split.stop)).to(split.stop[0].device)
    return judge(anchor, split.report, pairs, seed)


def judging(bound: Bound, split: Split, seed: int) -> Callable[[Critic], float]:
    """The criterion that training stops by, on the rows to stop by."""

    def judged(critic: Critic) -> float:
        return float(
            bound.criterion(judge(critic, split.stop, pairs_a_row(critic, len(split.stop[0]), _TO_STOP), seed))
        )

    return judged


def pairs_a_row(critic: Critic, n: int, few: int = _TO_REPORT) -> int | None:
    """How many marginal pairs a row are worth their cost when n rows are judged; None for all."""
    if not critic.tabular:
        return few
    return None if n <= _ROWS_IN_TABLE else _ROWS_IN_TABLE


def _scale(scale: str, rows: Tensor) -> nn.Module:
    array = rows.cpu().numpy()
    if scale == "normal":
        return NormalScores(array)
    return Standard(array, per_column=scale == "standard")


def _columns(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = (side.flatten(1).cpu().numpy().astype(np.float64) for side in rows)
    return x, y


def _anchor(split: Split) -> tuple[str, Anchor]:
    """The closed form that scores best on the rows to stop by."""
    (u, v), (stop_u, stop_v) = _columns(split.seen), _columns(split.stop)
    if max(u.shape[1], v.shape[1]) > _WIDEST_ANCHOR:
        return "independence", gaussian_anchor(u[:, :0], v[:, :0], stop_u[:, :0], stop_v[:, :0])
    found: list[tuple[str, Anchor]] = [("Gaussian copula", gaussian_anchor(u, v, stop_u, stop_v))]
    if found[0][1].width == 1:
        found[0] = ("independence", found[0][1])
    if u.shape[1] + v.shape[1] <= _WIDEST_STUDENT:
        likeliest, student = -np.inf, None
        for df in (100.0, 10.0, 5.0, 3.0, 2.0, 1.0):
            try:
                candidate, density = student_anchor(u, v, df)
            except np.linalg.LinAlgError:  # columns that others determine
                break
            if density < likeliest:
                break
            likeliest, student = density, (f"Student-t copula, {df:g} degrees of freedom", candidate)
        if student is not None and student[1].df < 100:
            found.append(student)
    for degree in (1, 2, 3):
        if (degree + 1) * max(u.shape[1], v.shape[1]) <= _WIDEST_RADIAL:
            found.append((f"Gaussian of degree {degree} in length", radial_anchor(u, v, stop_u, stop_v, degree)))
    rows = torch.from_numpy(stop_u.astype(np.float32)), torch.from_numpy(stop_v.astype(np.float32))
    values = [
        float(DonskerVaradhan().value(judge(anchor, rows, pairs_a_row(anchor, len(stop_u)), 0))) for _, anchor in found
    ]
    return found[int(np.argmax(values))]
