"""From a name to tensors: values, repairs, standardisation, what a user is told."""

import hashlib

import numpy as np
import pytest
import torch

from msa.data import paths
from msa.data.load import MissingData, checksum, load
from msa.data.pickles import DataError
from msa.data.registry import UnknownData, default_view, source, sources


def test_the_tiny_file_arrives_as_tensors(tiny_file):
    data = load("mosi", root=tiny_file(), standardise=False)
    train = data.splits["train"]
    assert list(data.splits) == ["train", "valid", "test"]
    assert [len(s) for s in data.splits.values()] == [4, 2, 3]
    assert train.ids[1] == "trainvideo$_$1"
    assert train.raw_text[1] == "SENTENCE 1"
    assert train.token_ids.dtype == torch.int64
    assert train.token_ids[1].tolist() == [100, 101, 102, 103, 0, 0]
    assert train.token_mask[1].tolist() == [True] * 4 + [False] * 2
    assert train.audio[1].tolist() == [[11, 11], [12, 12], [13, 13], [0, 0], [0, 0]]
    assert train.audio_lengths.tolist() == [1, 3, 5, 2]
    assert train.vision_lengths.tolist() == [4, 1, 2, 3]
    assert train.vision.shape == (4, 4, 3)
    assert train.labels.tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])
    assert train.modality_labels == {}
    assert not data.standardised


def test_sims_brings_its_unimodal_labels(tiny_file):
    train = load("sims", root=tiny_file(dataset="sims")).splits["train"]
    assert list(train.modality_labels) == ["text", "audio", "vision"]
    assert train.modality_labels["audio"][0] == -0.5
    assert train.modality_labels["vision"][0] == 1.0


def test_an_aligned_file_takes_its_lengths_from_the_text(tiny_file):
    data = load("mosi", "aligned", root=tiny_file(view="aligned"))
    assert data.splits["train"].audio_lengths.tolist() == [6, 4, 3, 5]
    assert data.splits["train"].vision_lengths.tolist() == [6, 4, 3, 5]


def test_an_aligned_file_has_one_step_per_token(tiny_file):
    def shorten(content):
        content["train"]["vision"] = content["train"]["vision"][:, :5]

    with pytest.raises(DataError, match="'vision': 5 steps for 6 tokens"):
        load("mosi", "aligned", root=tiny_file(shorten, view="aligned"))


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_number_types_of_the_wild_are_read(tiny_file, kind):
    def convert(content):
        for columns in content.values():
            for key in ("audio", "text_bert"):
                columns[key] = columns[key].astype(kind)
            columns["audio_lengths"] = np.array(columns["audio_lengths"])
            columns["id"] = np.array(columns["id"])
            columns["raw_text"] = np.array(columns["raw_text"], dtype=object)

    train = load("mosi", root=tiny_file(convert), standardise=False).splits["train"]
    assert train.audio.dtype == torch.float32
    assert train.audio[2, 4].tolist() == [25, 25]
    assert train.ids[3] == "trainvideo$_$3"
    assert train.raw_text[3] == "SENTENCE 3"


def test_values_that_are_not_finite_become_zero_and_are_counted(tiny_file):
    def plant(content):
        content["train"]["audio"][1, 0, 0] = -np.inf
        content["train"]["audio"][1, 1, 1] = np.inf
        content["train"]["audio"][3, 0, 0] = np.nan
        content["test"]["vision"][0, 2, 1] = np.nan

    data = load("mosi", root=tiny_file(plant), standardise=False)
    train = data.splits["train"]
    assert train.audio[1].tolist() == [[0, 11], [12, 0], [13, 13], [0, 0], [0, 0]]
    assert train.audio[3, 0].tolist() == [0, 31]
    assert data.splits["test"].vision[0, 2].tolist() == [3, 0, 3]
    repairs = [note for note in data.notes if "not finite" in note]
    assert len(repairs) == 2
    assert repairs[0].startswith("train audio: 3 value(s)")
    assert repairs[1].startswith("test vision: 1 value(s)")


