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
from msa.models.base import Batch, Hyper, Model, Outputs, Shapes
from msa.models.blocks import (
    OTHERS,
    RECURRENT_WIDTH,
    SELF_DROPOUT,
    SOURCE_DROPOUT,
    missing_losses,
)
from msa.models.layers import (
    BiRNN,
    Conv,
    EncoderBank,
    Steps,
    TransformerEncoder,
    attend,
    dropout,
    embed,
)

HUB_ORDER = ("vision", "audio", "text")
"""The order in which the hub visits the modalities (eqs. 4-6)."""

STACKED = (("text", "vision"), ("text", "audio"))
"""The pairs of the micro stream (eq. 11)."""


class MFMBNetHyper(Hyper):
    """MFMB-Net's hyper-parameters; defaults for MOSI and MOSEI."""

    width: int = 30
    heads: int = 6
    self_layers: int = 3
    cross_layers: int = 3
    text_dropout: float = 0.2
    embed_dropout: float = 0.2
    relu_dropout: float = 0.2
    residual_dropout: float = 0.2
    macro: bool = True
    hub_tokens: int = 4
    macro_layers: int = 4
    macro_heads: int = 10
    micro: bool = True
    gate_dropout: float = 0.2
    fine_width: int = 64
    reconstruction: bool = True
    weight_text: float = 5.0
    weight_audio: float = 2.0
    weight_vision: float = 20.0


SIMS = {
    "batch_size": 16,
    "plateau_patience": 10,
    "self_layers": 3,
    "cross_layers": 2,
    "relu_dropout": 0.0,
    "embed_dropout": 0.1,
    "weight_text": 1.0,
    "weight_audio": 0.01,
    "weight_vision": 0.0001,
}
"""What differs on CH-SIMS (dossier, hyper-parameter table)."""


class HybridAttention(nn.Module):
    """Alignment, HPA (eq. 2): self-attention first, then cross-attention.

    The aligned sequence and its two crossings are concatenated: width 3d.
    """

    def __init__(self, hyper: MFMBNetHyper) -> None:
        super().__init__()
        self.embed_dropout = hyper.embed_dropout

        def bank(drops: tuple[float, ...], layers: int) -> EncoderBank:
            return EncoderBank(
                len(drops),
                hyper.width,
                hyper.heads,
                layers,
                drops,
                hyper.relu_dropout,
                hyper.residual_dropout,
            )

        self.align = nn.ModuleDict(
            {m: bank((SELF_DROPOUT,), hyper.self_layers) for m in MODALITIES}
        )
        self.cross = nn.ModuleDict(
            {
                m: bank(tuple(SOURCE_DROPOUT[s] for s in OTHERS[m]), hyper.cross_layers)
                for m in MODALITIES
            }
        )

    def forward(
        self, h: dict[str, Tensor], steps: dict[str, Steps]
    ) -> dict[str, Tensor]:
        """Map packed (P, d) per modality to (P, 3d)."""
        aligned, seen = {}, {}
        for m in MODALITIES:
            x = embed(h[m], steps[m], self.embed_dropout, self.training)
            aligned[m] = self.align[m](x, steps[m])[0]
            seen[m] = embed(aligned[m], steps[m], self.embed_dropout, self.training)
        out = {}
        for m in MODALITIES:
            sources = tuple((seen[s], steps[s]) for s in OTHERS[m])
            crossed = self.cross[m](seen[m], steps[m], sources)
            out[m] = torch.cat([aligned[m], *crossed], -1)  # (P, 3d)
        return out


class MacroFusion(nn.Module):
    """The coarse hub flows through vision, audio and text (eqs. 3-7).

    Parameters
    ----------
    width : int
        Width of the aligned sequences, 3d.
    hyper : MFMBNetHyper
    """

    def __init__(self, width: int, hyper: MFMBNetHyper) -> None:
        super().__init__()
        self.hub = nn.Parameter(torch.randn(hyper.hub_tokens, width) * 0.02)

        def encoders(positions: bool) -> nn.ModuleDict:
            return nn.ModuleDict(
                {
                    m: TransformerEncoder(
                        width,
                        hyper.macro_heads,
                        hyper.macro_layers,
                        positions=positions,
                    )
                    for m in HUB_ORDER
                }
            )

        self.prepare = encoders(positions=True)  # eq. 3
        self.carry = encoders(positions=False)  # eqs. 4-6: theta_v, theta_a, theta_t

    def forward(self, h: dict[str, Tensor], steps: dict[str, Steps]) -> Tensor:
        """Map packed sequences (P, 3d) to the last hub, flattened: (B, k·3d)."""
        batch, tokens = steps["text"].batch, len(self.hub)
        hub = self.hub.repeat(batch, 1)  # (B·k, 3d)
        for m in HUB_ORDER:
            sequence = self.prepare[m](h[m], steps[m])  # eq. 3, (P, 3d)
            joined = torch.cat([hub, sequence])  # (B·k + P, 3d)
            joined = self.carry[m](joined, steps[m].behind_hub(tokens))
            hub = joined[: batch * tokens]  # eqs. 4-6
        return hub.view(batch, -1)  # eq. 7


