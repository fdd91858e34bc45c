"""The claim board: every claim of the papers with its verdict, effect and evidence."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from msa.data.registry import DATASETS, FRAME_LEVEL, VIEWS, UnknownData, source
from msa.report.labels import MISSING, not_published, printed
from msa.report.tables import Table, no_marks
from msa.study.claims import (
    Claim,
    in_words,
    parse_system,
    places,
    rates_of,
    read_claims,
    rules,
)
from msa.study.grids import FIVE_SEEDS, in_view, study, study_names
from msa.study.printed import is_met, printed_cells
from msa.study.stats import AGGREGATES
from msa.study.verdicts import (
    CONSISTENT,
    REFUTED,
    REPRODUCED,
    UNFINISHED,
    VERDICTS,
    load_verdicts,
)
from msa.train.metrics import METRICS, RATES

DECIDED = (REPRODUCED, CONSISTENT, REFUTED)
"""Verdicts of claims that runs have decided."""

SEEDS = "Seeds or rounds"
"""Column of how often a claim was put to the test: seeds, of times rounds."""

BOARD = ("Claim", "Where", "Verdict", "Effect", SEEDS, "Printed", "Why", "Page")
"""Columns of a claim board, on pages that say whose claims they are."""

UNSETTLED = "Unsettled: the interval also holds what would not be refuted"
"""Said of a refuted claim that more runs or clips could turn round."""

ASKS_MORE = (
    "The paper's own printed numbers win {} of {} cells, which is less than its words, "
    "as we read them, say"
)
"""Said of a claim that the printed tables do not bear out, or not as we read it."""

_PAGE = re.compile(r"(?<=>)((?:papers|findings)/[\w-]+)(?=</td>)")


@dataclass(frozen=True)
class LinkedTable(Table):
    """A table whose cells that name a page of the book link to it.

    Attributes
    ----------
    up : str
        Way from the page that shows the table to the folder of the book's pages.
    """

    up: str = "../"

    def html(self) -> str:
        """Return the table as HTML, with links to pages."""

        def link(match: re.Match) -> str:
            return f'<a href="{self.up}{match[1]}.html">{_page_name(match[1])}</a>'

        return _PAGE.sub(link, super().html())


def _page_name(page: str) -> str:
    """Name a page as readers do: ``papers/mit-table-4`` is MIT-FRNet, Table 4."""
    folder, _, name = page.partition("/")
    if folder == "findings":
        return name.replace("-", " ").capitalize()
    paper, kind, number = name.split("-")
    papers = {"mfmb": "MFMB-Net", "mit": "MIT-FRNet"}
    return f"{papers[paper]}, {kind.capitalize()} {number}"


def verdicts(view: str | None = None) -> pd.DataFrame:
    """Return one row per claim: the claim, and its stored verdict.

    Parameters
    ----------
    view : str, optional
        Feature view of the runs. Left out: the papers' frame-level features where a
        verdict on them is stored that is not unfinished, else the clip-context view.

    Returns
    -------
    DataFrame
        ``claim`` (a :class:`~msa.study.claims.Claim`) and the columns of a
        :class:`~msa.study.verdicts.Verdict`.

    Raises
    ------
    UnknownData
        If there is no such view.
    """
    if view and view not in VIEWS:
        raise UnknownData(
            f"there is no view {view!r}; choose one of {', '.join(VIEWS)}"
        )
    table = load_verdicts().to_dict("records")
    stored = {(row["id"], row["view"]): row for row in table}
    rows = []
    for claim in read_claims():
        decided = [
            name
            for name in FRAME_LEVEL
            if (claim.id, name) in stored
            and stored[claim.id, name]["verdict"] != UNFINISHED
        ]
        chosen = view or next(iter(decided), "clip-context")
        if own := stored.get((claim.id, chosen)):
            rows.append({"claim": claim, "view": chosen, **own})
            continue
        reason = "no verdict is stored yet: run `python -m msa study publish`"
        nothing = dict.fromkeys(("effect", "lo", "hi"), np.nan)
        counts = dict.fromkeys(("n", "cells", "won", "lost", "published", "needed"), 0)
        row = {"id": claim.id, "verdict": UNFINISHED, "unit": "", "reason": reason}
        rows.append({"claim": claim, "view": chosen, **row, **nothing, **counts})
    return pd.DataFrame(rows)


def short_board(view: str | None = None) -> Table:
    """Count the verdicts of each paper: a small table for the front page."""
    found = verdicts(view)
    papers = [claim.paper for claim in found["claim"]]
    counts = pd.crosstab(pd.Series(papers), found["verdict"])
    counts = counts.reindex(columns=list(VERDICTS), fill_value=0)
    frame = counts.rename_axis("Paper").reset_index()
    frame.columns.name = None
    frame["claims"] = counts.sum(axis=1).to_numpy()
    caption = (
        f"{len(found)} claims of both papers and what the published runs say of them, "
        "by rules that were written down before the runs; what was changed since is "
        "listed with them (one change moved two verdicts, on running time)."
    )
    return Table.plain(frame, "claims-short", caption)


def decided_board() -> LinkedTable:
    """Tabulate the claims that runs have decided, for the front page."""
    found = verdicts()
    by_runs = np.array([claim.kind != "counts" for claim in found["claim"]])
    found = found[found["verdict"].isin(DECIDED) & by_runs]
    found = found.sort_values(
        "verdict", key=lambda names: names.map(VERDICTS.index), kind="stable"
    )
    what = "The claims that runs have decided (class counts, which need none, left out)"
    columns = ("Verdict", "Paper", "Claim", "Data", "Effect", SEEDS, "Note", "Page")
    return _board(found, "claims-decided", what, columns, up="")


def board(paper: str, view: str | None = None) -> LinkedTable:
    """Tabulate every claim of a paper with verdict, effect, seeds and evidence.

    Parameters
    ----------
    paper : {"MFMB-Net", "MIT-FRNet"}
    view : str, optional
        As for :func:`verdicts`.
    """
    found = verdicts(view)
    found = found[[claim.paper == paper for claim in found["claim"]]]
    return _board(found, f"claims-{paper.lower()}", f"Claims of {paper}")


def page_board(page: str, view: str | None = None) -> LinkedTable:
    """Tabulate the claims that a page of the book bears on.

    Parameters
    ----------
    page : str
        Such as ``"papers/mfmb-table-3"``.
    view : str, optional
        As for :func:`verdicts`.
    """
    found = verdicts(view)
    found = found[[claim.page == page for claim in found["claim"]]]
    name = f"claims-{page.rpartition('/')[2]}"
    return _board(found, name, "Claims that this page bears on")


def _board(
    found: pd.DataFrame,
    name: str,
    what: str,
    columns: tuple[str, ...] = BOARD,
    up: str = LinkedTable.up,
) -> LinkedTable:
    found = found.reset_index(drop=True)
    claims = list(found["claim"])
    cells = pd.DataFrame(
        {
            "Paper": [claim.paper for claim in claims],
            "Claim": [claim.says for claim in claims],
            "Data": [_data(claim) for claim in claims],
            "Where": [claim.where for claim in claims],
            "Verdict": found["verdict"],
            "Effect": [effect(row) for row in found.to_dict("records")],
            SEEDS: [str(n) if n else MISSING for n in found["n"].astype(int)],
            "Printed": [_printed(claim) for claim in claims],
            "Note": [_note(row) for row in found.to_dict("records")],
            "Why": [_why(row) for row in found.to_dict("records")],
            "Page": [claim.page for claim in claims],
        }
    )[list(columns)]
    views = tuple(dict.fromkeys(found["view"]))
    other = not_published((d, v) for d in DATASETS for v in views)
    caption = (
        f"{what}, in our words. Verdicts are computed from published runs "
        f"({', '.join(views)} features, frozen text encoders{other}) by rules written "
        "down before; what was changed since is listed with them. Effect: gain in the "
        "claim's favour, or share of cells won, with its 95 % interval."
    )
    if "Printed" in columns:
        caption += (
            " Printed: cells that the paper's own printed numbers win, without those "
            "of F1 that are printed in other weights than the rule's."
        )
    if any("MWA/10" in claim.at for claim in claims):
        caption += " The weights of MWA/10 add up to 0.55, so a gain in it looks small."
    data = found.drop(columns="claim")
    commands = {
        i: [command(claim, row["view"], again=row["published"] == row["needed"] > 0)]
        for i, (claim, row) in enumerate(
            zip(claims, found.to_dict("records"), strict=True)
        )
        if claim.study or claim.kind in ("faster", "counts")
    }
    marks = no_marks(cells)
    return LinkedTable(
        name, caption, cells, marks, data, commands, is_numeric=False, up=up
    )


def _data(claim: Claim) -> str:
    """Name a claim's data sets, and where on the missing rates its cells are."""
    there = places(claim)
    titles = dict.fromkeys(source(place.dataset).title for place in there)
    points = dict.fromkeys(place.at for place in there)
    if set(points) == set(RATES):
        told = ["every rate"]
    else:
        told = [f"{at:.1f}" if isinstance(at, float) else at for at in points]
    return f"{' and '.join(titles)}: {', '.join(told)}" if there else MISSING


