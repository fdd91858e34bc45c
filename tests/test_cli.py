"""The command line: what it prints, what it stores, how it says no."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from msa import cli, commands
from msa.cli import main
from msa.data.registry import source
from msa.study import grids
from msa.study.runner import Outcome
from msa.study.store import RunStore
from msa.train import run as runs
from msa.train.config import RunConfig
from msa.train.trainer import NonFiniteLoss

TRAIN = ["train", "--dataset", "demo", "--model", "constant"]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MSA_STORE", str(tmp_path / "runs"))
    return RunStore(tmp_path / "runs")


def strict_json(text):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_help_is_instant_and_names_every_command():
    code = (
        "import sys\nfrom msa.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("list", "train", "study", "data", "notebook"):
        assert f"\n    {command} " in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["train"],
        ["study"],
        ["study", "run"],
        ["study", "status"],
        ["study", "publish"],
        ["study", "columns"],
        ["study", "verify"],
        ["data", "check"],
        ["notebook", "run"],
    ],
)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "examples:\n  python -m msa" in text
    assert "SUPPRESS" not in text


def test_defaults_are_told(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "0 to 1 (default: 0.0)" in text
    assert "dropout (default: 1111)" in text


def test_list_names_what_there_is(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("MSA_DATA", str(tmp_path))
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for name in ("MFMB-Net", "text-linear", "mosei", "minilm", "mosi-sweep"):
        assert name in text
    assert main(["list", "--json"]) == 0
    found = strict_json(capsys.readouterr().out)
    here = {row["data set"]: row["here"] for row in found["data sets"]}
    assert here == {"mosi": False, "mosei": False, "sims": False, "demo": True}


def test_train_prints_a_table_and_does_nothing_the_second_time(store, capsys):
    assert main([*TRAIN, "--missing-rate", "0.5"]) == 0
    first = capsys.readouterr().out
    (run_id,) = store.ids()
    config = RunConfig.resolve(dataset="demo", model="constant", missing_rate=0.5)
    assert run_id == config.run_id
    assert "Corr                        –  higher" in first
    assert f"Remake it with: {config.command()}" in first
    values = store.read(run_id)["metrics"]["test"]
    assert f"{values['MAE']:.4f}" in first
    assert f"{100 * values['Has0_acc_2']:.2f}" in first

    file = next(store.path.glob("??/*.json.gz"))
    before = file.stat().st_mtime_ns
    assert main([*TRAIN, "--missing-rate", "0.5"]) == 0
    assert f"run {run_id}, stored before" in capsys.readouterr().out
    assert file.stat().st_mtime_ns == before
    assert main([*TRAIN, "--missing-rate", "0.5", "--again"]) == 0
    assert file.stat().st_mtime_ns != before


def test_a_stored_run_of_another_device_is_told_as_such(store, capsys):
    assert main([*TRAIN, "--json"]) == 0
    capsys.readouterr()
    (run_id,) = store.ids()
    place = {"device": "cuda", "device_name": "NVIDIA H200"}
    store.write({**store.read(run_id), "environment": place})
    assert main(TRAIN) == 0
    told = f"run {run_id}, stored before from a run on cuda (NVIDIA H200), not on cpu "
    assert told + "(--again makes it there): no epochs" in capsys.readouterr().out


def test_train_shows_what_is_asked_beyond_the_protocol(store, capsys):
    more = ["--evaluate-rates", "1", "--evaluate-patterns", "no-audio"]
    assert main([*TRAIN, *more, "--selection", "all"]) == 0
    text = capsys.readouterr().out
    assert ", evaluate rates 1, evaluate patterns no-audio, selection all\n" in text
    rows = text.split("Tested elsewhere\n")[1].splitlines()
    assert [row.split()[:2] for row in rows[1:3]] == [
        ["1", "protocol"],
        ["1", "no-audio"],
    ]
    # A constant does not care what is missing.
    (run_id,) = store.ids()
    mae = store.read(run_id)["metrics"]["test"]["MAE"]
    column = rows[0].split().index("MAE")
    assert {row.split()[column] for row in rows[1:3]} == {f"{mae:.4f}"}
    assert main([*TRAIN, "--missing-pattern", "audio"]) == 2
    assert "the complete data" in capsys.readouterr().err


def test_train_json_is_strict_and_complete(store, capsys):
    assert main([*TRAIN, "--json"]) == 0
    found = strict_json(capsys.readouterr().out)
    assert found["run_id"] == store.ids()[0]
    assert found["metrics"]["test"]["Corr"] is None
    assert math.isnan(store.read(found["run_id"])["metrics"]["test"]["Corr"])
    assert len(found["predictions"]) == 150
    assert found["command"].startswith("python -m msa train --dataset demo")


def test_json_has_no_number_that_is_not_finite(capsys):
    commands._print_json({"a": (math.nan, math.inf), "b": np.float64([-np.inf, 1])})
    assert strict_json(capsys.readouterr().out) == {"a": [None, None], "b": [None, 1]}


def test_the_printed_command_makes_the_same_run(store, capsys):
    import shlex

    options = ["--seed", "7", "--mask-seed", "3", "--set", "lr=0.5", "--epochs", "9"]
    assert main([*TRAIN, *options, "--json"]) == 0
    found = strict_json(capsys.readouterr().out)
    assert found["config"]["hyper"]["lr"] == 0.5
    python, dash_m, msa, *arguments = shlex.split(found["command"])
    assert (python, dash_m, msa) == ("python", "-m", "msa")
    assert main([*arguments, "--json"]) == 0
    assert strict_json(capsys.readouterr().out)["run_id"] == found["run_id"]
    assert store.ids() == [found["run_id"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--dataset", "nope", "--model", "constant"], "no data set 'nope'"),
        (["train", "--dataset", "demo", "--model", "nope"], "'nope'; known: MFMB-Net"),
        ([*TRAIN, "--missing-rate", "2"], "must lie between 0 and 1"),
        ([*TRAIN, "--set", "lr"], "--set wants KEY=VALUE, got 'lr'"),
        ([*TRAIN, "--set", "lr=1", "--set", "lr=2"], "--set lr is given twice"),
        ([*TRAIN, "--set", "lr=fast"], "'lr'"),
        ([*TRAIN, "--encoder", "nowhere"], "'nowhere' not found"),
        (["study", "run", "nope"], "no study 'nope'; known: demo"),
        (["study", "run", "mosi-sweep", "--again"], "clip_context.pkl"),
        (["study", "status", "nope"], "no study 'nope'"),
        (["data", "check", "mosi"], "clip_context.pkl"),
        (["notebook", "run", "nope.md"], "there is no page 'nope.md'"),
        (["notebook", "run", "x.md", "-p", "a", "1", "-p", "a", "2"], "'a' is given"),
    ],
)
def test_a_mistake_gets_one_message(
    arguments, message, store, capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("MSA_DATA", str(tmp_path / "empty"))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert store.ids() == []


def test_a_damaged_store_file_is_named(store, capsys):
    assert main(TRAIN) == 0
    file = next(store.path.glob("??/*.json.gz"))
    file.write_bytes(b"")
    assert main(TRAIN) == 2
    assert str(file) in capsys.readouterr().err


def test_cuda_without_a_gpu_is_refused(store, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    benches = [["bench", what] for what in ("models", "runner", "rates")]
    for command in (TRAIN, ["study", "run", "demo"], *benches):
        assert main([*command, "--device", "cuda"]) == 2
        told = capsys.readouterr().err
        assert told.startswith("error: device 'cuda': PyTorch finds no usable GPU here")
    assert store.ids() == []


def test_our_own_mistakes_keep_their_traceback(monkeypatch):
    def broken(options):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "show_list", broken)
    with pytest.raises(ZeroDivisionError):
        main(["list"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("9m", 540), ("1h30m", 5400), ("2h", 7200), ("1h1m1s", 3661)],
)
def test_time_spans(text, seconds):
    assert cli._seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "m", "1.5h", "30m1h", "9 m"])
def test_no_time_spans(text, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["study", "run", "demo", "--budget", text])
    assert caught.value.code == 2
    assert "write it like 90s, 9m or 1h30m" in capsys.readouterr().err


def test_a_study_from_run_to_results(store, capsys, monkeypatch, tmp_path):
    configs = grids.cells(["constant"], [0.0], [1, 2], dataset="demo")
    tiny = grids.Study("tiny", "Two constants", "For tests.", tuple(configs))
    monkeypatch.setitem(grids._STUDIES, "tiny", lambda: tiny)
    for module in ("publish", "results"):
        where = f"msa.study.{module}.results_dir"
        monkeypatch.setattr(where, lambda: tmp_path / "results")

    assert main(["study", "status", "tiny", "--json"]) == 0
    told = strict_json(capsys.readouterr().out)
    assert told["runs"] == {config.run_id: "missing" for config in configs}
    assert (told["seconds_left"], told["of_unknown_length"]) == (0, 2)
    assert main(["study", "status", "tiny"]) == 0
    told = capsys.readouterr().out
    assert "Left: 2 runs of a kind that was never run." in told
    assert "checkpoint" not in told

    kept = store.checkpoint_file(configs[0].run_id)
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert main(["study", "status", "tiny", "--json"]) == 0
    assert strict_json(capsys.readouterr().out)["begun"] == [configs[0].run_id]
    assert main(["study", "status", "tiny"]) == 0
    assert "1 of them have a checkpoint to go on from." in capsys.readouterr().out

    assert main(["study", "status", "tiny", "--json", "--seed", "2"]) == 0
    told = strict_json(capsys.readouterr().out)
    assert told["runs"] == {configs[1].run_id: "missing"}
    assert main(["study", "run", "tiny", "--seed", "3"]) == 2
    assert "study 'tiny' has no seed 3; it has: 1, 2" in capsys.readouterr().err

    assert main(["study", "run", "tiny", "--jobs", "1", "--budget", "5m"]) == 0
    text = capsys.readouterr().out
    assert "demo constant reference, frozen, rate 0, seed 1: " in text
    assert "tiny: 2 runs: 2 finished now." in text
    assert set(store.ids()) == {config.run_id for config in configs}

    assert main(["study", "run", "tiny", "--json"]) == 0
    outcome = strict_json(capsys.readouterr().out)
    assert (outcome["stored"], outcome["done"]) == (2, 0)

    assert main(["study", "status", "tiny"]) == 0
    assert "constant     2       2          0        0       0        0" in (
        capsys.readouterr().out
    )

    other = grids.Study("other", "Another", "For tests.", tuple(configs[1:]))
    monkeypatch.setitem(grids._STUDIES, "other", lambda: other)
    first = grids.Study("first", "The first", "For tests.", tuple(configs[:1]))
    monkeypatch.setitem(grids._STUDIES, "first", lambda: first)
    assert main(["study", "publish", "other"]) == 0
    assert (
        f"Runs: 1 taken from the store {store.path}, 1 published in all."
        in capsys.readouterr().out
    )
    assert main(["study", "publish", "first", "other"]) == 0
    text = capsys.readouterr().out
    assert f"Runs: 2 taken from the store {store.path}, 2 published in all." in text
    assert "Changed: runs.csv" in text
    assert main(["study", "publish"]) == 0
    assert "Changed: nothing" in capsys.readouterr().out

    # On another machine, with an empty store, what is published is done.
    elsewhere = ["--store", str(tmp_path / "elsewhere"), "--json"]
    assert main(["study", "status", "tiny", *elsewhere]) == 0
    states = strict_json(capsys.readouterr().out)["runs"]
    assert states == {config.run_id: "published" for config in configs}
    assert main(["study", "run", "tiny", *elsewhere]) == 0
    outcome = strict_json(capsys.readouterr().out)
    assert (outcome["published"], outcome["total"]) == (2, 0)


def test_failed_runs_are_shown_and_change_the_exit_code(store, capsys, monkeypatch):
    (config,) = grids.cells(["constant"], [0.0], [1], dataset="demo")
    tiny = grids.Study("failing", "One", "For tests.", (config,))
    monkeypatch.setitem(grids._STUDIES, "failing", lambda: tiny)
    store.write_failure(config.run_id, config, "loss is nan", "Traceback ...")
    assert main(["study", "run", "failing"]) == 0
    text = capsys.readouterr().out
    assert "1 failed before (--retry tries them again)" in text
    assert "rate 0, seed 1: loss is nan" in text


def test_runs_that_found_the_gpu_full_fail_without_being_kept(
    store, capsys, monkeypatch
):
    (config,) = grids.cells(["constant"], [0.0], [1], dataset="demo")
    tiny = grids.Study("full", "One", "For tests.", (config,))
    monkeypatch.setitem(grids._STUDIES, "full", lambda: tiny)
    full = Outcome(total=1, failed=1, errors=["the GPU is full: fewer --jobs"])
    monkeypatch.setattr("msa.study.runner.run_study", lambda *_, **__: full)
    assert main(["study", "run", "full"]) == 1
    assert capsys.readouterr().out == "full: 1 runs: 1 failed now.\n"
    assert main(["study", "run", "full", "--json"]) == 1
    assert strict_json(capsys.readouterr().out)["errors"] == full.errors


def test_data_check_prints_and_writes_the_passport(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("msa.study.publish.results_dir", lambda: tmp_path)
    assert main(["data", "check", "demo", "--no-text", "--write"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("demo (synthetic), synthetic: valid. SHA-256 ")
    assert "Overlap" in captured.out
    assert (tmp_path / "passport" / "demo--synthetic" / "splits.csv").is_file()
    assert main(["data", "check", "demo", "--no-text", "--json"]) == 0
    found = strict_json(capsys.readouterr().out)
    assert {row["split"]: row["clips"] for row in found["splits"]} == {
        "train": 400,
        "valid": 100,
        "test": 150,
    }


# --- data that are not what they are called -------------------------------------------

MOSI = ["--dataset", "mosi", "--model", "constant"]


@pytest.fixture
def other_mosi(tiny_file, monkeypatch):
    """A file of one's own in the place of CMU-MOSI, with a value to repair."""

    def plant(content):
        content["train"]["audio"][1, 0, 0] = np.nan

    root = tiny_file(plant)
    monkeypatch.setenv("MSA_DATA", str(root))
    forget_data()
    yield root / "mosi" / "clip_context.pkl"
    forget_data()


