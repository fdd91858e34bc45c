"""Paper against ours: every printed table again, cell by cell, from published runs.

Rows, columns and units are the paper's. Where the paper has one row there are four:
what it prints, our mean with its interval, the difference, and the number of seeds. A
cell that has not been run says so, and so does one with fewer seeds than most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from msa.data.published import PRINTED_NAMES, published
from msa.data.registry import FRAME_LEVEL, default_view, source
from msa.data.text import default_encoder
from msa.models.registry import model_entry
from msa.report.claims import MEASURE, LinkedTable
from msa.report.labels import MISSING, VIEW_WORDS, slug
from msa.report.tables import FEWER, Table, has_fewer, no_marks, rank_marks
from msa.study.epoch_times import EPOCH_TIMES, epoch_times, one_session
from msa.study.grids import SEEDS, in_view, study_names
from msa.study.publish import (
    SYSTEM,
    load_aggregates,
    load_passport,
    load_runs,
    load_summary,
    load_table,
    setting,
)
from msa.study.stats import TIE
from msa.train.config import RunConfig
from msa.train.metrics import METRICS, RATES, mwa

NOT_RUN = "not run yet"

OTHER_SESSION = "measured apart"
"""What stands where only another session than the table's measured a time."""

PARTS = ("paper", "ours", "difference", "seeds")
"""The rows of a system."""

TUNED = (
    "On CMU-MOSI six baselines have settings of a small search on validation; the "
    "papers' models and TFR-Net have the papers' own ([how to read the pages]"
    "(index.md))."
)
"""What readers of a table of systems have to know of their hyper-parameters."""

TIME_PARTS = ("paper", "ours", "paper, ratio", "ours, ratio", "rounds")
"""The rows of a system in a table of running times."""

_VARIANTS = {
    "MIT-FRNet (ablation MMR)": "w/o MMR",
    "MIT-FRNet (ablation MITR)": "w/o MITR",
}


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


# --- the cells ------------------------------------------------------------------------


def compared(
    page: str,
    *,
    view: str | None = None,
    encoder: str | None = None,
    encoder_mode: str = "frozen",
) -> pd.DataFrame:
    """Put our numbers beside every printed cell of a table.

    Parameters
    ----------
    page : str
        A key of ``SOURCES``.
    view, encoder : str, optional
        Of our runs; the defaults of each data set when left out.
    encoder_mode : {"frozen", "finetune"}

    Returns
    -------
    DataFrame
        One row per printed cell, in the order of the paper: ``dataset, row, metric,
        variant, rate, printed, paper`` (in the paper's unit), ``system, model_variant,
        key, factor, ours, ranked, lo, hi, n, seeds, status, view, encoder,
        encoder_mode`` (our numbers in the paper's unit; ``status`` is empty where there
        is a number). ``ranked`` is what systems are put in order by: our number, but F1
        with correct weights where the paper mixes two definitions. For ablations
        ``change`` is our mean difference from the full model, seed by seed.
    """
    source_ = SOURCES[page]
    cells = _printed_cells(source_)
    ours = _Ours(view, encoder, encoder_mode)
    rows = []
    for cell in cells.to_dict("records"):
        found = ours.number(source_, cell)
        factor = cell["factor"]
        found["ranked"] = found["ours"] * factor
        if _mixes_f1(source_) and str(cell["key"]).endswith(_SWAPPED):
            correct = {**cell, "key": cell["key"].removesuffix(_SWAPPED)}
            found["ranked"] = ours.number(source_, correct)["ours"] * factor
        if cell["arrow"]:
            found["change"] = ours.change(cell) * factor
        scaled = {k: found[k] * factor for k in ("ours", "lo", "hi")}
        rows.append({**cell, **found, **scaled})
    cells = pd.DataFrame(rows)
    return _with_ratios(cells) if source_.number == "seconds" else cells


def _with_ratios(cells: pd.DataFrame) -> pd.DataFrame:
    """Add how many times the paper's own system takes, at the same missing rate."""
    own = cells[cells["row"] == "Ours"].set_index("rate")
    for field in ("paper_value", "ours"):
        cells[f"{field}_ratio"] = cells[field] / cells["rate"].map(own[field])
    return cells


