"""What the data sets and the metrics share, without PyTorch: reading needs none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATES = tuple(step / 10 for step in range(11))
"""The missing rates of both papers, 0.0 to 1.0 in steps of 0.1."""


def correlation(prediction: NDArray, truth: NDArray) -> float:
    """Return the Pearson correlation of two arrays, (N,); nan if one is constant."""
    # Tested on the values themselves: after centring, rounding errors of a constant
    # would correlate with something.
    if np.ptp(prediction) == 0 or np.ptp(truth) == 0:
        return np.nan
    return float(np.corrcoef(prediction, truth)[0, 1])
