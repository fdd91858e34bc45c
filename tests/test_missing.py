"""The missingness protocol, bit for bit."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from msa.data import missing
from msa.data.contract import MODALITIES, Split
from msa.data.missing import (
    PATTERNS,
    SEEDS,
    kept_masks,
    missing_masks,
    redrawn_seeds,
)
from msa.data.text import prompt_length


def _split(text, audio, vision, steps=(6, 5, 4)):
    """A split of given true lengths; contents do not matter to a mask."""
    text, audio, vision = map(torch.tensor, (text, audio, vision))
    count = len(text)
    return Split(
        name="train",
        ids=tuple(map(str, range(count))),
        raw_text=("",) * count,
        token_ids=torch.zeros(count, steps[0], dtype=torch.int64),
        token_mask=torch.arange(steps[0]) < text[:, None],
        audio=torch.zeros(count, steps[1], 2),
        audio_lengths=audio,
        vision=torch.zeros(count, steps[2], 3),
        vision_lengths=vision,
        labels=torch.zeros(count),
    )


RATES = [step / 10 for step in range(11)]


def test_masks_of_one_clip_worked_out_from_the_draws():
    # The legacy generator's stream is frozen: these are numpy's numbers, not ours.
    draws = [np.random.RandomState(seed).uniform(size=6).round(3) for seed in SEEDS]
    assert draws[0].tolist() == [0.612, 0.169, 0.436, 0.769, 0.295, 0.149]
    assert draws[1][:5].tolist() == [0.096, 0.925, 0.344, 0.310, 0.002]
    assert draws[2][:4].tolist() == [0.839, 0.479, 0.412, 0.406]
    kept = kept_masks(_split([5], [4], [4]), 0.45)
    # Token 4 is [SEP]: its draw is below the rate, and it stays.
    assert kept["text"].tolist() == [[True, False, False, True, True, False]]
    assert kept["audio"].tolist() == [[False, True, False, False, False]]
    assert kept["vision"].tolist() == [[True, True, False, False]]


def test_a_prompt_stays_and_nothing_else_changes():
    split = _split([6, 3], [5, 5], [4, 4])
    lost, spared = (kept_masks(split, 0.9, prompt=length) for length in (0, 2))
    assert lost["text"].tolist() == [
        [True, *[False] * 4, True],
        [True, False, True] + [False] * 3,
    ]
    assert spared["text"][0].tolist() == [True, True, True, False, False, True]
    assert spared["text"][1].tolist() == [True, True, True, False, False, False]
    assert all(lost[m].equal(spared[m]) for m in ("audio", "vision"))
    both = torch.tensor([[2, 7, 8, 5, 3], [2, 7, 8, 6, 3]])
    assert prompt_length(both) == 2  # the last token is alike too, and is no prompt
    assert prompt_length(both + torch.tensor([[0], [1]])) == 0


def _released_code(split, rate, seeds):
    """The released procedure, clip by clip: draw, compare, pad, keep both ends."""
    result = {}
    for modality, seed in zip(MODALITIES, seeds, strict=True):
        real = split.padding_masks()[modality].numpy().astype(int)
        mask = (np.random.RandomState(seed).uniform(size=real.shape) > rate) * real
        if modality == "text":
            # the first zero of the mask; argmin gives 0 for a full row: index -1
            for row, length in zip(mask, real.argmin(axis=1), strict=True):
                row[0] = row[length - 1] = 1
        result[modality] = mask
    return result


@pytest.mark.parametrize("rate", RATES)
def test_the_released_procedure_gives_the_same_masks(rate):
    generator = np.random.default_rng(0)
    lengths = [generator.integers(low, high, 40).tolist() for low, high in
               ((2, 7), (1, 6), (1, 5))]  # fmt: skip
    split = _split(*lengths)
    kept = kept_masks(split, rate)
    for modality, mask in _released_code(split, rate, SEEDS).items():
        assert np.array_equal(kept[modality].numpy(), mask.astype(bool)), modality


@pytest.mark.parametrize("rate", RATES)
def test_the_released_procedure_gives_the_same_masks_on_mosi(mosi, rate):
    for split in mosi.splits.values():
        kept = kept_masks(split, rate)
        for modality, mask in _released_code(split, rate, SEEDS).items():
            assert np.array_equal(kept[modality].numpy(), mask.astype(bool))


def test_masks_are_nested_across_rates():
    split = _split([6] * 50, [5] * 50, [4] * 50)
    masks = [missing_masks(split, rate) for rate in RATES]
    for fewer, more in pairwise(masks):
        for modality in MODALITIES:
            assert not (fewer[modality] & ~more[modality]).any()


def test_rows_of_another_split_repeat_the_first_rows_of_train():
    train = kept_masks(_split([6] * 9, [5] * 9, [4] * 9), 0.5)
    valid = kept_masks(_split([6] * 4, [5] * 4, [4] * 4), 0.5)
    for modality in MODALITIES:
        assert torch.equal(valid[modality], train[modality][:4])


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_first_and_last_token_are_kept_with_and_without_padding(rate):
    kept = kept_masks(_split([6, 3, 2], [1] * 3, [1] * 3), rate)["text"]
    assert kept[0, 0]
    assert kept[0, 5]  # a full row ends without padding
    assert kept[1, 0]
    assert kept[1, 2]
    assert kept[2, :2].tolist() == [True, True]
    assert not kept[1, 3:].any()


def test_rate_one_leaves_the_two_ends_of_the_text():
    kept = kept_masks(_split([6, 3], [5, 1], [4, 2]), 1.0)
    assert kept["text"].tolist() == [
        [True, False, False, False, False, True],
        [True, False, True, False, False, False],
    ]
    assert not kept["audio"].any()
    assert not kept["vision"].any()


def test_rate_zero_keeps_every_real_step_even_for_a_draw_of_zero(monkeypatch):
    class Zeros:
        def __init__(self, seed):
            pass

        def uniform(self, size):
            return np.zeros(size)

    monkeypatch.setattr(missing.np.random, "RandomState", Zeros)
    split = _split([6, 3], [5, 1], [4, 2])
    kept, gone = kept_masks(split, 0.0), missing_masks(split, 0.0)
    for modality, real in split.padding_masks().items():
        assert torch.equal(kept[modality], real)
        assert not gone[modality].any()


def test_missing_and_kept_share_out_the_real_steps():
    split = _split([6, 3], [5, 1], [4, 2])
    kept, gone = kept_masks(split, 0.5), missing_masks(split, 0.5)
    for modality, real in split.padding_masks().items():
        assert torch.equal(kept[modality] | gone[modality], real)
        assert not (kept[modality] & gone[modality]).any()


def test_the_share_of_missing_steps_is_the_rate():
    split = _split([6] * 2000, [5] * 2000, [4] * 2000)
    gone = missing_masks(split, 0.3)
    # Standard error of 8,000 draws: sqrt(.3 * .7 / 8000) = 0.005; four of them.
    assert gone["audio"].double().mean().item() == pytest.approx(0.3, abs=0.02)
    assert gone["vision"].double().mean().item() == pytest.approx(0.3, abs=0.02)
    inner = gone["text"][:, 1:-1].double().mean().item()
    assert inner == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_outside_zero_and_one_is_refused(rate):
    with pytest.raises(ValueError, match="missing rate"):
        kept_masks(_split([6], [5], [4]), rate)


def test_masks_leave_the_split_alone():
    split = _split([6, 3], [5, 1], [4, 2])
    before = split.token_mask.clone()
    for rate in RATES:
        kept_masks(split, rate)["text"].zero_()
    assert torch.equal(split.token_mask, before)


def test_redrawn_seeds_are_distinct_repeatable_and_change_the_masks():
    drawn = {redrawn_seeds(seed) for seed in range(50)}
    assert len(drawn) == 50
    assert all(len(set(seeds)) == 3 for seeds in drawn)
    assert redrawn_seeds(7) == redrawn_seeds(7)
    split = _split([6] * 20, [5] * 20, [4] * 20)
    fixed, fresh = kept_masks(split, 0.5), kept_masks(split, 0.5, redrawn_seeds(7))
    for modality in MODALITIES:
        assert not torch.equal(fixed[modality], fresh[modality])
    with pytest.raises(ValueError, match="mask_seed is -1"):
        redrawn_seeds(-1)


# --- beyond the protocol --------------------------------------------------------------


@pytest.mark.parametrize("modality", MODALITIES)
def test_one_modality_misses_what_the_protocol_removes_from_it(modality):
    split = _split([6, 4] * 9, [5, 2] * 9, [4, 1] * 9)
    real, protocol = split.padding_masks(), kept_masks(split, 0.5)
    alone = kept_masks(split, 0.5, pattern=modality)
    absent = missing_masks(split, 1.0, pattern=f"no-{modality}")
    for m in MODALITIES:
        assert torch.equal(alone[m], protocol[m] if m == modality else real[m])
        if m != modality:
            assert not absent[m].any()
    inner = real[modality].clone()
    if modality == "text":  # [CLS] and [SEP] stay
        inner[:, 0] = False
        inner[torch.arange(18), real["text"].sum(1) - 1] = False
    assert torch.equal(absent[modality], inner)


def test_bursts_of_one_clip_worked_out_from_the_draws():
    # Audio: a draw for where the row begins, floor(0.096 * 2) = 0, then one draw for
    # each stretch of max(2, 4 / 4) steps: 0.925, 0.344.
    split = _split([5], [4], [4], steps=(5, 4, 4))
    kept = kept_masks(split, 0.45, pattern="bursts")
    assert kept["audio"].tolist() == [[True, True, False, False]]
    # Text: it begins at floor(0.612 * 2) = 1 in a stretch of ceil(5 / 4) = 2 steps, so
    # the stretches are step 0 (0.169), 1 and 2 (0.436), 3 and 4 (0.769). [CLS] stays.
    assert kept["text"].tolist() == [[True, False, False, True, True]]


def test_bursts_have_the_rate_for_their_share_and_are_nested():
    split = _split([40] * 400, [10] * 400, [3] * 400, steps=(40, 12, 4))
    masks = {
        rate: missing_masks(split, rate, pattern="bursts") for rate in (0.2, 0.5, 1.0)
    }
    for rate, gone in masks.items():
        real = split.padding_masks()
        for m in ("audio", "vision"):
            share = gone[m][real[m]].double().mean().item()
            assert share == pytest.approx(rate, abs=0.04)
            assert not (gone[m] & ~real[m]).any()
    for fewer, more in pairwise(masks.values()):
        for m in MODALITIES:
            assert not (fewer[m] & ~more[m]).any()
    # In ten steps a burst has ceil(10 / 4) = 3: away from both ends none is shorter.
    row_ends = masks[0.2]["audio"][:, :10].long()
    lengths = [
        stop - start
        for row in row_ends.tolist()
        for start, stop in _runs(row)
        if start > 0 and stop < 10
    ]
    assert lengths
    assert min(lengths) == 3


def _runs(row):
    """Starts and stops of the stretches of ones."""
    padded = [0, *row, 0]
    edges = [i for i in range(len(padded) - 1) if padded[i] != padded[i + 1]]
    return list(zip(edges[::2], edges[1::2], strict=True))


@pytest.mark.parametrize(
    ("pattern", "rate", "message"),
    [
        ("words", 0.5, "no missing pattern 'words'; known: protocol, text"),
        ("no-text", 0.5, "its missing rate must be 1, got 0.5"),
        ("bursts", 2.0, "the missing rate is 2.0"),
    ],
)
def test_patterns_that_make_no_sense_are_refused(pattern, rate, message):
    with pytest.raises(ValueError, match=message):
        kept_masks(_split([6], [5], [4]), rate, pattern=pattern)


def test_every_pattern_leaves_a_complete_split_at_rate_zero():
    split = _split([6, 3], [5, 1], [4, 2])
    for pattern in PATTERNS:
        if not pattern.startswith("no-"):
            missing = missing_masks(split, 0.0, pattern=pattern)
            assert not any(mask.any() for mask in missing.values())