def _printed_cells(source_: Source) -> pd.DataFrame:
    """Return the printed cells with data set, system and metric in our names."""
    cells = published()
    own = cells[
        (cells["paper"] == source_.paper) & cells["table"].isin(source_.tables)
    ].reset_index(drop=True)
    names = {printed: name for name, printed in PRINTED_NAMES.items()}
    own = own.assign(dataset=own["dataset"].map(names), row=own["model"])
    systems = [_system(source_.paper, row) for row in own["row"]]
    own["system"], own["model_variant"] = zip(*systems, strict=True)
    own["key"] = [
        _key(source_, row, key) for row, key in zip(own["row"], own["key"], strict=True)
    ]
    own = own.rename(columns={"value": "paper_value"})
    if source_.number == "MWA/10":
        own = _weighted(own)
    kept = ["dataset", "row", "metric", "variant", "rate", "printed", "paper_value"]
    return own[[*kept, "system", "model_variant", "key", "factor", "arrow"]]


def _system(paper: str, row: str) -> tuple[str, str]:
    """Return model and variant of a printed row."""
    if row.startswith("w/o"):
        return paper, row
    if row in _VARIANTS:
        return paper, _VARIANTS[row]
    model = paper if row == "Ours" else row
    return model, model_entry(model).default_variant


def _key(source_: Source, row: str, key: str) -> str:
    """Return our metric for a printed one: F1 with the weights that were printed.

    MFMB-Net quotes its baselines from a paper that weighs F1 correctly.
    """
    if "F1" not in key or (_mixes_f1(source_) and row != "Ours"):
        return key
    return f"{key}{_SWAPPED}"


def _mixes_f1(source_: Source) -> bool:
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


_SYSTEM = ("dataset", "system", "model_variant")

_SWAPPED = "_swapped"


