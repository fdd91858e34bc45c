"""Paper against ours: the paper's layout, our numbers in its units, honest gaps."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from msa.data.paths import repo_root
from msa.report import class_counts, compare, paper_figures, paper_tables, paper_words
from msa.report.claims import page_board
from msa.report.compare import NOT_RUN, SOURCES, compared
from msa.study.layout import AGGREGATE_COLUMNS, SUMMARY_COLUMNS, setting
from msa.train.config import RunConfig
from msa.train.metrics import METRICS


def estimates(at, *cells, columns, **fields):
    """Published estimates of systems: model, metric, mean; an interval of ± 0.01."""
    rows = []
    for model, variant, metric, mean in cells:
        config = RunConfig.resolve(
            dataset="mosi", model=model, variant=variant, **fields
        ).model_dump()
        own = {name: config.get(name) for name in columns}
        own |= {"setting": setting(config), "metric": metric, **at}
        spread = {"mean": mean, "sd": 0.1, "lo": mean - 0.01, "hi": mean + 0.01}
        rows.append(
            {**own, **spread, "n": 3, "undefined": 0, "seeds": "111 1111 11111"}
        )
    return pd.DataFrame(rows, columns=list(columns))


@pytest.fixture
def published(monkeypatch):
    """Let the module read these frames instead of the repository's results."""

    def set_to(summary=None, sweeps=None, runs=None):
        empty = {
            "load_summary": pd.DataFrame(columns=list(SUMMARY_COLUMNS)),
            "load_aggregates": pd.DataFrame(columns=list(AGGREGATE_COLUMNS)),
            "load_runs": pd.DataFrame(columns=[*compare.SYSTEM, "missing_rate"]),
        }
        frames = zip(empty, (summary, sweeps, runs), strict=True)
        for name, frame in frames:
            table = empty[name] if frame is None else frame
            monkeypatch.setattr(compare, name, lambda table=table: table)

    return set_to


def rate_0(*cells):
    return estimates({"missing_rate": 0.0}, *cells, columns=SUMMARY_COLUMNS)


def test_table_3_has_the_papers_rows_columns_and_units(published):
    published(rate_0(("MFMB-Net", None, "MAE", 0.9), ("TFN", None, "Mult_acc_7", 0.35)))
    cells = compared("mfmb-table-3")
    mosi, mosei = paper_tables.tables("mfmb-table-3", cells)
    assert list(mosi.cells) == [
        *("System", "Value", "MAE", "Corr", "Acc-7", "Acc-5"),
        *("Acc-2 (left)", "Acc-2 (right)", "F1 (left)", "F1 (right)"),
    ]
    names = list(dict.fromkeys(mosi.cells["System"]))
    assert names == [
        *("TFN", "LMF", "MulT", "MISA", "Self-MM", "TFR-Net", "MMIM"),
        "MFMB-Net",
    ]
    ours = mosi.cells[mosi.cells["System"] == "MFMB-Net"].set_index("Value")
    assert ours["MAE"].to_dict() == {
        "paper": "0.709",
        "ours": "0.900 [0.890 to 0.910]",
        "difference": "+0.191",
        "seeds": "3",
    }
    assert ours.at["ours", "Corr"] == NOT_RUN
    tfn = mosi.cells[mosi.cells["System"] == "TFN"].set_index("Value")
    assert tfn.at["ours", "Acc-7"] == "35.0 [34.0 to 36.0]"  # percent, as printed: 34.9
    assert tfn.at["difference", "Acc-7"] == "+0.1"
    # What was not run has a row that says so, and no row of nothing.
    lmf = mosi.cells[mosi.cells["System"] == "LMF"].set_index("Value")
    assert list(lmf.index) == ["paper", "ours"]
    assert set(lmf.loc["ours"].drop("System")) == {NOT_RUN}
    assert (mosei.cells[mosei.cells["Value"] == "ours"].iloc[:, 2:] == NOT_RUN).all(
        axis=None
    )


