"""Configuration, batches, trainer and a whole run, on the demo set."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

from msa.data.load import load
from msa.models.base import Hyper, Model, Outputs, OutputsError
from msa.models.finetune import FineTuned
from msa.train.batches import prepare, shapes_of
from msa.train.config import ConfigError, RunConfig
from msa.train.environment import CommitError
from msa.train.run import build, run, splits_of
from msa.train.trainer import NonFiniteLoss, evaluate, fit

QUICK = {"dataset": "demo", "max_epochs": 2, "missing_rate": 0.3}


@pytest.fixture(scope="module")
def demo_splits():
    return splits_of(RunConfig.resolve(model="constant", **QUICK))


class TextMean(Model):
    """The smallest model that learns: a linear map of the mean text feature."""

    def __init__(self, width, bad=False):
        super().__init__()
        self.linear = nn.Linear(width, 1)
        self.loss_weights = {"task": 1.0}
        self.bad = bad

    def forward(self, batch):
        mask = batch.mask["text"][..., None]
        mean = (batch.inputs["text"] * mask).sum(1) / mask.sum(1)
        scores = self.linear(mean)[:, 0]
        return Outputs(scores * math.nan if self.bad else scores)


class Column(TextMean):
    """Forgets that a linear map of width 1 leaves a column."""

    def forward(self, batch):
        return Outputs(super().forward(batch).prediction[:, None])


class Unweighted(TextMean):
    """Has a loss that its weights do not know."""

    def forward(self, batch):
        scores = super().forward(batch).prediction
        return Outputs(scores, losses={"aux": scores.square().mean()})


def test_run_ids_name_the_content():
    one = RunConfig.resolve(dataset="mosi", model="TFR-Net", missing_rate=0.3)
    same = RunConfig.resolve(
        dataset="mosi", model="tfr-net", missing_rate=0.1 + 0.2, view="clip-context"
    )
    other = RunConfig.resolve(dataset="mosi", model="TFR-Net", missing_rate=0.4)
    assert one.run_id == same.run_id != other.run_id
    assert RunConfig(**one.model_dump()).run_id == one.run_id


def test_a_switch_that_is_off_does_not_rename_a_run():
    one = RunConfig.resolve(dataset="mosi", model="TFR-Net")
    grown = one.model_copy(update={"hyper": {**one.hyper, "new_switch": False}})
    turned = one.model_copy(update={"hyper": {**one.hyper, "new_switch": True}})
    assert grown.run_id == one.run_id != turned.run_id


def test_the_command_names_what_differs_from_the_defaults():
    config = RunConfig.resolve(
        dataset="sims", model="TFR-Net", hyper={"lr": 1e-3}, mask_seed=4
    )
    assert "--set lr=0.001" in config.command()
    assert "--mask-seed 4" in config.command()
    # CH-SIMS has its own batch size, which is no deviation there.
    assert config.hyper["batch_size"] == 16
    assert "batch_size" not in config.command()


def test_a_run_older_than_a_setting_is_made_again_without_it():
    now = RunConfig.resolve(dataset="demo", model="LMF")
    old = now.model_copy(
        update={"hyper": {k: v for k, v in now.hyper.items() if k != "bound"}}
    )
    off = RunConfig.resolve(dataset="demo", model="LMF", hyper={"bound": None})
    assert (now.unusual, old.unusual) == ({}, {"bound": None})
    assert old.run_id == off.run_id != now.run_id
    assert "--set bound=null" in old.command()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dataset": "mosy"}, "mosi"),
        ({"model": "TFRNet"}, "TFR-Net"),
        ({"view": "aligned", "dataset": "sims"}, "unaligned"),
        ({"missing_rate": 1.5}, "between 0 and 1"),
        ({"missing_rate": "0.5"}, "missing_rate"),
        ({"seeds": 3}, "seeds"),
        ({"max_epochs": 0}, "at least 1"),
        ({"encoder_mode": "thawed"}, "encoder_mode"),
        ({"encoder_mode": "finetune", "model": "FC(A)"}, "reads no text"),
        ({"encoder_mode": "finetune", "model": "constant"}, "closed form"),
        ({"mask_seed": -1}, r"mask_seed.* 0 \(got -1"),
        ({"seed": -5, "train_rates": "mixed"}, "seed.* 0"),
        ({"seed": 10**30}, "seed.*4294967296"),
        ({"data_order_seed": 2**32}, "data_order_seed.*4294967296"),
        ({"hyper": {"lr": "fast"}}, "lr"),
        ({"hyper": {"lr": -1.0}}, "'lr'.*not negative"),
        ({"hyper": {"lr": float("nan")}}, "'lr'.*finite"),
        ({"model": "Self-MM", "hyper": {"lr_audio": float("inf")}}, "finite"),
        ({"model": "MISA", "hyper": {"batch_size": 0}}, "batch_size.*above 0"),
        ({"model": "MISA", "hyper": {"clip_value": 0.0}}, "clip_value.*above 0"),
        ({"hyper": {"heads": 0}}, "heads.*above 0"),
        ({"hyper": {"plateau_factor": 1.0}}, "plateau_factor.*below 1"),
        ({"hyper": {"text_dropout": 1.0}}, "text_dropout.*below 1"),
        ({"model": "text-linear", "hyper": {"penalties": [0.1, -1]}}, "penalties"),
        ({"model": "text-linear", "hyper": {"penalties": []}}, "penalties"),
        ({"variant": "released!"}, "paper"),
    ],
)
def test_wrong_configurations_are_refused_by_name(wrong, message):
    fields = {"dataset": "demo", "model": "TFR-Net", **wrong}
    with pytest.raises(ConfigError, match=message):
        RunConfig.resolve(**fields)


@pytest.mark.parametrize(
    ("model", "hyper", "message"),
    [
        ("TFR-Net", {"heads": 7}, "TFR-Net: width 30 is not divisible by 7 heads"),
        ("MISA", {"heads": 7}, "MISA: .*divisible"),
        ("MFMB-Net", {"macro": False, "micro": False}, "macro or the micro stream"),
        ("MulT", {"kernel_text": 4}, "kernel must be odd, got 4"),
    ],
)
def test_what_does_not_go_together_is_refused_when_the_model_is_built(
    model, hyper, message
):
    config = RunConfig.resolve(dataset="demo", model=model, hyper=hyper)
    with pytest.raises(ConfigError, match=message):
        build(config)


def test_a_setting_that_means_something_at_0_may_be_0():
    hyper = {"plateau_patience": 0, "lr": 0.0, "text_dropout": 0.0}
    found = RunConfig.resolve(dataset="demo", model="MFMB-Net", hyper=hyper).hyper
    assert {name: found[name] for name in hyper} == hyper


def test_a_configuration_cannot_be_changed():
    config = RunConfig.resolve(dataset="demo", model="TFR-Net")
    with pytest.raises(ValidationError):
        config.seed = 3


def test_batches_are_cut_to_their_longest_sequence_and_keep_rows(demo_splits):
    split = demo_splits["train"]
    rows = torch.tensor([5, 1, 7])
    batch = split.batch(rows)
    for m, mask in batch.mask.items():
        assert mask.shape[1] == int(split.lengths[m][rows].max())
        assert torch.equal(mask.sum(1), split.lengths[m][rows])
        assert torch.equal(batch.steps[m].rows, mask.flatten().nonzero()[:, 0])
        # A missing audio or vision step is a zero vector, and its target is not.
        if m != "text":
            gone = batch.missing[m]
            assert bool(gone.any())
            assert float(batch.inputs[m][gone].abs().max()) == 0
            assert float(batch.targets[m][gone].abs().sum()) > 0
    assert torch.equal(batch.labels, split.labels[rows])


def test_an_epoch_visits_every_row_once_and_leaves_no_single_row(demo_splits):
    split = demo_splits["valid"]  # 100 rows: 33 x 3 + 1
    g = torch.Generator().manual_seed(0)
    batches = list(split.shuffled(33, g))
    assert [len(b.labels) for b in batches] == [33, 33, 34]
    assert torch.cat([b.index for b in batches]).sort()[0].tolist() == list(range(100))


def test_evaluation_returns_predictions_in_row_order(demo_splits):
    split = demo_splits["test"]
    width = split.inputs["text"].shape[2]
    model = TextMean(width).eval()
    predictions, terms = evaluate(model, split)
    with torch.no_grad():
        expected = model(split.whole()).prediction
    torch.testing.assert_close(predictions, expected, atol=1e-6, rtol=1e-5)
    mae = float((expected - split.labels).abs().mean())
    assert terms["task"] == pytest.approx(mae, abs=1e-6)


def test_training_keeps_the_best_validation_epoch(demo_splits):
    torch.manual_seed(0)
    model = TextMean(demo_splits["train"].inputs["text"].shape[2])
    # A learning rate this high overshoots, so that the last epoch is not the best.
    hyper = Hyper(lr=0.3, early_stop=3, plateau_patience=None)
    result = fit(
        model, demo_splits["train"], demo_splits["valid"], hyper, seed=1, max_epochs=40
    )
    valid = {
        row["epoch"]: row["value"]
        for row in result.curves
        if (row["split"], row["term"]) == ("valid", "task")
    }
    assert result.best_epoch == min(valid, key=valid.get)
    assert result.epochs in (result.best_epoch + 3, 40)
    _, terms = evaluate(model, demo_splits["valid"])
    assert terms["task"] == pytest.approx(valid[result.best_epoch], abs=1e-6)


def test_a_diverging_run_stops_and_says_where(demo_splits):
    model = TextMean(demo_splits["train"].inputs["text"].shape[2], bad=True)
    with pytest.raises(NonFiniteLoss, match=r"epoch 1: train task = nan"):
        fit(
            model,
            demo_splits["train"],
            demo_splits["valid"],
            Hyper(),
            seed=1,
            max_epochs=3,
        )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Column, r"Column predicts in the shape \(4, 1\) for 4 samples.*\[:, 0\]"),
        (Unweighted, "Unweighted has no weight for the loss 'aux'.*have 'task': add"),
    ],
)
def test_outputs_that_do_not_fit_are_refused_by_name(wrong, message, demo_splits):
    split = demo_splits["train"]
    model, batch = wrong(split.inputs["text"].shape[2]), split.batch(torch.arange(4))
    with pytest.raises(OutputsError, match=message):
        model.objective(batch, 1)
    with pytest.raises(OutputsError, match=message):
        FineTuned(nn.Identity(), model).checked(model(batch), batch)
    with pytest.raises(OutputsError, match=wrong.__name__):
        evaluate(model, demo_splits["test"])


@pytest.mark.parametrize("model", ["MFMB-Net", "MIT-FRNet", "TFR-Net"])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(model, quick):
    def predictions(seed):
        return quick(model, seed=seed, missing_rate=0.3, max_epochs=1).predictions

    first, again, other = predictions(1), predictions(1), predictions(2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_run_takes_numbers_without_full_precision_as_zero(quick):
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush denormal numbers")
    tiny = torch.full((8,), 1e-39)
    assert (tiny * 2).any()
    quick("constant", seed=5)
    assert not (tiny * 2).any()


def test_references_are_solved_not_trained():
    constant = run(RunConfig.resolve(model="constant", **QUICK))
    linear = run(RunConfig.resolve(model="text-linear", **QUICK))
    labels = load("demo").splits["train"].labels.numpy()
    assert set(constant.predictions.tolist()) == {float(np.median(labels))}
    assert math.isnan(constant.metrics["test"]["Corr"])
    assert constant.epochs == linear.epochs == 0
    assert linear.metrics["test"]["MAE"] < constant.metrics["test"]["MAE"]


def test_a_closed_form_takes_one_thread(monkeypatch):
    # More threads split the sums, and a run would not be the same on two machines.
    threads, fit_ridge = set(), Ridge.fit

    def watched(ridge, x, y):
        found = [lib for lib in threadpool_info() if lib["user_api"] == "blas"]
        threads.update(lib["num_threads"] for lib in found)
        return fit_ridge(ridge, x, y)

    monkeypatch.setattr(Ridge, "fit", watched)
    with threadpool_limits(2):
        run(RunConfig.resolve(model="text-linear", **QUICK))
    assert threads == {1}


def test_masks_can_be_drawn_anew():
    fixed = prepare(
        load("demo"), encoder="minilm", encoder_mode="frozen", missing_rate=0.5
    )
    redrawn = prepare(
        load("demo"),
        encoder="minilm",
        encoder_mode="frozen",
        missing_rate=0.5,
        mask_seed=7,
    )
    assert not torch.equal(
        fixed["train"].missing["audio"], redrawn["train"].missing["audio"]
    )


def test_fine_tuning_trains_the_encoder_with_its_own_rate():
    config = RunConfig.resolve(
        model="TFR-Net",
        dataset="demo",
        encoder_mode="finetune",
        max_epochs=1,
        missing_rate=0.5,
    )
    model = build(config)
    groups = model.parameter_groups(config.entry.hyper(**config.hyper))
    assert [g["lr"] for g in groups] == [2e-3, 1e-5, 1e-5]
    assert [g["weight_decay"] for g in groups] == [1e-3, 1e-4, 0.0]
    batch = splits_of(config)["train"].batch(torch.arange(4))
    total, _ = model.objective(batch, 1)
    total.backward()
    silent = [
        name
        for name, p in model.encoder.named_parameters()
        if p.grad is None or not bool((p.grad != 0).any())
    ]
    assert silent == []


def test_shapes_come_from_the_data_and_the_encoder():
    shapes = shapes_of(load("demo"), "minilm")
    assert tuple(shapes["text"]) == (32, 384)
    assert tuple(shapes["audio"]) == (24, 12)


def test_a_commit_that_is_none_is_refused_before_the_training(monkeypatch):
    def told(_root):
        raise CommitError("MSA_COMMIT is 'main'")

    def trained(*_):
        pytest.fail("it was trained, and the run would be lost")

    monkeypatch.setattr("msa.train.environment._commit", told)
    monkeypatch.setattr("msa.train.run._train", trained)
    with pytest.raises(CommitError):
        run(RunConfig.resolve(dataset="demo", model="constant"))
