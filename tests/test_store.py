"""The run store: complete files only, whatever happens to the process."""

from __future__ import annotations

import gzip
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from msa.study.store import RunStore, StoreError

RUN = "0123456789abcdef"
OTHER = "fedcba9876543210"


def record(run_id: str = RUN, mae: float = 0.5) -> dict:
    return {
        "run_id": run_id,
        "config": {"model": "constant", "seed": 1},
        "metrics": {"test": {"MAE": mae, "Corr": math.nan}},
        "curves": [{"epoch": 1, "split": "train", "term": "task", "value": 1.25}],
        "predictions": np.float32([0.1, -2.5, 3.0]),
        "epochs": np.int64(3),
    }


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


def test_round_trip_keeps_every_bit(store):
    assert not store.has(RUN)
    store.write(record())
    assert store.has(RUN)
    assert store.ids() == [RUN]
    found = store.read(RUN)
    assert found["predictions"].dtype == np.float32
    np.testing.assert_array_equal(found["predictions"], np.float32([0.1, -2.5, 3.0]))
    assert math.isnan(found["metrics"]["test"]["Corr"])
    assert found["epochs"] == 3
    assert found["curves"] == record()["curves"]


def test_dataclasses_and_configurations_are_stored_as_plain_data(store):
    import dataclasses

    import pydantic

    class Config(pydantic.BaseModel):
        model: str
        rate: float

    Record = dataclasses.make_dataclass("Record", list(record()))
    store.write(Record(**{**record(), "config": Config(model="TFN", rate=0.3)}))
    assert store.read(RUN)["config"] == {"model": "TFN", "rate": 0.3}


def test_writing_again_replaces_and_never_doubles(store):
    store.write(record(mae=0.5))
    store.write(record(mae=0.25))
    store.write(record(OTHER))
    assert store.ids() == [RUN, OTHER]
    assert store.read(RUN)["metrics"]["test"]["MAE"] == 0.25


def test_files_are_the_same_bytes_for_the_same_run(store, tmp_path):
    second = RunStore(tmp_path / "second")
    assert store.write(record()).read_bytes() == second.write(record()).read_bytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "is damaged"),
        (lambda data: b"", "is damaged"),
        (lambda data: b"not gzip", "is damaged"),
        (lambda data: gzip.compress(b"[1, 2]"), "is not a run"),
        (lambda data: gzip.compress(b'{"format": "msa run 0"}'), "is not a run"),
        (lambda data: gzip.compress(b'{"format": "msa run 1"}'), "lacks run_id"),
        (
            lambda data: gzip.compress(gzip.decompress(data).replace(b"0123", b"3210")),
            "holds run 3210456789abcdef",
        ),
    ],
)
def test_a_damaged_file_is_named_and_left(store, damage, message):
    file = store.write(record())
    broken = damage(file.read_bytes())
    file.write_bytes(broken)
    with pytest.raises(StoreError, match=message) as caught:
        store.read(RUN)
    assert str(file) in str(caught.value)
    assert file.read_bytes() == broken


def test_the_data_of_a_run_are_told_without_reading_it(store):
    store.write({**record(), "environment": {"data_sha256": "0f" * 32}})
    assert store.data_sha256(RUN) == "0f" * 32
    file = store.write({**record(), "environment": {"data_sha256": None}})
    assert store.data_sha256(RUN) is None
    file.write_bytes(b"not gzip")
    assert store.data_sha256(RUN) is None
    assert store.data_sha256(OTHER) is None


def test_unknown_runs_and_bad_ids(store):
    with pytest.raises(KeyError, match="not in the store"):
        store.read(RUN)
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        store.has("../../etc/passwd")
    with pytest.raises(StoreError, match="without metrics, curves, predictions"):
        store.write({"run_id": RUN, "config": {}})
    assert store.ids() == []


