"""A training that was broken off goes on as if it had not been."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from economy import SHALLOW, of_many
from fake_runs import grid
from test_models import SHAPES, TRAINED, build
from test_procedures import hyper_of, make_split

from msa.models.finetune import FineTuned
from msa.models.registry import model_entry
from msa.study.runner import execute, real_run
from msa.study.store import RunStore
from msa.train import checkpoint as checkpoints
from msa.train import environment as env
from msa.train.checkpoint import Checkpoint
from msa.train.config import RunConfig
from msa.train.run import build as made
from msa.train.run import run
from msa.train.trainer import fit

HERE = {"torch": "2", "cpu": "a", "commit": "c", "dirty": False}
USUAL = [(name, "paper") for name in ("MIT-FRNet", "Self-MM", "MMIM")]
"""Of those with memories and procedures of their own, what costs little."""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "checkpoints" / "run.pt"


def each_epoch(file, run_id="run", **place):
    return Checkpoint(file, run_id, {**HERE, **place}, every_s=0)


def assert_goes_on(make, hyper, file, ids=False, first=1, last=3):
    """All epochs at once, and the ``first`` and then the others, are the same."""
    splits = make_split(16, 1, ids), make_split(5, 2, ids)

    def trained(epochs, checkpoint=None, seed=4):
        model = make()
        torch.manual_seed(seed)
        result = fit(
            model, *splits, hyper, seed=3, max_epochs=epochs, checkpoint=checkpoint
        )
        return model, result

    whole, told = trained(last)
    trained(first, each_epoch(file))
    model, result = trained(last, each_epoch(file), seed=5)
    assert result.curves == told.curves
    assert (result.epochs, result.best_epoch) == (told.epochs, told.best_epoch)
    assert result.seconds > result.earlier > 0
    for name, value in whole.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("name", "variant"),
    of_many(TRAINED, lambda name, variant: (name, variant) in USUAL),
)
def test_every_system_goes_on_to_the_bit(name, variant, file):
    entry = model_entry(name)
    shallow = {"batch_size": 8, **SHALLOW.get(name, {})}
    hyper = entry.resolve("mosi", variant, shallow)

    def make():
        torch.manual_seed(0)
        return entry.build(SHAPES, hyper)

    assert_goes_on(make, hyper, file)


class Vocabulary(torch.nn.Module):
    """Ten vectors in place of a language model."""

    config: ClassVar = {"hidden_size": 24}

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(10, 24)

    def forward(self, ids, mask):
        return self.table(ids)


def test_a_fine_tuned_encoder_goes_on_to_the_bit(file):
    hyper = hyper_of("MMIM", batch_size=8)

    def make():
        torch.manual_seed(0)
        return FineTuned(Vocabulary(), build("MMIM", "paper"))

    assert_goes_on(make, hyper, file, ids=True)


def test_the_cut_learning_rate_goes_on(file):
    # So small a rate hardly lowers a loss: it is cut from the second epoch on.
    rates = {"lr": 1e-6, "factor_lr": 1e-6}
    hyper = hyper_of("LMF", batch_size=8, plateau_patience=0, **rates)
    assert_goes_on(lambda: build("LMF", "paper"), hyper, file, first=3, last=5)
    (kept,) = each_epoch(file).read()["passes"]
    assert all(group["lr"] < 5e-7 for group in kept["optimiser"]["param_groups"])


@pytest.mark.exhaustive
def test_a_language_model_goes_on_from_a_file(file):
    config = RunConfig.resolve(dataset="demo", model="LMF", encoder_mode="finetune")
    model = made(config)
    each_epoch(file).write({"model": model})
    kept = each_epoch(file).read()["model"].state_dict()
    assert kept.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, kept[name]), name


def test_only_a_state_of_the_same_origin_is_taken_up(file, monkeypatch):
    assert each_epoch(file).read() is None
    each_epoch(file).write({"epoch": 1})
    assert each_epoch(file).read() == {"epoch": 1}
    assert each_epoch(file, commit="later", dirty=True).read() == {"epoch": 1}
    assert each_epoch(file, torch="3").read() is None
    assert each_epoch(file, cpu="b").read() is None
    assert each_epoch(file, data_sha256="other").read() is None
    assert each_epoch(file, run_id="another").read() is None
    monkeypatch.setattr(checkpoints, "code_sha256", lambda: "edited")
    assert each_epoch(file).read() is None


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_damaged_state_is_passed_over(file, part):
    each_epoch(file).write({"weights": torch.zeros(1000)})
    packed = file.read_bytes()
    file.write_bytes(packed[: int(part * len(packed))])
    assert each_epoch(file).read() is None
    file.write_bytes(b"not a checkpoint")
    assert each_epoch(file).read() is None


def test_a_state_is_kept_from_time_to_time(file, monkeypatch):
    now = 100.0
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now)
    checkpoint = Checkpoint(file, "run", HERE)
    now += checkpoints.EVERY_S - 1
    assert not checkpoint.due()
    now += 1
    assert checkpoint.due()
    checkpoint.write({})
    assert not checkpoint.due()
    assert [path.name for path in file.parent.iterdir()] == ["run.pt"]


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(file):
    each_epoch(file).write({"epoch": 1})
    checkpoint = Checkpoint(file / "no folder" / "run.pt", "run", HERE, every_s=60)
    with pytest.warns(RuntimeWarning, match="no checkpoint could be written to"):
        checkpoint.write({"epoch": 2})
    assert not checkpoint.due()  # not with every epoch
    assert each_epoch(file).read() == {"epoch": 1}


def test_the_checksum_of_the_code_is_that_of_its_files(tmp_path, monkeypatch):
    (tmp_path / "train").mkdir()
    here, other = tmp_path / "train" / "environment.py", tmp_path / "other.py"
    here.write_text("1")
    monkeypatch.setattr(env, "__file__", str(here))
    checksum = env.code_sha256.__wrapped__

    other.write_text("2")
    both = checksum()
    other.write_text("3")
    assert checksum() != both
    other.write_text("2")
    assert checksum() == both
    other.rename(tmp_path / "moved.py")
    assert checksum() != both


class Stopped(BaseException):
    """As a kill, which no run sees coming."""


@pytest.fixture
def stopped_after_two(monkeypatch):
    """Keep a state every epoch; the process ends after the second."""
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    write, calls = Checkpoint.write, []

    def ends(self, state):
        calls.append(state["result"].epochs)
        if calls == [1, 2]:
            state["result"].seconds += 1000
            write(self, state)
            raise Stopped
        write(self, state)

    monkeypatch.setattr(Checkpoint, "write", ends)
    return calls


def test_a_run_that_was_stopped_goes_on_in_the_study(tmp_path, stopped_after_two):
    config = RunConfig.resolve(
        dataset="demo", model="FC(T)", missing_rate=0.3, max_epochs=4
    )
    store = RunStore(tmp_path / "runs")
    with pytest.raises(Stopped):
        execute(config, store, "cpu", real_run)
    assert store.ids() == []
    assert store.begun() == [config.run_id]

    report = execute(config, store, "cpu", real_run)
    assert report.status == "done"
    assert stopped_after_two == [1, 2, 3, 4]
    assert store.begun() == []
    went_on, whole = store.read(config.run_id), run(config)
    assert went_on["metrics"] == whole.metrics
    assert went_on["curves"] == whole.curves
    assert (went_on["predictions"] == whole.predictions).all()
    assert went_on["environment"] == whole.environment
    assert (went_on["epochs"], went_on["best_epoch"]) == (4, whole.best_epoch)
    assert went_on["seconds"]["train"] > 1000 > report.seconds  # both parts count


def test_a_run_that_scores_every_epoch_begins_anew(tmp_path, stopped_after_two):
    config = RunConfig.resolve(
        dataset="demo", model="FC(A)", max_epochs=3, selection="all"
    )
    kept = tmp_path / "run.pt"
    record = run(config, checkpoint=kept)
    assert not kept.exists()
    assert {row["epoch"] for row in record.epoch_metrics} == {1, 2, 3}


def test_what_a_killed_process_left_beside_a_checkpoint_goes(tmp_path):
    store = RunStore(tmp_path)
    (config,) = grid([1])
    kept = store.checkpoint_file(config.run_id)
    kept.parent.mkdir()
    kept.write_bytes(b"state")
    left = kept.with_name(f"{config.run_id}.0123abcd.tmp")
    left.touch()
    (kept.parent / "notes.pt").touch()
    with store.claim(config.run_id):
        assert not left.exists()
        assert store.begun() == [config.run_id]
