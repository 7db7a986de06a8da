"""Pairwise-distance bounds on the information in a noisy representation T + eps.

With n samples t_i and eps ~ N(0, s2 I), T + eps is a mixture of n equal Gaussians. For a distance D between its
components,

    h(T + eps) - h(eps) = -1/n sum_i ln 1/n sum_j exp(-D(t_i, t_j))

is an upper bound with the Kullback-Leibler divergence, D = |t_i - t_j|^2 / (2 s2), and a lower bound with the
Bhattacharyya distance (Chernoff, alpha = 1/2), D = |t_i - t_j|^2 / (8 s2): the same kernel, four times as wide.
Source: Kolchinsky & Tracey (2017), doi:10.3390/e19070361.
"""

import math
import sys
from dataclasses import dataclass
from numbers import Real
from time import perf_counter
from typing import Any, Literal

import numpy as np

from miest.estimators.estimator import Estimator, refuse_given, require_choice
from miest.result import Diagnostics, Flag, Kind, MIResult
from miest.samples import DataError, Variable, variables
from miest_kernels.gaussian_sums import gaussian_log_sums, gaussian_log_sums_by_class

_AUTO = 0.1  # share of the mean variance of a coordinate that is taken for noise
_REACH = 1e100  # noise standard deviations; squared distances stay finite
_LARGEST_NOISE = sys.float_info.max / 4  # the wider of the two kernels has four times the variance
_SMALLEST_SPREAD = 4 * sys.float_info.min  # float64 cannot hold one over a smaller number
_SATURATED = 0.7  # share of ln n above which the samples, not the layer, are being measured

Doubt = tuple[Flag | None, str]  # None: a choice made for the caller, which is said but is no reason for doubt


