"""MIT-FRNet (Li et al., Expert Systems with Applications 249, 2024, 123655).

Modality-invariant temporal representation learning-based feature reconstruction
network. The layers follow the paper's equations (1)-(24) in their order; where the
paper is silent or its equation is undefined, the decision is in ``ledger.toml``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msa.data.contract import MODALITIES
from msa.models.base import Batch, Outputs, Shapes
from msa.models.blocks import (
    RECURRENT_WIDTH,
    RELEASED_SWITCHES,
    Classifier,
    ConvProjection,
    CrossmodalEncoders,
    GateEncoder,
    InputGateEncoder,
    SequenceModel,
    missing_losses,
)
from msa.models.steps import Steps
from msa.models.tfr_net import SIMS as TFR_NET_SIMS
from msa.models.tfr_net import TFRNetHyper, reconstruction

PAIRS = (("text", "audio"), ("vision", "audio"), ("text", "vision"))
"""The modality pairs of eqs. 21-22, in the paper's direction."""

VARIANCE_FLOOR = 1e-6
"""Added to the variance of a step, which keeps the divergence finite; in the released
term the lower bound of the variance."""


class MITFRNetHyper(TFRNetHyper):
    """MIT-FRNet's hyper-parameters; defaults for MOSI."""

    gate_layers: int = 1
    similarity: bool = True
    common_width: int = 64
    common_steps: int = 16
    weight_similarity: float = 0.001
    gaussian_to_mean: bool = False
    missing_steps_only: bool = False
    input_gate: bool = False

    @property
    def whole_length(self) -> bool:
        """Whether a result depends on the padded length."""
        return super().whole_length or self.gaussian_to_mean


SIMS = TFR_NET_SIMS
"""What differs on CH-SIMS: the same table as TFR-Net's."""

RELEASED = RELEASED_SWITCHES | {
    "gaussian_to_mean": True,
    "missing_steps_only": True,
    "input_gate": True,
    "gate_layers": 3,
}
"""What the released code does otherwise (dossier, MIT-FRNet 1 and 2)."""