def forget_data():
    for name in ("_dataset", "_prepared"):
        getattr(runs, name).cache_clear()


def warnings_in(text):
    return [line for line in text.splitlines() if line.startswith("warning: ")]


def tells_of_other_mosi(text):
    start = "warning: CMU-MOSI, clip-context: "
    repair, other = warnings_in(text)
    return repair.startswith(f"{start}train audio: 1 value(s) not finite") and (
        other.startswith(f"{start}mosi/clip_context.pkl: SHA-256 ")
    )


def test_train_warns_of_its_data_before_it_trains(
    store, other_mosi, capsys, monkeypatch
):
    assert main(["train", *MOSI]) == 0
    assert tells_of_other_mosi(capsys.readouterr().err)

    def diverges(*_):
        raise NonFiniteLoss("epoch 1: train task = nan")

    monkeypatch.setattr(runs, "_train", diverges)
    assert main(["train", *MOSI, "--again"]) == 2
    assert tells_of_other_mosi(capsys.readouterr().err)


def test_a_stored_run_of_other_data_is_told_as_such(store, other_mosi, capsys):
    assert main(["train", *MOSI]) == 0
    capsys.readouterr()
    before = hashlib.sha256(other_mosi.read_bytes()).hexdigest()[:12]
    assert main(["train", *MOSI]) == 0
    told = capsys.readouterr()
    assert ", stored before: no epochs" in told.out
    assert [before in line for line in warnings_in(told.err)] == [True]

    other_mosi.write_bytes(b"broken")
    now = hashlib.sha256(b"broken").hexdigest()[:12]
    assert main(["train", *MOSI]) == 0
    assert (
        f"stored before, made on other data (SHA-256 {before}…) than are here now "
        f"({now}…; --again makes it on these): no epochs"
    ) in capsys.readouterr().out

    other_mosi.unlink()
    assert main(["train", *MOSI]) == 0
    assert (
        "stored before, made on data that are not here now (no mosi/clip_context.pkl):"
    ) in capsys.readouterr().out


