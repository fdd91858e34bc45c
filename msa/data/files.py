"""Files that are there whole or not at all, and that one process at a time makes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO


def write_atomically(file: Path, data: bytes | Callable[[BinaryIO], None]) -> None:
    """Write a file so that it is there whole or not at all, whatever happens.

    Parameters
    ----------
    file : Path
        Its folder is made if need be.
    data : bytes or callable
        What to write, or who writes it into the open file.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left of it then.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    stem = file.name.split(".")[0]
    beside = file.with_name(f"{stem}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with beside.open("xb") as stream:
            if callable(data):
                data(stream)
            else:
                stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, survives a power cut
    finally:
        os.close(folder)


@contextlib.contextmanager
def one_at_a_time(file: Path) -> Iterator[None]:
    """Keep other processes out of a ``with`` block while one makes a file.

    Where the folder or its file system has no locks, nobody waits.

    Parameters
    ----------
    file : Path
        The file that is to be made.

    Notes
    -----
    The lock is the system's, on one byte of the hidden file ``.lock`` in the folder:
    the byte that the name of the file comes to. So there is one lock file for all, and
    nobody waits for another file but by a rare chance. The system drops the lock when
    its process ends, however it ends.
    """
    byte = zlib.crc32(file.name.encode())
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(file.with_name(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
            held.callback(os.close, handle)
            fcntl.lockf(handle, fcntl.LOCK_EX, 1, byte)
        yield
