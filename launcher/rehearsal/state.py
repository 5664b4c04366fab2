"""The state of a world, read as an outsider would: by SQL, on a connection that cannot write."""

import sqlite3

from launcher.rehearsal.world import World
from sf_mcp.core.layout import Layout

State = sqlite3.Connection
Unreadable = sqlite3.OperationalError
"""There is no database yet, or it is locked."""

BUSY_SECONDS = 1.0


def open_state(world: World) -> State:
    """Open the world's database; the caller closes it.

    Raises:
        Unreadable: there is none.
    """
    uri = f"file:{Layout(world.root).database}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)
