"""Training procedures: stages, memories, Self-MM's labels, MMIM's bounds."""

import math
from dataclasses import replace
from itertools import chain, pairwise

import pytest
import torch
from test_models import LENGTHS, SHAPES, build, make_batch
from test_train import TextMean
from torch import nn

from msa.data.contract import MODALITIES
from msa.models.base import Hyper, Stage
from msa.models.finetune import FineTuned
from msa.models.information import Contrast, log_likelihood, signed_entropy
from msa.models.label_memory import LabelMemory, generated_label, relative_distance
from msa.models.mmim import SequenceNetwork
from msa.models.registry import model_entry
from msa.train.batches import DeviceSplit
from msa.train.trainer import fit

PROCEDURES = ("Self-MM", "MMIM")


def make_split(count, seed=0, ids=False):
    """A random split; with ``ids`` the text is token ids instead of features."""
    lengths = [(5 + row % 4, 1 + row % 9, 1 + row % 12) for row in range(count)]
    batch = make_batch(lengths, seed=seed)
    inputs, targets, token_ids = dict(batch.inputs), dict(batch.targets), {}
    if ids:
        del inputs["text"], targets["text"]
        g = torch.Generator().manual_seed(seed)
        complete = torch.randint(1, 9, batch.mask["text"].shape, generator=g)
        damaged = complete.masked_fill(batch.missing["text"], 0)
        token_ids = {"damaged": damaged, "complete": complete}
    return DeviceSplit(
        "train", inputs, targets, batch.mask, batch.missing, batch.labels, {}, token_ids
    )


def train(model, hyper, epochs=1, count=8, ids=False):
    splits = make_split(count, 1, ids), make_split(5, 2, ids)
    torch.manual_seed(4)
    return fit(model, *splits, hyper, seed=3, max_epochs=epochs)


def hyper_of(name, **values):
    return model_entry(name).resolve("mosi", "paper", values)


def terms_of(result, split):
    return {row["term"] for row in result.curves if row["split"] == split}


# --- the interface --------------------------------------------------------------------


class TwoStages(TextMean):
    """Fits an offset in a first stage over half the rows, and writes down its calls."""

    def __init__(self):
        super().__init__(SHAPES["text"].width)
        self.offset = nn.Parameter(torch.zeros(()))
        self.calls = []

    def seen(self, name, batch):
        self.calls.append(
            (
                name,
                batch.index.tolist(),
                self.offset.item(),
                self.linear.weight.detach().clone(),
            )
        )

    def fit_offset(self, batch, epoch):
        self.seen("offset", batch)
        error = (self(batch).prediction + self.offset - batch.labels).square().mean()
        return error, {"error": error.detach()}

    def objective(self, batch, epoch):
        self.seen("main", batch)
        return super().objective(batch, epoch)

    def stages(self, hyper):
        main = [{"params": list(self.linear.parameters()), "lr": hyper.lr}]
        offset = [{"params": [self.offset], "lr": 0.1}]
        return (
            Stage("offset", self.fit_offset, offset, share=0.5),
            Stage("main", self.objective, main),
        )


def test_one_stage_trains_as_a_plain_loop_does():
    hyper = Hyper(batch_size=3, lr=0.01, clip_value=0.1, early_stop=9)
    torch.manual_seed(0)
    model = TextMean(SHAPES["text"].width)
    result = train(model, hyper, epochs=3)

    torch.manual_seed(0)
    plain, states = TextMean(SHAPES["text"].width), {}
    torch.manual_seed(4)
    split, order = make_split(8, 1), torch.Generator().manual_seed(3)
    adam = torch.optim.Adam(
        plain.parameters(), lr=0.01, weight_decay=hyper.weight_decay, fused=True
    )
    for epoch in (1, 2, 3):
        for batch in split.shuffled(3, order):
            adam.zero_grad()
            (plain(batch).prediction - batch.labels).abs().mean().backward()
            nn.utils.clip_grad_value_(plain.parameters(), 0.1)
            adam.step()
        states[epoch] = plain.linear.weight.detach().clone()
    assert torch.equal(model.linear.weight, states[result.best_epoch])
    assert terms_of(result, "train") == terms_of(result, "valid") == {"task", "total"}


