"""What the pages beyond the papers share.

Each has a module of its own, whose functions read published results and return a table,
a picture, or a note that says which study has not been run yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown

from msa.report.labels import MISSING, decimals_of, printed, seeds_told, shown
from msa.report.style import Picture, system_order
from msa.report.tables import Table, no_marks
from msa.study.grids import study
from msa.study.results import published_ids

Shown = Table | Picture | Markdown


def seeds_in_words(own: pd.DataFrame) -> str:
    """Say how many seeds stand behind each system of some runs."""
    counts = own.groupby("model")["seed"].nunique()
    return f"{seeds_told(counts)} a system"


def lone_seeds(own: pd.DataFrame, by: Sequence[str]) -> str:
    """Name the seeds of the cells that have only one, for a caption; else empty.

    Parameters
    ----------
    own : DataFrame
        Runs, with ``seed``.
    by : sequence of str
        Columns that make a cell.
    """
    cells = own.groupby(list(by))["seed"].agg(["nunique", "first"])
    lone = sorted({int(seed) for seed in cells.loc[cells["nunique"] == 1, "first"]})
    return f" 1 seed: {' or '.join(map(str, lone))}." if lone else ""


def progress(name: str) -> Markdown:
    """Say how much of a study is published, and the command that runs the rest."""
    configs, published = study(name).configs, published_ids()
    done = sum(config.run_id in published for config in configs)
    words = f"**{done} of {len(configs)} runs** of the study `{name}` are published."
    if done < len(configs):
        words += (
            " To run the rest:\n\n```bash\n"
            f"python -m msa study run {name}\npython -m msa study publish\n```"
        )
    return Markdown(words)


def not_run(name: str) -> Markdown:
    """Say that a study has not been run, and the commands that run it."""
    return Markdown(
        f"*Not run yet.* `python -m msa study run {name}` makes these numbers, "
        "`python -m msa study publish` brings them here."
    )


def not_run_here(asked: Iterable[str], own: pd.DataFrame) -> str:
    """Name the systems asked for that have no run, for the end of a text; else empty.

    Parameters
    ----------
    asked : iterable of str
        Models, as often as they come.
    own : DataFrame
        Runs or numbers of runs, with ``model``.
    """
    missing = set(asked) - set(own["model"])
    return f" Not run here: {', '.join(system_order(missing))}." if missing else ""


def mean_of_seeds(metric: str, values: pd.Series) -> str:
    """Write the mean of seeds with their standard deviation and number."""
    values = values.dropna()
    if values.empty:
        return MISSING
    mean = printed(metric, float(values.mean()))
    if len(values) == 1:
        return f"{mean} [1 seed]"
    return (
        f"{mean} ± {printed(metric, float(values.std(ddof=1)))} [{len(values)} seeds]"
    )


def turned(one: Sequence[float], other: Sequence[float]) -> tuple[int, int]:
    """Count the pairs of systems, and those that two lists of scores order otherwise.

    Examples
    --------
    >>> turned([1, 2, 3], [1, 3, 2])
    (3, 1)
    """
    first, second = (np.asarray(scores, dtype=float) for scores in (one, other))
    signs = np.sign(np.subtract.outer(first, first))
    signs *= np.sign(np.subtract.outer(second, second))
    above = np.triu_indices(len(first), 1)
    return len(above[0]), int((signs[above] < 0).sum())


def turned_in(lists: Iterable[tuple[Sequence[float], Sequence[float]]]) -> tuple:
    """Add up :func:`turned` over pairs of lists of scores: one pair a missing rate.

    Returns
    -------
    tuple of int, int
        Pairs of systems, and those that are ordered otherwise.
    """
    counts = [turned(one, other) for one, other in lists]
    return sum(pairs for pairs, _ in counts), sum(changed for _, changed in counts)


def plain_table(
    frame: pd.DataFrame, data: pd.DataFrame, name: str, caption: str
) -> Table:
    """Make a table of texts: numbers of mixed units, without marks."""
    cells = frame.map(str).reset_index(drop=True)
    return Table(name, caption, cells, no_marks(cells), data)


def gain_with_interval(metric: str, row: pd.Series) -> str:
    """Write ``gain`` of a comparison with the interval from ``lo`` to ``hi``."""
    if np.isnan(row["gain"]):
        return MISSING
    gain, lo, hi = (shown(metric, row[name]) for name in ("gain", "lo", "hi"))
    places = decimals_of(metric)
    return f"{gain:+z.{places}f} [{lo:+z.{places}f} to {hi:+z.{places}f}]"


def in_usual_order(frame: pd.DataFrame, first: str) -> pd.DataFrame:
    """Sort rows by a column, and within it systems as the book lists them."""
    order = system_order(frame["model"])
    return frame.sort_values(
        [first, "model"],
        key=lambda column: (
            column.map(order.index) if column.name == "model" else column
        ),
        ignore_index=True,
    )
