"""Every trained model: shapes, gradients, independence of padding and neighbours."""

import re
from dataclasses import replace

import pytest
import torch
from economy import SHALLOW
from torch import nn

from msa.data.contract import MODALITIES, padding_mask
from msa.data.paths import repo_root
from msa.models.attention import Attention, causal_bias
from msa.models.base import Batch, Shape
from msa.models.differences import RELEASED_MODELS, differences
from msa.models.layers import keep_mask
from msa.models.mit_frnet import gaussian_kl, resample
from msa.models.recurrent import BiRNN
from msa.models.registry import MODELS, ModelEntry, UnknownModel, model_entry
from msa.models.steps import Steps
from msa.models.transformer import EncoderBank

SHAPES = {"text": Shape(20, 24), "audio": Shape(9, 7), "vision": Shape(12, 5)}
TRAINED = [
    (entry.name, variant)
    for entry in MODELS.values()
    for variant in entry.variants
    if entry.is_trained
]
PAPER = [name for name, variant in TRAINED if variant == "paper"]
OURS = ("MFMB-Net", "MIT-FRNet")
"""The systems of the two papers."""
WHOLE = [each for each in TRAINED if not each[1].startswith("w/o")]
"""Without the ablations, which take no way that the whole model does not take."""


def make_batch(lengths, shapes=SHAPES, rate=0.5, seed=0):
    """A random batch whose samples have the given lengths (text, audio, vision)."""
    g = torch.Generator().manual_seed(seed)
    inputs, targets, mask, missing = {}, {}, {}, {}
    for i, m in enumerate(MODALITIES):
        steps, width = shapes[m]
        mask[m] = padding_mask(torch.tensor([row[i] for row in lengths]), steps)
        draws = torch.rand(mask[m].shape, generator=g)
        missing[m] = mask[m] & (draws < rate)
        full = torch.randn(len(lengths), steps, width, generator=g)
        targets[m] = full * mask[m][..., None]
        inputs[m] = targets[m] * ~missing[m][..., None]
    labels = torch.randn(len(lengths), generator=g)
    return Batch(
        inputs,
        targets,
        mask,
        missing,
        labels,
        torch.arange(len(lengths)),
        damaged=rate > 0,
    )


def rows_of(batch, rows):
    def pick(tensors):
        return {m: x[rows] for m, x in tensors.items()}

    return Batch(
        pick(batch.inputs),
        pick(batch.targets),
        pick(batch.mask),
        pick(batch.missing),
        batch.labels[rows],
        batch.index[rows],
        damaged=batch.damaged,
    )


def trimmed(batch):
    longest = {m: int(batch.mask[m].sum(1).max()) for m in MODALITIES}

    def cut(tensors):
        return {m: x[:, : longest[m]] for m, x in tensors.items()}

    return Batch(
        cut(batch.inputs),
        cut(batch.targets),
        cut(batch.mask),
        cut(batch.missing),
        batch.labels,
        batch.index,
        damaged=batch.damaged,
    )


def build(name, variant, dataset="mosi", shapes=SHAPES):
    entry = model_entry(name)
    torch.manual_seed(0)
    return entry.build(shapes, entry.resolve(dataset, variant))


def released(variant):
    """A released variant's prediction may depend on padding; that is its point."""
    return variant == "released"


LENGTHS = [(20, 9, 12), (3, 1, 1), (7, 4, 12), (12, 9, 5), (5, 2, 3)]


@pytest.mark.parametrize(("name", "variant"), TRAINED)
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_outputs_are_finite_and_one_score_per_sample(name, variant, rate):
    batch = make_batch(LENGTHS, rate=rate)
    model = build(name, variant)
    model.begin_training(batch.labels)
    total, terms = model.objective(batch, 1)
    assert model(batch).prediction.shape == (5,)
    assert torch.isfinite(total)
    assert set(terms) <= set(model.loss_weights)
    for m, rebuilt in model(batch).reconstructions.items():
        assert rebuilt.shape == (int(batch.mask[m].sum()), SHAPES[m].width)


