"""MFMB-Net's paper variant against its equations, one sample at a time.

The expected values come from plain torch on the unpadded sequences of one sample, from
the layers' weights alone. Sequences are lists with one (T, d) per sample; joined they
are the packed rows that the layers read.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from msa.data.contract import MODALITIES, padding_mask
from msa.models.base import Batch, Outputs, Shape
from msa.models.blocks import missing_losses
from msa.models.mfmb_net import (
    CoarseToFine,
    HybridAttention,
    MacroFusion,
    MemoryGate,
    MFMBNet,
    MFMBNetHyper,
    MicroFusion,
    ModalityReconstruction,
    TimeReconstruction,
)
from msa.models.registry import model_entry
from msa.models.steps import Steps

LENGTHS = {"text": (3, 1, 4), "audio": (2, 5, 1), "vision": (4, 2, 3)}
"""Real steps of three samples."""

SHAPES = {"text": Shape(5, 4), "audio": Shape(6, 2), "vision": Shape(5, 3)}
"""Every modality is padded by at least one step."""

D = 6
HYPER = MFMBNetHyper(
    width=D,
    heads=2,
    self_layers=2,
    cross_layers=2,
    hub_tokens=2,
    macro_layers=2,
    macro_heads=3,
    fine_width=4,
)


@pytest.fixture(autouse=True)
def double_precision():
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.double)
    yield
    torch.set_default_dtype(usual)


def scrambled(module, seed=0):
    """The module for evaluation, every weight random: no gain is 1 and no bias 0."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=g))
    return module.eval()


def masks():
    return {
        m: padding_mask(torch.tensor(LENGTHS[m]), SHAPES[m].steps) for m in MODALITIES
    }


def make_steps():
    return {m: Steps(mask) for m, mask in masks().items()}


def sequences(lengths, width, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(length, width, generator=g) for length in lengths]


def all_sequences(width):
    return {m: sequences(LENGTHS[m], width, i) for i, m in enumerate(MODALITIES)}


def joined(samples):
    """Packed rows, for one modality or for each."""
    if isinstance(samples, dict):
        return {m: joined(x) for m, x in samples.items()}
    return torch.cat(samples)


# --- the equations' parts in plain torch ----------------------------------------------


