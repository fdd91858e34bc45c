"""The audit's tables as files: one CSV of findings per check, and what lies behind."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from msa.audit import papers
from msa.audit.checks import CHECKS
from msa.audit.summary import published_summary
from msa.data.files import write_atomically


class FilesError(Exception):
    """A folder that takes no files; the message names it."""


def write_findings(found: pd.DataFrame, folder: Path) -> None:
    """Write ``findings-<check>.csv`` for every check that has findings.

    Raises
    ------
    FilesError
        If the folder does not take them.
    """
    for name in CHECKS:
        own = found[found["check"] == name]
        if len(own):
            _write(own, folder / f"findings-{name}.csv")


def write_background(folder: Path) -> None:
    """Write the tables behind the findings on the papers, and the summary.

    Raises
    ------
    FilesError
        If the folder does not take them.
    """
    tables = {
        "summary": published_summary(),
        "granularity-by-model": papers.granularity_by_model(),
        "neutral-counts": papers.neutral_counts(),
        "constant-scores": papers.constant_scores(),
        "f1-pairs": papers.f1_pairs(),
        "f1-systems": papers.f1_systems(),
        "rankings": papers.rankings(),
        "derived-scores": papers.derived_scores(),
        "claims": papers.claims(),
        "noise-floor": papers.noise(),
        "gains": papers.gains(),
        "wins": papers.wins(),
        "steadiness": papers.steadiness(),
    }
    for name, table in tables.items():
        _write(table, folder / f"{name}.csv")


def _write(table: pd.DataFrame, path: Path) -> None:
    # Ten digits: the same file on every machine, whatever its last bits.
    text = table.to_csv(index=False, lineterminator="\n", float_format="%.10g")
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise FilesError(
            f"{path} cannot be written ({error}): name another folder with --out, or "
            "print the findings with --check or --json"
        ) from error
