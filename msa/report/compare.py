"""Paper against ours, cell by cell: each printed number beside that of published runs.

Rows, columns and units are the paper's. A cell that has not been run says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from msa.data.published import PRINTED_NAMES, published, system_of
from msa.data.registry import default_view, source
from msa.data.text import default_encoder
from msa.models.registry import model_entry
from msa.report.labels import MISSING
from msa.study.claims import parse_system
from msa.study.epoch_times import EPOCH_TIMES, epoch_times, one_session
from msa.study.grids import SEEDS
from msa.study.layout import SYSTEM, setting
from msa.study.results import load_aggregates, load_runs, load_summary, load_table
from msa.study.stats import student_interval
from msa.train.config import RunConfig
from msa.train.metrics import RATES, mwa

NOT_RUN = "not run yet"

OTHER_SESSION = "measured apart"
"""What stands where only another session than the table's measured a time."""

CELL_SYSTEM = ("dataset", "system", "model_variant")
"""Columns that name the system of a cell."""

SWAPPED = "_swapped"
"""How the names of the F1 end that weighs classes as the papers' numbers do."""


@dataclass(frozen=True)
class Source:
    """A table, or a figure made of a table, as the paper has it.

    Attributes
    ----------
    paper : str
        Whose numbers.
    tables : tuple of str
        Where they are printed.
    studies : tuple of str
        What runs its cells, on the clip-context view; none for running times, which
        ``python -m msa bench rates`` measures.
    number : str
        ``"complete"`` (rate 0.0), ``"rate"`` (one column per rate), ``"AUILC"``,
        ``"MWA/10"`` or ``"seconds"``.
    columns : str
        ``"metric"`` or ``"rate"``.
    split : str
        What a table is split by besides data sets: ``"metric"``, ``"model"`` or "".
    """

    paper: str
    tables: tuple[str, ...]
    studies: tuple[str, ...]
    number: str
    columns: str = "metric"
    split: str = ""


SOURCES = {
    "mfmb-table-2": Source("MFMB-Net", ("Table 2",), ("matrix-mosi",), "complete"),
    "mfmb-table-3": Source(
        "MFMB-Net", ("Table 3",), ("matrix-mosi", "matrix-mosei"), "complete"
    ),
    "mfmb-table-4": Source(
        "MFMB-Net", ("Table 4",), ("matrix-mosi", "matrix-mosei"), "AUILC"
    ),
    "mfmb-table-5": Source("MFMB-Net", ("Table 5",), ("ablations",), "AUILC"),
    "mit-table-4": Source(
        "MIT-FRNet", ("Table 4",), ("matrix-mosi",), "rate", "rate", "metric"
    ),
    "mit-table-5": Source(
        "MIT-FRNet", ("Table 5",), ("matrix-sims",), "rate", "rate", "metric"
    ),
    "mit-table-6": Source("MIT-FRNet", ("Table 6",), (), "seconds", "rate"),
    "mit-table-7": Source(
        "MIT-FRNet", ("Table 7",), ("ablations",), "rate", "metric", "model"
    ),
    "mit-figure-5": Source(
        "MIT-FRNet", ("Table 4", "Table 5"), ("matrix-mosi", "matrix-sims"), "MWA/10"
    ),
    "mit-figure-6": Source("MIT-FRNet", ("Table 4",), ("matrix-mosi",), "MWA/10"),
    "mit-figure-7": Source("MIT-FRNet", ("Table 5",), ("matrix-sims",), "MWA/10"),
}
"""Every table with scores, by the name of its page."""


def compared(
    page: str,
    *,
    view: str | None = None,
    encoder_mode: str = "frozen",
) -> pd.DataFrame:
    """Put our numbers beside every printed cell of a table.

    Parameters
    ----------
    page : str
        A key of ``SOURCES``.
    view : str, optional
        Of our runs; the default of each data set when left out.
    encoder_mode : {"frozen", "finetune"}

    Returns
    -------
    DataFrame
        One row per printed cell, in the order of the paper: ``dataset, row, type,
        metric, variant, rate, printed, paper_value`` (in the paper's unit; ``type`` of
        features, where the table prints it), ``system, model_variant,
        key, factor, ours, ranked, lo, hi, n, seeds, status, view, encoder,
        encoder_mode`` (our numbers in the paper's unit; ``status`` is empty where there
        is a number). ``ranked`` and ``paper_ranked`` are what systems are put in order
        by: our number and the paper's, but F1 with correct weights where the paper
        mixes two definitions. For ablations
        ``change`` is our mean difference from the full model, seed by seed.
    """
    source_ = SOURCES[page]
    cells = _printed_cells(source_)
    ours = _Ours(view, encoder_mode)
    rows, has_arrows = [], (cells["arrow"] != "").any()
    for cell in cells.to_dict("records"):
        found = ours.number(source_, cell)
        factor = cell["factor"]
        found["ranked"] = found["ours"] * factor
        if mixes_f1(source_) and str(cell["key"]).endswith(SWAPPED):
            correct = {**cell, "key": cell["key"].removesuffix(SWAPPED)}
            found["ranked"] = ours.number(source_, correct)["ours"] * factor
        if has_arrows:
            found["change"] = ours.change(cell) * factor
        scaled = {k: found[k] * factor for k in ("ours", "lo", "hi")}
        rows.append({**cell, **found, **scaled})
    cells = pd.DataFrame(rows)
    cells["paper_ranked"] = (
        _paper_ranked(cells) if mixes_f1(source_) else cells["paper_value"]
    )
    return _with_ratios(cells) if source_.number == "seconds" else cells


