"""TFN, LMF, MulT, MISA and the models of MFMB-Net's Table 2."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_models import LENGTHS, SHAPES, build, make_batch, rows_of

from msa.data.contract import MODALITIES
from msa.models.base import Shape
from msa.models.layers import BatchNorm
from msa.models.lmf import LowRankFusion
from msa.models.misa import cmd, difference, spread
from msa.models.recurrent import LastState
from msa.models.registry import model_entry
from msa.models.tfn import PooledNetwork, outer

POOLED = ("FC(T)", "FC(A)", "FC(V)", "Concat(V,A,T)")
BASELINES = ("TFN", "LMF", "MulT", "MISA", "Self-MM", "MMIM", *POOLED)


# --- every baseline -------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINES)
def test_samples_keep_their_score_when_the_batch_is_permuted(name):
    batch, order = make_batch(LENGTHS), [3, 0, 4, 2, 1]
    model = build(name, "paper").eval()
    torch.testing.assert_close(
        model(rows_of(batch, order)).prediction,
        model(batch).prediction[order],
        atol=2e-6,
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", BASELINES)
def test_hyper_parameters_differ_between_data_sets_only_where_said(name):
    entry = model_entry(name)
    usual = entry.hyper()
    for changed in entry.datasets.values():
        assert all(getattr(usual, field) != value for field, value in changed.items())


# --- TFN ------------------------------------------------------------------------------


def test_outer_product_equals_einsum():
    g = np.random.default_rng(0)
    t, a, v = (g.normal(size=(3, n)).astype(np.float32) for n in (4, 2, 5))
    expected = np.einsum("bt,ba,bv->btav", t, a, v).reshape(3, -1)
    got = outer(*(torch.from_numpy(x) for x in (t, a, v)))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6)


def test_outer_product_holds_the_unimodal_and_bimodal_products():
    one_two = torch.tensor([[1.0, 2.0]])
    one_three = torch.tensor([[1.0, 3.0]])
    one_five = torch.tensor([[1.0, 5.0]])
    got = outer(one_two, one_three, one_five)[0].tolist()
    assert got == [1, 5, 3, 15, 2, 10, 6, 30]


@pytest.mark.parametrize(("dataset", "bound"), [("mosi", 3.0), ("sims", 1.0)])
def test_scores_of_tfn_stay_inside_the_label_range(dataset, bound):
    model = build("TFN", "paper", dataset).eval()
    batch = make_batch([(2, 2, 2)])
    last = model.infer[-1]
    for extreme in (-100.0, 0.0, 100.0):
        torch.nn.init.constant_(last.bias, extreme)
        torch.nn.init.zeros_(last.weight)
        expected = bound * np.sign(extreme)
        assert float(model(batch).prediction.detach()) == pytest.approx(expected)


def test_audio_vector_comes_from_the_mean_over_real_steps():
    network = PooledNetwork(1, 1, 0.0).eval()  # fresh running statistics: mean 0, sd 1
    for layer in network.layers[::2]:
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    x = torch.tensor([[[1.0], [3.0], [99.0]]])
    mask = torch.tensor([[True, True, False]])
    assert float(network(x, mask).detach()) == pytest.approx(2.0, abs=1e-4)


def test_last_state_is_the_lstms_after_the_last_real_step():
    torch.manual_seed(0)
    network = LastState(3, 4, 2)
    x = torch.randn(2, 5, 3)
    mask = torch.arange(5) < torch.tensor([[2], [5]])
    got = network(x, mask)
    for row, length in ((0, 2), (1, 5)):
        _, (state, _) = network.lstm(x[row : row + 1, :length])
        torch.testing.assert_close(got[row : row + 1], network.linear(state[0]))


def test_batch_norm_of_one_row_uses_and_keeps_the_running_statistics():
    norm = BatchNorm(2)
    norm.running_mean.copy_(torch.tensor([1.0, -1.0]))
    norm.running_var.copy_(torch.tensor([4.0, 1.0]))
    got = norm(torch.tensor([[5.0, 0.0]]))
    torch.testing.assert_close(got, torch.tensor([[2.0, 1.0]]), atol=1e-4, rtol=0)
    assert norm.running_mean.tolist() == [1.0, -1.0]


# --- LMF ------------------------------------------------------------------------------


def test_low_rank_fusion_equals_the_full_tensor_product():
    torch.manual_seed(0)
    fuse = LowRankFusion((3, 2, 4), rank=2)
    torch.nn.init.constant_(fuse.combine.bias, 0.25)
    t, a, v = torch.randn(5, 3), torch.randn(5, 2), torch.randn(5, 4)
    weights, factors = fuse.combine.weight[0], fuse.factors
    full = sum(
        weights[r]
        * outer(*(factors[m][r : r + 1] for m in MODALITIES))[0]  # W of TFN's map
        for r in range(2)
    )
    expected = outer(t, a, v) @ full + 0.25
    torch.testing.assert_close(fuse(t, a, v), expected)


def test_low_rank_fusion_by_hand():
    fuse = LowRankFusion((2, 2, 2), rank=1)
    with torch.no_grad():
        for m, row in zip(MODALITIES, ([1, 2], [0, 1], [1, -1]), strict=True):
            fuse.factors[m].copy_(torch.tensor([row], dtype=torch.float32))
        fuse.combine.weight.fill_(2.0)
        fuse.combine.bias.fill_(1.0)
    vectors = ([1.0, 3.0], [1.0, 5.0], [1.0, 2.0])
    # (1 + 6) * 5 * (1 - 2) = -35; twice that, plus 1
    assert float(fuse(*(torch.tensor([z]) for z in vectors)).detach()) == -69.0


def test_rank_weights_and_bias_are_trained_and_factors_have_their_own_rate():
    entry = model_entry("LMF")
    model = build("LMF", "paper", "sims")
    groups = model.parameter_groups(entry.resolve("sims", "paper"))
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert set(rates) == {id(p) for p in model.parameters()}
    assert {rates[id(p)] for p in model.fuse.factors.values()} == {5e-4}
    assert rates[id(model.fuse.combine.weight)] == 2e-3
    assert rates[id(model.fuse.combine.bias)] == 2e-3


def test_trap_of_lmf_keeps_rank_weights_and_bias_at_their_start():
    entry = model_entry("LMF")
    hyper = entry.resolve("mosi", "paper", {"fixed_ranks": True})
    model = build("LMF", "paper")
    stepped = {id(p) for g in model.parameter_groups(hyper) for p in g["params"]}
    left = [n for n, p in model.named_parameters() if id(p) not in stepped]
    assert left == ["fuse.combine.weight", "fuse.combine.bias"]


@pytest.mark.parametrize(("bound", "follows"), [(None, True), (5.0, False)])
def test_a_feature_far_out_moves_lmf_only_without_the_cut(bound, follows):
    entry = model_entry("LMF")
    torch.manual_seed(0)
    model = entry.build(SHAPES, entry.resolve("mosi", "paper", {"bound": bound})).eval()
    batch = make_batch(LENGTHS)
    usual = model(batch).prediction
    batch.inputs["audio"][0] *= 1e6
    moved = (model(batch).prediction - usual).abs()
    assert bool(moved[0] > 10) == follows
    assert bool((moved[1:] == 0).all())


def test_ten_test_clips_are_far_out_one_of_training_and_none_of_validation(mosi):
    """What LMF's page and the ledger say of the data."""
    train = mosi.splits["train"]
    real = train.audio[train.padding_masks()["audio"]]
    mean, spread = real.mean(0), real.std(0).clamp(min=1e-6)

    def far_out(name):
        split = mosi.splits[name]
        far = ((split.audio - mean) / spread).abs().amax(-1)  # (N, T)
        largest = far.masked_fill(~split.padding_masks()["audio"], 0.0).amax(1)
        return (largest > 100).nonzero()[:, 0].tolist()

    assert len(far_out("test")) == 10
    assert len(far_out("train")) == 1
    assert far_out("valid") == []


