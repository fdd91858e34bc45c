"""Descriptions, walks, pictures and costs of the models, and their pages."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import pytest
import torch

from msa.bench import table as bench_table
from msa.bench.timing import PLAIN, trained_models
from msa.data.paths import repo_root
from msa.models.base import Shape
from msa.models.registry import MODELS
from msa.report import architecture, costs, walk
from msa.report.anatomy import ANATOMIES, matches
from msa.report.architecture import Box, channel
from msa.report.ledger import ledger_models
from msa.report.style import house_style

PAGES = sorted((repo_root() / "book" / "models").glob("*.md"))
TRAINED = [name for name in trained_models() if name != PLAIN]
VARIANTS = [(name, v) for name in TRAINED for v in MODELS[name].variants]
RELEASED = [name for name, v in VARIANTS if v == "released"]
SHAPES = {"text": Shape(6, 8), "audio": Shape(5, 4), "vision": Shape(7, 6)}

trained = pytest.mark.parametrize("name", TRAINED)


# --- descriptions ---------------------------------------------------------------------


def test_every_trained_model_is_described():
    assert list(ANATOMIES) == TRAINED


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_part_of_a_model_is_in_its_description(name, variant):
    hyper = MODELS[name].resolve("mosi", variant)
    model = MODELS[name].build(SHAPES, hyper)
    calls = [key for part in ANATOMIES[name].parts for key in part.calls]
    described = {key.split(".")[0] for key in calls}
    there = {key for key, child in model.named_children() if child is not None}
    assert there <= described, "name the new part in msa/report/anatomy.py"
    for term in model.loss_weights:
        assert ANATOMIES[name].term(term)


@trained
def test_everything_that_is_described_runs(name):
    ran = {call.name for call in walk.walk(name).calls}
    for part in ANATOMIES[name].parts:
        for pattern in part.calls:
            assert any(matches(pattern, key) for key in ran), f"{pattern} never runs"


@pytest.mark.parametrize("name", RELEASED)
def test_released_variants_can_be_walked_too(name):
    assert walk.walk(name, "released").calls


def test_a_star_is_one_component_of_a_name():
    assert matches("gate.*.rnn", "gate.text.rnn")
    assert not matches("gate.*", "gate.text.rnn")
    assert not matches("gate.*", "gate")
    assert matches("reconstruction_*", "reconstruction_text")


# --- walks ----------------------------------------------------------------------------


def test_the_walk_of_mfmb_net_has_the_shapes_of_its_batch():
    found = walk.walk("MFMB-Net")
    batch, clips = found.batch, len(found.batch.labels)
    tokens = int(batch.mask["text"].sum())
    (encode,) = [call for call in found.calls if call.name == "encode.text"]
    assert encode.where == "eq. 1"
    assert encode.came == ((tokens, batch.inputs["text"].shape[2]),)
    assert encode.went == ((tokens, 30),)
    (hub,) = [call for call in found.calls if call.name == "macro"]
    assert hub.went == ((clips, 4 * 90),)
    order = [call.where for call in found.calls]
    assert order.index("eq. 1") < order.index("eq. 2") < order.index("eq. 3")


def test_a_walk_leaves_the_models_functions_as_they_were():
    from msa.models import tfn

    before = tfn.outer
    walk.walk.cache_clear()
    walk.walk("TFN")
    assert tfn.outer is before


def test_the_sizes_of_the_batch_mean_one_thing_each():
    batch = walk.demo_clips()[0].whole()
    known = walk.symbols(batch)
    sizes = [len(batch.labels)]
    sizes += [n for m in batch.mask for n in (batch.mask[m].shape[1],)]
    sizes += [len(batch.steps[m].rows) for m in batch.mask]
    assert len(set(sizes)) == 7
    assert [known[n] for n in sizes] == ["B", "T", "T", "T", "P", "P", "P"]


def test_shapes_in_words():
    known = {13: "B", 141: "P", 52: "4B", 193: "P+4B"}
    assert walk.in_symbols((141, 13), known) == "(P, 13)"  # a width is no batch size
    assert walk.in_symbols((2, 193, 90), known) == "(2, P+4B, 90)"
    assert walk.in_symbols((13,), known) == "(B)"
    assert walk.in_symbols((), known) == "scalar"
    assert walk.counted(["a", "a", "b", "a"]) == "2 × a, b, a"


def test_shapes_are_taken_from_all_tensors_but_masks():
    mask, x, y = torch.ones(2, 3, dtype=torch.bool), torch.ones(4, 5), torch.ones(6)
    value = ({"vision": y, "text": x}, [mask, None, "word", y])
    assert walk.shapes_in(value) == ((4, 5), (6,), (6,))


def test_the_loss_table_has_the_weights_of_the_model():
    cells = walk.terms_table(walk.walk("MIT-FRNet")).cells
    weights = dict(zip(cells["Term"], cells["Weight"], strict=True))
    assert weights["reconstruction_vision"] == "20"
    assert weights["similarity"] == "0.001"
    assert (cells["Paper"] != "").all()


@trained
def test_the_code_of_a_page_is_the_code_that_ran(name):
    text = walk.source_of(walk.walk(name)).data
    assert text.count("```python") == len(ANATOMIES[name].code)
    for key in ANATOMIES[name].code:
        method = key.removesuffix("()").rpartition(".")[2]
        assert f"def {method}(" in text


# --- pictures -------------------------------------------------------------------------


@trained
def test_no_text_leaves_its_box_and_no_boxes_overlap(name):
    content = architecture.boxes(walk.walk(name))
    with house_style():
        figure = architecture.figure_of(content)
        figure.draw_without_rendering()
        (axis,) = figure.axes
        edges = [patch.get_window_extent() for patch in axis.patches]
        words = [text for text in axis.texts if text.get_text()]
        for first, box in enumerate(content):
            for text in words[: len(box.lines)]:
                inside = text.get_window_extent()
                assert edges[first].x0 <= inside.x0, text
                assert inside.x1 <= edges[first].x1, text
                assert edges[first].y0 <= inside.y0, text
                assert inside.y1 <= edges[first].y1, text
            words = words[len(box.lines) :]
            assert not any(edges[first].overlaps(e) for e in edges[first + 1 :])
        plt.close(figure)


@trained
def test_a_picture_says_in_words_what_it_shows(name):
    found = walk.walk(name)
    alt = architecture.alt_text(found)
    for part in found.anatomy.parts:
        assert part.title in alt
    for term in found.terms:
        assert term in alt


def box(name, row, span):
    return Box(name, (), row, span, (), "#000000")


def test_an_arrow_passes_beside_a_box_that_stands_between():
    above, between = box("a", 0, (0, 3)), box("b", 1, (0, 1))
    below = box("c", 2, (0, 3))
    assert channel(above, below, [above, between, below]) == 2.0
    assert channel(above, below, [above, below]) == 1.5
    with pytest.raises(ValueError, match="'a' to 'c'"):
        channel(above, below, [above, box("b", 1, (0, 3)), below])


# --- costs ----------------------------------------------------------------------------


def test_costs_of_a_pooled_network_by_hand(monkeypatch):
    monkeypatch.setattr(costs, "trained_models", lambda: ["FC(T)", PLAIN, "LMF"])
    table = costs.cost_table()
    found = table.data.set_index(["model", "variant"]).loc[("FC(T)", "paper")]
    d, h = 384, 192  # MiniLM's width, half of it
    assert found["parameters_ours"] == 2 * d + (d * h + h) + (h + 1)
    assert found["macs_mean"] == found["macs_ours"] == d * h + h
    d, h = 768, 384
    assert found["parameters_papers"] == 2 * d + (d * h + h) + (h + 1)
    assert list(table.data["model"]) == ["FC(T)", "LMF"]


def test_counts_in_short():
    assert costs.short(12_345_678) == "12.3 M"
    assert costs.short(1_750_000_000) == "1.75 G"
    assert costs.short(136) == "136"
    assert costs.digits(0.123456) == "0.123"
    assert costs.digits(float("nan")) == "–"


@pytest.fixture
def times(tmp_path, monkeypatch):
    """Return a function that publishes times, in a folder of its own."""
    file = tmp_path / "models.csv"
    monkeypatch.setattr(bench_table, "times_file", lambda: file)

    def publish(**seconds):
        row = {
            **{"variant": "paper", "dataset": "mosi", "shapes": "clip-context"},
            **{"encoder_mode": "frozen", "device": "cpu", "device_name": "a processor"},
            **{"threads": 2, "torch": "2.0", "steps": 40, "content": "CMU-MOSI"},
            **{"missing_rate": 0.5, "commit": "0123456789abcdef", "batch_size": 24},
            **{"steps_per_second": 10.0, "peak_memory_mb": 500.0},
        }
        rows = [{**row, "model": m, "seconds_per_epoch": s} for m, s in seconds.items()]
        bench_table.save_times(rows, file)

    return publish


def test_unmeasured_times_say_so_and_how_to_measure_them(times):
    told = costs.times_or_word("papers", "finetune").data
    assert "Not measured yet" in told
    assert "--shapes papers --encoder-mode finetune --save" in told
    assert "No times are published yet" in costs.speed_in_words()


def test_measured_times_stand_beside_the_public_ones(times):
    times(**{"TFR-Net": 5.0, PLAIN: 12.5})
    cells = costs.times_or_word("clip-context", "frozen").cells.set_index("System")
    public = bench_table.public_times()["frozen"]["TFR-Net"]
    assert cells.at["TFR-Net", "Times faster than public"] == f"{public / 5.0:.3g}"
    assert cells.at["TFR-Net", "Times faster than plain"] == "2.5"
    assert "2.5 times as fast" in costs.speed_in_words()


# --- pages ----------------------------------------------------------------------------


def test_every_model_and_every_ledger_section_has_a_page():
    text = "".join(page.read_text() for page in PAGES)
    for name in MODELS:
        assert f'"{name}"' in text, f"{name} is on no page of book/models"
    shown = {
        name
        for call in re.findall(r"ledger_table\(([^)]+)\)", text)
        for name in re.findall(r'"([^"]+)"', call)
    }
    assert shown == set(ledger_models())


def test_the_settings_of_a_system_leave_out_what_is_off():
    shown = set(walk.settings_table("MFMB-Net").data["Setting"])
    assert {"macro", "hub_tokens", "reconstruction", "weight_text"} <= shown
    assert not {"wide_head", "wide_head_dropout", "causal"} & shown
    assert "weight_decay" in set(walk.settings_table("MISA").data["Setting"])


def test_the_index_leads_to_every_page():
    index = (repo_root() / "book" / "models" / "index.md").read_text()
    linked = set(re.findall(r"\(([\w-]+\.md)\)", index))
    assert linked == {page.name for page in PAGES} - {"index.md"}
