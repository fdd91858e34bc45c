"""Run a grid: several processes or a cluster, resumable, stopped by a clock.

Every finished run is in the store before anybody hears of it, so the study can be
killed at any moment and started again. Workers are fresh Python processes that stay
for the whole study: what a run leaves in memory (loaded data, text features) serves
the next one. Past one machine, :mod:`msa.study.cluster` has a pool with the same
interface.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from msa.study.durations import Durations
from msa.study.store import RunStore, StoreError

if TYPE_CHECKING:  # they bring PyTorch or Dask along, which only workers need
    from msa.study.cluster import ClusterPool
    from msa.train.config import RunConfig

DONE, STORED, BUSY, FAILED = "done", "stored", "busy", "failed"
"""What can become of a run: computed now, stored before, computed elsewhere, failed."""

Run = Callable[..., Any]
"""``run(config, device=..., checkpoint=...)`` returns what the store takes; importable
by name. On a cluster there is no ``checkpoint``, the file that a training goes on from.
"""

ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
}
"""Environment of a worker: the runs fill the cores, and sums keep one order."""

GPU_BYTES_PER_WORKER = 3e9
"""Memory of a GPU that a worker is taken to need when nobody says how many there are to
be. An estimate, from the CPU: the largest published run on CMU-MOSI takes 2.2 GB there,
and half a gigabyte is what CUDA itself takes in each process. The papers' own features
need more."""

# What PyTorch, CUDA and its libraries say when a GPU is full: each has errors of its
# own, so the words count.
_FULL = ("out of memory", "ALLOC_FAILED")

BEGIN_S, GO_ON_S = 900.0, 300.0
"""Seconds for which a run is begun, or taken up again, that will not be over by then.
An epoch that takes longer leaves no checkpoint, and its time is lost."""

# Seconds that a worker has to tidy up when it is told to end.
_GRACE_S = 5.0
PATIENCE_S = 60.0
"""Seconds that a cluster may be without a scheduler or workers."""


@dataclass(frozen=True)
class Report:
    """What became of one run: ``status``, its seconds, and an error in one line."""

    status: str
    seconds: float = 0.0
    error: str = ""


@dataclass
class Outcome:
    """What a call of :func:`run_study` achieved.

    Attributes
    ----------
    total : int
        Runs of the grid.
    stored : int
        Runs that were finished before.
    done, failed, busy : int
        Runs finished now, failed now, and held by another process.
    known_failures : int
        Runs not tried because they failed before.
    left : int
        Runs not begun or not finished when the budget ended.
    seconds : float
        Wall time.
    errors : list of str
        What went wrong in the runs that failed now, a line each.
    """

    total: int
    stored: int = 0
    done: int = 0
    failed: int = 0
    busy: int = 0
    known_failures: int = 0
    left: int = 0
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def runs_per_hour(self) -> float:
        """Finished runs per hour of this call."""
        return self.done / self.seconds * 3600 if self.seconds else 0.0


def execute(config: RunConfig, store: RunStore, device: str, run: Run) -> Report:
    """Do one run unless somebody did or does it, and store it.

    What the run raises is kept as its failure if it would come again (:func:`explain`).
    What the store raises is not: without a store there is no point in going on.
    """
    started = time.perf_counter()
    with store.claim(config.run_id) as ours:
        if not ours:
            return Report(BUSY)
        file = store.checkpoint_file(config.run_id)
        if store.has(config.run_id):
            file.unlink(missing_ok=True)  # of a process killed once it was stored
            return Report(STORED)
        try:
            record = run(config, device=device, checkpoint=file)
        except Exception as error:
            line, lasting = explain(error, device)
            if lasting:
                trace = traceback.format_exc()
                store.write_failure(config.run_id, config, line, trace)
            return Report(FAILED, time.perf_counter() - started, line)
        store.write(record)
    return Report(DONE, time.perf_counter() - started)


def explain(error: Exception, device: str) -> tuple[str, bool]:
    """Return what went wrong in a run, and whether it would go wrong again.

    It would not where a GPU was full: that is due to the runs beside it.
    """
    line = f"{type(error).__name__}: {error}"
    if device == "cpu" or not any(words in line for words in _FULL):
        return line, True
    first = line.splitlines()[0]
    return f"{first} (the GPU is full: try again with fewer --jobs)", False


def real_run(config: RunConfig, device: str, checkpoint: Path | None = None) -> Any:
    """Run a configuration; imports the trainer only in the process that trains."""
    from msa.train.run import run

    record = run(config, device=device, checkpoint=checkpoint)
    if device != "cpu":
        import torch

        torch.cuda.empty_cache()  # for the other workers on the same GPU
    return record


def run_study(
    configs: Sequence[RunConfig],
    store: RunStore,
    *,
    jobs: int | None = None,
    budget_s: float | None = None,
    device: str = "cpu",
    retry: bool = False,
    progress: bool = True,
    run: Run = real_run,
    scheduler: str | None = None,
    elsewhere: Iterable[tuple[RunConfig, float]] = (),
) -> Outcome:
    """Run what a grid still lacks, in its order.

    Parameters
    ----------
    configs : sequence of RunConfig
        The grid, by value: the first runs are worth the most.
    store : RunStore
        Where finished runs are and go.
    jobs : int, optional
        Worker processes; :func:`default_jobs` when left out. On a cluster the runs at
        the same time at most.
    budget_s : float, optional
        Seconds after which everything ends. A run that is not expected to fit into
        the rest waits for shorter ones, and is begun after them only if it would get to
        a checkpoint (:func:`_next`). A run that is not finished at the end goes on from
        its last checkpoint the next time; one without is given up.
    device : str
        ``"cpu"`` or ``"cuda"``.
    retry : bool
        Whether to try failed runs again.
    progress : bool
        Whether to print a line per run, and a bar on a terminal.
    run : callable
        What does one run.
    scheduler : str, optional
        Address of a Dask scheduler whose workers do the runs instead of processes here.
    elsewhere : iterable of (RunConfig, float)
        Runs that were done elsewhere on such a device, and their seconds: what the time
        of a run is judged by until one of its kind is finished here.

    Returns
    -------
    Outcome

    Raises
    ------
    StoreError
        If a stored run of the grid cannot be read, or a finished one not be stored.
    ClusterError
        If the cluster cannot be used or is lost.
    """
    grid = list({config.run_id: config for config in configs}.values())
    outcome = Outcome(total=len(grid))
    failures = {} if retry else store.failures()
    pending = []
    seconds = Durations(elsewhere)
    for config in grid:
        if store.has(config.run_id):
            outcome.stored += 1
            seconds.learn_from(store, config, device)
        elif config.run_id in failures:
            outcome.known_failures += 1
        else:
            pending.append(config)
    outcome.left = len(pending)
    started = time.monotonic()
    deadline = started + (math.inf if budget_s is None else budget_s)
    with (
        _Display(outcome, progress) as display,
        _pool(jobs, len(pending), store, device, run, scheduler) as pool,
    ):
        while True:
            while pool.idle and (
                config := _next(
                    pending, seconds, deadline - time.monotonic(), pool.rest_needed
                )
            ):
                pending.remove(config)
                pool.begin(config)
            rest = deadline - time.monotonic()
            if not pool.busy or rest <= 0:
                break
            for config, report in pool.reports(timeout=min(rest, 1.0)):
                _count(outcome, report)
                if report.status == DONE:  # as stored: with what it took before
                    seconds.learn_from(store, config, device)
                outcome.seconds = time.monotonic() - started
                ahead = seconds.total([*pending, *pool.running]) / max(pool.jobs, 1)
                display.show(config, report, ahead)
    outcome.seconds = time.monotonic() - started
    return outcome


def _pool(
    jobs: int | None,
    runs: int,
    store: RunStore,
    device: str,
    run: Run,
    scheduler: str | None,
) -> _Pool | ClusterPool:
    if not runs:
        return _Pool(0, store, device, run)
    if scheduler is None:
        return _Pool(min(jobs or default_jobs(device), runs), store, device, run)
    from msa.study.cluster import ClusterPool

    return ClusterPool(scheduler, jobs, store, device, run)


def default_jobs(device: str) -> int:
    """Return how many workers there are unless somebody says: one per core.

    On a GPU no more than its free memory has room for (:data:`GPU_BYTES_PER_WORKER`).
    """
    cores = os.cpu_count() or 1
    if device == "cpu":
        return cores
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(cores, int(free // GPU_BYTES_PER_WORKER)))


def status(configs: Sequence[RunConfig], store: RunStore) -> dict[str, str]:
    """Return what is known of every run of a grid.

    Returns
    -------
    dict of str to str
        Run id to ``"stored"``, ``"running"``, ``"failed"`` or ``"missing"``.
    """
    failures, claims = store.failures(), store.claims()
    found = {}
    for config in configs:
        if store.has(config.run_id):
            found[config.run_id] = "stored"
        elif config.run_id in claims:
            found[config.run_id] = "running"
        elif config.run_id in failures:
            found[config.run_id] = "failed"
        else:
            found[config.run_id] = "missing"
    return found


def describe(config: RunConfig) -> str:
    """Name a run in a line of a log."""
    special = "".join(
        f", {name.replace('_', ' ')} {value}"
        for name, value in {**config.beyond, **config.unusual}.items()
    )
    return (
        f"{config.dataset} {config.model} {config.variant}, {config.encoder_mode}, "
        f"rate {config.missing_rate:g}, seed {config.seed}{special}"
    )


def duration(seconds: float) -> str:
    """Write a time span for people: ``"42 s"``, ``"9 min"``, ``"1 h 30 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def _count(outcome: Outcome, report: Report) -> None:
    outcome.left -= 1
    setattr(outcome, report.status, getattr(outcome, report.status) + 1)
    if report.error:
        outcome.errors.append(report.error)


