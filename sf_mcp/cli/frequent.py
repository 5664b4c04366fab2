"""The commands that people, prompts, scripts and Claude Code ask for all day.

In their plain forms they are run without a command line parser, which takes longer to import than
they take to answer; in all other forms `task` and `fleet` call the same functions.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sf_mcp.cli import api
from sf_mcp.cli.output import hint, print_json, table

DEFAULT_LIMIT = 50


def ready(
    *, plan: str = "", after: str = "", limit: int = DEFAULT_LIMIT, as_json: bool = False
) -> None:
    """Print the ready set in the order in which it starts."""
    listing = api.call("list_tasks", state="ready", plan=plan, after=after, limit=limit)
    if as_json:
        print_json(listing)
        return
    show_tasks(listing, empty="No task is ready.")


def show_tasks(listing: Any, *, empty: str) -> None:
    """Print a page of tasks."""
    rows = [
        (task["id"], task["state"], task["priority"], task["title"], " ".join(depends_on))
        for task, depends_on in listing["tasks"]
    ]
    if not rows:
        print(empty)
        return
    table(("ID", "STATE", "PRIORITY", "TITLE", "DEPENDS ON"), rows)
    if listing["next_after"]:
        hint(f"{len(rows)} of {listing['total']}; the next: --after {listing['next_after']}")


def hook() -> None:
    """Answer a hook of Claude Code."""
    from sf_mcp.cli.hook import hook as answer

    answer()


def statusline() -> None:
    """Print the status line of a session."""
    from sf_mcp.cli.hook import statusline as show

    show()


def token_headers() -> None:
    """Print the person's token as HTTP headers: Claude Code asks at each connection."""
    from sf_mcp.cli.project import as_person, project
    from sf_mcp.client import person_token

    layout = as_person("see the person's token")
    project()
    print_json({"Authorization": f"Bearer {person_token(layout)}"})


def status(*, as_json: bool = False) -> None:
    """Print the overview on one screen."""
    overview = api.call("fleet_status")
    if as_json:
        print_json(overview)
        return
    from sf_mcp.cli.overview import show_overview

    show_overview(overview, api.address())


FREQUENT: Mapping[tuple[str, ...], Callable[[], None]] = {
    ("task", "ready"): ready,
    ("task", "ready", "--json"): partial(ready, as_json=True),
    ("status",): status,
    ("status", "--json"): partial(status, as_json=True),
    ("hook",): hook,
    ("statusline",): statusline,
    ("token", "--headers"): token_headers,
}
