"""Runs that take no time, and some that go wrong; worker processes import them."""

from __future__ import annotations

import os
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FAILS, DIES, HANGS = 7, 8, 9


@dataclass(frozen=True)
class Config:
    """What the runner wants of a RunConfig, without PyTorch: workers start at once."""

    seed: int
    dataset: str = "demo"
    view: str = "synthetic"
    model: str = "constant"
    variant: str = "reference"
    encoder: str = "minilm"
    encoder_mode: str = "frozen"
    missing_rate: float = 0.0
    max_epochs: int = 100
    keeps_checkpoints: bool = True
    seconds: float = 0.05

    @property
    def beyond(self) -> dict:
        return {}

    @property
    def unusual(self) -> dict:
        return {}

    @property
    def run_id(self) -> str:
        return f"{self.seed:016x}"


def grid(seeds) -> list[Config]:
    return [Config(seed) for seed in seeds]


def quick(config: Config, device: str, checkpoint: Path | None = None) -> dict:
    """Log that it began, wait a moment, return a record with a token of its own."""
    with Path(os.environ["FAKE_LOG"]).open("a") as log:
        log.write(f"{config.seed} {os.getpid()}\n")
    if config.seed == FAILS:
        raise ArithmeticError("loss is nan in epoch 3")
    if config.seed == DIES:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60 if config.seed == HANGS else 0.05)
    return {
        "run_id": config.run_id,
        "config": config,
        "metrics": {"test": {"MAE": config.seed / 100}},
        "curves": [],
        "predictions": np.zeros(3),
        "seconds": {"train": config.seconds},
        "environment": {"device": device},
        "token": uuid.uuid4().hex,
        "threads": os.environ["OMP_NUM_THREADS"],
    }


@dataclass(frozen=True)
class Job:
    """What ``bench models`` wants of a job, without PyTorch."""

    seed: int
    model: str = "constant"
    variant: str = "reference"
    shapes: str = "papers"
    encoder_mode: str = "frozen"


def measured(job: Job) -> dict:
    """Measure nothing, or die of it."""
    if job.seed == DIES:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"seed": job.seed}


def log() -> list[tuple[int, int]]:
    """Seed and process number of every run that began, in order."""
    path = Path(os.environ["FAKE_LOG"])
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(map(int, line.split())) for line in lines]