def _paper_ranked(cells: pd.DataFrame) -> pd.Series:
    """Return the paper's numbers with every F1 in correct weights.

    Swapped ones are mirrored at the accuracy that stands beside them (see the audit).
    """
    place = ["dataset", "row", "variant"]
    accuracies = cells[cells["metric"] == "Acc-2"].set_index(place)["paper_value"]
    accuracy = pd.MultiIndex.from_frame(cells[place]).map(accuracies).to_numpy()
    is_swapped = cells["key"].str.endswith(SWAPPED)
    return cells["paper_value"].mask(is_swapped, 2 * accuracy - cells["paper_value"])


def _with_ratios(cells: pd.DataFrame) -> pd.DataFrame:
    """Add how many times the paper's own system takes, at the same missing rate.

    Ours is the mean of the ratios by round, with their t-interval.
    """
    own = cells[cells["row"] == "Ours"].set_index("rate")
    paper = cells["paper_value"] / cells["rate"].map(own["paper_value"])
    ratios = [
        rounds / own.at[rate, "rounds"]
        for rate, rounds in zip(cells["rate"], cells["rounds"], strict=True)
    ]
    bounds = [student_interval(ratio.dropna()) for ratio in ratios]
    return cells.drop(columns="rounds").assign(
        paper_value_ratio=paper,
        ours_ratio=[ratio.mean() for ratio in ratios],
        lo_ratio=[lo for lo, _ in bounds],
        hi_ratio=[hi for _, hi in bounds],
    )


def _printed_cells(source_: Source) -> pd.DataFrame:
    """Return the printed cells with data set, system and metric in our names."""
    cells = published()
    own = cells[
        (cells["paper"] == source_.paper) & cells["table"].isin(source_.tables)
    ].reset_index(drop=True)
    names = {printed: name for name, printed in PRINTED_NAMES.items()}
    own = own.assign(dataset=own["dataset"].map(names), row=own["model"])
    systems = [parse_system(system_of(source_.paper, row)) for row in own["row"]]
    own["system"], own["model_variant"] = zip(*systems, strict=True)
    own["key"] = [
        _key(source_, row, key) for row, key in zip(own["row"], own["key"], strict=True)
    ]
    own = own.rename(columns={"value": "paper_value"})
    if source_.number == "MWA/10":
        own = _weighted(own)
    own["type"] = own["setting"].str.extract(r"\((aligned|unaligned)\)")[0].fillna("")
    kept = ["dataset", "row", "type", "metric", "variant", "rate", "printed"]
    kept.append("paper_value")
    return own[[*kept, "system", "model_variant", "key", "factor", "arrow"]]


def _key(source_: Source, row: str, key: str) -> str:
    """Return our metric for a printed one: F1 with the weights that were printed.

    MFMB-Net quotes its baselines from a paper that weighs F1 correctly.
    """
    if "F1" not in key or (mixes_f1(source_) and row != "Ours"):
        return key
    return f"{key}{SWAPPED}"


def mixes_f1(source_: Source) -> bool:
    """Whether a table has F1 by two definitions: of its own row and of quoted ones."""
    return source_.paper == "MFMB-Net" and source_.tables[0] in ("Table 3", "Table 4")


def _weighted(cells: pd.DataFrame) -> pd.DataFrame:
    """Make the weighted average over rates of every system and metric."""
    rows = []
    for _, group in cells.groupby(["dataset", "row", "key"], sort=False):
        group = group.sort_values("rate")
        value = float(mwa(group["paper_value"], group["rate"], 10))
        first = group.iloc[0].to_dict()
        blank = {"rate": np.nan, "arrow": ""}
        text = MISSING if np.isnan(value) else f"{value:.2f}"
        rows.append({**first, **blank, "paper_value": value, "printed": text})
    return pd.DataFrame(rows)


@cache
def config_at(
    dataset: str,
    model: str,
    variant: str,
    view: str,
    encoder: str,
    encoder_mode: str,
    rate: float,
) -> RunConfig:
    """Return the first run of a cell; without text there is nothing to fine-tune."""
    if not model_entry(model).can_fine_tune:
        encoder_mode = "frozen"
    return RunConfig.resolve(
        dataset=dataset,
        view=view,
        model=model,
        variant=variant,
        encoder=encoder,
        encoder_mode=encoder_mode,
        missing_rate=rate,
        seed=SEEDS[0],
    )


