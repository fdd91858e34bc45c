"""The claim board: what it prints of a verdict, where it links, that it is current."""

from __future__ import annotations

import shlex
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from msa import cli
from msa.data.paths import repo_root
from msa.report import claims, compare, paper_figures
from msa.report.claims import LinkedTable, board, effect, page_board, short_board
from msa.study.claims import (
    claim,
    config_of,
    places,
    rates_of,
    read_claims,
    rules,
    run_fields,
)
from msa.study.grids import FILTERS, FIVE_SEEDS, study
from msa.study.results import load_table
from msa.study.verdicts import CLAIM_COLUMNS, VERDICTS, is_current, load_verdicts


@pytest.fixture
def stored(monkeypatch):
    """Let the board read these verdicts: ids, views and what differs from nothing."""

    def set_to(*rows):
        nothing = {name: 0 for name in CLAIM_COLUMNS}
        nothing |= {"effect": np.nan, "lo": np.nan, "hi": np.nan, "unit": "share"}
        frame = pd.DataFrame(
            [{**nothing, "reason": "because", **row} for row in rows],
            columns=list(CLAIM_COLUMNS),
        )
        monkeypatch.setattr(claims, "load_verdicts", lambda: frame)

    return set_to


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (
            {"unit": "share", "effect": 0.75, "lo": 0.5, "hi": 1.0, "won": 3},
            "3 of 4 cells, 75% [50% to 100%]",
        ),
        (
            {"unit": "Mult_acc_7", "effect": 0.014, "lo": -0.01, "hi": 0.03},
            "+1.40 points Acc-7 [-1.00 to 3.00]",
        ),
        (
            {"unit": "MAE", "effect": -0.1, "lo": -0.2, "hi": 0.0, "at": "MWA/10"},
            "-0.100 MWA/10 of MAE [-0.200 to 0.000]",
        ),
        (
            {"unit": "MAE", "effect": -0.1, "lo": -0.2, "hi": 0.0},
            "-0.100 MAE [-0.200 to 0.000]",
        ),
        (
            {"unit": "seconds", "effect": 2.0, "lo": 1.0, "hi": 3.0},
            "+2.00 s [1.00 to 3.00]",
        ),
        ({"unit": "share", "effect": np.nan, "lo": np.nan, "hi": np.nan}, "–"),
    ],
)
def test_an_effect_is_printed_with_its_interval(row, text):
    claim = SimpleNamespace(at=(row.get("at", 0.5),))
    counts = {"cells": 5, "empty": 1, "won": 0}
    assert effect({**counts, "claim": claim, **row}) == text


def test_the_board_has_every_claim_with_page_and_command(stored):
    stored({"id": "mit-mosi-best", "view": "clip-context", "verdict": "consistent"})
    table = board("MIT-FRNet")
    assert len(table.cells) == sum(c.paper == "MIT-FRNet" for c in read_claims())
    row = table.cells.set_index("Page").loc["papers/mit-table-4"]
    assert "consistent" in set(row["Verdict"])
    page = table.html()
    assert '<a href="../papers/mit-table-4.html">MIT-FRNet, Table 4</a>' in page
    assert "python -m msa study run matrix-mosi" in page
    # A claim without a stored verdict says what to do.
    assert "no verdict is stored yet" in set(table.cells["Why"].str.partition(":")[0])


@pytest.mark.parametrize(
    "claim", [c for c in read_claims() if c.study], ids=lambda c: c.id
)
def test_the_command_of_a_claim_makes_all_its_runs_at_the_least_seeds(claim):
    first, then = claims.command(claim, again=True).splitlines()
    assert then == "python -m msa study publish"
    words = shlex.split(first)
    assert words[:5] == ["python", "-m", "msa", "study", "run"]
    assert words[-1] == "--again"
    options = cli._parser().parse_args(words[3:])
    wanted = {name: getattr(options, name) for name in FILTERS}
    made = {c.run_id for c in study(options.name).only(**wanted).configs}
    view = "unaligned" if claim.features == "frame-level" else "clip-context"
    for place in places(claim):
        for system, rate in product(claim.systems, rates_of(place.at)):
            for seed in FIVE_SEEDS[: rules().seeds]:
                named = (place.dataset, view, system, rate, seed)
                assert config_of(*named, **run_fields(claim)).run_id in made, named


