"""The first page: each paper's verdict on one card, computed from published results."""

from __future__ import annotations

import html

import pandas as pd
from IPython.display import HTML

from msa.data.published import PRINTED_NAMES, published
from msa.data.registry import DATASETS, source
from msa.report.claims import DECIDED, verdicts
from msa.report.duels import against_linear
from msa.report.labels import fewest_to_most, main_runs, not_published, span
from msa.study.results import load_runs
from msa.study.verdicts import UNFINISHED, VERDICTS

PAPERS = {
    "MFMB-Net": "Tao et al., AAAI 2025",
    "MIT-FRNet": "Li et al., ESWA 2024",
}
"""The replicated papers, as the cards name them."""


def verdict_in_words(paper: str | None = None) -> str:
    """Say in a few words how the claims of a paper, or of both, have fared.

    Parameters
    ----------
    paper : {"MFMB-Net", "MIT-FRNet"}, optional
        Both papers when left out.
    """
    counts = _counts(paper)
    total, open_ = sum(counts.values()), counts[UNFINISHED]
    if open_ == total:
        return f"verdict open: none of {total} claims has all its runs yet"
    told = ", ".join(f"{n} {v}" for v, n in counts.items() if n and v != UNFINISHED)
    more = f"; {open_} still open" if open_ else ""
    return f"of {total} claims {told}{more}"


def verdict_of_the_title() -> str:
    """Return the verdict in the few words that fit into the title of the book.

    Claims on the size of the data sets, which no run decides, are left out.
    """
    found = verdicts()
    found = found[[claim.kind != "counts" for claim in found["claim"]]]
    counts = found["verdict"].value_counts().reindex(list(VERDICTS), fill_value=0)
    total = len(found)
    decided = sum(counts[verdict] for verdict in DECIDED)
    if decided < total / 2:
        return f"verdict open, {decided} of {total} claims decided"
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in DECIDED)
    views = found.loc[found["verdict"].isin(DECIDED), "view"].unique()
    features = " and ".join(views)
    return f"of {decided} claims decided by runs on {features} features {told}"


def cards() -> HTML:
    """Return a card per paper: verdict, claims by verdict, data, and how sure.

    Runs with a frozen text encoder count, which the claims are decided by.
    """
    runs = main_runs(load_runs())
    runs = runs[runs["encoder_mode"] == "frozen"]
    both = "".join(_card(paper, runs) for paper in PAPERS)
    return HTML(f'<div class="msa-cards">{both}</div>')


def _card(paper: str, runs: pd.DataFrame) -> str:
    own = runs[runs["model"] == paper]
    own = own.sort_values(
        "dataset", key=lambda names: names.map(DATASETS.index), kind="stable"
    )
    facts = {
        "Data": _data(paper, own),
        "How sure": _certainty(own),
        "Measured": _measured(paper, own),
    }
    lines = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>"
        for name, text in facts.items()
    )
    words = verdict_in_words(paper)
    return (
        '<div class="msa-card">'
        f'<p class="msa-card-title"><strong>[Re] {paper}</strong>, {PAPERS[paper]}</p>'
        f'<p class="msa-card-verdict">{html.escape(words[0].upper() + words[1:])}.</p>'
        f"{_bar(_counts(paper))}<dl>{lines}</dl></div>"
    )


def _bar(counts: dict[str, int]) -> str:
    """Draw the shares of the verdicts as one bar; the words beside it say the same."""
    total = sum(counts.values())
    parts = "".join(
        f'<span class="msa-{verdict.replace(" ", "-")}" '
        f'style="flex-grow: {count}" title="{verdict}: {count} of {total}"></span>'
        for verdict, count in counts.items()
        if count
    )
    return f'<div class="msa-bar" aria-hidden="true">{parts}</div>'


def _counts(paper: str | None) -> dict[str, int]:
    found = verdicts()
    if paper is not None:
        found = found[[claim.paper == paper for claim in found["claim"]]]
    return {v: int((found["verdict"] == v).sum()) for v in VERDICTS}


def _data(paper: str, runs: pd.DataFrame) -> str:
    """Name the data sets of a paper's runs, and those of the paper without a run."""
    cells = published()
    printed = set(cells.loc[cells["paper"] == paper, "dataset"])
    own = [name for name, title in PRINTED_NAMES.items() if title in printed]
    pairs = runs[["dataset", "view"]].drop_duplicates().itertuples(index=False)
    told = [
        f"{source(d, v).title} ({v} features{not_published([(d, v)])}"
        f"{'' if d in own else '; not in the paper'})"
        for d, v in pairs
    ]
    lacking = [source(d).title for d in own if d not in set(runs["dataset"])]
    told += [f"no run yet on {' and '.join(lacking)}"] if lacking else []
    return "; ".join(told)


def _measured(paper: str, runs: pd.DataFrame) -> str:
    """Compare with the linear reference, on every data set, in MAE."""
    places = runs[["dataset", "view"]].drop_duplicates().itertuples(index=False)
    told = [against_linear(*at, "MAE", [paper], explained=False) for at in places]
    return (
        f"{' '.join(told)} What better and worse mean stands below the figure."
        if told
        else "nothing yet"
    )


def _certainty(runs: pd.DataFrame) -> str:
    if runs.empty:
        return "nothing to be sure of"
    told = []
    for place, own in runs.groupby(["dataset", "view"], sort=False):
        seeds = own.groupby("missing_rate")["seed"].nunique()
        n, plural = fewest_to_most(seeds), "" if seeds.max() == 1 else "s"
        count = f"{len(own)} run{'' if len(own) == 1 else 's'}"
        rates = "missing rate" if len(seeds) == 1 else "each of the missing rates"
        told.append(
            f"{source(*place).title}: {count}, {n} seed{plural} at {rates} "
            f"{span(own['missing_rate'])}"
        )
    return "; ".join(told)
