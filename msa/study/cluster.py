"""Run a grid on many machines: the runner's pool on a Dask cluster.

The cluster computes and nothing else: the caller hands out one run per worker, gets its
record back and puts it into its own store, under the same claims as a run on this
machine. So a study may move between one machine and a cluster at any time.

A worker that is lost loses nothing but time: Dask gives its runs to another one. Only a
run that loses its worker several times over counts as failed. Checkpoints are kept
beside the store, which workers do not have: a run that loses its worker begins anew.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msa.study.runner import (
    BUSY,
    DONE,
    FAILED,
    PATIENCE_S,
    STORED,
    Report,
    Run,
    explain,
)
from msa.study.store import RunStore

if TYPE_CHECKING:
    from distributed import Client, Future

    from msa.train.config import RunConfig


class ClusterError(RuntimeError):
    """A cluster that cannot be used; the message says what to do."""


# A scheduler that is there answers at once.
_CONNECT_S = 15.0

# PyTorch has one random number generator per process: runs that share a process would
# take numbers from each other.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class _Answer:
    """What a worker sends back: a record, or why there is none."""

    seconds: float
    record: Any = None
    error: str = ""
    trace: str = ""
    lasting: bool = True  # whether the error would come again


def _compute(run: Run, config: RunConfig, device: str) -> _Answer:
    """Do one run; the body of a task."""
    with _ONE_AT_A_TIME:
        started = time.perf_counter()
        try:
            record = run(config, device=device)
        except Exception as error:
            line, lasting = explain(error, device)
            seconds = time.perf_counter() - started
            trace = traceback.format_exc()
            return _Answer(seconds, error=line, trace=trace, lasting=lasting)
        return _Answer(time.perf_counter() - started, record)


@dataclass
class _Task:
    config: RunConfig
    future: Future
    claim: contextlib.ExitStack


@dataclass
class ClusterPool:
    """Workers of a Dask cluster that take one run at a time.

    Has the interface of the runner's own pool of processes.

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``tcp://10.0.0.1:8786``.
    most : int or None
        Runs at the same time at most; one per worker when None.
    store : RunStore
        The caller's store.
    device : str
        Device of the workers.
    run : callable
        What does one run; importable by the workers.

    Raises
    ------
    ClusterError
        On entering, if Dask is not installed, if there is no scheduler at the address,
        or if it has no workers or workers with several threads.
    """

    address: str
    most: int | None
    store: RunStore
    device: str
    run: Run
    patience_s: float = PATIENCE_S
    tasks: list[_Task] = field(default_factory=list)
    _settled: list[tuple[RunConfig, Report]] = field(default_factory=list)
    _last_seen: float = 0.0

    def __enter__(self) -> ClusterPool:
        self._client = _connect(self.address, self.patience_s)
        threads = self._client.nthreads()
        several = [worker for worker, count in threads.items() if count > 1]
        if several:
            self._client.close()
            raise ClusterError(
                f"worker {several[0]} has {threads[several[0]]} threads: runs in one "
                "process would share its random numbers. Start workers with "
                "--nthreads 1, and several of them per machine (--nworkers)"
            )
        self._last_seen = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        # Workers cannot be stopped in the middle of a run: what they still compute is
        # given up, and nobody will ask for it.
        with contextlib.suppress(Exception):  # the scheduler may be gone
            self._client.cancel([task.future for task in self.tasks])
        for task in self.tasks:
            task.claim.close()
        self._client.close()

    @property
    def jobs(self) -> int:
        """Runs that can be computed at the same time now."""
        try:
            workers = len(self._client.nthreads())
        except Exception as error:
            raise ClusterError(f"lost the scheduler {self.address}: {error}") from error
        if workers:
            self._last_seen = time.monotonic()
        elif time.monotonic() - self._last_seen > self.patience_s:
            raise ClusterError(
                f"the scheduler {self.address} has had no worker for "
                f"{self.patience_s:.0f} s; start some, then the same command goes on"
            )
        return workers if self.most is None else min(workers, self.most)

    @property
    def running(self) -> list[RunConfig]:
        """Runs that were handed out and are not back."""
        return [task.config for task in self.tasks]

    @property
    def busy(self) -> list[Any]:
        """What is still to be reported."""
        return [*self.tasks, *self._settled]

    @property
    def idle(self) -> bool:
        """Whether there is a worker without a run."""
        return len(self.busy) < self.jobs

    def rest_needed(self, config: RunConfig) -> float:
        """Return that no part of a run is ever safe."""
        return math.inf

    def begin(self, config: RunConfig) -> None:
        """Hand a run out, unless another process has it or had it."""
        claim = contextlib.ExitStack()
        if not claim.enter_context(self.store.claim(config.run_id)):
            self._settled.append((config, Report(BUSY)))
        elif self.store.has(config.run_id):
            claim.close()
            self._settled.append((config, Report(STORED)))
        else:
            future = self._client.submit(
                _compute,
                self.run,
                config,
                self.device,
                # A name of its own: a cluster that has seen the run before would
                # answer from memory, also with an old failure.
                key=f"{config.run_id}-{uuid.uuid4().hex}",
                pure=False,
            )
            self.tasks.append(_Task(config, future, claim))

    def reports(self, timeout: float) -> Iterator[tuple[RunConfig, Report]]:
        """Yield what became of the runs that ended within ``timeout`` seconds.

        Raises
        ------
        ClusterError
            If the cluster gave runs up, after those that came back are stored.
        """
        while self._settled:
            yield self._settled.pop()
        ended = self._ended(timeout)
        # Those that were given up come last: they end the study.
        for task in sorted(ended, key=lambda task: task.future.cancelled()):
            self.tasks.remove(task)
            with task.claim:
                yield task.config, self._finish(task)

    def _ended(self, timeout: float) -> list[_Task]:
        from distributed import wait

        if not self.tasks:
            return []
        futures = [task.future for task in self.tasks]
        # Dask raises for any cancelled future, even if others are finished.
        ends = contextlib.suppress(TimeoutError, CancelledError)
        with self._client.as_current(), ends:
            wait(futures, timeout=timeout, return_when="FIRST_COMPLETED")
        return [task for task in self.tasks if task.future.done()]

    def _finish(self, task: _Task) -> Report:
        """Store what a worker sent; a task without an answer is a failed run."""
        config = task.config
        try:
            answer = _answer_of(task.future)
        except CancelledError as error:  # it is not the run's fault: no failure
            raise ClusterError(
                f"the scheduler {self.address} was stopped or has forgotten its runs; "
                "every run that came back is stored, and the same command does the rest"
            ) from error
        if answer.record is None:
            if answer.lasting:
                self.store.write_failure(
                    config.run_id, config, answer.error, answer.trace
                )
            return Report(FAILED, answer.seconds, answer.error)
        self.store.write(answer.record)
        return Report(DONE, answer.seconds)


def _answer_of(future: Future) -> _Answer:
    """Return what a worker sent, or why none sent anything."""
    error = future.exception()
    if error is None:
        return future.result()  # raises CancelledError if the scheduler forgot it
    line = f"{type(error).__name__}: {error}"
    return _Answer(0.0, error=f"the cluster gave the run up: {line}")


def _connect(address: str, patience_s: float) -> Client:
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(
            "--scheduler needs Dask: pip install '.[dask]', here and on the workers"
        ) from error
    try:
        timeout = f"{min(patience_s, _CONNECT_S)}s"
        client = Client(address, timeout=timeout, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} ({error}); start one with "
            "`dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`"
        ) from error
    try:
        client.wait_for_workers(1, timeout=patience_s)
    except TimeoutError as error:
        client.close()
        raise ClusterError(
            f"the scheduler {address} has no workers; start some with "
            f"`dask worker {address} --nthreads 1`"
        ) from error
    return client