def test_what_holds_for_the_features_here_is_not_said_of_the_papers_own(stored):
    name = {"id": "mfmb-text-richest", "verdict": "reproduced"}
    stored({**name, "view": "clip-context"}, {**name, "view": "unaligned"})
    for view, told in (("clip-context", True), ("unaligned", False)):
        rows = page_board("papers/mfmb-table-2", view).cells.set_index("Verdict")
        why = rows.loc["reproduced", "Why"]
        assert ("clip-level summaries here" in why) is told


def test_frame_level_verdicts_come_first_once_they_exist(stored):
    name = {"id": "mfmb-complete-mosi-corr-gain"}
    old = {**name, "view": "clip-context", "verdict": "not testable here"}
    new = {**name, "view": "unaligned", "verdict": "reproduced"}
    unfinished = {**new, "verdict": "not enough runs yet"}
    for rows, verdict in (
        ([old], "not testable here"),
        ([old, new], "reproduced"),
        ([old, unfinished], "not testable here"),
    ):
        stored(*rows)
        found = claims.verdicts().set_index("id")
        assert found.at[name["id"], "verdict"] == verdict
    assert (
        claims.verdicts("unaligned").set_index("id").at[name["id"], "verdict"]
        == "not enough runs yet"
    )


def test_the_short_board_counts(stored):
    stored({"id": "mit-data", "view": "clip-context", "verdict": "reproduced"})
    cells = short_board().cells.set_index("Paper")
    assert list(cells.columns) == [*VERDICTS, "claims"]
    assert cells.at["MIT-FRNet", "reproduced"] == "1"
    total = cells.loc["MIT-FRNet", list(VERDICTS)].astype(int).sum()
    assert str(total) == cells.at["MIT-FRNet", "claims"]
    told = claims.in_short()
    assert "1 reproduced" in told
    assert "1 of those decided is on the sizes of the data sets" in told
    told = claims.in_short(page="papers/mit-table-2")
    assert told == "Of 1 claim on this page: 1 reproduced."
    assert claims.in_short(page="papers/mit-figure-7") == ""  # Figure 6 has its claim


def test_the_front_page_names_the_claims_that_are_decided(stored):
    name = {"view": "clip-context"}
    stored(
        {"id": "mit-mosi-best", "verdict": "not reproduced", **name},
        {"id": "mit-mwa-binary", "verdict": "reproduced", **name},
        {"id": "mit-robust", "verdict": "not enough runs yet", **name},
        {"id": "mit-data", "verdict": "reproduced", **name},  # by counting, not by runs
    )
    table = claims.decided_board()
    assert table.cells["Verdict"].tolist() == ["reproduced", "not reproduced"]
    assert '<a href="papers/mit-table-4.html">MIT-FRNet, Table 4</a>' in table.html()


def test_every_claim_has_a_page_that_shows_it():
    for entry in read_claims():
        page = repo_root() / "book" / f"{entry.page}.md"
        assert page.is_file(), entry.id
        assert f'page_board("{entry.page}"' in page.read_text(), entry.id
        assert len(page_board(entry.page).cells) >= 1


def test_what_a_caveat_says_that_audio_decides_is_so():
    verdicts = load_verdicts().set_index(["id", "view"])
    name = ("mit-reconstruction-restores", "clip-context")
    if name not in verdicts.index:
        pytest.skip("no published verdict")
    cells = load_table("claim-cells").set_index(["id", "view"]).loc[[name]]
    others = cells[cells["metric"] != "RMSE of audio"]
    assert verdicts.at[name, "verdict"] == "reproduced"
    assert cells["won"].mean() > 0.5 >= others["won"].mean()
    assert "audio decides" in claim(name[0]).caveat_here


def test_stored_verdicts_belong_to_the_published_runs():
    assert is_current(), "run `python -m msa study publish`"