def test_a_disk_that_takes_nothing_is_named(store):
    store.path.mkdir()
    for name in (RUN[:2], "failures", "claims"):
        (store.path / name).write_text("where a folder should be")
    told = f"written into the store {store.path}.*make room"
    with pytest.raises(StoreError, match=told):
        store.write(record())
    with pytest.raises(StoreError, match=told):
        store.write_failure(RUN, {}, "loss is nan", "")
    with pytest.raises(StoreError, match=told), store.claim(RUN):
        pass


def test_errors_of_a_run_that_holds_a_claim_are_its_own(store):
    with pytest.raises(FileNotFoundError, match="no data"), store.claim(RUN):
        raise FileNotFoundError("no data")
    assert store.claims() == {}


def test_foreign_files_are_no_runs(store):
    store.write(record())
    folder = store.path / RUN[:2]
    (folder / f"{RUN}.abc.tmp").write_bytes(b"half")
    (folder / "readme.json.gz").write_bytes(b"")
    assert store.ids() == [RUN]


def test_failures_are_kept_until_the_run_succeeds(store):
    store.write_failure(RUN, {"seed": 1}, "loss is nan", "Traceback ...")
    failure = store.failures()[RUN]
    assert failure["error"] == "loss is nan"
    assert failure["config"] == {"seed": 1}
    assert not store.has(RUN)
    store.write(record())
    assert store.failures() == {}


def test_a_failure_that_goes_while_all_are_read_stops_nobody(store, monkeypatch):
    file = store.write_failure(RUN, {"seed": 1}, "loss is nan", "Traceback ...")
    kept = store.write_failure(OTHER, {"seed": 2}, "loss is nan", "Traceback ...")
    store.forget_failure(RUN)
    monkeypatch.setattr(Path, "glob", lambda *_: [file, kept])  # as listed before
    assert list(store.failures()) == [OTHER]


def test_one_claim_at_a_time(store):
    with store.claim(RUN) as mine:
        assert mine
        assert store.claims()[RUN].pid == os.getpid()
        with store.claim(RUN) as second, store.claim(OTHER) as other:
            assert not second
            assert other
        assert list(store.claims()) == [RUN]
    assert store.claims() == {}
    with store.claim(RUN) as again:
        assert again


def test_the_claims_of_a_store_of_somebody_else_can_be_read(store, monkeypatch):
    opened = os.open

    def of_somebody_else(file, flags, *mode):
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise PermissionError(13, "Permission denied", file)
        return opened(file, flags, *mode)

    with store.claim(RUN):
        (store.path / "claims" / OTHER).touch()  # of a process that was killed
        monkeypatch.setattr(os, "open", of_somebody_else)
        assert list(store.claims()) == [RUN]
        monkeypatch.undo()


HOLD = """
import sys, time
from msa.study.store import RunStore
with RunStore(sys.argv[1]).claim(sys.argv[2]) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def test_the_claim_of_a_killed_process_is_free_at_once(store):
    command = [sys.executable, "-c", HOLD, str(store.path), RUN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        with store.claim(RUN) as mine:
            assert not mine
        assert store.claims()[RUN].pid == process.pid
        process.send_signal(signal.SIGKILL)
    assert (store.path / "claims" / RUN).exists()  # nobody tidied up
    assert store.claims() == {}
    half = store.path / RUN[:2] / f"{RUN}.killed.tmp"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half a run")
    with store.claim(RUN) as mine:
        assert mine
    assert not half.exists()


WRITE = """
import sys, numpy as np
from msa.study.store import RunStore
store = RunStore(sys.argv[1])
while True:
    store.write({"run_id": sys.argv[2], "config": {}, "metrics": {}, "curves": [],
                 "predictions": np.random.default_rng(0).normal(size=50_000)})
    print("written", flush=True)
"""


def test_killed_while_writing_leaves_a_whole_file(store):
    expected = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    for delay in (0.02, 0.05, 0.11):
        command = [sys.executable, "-c", WRITE, str(store.path), RUN]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        np.testing.assert_array_equal(store.read(RUN)["predictions"], expected)
