"""Training with information: bottleneck objectives, layerwise training, information in weights, tables and Gaussians.

>>> from miest import bottleneck
>>> bottleneck.DVIB                                  # names load on first use

Where things are; only what is marked * works without torch::

    objectives, rates, latents      losses that price what a representation holds, and the noise it is seen through
    cross_entropy, attacks          what a prediction costs; how it stands adversarial inputs
    information *, i_diagram *      `quantities`: every atom of the diagram of Y, Z and X (row_terms, estimated_terms)
    layerwise, end_to_end           `fit`, by critics and network in turn (alternation, fitted, training_rows, units)
    clusters *                      how far the classes of a layer are apart
    weights, noisy_weights          layers with multiplicative noise (factors), I(w;D), the loss that prices it
    flatness                        the bound of flat minima
    activation_information          from weights to activations (sampled_information, total_correlation)
    tables *, discrete *            joint tables and their bottleneck (deterministic, agglomerative, curve)
    gaussian *                      the bottleneck of Gaussians
    landscape *, remedies *         where the functional is infinite or constant (scalar_networks); precision *
    dimensions                      the dimension of each layer of a network
"""

import importlib

# Where each public name lives; nothing is imported, torch least of all, before a name is used.
_HOME: dict[str, str] = {
    "AdditiveNoise": "miest.bottleneck.latents",
    "Agglomeration": "miest.bottleneck.agglomerative",
    "Bottleneck": "miest.bottleneck.tables",
    "BottleneckCurve": "miest.bottleneck.curve",
    "ChainedTotalCorrelation": "miest.bottleneck.total_correlation",
    "ClusterSeparation": "miest.bottleneck.clusters",
    "ConditionalLogVariance": "miest.bottleneck.objectives",
    "CrossEntropies": "miest.bottleneck.cross_entropy",
    "Curvature": "miest.bottleneck.flatness",
    "DVIB": "miest.bottleneck.objectives",
    "DecisionRule": "miest.bottleneck.remedies",
    "Factor": "miest.bottleneck.factors",
    "Features": "miest.bottleneck.scalar_networks",
    "Fitted": "miest.bottleneck.fitted",
    "FlatMinimum": "miest.bottleneck.flatness",
    "GaussianBottleneck": "miest.bottleneck.gaussian",
    "GaussianEncoder": "miest.bottleneck.latents",
    "GaussianFactor": "miest.bottleneck.factors",
    "GaussianTotalCorrelation": "miest.bottleneck.total_correlation",
    "Landscape": "miest.bottleneck.landscape",
    "LayerDimension": "miest.bottleneck.dimensions",
    "LogNormalFactor": "miest.bottleneck.factors",
    "LogVariance": "miest.bottleneck.objectives",
    "Look": "miest.bottleneck.fitted",
    "Loss": "miest.bottleneck.objectives",
    "MINEIB": "miest.bottleneck.objectives",
    "Noisy": "miest.bottleneck.remedies",
    "NoisyConv2d": "miest.bottleneck.noisy_weights",
    "NoisyLinear": "miest.bottleneck.noisy_weights",
    "NonlinearIB": "miest.bottleneck.objectives",
    "Objective": "miest.bottleneck.objectives",
    "Posterior": "miest.bottleneck.latents",
    "PrecisionBounds": "miest.bottleneck.precision",
    "PrecisionChain": "miest.bottleneck.precision",
    "Quantities": "miest.bottleneck.i_diagram",
    "Quantized": "miest.bottleneck.remedies",
    "ReluNetwork": "miest.bottleneck.scalar_networks",
    "Robustness": "miest.bottleneck.attacks",
    "SecondMoment": "miest.bottleneck.objectives",
    "SoftDecision": "miest.bottleneck.remedies",
    "Stochastic": "miest.bottleneck.remedies",
    "Table": "miest.bottleneck.tables",
    "Terms": "miest.bottleneck.remedies",
    "Unchanged": "miest.bottleneck.remedies",
    "VCEB": "miest.bottleneck.objectives",
    "WeightBottleneck": "miest.bottleneck.weights",
    "ZeroEntropyNoise": "miest.bottleneck.latents",
    "agglomerate": "miest.bottleneck.agglomerative",
    "alpha_of_information": "miest.bottleneck.activation_information",
    "argmax_error_bound": "miest.bottleneck.cross_entropy",
    "bottleneck_curve": "miest.bottleneck.curve",
    "cluster_separation": "miest.bottleneck.clusters",
    "compare_total_correlations": "miest.bottleneck.total_correlation",
    "cross_entropies": "miest.bottleneck.cross_entropy",
    "curvature": "miest.bottleneck.flatness",
    "decoder_probabilities": "miest.bottleneck.cross_entropy",
    "decoder_uncertainty": "miest.bottleneck.cross_entropy",
    "deterministic_bottleneck": "miest.bottleneck.deterministic",
    "dimension_table": "miest.bottleneck.dimensions",
    "dimensions_through_layers": "miest.bottleneck.dimensions",
    "encoder_quantities": "miest.bottleneck.information",
    "error_bound": "miest.bottleneck.cross_entropy",
    "fgsm": "miest.bottleneck.attacks",
    "figure_1": "miest.bottleneck.landscape",
    "first_critical_beta": "miest.bottleneck.tables",
    "flat_minimum_bound": "miest.bottleneck.flatness",
    "flat_minimum_information": "miest.bottleneck.flatness",
    "functional_landscape": "miest.bottleneck.landscape",
    "information_bottleneck": "miest.bottleneck.discrete",
    "information_in_activations": "miest.bottleneck.activation_information",
    "information_in_weights": "miest.bottleneck.weights",
    "joint_table": "miest.bottleneck.tables",
    "layer_information": "miest.bottleneck.activation_information",
    "multilayer_bound": "miest.bottleneck.activation_information",
    "pgd": "miest.bottleneck.attacks",
    "precision_bounds": "miest.bottleneck.precision",
    "precision_chain": "miest.bottleneck.precision",
    "quantities": "miest.bottleneck.information",
    "ramp": "miest.bottleneck.scalar_networks",
    "robustness": "miest.bottleneck.attacks",
    "sampled_information_in_activations": "miest.bottleneck.sampled_information",
    "stochastic": "miest.bottleneck.weights",
    "stochastic_logits": "miest.bottleneck.cross_entropy",
    "unit_information": "miest.bottleneck.activation_information",
    "with_noisy_weights": "miest.bottleneck.weights",
}


_MODULES = ("end_to_end", "layerwise")  # each with a function `fit`


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"miest.bottleneck.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOME, *_MODULES])
