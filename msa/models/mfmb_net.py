"""MFMB-Net (Tao et al., AAAI 2025): multi-focus-driven multi-branch network.

A hybrid parallel attention aligns the modalities; a macro stream carries a small hub of
tokens through vision, audio and text; a micro stream gates each modality locally and
fuses text with vision and with audio; a reconstruction branch rebuilds what is missing.
The layers follow the paper's equations (1)-(19) in their order; where the paper is
silent, the decision is in ``ledger.toml``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from msa.data.contract import MODALITIES
from msa.models.attention import Attention
from msa.models.base import Batch, Outputs, Shapes
from msa.models.blocks import (
    OTHERS,
    RECURRENT_WIDTH,
    SELF_DROPOUT,
    SHARED_SIMS,
    SOURCE_DROPOUT,
    BatchAxisReconstruction,
    CrossmodalEncoders,
    SequenceModel,
    encoder_bank,
    missing_losses,
)
from msa.models.layers import Conv, dropout
from msa.models.mfmb_net_released import (
    RELEASED_HUB_ORDER,
    CoarseOnly,
    MFMBNetSwitches,
    PooledGate,
    TimeMap,
    WideHead,
    ZeroHub,
    shared_encoders,
)
from msa.models.recurrent import BiRNN
from msa.models.steps import Steps
from msa.models.transformer import TransformerEncoder, embed

HUB_ORDER = ("vision", "audio", "text")
"""The order in which the hub visits the modalities (eqs. 4-6)."""

STACKED = (("text", "vision"), ("text", "audio"))
"""The pairs of the micro stream (eq. 11)."""


class MFMBNetHyper(MFMBNetSwitches):
    """MFMB-Net's hyper-parameters; defaults for MOSI and MOSEI."""

    macro: bool = True
    hub_tokens: int = 4
    macro_layers: int = 4
    macro_heads: int = 10
    micro: bool = True
    fine_width: int = 64


SIMS = SHARED_SIMS | {"wide_head_dropout": 0.1}
"""What differs on CH-SIMS (dossier, hyper-parameter table)."""

TUNED_SIMS = {"lr": 5e-4}
"""Chosen on the validation split of CH-SIMS, clip-context (study sims-tuning)."""


class HybridAttention(nn.Module):
    """Alignment, HPA (eq. 2): self-attention first, then cross-attention.

    The aligned sequence and its two crossings are concatenated: width 3d.
    """

    def __init__(self, hyper: MFMBNetHyper) -> None:
        super().__init__()
        self.embed_dropout = hyper.embed_dropout
        self.skip_zeros = hyper.skip_zero_positions
        self.align, self.cross = nn.ModuleDict(), nn.ModuleDict()
        # Two loops: the order of building is the order in which weights are drawn.
        for m in MODALITIES:
            self.align[m] = encoder_bank(hyper, (SELF_DROPOUT,), hyper.self_layers)
        for m in MODALITIES:
            crossing = tuple(SOURCE_DROPOUT[source] for source in OTHERS[m])
            self.cross[m] = encoder_bank(hyper, crossing, hyper.cross_layers)

    def forward(
        self, h: dict[str, Tensor], steps: dict[str, Steps]
    ) -> dict[str, Tensor]:
        """Map packed (P, d) per modality to (P, 3d)."""
        aligned, seen = {}, {}
        for m in MODALITIES:
            x = self._embed(h[m], steps[m])
            aligned[m] = self.align[m](x, steps[m])[0]
            seen[m] = self._embed(aligned[m], steps[m])
        out = {}
        for m in MODALITIES:
            sources = tuple((seen[s], steps[s]) for s in OTHERS[m])
            crossed = self.cross[m](seen[m], steps[m], sources)
            out[m] = torch.cat([aligned[m], *crossed], -1)  # (P, 3d)
        return out

    def _embed(self, x: Tensor, steps: Steps) -> Tensor:
        return embed(x, steps, self.embed_dropout, self.training, self.skip_zeros)


def separate_encoders(
    width: int, hyper: MFMBNetHyper
) -> tuple[nn.ModuleDict, nn.ModuleDict]:
    """Return an encoder per modality before the hub (eq. 3) and with it (eqs. 4-6)."""

    def encoders(positions: bool) -> nn.ModuleDict:
        return nn.ModuleDict(
            {
                m: TransformerEncoder(
                    width, hyper.macro_heads, hyper.macro_layers, positions=positions
                )
                for m in HUB_ORDER
            }
        )

    return encoders(positions=True), encoders(positions=False)


class LearnedHub(nn.Module):
    """The coarse hub: k learned tokens, all of which are read (eqs. 4 and 7).

    Parameters
    ----------
    tokens, width : int
        Number k of tokens, and their width.

    Attributes
    ----------
    outputs : int
        Width of what is read.
    """

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.outputs = tokens * width

    def begin(self, batch: int, like: Tensor) -> Tensor:
        """Return the tokens of every sample, (B·k, width)."""
        return self.weight.repeat(batch, 1)

    def read(self, hub: Tensor) -> Tensor:
        """Flatten (B, k, width)."""
        return hub.flatten(1)


