"""The papers' printed numbers put to our rules, by hand from the tables."""

import pytest

from msa.data.published import system_of
from msa.study import printed
from msa.study.claims import read_claims
from msa.study.printed import Printed, is_met, printed_cells

CLAIMS = {claim.id: claim for claim in read_claims()}


@pytest.mark.parametrize(
    ("name", "won", "compared"),
    [
        # Table 2: text 66.97, audio 44.94, vision 44.79, and so on; of five columns two
        # are F1 in swapped weights.
        ("mfmb-text-richest", 3, 3),
        # Table 4: its own F1 is printed in swapped weights, the rivals' is not.
        ("mfmb-missing-mosi-f1", 0, 0),
        # Table 3, CMU-MOSEI: its own F1 fits either, and is swapped where it is told.
        ("mfmb-complete-mosei-f1-gain", 0, 0),
        # Figure 5: every row of Table 4 is in the paper's weights.
        ("mit-mwa-f1-mosi", 2, 2),
        ("mit-mwa-f1-mosi-correct", 0, 0),
        # Table 4: Acc-5 30.5, and 30.5 of TFR-Net; MAE and Corr are ahead.
        ("mfmb-missing-mosi", 2, 3),
        # Table 5, Acc-5: 30.3 against 29.0 without Recon; the text says 0.7 points.
        ("mfmb-ablation-recon-acc5", 0, 1),
        # Table 6: three rates, two pairs; 15 and 15 seconds at rate 0.1.
        ("mit-time-unaligned", 5, 6),
        # No rate between 0.0 and AUILC is printed for MFMB-Net.
        ("mfmb-robust", 0, 0),
        # Nothing is compared.
        ("mfmb-data", 0, 0),
        # Corr of the full model is a dash at rate 1.0, F1 is in swapped weights: 41 of
        # 56 cells are left.
        ("mit-mmr-high-rates", 32, 41),
    ],
)
def test_cells_that_the_printed_numbers_win(name, won, compared):
    assert printed_cells(CLAIMS[name]) == Printed(won, compared)


def test_most_and_all_demand_what_they_say():
    most = CLAIMS["mit-robust"].model_copy(update={"quantity": "most"})
    every = most.model_copy(update={"quantity": "all"})
    assert is_met(most, Printed(4, 6))
    assert not is_met(most, Printed(3, 6))
    assert not is_met(every, Printed(5, 6))
    assert is_met(every, Printed(0, 0))


@pytest.mark.parametrize(
    ("paper", "row", "name"),
    [
        ("MFMB-Net", "Ours", "MFMB-Net"),
        ("MFMB-Net", "w/o F-1", "MFMB-Net w/o F-1"),
        ("MIT-FRNet", "MIT-FRNet (ablation MITR)", "MIT-FRNet w/o MITR"),
        ("MIT-FRNet", "TFR-Net", "TFR-Net"),
    ],
)
def test_printed_rows_are_named_as_the_study_names_systems(paper, row, name):
    assert system_of(paper, row) == name


def test_the_audit_is_found_wherever_runs_are_published_to(tmp_path, monkeypatch):
    monkeypatch.setenv("MSA_RESULTS", str(tmp_path))
    printed._weights.cache_clear()
    printed._reading.cache_clear()
    assert printed_cells(CLAIMS["mit-mwa-f1-mosi"]) == Printed(2, 2)