def test_stages_run_in_order_over_their_share_with_their_own_parameters():
    model = TwoStages()
    result = train(model, Hyper(batch_size=2, lr=0.01), epochs=2)
    names = [name for name, *_ in model.calls]
    # 8 rows in batches of 2: half of them for the offset, then all for the rest.
    assert names == 2 * (["offset"] * 2 + ["main"] * 4)
    assert sorted(chain(*(rows for _, rows, *_ in model.calls[2:6]))) == [*range(8)]
    for call, following in pairwise(model.calls):
        (name, _, offset, weight), (*_, next_offset, next_weight) = call, following
        assert (offset != next_offset) == (name == "offset")
        assert torch.equal(weight, next_weight) == (name == "offset")
    assert terms_of(result, "train") == {
        *("offset_error", "offset_total"),
        *("task", "total"),
    }
    assert terms_of(result, "valid") == {"task", "total"}


def test_the_gradient_of_a_stage_is_clipped_by_its_norm():
    model = TextMean(SHAPES["text"].width)
    train(model, Hyper(batch_size=8, clip_value=None, clip_norm=0.05))
    norms = torch.stack([p.grad.norm() for p in model.parameters()])
    # The bias alone has a gradient of at least 1 / 8 on any batch without a tie.
    assert float(norms.norm()) == pytest.approx(0.05, rel=1e-3)


