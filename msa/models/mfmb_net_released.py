"""What MFMB-Net's released code does otherwise: parts that switches swap in.

The paper variant in ``mfmb_net.py`` reads alone; every part here takes the place of
one of its own. Source: the dossier's sections on MFMB-Net, numbered in the docstrings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from msa.models.base import Shapes
from msa.models.blocks import RELEASED_SWITCHES, InputGateEncoder, SequenceHyper
from msa.models.layers import BatchNorm, dropout
from msa.models.steps import Steps
from msa.models.transformer import TransformerEncoder

if TYPE_CHECKING:
    from msa.models.mfmb_net import MFMBNetHyper

RELEASED_HUB_ORDER = ("audio", "vision", "text")
"""The order in which the released hub visits the modalities (3)."""

RELEASED = RELEASED_SWITCHES | {
    "drop_last": True,
    "parallel_alignment": True,
    "hub_from_audio": True,
    "shared_encoder": True,
    "zero_hub": True,
    "common_length": True,
    "gru_gate": True,
    "coarse_only": True,
    "wide_head": True,
}
"""The bundle of all differences."""


class MFMBNetSwitches(SequenceHyper):
    """MFMB-Net's own switches; all off in the paper variant.

    Attributes
    ----------
    parallel_alignment : bool
        Self- and cross-attention side by side on the same sequences, not in turn (2).
    hub_from_audio : bool
        The hub visits audio, vision, text, not vision, audio, text (3).
    shared_encoder : bool
        One encoder in all roles of the macro stream (3).
    zero_hub : bool
        The hub starts from zeros and only its last token is read (3).
    common_length : bool
        Audio and vision enter the macro stream at the text's length (3).
    gru_gate : bool
        BiGRU, one-channel sigmoid gate, linear map of gated states and inputs (4).
    coarse_only : bool
        No MLP after the coarse fusion; one normalisation for both pairs (5).
    wide_head : bool
        The head reads the local vectors too and has a hidden layer (6).
    wide_head_dropout : float
        Dropout in that hidden layer.
    """

    parallel_alignment: bool = False
    hub_from_audio: bool = False
    shared_encoder: bool = False
    zero_hub: bool = False
    common_length: bool = False
    gru_gate: bool = False
    coarse_only: bool = False
    wide_head: bool = False
    wide_head_dropout: float | None = None

    @property
    def whole_length(self) -> bool:
        """Whether a result depends on the padded length."""
        return super().whole_length or self.common_length


class Repeated(nn.Module):
    """An encoder applied a number of times in succession."""

    def __init__(self, encoder: TransformerEncoder, times: int) -> None:
        super().__init__()
        self.encoder, self.times = encoder, times

    def forward(self, x: Tensor, steps: Steps, leading: Steps | None = None) -> Tensor:
        """Encode packed sequences (P, d), the last time the ``leading`` rows alone."""
        for turn in range(1, self.times + 1):
            x = self.encoder(x, steps, leading if turn == self.times else None)
        return x


def shared_encoders(
    width: int, hyper: MFMBNetHyper
) -> tuple[nn.ModuleDict, nn.ModuleDict]:
    """Return one encoder in all roles of the macro stream (3).

    Before the hub it is applied twice to audio and vision and never to text; with the
    hub once, and once more after text. Positions are always added.
    """
    encoder = TransformerEncoder(
        width,
        hyper.macro_heads,
        hyper.macro_layers,
        skip_zeros=hyper.skip_zero_positions,
    )

    def roles(**times: int) -> nn.ModuleDict:
        return nn.ModuleDict({m: Repeated(encoder, n) for m, n in times.items()})

    return roles(text=0, audio=2, vision=2), roles(text=2, audio=1, vision=1)


class TimeMap(nn.Module):
    """Audio and vision brought to the text's padded length by a learned map (3).

    The map mixes all steps, padding included, so every step of its result is real.
    """

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.maps = nn.ModuleDict(
            {
                m: nn.Linear(shapes[m].steps, shapes["text"].steps)
                for m in ("audio", "vision")
            }
        )

    def forward(
        self, h: dict[str, Tensor], steps: dict[str, Steps]
    ) -> tuple[dict[str, Tensor], dict[str, Steps]]:
        """Return packed sequences and their steps, (B·T_text, d) for the mapped."""
        h, steps = dict(h), dict(steps)
        for m, lengthen in self.maps.items():
            mapped = lengthen(steps[m].pad(h[m]).transpose(1, 2)).transpose(1, 2)
            h[m] = mapped.flatten(0, 1)  # (B·T_text, d)
            steps[m] = Steps.full(*mapped.shape[:2], mapped.device)
        return h, steps


class ZeroHub(nn.Module):
    """A hub of zeros, of which only the last token is read (3).

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
        self.tokens = tokens
        self.outputs = width

    def begin(self, batch: int, like: Tensor) -> Tensor:
        """Return zeros (B·k, width), of the type and on the device of ``like``."""
        return like.new_zeros(batch * self.tokens, self.outputs)

    def read(self, hub: Tensor) -> Tensor:
        """Take the last token of (B, k, width)."""
        return hub[:, -1]


class PooledGate(InputGateEncoder):
    """The released gate: TFR-Net's gate encoder, three layers deep (4)."""

    def __init__(self, inputs: int, hidden: int, drop: float) -> None:
        super().__init__(inputs, hidden, 3, drop)
        self.outputs = hidden


class CoarseOnly(nn.Module):
    """Stack and normalise a pair, nothing more; without gain and offset (5)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2, affine=False)

    def forward(self, text: Tensor, other: Tensor) -> Tensor:
        """Fuse two vectors (B, width) into (B, 2·width)."""
        return self.norm(torch.stack([text, other], 1)).flatten(1)


class WideHead(nn.Module):
    """Batch normalisation, a hidden layer of 128, one score (6)."""

    def __init__(self, inputs: int, drop: float | None) -> None:
        super().__init__()
        self.norm = BatchNorm(inputs)
        self.hidden = nn.Linear(inputs, 128)
        self.drop = drop or 0.0
        self.score = nn.Linear(128, 1)

    def forward(self, streams: list[Tensor], local: list[Tensor]) -> Tensor:
        """Map the streams and the local vectors, (B, ...) each, to (B, 1)."""
        x = self.hidden(self.norm(torch.cat([*streams, *local], -1))).relu()
        return self.score(dropout(x, self.drop, self.training))
