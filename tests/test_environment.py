"""What is recorded about the machine, and that it names no person or place."""

from __future__ import annotations

import getpass
import json
import platform
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch

from msa.train import environment as env
from msa.train.config import RunConfig
from msa.train.run import run


def test_versions_device_and_threads():
    found = env.environment()
    assert found["torch"] == torch.__version__
    assert found["numpy"] == np.__version__
    assert found["python"] == platform.python_version()
    assert found["device"] == "cpu"
    assert found["threads"] == torch.get_num_threads()
    text = json.dumps(found)
    assert platform.node() not in text
    assert f"/{getpass.getuser()}" not in text


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", "device 'cuda': PyTorch finds no usable GPU here"),
        ("cuda:1", "device 'cuda:1': PyTorch finds no usable GPU here"),
        ("gpu", "there is no device 'gpu'; choose cpu or cuda"),
    ],
)
def test_a_run_refuses_a_device_that_is_not_here(monkeypatch, device, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = RunConfig.resolve(dataset="demo", model="constant")
    with pytest.raises(env.DeviceError, match=message):
        run(config, device=device)


def test_devices_that_are_here_pass(monkeypatch):
    env.check_device("cpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    env.check_device("cuda")
    env.check_device("cuda:0")


X86 = """processor\t: 0
model\t\t: 1
cpu family\t: 25
model name\t: Some: Name

processor\t: 1
model\t\t: 2
"""
ARM = """processor\t: 0
CPU implementer\t: 0x41
CPU part\t: 0xd0c
"""


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        (X86, "Some: Name", "cpu family 25, model 1"),
        (ARM, None, "CPU implementer 0x41, CPU part 0xd0c"),
        ("", None, None),
    ],
)
def test_the_processor_is_known_by_its_generation(
    text, name, kind, tmp_path, monkeypatch
):
    told = tmp_path / "cpuinfo"
    told.write_text(text)
    monkeypatch.setattr(env, "_CPUINFO", told)
    monkeypatch.setattr(env, "_cpuinfo", env._cpuinfo.__wrapped__)
    found = env.environment()
    assert found["cpu_kind"] == kind
    assert found["cpu"] == (name or platform.processor() or platform.machine())
    assert found["instructions"] == torch.backends.cpu.get_cpu_capability()
    told.unlink()
    assert env.environment()["cpu_kind"] is None


def git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_commit_and_dirty_flag(tmp_path, monkeypatch):
    monkeypatch.delenv("MSA_COMMIT", raising=False)
    assert env._commit.__wrapped__(tmp_path) == (None, None)
    git(tmp_path, "init", "-q")
    (tmp_path / "msa").mkdir()
    (tmp_path / "msa" / "a.py").write_text("x = 1\n")
    (tmp_path / "page.md").write_text("a page\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert env._commit.__wrapped__(tmp_path) == (head, False)
    (tmp_path / "page.md").write_text("an edited page changes no run\n")
    assert env._commit.__wrapped__(tmp_path) == (head, False)
    (tmp_path / "msa" / "a.py").write_text("x = 2\n")
    assert env._commit.__wrapped__(tmp_path) == (head, True)


def test_a_copy_without_its_git_folder_is_told_its_commit(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "another project")
    copy = tmp_path / "copy"
    copy.mkdir()
    assert env._commit.__wrapped__(copy) == (None, None)
    monkeypatch.setenv("MSA_COMMIT", "0123456789" * 4)
    assert env._commit.__wrapped__(copy) == ("0123456789" * 4, False)
    monkeypatch.setenv("MSA_COMMIT", "0123456789" * 4 + "-dirty")
    assert env._commit.__wrapped__(copy) == ("0123456789" * 4, True)
    monkeypatch.setenv("MSA_COMMIT", "main")
    with pytest.raises(env.CommitError, match="git rev-parse HEAD"):
        env._commit.__wrapped__(copy)
    head = git(tmp_path, "rev-parse", "HEAD")
    assert env._commit.__wrapped__(tmp_path) == (head, False)  # git knows better


PEAK = """
import numpy as np
from msa.train import environment as env
from msa.train.config import RunConfig
from msa.train.run import run
if not env.reset_peak_memory():
    print("cannot")
else:
    start = env.peak_memory_mb()
    block = np.ones(10_000_000)  # 80 MB
    full = env.peak_memory_mb()
    del block
    env.reset_peak_memory()
    print(full - start, env.peak_memory_mb() - start)
"""


def test_peak_memory_sees_an_allocation_and_can_start_over():
    # In a process of its own: what other tests leave behind may be freed at any moment.
    done = subprocess.run(
        [sys.executable, "-c", PEAK], capture_output=True, text=True, check=True
    )
    if done.stdout.strip() == "cannot":
        pytest.skip("this system cannot reset the peak")
    grown, left = map(float, done.stdout.split())
    assert 75 < grown < 120
    assert left < 40


def test_peak_memory_of_a_gpu_counts_in_the_same_unit(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", asked.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", {"cuda": 3_000_000}.get)
    assert env.reset_peak_memory("cuda")
    assert asked == ["cuda"]
    assert env.peak_memory_mb("cuda") == 3.0


def test_freed_memory_is_kept_for_the_next_tensor():
    if not env.keep_freed_memory():
        pytest.skip("this C library has no such settings")

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24).sum()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    found = [faults() for _ in range(20)]  # the first ones make room
    pages = 4 * 2**24 // resource.getpagesize()
    assert found[-1] < pages / 10  # all of them, every time, without the settings
