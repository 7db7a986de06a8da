"""AA-MINE: a lower bound on I(X; T+eps), T = F(X) a layer of a network, by a critic that has the network inside.

A critic of (x, l) that is to tell l = F(x) + eps from the noisy layer of another input has to know F. Here it does: a
frozen copy of F stands before it, so that it sees (F(x), l). Needs torch.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from miest.estimators.estimator import WHEN_CHANGED, Estimator, refuse_given, require_choice, require_integer
from miest.estimators.neural import require_torch
from miest.noise import GaussianNoise, ZeroEntropyNoise
from miest.result import Diagnostics, Flag, MIResult
from miest.samples import DataError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from miest.neural.aware_training import Trained

CRITICS = ("channel", "joint")
_FEWEST_ROWS = 100
_SATURATED_ABOVE = 0.7  # of the ceiling
_UNDERSAMPLED = 0.2  # nats between the two bounds, or a tenth of the upper one
_CAPPED = 0.1  # share of joint scores
_SHARE_TO_STOP = 0.12  # of the rows that are not reported on
_FEWEST_TO_STOP, _MOST_TO_STOP = 100, 2000
_LEARNING_RATES = {"channel": 1e-3, "joint": 1e-4}


@dataclass(frozen=True, kw_only=True)
class AAMINE(Estimator):
    """Lower bound on I(X;T+eps), T = F(X) a layer and eps Gaussian, by a critic that sees F(x) in place of x.

    Parameters
    ----------
    subnetwork : nn.Module
        F: of `subnetwork_of(model, "fc2")`, or any module, of which a frozen copy in evaluation mode is used
    noise : GaussianNoise or ZeroEntropyNoise
        part of the quantity, in the units of the layer
    critic : str
        "channel": the known ln p(l|F(x)), less the logarithm of a mixture of Gaussians fitted to F(x) and widened by
        the noise, less a perceptron of l that corrects it. "joint": a perceptron of (F(x), l), as published
    hidden : tuple of int       widths of the hidden layers of the perceptron, with leaky rectifiers
    folds : int                 1: a quarter of the rows is reported on; more: every row, by a critic of the other folds
    steps, batch : int          at most so many steps, of so many joint pairs and as many noisy copies of other rows
    negatives : int or None     marginal pairs for each joint one in training; None: all of the batch, or 1 for "joint"
    learning_rate : float or None           of AdamW; None: 1e-3, or 1e-4 for "joint"
    weight_decay : float
    average : float             share of the past in the moving average of the weights, which is what is judged
    check_every, patience : int steps between looks at held-out rows; looks without gain before the rate falls
    device : str or None        of the critic; None: that of the subnetwork
    level : float               of the interval
    progress : callable         (fold, step, steps, held-out value), called at each look

    Raises
    ------
    ValueError
        if the noise is not Gaussian, or a setting is out of range
    TypeError
        if the subnetwork is no module

    Notes
    -----
    Algorithm: of each batch, rows for the joint pairs and other rows for the marginal ones are drawn apart, and eps
        anew at each step; the Donsker-Varadhan value is climbed by Adam. As F does not change, F(x) is computed once a
        row and not at each step, which gives the same numbers. critic="joint", average=0 and weight_decay=0 are
        Algorithm 1 of the paper, with the rows to stop by and to report on taken out of what is trained on.
    Diagnostics: `upper`, with critic="channel", is an upper bound in expectation, by the mixture on the rows reported
        on: I is between `value` and `upper`, but for the spread of rows. `anchor` and `anchor_value` are the mixture
        and its value before training, and are kept unless held-out rows gain clearly (`corrected`); `training_value` is
        that of rows trained on; `effective_pairs` how many marginal pairs carry the partition function; `capped` the
        share of joint scores at the ceiling.
    Ceiling: ln(marginal pairs / 100), since scores are capped so that no pair makes more than a hundredth of the
        partition function. SATURATED from 0.7 of it on; the truth may then be far larger.
    Error: the last layer of a 784-512-512-10 network with random weights, Fashion-MNIST, n=60,000: within 0.6% of the
        out-of-sample value of `GaussianChannel` at noise of variance 10 to 1e-3 (0.0003 to 2.1 nats); at 1e-4 (7.6
        nats) 0.4% below its value and 5% below out of sample; with n=10,000 there 7.4, UNDERSAMPLED. critic="joint",
        2 x 256 units, 1500 steps at 1e-3, n=10,000: 0 of 0.003 nats, 0.019 of 0.032, 0.29 of 0.30, 1.9 of 2.1, 3.1 of
        7.6.
    Wrong when: the rows are too few for the density of the noisy layer: UNDERSAMPLED, where the two bounds are 0.2 nats
        or a tenth apart. With critic="joint" there is no upper bound to tell.
    Cost: one forward pass of F a row; memory for the activations of all rows; a step as two of the perceptron on
        `batch` rows; the report O(r^2 d) for r rows.
    Source: Elad, Haviv, Blau, Michaeli (2019), "Direct validation of the information bottleneck principle for deep
        nets" (anonymous at ICLR 2019), section 4 and Algorithm 1; Donsker, Varadhan (1983).
    Differs: the default critic has the conditional density built in; joint and marginal rows of a batch have no row in
        common; the value is of rows that were not trained on, from all their pairs, each noise used with both signs;
        scores are capped. Inputs of "joint" are centred and divided by one number.
    """

    subnetwork: "nn.Module" = field(kw_only=False)
    noise: GaussianNoise | ZeroEntropyNoise = field(kw_only=False)
    critic: str = "channel"
    hidden: tuple[int, ...] = field(default=(1500, 1500), metadata=WHEN_CHANGED)
    folds: int = field(default=1, metadata=WHEN_CHANGED)
    steps: int = field(default=5000, metadata=WHEN_CHANGED)
    batch: int = field(default=256, metadata=WHEN_CHANGED)
    negatives: int | None = field(default=None, metadata=WHEN_CHANGED)
    learning_rate: float | None = field(default=None, metadata=WHEN_CHANGED)
    weight_decay: float = field(default=1e-3, metadata=WHEN_CHANGED)
    average: float = field(default=0.98, metadata=WHEN_CHANGED)
    check_every: int = field(default=25, metadata=WHEN_CHANGED)
    patience: int = field(default=3, metadata=WHEN_CHANGED)
    device: str | None = field(default=None, metadata=WHEN_CHANGED)
    level: float = field(default=0.95, metadata=WHEN_CHANGED)
    progress: Callable[[int, int, int, float], None] | None = field(
        default=None, compare=False, repr=False, metadata=WHEN_CHANGED
    )

    def __post_init__(self) -> None:
        if not isinstance(self.noise, (GaussianNoise, ZeroEntropyNoise)):
            raise ValueError(
                f"noise={self.noise!r} must be GaussianNoise(std=...) or ZeroEntropyNoise(): what the noise does to a "
                "layer has to be known. For other noise use Noisy(estimator=MINE(), noise=...)."
            )
        # A result read from JSON has the text of its network.
        if not isinstance(self.subnetwork, str) and not hasattr(self.subnetwork, "named_modules"):
            raise TypeError(
                f"subnetwork is a {type(self.subnetwork).__name__}: pass subnetwork_of(model, layer), or another "
                "torch module that takes the inputs and gives the layer."
            )
        require_choice("critic", self.critic, CRITICS)
        for name, least in (("folds", 1), ("steps", 0), ("batch", 4), ("check_every", 1), ("patience", 0)):
            require_integer(name, getattr(self, name), least)
        if self.negatives is not None:
            require_integer("negatives", self.negatives, 1)
        object.__setattr__(self, "hidden", tuple(self.hidden))  # JSON gives lists
        if not self.hidden or any(isinstance(w, bool) or not isinstance(w, int) or w < 1 for w in self.hidden):
            raise ValueError(f"hidden={self.hidden!r} must be widths of at least one hidden layer, as (1500, 1500).")
        if (self.learning_rate is not None and not self.learning_rate > 0) or not self.weight_decay >= 0:
            raise ValueError(
                f"learning_rate={self.learning_rate} must be positive or None, weight_decay={self.weight_decay} not "
                "negative."
            )
        for name in ("average", "level"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0 and below 1.")

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Estimate I(X;T+eps) from samples of the input of the network.

        Parameters
        ----------
        x : (n, ...) array or tensor    inputs as the network takes them; or a dictionary of such, a pair (inputs,
                                        labels), a Dataset or a DataLoader, whose labels are left aside
        y : None                        there is none: the second argument is F(x) + eps
        given : None                    not supported
        seed : int or None              fixes splits, noise, batches and weights; None draws one, which is in the
                                        diagnostics

        Returns
        -------
        MIResult
            nats; a lower bound. `fitted` holds the trained critic of each fold, of (x, l)

        Raises
        ------
        ValueError
            for fewer than 100 rows, activations that are not finite, or a y
        ImportError
            without torch
        """
        started = perf_counter()
        refuse_given(self, given)
        if y is not None:
            raise ValueError(
                "AAMINE makes its own second argument, F(x) + eps: pass x alone. For the information in two given "
                "variables use MINE; for I(T+eps;Y) of a layer and labels GaussianChannel."
            )
        if isinstance(self.subnetwork, str):
            raise ValueError(
                f"this AAMINE was read from JSON, which holds of the network only the name {self.subnetwork}: make one "
                "with the network itself."
            )
        require_torch(self.name)
        from miest.neural.aware import ArchitectureAware
        from miest.neural.subnetwork import Subnetwork, activations, subnetwork_of

        network = self.subnetwork if isinstance(self.subnetwork, Subnetwork) else subnetwork_of(self.subnetwork)
        layer = activations(network, x)
        n, fewest = len(layer), max(_FEWEST_ROWS, 20 * self.folds)
        if n < fewest:
            raise DataError(f"{n} rows are too few to be split in three, folds={self.folds}: pass at least {fewest}.")
        seed = int(np.random.SeedSequence(seed).generate_state(1)[0]) if seed is None else seed
        t = layer.to(self.device or layer.device).double() / self.noise.std
        order = np.random.default_rng(seed).permutation(n)
        parts = np.array_split(order, self.folds) if self.folds > 1 else [order[: n // 4]]
        folds = [self._fold(t, part, order[~np.isin(order, part)], i, seed) for i, part in enumerate(parts)]
        found = _result(self, folds, constant=not bool((layer != layer[:1]).any()))
        return replace(
            found,
            n_samples=n,
            diagnostics=Diagnostics(
                layer=repr(network), units=layer.shape[1], noise_std=self.noise.std, seed=seed, **found.diagnostics
            ),
            fitted=tuple(ArchitectureAware(network, fold.critic, self.noise.std) for fold in folds),
            seconds=perf_counter() - started,
        )

    def _fold(self, t: "Tensor", report: Any, rest: Any, fold: int, seed: int) -> "Trained":
        import torch

        from miest.neural.aware_training import trained
        from miest.neural.train import Training

        held = int(min(max(_SHARE_TO_STOP * len(rest), _FEWEST_TO_STOP), _MOST_TO_STOP, len(rest) // 3))
        fit, stop, held_out = (t[torch.from_numpy(rows).to(t.device)] for rows in (rest[held:], rest[:held], report))
        told = self.progress
        return trained(
            fit,
            stop,
            held_out,
            kind=self.critic,
            hidden=self.hidden,
            training=Training(
                steps=self.steps,
                batch=self.batch,
                negatives=1 if self.negatives is None and self.critic == "joint" else self.negatives,
                learning_rate=self.learning_rate or _LEARNING_RATES[self.critic],
                weight_decay=self.weight_decay,
                average=self.average,
                check_every=self.check_every,
                patience=self.patience,
                bf16=False,
            ),
            seed=int(np.random.SeedSequence(seed, spawn_key=(fold,)).generate_state(1)[0]),
            progress=None if told is None else lambda step, steps, value: told(fold, step, steps, value),
        )


def _result(estimator: AAMINE, folds: "list[Trained]", *, constant: bool) -> MIResult:
    reports = [fold.reported for fold in folds]
    rows = np.array([len(report.influence) for report in reports])
    weights = rows / rows.sum()
    values = np.array([report.value for report in reports])
    diverged = any(fold.history.ended == "diverged" for fold in folds) or not np.isfinite(values).all()
    value = math.nan if diverged else float(weights @ values)
    # Sampling of rows within a fold, and what trainings differ by beyond it.
    sampling = np.array([report.influence.var() / len(report.influence) for report in reports])
    between = max(0.0, values.var(ddof=1) - sampling.mean()) / len(folds) if len(folds) > 1 else 0.0
    stderr = math.nan if diverged else math.sqrt(float(weights**2 @ sampling) + between)
    reach = float(ndtri((1 + estimator.level) / 2)) * stderr

    def mean(numbers: list[float | None]) -> float | None:
        return None if None in numbers else float(weights @ np.array(numbers, float))

    found = Diagnostics(
        folds=values.tolist(),
        stderr=stderr,
        interval_method="influence of rows and spread of folds" if len(folds) > 1 else "influence of rows",
        upper=mean([report.upper for report in reports]),
        anchor=[None if k is None else f"mixture of {k} Gaussians" for k in (fold.components for fold in folds)],
        anchor_value=mean([None if fold.before is None else fold.before.value for fold in folds]),
        corrected=[fold.corrected for fold in folds],
        training_value=float(weights @ [fold.seen for fold in folds]),
        effective_pairs=min(report.effective for report in reports),
        marginal_pairs=sum(report.pairs for report in reports),
        capped=float(weights @ [report.capped for report in reports]),
        best_step=[fold.history.best_step for fold in folds],
        ended=[fold.history.ended for fold in folds],
        steps=[fold.history.step for fold in folds],
        fit_curve=[fold.history.fit for fold in folds],
        stop_curve=[fold.history.stop for fold in folds],
    )
    ceiling = min(report.ceiling for report in reports)
    doubts = [(Flag.CONSTANT, "the layer has the same value in all samples: no information.")] if constant else []
    if diverged:
        steps = ", ".join(str(fold.history.step[-1]) for fold in folds)
        note = f"training diverged (after {steps} steps), and there is no value: lower learning_rate."
        doubts.append((Flag.NOT_CONVERGED, note))
    else:
        doubts += _doubts(value, stderr, ceiling, found)
    return MIResult(
        value=value,
        n_samples=int(rows.sum()),
        estimator=estimator,
        quantity="I(X;T+eps)",
        kind="lower bound",
        interval=(value - reach, value + reach) if math.isfinite(reach) else None,
        level=estimator.level,
        ceiling=ceiling,
        flags=tuple(dict.fromkeys(flag for flag, _ in doubts)),
        notes=tuple(note for _, note in doubts),
        diagnostics=found,
    )


def _doubts(value: float, stderr: float, ceiling: float, found: Diagnostics) -> Iterator[tuple[Flag, str]]:
    looks = zip(found.stop_curve, found.ended, found.corrected, strict=True)
    if any(_gaining(curve) for curve, ended, corrected in looks if ended == "steps" and corrected):
        yield (
            Flag.NOT_CONVERGED,
            "held-out rows still gained when the steps ran out, so that a longer training gives more: raise steps.",
        )
    if found.training_value - value > max(0.1, 4 * stderr, 0.15 * abs(value)):
        yield (
            Flag.OVERFIT,
            f"rows that were trained on read {found.training_value:.3f} nats and rows that were not {value:.3f}: pass "
            "more rows, or raise weight_decay.",
        )
    if found.upper is not None and found.upper - value > max(4 * stderr, min(_UNDERSAMPLED, 0.1 * found.upper)):
        yield (
            Flag.UNDERSAMPLED,
            f"I(X;T+eps) is between {value:.3f} and {found.upper:.3f} nats, up to the spread of rows: these rows are "
            "too few to say more. Pass more rows, or use larger noise.",
        )
    if value > _SATURATED_ABOVE * ceiling:
        yield (
            Flag.SATURATED,
            f"{value:.2f} nats is above {_SATURATED_ABOVE:.0%} of the ceiling {ceiling:.2f}, ln of a hundredth of the "
            f"{found.marginal_pairs} marginal pairs: the truth may be far larger. Pass more rows, or use larger noise.",
        )
    if found.capped > _CAPPED:
        yield (
            Flag.UNBOUNDED_VARIANCE,
            f"{found.capped:.0%} of the joint scores are above {ceiling:.2f} nats, where marginal pairs are so rare "
            "that their share of the mean of exp T is unknown: they were cut there, and the value lacks the rest. "
            "Pass more rows, or use larger noise.",
        )


def _gaining(looks: list[float]) -> bool:
    """Whether the last tenth of the looks has one that is clearly better than all before."""
    late = max(2, len(looks) // 10)
    return len(looks) > late and max(looks[-late:]) > max(looks[:-late]) + 0.01 * abs(max(looks))
