"""The benchmark: what it counts by hand, and the plain TFR-Net against ours."""

from __future__ import annotations

import json
from threading import Thread
from unittest.mock import Mock

import fake_runs
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from msa.bench import command, inputs, rates, timing
from msa.bench.counts import macs, macs_per_sample
from msa.bench.inputs import choose, random_split
from msa.bench.plain_tfr_net import PlainTFRNet
from msa.bench.table import load_times, public_times, save_times, with_ratios
from msa.bench.timing import PLAIN, Job, entry_of, measure, trained_models
from msa.cli import main
from msa.data.contract import MODALITIES
from msa.data.load import MissingData, load
from msa.models.attention import Attention
from msa.models.base import Shape
from msa.models.blocks import OTHERS
from msa.models.layers import count_parameters
from msa.models.recurrent import BiRNN
from msa.models.registry import MODELS, UnknownModel
from msa.models.steps import Steps
from msa.models.tfr_net import TFRNet, TFRNetHyper
from msa.report import costs
from msa.study.epoch_times import shared_rounds
from msa.study.layout import Folder, ResultsError
from msa.study.results import load_passport

SHAPES = {"text": Shape(7, 9), "audio": Shape(5, 4), "vision": Shape(6, 3)}
LENGTHS = {
    "text": torch.tensor([7, 1, 4]),
    "audio": torch.tensor([2, 5, 1]),
    "vision": torch.tensor([6, 3, 2]),
}
HYPER = TFRNetHyper(
    width=4, heads=2, reconstruction_heads=2, self_layers=2, cross_layers=2
)


@pytest.fixture
def batch():
    split = random_split("train", LENGTHS, SHAPES)
    return split.batch(torch.arange(3), trim=False)


# --- multiply-accumulate operations ---------------------------------------------------


def test_a_linear_map_costs_inputs_times_outputs_per_row():
    assert macs(lambda: nn.Linear(4, 6)(torch.randn(5, 4))) == 5 * 4 * 6


def test_attention_costs_two_products_for_torchs_own_and_for_ours():
    q, k, v = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 7, 4), torch.randn(2, 3, 7, 4)
    products = 2 * (2 * 3 * 5 * 7 * 4)  # scores, then the mean of the values
    torchs = nn.functional.scaled_dot_product_attention
    assert macs(lambda: torchs(q, k, v)) == products
    asked, told = (Steps(torch.ones(2, n, dtype=torch.bool)) for n in (5, 7))
    ours = Attention(asked, told, heads=3)
    packed = torch.randn(2 * 5, 3 * 4), torch.randn(2 * 7, 2 * 3 * 4)
    assert macs(lambda: ours(*packed)) == products


@pytest.mark.parametrize(("cell", "gates"), [("gru", 3), ("lstm", 4)])
def test_recurrence_costs_the_same_for_torchs_own_and_for_ours(cell, gates):
    steps = Steps(torch.ones(2, 5, dtype=torch.bool))
    by_hand = 2 * 10 * (3 * gates * 6 + 6 * gates * 6)  # 2 directions, 10 steps
    ours, x = BiRNN(cell, 3, 6), torch.randn(10, 3)
    assert macs(lambda: ours(x, steps)) == by_hand
    kind = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
    torchs = kind(3, 6, bidirectional=True, batch_first=True)
    assert macs(lambda: torchs(x.view(2, 5, 3))) == by_hand


def test_a_transformer_layer_is_not_hidden_by_its_fast_path():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    by_hand = 2 * 6 * (4 * 8 * 8 + 2 * 8 * 16) + 2 * (2 * 6 * 6 * 8)
    assert macs(lambda: layer(torch.randn(2, 6, 8))) == by_hand
    assert torch.backends.mha.get_fastpath_enabled()  # as it was


def test_a_convolution_costs_its_window_at_every_step():
    conv = nn.Conv1d(3, 4, 3, padding=1)
    assert macs(lambda: conv(torch.randn(2, 3, 7))) == 2 * 7 * (3 * 3 * 4)


