"""Where a run happened: versions, device, commit, memory. Stored with every run."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import resource
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from msa.data.paths import repo_root

PACKAGES = ("torch", "numpy", "transformers", "pandas", "scikit-learn")
"""Packages whose version can change a number."""

ROUNDING = 2
"""Raised by a change that computes the same and rounds otherwise, such as sums in
another order: runs made before it are compared like those of another processor. Runs
without the number are from before it was raised first."""

# Only these can change what a run computes; edited pages or results do not count.
_CODE = ("msa", "pyproject.toml", "requirements.txt")

_PROC_STATUS = Path("/proc/self/status")
_CPUINFO = Path("/proc/cpuinfo")

# Names and numbers of malloc.h (glibc), with what a run sets them to, in bytes.
_MALLOC = {
    "M_MMAP_THRESHOLD": (-3, 2**30),
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1),
    "M_TOP_PAD": (-2, 2**26),
}


class CommitError(ValueError):
    """A commit told by ``MSA_COMMIT`` that cannot be one."""


class DeviceError(ValueError):
    """A device that is not here; the message says what to do."""


def check_device(device: str) -> None:
    """Refuse a GPU that PyTorch could only fail on later, in words of its own.

    Parameters
    ----------
    device : str
        Device of a run, such as ``"cpu"`` or ``"cuda:0"``.

    Raises
    ------
    DeviceError
        If there is no such device, or no usable GPU.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise DeviceError(f"there is no device {device!r}; choose cpu or cuda")
    if device != "cpu" and not torch.cuda.is_available():
        raise DeviceError(
            f"device {device!r}: PyTorch finds no usable GPU here (torch "
            f"{torch.__version__}); take the device cpu"
        )


def environment(device: str = "cpu") -> dict[str, str | int | bool | None]:
    """Describe what the current process runs on.

    Parameters
    ----------
    device : str
        Device of the run, such as ``"cpu"`` or ``"cuda:0"``.

    Returns
    -------
    dict of str to str, int, bool or None
        ``python``, ``platform``, one version per name in ``PACKAGES`` (None if not
        installed), ``device`` (its type), ``device_name``, ``cpu`` (its name),
        ``cpu_kind`` (what tells its generation, None where the system does not say),
        ``instructions`` (the vector instructions that PyTorch uses), ``threads``,
        ``rounding`` (:data:`ROUNDING`), ``commit`` and ``dirty`` (True if tracked code
        differs from the commit). Outside a git checkout the two are what
        ``MSA_COMMIT`` says, 40 hexadecimal digits and ``-dirty`` if it is so, else
        None. No names of hosts, users or folders: the description is published.

    Raises
    ------
    CommitError
        If ``MSA_COMMIT`` is asked and names no commit.
    """
    kind = torch.device(device).type
    commit, dirty = _commit(repo_root())
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) for name in PACKAGES},
        "device": kind,
        "device_name": (
            torch.cuda.get_device_name(device) if kind == "cuda" else _cpu_model()
        ),
        "cpu": _cpu_model(),
        "cpu_kind": _cpu_kind(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "rounding": ROUNDING,
        "commit": commit,
        "dirty": dirty,
    }


@cache
def code_sha256() -> str:
    """Return the checksum of this package's code, as it is when first asked."""
    folder = Path(__file__).parents[1]
    total = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        total.update(f"{file.relative_to(folder).as_posix()}\n".encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def peak_memory_mb(device: str = "cpu") -> float:
    """Return the largest memory used so far, in MB (10^6 bytes).

    Since the start of this process, or since :func:`reset_peak_memory` where that
    works.

    Parameters
    ----------
    device : str
        On the CPU the resident memory of the process counts, on a GPU what its tensors
        take there.
    """
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if _PROC_STATUS.exists():
        for line in _PROC_STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, other systems kibibytes.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def reset_peak_memory(device: str = "cpu") -> bool:
    """Start a new measurement of peak memory, as a worker does before each run.

    Returns
    -------
    bool
        False where the system cannot forget a peak (anything but Linux, on the CPU):
        the peak then is the one of the whole process.
    """
    if device != "cpu":
        torch.cuda.init()  # without it a GPU that is named by number is not known
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def keep_freed_memory() -> bool:
    """Let this process keep the memory that its tensors free, as a run does first.

    glibc hands large blocks back to the system, and gets them again page by page: a
    step with large weights (TFN on CH-SIMS has 35 million) spends half its time on
    page faults. What an earlier run has kept is handed back now, so that the peak of
    the next one is its own. Nothing that is computed changes.

    Returns
    -------
    bool
        False where the C library has no such settings (anything but glibc).
    """
    try:
        libc = ctypes.CDLL(None)
        trim, set_option = libc.malloc_trim, libc.mallopt
    except (AttributeError, OSError, TypeError):
        return False
    trim(0)
    return all(set_option(number, value) for number, value in _MALLOC.values())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


# Virtual machines may call several generations by one name, "AMD EPYC".
_KIND = ("cpu family", "model", "CPU implementer", "CPU part")


def _cpu_kind() -> str | None:
    told = _cpuinfo()
    return ", ".join(f"{key} {told[key]}" for key in _KIND if key in told) or None


@cache
def _cpuinfo() -> dict[str, str]:
    """Return what the system says of its first processor."""
    try:
        text = _CPUINFO.read_text()
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


# Asked once per process: what a worker computes depends on the code it loaded when it
# started, not on what was committed or edited since.
@cache
def _commit(root: Path) -> tuple[str | None, bool | None]:
    # A copy without its .git may lie in some other checkout: that is not its commit.
    if not (root / ".git").exists():
        return _told_commit()
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return None, None
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *_CODE)
    return commit, bool(changed)


def _told_commit() -> tuple[str | None, bool | None]:
    told = os.environ.get("MSA_COMMIT", "")
    if not told:
        return None, None
    if not re.fullmatch("[0-9a-f]{40}(-dirty)?", told):
        raise CommitError(
            f"MSA_COMMIT is {told!r}; give the 40 digits of `git rev-parse HEAD`, "
            "and -dirty behind them if tracked code differs from that commit"
        )
    return told[:40], told.endswith("-dirty")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
