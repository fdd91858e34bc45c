"""Verdicts: every sort of them, from runs whose scores are known by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from conftest import tiny_content

from msa.data.load import MissingData
from msa.data.missing import SEEDS
from msa.report.labels import main_runs
from msa.study import verdicts
from msa.study.cells import gain_cell, hardest_cell, has_converged, is_flat
from msa.study.claims import (
    Claim,
    ClaimError,
    Place,
    along,
    claim,
    in_words,
    parse_system,
    places,
    read_claims,
    rules,
)
from msa.study.epoch_times import EPOCH_TIMES, epoch_times
from msa.study.evidence import Evidence
from msa.study.grids import study_names
from msa.study.publish import publish, publish_passport, publish_table
from msa.study.results import load_curves, load_runs, load_table
from msa.study.store import RunStore
from msa.study.verdicts import decide
from msa.train.config import RunConfig
from msa.train.metrics import RATES, score

CLIPS = 60
RUN_SEEDS = (1111, 111, 11111)
ALONE = {"rivals": ()}


def labels() -> np.ndarray:
    """Labels from -3 to 3 without a zero, as many positive as negative."""
    return np.linspace(-3, 3, CLIPS).astype(np.float32)


def content() -> dict:
    """Return the tiny layout with a test split of ``CLIPS`` clips."""
    found = tiny_content()
    test = found["test"]
    rows = np.arange(CLIPS) % 3
    for name, column in test.items():
        values = [column[row] for row in rows]
        test[name] = np.stack(values) if isinstance(column, np.ndarray) else values
    test["id"] = [f"testvideo$_${row}" for row in range(CLIPS)]
    test["regression_labels"] = labels()
    return found


@pytest.fixture
def evidence(tmp_path, tiny_file, monkeypatch):
    """Publish runs with the given predictions and return what verdicts read."""

    def make(predictions, view="clip-context", rebuilt=(), **more):
        data = tiny_file(content=content(), view=view)
        monkeypatch.setenv("MSA_DATA", str(data))
        store = RunStore(tmp_path / "runs")
        for (system, rate, seed), values in predictions.items():
            store.write(record(system, rate, seed, values, view, **more))
        for system, rate, seed in rebuilt:
            own = {"reconstruction_error": True, **more}
            store.write(record(system, rate, seed, labels(), view, **own))
        publish(store, tmp_path / "results")
        return Evidence(view, tmp_path / "results")

    return make


def record(
    system,
    rate,
    seed,
    prediction,
    view="clip-context",
    loss=(),
    **fields,
):
    model, variant = parse_system(system)
    config = RunConfig.resolve(
        dataset="mosi",
        view=view,
        model=model,
        variant=variant,
        missing_rate=rate,
        seed=seed,
        **fields,
    )
    return {
        "run_id": config.run_id,
        "config": config.model_dump(mode="json"),
        "metrics": {"test": score(prediction, labels(), "mosi")},
        "curves": [
            {"epoch": e, "split": "train", "term": "total", "value": value}
            for e, value in enumerate(loss, 1)
        ],
        "predictions": np.float32(prediction),
        "epochs": max(1, len(loss)),
        "best_epoch": 1,
        "seconds": {"train": 1.0},
        "parameters": 1,
        "peak_memory_mb": 1.0,
        "environment": {"device_name": "CPU"},
    }


def off_by(errors, rate=0.0, systems=("MFMB-Net", "TFR-Net")):
    """Predictions that miss every label by a constant, by system, rate and seed."""
    return {
        (system, rate, seed): labels() + error
        for system, own in zip(systems, errors, strict=True)
        for seed, error in zip(RUN_SEEDS, own, strict=False)
    }


def better(**fields) -> Claim:
    """Return the claim that MFMB-Net beats TFR-Net in MAE on complete data."""
    usual = {
        **{"id": "x", "paper": "MFMB-Net", "where": "Table 3", "says": "better"},
        **{"kind": "better", "page": "papers/mfmb-table-3", "datasets": ["mosi"]},
        **{"system": "MFMB-Net", "rivals": ["TFR-Net"], "metrics": ["MAE"]},
        "at": [0.0],
    }
    return Claim(**{**usual, **fields})


# --- single cells ---------------------------------------------------------------------


def test_a_gain_whose_interval_is_above_zero_is_reproduced(evidence):
    found, cells = decide(better(), evidence(off_by([(0.1,) * 3, (0.3,) * 3])))
    assert found.verdict == "reproduced"
    assert found.effect == pytest.approx(0.2)  # 0.3 - 0.1, in every resample
    assert (found.lo, found.hi) == (pytest.approx(0.2), pytest.approx(0.2))
    assert (found.n, found.unit, found.published, found.needed) == (3, "MAE", 6, 6)
    assert (cells[0].first, cells[0].second) == ("MFMB-Net", "TFR-Net")


def test_a_gain_in_two_of_three_seeds_is_consistent(evidence):
    # Gains of 0.3, 0.3 and -0.3: the mean is 0.1, and resamples of only the last seed
    # (one in 27) reach below 0.
    errors = [(0.1, 0.1, 0.4), (0.4, 0.4, 0.1)]
    found, _ = decide(better(), evidence(off_by(errors)))
    assert found.verdict == "consistent"
    assert found.effect == pytest.approx(0.1)
    assert found.lo < 0 < found.hi


@pytest.mark.parametrize(
    ("errors", "why"),
    [
        ([(0.3,) * 3, (0.1,) * 3], "the rival is better"),
        ([(0.1,) * 3, (0.1,) * 3], "a tie is no gain"),
        ([(0.3, 0.3, 0.299), (0.3, 0.3, 0.3)], "too small to matter"),
    ],
)
def test_no_gain_or_one_below_the_margin_is_not_reproduced(evidence, errors, why):
    found, _ = decide(better(), evidence(off_by(errors)))
    assert found.verdict == "not reproduced", why


def test_two_seeds_are_not_enough(evidence):
    found, cells = decide(better(), evidence(off_by([(0.1,) * 3, (0.3,) * 2])))
    assert found.verdict == "not enough runs yet"
    assert (found.published, found.needed, cells) == (5, 6, [])
    assert "5 of 6" in found.reason
    assert np.isnan(found.effect)
    assert found.reason.endswith(
        "no verdict, but on seeds 1111 and 111 alone 1 of 1 cells won"
    )


def test_the_only_seed_of_a_claim_is_named(evidence):
    runs = off_by([(0.1,) * 3, (0.3,)]) | off_by([(0.1,) * 3, (0.3,) * 2], 0.5)
    there = evidence(runs)
    found, _ = decide(better(), there)
    assert found.reason.endswith("on seed 1111 alone 1 of 1 cells won")
    found, _ = decide(better(at=[0.0, 0.5]), there)
    assert found.reason.endswith(
        "on seeds 1111 and 111 (not all in every cell) 2 of 2 cells won"
    )


def test_an_unfinished_claim_needs_the_labels_too(evidence, monkeypatch, tmp_path):
    there = evidence(off_by([(0.1,) * 3, (0.3,) * 2]))
    monkeypatch.setenv("MSA_DATA", str(tmp_path / "nothing"))
    with pytest.raises(MissingData):
        decide(better(), there)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_difference_of_rounding_is_neither_won_nor_lost(sign):
    rounding = np.full(3, sign * 1.85e-17)
    place = Place("mosi", "Mult_acc_7", 0.1)
    draws = np.full(5, sign * 1.85e-17)
    cell = gain_cell(place, "MFMB-Net", "TFR-Net", rounding, draws)
    assert not any((cell.is_won, cell.is_sure, cell.is_lost))
    assert not cell.won_draws.any()


def test_a_claim_with_no_seed_everywhere_tells_of_no_cells(evidence):
    found, _ = decide(better(), evidence(off_by([(0.1,) * 3, ()])))
    assert found.reason == "3 of 6 needed runs are published"


def test_the_strongest_rival_counts(evidence):
    runs = off_by([(0.2,) * 3, (0.4,) * 3]) | off_by([(0.1,) * 3], systems=["TFN"])
    found, cells = decide(better(rivals=["TFR-Net", "TFN"]), evidence(runs))
    assert (found.verdict, cells[0].second) == ("not reproduced", "TFN")
    assert found.effect == pytest.approx(-0.1)


def test_the_strongest_rival_is_looked_for_in_every_resample(evidence):
    runs = off_by([(0.5,) * 3, (0.55,) * 3])  # a small gain with every seed
    alone, _ = decide(better(), evidence(runs))
    assert (alone.verdict, alone.effect) == ("reproduced", pytest.approx(0.05))
    # A larger mean gain over TFN, but a loss wherever the third seed is drawn often.
    runs |= off_by([(0.8, 0.8, 0.1)], systems=["TFN"])
    found, cells = decide(better(rivals=["TFR-Net", "TFN"]), evidence(runs))
    assert (found.effect, cells[0].second) == (pytest.approx(0.05), "TFR-Net")
    # Gains 0.3, 0.3, -0.4: from their mean to the last, stretched by the root of 3/2.
    mean = 0.2 / 3
    assert found.lo == pytest.approx(mean - math.sqrt(1.5) * (mean + 0.4))
    assert found.verdict == "consistent"


def test_no_better_and_no_worse_than_seven_rivals_is_hardly_ever_surely_lost():
    random = np.random.default_rng(0)
    place, rivals = Place("mosi", "MAE", 0.0), [f"rival {i}" for i in range(7)]
    repeats, sure, lost, below = 400, 0, 0, 0
    for _ in range(repeats):
        found, drawn = random.normal(size=8), random.normal(size=(8, 1000))
        pairs = [
            (np.array([found[0] - rival]), found[0] - rival + drawn[0] - draws)
            for rival, draws in zip(found[1:], drawn[1:], strict=True)
        ]
        cell = hardest_cell(place, "ours", rivals, pairs)
        smallest = np.min([draws for _, draws in pairs], axis=0)
        below += np.quantile(smallest, 0.975) < 0
        sure, lost = sure + cell.is_sure, lost + cell.is_lost
        assert cell.lo <= cell.gain <= cell.hi
    assert sure / repeats < 0.05
    assert lost / repeats < 0.05
    assert below / repeats > 0.2  # the interval of the smallest gain itself


# --- several cells --------------------------------------------------------------------


def test_most_cells_are_enough_where_the_paper_says_most(evidence):
    # Won at rates 0.0 and 0.5, lost at 1.0, in every resample.
    runs = off_by([(0.1,) * 3, (0.3,) * 3]) | off_by([(0.1,) * 3, (0.3,) * 3], 0.5)
    there = evidence(runs | off_by([(0.3,) * 3, (0.1,) * 3], 1.0))
    three = {"at": [0.0, 0.5, 1.0]}
    most, _ = decide(better(**three, quantity="most"), there)
    assert (most.verdict, most.won, most.lost, most.cells) == ("reproduced", 2, 1, 3)
    assert most.effect == most.lo == most.hi == pytest.approx(2 / 3)
    every, _ = decide(better(**three, quantity="all"), there)
    assert every.verdict == "not reproduced"  # one cell is surely lost


def test_a_cell_without_a_sure_loser_leaves_all_consistent(evidence):
    runs = off_by([(0.1,) * 3, (0.3,) * 3]) | off_by([(0.1,) * 3, (0.3,) * 3], 0.5)
    there = evidence(runs | off_by([(0.2,) * 3, (0.2,) * 3], 1.0))  # a tie
    found, _ = decide(better(at=[0.0, 0.5, 1.0]), there)
    assert (found.verdict, found.won, found.lost) == ("consistent", 2, 0)


def test_half_of_the_cells_are_not_most(evidence):
    runs = off_by([(0.1,) * 3, (0.3,) * 3]) | off_by([(0.3,) * 3, (0.1,) * 3], 0.5)
    found, _ = decide(better(at=[0.0, 0.5], quantity="most"), evidence(runs))
    assert (found.verdict, found.effect) == ("not reproduced", 0.5)


def test_each_ablation_is_a_cell(evidence):
    systems = ("MFMB-Net", "MFMB-Net w/o F-1", "MFMB-Net w/o Recon")
    runs = off_by([(0.1,) * 3, (0.2,) * 3, (0.3,) * 3], systems=systems)
    found, cells = decide(better(rivals=systems[1:], against="each"), evidence(runs))
    assert (found.verdict, found.cells) == ("reproduced", 2)
    assert [cell.gain for cell in cells] == pytest.approx([0.1, 0.2])


def test_an_order_is_a_cell_per_pair(evidence):
    runs = off_by([(0.1,) * 3, (0.3,) * 3]) | off_by([(0.2,) * 3], systems=["TFN"])
    pairs = [["MFMB-Net", "TFN"], ["TFR-Net", "TFN"]]
    found, _ = decide(better(kind="order", pairs=pairs, rivals=[]), evidence(runs))
    assert (found.won, found.lost, found.verdict) == (1, 1, "not reproduced")


def test_a_constant_leaves_the_cell_empty(evidence):
    runs = off_by([(0.1,) * 3, (0.3,) * 3])
    runs |= {("TFR-Net", 0.0, seed): np.ones(CLIPS) for seed in RUN_SEEDS}
    there = evidence(runs)
    both, _ = decide(better(metrics=["MAE", "Corr"]), there)
    assert (both.verdict, both.empty, both.won) == ("reproduced", 1, 1)
    only, _ = decide(better(metrics=["Corr"]), there)
    assert (only.verdict, only.empty) == ("not testable here", 1)


# --- numbers along the missing rates --------------------------------------------------


def test_numbers_along_the_rates_by_hand():
    assert along(0.3, np.array([[2.0], [3.0]])).tolist() == [2.0, 3.0]
    assert along("drop 0.0 0.5", np.array([0.9, 0.6])) == pytest.approx(-0.3)
    line = np.array(RATES)
    assert along("AUILC", line) == pytest.approx(0.5)  # the triangle under y = x
    # sum of r (1 - r) over 0.0, 0.1, ..., 1.0 is 1.65
    assert along("MWA/10", line) == pytest.approx(0.165)
    with pytest.raises(ClaimError, match="no rate 'mean'"):
        decide(better(at=["mean"]), Evidence("clip-context"))


def test_a_smaller_drop_is_a_gain(evidence):
    # MFMB-Net loses 0.1 from rate 0.0 to 0.5, TFR-Net 0.4.
    runs = off_by([(0.3,) * 3, (0.1,) * 3]) | off_by([(0.4,) * 3, (0.5,) * 3], 0.5)
    found, _ = decide(better(at=["drop 0.0 0.5"]), evidence(runs))
    assert (found.verdict, found.effect) == ("reproduced", pytest.approx(0.3))


# --- the other kinds ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "verdict"),
    [(0.2, "reproduced"), (0.1, "consistent"), (-0.5, "consistent")],
)
def test_a_stated_gain(evidence, stated, verdict):
    there = evidence(off_by([(0.1,) * 3, (0.28, 0.3, 0.32)]))  # 0.18 to 0.22
    found, _ = decide(better(kind="gain", stated=stated), there)
    assert found.verdict == verdict


def test_a_stated_gain_that_is_a_loss(evidence):
    there = evidence(off_by([(0.3,) * 3, (0.1,) * 3]))
    found, _ = decide(better(kind="gain", stated=0.2), there)
    assert found.verdict == "not reproduced"


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(0.709, "reproduced"), (0.75, "not reproduced")],  # Table 3 prints 0.709, ± 0.03
)
def test_printed_values_need_frame_level_features(evidence, error, verdict):
    fields = {"kind": "value", "table": "Table 3", "features": "frame-level", **ALONE}
    runs = off_by([(error,) * 3], systems=["MFMB-Net"])
    found, _ = decide(better(**fields), evidence(runs))
    assert found.verdict == "not testable here"
    found, cells = decide(better(**fields), evidence(runs, view="unaligned"))
    assert found.verdict == verdict
    assert cells[0].gain == pytest.approx(error - 0.709, abs=1e-6)


def test_printed_f1_is_compared_with_swapped_weights(evidence):
    fields = {"kind": "value", "table": "Table 3", "metrics": ["Non0_F1"], **ALONE}
    runs = off_by([(0.0,) * 3], systems=["MFMB-Net"])
    _, cells = decide(better(**fields), evidence(runs))
    assert cells[0].place.metric == "Non0_F1_swapped"
    assert cells[0].gain == pytest.approx(1 - 0.860)


def test_undefined_metrics(evidence):
    constant = {("MFMB-Net", 1.0, seed): np.ones(CLIPS) for seed in RUN_SEEDS}
    there = evidence(constant | off_by([(0.1,) * 3], systems=["MFMB-Net"]))
    fields = {"kind": "undefined", "metrics": ["Corr"], **ALONE}
    seen = {
        at: decide(better(**fields, at=at), there)[0].verdict
        for at in ((1.0,), (0.0,), (0.0, 1.0))
    }
    assert list(seen.values()) == ["reproduced", "not reproduced", "consistent"]


def test_convergence_by_hand():
    falls = np.array([10.0, 5, 2, 1, 1, 1, 1, 1, 1, 1])
    assert has_converged(falls)  # last fifth 1, the one before 1; came down by 9
    assert not has_converged(falls[::-1])
    assert not has_converged(np.arange(10.0, 0, -1))  # still falls: 1.5 against 3.5
    assert is_flat(np.array([1.0, 5.0, 0.95]))
    assert not is_flat(falls)


@pytest.mark.parametrize(
    ("kind", "loss", "verdict"),
    [
        ("converges", (10, 5, 2, 1, 1, 1, 1, 1, 1, 1), "reproduced"),
        ("converges", (10, 9, 8, 7, 6, 5, 4, 3, 2, 1), "not reproduced"),
        ("flat", (1, 1, 1), "reproduced"),
    ],
)
def test_training_claims_look_at_every_run(evidence, kind, loss, verdict):
    there = evidence(off_by([(0.1,) * 3], systems=["MFMB-Net"]), loss=loss)
    found, cells = decide(better(kind=kind, metrics=[], **ALONE), there)
    assert (found.verdict, len(cells)) == (verdict, 3)


def times(rate=0.0, session=None, threads=1, **seconds):
    """Return rows of measured seconds of an epoch, one per round, by system."""
    row = {"dataset": "mosi", "view": "clip-context", "variant": "paper"}
    row |= {"encoder_mode": "frozen", "missing_rate": rate, "device": "cpu"}
    row |= {"device_name": "some processor", "threads": threads, "commit": "abc"}
    return [
        {**row, "model": model, "round": number, "seconds_per_epoch": value}
        | ({"session": session} if session else {})
        for model, values in seconds.items()
        for number, value in enumerate(values, 1)
    ]


def timed(there, *rows, **seconds):
    """Publish measured seconds of an epoch: these rows, and some at rate 0.0."""
    frame = pd.DataFrame([*(row for few in rows for row in few), *times(**seconds)])
    publish_table(EPOCH_TIMES, frame, there.results)
    return there


ANY_RUN = {("MISA", 0.0, 1111): labels()}
FASTER = {"kind": "faster", "metrics": [], "system": None, "rivals": []}


def test_times_are_compared_round_by_round(evidence):
    there = timed(evidence(ANY_RUN), MISA=(2.0, 2.0, 4.0), MulT=(4.0, 4.0, 6.0))
    found, (cell,) = decide(better(**FASTER, pairs=[["MISA", "MulT"]]), there)
    assert (found.verdict, found.effect, found.n) == ("reproduced", 2.0, 3)
    assert (cell.lo, cell.hi) == (2.0, 2.0)  # what slows both down is no difference
    found, _ = decide(better(**FASTER, pairs=[["MulT", "MISA"]]), there)
    assert found.verdict == "not reproduced"


def test_times_need_as_many_rounds_as_others_seeds(evidence):
    there = timed(evidence(ANY_RUN), MISA=(2.0, 2.0), MulT=(4.0, 4.0, 4.0))
    found, _ = decide(better(**FASTER, pairs=[["MISA", "MulT"]]), there)
    assert (found.verdict, found.published, found.needed) == (
        "not enough runs yet",
        5,
        6,
    )
    assert found.reason.startswith("5 of 6 needed measurements are published")
    assert found.reason.endswith("no verdict, but in 2 rounds 1 of 1 cells won")


@pytest.mark.parametrize("other", [{"session": "2026-11-22T10:00"}, {"threads": 2}])
def test_times_of_two_sessions_are_not_compared(evidence, other):
    there = timed(
        evidence(ANY_RUN),
        times(MISA=(2.0,) * 3, **other),
        MulT=(4.0,) * 3,
    )
    claimed = better(**FASTER, pairs=[["MISA", "MulT"]])
    found, cells = decide(claimed, there)
    assert (found.verdict, cells) == ("not enough runs yet", [])
    assert found.reason == (
        "6 of 6 needed measurements are published; at missing rate 0.0 no session "
        "measured MISA, MulT together in 3 rounds, and times of two sessions are not "
        "compared"
    )


def test_the_session_with_the_most_rounds_of_all_systems_counts(evidence):
    late = {"session": "2026-11-22T10:00"}
    there = timed(
        evidence(ANY_RUN),
        times(MISA=(2.0,) * 3, MulT=(5.0,) * 3, **late),  # as many rounds, but later
        times(MISA=(9.0,) * 4, threads=2),  # more, but of one system
        MISA=(2.0,) * 3,
        MulT=(4.0,) * 3,
    )
    found, _ = decide(better(**FASTER, pairs=[["MISA", "MulT"]]), there)
    assert (found.effect, found.n) == (3.0, 3)
    table = load_table(EPOCH_TIMES, there.results)
    own = epoch_times(table, "mosi", "clip-context", "MISA", "paper", 0.0)
    assert own.to_dict() == {("cpu", "some processor", 2, n): 9.0 for n in range(1, 5)}
    assert epoch_times(table, "mosi", "clip-context", "TFN", "paper", 0.0).empty


def test_times_tell_which_rates_decide_and_what_all_measured_ones_say(evidence):
    there = timed(
        evidence(ANY_RUN),
        times(0.5, MISA=(2.0,) * 3, MulT=(1.0,) * 3),
        times(0.7, MISA=(2.0,) * 2, MulT=(1.0,) * 2),  # too few rounds
        MISA=(2.0,) * 3,
        MulT=(4.0,) * 3,
    )
    claimed = better(**FASTER, pairs=[["MISA", "MulT"]])
    found, _ = decide(claimed, there)
    assert found.reason.endswith(
        "; decided at missing rates 0.0; at the 2 measured rates 1 of 2 cells won"
    )
    assert "at missing rates 0.0. Supported" in in_words(claimed)


def test_counts_come_from_the_passport(evidence, tmp_path):
    counted = claim("mfmb-data").model_copy(update={"datasets": ("mosi",)})
    there = evidence(off_by([(0.1,)], systems=["TFN"]))
    assert decide(counted, there)[0].verdict == "not enough runs yet"
    splits = pd.DataFrame(
        [("train", 552, 53, 679), ("valid", 92, 13, 124), ("test", 379, 30, 277)],
        columns=["split", "negative", "neutral", "positive"],
    )
    for count, verdict in ((277, "reproduced"), (278, "not reproduced")):
        splits.loc[2, "positive"] = count
        tables = {"splits": splits}
        publish_passport("mosi", "clip-context", tables, tmp_path / "results")
        assert decide(counted, there)[0].verdict == verdict


@pytest.mark.parametrize(
    ("model", "verdict"), [(0.5, "reproduced"), (1.1, "not reproduced")]
)
def test_a_reconstruction_has_to_beat_the_best_imputation(
    evidence, monkeypatch, model, verdict
):
    there = evidence({}, rebuilt=[("MFMB-Net", 0.5, seed) for seed in RUN_SEEDS])
    methods = {"model": model, "zero": 1.0, "mean": 0.9, "last": 1.2, "input": 0.1}
    rows = [
        {"run_id": run_id, "missing_rate": 0.5, "modality": modality, "method": method}
        | {"metric": "rmse", "value": value}
        for run_id in there.runs.index
        for modality in ("text", "audio", "vision")
        for method, value in methods.items()
    ]
    frame = pd.DataFrame(rows)
    monkeypatch.setattr("msa.study.cells.load_reconstructions", lambda results: frame)
    claimed = better(kind="restores", metrics=[], at=[0.5], **ALONE)
    found, cells = decide(claimed, there)
    assert (found.verdict, found.cells) == (verdict, 3)
    assert cells[0].second == "mean"
    assert cells[0].gain == pytest.approx(0.9 - model)
    one = int(verdict == "reproduced")
    assert found.reason.endswith(
        f"; text {one} of 1, audio {one} of 1, vision {one} of 1"
    )
    # Runs without the measurement do not count.
    assert decide(better(at=[0.5], **{"rivals": ["TFN"]}), there)[0].published == 0


def test_an_explanation_is_never_decided():
    found, _ = decide(claim("mit-heterogeneity"), Evidence("clip-context"))
    assert (found.verdict, found.effect) == (
        "not testable here",
        pytest.approx(np.nan, nan_ok=True),
    )
    assert "measures no distance" in found.reason


# --- the file and what is stored ------------------------------------------------------


def test_the_papers_claims_can_all_be_decided():
    listed = read_claims()
    assert len(listed) >= 20
    assert {c.paper for c in listed} == {"MFMB-Net", "MIT-FRNet"}
    for entry in listed:
        assert entry.study in (*study_names(), None), entry.id
        assert (entry.study is None) == (
            entry.kind in ("explanation", "counts", "faster")
        )
        assert places(entry) or entry.study is None
        assert in_words(entry).endswith(".")
    assert rules().seeds == len(SEEDS)


def test_a_claim_that_no_rule_can_decide_is_refused():
    with pytest.raises(ValueError, match="kind gain needs stated"):
        better(kind="gain")
    with pytest.raises(ValueError, match="no system 'MFMB'"):
        better(system="MFMB")
    with pytest.raises(ClaimError, match="no claim 'x'"):
        claim("x")


def test_in_words_says_when_a_claim_falls():
    words = in_words(better())
    assert "MFMB-Net with TFR-Net" in words
    assert "stays below 0.005" in words
    assert "more than half of 2 cells" in in_words(better(at=[0, 1], quantity="most"))


def test_claims_that_name_f1_say_which_weights():
    for entry in read_claims():
        if "F1" in entry.says:
            swapped = {place.metric.endswith("swapped") for place in places(entry)}
            words = "weighting" if swapped == {True} else "correct weights"
            assert words in entry.says, entry.id
        f1 = [place for place in places(entry) if "F1" in place.metric]
        assert ("(F1 " in in_words(entry)) == bool(f1), entry.id


def test_the_f1_of_figure_5_is_judged_in_both_weightings():
    own, twin = claim("mit-mwa-f1-mosi"), claim("mit-mwa-f1-mosi-correct")
    assert own.metrics == tuple(f"{metric}_swapped" for metric in twin.metrics)
    assert "(F1 in the papers' weighting)" in in_words(own)
    assert "(F1 with correct weights)" in in_words(twin)


def test_the_reconstruction_loss_where_nothing_is_missing_is_what_its_caveat_says():
    runs = load_runs()
    runs = runs[(runs["model"] == "MIT-FRNet") & (runs["dataset"] == "mosi")]
    runs = runs[runs["missing_rate"] == 0.0]
    curves = load_curves("mosi", "MIT-FRNet")
    losses = curves[curves["term"].str.startswith("reconstruction")]
    paper = losses[losses["run_id"].isin(main_runs(runs, runs)["run_id"])]
    released = runs.loc[runs["variant"] == "released", "run_id"]
    released = losses[losses["run_id"].isin(released)]
    assert len(paper)
    assert (paper["value"] > 0).all()
    assert len(released)
    assert (released["value"] == 0).all()
    caveat = claim("mit-mmr-low-rates").caveat
    assert "at rate 0.0 it is not 0" in caveat
    assert "the released code counts missing steps only, and there it is 0" in caveat


def test_stored_verdicts_are_stale_after_more_seeds_or_other_scores(
    evidence, monkeypatch
):
    monkeypatch.setattr(verdicts, "read_claims", lambda: (better(id="one"),))
    runs = off_by([(0.1,) * 3, (0.3,) * 3])
    folder = evidence(runs).results
    verdicts.publish_verdicts(folder)
    assert verdicts.is_current(folder)
    # A fourth seed: a claim needs three, so that the count of its runs stays.
    fourth = {(name, 0.0, 1112): labels() + 0.2 for name in ("MFMB-Net", "TFR-Net")}
    evidence(runs | fourth)
    assert not verdicts.is_current(folder)
    verdicts.publish_verdicts(folder)
    assert verdicts.is_current(folder)
    # The same runs made again, one with another result.
    evidence(runs | fourth | {("MFMB-Net", 0.0, 1111): labels() + 0.15})
    assert not verdicts.is_current(folder)


def test_stored_verdicts_on_times_are_stale_after_a_new_measurement(
    evidence, monkeypatch
):
    claimed = better(id="one", **FASTER, pairs=[["MISA", "MulT"]])
    monkeypatch.setattr(verdicts, "read_claims", lambda: (claimed,))
    there = timed(evidence(ANY_RUN), MISA=(2.0,) * 3, MulT=(4.0,) * 3)
    verdicts.publish_verdicts(there.results)
    assert verdicts.is_current(there.results)
    timed(there, MISA=(2.0,) * 3, MulT=(4.1,) * 3)
    assert not verdicts.is_current(there.results)


def test_verdicts_are_stored_and_come_back(evidence, tmp_path, monkeypatch):
    one = better(id="one")
    there = evidence(off_by([(0.1,) * 3, (0.3,) * 3]))
    monkeypatch.setattr(verdicts, "read_claims", lambda: (one,))
    folder = there.results
    assert verdicts.publish_verdicts(folder) == ("claims.csv", "claim-cells.csv")
    assert verdicts.publish_verdicts(folder) == ()
    (row,) = verdicts.load_verdicts(folder).to_dict("records")
    assert (row["id"], row["verdict"], row["n"]) == ("one", "reproduced", 3)
    (cell,) = load_table("claim-cells", folder).to_dict("records")
    assert (cell["first"], cell["second"], cell["won"]) == ("MFMB-Net", "TFR-Net", 1)
    # Without the labels, what is stored stays, and is known to be current.
    monkeypatch.setenv("MSA_DATA", str(tmp_path / "nothing"))
    assert verdicts.publish_verdicts(folder) == ()
    assert verdicts.is_current(folder)


def test_without_labels_an_unfinished_verdict_keeps_its_words(
    evidence, tmp_path, monkeypatch
):
    there = evidence(off_by([(0.1,) * 3, (0.3,) * 2]))
    monkeypatch.setattr(verdicts, "read_claims", lambda: (better(id="one"),))
    verdicts.publish_verdicts(there.results)
    monkeypatch.setenv("MSA_DATA", str(tmp_path / "nothing"))
    assert verdicts.publish_verdicts(there.results) == ()
    (row,) = verdicts.load_verdicts(there.results).to_dict("records")
    assert "no verdict, but on seeds" in row["reason"]
