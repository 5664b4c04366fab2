"""Where the server's log goes: all of it to a file that rotates, warnings to the terminal too."""

import logging
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

from sf_mcp.cli.output import printable

LOG_NAME = "server.log"
MOST_BYTES = 5_000_000
OLD_FILES = 3
CHATTY = ("mcp", "uvicorn", "httpx", "asyncio", "sse_starlette")
"""Libraries that tell of every request at INFO."""


class _ForTerminals(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One line without a traceback: that is in the file."""
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        return printable(f"{text} (more in {LOG_NAME})" if record.exc_info else text)


def configure_logging(folder: Path) -> Path:
    """Send the log to `folder`; return the file.

    To be called before the SDK is set up: that gives the root logger a handler of its own, which
    writes to the terminal, unless it has one already.

    Raises:
        OSError: the file cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOG_NAME
    whole = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s: %(message)s")
    whole.converter = time.gmtime
    file = RotatingFileHandler(path, maxBytes=MOST_BYTES, backupCount=OLD_FILES, encoding="utf-8")
    file.setFormatter(whole)
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(_ForTerminals())
    logging.basicConfig(level=logging.INFO, handlers=[file, terminal], force=True)
    logging.captureWarnings(True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # A full disk must not bury the terminal in tracebacks about the log itself.
    logging.raiseExceptions = False
    return path
