"""Experiments of the literature on information planes, each run by one command."""
