"""What stands on the right: the details of the selected thing, or its log, asked of the server."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from sf_mcp.cli.about import question_lines, task_lines
from sf_mcp.cli.api import Call
from sf_mcp.cli.history import History, Item
from sf_mcp.cli.lines import Line, Tone, a_line, heading
from sf_mcp.cli.logs import told
from sf_mcp.cli.merge_request import merge_request_lines
from sf_mcp.cli.output import fill
from sf_mcp.cli.standing import Overview, Row, age, headlines
from sf_mcp.cli.transcript import Transcript, shown

LABEL = 12
LAST_WORDS = 60
"""Entries of a transcript."""
LOG_LINES = 300


class View(Enum):
    """What the right side shows."""

    DETAIL = "details"
    LOG = "log"
    WHOLE_LOG = "log of everything"

    @property
    def following(self) -> "View":
        """The one that the key for the log changes to."""
        views = list(View)
        return views[(views.index(self) + 1) % len(views)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the right side shows, and what is known by it."""

    key: str = ""
    """Of the row that it is about."""
    title: str = ""
    lines: Sequence[Line] = ()
    ends_last: bool = False
    """The newest is at the end, which is to be seen."""
    commit: str = ""
    """Of the merge request as it is shown: what a person says yes or no to."""
    question: Mapping[str, Any] = field(default_factory=dict[str, Any])


def look(ask: Call, row: Row | None, view: View, overview: Overview, url: str) -> Seen:
    """Return what to show for the row.

    Raises:
        StoneforgeError: the server refused, or does not answer.
    """
    if view is View.WHOLE_LOG or (view is View.LOG and row is None):
        return Seen(title="log of everything", lines=_log(ask, ""), ends_last=True)
    if row is None:
        return Seen(title=overview["project"], lines=_fleet(overview, url))
    if view is View.LOG:
        subject = row.value["id"] or ""
        return Seen(title=f"log of {row.id or row.kind}", lines=_log(ask, subject), ends_last=True)
    match row.kind:
        case "session":
            return _session(ask, row, overview)
        case "question":
            return _question(ask, row)
        case "review" | "conflict" | "merge":
            return _merge_request(ask, row)
        case "task" | "stuck" | "proposal":
            return Seen(title=row.id, lines=_task(ask, row.id))
        case _:
            more = [a_line(""), a_line(row.command, Tone.DIM)] if row.command else []
            return Seen(title=row.kind, lines=[a_line(row.text), *more])


def task_of(row: Row | None, overview: Overview) -> str:
    """Return the id of the task that the row is about; empty when it is about none."""
    if row is None:
        return ""
    if row.kind != "session":
        return row.value.get("task_id") or (row.id if row.id.startswith("T") else "")
    subject = row.value["subject"]
    of_merges = {merge["id"]: merge["task_id"] for merge in overview["merges"]}
    return of_merges.get(subject, subject if subject.startswith("T") else "")


def question_of(row: Row | None, overview: Overview) -> str:
    """Return the id of the question that the row is, or that the session waits for."""
    if row is None:
        return ""
    if row.kind == "question":
        return row.id
    if row.kind != "session":
        return ""
    asked = {one["task_id"]: one["id"] for one in reversed(overview["questions"])}
    return asked.get(row.value["subject"], "")


def _fleet(overview: Overview, url: str) -> list[Line]:
    return [
        ((f"{label:{LABEL}}", Tone.DIM), (text, Tone.PLAIN))
        for label, text in headlines(overview, url)
    ]


def _log(ask: Call, subject: str) -> list[Line]:
    items = History(ask, subject).past(ask, since=None, after=None, most=LOG_LINES)
    return [_item(item) for item in items] or [a_line("Nothing yet.", Tone.DIM)]


def _item(item: Item) -> Line:
    if "session" in item:
        return _entry(item)
    at, text = told(item)
    return (f"{at}  ", Tone.DIM), (text, Tone.PLAIN)


def _entry(entry: Mapping[str, Any]) -> Line:
    is_text = entry["kind"] == "text"
    tone = Tone.PLAIN if is_text else Tone.BAD if entry["is_error"] else Tone.DIM
    return a_line(shown(entry), tone)


def _question(ask: Call, row: Row) -> Seen:
    question = ask("get_question", question=row.id)
    lines = list(question_lines(question))
    if question["task_id"]:
        lines += [a_line(""), *_task(ask, question["task_id"])]
    return Seen(title=row.id, lines=lines, question=question)


def _task(ask: Call, task: str) -> list[Line]:
    why = ask("why", task=task)
    facts = [a_line(f"  {fact}") for fact in why["facts"]]
    step = [a_line(f"Next: {why['next_step']}", Tone.DIM)] if why["next_step"] else []
    return [
        a_line(why["sentence"]),
        *facts,
        *step,
        a_line(""),
        *task_lines(ask("get_task", task=task)),
    ]


def _session(ask: Call, row: Row, overview: Overview) -> Seen:
    lines = list(_session_facts(row, overview))
    question: Mapping[str, Any] = {}
    if asked := question_of(row, overview):
        question = ask("get_question", question=asked)
        lines += [a_line(""), *question_lines(question)]
    entries = Transcript(row.value["id"]).last(ask, LAST_WORDS)
    lines += heading("Last words") if entries else []
    lines += [_entry(entry) for entry in entries]
    return Seen(title=row.id, lines=lines, ends_last=not question, question=question)


def _session_facts(row: Row, overview: Overview) -> Iterator[Line]:
    session = row.value
    now = datetime.fromisoformat(overview["at"])
    facts = {
        "session": f"{row.id}, {session['role']}",
        "on": f"{session['subject']} {session['title']}",
        "state": row.facts[0],
        "note": session["note"],
        "context": f"{fill(session)} ({session['context_tokens']:,} tokens)"
        if fill(session)
        else "",
        "cost": f"${session['cost_usd']:.2f}",
        "heard": f"{age(datetime.fromisoformat(session['heard_at']), now)} ago",
        "since": f"{age(datetime.fromisoformat(session['created_at']), now)}",
    }
    for name, text in facts.items():
        if text:
            yield (f"{name + ':':{LABEL}}", Tone.DIM), (text, Tone.PLAIN)


def _merge_request(ask: Call, row: Row) -> Seen:
    view = ask("show_merge_request", merge_request=row.id)
    return Seen(
        title=row.id,
        lines=list(merge_request_lines(view)),
        commit=view["request"]["commit"],
    )
