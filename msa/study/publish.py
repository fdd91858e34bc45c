"""From the working store to ``results/``.

Publishing merges: what is there stays unless the store has the same run. ``runs.csv``
says which runs are published: what other tables have of a run that is not in it is
dropped. The same content gives the same bytes, and files whose content did not change
are not touched; nothing is written before everything has been computed and checked.
Numbers are written with seven significant digits, the precision of float32.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msa.data.contract import Split
from msa.data.load import MissingData, load
from msa.data.paths import results_dir
from msa.data.registry import source
from msa.study.layout import (
    AGGREGATE_COLUMNS,
    AS_JSON,
    CONFIG_COLUMNS,
    CURVE_COLUMNS,
    DATA_ORDER,
    FURTHER,
    RUN_COLUMNS,
    SUMMARY_COLUMNS,
    SYSTEM,
    Folder,
    digest,
    file_stem,
    frame_in,
    matching,
    predictions_in,
    setting,
    text_rows,
)
from msa.study.stats import (
    AGGREGATES,
    Estimate,
    Scored,
    estimate,
    estimate_sweep,
    scored,
    together,
)
from msa.study.store import RunStore
from msa.train.config import BEYOND, switched_on
from msa.train.metrics import METRICS, RATES


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
    *,
    other_data: bool = False,
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
    other_data : bool
        Whether to take runs that were made on another file than the published one of
        their data set and view. Captions say so then.

    Returns
    -------
    Publication

    Raises
    ------
    StoreError
        If a stored run cannot be read.
    PublishError
        If runs were made on other data than the data set on this machine, or on
        another file than the published one without ``other_data``, or if predictions
        are lost. Nothing is changed then.
    """
    folder = Folder(results or results_dir())
    with folder.exclusive():
        return _publish(store, folder, run_ids, other_data)


def _publish(
    store: RunStore,
    folder: Folder,
    run_ids: Collection[str] | None,
    other_data: bool,
) -> Publication:
    wanted = [i for i in store.ids() if run_ids is None or i in run_ids]
    records = [store.read(run_id) for run_id in wanted]
    if not other_data:
        _check_files(records)

    environments = json.loads(folder.read("environments.json") or b"{}")
    rows = {row["run_id"]: row for row in text_rows(folder.read("runs.csv"))}
    for record in records:
        identifier = digest(record.get("environment", {}))
        environments[identifier] = record.get("environment", {})
        rows[record["run_id"]] = _row(record, identifier)
    used = {row["environment"] for row in rows.values()}
    environments = {key: environments[key] for key in sorted(used & set(environments))}
    runs = _sorted_runs(rows.values())
    folder.put("runs.csv", _csv(runs))
    folder.put("environments.json", _json(environments))

    groups: dict[str, list[dict]] = {stem: [] for stem in folder.stems()}
    for record in records:
        groups.setdefault(file_stem(record["config"]), []).append(record)
    order = {run_id: place for place, run_id in enumerate(runs["run_id"])}
    for stem, members in groups.items():
        name = f"curves/{stem}.csv.gz"
        _merge_rows(folder, name, "curves", CURVE_COLUMNS, members, order)
        _merge_predictions(folder, stem, members, order)
    for field, (name, columns) in FURTHER.items():
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
    folder = Folder(results or results_dir())
    with folder.exclusive():
        for name, table in tables.items():
            folder.put(f"passport/{dataset}--{view}/{name}.csv", _csv(table))
        return folder.write()


def publish_table(
    name: str, table: pd.DataFrame, results: Path | None = None
) -> tuple[str, ...]:
    """Store a table that was computed from published runs; return it if it changed."""
    folder = Folder(results or results_dir())
    with folder.exclusive():
        folder.put(f"{name}.csv", _csv(table))
        return folder.write()


# --- rows and files -------------------------------------------------------------------


