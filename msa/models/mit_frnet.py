"""MIT-FRNet (Li et al., Expert Systems with Applications 249, 2024, 123655).

Modality-invariant temporal representation learning-based feature reconstruction
network. The layers follow the paper's equations (1)-(24) in their order; where the
paper is silent or its equation is undefined, the decision is in ``ledger.toml``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from msa.data.contract import MODALITIES
from msa.models.base import Batch, Model, Outputs, Shapes
from msa.models.blocks import (
    RECURRENT_WIDTH,
    Classifier,
    ConvProjection,
    CrossmodalEncoders,
    GateEncoder,
    Reconstruction,
)
from msa.models.layers import smooth_l1
from msa.models.tfr_net import SIMS as TFR_NET_SIMS
from msa.models.tfr_net import TFRNetHyper

PAIRS = (("text", "audio"), ("vision", "audio"), ("text", "vision"))
"""The modality pairs of eqs. 21-22, in the paper's direction."""

VARIANCE_FLOOR = 1e-6
"""Added to every variance: the divergence of a point mass is infinite."""


class MITFRNetHyper(TFRNetHyper):
    """MIT-FRNet's hyper-parameters; defaults for MOSI."""

    gate_layers: int = 1
    similarity: bool = True
    common_width: int = 64
    common_steps: int = 16
    weight_similarity: float = 0.001


SIMS = TFR_NET_SIMS
"""What differs on CH-SIMS: the same table as TFR-Net's."""


def resample(x: Tensor, mask: Tensor, steps: int) -> Tensor:
    """Stretch every sequence's real part to one common length.

    Linear interpolation between neighbouring steps, the first and the last step kept;
    a sequence of one step is repeated.

    Parameters
    ----------
    x : Tensor, shape (B, T, d)
    mask : Tensor of bool, shape (B, T)
    steps : int
        Common length ``K``.

    Returns
    -------
    Tensor, shape (B, K, d)
    """
    last = mask.sum(1, keepdim=True) - 1  # (B, 1)
    place = torch.linspace(0, 1, steps, device=x.device) * last  # (B, K)
    below = place.floor().long()
    above = torch.minimum(below + 1, last)
    share = (place - below)[..., None]

    def pick(at: Tensor) -> Tensor:
        return x.gather(1, at[..., None].expand(-1, -1, x.shape[-1]))

    return torch.lerp(pick(below), pick(above), share)


def step_gaussians(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over the features of each step (eq. 9).

    Each timestamp is one Gaussian, the sequence a multivariate one with a diagonal
    covariance.

    Parameters
    ----------
    z : Tensor, shape (B, K, d)

    Returns
    -------
    mean, variance : Tensor, shape (B, K)
    """
    variance, mean = torch.var_mean(z, dim=-1)
    return mean, variance + VARIANCE_FLOOR


def gaussian_kl(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Divergence KL(first || second) of diagonal Gaussians, shape (B,).

    The closed form that eq. 12 means:
    1/2 [ln |S2|/|S1| + tr(S2^-1 S1) - t + (m1 - m2)' S2^-1 (m1 - m2)].

    Parameters
    ----------
    first, second : pair of Tensor, shape (B, K)
        Mean and variance of every step.
    """
    (mean1, var1), (mean2, var2) = first, second
    ratio = var1 / var2
    terms = ratio - ratio.log() - 1 + (mean1 - mean2) ** 2 / var2
    return terms.sum(-1) / 2


class Similarity(nn.Module):
    """Modality-invariant temporal representation learning (eqs. 9-12, 21-22)."""

    def __init__(self, inputs: int, width: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.common = nn.ModuleDict({m: nn.Linear(inputs, width) for m in MODALITIES})

    def forward(self, h: dict[str, Tensor], mask: dict[str, Tensor]) -> Tensor:
        """Mean divergence of the three modality pairs, a scalar."""
        gaussians = {}
        for m in MODALITIES:
            z = self.common[m](h[m])  # common space, (B, T, width)
            gaussians[m] = step_gaussians(resample(z, mask[m], self.steps))
        pairs = [gaussian_kl(gaussians[a], gaussians[b]).mean() for a, b in PAIRS]
        return torch.stack(pairs).mean()  # eq. 22


class MITFRNet(Model):
    """Modality-invariant temporal feature reconstruction network.

    Parameters
    ----------
    shapes : Shapes
        Padded length and width of every modality.
    hyper : MITFRNetHyper
    """

    def __init__(self, shapes: Shapes, hyper: MITFRNetHyper) -> None:
        super().__init__()
        d = hyper.width
        self.project = ConvProjection(shapes, d, hyper.text_dropout)
        self.relate = CrossmodalEncoders(
            d,
            hyper.heads,
            hyper.self_layers,
            hyper.cross_layers,
            hyper.embed_dropout,
            hyper.relu_dropout,
            hyper.residual_dropout,
        )
        self.rebuild = (
            Reconstruction(
                shapes,
                3 * d,
                hyper.reconstruction_heads,
                hyper.reconstruction_layers,
            )
            if hyper.reconstruction
            else None
        )
        self.compare = (
            Similarity(3 * d, hyper.common_width, hyper.common_steps)
            if hyper.similarity
            else None
        )
        self.condense = nn.ModuleDict(
            {
                m: GateEncoder(
                    3 * d,
                    RECURRENT_WIDTH[m],
                    hyper.gate_layers,
                    reads="states",
                    squash=False,
                    drop=hyper.gate_dropout,
                )
                for m in MODALITIES
            }
        )
        self.classify = Classifier(
            sum(RECURRENT_WIDTH.values()),
            hyper.classifier_hidden,
            hyper.classifier_dropout,
        )
        self.loss_weights = {  # eqs. 20 and 24
            "task": 1.0,
            "reconstruction_text": hyper.weight_text,
            "reconstruction_audio": hyper.weight_audio,
            "reconstruction_vision": hyper.weight_vision,
            "similarity": hyper.weight_similarity,
        }

    def forward(self, batch: Batch) -> Outputs:
        """Predict, rebuild every step, and compare the modalities' distributions."""
        mask = batch.mask
        c = self.project(batch.inputs)  # eq. 1, (B, T, d)
        h = self.relate(c, mask)  # eqs. 2-6, (B, T, 3d)
        pooled = [self.condense[m](h[m], mask[m]) for m in MODALITIES]
        outputs = Outputs(self.classify(torch.cat(pooled, -1)))  # eqs. 13-18, (B,)
        if self.rebuild is not None:
            rebuilt = self.rebuild(h, mask)  # eqs. 7-8, (B, T, d_m)
            outputs.reconstructions = rebuilt
            for m in MODALITIES:  # eq. 19: over every step, missing or not
                loss = smooth_l1(rebuilt[m], batch.targets[m], mask[m])
                outputs.losses[f"reconstruction_{m}"] = loss
        if self.compare is not None:
            outputs.losses["similarity"] = self.compare(h, mask)  # eqs. 9-12, 21-22
        return outputs