SWITCHED = [
    *(
        (model, each.name, each.switch)
        for model in RELEASED_MODELS
        for each in differences(model)
    ),
    ("LMF", "rank weights as drawn", {"fixed_ranks": True}),
    ("MISA", "audio and vision up to the text's length", {"text_length": True}),
    ("MulT", "no positions", {"no_positions": True}),
]
"""Every difference of the released code alone, and the traps of public code."""

UNTRAINED = {
    # What the switch is about: the public code's groups leave both out.
    "rank weights as drawn": ["fuse.combine.weight", "fuse.combine.bias"],
    # A hub of zeros is 0 when normalised: the gain never has a gradient, and the map
    # behind it only once the offset has moved.
    "Zero hub, last token": [
        "macro.carry.vision.bank.layers.0.query.weight",
        "macro.carry.vision.bank.layers.0.query.gain",
    ],
}
"""Parameters without a gradient in the first steps, by switch; there are none without
one."""


@pytest.mark.parametrize(
    ("name", "variant", "what", "switch"),
    [
        *((*each, "", {}) for each in TRAINED),
        *((name, "paper", what, switch) for name, what, switch in SWITCHED),
    ],
)
def test_every_parameter_gets_a_gradient(name, variant, what, switch):
    entry, batch = model_entry(name), make_batch(LENGTHS)
    hyper = entry.resolve("mosi", variant, {**switch, **SHALLOW.get(name, {})})
    torch.manual_seed(0)
    model = entry.build(SHAPES, hyper)
    model.begin_training(batch.labels)
    silent = dict(model.named_parameters())
    for epoch in (1, 2, 3):  # Self-MM's unimodal labels move in epoch 2
        for stage in model.stages(hyper):
            model.zero_grad()
            stage.objective(batch, epoch)[0].backward()
            # A parameter that no optimiser steps is as silent as one without gradient.
            stepped = {id(p) for group in stage.groups for p in group["params"]}
            silent = {
                n: p
                for n, p in silent.items()
                if id(p) not in stepped
                or p.grad is None
                or not bool((p.grad != 0).any())
            }
    assert list(silent) == UNTRAINED.get(what, [])


@pytest.mark.parametrize(
    ("name", "variant"), [each for each in TRAINED if not released(each[1])]
)
def test_a_prediction_does_not_depend_on_neighbours_or_padding(name, variant):
    model = build(name, variant).eval()
    batch = make_batch(LENGTHS)
    together = model(batch).prediction
    alone = torch.cat(
        [model(trimmed(rows_of(batch, [i]))).prediction for i in range(5)]
    )
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(("name", "variant"), TRAINED)
def test_a_model_says_whether_it_uses_targets(name, variant):
    model = build(name, variant).train()
    batch = replace(make_batch([(9, 5, 6), (7, 3, 8), (4, 4, 4)]), targets={})
    if model.uses_targets:
        with pytest.raises(KeyError):
            model(batch)
    else:
        assert model(batch).prediction.isfinite().all()


@pytest.mark.parametrize("layer", ["scan_layer", "library_layer"])  # CPU, GPU
def test_bidirectional_layers_equal_torch_on_packed_sequences(layer):
    lengths = torch.tensor([9, 3, 1, 6])
    steps = Steps(padding_mask(lengths, 9))
    for cell, reference in (("gru", nn.GRU), ("lstm", nn.LSTM)):
        torch.manual_seed(1)
        theirs = reference(7, 5, 2, bidirectional=True, batch_first=True).double()
        ours = BiRNN(cell, 7, 5, 2).double()
        ours.scan_layer = getattr(ours, layer)
        with torch.no_grad():
            for n in range(2):
                for way, suffix in enumerate(("", "_reverse")):
                    name = f"l{n}{suffix}"
                    ours.weight_input[n][way] = getattr(theirs, f"weight_ih_{name}").T
                    ours.weight_state[n][way] = getattr(theirs, f"weight_hh_{name}").T
                    ours.bias_input[n][way, 0] = getattr(theirs, f"bias_ih_{name}")
                    ours.bias_state[n][way, 0] = getattr(theirs, f"bias_hh_{name}")
        x = torch.randn(4, 9, 7, dtype=torch.double)
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        packed = nn.utils.rnn.pack_padded_sequence(
            a, lengths, batch_first=True, enforce_sorted=False
        )
        expected, _ = nn.utils.rnn.pad_packed_sequence(
            theirs(packed)[0], batch_first=True
        )
        got = steps.pad(ours(steps.pack(b), steps))
        torch.testing.assert_close(got, expected)
        weight = torch.randn_like(expected)
        (expected * weight).sum().backward()
        (got * weight).sum().backward()
        torch.testing.assert_close(a.grad, b.grad)
        torch.testing.assert_close(
            ours.weight_state[1].grad[1], theirs.weight_hh_l1_reverse.grad.T
        )


