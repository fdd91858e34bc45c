"""Tables of the book: captioned HTML with marks, and the same as CSV and LaTeX.

The best value of a column is bold, the second best underlined, within the rows that
can be compared. Values are compared as they are printed, so that two cells which read
the same are marked the same.
"""

from __future__ import annotations

import hashlib
import html
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files

import numpy as np
import pandas as pd
import yaml

from msa.data.contract import SPLITS
from msa.data.passport import ALPHAS
from msa.data.paths import repo_root
from msa.data.registry import source
from msa.models.references import TextLinearHyper
from msa.report.labels import (
    MISSING,
    axis_label,
    decimals_of,
    describe,
    main_runs,
    printed,
    seeds_used,
    short_label,
    shown,
    slug,
    span,
    system_name,
    systems_of,
)
from msa.report.style import download_link
from msa.study.publish import config_of
from msa.study.stats import AGGREGATES
from msa.train.metrics import METRICS

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


def score_table(
    summary: pd.DataFrame, runs: pd.DataFrame, metrics: Sequence[str], name: str
) -> Table:
    """Tabulate metrics of systems at some missing rates: mean, spread, n.

    Parameters
    ----------
    summary : DataFrame
        One row per system, rate and metric: ``model, variant, missing_rate, metric, n,
        mean, sd, lo, hi``, of one data set, view and encoder.
    runs : DataFrame
        The runs behind it; they give caption and commands.
    metrics : sequence of str
        Columns, by metric key.
    name : str
        Stem of the file names.

    Returns
    -------
    Table
        A row per rate and system; cells are mean ± standard deviation over seeds, and
        the mean alone where there is one seed. Marks compare the systems at one rate.
    """
    summary = summary[summary["metric"].isin(metrics)]
    runs = runs[runs["missing_rate"].isin(summary["missing_rate"])]
    keys = _rows(summary)
    wide = summary.set_index(["missing_rate", "model", "variant", "metric"])
    wide = wide.sort_index()
    rows, commands = [], {}
    for position, (rate, model, variant) in enumerate(keys):
        own = wide.loc[(rate, model, variant)]
        rows.append(
            {
                "Rate": f"{rate:.1f}",
                "System": system_name(model, variant),
                "n": str(int(own["n"].max())),
                **{axis_label(m): _mean_and_spread(m, own) for m in metrics},
            }
        )
        same = (
            (runs["missing_rate"] == rate)
            & (runs["model"] == model)
            & (runs["variant"] == variant)
        )
        commands[position] = commands_of(runs[same])
    cells = pd.DataFrame(rows)
    marks = no_marks(cells)
    for metric in metrics:
        values = [wide["mean"].get((*key, metric), np.nan) for key in keys]
        for rate in {key[0] for key in keys}:
            at = [i for i, key in enumerate(keys) if key[0] == rate]
            marks.loc[at, axis_label(metric)] = _marks(metric, [values[i] for i in at])
    caption = (
        f"Test scores: mean ± standard deviation over n seeds. {describe(runs)} "
        f"{MARKS_SENTENCE} {MISSING} is undefined (a constant predictor has no Corr)."
    )
    return Table(name, caption, cells, marks, _tidy(summary), commands)