def test_a_model_costs_less_on_a_short_sequence_and_keeps_its_mode():
    model = TFRNet(SHAPES, HYPER).train()
    full = macs_per_sample(model, SHAPES)
    assert 0 < macs_per_sample(model, SHAPES, dict.fromkeys(MODALITIES, 1)) < full
    assert model.training


# --- the plain TFR-Net ----------------------------------------------------------------


def test_the_plain_tfr_net_has_one_norm_less_per_transformer_layer():
    ours, plain = TFRNet(SHAPES, HYPER), PlainTFRNet(SHAPES, HYPER)
    d = HYPER.width
    small = 9 * HYPER.self_layers * (2 * d)  # nine encoders: gain and offset
    large = 3 * HYPER.reconstruction_layers * (2 * 3 * d)
    assert count_parameters(ours) - count_parameters(plain) == small + large


def _copy_stack(stack, bank, e):
    """Give a plain stack the weights of encoder ``e`` of a bank, norms untrained."""
    for layer, ours in zip(stack.layers, bank.layers, strict=True):
        pairs = (
            (layer.attention.in_proj_weight, layer.attention.in_proj_bias),
            (layer.attention.out_proj.weight, layer.attention.out_proj.bias),
            (layer.expand.weight, layer.expand.bias),
            (layer.contract.weight, layer.contract.bias),
        )
        theirs = (
            (ours.query, ours.key_value),
            (ours.out,),
            (ours.expand,),
            (ours.contract,),
        )
        for (weight, bias), maps in zip(pairs, theirs, strict=True):
            weight.copy_(torch.cat([linear.weight[e].T for linear in maps]))
            bias.copy_(torch.cat([linear.bias[e, 0] for linear in maps]))


@torch.no_grad()
def _copy(plain, ours):
    for m in MODALITIES:
        plain.convs[m].load_state_dict(ours.project.convs[m].conv.state_dict())
        (bank,) = ours.relate.banks[m]
        _copy_stack(plain.within[m], bank, 0)
        for e, s in enumerate(OTHERS[m], start=1):
            _copy_stack(plain.across[f"{m}_from_{s}"], bank, e)
        _copy_stack(plain.recall[m], ours.rebuild.encoders[m].bank, 0)
        plain.rebuild[m].load_state_dict(ours.rebuild.linear[m].state_dict())
        gate = ours.condense[m]
        plain.condense[m].conv.load_state_dict(gate.gate.conv.state_dict())
        plain.condense[m].linear.load_state_dict(gate.linear.state_dict())
        for n in range(HYPER.gate_layers):
            for side, end in enumerate(("", "_reverse")):
                for name, source in (
                    ("weight_ih", gate.rnn.weight_input[n][side].T),
                    ("weight_hh", gate.rnn.weight_state[n][side].T),
                    ("bias_ih", gate.rnn.bias_input[n][side, 0]),
                    ("bias_hh", gate.rnn.bias_state[n][side, 0]),
                ):
                    getattr(plain.condense[m].rnn, f"{name}_l{n}{end}").copy_(source)
    plain.classify.load_state_dict(ours.classify.state_dict())


def test_the_plain_tfr_net_gives_our_predictions_from_our_weights(batch):
    torch.manual_seed(0)
    ours, plain = TFRNet(SHAPES, HYPER).eval(), PlainTFRNet(SHAPES, HYPER).eval()
    assert not torch.allclose(plain(batch).prediction, ours(batch).prediction)
    _copy(plain, ours)
    got, wanted = plain(batch), ours(batch)
    torch.testing.assert_close(got.prediction, wanted.prediction)
    for m in MODALITIES:
        rebuilt = got.reconstructions[m][batch.mask[m]]
        torch.testing.assert_close(rebuilt, wanted.reconstructions[m])
    for term, value in wanted.losses.items():
        torch.testing.assert_close(got.losses[term], value)


# --- inputs ---------------------------------------------------------------------------


