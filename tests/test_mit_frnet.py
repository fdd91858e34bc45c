"""MIT-FRNet's similarity term, by hand."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from msa.data.contract import padding_mask
from msa.models.mit_frnet import Similarity, step_gaussians
from msa.models.steps import Steps


def test_a_step_is_the_gaussian_of_its_features():
    z = torch.tensor([[[1.0, 3.0], [0.0, 0.0]], [[-1.0, 1.0], [2.0, 8.0]]])
    mean, variance = step_gaussians(z)
    assert mean.tolist() == [[2.0, 0.0], [0.0, 5.0]]
    # Unbiased: (1 + 1) / 1 and so on, 1e-6 added to each.
    expected = [2.0 + 1e-6, 1e-6, 2.0 + 1e-6, 18.0 + 1e-6]
    assert variance.flatten().tolist() == pytest.approx(expected)


def divergence(first, second):
    """KL(first || second) of two (mean, variance), by torch's own formula."""
    normal = [Normal(mean, math.sqrt(variance)) for mean, variance in (first, second)]
    return kl_divergence(*normal).item()


def test_similarity_is_the_mean_divergence_of_three_directed_pairs():
    compare = Similarity(2, 2, 2)  # two common features, two common steps
    scales = {"text": 1.0, "audio": 2.0, "vision": 3.0}
    for m, scale in scales.items():
        with torch.no_grad():
            compare.common[m].weight.copy_(scale * torch.eye(2))
        nn.init.zeros_(compare.common[m].bias)
    # Behind the linear maps: text (-1, 1) and then (0, 6), audio (-1, 3) all along,
    # vision (0, 6) all along. The second sample is (0, 6) everywhere.
    small, wide, widest = (0.0, 2.0), (1.0, 8.0), (3.0, 18.0)  # mean, variance
    h = {
        "text": torch.tensor([[-1.0, 1.0], [0.0, 6.0], [0.0, 6.0]]),
        "audio": torch.tensor([[-0.5, 1.5], [0.0, 3.0]]),
        "vision": torch.tensor([[0.0, 2.0], [0.0, 2.0], [0.0, 2.0]]),
    }
    lengths = {"text": (2, 1), "audio": (1, 1), "vision": (1, 2)}
    steps = {m: Steps(padding_mask(torch.tensor(n), 3)) for m, n in lengths.items()}
    text_audio = divergence(small, wide) + divergence(widest, wide)
    vision_audio = 2 * divergence(widest, wide)
    text_vision = divergence(small, widest) + 0
    # Three pairs; two samples, of which the second has no divergence.
    expected = (text_audio + vision_audio + text_vision) / 3 / 2
    assert compare(h, {}, steps).item() == pytest.approx(expected, rel=1e-5)
