"""What the trainer and a model know of each other, and nothing more.

A model is an ``nn.Module`` that maps a :class:`Batch` to :class:`Outputs`. It names
its loss terms and their weights; the trainer adds them up and never asks which model
it trains. Sizes: ``B`` samples, ``T`` steps, ``d`` features; modalities are keyed
``"text"``, ``"audio"``, ``"vision"``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from torch import Tensor, nn

from msa.data.contract import MODALITIES
from msa.models.steps import Steps


class Shape(NamedTuple):
    """Padded length ``T`` and feature width ``d`` of one modality."""

    steps: int
    width: int


Shapes = dict[str, Shape]
"""Shape of every modality, keyed by modality: all a model is told about its data."""


_MAY_BE_0 = ("plateau_patience", "memory")
"""Whole numbers among the hyper-parameters that mean something at 0."""


class Hyper(BaseModel):
    """Hyper-parameters that every trained model has; each model adds its own.

    The defaults are MFMB-Net's and MIT-FRNet's on MOSI (dossier, training tables).
    Frozen and strict: an unknown name, a wrong type or a number that nothing can be
    trained with is refused.

    Attributes
    ----------
    batch_size : int
    lr, lr_encoder : float
        Adam's learning rate for the model and for a fine-tuned text encoder.
    weight_decay, weight_decay_encoder : float
        L2 penalty added to the gradient (the encoder's norms and biases have none).
    clip_value : float or None
        Bound on every gradient element.
    clip_norm : float or None
        Bound on the norm of a stage's whole gradient.
    plateau_patience : int or None
        Epochs without a better validation loss before the rate is cut.
    plateau_factor : float
        What the rate is then multiplied by.
    early_stop : int
        Epochs without a better validation task loss before training ends.
    running_sum : int or None
        Batches whose gradients are summed up while the optimiser steps after each of
        them, and twice after the last: the released training loop of the TFR-Net
        family. None: one step per batch on its own gradient.
    drop_last : bool
        Leave the incomplete last batch of every split out, in training and in
        evaluation (MFMB-Net's released code).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    batch_size: int = 24
    lr: float = 2e-3
    lr_encoder: float = 1e-5
    weight_decay: float = 1e-3
    weight_decay_encoder: float = 1e-4
    clip_value: float | None = 0.8
    clip_norm: float | None = None
    plateau_patience: int | None = 5
    plateau_factor: float = 0.1
    early_stop: int = 6
    running_sum: int | None = None
    drop_last: bool = False

    # By kind and not field by field: it then holds for what a model adds, too, and for
    # what it declares anew with another default.
    @field_validator("*")
    @classmethod
    def _can_be_trained_with(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name
        for number in value if isinstance(value, tuple) else (value,):
            if number is None or isinstance(number, bool):
                continue
            if not 0 <= number < math.inf:
                raise ValueError("must be finite and not negative")
            counts = isinstance(number, int) and name not in _MAY_BE_0
            if number == 0 and (counts or name.startswith("clip_")):
                raise ValueError("must be above 0")
            if number >= 1 and ("drop" in name or name == "plateau_factor"):
                raise ValueError("must be below 1")
        return value


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
    damaged : bool
        Whether anything is missing in the split the batch comes from, known without
        looking at the device.
    token_ids : dict of str to Tensor of int64, shape (B, L)
        ``"damaged"`` and ``"complete"`` ids where the text encoder is fine-tuned (the
        text features are then made from them), else empty.
    rows : dict of str to Tensor of int64, shape (P,)
        Flat positions b·T + t of the real steps, where the loader knows them.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    mask: dict[str, Tensor]
    missing: dict[str, Tensor]
    labels: Tensor
    index: Tensor
    modality_labels: dict[str, Tensor] = field(default_factory=dict)
    damaged: bool = True
    token_ids: dict[str, Tensor] = field(default_factory=dict)
    rows: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def steps(self) -> dict[str, Steps]:
        """Where the real steps of each modality stand, keyed by modality."""
        return {m: Steps(mask, self.rows.get(m)) for m, mask in self.mask.items()}

    def packed(self) -> dict[str, Tensor]:
        """Return the inputs with one row per real step, (P, d) per modality."""
        return {m: self.steps[m].pack(x) for m, x in self.inputs.items()}


@dataclass
class Outputs:
    """What a model returns for a batch.

    Attributes
    ----------
    prediction : Tensor of float, shape (B,)
        Sentiment scores, unclipped.
    reconstructions : dict of str to Tensor of float, shape (P, d)
        Rebuilt complete sequences, packed, keyed by modality; empty if the model has
        none.
    losses : dict of str to scalar Tensor
        Auxiliary loss terms, unweighted, keyed by the names in ``loss_weights``.
    """

    prediction: Tensor
    reconstructions: dict[str, Tensor] = field(default_factory=dict)
    losses: dict[str, Tensor] = field(default_factory=dict)


class OutputsError(ValueError):
    """A model returned what nothing can be trained or scored with."""


Objective = Callable[[Batch, int], tuple[Tensor, dict[str, Tensor]]]
"""Maps a batch and an epoch to a total and its terms, as :meth:`Model.objective`."""


@dataclass(frozen=True)
class Stage:
    """One pass of an epoch over the training batches, with an optimiser of its own.

    Attributes
    ----------
    name : str
        Prefix of the stage's terms in the curves; the last stage has none.
    objective : callable
        What the stage minimises.
    groups : list of dict
        The optimiser's parameter groups: the stage changes these and no others.
    share : float
        Share of the training rows that the pass visits, in (0, 1].
    """

    name: str
    objective: Objective
    groups: list[dict]
    share: float = 1.0


class Model(nn.Module):
    """Base of every trained model.

    A subclass sets ``loss_weights`` (name to weight, ``"task"`` included) and
    implements ``forward``. Everything else has a default. A training procedure of its
    own is expressed by one or more of these:

    ``objective``
        The loss of a batch. It is called once per training batch, in training mode,
        so it may also bring a memory up to date, as batch normalisation does with its
        running statistics.
    ``begin_training``
        Lays such a memory out, one row per training sample (``Batch.index``).
    ``stages``
        Several passes per epoch, each with its own objective and parameters.
    """

    loss_weights: dict[str, float]
    modalities: ClassVar[tuple[str, ...]] = MODALITIES
    """What the model reads of a batch."""
    trims_padding = True
    """Whether batches may be cut to their longest sequence. True for every model whose
    prediction does not depend on padding; a released variant that lets padding take
    part sets it False."""
    uses_targets = False
    """Whether ``Batch.targets`` are compared with. Where they are not, a fine-tuned
    text encoder need not encode the complete text."""
    auxiliary_from = 1
    """First epoch in which the terms beside ``"task"`` count."""

    def forward(self, batch: Batch) -> Outputs:
        """Predict the sentiment score of each sample of a batch."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def task_loss(self, prediction: Tensor, labels: Tensor) -> Tensor:
        """Mean absolute error, a scalar (MFMB-Net eq. 17, MIT-FRNet eq. 23)."""
        return (prediction - labels).abs().mean()

    def objective(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what training minimises, and its parts.

        A term of weight 0 is not added, so that what it alone would train has no
        gradient and Adam passes it over: with a gradient of 0 the L2 penalty would be
        all that steps there, by about the learning rate each time.

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

        Raises
        ------
        OutputsError
            If the model's outputs do not fit (:meth:`checked`).
        """
        outputs = self.checked(self(batch), batch)
        task = self.task_loss(outputs.prediction, batch.labels)
        terms = {"task": task, **outputs.losses}
        weights = self.weights(epoch)
        counted = [weights[name] * terms[name] for name in terms if weights[name]]
        total = torch.stack(counted).sum()
        return total, terms

    def checked(self, outputs: Outputs, batch: Batch) -> Outputs:
        """Return outputs as they are, if they fit the batch and the loss weights.

        Only shapes and names are looked at, which costs no look at the device.

        Raises
        ------
        OutputsError
            Naming the model, what does not fit and what to do.
        """
        name, shape = type(self).__name__, tuple(outputs.prediction.shape)
        if shape != (count := len(batch.labels),):
            raise OutputsError(
                f"{name} predicts in the shape {shape} for {count} samples; it must be "
                f"({count},), one score per sample: take away what is too much, such "
                "as with prediction[:, 0]"
            )
        lacking = [t for t in ("task", *outputs.losses) if t not in self.loss_weights]
        if lacking:
            raise OutputsError(
                f"{name} has no weight for the loss {', '.join(map(repr, lacking))}; "
                f"its loss_weights have {', '.join(map(repr, self.loss_weights))}: add "
                "what is missing there"
            )
        return outputs

    def begin_training(self, labels: Tensor) -> None:
        """Make ready for a training run; called once, before its first epoch.

        Parameters
        ----------
        labels : Tensor, shape (N,)
            Of the training split, in the order that ``Batch.index`` counts.
        """

    def stages(self, hyper: Hyper) -> tuple[Stage, ...]:
        """Return the passes that make an epoch, in order.

        One by default: the model's objective and all its parameters. The last stage
        is the one that trains what the prediction needs.
        """
        return (Stage("main", self.objective, self.parameter_groups(hyper)),)

    def weights(self, epoch: int) -> dict[str, float]:
        """Return the weight of every loss term in an epoch (numbered from 1)."""
        if epoch >= self.auxiliary_from:
            return self.loss_weights
        return {k: w if k == "task" else 0.0 for k, w in self.loss_weights.items()}

    def parameter_groups(self, hyper: Hyper) -> list[dict]:
        """Return the groups that ``objective`` trains: one for the whole model."""
        return [
            {
                "params": list(self.parameters()),
                "lr": hyper.lr,
                "weight_decay": hyper.weight_decay,
            }
        ]


class Reference(ABC):
    """A reference system that is solved in closed form instead of being trained."""

    @abstractmethod
    def fit(self, train: Batch, valid: Batch) -> None:
        """Fit on the whole training split; the validation split may choose settings."""

    @abstractmethod
    def predict(self, batch: Batch) -> Tensor:
        """Return scores, float32, shape (B,)."""

    @abstractmethod
    def count_parameters(self) -> int:
        """Return the number of fitted values."""