@cache
def _config(
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

    def __init__(self, view: str | None, encoder: str | None, mode: str) -> None:
        self.view, self.encoder, self.mode = view, encoder, mode
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
        encoder = self.encoder or default_encoder(source(dataset, view).language)
        return {"view": view, "encoder": encoder, "encoder_mode": self.mode}

    def _named(self, cell: Mapping[str, object], rate: float) -> tuple[str, ...]:
        place = self._place(str(cell["dataset"]))
        return _system_at(*(cell[name] for name in _SYSTEM), *place.values(), rate)

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
        """Return measured seconds of an epoch: mean, least and most of the rounds."""
        place = self._place(str(cell["dataset"]))
        if place["encoder_mode"] != "frozen":
            return _nothing(NOT_RUN)
        dataset, model, variant = (str(cell[name]) for name in _SYSTEM)
        system = (dataset, place["view"], model, variant, float(cell["rate"]))
        times = self._session(dataset, str(place["view"]))
        cost = epoch_times(times, *system)
        if cost.empty:
            elsewhere = epoch_times(self.times, *system)
            return _nothing(NOT_RUN if elsewhere.empty else OTHER_SESSION)
        found = {"ours": cost.mean(), "lo": cost.min(), "hi": cost.max()}
        _, device, threads, _ = cost.index[0]
        where = (
            f"{device}, {threads} thread{'s' if threads > 1 else ''}, commit "
            f"{str(times['commit'].iloc[0])[:10]}"
        )
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
    fields = _config(*cell).model_dump()
    fields["setting"] = setting(fields)
    return tuple(fields[name] for name in SYSTEM)


def _by_place(frame: pd.DataFrame, at: str) -> dict[tuple, dict[str, object]]:
    """Return published estimates by system, rate or aggregate, and metric."""
    keys = [*SYSTEM, at, "metric"]
    return {tuple(row[key] for key in keys): row for row in frame.to_dict("records")}


def _nothing(status: str) -> dict[str, object]:
    nan = dict.fromkeys(("ours", "lo", "hi"), np.nan)
    return {**nan, "n": 0, "seeds": "", "status": status}


# --- the tables -----------------------------------------------------------------------


def paper_tables(page: str, cells: pd.DataFrame) -> list[Table]:
    """Lay compared cells out as the paper does.

    Parameters
    ----------
    page : str
        A key of ``SOURCES``.
    cells : DataFrame
        From :func:`compared`.

    Returns
    -------
    list of Table
        One per data set, and per metric or ablation where the paper's table is that
        long. Each printed row becomes the rows ``PARTS``.
    """
    source_ = SOURCES[page]
    by = ["dataset"]
    by += {"metric": ["metric", "variant"], "model": ["row"], "": []}[source_.split]
    return [
        _table(page, source_, part, "-".join(slug(str(name)) for name in names if name))
        for names, part in cells.groupby(by, sort=False)
    ]


def _table(page: str, source_: Source, cells: pd.DataFrame, suffix: str) -> Table:
    cells = cells.assign(
        column=_columns(source_, cells),
        line=_lines(source_, cells),
        unit=_units(cells),
        fewer_seeds=has_fewer(cells["n"]),
    )
    columns = list(dict.fromkeys(cells["column"]))
    lines = list(dict.fromkeys(cells["line"]))
    head = "Missing rate" if source_.split == "model" else "System"
    places = {column: _places(cells, column) for column in columns}
    texts, commands = [], {}
    for line in lines:
        own = cells[cells["line"] == line].set_index("column")
        numbers = own.to_dict("index")
        commands[len(texts) + 1] = _commands(source_, own)
        parts = TIME_PARTS if source_.number == "seconds" else PARTS
        for part in parts if (own["status"] == "").any() else parts[:2]:
            row = {c: _text(part, numbers[c], places[c]) for c in columns}
            texts.append({head: line, "Value": part, **row})
    frame = pd.DataFrame(texts)
    marks = no_marks(frame)
    if source_.split != "model":
        for column in columns:
            own = cells[cells["column"] == column].set_index("line").loc[lines]
            higher = source_.number != "seconds" and _is_higher_better(own)
            for part, field in (("paper", "paper_value"), ("ours", "ranked")):
                found = rank_marks(own[field], higher, places[column])
                marks.loc[frame["Value"] == part, column] = found
    data = cells.drop(columns=["line", "column"]).assign(
        difference=cells["ours"] - cells["paper_value"]
    )
    name = f"{page}-{suffix}"
    return Table(name, _caption(source_, cells), frame, marks, data, commands)


def _columns(source_: Source, cells: pd.DataFrame) -> list[str]:
    if source_.columns == "rate":
        return [f"{rate:.1f}" for rate in cells["rate"]]
    sides = {"has0": " (left)", "non0": " (right)", "": ""}
    if source_.paper == "MIT-FRNet":
        sides = {"has0": " (-)", "non0": " (*)", "": ""}
    units = [f" ({unit})" if TIMES_100 in unit else "" for unit in _units(cells)]
    heads = zip(cells["metric"], cells["variant"], units, strict=True)
    return [metric + sides[variant] + unit for metric, variant, unit in heads]


TIMES_100 = "× 100"
"""How the unit of MIT-FRNet's printed MAE and Corr ends."""


def _units(cells: pd.DataFrame) -> list[str]:
    """Return the unit of the numbers of every cell, empty for a plain Corr."""
    return [
        printed_unit(key, factor)
        for key, factor in zip(cells["key"], cells["factor"], strict=True)
    ]


def printed_unit(key: str, factor: float) -> str:
    """Return the unit in which a paper prints a metric.

    Examples
    --------
    >>> printed_unit("MAE", 100.0)
    'label units × 100'
    """
    if key not in METRICS:
        return "seconds"
    if METRICS[key].is_percent:
        return "%"
    words = ("label units" if key == "MAE" else "", TIMES_100 if factor != 1 else "")
    return " ".join(word for word in words if word)


def printed_name(key: str, factor: float) -> str:
    """Return a metric with the unit in which a paper prints it."""
    unit = printed_unit(key, factor)
    return METRICS[key].name + (f" ({unit})" if unit else "")


def _lines(source_: Source, cells: pd.DataFrame) -> list[str]:
    if source_.split == "model":
        return [f"{rate:.1f}" for rate in cells["rate"]]
    return [source_.paper if row == "Ours" else row for row in cells["row"]]


def _text(part: str, cell: Mapping[str, object], places: int) -> str:
    if part == "paper":
        arrow = {"up": " ▲", "down": " ▼"}.get(cell["arrow"], "")
        return (cell["printed"] if cell["printed"] != "-" else MISSING) + arrow
    if part in ("seeds", "rounds"):
        return str(cell["n"])
    if part.endswith("ratio"):
        field = {"paper": "paper_value", "ours": "ours"}[part.partition(",")[0]]
        ratio = cell[f"{field}_ratio"]
        return f"{ratio:.2f}" if np.isfinite(ratio) else MISSING
    if part == "ours" and cell["status"]:
        return cell["status"]
    if np.isnan(cell["ours"]):
        return MISSING
    if part == "ours":
        bounds = f"[{cell['lo']:.{places}f} to {cell['hi']:.{places}f}]"
        if str(cell["key"]).endswith(_SWAPPED) and cell["ranked"] != cell["ours"]:
            bounds = f"({cell['ranked']:.{places}f}) {bounds}"
        fewer = FEWER if cell["fewer_seeds"] else ""
        return f"{cell['ours']:.{places}f}{fewer}{_our_arrow(cell)} {bounds}"
    difference = cell["ours"] - cell["paper_value"]
    return MISSING if np.isnan(difference) else f"{difference:+z.{places}f}"


def _our_arrow(cell: Mapping[str, object]) -> str:
    """Return which way a score goes from our full model to ours without a part."""
    change = cell.get("change", np.nan)
    if np.isnan(change) or abs(change) <= TIE:
        return ""
    return " ▲" if change > 0 else " ▼"


def _places(cells: pd.DataFrame, column: str) -> int:
    """Return the decimals to print: as many as the paper has, at least one."""
    texts = cells.loc[cells["column"] == column, "printed"]
    return max(1, *(len(text.partition(".")[2]) for text in texts))


def _is_higher_better(cells: pd.DataFrame) -> bool:
    return all(METRICS[key].higher_is_better for key in cells["key"])


def _commands(source_: Source, own: pd.DataFrame) -> list[str]:
    """Return the commands of the runs of a row: its seeds, else the first one."""
    if source_.number == "seconds":
        return [MEASURE]
    cell = own.iloc[0]
    is_curve = source_.number in ("AUILC", "MWA/10")
    rates = RATES if is_curve else sorted(own["rate"].dropna().unique()) or [0.0]
    where = [cell[name] for name in (*_SYSTEM, "view", "encoder", "encoder_mode")]
    seeds = sorted({int(s) for text in own["seeds"] for s in text.split()})
    return [
        _config(*where, rate).model_copy(update={"seed": seed}).command()
        for seed in seeds or SEEDS[:1]
        for rate in rates
    ]


def _caption(source_: Source, cells: pd.DataFrame) -> str:
    data = source(cells["dataset"].iloc[0], cells["view"].iloc[0])
    what = {
        "complete": "complete data (missing rate 0.0)",
        "rate": "by missing rate",
        "AUILC": "area under the line over missing rates 0.0 to 1.0 (AUILC)",
        "MWA/10": "weighted average over missing rates (eq. 25, divided by 10), made "
        "of the printed table for the paper",
        "seconds": "seconds; the paper does not say of what. Ours: an epoch, training "
        f"and validation, mean with the least and the most of {_rounds(cells)}; ratio: "
        "times what MIT-FRNet takes at that rate",
    }[source_.number]
    metric = ""
    if source_.split == "metric":
        metric = f"{printed_name(*cells[['key', 'factor']].iloc[0])}, "
    elif source_.split == "model":
        metric = f"{cells['row'].iloc[0]}, "
    mixed = _mixes_f1(source_)
    brackets = "Brackets: 95 % intervals. "
    units = "All in the paper's units; difference is ours minus paper."
    if source_.number == "seconds":
        brackets = units = ""
    f1 = ""
    if any("F1" in key for key in cells["key"]):
        f1 = "F1 of both sides with the weights that the paper printed"
        f1 += (
            ", ours put in order by F1 with correct weights (in parentheses). "
            if mixed
            else ". "
        )
    arrows = ""
    if cells["arrow"].any():
        arrows = "▲ ▼: above or below the full model, ours on the seeds of both. "
    tables = " and ".join(source_.tables)
    return (
        f"{source_.paper}, {tables}: {metric}{data.title}, {what}. "
        f"{place(cells)} {_fewer_in_words(source_, cells)}{arrows}{brackets}{f1}{units}"
    ).rstrip()


def _rounds(cells: pd.DataFrame) -> str:
    """Say how many rounds of measuring are behind the numbers of some cells."""
    counts = sorted(set(cells.loc[cells["n"] > 0, "n"]))
    if not counts:
        return "the rounds"
    told = " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
    return f"{told} round{'s' if counts[-1] > 1 else ''}"


def _fewer_in_words(source_: Source, cells: pd.DataFrame) -> str:
    """Explain the mark of cells with fewer seeds; empty where there is none."""
    marked = cells[cells["fewer_seeds"]]
    if marked.empty:
        return ""
    if source_.number == "seconds":
        return f"{FEWER} Fewer rounds than most cells. "
    what = "missing rate " if source_.split == "model" else ""
    told = [
        f"{what}{line} (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)})"
        for line, own in marked.groupby("line", sort=False)
        for seeds in [_all_seeds(own)]
    ]
    return f"{FEWER} Fewer seeds than most cells: {', '.join(told)}. "


def _all_seeds(cells: pd.DataFrame) -> list[str]:
    """Return the seeds behind some cells, in order."""
    seeds = {int(seed) for text in cells["seeds"] for seed in text.split()}
    return [str(seed) for seed in sorted(seeds)]


def place(cells: pd.DataFrame) -> str:
    """Say on what features, encoder and seeds our numbers of some cells stand."""
    view, mode = cells["view"].iloc[0], cells["encoder_mode"].iloc[0]
    encoders = ", ".join(dict.fromkeys(cells["encoder"]))
    if "where" in cells:
        machines = "; ".join(dict.fromkeys(cells["where"].dropna()))
        return (
            f"Ours: {VIEW_WORDS[view]}, text encoder {encoders} ({mode}), measured in "
            f"turn on {machines}."
        )
    seeds = _all_seeds(cells)
    some = "seed" if len(seeds) == 1 else "seeds"
    runs = f"{some} {', '.join(seeds)}" if seeds else "nothing run yet"
    if cells.loc[cells["n"] > 0, "seeds"].nunique() > 1:
        runs += " (not every cell has all of them)"
    return f"Ours: {VIEW_WORDS[view]}, text encoder {encoders} ({mode}), {runs}."


# --- in words -------------------------------------------------------------------------


def state(page: str, cells: pd.DataFrame) -> str:
    """Say at the top of a page what its numbers are, and what is still to run.

    Parameters
    ----------
    page : str
        A key of ``SOURCES``.
    cells : DataFrame
        From :func:`compared`.

    Returns
    -------
    str
        Markdown.
    """
    source_ = SOURCES[page]
    view, mode = cells["view"].iloc[0], cells["encoder_mode"].iloc[0]
    printed = cells[cells["paper_value"].notna()]
    names = [source(d, view).title for d in dict.fromkeys(cells["dataset"])]
    done = int((printed["status"] == "").sum())
    rates = (
        "Missing rate 0.0"
        if source_.number == "complete"
        else "Missing rates 0.0 to 1.0 in steps of 0.1"
    )
    lines = [
        f"**Data:** {' and '.join(names)}. {place(cells)} {rates}, the same in train, "
        f"valid and test. **{done} of {len(printed)} {_cells_of(source_)}** have been "
        f"run{_by_data_set(printed, names)}"
        + ("." if done == len(printed) else "; the others say so.")
    ]
    if view not in FRAME_LEVEL:
        lines[0] = (
            "**Not the papers' features:** orders and shapes can be compared with the "
            f"paper, values cannot. {lines[0]}"
        )
    if source_.number == "seconds" and done:
        lines[0] += f" Each number of ours is a mean over {_rounds(cells)}."
    if done < len(printed) and source_.number == "seconds":
        lines.append(f"```bash\n{MEASURE}\n```")
    elif done < len(printed):
        runs = [f"python -m msa study run {s}" for s in _studies(source_, view, mode)]
        commands = "\n".join([*runs, "python -m msa study publish"])
        lines[0] += (
            " To run them:"
            if runs
            else " No study has them; under a table are the commands of its rows."
        )
        lines += [f"```bash\n{commands}\n```"] if runs else []
    if source_.studies[:1] == ("matrix-mosi",):
        lines.append(TUNED)
    return "\n\n".join(lines)


def _cells_of(source_: Source) -> str:
    """Return what the cells of a page are; figures print no numbers of their own."""
    if source_.number == "MWA/10":
        return "cells computed from the paper's tables"
    return "printed cells"


def _by_data_set(printed: pd.DataFrame, names: list[str]) -> str:
    """Say how many cells of each data set have been run, where there are several."""
    if len(names) == 1:
        return ""
    run = [own == "" for _, own in printed.groupby("dataset", sort=False)["status"]]
    told = [f"{name} {s.sum()} of {len(s)}" for name, s in zip(names, run, strict=True)]
    return f" ({', '.join(told)})"


def _studies(source_: Source, view: str, encoder_mode: str) -> tuple[str, ...]:
    """Return the studies that run the cells of a table on a view, if there are any."""
    if encoder_mode == "finetune":
        is_matrix = all(name.startswith("matrix") for name in source_.studies)
        return ("finetuned",) if is_matrix and view == "clip-context" else ()
    names = [in_view(name, view) for name in source_.studies]
    return tuple(name for name in names if name in study_names())


def in_short(page: str, cells: pd.DataFrame) -> str:
    """Sum a page up: how far it is, and whether the orders agree.

    Cells in which the paper prints a dash do not count. Whether a number is better than
    the paper's is said of the papers' own features only.
    """
    source_ = SOURCES[page]
    both = cells.dropna(subset=["ours", "paper_value"])
    count = int(cells["paper_value"].notna().sum())
    if both.empty:
        return f"None of the {count} {_cells_of(source_)} has been run yet."
    told = (
        f"{len(both)} of {count} {_cells_of(source_)} have a number of ours beside them"
    )
    is_time = source_.number == "seconds"  # of another machine
    if cells["view"].iloc[0] in FRAME_LEVEL and not is_time:
        better, worse = _against_paper(both)
        told += f", {better} better than the paper's and {worse} worse"
    words = [f"{told}."]
    taus = agreement(page, cells)
    if len(taus):
        words.append(
            f"The order of the systems agrees with the paper's by a Kendall tau of "
            f"{taus.mean():.2f}, averaged over {len(taus)} columns (1: the same order, "
            "0: unrelated, -1: reversed)."
        )
    return " ".join(words)


def _against_paper(both: pd.DataFrame) -> tuple[int, int]:
    """Count the cells in which ours is better than the paper's, and worse."""
    sign = [1 if METRICS[key].higher_is_better else -1 for key in both["key"]]
    gain = (both["ours"] - both["paper_value"]) * sign
    return int((gain > TIE).sum()), int((gain < -TIE).sum())


def agreement(page: str, cells: pd.DataFrame) -> pd.Series:
    """Return Kendall's tau between the paper's and our order of systems, by column.

    Columns with fewer than four systems that both have are left out, and so are those
    in which all systems are equal.
    """
    both = cells.dropna(subset=["ours", "paper_value"])
    keys = ["dataset", "metric", "variant", "rate"]
    groups = [g for _, g in both.groupby(keys, dropna=False) if len(g) >= 4]
    orders = [g[["ranked", "paper_value"]].round(9).to_numpy() for g in groups]
    taus = [kendalltau(*order.T).statistic for order in orders]
    return pd.Series(taus, dtype=float).dropna()


def overview() -> Table:
    """Count, for every page with scores, the cells that have been run."""
    rows = []
    for page, source_ in SOURCES.items():
        cells = compared(page)
        both = cells.dropna(subset=["ours", "paper_value"])
        taus = agreement(page, cells)
        rows.append(
            {
                "Page": f"papers/{page}",
                "Data": ", ".join(source(d).title for d in cells["dataset"].unique()),
                "Cells": int(cells["paper_value"].notna().sum()),
                "Run": len(both),
                "Kendall tau": float(taus.mean()) if len(taus) else np.nan,
                "Studies": ", ".join(source_.studies),
            }
        )
    caption = (
        "Pages with scores: cells that the paper prints (for figures, that can be "
        "computed from its tables), those with a number of ours (default feature view, "
        "frozen encoder), and how far our order of the systems agrees with the paper's "
        "(mean over columns; 1: the same order, 0: unrelated, -1: reversed). "
        "python -m msa study run STUDY runs what is missing."
    )
    return LinkedTable.plain(pd.DataFrame(rows), "overview", caption)


def counts_in_short(paper: str, view: str = "clip-context") -> str:
    """Say how many data sets have exactly the printed counts."""
    own = counts_table(paper, view).data
    equal = own.groupby("dataset", sort=False)["same"].all()
    names = [source(dataset, view).title for dataset in equal[equal].index]
    told = " and ".join(names) if names else "none of the data sets"
    return f"the counts of {told} are the printed ones in every split."


def counts_table(paper: str, view: str = "clip-context") -> Table:
    """Put the clips by class and split of a paper's data table beside the passports'.

    Parameters
    ----------
    paper : {"MFMB-Net", "MIT-FRNet"}
        Whose table: Table 1 of MFMB-Net, Table 2 of MIT-FRNet.
    view : str
        Feature view of the passports.

    Returns
    -------
    Table
        A cell is negative/neutral/positive, as the papers print it.
    """
    table = {"MFMB-Net": "Table 1", "MIT-FRNet": "Table 2"}[paper]
    cells = published()
    cells = cells[(cells["paper"] == paper) & (cells["table"] == table)]
    rows, tidy = [], []
    for printed_name, own in cells.groupby("dataset", sort=False):
        dataset = {v: k for k, v in PRINTED_NAMES.items()}[printed_name]
        ours = _passport_counts(dataset, view)
        numbers = own.pivot(index="split", columns="metric", values="value")
        splits = list(dict.fromkeys(own["split"]))
        title = source(dataset, view).title
        counted = [_joined(numbers.loc[s], ours.get(s)) for s in splits]
        for part in ("paper", "ours", "difference"):
            row = {s: c[part] for s, c in zip(splits, counted, strict=True)}
            rows.append({"Data set": title, "Value": part, **row})
        for split, count in zip(splits, counted, strict=True):
            same = count["paper"] == count["ours"]
            tidy.append({"dataset": dataset, "split": split, **count, "same": same})
    frame = pd.DataFrame(rows)
    caption = (
        f"{paper}, {table}: clips below, at and above 0, by split; beside them "
        f"those of the files behind our runs ({view} view). Exact counts, no interval."
    )
    marks = no_marks(frame)
    name = f"{paper.lower()}-{slug(table)}"
    return Table(name, caption, frame, marks, pd.DataFrame(tidy))


def _passport_counts(dataset: str, view: str) -> dict[str, pd.Series]:
    splits = load_passport(dataset, view).get("splits")
    if splits is None:
        return {}
    classes = ["negative", "neutral", "positive"]
    counts = splits.set_index("split")[classes].add_prefix("count_")
    counts["count_all"] = counts.sum(axis=1)
    counts.loc["all"] = counts.sum()
    return dict(counts.iterrows())


def _joined(paper: pd.Series, ours: pd.Series | None) -> dict[str, str]:
    """Write the counts of a split as the papers do: by class, or all together."""
    names = [f"count_{name}" for name in ("negative", "neutral", "positive", "all")]
    names = [
        name for name in names if name in paper.index and paper[name] == paper[name]
    ]
    texts = {"paper": "/".join(f"{paper[name]:.0f}" for name in names)}
    if ours is None:
        return {**texts, "ours": NOT_RUN, "difference": MISSING}
    return {
        **texts,
        "ours": "/".join(f"{ours[name]:.0f}" for name in names),
        "difference": "/".join(
            f"{ours[name] - paper[name]:+z.0f}".replace("+0", "0") for name in names
        ),
    }
