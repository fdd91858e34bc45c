"""TFR-Net, module by module: the yardstick for the speed of the shared layers.

The same network as :class:`msa.models.tfr_net.TFRNet`, written as one would at first:
nine Transformer stacks of PyTorch's own layers one after the other, ``nn.GRU``, padded
batches, ``F.dropout``. It gives the same predictions from the same weights (tested).
It has fewer parameters by one layer norm per Transformer layer: here one norm serves
queries, keys and values, as in MulT; there the queries have one and the keys and
values another.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from msa.data.contract import MODALITIES
from msa.models.base import Batch, Model, Outputs, Shapes
from msa.models.blocks import (
    OTHERS,
    RECURRENT_WIDTH,
    SELF_DROPOUT,
    SOURCE_DROPOUT,
    Classifier,
    ConvProjection,
)
from msa.models.layers import smooth_l1
from msa.models.tfr_net import TFRNetHyper
from msa.models.transformer import sinusoid


class Layer(nn.Module):
    """One pre-norm Transformer layer that attends to itself or to a source."""

    def __init__(
        self, width: int, heads: int, drops: tuple[float, float, float]
    ) -> None:
        super().__init__()
        attention, self.relu_drop, self.residual_drop = drops
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(
            width, heads, dropout=attention, batch_first=True
        )
        self.norm_ffn = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, source: Tensor | None, padding: Tensor) -> Tensor:
        """Map (B, T, d) to (B, T, d); ``padding`` (B, S) is True at padded keys."""
        query = self.norm(x)
        keys = query if source is None else self.norm(source)
        mixed, _ = self.attention(query, keys, keys, padding, need_weights=False)
        x = x + F.dropout(mixed, self.residual_drop, self.training)
        hidden = self.expand(self.norm_ffn(x)).relu()
        hidden = self.contract(F.dropout(hidden, self.relu_drop, self.training))
        return x + F.dropout(hidden, self.residual_drop, self.training)


class Stack(nn.Module):
    """Layers and a last norm; scales its input and adds positions if asked."""

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        drops: tuple[float, float, float],
        embed_drop: float | None = None,
    ) -> None:
        super().__init__()
        self.embed_drop = embed_drop
        self.layers = nn.ModuleList(Layer(width, heads, drops) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def embedded(self, x: Tensor) -> Tensor:
        """Scale (B, T, d) by sqrt(d), add positions, drop; None: leave as it is."""
        if self.embed_drop is None:
            return x
        codes = sinusoid(x.shape[1], x.shape[2], x.device)
        x = math.sqrt(x.shape[2]) * x + codes
        return F.dropout(x, self.embed_drop, self.training)

    def forward(self, x: Tensor, source: Tensor | None, padding: Tensor) -> Tensor:
        """Map (B, T, d) to (B, T, d)."""
        x = self.embedded(x)
        source = None if source is None else self.embedded(source)
        for layer in self.layers:
            x = layer(x, source, padding)
        return self.norm(x)


class Gate(nn.Module):
    """BiGRU, convolutional gate, linear map, tanh, maximum over time."""

    def __init__(self, inputs: int, hidden: int, layers: int, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.rnn = nn.GRU(inputs, hidden, layers, batch_first=True, bidirectional=True)
        self.conv = nn.Conv1d(2 * hidden, 1, 3, padding=1)
        self.linear = nn.Linear(inputs + 2 * hidden, hidden)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, T, inputs) to (B, hidden)."""
        packed = pack_padded_sequence(
            x, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(
            self.rnn(packed)[0], batch_first=True, total_length=x.shape[1]
        )
        gate = self.conv(states.transpose(1, 2)).transpose(1, 2).sigmoid()
        mixed = self.linear(torch.cat([x, states.tanh() * gate], -1)).tanh()
        pooled = mixed.masked_fill(~mask[..., None], -torch.inf).amax(1)
        return F.dropout(pooled, self.drop, self.training)


class PlainTFRNet(Model):
    """TFR-Net from PyTorch's own layers, on padded batches.

    Parameters
    ----------
    shapes : Shapes
    hyper : TFRNetHyper
    """

    def __init__(self, shapes: Shapes, hyper: TFRNetHyper) -> None:
        super().__init__()
        d = hyper.width
        self.text_dropout = hyper.text_dropout
        self.convs = nn.ModuleDict(
            {
                m: nn.Conv1d(shapes[m].width, d, k, padding=k // 2, bias=False)
                for m, k in ConvProjection.KERNELS.items()
            }
        )

        def stack(attention: float, layers: int) -> Stack:
            drops = (attention, hyper.relu_dropout, hyper.residual_dropout)
            return Stack(d, hyper.heads, layers, drops, hyper.embed_dropout)

        self.within = nn.ModuleDict(
            {m: stack(SELF_DROPOUT, hyper.self_layers) for m in MODALITIES}
        )
        self.across = nn.ModuleDict(
            {
                f"{m}_from_{s}": stack(SOURCE_DROPOUT[s], hyper.cross_layers)
                for m in MODALITIES
                for s in OTHERS[m]
            }
        )
        self.recall = nn.ModuleDict(
            {
                m: Stack(
                    3 * d,
                    hyper.reconstruction_heads,
                    hyper.reconstruction_layers,
                    (0.0, 0.0, 0.0),
                )
                for m in MODALITIES
            }
        )
        self.rebuild = nn.ModuleDict(
            {m: nn.Linear(3 * d, shapes[m].width) for m in MODALITIES}
        )
        self.condense = nn.ModuleDict(
            {
                m: Gate(3 * d, width, hyper.gate_layers, hyper.gate_dropout)
                for m, width in RECURRENT_WIDTH.items()
            }
        )
        self.classify = Classifier(
            sum(RECURRENT_WIDTH.values()),
            hyper.classifier_hidden,
            hyper.classifier_dropout,
        )
        self.uses_targets = True
        self.loss_weights = {
            "task": 1.0,
            "reconstruction_text": hyper.weight_text,
            "reconstruction_audio": hyper.weight_audio,
            "reconstruction_vision": hyper.weight_vision,
        }

    def forward(self, batch: Batch) -> Outputs:
        """Predict, and rebuild the missing steps."""
        mask = batch.mask
        padding = {m: ~mask[m] for m in MODALITIES}
        x = dict(batch.inputs)
        x["text"] = F.dropout(x["text"], self.text_dropout, self.training)
        c = {m: self.convs[m](x[m].transpose(1, 2)).transpose(1, 2) for m in MODALITIES}
        h, rebuilt, pooled, losses = {}, {}, [], {}
        for m in MODALITIES:
            parts = [self.within[m](c[m], None, padding[m])]
            for s in OTHERS[m]:
                parts.append(self.across[f"{m}_from_{s}"](c[m], c[s], padding[s]))
            h[m] = torch.cat(parts, -1)  # (B, T, 3d)
        for m in MODALITIES:
            recalled = self.recall[m](h[m], None, padding[m])
            rebuilt[m] = self.rebuild[m](recalled)  # (B, T, d_m)
            pooled.append(self.condense[m](h[m], mask[m]))
            losses[f"reconstruction_{m}"] = smooth_l1(
                rebuilt[m], batch.targets[m], batch.missing[m]
            )
        return Outputs(self.classify(torch.cat(pooled, -1)), rebuilt, losses)
