"""Whether the fleet is held back: by a person's pause, or by a limit of the account until its end.

Rule: a pause is this fleet's and lives in its database; a limit is the account's and lives in the
gate that all fleets of the account share, and nowhere else.
"""

from datetime import datetime

from sf_mcp.core.account import Park, goes_on_at
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import facts


def paused_reason(tx: Transaction) -> str:
    """Return why no session is started; empty when the fleet is not paused."""
    return facts.get(tx.db, "paused") or ""


def pause(tx: Transaction, reason: str) -> None:
    """Start no session and land nothing until a person or a director says so."""
    facts.put(tx.db, "paused", reason)
    tx.event("fleet_paused", reason=reason)


def parked(workspace: Workspace) -> Park | None:
    """Return the limit that keeps this fleet at rest; None when none does."""
    now = workspace.now()
    park = workspace.gate.current(now)
    return park if park is not None and now < goes_on(workspace, park) else None


def goes_on(workspace: Workspace, park: Park) -> datetime:
    """Return when this fleet starts sessions again: a little apart from the account's others."""
    return goes_on_at(park, str(workspace.layout.root))


def parked_sentence(park: Park, now: datetime) -> str:
    """Say until when, why, and what to do."""
    return (
        f"at rest until {park.until:%Y-%m-%d %H:%M} UTC ({_in_words(park, now)}) because of "
        f"{park.what}: {park.reason}"
    )


def _in_words(park: Park, now: datetime) -> str:
    seconds = max(0, int((park.until - now).total_seconds()))
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    if days:
        return f"in {days} d {hours} h"
    if hours:
        return f"in {hours} h {rest // 60} min"
    return f"in {rest // 60} min {rest % 60} s" if rest >= 60 else f"in {rest} s"