def test_links_leave_other_cells_alone():
    frame = pd.DataFrame({"a": ["papers/mfmb-table-3", "papers are nice", "x<y"]})
    page = LinkedTable.plain(frame, "t", "c").html()
    assert page.count('<a href="../papers/') == 1
    assert "papers are nice" in page
    assert "x&lt;y" in page


# --- MIT-FRNet's figures --------------------------------------------------------------


def losses(*lines):
    rows = [
        {"run_id": str(n), "epoch": e, "split": "train", "term": "total", "value": v}
        for n, line in enumerate(lines)
        for e, v in enumerate(line, 1)
    ]
    runs = pd.DataFrame(
        {
            "run_id": [str(n) for n in range(len(lines))],
            "missing_rate": [n / 10 for n in range(len(lines))],
            "seed": 1111,
            "epochs": [len(line) for line in lines],
            "best_epoch": 1,
        }
    )
    return runs, pd.DataFrame(
        rows, columns=["run_id", "epoch", "split", "term", "value"]
    )


def test_convergence_is_counted_run_by_run(monkeypatch):
    settled, falling = (9, 5, 2, 1, 1, 1, 1, 1, 1, 1), (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
    monkeypatch.setattr(paper_figures, "_losses", lambda *_: losses(settled, falling))
    words = paper_figures.convergence_in_short("mosi")
    assert "Of 2 runs at 2 of 11 missing rates" in words
    assert "come down in 2 and has settled in 1" in words
    monkeypatch.setattr(paper_figures, "describe", lambda runs: f"{len(runs)} runs.")
    cells = paper_figures.convergence_table("mosi").cells
    assert cells["Change"].tolist() == ["-89%", "-100%"]
    assert cells["Settled"].tolist() == ["1", "0"]
    picture = paper_figures.convergence_picture("mosi")
    assert "at rate 0.0 from 9.00 to 1.00" in picture.alt


def test_a_rate_without_runs_says_so(monkeypatch):
    monkeypatch.setattr(paper_figures, "_losses", lambda *_: losses())
    assert "No run of MIT-FRNet" in paper_figures.convergence_in_short("sims")
    assert "not run yet" in paper_figures.convergence_picture("sims").alt
    assert "study run matrix-sims" in paper_figures.convergence_table("sims").data
    tuned = paper_figures.convergence_table("sims", encoder_mode="finetune")
    assert "study run finetuned" in tuned.data


def test_figure_5_goes_by_metric():
    cells = compare.compared("mit-figure-5")
    order = list(dict.fromkeys(paper_figures.by_metric(cells)["metric"]))
    assert order == ["Acc-2", "Acc-5", "Acc-7", "Acc-3", "F1", "MAE", "Corr"]
    picture = paper_figures.mwa_picture(cells, "five")
    assert "CMU-MOSI MAE: best in paper MIT-FRNet" in picture.alt


@pytest.mark.parametrize(
    ("row", "settled"),
    [
        ({"verdict": "consistent", "hi": 1.0}, True),
        ({"hi": 0.5}, True),
        ({"hi": 0.6}, False),
        ({"hi": 0.6, "lost": 1}, True),
        ({"hi": 0.6, "lost": 1, "quantity": "most"}, False),
        ({"unit": "MAE", "hi": 0.005}, True),
        ({"unit": "MAE", "hi": 0.006}, False),
        ({"kind": "gain", "unit": "MAE", "hi": 0.006}, True),
    ],
)
def test_a_refuted_claim_is_settled_if_its_interval_supports_nothing(row, settled):
    usual = {"verdict": "not reproduced", "unit": "share", "lost": 0, "kind": "better"}
    row = {**usual, "quantity": "all", **row}
    row["claim"] = SimpleNamespace(kind=row["kind"], quantity=row["quantity"])
    assert claims.is_settled(row) is settled


def test_the_board_says_what_the_printed_numbers_win():
    told = claims.printed_in_short()
    assert "(MIT-FRNet: 1 of 6 cells)" in told  # that it loses less to missing steps
    table = board("MIT-FRNet").cells.set_index("Claim")
    own = table.loc[next(c.says for c in read_claims() if c.id == "mit-robust")]
    assert own["Printed"] == "1 of 6"
    assert "The paper's own printed numbers win 1 of 6 cells" in own["Why"]
