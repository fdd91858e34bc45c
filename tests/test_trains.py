"""Every system trains on whatever shape its data have, real ones included."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from economy import of_many
from test_models import (
    LENGTHS,
    OURS,
    PAPER,
    SHAPES,
    TRAINED,
    WHOLE,
    build,
    make_batch,
)

from msa.data.contract import MODALITIES, Split
from msa.data.load import MissingData, load
from msa.data.text import EncoderError, encoder_folder
from msa.models.base import Shape
from msa.models.registry import model_entry
from msa.train import run as runs
from msa.train.batches import prepare
from msa.train.config import RunConfig

TRUE_SHAPES = {
    "mosi": ((50, 768), (375, 5), (500, 20)),
    "mosei": ((50, 768), (500, 74), (500, 35)),
    "sims": ((39, 768), (400, 33), (55, 709)),
}
"""Steps and width of text, audio and vision in the papers' files."""

STEPS = [shape.steps for shape in SHAPES.values()]
CROWD = [tuple(1 + row % steps for steps in STEPS) for row in range(64)]
"""64 clips of every length from 1 to the longest."""

SIZES = {
    "one step": [(1, 1, 1)],
    "one clip": [tuple(STEPS)],
    "three of one step": [(1, 1, 1)] * 3,
    "five": LENGTHS,
    "sixty-four": CROWD,
}
"""Lengths of the clips of a batch; other variants differ from the first in a part."""

CASES = [
    (name, variant, size)
    for name, variant in TRAINED
    for size in (SIZES if variant == "paper" else ("one clip",))
]


def assert_trains(name, batch, dataset="mosi", shapes=SHAPES, variant="paper"):
    """Loss terms, gradients and scores of every stage are finite."""
    model = build(name, variant, dataset, shapes)
    model.begin_training(batch.labels)
    stages = model.stages(model_entry(name).resolve(dataset, variant))
    # Every loss counts in epoch 2, and Self-MM's unimodal labels move, from epoch 1's.
    for epoch in (1, 2) if name == "Self-MM" else (2,):
        for stage in stages:
            model.zero_grad()
            total, terms = stage.objective(batch, epoch)
            total.backward()
            assert torch.isfinite(torch.stack([total, *terms.values()])).all()
            for p in model.parameters():
                assert p.grad is None or torch.isfinite(p.grad).all()
    prediction = model.eval()(batch).prediction
    assert prediction.shape == batch.labels.shape
    assert torch.isfinite(prediction).all()


# --- synthetic tensors ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "variant", "dataset", "rate"),
    of_many(
        [
            (name, variant, dataset, rate)
            for name, variant in WHOLE
            # A step of a released variant costs much: one case of it.
            for dataset in (TRUE_SHAPES if variant == "paper" else ("sims",))
            for rate in ((0.0, 1.0) if variant == "paper" else (1.0,))
        ],
        # The lengths of CH-SIMS differ most.
        lambda name, _, dataset, rate: name in OURS and dataset == "sims" and rate,
    ),
)
def test_trains_at_the_papers_own_shapes(name, variant, dataset, rate):
    sizes = TRUE_SHAPES[dataset]
    shapes = {m: Shape(*size) for m, size in zip(MODALITIES, sizes, strict=True)}
    full = tuple(steps for steps, _ in sizes)
    batch = make_batch([full, (3, 1, 1)], shapes, rate)
    if variant == "released":  # it mixes padded steps: no batch is cut
        assert not build(name, variant, dataset, shapes).trims_padding
    assert_trains(name, batch, dataset, shapes, variant)


@pytest.mark.parametrize(
    ("name", "dataset"),
    of_many(
        [(name, dataset) for name in PAPER for dataset in TRUE_SHAPES],
        lambda name, dataset: dataset == "sims",
    ),
)
def test_trains_on_one_step_of_audio_and_vision(name, dataset):
    """A sentence, and one vector per clip for the rest."""
    _, (_, audio), (_, vision) = TRUE_SHAPES[dataset]
    sizes = (39, 384), (1, audio), (1, vision)
    shapes = {m: Shape(*size) for m, size in zip(MODALITIES, sizes, strict=True)}
    lengths = [(length, 1, 1) for length in (39, 3, 17, 5)]
    assert_trains(name, make_batch(lengths, shapes), dataset, shapes)


@pytest.mark.parametrize(
    ("name", "variant", "size", "rate"),
    of_many(
        [(*case, rate) for case in CASES for rate in (0.0, 1.0)],
        # The least and the most.
        lambda name, variant, size, rate: (
            (size, rate) in (("one step", 1.0), ("sixty-four", 0.0))
            or (name in OURS and size == "one clip" and rate)
        ),
    ),
)
def test_trains_on_batches_of_every_size_and_length(name, variant, size, rate):
    batch = make_batch(SIZES[size], rate=rate)
    assert_trains(name, batch, variant=variant)


# --- files ----------------------------------------------------------------------------


def first_rows(split: Split, count: int) -> Split:
    """Return the first clips of a split."""
    taken = {}
    for field in fields(split):
        value = getattr(split, field.name)
        if isinstance(value, dict):
            taken[field.name] = {key: x[:count] for key, x in value.items()}
        elif field.name != "name":
            taken[field.name] = value[:count]
    return replace(split, **taken)


def trained(data, monkeypatch, **config):
    """Run an epoch on a data set in memory, whatever the configuration names."""
    monkeypatch.setattr(runs, "_dataset", lambda *_: data)
    monkeypatch.setattr(runs, "_prepared", lambda *_, **damage: prepare(data, **damage))
    return runs.run(RunConfig.resolve(max_epochs=1, **config))


@pytest.mark.exhaustive
def test_trains_on_clips_of_cmu_mosei(tmp_path, monkeypatch):
    """The other real sets have published runs of every system."""
    dataset = "mosei"
    monkeypatch.setenv("MSA_CACHE", str(tmp_path))
    try:
        data = load(dataset)
        encoder_folder(RunConfig.resolve(model="FC(T)", dataset=dataset).encoder)
    except (MissingData, EncoderError) as error:
        pytest.skip(f"needs the real data and its text encoder: {error}")
    few = {name: first_rows(split, 12) for name, split in data.splits.items()}
    data = replace(data, splits=few)
    for name in PAPER:
        config = {"dataset": dataset, "model": name, "missing_rate": 0.5}
        found = trained(data, monkeypatch, **config)
        assert found.predictions.shape == (12,)
        assert np.isfinite(found.predictions).all(), name


@pytest.mark.parametrize("name", of_many(PAPER, lambda name: name in OURS))
def test_trains_on_aligned_features(name, tiny_file, tmp_path, monkeypatch):
    """The unaligned layout has a test of its own."""
    view = "aligned"
    monkeypatch.setenv("MSA_CACHE", str(tmp_path))
    monkeypatch.setenv("MSA_DATA", str(tiny_file(view=view)))
    try:
        encoder_folder("minilm")
    except EncoderError as error:
        pytest.skip(f"needs the text encoder: {error}")
    data = load("mosi", view)
    config = {"dataset": "mosi", "view": view, "model": name, "missing_rate": 0.5}
    found = trained(data, monkeypatch, **config)
    assert found.predictions.shape == (3,)
    assert np.isfinite(found.predictions).all()
