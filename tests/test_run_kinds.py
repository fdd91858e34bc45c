"""Run kinds beyond the papers: other patterns, mixed rates, further tests, rules."""

from __future__ import annotations

import math
import shlex

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from msa import cli, commands
from msa.models.base import Model, Outputs
from msa.study.selection import RULES, scores_by_rule
from msa.train import run as runs
from msa.train.batches import DeviceSplit, damaged_split, prepare_mixed
from msa.train.config import ConfigError, RunConfig
from msa.train.reconstruction import (
    last_kept,
    rebuilds,
    reconstruction_errors,
    scales,
)
from msa.train.trainer import fork_rng

FROZEN = {"encoder": "minilm", "encoder_mode": "frozen"}


def resolve(model="FC(T)", **fields):
    return RunConfig.resolve(
        **{"dataset": "demo", "max_epochs": 4, **fields}, model=model
    )


# --- configurations -------------------------------------------------------------------

EVERYTHING = {
    "missing_pattern": "bursts",
    "train_rates": "mixed",
    "evaluate_rates": (0.0, 0.5, 1.0),
    "evaluate_patterns": ("no-text", "protocol"),
    "selection": "all",
    "data_order_seed": 4,
    "reconstruction_error": True,
    "text_scale": "train",
    "spare_prompt": True,
}


@pytest.mark.parametrize(
    "fields",
    [
        EVERYTHING,
        {"missing_pattern": "no-audio", "missing_rate": 1.0},
        {"evaluate_rates": (0.3,), "missing_rate": 0.5, "mask_seed": 2},
    ],
)
def test_the_command_remakes_the_run(fields):
    config = resolve("TFR-Net", **fields)
    arguments = shlex.split(config.command())[3:]
    assert commands.config_of(cli._parser().parse_args(arguments)) == config
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_fields_that_are_off_leave_a_run_its_name():
    plain = resolve()
    off = resolve(reconstruction_error=False, missing_pattern="protocol")
    assert off.run_id == plain.run_id
    named = {resolve(evaluate_rates=r).run_id for r in [(0.5, 0), (0.0, 0.5, 0.5)]}
    assert len(named) == 1  # a set of rates, in whatever order
    assert plain.run_id not in named


