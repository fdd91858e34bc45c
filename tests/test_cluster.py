"""The runner on a real local Dask cluster: two worker processes, one of them killed."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections import Counter
from types import SimpleNamespace

import fake_runs
import pytest
from fake_runs import FAILS, grid, quick

from msa.study.runner import run_study
from msa.study.store import RunStore

pytest.importorskip(
    "distributed", reason="needs Dask, an optional extra: pip install '.[dask]'"
)

from msa.study.cluster import ClusterError, ClusterPool, _compute, _Task


class CountingStore(RunStore):
    """Remembers what was written, and in which process."""

    def __init__(self, path):
        super().__init__(path)
        self.written = []

    def write(self, record):
        self.written.append(record["run_id"])
        return super().write(record)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    return CountingStore(tmp_path / "runs")


def local_cluster(workers, threads=1):
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        processes=threads == 1,
        dashboard_address=None,
    )


@pytest.fixture
def small_cluster(monkeypatch):
    """A worker in a thread of this process, which starts at once."""
    from distributed import LocalCluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = {"processes": False, "dashboard_address": None}
    with LocalCluster(n_workers=1, threads_per_worker=1, **options) as cluster:
        yield cluster


@contextlib.contextmanager
def one_worker_killed(begun, killed):
    """Kill the first process that began a run, in the middle of a later one."""
    over = threading.Event()

    def kill():
        while len(fake_runs.log()) < begun and not over.is_set():
            time.sleep(0.005)
        if not over.is_set():
            _, pid = fake_runs.log()[0]
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_killed_worker_loses_and_doubles_nothing(store):
    configs = grid([*range(100, 130), FAILS])
    killed = []
    with local_cluster(2) as cluster, one_worker_killed(8, killed):
        outcome = run_study(
            configs,
            store,
            run=quick,
            progress=False,
            scheduler=cluster.scheduler_address,
        )
    assert (outcome.done, outcome.failed, outcome.left) == (30, 1, 0)
    good = [config.run_id for config in configs if config.seed != FAILS]
    assert Counter(store.written) == dict.fromkeys(good, 1)
    assert store.ids() == sorted(good)
    begun = Counter(seed for seed, _ in fake_runs.log())
    assert set(begun) == {config.seed for config in configs}
    # What the killed worker had in hand began twice, nothing else did.
    assert sum(begun.values()) <= len(configs) + 2
    processes = {pid for _, pid in fake_runs.log()}
    assert len(processes) >= 2
    assert len(killed) == 1
    assert set(killed) < processes
    assert os.getpid() not in processes
    failure = store.failures()[configs[-1].run_id]
    assert failure["error"] == "ArithmeticError: loss is nan in epoch 3"
    assert "fake_runs.py" in failure["traceback"]
    assert not store.claims()


def all_ended(pool):
    end = time.monotonic() + 30
    while not all(task.future.done() for task in pool.tasks):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_runs_that_came_back_are_stored_before_a_forgotten_one_ends_the_study(
    store, small_cluster
):
    forgotten, *kept = configs = grid([1, 2, 3])
    with ClusterPool(
        small_cluster.scheduler_address, None, store, "cpu", quick
    ) as pool:
        for config in configs:
            pool.begin(config)
        all_ended(pool)
        pool.tasks[0].future.cancel()
        reports = pool.reports(timeout=5)
        assert [next(reports)[0] for _ in kept] == kept
        with pytest.raises(ClusterError, match=r"forgotten its runs; .* is stored"):
            next(reports)
    assert store.ids() == [config.run_id for config in kept]
    assert not store.has(forgotten.run_id)
    assert store.failures() == store.claims() == {}


def test_a_scheduler_that_stops_is_told_as_such(store, small_cluster):
    with ClusterPool(
        small_cluster.scheduler_address, None, store, "cpu", quick
    ) as pool:
        pool.begin(grid([1])[0])
        small_cluster.close()
        with pytest.raises(ClusterError, match="was stopped"):
            next(pool.reports(timeout=5))
    assert store.failures() == store.claims() == {}


def test_no_long_run_is_begun_that_could_not_be_finished(store):
    (config,) = grid([1])
    pool = ClusterPool("", None, store, "cpu", quick)
    assert pool.rest_needed(config) == math.inf


def test_a_full_gpu_is_no_known_failure(store):
    def full(config, device):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.")

    (config,) = grid([1])
    for device, kept in (("cuda", 0), ("cpu", 1)):
        answer = _compute(full, config, device)
        future = SimpleNamespace(exception=lambda: None, result=lambda a=answer: a)
        task = _Task(config, future, contextlib.ExitStack())
        pool = ClusterPool("", None, store, device, full)
        assert pool._finish(task).error == answer.error
        assert len(store.failures()) == kept


def test_workers_with_several_threads_are_refused(store):
    # One process has one random number generator, which two runs would share.
    with (
        local_cluster(1, threads=2) as cluster,
        pytest.raises(ClusterError, match="--nthreads 1"),
        ClusterPool(cluster.scheduler_address, None, store, "cpu", quick),
    ):
        pass


def test_a_scheduler_that_does_not_answer_is_named(store):
    pool = ClusterPool("tcp://127.0.0.1:9", None, store, "cpu", quick, patience_s=0.5)
    with pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9 .*dask scheduler"):
        pool.__enter__()