def test_a_stored_run_that_names_no_data_is_not_accused(store, capsys):
    assert main(TRAIN) == 0
    (run_id,) = store.ids()
    for made_on, told in ((None, "before: "), ("0" * 64, "before, made on other data")):
        place = {"data_sha256": made_on}
        store.write({**store.read(run_id), "environment": place})
        capsys.readouterr()
        assert main(TRAIN) == 0
        assert told in capsys.readouterr().out


def test_a_study_warns_of_its_data_once(store, other_mosi, capsys, monkeypatch):
    configs = grids.cells(["constant"], [0.0], [1, 2], dataset="mosi")
    tiny = grids.Study("noted", "Two constants", "For tests.", tuple(configs))
    monkeypatch.setitem(grids._STUDIES, "noted", lambda: tiny)
    nothing = Outcome(total=2, left=2)
    monkeypatch.setattr("msa.study.runner.run_study", lambda *_, **__: nothing)
    assert main(["study", "run", "noted"]) == 0
    assert tells_of_other_mosi(capsys.readouterr().err)


def test_a_study_says_which_of_its_runs_are_of_another_file(
    store, other_mosi, capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("MSA_RESULTS", str(tmp_path / "results"))
    configs = grids.cells(["constant"], [0.0], [1, 2], dataset="mosi")
    tiny = grids.Study("noted", "Two constants", "For tests.", tuple(configs))
    monkeypatch.setitem(grids._STUDIES, "noted", lambda: tiny)
    assert main(["train", *MOSI, "--seed", "1"]) == 0
    assert main(["study", "publish", "--other-data"]) == 0
    capsys.readouterr()
    commands = (
        ["study", "run", "noted", "--budget", "0s"],
        ["study", "status", "noted"],
    )
    for command in commands:
        assert main(command) == 0
        assert " count as done" not in capsys.readouterr().err

    other_mosi.write_bytes(other_mosi.read_bytes() + b"more")
    told = (
        " run was made on another file than the mosi/clip_context.pkl that is here now"
    )
    for command in commands:
        assert main(command) == 0
        assert f"1 stored{told}" in capsys.readouterr().err
    monkeypatch.setenv("MSA_STORE", str(tmp_path / "elsewhere"))
    for command in commands:
        assert main(command) == 0
        assert f"1 published{told}" in capsys.readouterr().err
    assert main([*commands[0], "--again"]) == 0
    assert " count as done" not in capsys.readouterr().err


def test_data_check_says_whether_the_file_is_the_published_one(
    other_mosi, capsys, monkeypatch
):
    monkeypatch.setattr("msa.data.passport.passport", lambda *_: {})
    sha256 = hashlib.sha256(other_mosi.read_bytes()).hexdigest()
    assert main(["data", "check", "mosi", "--no-text"]) == 0
    captured = capsys.readouterr()
    head = f"CMU-MOSI, clip-context: valid. SHA-256 {sha256}, "
    assert captured.out == f"{head}not that of the published file\n\n"
    assert tells_of_other_mosi(captured.err)

    published = dataclasses.replace(source("mosi"), sha256=sha256)
    monkeypatch.setattr("msa.data.load.source", lambda *_: published)
    assert main(["data", "check", "mosi", "--no-text"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{head}that of the published file\n\n"
    assert len(warnings_in(captured.err)) == 1


def test_data_that_are_as_they_should_be_make_no_noise(capsys, monkeypatch):
    monkeypatch.setattr("msa.data.passport.passport", lambda *_: {})
    assert main(["data", "check", "demo", "--no-text"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "published" not in captured.out  # generated: there is nothing to compare


@pytest.mark.exhaustive
def test_an_old_locale_costs_signs_and_no_command(tmp_path):
    # As on a system whose locale is not UTF-8 and that Python does not mend.
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for command in (["list"], [*TRAIN, "--store", str(tmp_path / "runs")]):
        done = subprocess.run(
            [sys.executable, "-m", "msa", *command],
            capture_output=True,
            text=True,
            env={**os.environ, **plain},
        )
        assert done.returncode == 0, done.stderr
    assert "Corr                        ?  higher" in done.stdout


def test_a_closed_pipe_is_no_error():
    code = "from msa.cli import main; import sys; sys.exit(main(['list', '--json']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
