"""Sub-networks that TFR-Net, MIT-FRNet and MFMB-Net have in common.

TFR-Net is the ancestor of both papers' models. What the three share stands here once;
what they change is in their own files.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msa.data.contract import MODALITIES
from msa.models.base import Batch, Hyper, Model, Shapes
from msa.models.layers import BatchNorm, Conv, dropout, smooth_l1
from msa.models.recurrent import BiRNN
from msa.models.steps import Steps
from msa.models.transformer import EncoderBank, TransformerEncoder, embed

OTHERS = {
    "text": ("audio", "vision"),
    "audio": ("text", "vision"),
    "vision": ("text", "audio"),
}
"""The two source modalities of each query modality, in table order."""

SOURCE_DROPOUT = {"text": 0.2, "audio": 0.1, "vision": 0.0}
"""Dropout on cross-attention weights, by source modality (dossier, MFMB-Net 2)."""

SELF_DROPOUT = 0.2
"""Dropout on self-attention weights."""

RECURRENT_WIDTH = {"text": 36, "audio": 20, "vision": 48}
"""Hidden units per direction of the gate encoder (dossier, MFMB-Net 4)."""


class SequenceSwitches(Hyper):
    """What the released code of TFR-Net, MIT-FRNet and MFMB-Net does to sequences.

    All off in the paper variants.

    Attributes
    ----------
    causal : bool
        A step attends to no later one, in the encoders that relate the modalities.
    attend_padding : bool
        Padding is attended to, convolved and pooled like real steps.
    skip_zero_positions : bool
        A step whose first channel is exactly 0 gets no position.
    batch_axis_reconstruction : bool
        The reconstruction attends over the mini-batch, causally, in place of time.
    late_losses : bool
        Auxiliary losses count from the second epoch on.
    """

    causal: bool = False
    attend_padding: bool = False
    skip_zero_positions: bool = False
    batch_axis_reconstruction: bool = False
    late_losses: bool = False

    @property
    def whole_length(self) -> bool:
        """Whether a result depends on the padded length, so that it must be kept."""
        return self.causal or self.attend_padding or self.batch_axis_reconstruction


class SequenceHyper(SequenceSwitches):
    """Hyper-parameters that the three models share; defaults for MOSI and MOSEI.

    Attributes
    ----------
    width, heads : int
        Common width ``d`` of the modalities and attention heads.
    self_layers, cross_layers : int
        Depth of the encoders within and across modalities.
    text_dropout, embed_dropout, relu_dropout, residual_dropout, gate_dropout : float
    reconstruction : bool
        False is the ablation without it.
    weight_text, weight_audio, weight_vision : float
        Of the modalities' reconstruction losses.
    """

    width: int = 30
    heads: int = 6
    self_layers: int = 3
    cross_layers: int = 3
    text_dropout: float = 0.2
    embed_dropout: float = 0.2
    relu_dropout: float = 0.2
    residual_dropout: float = 0.2
    gate_dropout: float = 0.2
    reconstruction: bool = True
    weight_text: float = 5.0
    weight_audio: float = 2.0
    weight_vision: float = 20.0


SHARED_SIMS = {
    "batch_size": 16,
    "plateau_patience": 10,
    "cross_layers": 2,
    "relu_dropout": 0.0,
    "embed_dropout": 0.1,
    "weight_text": 1.0,
    "weight_audio": 0.01,
    "weight_vision": 0.0001,
}
"""What differs on CH-SIMS in all three (dossier, hyper-parameter tables)."""

RELEASED_SWITCHES = {
    "causal": True,
    "attend_padding": True,
    "skip_zero_positions": True,
    "batch_axis_reconstruction": True,
    "late_losses": True,
    "running_sum": 4,
}
"""The released procedure of all three models (dossier, MFMB-Net 2, 7, 8, 9)."""


class SequenceModel(Model):
    """What the three models do alike with their sequences, as the switches say.

    Parameters
    ----------
    hyper : SequenceHyper
    """

    def __init__(self, hyper: SequenceHyper) -> None:
        super().__init__()
        self.hyper = hyper
        self.loss_weights = {
            "task": 1.0,
            "reconstruction_text": hyper.weight_text,
            "reconstruction_audio": hyper.weight_audio,
            "reconstruction_vision": hyper.weight_vision,
        }
        self.trims_padding = not hyper.whole_length
        self.auxiliary_from = 2 if hyper.late_losses else 1

    def sequences(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Steps]]:
        """Return the inputs, one row per step (P, d) by modality, and their steps."""
        steps = batch.steps
        if self.hyper.attend_padding:
            steps = {m: own.with_padding() for m, own in steps.items()}
        return {m: steps[m].pack(x) for m, x in batch.inputs.items()}, steps


def encoder_bank(
    hyper: SequenceHyper, attention_dropout: tuple[float, ...], layers: int
) -> EncoderBank:
    """Build the encoders that run side by side, as one bank.

    Parameters
    ----------
    hyper : SequenceHyper
        Width, heads, the other dropouts and the mask.
    attention_dropout : tuple of float
        On the attention weights: one probability for each encoder of the bank.
    layers : int

    Returns
    -------
    EncoderBank
    """
    return EncoderBank(
        len(attention_dropout),
        hyper.width,
        hyper.heads,
        layers,
        attention_dropout,
        hyper.relu_dropout,
        hyper.residual_dropout,
        hyper.causal,
    )


class CrossmodalEncoders(nn.Module):
    """Intra- and inter-modal encoders: three per modality, side by side.

    MIT-FRNet eqs. 2-6: each modality attends to itself and to the two others; the
    three results are concatenated on the feature axis.

    Parameters
    ----------
    hyper : SequenceHyper
    """

    def __init__(self, hyper: SequenceHyper) -> None:
        super().__init__()
        self.embed_dropout = hyper.embed_dropout
        self.skip_zeros = hyper.skip_zero_positions
        deep, across = hyper.self_layers, hyper.cross_layers
        self.banks = nn.ModuleDict()
        for query in MODALITIES:
            crossing = tuple(SOURCE_DROPOUT[source] for source in OTHERS[query])
            # One bank of three where the depths allow it, else one of one and of two.
            if deep == across:
                depths = [((SELF_DROPOUT, *crossing), deep)]
            else:
                depths = [((SELF_DROPOUT,), deep), (crossing, across)]
            self.banks[query] = nn.ModuleList(
                encoder_bank(hyper, drops, layers) for drops, layers in depths
            )

    def forward(
        self, x: dict[str, Tensor], steps: dict[str, Steps]
    ) -> dict[str, Tensor]:
        """Map packed (P, d) per modality to (P, 3d), order self, then the others."""
        seen = {
            m: embed(x[m], steps[m], self.embed_dropout, self.training, self.skip_zeros)
            for m in MODALITIES
        }
        out = {}
        for query in MODALITIES:
            sources = (None, *((seen[s], steps[s]) for s in OTHERS[query]))
            parts, start = [], 0
            for bank in self.banks[query]:
                chosen = sources[start : start + bank.count]
                parts.extend(bank(seen[query], steps[query], chosen))
                start += bank.count
            out[query] = torch.cat(parts, -1)  # (P, 3d)
        return out


class ConvProjection(nn.Module):
    """Length-preserving convolutions to a common width (MIT-FRNet eq. 1).

    Kernels 1, 5 and 3 for text, audio and vision, no bias; dropout on the text.
    """

    KERNELS = {"text": 1, "audio": 5, "vision": 3}  # noqa: RUF012

    def __init__(self, shapes: Shapes, width: int, text_dropout: float) -> None:
        super().__init__()
        self.text_dropout = text_dropout
        self.convs = nn.ModuleDict(
            {
                m: Conv(shapes[m].width, width, self.KERNELS[m], bias=False)
                for m in MODALITIES
            }
        )

    def forward(
        self, x: dict[str, Tensor], steps: dict[str, Steps]
    ) -> dict[str, Tensor]:
        """Map packed (P, d_m) per modality to (P, d)."""
        text = dropout(x["text"], self.text_dropout, self.training)
        x = {**x, "text": text}
        return {m: self.convs[m](x[m], steps[m]) for m in MODALITIES}


class GateEncoder(nn.Module):
    """Gate encoder: BiGRU, convolutional gate, linear, maximum over time.

    MIT-FRNet eqs. 13-17.

    Parameters
    ----------
    inputs, hidden, layers : int
    drop : float
        Dropout on the pooled vector.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.rnn = BiRNN("gru", inputs, hidden, layers)
        self.gate = Conv(2 * hidden, 1, 3)
        self.linear = nn.Linear(self.beside(inputs, hidden) + 2 * hidden, hidden)

    def forward(self, x: Tensor, steps: Steps) -> Tensor:
        """Map packed (P, inputs) to one vector per sample, (B, hidden)."""
        states = self.rnn(x, steps)  # eq. 13, (P, 2h)
        gate = self.gate(states, steps)  # eq. 14, (P, 1)
        gated = states.tanh() * gate.sigmoid()  # eq. 15
        mixed = self.mix(x, states, gated)  # eq. 16, (P, h)
        return dropout(steps.max(mixed), self.drop, self.training)  # eq. 17

    @staticmethod
    def beside(inputs: int, hidden: int) -> int:
        """Return the width of what the linear map reads beside the gated states."""
        return 2 * hidden

    def mix(self, x: Tensor, states: Tensor, gated: Tensor) -> Tensor:
        """Map the states and their gated form (P, 2h) to (P, h)."""
        return self.linear(torch.cat([states, gated], -1))


