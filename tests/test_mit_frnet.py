"""MIT-FRNet's own equations, by hand: gate, reconstruction loss, similarity, total."""

import math

import pytest
import torch
from test_models import LENGTHS, build, make_batch
from torch import nn
from torch.distributions import Normal, kl_divergence

from msa.data.contract import MODALITIES, padding_mask
from msa.models.base import Batch
from msa.models.blocks import GateEncoder
from msa.models.mit_frnet import Similarity, losses_of_all_steps, step_gaussians
from msa.models.steps import Steps


def test_the_gate_encoder_by_its_equations():
    torch.manual_seed(0)
    encoder = GateEncoder(4, 3, 1, 0.0).eval()
    steps = Steps(padding_mask(torch.tensor([2, 1]), 2))
    x = torch.randn(3, 4)
    pooled = encoder(x, steps)
    states = encoder.rnn(x, steps)  # eq. 13; its equality with torch has its own test
    # Eq. 14: a convolution over three steps, what lies beyond the ends being zero.
    kernel, bias = encoder.gate.conv.weight[0], encoder.gate.conv.bias
    nothing = torch.zeros(6)
    around = [
        (nothing, states[0], states[1]),
        (states[0], states[1], nothing),
        (nothing, states[2], nothing),
    ]
    gate = torch.stack(
        [sum(kernel[:, i] @ h for i, h in enumerate(row)) + bias for row in around]
    )
    gated = states.tanh() * gate.sigmoid()  # eq. 15
    # Eq. 16 reads the states beside the gated ones, and has no tanh.
    mixed = torch.cat([states, gated], -1) @ encoder.linear.weight.T
    mixed = mixed + encoder.linear.bias
    expected = torch.stack([mixed[:2].amax(0), mixed[2]])  # eq. 17
    torch.testing.assert_close(pooled, expected)


def test_the_reconstruction_loss_counts_every_step():
    # One sample: two real steps of text, of which the second is missing; one of audio
    # and of vision, not missing. Smooth-L1: d^2 / 2 up to 1, |d| - 1/2 beyond.
    mask = {m: torch.tensor([[True, m == "text"]]) for m in MODALITIES}
    targets = {m: torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]) for m in MODALITIES}
    missing = {m: torch.tensor([[False, m == "text"]]) for m in MODALITIES}
    batch = Batch(targets, targets, mask, missing, torch.zeros(1), torch.arange(1))
    rebuilt = {
        "text": torch.tensor([[0.5, 2.0], [1.0, 5.0]]),
        "audio": torch.tensor([[0.0, 1.0]]),
        "vision": torch.tensor([[0.0, 0.0]]),
    }
    losses = losses_of_all_steps(rebuilt, batch)
    # Text: (0.125 + 1.5 + 0 + 3.5) / 4; of the missing step alone it would be 1.75.
    expected = {"text": 5.125 / 4, "audio": 0.25, "vision": 0.0}
    for m, value in expected.items():
        assert losses[f"reconstruction_{m}"].item() == pytest.approx(value)


def test_the_total_is_the_weighted_sum_of_eqs_20_and_24():
    model, batch = build("MIT-FRNet", "paper").eval(), make_batch(LENGTHS)
    total, terms = model.objective(batch, 1)
    task = (model(batch).prediction - batch.labels).abs().mean()
    # CMU-MOSI: text 5, audio 2, vision 20, similarity 0.001.
    weights = {"task": 1.0, "similarity": 0.001, "reconstruction_text": 5.0}
    weights |= {"reconstruction_audio": 2.0, "reconstruction_vision": 20.0}
    assert terms["task"].item() == pytest.approx(task.item())
    assert set(terms) == set(weights)
    expected = sum(weights[name] * terms[name].item() for name in terms)
    assert total.item() == pytest.approx(expected, rel=1e-5)


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