def test_no_cell_is_blank_in_any_table(published):
    published()
    for page in SOURCES:
        for table in paper_tables.tables(page, compared(page)):
            assert (table.cells.iloc[:, 2:] != "").all(axis=None), table.name


def test_f1_is_compared_with_the_weights_that_were_printed():
    cells = compared("mfmb-table-3").set_index("row")
    f1 = cells[cells["metric"] == "F1"]["key"]
    assert set(f1["TFN"]) == {"Has0_F1", "Non0_F1"}  # quoted, weighed correctly
    assert set(f1["Ours"]) == {"Has0_F1_swapped", "Non0_F1_swapped"}
    own = compared("mfmb-table-2")
    assert own[own["metric"] == "F1"]["key"].str.endswith("_swapped").all()


def test_mit_frnet_prints_mae_times_100(published):
    rates = {"missing_rate": 0.3}
    published(
        estimates(
            rates,
            ("TFN", None, "MAE", 1.2),
            columns=SUMMARY_COLUMNS,
            missing_rate=0.3,
        )
    )
    tables = paper_tables.tables("mit-table-4", compared("mit-table-4"))
    assert len(tables) == 8  # one per metric and form
    mae, corr = tables[-2:]
    assert mae.caption.startswith("MIT-FRNet, Table 4: MAE (label units × 100), ")
    assert corr.caption.startswith("MIT-FRNet, Table 4: Corr (× 100), ")
    assert set(mae.data["unit"]) == {"label units × 100"}
    assert r"MAE (label units $\times$ 100)" in mae.latex()
    assert list(mae.cells)[2:] == [f"{i / 10:.1f}" for i in range(11)]
    tfn = mae.cells[mae.cells["System"] == "TFN"].set_index("Value")
    assert tfn.at["paper", "0.3"] == "127.26"
    assert tfn.at["ours", "0.3"] == "120.00 [119.00 to 121.00]"
    assert tfn.at["difference", "0.3"] == "-7.26"


@pytest.mark.parametrize("page", ["mit-table-7", "mit-figure-5", "mit-figure-6"])
def test_columns_that_are_printed_times_100_say_so(published, page):
    published()
    for table in paper_tables.tables(page, compared(page)):
        assert {"MAE (label units × 100)", "Corr (× 100)"} <= set(table.cells)
    mfmb, _ = paper_tables.tables("mfmb-table-3", compared("mfmb-table-3"))
    assert {"MAE", "Corr"} <= set(mfmb.cells)
    assert dict(zip(mfmb.data["metric"], mfmb.data["unit"], strict=True)) == {
        **{"MAE": "label units", "Corr": ""},
        **dict.fromkeys(("Acc-7", "Acc-5", "Acc-2", "F1"), "%"),
    }


def test_panels_of_a_figure_that_are_scaled_say_so():
    picture = paper_figures.mwa_picture(compared("mit-figure-6"), "six")
    text = picture.svg.decode()
    assert ">MAE (label units × 100)<" in text
    assert ">Corr (× 100)<" in text


def test_the_caption_of_the_losses_does_not_say_what_they_count():
    # MIT-FRNet's count all real steps and do not vanish where nothing is missing.
    picture = paper_figures.convergence_picture("mosi")
    assert "none at rate 0.0" not in picture.caption
    assert float(picture.alt.partition("at rate 0.0 from ")[2].split()[0]) > 0


def test_dashes_of_the_paper_do_not_count(published):
    published(rate_0(("TFN", None, "Mult_acc_5", 0.4), ("TFN", None, "MAE", 0.9)))
    cells = compared("mfmb-table-3")
    assert (cells["printed"] == "-").sum() == 16
    # TFN has a dash in Acc-5, so one of our two numbers stands beside one of theirs.
    words = paper_words.in_short("mfmb-table-3", cells)
    assert words.startswith("1 of 112 printed cells have a number of ours")
    told = paper_words.in_short("mfmb-table-3", cells.assign(encoder_mode="finetune"))
    assert told == f"{words} Runs with a frozen text encoder decide them."
    told = paper_words.state("mfmb-table-3", cells)
    assert "**1 of 112 printed cells** have been run" in told
    assert "(CMU-MOSI 1 of 56, CMU-MOSEI 0 of 56)" in told
    figure = compared("mit-figure-6")
    assert "**0 of 40 cells computed from the paper's tables**" in paper_words.state(
        "mit-figure-6", figure
    )
    assert paper_words.in_short("mit-figure-6", figure) == (
        "None of the 40 cells computed from the paper's tables has been run yet."
    )


