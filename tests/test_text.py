"""Text encoders: identity, vocabulary, frozen features and their cache."""

import hashlib
import json
import os
import subprocess
import sys
import threading

import pytest
import torch

from msa.data import text
from msa.data.files import one_at_a_time
from msa.data.load import load
from msa.data.text import (
    EncoderError,
    TextScale,
    encoder_folder,
    encoder_ids,
    encoder_sha256,
    frozen_features,
    ids_match,
    special_id,
    tokenise,
)


def test_the_wheel_holds_the_pinned_weights():
    assert encoder_sha256("minilm").startswith("53aa51172d142c89")


def test_special_pieces_of_the_english_vocabulary():
    assert special_id("minilm", "[UNK]") == 100
    assert special_id("minilm", "[CLS]") == 101


def test_the_vocabulary_of_a_folder_does_not_depend_on_the_locale(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    vocabulary = json.dumps(
        {"model": {"vocab": {"好": 1, "[PAD]": 0}}}, ensure_ascii=False
    )
    (tmp_path / "tokenizer.json").write_text(vocabulary, encoding="utf-8")
    code = (
        "import sys\nfrom msa.data.text import vocabulary\n"
        "print(ascii(vocabulary(sys.argv[1])))"
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, **plain},
    )
    assert done.stdout.strip() == ascii(("[PAD]", "好")), done.stderr


def test_an_unknown_encoder_is_refused_with_the_known_ones():
    with pytest.raises(EncoderError, match="minilm"):
        encoder_folder("no-such-encoder")


def test_damaged_weights_are_refused(monkeypatch):
    spec = text.EncoderSpec("minilm", "English", "", "0" * 64)
    monkeypatch.setitem(text.ENCODERS, "minilm", spec)
    encoder_sha256.cache_clear()
    with pytest.raises(EncoderError, match="SHA-256"):
        encoder_sha256("minilm")
    monkeypatch.undo()
    encoder_sha256.cache_clear()


def test_ids_of_the_same_vocabulary_are_taken_from_the_file():
    split = load("demo").splits["test"]
    assert ids_match(split, "minilm")
    ids, _ = encoder_ids(split, "minilm")
    assert torch.equal(ids, split.token_ids)


def test_ids_of_another_vocabulary_are_made_from_the_text():
    from dataclasses import replace

    split = load("demo").splits["test"]
    shifted = replace(
        split, token_ids=torch.where(split.token_ids > 200, split.token_ids + 7, 0)
    )
    assert not ids_match(shifted, "minilm")
    ids, mask = encoder_ids(shifted, "minilm")
    assert torch.equal(ids, split.token_ids)
    assert torch.equal(mask, split.token_mask)


def test_real_ids_are_recognised(mosi, sims):
    assert ids_match(mosi.splits["test"], "minilm")
    assert not ids_match(sims.splits["test"], "minilm")
    assert ids_match(sims.splits["test"], "e5-small-zh")


def test_features_are_cached_equal_and_zero_at_padding(tmp_path, monkeypatch):
    monkeypatch.setenv("MSA_CACHE", str(tmp_path))
    ids, mask = tokenise(["a fine film", "no", "a fine film"], "minilm", 8)
    fresh = frozen_features("minilm", ids, mask)
    assert len(list((tmp_path / "text").glob("*.npy"))) == 1
    monkeypatch.setattr(text, "_encode", None)  # a second encoding would fail
    cached = frozen_features("minilm", ids, mask)
    assert torch.equal(fresh, cached)
    assert torch.equal(fresh[0], fresh[2])
    assert float(fresh[~mask].abs().max()) == 0
    assert fresh.shape == (3, 8, 384)


ONE_SENTENCE = (torch.tensor([[101, 7, 102, 0]]), torch.tensor([[1, 1, 1, 0]]).bool())


@pytest.fixture
def encoded(tmp_path, monkeypatch):
    """An empty cache and a mock encoder; the devices that it was asked for."""
    devices = []

    def encode(name, ids, mask, device):
        devices.append(device)
        return torch.full((int(mask.sum()), 2), len(devices), dtype=torch.float16)

    monkeypatch.setenv("MSA_CACHE", str(tmp_path))
    monkeypatch.setattr(text, "_encode", encode)
    return devices


def test_features_of_a_gpu_are_cached_apart(encoded, tmp_path):
    ids, mask = ONE_SENTENCE
    for device in ("cpu", "cuda", torch.device("cpu"), "cuda:0"):
        features = frozen_features("minilm", ids, mask, device)
        assert float(features.max()) == 1 + ("cuda" in str(device))
    assert encoded == ["cpu", "cuda"]
    # The name that files made on a CPU have always had.
    row = torch.cat([ids, mask.long()], 1).numpy()
    key = encoder_sha256("minilm").encode() + row.tobytes() + b"(1, 8)"
    assert (tmp_path / "text" / f"{hashlib.sha256(key).hexdigest()}.npy").is_file()


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-2], lambda b: b[6:]])
def test_a_damaged_file_of_the_cache_is_written_anew(encoded, tmp_path, damage):
    fresh = frozen_features("minilm", *ONE_SENTENCE)
    (file,) = (tmp_path / "text").glob("*.npy")
    file.write_bytes(damage(file.read_bytes()))
    assert torch.equal(frozen_features("minilm", *ONE_SENTENCE), 2 * fresh)
    assert torch.equal(frozen_features("minilm", *ONE_SENTENCE), 2 * fresh)
    assert len(encoded) == 2


