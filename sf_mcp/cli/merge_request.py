"""A merge request in lines: what whoever decides wants to know, the most telling first."""

from collections.abc import Iterator
from typing import Any

from sf_mcp.cli.lines import Line, Tone, a_line, heading
from sf_mcp.cli.output import has_colour, line, painted

LABEL = 12
MOST_FILES = 60
COLOURS = {"+": "32", "-": "31", "@": "36", "d": "1"}
"""What begins a line of a diff, and the terminal's colour for it (`d` is `diff --git …`)."""


def merge_request_lines(view: Any) -> Iterator[Line]:
    """Yield everything about a merge request, in the order in which it tells most."""
    request, task = view["request"], view["task"]
    yield a_line(f"{request['id']}  {task['id']}  {line(task['title'])}")
    yield from _fact("status", view["status"])
    yield from _fact("branch", f"{request['branch']} by {view['session']}")
    yield from _fact("commit", f"{request['commit']} (base {request['base'][:12]})")
    if request["landed_commit"]:
        yield from _fact("landed", request["landed_commit"])
    yield from _fact("steward", view["steward"])
    yield from _fact("person", view["person"])
    if view["risks"]:
        yield from heading(f"Risks ({len(view['risks'])}; they block nothing)")
        for risk in view["risks"]:
            where = f"{risk['path']}:{risk['line']}" if risk["line"] else risk["path"]
            kind = (f"  {line(risk['kind']).ljust(13)}", Tone.WARN)
            yield kind, (f" {line(where)}: {line(risk['text'])}", Tone.PLAIN)
    if view["note"]:
        yield a_line(f"  {view['note']}")
    yield from heading(f"Checks, {view['checked']}")
    yield from _checks(view)
    if view["criteria"]:
        yield from heading("Acceptance criteria")
        for one in view["criteria"]:
            who = f"{one['met_by']} says it is met" if one["met_by"] else "see the summary"
            yield a_line(f"  {one['number']}. {line(one['text'])}  [{line(who)}]")
    yield from _files(view)
    if task["description"]:
        yield from heading("Task")
        yield from _text(task["description"])
    if request["no_changes_reason"]:
        yield from heading("Nothing to merge")
        yield from _text(request["no_changes_reason"])
    yield from heading(f"Summary by {view['session']}")
    yield from _text(request["summary"])
    for review in view["reviews"]:
        word = "approved" if review["approved"] else "asks for changes"
        yield from heading(f"{review['by']} {word}")
        yield from _text(review["reason"])


def coloured(diff: str) -> str:
    """Return a diff, coloured when it goes to a terminal; the text has nothing left that steers."""
    if not has_colour():
        return diff
    return "".join(painted(text, COLOURS.get(text[:1], ""), True) for text in diff.splitlines(True))


def _checks(view: Any) -> Iterator[Line]:
    if not view["checks"]:
        yield a_line("  none has run on it yet")
    for check in view["checks"]:
        tone = Tone.GOOD if check["passed"] else Tone.WARN if check["is_old"] else Tone.BAD
        marks = " (flaky: passed and failed on this tree)" if check["is_flaky"] else ""
        marks += " (fails without this work too)" if check["is_old"] else ""
        yield (
            (f"  {line(check['name'])}: ", Tone.PLAIN),
            (line(check["outcome"]), tone),
            (f", {check['seconds']:.1f} s{marks}", Tone.PLAIN),
        )
        if not check["passed"]:
            yield a_line(f"    {line(check['log_path'])}")


def _files(view: Any) -> Iterator[Line]:
    total = view["total_files"]
    many = "1 file" if total == 1 else f"{total} files"
    yield from heading(f"Changes: {many}, +{view['added']} -{view['removed']}")
    shown = view["files"][:MOST_FILES]
    for file in shown:
        size = "binary" if file["added"] is None else f"+{file['added']} -{file['removed']}"
        name = f"{file['was']} -> {file['path']}" if file["was"] else file["path"]
        yield a_line(f"  {file['how']:8} {size:>12}  {line(name)}")
    last = shown[-1]["path"] if shown else ""
    if view["next_after"] or len(shown) < len(view["files"]):
        import shlex

        again = shlex.join(["sf", "mr", "show", view["request"]["id"], "--files-after", last])
        yield a_line(f"  … go on: {line(again)}")
    if total:
        yield a_line(f"  all of it: sf mr show {view['request']['id']} --diff")


def _fact(name: str, text: str) -> Iterator[Line]:
    yield a_line(f"{name + ':':{LABEL}}{line(text)}")


def _text(text: str) -> Iterator[Line]:
    for each in text.splitlines() or [""]:
        yield a_line(f"  {each}".rstrip())
