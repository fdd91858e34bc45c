"""Pages beyond the papers: from stored rows to tables, and what an empty study says."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from IPython.display import Markdown

from msa.report import (
    beyond,
    claims,
    duels,
    encoders,
    explorer,
    figures,
    generalisation,
    labels,
    noise,
    reconstruction,
    released,
    reruns,
    selection,
    untrained,
)
from msa.report.labels import MISSING
from msa.report.style import Picture
from msa.study.results import config_of, load_runs, load_summary
from msa.train.config import RunConfig

SEEDS = (111, 1111, 11111)

PAGES = (
    *(generalisation, selection, noise, reconstruction, encoders, duels, reruns),
    untrained,
)


def run(run_id, model="MFMB-Net", **fields):
    """One row of ``runs.csv`` as the pages load it."""
    config = RunConfig.resolve(dataset="mosi", model=model, **fields)
    return {"run_id": run_id, **config.model_dump()}


@pytest.fixture
def stored(monkeypatch):
    """Replace what is published by given frames."""

    def set_to(**frames):
        for name, frame in frames.items():
            for module in PAGES:
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, lambda *_, f=frame: f.copy())

    return set_to


@pytest.mark.parametrize(
    "make",
    [
        *(
            generalisation.rates_table,
            generalisation.rates_picture,
            generalisation.patterns_table,
        ),
        *(selection.table, noise.table, noise.picture),
        *(reconstruction.table, reconstruction.picture),
    ],
)
def test_without_runs_a_page_says_what_to_run(stored, make):
    empty = pd.DataFrame(columns=["run_id", "metric"])
    names = ("load_evaluations", "load_epochs", "load_reconstructions", "load_runs")
    stored(**dict.fromkeys(names, empty))
    shown = make()
    assert isinstance(shown, Markdown)
    assert "python -m msa study run" in shown.data


@pytest.mark.parametrize(
    ("make", "name", "known"),
    [
        *(
            (make, "mae", "MAE")
            for make in (
                *(generalisation.rates_table, generalisation.patterns_table),
                *(selection.table, noise.table),
                lambda metric: encoders.table("mosi", "clip-context", metric),
                lambda metric: released.effects_table("TFR-Net", metric, [0.5]),
                lambda metric: figures.rate_curves(*published(), [metric], "curves"),
                lambda metric: explorer.Explorer.of(*published(), metric),
            )
        ),
        (generalisation.rates_table, "Mult_acc_3", "MAE"),  # of CH-SIMS alone
        (claims.verdicts, "clip", "clip-context"),
        (
            lambda name: duels.duel_table(name, "LMF", "mosi", "clip-context"),
            *("TFN", "MFMB-Net and MIT-FRNet"),
        ),
    ],
)
def test_a_name_that_does_not_exist_is_no_study_that_was_not_run(make, name, known):
    with pytest.raises(LookupError, match=f"{name}.*{known}"):
        make(name)


def published():
    summary, runs = load_summary("mosi-sweep"), load_runs("mosi-sweep")
    return labels.main_runs(summary, runs), runs


def test_pairs_of_systems_turned_round_by_hand():
    assert beyond.turned([1, 2, 3], [1, 3, 2]) == (3, 1)
    assert beyond.turned([1, 2, 3], [3, 2, 1]) == (3, 3)
    assert beyond.turned([1, 1], [1, 2]) == (1, 0)  # a tie is not turned


def rates_frames():
    runs = [run(f"a{s}", seed=s) for s in SEEDS]
    runs += [run(f"m{s}", seed=s, train_rates="mixed") for s in SEEDS]
    tests = [
        {"run_id": r["run_id"], "missing_rate": rate, "metric": "MAE"}
        | {"pattern": "protocol", "value": rate + (0.1 if r["train_rates"] else 0.2)}
        for r in runs
        for rate in (0.0, 0.5)
    ]
    return {"load_runs": pd.DataFrame(runs), "load_evaluations": pd.DataFrame(tests)}


def test_train_rate_against_test_rate(stored):
    stored(**rates_frames())
    table = generalisation.rates_table("MAE")
    assert table.cells.to_dict("records") == [
        {
            "System": "MFMB-Net",
            "Trained at": trained,
            "0.0": f"{base:.3f} ± 0.000 [3 seeds]",
            "0.5": f"{base + 0.5:.3f} ± 0.000 [3 seeds]",
        }
        for trained, base in (("0.0", 0.2), ("mixed", 0.1))
    ]
    picture = generalisation.rates_picture("MAE")
    # Mixed rates win at both.
    assert "MFMB-Net: trained at 0.0 at 0, mixed at 2 of 2" in picture.alt
    assert "One seed" not in picture.alt
    # A reference with more seeds says nothing of a network with one.
    frames = rates_frames()
    one = run("b", model="TFR-Net", seed=SEEDS[0])
    test = frames["load_evaluations"].iloc[[0]].assign(run_id="b")
    stored(
        load_runs=pd.concat([frames["load_runs"], pd.DataFrame([one])]),
        load_evaluations=pd.concat([frames["load_evaluations"], test]),
    )
    assert "One seed does not tell" in generalisation.rates_in_words("MAE")


def test_models_of_the_protocol_stand_beside_those_of_one_rate(stored, monkeypatch):
    frames = rates_frames()
    stored(**frames)
    # One more, of a seed that the study has not: it would not be a fair mean.
    seeds = (*SEEDS, 99)
    sweep = [
        run(f"s{s}{rate}", seed=s, missing_rate=rate) | {"test_MAE": rate}
        for s in seeds
        for rate in (0.0, 0.5)
    ]
    runs = {"rates": frames["load_runs"], "matrix-mosi": pd.DataFrame(sweep)}
    monkeypatch.setattr(generalisation, "load_runs", lambda name: runs[name])
    monkeypatch.setattr(generalisation, "main_runs", lambda frame: frame)
    table = generalisation.rates_table("MAE")
    row = table.cells.set_index("Trained at").loc[generalisation.OWN_RATE]
    assert row["0.5"] == "0.500 ± 0.000 [3 seeds]"
    words = generalisation.rates_in_words("MAE")
    assert "trained at 0.0 at 0, its own rate at 2, mixed at 0 of 2" in words
    assert "more than there are rates" not in words
    # At test rate 0.0 the model of complete data is the one of its own rate as well.
    runs["matrix-mosi"]["test_MAE"] = 0.2
    frames["load_evaluations"]["value"] = [0.2, 0.3] * 6
    stored(load_evaluations=frames["load_evaluations"])
    words = generalisation.rates_in_words("MAE")
    assert "trained at 0.0 at 1, its own rate at 2, mixed at 1 of 2" in words
    assert "Ties count for each training, so" in words


def test_selection_counts_what_the_test_split_buys(stored):
    known = [run(f"a{seed}", seed=seed) for seed in SEEDS]
    known.append(run("b", model="TFN"))
    runs = pd.DataFrame(known).assign(best_epoch=1)
    rows = []
    for run_id in runs["run_id"]:
        # Validation MAE is best in epoch 1, test accuracy in epoch 2.
        best = 0.71 if run_id == "b" else 0.75
        for epoch, mae, acc in ((1, 0.5, 0.70), (2, 0.6, best)):
            for split in ("valid", "test"):
                own = {"run_id": run_id, "epoch": epoch, "split": split}
                rows.append(own | {"metric": "MAE", "value": mae})
                rows.append(own | {"metric": "Non0_acc_2", "value": acc})
    stored(load_runs=runs, load_epochs=pd.DataFrame(rows))
    cells = selection.table("Non0_acc_2").cells.set_index("System")
    assert cells.at["MFMB-Net", "validation-best"].startswith("70.00")
    assert cells.at["MFMB-Net", "test-best buys"] == "+5.00"
    assert cells.at["TFN", "test-best buys"] == "+1.00"
    # Systems count alike, whatever their seeds: (5 + 1) / 2. Student's 97.5 % of two
    # values is 12.706, their standard error 2.
    words = selection.in_words("Non0_acc_2")
    bounds = f"[{3 - 25.412:+.2f} to {3 + 25.412:+.2f}]"
    assert f"buys +3.00 in Acc-2 (Non0) (%) on average {bounds}" in words
    assert "Another seed" not in words


def test_what_a_rule_turns_is_held_against_another_seed(stored):
    scores = {"TFN": (0.70, 0.71, 0.72), "LMF": (0.69, 0.72, 0.73)}
    usual, rows = [], []
    for model, values in scores.items():
        for seed, value in zip(SEEDS, values, strict=True):
            made = run("", model, seed=seed) | {"test_Non0_acc_2": value}
            usual.append(made | {"run_id": config_of(made).run_id, "best_epoch": 1})
    for made in usual:
        own = {"run_id": made["run_id"], "epoch": 1, "metric": "Non0_acc_2"}
        own["value"] = made["test_Non0_acc_2"]
        rows += [own | {"split": split} for split in ("valid", "test")]
    stored(load_runs=pd.DataFrame(usual), load_epochs=pd.DataFrame(rows))
    words = selection.in_words("Non0_acc_2")
    assert "turns 0 of 3 pairs of systems round" in words  # one epoch: no choice
    # Of the three pairs of seeds two have the systems in another order.
    assert "Another seed with this study's rule turns 2 of 3 (67 %)." in words


def test_pairs_are_counted_where_both_systems_were_run(stored):
    scores = {"TFN": (0.70, 0.71), "LMF": (0.69, 0.72), "MulT": (0.60, 0.61)}
    runs, rows = [], []
    for rate, models in ((0.0, ("TFN", "LMF", "MulT")), (0.5, ("TFN", "LMF"))):
        for model in models:
            name = f"{model}{rate}"
            runs.append(run(name, model, missing_rate=rate) | {"best_epoch": 1})
            for epoch, value in enumerate(scores[model], 1):
                own = {"run_id": name, "epoch": epoch, "metric": "Non0_acc_2"}
                rows += [own | {"split": s, "value": value} for s in ("valid", "test")]
    stored(load_runs=pd.DataFrame(runs), load_epochs=pd.DataFrame(rows))
    words = selection.in_words("Non0_acc_2")
    assert "turns 2 of 4 pairs of systems round" in words  # one at each rate


def test_runs_needed_are_those_of_published_tables():
    # Cohen (1988), two groups, two-sided at 5 %, power 80 %: d = 0.5, 0.8, 1.0.
    assert [noise.runs_needed(d) for d in (0.5, 0.8, 1.0)] == [64, 26, 17]
    # Two runs are the fewest that have a spread.
    assert noise.runs_needed(math.inf) == 2


def test_noise_tells_which_seed_moved(stored):
    values = [0.9, 1.0, 1.1]
    runs = []
    for number, value in enumerate(values):
        usual = {"missing_rate": 0.5, "data_order_seed": 1111}
        moved = (
            {"seed": number + 1},
            {"mask_seed": number + 1},
            {"data_order_seed": number + 1},
        )
        runs += [
            {
                **run(f"{number}{kind}", **{**usual, **m}),
                "test_MAE": value,
                "test_Corr": np.nan if value == 1.1 and kind == 0 else 0.5,
            }
            for kind, m in enumerate(moved)
        ]
    stored(load_runs=pd.DataFrame(runs))
    cells = noise.table("MAE").cells.set_index("What is drawn anew")
    assert list(cells.index) == ["run seed", "masks", "data order", "all three"]
    assert cells.at["masks", "Mean"] == "1.000"
    # Two degrees of freedom: sqrt(2 / 7.378) and sqrt(2 / 0.05064) times 0.1.
    assert cells.at["masks", "Standard deviation"] == "0.100 [0.052 to 0.628]"
    # Printed: 1.2108 of MISA, 1.1561; 2 ((1.960 + 0.842) * 0.1 / 0.0547)^2 = 52.5, and
    # 1.960^2 / 4 more because a t-test does not know the 0.1 (Guenther 1981): 53.4.
    assert cells.at["masks", "Seeds needed"] == "54"
    # Three variances of 0.1^2 add up: three times as many.
    # Six degrees: sqrt(6 / 14.449) and sqrt(6 / 1.2373) times 0.1732.
    assert cells.at["all three", "Standard deviation"] == "0.173 [0.112 to 0.381]"
    assert cells.at["all three", "Seeds needed"] == "159"
    assert "needs 159 seeds" in noise.in_words("MAE")
    assert "One answer for all clips: 1 of 9 runs" in noise.in_words("MAE")
    assert isinstance(noise.picture("MAE"), Picture)
    gain, what = noise.smallest_gain("Non0_F1")
    assert gain == 0.006
    assert what.startswith("the smallest gain in F1 (Non0) that MFMB-Net's text states")
    assert what.endswith("(on CMU-MOSI)")
    assert noise.smallest_gain("Mult_acc_7")[1].endswith("(on CMU-MOSEI)")
    gain, what = noise.smallest_gain("MAE")
    assert gain == pytest.approx(1.2108 - 1.1561)  # MISA is the best of the others
    assert "MIT-FRNet's Table 4" in what
    assert noise.smallest_gain("F1_score") == (
        0.005,
        "the margin of our rules for claims",
    )


def test_reconstruction_is_compared_with_the_best_imputation(stored):
    runs = pd.DataFrame([run("a", missing_rate=0.5, reconstruction_error=True)])
    errors = {"model": 0.8, "zero": 1.0, "mean": 0.9, "last": 1.1, "input": 0.5}
    usual = {"run_id": "a", "missing_rate": 0.5}
    rows = [
        {**usual, "modality": m, "method": k, "metric": "rmse", "value": v}
        for m in ("text", "audio", "vision")
        for k, v in (errors if m == "text" else {**errors, "model": 0.95}).items()
    ]
    link = {"modality": "all", "method": "model", "metric": "spearman", "value": 0.25}
    rows += [usual | link, usual | link | {"modality": "text", "value": 0.5}]
    stored(load_runs=runs, load_reconstructions=pd.DataFrame(rows))
    words = reconstruction.in_words()
    assert "MFMB-Net in 1 of 3 cells" in words
    assert "Spearman correlation of 0.25" in words
    cells = reconstruction.table().cells
    assert cells["model"].tolist() == ["0.950", "0.800", "0.950"]  # audio, text, vision
    assert cells["Spearman"].tolist() == [MISSING, "0.500", MISSING]


def test_a_run_made_again_elsewhere_is_another_draw(stored, monkeypatch):
    place = {"device": "cpu", "cpu": "x", "cpu_kind": "model 1", "instructions": "A"}
    places = {
        "a": {**place, "rounding": 2},
        "b": {**place, "rounding": 2},
        "c": {**place, "rounding": 2, "cpu_kind": "model 2"},
        "named": {"device": "cpu", "cpu": "x", "rounding": 2},
        "old": {"device": "cpu", "cpu": "x"},
    }
    monkeypatch.setattr(reruns, "load_environments", lambda: places)
    made = [("a", {}, 1.0), ("b", {"selection": "all"}, 1.0), ("c", {}, 1.3)]
    rows = [
        {**run("", **fields), "environment": place, "test_MAE": mae, "epochs": 9}
        for place, fields, mae in made
    ]
    # Solved, not trained: equal anywhere.
    made = {**run("", "text-linear"), "test_MAE": 1.0, "epochs": 0}
    rows += [
        {**made, "environment": "a"},
        {**made, "selection": "all", "environment": "c"},
    ]
    for row in rows:
        row["run_id"] = config_of(row).run_id
        row["hyper"] = json.dumps(row["hyper"])
    rows.append({**rows[0], "run_id": "other", "seed": 5, "test_MAE": 9.0})
    stored(load_runs=pd.DataFrame(rows))
    found = reruns.pairs()
    assert found["kind"].tolist() == [reruns.SAME, reruns.OTHER, reruns.OTHER]
    cells = reruns.table().cells.set_index("Made again on")
    assert cells.at[reruns.SAME, "Equal to the last digit"] == "1"
    assert cells.at[reruns.OTHER, "Standard deviation of one run"] == "0.212"
    assert "the same score in 1 of 1 pairs" in reruns.in_words()
    assert "0 of 2 pairs, and together they are apart like draws" in reruns.in_words()
    rows[1]["environment"] = "named"  # of which generation is not known
    stored(load_runs=pd.DataFrame(rows))
    kinds = [reruns.NAMED, reruns.OTHER, reruns.NAMED]
    assert reruns.pairs()["kind"].tolist() == kinds
    assert "name, with the same rounding the same score in 1 of 2" in reruns.in_words()
    rows[1]["environment"] = "old"  # code that rounds otherwise
    stored(load_runs=pd.DataFrame(rows))
    assert set(reruns.pairs()["kind"]) == {reruns.OTHER}


def test_a_duel_is_told_in_gains(stored, monkeypatch):
    monkeypatch.setattr(untrained, "main_runs", lambda frame: frame)
    met = [("frozen", seed) for seed in (1111, 111, 11111)] + [("finetune", 111)]
    runs = [
        run(f"{model}-{mode}-{seed}", model, encoder_mode=mode, seed=seed)
        for model in ("MFMB-Net", "MIT-FRNet")
        for mode, seed in [*met, ("finetune", 11 if model == "MFMB-Net" else 1)]
    ]
    stored(load_runs=pd.DataFrame(runs))
    row = {"first": "MFMB-Net", "second": "MIT-FRNet", "dataset": "mosi"}
    row |= {"view": "clip-context", "encoder_mode": "frozen"}
    row |= {"n": 3, "p": 0.01, "p_seeds": 0.2}
    row |= {"better": 1.0, "better_lo": 0.5, "better_hi": 1.0}
    pairs = pd.DataFrame(
        [
            {**row, "at": at, "metric": metric, "gain": g, "lo": g - 0.1, "hi": g + 0.1}
            for at, g in (("0.0", 0.2), ("0.5", -0.05), ("AUILC", 0.0))
            for metric in ("MAE", "Corr", "Mult_acc_5")
        ]
    )
    stored(load_pairs=pairs)
    names = ("MFMB-Net", "MIT-FRNet", "mosi", "clip-context")
    cells = duels.duel_table(*names).cells
    assert cells.at[0, "MAE"] == "+0.200 [+0.100 to +0.300]"
    assert cells.at[0, "Acc-5"] == "+20.00 [+10.00 to +30.00]"
    assert cells["At"].tolist() == ["rate 0.0", "rate 0.5", "AUILC"]
    words = duels.duel_in_words(*names)
    assert "MFMB-Net has the lower error at 1 of 2 missing rates, MIT-FRNet at" in words
    assert "of 2 missing rates with 3 seeds or more the interval lies" in words
    assert "on one side of 0 at 1 for MFMB-Net and at 0" in words
    assert "p-value is 0.030 over seeds and clips, 0.600 over seeds alone" in words
    assert cells.at[0, "p, seeds and clips"] == "0.030"  # three rows
    assert cells.at[0, "p, seeds"] == "0.600"
    own = duels.duel_table(*names).data
    assert own.loc[own["metric"] == "MAE", "p_holm"].tolist() == [0.03, 0.03, 0.03]
    assert own.loc[own["metric"] != "MAE", "p_holm"].isna().all()
    assert cells.at[0, "MFMB-Net better (MAE)"] == "100% [50% to 100%]"
    picture = duels.duel_picture(*names)
    assert picture.alt == words
    assert b">1.0<" in picture.svg  # rates up to 0.5, on the whole axis
    for caption in (picture.caption, duels.duel_table(*names).caption):
        assert "text encoder minilm (frozen)" in caption
        assert "seeds 111, 1111, 11111" in caption
    assert duels.duel_picture("MFMB-Net", "MIT-FRNet", "sims", "clip-context") is None
    other = duels.duel_table("MFMB-Net", "MIT-FRNet", "sims", "clip-context")
    assert "study run matrix-sims" in other.data
    assert "study run finetuned" in duels.duel_table(*names, "finetune").data
    both = pd.concat([pairs, pairs.iloc[:3].assign(encoder_mode="finetune", gain=-0.3)])
    stored(load_pairs=both)
    assert len(duels.duel_table(*names).cells) == 3
    tuned = duels.duel_table(*names, "finetune")
    assert tuned.cells["MAE"].str[:6].tolist() == ["-0.300"]
    assert tuned.caption.endswith("valid and test; seed 111.")
    assert "text encoder minilm (finetune); missing rate 0.0 in" in tuned.caption
    words = duels.duel_in_words(*names, "finetune")
    assert "encoder fine-tuned, MAE: of 1 missing rate with" in words
    stored(load_pairs=pairs.assign(n=2))  # too few to speak of other seeds
    assert duels.duel_table(*names).cells.at[0, "p, seeds"] == MISSING
    assert "no rate has 3 seeds yet" in duels.duel_in_words(*names)


def test_runs_that_do_not_even_fit_their_training_split_are_named(stored, monkeypatch):
    monkeypatch.setattr(untrained, "main_runs", lambda frame: frame)
    fits = [("constant", 0.5, 1.0), ("constant", 0.0, 1.0), ("MIT-FRNet", 0.5, 0.98)]
    fits += [("MFMB-Net", 0.0, 0.7), ("MFMB-Net", 0.5, 0.995), ("MFMB-Net", 1.0, 1.0)]
    runs = pd.DataFrame(
        [
            run(f"r{i}", model, missing_rate=rate) | {"train_MAE": mae}
            for i, (model, rate, mae) in enumerate(fits)
        ]
    )
    stored(load_runs=runs)
    both = ["MFMB-Net", "MIT-FRNet"]
    told = untrained.untrained(["constant", *both], "mosi", "clip-context").data
    assert ": 2 of 2 runs of constant (at 0.0, 0.5) and 1 of 2 runs of MFMB" in told
    words = duels.unfitted(both, "mosi", "clip-context").data
    assert ": 1 of 2 runs of MFMB-Net (at 0.5). " in words
    assert "MIT-FRNet" not in words
    assert duels.unfitted(both, "sims", "clip-context") is None


def test_systems_are_compared_with_the_linear_reader_in_pairs(stored):
    row = {"first": "MFMB-Net", "second": "text-linear", "dataset": "mosi"}
    row |= {"view": "clip-context", "encoder_mode": "frozen", "metric": "MAE"}
    gains = (("0.0", 0.2, 3), ("0.4", 0.05, 1), ("0.8", -0.2, 1), ("AUILC", 0.3, 1))
    pairs = pd.DataFrame(
        [
            {**row, "at": at, "gain": g, "lo": g - 0.1, "hi": g + 0.1, "n": n}
            for at, g, n in gains
        ]
    )
    stored(load_pairs=pairs)
    words = duels.against_linear("mosi", "clip-context", "MAE")
    assert (
        "MFMB-Net better at 1 (0.0), worse at 1 (0.8) of 3 missing rates "
        "(1 to 3 seeds a rate)"
    ) in words
    assert duels.BETTER_OR_WORSE in words
    nothing = "CMU-MOSI: nothing is compared with text-linear yet."
    assert duels.against_linear("mosi", "clip-context", "Corr") == nothing
    only = duels.against_linear("mosi", "clip-context", "MAE", ["MIT-FRNet"])
    assert only == nothing


def test_f1_definitions_side_by_side(monkeypatch):
    scores = {"Non0_acc_2": (0.6, 0.7), "Non0_F1": (0.5, 0.6)}
    scores["Non0_F1_swapped"] = (0.8, 0.7)
    wide = pd.DataFrame(
        {"missing_rate": 1.0, "model": ["TFN", "MulT"], "variant": "paper", "n": 3.0}
        | {key: np.array(values) for key, values in scores.items()}
    )
    runs = pd.DataFrame([run("a", "TFN", missing_rate=1.0)])
    monkeypatch.setattr(duels, "_f1", lambda *_: wide)
    monkeypatch.setattr(duels, "main_of", lambda *_: runs)
    cells = duels.f1_table("mosi", "clip-context").cells.set_index("System")
    assert cells.at["TFN", "Swapped minus correct"] == "+30.00"
    assert (cells.at["TFN", "Place, correct"], cells.at["TFN", "Place, swapped"]) == (
        "2",
        "1",
    )
    words = duels.f1_in_words("mosi", "clip-context")
    assert "most for TFN at missing rate 1.0" in words
    assert "turn 1 of 1 pairs" in words
    # The two that met are not named, the others are.
    missing = words.rpartition("Not run here: ")[2]
    assert "MFMB-Net" in missing
    assert "TFN" not in missing


def test_fine_tuning_is_compared_cell_by_cell(stored):
    row = {"dataset": "mosi", "view": "clip-context", "encoder": "minilm"}
    row |= {"n": 3, "metric": "MAE"}
    better = {"model": "TFN", "at": "0.5", "frozen": 1.0, "finetuned": 0.9}
    worse = {"model": "LMF", "at": "0.5", "frozen": 1.0, "finetuned": 1.02}
    frames = pd.DataFrame(
        [
            {**row, **better, "gain": 0.1, "lo": 0.05, "hi": 0.15},
            {**row, **worse, "gain": -0.02, "lo": -0.05, "hi": 0.01},
            {**row, **worse, "at": "AUILC", "gain": -0.02, "lo": -0.05, "hi": 0.01},
        ]
    )
    summary = {**row, "encoder_mode": "frozen", "missing_rate": 0.5}
    summary = [
        {**summary, "model": m, "mean": v} for m, v in (("TFN", 1), ("MISA", 0.8))
    ]
    stored(load_encoders=frames, load_runs=pd.DataFrame([run("a", "TFN")]))
    other = {**summary[1], "encoder": "another", "mean": 0.1}  # is not compared with
    stored(main_runs=pd.DataFrame([*summary, other]))
    words = encoders.in_words("mosi", "clip-context")
    assert words.startswith("CMU-MOSI, clip-context features (not the papers'")
    assert ", text encoder minilm, 3 seeds a cell: fine-tuning" in words
    assert "of 2 fine-tuned systems TFN is best (0.900)" in words
    assert "of 2 frozen systems MISA is best (0.800)" in words
    assert "better in 1 of 2 cells" in words
    assert "+0.040 on average" in words
    assert "of the resamples moves it, in 1 and below in 0" in words
    stored(main_runs=pd.DataFrame([run("a", "TFN", missing_rate=0.5)]))
    cells = encoders.table("mosi", "clip-context").cells.set_index("System")
    assert cells.at["TFN", "Gain"] == "+0.100 [+0.050 to +0.150]"
    data = encoders.table("mosi", "clip-context").data
    assert list(data) == list(frames)
    stored(load_encoders=frames[:0])
    assert "no runs with a fine-tuned" in encoders.in_words("mosi", "clip-context")


def test_the_damage_under_which_a_system_does_worst(stored):
    runs = pd.DataFrame([run("a", missing_rate=0.5)])
    tests = pd.DataFrame(
        [
            {"run_id": "a", "missing_rate": 1.0, "metric": "MAE"}
            | {"pattern": pattern, "value": value}
            for pattern, value in (("no-text", 1.4), ("no-audio", 1.0), ("bursts", 1.2))
        ]
    )
    stored(load_runs=runs, load_evaluations=tests)
    tests.loc[tests["pattern"] == "bursts", "missing_rate"] = 0.5
    stored(load_evaluations=tests)
    words = generalisation.patterns_in_words("MAE")
    assert "MFMB-Net no-text (1.400)" in words
    rates = "tested at missing rate 0.5 (bursts) and 1.0 (no-text, no-audio)"
    assert f"take away different amounts, {rates}" in words
    table = generalisation.patterns_table("MAE")
    assert f"training at 0.5; {rates}; " in table.caption
    assert table.cells.iloc[0]["bursts"] == "1.200 [1 seed]"


def test_progress_of_a_study_reads_the_published_runs_once(monkeypatch):
    configs = beyond.study("patterns").configs
    reads = []

    def two_published():
        reads.append(1)
        return frozenset(config.run_id for config in configs[:2])

    monkeypatch.setattr(beyond, "published_ids", two_published)
    told = beyond.progress("patterns").data
    assert f"**2 of {len(configs)} runs** of the study `patterns`" in told
    assert "python -m msa study run patterns" in told
    assert len(reads) == 1
