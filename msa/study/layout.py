"""Files and columns of published results.

The book reads nothing but ``results/``, so that it builds from a bare clone:

====================================  =================================================
``runs.csv``                          one row per run: id, configuration, metrics, cost
``environments.json``                 what the runs ran on, by the id in ``runs.csv``
``curves/<data set>--<model>.csv.gz`` every loss term per epoch and split
``predictions/<...>.npz``             test predictions, float32 (N_test,), by run id
``evaluations.csv.gz``                scores at further missing rates and patterns
``epochs.csv.gz``                     scores on valid and test after every epoch
``reconstructions.csv.gz``            how well missing steps were rebuilt
``summary.csv``                       one row per table cell and metric: mean, interval;
                                      not of the noise study, whose draws are no cell
``aggregates.csv``                    AUILC and MWA of complete sweeps, with intervals
``passport/<data set>--<view>/``      the data passport, one CSV per table
====================================  =================================================

Tables that are computed from these, ``claims.csv`` or ``pairs.csv``, have their columns
where they are computed.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from msa.data.files import write_atomically
from msa.train.config import BEYOND, switched_on

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

DATA_ORDER = "data_order_seed"
"""Field whose value names a draw, not a setting."""

FIELDS = (*CONFIG_COLUMNS, *BEYOND)
"""Every field of a configuration that ``runs.csv`` can have."""

AS_JSON = (
    *("hyper", "evaluate_rates", "evaluate_patterns"),
    *("reconstruction_error", "spare_prompt"),
)
"""Fields that are written as JSON."""

RUN_COLUMNS = ("run_id", *CONFIG_COLUMNS, "setting")
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

FURTHER = {
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
    if DATA_ORDER in beyond:
        beyond[DATA_ORDER] = True
    if beyond:
        parts.append(beyond)
    return digest([switched_on(config["hyper"]), *parts])


class ResultsError(Exception):
    """The folder of results takes nothing; the message names it."""


class Folder:
    """Published files; keeps what changed until all of it is to be written."""

    _held: ClassVar[set[tuple[int, Path]]] = set()  # by a thread, inside exclusive()

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

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other processes that publish into the folder waiting.

        What is done inside may ask for the same folder again.

        Raises
        ------
        ResultsError
            If there is no such folder and none can be made.
        """
        where = self.path.resolve()
        held = threading.get_ident(), where
        if held in self._held:
            yield
            return
        with self._disk():
            where.mkdir(parents=True, exist_ok=True)
            handle = os.open(where, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            self._held.add(held)
            yield
        finally:
            self._held.discard(held)
            os.close(handle)

    def write(self) -> tuple[str, ...]:
        """Write what changed, each file atomically; return the names.

        ``runs.csv`` comes last: it says which runs are published, and an interruption
        must not leave it with runs whose predictions are not there.

        Raises
        ------
        ResultsError
            If the disk does not take a file.
        """
        for name in sorted(self._changed, key=lambda name: name == "runs.csv"):
            content = self._changed[name]
            packed = name.endswith(".gz")
            data = gzip.compress(content, mtime=0) if packed else content
            with self._disk():
                write_atomically(self.path / name, data)
        return tuple(self._changed)

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Name the folder in an error of the disk: that of a full one names no file."""
        try:
            yield
        except OSError as error:
            raise ResultsError(
                f"nothing can be written into the results {self.path} ({error}): make "
                "room or make them writable, or name another folder with MSA_RESULTS, "
                "then give the same command again"
            ) from error


def predictions_in(folder: Folder, stem: str) -> dict[str, np.ndarray]:
    """Read the test predictions of a data set and model, by run id."""
    data = folder.read(f"predictions/{stem}.npz")
    if data is None:
        return {}
    with np.load(io.BytesIO(data)) as arrays:
        return {key: arrays[key] for key in arrays.files}


def file_stem(config: Mapping[str, Any]) -> str:
    """``mosi--MFMB-Net``; signs that are awkward in a file name become a hyphen."""
    model = re.sub(r"[^A-Za-z0-9]+", "-", config["model"]).strip("-")
    return f"{config['dataset']}--{model}"


def text_rows(data: bytes | None) -> list[dict[str, str]]:
    """Read the rows of a CSV as they are written, every value a text."""
    if not data:
        return []
    frame = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False)
    return frame.to_dict("records")


def frame_in(folder: Folder, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Read a table, typed; if there is none, an empty one with ``columns``."""
    data = folder.read(name)
    if not data:
        return pd.DataFrame(columns=list(columns))
    return _parsed(data).copy()


@lru_cache(maxsize=16)  # by content: a page reads the same table many times
def _parsed(data: bytes) -> pd.DataFrame:
    frame = pd.read_csv(io.BytesIO(data), dtype={**_TEXT, **_FLOAT})
    scores = [key for key in frame if _SCORE.match(key) and key not in BEYOND]
    types: dict[str, Any] = dict.fromkeys(scores, float)
    types |= {name: "Int64" for name in ("mask_seed", DATA_ORDER) if name in frame}
    return frame.astype(types)


def seconds_of(runs: pd.DataFrame) -> pd.Series:
    """Return the seconds of each published run, all of its phases together."""
    return runs.filter(regex="^seconds_").sum(axis=1)


def digest(content: Any) -> str:
    """Return eight hexadecimal digits of a JSON content."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def matching(frame: pd.DataFrame, wanted: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows that have the wanted values."""
    keep = np.ones(len(frame), dtype=bool)
    for column, value in wanted.items():
        keep &= (frame[column] == value).to_numpy()
    return frame[keep]
