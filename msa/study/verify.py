"""Drift check: make published runs again and compare.

The same configuration on the same versions and the same kind of processor gives the
same bits, so any difference is a change of the code, unless one was announced that
rounds otherwise (``ROUNDING`` of :mod:`msa.train.environment`). Elsewhere sums are
rounded in another order, and training amplifies that: Adam divides a gradient by its
own size, so what is all rounding becomes a whole step. After a few epochs two
processors have trained different models. So elsewhere the training losses of the
*first* epoch must agree within :data:`FIRST_EPOCH`, which another loss or layer breaks,
and often another seed; a reference solved in closed form amplifies nothing: its scores
must agree within :data:`TOLERANCE`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msa.data.load import MissingData, checksum
from msa.data.text import EncoderError, encoder_sha256
from msa.study.layout import seconds_of
from msa.study.results import (
    config_of,
    load_curves,
    load_environments,
    load_predictions,
    load_runs,
)
from msa.train.config import PROTOCOL, RunConfig
from msa.train.environment import environment

FIRST_EPOCH = 0.012
"""Largest relative difference of a training loss of the first epoch between versions or
processors. In 61 pairs of published runs of different processors or roundings it was at
most 0.0112 (MIT-FRNet's task loss on CMU-MOSI), but for the terms below."""

FIRST_EPOCH_OF = {"similarity": 0.03}
"""The same of terms that are small beside the spread that they are estimated from:
MIT-FRNet's similarity differed by 0.02."""

NO_LOSS = 1e-3
"""A loss below this is held to that share of this."""

TOLERANCE = {"MAE": 0.02, "Corr": 0.02}
"""Largest difference of a reference's score between versions or processors."""

CLASS_TOLERANCE = 0.05
"""The same for accuracies and F1, as fractions: they jump when one clip changes its
class, and the demo set has 150 test clips."""

SAME = (
    *("python", "platform", "torch", "numpy", "transformers"),
    *("device", "cpu", "cpu_kind", "instructions", "rounding"),
)
"""What must be the same for the same bits."""

# Published scores have seven significant digits.
_WRITTEN = 1e-6


class NothingToVerify(ValueError):
    """No published run can be made again here."""


@dataclass(frozen=True)
class Check:
    """A published run beside the same run made now.

    Attributes
    ----------
    config : RunConfig
    exact : bool
        Whether the bits must be the same: same versions, same kind of processor.
    largest_difference : float
        Of a test prediction, in label units.
    worst_metric : str
        What is furthest beyond, or closest to, what is allowed: ``<split>_<metric>``,
        or ``epoch_1_<term>`` of the training losses.
    published, now : float
        Its values.
    drifted : bool
        Whether the run is another one than the published.
    """

    config: RunConfig
    exact: bool
    largest_difference: float
    worst_metric: str
    published: float
    now: float
    drifted: bool


def choose(runs: pd.DataFrame, count: int) -> pd.DataFrame:
    """Choose published runs to make again: cheap ones, of as many models as possible.

    Trained models before references, which a change of the trainer cannot move; among
    them the cheapest first, one run each before a second of any.

    Parameters
    ----------
    runs : DataFrame
        As :func:`msa.study.results.load_runs` has them.
    count : int
    """
    if runs.empty:
        return runs
    ranked = runs.assign(_cost=seconds_of(runs), _reference=runs["epochs"] == 0)
    ranked = ranked.sort_values(["_cost", "run_id"])
    ranked = ranked.assign(_turn=ranked.groupby(["model", "variant"]).cumcount())
    ranked = ranked.sort_values(["_turn", "_reference", "_cost", "run_id"])
    return ranked.head(count)[runs.columns]


def data_sha256(dataset: str, view: str) -> str | None:
    """Return the SHA-256 of a data set here; None if it is not here."""
    try:
        return checksum(dataset, view)
    except MissingData:
        return None


def repeatable(
    row: Mapping[str, Any],
    made_on: Mapping[str, Any],
    data_here: Callable[[str, str], str | None] = data_sha256,
) -> bool:
    """Tell whether a published run can be made again here.

    Not so: a run of another protocol or of a configuration that the code no longer
    reads the same, a run on a GPU, and one on data or an encoder that are not here or
    are others here.

    Parameters
    ----------
    row : mapping
        The run, as :func:`msa.study.results.load_runs` has it.
    made_on : mapping
        The environment that it was made on.
    data_here : callable
        As :func:`data_sha256`, which reads the file; for many runs one that remembers.
    """
    if made_on.get("device") != "cpu" or not _is_current(row):
        return False
    data = data_here(row["dataset"], row["view"])
    if data is None or data != made_on.get("data_sha256"):
        return False
    try:
        return encoder_sha256(row["encoder"]) == made_on.get("encoder_sha256")
    except EncoderError:
        return False


def _is_current(row: Mapping[str, Any]) -> bool:
    if int(row["protocol"]) != PROTOCOL:
        return False
    try:
        return config_of(row).run_id == row["run_id"]
    except ValueError:
        return False


def verify(
    study: str | None = None,
    count: int = 3,
    results: Path | None = None,
    run: Callable[[RunConfig], Any] | None = None,
) -> list[Check]:
    """Make a few published runs again on the CPU and compare.

    Parameters
    ----------
    study : str, optional
        Only runs of this study.
    count : int
        How many.
    results : Path, optional
        Folder of published results; the repository's when left out.
    run : callable, optional
        What makes a record of a configuration; training when left out.

    Returns
    -------
    list of Check

    Raises
    ------
    NothingToVerify
        If no published run can be made again here.
    UnknownStudy
        If there is no such study.
    """
    if run is None:
        from msa.train.run import run
    published, environments = load_runs(study, results), load_environments(results)
    candidates = choose(published, len(published)).to_dict("records")
    data_here = cache(data_sha256)
    # Asked one by one, because looking at the inputs of all runs would take longer.
    possible = (
        row
        for row in candidates
        if repeatable(row, environments.get(row["environment"], {}), data_here)
    )
    rows = list(islice(possible, count))
    if not rows:
        what = f"of study {study!r} " if study else ""
        raise NothingToVerify(
            f"no published run {what}can be made again here ({len(published)} are "
            "published): publish some, or bring the data that they were made on"
        )
    return [
        _compare(row, run(config_of(row)), environments[row["environment"]], results)
        for row in rows
    ]


def _compare(
    row: Mapping[str, Any],
    record: Any,
    made_on: Mapping[str, Any],
    results: Path | None,
) -> Check:
    here = environment()
    exact = all(made_on.get(name) == here[name] for name in SAME)
    before = load_predictions(row["dataset"], row["model"], results)[row["run_id"]]
    difference = _largest_difference(before, record.predictions)
    if record.curves and not exact:
        curves = load_curves(row["dataset"], row["model"], results)
        compared = _first_losses(curves[curves["run_id"] == row["run_id"]], record)
    else:
        compared = _scores(row, record, exact)
    excess = {
        name: _distance(published, now) / allowed
        for name, (published, now, allowed) in compared.items()
    }
    worst = max(excess, key=excess.__getitem__)
    return Check(
        config_of(row),
        exact,
        difference,
        worst,
        *compared[worst][:2],
        drifted=excess[worst] > 1 or (exact and difference > 0),
    )


def _scores(
    row: Mapping[str, Any], record: Any, exact: bool
) -> dict[str, tuple[float, float, float]]:
    """Return ``(published, now, allowed difference)`` of every score, by name."""
    return {
        f"{split}_{metric}": (
            float(row[f"{split}_{metric}"]),
            float(now),
            _allowed(metric, exact, now),
        )
        for split, scores in record.metrics.items()
        for metric, now in scores.items()
    }


def _first_losses(
    curves: pd.DataFrame, record: Any
) -> dict[str, tuple[float, float, float]]:
    """Return ``(published, now, allowed difference)`` of epoch 1's training losses."""
    before, now = (
        frame[(frame["epoch"] == 1) & (frame["split"] == "train")].set_index("term")[
            "value"
        ]
        for frame in (curves, pd.DataFrame(record.curves))
    )
    return {
        f"epoch_1_{term}": (
            float(before.get(term, np.nan)),
            float(now.get(term, np.nan)),
            FIRST_EPOCH_OF.get(term, FIRST_EPOCH)
            * max(abs(float(now.get(term, 0.0))), NO_LOSS),
        )
        for term in before.index.union(now.index)
    }


def _largest_difference(before: np.ndarray, now: np.ndarray) -> float:
    if before.shape != now.shape or (np.isnan(before) != np.isnan(now)).any():
        return float("inf")
    return float(np.nanmax(np.abs(before - now), initial=0.0))


def _allowed(metric: str, exact: bool, value: float) -> float:
    if exact:
        return _WRITTEN * max(abs(value), 1.0) if np.isfinite(value) else _WRITTEN
    return TOLERANCE.get(metric, CLASS_TOLERANCE)


def _distance(before: float, now: float) -> float:
    """Absolute difference; undefined equals undefined and nothing else."""
    if np.isnan(before) or np.isnan(now):
        return 0.0 if np.isnan(before) and np.isnan(now) else float("inf")
    return abs(before - now)


def rows_of(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Return the checks as rows of a table."""
    return [
        {
            "run": check.config.run_id,
            "model": check.config.model,
            "data set": check.config.dataset,
            "rate": check.config.missing_rate,
            "seed": check.config.seed,
            "wanted": "the same bits" if check.exact else "about the same",
            "worst": check.worst_metric,
            "published": check.published,
            "now": check.now,
            "largest difference": check.largest_difference,
            "result": _result(check),
        }
        for check in checks
    ]


def _result(check: Check) -> str:
    if check.drifted:
        return "DRIFT"
    return "identical" if check.largest_difference == 0 else "within tolerance"