@dataclass(frozen=True, kw_only=True)
class KDE(Estimator):
    """Information in T + eps, eps Gaussian, by pairwise bounds: I(X;T+eps), or I(T+eps;Y) for discrete Y.

    `estimate(t)` bounds I(X;T+eps) = h(T+eps) - h(eps), where X is the identity of the row. `estimate(t, labels)`
    bounds I(T+eps;Y) = h(T+eps) - sum_y p(y) h(T+eps|Y=y); the arguments may come in either order.

    Parameters
    ----------
    noise_var : float or "auto"
        Variance of eps in every coordinate, in the squared units of t, which is never standardised. It is part of
        the quantity, not a tuning knob. "auto" takes 0.1 times the mean variance of the coordinates of t (1 where t
        is constant). That adapts to the scale of each layer, so that values of layers of different scale answer
        different questions: give one number to compare layers. Always in `diagnostics.noise_var`.
    bound : "both", "upper" or "lower"
        Which one is `value`; `diagnostics.upper` and `diagnostics.lower` hold both whatever it is. With "both", the
        value of `estimate(t)` is the upper bound, and that of `estimate(t, labels)` is the Kullback-Leibler form for
        both entropies: a point between the bounds, as plotted in information planes since Saxe et al. (2018).

    Raises
    ------
    ValueError
        if noise_var is not positive and finite; if y is continuous or both arguments are discrete; if given= is used

    Notes
    -----
    Error: for the mixture of these n samples none but rounding, and the truth always lies between the two bounds (in
        all of 600 random mixtures against quadrature, at most 0.21 nats above the lower and 0.43 below the upper; the
        Kullback-Leibler form for labels was 0 to 0.34 too high). They meet where clusters coincide or are far apart.
        For t ~ N(0, 1), noise_var 0.1 and n = 2,000 they are 0.98 and 1.65 nats, the channel's truth being 1.20. The
        value for the distribution behind the samples is the limit in n: few samples give less, at most ln n.
    Cost: O(n^2 d) time, O(n) memory.
    Source: Kolchinsky & Tracey (2017), Entropy 19(7) 361, doi:10.3390/e19070361, and for labels Saxe et al. (2018),
        "On the information bottleneck theory of deep learning", with natural logarithms.
    Differs: bounds on I(T+eps;Y) pair opposite bounds of the two entropies, so that they hold; the common form is
        `kind="point"`, as a difference of two upper bounds is neither.
    Wrong when: noise_var is small for n and d, and each sample is a cluster of its own: the value is then ln n, or
        H(Y), whatever the layer does (SATURATED). "auto" gets there beyond 3 independent coordinates at n = 2,000.
    """

    noise_var: float | Literal["auto"] = "auto"
    bound: Literal["both", "upper", "lower"] = "both"

    def __post_init__(self) -> None:
        require_choice("bound", self.bound, ("both", "upper", "lower"))
        v = self.noise_var
        if isinstance(v, str) and v == "auto":
            return
        if not isinstance(v, Real) or isinstance(v, bool) or not 0 < v < math.inf:
            raise ValueError(
                f'noise_var={v!r} must be "auto" or a positive finite number, the variance of the noise in each '
                "coordinate: without noise the information is infinite, or ln n."
            )
        if int(v) > int(_LARGEST_NOISE):  # integers are exact in every size
            raise ValueError(
                f"noise_var={v!r} is beyond the {_LARGEST_NOISE:.3g} that float64 leaves room for: rescale the data, "
                "and noise_var with them."
            )
        object.__setattr__(self, "noise_var", float(v))  # a NumPy scalar would not survive JSON

    def estimate(self, x: Any, y: Any = None, *, given: Any = None, seed: int | None = None) -> MIResult:
        """Bound I(X;T+eps) of a layer, or I(T+eps;Y) of a layer and labels.

        Parameters
        ----------
        x : (n, ...) numbers            the layer T
        y : (n, ...) int, bool or str   labels; left out: X is the identity of the row. May be given first.
        given : None                    not supported
        seed : None                     unused: no randomness

        Returns
        -------
        MIResult
            nats; kind says which bound it is
        """
        started = perf_counter()
        refuse_given(self, given)
        checked = variables(x=x, y=y)
        t, labels = (checked[0], None) if len(checked) == 1 else _layer_and_labels(*checked)
        noise_var, doubts = self._noise(t)
        widths = (noise_var, 4 * noise_var)  # of the Kullback-Leibler and the Bhattacharyya kernel
        if labels is None:
            upper, lower = (
                (math.log(t.n) - gaussian_log_sums(t.numbers, widths, on_device=t.on_device)).mean(axis=1).tolist()
            )
            value, apart = upper, lower if self.bound == "lower" else upper
            kind: Kind = "upper bound"
            ceiling: float | None = math.log(t.n)
            found = {}
        else:
            total, within = gaussian_log_sums_by_class(t.numbers, widths, labels.symbols, on_device=t.on_device)
            (near, far), (near_y, far_y) = total.mean(axis=1).tolist(), within.mean(axis=1).tolist()
            h_y, apart = _entropy(labels), math.log(t.n) - near
            upper, lower = h_y - near + far_y, h_y - far + near_y
            value, kind = h_y - near + near_y, "point"
            # The upper bound pairs two kernels and can pass H(Y); the others cannot.
            ceiling = None if self.bound == "upper" else h_y
            found = {"h_y": h_y, "classes": len(labels.symbol_counts)}
            doubts += _doubted_labels(labels)
        if self.bound != "both":
            value = upper if self.bound == "upper" else lower
            kind = "upper bound" if self.bound == "upper" else "lower bound"
        doubts += _saturation(apart, t, noise_var)
        return MIResult(
            value=value,
            n_samples=t.n,
            estimator=self,
            quantity="I(X;T+eps)" if labels is None else "I(T+eps;Y)",
            kind=kind,
            ceiling=ceiling,
            flags=tuple(flag for flag, _ in doubts if flag is not None),
            notes=tuple(note for _, note in doubts),
            diagnostics=Diagnostics(noise_var=noise_var, lower=lower, upper=upper, **found),
            seconds=perf_counter() - started,
        )

    def _noise(self, t: Variable) -> tuple[float, list[Doubt]]:
        """The variance of the noise, and what to say of it and of the scale of t."""
        still = not t.varying.any()
        doubts: list[Doubt] = []
        if still:
            doubts.append((Flag.CONSTANT, f"{t.name} has the same value in all {t.n} samples: no information."))
        if t.is_discrete:
            doubts.append(
                (
                    Flag.DISCRETE,
                    f"{t.name} holds integers, whose differences were used as distances: for counts or pixels say so "
                    "with miest.continuous; for symbols use PlugIn or Binning.",
                )
            )
        if self.noise_var != "auto":
            largest = max(abs(float(t.numbers.min())), abs(float(t.numbers.max())))
            if largest > _REACH * math.sqrt(self.noise_var):
                raise DataError(
                    f"{t.name} reaches {largest:.3g}, more than {_REACH:.0e} standard deviations of the noise "
                    f"(noise_var={self.noise_var:.3g}), whose squares float64 cannot hold: rescale it, or "
                    "raise noise_var."
                )
            spread = 0.0 if still else float(np.ptp(t.numbers, axis=0).max())
            if 0 < spread < _SMALLEST_SPREAD:
                raise DataError(
                    f"{t.name} varies by {spread:.3g}, less than the {_SMALLEST_SPREAD:.3g} that float64 can compare: "
                    "rescale it, and noise_var with its square."
                )
            return float(self.noise_var), doubts
        with np.errstate(over="ignore", under="ignore"):
            noise_var = 1.0 if still else _AUTO * float(np.mean(np.where(t.varying, t.scale, 0.0) ** 2))
        if not sys.float_info.min <= noise_var <= _LARGEST_NOISE:
            raise DataError(
                f"the variance of {t.name} is beyond float64 (standard deviations up to {t.scale.max():.3g}): rescale "
                "it, and noise_var with it."
            )
        note = (
            f"noise_var={noise_var:.6g} is {_AUTO:g} times the mean variance of the coordinates of {t.name}; it "
            "follows the scale of the data: to compare layers of different scale, pass one noise_var for all."
        )
        return noise_var, [*doubts, (None, note)]