def rate_table(
    summary: pd.DataFrame,
    aggregates: pd.DataFrame,
    runs: pd.DataFrame,
    metric: str,
    name: str,
) -> Table:
    """Tabulate one metric of every system over all missing rates, with its aggregates.

    Parameters
    ----------
    summary, runs : DataFrame
        As for :func:`score_table`.
    aggregates : DataFrame
        ``model, variant, aggregate, metric, n, mean, lo, hi``; rows of other data sets,
        views and encoders than the summary's are passed over.
    metric : str
        Metric key.
    name : str
        Stem of the file names.

    Returns
    -------
    Table
        A row per system, a column per rate with the mean over seeds, then AUILC
        (MFMB-Net eq. 20) with its interval and MWA with both divisors (MIT-FRNet
        eq. 25), undefined where a system was not run at every rate. Cells with fewer
        seeds than most are marked, and the caption says which seeds they have.
    """
    own = summary[summary["metric"] == metric]
    systems = systems_of(own)
    index = ["model", "variant"]
    numbers = own.pivot(index=index, columns="missing_rate", values="mean").loc[systems]
    seeds = own.pivot(index=index, columns="missing_rate", values="n").loc[systems]
    seeds.columns = [f"{rate:.1f}" for rate in seeds.columns]
    numbers.columns = seeds.columns
    place = ["dataset", "view", "encoder", "encoder_mode"]
    whole = aggregates.merge(own[place].drop_duplicates(), on=place)
    whole = whole[whole["metric"] == metric].set_index([*index, "aggregate"])
    for aggregate in AGGREGATES:
        for column in ("mean", "lo", "hi") if aggregate == "AUILC" else ("mean",):
            head = aggregate if column == "mean" else f"{aggregate} {column}"
            cells = whole[column]
            numbers[head] = [cells.get((*s, aggregate), np.nan) for s in systems]
        seeds[aggregate] = [whole["n"].get((*s, aggregate), np.nan) for s in systems]
    fewer = pd.DataFrame(has_fewer(seeds), index=seeds.index, columns=seeds.columns)
    cells = numbers.map(lambda value: printed(metric, value))
    marks = no_marks(cells)
    for column in numbers:
        marks[column] = _marks(metric, numbers[column])
    bounds = cells.pop("AUILC lo") + " to " + cells.pop("AUILC hi")
    defined = numbers["AUILC"].notna()
    marks = marks[cells.columns]
    cells += fewer[cells.columns].map(lambda marked: FEWER if marked else "")
    cells["AUILC"] = cells["AUILC"].where(
        ~defined, cells["AUILC"] + " [" + bounds + "]"
    )
    names = [system_name(*system) for system in systems]
    cells.insert(0, "System", names)
    marks.insert(0, "System", "")
    data = numbers.map(lambda value: shown(metric, value))
    data.insert(0, "system", names)
    data.insert(1, "seeds", [_seeds_of(runs, *system) for system in systems])
    caption = (
        f"{axis_label(metric)} on the test split by missing rate, mean over seeds. "
        f"{describe(runs)} AUILC: area under the row with its 95 % interval "
        "(trapezoid, weights add up to 1), over the seeds that were run at every rate. "
        f"{_fewer_in_words(fewer.any(axis=1), runs)}"
        "MWA weighs a rate r by 1 - r and divides by 10 or by 11, so it is no average "
        f"(its weights add up to 5.5). {MARKS_SENTENCE}"
    )
    cells, marks = cells.reset_index(drop=True), marks.reset_index(drop=True)
    return Table(name, caption, cells, marks, data)


def _fewer_in_words(marked: pd.Series, runs: pd.DataFrame) -> str:
    """Say which seeds the marked systems have; empty where none is marked."""
    told = [
        f"{system_name(*system)} ({_seeds_of(runs, *system)})"
        for system in marked.index[marked]
    ]
    return f"{FEWER} Fewer seeds than most cells: {'; '.join(told)}. " if told else ""


def _seeds_of(runs: pd.DataFrame, model: str, variant: str) -> str:
    return seeds_used(runs[(runs["model"] == model) & (runs["variant"] == variant)])


def seed_table(runs: pd.DataFrame, metrics: Sequence[str], name: str) -> Table:
    """Tabulate every run on its own: each seed visible, with its command.

    Parameters
    ----------
    runs : DataFrame
        One row per run, test metrics in columns ``test_<metric>``.
    metrics : sequence of str
        Columns, by metric key.
    name : str
        Stem of the file names.
    """
    order = {key: i for i, key in enumerate(systems_of(runs))}
    position = [order[key] for key in zip(runs["model"], runs["variant"], strict=True)]
    runs = runs.assign(_system=position)
    runs = runs.sort_values(["missing_rate", "_system", "seed"]).drop(columns="_system")
    systems = zip(runs["model"], runs["variant"], strict=True)
    cells = pd.DataFrame(
        {
            "Rate": [f"{rate:.1f}" for rate in runs["missing_rate"]],
            "System": [system_name(*key) for key in systems],
            "Seed": [str(seed) for seed in runs["seed"]],
            **{
                axis_label(m): [printed(m, value) for value in runs[f"test_{m}"]]
                for m in metrics
            },
            "Best epoch": [
                f"{best} of {epochs}" if epochs else "closed form"
                for best, epochs in zip(runs["best_epoch"], runs["epochs"], strict=True)
            ],
        }
    )
    columns = ["run_id", "model", "variant", "missing_rate", "seed"]
    data = runs[[*columns, *(f"test_{m}" for m in metrics), "best_epoch", "epochs"]]
    commands = {i: [line] for i, line in enumerate(commands_of(runs))}
    caption = f"Every run behind the means: test scores. {describe(runs)}"
    return Table(name, caption, cells, no_marks(cells), data, commands)