def test_random_splits_keep_padding_zero_and_lose_half_the_steps():
    lengths = {m: torch.full((200,), 4) for m in MODALITIES}
    split = random_split("train", lengths, SHAPES)
    for m in MODALITIES:
        assert split.mask[m].sum() == 800
        assert (split.targets[m][~split.mask[m]] == 0).all()
        assert (split.inputs[m][split.missing[m]] == 0).all()
        assert 0.4 < split.missing[m].sum() / 800 < 0.6


def test_chosen_rows_are_rows_of_the_split():
    split = random_split("train", LENGTHS, SHAPES)
    part = choose(split, 2)
    assert len(part) == 2
    for label, audio in zip(part.labels, part.inputs["audio"], strict=True):
        (row,) = (split.labels == label).nonzero()[0]
        assert torch.equal(audio, split.inputs["audio"][row])
    assert choose(split, 3) is split


# --- published times ------------------------------------------------------------------


def measured(model, seconds, **other):
    row = {
        "model": model,
        "variant": "paper",
        "dataset": "mosi",
        "shapes": "clip-context",
        "encoder_mode": "frozen",
        "device": "cpu",
        "device_name": "some processor",
        "threads": 2,
        "seconds_per_epoch": seconds,
        "steps_per_second": 1.0,
        "peak_memory_mb": 1.0,
    }
    return {**row, **other}


def test_a_new_measurement_replaces_the_old_one_of_the_same_kind(tmp_path):
    file = tmp_path / "models.csv"
    save_times([measured("MulT", 4.0), measured("MulT", 9.0, threads=1)], file)
    save_times([measured("MulT", 3.00004), measured("TFN", 2.0)], file)
    found = load_times(file)
    names = found["model"] + found["threads"].astype(str)
    seconds = dict(zip(names, found["seconds_per_epoch"], strict=True))
    assert seconds == {"MulT2": 3.0, "MulT1": 9.0, "TFN2": 2.0}


def test_two_measurements_at_once_keep_the_rows_of_both(tmp_path):
    file = tmp_path / "models.csv"
    with Folder(tmp_path).exclusive():
        other = Thread(target=save_times, args=([measured("TFN", 2.0)], file))
        other.start()
        other.join(0.2)
        assert other.is_alive()  # it waits: what it read now could be out of date
        file.write_text(pd.DataFrame([measured("MulT", 4.0)]).to_csv(index=False))
    other.join()
    assert set(load_times(file)["model"]) == {"MulT", "TFN"}


def test_a_folder_that_takes_no_times_is_named(tmp_path):
    (tmp_path / "benchmarks").write_text("a file in the place of the folder")
    with pytest.raises(ResultsError, match="benchmarks"):
        save_times([measured("TFN", 2.0)], tmp_path / "benchmarks" / "models.csv")


def test_without_measurements_there_is_an_empty_table(tmp_path):
    assert load_times(tmp_path / "none.csv").empty


def test_ratios_compare_the_same_thing_only():
    public = public_times()["frozen"]
    rows = [
        measured("TFR-Net", 5.0),
        measured(PLAIN, 15.0),
        measured("TFR-Net", 4.0, shapes="papers"),
        measured("TFR-Net", 10.0, threads=1),
        measured("MIT-FRNet", 5.0),
    ]
    found = with_ratios(pd.DataFrame(rows))
    expected = [public["TFR-Net"] / 5.0, None, None, None, None]
    assert found["faster_than_public"].replace(np.nan, None).tolist() == expected
    plain = found["faster_than_plain"].replace(np.nan, None).tolist()
    assert plain == [3.0, None, None, None, None]


