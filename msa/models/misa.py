"""MISA (Hazarika et al., ACM Multimedia 2020): modality-invariant and -specific parts.

Each modality becomes one vector, and that vector is seen twice: in a space of its own
and in a space shared by all. The shared parts are drawn together, the private parts
pushed apart, both together must rebuild the vector; attention over the six parts makes
the prediction. Steps have the paper's names; sizes and rates are those of the field's
common benchmark code (dossier, MISA); decisions are in ``ledger.toml``.
"""

from __future__ import annotations

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msa.data.contract import MODALITIES
from msa.models.base import Batch, Hyper, Model, Outputs, Shapes
from msa.models.layers import dropout, masked_mean
from msa.models.recurrent import BiRNN, final_states
from msa.models.steps import Steps

PAIRS = tuple(combinations(MODALITIES, 2))
"""The three modality pairs of the similarity and difference losses."""

MOMENTS = 5
"""Highest central moment that the similarity loss compares."""


class MISAHyper(Hyper):
    """MISA's hyper-parameters; those published for MOSI.

    ``text_length`` is a trap of the public code: audio and vision are read only as far
    as the text is long.
    """

    batch_size: int = 32
    lr: float = 1e-4
    lr_encoder: float = 1e-4
    weight_decay: float = 0.0
    weight_decay_encoder: float = 0.0
    clip_value: float | None = 0.8
    plateau_patience: int | None = None
    early_stop: int = 8
    width: int = 128
    heads: int = 2
    drop: float = 0.2
    attention_dropout: float = 0.1
    weight_difference: float = 0.1
    weight_similarity: float = 0.3
    weight_reconstruction: float = 1.0
    text_length: bool = False


TUNED_MOSI = {"lr": 5e-4}
"""Chosen on the validation split of CMU-MOSI, clip-context (study mosi-tuning)."""

MOSEI = {
    "batch_size": 128,
    "drop": 0.5,
    "weight_difference": 0.3,
    "weight_similarity": 0.8,
}
"""What differs on CMU-MOSEI (dossier, MISA)."""

SIMS = {
    "batch_size": 128,
    "clip_value": 1.0,
    "drop": 0.0,
    "weight_difference": 0.3,
    "weight_similarity": 1.0,
    "weight_reconstruction": 0.8,
}
"""What differs on CH-SIMS (dossier, MISA)."""


def cmd(x: Tensor, y: Tensor) -> Tensor:
    """Central moment discrepancy of two samples of vectors.

    Distance of the means plus the distances of the central moments 2 to 5. Values are
    taken to lie in [0, 1], so no moment is rescaled.

    Parameters
    ----------
    x, y : Tensor, shape (B, d)

    Returns
    -------
    scalar Tensor
    """
    mean_x, mean_y = x.mean(0), y.mean(0)
    off_x, off_y = x - mean_x, y - mean_y
    gaps = [mean_x - mean_y]
    gaps += [(off_x**k).mean(0) - (off_y**k).mean(0) for k in range(2, MOMENTS + 1)]
    return torch.linalg.vector_norm(torch.stack(gaps), dim=1).sum()


def spread(x: Tensor) -> Tensor:
    """Zero mean over the batch, unit length per row, for :func:`difference`.

    The length is a constant to the gradient.
    """
    x = x - x.mean(0)
    return x / (x.detach().norm(dim=1, keepdim=True) + 1e-6)