def test_further_tests_combine_rates_and_patterns():
    config = resolve(
        missing_rate=0.3,
        evaluate_rates=(0.5, 1.0),
        evaluate_patterns=("bursts", "no-text"),
    )
    assert config.evaluations == [
        (0.5, "protocol"),
        (1.0, "protocol"),
        (0.5, "bursts"),
        (1.0, "bursts"),
        (1.0, "no-text"),
    ]
    assert resolve(missing_rate=0.3, evaluate_patterns=("audio",)).evaluations == [
        (0.3, "audio")
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"missing_pattern": "words", "missing_rate": 0.5}, "known: protocol, text"),
        ({"missing_pattern": "audio"}, "at missing_rate 0 is the complete data"),
        ({"missing_pattern": "no-text", "missing_rate": 0.5}, "must be 1, got 0.5"),
        ({"train_rates": "all"}, "train_rates: .*'mixed'"),
        ({"train_rates": "mixed", "missing_rate": 0.5}, "no missing_rate of its own"),
        ({"train_rates": "mixed", "missing_pattern": "no-text"}, "cannot mix it"),
        ({"evaluate_rates": ()}, "an empty list"),
        ({"evaluate_rates": (0.5, 1.5)}, "between 0 and 1"),
        ({"evaluate_patterns": ("burst",)}, "known: protocol, .*bursts"),
        ({"evaluate_patterns": ("bursts",)}, "name evaluate_rates"),
        (
            {"missing_pattern": "no-text", "missing_rate": 1.0, "evaluate_rates": (0,)},
            "name evaluate_patterns",
        ),
        ({"reconstruction_error": True}, "needs missing steps"),
        (
            {
                "reconstruction_error": True,
                "missing_rate": 0.5,
                "encoder_mode": "finetune",
            },
            "needs encoder_mode 'frozen'",
        ),
        (
            {"text_scale": "train", "encoder_mode": "finetune"},
            "text_scale needs encoder_mode 'frozen'",
        ),
        ({"selection": "best"}, "selection: .*'all'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_way_out(fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(**fields)
    assert len(str(caught.value)) < 200


# --- the prompt -----------------------------------------------------------------------


def test_where_there_is_no_prompt_none_can_be_spared():
    with pytest.raises(ConfigError, match=r"no token behind .* there is no prompt"):
        runs.splits_of(resolve(missing_rate=0.5, spare_prompt=True))


# --- scaled text ----------------------------------------------------------------------


def test_scaled_text_has_the_training_split_at_mean_0_and_spread_1():
    plain, scaled = (
        runs.splits_of(resolve(missing_rate=0.5, text_scale=scale))
        for scale in (None, "train")
    )
    train = scaled["train"]
    rows = train.targets["text"][train.mask["text"]].double()
    assert rows.mean(0).abs().max() < 1e-3
    assert rows.square().mean() == pytest.approx(1.0, abs=1e-3)
    # The damaged and the other splits are moved alike: one affine map, known from two.
    shift = plain["train"].targets["text"][train.mask["text"]].double().mean(0)
    for name, split in scaled.items():
        mask = split.mask["text"]
        before = plain[name].inputs["text"][mask].double() - shift
        after = split.inputs["text"][mask].double()
        slope = (before * after).sum() / before.square().sum()
        assert torch.allclose(after, slope * before, atol=5e-3)
        assert not split.inputs["text"][~mask].any()
        for m in ("audio", "vision"):
            assert torch.equal(split.inputs[m], plain[name].inputs[m])


# --- training on mixed rates ----------------------------------------------------------


def test_each_training_sample_has_one_rate_and_validation_every_one(small):
    rates, valid_rates = (0.0, 0.5, 1.0), (0.0, 1.0)
    mixed = prepare_mixed(small, rates=rates, valid_rates=valid_rates, seed=3, **FROZEN)
    drawn = np.random.default_rng(3).integers(3, size=40)
    assert set(drawn) == {0, 1, 2}
    for place, rate in enumerate(rates):
        own = damaged_split(small.splits["train"], missing_rate=rate, **FROZEN)
        rows = torch.from_numpy(np.flatnonzero(drawn == place))
        for field in ("inputs", "targets", "missing"):
            for m, expected in getattr(own, field).items():
                assert torch.equal(
                    getattr(mixed["train"], field)[m][rows], expected[rows]
                )
    assert torch.equal(mixed["train"].labels, small.splits["train"].labels)
    for part, rate in enumerate(valid_rates):
        own = damaged_split(small.splits["valid"], missing_rate=rate, **FROZEN)
        rows = slice(10 * part, 10 * part + 10)
        assert torch.equal(mixed["valid"].inputs["text"][rows], own.inputs["text"])
        assert torch.equal(mixed["valid"].labels[rows], own.labels)
    assert not mixed["test"].damaged


def test_one_model_for_all_rates(quick, monkeypatch):
    monkeypatch.setattr(runs, "MIXED_RATES", (0.0, 0.5, 1.0))  # fewer to encode
    record = quick(train_rates="mixed", evaluate_rates=(0.0, 1.0))
    by_rate = mae_by_test(record)
    assert by_rate[0.0, "protocol"] == record.metrics["test"]["MAE"]
    assert by_rate[1.0, "protocol"] != by_rate[0.0, "protocol"]


def mae_by_test(record):
    return {
        (row["missing_rate"], row["pattern"]): row["value"]
        for row in record.evaluations
        if row["metric"] == "MAE"
    }


# --- further tests, selection, order --------------------------------------------------


def test_the_chosen_checkpoint_is_tested_elsewhere(quick):
    record = quick(
        missing_rate=0.5,
        evaluate_rates=(0.0, 0.5),
        evaluate_patterns=("no-audio", "text"),
    )
    found = mae_by_test(record)
    assert set(found) == {
        (0.0, "protocol"),
        (0.5, "protocol"),
        (1.0, "no-audio"),
        (0.0, "text"),
        (0.5, "text"),
    }
    assert found[0.5, "protocol"] == record.metrics["test"]["MAE"]
    # This model reads nothing but text.
    assert found[1.0, "no-audio"] == found[0.0, "protocol"]
    assert found[0.5, "text"] == found[0.5, "protocol"]
    assert {row["evaluation"] for row in record.evaluations} == {"rate", "pattern"}
    # Trained and tested without a word of text.
    without = quick(missing_pattern="no-text", missing_rate=1.0)
    assert without.metrics["test"]["MAE"] != record.metrics["test"]["MAE"]


def test_watching_every_epoch_changes_nothing_else(quick):
    # Dropout draws random numbers: a look at the test split must not use any up.
    plain, watched = (
        quick("TFR-Net", missing_rate=0.5, max_epochs=2, selection=selection)
        for selection in (None, "all")
    )
    assert np.array_equal(plain.predictions, watched.predictions)
    assert (plain.curves, plain.epoch_metrics) == (watched.curves, [])
    frame = pd.DataFrame(watched.epoch_metrics)
    assert set(frame["epoch"]) == {1, 2}
    chosen = frame[(frame["epoch"] == watched.best_epoch) & (frame["split"] == "test")]
    scores = dict(zip(chosen["metric"], chosen["value"], strict=True))
    assert scores == pytest.approx(watched.metrics["test"], nan_ok=True)
    frame = frame.assign(run_id=watched.run_id)
    kept = {watched.run_id: watched.best_epoch}
    rules = scores_by_rule(frame, kept).set_index(["rule", "metric"])
    ours = rules.loc["validation-best"]
    assert set(ours["epoch"]) == {watched.best_epoch}
    assert ours["value"].to_dict() == pytest.approx(
        watched.metrics["test"], nan_ok=True
    )


def test_a_run_on_the_cpu_asks_no_gpu_for_its_random_numbers(quick, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", asked.append)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *_: None)
    quick(selection="all", max_epochs=1)
    assert rebuilds(Rebuilds(torch.zeros(3)), one_feature_split())
    assert asked == []
    with fork_rng("cuda"):
        assert asked == ["cuda"]


def test_a_reference_has_one_epoch_to_choose(quick):
    record = quick("constant", selection="all")
    assert {row["epoch"] for row in record.epoch_metrics} == {0}


def test_the_order_of_the_data_has_its_own_seed(quick):
    plain = quick(seed=7).predictions
    assert np.array_equal(plain, quick(seed=7, data_order_seed=7).predictions)
    other = quick(seed=7, data_order_seed=8).predictions
    assert not np.array_equal(plain, other)
    assert not np.array_equal(other, quick(seed=6, data_order_seed=8).predictions)


def test_rules_by_hand():
    rows = [
        # epoch, valid MAE, valid Corr, test MAE, test Corr
        (1, 0.9, 0.5, 0.8, 0.1),
        (2, 0.7, 0.2, 0.9, 0.2),
        (3, 0.7, math.nan, 0.6, 0.7),
        (4, 0.8, 0.6, 0.7, 0.9),
    ]
    frame = pd.DataFrame(
        [
            ("a", epoch, split, metric, value)
            for epoch, *values in rows
            for (split, metric), value in zip(
                [(s, m) for s in ("valid", "test") for m in ("MAE", "Corr")],
                values,
                strict=True,
            )
        ],
        columns=["run_id", "epoch", "split", "metric", "value"],
    )
    # The epoch of the lowest task loss, which need not be the lowest MAE's.
    found = scores_by_rule(frame, {"a": 1}).set_index(["rule", "metric"])
    assert set(found.index.get_level_values("rule")) == set(RULES)
    expected = {
        ("validation-best", "MAE"): (1, 0.8),
        ("validation-best", "Corr"): (1, 0.1),
        ("best-per-metric", "MAE"): (2, 0.9),
        ("best-per-metric", "Corr"): (4, 0.9),
        ("test-best", "MAE"): (3, 0.6),
        ("test-best", "Corr"): (4, 0.9),
    }
    for key, (epoch, value) in expected.items():
        assert tuple(found.loc[key, ["epoch", "value"]]) == (epoch, value)


# --- reconstruction -------------------------------------------------------------------


def test_the_last_kept_step_is_carried_forward():
    inputs = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]] * 2)  # (2, 4, 1)
    kept = torch.tensor([[True, False, False, True], [False, True, False, False]])
    found = last_kept(inputs, kept, torch.tensor([9.0]))[..., 0]
    assert found.tolist() == [[1, 1, 1, 4], [9, 2, 2, 2]]