def test_the_page_of_times_names_mini_batches_and_tells_sessions_apart(monkeypatch):
    common = {"torch": "2.0", "steps": 40, "content": "CMU-MOSI", "missing_rate": 0.5}
    rows = [
        measured("TFR-Net", 5.0, commit="a" * 40, batch_size=24, **common),
        measured(PLAIN, 15.0, commit="b" * 40, batch_size=24, **common),
        measured("MulT", 4.0, commit="a" * 40, batch_size=64, **common),
    ]
    found = pd.DataFrame(rows)
    monkeypatch.setattr(costs, "load_times", lambda: found)
    table = costs.times_table("clip-context", "frozen")
    cells = table.cells.set_index("System")
    assert cells.at["MulT", "Mini-batch"] == "64"
    assert cells["Commit"].tolist() == ["a" * 10, "b" * 10, "a" * 10]
    # The plain version was measured at another commit: no ratio to it.
    assert "Times faster than plain" not in cells
    assert costs.BATCHES_DIFFER in table.caption
    assert costs.speed_in_words().endswith(costs.BATCHES_DIFFER)
    found["commit"] = "a" * 40
    cells = costs.times_table("clip-context", "frozen").cells.set_index("System")
    assert "Commit" not in cells
    assert cells.at["TFR-Net", "Times faster than plain"] == "3"
    found["device_name"] = ["one", "one", "another"]
    assert "Device" in costs.times_table("clip-context", "frozen").cells


def test_public_times_are_of_models_of_the_registry():
    public = public_times()
    assert public["frozen"].keys() == public["finetune"].keys() <= MODELS.keys()
    assert all(public["finetune"][m] > t > 0 for m, t in public["frozen"].items())
    assert "not measured by this code" in public["label"]


def test_closed_forms_are_not_measured_and_the_plain_net_is():
    names = trained_models()
    assert PLAIN in names
    assert not {"constant", "text-linear"} & set(names)
    with pytest.raises(UnknownModel, match="closed form"):
        entry_of("text-linear")


def test_an_unknown_variant_is_refused_before_anything_is_measured(capsys):
    assert main(["bench", "models", "--models", "TFN/none"]) == 2
    assert "no variant 'none'" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_without_the_data_its_lengths_are_taken_from_the_passport(monkeypatch, mode):
    def nowhere(*_):
        raise MissingData("not here")

    monkeypatch.setattr(inputs, "load", nowhere)
    work = inputs.workload("mosi", "clip-context", mode, rows=1)
    assert "random tensors with the lengths of CMU-MOSI" in work.content
    lengths = load_passport("mosi", "clip-context")["lengths"]
    mean = lengths.set_index(["split", "modality"])["mean"]
    for m in MODALITIES:
        ours = work.train.mask[m].sum(1).float().mean()
        assert float(ours) == pytest.approx(mean["train", m], rel=1e-3)
    assert len(work.train) == work.whole["train"]
    assert ("text" in work.train.inputs) == (mode == "frozen")


def test_at_the_papers_shapes_only_what_is_measured_is_made():
    work = inputs.workload("sims", "papers", "frozen", rows=3)
    assert len(work.train) == len(work.valid) == 3
    assert work.whole["train"] > 1000
    assert work.train.inputs["vision"].shape == (3, 55, 709)


def test_batches_of_the_papers_shapes_are_bounded(monkeypatch):
    monkeypatch.setattr(timing, "_seconds", lambda *_: (1.0, 1.0))
    usual = MODELS["LMF"].resolve("sims", "paper").batch_size
    row = measure(Job("LMF", "paper", "sims", "papers", steps=1, threads=1))
    assert usual > row["batch_size"] == 24


def test_a_measurement_tells_what_it_ran_on_and_is_scaled_to_the_epoch(monkeypatch):
    monkeypatch.setattr(timing, "_seconds", lambda *_: (2.0, 1.0))
    batch = MODELS["FC(A)"].resolve("demo", "paper").batch_size
    row = measure(Job("FC(A)", "paper", dataset="demo", steps=2, threads=1))
    sizes = {name: len(split) for name, split in load("demo").splits.items()}
    by_hand = 2.0 / (2 * batch) * sizes["train"] + 1.0  # valid is timed as a whole
    assert row["seconds_per_epoch"] == pytest.approx(by_hand)
    assert row["steps_per_second"] == 1.0
    assert row["encoder"] == "minilm"
    assert {"device_name", "threads", "torch", "commit"} <= row.keys()


