"""Whether the fleet is held back: by a person's pause, or by a usage limit until its reset."""

from datetime import datetime

from sf_mcp.service.transaction import Transaction
from sf_mcp.store import facts


def paused_reason(tx: Transaction) -> str:
    """Return why no session is started; empty when the fleet is not paused."""
    return facts.get(tx.db, "paused") or ""


def pause(tx: Transaction, reason: str) -> None:
    """Start no session and land nothing until a person or a director says so."""
    facts.put(tx.db, "paused", reason)
    tx.event("fleet_paused", reason=reason)


def parked_until(tx: Transaction) -> datetime | None:
    """Return until when a limit keeps the fleet at rest; None when it does not."""
    text = facts.get(tx.db, "parked_until")
    until = datetime.fromisoformat(text) if text else None
    return until if until is not None and until > tx.now else None