class Rebuilds(Model):
    """Answers every step with the target plus an offset per sample."""

    def __init__(self, offset):
        super().__init__()
        self.offset = nn.Parameter(offset)
        self.loss_weights = {"task": 1.0}

    def forward(self, batch):
        rebuilt = {
            m: batch.steps[m].pack(x + self.offset[batch.index][:, None, None])
            for m, x in batch.targets.items()
        }
        return Outputs(torch.zeros(len(batch.labels)), rebuilt)


def one_feature_split():
    """Three samples of up to four steps of one feature, the same in each modality."""
    values = torch.tensor([[1.0, 3, 1, 3], [3, 1, 0, 0], [1, 3, 0, 0]])[..., None]
    mask = torch.tensor(
        [[True] * 4, [True, True, False, False], [True, True, False, False]]
    )
    missing = torch.zeros_like(mask)
    missing[0, 1] = missing[0, 2] = missing[1, 0] = True
    names = ("text", "audio", "vision")
    damaged = values.masked_fill(missing[..., None], 0.0)
    return DeviceSplit(
        "test",
        dict.fromkeys(names, damaged),
        dict.fromkeys(names, values),
        dict.fromkeys(names, mask),
        dict.fromkeys(names, missing),
        torch.zeros(3),
        {},
        {},
    )


