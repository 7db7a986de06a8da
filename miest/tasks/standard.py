"""The definitions of the standard tasks, by kind; `suite` picks from them. Names and truths are stable.

Where a truth takes more than a fraction of a second it is a constant here, found by the function that its family names,
with the points and the seed stated; a test computes it again.
"""

from collections.abc import Iterator

import numpy as np

from miest.tasks.additive import additive_uniform, functional
from miest.tasks.channels import linear_channel, neural_channel
from miest.tasks.conditional import (
    conditional_table,
    gaussian_graph,
    irrelevant_given,
    switched_gaussian,
)
from miest.tasks.copulas import clayton, frank, gumbel
from miest.tasks.discrete import binary_symmetric, discrete_table, fixed_table, parity, symmetric_channel
from miest.tasks.gaussian import (
    bivariate_gaussian,
    dense_gaussian,
    gaussian,
    gaussian_pairs,
    gaussian_with_information,
    latent_gaussian,
    student,
)
from miest.tasks.images import digit_bits, digit_pairs
from miest.tasks.independent import independent
from miest.tasks.maps import (
    asinh,
    cube,
    exponential,
    half_cube,
    linear,
    margin,
    normal_cdf,
    rotation,
    spiral,
    swiss_roll,
    wiggly,
)
from miest.tasks.mixed import (
    censored_gaussian,
    gaussian_with_atoms,
    logistic_label,
    quantised_uniform,
    staircase,
    zero_inflated_poisson,
)
from miest.tasks.mixtures import gaussian_mixture
from miest.tasks.numerics import fixed_normals, fixed_uniforms
from miest.tasks.points import labelled_gaussians, probe_channel
from miest.tasks.task import Task, together
from miest.tasks.traps import autocorrelated_gaussian, repeated_gaussian

# mi and mi_error by mixture_information or centre_information with n = 4,000,000 and seed = 0
_MIXTURE_3X3 = (1.30930, 5.4e-4)
_INLIERS_5X5 = (1.70910, 1.0e-3)
_LABELS_8 = (1.80197, 3.0e-4)
_PROBES = {"relu": (1.78319, 6.8e-4), "tanh": (2.08328, 6.5e-4)}


def gaussians() -> Iterator[Task]:
    """Sparse, dense, low-rank and rotated Gaussians, 1 to 100 dimensions, 0 to 20 nats."""
    for correlation in (0.3, 0.8, 0.99):
        yield bivariate_gaussian(correlation)
    yield gaussian_with_information(5.0)
    yield gaussian_with_information(0.02)
    yield gaussian_pairs([0.9, -0.6, 0.3])
    yield gaussian_pairs([0.8, 0.8], dx=5, dy=5)
    yield gaussian_pairs([0.8, 0.8], dx=25, dy=25)
    yield gaussian_pairs([0.8, 0.8], dx=100, dy=100)
    yield gaussian_pairs([0.5] * 16, name="gaussian-16x16-rho0.5")
    yield gaussian_pairs([0.9], dx=1, dy=20, name="gaussian-1x20-rho0.9")
    for d, correlation in ((2, 0.5), (5, 0.5), (25, 0.5), (50, 0.5)):
        yield dense_gaussian(d, d, correlation)
    yield dense_gaussian(10, 2, 0.3)
    yield latent_gaussian(10, 10, rank=2, strength=1.0, key=1)
    yield latent_gaussian(50, 50, rank=3, strength=0.5, key=2)
    yield latent_gaussian(100, 100, rank=10, strength=1.0, key=3)
    yield gaussian_with_information(10.0, 20)
    yield gaussian_with_information(20.0, 100)
    yield gaussian_with_information(20.0, 10)
    d = 20
    decay = 0.7 ** np.abs(np.subtract.outer(np.arange(2 * d), np.arange(2 * d)))
    yield gaussian(decay, d, name="gaussian-20x20-markov0.7")
    turned = gaussian_with_information(2.0, 10)
    yield turned.mapped(x=rotation(10, key=4), y=rotation(10, key=5), name="gaussian-10x10-2nats-rotated")


