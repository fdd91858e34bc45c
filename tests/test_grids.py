"""Named studies: complete, without repeats, the most valuable runs first."""

from __future__ import annotations

import pytest

from msa.study.grids import SYSTEMS, UnknownStudy, study, study_names


@pytest.mark.parametrize("name", study_names())
def test_every_run_is_there_once(name):
    found = study(name)
    assert found.name == name
    ids = [config.run_id for config in found.configs]
    assert len(set(ids)) == len(ids)


def test_the_mosi_sweep_is_complete():
    configs = study("mosi-sweep").configs
    # Five systems: eleven rates with one seed, three rates with two more.
    assert len(configs) == 5 * 11 + 5 * 3 * 2
    for model in SYSTEMS:
        own = [c for c in configs if c.model == model]
        rates = [c.missing_rate for c in own if c.seed == 1111]
        assert sorted(rates) == [i / 10 for i in range(11)]
        more = {(c.missing_rate, c.seed) for c in own if c.seed != 1111}
        assert more == {(r, s) for r in (0.0, 0.5, 1.0) for s in (111, 11111)}
    assert {(c.dataset, c.view, c.encoder, c.encoder_mode) for c in configs} == {
        ("mosi", "clip-context", "minilm", "frozen")
    }


def test_every_prefix_of_whole_rates_compares_all_systems():
    configs = study("mosi-sweep").configs
    for start in range(0, len(configs), len(SYSTEMS)):
        block = configs[start : start + len(SYSTEMS)]
        assert tuple(c.model for c in block) == SYSTEMS
        assert len({(c.missing_rate, c.seed) for c in block}) == 1
    first = [c.missing_rate for c in configs[: 3 * len(SYSTEMS) : len(SYSTEMS)]]
    assert first == [0.0, 0.5, 1.0]


def test_an_unknown_study_is_refused_with_the_known_ones():
    with pytest.raises(UnknownStudy, match=r"'mosi'; known: demo, mosi-sweep"):
        study("mosi")