def test_better_and_worse_are_told_of_the_papers_features_only(published):
    # The paper prints 42.30 for FC(V) in Acc-2 (right).
    scores = (("FC(V)", "Non0_acc_2", 0.4230), ("FC(V)", "Mult_acc_7", 0.5))
    published(rate_0(*((model, None, key, value) for model, key, value in scores)))
    cells = compared("mfmb-table-2")
    both = cells.dropna(subset="ours")
    assert paper_words._against_paper(both) == (1, 0)  # what is equal is neither
    assert "better than the paper's" not in paper_words.in_short("mfmb-table-2", cells)
    frame = cells.assign(view="unaligned")
    told = paper_words.in_short("mfmb-table-2", frame)
    assert "1 better than the paper's and 0 worse" in told
    table = paper_words.overview()
    told = paper_words.overview_in_short(table)
    assert told.startswith("On 1 of 11 pages")  # the one with measured times
    assert "Kendall tau of" in told
    overview = table.cells
    assert not {"Better", "Worse"} & set(overview)
    assert overview["Seeds"].str.fullmatch(r"(\d|\d to \d|–)( rounds)?").all()


def test_cells_with_fewer_seeds_than_most_are_marked(published):
    names = ["FC(V)", "FC(A)", "FC(T)"]
    rows = rate_0(*((name, None, "Mult_acc_7", 0.3) for name in names))
    published(rows.assign(n=[3, 1, 3], seeds=["1 2 3", "2", "1 2 3"]))
    (table,) = paper_tables.tables("mfmb-table-2", compared("mfmb-table-2"))
    ours = table.cells[table.cells["Value"] == "ours"].set_index("System")["Acc-7"]
    assert ours["FC(A)"] == "30.00† [29.00 to 31.00]"
    assert ours["FC(T)"] == "30.00 [29.00 to 31.00]"
    assert "seeds 1, 2, 3 (not every cell has all of them)" in table.caption
    assert "† Fewer seeds than most cells: FC(A) (seed 2)." in table.caption
    published(rows)  # with as many seeds as the others, it needs no mark
    (table,) = paper_tables.tables("mfmb-table-2", compared("mfmb-table-2"))
    assert "†" not in table.caption + table.csv() + table.cells.to_string()


def test_a_sweep_in_progress_says_how_far_it_is(published):
    config = RunConfig.resolve(dataset="mosi", model="MFMB-Net").model_dump()
    own = {name: config.get(name) for name in compare.SYSTEM}
    own["setting"] = setting(config)
    published(runs=pd.DataFrame([{**own, "missing_rate": r} for r in (0.0, 0.5)]))
    cells = compared("mfmb-table-4")
    ours = cells[(cells["row"] == "Ours") & (cells["dataset"] == "mosi")]
    assert set(ours["status"]) == {"2 of 11 rates"}
    mosi, mosei = paper_tables.tables("mfmb-table-4", cells)
    assert "no system at every rate yet" in mosi.caption
    assert "nothing run yet" in mosei.caption
    assert "Best in bold" in mosi.caption


def scored_run(variant, seed, score):
    config = RunConfig.resolve(
        dataset="mosi", model="MIT-FRNet", variant=variant, seed=seed
    ).model_dump()
    own = {name: config.get(name) for name in compare.SYSTEM}
    place = {"setting": setting(config), "missing_rate": 0.0, "seed": seed}
    scores = {f"test_{key}": np.nan for key in METRICS}
    return {**own, **place, **scores, "test_Mult_acc_7": score}


