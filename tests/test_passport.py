"""The data passport: tables worked out by hand, probes against known values."""

import numpy as np
import pandas as pd
import pytest

from msa.data.contract import video_of
from msa.data.load import load
from msa.data.passport import (
    PICTURE_CLIPS,
    PICTURE_RATES,
    linear_probe,
    mask_picture,
    passport,
)


@pytest.fixture
def tiny(tiny_file):
    def plant(content):
        content["train"]["audio"][1, 0] = [-np.inf, np.nan]
        content["test"]["id"][2] = "trainvideo$_$7"  # a video of train, another clip
        content["train"]["regression_labels"][:] = [-1, 0, 0.5, 1]

    return passport(load("mosi", root=tiny_file(plant)))


def _rows(table, **wanted):
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def _row(table, **wanted):
    (row,) = _rows(table, **wanted).to_dict("records")
    return row


def test_every_table_names_data_set_and_view_first(tiny):
    for name, table in tiny.items():
        assert list(table.columns[:2]) == ["dataset", "view"], name
        assert set(table["dataset"]) == {"mosi"}
        assert set(table["view"]) == {"clip-context"}


def test_splits_count_clips_videos_and_classes(tiny):
    train = _row(tiny["splits"], split="train")
    assert (train["clips"], train["videos"]) == (4, 1)
    assert (train["negative"], train["neutral"], train["positive"]) == (1, 1, 2)
    assert _row(tiny["splits"], split="test")["videos"] == 2


def test_labels_are_counted_value_by_value(tiny):
    train = _rows(tiny["labels"], split="train")
    assert train["label"].tolist() == [-1, 0, 0.5, 1]
    assert train["clips"].tolist() == [1, 1, 1, 1]


def test_single_precision_does_not_split_a_label_value(tiny_file):
    def plant(content):
        third = np.float32(2 / 3)
        labels = [third, np.nextafter(third, np.float32(1)), -0.0, 0.0]
        content["train"]["regression_labels"][:] = labels

    table = passport(load("mosi", root=tiny_file(plant)))["labels"]
    assert _rows(table, split="train")["clips"].tolist() == [2, 2]


def test_lengths_of_the_train_audio(tiny):
    # lengths 1, 3, 5, 2, sorted 1 2 3 5: the median is 2.5, the quartiles lie a
    # quarter of the way from 1 to 2 ... i.e. at 1.75 and 3.5
    row = _row(tiny["lengths"], split="train", modality="audio")
    assert (row["min"], row["max"], row["mean"]) == (1, 5, 2.75)
    assert (row["q25"], row["median"], row["q75"]) == (1.75, 2.5, 3.5)
    histogram = _rows(tiny["length_histogram"], split="train", modality="audio")
    assert histogram["low"].tolist() == histogram["high"].tolist() == [1, 2, 3, 4, 5]
    assert histogram["clips"].tolist() == [1, 1, 1, 0, 1]


def test_long_sequences_share_histogram_bins(tiny_file):
    def plant(content):
        for columns in content.values():
            count = len(columns["id"])
            columns["audio"] = np.ones((count, 120, 2), np.float32)
            columns["audio_lengths"] = [1, 3, 4, 120][:count]

    tables = passport(load("mosi", root=tiny_file(plant)))
    rows = _rows(tables["length_histogram"], split="train", modality="audio")
    assert len(rows) == 40  # 120 steps in bins of 3, since 50 bins are the most
    assert rows["clips"].tolist()[:2] == [2, 1]
    assert rows.iloc[-1][["low", "high", "clips"]].tolist() == [118, 120, 1]


def test_missing_shares_at_the_ends(tiny):
    table = tiny["missing"]
    assert sorted(set(table["rate"])) == [step / 10 for step in range(11)]
    assert not _rows(table, rate=0.0)["missing"].any()
    # text lengths 6, 4, 3, 5: 18 tokens, two of each clip are never missing
    text = _row(table, rate=1.0, modality="text", split="train")
    assert (text["steps"], text["missing"], text["emptied"]) == (18, 10, 0)
    assert text["share"] == pytest.approx(10 / 18)
    audio = _row(table, rate=1.0, modality="audio", split="train")
    assert (audio["steps"], audio["share"], audio["emptied"]) == (11, 1.0, 4)


def test_overlap_finds_a_video_in_two_splits(tiny):
    shared = _row(tiny["overlap"], first="train", second="test")
    assert (shared["shared_videos"], shared["second_clips_in_shared"]) == (1, 1)
    shared = _row(tiny["overlap"], first="train", second="valid")
    assert (shared["shared_videos"], shared["second_clips_in_shared"]) == (0, 0)
    assert video_of("video_0001$_$0003") == "video_0001"


def test_repairs_are_counted_and_zeros_are_told(tiny):
    table = tiny["repairs"]
    assert _row(table, split="train", key="audio")["count"] == 2
    assert _row(table, split="test", key="vision")["count"] == 0
    assert len(table) == 6


def test_source_row(tiny):
    row = _row(tiny["source"])
    assert row["title"] == "CMU-MOSI"
    assert row["sha256"] != row["published_sha256"]  # a file of our own making
    assert row["standardised"]


