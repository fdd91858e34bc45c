"""How many runs an hour, packed and one after another, and how their cost grows.

Two measurements, each a list of rows for a file below ``results/benchmarks/``:

pace
    One small grid, done in three ways (:data:`WAYS`), and packed once more with fewer
    runs, for how the cost grows with their number.
growth
    Seconds to train one epoch on random tensors while the number of samples, the length
    of the sequences or the batch changes, everything else fixed.

A cost that grows as a power has a straight line for its logarithm; the slope is the
exponent (:func:`exponents`): 1 is proportional, 0 is free.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from msa.bench import inputs
from msa.bench.table import merge_rows
from msa.bench.timing import BenchError, entry_of
from msa.data.contract import MODALITIES
from msa.data.paths import repo_root, results_dir
from msa.models.base import Shape
from msa.study.runner import ONE_THREAD, Run, real_run, run_study
from msa.study.store import RunStore
from msa.train.config import RunConfig
from msa.train.environment import environment
from msa.train.trainer import fit

SINGLE, SEQUENTIAL, PACKED = "single", "sequential", "packed"

WAYS = {
    SINGLE: "`python -m msa train` for one run after another, a process each",
    SEQUENTIAL: "`python -m msa study run --jobs 1`: one lasting process",
    PACKED: "`python -m msa study run`: as many lasting processes as jobs",
}
"""Ways to do a grid, with what each is."""

MODELS = ("MFMB-Net", "MIT-FRNet", "TFR-Net")
"""What is measured if no models are named: both papers and their common ancestor."""

MISSING_RATE = inputs.MISSING_RATE

AXES = {
    "samples": (96, 192, 384, 768),
    "steps": (8, 16, 32, 64),
    "batch": (6, 12, 24, 48),
}
"""Values of what is varied; :data:`USUAL` holds while another one varies."""

USUAL = {"samples": 192, "steps": 16, "batch": 24}

_WIDTHS = {"text": 384, "audio": 77, "vision": 16}  # those of CMU-MOSI, clip-context
_PROVENANCE = ("device", "device_name", "cpu", "torch", "python", "commit", "dirty")
PACE_KEYS = (
    *("way", "jobs", "runs", "dataset", "models", "max_epochs", "missing_rate"),
    *("device", "device_name"),
)
GROWTH_KEYS = ("axis", "value", "model", "samples", "steps", "batch")
GROWTH_KEYS += ("device", "device_name")


# --- runs per hour --------------------------------------------------------------------


def grid(
    dataset: str, models: Sequence[str], runs: int, max_epochs: int
) -> list[RunConfig]:
    """Return runs that take turns over the models, each with a seed of its own."""
    return [
        RunConfig.resolve(
            dataset=dataset,
            model=models[number % len(models)],
            missing_rate=MISSING_RATE,
            seed=1 + number,
            max_epochs=max_epochs,
        )
        for number in range(runs)
    ]


@dataclass(frozen=True)
class Pace:
    """One way to do one grid.

    Attributes
    ----------
    way : str
        One of :data:`WAYS`.
    jobs : int
        Runs at the same time.
    configs : sequence of RunConfig
        The grid.
    device : str
    """

    way: str
    jobs: int
    configs: Sequence[RunConfig]
    device: str = "cpu"


def paces(
    configs: Sequence[RunConfig], jobs: int, device: str, ways: Sequence[str]
) -> list[Pace]:
    """Return what is measured for a grid: the ways, and packed on parts of the grid."""
    found = [
        Pace(way, jobs if way == PACKED else 1, configs, device)
        for way in WAYS
        if way in ways
    ]
    if PACKED in ways:
        parts = sorted({len(configs) // 4, len(configs) // 2} - {0})
        found += [Pace(PACKED, jobs, configs[:part], device) for part in parts]
    return found


def measure_pace(pace: Pace, run: Run = real_run) -> dict[str, object]:
    """Do a grid in an empty store and return what it took.

    Returns
    -------
    dict
        A row of ``results/benchmarks/runner.csv``: what was done, on what, and
        ``seconds``, ``seconds_per_run`` (wall time divided by runs) and
        ``runs_per_hour``.

    Raises
    ------
    BenchError
        If a run failed.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if pace.way == SINGLE:
            for config in pace.configs:
                _train(config, folder, pace.device)
        else:
            _study(pace, RunStore(folder), run)
    seconds = time.perf_counter() - started
    first, runs = pace.configs[0], len(pace.configs)
    return {
        "way": pace.way,
        "jobs": pace.jobs,
        "runs": runs,
        "dataset": first.dataset,
        "models": " ".join(sorted({config.model for config in pace.configs})),
        "max_epochs": first.max_epochs,
        "missing_rate": first.missing_rate,
        "seconds": seconds,
        "seconds_per_run": seconds / runs,
        "runs_per_hour": runs / seconds * 3600,
        "cores": os.cpu_count(),
        **_provenance(pace.device),
    }


