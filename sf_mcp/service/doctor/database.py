"""The state: is the file sound, and do its rows say what must always hold."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sf_mcp.core.errors import StorageFailed
from sf_mcp.service.doctor.found import Found, fine, named, problem, warning
from sf_mcp.service.doctor.look import Look
from sf_mcp.store.database_file import backup_path, rescued_path
from sf_mcp.store.inspection import (
    broken_references,
    broken_rules,
    cycle,
    damage,
    newest_event_at,
    schema_version,
    steadily,
)
from sf_mcp.store.schema import SCHEMA_VERSION

CLOCK_SLACK = timedelta(minutes=2)
"""A clock that was put right by less than this has not jumped."""


def integrity(look: Look) -> Iterator[Found]:
    """Look through the whole file."""
    if not look.is_set_up:
        return
    path = look.layout.database
    try:
        broken = steadily(path, damage)
    except StorageFailed as error:
        yield problem(error.message, why="Nothing works without it.", remedy=error.remedy)
        return
    if broken:
        yield problem(
            f"The database {path} is damaged: {broken}.",
            why="What it says cannot be relied on.",
            remedy=_put_back(look),
        )
    else:
        yield fine(f"The database {path} is sound")


def schema(look: Look) -> Iterator[Found]:
    """See whether this release knows the database's schema."""
    version = look.read(schema_version)
    if version is None:
        return
    if version > SCHEMA_VERSION:
        yield problem(
            f"The database was written by a newer release (schema {version}; this one knows "
            f"{SCHEMA_VERSION}).",
            why="This release refuses to open it.",
            remedy="Install the newer one again: pipx upgrade stoneforge-mcp",
        )
    elif version < SCHEMA_VERSION:
        yield warning(
            f"The database has schema {version}; this release uses {SCHEMA_VERSION}.",
            why="It is brought up to date when it is next opened.",
            remedy="Run: sf status",
        )
    else:
        yield fine(f"The database has schema {version}, which this release uses")


def references(look: Look) -> Iterator[Found]:
    """See whether each row has what it speaks of."""
    if not _is_readable(look):
        return
    if broken := steadily(look.layout.database, broken_references):
        yield problem(
            f"Rows speak of others that are not there: {named(broken)}.",
            why="Somebody else has written to the database, or it was damaged.",
            remedy=_put_back(look),
        )
    else:
        yield fine("Every row has what it speaks of")


def rules(look: Look) -> Iterator[Found]:
    """See whether the rules that never break hold."""
    if not _is_readable(look):
        return
    broken = steadily(look.layout.database, broken_rules)
    for rule, cases in broken:
        yield problem(
            f"A rule does not hold ({rule.sentence}): {named(cases)}.",
            why="Somebody else has written to the database, or it is a mistake of Stoneforge's; "
            "the fleet may do work twice, or wait for ever.",
            remedy=_put_back(look),
        )
    if circle := steadily(look.layout.database, cycle):
        yield problem(
            f"Tasks wait for one another in a circle: {' → '.join(circle)}.",
            why="None of them can ever start.",
            remedy=f"Run: sf dep remove {circle[0]} {circle[1]}",
        )
    if not broken and not circle:
        yield fine("The rows say what must always hold")


def clock(look: Look) -> Iterator[Found]:
    """See whether the clock has gone backwards."""
    if not (newest := look.read(newest_event_at) if _is_readable(look) else None):
        return
    ahead = datetime.fromisoformat(newest) - look.now().astimezone(UTC)
    if ahead > CLOCK_SLACK:
        yield warning(
            f"The newest event is of {newest[:19]} UTC, which is {_length(ahead)} from now.",
            why="The clock has gone backwards: leases, waits and limits last longer than they "
            "should.",
            remedy="Set the clock right (timedatectl set-ntp true), or wait until it has caught "
            "up.",
        )
    else:
        yield fine("The clock has not gone backwards")


def _is_readable(look: Look) -> bool:
    """Tell whether the tables are those of this release."""
    return look.read(schema_version) == SCHEMA_VERSION


def _put_back(look: Look) -> str:
    """Return how to go back to a copy, keeping what is there."""
    path = look.layout.database
    copies = [one for one in (rescued_path(path), backup_path(path)) if one.exists()]
    if not copies:
        return (
            f"End the server, keep a copy of {path}, and report this with it. Commits and "
            "snapshots in forge.git are untouched."
        )
    return (
        f"End the server, keep the file (mv {path} {path}.broken), then: cp {copies[0]} {path}. "
        "Commits and snapshots in forge.git are untouched."
    )


def _length(ahead: timedelta) -> str:
    minutes = int(ahead.total_seconds() // 60)
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
