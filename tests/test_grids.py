"""Named studies: complete, without repeats, the most valuable runs first."""

from __future__ import annotations

from itertools import groupby

import pytest

from msa.study.grids import (
    BASELINES,
    CANDIDATES,
    POOLED,
    REBUILDERS,
    SYSTEMS,
    WHAT_IS_MISSING,
    UnknownStudy,
    study,
    study_names,
)
from msa.train.config import RunConfig


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


@pytest.mark.parametrize("dataset", CANDIDATES)
def test_tuning_offers_every_system_as_many_settings_the_baselines_first(dataset):
    configs = study(f"{dataset}-tuning").configs
    offers = CANDIDATES[dataset]
    assert {len(candidates) for candidates in offers.values()} == {4}
    order = [model for model, _ in groupby(c.model for c in configs)]
    assert len(configs) == 4 * len(order)  # one system after another
    assert set(order[:6]) == set(BASELINES)
    assert order[6:] == ["TFR-Net", "MIT-FRNet", "MFMB-Net"]
    assert {(c.dataset, c.missing_rate, c.seed, c.variant) for c in configs} == {
        (dataset, 0.0, 1111, "paper")
    }
    for model, candidates in offers.items():
        own = [c.hyper for c in configs if c.model == model]
        # Whatever the defaults are, a candidate says all that tells it from the others.
        assert len({frozenset(candidate) for candidate in candidates}) == 1
        for hyper, candidate in zip(own, candidates, strict=True):
            assert candidate.items() <= hyper.items()


def test_the_baselines_are_complete_with_three_seeds_at_rate_0_first():
    configs = study("mosi-baselines").configs
    models = (*BASELINES, *POOLED)
    assert [c.model for c in configs[:30]] == 3 * list(models)
    first = {(c.missing_rate, c.seed) for c in configs[:30]}
    assert first == {(0.0, 1111), (0.0, 111), (0.0, 11111)}
    found = [(c.model, c.missing_rate, c.seed) for c in configs]
    every_rate = {(m, i / 10, 1111) for m in models for i in range(11)}
    corners = {(m, r, s) for m in models for r in (0.0, 0.5, 1.0) for s in (111, 11111)}
    assert sorted(found) == sorted(every_rate | corners)
    assert all(c == RunConfig.resolve(**_asked(c)) for c in configs)  # the defaults


def _asked(config):
    asked = ("dataset", "model", "view", "encoder", "missing_rate", "seed")
    return {name: getattr(config, name) for name in asked}


@pytest.mark.parametrize("name", ["matrix-mosi", "matrix-sims"])
def test_the_small_matrices_finish_one_seed_before_the_next(name):
    configs = study(name).configs
    # Nine systems, four of Table 2, two references; eleven rates; five seeds.
    assert len(configs) == 15 * 11 * 5
    seeds = [c.seed for c in configs[:: 15 * 11]]
    assert seeds == [1111, 111, 11111, 1112, 1113]
    for start in range(0, len(configs), 15):
        block = configs[start : start + 15]
        assert len({c.model for c in block}) == 15
        assert len({(c.missing_rate, c.seed) for c in block}) == 1


def test_mosei_starts_with_five_rates_of_one_seed():
    configs = study("matrix-mosei").configs
    assert len(configs) == 15 * 11 * 3
    first = {(c.missing_rate, c.seed) for c in configs[: 15 * 5]}
    assert first == {(r, 1111) for r in (0.0, 0.3, 0.5, 0.7, 1.0)}
    assert {c.seed for c in configs[: 15 * 11]} == {1111}


def test_the_whole_matrix_holds_the_three_and_starts_with_one_seed_of_each():
    ids = [c.run_id for c in study("matrix").configs]
    parts = [study(f"matrix-{d}").configs for d in ("mosi", "sims", "mosei")]
    assert sorted(ids) == sorted(c.run_id for part in parts for c in part)
    first = study("matrix").configs[: 15 * (11 + 11 + 5)]
    assert {c.seed for c in first} == {1111}
    assert [c.dataset for c in first[:: 15 * 11]] == ["mosi", "sims", "mosei"]


def test_frame_level_studies_differ_in_the_view_and_in_what_was_tuned_on_ours():
    for name in ("matrix-mosi", "matrix-sims", "matrix-mosei", "ablations"):
        ours, theirs = study(name).configs, study(f"{name}-unaligned").configs
        untuned = [
            c.entry.resolve(c.dataset, c.variant, tuned=False).model_dump(mode="json")
            for c in ours
        ]
        assert list(theirs) == [
            c.model_copy(update={"view": "unaligned", "hyper": hyper})
            for c, hyper in zip(ours, untuned, strict=True)
        ]


def test_ablations_stand_beside_the_full_model_of_the_matrix():
    configs = study("ablations").configs
    assert len(configs) == 7 * 11 * 3
    full = {c.run_id for c in configs if c.variant == "paper"}
    assert full <= {c.run_id for c in study("matrix-mosi").configs}
    assert len({(c.missing_rate, c.seed) for c in configs[:7]}) == 1


def test_beyond_the_papers_every_run_asks_for_what_its_page_shows():
    rates = study("rates").configs
    assert {c.evaluate_rates for c in rates} == {tuple(i / 10 for i in range(11))}
    assert {(c.missing_rate, c.train_rates) for c in rates} == {
        *((r, None) for r in (0.0, 0.3, 0.5, 0.7)),
        (0.0, "mixed"),
    }
    assert {c.evaluate_patterns for c in study("patterns").configs} == {
        tuple(sorted(WHAT_IS_MISSING))
    }
    assert all(c.selection == "all" for c in study("selection").configs)
    assert all(c.reconstruction_error for c in study("reconstruction").configs)


def test_noise_moves_one_seed_at_a_time():
    configs = study("noise").configs
    assert len(configs) == 9 * 3 * 10
    for config in configs:
        moved = {
            "seed": config.seed != 1111,
            "masks": config.mask_seed is not None,
            "order": config.data_order_seed != 1111,
        }
        assert sum(moved.values()) == 1
    assert len({(c.seed, c.mask_seed, c.data_order_seed) for c in configs}) == 30
    # One system's draws are complete before the next begins.
    blocks = [
        {c.model for c in configs[i : i + 30]} for i in range(0, len(configs), 30)
    ]
    assert all(len(block) == 1 for block in blocks)
    assert set.union(*blocks) == {*BASELINES, *REBUILDERS}


def test_a_part_of_a_study_keeps_its_order_and_refuses_what_is_not_there():
    whole = study("matrix-sims")
    wanted = {"model": ["MFMB-Net", "TFN"], "missing_rate": [0.5], "seed": [111, 1111]}
    part = whole.only(**wanted, variant=None)
    assert [(c.model, c.missing_rate, c.seed) for c in part.configs] == [
        ("MFMB-Net", 0.5, 1111),
        ("TFN", 0.5, 1111),
        ("MFMB-Net", 0.5, 111),
        ("TFN", 0.5, 111),
    ]
    assert whole.only() == whole
    with pytest.raises(UnknownStudy, match="no model 'MFMB'; it has: Concat"):
        whole.only(model=["MFMB"])
    ablated = study("ablations")
    with pytest.raises(UnknownStudy, match="has all of"):
        ablated.only(model=["MIT-FRNet"], variant=["w/o F-1"])


def test_an_unknown_study_is_refused_with_the_known_ones():
    with pytest.raises(UnknownStudy, match=r"'mosi'; known: demo, mosi-sweep, mosi"):
        study("mosi")
