"""A paper's tables again, with its rows, columns and units, and ours in between.

Where the paper has one row there are four: what it prints, our mean with its interval,
the difference, and the number of seeds. A cell with fewer seeds than most says so.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from msa.data.published import PRINTED_NAMES, published
from msa.data.registry import source
from msa.report.claims import measure
from msa.report.compare import (
    CELL_SYSTEM,
    SOURCES,
    SWAPPED,
    Source,
    config_at,
    mixes_f1,
)
from msa.report.labels import MISSING, slug, view_words
from msa.report.tables import (
    FEWER,
    MARKS_SENTENCE,
    Table,
    has_fewer,
    no_marks,
    rank_marks,
)
from msa.study.grids import SEEDS
from msa.train.metrics import METRICS, RATES

PARTS = ("paper", "ours", "difference", "seeds")
"""The rows of a system."""

TIME_PARTS = (
    *("paper", "ours"),
    *("paper, ratio", "ours, ratio", "difference, ratio", "rounds"),
)
"""The rows of a system in a table of running times."""


def tables(page: str, cells: pd.DataFrame) -> list[Table]:
    """Lay compared cells out as the paper does.

    Parameters
    ----------
    page : str
        A key of ``SOURCES``.
    cells : DataFrame
        From :func:`msa.report.compare.compared`.

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
            for part, field in (("paper", "paper_ranked"), ("ours", "ranked")):
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
    return [
        (source_.paper if row == "Ours" else row) + (f" ({type_})" if type_ else "")
        for row, type_ in zip(cells["row"], cells["type"], strict=True)
    ]


def _text(part: str, cell: Mapping[str, object], places: int) -> str:
    if part == "paper":
        arrow = {"up": " ▲", "down": " ▼"}.get(cell["arrow"], "")
        text = cell["printed"] if cell["printed"] != "-" else MISSING
        if abs(cell["paper_ranked"] - cell["paper_value"]) > ROUNDING:
            text += f" ({cell['paper_ranked']:.{places}f})"
        return text + arrow
    if part in ("seeds", "rounds"):
        return str(cell["n"])
    if part.endswith("ratio"):
        return _ratio_text(part.partition(",")[0], cell)
    if part == "ours" and cell["status"]:
        return cell["status"]
    if np.isnan(cell["ours"]):
        return MISSING
    if part == "ours":
        bounds = f"[{cell['lo']:.{places}f} to {cell['hi']:.{places}f}]"
        if np.isnan(cell["lo"]):  # one round
            bounds = ""
        if str(cell["key"]).endswith(SWAPPED) and cell["ranked"] != cell["ours"]:
            bounds = f"({cell['ranked']:.{places}f}) {bounds}"
        fewer = FEWER if cell["fewer_seeds"] else ""
        return f"{cell['ours']:.{places}f}{fewer}{_our_arrow(cell)} {bounds}".rstrip()
    difference = cell["ours"] - cell["paper_value"]
    return MISSING if np.isnan(difference) else f"{difference:+z.{places}f}"


def _ratio_text(part: str, cell: Mapping[str, object]) -> str:
    paper, ours = cell["paper_value_ratio"], cell["ours_ratio"]
    ratio = {"paper": paper, "ours": ours, "difference": ours - paper}[part]
    if not np.isfinite(ratio):
        return MISSING
    if part == "difference":
        return f"{ratio:+z.2f}"
    if part == "paper" or np.isnan(cell["lo_ratio"]):
        return f"{ratio:.2f}"
    return f"{ratio:.2f} [{cell['lo_ratio']:.2f} to {cell['hi_ratio']:.2f}]"


ROUNDING = 1e-4
"""Changes up to this are ties. In percent: published scores have seven digits, and one
clip of the largest test split moves a share by 0.02."""


def _our_arrow(cell: Mapping[str, object]) -> str:
    """Return which way a score goes from our full model to ours without a part."""
    change = cell.get("change", np.nan)
    if np.isnan(change) or abs(change) <= ROUNDING:
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
        return [measure(cell_view)] if (cell_view := timed_view(own)) else []
    cell = own.iloc[0]
    is_curve = source_.number in ("AUILC", "MWA/10")
    rates = RATES if is_curve else sorted(own["rate"].dropna().unique()) or [0.0]
    where = [cell[name] for name in (*CELL_SYSTEM, "view", "encoder", "encoder_mode")]
    seeds = sorted({int(s) for text in own["seeds"] for s in text.split()})
    return [
        config_at(*where, rate).model_copy(update={"seed": seed}).command()
        for seed in seeds or SEEDS[:1]
        for rate in rates
    ]


