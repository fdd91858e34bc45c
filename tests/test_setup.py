"""The front door: every way in which a setup fails ends with one clear sentence."""

import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import distribution

import pytest
from packaging.specifiers import SpecifierSet

from msa.data.paths import repo_root

SETUP = repo_root() / ".ci" / "setup.sh"
TOOLS = ("sh", "ls", "rm", "mkdir", "grep", "tail", "cat", "touch")

# Plays Python: answers the question for its version, makes environments that hold a
# copy of itself, and plays pip as the variables FAKE_* say. Writes down what it did.
FAKE = """#!/bin/sh
echo "$*" >>"$FAKE_CALLS"
case "$*" in
    -c*) exit "${FAKE_OLD:-0}" ;;
    *venv*)
        [ -z "${FAKE_VENV:-}" ] || { echo "$FAKE_VENV" >&2; exit 1; }
        for target in "$@"; do :; done
        rm -rf "$target"
        mkdir -p "$target/bin"
        cat "$0" >"$target/bin/python"
        chmod +x "$target/bin/python"
        ;;
    *pip*) [ -z "${FAKE_PIP:-}" ] || { echo "$FAKE_PIP" >&2; exit 1; } ;;
esac
"""


@pytest.fixture
def setup(tmp_path):
    """Return a function that runs the script in an empty clone with a fake Python."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in (*TOOLS, "chmod"):
        (tools / name).symlink_to(shutil.which(name))
    (tools / "python3").write_text(FAKE)
    (tools / "python3").chmod(0o755)
    clone = tmp_path / "clone"
    clone.mkdir()
    calls = tmp_path / "calls"

    def run(**variables):
        calls.write_text("")
        done = subprocess.run(
            ["sh", SETUP, ".venv", ".venv/.installed-1"],
            cwd=clone,
            env={"PATH": str(tools), "FAKE_CALLS": str(calls), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        done.clone, done.calls = clone, calls.read_text()
        return done

    return run


def failed(done, *words):
    """Tell that a call failed with one sentence, which has all the words."""
    assert done.returncode == 1
    *_, last = done.stderr.strip().splitlines()
    assert last.startswith("setup: ")
    assert last.endswith((".", "...", "python3.11"))
    assert all(word in last for word in words), last
    assert not (done.clone / ".venv" / ".installed-1").exists()


def recovers(setup):
    done = setup()
    assert done.returncode == 0, done.stderr
    assert (done.clone / ".venv" / ".installed-1").exists()
    return done


def test_a_first_call_makes_the_environment(setup):
    done = recovers(setup)
    assert "-m venv --clear .venv" in done.calls
    assert "install" in done.calls
    assert "-r requirements.txt" in done.calls


def test_a_python_that_is_too_old_is_named(setup):
    failed(setup(FAKE_OLD="1", PYTHON="python3"), "'python3' is older than 3.11")
    failed(setup(FAKE_OLD="1"), "no Python 3.11 or newer was found")
    recovers(setup)


def test_a_python_that_is_not_there_is_named(setup):
    failed(setup(PYTHON="python9"), "there is no 'python9'")
    recovers(setup)


@pytest.mark.parametrize("where", ["FAKE_PIP", "FAKE_VENV"])
def test_a_full_disk_is_called_that(setup, where):
    error = "OSError: [Errno 28] No space left on device"
    failed(setup(**{where: error}), "the disk is full", "call make again")
    recovers(setup)


@pytest.mark.parametrize(
    "error",
    [
        "NewConnectionError: [Errno -3] Temporary failure in name resolution",
        "ConnectTimeoutError(... timed out. (connect timeout=15))",
        "ReadTimeoutError: Read timed out.",
        "ProxyError('Cannot connect to proxy.')",
        "[Errno 101] Network is unreachable",
    ],
)
def test_a_network_that_is_missing_is_called_that(setup, error):
    done = setup(FAKE_PIP=error)
    failed(done, "the package index cannot be reached", "call make again")
    recovers(setup)


def test_any_other_error_of_pip_is_shown(setup):
    done = setup(FAKE_PIP="ERROR: No matching distribution found for torch==9")
    failed(done, "pip could not install the packages")
    assert "No matching distribution found for torch==9" in done.stderr
    recovers(setup)


def test_python_without_venv_is_told_what_to_install(setup):
    failed(setup(FAKE_VENV="No module named ensurepip"), "install python3-venv")
    recovers(setup)


def test_a_folder_that_cannot_be_written_is_named(setup, tmp_path):
    (tmp_path / "clone" / "build").write_text("a file in the place of the folder")
    failed(setup(), "'build' cannot be written")
    (tmp_path / "clone" / "build").unlink()
    recovers(setup)


def test_an_environment_that_was_interrupted_is_made_anew(setup, tmp_path):
    half = tmp_path / "clone" / ".venv"
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "python").write_text("not even a program")
    done = recovers(setup)
    assert "-m venv --clear" in done.calls


def test_an_environment_of_older_requirements_is_brought_up_to_date(setup):
    done = recovers(setup)
    (done.clone / ".venv" / ".installed-1").rename(
        done.clone / ".venv" / ".installed-0"
    )
    done = recovers(setup)
    assert "venv" not in done.calls.replace(".venv", "")
    assert "install" in done.calls
    assert not (done.clone / ".venv" / ".installed-0").exists()


def test_an_update_that_was_interrupted_is_made_anew(setup):
    done = recovers(setup)
    (done.clone / ".venv" / ".installed-1").rename(
        done.clone / ".venv" / ".installed-0"
    )
    failed(setup(FAKE_PIP="Connection reset by peer"), "cannot be reached")
    assert "-m venv --clear" in recovers(setup).calls


def test_the_script_is_plain_shell():
    shell = shutil.which("dash") or "sh"
    assert subprocess.run([shell, "-n", SETUP], check=False).returncode == 0
    assert os.access(SETUP, os.R_OK)


@pytest.mark.parametrize(("free_kb", "status"), [(204_799, 1), (204_800, 0)])
def test_a_book_that_does_not_fit_is_not_begun(tmp_path, free_kb, status):
    df = tmp_path / "df"
    line = f"/dev/disk 999999999 1 {free_kb} 50% /a folder"
    df.write_text(f"#!/bin/sh\necho Filesystem\necho '{line}'\n")
    df.chmod(0o755)
    done = subprocess.run(
        ["sh", repo_root() / ".ci" / "space.sh", "200"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    said = "the disk has 199 MB free and the book needs 200 MB" if status else ""
    assert said in done.stderr
    assert bool(done.stderr) == bool(status)


@pytest.mark.xdist_group("alone")
def test_a_group_of_tests_stays_on_one_worker(request):
    """pytest 9.2 loses the groups: their fixtures are then built in every worker."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("one process runs all tests")
    assert request.node.nodeid.endswith("@alone")


def test_every_pinned_package_is_made_for_the_oldest_python_that_is_promised():
    # Debian 12's own is 3.11.2: a pin that wants 3.11.5 would stop a setup there.
    project = tomllib.loads((repo_root() / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    pins = (repo_root() / "requirements.txt").read_text()
    wanted = {
        name: distribution(name).metadata.get("Requires-Python") or ""
        for name in re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==", pins, re.MULTILINE)
    }
    assert len(wanted) > 100
    assert not {n: w for n, w in wanted.items() if not SpecifierSet(w).contains(oldest)}
