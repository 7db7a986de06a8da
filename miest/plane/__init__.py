"""The information plane of real training runs: record activations, estimate, keep, draw."""
