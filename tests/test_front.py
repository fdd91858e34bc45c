"""The first page: verdicts, data and certainty, from whatever is stored."""

from types import SimpleNamespace

import pandas as pd
import pytest

from msa.report import appendix, columns, front
from msa.study import grids
from msa.study.verdicts import VERDICTS
from msa.train.config import RunConfig


@pytest.fixture
def decided(monkeypatch):
    """Make verdicts: a list of (paper, verdict) stands for the stored ones."""

    def make(*pairs):
        frame = pd.DataFrame(
            {
                "claim": [
                    SimpleNamespace(paper=paper, kind="better") for paper, _ in pairs
                ],
                "verdict": [verdict for _, verdict in pairs],
                "view": "clip-context",
            }
        )
        monkeypatch.setattr(front, "verdicts", lambda: frame)

    return make


def runs(*rows):
    columns = ["dataset", "view", "model", "missing_rate", "seed"]
    return pd.DataFrame(rows, columns=columns)


def test_the_verdict_is_open_while_no_claim_has_its_runs(decided):
    decided(*[("MFMB-Net", "not enough runs yet")] * 2)
    title = front.verdict_of_the_title()
    assert title == "verdict open, 0 of 2 claims decided"
    assert front.verdict_in_words().startswith("verdict open: none of 2 claims")


def test_the_title_counts_what_is_decided(decided):
    decided(
        ("MFMB-Net", "reproduced"),
        ("MFMB-Net", "not reproduced"),
        ("MIT-FRNet", "consistent"),
        ("MIT-FRNet", "not testable here"),
        ("MIT-FRNet", "not enough runs yet"),
    )
    assert front.verdict_of_the_title() == (
        "of 3 claims decided by runs on clip-context features 1 reproduced, "
        "1 consistent, 1 not reproduced"
    )
    assert front.verdict_in_words("MFMB-Net") == (
        "of 2 claims 1 reproduced, 1 not reproduced"
    )
    assert front.verdict_in_words("MIT-FRNet") == (
        "of 3 claims 1 consistent, 1 not testable here; 1 still open"
    )


def test_certainty_names_the_fewest_and_the_most_seeds():
    rows = [("mosi", "clip-context", "MFMB-Net", 0.0, seed) for seed in (1, 2, 3)]
    rows += [("mosi", "clip-context", "MFMB-Net", 0.5, 1)]
    rows += [("sims", "clip-context", "MFMB-Net", 1.0, 1)]
    assert front._certainty(runs(*rows)) == (
        "CMU-MOSI: 4 runs, 1 to 3 seeds at each of the missing rates 0.0, 0.5; "
        "CH-SIMS: 1 run, 1 seed at missing rate 1.0"
    )


def test_a_system_without_runs_says_so(decided):
    decided(("MFMB-Net", "not enough runs yet"))
    assert front._data("MFMB-Net", runs()) == "no run yet on CMU-MOSI and CMU-MOSEI"
    assert front._certainty(runs()) == "nothing to be sure of"


def test_a_card_says_which_data_sets_are_the_papers_own():
    own = runs(*[(d, "clip-context", "MFMB-Net", 0.0, 1) for d in ("mosi", "sims")])
    assert front._data("MFMB-Net", own) == (
        "CMU-MOSI (clip-context features); CH-SIMS (clip-context features; not in the "
        "paper); no run yet on CMU-MOSEI"
    )
    assert "not in" not in front._data("MIT-FRNet", own)


def test_a_card_names_the_data_sets_in_the_order_of_tables(decided):
    decided(("MFMB-Net", "consistent"))
    own = runs(*[(d, "clip-context", "MFMB-Net", 0.0, 1) for d in ("mosei", "mosi")])
    card = front._card("MFMB-Net", own)
    assert "<dd>CMU-MOSI (clip-context" in card
    assert "<dd>CMU-MOSI: 1 run" in card


def test_the_bar_has_one_part_per_verdict_that_occurs(decided):
    decided(("MFMB-Net", "reproduced"), ("MFMB-Net", "consistent"))
    bar = front._bar(front._counts("MFMB-Net"))
    assert bar.count("<span") == 2
    assert sum(front._counts("MFMB-Net").values()) == 2
    assert set(front._counts(None)) == set(VERDICTS)


# --- costs ----------------------------------------------------------------------------


def test_hours_add_up_all_phases_of_all_runs():
    costs = pd.DataFrame(
        {
            "seconds_prepare": [600, 0],
            "seconds_train": [6000, 3600],
            "seconds_test": 300,
            "seconds_evaluate": [None, 1800],  # of runs with further tests alone
        }
    )
    assert appendix.hours(costs) == pytest.approx(3.5)


def test_hours_of_a_core_are_those_of_runs_on_the_cpu(monkeypatch):
    places = {
        "a": {"device": "cpu", "device_name": "AMD EPYC"},
        "b": {"device": "cuda", "device_name": "NVIDIA H200"},
    }
    monkeypatch.setattr(appendix, "load_environments", lambda: places)
    fields = RunConfig.resolve(dataset="mosi", model="TFN").model_dump()
    done = {**fields, "epochs": 3, "parameters": 4, "peak_memory_mb": 5.0}
    costs = pd.DataFrame(
        [
            {**done, "environment": "a", "seconds_train": 7200.0},
            {**done, "environment": "b", "seconds_train": 360.0},
        ]
    )
    elsewhere = " Not counted: 1 made on NVIDIA H200."
    words = "The 1 published runs took 2.0 hours on one core each (AMD EPYC): "
    told = appendix.rerun_in_words(costs)
    assert told.startswith(words)
    assert told.endswith(elsewhere)
    assert elsewhere not in appendix.rerun_in_words(costs[:1])
    table = appendix.cost_table(costs)
    assert table.data["Hours in all"].tolist() == ["2.00"]
    assert "What 1 published runs took, 2.0 hours" in table.caption
    assert table.caption.endswith(elsewhere)


def test_the_plan_counts_shared_runs_once_and_says_what_it_does_not_know(monkeypatch):
    sweep = grids.study("mosi-sweep").configs
    done = sweep[0]
    names = ["mosi-sweep", "matrix-mosi", "lmf-cut", "matrix-mosi-unaligned"]
    monkeypatch.setattr(appendix, "study_names", lambda: names)
    monkeypatch.setattr(appendix, "published_ids", lambda: frozenset([done.run_id]))
    monkeypatch.setattr(appendix, "published_seconds", lambda _: [(done, 3600.0)])
    plan = appendix.plan_table().data.set_index("Study")
    assert list(plan.index) == ["mosi-sweep", "matrix-mosi", "lmf-cut", "all"]
    of_its_kind = sum(config.model == done.model for config in sweep)
    assert plan.at["mosi-sweep", "Published"] == 1
    assert plan.at["mosi-sweep", "Hours for the others"] == f"{of_its_kind - 1:.1f}"
    assert plan.at["lmf-cut", "Hours for the others"] == appendix.NOT_KNOWN
    assert plan.at["all", "Runs"] < plan["Runs"].drop("all").sum()


def test_every_file_of_the_results_is_in_the_table(tmp_path):
    (tmp_path / "curves").mkdir()
    for name in ("runs.csv", "curves/a.csv.gz", "curves/b.csv.gz", "new.csv"):
        (tmp_path / name).write_bytes(b"12345")
    table = appendix.file_table(tmp_path).data.set_index("File")
    assert list(table.index) == ["curves/", "new.csv", "runs.csv"]
    assert table.at["curves/", "Files"] == 2
    assert table.at["new.csv", "What it holds"] == columns.NOT_DESCRIBED
