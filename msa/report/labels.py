"""What a number is called: selections, captions and printed values.

No result leaves the study without data set, feature view, encoder, rates and seeds;
the words for them are made here, once, from the runs themselves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable
from functools import cache

import pandas as pd

from msa.data.registry import source, sources
from msa.models.registry import model_entry
from msa.report.style import system_order
from msa.study.layout import setting
from msa.study.results import (
    load_curves,
    load_passport,
    load_runs,
    on_other_data,
)
from msa.train.config import RunConfig
from msa.train.metrics import METRICS
from msa.train.run import RunRecord

MISSING = "–"
"""How a value that is not defined is printed, such as the Corr of a constant."""

VIEW_WORDS = {
    "clip-context": "clip-context features (not the papers' frame-level features)",
    "unaligned": "unaligned frame-level features",
    "aligned": "aligned frame-level features",
    "synthetic": "synthetic data, nothing was recorded",
}

ENCODER_WORDS = {"frozen": "frozen", "finetune": "fine-tuned"}
"""Encoder modes as sentences have them."""


class NoResults(LookupError):
    """A page asks for results that are not in ``results/``."""


def select(frame: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """Return the rows in which every named column has the wanted value.

    Parameters
    ----------
    frame : DataFrame
        Published results.
    **wanted
        Column names with a value, or a list of allowed values; None takes all.

    Raises
    ------
    NoResults
        If nothing is left; the message names the column that left nothing, and the
        values that are there.
    """
    for column, value in wanted.items():
        if value is None:
            continue
        allowed = value if isinstance(value, list | tuple) else [value]
        left = frame[frame[column].isin(allowed)]
        if left.empty:
            there = ", ".join(map(str, sorted(frame[column].unique()))) or "nothing"
            raise NoResults(
                f"no published result has {column} {value!r}; there is {there}. "
                "`python -m msa list` names the studies that make results"
            )
        frame = left
    return frame


def of_metric(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of a metric; a table without rows stays as it is.

    Raises
    ------
    NoResults
        If there are rows and none is of this metric: it is misspelt, or is not among
        the metrics of the data set.
    """
    return frame if frame.empty else select(frame, metric=metric)


