"""Seconds per epoch at every missing rate, of systems measured in turn.

MIT-FRNet's Table 6 puts systems in order by their running time. The runs of a study
share the machine with each other and with whatever else it does, so their times do not.
Here one process measures every system right after the other, on the same clips, and
goes round several times: what slows the machine down for a while slows all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from msa.bench import inputs
from msa.bench.table import merge_rows
from msa.bench.timing import entry_of, run_environment
from msa.data.paths import results_dir
from msa.data.registry import default_view
from msa.models.base import Hyper, Model
from msa.study.claims import rules
from msa.train.batches import DeviceSplit
from msa.train.metrics import RATES
from msa.train.trainer import evaluate, fit

SYSTEMS = ("TFN", "MISA", "MulT", "TFR-Net", "MIT-FRNet")
"""Rows of MIT-FRNet's Table 6."""

ROWS = 192
"""Training clips of one measurement, at least one mini-batch of every system."""

ROUNDS = rules().seeds
"""How often every system is measured at a rate: as often as claims ask for seeds."""

KEYS = (
    *("dataset", "view", "encoder_mode", "missing_rate", "round", "model", "variant"),
    *("device", "device_name", "threads"),
)
"""Columns that say which row is which: a new measurement replaces the old one.

The session is none of them: after a measurement of some systems, the others keep rows
of an older session. Verdicts compare within one session only, see
:func:`msa.study.epoch_times.shared_rounds`.
"""


def measure_rates(
    systems: Sequence[str] = SYSTEMS,
    rates: Sequence[float] = RATES,
    *,
    dataset: str = "mosi",
    view: str | None = None,
    rounds: int = ROUNDS,
    threads: int = 1,
    device: str = "cpu",
) -> Iterator[dict[str, Any]]:
    """Measure systems at missing rates, one right after the other.

    Parameters
    ----------
    systems : sequence of str
    rates : sequence of float
        Missing rates of training and validation.
    dataset : str
        With the frozen text encoder.
    view : str, optional
        Feature view, the default one of the data set when left out. Where the data are
        not here, random tensors stand for them: of the lengths of the default view, or
        of the full length that the papers' unaligned features have.
    rounds : int
    threads : int
        One is what the workers of a study have.
    device : str

    Yields
    ------
    dict
        A row of ``results/benchmarks/rates.csv``: ``seconds_per_epoch`` is one training
        pass and one validation pass, scaled from ``ROWS`` clips to all of them;
        ``session`` is when measuring began (UTC), the same in all rows of a call.

    Raises
    ------
    UnknownModel
        If a system does not exist, or is not trained.
    MissingData
        If neither the data are here nor anything to stand for them.
    """
    entries = {name: entry_of(name) for name in systems}
    view = view or default_view(dataset)
    torch.set_num_threads(threads)
    found = run_environment(device)
    found["session"] = datetime.now(UTC).isoformat(timespec="seconds")
    for rate in rates:
        work = inputs.of_view(dataset, view, "frozen", ROWS, device, missing_rate=rate)
        part = inputs.choose(work.train, ROWS)
        built = {}
        for name, entry in entries.items():
            torch.manual_seed(inputs.SEED)
            hyper = entry.resolve(dataset, entry.default_variant)
            built[name] = entry.build(work.shapes, hyper).to(device), hyper
            _seconds(*built[name], part, work)  # warm-up
        for number in range(1, rounds + 1):
            for name, (model, hyper) in built.items():
                yield {
                    "model": name,
                    "variant": entries[name].default_variant,
                    "dataset": dataset,
                    "view": view,
                    "encoder_mode": "frozen",
                    "missing_rate": float(rate),
                    "round": number,
                    "seconds_per_epoch": _seconds(model, hyper, part, work),
                    "content": work.content,
                    "batch_size": hyper.batch_size,
                    **found,
                }


def _seconds(
    model: Model, hyper: Hyper, part: DeviceSplit, work: inputs.Workload
) -> float:
    """Return the seconds of an epoch, scaled from a training pass over ``part``."""
    few = inputs.choose(work.valid, 2)  # validation is timed by itself
    training = fit(model, part, few, hyper, seed=inputs.SEED, max_epochs=1).seconds
    started = time.perf_counter()
    evaluate(model, work.valid, 1)
    validation = time.perf_counter() - started
    return training / len(part) * work.whole["train"] + validation


def save_rates(rows: Sequence[dict[str, Any]]) -> None:
    """Merge new measurements into ``results/benchmarks/rates.csv``."""
    merge_rows(results_dir() / "benchmarks" / "rates.csv", rows, KEYS)