def _layer_and_labels(x: Variable, y: Variable) -> tuple[Variable, Variable]:
    """Tell the continuous argument from the discrete one."""
    if x.is_discrete == y.is_discrete:
        what, way_out = (
            (
                "discrete",
                "it adds Gaussian noise to a continuous one. Use PlugIn for two discrete variables, or wrap the "
                "activations in miest.continuous.",
            )
            if x.is_discrete
            else (
                "continuous",
                "it needs the density of T within each class. Wrap class labels in miest.discrete, or use KSG or "
                "Gaussian for a continuous Y; KDE().estimate(t) alone gives I(X;T+eps).",
            )
        )
        raise DataError(f"both arguments of KDE are {what} ({x.values.dtype} and {y.values.dtype}): {way_out}")
    return (y, x) if x.is_discrete else (x, y)


def _entropy(labels: Variable) -> float:
    """Entropy of the labels as they occur, which is what the mixture over these samples has."""
    p = labels.symbol_counts / labels.n
    return float(-(p * np.log(p)).sum()) + 0.0


def _doubted_labels(labels: Variable) -> list[Doubt]:
    counts = labels.symbol_counts
    if len(counts) == 1:
        return [(Flag.CONSTANT, f"{labels.name} has the same value in all {labels.n} samples: no information.")]
    single = int((counts == 1).sum())
    if 2 * single > len(counts):
        note = (
            f"{single} of the {len(counts)} classes of {labels.name} have one sample, whose density within the class "
            "is the noise alone: the value approaches I(X;T+eps). Merge classes or pass more samples."
        )
        return [(Flag.SINGLETON_BINS, note)]
    return []


def _saturation(apart: float, t: Variable, noise_var: float) -> list[Doubt]:
    """Doubt where the noise is too small for samples to see each other; `apart` bounds I(X;T+eps)."""
    if apart <= _SATURATED * math.log(t.n):
        return []
    note = (
        f"I(X;T+eps) is at {apart:.2f} of the {math.log(t.n):.2f} nats, ln n, that {t.n} samples can show: with "
        f"noise_var={noise_var:.3g} nearly every sample is its own cluster, whatever the layer does. Use a larger "
        "noise_var or more samples."
    )
    return [(Flag.SATURATED, note)]
