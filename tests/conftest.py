"""Fixtures: the real data where it is there, and a tiny file in the MMSA layout."""

from __future__ import annotations

import functools
import gc
import pickle
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from economy import SHALLOW

from msa.data.load import Dataset, MissingData, load
from msa.data.registry import source

torch.set_num_threads(1)  # the machine is shared, and sums keep one order


def pytest_collection_finish() -> None:
    """Let the collector pass over what lives to the end, and come less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    """An open figure would be shown a second time on its page, without a caption."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        still_open = pyplot.get_fignums()
        pyplot.close("all")
        assert not still_open


def _real(dataset: str) -> Dataset:
    try:
        return load(dataset)
    except MissingData as error:
        pytest.skip(f"needs the real data: {error}")


@pytest.fixture(scope="session")
def mosi() -> Dataset:
    """CMU-MOSI, clip-context, standardised."""
    return _real("mosi")


@pytest.fixture(scope="session")
def sims() -> Dataset:
    """CH-SIMS, clip-context, standardised."""
    return _real("sims")


TEXT_LENGTHS = (6, 4, 3, 5)
AUDIO_LENGTHS = (1, 3, 5, 2)
VISION_LENGTHS = (4, 1, 2, 3)


def _padded(lengths: list[int], steps: int, width: int) -> np.ndarray:
    """Feature = 10 * row + step + 1 in every column; 0 at padding; (N, T, d)."""
    row = np.arange(len(lengths))[:, None]
    step = np.arange(steps)[None, :]
    values = (10 * row + step + 1) * (step < np.array(lengths)[:, None])
    return np.repeat(values[:, :, None], width, axis=2).astype(np.float32)


def tiny_content(dataset: str = "mosi", aligned: bool = False) -> dict:
    """Return a valid MMSA layout: 4, 2 and 3 clips; L = 6, T = 5 and 4, d = 2 and 3.

    Rows of every split take their lengths from the start of the tuples above. Aligned:
    no lengths, audio and vision as long as the text.
    """
    content = {}
    for name, count in (("train", 4), ("valid", 2), ("test", 3)):
        text = list(TEXT_LENGTHS[:count])
        audio = text if aligned else list(AUDIO_LENGTHS[:count])
        vision = text if aligned else list(VISION_LENGTHS[:count])
        mask = np.arange(6) < np.array(text)[:, None]
        ids = np.where(mask, 100 + np.arange(6), 0)
        columns = {
            "raw_text": [f"SENTENCE {row}" for row in range(count)],
            "id": [f"{name}video$_${row}" for row in range(count)],
            "text_bert": np.stack([ids, mask, 0 * ids], axis=1).astype(np.float32),
            "audio": _padded(audio, 6 if aligned else 5, 2),
            "vision": _padded(vision, 6 if aligned else 4, 3),
            "regression_labels": np.linspace(-1, 1, count).astype(np.float32),
        }
        if not aligned:
            columns |= {"audio_lengths": audio, "vision_lengths": vision}
        if dataset == "sims":
            labels = columns["regression_labels"]
            columns |= {f"regression_labels_{m}": labels * s for m, s in _SIMS_SCALE}
        content[name] = columns
    return content


_SIMS_SCALE = (("T", 1.0), ("A", 0.5), ("V", -1.0))


@pytest.fixture
def tiny_file(tmp_path) -> Callable:
    """Write a tiny file where the registry looks for it; return the data folder.

    Knobs: ``edit`` changes the content in place before it is written, ``content``
    replaces it as a whole, ``protocol`` is the pickle protocol.
    """

    def write(
        edit=lambda content: None,
        dataset="mosi",
        view="clip-context",
        protocol=4,
        content=None,
    ):
        if content is None:
            content = tiny_content(dataset, aligned=view == "aligned")
            edit(content)
        path = tmp_path / source(dataset, view).path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        return tmp_path

    return write


@pytest.fixture(scope="session")
def small():
    """A demo set so small that every missing rate can be encoded at once."""
    from msa.data.demo import make_demo
    from msa.data.load import Dataset

    demo = make_demo(0, (40, 10, 12))
    return Dataset(source("demo"), demo.splits, "0" * 64, False)


@pytest.fixture
def quick(small, monkeypatch):
    """Run a shallow model on the small set, whatever data the configuration names."""
    from msa.train import run as runs
    from msa.train.config import RunConfig

    monkeypatch.setattr(runs, "_dataset", functools.cache(lambda *_: small))

    def resolved(model="FC(T)", **fields):
        shallow = SHALLOW.get(model, {})
        fields = {"dataset": "demo", "max_epochs": 4, "hyper": shallow, **fields}
        return runs.run(RunConfig.resolve(model=model, **fields))

    for cached in (runs._prepared, runs._prepared_mixed):
        cached.cache_clear()
    yield resolved
    for cached in (runs._prepared, runs._prepared_mixed):
        cached.cache_clear()
