"""`sf question`."""

import sys
from typing import Annotated, Any

import typer

from sf_mcp.cli import api
from sf_mcp.cli.options import PLAIN, AsJson, example
from sf_mcp.cli.output import print_json, say

app = typer.Typer(no_args_is_help=True, **PLAIN)

MOST_NAMED = 10
"""Tasks behind a question that are named; the rest is counted."""


@app.command("list", epilog=example("sf question list", "sf question list --all"))
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Also those that are answered.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the open questions in full."""
    questions = api.call("list_questions", all=all_)
    if as_json:
        print_json(questions)
        return
    if not questions:
        print("No question is open.")
    for question in questions:
        _show(question)


@app.command(epilog=example("sf question show Q4"))
def show(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="Its id, such as Q4.")],
    as_json: AsJson = False,
) -> None:
    """Show one question, and how far its answer has come."""
    found = api.call("get_question", question=question)
    if as_json:
        print_json(found)
        return
    _show(found)


def _show(question: dict[str, Any]) -> None:
    about = f" about {question['task_id']}" if question["task_id"] else ""
    to = ", left to you" if question["escalated"] else ""
    say(f"{question['id']}{about} ({question['state']}{to}): {question['text']}")
    for option in question["options"]:
        say(f"    - {option}")
    if question["context"]:
        say(f"    {question['context']}")
    if question["state"] == "open":
        say(f"    {_waiting(question)}")
        say(f'    Answer it: sf question answer {question["id"]} "…"')
    if question["answer"]:
        say(f"    {question['answered_by']}: {question['answer']}")
    if question["answer"] and question["asker"]:
        say(f"    {_arrival(question)}")


def _waiting(question: dict[str, Any]) -> str:
    who = f"{question['asker']} waits" if question["asker"] else "It waits"
    rests = " (parked, no process)" if question["is_parked"] else ""
    behind = question["behind"]
    more = f" and {len(behind) - MOST_NAMED} more" if len(behind) > MOST_NAMED else ""
    names = f"; behind it: {', '.join(behind[:MOST_NAMED])}{more}" if behind else ""
    return f"{who} since {_minute(question['asked_at'])}{rests}{names}."


def _arrival(question: dict[str, Any]) -> str:
    if question["acknowledged_at"]:
        return f"{question['asker']} has had it since {_minute(question['acknowledged_at'])}."
    if question["delivered_at"]:
        return f"Given to {question['asker']} at {_minute(question['delivered_at'])}."
    return f"{question['asker']} is told when it next rests, or goes on."


def _minute(at: str) -> str:
    return at[:16].replace("T", " ") + " UTC"


@app.command(
    epilog=example(
        'sf question answer Q4 "Use the existing table."',
        "sf question answer Q4 - < answer.txt",
        'sf question answer Q4 -- "-1 means none"  # an answer that begins with a dash',
    )
)
def answer(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="Its id, such as Q4.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The answer; - for stdin.")],
    as_json: AsJson = False,
) -> None:
    """Answer a question; the session that asked goes on with it."""
    given = sys.stdin.buffer.read().decode(errors="replace") if text == "-" else text
    answered = api.call("answer_question", question_id=question, answer=given)
    if as_json:
        print_json(answered)
        return
    say(f"{answered['id']} is answered")
