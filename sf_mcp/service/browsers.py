"""Browsers: how the person's own gets in, stays in for a while, and is signed out.

A link holds a code that works once and for a minute. The browser that brings it is given two
secrets: one in a cookie, one that the page keeps for itself. A cookie goes to every port of this
host, so that what a session serves for a trial would be sent it; the page's key goes nowhere else.
Only with both is a request the person's.
"""

import hmac
import secrets
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from sf_mcp.core.errors import Unauthorized
from sf_mcp.core.identity import PERSON, Caller
from sf_mcp.core.models import Role
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import browsers
from sf_mcp.store.browsers import BROWSERS, Browser
from sf_mcp.store.sessions import hashed

LINK_TERM = timedelta(seconds=60)
TERM = timedelta(hours=12)
"""Without a request, after which a browser must be let in again."""
LONGEST = timedelta(days=30)
"""However busy it is."""
RENEWED_AFTER = timedelta(minutes=30)
"""Not at each request: it is a write, which wakes whoever waits for a change."""
MOST_LINKS = 100
"""Unused ones at a time; the oldest gives way."""

AGAIN = "Run `sf open` in the project's folder."


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLink:
    """A link to the page."""

    path: str
    """Of the server's own address; it lets one browser in, once."""
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a browser is given when it is let in; neither secret is kept."""

    secret: str
    key: str


@dataclass(frozen=True, slots=True)
class _Link:
    expires_at: datetime
    opened: str = ""
    """The hash of the browser that it let in; empty until it is used."""


def sign_out_all(tx: Transaction, *, reason: str = "") -> int:
    """Sign every browser out, as a part of the caller's transaction; return how many there were."""
    count = browsers.remove_all(tx.db, tx.now)
    if count:
        tx.event("browsers_signed_out", count=count, reason=reason)
    return count


class BrowserService:
    """Use cases of the person's browsers."""

    def __init__(self, workspace: Workspace) -> None:
        """Let browsers in to this project."""
        self._workspace = workspace
        self._links: dict[str, _Link] = {}
        """By the hash of the code. In memory alone: a link outlives no restart."""
        self._lock = threading.Lock()

    def open_page(self, caller: Caller) -> PageLink:
        """Return a link that lets one browser in as the person, once, within a minute."""
        caller.require(Role.PERSON, to="open the page")
        code = secrets.token_urlsafe(32)
        now = self._workspace.now()
        with self._lock:
            self._forget_old(now)
            while len(self._links) >= MOST_LINKS:
                del self._links[next(iter(self._links))]
            self._links[hashed(code)] = _Link(now + LINK_TERM)
        return PageLink(path=f"/open?code={code}", expires_at=now + LINK_TERM)

    def let_in(self, code: str, *, secret: str = "") -> Entry:
        """Take a link's code; `secret` is that of the browser's cookie, where it has one.

        A code that comes a second time from another browser was seen by somebody else. Which of the
        two is the person's cannot be told, so neither stays in
        (https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2).

        Raises:
            Unauthorized: the code is unknown, used or too old.
        """
        entry = Entry(secret=secrets.token_urlsafe(32), key=secrets.token_urlsafe(32))
        mine = hashed(entry.secret)
        with self._lock:
            self._forget_old(self._workspace.now())
            link = self._links.get(hashed(code))
            if link is not None and not link.opened:
                self._links[hashed(code)] = _Link(link.expires_at, mine)
        if link is None:
            raise Unauthorized("This link is unknown or has expired.", remedy=AGAIN)
        if link.opened:
            if not secret or hashed(secret) != link.opened:
                self._end(link.opened)
            raise Unauthorized("This link was used already.", remedy=AGAIN)
        with self._workspace.write(PERSON) as tx:
            browsers.prune(tx.db, tx.now)
            BROWSERS.insert(
                tx.db,
                Browser(
                    hash=mine,
                    key_hash=hashed(entry.key),
                    created_at=tx.now,
                    seen_at=tx.now,
                    expires_at=tx.now + TERM,
                ),
            )
            tx.event("browser_let_in")
        return entry

    def is_let_in(self, secret: str) -> bool:
        """Tell whether the cookie is one of a browser that is let in: it may have the page's files.

        There is nothing of the project in them.
        """
        return bool(secret) and self._find(secret) is not None

    def authenticate(self, secret: str, key: str) -> Caller:
        """Return the person, for a request that brings both of a browser's secrets.

        Raises:
            Unauthorized: one is missing or wrong, or the browser's time is over.
        """
        found = self._find(secret) if secret else None
        if found is None or not hmac.compare_digest(found.key_hash, hashed(key)):
            raise Unauthorized("This browser is not signed in.", remedy=AGAIN)
        return PERSON

    def is_due(self, secret: str) -> bool:
        """Tell whether `stay` has something to do."""
        found = self._find(secret)
        return found is not None and self._workspace.now() >= found.seen_at + RENEWED_AFTER

    def stay(self, secret: str) -> None:
        """Let a browser that was heard of stay in for another term."""
        with self._workspace.write(PERSON) as tx:
            if (found := browsers.find(tx.db, hashed(secret), tx.now)) is not None:
                expires_at = min(tx.now + TERM, found.created_at + LONGEST)
                changes = {"seen_at": tx.now, "expires_at": expires_at}
                BROWSERS.change(tx.db, found.hash, changes)

    def sign_out_browsers(self, caller: Caller) -> int:
        """Sign every browser out; links that were not used end too. Return how many there were."""
        caller.require(Role.PERSON, to="sign browsers out")
        with self._lock:
            self._links.clear()
        with self._workspace.write(caller) as tx:
            return sign_out_all(tx)

    def _find(self, secret: str) -> Browser | None:
        with self._workspace.peek() as tx:
            return browsers.find(tx.db, hashed(secret), tx.now)

    def _end(self, secret_hash: str) -> None:
        with self._workspace.write(PERSON) as tx:
            if browsers.remove(tx.db, secret_hash):
                tx.event("browsers_signed_out", count=1, reason="its link was used twice")

    def _forget_old(self, now: datetime) -> None:
        for code in [code for code, link in self._links.items() if link.expires_at <= now]:
            del self._links[code]
