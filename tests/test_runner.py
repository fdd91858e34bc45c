"""The study runner: resumable, stopped by a clock, not stopped by a failing run."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import fake_runs
import psutil
import pytest
import torch
from fake_runs import DIES, FAILS, HANGS, grid, quick

from msa.study import runner
from msa.study.durations import Durations
from msa.study.runner import (
    FAILED,
    STORED,
    default_jobs,
    describe,
    duration,
    execute,
    real_run,
    run_study,
    status,
)
from msa.study.store import RunStore, StoreError
from msa.train.config import RunConfig


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    return RunStore(tmp_path / "runs")


def study(configs, store, **options):
    options = {"jobs": 2, "progress": False, "run": quick, **options}
    return run_study(configs, store, **options)


def seeds_begun():
    return [seed for seed, _ in fake_runs.log()]


def test_every_run_once_in_order_and_never_again(store, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    configs = grid([3, 1, 2])
    outcome = study([*configs, configs[0]], store, jobs=1)
    assert (outcome.total, outcome.done, outcome.left) == (3, 3, 0)
    assert seeds_begun() == [3, 1, 2]
    assert store.ids() == sorted(config.run_id for config in configs)
    assert store.read(configs[0].run_id)["threads"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "3"
    again = study(configs, store)
    assert (again.stored, again.done) == (3, 0)
    assert len(seeds_begun()) == 3


def test_jobs_work_side_by_side_in_lasting_processes(store):
    study(grid(range(10, 30)), store, jobs=2)
    processes = {pid for _, pid in fake_runs.log()}
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_failures_stop_nobody_and_wait_for_retry(store):
    configs = grid([1, FAILS, DIES, 2])
    outcome = study(configs, store)
    assert (outcome.done, outcome.failed, outcome.left) == (2, 2, 0)
    assert "ArithmeticError: loss is nan in epoch 3" in outcome.errors
    failures = store.failures()
    failed, died = (failures[configs[i].run_id] for i in (1, 2))
    assert failed["error"] == "ArithmeticError: loss is nan in epoch 3"
    assert "fake_runs.py" in failed["traceback"]
    assert failed["config"]["seed"] == FAILS
    assert "exit code -9" in died["error"]
    assert list(status(configs, store).values()) == [
        "stored",
        "failed",
        "failed",
        "stored",
    ]

    again = study(configs, store)
    assert (again.stored, again.known_failures, again.failed) == (2, 2, 0)
    assert len(seeds_begun()) == 4
    retried = study(configs, store, retry=True)
    assert retried.failed == 2
    assert Counter(seeds_begun()) == {1: 1, 2: 1, FAILS: 2, DIES: 2}


def test_after_a_failure_on_a_gpu_another_process_goes_on(store):
    outcome = study(grid([1, FAILS, DIES, 2]), store, jobs=1, device="cuda")
    assert (outcome.done, outcome.failed) == (2, 2)
    first, failed, died, last = [pid for _, pid in fake_runs.log()]
    assert first == failed
    assert len({failed, died, last}) == 3
    assert not alive({failed, died, last})


def test_a_full_gpu_is_told_and_is_no_known_failure(store):
    def full(config, device, checkpoint):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    (config,) = grid([1])
    report = execute(config, store, "cuda", full)
    assert report.status == FAILED
    assert "Tried to allocate 2 GiB. (the GPU is full: " in report.error
    assert "fewer --jobs" in report.error
    assert store.failures() == {}
    execute(config, store, "cpu", full)
    assert list(store.failures()) == [config.run_id]


@pytest.mark.parametrize(
    ("cores", "free", "jobs"), [(16, 10e9, 3), (2, 140e9, 2), (16, 1e9, 1)]
)
def test_a_gpu_gets_no_more_workers_than_it_has_room_for(
    cores, free, jobs, monkeypatch
):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 140e9))
    assert default_jobs("cuda") == jobs
    assert default_jobs("cpu") == cores


def test_a_worker_keeps_no_freed_memory_of_a_gpu(monkeypatch):
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    monkeypatch.setattr("msa.train.run.run", lambda config, **_: config)
    (config,) = grid([1])
    assert real_run(config, "cpu") == config
    assert not emptied
    assert real_run(config, "cuda") == config
    assert emptied


def test_a_store_that_takes_nothing_ends_the_study_and_fails_no_run(store):
    configs = grid([1, 2, 3])
    store.path.mkdir()
    (store.path / configs[0].run_id[:2]).write_text("where its folder should be")
    with pytest.raises(StoreError, match="nothing can be written into the store"):
        study(configs, store, jobs=1)
    assert seeds_begun() == [1]
    assert set(status(configs, store).values()) == {"missing"}


def test_the_budget_ends_it_and_keeps_what_is_finished(store):
    configs = grid([1, HANGS, 2, 3])
    started = time.monotonic()
    outcome = study(configs, store, budget_s=4)
    assert time.monotonic() - started < 20
    assert (outcome.done, outcome.left) == (3, 1)
    assert (
        list(status(configs, store).values()) == ["stored", "missing"] + ["stored"] * 2
    )


def test_a_run_that_cannot_fit_is_not_begun(store):
    # A stored run of the same kind took an hour.
    first, second = grid([1, 2])
    record = {
        "metrics": {},
        "curves": [],
        "predictions": [],
        "seconds": {"train": 3600},
        "environment": {"device": "cpu"},
    }
    store.write({"run_id": first.run_id, "config": first, **record})
    outcome = study([first, second], store, budget_s=60)
    assert (outcome.stored, outcome.done, outcome.left) == (1, 0, 1)
    assert seeds_begun() == []
    # An hour on another device says nothing.
    record["environment"] = {"device": "cuda"}
    store.write({"run_id": first.run_id, "config": first, **record})
    outcome = study([first, second], store, budget_s=60)
    assert (outcome.stored, outcome.done, outcome.left) == (1, 1, 0)


@pytest.fixture
def hours(store, monkeypatch):
    """Study with a minute left runs that take an hour each; say which were begun."""
    monkeypatch.setattr(runner, "BEGIN_S", 50)
    monkeypatch.setattr(runner, "GO_ON_S", 20)

    def begun(configs, **options):
        elsewhere = [(config, 3600.0) for config in configs]
        before = len(seeds_begun())
        study(configs, store, jobs=1, elsewhere=elsewhere, **options)
        return seeds_begun()[before:]

    return begun


def test_a_long_run_is_begun_where_it_gets_to_a_checkpoint(hours, store):
    first, second = (dataclasses.replace(c, seconds=3600.0) for c in grid([1, 2]))
    assert hours([first, second], budget_s=40) == []
    kept = store.checkpoint_file(second.run_id)
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert hours([first, second], budget_s=40) == [2]
    assert not kept.exists()
    assert hours([first, second], budget_s=60) == [1]


def test_what_fits_comes_before_what_does_not(store, monkeypatch):
    monkeypatch.setattr(runner, "BEGIN_S", 30)
    long, short = grid([1, 2])
    short = dataclasses.replace(short, model="text-linear")
    elsewhere = [(long, 3600.0), (short, 1.0)]
    outcome = study([long, short], store, jobs=1, budget_s=60, elsewhere=elsewhere)
    assert outcome.done == 2
    assert seeds_begun() == [2, 1]


def test_a_long_run_without_checkpoints_is_not_begun_and_stops_none(hours):
    scored, usual = grid([1, 2])
    scored = dataclasses.replace(scored, keeps_checkpoints=False)
    usual = dataclasses.replace(usual, seconds=3600.0)
    assert hours([scored, usual], budget_s=60) == [2]


def test_a_run_that_went_on_counts_with_all_its_parts(store, monkeypatch):
    monkeypatch.setattr(runner, "BEGIN_S", math.inf)
    first, second = grid([1, 2])
    # It takes no time now, and an hour as it is stored: the other would, too.
    first = dataclasses.replace(first, seconds=3600.0)
    outcome = study([first, second], store, jobs=1, budget_s=60)
    assert (outcome.done, outcome.left) == (1, 1)
    assert seeds_begun() == [1]


def test_a_checkpoint_of_a_stored_run_goes(store):
    (config,) = grid([1])
    study([config], store, jobs=1)
    kept = store.checkpoint_file(config.run_id)
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert execute(config, store, "cpu", quick).status == STORED
    assert not kept.exists()


def test_runs_done_elsewhere_tell_the_time_until_one_is_done_here(store):
    first, second, third = grid([1, 2, 3])
    elsewhere = [(first, 3600.0)]
    outcome = study([second], store, budget_s=60, elsewhere=elsewhere)
    assert (outcome.done, outcome.left) == (0, 1)
    study([second], store)
    outcome = study([second, third], store, budget_s=60, elsewhere=elsewhere)
    assert (outcome.stored, outcome.done) == (1, 1)


def test_a_sum_of_durations_says_what_it_does_not_know():
    first, second = grid([1, 2])
    assert math.isnan(Durations().total([first]))
    durations = Durations([(first, 10.0)])
    other = RunConfig.resolve(model="text-linear", dataset="demo")
    assert durations.split([second, other]) == (10.0, 1)
    assert durations.total([second, other]) == 20.0
    durations.add(second, 2.0)
    assert durations.split([first]) == (2.0, 0)


def test_a_run_that_another_process_holds_is_left_to_it(store):
    configs = grid([1, 2])
    with store.claim(configs[0].run_id):
        assert list(status(configs, store).values()) == ["running", "missing"]
        outcome = study(configs, store)
    assert (outcome.busy, outcome.done) == (1, 1)
    assert seeds_begun() == [2]


def test_lines_tell_speed_and_rest(store, capsys):
    study(grid([1, FAILS]), store, jobs=1, progress=True)
    output = capsys.readouterr()
    first, second = output.out.splitlines()
    assert first.startswith("demo constant reference, frozen, rate 0, seed 1: ")
    assert "1 to go" in first
    assert "runs/h, about 0 s left]" in first
    assert "failed: ArithmeticError: loss is nan in epoch 3" in second
    assert output.err == ""  # no bar without a terminal


STUDY = """
import sys
import fake_runs
from msa.study.runner import run_study
from msa.study.store import RunStore
configs = fake_runs.grid(range(100, 130))
run_study(configs, RunStore(sys.argv[1]), jobs=2, run=fake_runs.quick)
"""


def alive(processes: set[int]) -> set[int]:
    found = set()
    for pid in processes:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.add(pid)
        except psutil.NoSuchProcess:
            pass
    return found


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_kill_9_in_the_middle_loses_and_doubles_nothing(store):
    configs = grid(range(100, 130))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", STUDY, str(store.path)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL
    ) as process:
        wait_for(lambda: len(store.ids()) >= 5)
        process.send_signal(signal.SIGKILL)
    workers = {pid for _, pid in fake_runs.log()}
    assert workers
    wait_for(lambda: not alive(workers), seconds=10)

    kept = {run_id: store.read(run_id)["token"] for run_id in store.ids()}
    assert 5 <= len(kept) < len(configs)
    outcome = study(configs, store)
    assert (outcome.stored, outcome.done) == (len(kept), len(configs) - len(kept))
    assert store.ids() == sorted(config.run_id for config in configs)
    assert {run_id: store.read(run_id)["token"] for run_id in kept} == kept
    # Only the runs that were cut off began twice, one per worker at most.
    assert len(seeds_begun()) <= len(configs) + 2
    assert not list(store.path.glob("**/*.tmp"))


def test_durations_for_people():
    assert [duration(s) for s in (0.4, 89, 100, 3599, 5400)] == [
        "0 s",
        "89 s",
        "2 min",
        "1 h 00 min",
        "1 h 30 min",
    ]


def test_a_run_with_other_settings_is_told_from_the_usual_one():
    usual = RunConfig.resolve(dataset="demo", model="LMF", seed=3)
    other = RunConfig.resolve(
        dataset="demo", model="LMF", seed=3, hyper={"lr": 0.25}, data_order_seed=4
    )
    assert describe(usual) == "demo LMF paper, frozen, rate 0, seed 3"
    assert describe(other) == f"{describe(usual)}, data order seed 4, lr 0.25"