def warm_up(configs: Sequence[RunConfig], device: str) -> None:
    """Do one run, so that text features are on the disk for whoever is timed first."""
    with tempfile.TemporaryDirectory() as folder:
        _study(Pace(SEQUENTIAL, 1, configs[:1], device), RunStore(folder), real_run)


def _train(config: RunConfig, folder: str, device: str) -> None:
    arguments = shlex.split(config.command())[1:]
    done = subprocess.run(
        [sys.executable, *arguments, "--store", folder, "--device", device],
        cwd=repo_root(),
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"{config.command()} failed: {done.stderr.strip()[-500:]}")


def _study(pace: Pace, store: RunStore, run: Run) -> None:
    outcome = run_study(
        pace.configs,
        store,
        jobs=pace.jobs,
        device=pace.device,
        progress=False,
        run=run,
    )
    if outcome.done != len(pace.configs):
        raise BenchError(
            f"{len(pace.configs) - outcome.done} of {len(pace.configs)} runs were not "
            f"finished: {'; '.join(dict.fromkeys(outcome.errors))}"
        )


# --- growth ---------------------------------------------------------------------------


def measure_growth(
    model: str, axis: str, value: int, device: str = "cpu", repeats: int = 3
) -> dict[str, object]:
    """Time one training epoch on random tensors, all sequences of full length.

    Parameters
    ----------
    model : str
        A trained model.
    axis : str
        What is varied: one of :data:`AXES`.
    value : int
        Its value.
    device : str
    repeats : int
        Epochs timed after a first one; the fastest counts, because whatever else the
        machine does only adds.

    Returns
    -------
    dict
        A row of ``results/benchmarks/growth.csv``, with ``seconds`` per epoch.
    """
    torch.set_num_threads(1)
    size = {**USUAL, axis: value}
    entry = entry_of(model)
    hyper = entry.resolve(
        "mosi", entry.default_variant, {"batch_size": size["batch"], "early_stop": 99}
    )
    shapes = {m: Shape(size["steps"], _WIDTHS[m]) for m in MODALITIES}
    train, few = (
        inputs.random_split(
            name,
            {m: torch.full((rows,), size["steps"]) for m in MODALITIES},
            shapes,
            device=device,
        )
        for name, rows in (("train", size["samples"]), ("valid", 2))
    )
    torch.manual_seed(inputs.SEED)
    net = entry.build(shapes, hyper).to(device)
    seconds = [
        fit(net, train, few, hyper, seed=inputs.SEED, max_epochs=1).seconds
        for _ in range(1 + repeats)
    ]
    return {
        "axis": axis,
        "value": value,
        "model": entry.name,
        **size,
        "seconds": min(seconds[1:]),
        **_provenance(device),
    }


