"""A merge request as text on a terminal.

Colour only on terminals, and only after everything that steers one was taken out of the text.
"""

from typing import Any

from sf_mcp.cli.output import has_colour, line, painted, say

LABEL = 12
MOST_FILES = 60
COLOURS = {"+": "32", "-": "31", "@": "36", "d": "1"}
"""What begins a line of a diff, and the terminal's colour for it (`d` is `diff --git …`)."""


def show_merge_request(view: Any) -> None:
    """Print a merge request: what whoever decides wants to know, the most telling first."""
    request, task = view["request"], view["task"]
    say(f"{request['id']}  {task['id']}  {line(task['title'])}")
    _fact("status", view["status"])
    _fact("branch", f"{request['branch']} by {view['session']}")
    _fact("commit", f"{request['commit']} (base {request['base'][:12]})")
    if request["landed_commit"]:
        _fact("landed", request["landed_commit"])
    _fact("steward", view["steward"])
    _fact("person", view["person"])
    if view["risks"]:
        _heading(f"Risks ({len(view['risks'])}; they block nothing)")
        for risk in view["risks"]:
            where = f"{risk['path']}:{risk['line']}" if risk["line"] else risk["path"]
            kind = _painted(line(risk["kind"]).ljust(13), "33")
            print(f"  {kind} {line(where)}: {line(risk['text'])}")
    if view["note"]:
        say(f"  {view['note']}")
    _heading(f"Checks, {view['checked']}")
    _show_checks(view)
    if view["criteria"]:
        _heading("Acceptance criteria")
        for one in view["criteria"]:
            who = f"{one['met_by']} says it is met" if one["met_by"] else "see the summary"
            say(f"  {one['number']}. {line(one['text'])}  [{line(who)}]")
    _show_files(view)
    if task["description"]:
        _heading("Task")
        _text(task["description"])
    if request["no_changes_reason"]:
        _heading("Nothing to merge")
        _text(request["no_changes_reason"])
    _heading(f"Summary by {view['session']}")
    _text(request["summary"])
    for review in view["reviews"]:
        word = "approved" if review["approved"] else "asks for changes"
        _heading(f"{review['by']} {word}")
        _text(review["reason"])


def coloured(diff: str) -> str:
    """Return a diff, coloured when it goes to a terminal; the text has nothing left that steers."""
    if not has_colour():
        return diff
    return "".join(_painted(text, COLOURS.get(text[:1], "")) for text in diff.splitlines(True))


def _show_checks(view: Any) -> None:
    if not view["checks"]:
        say("  none has run on it yet")
    for check in view["checks"]:
        colour = "32" if check["passed"] else "33" if check["is_old"] else "31"
        marks = " (flaky: passed and failed on this tree)" if check["is_flaky"] else ""
        marks += " (fails without this work too)" if check["is_old"] else ""
        outcome = _painted(line(check["outcome"]), colour)
        print(f"  {line(check['name'])}: {outcome}, {check['seconds']:.1f} s{marks}")
        if not check["passed"]:
            say(f"    {line(check['log_path'])}")


def _show_files(view: Any) -> None:
    total = view["total_files"]
    many = "1 file" if total == 1 else f"{total} files"
    _heading(f"Changes: {many}, +{view['added']} -{view['removed']}")
    shown = view["files"][:MOST_FILES]
    for file in shown:
        size = "binary" if file["added"] is None else f"+{file['added']} -{file['removed']}"
        name = f"{file['was']} -> {file['path']}" if file["was"] else file["path"]
        say(f"  {file['how']:8} {size:>12}  {line(name)}")
    last = shown[-1]["path"] if shown else ""
    if view["next_after"] or len(shown) < len(view["files"]):
        import shlex

        again = shlex.join(["sf", "mr", "show", view["request"]["id"], "--files-after", last])
        say(f"  … go on: {line(again)}")
    if total:
        say(f"  all of it: sf mr show {view['request']['id']} --diff")


def _fact(name: str, text: str) -> None:
    say(f"{name + ':':{LABEL}}{line(text)}")


def _heading(text: str) -> None:
    print(f"\n{_painted(line(text), '1')}")


def _text(text: str) -> None:
    for each in text.splitlines() or [""]:
        say(f"  {each}".rstrip())


def _painted(text: str, colour: str) -> str:
    return painted(text, colour, has_colour())
