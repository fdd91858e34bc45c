"""From the working store to ``results/``, and from ``results/`` to data frames.

The book reads nothing but ``results/``, so that it builds from a bare clone:

====================================  =================================================
``runs.csv``                          one row per run: id, configuration, metrics, cost
``environments.json``                 what the runs ran on, by the id in ``runs.csv``
``curves/<data set>--<model>.csv.gz`` every loss term per epoch and split
``predictions/<...>.npz``             test predictions, float32 (N_test,), by run id
``evaluations.csv.gz``                scores at further missing rates and patterns
``epochs.csv.gz``                     scores on valid and test after every epoch
``reconstructions.csv.gz``            how well missing steps were rebuilt
``summary.csv``                       one row per table cell and metric: mean, interval
``aggregates.csv``                    AUILC and MWA of complete sweeps, with intervals
``passport/<data set>--<view>/``      the data passport, one CSV per table
====================================  =================================================

Publishing merges: what is there stays unless the store has the same run. ``runs.csv``
says which runs are published: what other tables have of a run that is not in it is
dropped. The same content gives the same bytes, and files whose content did not change
are not touched; nothing is written before everything has been computed and checked.
Numbers are written with seven significant digits, the precision of float32.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msa.data.load import MissingData, load
from msa.data.paths import results_dir
from msa.study.stats import (
    AGGREGATES,
    Estimate,
    Scored,
    estimate,
    estimate_sweep,
    scored,
    together,
)
from msa.study.store import RunStore, write_atomically
from msa.train.config import BEYOND, RunConfig, switched_on
from msa.train.metrics import METRICS, RATES

CONFIG_COLUMNS = (
    *("dataset", "view", "model", "variant", "encoder", "encoder_mode"),
    *("missing_rate", "seed", "mask_seed", "max_epochs", "protocol", "hyper"),
)
"""Fields of a configuration, as columns; ``hyper`` is JSON."""

SYSTEM = (
    *("dataset", "view", "encoder", "encoder_mode", "model", "variant"),
    "setting",
)
"""Columns that name a system on a data set; runs differ in rate and seed only."""

_ORDER = "data_order_seed"
_FIELDS = (*CONFIG_COLUMNS, *BEYOND)
_AS_JSON = ("hyper", "evaluate_rates", "evaluate_patterns", "reconstruction_error")

_RUN_COLUMNS = ("run_id", *CONFIG_COLUMNS, "setting")
"""Columns that ``runs.csv`` has also without a run."""

ESTIMATE_COLUMNS = ("n", "undefined", "mean", "sd", "lo", "hi", "seeds")

SUMMARY_COLUMNS = (*SYSTEM, "missing_rate", "metric", *ESTIMATE_COLUMNS)
AGGREGATE_COLUMNS = (*SYSTEM, "aggregate", "metric", *ESTIMATE_COLUMNS)
CURVE_COLUMNS = ("run_id", "epoch", "split", "term", "value")
EVALUATION_COLUMNS = (
    *("run_id", "evaluation", "split", "missing_rate", "pattern", "metric", "value"),
)
EPOCH_COLUMNS = ("run_id", "epoch", "split", "metric", "value")
RECONSTRUCTION_COLUMNS = (
    *("run_id", "split", "missing_rate", "pattern", "modality", "method"),
    *("metric", "n", "value"),
)

_FURTHER = {
    "evaluations": ("evaluations.csv.gz", EVALUATION_COLUMNS),
    "epoch_metrics": ("epochs.csv.gz", EPOCH_COLUMNS),
    "reconstruction": ("reconstructions.csv.gz", RECONSTRUCTION_COLUMNS),
}
"""Fields of a record that hold rows: their file, with the columns."""

_TEXT = dict.fromkeys(
    ("run_id", "setting", "environment", "hyper", "seeds", "at", *BEYOND), str
)
# A column of whole values would be read as integers, an empty one as objects.
_FLOAT = dict.fromkeys(("missing_rate", "mean", "sd", "lo", "hi", "value"), float)
_SCORE = re.compile(r"(test|valid|train|seconds)_")


class PublishError(Exception):
    """Results cannot be published as they are; the message says which and why."""


@dataclass(frozen=True)
class Publication:
    """What a call of :func:`publish` did.

    Attributes
    ----------
    runs : int
        Runs taken from the store.
    total : int
        Runs published now.
    written : tuple of str
        Files that changed, relative to the results folder.
    unlabelled : tuple of str
        Data sets whose summaries could not be computed, because they are not on this
        machine; their published summaries were kept.
    """

    runs: int
    total: int
    written: tuple[str, ...]
    unlabelled: tuple[str, ...]


# --- publishing -----------------------------------------------------------------------


def publish(
    store: RunStore,
    results: Path | None = None,
    run_ids: Collection[str] | None = None,
) -> Publication:
    """Merge finished runs into the published results.

    Parameters
    ----------
    store : RunStore
        The working store.
    results : Path, optional
        Folder of published results; the repository's when left out.
    run_ids : collection of str, optional
        Only these runs, as far as they are stored; all when left out.

    Returns
    -------
    Publication

    Raises
    ------
    StoreError
        If a stored run cannot be read.
    PublishError
        If runs were made on other data than the data set on this machine, or if
        predictions are lost. Nothing is changed then.
    """
    folder = _Folder(results or results_dir())
    wanted = [i for i in store.ids() if run_ids is None or i in run_ids]
    records = [store.read(run_id) for run_id in wanted]

    environments = json.loads(folder.read("environments.json") or b"{}")
    rows = {row["run_id"]: row for row in _read_text_rows(folder.read("runs.csv"))}
    for record in records:
        identifier = _digest(record.get("environment", {}))
        environments[identifier] = record.get("environment", {})
        rows[record["run_id"]] = _row(record, identifier)
    used = {row["environment"] for row in rows.values()}
    environments = {key: environments[key] for key in sorted(used & set(environments))}
    runs = _sorted_runs(rows.values())
    folder.put("runs.csv", _csv(runs))
    folder.put("environments.json", _json(environments))

    groups: dict[str, list[dict]] = {stem: [] for stem in folder.stems()}
    for record in records:
        groups.setdefault(_file_stem(record["config"]), []).append(record)
    order = {run_id: place for place, run_id in enumerate(runs["run_id"])}
    for stem, members in groups.items():
        name = f"curves/{stem}.csv.gz"
        _merge_rows(folder, name, "curves", CURVE_COLUMNS, members, order)
        _merge_predictions(folder, stem, members, order)
    for field, (name, columns) in _FURTHER.items():
        _merge_rows(folder, name, field, columns, records, order)

    unlabelled = _summarise(folder, environments, {r["run_id"] for r in records})
    return Publication(len(records), len(runs), folder.write(), unlabelled)


def publish_passport(
    dataset: str,
    view: str,
    tables: Mapping[str, pd.DataFrame],
    results: Path | None = None,
) -> tuple[str, ...]:
    """Store the tables of a data passport; return the files that changed."""
    folder = _Folder(results or results_dir())
    for name, table in tables.items():
        folder.put(f"passport/{dataset}--{view}/{name}.csv", _csv(table))
    return folder.write()


def publish_table(
    name: str, table: pd.DataFrame, results: Path | None = None
) -> tuple[str, ...]:
    """Store a table that was computed from published runs; return it if it changed."""
    folder = _Folder(results or results_dir())
    folder.put(f"{name}.csv", _csv(table))
    return folder.write()


def load_table(name: str, results: Path | None = None) -> pd.DataFrame:
    """Load a table stored with :func:`publish_table`; empty if there is none."""
    return _read_frame(results, f"{name}.csv", ())


# --- what the book loads --------------------------------------------------------------


def published_ids(results: Path | None = None) -> frozenset[str]:
    """Return the ids of all published runs, which a study need not run again."""
    return frozenset(load_runs(results=results)["run_id"])


def published_seconds(
    results: Path | None = None,
) -> list[tuple[RunConfig, float]]:
    """Return every published run and the seconds that it took, all phases together."""
    runs = load_runs(results=results)
    phases = [name for name in runs if name.startswith("seconds_")]
    seconds = runs[phases].sum(axis=1)
    rows = runs.to_dict("records")
    return [(config_of(row), s) for row, s in zip(rows, seconds, strict=True)]


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
        where they are not in use, :func:`config_of`), ``setting`` (:func:`setting`),
        ``<split>_<metric>`` as fractions (missing where undefined),
        ``seconds_<phase>``, ``epochs``, ``best_epoch``, ``parameters``,
        ``peak_memory_mb`` and ``environment``. Empty without published runs.

    Raises
    ------
    UnknownStudy
        If there is no such study.
    """
    runs = _read_frame(results, "runs.csv", _RUN_COLUMNS)
    for name in BEYOND:
        if name not in runs:
            runs[name] = pd.Series(dtype="Int64" if name == _ORDER else object)
    return _of_members(runs, study)