def test_a_probe_finds_a_linear_relation_and_picks_its_penalty_on_valid():
    generator = np.random.default_rng(0)
    features = {
        name: generator.normal(size=(size, 2))
        for name, size in (("train", 60), ("valid", 20), ("test", 30))
    }
    labels = {name: 2 * x[:, 0] - x[:, 1] + 1 for name, x in features.items()}
    result = linear_probe(features, labels)
    # Nothing but shrinkage can do harm here, so the smallest penalty wins.
    assert result["alpha"] == 0.01
    assert result["test_corr"] == pytest.approx(1.0, abs=1e-6)
    assert result["test_mae"] == pytest.approx(0.0, abs=1e-2)

    # The test labels take no part: other ones change the score, not the choice.
    swapped = linear_probe(features, labels | {"test": -labels["test"]})
    assert swapped["alpha"] == result["alpha"]
    assert swapped["valid_mae"] == result["valid_mae"]
    assert swapped["test_corr"] == pytest.approx(-1.0, abs=1e-6)

    # Valid labels that are the train mean throughout: the strongest shrinkage wins.
    mean = np.full(20, labels["train"].mean())
    assert linear_probe(features, labels | {"valid": mean})["alpha"] == 1e5


def test_a_constant_feature_gives_no_correlation_rather_than_zero():
    ones = {name: np.ones((4, 1)) for name in ("train", "valid", "test")}
    labels = dict.fromkeys(ones, np.array([-1.0, 0.0, 1.0, 2.0]))
    result = linear_probe(ones, labels)
    assert np.isnan(result["test_corr"])
    assert result["test_mae"] == pytest.approx(1.0)  # the mean is 0.5: 1.5 .5 .5 1.5


def test_probes_read_the_last_real_step(tiny_file):
    def plant(content):
        for columns in content.values():
            count = len(columns["id"])
            columns["audio"][:] = 0.0
            last = np.array(columns["audio_lengths"]) - 1
            columns["audio"][np.arange(count), last, 0] = columns["regression_labels"]

    probes = passport(load("mosi", root=tiny_file(plant)))["probes"]
    assert _row(probes, features="audio")["test_corr"] == pytest.approx(1.0)


def test_text_features_add_two_probes_and_are_checked(tiny_file):
    data = load("mosi", root=tiny_file())
    text = {name: s.labels.numpy()[:, None] for name, s in data.splits.items()}
    probes = passport(data, text)["probes"]
    names = ["constant", "audio", "vision", "audio+vision", "text", "text+audio+vision"]
    assert probes["features"].tolist() == names
    assert _row(probes, features="text")["test_corr"] == pytest.approx(1.0)
    assert _row(probes, features="text+audio+vision")["width"] == 1 + 2 + 3
    with pytest.raises(ValueError, match="'valid' is missing"):
        passport(data, {"train": text["train"]})
    with pytest.raises(ValueError, match=r"'valid' has the shape \(4, 1\).*\(2, d\)"):
        passport(data, text | {"valid": text["train"]})


def test_the_picture_of_masks_survives_a_csv_file(tiny, tmp_path):
    tiny["masks"].to_csv(tmp_path / "masks.csv", index=False)
    table = pd.read_csv(tmp_path / "masks.csv")
    picture = mask_picture(table, 0.9, "text")
    assert picture.shape == (4, 6)
    lengths = (picture > 0).sum(1)
    assert lengths.tolist() == [6, 4, 3, 5]
    assert (picture[:, 0] == 2).all()
    assert picture[np.arange(4), lengths - 1].tolist() == [2, 2, 2, 2]
    # seed 1111 begins .096 .925 .344 .310 .002 (first clip: one real step of audio)
    assert mask_picture(table, 0.1, "audio")[0].tolist() == [1, 0, 0, 0, 0]
    with pytest.raises(KeyError, match=r"rate 0\.4"):
        mask_picture(table, 0.4, "text")


def test_real_mosi(mosi):
    tables = passport(mosi)
    test = _row(tables["splits"], split="test")
    assert (test["negative"], test["neutral"], test["positive"]) == (379, 30, 277)
    assert not tables["overlap"]["shared_videos"].any()
    assert not tables["repairs"]["count"].any()
    # Corr of the probes as the makers of the data state them; theirs chose the ridge
    # penalty in their own way, hence the tolerance of one unit of their last digit.
    probes = tables["probes"].set_index("features")["test_corr"]
    assert probes["audio"] == pytest.approx(0.03, abs=0.01)
    assert probes["vision"] == pytest.approx(0.10, abs=0.01)
    # The realised share of 10,500 draws: standard error 0.005, four of them.
    row = _row(tables["missing"], split="train", modality="audio", rate=0.5)
    assert row["share"] == pytest.approx(0.5, abs=0.02)
    assert len(tables["masks"]) == 3 * len(PICTURE_RATES) * PICTURE_CLIPS
    assert sum(len(table.to_csv()) for table in tables.values()) < 100_000


def test_real_sims(sims):
    tables = passport(sims)
    # In SIMS all 60 videos are in several splits: that is how it is published.
    assert _row(tables["splits"], split="train")["videos"] == 60
    shared = _row(tables["overlap"], first="train", second="test")
    assert shared["second_clips_in_shared"] == 457
    probes = tables["probes"].set_index("features")["test_corr"]
    assert probes["audio"] == pytest.approx(0.17, abs=0.01)
    assert probes["vision"] == pytest.approx(0.42, abs=0.01)
    assert probes["audio+vision"] == pytest.approx(0.47, abs=0.01)
