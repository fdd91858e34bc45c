"""Tables of the book: captioned HTML with marks, and the same as CSV and LaTeX.

The best value of a column is bold, the second best underlined, within the rows that
can be compared. Values are compared as they are printed, so that two cells which read
the same are marked the same.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import yaml

from msa.data.paths import repo_root
from msa.report.labels import MISSING
from msa.report.style import download_link

BEST, SECOND = "best", "second"
"""Marks of cells, also the names of their CSS classes."""

FEWER = "†"
"""Mark of a cell that rests on fewer seeds than most cells of its table."""

SHORT = 26
"""Longest entry of a column, in characters, that does not break into lines."""

MARKS_SENTENCE = "Best in bold, second best underlined."


@dataclass(frozen=True)
class Table:
    """A finished table: what a page shows of it and what a reader can download.

    Attributes
    ----------
    name : str
        Stem of the file names.
    caption : str
        What it shows: data set, feature view, encoder, rates, seeds.
    cells : DataFrame of str
        As printed; row labels are ordinary columns.
    marks : DataFrame of str
        Same shape as ``cells``: ``"best"``, ``"second"`` or empty.
    data : DataFrame
        The numbers in full precision, as the CSV has them.
    commands : dict of int to list of str
        Shell commands that remake a row, by row position; may be empty.
    is_numeric : bool
        False for tables of prose, whose cells break into lines.
    """

    name: str
    caption: str
    cells: pd.DataFrame
    marks: pd.DataFrame
    data: pd.DataFrame
    commands: Mapping[int, Sequence[str]] = field(default_factory=dict)
    is_numeric: bool = True

    @classmethod
    def plain(cls, frame: pd.DataFrame, name: str, caption: str) -> Table:
        """Make a table without marks; floats are printed with up to 4 digits."""
        cells = frame.map(_plain_cell).reset_index(drop=True)
        marks = no_marks(cells)
        return cls(name, caption, cells, marks, frame, is_numeric=False)

    def csv(self) -> str:
        """Return the numbers as CSV, in full precision."""
        return self.data.to_csv(index=False, lineterminator="\n")

    def latex(self) -> str:
        """Return the table as LaTeX (package ``booktabs``)."""
        cells = self.cells.map(_latex_cell)
        cells.columns = [_latex_cell(str(column)) for column in cells.columns]
        wrap = {BEST: r"\textbf{%s}", SECOND: r"\underline{%s}"}
        for row, column in zip(*np.nonzero(self.marks.to_numpy() != ""), strict=True):
            text = wrap[self.marks.iat[row, column]] % cells.iat[row, column]
            cells.iat[row, column] = text
        styler = cells.style.hide(axis="index")
        return styler.to_latex(
            hrules=True,
            caption=_latex_cell(self.caption),
            label=f"tab:{self.name}",
            column_format="l" * cells.shape[1],
            position="htbp",
        )

    def html(self) -> str:
        """Return the table as HTML, with its caption and downloads."""
        cells = self.cells.map(html.escape)
        classes = self.marks
        kind = "msa-prose"
        if self.is_numeric:
            # Spreads and intervals stand below their value: wide tables fit a page.
            cells = cells.replace(r" (?=± |\[)", "<br>", regex=True)
            kind = "msa-numbers"
        else:
            # What is short stays on its line; only prose breaks.
            short = cells.apply(lambda column: column.str.len().max() <= SHORT)
            classes = classes + np.where(short, " short", "")
        if self.commands:
            cells = cells.assign(Remake=[self._remake(i) for i in range(len(cells))])
            classes = classes.assign(Remake="")
        classes = classes + np.where(_group_starts(self.cells), " group", "")[:, None]
        styler = (
            cells.style.hide(axis="index")
            .set_td_classes(classes)
            .set_table_attributes(f'class="msa-table {kind}"')
            .set_uuid(self.name)
        )
        downloads = " · ".join(
            (
                download_link(
                    f"{self.name}.csv", "text/csv", self.csv().encode(), "CSV"
                ),
                download_link(
                    f"{self.name}.tex", "text/x-tex", self.latex().encode(), "LaTeX"
                ),
            )
        )
        return (
            f'<figure class="msa-table-box"><figcaption>{html.escape(self.caption)} '
            f'<span class="msa-downloads">{downloads}</span> · '
            '<details class="msa-cite"><summary>cite this table</summary>'
            f'<pre tabindex="0">{html.escape(self.citation())}</pre></details>'
            '</figcaption><div class="msa-scroll" tabindex="0" role="region" '
            f'aria-label="Table {html.escape(self.name)}">{styler.to_html()}</div>'
            "</figure>"
        )

    def citation(self) -> str:
        """Return a BibTeX entry; the checksum of the CSV pins the numbers."""
        cited = yaml.safe_load((repo_root() / "CITATION.cff").read_text("utf-8"))
        authors = " and ".join(f"{{{who['name']}}}" for who in cited["authors"])
        digest = hashlib.sha256(self.csv().encode()).hexdigest()
        return (
            f"@misc{{msa-{self.name},\n"
            f"  author = {{{authors}}},\n"
            f"  title = {{{{{cited['title']}: table {self.name}}}}},\n"
            f"  year = {{{cited['preferred-citation']['year']}}},\n"
            f"  note = {{Version {cited['version']}; CSV with SHA-256 {digest[:16]}}}\n"
            "}"
        )

    def _remake(self, row: int) -> str:
        commands = self.commands.get(row, ())
        if not commands:
            return ""
        lines = html.escape("\n".join(commands))
        return f"<details><summary>command</summary><pre>{lines}</pre></details>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {
            "text/html": self.html(),
            "text/latex": self.latex(),
            "text/plain": f"{self.caption}\n{self.cells.to_string(index=False)}",
        }


def rank_marks(
    values: Sequence[float], higher_is_better: bool, places: int
) -> list[str]:
    """Mark the best and the second best of some values.

    Parameters
    ----------
    values : sequence of float
        Values that can be compared; nan is never marked.
    higher_is_better : bool
        Direction.
    places : int
        Decimals that are printed: values that print the same share a mark.

    Returns
    -------
    list of str
        ``"best"``, ``"second"`` or ``""`` for each value. All are empty if fewer than
        two values differ: there is nothing to choose from.
    """
    rounded = np.round(np.asarray(values, dtype=float), places)
    levels = np.unique(rounded[~np.isnan(rounded)])
    if higher_is_better:
        levels = levels[::-1]
    if len(levels) < 2:
        return [""] * len(rounded)
    marks = {levels[0]: BEST, levels[1]: SECOND}
    return [marks.get(value, "") for value in rounded]


def has_fewer(counts: np.ndarray | pd.Series) -> np.ndarray:
    """Mark the cells of a table that rest on fewer seeds than most of them.

    Parameters
    ----------
    counts : array of int
        Seeds by cell, in any shape; 0 or nan where nothing was run.

    Returns
    -------
    array of bool
        Shaped alike; True where a cell has seeds, but fewer than the usual number.

    Examples
    --------
    >>> has_fewer(np.array([3, 3, 1, 0])).tolist()
    [False, False, True, False]
    """
    counts = np.asarray(counts, dtype=float)
    usual = pd.Series(counts[counts > 0]).mode().max()  # nan where nothing was run
    return (counts > 0) & (counts < usual)


def _group_starts(cells: pd.DataFrame) -> pd.Series:
    """Mark rows that begin another group: another entry in a repetitive first column.

    All are False where no two neighbours share the first entry: there are no groups.
    """
    first = cells.iloc[:, 0]
    starts = first.ne(first.shift()) & (first.index > 0)
    return starts & (starts.sum() < len(first) - 1)


def no_marks(cells: pd.DataFrame) -> pd.DataFrame:
    """Return empty marks for cells: a table in which nothing stands out."""
    return pd.DataFrame("", index=cells.index, columns=cells.columns)


def _plain_cell(value: object) -> str:
    if isinstance(value, float):
        return MISSING if np.isnan(value) else f"{value:.4g}"
    return str(value)


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "†": r"$^\dagger$",
    "–": "--",
}
_LATEX_SPECIAL = f"[{re.escape(''.join(_LATEX))}]"


def _latex_cell(text: str) -> str:
    return re.sub(_LATEX_SPECIAL, lambda match: _LATEX[match.group()], text)