def _next(
    pending: list[RunConfig],
    seconds: Durations,
    rest: float,
    rest_needed: Callable[[RunConfig], float],
) -> RunConfig | None:
    """First run that should be over in time; a kind never seen is given the chance.

    Where none is, the first that has enough time for what it trains not to be lost.
    """
    if rest <= 0:
        return None
    for config in pending:
        if (seconds.of(config) or 0.0) <= rest:
            return config
    return next((c for c in pending if rest_needed(c) <= rest), None)


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    connection: Connection
    config: RunConfig | None = None


@dataclass
class _Pool:
    """Worker processes that take one run at a time; a dead one is replaced.

    So is one whose run failed on a GPU: after some errors of CUDA everything else that
    the process does there fails, too.
    """

    jobs: int
    store: RunStore
    device: str
    run: Run
    workers: list[_Worker] = field(default_factory=list)

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self.workers)

    @property
    def busy(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.config]

    @property
    def running(self) -> list[RunConfig]:
        return [worker.config for worker in self.busy]

    @property
    def idle(self) -> bool:
        return len(self.busy) < self.jobs

    def rest_needed(self, config: RunConfig) -> float:
        """Return the seconds after which a part of a run is safe, not the whole."""
        if not config.keeps_checkpoints:
            return math.inf
        begun = self.store.checkpoint_file(config.run_id).exists()
        return GO_ON_S if begun else BEGIN_S

    def begin(self, config: RunConfig) -> None:
        """Give a run to an idle worker, started if there is none."""
        waiting = (w for w in self.workers if not w.config and w.process.is_alive())
        worker = next(waiting, None) or self._start()
        worker.config = config
        # One that dies just now shows when its answer is awaited.
        with contextlib.suppress(BrokenPipeError):
            worker.connection.send(config)

    def reports(self, timeout: float) -> Iterator[tuple[RunConfig, Report]]:
        """Yield what became of the runs that ended within ``timeout`` seconds.

        Raises
        ------
        StoreError
            If a worker could not use the store; its run has neither been stored nor
            failed.
        """
        by_connection = {worker.connection: worker for worker in self.busy}
        for connection in wait(list(by_connection), timeout):
            worker = by_connection[connection]
            config, worker.config = worker.config, None
            try:
                report = connection.recv()
            except (EOFError, ConnectionResetError):
                report = self._bury(worker, config)
            else:
                if isinstance(report, StoreError):
                    raise report
                if report.status == FAILED and self.device != "cpu":
                    _end([worker])
                    self.workers.remove(worker)
            yield config, report

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work,
            args=(theirs, self.store.path, self.device, self.run),
            daemon=True,
        )
        with _variables(ONE_THREAD):
            process.start()
        theirs.close()  # so that its death closes the pipe
        self.workers.append(_Worker(process, ours))
        return self.workers[-1]

    def _bury(self, worker: _Worker, config: RunConfig) -> Report:
        self.workers.remove(worker)
        worker.process.join()
        worker.connection.close()
        code = worker.process.exitcode
        line = f"the worker process died with exit code {code}"
        if code == -signal.SIGKILL:
            line += " (killed from outside; if nobody did it, memory ran out)"
        self.store.write_failure(config.run_id, config, line, "")
        return Report(FAILED, error=line)


