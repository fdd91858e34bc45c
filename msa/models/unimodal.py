"""MFMB-Net's Table 2: one modality alone, and the three concatenated.

A fully connected layer, then the score: what a modality tells without attention,
recurrence or fusion. The paper does not say how a sequence becomes a vector; here it is
the mean over the real steps (``ledger.toml``).
"""

from __future__ import annotations

import torch
from torch import nn

from msa.models.base import Batch, Hyper, Model, Outputs, Shapes
from msa.models.layers import BatchNorm, dropout, masked_mean


class PooledHyper(Hyper):
    """Hyper-parameters of Table 2; optimiser and schedule are MFMB-Net's.

    ``bound`` is the largest absolute value of a normalised feature. A linear map would
    follow a feature that lies a hundred standard deviations out; real audio has some.
    """

    drop: float = 0.2
    bound: float = 5.0


SIMS = {"batch_size": 16, "plateau_patience": 10}
"""What differs on CH-SIMS: as for MFMB-Net, but for its tuned learning rate."""


class Pooled(Model):
    """Mean over time, bounded batch norm, one hidden layer of half the width, a score.

    Subclasses name the modalities whose pooled vectors are concatenated.

    Parameters
    ----------
    shapes : Shapes
        Padded length and width of every modality.
    hyper : PooledHyper
    """

    def __init__(self, shapes: Shapes, hyper: PooledHyper) -> None:
        super().__init__()
        d = sum(shapes[m].width for m in self.modalities)
        self.drop = hyper.drop
        self.norm = BatchNorm(d, hyper.bound)
        self.hidden = nn.Linear(d, max(d // 2, 1))
        self.predict = nn.Linear(max(d // 2, 1), 1)
        self.loss_weights = {"task": 1.0}

    def forward(self, batch: Batch) -> Outputs:
        """Predict scores, unbounded."""
        pooled = [masked_mean(batch.inputs[m], batch.mask[m]) for m in self.modalities]
        x = self.norm(torch.cat(pooled, -1))  # (B, d)
        hidden = dropout(self.hidden(x).relu(), self.drop, self.training)  # (B, d/2)
        return Outputs(self.predict(hidden)[:, 0])


class TextOnly(Pooled):
    """FC(T)."""

    modalities = ("text",)


class AudioOnly(Pooled):
    """FC(A)."""

    modalities = ("audio",)


class VisionOnly(Pooled):
    """FC(V)."""

    modalities = ("vision",)


class Concatenated(Pooled):
    """Concat(V,A,T)."""

    modalities = ("vision", "audio", "text")
