"""Two references that every table carries: what no model may fall below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from threadpoolctl import threadpool_limits
from torch import Tensor

from msa.models.base import Batch, Hyper, Reference, Shapes
from msa.models.layers import masked_mean

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge


class Constant(Reference):
    """Predict the median of the training labels: the best constant for the MAE."""

    def __init__(self, shapes: Shapes, hyper: Hyper) -> None:
        self.value = torch.tensor(0.0)

    def fit(self, train: Batch, valid: Batch) -> None:
        """Take the median of the training labels (the mean of the middle two)."""
        self.value = torch.tensor(np.median(train.labels.cpu()), dtype=torch.float32)

    def predict(self, batch: Batch) -> Tensor:
        """Return the same score for every sample."""
        return self.value.expand(len(batch.labels))

    def count_parameters(self) -> int:
        """One value."""
        return 1


class TextLinearHyper(Hyper):
    """Penalties tried on the validation split."""

    # Not strict: a stored configuration comes back from JSON with a list.
    penalties: tuple[float, ...] = Field(
        (0.1, 1.0, 10.0, 100.0, 1000.0), strict=False, min_length=1
    )


class TextLinear(Reference):
    """Ridge regression on the mean of the text features over the real tokens.

    The penalty with the lowest validation MAE is kept. NumPy's products take one
    thread, as PyTorch's do in a run: with more, sums would be split otherwise on every
    machine.
    """

    def __init__(self, shapes: Shapes, hyper: TextLinearHyper) -> None:
        self.penalties = hyper.penalties
        self.ridge: Ridge | None = None

    @staticmethod
    def _pooled(batch: Batch) -> np.ndarray:
        return masked_mean(batch.inputs["text"], batch.mask["text"]).cpu().numpy()

    def fit(self, train: Batch, valid: Batch) -> None:
        """Fit one ridge per penalty, keep the best on the validation split."""
        from sklearn.linear_model import Ridge  # here: it loads slowly

        x, y = self._pooled(train), train.labels.cpu().numpy()
        held_out, truth = self._pooled(valid), valid.labels.cpu().numpy()
        with threadpool_limits(1):
            fitted = [Ridge(alpha=penalty).fit(x, y) for penalty in self.penalties]
            errors = [np.abs(r.predict(held_out) - truth).mean() for r in fitted]
        self.ridge = fitted[int(np.argmin(errors))]

    def predict(self, batch: Batch) -> Tensor:
        """Return linear scores."""
        with threadpool_limits(1):
            scores = self.ridge.predict(self._pooled(batch))
        return torch.from_numpy(scores).float()

    def count_parameters(self) -> int:
        """Coefficients and intercept."""
        return self.ridge.coef_.size + 1
