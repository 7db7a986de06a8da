"""How well the classes of a representation are apart: distances between clusters over their spread."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miest.samples import DataError, variables


@dataclass(frozen=True)
class ClusterSeparation:
    """Mean distance between clusters over their mean standard deviation, and what it was made of.

    Parameters
    ----------
    value : float               `distance` / `spread`: larger is better separated and more concentrated
    distance : float            mean over pairs of clusters of the distance of their centers
    spread : float              mean over clusters of the root mean squared distance of a row from its center
    centers : (c, d) array
    classes : (c,) array        ascending
    """

    value: float
    distance: float
    spread: float
    centers: NDArray[np.float64]
    classes: NDArray[Any]


def cluster_separation(t: Any, y: Any) -> ClusterSeparation:
    """Mean distance between the clusters of a representation, one for each class, over their mean spread.

    Parameters
    ----------
    t : (n, ...) float      activations, flattened after axis 0
    y : (n,)                classes: integers, booleans or strings

    Returns
    -------
    ClusterSeparation       a number without units

    Raises
    ------
    DataError
        if there is one class only, a class has fewer than two rows, or no cluster has any spread

    Notes
    -----
    Shift, rotation and one scale for all coordinates leave the value as it is; other linear maps do not. With an
    isotropic Gaussian of d coordinates for each class, the spread grows like sqrt(d): compare layers of one width.
    Cost: O(n d + c^2 d).
    Source: Elad, Haviv, Blau, Michaeli (2019), section 5: 3.9 for L3 of a network trained with cross-entropy and 5.2
        for one trained layer by layer.
    Differs: the paper does not say what the standard deviation of a cluster of several coordinates is, nor whether it
        was taken in the layer or in a t-SNE embedding of it. Here: of the layer, in all coordinates together.
    """
    representation, labels = variables(t=t, y=y, at_least=2, needed_by="a cluster separation")
    if not labels.is_discrete or labels.d != 1:
        raise DataError(
            f"y is {labels.kind} with {labels.d} columns: pass one class a row, or wrap it in miest.discrete."
        )
    classes, codes, counts = np.unique(labels.values[:, 0], return_inverse=True, return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        raise DataError(
            f"{len(classes)} classes, of which the smallest has {counts.min()} rows: pass two classes or more, each "
            "with two rows or more."
        )
    rows = representation.numbers.astype(np.float64)
    centers = np.stack([rows[codes == code].mean(0) for code in range(len(classes))])
    squared = ((rows - centers[codes]) ** 2).sum(1)
    spread = float(np.sqrt(np.bincount(codes, squared) / counts).mean())
    if not spread:
        raise DataError("every row is the center of its cluster: the separation is infinite.")
    first, second = np.triu_indices(len(classes), 1)
    distance = float(np.sqrt(((centers[first] - centers[second]) ** 2).sum(1)).mean())
    return ClusterSeparation(distance / spread, distance, spread, centers, classes)
