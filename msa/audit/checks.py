"""The eight checks under their names, and the audit that runs them.

A check is a pure function: a prepared table of cells and the labels in, a table of
findings out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import pandas as pd

from msa.audit.claims import claim_findings
from msa.audit.consistency import consistency
from msa.audit.constants import constants
from msa.audit.data_statistics import data_statistics
from msa.audit.derived import derived
from msa.audit.f1 import f1
from msa.audit.findings import VERDICTS
from msa.audit.granularity import granularity
from msa.audit.has0_non0 import has0_non0
from msa.audit.labels import Labels, read_labels
from msa.audit.noise_floor import noise
from msa.audit.tidy import prepare


class Check(NamedTuple):
    """A question to a table of numbers, and the functions that answer it."""

    question: str
    functions: tuple[Callable[[pd.DataFrame, Labels], pd.DataFrame], ...]


CHECKS = {
    "granularity": Check(
        "Can each accuracy be a mean over the stated runs and test clips?",
        (granularity,),
    ),
    "has0-non0": Check(
        "Do both binary accuracies of a row fit together?", (has0_non0,)
    ),
    "constants": Check(
        "Which cells equal a predictor that ignores its input, or lose to one?",
        (constants,),
    ),
    "f1": Check("By which definition was each F1 computed?", (f1,)),
    "derived": Check(
        "Do summaries over rates and claims in the text follow from the tables?",
        (derived, claim_findings),
    ),
    "consistency": Check(
        "Do the tables agree with each other and with their marks?", (consistency,)
    ),
    "noise-floor": Check("Do the gains exceed the run-to-run scatter?", (noise,)),
    "data-statistics": Check(
        "Do the data tables fit the real labels?", (data_statistics,)
    ),
}
"""Every check by its name, in the order of the book."""


def audit(
    table: pd.DataFrame,
    labels: Labels | None = None,
    checks: Iterable[str] = tuple(CHECKS),
) -> pd.DataFrame:
    """Run checks on any table in the tidy form.

    Parameters
    ----------
    table : DataFrame
        One row per printed cell, see :func:`msa.audit.tidy.prepare`.
    labels : dict, optional
        Labels of every data set; the published counts when left out.
    checks : iterable of str
        Names of `CHECKS` to run.

    Returns
    -------
    DataFrame
        Findings, see :mod:`msa.audit.findings`.

    Raises
    ------
    ValueError
        If a check does not exist or the table is not in the tidy form.
    """
    checks = list(checks)
    unknown = [name for name in checks if name not in CHECKS]
    if unknown:
        raise ValueError(
            f"unknown check {', '.join(unknown)}; known: {', '.join(CHECKS)}"
        )
    cells = prepare(table)
    labels = read_labels() if labels is None else labels
    parts = [
        function(cells, labels)
        for name in checks
        for function in CHECKS[name].functions
    ]
    return pd.concat(parts, ignore_index=True)


def verdict_counts(findings: pd.DataFrame) -> pd.DataFrame:
    """Count findings by check and verdict.

    Returns
    -------
    DataFrame
        One row per check that was run, columns ``examined`` and every verdict.
    """
    counts = findings.groupby(["check", "verdict"]).size().unstack(fill_value=0)
    counts = counts.reindex(
        index=[name for name in CHECKS if name in set(findings["check"])],
        columns=list(VERDICTS),
        fill_value=0,
    )
    counts.insert(0, "examined", counts.sum(axis=1))
    counts.columns.name = None
    return counts
