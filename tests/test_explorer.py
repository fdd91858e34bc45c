"""The curves to choose from carry the published numbers, in the units that are read."""

import json

import pandas as pd
import pytest

from msa.report.explorer import Explorer


def row(dataset, metric, model, rate, mean, n=1):
    return {
        "dataset": dataset,
        "view": "clip-context",
        "encoder": "minilm",
        "encoder_mode": "frozen",
        "model": model,
        "variant": {"constant": "reference"}.get(model, "paper"),
        "missing_rate": rate,
        "metric": metric,
        "n": n,
        "mean": mean,
        "sd": 0.0,
        "lo": mean - 0.01,
        "hi": mean + 0.01,
    }


@pytest.fixture
def explorer():
    summary = pd.DataFrame(
        [
            row("mosi", "Has0_acc_2", "MFMB-Net", 0.5, 0.7),
            row("mosi", "Has0_acc_2", "MFMB-Net", 0.0, 0.8, n=3),
            row("mosi", "MAE", "MFMB-Net", 0.0, 0.9),
            row("mosi", "Has0_acc_2", "constant", 0.0, 0.45),
            row("mosei", "MAE", "MFMB-Net", 0.0, 0.6),
        ]
    )
    runs = summary.drop_duplicates(["dataset", "model", "missing_rate"])
    runs = runs.assign(seed=1111, test_Has0_acc_2=0.7, test_MAE=0.9)
    return Explorer.of(summary, runs, "MAE")


def test_every_data_set_and_metric_can_be_chosen(explorer):
    places = {p["label"]: p for p in explorer.content["places"]}
    assert list(places) == [
        "CMU-MOSI, clip-context, minilm frozen",
        "CMU-MOSEI, clip-context, minilm frozen",
    ], "the one with most rates first"
    metrics = places["CMU-MOSI, clip-context, minilm frozen"]["metrics"]
    assert [m["key"] for m in metrics] == ["MAE", "Has0_acc_2"], "the chosen one first"
    assert [m["better"] for m in metrics] == ["lower", "higher"]


def test_points_are_in_order_and_shares_in_percent(explorer):
    place = next(p for p in explorer.content["places"] if "MOSI," in p["label"])
    accuracy = place["metrics"][1]
    ours, constant = accuracy["systems"]
    assert ours["points"] == [[0.0, 80.0, 79.0, 81.0, 3], [0.5, 70.0, 69.0, 71.0, 1]]
    assert (ours["name"], ours["dashed"]) == ("MFMB-Net", False)
    assert constant["dashed"]


def test_the_page_carries_valid_numbers_and_a_static_picture(explorer):
    page = explorer._repr_mimebundle_()["text/html"]
    inside = page.partition('<script type="application/json">')[2]
    assert json.loads(inside.partition("</script>")[0]) == explorer.content
    assert '<img src="data:image/svg+xml;base64,' in page
    assert 'alt="MAE' in page
