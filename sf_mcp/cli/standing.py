"""How everything stands, as rows: the facts behind `sf status` and `sf watch`. Pure.

What waits for the person comes first, then the sessions, those that wait for an answer before the
others, then the train, then what is ready. Text in the rows is as people and models wrote it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sf_mcp.cli.output import fill

Overview = Mapping[str, Any]

CHECKOUT_IS_LEVEL = "up to date"


class Section(StrEnum):
    """The parts of the screen, in their order."""

    WAITING = "Waits for you"
    SESSIONS = "Sessions"
    TRAIN = "Merge train"
    READY = "Ready"


HOW_TO_SEE_ALL: Mapping[Section, str] = {
    Section.WAITING: "sf watch",
    Section.SESSIONS: "sf session list",
    Section.TRAIN: "sf mr list",
    Section.READY: "sf task ready",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing, on one line."""

    section: Section
    kind: str
    """What it is: of what waits, the overview's own kind; else session, merge or task."""
    id: str
    """Empty for the fleet as a whole."""
    facts: tuple[str, ...]
    """Short ones, the most telling first."""
    text: str
    command: str = ""
    """How to settle it in the terminal; empty where there is nothing to settle, or `text` says."""
    is_urgent: bool = False
    value: Mapping[str, Any]
    """What the overview says of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One section with its rows; there may be more than these."""

    section: Section
    rows: Sequence[Row]
    total: int


def parts(overview: Overview) -> list[Part]:
    """Return everything that the overview lists, section by section."""
    now = datetime.fromisoformat(overview["at"])
    return [
        Part(
            section=Section.WAITING,
            rows=[_waiting(line, now) for line in overview["waiting"]],
            total=overview["waiting_count"],
        ),
        _all_of(Section.SESSIONS, _sessions(overview, now)),
        _all_of(Section.TRAIN, [_merge(line) for line in overview["merges"]]),
        Part(
            section=Section.READY,
            rows=[_ready(line) for line in overview["next_ready"]],
            total=overview["ready"],
        ),
    ]


def headlines(overview: Overview, address: str) -> list[tuple[str, str]]:
    """Return what is to be known of the fleet as a whole: a label and a sentence each."""
    target = overview["target"]
    at = f"at {target['commit'][:12]}, {colour_of(overview)}" if target["commit"] else "not known"
    facts = [
        ("project", f"{overview['project']} {where(address)}"),
        ("target", f"{target['branch']} {at}; your checkout: {target['checkout']}"),
    ]
    if target["remedy"]:
        facts.append(("", f"to catch up: {target['remedy']}"))
    if overview["paused"]:
        facts.append(("paused", f"{overview['paused']} (sf resume)"))
    if overview["parked_until"]:
        until = f"{overview['parked_until'][:16].replace('T', ' ')} UTC"
        facts.append(("parked", f"until {until}: {overview['parked_reason']}"))
        facts.append(
            ("", "it goes on by itself then; at once, also in your other fleets: sf resume")
        )
    running = [
        f"{plan['id']} {plan['title']} {plan['done']}/{plan['total']}"
        + (" (draft)" if plan["state"] == "draft" else "")
        for plan in overview["plans"]
        if plan["state"] in ("draft", "active")
    ]
    if running:
        rest = f" and {len(running) - 3} more (sf plan list)" if len(running) > 3 else ""
        facts.append(("plans", ", ".join(running[:3]) + rest))
    spent = f"; ${overview['cost_usd']:.2f} spent" if overview["cost_usd"] else ""
    facts.append(("tasks", f"{task_counts(overview)}{spent}"))
    told = {line["text"] for line in overview["waiting"]}
    facts += [("note", note) for note in overview["notes"] if note not in told]
    return facts


def colour_of(overview: Overview) -> str:
    """Return how the checks of the target's newest commit stand."""
    return {True: "green", False: "red", None: "not checked"}[overview["target"]["is_green"]]


def where(address: str) -> str:
    """Return where the server is, or how to start one."""
    return f"at {address}" if address else "(no server is running: sf serve)"


def task_counts(overview: Overview) -> str:
    """Return how many tasks are in which state."""
    counts = [f"{number} {state}" for state, number in overview["counts"].items() if number]
    counted = ", ".join(counts).replace("_", " ") or "none yet: sf task create"
    return f"{overview['ready']} ready, {overview['blocked']} blocked ({counted})"


def age(since: datetime, now: datetime) -> str:
    """Return how long ago something was, in its one fitting unit."""
    seconds = max(0, int((now - since).total_seconds()))
    for most, length, unit in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < most:
            return f"{seconds // length} {unit}"
    return f"{seconds // 86_400} d"


def _waiting(line: Mapping[str, Any], now: datetime) -> Row:
    since = age(datetime.fromisoformat(line["since"]), now) if line["since"] else ""
    others = line["behind"] - 1
    behind = f"  ({others} more {'task waits' if others == 1 else 'tasks wait'})" * (others > 0)
    return Row(
        section=Section.WAITING,
        kind=line["kind"],
        id=line["id"],
        facts=(
            # What has no id is named by its kind.
            line["kind"] if line["id"] else "",
            since,
            "" if line["task_id"] in (None, line["id"]) else line["task_id"],
        ),
        text=f"{line['text']}{behind}",
        command=line["command"],
        is_urgent=True,
        value=line,
    )


def _sessions(overview: Overview, now: datetime) -> list[Row]:
    asked = {one["task_id"]: one for one in reversed(overview["questions"]) if one["task_id"]}

    def order(session: Mapping[str, Any]) -> tuple[bool, str]:
        question = asked.get(session["subject"])
        return question is None, question["asked_at"] if question else ""

    return [
        _session(session, asked.get(session["subject"]), now)
        for session in sorted(overview["sessions"], key=order)
    ]


def _session(session: Mapping[str, Any], question: Mapping[str, Any] | None, now: datetime) -> Row:
    is_working = session["is_turn_active"] and session["state"] == "running"
    state = "working" if is_working else str(session["state"]).replace("_", " ")
    text = session["note"] or session["last_line"] or session["title"]
    if question is not None:
        since = age(datetime.fromisoformat(question["asked_at"]), now)
        state, text = f"asks {since}", f"{question['id']}: {question['text']}"
    return Row(
        section=Section.SESSIONS,
        kind="session",
        id=session["name"],
        facts=(
            state,
            session["subject"],
            fill(session),
            f"${session['cost_usd']:.2f}" if session["cost_usd"] else "",
            f"{age(datetime.fromisoformat(session['heard_at']), now)} ago",
        ),
        text=text,
        is_urgent=question is not None,
        value=session,
    )


def _merge(line: Mapping[str, Any]) -> Row:
    return Row(
        section=Section.TRAIN,
        kind="merge",
        id=line["id"],
        facts=(line["task_id"],),
        text=f"{line['status']}: {line['title']}",
        value=line,
    )


def _ready(line: Mapping[str, Any]) -> Row:
    return Row(
        section=Section.READY,
        kind="task",
        id=line["id"],
        facts=(f"priority {line['priority']}",),
        text=line["title"],
        value=line,
    )


def _all_of(section: Section, rows: Sequence[Row]) -> Part:
    return Part(section=section, rows=rows, total=len(rows))
