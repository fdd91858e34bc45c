"""The checks of the audit on small tables worked out by hand."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from msa.audit import (
    claims,
    consistency,
    constants,
    data_statistics,
    derived,
    f1,
    granularity,
    has0_non0,
    noise_floor,
)
from msa.audit.findings import findings, raised
from msa.audit.tidy import prepare
from msa.train.metrics import score

FOUR = {"MOSI": {s: np.array([-1, -1, 0, 2], np.float32) for s in ("train", "test")}}
"""Two negative clips, one neutral, one positive."""
FOUR["MOSI"]["train"] = np.array([1, 1, 1], np.float32)

PAIR = {"MOSI": {s: np.array([-1, 1], np.float32) for s in ("train", "test")}}
"""One negative clip and one positive."""


def cell(metric, printed, variant="", model="A", rate=np.nan, **more):
    where = {"paper": "P", "table": "T", "dataset": "MOSI", "model": model}
    what = {"metric": metric, "variant": variant, "rate": rate, "printed": printed}
    return {**where, **what, "runs": 1, **more}


def cells(*rows):
    return prepare(pd.DataFrame(list(rows)))


def verdicts(found):
    return found["verdict"].tolist()


# --- the tidy form -----------------------------------------------------------------


def test_a_lost_trailing_zero_does_not_change_the_digits_of_a_table():
    table = cells(cell("Acc-2", "82.5", "has0"), cell("Acc-2", "82.52", "non0"))
    assert table["decimals"].tolist() == [2, 2]
    assert table["half"].tolist() == [0.005, 0.005]


def test_a_missing_column_and_a_word_for_a_number_are_refused():
    with pytest.raises(ValueError, match="no column rate"):
        prepare(pd.DataFrame([cell("MAE", "1")]).drop(columns="rate"))
    with pytest.raises(ValueError, match=r"row 0 .* '0,9'"):
        cells(cell("MAE", "0,9"))


def test_findings_know_their_verdicts_and_columns():
    with pytest.raises(ValueError, match="unknown verdict 'wrong'"):
        findings("f1", [{"verdict": "wrong"}])
    with pytest.raises(ValueError, match="no column colour"):
        findings("f1", [{"verdict": "ok", "colour": "red"}])


# --- 1 granularity -----------------------------------------------------------------


def reached(*arguments):
    return set(np.flatnonzero(granularity.attainable(*arguments)))


def test_one_run_on_four_samples_moves_in_quarters():
    assert reached(4, 1, 0) == {0, 25, 50, 75, 100}


def test_a_tie_in_rounding_counts_either_way():
    # two runs on four samples: multiples of 12.5, printed without decimals
    assert reached(4, 2, 0) == {0, 12, 13, 25, 37, 38, 50, 62, 63, 75, 87, 88, 100}


def test_single_runs_are_rounded_first():
    # thirds with one decimal: 0, .3, .7, 1; so two runs sum to 0 .3 .6 .7 1 1.3 1.4 ...
    assert reached(3, 2, 0, 1) == {0, 15, 30, 35, 50, 65, 70, 85, 100}
    assert reached(3, 1, 2, 4) == {0, 3333, 6667, 10000}


def test_sums_of_rounded_runs_equal_their_enumeration():
    runs = [round(1000 * c / 7) for c in range(8)]  # sevenths with three decimals
    sums = {sum(chosen) for chosen in product(runs, repeat=3)}
    # no tie: a third of an integer is never half-way between two
    assert reached(7, 3, 1, 3) == {round(s / 3) for s in sums}


def test_an_accuracy_between_two_attainable_ones_is_found():
    table = cells(cell("Acc-2", "30.0", "has0"), cell("Acc-7", "75.0"))
    found = granularity.granularity(table, FOUR)
    assert verdicts(found) == ["unattainable", "ok"]
    assert found.loc[0, ["expected_low", "expected_high"]].tolist() == [25, 50]
    # 30.0 is 3/10 of nothing here: 4, 8, 12, 16 samples; but 6 of 20 with five runs
    assert found.loc[0, "explanation"].endswith("reach it: 5")


def test_neutral_samples_do_not_count_in_non0():
    table = cells(cell("Acc-2", "33.33", "non0"), cell("Acc-2", "33.33", "has0"))
    assert verdicts(granularity.granularity(table, FOUR)) == ["ok", "unattainable"]


def test_cells_without_power_say_so():
    table = cells(
        cell("Acc-2", "66.4", "has0", aggregate="auilc"),
        cell("Acc-2", "66.4", "non0", dropped=1),
        cell("Acc-2", "66.4", "has0", runs=1000),
        cell("Acc-2", "66.4", dataset="OTHER"),
    )
    assert verdicts(granularity.granularity(table, FOUR)) == ["no-power"] * 4


def test_the_share_by_chance_is_that_of_the_neighbourhood():
    # 24.5 to 25.5 hold eleven values of which 25.0 alone is attainable
    table = cells(cell("Acc-7", "25.0"), cell("Acc-5", "25.2"))
    summary = granularity.granularity_by_model(table, {"MOSI": EIGHT})
    one = summary[summary["runs"] == 1].iloc[0]
    assert (one["attained"], one["cells"], one["constant_cells"]) == (1, 2, 0)
    assert one["expected_share"] == pytest.approx(1 / 11)
    assert one["p_value"] == pytest.approx(1 - (10 / 11) ** 2)


# no class holds a quarter of the eight clips, so 25.0 is no constant predictor's score
EIGHT = dict.fromkeys(("train", "test"), np.array([-3, -2, -1, 1, 1, 1, 2, 3], "f4"))


# --- 2 has0 and non0 ---------------------------------------------------------------


def pair(has0, non0, **more):
    return cells(
        cell("Acc-2", has0, "has0", **more), cell("Acc-2", non0, "non0", **more)
    )


def test_the_number_of_neutral_clips_follows_from_two_accuracies():
    # 3 of 4 right, 2 of the 3 non-neutral: the neutral one is said to be non-negative
    counts = has0_non0.neutral_counts(pair("75.00", "66.67"), FOUR)
    assert counts["count"].iloc[0] == pytest.approx(1, abs=1e-3)
    assert counts["neutral"].iloc[0] == 1
    assert not counts["slip"].iloc[0]


@pytest.mark.parametrize(
    ("has0", "non0", "verdict"),
    [
        ("75.00", "66.67", "ok"),  # 3 of 4, 2 of 3: the neutral clip is non-negative
        ("25.00", "66.67", "inconsistent"),  # 1 of 4 and 2 of 3: -1 neutral clips
        ("100.00", "66.67", "inconsistent"),  # 4 of 4 and 2 of 3: 2 neutral clips
    ],
)
def test_rows_that_need_too_few_or_too_many_neutral_clips(has0, non0, verdict):
    found = has0_non0.has0_non0(pair(has0, non0), FOUR)
    assert verdicts(found) == [verdict]
    # 2/3 right of 3 clips, then 0 or 1 of 4 more
    assert found.loc[0, "expected_low"] == pytest.approx(50, abs=0.01)
    assert found.loc[0, "expected_high"] == pytest.approx(75, abs=0.01)


def test_clips_left_out_at_random_widen_the_range():
    # of 2 kept clips one can be neutral: Has0 may be 33.3 to 83.3 at Non0 66.67
    assert verdicts(has0_non0.has0_non0(pair("83.3", "66.67"), FOUR)) == [
        "inconsistent"
    ]
    assert verdicts(has0_non0.has0_non0(pair("83.3", "66.67", dropped=2), FOUR)) == [
        "ok"
    ]


# --- 3 constant predictors ---------------------------------------------------------


def test_scores_of_constant_predictors_by_hand():
    table = constants.constant_scores(FOUR)

    def at(predictor, metric, variant="", weighting=""):
        same = table[
            (table["predictor"] == predictor)
            & (table["metric"] == metric)
            & (table["variant"] == variant)
            & (table["weighting"] == weighting)
        ]
        return same["score"].item()

    # all positive: 2 of 4 right; F1 of that class 2 * 2 / (4 + 2), of the other 0
    assert at("all positive", "Acc-2", "has0") == 0.5
    assert at("all positive", "F1", "has0", "correct") == pytest.approx(1 / 3)
    assert at("all positive", "F1", "has0", "swapped") == pytest.approx(2 / 3)
    # without the neutral clip 1 of 3; F1 2 * 1 / (3 + 1)
    assert at("all positive", "Acc-2", "non0") == pytest.approx(1 / 3)
    assert at("all positive", "F1", "non0", "correct") == pytest.approx(1 / 6)
    assert at("always class -1", "Acc-7") == 0.5
    # the train median is 1: errors 2, 2, 1, 1
    assert at("train median", "MAE") == 1.5


def test_the_majority_class_is_the_best_constant():
    shares = constants.majority_shares(FOUR).set_index(["metric", "variant"])["score"]
    assert shares["Acc-2", "non0"] == pytest.approx(2 / 3)
    assert shares["Acc-7", ""] == 0.5


def test_cells_that_equal_or_lose_to_a_constant_are_found():
    table = cells(
        cell("Acc-2", "33.33", "non0"),  # all positive
        cell("F1", "66.67", "has0"),  # all positive, swapped
        cell("Acc-7", "40.00"),  # below always -1
        cell("MAE", "1.6"),  # above the train median's 1.5
        cell("Acc-2", "75.00", "has0"),
        cell("MAE", "1.4"),
    )
    found = constants.constants(table.assign(decimals=2, half=0.005), FOUR)
    assert verdicts(found) == [
        "equals-constant",
        "equals-constant",
        "below-constant",
        "below-constant",
        "ok",
        "ok",
    ]
    assert "swapped" in found.loc[1, "explanation"]


def test_a_known_weighting_is_compared_with_that_weighting_only():
    table = cells(cell("F1", "66.67", "has0", weighting="correct"))
    assert verdicts(constants.constants(table, FOUR)) == ["ok"]


def test_a_collapsed_row_with_another_f1_is_noted():
    table = cells(
        cell("Acc-2", "50.00", "has0"),
        cell("Acc-2", "33.33", "non0"),
        cell("F1", "60.00", "has0"),
        cell("Corr", "-"),
    )
    found = constants.constants(table, FOUR)
    notes = found[found["verdict"] == "note"]
    assert notes["metric"].tolist() == ["Corr", "F1"]
    assert notes["expected_low"].iloc[1] == pytest.approx(100 / 3)
    assert notes["expected_high"].iloc[1] == pytest.approx(200 / 3)


# --- 4 F1 --------------------------------------------------------------------------


def test_f1_of_two_clips_by_hand():
    # one clip right: both get the same answer, F1 is 2/3 for one class and 0 for the
    # other; so the mean over classes is 1/3
    points = {tuple(np.round(p, 6)) for p in f1.extreme_f1(1, 1)}
    assert points == {(0, 0), (0.5, 0.333333), (1, 1)}
    region = f1.f1_region(((1, 1),))
    assert f1.f1_range(region, 0.5, 0.5, "correct") == pytest.approx((1 / 3, 0.5))
    assert f1.f1_range(region, 0.5, 0.5, "swapped") == pytest.approx((0.5, 2 / 3))


def test_the_two_f1_mirror_each_other_and_stay_in_the_region():
    rng = np.random.default_rng(0)
    truth = rng.integers(-3, 4, 40).astype(float)
    labels = {"MOSI": {"train": truth, "test": truth}}
    for _ in range(50):
        guess = truth + rng.normal(rng.normal(0, 2), 4, 40)
        values = score(guess, truth, "mosi")
        for name, variant in (("Has0", "has0"), ("Non0", "non0")):
            accuracy = values[f"{name}_acc_2"]
            total = values[f"{name}_F1"] + values[f"{name}_F1_swapped"]
            assert total == pytest.approx(2 * accuracy)
            region = f1.f1_region(f1.class_counts(labels, "MOSI", variant))
            for weighting, suffix in (("correct", ""), ("swapped", "_swapped")):
                low, high = f1.f1_range(region, accuracy, accuracy, weighting)
                assert low - 1e-9 <= values[f"{name}_F1{suffix}"] <= high + 1e-9


def test_left_out_clips_give_every_possible_pair_of_class_counts():
    assert f1.class_counts(FOUR, "MOSI", "has0") == ((2, 2),)
    assert set(f1.class_counts(FOUR, "MOSI", "has0", 1)) == {(2, 1), (1, 2)}
    assert set(f1.class_counts(FOUR, "MOSI", "non0", 1)) == {(1, 2), (1, 1), (0, 2)}


def with_f1(accuracy, value, model="A", **more):
    return (
        cell("Acc-2", accuracy, "has0", model),
        cell("F1", value, "has0", model, **more),
    )


def test_a_table_with_one_definition_is_silent():
    # one of two clips right: correct F1 33.3 to 50, swapped 50 to 66.7
    table = cells(*with_f1("50.0", "40.0"), *with_f1("50.0", "45.0", "B"))
    assert raised(f1.f1(table, PAIR)).empty
    assert f1.systems(f1.f1_pairs(table, PAIR))["reading"].tolist() == ["correct"] * 2


def test_two_definitions_in_one_table_are_found():
    table = cells(*with_f1("50.0", "40.0"), *with_f1("50.0", "60.0", "B"))
    found = raised(f1.f1(table, PAIR))
    assert len(found) == 1
    assert "correct weights for A; swapped weights for B" in found["explanation"].item()


def test_an_f1_that_no_definition_allows_is_found():
    found = raised(f1.f1(cells(*with_f1("50.0", "80.0")), PAIR))
    assert "neither" in found["explanation"].item()
    assert found["expected_low"].item() == pytest.approx(100 / 3, abs=0.1)
    assert found["expected_high"].item() == pytest.approx(200 / 3, abs=0.1)


def test_one_cell_against_the_other_cells_of_its_system_is_found():
    rows = [
        {**row, "rate": rate}
        for rate, value in ((0.0, "60.0"), (0.1, "61.0"), (0.2, "40.0"))
        for row in with_f1("50.0", value)
    ]
    found = raised(f1.f1(cells(*rows), PAIR))
    assert found["rate"].tolist() == [0.2]


def test_a_stated_definition_is_held_to():
    table = cells(*with_f1("50.0", "40.0", weighting="swapped"))
    assert verdicts(f1.f1(table, PAIR)) == ["inconsistent"]
    table = cells(*with_f1("50.0", "40.0", weighting="correct"))
    assert verdicts(f1.f1(table, PAIR)) == ["ok"]


def test_ranks_with_without_and_with_one_f1():
    # B prints the swapped F1 60, which is 2 * 50 - 60 = 40 by the other definition
    table = cells(*with_f1("51.0", "45.0"), *with_f1("50.0", "60.0", "B"))
    ranks = f1.rankings(table, PAIR).set_index("model")
    assert ranks.loc["A"].tolist()[-3:] == [1.5, 1, 1]
    assert ranks.loc["B"].tolist()[-3:] == [1.5, 2, 2]


# --- 5 derived scores and claims ---------------------------------------------------


def series(metric, values, **more):
    return [
        cell(metric, str(value), rate=i / 10, **more) for i, value in enumerate(values)
    ]


def test_areas_and_weighted_averages_of_a_constant_series():
    table = cells(*series("Acc-7", [100] * 11), *series("Corr", [1] * 10 + ["-"]))
    scores = derived.derived_scores(table).set_index("metric")
    # the weights of MWA add up to 5.5
    assert scores.loc["Acc-7", ["auilc", "mwa_10", "mwa_11"]].tolist() == [100, 55, 50]
    assert np.isnan(scores.loc["Corr", "auilc"])
    assert scores.loc["Corr", "mwa_10"] == pytest.approx(0.55)


@pytest.mark.parametrize(("printed", "verdict"), [("50", "ok"), ("52", "inconsistent")])
def test_a_printed_area_must_follow_from_the_rates(printed, verdict):
    falling = [100 - 10 * i for i in range(11)]  # a straight line: area 50
    area = cell("Acc-7", printed, aggregate="auilc", table="T2")
    found = derived.derived(cells(*series("Acc-7", falling), area), {})
    assert verdicts(found) == [verdict]


def claim(kind, **more):
    return {
        "id": kind,
        "paper": "P",
        "table": "T",
        "section": "1",
        "says": "…",
        "kind": kind,
        "quantity": "all",
        **more,
    }


def rates(metric, a, b, c):
    return [
        cell(metric, value, model=model, rate=i / 10)
        for model, values in {"A": a, "B": b, "C": c}.items()
        for i, value in enumerate(values)
    ]


RATES = cells(
    *rates("Acc-7", ["50.0", "40.0"], ["48.5", "40.5"], ["47.0", "30.0"]),
    *rates("MAE", ["0.8", "0.9"], ["0.9", "1.0"], ["0.7", "-"]),
)


@pytest.mark.parametrize(
    ("said", "verdict", "computed"),
    [
        (claim("best", model="A"), "inconsistent", "2/4"),
        (claim("best", model="A", quantity="most"), "inconsistent", "2/4"),
        (claim("best", model="A", quantity="vague"), "note", "2/4"),
        (claim("best", model="A", where={"rate": 0.0, "metric": "Acc-7"}), "ok", "1/1"),
        (claim("best", model="C", where={"rate": 0.1, "metric": "MAE"}), None, "0/1"),
        (claim("better", model="A", others=["C"]), "inconsistent", "3/4"),
        (claim("better", model="A", others=["C"], quantity="most"), "ok", "3/4"),
        (claim("worse", model="C", others=["A", "B"]), "inconsistent", "2/4"),
        (
            claim("gain", model="A", where={"metric": "Acc-7"}, stated=1.5),
            "ok",
            "1.5",
        ),
        (
            claim("gain", model="A", where={"metric": "Acc-7"}, stated=2.5),
            "inconsistent",
            "1.5",
        ),
        (
            claim(
                "difference",
                model="C",
                reference="A",
                where={"metric": "Acc-7", "rate": 0.1},
                stated=10.0,
            ),
            "ok",
            "10.0",
        ),
        (claim("undefined", cells=[["C", 0.1]]), "ok", "1/1"),
        (claim("undefined", cells=[["C", 0.0]]), "inconsistent", "0/1"),
        (claim("quotient", numbers=[7, 2], stated=3.5), "ok", "3.5"),
        (claim("quotient", numbers=[7, 2], stated=3.4), "inconsistent", "3.5"),
        (claim("total", numbers=[7, 2], stated=9), "ok", "9"),
        (claim("direction", where={"metric": "MAE"}, stated="lower"), "ok", "lower"),
        (
            claim("direction", where={"metric": "MAE"}, stated="higher"),
            "inconsistent",
            "lower",
        ),
    ],
    ids=lambda value: value["id"] if isinstance(value, dict) else str(value),
)
def test_claims_of_every_kind(said, verdict, computed):
    checked = claims.claims(RATES, (said,)).iloc[0]
    assert checked["computed"] == computed
    if verdict is not None:
        assert checked["verdict"] == verdict


def test_a_weighted_average_decides_a_claim():
    table = cells(*series("Acc-7", [60] * 11), *series("Acc-7", [50] * 11, model="B"))
    assert claims.claims(table, (claim("mwa", model="A"),))["verdict"].item() == "ok"
    said = claim("mwa", model="B")
    assert claims.claims(table, (said,))["verdict"].item() == "inconsistent"


def test_a_list_of_cells_is_compared_both_ways():
    full = [cell("Acc-7", "50.0", model="Ours", table="F", rate=r) for r in (0.0, 0.1)]
    without = [
        cell("Acc-7", value, model="less", rate=r)
        for r, value in ((0.0, "51.0"), (0.1, "49.0"))
    ]
    table = cells(*full, *without)
    said = claim("list", model="less", reference="F", quantity="")

    def verdict(*listed):
        entries = [{"rate": rate, "metrics": ["Acc-7"]} for rate in listed]
        return claims.claims(table, ({**said, "cells": entries},))["verdict"].item()

    assert verdict(0.0) == "ok"
    assert verdict(0.0, 0.1) == "inconsistent"  # 49 is not better than 50
    assert verdict() == "note"  # one better cell is not listed


def test_a_claim_about_nothing_is_an_error():
    with pytest.raises(ValueError, match="'best' selects no cell"):
        claims.claims(RATES, (claim("best", model="A", where={"metric": "Corr"}),))
    with pytest.raises(ValueError, match="unknown kind 'guess'"):
        claims.claims(RATES, (claim("guess"),))


def test_every_listed_claim_is_complete():
    for listed in claims.read_claims():
        assert {"id", "paper", "table", "section", "says", "kind"} <= set(listed)
    names = [listed["id"] for listed in claims.read_claims()]
    assert len(set(names)) == len(names)


# --- 6 consistency -----------------------------------------------------------------


def test_one_system_in_two_tables():
    first, second = ("Table 4", "Ours"), ("Table 5", "MFMB-Net")
    rows = [
        cell(metric, printed, paper="MFMB-Net", table=table, model=model)
        for (table, model), values in ((first, "12"), (second, "13"))
        for metric, printed in (("Acc-5", f"3{values[1]}"), ("Corr", "0.4"))
    ]
    found = consistency.consistency(cells(*rows), {})
    assert found.set_index("metric")["verdict"].to_dict() == {
        "Acc-5": "inconsistent",
        "Corr": "ok",
    }


def arrow(metric, full, ablated, direction):
    row = {"paper": "MIT-FRNet", "rate": 0.5}
    return (
        {**cell(metric, full, model="Ours"), **row, "table": "Table 4"},
        {**cell(metric, ablated), **row, "table": "Table 7", "arrow": direction},
    )


@pytest.mark.parametrize(
    ("metric", "full", "ablated", "direction", "verdict"),
    [
        ("Acc-7", "40", "39", "down", "ok"),
        ("Acc-7", "40", "41", "down", "inconsistent"),
        ("Acc-7", "40", "40", "down", "note"),
        ("MAE", "90", "95", "up", "ok"),  # the number went up
        ("MAE", "90", "95", "down", "ok"),  # the result got worse
        ("Corr", "-", "2", "down", "note"),
    ],
)
def test_arrows_against_differences(metric, full, ablated, direction, verdict):
    table = cells(*arrow(metric, full, ablated, direction))
    assert verdicts(consistency.consistency(table, {})) == [verdict]


def test_bold_marks_stand_at_the_best_value():
    def bold(metric, values):
        return [
            cell(metric, printed, model=model, bold=mark)
            for model, printed, mark in values
        ]

    def found(*rows):
        return verdicts(consistency.consistency(cells(*rows), {}))

    assert found(*bold("MAE", [("A", "0.8", True), ("B", "0.9", False)])) == ["ok"]
    assert found(*bold("MAE", [("A", "0.9", True), ("B", "0.8", False)])) == [
        "inconsistent",
        "inconsistent",
    ]
    tie = [("A", "50", True), ("B", "50", False)]
    assert found(*bold("Acc-7", tie)) == ["ok", "note"]


@pytest.mark.parametrize(
    ("five", "seven", "verdict"),
    [("30.00", "29.00", "ok"), ("30.00", "30.00", "note"), ("29.00", "30.00", None)],
)
def test_a_coarser_accuracy_is_never_below_a_finer_one(five, seven, verdict):
    table = cells(cell("Acc-5", five), cell("Acc-7", seven))
    found = consistency.consistency(table, {})
    assert verdicts(found) == [verdict or "inconsistent"]


# --- 7 noise floor -----------------------------------------------------------------


def rows_of(table, model, values):
    return [
        {**cell("Acc-7", str(v), rate=i / 10), "paper": "MIT-FRNet"}
        | {"table": table, "model": model}
        for i, v in enumerate(values)
    ]


TWINS = cells(
    *rows_of("Table 4", "TFR-Net", [50, 40]),
    *rows_of("Table 4", "Ours", [51, 48]),
    *rows_of("Table 7", "MIT-FRNet (ablation MITR)", [53, 36]),
)


def test_the_floor_is_the_root_mean_square_of_twin_differences():
    floor = noise_floor.noise_floor(TWINS).iloc[0]
    assert floor["floor"] == pytest.approx(np.sqrt((3**2 + 4**2) / 2))
    # chi-squared with two degrees of freedom: -2 ln(p)
    assert floor["low"] == pytest.approx(np.sqrt(25 / (-2 * np.log(0.025))))
    assert floor["high"] == pytest.approx(np.sqrt(25 / (-2 * np.log(0.975))))
    # weights .05 twice and .1 nine times
    assert floor["area_floor"] == pytest.approx(floor["floor"] * np.sqrt(0.095))


def test_gains_within_the_floor_are_noted_and_large_ones_are_not():
    # 1.96 * 3.54 = 6.93: a gain of 1 is within, a gain of 8 is not
    gains = noise_floor.claimed_gains(TWINS)
    assert gains["gain"].tolist() == [1, 8]
    assert gains["exceeds"].tolist() == [False, True]
    assert verdicts(noise_floor.noise(TWINS, {})) == ["note", "ok"]


def test_without_twin_rows_there_is_no_floor():
    assert noise_floor.noise(RATES, {}).empty


def test_wins_by_chance():
    table = cells(*rows_of("Table 4", "TFR-Net", [50, 40, 9]))
    table = pd.concat([table, cells(*rows_of("Table 4", "Ours", [51, 48, 8]))])
    wins = noise_floor.wins(table).iloc[0]
    assert (wins["cells"], wins["wins"], wins["expected_wins"]) == (3, 2, 1.5)
    assert wins["p_value"] == pytest.approx(4 / 8)  # two or three heads of three


# --- 8 data statistics -------------------------------------------------------------


def counts(paper, **classes):
    return [
        cell(f"count_{name}", str(value), paper=paper, model="", split="test")
        for name, value in classes.items()
    ]


def test_counts_are_compared_with_labels_and_other_papers():
    table = cells(
        *counts("P", negative=2, neutral=1, positive=1),
        *counts("Q", negative=2, neutral=2, positive=1),
    )
    found = data_statistics.data_statistics(table, FOUR)
    wrong = raised(found)
    assert wrong["paper"].tolist() == ["Q", "Q"]  # against labels, against P
    assert wrong["metric"].tolist() == ["count_neutral"] * 2
    assert wrong["expected_low"].tolist() == [1, 1]


def test_a_printed_total_is_compared_with_its_parts():
    total = cell("count_all", "5", model="", split="all")
    table = cells(*counts("P", negative=2, neutral=1, positive=1), total)
    wrong = raised(data_statistics.data_statistics(table, FOUR))
    assert wrong["metric"].tolist() == ["count_all"]
    assert wrong["expected_low"].item() == 4
