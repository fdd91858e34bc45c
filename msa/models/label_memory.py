"""Self-MM's unimodal labels: how they are generated, and the memory that holds them.

Nobody annotated a label per modality. Each begins at the multimodal label and is moved
by how much nearer the modality's feature stands to the positive or to the negative
clips than the fused feature does (Yu et al., AAAI 2021, unimodal label generation).
"""

from __future__ import annotations

import torch
from torch import Tensor

from msa.data.contract import MODALITIES

BRANCHES = ("fusion", *MODALITIES)
"""The multimodal task and the three unimodal ones."""

TINY = 1e-8
"""Added to divisors that can be 0."""


def relative_distance(features: Tensor, bank: Tensor, labels: Tensor) -> Tensor:
    """How much nearer a feature stands to the positive centre than to the negative.

    A centre is the mean of the remembered features whose label has its sign; a label
    of 0 belongs to neither. With distances d_p and d_n the value is
    (d_n - d_p) / d_p: 0 midway, growing towards the positive centre.

    Parameters
    ----------
    features : Tensor, shape (B, d)
    bank, labels : Tensor, shapes (N, d) and (N,)
        Features and labels of all training samples.

    Returns
    -------
    Tensor, shape (B,)
    """
    sides = torch.stack([labels > 0, labels < 0]).to(bank.dtype)  # (2, N)
    centres = sides @ bank / sides.sum(1, keepdim=True).clamp(min=1)  # (2, d)
    positive, negative = (features[:, None] - centres).norm(dim=-1).unbind(1)
    return (negative - positive) / (positive + TINY)


def generated_label(own: Tensor, fused: Tensor, label: Tensor, bound: float) -> Tensor:
    """Move a multimodal label by what sets a modality apart from the fusion.

    The mean of a ratio, (own / fused) · label, and a difference, label + own - fused.

    Parameters
    ----------
    own, fused : Tensor, shape (B,)
        :func:`relative_distance` of the modality and of the fusion.
    label : Tensor, shape (B,)
        Multimodal labels.
    bound : float
        Largest absolute label.
    """
    ratio = own / (fused + TINY) * label
    return ((ratio + label + own - fused) / 2).clamp(-bound, bound)


class LabelMemory:
    """Features and labels of every training sample, per branch.

    Parameters
    ----------
    labels : Tensor, shape (N,)
        Multimodal labels: where all unimodal ones begin.
    widths : dict of str to int
        Feature width of each branch.
    bound : float
        Largest absolute label.
    """

    def __init__(self, labels: Tensor, widths: dict[str, int], bound: float) -> None:
        self.bound = bound
        self.labels = {b: labels.clone() for b in BRANCHES}
        self.features = {b: labels.new_zeros(len(labels), widths[b]) for b in BRANCHES}

    def update(self, index: Tensor, features: dict[str, Tensor], epoch: int) -> None:
        """Relabel a batch from the centres so far, then remember its features.

        Labels move from epoch 2 on, when every sample has been seen. Momentum: in
        epoch n the label keeps (n - 1) / (n + 1) of itself.
        """
        if epoch > 1:
            shift = {
                b: relative_distance(features[b], self.features[b], self.labels[b])
                for b in BRANCHES
            }
            truth = self.labels["fusion"][index]
            for m in MODALITIES:
                new = generated_label(shift[m], shift["fusion"], truth, self.bound)
                labels = self.labels[m]
                labels[index] = torch.lerp(labels[index], new, 2 / (epoch + 1))
        for b in BRANCHES:
            self.features[b][index] = features[b]
