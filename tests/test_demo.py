"""The demo set: reproducible, well formed, and as informative as it says it is."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from tokenizers import Tokenizer

from msa.data import text as module
from msa.data.contract import SPLITS
from msa.data.demo import (
    ADJECTIVES,
    DEMO_SEED,
    MOMENTS,
    SENSORS,
    VERBS,
    demo_sha256,
    make_demo,
)
from msa.data.text import EncoderError, encoder_folder


@pytest.fixture(scope="module")
def demo():
    return make_demo()


@pytest.fixture(scope="module")
def many():
    """Enough clips for sample correlations to sit near their true values."""
    return make_demo(seed=7, sizes=(2000, 1, 1))


def corr(a, b):
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


# --- reproducible -------------------------------------------------------------------


def test_same_seed_gives_identical_data(demo):
    again = make_demo(DEMO_SEED)
    for name in SPLITS:
        ours, theirs = demo.splits[name], again.splits[name]
        assert ours.ids == theirs.ids
        assert ours.raw_text == theirs.raw_text
        for key in ("token_ids", "audio", "vision", "labels"):
            assert torch.equal(getattr(ours, key), getattr(theirs, key))
    assert demo_sha256(again) == demo_sha256(demo)


def test_another_seed_gives_other_data(demo):
    other = make_demo(DEMO_SEED + 1)
    assert other.splits["train"].raw_text != demo.splits["train"].raw_text
    assert not torch.equal(other.splits["train"].labels, demo.splits["train"].labels)
    assert demo_sha256(other) != demo_sha256(demo)


def test_hash_sees_one_changed_value():
    demo = make_demo(sizes=(3, 2, 2))
    before = demo_sha256(demo)
    demo.splits["test"].vision[1, 0, 0] += 1
    assert demo_sha256(demo) != before


def test_global_random_states_are_left_alone():
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002
    torch_before = torch.get_rng_state()
    make_demo(sizes=(3, 2, 2))
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_generation_takes_under_two_seconds():
    start = time.process_time()  # not of others that use the machine
    make_demo()
    assert time.process_time() - start < 2


# --- well formed --------------------------------------------------------------------


def test_shapes_and_types(demo):
    for name, size in zip(SPLITS, (400, 100, 150), strict=True):
        split = demo.splits[name]
        assert split.name == name
        assert len(split) == len(split.raw_text) == size
        assert split.token_ids.shape == split.token_mask.shape == (size, 32)
        assert split.audio.shape == (size, 24, 12)
        assert split.vision.shape == (size, 30, 16)
        assert split.labels.shape == (size,)
        assert split.token_ids.dtype == split.audio_lengths.dtype == torch.int64
        assert split.token_mask.dtype == torch.bool
        assert split.audio.dtype == split.vision.dtype == torch.float32
        assert split.labels.dtype == torch.float32
        assert split.modality_labels == {}


@pytest.mark.parametrize("name", SPLITS)
def test_padding_is_exactly_zero_and_real_steps_are_not(demo, name):
    split = demo.splits[name]
    masks = split.padding_masks()
    for modality in ("audio", "vision"):
        values = getattr(split, modality)
        assert torch.all(values[~masks[modality]] == 0)
        assert torch.all(values[masks[modality]] != 0)
    assert torch.all(split.token_ids[~split.token_mask] == 0)
    assert torch.all(split.token_ids[split.token_mask] != 0)


@pytest.mark.parametrize("name", SPLITS)
def test_lengths_follow_the_number_of_clauses(demo, name):
    clauses = torch.tensor([len(x) for x in demo.truth.splits[name].levels])
    assert set(clauses.tolist()) == {1, 2, 3}
    audio = demo.splits[name].audio_lengths - 6 * clauses
    vision = demo.splits[name].vision_lengths - 8 * clauses
    for extra in (audio, vision):
        assert set(extra.tolist()) == {0, 1, 2, 3, 4, 5, 6}


def test_splits_share_no_video_and_ids_are_unique(demo):
    ids = [i for name in SPLITS for i in demo.splits[name].ids]
    assert len(set(ids)) == 400 + 100 + 150
    assert all(re.fullmatch(r"demo_\d{3}\$_\$\d", i) for i in ids)
    videos = [{i.split("$_$")[0] for i in demo.splits[name].ids} for name in SPLITS]
    assert len(set.union(*videos)) == sum(map(len, videos))
    assert all(
        len(v) < len(demo.splits[s]) for v, s in zip(videos, SPLITS, strict=True)
    )


@pytest.mark.parametrize("name", SPLITS)
def test_labels_are_the_rounded_and_clipped_score(demo, name):
    labels = demo.splits[name].labels.numpy().astype(float)
    truth = demo.truth.splits[name]
    by_hand = truth.trajectory.sum(1) / MOMENTS
    by_hand = by_hand + truth.private["text"] + truth.private["audio"]
    by_hand = by_hand + truth.private["vision"]
    assert np.abs(labels - by_hand.clip(-3, 3)).max() <= 0.1 + 1e-6
    assert np.allclose(labels * 5, np.round(labels * 5), atol=1e-5)
    assert labels.min() >= -3
    assert labels.max() <= 3
    assert (labels < 0).any()
    assert (labels > 0).any()
    assert (labels == 0).any()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((4, 0, 4), "three positive"), ((4, 4), "three positive")],
)
def test_bad_sizes_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        make_demo(sizes=sizes)


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed is -1"):
        make_demo(seed=-1)


def test_missing_vocabulary_is_named(monkeypatch):
    monkeypatch.setattr(module, "MINILM", "no_such_package")
    with pytest.raises(EncoderError, match="'minilm' is not installed"):
        make_demo(sizes=(2, 2, 2))


# --- sentences ----------------------------------------------------------------------


@pytest.mark.parametrize("name", SPLITS)
def test_tokens_spell_the_sentence(demo, name):
    tokenizer = Tokenizer.from_file(str(encoder_folder("minilm") / "tokenizer.json"))
    split = demo.splits[name]
    for text, ids, mask in zip(
        split.raw_text, split.token_ids, split.token_mask, strict=True
    ):
        real = ids[mask].tolist()
        assert torch.equal(mask, torch.arange(32) < len(real))
        assert (real[0], real[-1]) == (101, 102)  # [CLS], [SEP]
        assert 100 not in real  # [UNK]
        assert tokenizer.decode(real) == text.lower()


def read_level(clause: str) -> int:
    """Read a clause as a person would: word, then its negation or degree."""
    values = {word: value for value, words in ADJECTIVES.items() for word in words}
    for value, words in VERBS.items():
        for word in words:
            past = word + ("d" if word.endswith("e") else "ed")
            values |= {word: value, past: value}
    words = re.findall(r"[a-z]+", clause.lower())
    (value,) = (values[word] for word in words if word in values)
    if "not" in words:
        return -value
    if {"really", "truly", "absolutely"} & set(words):
        return value + (1 if value > 0 else -1)
    if {"kind", "sort", "somewhat"} & set(words):
        return value - (1 if value > 0 else -1)
    return value


def test_sentiment_can_be_read_from_the_words(demo):
    for name in SPLITS:
        texts, levels = demo.splits[name].raw_text, demo.truth.splits[name].levels
        for text, expected in zip(texts, levels, strict=True):
            clauses = re.split(", and |, but ", text)
            assert tuple(map(read_level, clauses)) == expected


def test_negation_and_degree_change_what_a_word_means(many):
    """The same words appear in clauses of either sign and of several strengths."""
    meanings = {"good": set(), "terrible": set()}
    for text in many.splits["train"].raw_text:
        for clause in re.split(", and |, but ", text):
            for word, levels in meanings.items():
                if word in clause:
                    levels.add(read_level(clause))
    assert meanings == {"good": {1, 2, -1}, "terrible": {-2, -3, -1}}


def test_clauses_state_their_piece_of_the_trajectory(demo):
    truth = demo.truth.splits["train"]
    for row, levels in enumerate(truth.levels):
        width = MOMENTS // len(levels)
        for place, level in enumerate(levels):
            piece = truth.trajectory[row, place * width : (place + 1) * width]
            stated = np.clip(piece.sum() / width + truth.private["text"][row], -3, 3)
            assert abs(level - stated) <= 0.5 + 1e-9


# --- information density, redundancy, noise -----------------------------------------


def test_each_modality_sees_its_documented_part_of_the_score(many):
    # Variances: level 0.8^2 = 0.64; mean drift about 0.5^2 (1.6 / 0.4) / 30 = 0.03;
    # private parts 1.44, 0.36, 0.36. Score: 2.83. Text sees 2.11, the others 1.03.
    truth = many.truth.splits["train"]
    assert truth.score.var() == pytest.approx(2.83, rel=0.1)
    assert corr(truth.seen("text"), truth.score) == pytest.approx(0.86, abs=0.03)
    assert corr(truth.seen("audio"), truth.score) == pytest.approx(0.60, abs=0.05)
    assert corr(truth.seen("vision"), truth.score) == pytest.approx(0.60, abs=0.05)


@pytest.mark.parametrize(
    ("modality", "kinds", "signal_corr", "sd"),
    [
        # Signal sd (0.64 + 0.25 + 0.36)^0.5 = 1.118; noise sd 4.5 and 2.2.
        ("audio", {"informative": 3, "redundant": 4, "noise": 5}, 0.241, 4.637),
        ("vision", {"informative": 4, "redundant": 6, "noise": 6}, 0.453, 2.468),
    ],
)
def test_channels_are_what_the_truth_says(many, modality, kinds, signal_corr, sd):
    split, truth = many.splits["train"], many.truth.splits["train"]
    sensor = many.truth.sensors[modality]
    lengths = getattr(split, f"{modality}_lengths").numpy()
    values = getattr(split, modality).numpy()
    steps = np.concatenate([v[:n] for v, n in zip(values, lengths, strict=True)])
    shown = truth.trajectory + truth.private[modality][:, None]
    # Step i of n happens at moment floor(30 i / n) of the clip.
    signal = np.concatenate(
        [path[np.arange(n) * 30 // n] for path, n in zip(shown, lengths, strict=True)]
    )
    assert {kind: sensor.kinds.count(kind) for kind in sensor.kinds} == kinds
    assert steps.std(0) == pytest.approx(np.full(len(sensor.kinds), sd), rel=0.05)
    for channel, kind in enumerate(sensor.kinds):
        with_signal = corr(steps[:, channel], signal)
        if kind == "informative":
            sign = (-1) ** channel
            assert sign * with_signal == pytest.approx(signal_corr, abs=0.04)
        elif kind == "redundant":
            source = sensor.sources[channel]
            assert sensor.kinds[source] == "informative"
            copied = corr(steps[:, channel], steps[:, source])
            assert copied == pytest.approx(0.9, abs=0.01)
        else:
            assert abs(with_signal) < 0.04


@pytest.mark.parametrize("modality", list(SENSORS))
def test_noise_channels_know_nothing_of_the_label(many, modality):
    split = many.splits["train"]
    means = pooled(split, modality)
    kinds = many.truth.sensors[modality].kinds
    found = {kind: [] for kind in kinds}
    for channel, kind in enumerate(kinds):
        found[kind].append(abs(corr(means[:, channel], split.labels)))
    # Four standard errors of a zero correlation over 2000 clips: 4 / 2000^0.5 = 0.09.
    assert max(found["noise"]) < 0.09
    assert min(found["informative"] + found["redundant"]) > 0.09


def test_lengths_know_nothing_of_the_label(many):
    split = many.splits["train"]
    for lengths in (split.audio_lengths, split.vision_lengths):
        assert abs(corr(lengths, split.labels)) < 0.09
    assert abs(corr(split.token_mask.sum(1), split.labels)) < 0.09


def pooled(split, modality):
    """Mean over real steps, or for text the count of every token: (N, d)."""
    if modality == "text":
        bag = torch.zeros(len(split), 30522)
        return bag.scatter_add_(1, split.token_ids, split.token_mask.float()).numpy()
    mask = split.padding_masks()[modality][:, :, None]
    return ((getattr(split, modality) * mask).sum(1) / mask.sum(1)).numpy()


def probe(demo, *modalities):
    """Test Corr of a ridge on the pooled features of some modalities."""
    train, test = (
        np.hstack([pooled(demo.splits[name], m) for m in modalities])
        for name in ("train", "test")
    )
    spread = train.std(0)
    used = spread > 0  # tokens that never occur in train
    scale = np.maximum(spread[used], 0.5)  # rare tokens are not blown up
    ridge = RidgeCV(np.logspace(-1, 3, 9))
    ridge.fit(train[:, used] / scale, demo.splits["train"].labels.numpy())
    return corr(ridge.predict(test[:, used] / scale), demo.splits["test"].labels)


@pytest.mark.parametrize("seed", [DEMO_SEED, 1, 2])
def test_text_tells_more_than_vision_than_audio_and_fusion_pays(seed):
    demo = make_demo(seed)
    text, vision, audio = (probe(demo, m) for m in ("text", "vision", "audio"))
    everything = probe(demo, "text", "vision", "audio")
    assert text > vision > audio > 0.1
    assert everything > text + 0.03