def config_of(row: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a published run.

    Parameters
    ----------
    row : mapping
        A row of :func:`load_runs`, or the configuration of a record.
    """
    fields = {key: _read_field(key, row.get(key)) for key in _FIELDS}
    return RunConfig(**{k: value for k, value in fields.items() if value is not None})


def _read_field(name: str, value: Any) -> Any:
    if isinstance(value, str) and name in _AS_JSON:
        return json.loads(value)
    if not isinstance(value, list | tuple | dict) and pd.isna(value):
        return None
    if name in ("seed", "mask_seed", "max_epochs", "protocol", _ORDER):
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
    stem = _file_stem({"dataset": dataset, "model": model})
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
    return _of_members(_read_frame(results, *_FURTHER[field]), study)


def load_predictions(
    dataset: str, model: str, results: Path | None = None
) -> dict[str, np.ndarray]:
    """Load test predictions, float32 (N_test,) in the order of the split, by run id."""
    stem = _file_stem({"dataset": dataset, "model": model})
    return _predictions(_Folder(results or results_dir()), stem)


def load_environments(results: Path | None = None) -> dict[str, dict[str, Any]]:
    """Load what the runs ran on, by the id in the column ``environment``."""
    return json.loads(
        _Folder(results or results_dir()).read("environments.json") or b"{}"
    )


def load_passport(
    dataset: str, view: str, results: Path | None = None
) -> dict[str, pd.DataFrame]:
    """Load the stored data passport of a data set, by table name; empty if none is."""
    folder = (results or results_dir()) / "passport" / f"{dataset}--{view}"
    return {file.stem: pd.read_csv(file) for file in sorted(folder.glob("*.csv"))}


def setting(config: Mapping[str, Any]) -> str:
    """Name what else decides a run, besides the columns of a table.

    Eight hexadecimal digits of the hyper-parameters, the bound on epochs, the protocol
    number, whether masks are fixed or drawn anew, and what is asked beyond the protocol
    (of a seed, whether there is one); switches that are off are left out, as in a run's
    identifier. Runs are averaged only within a setting.
    """
    redrawn = config["mask_seed"] is not None
    parts = [config["max_epochs"], config["protocol"], redrawn]
    beyond = switched_on({name: config.get(name) for name in BEYOND})
    if _ORDER in beyond:
        beyond[_ORDER] = True
    if beyond:
        parts.append(beyond)
    return _digest([switched_on(config["hyper"]), *parts])


# --- rows and files -------------------------------------------------------------------


class _Folder:
    """Published files; keeps what changed until all of it is to be written."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._changed: dict[str, bytes] = {}

    def stems(self) -> list[str]:
        """Return what the files of a data set and model are named after."""
        files = [*self.path.glob("curves/*"), *self.path.glob("predictions/*")]
        return sorted({file.name.split(".")[0] for file in files})

    def read(self, name: str) -> bytes | None:
        """Content of a file, unpacked if it is a .gz; None if there is none."""
        if name in self._changed:
            return self._changed[name]
        file = self.path / name
        if not file.exists():
            return None
        data = file.read_bytes()
        return gzip.decompress(data) if name.endswith(".gz") else data

    def put(self, name: str, content: bytes) -> None:
        """Give a file new content, which reading sees at once."""
        # Compared unpacked: another zlib may pack the same rows into other bytes.
        if self.read(name) != content:
            self._changed[name] = content

    def write(self) -> tuple[str, ...]:
        """Write what changed, each file atomically; return the names."""
        for name, content in self._changed.items():
            packed = name.endswith(".gz")
            data = gzip.compress(content, mtime=0) if packed else content
            write_atomically(self.path / name, data)
        return tuple(self._changed)


def _row(record: Mapping[str, Any], environment: str) -> dict[str, str]:
    """One run as texts, by column."""
    config = record["config"]
    row = {"run_id": record["run_id"]}
    row |= {key: config[key] for key in CONFIG_COLUMNS}
    row["hyper"] = json.dumps(config["hyper"], sort_keys=True)
    for name, value in switched_on({k: config.get(k) for k in BEYOND}).items():
        row[name] = json.dumps(value) if name in _AS_JSON else value
    row["setting"] = setting(config)
    for split in ("test", "valid", "train"):
        values = record["metrics"].get(split, {})
        row |= {f"{split}_{key}": values[key] for key in METRICS if key in values}
    row |= {f"seconds_{k}": v for k, v in record.get("seconds", {}).items()}
    for key in ("epochs", "best_epoch", "parameters", "peak_memory_mb"):
        row[key] = record.get(key)
    row["environment"] = environment
    return {key: _text(value) for key, value in row.items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.7g}"
    return str(value)


def _sorted_runs(rows: Collection[Mapping[str, str]]) -> pd.DataFrame:
    """Rows in a stable order, columns grouped; texts."""
    if not rows:
        return pd.DataFrame(columns=list(_RUN_COLUMNS))
    present = {key for row in rows for key in row}
    metrics = [f"{s}_{m}" for s in ("test", "valid", "train") for m in METRICS]
    known = ["run_id", *CONFIG_COLUMNS, *BEYOND, "setting", *metrics]
    last = ["epochs", "best_epoch", "parameters", "peak_memory_mb", "environment"]
    seconds = sorted(key for key in present if key.startswith("seconds_"))
    columns = [key for key in (*known, *seconds, *last) if key in present]
    columns += sorted(present - set(columns))  # of a later version: keep them
    frame = pd.DataFrame(list(rows), columns=columns, dtype=str).fillna("")
    numbers = {key: pd.to_numeric(frame[key]) for key in ("missing_rate", "seed")}
    numbers["mask_seed"] = pd.to_numeric(frame["mask_seed"]).fillna(-1)
    order = [*SYSTEM, "missing_rate", "seed", "mask_seed", "run_id"]
    places = frame.assign(**numbers).sort_values(order, kind="stable").index
    return frame.loc[places].reset_index(drop=True)


def _merge_rows(
    folder: _Folder,
    name: str,
    field: str,
    columns: Sequence[str],
    records: Sequence[Mapping],
    order: Mapping[str, int],
) -> None:
    """Put a record's list of rows into a table of the published runs, by run."""
    before = _read_text_rows(folder.read(name))
    kept = order.keys() - {record["run_id"] for record in records}
    rows = [row for row in before if row["run_id"] in kept]
    for record in records:
        rows += [
            {"run_id": record["run_id"], **{k: _text(v) for k, v in point.items()}}
            for point in record.get(field, ())
        ]
    if rows or before:
        # Stable: within a run the rows stay in the order of the record.
        rows.sort(key=lambda row: order[row["run_id"]])
        folder.put(name, _csv(pd.DataFrame(rows, columns=list(columns))))


def _merge_predictions(
    folder: _Folder, stem: str, records: Sequence[Mapping], order: Mapping[str, int]
) -> None:
    """Put the predictions of records beside those of the published runs, by run."""
    before = _predictions(folder, stem)
    arrays = {run_id: array for run_id, array in before.items() if run_id in order}
    for record in records:
        arrays[record["run_id"]] = np.asarray(record["predictions"], dtype=np.float32)
    if _as_bytes(arrays) == _as_bytes(before):
        return  # another zlib would pack the same arrays into other bytes
    buffer = io.BytesIO()
    # NumPy gives every member the same date, so the same arrays make the same bytes.
    np.savez_compressed(buffer, **{key: arrays[key] for key in sorted(arrays)})
    folder.put(f"predictions/{stem}.npz", buffer.getvalue())


def _as_bytes(arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    return {key: array.tobytes() for key, array in arrays.items()}


def _predictions(folder: _Folder, stem: str) -> dict[str, np.ndarray]:
    data = folder.read(f"predictions/{stem}.npz")
    if data is None:
        return {}
    with np.load(io.BytesIO(data)) as arrays:
        return {key: arrays[key] for key in arrays.files}


def _file_stem(config: Mapping[str, Any]) -> str:
    """``mosi--MFMB-Net``; signs that are awkward in a file name become a hyphen."""
    model = re.sub(r"[^A-Za-z0-9]+", "-", config["model"]).strip("-")
    return f"{config['dataset']}--{model}"


def _read_text_rows(data: bytes | None) -> list[dict[str, str]]:
    if not data:
        return []
    frame = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False)
    return frame.to_dict("records")


def _read_frame(
    results: Path | None, name: str, columns: Sequence[str]
) -> pd.DataFrame:
    return _frame(_Folder(results or results_dir()), name, columns)


def _frame(folder: _Folder, name: str, columns: Sequence[str]) -> pd.DataFrame:
    data = folder.read(name)
    if not data:
        return pd.DataFrame(columns=list(columns))
    frame = pd.read_csv(io.BytesIO(data), dtype={**_TEXT, **_FLOAT})
    scores = [key for key in frame if _SCORE.match(key) and key not in BEYOND]
    types: dict[str, Any] = dict.fromkeys(scores, float)
    types |= {name: "Int64" for name in ("mask_seed", _ORDER) if name in frame}
    return frame.astype(types)


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, float_format="%.7g", lineterminator="\n").encode()


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


