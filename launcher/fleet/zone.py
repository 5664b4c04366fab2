"""The zone of this machine's clock: in it Claude Code writes `resets 3pm`."""

import contextlib
import os
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from sf_mcp.clock import utc_now

LOCAL_ZONE_FILE = Path("/etc/localtime")


def local_zone() -> tzinfo:
    """Return the zone, with its changes to summer time and back where they are known."""
    name = os.environ.get("TZ", "").removeprefix(":")
    with contextlib.suppress(OSError, ValueError, KeyError):
        if name:
            return ZoneInfo(name)
        with LOCAL_ZONE_FILE.open("rb") as file:
            return ZoneInfo.from_file(file)
    return utc_now().astimezone().tzinfo or UTC