def test_the_order_of_a_table_with_two_kinds_of_f1_is_by_the_correct_one(published):
    published(
        rate_0(
            ("MFMB-Net", None, "Has0_F1_swapped", 0.75),
            ("MFMB-Net", None, "Has0_F1", 0.60),
            ("TFN", None, "Has0_F1_swapped", 0.76),
            ("TFN", None, "Has0_F1", 0.65),
        )
    )
    table, _ = paper_tables.tables("mfmb-table-3", compared("mfmb-table-3"))
    ours = table.cells["Value"] == "ours"
    shown = table.cells[ours].set_index("System")["F1 (left)"]
    marks = dict(zip(shown.index, table.marks.loc[ours, "F1 (left)"], strict=True))
    assert shown["MFMB-Net"] == "75.0 (60.0) [74.0 to 76.0]"
    assert shown["TFN"] == "65.0 [64.0 to 66.0]"
    assert (marks["TFN"], marks["MFMB-Net"]) == ("best", "second")


def test_ablations_point_from_our_full_model(published):
    published(
        estimates(
            {"missing_rate": 0.0},
            ("MIT-FRNet", "paper", "Mult_acc_7", 0.40),
            ("MIT-FRNet", "w/o MMR", "Mult_acc_7", 0.38),
            ("MIT-FRNet", "w/o MITR", "Mult_acc_7", 0.41),
            columns=SUMMARY_COLUMNS,
        ),
        runs=pd.DataFrame(
            [
                scored_run("paper", 1111, 0.40),
                scored_run("paper", 111, 0.50),  # has no counterpart
                scored_run("w/o MMR", 1111, 0.38),
                scored_run("w/o MITR", 1111, 0.41),
            ]
        ),
    )
    mmr, mitr = paper_tables.tables("mit-table-7", compared("mit-table-7"))
    assert mmr.cells.at[0, "Acc-7"] == "43.34 ▼"
    assert mmr.cells.at[1, "Acc-7"] == "38.00 ▼ [37.00 to 39.00]"
    assert mitr.cells.at[1, "Acc-7"] == "41.00 ▲ [40.00 to 42.00]"


def test_a_difference_of_rounding_has_no_arrow():
    assert paper_tables._our_arrow({"change": -3e-6}) == ""
    assert paper_tables._our_arrow({"change": -1e-3}) == " ▼"


def test_weighted_averages_of_the_paper_by_hand():
    cells = compared("mit-figure-6").set_index(["row", "key"])
    # Table 4, TFN, Acc-2 (-): sum of value times 1 - rate, divided by 10
    printed = [77.55, 74.49, 69.68, 65.60, 62.88, 55.44, 55.15, 52.14, 51.65, 51.41]
    by_hand = sum(v * (10 - i) / 10 for i, v in enumerate(printed)) / 10
    assert cells.at[("TFN", "Has0_acc_2"), "paper_value"] == pytest.approx(by_hand)
    # MISA prints a dash for Corr at rate 1.0, which weighs nothing.
    assert cells.at[("MISA", "Corr"), "paper_value"] > 0


def test_orders_agree_or_not(published):
    names = ["FC(V)", "FC(A)", "FC(T)", "Concat(V,A,T)"]  # printed in rising order
    for values, tau in (([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], -1.0)):
        published(
            rate_0(
                *(
                    (n, None, "Mult_acc_7", v / 10)
                    for n, v in zip(names, values, strict=True)
                )
            )
        )
        cells = compared("mfmb-table-2")
        # FC(A) is printed just below FC(V) in Acc-7: one pair of six is turned.
        found = paper_words.agreement(cells)
        assert found.tolist() == pytest.approx([tau * 4 / 6])
        assert "Kendall tau" in paper_words.in_short("mfmb-table-2", cells)