def _printed_in(source_: Source, dataset: str) -> str:
    """Return which of the tables of a page prints a data set."""
    own = published()
    own = own[own["dataset"] == PRINTED_NAMES[dataset]]
    own = own[(own["paper"] == source_.paper) & own["table"].isin(source_.tables)]
    return " and ".join(own["table"].unique())


def timed_view(cells: pd.DataFrame) -> str:
    """Return the view that ``python -m msa bench rates`` measures cells in.

    Parameters
    ----------
    cells : DataFrame
        From :func:`msa.report.compare.compared`, of one view and encoder mode.

    Returns
    -------
    str
        Empty where a text encoder trains along, which it does not measure.
    """
    place = cells.iloc[0]
    return str(place["view"]) if place["encoder_mode"] == "frozen" else ""


def _caption(source_: Source, cells: pd.DataFrame) -> str:
    data = source(cells["dataset"].iloc[0], cells["view"].iloc[0])
    what = {
        "complete": "complete data (missing rate 0.0)",
        "rate": "by missing rate",
        "AUILC": "area under the line over missing rates 0.0 to 1.0 (AUILC)",
        "MWA/10": "weighted average over missing rates (eq. 25, divided by 10), made "
        "of the printed table for the paper",
        "seconds": "seconds; the paper does not say of what. Ours: an epoch, training "
        "and validation, mean and 95 % t-interval of "
        f"{rounds_in_words(cells)}; ratio: times what MIT-FRNet takes at that rate, "
        "ours by round; difference: ours minus paper. In parentheses: what features "
        "the paper gave the system; ours are the same for all",
    }[source_.number]
    metric = ""
    if source_.split == "metric":
        metric = f"{printed_name(*cells[['key', 'factor']].iloc[0])}, "
    elif source_.split == "model":
        metric = f"{cells['row'].iloc[0]}, "
    mixed = mixes_f1(source_)
    brackets = "Brackets: 95 % intervals. "
    units = "All in the paper's units; difference is ours minus paper."
    if source_.number == "seconds":
        brackets = units = ""
    f1 = ""
    if any("F1" in key for key in cells["key"]):
        f1 = "F1 of both sides with the weights that the paper printed"
        f1 += (
            ", systems put in order by F1 with correct weights (in parentheses; the "
            "paper's mirrored, 2 x Acc-2 - F1). "
            if mixed
            else ". "
        )
    arrows = ""
    if cells["arrow"].any():
        arrows = (
            "▲ ▼: ours above or below the full model on the seeds of both; the paper's "
            "as printed. "
        )
    marks = ""
    if source_.split != "model":
        marks = f"{MARKS_SENTENCE[:-1]}, of the paper's numbers and of ours apart. "
    tables = _printed_in(source_, cells["dataset"].iloc[0])
    return (
        f"{source_.paper}, {tables}: {metric}{data.title}, {what}. {place(cells)} "
        f"{_fewer_in_words(source_, cells)}{arrows}{brackets}{marks}{f1}{units}"
    ).rstrip()


def rounds_in_words(cells: pd.DataFrame) -> str:
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
    features = view_words(view, cells["dataset"])
    if "where" in cells:
        machines, contents = (
            "; ".join(dict.fromkeys(cells[column].dropna()))
            for column in ("where", "content")
        )
        what = f"{features}, text encoder {encoders} ({mode})"
        if contents.startswith("random"):  # text as wide as the papers' encoder gives
            what = f"{contents}, in place of {features}, encoder frozen"
        return f"Ours: {what}, measured in turn on {machines}."
    seeds = _all_seeds(cells)
    some = "seed" if len(seeds) == 1 else "seeds"
    is_begun = cells["status"].str.contains(" of ").any()  # some rates, not all
    none = "no system at every rate yet" if is_begun else "nothing run yet"
    runs = f"{some} {', '.join(seeds)}" if seeds else none
    if cells.loc[cells["n"] > 0, "seeds"].nunique() > 1:
        runs += " (not every cell has all of them)"
    return f"Ours: {features}, text encoder {encoders} ({mode}), {runs}."
