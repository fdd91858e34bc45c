"""TFN (Zadeh et al., EMNLP 2017): tensor fusion network.

One vector per modality, a constant 1 in front of each, and the outer product of the
three: it holds every unimodal, bimodal and trimodal product. A small network reads the
score off it. Sizes and rates are those of the field's common benchmark code (dossier,
TFN); where that differs from the paper, the decision is in ``ledger.toml``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msa.models.base import Batch, Hyper, Model, Outputs, Shapes
from msa.models.layers import BatchNorm, dropout, masked_mean
from msa.models.recurrent import LastState


class SubnetworksHyper(Hyper):
    """What TFN and LMF share: widths and dropouts of the sub-networks.

    ``bound`` is the largest absolute value of a normalised audio or vision feature;
    None for no cut.
    """

    weight_decay: float = 0.0
    clip_value: float | None = None
    plateau_patience: int | None = None
    early_stop: int = 8
    hidden_text: int = 128
    hidden_audio: int = 32
    hidden_vision: int = 128
    dropout_text: float = 0.3
    dropout_audio: float = 0.3
    dropout_vision: float = 0.3
    bound: float | None = None


class TFNHyper(SubnetworksHyper):
    """TFN's hyper-parameters; defaults for MOSI."""

    batch_size: int = 32
    lr: float = 1e-3
    text_width: int = 32
    post_width: int = 64
    post_dropout: float = 0.5
    label_bound: float = 3.0


MOSEI = {
    "batch_size": 128,
    "lr": 5e-3,
    "hidden_audio": 16,
    "text_width": 128,
    "post_width": 16,
    "dropout_text": 0.4,
    "dropout_audio": 0.4,
    "dropout_vision": 0.4,
    "post_dropout": 0.4,
}
"""What differs on CMU-MOSEI (dossier, TFN)."""

SIMS = {
    "lr": 5e-4,
    "text_width": 256,
    "post_width": 32,
    "dropout_text": 0.4,
    "dropout_audio": 0.4,
    "dropout_vision": 0.4,
    "post_dropout": 0.4,
    "label_bound": 1.0,
}
"""What differs on CH-SIMS (dossier, TFN); its labels lie between -1 and 1."""


class PooledNetwork(nn.Module):
    """Sub-network of audio or vision: mean over time, then three layers."""

    def __init__(
        self, inputs: int, hidden: int, drop: float, bound: float | None = None
    ) -> None:
        super().__init__()
        self.drop = drop
        self.norm = BatchNorm(inputs, bound)
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, T, inputs) to (B, hidden)."""
        pooled = self.norm(masked_mean(x, mask))  # (B, inputs)
        return self.layers(dropout(pooled, self.drop, self.training))


class Subnetworks(nn.Module):
    """The modality embedding sub-networks of TFN, which LMF keeps.

    The text vector is an LSTM's state after the last real token, mapped linearly.

    Parameters
    ----------
    shapes : Shapes
    hyper : SubnetworksHyper
    text_width : int
        Width of the text vector.
    """

    def __init__(
        self, shapes: Shapes, hyper: SubnetworksHyper, text_width: int
    ) -> None:
        super().__init__()
        self.text = LastState(
            shapes["text"].width, hyper.hidden_text, text_width, hyper.dropout_text
        )
        self.audio = PooledNetwork(
            shapes["audio"].width,
            hyper.hidden_audio,
            hyper.dropout_audio,
            hyper.bound,
        )
        self.vision = PooledNetwork(
            shapes["vision"].width,
            hyper.hidden_vision,
            hyper.dropout_vision,
            hyper.bound,
        )
        self.widths = text_width, hyper.hidden_audio, hyper.hidden_vision

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return text, audio and vision vectors with a 1 in front, (B, 1 + width)."""
        networks = {"text": self.text, "audio": self.audio, "vision": self.vision}
        vectors = (f(batch.inputs[m], batch.mask[m]) for m, f in networks.items())
        return tuple(F.pad(z, (1, 0), value=1.0) for z in vectors)


def outer(text: Tensor, audio: Tensor, vision: Tensor) -> Tensor:
    """Outer product of three vectors per sample, flattened: the fusion layer.

    Parameters
    ----------
    text, audio, vision : Tensor, shapes (B, t), (B, a), (B, v)

    Returns
    -------
    Tensor, shape (B, t·a·v)
        The last index runs over vision.
    """
    pair = torch.bmm(text[:, :, None], audio[:, None]).flatten(1)  # (B, t·a)
    return torch.bmm(pair[:, :, None], vision[:, None]).flatten(1)


class TFN(Model):
    """Tensor fusion network.

    Parameters
    ----------
    shapes : Shapes
        Padded length and width of every modality.
    hyper : TFNHyper
    """

    def __init__(self, shapes: Shapes, hyper: TFNHyper) -> None:
        super().__init__()
        self.post_dropout, self.label_bound = hyper.post_dropout, hyper.label_bound
        self.embed = Subnetworks(shapes, hyper, hyper.text_width)
        t, a, v = (1 + width for width in self.embed.widths)
        self.infer = nn.Sequential(
            nn.Linear(t * a * v, hyper.post_width),
            nn.ReLU(),
            nn.Linear(hyper.post_width, hyper.post_width),
            nn.ReLU(),
            nn.Linear(hyper.post_width, 1),
        )
        self.loss_weights = {"task": 1.0}

    def forward(self, batch: Batch) -> Outputs:
        """Predict scores between -label_bound and label_bound."""
        text, audio, vision = self.embed(batch)  # embedding, (B, 1 + width) each
        fused = outer(text, audio, vision)  # fusion, (B, t·a·v)
        fused = dropout(fused, self.post_dropout, self.training)
        share = self.infer(fused)[:, 0].sigmoid()  # inference, (B,)
        return Outputs(self.label_bound * (2 * share - 1))