def _row(record: Mapping[str, Any], environment: str) -> dict[str, str]:
    """One run as texts, by column."""
    config = record["config"]
    row = {"run_id": record["run_id"]}
    row |= {key: config[key] for key in CONFIG_COLUMNS}
    row["hyper"] = json.dumps(config["hyper"], sort_keys=True)
    for name, value in switched_on({k: config.get(k) for k in BEYOND}).items():
        row[name] = json.dumps(value) if name in AS_JSON else value
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
        return pd.DataFrame(columns=list(RUN_COLUMNS))
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
    folder: Folder,
    name: str,
    field: str,
    columns: Sequence[str],
    records: Sequence[Mapping],
    order: Mapping[str, int],
) -> None:
    """Put a record's list of rows into a table of the published runs, by run."""
    before = text_rows(folder.read(name))
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
    folder: Folder, stem: str, records: Sequence[Mapping], order: Mapping[str, int]
) -> None:
    """Put the predictions of records beside those of the published runs, by run."""
    before = predictions_in(folder, stem)
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


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, float_format="%.7g", lineterminator="\n").encode()


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


# --- summaries ------------------------------------------------------------------------


def _summarise(
    folder: Folder, environments: Mapping[str, Mapping], incoming: Collection[str]
) -> tuple[str, ...]:
    """Compute summaries where labels are at hand; return the data sets without.

    Runs that were made on other data than is at hand are refused; ``incoming`` are the
    ids of those that the store has. Runs of the noise study are in no summary: each
    draws another of their seeds anew, and a mean over all would mix the experiments.
    """
    runs = frame_in(folder, "runs.csv", RUN_COLUMNS)
    kept_cells = frame_in(folder, "summary.csv", SUMMARY_COLUMNS)
    kept_sweeps = frame_in(folder, "aggregates.csv", AGGREGATE_COLUMNS)
    cells, sweeps, unlabelled = [], [], []
    for (dataset, view), group in runs.groupby(["dataset", "view"], sort=True):
        here = {"dataset": dataset, "view": view}
        try:
            data = load(dataset, view)
        except MissingData:
            unlabelled.append(f"{dataset} ({view})")
            cells.append(matching(kept_cells, here))
            sweeps.append(matching(kept_sweeps, here))
            continue
        _check_data(group, data.sha256, environments, incoming)
        test = data.splits["test"]
        if DATA_ORDER in group:
            group = group[group[DATA_ORDER].isna()]
        for _, system in group.groupby(list(SYSTEM), sort=True):
            found = _system_rows(system, test, data.source.scale, folder)
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
    runs: pd.DataFrame, test: Split, scale: str, folder: Folder
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Summary and aggregate rows of one system, from its published predictions."""
    system = runs.iloc[0][list(SYSTEM)].to_dict()
    predictions = predictions_in(folder, file_stem(system))
    lost = set(runs["run_id"]) - set(predictions)
    if lost:
        raise PublishError(
            f"runs.csv has {', '.join(sorted(lost))} of {file_stem(system)} without "
            "predictions: publish them again from the store, or restore the .npz"
        )
    truth, videos = test.labels.numpy(), test.videos
    each = {i: scored([predictions[i]], truth, scale, videos) for i in runs["run_id"]}
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


def _check_files(records: Sequence[Mapping]) -> None:
    """Refuse runs on a file that only bears the name of a published one."""
    files = {record["run_id"]: _file_of(record) for record in records}
    for dataset, view, sha256 in sorted(set(files.values())):
        data = source(dataset, view)
        if not sha256 or data.is_published(sha256):
            continue
        own = [i for i, file in files.items() if file == (dataset, view, sha256)]
        raise PublishError(
            f"{len(own)} run(s) on {data.title} ({view}) were made on a file with the "
            f"SHA-256 {sha256}; the published {data.path} has {data.sha256}. Nothing "
            f"was published. Get the published file, remove the runs ({_some(own)}) "
            "from the store and run them again. If their file is meant, such as a "
            "corrected one, publish with --other-data: captions then say that it is "
            "not the published one. MSA_RESULTS names a folder for such results"
        )


def _file_of(record: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return data set, view and SHA-256 of a run; empty where it is not known."""
    sha256 = record.get("environment", {}).get("data_sha256") or ""
    return record["config"]["dataset"], record["config"]["view"], sha256


def _some(run_ids: Sequence[str]) -> str:
    return f"{', '.join(run_ids[:5])}{', …' if len(run_ids) > 5 else ''}"


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
            f"{_some(other['run_id'].tolist())}. Nothing was published. Remove their "
            f"files from the store{rows}, then run them again"
        )
