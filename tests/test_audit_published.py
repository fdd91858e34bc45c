"""The printed cells in the package are the papers' cells."""

import json
from pathlib import Path

import pandas as pd
import pytest

from msa.data.paths import repo_root
from msa.data.published import published


@pytest.fixture(scope="module")
def cells():
    return published()


def test_every_cell_of_every_table_is_there(cells):
    counts = cells.groupby(["paper", "table"]).size().to_dict()
    assert counts == {
        ("MFMB-Net", "Table 1"): 18,
        ("MFMB-Net", "Table 2"): 20,
        ("MFMB-Net", "Table 3"): 128,
        ("MFMB-Net", "Table 4"): 128,
        ("MFMB-Net", "Table 5"): 28,
        ("MIT-FRNet", "Table 2"): 20,
        ("MIT-FRNet", "Table 4"): 440,
        ("MIT-FRNet", "Table 5"): 330,
        ("MIT-FRNet", "Table 6"): 55,
        ("MIT-FRNet", "Table 7"): 176,
    }


def test_no_cell_is_listed_twice(cells):
    where = ["paper", "table", "dataset", "model", "metric", "variant", "split", "rate"]
    assert not cells.duplicated(where).any()


def test_scores_are_in_the_units_of_this_project(cells):
    def one(**where):
        rows = cells
        for column, wanted in where.items():
            rows = rows[rows[column] == wanted]
        return rows.iloc[0]

    ours = {"paper": "MIT-FRNet", "table": "Table 4", "model": "Ours", "rate": 0.0}
    mae = one(**ours, metric="MAE")
    assert (mae.printed, mae.score, mae.key) == ("74.52", 0.7452, "MAE")
    accuracy = one(**ours, metric="Acc-2", variant="non0")
    assert (accuracy.score, accuracy.key) == (pytest.approx(0.8353), "Non0_acc_2")
    other = {"paper": "MFMB-Net", "table": "Table 3", "model": "Ours"}
    assert one(**other, metric="MAE").score == 0.709


def test_a_printed_dash_has_no_value(cells):
    dash = cells["printed"].isin(["-", "–"])
    # MFMB-Net Table 3: 3 each for TFN and LMF and 2 for MISA, on two data sets; then
    # Corr of MIT-FRNet Table 4 twice, Table 5 three times and Table 7 once.
    assert dash.sum() == 2 * (3 + 3 + 2) + 2 + 3 + 1
    assert cells["value"].isna().equals(dash)


def test_cells_equal_the_dossier(cells):
    path = Path(repo_root().parent, "shared", "dossier", "tables.json")
    if not path.is_file():
        pytest.skip("the dossier with the transcribed tables is not on this machine")
    facts = pd.DataFrame(json.loads(path.read_text(encoding="utf-8")))
    assert len(cells) == len(facts) == 1343
    for column in ("model", "variant", "split", "arrow"):
        assert facts[column].fillna("").tolist() == cells[column].tolist()
    for column in ("paper", "table", "dataset", "setting", "metric", "printed"):
        assert facts[column].tolist() == cells[column].tolist()
    for column in ("value", "rate"):
        pd.testing.assert_series_equal(facts[column], cells[column])
    assert facts["bold"].tolist() == cells["bold"].tolist()