def mapped_gaussians() -> Iterator[Task]:
    """Gaussians through invertible maps."""
    one, three, five = bivariate_gaussian(0.75), gaussian_pairs([0.8, 0.6, 0.3]), dense_gaussian(5, 5, 0.5)
    yield one.mapped(x=normal_cdf(), y=normal_cdf(), name="gaussian-1x1-uniform")
    yield five.mapped(x=normal_cdf(), y=normal_cdf(), name="gaussian-5x5-uniform")
    yield one.mapped(x=half_cube(), y=half_cube(), name="gaussian-1x1-half-cube")
    yield gaussian_pairs([0.8, 0.8], dx=25, dy=25).mapped(
        x=half_cube(), y=half_cube(), name="gaussian-25x25-2pairs-half-cube"
    )
    yield one.mapped(x=cube(), name="gaussian-1x1-cube")
    yield one.mapped(x=wiggly(), y=wiggly(), name="gaussian-1x1-wiggly")
    yield three.mapped(x=wiggly(), y=wiggly(), name="gaussian-3x3-wiggly")
    yield one.mapped(x=exponential(), name="gaussian-1x1-lognormal")
    for kind in ("bimodal", "exponential", "cauchy"):
        one_side = normal_cdf().then(margin(kind))
        yield one.mapped(x=one_side, y=one_side, name=f"gaussian-1x1-{kind}")
    unrolled = normal_cdf().then(swiss_roll())
    yield one.mapped(x=unrolled, name="gaussian-1x1-swiss-roll")
    yield one.mapped(x=unrolled, y=unrolled, name="gaussian-1x1-swiss-roll-both")
    yield gaussian_pairs([0.9, 0.7]).mapped(x=spiral(), y=spiral(speed=0.5), name="gaussian-2x2-spiral")
    planes = ((0, 1), (1, 2))
    yield three.mapped(x=spiral(planes), y=spiral(planes), name="gaussian-3x3-spiral")
    yield five.mapped(
        x=spiral(((0, 1), (1, 2), (2, 3)), speed=0.3),
        y=spiral(((0, 4), (1, 3)), speed=0.3),
        name="gaussian-5x5-spiral",
    )
    yield gaussian_pairs([0.9, 0.7]).mapped(
        x=linear(fixed_normals((2, 50), key=6)),
        y=linear(fixed_normals((2, 30), key=7)),
        name="gaussian-plane-in-50x30",
    )


def students() -> Iterator[Task]:
    """Student-t, heavy tails."""
    yield student(np.eye(2), 1, df=1)
    yield student([[1, 0.75], [0.75, 1]], 1, df=2, name="student-1x1-df2-rho0.75")
    pairs = np.eye(6) + 0.6 * (np.eye(6, k=3) + np.eye(6, k=-3))
    yield student(pairs, 3, df=3)
    yield student(np.eye(10), 5, df=2, name="student-5x5-df2-uncorrelated")
    dense = student(0.5 * np.eye(10) + 0.5, 5, df=2, name="student-5x5-df2-dense")
    yield dense
    yield dense.mapped(x=asinh(), y=asinh(), name="student-5x5-df2-asinh")
    yield student([[1, 0.75], [0.75, 1]], 1, df=1, name="student-1x1-df1-rho0.75").mapped(
        x=asinh(), y=asinh(), name="student-1x1-df1-asinh"
    )


def additive() -> Iterator[Task]:
    """Uniform noise on functions."""
    for half_width in (0.1, 0.75):
        yield additive_uniform(half_width)
    yield functional("linear", 0.01)
    yield functional("square", 0.05)
    yield functional("sine", 0.1)
    yield functional("cube", 0.001)
    yield together(*[functional("root", 0.1)] * 3, name="root-plus-uniform-0.1-3x3")


def copulas() -> Iterator[Task]:
    """Archimedean copulas with several margins."""
    yield from (clayton(3), gumbel(2.5), frank(8), frank(-4))
    yield clayton(3).mapped(x=margin("exponential"), y=margin("exponential"), name="clayton-3-exponential-margins")
    yield clayton(1).mapped(x=margin("normal"), y=margin("cauchy"), name="clayton-1-normal-cauchy")
    yield gumbel(1.5).mapped(x=margin("lognormal"), y=margin("student3"), name="gumbel-1.5-lognormal-student3")
    yield frank(12).mapped(x=margin("bimodal"), y=margin("logistic"), name="frank-12-bimodal-logistic")
    yield together(clayton(2), gumbel(2), frank(5), name="three-copulas")


