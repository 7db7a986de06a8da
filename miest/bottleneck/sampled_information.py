"""I(z;x) + TC(z) of a layer with noisy weights from samples of z alone, without taking anything for Gaussian.

    I(z;x) + TC(z) = sum_i [ h(z_i) - E_x h(z_i|x) ]

Weights are drawn, and both entropies of each unit estimated from its values by nearest neighbours: what the formula of
`miest.bottleneck.activation_information` is to be compared with.
"""

import math
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

try:
    import torch
except ImportError as error:
    raise ImportError("noisy weights are torch modules: pip install 'miest[torch]'.") from error

from miest.bottleneck.activation_information import weights_and_noise
from miest.bottleneck.factors import Factor, LogNormalFactor
from miest.estimators.entropy import KozachenkoLeonenko
from miest.estimators.estimator import require_integer
from miest.neural.preserved import seeded
from miest.result import Diagnostics, MIResult
from miest.samples import variables

_VALUES_AT_ONCE = 1 << 22


def sampled_information_in_activations(
    x: Any,
    weight: ArrayLike,
    alpha: ArrayLike,
    *,
    factor: Factor | None = None,
    repeats: int = 8,
    rows: int = 16,
    draws: int = 1000,
    k: int = 3,
    level: float = 0.95,
    seed: int = 0,
) -> MIResult:
    """I(z;x) + TC(z) of z = W x with noisy weights, from the entropies of each unit in drawn samples.

    Parameters
    ----------
    x, weight, alpha, factor        as of `miest.bottleneck.activation_information.information_in_activations`
    repeats : int                   independent estimates, at least 2: their mean is the value
    rows : int                      rows of x in each that z is drawn for
    draws : int                     of z for each of these rows; and 4 times as many for the entropy of z, over all rows
    k : int                         neighbours
    level : float                   of the interval
    seed : int

    Returns
    -------
    MIResult                        nats; the interval is from the spread of the repeats. Diagnostics: ``units``

    Raises
    ------
    ValueError
        as for the formula, or if z does not vary for a row, where the information is infinite

    Notes
    -----
    Error: 0.01 nats a unit with the defaults. The entropy of heavy tails, alpha well above 1, needs more draws.
    Cost: repeats * (rows + 4) * draws weights of every kind: 10^8 random numbers, some 3 s, for 4 units of 512 inputs
    with the defaults.
    """
    started = perf_counter()
    factor = LogNormalFactor() if factor is None else factor
    require_integer("repeats", repeats, 2)
    require_integer("rows", rows, 1)
    require_integer("draws", draws, 10)
    (checked,) = variables(x=x, at_least=2, needed_by="a distribution of z")
    inputs = checked.numbers.astype(np.float64)
    w, a = weights_and_noise(weight, alpha, checked.d)
    log_alpha = torch.as_tensor(np.log(a), dtype=torch.float32)
    entropy = KozachenkoLeonenko(k=k, level=None)
    rng = np.random.default_rng(seed)

    def drawn(some: NDArray[np.float64]) -> NDArray[np.float64]:
        """(m, units) one draw of z for each row."""
        parts = []
        for part in np.array_split(some, max(1, math.ceil(some.shape[0] * w.size / _VALUES_AT_ONCE))):
            eps = factor.sample(log_alpha.expand(len(part), *log_alpha.shape)).numpy()
            parts.append(np.einsum("nud,ud,nd->nu", eps, w, part, optimize=True))
        return np.concatenate(parts)

    def total(z: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([entropy.estimate(column).value for column in z.T])

    with seeded(seed):
        found = np.empty((repeats, len(w)))
        for repeat in range(repeats):
            of_z = total(drawn(inputs[rng.integers(len(inputs), size=4 * draws)]))
            chosen = rng.integers(len(inputs), size=rows)
            given = [total(drawn(np.repeat(inputs[row : row + 1], draws, axis=0))) for row in chosen]
            found[repeat] = of_z - np.mean(given, axis=0)
    values = found.sum(axis=1)
    stderr = float(values.std(ddof=1) / math.sqrt(repeats))
    reach = float(stdtrit(repeats - 1, (1 + level) / 2)) * stderr
    value = float(values.mean())
    return MIResult(
        value=value,
        n_samples=checked.n,
        estimator=f"sampled_information_in_activations(k={k}, repeats={repeats}, rows={rows}, draws={draws})",
        quantity="I(Z;X)+TC(Z)",
        interval=(value - reach, value + reach),
        level=level,
        diagnostics=Diagnostics(units=found.mean(axis=0).tolist(), stderr=stderr, seed=seed),
        seconds=perf_counter() - started,
    )