class MemoryGate(nn.Module):
    """BiLSTM, convolution and feed-forward gate of one modality (eqs. 8-10)."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.rnn = BiRNN("lstm", inputs, hidden)
        width = 2 * hidden
        self.conv = Conv(width, width, 3)
        self.ffn = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, x: Tensor, steps: Steps) -> Tensor:
        """Map packed (P, inputs) to (P, 2·hidden)."""
        states = self.rnn(x, steps).tanh()  # eq. 8
        gate = self.ffn(self.conv(states, steps))  # eq. 9
        return states * gate  # eq. 10


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
        self.drop = hyper.gate_dropout
        self.gate = nn.ModuleDict(
            {m: MemoryGate(inputs, RECURRENT_WIDTH[m]) for m in MODALITIES}
        )
        self.level = nn.ModuleDict(
            {m: nn.Linear(2 * RECURRENT_WIDTH[m], hyper.fine_width) for m in MODALITIES}
        )
        self.fuse = nn.ModuleList(CoarseToFine(hyper.fine_width) for _ in STACKED)

    def forward(self, h: dict[str, Tensor], steps: dict[str, Steps]) -> Tensor:
        """Map packed sequences (P, 3d) to (B, 4·fine_width)."""
        u = {}
        for m in MODALITIES:
            local = steps[m].max(self.gate[m](h[m], steps[m]))  # (B, 2·hidden)
            u[m] = self.level[m](dropout(local, self.drop, self.training))
        fused = [
            fuse(u[a], u[b]) for fuse, (a, b) in zip(self.fuse, STACKED, strict=True)
        ]
        return torch.cat(fused, -1)


class Rebuild(nn.Module):
    """Self-attention over the steps of one modality, then an FFN (eqs. 14-15)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.ffn = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, outputs)
        )

    def forward(self, x: Tensor, steps: Steps) -> Tensor:
        """Map packed (P, width) to (P, outputs)."""
        qkv = steps.pad(self.qkv(x))[:, None]  # (B, 1, T, 3·width)
        q, k, v = qkv.chunk(3, -1)
        recalled = attend(q * x.shape[-1] ** -0.5, k, v, steps.bias, 0.0)  # eq. 14
        return self.ffn(steps.pack(recalled[:, 0]))  # eq. 15


class MFMBNet(Model):
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
    """

    def __init__(self, shapes: Shapes, hyper: MFMBNetHyper) -> None:
        super().__init__()
        if not (hyper.macro or hyper.micro):
            raise ValueError("MFMB-Net needs the macro or the micro stream")
        d = hyper.width
        self.text_dropout = hyper.text_dropout
        self.encode = nn.ModuleDict(
            {m: nn.Linear(shapes[m].width, d) for m in MODALITIES}
        )
        self.align = HybridAttention(hyper)
        self.macro = MacroFusion(3 * d, hyper) if hyper.macro else None
        self.micro = MicroFusion(3 * d, hyper) if hyper.micro else None
        self.rebuild = (
            nn.ModuleDict({m: Rebuild(3 * d, shapes[m].width) for m in MODALITIES})
            if hyper.reconstruction
            else None
        )
        macro_width = hyper.hub_tokens * 3 * d if hyper.macro else 0
        micro_width = 4 * hyper.fine_width if hyper.micro else 0
        self.predict = nn.Linear(macro_width + micro_width, 1)
        self.loss_weights = {  # eq. 19
            "task": 1.0,
            "reconstruction_text": hyper.weight_text,
            "reconstruction_audio": hyper.weight_audio,
            "reconstruction_vision": hyper.weight_vision,
        }

    def forward(self, batch: Batch) -> Outputs:
        """Predict, and rebuild the missing steps where there are any."""
        steps, x = batch.steps, batch.packed()
        x["text"] = dropout(x["text"], self.text_dropout, self.training)
        h = {m: self.encode[m](x[m]) for m in MODALITIES}  # eq. 1, (P, d)
        h = self.align(h, steps)  # eq. 2, (P, 3d)
        streams = [s(h, steps) for s in (self.macro, self.micro) if s is not None]
        prediction = self.predict(torch.cat(streams, -1))[:, 0]  # eq. 16, (B,)
        if self.rebuild is None or not batch.damaged:
            return Outputs(prediction)
        rebuilt = {m: self.rebuild[m](h[m], steps[m]) for m in MODALITIES}
        return Outputs(prediction, rebuilt, missing_losses(rebuilt, batch))  # eq. 18