def difference(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared entry of X'Y, a soft orthogonality.

    Parameters
    ----------
    x, y : Tensor, shape (B, d)
        Come through :func:`spread`.

    Returns
    -------
    scalar Tensor
    """
    return (x.T @ y).square().mean()


class StackedNetwork(nn.Module):
    """Two BiLSTM layers with a layer norm between; the final states of both.

    Parameters
    ----------
    inputs : int
        Feature width ``d``, also the hidden units per direction.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.first = BiRNN("lstm", inputs, inputs)
        self.norm = nn.LayerNorm(2 * inputs)
        self.second = BiRNN("lstm", 2 * inputs, inputs)

    def forward(self, x: Tensor, steps: Steps) -> Tensor:
        """Map packed (P, d) to (B, 4d)."""
        low = self.first(x, steps)  # (P, 2d)
        high = self.second(self.norm(low), steps)
        return torch.cat([final_states(x, steps) for x in (low, high)], -1)


class MISA(Model):
    """Modality-invariant and -specific representations.

    Parameters
    ----------
    shapes : Shapes
        Padded length and width of every modality.
    hyper : MISAHyper
    """

    def __init__(self, shapes: Shapes, hyper: MISAHyper) -> None:
        super().__init__()
        h = hyper.width
        self.drop, self.text_length = hyper.drop, hyper.text_length
        self.sequence = nn.ModuleDict(
            {m: StackedNetwork(shapes[m].width) for m in ("audio", "vision")}
        )
        widths = {m: 4 * shapes[m].width for m in self.sequence}
        widths["text"] = shapes["text"].width
        self.project = nn.ModuleDict(
            {
                m: nn.Sequential(nn.Linear(widths[m], h), nn.ReLU(), nn.LayerNorm(h))
                for m in MODALITIES
            }
        )
        self.private = nn.ModuleDict({m: nn.Linear(h, h) for m in MODALITIES})
        self.shared = nn.Linear(h, h)
        self.rebuild = nn.ModuleDict({m: nn.Linear(h, h) for m in MODALITIES})
        self.attend = nn.TransformerEncoderLayer(
            h, hyper.heads, 4 * h, hyper.attention_dropout, batch_first=True
        )
        self.hidden = nn.Linear(6 * h, 3 * h)
        self.predict = nn.Linear(3 * h, 1)
        self.loss_weights = {
            "task": 1.0,
            "difference": hyper.weight_difference,
            "similarity": hyper.weight_similarity,
            "reconstruction": hyper.weight_reconstruction,
        }

    def task_loss(self, prediction: Tensor, labels: Tensor) -> Tensor:
        """Mean squared error, a scalar."""
        return F.mse_loss(prediction, labels)

    def forward(self, batch: Batch) -> Outputs:
        """Predict scores, and compare and rebuild the parts."""
        inputs = batch.inputs
        u = {"text": masked_mean(inputs["text"], batch.mask["text"])}
        for m, network in self.sequence.items():
            steps = self.steps_read(batch, m)
            u[m] = network(steps.pack(inputs[m]), steps)
        u = {m: self.project[m](u[m]) for m in MODALITIES}  # (B, h)
        private = {m: self.private[m](u[m]).sigmoid() for m in MODALITIES}
        shared = {m: self.shared(u[m]).sigmoid() for m in MODALITIES}
        parts = [side[m] for side in (private, shared) for m in MODALITIES]
        mixed = self.attend(torch.stack(parts, 1))  # fusion, (B, 6, h)
        hidden = dropout(self.hidden(mixed.flatten(1)), self.drop, self.training)
        prediction = self.predict(hidden.relu())[:, 0]  # (B,)
        return Outputs(prediction, losses=self.part_losses(u, private, shared))

    def steps_read(self, batch: Batch, modality: str) -> Steps:
        """Return the steps of audio or vision that are read: all real ones."""
        if not self.text_length:
            return batch.steps[modality]
        mask = batch.mask[modality]
        step = torch.arange(mask.shape[1], device=mask.device)
        return Steps(mask & (step < batch.steps["text"].lengths[:, None]))

    def part_losses(
        self,
        u: dict[str, Tensor],
        private: dict[str, Tensor],
        shared: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Return the difference, similarity and reconstruction losses.

        Parameters
        ----------
        u, private, shared : dict of str to Tensor, shape (B, h)
            Projected vectors and their two parts, keyed by modality.
        """
        own = {m: spread(private[m]) for m in MODALITIES}
        common = {m: spread(shared[m]) for m in MODALITIES}
        apart = [difference(own[m], common[m]) for m in MODALITIES]
        apart += [difference(own[a], own[b]) for a, b in PAIRS]
        near = [cmd(shared[a], shared[b]) for a, b in PAIRS]
        rebuilt = [
            F.mse_loss(self.rebuild[m](private[m] + shared[m]), u[m])
            for m in MODALITIES
        ]
        return {
            "difference": torch.stack(apart).sum(),
            "similarity": torch.stack(near).mean(),
            "reconstruction": torch.stack(rebuilt).mean(),
        }