def _end(workers: Sequence[_Worker]) -> None:
    """See workers to their end."""
    for worker in workers:
        if worker.config:
            # What it finished is stored; what it computes goes on from a checkpoint.
            worker.process.terminate()
        worker.connection.close()  # tells an idle one to end
    patience = time.monotonic() + _GRACE_S
    for worker in workers:
        worker.process.join(max(0.0, patience - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _work(connection: Connection, path: os.PathLike, device: str, run: Run) -> None:
    """Do runs until told to stop; the body of a worker process."""
    # Ctrl-C reaches the whole process group: it is for the parent to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Unwinds the run: its claim and half-written files go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    store = RunStore(path)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent is gone
        while True:
            config = connection.recv()
            try:
                answer = execute(config, store, device, run)
            except StoreError as error:
                answer = error  # for the parent to raise: no run can be stored
            connection.send(answer)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


@contextlib.contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that start inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Display:
    """A line per run, a bar on a terminal."""

    def __init__(self, outcome: Outcome, progress: bool) -> None:
        self._outcome, self._progress = outcome, progress

    def __enter__(self) -> _Display:
        self._bar = tqdm(
            total=self._outcome.left,
            unit="run",
            disable=None if self._progress else True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, config: RunConfig, report: Report, ahead: float) -> None:
        """Print what became of a run; ``ahead``: seconds the rest should take."""
        if not self._progress:
            return
        speed = f"{self._outcome.runs_per_hour:.0f} runs/h"
        rest = "" if math.isnan(ahead) else f", about {duration(ahead)} left"
        words = {DONE: f"{report.seconds:.1f} s", STORED: "was stored meanwhile"}
        words |= {BUSY: "another process has it", FAILED: f"failed: {report.error}"}
        left = f"{self._outcome.left} to go, {speed}{rest}"
        self._bar.update()
        tqdm.write(f"{describe(config)}: {words[report.status]} [{left}]")
