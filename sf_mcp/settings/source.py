"""The bytes of a configuration file, read with care, and how a fault in it is told."""

import os
import stat
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path

from sf_mcp.core.errors import ConfigInvalid

MAX_BYTES = 1_000_000
SAVE_AS_UTF8 = "Save the file as plain text in UTF-8."


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file's content at one moment, and what tells that moment from another."""

    data: bytes
    signature: tuple[int, int, int]
    """Modification time in nanoseconds, size, inode."""


def signature_of(status: os.stat_result) -> tuple[int, int, int]:
    """Return what changes whenever a file is written or replaced."""
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def read_source(path: Path) -> Source:
    """Return the bytes of the regular file at `path`.

    Raises:
        ConfigInvalid: there is none, it cannot be read, or it is larger than `MAX_BYTES`.
    """
    try:
        with BufferedReader(FileIO(path, opener=_open_at_once)) as file:
            status = os.fstat(file.fileno())
            data = file.read(MAX_BYTES + 1) if stat.S_ISREG(status.st_mode) else None
    except FileNotFoundError:
        raise ConfigInvalid(
            f"There is no configuration at {path}.",
            remedy="Run `sf init` in the repository to write one.",
        ) from None
    except OSError as error:
        raise ConfigInvalid(
            f"The configuration {path} cannot be read: {error.strerror}.",
            remedy="Make it a file that you can read.",
        ) from error
    if data is None:
        raise ConfigInvalid(
            f"The configuration {path} is not a regular file.", remedy="Replace it by a text file."
        )
    if len(data) > MAX_BYTES:
        raise ConfigInvalid(
            f"The configuration {path} is larger than {MAX_BYTES:,} bytes.",
            remedy="A configuration has a few dozen lines: is this the right file?",
        )
    return Source(data=data, signature=signature_of(status))


def decode(data: bytes, source: str) -> str:
    """Return `data` as text; a byte order mark in front is dropped.

    Raises:
        ConfigInvalid: it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise fault(
            source, line, f"this is not UTF-8 text (byte 0x{data[error.start]:02x})", SAVE_AS_UTF8
        ) from error


def fault(source: str, line: int, what: str, remedy: str, path: str = "") -> ConfigInvalid:
    """Return the error for a fault at `line` of `source`."""
    return ConfigInvalid(f"{source}, line {line}: {what}.", remedy=remedy, line=line, path=path)


def _open_at_once(path: str, flags: int) -> int:
    # O_NONBLOCK: opening a named pipe would wait for its writer.
    return os.open(path, flags | os.O_NONBLOCK)
