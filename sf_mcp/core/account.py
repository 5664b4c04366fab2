"""The account that sessions are paid from, and the rest that one of its limits imposes.

All fleets of one login run into the same limits, so they share one gate: a small file of the
person's, kept by `store.account_gate`. Here is what it is called, what it says, and when who goes
on. Pure: the environment and `now` come in.

Rule: a time is an aware datetime and is compared, never turned into a timer, so that a reset a
month away is as good as one in a minute.
"""

import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from sf_mcp.core.models import EndKind
from sf_mcp.core.text import one_line

WITHOUT_RESET = timedelta(minutes=5)
"""How long the account rests at a limit whose end is not known."""

FARTHEST = timedelta(days=366)
"""No limit lasts longer; a time beyond it was misread."""

MOST_SPREAD = timedelta(seconds=30)
SPREAD = 0.1
"""Fleets go on over this share of the wait, so that those which rested together do not start
together."""

CLOCK_SLACK = timedelta(minutes=2)
"""A clock that is put right by less than this has not jumped."""

REASON_CHARACTERS = 300

_SECRETS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
_PROVIDERS = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """The rest that a limit imposes on every fleet of the account."""

    kind: EndKind
    """`usage_limit` or `overloaded`."""
    reason: str
    """What the client said, on one line."""
    since: datetime
    until: datetime

    @property
    def what(self) -> str:
        """What people call it, after "because of"."""
        return "a usage limit" if self.kind is EndKind.USAGE_LIMIT else "an API that gave up"


def account_key(environ: Mapping[str, str]) -> str:
    """Return what tells the account of these variables from others; nothing can be read from it.

    A key or token in the environment is an account of its own; else it is the login of Claude
    Code's configuration folder. The address of the API counts in both cases.
    """
    # Here, since it loads OpenSSL, which a short command has no use for.
    import hashlib

    secrets = [environ.get(name, "") for name in _SECRETS]
    login = [] if any(secrets) else [environ.get("CLAUDE_CONFIG_DIR", "")]
    where = environ.get("ANTHROPIC_BASE_URL", "").rstrip("/")
    providers = [environ.get(name, "") for name in _PROVIDERS]
    told = json.dumps([where, secrets, login, providers])
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def gates_folder(environ: Mapping[str, str], home: Path) -> Path:
    """Return where the gates of a person's accounts are: below XDG's folder for state."""
    state = environ.get("XDG_STATE_HOME", "")
    # The specification says that a relative path is to be ignored.
    base = Path(state) if state.startswith("/") else home / ".local" / "state"
    return base / "stoneforge" / "accounts"


def reset_time(text: str, now: datetime) -> datetime:
    """Return when a limit is over, by what was read of it; a guess when that is no use."""
    with suppress(ValueError, OverflowError):
        read = datetime.fromisoformat(text)
        until = (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).astimezone(UTC)
        if now < until <= now + FARTHEST:
            return until
    return now + WITHOUT_RESET


def longer(present: Park | None, new: Park) -> Park:
    """Return the park that holds when `new` is met beside `present`: a limit cuts none short."""
    return present if present is not None and present.until > new.until else new


def goes_on_at(park: Park, who: str) -> datetime:
    """Return when `who`, a fleet, starts sessions again: the same for the same fleet and park."""
    spread = min(MOST_SPREAD, (park.until - park.since) * SPREAD)
    return park.until + spread * share_of(f"{who} {park.until.isoformat()}")


def gap_after_rest(park: Park, now: datetime, session: str) -> timedelta:
    """Return how long after this session the next one starts, soon after the account's rest.

    None at all once a while has passed: then the limit is known to be over.
    """
    spread = min(MOST_SPREAD, (park.until - park.since) * SPREAD)
    if now >= park.until + 4 * spread:
        return timedelta(0)
    return spread / 8 * (0.5 + share_of(session))


def share_of(text: str) -> float:
    """Return a number in [0, 1) that is the text's own."""
    return zlib.crc32(text.encode("utf-8", "surrogateescape")) / 2**32


def after_clock_was_put_back(park: Park, now: datetime) -> Park:
    """Return the park with as long to go as it had, if the clock says that it is yet to begin."""
    if now >= park.since - CLOCK_SLACK:
        return park
    return replace(park, since=now, until=now + (park.until - park.since))


def encode(park: Park | None, *, by: str, now: datetime) -> str:
    """Return the text of a gate's file: closed by `park`, or open since `now`."""
    if park is None:
        return json.dumps({"open": True, "by": by, "at": now.isoformat()}) + "\n"
    return (
        json.dumps(
            {
                "open": False,
                "kind": park.kind.value,
                "reason": park.reason,
                "since": park.since.isoformat(),
                "until": park.until.isoformat(),
                "by": by,
            }
        )
        + "\n"
    )


def decode(text: str) -> Park | None:
    """Return what a gate's file says; None when the gate is open.

    Raises:
        ValueError: it says nothing that makes sense.
    """
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - a value of the file's
    fields = cast("dict[str, Any]", value)
    if fields.get("open") is True:
        return None
    kind = EndKind(fields.get("kind"))
    if kind not in (EndKind.USAGE_LIMIT, EndKind.OVERLOADED):
        raise ValueError(f"{kind.value} is no limit")
    since, until = (_time(fields.get(name)) for name in ("since", "until"))
    if not since <= until <= since + FARTHEST:
        raise ValueError("its times make no sense")
    reason = one_line(str(fields.get("reason", "")), REASON_CHARACTERS)
    return Park(kind=kind, reason=reason, since=since, until=until)


def _time(value: object) -> datetime:
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{value} is no time") from error
