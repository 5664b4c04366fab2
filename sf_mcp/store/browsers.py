"""Browsers that the person has let in, as rows: two hashed secrets each."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from sf_mcp.store.rows import Table, to_column


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    hash: str
    """Of the secret in its cookie."""
    key_hash: str
    """Of the page's own key."""
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


BROWSERS = Table("browsers", Browser, key="hash")


def find(db: sqlite3.Connection, secret_hash: str, now: datetime) -> Browser | None:
    """Return the browser whose cookie's secret has this hash, while it is let in."""
    return BROWSERS.first(db, "hash = ? AND expires_at > ?", secret_hash, to_column(now))


def prune(db: sqlite3.Connection, now: datetime) -> None:
    """Forget the browsers whose time is over."""
    db.execute("DELETE FROM browsers WHERE expires_at <= ?", (to_column(now),))


def remove(db: sqlite3.Connection, secret_hash: str) -> bool:
    """Forget one browser; return whether it was there."""
    return db.execute("DELETE FROM browsers WHERE hash = ?", (secret_hash,)).rowcount > 0


def remove_all(db: sqlite3.Connection, now: datetime) -> int:
    """Forget every browser; return how many of them were let in still."""
    prune(db, now)
    return db.execute("DELETE FROM browsers").rowcount
