"""A session that was given up for dead and speaks all the same: it is told so, and does nothing.

What it may still write is decided elsewhere, by fencing tokens and by the guard of its worktree.
Here it is stopped at the door, so that not even a tool that needs no lease acts for it, and so that
it learns at once what has happened.
"""

from sf_mcp.core.errors import StaleLease
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import EndKind
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import leases, sessions


def given_up(workspace: Workspace, caller: Caller) -> StaleLease | None:
    """Return what a session is told whose lease ran out; None for everybody else.

    A session that was resumed since then holds a newer lease, and is as good as any other.
    """
    if caller.session_id is None:
        return None
    with workspace.peek() as tx:
        lease = leases.newest_of(tx.db, caller.session_id)
        if lease is None or lease.end is not EndKind.LEASE_EXPIRED or lease.ended_at is None:
            return None
        newer = leases.live_on(tx.db, lease.subject)
        holder = sessions.get(tx.db, newer.session_id).name if newer else "another session"
    return StaleLease(
        f"You were taken for dead at {lease.ended_at:%H:%M:%S} UTC, since nothing was heard of "
        f"{caller.name} for longer than its lease on {lease.subject}; {holder} goes on with it. "
        "Nothing was done.",
        remedy="All that you have made is kept. End your turn now, and change no more files.",
    )


def require_not_given_up(workspace: Workspace, caller: Caller) -> None:
    """Refuse a session that was given up for dead.

    Raises:
        StaleLease: it was; the message says when and why.
    """
    if (refusal := given_up(workspace, caller)) is not None:
        raise refusal