def main_runs(frame: pd.DataFrame, runs: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the rows of the main comparison: every model as its paper has it.

    Parameters
    ----------
    frame : DataFrame
        Published runs, summaries or aggregates.
    runs : DataFrame, optional
        The runs behind them; all published ones when left out.

    Returns
    -------
    DataFrame
        The rows that come from runs which today's defaults would make again, under
        the same identifier. Other variants, tuned, shortened and outdated runs are
        left out.
    """
    runs = load_runs() if runs is None else runs
    asked = ["dataset", "view", "model", "encoder", "encoder_mode"]
    asked += ["missing_rate", "seed"]
    again = [_main_id(*values) for values in runs[asked].itertuples(index=False)]
    keys = ["dataset", "view", "encoder", "encoder_mode"]
    keys += ["model", "variant", "setting", "missing_rate"]
    keys = [key for key in keys if key in frame]  # aggregates have no rate
    return frame.merge(runs.loc[runs["run_id"] == again, keys].drop_duplicates())


@cache  # a page asks for the same runs once per table
def _main_id(
    dataset: str, view: str, model: str, encoder: str, mode: str, rate: float, seed: int
) -> str:
    return RunConfig.resolve(
        dataset=dataset,
        view=view,
        model=model,
        encoder=encoder,
        encoder_mode=mode,
        missing_rate=float(rate),
        seed=int(seed),
    ).run_id


def frames_of(record: RunRecord) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a run that was just made in the form of published ones.

    Returns
    -------
    runs : DataFrame
        One row, as :func:`msa.study.results.load_runs` has it, with ``data_sha256``.
    curves : DataFrame
        As :func:`msa.study.results.load_curves` has them.
    """
    row = {
        "run_id": record.run_id,
        **record.config,
        "hyper": json.dumps(record.config["hyper"]),
        "setting": setting(record.config),
        "epochs": record.epochs,
        "best_epoch": record.best_epoch,
        "data_sha256": record.environment.get("data_sha256"),
    }
    for split, values in record.metrics.items():
        row |= {f"{split}_{metric}": value for metric, value in values.items()}
    curves = pd.DataFrame(record.curves, columns=["epoch", "split", "term", "value"])
    return pd.DataFrame([row]), curves.assign(run_id=record.run_id)


def curves_of(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the published loss curves of published runs."""
    pairs = runs[["dataset", "model"]].drop_duplicates().itertuples(index=False)
    curves = pd.concat([load_curves(*pair) for pair in pairs])
    return curves[curves["run_id"].isin(runs["run_id"])]


def passport(dataset: str, view: str) -> dict[str, pd.DataFrame]:
    """Return the published passport of a data set, by table name.

    Raises
    ------
    UnknownData
        If there is no such data set, or not in this view.
    NoResults
        If none is published; the message says how one is made.
    """
    source(dataset, view)
    found = load_passport(dataset, view)
    if not found:
        raise NoResults(
            f"no data passport of {dataset!r} ({view}) is published: `python -m msa "
            f"data check {dataset} --view {view} --write` makes it from the file"
        )
    return found


def passports() -> dict[str, pd.DataFrame]:
    """Return the published passports of all data sets, stacked table by table.

    Raises
    ------
    NoResults
        If there is none.
    """
    stored = [load_passport(s.dataset, s.view) for s in sources()]
    if not any(stored):
        raise NoResults(
            "no data passport is published: `python -m msa data check NAME --write` "
            "makes that of a data set"
        )
    names = {name for tables in stored for name in tables}
    return {
        name: pd.concat([t[name] for t in stored if name in t], ignore_index=True)
        for name in names
    }


def system_name(model: str, variant: str) -> str:
    """Return how tables name a system: the model, and any variant but its default."""
    default = model_entry(model).default_variant
    return model if variant == default else f"{model} {variant}"


def systems_of(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the systems in a frame as pairs of model and variant, in table order.

    Parameters
    ----------
    frame : DataFrame
        With the columns ``model`` and ``variant``.
    """
    order = {model: i for i, model in enumerate(system_order(frame["model"]))}
    pairs = set(frame[["model", "variant"]].itertuples(index=False, name=None))

    def place(pair: tuple[str, str]) -> tuple[int, int]:
        model, variant = pair
        return order[model], list(model_entry(model).variants).index(variant)

    return sorted(pairs, key=place)


def span(values: Iterable[float]) -> str:
    """Return distinct numbers in words: a list, or a range if they are many.

    ``[0.0, 0.5]`` gives ``"0.0, 0.5"``; eleven rates give ``"0.0 to 1.0 (11 values)"``.
    """
    distinct = sorted(set(values))
    if len(distinct) <= 5:
        return ", ".join(str(value) for value in distinct)
    return f"{distinct[0]} to {distinct[-1]} ({len(distinct)} values)"


def fewest_to_most(counts: Iterable[float]) -> str:
    """Write the least and the largest of some counts: ``"3"``, ``"1 to 3"``."""
    kept = [int(count) for count in counts]
    if not kept:
        return MISSING
    low, high = min(kept), max(kept)
    return f"{low}" if low == high else f"{low} to {high}"


def seeds_used(runs: pd.DataFrame) -> str:
    """Return which run seeds there are, and where there are more of them.

    Parameters
    ----------
    runs : DataFrame
        One row per run, with ``missing_rate`` and ``seed``.
    """
    at = {rate: set(group["seed"]) for rate, group in runs.groupby("missing_rate")}
    everywhere = set.intersection(*at.values())
    more = sorted(set.union(*at.values()) - everywhere)
    words = []
    if everywhere:
        one = "seed" if len(everywhere) == 1 else "seeds"
        words.append(f"{one} {', '.join(map(str, sorted(everywhere)))}")
    if more:
        where = [rate for rate, seeds in at.items() if seeds & set(more)]
        also = "also " if everywhere else "seeds "
        words.append(f"{also}{', '.join(map(str, more))} at {span(where)}")
    return ", ".join(words)


def view_words(
    view: str,
    datasets: Iterable[str],
    others: Collection[tuple[str, str]] | None = None,
) -> str:
    """Return a feature view in words, and whether the data are the published file.

    Parameters
    ----------
    view : str
        One of ``VIEW_WORDS``.
    datasets : iterable of str
        The data sets behind what is said.
    others
        As in :func:`not_published`.
    """
    return VIEW_WORDS[view] + not_published(((d, view) for d in datasets), others)


def not_published(
    places: Iterable[tuple[str, str]],
    others: Collection[tuple[str, str]] | None = None,
) -> str:
    """Say which data are not the published file of their name; empty if all are.

    Parameters
    ----------
    places : iterable of (str, str)
        Data sets and views.
    others : collection of (str, str), optional
        Those that are not the published file; of published runs when left out.
    """
    places = tuple(dict.fromkeys(places))
    others = on_other_data() if others is None else others
    other = [source(*place).title for place in places if place in others]
    if not other:
        return ""
    names = "" if len(places) == 1 else f"{' and '.join(dict.fromkeys(other))} "
    return f", {names}not from the published file"


def describe(runs: pd.DataFrame, rates: str | None = None) -> str:
    """Return the label of a table or figure, from the runs behind it.

    Parameters
    ----------
    runs : DataFrame
        One row per run: ``dataset, view, encoder, encoder_mode, missing_rate, seed``.
    rates : str, optional
        What is said of missing rates, where they are not the same in all splits.

    Returns
    -------
    str
        Data set, feature view, encoder, missing rates and seeds, one sentence.
    """
    sets = runs[["dataset", "view"]].drop_duplicates().itertuples(index=False)
    others = _on_other_data(runs)
    data = "; ".join(
        f"{source(d, v).title}, {view_words(v, [d], others)}" for d, v in sets
    )
    encoders = runs[["encoder", "encoder_mode"]].drop_duplicates()
    text = ", ".join(f"{e} ({mode})" for e, mode in encoders.itertuples(index=False))
    if rates is None:
        plural = "" if runs["missing_rate"].nunique() == 1 else "s"
        rates = f"missing rate{plural} {span(runs['missing_rate'])}"
        rates += " in train, valid and test"
    return f"{data}; text encoder {text}; {rates}; {seeds_used(runs)}."


def _on_other_data(runs: pd.DataFrame) -> Collection[tuple[str, str]]:
    """Return which data of runs are not the published file: theirs, if they say so."""
    if "data_sha256" not in runs:
        return on_other_data()
    rows = runs[["dataset", "view", "data_sha256"]].dropna().itertuples(index=False)
    return {(d, v) for d, v, sha256 in rows if not source(d, v).is_published(sha256)}


def short_label(runs: pd.DataFrame) -> str:
    """Return data set and feature view of runs, short enough for inside a figure."""
    sets = runs[["dataset", "view"]].drop_duplicates().itertuples(index=False)
    return "; ".join(
        # The title of the demo set says that it is synthetic; its view would again.
        source(d, v).title if v == "synthetic" else f"{source(d, v).title}, {v}"
        for d, v in sets
    )


def axis_label(metric: str) -> str:
    """Return the name and unit of a metric, as an axis or a table head shows them."""
    known = METRICS[metric]
    unit = {True: " (%)", False: ""}[known.is_percent]
    return f"{known.name}{' (label units)' if metric == 'MAE' else unit}"


def seeds_told(counts: Iterable[float]) -> str:
    """Write how many seeds stand behind numbers: ``"3 seeds"``, ``"1 to 3 seeds"``.

    Parameters
    ----------
    counts : iterable of float
        Seeds of each number.
    """
    counts = list(counts)
    return f"{fewest_to_most(counts)} seed{'s' if max(counts, default=0) > 1 else ''}"


def shown(metric: str, value: float) -> float:
    """Return a value in the unit that readers see: shares in percent."""
    return value * 100 if METRICS[metric].is_percent else value


def decimals_of(metric: str) -> int:
    """Return how many decimals tables print: 2 for percent, 3 for scores."""
    return 2 if METRICS[metric].is_percent else 3


def printed(metric: str, value: float) -> str:
    """Return a value as tables print it; one that is not defined as `MISSING`."""
    if math.isnan(value):
        return MISSING
    return f"{shown(metric, value):z.{decimals_of(metric)}f}"


def best_and_worst(summary: pd.DataFrame, metric: str) -> str:
    """Say in words who is best and who is worst at the lowest and highest rate.

    Parameters
    ----------
    summary : DataFrame
        ``model, variant, missing_rate, metric, mean`` of one data set; with ``n`` the
        seeds are told.
    metric : str
        Metric key.
    """
    own = summary[summary["metric"] == metric].dropna(subset="mean")
    if own.empty:
        return f"{METRICS[metric].name} is not defined for any system."
    ascending = not METRICS[metric].higher_is_better
    words = []
    for rate in sorted({own["missing_rate"].min(), own["missing_rate"].max()}):
        at = own[own["missing_rate"] == rate].sort_values("mean", ascending=ascending)
        first, last = (
            f"{system_name(row.model, row.variant)} {printed(metric, row.mean)}"
            for row in at.iloc[[0, -1]].itertuples(index=False, name="Row")
        )
        seeds = ""
        if "n" in at:
            seeds = f" ({seeds_told(at['n'])})"
        words.append(f"at rate {rate:.1f} from {first} (best) to {last}{seeds}")
    return f"{axis_label(metric)}: {'; '.join(words)}."


def training_in_words(record: RunRecord) -> str:
    """Say in words what was trained, for how long, and how large it is."""
    config = record.config
    name = system_name(config["model"], config["variant"])
    if record.epochs:
        done = (
            f"trained for {record.epochs} epochs (at most {config['max_epochs']}) in "
            f"{record.seconds['train']:.1f} s"
        )
    else:
        done = "solved in closed form"
    device = record.environment["device_name"]
    return (
        f"{name}, {record.parameters:,} parameters, was {done} on {device}. "
        f"{describe(frames_of(record)[0])} Run `{record.run_id}`."
    )


def run_in_words(runs: pd.DataFrame) -> str:
    """Say in words what one run reached.

    Parameters
    ----------
    runs : DataFrame
        One row: the run, test metrics in columns ``test_<metric>``.
    """
    (row,) = runs.to_dict("records")
    scores = (
        f"MAE {printed('MAE', row['test_MAE'])} and Corr "
        f"{printed('Corr', row['test_Corr'])} on the test split"
    )
    training = (
        f"weights of epoch {row['best_epoch']} of {row['epochs']}"
        if row["epochs"]
        else "solved in closed form, no epochs"
    )
    name = system_name(row["model"], row["variant"])
    return f"{name} reached {scores} ({training}). {describe(runs)}"


def slug(name: str) -> str:
    """Return a name as a part of file names."""
    letters = (c if c.isalnum() else "-" for c in name.lower())
    return "-".join(part for part in "".join(letters).split("-") if part)