# --- summaries ------------------------------------------------------------------------


def _summarise(
    folder: _Folder, environments: Mapping[str, Mapping], incoming: Collection[str]
) -> tuple[str, ...]:
    """Compute summaries where labels are at hand; return the data sets without.

    Runs that were made on other data than is at hand are refused; ``incoming`` are the
    ids of those that the store has.
    """
    runs = _frame(folder, "runs.csv", _RUN_COLUMNS)
    kept_cells = _frame(folder, "summary.csv", SUMMARY_COLUMNS)
    kept_sweeps = _frame(folder, "aggregates.csv", AGGREGATE_COLUMNS)
    cells, sweeps, unlabelled = [], [], []
    for (dataset, view), group in runs.groupby(["dataset", "view"], sort=True):
        here = {"dataset": dataset, "view": view}
        try:
            data = load(dataset, view)
        except MissingData:
            unlabelled.append(f"{dataset} ({view})")
            cells.append(_matching(kept_cells, here))
            sweeps.append(_matching(kept_sweeps, here))
            continue
        _check_data(group, data.sha256, environments, incoming)
        truth = data.splits["test"].labels.numpy()
        for _, system in group.groupby(list(SYSTEM), sort=True):
            found = _system_rows(system, truth, data.source.scale, folder)
            cells.append(found[0])
            sweeps.append(found[1])
    for name, frames, columns in (
        ("summary.csv", cells, SUMMARY_COLUMNS),
        ("aggregates.csv", sweeps, AGGREGATE_COLUMNS),
    ):
        filled = [frame for frame in frames if len(frame)]
        empty = pd.DataFrame(columns=list(columns))
        folder.put(name, _csv(pd.concat(filled)[list(columns)] if filled else empty))
    return tuple(unlabelled)


