"""Measured times of an epoch: those of one session, which alone compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

EPOCH_TIMES = "benchmarks/rates"
"""Table of the seconds of an epoch that ``python -m msa bench rates`` measures."""

SESSION = ("device", "device_name", "threads", "commit", "session")
"""Columns that say which times were measured together, one right after the other."""

_NO_TIMES = pd.Series(
    [],
    pd.MultiIndex.from_tuples([], names=[*SESSION, "round"]),
    dtype=float,
    name="seconds_per_epoch",
)
"""What a system has that nobody measured."""


def shared_rounds(
    times: pd.DataFrame,
    dataset: str,
    view: str,
    systems: Sequence[tuple[str, str]],
    rate: float,
) -> pd.DataFrame:
    """Pick the rounds in which one session measured all of some systems.

    Times of two sessions do not compare: machine, threads or code may differ, and what
    else the machine did then.

    Parameters
    ----------
    times : DataFrame
        The table ``EPOCH_TIMES``; may be empty.
    dataset, view : str
    systems : sequence of (str, str)
        Model and variant of each.
    rate : float
        Missing rate.

    Returns
    -------
    DataFrame
        Seconds by ``SESSION`` and round, one column per system in their order, of the
        session that has the most rounds of all of them (of several, the last); empty if
        no session has one.
    """
    columns = [_times_of(times, dataset, view, *system, rate) for system in systems]
    table = pd.concat(columns, axis=1, keys=range(len(columns)), join="inner")
    if table.empty:
        return table
    return _largest(table.groupby(level=list(SESSION)))


def one_session(times: pd.DataFrame) -> pd.DataFrame:
    """Keep the times that were measured together.

    Parameters
    ----------
    times : DataFrame
        Rows of the table ``EPOCH_TIMES``; may be empty.

    Returns
    -------
    DataFrame
        The rows of the session with the most of them, of several the last.
    """
    if times.empty:
        return times
    return _largest(_named(times).groupby(list(SESSION)))


def _named(times: pd.DataFrame) -> pd.DataFrame:
    """Fill the columns of a session: rows from before it was named have the commit."""
    there = times.reindex(columns=[*dict.fromkeys([*times.columns, *SESSION])])
    return there.assign(**{c: there[c].astype(object).fillna("") for c in SESSION})


def _largest(sessions: Iterable[tuple[tuple, pd.DataFrame]]) -> pd.DataFrame:
    """Return the session with the most rows, of several the one that began last."""
    began = SESSION.index("session")
    return max(sessions, key=lambda each: (len(each[1]), each[0][began]))[1]


def _times_of(
    times: pd.DataFrame, dataset: str, view: str, model: str, variant: str, rate: float
) -> pd.Series:
    where = {"dataset": dataset, "view": view, "model": model, "variant": variant}
    where |= {"encoder_mode": "frozen", "missing_rate": rate}
    if not times.empty:
        own = [times[column].to_numpy() == value for column, value in where.items()]
        times = times[np.logical_and.reduce(own)]
    if times.empty:
        return _NO_TIMES
    return _named(times).set_index([*SESSION, "round"])["seconds_per_epoch"]


def epoch_times(
    times: pd.DataFrame, dataset: str, view: str, model: str, variant: str, rate: float
) -> pd.Series:
    """Pick the measured seconds of an epoch of one system at one missing rate.

    Parameters
    ----------
    times : DataFrame
        The table ``EPOCH_TIMES``; may be empty.
    dataset, view, model, variant : str
    rate : float
        Missing rate.

    Returns
    -------
    Series
        Seconds by device, its name, threads and round, of one session; empty if nothing
        was measured.
    """
    found = shared_rounds(times, dataset, view, [(model, variant)], rate)
    return found[0].droplevel(["commit", "session"])
