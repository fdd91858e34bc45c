"""The working store: one file per finished run, safe against being killed.

Layout below the store's folder::

    3f/3f0c9e...a1.json.gz     a finished run: gzip JSON, arrays as base64
    claims/3f0c9e...a1         who computes a run just now
    failures/3f0c9e...a1.json  why a run failed, with its traceback
    checkpoints/3f0c9e...a1.pt where a long training goes on that was broken off

A run is stored under the content hash of its configuration, so running it twice stores
it once. A file appears under its name only when it is complete: it is written beside,
flushed to disk and renamed. Numbers that are not finite are written as Python's
``NaN``, which its own reader understands.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import fcntl
import gzip
import json
import os
import re
import socket
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from msa.data.files import write_atomically

FORMAT = "msa run 1"
"""First entry of every run file; another number means another layout."""

_RUN_ID = re.compile(r"[0-9a-f]{16}")
_SUFFIX = ".json.gz"
_DATA = re.compile(rb'"data_sha256": "([0-9a-f]{64})"')
_REQUIRED = ("run_id", "config", "metrics", "curves", "predictions")


class StoreError(Exception):
    """A file of the store cannot be used; the message names it."""


@dataclass(frozen=True)
class Claim:
    """Who computes a run.

    Attributes
    ----------
    pid : int
        Process number.
    host : str
        Name of its machine.
    since : float
        When it began, seconds since 1970.
    """

    pid: int
    host: str
    since: float


class RunStore:
    """Finished runs in a folder.

    Parameters
    ----------
    path : Path or str
        Folder of the store; made when the first run is written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def ids(self) -> list[str]:
        """Return the identifiers of all finished runs, sorted."""
        files = self.path.glob(f"??/*{_SUFFIX}")
        names = (file.name.removesuffix(_SUFFIX) for file in files)
        return sorted(name for name in names if _RUN_ID.fullmatch(name))

    def has(self, run_id: str) -> bool:
        """Return whether a run is finished and stored."""
        return self._file(run_id).exists()

    def write(self, record: Any) -> Path:
        """Store a finished run, atomically; a run of the same id is replaced.

        Parameters
        ----------
        record : RunRecord or dict
            The run; at least ``run_id``, ``config``, ``metrics``, ``curves`` and
            ``predictions``. NumPy arrays may be anywhere and are kept as float32.

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        StoreError
            If a required entry is missing, or if the disk does not take the run.
        """
        plain = _plain(record)
        lacking = [key for key in _REQUIRED if key not in plain]
        if lacking:
            raise StoreError(f"a run without {', '.join(lacking)} cannot be stored")
        text = json.dumps({"format": FORMAT, **plain})
        file = self._file(plain["run_id"])
        packed = gzip.compress(text.encode(), mtime=0)
        with self._disk():
            write_atomically(file, packed)
            self.forget_failure(plain["run_id"])
            self.checkpoint_file(plain["run_id"]).unlink(missing_ok=True)
        return file

    def read(self, run_id: str) -> dict[str, Any]:
        """Return a stored run.

        Returns
        -------
        dict of str to Any
            The fields of the RunRecord: ``config`` as a plain dict, ``predictions`` as
            float32 array of shape (N_test,), the others as they were.

        Raises
        ------
        KeyError
            If the run is not stored.
        StoreError
            If its file is truncated, foreign or of another layout. The file is left
            as it is.
        """
        file = self._file(run_id)
        try:
            text = gzip.decompress(file.read_bytes()).decode()
            content = json.loads(text, object_hook=_revive)
        except FileNotFoundError:
            raise KeyError(f"run {run_id} is not in the store {self.path}") from None
        except (OSError, EOFError, ValueError, TypeError, zlib.error) as error:
            raise StoreError(
                f"{file} is damaged ({error}); move it away and run it again"
            ) from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise StoreError(f"{file} is not a run of layout {FORMAT!r}")
        lacking = [key for key in _REQUIRED if key not in content]
        if lacking:
            raise StoreError(f"{file} lacks {', '.join(lacking)}")
        if content["run_id"] != run_id:
            raise StoreError(f"{file} holds run {content['run_id']}, not {run_id}")
        return content

    def data_sha256(self, run_id: str) -> str | None:
        """Return the SHA-256 of the data that a stored run was made on.

        None where the run does not say so, is damaged or is not stored. The file is not
        parsed, so that thousands are looked at in a second.
        """
        try:
            text = gzip.decompress(self._file(run_id).read_bytes())
        except (OSError, EOFError, zlib.error):
            return None  # who needs the run reads it, and is told
        found = _DATA.search(text)
        return found[1].decode() if found else None

    @contextlib.contextmanager
    def claim(self, run_id: str) -> Iterator[bool]:
        """Hold a run for the duration of a ``with`` block, so that nobody else does it.

        Yields
        ------
        bool
            True if the run is ours, False if a living process has it.

        Raises
        ------
        StoreError
            If the disk does not take the claim.

        Notes
        -----
        The claim is the system's lock on a file that also says who holds it. The
        system drops the lock when its process ends, however it ends, so the claim of a
        killed process is free at once and no age or process number has to be guessed
        from.
        """
        file = self.path / "claims" / self._checked(run_id)
        with self._disk():
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = _lock(file)
        if handle is None:
            yield False
            return
        try:
            claim = Claim(os.getpid(), socket.gethostname(), time.time())
            with self._disk():
                os.truncate(handle, 0)
                os.pwrite(handle, json.dumps(dataclasses.asdict(claim)).encode(), 0)
                for kept in (self._file(run_id), self.checkpoint_file(run_id)):
                    for leftover in kept.parent.glob(f"{run_id}.*.tmp"):
                        leftover.unlink()  # of a process killed while it wrote
            yield True
        finally:
            with contextlib.suppress(OSError):  # a file without its lock claims nothing
                file.unlink()
            os.close(handle)

    def claims(self) -> dict[str, Claim]:
        """Return the runs that living processes compute now, by run id."""
        living = {}
        for file in sorted((self.path / "claims").glob("*")):
            with contextlib.suppress(FileNotFoundError):
                handle = os.open(file, os.O_RDONLY)
                try:
                    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    text = os.pread(handle, 4096, 0)
                    with contextlib.suppress(ValueError, TypeError):
                        living[file.name] = Claim(**json.loads(text))
                finally:
                    os.close(handle)
        return living

    def write_failure(self, run_id: str, config: Any, error: str, trace: str) -> Path:
        """Keep why a run failed.

        Parameters
        ----------
        run_id : str
            The run.
        config : RunConfig or dict
            Its configuration.
        error : str
            One line: what went wrong.
        trace : str
            The traceback.

        Raises
        ------
        StoreError
            If the disk does not take it.
        """
        file = self._failure_file(run_id)
        failure = {
            "run_id": run_id,
            "config": _plain(config),
            "error": error,
            "traceback": trace,
        }
        with self._disk():
            write_atomically(file, json.dumps(failure, indent=1).encode())
        return file

    def failures(self) -> dict[str, dict[str, Any]]:
        """Return every recorded failure by run id: ``config, error, traceback``."""
        found = {}
        for file in sorted((self.path / "failures").glob("*.json")):
            try:
                found[file.stem] = json.loads(file.read_bytes())
            except FileNotFoundError:
                continue  # the run has succeeded meanwhile
            except ValueError as error:
                raise StoreError(f"{file} is damaged ({error}); remove it") from error
        return found

    def checkpoint_file(self, run_id: str) -> Path:
        """Return where the training of a run keeps its state.

        Whoever has the claim writes there. The file goes when the run is stored.
        """
        return self.path / "checkpoints" / f"{self._checked(run_id)}.pt"

    def begun(self) -> list[str]:
        """Return the runs whose training has a checkpoint, sorted."""
        files = (self.path / "checkpoints").glob("*.pt")
        return sorted(file.stem for file in files if _RUN_ID.fullmatch(file.stem))

    def forget_failure(self, run_id: str) -> None:
        """Remove the failure of a run, if there is one."""
        self._failure_file(run_id).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Name the store in an error of the disk: that of a full one names no file."""
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"nothing can be written into the store {self.path} ({error}): make "
                "room or make it writable, then give the same command again"
            ) from error

    def _file(self, run_id: str) -> Path:
        return self.path / self._checked(run_id)[:2] / f"{run_id}{_SUFFIX}"

    def _failure_file(self, run_id: str) -> Path:
        return self.path / "failures" / f"{self._checked(run_id)}.json"

    @staticmethod
    def _checked(run_id: str) -> str:
        if not _RUN_ID.fullmatch(run_id):
            raise ValueError(f"a run id is 16 hexadecimal digits, got {run_id!r}")
        return run_id


def _lock(file: Path) -> int | None:
    """Open and lock a claim file; None if somebody else holds it."""
    # A second try, because claims() holds a lock for a moment, too.
    for pause in (0.05, 0.1, None):
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have removed the file between our two calls; a lock
            # on a file without a name keeps nobody out.
            if os.path.samestat(file.stat(), os.fstat(handle)):
                return handle
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(handle)
        if pause:
            time.sleep(pause)
    return None


def _plain(value: Any) -> Any:
    """Turn records, configurations and arrays into what JSON knows."""
    if hasattr(value, "model_dump"):
        return _plain(value.model_dump(mode="json"))
    if dataclasses.is_dataclass(value):
        names = (item.name for item in dataclasses.fields(value))
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        floats = np.ascontiguousarray(value, dtype="<f4")
        data = base64.b64encode(floats.tobytes()).decode()
        return {"float32": data, "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return value.item()
    return value


def _revive(entry: dict[str, Any]) -> Any:
    """Turn a stored array back into one, writable and in the machine's byte order."""
    if entry.keys() != {"float32", "shape"}:
        return entry
    flat = np.frombuffer(base64.b64decode(entry["float32"]), dtype="<f4")
    return flat.reshape(entry["shape"]).astype(np.float32)
