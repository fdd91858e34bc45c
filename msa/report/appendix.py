"""Tables of the appendix: what the runs cost, where they ran, what the files hold."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from msa.data.paths import results_dir
from msa.data.registry import FRAME_LEVEL, source
from msa.report.columns import NOT_DESCRIBED
from msa.report.labels import select, system_name, systems_of
from msa.report.style import system_order
from msa.report.tables import Table
from msa.study.durations import Durations
from msa.study.grids import study, study_names
from msa.study.layout import seconds_of
from msa.study.results import load_environments, published_ids, published_seconds

FILES = {
    "runs.csv": "One row per run: configuration, scores of all splits, seconds, "
    "epochs, parameters, peak memory, environment.",
    "summary.csv": "One row per system, setting, rate and metric: n, mean, standard "
    "deviation and 95 % interval.",
    "aggregates.csv": "AUILC and MWA of every system and setting that was run at all "
    "rates.",
    "evaluations.csv.gz": "Scores of runs that were tested at further missing rates "
    "and patterns than their own, one row per test and metric.",
    "epochs.csv.gz": "Validation and test scores after every epoch, of the runs that "
    "rules to choose an epoch are compared on.",
    "reconstructions.csv.gz": "Errors of reconstructed features and of simple guesses "
    "on missing test steps, by run, rate, modality and method.",
    "claims.csv": "The verdict on every claim of the papers: effect, interval, seeds, "
    "cells won and the reason.",
    "claim-cells.csv": "Every comparison behind the verdicts, one row per claim, data "
    "set, metric and rate.",
    "pairs.csv": "Two systems head to head, paired over seeds and test clips: gain, "
    "interval, p-values and the probability of the better run.",
    "encoders.csv": "One system with a frozen and a fine-tuned text encoder, paired "
    "over seeds and test clips: both means, gain, interval and p-values.",
    "released.csv": "Differences between the papers' equations and their released "
    "code: scores of both and their difference, by switch, rate and metric.",
    "README.md": "Where its files and their columns are described.",
    "environments.json": "What the runs ran on, by the identifier in runs.csv.",
    "benchmarks/": "Measured times, not of the runs themselves: epochs by system "
    "(models.csv), by missing rate (rates.csv) and by size (growth.csv), and runs per "
    "hour (runner.csv).",
    "curves/": "Loss terms by epoch and split, a file per data set and model.",
    "predictions/": "Test predictions of every run, a file per data set and model.",
    "passport/": "What is in each data file: source, sizes, labels, lengths, probes.",
    "audit/": "Findings of the audit of the printed tables, a file per check.",
}
"""What the files and folders of ``results/`` hold."""

NOT_KNOWN = "not known"


def cost_table(runs: pd.DataFrame) -> Table:
    """Tabulate what the published runs took.

    Parameters
    ----------
    runs : DataFrame
        Published runs.

    Returns
    -------
    Table
        A row per data set, view, text encoder and system; medians over its runs on
        the CPU, and the hours of all of them together.
    """
    elsewhere = _elsewhere_in_words(runs)
    runs = runs[_on_cpu(runs)]
    runs = runs.assign(seconds=seconds_of(runs))
    keys = ["dataset", "view", "encoder", "encoder_mode"]
    rows = []
    for key, part in runs.groupby(keys):
        dataset, view, encoder, mode = key
        for model, variant in systems_of(part):
            own = select(part, model=model, variant=variant)
            rows.append(
                {
                    "Data set": f"{source(dataset, view).title}, {view}",
                    "Text encoder": f"{encoder} ({mode})",
                    "System": system_name(model, variant),
                    "Runs": len(own),
                    "Minutes per run": f"{own['seconds'].median() / 60:.2f}",
                    "Epochs": int(own["epochs"].median()),
                    "Parameters": f"{int(own['parameters'].median()):,}",
                    "Peak memory (MB)": int(own["peak_memory_mb"].median()),
                    "Hours in all": f"{own['seconds'].sum() / 3600:.2f}",
                }
            )
    caption = (
        f"What {len(runs)} published runs took, {hours(runs):.1f} hours of one "
        "processor core together: medians over the runs of a row. Preparing the data, "
        "training and all tests count; the first run of a text encoder also computes "
        "its features once. Peak memory: of the whole process, with PyTorch and the "
        f"data.{elsewhere}"
    )
    return Table.plain(pd.DataFrame(rows), "costs", caption)


def hours(runs: pd.DataFrame) -> float:
    """Return how many hours published runs took together."""
    return float(seconds_of(runs).sum() / 3600)


def _on_cpu(runs: pd.DataFrame) -> pd.Series:
    """Mark the runs that a processor core did: a GPU's hours are no core's."""
    places = load_environments()
    return runs["environment"].map(lambda key: places[key]["device"] == "cpu")


def _elsewhere_in_words(runs: pd.DataFrame) -> str:
    """Say which runs are not counted as hours of a core; nothing if all are."""
    others = runs[~_on_cpu(runs)]
    if others.empty:
        return ""
    return f" Not counted: {len(others)} made on {_machines(others)}."


def _machines(runs: pd.DataFrame) -> str:
    places = load_environments()
    used = {places[key]["device_name"] for key in runs["environment"].unique()}
    return "; ".join(sorted(used))


def rerun_in_words(runs: pd.DataFrame, cores: int = 2) -> str:
    """Say how long it takes to make published runs again.

    Parameters
    ----------
    runs : DataFrame
        Published runs.
    cores : int
        How many run at a time, each on one core.
    """
    own = runs[_on_cpu(runs)]
    return (
        f"The {len(own)} published runs took {hours(own):.1f} hours on one core each "
        f"({_machines(own)}): about {hours(own) / cores:.1f} hours with {cores} "
        f"cores.{_elsewhere_in_words(runs)}"
    )


def plan_table() -> Table:
    """Tabulate what every study still lacks, and how long that should take.

    Returns
    -------
    Table
        A row per study on data of this project, and one for all of them, in which a
        run that several studies share counts once. Hours: of one core, by the median
        of the published runs of the same kind.
    """
    durations = Durations(published_seconds("cpu"))
    published = published_ids()
    grids = {study_name: study(study_name).configs for study_name in study_names()}
    grids = {
        study_name: {config.run_id: config for config in configs}
        for study_name, configs in grids.items()
        if all(config.view not in FRAME_LEVEL for config in configs)
    }
    everything = {k: c for configs in grids.values() for k, c in configs.items()}
    rows = []
    for label, configs in (*grids.items(), ("all", everything)):
        missing = [c for run_id, c in configs.items() if run_id not in published]
        seconds, unknown = durations.split(missing)
        nothing_known = missing and unknown == len(missing)
        rows.append(
            {
                "Study": label,
                "Runs": len(configs),
                "Published": len(configs) - len(missing),
                "Missing": len(missing),
                "Of a kind never run": unknown,
                "Hours for the others": NOT_KNOWN
                if nothing_known
                else f"{seconds / 3600:.1f}",
            }
        )
    caption = (
        "What every study still lacks. Hours: of one core, each run as long as the "
        "median published run of its data set, system, variant and encoder mode; runs "
        "of a kind that was never run are not in them. Studies share runs; the last "
        "row counts each once. The command python -m msa study run with a study's name "
        "does what it lacks."
    )
    if others := len(published - set(everything)):
        caption += (
            f" {others} published runs are in no study of today: a default has changed "
            "since. They stand in results/, and in no main comparison."
        )
    return Table.plain(pd.DataFrame(rows), "plan", caption)


def environment_table(runs: pd.DataFrame) -> Table:
    """Tabulate what the published runs ran on.

    Parameters
    ----------
    runs : DataFrame
        Published runs.
    """
    places = load_environments()
    counts = runs["environment"].value_counts()
    rows = [
        {
            "Environment": key,
            "Runs": int(count),
            "Processor": places[key]["device_name"],
            "Threads": places[key]["threads"],
            "Python": places[key]["python"],
            "PyTorch": places[key]["torch"],
            "Platform": places[key]["platform"],
            "Commit": str(places[key]["commit"] or "unknown")[:8],
            "Clean": {False: "yes", True: "no"}.get(places[key]["dirty"], "unknown"),
        }
        for key, count in counts.sort_index().items()
    ]
    caption = (
        f"The {len(rows)} environments of the published runs. Clean: no file of the "
        "project was changed after the commit. All fields: results/environments.json."
    )
    unclean = runs[[places[key]["dirty"] is True for key in runs["environment"]]]
    if len(unclean):
        where = " and ".join(source(name).title for name in unclean["dataset"].unique())
        caption += (
            f" {len(unclean)} runs are not clean ({where}; "
            f"{', '.join(system_order(unclean['model']))}): no commit has exactly the "
            "code that made them."
        )
    return Table.plain(pd.DataFrame(rows), "environments", caption)


def package_table(packages: dict[str, str]) -> Table:
    """Tabulate installed packages, by name."""
    frame = pd.DataFrame(sorted(packages.items()), columns=["Package", "Version"])
    caption = (
        "Packages that were installed when this book was built; requirements.txt pins "
        "those that the project asks for."
    )
    return Table.plain(frame, "packages", caption)


def file_table(results: Path | None = None) -> Table:
    """Tabulate the files of published results, folders as one row.

    Parameters
    ----------
    results : Path, optional
        Folder of published results; the repository's when left out.
    """
    folder = results_dir() if results is None else results
    rows = []
    for entry in sorted(folder.iterdir()):
        files = [p for p in entry.rglob("*") if p.is_file()] or [entry]
        label = f"{entry.name}/" if entry.is_dir() else entry.name
        rows.append(
            {
                "File": label,
                "Files": len(files),
                "Size (kB)": round(sum(p.stat().st_size for p in files) / 1000, 1),
                "What it holds": FILES.get(label, NOT_DESCRIBED),
            }
        )
    caption = (
        "The published results, from which every number of this book is computed. "
        "Shares are fractions there and percent on the pages."
    )
    return Table.plain(pd.DataFrame(rows), "results-files", caption)
