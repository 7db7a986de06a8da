"""Data to try things on: digits, Fashion-MNIST and MNIST, digits behind clutter, and the 12-bit rule on the sphere.

>>> from miest import datasets
>>> x, y = datasets.load("digits")                  # nothing to fetch; fetch() tells how the others are had
>>> hidden = datasets.cluttered_digits(kinds=16)    # hidden.x, hidden.y, hidden.clutter: squares on MNIST
>>> words = datasets.binary_sphere(seed=0)          # words.x, words.y, words.mi
"""

from miest.datasets.cluttered import Cluttered, cluttered, cluttered_digits
from miest.datasets.idx import read_idx
from miest.datasets.images import NAMES, SPLITS, Name, Split, cache_folder, fetch, load
from miest.datasets.sphere import BinarySphere, binary_sphere, power_spectrum

__all__ = [
    "NAMES",
    "SPLITS",
    "BinarySphere",
    "Cluttered",
    "Name",
    "Split",
    "binary_sphere",
    "cache_folder",
    "cluttered",
    "cluttered_digits",
    "fetch",
    "load",
    "power_spectrum",
    "read_idx",
]