def growth_points(models: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """Yield model, axis and value of everything that the growth is measured at."""
    for model in models:
        for axis, values in AXES.items():
            for value in values:
                yield model, axis, value


def exponents(pace: pd.DataFrame, growth: pd.DataFrame) -> pd.DataFrame:
    """Fit how the cost grows.

    Parameters
    ----------
    pace, growth : DataFrame
        As :func:`load_pace` and :func:`load_growth` return them.

    Returns
    -------
    DataFrame
        ``model, axis, device_name, points, low, high, exponent, r2``: the least-squares
        slope of the logarithm of the seconds over that of the value, and the share of
        the variance that the line explains. Axis ``"runs"`` is the packed grid, whose
        ``model`` tells all of it. What was measured at fewer than three values has no
        row.
    """
    packed = pace[pace["way"] == PACKED].rename(columns={"runs": "value"})
    # Only grids of one kind, with as many workers, are on one line.
    packed["model"] = [
        f"{row.models} ({row.dataset}, {row.max_epochs} epochs, {row.jobs} jobs)"
        for row in packed.itertuples()
    ]
    keys = ["model", "axis", "device_name"]
    columns = [*keys, "value", "seconds"]
    points = pd.concat(
        [frame[columns] for frame in (packed.assign(axis="runs"), growth) if len(frame)]
        or [pd.DataFrame(columns=columns)]
    )
    rows = []
    for key, own in points.groupby(keys, sort=False):
        if own["value"].nunique() >= 3:
            law = power_law(own["value"], own["seconds"])
            span = (len(own), own["value"].min(), own["value"].max())
            rows.append((*key, *span, law.exponent, law.r2))
    return pd.DataFrame(
        rows, columns=[*keys, "points", "low", "high", "exponent", "r2"]
    )


class PowerLaw(NamedTuple):
    """A cost that grows as a power: ``factor * value ** exponent`` seconds."""

    exponent: float
    factor: float
    r2: float


def power_law(values: pd.Series, seconds: pd.Series) -> PowerLaw:
    """Fit a power by least squares on logarithms.

    Parameters
    ----------
    values, seconds : Series of float
        Positive, at least two different values.

    Returns
    -------
    PowerLaw
        ``r2`` is the share of the variance of the logarithms that it explains.
    """
    x, y = (np.log(np.asarray(v, dtype=float)) for v in (values, seconds))
    slope, intercept = np.polyfit(x, y, 1)
    left = np.square(y - slope * x - intercept).sum()
    spread = np.square(y - y.mean()).sum()
    r2 = float(1 - left / spread) if spread > 0 else 1.0
    return PowerLaw(float(slope), float(np.exp(intercept)), r2)


# --- what is kept ---------------------------------------------------------------------


def speedups(pace: pd.DataFrame) -> pd.DataFrame:
    """Add to each row how many times its runs per hour are those of other ways.

    Parameters
    ----------
    pace : DataFrame
        As :func:`load_pace` returns it.

    Returns
    -------
    DataFrame
        With ``over_single`` and ``over_sequential``; nan where the same grid was not
        done that way on the same machine.
    """
    same = [key for key in PACE_KEYS if key not in ("way", "jobs")]
    for way in (SINGLE, SEQUENTIAL):
        others = pace[pace["way"] == way].set_index(same)["runs_per_hour"]
        beside = pace.set_index(same).index.map(others.to_dict()).astype(float)
        pace = pace.assign(**{f"over_{way}": pace["runs_per_hour"] / beside})
    return pace


def load_pace(folder: Path | None = None) -> pd.DataFrame:
    """Load published runs per hour; an empty frame if nothing was measured yet."""
    return _load("runner.csv", (*PACE_KEYS, "seconds", "runs_per_hour"), folder)


def load_growth(folder: Path | None = None) -> pd.DataFrame:
    """Load published seconds per epoch by size; empty if nothing was measured yet."""
    return _load("growth.csv", (*GROWTH_KEYS, "seconds"), folder)


def save_pace(rows: Sequence[dict[str, object]], folder: Path | None = None) -> None:
    """Merge measurements into the published ones."""
    merge_rows(_file("runner.csv", folder), rows, PACE_KEYS)


def save_growth(rows: Sequence[dict[str, object]], folder: Path | None = None) -> None:
    """Merge measurements into the published ones."""
    merge_rows(_file("growth.csv", folder), rows, GROWTH_KEYS)


def _file(name: str, folder: Path | None) -> Path:
    return (folder or results_dir() / "benchmarks") / name


def _load(name: str, columns: Sequence[str], folder: Path | None) -> pd.DataFrame:
    file = _file(name, folder)
    return pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=list(columns))


def _provenance(device: str) -> dict[str, object]:
    found = environment(device)
    return {key: found[key] for key in _PROVENANCE}
