"""`sf plan`."""

from typing import Annotated, Any

import typer

from sf_mcp.cli import api
from sf_mcp.cli.options import PLAIN, AsJson, example
from sf_mcp.cli.output import line, print_json, say, table
from sf_mcp.core.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, **PLAIN)

Which = Annotated[str, typer.Argument(metavar="PLAN", help="Its id or its title.")]


@app.command(epilog=example('sf plan create --title "Sprint 14"'))
def create(
    title: Annotated[str, typer.Option(help="What it is called.")],
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    draft: Annotated[
        bool, typer.Option("--draft", help="Hold its tasks back until `sf plan activate`.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a plan; its tasks start as soon as they are there."""
    view = api.call("create_plan", title=title, description=description, draft=draft)
    _tell(view, as_json=as_json)


FORMAT = """\b
Markdown: the first `# heading` is the plan's title. Each check box is a task, and headings
are groups; in a file without check boxes each heading with no heading below it is a task.
What stands below a task is its description, but for these lines:
  priority: 1                    from 1, the most urgent, to 5
  depends on: #2, "A title", T4  the second task of the file, one by title, one by id
  paths: src/api, tests/api      what it will touch
  estimate: 45m                  or 2h
  key: invitations               known again by this when the title changes
  Acceptance:                    and a list: the acceptance criteria
A check box below another is a task of its own, for which the outer one waits; `- [x]` is
done and skipped.
YAML:
  plan:
    title: Sprint 14
    tasks:
      - {title: …, key: …, description: …, acceptance: [ … ], priority: 1,
         estimate_minutes: 45, depends_on: [ … ], paths: [ … ], done: false}
A second import of a file adds what is new in it; a task that was imported before is known by
its key, else by its title, and is left as it is."""


@app.command(
    "import",
    epilog=FORMAT
    + "\n\n"
    + example(
        "sf plan import sprint-14.md --dry-run",
        "sf plan import sprint-14.yaml --draft",
        "sf plan import - --plan P3 < more.md",
    ),
)
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Markdown or YAML; - is stdin.")],
    plan: Annotated[
        str, typer.Option(metavar="PLAN", help="Add to this plan, whatever the file's title.")
    ] = "",
    title: Annotated[str, typer.Option(help="The plan's title, in place of the file's.")] = "",
    draft: Annotated[
        bool, typer.Option("--draft", help="Hold its tasks back until `sf plan activate`.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be created.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a plan with its tasks from a file, or add to it what is new in the file."""
    from sf_mcp.cli.plan_file.reading import read_plan

    if plan and (title or draft):
        raise InvalidInput(
            "--plan names a plan that is there; --title and --draft are about a new one.",
            remedy="Give one or the other.",
        )
    found = read_plan(file, title=title)
    report = api.call(
        "import_plan",
        tasks=found.drafts,
        title=found.title,
        description=found.description,
        plan=plan,
        draft=draft,
        dry_run=dry_run,
    )
    if as_json:
        print_json({**report, "done": found.done})
        return
    _tell_import(report, found.done)


def _tell_import(report: Any, done: list[str]) -> None:
    new = [task for task in report["tasks"] if task["is_new"]]
    known = [task for task in report["tasks"] if not task["is_new"]]
    made = "Would create" if report["is_dry_run"] else "Created"
    plan = report["plan"]
    how = f"{made.lower()}, {plan['state']}" if report["is_new_plan"] else plan["state"]
    say(f"{plan['id']}  {plan['title']}  ({how})")
    say(f"{made} {len(new)} task{'' if len(new) == 1 else 's'}.")
    table(
        ("ID", "PRIORITY", "TITLE", "DEPENDS ON"),
        [(one["id"], one["priority"], one["title"], " ".join(one["depends_on"])) for one in new],
    )
    if known:
        say(f"Imported before, and left as they are: {' '.join(one['id'] for one in known)}")
    for one in known:
        if one["differs"]:
            say(f"{one['id']} differs from the file in: {', '.join(one['differs'])}")
    for title in done:
        say(f"Done already, so skipped: {line(title)}")


@app.command("list", epilog=example("sf plan list"))
def list_(as_json: AsJson = False) -> None:
    """List the plans."""
    views = api.call("list_plans")
    if as_json:
        print_json(views)
        return
    if not views:
        print("There is no plan yet: sf plan create")
    table(
        ("ID", "STATE", "DONE", "TITLE"),
        [
            (view["plan"]["id"], view["plan"]["state"], _done(view), view["plan"]["title"])
            for view in views
        ],
    )


@app.command(epilog=example('sf plan show "Sprint 14"'))
def show(plan: Which, as_json: AsJson = False) -> None:
    """Show a plan with its tasks and its critical path."""
    view = api.call("get_plan", plan=plan)
    if as_json:
        print_json(view)
        return
    found = view["plan"]
    say(f"{found['id']}  {found['title']}  ({found['state']}, {_done(view)} done)")
    if found["description"]:
        say(f"\n{found['description']}\n")
    if view["critical_path"]:
        say(f"Critical path: {' → '.join(view['critical_path'])}")
    table(
        ("ID", "STATE", "PRIORITY", "TITLE"),
        [(task["id"], task["state"], task["priority"], task["title"]) for task in view["tasks"]],
    )


@app.command(epilog=example("sf plan activate P3"))
def activate(plan: Which, as_json: AsJson = False) -> None:
    """Let the tasks of a draft be worked on."""
    _tell(api.call("activate_plan", plan=plan), as_json=as_json)


@app.command(epilog=example("sf plan complete P3"))
def complete(plan: Which, as_json: AsJson = False) -> None:
    """Mark a plan as completed, when nothing of it is left to do."""
    _tell(api.call("complete_plan", plan=plan), as_json=as_json)


@app.command(epilog=example("sf plan cancel P3"))
def cancel(plan: Which, as_json: AsJson = False) -> None:
    """Cancel a plan and all of its tasks that have not ended; work done so far is kept."""
    _tell(api.call("cancel_plan", plan=plan), as_json=as_json)


def _tell(view: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(view)
        return
    say(f"{view['plan']['id']} is {view['plan']['state']}: {view['plan']['title']}")


def _done(view: Any) -> str:
    ended = [t for t in view["tasks"] if t["state"] in ("merged", "closed", "cancelled")]
    return f"{len(ended)}/{len(view['tasks'])}"