def resample(x: Tensor, steps: Steps, count: int) -> Tensor:
    """Stretch every sequence to one common length.

    Linear interpolation between neighbouring steps, the first and the last step kept;
    a sequence of one step is repeated.

    Parameters
    ----------
    x : Tensor, shape (P, d)
    steps : Steps
    count : int
        Common length ``K``.

    Returns
    -------
    Tensor, shape (B, K, d)
    """
    last = steps.lengths[:, None] - 1  # (B, 1)
    place = torch.linspace(0, 1, count, device=x.device) * last  # (B, K)
    times = torch.arange(steps.steps, device=x.device)
    # Weight of step t at place p: 1 - |p - t| within one step, else 0.
    weight = (1 - (place[..., None] - times).abs()).clamp(min=0)  # (B, K, T)
    return weight @ steps.pad(x)


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

    def __init__(self, inputs: int, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.common = nn.ModuleDict({m: nn.Linear(inputs, width) for m in MODALITIES})

    def forward(
        self, h: dict[str, Tensor], hidden: dict[str, Tensor], steps: dict[str, Steps]
    ) -> Tensor:
        """Mean divergence of the three modality pairs, a scalar; reads ``h``."""
        gaussians = {}
        for m in MODALITIES:
            z = self.common[m](h[m])  # common space, (P, width)
            gaussians[m] = step_gaussians(resample(z, steps[m], self.count))
        pairs = [gaussian_kl(gaussians[a], gaussians[b]).mean() for a, b in PAIRS]
        return torch.stack(pairs).mean()  # eq. 22


class GaussianToMean(nn.Module):
    """The released similarity: Gaussian log-likelihood around the modalities' mean.

    It reads the hidden state of the reconstruction, maps its time axis to a common
    length, and takes mean and variance from the average of the three modalities
    (dossier, MIT-FRNet 2). Unbounded below down to the variance floor.
    """

    def __init__(self, shapes: Shapes, width: int) -> None:
        super().__init__()
        self.common = nn.ModuleDict(
            {m: nn.Linear(shapes[m].steps, width) for m in MODALITIES}
        )

    def forward(
        self, h: dict[str, Tensor], hidden: dict[str, Tensor], steps: dict[str, Steps]
    ) -> Tensor:
        """Mean negative log-likelihood, without its constant; reads ``hidden``."""
        f = torch.stack(
            [
                self.common[m](steps[m].pad(hidden[m]).transpose(1, 2))
                for m in MODALITIES
            ]
        )  # (3, B, 3d, width)
        mean = f.mean(0)
        variance = mean.var(-1, keepdim=True).clamp(min=VARIANCE_FLOOR)
        return (variance.log() + (f - mean) ** 2 / variance).mean() / 2


def losses_of_all_steps(rebuilt: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Smooth-L1 over every step of each modality, missing or not (eq. 19).

    Parameters
    ----------
    rebuilt : dict of str to Tensor, shape (P, d_m)
        Packed reconstructions.
    batch : Batch

    Returns
    -------
    dict of str to scalar Tensor
        ``"reconstruction_<modality>"``.
    """
    return {
        f"reconstruction_{m}": F.smooth_l1_loss(
            rebuilt[m], batch.steps[m].pack(batch.targets[m])
        )
        for m in MODALITIES
    }


class MITFRNet(SequenceModel):
    """Modality-invariant temporal feature reconstruction network.

    Parameters
    ----------
    shapes : Shapes
        Padded length and width of every modality.
    hyper : MITFRNetHyper
    """

    def __init__(self, shapes: Shapes, hyper: MITFRNetHyper) -> None:
        super().__init__(hyper)
        d = hyper.width
        self.project = ConvProjection(shapes, d, hyper.text_dropout)
        self.relate = CrossmodalEncoders(hyper)
        self.rebuild = reconstruction(shapes, hyper)
        self.uses_targets = self.rebuild is not None
        self.compare = self._similarity(shapes)
        gate = InputGateEncoder if hyper.input_gate else GateEncoder
        self.condense = nn.ModuleDict(
            {
                m: gate(
                    3 * d, RECURRENT_WIDTH[m], hyper.gate_layers, hyper.gate_dropout
                )
                for m in MODALITIES
            }
        )
        self.classify = Classifier(
            sum(RECURRENT_WIDTH.values()),
            hyper.classifier_hidden,
            hyper.classifier_dropout,
        )
        self.loss_weights["similarity"] = hyper.weight_similarity  # eqs. 20 and 24

    def _similarity(self, shapes: Shapes) -> Similarity | GaussianToMean | None:
        hyper = self.hyper
        if not hyper.similarity:
            return None
        if not hyper.gaussian_to_mean:
            return Similarity(3 * hyper.width, hyper.common_width, hyper.common_steps)
        # It reads the reconstruction's hidden state: without the one, not the other.
        return GaussianToMean(shapes, hyper.common_width) if self.rebuild else None

    def reconstruction_losses(
        self, rebuilt: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        """Compare what was rebuilt, (P, d_m), with the complete sequences (eq. 19)."""
        if self.hyper.missing_steps_only:
            return missing_losses(rebuilt, batch)
        return losses_of_all_steps(rebuilt, batch)

    def forward(self, batch: Batch) -> Outputs:
        """Predict, rebuild every step, and compare the modalities' distributions."""
        x, steps = self.sequences(batch)
        c = self.project(x, steps)  # eq. 1, (P, d)
        h = self.relate(c, steps)  # eqs. 2-6, (P, 3d)
        pooled = [self.condense[m](h[m], steps[m]) for m in MODALITIES]
        outputs = Outputs(self.classify(torch.cat(pooled, -1)))  # eqs. 13-18, (B,)
        hidden = h
        if self.rebuild is not None:
            hidden = self.rebuild.encode(h, steps)  # eq. 7, (P, 3d)
            rebuilt = self.rebuild.decode(hidden, steps)  # eq. 8, (P, d_m)
            outputs.reconstructions = rebuilt
            outputs.losses |= self.reconstruction_losses(rebuilt, batch)
        if self.compare is not None:  # eqs. 9-12, 21-22
            outputs.losses["similarity"] = self.compare(h, hidden, steps)
        return outputs
