"""What a check returns: one row per thing examined, with a verdict in a few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

PLACE = ("paper", "table", "dataset", "model", "metric", "variant", "rate", "printed")
"""Columns that say where a cell stands, and what it prints."""

COLUMNS = (
    *("check", *PLACE, "expected_low", "expected_high", "verdict", "explanation"),
)
"""Columns of every table of findings. Expected values are in the printed units."""

VERDICTS = {
    "ok": "agrees with what the other numbers and the definitions allow",
    "note": "worth knowing; no disagreement",
    "equals-constant": "equals the score of a predictor that ignores its input",
    "below-constant": "worse than the best predictor that ignores its input",
    "no-power": "the check cannot tell anything about this cell",
    "unattainable": "no set of runs of the assumed kind gives this value",
    "inconsistent": "disagrees with another printed number or a definition",
}
"""Every verdict and what it says, from quiet to loud."""

OPEN = ("unattainable", "inconsistent")
"""Verdicts that a table free of slips does not get."""


def findings(check: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return records as a table of findings.

    Parameters
    ----------
    check : str
        Name of the check.
    rows : iterable of mapping
        Records; a column that is left out is empty (text) or nan (numbers).

    Raises
    ------
    ValueError
        If a record has an unknown verdict or an unknown column.
    """
    table = pd.DataFrame(list(rows))
    unknown = sorted(set(table.columns) - set(COLUMNS))
    if unknown:
        raise ValueError(f"a finding has no column {', '.join(unknown)}")
    table = table.reindex(columns=list(COLUMNS))
    table["check"] = check
    for column in ("rate", "expected_low", "expected_high"):
        table[column] = table[column].astype(float)
    text = [c for c in COLUMNS if c not in ("rate", "expected_low", "expected_high")]
    table[text] = table[text].astype(object).fillna("").astype(str)
    wrong = sorted(set(table["verdict"]) - set(VERDICTS))
    if wrong:
        raise ValueError(f"unknown verdict {', '.join(map(repr, wrong))}")
    return table


def place(cell: Any) -> dict[str, Any]:
    """Return the columns of a finding that say where a cell stands.

    Parameters
    ----------
    cell : named tuple or Series
        A row of a prepared table.
    """
    return {name: getattr(cell, name) for name in PLACE}


def raised(table: pd.DataFrame) -> pd.DataFrame:
    """Return the findings whose verdict is one of `OPEN`."""
    return table[table["verdict"].isin(OPEN)]
