"""What the tests of leases ask of one."""

from datetime import datetime

from sf_mcp.core.models import Lease, SessionId


def is_held(lease: Lease | None, session_id: SessionId | None = None) -> bool:
    """Say whether the lease has not been ended, and by this session if one is given."""
    return (
        lease is not None
        and lease.ended_at is None
        and (session_id is None or lease.session_id == session_id)
    )


def is_expired(lease: Lease, now: datetime) -> bool:
    """Say whether the lease is held but its time is up, so that the server may end it."""
    return lease.ended_at is None and now >= lease.expires_at
