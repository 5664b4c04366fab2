"""Sessions, and the hashed tokens they connect with, as rows."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sf_mcp.core.errors import NotFound
from sf_mcp.core.models import Role, Session, SessionId
from sf_mcp.core.states import LIVE_SESSIONS, WAITING_SESSIONS, SessionState
from sf_mcp.store.rows import Table, to_column

SESSIONS = Table("sessions", Session)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    hash: str
    role: Role
    session_id: SessionId | None
    created_at: datetime
    expires_at: datetime | None


TOKENS = Table("tokens", Token, key="hash")


def get(db: sqlite3.Connection, id_or_name: str) -> Session:
    """Return the session with this id, or the newest with this name.

    Raises:
        NotFound: there is none.
    """
    session = SESSIONS.get(db, id_or_name) or SESSIONS.first(
        db, "name = ? ORDER BY created_at DESC, rowid DESC", id_or_name
    )
    if session is None:
        raise NotFound(
            f"There is no session {id_or_name!r}.", remedy="List them with `sf session list --all`."
        )
    return session


def newest_named(db: sqlite3.Connection, name: str) -> SessionId | None:
    """Return the newest session with this name; names are used again."""
    found = SESSIONS.first(db, "name = ? ORDER BY created_at DESC, rowid DESC", name)
    return found.id if found else None


def in_state(db: sqlite3.Connection, *states: SessionState) -> list[Session]:
    """Return the sessions in any of these states, oldest first."""
    marks = ", ".join("?" * len(states))
    return SESSIONS.select(db, f"state IN ({marks}) ORDER BY created_at, rowid", *states)


def alive(db: sqlite3.Connection) -> list[Session]:
    """Return the sessions whose process may be running."""
    return in_state(db, *sorted(LIVE_SESSIONS))


def waiting_names(db: sqlite3.Connection) -> dict[str, str]:
    """Return the name of the newest session that is kept to go on, for each subject of one."""
    marks = ", ".join("?" * len(WAITING_SESSIONS))
    rows = db.execute(
        f"SELECT subject, name FROM sessions WHERE state IN ({marks}) ORDER BY created_at, rowid",
        sorted(WAITING_SESSIONS),
    )
    return {row[0]: row[1] for row in rows}


def on_any(db: sqlite3.Connection, subjects: Iterable[str]) -> list[Session]:
    """Return the sessions started for any of these subjects, oldest first."""
    return SESSIONS.select(
        db,
        "subject IN (SELECT value FROM json_each(?)) ORDER BY created_at, rowid",
        json.dumps(list(subjects)),
    )


def newest_on(db: sqlite3.Connection, subject: str) -> list[Session]:
    """Return the sessions started for this subject, newest first."""
    return SESSIONS.select(db, "subject = ? ORDER BY created_at DESC, rowid DESC", subject)


def free_name(db: sqlite3.Connection, role: Role) -> str:
    """Return the lowest free name of the role, such as `worker-2`."""
    states = [*sorted(LIVE_SESSIONS), *sorted(WAITING_SESSIONS)]
    marks = ", ".join("?" * len(states))
    rows = db.execute(f"SELECT name FROM sessions WHERE state IN ({marks})", states)
    taken = {str(row[0]) for row in rows}
    number = 1
    while f"{role.value}-{number}" in taken:
        number += 1
    return f"{role.value}-{number}"


def hashed(token: str) -> str:
    """Return what is stored of a token: tokens are random, so a plain SHA-256 is enough."""
    # Here, since it loads OpenSSL, which a short command has no use for.
    import hashlib

    return hashlib.sha256(token.encode()).hexdigest()


def add_token(
    db: sqlite3.Connection,
    token: str,
    *,
    role: Role,
    session_id: SessionId | None,
    at: datetime,
    expires_at: datetime | None = None,
) -> None:
    """Let `token` speak for the session."""
    TOKENS.insert(
        db,
        Token(
            hash=hashed(token),
            role=role,
            session_id=session_id,
            created_at=at,
            expires_at=expires_at,
        ),
    )


def find_token(db: sqlite3.Connection, token: str, now: datetime) -> Token | None:
    """Return the token's record while it lives."""
    found = TOKENS.get(db, hashed(token))
    if found is None or (found.expires_at is not None and found.expires_at <= now):
        return None
    return found


def revoke_tokens(db: sqlite3.Connection, session_id: SessionId) -> None:
    """End every token of the session."""
    db.execute("DELETE FROM tokens WHERE session_id = ?", (session_id,))


def revoke_person_tokens(db: sqlite3.Connection, *, but: str) -> None:
    """End every token of the person but this one."""
    db.execute(
        "DELETE FROM tokens WHERE role = 'person' AND session_id IS NULL AND hash <> ?",
        (hashed(but),),
    )


def total_cost(db: sqlite3.Connection) -> float:
    """Return what all sessions have cost in US dollars."""
    row = db.execute("SELECT coalesce(sum(cost_usd), 0) FROM sessions").fetchone()
    return float(row[0])


def cost_of(db: sqlite3.Connection, subject: str, since: datetime | None) -> float:
    """Return what the subject's sessions that were started after `since` have cost."""
    row = db.execute(
        "SELECT coalesce(sum(cost_usd), 0) FROM sessions WHERE subject = ? AND created_at > ?",
        (subject, to_column(since) if since else ""),
    ).fetchone()
    return float(row[0])


def starts_on(db: sqlite3.Connection, subject: str, since: datetime | None) -> int:
    """Return how many processes the subject's sessions that began after `since` have had."""
    row = db.execute(
        "SELECT coalesce(sum(max(starts, 1)), 0) FROM sessions"
        " WHERE subject = ? AND created_at > ?",
        (subject, to_column(since) if since else ""),
    ).fetchone()
    return int(row[0])


def touch(db: sqlite3.Connection, session_id: SessionId, at: datetime) -> None:
    """Record that the session was heard of."""
    db.execute("UPDATE sessions SET heard_at = ? WHERE id = ?", (to_column(at), session_id))
