"""What the book and the studies read of published results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msa.data.paths import results_dir
from msa.data.registry import source
from msa.study.layout import (
    AGGREGATE_COLUMNS,
    AS_JSON,
    CURVE_COLUMNS,
    DATA_ORDER,
    FIELDS,
    FURTHER,
    RUN_COLUMNS,
    SUMMARY_COLUMNS,
    SYSTEM,
    Folder,
    file_stem,
    frame_in,
    predictions_in,
    seconds_of,
)
from msa.train.config import BEYOND, RunConfig


def published_ids(results: Path | None = None) -> frozenset[str]:
    """Return the ids of all published runs, which a study need not run again."""
    return frozenset(load_runs(results=results)["run_id"])


def published_data(results: Path | None = None) -> dict[str, str | None]:
    """Return the ids of all published runs, with the SHA-256 of what each was made on.

    None where a run does not say.
    """
    runs, places = load_runs(results=results), load_environments(results)
    if runs.empty:
        return {}
    made_on = {key: place.get("data_sha256") for key, place in places.items()}
    return dict(zip(runs["run_id"], runs["environment"].map(made_on.get), strict=True))


def published_seconds(
    device: str, results: Path | None = None
) -> list[tuple[RunConfig, float]]:
    """Return the published runs of a device and the seconds that each took.

    Parameters
    ----------
    device : str
        ``"cpu"`` or ``"cuda"``: what a run takes on one says nothing of the other.
    results : Path, optional
        Folder of published results; the repository's when left out.

    Returns
    -------
    list of (RunConfig, float)
        Seconds of all phases together.
    """
    runs = load_runs(results=results)
    places = load_environments(results)
    rows = zip(runs.to_dict("records"), seconds_of(runs), strict=True)
    return [
        (config_of(row), seconds)
        for row, seconds in rows
        if places[row["environment"]].get("device") == device
    ]


def load_runs(study: str | None = None, results: Path | None = None) -> pd.DataFrame:
    """Load one row per published run.

    Parameters
    ----------
    study : str, optional
        Only the runs of this study.
    results : Path, optional
        Folder of published results; the repository's when left out.

    Returns
    -------
    DataFrame
        ``run_id``, the fields of the configuration (``hyper`` as JSON, ``mask_seed``
        missing under the protocol's fixed masks, fields beyond the protocol missing
        where they are not in use, :func:`config_of`), ``setting``
        (:func:`msa.study.layout.setting`), ``<split>_<metric>`` as fractions (missing
        where undefined),
        ``seconds_<phase>``, ``epochs``, ``best_epoch``, ``parameters``,
        ``peak_memory_mb`` and ``environment``. Empty without published runs.

    Raises
    ------
    UnknownStudy
        If there is no such study.
    """
    runs = _read_frame(results, "runs.csv", RUN_COLUMNS)
    for name in BEYOND:
        if name not in runs:
            runs[name] = pd.Series(dtype="Int64" if name == DATA_ORDER else object)
    return _of_members(runs, study)


def config_of(row: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a published run.

    Parameters
    ----------
    row : mapping
        A row of :func:`load_runs`, or the configuration of a record.
    """
    fields = {key: _read_field(key, row.get(key)) for key in FIELDS}
    return RunConfig(**{k: value for k, value in fields.items() if value is not None})


def _read_field(name: str, value: Any) -> Any:
    if isinstance(value, str) and name in AS_JSON:
        return json.loads(value)
    if not isinstance(value, list | tuple | dict) and pd.isna(value):
        return None
    if name in ("seed", "mask_seed", "max_epochs", "protocol", DATA_ORDER):
        return int(value)
    return float(value) if name == "missing_rate" else value


def load_summary(study: str | None = None, results: Path | None = None) -> pd.DataFrame:
    """Load one row per table cell and metric: mean, spread and 95 % interval.

    Parameters
    ----------
    study, results
        As in :func:`load_runs`. A cell belongs to a study if the study has a run in
        it; the cell then counts every published seed.

    Returns
    -------
    DataFrame
        ``dataset, view, encoder, encoder_mode, model, variant, setting, missing_rate,
        metric, n, undefined, mean, sd, lo, hi, seeds``; values as fractions.
    """
    summary = _read_frame(results, "summary.csv", SUMMARY_COLUMNS)
    return _of_study(summary, study, [*SYSTEM, "missing_rate"], results)


def load_aggregates(
    study: str | None = None, results: Path | None = None
) -> pd.DataFrame:
    """Load AUILC and MWA of every system that was run at all eleven rates.

    Parameters
    ----------
    study, results
        As in :func:`load_runs`.

    Returns
    -------
    DataFrame
        As :func:`load_summary`, with ``aggregate`` (``"AUILC"``, ``"MWA/10"`` or
        ``"MWA/11"``) in the place of the rate. ``n`` counts the seeds that were run at
        every rate.
    """
    aggregates = _read_frame(results, "aggregates.csv", AGGREGATE_COLUMNS)
    return _of_study(aggregates, study, list(SYSTEM), results)