def mixtures() -> Iterator[Task]:
    """Gaussian mixtures."""
    spread = [[1.0, 0.0], [0.0, 1.0]]
    yield gaussian_mixture([0.5, 0.5], [[-2, -2], [2, 2]], spread, name="bimodal-diagonal")
    crossed = [[[1, 0.95], [0.95, 1]], [[1, -0.95], [-0.95, 1]]]
    yield gaussian_mixture([0.5, 0.5], np.zeros((2, 2)), crossed, name="cross")
    angle = np.arange(8) * np.pi / 4
    ring = 2 * np.column_stack([np.cos(angle), np.sin(angle)])
    yield gaussian_mixture(np.full(8, 1 / 8), ring, 0.15 * np.eye(2), name="ring-of-eight")
    grid = np.array([[i, j] for i in range(3) for j in range(3)], float)
    shares = np.where(grid[:, 0] == grid[:, 1], 4, 1) / 18
    yield gaussian_mixture(shares, 2 * grid, 0.2 * np.eye(2), name="nine-blobs")
    yield gaussian_mixture(*mixture_3x3(), 3, name="mixture-3x3", truth=_MIXTURE_3X3)
    yield gaussian_mixture(*inliers_5x5(), 5, name="inliers-5x5", truth=_INLIERS_5X5)


def mixture_3x3() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and covariances of four correlated clouds in 3 x 3 dimensions."""
    roots = fixed_normals((4, 6, 6), key=8) / 2
    covariances = roots @ roots.transpose(0, 2, 1) + 0.3 * np.eye(6)
    return np.array([0.1, 0.2, 0.3, 0.4]), 1.5 * fixed_normals((4, 6), key=9), covariances


def inliers_5x5() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and covariances of pairs of 0.8 in 5 x 5 dimensions, one row in five being unpaired."""
    paired = np.eye(10) + 0.8 * (np.eye(10, k=5) + np.eye(10, k=-5))
    return np.array([0.8, 0.2]), np.zeros((2, 10)), np.stack([paired, np.eye(10)])


def discrete_continuous() -> Iterator[Task]:
    """One side discrete, or atoms."""
    yield staircase(5)
    yield staircase(100)
    yield zero_inflated_poisson(0.15)
    yield zero_inflated_poisson(0.5)
    yield gaussian_with_atoms()
    yield gaussian_with_atoms(0.6, 0.3, atoms=0.2)
    yield censored_gaussian(0.8, 0.3)
    yield censored_gaussian(0.5, 0.7)
    yield logistic_label(2.0)
    yield quantised_uniform(16)
    yield labelled_gaussians([[-1.0], [1.0]], 1.0, name="two-classes")
    yield labelled_gaussians(np.arange(10.0)[:, None], 0.5, name="ten-classes-on-a-line")
    yield labelled_gaussians(class_centres(), 1.0, name="eight-classes-in-5", truth=_LABELS_8)
    yield together(*[staircase(5)] * 3, name="staircase-5-3x3")


def class_centres() -> np.ndarray:
    """(8, 5) centres of the classes of "eight-classes-in-5"; their noise has standard deviation 1."""
    return 1.5 * fixed_normals((8, 5), key=10)


def discrete() -> Iterator[Task]:
    """Integers."""
    yield fixed_table(8, 6, concentration=0.5)
    yield fixed_table(30, 30, concentration=0.3, key=1)
    yield discrete_table([[0.4, 0.1], [0.2, 0.3]], name="table-2x2")
    yield symmetric_channel(10, 0.2)
    yield symmetric_channel(1000, 0.3)
    yield binary_symmetric(0.1)
    yield binary_symmetric(0.05, 6)
    yield parity(3)
    yield parity(8, 0.1)


def independent_pairs() -> Iterator[Task]:
    """Nothing to find."""
    yield independent()
    yield independent("normal", "cauchy", dx=3, dy=3)
    yield independent("exponential", "bimodal")
    yield independent("uniform", "lognormal", dx=10, dy=1)
    yield independent("student3", "logistic", dx=20, dy=20)
    block = 0.5 * np.eye(10) + 0.5
    yield gaussian(np.kron(np.eye(2), block), 10, name="independent-10x10-dense-blocks")
    yield symmetric_channel(5, 0.8, name="independent-symbols-5")
    yield logistic_label(0.0, name="independent-normal-label")


