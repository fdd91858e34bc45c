"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_atomically(file: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens."""
    file.parent.mkdir(parents=True, exist_ok=True)
    stem = file.name.split(".")[0]
    beside = file.with_name(f"{stem}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with beside.open("xb") as stream:
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
