"""The keys of `sf watch`: what each does, and when it is offered. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sf_mcp.cli.standing import Row

ANY = frozenset[str]()


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key."""

    key: str
    """As textual names it."""
    shown: str
    """As it stands on keyboards."""
    action: str
    label: str
    """One or two words, for the footer."""
    about: str
    """A sentence, for the help."""
    kinds: Collection[str] = ANY
    """Kinds of rows that it is offered for; none: always."""


TASKS = frozenset({"task", "stuck", "proposal", "review", "conflict", "merge", "session"})
"""Rows that a task is behind."""
MERGES = frozenset({"review", "conflict", "merge"})

KEYS: Sequence[Key] = (
    Key(
        key="enter", shown="Enter", action="open", label="answer", kinds={"question", "asking"},
        about="Answer the question; on anything else: go to its details, to scroll in them.",
    ),
    Key(
        key="a", shown="a", action="approve", label="approve", kinds=MERGES | {"proposal"},
        about="Approve the merge request as it is shown, or accept the proposed task.",
    ),
    Key(
        key="x", shown="x", action="reject", label="reject", kinds=MERGES | {"proposal"},
        about="Send the merge request back with what must change, or refuse the proposal.",
    ),
    Key(
        key="s", shown="s", action="stop", label="stop", kinds={"session", "asking"},
        about="Stop the session; its work is kept and its task is open again. Asks once.",
    ),
    Key(
        key="r", shown="r", action="retry", label="retry", kinds={"stuck"},
        about="Open the stuck task again, its failures forgotten.",
    ),
    Key(
        key="c", shown="c", action="cancel", label="cancel", kinds=TASKS | {"asking"},
        about="Cancel the task; its commits are kept. Asks once.",
    ),
    Key(
        key="plus", shown="+", action="raise", label="sooner", kinds=TASKS | {"asking"},
        about="Make the task more urgent: its priority one step nearer to 1.",
    ),
    Key(
        key="minus", shown="-", action="lower", label="later", kinds=TASKS | {"asking"},
        about="Make the task less urgent: its priority one step nearer to 5.",
    ),
    Key(
        key="n", shown="n", action="next", label="next",
        about="Go to the next thing that waits for you.",
    ),
    Key(
        key="l", shown="l", action="log", label="log",
        about="Show the log of the selected thing; again: of everything; again: the details.",
    ),
    Key(
        key="slash", shown="/", action="filter", label="filter",
        about="Show only what has these letters in it; Esc shows everything again.",
    ),
    Key(
        key="p", shown="p", action="pause", label="pause",
        about="Pause the fleet: nothing is started or landed; again: go on.",
    ),
    Key(
        key="question_mark", shown="?", action="help", label="help",
        about="Show the keys.",
    ),
    Key(
        key="q", shown="q", action="leave", label="quit",
        about="End this view; the fleet goes on. Ctrl-C does so too.",
    ),
)  # fmt: skip

MOVING: Sequence[tuple[str, str]] = (
    ("Up Down j k", "Go through the list, or scroll in the details."),
    ("Tab", "Change between the list and the details."),
    ("PgUp PgDn Home End", "Go faster."),
    ("Esc", "Leave the details, a question or the filter."),
)


def kind_of(row: Row | None) -> str:
    """Return what the row is for the keys: a session that waits for an answer is `asking`."""
    if row is None:
        return ""
    return "asking" if row.kind == "session" and row.is_urgent else row.kind


def offered(row: Row | None) -> list[Key]:
    """Return the keys that do something for this row, its own first."""
    kind = kind_of(row)
    return [key for key in KEYS if not key.kinds or kind in key.kinds]


def footer(row: Row | None, width: int) -> str:
    """Return the keys of a row on one line; help and the way out are never left out."""
    words = [f"{key.shown} {key.label}" for key in offered(row)]
    last = words[-2:]
    kept = words[:-2]
    while kept and len("  ".join([*kept, *last])) > width:
        kept.pop()
    return "  ".join([*kept, *last])


def help_text() -> list[tuple[str, str]]:
    """Return every key with what it does."""
    return [(key.shown, key.about) for key in KEYS] + list(MOVING)