def run_table(runs: pd.DataFrame) -> Table:
    """Tabulate the scores of one run on all splits.

    Parameters
    ----------
    runs : DataFrame
        One row: the run, metrics in columns ``<split>_<metric>``.
    """
    (row,) = runs.to_dict("records")
    metrics = [key for key in METRICS if f"test_{key}" in row]
    numbers = pd.DataFrame(
        {split: [row[f"{split}_{key}"] for key in metrics] for split in SPLITS},
        index=metrics,
    )
    cells = pd.DataFrame(
        {
            "Metric": [axis_label(key) for key in metrics],
            **{
                split: [printed(key, numbers.at[key, split]) for key in metrics]
                for split in SPLITS
            },
        }
    )
    data = numbers.rename_axis("metric").reset_index()
    name = system_name(row["model"], row["variant"])
    caption = (
        f"{name}, scores of one run. {describe(runs)} The validation split chose the "
        "epoch, so its scores flatter; the test split is the result."
    )
    return Table(f"run-{row['run_id']}", caption, cells, no_marks(cells), data)


def source_table(sources: pd.DataFrame) -> Table:
    """Tabulate what the data sets are, from the passports' ``source`` tables."""
    frame = pd.DataFrame(
        {
            "Data set": sources["title"],
            "View": sources["view"],
            "Language": sources["language"],
            "Labels": [
                f"{low:g} to {high:g}"
                for low, high in zip(
                    sources["label_low"], sources["label_high"], strict=True
                )
            ],
            "Standardised": sources["standardised"].map({True: "yes", False: "no"}),
            "SHA-256": sources["sha256"].str[:12] + "…",
        }
    )
    caption = (
        "The data behind the results. Standardised: audio and vision by the statistics "
        "of the train split. SHA-256: of the file that was read (demo: of the "
        "generated values); in full in the CSV."
    )
    return replace(Table.plain(frame, "data-sources", caption), data=sources)


def splits_table(splits: pd.DataFrame, overlap: pd.DataFrame) -> Table:
    """Tabulate clips, classes and videos shared between splits.

    Parameters
    ----------
    splits, overlap : DataFrame
        The passports' tables of that name, of any data sets.
    """
    keys = ["dataset", "view"]
    first = overlap.rename(columns={"first": "split", "second": "other"})
    second = overlap.rename(columns={"second": "split", "first": "other"})
    both = pd.concat([first, second]).groupby([*keys, "split"])["shared_videos"].sum()
    shared = [both[key] for key in splits[[*keys, "split"]].itertuples(index=False)]
    frame = pd.DataFrame(
        {
            "Data set": [short_label(splits.loc[[i]]) for i in splits.index],
            "Split": splits["split"],
            "Clips": splits["clips"],
            "Negative": splits["negative"],
            "Neutral": splits["neutral"],
            "Positive": splits["positive"],
            "Videos": splits["videos"],
            "Also in other splits": shared,
        }
    )
    caption = (
        "Splits. Negative, neutral, positive: clips with a score below, at and above "
        "0. Also in other splits: videos with clips elsewhere, counted once per split."
    )
    return Table.plain(frame, "data-splits", caption)


def probe_table(probes: pd.DataFrame) -> Table:
    """Tabulate linear probes, from the passports' ``probes`` tables."""
    frame = pd.DataFrame(
        {
            "Data set": [short_label(probes.loc[[i]]) for i in probes.index],
            "Features": probes["features"],
            "Width": probes["width"],
            "Test MAE (label units)": [printed("MAE", x) for x in probes["test_mae"]],
            "Test Corr": [printed("Corr", x) for x in probes["test_corr"]],
        }
    )
    tried = len(TextLinearHyper().penalties)
    caption = (
        "Linear probes on complete data: ridge regressions on features standardised by "
        f"the train split, the best of {len(ALPHAS)} penalties on valid. The system "
        "text-linear of other pages is a ridge on text as well, but standardises "
        f"nothing and tries {tried} penalties, so its scores differ. The constant is "
        f"the median of the train labels; its Corr is not defined ({MISSING})."
    )
    return replace(Table.plain(frame, "data-probes", caption), data=probes)


def probes_in_words(probes: pd.DataFrame) -> str:
    """Compare what text says alone with audio and vision, on every recorded data set.

    Parameters
    ----------
    probes : DataFrame
        The passports' tables of that name, of any data sets.
    """
    recorded = probes[probes["view"] != "synthetic"].set_index("features")
    told = []
    for key, own in recorded.groupby(["dataset", "view"], sort=False):
        text, others = own["test_corr"].reindex(["text", "audio+vision"])
        told.append(
            f"{source(*key).title} {printed('Corr', text)} against "
            f"{printed('Corr', others)}"
        )
    return (
        "Test Corr of the linear probe on text against that on audio and vision "
        f"together: {', '.join(told)}."
    )


def metric_table(keys: Sequence[str], name: str = "metrics") -> Table:
    """Tabulate the definitions of metrics, from the registry that computes them."""
    frame = pd.DataFrame(
        {
            "Metric": [METRICS[key].name for key in keys],
            "Key": list(keys),
            "Better": [
                "higher" if METRICS[key].higher_is_better else "lower" for key in keys
            ],
            "Printed in": [
                "percent" if METRICS[key].is_percent else "raw" for key in keys
            ],
            "Definition": [METRICS[key].definition for key in keys],
        }
    )
    return Table.plain(frame, name, "The metrics, as the code that computes them says.")