def test_the_state_of_a_page(published):
    published(rate_0(("FC(T)", None, "Mult_acc_7", 0.3)))
    words = paper_words.state("mfmb-table-2", compared("mfmb-table-2"))
    assert "Not the papers' features" in words
    assert "**1 of 20 printed cells**" in words
    assert "python -m msa study run matrix-mosi\n" in words
    frame = paper_words.state(
        "mfmb-table-2", compared("mfmb-table-2", view="unaligned")
    )
    assert "Not the papers' features" not in frame
    assert "study run matrix-mosi-unaligned" in frame
    tuned = paper_words.state(
        "mfmb-table-2", compared("mfmb-table-2", encoder_mode="finetune")
    )
    assert "study run finetuned\n" in tuned
    parts = paper_words.state(
        "mfmb-table-5", compared("mfmb-table-5", encoder_mode="finetune")
    )
    assert "No study has them" in parts
    assert "study run" not in parts


def test_no_command_is_given_for_times_that_it_does_not_measure(monkeypatch):
    monkeypatch.setattr(compare, "load_table", lambda _: pd.DataFrame())
    cells = compared("mit-table-6", encoder_mode="finetune")
    assert "bench rates" not in paper_words.state("mit-table-6", cells)
    (table,) = paper_tables.tables("mit-table-6", cells)
    assert not any(table.commands.values())
    for view, command in (
        ("clip-context", "bench rates --save\n"),
        ("unaligned", "bench rates --save --view unaligned\n"),
    ):
        cells = compared("mit-table-6", view=view)
        assert command in paper_words.state("mit-table-6", cells)


def test_data_statistics_stand_beside_the_papers(monkeypatch):
    counts = pd.DataFrame(
        [("train", 552, 53, 679), ("valid", 92, 13, 124), ("test", 379, 30, 278)],
        columns=["split", "negative", "neutral", "positive"],
    )
    tables = {"mosi": {"splits": counts}}
    monkeypatch.setattr(class_counts, "load_passport", lambda d, v: tables.get(d, {}))
    cells = class_counts.table("MIT-FRNet").cells
    assert cells.at[1, "test"] == "379/30/278"
    assert cells.at[2, "test"] == "0/0/+1"
    assert cells.at[2, "all"] == "+1"
    assert set(cells.loc[4, ["train", "test", "all"]]) == {NOT_RUN}  # no SIMS passport
    assert class_counts.in_short("MIT-FRNet").startswith("the counts of none")
    tables.clear()
    assert "no data set has been counted" in class_counts.in_short("MIT-FRNet")


def test_marks_compare_like_with_like(published):
    published(
        rate_0(("FC(T)", None, "Mult_acc_7", 0.3), ("FC(A)", None, "Mult_acc_7", 0.2))
    )
    (table,) = paper_tables.tables("mfmb-table-2", compared("mfmb-table-2"))
    marks = table.marks["Acc-7"][table.cells["Value"] == "ours"]
    names = table.cells["System"][table.cells["Value"] == "ours"]
    assert dict(zip(names, marks, strict=True)) == {
        "FC(V)": "",
        "FC(A)": "second",
        "FC(T)": "best",
        "Concat(V,A,T)": "",
    }
    assert np.isnan(table.data["ours"]).sum() == 18


def test_a_caption_names_the_table_that_prints_its_data_set():
    cells = compared("mit-figure-5")
    mosi, sims = (t.caption for t in paper_tables.tables("mit-figure-5", cells))
    assert mosi.startswith("MIT-FRNet, Table 4: CMU-MOSI, ")
    assert sims.startswith("MIT-FRNet, Table 5: CH-SIMS, ")


