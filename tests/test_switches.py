"""The list of released differences against the code, and their paired effects."""

import numpy as np
import pytest

from msa.data.load import load
from msa.models.differences import ALL, RELEASED_MODELS, changes, differences
from msa.models.registry import MODELS
from msa.report import released
from msa.report.labels import NoResults
from msa.study import switches
from msa.study.grids import CORNERS, SEEDS, study
from msa.study.publish import publish
from msa.study.store import RunStore
from msa.train.config import RunConfig
from msa.train.metrics import metric_keys
from msa.train.run import RunRecord


@pytest.mark.parametrize("model", RELEASED_MODELS)
def test_the_list_of_differences_is_the_released_bundle(model):
    listed = {}
    for each in differences(model):
        listed |= each.switch
    assert listed == MODELS[model].variants["released"]


def test_a_variant_called_released_exists_where_differences_are_listed():
    having = {name for name, entry in MODELS.items() if "released" in entry.variants}
    assert having == set(RELEASED_MODELS)


@pytest.mark.parametrize("text", ["", "0.5 2", "abc", "0.0,0.5"])
def test_rates_without_a_comparison_are_refused(text):
    with pytest.raises(
        NoResults, match=r"compared at the missing rates 0\.0 0\.5 1\.0"
    ):
        released.rates_of(text)


def test_rates_of_a_comparison_are_read():
    assert released.rates_of("0 0.50 1.0") == [0.0, 0.5, 1.0]


def test_the_study_begins_with_the_bundles_at_every_corner_and_seed():
    configs = study("mosi-released").configs
    first = configs[: 3 * len(CORNERS) * len(SEEDS)]
    assert {c.variant for c in first} == {"released"}
    assert {(c.model, c.missing_rate, c.seed) for c in first} == {
        (m, r, s) for m in RELEASED_MODELS for r in CORNERS for s in SEEDS
    }
    singles = sum(len(changes(m)) - 1 for m in RELEASED_MODELS)
    assert len(configs) == len(first) + singles * len(CORNERS) * len(SEEDS)
    assert len({c.run_id for c in configs}) == len(configs)


# One worker publishes, once.
pytestmark = pytest.mark.xdist_group("switches")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Publish a paper and a released run of TFR-Net whose errors are known."""
    tmp_path = tmp_path_factory.mktemp("switches")
    truth = load("demo").splits["test"].labels.numpy()

    def record(off, **fields):
        usual = {"dataset": "demo", "model": "TFR-Net", "missing_rate": 0.5}
        config = RunConfig.resolve(**usual | fields)
        # The sign of the error alternates, so that the two runs' errors differ by
        # exactly the difference of ``off`` on every clip.
        prediction = truth + off * np.where(np.arange(len(truth)) % 2, 1, -1)
        values = dict.fromkeys(metric_keys("mosi"), 0.0)
        return RunRecord(
            config=config.model_dump(),
            run_id=config.run_id,
            metrics={split: values for split in ("train", "valid", "test")},
            curves=[],
            predictions=prediction.astype(np.float32),
            best_epoch=1,
            epochs=1,
            seconds={"train": 1.0},
            parameters=1,
            peak_memory_mb=1.0,
            environment={"data_sha256": load("demo").sha256},
        )

    store = RunStore(tmp_path / "runs")
    store.write(record(0.25, seed=1111))
    store.write(record(0.5, seed=1111, variant="released"))
    store.write(record(0.375, seed=1111, hyper={"causal": True}))
    store.write(record(0.5, seed=111, variant="released"))  # without its pair
    # The released loop of MFMB-Net drops its last batch, whose clips are easy for the
    # paper variant: only the others may be compared.
    easy = np.where(np.arange(len(truth)) < len(truth) - 5, 1.0, 0.0)
    dropped = np.where(easy, 1.0, np.nan)
    store.write(record(0.25 * easy, seed=1111, model="MFMB-Net"))
    store.write(record(0.5 * dropped, seed=1111, model="MFMB-Net", variant="released"))
    folder = tmp_path / "results"
    publish(store, folder)
    switches.publish_switches(folder)
    demo = RunConfig.resolve(dataset="demo", model="TFR-Net")
    place = {"dataset": "demo", "view": demo.view, "encoder": demo.encoder}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSA_RESULTS", str(folder))
        patch.setattr(released, "_place", lambda: place)
        yield folder


def test_a_change_is_paired_with_the_paper_variant_on_shared_seeds(results):
    rows = switches.load_switches(results)
    rows = rows[rows["model"] == "TFR-Net"]
    mae = rows[rows["metric"] == "MAE"].set_index("change")
    assert mae.loc[ALL, "n"] == 1
    assert mae.loc[ALL, "difference"] == pytest.approx(0.25, abs=1e-6)
    assert mae.loc["Causal masks", "difference"] == pytest.approx(0.125, abs=1e-6)
    assert set(mae.index) == {ALL, "Causal masks"}


def test_only_clips_that_both_variants_scored_are_compared(results):
    rows = switches.load_switches(results)
    mae = rows[(rows["metric"] == "MAE") & (rows["model"] == "MFMB-Net")].iloc[0]
    clips = len(load("demo").splits["test"].labels)
    assert mae["clips"] == clips - 5
    assert mae["paper"] == pytest.approx(0.25, abs=1e-6)
    assert mae["difference"] == pytest.approx(0.25, abs=1e-6)
    caption = released.variants_table(["MAE"], [0.5]).caption
    told = f"MFMB-Net, {ALL}: on the {clips - 5} of {clips} clips"
    assert told in caption
    assert "TFR-Net, all" not in caption
    assert told in released.effects_table("MFMB-Net", "MAE", [0.5]).caption


def test_results_of_another_data_set_are_not_shown(results, monkeypatch):
    elsewhere = {"dataset": "mosi", "view": "clip-context", "encoder": "minilm"}
    monkeypatch.setattr(released, "_place", lambda: elsewhere)
    table = released.effects_table("TFR-Net", "MAE", [0.5])
    assert set(table.cells["rate 0.5"]) == {released.NOT_RUN}


def test_a_row_that_was_not_run_says_so(results):
    table = released.effects_table("TFR-Net", "MAE", [0.5, 1.0])
    cells = table.cells.set_index("Change")
    assert cells.loc[ALL, "rate 0.5"].startswith("+0.250 [")
    assert cells.loc[ALL, "rate 0.5"].endswith("n = 1")
    assert cells.loc[ALL, "rate 1.0"] == released.NOT_RUN
    assert cells.loc["Padding takes part", "rate 0.5"] == released.NOT_RUN


def test_the_side_by_side_table_has_both_values(results):
    cells = released.variants_table(["MAE"], [0.5]).cells
    row = cells[cells["System"] == "TFR-Net"].iloc[0]
    assert row.iloc[2:4].tolist() == ["0.250", "0.500"]
    other = cells[cells["System"] == "MIT-FRNet"].iloc[0]
    assert set(other.iloc[2:]) == {released.NO_PAIR}


def test_the_figure_says_in_words_what_it_shows(results):
    picture = released.effects_figure("MAE")
    assert "TFR-Net as released" in picture.alt
    assert "+0.250" in picture.alt
    assert "MIT-FRNet as released: not run yet." in picture.alt