def coverage_table(runs: pd.DataFrame, name: str = "coverage") -> Table:
    """Tabulate what has been run so far: counts of published runs.

    Parameters
    ----------
    runs : DataFrame
        One row per run, of any data sets.

    Returns
    -------
    Table
        A row per data set, view, encoder and system; missing rates and seeds are those
        of the main comparison where the system is in it.
    """
    keys = ["dataset", "view", "encoder", "encoder_mode"]
    main = set(main_runs(runs, runs)["run_id"])
    rows = []
    for (dataset, view, encoder, mode), part in runs.groupby(keys):
        for model, variant in systems_of(part):
            own = part[(part["model"] == model) & (part["variant"] == variant)]
            compared = own[own["run_id"].isin(main)]
            told = compared if len(compared) else own
            rows.append(
                {
                    "Data set": source(dataset, view).title,
                    "View": view,
                    "Text encoder": f"{encoder} ({mode})",
                    "System": system_name(model, variant),
                    "Runs": len(own),
                    "Main comparison": len(compared),
                    "Missing rates": span(told["missing_rate"]),
                    "Run seeds": seeds_used(told),
                }
            )
    caption = (
        f"Published runs: {len(runs)} in all, every one in results/runs.csv, "
        f"{len(main)} of them in the main comparison, whose missing rates and seeds "
        "are listed. The others have other variants, settings, training rates or "
        "seeds, or measure more; where a system has only such runs, the lists are "
        "theirs."
    )
    return Table.plain(pd.DataFrame(rows), name, caption)


def ledger_table(*models: str) -> Table:
    """Tabulate where systems depart from their papers, or had to choose.

    Parameters
    ----------
    *models : str
        Models named in ``msa/models/ledger.toml``, or ``"both"`` for what concerns
        both papers. With several, a first column says which.

    Raises
    ------
    KeyError
        If the ledger has no entry for one of them.
    """
    for model in models:
        if model not in ledger_models():
            raise KeyError(f"the deviation ledger has no entry for {model!r}")
    heads = {
        "model": "System",
        "item": "Item",
        "paper": "The paper says",
        "chosen": "We chose",
        "why": "Why",
        "source": "Source",
    }
    found = [e for model in models for e in read_ledger() if e["model"] == model]
    frame = pd.DataFrame(found)[list(heads)].rename(columns=heads)
    whom = ", ".join("both papers" if m == "both" else m for m in models)
    if len(models) == 1:
        frame = frame.drop(columns="System")
    entries = "1 entry" if len(frame) == 1 else f"{len(frame)} entries"
    caption = f"Deviation ledger, {whom}: {entries}."
    return Table.plain(frame, f"ledger-{slug('-'.join(models))}", caption)


def ledger_models() -> list[str]:
    """Return the models that the deviation ledger has entries for, in its order."""
    return list(dict.fromkeys(entry["model"] for entry in read_ledger()))


def read_ledger() -> list[dict[str, str]]:
    """Return the entries of the deviation ledger, in its order."""
    text = (files("msa.models") / "ledger.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["entry"]


def commands_of(runs: pd.DataFrame) -> list[str]:
    """Return the shell command that remakes each run, in the order of the rows."""
    return [config_of(row).command() for row in runs.to_dict("records")]


def _rows(summary: pd.DataFrame) -> list[tuple[float, str, str]]:
    there = set(
        summary[["missing_rate", "model", "variant"]].itertuples(index=False, name=None)
    )
    rates = sorted(summary["missing_rate"].unique())
    keys = [(rate, *system) for rate in rates for system in systems_of(summary)]
    return [key for key in keys if key in there]


def _mean_and_spread(metric: str, own: pd.DataFrame) -> str:
    if metric not in own.index:
        return MISSING
    mean, sd, n = own.loc[metric, ["mean", "sd", "n"]]
    if np.isnan(mean) or n < 2 or np.isnan(sd):
        return printed(metric, mean)
    return f"{printed(metric, mean)} ± {printed(metric, sd)}"


def _marks(metric: str, values: Sequence[float]) -> list[str]:
    known = METRICS[metric]
    in_unit = [shown(metric, value) for value in values]
    return rank_marks(in_unit, known.higher_is_better, decimals_of(metric))


def _tidy(summary: pd.DataFrame) -> pd.DataFrame:
    columns = ["model", "variant", "missing_rate", "metric", "n", "mean", "sd", "lo"]
    return summary[[*columns, "hi"]].reset_index(drop=True)


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