class TinyEncoder(nn.Module):
    """Token embeddings instead of a BERT."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(9, SHAPES["text"].width)

    def forward(self, ids, mask):
        return self.embed(ids) * mask[..., None]


@pytest.mark.parametrize("name", PROCEDURES)
def test_fine_tuning_keeps_the_procedure_and_trains_the_encoder_last(name):
    hyper = hyper_of(name, batch_size=4)
    model = FineTuned(TinyEncoder(), build(name, "paper"))
    result = train(model, hyper, ids=True)
    assert terms_of(result, "train") >= {"task", "total"}
    *early, last = model.stages(hyper)
    weight = model.encoder.embed.weight
    batch = make_split(6, ids=True).whole()
    for stage in early:
        model.zero_grad()
        stage.objective(batch, 1)[0].backward()
        assert weight.grad is None
    last.objective(batch, 1)[0].backward()
    assert bool((weight.grad != 0).any())
    stepped = {id(p): g["lr"] for g in last.groups for p in g["params"]}
    assert stepped[id(weight)] == hyper.lr_encoder


@pytest.mark.parametrize("name", PROCEDURES)
def test_the_same_seed_gives_the_same_bits(name):
    def weights():
        model = build(name, "paper")
        curves = train(model, hyper_of(name, batch_size=4), epochs=3).curves
        return curves, torch.cat([p.detach().flatten() for p in model.parameters()])

    (curves, first), (again, second) = weights(), weights()
    assert curves == again
    assert torch.equal(first, second)


# --- Self-MM --------------------------------------------------------------------------


def test_relative_distance_by_hand():
    # Positive centre (0, 1), the mean of two; negative (4, 1); a label 0 has no side.
    bank = torch.tensor([[0.0, 0.0], [0.0, 2.0], [4.0, 1.0], [90.0, 90.0]])
    labels = torch.tensor([1.0, 3.0, -2.0, 0.0])
    features = torch.tensor([[1.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    # (3 - 1) / 1, (2 - 2) / 2, (0 - 4) / 4
    distance = relative_distance(features, bank, labels)
    assert distance.tolist() == pytest.approx([2.0, 0.0, -1.0])


def test_generated_label_by_hand():
    own, fused = torch.tensor([2.0, 8.0, -8.0]), torch.ones(3)
    label = torch.full((3,), 1.5)
    # (2 * 1.5 + 1.5 + 2 - 1) / 2; (12 + 8.5) / 2 and (-12 - 7.5) / 2 are cut off
    new = generated_label(own, fused, label, 3.0)
    assert new.tolist() == pytest.approx([2.75, 3.0, -3.0])


def test_labels_of_a_memory_of_three_move_as_worked_out_by_hand():
    memory = LabelMemory(
        torch.tensor([3.0, 1.0, -2.0]),
        {"fusion": 1, "text": 1, "audio": 1, "vision": 1},
        3.0,
    )
    everyone, second = torch.arange(3), torch.tensor([1])

    def features(fusion, audio):
        fusion, audio = torch.tensor(fusion)[:, None], torch.tensor(audio)[:, None]
        return {"fusion": fusion, "text": fusion, "audio": audio, "vision": fusion}

    memory.update(everyone, features([0.0, 2.0, 5.0], [0.0, 2.0, 5.0]), 1)
    assert memory.labels["audio"].tolist() == [3.0, 1.0, -2.0]  # nothing moves yet

    # Centres 1 = (0 + 2) / 2 and 5. Fusion at 2: (3 - 1) / 1 = 2. Audio at 1.8:
    # (3.2 - 0.8) / 0.8 = 3. New label (3/2 * 1 + 1 + 3 - 2) / 2 = 1.75.
    memory.update(second, features([2.0], [1.8]), 2)
    # Epoch 2: 1/3 * 1 + 2/3 * 1.75
    assert memory.labels["audio"].tolist() == pytest.approx([3.0, 1.5, -2.0])

    # The audio bank has changed: centres 0.9 = (0 + 1.8) / 2 and 5. Audio at 1.72:
    # (3.28 - 0.82) / 0.82 = 3 again, so 1.75 again.
    memory.update(second, features([2.0], [1.72]), 3)
    # Epoch 3: 2/4 * 1.5 + 2/4 * 1.75
    assert memory.labels["audio"].tolist() == pytest.approx([3.0, 1.625, -2.0])

    # Text and vision stand where the fusion does, so their labels stay.
    assert memory.labels["text"].tolist() == pytest.approx([3.0, 1.0, -2.0])
    assert memory.labels["fusion"].tolist() == [3.0, 1.0, -2.0]


def test_unimodal_errors_weigh_by_how_far_their_label_moved():
    model, batch = build("Self-MM", "paper").eval(), make_batch(LENGTHS)
    model.begin_training(batch.labels)
    total, terms = model.objective(batch, 1)
    # All labels equal: nothing but the multimodal error counts.
    assert total.item() == terms["task"].item() > 0
    model.memory.labels["text"] += 1
    _, terms = model.objective(batch, 1)
    _, score = model.branches["text"](model.vectors(batch)["text"])
    error = (score - batch.labels - 1).abs().mean().item()
    assert terms["unimodal_text"].item() == pytest.approx(math.tanh(1) * error)
    assert terms["unimodal_audio"].item() == 0


def test_the_memory_of_self_mm_has_a_row_per_training_sample():
    model = build("Self-MM", "paper")
    with pytest.raises(RuntimeError, match="begin_training"):
        model.objective(make_batch(LENGTHS), 1)
    train(model, hyper_of("Self-MM", batch_size=4), epochs=3)
    labels = make_split(8, 1).labels
    assert torch.equal(model.memory.labels["fusion"], labels)
    assert not torch.equal(model.memory.labels["audio"], labels)
    assert float(model.memory.labels["audio"].abs().max()) <= 3
    assert all(len(bank) == 8 for bank in model.memory.features.values())
    assert not any("memory" in name for name in model.state_dict())


def test_unimodal_tasks_of_self_mm_count_from_the_third_epoch():
    model, curves = build("Self-MM", "paper"), {}
    heads = [p for m in MODALITIES for p in model.branches[m].parameters()]
    start = sum(float(p.detach().abs().sum()) for p in heads)
    sizes = []

    def look(_):
        sizes.append(sum(float(p.detach().abs().sum()) for p in heads))

    splits = make_split(8, 1), make_split(5, 2)
    hyper = hyper_of("Self-MM", batch_size=4)
    torch.manual_seed(4)
    result = fit(model, *splits, hyper, seed=3, max_epochs=3, watch=look)
    for row in result.curves:
        if row["term"].startswith("unimodal"):
            curves.setdefault(row["epoch"], []).append(row["value"])
    assert curves[1] == curves[2] == [0.0] * 3
    assert min(curves[3]) > 0
    # Until then the L2 penalty alone moves their heads (see the ledger): they shrink.
    assert start > sizes[0] > sizes[1]


def test_a_text_task_cannot_reach_a_prediction_under_a_frozen_encoder():
    model, batch = build("Self-MM", "paper").eval(), make_batch(LENGTHS)
    vectors = model.vectors(batch)

    def reached(branch):
        score = model.branches[branch](vectors[branch])[1].sum()
        trained = dict(model.named_parameters())
        found = torch.autograd.grad(
            score, trained.values(), retain_graph=True, allow_unused=True
        )
        pairs = zip(trained, found, strict=True)
        return {name for name, gradient in pairs if gradient is not None}

    assert not reached("text") & reached("fusion")
    assert reached("audio") & reached("fusion")
    assert reached("vision") & reached("fusion")


def test_self_mm_predicts_by_the_multimodal_task_alone():
    model, batch = build("Self-MM", "paper").eval(), make_batch(LENGTHS)
    before = model(batch).prediction
    with torch.no_grad():
        for m in MODALITIES:
            for p in model.branches[m].parameters():
                p.zero_()
    assert torch.equal(model(batch).prediction, before)


def test_self_mm_has_its_own_rates_per_part():
    hyper = model_entry("Self-MM").resolve("mosei", "paper")
    groups = build("Self-MM", "paper", "mosei").parameter_groups(hyper)
    assert [g["lr"] for g in groups] == [5e-3, 1e-4, 1e-3]
    assert [g["weight_decay"] for g in groups] == [0.0, 0.0, 1e-2]


# --- MMIM -----------------------------------------------------------------------------


def test_log_likelihood_by_hand():
    y, mean = torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)
    log_variance = torch.tensor([[0.0, math.log(4)]])
    # -(1/1 + 0/4 + ln 1 + ln 4 + 2 ln 2 pi) / 2
    expected = -(1 + math.log(4) + 2 * math.log(2 * math.pi)) / 2
    assert float(log_likelihood(y, mean, log_variance)) == pytest.approx(expected)


SQUARE = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


def test_entropy_by_hand():
    # Covariances I and 4 I, determinants 1 and 16; a label 0 has no side.
    y = torch.cat([SQUARE + 5, 2 * SQUARE, torch.tensor([[70.0, -30.0]])])
    labels = torch.tensor([1.0] * 4 + [-1.0] * 4 + [0.0])
    expected = math.log(16) / 4
    assert float(signed_entropy(y, labels)) == pytest.approx(expected, abs=1e-3)
    both = signed_entropy(torch.stack([y, y]), labels)
    assert both.tolist() == pytest.approx([expected] * 2, abs=1e-3)


@pytest.mark.parametrize("negative", [0, 1])
def test_a_sign_without_spread_counts_nothing(negative):
    y = torch.cat([2 * SQUARE, torch.full((negative, 2), 7.0)]).requires_grad_()
    labels = torch.tensor([1.0] * 4 + [-1.0] * negative)
    entropy = signed_entropy(y, labels)
    entropy.backward()
    assert entropy.item() == pytest.approx(math.log(16) / 4, abs=1e-3)
    assert torch.isfinite(y.grad).all()
    assert float(y.grad[4:].abs().sum()) == 0


def test_the_bound_does_not_depend_on_the_scale_of_the_vectors():
    # Were the entropy of a projection, shrinking Y would raise the bound without end.
    torch.manual_seed(0)
    y, mean, log_variance = torch.randn(3, 400, 2)
    labels = torch.randn(400)

    def bound(c):
        shifted = log_variance + 2 * math.log(c)
        return float(
            log_likelihood(c * y, c * mean, shifted) + signed_entropy(c * y, labels)
        )

    assert bound(0.2) == pytest.approx(bound(1.0), abs=5e-3)


def test_contrast_by_hand():
    contrast = Contrast(2, 2)
    nn.init.eye_(contrast.predict.weight)
    nn.init.zeros_(contrast.predict.bias)
    x = torch.tensor([[3.0, 0.0], [0.0, 5.0]])  # lengths do not matter
    # Cosines [[1, 0], [0, 1]]: ln(e + 1) - 1 in both rows.
    found = contrast(torch.eye(2), x).item()
    assert found == pytest.approx(math.log(math.e + 1) - 1)
    # Both point to the first vector: cosines [[1, 0], [1, 0]], ln(e + 1) - 1 and
    # ln(e + 1). (Had the fused vectors been the candidates, it would be ln 2 twice,
    # less 1 in the first row.)
    lost = contrast(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), x).item()
    assert lost == pytest.approx(math.log(math.e + 1) - 0.5)


@pytest.mark.parametrize("name", PROCEDURES)
def test_the_text_vector_is_cls_or_the_mean_of_the_real_tokens(name):
    batch, entry = make_batch(LENGTHS, rate=0.0), model_entry(name)
    text, mask = batch.inputs["text"], batch.mask["text"]
    mean = torch.stack([x[m].mean(0) for x, m in zip(text, mask, strict=True)])
    for pooled, expected in ((False, text[:, 0]), (True, mean)):
        hyper = entry.resolve("mosi", "paper", {"pooled_text": pooled})
        got = entry.build(SHAPES, hyper).vectors(batch)["text"]
        torch.testing.assert_close(got, expected)


def test_the_sequence_vector_is_made_of_the_final_states():
    torch.manual_seed(1)
    batch = make_batch(LENGTHS)
    x, steps = batch.inputs["vision"], batch.steps["vision"]
    ours = SequenceNetwork(5, 3, 6, 0.0).eval()
    nn.init.eye_(ours.linear.weight)
    nn.init.zeros_(ours.linear.bias)
    theirs = nn.LSTM(5, 3, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for way, suffix in enumerate(("l0", "l0_reverse")):
            for part, name in (("input", "ih"), ("state", "hh")):
                weight = getattr(theirs, f"weight_{name}_{suffix}")
                bias = getattr(theirs, f"bias_{name}_{suffix}")
                weight.copy_(getattr(ours.lstm, f"weight_{part}")[0][way].T)
                bias.copy_(getattr(ours.lstm, f"bias_{part}")[0][way, 0])
    packed = nn.utils.rnn.pack_padded_sequence(
        x, steps.lengths, batch_first=True, enforce_sorted=False
    )
    _, (last, _) = theirs(packed)  # (2, B, 3)
    expected = torch.cat(last.unbind(), -1)
    torch.testing.assert_close(ours(steps.pack(x), steps), expected)


def test_the_first_stage_fits_the_bound_and_the_second_never_does():
    model = build("MMIM", "paper")
    hyper = hyper_of("MMIM", batch_size=4)
    calls = []

    def flat(parameters):
        return torch.cat([p.detach().flatten() for p in parameters])

    def spied(name, objective):
        def spy(batch, epoch):
            own = flat(model.bounds.parameters())
            rest = [p for n, p in model.named_parameters() if "bounds" not in n]
            calls.append((name, own, flat(rest)))
            return objective(batch, epoch)

        return spy

    spying = tuple(
        replace(stage, objective=spied(stage.name, stage.objective))
        for stage in model.stages(hyper)
    )
    model.stages = lambda hyper: spying
    result = train(model, hyper, epochs=2)
    assert [name for name, *_ in calls] == 2 * ["bound", "bound", "main", "main"]
    for (name, own, rest), (_, next_own, next_rest) in pairwise(calls):
        assert torch.equal(own, next_own) == (name == "main")
        assert torch.equal(rest, next_rest) == (name == "bound")
    assert terms_of(result, "train") == {
        *("bound_likelihood", "bound_total"),
        *("task", "contrast", "likelihood", "entropy", "total"),
    }


def test_the_first_stage_raises_the_likelihood():
    model, batch = build("MMIM", "paper"), make_batch(LENGTHS)
    bound, _ = model.stages(hyper_of("MMIM"))
    adam = torch.optim.Adam(bound.groups)
    totals = []
    for _ in range(30):
        total, terms = bound.objective(batch, 1)
        assert total.item() == -terms["likelihood"].item()
        adam.zero_grad()
        total.backward()
        adam.step()
        totals.append(total.item())
    assert totals[-1] < totals[0]


def test_the_entropy_waits_for_its_memory_and_mosei_fits_on_half_the_rows():
    batch = make_batch(LENGTHS * 8)
    entry = model_entry("MMIM")
    torch.manual_seed(0)
    model = entry.build(SHAPES, entry.resolve("mosi", "paper", {"memory": 2}))
    model.begin_training(batch.labels)
    entropies = [model.objective(batch, 1)[1]["entropy"].item() for _ in range(4)]
    assert entropies[:2] == [0, 0]
    assert 0 not in entropies[2:]
    assert all(not y.requires_grad for y, _ in model.memory)
    shares = {
        dataset: model.stages(entry.resolve(dataset, "paper"))[0].share
        for dataset in ("mosi", "mosei", "sims")
    }
    assert shares == {"mosi": 1.0, "mosei": 0.5, "sims": 1.0}


def test_constant_remembered_vectors_do_not_weaken_the_gradient_of_the_entropy():
    model, labels = build("MMIM", "paper"), torch.randn(80)
    x = {m: torch.randn(80, 16, requires_grad=True) for m in ("audio", "vision")}
    # The same batch twice: the entropy and its gradient are those of one.
    model.entropy(x, labels)
    entropy = model.entropy(x, labels)
    alone = {m: signed_entropy(y, labels) for m, y in x.items()}
    torch.testing.assert_close(entropy, alone["audio"] + alone["vision"])
    for m, y in x.items():
        (expected,) = torch.autograd.grad(alone[m], y, retain_graph=True)
        (got,) = torch.autograd.grad(entropy, y, retain_graph=True)
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