def test_a_length_of_zero_is_read_as_one_and_noted(tiny_file):
    def plant(content):
        content["train"]["audio_lengths"][0] = 0
        content["train"]["audio"][0] = 0

    data = load("mosi", root=tiny_file(plant))
    assert data.splits["train"].audio_lengths.tolist() == [1, 3, 5, 2]
    assert any("train audio_lengths: 1 length(s) of 0" in note for note in data.notes)


def test_padding_that_is_not_zero_is_cleared_and_noted(tiny_file):
    def plant(content):
        content["valid"]["vision"][1, 2:] = 9.0  # its true length is 1

    data = load("mosi", root=tiny_file(plant), standardise=False)
    vision = data.splits["valid"].vision
    assert vision[1, :, 0].tolist() == [11, 0, 0, 0]
    assert any("valid vision: 2 step(s) beyond" in note for note in data.notes)


@pytest.mark.parametrize(("split", "noted"), [(None, True), ("valid", False)])
def test_ids_that_name_no_video_are_noted(tiny_file, split, noted):
    def rename(content):
        for name, columns in content.items():
            if name != split:
                columns["id"] = [f"{name}_{row}" for row in range(len(columns["id"]))]

    data = load("mosi", root=tiny_file(rename))
    assert any("every clip counts as a video" in note for note in data.notes) == noted


def test_another_checksum_is_a_note_and_is_recorded(tiny_file):
    root = tiny_file()
    data = load("mosi", root=root)
    content = (root / "mosi" / "clip_context.pkl").read_bytes()
    assert data.sha256 == hashlib.sha256(content).hexdigest()
    assert [n for n in data.notes if data.sha256 in n and data.source.sha256 in n]


def test_the_checksum_is_had_without_the_data(tiny_file):
    root = tiny_file()
    assert checksum("mosi", root=root) == load("mosi", root=root).sha256
    (root / "mosi" / "clip_context.pkl").write_bytes(b"broken")
    assert checksum("mosi", root=root) == hashlib.sha256(b"broken").hexdigest()
    with pytest.raises(MissingData, match="unaligned_50"):
        checksum("mosi", "unaligned", root=root)
    assert checksum("demo") == load("demo").sha256


def test_standardising_uses_real_train_steps_only(tiny_file):
    def plant(content):
        for columns in content.values():
            columns["vision"][:] = 0.0
            columns["vision"][:, 0, 1] = 4.0  # only the first step: any length has it
            columns["vision_lengths"] = [1] * len(columns["id"])
            columns["vision"][:, 0, 2] = 0.1  # constant, and not exact in binary
        # Feature 0 of the four train clips: mean (1+3+5+7)/4 = 4, variance
        # (9+1+1+9)/4 = 5. Padding zeros would have made the mean 1.
        content["train"]["vision"][:, 0, 0] = [1, 3, 5, 7]
        content["test"]["vision"][1, 0] = [4 + 5**0.5, 6.0, 0.6]

    data = load("mosi", root=tiny_file(plant), standardise=True)
    train, test = data.splits["train"].vision, data.splits["test"].vision
    assert data.standardised
    expected = [-3 / 5**0.5, -1 / 5**0.5, 1 / 5**0.5, 3 / 5**0.5]
    assert train[:, 0, 0].tolist() == pytest.approx(expected)
    assert train[:, 0, 1:].abs().max() < 1e-6  # constant: centred, not blown up
    assert test[1, 0].tolist() == pytest.approx([1.0, 2.0, 0.5])
    assert torch.equal(train[:, 1:], torch.zeros(4, 3, 3))
    assert torch.equal(test[:, 1:], torch.zeros(3, 3, 3))


def test_the_default_follows_the_view(tiny_file):
    assert load("mosi", root=tiny_file()).standardised
    root = tiny_file(view="unaligned")
    official = load("mosi", "unaligned", root=root)
    assert not official.standardised
    assert official.splits["train"].audio[1, 0, 0] == 11
    assert load("mosi", "unaligned", root=root, standardise=True).standardised


