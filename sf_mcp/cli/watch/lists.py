"""The list on the left: which lines it has, and where the selection goes. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from sf_mcp.cli.lines import Line, Tone, a_line
from sf_mcp.cli.output import cut, line, width_of
from sf_mcp.cli.standing import Overview, Part, Row, Section, parts

MOST_ROWS = 200
"""Of one part; the rest is counted."""
EMPTY = {
    Section.WAITING: "nothing",
    Section.SESSIONS: "none is running",
    Section.TRAIN: "empty",
    Section.READY: "no task",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the list."""

    key: str
    """The same for the same thing, as long as it is there."""
    line: Line
    row: Row | None
    """None for a heading."""


def entries(overview: Overview, wanted: str, width: int) -> list[Entry]:
    """Return the lines, those of rows that have `wanted` in them, cut to the width."""
    found: list[Entry] = []
    for part in parts(overview):
        rows = [row for row in part.rows if matches(row, wanted)][:MOST_ROWS]
        found.append(Entry(key=part.section.name, line=_heading(part, rows, wanted), row=None))
        seen: set[str] = set()
        for row in rows:
            key = key_of(row)
            if key not in seen:
                seen.add(key)
                found.append(Entry(key=key, line=_line(row, width), row=row))
    return found


def key_of(row: Row) -> str:
    """Return what tells the row from others."""
    # By name sessions follow one another; the key is the session's own.
    return f"{row.section.name}-{row.kind}-{row.value.get('id') or row.kind}"


def matches(row: Row, wanted: str) -> bool:
    """Return whether the row has these letters in it."""
    told = " ".join((row.kind, row.id, *row.facts, row.text, str(row.value.get("title", ""))))
    return wanted.casefold() in told.casefold()


def next_waiting(shown: Sequence[Entry], key: str) -> str | None:
    """Return the key of the next thing that waits for the person, after the selected one."""
    waiting = [one.key for one in shown if one.row and one.row.section is Section.WAITING]
    if not waiting:
        return None
    return waiting[(waiting.index(key) + 1) % len(waiting)] if key in waiting else waiting[0]


def selection(before: Sequence[Entry], now: Sequence[Entry], key: str) -> str | None:
    """Return the key to select now: the same thing, else what has taken its place."""
    keys = [one.key for one in now if one.row]
    if key in keys:
        return key
    if not keys:
        return None
    old = [one.key for one in before if one.row]
    behind = old[old.index(key) + 1 :] if key in old else []
    nearest = old[: old.index(key)][::-1] if key in old else []
    return next((one for one in (*behind, *nearest) if one in keys), keys[0])


def _heading(part: Part, rows: Sequence[Row], wanted: str) -> Line:
    count = f"{len(rows)} of {part.total}" if wanted or len(rows) < part.total else f"{part.total}"
    if not part.total:
        return ((f"{part.section.value}: ", Tone.STRONG), (EMPTY[part.section], Tone.DIM))
    return a_line(f"{part.section.value} ({count})", Tone.STRONG)


def _line(row: Row, width: int) -> Line:
    lead = line(row.id or row.kind)
    told = " ".join(line(fact) for fact in row.facts[:2] if fact)
    room = width - width_of(lead) - width_of(told) - 3
    text = cut(line(row.text), room) if room > 3 else ""
    return (
        (lead, Tone.WARN if row.is_urgent else Tone.PLAIN),
        (f" {told} ", Tone.DIM),
        (text, Tone.PLAIN),
    )
