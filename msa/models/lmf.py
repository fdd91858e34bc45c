"""LMF (Liu et al., ACL 2018): efficient low-rank multimodal fusion.

TFN's outer product and the linear map that follows it, without ever building either:
the map's weight tensor is a sum of ``rank`` outer products of modality-specific
factors, so each vector is projected by its own factors and the projections are
multiplied. Sizes and rates are those of the field's common benchmark code (dossier,
LMF); decisions are in ``ledger.toml``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from msa.data.contract import MODALITIES
from msa.models.base import Batch, Model, Outputs, Shapes
from msa.models.tfn import Subnetworks, SubnetworksHyper


class LMFHyper(SubnetworksHyper):
    """LMF's hyper-parameters; those published for MOSI.

    ``factor_lr`` is the learning rate of the modality factors, ``lr`` of the rest.
    ``fixed_ranks`` is a trap of the public code: rank weights and bias stay untrained.
    """

    batch_size: int = 64
    lr: float = 1e-3
    factor_lr: float = 1e-3
    weight_decay: float = 5e-3
    hidden_audio: int = 16
    rank: int = 3
    fixed_ranks: bool = False


CUT = {"bound": 5.0}
"""On every data set; not in the class, so that runs made before it keep their name."""

MOSI = CUT
"""What differs on CMU-MOSI, and on the demo set."""

TUNED_MOSI = {"batch_size": 32, "lr": 2e-3, "factor_lr": 2e-3}
"""Chosen on the validation split of CMU-MOSI, clip-context (study mosi-tuning)."""

MOSEI = {
    **CUT,
    "batch_size": 32,
    "weight_decay": 1e-3,
    "rank": 4,
    "dropout_text": 0.2,
    "dropout_audio": 0.2,
    "dropout_vision": 0.2,
}
"""What differs on CMU-MOSEI (dossier, LMF)."""

SIMS = {
    **CUT,
    "lr": 2e-3,
    "factor_lr": 5e-4,
    "hidden_text": 64,
    "hidden_vision": 64,
    "rank": 4,
    "dropout_text": 0.2,
    "dropout_audio": 0.2,
    "dropout_vision": 0.2,
}
"""What differs on CH-SIMS (dossier, LMF)."""


class LowRankFusion(nn.Module):
    """A linear map of the outer product of three vectors, of limited rank.

    The map's weight tensor is decomposed into factors of the modalities,
    W = sum_r w_r · f_text^r (x) f_audio^r (x) f_vision^r, and so
    W · (z_text (x) z_audio (x) z_vision) = sum_r w_r · prod_m <f_m^r, z_m>.

    Parameters
    ----------
    widths : tuple of int
        Width of the text, audio and vision vectors, the leading 1 included.
    rank : int
    """

    def __init__(self, widths: tuple[int, int, int], rank: int) -> None:
        super().__init__()
        self.factors = nn.ParameterDict(
            {
                m: nn.Parameter(nn.init.xavier_normal_(torch.empty(rank, width)))
                for m, width in zip(MODALITIES, widths, strict=True)
            }
        )
        self.combine = nn.Linear(rank, 1)  # rank weights w_r, and a bias
        nn.init.xavier_normal_(self.combine.weight)
        nn.init.zeros_(self.combine.bias)

    def forward(self, text: Tensor, audio: Tensor, vision: Tensor) -> Tensor:
        """Map vectors (B, width) to scores (B,)."""
        product = torch.ones((), device=text.device)
        for m, z in zip(MODALITIES, (text, audio, vision), strict=True):
            product = product * (z @ self.factors[m].T)  # (B, rank)
        return self.combine(product)[:, 0]


class LMF(Model):
    """Low-rank multimodal fusion.

    Parameters
    ----------
    shapes : Shapes
        Padded length and width of every modality.
    hyper : LMFHyper
    """

    def __init__(self, shapes: Shapes, hyper: LMFHyper) -> None:
        super().__init__()
        self.embed = Subnetworks(shapes, hyper, hyper.hidden_text // 2)
        t, a, v = (1 + width for width in self.embed.widths)
        self.fuse = LowRankFusion((t, a, v), hyper.rank)
        self.loss_weights = {"task": 1.0}

    def forward(self, batch: Batch) -> Outputs:
        """Predict scores, unbounded."""
        return Outputs(self.fuse(*self.embed(batch)))

    def parameter_groups(self, hyper: LMFHyper) -> list[dict]:
        """Return the factors with their own learning rate, and everything else."""
        factors = list(self.fuse.factors.values())
        rest = list(self.embed.parameters())
        if not hyper.fixed_ranks:
            rest += self.fuse.combine.parameters()
        return [
            {"params": p, "lr": lr, "weight_decay": hyper.weight_decay}
            for p, lr in ((factors, hyper.factor_lr), (rest, hyper.lr))
        ]
