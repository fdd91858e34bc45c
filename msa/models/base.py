"""What the trainer and a model know of each other, and nothing more.

A model is an ``nn.Module`` that maps a :class:`Batch` to :class:`Outputs`. It names
its loss terms and their weights; the trainer adds them up and never asks which model
it trains. Sizes: ``B`` samples, ``T`` steps, ``d`` features; modalities are keyed
``"text"``, ``"audio"``, ``"vision"``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Shape(NamedTuple):
    """Padded length ``T`` and feature width ``d`` of one modality."""

    steps: int
    width: int


Shapes = dict[str, Shape]
"""Shape of every modality, keyed by modality: all a model is told about its data."""


@dataclass
class Batch:
    """A mini-batch as models see it, on the training device.

    Attributes
    ----------
    inputs : dict of str to Tensor of float, shape (B, T, d)
        Damaged feature sequences: a missing audio or vision step is a zero vector, a
        missing token is the encoder's feature of [UNK]. Exactly 0 at padding.
    targets : dict of str to Tensor of float, shape (B, T, d)
        The same sequences before anything went missing; 0 at padding.
    mask : dict of str to Tensor of bool, shape (B, T)
        True at real steps, missing ones included; False at padding.
    missing : dict of str to Tensor of bool, shape (B, T)
        True at real steps that were removed. [CLS] and [SEP] are never missing.
    labels : Tensor of float, shape (B,)
        Sentiment scores.
    index : Tensor of int64, shape (B,)
        Row of each sample in its split, for models that keep a memory.
    modality_labels : dict of str to Tensor of float, shape (B,)
        Unimodal scores where the data set has them, else empty.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    mask: dict[str, Tensor]
    missing: dict[str, Tensor]
    labels: Tensor
    index: Tensor
    modality_labels: dict[str, Tensor] = field(default_factory=dict)

    def lengths(self, modality: str) -> Tensor:
        """Return the number of real steps, int64, shape (B,)."""
        return self.mask[modality].sum(1)


@dataclass
class Outputs:
    """What a model returns for a batch.

    Attributes
    ----------
    prediction : Tensor of float, shape (B,)
        Sentiment scores, unclipped.
    reconstructions : dict of str to Tensor of float, shape (B, T, d)
        Rebuilt complete sequences, keyed by modality; empty if the model has none.
    losses : dict of str to scalar Tensor
        Auxiliary loss terms, unweighted, keyed by the names in ``loss_weights``.
    """

    prediction: Tensor
    reconstructions: dict[str, Tensor] = field(default_factory=dict)
    losses: dict[str, Tensor] = field(default_factory=dict)


class Model(nn.Module):
    """Base of every trained model.

    A subclass sets ``loss_weights`` (name to weight, ``"task"`` included) and
    implements ``forward``. Everything else has a default.
    """

    loss_weights: dict[str, float]
    trims_padding = True
    """Whether batches may be cut to their longest sequence. True for every model whose
    prediction does not depend on padding; a released variant that lets padding take
    part sets it False."""

    def forward(self, batch: Batch) -> Outputs:
        """Predict the sentiment score of each sample of a batch."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def task_loss(self, prediction: Tensor, labels: Tensor) -> Tensor:
        """Mean absolute error, a scalar (MFMB-Net eq. 17, MIT-FRNet eq. 23)."""
        return (prediction - labels).abs().mean()

    def objective(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what training minimises, and its parts.

        Parameters
        ----------
        batch : Batch
            A training mini-batch.
        epoch : int
            Epoch number, from 1: some published schedules depend on it.

        Returns
        -------
        total : scalar Tensor
            The weighted sum of all terms.
        terms : dict of str to scalar Tensor
            Every term before weighting, ``"task"`` first.
        """
        outputs = self(batch)
        task = self.task_loss(outputs.prediction, batch.labels)
        terms = {"task": task, **outputs.losses}
        weights = self.weights(epoch)
        total = torch.stack([weights[name] * terms[name] for name in terms]).sum()
        return total, terms

    def weights(self, epoch: int) -> dict[str, float]:
        """Return the weight of every loss term in an epoch (numbered from 1)."""
        return self.loss_weights
