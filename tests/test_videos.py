"""Intervals draw whole videos wherever they are published: clips of one go together."""

from __future__ import annotations

import numpy as np
import pytest
from test_verdicts import content, labels, record

from msa.study import stats
from msa.study.pairs import load_pairs, publish_pairs
from msa.study.publish import publish
from msa.study.results import load_summary
from msa.study.store import RunStore
from msa.study.switches import load_switches, publish_switches

SIZES = (28, 16, 10, 4, 2)
"""Clips of the five videos of the test split."""

VIDEOS = np.repeat(["a", "b", "c", "d", "e"], SIZES)
"""The video of every clip."""

SYSTEMS = ("MFMB-Net", "TFR-Net", "MFMB-Net released")


def predictions(number):
    """Miss each clip by another amount, clips of one video by a like one."""
    rng = np.random.default_rng(number)
    shared = np.repeat(rng.normal(0, 1, len(SIZES)), SIZES)
    return np.float32(labels() + shared + rng.normal(0, 0.2, len(VIDEOS)))


PREDICTIONS = {system: predictions(number) for number, system in enumerate(SYSTEMS)}


@pytest.fixture
def results(tmp_path, tiny_file, monkeypatch):
    layout = content()
    layout["test"]["id"] = [f"{video}$_${row}" for row, video in enumerate(VIDEOS)]
    monkeypatch.setenv("MSA_DATA", str(tiny_file(content=layout)))
    store = RunStore(tmp_path / "runs")
    for system, values in PREDICTIONS.items():
        store.write(record(system, 0.0, 1111, values))
    publish(store, tmp_path / "results")
    return tmp_path / "results"


def scored(system, videos):
    return stats.scored([PREDICTIONS[system]], labels(), "mosi", videos)


def is_drawn_by_video(published, expected):
    """Compare published bounds with those of draws of videos, and of single clips."""
    by_video, by_clip = (expected(videos)["MAE"] for videos in (VIDEOS, None))
    bounds = [published["lo"], published["hi"]]
    assert bounds == pytest.approx([by_video.lo, by_video.hi], rel=1e-6)
    assert bounds != pytest.approx([by_clip.lo, by_clip.hi], rel=0.05)


def mae_of(table, which):
    (row,) = table.query(f"metric == 'MAE' and {which}").to_dict("records")
    return row


def test_a_summary_draws_whole_videos(results):
    row = mae_of(load_summary(results=results), "model == 'TFR-Net'")
    is_drawn_by_video(row, lambda v: stats.estimate(scored("TFR-Net", v)))


def test_a_pair_draws_whole_videos(results):
    publish_pairs(results)
    row = mae_of(load_pairs(results), "second == 'TFR-Net'")
    # A gain in MAE is positive: the second system's error minus the first's.
    is_drawn_by_video(
        row,
        lambda v: stats.paired_difference(scored("TFR-Net", v), scored("MFMB-Net", v)),
    )


def test_a_released_change_draws_whole_videos(results):
    publish_switches(results)
    row = mae_of(load_switches(results), "model == 'MFMB-Net'")
    is_drawn_by_video(
        row,
        lambda v: stats.paired_difference(
            scored("MFMB-Net released", v), scored("MFMB-Net", v)
        ),
    )