def test_a_missing_file_says_what_where_how_and_what_else(tiny_file):
    root = tiny_file()
    with pytest.raises(MissingData) as caught:
        load("mosi", "aligned", root=root)
    message = str(caught.value)
    wanted = source("mosi", "aligned")
    for part in (wanted.path, str(root), wanted.obtain, wanted.sha256):
        assert part in message
    assert message.endswith("in this folder: clip-context.")
    assert isinstance(caught.value, DataError)
    assert isinstance(caught.value, FileNotFoundError)


def test_unknown_names_list_what_exists(tmp_path):
    with pytest.raises(UnknownData, match=r"'clip-context', 'unaligned'$"):
        load("sims", "aligned", root=tmp_path)
    with pytest.raises(UnknownData, match="mosi, mosei, sims, demo"):
        load("iemocap", root=tmp_path)
    with pytest.raises(UnknownData, match="mosi, mosei, sims, demo"):
        default_view("iemocap")


def test_every_source_is_described():
    for entry in sources():
        assert source(entry.dataset, entry.view) is entry
        generated = entry.dataset == "demo"
        assert (entry.path is None) == (entry.sha256 is None) == generated
        assert generated or len(entry.sha256) == 64
    assert len({s.sha256 for s in sources()}) == len(sources())
    assert source("sims").label_range == (-1.0, 1.0)
    assert source("mosei").view == "clip-context"
    assert source("demo").view == "synthetic"


def test_folders_follow_their_variables(monkeypatch, tmp_path):
    for variable, folder, default in (
        ("MSA_DATA", paths.data_dir, "data"),
        ("MSA_MODELS", paths.models_dir, "data/models"),
        ("MSA_STORE", paths.store_dir, "runs"),
        ("MSA_CACHE", paths.cache_dir, ".cache/msa"),
        ("MSA_RESULTS", paths.results_dir, "results"),
    ):
        monkeypatch.delenv(variable, raising=False)
        assert folder() == paths.repo_root() / default
        monkeypatch.setenv(variable, "")
        assert folder() == paths.repo_root() / default
        monkeypatch.setenv(variable, str(tmp_path / variable))
        assert folder() == (tmp_path / variable).resolve()
    assert (paths.repo_root() / "pyproject.toml").is_file()


def test_the_demo_set_needs_no_file(tmp_path):
    data = load("demo", root=tmp_path)
    assert data.standardised
    assert data.sha256 == load("demo", root=tmp_path).sha256
    split = data.splits["train"]
    for modality in ("audio", "vision"):
        values, mask = getattr(split, modality), split.padding_masks()[modality]
        assert values[mask].mean(0).abs().max() < 1e-5
        assert not values[~mask].any()


def test_real_mosi_has_the_official_sizes(mosi):
    assert [len(s) for s in mosi.splits.values()] == [1284, 229, 686]
    assert mosi.sha256 == mosi.source.sha256
    assert mosi.notes == ()
    train = mosi.splits["train"]
    assert train.audio.shape == (1284, 10, 77)
    assert train.vision.shape == (1284, 10, 16)
    # protocol dossier, section 3: a constant predictor of >= 0 scores 44.75 on test
    share = (mosi.splits["test"].labels >= 0).double().mean().item()
    assert round(100 * share, 2) == 44.75
    real = train.padding_masks()["audio"]
    assert train.audio[real].double().mean(0).abs().max() < 1e-5
    assert not train.audio[~real].any()


def test_real_sims_has_the_official_sizes(sims):
    assert [len(s) for s in sims.splits.values()] == [1368, 456, 457]
    assert sims.sha256 == sims.source.sha256
    assert sims.notes == ()
    # protocol dossier, section 3: a constant predictor of <= 0 scores 69.37 on test
    share = (sims.splits["test"].labels <= 0).double().mean().item()
    assert round(100 * share, 2) == 69.37
    assert set(sims.splits["test"].modality_labels) == {"text", "audio", "vision"}