def effect(row: dict[str, object]) -> str:
    """Write an effect with its interval, in the units that readers see."""
    value, lo, hi = (float(row[name]) for name in ("effect", "lo", "hi"))
    unit = str(row["unit"])
    if np.isnan(value):
        return MISSING
    if unit == "share":
        text = f"{int(row['won'])} of {int(row['cells'] - row['empty'])} cells"
        bounds = f" [{lo:.0%} to {hi:.0%}]" if not np.isnan(lo) else ""
        return f"{text}, {value:.0%}{bounds}"
    if unit == "seconds":
        return f"{value:+.2f} s [{lo:.2f} to {hi:.2f}]"
    sign = "+" if value > 0 else ""
    points = " points" if METRICS[unit].is_percent else ""
    number = row["claim"].at[0]  # one cell, so one number
    of_curve = f" {number} of" if number in AGGREGATES else ""
    return (
        f"{sign}{printed(unit, value)}{points}{of_curve} {METRICS[unit].name} "
        f"[{printed(unit, lo)} to {printed(unit, hi)}]"
    )


def measure(view: str) -> str:
    """Return the command that measures the seconds of an epoch in a view."""
    command = "python -m msa bench rates --save"
    return f"{command} --view {view}" if view in FRAME_LEVEL else command


def command(claim: Claim, view: str = "clip-context", *, again: bool = False) -> str:
    """Return the shell commands that make the numbers behind a claim.

    Parameters
    ----------
    claim : Claim
    view : str
        Feature view of the runs; a claim on the papers' own features takes theirs.
    again : bool
        Whether to make runs again that are published.
    """
    if claim.kind == "faster":
        return f"{measure(view)}\npython -m msa study publish"
    if claim.kind == "counts":
        checks = [f"python -m msa data check {name} --write" for name in claim.datasets]
        return "\n".join([*checks, "python -m msa study publish"])
    if claim.features == "frame-level" and view not in FRAME_LEVEL:
        view = FRAME_LEVEL[0]
    twin = in_view(claim.study, view)
    name = twin if twin in study_names() else claim.study
    part = shlex.join([*_part(claim, name), *(["--again"] if again else [])])
    return f"python -m msa study run {name} {part}\npython -m msa study publish"