def load_curves(dataset: str, model: str, results: Path | None = None) -> pd.DataFrame:
    """Load the loss curves of a model on a data set.

    Returns
    -------
    DataFrame
        ``run_id, epoch, split, term, value``; empty for references solved in closed
        form.
    """
    stem = file_stem({"dataset": dataset, "model": model})
    return _read_frame(results, f"curves/{stem}.csv.gz", CURVE_COLUMNS)


def load_evaluations(
    study: str | None = None, results: Path | None = None
) -> pd.DataFrame:
    """Load the scores of runs at further missing rates and patterns.

    Parameters
    ----------
    study, results
        As in :func:`load_runs`.

    Returns
    -------
    DataFrame
        ``run_id, evaluation, split, missing_rate, pattern, metric, value``; scores as
        fractions. ``evaluation`` is ``"rate"`` for the pattern that the run was trained
        with and ``"pattern"`` for another; ``missing_rate`` is the one of the test.
    """
    return _further("evaluations", study, results)


def load_epochs(study: str | None = None, results: Path | None = None) -> pd.DataFrame:
    """Load the scores of runs after every epoch, where ``selection`` is ``"all"``.

    Parameters
    ----------
    study, results
        As in :func:`load_runs`.

    Returns
    -------
    DataFrame
        ``run_id, epoch, split, metric, value``; splits valid and test, scores as
        fractions. See :func:`msa.study.selection.scores_by_rule`.
    """
    return _further("epoch_metrics", study, results)


def load_reconstructions(
    study: str | None = None, results: Path | None = None
) -> pd.DataFrame:
    """Load how well runs rebuilt missing steps, where ``reconstruction_error`` is on.

    Parameters
    ----------
    study, results
        As in :func:`load_runs`.

    Returns
    -------
    DataFrame
        ``run_id, split, missing_rate, pattern, modality, method, metric, n, value``:
        see :func:`msa.train.reconstruction.reconstruction_errors`.
    """
    return _further("reconstruction", study, results)


def _further(field: str, study: str | None, results: Path | None) -> pd.DataFrame:
    return _of_members(_read_frame(results, *FURTHER[field]), study)


def load_predictions(
    dataset: str, model: str, results: Path | None = None
) -> dict[str, np.ndarray]:
    """Load test predictions, float32 (N_test,) in the order of the split, by run id."""
    stem = file_stem({"dataset": dataset, "model": model})
    return predictions_in(Folder(results or results_dir()), stem)


def load_environments(results: Path | None = None) -> dict[str, dict[str, Any]]:
    """Load what the runs ran on, by the id in the column ``environment``."""
    return json.loads(
        Folder(results or results_dir()).read("environments.json") or b"{}"
    )


def on_other_data(results: Path | None = None) -> frozenset[tuple[str, str]]:
    """Return where published runs were made on another file than the published one.

    Parameters
    ----------
    results : Path, optional
        Folder of published results; the repository's when left out.

    Returns
    -------
    frozenset of (str, str)
        Data set and view. Runs that do not say what they were made on do not count.
    """
    columns = ("dataset", "view", "environment")
    runs = _read_frame(results, "runs.csv", columns)
    if not set(columns) <= set(runs):
        return frozenset()
    places, found = load_environments(results), set()
    for dataset, view, key in runs[list(columns)].drop_duplicates().to_numpy():
        made_on = places.get(key, {}).get("data_sha256")
        if made_on and not source(dataset, view).is_published(made_on):
            found.add((dataset, view))
    return frozenset(found)


def load_table(name: str, results: Path | None = None) -> pd.DataFrame:
    """Load a table by name; empty if there is none.

    :func:`msa.study.publish.publish_table` stores them.
    """
    return _read_frame(results, f"{name}.csv", ())


def load_passport(
    dataset: str, view: str, results: Path | None = None
) -> dict[str, pd.DataFrame]:
    """Load the stored data passport of a data set, by table name; empty if none is."""
    folder = (results or results_dir()) / "passport" / f"{dataset}--{view}"
    return {file.stem: pd.read_csv(file) for file in sorted(folder.glob("*.csv"))}


def _read_frame(
    results: Path | None, name: str, columns: Sequence[str]
) -> pd.DataFrame:
    return frame_in(Folder(results or results_dir()), name, columns)


def _of_members(frame: pd.DataFrame, study: str | None) -> pd.DataFrame:
    """Rows of the runs of a study; all without one."""
    if study is None:
        return frame
    from msa.study.grids import study as look_up

    members = {config.run_id for config in look_up(study).configs}
    return frame[frame["run_id"].isin(members)].reset_index(drop=True)


def _of_study(
    frame: pd.DataFrame, study: str | None, keys: list[str], results: Path | None
) -> pd.DataFrame:
    if study is None:
        return frame
    members = load_runs(study, results)[keys].drop_duplicates()
    return frame.merge(members, on=keys)