def test_a_job_that_is_killed_is_named_and_costs_no_other_job(monkeypatch, capsys):
    jobs = [fake_runs.Job(seed) for seed in (fake_runs.DIES, 1)]
    monkeypatch.setattr(command, "_jobs", lambda _: jobs)
    monkeypatch.setattr(timing, "measure", fake_runs.measured)
    assert main(["bench", "models", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == [{"seed": 1}]
    (told,) = captured.err.splitlines()
    job, _, why = told.partition(" failed: ")
    assert job == "constant (reference), papers, frozen"
    assert why.startswith("BrokenProcessPool: ")


# --- times by missing rate ------------------------------------------------------------


def test_systems_are_measured_in_turn_and_new_rows_replace_old(monkeypatch, tmp_path):
    monkeypatch.setattr(rates, "ROWS", 32)
    monkeypatch.setattr(rates, "results_dir", lambda: tmp_path)
    asked = {"dataset": "demo", "rounds": 2, "threads": torch.get_num_threads()}
    rows = list(rates.measure_rates(("FC(T)", "TFN"), (0.0, 1.0), **asked))
    order = [(row["missing_rate"], row["round"], row["model"]) for row in rows]
    assert order == [
        (rate, number, model)
        for rate in (0.0, 1.0)
        for number in (1, 2)
        for model in ("FC(T)", "TFN")
    ]
    assert all(row["seconds_per_epoch"] > 0 for row in rows)
    assert len({row["session"] for row in rows}) == 1
    rates.save_rates(rows)
    rates.save_rates([{**rows[0], "seconds_per_epoch": 123.0}])
    stored = pd.read_csv(tmp_path / "benchmarks" / "rates.csv")
    assert len(stored) == len(rows)
    (again,) = stored.loc[stored["seconds_per_epoch"] == 123.0, "model"]
    assert again == "FC(T)"


def test_other_views_are_measured_on_the_data_or_on_what_stands_for_them(monkeypatch):
    monkeypatch.setattr(inputs, "_real", Mock(side_effect=MissingData("not here")))
    damage = {"encoder_mode": "frozen", "rows": 4, "missing_rate": 0.5}
    work = inputs.of_view("mosi", "unaligned", **damage)
    assert work.shapes == inputs.PAPER_SHAPES["mosi"]
    assert (len(work.train), work.whole["train"]) == (4, 1284)
    work = inputs.of_view("mosi", "clip-context", **damage)
    assert work.shapes == inputs.clip_context_shapes("mosi")
    with pytest.raises(MissingData, match="not here"):
        inputs.of_view("mosi", "aligned", **damage)
    real = Mock(return_value="the data")
    monkeypatch.setattr(inputs, "_real", real)
    assert inputs.of_view("mosi", "aligned", **damage) == "the data"
    assert real.call_args.kwargs["view"] == "aligned"


def test_rows_of_a_new_session_keep_apart_from_the_old(monkeypatch, tmp_path):
    monkeypatch.setattr(rates, "results_dir", lambda: tmp_path)
    row = {"dataset": "mosi", "view": "clip-context", "encoder_mode": "frozen"}
    row |= {"missing_rate": 0.0, "round": 1, "variant": "paper", "device": "cpu"}
    row |= {"device_name": "some processor", "threads": 1, "commit": "abc"}
    row |= {"seconds_per_epoch": 2.0}
    rates.save_rates([{**row, "model": name} for name in ("MISA", "TFN")])  # unnamed
    rates.save_rates([{**row, "model": "MISA", "session": "2026-11-22T10:00:00"}])
    times = pd.read_csv(tmp_path / "benchmarks" / "rates.csv")
    place = (times, "mosi", "clip-context")
    misa, tfn = ("MISA", "paper"), ("TFN", "paper")
    assert len(shared_rounds(*place, [misa], 0.0)) == 1
    assert shared_rounds(*place, [misa, tfn], 0.0).empty


@pytest.mark.parametrize("rate", ["2", "-0.1", "half"])
def test_no_missing_rates(rate, capsys):
    with pytest.raises(SystemExit):
        main(["bench", "rates", "--rates", rate])
    assert "is no missing rate from 0 to 1" in capsys.readouterr().err