class InputGateEncoder(GateEncoder):
    """TFR-Net's gate encoder: its own input beside the gated states, then a tanh."""

    @staticmethod
    def beside(inputs: int, hidden: int) -> int:
        """Return the width of the input."""
        return inputs

    def mix(self, x: Tensor, states: Tensor, gated: Tensor) -> Tensor:
        """Map the input (P, inputs) and the gated states (P, 2h) to (P, h)."""
        return self.linear(torch.cat([x, gated], -1)).tanh()


class Reconstruction(nn.Module):
    """Attention over each modality's steps, then a linear map to its features.

    MIT-FRNet eqs. 7-8 and TFR-Net: a self-attention encoder of its own per modality,
    without positions, scale or dropouts (see ``ledger.toml``).

    Parameters
    ----------
    shapes : Shapes
    width, heads, layers : int
        Of the encoder that reads packed (P, width).
    """

    def __init__(self, shapes: Shapes, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(
            {
                m: TransformerEncoder(width, heads, layers, positions=False)
                for m in MODALITIES
            }
        )
        self.linear = nn.ModuleDict(
            {m: nn.Linear(width, shapes[m].width) for m in MODALITIES}
        )

    def encode(
        self, x: dict[str, Tensor], steps: dict[str, Steps]
    ) -> dict[str, Tensor]:
        """Attend: packed (P, width) per modality to the same shape (eq. 7)."""
        return {m: self.encoders[m](x[m], steps[m]) for m in MODALITIES}

    def decode(
        self, x: dict[str, Tensor], steps: dict[str, Steps]
    ) -> dict[str, Tensor]:
        """Map (P, width) per modality to features (P, d_m), real steps only (eq. 8)."""
        return {m: self.linear[m](steps[m].only_real(x[m])) for m in MODALITIES}

    def forward(
        self, x: dict[str, Tensor], steps: dict[str, Steps]
    ) -> dict[str, Tensor]:
        """Map packed (P, width) per modality to (P, d_m)."""
        return self.decode(self.encode(x, steps), steps)


class BatchAxisReconstruction(Reconstruction):
    """The released reconstruction: attention over the mini-batch, not over time.

    Every channel is one sequence, every sample one step of it, and the time axis of
    padded length T is the embedding, normalised and multiplied like features; a sample
    sees those before it in its batch. 25 heads where 25 divides T, else their largest
    common divisor (with 25 heads the released code cannot run on CH-SIMS). Without
    scale and dropouts, so not all of the released encoder (see ``released.toml``).

    Parameters
    ----------
    shapes : Shapes
    width, layers : int
    """

    HEADS = 25

    def __init__(self, shapes: Shapes, width: int, layers: int) -> None:
        nn.Module.__init__(self)
        self.encoders = nn.ModuleDict(
            {
                m: TransformerEncoder(
                    shapes[m].steps,
                    math.gcd(self.HEADS, shapes[m].steps),
                    layers,
                    positions=False,
                    causal=True,
                )
                for m in MODALITIES
            }
        )
        self.linear = nn.ModuleDict(
            {m: nn.Linear(width, shapes[m].width) for m in MODALITIES}
        )

    def encode(
        self, x: dict[str, Tensor], steps: dict[str, Steps]
    ) -> dict[str, Tensor]:
        """Attend: packed (P, width) per modality to the same shape."""
        out = {}
        for m in MODALITIES:
            channels = steps[m].pad(x[m]).permute(2, 0, 1)  # (width, B, T)
            samples = Steps.full(*channels.shape[:2], channels.device)
            recalled = self.encoders[m](channels.flatten(0, 1), samples)
            recalled = recalled.view(channels.shape).permute(1, 2, 0)  # (B, T, width)
            out[m] = steps[m].pack(recalled.contiguous())
        return out


def missing_losses(rebuilt: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Smooth-L1 on the missing steps of each modality (MFMB-Net eq. 18).

    Parameters
    ----------
    rebuilt : dict of str to Tensor, shape (P, d_m)
        Packed reconstructions.
    batch : Batch

    Returns
    -------
    dict of str to scalar Tensor
        ``"reconstruction_<modality>"``; 0 where nothing is missing.
    """
    losses = {}
    for m in MODALITIES:
        steps = batch.steps[m]
        target = steps.pack(batch.targets[m])
        missing = batch.missing[m].flatten()[steps.rows]
        losses[f"reconstruction_{m}"] = smooth_l1(rebuilt[m], target, missing)
    return losses


class Classifier(nn.Module):
    """Batch normalisation, hidden layer, one score (dossier, MIT-FRNet 1)."""

    def __init__(self, inputs: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.norm = BatchNorm(inputs)
        self.hidden = nn.Linear(inputs, hidden)
        self.drop = drop
        self.score = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs) to scores (B,)."""
        x = F.leaky_relu(self.hidden(self.norm(x)), 0.01)
        return self.score(dropout(x, self.drop, self.training))[:, 0]
