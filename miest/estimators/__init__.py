"""The estimators, one file a method; all are reachable as miest.<name>."""
