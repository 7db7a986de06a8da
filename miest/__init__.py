"""Mutual information of real data and real networks."""