def test_a_cache_that_takes_nothing_stops_no_run(encoded, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("msa.data.files.os.fsync", full)
    with pytest.warns(RuntimeWarning, match=r"cannot be kept in .*No space left"):
        features = frozen_features("minilm", *ONE_SENTENCE)
    assert float(features.max()) == 1
    assert [file.name for file in (tmp_path / "text").iterdir()] == [".lock"]


TURN = """
import sys
from pathlib import Path
from msa.data.files import one_at_a_time
made, file = map(Path, sys.argv[1:])
with one_at_a_time(file):
    print("my turn", flush=True)
    sys.stdin.read()  # until the test lets go
    made.rename(file)
"""


def test_what_another_process_is_encoding_is_waited_for(encoded, tmp_path):
    fresh = frozen_features("minilm", *ONE_SENTENCE)
    (file,) = (tmp_path / "text").glob("*.npy")
    made = file.rename(tmp_path / "made")
    command = [sys.executable, "-c", TURN, str(made), str(file)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "my turn\n"
        with one_at_a_time(file.with_name("another")):
            pass  # nobody waits for the turn at another file
        threading.Timer(0.1, other.stdin.close).start()
        assert torch.equal(frozen_features("minilm", *ONE_SENTENCE), fresh)
    assert len(encoded) == 1


def test_without_locks_nobody_waits(encoded, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("msa.data.files.fcntl.lockf", refuse)
    assert float(frozen_features("minilm", *ONE_SENTENCE).max()) == 1
    assert float(frozen_features("minilm", *ONE_SENTENCE).max()) == 1


def test_features_do_not_depend_on_the_sentences_beside(tmp_path, monkeypatch):
    monkeypatch.setenv("MSA_CACHE", str(tmp_path))
    ids, mask = tokenise(["a fine film", "it was a long, dull evening"], "minilm", 12)
    together = frozen_features("minilm", ids, mask)
    alone = frozen_features("minilm", ids[:1], mask[:1])
    torch.testing.assert_close(together[:1], alone, atol=2e-3, rtol=1e-2)


def test_sentences_of_like_length_are_encoded_as_if_all_together():
    texts = [" ".join(["a fine film"] * (1 + n % 4)) for n in range(text.TOGETHER + 3)]
    ids, mask = tokenise(texts, "minilm", 16)
    encoder = text.TextEncoder("minilm").eval()
    found = []
    for states in (encoder.padded(mask, input_ids=ids), encoder(ids, mask)):
        encoder.zero_grad()
        states.square().mean().backward()
        slopes = [p.grad for p in encoder.parameters() if p.grad is not None]
        found.append((states.detach(), torch.cat([g.flatten() for g in slopes])))
    for padded, grouped in zip(*found, strict=True):
        torch.testing.assert_close(grouped, padded, atol=1e-5, rtol=1e-3)
    assert float(found[1][0][~mask].abs().max()) == 0


def test_the_mask_of_a_gpu_hides_the_same():
    ids, mask = tokenise(["a fine film", "it was a long, dull evening"], "minilm", 12)
    encoder = text.TextEncoder("minilm").eval()
    with torch.no_grad():
        states = encoder.bert(input_ids=ids, attention_mask=text.ready_mask(mask))
        expected = encoder.padded(mask, input_ids=ids)
    found = states.last_hidden_state * mask[..., None]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_scaled_features_are_centred_at_unit_spread_by_hand():
    mask = torch.tensor([[True, True], [True, False]])
    features = torch.tensor([[[1.0, 2.0], [3.0, 2.0]], [[5.0, 2.0], [0.0, 0.0]]])
    scale = TextScale.of(features, mask)
    assert scale.mean.tolist() == [3.0, 2.0]
    # Left over: -2, 0, 2 in the first channel, nothing in the second: sqrt(8 / 6).
    assert float(scale.spread) == pytest.approx((8 / 6) ** 0.5)
    scaled = scale.apply(features.half(), mask)
    assert scaled.dtype == torch.float16
    unit = 2 / (8 / 6) ** 0.5
    assert scaled[mask].tolist() == [
        pytest.approx([-unit, 0.0], abs=1e-3),
        [0.0, 0.0],
        pytest.approx([unit, 0.0], abs=1e-3),
    ]
    assert not scaled[~mask].any()
    with pytest.raises(EncoderError, match="all the same"):
        TextScale.of(torch.ones(1, 2, 3), torch.ones(1, 2, dtype=torch.bool))
