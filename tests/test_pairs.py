"""Head to head: paired gains, their p-values and who is better how often."""

from __future__ import annotations

import numpy as np
import pytest
from test_verdicts import evidence, labels, off_by, record  # noqa: F401 (a fixture)

from msa.study.encoders import compare_encoders, load_encoders, publish_encoders
from msa.study.evidence import Evidence
from msa.study.pairs import (
    PAIRS,
    compare_pairs,
    load_pairs,
    p_over_seeds,
    p_value,
    paired_gain,
    publish_pairs,
)
from msa.study.publish import publish
from msa.study.store import RunStore


def test_p_values_by_hand():
    assert p_value(np.arange(1.0, 100.0)) == pytest.approx(
        2 / 100
    )  # none at or below 0
    assert p_value(np.array([-1.0, 1.0, 2.0])) == pytest.approx(2 * 2 / 4)
    assert p_value(np.zeros(9)) == 1.0


def test_a_resample_of_rounding_alone_is_in_both_tails():
    draws = np.array([1e-17, -1e-17, 1.0, 2.0])  # two ties: 2 at or below 0
    assert p_value(draws) == 1.0  # 2 (2 + 1) / 5 is above 1
    assert p_value(np.array([1e-17, 1.0, 2.0, 3.0])) == pytest.approx(2 * 2 / 5)
    assert np.isnan(p_over_seeds(np.array([0.1, 0.1, 0.1 + 1e-17])))


def test_every_sequence_model_meets_the_linear_reader_of_text():
    readers = {first for first, second in PAIRS if second == "text-linear"}
    assert readers == {"MFMB-Net", "MIT-FRNet", "TFR-Net"}


def test_a_paired_t_test_by_hand():
    gains = np.array([0.1, 0.2, 0.6])
    t = gains.mean() / (gains.std(ddof=1) / np.sqrt(3))
    tail = 0.5 - t / (2 * np.sqrt(2 + t**2))  # Student's t with two degrees of freedom
    assert p_over_seeds(gains) == pytest.approx(2 * tail)
    assert np.isnan(p_over_seeds(gains[:2]))
    assert np.isnan(p_over_seeds(np.full(3, 0.1)))  # a test of nothing that varies


def test_a_gain_of_rounding_is_none():
    ours = np.array([0.1 + 0.2, 0.4]), np.full((10_000, 2), 0.1 + 0.2)
    theirs = np.array([0.3, 0.4]), np.full((10_000, 2), 0.3)
    assert (ours[0] - theirs[0]).mean() > 0  # by 3e-17
    found = paired_gain(ours, theirs)
    assert (found["gain"], found["lo"], found["hi"]) == (0.0, 0.0, 0.0)


def test_a_pair_is_compared_on_shared_seeds_and_clips(evidence):  # noqa: F811
    errors = [(0.1, 0.2, 0.3), (0.4, 0.4, 0.2)]  # gains of 0.3, 0.2 and -0.1
    there = evidence(off_by(errors, systems=("MFMB-Net", "MIT-FRNet")))
    rows = compare_pairs("mosi", there)
    assert {(r["first"], r["second"], r["at"]) for r in rows} == {
        ("MFMB-Net", "MIT-FRNet", "0.0")
    }
    (mae,) = [row for row in rows if row["metric"] == "MAE"]
    assert (mae["n"], mae["gain"]) == (3, pytest.approx(0.4 / 3))
    assert mae["lo"] < 0 < mae["hi"]
    # Of nine pairs of runs 0.1, 0.2, 0.3 beat 0.4, 0.4, 0.2 in 3 + 2 + 2, and tie once.
    assert mae["better"] == pytest.approx((3 + 2.5 + 2) / 9)


def test_pairs_are_stored_and_come_back(evidence):  # noqa: F811
    both = ("MFMB-Net", "MIT-FRNet")
    there = evidence(off_by([(0.1,) * 3, (0.3,) * 3], systems=both))
    assert publish_pairs(there.results) == ("pairs.csv",)
    assert publish_pairs(there.results) == ()
    stored = load_pairs(there.results).set_index("metric")
    assert stored.at["MAE", "gain"] == pytest.approx(0.2)
    assert stored.at["MAE", "p"] == pytest.approx(2 / 10_001, rel=1e-3)
    assert stored.at["MAE", "at"] == "0.0"
    assert stored.at["MAE", "better"] == 1


def test_pairs_with_encoders_in_training_are_rows_of_their_own(evidence):  # noqa: F811
    both = ("MFMB-Net", "MIT-FRNet")
    there = evidence(off_by([(0.1,), (0.3,)], systems=both))
    store = RunStore(there.results.parent / "runs")
    for model, error in zip(both, (0.4, 0.2), strict=True):
        tuned = record(model, 0.0, 1111, labels() + error, encoder_mode="finetune")
        store.write(tuned)
    publish(store, there.results)
    rows = compare_pairs("mosi", Evidence(there.view, there.results))
    gains = {r["encoder_mode"]: r["gain"] for r in rows if r["metric"] == "MAE"}
    assert gains == pytest.approx({"frozen": 0.2, "finetune": -0.2})


def test_a_system_meets_itself_with_its_encoder_trained(evidence):  # noqa: F811
    frozen = {("TFN", 0.0, seed): labels() + 0.3 for seed in (1111, 111)}
    there = evidence(frozen)
    store = RunStore(there.results.parent / "runs")
    for seed, error in ((1111, 0.1), (11111, 0.2)):  # one seed was run both ways
        store.write(record("TFN", 0.0, seed, labels() + error, encoder_mode="finetune"))
    publish(store, there.results)
    there = Evidence(there.view, there.results)
    (row,) = (r for r in compare_encoders("mosi", there) if r["metric"] == "MAE")
    assert (row["model"], row["at"], row["n"]) == ("TFN", "0.0", 1)
    assert row["encoder"] == "minilm"
    assert row["frozen"] == pytest.approx(0.3)
    assert row["finetuned"] == pytest.approx(0.1)
    assert row["gain"] == pytest.approx(0.2)
    assert publish_encoders(there.results) == ("encoders.csv",)
    assert publish_encoders(there.results) == ()
    assert set(load_encoders(there.results)["model"]) == {"TFN"}
