"""A question and a task in words: for `sf question show`, `sf task show` and `sf watch`."""

from collections.abc import Iterator, Mapping
from typing import Any

from sf_mcp.cli.lines import Line, Tone, a_line

MOST_NAMED = 10
"""Tasks behind a question that are named; the rest is counted."""
LABEL = 12


def question_lines(question: Mapping[str, Any], *, is_numbered: bool = False) -> Iterator[Line]:
    """Yield a question with its options, who waits for it, and how far its answer has come."""
    about = f" about {question['task_id']}" if question["task_id"] else ""
    to = ", left to you" if question["escalated"] else ""
    head = f"{question['id']}{about} ({question['state']}{to}): "
    yield (head, Tone.STRONG), (question["text"], Tone.PLAIN)
    for number, option in enumerate(question["options"], start=1):
        mark = f"{number}." if is_numbered else "-"
        yield a_line(f"    {mark} {option}")
    if question["context"]:
        yield a_line(f"    {question['context']}")
    if question["state"] == "open":
        yield a_line(f"    {_waiting(question)}")
        yield a_line(f'    Answer it: sf question answer {question["id"]} "…"', Tone.DIM)
    if question["answer"]:
        yield a_line(f"    {question['answered_by']}: {question['answer']}")
    if question["answer"] and question["asker"]:
        yield a_line(f"    {_arrival(question)}")


def _waiting(question: Mapping[str, Any]) -> str:
    who = f"{question['asker']} waits" if question["asker"] else "It waits"
    rests = " (parked, no process)" if question["is_parked"] else ""
    behind = question["behind"]
    more = f" and {len(behind) - MOST_NAMED} more" if len(behind) > MOST_NAMED else ""
    names = f"; behind it: {', '.join(behind[:MOST_NAMED])}{more}" if behind else ""
    return f"{who} since {_minute(question['asked_at'])}{rests}{names}."


def _arrival(question: Mapping[str, Any]) -> str:
    if question["acknowledged_at"]:
        return f"{question['asker']} has had it since {_minute(question['acknowledged_at'])}."
    if question["delivered_at"]:
        return f"Given to {question['asker']} at {_minute(question['delivered_at'])}."
    return f"{question['asker']} is told when it next rests, or goes on."


def _minute(at: str) -> str:
    return at[:16].replace("T", " ") + " UTC"


def task_lines(view: Mapping[str, Any]) -> Iterator[Line]:
    """Yield a task with its brief, its neighbours and what has been tried."""
    found = view["task"]
    yield a_line(f"{found['id']}  {found['title']}", Tone.STRONG)
    facts = {
        "state": found["state"],
        "plan": found["plan_id"],
        "priority": f"{found['priority']} (effective {view['effective_priority']})",
        "estimate": f"{found['estimate_minutes']:g} minutes" if found["estimate_minutes"] else "",
        "paths": ", ".join(found["paths"]),
        "branch": found["branch"] or "",
        "depends on": ", ".join(view["depends_on"]),
        "blocks": ", ".join(view["blocks"]),
        "landed": view["landed_commit"] or "",
    }
    for name, value in facts.items():
        if value:
            yield (f"{name + ':':{LABEL}}", Tone.DIM), (value, Tone.PLAIN)
    for number, (session, end) in enumerate(view["attempts"], start=1):
        yield (f"{f'attempt {number}:':{LABEL}}", Tone.DIM), (f"{session} {end}", Tone.PLAIN)
    if found["description"]:
        yield a_line(f"\n{found['description']}")
    for criterion in found["acceptance"]:
        yield a_line(f"- {criterion}")
    for handoff in view["handoffs"]:
        yield a_line(f"\nHanded off: {handoff['progress']}\nRemaining: {handoff['remaining']}")
    for note in view["repair_notes"]:
        yield a_line(f"\nSent back: {note['reason']}\n{note['detail']}".rstrip())
    for question, answer in view["answers"]:
        yield a_line(f"\nAsked: {question}\nAnswer: {answer}")
    if view["summary"]:
        yield a_line(f"\nHanded in: {view['summary']}")