def test_lmf_as_it_is_has_the_cut_on_every_data_set():
    entry = model_entry("LMF")
    for dataset in ("demo", "mosi", "mosei", "sims"):
        assert entry.resolve(dataset, "paper").bound == 5.0


# --- MulT -----------------------------------------------------------------------------


def test_first_and_last_step_are_each_samples_own():
    steps = make_batch([(3, 1, 1), (1, 1, 1), (2, 1, 1)]).steps["text"]
    assert steps.first.tolist() == [0, 3, 4]
    assert steps.last.tolist() == [2, 3, 5]


def test_depths_widths_and_heads_of_mult():
    model = build("MulT", "paper", "sims")
    assert {len(bank.layers) for bank in model.cross.values()} == {2}
    assert {len(bank.layers) for bank in model.recall.values()} == {3}  # at least 3
    assert sum(bank.count for bank in model.cross.values()) == 6
    assert model.predict.in_features == 6 * 50


@pytest.mark.parametrize("changed", MODALITIES)
def test_mult_reads_the_order_of_steps_and_every_modality(changed):
    batch = make_batch([(6, 5, 4)], rate=0.0)
    model = build("MulT", "paper", "sims").eval()
    before = model(batch).prediction
    steps = int(batch.mask[changed].sum())
    flipped = batch.inputs[changed].clone()
    flipped[0, :steps] = flipped[0, :steps].flip(0)
    batch.inputs = {**batch.inputs, changed: flipped}
    assert float((model(batch).prediction - before).abs().detach()) > 1e-4


