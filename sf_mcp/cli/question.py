"""`sf question`."""

import sys
from typing import Annotated

import typer

from sf_mcp.cli import api
from sf_mcp.cli.about import question_lines
from sf_mcp.cli.lines import say_lines
from sf_mcp.cli.options import PLAIN, AsJson, example
from sf_mcp.cli.output import print_json, say

app = typer.Typer(no_args_is_help=True, **PLAIN)


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
        say_lines(question_lines(question))


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
    say_lines(question_lines(found))


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
