"""The class counts that both papers print, beside those of the data."""

from __future__ import annotations

import pandas as pd

from msa.data.published import PRINTED_NAMES, published
from msa.data.registry import source
from msa.report.compare import NOT_RUN
from msa.report.labels import MISSING, slug
from msa.report.tables import Table, no_marks
from msa.study.results import load_passport


def in_short(paper: str, view: str = "clip-context") -> str:
    """Say how many data sets have exactly the printed counts."""
    own = table(paper, view).data
    own = own[own["ours"] != NOT_RUN]
    if own.empty:
        return f"no data set has been counted in the {view} view yet."
    equal = own.groupby("dataset", sort=False)["same"].all()
    names = [source(dataset, view).title for dataset in equal[equal].index]
    told = " and ".join(names) if names else "none of the data sets"
    return f"the counts of {told} are the printed ones in every split."


def table(paper: str, view: str = "clip-context") -> Table:
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
    printed_in = {"MFMB-Net": "Table 1", "MIT-FRNet": "Table 2"}[paper]
    cells = published()
    cells = cells[(cells["paper"] == paper) & (cells["table"] == printed_in)]
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
        f"{paper}, {printed_in}: clips below, at and above 0, by split; beside them "
        f"those of the files behind our runs ({view} view). Exact counts, no interval."
    )
    marks = no_marks(frame)
    name = f"{paper.lower()}-{slug(printed_in)}"
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