def test_trap_of_mult_does_not_tell_steps_apart_by_place():
    entry = model_entry("MulT")
    hyper = entry.resolve("sims", "paper", {"no_positions": True, "kernel_text": 1})
    torch.manual_seed(0)
    trapped = entry.build(SHAPES, hyper).eval()
    x, steps = torch.randn(3, 50), make_batch([(3, 1, 1)]).steps["text"]
    # Width 50: what the encoders read is the step times 50^0.5, wherever it stands.
    torch.testing.assert_close(trapped.embedded(x, steps), x * 50**0.5)
    order = [2, 0, 1]
    torch.testing.assert_close(
        trapped.embedded(x[order], steps), trapped.embedded(x, steps)[order]
    )
    model = build("MulT", "paper", "sims").eval()
    apart = model.embedded(x[order], steps) - model.embedded(x, steps)[order]
    assert float(apart.abs().max().detach()) > 0.1


# --- MISA -----------------------------------------------------------------------------


def test_discrepancy_of_identical_batches_is_zero_with_a_finite_gradient():
    x = torch.rand(6, 3, requires_grad=True)
    value = cmd(x, x.detach())
    value.backward()
    assert float(value.detach()) == 0.0
    assert torch.isfinite(x.grad).all()


def test_discrepancy_of_a_shift_is_the_distance_of_the_means():
    x = torch.tensor([[0.0, 0.5], [0.5, 0.0]])
    shifted = x + torch.tensor([0.3, 0.4])
    assert float(cmd(x, shifted)) == pytest.approx(0.5, abs=1e-6)


def test_discrepancy_of_a_wider_batch_by_hand():
    # Means 0; deviations 1 and 2: gaps of the moments 2 to 5 are 3, 0, 15, 0.
    x, y = torch.tensor([[-1.0], [1.0]]), torch.tensor([[-2.0], [2.0]])
    assert float(cmd(x, y)) == pytest.approx(18.0)


def test_difference_is_zero_for_orthogonal_features_and_not_for_equal_ones():
    x = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    y = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    assert float(difference(spread(x), spread(y))) == pytest.approx(0.0, abs=1e-12)
    # X'X = 4 of unit rows: its only entry, squared.
    assert float(difference(spread(x), spread(x))) == pytest.approx(16.0, rel=1e-4)