def channels() -> Iterator[Task]:
    """Noisy layers."""
    yield linear_channel(fixed_normals((10, 4), key=11) / np.sqrt(10), 0.5, name="linear-channel-10x4")
    decay = 0.8 ** np.abs(np.subtract.outer(np.arange(50), np.arange(50)))
    yield linear_channel(fixed_normals((50, 20), key=12) / np.sqrt(50), 1.0, decay, name="linear-channel-50x20")
    yield neural_channel("relu", [1.0], 0.2, dx=1, name="relu-channel-1x1")
    yield neural_channel("relu", [1.0, 1.0, 2.0, 2.0], 0.5, dx=20, key=13, name="relu-channel-20x4")
    yield neural_channel("tanh", [1.0, 3.0], 0.3, dx=10, key=14, name="tanh-channel-10x2")
    yield neural_channel("tanh", [2.0] * 10, 0.2, dx=10, key=15, name="tanh-channel-10x10")
    for activation in ("relu", "tanh"):
        points, weights = probes()
        yield probe_channel(points, weights, activation, 0.5, name=f"{activation}-probes-64", truth=_PROBES[activation])


def probes() -> tuple[np.ndarray, np.ndarray]:
    """(64, 10) points and (10, 5) weights of the probe channels; their noise has standard deviation 0.5."""
    return fixed_normals((64, 10), key=16), fixed_normals((10, 5), key=17) / np.sqrt(10)


def images() -> Iterator[Task]:
    """Digits."""
    yield digit_pairs(2)
    yield digit_pairs(10)
    yield digit_bits(1, 0.1)
    yield digit_bits(4, 0.05)


def conditional() -> Iterator[Task]:
    """I(X;Y|Z)."""
    # Rows are effects on X, Y, Z; columns are effects of X, Y, Z.
    yield gaussian_graph(np.array([[0, 0, 0], [0, 0, 0.8], [0.8, 0, 0]]), name="chain-x-z-y")
    yield gaussian_graph([[0, 0, 0], [1, 0, 0], [0, 1, 0]], name="chain-x-y-z")
    yield gaussian_graph([[0, 0, 1], [0, 0, 1], [0, 0, 0]], [0.5, 0.5, 1], name="common-cause")
    yield gaussian_graph([[0, 0, 0], [0, 0, 0], [1, 1, 0]], [1, 1, 0.5], name="collider")
    confounded = np.zeros((8, 8))
    confounded[:2, 4:] = confounded[2:4, 4:] = 0.5
    confounded[2, 0] = confounded[3, 1] = 1
    yield gaussian_graph(confounded, dx=2, dy=2, name="confounded-2x2x4")
    yield switched_gaussian([0.9, -0.9], name="switched-sign")
    yield switched_gaussian([0, 0, 0], [(-2, -2), (0, 0), (2, 2)], name="explained-by-label")
    yield switched_gaussian([-0.7] * 3, [(-2, -2), (0, 0), (2, 2)], [0.2, 0.3, 0.5], name="reversed-by-label")
    xor = np.zeros((2, 2, 2))
    for x in range(2):
        for y in range(2):
            xor[x, y, x ^ y] = 1
    yield conditional_table(xor, name="exclusive-or")
    yield conditional_table(-np.log(fixed_uniforms((5, 4, 3), key=18)), name="table-5x4x3")
    yield irrelevant_given(staircase(5), name="staircase-5-given-noise")
    yield irrelevant_given(bivariate_gaussian(0.8), 3, name="gaussian-1x1-given-noise3")


def traps() -> Iterator[Task]:
    """Rows that mislead."""
    skewed = exponential(5)
    yield bivariate_gaussian(0.8).mapped(x=skewed, y=skewed, name="trap-skewed")
    yield repeated_gaussian(0.8, 3, 1e-6, name="trap-copies-1e-6")
    yield repeated_gaussian(0.8, 3, 1e-2, name="trap-copies-1e-2")
    levels = round(np.exp(9.5))
    yield quantised_uniform(levels, name="trap-quantised")
    yield quantised_uniform(levels, both=True, name="trap-quantised-both")
    yield gaussian_with_information(14.0, name="trap-14-nats")
    yield autocorrelated_gaussian(0.0, 0.98, name="trap-autocorrelated-independent")
    yield autocorrelated_gaussian(0.6, 0.9, name="trap-autocorrelated")
    yield symmetric_channel(20_000, 0.0, name="trap-singletons")
