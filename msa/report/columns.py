"""The columns of the published files, and what each of them means.

``columns.toml`` beside this file has the meanings; its head says how they are looked
up.
"""

from __future__ import annotations

import gzip
import json
import tomllib
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from msa.data.paths import results_dir
from msa.report.tables import Table

EVERYWHERE = "*"
"""Section of what holds in every file that says nothing else."""

NOT_DESCRIBED = "Not described yet."

TABULAR = (".csv", ".csv.gz", ".json", ".npz")
"""Endings of the files that have columns, or names that stand for them."""


class NoSuchFile(ValueError):
    """A file that is not among the published ones; the message lists those."""


@cache
def meanings() -> dict[str, dict[str, str]]:
    """Return what columns mean: section to column to meaning, in the file's order."""
    text = (resources.files("msa.report") / "columns.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def published_files(results: Path | None = None) -> list[str]:
    """Return the published files that have columns, relative to the results folder."""
    folder = results_dir() if results is None else results
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    return sorted(name for name in names if name.endswith(TABULAR))


def columns_of(path: Path) -> list[str]:
    """Return the columns of a published file, in its order.

    Of an ``.npz`` these are the names of its arrays, of a ``.json`` the fields of its
    entries.
    """
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return arrays.files
    if path.suffix == ".json":
        entries = json.loads(path.read_bytes()).values()
        return list(dict.fromkeys(field for entry in entries for field in entry))
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return next(lines, "").strip().split(",")


def place_of(file: str, column: str) -> tuple[str, str] | None:
    """Return where the meaning of a column stands; None if it has none.

    Parameters
    ----------
    file : str
        Relative to the results folder, such as ``"audit/gains.csv"``.
    column : str

    Returns
    -------
    tuple of str, or None
        Section and key of :func:`meanings`. The last section that fits counts, and in
        it the column's own name before a pattern.
    """
    for section, known in reversed(meanings().items()):
        if not fnmatchcase(file, section):
            continue
        if column in known:
            return section, column
        for key in known:
            if "*" in key and fnmatchcase(column, key):
                return section, key
    return None


def described(file: str, results: Path | None = None) -> dict[str, str]:
    """Return the meaning of every column of a published file, in its order.

    Columns that one pattern describes are one entry, under the pattern.

    Parameters
    ----------
    file : str
        Relative to the results folder.
    results : Path, optional
        Folder of published results; the repository's when left out.

    Raises
    ------
    NoSuchFile
        If it is not published, or has no columns.
    """
    folder = results_dir() if results is None else results
    if file not in (known := published_files(folder)):
        there = dict.fromkeys(n.split("/")[0] + "/" * ("/" in n) for n in known)
        raise NoSuchFile(
            f"no file {file!r} with columns is published; there are {', '.join(there)}"
        )
    found: dict[str, str] = {}
    for column in columns_of(folder / file):
        section, key = place_of(file, column) or ("", column)
        found[key] = meanings()[section][key] if section else NOT_DESCRIBED
    return found


def column_table() -> Table:
    """Tabulate what every column of the published files means."""
    rows = [
        {
            "File": "every file" if section == EVERYWHERE else section,
            "Column": column,
            "What it holds": meaning,
        }
        for section, known in meanings().items()
        for column, meaning in known.items()
    ]
    caption = (
        "The columns of the published files. A * stands for any letters. What stands "
        "under every file, or under a folder, holds in each of its files that has such "
        "a column and says nothing else. An empty cell of a file is a value that is "
        "not defined or does not apply."
    )
    return Table.plain(pd.DataFrame(rows), "results-columns", caption)