def own_lengths(
    h: dict[str, Tensor], steps: dict[str, Steps]
) -> tuple[dict[str, Tensor], dict[str, Steps]]:
    """Leave every sequence at its own length."""
    return h, steps


class MacroFusion(nn.Module):
    """The coarse hub flows through vision, audio and text (eqs. 3-7).

    Parameters
    ----------
    shapes : Shapes
    width : int
        Width of the aligned sequences, 3d.
    hyper : MFMBNetHyper

    Attributes
    ----------
    outputs : int
        Width of the result.
    """

    def __init__(self, shapes: Shapes, width: int, hyper: MFMBNetHyper) -> None:
        super().__init__()
        self.tokens, self.width = hyper.hub_tokens, width
        self.order = RELEASED_HUB_ORDER if hyper.hub_from_audio else HUB_ORDER
        hub = ZeroHub if hyper.zero_hub else LearnedHub
        self.hub = hub(self.tokens, width)
        self.outputs = self.hub.outputs
        encoders = shared_encoders if hyper.shared_encoder else separate_encoders
        # eq. 3 and eqs. 4-6: theta_v, theta_a, theta_t
        self.prepare, self.carry = encoders(width, hyper)
        self.lengths = TimeMap(shapes) if hyper.common_length else own_lengths

    def forward(self, h: dict[str, Tensor], steps: dict[str, Steps]) -> Tensor:
        """Map packed sequences (P, 3d) to the last hub, flattened: (B, k·3d)."""
        batch, tokens = steps["text"].batch, self.tokens
        h, steps = self.lengths(h, steps)
        hub = self.hub.begin(batch, h["text"])  # (B·k, 3d)
        hub_steps = Steps.full(batch, tokens, hub.device)
        for m in self.order:
            sequence = self.prepare[m](h[m], steps[m])  # eq. 3, (P, 3d)
            # hub in front: without positions the order changes nothing
            joined = torch.cat([hub, sequence])  # (B·k + P, 3d)
            # eqs. 4-6: of what this encodes, the hub alone is carried on
            hub = self.carry[m](joined, steps[m].behind_hub(tokens), hub_steps)
        return self.hub.read(hub.view(batch, tokens, self.width))  # eq. 7


class MemoryGate(nn.Module):
    """BiLSTM, convolution and feed-forward gate of one modality (eqs. 8-10).

    Attributes
    ----------
    outputs : int
        Width of the pooled vector.
    """

    def __init__(self, inputs: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.rnn = BiRNN("lstm", inputs, hidden)
        self.outputs = width = 2 * hidden
        self.conv = Conv(width, width, 3)
        self.ffn = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )
        self.drop = drop

    def forward(self, x: Tensor, steps: Steps) -> Tensor:
        """Map packed (P, inputs) to (B, 2·hidden)."""
        states = self.rnn(x, steps).tanh()  # eq. 8
        gate = self.ffn(self.conv(states, steps))  # eq. 9
        return dropout(steps.max(states * gate), self.drop, self.training)  # eq. 10


class CoarseToFine(nn.Module):
    """Stack a pair, rearrange and normalise, then the MLP (eqs. 11-13)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.fine = nn.Sequential(
            nn.Linear(2 * width, 2 * width),
            nn.ReLU(),
            nn.LayerNorm(2 * width),
            nn.Linear(2 * width, 2 * width),
            nn.ReLU(),
        )

    def forward(self, text: Tensor, other: Tensor) -> Tensor:
        """Fuse two vectors (B, width) into (B, 2·width)."""
        stacked = torch.stack([text, other], 1)  # eq. 11, (B, 2, width)
        coarse = self.norm(stacked)  # eq. 12
        return self.fine(coarse.flatten(1))  # eq. 13


class MicroFusion(nn.Module):
    """Memory-gated local features, fused text-with-vision and text-with-audio.

    Parameters
    ----------
    inputs : int
        Width of the aligned sequences, 3d.
    hyper : MFMBNetHyper
    """

    def __init__(self, inputs: int, hyper: MFMBNetHyper) -> None:
        super().__init__()
        gate = PooledGate if hyper.gru_gate else MemoryGate
        self.gate = nn.ModuleDict(
            {
                m: gate(inputs, RECURRENT_WIDTH[m], hyper.gate_dropout)
                for m in MODALITIES
            }
        )
        self.level = nn.ModuleDict(
            {m: nn.Linear(self.gate[m].outputs, hyper.fine_width) for m in MODALITIES}
        )
        fuse = CoarseOnly() if hyper.coarse_only else None
        self.fuse = nn.ModuleList(
            fuse or CoarseToFine(hyper.fine_width) for _ in STACKED
        )
        self.outputs = 2 * len(STACKED) * hyper.fine_width

    def forward(
        self, h: dict[str, Tensor], steps: dict[str, Steps]
    ) -> tuple[Tensor, list[Tensor]]:
        """Map packed sequences (P, 3d) to (B, 4·fine_width) and the local vectors."""
        local = {m: self.gate[m](h[m], steps[m]) for m in MODALITIES}
        u = {m: self.level[m](local[m]) for m in MODALITIES}
        fused = [
            fuse(u[a], u[b]) for fuse, (a, b) in zip(self.fuse, STACKED, strict=True)
        ]
        return torch.cat(fused, -1), list(local.values())


class ModalityReconstruction(nn.Module):
    """Self-attention over the steps of one modality, then an FFN (eqs. 14-15)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.ffn = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, outputs)
        )

    def forward(self, x: Tensor, steps: Steps) -> Tensor:
        """Map packed (P, width) to (P, outputs)."""
        width = x.shape[-1]
        q, kv = self.qkv(x).split([width, 2 * width], -1)
        recalled = Attention(steps, steps, heads=1)(q * width**-0.5, kv)  # eq. 14
        return self.ffn(steps.only_real(recalled))  # eq. 15


