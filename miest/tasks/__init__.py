"""Distributions whose mutual information is known: what estimators are measured against.

>>> from miest.tasks import bivariate_gaussian, exponential, suite
>>> task = bivariate_gaussian(0.8).mapped(x=exponential(5))     # the map leaves the truth as it is
>>> x, y = task.sample(1000, seed=0)
>>> task.mi, task.mi_error
>>> suite("quick")                                              # the standard lists: "quick", "full", "traps"
"""

from miest.tasks.additive import additive_uniform, functional
from miest.tasks.channels import linear_channel, neural_channel, neuron_information
from miest.tasks.conditional import (
    conditional_gaussian,
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
    student_correction,
)
from miest.tasks.images import digit_bits, digit_pairs
from miest.tasks.independent import independent
from miest.tasks.maps import (
    Map,
    affine,
    asinh,
    cube,
    exponential,
    half_cube,
    linear,
    margin,
    normal_cdf,
    quantiles,
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
from miest.tasks.mixtures import gaussian_mixture, mixture_information
from miest.tasks.points import centre_information, labelled_gaussians, probe_channel
from miest.tasks.suite import named, suite
from miest.tasks.task import Sample, Task, together
from miest.tasks.traps import autocorrelated_gaussian, repeated_gaussian

__all__ = [
    "Map",
    "Sample",
    "Task",
    "additive_uniform",
    "affine",
    "asinh",
    "autocorrelated_gaussian",
    "binary_symmetric",
    "bivariate_gaussian",
    "censored_gaussian",
    "centre_information",
    "clayton",
    "conditional_gaussian",
    "conditional_table",
    "cube",
    "dense_gaussian",
    "digit_bits",
    "digit_pairs",
    "discrete_table",
    "exponential",
    "fixed_table",
    "frank",
    "functional",
    "gaussian",
    "gaussian_graph",
    "gaussian_mixture",
    "gaussian_pairs",
    "gaussian_with_atoms",
    "gaussian_with_information",
    "gumbel",
    "half_cube",
    "independent",
    "irrelevant_given",
    "labelled_gaussians",
    "latent_gaussian",
    "linear",
    "linear_channel",
    "logistic_label",
    "margin",
    "mixture_information",
    "named",
    "neural_channel",
    "neuron_information",
    "normal_cdf",
    "parity",
    "probe_channel",
    "quantiles",
    "quantised_uniform",
    "repeated_gaussian",
    "rotation",
    "spiral",
    "staircase",
    "student",
    "student_correction",
    "suite",
    "swiss_roll",
    "switched_gaussian",
    "symmetric_channel",
    "together",
    "wiggly",
    "zero_inflated_poisson",
]
