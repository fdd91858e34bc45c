"""Publishing: merges, loses nothing, and gives the same bytes for the same results."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import threading
import time

import numpy as np
import pandas as pd
import pytest

from msa.cli import main
from msa.data.files import write_atomically
from msa.data.load import load
from msa.data.registry import source
from msa.study import layout, results, verdicts
from msa.study.layout import CONFIG_COLUMNS, CURVE_COLUMNS, setting
from msa.study.publish import PublishError, publish, publish_passport
from msa.study.store import RunStore
from msa.train.config import RunConfig
from msa.train.metrics import RATES, score

TRUTH = np.float32([-1.0, 0.0, 1.0])  # test labels of the tiny file


@pytest.fixture
def store(tmp_path, tiny_file, monkeypatch):
    monkeypatch.setenv("MSA_DATA", str(tiny_file()))
    return RunStore(tmp_path / "runs")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results"


def record(error=0.25, model="MFMB-Net", curves=2, environment=None, **fields):
    config = RunConfig.resolve(dataset="mosi", model=model, **fields)
    prediction = TRUTH + np.float32(error)
    return {
        "run_id": config.run_id,
        "config": config.model_dump(mode="json"),
        "metrics": {
            "test": score(prediction, TRUTH, "mosi"),
            "valid": {"MAE": 0.5, "Corr": math.nan},
        },
        "curves": [
            {"epoch": e, "split": "train", "term": "task", "value": 1 / e}
            for e in range(1, curves + 1)
        ],
        "predictions": prediction,
        "epochs": curves,
        "best_epoch": 1,
        "seconds": {"prepare": 0.5, "train": 12.25},
        "parameters": 1234,
        "peak_memory_mb": 100.0,
        "environment": environment or {"torch": "2", "threads": 1},
    }


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_everything_the_book_needs_comes_back(store, folder):
    own = record(missing_rate=0.3, seed=111, hyper={"lr": 0.5})
    store.write(own)
    done = publish(store, folder)
    assert (done.runs, done.total, done.unlabelled) == (1, 1, ())
    (run,) = results.load_runs(results=folder).to_dict("records")
    assert run["run_id"] == own["run_id"]
    assert (run["dataset"], run["view"], run["model"]) == (
        "mosi",
        "clip-context",
        "MFMB-Net",
    )
    assert (run["missing_rate"], run["seed"], run["epochs"]) == (0.3, 111, 2)
    assert pd.isna(run["mask_seed"])
    assert isinstance(run["test_Has0_acc_2"], float)  # written as "1"
    assert json.loads(run["hyper"]) == own["config"]["hyper"]
    assert run["test_MAE"] == pytest.approx(0.25)
    assert math.isnan(run["valid_Corr"])
    assert run["seconds_train"] == 12.25
    environments = results.load_environments(folder)
    assert environments[run["environment"]] == {"torch": "2", "threads": 1}
    curves = results.load_curves("mosi", "MFMB-Net", folder)
    assert curves.to_dict("list") == {
        "run_id": [own["run_id"]] * 2,
        "epoch": [1, 2],
        "split": ["train"] * 2,
        "term": ["task"] * 2,
        "value": [1.0, 0.5],
    }
    found = results.load_predictions("mosi", "MFMB-Net", folder)
    np.testing.assert_array_equal(found[own["run_id"]], own["predictions"])
    assert found[own["run_id"]].dtype == np.float32


def test_what_was_loaded_may_be_changed_and_what_is_published_is_seen(store, folder):
    store.write(record(seed=111))
    publish(store, folder)
    first = results.load_runs(results=folder)
    first["seed"] = 0
    assert results.load_runs(results=folder)["seed"].tolist() == [111]
    store.write(record(seed=1111))
    publish(store, folder)
    assert sorted(results.load_runs(results=folder)["seed"]) == [111, 1111]


def test_a_published_row_names_the_run_it_came_from(store, folder):
    # Rebuilt from the table alone, the configuration has the same content hash.
    for fields in ({"hyper": {"lr": 0.5}}, {"mask_seed": 7}, {"model": "text-linear"}):
        store.write(record(**fields))
    publish(store, folder)
    for row in results.load_runs(results=folder).to_dict("records"):
        mask_seed = None if pd.isna(row["mask_seed"]) else int(row["mask_seed"])
        values = {key: row[key] for key in CONFIG_COLUMNS}
        values |= {"mask_seed": mask_seed, "hyper": json.loads(row["hyper"])}
        assert RunConfig(**values).run_id == row["run_id"]


def test_publishing_again_changes_no_byte(store, folder, tmp_path):
    for seed in (111, 1111):
        for model in ("MFMB-Net", "MIT-FRNet"):
            store.write(record(model=model, seed=seed))
    first = publish(store, folder)
    before = contents(folder)
    time.sleep(1.1)  # dates in gzip and zip files have whole seconds
    again = publish(store, folder)
    assert contents(folder) == before
    assert len(first.written) == 8
    assert again.written == ()
    # Elsewhere and in two steps: the same bytes.
    ids = store.ids()
    publish(store, tmp_path / "other", run_ids=ids[2:])
    publish(store, tmp_path / "other", run_ids=ids[:2])
    elsewhere = {
        p.relative_to(tmp_path / "other"): b
        for p, b in contents(tmp_path / "other").items()
    }
    assert elsewhere == {p.relative_to(folder): b for p, b in before.items()}


def test_what_is_published_stays_when_the_store_is_gone(store, folder, tmp_path):
    old, new = record(seed=111), record(seed=1111)
    store.write(old)
    publish(store, folder)
    second = RunStore(tmp_path / "second machine")
    second.write(new)
    done = publish(second, folder)
    assert (done.runs, done.total) == (1, 2)
    both = {old["run_id"], new["run_id"]}
    assert set(results.load_runs(results=folder)["run_id"]) == both
    assert set(results.load_curves("mosi", "MFMB-Net", folder)["run_id"]) == both
    assert set(results.load_predictions("mosi", "MFMB-Net", folder)) == both
    (mae,) = mae_rows(folder)
    assert (mae["n"], mae["seeds"]) == (2, "111 1111")


def mae_rows(folder, load=results.load_summary):
    frame = load(results=folder)
    return frame[frame["metric"] == "MAE"].to_dict("records")


def test_a_run_made_again_replaces_its_row(store, folder):
    store.write(record(error=0.25, curves=3, environment={"torch": "1"}))
    publish(store, folder)
    store.write(record(error=0.5, curves=1, environment={"torch": "2"}))
    publish(store, folder)
    (run,) = results.load_runs(results=folder).to_dict("records")
    assert run["test_MAE"] == 0.5
    assert len(results.load_curves("mosi", "MFMB-Net", folder)) == 1
    assert list(results.load_environments(folder).values()) == [{"torch": "2"}]
    (mae,) = mae_rows(folder)
    assert mae["mean"] == 0.5


def test_cells_by_hand(store, folder):
    for seed, error in ((111, 0.25), (1111, 0.75)):
        store.write(record(error=error, seed=seed))
    store.write(record(error=2.0, seed=111, missing_rate=0.5))
    publish(store, folder)
    complete, damaged = mae_rows(folder)
    assert complete["missing_rate"] == 0.0
    assert (complete["n"], complete["mean"]) == (2, 0.5)
    assert complete["sd"] == pytest.approx(math.sqrt(0.125), abs=1e-6)
    half = 0.25 * math.sqrt(2)  # to either run, stretched by the root of 2 / 1
    assert complete["lo"] == pytest.approx(0.5 - half, abs=1e-6)
    assert complete["hi"] == pytest.approx(0.5 + half, abs=1e-6)
    assert (damaged["missing_rate"], damaged["n"], damaged["mean"]) == (0.5, 1, 2.0)
    assert math.isnan(damaged["sd"])
    assert results.load_aggregates(results=folder).empty


def test_other_settings_are_other_cells(store, folder):
    store.write(record(error=0.25))
    store.write(record(error=0.5, hyper={"lr": 0.5}))
    store.write(record(error=1.0, seed=2, mask_seed=2))
    store.write(record(error=2.0, seed=3, mask_seed=3))
    publish(store, folder)
    rows = mae_rows(folder)
    # Masks that are drawn anew in every run belong together.
    assert sorted((row["mean"], row["n"]) for row in rows) == [
        (0.25, 1),
        (0.5, 1),
        (1.5, 2),
    ]
    assert len({row["setting"] for row in rows}) == 3


def test_sweep_aggregates_need_every_rate(store, folder):
    for rate in RATES[:-1]:
        store.write(record(error=rate, missing_rate=rate))
    store.write(record(error=9.0, missing_rate=0.5, seed=111))
    publish(store, folder)
    assert results.load_aggregates(results=folder).empty
    store.write(record(error=1.0, missing_rate=1.0))
    publish(store, folder)
    rows = mae_rows(folder, results.load_aggregates)
    # MAE equals the rate: area 1/2; sum of r (1 - r) is 1.65. One complete seed.
    assert [(row["aggregate"], row["n"], row["seeds"]) for row in rows] == [
        ("AUILC", 1, "1111"),
        ("MWA/10", 1, "1111"),
        ("MWA/11", 1, "1111"),
    ]
    assert [row["mean"] for row in rows] == pytest.approx([0.5, 0.165, 0.15], abs=1e-6)


def test_an_undefined_correlation_is_missing_in_the_table(store, folder):
    flat = record()
    flat["predictions"] = np.zeros(3, dtype=np.float32)
    store.write(flat)
    publish(store, folder)
    summary = results.load_summary(results=folder).set_index("metric")
    assert math.isnan(summary.loc["Corr", "mean"])
    assert summary.loc["Corr", "undefined"] == 1
    assert summary.loc["MAE", "undefined"] == 0


def test_without_the_data_summaries_stay_as_published(
    store, folder, tmp_path, monkeypatch
):
    store.write(record(error=0.25, seed=111))
    publish(store, folder)
    before = results.load_summary(results=folder)
    monkeypatch.setenv("MSA_DATA", str(tmp_path / "nothing here"))
    store.write(record(error=0.5, seed=1111))
    done = publish(store, folder)
    assert done.unlabelled == ("mosi (clip-context)",)
    assert done.total == 2
    pd.testing.assert_frame_equal(results.load_summary(results=folder), before)


def test_runs_on_other_data_are_refused(store, folder):
    own = load("mosi").sha256
    store.write(record(environment={"data_sha256": own}))
    publish(store, folder, other_data=True)
    before = contents(folder)
    stale = record(error=0.5, curves=3, environment={"data_sha256": "0" * 64})
    store.write(stale)
    with pytest.raises(
        PublishError, match=f"other data .*{own[:12]}.*{stale['run_id']}"
    ) as caught:
        publish(store, folder, other_data=True)
    assert contents(folder) == before
    assert "from the store, then run" in str(caught.value)  # its row is a good one


def test_published_runs_on_other_data_are_refused(store, folder, tmp_path, monkeypatch):
    stale = record(environment={"data_sha256": "0" * 64})
    store.write(stale)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("MSA_DATA", str(tmp_path / "nothing here"))
        publish(store, folder, other_data=True)  # nothing here to compare with
    before = contents(folder)
    with pytest.raises(PublishError, match=f"{stale['run_id']}.* rows from runs.csv"):
        publish(RunStore(tmp_path / "second"), folder)
    assert contents(folder) == before


def test_a_file_that_only_bears_the_name_is_refused(store, folder):
    own, official = load("mosi").sha256, source("mosi").sha256
    runs = [record(seed=seed, environment={"data_sha256": own}) for seed in (1, 2)]
    for run in runs:
        store.write(run)
    store.write(record(seed=3))  # says nothing of its data
    with pytest.raises(PublishError) as caught:
        publish(store, folder)
    told = str(caught.value)
    assert told.startswith("2 run(s) on CMU-MOSI (clip-context) were made on a file")
    for part in (own, official, runs[0]["run_id"], runs[1]["run_id"], "--other-data"):
        assert part in told
    assert contents(folder) == {}
    assert publish(store, folder, other_data=True).total == 3
    assert results.on_other_data(folder) == {("mosi", "clip-context")}


def test_the_published_file_needs_no_word(store, folder, monkeypatch, tmp_path):
    monkeypatch.setenv("MSA_DATA", str(tmp_path / "nothing here"))
    store.write(record(environment={"data_sha256": source("mosi").sha256}))
    assert publish(store, folder).total == 1
    assert results.on_other_data(folder) == frozenset()


def test_the_command_takes_other_data_only_when_told(store, folder, monkeypatch):
    monkeypatch.setenv("MSA_RESULTS", str(folder))
    store.write(record(environment={"data_sha256": load("mosi").sha256}))
    command = ["study", "publish", "--store", str(store.path)]
    assert main(command) == 2
    assert main([*command, "--other-data"]) == 0
    assert len(results.load_runs(results=folder)) == 1


def test_lost_predictions_are_named(store, folder):
    own = record()
    store.write(own)
    publish(store, folder)
    shutil.rmtree(folder / "predictions")
    before = contents(folder)
    store.write(record(model="MIT-FRNet"))
    other = [i for i in store.ids() if i != own["run_id"]]
    with pytest.raises(PublishError, match=own["run_id"]):
        publish(store, folder, run_ids=other)
    assert contents(folder) == before


def test_a_study_selects_its_runs(store, folder):
    from msa.study.grids import study

    member = study("mosi-sweep").configs[0]
    assert (member.model, member.missing_rate) == ("constant", 0.0)
    store.write(record(model="constant", seed=member.seed, curves=0))
    store.write(record(model="constant", seed=5, curves=0))
    store.write(record(model="constant", missing_rate=0.05, curves=0))
    publish(store, folder)
    assert len(results.load_runs(results=folder)) == 3
    runs = results.load_runs("mosi-sweep", folder)
    assert list(runs["run_id"]) == [member.run_id]
    assert set(results.load_summary("mosi-sweep", folder)["missing_rate"]) == {0.0}
    assert results.load_aggregates("mosi-sweep", folder).empty


def test_an_empty_folder_gives_empty_frames(folder):
    assert results.on_other_data(folder) == frozenset()
    assert results.load_runs(results=folder).empty
    assert "missing_rate" in results.load_runs(results=folder)
    assert "mean" in results.load_summary(results=folder)
    assert list(results.load_curves("mosi", "TFN", folder)) == list(CURVE_COLUMNS)
    assert results.load_predictions("mosi", "TFN", folder) == {}
    assert results.load_passport("mosi", "clip-context", folder) == {}


def test_passport_round_trip(folder):
    tables = {"splits": pd.DataFrame({"split": ["train"], "clips": [1284]})}
    assert publish_passport("mosi", "clip-context", tables, folder) == (
        "passport/mosi--clip-context/splits.csv",
    )
    assert publish_passport("mosi", "clip-context", tables, folder) == ()
    found = results.load_passport("mosi", "clip-context", folder)
    pd.testing.assert_frame_equal(found["splits"], tables["splits"])


def test_curve_files_are_plain_gzip(store, folder):
    store.write(record())
    publish(store, folder)
    file = folder / "curves" / "mosi--MFMB-Net.csv.gz"
    assert gzip.decompress(file.read_bytes()).startswith(
        b"run_id,epoch,split,term,value"
    )


def test_a_switch_that_is_off_makes_no_other_setting():
    fields = {"hyper": {"lr": 1e-3}, "max_epochs": 9, "protocol": 1, "mask_seed": None}
    grown = {**fields, "hyper": {"lr": 1e-3, "clip_norm": None, "switch": False}}
    turned = {**fields, "hyper": {"lr": 1e-3, "switch": True}}
    assert setting(grown) == setting(fields) != setting(turned)


# --- beyond the protocol --------------------------------------------------------------

BEYOND = {
    "missing_pattern": "bursts",
    "missing_rate": 0.5,
    "evaluate_rates": (0.0, 1.0),
    "evaluate_patterns": ("no-text",),
    "selection": "all",
    "data_order_seed": 3,
    "reconstruction_error": True,
}


def beyond_record():
    where = {"split": "test", "missing_rate": 1.0, "pattern": "bursts"}
    error = {"modality": "text", "method": "mean", "metric": "rmse", "n": 5}
    return {
        **record(**BEYOND),
        "evaluations": [
            {"evaluation": "rate", **where, "metric": "MAE", "value": 1.5},
            {"evaluation": "rate", **where, "metric": "Corr", "value": math.nan},
        ],
        "epoch_metrics": [
            {"epoch": 1, "split": "valid", "metric": "MAE", "value": 0.75}
        ],
        "reconstruction": [{**where, **error, "value": 0.125}],
    }


def test_what_is_asked_beyond_the_protocol_comes_back(store, folder):
    own = beyond_record()
    store.write(own)
    store.write(record())
    done = publish(store, folder)
    assert {"evaluations.csv.gz", "epochs.csv.gz", "reconstructions.csv.gz"} <= {
        *done.written
    }
    for load_rows, field in (
        (results.load_evaluations, "evaluations"),
        (results.load_epochs, "epoch_metrics"),
        (results.load_reconstructions, "reconstruction"),
    ):
        expected = pd.DataFrame(own[field]).assign(run_id=own["run_id"])
        found = load_rows(results=folder)
        pd.testing.assert_frame_equal(found, expected[found.columns])
        assert load_rows("mosi-sweep", folder).empty
    runs = results.load_runs(results=folder)
    for row in runs.to_dict("records"):
        assert results.config_of(row).run_id == row["run_id"]
    row = runs.set_index("run_id").loc[own["run_id"]]
    assert results.config_of(row) == RunConfig(**own["config"])
    # Never averaged with runs of the protocol.
    assert runs["setting"].nunique() == 2
    assert publish(store, folder).written == ()


def test_a_run_on_mixed_rates_comes_back(store, folder):
    own = record(train_rates="mixed", evaluate_rates=(0.0, 0.5))
    store.write(own)
    publish(store, folder)
    (row,) = results.load_runs(results=folder).to_dict("records")
    assert row["train_rates"] == "mixed"
    assert results.config_of(row) == RunConfig(**own["config"])


def test_runs_made_again_lose_their_old_rows(store, folder):
    own = beyond_record()
    store.write(own)
    publish(store, folder)
    store.write({**own, "evaluations": own["evaluations"][:1]})
    publish(store, folder)
    assert len(results.load_evaluations(results=folder)) == 1
    assert len(results.load_epochs(results=folder)) == 1


def test_a_table_whose_last_rows_go_is_emptied(store, folder):
    own = beyond_record()
    store.write(own)
    publish(store, folder)
    store.write({**own, "curves": [], "evaluations": [], "epoch_metrics": []})
    done = publish(store, folder)
    gone = ("curves/mosi--MFMB-Net.csv.gz", "evaluations.csv.gz", "epochs.csv.gz")
    assert set(done.written) >= {*gone}
    assert results.load_curves("mosi", "MFMB-Net", folder).empty
    assert results.load_evaluations(results=folder).empty
    assert results.load_epochs(results=folder).empty
    assert len(results.load_reconstructions(results=folder)) == 1
    assert publish(store, folder).written == ()


def remove_row(folder, run_id):
    lines = (folder / "runs.csv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(run_id)]
    (folder / "runs.csv").write_text("".join(kept))


def test_a_run_whose_row_was_removed_goes_everywhere(store, folder, tmp_path):
    removed, other = beyond_record(), record(model="MIT-FRNet")
    for run in (removed, other):
        store.write(run)
    publish(store, folder)
    remove_row(folder, removed["run_id"])
    second = RunStore(tmp_path / "second")
    again = record(seed=111)  # of the same model
    second.write(again)
    assert publish(second, folder).total == 2
    assert set(results.load_curves("mosi", "MFMB-Net", folder)["run_id"]) == {
        again["run_id"]
    }
    assert set(results.load_predictions("mosi", "MFMB-Net", folder)) == {
        again["run_id"]
    }
    assert results.load_evaluations(results=folder).empty
    assert set(results.load_predictions("mosi", "MIT-FRNet", folder)) == {
        other["run_id"]
    }


def test_the_last_run_can_be_removed(store, folder, tmp_path):
    own = record()
    store.write(own)
    publish(store, folder)
    remove_row(folder, own["run_id"])
    nothing = RunStore(tmp_path / "nothing")
    assert publish(nothing, folder).total == 0
    assert results.load_runs(results=folder).empty
    assert results.load_summary(results=folder).empty
    assert results.load_predictions("mosi", "MFMB-Net", folder) == {}
    assert publish(nothing, folder).written == ()


def test_predictions_that_were_packed_otherwise_are_not_touched(store, folder):
    store.write(record())
    publish(store, folder)
    file = folder / "predictions" / "mosi--MFMB-Net.npz"
    np.savez(file, **results.load_predictions("mosi", "MFMB-Net", folder))
    assert publish(store, folder).written == ()


def test_runs_of_the_protocol_take_no_columns_for_what_is_beyond(store, folder):
    plain = record()
    # As stored before there was anything beyond.
    for name in BEYOND.keys() - {"missing_rate"}:
        del plain["config"][name]
    store.write(plain)
    publish(store, folder)
    header = (folder / "runs.csv").read_text().splitlines()[0]
    assert "evaluate_rates" not in header
    (row,) = results.load_runs(results=folder).to_dict("records")
    assert pd.isna(row["missing_pattern"])
    assert results.config_of(row).run_id == plain["run_id"]
    assert results.load_evaluations(results=folder).empty


def test_seeds_of_the_data_order_belong_together():
    fields = RunConfig(**record()["config"]).model_dump()
    settings = [setting({**fields, "data_order_seed": seed}) for seed in (None, 1, 2)]
    assert settings[0] != settings[1] == settings[2]


def test_the_noise_study_is_in_no_summary(store, folder):
    store.write(record(error=0.25))
    # The one draws the run's seed anew, the other the order: no mean over both.
    store.write(record(error=1.0, seed=2, data_order_seed=1111))
    store.write(record(error=2.0, data_order_seed=2))
    publish(store, folder)
    assert len(results.load_runs(results=folder)) == 3
    assert [(row["mean"], row["n"]) for row in mae_rows(folder)] == [(0.25, 1)]


def test_times_of_runs_are_those_of_one_device(store, folder):
    assert results.published_seconds("cpu", folder) == []
    for device, seed in (("cpu", 1), ("cuda", 2)):
        store.write(record(seed=seed, environment={"device": device}))
    publish(store, folder)
    for device, seed in (("cpu", 1), ("cuda", 2)):
        ((config, seconds),) = results.published_seconds(device, folder)
        assert (config.seed, seconds) == (seed, 12.75)


def test_an_interrupted_publication_leaves_no_run_without_its_files(
    store, folder, monkeypatch
):
    store.write(record())

    def full_at_the_end(path, data):
        if path.name == "runs.csv":
            raise OSError("no space left")
        write_atomically(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(layout, "write_atomically", full_at_the_end)
        with pytest.raises(layout.ResultsError, match="no space"):
            publish(store, folder)
    assert results.load_runs(results=folder).empty
    assert publish(store, folder).total == 1


def test_a_folder_that_takes_nothing_is_named(store, folder, capsys, monkeypatch):
    monkeypatch.setenv("MSA_STORE", str(store.path))
    monkeypatch.setenv("MSA_RESULTS", str(folder))
    store.write(record())
    told = f"error: nothing can be written into the results {folder} ("
    folder.write_text("where a folder should be")
    assert main(["study", "publish"]) == 2
    assert capsys.readouterr().err.startswith(told)

    folder.unlink()
    folder.mkdir()
    (folder / "curves").write_text("where a folder should be")
    assert main(["study", "publish"]) == 2
    assert capsys.readouterr().err.startswith(told)
    assert not (folder / "runs.csv").exists()


def test_publications_into_one_folder_wait_for_each_other(store, folder):
    store.write(record())
    with layout.Folder(folder).exclusive():
        other = threading.Thread(target=publish, args=(store, folder))
        other.start()
        other.join(timeout=0.3)
        assert other.is_alive()
        assert not (folder / "runs.csv").exists()
    other.join(timeout=60)
    assert len(results.load_runs(results=folder)) == 1


def test_tables_of_runs_are_computed_before_the_next_publication(
    store, folder, monkeypatch
):
    monkeypatch.setenv("MSA_STORE", str(store.path))
    monkeypatch.setenv("MSA_RESULTS", str(folder))
    store.write(record())
    others = []

    def computes():
        """Find that another one must wait now, and that this one need not."""
        others.append(threading.Thread(target=publish, args=(store, folder)))
        others[0].start()
        others[0].join(timeout=0.3)
        assert others[0].is_alive()
        with layout.Folder(folder).exclusive():
            return ()

    monkeypatch.setattr(verdicts, "publish_verdicts", computes)
    assert main(["study", "publish"]) == 0
    others[0].join(timeout=60)
    assert not others[0].is_alive()
