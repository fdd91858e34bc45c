"""What the models cost: parameters and operations, counted when the page is built."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
import torch
from IPython.display import Markdown

from msa.bench.counts import macs_per_sample
from msa.bench.inputs import PAPER_SHAPES, clip_context_shapes, mean_lengths
from msa.bench.table import load_times, public_times, with_ratios
from msa.bench.timing import PLAIN, entry_of, trained_models
from msa.data.registry import source
from msa.models.base import Shapes
from msa.models.layers import count_parameters
from msa.report.labels import ENCODER_WORDS, MISSING, system_name
from msa.report.tables import Table, no_marks

PROVENANCE = {"device_name": "Device", "threads": "Threads", "commit": "Commit"}
"""Columns that say which measurements can be compared, with their heads in tables."""

DATASET = "mosi"
"""Data set whose shapes, hyper-parameters and times the page has."""


def counts() -> pd.DataFrame:
    """Count parameters and MACs of every trained model and variant.

    Returns
    -------
    DataFrame
        A row per model and variant: ``model, variant``, and for the clip-context shapes
        and the papers' ``parameters_*`` and ``macs_*`` of a sample of full length;
        ``macs_mean`` of a clip-context sample of mean length.
    """
    torch.set_num_threads(1)
    ours, papers = clip_context_shapes(DATASET), PAPER_SHAPES[DATASET]
    rows = []
    for name in trained_models():
        if name == PLAIN:
            continue
        entry = entry_of(name)
        for variant in entry.variants:
            hyper = entry.resolve(DATASET, variant)
            small, large = entry.build(ours, hyper), entry.build(papers, hyper)
            row = {
                "model": name,
                "variant": variant,
                "parameters_ours": count_parameters(small),
                "macs_mean": macs_per_sample(small, ours, mean_lengths(DATASET)),
                "macs_ours": macs_per_sample(small, ours),
                "parameters_papers": count_parameters(large),
                "macs_papers": math.nan,
            }
            # Hundreds of recurrent steps take a while: not for the ablations.
            if variant in (entry.default_variant, "released"):
                row["macs_papers"] = macs_per_sample(large, papers)
            rows.append(row)
    return pd.DataFrame(rows)


def cost_table() -> Table:
    """Tabulate parameters and MACs of every trained model and variant."""
    found = counts()
    cells = pd.DataFrame(
        {
            "System": [
                system_name(model, variant)
                for model, variant in zip(found["model"], found["variant"], strict=True)
            ],
            "Parameters, clip-context": found["parameters_ours"].map("{:,}".format),
            "MACs, mean length": found["macs_mean"].map(short),
            "MACs, full length": found["macs_ours"].map(short),
            "Parameters, papers' shapes": found["parameters_papers"].map("{:,}".format),
            "MACs, papers' shapes": found["macs_papers"].map(short),
        }
    )
    caption = (
        "Trained parameters, and multiply-accumulate operations (MACs) of a forward "
        "pass of one damaged sample, the reconstruction included, the text encoder "
        f"not. Hyper-parameters of {source(DATASET).title}. Clip-context: "
        f"{_in_words(clip_context_shapes(DATASET))}; "
        f"mean length: {_lengths()} real steps. Papers' shapes: "
        f"{_in_words(PAPER_SHAPES[DATASET])}, all steps real "
        f"({MISSING}: ablations are not counted there). Counted when this page was "
        "built."
    )
    return Table(f"costs-{DATASET}", caption, cells, no_marks(cells), found)


def times_table(shapes: str, encoder_mode: str) -> Table | None:
    """Tabulate measured times of one kind, None where nothing was measured."""
    times = load_times()
    times = times[
        (times["dataset"] == DATASET)
        & (times["shapes"] == shapes)
        & (times["encoder_mode"] == encoder_mode)
    ]
    if times.empty:
        return None
    found = _with_ratios(times).reset_index(drop=True)
    cells = pd.DataFrame(
        {
            "System": [_name(row) for row in found.itertuples()],
            "Seconds per epoch": found["seconds_per_epoch"].map(digits),
            "Steps per second": found["steps_per_second"].map(digits),
            "Mini-batch": found["batch_size"].astype(str),
            "Peak memory (MB)": found["peak_memory_mb"].map(digits),
            "Public code, seconds": found["public_seconds"].map(digits),
            "Times faster than public": found["faster_than_public"].map(digits),
            "Times faster than plain": found["faster_than_plain"].map(digits),
        }
    )
    cells = cells.loc[:, ~(cells == MISSING).all()].join(session_columns(found))
    caption = (
        f"Time to train on {source(DATASET).title}, {shapes} shapes, text encoder "
        f"{ENCODER_WORDS[encoder_mode]}. "
    )
    caption += f"{_machine(found)} {_measured(found)}"
    name = f"times-{DATASET}-{shapes}-{encoder_mode}"
    return Table(name, caption, cells, no_marks(cells), found)


def session_columns(found: pd.DataFrame) -> pd.DataFrame:
    """Return columns that tell the measurements of several sessions apart.

    Parameters
    ----------
    found : DataFrame
        Measurements; those of one device, number of threads and commit are a session.

    Returns
    -------
    DataFrame
        With the index of ``found``, the columns of ``PROVENANCE`` that differ; none
        where all measurements are of one session.
    """
    differ = [c for c in PROVENANCE if c in found and found[c].nunique() > 1]
    columns = found[differ].astype(str)
    if "commit" in columns:
        columns["commit"] = columns["commit"].str[:10]
    return columns.rename(columns=PROVENANCE)


def by_session(
    found: pd.DataFrame, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> pd.DataFrame:
    """Apply a function to the measurements of every session on their own.

    Parameters
    ----------
    found : DataFrame
        Measurements; those alike in the columns of ``PROVENANCE`` are a session.
    change : callable
        Takes and returns measurements.

    Returns
    -------
    DataFrame
        What it returned, one session after another.
    """
    keys = [column for column in PROVENANCE if column in found]
    groups = found.groupby(keys, dropna=False, sort=False)
    return pd.concat([change(own) for _, own in groups])


def _with_ratios(times: pd.DataFrame) -> pd.DataFrame:
    """Add ratios, those of two measured systems within a session only."""
    return by_session(times, with_ratios).loc[times.index]


def times_or_word(shapes: str, encoder_mode: str) -> Table | Markdown:
    """Return measured times, or a sentence that says how to measure them."""
    table = times_table(shapes, encoder_mode)
    if table is not None:
        return table
    return not_measured(
        f"python -m msa bench models --dataset {DATASET} --shapes {shapes} "
        f"--encoder-mode {encoder_mode} --save",
        f"{source(DATASET).title}, {shapes} shapes, text encoder "
        f"{ENCODER_WORDS[encoder_mode]}",
    )


def not_measured(command: str, what: str = "") -> Markdown:
    """Say that there is no measurement, and the command that makes it."""
    return Markdown(
        f"**Not measured yet**{f' ({what})' if what else ''}. To measure it, on a "
        f"machine with nothing else to do:\n\n```bash\n{command}\n```"
    )


BATCHES_DIFFER = (
    "Public code has mini-batches of another size for some systems, and the time of an "
    "epoch depends on that: a ratio compares two whole settings, not two "
    "implementations of one."
)
"""What readers of the ratios to public code have to know."""


GOAL = 6.0
"""How many times as fast as public code the systems are meant to train, with a frozen
text encoder."""


def speed_in_words() -> str:
    """Say what the published times show: a line per kind of measurement, Markdown."""
    times = load_times()
    if times.empty:
        return "No times are published yet; the commands above measure them."
    times = _with_ratios(times)
    ratios = times.dropna(subset="faster_than_public")
    plain = times.dropna(subset="faster_than_plain")
    lines = [
        f"TFR-Net against its module-by-module version, {_shapes_of(row)}: "
        f"{row.faster_than_plain:.1f} times as fast."
        for row in plain.itertuples()
    ]
    for _, own in ratios.groupby(["encoder_mode", "device_name"], sort=False):
        row = next(own.itertuples())
        by_speed = own.sort_values("faster_than_public")
        first, last = by_speed.iloc[0], by_speed.iloc[-1]
        line = (
            f"Against public code, {_shapes_of(row)}: from "
            f"{first['faster_than_public']:.1f} ({first['model']}) to "
            f"{last['faster_than_public']:.1f} ({last['model']}) times as fast"
        )
        below = by_speed[by_speed["faster_than_public"] < GOAL]
        if row.encoder_mode == "frozen" and len(below):
            line += f"; below {GOAL:g} times: {', '.join(below['model'])}"
        lines.append(f"{line}.")
    if not lines:
        return "No times that can be compared are published yet."
    if len(ratios):
        lines.append(
            f"Public code: {public_times()['label']}, on a processor that may be "
            f"another. {BATCHES_DIFFER}"
        )
    return "\n".join(f"- {line}" for line in lines)


def _shapes_of(row: NamedTuple) -> str:
    """Say what a time was measured on, in a few words."""
    shapes = "the papers' shapes" if row.shapes == "papers" else f"{row.shapes} shapes"
    return f"{shapes}, {ENCODER_WORDS[row.encoder_mode]} encoder, {row.device_name}"


def short(count: float) -> str:
    """Return a count with three digits and a prefix, such as ``12.3 M``."""
    if math.isnan(count):
        return MISSING
    for limit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.3g} {prefix}"
    return f"{count:g}"


def digits(value: float) -> str:
    """Return a measured value with three significant digits."""
    if math.isnan(value):
        return MISSING
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def commits(found: pd.DataFrame) -> str:
    """Name the commits that measurements were taken at, in one sentence."""
    names = ", ".join(sorted({str(commit)[:10] for commit in found["commit"]}))
    return f"Commit {names}."


def _name(row: object) -> str:
    return row.model if row.model == PLAIN else system_name(row.model, row.variant)


def _machine(found: pd.DataFrame) -> str:
    kinds = found[["device_name", "threads", "torch"]].drop_duplicates()
    return (
        "; ".join(
            f"{row.device_name}, {row.threads} threads, PyTorch {row.torch}"
            for row in kinds.itertuples()
        )
        + "."
    )


def _measured(found: pd.DataFrame) -> str:
    content = "; ".join(dict.fromkeys(found["content"]))
    steps = sorted(set(found["steps"]))
    public = ""
    if found["public_seconds"].notna().any():
        public = f"Public code: {public_times()['label']}. {BATCHES_DIFFER} "
    span = " to ".join(str(count) for count in dict.fromkeys((steps[0], steps[-1])))
    return (
        f"Data: {content}, missing rate {found['missing_rate'].iloc[0]:g}. Measured "
        f"over {span} steps after a warm-up and scaled to a "
        "whole epoch, validation included. Peak memory: of the process, with libraries "
        "and data. Mini-batch: samples in each of ours. "
        f"{public}{commits(found)}"
    )


def _in_words(shapes: Shapes) -> str:
    return ", ".join(f"{m} {s.steps} x {s.width}" for m, s in shapes.items())


def _lengths() -> str:
    return ", ".join(f"{n} {m}" for m, n in mean_lengths(DATASET).items())
