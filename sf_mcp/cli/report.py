"""`sf report`: what a plan has come to, as Markdown to send around."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sf_mcp.cli import api
from sf_mcp.cli.export import new_file
from sf_mcp.cli.options import AsJson, example
from sf_mcp.cli.output import hint, print_json, say
from sf_mcp.core.markdown import escaped, row

MOST_WHY = 50
"""Unfinished tasks of which the report says why."""

_DONE = ("merged", "closed", "cancelled")


def register(app: typer.Typer) -> None:
    """Add the command."""
    lines = ("sf report", 'sf report "Sprint 14" -o sprint-14.md', "sf report P3 --json")
    app.command(epilog=example(*lines))(report)


def report(
    plan: Annotated[
        str, typer.Argument(metavar="[PLAN]", help="Its id or title; else the newest plan.")
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file that is not there yet.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write what was done for a plan as Markdown: by whom, in how long, at what cost."""
    with api.opened() as ask:
        found = ask("report", plan=plan)
        why = {task: ask("why", task=task)["sentence"] for task in found["left"][:MOST_WHY]}
    text = "\n".join(_document(found, why)) + "\n"
    if output is not None:
        with new_file(output) as file:
            file.write(text)
        hint(f"Wrote {output}.")
    if as_json:
        print_json({**found, "why": why})
    elif output is None:
        say(text.rstrip("\n"))


def _document(found: Any, why: dict[str, str]) -> Iterator[str]:
    plan = found["plan"]
    yield f"# {escaped(plan['title'])}"
    yield ""
    yield _summary(found)
    yield from _table("Tasks", _tasks, found["tasks"])
    yield from _list("Commits", _commits(found["tasks"]))
    yield from _list("Decisions", [_decision(one) for one in found["decisions"]])
    yield from _list("Sent back", [_sent_back(one) for one in found["sent_back"]])
    yield from _list("Conflicts", [_conflict(one) for one in found["conflicts"]])
    yield from _table("Checks", _checks, found["checks"])
    titles = {task["id"]: task["title"] for task in found["tasks"]}
    left = [
        f"{task} {escaped(titles[task])}" + (f": {escaped(why[task])}" if task in why else "")
        for task in found["left"]
    ]
    yield from _list("What is left", left)


def _summary(found: Any) -> str:
    plan = found["plan"]
    ended = sum(task["state"] in _DONE for task in found["tasks"])
    parts = [
        f"{plan['id']} is {plan['state']}: {ended} of {len(found['tasks'])} tasks have ended, "
        f"{found['landings']} of them landed."
    ]
    if found["began_at"]:
        until = f"to {_time(found['ended_at'])}" if found["ended_at"] else "and still under way"
        parts.append(f"Worked on from {_time(found['began_at'])} {until} (UTC).")
        parts.append(
            f"Sessions worked {_length(found['worked_seconds'])} in all and cost "
            f"${found['cost_usd']:.2f}."
        )
    return " ".join(parts)


def _tasks(tasks: Sequence[Any]) -> Iterator[str]:
    yield row("Task", "Title", "State", "Attempts", "By", "Worked", "Cost")
    yield row("---", "---", "---", "---:", "---", "---:", "---:")
    for task in tasks:
        mine = [one for one in task["attempts"] if one["subject"] == task["id"]]
        by = list(dict.fromkeys(one["session"] for one in task["attempts"]))
        yield row(
            task["id"],
            escaped(task["title"]),
            task["state"].replace("_", " "),
            str(len(mine)),
            escaped(", ".join(by)),
            _length(task["worked_seconds"]) if mine else "",
            f"${task['cost_usd']:.2f}" if task["cost_usd"] else "",
        )


def _commits(tasks: Sequence[Any]) -> list[str]:
    return [
        f"{task['id']} `{one['commit'][:12]}` {escaped(one['subject'])}"
        + ("" if one["has_landed"] else " (not landed)")
        for task in tasks
        for one in task["commits"]
    ]


def _decision(one: Any) -> str:
    text = escaped(one["decision"])
    if one["question"]:
        return (
            f"{one['task_id']}: {escaped(one['question'])} → **{text}** "
            f"({escaped(one['by'])}, {_time(one['at'])})"
        )
    return f"{one['task_id']}: {text} ({escaped(one['by'])} in a handoff, {_time(one['at'])})"


def _sent_back(one: Any) -> str:
    detail = next((line for line in one["detail"].splitlines() if line.strip()), "")
    more = f": {escaped(detail)}" if detail else ""
    return (
        f"{one['task_id']} ({one['merge_request_id']}, {_time(one['at'])}): "
        f"{escaped(one['reason'])}{more}"
    )


def _conflict(one: Any) -> str:
    paths = ", ".join(escaped(path) for path in one["paths"])
    note = f": {escaped(one['note'])}" if one["note"] else ""
    return f"{one['task_id']} ({one['merge_request_id']}) in {paths}: {escaped(one['how'])}{note}"


def _checks(checks: Sequence[Any]) -> Iterator[str]:
    yield row("Check", "Runs", "Failed", "Time in all", "Time of one")
    yield row("---", "---:", "---:", "---:", "---:")
    for one in checks:
        yield row(
            escaped(one["name"]),
            str(one["runs"]),
            str(one["failed"]),
            _length(one["seconds"]),
            _length(one["seconds"] / one["runs"]),
        )


def _list(title: str, items: Sequence[str]) -> Iterator[str]:
    if items:
        yield from ("", f"## {title}", "", *(f"- {item}" for item in items))


def _table(
    title: str, lines: Callable[[Sequence[Any]], Iterator[str]], items: Sequence[Any]
) -> Iterator[str]:
    if items:
        yield from ("", f"## {title}", "", *lines(items))


def _time(at: str) -> str:
    return datetime.fromisoformat(at).strftime("%Y-%m-%d %H:%M")


def _length(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{rest} s"