def positioned(x):
    """sqrt(d) x plus sines and cosines of the place, counted from 1; (T, d)."""
    steps, d = x.shape
    rates = [10000 ** (-i / (d // 2 - 1)) for i in range(d // 2)]
    codes = [
        [f(t * rate) for f in (math.sin, math.cos) for rate in rates]
        for t in range(1, steps + 1)
    ]
    return math.sqrt(d) * x + torch.tensor(codes)


def attention(q, k, v):
    scores = q @ k.T / math.sqrt(q.shape[1])
    return scores.softmax(1) @ v


def affine(layer, e, x):
    """Map ``e`` of several side by side, behind its layer norm where it has one."""
    if layer.gain is not None:
        x = F.layer_norm(x, x.shape[1:]) * layer.gain[e, :, 0] + layer.offset[e, 0]
    return x @ layer.weight[e] + layer.bias[e, 0]


def transformer(bank, e, x, source=None):
    """Encoder ``e`` of a bank on one sample; in every layer it reads ``source``."""
    for layer in bank.layers:
        q = affine(layer.query, e, x)
        kv = affine(layer.key_value, e, x if source is None else source)
        k, v = kv.chunk(2, 1)
        heads = zip(*(part.chunk(bank.heads, 1) for part in (q, k, v)), strict=True)
        x = x + affine(layer.out, e, torch.cat([attention(*h) for h in heads], 1))
        x = x + affine(layer.contract, e, affine(layer.expand, e, x).relu())
    return F.layer_norm(x, x.shape[1:]) * bank.last_gain[e, 0] + bank.last_offset[e, 0]


def lstm(x, w_input, b_input, w_state, b_state):
    state = cell = torch.zeros(w_state.shape[0])
    states = []
    for step in x:
        gates = step @ w_input + b_input[0] + state @ w_state + b_state[0]
        i, f, g, o = gates.chunk(4)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        state = o.sigmoid() * cell.tanh()
        states.append(state)
    return torch.stack(states)


def bilstm(rnn, x):
    ahead, behind = zip(
        rnn.weight_input[0],
        rnn.bias_input[0],
        rnn.weight_state[0],
        rnn.bias_state[0],
        strict=True,
    )
    return torch.cat([lstm(x, *ahead), lstm(x.flip(0), *behind).flip(0)], 1)


def convolved(conv, x):
    """Kernel 3: step t reads t - 1, t and t + 1; beyond the ends there is nothing."""
    out = []
    for t in range(len(x)):
        near = [(tap, t + tap - 1) for tap in range(3) if 0 <= t + tap - 1 < len(x)]
        out.append(sum(conv.weight[..., tap] @ x[s] for tap, s in near) + conv.bias)
    return torch.stack(out)


def linear(layer, x):
    return x @ layer.weight.T + layer.bias


def feed_forward(ffn, x):
    first, _, second = ffn
    return linear(second, linear(first, x).relu())


def coarse_to_fine(fuse, pair, means, variances):
    """Eqs. 12-13 from the mean and variance that each channel is normalised by."""
    coarse = [
        (x - mean) / math.sqrt(variance + 1e-5) * gain + offset
        for x, mean, variance, gain, offset in zip(
            pair, means, variances, fuse.norm.weight, fuse.norm.bias, strict=True
        )
    ]
    first, _, norm, second, _ = fuse.fine
    hidden = linear(first, torch.cat(coarse, 1)).relu()
    hidden = F.layer_norm(hidden, hidden.shape[1:]) * norm.weight + norm.bias
    return linear(second, hidden).relu()


# --- eq. 2 ----------------------------------------------------------------------------

SOURCES = {
    "text": ("audio", "vision"),
    "audio": ("text", "vision"),
    "vision": ("text", "audio"),
}


def test_hybrid_attention_aligns_first_and_then_crosses_the_aligned_sequences():
    align = scrambled(HybridAttention(HYPER))
    h = all_sequences(D)
    got = align(joined(h), make_steps())
    aligned = {
        m: [transformer(align.align[m], 0, positioned(x)) for x in h[m]]
        for m in MODALITIES
    }
    for m in MODALITIES:
        expected = []
        for i, own in enumerate(aligned[m]):
            crossed = [
                transformer(
                    align.cross[m], e, positioned(own), positioned(aligned[s][i])
                )
                for e, s in enumerate(SOURCES[m])
            ]
            expected.append(torch.cat([own, *crossed], 1))  # (T, 3d)
        assert got[m].shape == (sum(LENGTHS[m]), 3 * D)
        torch.testing.assert_close(got[m], joined(expected))


# --- eqs. 3-7 -------------------------------------------------------------------------


def test_the_hub_goes_through_vision_audio_and_text():
    macro = scrambled(MacroFusion(SHAPES, 3 * D, HYPER))
    h = all_sequences(3 * D)
    got = macro(joined(h), make_steps())
    expected = []
    for i in range(3):
        hub = macro.hub.weight
        for m in ("vision", "audio", "text"):
            prepared = transformer(macro.prepare[m].bank, 0, positioned(h[m][i]))
            carried = transformer(macro.carry[m].bank, 0, torch.cat([prepared, hub]))
            hub = carried[-2:]
        expected.append(torch.cat([*hub]))  # both tokens, one after the other
    torch.testing.assert_close(got, torch.stack(expected))


class Digit(nn.Module):
    """Appends a decimal digit to every row it is given, and counts the rows."""

    def __init__(self, digit):
        super().__init__()
        self.digit, self.rows = digit, 0

    def forward(self, x, steps, leading=None):
        self.rows = len(x)
        assert steps.mask.sum() == self.rows
        wanted = self.rows if leading is None else leading.mask.sum()
        return 10 * x[:wanted] + self.digit


def test_the_order_of_the_hub_spells_one_two_three():
    macro = MacroFusion(SHAPES, 3 * D, HYPER)
    nn.init.zeros_(macro.hub.weight)
    for digit, m in enumerate(("vision", "audio", "text"), start=1):
        macro.prepare[m] = Digit(0)
        macro.carry[m] = Digit(digit)
    got = macro(joined(all_sequences(3 * D)), make_steps())
    assert got.tolist() == [[123.0] * (2 * 3 * D)] * 3
    for m in MODALITIES:
        assert macro.prepare[m].rows == sum(LENGTHS[m])
        assert macro.carry[m].rows == sum(LENGTHS[m]) + 3 * 2  # two tokens a sample


@pytest.mark.parametrize(
    ("one", "two"), [("vision", "audio"), ("audio", "text"), ("vision", "text")]
)
def test_two_modalities_cannot_change_places_in_the_hub(one, two):
    macro = scrambled(MacroFusion(SHAPES, 3 * D, HYPER))
    for encoders in (macro.prepare, macro.carry):
        for m in ("audio", "vision"):  # so that nothing but the order tells them apart
            encoders[m].load_state_dict(encoders["text"].state_dict())
    h, steps = joined(all_sequences(3 * D)), make_steps()
    there = macro(h, steps)
    back = macro(
        {**h, one: h[two], two: h[one]}, {**steps, one: steps[two], two: steps[one]}
    )
    assert float((there - back).abs().max().detach()) > 0.01


# --- eqs. 8-10 ------------------------------------------------------------------------


@pytest.mark.parametrize("m", MODALITIES)
def test_memory_gate_by_its_equations(m):
    gate = scrambled(MemoryGate(5, 3, 0.2))
    x = sequences(LENGTHS[m], 5)
    expected = []
    for sample in x:
        states = bilstm(gate.rnn, sample).tanh()  # eq. 8, (T, 6)
        memory = feed_forward(gate.ffn, convolved(gate.conv.conv, states))  # eq. 9
        expected.append((states * memory).max(0).values)  # eq. 10
    expected = torch.stack(expected)
    assert bool((expected < 0).any())  # where a zero at padding would be the maximum
    torch.testing.assert_close(gate(joined(x), make_steps()[m]), expected)


# --- eqs. 11-13 -----------------------------------------------------------------------


def test_coarse_to_fine_normalises_each_channel_over_the_batch_in_training():
    fuse = scrambled(CoarseToFine(4)).train()
    pair = sequences((3, 3), 4)
    means = [x.mean() for x in pair]  # over samples and features
    variances = [((x - mean) ** 2).mean() for x, mean in zip(pair, means, strict=True)]
    expected = coarse_to_fine(fuse, pair, means, variances)
    torch.testing.assert_close(fuse(*pair), expected)


def test_coarse_to_fine_normalises_by_running_statistics_in_evaluation():
    fuse = scrambled(CoarseToFine(4))
    fuse.norm.running_mean.copy_(torch.tensor([0.5, -1.0]))
    fuse.norm.running_var.copy_(torch.tensor([4.0, 0.25]))
    pair = sequences((3, 3), 4)
    expected = coarse_to_fine(fuse, pair, (0.5, -1.0), (4.0, 0.25))
    torch.testing.assert_close(fuse(*pair), expected)


def test_micro_fusion_stacks_text_with_vision_and_then_text_with_audio():
    micro = scrambled(MicroFusion(3 * D, HYPER))
    for fuse in micro.fuse:  # of a pair: text counts from 0.5, the other from -1
        fuse.norm.running_mean.copy_(torch.tensor([0.5, -1.0]))
    h, steps = joined(all_sequences(3 * D)), make_steps()
    got, local = micro(h, steps)
    gated = {m: micro.gate[m](h[m], steps[m]) for m in MODALITIES}  # eqs. 8-10, above
    u = {m: linear(micro.level[m], gated[m]) for m in MODALITIES}
    expected = [
        coarse_to_fine(fuse, (u["text"], u[other]), (0.5, -1.0), (1.0, 1.0))
        for fuse, other in zip(micro.fuse, ("vision", "audio"), strict=True)
    ]
    torch.testing.assert_close(got, torch.cat(expected, 1))
    torch.testing.assert_close(local, [gated[m] for m in MODALITIES])


# --- eqs. 14-15 -----------------------------------------------------------------------


@pytest.mark.parametrize("m", MODALITIES)
def test_reconstruction_attends_to_a_samples_own_steps(m):
    rebuild = scrambled(ModalityReconstruction(5, 3))
    x = sequences(LENGTHS[m], 5)
    w_query, w_key, w_value = rebuild.qkv.weight.split(5)
    expected = []
    for sample in x:
        q, k, v = sample @ w_query.T, sample @ w_key.T, sample @ w_value.T
        recalled = attention(q, k, v)  # eq. 14
        expected.append(feed_forward(rebuild.ffn, recalled))  # eq. 15
    torch.testing.assert_close(rebuild(joined(x), make_steps()[m]), joined(expected))


# --- eqs. 1 and 16 --------------------------------------------------------------------


def make_batch(damaged=True):
    """Each sample's first step is missing, in every modality."""
    x = {m: sequences(LENGTHS[m], SHAPES[m].width, i) for i, m in enumerate(MODALITIES)}
    padded = {
        m: torch.stack([F.pad(s, (0, 0, 0, SHAPES[m].steps - len(s))) for s in x[m]])
        for m in MODALITIES
    }
    missing = {m: torch.zeros_like(mask) for m, mask in masks().items()}
    for m in MODALITIES:
        missing[m][:, 0] = damaged
    inputs = {m: padded[m] * ~missing[m][..., None] for m in MODALITIES}
    labels = torch.tensor([1.0, -2.0, 0.5])
    return Batch(
        inputs, padded, masks(), missing, labels, torch.arange(3), damaged=damaged
    )


def test_both_streams_and_the_reconstruction_read_the_aligned_sequences():
    model = scrambled(MFMBNet(SHAPES, HYPER))
    batch, steps = make_batch(), make_steps()
    packed = {m: batch.inputs[m][mask] for m, mask in masks().items()}
    h = {m: linear(model.encode[m], packed[m]) for m in MODALITIES}  # eq. 1
    h = model.align(h, steps)  # eq. 2
    h_f = model.macro(h, steps)  # eqs. 3-7, (3, 2·3d)
    h_fusion, _ = model.micro(h, steps)  # eqs. 8-13, (3, 2·2·4)
    expected = linear(model.predict, torch.cat([h_f, h_fusion], 1))[:, 0]  # eq. 16
    outputs = model(batch)
    torch.testing.assert_close(outputs.prediction, expected)
    for m in MODALITIES:
        rebuilt = model.rebuild.each[m](h[m], steps[m])  # eqs. 14-15
        torch.testing.assert_close(outputs.reconstructions[m], rebuilt)
        gone = batch.missing[m][masks()[m]]
        error = (rebuilt - batch.targets[m][masks()[m]])[gone].abs()
        by_hand = torch.where(error < 1, error**2 / 2, error - 0.5).mean()  # eq. 18
        loss = outputs.losses[f"reconstruction_{m}"]
        # 1e-4 is added to 6 missing elements or more.
        torch.testing.assert_close(loss, by_hand, rtol=2e-5, atol=0)


def test_an_undamaged_batch_has_no_generative_loss():
    model = scrambled(MFMBNet(SHAPES, HYPER))
    batch = make_batch(damaged=False)
    total, terms = model.objective(batch, 1)
    assert set(terms) == {"task"}
    torch.testing.assert_close(
        total, (model(batch).prediction - batch.labels).abs().mean()
    )


# --- eqs. 17-19 -----------------------------------------------------------------------


def test_generative_loss_counts_missing_elements_by_hand():
    mask = padding_mask(torch.tensor([3, 1]), 3)
    one_step = padding_mask(torch.tensor([1, 1]), 1)
    # Rows of text: three steps of the first sample, the only one of the second. Padding
    # does not count, not even where it is marked as missing.
    missing = {
        "text": torch.tensor([[True, False, True], [False, True, True]]),
        "audio": torch.tensor([[False], [False]]),
        "vision": torch.tensor([[False], [True]]),
    }
    targets = {
        "text": torch.tensor(
            [[[1.0, 1.0], [0, 0], [0, 5.0]], [[0, 0], [99.0, 99.0], [99.0, 99.0]]]
        ),
        "audio": torch.tensor([[[1.0]], [[2.0]]]),
        "vision": torch.tensor([[[0.0]], [[4.0]]]),
    }
    rebuilt = {
        "text": torch.tensor([[1.5, -1.0], [70.0, 70.0], [0.0, 2.0], [70.0, 70.0]]),
        "audio": torch.tensor([[70.0], [70.0]]),
        "vision": torch.tensor([[70.0], [4.2]]),
    }
    batch = Batch(
        targets,
        targets,
        {"text": mask, "audio": one_step, "vision": one_step},
        missing,
        torch.zeros(2),
        torch.arange(2),
    )
    losses = missing_losses(rebuilt, batch)
    # Errors 0.5, 2, 0 and 3: (0.5^2 / 2 + 1.5 + 0 + 2.5) over four elements.
    text = losses["reconstruction_text"].item()
    assert text == pytest.approx(4.125 / (4 + 1e-4), rel=1e-12)
    assert losses["reconstruction_audio"].item() == 0.0
    # Error 0.2, one element.
    vision = losses["reconstruction_vision"].item()
    assert vision == pytest.approx(0.02 / (1 + 1e-4), rel=1e-12)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        # 1.5, the mean error, + 5 * 0.1 + 2 * 1 + 20 * 10
        ("mosi", 204.0),
        ("mosei", 204.0),
        # 1.5 + 1 * 0.1 + 0.01 * 1 + 0.0001 * 10
        ("sims", 1.611),
    ],
)
def test_total_loss_by_hand_from_the_first_epoch_on(dataset, expected, monkeypatch):
    entry = model_entry("MFMB-Net")
    model = entry.build(SHAPES, entry.resolve(dataset, "paper"))
    losses = {"text": 0.1, "audio": 1.0, "vision": 10.0}
    losses = {f"reconstruction_{m}": torch.tensor(x) for m, x in losses.items()}
    outputs = Outputs(torch.tensor([1.0, -1.0]), losses=losses)
    monkeypatch.setattr(model, "forward", lambda batch: outputs)
    batch = Batch({}, {}, {}, {}, torch.tensor([0.0, 1.0]), torch.arange(2))
    for epoch in (1, 2):
        assert model.objective(batch, epoch)[0].item() == pytest.approx(expected)


@pytest.mark.parametrize("dataset", ["mosi", "mosei", "sims"])
def test_the_paper_variant_is_made_of_the_layers_tested_here(dataset):
    entry = model_entry("MFMB-Net")
    model = entry.build(SHAPES, entry.resolve(dataset, "paper"))
    made = [type(part) for part in (model.align, model.macro, model.micro)]
    assert made == [HybridAttention, MacroFusion, MicroFusion]
    assert {type(gate) for gate in model.micro.gate.values()} == {MemoryGate}
    assert {type(fuse) for fuse in model.micro.fuse} == {CoarseToFine}
    assert len({id(fuse) for fuse in model.micro.fuse}) == 2
    assert isinstance(model.rebuild, TimeReconstruction)
    assert isinstance(model.predict, nn.Linear)
