"""What the data sets and the metrics share, without PyTorch: reading needs none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATES = tuple(step / 10 for step in range(11))
"""The missing rates of both papers, 0.0 to 1.0 in steps of 0.1."""


def is_constant(values: NDArray) -> bool:
    """Return whether values, (N,), are one value up to the rounding of float32.

    A network that answers the same for every clip adds up in batches of several sizes:
    its answers can be one or two roundings apart, and their noise correlates with
    something. Here up to eight roundings of the largest value are none.

    Raises
    ------
    ValueError
        If there are no values.
    """
    largest = np.float32(np.abs(values).max())
    return bool(np.ptp(values) <= 8 * np.spacing(largest))


def correlation(prediction: NDArray, truth: NDArray) -> float:
    """Return the Pearson correlation of two arrays, (N,); nan if one is constant."""
    # Tested on the values themselves: after centring, rounding errors of a constant
    # would correlate with something.
    if is_constant(prediction) or is_constant(truth):
        return np.nan
    return float(np.corrcoef(prediction, truth)[0, 1])