class _Ours:
    """Published numbers by system; knows which runs belong to a printed cell."""

    def __init__(self, view: str | None, mode: str) -> None:
        self.view, self.mode = view, mode
        self.runs = dict(list(load_runs().groupby(list(SYSTEM))))
        self.summary = _by_place(load_summary(), "missing_rate")
        self.sweeps = _by_place(load_aggregates(), "aggregate")
        self.times = load_table(EPOCH_TIMES)
        self._sessions: dict[tuple[str, str], pd.DataFrame] = {}

    def number(self, source_: Source, cell: Mapping[str, object]) -> dict[str, object]:
        rate = {"rate": cell["rate"], "seconds": cell["rate"]}.get(source_.number, 0.0)
        place = self._place(str(cell["dataset"]))
        system = self._named(cell, float(rate))
        if source_.number == "seconds":
            found = self._seconds(cell)
        else:
            found = self._score(system, source_.number, float(rate), str(cell["key"]))
        return {**found, **place}

    def change(self, cell: Mapping[str, object]) -> float:
        """Return the mean difference from the full model over the seeds of both."""
        rate, column = float(cell["rate"]), f"test_{cell['key']}"
        full = {**cell, "model_variant": model_entry(cell["system"]).default_variant}
        own, whole = (
            self._by_seed(self._named(one, rate), rate, column) for one in (cell, full)
        )
        return float((own - whole).mean())

    def _by_seed(self, system: tuple[str, ...], rate: float, column: str) -> pd.Series:
        own = self.runs.get(system)
        if own is None:
            return pd.Series(dtype=float)
        return own[own["missing_rate"] == rate].set_index("seed")[column]

    def _place(self, dataset: str) -> dict[str, str]:
        view = self.view or default_view(dataset)
        encoder = default_encoder(source(dataset, view).language)
        return {"view": view, "encoder": encoder, "encoder_mode": self.mode}

    def _named(self, cell: Mapping[str, object], rate: float) -> tuple[str, ...]:
        place = self._place(str(cell["dataset"]))
        return _system_at(*(cell[name] for name in CELL_SYSTEM), *place.values(), rate)

    def _score(
        self, system: tuple[str, ...], number: str, rate: float, key: str
    ) -> dict[str, object]:
        is_curve = number not in ("complete", "rate")
        table = self.sweeps if is_curve else self.summary
        place = (*system, number if is_curve else rate, key)
        if place not in table:
            return _nothing(self._status(system, is_curve))
        row = table[place]
        found = {"ours": row["mean"], "lo": row["lo"], "hi": row["hi"]}
        return {**found, "n": int(row["n"]), "seeds": row["seeds"], "status": ""}

    def _seconds(self, cell: Mapping[str, object]) -> dict[str, object]:
        """Return measured seconds of an epoch: mean and t-interval over rounds."""
        place = self._place(str(cell["dataset"]))
        nothing = {"rounds": pd.Series(dtype=float)}
        if place["encoder_mode"] != "frozen":
            return nothing | _nothing(NOT_RUN)
        dataset, model, variant = (str(cell[name]) for name in CELL_SYSTEM)
        system = (dataset, place["view"], model, variant, float(cell["rate"]))
        times = self._session(dataset, str(place["view"]))
        cost = epoch_times(times, *system)
        if cost.empty:
            elsewhere = epoch_times(self.times, *system)
            return nothing | _nothing(NOT_RUN if elsewhere.empty else OTHER_SESSION)
        lo, hi = student_interval(cost)
        found = {"ours": cost.mean(), "lo": lo, "hi": hi}
        found["rounds"] = cost.set_axis(cost.index.get_level_values("round"))
        _, device, threads, _ = cost.index[0]
        where = (
            f"{device}, {threads} thread{'s' if threads > 1 else ''}, commit "
            f"{str(times['commit'].iloc[0])[:10]}"
        )
        found["content"] = "; ".join(dict.fromkeys(times.get("content", [])))
        return {**found, "n": len(cost), "seeds": "", "status": "", "where": where}

    def _session(self, dataset: str, view: str) -> pd.DataFrame:
        """Return the times of one session on a data set and view."""
        if (dataset, view) not in self._sessions:
            times = self.times
            if not times.empty:
                here = (times["dataset"] == dataset) & (times["view"] == view)
                times = one_session(times[here & (times["encoder_mode"] == "frozen")])
            self._sessions[dataset, view] = times
        return self._sessions[dataset, view]

    def _status(self, system: tuple[str, ...], is_curve: bool) -> str:
        own = self.runs.get(system)
        if own is None or not is_curve:
            return NOT_RUN
        return f"{own['missing_rate'].nunique()} of {len(RATES)} rates"


@cache
def _system_at(*cell: str | float) -> tuple[str, ...]:
    """Return what names the system of a cell in published tables."""
    fields = config_at(*cell).model_dump()
    fields["setting"] = setting(fields)
    return tuple(fields[name] for name in SYSTEM)


def _by_place(frame: pd.DataFrame, at: str) -> dict[tuple, dict[str, object]]:
    """Return published estimates by system, rate or aggregate, and metric."""
    keys = [*SYSTEM, at, "metric"]
    return {tuple(row[key] for key in keys): row for row in frame.to_dict("records")}


def _nothing(status: str) -> dict[str, object]:
    nan = dict.fromkeys(("ours", "lo", "hi"), np.nan)
    return {**nan, "n": 0, "seeds": "", "status": status}
