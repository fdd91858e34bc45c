"""Measured times as a table, and the file in which they are published."""

from __future__ import annotations

import io
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pandas as pd

from msa.bench.timing import PLAIN, trained_models
from msa.data.paths import results_dir
from msa.study.layout import Folder

KEYS = (
    *("model", "variant", "dataset", "shapes", "encoder_mode"),
    *("device", "device_name", "threads"),
)
"""Columns that say which row is which: a new measurement replaces the old one."""


def times_file() -> Path:
    """Return the file of published times."""
    return results_dir() / "benchmarks" / "models.csv"


def load_times(file: Path | None = None) -> pd.DataFrame:
    """Load published times; an empty frame if nothing was measured yet."""
    file = file or times_file()
    return pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=list(KEYS))


def save_times(rows: Sequence[dict[str, object]], file: Path | None = None) -> None:
    """Merge new measurements into the published ones."""
    merge_rows(
        file or times_file(), rows, KEYS, ["dataset", "shapes", "encoder_mode", "model"]
    )


def merge_rows(
    file: Path,
    rows: Sequence[dict[str, object]],
    keys: Sequence[str],
    order: Sequence[str] = (),
) -> None:
    """Merge measurements into a published table; systems keep the registry's order.

    Numbers keep four significant digits: no time is known to more.

    Parameters
    ----------
    file : Path
        Made if it is not there.
    rows : sequence of dict
    keys : sequence of str
        Columns that say which row is which: a new row replaces an old one.
    order : sequence of str, optional
        Columns to sort by; the keys when left out.

    Raises
    ------
    ResultsError
        If the disk does not take the file.
    """
    folder, places = Folder(file.parent), {n: i for i, n in enumerate(trained_models())}
    with folder.exclusive():
        merged = pd.DataFrame(rows)
        if (before := folder.read(file.name)) is not None:
            merged = pd.concat([pd.read_csv(io.BytesIO(before)), merged])
        merged = merged.drop_duplicates(list(keys), keep="last")
        merged = merged.sort_values(
            list(order or keys),
            key=lambda column: (
                column.map(places).fillna(len(places))
                if column.name == "model"
                else column
            ),
            kind="stable",
        )
        text = merged.to_csv(index=False, float_format="%.4g", lineterminator="\n")
        folder.put(file.name, text.encode())
        folder.write()


def public_times() -> dict[str, object]:
    """Return what public implementations take, with a label that says what that is."""
    text = (files("msa.bench") / "public_times.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def with_ratios(times: pd.DataFrame) -> pd.DataFrame:
    """Add how many times faster each row is than other code.

    Parameters
    ----------
    times : DataFrame
        As :func:`load_times` returns it.

    Returns
    -------
    DataFrame
        With the columns ``public_seconds`` (per epoch, where there is a figure for the
        same data set, shapes and number of threads on a CPU), ``faster_than_public``,
        and ``faster_than_plain`` (TFR-Net against its plain version on the same
        inputs and the same machine); nan where there is nothing to compare with.
    """
    public = public_times()
    same = (
        (times["dataset"] == public["dataset"])
        & (times["shapes"] == public["shapes"])
        & (times["threads"] == public["threads"])
        & (times["device"] == "cpu")
    )
    known = [
        public[mode].get(model)
        for model, mode in zip(times["model"], times["encoder_mode"], strict=True)
    ]
    seconds = pd.Series(known, times.index, dtype=float).where(same)
    ours = times["model"] == "TFR-Net"
    where = [key for key in KEYS if key not in ("model", "variant")]
    plain = times[times["model"] == PLAIN].set_index(where)["seconds_per_epoch"]
    beside = times.set_index(where).index.map(plain.to_dict()).astype(float)
    return times.assign(
        public_seconds=seconds,
        faster_than_public=seconds / times["seconds_per_epoch"],
        faster_than_plain=(beside / times["seconds_per_epoch"]).where(ours),
    )