def test_errors_of_reconstruction_by_hand():
    split = one_feature_split()
    scale = scales(split)
    # Real steps: 1 3 1 3, 3 1, 1 3: mean 2, standard deviation 1.
    assert scale["audio"].mean.tolist() == [2.0]
    assert scale["audio"].spread.tolist() == [1.0]
    model = Rebuilds(torch.tensor([0.5, -2.0, 7.0]))
    rows, samples = reconstruction_errors(
        model, split, scale, np.array([0.1, 0.3, 9.0])
    )
    rmse = {
        row["method"]: row["value"]
        for row in rows
        if (row["modality"], row["metric"]) == ("audio", "rmse")
    }
    # Missing: 3 and 1 of the first, 3 of the second sample.
    assert rmse == pytest.approx(
        {
            "model": math.sqrt((0.25 + 0.25 + 4) / 3),
            "zero": math.sqrt((9 + 1 + 9) / 3),
            "mean": 1.0,
            # the first keeps 1 before; the second has nothing before: the mean
            "last": math.sqrt((4 + 0 + 1) / 3),
            "input": math.sqrt((9 + 1 + 9) / 3),
        }
    )
    assert samples["all"][:2] == pytest.approx([0.5, 2.0])
    assert math.isnan(samples["all"][2])  # nothing is missing there
    (pearson,) = [
        row for row in rows if (row["modality"], row["metric"]) == ("all", "pearson")
    ]
    assert pearson["n"] == 2
    assert math.isnan(pearson["value"])  # two points always lie on a line


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_a_run_tells_how_well_it_rebuilds(quick, variant):
    record = quick(
        "TFR-Net",
        variant=variant,
        missing_rate=0.5,
        evaluate_rates=(0.0, 1.0),
        reconstruction_error=True,
        max_epochs=1,
    )
    frame = pd.DataFrame(record.reconstruction)
    assert set(frame["missing_rate"]) == {0.5, 1.0}  # nothing to rebuild at 0
    errors = frame[frame["metric"] == "rmse"].set_index(
        ["missing_rate", "modality", "method"]
    )["value"]
    assert len(errors) == 2 * 3 * 5
    # All of audio is missing: no last step, so the mean; what the model gets is zeros.
    assert errors[1.0, "audio", "last"] == errors[1.0, "audio", "mean"]
    assert errors[1.0, "audio", "input"] == errors[1.0, "audio", "zero"]
    assert errors[0.5, "audio", "last"] != errors[0.5, "audio", "mean"]
    correlated = frame[(frame["metric"] == "spearman") & (frame["modality"] == "all")]
    assert (correlated["n"] == 12).all()
    assert correlated["value"].between(-1, 1).all()
    assert len(record.sample_errors[0]["all"]) == 12


@pytest.mark.parametrize("model", ["FC(T)", "constant"])
def test_what_reconstructs_nothing_says_so_before_it_is_trained(quick, model):
    with pytest.raises(ConfigError, match=r"reconstructs nothing"):
        quick(model, missing_rate=0.5, reconstruction_error=True)
