"""MulT (Tsai et al., ACL 2019): multimodal Transformer for unaligned sequences.

Convolutions bring the modalities to one width; six cross-modal Transformers let each
modality read the two others at their own pace; one Transformer per modality then reads
what came in, and the last step of each speaks for its sequence. Steps have the paper's
names; sizes and rates are those of the field's common benchmark code (dossier, MulT);
decisions are in ``ledger.toml``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from msa.data.contract import MODALITIES
from msa.models.base import Batch, Hyper, Model, Outputs, Shapes
from msa.models.blocks import OTHERS
from msa.models.layers import Conv, dropout
from msa.models.steps import Steps
from msa.models.transformer import EncoderBank, embed


class MulTHyper(Hyper):
    """MulT's hyper-parameters; those published for MOSI.

    ``no_positions`` is a trap of the public code: steps are not told apart by place.
    """

    batch_size: int = 128
    lr: float = 2e-3
    weight_decay: float = 0.0
    clip_value: float | None = 0.6
    plateau_patience: int | None = 5
    early_stop: int = 8
    width: int = 50
    heads: int = 10
    layers: int = 4
    kernel_text: int = 5
    kernel_audio: int = 5
    kernel_vision: int = 5
    attention_dropout_text: float = 0.3
    attention_dropout_audio: float = 0.2
    attention_dropout_vision: float = 0.0
    relu_dropout: float = 0.0
    embed_dropout: float = 0.2
    residual_dropout: float = 0.0
    text_dropout: float = 0.5
    output_dropout: float = 0.5
    no_positions: bool = False


TUNED_MOSI = {"batch_size": 64}
"""Chosen on the validation split of CMU-MOSI, clip-context (study mosi-tuning)."""

MOSEI = {
    "batch_size": 32,
    "lr": 5e-4,
    "plateau_patience": 20,
    "width": 30,
    "heads": 6,
    "kernel_audio": 1,
    "kernel_vision": 3,
    "attention_dropout_text": 0.4,
    "attention_dropout_audio": 0.0,
    "embed_dropout": 0.0,
    "text_dropout": 0.3,
}
"""What differs on CMU-MOSEI (dossier, MulT)."""

SIMS = {
    "plateau_patience": 10,
    "layers": 2,
    "kernel_audio": 1,
    "kernel_vision": 1,
    "attention_dropout_text": 0.2,
    "attention_dropout_audio": 0.1,
    "embed_dropout": 0.1,
    "residual_dropout": 0.2,
    "text_dropout": 0.3,
    "output_dropout": 0.1,
}
"""What differs on CH-SIMS (dossier, MulT)."""


class MulT(Model):
    """Multimodal Transformer.

    Parameters
    ----------
    shapes : Shapes
        Padded length and width of every modality.
    hyper : MulTHyper
    """

    def __init__(self, shapes: Shapes, hyper: MulTHyper) -> None:
        super().__init__()
        d = hyper.width
        self.text_dropout = hyper.text_dropout
        self.embed_dropout = hyper.embed_dropout
        self.output_dropout = hyper.output_dropout
        self.no_positions = hyper.no_positions
        values = hyper.model_dump()
        attention = {m: values[f"attention_dropout_{m}"] for m in MODALITIES}
        self.convs = nn.ModuleDict(
            {
                m: Conv(shapes[m].width, d, values[f"kernel_{m}"], bias=False)
                for m in MODALITIES
            }
        )

        def bank(width: int, layers: int, drops: tuple[float, ...]) -> EncoderBank:
            return EncoderBank(
                len(drops),
                width,
                hyper.heads,
                layers,
                drops,
                hyper.relu_dropout,
                hyper.residual_dropout,
            )

        self.cross = nn.ModuleDict(
            {
                m: bank(d, hyper.layers, tuple(attention[s] for s in OTHERS[m]))
                for m in MODALITIES
            }
        )
        self.recall = nn.ModuleDict(
            {
                m: bank(2 * d, max(hyper.layers, 3), (attention["text"],))
                for m in MODALITIES
            }
        )
        self.residual = nn.ModuleList(nn.Linear(6 * d, 6 * d) for _ in range(2))
        self.predict = nn.Linear(6 * d, 1)
        self.loss_weights = {"task": 1.0}

    def forward(self, batch: Batch) -> Outputs:
        """Predict scores, unbounded."""
        steps, x = batch.steps, batch.packed()
        x["text"] = dropout(x["text"], self.text_dropout, self.training)
        x = {
            m: self.convs[m](x[m], steps[m]) for m in MODALITIES
        }  # convolution, (P, d)
        seen = {m: self.embedded(x[m], steps[m]) for m in MODALITIES}  # positions
        ends = []
        for m in MODALITIES:
            sources = tuple((seen[s], steps[s]) for s in OTHERS[m])
            crossed = self.cross[m](seen[m], steps[m], sources)  # crossmodal, (2, P, d)
            both = torch.cat(list(crossed), -1)  # (P, 2d)
            recalled = self.recall[m](self.embedded(both, steps[m]), steps[m])[0]
            ends.append(recalled.index_select(0, steps[m].last))  # (B, 2d)
        z = torch.cat(ends, -1)  # (B, 6d)
        hidden = dropout(self.residual[0](z).relu(), self.output_dropout, self.training)
        return Outputs(self.predict(z + self.residual[1](hidden))[:, 0])

    def embedded(self, x: Tensor, steps: Steps) -> Tensor:
        """Scale packed (P, d), add positions, drop."""
        if self.no_positions:
            return dropout(x * math.sqrt(x.shape[1]), self.embed_dropout, self.training)
        return embed(x, steps, self.embed_dropout, self.training)