def test_running_times_are_ratios_to_the_papers_own_system(monkeypatch):
    seconds = {"MIT-FRNet": (2.0, 4.0), "MulT": (6.0, 6.0)}

    def times(_, dataset, view, model, variant, rate):
        values = seconds.get(model, ()) if rate == 0.0 else ()
        index = [("cpu", "some processor", 1, i) for i, _ in enumerate(values)]
        names = ["device", "device_name", "threads", "round"]
        return pd.Series(
            values, pd.MultiIndex.from_tuples(index, names=names), dtype=float
        )

    monkeypatch.setattr(compare, "epoch_times", times)
    cells = compared("mit-table-6")
    (table,) = paper_tables.tables("mit-table-6", cells)
    mult = table.cells[table.cells["System"] == "MulT (unaligned)"]
    mult = mult.set_index("Value")["0.0"]
    assert mult["ours"] == "6.0 [6.0 to 6.0]"
    # By round 3 and 1.5; Student's 97.5 % for two values: 12.706.
    assert mult["paper, ratio"] == f"{27 / 14:.2f}"
    reach = 12.706 * 0.75
    bounds = f"[{2.25 - reach:.2f} to {2.25 + reach:.2f}]"
    assert mult["ours, ratio"] == f"2.25 {bounds}"
    assert mult["difference, ratio"] == f"+{2.25 - 27 / 14:.2f}"
    assert mult["rounds"] == "2"
    assert "measured in turn on some processor, 1 thread" in table.caption
    assert "mean and 95 % t-interval of 2 rounds" in table.caption
    assert "a mean over 2 rounds" in paper_words.state("mit-table-6", cells)
    words = paper_words.in_short("mit-table-6", cells)
    assert words.startswith("2 of 55 printed cells have a number of ours")
    assert "better than the paper's" not in words  # those are of another machine


def session(commit, seconds, models=("TFR-Net", "MIT-FRNet"), **fields):
    """Measured times as ``rates.csv`` has them: one round of some systems."""
    usual = {"variant": "paper", "dataset": "mosi", "view": "clip-context"}
    usual |= {"encoder_mode": "frozen", "missing_rate": 0.0, "round": 1}
    usual |= {"device": "cpu", "device_name": "a processor", "threads": 1}
    own = {"commit": commit, "seconds_per_epoch": seconds, **fields}
    return pd.DataFrame([{**usual, **own, "model": model} for model in models])


def test_times_of_two_sessions_are_never_in_one_table(monkeypatch):
    times = pd.concat(
        [
            session("a" * 40, 5.0),
            session("b" * 40, 50.0, models=["TFR-Net"], round=2),
            session("a" * 40, 500.0, models=["MulT"], device_name="another"),
        ]
    )
    monkeypatch.setattr(compare, "load_table", lambda _: times)
    cells = compared("mit-table-6")
    (table,) = paper_tables.tables("mit-table-6", cells)
    ours = table.cells[table.cells["Value"] == "ours"].set_index("System")["0.0"]
    assert ours["TFR-Net (unaligned)"] == "5.0"  # one round has no interval
    assert ours["MulT (unaligned)"] == compare.OTHER_SESSION
    assert ours["TFN (aligned)"] == NOT_RUN
    assert f"a processor, 1 thread, commit {'a' * 10}" in table.caption
    assert "another" not in table.caption


def test_times_of_random_tensors_say_so(monkeypatch):
    content = "random tensors, every sequence of full length"
    times = session("a" * 40, 5.0, view="unaligned", content=content)
    monkeypatch.setattr(compare, "load_table", lambda _: times)
    words = paper_words.state("mit-table-6", compared("mit-table-6", view="unaligned"))
    assert f"Ours: {content}, in place of unaligned frame-level features" in words
    assert "minilm" not in words


def test_of_sessions_alike_the_last_one_counts():
    old = session("a", 1.0, session="2026-01-01T00:00:00+00:00")
    new = session("a", 2.0, session="2026-02-01T00:00:00+00:00")
    for rows in ((old, new), (new, old)):
        kept = compare.one_session(pd.concat(rows))
        assert set(kept["seconds_per_epoch"]) == {2.0}
    unnamed = session("a", 3.0)
    assert len(compare.one_session(unnamed)) == 2
    assert compare.one_session(pd.DataFrame()).empty


def test_no_page_of_a_table_or_figure_shows_an_empty_board():
    pages = sorted((repo_root() / "book" / "papers").glob("*.md"))
    boards = [
        board
        for page in pages
        for board in re.findall(r'page_board\("(.+?)"', page.read_text())
    ]
    assert len(boards) == len(pages) - 1  # all but the index
    assert all(len(page_board(board).cells) for board in boards)