def attention_and_torchs(q_lengths, k_lengths, heads=2, causal=False):
    """Our packed attention and torch's padded one on the same random sequences."""
    torch.manual_seed(2)
    asked, told = (
        Steps(padding_mask(lengths, int(lengths.max())))
        for lengths in (q_lengths, k_lengths)
    )
    q, k, v = (
        torch.randn(steps.batch, steps.steps, 5 * heads, dtype=torch.double)
        for steps in (asked, told, told)
    )
    packed = asked.pack(q).requires_grad_(), told.pack(torch.cat([k, v], -1))
    packed[1].requires_grad_()
    mask = told.mask[:, None, None]
    if causal:
        mask = mask & (causal_bias(asked.steps, told.steps, "cpu") == 0)
    by_head = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    q, k, v = (x.clone().requires_grad_() for x in by_head)
    theirs = nn.functional.scaled_dot_product_attention(q, k, v, mask, scale=1.0)
    theirs = asked.pack(theirs.transpose(1, 2).flatten(2))
    ours = Attention(asked, told, heads, causal)
    pad = [lambda x, s=s: s.pad(x).unflatten(-1, (-1, 5)) for s in (asked, told)]
    return ours, packed, theirs, (q, k, v), pad


@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_torch_and_so_do_its_gradients(causal):
    q_lengths, k_lengths = torch.tensor([4, 1, 3]), torch.tensor([6, 2, 1])
    attention, packed, theirs, (q, k, v), pad = attention_and_torchs(
        q_lengths, k_lengths, causal=causal
    )
    ours = attention(*packed)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn_like(ours)
    to_q, to_k, to_v = torch.autograd.grad((theirs * weight).sum(), (q, k, v))
    got_q, got_kv = torch.autograd.grad((ours * weight).sum(), packed)
    torch.testing.assert_close(pad[0](got_q).transpose(1, 2), to_q)
    both = torch.cat([to_k, to_v], 1)
    torch.testing.assert_close(pad[1](got_kv).transpose(1, 2), both)


def test_samples_of_like_length_are_grouped_and_nothing_else_changes():
    lengths = torch.tensor([*range(1, 24), 60])
    attention, packed, theirs, *_ = attention_and_torchs(lengths, lengths, heads=3)
    groups = attention.layout.groups
    assert len(groups) > 2
    assert torch.cat(groups).sort().values.tolist() == list(range(24))
    scores = [len(own) * int(lengths[own].max()) ** 2 for own in groups]
    assert sum(scores) < 24 * 60**2 / 3
    torch.testing.assert_close(attention(*packed), theirs)


def test_groups_change_no_draw_of_dropout(monkeypatch):
    lengths = torch.tensor([*range(1, 24), 60])
    results = []
    for most in (1, 6):
        monkeypatch.setattr("msa.models.attention.MOST_GROUPS", most)
        attention, packed, *_ = attention_and_torchs(lengths, lengths)
        torch.manual_seed(4)
        mixed = attention(*packed, p=0.3)
        gradients = torch.autograd.grad(mixed.square().sum(), packed)
        results.append((len(attention.layout.groups), mixed, *gradients))
    (one, *alone), (several, *grouped) = results
    assert one == 1 < several
    torch.testing.assert_close(grouped, alone)


