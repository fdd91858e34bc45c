"""The drift check: published runs made again, and what counts as a difference."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from msa import cli
from msa.report import reruns
from msa.study import verify as drift
from msa.study.publish import publish
from msa.study.results import load_curves, load_environments, load_runs
from msa.study.store import RunStore
from msa.study.verify import NothingToVerify, choose, repeatable, verify
from msa.train.config import RunConfig
from msa.train.run import run

FIELDS = {"dataset": "demo", "max_epochs": 1}


@pytest.fixture(scope="module")
def made():
    """Two runs that take no time, by model."""
    return {
        model: run(RunConfig.resolve(model=model, **FIELDS))
        for model in ("FC(A)", "constant")
    }


@pytest.fixture
def results(made, tmp_path):
    return published(tmp_path, *made.values())


def published(tmp_path, *records):
    store = RunStore(tmp_path / "runs")
    for record in records:
        store.write(record)
    publish(store, tmp_path / "results")
    return tmp_path / "results"


def changed(record, prediction=0.0, mae=0.0, **environment):
    metrics = {split: dict(values) for split, values in record.metrics.items()}
    metrics["test"]["MAE"] += mae
    return dataclasses.replace(
        record,
        predictions=record.predictions + np.float32(prediction),
        metrics=metrics,
        environment={**record.environment, **environment},
    )


def test_the_same_code_gives_the_same_bits(results):
    checks = verify(None, 2, results)
    assert [check.config.model for check in checks] == ["FC(A)", "constant"]
    for check in checks:
        assert check.exact
        assert not check.drifted
        assert check.largest_difference == 0


def test_a_bit_is_a_drift_on_the_same_machine(made, results):
    (check,) = verify(None, 1, results, lambda _: changed(made["FC(A)"], 1e-6))
    assert check.drifted
    (check,) = verify(None, 1, results, lambda _: changed(made["FC(A)"], mae=1e-4))
    assert check.drifted
    assert check.worst_metric == "test_MAE"
    assert check.now - check.published == pytest.approx(1e-4, abs=1e-6)


def test_code_that_rounds_otherwise_owes_no_bits(made, tmp_path):
    before = changed(made["FC(A)"])
    del before.environment["rounding"]  # as runs from before the number had it
    folder = published(tmp_path, before)
    (check,) = verify(None, 1, folder, lambda _: changed(made["FC(A)"], 1e-6))
    assert not check.exact
    assert not check.drifted


def test_a_processor_of_the_same_name_owes_no_bits(made, tmp_path):
    before = changed(made["FC(A)"], cpu_kind="cpu family 6, model 1")
    folder = published(tmp_path / "another", before)
    (check,) = verify(None, 1, folder, lambda _: changed(made["FC(A)"], 1e-6))
    assert (check.exact, check.drifted) == (False, False)
    del before.environment["cpu_kind"]  # as runs from before it was recorded
    folder = published(tmp_path / "unknown", before)
    (check,) = verify(None, 1, folder, lambda _: changed(made["FC(A)"], 1e-6))
    assert (check.exact, check.drifted) == (False, False)


@pytest.mark.parametrize(("mae", "drifted"), [(0.019, False), (0.021, True)])
def test_a_reference_on_other_versions_may_differ_a_little(
    made, tmp_path, mae, drifted
):
    folder = published(tmp_path, changed(made["constant"], torch="1.0"))
    (check,) = verify(None, 1, folder, lambda _: changed(made["constant"], 0.01, mae))
    assert not check.exact
    assert check.drifted == drifted
    assert check.worst_metric == "test_MAE"


@pytest.mark.parametrize(("factor", "drifted"), [(0.994, False), (1.013, True)])
def test_elsewhere_the_losses_of_the_first_epoch_decide(
    made, tmp_path, factor, drifted
):
    folder = published(tmp_path, changed(made["FC(A)"], torch="1.0"))
    # Far other scores: a few epochs on another processor train another model.
    now = changed(made["FC(A)"], 0.5, mae=0.5)
    curves = [
        row | {"value": row["value"] * (factor if row["split"] == "train" else 2)}
        for row in now.curves
    ]
    again = dataclasses.replace(now, curves=curves)
    (check,) = verify(None, 1, folder, lambda _: again)
    assert not check.exact
    assert check.drifted == drifted
    assert check.worst_metric.startswith("epoch_1_")


def test_the_similarity_may_differ_more(made, tmp_path):
    first = {"epoch": 1, "split": "train", "term": "similarity", "value": 1.0}
    record = changed(made["FC(A)"], torch="1.0")
    record = dataclasses.replace(record, curves=[*record.curves, first])
    folder = published(tmp_path, record)
    for value, drifted in ((0.98, False), (1.04, True)):
        curves = [*made["FC(A)"].curves, {**first, "value": value}]
        again = dataclasses.replace(made["FC(A)"], curves=curves)
        (check,) = verify(None, 1, folder, lambda _, again=again: again)
        assert check.drifted == drifted


def test_elsewhere_another_seed_or_another_loss_is_a_drift(made, tmp_path):
    folder = published(tmp_path, changed(made["FC(A)"], torch="1.0"))
    other = run(RunConfig.resolve(model="FC(A)", seed=11, **FIELDS))
    (check,) = verify(None, 1, folder, lambda _: other)
    assert check.drifted
    more = [*made["FC(A)"].curves]
    more.append({"epoch": 1, "split": "train", "term": "new", "value": 0.0})
    again = dataclasses.replace(made["FC(A)"], curves=more)
    (check,) = verify(None, 1, folder, lambda _: again)
    assert check.drifted
    assert check.worst_metric == "epoch_1_new"


def test_cheap_runs_of_different_models_come_first():
    rows = [
        ("a1", "A", 9.0, 3),
        ("a2", "A", 2.0, 3),
        ("b1", "B", 5.0, 3),
        ("c1", "constant", 0.1, 0),
        ("a3", "A", 1.0, 3),
    ]
    frame = pd.DataFrame(rows, columns=["run_id", "model", "seconds_train", "epochs"])
    found = choose(frame.assign(variant="paper"), 4)
    assert list(found["run_id"]) == ["a3", "b1", "c1", "a2"]


def test_what_cannot_be_made_again_is_passed_over(made, tmp_path):
    folder = published(
        tmp_path, changed(made["FC(A)"], device="cuda"), made["constant"]
    )
    (check,) = verify(None, 2, folder)
    assert check.config.model == "constant"
    folder = published(tmp_path / "gpu", changed(made["FC(A)"], device="cuda"))
    with pytest.raises(NothingToVerify, match="1 are published"):
        verify(None, 1, folder)
    with pytest.raises(NothingToVerify, match="of study 'demo'"):
        verify("demo", 1, tmp_path / "nothing")


def test_a_run_on_other_data_or_another_encoder_cannot_be_made_again(results):
    row = load_runs(results=results).iloc[0]
    made_on = load_environments(results)[row["environment"]]
    assert repeatable(row, made_on)
    for name in ("data_sha256", "encoder_sha256"):
        assert not repeatable(row, {**made_on, name: "0" * 64})
        assert not repeatable(row, {k: v for k, v in made_on.items() if k != name})


def test_no_drift_is_told_of_runs_on_other_data(results):
    environments = load_environments(results)
    for made_on in environments.values():
        made_on["data_sha256"] = "0" * 64
    (results / "environments.json").write_text(json.dumps(environments))
    with pytest.raises(NothingToVerify, match="the data that they were made on"):
        verify(None, 1, results)


def test_data_are_looked_at_once_for_all_runs(made, results, monkeypatch):
    reader = Mock(side_effect=drift.checksum)
    monkeypatch.setattr(drift, "checksum", reader)
    assert len(verify(None, 2, results, lambda config: made[config.model])) == 2
    reader.assert_called_once_with("demo", "synthetic")


def test_the_command_tells_and_fails(made, results, monkeypatch, capsys):
    monkeypatch.setattr(
        "msa.study.verify.load_runs", lambda *_: load_runs(None, results)
    )
    monkeypatch.setattr("msa.study.results.results_dir", lambda: results)
    assert cli.main(["study", "verify", "--runs", "1"]) == 0
    text = capsys.readouterr().out
    assert "identical" in text
    assert "1 published runs made again, 0 drifted" in text
    monkeypatch.setattr("msa.train.run.run", lambda _: changed(made["FC(A)"], 0.5))
    assert cli.main(["study", "verify", "--runs", "1"]) == 1
    assert "DRIFT" in capsys.readouterr().out


@pytest.mark.exhaustive
def test_published_runs_of_one_training_are_within_what_is_allowed():
    # What the tolerances of the first epoch stand on.
    runs = load_runs().set_index("run_id", drop=False)
    found = reruns.pairs()
    if found.empty:
        pytest.skip("no training is published twice")
    seen = 0.0
    for pair in found.itertuples():
        one, other = (
            _first_epoch(runs.loc[each]) for each in (pair.first, pair.second)
        )
        for term, value in one.items():
            allowed = drift.FIRST_EPOCH_OF.get(term, drift.FIRST_EPOCH)
            apart = abs(value - other[term]) / max(abs(other[term]), drift.NO_LOSS)
            assert apart <= allowed, (pair, term)
            seen = max(seen, apart / allowed)
    assert seen > 0.5  # else they allow more than was seen


@cache
def _curves(dataset, model):
    return load_curves(dataset, model).set_index(["run_id", "epoch", "split"])


def _first_epoch(run):
    curves = _curves(run["dataset"], run["model"])
    return curves.loc[[(run["run_id"], 1, "train")]].set_index("term")["value"]
