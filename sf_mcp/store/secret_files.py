"""Files that only their owner may read: the person's token, the gates of accounts."""

import os
from pathlib import Path

from sf_mcp.core.errors import StorageFailed


def read_secret(path: Path) -> str:
    """Return what the file holds; empty when it is missing or cannot be read."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def write_secret(path: Path, text: str) -> None:
    """Replace the file at once; at no moment can anyone else read it, or find half of it.

    Raises:
        StorageFailed: the disk is full, or the folder is not writable.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StorageFailed(
            f"{path} cannot be written: {error.strerror}.",
            remedy="Free some disk space or correct the permissions, then try again.",
        ) from error