def test_rows_are_centred_and_brought_to_unit_length():
    got = spread(torch.tensor([[4.0, 5.0], [-2.0, -3.0]]))  # mean (1, 1)
    expected = torch.tensor([[0.6, 0.8], [-0.6, -0.8]])
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_misa_trains_on_the_squared_error_and_names_its_losses():
    model = build("MISA", "paper", "sims")
    loss = model.task_loss(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0]))
    assert float(loss) == 5.0
    batch = make_batch(LENGTHS)
    total, terms = model.eval().objective(batch, 1)
    expected = (
        terms["task"]
        + 0.3 * terms["difference"]
        + 1.0 * terms["similarity"]
        + 0.8 * terms["reconstruction"]
    )
    torch.testing.assert_close(total, expected)


def test_misa_reads_audio_and_vision_beyond_the_length_of_the_text():
    batch = make_batch([(2, 9, 12)], rate=0.0)
    model = build("MISA", "paper").eval()
    before = model(batch).prediction
    for m in ("audio", "vision"):
        changed = batch.inputs[m].clone()
        changed[0, -1] += 1.0
        batch.inputs = {**batch.inputs, m: changed}
        after = model(batch).prediction
        assert float((after - before).abs().detach()) > 1e-5
        before = after


def test_trap_of_misa_reads_no_further_than_the_text_is_long():
    batch = make_batch([(2, 9, 12), (5, 3, 1)], rate=0.0)
    entry = model_entry("MISA")
    torch.manual_seed(0)
    hyper = entry.resolve("mosi", "paper", {"text_length": True})
    model = entry.build(SHAPES, hyper).eval()
    assert model.steps_read(batch, "audio").lengths.tolist() == [2, 3]
    assert model.steps_read(batch, "vision").lengths.tolist() == [2, 1]
    before = model(batch).prediction
    for step, seen in ((2, False), (1, True)):
        audio = batch.inputs["audio"].clone()
        audio[0, step] += 1.0
        changed = replace(batch, inputs={**batch.inputs, "audio": audio})
        difference = (model(changed).prediction - before).abs().detach()
        assert bool(difference[0] > 1e-5) is seen
        assert float(difference[1]) == 0.0


# --- Table 2 --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("FC(T)", {"text"}),
        ("FC(A)", {"audio"}),
        ("FC(V)", {"vision"}),
        ("Concat(V,A,T)", set(MODALITIES)),
    ],
)
def test_table_2_models_read_their_modalities_and_no_other(name, read):
    batch = make_batch(LENGTHS, rate=0.0)
    model = build(name, "paper").eval()
    before = model(batch).prediction
    for m in MODALITIES:
        changed = make_batch(LENGTHS, rate=0.0, seed=1).inputs[m]
        batch.inputs = {**make_batch(LENGTHS, rate=0.0).inputs, m: changed}
        assert torch.equal(model(batch).prediction, before) is (m not in read)


def test_a_feature_far_out_counts_as_one_at_the_bound():
    batch = make_batch(LENGTHS, rate=0.0)
    model = build("FC(A)", "paper").eval()  # fresh running statistics: mean 0, sd 1
    scores = []
    for value in (4.0, 5.0, 400.0):
        audio = torch.full_like(batch.inputs["audio"], value)
        changed = replace(batch, inputs={**batch.inputs, "audio": audio})
        scores.append(model(changed).prediction.detach())
    four, five, far = scores
    torch.testing.assert_close(far, five, atol=1e-3, rtol=0)
    assert float((five - four).abs().min()) > 1e-3


def test_concatenation_has_the_papers_width():
    shapes = {"text": Shape(50, 768), "audio": Shape(9, 5), "vision": Shape(9, 20)}
    model = build("Concat(V,A,T)", "paper", shapes=shapes)
    assert (model.hidden.in_features, model.hidden.out_features) == (793, 396)
    assert SHAPES["audio"].width // 2 == build("FC(A)", "paper").hidden.out_features