def _part(claim: Claim, name: str) -> list[str]:
    """Return the options that leave of a study what a claim needs."""
    there = places(claim)
    rates = [rate for place in there for rate in rates_of(place.at)]
    wanted = {
        "dataset": [place.dataset for place in there],
        "model": [parse_system(system)[0] for system in claim.systems],
        "missing_rate": [f"{rate:g}" for rate in sorted(set(rates))],
        "seed": [str(seed) for seed in FIVE_SEEDS[: rules().seeds]],
    }
    configs = study(name).configs
    options = []
    for field, values in wanted.items():
        in_all = {getattr(config, field) for config in configs}
        if len(values := list(dict.fromkeys(values))) < len(in_all):
            options += [f"--{field.replace('_', '-')}", *values]
    return options


def is_settled(row: Mapping[str, object]) -> bool:
    """Whether a refuted claim would be refuted anywhere in its interval.

    Parameters
    ----------
    row : mapping
        Of :func:`verdicts`.

    Returns
    -------
    bool
        True if the whole interval lies at or below what is refuted: half of the cells,
        or the margin of the rules. Also where the paper says "all" and a
        cell is surely lost, and for a stated gain, which its interval does not hold.
    """
    claim = row["claim"]
    if row["verdict"] != REFUTED or claim.kind == "gain":
        return True
    hi, wanted = row["hi"], 0.5 if row["unit"] == "share" else rules().margin
    is_broken = claim.quantity == "all" and row["lost"] > 0
    return bool(is_broken or np.isnan(hi) or hi <= wanted)


def _printed(claim: Claim) -> str:
    won, compared = printed_cells(claim)
    return f"{won} of {compared}" if compared else MISSING


def _why(row: dict[str, object]) -> str:
    claim = row["claim"]
    told = [row["reason"], *([] if is_settled(row) else [UNSETTLED])]
    printed = printed_cells(claim)
    if not is_met(claim, printed):
        told.append(ASKS_MORE.format(*printed))
    notes = [note for note in claim.notes(row["view"]) if note != row["reason"]]
    if notes:
        told.append(f"Note: {'; '.join(notes)}")
    return ". ".join(told) + "."


