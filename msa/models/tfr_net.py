"""TFR-Net (Yuan et al., ACM Multimedia 2021): the common ancestor of both papers.

Convolutions bring the modalities to one width, nine Transformer encoders relate them
within and across, a reconstruction branch rebuilds what is missing, and a gate encoder
per modality condenses each sequence for the classifier. Source: the dossier's section
on TFR-Net; equation numbers below are MIT-FRNet's, which restates the same layers but
for the depth and the linear map of the gate (eqs. 13, 16) and the loss (eq. 19).
"""

from __future__ import annotations

import torch
from torch import nn

from msa.data.contract import MODALITIES
from msa.models.base import Batch, Outputs, Shapes
from msa.models.blocks import (
    RECURRENT_WIDTH,
    RELEASED_SWITCHES,
    SHARED_SIMS,
    BatchAxisReconstruction,
    Classifier,
    ConvProjection,
    CrossmodalEncoders,
    InputGateEncoder,
    Reconstruction,
    SequenceHyper,
    SequenceModel,
    missing_losses,
)


class TFRNetHyper(SequenceHyper):
    """TFR-Net's hyper-parameters; defaults for MOSI and MOSEI."""

    gate_layers: int = 3
    reconstruction_layers: int = 3
    reconstruction_heads: int = 6
    classifier_hidden: int = 128
    classifier_dropout: float = 0.0


SIMS = SHARED_SIMS | {"classifier_dropout": 0.1}
"""What differs on CH-SIMS (dossier, hyper-parameter tables)."""


RELEASED = RELEASED_SWITCHES
"""What the released code does otherwise."""


def reconstruction(shapes: Shapes, hyper: TFRNetHyper) -> Reconstruction | None:
    """Return the reconstruction branch that the switches ask for."""
    if not hyper.reconstruction:
        return None
    width, layers = 3 * hyper.width, hyper.reconstruction_layers
    if hyper.batch_axis_reconstruction:
        return BatchAxisReconstruction(shapes, width, layers)
    return Reconstruction(shapes, width, hyper.reconstruction_heads, layers)


class TFRNet(SequenceModel):
    """Transformer-based feature reconstruction network.

    Parameters
    ----------
    shapes : Shapes
        Padded length and width of every modality.
    hyper : TFRNetHyper
    """

    def __init__(self, shapes: Shapes, hyper: TFRNetHyper) -> None:
        super().__init__(hyper)
        d = hyper.width
        self.project = ConvProjection(shapes, d, hyper.text_dropout)
        self.relate = CrossmodalEncoders(hyper)
        self.rebuild = reconstruction(shapes, hyper)
        self.uses_targets = self.rebuild is not None
        self.condense = nn.ModuleDict(
            {
                m: InputGateEncoder(
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

    def forward(self, batch: Batch) -> Outputs:
        """Predict, and rebuild the missing steps where there are any."""
        x, steps = self.sequences(batch)
        c = self.project(x, steps)  # eq. 1, (P, d)
        h = self.relate(c, steps)  # eqs. 2-6, (P, 3d)
        pooled = [self.condense[m](h[m], steps[m]) for m in MODALITIES]
        prediction = self.classify(torch.cat(pooled, -1))  # eqs. 13-18, (B,)
        if self.rebuild is None or not batch.damaged:
            return Outputs(prediction)
        rebuilt = self.rebuild(h, steps)  # eqs. 7-8, (P, d_m)
        return Outputs(prediction, rebuilt, missing_losses(rebuilt, batch))
