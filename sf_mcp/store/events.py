"""The append-only event table, written in the transaction of the change it tells of."""

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime

from sf_mcp.core.models import Event
from sf_mcp.store.rows import Table, to_column

EVENTS = Table("events", Event, key="number")


def append(
    db: sqlite3.Connection,
    at: datetime,
    kind: str,
    actor: str,
    subject: str,
    data: dict[str, object],
) -> None:
    """Add one event."""
    db.execute(
        "INSERT INTO events (at, kind, actor, subject, data) VALUES (?, ?, ?, ?, ?)",
        (to_column(at), kind, actor, subject, json.dumps(data)),
    )


def newest_number(db: sqlite3.Connection) -> int:
    """Return the number of the newest event; 0 when there is none."""
    return int(db.execute("SELECT coalesce(max(number), 0) FROM events").fetchone()[0])


def after(
    db: sqlite3.Connection, number: int, *, subject: str = "", limit: int = 200
) -> list[Event]:
    """Return the events after `number`, oldest first, of one subject or of all."""
    if subject:
        return EVENTS.select(
            db, "number > ? AND subject = ? ORDER BY number LIMIT ?", number, subject, limit
        )
    return EVENTS.select(db, "number > ? ORDER BY number LIMIT ?", number, limit)


def of_kind_after(db: sqlite3.Connection, kind: str, number: int) -> list[Event]:
    """Return the events of one kind after `number`, oldest first."""
    return EVENTS.select(db, "number > ? AND kind = ? ORDER BY number", number, kind)


def newest_of(db: sqlite3.Connection, kind: str, subject: str) -> Event | None:
    """Return the newest event of one kind about the subject."""
    return EVENTS.first(db, "subject = ? AND kind = ? ORDER BY number DESC", subject, kind)


def first_of(db: sqlite3.Connection, kind: str, subject: str, after: int) -> Event | None:
    """Return the first event of one kind about the subject after a number."""
    where = "subject = ? AND kind = ? AND number > ? ORDER BY number"
    return EVENTS.first(db, where, subject, kind, after)


def of_kinds_after(
    db: sqlite3.Connection, kinds: Sequence[str], number: int, limit: int
) -> list[Event]:
    """Return the newest events of these kinds after `number`, oldest of them first."""
    marks = ", ".join("?" * len(kinds))
    where = f"number > ? AND kind IN ({marks}) ORDER BY number DESC LIMIT ?"
    return EVENTS.select(db, where, number, *kinds, limit)[::-1]


def latest(db: sqlite3.Connection, *, subject: str = "", limit: int = 50) -> list[Event]:
    """Return the newest events, oldest of them first, of one subject or of all."""
    where = "subject = ?" if subject else "? = ''"
    found = EVENTS.select(db, f"{where} ORDER BY number DESC LIMIT ?", subject, limit)
    return found[::-1]


def search(
    db: sqlite3.Connection,
    *,
    before: int | None = None,
    subject: str = "",
    kind: str = "",
    actor: str = "",
    text: str = "",
    limit: int = 50,
) -> list[Event]:
    """Return the newest events for which all of this holds, the newest first.

    `text` is looked for in every part of an event; upper and lower case are one in ASCII.
    """
    where, parameters = ["1"], list[object]()
    for condition, value in (
        ("number < ?", before),
        ("subject = ?", subject),
        ("kind = ?", kind),
        ("actor = ?", actor),
        # As `json.dumps` has written it.
        (
            "instr(lower(kind || ' ' || actor || ' ' || subject || ' ' || data), lower(?)) > 0",
            json.dumps(text)[1:-1],
        ),
    ):
        if value not in (None, ""):
            where, parameters = [*where, condition], [*parameters, value]
    return EVENTS.select(
        db, f"{' AND '.join(where)} ORDER BY number DESC LIMIT ?", *parameters, limit
    )