def test_padded_attention_of_a_gpu_gives_the_same():
    lengths = torch.tensor([7, 2, 4])
    attention, packed, theirs, *_ = attention_and_torchs(lengths, lengths)
    attention.layout = None  # as where sequences are on a GPU
    attention.bias = attention.bias.double()
    torch.testing.assert_close(attention(*packed), theirs)


def test_leading_rows_alone_are_what_all_rows_give_there():
    torch.manual_seed(5)
    bank = EncoderBank(1, 6, 2, 2, (0.0,)).eval()
    steps = Steps(padding_mask(torch.tensor([5, 2, 3]), 5)).behind_hub(2)
    x = torch.randn(len(steps.rows), 6)
    hub = Steps.full(3, 2, x.device)
    torch.testing.assert_close(bank(x, steps, leading=hub), bank(x, steps)[:, :6])
    causal = EncoderBank(1, 6, 2, 2, (0.0,), causal=True)
    with pytest.raises(ValueError, match="leading"):
        causal(x, steps, leading=hub)


def test_dropout_mask_keeps_the_share_it_should_and_the_mean():
    torch.manual_seed(3)
    mask = keep_mask((1000, 1000), 0.2)
    assert set(mask.unique().tolist()) == {0.0, 1.25}
    assert abs(float((mask == 0).float().mean()) - 0.2) < 2e-3


def test_divergence_of_gaussians_by_hand():
    # One step: N(0, 1) against N(1, 4): ln 2 + (1 + 1) / 8 - 1/2 = 0.443147...
    first = torch.zeros(1, 1), torch.ones(1, 1)
    second = torch.ones(1, 1), torch.full((1, 1), 4.0)
    assert float(gaussian_kl(first, second)) == pytest.approx(0.4431472, abs=1e-6)
    assert float(gaussian_kl(first, first)) == pytest.approx(0.0)
    two = (
        tuple(torch.cat([x, x], 1) for x in first),
        tuple(torch.cat([x, x], 1) for x in second),
    )
    assert float(gaussian_kl(*two)) == pytest.approx(2 * 0.4431472, abs=1e-6)


def test_resampling_keeps_the_ends_and_interpolates():
    steps = Steps(padding_mask(torch.tensor([3, 1]), 4))
    x = torch.tensor([[0.0], [1.0], [4.0], [7.0]])  # steps of sample 0, then sample 1
    stretched = resample(x, steps, 5)[..., 0]
    assert stretched[0].tolist() == pytest.approx([0.0, 0.5, 1.0, 2.5, 4.0])
    assert stretched[1].tolist() == pytest.approx([7.0] * 5)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(UnknownModel, match="MFMB-Net"):
        model_entry("MFMB")
    with pytest.raises(UnknownModel, match="paper"):
        model_entry("TFR-Net").resolve("mosi", "realised")
    with pytest.raises(UnknownModel, match="widht"):
        model_entry("TFR-Net").resolve("mosi", "paper", {"widht": 3})
    with pytest.raises(UnknownModel, match="width"):
        model_entry("TFR-Net").resolve("mosi", "paper", {"width": "wide"})


def test_the_system_that_the_book_shows_is_whole():
    page = (repo_root() / "book" / "models" / "index.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    names = {"__name__": "mean"}
    exec(code, names)
    entry = ModelEntry("Mean", names["MeanNetwork"], names["MeanHyper"], "the book")
    batch = make_batch(LENGTHS)
    model = entry.build(SHAPES, entry.resolve("demo", "paper", {"hidden": 5}))
    total, terms = model.objective(batch, 1)
    total.backward()
    assert set(terms) == {"task", "small"}
    assert all(bool((p.grad != 0).any()) for p in model.parameters())
    alone = model(trimmed(rows_of(batch, [1]))).prediction
    torch.testing.assert_close(model(batch).prediction[1:2], alone)