class TimeReconstruction(nn.Module):
    """One :class:`ModalityReconstruction` per modality."""

    def __init__(self, shapes: Shapes, width: int) -> None:
        super().__init__()
        self.each = nn.ModuleDict(
            {m: ModalityReconstruction(width, shapes[m].width) for m in MODALITIES}
        )

    def forward(
        self, h: dict[str, Tensor], steps: dict[str, Steps]
    ) -> dict[str, Tensor]:
        """Map packed (P, width) per modality to (P, d_m), real steps only."""
        return {m: self.each[m](h[m], steps[m]) for m in MODALITIES}


class LinearHead(nn.Linear):
    """One score from the concatenated streams (eq. 16)."""

    def forward(self, streams: list[Tensor], local: list[Tensor]) -> Tensor:
        """Map the streams, (B, ...) each, to (B, 1)."""
        return super().forward(torch.cat(streams, -1))


class MFMBNet(SequenceModel):
    """Multi-focus-driven multi-branch network.

    Parameters
    ----------
    shapes : Shapes
        Padded length and width of every modality.
    hyper : MFMBNetHyper

    Raises
    ------
    ValueError
        If both fusion streams are switched off: nothing would be left to predict from.
        If the wide head is asked for without the micro stream, whose vectors it reads.
    """

    def __init__(self, shapes: Shapes, hyper: MFMBNetHyper) -> None:
        super().__init__(hyper)
        if not (hyper.macro or hyper.micro):
            raise ValueError("MFMB-Net needs the macro or the micro stream")
        if hyper.wide_head and not hyper.micro:
            raise ValueError("wide_head reads the vectors of the micro stream: keep it")
        d = hyper.width
        self.encode = nn.ModuleDict(
            {m: nn.Linear(shapes[m].width, d) for m in MODALITIES}
        )
        relate = CrossmodalEncoders if hyper.parallel_alignment else HybridAttention
        self.align = relate(hyper)  # either gives (P, 3d)
        self.macro = MacroFusion(shapes, 3 * d, hyper) if hyper.macro else None
        self.micro = MicroFusion(3 * d, hyper) if hyper.micro else None
        self.rebuild = self._reconstruction(shapes)
        self.uses_targets = self.rebuild is not None
        streams = [s for s in (self.macro, self.micro) if s is not None]
        width = sum(stream.outputs for stream in streams)
        if hyper.wide_head:
            width += sum(g.outputs for g in self.micro.gate.values())
            self.predict = WideHead(width, hyper.wide_head_dropout)
        else:
            self.predict = LinearHead(width, 1)

    def _reconstruction(self, shapes: Shapes) -> nn.Module | None:
        hyper, width = self.hyper, 3 * self.hyper.width
        if not hyper.reconstruction:
            return None
        if hyper.batch_axis_reconstruction:
            return BatchAxisReconstruction(shapes, width, layers=3)
        return TimeReconstruction(shapes, width)

    def forward(self, batch: Batch) -> Outputs:
        """Predict, and rebuild the missing steps where there are any."""
        x, steps = self.sequences(batch)
        x["text"] = dropout(x["text"], self.hyper.text_dropout, self.training)
        h = {m: self.encode[m](x[m]) for m in MODALITIES}  # eq. 1, (P, d)
        h = self.align(h, steps)  # eq. 2, (P, 3d)
        streams, local = [], []
        if self.macro is not None:
            streams.append(self.macro(h, steps))  # eqs. 3-7
        if self.micro is not None:
            fused, local = self.micro(h, steps)  # eqs. 8-13
            streams.append(fused)
        prediction = self.predict(streams, local)[:, 0]  # eq. 16, (B,)
        if self.rebuild is None or not batch.damaged:
            return Outputs(prediction)
        rebuilt = self.rebuild(h, steps)  # eqs. 14-15, (P, d_m)
        return Outputs(prediction, rebuilt, missing_losses(rebuilt, batch))  # eq. 18