def _note(row: dict[str, object]) -> str:
    """Say what a reader of a verdict alone has to know of it."""
    claim = row["claim"]
    told = [] if is_settled(row) else ["unsettled"]
    if claim.kind == "restores":
        told.append(str(row["reason"]).rpartition("; ")[2])  # by modality
    return "; ".join([*told, *claim.notes(row["view"])]) or MISSING


def rules_table(paper: str) -> Table:
    """Tabulate what would support and what would refute each claim of a paper."""
    claims = [claim for claim in read_claims() if claim.paper == paper]
    frame = pd.DataFrame(
        {
            "Id": [claim.id for claim in claims],
            "Claim": [claim.says for claim in claims],
            "Features": [
                "the papers' own" if c.features == "frame-level" else "any"
                for c in claims
            ],
            "Rule": [in_words(claim) for claim in claims],
        }
    )
    caption = (
        f"Rules for the claims of {paper}, as msa/study/claims.toml has them; its head "
        "explains every kind."
    )
    return Table.plain(frame, f"rules-{paper.lower()}", caption)


def printed_in_short() -> str:
    """Say which claims the papers' own printed numbers do not bear out."""
    found = [(claim, printed_cells(claim)) for claim in read_claims()]
    compared = [(claim, cells) for claim, cells in found if cells.compared]
    short_of = [
        f"*{claim.says}* ({claim.paper}: {cells.won} of {cells.compared} cells)"
        for claim, cells in compared
        if not is_met(claim, cells)
    ]
    told = (
        f"{len(compared)} claims can be put to the papers' own printed numbers, by the "
        f"same cells and without intervals. {len(short_of)} of them do not win there "
        "what their words, as we read them, demand"
    )
    return f"{told}: {'; '.join(short_of)}." if short_of else f"{told}."


def _is_twin(claim: Claim) -> bool:
    """Whether a claim is another one once more, with the correct weights of F1."""
    ids = {other.id for other in read_claims()}
    return claim.id.removesuffix("-correct") in ids - {claim.id}


def _beats_another(claim: Claim) -> bool:
    """Whether a claim puts its paper's network before a system of somebody else.

    In scores, that is, and of two weightings of one F1 in that of the paper.
    """
    if claim.kind == "faster" or _is_twin(claim):
        return False
    firsts = (claim.system, *(first for first, _ in claim.pairs))
    others = (*claim.rivals, *(second for _, second in claim.pairs))
    own = any(parse_system(name)[0] == claim.paper for name in firsts if name)
    return own and any(parse_system(name)[0] != claim.paper for name in others)


def in_short(view: str | None = None, page: str | None = None) -> str:
    """Count the verdicts in words.

    Parameters
    ----------
    view : str, optional
        As for :func:`verdicts`.
    page : str, optional
        Only the claims that this page of the book bears on; empty if there is none.
    """
    found = verdicts(view)
    if page:
        found = found[[claim.page == page for claim in found["claim"]]]
        if found.empty:
            return ""
    counts = found["verdict"].value_counts()
    told = ", ".join(f"{counts[v]} {v}" for v in VERDICTS if v in counts)
    plural, here = "" if len(found) == 1 else "s", " on this page" if page else ""
    words = [f"Of {len(found)} claim{plural}{here}: {told}."]
    open_ = sum(not is_settled(row) for row in found.to_dict("records"))
    if open_:
        words.append(
            f"Unsettled among those not reproduced: {open_}; the interval also holds "
            "what would not be refuted."
        )
    if page:
        return " ".join(words)
    if twins := sum(_is_twin(claim) for claim in found["claim"]):
        words.append(
            f"{twins} statement{'s' if twins > 1 else ''} on F1 count twice, once in "
            "each weighting of the classes."
        )
    is_decided = found["verdict"].isin(DECIDED)
    sizes = sum(claim.kind == "counts" for claim in found.loc[is_decided, "claim"])
    if sizes:
        words.append(
            f"{sizes} of those decided {'is' if sizes == 1 else 'are'} on the sizes of "
            "the data sets, which needs no run: the book's title leaves them out."
        )
    ahead = found[[_beats_another(claim) for claim in found["claim"]]]
    fared = ahead["verdict"].value_counts()
    if decided := int(sum(fared.get(v, 0) for v in DECIDED)):
        shares = ", ".join(f"{fared.get(v, 0) or 'none'} {v}" for v in DECIDED)
        words.append(
            f"That the paper's network scores better than another system is what "
            f"{decided} of those decided say: {shares}."
        )
    return " ".join(words)
