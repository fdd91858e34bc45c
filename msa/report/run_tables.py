"""Tables of published runs: scores by rate and seed, the runs themselves, coverage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from msa.data.contract import SPLITS
from msa.data.registry import source
from msa.report.labels import (
    MISSING,
    axis_label,
    decimals_of,
    describe,
    main_runs,
    printed,
    seeds_used,
    shown,
    span,
    system_name,
    systems_of,
)
from msa.report.tables import (
    FEWER,
    MARKS_SENTENCE,
    Table,
    has_fewer,
    no_marks,
    rank_marks,
)
from msa.study.results import config_of
from msa.study.stats import AGGREGATES
from msa.train.metrics import METRICS


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
    caption = f"{name}, scores of one run. {describe(runs)}"
    if row["epochs"]:
        caption += " The validation split chose the epoch, so its scores flatter."
    caption += " The test split is the result."
    return Table(f"run-{row['run_id']}", caption, cells, no_marks(cells), data)


def metric_table(keys: Sequence[str]) -> Table:
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
    return Table.plain(
        frame, "metrics", "The metrics, as the code that computes them says."
    )


def coverage_table(runs: pd.DataFrame) -> Table:
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
    return Table.plain(pd.DataFrame(rows), "coverage", caption)


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