def _system_rows(
    runs: pd.DataFrame, truth: np.ndarray, scale: str, folder: _Folder
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Summary and aggregate rows of one system, from its published predictions."""
    system = runs.iloc[0][list(SYSTEM)].to_dict()
    predictions = _predictions(folder, _file_stem(system))
    lost = set(runs["run_id"]) - set(predictions)
    if lost:
        raise PublishError(
            f"runs.csv has {', '.join(sorted(lost))} of {_file_stem(system)} without "
            "predictions: publish them again from the store, or restore the .npz"
        )
    each = {i: scored([predictions[i]], truth, scale) for i in runs["run_id"]}
    runs = runs.assign(mask=runs["mask_seed"].fillna(-1).astype(int))
    runs = runs.sort_values(["missing_rate", "seed", "mask"])

    cells = [
        {**system, "missing_rate": rate, "metric": metric}
        | _estimate_row(found, members["seed"])
        for rate, members in runs.groupby("missing_rate")
        for metric, found in estimate(_cell(members, each)).items()
    ]
    complete = runs.groupby(["seed", "mask"]).filter(_is_complete)
    if complete.empty:
        return pd.DataFrame(cells), pd.DataFrame()
    by_rate = [_cell(members, each) for _, members in complete.groupby("missing_rate")]
    found_sweeps = estimate_sweep(by_rate, RATES)
    sweeps = [
        {**system, "aggregate": name, "metric": metric}
        | _estimate_row(found_sweeps[name, metric], complete["seed"])
        for name in AGGREGATES
        for metric in by_rate[0].values
    ]
    return pd.DataFrame(cells), pd.DataFrame(sweeps)


def _cell(members: pd.DataFrame, each: Mapping[str, Scored]) -> Scored:
    return together([each[run_id] for run_id in members["run_id"]])


def _is_complete(runs_of_a_seed: pd.DataFrame) -> bool:
    rates = np.sort(runs_of_a_seed["missing_rate"].to_numpy(dtype=float))
    return len(rates) == len(RATES) and np.allclose(rates, RATES)


def _estimate_row(found: Estimate, seeds: pd.Series) -> dict[str, Any]:
    return {**asdict(found), "seeds": " ".join(map(str, sorted(set(seeds))))}


def _check_data(
    runs: pd.DataFrame,
    sha256: str,
    environments: Mapping[str, Mapping],
    incoming: Collection[str],
) -> None:
    used = runs["environment"].map(
        lambda key: environments.get(key, {}).get("data_sha256", sha256)
    )
    other = runs[used != sha256]
    if len(other):
        first = other.iloc[0]
        published = set(other["run_id"]) - set(incoming)
        rows = " and their rows from runs.csv" if published else ""
        raise PublishError(
            f"{len(other)} run(s) on {first['dataset']} ({first['view']}) were made on "
            f"other data than is here now (SHA-256 {sha256[:12]}…): "
            f"{', '.join(other['run_id'][:5])}"
            f"{', …' if len(other) > 5 else ''}. Nothing was published. Remove their "
            f"files from the store{rows}, then run them again"
        )


def _matching(frame: pd.DataFrame, wanted: Mapping[str, str]) -> pd.DataFrame:
    keep = np.ones(len(frame), dtype=bool)
    for column, value in wanted.items():
        keep &= (frame[column] == value).to_numpy()
    return frame[keep]


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
